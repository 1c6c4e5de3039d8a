"""Pieces that several networks share: activations, initial weights, the check of what comes in."""

from collections.abc import Callable

import torch
from torch import nn

from tomolearn._validation import check_choice, check_integer

__all__ = [
    "ACTIVATIONS",
    "activation_layer",
    "check_channels",
    "check_input",
    "check_kernel_size",
    "convolution_sizes",
    "initialize",
    "linear_size",
]

ACTIVATIONS = ("relu", "leaky_relu", "prelu")
LEAK = 0.2  # slope of leaky_relu for negative values, that of DIVal's networks


def activation_layer(name: str, n_channels: int) -> nn.Module:
    """The activation ``name`` after a layer of ``n_channels``; "prelu" learns one slope per channel, from 0."""
    check_choice(name, "activation", ACTIVATIONS)
    if name == "prelu":
        return nn.PReLU(n_channels, init=0.0)
    return nn.ReLU(inplace=True) if name == "relu" else nn.LeakyReLU(LEAK, inplace=True)


def initialize(module: nn.Module, draw: Callable) -> None:
    """Draw the weights of all convolutions and dense layers with ``draw`` and set their biases to zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if layer.weight.is_meta:  # there is nothing to draw, and for normal numbers torch would import its compiler
                continue
            draw(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def check_input(x: torch.Tensor, shape: tuple) -> None:
    """Raise ValueError unless ``x`` is a stack (n, *shape); None in ``shape`` stands for any size."""
    fits = x.ndim == 1 + len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, x.shape[1:], strict=True)
    )
    if not fits:
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"x must have shape (n, {sizes}); got {tuple(x.shape)}.")


def check_kernel_size(value) -> int:
    """``value`` as an odd integer: only those keep the size of an image under the same padding on both sides."""
    size = check_integer(value, "kernel_size", low=1)
    if size % 2 == 0:
        raise ValueError(f"kernel_size must be odd; got {size}.")
    return size


def check_channels(value) -> tuple[int, ...]:
    """``value`` as a tuple of at least one positive integer."""
    try:
        channels = tuple(value)
    except TypeError:
        channels = ()
    if not channels:
        raise ValueError(f"channels must be one or more positive integers, one per level; got {value!r}.")
    return tuple(check_integer(n, f"channels[{level}]", low=1) for level, n in enumerate(channels))


def linear_size(n_in: int, n_out: int, rank: int | None = None) -> int:
    """Parameters of a dense layer with bias, in two factors where ``rank`` is given."""
    return n_out + (n_in * n_out if rank is None else rank * (n_in + n_out))


def convolution_sizes(n_channels: tuple[int, ...], kernel_size: int) -> int:
    """Parameters of a chain of convolutions with bias through these numbers of channels."""
    pairs = zip(n_channels[:-1], n_channels[1:], strict=True)
    return sum((kernel_size**2 * n_in + 1) * n_out for n_in, n_out in pairs)

"""Checks that every room shares: each error names the argument, the rule, what came, and the way out."""

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

__all__ = [
    "as_tensor",
    "check_choice",
    "check_finite",
    "check_integer",
    "check_real",
    "check_sample_weight",
    "check_shape",
]

_EXACT_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.uint16, torch.bool)


def as_tensor(x, name: str, *, ndim: int | tuple[int, ...] | None = None) -> tuple[torch.Tensor, Callable]:
    """A contiguous float32 or float64 tensor of ``x``, and the function that turns a result into the caller's kind.

    NumPy arrays of any byte order, stride or writability, lists and tensors are taken; integers become float32 (64-bit
    ones float64, so that counts stay exact), half precision is computed in float32 and handed back as it came.

    Parameters
    ----------
    x : array-like or Tensor
    name : str
        What the caller calls it, for the error message.
    ndim : int or tuple of int, optional
        The numbers of dimensions that are allowed.

    Returns
    -------
    tensor : Tensor
        float32 or float64, contiguous; shares memory with ``x`` where it can.
    restore : callable
        ``restore(result)`` gives a tensor where ``x`` was one, else a NumPy array; in the floating dtype of ``x``.

    Raises
    ------
    TypeError
        If ``x`` holds anything but real numbers.
    ValueError
        If the number of dimensions is not allowed.
    """
    if isinstance(x, torch.Tensor):
        tensor, dtype = _real_tensor(x, name), x.dtype if x.is_floating_point() else None

        def restore(result):
            return result if dtype is None else result.to(dtype)
    else:
        array = np.asarray(x)
        tensor, kind = _real_tensor(_native(array, name), name), array.dtype if array.dtype.kind == "f" else None

        def restore(result):
            result = result.detach().cpu().numpy()
            return result if kind is None else result.astype(kind.newbyteorder("="), copy=False)

    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if allowed is not None and tensor.ndim not in allowed:
        wanted = " or ".join(str(n) for n in allowed)
        raise ValueError(f"{name} must have {wanted} dimensions; got {tensor.ndim} (shape {tuple(tensor.shape)}).")
    return tensor, restore


def _native(array: np.ndarray, name: str) -> torch.Tensor:
    """Tensor of an array that torch may not take as it is: foreign byte order, negative strides, read-only memory."""
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}.")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if array.dtype.kind == "u" and array.dtype.itemsize > 2:  # torch computes little with these
        array = array.astype(np.float64)
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    # Of memory that may not be written torch would warn; axes of length 1 keep a negative stride that it refuses.
    if not array.flags.writeable or min(array.strides, default=0) < 0:
        array = array.copy()
    return torch.from_numpy(array)


def _real_tensor(tensor: torch.Tensor, name: str) -> torch.Tensor:
    if tensor.is_complex():
        raise TypeError(f"{name} must hold real numbers; got dtype {tensor.dtype}.")
    if tensor.dtype not in (torch.float32, torch.float64):
        half = tensor.is_floating_point()
        tensor = tensor.to(torch.float32 if half or tensor.dtype in _EXACT_INTEGERS else torch.float64)
    return tensor.contiguous()


def check_finite(tensor: torch.Tensor, name: str, remedy: str) -> None:
    """Raise ValueError if ``tensor`` holds NaN or infinity; ``remedy`` says what the caller can do."""
    # The sum is one pass over the memory; only where it is not finite are the values looked at one by one.
    if tensor.numel() and not bool(torch.isfinite(tensor.sum())):
        bad = int(tensor.numel() - torch.isfinite(tensor).sum())
        if bad:
            raise ValueError(f"{name} must be finite; got {bad} NaN or infinite values of {tensor.numel()}. {remedy}")


def check_integer(value, name: str, *, low: int, high: int | None = None) -> int:
    """``value`` as int within [low, high], or an error that names it."""
    rule = f"an integer >= {low}" if high is None else f"an integer from {low} to {high}"
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be {rule}; got {value!r}.")
    number = int(value)
    if number < low or (high is not None and number > high):
        raise ValueError(f"{name} must be {rule}; got {value!r}.")
    return number


def check_real(value, name: str, *, low: float, high: float = np.inf, open_low: bool = False) -> float:
    """``value`` as float within [low, high] (or (low, high]), or an error that names it."""
    rule = f"a number in {'(' if open_low else '['}{low:g}, {high:g}]"
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be {rule}; got {value!r}.")
    number: Any = value  # numbers.Real promises no comparison with a float
    if not (low <= number <= high) or (open_low and number == low):
        raise ValueError(f"{name} must be {rule}; got {value!r}.")
    return float(value)


def check_choice(value, name: str, choices) -> str:
    """``value`` if it is one of ``choices``, or an error that lists them."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}.")
    return value


def check_shape(value, name: str, length: int) -> tuple[int, ...]:
    """``value`` as a tuple of ``length`` positive integers, or an error that names it."""
    try:
        shape = tuple(value)
    except TypeError:
        shape = None
    if shape is None or len(shape) != length:
        raise ValueError(f"{name} must be {length} positive integers; got {value!r}.")
    return tuple(check_integer(size, f"{name}[{axis}]", low=1) for axis, size in enumerate(shape))


def check_sample_weight(value, n: int) -> np.ndarray:
    """``n`` float64 weights, not below zero and not all zero; None gives ones."""
    if value is None:
        return np.ones(n)
    weights = np.asarray(value)
    if weights.dtype.kind not in "fiub" or weights.shape != (n,):
        raise ValueError(
            f"sample_weight must be numbers of shape {(n,)}, one for each sample; got {weights.dtype} of shape "
            f"{weights.shape}."
        )
    weights = weights.astype(np.float64)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise ValueError(
            f"sample_weight must be finite, not below zero, and above zero for a sample at least; got values from "
            f"{weights.min(initial=np.inf):g} to {weights.max(initial=-np.inf):g}. Zero leaves a sample out."
        )
    return weights

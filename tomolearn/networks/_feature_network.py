"""What all feature networks share: frozen parameters, features at several depths, weights from a file."""

import os
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from tomolearn._validation import check_integer
from tomolearn.exceptions import FileFormatError
from tomolearn.networks._layers import check_input

__all__ = ["FeatureNetwork", "SameConvolution", "Weights"]

BATCH_NORM_EPSILON = 1e-3  # TensorFlow's, with which the weights that are read here were trained


class FeatureNetwork(nn.Module):
    """Base of the feature networks: grey images in, features at one or several depths out.

    A feature network is frozen: its parameters need no gradient and it stays in evaluation mode. The gradient with
    respect to the images is a real one.

    Parameters
    ----------
    blocks : tuple of int
        Which blocks' outputs are the features, increasing. Nothing is computed beyond the last.
    n_blocks : int
        Blocks that the network has.

    Raises
    ------
    ValueError, TypeError
        If ``blocks`` are not increasing integers from 1 to ``n_blocks``.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.networks import RandomFeatures
    >>> network = RandomFeatures(blocks=(1, 2)).train()
    >>> network.training, any(p.requires_grad for p in network.parameters())
    (False, False)
    """

    def __init__(self, blocks, n_blocks):
        super().__init__()
        numbers = blocks if isinstance(blocks, tuple | list) else ()
        self.block_numbers = tuple(check_integer(n, "blocks", low=1, high=n_blocks) for n in numbers)
        if not numbers or list(self.block_numbers) != sorted(set(self.block_numbers)):
            raise ValueError(f"blocks must be increasing integers from 1 to {n_blocks}, at least one; got {blocks!r}.")
        self.blocks = nn.ModuleList()

    def freeze(self):
        """Take the parameters out of training, and the network into evaluation mode.

        Returns
        -------
        FeatureNetwork
            The network itself.
        """
        return self.requires_grad_(False).eval()

    def train(self, mode=True):
        """Leave the network in evaluation mode, whatever ``mode`` is: it may be part of a network in training.

        Parameters
        ----------
        mode : bool, default=True
            Without effect.

        Returns
        -------
        FeatureNetwork
            The network itself.
        """
        return super().train(False)

    def prepare(self, x):
        """The input of the first block.

        Parameters
        ----------
        x : Tensor of shape (n, 1, rows, columns)
            Grey images, black 0 and white 1.

        Returns
        -------
        Tensor of shape (n, channels, rows, columns)
        """
        raise NotImplementedError

    def forward(self, x):
        """The features of grey images.

        Parameters
        ----------
        x : Tensor of shape (n, 1, rows, columns)
            Black is 0 and white is 1; what lies beyond is not cut off, which would cut off its gradient. In the dtype
            of the weights.

        Returns
        -------
        tuple of Tensor of shape (n, channels, rows, columns)
            One for each of the blocks asked for.

        Raises
        ------
        ValueError
            If ``x`` does not have that shape.
        """
        check_input(x, (1, None, None))
        y, features = self.prepare(x), []
        for number, block in enumerate(self.blocks, start=1):
            y = block(y)
            if number in self.block_numbers:
                features.append(y)
        return tuple(features)


class SameConvolution(nn.Module):
    """A convolution with given weights that keeps the size, or divides it by its stride and rounds up."""

    def __init__(self, weight, bias, *, stride=1, groups=1):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.stride, self.groups = stride, groups

    def forward(self, x):
        kernel_size = self.weight.shape[2]
        if self.stride == 1:
            return functional.conv2d(x, self.weight, self.bias, padding=kernel_size // 2, groups=self.groups)
        # TensorFlow's "same": as few zeros as will do, the odd one at the bottom and at the right.
        padding = []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // self.stride) - 1) * self.stride + kernel_size - size, 0)
            padding += [total // 2, total - total // 2]
        return functional.conv2d(
            functional.pad(x, padding), self.weight, self.bias, stride=self.stride, groups=self.groups
        )


class Weights:
    """The tensors of a file of torch, each checked when it is taken."""

    def __init__(self, path, network):
        self.path, self.network = os.fspath(path), network
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file {self.path}, which should hold the weights of {network}.")
        try:
            self.tensors = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch names no exceptions of its own for broken files
            raise FileFormatError(
                f"{self.path} is broken or no file of weights ({type(error).__name__}); expected a dict of tensors, "
                f"the weights of {network}."
            ) from error

    def take(self, key, shape):
        tensor = self.tensors.get(key) if isinstance(self.tensors, dict) else None
        if not isinstance(tensor, torch.Tensor) or tensor.shape != shape or not tensor.is_floating_point():
            found = f"{tensor.dtype} of shape {tuple(tensor.shape)}" if isinstance(tensor, torch.Tensor) else "none"
            raise FileFormatError(
                f"{self.path} does not hold the weights of {self.network}: {key!r} should be a tensor of floats of "
                f"shape {tuple(shape)}; found {found}."
            )
        return tensor.float()

    def normalized(self, convolution, normalization, shape):
        """Weight and bias of a convolution without bias and the batch normalisation after it, as one convolution."""
        weight = self.take(f"{convolution}.weight", shape).double()
        scale, shift, mean, variance = (
            self.take(f"{normalization}.{part}", shape[:1]).double()
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = scale / torch.sqrt(variance + BATCH_NORM_EPSILON)
        return (weight * scale[:, None, None, None]).float(), (shift - mean * scale).float()

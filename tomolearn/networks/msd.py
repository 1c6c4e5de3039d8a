"""Mixed-scale dense network: dilated convolutions, each of which sees the results of all before it."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tomolearn._validation import check_integer
from tomolearn.networks._layers import check_input, initialize
from tomolearn.networks._padding import mirror_pad

__all__ = ["MixedScaleDenseNetwork"]


class MixedScaleDenseNetwork(nn.Module):
    """Mixed-scale dense network [1]_ for images of any size.

    Layer i, from 0 on, is a 3x3 convolution with ReLU to `width` channels whose taps stand
    ``dilations[i % len(dilations)]`` pixels apart. It sees the input and the results of all layers before. A 1x1
    convolution of everything, linear, gives the output. Images are continued by reflection (a side too short for it by
    its last row or column). There are few parameters: the network learns from few images, and hardly fits noise.

    Parameters
    ----------
    in_channels, out_channels : int, default=1
        Channels of the input and of the output.
    depth : int, default=100
        Number of layers.
    width : int, default=1
        Channels of each layer.
    dilations : tuple of int, default=(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
        Distances of the taps, taken in turn.

    Attributes
    ----------
    size_multiple : int
        1: tiles of a large image may start anywhere.
    receptive_radius : int
        The largest distance, along an axis, of an input pixel that an output pixel depends on: the dilations of all
        layers added up.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Notes
    -----
    A layer has ``9 * width * (in_channels + i * width) + width`` parameters and the last convolution
    ``out_channels * (in_channels + depth * width + 1)``: with the defaults 45,652. As in the authors' code, the weights
    of all layers are drawn from one normal distribution, of the variance
    ``2 / (9 * (in_channels + width * (depth - 1)) + out_channels)``; those of the last convolution and all biases start
    at zero.

    References
    ----------
    .. [1] D. M. Pelt and J. A. Sethian, "A mixed-scale dense convolutional neural network for image analysis", Proc.
       Natl. Acad. Sci. 115 (2018) 254, DOI 10.1073/pnas.1715832114.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.networks import MixedScaleDenseNetwork
    >>> network = MixedScaleDenseNetwork(depth=30)
    >>> network(torch.zeros(2, 1, 40, 53)).shape, network.receptive_radius
    (torch.Size([2, 1, 40, 53]), 165)
    >>> sum(p.numel() for p in MixedScaleDenseNetwork().parameters())
    45652
    """

    layers: Any  # convolutions, which a ModuleList does not say

    def __init__(self, in_channels=1, out_channels=1, *, depth=100, width=1, dilations=(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)):
        super().__init__()
        self.in_channels = check_integer(in_channels, "in_channels", low=1)
        out_channels = check_integer(out_channels, "out_channels", low=1)
        depth, self.width = check_integer(depth, "depth", low=1), check_integer(width, "width", low=1)
        self.dilations = _check_dilations(dilations)
        self.size_multiple = 1
        self.receptive_radius = sum(self.dilations[i % len(self.dilations)] for i in range(depth))
        widths = [self.in_channels + i * self.width for i in range(depth + 1)]
        self.layers = nn.ModuleList(
            nn.Conv2d(n_in, self.width, 3, dilation=self.dilations[i % len(self.dilations)])
            for i, n_in in enumerate(widths[:-1])
        )
        self.head = nn.Conv2d(widths[-1], out_channels, 1)
        spread = (2 / (9 * widths[-2] + out_channels)) ** 0.5
        initialize(self.layers, lambda weight: nn.init.normal_(weight, std=spread))
        initialize(self.head, nn.init.zeros_)

    def forward(self, x):
        """Images (n, out_channels, rows, columns) of images.

        Parameters
        ----------
        x : Tensor of shape (n, in_channels, rows, columns)
            Any rows and columns from 1 on; in the dtype of the weights.

        Returns
        -------
        Tensor of shape (n, out_channels, rows, columns)

        Raises
        ------
        ValueError
            If ``x`` does not have that shape.
        """
        check_input(x, (self.in_channels, None, None))
        # A convolution of all maps so far to one channel is slow: most of its time goes into reading them. So the maps
        # of one turn through the dilations go into all later layers together, one convolution for each dilation, and a
        # layer itself reads no more than the maps of its own turn. The sums are the same but for rounding.
        period, counted, maps, sums = len(self.dilations), 0, [x], [layer.bias[:, None, None] for layer in self.layers]
        for i, layer in enumerate(self.layers):
            if i % period == 0:
                self._count(torch.cat(maps[counted:], 1), i, sums)
                counted = len(maps)
            y, sums[i] = sums[i], None
            if counted < len(maps):
                y = y + _convolve(torch.cat(maps[counted:], 1), layer.weight[:, -self.width * (i % period) :], layer)
            maps.append(functional.relu(y))
        return self.head(torch.cat(maps, 1))

    def _count(self, maps, i, sums):
        """Add to ``sums`` what ``maps``, the newest before layer ``i``, give to layer ``i`` and all after it."""
        last = self.in_channels + i * self.width
        channels = slice(last - maps.shape[1], last)
        for first in range(i, min(i + len(self.dilations), len(self.layers))):
            later = range(first, len(self.layers), len(self.dilations))
            weight = torch.cat([self.layers[index].weight[:, channels] for index in later])
            parts = _convolve(maps, weight, self.layers[first]).split(self.width, 1)
            for index, part in zip(later, parts, strict=True):
                sums[index] = sums[index] + part


def _convolve(maps, weight, layer):
    """Convolution of reflected ``maps`` with the dilation of ``layer``, without bias."""
    (d, _) = layer.dilation
    return functional.conv2d(mirror_pad(maps, left=d, right=d, top=d, bottom=d), weight, dilation=d)


def _check_dilations(value):
    try:
        dilations = tuple(value)
    except TypeError:
        dilations = ()
    if not dilations:
        raise ValueError(f"dilations must be one or more positive integers; got {value!r}.")
    return tuple(check_integer(d, f"dilations[{i}]", low=1) for i, d in enumerate(dilations))

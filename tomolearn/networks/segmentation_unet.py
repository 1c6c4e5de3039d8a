"""superres-tomo's U-Nets: scores of labels for every pixel."""

import math

import torch
from torch import nn
from torch.nn import functional

from tomolearn._validation import check_choice, check_integer, check_real
from tomolearn.networks._layers import activation_layer, check_input, initialize
from tomolearn.networks._padding import mirror_pad
from tomolearn.networks.unet import _level

__all__ = ["SegmentationUNet"]

NORMALIZATIONS = ("none", "batch")
MOST_LEVELS = 8
DEEP = 5  # levels from which on the second coarsest one has dropout as well
HEAD_CHANNELS = 2  # before the last layer of the published networks


class SegmentationUNet(nn.Module):
    """The U-Nets [1]_ of superres-tomo [2]_: one score per output and pixel, for images of any size.

    In the table a convolution is 3x3, pads with zeros to keep the size, and is followed by ReLU. Level ``k``, from 0
    on, has ``c = base_channels * 2**k`` channels.

    ======  =============================================================================================  =============
    stage   layers                                                                                         channels
    ======  =============================================================================================  =============
    down    at level 0: two convolutions; at each further one: maximum over `pools`, two convolutions      c
    up      at all levels but the coarsest: the coarser level upsampled (nearest), 2x2 convolution, ReLU;  c
            joined to the level on the way down (that one first); two convolutions
    head    one convolution                                                                                head_channels
    scores  1x1 convolution, no activation                                                                 n_outputs
    ======  =============================================================================================  =============

    The coarsest level ends in dropout. From five levels on so does the one above it, on the way down: what is pooled
    and what is handed across are dropped alike. The 2x2 convolution sees a pixel, the one below, the one to the right
    and the one below that, as Keras pads it.

    The published ones are

    - ``unet_3layer``: ``n_levels=3``;
    - ``unet_4layer``: ``n_levels=4, pools=((2, 2), (1, 2), (2, 2))``, which reduces columns more than rows;
    - ``unet``: ``n_levels=5``. ``unet_weight_map`` is the same; its weights of pixels belong to the loss.

    Parameters
    ----------
    in_channels : int, default=1
        Of the input: one for a slice, more for adjacent slices.
    n_outputs : int, default=1
        Scores per pixel: 1 for two labels (the logit of the second), else the number of labels.
    n_levels : int, default=3
        From 1 to 8.
    base_channels : int, default=64
        Channels of the finest level.
    dropout : float, default=0.5
        Part of the values that is dropped in training where the network has dropout.
    pools : tuple of (int, int), default=None
        Rows and columns of which the maximum is taken between each level and the next, from the finest on: each 1 or 2,
        not both 1. None: (2, 2) everywhere.
    head_channels : int, default=None
        Channels before the last layer. None: 2 as published, or `n_outputs` where that is more.
    normalization : {"none", "batch"}, default="none"
        After each convolution but the last. The published networks have none.

    Attributes
    ----------
    size_multiples : tuple of two int
        What rows and columns of an image are continued to a multiple of.
    size_multiple : int
        The larger of them. Tiles of a large image that start at multiples of it see the same pixels pooled as the whole
        image does.
    receptive_radius : int
        The largest distance, along an axis, of an input pixel that an output pixel depends on.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Notes
    -----
    With one channel, one output and 64 base channels there are 1,862,789 parameters with three levels, 7,697,285 with
    four and 31,031,685 with five.

    An image whose sides are not multiples of `size_multiples` is continued at the bottom and at the right by its mirror
    image (without repeating the last row or column; a side too short for that by its last row or column), and the
    result is cropped. A tile gives the pixels of the whole image if it starts at a multiple of `size_multiple` and
    reaches `receptive_radius` pixels beyond them, or to the border of the image.

    Weights are drawn with the variance of He et al. [3]_, those of the last layer as by Keras (Glorot uniform); biases
    are zero. The head departs from the published one in its start: the second half of its channels, and what the scores
    take from them, is drawn as the negative of the first. Drawn independently, its few channels are below zero nearly
    everywhere at times, or soon come to be; such a network gives one number and learns no more. ``unet_weight_map`` as
    published takes the scores of all labels from a single number per pixel; here they are taken from the head.

    References
    ----------
    .. [1] O. Ronneberger, P. Fischer and T. Brox, "U-Net: convolutional networks for biomedical image segmentation",
       MICCAI (2015) 234, DOI 10.1007/978-3-319-24574-4_28.
    .. [2] K. T. Butler et al., superres-tomo (2020), https://github.com/keeeto/super-resolution-ml.
    .. [3] K. He, X. Zhang, S. Ren and J. Sun, "Delving deep into rectifiers", ICCV (2015) 1026,
       DOI 10.1109/ICCV.2015.123.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.networks import SegmentationUNet
    >>> network = SegmentationUNet(n_outputs=4, n_levels=4, base_channels=8, pools=((2, 2), (1, 2), (2, 2)))
    >>> network(torch.zeros(3, 1, 21, 30)).shape
    torch.Size([3, 4, 21, 30])
    >>> network.size_multiples, network.size_multiple, network.receptive_radius
    ((4, 8), 8, 59)
    """

    def __init__(
        self,
        in_channels=1,
        n_outputs=1,
        *,
        n_levels=3,
        base_channels=64,
        dropout=0.5,
        pools=None,
        head_channels=None,
        normalization="none",
    ):
        super().__init__()
        self.in_channels = check_integer(in_channels, "in_channels", low=1)
        n_outputs = check_integer(n_outputs, "n_outputs", low=1)
        n_levels = check_integer(n_levels, "n_levels", low=1, high=MOST_LEVELS)
        base_channels = check_integer(base_channels, "base_channels", low=1)
        dropout = check_real(dropout, "dropout", low=0, high=1)
        self.pools = _check_pools(pools, n_levels)
        if head_channels is None:
            head_channels = max(HEAD_CHANNELS, n_outputs)
        head_channels = check_integer(head_channels, "head_channels", low=1)
        check_choice(normalization, "normalization", NORMALIZATIONS)
        along = [[pool[axis] for pool in self.pools] for axis in (0, 1)]
        self.size_multiples = math.prod(along[0]), math.prod(along[1])
        self.size_multiple = max(self.size_multiples)
        self.receptive_radius = max(_receptive_radius(factors) for factors in along)

        channels = [base_channels * 2**level for level in range(n_levels)]
        options = (3, normalization, "relu")
        bias = normalization == "none"  # else it would be subtracted with the mean
        self.encoder, self.ups, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for n_in, n_out in zip([self.in_channels, *channels[:-1]], channels, strict=True):
            self.encoder.append(_level(n_in, n_out, *options))
        dropped = (n_levels - 1,) if n_levels < DEEP else (n_levels - 2, n_levels - 1)
        self.dropouts = nn.ModuleList(
            nn.Dropout(dropout) if level in dropped else nn.Identity() for level in range(n_levels)
        )
        for n_fine, n_coarse, pool in zip(channels[:-1], channels[1:], self.pools, strict=True):
            self.ups.append(_activated(_UpConvolution(n_coarse, n_fine, pool, bias), n_fine, normalization))
            self.decoder.append(_level(2 * n_fine, n_fine, *options))
        head = nn.Conv2d(base_channels, head_channels, 3, padding=1, bias=bias)
        self.head = _activated(head, head_channels, normalization)
        self.scores = nn.Conv2d(head_channels, n_outputs, 1)
        initialize(self, nn.init.kaiming_normal_)
        nn.init.xavier_uniform_(self.scores.weight)
        if head.weight.is_meta:  # as in `initialize`
            return
        half = head_channels // 2
        with torch.no_grad():
            head.weight[half : 2 * half] = -head.weight[:half]
            self.scores.weight[:, half : 2 * half] = -self.scores.weight[:, :half]

    def forward(self, x):
        """Scores (logits) of every pixel of images.

        Parameters
        ----------
        x : Tensor of shape (n, in_channels, rows, columns)
            Any rows and columns from 1 on; in the dtype of the weights.

        Returns
        -------
        Tensor of shape (n, n_outputs, rows, columns)

        Raises
        ------
        ValueError
            If ``x`` does not have that shape.
        """
        check_input(x, (self.in_channels, None, None))
        rows, columns = x.shape[2:]
        # Nothing is added above or to the left: what a tile pools together is then what the whole image pools, if it
        # starts at a multiple; what is added to a tile lies beyond its halo, or is what the whole image gets.
        y = mirror_pad(x, bottom=-rows % self.size_multiples[0], right=-columns % self.size_multiples[1])
        handed = []
        for level, block in enumerate(self.encoder):
            if level:
                handed.append(y)
                y = functional.max_pool2d(y, self.pools[level - 1])
            y = self.dropouts[level](block(y))
        for up, block in zip(reversed(self.ups), reversed(self.decoder), strict=True):
            y = block(torch.cat([handed.pop(), up(y)], 1))
        return self.scores(self.head(y))[:, :, :rows, :columns]


class _UpConvolution(nn.Conv2d):
    """Upsampling to nearest by 1 or 2 along each axis, then a 2x2 convolution that pads below and to the right.

    Of the pixels that it sees many are copies of one. Their weights are added up first, and one transposed convolution
    of three pixels along each axis is left: 9 products for four pixels instead of 16, and no enlarged image in memory.
    """

    def __init__(self, n_in, n_out, factors, bias):
        super().__init__(n_in, n_out, 2, bias=bias)
        self.factors = factors

    def forward(self, x):
        weight = self.weight.transpose(0, 1)
        for axis, factor in enumerate(self.factors, start=2):
            here, after = weight.unbind(axis)
            # What a pixel gives to the one before its first copy, to its first copy and to its second.
            taps = [after, here + after, here] if factor == 2 else [after, here, torch.zeros_like(here)]
            weight = torch.stack(taps, axis)
        return functional.conv_transpose2d(
            x, weight, self.bias, self.factors, padding=1, output_padding=[factor - 1 for factor in self.factors]
        )


def _activated(convolution, n_channels, normalization):
    layers = [convolution, activation_layer("relu", n_channels)]
    if normalization == "batch":
        layers.insert(1, nn.BatchNorm2d(n_channels))
    return nn.Sequential(*layers)


def _check_pools(pools, n_levels):
    """``pools`` as a tuple of one pair per level but the coarsest."""
    if pools is None:
        return ((2, 2),) * (n_levels - 1)
    try:
        pairs = tuple(tuple(pair) for pair in pools)
    except TypeError:
        pairs = None
    if pairs is None or len(pairs) != n_levels - 1 or any(pair not in ((1, 2), (2, 1), (2, 2)) for pair in pairs):
        raise ValueError(
            f"pools must be n_levels - 1 = {n_levels - 1} pairs of 1 or 2 for rows and columns, not both 1; "
            f"got {pools!r}."
        )
    return tuple(tuple(int(factor) for factor in pair) for pair in pairs)


def _receptive_radius(factors):
    """Largest distance of an input that an output depends on along an axis, over all positions between two tiles."""
    widths = []
    for position in range(math.prod(factors)):
        low, high = _decoder_needs(position - 1, position + 1, 0, factors)  # the head
        widths += [position - low, high - position]
    return max(widths)


def _decoder_needs(low, high, level, factors):
    """The inputs that the pixels ``low`` to ``high`` of the decoder's output at ``level`` depend on."""
    if level == len(factors):
        return _encoder_needs(low, high, level, factors)
    low, high = low - 2, high + 2
    across = _encoder_needs(low, high, level, factors)
    # The 2x2 convolution sees a pixel and the next.
    up = _decoder_needs(low // factors[level], (high + 1) // factors[level], level + 1, factors)
    return min(across[0], up[0]), max(across[1], up[1])


def _encoder_needs(low, high, level, factors):
    """The inputs that the pixels ``low`` to ``high`` of the encoder's output at ``level`` depend on."""
    for factor in reversed(factors[:level]):
        low, high = factor * (low - 2), factor * (high + 2) + factor - 1
    return low - 2, high + 2

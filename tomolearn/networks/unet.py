"""U-Net: an encoder and a decoder of convolutions with connections across at every level."""

import torch
from torch import nn
from torch.nn import functional

from tomolearn._validation import check_choice, check_integer, check_real
from tomolearn.networks._layers import activation_layer, check_channels, check_input, check_kernel_size, initialize

__all__ = ["UNet"]

NORMALIZATIONS = ("none", "batch", "group")
DOWNSAMPLINGS = ("max", "stride")
UPSAMPLINGS = ("bilinear", "nearest", "transposed")
GROUP_SIZE = 8  # channels that group normalisation takes together, where their number allows it
MOST_LEVELS = 12


class UNet(nn.Module):
    """U-Net [1]_ for images of any size.

    Each level has two convolutions on the way down and two on the way up, each followed by normalisation (if any) and
    activation; a 1x1 convolution ends the network. Convolutions pad with zeros. An image whose sides are not multiples
    of ``block_size * 2**(len(channels) - 1)`` is continued at the bottom and at the right by its last row and column,
    and the result is cropped.

    Parameters
    ----------
    in_channels, out_channels : int, default=1
        Channels of the input and of the output.
    channels : tuple of int, default=(32, 32, 64, 64, 128)
        Channels of the levels, from the finest to the coarsest; their number is that of the levels.
    skip_channels : int, default=None
        Channels to which a 1x1 convolution reduces what the encoder hands across at each level; None: all, as they are.
    kernel_size : int, default=3
        Odd.
    normalization : {"none", "batch", "group"}, default="none"
        After each convolution but the last. Group normalisation takes its statistics over the whole image.
    activation : {"relu", "leaky_relu", "prelu"}, default="relu"
        "leaky_relu" has the slope 0.2 for negative values.
    downsampling : {"max", "stride"}, default="max"
        Largest value of 2x2 pixels, or a stride of two in the first convolution of each coarser level.
    upsampling : {"bilinear", "nearest", "transposed"}, default="bilinear"
        "transposed" is a learned 2x2 transposed convolution that also reduces the channels.
    dropout : float, default=0.0
        Part of the values of the coarsest level that is dropped in training.
    residual : bool, default=False
        Add the first input channel to the output. The last convolution starts at zero then: an untrained network hands
        the first channel through.

    block_size : int, default=1
        Blocks of ``block_size x block_size`` pixels enter as channels of one pixel and leave likewise [3]_, which makes
        the network faster.

    Attributes
    ----------
    size_multiple : int
        What the sides of an image are continued to a multiple of. Tiles of a large image that start at multiples of it
        see the same pixels pooled as the whole image does.
    receptive_radius : int
        The largest distance, along an axis, of an input pixel that an output pixel depends on. Missing with group
        normalisation, by which every pixel depends on all.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Notes
    -----
    Weights are drawn as for ReLU (He normal, zero biases), which is what superres-tomo's U-Nets do [2]_. Those are
    ``channels=(64, 128, 256, 512, 1024), dropout=0.5`` and ``channels=(64, 128, 256), dropout=0.5`` with
    ``upsampling="nearest"``. The U-Net of DIVal's FBP+U-Net is close to ``skip_channels=4, normalization="batch",
    activation="leaky_relu", downsampling="stride"`` with these channels; it has one convolution less at the finest
    level.

    References
    ----------
    .. [1] O. Ronneberger, P. Fischer and T. Brox, "U-Net: convolutional networks for biomedical image segmentation",
       MICCAI (2015) 234, DOI 10.1007/978-3-319-24574-4_28.
    .. [2] K. He, X. Zhang, S. Ren and J. Sun, "Delving deep into rectifiers", ICCV (2015) 1026,
       DOI 10.1109/ICCV.2015.123.
    .. [3] W. Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel convolutional
       neural network", CVPR (2016) 1874, DOI 10.1109/CVPR.2016.207.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.networks import UNet
    >>> network = UNet(1, 2, channels=(8, 16, 16))
    >>> network(torch.zeros(3, 1, 17, 30)).shape
    torch.Size([3, 2, 17, 30])
    >>> network.size_multiple, network.receptive_radius
    (4, 26)
    """

    def __init__(
        self,
        in_channels=1,
        out_channels=1,
        *,
        channels=(32, 32, 64, 64, 128),
        skip_channels=None,
        kernel_size=3,
        normalization="none",
        activation="relu",
        downsampling="max",
        upsampling="bilinear",
        dropout=0.0,
        residual=False,
        block_size=1,
    ):
        super().__init__()
        self.in_channels = check_integer(in_channels, "in_channels", low=1)
        out_channels = check_integer(out_channels, "out_channels", low=1)
        channels = check_channels(channels)
        if len(channels) > MOST_LEVELS:
            raise ValueError(
                f"channels must be at most {MOST_LEVELS} numbers: each level halves the image; got {len(channels)}."
            )
        if skip_channels is not None:
            skip_channels = check_integer(skip_channels, "skip_channels", low=1)
        kernel_size = check_kernel_size(kernel_size)
        self.downsampling = check_choice(downsampling, "downsampling", DOWNSAMPLINGS)
        check_choice(upsampling, "upsampling", UPSAMPLINGS)
        options = (kernel_size, check_choice(normalization, "normalization", NORMALIZATIONS), activation)
        self.residual = bool(residual)
        self.block_size = check_integer(block_size, "block_size", low=1)
        self.size_multiple = self.block_size * 2 ** (len(channels) - 1)
        if normalization != "group":
            radius = _receptive_radius(len(channels), kernel_size // 2, downsampling, upsampling)
            self.receptive_radius = (radius + 1) * self.block_size - 1  # from one corner of a block to another's

        widths = [self.in_channels * self.block_size**2, *channels]
        strides = [1] + [2 if downsampling == "stride" else 1] * (len(channels) - 1)
        self.encoder = nn.ModuleList(
            _level(n_in, n_out, *options, stride=stride)
            for n_in, n_out, stride in zip(widths[:-1], channels, strides, strict=True)
        )
        self.dropout = nn.Dropout(check_real(dropout, "dropout", low=0, high=1))
        self.skips, self.ups, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for n_fine, n_coarse in zip(channels[:-1], channels[1:], strict=True):
            n_skip = skip_channels or n_fine
            self.skips.append(_skip(n_fine, skip_channels, activation))
            n_up = n_fine if upsampling == "transposed" else n_coarse
            self.ups.append(_up(n_coarse, n_up, upsampling))
            self.decoder.append(_level(n_skip + n_up, n_fine, *options))
        self.head = nn.Conv2d(channels[0], out_channels * self.block_size**2, 1)
        initialize(self, nn.init.kaiming_normal_)
        if self.residual:
            nn.init.zeros_(self.head.weight)

    def forward(self, x):
        """Images (n, out_channels, rows, columns) of images.

        Parameters
        ----------
        x : Tensor of shape (n, in_channels, rows, columns)
            In the dtype of the weights.

        Returns
        -------
        Tensor of shape (n, out_channels, rows, columns)

        Raises
        ------
        ValueError
            If ``x`` does not have that shape.
        """
        check_input(x, (self.in_channels, None, None))
        rows, columns = x.shape[2:]
        below, right = -rows % self.size_multiple, -columns % self.size_multiple
        y = functional.pad(x, (0, right, 0, below), mode="replicate") if below or right else x
        y = functional.pixel_unshuffle(y, self.block_size)
        handed = []
        for level, block in enumerate(self.encoder):
            if level:
                handed.append(y)
                y = functional.max_pool2d(y, 2) if self.downsampling == "max" else y
            y = block(y)
        y = self.dropout(y)
        for level in reversed(range(len(handed))):
            y = self.decoder[level](torch.cat([self.skips[level](handed[level]), self.ups[level](y)], 1))
        y = functional.pixel_shuffle(self.head(y), self.block_size)[:, :, :rows, :columns]
        return x[:, :1] + y if self.residual else y


def _level(n_in, n_out, kernel_size, normalization, activation, *, stride=1):
    layers: list[nn.Module] = []
    for n, step in ((n_in, stride), (n_out, 1)):
        # A normalisation subtracts the mean, and a bias before it with the mean.
        bias = normalization == "none"
        layers.append(nn.Conv2d(n, n_out, kernel_size, stride=step, padding=kernel_size // 2, bias=bias))
        if normalization == "batch":
            layers.append(nn.BatchNorm2d(n_out))
        elif normalization == "group":
            layers.append(nn.GroupNorm(n_out // GROUP_SIZE if n_out % GROUP_SIZE == 0 else 1, n_out))
        layers.append(activation_layer(activation, n_out))
    return nn.Sequential(*layers)


def _skip(n_channels, n_skip, activation):
    if n_skip is None:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(n_channels, n_skip, 1), activation_layer(activation, n_skip))


def _up(n_in, n_out, upsampling):
    if upsampling == "transposed":
        return nn.ConvTranspose2d(n_in, n_out, 2, stride=2)
    return nn.Upsample(scale_factor=2, mode=upsampling, align_corners=False if upsampling == "bilinear" else None)


def _receptive_radius(n_levels, radius, downsampling, upsampling):
    """Largest distance of an input that an output depends on, over all positions of the output between two tiles."""
    widths = []
    for position in range(2 ** (n_levels - 1)):
        low, high = _decoder_needs(position, position, 0, n_levels, radius, downsampling, upsampling)
        widths += [position - low, high - position]
    return max(widths)


def _decoder_needs(low, high, level, n_levels, radius, downsampling, upsampling):
    """The inputs that the pixels ``low`` to ``high`` of the decoder's output at ``level`` depend on."""
    if level == n_levels - 1:
        return _encoder_needs(low, high, level, radius, downsampling)
    low, high = low - 2 * radius, high + 2 * radius
    across = _encoder_needs(low, high, level, radius, downsampling)
    # Half-pixel bilinear: the even pixel 2 i mixes i - 1 and i, the odd one 2 i + 1 mixes i and i + 1.
    below = ((low - 1) // 2, (high + 1) // 2) if upsampling == "bilinear" else (low // 2, high // 2)
    up = _decoder_needs(*below, level + 1, n_levels, radius, downsampling, upsampling)
    return min(across[0], up[0]), max(across[1], up[1])


def _encoder_needs(low, high, level, radius, downsampling):
    """The inputs that the pixels ``low`` to ``high`` of the encoder's output at ``level`` depend on."""
    for _ in range(level):
        if downsampling == "max":
            low, high = 2 * (low - 2 * radius), 2 * (high + 2 * radius) + 1
        else:  # the second convolution at this level, then the one with a stride
            low, high = 2 * (low - radius) - radius, 2 * (high + radius) + radius
    return low - 2 * radius, high + 2 * radius

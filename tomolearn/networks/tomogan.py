"""TomoGAN: the generator that denoises slices, and the critic it is trained against."""

import torch
from torch import nn
from torch.nn import functional

from tomolearn._validation import check_choice, check_integer, check_shape
from tomolearn.networks._layers import check_input, initialize
from tomolearn.networks._padding import mirror_pad

__all__ = ["TomoGANCritic", "TomoGANGenerator"]

UPSAMPLINGS = ("bilinear", "nearest", "transposed")
N_LEVELS = 3  # poolings of the generator


class TomoGANGenerator(nn.Module):
    """The generator of TomoGAN [1]_: a U-Net that makes one clean slice of ``n_adjacent`` noisy ones.

    In the table a convolution is 3x3 and followed by ReLU unless said otherwise; it pads with zeros to keep the size.

    ======  ===========================================================================  ========  =====
    stage   layers                                                                       channels  scale
    ======  ===========================================================================  ========  =====
    stack   1x1 convolution, ReLU                                                        8         1
    box1    two convolutions                                                             32        1
    box2    2x2 maximum, two convolutions                                                64        1/2
    box3    2x2 maximum, two convolutions                                                128       1/4
    middle  2x2 maximum, one convolution                                                 128       1/8
    up1     upsampling by 2, joined to box3 (box3 first), two convolutions               64        1/4
    up2     upsampling by 2, joined to box2, two convolutions                            32        1/2
    up3     upsampling by 2, joined to box1, two convolutions                            32        1
    head    1x1 convolution to 16 channels, ReLU; 1x1 convolution to one, no activation  1         1
    ======  ===========================================================================  ========  =====

    An image whose sides are not multiples of 8 is continued at the bottom and at the right by its mirror image (without
    repeating the last row or column; a side too short for that by its last row or column), and the result is cropped.
    Weights are drawn as by Keras (Glorot uniform, zero biases).

    Parameters
    ----------
    n_adjacent : int, default=1
        Slices seen together. The result belongs to the slice ``n_adjacent // 2`` of them.
    upsampling : {"bilinear", "nearest", "transposed"}, default="bilinear"
        "bilinear" takes pixels as areas (half-pixel centres, as Keras does); "transposed" is a learned 4x4 transposed
        convolution of stride two that keeps the channels, followed by ReLU.

    Attributes
    ----------
    size_multiple : int
        8. Tiles of a large image have to start at multiples of it, where the whole image's 8x8 blocks start.
    receptive_radius : int
        The largest distance, along an axis, of an input pixel that an output pixel depends on.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Notes
    -----
    The generator has 694,897 parameters with one slice, as the authors print, and 8 more with each further slice;
    "transposed" adds 344,288. Published versions differ in the upsampling: TensorFlow 2 is "bilinear", the OpenCL and
    cuDNN ports are "nearest", the oneDNN port is "transposed".

    A tile gives the pixels of the whole image if it starts at a multiple of `size_multiple` and reaches
    `receptive_radius` pixels beyond them, or to the border of the image.

    References
    ----------
    .. [1] Z. Liu, T. Bicer, R. Kettimuthu, D. Gursoy, F. De Carlo and I. Foster, "TomoGAN: low-dose synchrotron x-ray
       tomography with generative adversarial networks", J. Opt. Soc. Am. A 37 (2020) 422, DOI 10.1364/JOSAA.375595.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.networks import TomoGANGenerator
    >>> network = TomoGANGenerator(3)
    >>> network(torch.zeros(2, 3, 21, 30)).shape
    torch.Size([2, 1, 21, 30])
    >>> network.size_multiple, network.receptive_radius
    (8, 50)
    """

    def __init__(self, n_adjacent=1, *, upsampling="bilinear"):
        super().__init__()
        self.n_adjacent = check_integer(n_adjacent, "n_adjacent", low=1)
        check_choice(upsampling, "upsampling", UPSAMPLINGS)
        self.size_multiple = 2**N_LEVELS
        self.receptive_radius = _receptive_radius(upsampling)
        self.stack = nn.Sequential(nn.Conv2d(self.n_adjacent, 8, 1), nn.ReLU(inplace=True))
        self.box1 = _convolutions(8, 32, 32)
        self.box2 = _convolutions(32, 64, 64)
        self.box3 = _convolutions(64, 128, 128)
        self.middle = _convolutions(128, 128)
        self.expand1, self.up1 = _upsampling(128, upsampling), _convolutions(256, 64, 64)
        self.expand2, self.up2 = _upsampling(64, upsampling), _convolutions(128, 32, 32)
        self.expand3, self.up3 = _upsampling(32, upsampling), _convolutions(64, 32, 32)
        self.head = nn.Sequential(nn.Conv2d(32, 16, 1), nn.ReLU(inplace=True), nn.Conv2d(16, 1, 1))
        initialize(self, nn.init.xavier_uniform_)

    def forward(self, x):
        """Clean slices of windows of noisy ones.

        Parameters
        ----------
        x : Tensor of shape (n, n_adjacent, rows, columns)
            Any rows and columns from 1 on; in the dtype of the weights.

        Returns
        -------
        Tensor of shape (n, 1, rows, columns)

        Raises
        ------
        ValueError
            If ``x`` does not have that shape.
        """
        check_input(x, (self.n_adjacent, None, None))
        rows, columns = x.shape[2:]
        # Nothing is added above or to the left: the 8x8 blocks of a tile that starts at a multiple of 8 are then those
        # of the whole image, and what is added to a tile lies beyond its halo, or is what the whole image gets.
        y = mirror_pad(x, bottom=-rows % self.size_multiple, right=-columns % self.size_multiple)
        fine = self.box1(self.stack(y))
        half = self.box2(functional.max_pool2d(fine, 2))
        quarter = self.box3(functional.max_pool2d(half, 2))
        y = self.middle(functional.max_pool2d(quarter, 2))
        y = self.up1(torch.cat([quarter, self.expand1(y)], 1))
        y = self.up2(torch.cat([half, self.expand2(y)], 1))
        y = self.up3(torch.cat([fine, self.expand3(y)], 1))
        return self.head(y)[:, :, :rows, :columns]


class TomoGANCritic(nn.Module):
    """The critic of TomoGAN [1]_: one number per image, larger for images that look measured at full dose.

    Six 3x3 convolutions with ReLU, each with one row and column of zeros around its input: 64 channels, 64 with stride
    two, 128, 128 with stride two, 128, 4 with stride two; a dense layer of 64 with ReLU; a dense layer to one number,
    linear. The image alone is judged, not beside the noisy one. Weights are drawn as by Keras (Glorot uniform, zero
    biases).

    Parameters
    ----------
    patch_shape : tuple of two int, default=None
        Rows and columns of the images. The dense layers then see all positions at once, as published. None: the dense
        layers act at each position (1x1 convolutions) and the mean over all is taken, for images of any size.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Notes
    -----
    673,477 parameters for patches of 256 x 256 pixels, 1,459,909 for 512 x 512, 411,589 without `patch_shape`. There is
    no normalisation: under a gradient penalty each image has to be judged alone. The value is a Wasserstein critic's,
    or the logit of a discriminator.

    References
    ----------
    .. [1] Z. Liu, T. Bicer, R. Kettimuthu, D. Gursoy, F. De Carlo and I. Foster, "TomoGAN: low-dose synchrotron x-ray
       tomography with generative adversarial networks", J. Opt. Soc. Am. A 37 (2020) 422, DOI 10.1364/JOSAA.375595.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.networks import TomoGANCritic
    >>> TomoGANCritic()(torch.zeros(5, 1, 40, 31)).shape
    torch.Size([5])
    >>> sum(p.numel() for p in TomoGANCritic(patch_shape=(256, 256)).parameters())
    673477
    """

    def __init__(self, *, patch_shape=None):
        super().__init__()
        layers, widths = [], (1, 64, 64, 128, 128, 128, 4)
        for level, (n_in, n_out) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
            layers += [nn.Conv2d(n_in, n_out, 3, stride=1 + level % 2, padding=1), nn.ReLU(inplace=True)]
        self.convolutions = nn.Sequential(*layers)
        if patch_shape is None:
            self.patch_shape = None
            self.dense = nn.Sequential(nn.Conv2d(4, 64, 1), nn.ReLU(inplace=True), nn.Conv2d(64, 1, 1))
        else:
            self.patch_shape = check_shape(patch_shape, "patch_shape", 2)
            rows, columns = (-(-size // 2**N_LEVELS) for size in self.patch_shape)  # each stride of two rounds up
            self.dense = nn.Sequential(
                nn.Flatten(), nn.Linear(4 * rows * columns, 64), nn.ReLU(inplace=True), nn.Linear(64, 1)
            )
        initialize(self, nn.init.xavier_uniform_)

    def forward(self, x):
        """One value per image.

        Parameters
        ----------
        x : Tensor of shape (n, 1, rows, columns)
            In the dtype of the weights; rows and columns those of `patch_shape`, if that was given.

        Returns
        -------
        Tensor of shape (n,)

        Raises
        ------
        ValueError
            If ``x`` does not have that shape.
        """
        check_input(x, (1, *(self.patch_shape or (None, None))))
        return self.dense(self.convolutions(x)).flatten(1).mean(1)


def _convolutions(*widths):
    layers = []
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _upsampling(n_channels, upsampling):
    if upsampling == "transposed":
        return nn.Sequential(nn.ConvTranspose2d(n_channels, n_channels, 4, stride=2, padding=1), nn.ReLU(inplace=True))
    return nn.Upsample(scale_factor=2, mode=upsampling, align_corners=False if upsampling == "bilinear" else None)


def _receptive_radius(upsampling):
    """Largest distance of an input that an output depends on, over all positions of the output in an 8x8 block."""
    widths = []
    for position in range(2**N_LEVELS):
        low, high = position, position
        needed = []
        for level in range(N_LEVELS):
            low, high = low - 2, high + 2  # the two convolutions after the joint
            needed.append(_encoder_needs(low, high, level))
            # Half-pixel bilinear: the even pixel 2 i mixes i - 1 and i, the odd one 2 i + 1 mixes i and i + 1. The
            # transposed convolution, 4x4 and of stride two, reaches the same pixels.
            low, high = (low // 2, high // 2) if upsampling == "nearest" else ((low - 1) // 2, (high + 1) // 2)
        # One convolution in the middle, then down through the encoder.
        needed.append(_encoder_needs(2 * (low - 1), 2 * (high + 1) + 1, N_LEVELS - 1))
        widths += [position - min(n[0] for n in needed), max(n[1] for n in needed) - position]
    return max(widths)


def _encoder_needs(low, high, level):
    """The inputs that the pixels ``low`` to ``high`` of the encoder's output at ``level`` depend on."""
    for _ in range(level):
        low, high = 2 * (low - 2), 2 * (high + 2) + 1
    return low - 2, high + 2

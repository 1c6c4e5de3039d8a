"""AUTOMAP: dense layers that learn the whole transform from sinogram to image, then convolutions."""

import torch
from torch import nn
from torch.nn import functional

from tomolearn._validation import check_choice, check_integer, check_real, check_shape
from tomolearn.networks._layers import check_input, convolution_sizes, initialize, linear_size

__all__ = ["AutomapNetwork"]

LAYOUTS = ("paper", "superres")
PADDING = 4  # pixels of zeros around the image of the dense layers, cropped off the result
BOTTLENECK = 256  # width of the three dense layers that superres-tomo puts in front


class AutomapNetwork(nn.Module):
    """AUTOMAP [1]_: dense layers from the sinogram to the image, refined by three convolutions.

    With m the values of a sinogram and p the pixels of an image:

    - ``layout="paper"``: dense m -> p and p -> p, each followed by tanh;
    - ``layout="superres"``: dense m -> 256 -> 256 -> 256 -> p, each followed by tanh, as superres-tomo has it.

    Then, in both: 4 pixels of zeros all around, two 5x5 convolutions to `n_filters` channels with ReLU, a linear 7x7
    transposed convolution to one channel, and a crop. The paper adds an L1 penalty on what the second convolution
    gives: `forward_with_penalty`.

    Parameters
    ----------
    sinogram_shape : tuple of two int
        (n_angles, n_detectors).
    image_shape : tuple of two int
        (rows, columns).
    rank : int, default=None
        Each dense layer a -> b becomes a -> rank -> b, without an activation between, which takes
        ``rank * (a + b) + b`` parameters instead of ``a * b + b``. None: full matrices. For ``layout="superres"``,
        whose first layer is its bottleneck already, the width of the three layers in front; None: 256.
    layout : {"paper", "superres"}, default="paper"
    n_filters : int, default=64
        Channels of the two convolutions.
    input_noise : float, default=0.01
        In training the input is multiplied by uniform noise within ``1 - input_noise`` and ``1 + input_noise``, drawn
        from torch's global generator.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Notes
    -----
    superres-tomo ends with one more dense layer p -> p, which alone holds p**2 weights and undoes what its bottleneck
    saves; it is left out. The ReLU of the transposed convolution before it is left out too: at the end it would clip
    images that are not positive, and pixels it has clipped learn nothing.

    Weights are drawn as by Keras, in which both were written (Glorot uniform, zero biases).

    References
    ----------
    .. [1] B. Zhu, J. Z. Liu, S. F. Cauley, B. R. Rosen and M. S. Rosen, "Image reconstruction by domain-transform
       manifold learning", Nature 555 (2018) 487, DOI 10.1038/nature25988.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.networks import AutomapNetwork
    >>> network = AutomapNetwork((6, 15), (10, 12), rank=8)
    >>> network(torch.zeros(3, 6, 15)).shape
    torch.Size([3, 10, 12])
    >>> AutomapNetwork.parameter_count((128, 128), (128, 128))
    537010945
    """

    def __init__(self, sinogram_shape, image_shape, *, rank=None, layout="paper", n_filters=64, input_noise=0.01):
        super().__init__()
        self.sinogram_shape, self.image_shape, pairs, rank, n_filters = _sizes(
            sinogram_shape, image_shape, rank, layout, n_filters
        )
        self.input_noise = check_real(input_noise, "input_noise", low=0, high=1)
        layers = []
        for n_in, n_out in pairs:
            layers += [*_dense(n_in, n_out, rank), nn.Tanh()]
        self.dense = nn.Sequential(*layers)
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, n_filters, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(n_filters, n_filters, 5, padding=2),
            nn.ReLU(inplace=True),
        )
        self.head = nn.ConvTranspose2d(n_filters, 1, 7, padding=3)
        initialize(self, nn.init.xavier_uniform_)

    @classmethod
    def parameter_count(cls, sinogram_shape, image_shape, *, rank=None, layout="paper", n_filters=64):
        """Parameters of the network with these arguments, without building it.

        Parameters
        ----------
        sinogram_shape, image_shape : tuple of two int
        rank : int, default=None
        layout : {"paper", "superres"}, default="paper"
        n_filters : int, default=64

        Returns
        -------
        int
        """
        _, _, pairs, rank, n_filters = _sizes(sinogram_shape, image_shape, rank, layout, n_filters)
        dense = sum(linear_size(n_in, n_out, rank) for n_in, n_out in pairs)
        return dense + convolution_sizes((1, n_filters, n_filters), 5) + convolution_sizes((n_filters, 1), 7)

    def forward(self, x):
        """Images (n, rows, columns) of sinograms (n, n_angles, n_detectors)."""
        return self._images(self._features(x))

    def forward_with_penalty(self, x):
        """Images, and the sum of the activations of the second convolution.

        The paper adds 1e-4 of that sum to the sum of the squared errors of an image.

        Parameters
        ----------
        x : Tensor of shape (n, n_angles, n_detectors)

        Returns
        -------
        images : Tensor of shape (n, rows, columns)
        penalty : Tensor of shape ()
            Sum over channels and pixels, mean over the samples; at least float32.
        """
        features = self._features(x)
        # After a ReLU the values are their own magnitudes; a sum in half precision would stop growing.
        dtype = torch.promote_types(features.dtype, torch.float32)
        return self._images(features), features.sum(dtype=dtype) / max(1, len(x))

    def _features(self, x):
        check_input(x, self.sinogram_shape)
        if self.training and self.input_noise:
            x = x * torch.empty_like(x).uniform_(1 - self.input_noise, 1 + self.input_noise)
        y = self.dense(x.flatten(1)).view(len(x), 1, *self.image_shape)
        return self.convolutions(functional.pad(y, (PADDING,) * 4))

    def _images(self, features):
        return self.head(features)[:, 0, PADDING:-PADDING, PADDING:-PADDING]


def _sizes(sinogram_shape, image_shape, rank, layout, n_filters):
    """Checked arguments, with the pairs (inputs, outputs) of the dense layers and the rank of their factors."""
    sinogram_shape = check_shape(sinogram_shape, "sinogram_shape", 2)
    image_shape = check_shape(image_shape, "image_shape", 2)
    n_filters = check_integer(n_filters, "n_filters", low=1)
    if rank is not None:
        rank = check_integer(rank, "rank", low=1)
    n_values, n_pixels = sinogram_shape[0] * sinogram_shape[1], image_shape[0] * image_shape[1]
    widths: tuple[int, ...] = (n_values, n_pixels, n_pixels)
    if check_choice(layout, "layout", LAYOUTS) == "superres":
        width = BOTTLENECK if rank is None else rank
        widths, rank = (n_values, width, width, width, n_pixels), None
    return sinogram_shape, image_shape, list(zip(widths[:-1], widths[1:], strict=True)), rank, n_filters


def _dense(n_in, n_out, rank):
    if rank is None:
        return [nn.Linear(n_in, n_out)]
    return [nn.Linear(n_in, rank, bias=False), nn.Linear(rank, n_out)]

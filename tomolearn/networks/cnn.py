"""superres-tomo's convolutional reconstruction: a convolutional encoder, dense layers, convolutions on the image."""

from torch import nn
from torch.nn import functional

from tomolearn._validation import check_integer, check_real, check_shape
from tomolearn.networks._layers import check_input, convolution_sizes, initialize, linear_size

__all__ = ["CNNNetwork"]

N_HALVINGS = 4  # convolutions of stride two on the sinogram


class CNNNetwork(nn.Module):
    """Four 3x3 convolutions of stride two, dense layers to the pixels, four 3x3 convolutions on the image.

    It is ``reconstruct_cnn`` of superres-tomo as its report describes it [1]_: three dense layers of `width` with ReLU
    and a linear one to the pixels, with dropout after each of the four; then three convolutions with ReLU and a linear
    one to one channel. In the published code every dropout is wired to the output of the encoder, so that the layers of
    `width` have no effect; here they are connected.

    Weights are drawn as by Keras (Glorot uniform, zero biases).

    Parameters
    ----------
    sinogram_shape : tuple of two int
        (n_angles, n_detectors).
    image_shape : tuple of two int
        (rows, columns).
    width : int, default=1000
        Of the three dense layers.
    n_filters : int, default=64
        Channels of the convolutions on the sinogram.
    n_image_filters : int, default=128
        Channels of the convolutions on the image.
    dropout : float, default=0.1
        Part of the values after each dense layer that is dropped in training.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    References
    ----------
    .. [1] K. T. Butler et al., superres-tomo (2020), docs/reports/interim-report.md, section 6.2,
       https://github.com/keeeto/super-resolution-ml.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.networks import CNNNetwork
    >>> network = CNNNetwork((6, 15), (10, 12), width=20)
    >>> network(torch.zeros(3, 6, 15)).shape
    torch.Size([3, 10, 12])
    >>> CNNNetwork.parameter_count((64, 64), (64, 64))
    7536121
    """

    def __init__(self, sinogram_shape, image_shape, *, width=1000, n_filters=64, n_image_filters=128, dropout=0.1):
        super().__init__()
        self.sinogram_shape, self.image_shape, widths = _sizes(
            sinogram_shape, image_shape, width, n_filters, n_image_filters
        )
        dropout = check_real(dropout, "dropout", low=0, high=1)
        layers = []
        for n_in in (1, *[n_filters] * (N_HALVINGS - 1)):
            layers += [_SamePadding(), nn.Conv2d(n_in, n_filters, 3, stride=2), nn.ReLU(inplace=True)]
        self.encoder = nn.Sequential(*layers)
        layers = []
        for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(n_in, n_out), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        del layers[-2]  # the layer to the pixels is linear
        self.dense = nn.Sequential(*layers)
        layers = []
        for n_in in (1, n_image_filters, n_image_filters):
            layers += [nn.Conv2d(n_in, n_image_filters, 3, padding=1), nn.ReLU(inplace=True)]
        self.convolutions = nn.Sequential(*layers, nn.Conv2d(n_image_filters, 1, 3, padding=1))
        initialize(self, nn.init.xavier_uniform_)

    @classmethod
    def parameter_count(cls, sinogram_shape, image_shape, *, width=1000, n_filters=64, n_image_filters=128):
        """Parameters of the network with these arguments, without building it.

        Parameters
        ----------
        sinogram_shape, image_shape : tuple of two int
        width : int, default=1000
        n_filters : int, default=64
        n_image_filters : int, default=128

        Returns
        -------
        int
        """
        _, _, widths = _sizes(sinogram_shape, image_shape, width, n_filters, n_image_filters)
        dense = sum(linear_size(n_in, n_out) for n_in, n_out in zip(widths[:-1], widths[1:], strict=True))
        encoder = convolution_sizes((1, *[n_filters] * N_HALVINGS), 3)
        return encoder + dense + convolution_sizes((1, *[n_image_filters] * 3, 1), 3)

    def forward(self, x):
        """Images (n, rows, columns) of sinograms (n, n_angles, n_detectors)."""
        check_input(x, self.sinogram_shape)
        y = self.dense(self.encoder(x[:, None]).flatten(1)).view(len(x), 1, *self.image_shape)
        return self.convolutions(y)[:, 0]


class _SamePadding(nn.Module):
    """Zeros around a 3x3 convolution of stride two as TensorFlow pads it: an even side gets none in front."""

    def forward(self, x):
        rows, columns = x.shape[2:]
        return functional.pad(x, (columns % 2, 1, rows % 2, 1))


def _sizes(sinogram_shape, image_shape, width, n_filters, n_image_filters):
    """Checked shapes, with the widths of all dense layers from the encoder to the image."""
    sinogram_shape = check_shape(sinogram_shape, "sinogram_shape", 2)
    image_shape = check_shape(image_shape, "image_shape", 2)
    width = check_integer(width, "width", low=1)
    n_filters = check_integer(n_filters, "n_filters", low=1)
    check_integer(n_image_filters, "n_image_filters", low=1)
    n_angles, n_detectors = (-(-size // 2**N_HALVINGS) for size in sinogram_shape)  # rounded up, as each halving is
    return (
        sinogram_shape,
        image_shape,
        (n_filters * n_angles * n_detectors, *[width] * 3, image_shape[0] * image_shape[1]),
    )

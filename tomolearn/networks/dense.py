"""superres-tomo's dense reconstruction: dense layers of one width, an image, convolutions."""

from torch import nn

from tomolearn._validation import check_integer, check_shape
from tomolearn.networks._layers import check_input, convolution_sizes, initialize, linear_size

__all__ = ["DenseNetwork"]


class DenseNetwork(nn.Module):
    """Four dense layers, a dense layer to the pixels, three 3x3 convolutions, all with ReLU; a linear 3x3 convolution.

    It is ``dense_reconstruct`` of superres-tomo [1]_. Weights are drawn as by Keras (Glorot uniform, zero biases).

    Parameters
    ----------
    sinogram_shape : tuple of two int
        (n_angles, n_detectors).
    image_shape : tuple of two int
        (rows, columns).
    width : int, default=None
        Of the dense layers; None: ten times the number of detectors, as in the original.
    n_filters : int, default=64
        Channels of the convolutions.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    References
    ----------
    .. [1] K. T. Butler et al., superres-tomo (2020), https://github.com/keeeto/super-resolution-ml.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.networks import DenseNetwork
    >>> network = DenseNetwork((6, 15), (10, 12), width=20)
    >>> network(torch.zeros(3, 6, 15)).shape
    torch.Size([3, 10, 12])
    >>> DenseNetwork.parameter_count((64, 64), (64, 64))
    6553409
    """

    def __init__(self, sinogram_shape, image_shape, *, width=None, n_filters=64):
        super().__init__()
        self.sinogram_shape, self.image_shape, widths, n_filters = _sizes(sinogram_shape, image_shape, width, n_filters)
        layers = []
        for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(n_in, n_out), nn.ReLU(inplace=True)]
        self.dense = nn.Sequential(*layers)
        layers = []
        for n_in in (1, n_filters, n_filters):
            layers += [nn.Conv2d(n_in, n_filters, 3, padding=1), nn.ReLU(inplace=True)]
        self.convolutions = nn.Sequential(*layers, nn.Conv2d(n_filters, 1, 3, padding=1))
        initialize(self, nn.init.xavier_uniform_)

    @classmethod
    def parameter_count(cls, sinogram_shape, image_shape, *, width=None, n_filters=64):
        """Parameters of the network with these arguments, without building it.

        Parameters
        ----------
        sinogram_shape, image_shape : tuple of two int
        width : int, default=None
        n_filters : int, default=64

        Returns
        -------
        int
        """
        _, _, widths, n_filters = _sizes(sinogram_shape, image_shape, width, n_filters)
        dense = sum(linear_size(n_in, n_out) for n_in, n_out in zip(widths[:-1], widths[1:], strict=True))
        return dense + convolution_sizes((1, n_filters, n_filters, n_filters, 1), 3)

    def forward(self, x):
        """Images (n, rows, columns) of sinograms (n, n_angles, n_detectors)."""
        check_input(x, self.sinogram_shape)
        y = self.dense(x.flatten(1)).view(len(x), 1, *self.image_shape)
        return self.convolutions(y)[:, 0]


def _sizes(sinogram_shape, image_shape, width, n_filters):
    """Checked arguments, with the widths of all dense layers from the sinogram to the image."""
    sinogram_shape = check_shape(sinogram_shape, "sinogram_shape", 2)
    image_shape = check_shape(image_shape, "image_shape", 2)
    width = 10 * sinogram_shape[1] if width is None else check_integer(width, "width", low=1)
    n_filters = check_integer(n_filters, "n_filters", low=1)
    widths = (sinogram_shape[0] * sinogram_shape[1], *[width] * 4, image_shape[0] * image_shape[1])
    return sinogram_shape, image_shape, widths, n_filters

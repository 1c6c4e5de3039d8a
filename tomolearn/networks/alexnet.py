"""The AlexNet of superres-tomo: one vector per image, for classes or for values."""

import math

from torch import nn
from torch.nn import functional

from tomolearn._validation import check_integer, check_real, check_shape
from tomolearn.networks._layers import check_input, initialize

__all__ = ["AlexNet"]

KERNEL, STRIDE = (15, 5), (5, 2)  # of the first convolution
SECOND_KERNEL = 11
FITTING = (280, 111)  # rows and columns from which on every layer of the published network has a pixel left
SMALLEST_SIDE = 32
PADDED_KERNEL = 5  # of the second convolution on a shorter side, as in Krizhevsky's network
LEAST_KERNEL = 3


class AlexNet(nn.Module):
    """AlexNet [2]_ as superres-tomo has it [1]_: scores or values of images of one size.

    Convolutions do not pad; each is followed by ReLU.

    ============  ==============================================================  ========
    stage         layers                                                          channels
    ============  ==============================================================  ========
    convolutions  15x5 (rows x columns), stride (5, 2); 4x4 maximum, stride 2;
                  batch normalisation                                             96
    \\             11x11; 2x2 maximum, stride 2                                    256
    \\             3x3                                                             384
    \\             3x3; batch normalisation                                        384
    \\             3x3; 2x2 maximum, stride 1                                      256
    dense         dense layer with ReLU, dropout                                  1096
    \\             dense layer with ReLU, batch normalisation                      1096
    \\             dense layer with ReLU, dropout, batch normalisation             1000
    output        dense layer, linear                                             n_outputs
    ============  ==============================================================  ========

    That leaves a pixel of images from 280 rows and 111 columns on. Along an axis that is shorter, the first convolution
    is reduced in proportion and the others pad, as in Krizhevsky's network. With ``share = size / 280`` for rows and
    ``size / 111`` for columns,

    - the first kernel is ``15 * share`` for rows and ``5 * share`` for columns, rounded to the nearest odd number, 3 at
      least;
    - its stride is ``5 * share`` and ``2 * share``, rounded up;
    - the second kernel is 5 instead of 11;
    - the second and all further convolutions pad with zeros to keep the size.

    From 5 to 12 pixels are left along such an axis.

    Parameters
    ----------
    n_outputs : int
        Scores of classes (logits), or values, per image.
    image_shape : tuple of two int
        Rows and columns, each from 32 on.
    in_channels : int, default=1
        Of the images.
    channels : tuple of five int, default=(96, 256, 384, 384, 256)
        Of the convolutions.
    widths : tuple of three int, default=(1096, 1096, 1000)
        Of the dense layers before the last.
    dropout : float, default=0.4
        Part of the values that is dropped in training after the first and the third dense layer.

    Attributes
    ----------
    feature_shape : tuple of three int
        Channels, rows and columns of what the dense layers see.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Notes
    -----
    21,868,458 parameters for images of 300 x 300 pixels with three channels and two outputs. The first dense layer
    grows with the image, 1096 times the product of `feature_shape`, and holds most of them: 13.5 million here, and 73
    million at 400 x 400 pixels.

    Weights are drawn as by Keras: Glorot normal, those of the last layer Glorot uniform; biases are zero. Batch
    normalisation adds 0.001 to the variance as there, but follows the last ten batches, as in PyTorch, instead of the
    last hundred: short trainings see few. In training a single image is normalised with what is known from earlier
    batches, as it has no variance.

    References
    ----------
    .. [1] K. T. Butler et al., superres-tomo (2020), https://github.com/keeeto/super-resolution-ml.
    .. [2] A. Krizhevsky, I. Sutskever and G. E. Hinton, "ImageNet classification with deep convolutional neural
       networks", Commun. ACM 60 (2017) 84, DOI 10.1145/3065386.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.networks import AlexNet
    >>> network = AlexNet(3, image_shape=(64, 48), channels=(8, 16, 16, 16, 8), widths=(32, 32, 20)).eval()
    >>> x = torch.zeros(5, 1, 64, 48)
    >>> network(x).shape, network.features(x).shape, network.feature_shape
    (torch.Size([5, 3]), torch.Size([5, 20]), (8, 6, 10))
    """

    def __init__(
        self,
        n_outputs,
        *,
        image_shape,
        in_channels=1,
        channels=(96, 256, 384, 384, 256),
        widths=(1096, 1096, 1000),
        dropout=0.4,
    ):
        super().__init__()
        n_outputs = check_integer(n_outputs, "n_outputs", low=1)
        self.image_shape = check_shape(image_shape, "image_shape", 2)
        if min(self.image_shape) < SMALLEST_SIDE:
            raise ValueError(
                f"image_shape must be rows and columns from {SMALLEST_SIDE} on; got {self.image_shape}. "
                "Enlarge smaller images, or continue them beyond their borders."
            )
        self.in_channels = check_integer(in_channels, "in_channels", low=1)
        channels, widths = check_shape(channels, "channels", 5), check_shape(widths, "widths", 3)
        dropout = check_real(dropout, "dropout", low=0, high=1)
        (kernel, stride, second, padding), sizes = _axes(self.image_shape)
        self.feature_shape = (channels[-1], *sizes)
        self.convolutions = nn.Sequential(
            nn.Conv2d(self.in_channels, channels[0], kernel, stride),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(4, 2),
            _batch_norm(nn.BatchNorm2d, channels[0]),
            nn.Conv2d(channels[0], channels[1], second, padding=(2 * padding[0], 2 * padding[1])),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(channels[1], channels[2], 3, padding=padding),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels[2], channels[3], 3, padding=padding),
            nn.ReLU(inplace=True),
            _batch_norm(nn.BatchNorm2d, channels[3]),
            nn.Conv2d(channels[3], channels[4], 3, padding=padding),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 1),
        )
        self.dense = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(self.feature_shape), widths[0]),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(widths[0], widths[1]),
            nn.ReLU(inplace=True),
            _batch_norm(_BatchNorm, widths[1]),
            nn.Linear(widths[1], widths[2]),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            _batch_norm(_BatchNorm, widths[2]),
        )
        self.output = nn.Linear(widths[2], n_outputs)
        initialize(self, nn.init.xavier_normal_)
        nn.init.xavier_uniform_(self.output.weight)

    def features(self, x):
        """What the last layer sees of images: features for other methods.

        Parameters
        ----------
        x : Tensor of shape (n, in_channels, rows, columns)
            In the dtype of the weights.

        Returns
        -------
        Tensor of shape (n, widths[2])

        Raises
        ------
        ValueError
            If ``x`` does not have that shape.
        """
        check_input(x, (self.in_channels, *self.image_shape))
        return self.dense(self.convolutions(x))

    def forward(self, x):
        """Scores of classes, or values, of images.

        Parameters
        ----------
        x : Tensor of shape (n, in_channels, rows, columns)
            In the dtype of the weights.

        Returns
        -------
        Tensor of shape (n, n_outputs)

        Raises
        ------
        ValueError
            If ``x`` does not have that shape.
        """
        return self.output(self.features(x))


class _BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that takes a batch without variance as it does in prediction, where torch's raises."""

    def forward(self, x):
        if self.training and len(x) < 2:
            return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def _batch_norm(layer, n_channels):
    return layer(n_channels, eps=1e-3)


def _axes(shape):
    """First kernel, first stride, second kernel and padding along each axis, and the pixels that are left along each.

    The first four are pairs, one number per axis; the padding is that of a 3x3 convolution, 1 or 0.
    """
    layers, left = [], []
    for size, fitting, kernel, stride in zip(shape, FITTING, KERNEL, STRIDE, strict=True):
        second, padding = SECOND_KERNEL, 0
        if size < fitting:
            kernel = max(LEAST_KERNEL, 2 * (kernel * size // (2 * fitting)) + 1)
            stride = -(-stride * size // fitting)
            second, padding = PADDED_KERNEL, 1
        layers.append((kernel, stride, second, padding))
        n = ((size - kernel) // stride + 1 - 4) // 2 + 1  # the first convolution, the first maximum
        n = (n + 4 * padding - second + 1) // 2  # the second convolution and maximum
        left.append(n - 3 * 2 * (1 - padding) - 1)  # three 3x3 convolutions, the last maximum
    return zip(*layers, strict=True), tuple(left)

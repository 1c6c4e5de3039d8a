"""The convolutional variational autoencoder of superres-tomo."""

import torch
from torch import nn

from tomolearn._validation import check_integer, check_shape
from tomolearn.networks._layers import check_input, initialize

__all__ = ["ConvolutionalVAE"]

N_FILTERS = (16, 32)  # of the two convolutions of the encoder; the decoder's are the same, in reverse
SMALLEST_SIDE = 12  # the two convolutions without padding leave at least one pixel of it


class ConvolutionalVAE(nn.Module):
    """Variational autoencoder [1]_ of images of one size.

    The encoder has two 4x4 convolutions of stride two without padding, of 16 and 32 channels with ReLU, and a dense
    layer to mean and logarithm of the variance of each latent value. The decoder has a dense layer with ReLU to 32
    channels at a quarter of the size, two 4x4 transposed convolutions of stride two, of 32 and 16 channels with ReLU,
    and a 1x1 convolution to one channel, linear. It is ``CVAE`` of superres-tomo [2]_; weights are drawn as by Keras
    (Glorot uniform, zero biases).

    In training the latent values are drawn from the posterior; otherwise they are its mean, and an image always gives
    the same result.

    Parameters
    ----------
    image_shape : tuple of two int
        Rows and columns, multiples of 4 from 12 on.
    latent_dim : int, default=16
        Number of latent values.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Notes
    -----
    373,137 parameters for images of 64 x 64 pixels and 16 latent values. What the decoder gives is linear: logits for a
    Bernoulli likelihood, the mean for a Gaussian one.

    References
    ----------
    .. [1] D. P. Kingma and M. Welling, "Auto-encoding variational Bayes", ICLR (2014), DOI 10.48550/arXiv.1312.6114.
    .. [2] K. T. Butler et al., superres-tomo (2020), https://github.com/keeeto/super-resolution-ml.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.networks import ConvolutionalVAE
    >>> network = ConvolutionalVAE((64, 64)).eval()
    >>> mean, log_variance = network.encode(torch.zeros(3, 1, 64, 64))
    >>> mean.shape, network.decode(mean).shape
    (torch.Size([3, 16]), torch.Size([3, 1, 64, 64]))
    >>> sum(p.numel() for p in network.parameters())
    373137
    """

    def __init__(self, image_shape, latent_dim=16):
        super().__init__()
        self.image_shape = check_shape(image_shape, "image_shape", 2)
        self.latent_dim = check_integer(latent_dim, "latent_dim", low=1)
        if any(size % 4 or size < SMALLEST_SIDE for size in self.image_shape):
            raise ValueError(
                f"image_shape must be two multiples of 4, from {SMALLEST_SIDE} on; got {self.image_shape}. "
                "Cut larger images into tiles of such a size, or continue the images up to it."
            )
        first, second = N_FILTERS
        encoded = [((size - 2) // 2 - 2) // 2 for size in self.image_shape]
        self.encoder = nn.Sequential(
            nn.Conv2d(1, first, 4, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, second, 4, stride=2),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(second * encoded[0] * encoded[1], 2 * self.latent_dim),
        )
        quarter = tuple(size // 4 for size in self.image_shape)
        self.decoder = nn.Sequential(
            nn.Linear(self.latent_dim, second * quarter[0] * quarter[1]),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (second, *quarter)),
            nn.ConvTranspose2d(second, second, 4, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(second, first, 4, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, 1, 1),
        )
        initialize(self, nn.init.xavier_uniform_)

    def encode(self, x):
        """Mean and logarithm of the variance of the latent values of images.

        Parameters
        ----------
        x : Tensor of shape (n, 1, rows, columns)
            In the dtype of the weights.

        Returns
        -------
        mean, log_variance : Tensor of shape (n, latent_dim)

        Raises
        ------
        ValueError
            If ``x`` does not have that shape.
        """
        check_input(x, (1, *self.image_shape))
        return self.encoder(x).chunk(2, 1)

    def decode(self, z):
        """Images of latent values: logits of a Bernoulli likelihood, or means of a Gaussian one.

        Parameters
        ----------
        z : Tensor of shape (n, latent_dim)
            In the dtype of the weights.

        Returns
        -------
        Tensor of shape (n, 1, rows, columns)

        Raises
        ------
        ValueError
            If ``z`` does not have that shape.
        """
        if z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"z must have shape (n, {self.latent_dim}); got {tuple(z.shape)}.")
        return self.decoder(z)

    def forward(self, x):
        """The images decoded from the latent values of images: their mean, in training a sample of them.

        Parameters
        ----------
        x : Tensor of shape (n, 1, rows, columns)
            In the dtype of the weights.

        Returns
        -------
        Tensor of shape (n, 1, rows, columns)

        Raises
        ------
        ValueError
            If ``x`` does not have that shape.
        """
        return self.decode(self._latent(*self.encode(x)))

    def forward_with_divergence(self, x):
        """The decoded images, and how far each posterior is from the prior.

        Parameters
        ----------
        x : Tensor of shape (n, 1, rows, columns)
            In the dtype of the weights.

        Returns
        -------
        images : Tensor of shape (n, 1, rows, columns)
            What `forward` gives.
        divergence : Tensor of shape (n,)
            Kullback-Leibler divergence of the posterior from independent standard normal values, in nats.

        Raises
        ------
        ValueError
            If ``x`` does not have that shape.
        """
        mean, log_variance = self.encode(x)
        # The closed form: the published code estimates it from the one sample that it decodes, with its noise.
        divergence = (log_variance.exp() + mean.square() - 1 - log_variance).sum(1) / 2
        return self.decode(self._latent(mean, log_variance)), divergence

    def _latent(self, mean, log_variance):
        return mean + torch.exp(log_variance / 2) * torch.randn_like(mean) if self.training else mean

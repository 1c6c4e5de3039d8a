"""Denoising by a variational autoencoder: images made of few numbers have no place for noise."""

from functools import partial

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from tomolearn._validation import as_tensor, check_choice, check_integer, check_shape
from tomolearn.base import BLOCK, register
from tomolearn.denoising._learned import LearnedDenoiser, describe, the_slices
from tomolearn.denoising._patches import cut, join
from tomolearn.denoising._variational import VariationalTask
from tomolearn.training.hardware import find_device
from tomolearn.training.parameters import store
from tomolearn.training.tasks import OPTIMIZERS

__all__ = ["VAEDenoiser"]


@register
@describe(1e-3, "adam", patch_shape=(64, 64))
class VAEDenoiser(LearnedDenoiser):
    """A variational autoencoder [1]_ that turns noisy images into clean ones, as superres-tomo has it.

    An encoder makes ``latent_dim`` numbers of an image, each with an uncertainty, and a decoder an image of these: what
    the training images had in common is kept, noise is not, and neither is what they did not have. It fits small images
    of one kind; larger ones are cut into patches that overlap, whose weighted mean is taken. With ``y=None`` the
    network learns to reproduce the noisy images themselves.

    ``predict`` decodes the mean of the latent values, so that an image always gives the same result; `sample` and
    `uncertainty` draw from them.

    Parameters
    ----------
    latent_dim : int, default=16
        Numbers that an image of ``patch_shape`` is made of.
    likelihood : {"gaussian", "bernoulli"}, default="gaussian"
        Of a pixel: Gaussian around the decoded value, with the width that fits best; or, for images that are nearly
        black and white, superres-tomo's Bernoulli, with which results lie between black and white.
    patch_shape : tuple of two int, default=(64, 64)
        Rows and columns of what the network sees, multiples of 4 from 12 on.
    flips : bool, default=False
        Whether training reflects and turns each patch at random, in the eight ways of a square.
    {images}
    {training}

    Attributes
    ----------
    {trained}
    {learned}

    References
    ----------
    .. [1] D. P. Kingma and M. Welling, "Auto-encoding variational Bayes", ICLR (2014), DOI 10.48550/arXiv.1312.6114.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import VAEDenoiser
    >>> from tomolearn.simulation import random_shapes
    >>> clean = random_shapes(16, 64, random_state=0)
    >>> noisy = clean + np.random.default_rng(0).normal(0, 0.5, clean.shape).astype(np.float32)
    >>> denoiser = VAEDenoiser(max_epochs=2, random_state=0).fit(noisy, clean)
    >>> denoiser.predict(noisy).shape, denoiser.encode(noisy).shape, denoiser.sample(3, random_state=0).shape
    ((16, 64, 64), (16, 16), (3, 64, 64))
    """

    _network_name = "ConvolutionalVAE"
    working_copies = 110  # measured

    def __init__(
        self,
        *,
        latent_dim=16,
        likelihood="gaussian",
        patch_shape=(64, 64),
        flips=False,
        image_shape=None,
        optimizer="adam",
        learning_rate=1e-3,
        schedule="constant",
        weight_decay=0.0,
        gradient_clipping=None,
        ema_decay=None,
        max_epochs=500,
        batch_size=32,
        early_stopping=True,
        n_iter_no_change=10,
        validation_fraction=0.1,
        warm_start=False,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
    ):
        store(self, locals())

    def encode(self, X):
        """The numbers that the images are made of: means of their latent values.

        Parameters
        ----------
        X : array-like of shape (n, *patch_shape) or (n, n_features)
            Noisy images of the size of the network.

        Returns
        -------
        ndarray of shape (n, latent_dim), float32

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError
            If the images are not finite or have another size.
        """
        return self._posterior(X)[0].numpy()

    def decode(self, Z):
        """The images that are made of such numbers.

        Parameters
        ----------
        Z : array-like of shape (n, latent_dim)

        Returns
        -------
        ndarray of shape (n, *patch_shape), float32
            In the unit of the clean images.

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError
            If ``Z`` has another shape.
        """
        check_is_fitted(self)
        Z = as_tensor(Z, "Z")[0].to(torch.float32)
        device = find_device(self.device)
        with torch.no_grad():
            images = self._shown(self._network_on(device).decode(Z.to(device)))[:, 0].cpu()
        return (images * self.y_scale_ + self.y_low_).numpy()

    def sample(self, n_samples=1, X=None, *, random_state=None):
        """Images drawn from what was learned: any, or versions of given ones.

        Parameters
        ----------
        n_samples : int, default=1
        X : array-like of shape (n, *patch_shape) or (n, n_features), default=None
            Noisy images whose latent values are drawn; None: latent values of any image, standard normal.
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        ndarray of shape (n_samples, *patch_shape) or (n_samples, n, *patch_shape), float32

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError, TypeError
            If ``n_samples`` is no positive integer, or the images are not finite or have another size.
        """
        check_is_fitted(self)
        check_integer(n_samples, "n_samples", low=1)
        rng = check_random_state(random_state)
        if X is None:
            return self.decode(rng.standard_normal((n_samples, self.latent_dim)))
        mean, deviation = (part.numpy() for part in self._posterior(X))
        return np.stack([self.decode(mean + deviation * rng.standard_normal(mean.shape)) for _ in range(n_samples)])

    def uncertainty(self, X, n_samples=20, *, random_state=None):
        """How far the images that are drawn for each noisy one differ from each other.

        It is the uncertainty of the numbers that an image is made of. What such images can not show, it does not know.

        Parameters
        ----------
        X : array-like of shape (n, *patch_shape) or (n, n_features)
            Noisy images of the size of the network.
        n_samples : int, default=20
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        ndarray of shape (n, *patch_shape), float32
            Standard deviation of each pixel, in the unit of the clean images.

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError, TypeError
            If ``n_samples`` is less than 2, or the images are not finite or have another size.
        """
        check_integer(n_samples, "n_samples", low=2)
        return self.sample(n_samples, X, random_state=random_state).std(axis=0, ddof=1)

    # ------------------------------------------------------------------------------------------------ the network

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags

    def _check_parameters(self):
        super()._check_parameters()
        check_choice(self.likelihood, "likelihood", ("gaussian", "bernoulli"))

    def _targets(self, y, X, name):
        return the_slices(X, self._entry_shape(X)) if y is None else super()._targets(y, X, name)

    def _kept_copies(self):
        return 80  # measured

    def _network_shapes(self):
        return {"image_shape": check_shape(self.patch_shape, "patch_shape", 2)}

    def _network_options(self):
        return {"latent_dim": self.latent_dim}

    def _task(self, network):
        return VariationalTask(
            network,
            normalize=self._normalized,
            crop=self._crop(),
            cut=lambda images: cut(images, network.image_shape)[0],
            bernoulli=self.likelihood == "bernoulli",
            make_optimizer=partial(OPTIMIZERS[self.optimizer], lr=self.learning_rate, weight_decay=self.weight_decay),
        )

    def _apply(self, network, x):
        patches, plan = cut(x[:, 0], network.image_shape)
        return join(self._shown(network(patches)), plan)

    def _shown(self, decoded):
        """Images, clean ones within [0, 1], of what the decoder gives."""
        return decoded.float().sigmoid() if self.likelihood == "bernoulli" else decoded.float()

    def _posterior(self, X):
        """Mean and standard deviation of the latent values of images."""
        check_is_fitted(self)
        X = self._check_images(X)
        X = the_slices(X, self._entry_shape(X))
        if X.shape[1:] != self.network_.image_shape:
            raise ValueError(
                f"X must hold images of the size of the network, patch_shape={self.network_.image_shape}; got "
                f"{X.shape[1:]}. Cut patches of that size, or use predict."
            )
        device, found = find_device(self.device), []
        network = self._network_on(device)
        with torch.no_grad():
            for start in range(0, len(X), BLOCK):
                block = as_tensor(X[start : start + BLOCK], "X")[0].to(device, torch.float32)
                found.append(network.encode((block[:, None] - self.x_mean_) / self.x_scale_))
        mean, log_variance = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
        return mean, torch.exp(log_variance / 2)

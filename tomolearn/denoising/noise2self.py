"""Denoising of volumes of which there is nothing else: no clean slices, no projections."""

import math
from functools import partial

import torch

from tomolearn._validation import check_integer
from tomolearn.base import register
from tomolearn.denoising._learned import LearnedDenoiser, describe, the_slices
from tomolearn.denoising._masked import Grid, MaskedTask
from tomolearn.training.parameters import store
from tomolearn.training.tasks import OPTIMIZERS

__all__ = ["Noise2SelfDenoiser"]


@register
@describe(1e-2, "muon")
class Noise2SelfDenoiser(LearnedDenoiser):
    """A U-Net that learns from the noisy volume alone, by predicting pixels that it is not shown [1]_.

    In training, pixels on a grid are replaced by the mean of their neighbours, and the network learns to predict their
    noisy values: it can predict what the image has there, but not the noise, as long as that is independent of the
    noise in the pixels that it is shown. In prediction every pixel is hidden once, so that its own noise has no part in
    the result.

    Noise of reconstructed slices is correlated between neighbours within a slice, more so the smoother the filter, and
    then a part of it is kept; ``mask_radius`` hides the neighbours too. Between slices of a parallel beam it is
    independent: ``n_adjacent=3`` or more helps. Where the projections are at hand,
    `tomolearn.Noise2InverseReconstructor` is better: their noise is independent.

    Parameters
    ----------
    n_adjacent : int, default=1
        Slices that the network sees at once to make the one in the middle; odd. Pixels are hidden in the middle one
        only.
    spacing : int, default=4
        Rows and columns from one hidden pixel to the next, at least ``2 * mask_radius + 2``. ``predict`` takes its
        square of times as long as the network does.
    mask_radius : int, default=0
        How far around each hidden pixel its neighbours are hidden too.
    channels : tuple of int, default=(32, 64, 128)
        Channels of the levels of the U-Net, the finest first.
    {crops}
    {images}
    {tiles}
    {training}

    Attributes
    ----------
    {trained}
    {learned}

    References
    ----------
    .. [1] J. Batson and L. Royer, "Noise2Self: blind denoising by self-supervision", ICML (2019),
       DOI 10.48550/arXiv.1901.11365.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import Noise2SelfDenoiser
    >>> from tomolearn.simulation import random_shapes
    >>> clean = random_shapes(8, 48, random_state=0)
    >>> noisy = clean + np.random.default_rng(0).normal(0, 0.3, clean.shape).astype(np.float32)
    >>> denoiser = Noise2SelfDenoiser(channels=(8, 16), batch_size=4, max_epochs=12, random_state=0).fit(noisy)
    >>> errors = [float(np.square(images - clean).mean()) for images in (denoiser.predict(noisy), noisy)]
    >>> errors[0] < errors[1] / 2
    True
    """

    _network_name = "UNet"

    _data_range_rule = "mean and standard deviation of the noisy images are taken for 0 and 1"

    def __init__(
        self,
        *,
        n_adjacent=1,
        spacing=4,
        mask_radius=0,
        channels=(32, 64, 128),
        patch_shape=(128, 128),
        flips=True,
        image_shape=None,
        tile_shape=None,
        optimizer="muon",
        learning_rate=1e-2,
        schedule="cosine",
        weight_decay=0.0,
        gradient_clipping=1.0,
        ema_decay=None,
        max_epochs=100,
        batch_size=16,
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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags

    def _check_parameters(self):
        super()._check_parameters()
        check_integer(self.mask_radius, "mask_radius", low=0)
        check_integer(self.spacing, "spacing", low=2)
        if self.spacing < 2 * self.mask_radius + 2:
            raise ValueError(
                f"spacing must be at least 2 * mask_radius + 2 = {2 * self.mask_radius + 2}, or nothing is left "
                f"between the hidden pixels; got {self.spacing}."
            )

    @property
    def tile_halo(self):
        """Distance of the farthest pixel that a pixel of the result depends on."""
        return self.network_.receptive_radius + 2 * self.mask_radius + 1

    @property
    def tile_multiple(self):
        """What the origins of tiles are multiples of."""
        return math.lcm(self.spacing, self.network_.size_multiple)

    @property
    def working_copies(self):
        """How many float32 images the prediction of one takes at the same time."""
        return 60 + 8 * max(n / 4**level for level, n in enumerate(self.channels))

    def _kept_copies(self):
        return 20 + 7 * sum(n / 4**level for level, n in enumerate(self.channels))

    def _network_shapes(self):
        return {"in_channels": self.n_adjacent}

    def _network_options(self):
        return {"channels": self.channels}

    def _targets(self, y, X, name):
        return the_slices(X, self._entry_shape(X))

    def _learn_normalization(self, X, y):
        super()._learn_normalization(X, y)
        self.y_low_, self.y_scale_ = self.x_mean_, self.x_scale_  # the same images

    def _grid(self):
        return Grid(self.spacing, self.mask_radius)

    def _task(self, network):
        return MaskedTask(
            network,
            self._grid(),
            normalize=self._normalized,
            crop=self._crop(),
            make_optimizer=partial(OPTIMIZERS[self.optimizer], lr=self.learning_rate, weight_decay=self.weight_decay),
        )

    def _apply(self, network, x):
        grid, images = self._grid(), torch.empty_like(x[:, 0])
        for phase in grid.phases():
            found = super()._apply(network, grid.hide(x, phase))
            grid.at(images, phase).copy_(grid.at(found, phase))
        return images

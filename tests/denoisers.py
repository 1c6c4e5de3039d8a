"""A denoiser whose result is known: the mean over slices and a square of pixels, zeros beyond the image."""

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from sklearn.base import BaseEstimator

from tomolearn.base import Denoiser
from tomolearn.streaming import ImageVolumePrediction


class BoxDenoiser(ImageVolumePrediction, Denoiser, BaseEstimator):
    """Box mean over (n_adjacent, 2 radius + 1, 2 radius + 1), times the factor that fits the clean images best."""

    working_copies = 3

    def __init__(self, *, n_adjacent=1, radius=1, tile_shape=None, image_shape=None, verbose=0):
        self.n_adjacent, self.radius, self.tile_shape = n_adjacent, radius, tile_shape
        self.image_shape, self.verbose = image_shape, verbose

    @property
    def tile_halo(self):
        return self.radius

    def fit(self, X, y=None):
        X = self._check_images(X, reset=True)
        self.factor_ = 1.0
        if y is not None:
            y = self._check_clean(y, X)
            self.factor_ = float(np.mean(y[:])) or 1.0
        return self

    def _predict_windows(self, windows):
        kernel = torch.ones(1, 1, 2 * self.radius + 1, 2 * self.radius + 1, dtype=windows.dtype)
        sums = torch.nn.functional.conv2d(windows.mean(1, keepdim=True), kernel, padding=self.radius)[:, 0]
        return sums * (self.factor_ / kernel.numel())


def box_mean(volume, n_adjacent, radius):
    """What `BoxDenoiser` predicts with the factor 1."""
    means = uniform_filter(volume.astype(np.float64), (n_adjacent, 1, 1), mode="nearest")
    return uniform_filter(means, (1, 2 * radius + 1, 2 * radius + 1), mode="constant")

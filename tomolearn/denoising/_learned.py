"""What the denoisers share that learn from pairs of noisy and clean images."""

import math

import numpy as np
from sklearn.base import BaseEstimator

from tomolearn.base import Denoiser, windows
from tomolearn.denoising._crops import RandomCrops, crops_per_slice
from tomolearn.denoising.pictures import EpochPictures
from tomolearn.training import Samples
from tomolearn.training import _distributed as distributed
from tomolearn.training._fit_callbacks import CallbackSupportMixin, with_callbacks
from tomolearn.training.hardware import find_device
from tomolearn.training.image_estimator import TrainedImageEstimator, describe_images, positive_scale

__all__ = ["LearnedDenoiser", "describe", "the_slices"]

LOOKED_AT = 2**22  # values of a stack that its range is learned from
TAILS = (0.05, 99.95)  # percentiles that are taken for black and white, TomoGAN's

_TEXTS = {
    "{crops}": """
    patch_shape : tuple of two int, default={patch_shape}
        Rows and columns of the parts that training cuts from the images at random: in an epoch as many as cover their
        area once. Smaller images are taken whole. Validation sees whole images.
    flips : bool, default=True
        Whether each part is reflected and turned at random, in the eight ways of a square.
    """,
    "{learned}": """
    x_mean_, x_scale_ : float
        Mean and standard deviation of the noisy images, by which they are normalised.
    y_low_, y_scale_ : float
        Black of the clean images and their range up to white, the 0.05 and 99.95 percentiles.
    {shapes}
    """,
}


def describe(learning_rate, optimizer, *, loss=None, patch_shape=(128, 128)):
    """Fill in the parameters and attributes that learned denoisers share: a class decorator."""
    texts = {mark: text.replace("{patch_shape}", str(patch_shape)) for mark, text in _TEXTS.items()}
    return describe_images(learning_rate, optimizer, loss=loss, texts=texts)


class LearnedDenoiser(TrainedImageEstimator, Denoiser, CallbackSupportMixin, BaseEstimator):
    """``fit`` and ``predict`` of a network from noisy images to clean ones; a subclass says which network."""

    _numbers = ("x_mean_", "x_scale_", "y_low_", "y_scale_")
    _scales = ("x_scale_", "y_scale_")
    _data_range_rule = "the {} and {} percentiles of the clean images are taken for 0 and 1".format(*TAILS)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    @with_callbacks
    def fit(self, X, y=None, *, X_val=None, y_val=None, checkpoint=None, callbacks=()):
        """Train the network.

        Parameters
        ----------
        X : array-like or Source of shape (n, rows, columns), (n, n_adjacent, rows, columns) or (n, n_features)
            Noisy images: one ordered volume, or windows that do not know each other. A `tomolearn.io.Source` may be
            larger than memory.
        y : array-like or Source of shape (n, rows, columns) or (n, rows * columns)
            Clean images of the same slices. With flat ``X`` and without ``image_shape`` also (n,) or (n, 1): one value
            for all the pixels of an image.
        X_val, y_val : array-like or Source, default=None
            Pairs to validate on, instead of a part of ``X`` and ``y``.
        checkpoint : path-like, default=None
            File that the state of the training is kept in. Where it exists, the training goes on from there, to the
            same weights as if it had not been broken off. Needs an integer ``random_state``.
        callbacks : sequence of Callback, default=()
            See `tomolearn.training`. Those of scikit-learn 1.9 are set by ``set_callbacks``; their tasks are epochs.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If ``X`` or ``y`` is not finite or of a wrong shape, ``y`` looks like labels, a parameter is out of its
            range, or ``checkpoint`` belongs to another training.
        MemoryBudgetError
            If network and optimiser do not fit into memory.
        DivergenceError
            If the loss is no longer finite.
        KeyboardInterrupt
            On Ctrl-C; the best weights so far have been set.
        """
        if (X_val is None or y is None) != (y_val is None):
            raise ValueError("X_val and y_val go together, as X and y do; got one of them.")
        self._check_training_parameters()
        self._check_parameters()
        distributed.join(find_device(self.device))
        X = self._check_images(X, reset=True)
        y = self._targets(y, X, "y")
        samples = self._pair(X, y, repeat=crops_per_slice(y.shape[1:], self.patch_shape))
        validation = None if X_val is None else self._validation_pair(X_val, y_val)
        config = self._network_config()
        self._check_need(config, tuple(map(min, self.image_shape_, self.patch_shape)))
        self._learn_normalization(X, y)
        callbacks = [callback.of(self) if isinstance(callback, EpochPictures) else callback for callback in callbacks]
        self._train_on(config, samples, validation, self._task, X, y, checkpoint=checkpoint, callbacks=callbacks)
        return self

    def _targets(self, y, X, name):
        """The images (n, rows, columns) that the network should make of checked ``X``."""
        return self._check_clean(y, X, name)

    def _pair(self, X, y, repeat=1):
        """Samples of windows (n, n_adjacent, rows, columns) and images."""
        if len(X.shape) == 2:
            X = X.reshape(len(X), *self._entry_shape(X))
        return Samples(windows(X, self.n_adjacent) if len(X.shape) == 3 else X, y, repeat=repeat)

    def _validation_pair(self, X, y):
        try:
            X = self._check_images(X)
        except (ValueError, TypeError) as error:
            raise type(error)(f"in X_val: {error}") from error
        return self._pair(X, self._targets(y, X, "y_val"))

    def _crop(self):
        return RandomCrops(self.patch_shape, self.flips)

    def _learn_normalization(self, X, y):
        """Mean and spread of the noisy images, black and white of the clean ones."""
        noisy, clean = (distributed.of_first(lambda stack=stack: _some_values(stack)) for stack in (X, y))
        self.x_mean_ = float(noisy.mean())
        self.x_scale_ = positive_scale(noisy.std(), self.x_mean_)
        low, high = np.percentile(clean, TAILS)
        self.y_low_, self.y_scale_ = float(low), positive_scale(high - low, float(low))

    def _normalized(self, x, y):
        """What the network takes and should give."""
        return (x - self.x_mean_) / self.x_scale_, (y - self.y_low_) / self.y_scale_

    def _task(self, network):
        """What trains ``network``: a `tomolearn.training.Task`."""
        raise NotImplementedError

    def _shown_output(self, output):
        return output * self.y_scale_ + self.y_low_


def the_slices(X, entry_shape):
    """The slices (n, rows, columns) of checked ``X``, of windows the middle ones; a Source as it is."""
    if len(X.shape) == 3:
        return X
    X = X if len(X.shape) == 4 else X.reshape(len(X), *entry_shape)
    return X if X.ndim == 3 else X[:, X.shape[1] // 2]


def _some_values(stack):
    """Values of up to 64 slices of a stack, spread evenly over it, float64; the same ones each time."""
    rows = np.unique(np.linspace(0, len(stack) - 1, 64).astype(int))
    size, most = math.prod(stack.shape[1:]), LOOKED_AT // len(rows)
    which = np.random.default_rng(0).integers(size, size=most) if size > most else slice(None)
    return np.concatenate([np.asarray(stack[row : row + 1]).ravel()[which].astype(np.float64) for row in rows])

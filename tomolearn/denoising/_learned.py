"""What the denoisers share that learn from pairs of noisy and clean images."""

import math

import numpy as np
import torch
from sklearn.base import BaseEstimator

from tomolearn._validation import check_shape
from tomolearn.base import Denoiser, windows
from tomolearn.denoising._crops import RandomCrops, crops_per_slice
from tomolearn.denoising.pictures import EpochPictures
from tomolearn.exceptions import FileFormatError
from tomolearn.networks import build_network
from tomolearn.streaming import ImageVolumePrediction
from tomolearn.training import Samples, TrainedEstimator
from tomolearn.training import _distributed as distributed
from tomolearn.training._fit_callbacks import CallbackSupportMixin, FitCallbacks, with_callbacks
from tomolearn.training.hardware import autocast_dtype, find_device
from tomolearn.training.parameters import describe_training

__all__ = ["LearnedDenoiser", "describe", "the_slices"]

LOOKED_AT = 2**22  # values of a stack that its range is learned from
TAILS = (0.05, 99.95)  # percentiles that are taken for black and white, TomoGAN's

_TEXTS = {
    "{images}": """
    image_shape : tuple of two int, default=None
        Rows and columns of an image, needed for flat ``X`` only. None: a flat row is an image of one row.
    """,
    "{tiles}": """
    tile_shape : tuple of two int, default=None
        Rows and columns of the tiles that ``predict`` cuts images into. The network sees enough around each for the
        result to be that of the whole image. None: tiles only where memory is short.
    """,
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
    image_shape_ : tuple of two int
    n_features_in_ : int
        Values of a sample.
    feature_names_in_ : ndarray of str
        Column names; only if ``X`` was a data frame.
    """,
}


def describe(learning_rate, optimizer, *, loss=None, patch_shape=(128, 128)):
    """Fill in the parameters and attributes that learned denoisers share: a class decorator."""
    texts = {mark: text.replace("{patch_shape}", str(patch_shape)) for mark, text in _TEXTS.items()}
    return describe_training(learning_rate, loss, optimizer, texts)


class LearnedDenoiser(TrainedEstimator, ImageVolumePrediction, Denoiser, CallbackSupportMixin, BaseEstimator):
    """``fit`` and ``predict`` of a network from noisy images to clean ones; a subclass says which network."""

    _numbers = ("x_mean_", "x_scale_", "y_low_", "y_scale_")  # fitted attributes that a model file must hold

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
        self._check_need(config)
        self._learn_normalization(X, y)
        hooks = FitCallbacks.of(self, X, y)
        callbacks = [callback.of(self) if isinstance(callback, EpochPictures) else callback for callback in callbacks]
        self._train(config, samples, validation, self._task, checkpoint=checkpoint, callbacks=[*hooks, *callbacks])
        for hook in hooks:
            hook.finish()
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
        self.x_scale_ = _positive(noisy.std(), self.x_mean_)
        low, high = np.percentile(clean, TAILS)
        self.y_low_, self.y_scale_ = float(low), _positive(high - low, float(low))

    def _normalization(self):
        return tuple(getattr(self, name) for name in self._numbers)

    def _normalized(self, x, y):
        """What the network takes and should give."""
        return (x - self.x_mean_) / self.x_scale_, (y - self.y_low_) / self.y_scale_

    # ---------------------------------------------------------------------------------------------- the network

    def _check_parameters(self):
        """Raise where a parameter of the network or of its losses is out of its range."""
        check_shape(self.patch_shape, "patch_shape", 2)
        if self.tile_shape is not None:
            check_shape(self.tile_shape, "tile_shape", 2)

    def _check_need(self, config):
        """Raise before memory is taken that is not there."""
        with torch.device("meta"):  # for its checks too
            n = sum(p.numel() for p in build_network(*config).parameters())
        rows, columns = (min(pair) for pair in zip(self.image_shape_, self.patch_shape, strict=True))
        activations = 4.0 * self.batch_size * rows * columns * self._kept_copies()
        self._check_training_memory(
            n,
            f"the network and the features of {self.batch_size} parts",
            "Lower batch_size or patch_shape.",
            activations,
        )

    def _kept_copies(self):
        """How many images the features take that are kept for the gradient of one part."""
        raise NotImplementedError

    def _task(self, network):
        raise NotImplementedError

    def _apply(self, network, x):
        """Normalised images (k, rows, columns) of normalised windows."""
        return network(x.contiguous(memory_format=torch.channels_last))[:, 0]

    def _predict_windows(self, x):
        device = find_device(self.device)
        network, autocast = self._network_on(device), autocast_dtype(self.precision, device, training=False)
        with torch.no_grad(), torch.autocast(device.type, autocast or torch.bfloat16, enabled=autocast is not None):
            x = (x.to(device, torch.float32) - self.x_mean_) / self.x_scale_
            return (self._apply(network, x).float() * self.y_scale_ + self.y_low_).cpu()

    def _set_model_state(self, state, tensors, name):
        wrong = [key for key in self._numbers if not (isinstance(state.get(key), float) and np.isfinite(state[key]))]
        shape = state.get("image_shape_")
        if wrong or not isinstance(shape, tuple) or len(shape) != 2 or not all(type(n) is int and n > 0 for n in shape):
            raise FileFormatError(
                f"{name} must hold finite numbers {', '.join(self._numbers)} and image_shape_, two positive integers; "
                f"got {shape!r:.200}, wrong numbers: {', '.join(wrong) or 'none'}."
            )
        if min(state["x_scale_"], state["y_scale_"]) <= 0:
            raise FileFormatError(f"{name} must hold x_scale_ and y_scale_ above zero.")
        super()._set_model_state(state, tensors, name)


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


def _positive(value, offset):
    """``value`` as a scale; 1 where it is nothing but rounding."""
    return float(value) if value > 1e-7 * abs(offset) and value > 0 else 1.0

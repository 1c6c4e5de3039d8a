"""What trained estimators share that see images: parts to learn from, memory, normalised prediction, model files."""

import math
from typing import Any

import numpy as np
import torch

from tomolearn._validation import check_shape
from tomolearn.exceptions import FileFormatError
from tomolearn.networks import build_network
from tomolearn.streaming import ImageVolumePrediction
from tomolearn.training._fit_callbacks import FitCallbacks
from tomolearn.training.estimator import TrainedEstimator
from tomolearn.training.hardware import autocast_dtype, find_device
from tomolearn.training.parameters import describe_training

__all__ = ["TrainedImageEstimator", "describe_images", "positive_scale"]

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
    "{shapes}": """
    image_shape_ : tuple of two int
    n_features_in_ : int
        Values of a sample.
    feature_names_in_ : ndarray of str
        Column names; only if ``X`` was a data frame.
    """,
}


def describe_images(learning_rate, optimizer, *, loss=None, texts=None):
    """Fill in the parameters and attributes that trained image estimators share: a class decorator.

    Parameters
    ----------
    learning_rate : float
        The estimator's default.
    optimizer : str
        Likewise.
    loss : str, default=None
        Likewise; None: the estimator has no such parameter, or describes its own.
    texts : dict of str to str, default=None
        More marks and what stands for them.

    Returns
    -------
    callable

    Examples
    --------
    >>> from tomolearn.training.image_estimator import describe_images
    >>> @describe_images(1e-3, "adam")
    ... class Estimator:
    ...     '''Does.
    ...
    ...     Parameters
    ...     ----------
    ...     {tiles}
    ...     '''
    >>> "tile_shape : tuple of two int" in Estimator.__doc__
    True
    """
    return describe_training(learning_rate, loss, optimizer, (texts or {}) | _TEXTS)


class TrainedImageEstimator(TrainedEstimator, ImageVolumePrediction):
    """A trained estimator that is a `tomolearn.base.ImagePredictor` too; stands before ``BaseEstimator``.

    A subclass has the parameters ``patch_shape`` and, if its network may see tiles, ``tile_shape``. It learns
    ``x_mean_`` and ``x_scale_``, by which images are normalised, and says how the output of the network is shown.

    Examples
    --------
    >>> from tomolearn import TomoGANDenoiser
    >>> from tomolearn.training.image_estimator import TrainedImageEstimator
    >>> issubclass(TomoGANDenoiser, TrainedImageEstimator)
    True
    """

    patch_shape: Any
    tile_shape: Any
    x_mean_: float
    x_scale_: float
    _numbers: tuple[str, ...] = ("x_mean_", "x_scale_")  # fitted attributes that a model file must hold
    _scales: tuple[str, ...] = ("x_scale_",)  # those of them that are above zero

    def _check_parameters(self):
        """Raise where a parameter of the network or of its losses is out of its range."""
        check_shape(self.patch_shape, "patch_shape", 2)
        if self.tile_shape is not None:
            check_shape(self.tile_shape, "tile_shape", 2)

    def _check_need(self, config, part_shape):
        """Raise before memory is taken that is not there, for parts of so many rows and columns at most."""
        with torch.device("meta"):  # for its checks too
            n = sum(p.numel() for p in build_network(*config).parameters())
        activations = 4.0 * self.batch_size * math.prod(part_shape) * self._kept_copies()
        self._check_training_memory(
            n,
            f"the network and the features of {self.batch_size} parts",
            "Lower batch_size or patch_shape.",
            activations,
        )

    def _train_on(self, config, samples, validation, make_task, X, y, *, checkpoint, callbacks):
        """Train, and tell the callbacks that were set by ``set_callbacks``, which see ``X`` and ``y``."""
        hooks = FitCallbacks.of(self, X, y)
        self._train(config, samples, validation, make_task, checkpoint=checkpoint, callbacks=[*hooks, *callbacks])
        for hook in hooks:
            hook.finish()

    def _kept_copies(self):
        """How many images the features take that are kept for the gradient of one part."""
        raise NotImplementedError

    def _normalization(self):
        return tuple(getattr(self, name) for name in self._numbers)

    def _apply(self, network, x):
        """Normalised images (k, rows, columns) of normalised windows."""
        return network(x.contiguous(memory_format=torch.channels_last))[:, 0]

    def _shown_output(self, output):
        """What is predicted, of the network's output in float32."""
        raise NotImplementedError

    def _predict_windows(self, x):
        device = find_device(self.device)
        network, autocast = self._network_on(device), autocast_dtype(self.precision, device, training=False)
        with torch.no_grad(), torch.autocast(device.type, autocast or torch.bfloat16, enabled=autocast is not None):
            x = (x.to(device, torch.float32) - self.x_mean_) / self.x_scale_
            return self._shown_output(self._apply(network, x).float())

    def _set_model_state(self, state, tensors, name):
        wrong = [key for key in self._numbers if not (isinstance(state.get(key), float) and np.isfinite(state[key]))]
        shape = state.get("image_shape_")
        if wrong or not isinstance(shape, tuple) or len(shape) != 2 or not all(type(n) is int and n > 0 for n in shape):
            raise FileFormatError(
                f"{name} must hold finite numbers {', '.join(self._numbers)} and image_shape_, two positive integers; "
                f"got {shape!r:.200}, wrong numbers: {', '.join(wrong) or 'none'}."
            )
        if min(state[key] for key in self._scales) <= 0:
            raise FileFormatError(f"{name} must hold {' and '.join(self._scales)} above zero.")
        super()._set_model_state(state, tensors, name)


def positive_scale(value, offset):
    """``value`` as a scale to divide by; 1 where it is nothing but rounding.

    Parameters
    ----------
    value : float
        A standard deviation or a range.
    offset : float
        Of the values that it belongs to.

    Returns
    -------
    float

    Examples
    --------
    >>> from tomolearn.training.image_estimator import positive_scale
    >>> positive_scale(2.0, 100.0), positive_scale(1e-9, 100.0)
    (2.0, 1.0)
    """
    return float(value) if value > 1e-7 * abs(offset) and value > 0 else 1.0

"""What a segmenter may be given to learn from: arrays by scikit-learn's rules, or anything that files can hold."""

import os

import numpy as np

from tomolearn.base.targets import check_targets
from tomolearn.io.labelled import open_labelled

__all__ = ["check_validation", "open_inputs"]


def open_inputs(estimator, X, y, weight_map=None, *, reset, names=("y", "weight_map")):
    """Images and masks as `tomolearn.io.LabelledImages`, and the dtype of the labels where that is known.

    With ``reset`` the estimator learns the shapes, else arrays are compared with the learned ones.
    """
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y is None."
        )
    if not _is_stored(X):
        X = estimator._check_images(X, reset=reset)
        y = estimator._check_masks(y, X, names[0])
        if reset and y.min() == y.max():
            raise ValueError(f"y must hold at least two labels to tell apart; got one class, {y.flat[0]}.")
        if weight_map is not None:
            shape = estimator._entry_shape(X)[-2:]
            weak = len(X.shape) == 2 and estimator.image_shape is None
            weight_map = check_targets(weight_map, len(X), shape, weak=weak, name=names[1]).reshape(y.shape)
        stack = X if len(X.shape) > 2 else X.reshape(len(X), *estimator._entry_shape(X))
        return open_labelled(stack, y, weights=weight_map), y.dtype
    parts = isinstance(X, list | tuple) or _is_folder(X)
    labelled = open_labelled(X, y, weights=weight_map, as_volume=parts and estimator.n_adjacent > 1)
    if reset:
        shape = tuple(labelled[0].shape)
        estimator._learn_stack((len(labelled), *shape), shape)
    return labelled, None


def check_validation(estimator, X, y):
    """Images and masks to validate on."""
    try:
        return open_inputs(estimator, X, y, reset=False, names=("y_val", ""))[0]
    except (ValueError, TypeError) as error:
        raise type(error)(f"in X_val and y_val: {error}") from error


def _is_stored(X):
    """Are these files, a source, or images of several sizes, which are no array?"""
    if isinstance(X, str | os.PathLike) or hasattr(X, "read_block"):
        return True
    if not isinstance(X, list | tuple) or not len(X):
        return False
    if any(isinstance(entry, str | os.PathLike) or hasattr(entry, "read_block") for entry in X):
        return True
    return len({np.shape(entry) for entry in X if isinstance(entry, np.ndarray) and entry.ndim > 1}) > 1


def _is_folder(X):
    return isinstance(X, str | os.PathLike) and (os.path.isdir(X) or "*" in os.fspath(X))

"""What classes and values of images must be."""

import numpy as np
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

__all__ = ["check_labels", "check_values"]


def check_labels(y, n, name):
    """``y`` as labels that can be sorted, one for each of ``n`` images."""
    y = np.asarray(y)
    if y.shape not in ((n,), (n, 1)):
        raise ValueError(f"{name} must have shape ({n},), one label for each image; got {y.shape}.")
    y = column_or_1d(y, warn=True)
    missing = y != y if y.dtype.kind in "fO" else np.zeros(1, bool)  # NaN is not equal to itself
    if np.any(missing) or (y.dtype.kind == "f" and not np.isfinite(y).all()):
        raise ValueError(f"{name} must hold labels; got NaN or infinite values. Leave such images out.")
    kinds = {type(label).__name__ for label in y.tolist()} if y.dtype.kind == "O" else {}
    if len(kinds) > 1:
        raise TypeError(f"{name} must hold labels of one kind; got {', '.join(sorted(kinds))}. Make them all strings.")
    check_classification_targets(y)
    return y


def check_values(y, n, name):
    """``y`` as finite numbers in float64, (n,) or (n, n_outputs)."""
    y = np.asarray(y)
    if y.dtype.kind == "c":
        raise ValueError(f"{name} must be real; got complex numbers. Take their magnitude or their real part.")
    try:
        y = y.astype(np.float64)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{name} must hold numbers; got dtype {y.dtype} ({error}).") from error
    if y.ndim not in (1, 2) or len(y) != n or 0 in y.shape:
        raise ValueError(f"{name} must have shape ({n},) or ({n}, n_outputs), one row per image; got {y.shape}.")
    if not np.isfinite(y).all():
        raise ValueError(f"{name} must be finite; got NaN or infinite values. Leave such images out.")
    return y

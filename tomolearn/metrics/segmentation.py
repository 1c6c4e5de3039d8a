"""How far labels are from their reference: Dice, intersection over union, Matthews correlation."""

import math

import numpy as np
import torch

from tomolearn._validation import check_sample_weight

__all__ = ["dice", "iou", "mcc"]

_CHUNK = 2**18  # labels counted at a time
_MAX_CLASSES = 1024


def dice(y_true, y_pred, *, average: str | None = "macro", labels=None, sample_weight=None):
    """Dice coefficient, ``2 TP / (2 TP + FP + FN)`` of each class, counted over all pixels of all images.

    Parameters
    ----------
    y_true, y_pred : array-like or Tensor of one shape
        Whole-number or boolean labels.
    average : {"macro", None}, default="macro"
        The mean over the classes, or an array of the values of each.
    labels : array-like of int, default=None
        The classes to look at, in this order; None: those present in ``y_true`` or ``y_pred``, ascending. A class that
        is in neither has no coefficient: it is skipped in the mean, and NaN in the array.
    sample_weight : array-like of shape (n,), default=None
        How often the pixels of each image count, images being along the first axis: two as if it were there twice, zero
        as if it were not. None: each once.

    Returns
    -------
    float, or ndarray of shape (n_classes,) with ``average=None``

    Raises
    ------
    ValueError, TypeError
        If shapes differ, there are no pixels, labels are not whole numbers or more than 1024 different ones, or no
        class of ``labels`` is present.

    Examples
    --------
    >>> from tomolearn.metrics import dice
    >>> dice([[0, 0, 1, 1]], [[0, 1, 1, 1]], average=None).round(3).tolist()
    [0.667, 0.8]
    """
    return _overlap(y_true, y_pred, average, labels, sample_weight, lambda both, either: 2 * both / (both + either))


def iou(y_true, y_pred, *, average: str | None = "macro", labels=None, sample_weight=None):
    """Intersection over union (Jaccard index), ``TP / (TP + FP + FN)`` of each class, over all pixels of all images.

    Parameters
    ----------
    y_true, y_pred : array-like or Tensor of one shape
        Whole-number or boolean labels.
    average : {"macro", None}, default="macro"
        The mean over the classes, or an array of the values of each.
    labels : array-like of int, default=None
        As for `dice`.
    sample_weight : array-like of shape (n,), default=None
        How often the pixels of each image count, images being along the first axis: two as if it were there twice, zero
        as if it were not. None: each once.

    Returns
    -------
    float, or ndarray of shape (n_classes,) with ``average=None``

    Raises
    ------
    ValueError, TypeError
        As `dice`.

    Examples
    --------
    >>> from tomolearn.metrics import iou
    >>> iou([[0, 0, 1, 1]], [[0, 1, 1, 1]], average=None).round(3).tolist()
    [0.5, 0.667]
    """
    return _overlap(y_true, y_pred, average, labels, sample_weight, lambda both, either: both / either)


def mcc(y_true, y_pred, *, sample_weight=None) -> float:
    """Matthews correlation coefficient of two or more classes [1]_, as ``sklearn.metrics.matthews_corrcoef``.

    Parameters
    ----------
    y_true, y_pred : array-like or Tensor of one shape
        Whole-number or boolean labels.
    sample_weight : array-like of shape (n,), default=None
        How often the pixels of each image count, images being along the first axis: two as if it were there twice, zero
        as if it were not. None: each once.

    Returns
    -------
    float
        1 for equal labels, about 0 for independent ones; 0 if either holds a single class.

    Raises
    ------
    ValueError, TypeError
        If shapes differ, there are no pixels, or labels are not whole numbers or more than 1024 different ones.

    References
    ----------
    .. [1] J. Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient", Comput. Biol.
       Chem. 28 (2004) 367, DOI 10.1016/j.compbiolchem.2004.09.006

    Examples
    --------
    >>> from tomolearn.metrics import mcc
    >>> mcc([[0, 1], [2, 1]], [[0, 1], [2, 1]])
    1.0
    """
    _, counts = _confusion(y_true, y_pred, sample_weight)
    counts = counts.astype(np.float64) / counts.sum()  # shares: products of pixel counts would pass the range of int64
    true, pred = counts.sum(axis=1), counts.sum(axis=0)
    spread = (1 - true @ true) * (1 - pred @ pred)
    return float((np.trace(counts) - true @ pred) / math.sqrt(spread)) if spread > 0 else 0.0


def _overlap(y_true, y_pred, average, labels, sample_weight, coefficient):
    if average not in ("macro", None):
        raise ValueError(f"average must be 'macro' or None; got {average!r}.")
    classes, counts = _confusion(y_true, y_pred, sample_weight)
    both = np.diag(counts).astype(np.float64)
    either = counts.sum(axis=0) + counts.sum(axis=1) - both
    values = coefficient(both, either)
    if labels is not None:
        known = dict(zip(classes.tolist(), values, strict=True))
        values = np.array([known.get(label, np.nan) for label in _label_array(labels, "labels").reshape(-1).tolist()])
    if average is None:
        return values
    if np.isnan(values).all():
        raise ValueError(f"labels must name a class that is present ({classes.tolist()}); got {labels!r}.")
    return float(np.nanmean(values))


def _confusion(y_true, y_pred, sample_weight) -> tuple[np.ndarray, np.ndarray]:
    """The classes present in either, ascending, and how often class i came out as class j."""
    true, pred = _label_array(y_true, "y_true"), _label_array(y_pred, "y_pred")
    if true.shape != pred.shape:
        raise ValueError(f"y_true and y_pred must have one shape; got {true.shape} and {pred.shape}.")
    if true.size == 0:
        raise ValueError(f"y_true and y_pred must not be empty; got shape {true.shape}.")
    weights = None if sample_weight is None else check_sample_weight(sample_weight, len(true))
    n_pixels = math.prod(true.shape[1:])  # of an image
    true, pred = true.reshape(-1), pred.reshape(-1)
    low, high = min(int(true.min()), int(pred.min())), max(int(true.max()), int(pred.max()))
    # Labels from a narrow range are counted as they are, which needs no sorting.
    classes = np.arange(low, high + 1) if high - low < _MAX_CLASSES else np.union1d(true, pred)
    if classes.size > _MAX_CLASSES:
        raise ValueError(
            f"y_true and y_pred must hold labels, at most {_MAX_CLASSES} different ones; got {classes.size}. "
            "Are they images rather than labels?"
        )
    n = classes.size
    counts = np.zeros(n * n, dtype=np.int64 if weights is None else np.float64)
    for start in range(0, true.size, _CHUNK):
        i, j = (y[start : start + _CHUNK].astype(np.int64) for y in (true, pred))
        i, j = (i - low, j - low) if n == high - low + 1 else (np.searchsorted(classes, i), np.searchsorted(classes, j))
        of_pixels = None if weights is None else weights[np.arange(start, start + i.size) // n_pixels]
        counts += np.bincount(i * n + j, of_pixels, minlength=n * n)
    table = counts.reshape(n, n)
    present = table.any(axis=0) | table.any(axis=1)
    return classes[present], table[np.ix_(present, present)]


def _label_array(labels, name: str) -> np.ndarray:
    if isinstance(labels, torch.Tensor):
        labels = labels.detach().cpu()
        array = (labels.double() if labels.is_floating_point() else labels).numpy()  # NumPy has no bfloat16
    else:
        array = np.asarray(labels)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold whole-number labels; got dtype {array.dtype}.")
    if array.dtype.kind != "f":
        return array
    if not (np.isfinite(array).all() and (array == np.trunc(array)).all()):
        raise ValueError(f"{name} must hold whole-number labels; got fractions, NaN or infinity.")
    return array.astype(np.int64)

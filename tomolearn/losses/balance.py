"""Weights of classes from the masks of a training set."""

import numpy as np
import torch

from tomolearn._validation import check_choice, check_integer

__all__ = ["balanced_beta", "balanced_weights"]

_MAX_CLASSES = 1024


def balanced_beta(masks, *, ignore_index=None, loss: str = "weighted") -> float:
    """The ``beta`` of two classes that gives both the same say, from the masks of a training set.

    Parameters
    ----------
    masks : array-like or Tensor, or iterable of them
        Labels 0 and 1 or booleans, of any shape. Of an iterable, such as a generator that reads files, or an array on
        disk, one mask is held at a time.
    ignore_index : int, default=None
        The label of pixels that do not count.
    loss : {"weighted", "balanced"}, default="weighted"
        For `weighted_cross_entropy`: pixels of class 0 for each of class 1; for `balanced_cross_entropy`: the share of
        class 0.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If labels are not whole numbers from 0 to 1, or one of the classes has no pixel.

    See Also
    --------
    balanced_weights : A weight for each of any number of classes.

    Examples
    --------
    >>> from tomolearn.losses import balanced_beta
    >>> masks = [[[0, 0], [0, 1]], [[0, 0], [0, 1]]]
    >>> balanced_beta(masks), balanced_beta(masks, loss="balanced")
    (3.0, 0.75)
    """
    check_choice(loss, "loss", ("weighted", "balanced"))
    counts = _class_counts(masks, 2, ignore_index)
    _check_present(counts)
    background, positive = counts
    return float(background / (positive if loss == "weighted" else background + positive))


def balanced_weights(masks, *, n_classes: int | None = None, ignore_index=None) -> tuple[float, ...]:
    """A weight for each class, inverse to its share of the pixels of a training set; the mean over pixels is 1.

    They are the ``class_weight="balanced"`` of scikit-learn: pixels / (classes * pixels of the class).

    Parameters
    ----------
    masks : array-like or Tensor, or iterable of them
        Labels, as for `balanced_beta`.
    n_classes : int, default=None
        Number of classes; None: the largest label + 1.
    ignore_index : int, default=None
        The label of pixels that do not count. A class of that number has the weight 0.

    Returns
    -------
    tuple of float
        For ``beta`` of `weighted_cross_entropy` or `balanced_cross_entropy`, or ``alpha`` of `focal_loss`.

    Raises
    ------
    TypeError, ValueError
        If labels are not whole numbers from 0 to ``n_classes - 1``, or a class has no pixel.

    Examples
    --------
    >>> from tomolearn.losses import balanced_weights
    >>> balanced_weights([[0, 0, 0, 0], [1, 1, 2, 2]])
    (0.6666666666666666, 1.3333333333333333, 1.3333333333333333)
    """
    if n_classes is not None:
        check_integer(n_classes, "n_classes", low=2, high=_MAX_CLASSES)
    counts = _class_counts(masks, n_classes, ignore_index)
    _check_present(counts, but=ignore_index)
    present = np.count_nonzero(counts)  # all but a class that is ignored
    weights = np.divide(counts.sum() / present, counts, out=np.zeros(len(counts)), where=counts > 0)
    return tuple(weights.tolist())


def _class_counts(masks, n_classes, ignore_index) -> np.ndarray:
    """Pixels of each class, over all masks."""
    if ignore_index is not None:
        check_integer(ignore_index, "ignore_index", low=-(2**31), high=2**31 - 1)
    counts = np.zeros(_MAX_CLASSES if n_classes is None else n_classes, dtype=np.int64)
    for mask in masks if np.iterable(masks) else [masks]:
        labels = _whole_numbers(mask)
        if ignore_index is not None:
            labels = labels[labels != ignore_index]
        if not labels.size:
            continue
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(counts):
            raise ValueError(
                f"masks must hold labels 0 to {len(counts) - 1} or ignore_index={ignore_index}; got values from {low} "
                f"to {high}. Relabel them (masks > 0 for 0 and 255), or set ignore_index."
            )
        counts += np.bincount(labels.astype(np.int64, copy=False), minlength=len(counts))
    if n_classes is None:
        counts = counts[: max(2, np.flatnonzero(counts).max(initial=-1) + 1)]
    return counts


def _check_present(counts, but=None) -> None:
    empty = [k for k in np.flatnonzero(counts == 0).tolist() if k != but]
    if empty:
        raise ValueError(
            f"masks must hold every class to balance them; of {len(counts)} classes these have no pixel: {empty}. Add "
            "a mask that shows them, relabel, or give the weights yourself."
        )


def _whole_numbers(mask) -> np.ndarray:
    if isinstance(mask, torch.Tensor):
        mask = mask.detach().cpu()
        mask = (mask.double() if mask.is_floating_point() else mask).numpy()  # NumPy has no bfloat16
    labels = np.asarray(mask).reshape(-1)
    if labels.dtype.kind not in "biuf":
        raise TypeError(f"masks must hold whole-number or boolean labels; got dtype {labels.dtype}.")
    if labels.dtype.kind == "f" and not (np.isfinite(labels).all() and (labels == np.trunc(labels)).all()):
        raise ValueError("masks must hold whole-number labels; got fractions, NaN or infinity. Are they images?")
    return labels

"""Medians of a sliding window, many lines at a time: what the stripe corrections spend their time in."""

from tomolearn._validation import as_tensor, check_finite, check_integer
from tomolearn.ops._register import operators

__all__ = ["sliding_median"]

MAX_SIZE = 2**20 - 1


def sliding_median(x, size):
    """Median of a window that slides along the last axis but one.

    The lines are reflected at their ends (d c b a | a b c d | d c b a), as scipy's filters do by default. Neighbouring
    lines are worked on together by the processor's vectors: the more there are along the last axis, the better.

    Parameters
    ----------
    x : array-like or Tensor of shape (length, lines) or (n, length, lines)
        Finite real numbers.
    size : int
        Width of the window along the axis ``length``: odd, at most 1048575.

    Returns
    -------
    ndarray or Tensor of the shape of ``x``
        The same kind and floating dtype as ``x`` (integers give float32). It has no gradient.

    Raises
    ------
    ValueError
        If ``x`` is not finite, has another number of dimensions, or ``size`` is even or out of range.
    TypeError
        If ``size`` is not an integer or ``x`` not real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.ops import sliding_median
    >>> sliding_median(np.array([[1.0], [9.0], [2.0], [3.0]]), 3).ravel().tolist()
    [1.0, 2.0, 3.0, 3.0]
    """
    size = check_integer(size, "size", low=1, high=MAX_SIZE)
    if size % 2 == 0:
        raise ValueError(
            f"size must be odd, so that the window has a middle; got {size}. Take {size - 1} or {size + 1}."
        )
    x, restore = as_tensor(x, "x", ndim=(2, 3))
    check_finite(x, "x", "Repair such values first.")
    y = operators().sliding_median((x if x.ndim == 3 else x[None]).detach(), size)
    return restore(y if x.ndim == 3 else y[0])

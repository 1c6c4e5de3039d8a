"""The true images that predictions are compared with: their shapes, and the score."""

import numpy as np

from tomolearn._validation import check_sample_weight

__all__ = ["check_targets", "variance_weighted_r2"]


def check_targets(y, n, image_shape, *, weak, name="y"):
    """``y`` as numbers, one row per image.

    Parameters
    ----------
    y : array-like
        (n, rows, columns) or (n, rows * columns).
    n : int
        Number of images.
    image_shape : tuple of two int
    weak : bool
        Whether (n,) or (n, 1) will do: one value for all the pixels of an image.
    name : str, default="y"
        For messages.

    Returns
    -------
    ndarray of shape (n, rows * columns)

    Raises
    ------
    ValueError
        If ``y`` has another shape or holds complex numbers.

    Examples
    --------
    >>> from tomolearn.base.targets import check_targets
    >>> check_targets([1, 2], 2, (1, 3), weak=True)
    array([[1, 1, 1],
           [2, 2, 2]])
    """
    y = np.asarray(y)
    if y.dtype.kind == "c":
        raise ValueError(f"{name} must be real; got complex numbers. Take their magnitude or their real part.")
    y = y if y.dtype.kind in "fiub" else y.astype(np.float64)
    n_pixels = image_shape[0] * image_shape[1]
    if weak and y.shape in ((n,), (n, 1)):
        return np.broadcast_to(y.reshape(n, 1), (n, n_pixels))
    if y.shape not in ((n, *image_shape), (n, n_pixels)):
        raise ValueError(
            f"{name} must have shape {(n, *image_shape)} or {(n, n_pixels)}, as the images; got {y.shape}."
        )
    return y.reshape(n, n_pixels)


def variance_weighted_r2(y, images, sample_weight=None) -> float:
    """1 - SSE / SST over all pixels.

    Parameters
    ----------
    y : ndarray of shape (n, n_pixels)
        True images.
    images : ndarray of shape (n, n_pixels)
        Predicted ones.
    sample_weight : array-like of shape (n,), default=None
        How often each image counts, not below zero; one of weight zero is not looked at. None: once.

    Returns
    -------
    float
        SSE is the sum of the squared errors; SST that of the squared differences between the true images and their
        mean, which is an image too. 1 is perfect; 0 is as good as that mean image.

    Raises
    ------
    ValueError
        If ``y`` is not finite or all its images are the same, among those that count, or weights are not ``n`` numbers
        from zero on.

    Notes
    -----
    scikit-learn's ``r2_score(..., multioutput="variance_weighted")`` is the same but that it leaves out the errors in
    pixels that have one value in all the true images, as the background has.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.base.targets import variance_weighted_r2
    >>> variance_weighted_r2(np.array([[0.0, 0.0], [0.0, 2.0]]), np.array([[0.0, 0.0], [0.0, 1.0]]))
    0.5
    """
    weights = check_sample_weight(sample_weight, len(y))
    counted = np.flatnonzero(weights)
    first = y[counted[0]]
    # slice by slice: float64 copies of a whole stack would take more memory than the prediction
    mean = sum(weights[i] * np.subtract(y[i], first, dtype=np.float64) for i in counted) / weights.sum()
    mean = mean + first  # this way the mean of equal images is that image, not one beside it by rounding
    sse = sum(weights[i] * np.square(np.subtract(y[i], images[i], dtype=np.float64)).sum() for i in counted)
    sst = sum(weights[i] * np.square(y[i] - mean).sum() for i in counted)
    if not np.isfinite(sst):
        raise ValueError("y must be finite; got NaN or infinite values. Repair them, or leave such images out.")
    if sst == 0:
        n = len(counted)
        raise ValueError(
            f"y must hold at least 2 different images, since R2 compares with their mean; got {n} of one kind."
        )
    return float(1 - sse / sst)

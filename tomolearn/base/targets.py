"""The true images that predictions are compared with: their shapes, and the score."""

import numpy as np

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


def variance_weighted_r2(y, images) -> float:
    """1 - SSE / SST over all pixels.

    Parameters
    ----------
    y : ndarray of shape (n, n_pixels)
        True images.
    images : ndarray of shape (n, n_pixels)
        Predicted ones.

    Returns
    -------
    float
        SSE is the sum of the squared errors; SST that of the squared differences between the true images and their
        mean, which is an image too. 1 is perfect; 0 is as good as that mean image.

    Raises
    ------
    ValueError
        If ``y`` is not finite or all its images are the same.

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
    mean = y.mean(axis=0, dtype=np.float64)
    # slice by slice: float64 copies of a whole stack would take more memory than the prediction
    sse = sum(np.square(np.subtract(a, b, dtype=np.float64)).sum() for a, b in zip(y, images, strict=True))
    sst = sum(np.square(a - mean).sum() for a in y)
    if not np.isfinite(sst):
        raise ValueError("y must be finite; got NaN or infinite values. Repair them, or leave such images out.")
    if sst == 0:
        raise ValueError(
            f"y must hold at least 2 different images, since R2 compares with their mean; got {len(y)} of one kind."
        )
    return float(1 - sse / sst)

"""Wider and coarser sinograms: padding and binning."""

import numpy as np

from tomolearn._validation import check_choice, check_integer, check_shape
from tomolearn.base import ReshapingCorrector, register
from tomolearn.preprocessing._stacks import as_stack

__all__ = ["SinogramBinner", "SinogramPadder", "bin_stack", "pad_detectors"]

MODES = ("edge", "zero")


# --------------------------------------------------------------------------------------------------------- padding


def _check_width(width, n_detectors):
    """Detectors to add on the left and on the right."""
    if width is None:
        return (n_detectors // 2,) * 2
    sides = (width, width) if np.ndim(width) == 0 else tuple(width)
    if len(sides) != 2:
        raise ValueError(f"width must be one number of detectors, or two for left and right; got {width!r}.")
    return tuple(check_integer(side, "width", low=0) for side in sides)


def _pad(stack, width, mode):
    left, right = width
    n_detectors = stack.shape[2]
    padded = stack.new_zeros((*stack.shape[:2], left + n_detectors + right))
    padded[..., left : left + n_detectors] = stack
    if mode == "edge":
        padded[..., :left] = stack[..., :1]
        padded[..., left + n_detectors :] = stack[..., -1:]
    return padded


def pad_detectors(X, width, mode="edge"):
    """Widen the detector on both sides: for objects that reach beyond it.

    The centre moves: the detector coordinate of the rotation axis grows by the detectors added on the left.

    Parameters
    ----------
    X : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Sinograms: line integrals.
    width : int or tuple of two int
        Detectors to add on either side, or on the left and on the right.
    mode : {"edge", "zero"}, default="edge"
        "edge": the outermost values go on. "zero": air, for line integrals.

    Returns
    -------
    ndarray or Tensor of shape (n, n_angles, left + n_detectors + right) or (n_angles, left + n_detectors + right)
        The kind and floating dtype of ``X`` (integers give float32).

    Raises
    ------
    ValueError
        If ``X`` is not finite or of a wrong shape, ``width`` is negative, or ``mode`` unknown.
    TypeError
        If ``X`` does not hold real numbers, or ``width`` no integers.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import pad_detectors
    >>> pad_detectors(np.array([[1.0, 2.0]]), (1, 3))
    array([[1., 1., 2., 2., 2., 2.]])
    """
    check_choice(mode, "mode", MODES)
    stack, finish = as_stack(X)
    return finish(_pad(stack, _check_width(width, stack.shape[2]), mode))


@register
class SinogramPadder(ReshapingCorrector):
    """Widen the detector on both sides: for objects that reach beyond it.

    The centre moves: see ``transform_center``.

    Parameters
    ----------
    width : int or tuple of two int, default=None
        Detectors to add on either side, or on the left and on the right. None: half of those that there are.
    mode : {"edge", "zero"}, default="edge"
        "edge": the outermost values go on. "zero": air, for line integrals.
    sinogram_shape : tuple of two int, default=None
        Angles and detectors of a sinogram, needed for flat ``X`` only. None: a flat row is a sinogram of one angle.

    Attributes
    ----------
    width_ : tuple of two int
        Detectors added on the left and on the right.
    sinogram_shape_, corrected_shape_ : tuple of two int
        Angles and detectors of what comes in and what goes out.
    n_features_in_ : int
        ``n_angles * n_detectors``.
    feature_names_in_ : ndarray of str
        Column names; only if ``X`` was a data frame.

    See Also
    --------
    pad_detectors : The same as a function.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import SinogramPadder
    >>> padder = SinogramPadder(width=(1, 3)).fit(np.array([[[1.0, 2.0]]]))
    >>> padder.transform(np.array([[[1.0, 2.0]]])), padder.transform_center(0.5)
    (array([[[1., 1., 2., 2., 2., 2.]]]), 1.5)
    """

    couples_projections = False

    def __init__(self, *, width=None, mode="edge", sinogram_shape=None):
        self.width = width
        self.mode = mode
        self.sinogram_shape = sinogram_shape

    def _shape_after(self, shape):
        self.width_ = _check_width(self.width, shape[1])
        return shape[0], shape[1] + sum(self.width_)

    def _fit_parameters(self, X):
        check_choice(self.mode, "mode", MODES)

    def _correct(self, block, start):
        return _pad(block, self.width_, self.mode), {}

    def transform_center(self, center):
        """Centre of the padded sinograms.

        Parameters
        ----------
        center : float or ndarray
            Detector coordinate of the rotation axis in the sinograms that come in.

        Returns
        -------
        float or ndarray
            ``center + width_[0]``.
        """
        return center + self.width_[0]


# --------------------------------------------------------------------------------------------------------- binning


def _bin(stack, factors):
    """Means over whole bins; what is left over at the ends is cut."""
    sizes = [length // factor for length, factor in zip(stack.shape, factors, strict=True)]
    for axis, (size, factor) in enumerate(zip(sizes, factors, strict=True)):
        if factor > 1:
            whole = stack.narrow(axis, 0, size * factor)
            stack = whole.unflatten(axis, (size, factor)).mean(dim=axis + 1)
    return stack


def bin_stack(X, factors):
    """Means over neighbouring rows, angles and detectors.

    Where a factor does not divide the length of its axis, what is left over at the end is cut. The centre moves: the
    detector coordinate of the rotation axis becomes (center - (f - 1) / 2) / f, f the factor of the detectors. Angles
    are to be averaged as the projections are.

    Parameters
    ----------
    X : array-like or Tensor of shape (n_rows, n_angles, n_detectors)
        Sinograms.
    factors : tuple of three int
        Rows, angles and detectors that make one.

    Returns
    -------
    ndarray or Tensor of shape (n_rows // factors[0], n_angles // factors[1], n_detectors // factors[2])
        The kind and floating dtype of ``X`` (integers give float32).

    Raises
    ------
    ValueError
        If ``X`` is not finite or of a wrong shape, or a factor is below 1 or above the length of its axis.
    TypeError
        If ``X`` does not hold real numbers, or a factor is no integer.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import bin_stack
    >>> bin_stack(np.arange(5.0).reshape(1, 1, 5), (1, 1, 2))
    array([[[0.5, 2.5]]])
    """
    factors = check_shape(factors, "factors", 3)
    stack, finish = as_stack(X)
    if np.ndim(X) != 3:
        raise ValueError(f"X must be (n_rows, n_angles, n_detectors); got shape {tuple(np.shape(X))}.")
    for axis, (length, factor) in enumerate(zip(stack.shape, factors, strict=True)):
        if factor > length:
            raise ValueError(f"factors[{axis}] must be at most {length}, the length of the axis; got {factor}.")
    result = _bin(stack, factors)
    return finish(result.clone() if result is stack else result)


@register
class SinogramBinner(ReshapingCorrector):
    """Means over neighbouring angles and detectors.

    Where a factor does not divide the length of its axis, what is left over at the end is cut. Angles and centre of
    the coarser sinograms: ``transform_angles``, ``transform_center``.

    Parameters
    ----------
    angle_factor : int, default=1
        Projections that make one.
    detector_factor : int, default=2
        Detectors that make one.
    sinogram_shape : tuple of two int, default=None
        Angles and detectors of a sinogram, needed for flat ``X`` only. None: a flat row is a sinogram of one angle.

    Attributes
    ----------
    sinogram_shape_, corrected_shape_ : tuple of two int
        Angles and detectors of what comes in and what goes out.
    n_features_in_ : int
        ``n_angles * n_detectors``.
    feature_names_in_ : ndarray of str
        Column names; only if ``X`` was a data frame.

    See Also
    --------
    bin_stack : The same as a function, and over rows.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import SinogramBinner
    >>> X = np.arange(5.0).reshape(1, 1, 5)
    >>> binner = SinogramBinner(detector_factor=2).fit(X)
    >>> binner.transform(X), binner.transform_center(2.0)
    (array([[[0.5, 2.5]]]), 0.75)
    """

    couples_projections = False  # no projection enters two sums

    def __init__(self, *, angle_factor=1, detector_factor=2, sinogram_shape=None):
        self.angle_factor = angle_factor
        self.detector_factor = detector_factor
        self.sinogram_shape = sinogram_shape

    def _shape_after(self, shape):
        for name, length in zip(("angle_factor", "detector_factor"), shape, strict=True):
            factor = check_integer(getattr(self, name), name, low=1)
            if factor > length:
                raise ValueError(
                    f"{name} must be at most {length} for sinograms of shape {tuple(shape)} (n_angles, n_detectors), "
                    f"n_features = {self.n_features_in_}; got {factor}."
                )
        return shape[0] // self.angle_factor, shape[1] // self.detector_factor

    def _correct(self, block, start):
        return _bin(block, (1, self.angle_factor, self.detector_factor)), {}

    def transform_angles(self, angles):
        """Angles of the coarser sinograms: the means of those that make one.

        Parameters
        ----------
        angles : ndarray of shape (n_angles,)
            Those of the sinograms that come in, in the order of the projections.

        Returns
        -------
        ndarray of shape (n_angles // angle_factor,)
        """
        n = len(angles) // self.angle_factor
        return np.asarray(angles)[: n * self.angle_factor].reshape(n, self.angle_factor).mean(axis=1)

    def transform_center(self, center):
        """Centre of the coarser sinograms.

        Parameters
        ----------
        center : float or ndarray
            Detector coordinate of the rotation axis in the sinograms that come in.

        Returns
        -------
        float or ndarray
            ``(center - (detector_factor - 1) / 2) / detector_factor``.
        """
        return (center - (self.detector_factor - 1) / 2) / self.detector_factor

"""Values that do not belong to a scan: zingers, and pixels that were not measured."""

import numpy as np
import torch

from tomolearn._validation import check_integer, check_real
from tomolearn.base import Corrector, register
from tomolearn.preprocessing._stacks import as_stack, interpolate_columns

__all__ = ["BadPixelRepairer", "ZingerRemover", "remove_zingers", "repair_pixels"]

NOISES = 6  # a value of normal noise lies so far above its neighbours once in 10^9 times
SAMPLE = 2**16  # differences that the noise of a slice is estimated from
CANDIDATES = 2**20  # whose windows are looked at together
ZINGERS = "zingers replaced"
NOT_FINITE = "values not finite, interpolated"


# --------------------------------------------------------------------------------------------------------- zingers


def _noise(sinogram: torch.Tensor) -> float:
    """Standard deviation of the noise, from the median difference of neighbouring detectors: edges do not count."""
    if sinogram.shape[1] < 2:
        return 0.0
    n_lines = max(1, SAMPLE // sinogram.shape[1])
    lines = sinogram[:: max(1, -(-len(sinogram) // n_lines))]
    return float(lines.diff(dim=1).abs_().median()) * 1.4826 / 2**0.5


def _lowest(x: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    """Lowest value of a window of ``size`` around each place of an axis, moved inside at the ends."""
    length, half = x.shape[axis], size // 2
    if length <= size:
        return x.amin(dim=axis, keepdim=True).expand_as(x)
    windows = x.narrow(axis, 0, length - size + 1)
    for offset in range(1, size):
        windows = torch.minimum(windows, x.narrow(axis, offset, length - size + 1))
    places = torch.arange(-half, length - half).clamp_(0, length - size)
    return windows.index_select(axis, places)


def _windows(places: torch.Tensor, length: int, size: int) -> torch.Tensor:
    """Entries (m, size) of the windows around ``places``, moved inside at the ends of the axis."""
    size = min(size, length)
    return (places - size // 2).clamp_(0, length - size)[:, None] + torch.arange(size)


def _clean(sinogram: torch.Tensor, threshold: float, size: int):
    """Where the outliers of one sinogram (n_angles, n_detectors) are, and what takes their place."""
    limit = NOISES * _noise(sinogram)
    # the median is not below the lowest value: what does not exceed that by enough needs no median
    lowest = _lowest(_lowest(sinogram, 1, size), 0, size)
    bound = (lowest.abs() * threshold).clamp_min_(limit).add_(lowest)
    # of a flat array, NumPy finds the few true values many times faster than torch does
    flat = torch.from_numpy(np.flatnonzero((sinogram > bound).numpy()))
    places = torch.stack([flat // sinogram.shape[1], flat % sinogram.shape[1]], dim=1)
    found = []
    for part in places.split(CANDIDATES):
        values = sinogram[part[:, 0], part[:, 1]]
        median = _around(sinogram, part, size).median(dim=1).values
        above = values - median
        found.append(part[(above > limit) & (above > threshold * median.abs())])
    outliers = torch.cat(found)
    if not len(outliers):
        return outliers, sinogram.new_empty(0)
    holes = sinogram.clone()
    holes[outliers[:, 0], outliers[:, 1]] = torch.nan
    return outliers, _around(holes, outliers, size).nanmedian(dim=1).values


def _around(x, places, size):
    """Values in the windows around ``places`` (m, 2), (m, size^2)."""
    rows, columns = (_windows(places[:, axis], x.shape[axis], size) for axis in (0, 1))
    return x[rows[:, :, None], columns[:, None, :]].flatten(1)


def _remove_zingers(stack, threshold, size):
    result, count = stack.clone(), 0
    for source, target in zip(stack, result, strict=True):
        places, values = _clean(source, threshold, size)
        target[places[:, 0], places[:, 1]] = values
        count += len(places)
    return result, count


def _check_zingers(threshold, size):
    threshold, size = check_real(threshold, "threshold", low=0, open_low=True), check_integer(size, "size", low=3)
    if size % 2 == 0:
        raise ValueError(f"size must be odd, so that the window has a middle; got {size}. Take {size + 1}.")
    return threshold, size


def remove_zingers(X, *, threshold=0.2, size=3, return_count=False):
    """Replace zingers, single bright values where stray X-rays hit the detector, by the median around them.

    A value is a zinger if it exceeds the median of the window of ``size`` angles and ``size`` detectors around it both
    by more than ``threshold`` times that median and by more than 6 standard deviations of the noise of its slice. The
    noise is estimated from the median difference of neighbouring detectors, which edges and zingers do not raise. Its
    place takes the median of what is no zinger in the window.

    Parameters
    ----------
    X : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Counts or transmissions, where zingers are bright: before -log.
    threshold : float, default=0.2
        Relative to the local level.
    size : int, default=3
        Angles and detectors of the window: odd. 3 removes zingers of 2 x 2 values, 5 those of 3 x 3.
    return_count : bool, default=False
        Give back how many values were replaced, too.

    Returns
    -------
    ndarray or Tensor of the shape of X
        The kind and floating dtype of ``X`` (integers give float32).
    int
        Zingers replaced; only with ``return_count``.

    Raises
    ------
    ValueError
        If ``X`` is not finite or of a wrong shape, ``threshold`` is not positive, or ``size`` not odd or below 3.
    TypeError
        If ``X`` does not hold real numbers, or a parameter has a wrong type.

    Notes
    -----
    At the ends of an axis the window is moved inside, so that a zinger in a corner is found too.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import remove_zingers
    >>> sinogram = np.ones((6, 8))
    >>> sinogram[2:4, 5:7] = 30.0
    >>> clean, count = remove_zingers(sinogram, return_count=True)
    >>> bool((clean == 1).all()), count
    (True, 4)
    """
    threshold, size = _check_zingers(threshold, size)
    stack, finish = as_stack(X)
    result, count = _remove_zingers(stack, threshold, size)
    return (finish(result), count) if return_count else finish(result)


@register
class ZingerRemover(Corrector):
    """Replace zingers, single bright values where stray X-rays hit the detector, by the median around them.

    It stands before `MinusLog`: its sinograms are counts or transmissions. ``transform`` warns of values that were
    replaced; ``transform_counted`` gives their number.

    Parameters
    ----------
    threshold : float, default=0.2
        How far a zinger exceeds the median around it, relative to that median; it must exceed it by 6 standard
        deviations of the noise, too.
    size : int, default=3
        Angles and detectors of the window: odd. 3 removes zingers of 2 x 2 values, 5 those of 3 x 3.
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
    remove_zingers : The same as a function.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import ZingerRemover
    >>> transmissions = np.ones((1, 6, 8))
    >>> transmissions[0, 2, 5] = 30.0
    >>> ZingerRemover().fit(transmissions).transform_counted(transmissions)[1]
    {'zingers replaced': 1}
    """

    couples_projections = False  # but for the few values that are replaced

    def __init__(self, *, threshold=0.2, size=3, sinogram_shape=None):
        self.threshold = threshold
        self.size = size
        self.sinogram_shape = sinogram_shape

    def _fit_parameters(self, X):
        _check_zingers(self.threshold, self.size)

    def _correct(self, block, start):
        result, count = _remove_zingers(block, self.threshold, self.size)
        return result, {ZINGERS: count}


# ------------------------------------------------------------------------------------------------------ bad pixels


def _not_finite(stack):
    """Where values are not finite; looked for one by one only where their sum is not finite."""
    if bool(torch.isfinite(stack.sum())):
        return np.broadcast_to(np.False_, stack.shape)
    return ~np.isfinite(stack.numpy())


def _repair(stack, bad, start=0):
    """The stack with its ``bad`` values interpolated, and their number; the stack itself if there are none."""
    count = np.count_nonzero(bad)
    if not count:
        return stack, 0
    empty = bad.all(axis=2)  # projections without any good value
    lost = np.flatnonzero(empty.all(axis=1))
    if len(lost):
        raise ValueError(
            f"X must hold a value to interpolate from in each sinogram; slice {start + lost[0]} holds none. Leave it "
            "out."
        )
    result = stack.clone()
    slices, angles = np.nonzero(bad.any(axis=2) & ~empty)
    lines = result[slices, angles][:, None]
    interpolate_columns(lines, ~bad[slices, angles])
    result[slices, angles] = lines[:, 0]
    interpolate_columns(result.transpose(1, 2), ~empty)
    return result, count


def repair_pixels(X, mask=None, *, return_count=False):
    """Interpolate values that are not finite, or that a mask marks.

    In each projection linearly between the nearest good detectors; beyond the last good one, by its value. A
    projection without any good value is interpolated between those before and after it.

    Parameters
    ----------
    X : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Sinograms, of counts, transmissions or line integrals.
    mask : array-like of bool, default=None
        True where a value is bad though it is finite; of a shape that broadcasts to that of ``X``, as
        (n, 1, n_detectors) for detector pixels. None: no such values.
    return_count : bool, default=False
        Give back how many values were interpolated, too.

    Returns
    -------
    ndarray or Tensor of the shape of X
        The kind and floating dtype of ``X`` (integers give float32).
    int
        Values interpolated; only with ``return_count``.

    Raises
    ------
    ValueError
        If a sinogram holds no good value, or shapes do not go together.
    TypeError
        If ``X`` does not hold real numbers, or ``mask`` anything but truth values.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import repair_pixels
    >>> repair_pixels(np.array([[1.0, np.nan, 3.0, np.inf]]))
    array([[1., 2., 3., 3.]])
    """
    stack, finish = as_stack(X, finite=False)
    bad = _not_finite(stack)
    if mask is not None:
        mask = np.asarray(mask)
        if mask.dtype != bool:
            raise TypeError(f"mask must hold truth values; got dtype {mask.dtype}.")
        shape = np.shape(X)
        try:
            mask = np.broadcast_to(mask, shape)
        except ValueError:
            raise ValueError(
                f"mask must have a shape that broadcasts to that of X, {tuple(shape)}; got {mask.shape}."
            ) from None
        bad = bad | mask.reshape(stack.shape)
    result, count = _repair(stack, bad)
    result = finish(result.clone() if result is stack else result)
    return (result, count) if return_count else result


@register
class BadPixelRepairer(Corrector):
    """Interpolate values that are not finite.

    In each projection linearly between the nearest finite values along the detectors; a projection without any is
    interpolated between those before and after it. ``transform`` warns of values that were interpolated;
    ``transform_counted`` gives their number.

    Parameters
    ----------
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
    repair_pixels : The same as a function, and with a mask.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import BadPixelRepairer
    >>> sinograms = np.array([[[1.0, np.nan, 3.0, np.inf]]])
    >>> BadPixelRepairer().fit(sinograms).transform_counted(sinograms)
    (array([[[1., 2., 3., 3.]]]), {'values not finite, interpolated': 2})
    """

    _allow_nan = True

    couples_projections = False  # but for projections without any value

    def __init__(self, *, sinogram_shape=None):
        self.sinogram_shape = sinogram_shape

    def _correct(self, block, start):
        result, count = _repair(block, _not_finite(block), start)
        return result, {NOT_FINITE: count}

"""Half acquisition: scans over a full turn with the axis near one end of the detector, which see twice as wide.

Each view shows one half of the object and a little more; the view half a turn later shows the other half, mirrored.
"""

import math

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from tomolearn._validation import as_tensor, check_finite, check_real
from tomolearn.base import ReshapingCorrector, register
from tomolearn.exceptions import GeometryError
from tomolearn.geometry import as_radians
from tomolearn.preprocessing._center_metrics import cubic_weights, has_structure, vertex
from tomolearn.preprocessing._stacks import REMEDY, as_stack
from tomolearn.preprocessing._views import check_search, warn_at_edge

__all__ = ["HalfAcquisitionStitcher", "find_center_360", "stitch_half_acquisition"]

MIN_DETECTORS = 16
LEAST_OVERLAP = 16  # the overlap is looked for down to this part of the detector
SMOOTHING = 1.5  # pixels, standard deviation: noise of the views that are compared
SPECTRUM_BYTES = 2**25


class _Halves:
    """Which views of a full turn make the first half, and from which their opposites are taken.

    Attributes: ``first`` (n,) indices by increasing angle; ``left``, ``right`` (n,) the views on either side of the
    opposite angle, and ``weight`` (n,) of the right one.
    """

    def __init__(self, n_angles, angles, angle_unit):
        if angles is None:
            angles = np.linspace(0, 2 * np.pi, n_angles, endpoint=False)
        else:
            angles = as_radians(angles, angle_unit)
        if angles.size != n_angles:
            raise GeometryError(f"angles must be one per projection; got {angles.size} for {n_angles} projections.")
        order = np.argsort(angles, kind="stable")
        angles = angles[order]
        gaps = np.diff(angles)
        step = float(np.median(gaps)) if len(gaps) else 2 * np.pi
        turn = angles[-1] - angles[0] + step
        if turn < 2 * np.pi - 1.5 * step or not step > 0:
            raise GeometryError(
                f"half acquisition needs views over 360 degrees; got {np.rad2deg(turn):.1f} degrees "
                f"({np.rad2deg(angles[0]):.1f} to {np.rad2deg(angles[-1]):.1f})."
            )
        n = int(np.searchsorted(angles, angles[0] + np.pi - 1e-3 * step))
        wrapped = np.append(angles, angles[0] + 2 * np.pi)
        if wrapped[-2] >= wrapped[-1] - 1e-3 * step:  # the last view repeats the first
            wrapped = np.delete(wrapped, -1)
        opposite = angles[:n] + np.pi
        left = np.clip(np.searchsorted(wrapped, opposite + 1e-3 * step) - 1, 0, len(wrapped) - 2)
        width = wrapped[left + 1] - wrapped[left]
        weight = np.divide(opposite - wrapped[left], width, out=np.zeros(n), where=width > 0)
        self.first = order[:n]
        self.left, self.right = order[left], order[(left + 1) % n_angles]
        self.weight = np.where(np.abs(weight) < 2e-3, 0.0, weight)  # where the views are opposite, nothing is mixed

    def split(self, stack):
        """First half and opposite views of a tensor (k, n_angles, n_detectors)."""
        first, left = stack[:, self.first], stack[:, self.left]
        if not self.weight.any():
            return first, left
        weight = torch.from_numpy(self.weight).to(stack.dtype)[:, None]
        return first, torch.lerp(left, stack[:, self.right], weight)


def _check_axis(center, n_detectors):
    """The axis, on the detector."""
    center = check_real(center, "center", low=-1e9, high=1e9)
    if not 0 <= center <= n_detectors - 1:
        raise GeometryError(
            f"center must lie on the detector, 0 to {n_detectors - 1}, for the halves to overlap; got {center:g}."
        )
    return center


def _stitched_width(center, n_detectors) -> int:
    half = max(round(2 * center), 2 * (n_detectors - 1) - round(2 * center))
    return half + 1


def _stitch(first, opposite, center):
    """Views (k, n, wide) from the halves; the axis is in their middle."""
    n_detectors = first.shape[2]
    twice = round(2 * center)  # of the axis, on the nearest sample or between two
    shift = center - twice / 2  # at most a quarter of a pixel: cubic interpolation passes all but the finest details
    first, opposite = _shifted(first, shift), _shifted(opposite, shift)
    wide = _stitched_width(center, n_detectors)
    start = (wide - 1 - twice) // 2  # of the first half in the result
    mirrored = wide - start - n_detectors  # and of the mirrored half
    out = first.new_empty(*first.shape[:2], wide)
    low, high = max(start, mirrored), min(start, mirrored) + n_detectors  # the overlap
    weight = (torch.arange(high - low, dtype=torch.float64) + 0.5) / (high - low)
    weight = weight.to(first.dtype)  # of the half on the right
    out[..., start : start + n_detectors] = first
    flipped = opposite.flip(2)
    if start <= mirrored:  # the first half is on the left
        out[..., high:] = flipped[..., high - mirrored :]
        out[..., low:high] = torch.lerp(first[..., low - start : high - start], flipped[..., : high - low], weight)
    else:
        out[..., :low] = flipped[..., : low - mirrored]
        right = first[..., : high - low]
        out[..., low:high] = torch.lerp(flipped[..., low - mirrored : high - mirrored], right, weight)
    return out


def _shifted(views, shift):
    """``views`` at the detector coordinates j + shift, |shift| < 1, by cubic interpolation."""
    if shift == 0:
        return views
    whole = math.floor(shift)
    padded = torch.nn.functional.pad(views, (2, 3), mode="replicate")
    n = views.shape[2]
    return sum(
        weight * padded[..., 2 + whole + j : 2 + whole + j + n]
        for weight, j in zip(cubic_weights(shift - whole), (-1, 0, 1, 2), strict=True)
    )


def stitch_half_acquisition(X, center, *, angles=None, angle_unit=None):
    """Sinograms over half a turn, twice as wide, from a full turn with the axis near one end of the detector.

    Each view is joined with the mirror image of the view half a turn later. Where both see the object, one goes over
    into the other linearly; the width of that overlap follows from the axis.

    Parameters
    ----------
    X : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Sinograms over a full turn: line integrals, or transmissions.
    center : float
        Detector coordinate of the rotation axis, see `find_center_360`.
    angles : array-like of shape (n_angles,), default=None
        In any order; where no view is exactly opposite, its neighbours are interpolated. None: equally spaced over a
        full turn, its end excluded.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.

    Returns
    -------
    stitched : ndarray or Tensor of shape (n, n_half, wide) or (n_half, wide)
        Views by increasing angle over the first half turn; the kind and floating dtype of ``X`` (integers give
        float32). With the distance d from the axis, rounded to half a pixel, to the farther end of the detector,
        ``wide`` is ``2 * d + 1``.
    center : float
        Of the stitched sinograms: their middle, ``(wide - 1) / 2``.

    Raises
    ------
    GeometryError
        If the angles do not cover a full turn, or the axis is not on the detector.
    ValueError, TypeError
        If ``X`` is not finite, has a wrong shape, or an argument holds anything but numbers.

    Notes
    -----
    The views are shifted by up to a quarter of a pixel to bring the axis onto a sample or between two, by the cubic
    convolution of Catmull and Rom: it keeps 94 % of a wave of 4 pixels, where linear interpolation keeps 79 %.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import stitch_half_acquisition
    >>> from tomolearn.simulation import ellipse_sinogram
    >>> angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    >>> half = ellipse_sinogram([[1.0, 40.0, 30.0, 0.0, 0.0, 0.0]], angles, 50, center=42.0)
    >>> stitched, center = stitch_half_acquisition(half, 42.0)
    >>> stitched.shape, center
    ((60, 85), 42.0)
    """
    stack, finish = as_stack(X)
    center = _check_axis(center, stack.shape[2])
    first, opposite = _Halves(stack.shape[1], angles, angle_unit).split(stack)
    stitched = _stitch(first, opposite, center)
    return finish(stitched), (stitched.shape[2] - 1) / 2


def find_center_360(X, angles=None, *, search=None, angle_unit=None):
    """Rotation axis of a scan over a full turn, wherever it is on the detector.

    Views are compared with the mirror images of their opposites where the two overlap. The axis is where the
    derivatives along the detector, lightly smoothed, have the highest normalised correlation over all views and slices.

    Parameters
    ----------
    X : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Line integrals over a full turn.
    angles : array-like of shape (n_angles,), default=None
        In any order; None: equally spaced over a full turn, its end excluded.
    search : tuple of two float, default=None
        Lowest and highest detector coordinate to try; None: all of the detector but for a 32nd part at either end, so
        that a 16th part of it at least is seen by both halves.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.

    Returns
    -------
    float
        Detector coordinate of the axis.

    Raises
    ------
    GeometryError
        If the angles do not cover a full turn, there are fewer than 16 detectors, or ``search`` is not a range on the
        detector.
    ValueError, TypeError
        If ``X`` shows nothing (all values equal), is not finite or has a wrong shape.

    Warns
    -----
    UserWarning
        If the answer lies at the edge of the search.

    References
    ----------
    N. T. Vo, R. C. Atwood, M. Drakopoulos and T. Connolley, "Data processing methods and data acquisition for samples
    larger than the field of view in parallel-beam tomography", Opt. Express 29 (2021) 17849, DOI 10.1364/OE.418448.
    There a window of fixed width is compared, here all of the overlap.

    Examples
    --------
    >>> from tomolearn.preprocessing import find_center_360
    >>> from tomolearn.simulation import simulate_scan
    >>> scan = simulate_scan(2, 96, 200, n_detectors=60, center_offset=22.2, full_turn=True, random_state=0)
    >>> round(scan.center, 1), round(find_center_360(scan.projections, scan.angles), 1)
    (51.7, 51.7)
    """
    stack, _ = as_tensor(X, "X", ndim=(2, 3))
    stack = stack[None] if stack.ndim == 2 else stack
    if 0 in stack.shape or stack.shape[2] < MIN_DETECTORS:
        raise GeometryError(
            f"X must hold at least one sinogram of {MIN_DETECTORS} detectors; got shape {tuple(stack.shape)}."
        )
    check_finite(stack, "X", REMEDY)
    if not has_structure(stack).any():
        raise ValueError("X must show an object for its axis to be found; all values are equal in each slice.")
    halves = _Halves(stack.shape[1], angles, angle_unit)
    n = stack.shape[2]
    if search is None:
        search = (n - 1) / (2 * LEAST_OVERLAP), (n - 1) * (1 - 1 / (2 * LEAST_OVERLAP))
    search = check_search(search, n)
    correlation = _overlap_correlation(stack, halves)
    # the sum of two indices is twice the axis, less what the ends and the derivative have taken away
    offset = 1 + 2 * _cut(n)
    low, high = (math.ceil(2 * search[0]) - offset, math.floor(2 * search[1]) - offset)
    low, high = max(0, low), min(len(correlation) - 1, high)
    best = low + int(np.argmax(correlation[low : high + 1]))
    center = (best + offset) / 2
    if low < best < high:
        center += vertex(*-correlation[best - 1 : best + 2]) / 2
    warn_at_edge(center, search, 0.5, stacklevel=3)
    return center


def _cut(n_detectors) -> int:
    """Detectors at either end whose smoothed derivatives tell of the end, and not of the object."""
    return min(math.ceil(2 * SMOOTHING), n_detectors // (2 * LEAST_OVERLAP))


def _overlap_correlation(stack, halves):
    """Normalised correlation of derivatives with mirrored opposite ones, by the sum of their indices, float64."""
    cut = _cut(stack.shape[2])
    n_slopes = stack.shape[2] - 1
    n = n_slopes - 2 * cut
    n_fft = 2 * n_slopes
    k = 2 * math.pi * torch.fft.rfftfreq(n_fft, dtype=torch.float64)
    smooth = torch.exp(-((SMOOTHING * k) ** 2) / 2)
    cross, energy = 0, torch.zeros(2, n, dtype=torch.float64)
    step = max(1, SPECTRUM_BYTES // (8 * n_fft * len(halves.first)))
    for start in range(0, len(stack), step):
        parts = []
        for side, part in enumerate(halves.split(stack[start : start + step])):
            slope = part.diff(dim=2).to(torch.float64)
            padded = torch.cat([slope, slope.flip(2)], dim=2)  # so that it has no steps
            slope = torch.fft.irfft(torch.fft.rfft(padded) * smooth, n_fft)[..., cut : n_slopes - cut]
            energy[side] += (slope**2).sum((0, 1))
            parts.append(torch.fft.rfft(slope, n_fft))
        cross = cross - (parts[0] * parts[1]).sum((0, 1))  # mirrored slopes have the opposite sign
    correlation = torch.fft.irfft(cross, n_fft)[: 2 * n - 1].numpy()
    sums = [np.concatenate([[0.0], np.cumsum(side)]) for side in energy.numpy()]
    total = np.arange(2 * n - 1)  # of the indices
    low, high = np.maximum(0, total - n + 1), np.minimum(n - 1, total)  # which indices take part, of either half
    norm = np.sqrt(np.prod([side[high + 1] - side[low] for side in sums], axis=0))
    return np.divide(correlation, norm, out=np.zeros_like(correlation), where=norm > 1e-12 * norm.max())


@register
class HalfAcquisitionStitcher(ReshapingCorrector):
    """Join the halves of a scan over a full turn with the axis near one end of the detector: a step of a pipeline.

    The axis of the stitched sinograms is in their middle, where reconstructors look for it by default.

    Parameters
    ----------
    center : float, default=None
        Detector coordinate of the rotation axis; None: `find_center_360` finds it in ``fit``.
    angles : array-like of shape (n_angles,), default=None
        In any order; None: equally spaced over a full turn, its end excluded.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.
    sinogram_shape : tuple of two int, default=None
        Angles and detectors of a sinogram, needed for flat ``X`` only. None: a flat row is a sinogram of one angle.

    Attributes
    ----------
    center_ : float
        The axis in the sinograms that come in.
    views_ : ndarray of shape (n_half,), int
        Which of the views make the first half turn, by increasing angle.
    sinogram_shape_, corrected_shape_ : tuple of two int
        Angles and detectors of what comes in and what goes out.
    n_features_in_ : int
        ``n_angles * n_detectors``.
    feature_names_in_ : ndarray of str
        Column names; only if ``X`` was a data frame.

    See Also
    --------
    stitch_half_acquisition : The same as a function.

    Examples
    --------
    >>> from tomolearn.preprocessing import HalfAcquisitionStitcher
    >>> from tomolearn.simulation import simulate_scan
    >>> scan = simulate_scan(2, 96, 200, n_detectors=60, center_offset=22.2, full_turn=True, random_state=0)
    >>> step = HalfAcquisitionStitcher().fit(scan.projections)
    >>> step.transform(scan.projections).shape, step.transform_angles(scan.angles).shape
    ((2, 100, 104), (100,))
    """

    def __init__(self, *, center=None, angles=None, angle_unit=None, sinogram_shape=None):
        self.center = center
        self.angles = angles
        self.angle_unit = angle_unit
        self.sinogram_shape = sinogram_shape

    @property
    def couples_projections(self):
        """Whether a view enters two: where no view is opposite and it is interpolated between its neighbours."""
        n_angles = self.sinogram_shape_[0] if hasattr(self, "sinogram_shape_") else np.size(self.angles)
        if self.angles is None and not hasattr(self, "sinogram_shape_"):
            return False  # as for an even number of equally spaced views, which is not known yet
        return bool(_Halves(n_angles, self.angles, self.angle_unit).weight.any())

    def fit(self, X, y=None):
        """Find the axis, unless it is given.

        Parameters
        ----------
        X : array-like of shape (n, n_angles, n_detectors) or (n, n_angles * n_detectors)
            Sinograms over a full turn.
        y : ignored
            Images may stand here, for pipelines and searches.

        Returns
        -------
        self

        Raises
        ------
        GeometryError
            If the angles do not cover a full turn, or the axis is not on the detector.
        ValueError, TypeError
            If ``X`` is not finite or of a wrong shape, or shows nothing of which an axis could be found.
        """
        X = self._check_sinograms(X, reset=True)
        n_angles, n_detectors = self.sinogram_shape_
        if self.center is None:
            stack = X.reshape(-1, n_angles, n_detectors)
            self._learn_halves(find_center_360(stack, self.angles, angle_unit=self.angle_unit))
        else:
            self._learn_halves(_check_axis(self.center, n_detectors))
        return self

    def transform_angles(self, angles):
        """Angles of the stitched sinograms.

        Parameters
        ----------
        angles : array-like of shape (n_angles,)
            Those of the sinograms that come in.

        Returns
        -------
        ndarray of shape (n_half,)
            Those of the first half turn, in increasing order.
        """
        check_is_fitted(self)
        return np.asarray(angles)[self.views_]

    def transform_center(self, center):
        """Centre of the stitched sinograms.

        Parameters
        ----------
        center : float or ndarray
            Detector coordinate of the rotation axis in the sinograms that come in; ``center_`` counts.

        Returns
        -------
        float
            Their middle, ``(wide - 1) / 2``.
        """
        check_is_fitted(self)
        return (self.corrected_shape_[1] - 1) / 2

    def _learn_halves(self, center):
        n_angles, n_detectors = self.sinogram_shape_
        self._halves = _Halves(n_angles, self.angles, self.angle_unit)
        self.center_ = center
        self.views_ = self._halves.first
        self.corrected_shape_ = len(self.views_), _stitched_width(center, n_detectors)

    def _learn_from_parameters(self, X):
        center = self.center_ if self.center is None else self.center
        self._learn_halves(_check_axis(center, self.sinogram_shape_[1]))

    def _correct(self, block, start):
        first, opposite = self._halves.split(block)
        return _stitch(first, opposite, self.center_), {}

"""The rotation axis of a scan, found from its sinograms.

All functions take line integrals (after -log) and give the detector coordinate of the axis, the ``center`` of
`tomolearn.geometry.ParallelBeam`: the middle of a detector of n columns is ``(n - 1) / 2``.
"""

import warnings

import numpy as np

from tomolearn._validation import check_choice, check_real
from tomolearn.preprocessing._center_metrics import (
    DoubleWedge,
    EntropyOfImages,
    bin_detectors,
    binned,
    correlate_opposite,
    half_turn_spectrum,
    has_structure,
    vertex,
)
from tomolearn.preprocessing._views import as_sorted_scan, check_search, half_turn, opposite_views, warn_at_edge

__all__ = ["find_center", "find_center_entropy", "find_center_phase", "find_center_vo"]

FINE_SMOOTHING = (1.5, 1.5)  # standard deviations in views and detectors
COARSE_SMOOTHING = 3.0, 1.0  # at least; of many views, so much that some 130 frequencies along the angle are left
COARSE_WIDTH_VO, COARSE_WIDTH_ENTROPY = 256, 128  # detectors of the binned sinogram on which a search begins
FINEST_WIDTH_ENTROPY = 1536  # beyond, images cost much and tell the centre no better
MAX_PAIRS = 32


def find_center(sinograms, angles=None, *, method="vo", search=None, per_slice=False, angle_unit=None):
    """Detector coordinate of the rotation axis, by the method of your choice.

    Parameters
    ----------
    sinograms : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Line integrals of one or more slices.
    angles : array-like of shape (n_angles,), default=None
        In any order; None: equally spaced over half a turn, its end excluded.
    method : {"vo", "phase", "entropy"}, default="vo"
        `find_center_vo`: needs a half turn of views; the most reliable. `find_center_phase`: needs opposite views; the
        fastest. `find_center_entropy`: looks at reconstructions, and also serves truncated objects.
    search : tuple of two float, default=None
        Lowest and highest coordinate to try; None: a quarter of the detector to either side of its middle.
    per_slice : bool, default=False
        False: one axis for all slices, found from all of them together. True: one for each slice.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.

    Returns
    -------
    float or ndarray of shape (n,), float64
        The centre; with ``per_slice`` one for each slice of a stack.

    Raises
    ------
    GeometryError
        If the views do not cover what the method needs, or ``search`` is not a range on the detector.
    ValueError
        If the sinograms show nothing (all values equal) or are not finite, or an argument is unknown.

    Warns
    -----
    UserWarning
        If the answer lies at the edge of the search.

    Examples
    --------
    >>> from tomolearn.preprocessing import find_center
    >>> from tomolearn.simulation import simulate_scan
    >>> scan = simulate_scan(2, 64, 100, center_offset=2.7, random_state=0)
    >>> round(scan.center, 1), round(find_center(scan.projections, scan.angles), 1)
    (34.2, 34.2)
    """
    methods = {"vo": find_center_vo, "phase": find_center_phase, "entropy": find_center_entropy}
    find = methods[check_choice(method, "method", tuple(methods))]
    return find(sinograms, angles, search=search, per_slice=per_slice, angle_unit=angle_unit)


def find_center_vo(sinograms, angles=None, *, search=None, step=0.25, ratio=1.0, per_slice=False, angle_unit=None):
    """Rotation axis from the spectrum of the sinogram: Vo's metric.

    A sinogram over a full turn has next to no energy outside a double wedge of its two-dimensional spectrum. The full
    turn is made of the half turn and its mirror image about a trial centre; only the right centre leaves the outside of
    the wedge empty.

    Parameters
    ----------
    sinograms : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Line integrals over half a turn, at least 150 degrees of it. Of more, the first half turn is used; a last view
        that repeats the first from the back is left out.
    angles : array-like of shape (n_angles,), default=None
        In any order; views at uneven angles are interpolated. None: equally spaced over half a turn, its end excluded.
    search : tuple of two float, default=None
        Lowest and highest coordinate to try; None: a quarter of the detector to either side of its middle.
    step : float, default=0.25
        Spacing of the last trial centres in pixels; a parabola through the best three refines the answer.
    ratio : float, default=1.0
        Radius of the object as a part of half the detector, at least: energy that an object of this radius can have is
        not counted. Small objects allow a smaller one, which uses more of the spectrum.
    per_slice : bool, default=False
        False: one axis for all slices, by the sum of their metrics. True: one for each slice.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.

    Returns
    -------
    float or ndarray of shape (n,), float64
        The centre; with ``per_slice`` one for each slice of a stack.

    Raises
    ------
    GeometryError
        If there are fewer than 8 views or they cover less than 150 degrees, or ``search`` is not a range on the
        detector.
    ValueError
        If the sinograms show nothing (all values equal) or are not finite, or a number is out of its range.

    Warns
    -----
    UserWarning
        If the answer lies at the edge of the search.

    References
    ----------
    N. T. Vo, M. Drakopoulos, R. C. Atwood and C. Reinhard, "Reliable method for calculating the center of rotation in
    parallel-beam tomography", Opt. Express 22 (2014) 19078, DOI 10.1364/OE.22.019078. There the half sinogram is
    smoothed before the search; here the spectrum is weighted instead, which leaves the ends of the half turn alone.

    Examples
    --------
    >>> from tomolearn.preprocessing import find_center_vo
    >>> from tomolearn.simulation import ellipse_sinogram
    >>> from tomolearn.geometry import default_angles
    >>> disc = ellipse_sinogram([[1.0, 9.0, 5.0, 4.0, 3.0, 0.5]], default_angles(90), 48, center=21.3)
    >>> round(find_center_vo(disc), 1)
    21.3
    """
    step = check_real(step, "step", low=0.01, high=4)
    ratio = check_real(ratio, "ratio", low=0.05, high=2)
    stack, angles = as_sorted_scan(sinograms, angles, angle_unit)
    search = check_search(search, stack.shape[2])
    stack, angles = half_turn(stack, angles)

    coarse = max(COARSE_SMOOTHING[0], stack.shape[1] / 130), COARSE_SMOOTHING[1]

    def find(part):
        factor = max(1, stack.shape[2] // COARSE_WIDTH_VO)
        levels = [(f, 0.5 * f, coarse) for f in _halved(factor)] + [(1, step, FINE_SMOOTHING)]

        spectra = [half_turn_spectrum(slice_) for slice_ in part]

        def metrics(level):
            for spectrum in spectra:
                yield DoubleWedge(bin_detectors(spectrum, levels[level][0]), smoothing=levels[level][2], ratio=ratio)

        return _search(metrics, levels, search)

    return _each_or_all(find, stack, per_slice, sinograms, search, 0.5 * step)


def find_center_phase(sinograms, angles=None, *, search=None, per_slice=False, angle_unit=None):
    """Rotation axis from the phase correlation of opposite views.

    Two views half a turn apart are mirror images of each other about the axis. All pairs of such views, at most 32, and
    all rows are correlated together.

    Parameters
    ----------
    sinograms : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Line integrals. Scans over a full turn have many opposite views; those over half a turn have one pair, which is
        one step off where the end of the half turn is excluded: then expect an error of some tenths of a pixel.
    angles : array-like of shape (n_angles,), default=None
        In any order; None: equally spaced over half a turn, its end excluded.
    search : tuple of two float, default=None
        Lowest and highest coordinate to try; None: a quarter of the detector to either side of its middle.
    per_slice : bool, default=False
        False: one axis for all slices, from the sum of their cross spectra. True: one for each slice.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.

    Returns
    -------
    float or ndarray of shape (n,), float64
        The centre; with ``per_slice`` one for each slice of a stack.

    Raises
    ------
    GeometryError
        If no two views are within one and a half steps of half a turn, or ``search`` is not a range on the detector.
    ValueError
        If the sinograms show nothing (all values equal) or are not finite.

    Warns
    -----
    UserWarning
        If the answer lies at the edge of the search, also since the views match much better outside it.

    References
    ----------
    C. D. Kuglin and D. C. Hines, "The phase correlation image alignment method", Proc. IEEE Int. Conf. Cybernetics and
    Society (1975) 163. H. Foroosh, J. B. Zerubia and M. Berthod, "Extension of phase correlation to subpixel
    registration", IEEE Trans. Image Process. 11 (2002) 188, DOI 10.1109/83.988953.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import find_center_phase
    >>> from tomolearn.simulation import simulate_scan
    >>> scan = simulate_scan(4, 64, 100, full_turn=True, center_offset=2.7, random_state=0)
    >>> round(scan.center, 1), round(find_center_phase(scan.projections, scan.angles), 1)
    (34.2, 34.2)
    """
    stack, angles = as_sorted_scan(sinograms, angles, angle_unit)
    search = check_search(search, stack.shape[2])
    first, second = opposite_views(angles, 1.5, MAX_PAIRS)

    def find(part):
        return correlate_opposite(part[:, first].flatten(0, 1), part[:, second].flatten(0, 1), search)

    return _each_or_all(find, stack, per_slice, sinograms, search, 0.25)


def find_center_entropy(sinograms, angles=None, *, search=None, step=0.25, per_slice=False, angle_unit=None):
    """Rotation axis at which the reconstruction is sharpest: where the histogram of the image has the least entropy.

    Slices are reconstructed by filtered back-projection with trial centres, first from binned sinograms. The histogram
    has 64 bins between the least and the largest value that the middle of the search gives. Images that are blurred
    beyond recognition have little entropy, too: where noise hides the object or the axis is far off, the answer is an
    edge of the search. Give a narrow ``search`` then, or take `find_center_vo`.

    Parameters
    ----------
    sinograms : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Line integrals over half a turn, at least 150 degrees of it. Of more, the first half turn is used.
    angles : array-like of shape (n_angles,), default=None
        In any order; None: equally spaced over half a turn, its end excluded.
    search : tuple of two float, default=None
        Lowest and highest coordinate to try; None: a quarter of the detector to either side of its middle.
    step : float, default=0.25
        Spacing of the last trial centres in pixels (of bins, for more than 3072 detectors); a parabola through the best
        three refines the answer.
    per_slice : bool, default=False
        False: one axis for all slices, by the sum of their entropies. True: one for each slice.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.

    Returns
    -------
    float or ndarray of shape (n,), float64
        The centre; with ``per_slice`` one for each slice of a stack.

    Raises
    ------
    GeometryError
        If there are fewer than 8 views or they cover less than 150 degrees, or ``search`` is not a range on the
        detector.
    ValueError
        If the sinograms show nothing (all values equal) or are not finite, or ``step`` is out of its range.

    Warns
    -----
    UserWarning
        If the answer lies at the edge of the search.

    References
    ----------
    T. Donath, F. Beckmann and A. Schreyer, "Automated determination of the center of rotation in tomography data",
    J. Opt. Soc. Am. A 23 (2006) 1048, DOI 10.1364/JOSAA.23.001048.

    Examples
    --------
    >>> from tomolearn.preprocessing import find_center_entropy
    >>> from tomolearn.simulation import simulate_scan
    >>> scan = simulate_scan(1, 64, 100, center_offset=2.7, random_state=0)
    >>> round(scan.center, 1), round(find_center_entropy(scan.projections, scan.angles), 1)
    (34.2, 34.2)
    """
    step = check_real(step, "step", low=0.01, high=4)
    stack, angles = as_sorted_scan(sinograms, angles, angle_unit)
    search = check_search(search, stack.shape[2])
    stack, angles = half_turn(stack, angles)
    finest = max(1, stack.shape[2] // FINEST_WIDTH_ENTROPY)

    def find(part):
        factor = max(finest, stack.shape[2] // COARSE_WIDTH_ENTROPY)
        factors = [f for f in _halved(factor) if f > finest]
        levels = [(f, 0.5 * f) for f in factors] + [(finest, 0.5 * finest), (finest, step * finest)]

        def metrics(level):
            factor = levels[level][0]
            middle = float(binned(sum(search) / 2, factor))
            for slice_ in bin_detectors(part, factor):
                yield EntropyOfImages(slice_, angles, middle=middle)

        return _search(metrics, levels, search)

    return _each_or_all(find, stack, per_slice, sinograms, search, 0.5 * step)


# ---------------------------------------------------------------------------------------------------- how to search


def _halved(factor: int) -> list[int]:
    factors = []
    while factor > 1:
        factors.append(factor)
        factor //= 2
    return [*factors, 1]


def _search(metrics, levels, search) -> float:
    """Centre at the least sum of metrics, from coarse to fine.

    ``levels[i][:2]``: by how much detectors are binned, and the step of the trial centres in unbinned pixels;
    ``metrics(i)``: the functions of binned centres, one for each slice.
    """
    low, high = search
    for level, (factor, step, *_) in enumerate(levels):
        # multiples of the step: the coarse levels then shift by whole bins, without interpolation
        centers = np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step
        if len(centers) < 3:
            centers = np.linspace(low, high, 3)
        total = np.zeros(len(centers))
        for metric in metrics(level):
            values = metric(binned(centers, factor))
            spread = np.ptp(values)
            total = total + (values / spread if spread > 0 else 0)
        best = int(np.argmin(total))
        center = float(centers[best])
        low, high = max(search[0], center - 2 * step), min(search[1], center + 2 * step)
    if 0 < best < len(centers) - 1:
        center += vertex(*total[best - 1 : best + 2]) * float(centers[1] - centers[0])
    return center


def _each_or_all(find, stack, per_slice, given, search, margin):
    """``find`` for the slices that show something: each for itself, or all together."""
    visible = has_structure(stack)
    n_blank = int((~visible).sum())
    if n_blank == len(stack) or (per_slice and n_blank):
        raise ValueError(
            "sinograms must show an object for its axis to be found; all values are equal in "
            + (f"each of the {n_blank} slices." if n_blank == len(stack) else f"{n_blank} of {len(stack)} slices.")
        )
    if not per_slice:
        center = find(stack if n_blank == 0 else stack[visible])
        warn_at_edge(center, search, margin)
        return center
    centers = np.array([find(stack[i : i + 1]) for i in range(len(stack))])
    at_edge = np.flatnonzero(np.minimum(centers - search[0], search[1] - centers) <= margin)
    if len(at_edge):
        warnings.warn(
            f"the centres of {len(at_edge)} of {len(centers)} slices lie at the edge of the search, {search[0]:.2f} to "
            f"{search[1]:.2f} (slice {at_edge[0]}: {centers[at_edge[0]]:.2f}): the axis may be outside. Give another "
            "search=(low, high), or another method.",
            stacklevel=3,
        )
    return centers if np.ndim(given) == 3 else float(centers[0])

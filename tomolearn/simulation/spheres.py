"""Sums of spheres: volumes, projections that are exact, and random packings of spheres that do not overlap.

A sphere is a row ``value, x, y, z, r`` of a table: the value that it adds, its centre in pixels from the middle of the
volume (x to the right, y upwards, z along the rotation axis, growing with the slice index), and its radius in pixels.
"""

import numpy as np
from sklearn.utils import check_random_state

from tomolearn._extension import load_simulation
from tomolearn._validation import check_integer, check_real, check_shape
from tomolearn.simulation._arguments import as_table, check_scan, check_supersampling, check_threads

__all__ = ["pack_spheres", "sphere_projections", "sphere_volume"]

COLUMNS = "value, x, y, z, r"
CANDIDATES_PER_SPHERE, MIN_CANDIDATES, MAX_CANDIDATES = 10, 1000, 100_000_000
MAX_LENGTH = 1e9


def pack_spheres(n_spheres, radius_range, *, radius, height, n_candidates=None, random_state=None):
    """Random spheres in a cylinder that do not overlap: the voids of a foam phantom.

    Points are scattered over the cylinder. The point around which the largest sphere fits gets one, of that radius but
    not more than the upper end of ``radius_range``; points with no room left are drawn anew; and so on. Large spheres
    come first, and later ones touch their neighbours, as in a foam.

    Parameters
    ----------
    n_spheres : int
        How many.
    radius_range : tuple of two float
        Smallest and largest radius in pixels. The radii follow from the packing, from the largest down to what is left.
    radius, height : float
        Of the cylinder around the z axis, in pixels, centred on the origin. All spheres lie inside it.
    n_candidates : int, default=None
        Number of scattered points; None: 10 for each sphere, at least 1000. More of them make a denser packing; time
        and memory (about 100 bytes each) are proportional to it.
    random_state : int, RandomState instance or None, default=None
        Seed of the packing; an int gives the same spheres on every platform.

    Returns
    -------
    ndarray of shape (n_spheres, 4), float64
        Columns x, y, z, r in pixels, in the order in which they were placed. With a column of values put before them
        they are a table for `sphere_volume` and `sphere_projections`.

    Raises
    ------
    ValueError
        If a number is out of its range, or so many spheres do not fit.
    TypeError
        If an argument is not a number.

    References
    ----------
    D. M. Pelt, A. A. Hendriksen and K. J. Batenburg, "Foam-like phantoms for comparing tomography algorithms",
    J. Synchrotron Rad. 29 (2022) 254, DOI 10.1107/S1600577521011322.

    Examples
    --------
    >>> from tomolearn.simulation import pack_spheres
    >>> spheres = pack_spheres(200, (1.0, 12.0), radius=40.0, height=60.0, random_state=0)
    >>> spheres.shape, spheres[:, 3].max()
    ((200, 4), np.float64(12.0))
    """
    n_spheres = check_integer(n_spheres, "n_spheres", low=0, high=MAX_CANDIDATES)
    radius = check_real(radius, "radius", low=0, high=MAX_LENGTH, open_low=True)
    height = check_real(height, "height", low=0, high=MAX_LENGTH, open_low=True)
    smallest, largest = _check_radius_range(radius_range, min(radius, height / 2))
    if n_candidates is None:
        n_candidates = min(max(MIN_CANDIDATES, CANDIDATES_PER_SPHERE * n_spheres), MAX_CANDIDATES)
    n_candidates = check_integer(n_candidates, "n_candidates", low=1, high=MAX_CANDIDATES)
    seed = check_random_state(random_state).randint(0, 2**64, dtype=np.uint64)
    spheres = load_simulation().pack_spheres(n_spheres, smallest, largest, radius, height, n_candidates, int(seed))
    if len(spheres) < n_spheres:
        filled = 4 / 3 * np.sum(spheres[:, 3] ** 3) / (radius**2 * height)
        raise ValueError(
            f"n_spheres must fit the cylinder; got {n_spheres}, but after {len(spheres)} spheres, which fill "
            f"{filled:.0%} of it, no place for one of radius {smallest:g} or more was found. Lower n_spheres or "
            f"radius_range, raise n_candidates ({n_candidates}), or take a larger cylinder."
        )
    return spheres


def sphere_volume(spheres, volume_shape, *, supersampling=1, dtype=np.float32, n_threads=None):
    """Volume of a sum of spheres.

    Parameters
    ----------
    spheres : array-like of shape (n, 5)
        Columns value, x, y, z, r; see `tomolearn.simulation.spheres`. No rows give a volume of zeros.
    volume_shape : tuple of three int
        Slices, rows and columns.
    supersampling : int, default=1
        Each voxel is the mean over this many points along each of its edges, at most 64. 1: the value at its centre.
    dtype : {float32, float64}, default=float32
        Of the result; sums are taken in float64.
    n_threads : int, default=None
        None: as many as there are processors for this process. The result does not depend on it.

    Returns
    -------
    ndarray of shape (slices, rows, columns)
        Values of the table, summed where spheres overlap.

    Raises
    ------
    ValueError, TypeError
        If the table has another shape, holds NaN or radii that are not positive, or a size is not a positive integer.

    Examples
    --------
    >>> from tomolearn.simulation import sphere_volume
    >>> sphere_volume([[1.0, 0.0, 0.0, 0.0, 1.0]], (3, 3, 3))[:, 1]
    array([[0., 1., 0.],
           [1., 1., 1.],
           [0., 1., 0.]], dtype=float32)
    """
    table = as_table(spheres, "spheres", COLUMNS)
    shape = check_shape(volume_shape, "volume_shape", 3)
    single = _is_single(dtype)
    threads = check_threads(n_threads)
    return load_simulation().sphere_volume(table, *shape, check_supersampling(supersampling), single, threads)


def sphere_projections(
    spheres,
    angles,
    detector_shape,
    *,
    center=None,
    detector_spacing=1.0,
    supersampling=1,
    dtype=np.float32,
    angle_unit=None,
    n_threads=None,
):
    """Exact parallel-beam projections of a sum of spheres, as a stack of sinograms.

    Parameters
    ----------
    spheres : array-like of shape (n, 5)
        Columns value, x, y, z, r; see `tomolearn.simulation.spheres`. No rows give projections of zeros.
    angles : array-like of shape (n_angles,)
        In any order and spacing.
    detector_shape : tuple of two int
        Number of slices, which are one pixel high, and of detector bins.
    center : float or array-like, default=None
        Detector coordinate of the rotation axis, which is the z axis: a number, one per angle (n_angles,), one per
        slice (n_slices, 1), or both (n_slices, n_angles). None: the middle of the detector.
    detector_spacing : float, default=1.0
        Width of a detector bin in pixels.
    supersampling : int, default=1
        Each cell of the detector is the mean over this many rays along its width and along its height, at most 64.
        1: the ray through its middle.
    dtype : {float32, float64}, default=float32
        Of the result; sums are taken in float64.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.
    n_threads : int, default=None
        None: as many as there are processors for this process. The result does not depend on it.

    Returns
    -------
    ndarray of shape (n_slices, n_angles, n_detectors)
        A ray that passes the centre of a sphere at the distance d has the integral ``value * 2 * sqrt(r**2 - d**2)``.

    Raises
    ------
    GeometryError
        If angles or centre do not make a scan.
    ValueError, TypeError
        If the table has another shape, holds NaN or radii that are not positive, or a number is out of its range.

    Examples
    --------
    A foam is a cylinder of value 1 from which the spheres are taken away:

    >>> import numpy as np
    >>> from tomolearn.geometry import default_angles
    >>> from tomolearn.simulation import ellipse_sinogram, pack_spheres, sphere_projections
    >>> angles = default_angles(8)
    >>> voids = pack_spheres(50, (1.0, 8.0), radius=15.0, height=32.0, random_state=0)
    >>> foam = ellipse_sinogram([[1.0, 15.5, 15.5, 0.0, 0.0, 0.0]], angles, 32) + sphere_projections(
    ...     np.insert(voids, 0, -1.0, axis=1), angles, (4, 32)
    ... )
    >>> foam.shape, bool(foam.min() >= 0)
    ((4, 8, 32), True)
    """
    table = as_table(spheres, "spheres", COLUMNS)
    n_slices, n_detectors = check_shape(detector_shape, "detector_shape", 2)
    angles, centers, n_detectors, spacing = check_scan(
        angles, angle_unit, n_slices, n_detectors, center, detector_spacing
    )
    samples, single, threads = check_supersampling(supersampling), _is_single(dtype), check_threads(n_threads)
    return load_simulation().sphere_projections(
        table, angles, centers, n_slices, n_detectors, spacing, samples, single, threads
    )


def _check_radius_range(radius_range, largest_that_fits):
    try:
        smallest, largest = radius_range
    except (TypeError, ValueError) as error:
        raise ValueError(f"radius_range must be the smallest and the largest radius; got {radius_range!r}.") from error
    largest = check_real(largest, "radius_range[1]", low=0, high=MAX_LENGTH, open_low=True)
    smallest = check_real(smallest, "radius_range[0]", low=0, high=largest, open_low=True)
    if smallest > largest_that_fits:
        raise ValueError(
            f"radius_range[0] must be at most {largest_that_fits:g}, the largest sphere that fits the cylinder; got "
            f"{smallest:g}."
        )
    return smallest, largest


def _is_single(dtype):
    try:
        wanted = np.dtype(dtype)
    except TypeError as error:
        raise TypeError(f"dtype must be float32 or float64; got {dtype!r}.") from error
    if wanted not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64; got {wanted}.")
    return wanted == np.float32

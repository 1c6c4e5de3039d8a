"""Sums of ellipses: images, and sinograms that are exact.

An ellipse is a row ``value, a, b, x0, y0, phi`` of a table: the value that it adds, its semi-axes in pixels, its
centre in pixels from the middle of the image (x to the right, y upwards), and the angle in radians by which the axis
``a`` is turned counter-clockwise from the x axis.
"""

import numpy as np
from sklearn.utils import check_random_state

from tomolearn._extension import load_simulation
from tomolearn._validation import check_integer, check_real, check_shape
from tomolearn.base import check_memory
from tomolearn.simulation._arguments import as_table, check_pair, check_scan, check_supersampling

__all__ = ["ellipse_image", "ellipse_sinogram", "random_ellipses", "shepp_logan_ellipses"]

COLUMNS = "value, a, b, x0, y0, phi"

# Columns a, b, x0, y0 in units of half the image, phi in degrees; then the values of the two phantoms.
_SHEPP_LOGAN = (
    (0.69, 0.92, 0, 0, 0),
    (0.6624, 0.874, 0, -0.0184, 0),
    (0.11, 0.31, 0.22, 0, -18),
    (0.16, 0.41, -0.22, 0, 18),
    (0.21, 0.25, 0, 0.35, 0),
    (0.046, 0.046, 0, 0.1, 0),
    (0.046, 0.046, 0, -0.1, 0),
    (0.046, 0.023, -0.08, -0.605, 0),
    (0.023, 0.023, 0, -0.605, 0),
    (0.023, 0.046, 0.06, -0.605, 0),
)
_ORIGINAL = (2.0, -0.98, -0.02, -0.02, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01)
_MODIFIED = (1.0, -0.8, -0.2, -0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1)


def shepp_logan_ellipses(size, modified=True):
    """The ten ellipses of the Shepp-Logan head phantom.

    Parameters
    ----------
    size : int
        Edge in pixels of the square image that the phantom fills.
    modified : bool, default=True
        True: the values of Toft, 0 to 1, whose features are easy to see. False: the original attenuations, a skull of 2
        around a brain of 1.02 with features of 0.01.

    Returns
    -------
    ndarray of shape (10, 6), float64
        Columns value, a, b, x0, y0, phi, for `ellipse_image` and `ellipse_sinogram`.

    Raises
    ------
    ValueError, TypeError
        If ``size`` is not a positive integer.

    References
    ----------
    L. A. Shepp and B. F. Logan, "The Fourier reconstruction of a head section", IEEE Trans. Nucl. Sci. 21 (1974) 21,
    DOI 10.1109/TNS.1974.6499235. P. Toft, "The Radon transform: theory and implementation", PhD thesis, Technical
    University of Denmark (1996).

    Examples
    --------
    >>> from tomolearn.simulation import shepp_logan_ellipses
    >>> shepp_logan_ellipses(128)[0].tolist()
    [1.0, 44.16, 58.88, 0.0, 0.0, 0.0]
    """
    half = check_integer(size, "size", low=1) / 2
    table = np.array(_SHEPP_LOGAN, dtype=np.float64)
    values = np.array(_MODIFIED if modified else _ORIGINAL)
    return np.column_stack([values, table[:, :4] * half, np.deg2rad(table[:, 4])])


def ellipse_image(ellipses, image_shape, *, supersampling=1):
    """Image of a sum of ellipses.

    Parameters
    ----------
    ellipses : array-like of shape (n, 6)
        Columns value, a, b, x0, y0, phi; see `tomolearn.simulation.ellipses`. No rows give an image of zeros.
    image_shape : tuple of two int
        Rows and columns.
    supersampling : int or "exact", default=1
        Each pixel is the mean over this many points along each of its edges, at most 64. 1: the value at its centre,
        where a point on the border counts as inside. "exact": the mean over the area of the pixel.

    Returns
    -------
    ndarray of shape (rows, columns), float64
        With "exact", the sum over the image is that of ``value * pi * a * b`` where the ellipses lie inside it.

    Raises
    ------
    ValueError, TypeError
        If the table has another shape, holds NaN or semi-axes that are not positive, or a size is not a positive
        integer.

    Examples
    --------
    >>> from tomolearn.simulation import ellipse_image
    >>> ellipse_image([[1.0, 2.0, 1.0, 0.0, 0.0, 0.0]], (3, 5))
    array([[0., 0., 1., 0., 0.],
           [1., 1., 1., 1., 1.],
           [0., 0., 1., 0., 0.]])
    >>> ellipse_image([[1.0, 2.0, 1.0, 0.0, 0.0, 0.0]], (3, 5), supersampling="exact").sum().round(6)
    np.float64(6.283185)
    """
    table = as_table(ellipses, "ellipses", COLUMNS)
    rows, columns = check_shape(image_shape, "image_shape", 2)
    if isinstance(supersampling, str):
        if supersampling != "exact":
            raise ValueError(f"supersampling must be an integer from 1 to 64 or 'exact'; got {supersampling!r}.")
        samples = 0
    else:
        samples = check_supersampling(supersampling)
    return load_simulation().ellipse_image(table, rows, columns, samples)


def ellipse_sinogram(
    ellipses, angles, n_detectors, *, center=None, detector_spacing=1.0, bin_average=False, angle_unit=None
):
    r"""Exact parallel-beam sinogram of a sum of ellipses.

    Parameters
    ----------
    ellipses : array-like of shape (n, 6)
        Columns value, a, b, x0, y0, phi; see `tomolearn.simulation.ellipses`. No rows give a sinogram of zeros.
    angles : array-like of shape (n_angles,)
        In any order and spacing.
    n_detectors : int
        Number of detector bins.
    center : float or array-like of shape (n_angles,), default=None
        Detector coordinate of the rotation axis, which is the middle of the image; None: ``(n_detectors - 1) / 2``.
    detector_spacing : float, default=1.0
        Width of a detector bin in pixels.
    bin_average : bool, default=False
        False: integrals along the rays through the middle of each bin. True: their mean over the width of the bin, also
        exact, which is what a detector of finite bins without gaps measures (before the logarithm's curvature).
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.

    Returns
    -------
    ndarray of shape (n_angles, n_detectors), float64
        In values of the table times pixel lengths.

    Raises
    ------
    GeometryError
        If angles or centre do not make a scan.
    ValueError, TypeError
        If the table has another shape, holds NaN or semi-axes that are not positive, or a number is out of its range.

    Notes
    -----
    With :math:`w^2 = (a \cos(\theta - \varphi))^2 + (b \sin(\theta - \varphi))^2` the ray at the distance t from the
    centre of the ellipse has the integral :math:`2 a b \sqrt{w^2 - t^2} / w^2` for :math:`|t| < w` (Kak and Slaney,
    "Principles of Computerized Tomographic Imaging", chapter 3, DOI 10.1137/1.9780898719277).

    Examples
    --------
    >>> from tomolearn.simulation import ellipse_sinogram
    >>> ellipse_sinogram([[1.0, 5.0, 5.0, 0.0, 0.0, 0.0]], [0.0], 11)
    array([[ 0.        ,  6.        ,  8.        ,  9.16515139,  9.79795897,
            10.        ,  9.79795897,  9.16515139,  8.        ,  6.        ,
             0.        ]])
    """
    table = as_table(ellipses, "ellipses", COLUMNS)
    scan = check_scan(angles, angle_unit, 1, n_detectors, center, detector_spacing)
    return load_simulation().ellipse_sinogram(table, *scan, bool(bin_average))


DRAWS = 6  # random numbers of an ellipse


def random_ellipses(
    n_images,
    size=64,
    *,
    n_ellipses=(3, 12),
    semi_axes=None,
    values=(0.1, 1.0),
    random_state=None,
    return_tables=False,
):
    """Images of some random ellipses that add up, and the tables of which every sinogram is exact.

    Value, semi-axes and angle of an ellipse are uniform; so is its centre within the circle that leaves it wholly
    inside the field of view. The values of an image are scaled such that its largest pixel is 1.

    Parameters
    ----------
    n_images : int
    size : int, default=64
        Rows and columns, at least 8.
    n_ellipses : tuple of two int, default=(3, 12)
        Fewest and most ellipses of an image.
    semi_axes : tuple of two float, default=None
        Shortest and longest semi-axis in pixels; None: ``(size / 32, size / 4)``.
    values : tuple of two float, default=(0.1, 1.0)
        Least and largest value of an ellipse before the image is scaled; positive.
    random_state : int, RandomState instance or None, default=None
        Image k of a seed is the same, however many there are.
    return_tables : bool, default=False
        Also return the tables.

    Returns
    -------
    images : ndarray of shape (n_images, size, size), float32
        In [0, 1]; each pixel is the mean over its area, zero outside the circle of radius ``size / 2``.
    tables : list of ndarray of shape (n, 6), float64
        Only with ``return_tables``: columns value, a, b, x0, y0, phi of the ellipses of each image, for
        `ellipse_sinogram` and `write_library`.

    Raises
    ------
    ValueError, TypeError
        If a number is out of its range or not a number.
    MemoryBudgetError
        If the images do not fit into memory.

    Examples
    --------
    >>> from tomolearn.simulation import ellipse_sinogram, random_ellipses
    >>> images, tables = random_ellipses(3, 64, random_state=0, return_tables=True)
    >>> images.shape, float(images.max()), tables[0].shape[1]
    ((3, 64, 64), 1.0, 6)
    >>> sinogram = ellipse_sinogram(tables[0], [0.0, 1.0], 64)
    >>> bool(abs(sinogram.sum(axis=1) / images[0].sum() - 1).max() < 0.02)
    True
    """
    n_images, size = check_integer(n_images, "n_images", low=1), check_integer(size, "size", low=8)
    fewest, most = check_pair(n_ellipses, "n_ellipses", check_integer, {"low": 1})
    radius = size / 2
    longest = (size / 32, size / 4) if semi_axes is None else semi_axes
    limits = check_pair(longest, "semi_axes", check_real, {"low": 0.1, "high": radius})
    values = check_pair(values, "values", check_real, {"low": 0, "open_low": True})
    check_memory(4.0 * n_images * size**2, f"{n_images} images", "Take fewer by n_images.")
    rng = np.random.default_rng(check_random_state(random_state).randint(0, 2**31 - 1))
    images, tables = np.empty((n_images, size, size), np.float32), []
    for image in images:
        draws = rng.random(1 + DRAWS * most)
        count = fewest + int(draws[0] * (most - fewest + 1))
        table = _place(draws[1:].reshape(most, DRAWS)[:count], values, limits, radius)
        exact = ellipse_image(table, (size, size), supersampling="exact")
        peak = exact.max()
        table[:, 0] /= peak
        np.divide(exact, peak, out=image, casting="same_kind")
        tables.append(table)
    return (images, tables) if return_tables else images


def _place(draws, values, limits, radius):
    """The table of the ellipses for draws (n, DRAWS) in [0, 1)."""
    value = values[0] + (values[1] - values[0]) * draws[:, 0]
    axes = limits[0] + (limits[1] - limits[0]) * draws[:, 1:3]
    away, around = (radius - axes.max(axis=1)) * np.sqrt(draws[:, 3]), 2 * np.pi * draws[:, 4]
    return np.column_stack([value, axes, away * np.cos(around), away * np.sin(around), np.pi * draws[:, 5]])

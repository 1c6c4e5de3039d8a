"""Sums of ellipses: images, and sinograms that are exact.

An ellipse is a row ``value, a, b, x0, y0, phi`` of a table: the value that it adds, its semi-axes in pixels, its
centre in pixels from the middle of the image (x to the right, y upwards), and the angle in radians by which the axis
``a`` is turned counter-clockwise from the x axis.
"""

import numpy as np

from tomolearn._extension import load_simulation
from tomolearn._validation import check_integer, check_shape
from tomolearn.simulation._arguments import as_table, check_scan, check_supersampling

__all__ = ["ellipse_image", "ellipse_sinogram", "shepp_logan_ellipses"]

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

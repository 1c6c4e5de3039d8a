"""Projection and back-projection of parallel-beam scans: two exact matched pairs, differentiable.

`radon` and `radon_adjoint` interpolate linearly between pixels across the ray (Joseph 1982, DOI
10.1109/TMI.1982.4307572) and are transposes of each other; `backproject` interpolates linearly on the detector, as
filtered back-projection wants it, and `backproject_adjoint` is its transpose. Each is the other's gradient.
"""

import torch

from tomolearn._validation import as_tensor, check_integer, check_real, check_shape
from tomolearn.exceptions import GeometryError
from tomolearn.geometry import SPACING_RANGE, as_radians, check_center
from tomolearn.ops._register import check_device, operators

__all__ = ["backproject", "backproject_adjoint", "radon", "radon_adjoint"]


def radon(images, angles, *, n_detectors=None, center=None, detector_spacing=1.0, angle_unit=None):
    """Line integrals of images: the forward projection.

    Parameters
    ----------
    images : array-like or Tensor of shape (rows, columns) or (n, rows, columns)
        Real numbers of any dtype, byte order and stride.
    angles : array-like of shape (n_angles,)
        In any order and spacing.
    n_detectors : int, default=None
        Number of detector bins; None: the number of columns.
    center : float or array-like, default=None
        Detector coordinate of the rotation axis: a number, one per angle (n_angles,), one per slice (n, 1), or both
        (n, n_angles). None: the middle of the detector.
    detector_spacing : float, default=1.0
        Width of a detector bin in pixels.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.

    Returns
    -------
    ndarray or Tensor of shape (n_angles, n_detectors) or (n, n_angles, n_detectors)
        The same kind and floating dtype as ``images`` (integers give float32), in pixel values times pixel lengths.

    Raises
    ------
    GeometryError
        If angles or centre do not make a scan.
    ValueError, TypeError
        If an argument has a wrong shape, range or type.

    References
    ----------
    P. M. Joseph, "An improved algorithm for reprojecting rays through pixel images", IEEE Trans. Med. Imaging 1 (1982)
    192, DOI 10.1109/TMI.1982.4307572.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.ops import radon
    >>> radon(np.arange(9.0).reshape(3, 3), [0, 90], angle_unit="deg")
    array([[ 9., 12., 15.],
           [21., 12.,  3.]])
    """
    stack, restore = _as_stack(images, "images")
    n_detectors = stack.shape[2] if n_detectors is None else n_detectors
    n_detectors = check_integer(n_detectors, "n_detectors", low=1, high=2**24 - 1)
    geometry = _geometry(stack, angles, angle_unit, center, n_detectors, detector_spacing)
    return restore(operators().radon(stack, *geometry, n_detectors))


def radon_adjoint(projections, angles, *, image_shape=None, center=None, detector_spacing=1.0, angle_unit=None):
    """Exact transpose of `radon`: ``sum(radon(x) * y) == sum(x * radon_adjoint(y))`` up to rounding.

    Parameters
    ----------
    projections : array-like or Tensor of shape (n_angles, n_detectors) or (n, n_angles, n_detectors)
        Real numbers of any dtype, byte order and stride.
    angles : array-like of shape (n_angles,)
        In any order and spacing.
    image_shape : tuple of two int, default=None
        Rows and columns of the images; None: ``(n_detectors, n_detectors)``.
    center : float or array-like, default=None
        As in `radon`.
    detector_spacing : float, default=1.0
        Width of a detector bin in pixels.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.

    Returns
    -------
    ndarray or Tensor of shape (rows, columns) or (n, rows, columns)
        The same kind and floating dtype as ``projections`` (integers give float32).

    Raises
    ------
    GeometryError
        If angles or centre do not make a scan, or the number of angles is not that of the projections.
    ValueError, TypeError
        If an argument has a wrong shape, range or type.

    References
    ----------
    P. M. Joseph, "An improved algorithm for reprojecting rays through pixel images", IEEE Trans. Med. Imaging 1 (1982)
    192, DOI 10.1109/TMI.1982.4307572.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.ops import radon, radon_adjoint
    >>> x, y = np.arange(9.0).reshape(3, 3), np.ones((2, 3))
    >>> angles = [0.3, 1.2]
    >>> bool(np.isclose(np.sum(radon(x, angles) * y), np.sum(x * radon_adjoint(y, angles))))
    True
    """
    return _to_images("radon_adjoint", projections, angles, image_shape, center, detector_spacing, angle_unit)


def backproject(projections, angles, *, image_shape=None, center=None, detector_spacing=1.0, angle_unit=None):
    """Sum over the angles of the projections at each pixel, interpolated linearly on the detector (unfiltered).

    Parameters
    ----------
    projections : array-like or Tensor of shape (n_angles, n_detectors) or (n, n_angles, n_detectors)
        Real numbers of any dtype, byte order and stride; zero beyond the detector's ends.
    angles : array-like of shape (n_angles,)
        In any order and spacing.
    image_shape : tuple of two int, default=None
        Rows and columns of the images; None: ``(n_detectors, n_detectors)``.
    center : float or array-like, default=None
        As in `radon`.
    detector_spacing : float, default=1.0
        Width of a detector bin in pixels.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.

    Returns
    -------
    ndarray or Tensor of shape (rows, columns) or (n, rows, columns)
        The same kind and floating dtype as ``projections`` (integers give float32).

    Raises
    ------
    GeometryError
        If angles or centre do not make a scan, or the number of angles is not that of the projections.
    ValueError, TypeError
        If an argument has a wrong shape, range or type.

    References
    ----------
    A. C. Kak and M. Slaney, Principles of Computerized Tomographic Imaging (1988), chapter 3.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.ops import backproject
    >>> backproject(np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0]]), [0, 90], angle_unit="deg")
    array([[2., 3., 2.],
           [0., 1., 0.],
           [0., 1., 0.]])
    """
    return _to_images("backproject", projections, angles, image_shape, center, detector_spacing, angle_unit)


def backproject_adjoint(images, angles, *, n_detectors=None, center=None, detector_spacing=1.0, angle_unit=None):
    """Exact transpose of `backproject`: a projection whose pixels spread over the two nearest detector bins.

    Parameters
    ----------
    images : array-like or Tensor of shape (rows, columns) or (n, rows, columns)
        Real numbers of any dtype, byte order and stride.
    angles : array-like of shape (n_angles,)
        In any order and spacing.
    n_detectors : int, default=None
        Number of detector bins; None: the number of columns.
    center : float or array-like, default=None
        As in `radon`.
    detector_spacing : float, default=1.0
        Width of a detector bin in pixels.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.

    Returns
    -------
    ndarray or Tensor of shape (n_angles, n_detectors) or (n, n_angles, n_detectors)
        The same kind and floating dtype as ``images`` (integers give float32).

    Raises
    ------
    GeometryError
        If angles or centre do not make a scan.
    ValueError, TypeError
        If an argument has a wrong shape, range or type.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.ops import backproject_adjoint
    >>> backproject_adjoint(np.ones((2, 4)), [0.0]).tolist()
    [[2.0, 2.0, 2.0, 2.0]]
    """
    stack, restore = _as_stack(images, "images")
    n_detectors = stack.shape[2] if n_detectors is None else n_detectors
    n_detectors = check_integer(n_detectors, "n_detectors", low=1, high=2**24 - 1)
    geometry = _geometry(stack, angles, angle_unit, center, n_detectors, detector_spacing)
    return restore(operators().backproject_adjoint(stack, *geometry, n_detectors))


def _to_images(name, projections, angles, image_shape, center, detector_spacing, angle_unit):
    stack, restore = _as_stack(projections, "projections")
    n_detectors = stack.shape[2]
    shape = (n_detectors, n_detectors) if image_shape is None else check_shape(image_shape, "image_shape", 2)
    geometry = _geometry(stack, angles, angle_unit, center, n_detectors, detector_spacing)
    if geometry[0].shape[0] != stack.shape[1]:
        raise GeometryError(
            f"angles must be one per projection; got {geometry[0].shape[0]} angles for projections of shape "
            f"{tuple(stack.shape[1:])} (angles, detectors)."
        )
    return restore(getattr(operators(), name)(stack, *geometry, *shape))


def _as_stack(x, name):
    """(n, ., .) tensor, and the way back to the caller's kind and number of dimensions."""
    tensor, restore = as_tensor(x, name, ndim=(2, 3))
    if 0 in tensor.shape[-2:]:
        raise ValueError(f"{name} must not be empty; got shape {tuple(tensor.shape)}.")
    if tensor.ndim == 3:
        return tensor, restore
    return tensor[None], lambda result: restore(result[0])


def _geometry(stack, angles, angle_unit, center, n_detectors, detector_spacing):
    check_device(stack)
    angles = as_radians(angles, angle_unit)
    center = check_center(center, angles.size, n_detectors)
    if center.shape[0] not in (1, stack.shape[0]):
        raise GeometryError(f"center must be one per slice; got {center.shape[0]} for {stack.shape[0]} slices.")
    low, high = SPACING_RANGE
    spacing = check_real(detector_spacing, "detector_spacing", low=low, high=high)
    return torch.from_numpy(angles.copy()), torch.from_numpy(center), spacing

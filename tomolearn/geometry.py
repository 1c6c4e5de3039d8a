"""Where the rays of a parallel-beam scan run: `ParallelBeam`, a plain immutable value.

The detector coordinate of the pixel in row r and column c is
``t = (x cos(angle) + y sin(angle)) / detector_spacing + center`` with ``x = c - (columns - 1) / 2`` to the right and
``y = (rows - 1) / 2 - r`` upwards: the orientation of ASTRA's parallel beam.
"""

from collections.abc import Sequence
from dataclasses import InitVar, dataclass

import numpy as np

from tomolearn._validation import check_integer, check_real, check_shape
from tomolearn.exceptions import GeometryError

__all__ = ["ParallelBeam", "as_radians", "check_center", "default_angles"]

SPACING_RANGE = (0.01, 100.0)


def default_angles(n_angles: int) -> np.ndarray:
    """Equally spaced angles over half a turn, [0, pi), in radians.

    Parameters
    ----------
    n_angles : int

    Returns
    -------
    ndarray of shape (n_angles,), float64

    Raises
    ------
    ValueError, TypeError
        If ``n_angles`` is not a positive integer.

    Examples
    --------
    >>> from tomolearn.geometry import default_angles
    >>> default_angles(4).round(3).tolist()
    [0.0, 0.785, 1.571, 2.356]
    """
    return np.linspace(0.0, np.pi, check_integer(n_angles, "n_angles", low=1), endpoint=False)


def as_radians(angles, angle_unit: str | None = None) -> np.ndarray:
    """Angles in radians, float64, after a check that they are not degrees by mistake.

    Parameters
    ----------
    angles : array-like of shape (n_angles,)
    angle_unit : {"rad", "deg", None}, default=None
        None means radians, unless the values look like degrees: then an error asks for the unit. They look so if span
        plus one step is within 2 % of 180 or 360, or if the span exceeds 4 pi. Offsets are never judged: 292 to 295
        is a legal reading of an encoder in radians.

    Returns
    -------
    ndarray of shape (n_angles,), float64

    Raises
    ------
    GeometryError
        If the angles are not a non-empty 1-D list of finite numbers, the unit is unknown, or they look like degrees.

    Examples
    --------
    >>> from tomolearn.geometry import as_radians
    >>> as_radians([0, 90], angle_unit="deg").round(4).tolist()
    [0.0, 1.5708]
    """
    try:
        values = np.asarray(angles, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise GeometryError(f"angles must be a list of numbers; got {angles!r}.") from error
    if values.ndim != 1 or values.size == 0:
        raise GeometryError(f"angles must be a non-empty list of numbers; got an array of shape {values.shape}.")
    if not np.isfinite(values).all():
        raise GeometryError(f"angles must be finite; got {np.sum(~np.isfinite(values))} NaN or infinite values.")
    if angle_unit == "deg":
        return np.deg2rad(values)
    if angle_unit not in ("rad", None):
        raise GeometryError(f"angle_unit must be 'rad', 'deg' or None; got {angle_unit!r}.")
    if angle_unit is None and values.size > 1:
        span = np.ptp(values)
        turn = span + span / (values.size - 1)
        if min(abs(turn / 180 - 1), abs(turn / 360 - 1)) <= 0.02 or span > 4 * np.pi:
            raise GeometryError(
                f"angles from {values.min():g} to {values.max():g} look like degrees; "
                "pass angle_unit='deg' if they are, angle_unit='rad' if they are radians."
            )
    return values


def check_center(center, n_angles: int, n_detectors: int) -> np.ndarray:
    """The rotation axis as float64 of shape (1, n_angles), or (n_slices, n_angles) where slices differ.

    Parameters
    ----------
    center : float or array-like or None
        Detector coordinate of the rotation axis; None: the middle, ``(n_detectors - 1) / 2``. A number; one per angle,
        shape (n_angles,); one per slice, shape (n_slices, 1); or both, shape (n_slices, n_angles).
    n_angles, n_detectors : int
        Of the scan.

    Returns
    -------
    ndarray of shape (1, n_angles) or (n_slices, n_angles), float64

    Raises
    ------
    GeometryError
        If the shape fits none of these or a value is not finite or further than 10 detector widths from the middle.

    Examples
    --------
    >>> from tomolearn.geometry import check_center
    >>> check_center(None, n_angles=3, n_detectors=8).tolist()
    [[3.5, 3.5, 3.5]]
    """
    if center is None:
        center = (n_detectors - 1) / 2
    try:
        values = np.asarray(center, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise GeometryError(f"center must be a number or an array of numbers; got {center!r}.") from error
    fits = values.ndim == 0 or values.shape == (n_angles,) or (values.ndim == 2 and values.shape[1] in (1, n_angles))
    if not fits:
        raise GeometryError(
            f"center must be a number, ({n_angles},) numbers for the angles, (n_slices, 1) for the slices or "
            f"(n_slices, {n_angles}) for both; got shape {values.shape}."
        )
    if not (np.abs(values - (n_detectors - 1) / 2) <= 10 * n_detectors + 10).all():
        raise GeometryError(
            f"center must be finite and near the detector, which spans 0 to {n_detectors - 1}; got {center!r}."
        )
    values = np.atleast_2d(values)
    return np.broadcast_to(values, (values.shape[0], n_angles)).copy()


@dataclass(frozen=True)
class ParallelBeam:
    """Geometry of a parallel-beam scan: an immutable value that compares, hashes, pickles, and whose repr evaluates.

    Parameters
    ----------
    angles : array-like of shape (n_angles,)
        Held as radians in float64.
    n_detectors : int
        Number of detector bins in a row.
    image_shape : tuple of two int, default=None
        Rows and columns of the image; None: ``(n_detectors, n_detectors)``.
    center : float or array-like, default=None
        Detector coordinate of the rotation axis; None: the middle, ``(n_detectors - 1) / 2``. One per angle has shape
        (n_angles,), one per slice (n_slices, 1), both (n_slices, n_angles).
    detector_spacing : float, default=1.0
        Width of a detector bin in image pixels, 0.01 to 100.
    pixel_size : float, default=1.0
        Edge of a pixel in a length of your choice; attenuation then comes in 1/length.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.

    Attributes
    ----------
    n_angles : int
        Number of projections.

    Raises
    ------
    GeometryError
        If angles or centre do not make a scan.
    ValueError, TypeError
        If a size or spacing is not a number in its range.

    Examples
    --------
    >>> from tomolearn.geometry import ParallelBeam
    >>> beam = ParallelBeam([0, 45, 90], 5, angle_unit="deg")
    >>> beam.n_angles, beam.image_shape, beam.center
    (3, (5, 5), 2.0)
    >>> eval(repr(beam)) == beam
    True
    """

    angles: Sequence[float] | np.ndarray
    n_detectors: int
    image_shape: tuple[int, int] | None = None
    center: float | Sequence | np.ndarray | None = None
    detector_spacing: float = 1.0
    pixel_size: float = 1.0
    angle_unit: InitVar[str | None] = None

    def __post_init__(self, angle_unit):
        angles = as_radians(self.angles, angle_unit)
        n_detectors = check_integer(self.n_detectors, "n_detectors", low=1)
        shape = (n_detectors,) * 2 if self.image_shape is None else check_shape(self.image_shape, "image_shape", 2)
        check_center(self.center, angles.size, n_detectors)
        center = (n_detectors - 1) / 2 if self.center is None else np.asarray(self.center, dtype=np.float64).tolist()
        low, high = SPACING_RANGE
        fields = {
            "angles": tuple(angles.tolist()),
            "n_detectors": n_detectors,
            "image_shape": shape,
            "center": _as_tuple(center),
            "detector_spacing": check_real(self.detector_spacing, "detector_spacing", low=low, high=high),
            "pixel_size": check_real(self.pixel_size, "pixel_size", low=0, open_low=True),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def n_angles(self) -> int:
        """Number of projections."""
        return len(self.angles)

    def __repr__(self):
        return (
            f"ParallelBeam(angles={self.angles!r}, n_detectors={self.n_detectors}, image_shape={self.image_shape}, "
            f"center={self.center!r}, detector_spacing={self.detector_spacing!r}, pixel_size={self.pixel_size!r}, "
            "angle_unit='rad')"
        )


def _as_tuple(value):
    return tuple(_as_tuple(v) for v in value) if isinstance(value, list) else value

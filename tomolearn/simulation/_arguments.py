"""Checks that all shapes share. What the numbers of a table must be, the compiled module checks itself."""

import os

import numpy as np

from tomolearn._validation import check_integer, check_real
from tomolearn.exceptions import GeometryError
from tomolearn.geometry import SPACING_RANGE, as_radians, check_center

__all__ = [
    "as_projections",
    "as_table",
    "check_angle_range",
    "check_pair",
    "check_scan",
    "check_supersampling",
    "check_threads",
]

MAX_DETECTORS = 2**24 - 1


def as_table(values, name: str, columns: str) -> np.ndarray:
    """``values`` as a float64 array of shape (n, number of columns); an empty list is a table without rows."""
    n_columns = len(columns.split(", "))
    rule = f"{name} must be a table of shape (n, {n_columns}) with the columns {columns}"
    try:
        table = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{rule}; got rows of different lengths.") from error
    if table.dtype.kind not in "fiu":
        raise TypeError(f"{rule}, all real numbers; got dtype {table.dtype}.")
    if table.shape == (0,):
        table = table.reshape(0, n_columns)
    if table.ndim != 2 or table.shape[1] != n_columns:
        raise ValueError(f"{rule}; got shape {table.shape}.")
    return np.ascontiguousarray(table, dtype=np.float64)


def check_scan(angles, angle_unit, n_slices: int, n_detectors, center, detector_spacing) -> tuple:
    """The scan as the compiled module takes it: angles, centres (1 or n_slices, n_angles), bins and their width."""
    angles = as_radians(angles, angle_unit)
    n_detectors = check_integer(n_detectors, "n_detectors", low=1, high=MAX_DETECTORS)
    centers = check_center(center, angles.size, n_detectors)
    if centers.shape[0] not in (1, n_slices):
        raise GeometryError(
            f"center must be the same for all slices or one for each of {n_slices}; got {centers.shape[0]} of them."
        )
    low, high = SPACING_RANGE
    return angles, centers, n_detectors, check_real(detector_spacing, "detector_spacing", low=low, high=high)


def check_supersampling(value) -> int:
    """The number of samples along each edge of a pixel."""
    return check_integer(value, "supersampling", low=1, high=64)


def check_threads(n_threads) -> int:
    """The number of threads; None: as many as there are processors for this process."""
    if n_threads is not None:
        return check_integer(n_threads, "n_threads", low=1, high=1024)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, 1024)


def as_projections(projections, name: str) -> np.ndarray:
    """As an array of the floating dtype that the result is to have."""
    values = np.asarray(projections)
    if values.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers; got dtype {values.dtype}.")
    if values.dtype.kind != "f":
        values = values.astype(np.float32)
    elif not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if not np.isfinite(values).all():
        bad = values.size - np.count_nonzero(np.isfinite(values))
        raise ValueError(
            f"{name} must be finite; got {bad} NaN or infinite values of {values.size}. Repair or mask them first."
        )
    return values


def check_angle_range(angle_range, angle_unit) -> tuple[float, float]:
    """First and last angle in radians."""
    limits = as_radians(angle_range, angle_unit)
    if limits.size != 2 or limits[0] >= limits[1]:
        raise GeometryError(f"angle_range must be two angles, the lower one first; got {angle_range!r}.")
    return float(limits[0]), float(limits[1])


def check_pair(value, name: str, check, limits: dict) -> tuple:
    """The lower and the upper end of a range, each through ``check(value, name, **limits)``."""
    try:
        low, high = value
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be two numbers, the lower one first; got {value!r}.") from None
    low, high = check(low, f"{name}[0]", **limits), check(high, f"{name}[1]", **limits)
    if low > high:
        raise ValueError(f"{name} must be two numbers, the lower one first; got {value!r}.")
    return low, high

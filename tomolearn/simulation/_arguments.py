"""Checks that all shapes share. What the numbers of a table must be, the compiled module checks itself."""

import numpy as np

from tomolearn._validation import check_integer, check_real
from tomolearn.exceptions import GeometryError
from tomolearn.geometry import SPACING_RANGE, as_radians, check_center

__all__ = ["as_table", "check_scan", "check_supersampling"]

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

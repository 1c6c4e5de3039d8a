"""What a layout finds in a file: the parts of a scan, their units, and the metadata."""

import warnings
from dataclasses import dataclass, field

import h5py
import numpy as np

from tomolearn.exceptions import FileFormatError, GeometryError
from tomolearn.io._hdf5 import attribute, check_storage, member, text_of, values
from tomolearn.io._heap import LONGEST, heap_text, is_heap_text
from tomolearn.io._stored import Store

ORDERS = {"projections": (1, 0, 2), "sinograms": (0, 1, 2)}  # stored axis of rows, angles, detectors
_TO_SI = {
    "length": {
        "m": 1.0, "meter": 1.0, "metre": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "μm": 1e-6,
        "micron": 1e-6, "microns": 1e-6, "micrometer": 1e-6, "micrometre": 1e-6, "nm": 1e-9, "angstrom": 1e-10,
    },
    "energy": {"ev": 1.0, "kev": 1e3, "mev": 1e6, "j": 1 / 1.602176634e-19},
}  # fmt: skip
_DEGREES = ("deg", "degs", "degree", "degrees", "°")
_RADIANS = ("rad", "rads", "radian", "radians")


@dataclass
class Part:
    """Frames of a stored array."""

    store: Store
    order: tuple
    picked: np.ndarray | None = None


@dataclass
class ScanParts:
    """What a layout found; ``angles`` in radians."""

    data: Part
    flats: Part | None = None
    darks: Part | None = None
    angles: np.ndarray | None = None
    beam_intensity: np.ndarray | None = None
    metadata: dict = field(default_factory=dict)


def unit_of(text):
    """``"deg"``, ``"rad"`` or None for a text that names another unit."""
    word = text.strip().strip(".").lower()
    return "deg" if word in _DEGREES else "rad" if word in _RADIANS else None


def stored_angles(thing, angle_unit, default):
    """A dataset of angles in radians; its ``units`` attribute decides, then ``angle_unit``, then ``default``."""
    name = f"{thing.file.filename}:{thing.name.lstrip('/')}"
    text = text_of(attribute(thing, "units"))
    unit = unit_of(text) if text and text.strip() else None
    if text and text.strip() and unit is None:
        if angle_unit is None:
            raise FileFormatError(
                f"{name} has units={text!r}, expected degrees or radians; pass angle_unit='deg' or 'rad'."
            )
        unit = angle_unit
    if unit is not None and angle_unit not in (None, unit):
        raise GeometryError(
            f"angle_unit={angle_unit!r} contradicts the file: {name} has units={text!r}. Leave angle_unit out, or pass "
            "the angles themselves as an array."
        )
    unit = unit or angle_unit or default
    if unit is None:
        raise GeometryError(f"{name} does not say its unit; pass angle_unit='deg' or angle_unit='rad'.")
    found = values(thing)
    if unit == "deg" and text is None and angle_unit is None and found.size > 1:
        extent = float(np.ptp(found))
        if any(abs(extent - turn) <= 2 * turn / found.size for turn in (np.pi, 2 * np.pi)):
            warnings.warn(
                f"{name} has no units, which means degrees, and covers {extent:.4g} of them: it looks like radians. If "
                "it is, pass angle_unit='rad'; if not, pass angle_unit='deg'.",
                stacklevel=2,
            )
    return in_radians(found, unit, name)


def in_radians(angles, unit, name):
    """Finite angles as float64 radians."""
    angles = np.asarray(angles, np.float64).ravel()
    if not np.isfinite(angles).all():
        bad = np.count_nonzero(~np.isfinite(angles))
        raise FileFormatError(f"{name} holds {bad} NaN or infinite values, expected finite angles.")
    return np.deg2rad(angles) if unit == "deg" else angles


def quantity(group, paths, kind):
    """The first of ``paths`` that holds one positive number with a unit that is known, in SI units; else None."""
    for path in paths:
        thing = optional(group, path)
        if not isinstance(thing, h5py.Dataset) or thing.size != 1:
            continue
        factor = _TO_SI[kind].get((text_of(attribute(thing, "units")) or "").strip().lower())
        try:
            value = float(values(thing)[0])
        except (FileFormatError, OSError):
            continue
        if factor and np.isfinite(value) and value > 0:
            return value * factor
    return None


def text(group, paths):
    """The first of ``paths`` that holds a text; else None."""
    for path in paths:
        thing = optional(group, path)
        if isinstance(thing, h5py.Dataset) and thing.size == 1:
            if is_heap_text(thing.dtype):
                found = text_of(heap_text(thing))
            elif thing.dtype.kind == "S" and thing.dtype.itemsize <= LONGEST:
                check_storage(f"{thing.file.filename}:{path}", thing)
                found = text_of(np.asarray(thing[()]))
            else:
                continue
            if found:
                return found[:1000]
    return None


def optional(group, path):
    """As `member`, but None where a link leads nowhere: for what only describes the scan."""
    try:
        return member(group, path)
    except (FileFormatError, FileNotFoundError):
        return None


def described(group, lengths, energies, texts):
    """Metadata of the quantities that are there: {key: paths} for lengths in m, energies in eV and texts."""
    found = {key: quantity(group, paths, "length") for key, paths in lengths.items()}
    found |= {key: quantity(group, paths, "energy") for key, paths in energies.items()}
    found |= {key: text(group, paths) for key, paths in texts.items()}
    return {key: value for key, value in found.items() if value is not None}

"""Data Exchange: ``exchange/data``, ``data_white``, ``data_dark``, ``theta``.

De Carlo et al., "Scientific data exchange: a schema for HDF5-based storage of raw and analyzed data", Journal of
Synchrotron Radiation 21 (2014) 1224-1230, https://doi.org/10.1107/S160057751401604X.
"""

import h5py

from tomolearn.exceptions import FileFormatError
from tomolearn.io._hdf5 import Hdf5Store, attribute, dataset, member, texts_of
from tomolearn.io._parts import ORDERS, Part, ScanParts, described, stored_angles

INSTRUMENT = "measurement/instrument"
LENGTHS = {
    "pixel_size": (
        f"{INSTRUMENT}/detection_system/objective/resolution",  # at the sample: after the lens
        f"{INSTRUMENT}/detector/pixel_size",
        f"{INSTRUMENT}/detector/pixel_size_x",
    ),
    "distance": (
        f"{INSTRUMENT}/detector_motor_stack/setup/camera_distance",
        f"{INSTRUMENT}/camera_motor_stack/setup/camera_distance",
        f"{INSTRUMENT}/detector/distance",
    ),
}
ENERGIES = {"energy": (f"{INSTRUMENT}/monochromator/energy", f"{INSTRUMENT}/source/energy")}
TEXTS = {
    "title": ("exchange/title", "title"),
    "sample": ("measurement/sample/name",),
    "start_time": ("process/acquisition/start_date", f"{INSTRUMENT}/source/datetime"),
}


def is_exchange(file):
    """Whether the file holds ``exchange/data``."""
    group = file.get("exchange", getlink=False) if "exchange" in file else None
    return isinstance(group, h5py.Group) and "data" in group


def read_exchange(file, path, *, data=None, angle_unit=None, order=None, want_angles=True):
    """The parts of a Data Exchange file; theta without units is in degrees, as the format defines."""
    thing = dataset(file, data or "exchange/data")
    metadata = described(file, LENGTHS, ENERGIES, TEXTS)
    axes = [(name or "").strip().lower() for name in texts_of(attribute(thing, "axes"))]
    if "slices" in axes:
        raise FileFormatError(
            f"{path}:{thing.name.lstrip('/')} is a volume, axes {':'.join(axes)}, expected projections."
        )
    if order is None:
        order = "sinograms" if len(axes) == 3 and axes[1] in ("theta", "rotation_angle") else "projections"
    parts = ScanParts(Part(Hdf5Store(path, thing, metadata), ORDERS[order]), metadata=metadata)
    for attribute_name, key in (("flats", "exchange/data_white"), ("darks", "exchange/data_dark")):
        if member(file, key) is not None:
            setattr(parts, attribute_name, Part(Hdf5Store(path, dataset(file, key)), ORDERS[order]))
    if want_angles and member(file, "exchange/theta") is not None:
        parts.angles = stored_angles(dataset(file, "exchange/theta"), angle_unit, "deg")
    return parts

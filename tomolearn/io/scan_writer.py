"""Raw scans in the layout of Data Exchange."""

from pathlib import Path

import h5py
import numpy as np

from tomolearn.geometry import as_radians
from tomolearn.io._partial import Partial
from tomolearn.io._raw import METADATA, as_json
from tomolearn.io.source import SCAN_AXES, ArraySource, Source

__all__ = ["write_scan"]

SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs")
PIECE = 1 << 26  # bytes of projections in memory at a time


def write_scan(path, projections, *, angles, angle_unit=None, flats=None, darks=None, metadata=None, overwrite=False):
    """Write a scan as Data Exchange HDF5: projections as the detector would have written them, one chunk each.

    Parameters
    ----------
    path : path-like
        Of the file; it appears when it is whole.
    projections : Source or array-like of shape (rows, angles, detectors)
        Raw counts, or line integrals.
    angles : array-like of shape (angles,)
        Stored in degrees, as the format asks.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.
    flats, darks : Source or array-like of shape (rows, n, detectors), default=None
        Images of the beam without the sample, and without the beam.
    metadata : dict, default=None
        Plain values: ``pixel_size`` (m), ``energy`` (eV) and ``distance`` (m) go where the format puts them, all of
        them beside.
    overwrite : bool, default=False
        Whether an existing file may be replaced.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, or the suffix is none of HDF5.
    GeometryError
        If the angles are not numbers, or have no unit and look like degrees.
    FileExistsError
        If the file exists and ``overwrite`` is False, or is being written by another process.
    OSError
        If the disk is too full.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from tomolearn.io import open_scan, write_scan
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "scan.h5"
    >>> write_scan(path, np.ones((4, 3, 8), np.uint16), angles=[0, 60, 120], angle_unit="deg")
    >>> open_scan(path).shape
    (4, 3, 8)
    """
    data = _as_source(projections, "projections")
    radians = as_radians(angles, angle_unit)
    frames = {"data_white": flats, "data_dark": darks}
    frames = {name: _as_source(value, name) for name, value in frames.items() if value is not None}
    if len(radians) != data.shape[1]:
        raise ValueError(f"angles must be one for each of {data.shape[1]} projections; got {len(radians)}.")
    for name, source in frames.items():
        if (source.shape[0], source.shape[2]) != (data.shape[0], data.shape[2]):
            raise ValueError(
                f"{name} must have the {data.shape[0]} rows and {data.shape[2]} detectors of the projections; got "
                f"{source.shape}."
            )
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"a scan is written as HDF5: its suffix must be one of {', '.join(SUFFIXES)}; got {path}.")
    partial = Partial(path)
    partial.check(data.nbytes + sum(source.nbytes for source in frames.values()), overwrite)
    partial.claim()
    partial.clear()
    try:
        with h5py.File(partial.data, "w") as file:
            file["implements"] = "exchange:measurement:process"
            for name, source in {"data": data, **frames}.items():
                _write(file, f"exchange/{name}", source)
            file["exchange/theta"] = np.rad2deg(radians)
            file["exchange/theta"].attrs["units"] = "deg"
            _describe(file, dict(metadata or {}))
        partial.finish()
    except BaseException:
        partial.clear()
        partial.release()
        raise


def _as_source(thing, name):
    source = thing if isinstance(thing, Source) else ArraySource(np.asarray(thing), SCAN_AXES[: np.ndim(thing)])
    if source.ndim != 3:
        raise ValueError(f"{name} must have three axes (rows, angles or frames, detectors); got shape {source.shape}.")
    return source


def _write(file, name, source):
    rows, n, detectors = source.shape
    data = file.create_dataset(name, (n, rows, detectors), source.dtype, chunks=(1, rows, detectors), track_times=False)
    data.attrs["axes"] = "theta:y:x"
    step = max(1, PIECE // max(1, source.nbytes // n))
    for start in range(0, n, step):
        data[start : start + step] = np.swapaxes(source[:, start : start + step], 0, 1)


def _describe(file, metadata):
    file[METADATA] = as_json(metadata)
    places = {
        "pixel_size": ("measurement/instrument/detector/pixel_size", "m"),
        "distance": ("measurement/instrument/detector/distance", "m"),
        "energy": ("measurement/instrument/monochromator/energy", "eV"),
    }
    for name, (place, unit) in places.items():
        if metadata.get(name) is not None:
            file[place] = float(metadata[name])
            file[place].attrs["units"] = unit

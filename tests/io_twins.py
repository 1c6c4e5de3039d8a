"""Small files of every kind that `tomolearn.io` reads, made from known arrays, for tests and for the fuzzer."""

import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import tifffile

from tomolearn.io import open_library, open_pairs, open_scan, open_volume

N_ROWS, N_ANGLES, N_DETECTORS, N_FLATS, N_DARKS = 5, 12, 7, 3, 2
DEGREES = np.linspace(0.0, 165.0, N_ANGLES)
# image_key of the NXtomo twins: flats before and after, one invalid frame in between.
KEYS = np.array([1, 2, 1] + [0] * 6 + [3] + [0] * 6 + [1, 2])


@dataclass(frozen=True)
class Counts:
    """What the twins hold, in the order in which scans are presented: (rows, angles or frames, detectors)."""

    projections: np.ndarray
    flats: np.ndarray
    darks: np.ndarray
    invalid: np.ndarray


def make_counts(dtype="uint16", seed=0):
    rng = np.random.default_rng(seed)

    def part(n):
        return rng.integers(0, 120, (N_ROWS, n, N_DETECTORS)).astype(dtype)

    return Counts(part(N_ANGLES), part(N_FLATS), part(N_DARKS), part(1))


def as_stored(block):
    """(rows, angles, detectors) as detectors write it: (angles, rows, detectors)."""
    return block.transpose(1, 0, 2)


def nxtomo_frames(counts):
    """The frames of an NXtomo file in the order of KEYS."""
    parts = {0: counts.projections, 1: counts.flats, 2: counts.darks, 3: counts.invalid}
    used = dict.fromkeys(parts, 0)
    frames = np.empty((len(KEYS), N_ROWS, N_DETECTORS), counts.projections.dtype)
    for i, key in enumerate(KEYS):
        frames[i] = parts[key][:, used[key]]
        used[key] += 1
    return frames


# ---------------------------------------------------------------------------------------------------------- HDF5


def write_exchange(path, counts, units=None, axes=None, transpose=as_stored, **storage):
    with h5py.File(path, "w") as file:
        group = file.create_group("exchange")
        data = group.create_dataset("data", data=transpose(counts.projections), **storage)
        if axes is not None:
            data.attrs["axes"] = axes
        group["data_white"], group["data_dark"] = transpose(counts.flats), transpose(counts.darks)
        group["theta"] = DEGREES
        if units is not None:
            group["theta"].attrs["units"] = units
        file["measurement/instrument/detection_system/objective/resolution"] = [1.5]
        file["measurement/instrument/detection_system/objective/resolution"].attrs["units"] = "um"
        file["measurement/instrument/monochromator/energy"] = 27.4
        file["measurement/instrument/monochromator/energy"].attrs["units"] = "keV"
        file["measurement/sample/name"] = "foam"


def write_nxtomo(path, counts, entry="entry", external=None, definition=True, **storage):
    frames = nxtomo_frames(counts)
    with h5py.File(path, "w") as file:
        group = file.create_group(entry)
        group.attrs["NX_class"] = "NXentry"
        if definition:
            group["definition"] = "NXtomo"
        detector = group.create_group("instrument/detector")
        if external is None:
            detector.create_dataset("data", data=frames, **storage)
        else:
            with h5py.File(external, "w") as other:
                other["deep/frames"] = frames
            detector["data"] = h5py.ExternalLink(os.path.basename(external), "deep/frames")
        detector["image_key"] = KEYS
        detector["x_pixel_size"] = 3.25
        detector["x_pixel_size"].attrs["units"] = "um"
        angles = np.zeros(len(KEYS))
        angles[KEYS == 0] = DEGREES
        group["sample/rotation_angle"] = angles
        group["data/data"] = h5py.SoftLink(f"/{entry}/instrument/detector/data")
        control = np.where(KEYS == 1, 100.0, 50.0 + np.arange(len(KEYS)))
        group["control/data"] = control


def write_nxdata(path, counts):
    with h5py.File(path, "w") as file:
        group = file.create_group("entry/final_result_tomo")
        group.attrs.update(
            NX_class="NXdata", signal="data", axes=np.array([b"detector_y", b"rotation_angle", b"detector_x"])
        )
        group["data"] = counts.projections
        group["rotation_angle"] = np.deg2rad(DEGREES)
        group["rotation_angle"].attrs["units"] = "radians"


def write_library(path, n=12, size=6):
    rng = np.random.default_rng(1)
    images, sinograms = rng.random((n, size, size)), rng.random((n, size, size))
    with h5py.File(path, "w") as file:
        file["Images"], file["Sinograms"] = np.moveaxis(images, 0, 2), np.moveaxis(sinograms, 0, 2)
        file["ScaleFactor"], file["Noise"], file["NImages"], file["ImageSize"] = np.ones(n), 1, n, size
    return images, sinograms


def write_pairs(path):
    rng = np.random.default_rng(2)
    pairs = {name: rng.integers(0, 255, (4, 6, 8)).astype(np.uint8) for name in ("train_ns", "train_gt", "test_ns")}
    with h5py.File(path, "w") as file:
        for name, images in pairs.items():
            file[name] = images
    return pairs


# ----------------------------------------------------------------------------------------------------------- MRC


def write_mrc(path, sections, *, order="<", mode=None, extended=b"", stamp=True, cell=0.0):
    """MRC2014 as its definition says; ``cell`` is the edge along x in angstrom."""
    modes = {"int8": 0, "int16": 1, "float32": 2, "uint16": 6, "float16": 12}
    n_sections, rows, columns = sections.shape
    header = np.zeros(256, order + "i4")
    header[:4] = columns, rows, n_sections, modes[sections.dtype.name] if mode is None else mode
    header[7:10] = columns, rows, n_sections
    header[10:13] = np.array([cell, cell, cell], order + "f4").view(order + "i4")
    header[23] = len(extended)
    header = bytearray(header.tobytes())
    if stamp:
        header[208:212] = b"MAP "
        header[212:216] = b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0"
    Path(path).write_bytes(bytes(header) + extended + sections.astype(sections.dtype.newbyteorder(order)).tobytes())


# ----------------------------------------------------------------------------------------- the table of the fuzzer


def _tiff(**options):
    def write(path):
        tifffile.imwrite(path, as_stored(make_counts().projections), photometric="minisblack", **options)

    return write


@dataclass(frozen=True)
class Twin:
    """``write(path)`` makes the file, ``open(path)`` gives all its sources."""

    suffix: str
    write: callable
    open: callable


def _scan_parts(scan):
    return [scan, *(part for part in (scan.flats, scan.darks) if part is not None)]


def _open_scan(**options):
    return lambda path: _scan_parts(open_scan(path, **options))


def _write_npz(path):
    np.savez_compressed(path, scan=as_stored(make_counts().projections))


TWINS = {
    "exchange": Twin(".h5", lambda path: write_exchange(path, make_counts()), _open_scan()),
    "exchange-gzip": Twin(
        ".h5",
        lambda path: write_exchange(
            path, make_counts(), chunks=(2, N_ROWS, N_DETECTORS), compression="gzip", shuffle=True, fletcher32=True
        ),
        _open_scan(),
    ),
    "nxtomo": Twin(".nxs", lambda path: write_nxtomo(path, make_counts(), chunks=(1, 2, 7)), _open_scan()),
    "library": Twin(".h5", write_library, lambda path: [part for part in open_library(path) if part is not None]),
    "pairs": Twin(".h5", write_pairs, lambda path: [part for part in open_pairs(path) if part is not None]),
    "tiff": Twin(".tif", _tiff(), _open_scan()),
    "tiff-deflate": Twin(".tif", _tiff(compression="deflate"), _open_scan()),
    "bigtiff": Twin(".tif", _tiff(bigtiff=True, metadata=None, tile=(16, 16)), lambda path: [open_volume(path)]),
    "mrc": Twin(".mrc", lambda path: write_mrc(path, as_stored(make_counts("float16").projections)), _open_scan()),
    "npy": Twin(
        ".npy", lambda path: np.save(path, as_stored(make_counts().projections)), _open_scan(order="projections")
    ),
    "npz": Twin(".npz", _write_npz, _open_scan(order="projections")),
}

"""Which kind of file a path is, and any of its arrays as a store."""

import glob
import os

import h5py

from tomolearn._validation import check_choice
from tomolearn.exceptions import FileFormatError
from tomolearn.io._arrays import ZarrStore, open_npy, open_npz
from tomolearn.io._hdf5 import Hdf5Store, attributes_of, dataset, describe_datasets, member, open_file, walk
from tomolearn.io._mrc import open_mrc
from tomolearn.io._stored import CACHE, StoredSource, reading
from tomolearn.io._tiff import SUFFIXES, open_tiff

KINDS = ("hdf5", "tiff", "mrc", "numpy", "zarr")
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BY_SUFFIX = {suffix: "mrc" for suffix in (".mrc", ".mrcs", ".st", ".ali", ".rec", ".map")}
BY_SUFFIX |= {suffix: "hdf5" for suffix in (".h5", ".hdf5", ".hdf", ".nxs", ".nx", ".nx5")}
BY_SUFFIX |= {suffix: "tiff" for suffix in SUFFIXES} | {".npy": "numpy", ".npz": "numpy"}
NAMED = ("exchange/data", "entry/data/data")  # where a volume is looked for first


def recognise(path):
    """The kind of a file or folder: by what it holds, and only then by its suffix."""
    if isinstance(path, list | tuple):
        return "tiff"
    path = os.fspath(path)
    if os.path.isdir(path):
        inside = os.listdir(path)
        if path.rstrip("/").endswith(".zarr") or {".zarray", ".zgroup", "zarr.json"} & set(inside):
            return "zarr"
        if any(name.lower().endswith(SUFFIXES) for name in inside):
            return "tiff"
        raise FileFormatError(f"{path} is a folder of {len(inside)} entries, expected TIFF files or a Zarr store.")
    if not os.path.exists(path):
        if glob.has_magic(path):
            return "tiff"
        raise FileNotFoundError(f"there is no file {path}.")
    with open(path, "rb") as file:
        head = file.read(212)
    if head[:4] in TIFF_MAGIC:
        return "tiff"
    if head[:6] == b"\x93NUMPY" or head[:4] == b"PK\x03\x04":
        return "numpy"
    if h5py.is_hdf5(path):
        return "hdf5"
    if head[208:212] == b"MAP ":
        return "mrc"
    kind = BY_SUFFIX.get(os.path.splitext(path)[1].lower())
    if kind is None:
        raise FileFormatError(
            f"{path} begins with {head[:8]!r}, expected HDF5, TIFF, MRC, .npy or .npz; pass kind= if it is one."
        )
    return kind


def split_name(text):
    """(file, name inside it or None) of ``FILE`` or ``FILE:NAME``."""
    text = os.fspath(text)
    if not os.path.exists(text) and not glob.has_magic(text):
        file, colon, inside = text.rpartition(":")
        if colon and os.path.exists(file):
            return file, inside
    return text, None


def open_store(path, inside=None, kind=None):
    """(store, whether its axes stand in reverse) of an array in a file of any kind."""
    kind = recognise(path) if kind is None else check_choice(kind, "kind", KINDS)
    if kind in ("tiff", "mrc") and inside is not None:
        raise FileFormatError(
            f"{path} is a file of kind {kind}, which holds one stack; found a name in it: {inside!r}."
        )
    if kind == "tiff":
        return open_tiff(path), False
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path}.")
    if kind == "mrc":
        return open_mrc(path), False
    if kind == "zarr":
        return ZarrStore(path, inside), False
    if kind == "numpy":
        with open(path, "rb") as file:
            packed = file.read(4) == b"PK\x03\x04"
        return open_npz(path, inside) if packed else open_npy(path)
    with open_file(path) as file, reading(os.fspath(path), "an HDF5 file"):
        thing = dataset(file, inside) if inside else find_volume(file)
        return Hdf5Store(path, thing, attributes_of(thing)), False


def find_volume(file):
    """The dataset of a file that was not told which: where formats put it, or the only one of three axes."""
    found = {
        path: thing
        for path, thing in walk(file)
        if isinstance(thing, h5py.Dataset) and len(thing.shape or ()) == 3 and thing.dtype.kind in "fiub"
    }
    for name in (*NAMED, *(found if len(found) == 1 else ())):
        if name in found:
            return member(file, name)
    raise FileFormatError(
        f"{file.filename} holds {len(found)} datasets of three axes, expected to be told which; "
        f"{describe_datasets(file)}. Name one by dataset= or as FILE:DATASET."
    )


def present(store, reverse, order, axes, *, picked=None, cache=CACHE):
    """The store as a source of which axis i is stored axis ``order[i]``."""
    order = [2 - axis for axis in order] if reverse else order
    return StoredSource(store, order, axes, picked=picked, cache=cache)

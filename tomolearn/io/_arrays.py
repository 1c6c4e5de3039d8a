"""Raw NumPy files (.npy, .npz) and Zarr arrays."""

import os
import zipfile

import numpy as np

from tomolearn.exceptions import FileFormatError
from tomolearn.io._frames import FrameStore, RawStore
from tomolearn.io._stored import DEFLATE_MOST, Handle, Store, check_dtype, check_sizes, plain_values, reading
from tomolearn.io.source import _bytes_of


def _header(file, name):
    """(shape, Fortran order, dtype) of the .npy header at which ``file`` stands; runs no code of it."""
    with reading(name, "a NumPy array"):
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise FileFormatError(f"{name}: found version {version} of the .npy format, expected 1.0 or 2.0.")
        shape, fortran, dtype = read(file)
    check_dtype(name, dtype)
    if len(shape) not in (2, 3):
        raise FileFormatError(f"{name} has shape {shape}, expected three axes.")
    return shape if len(shape) == 3 else (1, *shape), fortran, dtype


def open_npy(path):
    """(store, whether its axes stand in reverse): an array in Fortran order is a C-ordered one of reversed axes."""
    path = os.fspath(path)
    with open(path, "rb") as file:
        shape, fortran, dtype = _header(file, path)
        offset = file.tell()
    there = os.path.getsize(path) - offset
    check_sizes(path, shape, dtype, there, f"{there} bytes follow the header")
    return RawStore(path, path, shape[::-1] if fortran else shape, dtype, offset), fortran


def open_npz(path, member=None):
    """(store, whether its axes stand in reverse) of one array of an archive."""
    path = os.fspath(path)
    with reading(path, "a .npz archive"), zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if member is None:
            if len(members) != 1:
                raise FileFormatError(
                    f"{path} holds {len(members)} arrays, {', '.join(list(members)[:12])}, expected to be told which; "
                    "name one as FILE:ARRAY or by the argument that names a dataset."
                )
            member = next(iter(members))
        if member not in members:
            raise FileNotFoundError(f"{path} has no array {member!r}; it has {', '.join(list(members)[:12])}.")
        info, name = members[member], f"{path}:{member}"
        with archive.open(info) as file:
            shape, fortran, dtype = _header(file, name)
            offset = file.tell()
    there = min(info.file_size - offset, info.compress_size * DEFLATE_MOST)
    check_sizes(name, shape, dtype, there, f"{there} bytes of it are stored")
    return NpzStore(path, name, info.filename, shape[::-1] if fortran else shape, dtype, offset), fortran


class _Member:
    """An open member of an archive."""

    def __init__(self, path, member):
        self._archive = zipfile.ZipFile(path)
        self.file = self._archive.open(member)

    def close(self):
        self.file.close()
        self._archive.close()


class NpzStore(FrameStore):
    """One array of an archive: unpacked as a stream, so that going back begins anew."""

    def __init__(self, path, name, member, shape, stored_dtype, offset):
        super().__init__(path, name, shape, np.dtype(stored_dtype).newbyteorder("="))
        self._stored_dtype, self._offset = np.dtype(stored_dtype), offset
        self._handle = Handle(_Member, path, member)

    def _rows(self, frame, rows):
        first, after, step = rows.indices(self.shape[1])
        row_bytes = self.shape[2] * self._stored_dtype.itemsize
        with self._handle.lock:
            file = self._handle.get().file
            file.seek(self._offset + (frame * self.shape[1] + first) * row_bytes)
            data = file.read((after - first) * row_bytes)
        if len(data) != (after - first) * row_bytes:
            raise FileFormatError(f"{self.name} ends within frame {frame} of {self.shape[0]}: it is truncated.")
        return np.frombuffer(data, self._stored_dtype).reshape(-1, self.shape[2])[::step]

    def close(self):
        self._handle.close()


# --------------------------------------------------------------------------------------------------------- Zarr


def open_zarr_array(path, member=None):
    """The array itself, of a store or of a group in it."""
    try:
        import zarr
    except ImportError as error:
        raise ImportError(f"reading {path} takes the package zarr: pip install 'tomolearn[zarr]'.") from error
    if not os.path.isdir(path):
        raise FileNotFoundError(f"there is no Zarr folder {path}.")
    with reading(path, "a Zarr array or group"):
        thing = zarr.open(os.fspath(path), mode="r")
        if hasattr(thing, "shape"):
            return thing
        arrays = dict(thing.arrays())
        if member is None and len(arrays) == 1:
            member = next(iter(arrays))
        if member is None:
            raise FileFormatError(
                f"{path} is a Zarr group of {', '.join(list(arrays)[:12]) or 'no arrays'}, expected to be told which."
            )
        if member not in thing:
            raise FileNotFoundError(f"{path} has no array {member!r}; it has {', '.join(list(arrays)[:12])}.")
        return thing[member]


class ZarrStore(Store):
    """A Zarr array of three axes."""

    def __init__(self, path, member=None):
        array = open_zarr_array(path, member)
        name = f"{path}:{member}" if member else os.fspath(path)
        with reading(name, "a Zarr array"):
            shape, dtype, chunks, attributes = array.shape, array.dtype, array.chunks, dict(array.attrs)
        if len(shape) != 3:
            raise FileFormatError(f"{name} has shape {tuple(shape)}, expected three axes.")
        dtype = check_dtype(name, dtype)
        check_sizes(name, shape, dtype, float("inf"), "")
        if _bytes_of(chunks, dtype) > 1 << 30:
            raise FileFormatError(f"{name} has chunks of {chunks} of {dtype}, expected at most 1 GiB each.")
        chunks = [min(c, n) for c, n in zip(chunks, shape, strict=True)]
        super().__init__(path, name, shape, dtype, chunks, plain_values(attributes))
        self._handle = Handle(open_zarr_array, os.fspath(path), member)

    def read(self, index):
        with self._handle.lock:
            return np.asarray(self._handle.get()[index])

    def close(self):
        self._handle.close()

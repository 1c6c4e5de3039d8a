"""Stores that are read frame by frame: TIFF pages, MRC sections, raw arrays."""

import os

import numpy as np

from tomolearn.exceptions import FileFormatError
from tomolearn.io._stored import Handle, Store


class RawFile:
    """A file whose bytes are read from where they lie; unlike a memory map it survives a file that shrinks."""

    def __init__(self, path):
        self._file = open(path, "rb", buffering=0)

    def read(self, offset, count, dtype, name):
        """``count`` values of ``dtype`` from ``offset`` bytes on."""
        out = np.empty(count, dtype)
        view, at = memoryview(out).cast("B"), 0
        self._file.seek(offset)
        while at < len(view):
            got = self._file.readinto(view[at:])
            if not got:
                raise FileFormatError(
                    f"{name} ends at byte {offset + at}, expected {len(view) - at} more: it is truncated."
                )
            at += got
        return out

    def close(self):
        self._file.close()


class RawStore(Store):
    """A C-ordered array in the bytes of a file from ``offset`` on.

    Parameters
    ----------
    path, name : str
    shape : tuple of three int
    stored_dtype : dtype
        With the byte order of the file.
    offset : int
    metadata : dict
    """

    def __init__(self, path, name, shape, stored_dtype, offset, metadata=None):
        stored_dtype = np.dtype(stored_dtype)
        super().__init__(path, name, shape, stored_dtype.newbyteorder("="), (1, 1, shape[2]), metadata)
        self._stored_dtype, self._offset = stored_dtype, int(offset)
        self._handle = Handle(RawFile, os.fspath(path))

    def read(self, index):
        frames, rows, columns = (range(*part.indices(n)) for part, n in zip(index, self.shape, strict=True))
        out = np.empty((len(frames), len(rows), len(columns)), self.dtype)
        with self._handle.lock:
            file = self._handle.get()
            for i, frame in enumerate(frames):
                first, count = rows.start, rows[-1] + 1 - rows.start
                at = self._offset + (frame * self.shape[1] + first) * self.shape[2] * self._stored_dtype.itemsize
                part = file.read(at, count * self.shape[2], self._stored_dtype, self.name)
                part = part.reshape(count, self.shape[2])
                out[i] = part[:: rows.step, index[2]]
        return out

    def read_once(self, rows):
        """Rows of the only frame, and the file closed again."""
        try:
            return self.read((slice(0, 1), rows, slice(None)))[0]
        finally:
            self.close()

    def close(self):
        self._handle.close()


class FrameStore(Store):
    """A stack that is read frame by frame, best in whole frames; subclasses give ``_rows(frame, rows)``."""

    def __init__(self, path, name, shape, dtype, metadata=None):
        super().__init__(path, name, shape, dtype, (1, *shape[1:]), metadata)

    def _rows(self, frame, rows) -> np.ndarray:
        raise NotImplementedError

    def read(self, index):
        frames, rows, columns = index
        sizes = [len(range(*part.indices(n))) for part, n in zip(index, self.shape, strict=True)]
        out = np.empty(sizes, self.dtype)
        for i, frame in enumerate(range(*frames.indices(self.shape[0]))):
            out[i] = self._rows(frame, rows)[:, columns]
        return out

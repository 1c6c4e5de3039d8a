"""Stores that are read frame by frame: TIFF pages, MRC sections, raw arrays."""

import os

import numpy as np

from tomolearn.exceptions import FileFormatError
from tomolearn.io._stored import Handle, Store

SKIPPED = 4096  # bytes of a row that are rather read than skipped: a page of the system's cache


class RawFile:
    """A file whose bytes are read from where they lie; unlike a memory map it survives a file that shrinks."""

    def __init__(self, path):
        self._file = open(path, "rb", buffering=0)

    def read(self, offset, count, dtype, name):
        """``count`` values of ``dtype`` from ``offset`` bytes on."""
        out = np.empty(count, dtype)
        self.read_into(out, offset, name)
        return out

    def read_into(self, out, offset, name):
        """Fill ``out``, which is contiguous, with the bytes from ``offset`` on."""
        view, at = memoryview(out).cast("B"), 0
        self._file.seek(offset)
        while at < len(view):
            got = self._file.readinto(view[at:])
            if not got:
                raise FileFormatError(
                    f"{name} ends at byte {offset + at}, expected {len(view) - at} more: it is truncated."
                )
            at += got

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
        if out.size == 0:
            return out
        left_out = (self.shape[2] - len(columns)) * self._stored_dtype.itemsize
        read = self._read_pieces if left_out > SKIPPED else self._read_rows
        with self._handle.lock:
            for i, frame in enumerate(frames):
                read(self._handle.get(), out[i], frame, rows, columns)
        return out

    def _place(self, frame, row, column=0):
        position = (frame * self.shape[1] + row) * self.shape[2] + column
        return self._offset + position * self._stored_dtype.itemsize

    def _read_rows(self, file, out, frame, rows, columns):
        """Whole rows at once, those between the wanted ones too."""
        count = rows[-1] + 1 - rows.start
        part = file.read(self._place(frame, rows.start), count * self.shape[2], self._stored_dtype, self.name)
        out[:] = part.reshape(count, self.shape[2])[:: rows.step, columns.start : columns[-1] + 1 : columns.step]

    def _read_pieces(self, file, out, frame, rows, columns):
        """Of each row only what is wanted."""
        piece = np.empty(columns[-1] + 1 - columns.start, self._stored_dtype)
        for i, row in enumerate(rows):
            file.read_into(piece, self._place(frame, row, columns.start), self.name)
            out[i] = piece[:: columns.step]

    def read_once(self, rows, columns):
        """Part of the only frame, and the file closed again."""
        try:
            return self.read((slice(0, 1), rows, columns))[0]
        finally:
            self.close()

    def close(self):
        self._handle.close()


class FrameStore(Store):
    """A stack that is read frame by frame, best in whole frames; subclasses give ``_rows(frame, rows)``.

    Those that can read less of a frame than whole rows of it replace ``_box``.
    """

    def __init__(self, path, name, shape, dtype, metadata=None):
        super().__init__(path, name, shape, dtype, (1, *shape[1:]), metadata)

    def _rows(self, frame, rows) -> np.ndarray:
        raise NotImplementedError

    def _box(self, frame, rows, columns) -> np.ndarray:
        return self._rows(frame, rows)[:, columns]

    def read(self, index):
        frames, rows, columns = index
        sizes = [len(range(*part.indices(n))) for part, n in zip(index, self.shape, strict=True)]
        out = np.empty(sizes, self.dtype)
        for i, frame in enumerate(range(*frames.indices(self.shape[0]))):
            out[i] = self._box(frame, rows, columns)
        return out

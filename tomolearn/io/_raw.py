"""What the kinds of volume share: arrays written in place, and metadata as text."""

import json
import math
import os

import numpy as np

__all__ = ["METADATA", "RawBackend", "as_json", "axes_of", "write_bytes"]

METADATA = "process/tomolearn/metadata"  # in HDF5 files: everything that is known, as JSON
PIECE = 1 << 26  # bytes given to the system at a time


class RawBackend:
    """Bytes of a contiguous array within a file, written in place without the library that laid the file out.

    So a file is valid at every moment, no library holds a lock or a cache, and the same blocks give the same bytes in
    whatever order and in however many runs.
    """

    def __init__(self, path, shape, dtype, facts):
        self.path, self.shape, self.dtype, self.facts = path, shape, dtype, facts
        self._file = None

    def begin(self, band):
        """Lay the file out; every block begins at a row that is a multiple of ``band``."""
        raise NotImplementedError

    def offset(self):
        """Where the array begins in the file that was laid out."""
        raise NotImplementedError

    def write(self, start, row, block):
        """Slices from ``start`` on, or, of that slice alone, the rows from ``row`` on."""
        if self._file is None:
            self._start = self.offset()
            self._file = os.open(self.path, os.O_RDWR)
        row_bytes = math.prod(self.shape[2:]) * self.dtype.itemsize
        write_bytes(self._file, block, self._start + (start * self.shape[1] + row) * row_bytes)

    def finish(self):
        if self._file is not None:
            os.fsync(self._file)
        self.close()

    def close(self):
        if self._file is not None:
            os.close(self._file)
            self._file = None


def write_bytes(file, block, position):
    """The bytes of a contiguous array to a place in an open file."""
    view = memoryview(block).cast("B")
    while len(view):
        written = os.pwrite(file, view[:PIECE], position)
        view, position = view[written:], position + written


def axes_of(facts, shape):
    """Names of the axes: what the metadata say, if it is of this volume."""
    axes = facts.get("axes", ())
    return tuple(axes) if len(axes) == len(shape) else ("slices", "rows", "columns", "classes")[: len(shape)]


def as_json(facts):
    """Metadata as JSON text, the same for the same values."""

    def plain(value):
        if isinstance(value, np.ndarray):
            return value.tolist()
        if isinstance(value, np.generic):
            return value.item()
        return str(value)

    return json.dumps(facts, sort_keys=True, default=plain)

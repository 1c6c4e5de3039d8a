"""What the kinds of volume share: arrays written in place, and metadata as text."""

import json
import os

import numpy as np

__all__ = ["METADATA", "RawBackend", "as_json"]

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

    def begin(self):
        """Lay the file out."""
        raise NotImplementedError

    def offset(self):
        """Where the array begins in the file that was laid out."""
        raise NotImplementedError

    def write(self, start, block):
        if self._file is None:
            self._start = self.offset()
            self._file = os.open(self.path, os.O_RDWR)
        position = self._start + start * block[0].nbytes if len(block) else self._start
        view = memoryview(block).cast("B")
        while len(view):
            written = os.pwrite(self._file, view[:PIECE], position)
            view, position = view[written:], position + written

    def finish(self):
        if self._file is not None:
            os.fsync(self._file)
        self.close()

    def close(self):
        if self._file is not None:
            os.close(self._file)
            self._file = None


def as_json(facts):
    """Metadata as JSON text, the same for the same values."""

    def plain(value):
        if isinstance(value, np.ndarray):
            return value.tolist()
        if isinstance(value, np.generic):
            return value.item()
        return str(value)

    return json.dumps(facts, sort_keys=True, default=plain)

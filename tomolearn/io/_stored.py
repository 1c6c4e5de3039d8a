"""A three-dimensional array in a file (`Store`) and its presentation as a `Source` (`StoredSource`)."""

import contextlib
import os
import threading

import numpy as np

from tomolearn.exceptions import FileFormatError, TomolearnError
from tomolearn.io.source import Source, _bytes_of

CACHE = 64 << 20  # bytes kept of the slab that was read last
TRANSFER = 8 << 20  # bytes in stored order on their way into a block
DEFLATE_MOST = 1100  # times that deflate can shrink data: 1032, and something for headers


@contextlib.contextmanager
def reading(name, expected="a whole file"):
    """Turns whatever a parser stumbles on within into a FileFormatError that names the file."""
    try:
        yield
    except (TomolearnError, FileNotFoundError, PermissionError, IsADirectoryError, MemoryError, ImportError):
        raise
    except BlockingIOError as error:
        raise OSError(
            f"{name} is locked by a program that writes it; wait for it, or set HDF5_USE_FILE_LOCKING=FALSE."
        ) from error
    # Parsers of h5py and tifffile raise nearly everything on broken bytes; tests/fuzz_files.py tries it.
    except Exception as error:
        found = " ".join(str(error).split())[:200] or type(error).__name__
        raise FileFormatError(f"{name} is broken or truncated: found {found!r}; expected {expected}.") from error


def check_sizes(name, shape, dtype, limit, basis):
    """Refuses a shape that the file cannot hold, before anything of that size is allocated."""
    if any(n < 1 for n in shape):
        raise FileFormatError(f"{name} is empty: found shape {tuple(shape)}, expected at least one value.")
    need = _bytes_of(shape, dtype)
    if need > limit:
        raise FileFormatError(
            f"{name} declares shape {tuple(shape)} of {np.dtype(dtype)}, {need} bytes, but {basis}; "
            "it is truncated, or its header is broken."
        )


def check_dtype(name, dtype):
    """Native dtype of real numbers of at most 8 bytes, or a FileFormatError."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "fiub" or dtype.itemsize > 8 or dtype.shape:
        raise FileFormatError(f"{name} holds {dtype}, expected real numbers of at most 64 bits.")
    return dtype.newbyteorder("=")


def plain_values(found):
    """The entries of a mapping that are texts or numbers, as Python's own."""
    plain = {}
    for key, value in found.items():
        value = value.item() if isinstance(value, np.generic) else value
        value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if isinstance(value, str | int | float):
            plain[str(key)] = value
    return plain


class Handle:
    """What ``opener()`` gives, opened at first use and once in each process; never pickled."""

    def __init__(self, opener, *arguments):
        self._opener, self._arguments = opener, arguments
        self._forget()

    def _forget(self):
        # The lock is made anew too: in a forked child it may stand locked by a thread that is not there.
        self._value, self._pid, self.lock = None, os.getpid(), threading.RLock()

    def get(self):
        """The open file; hold ``lock`` while it is used."""
        if self._pid != os.getpid():
            self._forget()
        with self.lock:
            if self._value is None:
                self._value = self._opener(*self._arguments)
            return self._value

    def close(self):
        if self._pid == os.getpid() and self._value is not None:
            with self.lock:
                close = getattr(self._value, "close", None)
                if close is not None:
                    close()
                self._value = None

    def __del__(self):
        with contextlib.suppress(Exception):  # at the end of the program what it takes may be gone
            self.close()

    def __getstate__(self):
        return {"_opener": self._opener, "_arguments": self._arguments}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._forget()


class Store:
    """A three-dimensional array as the file holds it.

    ``chunks`` is the extent of what the file can only read as a whole, along each stored axis.
    """

    def __init__(self, path, name, shape, dtype, chunks, metadata=None):
        self.path, self.name = os.fspath(path), name
        self.shape, self.dtype, self.chunks = tuple(map(int, shape)), dtype, tuple(map(int, chunks))
        self.metadata = metadata or {}

    def read(self, index) -> np.ndarray:
        """The part that three slices with positive steps cut out, in any byte order and layout."""
        raise NotImplementedError

    def close(self):
        """Let go of the file until the next read."""


class StoredSource(Source):
    """A `Store` with its axes in the order that is asked for.

    Parameters
    ----------
    store : Store
    order : tuple of three int
        Axis i of the source is axis ``order[i]`` of the store.
    axes : tuple of three str
    picked : array of int, optional
        Which entries of the store make axis 1; None: all.
    cache : int
        Bytes of the slab that is kept between reads. Where a chunk spans many entries of axis 0, a slab of whole
        chunks is read once and serves the blocks that follow: row by row costs one pass a slab and not one a row.
    """

    def __init__(self, store, order, axes, *, picked=None, cache=CACHE):
        self._store, self._order, self._cache = store, tuple(order), int(cache)
        self._picked = None if picked is None else np.asarray(picked, np.int64)
        shape = [store.shape[axis] for axis in order]
        if self._picked is not None:
            shape[1] = len(self._picked)
        super().__init__(
            shape, store.dtype, axes, store.name, chunk=min(store.chunks[order[0]], shape[0]), metadata=store.metadata
        )
        self._slab = Handle(dict)  # a dict that no other process sees, and its lock

    def _pick(self, index):
        picked = (np.arange(self.shape[1]) if self._picked is None else self._picked)[index]
        return StoredSource(self._store, self._order, self.axes, picked=picked, cache=self._cache)

    def close(self):
        self._slab.close()
        self._store.close()

    # ------------------------------------------------------------------------------------------------- blocks

    def _read(self, start, stop):
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        if out.size == 0:
            return out
        slab = self._slab.get()
        with self._slab.lock, reading(self.name):
            at = start
            while at < stop:
                first, last = slab.get("rows", (0, 0))
                if first <= at < last:
                    last = min(last, stop)
                    out[at - start : last - start] = slab["block"][at - first : last - first]
                elif (last := self._end_of_direct(at, stop)) > at:
                    self._fill(out[at - start : last - start], at)
                else:
                    self._load(slab, at)
                    last = at
                at = last
        return out

    def _read_region(self, start, stop, rows, columns):
        out = np.empty((stop - start, rows.stop - rows.start, columns.stop - columns.start), self.dtype)
        if out.size == 0:
            return out
        slab = self._slab.get()
        with self._slab.lock, reading(self.name):
            first, last = slab.get("rows", (0, 0))
            if first <= start and stop <= last:
                out[:] = slab["block"][start - first : stop - first, rows, columns]
            else:
                self._fill(out, start, rows, columns)
        return out

    def _slab_length(self):
        """Entries of axis 0 that are kept: a chunk, or as much of it as the cache holds; 0 where keeping is no use."""
        fits = self._cache // max(1, _bytes_of(self.shape[1:], self.dtype))
        return 0 if self.chunk <= 1 else min(self.chunk, fits)

    def _end_of_direct(self, at, stop):
        """Up to where entries from ``at`` on are best read past the slab: whole chunks; ``at`` itself if none are."""
        span = self._slab_length()
        if span < self.chunk:  # a chunk does not fit: what is longer than a slab costs one pass either way
            return stop if stop - at >= span else at
        if at % span:
            return at
        return stop if stop == self.shape[0] else max(at, stop // span * span)

    def _load(self, slab, at):
        span = self._slab_length()
        first = at // span * span if span == self.chunk else at
        last = min(first + span, self.shape[0])
        slab.clear()  # before the next one is allocated
        block = np.empty((last - first, *self.shape[1:]), self.dtype)
        self._fill(block, first)
        slab.update(rows=(first, last), block=block)

    def _fill(self, out, first, within=slice(None), across=slice(None)):
        """Reads entries ``first`` onwards of axis 0 into ``out``, a few megabytes in stored order at a time.

        ``within`` and ``across`` are the parts of axes 1 and 2 that are wanted, as slices of step 1.
        """
        rows = slice(first, first + len(out))
        unit = max(1, _bytes_of(out.shape, self.dtype) // max(1, out.shape[1]))
        chunk = self._store.chunks[self._order[1]]
        group = max(chunk, TRANSFER // unit // chunk * chunk)
        at = 0
        for run in _runs(self._picked, self.shape[1], within):
            for piece in _pieces(run, group):
                index = [across] * 3
                index[self._order[0]], index[self._order[1]] = rows, piece
                part = np.transpose(self._store.read(tuple(index)), self._order)
                count = len(range(piece.start, piece.stop, piece.step))
                out[:, at : at + count] = part
                at += count


def _runs(picked, length, within):
    """Slices that together pick the same entries in the same order as ``within`` does of ``picked`` (None: all)."""
    if picked is None:
        return [slice(*within.indices(length))]
    picked = picked[within]
    steps = np.diff(picked)
    if len(steps) and steps[0] > 0 and (steps == steps[0]).all():
        return [slice(int(picked[0]), int(picked[-1]) + 1, int(steps[0]))]
    parts = np.split(picked, np.flatnonzero(steps != 1) + 1)
    return [slice(int(part[0]), int(part[-1]) + 1, 1) for part in parts if len(part)]


def _pieces(run, group):
    """Parts of a slice that meet at multiples of ``group``, where chunks meet too."""
    if run.step > 1:
        size = max(1, group // run.step)
        starts = range(run.start, run.stop, size * run.step)
        return [slice(a, min(a + size * run.step, run.stop), run.step) for a in starts]
    limits = [run.start, *range((run.start // group + 1) * group, run.stop, group), run.stop]
    return [slice(a, b, 1) for a, b in zip(limits[:-1], limits[1:], strict=True)]

"""Images in memory or in files of any kind, PNG included, as sources (slices, rows, columns)."""

import glob
import os
import threading
from collections import OrderedDict

import numpy as np

from tomolearn.base import check_memory
from tomolearn.exceptions import FileFormatError
from tomolearn.io._open import split_name
from tomolearn.io._pairing import listed
from tomolearn.io._stored import Handle, reading
from tomolearn.io._tiff import SUFFIXES, _numbers
from tomolearn.io.source import VOLUME_AXES, ArraySource, Source
from tomolearn.io.volume import open_volume

PNG = ".png"
SMALL = 32 << 20  # bytes up to which a picture is read as a whole, once, for all the parts that are cut from it
KEPT = 256 << 20  # bytes of such pictures that are kept
OPEN = 64  # files that stay open: systems allow some hundreds
MODES = {"1": "?", "L": "u1", "P": "u1", "I;16": "u2", "I;16B": "u2", "I": "i4", "F": "f4"}  # Pillow's, of grey values


class Picture(Source):
    """A stack that is read as a whole, and kept until it is closed."""

    def __init__(self, shape, dtype, name, load):
        super().__init__(shape, dtype, VOLUME_AXES, name)
        self._whole = Handle(load)

    def _cut(self, index):
        with self._whole.lock:
            return self._whole.get()[index]

    def _read(self, start, stop):
        return self._cut(slice(start, stop)).copy()

    def _read_region(self, start, stop, rows, columns):
        return self._cut((slice(start, stop), rows, columns)).copy()

    def close(self):
        self._whole.close()


class Joined(Source):
    """The slices of several sources one after the other, as one stack."""

    def __init__(self, sources, name):
        first = sources[0]
        ends = np.cumsum([len(source) for source in sources])
        dtype = np.result_type(*(source.dtype for source in sources))
        super().__init__((ends[-1], *first.shape[1:]), dtype, VOLUME_AXES, name)
        self._sources, self._ends = sources, ends
        self._recent = Recent()

    def _parts(self, start, stop):
        """The sources that hold these slices, and which of theirs they are."""
        for source, end in zip(self._sources, self._ends, strict=True):
            first = end - len(source)
            a, b = max(start, first), min(stop, end)
            if a < b:
                self._recent.touch(source)
                yield source, int(a - first), int(b - first)

    def _read(self, start, stop):
        parts = [source.read_block(a, b) for source, a, b in self._parts(start, stop)]
        return np.concatenate(parts) if parts else np.empty((0, *self.shape[1:]), self.dtype)

    def _read_region(self, start, stop, rows, columns):
        limits = (rows.start, rows.stop), (columns.start, columns.stop)
        parts = [source.read_region(a, b, *limits) for source, a, b in self._parts(start, stop)]
        return np.concatenate(parts) if parts else np.empty((0, *self.shape[1:]), self.dtype)[:, rows, columns]

    def close(self):
        for source in self._sources:
            source.close()


class Recent:
    """Closes sources that have not been read for long, so that few files stay open and few pictures in memory."""

    def __init__(self):
        self._sources, self._bytes, self._lock = OrderedDict(), 0, threading.Lock()

    def touch(self, source):
        """``source`` is about to be read."""
        with self._lock:
            if id(source) not in self._sources:
                self._sources[id(source)] = source
                self._bytes += _kept(source)
            self._sources.move_to_end(id(source))
            while len(self._sources) > 1 and (len(self._sources) > OPEN or self._bytes > KEPT):
                _, old = self._sources.popitem(last=False)
                self._bytes -= _kept(old)
                old.close()


def _kept(source):
    return source.nbytes if isinstance(source, Picture) else 0


def open_png(path):
    """A PNG file of grey values or of palette indices."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"reading {path} takes the package Pillow: pip install 'tomolearn[images]'.") from error

    def load():
        with reading(path, "a PNG file"), Image.open(path) as image:
            return np.asarray(image)[None]

    with reading(path, "a PNG file"), Image.open(path, formats=("PNG",)) as image:
        mode, (columns, rows) = image.mode, image.size
    if mode not in MODES:
        raise FileFormatError(
            f"{path} holds pixels of mode {mode}, expected grey values; convert it, with Pillow by convert('L')."
        )
    dtype = np.dtype(MODES[mode])
    check_memory(
        rows * columns * dtype.itemsize, f"the pixels of {path}", "Convert it to TIFF, which is read in parts."
    )
    return Picture((1, rows, columns), dtype, path, load)


def open_picture(path):
    """A file of any kind, or FILE:DATASET."""
    path = os.fspath(path)
    if path.lower().endswith(PNG):
        if not os.path.exists(path):
            raise FileNotFoundError(f"there is no file {path}.")
        return open_png(path)
    source = open_volume(path)
    if len(source) > 1 or source.nbytes > SMALL:
        return source

    def load():
        with source:
            return source.read_block(0, len(source))

    return Picture(source.shape, source.dtype, source.name, load)


def picture_files(path):
    """The picture files of a folder or a pattern in the order of their numbers; None where it is another thing."""
    path = os.fspath(path)
    if os.path.isdir(path):
        names = os.listdir(path)
        if path.rstrip("/").endswith(".zarr") or {".zarray", ".zgroup", "zarr.json"} & set(names):
            return None
        found = [os.path.join(path, name) for name in names if not name.startswith(".")]
        found = [name for name in found if name.lower().endswith((*SUFFIXES, PNG))]
        if not found:
            raise FileNotFoundError(
                f"there is no TIFF or PNG file in the folder {path}; it holds "
                f"{listed(sorted(names)) if names else 'nothing'}."
            )
    elif glob.has_magic(path) and not os.path.exists(split_name(path)[0]):
        found = glob.glob(path)
        if not found:
            raise FileNotFoundError(f"there is no file that fits {path}.")
    else:
        return None
    return sorted(found, key=lambda name: (_numbers(name), name))


def as_source(array, name):
    """An array (rows, columns) or (n, rows, columns) as a source."""
    if hasattr(array, "read_block"):
        source = array
    else:
        array = np.asarray(array)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name} must hold real numbers; got dtype {array.dtype}.")
        source = ArraySource(array[None] if array.ndim == 2 else array, name=name)
    if source.ndim != 3 or 0 in source.shape:
        raise ValueError(
            f"{name} must be an image (rows, columns) or a volume (n, rows, columns), not empty; got shape "
            f"{source.shape}."
        )
    return source

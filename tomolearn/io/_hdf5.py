"""HDF5 files: opening, finding what is in them, and their datasets as stores."""

import math
import os

import h5py
import numpy as np

from tomolearn.exceptions import FileFormatError
from tomolearn.io._heap import heap_attribute, is_heap_text
from tomolearn.io._stored import DEFLATE_MOST, Handle, Store, check_dtype, check_sizes, plain_values, reading
from tomolearn.io.source import _bytes_of

OTHER_FILTERS_MOST = 1 << 16  # times that other compressors than deflate shrink constant data
DEPTH, OBJECTS = 12, 20000  # how far the tree of a file is searched
MOST_VALUES = 1 << 16  # of an attribute
WITHOUT_LIMIT = ("deflate", "gzip", "shuffle", "fletcher32")
PLUGINS = {32001: "Blosc", 32004: "LZ4", 32008: "bitshuffle", 32013: "ZFP", 32015: "Zstandard", 32026: "Blosc2"}


def open_file(path, chunk_cache=None):
    """The file, for reading, with so many bytes of whole chunks kept (None: as HDF5 likes); errors name it."""
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path}.")
    with reading(path, "an HDF5 file"):
        return h5py.File(path, "r", rdcc_nbytes=chunk_cache)


def text_of(value):
    """A string of whatever HDF5 gives for one, or None."""
    if isinstance(value, np.ndarray | list):
        value = np.ravel(value)[0] if np.size(value) == 1 else None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def texts_of(value):
    """A list of strings: an array of them, or one of the form ``theta:y:x``."""
    if isinstance(value, np.ndarray | list) and np.size(value) != 1:
        return [text_of(part) for part in np.ravel(value)[:16]]
    text = text_of(value)
    return [] if text is None else text.strip("[]").replace(",", ":").split(":")


def attribute(thing, key):
    """An attribute: a number, a text, an array or list of them; None where it is absent or of another kind."""
    if key not in thing.attrs:
        return None
    stored = thing.attrs.get_id(key)
    if is_heap_text(stored.dtype):
        texts = heap_attribute(thing, key, math.prod(stored.shape))
        if texts is not None:
            return texts if stored.shape else texts[0]
    elif stored.dtype.kind not in "fiubS" or math.prod(stored.shape) > MOST_VALUES:
        return None
    return thing.attrs[key]


def attributes_of(thing):
    """The attributes that are texts or numbers."""
    return plain_values({key: attribute(thing, key) for key in list(thing.attrs)[:256]})


# ---------------------------------------------------------------------------------------------------- the tree


def member(group, path, links=16):
    """The object at ``path`` below ``group``, None where there is none; a link that leads nowhere says where to.

    Soft links are followed here, ``links`` of them at most: HDF5 would give what one of them finds in another file the
    name of the link, by which that file does not know it.
    """
    thing = group
    for part in [part for part in path.split("/") if part]:
        if not isinstance(thing, h5py.Group):
            return None
        link = thing.get(part, getlink=True)
        if link is None:
            return None
        if isinstance(link, h5py.SoftLink) and links > 0:
            target = member(thing.file if link.path.startswith("/") else thing, link.path, links - 1)
            if target is not None:
                thing = target
                continue
        try:
            thing = thing[part]
        except (KeyError, OSError) as error:
            name = f"{group.file.filename}:{thing.name.rstrip('/')}/{part}"
            if isinstance(link, h5py.ExternalLink):
                raise FileNotFoundError(
                    f"{name} is a link to {link.path} in the file {link.filename}, which is missing or does not hold "
                    "it; put that file where the link points, or beside this one."
                ) from error
            if isinstance(link, h5py.SoftLink):
                raise FileFormatError(
                    f"{name} is a link to {link.path}, which is not there; expected a dataset or group."
                ) from error
            raise FileFormatError(f"{name} is broken: {error}; expected a dataset or group.") from error
    return thing


def walk(group, depth=DEPTH):
    """(path, object) of what lies below, nearest first, each object once; links that lead nowhere are passed over."""
    level, seen, count = [("", group)], set(), 0
    for _ in range(depth):
        below = []
        for path, parent in level:
            for key in parent:
                count += 1
                if count > OBJECTS:
                    return
                try:
                    child = parent[key]
                    info = h5py.h5o.get_info(child.id)
                except (KeyError, OSError, RuntimeError, ValueError):
                    continue
                if (info.fileno, info.addr) in seen:
                    continue
                seen.add((info.fileno, info.addr))
                below.append((f"{path}{key}", child))
        yield from below
        level = [(f"{path}/", child) for path, child in below if isinstance(child, h5py.Group)]


def describe_datasets(group):
    """The datasets of numbers with their shapes, for a message."""
    found = [
        f"{path} {thing.shape}"
        for path, thing in walk(group)
        if isinstance(thing, h5py.Dataset) and thing.shape and thing.dtype.kind in "fiub"
    ]
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    return "it has " + (", ".join(found[:12]) + more if found else "no arrays of numbers")


def dataset(file, path):
    """The dataset ``path`` of an open file; one that is not there names those that are."""
    thing = member(file, path)
    if thing is None:
        raise FileNotFoundError(f"{file.filename} has no dataset {path!r}; {describe_datasets(file)}.")
    if not isinstance(thing, h5py.Dataset):
        raise FileFormatError(f"{file.filename}:{path} is a group, expected a dataset; {describe_datasets(file)}.")
    return thing


def values(thing, most=1 << 22):
    """A small dataset as a flat float64 array."""
    name = f"{thing.file.filename}:{thing.name.lstrip('/')}"
    check_dtype(name, thing.dtype)
    if thing.shape is None:
        raise FileFormatError(f"{name} is empty, expected numbers.")
    check_sizes(name, thing.shape or (1,), thing.dtype, most * 8, f"at most {most} values are expected here")
    check_storage(name, thing)
    with reading(name):
        return np.asarray(thing[()], np.float64).ravel()


# -------------------------------------------------------------------------------------------------- the dataset


def check_storage(name, thing):
    """Raises where the file cannot hold what the dataset declares, or needs a filter that is not installed."""
    size, need = os.path.getsize(thing.file.filename), _bytes_of(thing.shape, thing.dtype)
    if thing.is_virtual:
        _check_virtual(name, thing)
        return
    if thing.external:
        return
    stored = thing.id.get_storage_size()
    if thing.chunks is None:
        offset = thing.id.get_offset()
        check_sizes(name, thing.shape, thing.dtype, stored, f"{stored} bytes of it were written")
        if offset is not None and offset + need > size:
            check_sizes(name, thing.shape, thing.dtype, size - offset, f"the file ends {size - offset} bytes on")
        return
    filters = [thing.id.get_create_plist().get_filter(i) for i in range(thing.id.get_create_plist().get_nfilters())]
    for code, _, _, label in filters:
        if not h5py.h5z.filter_avail(code):
            label = PLUGINS.get(code) or label.decode("utf-8", "replace") or "without a name"
            raise FileFormatError(
                f"{name} is compressed by the HDF5 filter {code} ({label}), which is not installed; install hdf5plugin "
                "and set HDF5_PLUGIN_PATH to its folder of plugins."
            )
    known = all(label.decode("utf-8", "replace") in WITHOUT_LIMIT for _, _, _, label in filters)
    ratio = (DEFLATE_MOST if known else OTHER_FILTERS_MOST) if filters else 1
    most = max(min(stored, size) * ratio, 1 << 20)  # a chunk at the edge is stored whole
    basis = f"{stored} bytes of it were written"
    check_sizes(f"one chunk of {name}", thing.chunks, thing.dtype, most, basis)
    check_sizes(name, thing.shape, thing.dtype, most, basis)
    written = _check_chunks(name, thing, size, bool(filters))
    expected = math.prod(-(-n // c) for n, c in zip(thing.shape, thing.chunks, strict=True))
    if written < expected:
        raise FileFormatError(
            f"{name} has {written} of the {expected} chunks that its shape {thing.shape} expects: the rest was never "
            "written. Copy the part that is whole into a new file."
        )


def _check_chunks(name, thing, size, filtered):
    """The number of chunks, each of which must lie in the file: HDF5 itself would read what is not there."""
    wrong, count, whole = [], 0, _bytes_of(thing.chunks, thing.dtype)

    def look(chunk):
        nonlocal count
        count += 1
        fits = 4 < chunk.size <= size if filtered else chunk.size == whole
        if chunk.byte_offset is None or not fits or chunk.byte_offset + chunk.size > size:
            wrong.append(chunk)
            return True
        return None

    with reading(name):
        thing.id.chunk_iter(look)
    if wrong:
        raise FileFormatError(
            f"{name}: the chunk at {wrong[0].chunk_offset} has {wrong[0].size} bytes from byte {wrong[0].byte_offset} "
            f"on, expected {'some' if filtered else whole} within the {size} of the file: it is truncated or broken."
        )
    return count


def _check_virtual(name, thing):
    """Every file that a virtual dataset maps must be there: HDF5 gives zeros for one that is not."""
    folder, most = os.path.dirname(thing.file.filename), 0
    for part in thing.virtual_sources():
        if "%" in part.file_name:  # a pattern of names without end
            return
        own = part.file_name == "."
        candidates = [thing.file.filename] if own else [os.path.join(folder, part.file_name), part.file_name]
        there = [path for path in candidates if os.path.exists(path)]
        if not there:
            raise FileNotFoundError(
                f"{name} is a virtual dataset and takes part of its data from {part.file_name}, which is missing."
            )
        most += os.path.getsize(there[0]) * OTHER_FILTERS_MOST
    check_sizes(name, thing.shape, thing.dtype, most, "the files that it maps are too small for that")


class Hdf5Store(Store):
    """A dataset of two or three axes, or four of which the last has length 1; a single image counts as a stack of one.

    Parameters
    ----------
    path : str
    thing : h5py.Dataset
        Open, to be looked at once; reads open the file anew.
    metadata : dict
    """

    def __init__(self, path, thing, metadata=None):
        name = f"{thing.file.filename}:{thing.name.lstrip('/')}"  # of an external link, where it leads
        shape: tuple[int, ...] = thing.shape or ()
        dtype = check_dtype(name, thing.dtype)
        tail = len(shape) == 4 and shape[3] == 1
        if not (len(shape) in (2, 3) or tail):
            raise FileFormatError(f"{name} has shape {tuple(shape)}, expected three axes.")
        check_sizes(name, shape, dtype, float("inf"), "")
        check_storage(name, thing)
        # Without filters HDF5 reads parts of chunks, once it is kept from filling its cache with whole ones.
        plain = thing.chunks is None or thing.id.get_create_plist().get_nfilters() == 0
        chunks = (1,) * (len(shape) - 1) + shape[-1:] if plain else thing.chunks
        if tail:
            shape, chunks = shape[:3], chunks[:3]
        head = len(shape) == 2
        if head:
            shape, chunks = (1, *shape), (1, *chunks)
        super().__init__(path, name, shape, dtype, [min(c, n) for c, n in zip(chunks, shape, strict=True)], metadata)
        self._tail, self._head = tail, head
        self._handle = Handle(_open_dataset, thing.file.filename, thing.name, 0 if plain else None)

    def read(self, index):
        if self._head:
            index, repeat = index[1:], len(range(*index[0].indices(1)))
        if self._tail:
            index = (*index, 0)
        with self._handle.lock:
            block = self._handle.get()[index]
        return block[None][:repeat] if self._head else block

    def close(self):
        self._handle.close()


class _Open:
    """A dataset with the file that has to be closed after it."""

    def __init__(self, path, name, chunk_cache):
        self._file = open_file(path, chunk_cache)
        self._dataset = dataset(self._file, name)

    def __getitem__(self, index):
        return self._dataset[index]

    def close(self):
        self._file.close()


def _open_dataset(path, name, chunk_cache):
    return _Open(path, name, chunk_cache)

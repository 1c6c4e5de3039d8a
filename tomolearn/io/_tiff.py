"""TIFF: one file of many pages (BigTIFF too), or one file per image."""

import contextlib
import glob
import json
import logging
import os
import re
import threading

import numpy as np

from tomolearn.exceptions import FileFormatError
from tomolearn.io._frames import FrameStore, RawStore
from tomolearn.io._stored import DEFLATE_MOST, TRANSFER, Handle, check_dtype, check_sizes, plain_values, reading
from tomolearn.io.source import _bytes_of

SUFFIXES = (".tif", ".tiff")
UNCOMPRESSED = 1
JPEG = (6, 7, 33007, 34892)
LONGEST = 1 << 20  # characters of a description that are parsed


def tiff_files(path):
    """The files of a stack in the order of their numbers: of a folder, a pattern with ``*``, or a list."""
    if isinstance(path, list | tuple):
        return [os.fspath(part) for part in path]
    path = os.fspath(path)
    if os.path.isdir(path):
        names = [os.path.join(path, name) for name in os.listdir(path)]
        names = [name for name in names if name.lower().endswith(SUFFIXES) and not os.path.basename(name)[0] == "."]
        patterns = sorted({re.sub(r"\d+", "*", os.path.basename(name)) for name in names})
        if len(patterns) > 1:
            raise FileFormatError(
                f"{path} holds TIFF files of {len(patterns)} kinds, {', '.join(patterns[:4])}, expected one stack; "
                f"name it by its pattern: {os.path.join(path, patterns[0])}"
            )
    elif glob.has_magic(path) and not os.path.exists(path):
        names = glob.glob(path)
    else:
        return [path]
    if not names:
        raise FileNotFoundError(f"there is no TIFF file at {path}.")
    return sorted(names, key=_numbers)


def _numbers(name):
    """Sort key: digits as numbers, so that 10 follows 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", os.path.basename(name))]


def open_tiff(path):
    """A TIFF stack as a store (pages, rows, columns)."""
    files = tiff_files(path)
    if not files:
        raise FileNotFoundError("the list of TIFF files is empty.")
    if len(files) > 1:
        return TiffFiles(files, path if isinstance(path, str | os.PathLike) else os.path.dirname(files[0]))
    with open_tiff_file(files[0]) as tif, reading(files[0], "a TIFF file"):
        return _single_file(files[0], tif)


def open_tiff_file(path):
    """The parser's view of a file; not as OME-TIFF, which would open other files."""
    import tifffile

    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path}.")
    with reading(path, "a TIFF file"), _chain_is_whole(path):
        tif = tifffile.TiffFile(path, is_ome=False)
        len(tif.pages)  # follows the chain of pages to its end
        return tif


@contextlib.contextmanager
def _chain_is_whole(path):
    """Raises where the parser stops at a page that is not there: it only logs that, and gives the pages before it."""
    logger, me, found = logging.getLogger("tifffile"), threading.get_ident(), []

    def note(record):
        if record.thread != me:
            return True
        found.append(record.getMessage())
        return False

    logger.addFilter(note)
    try:
        yield
    finally:
        logger.removeFilter(note)
    broken = [message for message in found if "TiffPages" in message]
    if broken:
        raise FileFormatError(f"{path} is truncated or broken: found {broken[0]!r}, expected a whole chain of pages.")


def _single_file(path, tif):
    page = tif.pages[0]
    dtype = check_page(path, page)
    images = (tif.imagej_metadata or {}).get("images", 1) if tif.is_imagej else 1
    shaped = tif.series[0].shape if len(tif.pages) == 1 and tif.is_shaped else ()
    shaped = shaped if shaped[-1:] != (1,) else ()  # of a single image with an axis of colours
    metadata = _metadata(tif)
    if len(tif.pages) == 1 and page.is_final and (images > 1 or len(shaped) == 3):
        # One page stands for images that follow each other without pages of their own.
        shape = shaped if len(shaped) == 3 else (int(images), *page.shape)
        there = os.path.getsize(path) - page.dataoffsets[0]
        check_sizes(path, shape, dtype, there, f"{there} bytes follow the first page")
        return RawStore(path, path, shape, tif.byteorder + dtype.char, page.dataoffsets[0], metadata)
    shape = (len(tif.pages), *page.shape)
    if (
        page.is_final
        and (offset := tif.series[0].dataoffset) is not None
        and tif.series[0].size == _bytes_of(shape, "i1")
    ):
        there = os.path.getsize(path) - offset
        check_sizes(path, shape, dtype, there, f"{there} bytes follow the first page")
        return RawStore(path, path, shape, tif.byteorder + dtype.char, offset, metadata)
    return TiffPages(path, shape, dtype, metadata)


def check_page(path, page, like=None):
    """Native dtype of a page of grey values that the file can hold, and that is as the first one."""
    if len(page.shape) != 2:
        raise FileFormatError(f"{path} has an image of shape {page.shape}, expected grey values (rows, columns).")
    if page.dtype is None:
        raise FileFormatError(f"{path} holds {page.bitspersample} bits a sample of a kind unknown, expected numbers.")
    dtype = check_dtype(path, page.dtype)
    if like is not None and (tuple(page.shape), dtype) != like:
        raise FileFormatError(f"{path} has an image {page.shape} of {dtype}, expected {like[0]} of {like[1]}.")
    size = os.path.getsize(path)
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
    stored = sum(page.databytecounts)
    if not ends or max(ends) > size or stored > size:
        raise FileFormatError(
            f"{path} has {size} bytes, but its image reaches byte {max(ends, default=0)}: it is truncated."
        )
    ratio = 1 if page.compression == UNCOMPRESSED else DEFLATE_MOST
    basis = f"{stored} bytes of it are stored"
    limit = max(stored * ratio * 8 // min(8, page.bitspersample), 1 << 12)
    check_sizes(path, page.shape, dtype, limit, basis)
    check_sizes(f"a tile of {path}", page.chunks, dtype, max(limit, 1 << 20), basis)
    return dtype


def _decoded(path, page, rows, columns):
    """Part of the image of a page; a codec that is missing is named."""
    try:
        if page.compression in JPEG:  # its strips need tables that stand elsewhere
            return page.asarray()[rows, columns]
        return _touched(page, rows, columns)
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        raise FileFormatError(
            f"{path} is compressed by {page.compression.name}, which takes a package: pip install imagecodecs."
        ) from error


def _touched(page, rows, columns):
    """Part of an image, of which no other strips or tiles are read than those that it touches."""
    rows, columns = (range(*part.indices(n)) for part, n in zip((rows, columns), page.shape, strict=True))
    box = [(rows.start, rows[-1] + 1), (columns.start, columns[-1] + 1)]
    out = np.full([stop - start for start, stop in box], page.nodata, page.dtype)
    across = -(-page.shape[1] // page.chunks[1])
    down, along = (range(a // size, (b - 1) // size + 1) for (a, b), size in zip(box, page.chunks, strict=True))
    wanted = [row * across + column for row in down for column in along]
    places = [page.dataoffsets[index] for index in wanted], [page.databytecounts[index] for index in wanted]
    for data, index in page.parent.filehandle.read_segments(*places, wanted, buffersize=TRANSFER):
        part = page.decode(data, index)[0]
        if part is None:  # never written
            continue
        part, corner = (
            part[0, :, :, 0],
            [position * size for position, size in zip(divmod(index, across), page.chunks, strict=True)],
        )
        cut, place = [], []
        for at, n, (start, stop) in zip(corner, part.shape, box, strict=True):
            low, high = max(at, start), min(at + n, stop)
            cut.append(slice(low - at, high - at))
            place.append(slice(low - start, high - start))
        out[tuple(place)] = part[tuple(cut)]
    return out[:: rows.step, :: columns.step]


class _TiffStore(FrameStore):
    """Pages, of one file or of many; what is stored plainly is read without the parser from the second time on."""

    def __init__(self, path, shape, dtype, metadata):
        super().__init__(os.fspath(path), os.fspath(path), shape, dtype, metadata)
        self._plain = {}  # {frame: (offset, byte order)}

    def _page_box(self, path, tif, page, frame, rows, columns):
        check_page(path, page, (self.shape[1:], self.dtype))
        if page.is_final:
            self._plain[frame] = page.dataoffsets[0], tif.byteorder
            return self._plain_box(path, frame, rows, columns)
        return _decoded(path, page, rows, columns)

    def _plain_box(self, path, frame, rows, columns):
        offset, order = self._plain[frame]
        stored = RawStore(path, path, (1, *self.shape[1:]), order + self.dtype.char, offset)
        return stored.read_once(rows, columns)


class TiffPages(_TiffStore):
    """The pages of one file."""

    def __init__(self, path, shape, dtype, metadata=None):
        super().__init__(path, shape, dtype, metadata)
        self._handle = Handle(open_tiff_file, path)

    def _box(self, frame, rows, columns):
        if frame in self._plain:
            return self._plain_box(self.path, frame, rows, columns)
        with self._handle.lock:
            tif = self._handle.get()
            return self._page_box(self.path, tif, tif.pages[frame].aspage(), frame, rows, columns)

    def close(self):
        self._handle.close()


class TiffFiles(_TiffStore):
    """One image in each file."""

    def __init__(self, files, path):
        with open_tiff_file(files[0]) as tif, reading(files[0], "a TIFF file"):
            page = tif.pages[0]
            dtype, metadata = check_page(files[0], page), _metadata(tif)
            if len(tif.pages) > 1:
                raise FileFormatError(
                    f"{files[0]} has {len(tif.pages)} pages, expected one in each of {len(files)} files."
                )
        super().__init__(path, (len(files), *page.shape), dtype, metadata)
        self._files = files

    def _box(self, frame, rows, columns):
        path = self._files[frame]
        if frame in self._plain:
            return self._plain_box(path, frame, rows, columns)
        with open_tiff_file(path) as tif, reading(path, "a TIFF file"):
            return self._page_box(path, tif, tif.pages[0], frame, rows, columns)


def _metadata(tif):
    """The text that the file carries; of a JSON object, its plain values."""
    text = tif.pages[0].description
    if text.startswith("{") and len(text) < LONGEST:
        try:
            return plain_values(json.loads(text))
        except (ValueError, RecursionError, AttributeError):
            pass
    return {"description": text[:1000]} if text else {}

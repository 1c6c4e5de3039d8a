"""Volumes written block by block: HDF5, TIFF, Zarr, NumPy; whole or not at all, and resumable after a kill."""

import math
from pathlib import Path

import numpy as np

from tomolearn._validation import check_choice, check_shape
from tomolearn.io._partial import Journal, Partial

__all__ = ["KINDS", "Sink", "create_sink"]

KINDS = ("hdf5", "tiff", "tiff-stack", "zarr", "npy")
_SUFFIXES = {
    ".h5": "hdf5", ".hdf5": "hdf5", ".hdf": "hdf5", ".nxs": "hdf5", ".tif": "tiff", ".tiff": "tiff", ".zarr": "zarr",
    ".npy": "npy", "": "tiff-stack",
}  # fmt: skip


def create_sink(
    path,
    shape,
    dtype="float32",
    *,
    kind=None,
    metadata=None,
    value_range=None,
    blocks=None,
    run=None,
    resume=False,
    overwrite=False,
):
    """Begin a volume on disk that is written in blocks of slices, or in bands of rows of slices.

    Everything is written beside ``path``, to ``path.part`` with a record in ``path.part.json``, and renamed when whole.

    Parameters
    ----------
    path : path-like
        Of the output. Its suffix says the kind: ``.h5`` (Data Exchange layout, ``exchange/data``), ``.tif`` (one
        BigTIFF), ``.zarr`` (extra ``zarr``), ``.npy``; none: a folder with one TIFF a slice.
    shape : tuple of three or four int
        (slices, rows, columns), or (slices, rows, columns, classes) for several values a pixel.
    dtype : dtype, default="float32"
        A floating type; an integer type for integers, such as labels, or together with ``value_range``.
    kind : {"hdf5", "tiff", "tiff-stack", "zarr", "npy"}, default=None
        None: by the suffix.
    metadata : dict, default=None
        Plain values that are stored with the volume, such as ``pixel_size`` (m), ``units``, ``center``, ``angles``.
    value_range : tuple of two float, default=None
        For integer types: the values that become the smallest and the largest integer; what lies beyond is clipped and
        counted. Stored as ``scale`` and ``offset``: value = stored * scale + offset.
    blocks : list of (start, stop) or of (slice, start, stop), default=None
        Slices of each block in turn; or, where a slice is too large, the slice and the rows of each. None: one slice a
        block.
    run : dict, default=None
        What identifies the run; a partial output is only resumed if it is the same.
    resume : bool, default=False
        Go on with the partial output of a run that was broken off. Where there is none, begin.
    overwrite : bool, default=False
        Whether an existing output may be replaced (when the new one is whole).

    Returns
    -------
    Sink

    Raises
    ------
    FileExistsError
        If the output exists and ``overwrite`` is False, is a folder that holds other things than a volume, or is
        being written by another process.
    FileNotFoundError
        If its folder does not exist.
    PermissionError
        If nothing can be written to its folder.
    IsADirectoryError
        If the output is a folder and the volume would be a file.
    OSError
        If the disk is too full.
    FileFormatError
        If the record of a partial output is broken.
    ValueError
        If a parameter is out of its range, or the partial output belongs to another run.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from tomolearn.io import create_sink
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with create_sink(folder / "volume.npy", (2, 3, 3), blocks=[(0, 2)]) as sink:
    ...     sink.write_block(0, np.ones((2, 3, 3)))
    >>> np.load(folder / "volume.npy").sum()
    np.float32(18.0)
    """
    shape = check_shape(shape, "shape", 4 if np.shape(shape) == (4,) else 3)
    path = Path(path)
    if path.name in ("", ".."):
        raise ValueError(f"the output must be the name of a file or a new folder; got {str(path)!r}.")
    if kind is None:
        kind = _SUFFIXES.get(path.suffix.lower())
        if kind is None:
            raise ValueError(
                f"the suffix of {path} names no kind of volume; take one of {', '.join(filter(None, _SUFFIXES))} or "
                f"none for a folder of TIFFs, or give kind, one of {', '.join(KINDS)}."
            )
    check_choice(kind, "kind", KINDS)
    dtype, scaling = _scaling(dtype, value_range)
    blocks, band = _check_blocks(blocks, shape)
    identity = {**(run or {}), "shape": list(shape), "dtype": dtype.str, "kind": kind, "scaling": scaling}
    partial = Partial(path)
    resumes = resume and partial.data.exists() and partial.record.exists()
    need = 0 if resumes else np.prod(shape, dtype=float) * dtype.itemsize
    partial.check(need, overwrite, is_folder=kind in ("tiff-stack", "zarr"))
    facts = dict(metadata or {}) | ({"scale": scaling[0], "offset": scaling[1]} if scaling else {})
    backend = _backend(kind)(partial.data, shape, dtype, facts)
    partial.claim()
    try:
        if resumes:
            journal = Journal.load(partial.record, identity)
        else:
            partial.clear()
            backend.begin(band)
            journal = Journal.new(partial.record, identity, blocks)
    except BaseException:
        partial.release()
        raise
    return Sink(partial, backend, journal, dtype, scaling)


def _check_blocks(blocks, shape):
    """The blocks as tuples of int, and the rows that each of them begins at a multiple of."""
    n, rows = shape[:2]
    blocks = [(i, i + 1) for i in range(n)] if blocks is None else [tuple(map(int, block)) for block in blocks]
    if {len(block) for block in blocks} == {3}:
        followed = [(0, 0), *((i + (stop == rows), stop % rows) for i, _, stop in blocks)]
        if [block[:2] for block in blocks] + [(n, 0)] != followed or any(start >= stop for _, start, stop in blocks):
            raise ValueError(
                f"blocks must be bands that follow each other through the rows 0 to {rows} of the slices 0 to {n - 1}, "
                f"(slice, start, stop); got {blocks}."
            )
        return blocks, math.gcd(*(start for _, start, _ in blocks)) or rows
    whole = {len(block) for block in blocks} == {2}
    if not whole or [a for a, _ in blocks] != [0, *(b for _, b in blocks[:-1])] or blocks[-1][1] != n:
        raise ValueError(f"blocks must follow each other from 0 to {n}, the number of slices; got {blocks}.")
    return blocks, rows


def _backend(kind):
    if kind == "hdf5":
        from tomolearn.io._hdf5_sink import HDF5Backend

        return HDF5Backend
    from tomolearn.io import _image_sinks

    return {
        "tiff": _image_sinks.BigTIFFBackend, "tiff-stack": _image_sinks.TIFFStackBackend,
        "zarr": _image_sinks.ZarrBackend, "npy": _image_sinks.NumPyBackend,
    }[kind]  # fmt: skip


def _check_range(block, dtype):
    """Raise where integers do not fit into ``dtype``."""
    low, high = int(block.min()), int(block.max())
    limits = np.iinfo(dtype)
    if low < limits.min or high > limits.max:
        raise ValueError(
            f"{dtype} holds {limits.min} to {limits.max}; got values from {low} to {high}. Take a larger dtype."
        )


def _scaling(dtype, value_range):
    """The dtype, and (scale, offset) of an integer one."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        if value_range is not None:
            raise ValueError(
                f"value_range is for integer types; got dtype {dtype}. Leave it out, or name one of those."
            )
        return dtype, None
    if dtype.kind not in "ui" or dtype.itemsize > 4:
        raise ValueError(f"dtype must be a floating type or an integer type of up to 32 bits; got {dtype}.")
    if value_range is None:
        return dtype, None
    try:
        low, high = map(float, value_range)
    except (TypeError, ValueError):
        low = high = np.nan
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"value_range must be two finite numbers, the lower one first; got {value_range!r}.")
    limits = np.iinfo(dtype)
    scale = (high - low) / (limits.max - limits.min)
    return dtype, [scale, low - limits.min * scale]


class Sink:
    """A volume that is being written; made by `create_sink`.

    As a context manager it finishes at the end, or leaves the partial output for a later ``resume`` on an error.

    Parameters
    ----------
    partial : Partial
        The places of the output.
    backend : object
        Writes one kind of file.
    journal : Journal
        Says which blocks are done.
    dtype : dtype
        Of the volume.
    scaling : list of two float, or None
        Scale and offset of integers.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from tomolearn.io import create_sink
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> sink = create_sink(folder / "volume.h5", (2, 3, 3))
    >>> sink.blocks
    [(0, 1), (1, 2)]
    >>> sink.write_block(0, np.ones((1, 3, 3)))
    >>> sink.close()
    >>> sorted(create_sink(folder / "volume.h5", (2, 3, 3), resume=True).done)
    [0]
    """

    def __init__(self, partial, backend, journal, dtype, scaling):
        self._partial, self._backend, self._journal = partial, backend, journal
        self.dtype = dtype
        self._scaling = scaling

    @property
    def path(self) -> Path:
        """Where the volume will stand when it is whole."""
        return self._partial.target

    @property
    def blocks(self) -> list[tuple[int, ...]]:
        """(start, stop) of each block, or (slice, start, stop) of each band of rows."""
        return self._journal.blocks

    @property
    def done(self) -> dict[int, dict[str, int]]:
        """Index of each block that is on disk, and what was counted in it."""
        return self._journal.done

    def write_block(self, index, block, counts=None):
        """Write one block of slices, or one band of rows.

        Parameters
        ----------
        index : int
            Which of ``blocks``.
        block : ndarray of shape (stop - start, rows, columns) or (1, stop - start, columns)
            Converted to the dtype of the sink; with one axis more where the volume has four.
        counts : dict of str to int, default=None
            What was counted in this block; kept in the record.

        Raises
        ------
        ValueError
            If the block has another shape, or values that the dtype does not hold.
        """
        *number, start, stop = self.blocks[index]
        shape = self._backend.shape
        expected = (1, stop - start, *shape[2:]) if number else (stop - start, *shape[1:])
        block, clipped = self._stored(np.asarray(block))
        if block.shape != expected:
            raise ValueError(f"block {index} of {self.path} must have shape {expected}; got {block.shape}.")
        self._backend.write(*((*number, start) if number else (start, 0)), block)
        self._journal.mark(index, {**(counts or {}), **({"values clipped to value_range": clipped} if clipped else {})})

    def _stored(self, block):
        """``block`` in the stored dtype, and the number of values that were clipped."""
        if self._scaling is None:
            if self.dtype.kind != "f" and block.dtype.kind == "f":
                raise ValueError(
                    f"values of {block.dtype} are stored as {self.dtype} only with value_range=(low, high)."
                )
            if self.dtype.kind != "f" and block.size and not np.can_cast(block.dtype, self.dtype):
                _check_range(block, self.dtype)
            return np.ascontiguousarray(block, self.dtype), 0
        scale, offset = self._scaling
        limits = np.iinfo(self.dtype)
        values = np.rint((block.astype(np.float64) - offset) / scale)
        if not np.isfinite(values).all():
            raise ValueError(f"values that are not finite cannot be stored as {self.dtype}; take a floating dtype.")
        clipped = int(np.count_nonzero((values < limits.min) | (values > limits.max)))
        return np.clip(values, limits.min, limits.max).astype(self.dtype), clipped

    def complete(self):
        """Everything is brought to the disk; the volume does not have its name yet.

        Raises
        ------
        ValueError
            If blocks are missing.
        """
        missing = len(self.blocks) - len(self.done)
        if missing:
            raise ValueError(f"{missing} of {len(self.blocks)} blocks of {self.path} are not written yet.")
        self._backend.finish()

    def finish(self) -> Path:
        """The whole volume takes its name.

        Returns
        -------
        Path

        Raises
        ------
        ValueError
            If blocks are missing.
        """
        self.complete()
        self._partial.finish()
        return self.path

    def close(self):
        """Let go of files; what is done stays beside the target for ``resume``."""
        self._backend.close()
        self._partial.release()

    def discard(self):
        """Remove what was written; after `close`."""
        self._partial.clear()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.finish()
        else:
            self.close()

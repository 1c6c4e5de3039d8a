"""`Source`: a stack that is read in blocks along axis 0, wherever it is stored."""

from typing import Any

import numpy as np

from tomolearn.base import check_memory
from tomolearn.exceptions import FileFormatError

__all__ = ["SCAN_AXES", "VOLUME_AXES", "ArraySource", "Source"]

SCAN_AXES = ("rows", "angles", "detectors")
VOLUME_AXES = ("slices", "rows", "columns")
PIECE = 16 << 20  # bytes read at a time where a block is only passed through
LARGE = 64 << 20  # bytes from which a block is compared with the memory that there is


class Source:
    """A stack that is read in blocks along axis 0.

    Subclasses implement ``_read(start, stop)`` and, where they can do better than reading all of it, ``_pick(index)``
    and ``_read_region(start, stop, rows, columns)``.

    Parameters
    ----------
    shape : tuple of int
        Of the whole stack.
    dtype : dtype
        Of the blocks; presented in native byte order.
    axes : tuple of str
        Name of each axis, such as ``("rows", "angles", "detectors")`` or ``("slices", "rows", "columns")``.
    name : str
        For messages: ``scan.h5:exchange/data``.
    chunk : int, default=1
        How many entries of axis 0 one stored chunk spans. Blocks that begin at its multiples are read fastest.
    metadata : dict, optional
        Plain values in SI units: ``pixel_size`` in m, ``energy`` in eV, ``distance`` in m, ...

    Attributes
    ----------
    shape, dtype, axes, name, chunk, metadata
        As above.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.io import ArraySource
    >>> source = ArraySource(np.arange(24.0).reshape(4, 2, 3))
    >>> source.shape, source.read_block(1, 3).shape
    ((4, 2, 3), (2, 2, 3))
    """

    def __init__(self, shape, dtype, axes, name, *, chunk=1, metadata=None):
        self.shape = tuple(int(n) for n in shape)
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self.axes = tuple(axes)
        self.name = str(name)
        self.chunk = int(chunk)
        self.metadata = dict(metadata or {})
        if len(self.axes) != len(self.shape):
            raise ValueError(f"axes must name the {len(self.shape)} axes of {self.name}; got {self.axes}.")

    # ------------------------------------------------------------------------------------------- for subclasses

    def _read(self, start: int, stop: int) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} does not say how a block is read")

    def _pick(self, index) -> "Source":
        """The entries ``index`` (slice or integers) of axis 1, as a Source."""
        return _Picked(self, index)

    def _read_region(self, start: int, stop: int, rows: slice, columns: slice) -> np.ndarray:
        """The part that two slices cut out of axes 1 and 2; here from whole entries, one at a time."""
        sizes = (stop - start, rows.stop - rows.start, columns.stop - columns.start)
        out = np.empty((*sizes, *self.shape[3:]), self.dtype)
        if out.size:
            for i in range(start, stop):
                out[i - start] = self.read_block(i, i + 1)[0, rows, columns]
        return out

    # ------------------------------------------------------------------------------------------------ for users

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole stack in memory."""
        return _bytes_of(self.shape, self.dtype)

    def __len__(self):
        return self.shape[0]

    def read_block(self, start: int, stop: int) -> np.ndarray:
        """Entries ``start`` to ``stop`` of axis 0.

        Parameters
        ----------
        start, stop : int
            ``0 <= start <= stop <= len(source)``; nothing is clipped.

        Returns
        -------
        ndarray of shape (stop - start, *shape[1:])
            C-contiguous, native byte order, the caller's own.

        Raises
        ------
        IndexError
            If the block does not lie within the stack.
        FileFormatError
            If the file is broken there.
        """
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"a block of {self.name} must lie within 0:{len(self)}; got {start}:{stop}.")
        expected = (stop - start, *self.shape[1:])
        return self._checked(expected, f"entries {start}:{stop}", self._read, int(start), int(stop))

    def read_region(self, start: int, stop: int, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """The same rectangle of the entries ``start`` to ``stop`` of axis 0, without the rest where the file allows it.

        Only the bytes of the rectangle are read of arrays that are stored contiguously (``.npy``, MRC, uncompressed
        TIFF and HDF5), only the tiles, strips or chunks that it touches of TIFF, HDF5 and Zarr files that have such.

        Parameters
        ----------
        start, stop : int
            ``0 <= start <= stop <= len(source)``; nothing is clipped.
        rows, columns : tuple of two int
            First and after the last of axis 1 and of axis 2, within these axes; nothing is clipped.

        Returns
        -------
        ndarray of shape (stop - start, rows[1] - rows[0], columns[1] - columns[0], *shape[3:])
            C-contiguous, native byte order, the caller's own.

        Raises
        ------
        IndexError
            If the region does not lie within the stack, or the stack has fewer than three axes.
        FileFormatError
            If the file is broken there.

        Examples
        --------
        >>> import numpy as np
        >>> from tomolearn.io import ArraySource
        >>> ArraySource(np.arange(24).reshape(2, 3, 4)).read_region(1, 2, (0, 2), (1, 3))
        array([[[13, 14],
                [17, 18]]])
        """
        limits = ((start, stop), tuple(rows), tuple(columns))
        if self.ndim < 3:
            raise IndexError(f"a region needs rows and columns; {self.name} has the axes {', '.join(self.axes)}.")
        if any(not 0 <= first <= after <= n for (first, after), n in zip(limits, self.shape[:3], strict=True)):
            there, asked = ", ".join(f"0:{n}" for n in self.shape[:3]), ", ".join(f"{a}:{b}" for a, b in limits)
            raise IndexError(f"a region of {self.name} must lie within {there}; got {asked}.")
        (start, stop), rows, columns = ((int(first), int(after)) for first, after in limits)
        expected = (stop - start, rows[1] - rows[0], columns[1] - columns[0], *self.shape[3:])
        what = f"the pixels {rows[0]}:{rows[1]}, {columns[0]}:{columns[1]} of entries {start}:{stop}"
        return self._checked(expected, what, self._read_region, start, stop, slice(*rows), slice(*columns))

    def _checked(self, expected, what, read, *arguments) -> np.ndarray:
        """What ``read`` gives, if there is memory for it and it has the shape that is expected."""
        need = _bytes_of(expected, self.dtype)
        if need > LARGE:
            check_memory(need, f"{what} of {self.name}", "Read fewer at a time.")
        block = np.ascontiguousarray(read(*arguments), dtype=self.dtype)
        if block.shape != expected:  # a file that changed since it was opened
            raise FileFormatError(f"{self.name}: {what} have shape {block.shape}, expected {expected}.")
        return block

    def __getitem__(self, key):
        key = key if isinstance(key, tuple) else (key,)
        if not key or key[0] is Ellipsis:
            given = sum(part is not None for part in key[1:])
            key = (*[slice(None)] * (self.ndim - given), *key[1:])
        first, rest = key[0], key[1:]
        if isinstance(first, slice):
            return self._gather(range(*first.indices(len(self))), rest)
        if first is None or np.ndim(first) > 0:
            return self._gather(np.arange(len(self))[first], rest)
        row = range(len(self))[first]
        return self.read_block(row, row + 1)[0][rest]

    def _gather(self, rows, rest) -> np.ndarray:
        """The chosen rows, each block cut by ``rest`` before the next is read: no more memory than the result takes."""
        if len(rows) == 0:
            return np.empty((0, *self.shape[1:]), self.dtype)[(slice(None), *rest)]
        if getattr(rows, "ndim", 1) > 1:
            raise IndexError(f"axis 0 of {self.name} takes an integer, a slice or a list; got {rows.ndim} dimensions.")
        if isinstance(rows, range) and rows.step == 1:
            size = max(1, PIECE // max(1, _bytes_of(self.shape[1:], self.dtype)))
            limits = [(a, min(a + size, rows.stop)) for a in range(rows.start, rows.stop, size)]
        else:
            limits = [(int(row), int(row) + 1) for row in rows]
        if not rest and len(limits) == 1:
            return self.read_block(*limits[0])
        out: Any = None
        at = 0
        for a, b in limits:
            part = self.read_block(a, b)[(slice(None), *rest)]
            if out is None:
                out = np.empty((len(rows), *part.shape[1:]), self.dtype)
            out[at : at + b - a] = part
            at += b - a
        return out

    def __array__(self, dtype=None, copy=None):
        array = self.read_block(0, len(self))
        return array if dtype is None else array.astype(dtype, copy=False)

    def close(self) -> None:
        """Let go of files and of what was kept in memory; the next read opens them again."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def __repr__(self):
        return f"<{type(self).__name__} {self.name} {self.shape} {self.dtype}, axes {', '.join(self.axes)}>"


def _bytes_of(shape, dtype) -> int:
    size = np.dtype(dtype).itemsize
    for n in shape:  # Python's integers: a header may declare more than 64 bits hold
        size *= int(n)
    return size


class ArraySource(Source):
    """A `Source` over an array in memory, a memory map, or anything that has a shape, a dtype and slices.

    Parameters
    ----------
    array : array-like
        Not copied where it is an array.
    axes : tuple of str, optional
        Name of each axis; by default ``("slices", "rows", "columns")`` for three axes.
    name : str, default="array"
        For messages.
    metadata : dict, optional
        Plain values in SI units.

    Raises
    ------
    TypeError
        If ``array`` does not hold real numbers.
    ValueError
        If ``array`` is a single number or ``axes`` does not name each axis.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.io import ArraySource
    >>> ArraySource(np.zeros((4, 5, 6), ">u2"), ("rows", "angles", "detectors"))
    <ArraySource array (4, 5, 6) uint16, axes rows, angles, detectors>
    """

    def __init__(self, array, axes=None, *, name="array", metadata=None):
        if not (hasattr(array, "shape") and hasattr(array, "dtype") and isinstance(array.dtype, np.dtype)):
            array = np.asarray(array)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"array must hold real numbers; got dtype {array.dtype}.")
        if len(array.shape) == 0:
            raise ValueError("array must have at least one axis; got a single number.")
        if axes is None:
            axes = VOLUME_AXES if len(array.shape) == 3 else [f"axis{i}" for i in range(len(array.shape))]
        super().__init__(array.shape, array.dtype, axes, name, metadata=metadata)
        self._array = array

    def _read(self, start, stop):
        return np.array(self._array[start:stop], dtype=self.dtype, order="C")

    def _read_region(self, start, stop, rows, columns):
        return np.array(self._array[start:stop, rows, columns], dtype=self.dtype, order="C")

    def _pick(self, index):
        if not isinstance(self._array, np.ndarray):  # other containers take lists differently
            return super()._pick(index)
        return ArraySource(self._array[:, index], self.axes, name=self.name, metadata=self.metadata)


class _Picked(Source):
    """Entries of axis 1 of another source, which is read in pieces so that little is in memory beside the block."""

    def __init__(self, source, index):
        count = len(np.arange(source.shape[1])[index])
        shape = (source.shape[0], count, *source.shape[2:])
        super().__init__(shape, source.dtype, source.axes, source.name, chunk=source.chunk, metadata=source.metadata)
        self._source, self._index = source, index

    def _read(self, start, stop):
        return self._source[start:stop, self._index]

    def close(self):
        self._source.close()

"""Windows of neighbouring slices, made as they are asked for."""

import numpy as np

from tomolearn._validation import check_integer

__all__ = ["SourceWindows", "Windows", "check_n_adjacent", "windows"]


def check_n_adjacent(value) -> int:
    """``value`` as an odd integer: a window has as many slices before its middle as behind it.

    Parameters
    ----------
    value : int

    Returns
    -------
    int

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If it is not positive and odd.

    Examples
    --------
    >>> from tomolearn.base.adjacent import check_n_adjacent
    >>> check_n_adjacent(4)
    Traceback (most recent call last):
    ValueError: n_adjacent must be odd: a slice and as many on either side of it; got 4.
    """
    n_adjacent = check_integer(value, "n_adjacent", low=1)
    if n_adjacent % 2 == 0:
        raise ValueError(f"n_adjacent must be odd: a slice and as many on either side of it; got {n_adjacent}.")
    return n_adjacent


def windows(X, n_adjacent):
    """The windows around the slices of a volume, as a stack of which nothing is copied until it is indexed.

    Parameters
    ----------
    X : array-like or Source of shape (n, rows, columns)
        One ordered volume.
    n_adjacent : int
        Odd. Entry i holds the slices ``i - n_adjacent // 2`` to ``i + n_adjacent // 2``; beyond the ends of the volume
        stand its first and its last slice again.

    Returns
    -------
    Windows or SourceWindows
        Of shape (n, n_adjacent, rows, columns); the latter for a `tomolearn.io.Source`.

    Raises
    ------
    TypeError
        If ``n_adjacent`` is no integer.
    ValueError
        If ``n_adjacent`` is not positive and odd, or ``X`` is no volume.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.base import windows
    >>> stack = windows(np.arange(4.0).reshape(4, 1, 1), 3)
    >>> stack.shape, stack[np.array([0, 2])].reshape(2, 3).tolist()
    ((4, 3, 1, 1), [[0.0, 0.0, 1.0], [1.0, 2.0, 3.0]])
    """
    if hasattr(X, "read_block"):
        return SourceWindows(X, n_adjacent)
    return Windows(np.asarray(X), n_adjacent)


class Windows:
    """Windows over an array; made by `windows`.

    Parameters
    ----------
    volume : ndarray of shape (n, rows, columns)
    n_adjacent : int

    Attributes
    ----------
    shape : tuple of int
        (n, n_adjacent, rows, columns).
    ndim : int
    dtype : dtype

    Raises
    ------
    ValueError, TypeError
        If ``volume`` is no volume or ``n_adjacent`` is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.base import Windows
    >>> Windows(np.zeros((5, 2, 2)), 3)[1].shape
    (3, 2, 2)
    """

    ndim = 4

    def __init__(self, volume, n_adjacent):
        n_adjacent = check_n_adjacent(n_adjacent)
        if len(volume.shape) != 3 or 0 in volume.shape:
            raise ValueError(f"X must be one ordered volume (n, rows, columns); got shape {tuple(volume.shape)}.")
        self._volume, self._radius = volume, n_adjacent // 2
        self.shape = (volume.shape[0], n_adjacent, *volume.shape[1:])
        self.dtype = volume.dtype

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, index):
        """Windows of some slices, a copy: ``index`` is an integer, a slice, or an array of integers or truth values."""
        return self._volume[self._slices(np.arange(len(self))[index])]

    def _slices(self, centers):
        """The slices that stand in the windows around ``centers``: (..., n_adjacent)."""
        around = np.arange(-self._radius, self._radius + 1)
        return np.clip(np.asarray(centers)[..., None] + around, 0, len(self) - 1)


class SourceWindows(Windows):
    """Windows over a `tomolearn.io.Source`, from which each slice of a block is read once; made by `windows`.

    Parameters
    ----------
    volume : Source of shape (n, rows, columns)
    n_adjacent : int

    Attributes
    ----------
    name, chunk, metadata
        Those of the source.

    Raises
    ------
    ValueError, TypeError
        If ``volume`` is no volume or ``n_adjacent`` is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.base import SourceWindows
    >>> from tomolearn.io import ArraySource
    >>> SourceWindows(ArraySource(np.zeros((5, 2, 2))), 3).read_block(1, 3).shape
    (2, 3, 2, 2)
    """

    def __init__(self, volume, n_adjacent):
        super().__init__(volume, n_adjacent)
        self.name, self.chunk, self.metadata = volume.name, volume.chunk, volume.metadata

    def read_block(self, start, stop):
        """The windows around the slices ``start`` to ``stop``.

        Parameters
        ----------
        start, stop : int
            ``0 <= start <= stop <= len(windows)``; nothing is clipped.

        Returns
        -------
        ndarray of shape (stop - start, n_adjacent, rows, columns)

        Raises
        ------
        IndexError
            If the block does not lie within the stack.
        FileFormatError
            If the file is broken there.
        """
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"a block of {self.name} must lie within 0:{len(self)}; got {start}:{stop}.")
        low, high = max(0, start - self._radius), min(len(self), stop + self._radius)
        return self._volume.read_block(low, high)[self._slices(np.arange(start, stop)) - low]

    def __getitem__(self, index):
        """Windows of some slices: ``index`` is an integer, a slice, or an array of integers or truth values."""
        slices = self._slices(np.arange(len(self))[index])
        needed, where = np.unique(slices, return_inverse=True)
        return self._volume[needed][where.reshape(slices.shape)]

    def close(self):
        """Let go of the file; the next read opens it again."""
        self._volume.close()

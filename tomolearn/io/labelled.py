"""`open_labelled`: images and their masks, from memory or from files, paired and checked."""

import os
from collections.abc import Sequence

import numpy as np

from tomolearn.io._pairing import listed, pair_names
from tomolearn.io._pictures import Joined, Recent, as_source, open_picture, picture_files
from tomolearn.io.source import ArraySource

__all__ = ["LabelledImage", "LabelledImages", "open_labelled"]


def open_labelled(images, masks, *, weights=None, as_volume=False) -> "LabelledImages":
    """Images and their masks, in memory or in files of any size, paired and checked; only headers are read.

    Parameters
    ----------
    images : array-like, Source, str, path, or list of them
        An image (rows, columns); an ordered volume (n, rows, columns), as an array, a `Source`, a TIFF or BigTIFF file
        of many pages, an HDF5, Zarr ... file or ``FILE:DATASET``; windows (n, n_adjacent, rows, columns) of
        neighbouring slices as an array; a list of arrays, sources or files, of any sizes; a folder of TIFF or PNG
        files, or a pattern with ``*``.
    masks : array-like, Source, str, path, or list of them
        Whole numbers or booleans, of the same shapes but for ``n_adjacent``. Files of a list, a folder or a pattern are
        paired with those of ``images`` by name: equal stems, or equal but for one prefix and suffix that all of a side
        share, such as ``img_`` and ``mask_``. Everything else is paired by order.
    weights : as masks, default=None
        How much each pixel counts, not negative.
    as_volume : bool, default=False
        What comes as a list, a folder or a pattern are the slices of one volume, in this order, and neighbours of each
        other; else each is an image or a volume of its own.

    Returns
    -------
    LabelledImages

    Raises
    ------
    ValueError
        If images, masks and weights do not pair or differ in size; the message lists those that do.
    TypeError
        If something is neither numbers nor a path.
    FileNotFoundError
        If a file, a folder or a dataset is missing, or no file fits.
    FileFormatError
        If a file is broken, or does not hold grey values.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.io import open_labelled
    >>> images = [np.zeros((20, 30)), np.zeros((40, 50))]
    >>> masks = [np.zeros((20, 30), int), np.ones((40, 50), int)]
    >>> labelled = open_labelled(images, masks)
    >>> labelled[1].shape, labelled[1].read_mask((0, 2), (0, 3)).tolist()
    ((40, 50), [[1, 1, 1], [1, 1, 1]])
    """
    sides = {"images": _open_side(images, "images"), "masks": _open_side(masks, "masks")}
    if weights is not None:
        sides["weights"] = _open_side(weights, "weights")
    first, columns = sides["images"], []
    for kind, side in sides.items():
        if kind != "images" and first.by_name and side.by_name:
            side = side.at(pair_names(first.names, side.names, kind))
        columns.append(side)
    counts = [len(side.sources) for side in columns]
    if as_volume or (min(counts) == 1 < max(counts)):
        columns = _joined(columns, sides, as_volume)
    elif len(set(counts)) > 1:
        raise _unequal(sides, counts)
    stacks = list(zip(*(side.sources for side in columns), strict=True))
    for kind, k in zip(sides, range(len(columns)), strict=True):
        if k:
            _check_shapes(stacks, k, kind, first.n_channels)
    return LabelledImages(stacks, n_channels=first.n_channels)


class _Side:
    """The images, or the masks, or the weights: a source for each stack, and its name if it has one to pair by."""

    def __init__(self, sources, names=None, n_channels=None):
        self.sources, self.names, self.n_channels = sources, names, n_channels

    @property
    def by_name(self):
        return self.names is not None

    def at(self, order):
        return _Side([self.sources[i] for i in order], [self.names[i] for i in order])


def _open_side(given, kind):
    if isinstance(given, str | os.PathLike):
        files = picture_files(given)
        return _Side([open_picture(given)]) if files is None else _Side([open_picture(f) for f in files], files)
    if hasattr(given, "read_block"):
        return _Side([as_source(given, kind)])
    if isinstance(given, Sequence) and len(given):
        if all(isinstance(entry, str | os.PathLike) for entry in given):
            return _Side([open_picture(f) for f in given], [os.fspath(f) for f in given])
        if all(hasattr(entry, "read_block") or np.ndim(entry) >= 2 for entry in given):
            sources = [as_source(entry, f"{kind}[{i}]") for i, entry in enumerate(given)]
            return _Side(sources)
    try:
        array = np.asarray(given)
    except ValueError as error:  # rows of different lengths
        raise TypeError(f"{kind} must be arrays, sources or paths; got {type(given).__name__} ({error}).") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{kind} must be arrays, sources or paths; got {type(given).__name__} of {array.dtype}.")
    if array.ndim == 4 and kind == "images" and array.size:
        return _Side([as_source(array.reshape(-1, *array.shape[2:]), kind)], n_channels=array.shape[1])
    return _Side([as_source(array, kind)])


def _joined(columns, sides, as_volume):
    """Stacks as one volume: where that is wished, or where one side is a volume of the slices of the others."""
    joined = []
    for kind, side in zip(sides, columns, strict=True):
        if len(side.sources) > 1:
            shape = side.sources[0].shape[1:]
            other = [s.name for s in side.sources if s.shape[1:] != shape]
            if other:
                reason = "of one volume" if as_volume else "that pair with one volume"
                raise ValueError(
                    f"{kind} {reason} must have one size; {side.sources[0].name} has {shape}, others not: "
                    f"{listed(other)}."
                )
            side = _Side([Joined(side.sources, kind)], n_channels=side.n_channels)
        joined.append(side)
    counts = [len(side.sources[0]) // (side.n_channels or 1) for side in joined]
    if not as_volume and len(set(counts)) > 1:
        raise _unequal(sides, counts)
    return joined


def _unequal(sides, counts):
    found = ", ".join(f"{n} {kind}" for kind, n in zip(sides, counts, strict=True))
    return ValueError(f"{' and '.join(sides)} must be as many; got {found}. Give one mask for each image.")


def _check_shapes(stacks, k, kind, n_channels):
    wrong = []
    for stack in stacks:
        image, other = stack[0], stack[k]
        if (len(image) // (n_channels or 1), *image.shape[1:]) != other.shape:
            wrong.append(f"{image.name} {_size(image.shape, n_channels)} and {other.name} {_size(other.shape)}")
    if wrong:
        raise ValueError(
            f"images and {kind} must have one shape; {len(wrong)} of {len(stacks)} pairs differ: {listed(wrong)}. "
            "Crop or resize them, labels without interpolation."
        )


def _size(shape, n_channels=None):
    n = shape[0] // (n_channels or 1)
    return " x ".join(map(str, shape[1:] if n == 1 else (n, *shape[1:])))


class LabelledImages(Sequence):
    """Images with their masks, and weights if there are any; opened by `open_labelled`.

    Parameters
    ----------
    stacks : list of tuple of Source
        Image, mask and perhaps weight, each of shape (n_slices, rows, columns).
    n_channels : int, default=None
        Of windows: how many entries of the first source belong to one of the others.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.io import open_labelled
    >>> labelled = open_labelled(np.zeros((5, 8, 9)), np.zeros((5, 8, 9), int))
    >>> len(labelled), labelled[3].name, labelled[3].n_slices, labelled.has_weights
    (5, 'images, slice 3', 5, False)
    """

    def __init__(self, stacks, *, n_channels=None):
        self.n_channels = n_channels
        self._stacks, self._recent = [tuple(stack) for stack in stacks], Recent()
        self._items = [(k, i) for k, stack in enumerate(self._stacks) for i in range(len(stack[1]))]

    def __len__(self):
        return len(self._items)

    def __getitem__(self, index):
        k, i = self._items[index]
        return LabelledImage(self._stacks[k], i, self._recent, self.n_channels)

    @property
    def has_weights(self) -> bool:
        """Whether there is a weight for each pixel."""
        return len(self._stacks[0]) > 2

    @property
    def nbytes(self) -> int:
        """Bytes that all of it takes in memory."""
        return sum(source.nbytes for stack in self._stacks for source in stack)

    def in_memory(self) -> "LabelledImages":
        """The same in memory.

        Returns
        -------
        LabelledImages
        """
        stacks: list[list] = []
        for stack in self._stacks:
            stacks.append([])
            for source in stack:
                if not isinstance(source, ArraySource):
                    self._recent.touch(source)
                    source = ArraySource(source.read_block(0, len(source)), name=source.name)
                stacks[-1].append(source)
        return LabelledImages(stacks, n_channels=self.n_channels)

    def close(self) -> None:
        """Let go of the files until the next read."""
        for stack in self._stacks:
            for source in stack:
                source.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


class LabelledImage:
    """One image, its mask and perhaps its weights; an entry of `LabelledImages`.

    Regions are given by (first, after) of rows and of columns, and are not clipped.

    Parameters
    ----------
    stack : tuple of Source
        Image, mask and perhaps weight: the volume that the image is a slice of.
    position : int
        Which slice.
    recent : object
        Is told what is read, and closes what was not for long.
    n_channels : int, default=None
        Of a window.

    Attributes
    ----------
    name : str
        For messages.
    mask_name : str
    shape : tuple of two int
        Rows and columns.
    n_slices : int
        Of the volume that the image belongs to.
    has_weight : bool

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.io import open_labelled
    >>> volume = np.arange(3.0)[:, None, None] * np.ones((8, 9))
    >>> image = open_labelled(volume, volume > 1)[0]
    >>> image.read_image((0, 1), (4, 5), n_adjacent=3).ravel().tolist()
    [0.0, 0.0, 1.0]
    """

    def __init__(self, stack, position, recent, n_channels=None):
        self._stack, self._position, self._recent, self._n_channels = stack, position, recent, n_channels
        self.shape, self.n_slices = stack[1].shape[1:], len(stack[1])
        self.name, self.mask_name = (
            source.name if self.n_slices == 1 else f"{source.name}, slice {position}" for source in stack[:2]
        )
        self.has_weight = len(stack) > 2

    def read_image(self, rows, columns, n_adjacent=1) -> np.ndarray:
        """A region of the image and of as many neighbours on either side.

        Parameters
        ----------
        rows, columns : tuple of two int
        n_adjacent : int, default=1
            Odd. Beyond the ends of the volume stand its first and its last slice again.

        Returns
        -------
        ndarray of shape (n_adjacent, height, width)
            In the dtype of the file.

        Raises
        ------
        ValueError
            If the image is a window of another number of slices.
        IndexError
            If the region does not lie within the image.
        """
        source, i = self._stack[0], self._position
        self._recent.touch(source)
        if self._n_channels is not None:
            if n_adjacent != self._n_channels:
                raise ValueError(
                    f"images must be windows of n_adjacent={n_adjacent} slices; got {self._n_channels} slices."
                )
            return source.read_region(i * n_adjacent, (i + 1) * n_adjacent, rows, columns)
        wanted = np.clip(np.arange(i - n_adjacent // 2, i + n_adjacent // 2 + 1), 0, len(source) - 1)
        block = source.read_region(int(wanted[0]), int(wanted[-1]) + 1, rows, columns)
        return block if len(block) == n_adjacent else block[wanted - wanted[0]]

    def read_mask(self, rows, columns) -> np.ndarray:
        """A region of the mask.

        Parameters
        ----------
        rows, columns : tuple of two int

        Returns
        -------
        ndarray of shape (height, width)
            Integers or booleans.

        Raises
        ------
        ValueError
            If the mask holds fractions, NaN or infinity.
        IndexError
            If the region does not lie within the image.
        """
        mask = self._region(1, rows, columns)
        if mask.dtype.kind != "f":
            return mask
        if not (np.isfinite(mask).all() and (mask == np.trunc(mask)).all() and (np.abs(mask) < 2**53).all()):
            raise ValueError(
                f"masks must hold whole-number labels; {self.mask_name} holds fractions, NaN or infinity. Is it an "
                "image?"
            )
        return mask.astype(np.int64)

    def read_weight(self, rows, columns) -> np.ndarray | None:
        """A region of the weights; None where there are none.

        Parameters
        ----------
        rows, columns : tuple of two int

        Returns
        -------
        ndarray of shape (height, width), float32, or None

        Raises
        ------
        ValueError
            If a weight is negative, NaN or infinite.
        IndexError
            If the region does not lie within the image.
        """
        if not self.has_weight:
            return None
        weight = self._region(2, rows, columns).astype(np.float32)
        if not (np.isfinite(weight).all() and (weight >= 0).all()):
            raise ValueError(
                f"weights must be finite and not negative; {self._stack[2].name} holds others. Clip or repair them."
            )
        return weight

    def _region(self, k, rows, columns):
        self._recent.touch(self._stack[k])
        return self._stack[k].read_region(self._position, self._position + 1, rows, columns)[0]

"""Tiles of an image: what to read, what to crop, where to write. Plain numbers, no data."""

import itertools
from dataclasses import dataclass
from functools import lru_cache

from tomolearn._validation import check_integer, check_shape

__all__ = ["Tile", "TilePlan", "fit_tiles", "plan_tiles", "smallest_box"]


@dataclass(frozen=True)
class Tile:
    """One tile: its result is ``image[write] = function(image[read])[crop]``.

    Parameters
    ----------
    read : tuple of two slice
        The box that is read, along each axis; it lies within the image.
    crop : tuple of two slice
        The part of the result of ``read`` that counts.
    write : tuple of two slice
        Where that part stands in the image.

    Examples
    --------
    >>> from tomolearn.tiling import plan_tiles
    >>> tile = plan_tiles((100, 20), (50, 20), 10)[1]
    >>> tile.read[0], tile.crop[0], tile.write[0]
    (slice(40, 100, None), slice(10, 60, None), slice(50, 100, None))
    """

    read: tuple[slice, slice]
    crop: tuple[slice, slice]
    write: tuple[slice, slice]


@dataclass(frozen=True)
class TilePlan:
    """Tiles that cover an image, each pixel once; made by `plan_tiles`. A sequence of `Tile`.

    Parameters
    ----------
    shape : tuple of two int
        Of the image.
    tiles : tuple of Tile
        In the order of the image's memory.

    Examples
    --------
    >>> from tomolearn.tiling import plan_tiles
    >>> plan = plan_tiles((100, 70), (64, 64), 8)
    >>> len(plan), plan.largest_read
    (4, (72, 70))
    """

    shape: tuple[int, int]
    tiles: tuple[Tile, ...]

    def __len__(self):
        return len(self.tiles)

    def __getitem__(self, index):
        return self.tiles[index]

    def __iter__(self):
        return iter(self.tiles)

    @property
    def largest_read(self) -> tuple[int, int]:
        """Largest extent of what is read, along each axis."""
        return tuple(max(tile.read[k].stop - tile.read[k].start for tile in self.tiles) for k in (0, 1))


def plan_tiles(shape, tile_shape, halo, *, multiple=1) -> TilePlan:
    """Tiles for a function of which a pixel depends on its neighbours up to a distance.

    A tile is read with its neighbourhood, and only what does not depend on anything beyond is kept. The boxes are
    clipped to the image, so that its edges stay edges: a network continues them as it does those of the whole image.
    With a halo of at least the receptive radius of a network, and its ``multiple``, tiles give what the whole gives.

    Parameters
    ----------
    shape : tuple of two int
        Of the image.
    tile_shape : tuple of two int
        Pixels of a tile, those around it not counted. Raised to ``multiple``, lowered to the image.
    halo : int
        Pixels that are read around a tile at least.
    multiple : int, default=1
        What the origins of the boxes that are read are multiples of: a network that halves an image pools the same
        pixels then. So are their ends, but at the far edge of the image, which a network continues to a multiple
        itself; ``halo`` is enlarged for that.

    Returns
    -------
    TilePlan

    Raises
    ------
    ValueError, TypeError
        If an argument is no integer of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.ndimage import uniform_filter
    >>> from tomolearn.tiling import plan_tiles
    >>> image = np.random.default_rng(0).random((100, 70))
    >>> result = np.empty_like(image)
    >>> for tile in plan_tiles(image.shape, (32, 32), 2):
    ...     result[tile.write] = uniform_filter(image[tile.read], 5)[tile.crop]
    >>> bool(np.allclose(result, uniform_filter(image, 5)))
    True
    """
    shape, tile_shape = check_shape(shape, "shape", 2), check_shape(tile_shape, "tile_shape", 2)
    halo, multiple = check_integer(halo, "halo", low=0), check_integer(multiple, "multiple", low=1)
    axes = [_spans(n, size, halo, multiple) for n, size in zip(shape, tile_shape, strict=True)]
    return TilePlan(shape, tuple(Tile(*zip(*spans, strict=True)) for spans in itertools.product(*axes)))


def fit_tiles(shape, n_pixels, halo, *, multiple=1) -> tuple[int, int] | None:
    """The tiles of an image whose boxes hold at most so many pixels, and which read the fewest pixels in all.

    Parameters
    ----------
    shape : tuple of two int
        Of the image.
    n_pixels : float
        Most pixels of a box that is read.
    halo, multiple : int
        As for `plan_tiles`.

    Returns
    -------
    tuple of two int, or None
        ``tile_shape`` for `plan_tiles`; None where even the smallest tiles read more.

    Raises
    ------
    ValueError, TypeError
        If an argument is no integer of its range.

    Examples
    --------
    >>> from tomolearn.tiling import fit_tiles, plan_tiles
    >>> tile_shape = fit_tiles((2048, 2048), 2**20, 48, multiple=8)
    >>> plan = plan_tiles((2048, 2048), tile_shape, 48, multiple=8)
    >>> tile_shape, len(plan), plan.largest_read
    ((688, 1024), 6, (784, 1072))
    """
    halo, multiple = check_integer(halo, "halo", low=0), check_integer(multiple, "multiple", low=1)
    boxes = [_boxes(n, halo, multiple) for n in check_shape(shape, "shape", 2)]
    fitting = [
        (total * other_total, (size, other_size))
        for size, (largest, total) in boxes[0].items()
        for other_size, (other_largest, other_total) in boxes[1].items()
        if largest * other_largest <= n_pixels
    ]
    # Among equals wider tiles: their rows lie longer in memory.
    return min(fitting, key=lambda found: (found[0], -found[1][1]))[1] if fitting else None


def smallest_box(shape, halo, *, multiple=1) -> tuple[int, int]:
    """The largest of the boxes that are read for the smallest tiles of an image.

    Parameters
    ----------
    shape : tuple of two int
        Of the image.
    halo, multiple : int
        As for `plan_tiles`.

    Returns
    -------
    tuple of two int

    Raises
    ------
    ValueError, TypeError
        If an argument is no integer of its range.

    Examples
    --------
    >>> from tomolearn.tiling import smallest_box
    >>> smallest_box((2048, 30), 10, multiple=4)
    (28, 28)
    """
    halo, multiple = check_integer(halo, "halo", low=0), check_integer(multiple, "multiple", low=1)
    rows, columns = check_shape(shape, "shape", 2)
    return tuple(min(largest for largest, _ in _boxes(n, halo, multiple).values()) for n in (rows, columns))


@lru_cache(maxsize=32)  # asked for again with every block
def _boxes(n, halo, multiple):
    """{size of a tile: (largest extent read, extents read in all)} along an axis of ``n`` pixels."""
    found = {}
    for count in range(1, -(-n // multiple) + 1):
        size = _rounded(-(-n // count), multiple)
        if size not in found:
            extents = [read.stop - read.start for read, _, _ in _spans(n, size, halo, multiple)]
            found[size] = max(extents), sum(extents)
    return found


def _spans(n, size, halo, multiple):
    """(read, crop, write) of each tile along an axis of ``n`` pixels."""
    # Where a tile begins between two multiples its box would begin earlier: more is read, and nothing is won.
    size = _rounded(size, multiple)
    spans = []
    for start in range(0, n, size):
        stop = min(start + size, n)
        low = max(0, (start - halo) // multiple * multiple)
        high = min(n, _rounded(stop + halo, multiple))
        spans.append((slice(low, high), slice(start - low, stop - low), slice(start, stop)))
    return spans


def _rounded(n, multiple):
    """The least multiple that is not below ``n``."""
    return -(-n // multiple) * multiple

"""Slices that are larger than memory: bands of rows, read with what their pixels depend on, and their tiles."""

import math
from dataclasses import dataclass, replace

from tomolearn.base import parse_memory, used_memory
from tomolearn.exceptions import MemoryBudgetError
from tomolearn.streaming.plan import FIXED
from tomolearn.tiling import Tile, TilePlan, fit_tiles, plan_tiles

__all__ = ["BandPlan", "check_resumed_bands", "plan_bands"]

TILE_PIXELS = 2**20  # of the box that is read for a tile where memory is plenty: larger ones compute no less
BAND_ROWS = 1024  # of a band where memory is plenty: its halo is read twice


@dataclass(frozen=True)
class BandPlan:
    """How slices are cut: into bands of ``n_rows`` rows, these into tiles of ``tile_shape``.

    Parameters
    ----------
    shape : tuple of two int
        Of a slice.
    n_rows : int
        Of a band.
    tile_shape : tuple of two int
    halo, multiple : int
        As for `tomolearn.tiling.plan_tiles`.
    features : float
        Bytes that the features of a tile may take.
    """

    shape: tuple[int, int]
    n_rows: int
    tile_shape: tuple[int, int]
    halo: int
    multiple: int
    features: float

    def blocks(self, n_slices):
        """(slice, start, stop) of each band."""
        rows = self.shape[0]
        limits = [(start, min(start + self.n_rows, rows)) for start in range(0, rows, self.n_rows)]
        return [(number, *limit) for number in range(n_slices) for limit in limits]

    def reads(self, start, stop):
        """The rows that are read for those from ``start`` to ``stop``."""
        low = max(0, (start - self.halo) // self.multiple * self.multiple)
        return low, min(self.shape[0], -(-(stop + self.halo) // self.multiple) * self.multiple)

    def need(self, row_bytes):
        """Bytes for a band and what is read around it, given those of a row that is read and of one that is written."""
        read = min(self.shape[0], self.n_rows + 2 * (self.halo + self.multiple))
        return read * row_bytes[0] + self.n_rows * row_bytes[1] + self.features

    def tiles(self, start, stop):
        """A `TilePlan` of the band: it reads from what `reads` says, and writes to the band."""
        low, _ = self.reads(start, stop)
        columns = plan_tiles((1, self.shape[1]), (1, self.tile_shape[1]), self.halo, multiple=self.multiple)
        tiles = []
        for first in range(start, stop, self.tile_shape[0]):
            after = min(first + self.tile_shape[0], stop)
            above, below = self.reads(first, after)
            read, crop = slice(above - low, below - low), slice(first - above, after - above)
            write = slice(first - start, after - start)
            tiles += [Tile((read, t.read[1]), (crop, t.crop[1]), (write, t.write[1])) for t in columns]
        return TilePlan((stop - start, self.shape[1]), tuple(tiles))


def plan_bands(estimator, shape, row_bytes, budget, used):
    """The bands and tiles of slices that fit into a budget: as large as is of use.

    Parameters
    ----------
    estimator : ImagePredictor
        Its ``tile_halo`` is not None.
    shape : tuple of two int
        Of a slice.
    row_bytes : tuple of two float
        Bytes that a row that is read takes, and one that is written.
    budget, used : float
        Bytes that the process may hold, and those that it holds.

    Returns
    -------
    BandPlan

    Raises
    ------
    MemoryBudgetError
        If not even the smallest tiles fit.
    """
    asked, multiple = estimator.tile_shape, estimator.tile_multiple
    free = budget - used - FIXED
    bands = _bands_of(estimator, shape, asked or (multiple, multiple))
    if bands.need(row_bytes) > free:
        needed = FIXED + bands.need(row_bytes)
        raise MemoryBudgetError(
            f"memory={budget / 1e9:.2f} GB is too little: the process holds {used / 1e9:.2f} GB already, and working "
            f"on {bands.n_rows} rows of a slice takes {needed / 1e9:.2f} GB more; give at least "
            f"{(used + needed) / 1e9 + 0.01:.2f} GB."
        )
    if asked is None:
        bands = _largest_tiles(estimator, shape, row_bytes, free) or bands
    tile_rows = bands.n_rows
    while bands.n_rows + tile_rows <= min(BAND_ROWS, shape[0]):
        more = replace(bands, n_rows=bands.n_rows + tile_rows)
        if more.need(row_bytes) > free:
            break
        bands = more
    return bands


def _largest_tiles(estimator, shape, row_bytes, free):
    """Bands one tile high of the largest tiles of use that fit; None if only the smallest do."""
    pixels = min(TILE_PIXELS, estimator._pixels(free))
    while tile_shape := fit_tiles(shape, pixels, estimator.tile_halo, multiple=estimator.tile_multiple):
        bands = _bands_of(estimator, shape, tile_shape)
        if bands.need(row_bytes) <= free:
            return bands
        pixels *= 0.7
    return None


def _bands_of(estimator, shape, tile_shape):
    """Bands of one row of tiles each."""
    halo, multiple = estimator.tile_halo, estimator.tile_multiple
    tile_shape = tuple(min(-(-size // multiple) * multiple, n) for size, n in zip(tile_shape, shape, strict=True))
    along = zip(shape, tile_shape, strict=True)
    box = [plan_tiles((1, n), (1, size), halo, multiple=multiple).largest_read[1] for n, size in along]
    return BandPlan(
        tuple(shape), tile_shape[0], tile_shape, halo, multiple, 4.0 * estimator.working_copies * math.prod(box)
    )


def check_resumed_bands(bands, blocks, row_bytes, memory):
    """Refuse to go on with bands of an earlier run that are far larger than what ``memory`` allows now."""
    if memory is None:
        return
    largest = max(stop - start for _, start, stop in blocks)
    need = used_memory() + FIXED + replace(bands, n_rows=largest).need(row_bytes)
    budget = parse_memory(memory)
    if need > 1.1 * budget:  # what the process holds is not the same each time
        raise MemoryBudgetError(
            f"memory={budget / 1e9:.2f} GB is less than at the start of the run that is resumed: it works on {largest} "
            f"rows at a time, which takes {need / 1e9 + 0.01:.2f} GB; give that, or run without resume."
        )

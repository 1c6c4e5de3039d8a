"""Prediction of images block by block and, where memory is short, tile by tile."""

import math
import threading
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from tomolearn.base.adjacent import check_n_adjacent
from tomolearn.base.images import ImageInput
from tomolearn.base.memory import available_memory, check_memory, reused_memory
from tomolearn.base.slabs import OnDevices, free_memory, run_slabs
from tomolearn.base.stacks import BLOCK
from tomolearn.exceptions import MemoryBudgetError
from tomolearn.tiling import fit_tiles, plan_tiles, smallest_box

__all__ = ["ImagePredictor"]

BLOCK_PIXELS = 2**24  # of the slices that are converted at a time
AT_ONCE = 2**18  # pixels that a network is given at a time where images or tiles are smaller: fills the caches


def _same(part):
    return part


def _rows_of(slab):
    some, tile = slab
    return f"rows {tile.write[0].start} to {tile.write[0].stop - 1} of the slices from {some.start} on"


def _as_array(part):
    return part.cpu().numpy() if isinstance(part, torch.Tensor) else part


class ImagePredictor(OnDevices, ImageInput):
    """Predicts something for each pixel of a slice from that slice and its neighbours.

    A subclass has the parameters ``image_shape`` and ``verbose``, and ``n_adjacent`` where it sees neighbours. It
    defines ``_predict_windows(windows)``: a tensor (k, n_adjacent, rows, columns) in the unit of ``X``, float32 or
    float64, a view that must not be written to, gives one of (k, rows, columns), or of (k, rows, columns, n_classes),
    in any dtype, whatever the number of rows and columns. It says how it may be cut into tiles and what it needs:

    ``tile_halo``
        Distance of the farthest pixel that a pixel depends on, the ``receptive_radius`` of a network; None where that
        is the whole image, which is not cut then.
    ``tile_multiple``
        What the origins of tiles must be multiples of, the ``size_multiple`` of a network.
    ``tile_shape``
        A parameter, if at all; None: tiles only where the memory asks for them, as large as it allows.
    ``working_copies``
        How many float32 images the prediction of one takes at the same time, features and windows.
    ``_devices()``
        Where ``_predict_windows`` is called: it is given its windows there, and leaves there what it predicts.

    ``_predict_block(block, n_before, n_after, memory=None)`` is what reads volumes from files calls: tensor
    (n_before + k + n_after, rows, columns) -> ndarray (k, ...), in at most ``memory`` bytes beside its input and
    output. Fewer than ``n_adjacent // 2`` slices before or after say that the volume ends there. With ``tiles``, a
    `tomolearn.tiling.TilePlan`, it works on those; its shape is that of the result, and the block may be larger. With
    ``convert``, functions of what ``_predict_windows`` gives, cropped, it gives a list of what these make of it, each
    (k, rows, columns, ...): labels of classes without their probabilities ever being in memory for more than a tile.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from tomolearn.base import ImagePredictor
    >>> class Mean(ImagePredictor):
    ...     n_adjacent, tile_halo = 3, 0
    ...
    ...     def _predict_windows(self, windows):
    ...         return windows.mean(1)
    >>> volume = torch.arange(3.0).reshape(3, 1, 1)
    >>> Mean()._predict_block(volume, 1, 0).ravel()
    array([1.       , 1.6666666], dtype=float32)
    """

    verbose: int
    tile_halo: int | None = None
    tile_multiple = 1
    tile_shape: Any = None
    working_copies = 8

    def _predict_windows(self, windows):
        raise NotImplementedError

    def _predict_block(self, block, n_before, n_after, *, memory=None, tiles=None, convert=None):
        n_adjacent = check_n_adjacent(self.n_adjacent)
        first, last = n_before - n_adjacent // 2, len(block) - n_after + n_adjacent // 2
        if first >= 0 and last <= len(block):
            block = block[first:last]
        else:
            block = block[torch.arange(first, last).clamp(0, len(block) - 1)]
        results = self._predict_tiles(block.unfold(0, n_adjacent, 1).movedim(-1, 1), memory, tiles, convert or [_same])
        return results if convert else results[0]

    def _predict_stack(self, X, dtype):
        """The prediction for checked ``X``, (n, rows, columns, ...); in ``dtype``, if what is predicted is floating."""
        n, shape = len(X), self._entry_shape(X)
        step = max(1, min(BLOCK, BLOCK_PIXELS // math.prod(shape)))
        radius = 0 if len(shape) == 3 else check_n_adjacent(self.n_adjacent) // 2
        results = None
        disable = None if self.verbose else True  # None: a bar on a terminal, nothing in a log file
        with reused_memory(), tqdm(total=n, unit="slice", desc=type(self).__name__, disable=disable) as bar:
            for start in range(0, n, step):
                stop = min(start + step, n)
                low, high = max(0, start - radius), min(n, stop + radius)
                block = self._block(X, slice(low, high))
                if len(shape) == 3:
                    part = self._predict_tiles(block)[0]
                else:
                    part = self._predict_block(block, start - low, high - stop)
                if results is None:
                    dtype = dtype if part.dtype.kind == "f" else part.dtype
                    self._check_results(n, part.shape[1:], dtype.itemsize)
                    results = np.empty((n, *part.shape[1:]), dtype)
                results[start:stop] = part
                bar.update(stop - start)
        return results

    def _check_results(self, n, shape, itemsize):
        check_memory(
            float(n) * math.prod(shape) * itemsize,
            f"predictions of shape {shape} for {n} slices",
            "Take fewer slices at once, or predict_volume, from file to file.",
        )

    def _predict_tiles(self, windows, memory=None, plan=None, convert=(_same,)):
        """What ``convert`` makes of the predictions, as arrays; from tiles where the whole does not fit in memory."""
        devices = self._devices()
        workers = self._on_each(devices)  # before memory is counted: networks take some
        at_once = 1
        if plan is None:
            pixels = self._pixels(memory)
            plan = self._plan_tiles(tuple(windows.shape[2:]), pixels)
            at_once = max(1, int(min(AT_ONCE, pixels)) // math.prod(plan.largest_read))
        lock = threading.Lock()
        results: list[np.ndarray] = []
        starts = range(0, len(windows), at_once)
        slabs = [(slice(start, start + at_once), tile) for start in starts for tile in plan]

        def load(slab):
            read = windows[(slab[0], slice(None), *slab[1].read)]
            return read if read.is_floating_point() else read.to(torch.float32)

        def compute(k, slab, read):
            part = workers[k]._predict_windows(read)[(slice(None), *slab[1].crop)].detach()
            return [one(part) for one in convert]

        def store(slab, parts):
            arrays = [_as_array(part) for part in parts]
            with lock:
                if not results:
                    shape = (len(windows), *plan.shape)
                    results.extend(np.empty((*shape, *array.shape[3:]), array.dtype) for array in arrays)
            for result, array in zip(results, arrays, strict=True):
                result[(slab[0], *slab[1].write)] = array

        run_slabs(slabs, load, compute, store, devices, name=_rows_of)
        return results

    def _pixels(self, memory):
        """How many pixels can be worked on at a time; ``memory`` None: in half of what is free."""
        on_devices = min(map(free_memory, self._devices()))  # where two slabs are under way: one is being copied
        memory = min(available_memory() / 2 if memory is None else memory, on_devices / 2)
        return memory / (4 * self.working_copies)

    def _plan_tiles(self, shape, pixels):
        """The tiles of an image: one where it is small enough, or cannot be cut."""
        halo, multiple, asked = self.tile_halo, self.tile_multiple, self.tile_shape
        if asked is not None and halo is None:
            raise ValueError(
                f"tile_shape must be None for a network by which each pixel depends on the whole image; got {asked!r}."
            )
        if asked is not None:
            return plan_tiles(shape, asked, halo, multiple=multiple)
        if math.prod(shape) <= pixels:
            return plan_tiles(shape, shape, 0)
        tile_shape = None if halo is None else fit_tiles(shape, pixels, halo, multiple=multiple)
        if tile_shape is None:
            smallest = self._smallest_box(shape)
            size = 4e-9 * self.working_copies  # GB of a pixel
            raise MemoryBudgetError(
                f"working on {smallest[0]} x {smallest[1]} pixels of an image of {shape[0]} x {shape[1]}, the fewest "
                f"that {type(self).__name__} can, takes {size * math.prod(smallest):.2f} GB; {size * pixels:.2f} GB "
                "are allowed. Free memory, or take a network of fewer channels."
            )
        return plan_tiles(shape, tile_shape, halo, multiple=multiple)

    def _smallest_box(self, shape):
        """The fewest pixels of an image that can be worked on at a time."""
        if self.tile_shape is not None or self.tile_halo is None:
            return self._plan_tiles(shape, math.inf).largest_read
        return smallest_box(shape, self.tile_halo, multiple=self.tile_multiple)

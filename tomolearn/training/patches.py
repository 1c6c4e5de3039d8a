"""`PatchSamples`: patches of labelled images, streamed from files, as the training engine takes samples."""

import copy
import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from tomolearn._validation import check_finite, check_integer, check_real, check_shape
from tomolearn.base import available_memory
from tomolearn.base.adjacent import check_n_adjacent
from tomolearn.training import _distributed as distributed
from tomolearn.training._cutting import DRAWS, Cutter, turned
from tomolearn.training._label_index import IGNORE, LabelIndex
from tomolearn.training._labelled_part import LabelledPart, statistics, without
from tomolearn.training._places import Places

__all__ = ["IGNORE", "PatchSamples"]

DEFAULT = 256  # rows and columns of a patch
WINDOW = 2**28  # bytes of patches of files that are mixed with each other
RUN = 64  # neighbouring patches that stay together in a window, at most
AHEAD = 2**26  # bytes of batches that are read ahead


class PatchSamples:
    """Patches of images and the class of each pixel, read while the network learns from those before.

    Drop-in for `Samples` in ``Engine.train``. Batches are (x, y), or (x, y, weight) where the images came with weights:
    ``x`` (k, n_adjacent, height, width) float32, normalised; ``y`` (k, height, width) int64, positions in ``classes``
    or `IGNORE` (-1) where no label counts; ``weight`` (k, height, width) float32.

    Patches of a training (`shuffled`) are drawn at random from the generator of the engine. In an epoch they cover the
    area once: each axis is divided into as many equal ranges of positions as patches fit, and each range gives one.
    Those of a validation (`in_order`) are fixed tiles, in which each labelled pixel counts once. Patches without any
    labelled pixel are left out.

    Parameters
    ----------
    labelled : LabelledImages
        From `tomolearn.io.open_labelled`. The masks are read once at the beginning.
    patch_shape : tuple of two int, default=None
        Rows and columns. None: 256 x 256, or those of the smallest image or box where they are less.
    overlap : int or tuple of two int, default=None
        None: patches at random places. A number: the patches of `tomolearn.ops.extract_patches` with this overlap; what
        reaches over the edge is the mirrored image without labels.
    patch_range : sequence, default=None
        What to learn from, in each image: numbers of patches of the grid with ``overlap`` (None: 0), from 0, left to
        right, then top to bottom; or boxes (row0, row1, column0, column1), row1 and column1 exclusive, that no patch
        leaves. None: everything.
    n_adjacent : int, default=1
        Odd: slices of a volume seen together.
    classes : array-like of int, default=None
        None: the labels that are found, at least two. If given, any other label is an error.
    ignore_label : int, default=None
        Label of pixels that are not labelled.
    oversample_rare : float, default=0.0
        Share of the patches of an epoch that have a pixel of a rare class in their middle, as near as the edges allow
        (with ``overlap``: somewhere). Rare are classes of less than 1 / n_classes of the labelled pixels; each gets as
        many, and each pixel of a class is as likely.
    flips : bool, default=True
        Reflect the patches of a training at random and, if they are square, turn them by quarters.
    repeat : int, default=1
        How often an epoch covers the area.
    mean, scale : float, default=0.0 and 1.0
        Subtracted from the images, then divided by.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,), int64
        Ascending.
    class_counts : ndarray of shape (n_classes,), int64
        Labelled pixels of each class, in these patches.
    patch_shape : tuple of two int
    has_weights : bool

    Raises
    ------
    ValueError
        If a patch is larger than an image, ``patch_range`` is empty or leaves an image, a mask holds fractions, more
        than 256 labels or one that ``classes`` does not name, no pixel is labelled, there is only one class, or a
        parameter is out of its range.
    TypeError
        If a parameter is of a wrong type.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.io import open_labelled
    >>> from tomolearn.training import PatchSamples
    >>> image = np.random.default_rng(0).random((100, 80), np.float32)
    >>> samples = PatchSamples(open_labelled(image, image > 0.9), patch_shape=(32, 32))
    >>> len(samples), samples.classes
    (12, array([0, 1]))
    >>> (x, y), weight, n = next(samples.shuffled(4, np.random.default_rng(0)))
    >>> x.shape, y.shape
    (torch.Size([4, 1, 32, 32]), torch.Size([4, 32, 32]))
    """

    def __init__(
        self,
        labelled,
        *,
        patch_shape=None,
        overlap=None,
        patch_range=None,
        n_adjacent=1,
        classes=None,
        ignore_label=None,
        oversample_rare=0.0,
        flips=True,
        repeat=1,
        mean=0.0,
        scale=1.0,
    ):
        self.has_weights = labelled.has_weights
        self._n_adjacent = check_n_adjacent(n_adjacent)
        self._share = check_real(oversample_rare, "oversample_rare", low=0.0, high=1.0)
        self._repeat = check_integer(repeat, "repeat", low=1)
        if not isinstance(flips, bool):
            raise TypeError(f"flips must be True or False; got {flips!r}.")
        self._flips, self._mean, self._scale = flips, float(mean), float(scale)
        shape = None if patch_shape is None else check_shape(patch_shape, "patch_shape", 2)
        grid = Places(labelled, shape, overlap, patch_range, DEFAULT)
        index = LabelIndex(labelled, classes, ignore_label, grid.cover)
        self.patch_shape, self.classes = grid.patch_shape, index.classes
        n_labels = np.count_nonzero(sum(counts.sum((0, 1), dtype=np.int64) for counts in index.counts))
        if n_labels == 0 or (n_labels == 1 and classes is None):
            found = f"only {self.classes.tolist()}" if n_labels else "no labelled pixel"
            where = "" if patch_range is None else " within patch_range"
            raise ValueError(
                f"masks must hold at least two classes to tell apart; found {found}{where} with "
                f"ignore_label={ignore_label}. Label pixels of another class, or change ignore_label."
            )
        self._settle(LabelledPart(labelled, index, grid, [[(0, image.shape[0])] for image in labelled]))

    def _settle(self, part):
        """What follows from the part of the labels that counts."""
        self._part, self.class_counts = part, part.class_counts
        self._places = part.with_labels(part.grid.places, reach=True)
        self._tiles = part.with_labels(part.grid.tiles(), reach=False)
        self._cutter = Cutter(part, self._n_adjacent, self._flips, self._share)

    def __len__(self):
        return len(self._places) * self._repeat

    @property
    def n_distinct(self) -> int:
        """Fixed tiles, those of `in_order`."""
        return len(self._tiles)

    # ------------------------------------------------------------------------------------- other samples from these

    def _like(self, **changes):
        samples = copy.copy(self)
        for name, value in changes.items():
            setattr(samples, f"_{name}", value)
        return samples

    def normalised(self, mean, scale) -> "PatchSamples":
        """The same patches with another normalisation.

        Parameters
        ----------
        mean, scale : float
            Subtracted, then divided by.

        Returns
        -------
        PatchSamples
        """
        return self._like(mean=float(mean), scale=float(scale))

    def load_if_small(self) -> "PatchSamples":
        """The same patches of images in memory, if these take a quarter of what is free at most. Their order stays.

        Returns
        -------
        PatchSamples
        """
        if self._part.labelled.nbytes > available_memory() / 4:
            return self
        part = self._part.with_images(self._part.labelled.in_memory())
        return self._like(part=part, cutter=self._cutter.with_images(part))

    def subset(self, index) -> "PatchSamples":
        """Patches of some of the images only; the classes stay.

        Parameters
        ----------
        index : array-like of int
            Of images.

        Returns
        -------
        PatchSamples
        """
        chosen = set(np.asarray(index).tolist())
        return self._within([pairs if k in chosen else [] for k, pairs in enumerate(self._part.spans)])

    def _within(self, spans):
        """The samples whose labels count within these rows of each image."""
        samples = self._like()
        samples._settle(self._part.within(spans))
        return samples

    def held_out(self, fraction, rng) -> tuple:
        """Patches to learn from and patches to validate with.

        Of several images, a share is held out; where that is less than one, a band of rows of each. Of some choices the
        one is taken whose classes have shares most like those of the whole. The images of a patch stay whole: labels of
        the other part are `IGNORE`.

        Parameters
        ----------
        fraction : float
            Share that is held out, in (0, 1).
        rng : numpy Generator

        Returns
        -------
        training : PatchSamples
        validation : PatchSamples or None
            None where there is nothing that can be held out.

        Raises
        ------
        ValueError, TypeError
            If ``fraction`` is no number in (0, 1).
        """
        check_real(fraction, "fraction", low=0.0, high=1 - 1e-9, open_low=True)
        bands = self._part.representative(fraction, rng)
        rest = [without(pairs, band) for pairs, band in zip(self._part.spans, bands, strict=True)]
        parts = self._within(rest), self._within(bands)
        return parts if all(part.class_counts.sum() for part in parts) else (self, None)

    # -------------------------------------------------------------------------------------------------- statistics

    def statistics(self, *, labelled_only=False) -> tuple:
        """Mean and standard deviation of the images, read once in pieces.

        Parameters
        ----------
        labelled_only : bool, default=False
            Of labelled pixels only.

        Returns
        -------
        mean, scale : float
            The latter is 1 where the images are constant.

        Raises
        ------
        ValueError
            If images hold NaN or infinity; the message lists them.
        """
        mean, scale = statistics(self._part, labelled_only)
        return mean, scale if scale > 1e-7 * abs(mean) and scale > 0 else 1.0

    # ----------------------------------------------------------------------------------------------------- batches

    def n_batches(self, batch_size) -> int:
        """How many batches `shuffled` gives.

        Parameters
        ----------
        batch_size : int

        Returns
        -------
        int
        """
        return -(-len(self) // batch_size)

    def entries(self, positions):
        """Some of the fixed tiles.

        Parameters
        ----------
        positions : ndarray of int

        Returns
        -------
        tuple of Tensor
        """
        return self._batch([self._cutter.tile(row) for row in self._tiles[np.asarray(positions)]])

    def in_order(self, batch_size=None):
        """Batches of the fixed tiles, each process its share.

        Parameters
        ----------
        batch_size : int, default=None
            None: 16.

        Yields
        ------
        batch : tuple of Tensor
        weight : float
            Tiles of the batch that this process counts.
        """
        size = 16 if batch_size is None else batch_size
        jobs = []
        for start in range(0, len(self._tiles), size):
            own, weight = distributed.share(np.arange(start, min(start + size, len(self._tiles))))
            jobs.append((own, float(len(own) if weight else 0)))
        yield from self._ahead(jobs, self.entries, size)

    def shuffled(self, batch_size, rng, skip=0):
        """An epoch of patches drawn at random; each process has a share of each batch.

        All draws are made at the beginning, so that a training that goes on after ``skip`` batches sees the same ones.

        Parameters
        ----------
        batch_size : int
        rng : numpy Generator
            The same in all processes.
        skip : int, default=0
            Batches at the beginning that are left out, unread.

        Yields
        ------
        batch : tuple of Tensor
        weight : float
            Share of this process in the batch.
        n : int
            Patches of the whole batch.
        """
        order, draws = self._order(rng), rng.random((len(self), DRAWS))
        jobs = []
        for start in range(skip * batch_size, len(order), batch_size):
            stop = min(start + batch_size, len(order))
            own, weight = distributed.share(np.arange(start, stop))
            jobs.append((own, weight, stop - start))

        def make(own):
            return self._batch([self._cutter.patch(self._places[order[i]], draws[i]) for i in own])

        yield from self._ahead(jobs, make, batch_size)

    def _ahead(self, jobs, make, batch_size):
        """``make(job[0])`` and the rest of each job, made by a thread some batches ahead."""
        entry = 4 * math.prod(self.patch_shape) * (self._n_adjacent + 2 + self.has_weights)
        depth = int(np.clip(AHEAD // (entry * batch_size), 1, 8))
        reader = ThreadPoolExecutor(1)
        waiting: deque[tuple] = deque()
        try:
            for job in jobs:
                waiting.append((reader.submit(make, job[0]), *job[1:]))
                if len(waiting) > depth:
                    made, *rest = waiting.popleft()
                    yield made.result(), *rest
            while waiting:
                made, *rest = waiting.popleft()
                yield made.result(), *rest
        finally:  # also where the training stops within an epoch
            reader.shutdown(wait=True, cancel_futures=True)

    def _order(self, rng):
        """Patches of an epoch: runs of neighbours are mixed within windows, so that few files are read at a time."""
        # The order depends on the data alone, not on the memory that is free: a resumed training draws the same.
        entry = math.prod(self.patch_shape) * (4 * self._n_adjacent + 2 + 4 * self.has_weights)
        n, most = len(self._places), max(RUN, WINDOW // entry)
        windows = [np.arange(n)]
        if n > most:
            run = min(RUN, math.isqrt(most))
            runs = np.split(windows[0], range(run, n, run))
            windows = np.split(np.concatenate([runs[k] for k in rng.permutation(len(runs))]), range(most, n, most))
        return np.concatenate([rng.permutation(np.repeat(window, self._repeat)) for window in windows])

    def _batch(self, parts):
        """Tensors of (image number, image, labels, weight, orientation)."""
        x = np.empty((len(parts), self._n_adjacent, *self.patch_shape), np.float32)
        y = np.empty((len(parts), *self.patch_shape), np.int64)
        stacks = [x, y]
        if self.has_weights:
            stacks.append(np.empty(y.shape, np.float32))
        for i, (_, *arrays, kind) in enumerate(parts):
            for stack, array in zip(stacks, arrays, strict=False):
                stack[i] = turned(array, kind)
        tensors = tuple(torch.from_numpy(stack) for stack in stacks)
        if not bool(torch.isfinite(tensors[0].sum())):
            for part, image in zip(parts, tensors[0], strict=True):
                check_finite(image, self._part.labelled[part[0]].name, "Repair it, or leave it out.")
        tensors[0].sub_(self._mean).div_(self._scale)
        return tensors

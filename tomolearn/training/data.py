"""`Samples`: stacks that belong together, read in shuffled batches from memory or from files."""

import math
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from tomolearn._validation import as_tensor, check_finite, check_integer
from tomolearn.base import available_memory
from tomolearn.training import _distributed as distributed

__all__ = ["Samples"]

RUN = 64  # neighbouring samples that a file is asked for at a time, at most
WINDOW = 2**30  # bytes of samples of files that are mixed with each other; while one window is used the next is read
READ = 2**28  # bytes that are read at a time in order


class Samples:
    """Stacks of one length whose entries belong together, such as sinograms and images.

    Arrays are shuffled as a whole. Of a `tomolearn.io.Source`, runs of at most 64 neighbouring samples are drawn at
    random and mixed with each other in windows of about 1 GiB as float32; a smaller one is shuffled as a whole.

    Parameters
    ----------
    *stacks : ndarray or Source of shape (n, ...)
        Converted to float32 batch by batch.
    index : array-like of int, default=None
        The samples that count, ascending; None: all.
    repeat : int, default=1
        How often each sample comes in an epoch: more than once where random parts are cut from it. The length counts
        the repetitions.

    Raises
    ------
    ValueError
        If the stacks differ in length, or ``repeat`` is less than 1.
    TypeError
        If ``repeat`` is not an integer.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.training import Samples
    >>> samples = Samples(np.arange(6.0), -np.arange(6.0))
    >>> [(x.tolist(), y.tolist()) for (x, y), _ in samples.in_order(4)]
    [([0.0, 1.0, 2.0, 3.0], [-0.0, -1.0, -2.0, -3.0]), ([4.0, 5.0], [-4.0, -5.0])]
    """

    def __init__(self, *stacks, index=None, repeat=1):
        lengths = [len(stack) for stack in stacks]
        if len(set(lengths)) != 1:
            raise ValueError(f"X and y must have one entry per sample; got {' and '.join(map(str, lengths))}.")
        self._repeat = check_integer(repeat, "repeat", low=1)
        self._stacks = stacks
        self._index = np.arange(lengths[0]) if index is None else np.asarray(index)
        self._held = not any(hasattr(stack, "read_block") for stack in stacks)
        self._entry = sum(4.0 * np.prod(stack.shape[1:], dtype=float) for stack in stacks)  # bytes of a sample
        # The order depends on the data alone, not on the memory that is free: another process draws the same, and so
        # does a training that is resumed.
        self._run, self._window = (1, sys.maxsize) if self._held else _plan(self._entry)

    def __len__(self):
        return self.n_distinct * self._repeat

    @property
    def n_distinct(self) -> int:
        """Samples without repetitions."""
        return len(self._index)

    def subset(self, index) -> "Samples":
        """Some of the samples, repeated as these are.

        Parameters
        ----------
        index : array-like of int
            Ascending positions among these samples, repetitions not counted.

        Returns
        -------
        Samples
        """
        return self._like(self._stacks, self._index[np.asarray(index)])

    def load_if_small(self) -> "Samples":
        """The samples in memory, if they take a quarter of what is free at most; else these. Their order stays.

        Returns
        -------
        Samples
        """
        if self._held or self._entry * self.n_distinct > available_memory() / 4:
            return self
        return self._like(self._load(np.arange(self.n_distinct))._stacks)

    def _like(self, stacks, index=None):
        """Other samples that are drawn in the way of these."""
        samples = Samples(*stacks, index=index, repeat=self._repeat)
        samples._run, samples._window = self._run, self._window
        return samples

    def in_order(self, batch_size=None):
        """Batches in the order of the samples, without repetitions, each process its share.

        Parameters
        ----------
        batch_size : int, default=None
            None: as many as take about 256 MiB, at most 256.

        Yields
        ------
        batch : tuple of Tensor, float32
        weight : float
            The batch's (this process' share of) samples, as a number; 0 for a stand-in of another process' sample.
        """
        if batch_size is None:
            batch_size = int(min(256, max(1, READ // max(1, self._entry))))
        for start in range(0, self.n_distinct, batch_size):
            own, weight = distributed.share(np.arange(start, min(start + batch_size, self.n_distinct)))
            count = len(own) if weight else 0
            yield self.entries(own), float(count)

    def shuffled(self, batch_size, rng, skip=0):
        """Every sample once, or ``repeat`` times, in batches drawn at random; each process has a share of each batch.

        Parameters
        ----------
        batch_size : int
        rng : numpy Generator
            The same in all processes.
        skip : int, default=0
            Batches at the beginning that are left out, unread.

        Yields
        ------
        batch : tuple of Tensor, float32
        weight : float
            Share of this process in the batch.
        n : int
            Samples of the whole batch.
        """
        windows = self._windows(rng)
        with ThreadPoolExecutor(1) as reader:
            loading = None
            for k, window in enumerate(windows):
                order = rng.permutation(len(window) * self._repeat) // self._repeat
                starts = range(0, len(order), batch_size)
                if skip >= len(starts):
                    skip -= len(starts)
                    continue
                held = self if self._held else (loading.result() if loading else self._load(window))
                if not self._held and k + 1 < len(windows):
                    loading = reader.submit(self._load, windows[k + 1])
                positions = window[order] if self._held else order
                for start in starts[skip:]:
                    batch = positions[start : start + batch_size]
                    own, weight = distributed.share(batch)
                    yield held.entries(own), weight, len(batch)
                skip = 0

    def n_batches(self, batch_size) -> int:
        """How many batches `shuffled` gives.

        Parameters
        ----------
        batch_size : int

        Returns
        -------
        int
        """
        full, rest = divmod(self.n_distinct, self._window)
        return full * -(-self._window * self._repeat // batch_size) + -(-rest * self._repeat // batch_size)

    def _windows(self, rng):
        """Positions of the samples, split into those that are mixed with each other."""
        positions = np.arange(self.n_distinct)
        if self.n_distinct <= self._window:
            return [positions]
        runs = [positions[start : start + self._run] for start in range(0, len(positions), self._run)]
        positions = np.concatenate([runs[k] for k in rng.permutation(len(runs))])
        return [positions[start : start + self._window] for start in range(0, len(positions), self._window)]

    def _load(self, positions):
        """The samples at ``positions`` in memory, in this order, read run by run."""
        stacks = [np.empty((len(positions), *stack.shape[1:]), np.float32) for stack in self._stacks]
        breaks = np.flatnonzero(np.diff(positions) != 1) + 1
        at = 0
        for run in np.split(positions, breaks):
            for start in range(0, len(run), self._run):
                part = run[start : start + self._run]
                for stack, entries in zip(stacks, self.entries(part), strict=True):
                    stack[at : at + len(part)] = entries
                at += len(part)
        return Samples(*stacks)

    def entries(self, positions):
        """Some samples.

        Parameters
        ----------
        positions : ndarray of int
            Among these samples, repetitions not counted.

        Returns
        -------
        tuple of Tensor, float32
        """
        return tuple(_entries(stack, self._index[positions], k) for k, stack in enumerate(self._stacks))


def _plan(entry: float) -> tuple[int, int]:
    """Samples of a run and of a window, for samples of ``entry`` bytes: as many runs as a run has samples, or more."""
    most = max(4, int(WINDOW // max(1.0, entry)))
    run = min(RUN, math.isqrt(most)) if most > 8 else 1
    return run, most // run * run


def _entries(stack, index, k):
    """Entries of a stack as float32; those of a file in one read where they lie close together."""
    if not hasattr(stack, "read_block"):
        return as_tensor(stack[index], "X" if k == 0 else "y")[0].to(torch.float32)
    low, high = int(index.min()), int(index.max()) + 1
    near = high - low <= 4 * len(index)
    part = stack.read_block(low, high)[index - low] if near else stack[index]
    tensor = as_tensor(part, stack.name)[0].to(torch.float32)
    check_finite(tensor, f"{stack.name}, samples {low} to {high - 1},", "Repair them, or leave them out.")
    return tensor

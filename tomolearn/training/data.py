"""`Samples`: stacks that belong together, read in shuffled batches from memory or from files."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from tomolearn._validation import as_tensor, check_finite
from tomolearn.base import available_memory
from tomolearn.training import _distributed as distributed

__all__ = ["Samples"]

RUN = 64  # neighbouring samples that a file is asked for at a time
WINDOW = 64  # runs that are mixed with each other: what is shuffled where the whole is larger than memory


class Samples:
    """Stacks of one length whose entries belong together, such as sinograms and images.

    Stacks in memory are shuffled as a whole. Where a `tomolearn.io.Source` is too large for a quarter of the free
    memory, runs of 64 neighbouring samples are drawn at random and mixed with 63 other runs.

    Parameters
    ----------
    *stacks : ndarray or Source of shape (n, ...)
        Converted to float32 batch by batch.
    index : array-like of int, default=None
        The samples that count, ascending; None: all.

    Raises
    ------
    ValueError
        If the stacks differ in length.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.training import Samples
    >>> samples = Samples(np.arange(6.0), -np.arange(6.0))
    >>> [(x.tolist(), y.tolist()) for (x, y), _ in samples.in_order(4)]
    [([0.0, 1.0, 2.0, 3.0], [-0.0, -1.0, -2.0, -3.0]), ([4.0, 5.0], [-4.0, -5.0])]
    """

    def __init__(self, *stacks, index=None):
        lengths = [len(stack) for stack in stacks]
        if len(set(lengths)) != 1:
            raise ValueError(f"X and y must have one entry per sample; got {' and '.join(map(str, lengths))}.")
        self._stacks = stacks
        self._index = np.arange(lengths[0]) if index is None else np.asarray(index)
        self._held = not any(hasattr(stack, "read_block") for stack in stacks)

    def __len__(self):
        return len(self._index)

    def subset(self, index) -> "Samples":
        """Some of the samples.

        Parameters
        ----------
        index : array-like of int
            Ascending positions among these samples.

        Returns
        -------
        Samples
        """
        return Samples(*self._stacks, index=self._index[np.asarray(index)])

    def load_if_small(self) -> "Samples":
        """The samples in memory, if they fit there comfortably; else these.

        Returns
        -------
        Samples
        """
        entry = sum(4.0 * np.prod(stack.shape[1:], dtype=float) for stack in self._stacks)
        if self._held or entry * len(self) > available_memory() / 4:
            return self
        stacks = [np.empty((len(self), *stack.shape[1:]), np.float32) for stack in self._stacks]
        for start in range(0, len(self), RUN):
            for stack, part in zip(stacks, self.entries(np.arange(start, min(start + RUN, len(self)))), strict=True):
                stack[start : start + RUN] = part
        return Samples(*stacks)

    def in_order(self, batch_size):
        """Batches in the order of the samples, each process its share.

        Parameters
        ----------
        batch_size : int

        Yields
        ------
        batch : tuple of Tensor, float32
        weight : float
            The batch's (this process' share of) samples, as a number; 0 for a stand-in of another process' sample.
        """
        for start in range(0, len(self), batch_size):
            own, weight = distributed.share(np.arange(start, min(start + batch_size, len(self))))
            count = len(own) if weight else 0
            yield self.entries(own), float(count)

    def shuffled(self, batch_size, rng, skip=0):
        """Every sample once, in batches drawn at random; each process gets its share of each batch.

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
                order = rng.permutation(len(window))
                starts = range(0, len(window), batch_size)
                if skip >= len(starts):
                    skip, loading = skip - len(starts), None
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
        if self._held:
            return -(-len(self) // batch_size)
        most = RUN * WINDOW
        full, rest = divmod(len(self), most)
        return full * -(-most // batch_size) + -(-rest // batch_size)

    def _windows(self, rng):
        """Positions of the samples in the order in which they are held in memory, split where they are not."""
        if self._held:
            return [np.arange(len(self))]
        positions = np.arange(len(self))
        runs = [positions[start : start + RUN] for start in range(0, len(self), RUN)]
        positions = np.concatenate([runs[k] for k in rng.permutation(len(runs))])
        return [positions[start : start + RUN * WINDOW] for start in range(0, len(self), RUN * WINDOW)]

    def _load(self, positions):
        """The samples at ``positions`` in memory, in this order, read run by run."""
        stacks = [np.empty((len(positions), *stack.shape[1:]), np.float32) for stack in self._stacks]
        breaks = np.flatnonzero(np.diff(positions) != 1) + 1
        at = 0
        for run in np.split(positions, breaks):
            for stack, part in zip(stacks, self.entries(run), strict=True):
                stack[at : at + len(run)] = part
            at += len(run)
        return Samples(*stacks)

    def entries(self, positions):
        """Some samples.

        Parameters
        ----------
        positions : ndarray of int
            Among these samples.

        Returns
        -------
        tuple of Tensor, float32
        """
        return tuple(_entries(stack, self._index[positions], k) for k, stack in enumerate(self._stacks))


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

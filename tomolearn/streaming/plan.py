"""How many slices are worked on at a time: as many as a memory budget allows, in steps that the file likes."""

import torch

from tomolearn.base import available_memory, parse_memory, used_memory
from tomolearn.exceptions import MemoryBudgetError

__all__ = ["plan_blocks"]

PACK = 32  # slices that the operators take at once; larger blocks only help files whose chunks span many slices
SLABS = 4  # packs of a block for each device: while one is computed, the next and the last are copied
FIXED = 160 * 10**6  # bytes beside the blocks: chunk caches, spectra, temporary copies of single slices


def check_resumed(blocks, slice_bytes, memory, n_halo=0):
    """Refuse to go on with blocks of an earlier run that are far larger than what ``memory`` allows now."""
    if memory is None:
        return
    largest = max(stop - start for start, stop in blocks)
    need, budget = used_memory() + FIXED + (largest + 2 * n_halo) * slice_bytes, parse_memory(memory)
    if need > 1.1 * budget:  # what the process holds is not the same each time
        raise MemoryBudgetError(
            f"memory={budget / 1e9:.2f} GB is less than at the start of the run that is resumed: it works on {largest} "
            f"slices at a time, which takes {need / 1e9 + 0.01:.2f} GB; give that, or run without resume."
        )


def slices_at_once(devices):
    """Slices of a block that keep some devices busy, given the memory: a pack for the processor.

    Parameters
    ----------
    devices : sequence of torch.device

    Returns
    -------
    int

    Examples
    --------
    >>> import torch
    >>> from tomolearn.streaming.plan import slices_at_once
    >>> slices_at_once([torch.device("cpu")]), slices_at_once([torch.device("cuda:0"), torch.device("cuda:1")])
    (32, 256)
    """
    alone = tuple(devices) == (torch.device("cpu"),)
    return PACK if alone else PACK * SLABS * len(devices)


def plan_blocks(n_slices, slice_bytes, *, memory=None, chunk=1, n_halo=0, at_once=PACK):
    """Blocks of slices whose work fits into a memory budget.

    Parameters
    ----------
    n_slices : int
        Of the whole volume.
    slice_bytes : float
        What one slice takes while its block is read, computed and written.
    memory : str or int, default=None
        Most that the process may hold, what it holds already included: "2GB", "500MiB" or bytes. None: half of what
        the machine has left.
    chunk : int, default=1
        Slices that the file can only read together.
    n_halo : int, default=0
        Neighbouring slices that are read on either side of a block.
    at_once : int, default=32
        Slices of a block where there is memory for more and the file does not care.

    Returns
    -------
    list of (start, stop)

    Raises
    ------
    MemoryBudgetError
        If not even one slice fits.
    ValueError
        If ``memory`` is no amount of memory.

    Examples
    --------
    >>> from tomolearn.streaming import plan_blocks
    >>> plan_blocks(70, 1e6, memory="8GB")
    [(0, 32), (32, 64), (64, 70)]
    >>> plan_blocks(70, 1e6, memory="8GB", chunk=64)
    [(0, 70)]
    """
    used = used_memory()
    budget = used + available_memory() / 2 if memory is None else parse_memory(memory)
    rows = int(min((budget - used - FIXED) // slice_bytes, n_slices + 2 * n_halo)) - 2 * n_halo
    if rows < 1:
        need = used + FIXED + (1 + 2 * n_halo) * slice_bytes
        raise MemoryBudgetError(
            f"memory={budget / 1e9:.2f} GB is too little: the process holds {used / 1e9:.2f} GB already, and working "
            f"on one slice takes {(need - used) / 1e9:.2f} GB more; give at least {need / 1e9 + 0.01:.2f} GB."
        )
    if chunk == 1:
        rows = min(rows, max(at_once, 4 * n_halo))
        step = PACK if at_once > PACK and rows > PACK else 16
        rows -= rows % step if rows > step else 0  # whole packs of the operators
    elif rows < n_slices:
        rows = rows // chunk * chunk or rows
    return [(start, min(start + rows, n_slices)) for start in range(0, n_slices, rows)]

"""The loop that reads one block ahead, computes, and writes one block behind."""

import time
from concurrent.futures import ThreadPoolExecutor

from tqdm.auto import tqdm

__all__ = ["run_blocks"]


def run_blocks(sink, read, compute, *, verbose=0, description=""):
    """Work through the blocks that a sink lacks: read one ahead, compute, write one behind; then finish the sink.

    At any time there are at most two blocks of input and two of output in memory. Where it is broken off, every block
    that was computed is on disk and in the sink's record.

    Parameters
    ----------
    sink : Sink
        Says which blocks there are and which are done.
    read : callable
        ``read(start, stop)``, or ``read(slice, start, stop)`` for bands of rows, gives the input of a block; runs in a
        thread of its own.
    compute : callable
        ``compute(start, stop, input)``, or ``compute(slice, start, stop, input)``, gives the block and what was counted
        in it, a dict of str to int.
    verbose : int, default=0
        1: a progress bar with slices (or rows) a second and the time left, on a terminal or in a notebook.
    description : str, default=""
        Begins the progress bar.

    Returns
    -------
    counts : dict of str to int
        The sums over all blocks, those of earlier runs included.
    waited : dict of str to float
        Seconds that the computation waited for ``"read"`` and ``"write"``.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from tomolearn.io import create_sink
    >>> from tomolearn.streaming import run_blocks
    >>> sink = create_sink(pathlib.Path(tempfile.mkdtemp()) / "v.npy", (4, 2, 2), blocks=[(0, 3), (3, 4)])
    >>> counts, waited = run_blocks(
    ...     sink, lambda a, b: np.ones((b - a, 2, 2)), lambda a, b, x: (2 * x, {"pixels doubled": x.size})
    ... )
    >>> np.load(sink.path).mean(), counts
    (np.float32(2.0), {'pixels doubled': 16})
    """
    blocks, done = sink.blocks, sink.done
    todo = [index for index in range(len(blocks)) if index not in done]
    waited = {"read": 0.0, "write": 0.0}

    def wait(what, future):
        began = time.perf_counter()
        result = future.result()
        waited[what] += time.perf_counter() - began
        return result

    disable = None if verbose else True  # None: a bar on a terminal, nothing in a log file
    sizes = [block[-1] - block[-2] for block in blocks]
    unit = "slice" if len(blocks[0]) == 2 else "row"
    n_done = sum(sizes[index] for index in done)
    with (
        tqdm(total=sum(sizes), initial=n_done, unit=unit, desc=description, disable=disable) as bar,
        ThreadPoolExecutor(1, "read") as reader,
        ThreadPoolExecutor(1, "write") as writer,
    ):
        coming = reader.submit(read, *blocks[todo[0]]) if todo else None
        writing = None
        for index, following in zip(todo, [*todo[1:], None], strict=True):
            block = wait("read", coming)
            if following is not None:
                coming = reader.submit(read, *blocks[following])
            try:
                result = compute(*blocks[index], block)
            except Exception as error:
                if len(blocks) > 1:  # what else the error says counts from there
                    error.add_note(f"In the block of {_named(blocks[index])}.")
                raise
            del block  # before the writer takes its share of the memory
            if writing is not None:
                wait("write", writing)
            writing = writer.submit(sink.write_block, index, *result)
            del result
            bar.update(sizes[index])
        if writing is not None:
            wait("write", writing)
    began = time.perf_counter()
    sink.finish()
    waited["write"] += time.perf_counter() - began
    counts: dict[str, int] = {}
    for found in sink.done.values():
        for what, count in found.items():
            counts[what] = counts.get(what, 0) + count
    return counts, waited


def _named(block):
    """``slices 3 to 5`` of a block (start, stop), ``rows 3 to 5 of slice 2`` of a block (slice, start, stop)."""
    *number, start, stop = block
    return f"rows {start} to {stop - 1} of slice {number[0]}" if number else f"slices {start} to {stop - 1}"

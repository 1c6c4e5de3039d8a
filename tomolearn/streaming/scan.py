"""From a raw scan to a volume: the steps of a Pipeline, block by block."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from tomolearn.base import Reconstructor
from tomolearn.io import create_sink, open_scan
from tomolearn.io.source import Source
from tomolearn.streaming._facts import keep_input
from tomolearn.streaming._run import ScanRun
from tomolearn.streaming.engine import run_blocks
from tomolearn.streaming.plan import check_resumed, plan_blocks, slices_at_once

__all__ = ["Report", "reconstruct_volume", "sample_sinograms"]


@dataclass
class Report:
    """What `reconstruct_volume` did.

    Parameters
    ----------
    path : Path
        The volume.
    shape : tuple of three int
    center : float or ndarray
        Detector coordinate of the rotation axis.
    counts : dict of str to int
        What was repaired, for instance ``{"values not finite, interpolated": 3}``.
    seconds : dict of str to float
        Of each step, of ``"center"`` (its search), of ``"plan"`` (a trial of one slice), and those that the
        computation waited for ``"read"`` and ``"write"``; their sum is the time from start to end, but for moments.
    n_blocks, n_resumed : int
        Blocks in all, and those found done.
    n_slices_resumed : int
        Slices found done.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tomolearn.streaming import Report
    >>> Report(Path("recon.h5"), (8, 64, 64), 31.5).counts
    {}
    """

    path: Path
    shape: tuple[int, int, int]
    center: float | np.ndarray
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    n_blocks: int = 0
    n_resumed: int = 0
    n_slices_resumed: int = 0


def reconstruct_volume(
    pipeline,
    scan,
    out,
    *,
    memory=None,
    dtype=None,
    value_range=None,
    metadata=None,
    resume=False,
    overwrite=False,
    verbose=0,
):
    """Run a pipeline over a scan of any size, from file to file.

    Blocks of slices are read, corrected, reconstructed and written, one ahead and one behind, in as much memory as is
    allowed. The result is that of the pipeline on the whole scan in memory. Where the reconstructor has a ``device``,
    slabs of 32 slices of a block are copied there, reconstructed and copied back at the same time; several devices take
    them in turn.

    Parameters
    ----------
    pipeline : Pipeline or estimator
        Unfitted: each step is fitted on each block, the steps of `tomolearn.preprocessing` with the flat and dark
        fields of the block. A trained step stands in ``sklearn.frozen.FrozenEstimator``. One step is a reconstructor:
        where its ``angles`` is None it takes those of the scan; where its ``center`` is the name of a method, the axis
        is found once, in some rows of the whole scan as they are without the removal of stripes.
    scan : Scan, or path-like
        (rows, angles, detectors); a path is opened by `tomolearn.io.open_scan`.
    out : path-like
        The volume; its suffix says the kind (see `tomolearn.io.create_sink`).
    memory : str or int, default=None
        Most that the process may hold: "2GB", "500MiB" or bytes. None: half of what the machine has left.
    dtype : dtype, default=None
        Of the volume. None: float32, or the integers that the last step gives.
    value_range : tuple of two float, default=None
        For an integer ``dtype``: the values that become its smallest and largest integer.
    metadata : dict, default=None
        Plain values to store beside what is known: pixel size, axes, units, centre, angles, parameters, versions.
    resume : bool, default=False
        Go on with what a run that was broken off has left.
    overwrite : bool, default=False
        Whether an existing volume may be replaced.
    verbose : int, default=0
        1: a progress bar with slices a second and the time left.

    Returns
    -------
    Report

    Raises
    ------
    ValueError, TypeError
        If the pipeline has no reconstructor, a step refuses its data, ``out`` would replace the scan, or the
        reconstructor was to be trained on the scan before or needs projections that a step before it mixes.
    MemoryBudgetError
        If not even one slice fits into ``memory``, or the blocks of the run that is resumed do not.
    FileFormatError
        If a file is broken.
    FileExistsError
        If the volume exists and ``overwrite`` is False, or another process writes it.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from tomolearn import FBPReconstructor, radon
    >>> from tomolearn.io import ArraySource
    >>> import numpy as np
    >>> sinograms = radon(np.ones((3, 16, 16), np.float32), np.linspace(0, 3, 24))
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "volume.npy"
    >>> source = ArraySource(sinograms, ("rows", "angles", "detectors"))
    >>> report = reconstruct_volume(FBPReconstructor(angles=np.linspace(0, 3, 24)), source, target)
    >>> report.shape, np.load(target).shape
    ((3, 16, 16), (3, 16, 16))
    """
    scan = scan if isinstance(scan, Source) else open_scan(scan)
    keep_input(scan, out, "scan")
    run = ScanRun(pipeline, scan)
    began = time.perf_counter()
    _check_trained(*run.steps[run.where])
    run.learn_scan()
    reconstructor = _unfrozen(run.steps[run.where][1])
    if getattr(reconstructor, "needs_independent_projections", False):
        _check_independent(run.steps[: run.where], type(reconstructor).__name__)
    seconds = {"center": time.perf_counter() - began}
    began = time.perf_counter()
    shape, result_dtype, slice_bytes = run.try_one_slice()
    if dtype is not None and np.dtype(dtype).kind in "ui" and result_dtype.kind == "f" and value_range is None:
        raise ValueError(f"dtype={dtype} needs value_range=(low, high), the values that its integers span; got None.")
    at_once = slices_at_once(reconstructor._devices())
    limits = {"memory": memory, "chunk": scan.chunk, "n_halo": run.n_halo, "at_once": at_once}
    blocks = plan_blocks(shape[0], slice_bytes, **limits)
    sink = create_sink(
        out,
        shape,
        result_dtype if dtype is None else dtype,
        metadata={**run.facts(), **(metadata or {})},
        value_range=value_range,
        blocks=blocks,
        run=run.identity(),
        resume=resume,
        overwrite=overwrite,
    )
    done = [sink.blocks[index] for index in sink.done]
    run.seconds.clear()
    seconds["plan"] = time.perf_counter() - began
    try:
        if done:
            check_resumed(sink.blocks, slice_bytes, memory, run.n_halo)
        counts, waited = run_blocks(sink, run.read, run.compute, verbose=verbose, description="slices")
    finally:
        sink.close()
    seconds |= run.seconds | waited
    n_slices = sum(stop - start for start, stop in done)
    return Report(sink.path, shape, run.center, counts, seconds, len(sink.blocks), len(done), n_slices)


def _unfrozen(step):
    return step.estimator if isinstance(step, FrozenEstimator) else step


def _check_trained(name, step):
    """A reconstructor that learns from the scan itself must have done so: a block would train a network of its own."""
    if getattr(step, "trains_on_scan", False) and not isinstance(step, FrozenEstimator):
        raise ValueError(
            f"step {name!r}, a {type(step).__name__}, learns from the scan and must not do so block by block; fit it "
            "on corrected sinograms first, and give FrozenEstimator(fitted) here."
        )


def _check_independent(steps, whose):
    """No step may put the noise of one projection into another."""
    for name, step in steps:
        step = _unfrozen(step)
        if getattr(step, "couples_projections", False):
            raise ValueError(
                f"step {name!r}, a {type(step).__name__}, couples projections, whose noise must be independent for "
                f"{whose}; leave it out, or take another reconstructor."
            )


def sample_sinograms(steps, scan, *, independent=False):
    """Corrected sinograms of some rows of a scan, their stripes left in: what its rotation axis is looked for in.

    Parameters
    ----------
    steps : list of (name, transformer)
        The corrections, unfitted.
    scan : Scan or path-like
        As for `reconstruct_volume`.
    independent : bool, default=False
        Refuse steps that couple projections: for training on sinograms whose noise must be independent.

    Returns
    -------
    sinograms : ndarray of shape (k, n_angles, n_detectors)
    angles : ndarray of shape (n_angles,), or None
        In radians; None where the scan has none.
    rows : ndarray of shape (k,)
        The rows of the scan: those that show most of some that are spread over it, or that lie in its middle where
        rows can only be read together.

    Raises
    ------
    ValueError
        If the scan holds flat fields and no step takes them, or a step couples projections with ``independent``.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.io import Scan
    >>> from tomolearn.preprocessing import MinusLog
    >>> from tomolearn.streaming import sample_sinograms
    >>> sinograms, angles, rows = sample_sinograms([("log", MinusLog())], Scan(np.ones((70, 4, 8))))
    >>> sinograms.shape, rows.tolist()
    ((3, 4, 8), [7, 14, 21])
    """
    scan = scan if isinstance(scan, Source) else open_scan(scan)
    run = ScanRun(Pipeline([*steps, ("reconstruct", _Anything())]), scan)
    run.learn_scan()
    if independent:
        _check_independent(run.steps[: run.where], "independent=True")
    sinograms, rows = run.sample()
    return sinograms, run.steps[run.where][1].angles, rows


class _Anything(Reconstructor, BaseEstimator):
    """Stands where a reconstructor will stand."""

    def __init__(self, *, angles=None, angle_unit=None, center=None):
        self.angles, self.angle_unit, self.center = angles, angle_unit, center

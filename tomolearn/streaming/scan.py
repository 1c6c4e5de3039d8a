"""From a raw scan to a volume: the steps of a Pipeline, block by block."""

import copy
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import numpy as np
import sklearn
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from tomolearn import __version__
from tomolearn.base import Reconstructor
from tomolearn.geometry import as_radians
from tomolearn.io import create_sink, open_scan
from tomolearn.io.source import Source
from tomolearn.preprocessing.center import find_center
from tomolearn.streaming.engine import run_blocks
from tomolearn.streaming.plan import plan_blocks

__all__ = ["Report", "reconstruct_volume", "sample_sinograms"]

N_CENTER_ROWS = 5  # rows that the rotation axis is looked for in
FRAMES = ("flats", "darks")


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
        Of each step, of ``"center"`` (its search), and those that the computation waited for ``"read"`` and
        ``"write"``; their sum is the time from start to end, but for moments.
    n_blocks, n_resumed : int
        Blocks in all, and those found done.

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
    allowed. The result is that of the pipeline on the whole scan in memory.

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
        If the pipeline has no reconstructor, or a step refuses its data.
    MemoryBudgetError
        If not even one slice fits into ``memory``.
    FileFormatError
        If a file is broken.
    FileExistsError
        If the volume exists and ``overwrite`` is False.

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
    run = _Run(pipeline, scan)
    began = time.perf_counter()
    run.learn_center()
    seconds = {"center": time.perf_counter() - began}
    shape, result_dtype, slice_bytes = run.try_one_slice()
    if dtype is not None and np.dtype(dtype).kind in "ui" and result_dtype.kind == "f" and value_range is None:
        raise ValueError(f"dtype={dtype} needs value_range=(low, high), the values that its integers span; got None.")
    blocks = plan_blocks(shape[0], slice_bytes, memory=memory, chunk=scan.chunk, n_halo=run.n_halo)
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
    n_resumed = len(sink.done)
    run.seconds.clear()
    try:
        counts, waited = run_blocks(sink, run.read, run.compute, verbose=verbose, description="slices")
    finally:
        sink.close()
    seconds |= run.seconds | waited
    return Report(sink.path, shape, run.center, counts, seconds, len(sink.blocks), n_resumed)


def sample_sinograms(steps, scan):
    """Corrected sinograms of some rows of a scan, their stripes left in: what its rotation axis is looked for in.

    Parameters
    ----------
    steps : list of (name, transformer)
        The corrections, unfitted.
    scan : Scan or path-like
        As for `reconstruct_volume`.

    Returns
    -------
    sinograms : ndarray of shape (k, n_angles, n_detectors)
    angles : ndarray of shape (n_angles,), or None
        In radians; None where the scan has none.
    rows : ndarray of shape (k,)
        The rows of the scan: spread over it, or from its middle where rows can only be read together.

    Raises
    ------
    ValueError
        If the scan holds flat fields and no step takes them.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.io import Scan
    >>> from tomolearn.preprocessing import MinusLog
    >>> from tomolearn.streaming import sample_sinograms
    >>> sinograms, angles, rows = sample_sinograms([("log", MinusLog())], Scan(np.ones((70, 4, 8))))
    >>> sinograms.shape, rows.tolist()
    ((5, 4, 8), [12, 23, 34, 46, 58])
    """
    scan = scan if isinstance(scan, Source) else open_scan(scan)
    run = _Run(Pipeline([*steps, ("reconstruct", _Anything())]), scan)
    sinograms, rows = run.sample()
    return sinograms, run.steps[run.where][1].angles, rows


class _Anything(Reconstructor, BaseEstimator):
    """Stands where a reconstructor will stand."""

    def __init__(self, *, angles=None, angle_unit=None, center=None):
        self.angles, self.angle_unit, self.center = angles, angle_unit, center


class _Run:
    """The steps of one pipeline on the blocks of one scan."""

    def __init__(self, pipeline, scan):
        named = pipeline.steps if isinstance(pipeline, Pipeline) else [("reconstruct", pipeline)]
        self.steps = [(name, step) for name, step in named if step is not None and step != "passthrough"]
        self.scan = scan
        self.where = self._reconstructor()
        self.n_halo = sum(getattr(step, "n_halo_rows", 0) for _, step in self.steps)
        self.seconds = {}
        self.frames = {kind: getattr(scan, kind, None) for kind in FRAMES}
        beam = getattr(scan, "beam_intensity", None)
        self.beam = {} if beam is None else {"beam_intensity": beam}
        if self.frames["flats"] is not None and not any(has_fit_parameter(step, "flats") for _, step in self.steps):
            raise ValueError(
                f"{scan.name} holds raw counts and flat fields, and no step of the pipeline corrects them; begin it "
                "with tomolearn.preprocessing.FlatFieldCorrector."
            )
        self._take_angles()
        self.center = getattr(self._inner(), "center_", getattr(self._inner(), "center", None))

    def _reconstructor(self):
        found = [i for i, (_, step) in enumerate(self.steps) if isinstance(_unfrozen(step), Reconstructor)]
        if len(found) != 1:
            raise ValueError(f"the pipeline must hold one reconstructor; got {len(found)} in {len(self.steps)} steps.")
        return found[0]

    def _inner(self):
        return _unfrozen(self.steps[self.where][1])

    def _take_angles(self):
        """Angles of the scan for a reconstructor that has none."""
        name, step = self.steps[self.where]
        angles = getattr(self.scan, "angles", None)
        if isinstance(step, FrozenEstimator) or step.angles is not None or angles is None:
            return
        for _, earlier in self.steps[: self.where]:
            angles = getattr(_unfrozen(earlier), "transform_angles", lambda same: same)(angles)
        self.steps[self.where] = (name, clone(step).set_params(angles=np.asarray(angles), angle_unit="rad"))

    # ------------------------------------------------------------------------------------------------ the axis

    def learn_center(self):
        """The rotation axis from some rows, where the reconstructor names a method."""
        name, step = self.steps[self.where]
        if isinstance(step, FrozenEstimator) or not isinstance(step.center, str):
            return
        sinograms, _ = self.sample()
        angles = None if step.angles is None else as_radians(step.angles, step.angle_unit)
        self.center = float(find_center(sinograms, angles, method=step.center, angle_unit="rad"))
        self.steps[self.where] = (name, clone(step).set_params(center=self.center))

    def sample(self):
        """Corrected sinograms of some rows, and which rows these are."""
        n = len(self.scan)
        if self.scan.chunk == 1 and self.n_halo == 0:
            rows = np.unique(np.linspace(0, n - 1, N_CENTER_ROWS + 2).round().astype(int)[1:-1])
            parts = [(int(row), int(row) + 1) for row in rows]
        else:  # rows that are read together, each with the neighbours it needs
            first = max(0, (n - N_CENTER_ROWS) // 2)
            parts = [(first, min(n, first + N_CENTER_ROWS))]
        shown = [(name, step) for name, step in self.steps if getattr(_unfrozen(step), "shows_axis", True)]
        run = copy.copy(self)
        run.steps, run.where = shown, self.where - len(self.steps) + len(shown)
        sinograms = np.concatenate([run._correct(*part, self.read(*part))[0] for part in parts])
        return sinograms, np.concatenate([np.arange(*part) for part in parts])

    # ------------------------------------------------------------------------------------------------ one block

    def read(self, start, stop):
        """Everything of the rows of a block and their neighbours; runs in the thread that reads ahead."""
        low, high = self._with_halo(start, stop)
        frames = {kind: source.read_block(low, high) for kind, source in self.frames.items() if source is not None}
        return self.scan.read_block(low, high), frames

    def compute(self, start, stop, block):
        """The finished slices of a block and its counts."""
        X, counts = self._correct(start, stop, block)
        del block
        for name, step in self.steps[self.where :]:
            began = time.perf_counter()
            step = self._of_slices(step, start, stop)
            fitted = step if isinstance(step, FrozenEstimator) else step.fit(X)
            X = fitted.predict(X) if hasattr(fitted, "predict") else fitted.transform(X)
            self._took(name, began)
        return X, counts

    def _correct(self, start, stop, block):
        """Through the steps before the reconstructor."""
        low, _ = self._with_halo(start, stop)
        X, frames = block
        halo_left = self.n_halo
        counts = {}
        for name, step in self.steps[: self.where]:
            began = time.perf_counter()
            if not isinstance(step, FrozenEstimator):
                given = {k: v for k, v in (frames | self.beam).items() if has_fit_parameter(step, k)}
                step = clone(step).fit(X, **given)
            if hasattr(step, "transform_counted"):
                X, found = step.transform_counted(X)
            else:
                X, found = step.transform(X), {}
            counts = {what: counts.get(what, 0) + found.get(what, 0) for what in {**counts, **found}}
            halo_left -= getattr(step, "n_halo_rows", 0)
            if self.n_halo and halo_left == 0:  # the last step that needed neighbours
                X, halo_left = X[start - low : stop - low], -1
            self._took(name, began)
        return X, counts

    def _with_halo(self, start, stop):
        return max(0, start - self.n_halo), min(len(self.scan), stop + self.n_halo)

    def _of_slices(self, step, start, stop):
        if isinstance(step, FrozenEstimator):
            if isinstance(step.estimator, Reconstructor):
                return FrozenEstimator(step.estimator.of_slices(start, stop))
            return step
        step = clone(step)
        if isinstance(step, Reconstructor) and np.ndim(step.center):
            if len(step.center) != len(self.scan):
                raise ValueError(
                    f"center must be one number, or one for each of the {len(self.scan)} rows of {self.scan.name}; got "
                    f"{len(step.center)}."
                )
            step.set_params(center=np.asarray(step.center)[start:stop])
        return step

    def _took(self, name, began):
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    # ------------------------------------------------------------------------------------------- shapes and facts

    def try_one_slice(self):
        """Shape and dtype of the volume, and the bytes that one slice takes on its way."""
        n, row = len(self.scan), len(self.scan) // 2
        X, _ = self._correct(row, row + 1, self.read(row, row + 1))
        _, step = self.steps[self.where]
        fitted = self._of_slices(step, row, row + 1)
        fitted = fitted if isinstance(step, FrozenEstimator) else fitted.fit(X)
        shape, dtype = fitted.image_shape_, np.dtype(np.float32)
        if self.where + 1 < len(self.steps):
            result = self.compute(row, row + 1, self.read(row, row + 1))[0]
            shape, dtype = result.shape[1:], result.dtype if result.dtype.kind in "uib" else dtype
        raw = np.prod(self.scan.shape[1:], dtype=float)
        values = max(raw, np.prod(fitted.sinogram_shape_, dtype=float)) * X.dtype.itemsize
        n_sinograms, n_images = _unfrozen(fitted).working_copies
        pixels = np.prod(fitted.image_shape_, dtype=float) * X.dtype.itemsize
        n_frames = sum(source.shape[1] for source in self.frames.values() if source is not None)
        frames = 2.0 * n_frames * self.scan.shape[2] * self.scan.dtype.itemsize
        slice_bytes = 2 * raw * self.scan.dtype.itemsize + frames + n_sinograms * values + n_images * pixels
        return (n, *map(int, shape)), dtype, slice_bytes

    def identity(self):
        """What tells this run from another."""
        scan = self.scan
        what = [(name, type(_unfrozen(step)).__name__, joblib.hash(_state(step))) for name, step in self.steps]
        return {"scan": scan.name, "scan_shape": list(scan.shape), "steps": [list(step) for step in what]}

    def facts(self):
        """Metadata of the volume."""
        step = self._inner()
        angles = step.angles_ if hasattr(step, "angles_") else step.angles
        unit = "rad" if hasattr(step, "angles_") else step.angle_unit
        pixel_size = getattr(self.scan, "metadata", {}).get("pixel_size")
        parameters = {
            f"{name}__{key}": value
            for name, one in self.steps
            for key, value in _unfrozen(one).get_params(deep=False).items()
            if key != "angles" and (value is None or isinstance(value, str | int | float | tuple | list))
        }
        return {
            "axes": ["slices", "rows", "columns"],
            "pixel_size": 1.0 if pixel_size is None else float(pixel_size) * float(step.detector_spacing) ** -1,
            "pixel_size_unit": "pixel" if pixel_size is None else "m",
            "units": "1/pixel",
            "center": None if self.center is None else np.asarray(self.center, float).tolist(),
            "angles": None if angles is None else as_radians(angles, unit).tolist(),
            "angle_unit": "rad",
            "source": _without_folder(self.scan.name),
            "parameters": parameters,
            "versions": {
                "tomolearn": __version__,
                "torch": torch.__version__,
                "numpy": np.__version__,
                "scikit-learn": sklearn.__version__,
                "python": platform.python_version(),
            },
        }


def _without_folder(name):
    """``scan.h5:exchange/data`` of a source's name."""
    file, colon, inside = str(name).partition(":")
    return Path(file).name + colon + inside


def _unfrozen(step):
    return step.estimator if isinstance(step, FrozenEstimator) else step


def _state(step):
    return copy.copy(vars(step.estimator)) if isinstance(step, FrozenEstimator) else step.get_params()

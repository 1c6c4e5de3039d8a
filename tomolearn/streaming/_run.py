"""One pipeline on one scan: what is learned once, what happens to a block, and what is known of the result."""

import contextlib
import copy
import re
import time
from typing import Any

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from tomolearn.base import Reconstructor
from tomolearn.geometry import as_radians
from tomolearn.io import open_scan
from tomolearn.io.source import Source
from tomolearn.preprocessing import find_center
from tomolearn.preprocessing._views import N_TRIED_ROWS, telling_rows, tried_rows
from tomolearn.streaming._facts import digest, plain_parameters, versions, without_folder

__all__ = ["ScanRun", "corrected_sinograms"]

FRAMES = ("flats", "darks")


class ScanRun:
    """The steps of one pipeline on the blocks of one scan."""

    def __init__(self, pipeline, scan):
        self.steps = _flat_steps("reconstruct", pipeline)
        self.scan = scan
        self.where = self._reconstructor()
        self.n_halo = sum(getattr(step, "n_halo_rows", 0) for _, step in self.steps)
        self.seconds = {}
        self.values = None  # a digest of some values of the scan: what tells it from another of the same shape
        self.frames = {kind: getattr(scan, kind, None) for kind in FRAMES}
        beam = getattr(scan, "beam_intensity", None)
        self.beam = {} if beam is None else {"beam_intensity": beam}
        if self.frames["flats"] is not None and not any(has_fit_parameter(step, "flats") for _, step in self.steps):
            raise ValueError(
                f"{scan.name} holds raw counts and flat fields, and no step of the pipeline corrects them; begin it "
                "with tomolearn.preprocessing.FlatFieldCorrector."
            )
        self.center: Any = getattr(self._inner(), "center_", getattr(self._inner(), "center", None))

    def _reconstructor(self):
        found = [i for i, (_, step) in enumerate(self.steps) if isinstance(_unfrozen(step), Reconstructor)]
        if len(found) != 1:
            raise ValueError(f"the pipeline must hold one reconstructor; got {len(found)} in {len(self.steps)} steps.")
        return found[0]

    def _inner(self):
        return _unfrozen(self.steps[self.where][1])

    # ------------------------------------------------------------------------------------------------ the axis

    def learn_scan(self):
        """Angles for the steps that have none, and the axis where one of them looks for it: once, in some rows."""
        angles = getattr(self.scan, "angles", None)
        for k, (name, step) in enumerate(self.steps[: self.where]):
            parameters = {} if isinstance(step, FrozenEstimator) else step.get_params(deep=False)
            if "angles" in parameters and parameters["angles"] is None and angles is not None:
                step = clone(step).set_params(angles=angles, angle_unit="rad")
            if "center" in parameters:
                fitted = clone(step).fit(self.sample(k)[0])
                self.steps[k] = (name, clone(step).set_params(center=fitted.center_))
                self.center = fitted.center_ if self.center is None else self.center
                step = fitted
            if angles is not None:
                angles = getattr(_unfrozen(step), "transform_angles", lambda same: same)(angles)
        name, step = self.steps[self.where]
        if isinstance(step, FrozenEstimator):
            return
        if step.angles is None and angles is not None:
            step = clone(step).set_params(angles=np.asarray(angles), angle_unit="rad")
        self.steps[self.where] = (name, step)
        if isinstance(step.center, str):
            angles = None if step.angles is None else as_radians(step.angles, step.angle_unit)
            self.center = float(find_center(self.sample()[0], angles, method=step.center, angle_unit="rad"))
            self.steps[self.where] = (name, clone(step).set_params(center=self.center))

    def sample(self, upto=None):
        """Sinograms of some rows as they come to step ``upto`` (None: the reconstructor), and which rows these are."""
        n = len(self.scan)
        if self.scan.chunk == 1 and self.n_halo == 0:
            parts = [(int(row), int(row) + 1) for row in tried_rows(n)]
        else:  # rows that are read together, each with the neighbours it needs
            first = max(0, (n - N_TRIED_ROWS) // 2)
            parts = [(first, min(n, first + N_TRIED_ROWS))]
        run = copy.copy(self)
        before = self.steps[: self.where if upto is None else upto]
        run.steps = [(name, step) for name, step in before if getattr(_unfrozen(step), "shows_axis", True)]
        run.where = len(run.steps)
        sinograms = np.concatenate([run._correct(*part, self.read(*part))[0] for part in parts])
        rows = np.concatenate([np.arange(*part) for part in parts])
        shown = telling_rows(sinograms)
        return sinograms[shown], rows[shown]

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
            with self._saying_rows(start):
                step = self._of_slices(step, start, stop)
                fitted = step if isinstance(step, FrozenEstimator) else step.fit(X)
                X = fitted.predict(X) if hasattr(fitted, "predict") else fitted.transform(X)
            self._took(name, began)
        return X, counts

    @contextlib.contextmanager
    def _saying_rows(self, low):
        """Messages of steps count rows within what they were given: say where that stands in the scan."""
        try:
            yield
        except ValueError as error:
            if low and re.search(r"\b(row|slice)s? \d|X\[\d", str(error)):
                error.add_note(f"Its rows and slices count from row {low} of {self.scan.name}.")
            raise

    def _correct(self, start, stop, block):
        """Through the steps before the reconstructor."""
        low, _ = self._with_halo(start, stop)
        first = low
        X, frames = block
        halo_left = self.n_halo
        counts: dict[str, int] = {}
        for name, step in self.steps[: self.where]:
            began = time.perf_counter()
            with self._saying_rows(first):
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
                first = start
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
        given = self.read(row, row + 1)
        self.values = joblib.hash([*given, self.beam])
        X, _ = self._correct(row, row + 1, given)
        _, step = self.steps[self.where]
        fitted = self._of_slices(step, row, row + 1)
        fitted = fitted if isinstance(step, FrozenEstimator) else fitted.fit(X)
        shape, dtype = fitted.image_shape_, np.dtype(np.float32)
        if self.where + 1 < len(self.steps):
            result = self.compute(row, row + 1, given)[0]
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
        what = [[name, type(_unfrozen(step)).__name__, digest(_state(step))] for name, step in self.steps]
        found = {"scan": without_folder(scan.name), "scan_shape": list(scan.shape), "steps": what}
        return found | {"values of the scan": self.values}

    def facts(self):
        """Metadata of the volume."""
        step = self._inner()
        # A network that has learned the scan knows neither angles nor bins.
        angles = step.angles_ if hasattr(step, "angles_") else getattr(step, "angles", None)
        unit = "rad" if hasattr(step, "angles_") else getattr(step, "angle_unit", None)
        spacing = float(getattr(step, "detector_spacing", 1.0))
        pixel_size = getattr(self.scan, "metadata", {}).get("pixel_size")
        parameters: dict = {}
        for name, one in self.steps:
            parameters |= plain_parameters(_unfrozen(one), f"{name}__")
        return {
            "axes": ["slices", "rows", "columns"],
            "pixel_size": 1.0 if pixel_size is None else float(pixel_size) / spacing,
            "pixel_size_unit": "pixel" if pixel_size is None else "m",
            "units": "1/pixel",
            "center": None if self.center is None else np.asarray(self.center, float).tolist(),
            "angles": None if angles is None else as_radians(angles, unit).tolist(),
            "angle_unit": "rad",
            "source": without_folder(self.scan.name),
            "parameters": parameters,
            "versions": versions(),
        }


def corrected_sinograms(pipeline, scan, *, blocks=None):
    """Sinograms of a scan as they reach the reconstructor of a pipeline: what a network that learns a scan is given.

    Parameters
    ----------
    pipeline : Pipeline or estimator
        Unfitted, as for `reconstruct_volume`.
    scan : Scan or path-like
        (rows, angles, detectors); a path is opened by `tomolearn.io.open_scan`.
    blocks : list of (start, stop), default=None
        Rows that are read and corrected together, in the order of the result. None: all rows, one by one.

    Returns
    -------
    sinograms : ndarray of shape (k, n_angles, n_detectors)
        Line integrals of the rows of all blocks.
    reconstructor : estimator
        That of the pipeline, unfitted, with the angles of the scan where it had none, and its axis as a number.

    Raises
    ------
    ValueError
        If the pipeline does not hold one reconstructor, the scan holds flat fields and no step takes them, or a step
        refuses its data.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from tomolearn import FBPReconstructor, MinusLog
    >>> from tomolearn.io import Scan
    >>> from tomolearn.streaming import corrected_sinograms
    >>> scan = Scan(np.full((9, 4, 8), np.exp(-2.0)), angles=np.linspace(0, 2, 4))
    >>> pipeline = make_pipeline(MinusLog(), FBPReconstructor(center=3.5))
    >>> sinograms, reconstructor = corrected_sinograms(pipeline, scan, blocks=[(0, 2), (6, 7)])
    >>> sinograms.shape, float(sinograms.mean().round(6)), reconstructor.angles.max()
    ((3, 4, 8), 2.0, np.float64(2.0))
    >>> corrected_sinograms(pipeline, scan)[0].shape
    (9, 4, 8)
    """
    scan = scan if isinstance(scan, Source) else open_scan(scan)
    run = ScanRun(pipeline, scan)
    run.learn_scan()
    parts = [(row, row + 1) for row in range(len(scan))] if blocks is None else blocks
    corrected = [run._correct(start, stop, run.read(start, stop))[0] for start, stop in parts]
    return np.concatenate(corrected), run.steps[run.where][1]


def _flat_steps(name, step):
    """(name, step) of each step, of pipelines within the pipeline too."""
    if isinstance(step, Pipeline):
        return [inner for inner_name, one in step.steps for inner in _flat_steps(inner_name, one)]
    return [] if step is None or isinstance(step, str) else [(name, step)]  # "passthrough"


def _unfrozen(step):
    return step.estimator if isinstance(step, FrozenEstimator) else step


def _state(step):
    return copy.copy(vars(step.estimator)) if isinstance(step, FrozenEstimator) else step.get_params()

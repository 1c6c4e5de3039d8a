"""``predict_volume`` of estimators that map images to images: volumes of any size, from file to file."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from tomolearn._validation import as_tensor, check_finite
from tomolearn.base import available_memory, parse_memory, reused_memory, used_memory
from tomolearn.base.image_predictor import AT_ONCE
from tomolearn.exceptions import MemoryBudgetError
from tomolearn.io import ArraySource, create_sink, open_volume
from tomolearn.io._joined_sinks import join_sinks
from tomolearn.io.source import VOLUME_AXES, Source
from tomolearn.streaming._bands import check_resumed_bands, plan_bands
from tomolearn.streaming._facts import digest, keep_input, plain_parameters, versions, without_folder
from tomolearn.streaming.engine import run_blocks
from tomolearn.streaming.plan import FIXED, check_resumed, plan_blocks

__all__ = ["ImageVolumePrediction", "VolumeOutput", "predict_to_files"]

FEW = 4  # slices of a block, where the features of a whole image leave no memory for more
WHOLE_PIXELS = 2**26  # of a slice from which on it is worked on in bands, whatever memory there is
SLACK = 2**20  # bytes by which the memory of a process changes from one look to the next


@dataclass(frozen=True)
class VolumeOutput:
    """A volume that a prediction writes.

    Parameters
    ----------
    path : path-like
        Its suffix says the kind (see `tomolearn.io.create_sink`).
    dtype : dtype, default="float32"
        Of the volume.
    trailing_shape : tuple of int, default=()
        (n_classes,) where a pixel has that many values.
    convert : callable, default=None
        What is written of a prediction: of a part of it, a tensor (k, rows, columns, ...) as ``_predict_windows`` gives
        it, on its device, it makes a tensor or array (k, rows, columns, *trailing_shape). None: the prediction itself.
    value_range : tuple of two float, default=None
        As for `tomolearn.io.create_sink`: for floating values that are stored as integers.
    facts : dict, default=None
        Plain values that are stored with this volume beside those of every volume.

    Examples
    --------
    >>> from tomolearn.streaming.images import VolumeOutput
    >>> VolumeOutput("labels.tif", "uint8", convert=lambda scores: scores.argmax(-1)).dtype
    'uint8'
    """

    path: object
    dtype: object = "float32"
    trailing_shape: tuple[int, ...] = ()
    convert: Callable | None = None
    value_range: tuple[float, float] | None = None
    facts: dict | None = None


class ImageVolumePrediction:
    """Gives an estimator that is a `tomolearn.base.ImagePredictor` the method `predict_volume`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator
    >>> from tomolearn.base import Denoiser
    >>> from tomolearn.streaming import ImageVolumePrediction
    >>> class Half(ImageVolumePrediction, Denoiser, BaseEstimator):
    ...     tile_halo = 0
    ...
    ...     def __init__(self, *, image_shape=None, verbose=0):
    ...         self.image_shape, self.verbose = image_shape, verbose
    ...
    ...     def fit(self, X, y=None):
    ...         self._check_images(X, reset=True)
    ...         return self
    ...
    ...     def _predict_windows(self, windows):
    ...         return windows[:, 0] / 2
    >>> volume = np.ones((5, 8, 8), np.float32)
    >>> path = Half().fit(volume).predict_volume(volume, pathlib.Path(tempfile.mkdtemp()) / "half.npy")
    >>> np.load(path).mean()
    np.float32(0.5)
    """

    _check_stack: Callable  # of the `ImagePredictor`
    _volume_dtype = np.float32

    def predict_volume(self, source, out, *, memory=None, resume=False, overwrite=False):
        """Predict a volume of any size, block by block, from file to file.

        A block of slices is read with the ``n_adjacent // 2`` slices before and behind it, and every slice is written
        once. Where the features of a whole slice do not fit into ``memory``, it is worked on in tiles; where the slice
        itself does not, or is very large, it is read, predicted and written in bands of rows. Tiles go to the
        estimator's ``device`` and back while their neighbours are computed; several devices, as "cuda:0,cuda:1", take
        them in turn.

        Parameters
        ----------
        source : Source, array-like or path-like
            One ordered volume (slices, rows, columns); a path is opened by `tomolearn.io.open_volume`.
        out : path-like
            The volume; its suffix says the kind (see `tomolearn.io.create_sink`). What the source states about itself,
            such as ``pixel_size``, is stored with it.
        memory : str or int, default=None
            Most that the process may hold: "2GB", "500MiB" or bytes. None: half of what the machine has left.
        resume : bool, default=False
            Go on with what a run that was broken off has left.
        overwrite : bool, default=False
            Whether an existing volume may be replaced.

        Returns
        -------
        Path
            Of the volume.

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError
            If ``source`` is no volume, has slices of a size that the estimator does not take, is not finite, or would
            be replaced by ``out``; or if the run that is resumed is another one.
        MemoryBudgetError
            If not even one slice, in the smallest tiles, fits into ``memory``.
        FileFormatError
            If a file is broken.
        FileExistsError
            If the volume exists and ``overwrite`` is False, or another process writes it.
        """
        output = VolumeOutput(out, self._volume_dtype)
        return predict_to_files(self, source, [output], memory=memory, resume=resume, overwrite=overwrite)[0]

    def _check_volume(self, source):
        """Raise unless this estimator takes the slices of ``source``."""
        if source.ndim != 3 or 0 in source.shape:
            raise ValueError(
                f"source must be one ordered volume {VOLUME_AXES}, none of them zero; {source.name} has shape "
                f"{source.shape}."
            )
        if "angles" in source.axes:
            raise ValueError(
                f"source must be a volume {VOLUME_AXES}; {source.name} is a scan {source.axes}. Reconstruct it first, "
                "by tomolearn.streaming.reconstruct_volume."
            )
        self._check_stack(source.shape, reset=False)


def predict_to_files(estimator, source, outputs, *, memory=None, resume=False, overwrite=False):
    """Predict a volume of any size once, and write what is made of each prediction to a file of its own.

    Parameters
    ----------
    estimator : ImagePredictor and ImageVolumePrediction
    source : Source, array-like or path-like
        As for `ImageVolumePrediction.predict_volume`.
    outputs : sequence of VolumeOutput
        At least one. They are resumed together: a block is done when it is in all of them.
    memory : str or int, default=None
        As for `ImageVolumePrediction.predict_volume`, which raises the same.
    resume, overwrite : bool, default=False
        As there.

    Returns
    -------
    list of Path
        Of the volumes.

    Raises
    ------
    ValueError
        If two outputs are the same file.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from tomolearn import TomoGANDenoiser
    >>> from tomolearn.streaming.images import VolumeOutput, predict_to_files
    >>> volume = np.random.default_rng(0).random((2, 16, 16), np.float32)
    >>> denoiser = TomoGANDenoiser(max_epochs=1, perceptual_weight=0.0, random_state=0).fit(volume, volume)
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> above = VolumeOutput(folder / "above.npy", "uint8", convert=lambda part: part > 0.5)
    >>> paths = predict_to_files(denoiser, volume, [above, VolumeOutput(folder / "clean.npy")])
    >>> bool(((np.load(paths[1]) > 0.5) == np.load(paths[0])).all())
    True
    """
    check_is_fitted(estimator)
    if not isinstance(source, Source):
        if isinstance(source, str) or hasattr(source, "__fspath__"):
            with open_volume(source) as opened:
                return predict_to_files(estimator, opened, outputs, memory=memory, resume=resume, overwrite=overwrite)
        source = ArraySource(source)
    estimator._check_volume(source)
    for output in outputs:
        keep_input(source, output.path, "volume")
    if len({Path(output.path).resolve() for output in outputs}) < len(outputs):
        raise ValueError(f"the outputs must be different files; got {', '.join(str(one.path) for one in outputs)}.")
    return _run(estimator, source, outputs, memory, resume, overwrite)


def _run(estimator, source, outputs, memory, resume, overwrite):
    """Plan the blocks, predict them, and give the paths of the volumes."""
    blocks, features, slice_bytes, bands = _plan_run(estimator, source, outputs, memory)
    identity = _identity(estimator, source)

    def begin(output):
        return lambda first: create_sink(
            output.path,
            (*source.shape, *output.trailing_shape),
            output.dtype,
            metadata=_facts(estimator, source, output),
            value_range=output.value_range,
            blocks=first or blocks,
            run=identity,
            resume=resume,
            overwrite=overwrite,
        )

    sink = join_sinks([begin(output) for output in outputs])
    try:
        convert = [output.convert or _as_predicted for output in outputs]
        if len(sink.blocks[0]) == 3:
            bands = bands or _plan_bands(estimator, source, outputs, memory)  # the run that is resumed had less memory
            if resume:
                check_resumed_bands(bands, sink.blocks, _row_bytes(estimator, source, outputs), memory)
            work: _Slices = _Bands(estimator, source, convert, bands)
        else:
            if resume:
                largest = max(stop - start for start, stop in sink.blocks) + 2 * (estimator.n_adjacent // 2)
                check_resumed(sink.blocks, slice_bytes + features / largest, memory, estimator.n_adjacent // 2)
            work = _Slices(estimator, source, convert, features)
        with reused_memory():
            run_blocks(sink, work.read, work.compute, verbose=estimator.verbose, description="slices")
    finally:
        sink.close()
    return sink.paths


def _as_predicted(part):
    return part


class _Slices:
    """The work on blocks of whole slices."""

    def __init__(self, estimator, source, convert, features):
        self.estimator, self.source, self.convert, self.features = estimator, source, convert, features
        self.radius = estimator.n_adjacent // 2

    def _around(self, start, stop):
        return max(0, start - self.radius), min(len(self.source), stop + self.radius)

    def read(self, start, stop):
        return self.source.read_block(*self._around(start, stop))

    def compute(self, start, stop, block):
        low, high = self._around(start, stop)
        tensor = self._tensor(block, low, high)
        del block
        options = {"memory": self.features, "convert": self.convert}
        return self.estimator._predict_block(tensor, start - low, high - stop, **options), {}

    def _tensor(self, block, low, high):
        """The block as a tensor; small integers as they are, so that they become floating numbers tile by tile."""
        if block.dtype.kind in "uib" and block.dtype.itemsize <= 2:
            return torch.from_numpy(block)
        wide = torch.float64 if _is_wide(self.source) else torch.float32
        tensor = as_tensor(block, self.source.name)[0].to(wide)
        name = f"{self.source.name}, slices {low} to {high - 1},"
        check_finite(tensor, name, "Repair such values, or leave such slices out.")
        return tensor


class _Bands(_Slices):
    """The work on bands of rows of one slice."""

    def __init__(self, estimator, source, convert, bands):
        super().__init__(estimator, source, convert, bands.features)
        self.bands = bands

    def read(self, number, start, stop):
        whole = (0, self.source.shape[2])
        return self.source.read_region(*self._around(number, number + 1), self.bands.reads(start, stop), whole)

    def compute(self, number, start, stop, block):
        low, high = self._around(number, number + 1)
        tensor = self._tensor(block, low, high)
        del block
        options = {"tiles": self.bands.tiles(start, stop), "convert": self.convert}
        return self.estimator._predict_block(tensor, number - low, high - number - 1, **options), {}


def _plan_run(estimator, source, outputs, memory):
    """Blocks, the bytes for features, those of a slice, and the `BandPlan` where the blocks are bands (else None)."""
    pixels = math.prod(source.shape[1:])
    can_cut = estimator.tile_halo is not None
    if not can_cut or pixels <= WHOLE_PIXELS:
        try:
            return *_plan(estimator, source, memory, outputs), None
        except MemoryBudgetError:
            if not can_cut:
                raise
    bands = _plan_bands(estimator, source, outputs, memory)
    return bands.blocks(len(source)), bands.features, _slice_bytes(source, outputs), bands


def _plan_bands(estimator, source, outputs, memory):
    used = used_memory()
    budget = used + available_memory() / 2 if memory is None else parse_memory(memory)
    return plan_bands(estimator, source.shape[1:], _row_bytes(estimator, source, outputs), budget, used)


def _row_bytes(estimator, source, outputs):
    """Bytes of a row of a band as it is read, with its neighbours, and as it is written."""
    columns, width = source.shape[2], source.dtype.itemsize
    # As stored: the band and the one that is read ahead. Larger types are converted as a whole, with a copy.
    kept = 2 * width if source.dtype.kind in "uib" and width <= 2 else 2 * width + 2 * max(4, width)
    return float(columns * kept * estimator.n_adjacent), float(columns * sum(map(_written_bytes, outputs)))


def _written_bytes(output):
    """Bytes of a pixel in what is predicted, in what is being written, and in the type of the file."""
    return math.prod(output.trailing_shape) * (2 * 4 + np.dtype(output.dtype).itemsize)


def _plan(estimator, source, memory, outputs=()):
    """Blocks of slices, the bytes that are left for the features of a slice, and those that a slice takes beside."""
    n, shape, radius = len(source), source.shape[1:], estimator.n_adjacent // 2
    pixels, slice_bytes = math.prod(shape), _slice_bytes(source, outputs)
    used = used_memory()
    budget = used + available_memory() / 2 if memory is None else parse_memory(memory)
    free = budget - used - FIXED
    needed = (1 + 2 * radius) * slice_bytes
    per_pixel = 4.0 * estimator.working_copies
    least = per_pixel * math.prod(estimator._smallest_box(shape))
    if needed + least > free:
        need = used + FIXED + needed + least
        raise MemoryBudgetError(
            f"memory={budget / 1e9:.2f} GB is too little: the process holds {used / 1e9:.2f} GB already, and working "
            f"on one slice takes {(need - used) / 1e9:.2f} GB more; give at least {need / 1e9 + 0.01:.2f} GB."
        )
    # Tiles compute their halos twice, and small blocks only read theirs twice: features come first.
    wanted = per_pixel * max(pixels, AT_ONCE)
    features = min(wanted, free - needed, max(least, free / 2, free - (FEW + 2 * radius) * slice_bytes))
    # What the process holds may have grown by a little since: the one slice that fits must still fit.
    left = max(budget - features, used_memory() + FIXED + needed + SLACK)
    blocks = plan_blocks(n, slice_bytes, memory=int(left), chunk=source.chunk, n_halo=radius)
    return blocks, features, slice_bytes


def _slice_bytes(source, outputs):
    """Bytes that a slice takes in a block of whole slices."""
    # As stored: the block and the one that is read ahead. In the floating type: the block, its copy with replicated
    # ends, its result, the result that is being written, and that in the type of the file; further results beside.
    further = sum(_written_bytes(output) for i, output in enumerate(outputs) if i or output.trailing_shape)
    width = 8 if _is_wide(source) else 4
    return math.prod(source.shape[1:]) * (2.0 * source.dtype.itemsize + 5 * width + further)


def _is_wide(source):
    return source.dtype.kind == "f" and source.dtype.itemsize >= 8


def _identity(estimator, source):
    """What tells this run from another."""
    middle, (rows, columns) = len(source) // 2, source.shape[1:]
    if rows * columns <= WHOLE_PIXELS:
        some = source.read_block(middle, middle + 1)
    else:
        some = source.read_region(middle, middle + 1, (rows // 2, rows // 2 + 1), (0, columns))
    return {
        "source": without_folder(source.name),
        "source_shape": list(source.shape),
        "estimator": [type(estimator).__name__, digest(estimator.__getstate__())],
        "values of the source": joblib.hash(some),
    }


def _facts(estimator, source, output):
    """Metadata of the volume: what the source says of itself, and what was done to it."""
    known = source.metadata
    return {
        **known,
        "axes": [*VOLUME_AXES, "classes"][: 3 + len(output.trailing_shape)],
        "pixel_size": known.get("pixel_size", 1.0),
        "pixel_size_unit": known.get("pixel_size_unit", "m" if "pixel_size" in known else "pixel"),
        "source": without_folder(source.name),
        "estimator": type(estimator).__name__,
        "parameters": plain_parameters(estimator),
        "versions": versions(),
        **(output.facts or {}),
    }

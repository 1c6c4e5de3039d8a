"""``predict_volume`` of estimators that map images to images: volumes of any size, from file to file."""

import math

import joblib
import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from tomolearn._validation import as_tensor, check_finite
from tomolearn.base import available_memory, parse_memory, reused_memory, used_memory
from tomolearn.base.image_predictor import AT_ONCE
from tomolearn.exceptions import MemoryBudgetError
from tomolearn.io import ArraySource, create_sink, open_volume
from tomolearn.io.source import VOLUME_AXES, Source
from tomolearn.streaming._facts import digest, keep_input, plain_parameters, versions, without_folder
from tomolearn.streaming.engine import run_blocks
from tomolearn.streaming.plan import FIXED, check_resumed, plan_blocks

__all__ = ["ImageVolumePrediction"]

FEW = 4  # slices of a block, where the features of a whole image leave no memory for more
SLACK = 2**20  # bytes by which the memory of a process changes from one look to the next


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

    _volume_dtype = np.float32

    def predict_volume(self, source, out, *, memory=None, resume=False, overwrite=False):
        """Predict a volume of any size, block by block, from file to file.

        A block of slices is read with the ``n_adjacent // 2`` slices before and behind it, and every slice is written
        once. Where the features of a whole slice do not fit into ``memory``, it is worked on in tiles.

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
        check_is_fitted(self)
        if not isinstance(source, Source):
            if isinstance(source, str) or hasattr(source, "__fspath__"):
                with open_volume(source) as opened:
                    return self.predict_volume(opened, out, memory=memory, resume=resume, overwrite=overwrite)
            source = ArraySource(source)
        self._check_volume(source)
        keep_input(source, out, "volume")
        return _run(self, source, out, memory, resume, overwrite)

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


def _run(estimator, source, out, memory, resume, overwrite):
    """Plan the blocks, predict them, and give the path of the volume."""
    n, radius = len(source), estimator.n_adjacent // 2
    blocks, features, slice_bytes = _plan(estimator, source, memory)
    sink = create_sink(
        out,
        source.shape,
        estimator._volume_dtype,
        metadata=_facts(estimator, source),
        blocks=blocks,
        run=_identity(estimator, source),
        resume=resume,
        overwrite=overwrite,
    )

    def read(start, stop):
        return source.read_block(max(0, start - radius), min(n, stop + radius))

    def compute(start, stop, block):
        low, high = max(0, start - radius), min(n, stop + radius)
        tensor = as_tensor(block, source.name)[0].to(torch.float64 if _is_wide(source) else torch.float32)
        del block
        name = f"{source.name}, slices {low} to {high - 1},"
        check_finite(tensor, name, "Repair such values, or leave such slices out.")
        return estimator._predict_block(tensor, start - low, high - stop, memory=features), {}

    try:
        if sink.done:
            largest = max(stop - start for start, stop in sink.blocks) + 2 * radius
            check_resumed(sink.blocks, slice_bytes + features / largest, memory, radius)
        with reused_memory():
            run_blocks(sink, read, compute, verbose=estimator.verbose, description="slices")
    finally:
        sink.close()
    return sink.path


def _plan(estimator, source, memory):
    """Blocks of slices, the bytes that are left for the features of a slice, and those that a slice takes beside."""
    n, shape, radius = len(source), source.shape[1:], estimator.n_adjacent // 2
    width, pixels = (8 if _is_wide(source) else 4), math.prod(shape)
    # As stored: the block and the one that is read ahead. In the floating type: the block, its copy with replicated
    # ends, its result, the result that is being written, and that in the type of the file.
    slice_bytes = pixels * (2.0 * source.dtype.itemsize + 5 * width)
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


def _is_wide(source):
    return source.dtype.kind == "f" and source.dtype.itemsize >= 8


def _identity(estimator, source):
    """What tells this run from another."""
    middle = len(source) // 2
    return {
        "source": without_folder(source.name),
        "source_shape": list(source.shape),
        "estimator": [type(estimator).__name__, digest(estimator.__getstate__())],
        "values of the source": joblib.hash(source.read_block(middle, middle + 1)),
    }


def _facts(estimator, source):
    """Metadata of the volume: what the source says of itself, and what was done to it."""
    known = source.metadata
    return {
        **known,
        "axes": list(VOLUME_AXES),
        "pixel_size": known.get("pixel_size", 1.0),
        "pixel_size_unit": known.get("pixel_size_unit", "m" if "pixel_size" in known else "pixel"),
        "source": without_folder(source.name),
        "estimator": type(estimator).__name__,
        "parameters": plain_parameters(estimator),
        "versions": versions(),
    }

"""Labels from file to file, and pictures of them."""

import importlib
from pathlib import Path

import numpy as np
from sklearn.utils.validation import check_is_fitted

from tomolearn._colors import class_colors
from tomolearn.io import ArraySource, open_volume
from tomolearn.io.source import Source
from tomolearn.streaming.images import VolumeOutput, predict_to_files

__all__ = ["predict_labels"]

PIXELS = 2**20  # of a panel at most
BAND = 2**24  # pixels that are read at a time to make one
TAILS = (0.5, 99.5)  # percentiles that become black and white


def predict_labels(estimator, source, out, probabilities, overlays, *, memory, resume, overwrite):
    """What ``predict_volume`` of a segmenter does."""
    check_is_fitted(estimator)
    if isinstance(source, str) or hasattr(source, "__fspath__"):
        options = {"memory": memory, "resume": resume, "overwrite": overwrite}
        with open_volume(source) as opened:
            return predict_labels(estimator, opened, out, probabilities, overlays, **options)
    source = source if isinstance(source, Source) else ArraySource(np.asarray(source))
    figures = None if overlays is None else _matplotlib()
    classes = estimator.classes_
    values = classes.astype(_smallest(int(classes[0]), int(classes[-1])))
    facts = {"classes": classes.astype(int).tolist(), "class_names": list(estimator.class_names_)}

    def labels_of(part):
        return values[(part.argmax(-1) if part.ndim == 4 else part).cpu().numpy()]

    outputs = [VolumeOutput(out, values.dtype, convert=labels_of, facts=facts)]
    if probabilities is not None:
        outputs.append(VolumeOutput(probabilities, np.float32, (len(classes),), facts=facts))
    else:
        estimator = estimator._giving_labels()
    path = predict_to_files(estimator, source, outputs, memory=memory, resume=resume, overwrite=overwrite)[0]
    if figures is not None:
        folder = Path(overlays)
        folder.mkdir(parents=True, exist_ok=True)
        with open_volume(path) as labels:
            for k in range(len(source)):
                image, found = _reduced(source, k), _reduced(labels, k)
                _draw(figures, folder / f"{path.stem}_{k:05d}.png", image, found, values, estimator.class_names_)
    return path


def _smallest(low, high):
    """The first type of whole numbers that holds these."""
    kinds = [np.dtype(f"{sign}int{bits}") for bits in (8, 16, 32, 64) for sign in ("u", "")]
    return next(kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)


def _matplotlib():
    try:
        return [importlib.import_module(f"matplotlib{name}") for name in (".figure", ".colors")]
    except ImportError as error:
        raise ImportError("overlays need matplotlib: pip install 'tomolearn[plot]'.") from error


def _reduced(volume, k):
    """Slice ``k``, every so many pixels of it, read in bands."""
    rows, columns = volume.shape[1:]
    step = max(1, int(np.ceil(np.sqrt(rows * columns / PIXELS))))
    height = max(1, BAND // columns // step) * step
    return np.concatenate(
        [
            volume.read_region(k, k + 1, (top, min(top + height, rows)), (0, columns))[0, ::step, ::step]
            for top in range(0, rows, height)
        ]
    )


def _shades(values):
    """Two labels are black and white; of more, 0 is black and the others have the colours of `SegmentationDisplay`."""
    if len(values) == 2:
        return ["black", "white"]
    colored = iter(class_colors(int(np.count_nonzero(values))))
    return [next(colored) if value else (0.0, 0.0, 0.0) for value in values]


def _draw(modules, path, image, labels, values, names):
    """Image and labels side by side, with the names of the labels in their colours."""
    figures, colors = modules
    figure = figures.Figure(figsize=(12, 6), dpi=min(200, max(100, max(image.shape) / 5)), layout="constrained")
    left, right = figure.subplots(1, 2)
    image, k = image.astype(np.float32), len(values)
    low, high = np.percentile(image, TAILS)
    left.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-12), interpolation="nearest")
    left.set_title("image")
    shades = colors.ListedColormap(_shades(values))
    numbers = np.searchsorted(values, labels)
    shown = right.imshow(numbers, cmap=shades, vmin=-0.5, vmax=k - 0.5, interpolation="nearest")
    right.set_title("labels")
    figure.colorbar(shown, ax=right, shrink=0.6).set_ticks(np.arange(k), labels=names)
    for axes in (left, right):
        axes.set_axis_off()
    figure.savefig(path)

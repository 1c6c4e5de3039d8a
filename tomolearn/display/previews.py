"""Pictures to look at before and after a reconstruction: slices, and one slice at several rotation axes."""

import numpy as np

from tomolearn.display._panels import check_matplotlib

__all__ = ["draw_centers", "draw_slices"]

SHOWN = (1.0, 99.8)  # percentiles of a slice that become black and white
WIDEST = 2400  # pixels of a picture


def _canvas(path, images, titles, n_columns, least, marked=()):
    """Images side by side, each pixel of an image as a square of whole pixels of the picture, with a title above."""
    matplotlib = check_matplotlib()
    rows, columns = images[0][0].shape
    zoom = max(1, -(-least // max(rows, columns)))
    width, height, gap, above = columns * zoom, rows * zoom, 8, 26
    n_rows = -(-len(images) // n_columns)
    total = n_columns * (width + gap) + gap, n_rows * (height + above) + gap
    figure = matplotlib.Figure(figsize=(total[0] / 100, total[1] / 100), dpi=100)
    for k, ((image, (low, high)), title) in enumerate(zip(images, titles, strict=True)):
        left, bottom = gap + k % n_columns * (width + gap), total[1] - (k // n_columns + 1) * (height + above)
        axis = figure.add_axes((left / total[0], bottom / total[1], width / total[0], height / total[1]))
        axis.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest", aspect="auto")
        axis.set_axis_off()
        axis.set_title(title, fontsize=9, pad=5, color="tab:red" if k in marked else "black")
    figure.savefig(path)


def _limits(images):
    finite = np.asarray(images)[np.isfinite(images)]
    low, high = np.percentile(finite, SHOWN) if finite.size else (0.0, 1.0)
    return (low, high) if low < high else (low - 0.5, low + 0.5)


def draw_slices(volume, path, *, n_slices=3, units="1/pixel"):
    """Some slices of a volume, spread from its first to its last, as a PNG, each between its own black and white.

    Parameters
    ----------
    volume : Source or array of shape (slices, rows, columns)
    path : path-like
        Of the picture; its suffix says the kind.
    n_slices : int, default=3
        How many are shown at most.
    units : str, default="1/pixel"
        Of the values.

    Raises
    ------
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from tomolearn.display import draw_slices
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "slices.png"
    >>> draw_slices(np.random.default_rng(0).random((4, 16, 16)), path)
    >>> path.stat().st_size > 1000
    True
    """
    n, *shape = volume.shape
    n_slices = min(n, n_slices, max(1, WIDEST // shape[1]))
    numbers = [int((2 * k + 1) * n / (2 * n_slices)) for k in range(n_slices)]
    step = -(-max(shape) // WIDEST)  # of an image that is larger than any screen
    images = [np.asarray(volume[number], np.float32)[::step, ::step] for number in numbers]
    limits = [_limits(image) for image in images]
    titles = [
        f"slice {number}: {low:.3g} to {high:.3g} {units}" for number, (low, high) in zip(numbers, limits, strict=True)
    ]
    _canvas(path, list(zip(images, limits, strict=True)), titles, n_slices, least=320)


def draw_centers(images, centers, path, *, chosen=None):
    """One slice reconstructed about several rotation axes, as a PNG: the sharpest picture has the right one.

    Parameters
    ----------
    images : array of shape (n, rows, columns)
    centers : sequence of n float
        The axis of each image.
    path : path-like
        Of the picture; its suffix says the kind.
    chosen : float, default=None
        The axis that a method found; its panel is marked.

    Raises
    ------
    ImportError
        If matplotlib is missing.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from tomolearn.display import draw_centers
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "centers.png"
    >>> draw_centers(np.random.default_rng(0).random((3, 16, 16)), [7.0, 7.5, 8.0], path, chosen=7.5)
    >>> path.stat().st_size > 1000
    True
    """
    images = np.asarray(images, np.float32)
    step = -(-images.shape[2] // (WIDEST // 3))
    limits = _limits(images)
    marked = {k for k, center in enumerate(centers) if chosen is not None and abs(center - chosen) < 1e-6}
    titles = [f"center {center:.2f}{' (found)' if k in marked else ''}" for k, center in enumerate(centers)]
    shown = [(image[::step, ::step], limits) for image in images]
    _canvas(path, shown, titles, min(len(images), 3), least=200, marked=marked)

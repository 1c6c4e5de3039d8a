"""What the displays share: figures, panels, colours that colour-blind readers tell apart, profiles, scale bars."""

import importlib
import math
import textwrap

import numpy as np

from tomolearn._colors import COLORS
from tomolearn._validation import as_tensor, check_finite, check_integer, check_real
from tomolearn.metrics import psnr, ssim

__all__ = [
    "COLORS",
    "DIFFERENCE",
    "TEXT",
    "TITLE",
    "WIDTH",
    "add_scale_bar",
    "as_index",
    "as_stack",
    "check_matplotlib",
    "check_pixel_size",
    "color_bar",
    "draw_difference",
    "draw_image",
    "draw_profile",
    "grey_limits",
    "image_height",
    "images_of",
    "length_unit",
    "make_panels",
    "name_of",
    "named",
    "predicted_images",
    "quality",
    "range_text",
    "same_shape",
    "shown_slices",
    "wrapped",
]

DIFFERENCE = "RdBu_r"
SHOWN = (0.5, 99.8)  # percentiles of an image that become black and white
TITLE, TEXT = 11, 10  # sizes in points, legible where a figure of 10 x 5.6 inches fills a slide
WIDTH = 10.0  # inches of a figure
PAD = 0.06  # inches around a panel
HIGHEST = 3.2  # inches of an image
WINDOW = 7  # pixels: the side of the window of SSIM
LETTER = 0.088  # inches: the mean width of a letter of a title
UNITS = ((1e-9, "nm"), (1e-6, "µm"), (1e-3, "mm"), (1.0, "m"))


def check_matplotlib():
    """The module of figures, which need no window, or an ImportError that names the extra."""
    try:
        importlib.import_module("matplotlib.backends.backend_agg")
        return importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'tomolearn[plot]'.") from error


# ------------------------------------------------------------------------------------------------------ what is given


def as_stack(x, name):
    """``x`` as a finite array (n, rows, columns); one image is a stack of one."""
    tensor = as_tensor(x, name, ndim=(2, 3))[0].detach().cpu()
    if not tensor.numel():
        raise ValueError(f"{name} must not be empty; got shape {tuple(tensor.shape)}.")
    check_finite(tensor, name, "Repair these pixels, or cut the images to where all are known.")
    stack = tensor.numpy()
    return stack if stack.ndim == 3 else stack[None]


def same_shape(stacks):
    """Raise unless all of ``stacks``, by the names of the arguments, have one shape; None is passed over."""
    shapes = {name: stack.shape for name, stack in stacks.items() if stack is not None}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"all images must have one shape (n, rows, columns); got {told}.")


def as_index(index, n):
    """The slice that is shown: the middle one where None is given."""
    return n // 2 if index is None else check_integer(index, "index", low=0, high=n - 1)


def check_pixel_size(pixel_size):
    """A length in metres, or None."""
    return None if pixel_size is None else check_real(pixel_size, "pixel_size (in m)", low=0, high=1, open_low=True)


def named(things, default, argument):
    """``things`` as a dict of name and thing; one thing alone has the name ``default(thing)``."""
    found = dict(things) if isinstance(things, dict) else {default(things): things}
    if not found or not all(isinstance(name, str) for name in found):
        raise ValueError(
            f"{argument} must be one, or a dict of names (str) and at least one; got {list(found)!r:.200}."
        )
    if len(found) > len(COLORS):
        raise ValueError(
            f"{argument} must be at most {len(COLORS)} for one figure; got {len(found)}. Draw two figures."
        )
    return found


def name_of(estimator):
    """The class of an estimator, or of the last step of a pipeline, without what it is."""
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    name = type(estimator).__name__
    for kind in ("Reconstructor", "Denoiser", "Segmenter"):
        name = name.removesuffix(kind) or name
    return name


def predicted_images(estimator, X, what="images"):
    """What ``estimator`` makes of ``X``, as (n, rows, columns)."""
    predict = getattr(estimator, "predict", None) or estimator.transform
    images = images_of(np.asarray(predict(X)), getattr(estimator, "image_shape_", None))
    if images is None or images.ndim != 3:
        got = "rows of a table" if images is None else f"shape {images.shape}"
        raise ValueError(f"estimator must predict {what} of shape (n, rows, columns) from X; got {got}. Give stacks.")
    return images


def shown_slices(X, estimator):
    """The images of ``X``, whatever its kind: stacks, windows of which the middle slice counts, or flat ones."""
    X = np.asarray(X)
    shape, n_adjacent = getattr(estimator, "image_shape_", None), getattr(estimator, "n_adjacent", 1)
    if X.ndim == 2 and shape is not None and X.shape[1] == math.prod(shape) * n_adjacent:
        X = X.reshape(len(X), n_adjacent, *shape)
    return X[:, X.shape[1] // 2] if X.ndim == 4 else X


def images_of(X, image_shape):
    """``X`` as images, or None where samples are rows of a table."""
    X = X if hasattr(X, "shape") else np.asarray(X)
    if len(X.shape) == 3:
        return X
    return None if image_shape is None else np.asarray(X).reshape(-1, *image_shape)


# --------------------------------------------------------------------------------------------------------- the figure


def make_panels(ax, cells, grid, figsize, *, widths=None, heights=None):
    """Axes for ``cells``, pairs of rows and columns of a grid, each an integer or a slice.

    ``ax``: None for a figure of its own, which no window shows; one Axes, whose place is divided; or as many as there
    are cells.
    """
    figures = check_matplotlib()
    if ax is not None and not hasattr(ax, "get_subplotspec"):
        axes = np.ravel(np.asarray(ax, dtype=object))
        if len(axes) != len(cells) or not all(hasattr(one, "imshow") for one in axes):
            raise ValueError(
                f"ax must be None, one Axes, or the {len(cells)} Axes of the panels of this figure; got {len(axes)} "
                f"of type {', '.join(sorted({type(one).__name__ for one in axes}))}."
            )
        return axes
    if len(cells) == 1 and ax is not None:
        return np.array([ax], dtype=object)
    if ax is None:
        figure = figures.Figure(figsize=figsize, layout="constrained")
        figure.get_layout_engine().set(w_pad=PAD, h_pad=1.5 * PAD)
        place = figure.add_gridspec(1, 1)[0]
    else:
        figure, place = ax.figure, ax.get_subplotspec()
        if place is None:
            raise ValueError(
                "ax must be of a grid, so that its place can be divided: make it by figure.add_subplot or "
                f"figure.subplots, or give the {len(cells)} Axes of the panels."
            )
        ax.set_axis_off()
    inner = place.subgridspec(*grid, width_ratios=widths, height_ratios=heights)
    axes = np.empty(len(cells), dtype=object)
    axes[:] = [figure.add_subplot(inner[cell]) for cell in cells]
    return axes


def image_height(shape, n_columns, other):
    """Inches of one of ``n_columns`` images of ``shape`` side by side, beside ``other`` inches of bars and labels."""
    return min((WIDTH - other) / n_columns * shape[0] / shape[1], HIGHEST)


# --------------------------------------------------------------------------------------------------------- the panels


def grey_limits(image, limits=None):
    """What becomes black and white: ``limits`` checked, or percentiles of the image."""
    if limits is None:
        finite = image[np.isfinite(image)]
        low, high = (float(v) for v in np.percentile(finite, SHOWN)) if finite.size else (0.0, 1.0)
        return (low, high) if low < high else (low - 0.5, low + 0.5)
    try:
        low, high = (check_real(value, "limits", low=-math.inf) for value in limits)
    except (TypeError, ValueError):
        low = high = 0.0
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"limits must be two finite numbers, black below white, or None; got {limits!r}.")
    return low, high


def draw_image(ax, image, limits, title, *, cmap="gray", color="black"):
    """An image without ticks, whose pixels are square."""
    shown = ax.imshow(image, cmap=cmap, vmin=limits[0], vmax=limits[1])
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=TITLE, color=color)
    return shown


def wrapped(name, n_columns):
    """A name in lines that fit above one of ``n_columns`` images of a figure."""
    width = max(10, int(WIDTH * 0.9 / n_columns / LETTER))
    return "\n".join(textwrap.wrap(name, width, break_long_words=False)) or name


def draw_difference(ax, difference, title, largest):
    """A signed image, white where it is zero."""
    return draw_image(ax, difference, (-largest, largest), title, cmap=DIFFERENCE)


def color_bar(shown, ax, label):
    """A bar of the height of ``ax`` at its right, whatever the aspect of the image leaves of the place of ``ax``."""
    rows, columns = shown.get_array().shape[:2]
    ratio = 1.0 if ax.get_aspect() == "auto" else rows / columns
    wide = max(1.0, ratio)
    bar = ax.figure.colorbar(shown, cax=ax.inset_axes((1 + 0.03 * wide, 0, 0.06 * wide, 1)))
    bar.locator = importlib.import_module("matplotlib.ticker").MaxNLocator(5 if ratio > 0.5 else 2)
    bar.update_ticks()
    bar.ax.tick_params(labelsize=TEXT)
    bar.set_label(label, fontsize=TEXT)


def draw_profile(ax, curves, row, pixel_size, units):
    """Values along a row: ``curves`` are (name, image, colour), the first drawn widest as it is the reference."""
    n_columns = curves[0][1].shape[1]
    scale, unit = (1.0, "pixels") if pixel_size is None else length_unit(n_columns * pixel_size)
    x = np.arange(n_columns) * (1.0 if pixel_size is None else pixel_size / scale)
    lines = []
    for k, (name, image, color) in enumerate(curves):
        (line,) = ax.plot(x, image[row], color=color, label=name, linewidth=2.2 if k == 0 else 1.3, zorder=2 + 0.1 * k)
        lines.append(line)
    ax.margins(x=0)
    ax.set_xlabel(f"along row {row}, {unit}", fontsize=TEXT)
    ax.set_ylabel(units or "value", fontsize=TEXT)
    ax.tick_params(labelsize=TEXT)
    ax.grid(alpha=0.3)
    ax.locator_params(axis="x", nbins=6)
    ax.locator_params(axis="y", nbins=6)
    return lines


def length_unit(length):
    """(metres, name) of the unit in which ``length``, in metres, is a number of 1 to 1000."""
    fitting = [unit for unit in UNITS if unit[0] <= length]
    return fitting[-1] if fitting else UNITS[0]


def add_scale_bar(ax, shape, pixel_size):
    """A bar of a round length in the lower left corner, nothing without ``pixel_size``."""
    if pixel_size is None:
        return
    longest = shape[1] * pixel_size * 0.35
    decade = 10 ** math.floor(math.log10(longest))
    length = max(step * decade for step in (1, 2, 5) if step * decade <= longest)
    scale, unit = length_unit(length * (1 + 1e-9))
    outline = importlib.import_module("matplotlib.patheffects").withStroke(linewidth=2.5, foreground="black")
    left, below = 0.05 * shape[1], 0.93 * shape[0]
    ax.plot(
        [left, left + length / pixel_size],
        [below, below],
        color="white",
        linewidth=3,
        solid_capstyle="butt",
        path_effects=[importlib.import_module("matplotlib.patheffects").withStroke(linewidth=5, foreground="black")],
        scalex=False,
        scaley=False,
    )
    ax.text(
        left,
        below - 0.03 * shape[0],
        f"{length / scale:.4g} {unit}",
        color="white",
        fontsize=TEXT,
        path_effects=[outline],
    )


# -------------------------------------------------------------------------------------------------------- the figures


def quality(truth, image, data_range):
    """PSNR and SSIM of one image in a line each; SSIM where its window fits into the image."""
    text = f"{psnr(truth, image, data_range=data_range):.1f} dB"
    if min(truth.shape) < WINDOW:
        return text
    return f"{text}\nSSIM {ssim(truth, image, data_range=data_range):.3f}"


def range_text(truth, data_range):
    """The data range of these figures, and where it comes from."""
    if isinstance(data_range, str):
        return f"data range {float(np.ptp(truth)):.3g}\n(max − min)"
    return f"data range {data_range:.3g}"

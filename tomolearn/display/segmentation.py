"""Labels on an image, the truth, and where they differ."""

import importlib

import numpy as np

from tomolearn._colors import class_colors
from tomolearn._validation import check_real
from tomolearn.display._panels import (
    TEXT,
    WIDTH,
    add_scale_bar,
    as_index,
    as_stack,
    check_matplotlib,
    check_pixel_size,
    draw_image,
    grey_limits,
    image_height,
    make_panels,
    predicted_images,
    shown_slices,
)
from tomolearn.metrics import dice

__all__ = ["SegmentationDisplay"]

WRONG = "#D55E00"
MOST_IN_LEGEND = 12


class SegmentationDisplay:
    """An image, labels laid over it, and with a truth this and the pixels where they differ, drawn by ``plot``.

    `from_estimator` and `from_predictions` make and draw one. The legend has the Dice coefficient of each class, of the
    slice that is shown. More than seven classes have colours from viridis, of which neighbours look alike.

    Parameters
    ----------
    images : array-like of shape (n, rows, columns) or (rows, columns)
        What was segmented.
    labels : array-like of int, of this shape
        Predicted labels.
    truth : array-like of int, of this shape, default=None
        True labels.
    class_names : dict of int to str, default=None
        Names of labels; others are called by their number.
    background : int, default=0
        The label that is not coloured; None: all are.
    ignore_label : int, default=None
        The label of ``truth`` whose pixels are not judged; they are black in the map of errors.
    pixel_size : float, default=None
        Side of a pixel in m: draws a scale bar.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure, once ``plot`` has been called.
    axes_ : ndarray of matplotlib Axes
        Of the image, the labels, with a truth this and the errors, and the legend.
    images_ : list of matplotlib AxesImage
        The grey image of each panel.
    overlays_ : list of matplotlib AxesImage
        What is laid over it: labels, truth, errors; colours with an opacity, (rows, columns, 4).
    legend_ : matplotlib Legend
        The classes with their Dice coefficients.

    Raises
    ------
    ValueError, TypeError
        If the arrays have different shapes, the image is not finite, or labels are not whole numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import SegmentationDisplay
    >>> truth = np.eye(16, dtype=int)
    >>> labels = truth.copy()
    >>> labels[:4] = 0
    >>> display = SegmentationDisplay(truth + 0.1, labels, truth, class_names={0: "matrix", 1: "crack"}).plot()
    >>> [text.get_text() for text in display.legend_.get_texts()]
    ['matrix: Dice 0.992', 'crack: Dice 0.857', 'wrong']
    """

    def __init__(
        self, images, labels, truth=None, *, class_names=None, background=0, ignore_label=None, pixel_size=None
    ):
        self.images = as_stack(images, "images")
        self.labels = _as_labels(labels, "labels", self.images.shape)
        self.truth = None if truth is None else _as_labels(truth, "truth", self.images.shape)
        if class_names is not None and not isinstance(class_names, dict):
            raise TypeError(f"class_names must be a dict of labels and names; got {class_names!r:.200}.")
        self.class_names = dict(class_names or {})
        self.background, self.ignore_label = background, ignore_label
        self.pixel_size = check_pixel_size(pixel_size)
        found = np.unique(self.labels) if self.truth is None else np.union1d(self.labels, self.truth)
        self.classes = sorted({*found.tolist(), *map(int, self.class_names)} - {ignore_label})

    @classmethod
    def from_estimator(
        cls, estimator, X, y=None, *, background=0, pixel_size=None, ax=None, index=None, limits=None, alpha=0.55
    ):
        """Segment slices by a fitted estimator and draw one of them.

        Parameters
        ----------
        estimator : Segmenter or Pipeline
            Fitted; its ``class_names_`` and ``ignore_label`` are used where it has them.
        X : array-like of shape (n, rows, columns), (n, n_adjacent, rows, columns) or (n, n_features)
            Images, as its ``predict`` takes them. All are segmented; of windows the middle slice is shown.
        y : array-like of int, of shape (n, rows, columns) or (n, rows * columns), default=None
            True labels.
        background : int, default=0
            The label that is not coloured; None: all are.
        pixel_size : float, default=None
            Side of a pixel in m.
        ax : matplotlib Axes or sequence of these, default=None
            As for ``plot``.
        index : int, default=None
            Which slice; None: the middle one.
        limits : tuple of two float, default=None
            Values that become black and white; None: percentiles.
        alpha : float, default=0.55
            How opaque the colours of the labels are, 0 to 1.

        Returns
        -------
        SegmentationDisplay
            Drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError, TypeError
            If the estimator does not give images of labels, or an argument has another shape or value.
        ImportError
            If matplotlib is missing.
        """
        check_matplotlib()
        labels = predicted_images(estimator, X, "labels")
        last = estimator
        while hasattr(last, "steps"):
            last = last.steps[-1][1]
        names = getattr(last, "class_names_", None)
        names = None if names is None else dict(zip(np.asarray(last.classes_).tolist(), names, strict=True))
        if y is not None and np.ndim(y) == 2 and np.size(y) == labels.size:
            y = np.reshape(y, labels.shape)
        display = cls(
            shown_slices(X, estimator),
            labels,
            y,
            class_names=names,
            background=background,
            ignore_label=getattr(last, "ignore_label", None),
            pixel_size=pixel_size,
        )
        return display.plot(ax=ax, index=index, limits=limits, alpha=alpha)

    @classmethod
    def from_predictions(
        cls,
        images,
        y_pred,
        y_true=None,
        *,
        class_names=None,
        background=0,
        ignore_label=None,
        pixel_size=None,
        ax=None,
        index=None,
        limits=None,
        alpha=0.55,
    ):
        """Draw labels that have been predicted already.

        Parameters
        ----------
        images : array-like of shape (n, rows, columns) or (rows, columns)
            What was segmented.
        y_pred : array-like of int, of this shape
            Predicted labels.
        y_true : array-like of int, of this shape, default=None
            True labels.
        class_names : dict of int to str, default=None
            Names of labels.
        background : int, default=0
            The label that is not coloured; None: all are.
        ignore_label : int, default=None
            The label of ``y_true`` whose pixels are not judged.
        pixel_size : float, default=None
            Side of a pixel in m.
        ax : matplotlib Axes or sequence of these, default=None
            As for ``plot``.
        index : int, default=None
            Which slice; None: the middle one.
        limits : tuple of two float, default=None
            Values that become black and white; None: percentiles.
        alpha : float, default=0.55
            How opaque the colours of the labels are, 0 to 1.

        Returns
        -------
        SegmentationDisplay
            Drawn.

        Raises
        ------
        ValueError, TypeError
            If an argument has another shape or value.
        ImportError
            If matplotlib is missing.
        """
        display = cls(
            images,
            y_pred,
            y_true,
            class_names=class_names,
            background=background,
            ignore_label=ignore_label,
            pixel_size=pixel_size,
        )
        return display.plot(ax=ax, index=index, limits=limits, alpha=alpha)

    def plot(self, *, ax=None, index=None, limits=None, alpha=0.55):
        """Draw one slice.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of these, default=None
            One of a grid, whose place is divided, or one for each panel in the order of ``axes_``. None: a figure of
            its own, which no window shows; save it by ``figure_.savefig``.
        index : int, default=None
            Which slice; None: the middle one.
        limits : tuple of two float, default=None
            Values of the image that become black and white; None: percentiles.
        alpha : float, default=0.55
            How opaque the colours of the labels are, 0 to 1.

        Returns
        -------
        SegmentationDisplay
            Itself.

        Raises
        ------
        ValueError, TypeError
            If ``index`` or ``alpha`` is out of range, ``limits`` are not ascending, or ``ax`` does not fit.
        ImportError
            If matplotlib is missing.
        """
        check_matplotlib()
        alpha = check_real(alpha, "alpha", low=0, high=1)
        n, *shape = self.images.shape
        index = as_index(index, n)
        image, labels = self.images[index], self.labels[index]
        truth = None if self.truth is None else self.truth[index]
        limits = grey_limits(image, limits)
        overlays = {"labels": self._colored(labels, alpha)}
        if truth is not None:
            ignored = np.zeros(truth.shape, bool) if self.ignore_label is None else truth == self.ignore_label
            wrong = (labels != truth) & ~ignored
            share = wrong.sum() / max(1, (~ignored).sum())
            overlays |= {
                "truth": self._colored(truth, alpha),
                f"wrong, {100 * share:.1f} % of pixels": _marked(wrong, ignored),
            }
        n_panels = 1 + len(overlays)
        cells = [(0, k) for k in range(n_panels)] + [(1, slice(None))]
        height = image_height(shape, n_panels, 0.4)
        self.axes_ = make_panels(ax, cells, (2, n_panels), (WIDTH, height + 1.2), heights=[height, 0.5])
        self.figure_ = self.axes_[0].figure
        titles = ["image" + (f", slice {index}" if n > 1 else ""), *overlays]
        self.images_ = [
            draw_image(axes, image, limits, title) for axes, title in zip(self.axes_[:-1], titles, strict=True)
        ]
        self.overlays_ = [
            axes.imshow(colors, interpolation="nearest")
            for axes, colors in zip(self.axes_[1:-1], overlays.values(), strict=True)
        ]
        add_scale_bar(self.axes_[0], shape, self.pixel_size)
        self._draw_legend(labels, truth, alpha)
        return self

    def _palette(self):
        """A colour for each class, none for the background."""
        colored = [label for label in self.classes if label != self.background]
        return dict(zip(colored, class_colors(len(colored)), strict=True))

    def _colored(self, labels, alpha):
        """Labels as colours with an opacity, (rows, columns, 4)."""
        colors = np.zeros((*labels.shape, 4), np.float32)
        for label, color in self._palette().items():
            colors[labels == label] = (*color, alpha)
        return colors

    def _draw_legend(self, labels, truth, alpha):
        patch = importlib.import_module("matplotlib.patches").Patch
        palette, handles = self._palette(), []
        coefficients = [None] * len(self.classes)
        if truth is not None:
            judged = slice(None) if self.ignore_label is None else truth != self.ignore_label
            if labels[judged].size:
                coefficients = dice(truth[judged], labels[judged], average=None, labels=self.classes)
        for label, value in zip(self.classes, coefficients, strict=True):
            text = str(self.class_names.get(label, label))
            if truth is not None:
                text += ": absent" if value is None or np.isnan(value) else f": Dice {value:.3f}"
            color = palette.get(label)
            handles.append(patch(facecolor="0.75" if color is None else color, edgecolor="0.3", label=text))
        if len(handles) > MOST_IN_LEGEND:
            more = len(handles) - MOST_IN_LEGEND + 1
            handles = [*handles[: MOST_IN_LEGEND - 1], patch(facecolor="none", label=f"and {more} more")]
        if truth is not None:
            handles.append(patch(facecolor=WRONG, edgecolor="0.3", label="wrong"))
            if self.ignore_label is not None:
                handles.append(patch(facecolor="black", label="not judged"))
        self.axes_[-1].set_axis_off()
        self.legend_ = self.axes_[-1].legend(handles=handles, fontsize=TEXT, loc="center", ncols=4, frameon=False)


def _marked(wrong, ignored):
    """Wrong pixels in a colour on a brightened image, those that are not judged in black."""
    colors = np.full((*wrong.shape, 4), (1.0, 1.0, 1.0, 0.45), np.float32)
    colors[wrong] = (*(int(WRONG[k : k + 2], 16) / 255 for k in (1, 3, 5)), 1.0)
    colors[ignored] = (0.0, 0.0, 0.0, 1.0)
    return colors


def _as_labels(labels, name, shape):
    """Whole numbers of ``shape``, (n, rows, columns)."""
    array = np.asarray(labels)
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.trunc(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub":
        raise TypeError(f"{name} must hold whole-number labels; got dtype {array.dtype}.")
    array = array.astype(np.int64)
    if array.ndim == 2:
        array = array[None]
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape of the images, {shape}; got {array.shape}.")
    return array

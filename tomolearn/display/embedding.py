"""A map of samples: a scatter plot with small pictures of some of them, colours and marks of outliers."""

import importlib
from typing import Any

import numpy as np

from tomolearn._validation import check_integer
from tomolearn.display._panels import COLORS, TEXT, check_matplotlib, images_of

__all__ = ["EmbeddingDisplay"]

IN_MAP = 6  # labels whose legend finds room on the map
POINT = 14  # square points of a sample
MOST_CLASSES = 20  # distinct numbers that are still taken as labels
MARKERS = "o^sD"  # where there are more labels than colours
SHOWN = (1.0, 99.8)  # percentiles of the images that become black and white
THUMBNAIL = 0.055  # its longer side, as a share of the side of the map
PIXELS = 48  # of a thumbnail's longer side at most


class EmbeddingDisplay:
    """A map of samples, drawn by ``plot``; `from_estimator` and `from_predictions` make and draw one.

    Parameters
    ----------
    embedding : array-like of shape (n, 2)
        The place of each sample.
    images : array-like or Source of shape (n, rows, columns), default=None
        What the samples look like. Only those that are shown are read.
    values : array-like of shape (n,), default=None
        What the colours say: labels (texts, truth values, or up to 20 different integers) or numbers.
    values_name : str, default="label"
        What these are, for legend and colour bar.
    outliers : array-like of shape (n,), bool, default=None
        Which samples are marked by a black ring.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure, once ``plot`` has been called.
    ax_ : matplotlib Axes
        The axes.
    scatter_ : matplotlib PathCollection or list of these
        The points; one collection for each label.
    thumbnails_ : ndarray of int
        Which samples have a picture on the map.

    Raises
    ------
    ValueError, TypeError
        If an argument has another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.display import EmbeddingDisplay
    >>> rng = np.random.default_rng(0)
    >>> display = EmbeddingDisplay(rng.normal(size=(40, 2)), images=rng.random((40, 8, 8)), values=np.arange(40) % 3)
    >>> display.plot(n_thumbnails=5).ax_.get_legend().get_title().get_text()
    'label'
    """

    def __init__(self, embedding, *, images=None, values=None, values_name="label", outliers=None):
        self.embedding = np.asarray(embedding, np.float64)
        if self.embedding.ndim != 2 or self.embedding.shape[1] != 2 or not np.isfinite(self.embedding).all():
            raise ValueError(
                f"embedding must be finite, of shape (n, 2); got shape {self.embedding.shape}. Draw maps of two "
                "components."
            )
        self._colors: Any = None
        self.images = images if images is None or hasattr(images, "read_block") else np.asarray(images)
        self.values = values if values is None else np.asarray(values)
        self.values_name = values_name
        self.outliers = outliers if outliers is None else np.asarray(outliers, bool)
        n = len(self.embedding)
        for name, n_axes in (("images", 3), ("values", 1), ("outliers", 1)):
            given = getattr(self, name)
            if given is not None and (len(given.shape) != n_axes or given.shape[0] != n):
                shape = "(n, rows, columns)" if n_axes == 3 else "(n,)"
                raise ValueError(f"{name} must have the shape {shape} with n={n} samples; got {tuple(given.shape)}.")

    @classmethod
    def from_estimator(cls, estimator, X, y=None, *, ax=None, n_thumbnails=40, random_state=0):
        """Place samples on the map of a fitted estimator and draw it.

        Parameters
        ----------
        estimator : TSNEReducer or another transformer to two components
            Fitted. Where it has ``score_samples``, the colours are the scores unless ``y`` is given; where it has that
            and ``predict``, samples with -1 are marked.
        X : array-like or Source of shape (n, rows, columns) or (n, n_features)
            What ``estimator.transform`` takes. Of samples that are no images no pictures are shown.
        y : array-like of shape (n,), default=None
            Labels or numbers to colour by.
        ax : matplotlib Axes, default=None
            Where to draw. None: a figure of its own.
        n_thumbnails : int, default=40
            Pictures on the map at most.
        random_state : int, default=0
            Which samples get them.

        Returns
        -------
        EmbeddingDisplay
            Drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError, TypeError
            If the map does not have two components or an argument has another shape.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.decomposition import PCA
        >>> from tomolearn.display import EmbeddingDisplay
        >>> X = np.random.default_rng(0).normal(size=(30, 5))
        >>> display = EmbeddingDisplay.from_estimator(PCA(2).fit(X), X, y=X[:, 0])
        >>> display.embedding.shape
        (30, 2)
        """
        check_matplotlib()
        embedding = estimator.transform(X)
        values, name, outliers = y, "label", None
        if hasattr(estimator, "score_samples"):
            if y is None:
                values, name = estimator.score_samples(X), "score"
            if hasattr(estimator, "predict"):
                outliers = np.asarray(estimator.predict(X)) == -1
        images = images_of(X, getattr(estimator, "image_shape", None))
        display = cls(embedding, images=images, values=values, values_name=name, outliers=outliers)
        return display.plot(ax=ax, n_thumbnails=n_thumbnails, random_state=random_state)

    @classmethod
    def from_predictions(
        cls,
        embedding,
        *,
        images=None,
        values=None,
        values_name="label",
        outliers=None,
        ax=None,
        n_thumbnails=40,
        random_state=0,
    ):
        """Draw a map that has been made already.

        Parameters
        ----------
        embedding : array-like of shape (n, 2)
            The place of each sample.
        images : array-like or Source of shape (n, rows, columns), default=None
            What the samples look like.
        values : array-like of shape (n,), default=None
            Labels or numbers to colour by.
        values_name : str, default="label"
            What these are.
        outliers : array-like of shape (n,), bool, default=None
            Which samples are marked.
        ax : matplotlib Axes, default=None
            As for ``plot``.
        n_thumbnails : int, default=40
            Pictures on the map at most.
        random_state : int, default=0
            Which samples get them.

        Returns
        -------
        EmbeddingDisplay
            Drawn.

        Raises
        ------
        ValueError, TypeError
            If an argument has another shape or value.
        ImportError
            If matplotlib is missing.
        """
        display = cls(embedding, images=images, values=values, values_name=values_name, outliers=outliers)
        return display.plot(ax=ax, n_thumbnails=n_thumbnails, random_state=random_state)

    def plot(self, *, ax=None, n_thumbnails=40, random_state=0):
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None: a figure of its own, which no window shows; save it by ``figure_.savefig``.
        n_thumbnails : int, default=40
            Pictures on the map at most. They never lie one over the other; outliers come first.
        random_state : int, default=0
            Which samples get them.

        Returns
        -------
        EmbeddingDisplay
            Itself.

        Raises
        ------
        ValueError, TypeError
            If ``n_thumbnails`` or ``random_state`` is not a non-negative integer.
        ImportError
            If matplotlib is missing.
        """
        check_integer(n_thumbnails, "n_thumbnails", low=0)
        check_integer(random_state, "random_state", low=0, high=2**32 - 1)
        figure = check_matplotlib()
        if ax is None:
            ax = figure.Figure(figsize=(8, 7), layout="constrained").add_subplot()
        self.ax_, self.figure_ = ax, ax.figure
        self._draw_points()
        if self.outliers is not None and self.outliers.any():
            n = int(self.outliers.sum())
            x, y = self.embedding[self.outliers].T
            label = f"{n} outlier{'s' if n > 1 else ''}"
            ax.scatter(x, y, s=60, facecolors="none", edgecolors="black", linewidths=1.4, label=label, zorder=3)
        if ax.get_legend_handles_labels()[1]:
            is_label = self.values is not None and _are_labels(self.values)
            many = is_label and len(self.scatter_) > IN_MAP
            place = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if many else {}
            ax.legend(title=self.values_name if is_label else None, fontsize=TEXT, title_fontsize=TEXT, **place)
        self.thumbnails_ = self._choose(n_thumbnails, random_state)
        self._draw_thumbnails()
        ax.set(xticks=[], yticks=[], aspect="equal")
        return self

    def _draw_points(self):
        """The points; ``_colors`` is that of each sample."""
        x, y = self.embedding.T
        if self.values is None:
            self.scatter_ = self.ax_.scatter(x, y, s=POINT, color=COLORS[0])
            self._colors = [COLORS[0]] * len(x)
        elif _are_labels(self.values):
            labels, classes = np.unique(self.values, return_inverse=True)
            self._colors = [COLORS[k % len(COLORS)] for k in classes]
            self.scatter_ = [
                self.ax_.scatter(
                    *self.embedding[classes == k].T,
                    s=POINT,
                    color=COLORS[k % len(COLORS)],
                    marker=MARKERS[k // len(COLORS) % len(MARKERS)],
                    label=str(label),
                )
                for k, label in enumerate(labels)
            ]
        else:
            self.scatter_ = self.ax_.scatter(x, y, s=POINT, c=self.values.astype(np.float64), cmap="viridis")
            self._colors = self.scatter_.to_rgba(self.values.astype(np.float64))
            self.figure_.colorbar(self.scatter_, ax=self.ax_, label=self.values_name, shrink=0.7)

    def _choose(self, n_thumbnails, random_state):
        """Samples in random order, outliers first, of which each keeps a picture's distance from those before."""
        if self.images is None:
            return np.empty(0, int)
        order = np.random.default_rng(random_state).permutation(len(self.embedding))
        if self.outliers is not None:
            order = order[np.argsort(~self.outliers[order], kind="stable")]
        least = self._thumbnail_side() * 1.1
        chosen: list[int] = []
        for i in order:
            if len(chosen) >= n_thumbnails:
                break
            apart = np.abs(self.embedding[chosen] - self.embedding[i]).max(axis=1, initial=0)
            if (apart >= least).all():
                chosen.append(int(i))
        return np.array(chosen, int)

    def _thumbnail_side(self):
        return THUMBNAIL * max(float(np.ptp(self.embedding, axis=0).max()), 1e-12)

    def _draw_thumbnails(self):
        if not len(self.thumbnails_):
            return
        pictures = [np.asarray(self.images[int(i)], np.float64) for i in self.thumbnails_]
        finite = np.concatenate([p[np.isfinite(p)] for p in pictures])
        low, high = np.percentile(finite, SHOWN) if finite.size else (0.0, 1.0)
        rows, columns = pictures[0].shape
        step = -(-max(rows, columns) // PIXELS)
        side = self._thumbnail_side() / max(rows, columns)
        frame = importlib.import_module("matplotlib.patches").Rectangle
        limits = self.ax_.get_xlim(), self.ax_.get_ylim()
        for i, picture in zip(self.thumbnails_, pictures, strict=True):
            x, y = self.embedding[i]
            width, height = side * columns, side * rows
            left, below = x - width / 2, y - height / 2
            place = (left, left + width, below, below + height)
            self.ax_.imshow(
                picture[::step, ::step], cmap="gray", vmin=low, vmax=max(high, low + 1e-12), extent=place, zorder=2
            )
            edge = self._colors[i]  # the picture hides the point
            self.ax_.add_patch(frame((left, below), width, height, fill=False, edgecolor=edge, linewidth=1.5, zorder=2))
        self.ax_.set(xlim=limits[0], ylim=limits[1])


def _are_labels(values):
    return values.dtype.kind in "USObO" or (values.dtype.kind in "iu" and len(np.unique(values)) <= MOST_CLASSES)

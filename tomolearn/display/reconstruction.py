"""Reconstructions of one slice side by side, with the truth, error maps and a profile."""

import numpy as np

from tomolearn._validation import check_integer
from tomolearn.display._panels import (
    COLORS,
    TEXT,
    WIDTH,
    add_scale_bar,
    as_index,
    as_stack,
    check_matplotlib,
    check_pixel_size,
    color_bar,
    draw_difference,
    draw_image,
    draw_profile,
    grey_limits,
    image_height,
    make_panels,
    name_of,
    named,
    predicted_images,
    quality,
    range_text,
    same_shape,
    wrapped,
)
from tomolearn.metrics.images import check_data_range

__all__ = ["ReconstructionDisplay"]

MOST_COLUMNS = 6.3  # widths of an image of a figure of the usual width: more make it wider, so that titles have room


class ReconstructionDisplay:
    """Reconstructions side by side, drawn by ``plot``; `from_estimator` and `from_predictions` make and draw one.

    With a truth there is a row of error maps, white where the reconstruction is right, and each title has the PSNR and
    the SSIM of the slice that is shown. All images have the same greys, and all errors the same colours.

    Parameters
    ----------
    reconstructions : array-like of shape (n, rows, columns) or (rows, columns), or dict of str to these
        Up to six, by the names that they are shown with; with more than four the figure is wider than a slide.
    truth : array-like of the shape of the reconstructions, default=None
        The true images.
    data_range : float or "reference", default="reference"
        Of PSNR and SSIM, as in `tomolearn.metrics.psnr`; "reference": maximum minus minimum of the true slice that is
        shown. The figure says which.
    pixel_size : float, default=None
        Side of a pixel in m: draws a scale bar and gives the profile a length.
    units : str, default=None
        Of the values, such as "1/pixel", for the colour bars.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure, once ``plot`` has been called.
    axes_ : ndarray of matplotlib Axes
        Of each image, truth first; with a truth of each error map and of the legend; and of the profile.
    images_ : list of matplotlib AxesImage
        The truth, if there is one, and the reconstructions.
    errors_ : list of matplotlib AxesImage
        The error maps, reconstruction minus truth.
    lines_ : list of matplotlib Line2D
        The profiles, in the order of ``images_``.

    Raises
    ------
    ValueError, TypeError
        If an array is not finite or of another shape than the others, or ``data_range`` or ``pixel_size`` is not
        positive.

    Examples
    --------
    >>> from tomolearn import FBPReconstructor, ReconstructionDisplay, radon
    >>> from tomolearn.geometry import default_angles
    >>> from tomolearn.simulation import random_ellipses
    >>> truth = random_ellipses(2, 32, random_state=0)
    >>> sinograms = radon(truth, default_angles(48))
    >>> methods = {name: FBPReconstructor(filter=name).fit(sinograms) for name in ("ram-lak", "hann")}
    >>> display = ReconstructionDisplay.from_estimator(methods, sinograms, truth)
    >>> [ax.get_title().splitlines()[:2] for ax in display.axes_[1:3]]
    [['ram-lak', '34.1 dB'], ['hann', '29.8 dB']]
    """

    def __init__(self, reconstructions, truth=None, *, data_range="reference", pixel_size=None, units=None):
        check_data_range(data_range)
        given = named(reconstructions, lambda _: "reconstruction", "reconstructions")
        self.reconstructions = {name: as_stack(stack, f"reconstructions[{name!r}]") for name, stack in given.items()}
        self.truth = None if truth is None else as_stack(truth, "truth")
        same_shape(
            {**{f"reconstructions[{name!r}]": s for name, s in self.reconstructions.items()}, "truth": self.truth}
        )
        self.data_range, self.units = data_range, units
        self.pixel_size = check_pixel_size(pixel_size)

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        data_range="reference",
        pixel_size=None,
        units=None,
        ax=None,
        index=None,
        row=None,
        limits=None,
    ):
        """Reconstruct slices by one or several fitted estimators and draw one of them.

        Parameters
        ----------
        estimator : Reconstructor, Pipeline, or dict of str to these
            Fitted. One alone is named by its class.
        X : array-like of shape (n, n_angles, n_detectors) or (n, n_angles * n_detectors)
            Sinograms, as their ``predict`` takes them. All are reconstructed.
        y : array-like of shape (n, rows, columns) or (n, rows * columns), default=None
            True images.
        data_range : float or "reference", default="reference"
            Of PSNR and SSIM.
        pixel_size : float, default=None
            Side of a pixel in m.
        units : str, default=None
            Of the values.
        ax : matplotlib Axes or sequence of these, default=None
            As for ``plot``.
        index : int, default=None
            Which slice; None: the middle one.
        row : int, default=None
            Row of the profile; None: the middle one.
        limits : tuple of two float, default=None
            Values that become black and white; None: percentiles.

        Returns
        -------
        ReconstructionDisplay
            Drawn.

        Raises
        ------
        NotFittedError
            If an estimator is not fitted.
        ValueError, TypeError
            If an estimator does not give images, or an argument has another shape or value.
        ImportError
            If matplotlib is missing.
        """
        check_matplotlib()
        estimators = named(estimator, name_of, "estimator")
        images = {name: predicted_images(one, X) for name, one in estimators.items()}
        if y is not None and np.ndim(y) == 2:
            shape = next(iter(images.values())).shape
            y = np.reshape(y, shape) if np.size(y) == np.prod(shape) else y
        display = cls(images, y, data_range=data_range, pixel_size=pixel_size, units=units)
        return display.plot(ax=ax, index=index, row=row, limits=limits)

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_pred,
        *,
        data_range="reference",
        pixel_size=None,
        units=None,
        ax=None,
        index=None,
        row=None,
        limits=None,
    ):
        """Draw images that have been reconstructed already.

        Parameters
        ----------
        y_true : array-like of shape (n, rows, columns) or (rows, columns), or None
            True images, where they are known.
        y_pred : array-like of this shape, or dict of str to these
            Reconstructions by their names.
        data_range : float or "reference", default="reference"
            Of PSNR and SSIM.
        pixel_size : float, default=None
            Side of a pixel in m.
        units : str, default=None
            Of the values.
        ax : matplotlib Axes or sequence of these, default=None
            As for ``plot``.
        index : int, default=None
            Which slice; None: the middle one.
        row : int, default=None
            Row of the profile; None: the middle one.
        limits : tuple of two float, default=None
            Values that become black and white; None: percentiles.

        Returns
        -------
        ReconstructionDisplay
            Drawn.

        Raises
        ------
        ValueError, TypeError
            If an argument has another shape or value.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> import numpy as np
        >>> from tomolearn import ReconstructionDisplay
        >>> truth = np.eye(16)
        >>> display = ReconstructionDisplay.from_predictions(truth, {"FBP": truth + 0.1}, data_range=1.0)
        >>> display.axes_[1].get_title()
        'FBP\\n20.0 dB\\nSSIM 0.635'
        """
        display = cls(y_pred, y_true, data_range=data_range, pixel_size=pixel_size, units=units)
        return display.plot(ax=ax, index=index, row=row, limits=limits)

    def plot(self, *, ax=None, index=None, row=None, limits=None):
        """Draw one slice.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of these, default=None
            One of a grid, whose place is divided, or one for each panel in the order of ``axes_``. None: a figure of
            its own, which no window shows; save it by ``figure_.savefig``.
        index : int, default=None
            Which slice; None: the middle one.
        row : int, default=None
            Row of the profile; None: the middle one.
        limits : tuple of two float, default=None
            Values that become black and white; None: percentiles of the truth or else of the first reconstruction.

        Returns
        -------
        ReconstructionDisplay
            Itself.

        Raises
        ------
        ValueError, TypeError
            If ``index`` or ``row`` is out of range, ``limits`` are not ascending, or ``ax`` does not fit.
        ImportError
            If matplotlib is missing.
        """
        n, *shape = next(iter(self.reconstructions.values())).shape
        index = as_index(index, n)
        row = shape[0] // 2 if row is None else check_integer(row, "row", low=0, high=shape[0] - 1)
        truth = None if self.truth is None else self.truth[index]
        images = {name: stack[index] for name, stack in self.reconstructions.items()}
        limits = grey_limits(next(iter(images.values())) if truth is None else truth, limits)
        self.axes_ = self._panels(ax, shape, len(images), truth is not None)
        self.figure_ = self.axes_[0].figure

        shown = [] if truth is None else [("truth", truth, "black")]
        shown += [(self._wrapped(name), image, COLORS[k]) for k, (name, image) in enumerate(images.items())]
        titles = self._titles(images, truth, f", slice {index}" if n > 1 else "")
        self.images_ = [
            draw_image(axes, image, limits, title)
            for axes, (_, image, _), title in zip(self.axes_, shown, titles, strict=False)
        ]
        for axes in self.axes_[: len(shown)]:
            axes.axhline(row, color=COLORS[4], linewidth=0.9, linestyle=(0, (5, 5)))
        add_scale_bar(self.axes_[0], shape, self.pixel_size)
        color_bar(self.images_[-1], self.axes_[len(shown) - 1], self.units)
        self.errors_ = []
        if truth is not None:
            self._draw_errors(images, truth, self.axes_[len(shown) : -2])
        self.lines_ = draw_profile(self.axes_[-1], shown, row, self.pixel_size, self.units)
        self._draw_legend(truth is not None)
        return self

    def _panels(self, ax, shape, n_images, has_truth):
        """The images in a row, the errors below them, and the profile at the right, of the width of 1.3 images."""
        n_columns = n_images + has_truth
        cells: list[tuple[int | slice, int]] = [(0, k) for k in range(n_columns)]
        cells += [(1, k + 1) for k in range(n_images) if has_truth]
        cells += [(1, 0)] * has_truth + [(slice(None), n_columns)]
        widths = [1] * n_columns + [1.3]
        wider = max(1.0, sum(widths) / MOST_COLUMNS)
        height = (1 + has_truth) * (image_height(shape, sum(widths) / wider, 1.8) + 0.15) + 1.0
        return make_panels(ax, cells, (1 + has_truth, n_columns + 1), (wider * WIDTH, max(height, 3.0)), widths=widths)

    def _titles(self, images, truth, of_slice):
        names = [self._wrapped(name) for name in images]
        if truth is None:
            return [name + (of_slice if k == 0 else "") for k, name in enumerate(names)]
        figures = [quality(truth, image, self.data_range) for image in images.values()]
        titles = [f"{name}\n{figure}" for name, figure in zip(names, figures, strict=True)]
        return [f"truth{of_slice}\n{range_text(truth, self.data_range)}", *titles]

    def _wrapped(self, name):
        return wrapped(name, min(MOST_COLUMNS, len(self.reconstructions) + 1.3 + (self.truth is not None)))

    def _draw_errors(self, images, truth, axes):
        errors = [image - truth for image in images.values()]
        largest = float(np.percentile(np.abs(errors), 99.5)) or 1.0
        for one, error in zip(axes, errors, strict=True):
            self.errors_.append(draw_difference(one, error, "", largest))
        color_bar(self.errors_[-1], axes[-1], f"error, {self.units}" if self.units else "error")

    def _draw_legend(self, has_truth):
        """Whose profile is whose: below the truth, where there is nothing else, or on the profiles."""
        if has_truth:
            self.axes_[-2].set_axis_off()
            self.axes_[-2].legend(handles=self.lines_, fontsize=TEXT, loc="center", title="profiles", frameon=False)
            self.axes_[-2].get_legend().get_title().set_fontsize(TEXT)
        elif len(self.lines_) > 1:
            self.axes_[-1].legend(fontsize=TEXT, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)

"""A slice before and after denoising, what was taken away, and the truth where it is known."""

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
    predicted_images,
    quality,
    range_text,
    same_shape,
    shown_slices,
)
from tomolearn.metrics.images import check_data_range

__all__ = ["DenoisingDisplay"]


class DenoisingDisplay:
    """A slice before and after denoising, and their difference, drawn by ``plot``.

    `from_estimator` and `from_predictions` make and draw one. The difference, before minus after, is what was taken
    away: of a good denoiser it holds no edges. With a truth, titles have PSNR and SSIM of the slice that is shown.

    Parameters
    ----------
    noisy : array-like of shape (n, rows, columns) or (rows, columns)
        Images before.
    denoised : array-like of this shape
        Images after.
    truth : array-like of this shape, default=None
        Clean images.
    data_range : float or "reference", default="reference"
        Of PSNR and SSIM, as in `tomolearn.metrics.psnr`; "reference": maximum minus minimum of the clean slice that is
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
        Before, after, the truth if there is one, the difference, and the profile.
    images_ : list of matplotlib AxesImage
        Before, after and the truth.
    difference_ : matplotlib AxesImage
        Before minus after.
    lines_ : list of matplotlib Line2D
        The profiles: the truth, before, after.

    Raises
    ------
    ValueError, TypeError
        If an array is not finite or of another shape than the others, or ``data_range`` or ``pixel_size`` is not
        positive.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import DenoisingDisplay
    >>> clean = np.eye(16)
    >>> display = DenoisingDisplay(clean + 0.1, clean + 0.01, clean, data_range=1.0).plot()
    >>> display.axes_[1].get_title()
    'after\\n40.0 dB\\nSSIM 0.928'
    """

    def __init__(self, noisy, denoised, truth=None, *, data_range="reference", pixel_size=None, units=None):
        check_data_range(data_range)
        self.noisy, self.denoised = as_stack(noisy, "noisy"), as_stack(denoised, "denoised")
        self.truth = None if truth is None else as_stack(truth, "truth")
        same_shape({"noisy": self.noisy, "denoised": self.denoised, "truth": self.truth})
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
        """Denoise slices by a fitted estimator and draw one of them.

        Parameters
        ----------
        estimator : Denoiser or Pipeline
            Fitted.
        X : array-like of shape (n, rows, columns), (n, n_adjacent, rows, columns) or (n, n_features)
            Noisy images, as its ``predict`` takes them. All are denoised; of windows the middle slice is shown.
        y : array-like of shape (n, rows, columns) or (n, rows * columns), default=None
            Clean images.
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
        DenoisingDisplay
            Drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError, TypeError
            If the estimator does not give images, or an argument has another shape or value.
        ImportError
            If matplotlib is missing.
        """
        check_matplotlib()
        images = predicted_images(estimator, X)
        if y is not None and np.ndim(y) == 2 and np.size(y) == images.size:
            y = np.reshape(y, images.shape)
        noisy = shown_slices(X, estimator)
        display = cls(noisy, images, y, data_range=data_range, pixel_size=pixel_size, units=units)
        return display.plot(ax=ax, index=index, row=row, limits=limits)

    @classmethod
    def from_predictions(
        cls,
        noisy,
        denoised,
        y_true=None,
        *,
        data_range="reference",
        pixel_size=None,
        units=None,
        ax=None,
        index=None,
        row=None,
        limits=None,
    ):
        """Draw images that have been denoised already.

        Parameters
        ----------
        noisy : array-like of shape (n, rows, columns) or (rows, columns)
            Images before.
        denoised : array-like of this shape
            Images after.
        y_true : array-like of this shape, default=None
            Clean images.
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
        DenoisingDisplay
            Drawn.

        Raises
        ------
        ValueError, TypeError
            If an argument has another shape or value.
        ImportError
            If matplotlib is missing.
        """
        display = cls(noisy, denoised, y_true, data_range=data_range, pixel_size=pixel_size, units=units)
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
            Values that become black and white; None: percentiles of the truth or else of the denoised slice.

        Returns
        -------
        DenoisingDisplay
            Itself.

        Raises
        ------
        ValueError, TypeError
            If ``index`` or ``row`` is out of range, ``limits`` are not ascending, or ``ax`` does not fit.
        ImportError
            If matplotlib is missing.
        """
        n, *shape = self.noisy.shape
        index = as_index(index, n)
        row = shape[0] // 2 if row is None else check_integer(row, "row", low=0, high=shape[0] - 1)
        noisy, denoised = self.noisy[index], self.denoised[index]
        truth = None if self.truth is None else self.truth[index]
        limits = grey_limits(denoised if truth is None else truth, limits)
        shown = [("before", noisy, COLORS[5]), ("after", denoised, COLORS[1])]
        shown += [] if truth is None else [("truth", truth, "black")]

        self.axes_ = self._panels(ax, shape, len(shown) + 1)
        self.figure_ = self.axes_[0].figure
        titles = self._titles(noisy, denoised, truth, f", slice {index}" if n > 1 else "")
        self.images_ = [
            draw_image(axes, image, limits, title)
            for axes, (_, image, _), title in zip(self.axes_, shown, titles, strict=False)
        ]
        for axes in self.axes_[: len(shown)]:
            axes.axhline(row, color=COLORS[4], linewidth=0.9, linestyle=(0, (5, 5)))
        add_scale_bar(self.axes_[0], shape, self.pixel_size)
        color_bar(self.images_[-1], self.axes_[len(shown) - 1], self.units)
        self._draw_difference(noisy - denoised)
        # The truth is drawn first and wide, so that the others are seen on it.
        curves = shown if truth is None else [shown[-1], *shown[:-1]]
        self.lines_ = draw_profile(self.axes_[-1], curves, row, self.pixel_size, self.units)
        self.axes_[-1].legend(fontsize=TEXT, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)
        return self

    def _panels(self, ax, shape, n_images):
        """Images in a row, the profile below."""
        cells = [(0, k) for k in range(n_images)] + [(1, slice(None))]
        image = image_height(shape, n_images, 2.0)
        return make_panels(ax, cells, (2, n_images), (WIDTH, image + 1.4 + 1.7), heights=[image, 1.4])

    def _titles(self, noisy, denoised, truth, of_slice):
        if truth is None:
            return [f"before{of_slice}", "after"]
        before, after = (quality(truth, image, self.data_range) for image in (noisy, denoised))
        return [f"before{of_slice}\n{before}", f"after\n{after}", f"truth\n{range_text(truth, self.data_range)}"]

    def _draw_difference(self, difference):
        largest = float(np.percentile(np.abs(difference), 99.5)) or 1.0
        title = f"before − after\nSD {float(difference.std()):.3g}"
        self.difference_ = draw_difference(self.axes_[-2], difference, title, largest)
        color_bar(self.difference_, self.axes_[-2], self.units)

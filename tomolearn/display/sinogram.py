"""A sinogram with its angles and its rotation axis, and what a reconstruction leaves of it."""

import math
from typing import Any

import numpy as np

from tomolearn._validation import as_tensor
from tomolearn.display._panels import (
    COLORS,
    DIFFERENCE,
    TEXT,
    TITLE,
    WIDTH,
    as_index,
    check_matplotlib,
    check_pixel_size,
    color_bar,
    grey_limits,
    length_unit,
    make_panels,
    predicted_images,
    same_shape,
)
from tomolearn.geometry import as_radians, default_angles
from tomolearn.operators import RadonOperator

__all__ = ["SinogramDisplay"]

EQUAL = 1e-3  # of a step: by how much steps between angles that count as equal may differ


class SinogramDisplay:
    """A sinogram over detector and angle with the rotation axis, drawn by ``plot``.

    `from_estimator` and `from_predictions` make and draw one. With the projections of a reconstruction, these and the
    residual, measured minus projected, stand beside it: a good reconstruction leaves noise without structure. Values
    that are not finite are shown in orange and do not count.

    Parameters
    ----------
    sinograms : array-like of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Measured line integrals.
    projections : array-like of this shape, default=None
        Line integrals of a reconstruction.
    angles : array-like of shape (n_angles,), default=None
        None: equally spaced over half a turn.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.
    center : float or array-like of shape (n,), default=None
        Detector coordinate of the rotation axis, of all slices or of each; None: the middle of the detector.
    pixel_size : float, default=None
        Width of a detector pixel in m; the detector axis has a length then.
    units : str, default=None
        Of the values, for the colour bars; None: "line integral".

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure, once ``plot`` has been called.
    axes_ : ndarray of matplotlib Axes
        Of the sinogram and, with projections, of these and of the residual.
    images_ : list of matplotlib AxesImage
        What they show.
    line_ : matplotlib Line2D
        The rotation axis on the sinogram.

    Raises
    ------
    ValueError, TypeError
        If an array has another shape, or a number is out of its range.
    GeometryError
        If ``angles`` are no list of finite numbers, or look like degrees.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import SinogramDisplay
    >>> display = SinogramDisplay(np.ones((60, 32)), angles=np.arange(60) * 3.0, angle_unit="deg").plot()
    >>> display.axes_[0].get_ylabel(), [text.get_text() for text in display.axes_[0].get_yticklabels()]
    ('angle, degrees', ['0', '30', '60', '90', '120', '150'])
    """

    def __init__(
        self,
        sinograms,
        projections=None,
        *,
        angles=None,
        angle_unit=None,
        center=None,
        pixel_size=None,
        units=None,
    ):
        self.sinograms = _as_sinograms(sinograms, "sinograms")
        self.projections = None if projections is None else _as_sinograms(projections, "projections")
        same_shape({"sinograms": self.sinograms, "projections": self.projections})
        n, n_angles, n_detectors = self.sinograms.shape
        self.angles = default_angles(n_angles) if angles is None else as_radians(angles, angle_unit)
        if len(self.angles) != n_angles:
            raise ValueError(f"angles must be one for each of {n_angles} projections; got {len(self.angles)}.")
        center = np.asarray((n_detectors - 1) / 2 if center is None else center, np.float64)
        if center.shape not in ((), (1,), (n,)) or not np.isfinite(center).all():
            raise ValueError(
                f"center must be a finite number, or one for each of {n} slices, or None for the middle of the "
                f"detector; got shape {center.shape}."
            )
        self.center = np.broadcast_to(center, (n,))
        self.pixel_size, self.units = check_pixel_size(pixel_size), units or "line integral"

    @classmethod
    def from_estimator(cls, estimator, X, *, pixel_size=None, units=None, ax=None, index=None, limits=None):
        """Reconstruct sinograms by a fitted estimator, project the images, and draw what is left of one sinogram.

        Parameters
        ----------
        estimator : Reconstructor
            Fitted, and one that knows its scan: FBP-, SIRT-, CGLS-, TV-, FBPUNet-, IRadonMAP-, LearnedPrimalDual- or
            Noise2InverseReconstructor.
        X : array-like of shape (n, n_angles, n_detectors)
            Sinograms, as its ``predict`` takes them and of the scan that it was fitted with. All are reconstructed.
        pixel_size : float, default=None
            Width of a detector pixel in m.
        units : str, default=None
            Of the values.
        ax : matplotlib Axes or sequence of these, default=None
            As for ``plot``.
        index : int, default=None
            Which slice; None: the middle one.
        limits : tuple of two float, default=None
            Values that become black and white; None: percentiles.

        Returns
        -------
        SinogramDisplay
            Drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError, TypeError
            If the estimator has no scan to project its images along, or an argument has another shape or value.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> import numpy as np
        >>> from tomolearn import FBPReconstructor, SinogramDisplay
        >>> X = np.ones((1, 24, 16))
        >>> display = SinogramDisplay.from_estimator(FBPReconstructor().fit(X), X)
        >>> [ax.get_title().splitlines()[0] for ax in display.axes_]
        ['measured', 'projected', 'measured − projected']
        """
        check_matplotlib()
        images = predicted_images(estimator, X)
        geometry = getattr(estimator, "geometry_", None)
        if geometry is None:
            raise ValueError(
                f"estimator must know its scan, geometry_; a {type(estimator).__name__} does not. Project its images "
                "by tomolearn.radon and give them to from_predictions."
            )
        display = cls(
            np.reshape(X, (-1, *estimator.sinogram_shape_)),
            RadonOperator(geometry)(images),
            angles=geometry.angles,
            angle_unit="rad",
            center=estimator.center_,
            pixel_size=pixel_size,
            units=units,
        )
        return display.plot(ax=ax, index=index, limits=limits)

    @classmethod
    def from_predictions(
        cls,
        sinograms,
        projections=None,
        *,
        angles=None,
        angle_unit=None,
        center=None,
        pixel_size=None,
        units=None,
        ax=None,
        index=None,
        limits=None,
    ):
        """Draw a sinogram and, if given, the projections of a reconstruction.

        Parameters
        ----------
        sinograms : array-like of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
            Measured line integrals.
        projections : array-like of this shape, default=None
            Line integrals of a reconstruction, by `tomolearn.radon`.
        angles : array-like of shape (n_angles,), default=None
            None: equally spaced over half a turn.
        angle_unit : {"rad", "deg", None}, default=None
            Unit of ``angles``.
        center : float or array-like of shape (n,), default=None
            Detector coordinate of the rotation axis.
        pixel_size : float, default=None
            Width of a detector pixel in m.
        units : str, default=None
            Of the values.
        ax : matplotlib Axes or sequence of these, default=None
            As for ``plot``.
        index : int, default=None
            Which slice; None: the middle one.
        limits : tuple of two float, default=None
            Values that become black and white; None: percentiles.

        Returns
        -------
        SinogramDisplay
            Drawn.

        Raises
        ------
        ValueError, TypeError
            If an argument has another shape or value.
        ImportError
            If matplotlib is missing.
        """
        display = cls(
            sinograms,
            projections,
            angles=angles,
            angle_unit=angle_unit,
            center=center,
            pixel_size=pixel_size,
            units=units,
        )
        return display.plot(ax=ax, index=index, limits=limits)

    def plot(self, *, ax=None, index=None, limits=None):
        """Draw one sinogram.

        Parameters
        ----------
        ax : matplotlib Axes or sequence of these, default=None
            One, whose place is divided where there are projections, or one for each panel in the order of ``axes_``.
            None: a figure of its own, which no window shows; save it by ``figure_.savefig``.
        index : int, default=None
            Which slice; None: the middle one.
        limits : tuple of two float, default=None
            Values that become black and white; None: percentiles of the sinogram.

        Returns
        -------
        SinogramDisplay
            Itself.

        Raises
        ------
        ValueError, TypeError
            If ``index`` is out of range, ``limits`` are not ascending, or ``ax`` does not fit.
        ImportError
            If matplotlib is missing.
        """
        check_matplotlib()
        n = len(self.sinograms)
        index = as_index(index, n)
        measured = self.sinograms[index]
        limits = grey_limits(measured, limits)
        n_panels = 1 if self.projections is None else 3
        cells = [(0, k) for k in range(n_panels)]
        self.axes_ = make_panels(ax, cells, (1, n_panels), (WIDTH if n_panels > 1 else 0.7 * WIDTH, 5.6))
        self.figure_ = self.axes_[0].figure
        title = "measured" if n_panels > 1 else "sinogram"
        title += (f", slice {index}" if n > 1 else "") + f"\naxis at pixel {self.center[index]:.5g} (dashed)"
        n_bad = int(np.size(measured) - np.isfinite(measured).sum())
        title += f"\n{n_bad} values not finite (orange)" if n_bad else ""
        self.images_ = [self._draw(0, measured, title, limits, "gray")]
        if self.projections is not None:
            self._draw_residual(measured, self.projections[index], limits)
        color_bar(self.images_[0], self.axes_[max(0, n_panels - 2)], self.units)
        self._draw_center(self.center[index])
        self.axes_[0].set_ylabel(self._angle_axis()[2], fontsize=TEXT)
        return self

    def _draw_residual(self, measured, projected, limits):
        residual = measured - projected
        finite = residual[np.isfinite(residual)].astype(np.float64)
        largest = float(np.percentile(np.abs(finite), 99.5)) if finite.size else 0.0
        rms = math.sqrt(np.mean(finite**2)) if finite.size else math.nan
        self.images_.append(self._draw(1, projected, "projected", limits, "gray"))
        limits = (-(largest or 1.0), largest or 1.0)
        self.images_.append(self._draw(2, residual, f"measured − projected\nRMS {rms:.3g}", limits, DIFFERENCE))
        color_bar(self.images_[2], self.axes_[2], self.units)
        for axes in self.axes_[1:]:
            axes.set_yticklabels([])

    def _draw(self, k, sinogram, title, limits, cmap):
        """One panel; rows in the order of the scan."""
        axes = self.axes_[k]
        n_detectors = sinogram.shape[1]
        step, unit = self._detector_axis()
        top, bottom, _ = self._angle_axis()
        shown = axes.imshow(
            np.ma.masked_invalid(sinogram),
            cmap=cmap,
            vmin=limits[0],
            vmax=limits[1],
            aspect="auto",
            extent=(-0.5 * step, (n_detectors - 0.5) * step, bottom, top),
        )
        shown.set_cmap(shown.get_cmap().with_extremes(bad=COLORS[4]))
        axes.set_title(title, fontsize=TITLE)
        axes.set_xlabel(f"detector, {unit}", fontsize=TEXT)
        axes.tick_params(labelsize=TEXT)
        axes.locator_params(axis="x", nbins=5)
        axes.set_yticks(*self._angle_ticks())
        return shown

    def _draw_center(self, center):
        step = self._detector_axis()[0]
        for axes in self.axes_:
            line = axes.axvline(center * step, color=COLORS[1], linewidth=1.5, linestyle="--")
            self.line_: Any = line if axes is self.axes_[0] else self.line_

    def _detector_axis(self):
        """What a pixel of the detector is on the axis, and the unit of this."""
        if self.pixel_size is None:
            return 1.0, "pixels"
        scale, unit = length_unit(self.pixel_size * self.sinograms.shape[2])
        return self.pixel_size / scale, unit

    def _steps(self):
        """Degrees between neighbouring angles, or None where they are not equally spaced."""
        degrees = np.rad2deg(self.angles)
        if len(degrees) < 2:
            return None
        steps = np.diff(degrees)
        equal = steps[0] != 0 and np.abs(steps - steps.mean()).max() <= EQUAL * abs(steps.mean())
        return float(steps.mean()) if equal else None

    def _angle_axis(self):
        """Where the axis begins at the top and ends at the bottom, and its label."""
        step = self._steps()
        if step is None:  # rows of the scan, of which some have their angle written beside them
            return -0.5, len(self.angles) - 0.5, "angle, degrees, in the order of the scan"
        degrees = np.rad2deg(self.angles)
        return degrees[0] - step / 2, degrees[-1] + step / 2, "angle, degrees"

    def _angle_ticks(self):
        degrees = np.rad2deg(self.angles)
        if self._steps() is None:
            rows = np.unique(np.linspace(0, len(degrees) - 1, 7).round().astype(int))
            return rows, [f"{degrees[row]:.4g}" for row in rows]
        low, high = sorted((degrees[0], degrees[-1]))
        wanted = max(high - low, 1e-9) / 7
        decade = 10 ** math.floor(math.log10(wanted))
        round_steps = [1, 2, 5, 10, 15, 30, 45, 60, 90, 180] if wanted > 1 else [decade * k for k in (1, 2, 5, 10)]
        step = next((one for one in round_steps if one >= wanted), 360)
        # An axis that ends one step before a round angle, as half a turn does, has a tick at its end all the same.
        ticks = np.arange(math.ceil(low / step - 1e-6), math.floor((high + abs(self._steps()) / 2) / step + 1e-6) + 1)
        return ticks * step, [f"{tick:.6g}" for tick in ticks * step]


def _as_sinograms(x, name):
    stack = as_tensor(x, name, ndim=(2, 3))[0].detach().cpu().numpy()
    if not stack.size:
        raise ValueError(f"{name} must not be empty; got shape {stack.shape}.")
    return stack if stack.ndim == 3 else stack[None]

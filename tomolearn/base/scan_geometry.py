"""What reconstructors share that know the geometry of their scan: angles, rotation axis, detector, image."""

import copy
import dataclasses
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from tomolearn._validation import check_integer
from tomolearn.base.reconstructor import Reconstructor
from tomolearn.exceptions import FileFormatError, GeometryError
from tomolearn.geometry import ParallelBeam, as_radians, default_angles
from tomolearn.metrics import consistency
from tomolearn.operators import RadonOperator

__all__ = ["ScanReconstructor"]


class ScanReconstructor(Reconstructor):
    """A `Reconstructor` that inverts the projection of a known scan; stands before ``BaseEstimator``.

    A subclass has the parameters ``angles``, ``angle_unit``, ``center``, ``detector_spacing``, ``image_shape``,
    ``sinogram_shape`` and ``verbose``. Its ``fit`` calls ``_fit_geometry``, and it defines ``_reconstruct``.

    Examples
    --------
    >>> from tomolearn import FBPReconstructor
    >>> from tomolearn.base import ScanReconstructor
    >>> issubclass(FBPReconstructor, ScanReconstructor)
    True
    """

    center_: Any  # a float, or an array of one for each slice
    image_shape_: Any  # (rows, columns)

    def of_slices(self, start, stop):
        """The fitted reconstructor of some of the slices: itself, unless each slice has a centre of its own.

        Parameters
        ----------
        start, stop : int

        Returns
        -------
        Reconstructor
        """
        check_is_fitted(self)
        if np.ndim(self.center_) == 0:
            return self
        part = copy.copy(self)
        part.center_ = self.center_[start:stop]
        part.geometry_ = dataclasses.replace(self.geometry_, center=part.center_[:, None], angle_unit="rad")
        return part

    def consistency(self, X):
        """Reconstruct slices, project them, and report where they contradict the data.

        Parameters
        ----------
        X : array-like of shape (n, n_angles, n_detectors) or (n, n_angles * n_detectors)
            Sinograms as for ``predict``.

        Returns
        -------
        Consistency
            See `tomolearn.metrics.consistency`: ``map`` and ``fraction``.

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError
            If ``X`` is not finite or of a wrong shape.
        MemoryBudgetError
            If the images do not fit into memory.
        """
        images, fitted = self.predict(X), self._suited(X)
        return consistency(
            images.reshape(-1, *fitted.image_shape_),
            np.asarray(X).reshape(-1, *fitted.sinogram_shape_),
            fitted.angles_,
            center=fitted.geometry_.center,
            detector_spacing=fitted.geometry_.detector_spacing,
            angle_unit="rad",
        )

    def _suited(self, X):
        """This estimator, or a copy for sinograms of another shape than in ``fit``."""
        return self

    def _operator(self):
        return RadonOperator(self.geometry_)

    def _check_scan_state(self, state, name):
        """Raise unless the scan in a model file is one, and everything that is said of it agrees."""
        shapes, beam = (state.get("sinogram_shape_"), state.get("image_shape_")), state.get("geometry_")
        if not isinstance(beam, ParallelBeam) or ((len(beam.angles), beam.n_detectors), beam.image_shape) != shapes:
            raise FileFormatError(
                f"{name} must hold geometry_, a scan of sinograms of {shapes[0]!r:.80} and images of "
                f"{shapes[1]!r:.80}; got {beam!r:.300}."
            )
        angles, center = state.get("angles_"), state.get("center_")
        if not isinstance(angles, np.ndarray) or not np.array_equal(angles, beam.angles):
            raise FileFormatError(f"{name} must hold angles_, those of geometry_; got {angles!r:.200}.")
        per_slice = isinstance(center, np.ndarray) and center.dtype == np.float64 and center.ndim == 1
        if not (per_slice or isinstance(center, float)) or not np.array_equal(
            np.asarray(beam.center), center[:, None] if per_slice else center
        ):
            raise FileFormatError(f"{name} must hold center_, that of geometry_; got {center!r:.200}.")

    def _fit_geometry(self, X, image_shape=None):
        """Check ``X`` and the parameters of the scan, and learn the scan; returns ``X``.

        ``image_shape``: instead of the parameter.
        """
        X = self._check_sinograms(X, reset=True)
        angles = self._check_angles(X)
        center = self._learn_center(X, angles)
        self.geometry_ = ParallelBeam(
            angles,
            self.sinogram_shape_[1],
            image_shape=self.image_shape if image_shape is None else image_shape,
            center=center if np.ndim(center) == 0 else center[:, None],
            detector_spacing=self.detector_spacing,
            angle_unit="rad",
        )
        self.angles_ = angles
        self.center_ = self.geometry_.center if np.ndim(center) == 0 else center
        self.image_shape_ = self.geometry_.image_shape
        self._check_n_slices(len(X))
        check_integer(int(self.verbose) if isinstance(self.verbose, bool) else self.verbose, "verbose", low=0)
        return X

    def _check_angles(self, X):
        """The angles of ``sinogram_shape_``, in radians."""
        n_angles = self.sinogram_shape_[0]
        angles = default_angles(n_angles) if self.angles is None else as_radians(self.angles, self.angle_unit)
        if self.angles is None and self.angle_unit not in (None, "rad", "deg"):
            raise GeometryError(f"angle_unit must be 'rad', 'deg' or None; got {self.angle_unit!r}.")
        if len(angles) != n_angles:
            hint = ""
            if X.ndim == 2 and self.sinogram_shape is None:
                hint = (
                    " A row of flat X is a sinogram of one angle: give "
                    f"sinogram_shape=({len(angles)}, n_detectors), or X[None] for a single sinogram."
                )
            raise GeometryError(
                f"angles must be one per projection; got {len(angles)} for sinograms of shape {self.sinogram_shape_} "
                f"(n_angles, n_detectors).{hint}"
            )
        return angles

    def _learn_center(self, X, angles):
        """None, a float or an array of one float per slice; a subclass may find it in the sinograms."""
        return self._check_center()

    def _check_center(self):
        """None, a float or an array of one float per slice."""
        if self.center is None:
            return None
        try:
            center = None if isinstance(self.center, str) else np.asarray(self.center, dtype=np.float64)
        except (TypeError, ValueError):
            center = None
        if center is None or center.ndim > 1:
            got = repr(self.center) if center is None else f"an array of shape {center.shape}"
            raise GeometryError(
                f"center must be a number, a list of one number per slice, or None for the middle of the detector; "
                f"got {got}."
            )
        return center if center.ndim else float(center)

    def _check_n_slices(self, n):
        if np.ndim(self.center_) and len(self.center_) != n:
            raise GeometryError(
                f"center holds one number for each of {len(self.center_)} slices; X has {n}. Give one number for all "
                "slices, or X and centers of the same slices."
            )

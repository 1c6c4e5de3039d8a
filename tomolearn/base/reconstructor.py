"""The contract of the reconstructors: what scikit-learn asks of them, and what stacks of images add to it."""

import copy
import dataclasses

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from tomolearn._validation import check_integer
from tomolearn.base.memory import check_memory
from tomolearn.base.stacks import BLOCK, SinogramInput
from tomolearn.exceptions import GeometryError
from tomolearn.geometry import ParallelBeam, as_radians, default_angles
from tomolearn.operators import RadonOperator

__all__ = ["Reconstructor"]


class Reconstructor(SinogramInput, ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """What all estimators share that turn sinograms into images; stands before ``BaseEstimator``.

    A subclass has the parameters ``angles``, ``angle_unit``, ``center``, ``detector_spacing``, ``image_shape``,
    ``sinogram_shape`` and ``verbose``. Its ``fit`` calls `_fit_geometry`, and it defines `_reconstruct`.

    Examples
    --------
    >>> from tomolearn.base import Reconstructor, registry
    >>> import tomolearn.reconstruction
    >>> issubclass(registry()["FBPReconstructor"], Reconstructor)
    True
    """

    working_copies = (4, 4)  # copies of its sinogram and of its image that a slice needs at the same time

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.multi_output = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def predict(self, X):
        """Reconstruct each slice.

        Parameters
        ----------
        X : array-like of shape (n, n_angles, n_detectors) or (n, n_angles * n_detectors)
            Sinograms as in ``fit``: line integrals in pixel lengths. Real numbers of any dtype, byte order and stride.

        Returns
        -------
        ndarray of shape (n, rows, columns) or (n, rows * columns)
            Images in 1/pixel, flat if ``X`` is; in the floating dtype of ``X`` (integers give float32).

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError
            If ``X`` is not finite, or its sinograms have another shape than in ``fit``, or there is one centre for each
            of another number of slices.
        MemoryBudgetError
            If the images do not fit into memory.
        """
        check_is_fitted(self)
        X = self._check_sinograms(X)
        self._check_n_slices(len(X))
        dtype = X.dtype.newbyteorder("=") if X.dtype.kind == "f" else np.dtype(np.float32)
        self._check_budget(len(X), dtype.itemsize)
        images = np.empty((len(X), *self.image_shape_), dtype)
        A = RadonOperator(self.geometry_)
        steps = self._n_steps()
        starts = range(0, len(X), BLOCK)
        disable = None if self.verbose else True  # None: a bar on a terminal, nothing in a log file
        with tqdm(total=steps * len(starts), desc=type(self).__name__, disable=disable) as bar:
            for done, start in enumerate(starts, 1):
                part = slice(start, start + BLOCK)
                images[part] = self._reconstruct(A.slices(start, start + BLOCK), self._block(X, part), bar.update)
                bar.update(done * steps - bar.n)  # a solver that is done early skips steps
        return images if X.ndim == 3 else images.reshape(len(X), -1)

    def transform(self, X):
        """Reconstruct each slice: the same as ``predict``.

        Parameters
        ----------
        X : array-like of shape (n, n_angles, n_detectors) or (n, n_angles * n_detectors)
            Sinograms as in ``fit``.

        Returns
        -------
        ndarray of shape (n, rows, columns) or (n, rows * columns)
            Images, flat if ``X`` is. ``set_output`` makes data frames of flat ones.
        """
        return self.predict(X)

    def score(self, X, y):
        """Variance-weighted R2 of the images: 1 - SSE / SST over all pixels.

        SSE is the sum of the squared errors; SST that of the squared differences between the true images and their
        mean, which is an image too. 1 is perfect; 0 is as good as that mean image.

        Parameters
        ----------
        X : array-like of shape (n, n_angles, n_detectors) or (n, n_angles * n_detectors)
            Sinograms of at least two slices.
        y : array-like of shape (n, rows, columns) or (n, rows * columns)
            True images. With flat ``X`` and without ``image_shape`` also (n,) or (n, 1): one value for all the pixels
            of a slice.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If ``y`` is not finite, has another shape, or all its images are the same.

        Notes
        -----
        scikit-learn's ``r2_score(..., multioutput="variance_weighted")`` is the same but that it leaves out the errors
        in pixels that have one value in all the true images, as the background has.
        """
        images = self.predict(X)
        flat = images.ndim == 2
        images = images.reshape(len(images), -1)
        y = self._check_images(y, *images.shape, weak=flat and self.image_shape is None)
        mean = y.mean(axis=0, dtype=np.float64)
        # slice by slice: float64 copies of a whole stack would take more memory than the prediction
        sse = sum(np.square(np.subtract(a, b, dtype=np.float64)).sum() for a, b in zip(y, images, strict=True))
        sst = sum(np.square(a - mean).sum() for a in y)
        if not np.isfinite(sst):
            raise ValueError("y must be finite; got NaN or infinite values. Repair them, or leave such images out.")
        if sst == 0:
            raise ValueError(
                f"y must hold at least 2 different images, since R2 compares with their mean; got {len(y)} of one kind."
            )
        return float(1 - sse / sst)

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

    @property
    def _n_features_out(self):
        return self.image_shape_[0] * self.image_shape_[1]

    def _check_budget(self, n, itemsize):
        """Are there bytes for ``n`` images and for what one block takes at the very least?"""
        pixels = float(self._n_features_out)
        check_memory(
            (n * pixels + min(n, BLOCK) * (pixels + self.n_features_in_)) * itemsize,
            f"{n} images of {self.image_shape_[0]} x {self.image_shape_[1]} pixels",
            f"Lower image_shape={self.image_shape_}, give sinogram_shape if X is flat, or take fewer slices at once.",
        )

    def _n_steps(self):
        """How often ``_reconstruct`` reports progress."""
        return 1

    def _reconstruct(self, A, y, step):
        """Images (k, rows, columns) of the sinograms ``y`` (k, n_angles, n_detectors), tensors; calls ``step()``."""
        raise NotImplementedError

    def _check_images(self, y, n, n_pixels, *, weak):
        """``y`` as numbers (n, n_pixels); ``weak``: one value a slice will do."""
        y = np.asarray(y)
        y = y if y.dtype.kind in "fiub" else y.astype(np.float64)
        if weak and y.shape in ((n,), (n, 1)):
            return np.broadcast_to(y.reshape(n, 1), (n, n_pixels))
        if y.shape not in ((n, *self.image_shape_), (n, n_pixels)):
            raise ValueError(
                f"y must have shape {(n, *self.image_shape_)} or {(n, n_pixels)}, as the images; got {y.shape}."
            )
        return y.reshape(n, n_pixels)

    # ----------------------------------------------------------------------------------------------- geometry

    def _fit_geometry(self, X):
        """Check ``X`` and the parameters of the scan, and learn the scan; returns ``X``."""
        X = self._check_sinograms(X, reset=True)
        n_angles, n_detectors = self.sinogram_shape_
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
        center = self._learn_center(X, angles)
        self.geometry_ = ParallelBeam(
            angles,
            n_detectors,
            image_shape=self.image_shape,
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

"""The contract of the denoisers: what scikit-learn asks of them, and what stacks of images add to it."""

import math

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from tomolearn.base.image_predictor import ImagePredictor
from tomolearn.base.targets import check_targets, variance_weighted_r2
from tomolearn.metrics import consistency

__all__ = ["Denoiser"]

MOST_LABELS = 32  # distinct integers that are taken for labels: images of whole grey values have more
LOOKED_AT = 8  # images that are searched for more values than that


class Denoiser(ImagePredictor, ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """What all estimators share that turn noisy images into clean ones; stands before ``BaseEstimator``.

    A subclass defines what `ImagePredictor` asks for. Its ``fit`` calls ``_check_images(X, reset=True)`` and, where it
    learns from clean images, ``_check_clean(y, X)``; `windows` gives the samples of a training.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator
    >>> from tomolearn.base import Denoiser
    >>> class Shrink(Denoiser, BaseEstimator):
    ...     tile_halo = 0
    ...
    ...     def __init__(self, *, image_shape=None, verbose=0):
    ...         self.image_shape, self.verbose = image_shape, verbose
    ...
    ...     def fit(self, X, y):
    ...         X = self._check_images(X, reset=True)
    ...         y = self._check_clean(y, X)
    ...         self.factor_ = float((X * y).sum() / (X * X).sum())
    ...         return self
    ...
    ...     def _predict_windows(self, windows):
    ...         return self.factor_ * windows[:, 0]
    >>> X = np.array([[[1.0, 2.0]], [[3.0, 4.0]]])
    >>> Shrink().fit(X, X / 2).predict(X).tolist()
    [[[0.5, 1.0]], [[1.5, 2.0]]]
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.multi_output = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def predict(self, X):
        """Denoise each slice.

        Parameters
        ----------
        X : array-like of shape (n, rows, columns), (n, n_adjacent, rows, columns) or (n, n_features)
            Noisy images: one ordered volume, windows that do not know each other, or either of them flat. Real numbers
            of any dtype, byte order and stride; stacks of any size, if the estimator does not say otherwise.

        Returns
        -------
        ndarray of shape (n, rows, columns) or (n, rows * columns)
            Images, flat if ``X`` is; in the floating dtype of ``X`` (integers give float32).

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError
            If ``X`` is not finite, flat and of another length than in ``fit``, or holds windows of another number of
            slices than ``n_adjacent``.
        MemoryBudgetError
            If the images do not fit into memory.
        """
        check_is_fitted(self)
        X = self._check_input(X, reset=False)
        dtype = X.dtype.newbyteorder("=") if X.dtype.kind == "f" else np.dtype(np.float32)
        images = self._predict_stack(X, dtype)
        return images if len(X.shape) > 2 else images.reshape(len(X), -1)

    def transform(self, X):
        """Denoise each slice: the same as ``predict``.

        Parameters
        ----------
        X : array-like of shape (n, rows, columns), (n, n_adjacent, rows, columns) or (n, n_features)
            Noisy images as for ``predict``.

        Returns
        -------
        ndarray of shape (n, rows, columns) or (n, rows * columns)
            Images, flat if ``X`` is. ``set_output`` makes data frames of flat ones.
        """
        return self.predict(X)

    def score(self, X, y, sample_weight=None):
        """Variance-weighted R2 of the images: 1 - SSE / SST over all pixels.

        SSE is the sum of the squared errors; SST that of the squared differences between the true images and their
        mean, which is an image too. 1 is perfect; 0 is as good as that mean image.

        Parameters
        ----------
        X : array-like of shape (n, rows, columns), (n, n_adjacent, rows, columns) or (n, n_features)
            Noisy images of at least two slices.
        y : array-like of shape (n, rows, columns) or (n, rows * columns)
            Clean images. With flat ``X`` and without ``image_shape`` also (n,) or (n, 1): one value for all the pixels
            of an image.
        sample_weight : array-like of shape (n,), default=None
            How often each slice counts, not below zero: two as if it were there twice, zero as if it were not. None:
            each once. In pipelines and searches under metadata routing, ``set_score_request(sample_weight=True)`` asks
            for it.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If ``y`` is not finite, has another shape, or all its images that count are the same, or ``sample_weight``
            is not ``n`` numbers from zero on, some above it.
        """
        images = self.predict(X)
        shape = images.shape[1:] if images.ndim == 3 else self.image_shape_
        y = check_targets(y, len(images), shape, weak=images.ndim == 2 and self.image_shape is None)
        return variance_weighted_r2(y, images.reshape(len(images), -1), sample_weight)

    def consistency(self, X, sinograms, angles, *, center=None, detector_spacing=1.0, angle_unit=None):
        """Denoise slices, project them, and report where they contradict the measured data.

        Parameters
        ----------
        X : array-like of shape (n, rows, columns) or (n, n_adjacent, rows, columns)
            Noisy slices, in 1 / pixel.
        sinograms : array-like of shape (n, n_angles, n_detectors)
            The measured data that they were reconstructed from: line integrals in pixel lengths.
        angles : array-like of shape (n_angles,)
            In any order and spacing.
        center : float or array-like, default=None
            Detector coordinate of the rotation axis, as in `tomolearn.ops.radon`; None: the middle of the detector.
        detector_spacing : float, default=1.0
            Width of a detector bin in pixels.
        angle_unit : {"rad", "deg", None}, default=None
            Unit of ``angles``; None means radians and is refused for values that look like degrees.

        Returns
        -------
        Consistency
            See `tomolearn.metrics.consistency`: ``map`` and ``fraction``.

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        GeometryError
            If angles or centre do not make a scan.
        ValueError, TypeError
            If ``X`` or ``sinograms`` are not finite or do not go together, or a number is out of its range.
        MemoryBudgetError
            If the images do not fit into memory.
        """
        images = self.predict(X)
        scan = {"center": center, "detector_spacing": detector_spacing, "angle_unit": angle_unit}
        return consistency(images, sinograms, angles, **scan)

    @property
    def _n_features_out(self):
        return math.prod(self.image_shape_)

    def _check_clean(self, y, X, name="y"):
        """``y`` as finite images (n, rows, columns) that go with checked ``X``; a Source as it is."""
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        n, shape = len(X), self._entry_shape(X)[-2:]
        if hasattr(y, "read_block"):
            if tuple(y.shape) != (n, *shape):
                raise ValueError(f"{name} must have shape {(n, *shape)}, as the images; {y.name} has {tuple(y.shape)}.")
            self._refuse_labels(y, X, name)
            return y
        y = np.asarray(y)
        weak = len(X.shape) == 2 and self.image_shape is None
        is_weak = weak and y.shape in ((n,), (n, 1))
        y = check_targets(y, n, shape, weak=weak, name=name).reshape(n, *shape)
        if y.dtype.kind == "f" and not np.isfinite(np.sum(y, dtype=np.float64)):
            raise ValueError(f"{name} must be finite; got NaN or infinite values. Repair them, or leave them out.")
        if not is_weak:
            self._refuse_labels(y, X, name)
        return y

    def _refuse_labels(self, y, X, name):
        """Raise where ``y`` holds the labels of a segmenter: a denoiser would learn to predict them."""
        if X.dtype.kind != "f" or y.dtype.kind == "f":
            return
        values = set()
        for index in np.unique(np.linspace(0, len(y) - 1, LOOKED_AT).astype(int)):
            values.update(np.unique(y[index]).tolist())
            if len(values) > MOST_LABELS:
                return
        raise ValueError(
            f"{name} looks like labels: {y.dtype} of {len(values)} distinct values, where X is {X.dtype}; a denoiser "
            "learns from clean images. In a pipeline with a segmenter give the fitted denoiser as "
            "sklearn.frozen.FrozenEstimator(denoiser). If these are clean images, give them as floating numbers."
        )

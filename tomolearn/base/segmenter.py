"""The contract of the segmenters: labels for every pixel, their probabilities, and the score."""

import copy
import math

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import ClassifierTags
from sklearn.utils.validation import check_is_fitted

from tomolearn._validation import check_sample_weight
from tomolearn.base.image_predictor import ImagePredictor
from tomolearn.base.targets import check_targets
from tomolearn.metrics import dice

__all__ = ["Segmenter", "whole_numbers"]

SHOWN = 5  # labels that a message lists


class Segmenter(ImagePredictor, ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """What all estimators share that give each pixel of a slice a label; stands before ``BaseEstimator``.

    A subclass has the parameter ``ignore_label``. Its ``fit`` calls ``_check_images(X, reset=True)`` and
    ``_check_masks(y, X)``, and learns ``classes_``, ascending. ``_predict_windows`` gives probabilities
    (k, rows, columns, n_classes) or, where ``_labels_only`` is True, positions in ``classes_`` (k, rows, columns),
    uint8.

    It is no classifier of scikit-learn's kind, which gives a sample one label: here a sample is a slice.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklearn.base import BaseEstimator
    >>> from tomolearn.base import Segmenter
    >>> class Threshold(Segmenter, BaseEstimator):
    ...     tile_halo, ignore_label = 0, None
    ...
    ...     def __init__(self, *, image_shape=None, verbose=0):
    ...         self.image_shape, self.verbose = image_shape, verbose
    ...
    ...     def fit(self, X, y):
    ...         X = self._check_images(X, reset=True)
    ...         y = self._check_masks(y, X)
    ...         self.classes_ = np.unique(y)
    ...         self.threshold_ = (X[y == self.classes_[0]].max() + X[y == self.classes_[1]].min()) / 2
    ...         return self
    ...
    ...     def _predict_windows(self, windows):
    ...         second = windows[:, 0] > self.threshold_
    ...         return second.byte() if self._labels_only else torch.stack([~second, second], -1).float()
    >>> X, y = np.array([[[0.0, 1.0], [4.0, 5.0]]]), np.array([[[3, 3], [7, 7]]])
    >>> segmenter = Threshold().fit(X, y)
    >>> segmenter.predict(X + 1).tolist(), segmenter.predict_proba(X).shape, segmenter.score(X, y)
    ([[[3, 3], [7, 7]]], (1, 2, 2, 2), 1.0)
    """

    _labels_only = False

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.classifier_tags = ClassifierTags(multi_class=True)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def predict(self, X):
        """The most probable label of each pixel.

        Parameters
        ----------
        X : array-like of shape (n, rows, columns), (n, n_adjacent, rows, columns) or (n, n_features)
            Images: one ordered volume, windows that do not know each other, or either of them flat. Real numbers of any
            dtype, byte order and stride; stacks of any size, whatever the size in ``fit``.

        Returns
        -------
        ndarray of shape (n, rows, columns) or (n, rows * columns)
            Labels, of ``classes_`` and in its dtype; flat if ``X`` is.

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError
            If ``X`` is not finite, flat and of another length than in ``fit``, or holds windows of another number of
            slices than ``n_adjacent``.
        MemoryBudgetError
            If the labels do not fit into memory.
        """
        check_is_fitted(self)
        X = self._check_input(X, reset=False)
        labels = self.classes_[self._giving_labels()._predict_stack(X, np.dtype(np.uint8))]
        return labels if len(X.shape) > 2 else labels.reshape(len(X), -1)

    def predict_proba(self, X):
        """The probability of each label at each pixel.

        Parameters
        ----------
        X : array-like of shape (n, rows, columns), (n, n_adjacent, rows, columns) or (n, n_features)
            Images as for ``predict``.

        Returns
        -------
        ndarray of shape (n, rows, columns, n_classes) or (n, rows * columns * n_classes)
            In the order of ``classes_``, flat if ``X`` is; in the floating dtype of ``X`` (integers give float32).

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError
            As ``predict``.
        MemoryBudgetError
            If the probabilities do not fit into memory.
        """
        check_is_fitted(self)
        X = self._check_input(X, reset=False)
        dtype = X.dtype.newbyteorder("=") if X.dtype.kind == "f" else np.dtype(np.float32)
        probabilities = self._predict_stack(X, dtype)
        return probabilities if len(X.shape) > 2 else probabilities.reshape(len(X), -1)

    def transform(self, X):
        """The probability of each label at each pixel: the same as ``predict_proba``.

        Parameters
        ----------
        X : array-like of shape (n, rows, columns), (n, n_adjacent, rows, columns) or (n, n_features)
            Images as for ``predict``.

        Returns
        -------
        ndarray of shape (n, rows, columns, n_classes) or (n, rows * columns * n_classes)
            Probabilities, flat if ``X`` is. ``set_output`` makes data frames of flat ones.
        """
        return self.predict_proba(X)

    def score(self, X, y, sample_weight=None):
        """Mean Dice coefficient of the classes that are present in ``y``, each counted over all its pixels.

        Pixels of ``ignore_label`` do not count.

        Parameters
        ----------
        X : array-like of shape (n, rows, columns), (n, n_adjacent, rows, columns) or (n, n_features)
            Images as for ``predict``.
        y : array-like of shape (n, rows, columns) or (n, rows * columns)
            Masks: labels of the pixels. With flat ``X`` and without ``image_shape`` also (n,) or (n, 1): one label for
            all the pixels of an image.
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
            If ``y`` has another shape, holds labels that are not of ``classes_``, or no pixel of it counts, or
            ``sample_weight`` is not ``n`` numbers from zero on, some above it.
        """
        predicted = self.predict(X)
        shape = predicted.shape[1:] if predicted.ndim == 3 else self.image_shape_
        y = check_targets(y, len(predicted), shape, weak=predicted.ndim == 2 and self.image_shape is None)
        y, predicted = whole_numbers(y, "y"), predicted.reshape(len(predicted), -1)
        if sample_weight is not None:
            weights = check_sample_weight(sample_weight, len(y))
            counted = weights > 0
            y, predicted, sample_weight = y[counted], predicted[counted], weights[counted]
        if self.ignore_label is not None:
            counts = y != self.ignore_label
            y, predicted = y[counts], predicted[counts]
            if sample_weight is not None:
                sample_weight = np.repeat(sample_weight, counts.sum(axis=1))
        present = np.unique(y)
        if not present.size:
            raise ValueError(f"y must hold a labelled pixel; all of them have ignore_label={self.ignore_label}.")
        unknown = np.setdiff1d(present, self.classes_).tolist()
        if unknown:
            more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
            raise ValueError(
                f"y must hold labels of classes_ {self.classes_.tolist()}; got {unknown[:SHOWN]}{more}. Fit on masks "
                "that show them, or set ignore_label."
            )
        return dice(y, predicted, labels=present, sample_weight=sample_weight)

    @property
    def _n_features_out(self):
        return math.prod(self.image_shape_) * len(self.classes_)

    def _giving_labels(self):
        """This estimator, of which ``_predict_windows`` gives labels: they take less memory than probabilities."""
        twin = copy.copy(self)
        twin._labels_only = True
        return twin

    def _check_masks(self, y, X, name="y"):
        """``y`` as labels (n, rows, columns) that go with checked ``X``."""
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        n, shape = len(X), self._entry_shape(X)[-2:]
        weak = len(X.shape) == 2 and self.image_shape is None
        return whole_numbers(check_targets(y, n, shape, weak=weak, name=name), name).reshape(n, *shape)


def whole_numbers(y, name) -> np.ndarray:
    """Labels as integers or truth values.

    Parameters
    ----------
    y : ndarray
    name : str
        For messages.

    Returns
    -------
    ndarray
        ``y`` itself, or int64 where it is floating.

    Raises
    ------
    ValueError
        If there are fractions, NaN or infinite values.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.base.segmenter import whole_numbers
    >>> whole_numbers(np.array([0.0, 2.0]), "y")
    array([0, 2])
    """
    if y.dtype.kind != "f":
        return y
    if not (np.isfinite(y).all() and (y == np.trunc(y)).all()):
        raise ValueError(
            f"{name} must hold labels, which are whole numbers; got {y.dtype} with fractions, NaN or infinite values. "
            "Are they images? Give the masks, or threshold them first."
        )
    return y.astype(np.int64)

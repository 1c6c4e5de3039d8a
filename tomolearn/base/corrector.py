"""The contract of the corrections: transformers of stacks of sinograms that learn little and count what they repair."""

import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from tomolearn.base.memory import check_memory
from tomolearn.base.model_files import fitted_shape
from tomolearn.base.stacks import BLOCK, SinogramInput
from tomolearn.exceptions import FileFormatError

__all__ = ["Corrector", "ReshapingCorrector"]

BLOCK_BYTES = 2**23  # of the slices corrected together: temporary copies stay small and near the caches


class Corrector(SinogramInput, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """A correction of sinograms that keeps their shape.

    A subclass has the parameter ``sinogram_shape`` and defines ``_correct``; it checks its parameters in
    ``_fit_parameters``. Corrections that read more than one slice at a time say so by ``n_halo_rows``.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.base import Corrector
    >>> class Doubler(Corrector):
    ...     def __init__(self, *, sinogram_shape=None):
    ...         self.sinogram_shape = sinogram_shape
    ...
    ...     def _correct(self, block, start):
    ...         return 2 * block, {"values doubled": block.numel()}
    >>> Doubler().fit(np.ones((1, 2, 3))).transform_counted(np.ones((1, 2, 3)))
    (array([[[2., 2., 2.],
            [2., 2., 2.]]]), {'values doubled': 6})
    """

    shows_axis = True  # False: the rotation axis is better looked for in sinograms that went round this step
    n_halo_rows = 0  # neighbouring slices on either side without which a slice cannot be corrected

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self._allow_nan
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X, y=None):
        """Check the parameters and learn the shape of the sinograms.

        Parameters
        ----------
        X : array-like of shape (n, n_angles, n_detectors) or (n, n_angles * n_detectors)
            Sinograms. Real numbers of any dtype, byte order and stride.
        y : ignored
            Images may stand here, for pipelines and searches.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If ``X`` is not finite or of a wrong shape, or a parameter is out of its range.
        """
        X = self._check_sinograms(X, reset=True)
        self.corrected_shape_ = self._shape_after(self.sinogram_shape_)
        self._fit_parameters(X)
        return self

    def transform(self, X):
        """Correct each sinogram; a warning tells how many values were repaired.

        Parameters
        ----------
        X : array-like of shape (n, n_angles, n_detectors) or (n, n_angles * n_detectors)
            Sinograms as in ``fit``.

        Returns
        -------
        ndarray of shape (n, n_angles, n_detectors) or (n, n_angles * n_detectors)
            Flat if ``X`` is; in the floating dtype of ``X`` (integers give float32).

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError
            If ``X`` is not finite, or its sinograms have another shape than in ``fit``.
        """
        corrected, counts = self.transform_counted(X)
        for what, count in counts.items():
            if count:
                total = len(corrected) * self.n_features_in_
                warnings.warn(f"{type(self).__name__}: {count} of {total} {what}", stacklevel=2)
        return corrected

    def transform_counted(self, X):
        """Correct each sinogram and count what was repaired, without warnings.

        Parameters
        ----------
        X : array-like of shape (n, n_angles, n_detectors) or (n, n_angles * n_detectors)
            Sinograms as in ``fit``.

        Returns
        -------
        corrected : ndarray
            As from `transform`.
        counts : dict of str to int
            What was done to how many values, for instance ``{"values raised to the floor": 3}``.
        """
        check_is_fitted(self)
        X = self._check_sinograms(X)
        self._check_n_slices(len(X))
        dtype = X.dtype.newbyteorder("=") if X.dtype.kind == "f" else np.dtype(np.float32)
        shape = (len(X), *self.corrected_shape_)
        check_memory(
            float(np.prod(shape, dtype=float)) * dtype.itemsize,
            f"{len(X)} corrected sinograms",
            "Take fewer slices at once.",
        )
        corrected = np.empty(shape, dtype)
        counts: dict[str, int] = {}
        step = self._block_size()
        for start in range(0, len(X), step):
            block, found = self._correct(self._block(X, slice(start, start + step)), start)
            corrected[start : start + step] = block.numpy()
            for what, count in found.items():
                counts[what] = counts.get(what, 0) + int(count)
        return (corrected if X.ndim == 3 else corrected.reshape(len(X), -1)), counts

    def transform_angles(self, angles):
        """Angles of the corrected sinograms.

        Parameters
        ----------
        angles : ndarray of shape (n_angles,)
            Those of the sinograms that come in.

        Returns
        -------
        ndarray
            The same, for a correction that keeps all projections.
        """
        return angles

    def _correct(self, block, start):
        """Corrected slices and counts {what: how many}.

        ``block``: tensor (k, n_angles, n_detectors), float32 or float64, the slices from ``start`` on; it may share
        memory with the caller's ``X`` and must not be written to.
        """
        raise NotImplementedError

    def _fit_parameters(self, X):
        """Check the parameters, and learn from ``X`` (a stack or flat)."""

    def _shape_after(self, shape):
        """Shape of a corrected sinogram."""
        return shape

    def _learn_from_parameters(self, X):
        """What ``fit`` learns from the parameters, which are checked, and the shape of ``X``, whose values are zero."""
        self.corrected_shape_ = self._shape_after(self.sinogram_shape_)
        self._fit_parameters(X)

    def _set_model_state(self, state, tensors, name):
        shape = fitted_shape(state, "sinogram_shape_", name)
        super()._set_model_state(state, tensors, name)
        # Without values: a view of one zero. What of this file goes with the parameters is learned from them again.
        self._learn_from_parameters(np.broadcast_to(np.float32(0), (state.get("n_rows_", 1), *shape)))
        for key in sorted(set(vars(self)) | set(state)):
            if key.endswith("_") and not _is_same(state.get(key), vars(self)[key]):
                raise FileFormatError(f"{name} must hold {key}={vars(self)[key]!r:.200}; got {state.get(key)!r:.200}.")

    def _check_n_slices(self, n):
        """Do what was learned for each slice and ``n`` slices go together?"""

    def _block_size(self):
        itemsize = 4
        return int(min(BLOCK, max(1, BLOCK_BYTES // (self.n_features_in_ * itemsize))))


def _is_same(a, b):
    """Equal but for rounding, which another machine may do otherwise."""
    if isinstance(b, float | np.ndarray) and np.asarray(b).dtype.kind == "f":
        return (
            type(a) is type(b) and np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-6, atol=0, equal_nan=True)
        )
    return type(a) is type(b) and bool(np.array_equal(a, b))


class ReshapingCorrector(ClassNamePrefixFeaturesOutMixin, Corrector):
    """A correction whose sinograms have another shape than those that came in; it defines ``_shape_after``.

    Examples
    --------
    >>> from tomolearn.base import Corrector, ReshapingCorrector
    >>> issubclass(ReshapingCorrector, Corrector)
    True
    """

    @property
    def _n_features_out(self):
        return self.corrected_shape_[0] * self.corrected_shape_[1]

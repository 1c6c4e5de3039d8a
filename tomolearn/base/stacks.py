"""What all estimators share that take stacks of sinograms: shapes, flat tables, finite values, blocks of slices."""

import warnings

import numpy as np
import torch
from scipy import sparse
from sklearn.utils.validation import check_array, validate_data

from tomolearn._validation import as_tensor, check_finite, check_shape

__all__ = ["BLOCK", "SinogramInput"]

BLOCK = 32  # slices worked on at a time: one pack of the operators, and little memory beside input and output


class SinogramInput:
    """Takes ``X`` as (n, n_angles, n_detectors), or flat with the parameter ``sinogram_shape``.

    Examples
    --------
    >>> from tomolearn.base import SinogramInput
    >>> from tomolearn.reconstruction import FBPReconstructor
    >>> issubclass(FBPReconstructor, SinogramInput)
    True
    """

    _allow_nan = False  # True: NaN and infinity are what the estimator repairs

    def _check_sinograms(self, X, *, reset=False):
        """``X`` as a finite array of numbers, (n, n_angles, n_detectors) or flat as it came, nothing copied.

        With ``reset`` the shapes are learned, else compared with the learned ones.
        """
        if not (sparse.issparse(X) or hasattr(X, "columns")):  # those have names or messages that scikit-learn reads
            X = np.asarray(X)
        rules = {"dtype": "numeric", "ensure_all_finite": False}
        if np.ndim(X) < 3:
            X = validate_data(self, X, reset=reset, **rules)
            if reset:
                self.sinogram_shape_ = self._flat_shape(X.shape[1])
        else:
            X = check_array(X, allow_nd=True, estimator=self, input_name="X", **rules)
            self._check_stack(X.shape, reset)
        if X.dtype.kind == "f" and not self._allow_nan:
            for start in range(0, len(X), BLOCK):
                check_finite(
                    as_tensor(X[start : start + BLOCK], "X")[0],
                    f"X[{start}:{min(start + BLOCK, len(X))}]",
                    "Repair such values by tomolearn.preprocessing.BadPixelRepairer, or mask them by the weights= of "
                    "the functions in tomolearn.solvers.",
                )
        return X

    def _flat_shape(self, n_features):
        if self.sinogram_shape is None:
            if getattr(self, "angles", None) is None:
                warnings.warn(
                    f"each of the {n_features} values of a row of X is taken as a detector under one angle. Give X of "
                    "shape (n_slices, n_angles, n_detectors), X[None] for a single sinogram, or sinogram_shape.",
                    stacklevel=4,
                )
            return (1, n_features)
        shape = check_shape(self.sinogram_shape, "sinogram_shape", 2)
        if shape[0] * shape[1] != n_features:
            raise ValueError(f"sinogram_shape={shape} makes {shape[0] * shape[1]} values; X has {n_features} features.")
        return shape

    def _check_stack(self, shape, reset):
        if len(shape) != 3 or 0 in shape:
            raise ValueError(
                f"X must be (n_slices, n_angles, n_detectors), none of them zero, or flat (n_slices, n_angles * "
                f"n_detectors); got shape {shape}."
            )
        if reset:
            if self.sinogram_shape is not None and check_shape(self.sinogram_shape, "sinogram_shape", 2) != shape[1:]:
                raise ValueError(
                    f"sinogram_shape={tuple(self.sinogram_shape)} contradicts X of shape {shape}; it is only needed "
                    "for flat X."
                )
            self.sinogram_shape_ = shape[1:]
            self.n_features_in_ = shape[1] * shape[2]
            self.__dict__.pop("feature_names_in_", None)
        elif shape[1:] != self.sinogram_shape_:
            raise ValueError(
                f"X must hold sinograms of shape {self.sinogram_shape_} (n_angles, n_detectors) as in fit; got "
                f"{shape[1:]}. Fit again for another scan."
            )

    def _block(self, X, part):
        """Slices as a tensor (k, n_angles, n_detectors): float64 for float64, else float32."""
        wide = X.dtype.kind == "f" and X.dtype.itemsize >= 8
        block = as_tensor(X[part], "X")[0].to(torch.float64 if wide else torch.float32)
        return block.reshape(-1, *self.sinogram_shape_)

"""What all estimators share, which take stacks: shapes, flat tables, finite values, blocks of slices; model files."""

import warnings

import numpy as np
import torch
from scipy import sparse
from sklearn.utils.validation import check_array, validate_data

from tomolearn._validation import as_tensor, check_finite, check_shape
from tomolearn.base.model_files import ModelFiles

__all__ = ["BLOCK", "SinogramInput", "StackInput"]

BLOCK = 32  # slices worked on at a time: one pack of the operators, and little memory beside input and output


class StackInput(ModelFiles):
    """Takes ``X`` as a stack, or flat with a parameter that says the shape of its entries.

    A subclass says how that parameter and its axes are called, and what to do about values that are not finite. What is
    learned ends in ``_``: the shape of an entry, ``n_features_in_`` and the names of columns.

    Examples
    --------
    >>> from tomolearn.base import ImageInput, SinogramInput, StackInput
    >>> issubclass(SinogramInput, StackInput) and issubclass(ImageInput, StackInput)
    True
    """

    _allow_nan = False  # True: NaN and infinity are what the estimator repairs
    _shape_parameter = ""
    _axes = ("", "")
    _row_of_flat = ""  # what a row of flat X is without the parameter
    _remedy = ""

    def _check_input(self, X, *, reset):
        """``X`` as a finite array of numbers, a stack or flat as it came, nothing copied.

        With ``reset`` the shapes are learned, else compared with the learned ones.
        """
        if not (sparse.issparse(X) or hasattr(X, "columns")):  # those have names or messages that scikit-learn reads
            X = np.asarray(X)
        rules = {"dtype": "numeric", "ensure_all_finite": False}
        if np.ndim(X) < 3:
            X = validate_data(self, X, reset=reset, **rules)
            if reset:
                n_features = X.shape[1] // self._n_joined(X.shape[1])
                setattr(self, f"{self._shape_parameter}_", self._flat_shape(n_features))
        else:
            X = check_array(X, allow_nd=True, estimator=self, input_name="X", **rules)
            self._check_stack(X.shape, reset)
        if X.dtype.kind == "f" and not self._allow_nan:
            for start in range(0, len(X), BLOCK):
                check_finite(
                    as_tensor(X[start : start + BLOCK], "X")[0],
                    f"X[{start}:{min(start + BLOCK, len(X))}]",
                    self._remedy,
                )
        return X

    def _n_joined(self, n_features):
        """How many neighbouring entries a row of flat ``X`` holds."""
        return 1

    def _flat_shape(self, n_features):
        """Shape of the entries of flat ``X``."""
        name, given = self._shape_parameter, getattr(self, self._shape_parameter)
        if given is None:
            if getattr(self, "angles", None) is None:
                warnings.warn(
                    f"each of the {n_features} values of a row of X is taken as {self._row_of_flat}. Give X of shape "
                    f"(n_slices, {', '.join(self._axes)}), X[None] for a single {name.partition('_')[0]}, or {name}.",
                    stacklevel=5,
                )
            return (1, n_features)
        shape = check_shape(given, name, 2)
        if shape[0] * shape[1] != n_features:
            raise ValueError(f"{name}={shape} makes {shape[0] * shape[1]} values; X has {n_features} features.")
        return shape

    def _check_stack(self, shape, reset):
        """Check the shape of a stack, and learn from it with ``reset``."""
        raise NotImplementedError

    def _learn_stack(self, shape, entry):
        """Learn that ``X`` of ``shape`` holds entries of shape ``entry``, if the parameter does not contradict."""
        name, given = self._shape_parameter, getattr(self, self._shape_parameter)
        if given is not None and check_shape(given, name, 2) != entry:
            raise ValueError(f"{name}={tuple(given)} contradicts X of shape {shape}; it is only needed for flat X.")
        setattr(self, f"{name}_", entry)
        self.n_features_in_ = int(np.prod(shape[1:]))
        self.__dict__.pop("feature_names_in_", None)

    def _entry_shape(self, X):
        """Shape of an entry of checked ``X``."""
        return getattr(self, f"{self._shape_parameter}_")

    def _block(self, X, part):
        """Entries of checked ``X`` as a tensor (k, ...): float64 for float64, else float32."""
        wide = X.dtype.kind == "f" and X.dtype.itemsize >= 8
        block = as_tensor(X[part], "X")[0].to(torch.float64 if wide else torch.float32)
        return block.reshape(-1, *self._entry_shape(X))


class SinogramInput(StackInput):
    """Takes ``X`` as (n, n_angles, n_detectors), or flat with the parameter ``sinogram_shape``.

    Examples
    --------
    >>> from tomolearn.base import SinogramInput
    >>> from tomolearn.reconstruction import FBPReconstructor
    >>> issubclass(FBPReconstructor, SinogramInput)
    True
    """

    sinogram_shape_: tuple[int, int]
    _shape_parameter = "sinogram_shape"
    _axes = ("n_angles", "n_detectors")
    _row_of_flat = "a detector under one angle"
    _remedy = (
        "Repair such values by tomolearn.preprocessing.BadPixelRepairer, or mask them by the weights= of the functions "
        "in tomolearn.solvers."
    )

    def _check_sinograms(self, X, *, reset=False):
        """``X`` as a finite array of numbers, (n, n_angles, n_detectors) or flat as it came, nothing copied.

        With ``reset`` the shapes are learned, else compared with the learned ones.
        """
        return self._check_input(X, reset=reset)

    def _check_stack(self, shape, reset):
        if len(shape) != 3 or 0 in shape:
            raise ValueError(
                f"X must be (n_slices, n_angles, n_detectors), none of them zero, or flat (n_slices, n_angles * "
                f"n_detectors); got shape {shape}."
            )
        if reset:
            self._learn_stack(shape, shape[1:])
        elif shape[1:] != self.sinogram_shape_:
            raise ValueError(
                f"X must hold sinograms of shape {self.sinogram_shape_} (n_angles, n_detectors) as in fit; got "
                f"{shape[1:]}. Fit again for another scan."
            )

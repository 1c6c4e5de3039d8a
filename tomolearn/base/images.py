"""What all estimators share that take images: the kinds of X."""

import math
from typing import Any

from tomolearn._validation import check_shape
from tomolearn.base.adjacent import check_n_adjacent
from tomolearn.base.stacks import StackInput

__all__ = ["ImageInput"]


class ImageInput(StackInput):
    """Takes ``X`` as images in one of three kinds, the last with the parameter ``image_shape``.

    (n, rows, columns) is one ordered volume: slice i has the neighbours i - 1 and i + 1. (n, n_adjacent, rows, columns)
    are windows that do not know each other; the image belongs to the middle of a window. (n, rows * columns) is a flat
    volume; without ``image_shape`` a row is an image of one row. (n, n_adjacent * rows * columns) are flat windows.

    Examples
    --------
    >>> from tomolearn.base import ImageInput
    >>> import numpy as np
    >>> class Estimator(ImageInput):
    ...     image_shape = None
    ...
    ...     def fit(self, X):
    ...         self._check_images(X, reset=True)
    ...         return self
    >>> Estimator().fit(np.zeros((2, 4, 5))).image_shape_
    (4, 5)
    """

    image_shape: Any
    image_shape_: tuple[int, int]
    n_adjacent = 1  # slices of a window, an odd number; a parameter of estimators that see neighbours
    _takes_any_size = True  # False: stacks must have the image_shape_ of fit
    _shape_parameter = "image_shape"
    _axes = ("rows", "columns")
    _row_of_flat = "a pixel of an image of one row"
    _remedy = "Repair such values, for instance by the median of their neighbours, or leave such slices out."

    def _check_images(self, X, *, reset=False):
        """``X`` as a finite array of numbers, a stack or flat as it came, nothing copied; a Source as it is, unread.

        With ``reset`` the shapes are learned, else compared with the learned ones.
        """
        if hasattr(X, "read_block"):
            self._check_stack(tuple(X.shape), reset)
            return X
        return self._check_input(X, reset=reset)

    def _n_joined(self, n_features):
        n_adjacent = check_n_adjacent(self.n_adjacent)
        if self.image_shape is None:
            return 1
        n_pixels = math.prod(check_shape(self.image_shape, "image_shape", 2))
        return n_adjacent if n_pixels * n_adjacent == n_features else 1

    def _check_stack(self, shape, reset):
        n_adjacent = check_n_adjacent(self.n_adjacent)
        if len(shape) not in (3, 4) or 0 in shape:
            raise ValueError(
                "X must be (n_slices, rows, columns) or windows (n_slices, n_adjacent, rows, columns), none of them "
                f"zero, or flat (n_slices, rows * columns); got shape {shape}."
            )
        if len(shape) == 4 and shape[1] != n_adjacent:
            raise ValueError(
                f"X holds windows of {shape[1]} slices, shape {shape}; they must have n_adjacent={n_adjacent}. Give "
                "such windows, or one ordered volume (n_slices, rows, columns)."
            )
        if reset:
            self._learn_stack(shape, shape[-2:])
        elif not self._takes_any_size and shape[-2:] != self.image_shape_:
            raise ValueError(
                f"X must hold images of shape {self.image_shape_} (rows, columns) as in fit; got {shape[-2:]}. Fit "
                "again for another size."
            )

    def _entry_shape(self, X):
        """(rows, columns), or (n_adjacent, rows, columns) for windows."""
        if len(X.shape) > 2:
            return tuple(X.shape[1:])
        n_joined = X.shape[1] // math.prod(self.image_shape_)
        return self.image_shape_ if n_joined == 1 else (n_joined, *self.image_shape_)

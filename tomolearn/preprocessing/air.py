"""Air beside the object brought to a transmission of 1."""

import torch

from tomolearn._validation import check_choice, check_integer
from tomolearn.base import Corrector, register
from tomolearn.preprocessing._stacks import as_stack, empty

__all__ = ["AirNormalizer", "normalize_air"]

SIDES = ("both", "left", "right")
WITHOUT_AIR = "values left as they were: no air level above 0 at the edge of their projections"


def _check_width(width, n_detectors):
    if width is None:
        return max(1, n_detectors // 32)
    width = check_integer(width, "width", low=1)
    if width > n_detectors:
        raise ValueError(f"width must be at most the number of detectors, {n_detectors}; got {width}.")
    return width


def _normalize(stack, width, side):
    """The stack divided by its ramps of air, and how many values had none."""
    n_detectors = stack.shape[-1]
    left = stack[..., :width].mean(dim=-1, keepdim=True)
    right = stack[..., n_detectors - width :].mean(dim=-1, keepdim=True)
    if side == "left":
        right = left
    elif side == "right":
        left = right
    # the mean of a strip is the level in its middle: a ramp is divided out exactly
    middle = (width - 1) / 2
    place = (torch.arange(n_detectors, dtype=stack.dtype) - middle) / max(n_detectors - width, 1)
    ends = left + (right - left) * place[[0, -1]]
    no_air = ~(ends.amin(dim=-1, keepdim=True) > 0)
    start, slope = torch.where(no_air, 1.0, left), torch.where(no_air, 0.0, right - left)
    result = empty(stack.shape, stack.dtype)
    for i in range(len(stack)):  # slice by slice: a stack of ramps would be another stack to write and read
        torch.div(stack[i], torch.addcmul(start[i], slope[i], place), out=result[i])
    return result, int(no_air.sum()) * n_detectors


def normalize_air(X, *, width=None, side="both", return_count=False):
    """Divide each projection by its level in air, a linear ramp from one edge of the detector to the other.

    Parameters
    ----------
    X : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Transmissions, with nothing but air at the edges of the detector.
    width : int, default=None
        Detectors at an edge that see air; in [1, n_detectors]. None: a 32nd of them, at least one.
    side : {"both", "left", "right"}, default="both"
        Edges where air is. One side: the level is the same over all detectors.
    return_count : bool, default=False
        Give back how many values were left as they were, too: those of projections whose level in air is not positive.

    Returns
    -------
    ndarray or Tensor of the shape of X
        Transmissions, 1 in air; the kind and floating dtype of ``X`` (integers give float32).
    int
        Values left as they were; only with ``return_count``.

    Raises
    ------
    ValueError
        If ``X`` is not finite or of a wrong shape, ``width`` is out of its range, or ``side`` unknown.
    TypeError
        If ``X`` does not hold real numbers, or ``width`` is no integer.

    Notes
    -----
    ``normalize_bg`` of TomoPy does the same, but for the ramp's ends: there they lie on the first and last detector,
    here in the middle of the strips that the levels are the means of.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import normalize_air
    >>> beam = np.linspace(0.8, 1.2, 16)
    >>> np.allclose(normalize_air(beam[None], width=4), 1)
    True
    """
    check_choice(side, "side", SIDES)
    stack, finish = as_stack(X)
    result, count = _normalize(stack, _check_width(width, stack.shape[-1]), side)
    return (finish(result), count) if return_count else finish(result)


@register
class AirNormalizer(Corrector):
    """Divide each projection by its level in air, a linear ramp from one edge of the detector to the other.

    It stands between `FlatFieldCorrector` and `MinusLog`. ``transform`` warns of projections whose level in air is not
    positive, and leaves them as they are; ``transform_counted`` gives the number of their values.

    Parameters
    ----------
    width : int, default=None
        Detectors at an edge that see air; in [1, n_detectors]. None: a 32nd of them, at least one.
    side : {"both", "left", "right"}, default="both"
        Edges where air is. One side: the level is the same over all detectors.
    sinogram_shape : tuple of two int, default=None
        Angles and detectors of a sinogram, needed for flat ``X`` only. None: a flat row is a sinogram of one angle.

    Attributes
    ----------
    width_ : int
        The width that is used.
    sinogram_shape_, corrected_shape_ : tuple of two int
        Angles and detectors of what comes in and what goes out.
    n_features_in_ : int
        ``n_angles * n_detectors``.
    feature_names_in_ : ndarray of str
        Column names; only if ``X`` was a data frame.

    See Also
    --------
    normalize_air : The same as a function.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import AirNormalizer
    >>> beam = np.linspace(0.8, 1.2, 16).reshape(1, 1, 16)
    >>> np.allclose(AirNormalizer(width=4).fit_transform(beam), 1)
    True
    """

    couples_projections = False  # each is divided by its own air

    def __init__(self, *, width=None, side="both", sinogram_shape=None):
        self.width = width
        self.side = side
        self.sinogram_shape = sinogram_shape

    def _fit_parameters(self, X):
        check_choice(self.side, "side", SIDES)
        self.width_ = _check_width(self.width, self.sinogram_shape_[1])

    def _correct(self, block, start):
        result, count = _normalize(block, self.width_, self.side)
        return result, {WITHOUT_AIR: count}

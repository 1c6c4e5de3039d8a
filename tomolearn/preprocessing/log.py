"""From transmissions to line integrals."""

import numpy as np
import torch

from tomolearn._validation import as_tensor, check_finite, check_real
from tomolearn.base import Corrector, register
from tomolearn.preprocessing._stacks import REMEDY, empty

__all__ = ["MinusLog", "minus_log"]

FLOOR = 1e-5  # half a count of a 16-bit detector whose flat fields come near its full range


def _minus_log(X: torch.Tensor, floor: float):
    """-log of ``X`` raised to ``floor``, and how many values were raised."""
    # amin reads the memory once; the values below the floor are counted only where there are some
    count = 0 if float(X.amin()) >= floor else int(np.count_nonzero(X.numpy() < floor))
    result = empty(X.shape, X.dtype)
    if count:
        torch.clamp_min(X, floor, out=result).log_()
    else:
        torch.log(X, out=result)
    return result.neg_(), count


def minus_log(X, *, floor=FLOOR, return_count=False):
    """Line integrals -log(transmission).

    Parameters
    ----------
    X : array-like or Tensor of any shape
        Transmissions: counts divided by those of the open beam, after subtraction of the dark current. 1 is air.
    floor : float, default=1e-5
        Lower transmissions, negative ones included, are raised to it before the logarithm. The default is half a count
        of a 16-bit detector: what lies below it is photon starvation or noise of the dark current, and its logarithm
        says nothing. The line integrals are at most ``-log(floor)``, 11.5 by default.
    return_count : bool, default=False
        Give back how many values were raised, too.

    Returns
    -------
    ndarray or Tensor of the shape of X
        Line integrals in pixel lengths times attenuation per pixel; the kind and floating dtype of ``X``.
    int
        Values raised to the floor; only with ``return_count``.

    Raises
    ------
    ValueError
        If ``X`` is not finite, or ``floor`` is not in (0, 1].
    TypeError
        If ``X`` does not hold real numbers.

    Notes
    -----
    Beer and Lambert: a beam I0 leaves an object as I0 exp(-integral of the attenuation along the ray).

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import minus_log
    >>> minus_log(np.exp([[-0.5, 0.0, 2.0]])) + 0.0
    array([[ 0.5,  0. , -2. ]])
    >>> minus_log(np.array([1.0, 0.0, -0.1]), floor=0.01, return_count=True)[1]
    2
    """
    floor = check_real(floor, "floor", low=0, high=1, open_low=True)
    tensor, restore = as_tensor(X, "X")
    if not tensor.numel():
        raise ValueError(f"X must hold at least one value; got shape {tuple(tensor.shape)}.")
    check_finite(tensor, "X", REMEDY)
    result, count = _minus_log(tensor.detach(), floor)
    return (restore(result), count) if return_count else restore(result)


@register
class MinusLog(Corrector):
    """Line integrals -log(transmission), with a floor under the transmissions.

    ``transform`` warns of values that were raised to the floor; ``transform_counted`` gives their number.

    Parameters
    ----------
    floor : float, default=1e-5
        Lower transmissions, negative ones included, are raised to it before the logarithm. The default is half a count
        of a 16-bit detector: what lies below it is photon starvation.
    sinogram_shape : tuple of two int, default=None
        Angles and detectors of a sinogram, needed for flat ``X`` only. None: a flat row is a sinogram of one angle.

    Attributes
    ----------
    sinogram_shape_, corrected_shape_ : tuple of two int
        Angles and detectors of what comes in and what goes out.
    n_features_in_ : int
        ``n_angles * n_detectors``.
    feature_names_in_ : ndarray of str
        Column names; only if ``X`` was a data frame.

    See Also
    --------
    minus_log : The same as a function.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import MinusLog
    >>> transmissions = np.exp(-np.linspace(0, 2, 12)).reshape(1, 3, 4)
    >>> np.allclose(MinusLog().fit_transform(transmissions).ravel(), np.linspace(0, 2, 12))
    True
    """

    couples_projections = False

    def __init__(self, *, floor=FLOOR, sinogram_shape=None):
        self.floor = floor
        self.sinogram_shape = sinogram_shape

    def _fit_parameters(self, X):
        check_real(self.floor, "floor", low=0, high=1, open_low=True)

    def _correct(self, block, start):
        result, count = _minus_log(block, self.floor)
        return result, {"values raised to the floor": count}

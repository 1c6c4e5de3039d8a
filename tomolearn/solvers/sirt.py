"""Simultaneous iterative reconstruction (SIRT), with ordered subsets."""

import numpy as np
import torch

from tomolearn._validation import check_integer, check_real
from tomolearn.solvers._common import all_below, as_data, residual_norm, start, weights_like

__all__ = ["sirt"]


def sirt(A, y, *, max_iter=100, x0=None, n_subsets=1, nonnegative=False, weights=None, tol=0.0, callback=None):
    """SIRT: ``x <- x + C A' R (y - A x)``, R and C the inverse row and column sums of A.

    Parameters
    ----------
    A : RadonOperator
        Or any `LinearOperator` with non-negative entries; ordered subsets need a ``subset`` method.
    y : array-like or Tensor of shape (n_angles, n_detectors) or (n, n_angles, n_detectors)
        Line integrals.
    max_iter : int, default=100
        Passes over all the data.
    x0 : array-like of the images' shape, default=None
        Where to start; None: zeros.
    n_subsets : int, default=1
        Interleaved subsets of the angles, each with an update of its own: about as many times faster, and no longer
        convergent to a least-squares solution on noisy data.
    nonnegative : bool, default=False
        Set negative values to zero after each update.
    weights : array-like that broadcasts to the shape of ``y``, default=None
        Trust in each datum; zero masks it, whatever it holds.
    tol : float, default=0.0
        Stop when the residual of every slice is below ``tol`` times the length of its data.
    callback : callable, default=None
        ``callback(k, x, residual)`` after pass k = 1, 2, ...; residual holds ``||y - A x||`` of each slice before the
        pass (with ordered subsets: the sum over them as they came). Returning True stops.

    Returns
    -------
    ndarray or Tensor of shape (rows, columns) or (n, rows, columns)
        The same kind and floating dtype as ``y``.

    Raises
    ------
    ValueError, TypeError
        If ``y``, ``x0`` or ``weights`` does not fit the operator or an option is out of range.

    References
    ----------
    J. Gregor and T. Benson, "Computational analysis and improvement of SIRT", IEEE Trans. Med. Imaging 27 (2008) 918,
    DOI 10.1109/TMI.2008.923696.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.geometry import ParallelBeam, default_angles
    >>> from tomolearn.operators import RadonOperator
    >>> from tomolearn.solvers import sirt
    >>> A = RadonOperator(ParallelBeam(default_angles(20), 16))
    >>> x = np.zeros((16, 16))
    >>> x[5:9, 6:12] = 1
    >>> bool(np.abs(sirt(A, A(x), max_iter=300) - x).mean() < 0.05)
    True
    """
    y, restore = as_data(A, y)
    w, y = weights_like(weights, y)
    max_iter, tol = check_integer(max_iter, "max_iter", low=1), check_real(tol, "tol", low=0)
    n_subsets = check_integer(n_subsets, "n_subsets", low=1, high=A.range_shape[0])
    x = start(A, y, x0)
    subsets = [_Subset(A, y, w, k, n_subsets) for k in range(n_subsets)]
    goal = tol * residual_norm(y, w)
    for k in range(1, max_iter + 1):
        square = y.new_zeros(())
        for s in subsets:
            r = s.y - s.A._forward(x)
            square = square + residual_norm(r, s.w) ** 2
            x.addcmul_(s.C, s.A._adjoint(r.mul_(s.R)))
            if nonnegative:
                x.clamp_(min=0)
        residual = square.sqrt()
        if (callback is not None and callback(k, x, residual)) or all_below(residual, tol, goal):
            break
    return restore(x)


class _Subset:
    """Every ``n``-th angle from the ``k``-th on: operator, data, weights, inverse row (R) and column (C) sums."""

    def __init__(self, A, y, w, k, n):
        part = slice(k, None, n)
        self.A = A if n == 1 else A.subset(np.arange(A.range_shape[0])[part])
        self.y = y[:, part]
        # The sums of one slice stand for all, unless slices differ in their weights or centres.
        count = max(_n_centers(A), w.shape[0] if w is not None and w.ndim > len(A.range_shape) else 1)
        rows = self.A._forward(y.new_ones(count, *A.domain_shape))
        trust = torch.ones_like(rows) if w is None else w.expand(count, *A.range_shape)[:, part].contiguous()
        self.w = None if w is None else trust
        self.R = _inverse(rows) * trust
        self.C = _inverse(self.A._adjoint(trust))


def _n_centers(A):
    return A.center.shape[0] if hasattr(A, "center") else 1


def _inverse(total):
    # Rays that miss the image and pixels that no ray meets have nothing to say.
    return torch.where(total > 1e-6 * total.max(), 1 / total, 0)

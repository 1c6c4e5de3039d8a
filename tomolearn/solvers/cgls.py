"""Conjugate gradients for least squares (CGLS)."""

import torch

from tomolearn._validation import check_integer, check_real
from tomolearn.solvers._common import all_below, as_data, dot, residual_norm, start, weights_like

__all__ = ["cgls"]


def cgls(A, y, *, max_iter=20, x0=None, regularization=0.0, nonnegative=False, weights=None, tol=0.0, callback=None):
    """Minimise ``||y - A x||^2 / 2 + regularization ||x||^2 / 2`` by conjugate gradients.

    Parameters
    ----------
    A : LinearOperator
        The scan.
    y : array-like or Tensor of shape (n_angles, n_detectors) or (n, n_angles, n_detectors)
        Line integrals.
    max_iter : int, default=20
        Iterations. Few of them regularise noisy data.
    x0 : array-like of the images' shape, default=None
        Where to start; None: zeros.
    regularization : float, default=0.0
        Weight of the Tikhonov term.
    nonnegative : bool, default=False
        Keep x >= 0: steps are clipped, pixels held at zero leave the search directions, and the directions start anew
        whenever a step was clipped.
    weights : array-like that broadcasts to the shape of ``y``, default=None
        Trust in each datum; zero masks it, whatever it holds.
    tol : float, default=0.0
        Stop when the residual of every slice is below ``tol`` times the length of its data.
    callback : callable, default=None
        ``callback(k, x, residual)`` after iteration k = 1, 2, ...; residual holds ``||y - A x||`` of each slice.
        Returning True stops.

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
    A. Bjorck, Numerical Methods for Least Squares Problems (1996), section 7.4, DOI 10.1137/1.9781611971484.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.geometry import ParallelBeam, default_angles
    >>> from tomolearn.operators import RadonOperator
    >>> from tomolearn.solvers import cgls
    >>> A = RadonOperator(ParallelBeam(default_angles(30), 16))
    >>> x = np.zeros((16, 16))
    >>> x[5:9, 6:12] = 1
    >>> bool(np.abs(cgls(A, A(x), max_iter=100) - x).max() < 0.02)
    True
    """
    y, restore = as_data(A, y)
    w, y = weights_like(weights, y)
    max_iter, tol = check_integer(max_iter, "max_iter", low=1), check_real(tol, "tol", low=0)
    damping = check_real(regularization, "regularization", low=0)
    x = start(A, y, x0)

    def descent(r):  # minus the gradient; pixels at their bound that want to go below it stay
        s = A._adjoint(r if w is None else w * r).sub_(x, alpha=damping)
        return torch.where((x <= 0) & (s < 0), 0, s) if nonnegative else s

    r = y - A._forward(x)
    s = descent(r)
    p, gamma = s.clone(), dot(s, s)
    goal = tol * residual_norm(y, w)
    for k in range(1, max_iter + 1):
        q = A._forward(p)
        curvature = dot(q, q if w is None else w * q) + damping * dot(p, p)
        alpha = torch.where(curvature > 0, dot(s, p) / curvature, 0)
        x.addcmul_(alpha, p)
        r.addcmul_(alpha, q, value=-1)
        if nonnegative:  # slice by slice, so that none restarts because another one was clipped
            clipped = (x < 0).flatten(1).any(1).view(-1, 1, 1)
            if clipped.any():
                x.clamp_(min=0)
                r = torch.where(clipped, y - A._forward(x), r)
        residual = residual_norm(r, w)
        if (callback is not None and callback(k, x, residual)) or all_below(residual, tol, goal):
            break
        s = descent(r)
        gamma, last = dot(s, s), gamma
        beta = torch.where(last > 0, gamma / last, 0)
        p = p.mul_(torch.where(clipped, 0, beta) if nonnegative else beta).add_(s)
        if nonnegative:
            p = torch.where((x <= 0) & (p < 0), 0, p)
    return restore(x)

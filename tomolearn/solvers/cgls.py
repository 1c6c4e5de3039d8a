"""Conjugate gradients for least squares (CGLS)."""

import torch

from tomolearn._validation import check_integer, check_real
from tomolearn.solvers._common import Stopping, as_data, dot, residual_goal, residual_norm, weights_like
from tomolearn.solvers._start import start

__all__ = ["cgls"]


def cgls(
    A,
    y,
    *,
    max_iter=20,
    x0=None,
    regularization=0.0,
    nonnegative=False,
    weights=None,
    tol=0.0,
    noise_level=None,
    callback=None,
):
    """Minimise ``||y - A x||^2 / 2 + regularization ||x||^2 / 2`` by conjugate gradients.

    Parameters
    ----------
    A : LinearOperator
        The scan.
    y : array-like or Tensor of shape (n_angles, n_detectors) or (n, n_angles, n_detectors)
        Line integrals.
    max_iter : int, default=20
        Iterations at most. Few of them regularise noisy data; ``noise_level`` finds how many.
    x0 : array-like of the images' shape or "fbp", default=None
        Where to start; None: zeros; "fbp": filtered back-projection of ``y`` (`fbp`), which needs every datum.
    regularization : float, default=0.0
        Weight of the Tikhonov term.
    nonnegative : bool, default=False
        Keep x >= 0: steps are clipped, pixels held at zero leave the search directions, and the directions start anew
        whenever a step was clipped.
    weights : array-like that broadcasts to the shape of ``y``, default=None
        Trust in each datum; zero masks it, whatever it holds.
    tol : float, default=0.0
        A slice is done, and stays as it is, when its residual is at most ``tol`` times the length of its data.
    noise_level : float or array-like of shape (n,), default=None
        Standard deviation of the noise in the line integrals, of all slices or each: a slice is also done when its
        residual is at most ``noise_level`` times the root of the number of its data that count, as that of the true
        image is (the discrepancy principle). With weights, that of a datum of weight 1; a datum of weight w is taken
        to have ``noise_level / sqrt(w)``. Start from a smooth image: ``x0="fbp"`` of noisy data may fit the noise
        from the beginning.
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
    A. Bjorck, Numerical Methods for Least Squares Problems (1996), section 7.4, DOI 10.1137/1.9781611971484. The
    discrepancy principle: V. A. Morozov, "On the solution of functional equations by the method of regularization",
    Soviet Math. Dokl. 7 (1966) 414; P. C. Hansen, Discrete Inverse Problems (2010), chapters 5 and 6,
    DOI 10.1137/1.9780898718836.

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
    max_iter, damping = check_integer(max_iter, "max_iter", low=1), check_real(regularization, "regularization", low=0)
    goal = residual_goal(y, w, tol, noise_level)
    x, stopping = start(A, y, x0, w, nonnegative), Stopping(y, on=goal is not None)

    def descent(r):  # minus the gradient; pixels at their bound that want to go below it stay
        s = A._adjoint(r if w is None else w * r)
        if damping:
            s = s.sub_(x, alpha=damping)
        return torch.where((x <= 0) & (s < 0), 0, s) if nonnegative else s

    r = y - A._forward(x)
    s = descent(r)
    p, gamma = s.clone(), dot(s, s)
    residual = residual_norm(r, w)
    for k in range(1, max_iter + 1):
        if stopping.reached(residual, goal):
            break
        q = A._forward(p)
        curvature = dot(q, q if w is None else w * q)
        if damping:
            curvature = curvature + damping * dot(p, p)
        alpha = torch.where(curvature > 0, dot(s, p) / curvature, 0) * stopping.alive
        x.addcmul_(alpha, p)
        r.addcmul_(alpha, q, value=-1)
        if nonnegative:  # slice by slice, so that none restarts because another one was clipped
            clipped = (x < 0).flatten(1).any(1).view(-1, 1, 1)
            if clipped.any():
                x.clamp_(min=0)
                r = torch.where(clipped, y - A._forward(x), r)
        residual = residual_norm(r, w)
        if callback is not None and callback(k, x, residual):
            break
        s = descent(r)
        gamma, last = dot(s, s), gamma
        beta = torch.where(last > 0, gamma / last, 0)
        p = p.mul_(torch.where(clipped, 0, beta) if nonnegative else beta).add_(s)
        if nonnegative:
            p = torch.where((x <= 0) & (p < 0), 0, p)
    return restore(x)

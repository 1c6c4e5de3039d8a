"""Reconstruction with total-variation regularisation, by the primal-dual algorithm of Chambolle and Pock."""

import torch

from tomolearn._validation import check_integer, check_real
from tomolearn.operators import GradientOperator
from tomolearn.solvers._common import Stopping, as_data, dot, residual_norm, weights_like
from tomolearn.solvers._start import start

__all__ = ["tv"]


def tv(A, y, *, regularization=0.01, max_iter=200, x0=None, nonnegative=False, weights=None, tol=0.0, callback=None):
    """Minimise ``||y - A x||^2 / 2 + regularization TV(x)``, TV the sum of the lengths of the gradient (isotropic).

    Parameters
    ----------
    A : LinearOperator
        The scan.
    y : array-like or Tensor of shape (n_angles, n_detectors) or (n, n_angles, n_detectors)
        Line integrals.
    regularization : float, default=0.01
        Weight of the total variation, in the units of ``y`` times length: noise of standard deviation sigma in the
        line integrals and A angles want about ``sigma * sqrt(A)``.
    max_iter : int, default=200
        Iterations.
    x0 : array-like of the images' shape or "fbp", default=None
        Where to start; None: zeros; "fbp": filtered back-projection of ``y`` (`fbp`), which needs every datum.
    nonnegative : bool, default=False
        Keep x >= 0.
    weights : array-like that broadcasts to the shape of ``y``, default=None
        Trust in each datum; zero masks it, whatever it holds.
    tol : float, default=0.0
        A slice is done, and stays as it is, when an iteration changes it by at most ``tol`` times its length.
    callback : callable, default=None
        ``callback(k, x, residual)`` after iteration k = 1, 2, ...; residual holds ``||y - A x||`` of each slice, taken
        at the extrapolated image of the iteration. Returning True stops.

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
    A. Chambolle and T. Pock, "A first-order primal-dual algorithm for convex problems with applications to imaging",
    J. Math. Imaging Vis. 40 (2011) 120, DOI 10.1007/s10851-010-0251-1. E. Y. Sidky, J. H. Jorgensen and X. Pan, "Convex
    optimization problem prototyping for image reconstruction in computed tomography", Phys. Med. Biol. 57 (2012) 3065,
    DOI 10.1088/0031-9155/57/10/3065.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.geometry import ParallelBeam, default_angles
    >>> from tomolearn.operators import RadonOperator
    >>> from tomolearn.solvers import tv
    >>> A = RadonOperator(ParallelBeam(default_angles(8), 16))
    >>> x = np.zeros((16, 16))
    >>> x[5:9, 6:12] = 1
    >>> bool(np.abs(tv(A, A(x), regularization=0.01, max_iter=500) - x).max() < 0.05)
    True
    """
    y, restore = as_data(A, y)
    w, y = weights_like(weights, y)
    max_iter, tol = check_integer(max_iter, "max_iter", low=1), check_real(tol, "tol", low=0)
    strength = check_real(regularization, "regularization", low=0)
    x, stopping = start(A, y, x0, w, nonnegative), Stopping(y, on=tol > 0)
    D = GradientOperator(A.domain_shape)
    # Slices of other centres have other norms.
    scale = A._slice_norms(device=y.device).clamp_(min=1e-12).to(y.dtype).view(-1, 1, 1)
    nu = scale / D.norm()  # A and nu D then have the same norm, and the pair [A; nu D] has sqrt(2) times that
    tau = sigma = 1 / (1.02 * 2**0.5 * scale)  # 2 %: power iteration finds the norm from below
    bound = (strength / nu)[:, None]
    shrink = 1 / (1 + sigma) if w is None else w / (w + sigma)
    p, q, ahead = torch.zeros_like(y), y.new_zeros(y.shape[0], *D.range_shape), x.clone()
    for k in range(1, max_iter + 1):
        r = y - A._forward(ahead)
        p = p.sub_(sigma * r).mul_(shrink)
        q = q.addcmul_((sigma * nu)[:, None], D._forward(ahead))
        length = torch.hypot(q[:, :1], q[:, 1:])  # vector_norm over so short an axis is ten times slower
        q.mul_(bound / length.clamp_(min=1e-30).maximum(bound))
        step = A._adjoint(p).addcmul_(nu, D._adjoint(q)).mul_(-tau * stopping.alive)
        last = x
        x = x + step
        if nonnegative:
            x.clamp_(min=0)
        ahead = 2 * x - last
        if callback is not None and callback(k, x, residual_norm(r, w)):
            break
        if tol > 0 and stopping.reached(dot(x - last, x - last).flatten(), (tol**2 * dot(x, x)).flatten()):
            break
    return restore(x)

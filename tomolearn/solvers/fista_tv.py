"""Reconstruction with total-variation regularisation, by accelerated proximal gradients (FISTA)."""

import torch

from tomolearn._validation import check_integer, check_real
from tomolearn.operators import GradientOperator, LinearOperator
from tomolearn.solvers._common import Stopping, as_data, dot, residual_norm, weights_like
from tomolearn.solvers._start import start

__all__ = ["fista_tv"]

N_INNER = 10  # iterations of the proximal map, which go on from the dual variable of the step before


def fista_tv(
    A, y, *, regularization=0.01, max_iter=100, x0=None, nonnegative=False, weights=None, tol=0.0, callback=None
):
    """Minimise ``||y - A x||^2 / 2 + regularization TV(x)`` as `tv` does, by FISTA.

    Fewer iterations than `tv`, each dearer. On noisy data of 60 to 200 angles (128 x 128 pixels, from ``x0="fbp"``) it
    is within 0.1 % of the minimum after some 55, `tv` after 630 to 690 that take three to six times as long; of 20
    angles, `tv` is there a little sooner (``benchmarks/total_variation.py``).

    Parameters
    ----------
    A : LinearOperator
        The scan.
    y : array-like or Tensor of shape (n_angles, n_detectors) or (n, n_angles, n_detectors)
        Line integrals.
    regularization : float, default=0.01
        Weight of the total variation, as in `tv`.
    max_iter : int, default=100
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
    A. Beck and M. Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems", SIAM J.
    Imaging Sci. 2 (2009) 183, DOI 10.1137/080716542. The proximal map: A. Beck and M. Teboulle, "Fast gradient-based
    algorithms for constrained total variation image denoising and deblurring problems", IEEE Trans. Image Process. 18
    (2009) 2419, DOI 10.1109/TIP.2009.2028250. The restart: B. O'Donoghue and E. Candes, "Adaptive restart for
    accelerated gradient schemes", Found. Comput. Math. 15 (2015) 715, DOI 10.1007/s10208-013-9150-3.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.geometry import ParallelBeam, default_angles
    >>> from tomolearn.operators import RadonOperator
    >>> from tomolearn.solvers import fista_tv
    >>> A = RadonOperator(ParallelBeam(default_angles(8), 16))
    >>> x = np.zeros((16, 16))
    >>> x[5:9, 6:12] = 1
    >>> bool(np.abs(fista_tv(A, A(x), regularization=0.01, max_iter=200) - x).max() < 0.05)
    True
    """
    y, restore = as_data(A, y)
    w, y = weights_like(weights, y)
    max_iter, tol = check_integer(max_iter, "max_iter", low=1), check_real(tol, "tol", low=0)
    strength = check_real(regularization, "regularization", low=0)
    x, stopping = start(A, y, x0, w, nonnegative), Stopping(y, on=tol > 0)
    D = GradientOperator(A.domain_shape)
    step = 1 / (1.02 * _norms(A, w, y)) ** 2  # 2 %: power iteration finds the norm from below
    ahead, t, dual = x, torch.ones_like(step), y.new_zeros(y.shape[0], *D.range_shape)
    for k in range(1, max_iter + 1):
        r = y - A._forward(ahead)
        b = A._adjoint(r if w is None else w * r).mul_(step).add_(ahead)
        new, dual = _proximal_map(D, b, strength * step, dual, nonnegative)
        if stopping.on:
            new = torch.where(stopping.alive > 0, new, x)
        # Momentum that points uphill is dropped, slice by slice.
        t = torch.where(dot(ahead - new, new - x) > 0, 1, t)
        following = (1 + (1 + 4 * t**2).sqrt()) / 2
        x, last = new, x
        change = x - last
        ahead, t = torch.addcmul(x, (t - 1) / following, change), following
        if callback is not None and callback(k, x, residual_norm(r, w)):
            break
        if tol > 0 and stopping.reached(dot(change, change).flatten(), (tol**2 * dot(x, x)).flatten()):
            break
    return restore(x)


def _proximal_map(D, b, strength, dual, nonnegative):
    """The minimum of ``||x - b||^2 / 2 + strength TV(x)`` over x (>= 0), nearly, by fast gradient projection.

    ``dual``, of lengths at most 1, is where to start from, and is overwritten; where it ended comes back beside x.
    """

    def image(q):
        x = torch.addcmul(b, strength, D._adjoint(q), value=-1)
        return x.clamp_(min=0) if nonnegative else x

    gain, q, t = 1 / (strength * D.norm() ** 2).clamp_(min=1e-30), dual, 1.0
    for _ in range(N_INNER):
        p = D._forward(image(q)).mul_(gain[:, None]).add_(q)
        length = torch.hypot(p[:, :1], p[:, 1:])  # vector_norm over so short an axis is ten times slower
        p.div_(length.clamp_(min=1))
        following = (1 + (1 + 4 * t**2) ** 0.5) / 2
        q, dual, t = dual.lerp_(p, 1 + (t - 1) / following), p, following
    return image(dual), dual


def _norms(A, w, y):
    """Norm of ``sqrt(w) A`` of each slice, (n or 1, 1, 1): slices of other centres or weights have other norms."""
    if w is None:
        norms = A._slice_norms(device=y.device)
    else:
        n_slices = y.shape[0] if w.ndim == y.ndim or getattr(A, "center", y[:1]).shape[0] > 1 else 1
        norms = _Weighted(A, w.sqrt())._slice_norms(n_slices=n_slices, device=y.device)
    return norms.clamp_(min=1e-12).to(y.dtype).view(-1, 1, 1)


class _Weighted(LinearOperator):
    """``diag(root) A``."""

    def __init__(self, A, root):
        super().__init__(A.domain_shape, A.range_shape)
        self._forward = lambda x: root * A._forward(x)
        self._adjoint = lambda y: A._adjoint((root * y).contiguous())

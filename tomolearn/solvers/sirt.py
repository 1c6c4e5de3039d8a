"""Simultaneous iterative reconstruction (SIRT), with ordered subsets."""

import numpy as np
import torch

from tomolearn._validation import check_integer, check_real
from tomolearn.solvers._common import Stopping, as_data, residual_goal, residual_norm, weights_like
from tomolearn.solvers._start import start

__all__ = ["sirt"]


def sirt(
    A,
    y,
    *,
    max_iter=100,
    x0=None,
    n_subsets=1,
    relaxation=1.0,
    nonnegative=False,
    weights=None,
    tol=0.0,
    noise_level=None,
    callback=None,
):
    """SIRT: ``x <- x + relaxation C A' R (y - A x)``, R and C the inverse row and column sums of A.

    Parameters
    ----------
    A : RadonOperator
        Or any `LinearOperator` with non-negative entries; ordered subsets need a ``subset`` method.
    y : array-like or Tensor of shape (n_angles, n_detectors) or (n, n_angles, n_detectors)
        Line integrals.
    max_iter : int, default=100
        Passes over all the data.
    x0 : array-like of the images' shape or "fbp", default=None
        Where to start; None: zeros; "fbp": filtered back-projection of ``y`` (`fbp`), which needs every datum.
    n_subsets : int, default=1
        Interleaved subsets of the angles, each with an update of its own: about as many times faster, and no longer
        convergent to a least-squares solution on noisy data. They are taken by bit reversal, each far in angle from
        the last ones, whatever the order in which the angles were recorded. From ``x0="fbp"``, three passes of 12
        subsets do as much as 30 of all data at once. A stopping rule costs one projection more a pass.
    relaxation : float, default=1.0
        Factor of each update, in (0, 2). On noisy data subsets end in a cycle about the least-squares solution, which
        a smaller factor makes smaller, at the price of more passes.
    nonnegative : bool, default=False
        Set negative values to zero after each update.
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
        ``callback(k, x, residual)`` after pass k = 1, 2, ...; residual holds ``||y - A x||`` of each slice before the
        pass (of ordered subsets without a stopping rule: the sum over them as they came). Returning True stops.

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
    DOI 10.1109/TMI.2008.923696. Ordered subsets: H. M. Hudson and R. S. Larkin, "Accelerated image reconstruction using
    ordered subsets of projection data", IEEE Trans. Med. Imaging 13 (1994) 601, DOI 10.1109/42.363108. The discrepancy
    principle: V. A. Morozov, "On the solution of functional equations by the method of regularization", Soviet Math.
    Dokl. 7 (1966) 414; P. C. Hansen, Discrete Inverse Problems (2010), chapters 5 and 6, DOI 10.1137/1.9780898718836.

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
    max_iter, step = check_integer(max_iter, "max_iter", low=1), check_relaxation(relaxation)
    n_subsets = check_integer(n_subsets, "n_subsets", low=1, high=A.range_shape[0])
    goal = residual_goal(y, w, tol, noise_level)
    x, stopping = start(A, y, x0, w, nonnegative), Stopping(y, on=goal is not None)
    subsets = [_Subset(A, y, w, index, step) for index in _split(A, n_subsets)]
    whole = n_subsets == 1 or stopping.on  # a rule is asked about one image, not about those on the way
    for k in range(1, max_iter + 1):
        square = y.new_zeros(())
        if whole:
            r = y - A._forward(x)
            square = residual_norm(r, w) ** 2
            if stopping.reached(square.sqrt(), goal):
                break
        for s in subsets:
            if n_subsets > 1:
                r = s.y - s.A._forward(x)
                square = square if whole else square + residual_norm(r, s.w) ** 2
            x.addcmul_(s.C, s.A._adjoint(r.mul_(s.R).mul_(stopping.alive)))
            if nonnegative:
                x.clamp_(min=0)
        if callback is not None and callback(k, x, square.sqrt()):
            break
    return restore(x)


def check_relaxation(value):
    """``value`` as float in (0, 2), or an error that says why."""
    step = check_real(value, "relaxation", low=0, high=2, open_low=True)
    if step == 2:
        raise ValueError("relaxation must be a number in (0, 2); got 2, with which the iterations never settle.")
    return step


def _split(A, n):
    """Indices of the angles of each subset; None: of all."""
    if n == 1:
        return [None]
    angles = A.angles.numpy() if hasattr(A, "angles") else np.arange(A.range_shape[0])
    order = np.argsort(np.mod(angles, np.pi), kind="stable") if hasattr(A, "angles") else angles
    # Bit reversal: the next subset lies half way between two that came before, as far from the last ones as can be.
    bits = max(1, (n - 1).bit_length())
    turns = sorted(range(n), key=lambda k: int(f"{k:0{bits}b}"[::-1], 2))
    return [order[k::n] for k in turns]


class _Subset:
    """Some of the angles: operator, data, weights, inverse row (R, times the relaxation) and column (C) sums."""

    def __init__(self, A, y, w, index, relaxation):
        # The sums of one slice stand for all, unless slices differ in their weights or centres.
        count = max(_n_centers(A), w.shape[0] if w is not None and w.ndim > len(A.range_shape) else 1)
        trust = None if w is None else w.expand(count, *A.range_shape)
        self.A, self.y = A, y
        if index is not None:
            there = torch.from_numpy(index).to(y.device)
            self.A, self.y = A.subset(index), y.index_select(1, there)
            trust = None if trust is None else trust.index_select(1, there)
        rows = self.A._forward(y.new_ones(count, *A.domain_shape))
        self.w = trust
        trust = torch.ones_like(rows) if trust is None else trust.contiguous()
        self.R = _inverse(rows, A.smallest_sum) * trust * relaxation
        self.C = _inverse(self.A._adjoint(trust), A.smallest_sum)


def _n_centers(A):
    return A.center.shape[0] if hasattr(A, "center") else 1


def _inverse(total, smallest):
    # Rays that miss the image and pixels that no ray meets have nothing to say.
    return torch.where(total > smallest * total.max(), 1 / total, 0)

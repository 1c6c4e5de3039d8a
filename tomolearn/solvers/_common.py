"""What the solvers share: the data as tensors, masks, inner products by slice, the stopping rule.

Everything stays on the device of ``y``. The host reads one number back before the iterations, whether the data are
finite, and in them only what a rule asks for that is switched on: `all_below` with ``tol``, and clipped steps of
``nonnegative`` conjugate gradients.
"""

import torch

from tomolearn._validation import as_tensor, check_finite

__all__ = ["all_below", "as_data", "dot", "residual_norm", "start", "weights_like"]


def as_data(A, y):
    """``y`` as a stack (n, *A.range_shape), the leading axis added where it is missing, and the way back."""
    y, restore = as_tensor(y, "y", ndim=(len(A.range_shape), len(A.range_shape) + 1))
    if tuple(y.shape[-len(A.range_shape) :]) != A.range_shape:
        raise ValueError(
            f"y must have shape {A.range_shape} or (n, ...) as the operator's range; got {tuple(y.shape)}."
        )
    if y.ndim > len(A.range_shape):
        return y, restore
    return y[None], lambda x: restore(x[0])


def weights_like(weights, y):
    """Weights broadcast against ``y`` (None: None), and ``y`` with what has weight zero replaced by zero.

    Masked data may hold anything, NaN included; data that count must be finite.
    """
    if weights is None:
        check_finite(y, "y", "Mask bad values by weights=, zero where the data must not count, or repair them first.")
        return None, y
    w, _ = as_tensor(weights, "weights")
    try:
        shape = torch.broadcast_shapes(w.shape, y.shape)
    except RuntimeError:
        shape = None
    if shape != y.shape:
        raise ValueError(f"weights must broadcast to the shape of y, {tuple(y.shape)}; got {tuple(w.shape)}.")
    if not bool(torch.isfinite(w).all()) or bool((w < 0).any()):
        raise ValueError("weights must be finite and not negative; zero masks a value.")
    w = w.to(y)
    y = torch.where(w > 0, y, 0)
    check_finite(y, "y", "Set weights to zero where the data must not count.")
    return w, y


def start(A, y, x0):
    """The first image: zeros, or a copy of ``x0``."""
    shape = (y.shape[0], *A.domain_shape)
    if x0 is None:
        return y.new_zeros(shape)
    x, _ = as_tensor(x0, "x0")
    if tuple(x.shape) not in (shape, A.domain_shape):
        raise ValueError(f"x0 must have shape {shape} or {A.domain_shape}; got {tuple(x.shape)}.")
    return x.to(y).expand(shape).clone()


def dot(a, b):
    """Inner product of each slice, summed in float64: shape (n, 1, ..., 1), so that it multiplies a stack."""
    return (a * b).flatten(1).sum(1, dtype=torch.float64).to(a.dtype).view(-1, *[1] * (a.ndim - 1))


def residual_norm(r, w=None):
    """Weighted length of the residual of each slice: a tensor (n,)."""
    return dot(r, r if w is None else w * r).flatten().sqrt()


def all_below(residual, tol, goal):
    """Has every slice reached its goal? Asked of the device only where a tolerance can be reached."""
    return tol > 0 and bool((residual <= goal).all())

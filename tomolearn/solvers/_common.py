"""What the solvers share: the data as tensors, masks, inner products by slice, the stopping rule.

Everything stays on the device of ``y``. The host reads one number back before the iterations, whether the data are
finite, and in them only what a rule asks for that is switched on: `Stopping` once an iteration, and clipped steps of
``nonnegative`` conjugate gradients.
"""

import numbers

import torch

from tomolearn._validation import as_tensor, check_finite, check_real

__all__ = ["Stopping", "as_data", "dot", "residual_goal", "residual_norm", "weights_like"]

_LARGE = 2**15  # values of a slice, from which on it is worth a call of its own


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


def dot(a, b):
    """Inner product of each slice, summed in float64: shape (n, 1, ..., 1), so that it multiplies a stack."""
    if a.device.type == "cpu" and a[:1].numel() >= _LARGE and not (a.requires_grad or b.requires_grad):
        # Slice by slice the products stay in a cache: of 1024 x 1024 pixels five times as fast as all at once.
        product, sums = torch.empty_like(a[0]), a.new_empty(len(a), dtype=torch.float64)
        for i in range(len(a)):
            sums[i] = torch.mul(a[i], b[i], out=product).sum(dtype=torch.float64)
    else:
        sums = (a * b).flatten(1).sum(1, dtype=torch.float64)
    return sums.to(a.dtype).view(-1, *[1] * (a.ndim - 1))


def residual_norm(r, w=None):
    """Weighted length of the residual of each slice: a tensor (n,)."""
    return dot(r, r if w is None else w * r).flatten().sqrt()


def residual_goal(y, w, tol, noise_level):
    """The residual at which each slice is done, a tensor (n,): what ``tol`` or ``noise_level`` asks for; None: none.

    Noise of standard deviation ``noise_level`` in a datum of weight 1, and so ``noise_level / sqrt(w)`` in one of
    weight w, leaves the true image a weighted residual of about ``noise_level`` times the root of the number of data.
    """
    goal = check_real(tol, "tol", low=0) * residual_norm(y, w) if tol != 0 else None
    if noise_level is None:
        return goal
    level = _per_slice(noise_level, y)
    n_data = y[0].numel() if w is None else (w > 0).expand(y.shape).flatten(1).sum(1, dtype=y.dtype)
    noise = level * n_data**0.5
    return noise if goal is None else torch.maximum(goal, noise)


def _per_slice(noise_level, y):
    n = y.shape[0]
    if isinstance(noise_level, numbers.Real):
        return y.new_full((n,), check_real(noise_level, "noise_level", low=0, open_low=True))
    level, _ = as_tensor(noise_level, "noise_level")
    if tuple(level.shape) not in ((), (1,), (n,)):
        raise ValueError(
            f"noise_level must be a number or one for each of the {n} slices of y; got shape {tuple(level.shape)}."
        )
    if not bool(((level > 0) & torch.isfinite(level)).all()):
        raise ValueError("noise_level must be finite and positive for every slice; None: no such rule.")
    return level.to(y).expand(n)


class Stopping:
    """Which slices still move: one that has reached its goal stays as it is while the others go on.

    So an image does not depend on the slices that it happens to be solved with.

    Attributes
    ----------
    on : bool
        Is there a rule at all? Without one nothing is asked.
    alive : Tensor of shape (n, 1, ..., 1)
        1 for a slice that moves, 0 for one that is done: what its steps are multiplied by.
    """

    def __init__(self, y, on):
        self.on = on
        self.alive = y.new_ones(y.shape[0], *[1] * (y.ndim - 1))

    def reached(self, value, goal):
        """Note which of the values (n,) are down at their goals; is every slice done?"""
        if not self.on:
            return False
        self.alive = torch.where((value <= goal).view(self.alive.shape), 0, self.alive)
        return bool((self.alive == 0).all())

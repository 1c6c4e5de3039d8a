"""Where the iterations start."""

from tomolearn._validation import as_tensor, check_choice
from tomolearn.solvers.fbp import fbp_of_finite

__all__ = ["start"]


def start(A, y, x0, w=None, nonnegative=False):
    """The first image of each slice: zeros, a copy of ``x0``, or filtered back-projection of the data."""
    shape = (y.shape[0], *A.domain_shape)
    if x0 is None:
        return y.new_zeros(shape)
    if isinstance(x0, str):
        check_choice(x0, "x0", ("fbp",))
        x = _filtered_backprojection(A, y, w)
    else:
        given, _ = as_tensor(x0, "x0")
        if tuple(given.shape) not in (shape, A.domain_shape):
            raise ValueError(f"x0 must have shape {shape} or {A.domain_shape}, or be 'fbp'; got {tuple(given.shape)}.")
        x = given.to(y).expand(shape).clone()
    return x.clamp_(min=0) if nonnegative else x


def _filtered_backprojection(A, y, w):
    if not hasattr(A, "backproject"):
        raise ValueError(f"x0='fbp' needs a RadonOperator; got {type(A).__name__}. Pass an image, or None for zeros.")
    # The filter would smear each hole over its whole projection.
    if w is not None and not bool((w > 0).all()):
        raise ValueError(
            "x0='fbp' needs every datum, and weights masks some. Repair them in a copy of y and pass "
            "x0=fbp(A, copy), or leave out whole angles by A.subset, or start from zeros (x0=None)."
        )
    return fbp_of_finite(A, y)

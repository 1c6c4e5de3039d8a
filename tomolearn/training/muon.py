"""Muon: an optimiser that takes steps of one length in all directions of a weight matrix."""

import torch

__all__ = ["Muon"]

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the Newton-Schulz iteration, steepest at zero [1]_
N_ITERATIONS = 5
TINY = 1e-9  # parts of the norm of a matrix; five iterations bring out what is a thousandth of it
FAINT = 1e-30
VECTORS = 0.1  # rate of biases, slopes and the like, as a part of that of matrices
BETAS, EPSILON = (0.9, 0.99), 1e-8  # of Adam for those


class Muon(torch.optim.Optimizer):
    """Muon [1]_ for weights of two and more axes, Adam for the others.

    The momentum of a weight, as a matrix of (outputs, all else), is replaced by the nearest matrix whose singular
    values are all about 1. torch's own takes matrices only; here kernels of convolutions are matrices too, those of one
    shape are orthogonalised together, and what is left is trained along with them.

    Parameters
    ----------
    parameters : iterable of Tensor or of dict
        As for any optimiser of torch.
    lr : float, default=0.01
        Of matrices: the length of a step in each direction, times ``sqrt(max(1, rows / columns))``. Others have a
        tenth of it.
    momentum : float, default=0.95
        Nesterov's.
    weight_decay : float, default=0.0
        Decoupled: weights shrink by ``lr * weight_decay`` a step.

    References
    ----------
    .. [1] K. Jordan, Y. Jin, V. Boza, J. You, F. Cesista, L. Newhouse and J. Bernstein, "Muon: an optimizer for hidden
       layers in neural networks" (2024), https://kellerjordan.github.io/posts/muon.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.training.muon import Muon
    >>> weight = torch.nn.Parameter(torch.zeros(2, 2))
    >>> weight.grad = torch.tensor([[5.0, 0.0], [0.0, 0.5]])
    >>> Muon([weight], lr=0.1).step()
    >>> bool(((weight.diag() < -0.06) & (weight.diag() > -0.13)).all())
    True
    """

    def __init__(self, parameters, lr=0.01, momentum=0.95, weight_decay=0.0):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """One step down the gradients.

        Parameters
        ----------
        closure : callable, default=None
            Computes loss and gradients first, as for any optimiser of torch.

        Returns
        -------
        Tensor or None
            What ``closure`` gives.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.mul_(1 - group["lr"] * group["weight_decay"])
                if p.ndim < 2:
                    _adam_step(p, self.state[p], VECTORS * group["lr"])
                else:
                    by_shape.setdefault(tuple(p.shape), []).append((p, self._momentum(p, group["momentum"])))
            for shape, pairs in by_shape.items():
                steps = _orthogonal(torch.stack([update.reshape(shape[0], -1) for _, update in pairs]))
                rate = group["lr"] * max(1.0, steps.shape[1] / steps.shape[2]) ** 0.5
                for (p, _), step in zip(pairs, steps, strict=True):
                    p.add_(step.reshape(shape), alpha=-rate)
        return loss

    def _momentum(self, p, momentum):
        state = self.state[p]
        if not state:
            state["mean"] = torch.zeros_like(p)
        mean = state["mean"].lerp_(p.grad, 1 - momentum)
        # Means of gradients that have become zero fade until they are denormal, and slow for good.
        mean.masked_fill_(mean.abs() < FAINT, 0)
        return p.grad.lerp(mean, momentum)


def _adam_step(p, state, rate):
    if not state:
        state |= {"mean": torch.zeros_like(p), "square": torch.zeros_like(p), "step": 0}
    state["step"] += 1
    state["mean"].lerp_(p.grad, 1 - BETAS[0])
    state["square"].lerp_(p.grad.square(), 1 - BETAS[1])
    mean, square = (state[k] / (1 - b ** state["step"]) for k, b in zip(("mean", "square"), BETAS, strict=True))
    p.addcdiv_(mean, square.sqrt() + EPSILON, value=-rate)


def _orthogonal(matrices):
    """Matrices with the singular vectors of the given ones and singular values between about 0.7 and 1.2."""
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    # What is far too small to be brought to size, such as the rows of units that no longer learn, becomes zero:
    # products of such numbers would be denormal, and a matrix product of denormal numbers takes 70 times as long.
    x = torch.nn.functional.hardshrink(x / (x.norm(dim=(1, 2), keepdim=True) + 1e-12), TINY)
    a, b, c = COEFFICIENTS
    for _ in range(N_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.mT

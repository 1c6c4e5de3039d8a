"""Affinities of t-SNE: how likely each sample picks each of its neighbours, at a given perplexity."""

import math

import torch

__all__ = ["conditional_affinities", "joint_affinities"]

MAX_STEPS = 100  # of the search; Newton's need about ten, bisection alone fifty in float64
TOLERANCE = 1e-8  # of the entropy, in nats


def conditional_affinities(squared: torch.Tensor, perplexity: float) -> torch.Tensor:
    """Probabilities p(j|i) proportional to exp(-b_i d_ij^2), with b_i such that exp(entropy) is the perplexity.

    Parameters
    ----------
    squared : Tensor of shape (n, k), float64
        Squared distances to the neighbours.
    perplexity : float
        Below k.

    Returns
    -------
    Tensor of shape (n, k)
        Rows sum to one. Where more nearest neighbours are equally far than the perplexity asks for, these share the
        probability and the entropy stays above: no bandwidth does better.
    """
    distances = squared - squared[:, :1]  # only differences matter; the largest term is then exp(0)
    scale = distances.mean(1, keepdim=True)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    distances = distances / scale
    target = math.log(perplexity)
    log_low = torch.full_like(scale, -30.0)
    log_high = torch.full_like(scale, 45.0)
    log_beta = torch.zeros_like(scale)
    for _ in range(MAX_STEPS):
        beta = log_beta.exp()
        weights = torch.exp(-beta * distances)
        total = weights.sum(1, keepdim=True)
        p = weights / total
        mean = (p * distances).sum(1, keepdim=True)
        excess = total.log() + beta * mean - target
        if bool((excess.abs() < TOLERANCE).all()):
            break
        log_low = torch.where(excess > 0, log_beta, log_low)
        log_high = torch.where(excess > 0, log_high, log_beta)
        # d entropy / d log beta = -beta^2 var(distance)
        variance = (p * (distances - mean).square()).sum(1, keepdim=True)
        newton = log_beta + excess / (beta.square() * variance).clamp(min=1e-30)
        inside = (newton > log_low) & (newton < log_high)
        log_beta = torch.where(inside, newton, (log_low + log_high) / 2)
    return p


def joint_affinities(indices: torch.Tensor, conditional: torch.Tensor):
    """Symmetric affinities p_ij = (p(j|i) + p(i|j)) / 2n of neighbours, as compressed sparse rows.

    Parameters
    ----------
    indices, conditional : Tensor of shape (n, k)
        Neighbours and p(j|i).

    Returns
    -------
    offsets : Tensor of shape (n + 1,), int64
    columns : Tensor of shape (n_stored,), int64
        Ascending in each row.
    values : Tensor of shape (n_stored,)
        Sum to one.
    """
    n, k = indices.shape
    rows = torch.arange(n, device=indices.device).repeat_interleave(k)
    columns = indices.reshape(-1)
    keys = torch.cat([rows * n + columns, columns * n + rows])
    halves = torch.cat([conditional.reshape(-1)] * 2) / (2 * n)
    keys, order = keys.sort(dim=0, stable=True)
    keys, places = torch.unique_consecutive(keys, return_inverse=True)
    values = torch.zeros(len(keys), dtype=halves.dtype, device=halves.device).index_add_(0, places, halves[order])
    offsets = torch.searchsorted(keys, torch.arange(n + 1, device=keys.device) * n)
    return offsets, keys % n, values / values.sum()

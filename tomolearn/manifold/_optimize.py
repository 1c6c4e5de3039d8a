"""Gradient descent of t-SNE: momentum with gains, early exaggeration, and the Kullback-Leibler divergence."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm.auto import tqdm

from tomolearn.exceptions import DivergenceError
from tomolearn.manifold._repulsion import Grid, exact_potential

__all__ = ["Affinities", "Descent", "descend", "divergence", "gradient"]

AT_ONCE = {"cpu": 2**16, "cuda": 2**24}  # affinities that are worked on at a time: on a processor they fill its cache
EXPLORATION = 250  # iterations of early exaggeration, at most
CHECK_EVERY = 50  # iterations between two looks at the divergence
EARLY_PROGRESS = 0.03  # exaggeration ends when so many iterations lower the divergence by a smaller part
MOMENTA = (0.8, 0.95)  # with and without exaggeration
RATES = (0.25, 0.5)  # learning rate "auto" by samples / exaggeration, with and without exaggeration
LONGEST = 1.0  # step of a point; longer ones throw single points out of their islands
PROGRESS = 0.005  # a lower divergence is one that is lower by this part
COARSE = 0.4  # spacing of the grid during the descent: what it costs is not seen in the divergence
FEW = 1000  # samples up to which a point feels what a coarse grid makes of its own repulsion
FARTHEST = 1e7  # coordinate of a map; those of millions of samples are thousands wide
FINE = 0.25  # spacing of the grid that the divergence is reported from


class Affinities:
    """Symmetric sparse affinities p_ij, and the attraction that they make.

    Parameters
    ----------
    offsets, columns, values : Tensor
        Compressed sparse rows, as `joint_affinities` gives them.
    """

    def __init__(self, offsets, columns, values):
        self.n = len(offsets) - 1
        counts = offsets.diff()
        rows = torch.arange(self.n, device=offsets.device).repeat_interleave(counts).int()
        at_once = AT_ONCE.get(offsets.device.type, 2**24)
        self.values = values
        self.entropy = float(torch.special.xlogy(values, values).sum(dtype=torch.float64))
        self.parts = []
        places, first = offsets.tolist(), 0
        while first < self.n:
            last = first + 1
            while last < self.n and places[last + 1] - places[first] <= at_once:
                last += 1
            part = slice(places[first], places[last])
            self.parts.append(
                (rows[part], columns[part].int(), values[part], (offsets[first : last + 1] - places[first]).int())
            )
            first = last

    def attraction(self, points):
        """Sum over j of p_ij (y_i - y_j) / (1 + |y_i - y_j|^2): (n, d)."""
        axes = points.T.contiguous()
        table = torch.cat([points, torch.ones_like(points[:, :1])], 1)
        sums = []
        for rows, columns, values, offsets in self.parts:
            weights = values / _one_plus_squared(axes, rows, columns)
            sums.append(
                torch.nn.functional.embedding_bag(
                    columns, table, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
                )
            )
        total = torch.cat(sums)
        return points * total[:, -1:] - total[:, :-1]

    def cross(self, points):
        """Sum of p_ij log(1 + |y_i - y_j|^2), the part of the divergence that attraction lowers."""
        axes = points.T.contiguous()
        total = 0.0
        for rows, columns, values, _ in self.parts:
            total += float((values * _one_plus_squared(axes, rows, columns).log_()).sum(dtype=torch.float64))
        return total


def _one_plus_squared(axes, rows, columns):
    total: Any = None
    for axis in axes:
        difference = axis.index_select(0, rows)
        difference -= axis.index_select(0, columns)
        total = difference.square_() if total is None else total.addcmul_(difference, difference)
    return total.add_(1)


def gradient(affinities, points, exaggeration=1.0, grid=None):
    """Gradient of the divergence with respect to ``points``, and the sum Z of 1 / (1 + |y_i - y_j|^2), i != j.

    Parameters
    ----------
    affinities : Affinities
    points : Tensor of shape (n, d)
    exaggeration : float, default=1.0
        Factor of the affinities.
    grid : Grid, default=None
        None: pair by pair.

    Returns
    -------
    gradient : Tensor of shape (n, d)
    total : Tensor of shape ()
    """
    potential, slope = exact_potential(points, points) if grid is None else grid.potential(points)
    total = potential.sum(dtype=torch.float64) - len(points)
    return 4 * exaggeration * affinities.attraction(points) + slope * (2 / total).to(slope.dtype), total


def divergence(affinities, points, total):
    """Kullback-Leibler divergence of the affinities from those of the map; ``total`` is Z."""
    return affinities.entropy + affinities.cross(points) + math.log(total)


@dataclass
class Descent:
    """What `descend` gives.

    Attributes
    ----------
    points : Tensor of shape (n, d)
    divergence : float
    n_iter : int
    total : float
        Z, the sum that the similarities in the map are divided by.
    history : list of (int, float)
        Divergence after so many iterations, without exaggeration.
    """

    points: torch.Tensor
    divergence: float = math.inf
    n_iter: int = 0
    total: float = 0.0
    history: list = field(default_factory=list)


def descend(
    affinities,
    points,
    *,
    exact,
    early_exaggeration=12.0,
    learning_rate="auto",
    max_iter=1000,
    min_grad_norm=1e-7,
    n_iter_without_progress=50,
    verbose=0,
):
    """Move ``points`` to where the divergence is lowest.

    Parameters
    ----------
    affinities : Affinities
    points : Tensor of shape (n, d)
    exact : bool
        Repulsion pair by pair, else from a grid.
    early_exaggeration, learning_rate, max_iter, min_grad_norm, n_iter_without_progress, verbose
        As in `TSNEReducer`.

    Returns
    -------
    Descent

    Raises
    ------
    DivergenceError
        If the points fly apart.
    """
    points, n = points.clone(), len(points)
    grid = None if exact else Grid(FINE if n <= FEW else COARSE)
    update, gains = torch.zeros_like(points), torch.ones_like(points)
    result = Descent(points)
    best, before = (math.inf, 0), math.inf
    early = early_exaggeration > 1
    disable = None if verbose else True  # None: a bar on a terminal, nothing in a log file
    with tqdm(total=max_iter, unit="iteration", desc="t-SNE", disable=disable) as bar:
        for iteration in range(1, max_iter + 1):
            exaggeration = early_exaggeration if early else 1.0
            if not float(points.abs().max()) < FARTHEST:
                raise DivergenceError(
                    f"the map has flown apart after {result.n_iter} iterations with "
                    f"learning_rate={learning_rate!r} and early_exaggeration={early_exaggeration:g}. "
                    "Lower them, or use learning_rate='auto'."
                )
            slope, total = gradient(affinities, points, exaggeration, grid)
            # A coordinate whose steps go on in one direction takes longer ones.
            gains = torch.where(update * slope < 0, gains + 0.2, gains * 0.8).clamp_(min=0.01)
            phase = 0 if early else 1
            rate = max(RATES[phase] * n / exaggeration, 50.0) if learning_rate == "auto" else learning_rate
            update.mul_(MOMENTA[phase]).addcmul_(gains, slope, value=-rate)
            if learning_rate == "auto":
                update *= LONGEST / update.norm(dim=1, keepdim=True).clamp_(min=LONGEST)
            if iteration % CHECK_EVERY == 0:
                now = divergence(affinities, points, float(total))
                result.history.append((iteration, now))
                bar.set_postfix(divergence=f"{now:.4f}")
                norm, stalled = float(slope.norm()), now > (1 - EARLY_PROGRESS) * before
                before = now
                if not early:
                    best = (now, iteration) if now < (1 - PROGRESS) * best[0] else best
                    if iteration - best[1] >= n_iter_without_progress or norm <= min_grad_norm:
                        break
            points += update
            result.n_iter = iteration
            bar.update(1)
            if early and iteration % CHECK_EVERY == 0 and (stalled or iteration >= EXPLORATION):
                early = False
                update.zero_()
                gains.fill_(1)
    points -= points.mean(0)
    result.points = points
    potential = (exact_potential(points, points) if exact else Grid(FINE).potential(points))[0]
    result.total = float(potential.sum(dtype=torch.float64)) - n
    result.divergence = divergence(affinities, points, result.total)
    return result

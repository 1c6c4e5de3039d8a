"""Places of new samples on a frozen map, each found as if it were the only one.

What a sample adds to the divergence, if the map and the sum Z of its n samples stay as they are, has the gradient (but
for a factor)

    sum_j p(j|new) q_j (y - y_j) - n / Z sum_j q_j^2 (y - y_j),    q_j = 1 / (1 + |y - y_j|^2)

over the samples of the map. After Policar et al., 2023, https://doi.org/10.1007/s10994-021-06043-1, but with the sum Z
of the map in place of one over the new samples: these then do not know each other, and a sample of the map is at rest
about where it is.
"""

import torch

from tomolearn.manifold._affinities import conditional_affinities
from tomolearn.manifold._neighbors import nearest_neighbors
from tomolearn.manifold._repulsion import Grid, exact_potential

__all__ = ["Map"]

N_STEPS = 50
AT_ONCE = 4096  # new samples that are placed at a time
MARGIN = 5.0  # of the grid around the map; new samples stay within it
SPACING = 0.35  # of the grid


class Map:
    """A frozen map that new samples are placed on.

    Parameters
    ----------
    reference : Tensor of shape (n, n_vector)
        Vectors of the samples on the map.
    embedding : Tensor of shape (n, d), float64
        Their places.
    total : float
        The sum Z of the map, see `gradient`.
    perplexity : float
        Of the neighbours of a new sample.
    exact : bool
        Repulsion pair by pair, else from a grid.
    """

    def __init__(self, reference, embedding, total, perplexity, *, exact):
        self.reference, self.embedding = reference, embedding
        self.perplexity, self.strength = perplexity, len(embedding) / (2 * total)
        self.low, self.high = embedding.amin(0) - MARGIN, embedding.amax(0) + MARGIN
        self.grid = None
        if not exact:
            self.grid = Grid(SPACING)
            self.grid.place(self.low.tolist(), self.high.tolist())
            self.grid.spread(embedding)

    def place(self, vectors):
        """Places (m, d) of new samples, from their vectors (m, n_vector)."""
        return torch.cat([self._place(part) for part in vectors.split(AT_ONCE)])

    def _place(self, vectors):
        k = min(len(self.reference), max(2, int(3 * self.perplexity) + 1))
        indices, squared = nearest_neighbors(vectors, self.reference, k)
        p = conditional_affinities(squared.double(), min(self.perplexity, (k - 1) / 1.5))
        neighbors = self.embedding[indices]
        places = self._medoid(p, neighbors)
        for _ in range(N_STEPS):
            difference = places[:, None] - neighbors
            weights = p / (1 + difference.square().sum(2))
            weight = weights.sum(1, keepdim=True)
            pull = (weights[:, :, None] * neighbors).sum(1)
            slope = (exact_potential(places, self.embedding) if self.grid is None else self.grid.read(places))[1]
            # log(1 + d^2) lies below a parabola of these weights: its minimum, with the repulsion of the last place.
            places = (pull - self.strength * slope) / weight
            places = torch.minimum(torch.maximum(places, self.low), self.high)
        return places

    @staticmethod
    def _medoid(p, neighbors):
        """The neighbour with the lowest attraction energy: between two islands there is nothing to start from."""
        energy = torch.stack(
            [
                (p * torch.log1p((neighbors - neighbors[:, j : j + 1]).square().sum(2))).sum(1)
                for j in range(neighbors.shape[1])
            ],
            1,
        )
        best = energy.argmin(1)
        return neighbors[torch.arange(len(best), device=best.device), best]

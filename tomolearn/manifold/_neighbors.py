"""Nearest neighbours in a table of vectors: exact, in blocks, so that memory is linear in the number of rows."""

import torch

__all__ = ["METRICS", "nearest_neighbors", "prepare_vectors"]

METRICS = ("euclidean", "cosine")
AT_ONCE = 2**22  # distances that are in memory at a time
GROUP = 16  # columns of which only the smallest takes part in the first choice


def prepare_vectors(vectors: torch.Tensor, metric: str) -> torch.Tensor:
    """Vectors whose Euclidean distances are the distances of ``metric``, up to a monotone function.

    For "cosine" these are unit vectors: half their squared Euclidean distance is the cosine distance. Zero vectors
    stay zero.
    """
    if metric == "euclidean":
        return vectors
    norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / torch.where(norms > 0, norms, torch.ones_like(norms))


def nearest_neighbors(
    queries: torch.Tensor, vectors: torch.Tensor, k: int, *, exclude_self: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``k`` nearest of ``vectors`` for each query.

    Parameters
    ----------
    queries : Tensor of shape (m, d)
    vectors : Tensor of shape (n, d)
    k : int
        At most n, or n - 1 with ``exclude_self``.
    exclude_self : bool, default=False
        ``queries`` are ``vectors``, and row i is no neighbour of itself. Its duplicates are.

    Returns
    -------
    indices : Tensor of shape (m, k), int64
        Nearest first.
    squared : Tensor of shape (m, k)
        Squared Euclidean distances, from differences: of equal vectors exactly zero.
    """
    mean = vectors.mean(0)  # distances do not change, and squares cancel less
    rows, table = queries - mean, vectors - mean
    n = len(table)
    n_padded = -(-n // GROUP) * GROUP
    norms = torch.full((n_padded,), torch.inf, dtype=table.dtype, device=table.device)
    norms[:n] = table.square().sum(1)
    columns = torch.zeros(table.shape[1], n_padded, dtype=table.dtype, device=table.device)
    columns[:, :n] = table.T
    indices, squared = [], []
    step = max(1, AT_ONCE // n_padded)
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        scores = torch.addmm(norms, block, columns, alpha=-2)  # squared distance less the query's own square
        if exclude_self:
            own = torch.arange(len(block), device=block.device)
            scores[own, own + start] = torch.inf
        found = _smallest(scores, k)
        # The expanded square rounds at the size of the norms; differences do not, and order by what is reported.
        exact = torch.stack([(block - table[found[:, i]]).square().sum(1) for i in range(k)], 1)
        exact, order = exact.sort(dim=1, stable=True)
        indices.append(found.gather(1, order))
        squared.append(exact)
    return torch.cat(indices), torch.cat(squared)


def _smallest(scores: torch.Tensor, k: int) -> torch.Tensor:
    """Columns of the ``k`` smallest values of each row; the width is a multiple of GROUP.

    The k smallest values lie in the k groups with the smallest minima: a value outside them has k smaller ones. Two
    choices from few values are several times faster than one from all.
    """
    n_groups = scores.shape[1] // GROUP
    if n_groups < 4 * k:
        return scores.topk(k, 1, largest=False, sorted=False).indices
    # Group g holds columns g, g + n_groups, ...: minima are then taken over whole contiguous rows.
    grouped = scores.view(len(scores), GROUP, n_groups)
    groups = grouped.amin(1).topk(k, 1, largest=False, sorted=False).indices
    members = grouped.gather(2, groups[:, None].expand(-1, GROUP, -1)).flatten(1)
    chosen = members.topk(k, 1, largest=False, sorted=False).indices
    return groups.gather(1, chosen % k) + chosen // k * n_groups

"""From vectors to their map: neighbours, affinities, the first map and the descent."""

import numpy as np
import torch
from sklearn.decomposition import PCA

from tomolearn._validation import check_choice, check_integer, check_real
from tomolearn.base import check_memory
from tomolearn.manifold._affinities import conditional_affinities, joint_affinities
from tomolearn.manifold._neighbors import METRICS, nearest_neighbors, prepare_vectors
from tomolearn.manifold._optimize import Affinities, descend

__all__ = ["check_parameters", "embed", "first_map"]

METHODS = ("auto", "exact", "fft")
FLOAT64_UP_TO = 1000  # samples up to which float64 costs little
SPREAD = 1e-4  # standard deviation of the first coordinate of the first map
TIE = 1e-4  # of it: noise that separates equal samples
MANY_VALUES = 1000  # of a vector, from which principal components are sought at random
BYTES_OF_A_NEIGHBOR = 96  # keys, order, values and columns of the affinities while they are made symmetric


def check_parameters(reducer):
    """Raise unless the parameters of a `TSNEReducer` that are not its features' are in their ranges."""
    n_components = check_integer(reducer.n_components, "n_components", low=1, high=3)
    check_real(reducer.perplexity, "perplexity", low=1)
    check_real(reducer.early_exaggeration, "early_exaggeration", low=1)
    if isinstance(reducer.learning_rate, str):
        check_choice(reducer.learning_rate, "learning_rate, if it is no number,", ("auto",))
    else:
        check_real(reducer.learning_rate, "learning_rate", low=0, open_low=True)
    check_integer(reducer.max_iter, "max_iter", low=1)
    check_integer(reducer.n_iter_without_progress, "n_iter_without_progress", low=0)
    check_real(reducer.min_grad_norm, "min_grad_norm", low=0)
    check_choice(reducer.metric, "metric", METRICS)
    check_choice(reducer.method, "method", METHODS)
    if reducer.method == "fft" and n_components == 3:
        raise ValueError("method='fft' makes maps of 1 or 2 components; got n_components=3. Use method='exact'.")
    if isinstance(reducer.init, str):
        check_choice(reducer.init, "init", ("pca", "random"))


def embed(
    vectors,
    *,
    n_components,
    perplexity,
    metric,
    init,
    random,
    device,
    exact,
    early_exaggeration,
    learning_rate,
    max_iter,
    min_grad_norm,
    n_iter_without_progress,
    verbose,
):
    """The map of ``vectors``, ndarray of shape (n, n_vector), as a `Descent`; parameters as in `TSNEReducer`."""
    n = len(vectors)
    k = min(n - 1, int(3 * perplexity) + 1)
    check_memory(
        float(BYTES_OF_A_NEIGHBOR) * n * k,
        f"the affinities of {n} samples and {k} neighbours",
        "Lower perplexity, or give fewer samples.",
    )
    dtype = torch.float64 if n <= FLOAT64_UP_TO else torch.float32
    rows = prepare_vectors(torch.from_numpy(np.asarray(vectors)).to(device, dtype), metric)
    first = first_map(rows.cpu().numpy().astype(np.float64), n_components, init, random)
    indices, squared = nearest_neighbors(rows, rows, k, exclude_self=True)
    conditional = conditional_affinities(squared.double(), perplexity)
    offsets, columns, values = joint_affinities(indices, conditional)
    return descend(
        Affinities(offsets, columns, values.to(dtype)),
        torch.from_numpy(first).to(device, dtype),
        exact=exact,
        early_exaggeration=early_exaggeration,
        learning_rate=learning_rate,
        max_iter=max_iter,
        min_grad_norm=min_grad_norm,
        n_iter_without_progress=n_iter_without_progress,
        verbose=verbose,
    )


def first_map(rows, n_components, init, random):
    """Places that the descent begins with, float64 of shape (n, n_components)."""
    shape = (len(rows), n_components)
    if not isinstance(init, str):
        first = np.array(init, dtype=np.float64)
        if first.shape != shape or not np.isfinite(first).all():
            raise ValueError(
                f"init must be 'pca', 'random' or finite numbers of shape {shape}; got shape {first.shape}."
            )
        return first
    first = random.standard_normal(shape) * SPREAD
    if init == "pca":
        n_found = min(*shape, rows.shape[1])
        solver = "covariance_eigh" if rows.shape[1] <= MANY_VALUES else "randomized"
        found = PCA(n_found, svd_solver=solver, random_state=0).fit_transform(rows)
        first *= TIE
        first[:, :n_found] += found / found[:, 0].std() * SPREAD
    return first

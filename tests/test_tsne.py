"""t-SNE: its parts against laws and slow truths, the map against scikit-learn's, new samples on it."""

import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.manifold import TSNE, trustworthiness
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

import tomolearn
from tomolearn import TSNEReducer
from tomolearn.exceptions import DivergenceError, FileFormatError
from tomolearn.manifold import _optimize
from tomolearn.manifold._affinities import conditional_affinities, joint_affinities
from tomolearn.manifold._neighbors import nearest_neighbors, prepare_vectors
from tomolearn.manifold._optimize import Affinities, divergence, gradient
from tomolearn.manifold._repulsion import Grid, exact_potential, fast_length


def blobs(n=120, d=6, n_blobs=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_blobs
    return rng.normal(size=(n, d)) + 8 * rng.normal(size=(n_blobs, d))[labels], labels


def points(n, d, spread, seed=0, dtype=torch.float64):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, spread, (n, d))).to(dtype)


def affinities(n=60, k=20, perplexity=6.0):
    x = points(n, 5, 1.0)
    indices, squared = nearest_neighbors(x, x, k, exclude_self=True)
    return joint_affinities(indices, conditional_affinities(squared, perplexity))


def dense(offsets, columns, values):
    rows = torch.arange(len(offsets) - 1).repeat_interleave(offsets.diff())
    p = torch.zeros(len(offsets) - 1, len(offsets) - 1, dtype=values.dtype)
    p[rows, columns] = values
    return p


def dense_divergence(p, y):
    """The definition, pair by pair."""
    q = 1 / (1 + torch.cdist(y, y).square())
    q = q * (1 - torch.eye(len(y), dtype=y.dtype))
    q = q / q.sum()
    return torch.special.xlogy(p, p).sum() - torch.special.xlogy(p, q.where(p > 0, torch.ones_like(q))).sum()


@pytest.fixture(scope="module")
def digits():
    X, labels = load_digits(return_X_y=True)
    return X[:700], labels[:700]


@pytest.fixture(scope="module")
def fitted(digits):
    return TSNEReducer(n_features=64, perplexity=20, max_iter=400, method="fft", random_state=0).fit(digits[0][:600])


# ------------------------------------------------------------------------------------------------------- neighbours


@pytest.mark.parametrize("n, k", [(50, 7), (3000, 20)])  # one choice from all, two choices
def test_neighbors_are_those_of_scikit_learn(n, k):
    x = points(n, 4, 1.0) + 1000  # far from the origin: expanded squares cancel
    indices, squared = nearest_neighbors(x, x, k, exclude_self=True)
    distances, expected = NearestNeighbors(n_neighbors=k).fit(x.numpy()).kneighbors()
    np.testing.assert_array_equal(indices.numpy(), expected)
    np.testing.assert_allclose(squared.sqrt().numpy(), distances, rtol=1e-10)


def test_duplicates_are_neighbors_and_oneself_is_not():
    x = points(40, 3, 1.0)
    x[7] = x[3]
    indices, squared = nearest_neighbors(x, x, 5, exclude_self=True)
    assert indices[3, 0] == 7 and indices[7, 0] == 3 and squared[3, 0] == 0
    assert (indices != torch.arange(40)[:, None]).all()
    assert nearest_neighbors(x[:1], x, 1)[0].item() == 0


def test_cosine_is_the_distance_of_unit_vectors():
    x = points(30, 4, 1.0)
    indices, squared = nearest_neighbors(*[prepare_vectors(x, "cosine")] * 2, 6, exclude_self=True)
    distances, expected = NearestNeighbors(n_neighbors=6, metric="cosine").fit(x.numpy()).kneighbors()
    np.testing.assert_array_equal(indices.numpy(), expected)
    np.testing.assert_allclose(squared.numpy() / 2, distances, atol=1e-12)


# ------------------------------------------------------------------------------------------------------- affinities


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("perplexity", [2.0, 30.0, 85.0])
def test_perplexity_is_reached(scale, perplexity):
    squared = torch.from_numpy(np.random.default_rng(0).lognormal(0, 2, (50, 90))).sort(1).values * scale
    p = conditional_affinities(squared, perplexity)
    torch.testing.assert_close(p.sum(1), torch.ones(50, dtype=p.dtype))
    entropy = -torch.special.xlogy(p, p).sum(1)
    torch.testing.assert_close(entropy.exp(), torch.full((50,), perplexity, dtype=p.dtype), rtol=1e-6, atol=0)


def test_equal_neighbors_share_the_probability():
    squared = torch.tensor([[0.0] * 6 + [1.0] * 4, [2.0] * 10], dtype=torch.float64)
    p = conditional_affinities(squared, 3.0)
    torch.testing.assert_close(p[0, :6], torch.full((6,), 1 / 6, dtype=p.dtype))
    torch.testing.assert_close(p[1], torch.full((10,), 0.1, dtype=p.dtype))


def test_joint_affinities_are_symmetric_and_sum_to_one():
    x = points(60, 5, 1.0)
    indices, squared = nearest_neighbors(x, x, 20, exclude_self=True)
    conditional = conditional_affinities(squared, 6.0)
    p = dense(*joint_affinities(indices, conditional))
    expected = torch.zeros(60, 60, dtype=p.dtype).scatter_(1, indices, conditional)
    torch.testing.assert_close(p, (expected + expected.T) / 120, rtol=1e-12, atol=0)
    assert p.sum().item() == pytest.approx(1, rel=1e-12) and (p.diagonal() == 0).all()


# -------------------------------------------------------------------------------------------------------- repulsion


@pytest.mark.parametrize("d", [1, 2, 3])
def test_potential_is_the_sum_over_pairs(d):
    y, z = points(30, d, 3.0), points(40, d, 3.0, seed=1)
    potential, slope = exact_potential(y, z)
    kernel = 1 / (1 + torch.cdist(y, z).square())
    torch.testing.assert_close(potential, kernel.sum(1))
    difference = y[:, None] - z[None]
    torch.testing.assert_close(slope, -2 * (kernel.square()[:, :, None] * difference).sum(1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("d, spread", [(1, 0.3), (1, 20.0), (1, 500.0), (2, 0.3), (2, 3.0), (2, 15.0)])
def test_grid_equals_pairs(d, spread, dtype):
    y = points(1500, d, spread)
    potential, slope = Grid().potential(y.to(dtype))
    expected, expected_slope = exact_potential(y, y)
    assert (potential - expected).abs().max() <= 3e-3 * expected.max()
    assert (slope - expected_slope).norm() <= 2e-2 * expected_slope.norm()
    assert potential.sum().item() == pytest.approx(expected.sum().item(), rel=1e-3)


def test_a_finer_grid_is_more_exact():
    y = points(800, 2, 8.0)
    expected = exact_potential(y, y)[1]
    errors = [float((Grid(h).potential(y)[1] - expected).norm() / expected.norm()) for h in (0.8, 0.4, 0.2)]
    assert errors[1] < errors[0] / 4 and errors[2] < errors[1] / 4 and errors[2] < 2e-3


def test_a_grid_is_used_again():
    grid = Grid()
    for spread in (10.0, 0.5, 10.5, 9.8, 40.0):
        y = points(400, 2, spread)
        again, fresh = grid.potential(y), Grid().potential(y)
        torch.testing.assert_close(again[0], fresh[0], rtol=2e-3, atol=0)
        assert (again[1] - fresh[1]).norm() <= 1e-2 * fresh[1].norm()


def test_lengths_are_fast_and_long_enough():
    for n in range(1, 3000, 7):
        length = fast_length(n)
        assert n <= length <= max(2, 1.2 * n + 2) and length % 2 == 0
        for prime in (2, 3, 5):
            while length % prime == 0:
                length //= prime
        assert length == 1


# --------------------------------------------------------------------------------------------------------- gradient


@pytest.mark.parametrize("d", [1, 2, 3])
def test_gradient_is_that_of_the_definition(d):
    p = affinities()
    y = points(60, d, 1.0).requires_grad_()
    value = dense_divergence(dense(*p), y)
    slope, total = gradient(Affinities(*p), y.detach())
    torch.testing.assert_close(slope, torch.autograd.grad(value, y)[0], rtol=1e-9, atol=1e-12)
    assert divergence(Affinities(*p), y.detach(), float(total)) == pytest.approx(value.item(), rel=1e-10)


def test_gradient_equals_finite_differences():
    p, y, step = affinities(), points(60, 2, 1.0), 1e-5
    slope, _ = gradient(Affinities(*p), y)
    for i, axis in ((0, 0), (17, 1), (59, 0)):
        shifted = y.repeat(2, 1, 1)
        shifted[0, i, axis] -= step
        shifted[1, i, axis] += step
        low, high = (float(dense_divergence(dense(*p), z)) for z in shifted)
        assert (high - low) / (2 * step) == pytest.approx(float(slope[i, axis]), rel=1e-5, abs=1e-9)


def test_parts_of_the_affinities_do_not_matter(monkeypatch):
    p, y = affinities(), points(60, 2, 1.0)
    whole = Affinities(*p)
    monkeypatch.setitem(_optimize.AT_ONCE, "cpu", 50)
    cut = Affinities(*p)
    assert len(whole.parts) == 1 and len(cut.parts) > 10
    torch.testing.assert_close(cut.attraction(y), whole.attraction(y))
    assert cut.cross(y) == pytest.approx(whole.cross(y), rel=1e-12)


# ----------------------------------------------------------------------------------------------------------- the map


def test_map_is_as_good_as_that_of_scikit_learn(digits, fitted):
    X = digits[0][:600]
    peer = TSNE(perplexity=20, max_iter=400, init="pca", random_state=0).fit(X)
    assert fitted.kl_divergence_ <= peer.kl_divergence_ + 0.02
    ours, theirs = (trustworthiness(X, places, n_neighbors=10) for places in (fitted.embedding_, peer.embedding_))
    assert ours >= theirs - 0.003 and ours > 0.98


@pytest.mark.parametrize("n_components, method", [(1, "exact"), (1, "fft"), (2, "exact"), (2, "fft"), (3, "auto")])
def test_blobs_are_separate(n_components, method):
    X, labels = blobs()
    reducer = TSNEReducer(n_components, method=method, perplexity=10, max_iter=300, random_state=0)
    places = reducer.fit_transform(X)
    assert places.shape == (120, n_components) and places.dtype == np.float64
    assert KNeighborsClassifier(3).fit(places, labels).score(places, labels) >= (0.97 if n_components == 1 else 1)
    assert reducer.score(X) > 0.9
    y = torch.from_numpy(places)
    total = float(exact_potential(y, y)[0].sum()) - 120
    assert reducer.total_similarity_ == pytest.approx(total, rel=1e-3)
    assert list(reducer.get_feature_names_out()) == [f"tsnereducer{i}" for i in range(n_components)]


def test_exact_and_grid_reach_the_same_divergence():
    X, _ = blobs(300, n_blobs=5)
    exact, grid = (
        TSNEReducer(method=method, perplexity=15, max_iter=400, random_state=0).fit(X).kl_divergence_
        for method in ("exact", "fft")
    )
    assert grid == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("init", ["pca", "random"])
def test_one_seed_gives_one_map(init):
    X, _ = blobs()
    make = TSNEReducer(perplexity=10, max_iter=100, init=init, random_state=3, method="fft").fit_transform
    first = make(X)
    np.testing.assert_array_equal(first, make(X))
    other = TSNEReducer(perplexity=10, max_iter=100, init=init, random_state=4, method="fft").fit_transform(X)
    assert np.abs(first - other).max() > (1e-3 if init == "random" else 0)


def test_threads_do_not_matter():
    X, _ = blobs()
    maps, n_threads = [], torch.get_num_threads()
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            maps.append(TSNEReducer(perplexity=10, max_iter=60, method="fft", random_state=0).fit_transform(X))
    finally:
        torch.set_num_threads(n_threads)
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-6 * np.ptp(maps[0]))


def test_runs_end_where_they_are_told_to():
    X, _ = blobs()
    common = {"perplexity": 10, "method": "exact", "random_state": 0}
    assert TSNEReducer(max_iter=37, **common).fit(X).n_iter_ == 37
    at_rest = TSNEReducer(min_grad_norm=1.0, **common).fit(X)
    assert at_rest.n_iter_ < 300
    impatient = TSNEReducer(n_iter_without_progress=0, max_iter=400, **common).fit(X)
    assert impatient.n_iter_ < 400


@pytest.mark.parametrize("method", ["exact", "fft"])
def test_a_map_that_flies_apart_is_refused(method):
    with pytest.raises(DivergenceError, match="has flown apart after 1 iterations with learning_rate=1e[+]300 .*Lower"):
        TSNEReducer(perplexity=10, method=method, learning_rate=1e300, random_state=0).fit(blobs()[0])


def test_the_first_map_can_be_given():
    X, _ = blobs()
    first = np.random.default_rng(0).normal(size=(120, 2))
    near = TSNEReducer(perplexity=10, max_iter=1, init=first, early_exaggeration=1, learning_rate=1e-9)
    np.testing.assert_allclose(near.fit_transform(X), first - first.mean(0), atol=1e-6)
    with pytest.raises(ValueError, match=r"init must be .* of shape \(120, 2\); got shape \(119, 2\)"):
        clone(near).set_params(init=first[1:]).fit(X)


def test_equal_samples_lie_together():
    X, _ = blobs()
    X[60:] = X[:60]
    places = TSNEReducer(perplexity=10, max_iter=300, method="exact", random_state=0).fit_transform(X)
    assert np.isfinite(places).all()
    assert np.median(np.linalg.norm(places[60:] - places[:60], axis=1)) < 0.05 * np.ptp(places)


# ------------------------------------------------------------------------------------------------------- new samples


def test_training_samples_land_on_their_place(digits, fitted):
    places = fitted.transform(digits[0][:600])
    diameter = np.ptp(fitted.embedding_, axis=0).max()
    distances = np.linalg.norm(places - fitted.embedding_, axis=1)
    assert np.quantile(distances, 0.95) < 0.02 * diameter


def test_new_samples_land_among_their_kind(digits, fitted):
    X, labels = digits
    classifier = KNeighborsClassifier(5).fit(fitted.embedding_, labels[:600])
    assert classifier.score(fitted.transform(X[600:]), labels[600:]) >= 0.9


def test_one_by_one_is_all_at_once(digits, fitted):
    X = digits[0][600:625]
    at_once = fitted.transform(X)
    one_by_one = np.concatenate([fitted.transform(X[i : i + 1]) for i in range(len(X))])
    np.testing.assert_allclose(one_by_one, at_once, atol=1e-4 * np.ptp(fitted.embedding_))


@pytest.mark.parametrize("n_components", [1, 3])
def test_samples_are_placed_in_other_dimensions(n_components):
    X, _ = blobs()
    reducer = TSNEReducer(n_components, perplexity=10, max_iter=300, random_state=0).fit(X)
    distances = np.linalg.norm(reducer.transform(X) - reducer.embedding_, axis=1)
    assert np.quantile(distances, 0.95) < 0.05 * np.ptp(reducer.embedding_)


# -------------------------------------------------------------------------------------------------- the estimator


def test_images_are_taken_flat_and_in_stacks():
    X = blobs(60, 48)[0].reshape(60, 6, 8)
    common = {"perplexity": 8, "max_iter": 60, "random_state": 0}
    of_stack = TSNEReducer(**common).fit(X)
    of_flat = TSNEReducer(image_shape=(6, 8), **common).fit(X.reshape(60, -1))
    np.testing.assert_array_equal(of_stack.embedding_, of_flat.embedding_)
    assert of_stack.image_shape_ == of_flat.image_shape_ == (6, 8)
    for dtype in (np.float32, np.float16, np.uint8):
        places = clone(of_stack).fit_transform(np.clip(X * 4 + 100, 0, 255).astype(dtype))
        assert places.dtype == (np.float32 if dtype == np.uint8 else dtype)


def test_outliers_are_told_by_the_detector():
    X, _ = blobs()
    reducer = TSNEReducer(perplexity=10, max_iter=50, random_state=0).fit(X)
    new = np.concatenate([X[:5], X[:5] + 100])
    assert list(reducer.predict(new)) == [1] * 5 + [-1] * 5
    np.testing.assert_array_equal(reducer.score_samples(new), reducer.detector_.score_samples(new))


def test_files_and_copies_hold_the_map(tmp_path):
    X, _ = blobs()
    reducer = TSNEReducer(perplexity=10, max_iter=50, random_state=0).fit(X)
    reducer.save(tmp_path / "map.tomo")
    for copied in (tomolearn.load(tmp_path / "map.tomo"), pickle.loads(pickle.dumps(reducer))):
        np.testing.assert_array_equal(copied.embedding_, reducer.embedding_)
        np.testing.assert_array_equal(copied.transform(X[:7]), reducer.transform(X[:7]))
        np.testing.assert_array_equal(copied.score_samples(X), reducer.score_samples(X))
        assert (copied.kl_divergence_, copied.n_iter_) == (reducer.kl_divergence_, reducer.n_iter_)


@pytest.mark.parametrize(
    "broken, message",
    [
        ({"embedding_": np.full((120, 2), np.nan)}, "must hold embedding_, finite numbers"),
        ({"embedding_": np.zeros((5, 2))}, "must hold as many features as places"),
        ({"total_similarity_": -1.0}, "must hold total_similarity_, a number above zero"),
        ({"detector_": 3}, "must hold detector_, a dict"),
    ],
)
def test_broken_files_are_refused(broken, message):
    X, _ = blobs()
    state = TSNEReducer(perplexity=10, max_iter=5, random_state=0).fit(X)._model_state()[0]
    with pytest.raises(FileFormatError, match=f"file.tomo {message}"):
        TSNEReducer()._set_model_state({**state, **broken}, {}, "file.tomo")


@pytest.mark.parametrize(
    "parameters, error, message",
    [
        ({"n_components": 4}, ValueError, "n_components must be an integer from 1 to 3; got 4"),
        ({"perplexity": 0.5}, ValueError, r"perplexity must be a number in \[1, inf\]; got 0.5"),
        ({"perplexity": 119}, ValueError, "perplexity must be below n - 1.*got 119 for n_samples=120. Lower"),
        ({"early_exaggeration": 0.5}, ValueError, "early_exaggeration must be a number"),
        ({"learning_rate": "fast"}, ValueError, "learning_rate, if it is no number, must be one of 'auto'; got 'fast'"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be a number"),
        ({"max_iter": 0}, ValueError, "max_iter must be an integer >= 1; got 0"),
        ({"metric": "taxicab"}, ValueError, "metric must be one of 'euclidean', 'cosine'; got 'taxicab'"),
        ({"method": "barnes_hut"}, ValueError, "method must be one of 'auto', 'exact', 'fft'; got 'barnes_hut'"),
        ({"method": "fft", "n_components": 3}, ValueError, "method='fft' makes maps of 1 or 2 components; got"),
        ({"init": "spectral"}, ValueError, "init must be one of 'pca', 'random'; got 'spectral'"),
        ({"features": "resnet"}, ValueError, "features must be one of"),
        ({"device": "tpu"}, ValueError, "device must be 'auto', 'cpu', 'cuda'"),
    ],
)
def test_bad_parameters_are_named(parameters, error, message):
    with pytest.raises(error, match=message):
        TSNEReducer(**{"perplexity": 10, **parameters}).fit(blobs()[0])


def test_bad_data_are_named():
    X, _ = blobs()
    with pytest.raises(ValueError, match="the 120 samples of X must not all be equal"):
        TSNEReducer(perplexity=10).fit(np.ones_like(X))
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match="must be finite; got 1 NaN"):
        TSNEReducer(perplexity=10).fit(X)
    fitted = TSNEReducer(perplexity=10, max_iter=5, random_state=0).fit(blobs()[0])
    with pytest.raises(ValueError, match="must be finite; got 1 NaN"):
        fitted.transform(X)
    with pytest.raises(ValueError, match="X must hold more than 10 samples for a score; got n_samples=4"):
        fitted.score(blobs()[0][:4])


def test_constant_features_do_not_matter():
    X, labels = blobs()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        places = TSNEReducer(perplexity=10, max_iter=300, random_state=0).fit_transform(
            np.column_stack([X, np.full((120, 3), 7.0)])
        )
    assert KNeighborsClassifier(3).fit(places, labels).score(places, labels) == 1


def test_defaults_of_the_original():
    reducer = TSNEReducer.superres_defaults()
    assert (reducer.perplexity, reducer.early_exaggeration, reducer.learning_rate) == (50, 4, 200)
    assert (reducer.max_iter, reducer.method, reducer.n_features, reducer.n_components) == (5000, "exact", 50, 2)
    assert math.isclose(reducer.min_grad_norm, 1e-7)

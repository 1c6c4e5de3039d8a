"""Where iterations start and end: filtered back-projection, ordered subsets, the discrepancy principle."""

import numpy as np
import pytest
import torch

from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.operators import GradientOperator, RadonOperator
from tomolearn.solvers import cgls, fbp, fista_tv, sirt, tv

ITERATIVE = {"sirt": sirt, "cgls": cgls, "tv": tv, "fista_tv": fista_tv}
SOLVERS = pytest.mark.parametrize("solve", ITERATIVE.values(), ids=ITERATIVE)
RULES = pytest.mark.parametrize(
    ("solve", "options"),
    [(cgls, {}), (cgls, {"nonnegative": True}), (sirt, {}), (sirt, {"n_subsets": 3, "nonnegative": True})],
    ids=["cgls", "cgls, nonnegative", "sirt", "sirt, subsets"],
)


@pytest.fixture(scope="module")
def noisy():
    """Operator, its dense matrix, images and their projections with more and more noise."""
    n = 16
    A = RadonOperator(ParallelBeam(default_angles(24), n))
    matrix = A.T(np.eye(24 * n).reshape(-1, 24, n)).reshape(24 * n, -1)
    y, x = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j]
    images = np.stack([1.0 * (np.hypot(x - d, y) < 0.6) + (np.hypot(x, y + d) < 0.3) for d in (0, 0.1, 0.2)])
    sigma = np.array([0.2, 0.4, 1.0])
    noise = np.random.default_rng(0).standard_normal((3, 24, n)) * sigma[:, None, None]
    return A, matrix, images, A(images) + noise, sigma


def iterates(solve, A, y, max_iter, **options):
    """x_0 = 0, x_1, ..., as arrays (max_iter + 1, n, rows, columns)."""
    found = [np.zeros((len(y), *A.domain_shape))]
    solve(A, y, max_iter=max_iter, callback=lambda k, x, r: found.append(x.numpy().copy()), **options)
    return np.stack(found)


# ---------------------------------------------------------------------------------------- the discrepancy principle


@RULES
@pytest.mark.parametrize("weights", [None, "mask", "variances"])
def test_each_slice_ends_at_the_first_iterate_that_explains_its_data(solve, options, weights, noisy):
    """The residual of each iterate is taken by hand, with the dense matrix."""
    A, matrix, _, y, sigma = noisy
    w, count = np.ones((24, 16)), 24 * 16
    if weights == "mask":
        w[[3, 11]], w[:, 5] = 0, 0
        count = 22 * 15
    elif weights == "variances":  # data of standard deviation sigma / sqrt(w)
        w = np.random.default_rng(1).uniform(0.5, 2, (24, 16))
        y = A(noisy[2]) + (y - A(noisy[2])) / np.sqrt(w)
    options = options | ({} if weights is None else {"weights": w})
    way = iterates(solve, A, y, 80, **options)
    residual = np.sqrt((w.ravel() * (way.reshape(81, 3, -1) @ matrix.T - y.reshape(3, -1)) ** 2).sum(2))
    below = residual <= sigma * np.sqrt(count)
    first = below.argmax(0)
    assert below.any(0).all() and len(set(first)) > 1 and first.min() > 0
    steps = []
    x = solve(A, y, max_iter=80, noise_level=sigma, callback=lambda k, x, r: steps.append(k), **options)
    np.testing.assert_allclose(x, way[first, np.arange(3)], atol=1e-12)
    assert steps == list(range(1, first.max() + 1))


@pytest.mark.parametrize(
    ("solve", "options"), [(cgls, {}), (sirt, {}), (sirt, {"n_subsets": 3})], ids=["cgls", "sirt", "subsets"]
)
def test_the_end_is_near_the_best_iterate(solve, options, noisy):
    """Semi-convergence: noisy images get better and then worse."""
    A, _, images, y, sigma = noisy
    way = iterates(solve, A, y[2:], 150, **options)
    error = np.linalg.norm(way[:, 0] - images[2], axis=(1, 2))
    x = solve(A, y[2], max_iter=150, noise_level=1.0, **options)
    assert np.linalg.norm(x - images[2]) < 1.15 * error.min() < 0.8 * error[-1]


@RULES
def test_an_image_that_explains_the_data_stays(solve, options, noisy):
    A, _, images, y, sigma = noisy
    x = solve(A, y, x0=images, noise_level=1.2 * sigma, max_iter=5, **options)
    np.testing.assert_array_equal(x, images)


@pytest.mark.parametrize(
    ("solve", "rule"),
    [
        (sirt, {"tol": 0.1}),
        (sirt, {"noise_level": 0.3}),
        (sirt, {"noise_level": 0.3, "n_subsets": 4}),
        (cgls, {"tol": 0.1}),
        (cgls, {"noise_level": 0.3, "nonnegative": True}),
        (tv, {"tol": 0.01}),
        (fista_tv, {"tol": 0.01}),
    ],
)
def test_an_image_does_not_depend_on_its_company(solve, rule, noisy):
    A, _, _, y, _ = noisy
    together = solve(A, y, max_iter=60, **rule)
    np.testing.assert_allclose(together, np.stack([solve(A, one, max_iter=60, **rule) for one in y]), atol=1e-11)
    counts = []
    for one in y:
        counts.append(0)
        solve(A, one, max_iter=60, callback=lambda k, x, r: counts.__setitem__(-1, k), **rule)
    assert len(set(counts)) > 1  # they do end at different iterations


@pytest.mark.parametrize("solve", [sirt, cgls])
def test_the_weaker_of_two_rules_counts(solve, noisy):
    A, _, _, y, _ = noisy
    np.testing.assert_array_equal(solve(A, y[0], tol=0.2, noise_level=0.1), solve(A, y[0], tol=0.2))
    np.testing.assert_array_equal(solve(A, y[0], tol=1e-6, noise_level=0.1), solve(A, y[0], noise_level=0.1))


@pytest.mark.parametrize("solve", [sirt, cgls])
@pytest.mark.parametrize(
    ("noise_level", "error", "match"),
    [
        (0, ValueError, r"noise_level must be a number in \(0, inf\]; got 0"),
        (-1.0, ValueError, r"noise_level must be a number in \(0, inf\]; got -1.0"),
        (True, TypeError, r"noise_level must be a number in \(0, inf\]; got True"),
        ([0.1, 0.2], ValueError, r"noise_level must be a number or one for each of the 3 slices .*; got shape \(2,\)"),
        ([0.1, 0.0, 0.2], ValueError, "noise_level must be finite and positive for every slice; None: no such rule"),
        ([0.1, np.nan, 0.2], ValueError, "noise_level must be finite and positive for every slice"),
        (["a"], TypeError, "noise_level must hold real numbers"),
    ],
)
def test_bad_noise_levels(solve, noise_level, error, match, noisy):
    with pytest.raises(error, match=match):
        solve(noisy[0], noisy[3], noise_level=noise_level)


# -------------------------------------------------------------------------------------- from filtered back-projection


@SOLVERS
def test_fbp_as_a_start_is_the_image_of_fbp(solve, noisy):
    A, _, _, y, _ = noisy
    start = fbp(A, y)
    assert start.min() < 0
    np.testing.assert_array_equal(solve(A, y, x0="fbp", max_iter=4), solve(A, y, x0=start, max_iter=4))
    np.testing.assert_array_equal(
        solve(A, y, x0="fbp", max_iter=4, nonnegative=True),
        solve(A, y, x0=start.clip(min=0), max_iter=4, nonnegative=True),
    )
    centers = RadonOperator(ParallelBeam(default_angles(24), 16, center=[[7.0], [7.5], [8.1]]))
    one = RadonOperator(ParallelBeam(default_angles(24), 16, center=8.1))
    np.testing.assert_allclose(
        solve(centers, y, x0="fbp", max_iter=4)[2], solve(one, y[2], x0="fbp", max_iter=4), atol=1e-11
    )


@SOLVERS
def test_fbp_is_a_head_start(solve):
    """Of many angles: nearer after 5 iterations than from zeros."""
    A = RadonOperator(ParallelBeam(default_angles(96), 48))
    truth = 1.0 * (np.hypot(*np.mgrid[-1:1:48j, -1:1:48j]) < 0.7)
    warm, cold = (np.abs(solve(A, A(truth), x0=x0, max_iter=5) - truth).mean() for x0 in ("fbp", None))
    assert warm < (0.9 if solve is cgls else 0.5) * cold


@SOLVERS
def test_fbp_as_a_start_needs_every_datum(solve, noisy):
    A, _, _, y, _ = noisy
    w = np.ones((24, 16))
    np.testing.assert_array_equal(
        solve(A, y, x0="fbp", weights=w, max_iter=2), solve(A, y, x0=fbp(A, y), weights=w, max_iter=2)
    )
    w[3] = 0
    with pytest.raises(ValueError, match=r"x0='fbp' needs every datum, and weights masks some. Repair .* x0=fbp\(A, c"):
        solve(A, y, x0="fbp", weights=w)
    with pytest.raises(ValueError, match="x0 must be one of 'fbp'; got 'sirt'"):
        solve(A, y, x0="sirt")
    with pytest.raises(ValueError, match="x0='fbp' needs a RadonOperator; got _Transpose. Pass an image, or None"):
        solve(GradientOperator((24, 16)).T, np.ones((2, 24, 16)), x0="fbp")


# ----------------------------------------------------------------------------------------------------- ordered subsets


@pytest.mark.parametrize("relaxation", [1.0, 0.7])
def test_ordered_subsets_by_hand(relaxation, noisy):
    """Four passes with dense matrices; of four subsets the one half way round comes second, then those between."""
    A, matrix, _, y, _ = noisy
    matrix, data, x = matrix.reshape(24, 16, -1), y[0], np.zeros(256)
    for _ in range(4):
        for k in (0, 2, 1, 3):
            M = matrix[k::4].reshape(-1, 256)
            R, C = (np.where(s > 1e-6 * s.max(), 1 / np.maximum(s, 1e-12), 0) for s in (M.sum(1), M.sum(0)))
            x = x + relaxation * C * (M.T @ (R * (data[k::4].ravel() - M @ x)))
    ours = sirt(A, data, n_subsets=4, max_iter=4, relaxation=relaxation)
    np.testing.assert_allclose(ours.ravel(), x, atol=1e-11)


def test_subsets_do_not_depend_on_the_order_of_the_angles(noisy, rng):
    """Golden-angle and interlaced scans are cut into subsets as well spread as those of a steady rotation."""
    _, _, _, y, _ = noisy
    order = rng.permutation(24)
    angles = default_angles(24)
    turned = angles + np.pi * rng.integers(0, 2, 24)  # the same rays, the detector read backwards
    steady, shuffled = (RadonOperator(ParallelBeam(a, 16, angle_unit="rad")) for a in (angles, turned[order]))
    data = np.where((turned > np.pi - 1e-9)[:, None], y[..., ::-1], y)[:, order]
    w = rng.uniform(0.5, 1, (24, 1))
    for options in ({}, {"n_subsets": 5}):
        np.testing.assert_allclose(
            sirt(shuffled, data, max_iter=3, weights=w[order], **options),
            sirt(steady, y, max_iter=3, weights=w, **options),
            atol=1e-10,
        )


def test_the_next_subset_is_far_from_the_last(noisy):
    """One angle each: in the order of the angles, the first pass would leave twice the error."""
    A, _, images, _, _ = noisy
    y = A(images)
    in_order = np.zeros_like(images)
    for k in range(24):
        part = A.subset([k])
        in_order = sirt(part, y[:, k : k + 1], max_iter=1, x0=in_order)
    error = [np.abs(x - images).mean() for x in (sirt(A, y, max_iter=1, n_subsets=24), in_order)]
    assert 2 * error[0] < error[1]


def test_subsets_from_fbp_need_few_passes():
    """Three of 12 subsets leave no larger an error than 30 of all data at once."""
    A = RadonOperator(ParallelBeam(default_angles(96), 48))
    truth = 1.0 * (np.hypot(*np.mgrid[-1:1:48j, -1:1:48j]) < 0.7)
    few = sirt(A, A(truth), x0="fbp", n_subsets=12, max_iter=3)
    many = sirt(A, A(truth), x0="fbp", max_iter=30)
    assert np.linalg.norm(few - truth) < np.linalg.norm(many - truth)


def test_relaxation_shrinks_the_cycle_of_noisy_subsets(noisy):
    A, _, _, y, _ = noisy
    x0 = sirt(A, y[2], max_iter=4000)  # the least-squares solution
    away = [np.linalg.norm(sirt(A, y[2], x0=x0, n_subsets=6, relaxation=r, max_iter=30) - x0) for r in (1.0, 0.1)]
    assert away[1] < 0.3 * away[0]


@pytest.mark.parametrize("relaxation", [0, 2.5, -1, 2])
def test_bad_relaxation(relaxation, noisy):
    with pytest.raises(ValueError, match="relaxation must be a number in .*; got "):
        sirt(noisy[0], noisy[3], relaxation=relaxation)


def test_float32_on_tensors(noisy):
    A, _, _, y, sigma = noisy
    single = torch.from_numpy(y).float()
    for solve in (sirt, cgls):
        x = solve(A, single, noise_level=torch.from_numpy(sigma), x0="fbp")
        assert x.dtype == torch.float32
        np.testing.assert_allclose(x.numpy(), solve(A, y, noise_level=sigma, x0="fbp"), atol=1e-3)

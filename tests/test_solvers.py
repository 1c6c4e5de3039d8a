"""Solvers against their textbook results on small dense problems, and the laws they share."""

import numpy as np
import pytest
import scipy.optimize
import torch

from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.operators import GradientOperator, RadonOperator
from tomolearn.solvers import cgls, fbp, fista_tv, sirt, tv

ITERATIVE = {"sirt": sirt, "cgls": cgls, "tv": tv, "fista_tv": fista_tv}
SHAPE = (8, 9)


@pytest.fixture(scope="module")
def problem():
    """Operator, its dense matrix, and data of three slices that no image explains."""
    rng = np.random.default_rng(0)
    A = RadonOperator(ParallelBeam(np.sort(rng.uniform(0, 3, 9)), 14, SHAPE))
    matrix = A.T(np.eye(9 * 14).reshape(-1, 9, 14)).reshape(9 * 14, -1)
    return A, matrix, rng.standard_normal((3, 9, 14)) + 1


def flat(y):
    return y.reshape(len(y), -1).T


def as_images(x):
    return x.T.reshape(-1, *SHAPE)


def test_cgls_is_least_squares(problem):
    A, matrix, y = problem
    truth = as_images(np.linalg.lstsq(matrix, flat(y), rcond=None)[0])
    np.testing.assert_allclose(cgls(A, y, max_iter=300), truth, atol=1e-8)


def test_cgls_iterates_are_least_squares_in_krylov_spaces(problem):
    """Of all images in the span of A'y, (A'A)A'y, ..., (A'A)^(k-1)A'y, iterate k has the least residual."""
    A, matrix, y = problem
    for column, one in zip(flat(y).T, y, strict=True):
        basis = matrix.T @ column[:, None]
        for k in range(1, 8):
            span = np.linalg.qr(basis)[0]
            truth = span @ np.linalg.lstsq(matrix @ span, column, rcond=None)[0]
            np.testing.assert_allclose(cgls(A, one, max_iter=k).ravel(), truth, atol=1e-8 * np.abs(truth).max())
            basis = np.hstack([span, matrix.T @ (matrix @ span[:, -1:])])


def test_cgls_with_weights_and_damping(problem, rng):
    A, matrix, y = problem
    w = rng.uniform(0, 1, (9, 14))
    normal = matrix.T @ (w.reshape(-1, 1) * matrix) + 0.3 * np.eye(matrix.shape[1])
    truth = as_images(np.linalg.solve(normal, matrix.T @ (w.reshape(-1, 1) * flat(y))))
    np.testing.assert_allclose(cgls(A, y, max_iter=200, weights=w, regularization=0.3), truth, atol=1e-10)


def test_cgls_nonnegative_is_nnls(problem):
    A, matrix, y = problem
    truth = np.stack([scipy.optimize.nnls(matrix, column)[0].reshape(SHAPE) for column in flat(y).T])
    assert (truth == 0).sum() > 20  # the bound matters
    np.testing.assert_allclose(cgls(A, y, max_iter=150, nonnegative=True), truth, atol=1e-8)


def test_sirt_by_hand(problem):
    """Forty passes with dense matrices; the residual in the metric of the inverse row sums never grows."""
    A, matrix, y = problem
    rows = matrix.sum(1)
    R, C = np.where(rows > 1e-6 * rows.max(), 1 / np.maximum(rows, 1e-12), 0)[:, None], 1 / matrix.sum(0)[:, None]
    x, length = np.zeros((matrix.shape[1], 3)), []
    for _ in range(40):
        residual = flat(y) - matrix @ x
        length.append(np.sum(R * residual**2, 0))
        x += C * (matrix.T @ (R * residual))
    np.testing.assert_allclose(sirt(A, y, max_iter=40), as_images(x), atol=1e-11)
    assert (np.diff(length, axis=0) < 0).all()


def test_ordered_subsets_are_faster_on_consistent_data():
    A = RadonOperator(ParallelBeam(default_angles(32), 24))
    x = np.zeros((24, 24))
    x[6:15, 9:17] = 1
    error = [np.abs(sirt(A, A(x), max_iter=10, n_subsets=n) - x).mean() for n in (1, 4, 16)]
    assert error[0] > 1.4 * error[1] > 1.4**2 * error[2]


def tv_objective(A, x, y, strength):
    gradient = GradientOperator(x.shape[1:])(x)
    return 0.5 * np.sum((A(x) - y) ** 2, (1, 2)) + strength * np.sqrt(np.sum(gradient**2, 1)).sum((1, 2))


@pytest.mark.parametrize(("solve", "max_iter"), [(tv, 5000), (fista_tv, 400)], ids=["tv", "fista_tv"])
def test_tv_reaches_the_minimum(problem, solve, max_iter):
    """No smooth minimiser gets lower: the objective with sqrt(g^2 + eps^2), eps small, solved by L-BFGS."""
    A, matrix, y = problem
    y, strength, eps = y[:1], 0.5, 1e-5
    D = GradientOperator(SHAPE)

    def smooth(x):
        x = x.reshape(1, *SHAPE)
        g, r = D(x), A(x) - y
        length = np.sqrt(np.sum(g**2, 1, keepdims=True) + eps**2)
        return 0.5 * np.sum(r**2) + strength * length.sum(), (A.T(r) + strength * D.T(g / length)).ravel()

    options = {"maxiter": 20000, "maxfun": 40000, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 50}
    found = scipy.optimize.minimize(smooth, np.zeros(72), jac=True, method="L-BFGS-B", options=options)
    ours = tv_objective(A, solve(A, y, regularization=strength, max_iter=max_iter), y, strength)[0]
    assert ours <= found.fun * (1 + 1e-5)


@pytest.mark.parametrize(("solve", "max_iter"), [(tv, 5000), (fista_tv, 1000)], ids=["tv", "fista_tv"])
def test_tv_of_noise_shrinks_to_a_constant(problem, solve, max_iter):
    A, _, y = problem
    x = solve(A, y, regularization=1e4, max_iter=max_iter)
    assert np.ptp(x, axis=(1, 2)).max() < 1e-3 * np.abs(x).max()


def test_fbp_of_a_disc_is_one():
    y, x = np.mgrid[-63.5:64, -63.5:64]
    angles, s = default_angles(205), np.arange(128) - 63.5
    sinogram = np.broadcast_to(2 * np.sqrt(np.clip(50.0**2 - s**2, 0, None)), (205, 128))
    for pixel_size in (1.0, 0.01):
        A = RadonOperator(ParallelBeam(angles, 128, pixel_size=pixel_size))
        image = fbp(A, pixel_size * sinogram)
        assert image[np.hypot(x, y) < 35].mean() == pytest.approx(1, abs=0.01)


def test_fbp_in_blocks_is_fbp_of_slices(rng):
    centers = rng.uniform(6, 9, (70, 1))
    A = RadonOperator(ParallelBeam(default_angles(12), 16, center=centers))
    y = rng.random((70, 12, 16))
    whole = fbp(A, y)
    for k in (0, 31, 32, 69):
        np.testing.assert_allclose(whole[k], fbp(A.slices(k, k + 1), y[k : k + 1])[0], atol=1e-12)


def test_fbp_is_differentiable():
    A = RadonOperator(ParallelBeam(default_angles(4), 6))
    y = torch.rand(2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda y: fbp(A, y), y)


@pytest.mark.parametrize("solve", ITERATIVE.values(), ids=ITERATIVE)
class TestEveryIterativeSolver:
    def test_masked_data_do_not_count(self, solve, problem):
        A, _, y = problem
        keep = [0, 1, 2, 4, 5, 6, 8]
        w = np.zeros((9, 1))
        w[keep] = 1
        broken = y.copy()
        broken[:, [3, 7]] = np.nan
        masked = solve(A, broken, weights=w, max_iter=6)
        without = solve(A.subset(keep), y[:, keep], max_iter=6)
        # The steps of tv come from the norm of the whole operator, so the way differs though the end does not.
        np.testing.assert_allclose(masked, without, atol={tv: 0.2, fista_tv: 1e-3}.get(solve, 1e-10))

    def test_a_stack_is_its_slices(self, solve, problem):
        A, _, y = problem
        apart = np.stack([solve(A, one, max_iter=12) for one in y])
        np.testing.assert_allclose(solve(A, y, max_iter=12), apart, atol=1e-12)

    def test_nonnegative(self, solve, problem):
        A, _, y = problem
        assert solve(A, -y, max_iter=10).min() < 0
        assert solve(A, -y, max_iter=10, nonnegative=True).min() == 0

    def test_continues_from_x0(self, solve, problem, rng):
        A, _, y = problem
        x0 = rng.random((3, *SHAPE))
        kept = x0.copy()
        changed = solve(A, y, max_iter=1, x0=x0)
        np.testing.assert_array_equal(x0, kept)
        assert np.abs(changed - solve(A, y, max_iter=1)).max() > 1e-3

    def test_callback_sees_every_iteration_and_can_stop(self, solve, problem):
        A, _, y = problem
        seen = []

        def callback(k, x, residual):
            seen.append((k, tuple(x.shape), tuple(residual.shape)))
            return k == 4

        stopped = solve(A, y, max_iter=9, callback=callback)
        assert seen == [(k, (3, *SHAPE), (3,)) for k in (1, 2, 3, 4)]
        np.testing.assert_array_equal(stopped, solve(A, y, max_iter=4))

    def test_stopping_rule(self, solve):
        A = RadonOperator(ParallelBeam(default_angles(20), 12))
        x = np.zeros((12, 12))
        x[4:8, 3:9] = 1
        counts = []
        for tol in (0.3, 0.02):
            steps = []
            solve(A, A(x), tol=tol, max_iter=500, callback=lambda k, x, r, steps=steps: steps.append(k))
            counts.append(len(steps))
        assert 1 <= counts[0] < counts[1] < 500

    def test_dtype_and_kind(self, solve, problem):
        A, _, y = problem
        assert solve(A, y.astype(np.float32), max_iter=2).dtype == np.float32
        assert solve(A, torch.from_numpy(y), max_iter=2).dtype == torch.float64
        assert solve(A, (10 * y[0]).astype(np.int16), max_iter=2).shape == SHAPE

    @pytest.mark.parametrize(
        "change, error, match",
        [
            ({"y": np.ones((9, 13))}, ValueError, r"y must have shape \(9, 14\) or .*; got \(9, 13\)"),
            (
                {"y": np.full((9, 14), np.nan)},
                ValueError,
                "y must be finite; got 126 NaN .* Mask bad values by weights=",
            ),
            ({"max_iter": 0}, ValueError, "max_iter must be an integer >= 1; got 0"),
            ({"tol": -1}, ValueError, r"tol must be a number in \[0, inf\]; got -1"),
            ({"weights": np.ones((3, 3))}, ValueError, r"weights must broadcast to the shape of y, \(1, 9, 14\)"),
            ({"weights": -np.ones((9, 14))}, ValueError, "weights must be finite and not negative"),
            (
                {"x0": np.ones((2, 2))},
                ValueError,
                r"x0 must have shape \(1, 8, 9\) or \(8, 9\), or be 'fbp'; got \(2, 2\)",
            ),
        ],
    )
    def test_bad_input(self, solve, problem, change, error, match):
        arguments = {"y": np.ones((9, 14))} | change
        with pytest.raises(error, match=match):
            solve(problem[0], arguments.pop("y"), **arguments)


def test_options_of_one_solver(problem):
    A, _, y = problem
    with pytest.raises(ValueError, match="n_subsets must be an integer from 1 to 9; got 10"):
        sirt(A, y, n_subsets=10)
    for solve in (cgls, tv, fista_tv):
        with pytest.raises(ValueError, match=r"regularization must be a number in \[0, inf\]; got -0.1"):
            solve(A, y, regularization=-0.1)

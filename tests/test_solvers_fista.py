"""Total variation by FISTA: its minimum in closed form, from a bounded least-squares problem, and from `tv`."""

import numpy as np
import pytest
import scipy.optimize
import torch

from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.operators import GradientOperator, LinearOperator, RadonOperator
from tomolearn.solvers import fista_tv, tv
from tomolearn.solvers.fista_tv import _norms, _proximal_map

SHAPE = (8, 9)
BOTH = pytest.mark.parametrize(("solve", "max_iter"), [(fista_tv, 300), (tv, 3000)], ids=["fista_tv", "tv"])


class Dense(LinearOperator):
    """A matrix, of images of one row and data of one row."""

    def __init__(self, matrix):
        super().__init__((1, matrix.shape[1]), (1, matrix.shape[0]))
        self.matrix = torch.from_numpy(matrix)
        self._forward = lambda x: x @ self.matrix.T.to(x.dtype)
        self._adjoint = lambda y: y @ self.matrix.to(y.dtype)


def scan_of(n_angles=9, n=3, center=None):
    rng = np.random.default_rng(0)
    A = RadonOperator(ParallelBeam(np.sort(rng.uniform(0, 3, n_angles)), 14, SHAPE, center=center))
    return A, rng.standard_normal((n, n_angles, 14)) + 1


# ------------------------------------------------------------------------------------------------- known minima


@BOTH
def test_a_step_keeps_its_place_and_comes_closer(solve, max_iter):
    """Of n equal values next to an edge, each moves by strength / n towards the other side (taut string)."""
    y = np.array([[0.0, 0, 0, 0, 5, 5]])
    expected = [[0.25, 0.25, 0.25, 0.25, 4.5, 4.5]]
    np.testing.assert_allclose(solve(Dense(np.eye(6)), y, regularization=1.0, max_iter=max_iter), expected, atol=1e-9)


@BOTH
def test_a_box_is_lowered_at_both_edges(solve, max_iter):
    y = np.array([[0.0, 0, 3, 3, 3, 3, 0, 0, 0, 0]])
    x = solve(Dense(np.eye(10)), y, regularization=0.5, max_iter=max_iter)
    np.testing.assert_allclose(x, [[0.25] * 2 + [3 - 2 * 0.5 / 4] * 4 + [0.125] * 4], atol=1e-9)


@BOTH
def test_strong_regularisation_leaves_the_mean(solve, max_iter, rng):
    y = rng.random((1, 12))
    x = solve(Dense(np.eye(12)), y, regularization=20.0, max_iter=max_iter)
    np.testing.assert_allclose(x, np.full((1, 12), y.mean()), atol=1e-6)


@BOTH
@pytest.mark.parametrize("weighted", [False, True])
def test_one_dimension_is_a_bounded_least_squares_problem(solve, max_iter, weighted, rng):
    """x = (A'WA)^-1 (A'Wy - D'z), z the point of the box |z| <= strength where x'A'WAx is least."""
    n, strength = 12, 0.8
    A, w = rng.standard_normal((20, n)), rng.uniform(0.3, 2, 20) if weighted else np.ones(20)
    y = rng.standard_normal(20) + A @ np.repeat([1.0, 3.0, 0.0], 4)
    D = np.diff(np.eye(n), axis=0)
    R = np.linalg.cholesky(A.T @ (w[:, None] * A)).T
    found = scipy.optimize.lsq_linear(
        np.linalg.solve(R.T, D.T), np.linalg.solve(R.T, A.T @ (w * y)), (-strength, strength), tol=1e-14
    )
    truth = np.linalg.solve(R.T @ R, A.T @ (w * y) - D.T @ found.x)
    assert 0 < (np.abs(D @ truth) < 1e-6).sum() < n - 1  # pieces of one value each
    x = solve(Dense(A), y[None], regularization=strength, weights=w[None] if weighted else None, max_iter=max_iter)
    np.testing.assert_allclose(x[0], truth, atol=1e-6)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_the_proximal_map_minimises(nonnegative, rng):
    """Images around it, feasible ones, are worse."""
    D, strength = GradientOperator((5, 6)), torch.tensor([0.3], dtype=torch.float64).view(1, 1, 1)
    b, dual = torch.from_numpy(rng.standard_normal((1, 5, 6))), torch.zeros(1, 2, 5, 6, dtype=torch.float64)
    for _ in range(200):  # it goes on where it ended
        x, dual = _proximal_map(D, b, strength, dual, nonnegative)
    assert torch.hypot(dual[:, 0], dual[:, 1]).max() <= 1 + 1e-12 and (not nonnegative or x.min() == 0)

    def objective(x):
        g = D(x)
        return 0.5 * ((x - b) ** 2).sum() + 0.3 * torch.hypot(g[:, 0], g[:, 1]).sum()

    for size in (1e-3, 1e-1):
        for _ in range(50):
            other = x + size * torch.from_numpy(rng.standard_normal((1, 5, 6)))
            assert objective(other.clamp(min=0) if nonnegative else other) > objective(x)


# ----------------------------------------------------------------------------------------------------- and by tv


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nonnegative": True},
        {"weights": np.random.default_rng(1).uniform(0, 2, (9, 14))},
        {"weights": np.random.default_rng(1).integers(0, 2, (3, 9, 1)), "nonnegative": True},
    ],
    ids=["plain", "nonnegative", "weights", "masks by slice"],
)
@pytest.mark.parametrize("center", [None, [[6.0], [6.5], [7.2]]], ids=["one centre", "centres"])
def test_the_minimum_is_that_of_tv(options, center):
    A, y = scan_of(center=center)
    ours = fista_tv(A, y, regularization=0.5, max_iter=300, **options)
    np.testing.assert_allclose(ours, tv(A, y, regularization=0.5, max_iter=2500, **options), atol=1e-4)


def test_fewer_iterations_than_tv_where_data_are_many_and_noisy(rng):
    """From filtered back-projection to within 0.1 % of the minimum."""
    n, strength = 48, 8.0
    A = RadonOperator(ParallelBeam(default_angles(80), n))
    disc = 1.0 * (np.hypot(*np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j]) < 0.7)
    y, D = A(disc) + rng.standard_normal((80, n)), GradientOperator((n, n))

    def objective(x):
        return 0.5 * ((A(x) - y) ** 2).sum() + strength * np.hypot(*D(x)).sum()

    least = objective(fista_tv(A, y, regularization=strength, max_iter=400, x0="fbp"))
    used = {}
    for solve in (tv, fista_tv):

        def callback(k, x, residual, solve=solve):
            used[solve] = k
            return objective(x[0].numpy()) < 1.001 * least

        solve(A, y, regularization=strength, max_iter=1000, x0="fbp", callback=callback)
    assert used[fista_tv] < 100 and 5 * used[fista_tv] < used[tv]


# ------------------------------------------------------------------------------------------------------ step sizes


@pytest.mark.parametrize("n_angles", [1, 2, 5, 20])
@pytest.mark.parametrize("span", [np.pi, 0.05])
def test_power_iteration_comes_within_the_margin_from_below(n_angles, span):
    """Of whole scans and of ordered subsets, even where the largest singular values lie close together."""
    A = RadonOperator(ParallelBeam(np.linspace(0.03, 0.03 + span, n_angles, endpoint=False), 20, (12, 15)))
    for part in (A, A.subset(np.arange(0, n_angles, 2))):
        matrix = part.T(np.eye(part.range_shape[0] * 20).reshape(-1, *part.range_shape)).reshape(-1, 12 * 15)
        exact = np.linalg.norm(matrix, 2)
        assert exact / 1.02 < part.norm() < exact * (1 + 1e-5)


def test_norms_of_weighted_scans():
    A, y = scan_of(center=[[6.0], [6.5], [7.2]])
    w = torch.from_numpy(np.random.default_rng(1).uniform(0, 9, (3, 9, 14)))
    for weights in (w, w[:1], w[0], w[0, :, :1]):
        for k, norm in enumerate(_norms(A, weights, torch.from_numpy(y)).flatten()):
            part = A.slices(k, k + 1)
            matrix = np.stack([part.T(row.reshape(1, 9, 14)).ravel() for row in np.eye(126)])
            root = np.broadcast_to(weights.expand(3, 9, 14)[k], (9, 14)).reshape(-1, 1) ** 0.5
            exact = np.linalg.norm(root * matrix, 2)
            assert exact / 1.02 < norm < exact * (1 + 1e-5)

"""What the iterative reconstructors pass on to their solvers: the start, the stopping rule, the choice of solver."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from tomolearn import CGLSReconstructor, ParallelBeam, RadonOperator, SIRTReconstructor, TVReconstructor, load, radon
from tomolearn.geometry import default_angles
from tomolearn.solvers import cgls, fista_tv, sirt, tv

ITERATIVE = (SIRTReconstructor, CGLSReconstructor, TVReconstructor)
A = RadonOperator(ParallelBeam(default_angles(20), 24))


@pytest.fixture(scope="module")
def scan():
    """Discs of several radii and their sinograms, the later ones noisier."""
    y, x = np.mgrid[-1:1:24j, -1:1:24j]
    images = np.stack([1.0 * (np.hypot(x, y) < radius) for radius in (0.4, 0.5, 0.6, 0.7)])
    noise = np.random.default_rng(0).standard_normal((4, 20, 24)) * np.array([0.3, 0.4, 0.45, 0.5])[:, None, None]
    return images, radon(images, default_angles(20)) + noise


@pytest.mark.parametrize(
    ("estimator", "solver", "options"),
    [
        (SIRTReconstructor(), sirt, {"max_iter": 5, "x0": "fbp", "relaxation": 0.6, "n_subsets": 3}),
        (SIRTReconstructor(), sirt, {"max_iter": 80, "noise_level": 0.5}),
        (CGLSReconstructor(), cgls, {"max_iter": 3, "x0": "fbp", "nonnegative": True}),
        (CGLSReconstructor(), cgls, {"max_iter": 30, "noise_level": 0.5, "regularization": 0.1}),
        (TVReconstructor(), tv, {"max_iter": 9, "x0": "fbp", "regularization": 2.0}),
        (TVReconstructor(solver="fista"), fista_tv, {"max_iter": 9, "x0": "fbp", "regularization": 2.0}),
    ],
)
def test_an_estimator_is_its_function(estimator, solver, options, scan):
    X = scan[1]
    images = estimator.set_params(**options).fit(X).predict(X)
    np.testing.assert_array_equal(images, solver(A, X, **options))
    for name in ("x0", "relaxation", "noise_level"):  # each matters here, so that none can be lost on the way
        fewer = {key: value for key, value in options.items() if key != name}
        assert name not in options or np.abs(solver(A, X, **fewer) - images).max() > 1e-3, name


def test_both_solvers_of_total_variation_end_at_one_minimum(scan):
    X = scan[1]
    slow = TVReconstructor(regularization=3.0, max_iter=3000).fit_transform(X)
    fast = TVReconstructor(regularization=3.0, max_iter=300, solver="fista", x0="fbp").fit_transform(X)
    np.testing.assert_allclose(fast, slow, atol=3e-3)  # as far as `tv` comes


@pytest.mark.parametrize("reconstructor", [SIRTReconstructor, CGLSReconstructor])
def test_each_slice_stops_on_its_own(reconstructor, scan):
    X = scan[1]
    fitted = reconstructor(noise_level=0.5, max_iter=90).fit(X)
    assert fitted.n_iter_ == 90
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        together = fitted.predict(X)
        alone = np.concatenate([fitted.predict(x[None]) for x in X])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-11)
    residual = np.sqrt(((A(together) - X) ** 2).mean((1, 2)))
    to_the_end = np.sqrt(((A(reconstructor(max_iter=90).fit_transform(X)) - X) ** 2).mean((1, 2)))
    assert (to_the_end < 0.95 * residual).all() and residual.max() <= 0.5


@pytest.mark.parametrize("reconstructor", [SIRTReconstructor, CGLSReconstructor])
def test_a_noise_level_that_is_not_reached_warns(reconstructor, scan):
    X = scan[1]
    fitted = reconstructor(noise_level=1e-3, max_iter=4).fit(X)
    message = r"used all max_iter=4 iterations on some slices.* above noise_level=0.001; raise max_iter or noise_level"
    with pytest.warns(ConvergenceWarning, match=message):
        images = fitted.predict(X)
    np.testing.assert_array_equal(images, reconstructor(max_iter=4).fit_transform(X))


def test_a_tolerance_that_asks_for_nothing_counts_one_iteration(scan):
    for reconstructor in ITERATIVE:
        assert reconstructor(tol=0.5).fit(np.zeros((2, 20, 24))).n_iter_ == 1


def test_options_are_saved(scan, tmp_path):
    X = scan[1]
    for estimator in (
        SIRTReconstructor(x0="fbp", noise_level=0.5, relaxation=0.5),
        TVReconstructor(solver="fista", x0="fbp", max_iter=5),
    ):
        estimator.fit(X).save(tmp_path / "model.tomo")
        np.testing.assert_array_equal(load(tmp_path / "model.tomo").predict(X), estimator.predict(X))


def test_fista_asks_for_the_memory_of_its_dual_variables():
    assert TVReconstructor(solver="fista").working_copies[1] > TVReconstructor().working_copies[1]


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        *((r(x0="zeros"), ValueError, r"x0 must be None \(zeros\) or 'fbp' .*; got 'zeros'") for r in ITERATIVE),
        *((r(x0=np.ones((24, 24))), ValueError, r"x0 must be None \(zeros\) or 'fbp'") for r in ITERATIVE),
        *((r(noise_level=0), ValueError, "noise_level must be a number.*got 0") for r in ITERATIVE[:2]),
        *((r(noise_level="low"), TypeError, "noise_level must be a number.*got 'low'") for r in ITERATIVE[:2]),
        *(
            (r(noise_level=0.1, tol=0.1), ValueError, "tol must be 0 where noise_level is given.*got 0.1")
            for r in ITERATIVE[:2]
        ),
        (SIRTReconstructor(relaxation=2), ValueError, "relaxation must be a number in .*got 2"),
        (TVReconstructor(solver="admm"), ValueError, "solver must be one of 'primal-dual', 'fista'; got 'admm'"),
    ],
)
def test_a_wrong_option_is_named(estimator, error, message):
    with pytest.raises(error, match=message):
        estimator.fit(np.ones((3, 20, 24)))

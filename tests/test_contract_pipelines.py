"""Pipelines from transmissions to labels under scikit-learn's searches, in processes and in threads."""

import os
import signal

import joblib
import numpy as np
import pytest
import torch
from segmenters import shapes, small, weights
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate, learning_curve
from sklearn.pipeline import make_pipeline
from test_estimators import quick

from tomolearn import FBPReconstructor, MinusLog, StripeRemover, TomoGANDenoiser, radon
from tomolearn.geometry import default_angles

SIZE, N_ANGLES = 24, 30
HANGS = 300  # seconds; a loaded machine is slow too
GRID = {"fbpreconstructor__filter": ["ram-lak", "hann"], "unetsegmenter__base_channels": [4, 6]}


@pytest.fixture(scope="module", autouse=True)
def _nobody_asked_for_one_thread():
    """The processes that the searches start, and keep, count the cores themselves."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True)
def _a_hang_is_a_failure():
    def fail(number, frame):
        raise TimeoutError(f"still running after {HANGS} seconds")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(HANGS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def scan():
    """Transmissions (8, 30, 24) of slices of discs and squares, the slices, and their labels, 0 and 1."""
    clean, masks = shapes(8, SIZE, noise=0, n_shapes=3)
    sinograms = radon(clean, default_angles(N_ANGLES))
    noise = np.random.default_rng(0).normal(0, 0.1, sinograms.shape).astype(np.float32)
    return np.exp(-(sinograms + noise) / SIZE), clean / SIZE, (masks > 0).astype(np.uint8)


@pytest.fixture(scope="module")
def pipeline(scan):
    """Stripes, -log, FBP, a trained TomoGAN, and a segmenter that is still to be trained."""
    transmissions, clean, _ = scan
    corrections = StripeRemover(large_size=5, sorting_size=3), MinusLog()
    fbp = FBPReconstructor(image_shape=(SIZE, SIZE))
    noisy = make_pipeline(*corrections, fbp).fit_transform(transmissions)
    options = {"adversarial_weight": 0, "perceptual_weight": 0, "max_epochs": 1, "random_state": 0}
    denoiser = TomoGANDenoiser(patch_shape=(SIZE, SIZE), precision="float32", **options).fit(noisy, clean)
    segmenter = small(patch_shape=(SIZE, SIZE), max_epochs=2)
    return make_pipeline(*map(clone, corrections), clone(fbp), FrozenEstimator(denoiser), segmenter)


def test_a_pipeline_does_what_its_steps_do_one_after_the_other(scan, pipeline):
    transmissions, _, masks = scan
    fitted = clone(pipeline).fit(transmissions, masks)
    X = transmissions
    for step in pipeline[:-2]:
        X = clone(step).fit_transform(X)
    denoiser = pipeline[-2].estimator
    frozen = weights(denoiser)
    alone = clone(pipeline[-1]).fit(denoiser.predict(X), masks)
    assert torch.equal(weights(fitted[-1]), weights(alone))
    assert torch.equal(weights(fitted[-2].estimator), frozen)
    np.testing.assert_array_equal(fitted.predict(transmissions), alone.predict(denoiser.predict(X)))
    probabilities = fitted.predict_proba(transmissions)
    assert probabilities.shape == (*masks.shape, 2) and fitted.predict(transmissions).shape == masks.shape
    assert fitted.score(transmissions, masks) == alone.score(denoiser.predict(X), masks)
    for one in range(3):
        np.testing.assert_array_equal(
            fitted.predict(transmissions[one : one + 1])[0], fitted.predict(transmissions)[one]
        )


def test_a_search_over_filter_and_network_in_two_processes(scan, pipeline):
    transmissions, _, masks = scan
    search = GridSearchCV(pipeline, GRID, cv=2, n_jobs=2, error_score="raise").fit(transmissions, masks)
    found = search.cv_results_
    assert len(found["params"]) == len(set(found["mean_test_score"])) == 4  # all of the parameters reach their steps
    last = clone(pipeline).set_params(**found["params"][3]).fit(transmissions[4:], masks[4:])
    assert last[-1].network_config_[1]["base_channels"] == 6 and last[-3].filter == "hann"
    np.testing.assert_allclose(found["split0_test_score"][3], last.score(transmissions[:4], masks[:4]), rtol=1e-6)
    best = clone(pipeline).set_params(**search.best_params_).fit(transmissions, masks)
    assert torch.equal(weights(search.best_estimator_[-1]), weights(best[-1]))
    np.testing.assert_array_equal(search.predict(transmissions), best.predict(transmissions))


def test_cross_validation_scores_each_fold_by_what_it_was_not_trained_on(scan, pipeline):
    transmissions, _, masks = scan
    scores = cross_val_score(pipeline, transmissions, masks, cv=2, error_score="raise")
    halves = slice(0, 4), slice(4, 8)
    for score, test, training in zip(scores, halves, halves[::-1], strict=True):
        fitted = clone(pipeline).fit(transmissions[training], masks[training])
        assert score == fitted.score(transmissions[test], masks[test])


def test_a_learning_curve_is_scored_at_each_size(scan, pipeline):
    transmissions, _, masks = scan
    sizes, training, test = learning_curve(
        pipeline, transmissions, masks, train_sizes=[2, 4], cv=2, n_jobs=2, error_score="raise"
    )
    assert sizes.tolist() == [2, 4] and training.shape == test.shape == (2, 2)
    fitted = clone(pipeline).fit(transmissions[4:6], masks[4:6])  # of the first fold's training part the first two
    np.testing.assert_allclose(test[0, 0], fitted.score(transmissions[:4], masks[:4]), rtol=1e-6)


def test_a_fold_that_fails_is_named_and_the_others_go_on(scan, pipeline):
    transmissions, _, masks = scan
    masks = masks.copy()
    masks[4:] = 0  # the first fold learns from one label
    with pytest.warns(FitFailedWarning, match="1 fits failed out of a total of 2"):
        found = cross_validate(pipeline, transmissions, masks, cv=2)
    assert np.isnan(found["test_score"][0]) and np.isfinite(found["test_score"][1])


# ------------------------------------------------------------------------------------------------ processes, threads


def _threads(_):
    FBPReconstructor().fit_transform(np.ones((40, N_ANGLES, SIZE)))  # more slices than one thread would take
    return os.getpid(), torch.get_num_threads()


def test_workers_share_the_cores_while_the_threads_of_this_process_wait():
    torch.set_num_threads(2)
    _threads(0)
    found = joblib.Parallel(n_jobs=2, timeout=HANGS)(joblib.delayed(_threads)(k) for k in range(8))
    assert os.getpid() not in dict(found)
    assert max(dict(found).values()) <= max(1, joblib.cpu_count() // 2), found


def _weights(name, X, y, seed):
    return weights(quick(name).set_params(random_state=seed, batch_size=4).fit(X, y))


@pytest.mark.parametrize("name", ["VAEDenoiser", "UNetSegmenter"])
def test_trainings_in_threads_do_not_draw_from_each_other(name):
    """Of torch's generator, which all threads share: layers, dropout, noise, parts, and turns of the images."""
    rng = np.random.default_rng(0)
    X = rng.random((8, 12, 16))
    y = rng.integers(3, size=X.shape) if name == "UNetSegmenter" else X
    before = torch.get_rng_state()
    alone = [_weights(name, X, y, seed) for seed in range(3)]
    with joblib.parallel_config("threading"):
        together = joblib.Parallel(n_jobs=3)(joblib.delayed(_weights)(name, X, y, seed) for seed in range(3))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert not torch.equal(alone[0], alone[1])
    assert torch.equal(torch.get_rng_state(), before)

"""Training of the learned reconstructors: what fit promises of samples, stopping, and going on."""

import os
import signal
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest
import torch
from learned import NAMES, SCANNED, pairs, same_training, small, weights
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from tomolearn.exceptions import DivergenceError, GeometryError
from tomolearn.io import ArraySource, open_library
from tomolearn.preprocessing import MinusLog
from tomolearn.training import Callback


class At(Callback):
    """Runs a function in a step."""

    def __init__(self, step, function):
        self.step, self.function = step, function

    def on_step_end(self, engine):
        if engine.n_done == self.step:
            self.function(engine)


def interrupt(engine):
    os.kill(os.getpid(), signal.SIGINT)


def fail(engine):
    raise RuntimeError("broken off")


# -------------------------------------------------------------------------------------------------- what is trained


@pytest.mark.parametrize("name", NAMES)
def test_sources_give_what_arrays_give(name):
    X, y = pairs()
    arrays = small(name).fit(X, y)
    sources = small(name).fit(ArraySource(X), ArraySource(y))
    assert same_training(arrays, sources)
    np.testing.assert_array_equal(arrays.predict(X), sources.predict(X))


def test_libraries_of_pairs_are_taken(tmp_path):
    X, y = pairs()
    with h5py.File(tmp_path / "library.h5", "w") as file:
        file["Images"], file["Sinograms"], file["NImages"] = y.transpose(1, 2, 0), X.transpose(1, 2, 0), len(y)
    images, sinograms = open_library(tmp_path / "library.h5")
    of_file = small("FBPUNetReconstructor").fit(sinograms, images, X_val=sinograms, y_val=images)
    assert same_training(of_file, small("FBPUNetReconstructor").fit(X, y, X_val=X, y_val=y))
    with pytest.raises(ValueError, match=r"y must have shape \(8, 12, 12\); .* has \(8, 7, 12\)"):
        small("FBPUNetReconstructor", image_shape=(12, 12)).fit(sinograms, sinograms)
    with pytest.raises(ValueError, match=r"^y_val must have shape \(7, 12, 12\)"):
        small("FBPUNetReconstructor").fit(sinograms, images, X_val=X[1:], y_val=y)


def test_validation_pairs_are_those_given():
    X, y = pairs(12)
    held = small("CNNReconstructor", dropout=0.0).fit(X[:8], y[:8], X_val=X[8:], y_val=y[8:])
    other = small("CNNReconstructor", dropout=0.0).fit(X[:8], y[:8], X_val=X[8:], y_val=y[8:] + 1)
    assert held.history_["loss"] == other.history_["loss"]
    assert held.history_["val_loss"] != other.history_["val_loss"]
    images = (held.predict(X[8:]) - held.y_mean_) / held.y_scale_
    loss = np.square(images - (y[8:] - held.y_mean_) / held.y_scale_).mean()
    assert min(held.history_["val_loss"]) == pytest.approx(loss, rel=1e-5)
    with pytest.raises(ValueError, match="X_val and y_val go together; got one of them"):
        small("CNNReconstructor").fit(X, y, X_val=X)
    with pytest.raises(ValueError, match=r"^y_val must have shape \(4, 12, 12\)"):
        small("CNNReconstructor").fit(X, y, X_val=X[8:], y_val=y[8:, 1:])
    with pytest.raises(ValueError, match=r"X must hold sinograms of shape \(7, 12\)"):
        small("CNNReconstructor").fit(X, y, X_val=X[8:, 1:], y_val=y[8:])
    with pytest.raises(ValueError, match="y_val must be finite"):
        small("CNNReconstructor").fit(X, y, X_val=X[8:], y_val=np.full_like(y[8:], np.nan))


def test_normalisation_is_learned_and_undone():
    """Units do not matter: twice the data and thrice the image in, thrice the image out."""
    X, y = pairs()
    for name, offset in (("DenseReconstructor", 5.0), ("FBPUNetReconstructor", 0.0)):
        plain, scaled = small(name).fit(X, y), small(name).fit(3 * X, 3 * y + offset)
        np.testing.assert_allclose(scaled.predict(3 * X), 3 * plain.predict(X) + offset, rtol=2e-3, atol=2e-3)
    dense = small("DenseReconstructor").fit(X, y)
    assert (dense.x_mean_, dense.x_scale_) == pytest.approx((X.mean(), X.std()), rel=1e-5)
    assert (dense.y_mean_, dense.y_scale_) == pytest.approx((y.mean(), y.std()), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_one_angle_odd_sizes_and_images_that_are_not_square(name):
    X, y = pairs(3, (1, 11), (9, 13))
    estimator = small(name).fit(X, y)
    assert estimator.image_shape_ == (9, 13) and estimator.sinogram_shape_ == (1, 11)
    assert estimator.predict(X).shape == (3, 9, 13)


@pytest.mark.parametrize("name", NAMES)
def test_a_single_pair_is_learned(name):
    X, y = pairs(1)
    estimator = small(name).fit(X, y)
    assert "val_loss" not in estimator.history_ and estimator.n_epochs_ == 2
    assert np.isfinite(estimator.predict(X)).all()


def test_targets_may_be_integers_or_booleans():
    X, y = pairs()
    for target in (np.rint(9 * y).astype(np.uint8), y > 0.5, np.rint(9 * y).astype(">i4")):
        assert same_training(
            small("FBPUNetReconstructor").fit(X, target), small("FBPUNetReconstructor").fit(X, target.astype(float))
        )


def test_one_value_for_all_pixels():
    X, y = pairs()
    value = np.linspace(1, 2, 8)
    flat = X.reshape(8, -1)
    asked = {"sinogram_shape": (7, 12)}
    whole = small("DenseReconstructor", **asked).fit(flat, np.broadcast_to(value[:, None], (8, 144)))
    for weak in (value, value[:, None]):
        assert same_training(small("DenseReconstructor", **asked).fit(flat, weak), whole)
    for estimator, X_, weak in (
        (small("DenseReconstructor"), X, value),
        (small("DenseReconstructor"), X, value[:, None]),
        (small("DenseReconstructor", image_shape=(12, 12), **asked), flat, value),
    ):
        with pytest.raises(ValueError, match=r"y must have shape \(8, 12, 12\) or \(8, 144\), as the images; got"):
            estimator.fit(X_, weak)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X, y[1:]), r"y must have shape \(8, 12, 12\) or \(8, 144\), as the images; got \(7, 12, 12\)"),
        (lambda X, y: (X, y[0]), r"y must have shape"),
        (lambda X, y: (X, None), "requires y to be passed, but the target y is None"),
        (lambda X, y: (X, np.where(y == y[2, 3, 4], np.nan, y)), "y must be finite; got NaN or infinite values"),
        (lambda X, y: (X, np.where(y == y[2, 3, 4], np.inf, y)), "y must be finite"),
        (lambda X, y: (X, 1j * y), "y must be real; got complex numbers"),
        (lambda X, y: (np.where(X == X[2, 3, 4], np.nan, X), y), r"X\[0:8\].* must be finite"),
        (lambda X, y: (X[:0], y[:0]), "X must be|minimum of 1"),
    ],
)
def test_pairs_that_do_not_do(change, message):
    with pytest.raises(ValueError, match=message):
        small("FBPUNetReconstructor").fit(*change(*pairs()))


def test_a_fit_that_fails_leaves_no_fitted_estimator():
    X, y = pairs()
    estimator = small("FBPUNetReconstructor", optimizer="adam", learning_rate=1e3, gradient_clipping=None, loss="mse")
    with pytest.raises(DivergenceError, match="loss is no longer finite"):
        estimator.set_params(max_epochs=300, early_stopping=False, schedule="constant").fit(X, y)
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        estimator.predict(X)


@pytest.mark.parametrize("name", SCANNED)
def test_one_axis_for_all_slices(name):
    X, y = pairs()
    with pytest.raises(GeometryError, match=r"center must be one number for all slices.* got an array of shape \(8,\)"):
        small(name, center=[5.0] * 8).fit(X, y)


# ------------------------------------------------------------------------------------------------ stopping, going on


def test_early_stopping_keeps_the_best_epoch():
    X, y = pairs(10)
    estimator = small("DenseReconstructor", learning_rate=0.03, max_epochs=40, n_iter_no_change=2)
    estimator.fit(X[:8], y[:8], X_val=X[8:], y_val=y[8:])
    losses = estimator.history_["val_loss"]
    assert estimator.n_epochs_ == len(losses) == estimator.best_epoch_ + 2 < 40
    assert np.argmin(losses) + 1 == estimator.best_epoch_
    images = (estimator.predict(X[8:]) - estimator.y_mean_) / estimator.y_scale_
    loss = np.square(images - (y[8:] - estimator.y_mean_) / estimator.y_scale_).mean()
    assert min(losses) == pytest.approx(loss, rel=1e-5)


def test_without_early_stopping_all_pairs_are_learned_from():
    X, y = pairs()
    whole = small("DenseReconstructor", early_stopping=False, max_epochs=5).fit(X, y)
    assert whole.n_epochs_ == whole.best_epoch_ == 5 and "val_loss" not in whole.history_
    parted = small("DenseReconstructor", validation_fraction=0.5, max_epochs=5).fit(X, y)
    assert "val_loss" in parted.history_ and not torch.equal(weights(whole), weights(parted))
    watched = small("DenseReconstructor", validation_fraction=0.0, max_epochs=5).fit(X, y)
    assert "val_loss" not in watched.history_ and watched.history_["loss"] == whole.history_["loss"]


def test_warm_start_goes_on():
    X, y = pairs()
    once = small("DenseReconstructor", warm_start=True, early_stopping=False).fit(X, y)
    loss = once.history_["loss"][0]
    before = weights(once)
    once.fit(X, y)
    assert once.history_["loss"][0] < loss and not torch.equal(weights(once), before)
    cold = small("DenseReconstructor", early_stopping=False).fit(X, y).fit(X, y)
    assert torch.equal(weights(cold), before)
    before = weights(once)
    with pytest.raises(RuntimeError, match="broken off"):  # what was learned before is still there
        once.fit(X, y, callbacks=[At(2, fail)])
    assert torch.equal(weights(once), before)
    once.set_params(width=6).fit(X, y)  # another network: begun anew
    assert same_training(once, small("DenseReconstructor", width=6, early_stopping=False).fit(X, y))


@pytest.mark.parametrize(("step", "best"), [(5, 2), (1, None)])
def test_ctrl_c_leaves_a_fitted_estimator(step, best):
    """Two steps an epoch: in the third the best of the first two is kept; in the first the weights as they are."""
    X, y = pairs()
    estimator = small("DenseReconstructor", max_epochs=9, validation_fraction=0.0)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, y, callbacks=[At(step, interrupt)])
    assert estimator.best_epoch_ == best and estimator.n_epochs_ == (best or 0)
    if best:
        assert torch.equal(weights(estimator), weights(clone(estimator).set_params(max_epochs=best).fit(X, y)))
    assert np.isfinite(estimator.predict(X)).all()


def test_ctrl_c_at_the_end_of_an_epoch_begins_no_other():
    X, y = pairs()
    steps = []

    class Note(Callback):
        def on_step_end(self, engine):
            steps.append(engine.n_done)

        def on_epoch_end(self, engine):
            interrupt(engine)

    with pytest.raises(KeyboardInterrupt):
        small("DenseReconstructor", max_epochs=9, validation_fraction=0.0).fit(X, y, callbacks=[Note()])
    assert steps == [1, 2]


# -------------------------------------------------------------------------------------------------------- checkpoints

SCRIPT = """
    import os, signal, sys
    sys.path.insert(0, {tests!r})
    import torch
    from learned import pairs, small
    from tomolearn.training import Callback, TrainingOptions
    torch.set_num_threads(1)
    class Kill(Callback):
        def on_step_end(self, engine):
            if engine.n_done == 4:
                engine._saved = 0.0  # the next look at the clock writes the checkpoint
            if engine.n_done == 5:
                os.kill(os.getpid(), signal.SIGKILL)
    small("CNNReconstructor", max_epochs=4).fit(*pairs(13), checkpoint={path!r}, callbacks=[Kill()])
"""


@pytest.mark.slow
def test_a_killed_fit_is_continued_to_the_same_weights(tmp_path):
    """Three steps an epoch: killed in mid-epoch, a step after the last state on disk."""
    path = tmp_path / "c.pt"
    code = textwrap.dedent(SCRIPT).format(tests=os.path.dirname(__file__), path=str(path))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == -signal.SIGKILL, run.stderr
    X, y = pairs(13)
    began = []
    resumed = small("CNNReconstructor", max_epochs=4)
    resumed.fit(X, y, checkpoint=path, callbacks=[At(5, lambda engine: began.append(engine._in_epoch))])
    whole = small("CNNReconstructor", max_epochs=4).fit(X, y)
    assert began == [2] and same_training(resumed, whole)
    np.testing.assert_array_equal(resumed.predict(X), whole.predict(X))

    steps = []
    again = small("CNNReconstructor", max_epochs=4)
    again.fit(X, y, checkpoint=path, callbacks=[At(13, steps.append)])
    assert same_training(again, whole) and not steps
    longer = small("CNNReconstructor", max_epochs=6).fit(X, y, checkpoint=path)
    assert same_training(longer, small("CNNReconstructor", max_epochs=6).fit(X, y))


def test_checkpoints_of_other_trainings_are_refused(tmp_path):
    X, y = pairs()
    path = tmp_path / "c.pt"
    small("FBPUNetReconstructor").fit(X, y, checkpoint=path)
    kept = path.read_bytes()
    fresh = small("FBPUNetReconstructor", learning_rate=0.02)
    with pytest.raises(ValueError, match=r"c\.pt is of another training: parameters was .* and is .*Delete the file"):
        fresh.fit(X, y, checkpoint=path)
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    changed = y.copy()
    changed[len(y) // 3, 0, 0] += 0.5  # one pixel of all
    with pytest.raises(ValueError, match="is of another training: mean and scale of the samples was"):
        small("FBPUNetReconstructor").fit(X, changed, checkpoint=path)
    with pytest.raises(ValueError, match="is of another training: (training|validation) samples was"):
        small("FBPUNetReconstructor").fit(X[::-1], y[::-1], checkpoint=path)
    with pytest.raises(ValueError, match="is of another training: class was FBPUNetReconstructor and is IRadonMAP"):
        small("IRadonMAPReconstructor").fit(X, y, checkpoint=path)
    for state in (None, np.random.RandomState(0)):
        with pytest.raises(ValueError, match=r"random_state must be an integer with checkpoint=.*got"):
            small("FBPUNetReconstructor", random_state=state).fit(X, y, checkpoint=path)
    assert path.read_bytes() == kept


# ------------------------------------------------------------------------------------------------------- scikit-learn


@pytest.mark.slow
def test_grid_search_over_learning_rate_and_width():
    X, y = pairs(12)
    search = GridSearchCV(
        small("DenseReconstructor", max_epochs=3),
        {"learning_rate": [1e-3, 1e-2], "width": [4, 8]},
        cv=2,
        error_score="raise",
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all() and search.cv_results_["params"][3]["width"] == 8
    again = clone(search.best_estimator_).fit(X, y)
    np.testing.assert_allclose(search.predict(X), again.predict(X), rtol=1e-4, atol=1e-5)


def test_cross_validation_and_pipelines():
    X, images = pairs(12)
    X = X / 12
    counts = np.exp(-X)
    pipeline = make_pipeline(MinusLog(), small("FBPUNetReconstructor"))
    scores = cross_val_score(pipeline, counts, images, cv=3, error_score="raise")
    assert scores.shape == (3,) and np.isfinite(scores).all()
    alone = small("FBPUNetReconstructor").fit(X, images)
    np.testing.assert_allclose(pipeline.fit(counts, images).predict(counts), alone.predict(X), atol=1e-3)

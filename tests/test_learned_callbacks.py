"""scikit-learn's callbacks on learned reconstructors."""

import pickle

import numpy as np
import pytest
import torch
from learned import pairs, small, weights
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

callback = pytest.importorskip("sklearn.callback", reason="this scikit-learn has no callbacks")


def r2(estimator, X, y):
    return estimator.score(X, y)


class Recorder:
    """Notes the tasks, and the error of the estimator as it is after each."""

    def __init__(self, X, y, most=99):
        self.X, self.y, self.most, self.tasks, self.scores = X, y, most, [], []

    def setup(self, estimator, context):
        self.tasks.append(("setup", context.max_subtasks))

    def on_fit_task_begin(self, estimator, context):
        self.tasks.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.tasks.append(("end", context.task_name))
        self.scores.append(fitted_estimator.score(self.X, self.y))
        return context.task_name == f"epoch {self.most}"

    def teardown(self, estimator, context):
        self.tasks.append(("teardown", context.task_name))


def test_epochs_are_tasks_and_the_estimator_is_as_it_would_be_kept():
    X, y = pairs()
    options = {"max_epochs": 3, "ema_decay": 0.5, "early_stopping": False}
    recorder = Recorder(X, y)
    estimator = small("DenseReconstructor", **options).set_callbacks(recorder).fit(X, y)
    epochs = [(kind, f"epoch {k}") for k in (1, 2, 3) for kind in ("begin", "end")]
    assert recorder.tasks == [("setup", 3), ("begin", "fit"), *epochs, ("end", "fit"), ("teardown", "fit")]
    for k, score in enumerate(recorder.scores[:3], 1):
        assert score == small("DenseReconstructor", **options | {"max_epochs": k}).fit(X, y).score(X, y)
    assert recorder.scores[3] == estimator.score(X, y)
    plain = small("DenseReconstructor", **options).fit(X, y)
    assert torch.equal(weights(plain), weights(estimator))  # to be watched changes nothing
    assert vars(plain).keys() | {"_skl_callbacks"} == vars(estimator).keys()


def test_callbacks_can_end_a_training_and_are_torn_down_after_errors():
    X, y = pairs()
    recorder = Recorder(X, y, most=2)
    estimator = small("FBPUNetReconstructor", max_epochs=9).set_callbacks(recorder).fit(X, y)
    assert estimator.n_epochs_ == 2 and recorder.tasks[-1] == ("teardown", "fit")
    with pytest.raises(ValueError, match="y must have shape"):
        estimator.set_callbacks(broken := Recorder(X, None)).fit(X, y)
    assert broken.tasks[-1] == ("teardown", "fit")


def test_callbacks_go_with_clones_pickles_and_searches():
    X, y = pairs()
    estimator = small("DenseReconstructor").set_callbacks(callback.ScoringMonitor(scoring={"r2": r2}))
    twin = pickle.loads(pickle.dumps(clone(estimator).fit(X, y)))
    np.testing.assert_array_equal(twin.predict(X), clone(estimator).fit(X, y).predict(X))
    search = GridSearchCV(estimator, {"width": [4, 8]}, cv=2, error_score="raise").fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()

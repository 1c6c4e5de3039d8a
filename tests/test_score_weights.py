"""Weights of samples in ``score`` and in the metrics of labels: how often each slice counts."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.metrics import f1_score, jaccard_score, matthews_corrcoef, r2_score
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from test_estimators import quick

from tomolearn import FBPReconstructor, MinusLog
from tomolearn.metrics import dice, iou, mcc

SCORED = ("FBPReconstructor", "FBPUNetReconstructor", "Noise2SelfDenoiser", "UNetSegmenter")


@pytest.fixture(scope="module", params=[*SCORED, "ignoring"])
def scored(request):
    """A fitted estimator, a stack of six slices, and the truth that its predictions are scored by."""
    X, rng = np.random.default_rng(0).random((6, 12, 12)), np.random.default_rng(1)
    labels = request.param in ("UNetSegmenter", "ignoring")
    y = rng.integers(3, size=(6, 12, 12)) if labels else rng.random((6, 12, 12))
    estimator = quick("UNetSegmenter" if labels else request.param)
    if hasattr(estimator, "max_epochs"):
        estimator.set_params(max_epochs=1)
    if request.param == "ignoring":
        estimator.set_params(ignore_label=-1)
        y = np.where(rng.random(y.shape) < 0.3, -1, y)
    return estimator.fit(X, y), X, y


@pytest.mark.filterwarnings("ignore:each of the .* values of a row of X:UserWarning")
def test_a_weight_is_how_often_a_slice_counts(scored):
    estimator, X, y = scored
    expected = estimator.score(X, y)
    counts = np.array([1, 0, 2, 3, 0, 1])
    repeated = estimator.score(np.repeat(X, counts, axis=0), np.repeat(y, counts, axis=0))
    assert abs(repeated - expected) > 1e-4  # the weights matter
    for weights in (counts, counts.tolist(), counts / 7, counts.astype(np.float32)):
        assert estimator.score(X, y, sample_weight=weights) == pytest.approx(repeated, rel=1e-6)
    for weights in (np.ones(6), np.full(6, 0.3), np.ones(6, bool), None):
        assert estimator.score(X, y, sample_weight=weights) == pytest.approx(expected, rel=1e-9)


def test_what_is_wrong_in_a_slice_of_weight_zero_does_not_matter(scored):
    estimator, X, y = scored
    spoilt = y.copy()
    spoilt[1] = 7 if y.dtype.kind == "i" else np.nan  # a label that fit did not see
    weights = np.array([1.0, 0.0, 1.0, 0.5, 1.0, 1.0])
    assert estimator.score(X, spoilt, sample_weight=weights) == estimator.score(X, y, sample_weight=weights)
    with pytest.raises(ValueError, match=r"y must (be finite|hold labels of classes_)"):
        estimator.score(X, spoilt, sample_weight=weights + 0.1)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(5), r"sample_weight must be numbers of shape \(6,\).*got float64 of shape \(5,\)"),
        (np.ones((6, 1)), r"sample_weight must be numbers of shape \(6,\).*got float64 of shape \(6, 1\)"),
        (["1"] * 6, r"sample_weight must be numbers of shape \(6,\).*got <U1"),
        (
            np.zeros(6),
            "sample_weight must be finite, not below zero, and above zero for.*from 0 to 0.*leaves a sample out",
        ),
        ([1, 1, -1, 1, 1, 1], "sample_weight must be finite, not below zero.*from -1 to 1"),
        ([1, 1, np.nan, 1, 1, 1], "sample_weight must be finite.*nan"),
    ],
)
def test_wrong_weights_are_refused(scored, weights, message):
    estimator, X, y = scored
    with pytest.raises(ValueError, match=message):
        estimator.score(X, y, sample_weight=weights)


def test_weighted_r2_is_that_of_scikit_learn():
    X, y = np.random.default_rng(0).random((2, 6, 12, 12))
    fitted, weights = FBPReconstructor().fit(X), np.random.default_rng(1).random(6)
    flat = (images.reshape(6, -1) for images in (y, fitted.predict(X)))
    expected = r2_score(*flat, sample_weight=weights, multioutput="variance_weighted")
    assert fitted.score(X, y, sample_weight=weights) == pytest.approx(expected, rel=1e-9)


def test_images_that_differ_by_rounding_alone_have_no_score():
    """The sum of three times 0.1, by three, is not 0.1."""
    X = np.random.default_rng(0).random((3, 12, 12))
    fitted, y = FBPReconstructor().fit(X), np.full((3, 12, 12), 0.1)
    for weights in (None, [0.1, 0.2, 0.4]):
        with pytest.raises(ValueError, match="at least 2 different images.*got 3 of one kind"):
            fitted.score(X, y, sample_weight=weights)
    y[2] = 0.2
    with pytest.raises(ValueError, match="at least 2 different images.*got 2 of one kind"):
        fitted.score(X, y, sample_weight=[1, 1, 0])


@pytest.mark.parametrize(
    ("metric", "known"),
    [
        (dice, lambda *y, **weights: f1_score(*y, average="macro", **weights)),
        (iou, lambda *y, **weights: jaccard_score(*y, average="macro", **weights)),
        (mcc, matthews_corrcoef),
    ],
)
def test_weighted_metrics_of_labels_are_those_of_scikit_learn(metric, known, monkeypatch):
    monkeypatch.setattr("tomolearn.metrics.segmentation._CHUNK", 50)  # which cuts through images
    y = np.random.default_rng(0).integers(4, size=(2, 5, 6, 7))
    y[1] = np.where(np.random.default_rng(1).random(y[0].shape) < 0.6, y[0], y[1])
    weights = np.array([0.5, 0.0, 2.0, 1.0, 0.25])
    expected = known(*y.reshape(2, -1), sample_weight=np.repeat(weights, 42))
    assert metric(*y, sample_weight=weights) == pytest.approx(expected, rel=1e-12)
    assert metric(*y, sample_weight=weights) != pytest.approx(metric(*y), rel=1e-3)
    assert metric(*y, sample_weight=np.full(5, 3)) == pytest.approx(metric(*y), rel=1e-12)
    counted = weights > 0
    y[:, 1] = 9  # a class of a slice that does not count
    assert metric(*y, sample_weight=counted) == pytest.approx(metric(*y[:, counted]), rel=1e-12)


# --------------------------------------------------------------------------------------------------------- routing


@pytest.fixture(scope="module")
def scan():
    rng = np.random.default_rng(0)
    return rng.uniform(0.1, 1, (6, 12, 12)), rng.random((6, 12, 12)), rng.uniform(0.1, 3, 6)


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


def test_a_pipeline_hands_weights_to_the_score_without_routing(scan):
    X, y, weights = scan
    pipeline = make_pipeline(MinusLog(), FBPReconstructor()).fit(X)
    expected = pipeline[-1].score(pipeline[0].transform(X), y, sample_weight=weights)
    assert pipeline.score(X, y, sample_weight=weights) == expected != pipeline.score(X, y)


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("name", SCORED)
def test_a_pipeline_routes_weights_to_what_asks_for_them(scan, name):
    X, y, weights = scan
    y = (y > 0.5).astype(np.uint8) if name == "UNetSegmenter" else y
    pipeline = make_pipeline(MinusLog(), quick(name)).fit(X, y)
    alone, corrected = pipeline[-1], pipeline[0].transform(X)
    with pytest.raises(UnsetMetadataPassedError, match=rf"\[sample_weight\] are passed.*{name}.score"):
        pipeline.score(X, y, sample_weight=weights)
    alone.set_score_request(sample_weight=True)
    assert pipeline.score(X, y, sample_weight=weights) == alone.score(corrected, y, sample_weight=weights)
    assert pipeline.score(X, y, sample_weight=weights) != pipeline.score(X, y)


@pytest.mark.usefixtures("routing")
def test_a_search_cuts_weights_with_the_folds(scan):
    X, y, weights = scan
    pipeline = make_pipeline(MinusLog(), FBPReconstructor().set_score_request(sample_weight=True))
    grid = {"fbpreconstructor__filter": ["ram-lak", "hann"]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, y, sample_weight=weights)
    folds = np.arange(6).reshape(2, 3)
    for k, test in enumerate(folds):
        fitted = make_pipeline(MinusLog(), FBPReconstructor(filter="hann")).fit(X[folds[1 - k]])
        expected = fitted[-1].score(fitted[0].transform(X[test]), y[test], sample_weight=weights[test])
        assert search.cv_results_[f"split{k}_test_score"][1] == pytest.approx(expected, rel=1e-9)
    found = cross_validate(pipeline, X, y, cv=2, params={"sample_weight": np.ones(6)}, error_score="raise")
    plain = cross_validate(pipeline, X, y, cv=2, error_score="raise")
    np.testing.assert_allclose(found["test_score"], plain["test_score"], rtol=1e-9)
    best = search.best_estimator_
    assert search.score(X, y, sample_weight=weights) == best.score(X, y, sample_weight=weights) != best.score(X, y)

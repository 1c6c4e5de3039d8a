"""What scikit-learn shows, names and hands on of every public estimator: tables, pages, tags, metadata, callbacks."""

import html.parser
import inspect

import numpy as np
import pandas as pd
import pytest
from learned import pairs
from segmenters import shapes
from segmenters import small as small_segmenter
from sklearn import config_context
from sklearn.base import clone, is_classifier, is_outlier_detector, is_regressor
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_html_repr, get_tags
from test_estimators import ALEXNETS, MAPS, NEED_TARGETS, QUICK, quick

from tomolearn import FBPReconstructor, MinusLog
from tomolearn.base import registry

pytestmark = [
    pytest.mark.filterwarnings("ignore:FlatFieldCorrector.fit was given neither flats nor darks"),
    pytest.mark.filterwarnings("ignore:each of the .* values of a row of X:UserWarning"),
    pytest.mark.filterwarnings("ignore:(AirNormalizer|MinusLog|ZingerRemover|BadPixelRepairer). [0-9]+ of [0-9]+"),
]
SHOWN = ("FBPReconstructor", "CNNReconstructor", "VAEDenoiser", "UNetSegmenter", "AlexNetClassifier", *MAPS, "MinusLog")


def data(name):
    """A stack of ten slices, (10, 4, 6), and what the estimator of that name learns from."""
    X = np.random.default_rng(0).random((10, 4, 6))
    images = np.random.default_rng(1).random((10, 6, 6))
    targets = dict.fromkeys(ALEXNETS, np.arange(10) % 2) | {"UNetSegmenter": np.tile([[0], [1]], (10, 2, 6))}
    y = targets.get(name, X if name.endswith("Denoiser") else images if name in NEED_TARGETS else None)
    return X, y


def flat(name):
    """The estimator, told the shape of flat data where it has a parameter for it."""
    estimator = quick(name)
    known = [key for key in ("sinogram_shape", "image_shape") if key in estimator.get_params()]
    shape = {"image_shape": (6, 6)} if name.endswith("Reconstructor") else {}
    return estimator.set_params(**{known[0]: (4, 6)} | shape)


# ------------------------------------------------------------------------------------------------------------ tables


@pytest.mark.parametrize("name", QUICK)
def test_tables_come_out_with_names_where_tables_go_in(name):
    X, y = data(name)
    table = pd.DataFrame(X.reshape(10, 24), columns=[f"p{k}" for k in range(24)], index=range(5, 15))
    estimator = flat(name).fit(table, None if y is None else y.reshape(10, -1) if y.ndim > 1 else y)
    assert estimator.feature_names_in_.tolist() == table.columns.tolist()
    method = "transform" if hasattr(estimator, "transform") else "predict"
    with pytest.raises(ValueError, match="feature names should match those that were passed during fit"):
        getattr(estimator, method)(table.rename(columns={"p0": "q0"}))
    if method == "predict":
        return
    expected = estimator.transform(table)
    assert isinstance(expected, np.ndarray)
    named = estimator.set_output(transform="pandas").transform(table)
    assert isinstance(named, pd.DataFrame) and named.index.tolist() == table.index.tolist()
    assert named.columns.tolist() == estimator.get_feature_names_out().tolist()
    np.testing.assert_array_equal(named.to_numpy(), expected)
    assert isinstance(estimator.set_output(transform="default").transform(table), np.ndarray)


def test_a_table_goes_through_a_pipeline_and_stacks_have_no_table():
    counts = np.exp(-np.random.default_rng(0).random((5, 24)))
    table = pd.DataFrame(counts, columns=[f"p{k}" for k in range(24)])
    steps = MinusLog(sinogram_shape=(4, 6)), FBPReconstructor(sinogram_shape=(4, 6), image_shape=(6, 6))
    pipeline = make_pipeline(*steps).set_output(transform="pandas").fit(table)
    images = pipeline.transform(table)
    assert images.columns.tolist() == [f"fbpreconstructor{k}" for k in range(36)]
    np.testing.assert_allclose(images.to_numpy(), clone(pipeline).fit(table).predict(table))
    with pytest.raises(ValueError, match="2-d"):
        FBPReconstructor().set_output(transform="pandas").fit_transform(counts.reshape(5, 4, 6))


# ------------------------------------------------------------------------------------------------------------- pages


class Page(html.parser.HTMLParser):
    """The text of a page."""

    def __init__(self, source):
        super().__init__()
        self.text = ""
        self.feed(source)

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("name", QUICK)
def test_an_estimator_is_shown_with_its_parameters(name):
    text = Page(estimator_html_repr(quick(name))).text
    assert all(word in text for word in (name, *quick(name).get_params()))
    assert len(repr(quick(name))) < 1000 and repr(quick(name)).startswith(f"{name}(")


@pytest.mark.parametrize("name", SHOWN)
def test_a_fitted_estimator_is_shown_without_its_numbers(name):
    X, y = data(name)
    estimator = quick(name).fit(X, y)
    page = estimator_html_repr(estimator)
    assert len(page) < 2 * len(estimator_html_repr(quick(name))) + 50_000
    assert "Fitted" in Page(page).text


def test_a_pipeline_is_shown_step_by_step():
    X, _ = data("FBPReconstructor")
    denoiser = quick("VAEDenoiser").fit(X)
    pipeline = make_pipeline(MinusLog(), FBPReconstructor(), FrozenEstimator(denoiser), quick("UNetSegmenter"))
    text = Page(estimator_html_repr(pipeline)).text
    places = [text.index(step) for step in ("MinusLog", "FBPReconstructor", "FrozenEstimator", "UNetSegmenter")]
    assert places == sorted(places) and "VAEDenoiser" in text


# -------------------------------------------------------------------------------------------------------------- tags


@pytest.mark.parametrize("name", QUICK)
def test_tags_are_true(name):
    estimator, tags = quick(name), get_tags(quick(name))
    assert is_classifier(estimator) == (name == "AlexNetClassifier")
    assert is_regressor(estimator) == (name == "AlexNetRegressor")
    assert is_outlier_detector(estimator) == (name == "TrainingSetDetector")
    assert (tags.transformer_tags is not None) == hasattr(estimator, "transform")
    assert hasattr(estimator, "predict_proba") == (tags.classifier_tags is not None)
    others = ("sparse", "string", "categorical", "dict", "positive_only", "one_d_array", "pairwise")
    assert not any(getattr(tags.input_tags, tag) for tag in others)
    X, y = data(name)
    X[1, 1, 1] = np.nan
    if tags.input_tags.allow_nan:
        assert np.isfinite(estimator.fit(X, y).transform(X)).all()
    else:
        with pytest.raises(ValueError, match="must be finite"):
            estimator.fit(X, y)


# ---------------------------------------------------------------------------------------------------------- metadata


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("name", [name for name in QUICK if "max_epochs" in QUICK[name]])
def test_validation_data_are_asked_for_and_come_only_then(name):
    X, y = data(name)
    given = {"X_val": X[:4], "y_val": None if y is None else y[:4]}
    taken = inspect.signature(registry()[name].fit).parameters
    given = {key: value for key, value in given.items() if key in taken and value is not None}
    pipeline = make_pipeline(quick(name))
    with pytest.raises(ValueError, match=r"\[(X_val|.*y_val).*are passed but are not explicitly set as requested"):
        pipeline.fit(X, y, **given)
    pipeline[-1].set_fit_request(**dict.fromkeys(given, True))
    alone = quick(name).fit(X, y, **given)
    assert pipeline.fit(X, y, **given)[-1].history_["val_loss"] == alone.history_["val_loss"]
    assert alone.history_["val_loss"]


@pytest.mark.usefixtures("routing")
def test_validation_images_go_through_the_steps_before():
    X, images = pairs(6)
    counts, masks = np.exp(-X / 12), (images > 0.5).astype(np.uint8)
    segmenter = small_segmenter(patch_shape=(12, 12)).set_fit_request(X_val=True, y_val=True)
    steps = MinusLog(), FBPReconstructor()
    pipeline = make_pipeline(*steps, segmenter, transform_input=["X_val"])
    pipeline.fit(counts[:4], masks[:4], X_val=counts[4:], y_val=masks[4:])
    before = make_pipeline(*map(clone, steps)).fit(counts[:4])
    alone = clone(segmenter).fit(
        before.transform(counts[:4]), masks[:4], X_val=before.transform(counts[4:]), y_val=masks[4:]
    )
    assert pipeline[-1].history_["val_loss"] == alone.history_["val_loss"]


@pytest.mark.usefixtures("routing")
def test_weights_of_pixels_and_of_samples_are_cut_with_the_folds():
    X, masks = shapes(4, 24, n_shapes=3)
    masks = (masks > 0).astype(np.uint8)
    weight_map = np.random.default_rng(0).random(masks.shape)
    segmenter = small_segmenter(patch_shape=(24, 24)).set_fit_request(weight_map=True)
    search = GridSearchCV(segmenter, {"flips": [True]}, cv=2, error_score="raise")
    search.fit(X, masks, weight_map=weight_map)
    first = clone(segmenter).fit(X[2:], masks[2:], weight_map=weight_map[2:])
    assert search.cv_results_["split0_test_score"][0] == first.score(X[:2], masks[:2])
    X, y = data("AlexNetClassifier")
    classifier = quick("AlexNetClassifier").set_score_request(sample_weight=True)
    sample_weight = np.arange(1.0, 11)
    found = cross_validate(classifier, X, y, cv=[(range(10), [0, 1, 2])], params={"sample_weight": sample_weight})
    expected = clone(classifier).fit(X, y).score(X[:3], y[:3], sample_weight=sample_weight[:3])
    assert found["test_score"][0] == pytest.approx(expected)


# --------------------------------------------------------------------------------------------------------- callbacks


class Epochs:
    """Counts the tasks that scikit-learn's callbacks are told of."""

    def __init__(self):
        self.ended = []

    def setup(self, estimator, context):
        self.most = context.max_subtasks

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        self.ended.append(context.task_name)

    def teardown(self, estimator, context):
        self.most = None


@pytest.mark.parametrize("name", [name for name in QUICK if "max_epochs" in QUICK[name]])
def test_every_training_tells_callbacks_of_its_epochs(name):
    pytest.importorskip("sklearn.callback", reason="this scikit-learn has no callbacks")
    X, y = data(name)
    watched = Epochs()
    estimator = quick(name).set_params(max_epochs=2, early_stopping=False).set_callbacks(watched).fit(X, y)
    assert watched.ended == ["epoch 1", "epoch 2", "fit"] and watched.most is None
    assert estimator.n_epochs_ == 2

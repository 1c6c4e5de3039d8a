"""Maps of samples: colours, marks and pictures stand where the samples are."""

import importlib

import matplotlib.pyplot
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.decomposition import TruncatedSVD

from tomolearn import EmbeddingDisplay, TSNEReducer, check_training_set
from tomolearn.io import ArraySource
from tomolearn.manifold import TrainingSetDetector


@pytest.fixture
def images(rng):
    return rng.random((50, 6, 9)).astype(np.float32)


@pytest.fixture
def places(rng):
    return rng.normal(size=(50, 2))


class FirstTwo(BaseEstimator):
    """Two pixels of an image are its place, and those above 0.9 are outliers."""

    def transform(self, X):
        return np.asarray(X)[:, 0, :2]

    def score_samples(self, X):
        return -np.asarray(X)[:, 0, 0]

    def predict(self, X):
        return np.where(self.score_samples(X) < -0.9, -1, 1)


def offsets(collection):
    return np.asarray(collection.get_offsets())


def test_labels_have_colours_of_their_own_and_a_legend(places):
    labels = np.array(["b", "a", "c", "a", "b"] * 10)
    display = EmbeddingDisplay(places, values=labels, values_name="material").plot()
    assert len(display.scatter_) == 3
    for label, collection in zip("abc", display.scatter_, strict=True):
        np.testing.assert_array_equal(offsets(collection), places[labels == label])
    assert len({tuple(c.get_facecolor()[0]) for c in display.scatter_}) == 3
    legend = display.ax_.get_legend()
    assert legend.get_title().get_text() == "material"
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "c"]


@pytest.mark.parametrize("values", [np.linspace(0, 1, 50), np.arange(50)], ids=["reals", "many integers"])
def test_numbers_have_a_colour_bar(places, values):
    display = EmbeddingDisplay(places, values=values, values_name="dose").plot()
    np.testing.assert_array_equal(display.scatter_.get_array(), values)
    assert display.ax_.get_legend() is None
    assert [ax.get_ylabel() for ax in display.figure_.axes] == ["", "dose"]


def test_outliers_are_ringed_and_counted(places):
    outliers = np.arange(50) % 25 == 3
    display = EmbeddingDisplay(places, outliers=outliers).plot()
    rings = display.ax_.collections[-1]
    np.testing.assert_array_equal(offsets(rings), places[outliers])
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["2 outliers"]
    assert EmbeddingDisplay(places, outliers=np.zeros(50, bool)).plot().ax_.get_legend() is None


@pytest.mark.parametrize("wrap", [np.asarray, ArraySource], ids=["array", "source"])
def test_pictures_lie_on_their_samples_and_not_on_each_other(places, images, wrap):
    outliers = np.arange(50) == 7
    display = EmbeddingDisplay(places, images=wrap(images), outliers=outliers).plot(n_thumbnails=12)
    drawn = display.ax_.images
    assert len(drawn) == len(display.thumbnails_) == 12 and display.thumbnails_[0] == 7
    boxes = []
    for i, picture in zip(display.thumbnails_, drawn, strict=True):
        left, right, below, above = picture.get_extent()
        np.testing.assert_allclose([(left + right) / 2, (below + above) / 2], places[i], atol=1e-12)
        assert (right - left) / (above - below) == pytest.approx(9 / 6)
        np.testing.assert_allclose(picture.get_array(), images[i], atol=1e-6)
        assert picture.origin == "upper"
        boxes.append((left, right, below, above))
    for k, (left, right, below, above) in enumerate(boxes):
        for other in boxes[:k]:
            assert left >= other[1] or right <= other[0] or below >= other[3] or above <= other[2]
    assert len({tuple(picture.get_clim()) for picture in drawn}) == 1  # greys can be compared


def test_pictures_are_chosen_by_the_seed(places, images):
    def chosen(random_state):
        return list(EmbeddingDisplay(places, images=images).plot(n_thumbnails=6, random_state=random_state).thumbnails_)

    assert chosen(0) == chosen(0) != chosen(1)
    assert len(EmbeddingDisplay(np.zeros((50, 2)), images=images).plot().thumbnails_) == 1  # all in one place


def test_from_an_estimator_with_scores(images):
    display = EmbeddingDisplay.from_estimator(FirstTwo(), images, n_thumbnails=3)
    np.testing.assert_array_equal(display.embedding, images[:, 0, :2].astype(float))
    np.testing.assert_array_equal(display.values, -images[:, 0, 0])
    np.testing.assert_array_equal(display.outliers, images[:, 0, 0] > 0.9)
    assert display.values_name == "score" and len(display.thumbnails_) == 3
    labels = np.arange(50) % 2
    assert EmbeddingDisplay.from_estimator(FirstTwo(), images, labels).values is labels


def test_from_an_estimator_without_scores(images):
    flat = images.reshape(50, -1)
    reducer = TruncatedSVD(2).fit(flat)
    display = EmbeddingDisplay.from_estimator(reducer, flat)
    np.testing.assert_array_equal(display.embedding, reducer.transform(flat))
    assert display.values is None and display.outliers is None and len(display.thumbnails_) == 0
    with pytest.raises(ValueError, match=r"embedding must be finite, of shape \(n, 2\); got shape \(50, 3\)"):
        EmbeddingDisplay.from_estimator(TruncatedSVD(3).fit(flat), flat)


def test_from_a_reducer_the_images_of_flat_samples_are_shown(images):
    reducer = TSNEReducer(perplexity=8, max_iter=60, random_state=0, image_shape=(6, 9)).fit(images.reshape(50, -1))
    display = EmbeddingDisplay.from_estimator(reducer, images.reshape(50, -1), n_thumbnails=4)
    np.testing.assert_array_equal(display.images, images)
    np.testing.assert_array_equal(display.outliers, reducer.predict(images) == -1)
    assert len(display.ax_.images) == 4


def test_it_draws_where_it_is_told_to_and_opens_no_window(places):
    before = matplotlib.pyplot.get_fignums()
    figure = matplotlib.figure.Figure()
    ax = figure.add_subplot()
    display = EmbeddingDisplay(places)
    assert display.plot(ax=ax) is display and display.ax_ is ax and display.figure_ is figure
    assert display.plot().figure_ is not figure
    assert matplotlib.pyplot.get_fignums() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": np.zeros((50, 4))}, r"images must have the shape \(n, rows, columns\) with n=50.*got \(50, 4\)"),
        ({"values": np.zeros(49)}, r"values must have the shape \(n,\) with n=50 samples; got \(49,\)"),
        ({"outliers": np.zeros((50, 1))}, r"outliers must have the shape \(n,\) with n=50 samples; got \(50, 1\)"),
    ],
)
def test_other_shapes_are_refused(places, arguments, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingDisplay(places, **arguments)


def test_numbers_that_are_no_counts_are_refused(places):
    with pytest.raises(ValueError, match="n_thumbnails must be"):
        EmbeddingDisplay(places).plot(n_thumbnails=-1)


def test_a_missing_matplotlib_is_named_first(monkeypatch, places):
    real = importlib.import_module

    def without(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr("importlib.import_module", without)
    for call in (EmbeddingDisplay(places).plot, lambda: check_training_set(None, None)):
        with pytest.raises(ImportError, match=r"figures need matplotlib: pip install 'tomolearn\[plot\]'"):
            call()


# ------------------------------------------------------------------------------------------------ check_training_set


@pytest.fixture(scope="module")
def sets():
    rng = np.random.default_rng(0)
    train, fresh, strange = (rng.normal(size=(n, 6, 9)) for n in (80, 30, 10))
    return train, np.concatenate([fresh, strange + 3])


def test_one_call_says_it_in_a_sentence(sets, tmp_path):
    train, new = sets
    check = check_training_set(train, new, perplexity=10, path=tmp_path / "map.png")
    detector = TrainingSetDetector().fit(train)
    np.testing.assert_array_equal(check.scores, detector.decision_function(new))
    np.testing.assert_array_equal(check.outliers, detector.predict(new) == -1)
    assert check.outliers[30:].all() and check.outliers[:30].sum() <= 5
    n = check.outliers.sum()
    expected = f"{n} of 40 samples lie outside the training set (of samples of the same kind about 2 would)."
    assert str(check) == check.sentence == expected == check.display.ax_.get_title()
    assert (tmp_path / "map.png").stat().st_size > 10_000
    display = check.display
    assert display.embedding.shape == (120, 2) and display.images.shape == (120, 6, 9)
    assert list(np.unique(display.values, return_counts=True)[1]) == [40, 80]
    np.testing.assert_array_equal(display.outliers, np.r_[np.zeros(80, bool), check.outliers])
    strange, others = display.embedding[110:], display.embedding[:110]
    middle = strange.mean(axis=0)
    spread = np.linalg.norm(strange - middle, axis=1).max()
    assert (np.linalg.norm(others - middle, axis=1) < spread).mean() < 0.05  # an island of their own


def test_flat_images_sources_and_tables(sets):
    train, new = sets
    flat = [part.reshape(len(part), -1) for part in sets]
    options = {"perplexity": 5, "n_thumbnails": 3}
    expected = check_training_set(train, new, **options)
    for arguments, more in (
        ((ArraySource(train), ArraySource(new)), {}),
        (flat, {"image_shape": (6, 9)}),
        (flat, {}),
    ):
        check = check_training_set(*arguments, **more, **options)
        np.testing.assert_allclose(check.scores, expected.scores, atol=1e-6)
        assert (check.display.images is None) == (arguments is flat and not more)


def test_large_sets_are_scored_whole_and_drawn_in_part(sets, monkeypatch):
    train, new = sets
    monkeypatch.setattr("tomolearn.display.training_set.MOST_ON_MAP", 20)
    check = check_training_set(train, new)
    assert check.scores.shape == (40,) and check.display.embedding.shape == (40, 2)
    shown = check.display.images[20:]
    index = [int(np.flatnonzero((new == image).all(axis=(1, 2)))[0]) for image in shown]
    np.testing.assert_array_equal(check.display.outliers[20:], check.outliers[index])


def test_from_places_that_are_known_the_map_is_drawn(places, images):
    display = EmbeddingDisplay.from_predictions(places, images=images, values=np.arange(50) % 8, n_thumbnails=3)
    assert len(display.thumbnails_) == 3 and len(display.scatter_) == 8
    looks = {(tuple(c.get_facecolor()[0]), c.get_paths()[0].vertices.shape) for c in display.scatter_}
    assert len(looks) == 8  # more labels than colours: other marks

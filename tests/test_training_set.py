"""TrainingSetDetector and the features of maps: known distances, calibrated shares, any kind of samples."""

import numpy as np
import pytest
import torch
from estimator_checks import IMAGE_CHECKS, Case
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tomolearn
from tomolearn import TrainingSetDetector
from tomolearn.exceptions import FileFormatError, MemoryBudgetError
from tomolearn.io import ArraySource
from tomolearn.manifold import _features
from tomolearn.manifold._features import feature_extractor
from tomolearn.networks import EfficientNetLite0Features
from tomolearn.persistence import read_model, write_model
from tomolearn.simulation import random_foam, random_shapes


@pytest.fixture
def images(rng):
    """Noise on a few patterns: components that matter, and some that are left out."""
    patterns = rng.normal(size=(4, 9, 8))
    return np.tensordot(rng.normal(size=(90, 4)), patterns, 1) * 3 + rng.normal(size=(90, 9, 8))


def distances(a, b):
    return np.linalg.norm(a[:, None] - b[None], axis=2)


# ---------------------------------------------------------------------------------------------------------- features


def test_short_rows_keep_their_distances(rng):
    X = rng.normal(size=(30, 6)) * [1, 10, 1, 1, 1, 1] + 100
    extractor = feature_extractor("pca", 6).fit(X)
    vectors = extractor.transform(X)
    assert vectors.dtype == np.float32 and vectors.shape == (30, 6) and extractor.components is None
    scale = np.sqrt(((X - X.mean(axis=0)) ** 2).sum(axis=1).mean())
    np.testing.assert_allclose(vectors, (X - X.mean(axis=0)) / scale, atol=1e-6)
    np.testing.assert_allclose(np.square(vectors).sum(axis=1).mean(), 1, rtol=1e-6)


def test_long_rows_are_principal_components_and_what_they_leave_out(images):
    flat = images.reshape(90, -1)
    extractor = feature_extractor("pca", 5)
    vectors = extractor.fit_transform(images)
    assert vectors.shape == (90, 6) and extractor.n_vector == 6
    peer = PCA(5, svd_solver="full").fit(flat)
    np.testing.assert_allclose(np.abs(peer.components_ @ extractor.components.T), np.eye(5), atol=1e-3)
    largest = np.abs(extractor.components).argmax(axis=1)
    assert (extractor.components[np.arange(5), largest] > 0).all()
    left = flat - peer.inverse_transform(peer.transform(flat))
    np.testing.assert_allclose(vectors[:, 5] * extractor.scale, np.linalg.norm(left, axis=1), rtol=1e-3)
    np.testing.assert_allclose(  # nothing of a sample's distance from the mean is lost
        np.linalg.norm(vectors, axis=1) * extractor.scale, np.linalg.norm(flat - flat.mean(axis=0), axis=1), rtol=1e-5
    )


def test_a_vector_does_not_depend_on_its_neighbours_or_units(images):
    extractor = feature_extractor("pca", 5).fit(images)
    vectors = extractor.transform(images)
    alone = np.concatenate([extractor.transform(images[i : i + 1]) for i in range(90)])
    np.testing.assert_allclose(alone, vectors, rtol=0, atol=2e-7)
    scaled = feature_extractor("pca", 5).fit_transform(images * 1e4 + 7e4)
    np.testing.assert_allclose(scaled, vectors, atol=1e-5)


@pytest.mark.parametrize("table_fits", [True, False])
def test_a_source_is_read_in_blocks(images, monkeypatch, table_fits):
    class Watched(ArraySource):
        largest = 0

        def read_block(self, start, stop):
            self.largest = max(self.largest, stop - start)
            return super().read_block(start, stop)

    expected = feature_extractor("pca", 4).fit_transform(images)
    monkeypatch.setattr(_features, "AT_ONCE", 7 * 72)
    if not table_fits:
        monkeypatch.setattr(_features, "available_memory", lambda: 4 * 90 * 72 * 8 - 1)
    source = Watched(images)
    vectors = feature_extractor("pca", 4).fit(source).transform(source)
    assert source.largest == 7
    if table_fits:
        np.testing.assert_allclose(vectors, expected, atol=1e-6)
    else:  # components from batches span nearly the same plane
        np.testing.assert_allclose(distances(vectors, vectors), distances(expected, expected), atol=0.05)


def test_too_large_components_are_refused_before_they_are_made(images, monkeypatch):
    monkeypatch.setattr("tomolearn.base.memory.available_memory", lambda: 1000)
    with pytest.raises(
        MemoryBudgetError, match=r"4 components of 72 values need .*Bin the images, or lower n_features"
    ):
        TrainingSetDetector(n_features=4).fit(images)


def test_constant_and_repeated_samples():
    detector = TrainingSetDetector().fit(np.ones((20, 4, 4)))
    assert detector.extractor_.scale == 1
    np.testing.assert_array_equal(detector.predict(np.ones((3, 4, 4))), 1)
    np.testing.assert_array_equal(detector.predict(np.full((3, 4, 4), 1.001)), -1)
    repeated = np.repeat(np.random.default_rng(0).normal(size=(10, 80)), 10, axis=0)
    detector = TrainingSetDetector().fit(repeated)
    np.testing.assert_array_equal(detector.predict(repeated[::10]), 1)


class TestTransformers:
    def test_one_is_cloned_and_fitted(self, images):
        given = make_pipeline(StandardScaler(), TruncatedSVD(3, random_state=0))
        extractor = feature_extractor(given, 10).fit(images)
        assert not hasattr(given[-1], "components_")
        flat = images.reshape(90, -1)
        y = given.fit_transform(flat)
        np.testing.assert_allclose(extractor.transform(images) * extractor.scale, y - y.mean(axis=0), atol=1e-4)

    def test_a_frozen_one_stays_as_it_is(self, images):
        fitted = TruncatedSVD(3, random_state=0).fit(images[:20].reshape(20, -1))
        extractor = feature_extractor(FrozenEstimator(fitted), 10).fit(ArraySource(images))
        y = fitted.transform(images.reshape(90, -1))
        np.testing.assert_allclose(extractor.transform(images) * extractor.scale, y - y.mean(axis=0), atol=1e-4)

    def test_one_that_takes_stacks_gets_them(self, images):
        binner = tomolearn.SinogramBinner(detector_factor=2)
        vectors = feature_extractor(binner, 50).fit_transform(images)
        expected = binner.fit_transform(images).reshape(90, -1)
        np.testing.assert_allclose(vectors, feature_extractor("pca", 50).fit_transform(expected), atol=1e-6)

    def test_numbers_that_are_not_finite_are_refused(self, images):
        class Broken(StandardScaler):
            def transform(self, X):
                return np.full((len(X), 2), np.nan)

        with pytest.raises(ValueError, match=r"features must make finite numbers, one row for each sample; Broken\(\)"):
            TrainingSetDetector(features=Broken()).fit(images)

    def test_it_stays_out_of_model_files(self, images, tmp_path):
        detector = TrainingSetDetector(features=TruncatedSVD(3)).fit(images)
        with pytest.raises(TypeError, match="a transformer given as features cannot be written.*use pickle"):
            detector.save(tmp_path / "model.tomo")


class TestEfficientNet:
    def test_vectors_are_means_and_deviations_of_channels(self, rng):
        images = rng.random((12, 24, 20)).astype(np.float32) * 300 - 50
        extractor = feature_extractor("efficientnet", 500).fit(images)
        low, high = np.percentile(images, (1, 99))
        with torch.no_grad():
            maps = EfficientNetLite0Features()(torch.from_numpy((images - low) / (high - low)).float()[:, None])
        y = np.concatenate(
            [m.numpy().mean(axis=(2, 3)) for m in maps] + [m.numpy().std(axis=(2, 3)) for m in maps], axis=1
        )
        y = (y - y.mean(axis=0)) / y.std(axis=0)
        vectors = extractor.transform(images)
        assert vectors.shape == (12, 2 * (24 + 40 + 112))
        np.testing.assert_allclose(vectors, y / np.sqrt(y.shape[1]), atol=1e-4)

    def test_pixels_of_other_units_make_the_same_vectors(self, rng):
        images = rng.random((10, 16, 16))
        vectors = feature_extractor("efficientnet", 5).fit_transform(images)
        assert vectors.shape == (10, 6)
        np.testing.assert_allclose(
            feature_extractor("efficientnet", 5).fit_transform(1000 * images - 4), vectors, atol=1e-3
        )

    def test_rows_of_a_table_are_refused(self):
        with pytest.raises(ValueError, match=r"features='efficientnet' needs images.*Give image_shape for flat images"):
            TrainingSetDetector(features="efficientnet").fit(np.ones((20, 30)))

    def test_the_network_sees_each_training_image_once(self, rng, monkeypatch):
        seen, forward = [], EfficientNetLite0Features.forward
        monkeypatch.setattr(
            EfficientNetLite0Features, "forward", lambda self, x: seen.append(len(x)) or forward(self, x)
        )
        images = rng.random((12, 16, 16))
        detector = TrainingSetDetector(features="efficientnet", n_features=4).fit(images)
        assert sum(seen) == 12
        vectors = feature_extractor("efficientnet", 4).fit_transform(images)
        np.testing.assert_array_equal(detector.reference_, vectors)

    def test_what_it_learned_goes_through_a_file(self, rng, tmp_path):
        images = rng.random((12, 16, 16))
        detector = TrainingSetDetector(features="efficientnet", n_features=4).fit(images)
        detector.save(tmp_path / "model.tomo")
        loaded = tomolearn.load(tmp_path / "model.tomo")
        np.testing.assert_array_equal(loaded.score_samples(images[::-1]), detector.score_samples(images[::-1]))


# ---------------------------------------------------------------------------------------------------------- detector


def test_scores_are_deviations_of_the_distance_to_the_kth_neighbour(images):
    train, new = images[:60], images[60:]
    detector = TrainingSetDetector(n_neighbors=3, n_features=500).fit(train)
    flat = train.reshape(60, -1)
    scale = np.sqrt(((flat - flat.mean(axis=0)) ** 2).sum(axis=1).mean())
    distance = NearestNeighbors(n_neighbors=3).fit(flat).kneighbors(new.reshape(30, -1))[0][:, -1] / scale
    (mean,), (deviation,) = detector.calibration_
    np.testing.assert_allclose(detector.score_samples(new), (mean - distance) / deviation, atol=1e-4)
    np.testing.assert_array_equal(detector.decision_function(new), detector.score_samples(new) - detector.offset_)
    np.testing.assert_array_equal(detector.predict(new), np.where(detector.decision_function(new) < 0, -1, 1))


def test_what_components_leave_out_counts_either_way(images):
    detector = TrainingSetDetector(n_features=4).fit(images)
    vectors = detector.vectors(images)
    mean, deviation = detector.calibration_[:, 1]
    np.testing.assert_allclose(
        np.minimum(detector.score_samples(images), -np.abs(vectors[:, 4] - mean) / deviation),
        detector.score_samples(images),
        atol=1e-5,
    )
    extractor = detector.extractor_
    plane = (images.reshape(90, -1) - extractor.mean) @ extractor.components.T @ extractor.components + extractor.mean
    # Without any noise each sample lies where the noisy one does, and nothing is left out of it.
    np.testing.assert_allclose(detector.score_samples(plane.reshape(90, 9, 8)), -mean / deviation, rtol=1e-3)
    np.testing.assert_array_equal(detector.predict(plane.reshape(90, 9, 8)), -1)


@pytest.mark.parametrize("n_train", [60, 400])
@pytest.mark.parametrize("false_alarm_rate", [0.05, 0.2])
def test_so_many_fresh_samples_are_flagged(n_train, false_alarm_rate):
    """Components that were fitted to the training samples leave less of them out: only held-out ones tell the share."""
    rng = np.random.default_rng(5)
    shares = []
    for _ in range(10):
        patterns = rng.normal(size=(5, 100))
        train, fresh = (rng.normal(size=(n, 5)) @ patterns + rng.normal(size=(n, 100)) for n in (n_train, 300))
        detector = TrainingSetDetector(false_alarm_rate=false_alarm_rate, n_features=20).fit(train)
        assert len(detector.held_out_scores_) == n_train and (np.diff(detector.held_out_scores_) >= 0).all()
        shares.append((detector.predict(fresh) < 0).mean())
    # The shares of the trainings scatter by the held-out samples of each.
    error = 3 * np.sqrt(false_alarm_rate * (1 - false_alarm_rate) * (1 / n_train + 1 / 300) / 10)
    assert false_alarm_rate * 0.7 - error < np.mean(shares) < false_alarm_rate + error


def test_strangers_are_told_from_fresh_samples():
    shapes = random_shapes(400, 32, random_state=0)
    noise = np.random.default_rng(1).normal(0, 0.05, (500, 32, 32))
    noisy = TrainingSetDetector().fit(shapes[:300] + noise[:300])
    clean = TrainingSetDetector().fit(shapes[:300])
    for detector, fresh, strange in (
        (noisy, shapes[300:] + noise[300:400], shapes[300:] + 4 * noise[400:]),
        (noisy, shapes[300:] + noise[300:400], shapes[300:]),
        (clean, shapes[300:], random_foam(100, 32, random_state=1).volume()),
    ):
        scores = np.concatenate([detector.score_samples(fresh), detector.score_samples(strange)])
        assert roc_auc_score(np.arange(200) < 100, scores) > 0.99
        assert (detector.predict(strange) == -1).mean() > 0.95


def test_many_samples_are_calibrated_on_some(rng, monkeypatch):
    monkeypatch.setattr("tomolearn.manifold.detector.MANY", 100)
    monkeypatch.setattr("tomolearn.manifold.detector.N_HELD_OUT", 15)
    detector = TrainingSetDetector().fit(rng.normal(size=(100, 3)))
    assert detector.held_out_scores_.shape == (15,) and detector.reference_.shape == (100, 3)


def test_the_seed_chooses_what_is_held_out(images):
    scores = [TrainingSetDetector(random_state=seed).fit(images).held_out_scores_ for seed in (0, 0, 1)]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


def test_stacks_flat_images_and_sources_are_one(images):
    expected = TrainingSetDetector().fit(images)
    flat = images.reshape(90, -1)
    for X, parameters in ((flat, {}), (flat, {"image_shape": (9, 8)}), (ArraySource(images), {})):
        detector = TrainingSetDetector(**parameters).fit(X)
        np.testing.assert_allclose(detector.score_samples(X), expected.score_samples(images), atol=1e-6)
        assert detector.image_shape_ == ((1, 72) if X is flat and not parameters else (9, 8))
        assert detector.offset_ == pytest.approx(expected.offset_, abs=1e-6)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"features": "resnet"}, ValueError, "features must be one of.*got 'resnet'"),
        ({"features": 3}, TypeError, "features must be 'pca' or 'efficientnet', or a transformer.*got 3"),
        ({"features": PCA}, TypeError, "features must be 'pca' or 'efficientnet', or a transformer"),
        ({"n_features": 0}, ValueError, "n_features must be"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors must be"),
        ({"n_neighbors": 80}, ValueError, "at least 101 samples for n_neighbors=80.*got n_samples=90"),
        ({"false_alarm_rate": 0}, ValueError, "false_alarm_rate must be"),
        ({"false_alarm_rate": 0.6}, ValueError, "false_alarm_rate must be"),
        ({"random_state": -1}, ValueError, "random_state must be"),
        ({"device": "tpu"}, ValueError, "device must be"),
    ],
)
def test_wrong_parameters_are_refused(images, parameters, error, message):
    with pytest.raises(error, match=message):
        TrainingSetDetector(**parameters).fit(images)


def test_the_fewest_samples_that_are_taken_do(rng):
    X = rng.normal(size=(8, 4))
    assert TrainingSetDetector().fit(X).held_out_scores_.shape == (8,)
    with pytest.raises(ValueError, match="X must hold at least 8 samples for n_neighbors=5"):
        TrainingSetDetector().fit(X[:7])


def test_values_of_a_source_that_are_not_finite_are_found(images):
    images[70, 2, 3] = np.nan
    with pytest.raises(ValueError, match=r"X\[0:90\] must be finite; got 1 NaN"):
        feature_extractor().fit(ArraySource(images))


def test_images_of_another_shape_are_refused(images):
    detector = TrainingSetDetector().fit(images)
    for X in (images[:, :-1], ArraySource(images[:, :-1])):
        with pytest.raises(ValueError, match=r"X must hold images of shape \(9, 8\).*got \(8, 8\)"):
            detector.predict(X)


NAMES = (
    "parameters_are_keyword_only_and_plain",
    "fit_leaves_parameters_and_data",
    "predict_leaves_the_estimator",
    "fit_is_repeatable_and_leaves_global_generators",
    "quiet_at_verbose_0",
    "unfitted_raises",
    "features_are_counted",
    "another_shape_of_flat_raises",
    "not_finite_raises",
    "other_kinds_raise",
    "memory_maps_are_read",
    "slices_do_not_know_each_other",
    "copies_predict_the_same",
    "clone_forgets",
    "pipeline_is_the_estimator",
)
CASE = Case(
    TrainingSetDetector(n_neighbors=2), np.random.default_rng(0).random((8, 6, 5)), flat={"image_shape": (6, 5)}
)


@pytest.mark.parametrize("check", [c for c in IMAGE_CHECKS if c.__name__.removeprefix("check_") in NAMES])
def test_images(check, request):
    """Those of the image checks that are not about images that come out."""
    if check.__name__ == "check_memory_maps_are_read":
        check(CASE, tmp_path=request.getfixturevalue("tmp_path"))
    else:
        check(CASE)


# ------------------------------------------------------------------------------------------------------- model files


def test_a_loaded_detector_is_the_saved_one(images, tmp_path):
    detector, path = TrainingSetDetector(n_features=5, n_neighbors=2).fit(images), tmp_path / "model.tomo"
    detector.save(path)
    loaded = tomolearn.load(path)
    np.testing.assert_equal(loaded.get_params(), detector.get_params())
    assert vars(loaded).keys() == vars(detector).keys()
    np.testing.assert_array_equal(loaded.score_samples(images), detector.score_samples(images))
    np.testing.assert_array_equal(loaded.predict(images), detector.predict(images))
    loaded.save(tmp_path / "again.tomo")
    assert (tmp_path / "again.tomo").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("extractor_"), "must hold features in extractor_: the state must be a dict of mean"),
        (lambda s: s["extractor_"].update(mean=np.zeros(9)), r"components must be float64 of shape \(5, 9\)"),
        (lambda s: s["extractor_"].update(mean=np.full(72, np.nan)), "mean must be finite"),
        (lambda s: s["extractor_"].update(scale=0.0), "scale must be a number above zero; got 0.0"),
        (lambda s: s["extractor_"].update(limits=(0.0, 1.0)), "belong to features='efficientnet'"),
        (lambda s: s.update(reference_=s["reference_"][:, 1:]), r"rows at least and 6 columns; got shape \(90, 5\)"),
        (lambda s: s.update(reference_=s["reference_"][:1]), r"reference_ of n_neighbors=2 rows at least"),
        (lambda s: s.update(reference_=s["reference_"] * np.nan), "must hold reference_, finite float32 of 2 axes"),
        (lambda s: s.update(held_out_scores_="none"), "must hold held_out_scores_, finite float64 of 1 axes"),
        (lambda s: s["calibration_"].fill(0), r"calibration_ of shape \(2, 2\) whose second row is above zero"),
        (lambda s: s.update(calibration_=s["calibration_"][:, :1]), r"must hold calibration_ of shape \(2, 2\)"),
        (lambda s: s.update(offset_=float("nan")), "must hold offset_, a finite number; got nan"),
    ],
)
def test_a_changed_file_is_refused(images, tmp_path, change, message):
    detector, path = TrainingSetDetector(n_features=5, n_neighbors=2).fit(images), tmp_path / "model.tomo"
    detector.save(path)
    model = read_model(path)
    change(model.state)
    write_model(path, model.class_name, model.parameters, model.state, model.tensors)
    with pytest.raises(FileFormatError, match=message):
        tomolearn.load(path)

"""AlexNetClassifier and AlexNetRegressor: they learn, refuse what cannot be learned, and come back from files."""

import copy
import pickle

import numpy as np
import pytest
import torch
from learned import same_training, weights
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import tomolearn
from tomolearn import AlexNetClassifier, AlexNetRegressor
from tomolearn.classification._flips import random_flips
from tomolearn.exceptions import FileFormatError, MemoryBudgetError
from tomolearn.io import ArraySource
from tomolearn.networks import AlexNet
from tomolearn.persistence import read_model, write_model
from tomolearn.simulation import scattered_shapes

NARROW = {
    "channels": (8, 12, 12, 12, 12),
    "widths": (64, 64, 64),
    "dropout": 0.0,
    "random_state": 0,
    "precision": "float32",
}
TINY = NARROW | {"channels": (2, 2, 2, 2, 2), "widths": (6, 5, 4), "max_epochs": 2}
KINDS = np.array(["square", "outlined square", "disc", "ring"])


def shapes(n, seed):
    """Noisy images of three or four shapes, of which one kind is left."""
    images, labels = scattered_shapes(n, 32, n_shapes=4, shape_size=12, random_state=seed)
    kinds = np.arange(n) % 4
    images = images * (labels == kinds[:, None, None] + 1)
    return images + np.random.default_rng(seed).normal(0, 0.05, images.shape).astype(np.float32), KINDS[kinds]


def discs(n, seed):
    """Noisy discs, their radii and the columns of their centres."""
    rng = np.random.default_rng(seed)
    radius, center = rng.uniform(3, 9, n), rng.uniform(10, 22, (2, n, 1, 1))
    rows, columns = np.mgrid[:32, :32]
    inside = (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius[:, None, None] ** 2
    return inside + rng.normal(0, 0.05, inside.shape), np.stack([radius, center[1].ravel()], 1)


def noise(n=6, shape=(32, 34)):
    return np.random.default_rng(0).random((n, *shape))


def tiny(kind=AlexNetClassifier, **parameters):
    return kind(**TINY | parameters)


LABELS = np.array(["b", "a", "b", "c", "a", "c"])
VALUES = np.linspace(3.0, 5.0, 6)


# ---------------------------------------------------------------------------------------------------- what is learned


@pytest.fixture(scope="module")
def trained():
    return AlexNetClassifier(**NARROW, learning_rate=3e-3, max_epochs=15, batch_size=16).fit(*shapes(240, 0))


def test_shapes_are_told_apart(trained):
    X, y = shapes(80, 1)
    assert trained.score(X, y) > 0.9
    assert trained.classes_.tolist() == sorted(KINDS)
    probabilities = trained.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(trained.classes_[probabilities.argmax(1)], trained.predict(X))


def test_features_serve_another_method(trained):
    """A task that the network was not trained for: is the shape filled? Some samples tell it from its features."""
    X, y = shapes(80, 1)
    filled = np.isin(y, ["square", "disc"])
    features = trained.transform(X)
    assert features.shape == (80, 64)
    names = trained.get_feature_names_out()
    assert (names[0], names[-1], len(names)) == ("alexnetclassifier0", "alexnetclassifier63", 64)
    assert LogisticRegression(max_iter=1000).fit(features[:40], filled[:40]).score(features[40:], filled[40:]) > 0.85
    with torch.no_grad():
        logits = trained.network_.output(torch.from_numpy(features)).softmax(1)
    np.testing.assert_allclose(logits.numpy(), trained.predict_proba(X), atol=1e-5)


def test_radius_and_place_of_a_disc_are_measured():
    X, y = discs(240, 0)
    regressor = AlexNetRegressor(**NARROW, learning_rate=3e-3, max_epochs=15, batch_size=16).fit(X, y)
    X_test, y_test = discs(80, 1)
    assert regressor.score(X_test, y_test) > 0.9
    assert regressor.predict(X_test).shape == (80, 2)
    np.testing.assert_allclose(regressor.y_mean_, y.mean(0))
    np.testing.assert_allclose(regressor.y_scale_, y.std(0))


def test_what_the_network_sees_is_normalised():
    """The unit of images and of values does not matter; channels have units of their own."""
    X = noise(shape=(2, 32, 34)) * np.array([1.0, 50.0])[:, None, None] + np.array([0.0, 7.0])[:, None, None]
    regressor = tiny(AlexNetRegressor).fit(X, VALUES)
    np.testing.assert_allclose(regressor.x_mean_, X.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(regressor.x_scale_, X.std((0, 2, 3)), rtol=1e-6)
    scaled = tiny(AlexNetRegressor).fit(3 * X + 1, 10 * VALUES - 4)
    np.testing.assert_allclose(scaled.predict(3 * X + 1), 10 * regressor.predict(X) - 4, rtol=1e-3)
    of_constant = tiny(AlexNetRegressor).fit(np.ones((6, 32, 34)), np.full(6, 2.0))
    assert (of_constant.x_scale_, of_constant.y_scale_) == (1, 1)
    assert np.isfinite(of_constant.predict(np.ones((6, 32, 34)))).all()


def test_prediction_is_the_networks():
    """Against the network itself, on images that are large enough and on such that are enlarged."""
    for shape in ((32, 34), (32, 20), (5, 8)):
        X = noise(shape=shape)
        classifier = tiny().fit(X, LABELS)
        x = torch.from_numpy((X - X.mean()) / X.std()).float()[:, None]
        if min(shape) < 32:
            size = tuple(max(32, n) for n in shape)
            x = torch.nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
        assert classifier.network_.image_shape == tuple(x.shape[2:])
        with torch.no_grad():
            expected = classifier.network_(x).softmax(1).numpy()
        np.testing.assert_allclose(classifier.predict_proba(X), expected, rtol=1e-4)


def test_the_network_is_that_of_the_parameters():
    classifier = tiny(dropout=0.25).fit(noise(shape=(3, 40, 33)), LABELS)
    with torch.device("meta"):
        network = AlexNet(3, image_shape=(40, 33), in_channels=3, channels=(2,) * 5, widths=(6, 5, 4), dropout=0.25)
    shapes_of = [{k: v.shape for k, v in one.state_dict().items()} for one in (network, classifier.network_)]
    assert shapes_of[0] == shapes_of[1]
    assert classifier.n_parameters_ == sum(p.numel() for p in network.parameters())


# --------------------------------------------------------------------------------------------------------- X and y


def test_kinds_of_images():
    X = noise(shape=(3, 32, 34))
    stack = tiny().fit(X, LABELS)
    assert (stack.n_channels_, stack.image_shape_, stack.n_features_in_) == (3, (32, 34), 3 * 32 * 34)
    flat = tiny(image_shape=(32, 34)).fit(X.reshape(6, -1), LABELS)
    source = tiny().fit(ArraySource(X, axes=("slices", "channels", "rows", "columns")), LABELS)
    assert same_training(stack, flat) and same_training(stack, source)
    np.testing.assert_array_equal(flat.predict_proba(X.reshape(6, -1)), stack.predict_proba(X))
    grey = tiny().fit(X[:, 0], LABELS)
    assert grey.n_channels_ == 1 and same_training(grey, tiny().fit(X[:, :1], LABELS))
    np.testing.assert_array_equal(grey.predict(ArraySource(X[:, 0])), grey.predict(X[:, :1]))
    with pytest.raises(ValueError, match=r"X must hold images of shape \(3, 32, 34\) .* as in fit; got \(1, 32, 34\)"):
        stack.predict(X[:, 0])
    with pytest.raises(ValueError, match=r"X must hold images of shape \(1, 32, 34\) .* as in fit; got \(1, 34, 32\)"):
        grey.predict(X[:, 0].swapaxes(1, 2))
    with pytest.raises(ValueError, match=r"image_shape=\(32, 33\) makes 1056 values; X has 3264 features"):
        tiny(image_shape=(32, 33)).fit(X.reshape(6, -1), LABELS)
    broken = X[:, 0].copy()
    broken[4, 3, 2] = np.nan
    with pytest.raises(ValueError, match="samples from 0 on, must be finite; got 1 NaN"):
        grey.predict(ArraySource(broken))


@pytest.mark.parametrize(
    "labels",
    [[3, 1, 3, 7, 1, 7], [2.0, -1.0, 2.0, 3.0, -1.0, 3.0], LABELS, LABELS.astype(object), [True, False] * 3],
)
def test_labels_of_any_kind(tmp_path, labels):
    X = noise()
    classifier = tiny().fit(X, labels)
    np.testing.assert_array_equal(classifier.classes_, np.unique(labels))
    assert set(classifier.predict(X)) <= set(labels)
    classifier.save(tmp_path / "model.tomo")
    loaded = tomolearn.load(tmp_path / "model.tomo")
    np.testing.assert_array_equal(loaded.predict(X), classifier.predict(X))
    np.testing.assert_array_equal(loaded.classes_, classifier.classes_)
    assert same_training(tiny().fit(X, np.unique(labels, return_inverse=True)[1]), classifier)


def test_values_keep_their_shape():
    X = noise()
    assert tiny(AlexNetRegressor).fit(X, VALUES).predict(X).shape == (6,)
    assert tiny(AlexNetRegressor).fit(X, VALUES[:, None]).predict(X).shape == (6, 1)
    assert tiny(AlexNetRegressor).fit(X, np.arange(12).reshape(6, 2)).predict(X).shape == (6, 2)
    single = tiny(AlexNetRegressor).fit(X[:1], VALUES[:1])
    assert single.predict(X).dtype == np.float64 and single.predict(X.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "y", "error", "message"),
    [
        (AlexNetClassifier, None, ValueError, "requires y to be passed, but the target y is None"),
        (AlexNetClassifier, ["a"] * 6, ValueError, "at least two classes; got one class only, .*'a'.*, in 6 images"),
        (AlexNetClassifier, [0, 1, 0, 1, np.nan, 0], ValueError, "y must hold labels; got NaN or infinite values"),
        (AlexNetClassifier, [0, 1, 0, 1, np.inf, 0], ValueError, "y must hold labels; got NaN or infinite values"),
        (AlexNetClassifier, np.array([0, 1, 0, 1, np.nan, 0], object), ValueError, "y must hold labels; got NaN"),
        (AlexNetClassifier, VALUES, ValueError, "Unknown label type: continuous"),
        (AlexNetClassifier, np.array(["a", 1, "a", 1, "a", 1], object), TypeError, "labels of one kind; got int, str"),
        (AlexNetClassifier, LABELS[:5], ValueError, r"y must have shape \(6,\), one label for each image; got \(5,\)"),
        (
            AlexNetClassifier,
            np.ones((6, 32, 34)),
            ValueError,
            r"y must have shape \(6,\), one label for each image; got \(6, 32, 34\)",
        ),
        (AlexNetRegressor, None, ValueError, "requires y to be passed, but the target y is None"),
        (AlexNetRegressor, LABELS, ValueError, "y must hold numbers; got dtype <U1"),
        (AlexNetRegressor, 1j * VALUES, ValueError, "y must be real; got complex numbers"),
        (AlexNetRegressor, [0, 1, 2, 3, np.nan, 5], ValueError, "y must be finite; got NaN"),
        (AlexNetRegressor, VALUES[:5], ValueError, r"y must have shape \(6,\) or \(6, n_outputs\).*; got \(5,\)"),
        (AlexNetRegressor, np.ones((6, 2, 2)), ValueError, r"y must have shape \(6,\) .*; got \(6, 2, 2\)"),
        (AlexNetRegressor, np.ones((6, 0)), ValueError, r"y must have shape \(6,\) .*; got \(6, 0\)"),
    ],
)
def test_targets_that_do_not_do(kind, y, error, message):
    estimator = tiny(kind)
    with pytest.raises(error, match=message):
        estimator.fit(noise(), y)
    assert not hasattr(estimator, "network_")


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"channels": (2, 2)}, ValueError, "channels must be 5 positive integers"),
        ({"widths": (2, 2, 0)}, ValueError, r"widths\[2\] must be an integer >= 1"),
        ({"dropout": 1.5}, ValueError, r"dropout must be a number in \[0, 1\]; got 1.5"),
        ({"class_weight": "even"}, ValueError, "class_weight must be a dict of labels and factors, 'balanced' or None"),
        ({"class_weight": {"a": 1, "b": -1, "c": 1}}, ValueError, r"finite factors >= 0.*; got \[1.0, -1.0, 1.0\] for"),
        ({"class_weight": {"a": 0, "b": 0, "c": 0}}, ValueError, "finite factors >= 0, one of them above 0"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer >= 1"),
    ],
)
def test_parameters_out_of_range(parameters, error, message):
    with pytest.raises(error, match=message):
        tiny(**parameters).fit(noise(), LABELS)


def test_memory_is_refused_in_advance(monkeypatch):
    with pytest.raises(MemoryBudgetError, match=r"6 images of shape \(32, 34\) have [\d,]+ parameters .* lower widths"):
        tiny(widths=(10**7, 10**7, 10)).fit(noise(), LABELS)
    # 100 images of 30 x 32 x 96 values after the first convolution alone
    monkeypatch.setattr("tomolearn.base.memory.available_memory", lambda: 4 * 100 * 30 * 32 * 96)
    with pytest.raises(MemoryBudgetError, match=r"the features of 100 images.*batch_size"):
        tiny(channels=(96, 2, 2, 2, 2), batch_size=100).fit(noise(120), np.arange(120) % 2)
    classifier = tiny().fit(noise(), LABELS)
    monkeypatch.setattr("tomolearn.base.memory.available_memory", lambda: 1000)
    with pytest.raises(MemoryBudgetError, match=r"the features of 6 images of shape \(32, 34\) need"):
        classifier.predict(noise())


# ------------------------------------------------------------------------------------------------------ the training


def test_class_weights():
    X, y = noise(12), np.array([0] * 9 + [5] * 3)
    balanced = tiny(class_weight="balanced", early_stopping=False).fit(X, y)
    np.testing.assert_allclose(balanced.class_weight_, [12 / 18, 12 / 6])
    given = tiny(class_weight={0: 12 / 18, 5: 12 / 6}, early_stopping=False).fit(X, y)
    assert same_training(balanced, given)
    plain = tiny(early_stopping=False).fit(X, y)
    assert plain.class_weight_.tolist() == [1, 1] and not same_training(balanced, plain)
    # One batch, so that the loss of the epoch is that of the weights before the step.
    whole = {"early_stopping": False, "max_epochs": 1, "batch_size": 12}
    one = tiny(class_weight={0: 0.0, 5: 3.0}, **whole).fit(X, y)
    before = tiny(learning_rate=1e-30, **whole).fit(X, y).network_.train()
    with torch.no_grad():
        output = before(torch.from_numpy((X - X.mean()) / X.std()).float()[:, None])
        losses = torch.nn.functional.cross_entropy(output, torch.from_numpy(y) // 5, reduction="none")
    assert one.history_["loss"][0] == pytest.approx(3 * float(losses[9:].sum()) / 12, rel=1e-3)


def test_validation_has_its_share_of_each_class():
    y = np.array([0] * 40 + [1] * 20 + [2] * 10 + [3])
    classifier = tiny(validation_fraction=0.3)
    X = classifier._check_images(noise(71), reset=True)
    classifier.n_channels_ = 1
    samples = classifier._samples(X, classifier._learn_targets(y, 71))
    for seed in range(20):
        learned, held = (
            np.concatenate([part[1].numpy() for part, _ in some.in_order()])
            for some in classifier._split(samples, seed)
        )
        assert sorted([*learned, *held]) == y.tolist() and 3 in learned
        counts = np.bincount(held.astype(int), minlength=4)
        assert (np.abs(counts[:3] - [12, 6, 3]) <= 1).all()
    alone = tiny(validation_fraction=0.9).fit(noise(2), [0, 1])  # nothing can be held back
    assert "val_loss" not in alone.history_


def test_validation_samples_are_those_given():
    X = noise(12)
    y = np.tile(LABELS, 2)
    held = tiny().fit(X[:6], y[:6], X_val=X[6:], y_val=y[6:])
    loss = -np.log(held.predict_proba(X[6:])[np.arange(6), np.searchsorted(held.classes_, y[6:])]).mean()
    assert min(held.history_["val_loss"]) == pytest.approx(loss, rel=1e-4)
    for arguments, message in (
        ({"X_val": X}, "X_val and y_val go together"),
        (
            {"X_val": X, "y_val": ["d"] * 12},
            r"y_val must hold labels that are in y too, \['a', 'b', 'c'\]; got \['d'\]",
        ),
        ({"X_val": X[:, 1:], "y_val": y}, "in X_val: X must hold images of shape"),
        ({"X_val": X, "y_val": y[1:]}, r"y_val must have shape \(12,\), one label for each image; got \(11,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny().fit(X, y, **arguments)
    with pytest.raises(ValueError, match=r"y_val must have shape \(6,\), with the outputs of y; got \(6, 2\)"):
        tiny(AlexNetRegressor).fit(X[:6], VALUES, X_val=X[6:], y_val=np.ones((6, 2)))


def test_flips_are_the_eight_of_a_square():
    image = torch.arange(9.0).reshape(3, 3)
    turned, targets = random_flips(image.expand(400, 1, 3, 3), torch.arange(400))
    assert torch.equal(targets, torch.arange(400))
    assert {tuple(one.flatten().tolist()) for one in turned} == {
        tuple(torch.rot90(start, k).flatten().tolist()) for start in (image, image.T) for k in range(4)
    }
    oblong, _ = random_flips(torch.arange(6.0).reshape(2, 3).expand(99, 2, 3), torch.zeros(99))
    assert oblong.shape == (99, 2, 3) and len({tuple(one.flatten().tolist()) for one in oblong}) == 4
    X = noise(8)
    plain, flipped = (tiny(flips=flips).fit(X, np.arange(8) % 2) for flips in (False, True))
    assert not torch.equal(weights(plain), weights(flipped))


def test_warm_start_and_checkpoints(tmp_path):
    X = noise()
    warm = tiny(warm_start=True).fit(X, LABELS)
    before = weights(warm)
    warm.fit(X, LABELS)
    assert not torch.equal(weights(warm), before)
    assert warm.fit(X, np.arange(6) % 2).network_.output.out_features == 2  # another network: begun anew
    checkpoint = tmp_path / "c.pt"
    tiny(max_epochs=1).fit(X, LABELS, checkpoint=checkpoint)
    assert same_training(tiny(max_epochs=3).fit(X, LABELS, checkpoint=checkpoint), tiny(max_epochs=3).fit(X, LABELS))


def test_pipeline_of_features(trained):
    X, y = shapes(40, 2)
    frozen = pytest.importorskip("sklearn.frozen").FrozenEstimator(trained)
    pipeline = make_pipeline(frozen, LogisticRegression(max_iter=1000)).fit(X, y)
    assert pipeline.score(*shapes(40, 1)) > 0.9


# --------------------------------------------------------------------------------------------------------- the files


def test_files_pickles_and_copies_hold_all(tmp_path):
    X = noise()
    path = tmp_path / "model.tomo"
    classifier = tiny(class_weight={"a": 1.0, "b": 2.0, "c": 3.0}).fit(X, LABELS)
    regressor = tiny(AlexNetRegressor).fit(X, VALUES)
    for estimator in (classifier, regressor):
        estimator.save(path)
        for twin in (tomolearn.load(path), pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)):
            assert type(twin) is type(estimator) and twin.get_params() == estimator.get_params()
            np.testing.assert_array_equal(twin.predict(X), estimator.predict(X))
            np.testing.assert_array_equal(twin.transform(X), estimator.transform(X))
            assert same_training(twin, estimator)
        assert not hasattr(clone(estimator), "network_")
    numbered = tiny(class_weight={3: 1.0, 5: 2.0}).fit(X, [3, 5] * 3)
    numbered.save(path)
    assert tomolearn.load(path).class_weight == {3: 1.0, 5: 2.0} and numbered.class_weight == {3: 1.0, 5: 2.0}


def state(**changes):
    return lambda parts: parts["state"].update(changes)


def config(**changes):
    def change(parts):
        name, values = parts["state"]["network_config_"]
        parts["state"]["network_config_"] = (name, values | changes)

    return change


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (AlexNetClassifier, state(image_shape_=(32, -34)), "must hold image_shape_, two positive integers"),
        (AlexNetClassifier, state(image_shape_=None), "must hold image_shape_, two positive integers"),
        (AlexNetClassifier, state(n_channels_=0), "must hold image_shape_, .* and n_channels_, one; got"),
        (AlexNetClassifier, state(n_features_in_=3), "must hold n_features_in_, the 1088 values"),
        (AlexNetClassifier, state(x_mean_=0.0), "must hold x_mean_, 1 finite numbers; got 0.0"),
        (AlexNetClassifier, state(x_scale_=np.zeros(1)), "must hold x_scale_, 1 finite numbers above zero"),
        (AlexNetClassifier, state(x_mean_=np.array([np.nan])), "must hold x_mean_, 1 finite numbers; got array"),
        (
            AlexNetClassifier,
            state(classes_=np.array(["b", "a", "c"])),
            "must hold classes_, two or more labels",
        ),
        (AlexNetClassifier, state(classes_=np.array(["a"])), "must hold classes_, two or more labels"),
        (AlexNetClassifier, state(classes_=3), "labels in order; got 3"),
        (
            AlexNetClassifier,
            state(classes_=np.array(["a", "b"]), class_weight_=np.ones(2)),
            r"n_outputs=2.*n_outputs=3",
        ),
        (AlexNetClassifier, state(class_weight_=np.ones(2)), "must hold class_weight_, 3 finite numbers"),
        (AlexNetClassifier, config(image_shape=(10**9, 10**9)), "cannot be built|has shape"),
        (AlexNetClassifier, config(widths=(10**9, 10**9, 10**9)), "cannot be built|has shape"),
        (AlexNetClassifier, config(channels=(1,) * 10**5), "too few for channels"),
        (AlexNetClassifier, config(in_channels=2), "has shape"),
        (AlexNetRegressor, state(target_shape_=(2,)), "must hold y_mean_, 2 finite numbers"),
        (AlexNetRegressor, state(target_shape_=(1, 1)), "must hold target_shape_, none or one positive integer"),
        (AlexNetRegressor, state(target_shape_=7), "must hold target_shape_, none or one positive integer; got 7"),
        (AlexNetRegressor, state(y_scale_=-np.ones(1)), "must hold y_scale_, 1 finite numbers above zero"),
    ],
)
def test_what_neither_can_hold_is_refused(tmp_path, kind, change, message):
    path = tmp_path / "hostile.tomo"
    tiny(kind).fit(noise(), LABELS if kind is AlexNetClassifier else VALUES).save(path)
    parts = {key: copy.deepcopy(value) for key, value in read_model(path)._asdict().items() if key != "version"}
    change(parts)
    write_model(path, **parts)
    with pytest.raises(FileFormatError, match=message):
        tomolearn.load(path)

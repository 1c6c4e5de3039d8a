"""UNetSegmenter: tiles, files, model files, resumed and continued trainings, mistakes."""

import json
import pickle
import re

import h5py
import numpy as np
import pytest
import tifffile
import torch
from segmenters import halves, shapes, small, weights
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

import tomolearn
from tomolearn import FBPReconstructor, TomoGANDenoiser, radon
from tomolearn.exceptions import FileFormatError, MemoryBudgetError
from tomolearn.training import Engine, StopAfter

# ------------------------------------------------------------------------------------------------ tiles and files


@pytest.mark.parametrize("parameters", [{}, {"n_levels": 4, "pools": ((2, 2), (1, 2), (2, 2))}, {"n_adjacent": 3}])
def test_tiles_are_the_whole(parameters):
    images, masks = shapes(2)
    segmenter = small(normalization="batch", **parameters).fit(images, masks)
    large = np.random.default_rng(1).random((2, 91, 150), dtype=np.float32)
    whole = segmenter.predict_proba(large)
    segmenter.set_params(tile_shape=(48, 80))
    np.testing.assert_allclose(segmenter.predict_proba(large), whole, atol=1e-5)
    sure = np.abs(np.sort(whole)[..., -1] - np.sort(whole)[..., -2]) > 1e-4
    np.testing.assert_array_equal(segmenter.predict(large)[sure], whole.argmax(-1)[sure])


def test_volumes_are_labelled_from_file_to_file(tmp_path):
    images, masks = shapes(2)
    segmenter = small(class_names={0: "air", 3: "disc"}, n_adjacent=3).fit(images, masks)
    tifffile.imwrite(tmp_path / "images.tif", images, photometric="minisblack")
    options = {"probabilities": tmp_path / "p.h5", "overlays": tmp_path / "pictures"}
    path = segmenter.predict_volume(tmp_path / "images.tif", tmp_path / "labels.tif", **options)
    labels = tifffile.imread(path)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, segmenter.predict(images))
    facts = json.loads(tifffile.TiffFile(path).pages[0].description)
    assert facts["classes"] == [0, 1, 2, 3, 4] and facts["class_names"] == ["air", "1", "2", "disc", "4"]
    found = []
    with h5py.File(tmp_path / "p.h5") as file:
        file.visititems(lambda name, item: found.append(item[()]) if getattr(item, "ndim", 0) == 4 else None)
    np.testing.assert_allclose(found[0], segmenter.predict_proba(images), atol=1e-6)
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [picture.name for picture in pictures] == [f"labels_{k:05d}.png" for k in range(2)]
    import matplotlib.image

    assert matplotlib.image.imread(pictures[0]).shape[:2] == (600, 1200)
    other = segmenter.predict_volume(images, tmp_path / "again.npy")  # without probabilities: the same labels
    np.testing.assert_array_equal(np.load(other), labels)
    with pytest.raises(FileExistsError):
        segmenter.predict_volume(images, tmp_path / "again.npy")


def test_labels_beyond_uint8_have_a_type_that_holds_them(tmp_path):
    images, masks = halves(2)
    for labels, dtype in (((-1, 3), np.int8), ((7, 300), np.uint16)):
        segmenter = small(max_epochs=1).fit(images, np.array(labels)[masks])
        found = np.load(segmenter.predict_volume(images, tmp_path / f"{labels[0]}.npy"))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, segmenter.predict(images))


def test_files_are_learned_from_as_arrays_are(tmp_path):
    images, masks = shapes(3)
    for kind, stack in (("imgs", images), ("masks", masks)):
        (tmp_path / kind).mkdir()
        for k, image in enumerate(stack):
            tifffile.imwrite(tmp_path / kind / f"{kind[:-1]}_{k}.tif", image)
    of_folders = small().fit(tmp_path / "imgs", tmp_path / "masks")
    of_arrays = small().fit(images, masks)
    assert torch.equal(weights(of_folders), weights(of_arrays))
    assert of_folders.image_shape_ == (48, 48) and of_folders.n_features_in_ == 48**2
    lists = [[str(path) for path in sorted((tmp_path / kind).iterdir())] for kind in ("imgs", "masks")]
    assert torch.equal(weights(small().fit(*lists)), weights(of_arrays))
    volume = small(n_adjacent=3).fit(tmp_path / "imgs", tmp_path / "masks")
    assert torch.equal(weights(volume), weights(small(n_adjacent=3).fit(images, masks)))
    (tmp_path / "masks" / "mask_1.tif").unlink()
    with pytest.raises(ValueError, match="img_1"):
        small().fit(tmp_path / "imgs", tmp_path / "masks")


def test_labels_are_given_for_whatever_images_come_as():
    images, masks = halves()
    segmenter = small(image_shape=(32, 40)).fit(images, masks)
    labels = segmenter.predict(images)
    for other in (images.reshape(3, -1), images.astype(np.float64), images[::-1].copy()[::-1], images.tolist()):
        np.testing.assert_array_equal(np.reshape(segmenter.predict(other), labels.shape), labels)
    assert segmenter.predict(images.reshape(3, -1)).shape == (3, 32 * 40)
    assert segmenter.score(images.reshape(3, -1), masks.reshape(3, -1)) == segmenter.score(images, masks)
    with pytest.raises(NotFittedError, match="This UNetSegmenter instance is not fitted yet"):
        small().predict(images)
    with pytest.raises(ValueError, match="must be finite; got 1 NaN"):
        segmenter.predict(np.where(images == images[1, 2, 3], np.nan, images))
    with pytest.raises(ValueError, match="X has 1279 features, but UNetSegmenter is expecting 1280"):
        segmenter.predict(images.reshape(3, -1)[:, 1:])


# --------------------------------------------------------------------------------------- models, further trainings


def test_files_of_models(tmp_path):
    images, masks = shapes(2)
    names = {label: name for label, name in enumerate(("air", "square", "frame", "disc", "ring"))}
    segmenter = small(class_weight={0: 0.5, 4: 2.0}, class_names=names, patch_range=[0, 1, 2, 3, 4, 5, 6, 7]).fit(
        images, masks
    )
    assert segmenter.class_names_ == tuple(names.values())
    segmenter.save(tmp_path / "model.safetensors")
    loaded = tomolearn.load(tmp_path / "model.safetensors")
    assert loaded.get_params() == segmenter.get_params() and loaded.class_names_ == segmenter.class_names_
    assert loaded.classes_.dtype == segmenter.classes_.dtype
    for other in (loaded, pickle.loads(pickle.dumps(segmenter))):
        np.testing.assert_array_equal(other.predict_proba(images), segmenter.predict_proba(images))
    for change, message in (
        ({"classes_": np.array([0, 0, 1, 2, 3])}, "must hold classes_, at least two whole numbers in ascending"),
        ({"classes_": np.arange(4), "class_names_": ("a",) * 4}, "the network of a UNetSegmenter must be"),
        ({"x_scale_": 0.0}, "must hold x_scale_ above zero"),
    ):
        broken = pickle.loads(pickle.dumps(segmenter))
        vars(broken).update(change)
        broken.save(tmp_path / "broken.safetensors")
        with pytest.raises(FileFormatError, match=message):
            tomolearn.load(tmp_path / "broken.safetensors")


class StopIn(StopAfter):
    """Stops within an epoch."""

    def __init__(self, steps):
        super().__init__(1e9)
        self.steps = steps

    def on_step_end(self, engine):
        engine.stop = engine.n_done == self.steps


@pytest.mark.parametrize("parameters", [{}, {"overlap": 4, "oversample_rare": 0.3}])
def test_a_resumed_training_ends_alike(parameters, tmp_path):
    images, masks = shapes(2)
    unbroken = small(max_epochs=3, **parameters).fit(images, masks)
    for stop in ([StopIn(5)], []):
        resumed = small(max_epochs=3, **parameters).fit(
            images, masks, checkpoint=tmp_path / "training.pt", callbacks=stop
        )
    assert torch.equal(weights(resumed), weights(unbroken))
    assert resumed.history_["val_loss"] == unbroken.history_["val_loss"]


def test_partial_fit_goes_on_with_what_was_learned():
    images, masks = halves(4)
    segmenter = small(learning_rate=1e-2)
    for k in range(4):
        segmenter.partial_fit(images[k : k + 1], masks[k : k + 1], n_epochs=6)
        if k == 0:
            normalization = segmenter.x_mean_, segmenter.x_scale_
    assert (segmenter.x_mean_, segmenter.x_scale_) == normalization and segmenter.n_epochs_ == 24
    assert segmenter.score(images, masks) > 0.95
    assert segmenter.get_params() == small(learning_rate=1e-2).get_params()
    first = small().partial_fit(images[:2], np.zeros_like(masks[:2]) + masks[:2], classes=[0, 1, 7])
    assert first.classes_.tolist() == [0, 1, 7] and first.predict_proba(images).shape[-1] == 3
    before = weights(first)
    first.partial_fit(images, np.where(masks == 1, 7, 0))
    assert not torch.equal(weights(first), before)
    with pytest.raises(ValueError, match=r"\[5\]|5"):
        first.partial_fit(images, masks + 4)
    with pytest.raises(ValueError, match=r"classes must be the classes_ of the first fit, \[0, 1, 7\]; got \[0, 1\]"):
        first.partial_fit(images, masks, classes=[0, 1])
    of_one = [small(early_stopping=False, max_epochs=2).fit(images, masks), small().partial_fit(images, masks)]
    assert of_one[1].n_epochs_ == 1 and of_one[1].history_["loss"][0] == of_one[0].history_["loss"][0]


def test_warm_start_begins_with_the_weights_before():
    images, masks = halves(3)
    warm = small(warm_start=True, learning_rate=1e-2).fit(images, masks)
    losses = warm.history_["loss"][0], warm.fit(images, masks).history_["loss"][0]
    assert losses[1] < losses[0]


def test_pipelines_reconstruct_denoise_and_label():
    clean, masks = shapes(4, 32, noise=0, n_shapes=4)
    angles = np.linspace(0, np.pi, 40, endpoint=False)
    sinograms = radon(clean, angles)
    sinograms += np.random.default_rng(0).normal(0, 0.3, sinograms.shape).astype(np.float32)
    fbp = FBPReconstructor(angles=angles, image_shape=(32, 32))
    noisy = fbp.fit(sinograms).predict(sinograms)
    denoiser = TomoGANDenoiser(
        adversarial_weight=0, perceptual_weight=0, patch_shape=(32, 32), max_epochs=1, random_state=0
    ).fit(noisy, clean)
    segmenter = small(patch_shape=(32, 32))
    pipeline = make_pipeline(fbp, FrozenEstimator(denoiser), segmenter).fit(sinograms, masks)
    alone = clone(segmenter).fit(denoiser.predict(noisy), masks)
    assert torch.equal(weights(pipeline[-1]), weights(alone))
    np.testing.assert_array_equal(pipeline.predict(sinograms), alone.predict(denoiser.predict(noisy)))
    assert pipeline.score(sinograms, masks) == alone.score(denoiser.predict(noisy), masks)
    with pytest.raises(ValueError, match="looks like labels.*FrozenEstimator"):
        make_pipeline(fbp, clone(denoiser), segmenter).fit(sinograms, masks)


# ------------------------------------------------------------------------------------------------------- mistakes

MISTAKES = [
    ({"n_levels": 0}, "n_levels must be"),
    ({"base_channels": 0}, "base_channels must be"),
    ({"pools": ((2, 2), (2, 2))}, "pools must be"),
    ({"n_adjacent": 2}, "n_adjacent must be odd"),
    ({"loss": "hinge"}, "loss must be one of"),
    ({"class_weight": {5: 2.0}}, r"class_weight must name labels of the masks, \[0, 1\]; got \[5\]"),
    ({"class_weight": "auto"}, "class_weight must be None, 'balanced', or a dict"),
    ({"class_weight": {0: 0.0, 1: 0.0}}, "class_weight must hold a weight above 0"),
    ({"class_weight": {"one": 2.0}}, "the keys of class_weight and class_names must be labels"),
    ({"class_weight": {1: 2.0}, "loss": "dice"}, "class_weight must be None with loss='dice' for two labels"),
    ({"class_names": ("a", "b", "c")}, r"class_names must be 2 strings, one for each of \[0, 1\]"),
    ({"class_names": {4: "d"}}, "class_names must name labels of the masks"),
    ({"patch_shape": (64, 16)}, "patch_shape"),
    ({"patch_range": []}, "patch_range"),
    ({"oversample_rare": 2.0}, "oversample_rare must be"),
    ({"ignore_label": 0.5}, "ignore_label must be"),
    ({"flips": 1}, "flips must be True or False"),
    ({"tile_shape": (0, 3)}, r"tile_shape\[0\] must be"),
    ({"validation_fraction": 1.0}, "validation_fraction must be"),
]


@pytest.mark.parametrize(("parameters", "message"), MISTAKES)
def test_parameters_out_of_range_are_named(parameters, message):
    with pytest.raises((ValueError, TypeError), match=message):
        small(**parameters).fit(*halves())


def test_data_that_do_not_go_together_are_named():
    X, y = halves()
    for masks, message in (
        (None, "requires y to be passed"),
        (y[:2], re.escape("y must have shape (3, 32, 40)")),
        (y[:, 1:], re.escape("y must have shape (3, 32, 40)")),
        (np.zeros_like(y), "at least two labels to tell apart; got one class, 0"),
        (X, "y must hold labels, which are whole numbers; got float32 with fractions"),
        (np.where(y == 1, np.nan, 0.0), "y must hold labels, which are whole numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            small().fit(X, masks)
    with pytest.raises(ValueError, match="must be finite"):
        small().fit(np.where(X == X[1, 2, 3], np.nan, X), y)
    with pytest.raises(ValueError, match="ignore_label=1"):
        small(ignore_label=1).fit(X, y)
    with pytest.raises(ValueError, match="X_val and y_val go together"):
        small().fit(X, y, X_val=X)
    with pytest.raises(ValueError, match="weight_map must have shape"):
        small().fit(X, y, weight_map=np.ones((3, 5, 5)))
    with pytest.raises(ValueError, match="not negative"):
        small().fit(X, y, weight_map=-np.ones(y.shape))
    with pytest.raises(ValueError, match="in X_val and y_val: .*y_val must have shape"):
        small().fit(X, y, X_val=X, y_val=y[:2])
    with pytest.raises(MemoryBudgetError, match="Lower batch_size or patch_shape"):
        small(batch_size=10**9).fit(X, y)
    segmenter = small(max_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match=r"y must hold labels of classes_ \[0, 1\]; got \[2, 3, 4, 5, 6\] and 3 more"):
        segmenter.score(X, np.arange(3 * 32 * 40).reshape(y.shape) % 10)


def test_small_images_make_small_patches_unless_they_are_asked_for():
    X, y = halves(2, (20, 30))
    assert small(patch_shape=None, max_epochs=1).fit(X, y).predict(X).shape == (2, 20, 30)
    with pytest.raises(ValueError, match="patch_shape"):
        small(patch_shape=(24, 16)).fit(X, y)


def test_the_memory_of_a_batch_is_about_what_is_estimated(monkeypatch):
    """What autograd keeps for the gradient, counted once per piece of memory."""
    X, y = halves(2, (64, 64))
    kept, most = {}, [0]

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        most[0] = max(most[0], sum(kept.values()))
        return tensor

    step = Engine.step

    def step_and_forget(engine, name, loss):
        step(engine, name, loss)
        kept.clear()

    monkeypatch.setattr(Engine, "step", step_and_forget)
    options = {"patch_shape": (64, 64), "batch_size": 2, "early_stopping": False, "max_epochs": 1}
    for parameters in ({"n_levels": 3, "base_channels": 16}, {"n_levels": 4, "pools": ((2, 2), (1, 2), (2, 2))}):
        segmenter, most[0] = small(**options, **parameters), 0
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            segmenter.fit(X, y)
        assert 0.7 < most[0] / (4 * 2 * 64 * 64) / segmenter._kept_copies() < 1.4

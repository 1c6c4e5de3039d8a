"""The learned denoisers: what they learn from, what they must not see, tiles, files, resumed trainings, messages."""

import pickle
import re

import h5py
import numpy as np
import pytest
import torch
from sklearn.base import clone

import tomolearn
from tomolearn import Noise2SelfDenoiser, VAEDenoiser, psnr
from tomolearn.denoising import EpochPictures
from tomolearn.exceptions import FileFormatError, MemoryBudgetError, TomolearnError
from tomolearn.io import open_pairs, open_volume
from tomolearn.networks import RandomFeatures, TomoGANCritic
from tomolearn.simulation import random_foam, random_shapes
from tomolearn.training import Engine, StopAfter

TRAINING = {"max_epochs": 2, "batch_size": 4, "random_state": 0, "precision": "float32", "patch_shape": (16, 16)}
SMALL = {
    "TomoGANDenoiser": {"perceptual": "random"},
    "VAEDenoiser": {"latent_dim": 4},
    "Noise2SelfDenoiser": {"channels": (4, 6), "spacing": 2},
}


def small(name, **parameters):
    return getattr(tomolearn, name)(**(TRAINING | SMALL[name] | parameters))


def volumes(n=6, shape=(24, 20), noise=0.3):
    """Noisy and clean slices of a foam."""
    clean = random_foam(n, 32, radius_range=(2, 6), random_state=0).volume()[:, : shape[0], : shape[1]].copy()
    return clean + np.random.default_rng(0).normal(0, noise, clean.shape).astype(np.float32), clean


def weights(estimator):
    return torch.cat([value.reshape(-1).double() for value in estimator.network_.state_dict().values()])


# ----------------------------------------------------------------------------------------------- the adversary


def test_weights_of_zero_leave_a_loss_out():
    X, y = volumes()
    none = small("TomoGANDenoiser", adversarial_weight=0, perceptual_weight=0).fit(X, y)
    assert set(none.history_) == {"loss", "pixel_loss", "val_loss", "val_pixel_loss", "learning_rate", "seconds"}
    assert none.history_["loss"] == none.history_["pixel_loss"]
    of_critic = small("TomoGANDenoiser", perceptual_weight=0).fit(X, y)
    of_features = small("TomoGANDenoiser", adversarial_weight=0).fit(X, y)
    assert "critic_loss" in of_critic.history_ and "perceptual_loss" in of_features.history_
    assert not torch.equal(weights(none), weights(of_critic))
    assert not torch.equal(weights(none), weights(of_features))


def test_the_kept_generator_is_that_of_the_best_ssim():
    X, y = volumes()
    denoiser = small("TomoGANDenoiser", max_epochs=4, learning_rate=3e-3).fit(X, y, X_val=X[:2], y_val=y[:2])
    assert denoiser.best_epoch_ == 1 + int(np.argmin(denoiser.history_["val_loss"]))
    images = (denoiser.predict(X[:2]) - denoiser.y_low_) / denoiser.y_scale_
    clean = (y[:2] - denoiser.y_low_) / denoiser.y_scale_
    assert 1 - tomolearn.ssim(clean, images, data_range=1.0) == pytest.approx(
        min(denoiser.history_["val_loss"]), abs=1e-5
    )


def test_critic_with_few_pixels_stays_finite():
    """In bfloat16, single pixels before a strided convolution give gradients that are not numbers."""
    X, y = np.random.default_rng(0).random((2, 20, 3, 3))
    denoiser = small("TomoGANDenoiser", precision="bfloat16", perceptual_weight=0, max_epochs=6).fit(X, y)
    assert all(np.isfinite(values).all() for values in denoiser.history_.values())


# ------------------------------------------------------------------------------------------- neighbours and tiles


def test_windows_are_the_volume_and_ends_are_replicated():
    X, y = volumes()
    denoiser = small("TomoGANDenoiser", n_adjacent=3, perceptual_weight=0, adversarial_weight=0).fit(X, y)
    padded = np.concatenate([X[:1], X, X[-1:]])
    windows = np.stack([padded[i : i + 3] for i in range(len(X))])
    np.testing.assert_allclose(denoiser.predict(windows), denoiser.predict(X), atol=1e-6)
    of_windows = clone(denoiser).fit(windows, y)
    torch.testing.assert_close(weights(of_windows), weights(denoiser))
    alone = denoiser.predict(X[2:3])  # a volume of one slice
    np.testing.assert_allclose(alone, denoiser.predict(np.stack([X[2:3].repeat(3, 0)])), atol=1e-6)


@pytest.mark.parametrize("name", ["TomoGANDenoiser", "Noise2SelfDenoiser"])
def test_tiles_are_the_whole(name):
    X, y = volumes()
    large = np.random.default_rng(1).random((1, 171, 150), dtype=np.float32)
    denoiser = small(name, **({"perceptual_weight": 0} if name == "TomoGANDenoiser" else {})).fit(X, y)
    whole = denoiser.predict(large)
    tiled = denoiser.set_params(tile_shape=(40, 64)).predict(large)
    np.testing.assert_allclose(tiled, whole, atol=1e-5 * np.abs(whole).max())


def test_prediction_in_bfloat16_is_near_that_in_float32():
    X, y = volumes()
    denoiser = small("TomoGANDenoiser", perceptual_weight=0, adversarial_weight=0).fit(X, y)
    exact = denoiser.predict(X)
    images = denoiser.set_params(precision="bfloat16").predict(X)
    assert images.dtype == exact.dtype
    assert 0 < np.abs(images - exact).max() < 2e-2 * denoiser.y_scale_
    assert {value.dtype for value in denoiser.network_.parameters()} == {torch.float32}


def test_compiled_prediction_is_the_same_and_stays_out_of_copies(monkeypatch):
    """Traced as for `torch.compile`, without the C++ compiler, which takes a minute."""
    calls, compile_ = [], torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: (calls.append(self), compile_(self, backend="eager")))
    X, y = volumes()
    denoiser = small("TomoGANDenoiser", perceptual_weight=0, adversarial_weight=0).fit(X, y)
    plain = denoiser.predict(X)
    np.testing.assert_allclose(denoiser.set_params(compile=True).predict(X), plain, atol=1e-6)
    denoiser.predict(X)
    assert calls == [denoiser.network_]
    again = pickle.loads(pickle.dumps(denoiser))
    np.testing.assert_allclose(again.predict(X), plain, atol=1e-6)
    assert calls == [denoiser.network_, again.network_]
    np.testing.assert_array_equal(denoiser.set_params(compile=False).predict(X), plain)


def test_compiling_without_a_compiler_is_refused(monkeypatch, tmp_path):
    X, y = volumes()
    denoiser = small("TomoGANDenoiser", perceptual_weight=0, adversarial_weight=0, compile=True).fit(X, y)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TomolearnError, match=r"compile=True needs a C\+\+ compiler.*compile=False"):
        denoiser.predict(X)
    with pytest.raises(TypeError, match="compile must be True or False; got 1"):
        denoiser.set_params(compile=1).fit(X, y)


def test_files_are_denoised_and_learned_from(tmp_path):
    X, y = volumes(n=8)
    with h5py.File(tmp_path / "pairs.h5", "w") as file:
        file["train_ns"], file["train_gt"] = X, y
    noisy, clean = open_pairs(tmp_path / "pairs.h5")
    denoiser = small("TomoGANDenoiser", n_adjacent=3, perceptual_weight=0)
    of_files, of_arrays = clone(denoiser).fit(noisy, clean), denoiser.fit(X, y)
    torch.testing.assert_close(weights(of_files), weights(of_arrays))
    path = denoiser.predict_volume(noisy, tmp_path / "clean.h5")
    with open_volume(path) as volume:
        np.testing.assert_allclose(volume[:], denoiser.predict(X), atol=1e-6)


# --------------------------------------------------------------------------------------------------- the others


def test_vae_gives_one_result_and_draws_others():
    clean = random_shapes(24, 16, random_state=0)
    noisy = clean + np.random.default_rng(0).normal(0, 0.3, clean.shape).astype(np.float32)
    denoiser = small("VAEDenoiser").fit(noisy, clean)
    np.testing.assert_array_equal(denoiser.predict(noisy), denoiser.predict(noisy))
    Z = denoiser.encode(noisy)
    assert Z.shape == (24, 4)
    np.testing.assert_allclose(denoiser.decode(Z), denoiser.predict(noisy), atol=1e-6)
    drawn = denoiser.sample(200, noisy[:2], random_state=0)
    assert drawn.shape == (200, 2, 16, 16)
    np.testing.assert_array_equal(drawn[:3], denoiser.sample(3, noisy[:2], random_state=0))
    np.testing.assert_allclose(
        denoiser.uncertainty(noisy[:2], 200, random_state=0), drawn.std(0, ddof=1), rtol=1e-4, atol=1e-7
    )
    assert denoiser.sample(5, random_state=0).shape == (5, 16, 16)
    assert denoiser.predict(np.zeros((2, 45, 33), np.float32)).shape == (2, 45, 33)
    with pytest.raises(ValueError, match=r"patch_shape=\(16, 16\); got \(45, 33\). Cut patches"):
        denoiser.encode(np.zeros((2, 45, 33)))
    with pytest.raises(ValueError, match="X must be finite|must be finite"):
        denoiser.encode(np.full((1, 16, 16), np.nan))


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_vae_denoises_with_and_without_clean_images(likelihood):
    clean = random_shapes(256, 16, shape_size=(4, 10), random_state=0)
    noisy = clean + np.random.default_rng(0).normal(0, 0.5, clean.shape).astype(np.float32)
    denoiser = VAEDenoiser(
        patch_shape=(16, 16), latent_dim=8, likelihood=likelihood, max_epochs=12, learning_rate=5e-3, random_state=0
    )
    before = psnr(clean, noisy, data_range=1)
    gains = [psnr(clean, clone(denoiser).fit(noisy, y).predict(noisy), data_range=1) - before for y in (clean, None)]
    assert gains[0] > 4 and gains[1] > 2


def test_vae_loss_is_the_bound_by_hand():
    X, y = np.random.default_rng(0).random((2, 4, 16, 16), dtype=np.float32)
    denoiser = small("VAEDenoiser", likelihood="bernoulli").fit(X, y, X_val=X, y_val=y)
    x = torch.from_numpy((X - denoiser.x_mean_) / denoiser.x_scale_)[:, None]
    target = ((torch.from_numpy(y) - denoiser.y_low_) / denoiser.y_scale_).clamp(0, 1)
    with torch.no_grad():
        mean, log_variance = denoiser.network_.encode(x)
        p = torch.sigmoid(denoiser.network_.decode(mean))[:, 0]
    misfit = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean() / 256
    best = denoiser.history_["val_loss"][denoiser.best_epoch_ - 1]
    assert best == pytest.approx(float(misfit + divergence), rel=1e-4)


def test_hidden_pixels_have_no_part_in_their_result():
    X, _ = volumes()
    for parameters in ({}, {"n_adjacent": 3}, {"mask_radius": 1, "spacing": 4}):
        denoiser = small("Noise2SelfDenoiser", **parameters).fit(X)
        before = denoiser.predict(X)
        changed = X.copy()
        changed[0, 7, 9] += 5  # in the first slice, which stands for its missing neighbour too
        after = denoiser.predict(changed)
        assert after[0, 7, 9] == pytest.approx(before[0, 7, 9], abs=1e-5)
        assert np.abs(after - before).max() > 0.1


def test_noise2self_denoises_without_anything_else():
    clean = random_shapes(12, 48, random_state=0)
    noisy = clean + np.random.default_rng(0).normal(0, 0.3, clean.shape).astype(np.float32)
    denoiser = Noise2SelfDenoiser(channels=(8, 16), batch_size=4, max_epochs=15, random_state=0).fit(noisy)
    assert psnr(clean, denoiser.predict(noisy), data_range=1) > psnr(clean, noisy, data_range=1) + 8


# ------------------------------------------------------------------------------------- trainings, files, mistakes


class StopIn(StopAfter):
    """Stops within an epoch."""

    def __init__(self, steps):
        super().__init__(1e9)
        self.steps = steps

    def on_step_end(self, engine):
        engine.stop = engine.n_done == self.steps


@pytest.mark.parametrize("name", list(SMALL))
def test_a_resumed_training_ends_alike(name, tmp_path):
    X, y = volumes()
    unbroken = small(name, max_epochs=3).fit(X, y)
    for stop in ([StopIn(4)], []):
        resumed = small(name, max_epochs=3).fit(X, y, checkpoint=tmp_path / "training.pt", callbacks=stop)
    assert torch.equal(weights(resumed), weights(unbroken))
    assert resumed.history_["loss"] == unbroken.history_["loss"]


@pytest.mark.parametrize("name", list(SMALL))
def test_files_of_models(name, tmp_path):
    X, y = volumes()
    denoiser = small(name).fit(X, y)
    denoiser.save(tmp_path / "model.safetensors")
    loaded = tomolearn.load(tmp_path / "model.safetensors")
    assert loaded.get_params() == denoiser.get_params()
    np.testing.assert_array_equal(loaded.predict(X), denoiser.predict(X))
    denoiser.y_scale_ = -1.0
    denoiser.save(tmp_path / "broken.safetensors")
    with pytest.raises(FileFormatError, match="y_scale_ above zero"):
        tomolearn.load(tmp_path / "broken.safetensors")
    vars(denoiser).update(y_scale_=1.0, network_config_=("UNet", {"channels": (4, 6), "in_channels": 2}))
    denoiser.network_ = tomolearn.networks.UNet(2, 1, channels=(4, 6))
    denoiser.save(tmp_path / "other.safetensors")
    with pytest.raises(FileFormatError, match=f"the network of a {name} must be"):
        tomolearn.load(tmp_path / "other.safetensors")


def test_pictures_of_epochs(tmp_path):
    import matplotlib.image

    X, y = volumes()
    callback = EpochPictures(tmp_path / "pictures", X[:2], y[:2], every=2)
    unseen = small("TomoGANDenoiser", max_epochs=4, perceptual_weight=0).fit(X, y)
    seen = small("TomoGANDenoiser", max_epochs=4, perceptual_weight=0).fit(X, y, callbacks=[callback])
    assert torch.equal(weights(seen), weights(unseen))
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["epoch-0002.png", "epoch-0004.png"]
    picture = matplotlib.image.imread(tmp_path / "pictures" / "epoch-0004.png")
    assert picture.shape[:2] == (2 * 24, 3 * 20)
    low, high = np.percentile(y[:2], (0.5, 99.5))
    expected = np.clip((np.concatenate(list(y[:2])) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(picture[:, 40:, 0], expected, atol=2 / 250)
    with pytest.raises(ValueError, match="every must be"):
        EpochPictures(tmp_path, X, every=0)


def test_random_features_are_announced(monkeypatch):
    X, y = volumes()

    def missing(name):
        if name == "efficientnet-lite0":
            raise ImportError("its weights are not installed.")
        return RandomFeatures()

    monkeypatch.setattr("tomolearn.denoising.tomogan.load_features", missing)
    with pytest.warns(UserWarning, match=r"random weights: its weights are not installed. perceptual='random' takes"):
        small("TomoGANDenoiser", perceptual="auto", max_epochs=1).fit(X, y)
    with pytest.raises(ImportError, match="not installed"):
        small("TomoGANDenoiser", perceptual="efficientnet-lite0").fit(X, y)


MISTAKES = [
    ("TomoGANDenoiser", {"n_adjacent": 2}, "n_adjacent must be odd"),
    ("TomoGANDenoiser", {"upsampling": "cubic"}, "upsampling must be one of"),
    ("TomoGANDenoiser", {"adversarial": "least-squares"}, "adversarial must be one of"),
    ("TomoGANDenoiser", {"perceptual": "vgg16"}, "perceptual must be one of"),
    ("TomoGANDenoiser", {"perceptual": "vgg19"}, "vgg19_path must be the file.*vgg19-dcbb9e9d.pth"),
    ("TomoGANDenoiser", {"pixel_weight": -1}, "pixel_weight must be"),
    ("TomoGANDenoiser", {"n_critic": 0}, "n_critic must be"),
    ("TomoGANDenoiser", {"pixel_epochs": -1}, "pixel_epochs must be"),
    ("TomoGANDenoiser", {"critic_learning_rate": 0}, "critic_learning_rate must be"),
    (
        "TomoGANDenoiser",
        {"pixel_weight": 0, "adversarial_weight": 0, "perceptual_weight": 0},
        "pixel_weight, adversarial_weight and perceptual_weight must not all be 0",
    ),
    ("VAEDenoiser", {"patch_shape": (18, 16)}, "image_shape must be two multiples of 4"),
    ("VAEDenoiser", {"latent_dim": 0}, "latent_dim must be"),
    ("VAEDenoiser", {"likelihood": "laplace"}, "likelihood must be one of"),
    ("Noise2SelfDenoiser", {"mask_radius": 1}, r"spacing must be at least 2 \* mask_radius \+ 2 = 4.*got 2"),
    ("Noise2SelfDenoiser", {"spacing": 1}, "spacing must be"),
    ("Noise2SelfDenoiser", {"tile_shape": (0, 3)}, r"tile_shape\[0\] must be"),
]


@pytest.mark.parametrize(("name", "parameters", "message"), MISTAKES)
def test_parameters_out_of_range_are_named(name, parameters, message):
    X, y = volumes()
    with pytest.raises((ValueError, TypeError), match=message):
        small(name, **parameters).fit(X, y)


def test_data_that_do_not_go_together_are_named():
    X, y = volumes()
    denoiser = small("TomoGANDenoiser", perceptual_weight=0)
    with pytest.raises(ValueError, match="requires y to be passed"):
        denoiser.fit(X)
    with pytest.raises(ValueError, match=re.escape("y must have shape (6, 24, 20)")):
        denoiser.fit(X, y[:, 1:])
    with pytest.raises(ValueError, match="^y_val must have shape"):
        denoiser.fit(X, y, X_val=X, y_val=y[:2])
    with pytest.raises(ValueError, match="X_val and y_val go together"):
        denoiser.fit(X, y, X_val=X)
    with pytest.raises(ValueError, match="looks like labels.*FrozenEstimator"):
        denoiser.fit(X, (y > 0.5).astype(np.uint8))
    with pytest.raises(ValueError, match="X must be finite|must be finite"):
        denoiser.fit(np.where(X == X[1, 2, 3], np.nan, X), y)
    with pytest.raises(MemoryBudgetError, match="Lower batch_size or patch_shape"):
        denoiser.set_params(batch_size=10**8).fit(X, y)
    critic = TomoGANCritic()
    assert critic(torch.zeros(1, 1, 9, 9)).shape == (1,)


@pytest.mark.parametrize("name", list(SMALL))
def test_the_memory_of_a_batch_is_about_what_is_estimated(name, monkeypatch):
    """What autograd keeps for the gradient, counted once per piece of memory."""
    X, y = np.random.default_rng(0).random((2, 2, 64, 64), dtype=np.float32)
    denoiser = small(name, patch_shape=(64, 64), batch_size=2, early_stopping=False, max_epochs=1)
    denoiser.set_params(**({"channels": (32, 64, 128)} if name == "Noise2SelfDenoiser" else {}))
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
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        denoiser.fit(X, y)
    copies = most[0] / (4 * 2 * 64 * 64)
    assert 0.6 < copies / denoiser._kept_copies() < 1.6

"""Training and prediction on a CUDA device; skipped where there is none."""

import numpy as np
import pytest
import torch
from learned import SMALL, pairs, small, weights

import tomolearn
from tomolearn.training import StopAfter

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

TRAINING = {"max_epochs": 2, "batch_size": 4, "random_state": 0, "precision": "float32", "early_stopping": False}
DENOISERS = {
    "TomoGANDenoiser": {"perceptual": "random", "patch_shape": (32, 32)},
    "VAEDenoiser": {"latent_dim": 4, "patch_shape": (16, 16)},
    "Noise2SelfDenoiser": {"channels": (4, 6), "patch_shape": (16, 16)},
}
# Their networks hold the projector, of which there is no CUDA version yet.
WITHOUT_PROJECTOR = [name for name in SMALL if name not in ("IRadonMAPReconstructor", "LearnedPrimalDualReconstructor")]


def noisy_images(n=6, size=48):
    clean = tomolearn.simulation.random_foam(n, size, random_state=0).volume()
    return clean + np.random.default_rng(1).normal(0, 0.3, clean.shape).astype(np.float32), clean


def on_both(estimator, X, tmp_path):
    """Predictions on the GPU and, of the saved file, on the processor."""
    assert next(estimator.network_.parameters()).device.type == "cuda"
    here = estimator.predict(X)
    estimator.save(tmp_path / "model.tomo")
    return here, tomolearn.load(tmp_path / "model.tomo").set_params(device="cpu").predict(X)


def close(a, b):
    return np.linalg.norm(a - b) <= 2e-3 * np.linalg.norm(b)  # float32 of a GPU may multiply in tf32


@pytest.mark.parametrize("name", WITHOUT_PROJECTOR)
def test_reconstructors_train_on_the_gpu_and_predict_the_same_on_both(name, tmp_path):
    X, y = pairs(16)
    estimator = small(name, device="cuda").fit(X, y)
    assert np.isfinite(estimator.history_["loss"]).all()
    assert close(*on_both(estimator, X, tmp_path))


@pytest.mark.parametrize("name", DENOISERS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_denoisers_train_on_the_gpu_and_predict_the_same_on_both(name, precision, tmp_path):
    X, y = noisy_images()
    estimator = getattr(tomolearn, name)(**TRAINING | DENOISERS[name] | {"precision": precision}, device="cuda")
    estimator.fit(X, y)
    estimator.set_params(precision="float32")
    assert close(*on_both(estimator, X, tmp_path))


def test_noise2inverse_trains_on_the_gpu_and_predicts_the_same_on_both(tmp_path):
    X, _ = pairs(4, sinogram_shape=(24, 32))
    parameters = TRAINING | {"channels": (4, 6), "patch_shape": (16, 16), "check_projections": False}
    estimator = tomolearn.Noise2InverseReconstructor(**parameters, device="cuda").fit(X)
    assert close(*on_both(estimator, X, tmp_path))


def test_a_training_that_was_broken_off_goes_on_as_if_it_had_not(tmp_path):
    # A network whose gradients a GPU adds up in one order; its input noise comes from the GPU's generator.
    X, y = pairs(16)
    deterministic = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        whole = small("AutomapReconstructor", device="cuda", max_epochs=4).fit(X, y)
        broken, checkpoint = small("AutomapReconstructor", device="cuda", max_epochs=4), tmp_path / "state.pt"
        broken.fit(X, y, checkpoint=checkpoint, callbacks=[StopAfter(0.0)])
        assert broken.n_epochs_ < 4
        broken.fit(X, y, checkpoint=checkpoint)
    finally:
        torch.backends.cudnn.deterministic = deterministic
    assert broken.n_epochs_ == 4
    assert torch.allclose(weights(whole), weights(broken), rtol=0, atol=1e-6)


def test_the_generator_of_the_processor_stays_as_it_was():
    X, y = noisy_images(4)
    before = torch.random.get_rng_state()
    tomolearn.TomoGANDenoiser(**TRAINING | DENOISERS["TomoGANDenoiser"], device="cuda").fit(X, y)
    assert torch.equal(torch.random.get_rng_state(), before)

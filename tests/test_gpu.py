"""A CUDA device: the laws of the operators there, solvers and estimators as on the processor. Skipped without one."""

import checks
import numpy as np
import pytest
import torch
from learned import SMALL, pairs, small, weights

import tomolearn
from tomolearn._extension import has_kernels
from tomolearn.base import image_predictor, slabs
from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.operators import RadonOperator
from tomolearn.ops import sliding_median
from tomolearn.solvers import cgls, fbp, fista_tv, sirt, tv
from tomolearn.training import StopAfter

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
needs_kernels = pytest.mark.skipif(not has_kernels("cuda"), reason="the operators were built without CUDA")

TRAINING = {"max_epochs": 2, "batch_size": 4, "random_state": 0, "precision": "float32", "early_stopping": False}
DENOISERS = {
    "TomoGANDenoiser": {"perceptual": "random", "patch_shape": (32, 32)},
    "VAEDenoiser": {"latent_dim": 4, "patch_shape": (16, 16)},
    "Noise2SelfDenoiser": {"channels": (4, 6), "patch_shape": (16, 16)},
}


# ------------------------------------------------------------------------------------------------ operators


def test_the_operators_were_built_for_the_device():
    assert has_kernels("cuda"), "build them with FORCE_CUDA=1, or most of what is here is skipped"


@pytest.fixture(params=sorted(set(checks.OPERATORS) - checks.ON_THE_CPU_ONLY))
def draw(request):
    return checks.OPERATORS[request.param]


@needs_kernels
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_dot(draw, dtype, bound):
    rng = np.random.default_rng(1)
    for trial in range(100):
        checks.check_dot(draw(rng), rng, (1, 2, 7, 17)[trial % 4], dtype, bound, DEVICE)


@needs_kernels
@pytest.mark.parametrize("n_slices", [1, 3, 9, 33])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-12)])
def test_slow_reference_and_processor(draw, n_slices, dtype, tolerance):
    rng = np.random.default_rng(2)
    for _ in range(12):
        case = draw(rng)
        checks.check_slow_reference(case, rng, n_slices, dtype, tolerance, DEVICE)
        checks.check_devices(case, rng, n_slices, dtype, tolerance, DEVICE)


@needs_kernels
def test_linear_and_layouts(draw, rng):
    for _ in range(10):
        case = draw(rng)
        checks.check_linear(case, rng, DEVICE)
        checks.check_layouts(case, rng, DEVICE)


@needs_kernels
def test_halves(draw, rng):
    for _ in range(10):
        checks.check_half(draw(rng), rng, DEVICE)


@needs_kernels
def test_gradients(draw):
    rng = np.random.default_rng(4)
    for _ in range(3):
        checks.check_gradients(draw(rng, small=True), rng, DEVICE)


@needs_kernels
def test_vmap(draw, rng):
    checks.check_vmap(draw(rng, small=True), rng, DEVICE)


@needs_kernels
def test_operators_are_on_the_current_stream(draw, rng):
    """What is computed on a stream of its own sees what came before on that stream."""
    case = draw(rng)
    x = checks.uniform(rng, (9, *case.domain), torch.float32)
    expected, stream = case.forward(x.to(DEVICE)), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        there = x.pin_memory().to(DEVICE, non_blocking=True)
        for _ in range(20):
            there = there + 0
        result = case.forward(there)
    stream.synchronize()
    assert torch.equal(result, expected)


@needs_kernels
@pytest.mark.parametrize("size", [1, 5, 21])
def test_sliding_medians(size, rng):
    x = checks.uniform(rng, (3, 40, 17), torch.float32)
    assert torch.equal(sliding_median(x.to(DEVICE), size).cpu(), sliding_median(x, size))


# ------------------------------------------------------------------------------------------------ solvers


@needs_kernels
@pytest.mark.parametrize(
    ("solver", "options"),
    [
        (fbp, {}),
        (sirt, {"n_subsets": 2}),
        (cgls, {"regularization": 0.1}),
        (tv, {"nonnegative": True}),
        (fista_tv, {"nonnegative": True}),
    ],
    ids=["fbp", "sirt", "cgls", "tv", "fista_tv"],
)
def test_solvers_give_what_the_processor_gives_and_never_wait(solver, options):
    A = RadonOperator(ParallelBeam(default_angles(30), 32, center=np.linspace(14, 17, 40)[:, None]))
    y = A(checks.uniform(np.random.default_rng(0), (40, 32, 32), torch.float64)).float()
    if solver is fbp:
        assert close(fbp(A, y.to(DEVICE)).cpu().numpy(), fbp(A, y, method="direct").numpy())
        return

    def callback(k, x, residual):
        torch.cuda.set_sync_debug_mode("error")  # from the first iteration on

    try:
        there = solver(A, y.to(DEVICE), max_iter=5, callback=callback, **options)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert there.device.type == "cuda"
    assert close(there.cpu().numpy(), solver(A, y, max_iter=5, **options).numpy())


# ------------------------------------------------------------------------------------------------ slabs

CLASSICAL = {
    "FBPReconstructor": {},
    "SIRTReconstructor": {"max_iter": 3},
    "CGLSReconstructor": {"max_iter": 3},
    "TVReconstructor": {"max_iter": 3},
}


@needs_kernels
@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.parametrize("device", ["cuda", "cuda,cuda", "cuda,cpu"])
def test_reconstructors_give_what_the_processor_gives(name, device, tmp_path):
    X, _ = pairs(100, (30, 32))
    estimator = getattr(tomolearn, name)(**CLASSICAL[name]).fit(X)
    expected = estimator.predict(X)
    estimator.set_params(device=device).fit(X)
    assert close(estimator.predict(X), expected)
    assert close(np.load(estimator.predict_volume(X, tmp_path / "volume.npy")), expected)


@needs_kernels
def test_slabs_follow_each_other_on_their_streams(monkeypatch):
    """Many small slabs, two of them under way: memory that is handed out again too early would show."""
    X, _ = pairs(3000, (30, 32))
    estimator = tomolearn.FBPReconstructor().fit(X)
    expected = estimator.predict(X)
    estimator.set_params(device="cuda")
    monkeypatch.setattr(slabs, "free_memory", lambda device: 1e5)
    for _ in range(3):
        assert close(estimator.predict(X), expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@needs_kernels
def test_all_devices_share_the_slices():
    X, y = pairs(200, (30, 32))
    devices = ",".join(f"cuda:{k}" for k in range(torch.cuda.device_count()))
    for estimator in (tomolearn.FBPReconstructor(), small("FBPUNetReconstructor", device="cuda")):
        estimator.fit(X[:16], y[:16])
        expected = estimator.set_params(device="cuda:0").predict(X)
        assert close(estimator.set_params(device=devices).predict(X), expected)


def test_tiles_of_a_large_image_stream_through_the_device(monkeypatch):
    X, y = noisy_images(4)
    estimator = tomolearn.TomoGANDenoiser(**TRAINING | DENOISERS["TomoGANDenoiser"], device="cuda").fit(X, y)
    volume = np.random.default_rng(0).random((5, 200, 230), np.float32)
    expected = estimator.set_params(device="cpu").predict(volume)
    estimator.set_params(device="cuda,cuda")
    monkeypatch.setattr(image_predictor, "free_memory", lambda device: 8 * estimator.working_copies * 150.0 * 150)
    assert close(estimator.predict(volume), expected)


# ------------------------------------------------------------------------------------------------ training


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


@needs_kernels
@pytest.mark.parametrize("name", SMALL)
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

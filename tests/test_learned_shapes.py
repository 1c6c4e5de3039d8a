"""Learned reconstructors on other shapes than in fit, on volumes larger than memory, and what memory they ask for."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from learned import NAMES, SCANNED, pairs, small, weights

from tomolearn import AutomapReconstructor
from tomolearn.exceptions import GeometryError, MemoryBudgetError
from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.io import ArraySource, open_volume
from tomolearn.networks import AutomapNetwork
from tomolearn.operators import RadonOperator
from tomolearn.reconstruction import _learned
from tomolearn.solvers import fbp

# --------------------------------------------------------------------------------------------------------- messages


def test_validation_pairs_are_named():
    X, y = pairs()
    for X_val, y_val, message in (
        (X[:, :5], y, r"in X_val: X must hold sinograms of shape \(7, 12\)"),
        (np.full_like(X, np.nan), y, r"in X_val: X.* must be finite"),
        (X, y[:4], r"^y_val must have shape \(8, 12, 12\)"),
        (X, y + np.inf, "^y_val must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            small("DenseReconstructor").fit(X, y, X_val=X_val, y_val=y_val)


def test_flat_images_that_are_not_square_ask_for_their_shape():
    X, y = pairs(image_shape=(10, 11))
    message = r"y must have shape \(8, 12, 12\) or \(8, 144\), as the images; got \(8, 110\)\. Give image_shape"
    with pytest.raises(ValueError, match=message):
        small("DenseReconstructor").fit(X, y.reshape(8, -1))
    images = small("DenseReconstructor", image_shape=(10, 11)).fit(X, y.reshape(8, -1)).predict(X)
    assert images.shape == (8, 10, 11)


# ------------------------------------------------------------------------------------------------------ other shapes


@pytest.mark.parametrize("name", SCANNED)
def test_more_angles_and_wider_detectors(name):
    X, y = pairs(8, (16, 16))
    estimator = small(name, max_epochs=8, validation_fraction=0.0).fit(X, y)
    before = weights(estimator)
    same = np.abs(estimator.predict(X) - y).mean()
    more, _ = pairs(8, (48, 16))
    images = estimator.predict(more)
    assert images.shape == (8, 16, 16)
    assert np.abs(images - y).mean() < 1.3 * same  # the same objects seen more often
    assert estimator.score(more, y) == pytest.approx(
        1 - np.square(images - y).sum() / np.square(y - y.mean(0)).sum(), rel=1e-5
    )
    wider, truth = pairs(3, (16, 24))
    if name == "IRadonMAPReconstructor":
        message = r"X must hold sinograms of 16 detectors as in fit.*; got shape \(16, 24\).*Fit again"
        with pytest.raises(GeometryError, match=message):
            estimator.predict(wider)
    else:
        assert estimator.predict(wider).shape == truth.shape
        np.testing.assert_array_equal(estimator.predict(wider.tolist()), estimator.predict(wider.astype(np.float64)))
    assert estimator.sinogram_shape_ == (16, 16) and estimator.image_shape_ == (16, 16)
    assert torch.equal(weights(estimator), before)


@pytest.mark.parametrize("name", SCANNED)
def test_other_shapes_are_seen_by_their_own_scan(name):
    """The network of ``fit`` on data of more angles, with the projection of these angles in it."""
    X, y = pairs(6, (16, 16))
    estimator = small(name, max_epochs=1).fit(X, y)
    more, _ = pairs(2, (40, 16), seed=1)
    A = RadonOperator(ParallelBeam(default_angles(40), 16))
    x = torch.from_numpy(more) / estimator.y_scale_
    arguments = {
        "FBPUNetReconstructor": (fbp(A, x, filter="hann")[:, None],),
        "IRadonMAPReconstructor": (x, A),
        "LearnedPrimalDualReconstructor": (x, A, A.norm()),
    }[name]
    with torch.no_grad():
        images = estimator.network_(*arguments).reshape(2, 16, 16) * estimator.y_scale_
    np.testing.assert_allclose(estimator.predict(more), images, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SCANNED)
def test_what_other_shapes_cannot_know_is_asked_for(name):
    X, y = pairs()
    degrees = np.arange(7) * 180 / 7
    explicit = small(name, angles=degrees, angle_unit="deg").fit(X, y)
    with pytest.raises(GeometryError, match=r"one per projection; got 7 for sinograms of shape \(9, 12\).*set_params"):
        explicit.predict(np.zeros((2, 9, 12)))
    explicit.set_params(angles=np.arange(9) * 20.0)
    assert explicit.predict(np.zeros((2, 9, 12))).shape == (2, 12, 12)
    oblong, images = pairs(4, (7, 12), (10, 11))
    message = r"image_shape must be given for sinograms of 20 detectors: in fit, .*10 x 11"
    if name == "IRadonMAPReconstructor":
        message = "X must hold sinograms of 12 detectors as in fit"
    with pytest.raises(GeometryError, match=message):
        small(name).fit(oblong, images).predict(np.zeros((2, 7, 20)))
    with pytest.raises(ValueError, match="features"):
        explicit.predict(np.zeros((2, 9 * 12)))


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(SCANNED)))
def test_dense_networks_have_one_shape(name):
    X, y = pairs()
    estimator = small(name).fit(X, y)
    for shape in ((2, 9, 12), (2, 7, 14)):
        with pytest.raises(ValueError, match=r"X must hold sinograms of shape \(7, 12\).* as in fit"):
            estimator.predict(np.zeros(shape))


def test_results_do_not_depend_on_how_many_images_are_predicted_at_a_time(monkeypatch):
    X, y = pairs(9)
    for name in NAMES:
        estimator = small(name).fit(X, y)
        whole = estimator.predict(X)
        monkeypatch.setattr(_learned, "PIXELS", 300)  # two images of 144 pixels
        np.testing.assert_allclose(estimator.predict(X), whole, rtol=1e-4, atol=1e-5)
        monkeypatch.undo()


@pytest.mark.parametrize("name", NAMES)
def test_precision_of_prediction(name):
    X, y = pairs()
    exact = small(name).fit(X, y)
    images = exact.predict(X)
    lowered = exact.set_params(precision="bfloat16").predict(X)
    error = np.abs(lowered - images).max() / np.abs(images).max()
    assert lowered.dtype == np.float32 and 0 < error < 0.05
    np.testing.assert_array_equal(exact.set_params(precision="auto").predict(X), images)


# ----------------------------------------------------------------------------------------------------------- volumes


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", ["npy", "h5"])
def test_volumes_are_what_predict_gives(tmp_path, monkeypatch, name, suffix):
    X, y = pairs(11)
    estimator = small(name).fit(X, y)
    blocks = [(0, 4), (4, 8), (8, 11)]
    monkeypatch.setattr("tomolearn.streaming.scan.plan_blocks", lambda n, slice_bytes, **options: blocks)
    path = estimator.predict_volume(ArraySource(X, ("rows", "angles", "detectors")), tmp_path / f"volume.{suffix}")
    with open_volume(path) as volume:
        np.testing.assert_allclose(volume[:], estimator.predict(X), rtol=1e-4, atol=1e-5)
    other, _ = pairs(11, (8, 12))
    if name in SCANNED:
        with open_volume(estimator.predict_volume(other, tmp_path / f"other.{suffix}")) as volume:
            np.testing.assert_allclose(volume[:], estimator.predict(other), rtol=1e-4, atol=1e-5)
    else:
        with pytest.raises(ValueError, match=r"source must hold sinograms of shape \(7, 12\).*holds \(8, 12\)"):
            estimator.predict_volume(other, tmp_path / f"other.{suffix}")


# ------------------------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize("name", NAMES)
def test_the_features_of_a_batch_are_counted_before_they_are_made(monkeypatch, name):
    X, y = pairs(64)
    estimator = small(name, batch_size=64)
    monkeypatch.setattr("tomolearn.base.memory.available_memory", lambda: 100_000.0)
    message = r"features of 64 sinograms of \(7, 12\).*GiB are available\. Lower batch_size=64"
    with pytest.raises(MemoryBudgetError, match=message):
        estimator.fit(X, y)
    monkeypatch.undo()
    estimator.fit(X, y)
    monkeypatch.setattr("tomolearn.base.memory.available_memory", lambda: 100_000.0)
    with pytest.raises(MemoryBudgetError, match=r"64 images of \(12, 12\) pixels and the features of 64 of them need"):
        estimator.predict(X)


def test_the_features_of_a_batch_are_what_is_kept_for_the_gradient():
    """The bytes that the graph of a step holds; AUTOMAP's margin, of eight pixels, is much of a small image."""
    X, y = pairs(4, (20, 32))
    sizes = {
        "AutomapReconstructor": {"n_filters": 16},
        "CNNReconstructor": {"n_filters": 16, "n_image_filters": 16},
        "DenseReconstructor": {"n_filters": 16},
        "FBPUNetReconstructor": {"channels": (16, 16, 32), "block_size": 1},
        "IRadonMAPReconstructor": {"channels": (16, 16, 32)},
        "LearnedPrimalDualReconstructor": {"n_filters": 16, "n_iterations": 3},
    }
    for name in NAMES:
        estimator, kept = small(name, max_epochs=1, **sizes[name]).fit(X, y), {}
        own = {p.data_ptr() for p in estimator.network_.parameters()}

        def keep(tensor, kept=kept, own=own):
            if tensor.data_ptr() not in own:
                kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            estimator.network_.train()
            images = estimator._forward(estimator.network_, torch.from_numpy(X), estimator._operator())
        n_sinograms, n_images = estimator._activations()
        planned = 4 * 4 * (n_sinograms * X[0].size + n_images * y[0].size)
        assert images.shape == y.shape
        assert 0.5 * sum(kept.values()) < planned < 1.2 * sum(kept.values()), name


def test_automap_of_256_pixels_needs_a_rank(monkeypatch):
    monkeypatch.setattr("tomolearn.base.memory.available_memory", lambda: 24.0 * 2**30)
    X, y = np.zeros((2, 256, 256), np.float32), np.ones((2, 256, 256), np.float32)
    message = (
        r"AUTOMAP's layers for sinograms of \(256, 256\) and images of \(256, 256\) have 8,590,172,929 parameters and "
        r"with gradients and optimiser need 160\.0 GiB; 24\.0 GiB are available\. Set rank, for instance rank=256"
    )
    with pytest.raises(MemoryBudgetError, match=message):
        AutomapReconstructor().fit(X, y)


PEAKS = """
    import ctypes, sys
    sys.path.insert(0, {tests!r})
    import numpy as np, torch
    torch.set_num_threads(1)
    from learned import pairs, small
    from tomolearn import AutomapReconstructor
    def status(key):
        return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))
    X = np.random.default_rng(0).random((1, 256, 256), np.float32)
    estimator = AutomapReconstructor(rank=256, max_epochs=1, batch_size=1, random_state=0, ema_decay=0.9).fit(X, X)
    print(status("VmHWM"), estimator.n_parameters_)
    del estimator
    X = np.random.default_rng(0).random((1, 96, 384), np.float32)
    for name, sizes in (
        ("FBPUNetReconstructor", dict(channels=(32, 32, 64))),
        ("LearnedPrimalDualReconstructor", dict(n_filters=32, n_iterations=2)),
        ("IRadonMAPReconstructor", dict(channels=(32, 32, 64))),
    ):
        wide = name == "IRadonMAPReconstructor"  # has one detector after fit
        estimator = small(name, max_epochs=1, **sizes).fit(*pairs(1, (2, 384) if wide else (8, 16)))
        taken = []
        for _ in range(3):  # the least: a first prediction also loads and keeps what all later ones use
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # what fit has freed does not count as taken
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")  # forgets the highest memory so far
            before = status("VmRSS")
            estimator.predict(X)
            taken.append(status("VmHWM") - before)
        n_sinograms, n_images = estimator.working_copies
        print(min(taken), int(n_sinograms * X.nbytes + n_images * 384 * 384 * 4))
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="the highest memory so far cannot be reset")
def test_memory_that_is_taken():
    """AUTOMAP of 256 pixels learns with a rank inside 6 GB, with all copies there may be: weights, gradients, moments,
    running mean, best weights. And the bytes that the blocks of a volume are planned by are those that an image of
    384 x 384 takes, not much more or less. One process for both: its start takes longer than either.
    """
    code = textwrap.dedent(PEAKS).format(tests=os.path.dirname(__file__))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    (peak, n_parameters), *lines = (map(int, line.split()) for line in run.stdout.splitlines())
    assert peak < 6e9 and n_parameters > 6e7
    assert len(lines) == 3
    for taken, planned in lines:
        assert 0.3 * planned < taken < 1.1 * planned


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "muon"])
def test_automap_learns_by_the_loss_of_the_paper(optimizer):
    """The sum of squared errors of an image and 1e-4 of the activations: ours, times the number of pixels."""
    X, y = pairs(4)
    seen = []

    class Whole(AutomapReconstructor):
        def _task(self, network):
            task = super()._task(network)
            step = task.training_step
            task.training_step = lambda engine, batch: seen.append((batch, network.state_dict())) or step(engine, batch)
            return task

    options = {"rank": 4, "n_filters": 4, "input_noise": 0.0, "activation_penalty": 1e-4, "batch_size": 4}
    whole = Whole(
        **options, optimizer=optimizer, max_epochs=1, early_stopping=False, precision="float32", random_state=3
    )
    whole.fit(X, y)
    with torch.random.fork_rng():
        torch.manual_seed(int(np.random.RandomState(3).randint(np.iinfo(np.int32).max)))
        network = AutomapNetwork((7, 12), (12, 12), rank=4, n_filters=4, input_noise=0.0)
    (x, target), _ = seen[0]
    images, penalty = network.forward_with_penalty((x - whole.x_mean_) / whole.x_scale_)
    squares = (images - (target - whole.y_mean_) / whole.y_scale_).square().sum((1, 2)).mean()
    squares, penalty = float(squares.detach()), 1e-4 * float(penalty.detach())
    assert whole.history_["loss"][0] * 144 == pytest.approx(squares + penalty, rel=1e-4)
    assert penalty > 1e-5 * squares

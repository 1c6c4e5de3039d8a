"""Noise2Inverse: splits, pairs of crops, what is learned from one noisy scan, and what it must refuse."""

import os
import pickle
import signal

import numpy as np
import pytest
import torch
from learned import pairs, same_training, weights
from scipy.ndimage import uniform_filter1d
from sklearn.exceptions import NotFittedError

import tomolearn
from tomolearn import FBPReconstructor, Noise2InverseReconstructor
from tomolearn.exceptions import FileFormatError, MemoryBudgetError
from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.io import ArraySource
from tomolearn.operators import RadonOperator
from tomolearn.reconstruction._splits import SplitCrops, split_angles, split_images
from tomolearn.solvers import fbp
from tomolearn.training import Callback

TINY = {
    "channels": (4, 6),
    "patch_shape": (8, 8),
    "max_epochs": 2,
    "batch_size": 8,
    "random_state": 0,
    "precision": "float32",
}


def tiny(**parameters):
    return Noise2InverseReconstructor(**(TINY | parameters))


def sinograms(n=3, shape=(12, 16), **options):
    return pairs(n, shape, **options)[0]


def foam(n_pixels, n_angles, n_slices=1, photons=None, seed=0):
    """Line integrals of a cylinder with holes, of Poisson counts where ``photons`` enter a detector; and the images."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : n_pixels * 1j, -1 : 1 : n_pixels * 1j]
    images = np.repeat((np.hypot(x, y) < 0.9)[None], n_slices, 0).astype(np.float64)
    for image in images:
        for _ in range(60):
            angle, radius, r = rng.uniform(0, 2 * np.pi), 0.8 * rng.random() ** 0.5, rng.uniform(0.03, 0.12)
            image[np.hypot(x - radius * np.cos(angle), y - radius * np.sin(angle)) < r] = 0
    images *= 2 / n_pixels
    lines = RadonOperator(ParallelBeam(default_angles(n_angles), n_pixels))(torch.from_numpy(images)).numpy()
    if photons is not None:
        lines = -np.log(np.maximum(rng.poisson(photons * np.exp(-lines)), 0.5) / photons)
    return lines, images


# ----------------------------------------------------------------------------------------------------------- splits


@pytest.mark.parametrize(
    "angles",
    [
        default_angles(13),
        np.random.default_rng(0).permutation(default_angles(12)),
        np.linspace(0, 2 * np.pi, 16, endpoint=False),
        -default_angles(9) + 0.3,
        np.zeros(7),
    ],
)
def test_splits_are_disjoint_and_complete(angles):
    splits = split_angles(angles, 4)
    assert sorted(np.concatenate(splits)) == list(range(len(angles)))
    assert max(map(len, splits)) - min(map(len, splits)) <= 1


def test_splits_are_interleaved_by_direction():
    assert [list(index) for index in split_angles(default_angles(8), 4)] == [[0, 4], [1, 5], [2, 6], [3, 7]]
    order = np.random.default_rng(0).permutation(8)
    shuffled = split_angles(default_angles(8)[order], 4)
    assert [sorted(order[index]) for index in shuffled] == [[0, 4], [1, 5], [2, 6], [3, 7]]
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    for index in split_angles(turn, 4):  # equally spaced over half a turn, no ray twice
        np.testing.assert_allclose(np.diff(np.sort(np.mod(turn[index], np.pi))), np.pi / 4)


def test_the_mean_of_the_splits_is_the_reconstruction():
    y = torch.from_numpy(sinograms(2, (24, 20)))
    geometry = ParallelBeam(default_angles(24), 20, center=9.0)
    for n_splits in (2, 3, 4):
        splits = split_images(geometry, y, n_splits, filter="hann", cutoff=0.8)
        whole = fbp(RadonOperator(geometry), y, filter="hann", cutoff=0.8)
        torch.testing.assert_close(splits.mean(1), whole, rtol=1e-4, atol=1e-5)
        assert (splits[:, 0] - splits[:, 1]).abs().max() > 0.1


def test_each_split_has_the_values_of_the_object():
    """Also where the angles are uneven: each projection counts for its share among those of its split."""
    angles = np.sort(np.random.default_rng(0).uniform(0, np.pi, 400))
    disc = (np.hypot(*np.mgrid[-31.5:32, -31.5:32]) < 20).astype(float)
    geometry = ParallelBeam(angles, 64)
    y = RadonOperator(geometry)(torch.from_numpy(disc[None]))
    inside = disc[None] * (np.hypot(*np.mgrid[-31.5:32, -31.5:32]) < 14) > 0
    for split in split_images(geometry, y, 4)[0]:
        assert float(split[inside[0]].mean()) == pytest.approx(1, abs=0.02)


def test_noise_is_independent_between_splits_only_if_it_is_between_projections():
    noise = np.random.default_rng(0).normal(size=(1, 96, 48))
    geometry = ParallelBeam(default_angles(96), 48)
    correlations = []
    for y in (noise, uniform_filter1d(noise, 3, axis=1, mode="wrap")):
        splits = split_images(geometry, torch.from_numpy(y), 4)[0]
        others = (splits.sum(0) - splits[0]) / 3
        correlations.append(float(np.corrcoef(splits[0].ravel(), others.ravel())[0, 1]))
    assert abs(correlations[0]) < 0.05 and correlations[1] > 0.3


# ------------------------------------------------------------------------------------------------------------ crops


def numbered(n, rows, columns):
    """Splits whose values tell slice, split, row and column."""
    s, k, r, c = np.ogrid[:n, :4, :rows, :columns]
    return torch.from_numpy((s * 1e5 + 10.0**k * 0 + r * 100 + c + 1e7 * k).astype(np.float64))


@pytest.mark.parametrize("strategy", ["X:1", "1:X"])
def test_pairs_are_disjoint_splits_of_one_place(strategy):
    splits = numbered(2, 20, 24)
    crops = SplitCrops(splits, strategy, (8, 8), mean=5.0, scale=2.0)
    assert len(crops) == crops.n_distinct == 2 * 3 * 3 * 4
    seen = set()
    for (x, y), _, n in crops.shuffled(16, np.random.default_rng(0)):
        assert len(x) == n or n < 16
        alone, others = (y, x) if strategy == "X:1" else (x, y)
        alone, others = 2 * alone + 5, 2 * others + 5
        k = torch.round(alone.amin((1, 2)) / 1e7)
        place = alone - 1e7 * k[:, None, None]
        torch.testing.assert_close(
            others - place, (1e7 * (6 - k) / 3)[:, None, None].expand_as(place), rtol=1e-6, atol=1
        )
        seen |= {(int(a), int(b)) for a, b in zip(k, place[:, 0, 0], strict=True)}
        assert ((place.amax((1, 2)) - place.amin((1, 2))) == 707).all()  # 8 x 8 pixels of one slice, however turned
    assert len(seen) > 60


def test_crops_go_on_where_they_were_broken_off():
    crops = SplitCrops(numbered(2, 20, 24), "X:1", (8, 8))
    whole = list(crops.shuffled(10, np.random.default_rng(3)))
    assert len(whole) == crops.n_batches(10) == 8
    rest = list(crops.shuffled(10, np.random.default_rng(3), skip=5))
    for (batch, *_), (again, *_) in zip(whole[5:], rest, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, again, strict=True))


def test_held_out_slices_are_not_learned_from():
    slices = torch.arange(5.0)[:, None, None, None].expand(5, 4, 8, 8)
    learned, held = SplitCrops(slices, "X:1", (8, 8)).held_out(0.4, np.random.default_rng(0))
    seen = {float(x) for (batch, _), *_ in learned.shuffled(4, np.random.default_rng(0)) for x in batch[:, 0, 0]}
    kept = {float(x) for (batch, _), _ in held.in_order(4) for x in batch[:, 0, 0]}
    assert len(seen) == 3 and len(kept) == 2 and not seen & kept


def test_of_a_single_slice_a_band_of_rows_is_held_out():
    rows = torch.arange(40.0)[None, None, :, None].expand(1, 4, 40, 12)
    learned, held = SplitCrops(rows, "X:1", (8, 8)).held_out(0.2, np.random.default_rng(0))
    seen = torch.cat([x.flatten() for _ in range(5) for (x, _), *_ in learned.shuffled(8, np.random.default_rng(0))])
    kept = torch.cat([x.flatten() for (x, _), _ in held.in_order(8)])
    assert set(kept.tolist()) == set(range(16, 24)) and not set(seen.tolist()) & set(range(16, 24))
    small = SplitCrops(rows, "X:1", (32, 8))
    assert small.held_out(0.2, np.random.default_rng(0)) == (small, None)


# --------------------------------------------------------------------------------------------------- what is learned


class Square(torch.nn.Module):
    """Not linear, so that the mean of results is not the result of the mean."""

    def __init__(self):
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.one * x**2


@pytest.mark.parametrize("strategy", ["X:1", "1:X"])
def test_predictions_are_means_over_the_splits(strategy):
    X = sinograms()
    estimator = tiny(strategy=strategy).fit(X)
    estimator.network_ = Square()
    splits = split_images(estimator.geometry_, torch.from_numpy(X), 4)
    seen = (splits.sum(1, keepdim=True) - splits) / 3 if strategy == "X:1" else splits
    seen = (seen - estimator.y_mean_) / estimator.y_scale_
    expected = seen.square().mean(1) * estimator.y_scale_ + estimator.y_mean_
    np.testing.assert_allclose(estimator.predict(X), expected, rtol=1e-4, atol=1e-5)
    assert float(seen.std(correction=0)) == pytest.approx(1, abs=1e-4) and abs(float(seen.mean())) < 1e-4


@pytest.mark.slow
def test_a_noisy_scan_is_cleaned_by_itself():
    X, images = foam(48, 96, 4, photons=8, seed=1)
    options = {"channels": (16, 24), "patch_shape": (24, 24), "max_epochs": 20, "early_stopping": False}
    estimator = tiny(**options).fit(X)
    noisy = [FBPReconstructor(filter=name).fit(X).predict(X) for name in ("ram-lak", "hann")]
    error = [np.mean((result - images) ** 2) for result in (estimator.predict(X), *noisy)]
    assert error[0] < error[2] and error[0] < 0.25 * error[1]
    assert estimator.score(X, images) > FBPReconstructor(filter="hann").fit(X).score(X, images)


def test_the_mixed_scale_dense_network_by_name():
    X = sinograms()
    estimator = tiny(network="msd", depth=3).fit(X)
    assert estimator.network_config_[0] == "MixedScaleDenseNetwork" and estimator.predict(X).shape == (3, 16, 16)


def test_sources_and_other_shapes(tmp_path):
    X = sinograms()
    estimator = tiny().fit(X)
    assert same_training(estimator, tiny().fit(ArraySource(X))) and same_training(estimator, tiny().fit(X, X[:, 0, 0]))
    assert estimator.predict(sinograms(2, (20, 30))).shape == (2, 30, 30)
    path = estimator.predict_volume(ArraySource(X, ("rows", "angles", "detectors")), tmp_path / "volume.npy")
    np.testing.assert_allclose(np.load(path), estimator.predict(X), rtol=1e-5, atol=1e-5)


def test_models_are_kept(tmp_path):
    X = sinograms()
    estimator = tiny(strategy="1:X", n_splits=3).fit(X)
    estimator.save(tmp_path / "model.safetensors")
    for twin in (tomolearn.load(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(estimator))):
        np.testing.assert_array_equal(twin.predict(X), estimator.predict(X))
    estimator.network = "msd"
    estimator.save(tmp_path / "other.safetensors")
    with pytest.raises(FileFormatError, match="network of a Noise2InverseReconstructor must be MixedScaleDenseNetwork"):
        tomolearn.load(tmp_path / "other.safetensors")


def test_validation_and_warm_start():
    X = sinograms(6)
    held = tiny(validation_fraction=0.34, max_epochs=1).fit(X)
    assert "val_loss" in held.history_
    given = tiny(max_epochs=1).fit(X, X_val=X[:2])
    assert given.history_["val_loss"] != held.history_["val_loss"]
    assert "val_loss" not in tiny(max_epochs=1).fit(X[:1]).history_
    with pytest.raises(ValueError, match=r"in X_val: X must hold sinograms of shape \(12, 16\)"):
        tiny().fit(X, X_val=X[:, 1:])
    before = weights(given.set_params(warm_start=True, learning_rate=1e-9))
    torch.testing.assert_close(weights(given.fit(X)), before, rtol=0, atol=1e-5)


class Interrupt(Callback):
    def on_step_end(self, engine):
        if engine.n_done == 7:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_training_that_was_broken_off_is_continued_to_the_same_weights(tmp_path):
    """Six steps an epoch: Ctrl-C comes in the second."""
    X = sinograms()
    options = {"max_epochs": 3, "early_stopping": False}
    broken = tiny(**options)
    with pytest.raises(KeyboardInterrupt):
        broken.fit(X, checkpoint=tmp_path / "c.pt", callbacks=[Interrupt()])
    assert np.isfinite(broken.predict(X)).all()
    whole = tiny(**options).fit(X)
    assert same_training(tiny(**options).fit(X, checkpoint=tmp_path / "c.pt"), whole)
    with pytest.raises(ValueError, match="is of another training: parameters"):
        tiny(**options, learning_rate=0.02).fit(X, checkpoint=tmp_path / "c.pt")
    with pytest.raises(ValueError, match="is of another training: mean and scale"):
        tiny(**options).fit(2 * X, checkpoint=tmp_path / "c.pt")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_splits": 1}, "n_splits must be"),
        (
            {"n_splits": 13},
            r"n_splits must be at most the number of projections; got 13 for sinograms of shape \(12, 16",
        ),
        ({"strategy": "2:2"}, "strategy must be one of"),
        ({"network": "vit"}, "network must be one of"),
        ({"loss": "psnr"}, "loss must be one of"),
        ({"patch_shape": (0, 8)}, "patch_shape"),
        ({"channels": ()}, "channels"),
        ({"filter": "rump"}, "filter"),
        ({"padding": "wrap"}, "padding must be one of"),
        ({"center": "vo"}, "center must be a number"),
    ],
)
def test_parameters_out_of_range(parameters, message):
    estimator = tiny(**parameters)
    with pytest.raises(ValueError, match=message):
        estimator.fit(sinograms())
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        estimator.predict(sinograms())


def test_memory_is_refused_before_it_is_taken(monkeypatch):
    monkeypatch.setattr("tomolearn.base.memory.available_memory", lambda: 2**20)
    with pytest.raises(
        MemoryBudgetError, match=r"features of 512 crops of \(8, 8\).*Lower batch_size=512 or patch_shape"
    ):
        tiny(batch_size=512, channels=(64, 64)).fit(sinograms())
    with pytest.raises(
        MemoryBudgetError, match=r"4 split images of \(16, 16\) pixels of each of 300 slices.*Fit on some"
    ):
        tiny().fit(sinograms(300))

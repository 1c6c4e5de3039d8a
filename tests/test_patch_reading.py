"""Patches of labelled images: their order, what is held out, errors, and how much is read for them."""

import threading

import numpy as np
import pytest
import tifffile
import torch
from patch_checks import assert_same, coded, counted, epoch, joined, samples_of

from tomolearn.io import ArraySource
from tomolearn.io.labelled import open_labelled
from tomolearn.training import Engine, SupervisedTask, TrainingOptions, _label_index, _labelled_part
from tomolearn.training import patches as module
from tomolearn.training.patches import IGNORE, PatchSamples

# --------------------------------------------------------------------------------------- order, seeds and processes


def test_the_same_seed_draws_the_same_and_may_begin_anywhere(rng):
    image = rng.random((60, 70))
    samples = samples_of(image, image > 0.9, patch_shape=(9, 9), oversample_rare=0.3)
    whole = epoch(samples)
    assert_same(whole, epoch(samples))
    for skip in (1, 3, len(whole) - 1, len(whole)):
        assert_same(whole[skip:], epoch(samples, skip=skip))
    assert not torch.equal(whole[0][0], epoch(samples, seed=1)[0][0])


def test_windows_hold_every_patch_once(monkeypatch):
    image = coded(64, 400)
    samples = samples_of(image, image % 2, patch_shape=(8, 8), overlap=0, flips=False)
    monkeypatch.setattr(module, "RUN", 5)
    monkeypatch.setattr(module, "WINDOW", 40 * 8 * 8 * 6)
    x, _ = joined(epoch(samples))
    corners = x[:, 0, 0, 0].astype(int)
    assert len(set(corners)) == len(corners) == 400 and len(samples) == 400
    rows, columns = np.divmod(corners, 400)
    numbers = rows // 8 * 50 + columns // 8
    for window in np.split(numbers, 10):  # 8 runs of 5 neighbours, mixed
        assert len(set(window // 5)) == 8 and (np.diff(window) != 1).sum() > 30


def test_files_give_what_arrays_give(tmp_path, rng, monkeypatch):
    images = [rng.integers(0, 1000, (60, 50), dtype=np.uint16) for _ in range(3)]
    masks = [(image > 700).astype(np.uint8) for image in images]
    for name, arrays in (("images", images), ("masks", masks)):
        (tmp_path / name).mkdir()
        for i, array in enumerate(arrays):
            tifffile.imwrite(tmp_path / name / f"{i}.tif", array)
    options = {"patch_shape": (16, 16), "oversample_rare": 0.2}
    streamed = samples_of(tmp_path / "images", tmp_path / "masks", **options)
    held = samples_of(images, masks, **options)
    assert_same(epoch(streamed), epoch(held))
    loaded = streamed.load_if_small()
    assert loaded is not streamed
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    assert_same(epoch(loaded), epoch(held))
    monkeypatch.setattr(module, "available_memory", lambda: 100.0)
    assert held.load_if_small() is held


def test_processes_share_each_batch(rng, monkeypatch):
    image = rng.random((60, 70))
    samples = samples_of(image, image > 0.9, patch_shape=(9, 9))
    whole, tiles = epoch(samples, batch_size=5), [part for part, _ in samples.in_order(5)]
    parts, ordered = [], []
    for rank in range(2):
        monkeypatch.setattr(module.distributed, "size", lambda: 2)
        monkeypatch.setattr(module.distributed, "rank", lambda rank=rank: rank)
        parts.append(list(samples.shuffled(5, np.random.default_rng(0))))
        ordered.append(list(samples.in_order(5)))
    for batch, *shares in zip(whole, *parts, strict=True):
        assert sum(weight for _, weight, _ in shares) == pytest.approx(1)
        assert all(n == len(batch[0]) for _, _, n in shares)
        for rank, (part, _, _) in enumerate(shares):
            assert torch.equal(part[0], batch[0][rank::2] if shares[rank][1] else batch[0][:1])
    for batch, *shares in zip(tiles, *ordered, strict=True):
        assert sum(count for _, count in shares) == len(batch[0])


# ------------------------------------------------------------------------------------------------------ holding out


def test_a_band_of_a_single_image_is_held_out(rng):
    image, mask = coded(200, 60), rng.integers(0, 3, (200, 60))
    samples = samples_of(image, mask, patch_shape=(32, 32), classes=[0, 1, 2])
    training, validation = samples.held_out(0.2, np.random.default_rng(0))
    held, _ = counted(validation)
    rows = np.unique(held // 60)
    assert len(held) == len(rows) * 60 and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows)))
    assert abs(len(rows) - 40) <= 4
    learned = np.concatenate([x[:, 0][y >= 0] for x, y in epoch(training) for x, y in ((x.numpy(), y.numpy()),)])
    assert not np.isin(np.unique(learned), held).any()
    codes, _ = counted(training)
    np.testing.assert_array_equal(np.sort(np.concatenate([codes, held])), np.arange(image.size))
    assert np.array_equal(training.class_counts + validation.class_counts, samples.class_counts)


def test_what_is_held_out_never_takes_all_of_a_class():
    mask = np.zeros((200, 60), int)
    mask[:, 30:] = 1
    mask[96:104, 5] = 2  # in the middle, where a band would lie
    training, validation = samples_of(coded(200, 60), mask).held_out(0.1, np.random.default_rng(0))
    assert (training.class_counts > 0).all()
    images = [coded(20, 20)] * 10
    masks = [image.astype(int) % 2 for image in images]
    masks[3][0, 0] = 2
    for seed in range(5):
        training, validation = samples_of(images, masks).held_out(0.3, np.random.default_rng(seed))
        assert (training.class_counts > 0).all() and validation.class_counts.sum() == 3 * 400


def test_what_is_held_out_shows_every_class_it_can():
    mask = np.zeros((400, 60), int)
    mask[40:80, 3] = 1  # few pixels at the top: bands elsewhere have shares more like those of the whole
    mask[:, 30:] = 2
    _, validation = samples_of(coded(400, 60), mask).held_out(0.1, np.random.default_rng(0))
    assert (validation.class_counts > 0).all()
    images = [coded(20, 20)] * 12
    masks = [image.astype(int) % 2 for image in images]
    masks[3][0, 0] = masks[7][0, 0] = 2
    for seed in range(5):
        training, validation = samples_of(images, masks).held_out(0.25, np.random.default_rng(seed))
        assert (training.class_counts > 0).all() and (validation.class_counts > 0).all()


def test_whole_images_are_held_out_of_many():
    images = [coded(12, 15, 1000 * i) for i in range(10)]
    samples = samples_of(images, [image.astype(int) % 2 for image in images], patch_shape=(8, 8))
    training, validation = samples.held_out(0.2, np.random.default_rng(0))
    held = np.unique(counted(validation)[0] // 1000)
    assert len(held) == 2 and not np.isin(np.unique(counted(training)[0] // 1000), held).any()
    assert len(training) == 8 * 4 and len(validation) == 2 * 4
    again, _ = samples.held_out(0.2, np.random.default_rng(0))
    assert_same(epoch(training), epoch(again))
    part = samples.subset([1, 4])
    assert np.unique(counted(part)[0] // 1000).tolist() == [1, 4] and part.class_counts.tolist() == [180, 180]


def test_nothing_is_held_out_of_too_little():
    samples = samples_of(coded(4, 30), coded(4, 30) % 2)
    training, validation = samples.held_out(0.1, np.random.default_rng(0))
    assert training is samples and validation is None
    mask = np.full((40, 40), -1)
    mask[8, :2] = 0, 1  # all labels in one row of cells
    training, validation = samples_of(coded(40, 40), mask, ignore_label=-1).held_out(0.1, np.random.default_rng(0))
    assert validation is None and len(training) == 1
    with pytest.raises(ValueError, match=r"fraction must be a number in \(0, 1\]; got 0"):
        samples.held_out(0, np.random.default_rng(0))


# -------------------------------------------------------------------------------------------------------- statistics


def test_statistics_are_those_of_all_pixels(rng, monkeypatch):
    monkeypatch.setattr(_labelled_part, "PIECE", 300)
    images = [rng.normal(1e4, 2, shape) for shape in ((40, 30), (20, 55))]
    masks = [rng.integers(-1, 2, image.shape) for image in images]
    samples = samples_of(images, masks, ignore_label=-1)
    values = np.concatenate([image.ravel() for image in images])
    assert samples.statistics() == pytest.approx((values.mean(), values.std()), rel=1e-12)
    held = values[np.concatenate([mask.ravel() for mask in masks]) >= 0]
    assert samples.statistics(labelled_only=True) == pytest.approx((held.mean(), held.std()), rel=1e-12)
    ((x, _), *_) = epoch(samples.normalised(1e4, 2.0), batch_size=8)
    ((raw, _), *_) = epoch(samples, batch_size=8)
    np.testing.assert_allclose(x, (raw - 1e4) / 2, rtol=1e-6)
    assert samples_of(np.full((9, 9), 5.0), coded(9, 9) % 2).statistics() == (5.0, 1.0)


def test_images_with_nan_are_listed(rng):
    images = [rng.random((20, 20)) for _ in range(9)]
    masks = [image > 0.5 for image in images]
    for k in (1, 2, 3, 4, 5, 8):
        images[k][3, 3] = np.nan
    samples = samples_of(images, masks, patch_shape=(20, 20))
    with pytest.raises(ValueError, match=r"NaN or infinity are in images\[1\], .*images\[5\] and 1 more. Repair"):
        samples.statistics()
    with pytest.raises(
        ValueError, match=r"images\[\d\] must be finite; got 1 NaN or infinite values of 400. Repair it"
    ):
        epoch(samples)


# ------------------------------------------------------------------------------------------------------------ errors


def test_patch_ranges_that_are_wrong():
    image = coded(40, 50)

    def made(patch_range, **options):
        return samples_of([image, image.T.copy()], [image % 2, image.T % 2], patch_range=patch_range, **options)

    options = {"patch_shape": (16, 16)}
    for empty in ([], (), np.empty((0, 4), int)):
        with pytest.raises(ValueError, match="patch_range must name at least one patch; got none"):
            made(empty, **options)
    with pytest.raises(ValueError, match=r"from 0; got 12, but images\[0\] has 3 x 4 = 12, images\[1\] has 4 x 3 = 12"):
        made(range(13), **options)
    with pytest.raises(ValueError, match="patch_range must not be negative; got -1"):
        made([-1, 2], **options)
    with pytest.raises(ValueError, match="must be numbers of patches or boxes .* got 'all'"):
        made("all", **options)
    with pytest.raises(ValueError, match=r"with|must be .* row0 < row1"):
        made([(5, 5, 0, 20)], **options)
    with pytest.raises(
        ValueError, match=r"boxes of patch_range must lie within every image; \(0, 45, 0, 20\) leaves im"
    ):
        made([(0, 45, 0, 20)], **options)
    with pytest.raises(ValueError, match=r"must hold a patch of \(16, 16\); \(0, 10, 0, 20\) is smaller"):
        made([(0, 10, 0, 20)], **options)


def test_parameters_that_are_wrong():
    images = [coded(40, 50), coded(12, 50), coded(10, 9)]
    masks = [image % 2 for image in images]
    with pytest.raises(
        ValueError, match=r"not be larger than an image; got \(16, 16\), but 2 of 3 images are smaller: im"
    ):
        samples_of(images, masks, patch_shape=(16, 16))
    for name, value, error, match in [
        ("overlap", 8, ValueError, "overlap must be less than patch_shape"),
        ("n_adjacent", 2, ValueError, "n_adjacent must be odd"),
        ("oversample_rare", 1.5, ValueError, r"oversample_rare must be a number in \[0, 1\]; got 1.5"),
        ("flips", 1, TypeError, "flips must be True or False; got 1"),
        ("repeat", 0, ValueError, "repeat must be an integer >= 1"),
        ("patch_shape", (8,), ValueError, "patch_shape must be 2 positive integers"),
        ("classes", [0, 0], ValueError, "classes must be labels, each once"),
        ("ignore_label", 0.5, TypeError, "ignore_label must be an integer"),
    ]:
        with pytest.raises(error, match=match):
            samples_of(images, masks, **{"patch_shape": (8, 8), name: value})


def test_masks_that_are_wrong(rng):
    image, half = coded(40, 50), np.full((40, 50), 0.5)
    with pytest.raises(ValueError, match=r"masks\[1\] holds fractions.*So do 1 more of 3: masks\[2\]"):
        samples_of([image] * 3, [image % 2, half, half])
    with pytest.raises(
        ValueError, match="at most 256 labels; with masks there are 2000: it looks like grey values, not"
    ):
        samples_of(image, image)
    for mask, ignore, found in [
        (np.zeros((40, 50), int), None, r"only \[0\]"),
        (image.astype(int) % 2, 0, r"only \[1\]"),
        (np.zeros((40, 50), int), 0, "no labelled pixel"),
    ]:
        with pytest.raises(
            ValueError, match=f"at least two classes to tell apart; found {found} with ignore_label={ignore}"
        ):
            samples_of(image, mask, ignore_label=ignore)
    with pytest.raises(ValueError, match=r"known labels 0, 1 .*found 2 in masks\[1\], 7 in masks\[2\]. Relabel"):
        samples_of([image] * 3, [image % 2, image % 3, image % 2 * 7], classes=[0, 1], ignore_label=-1)
    assert samples_of(image, np.zeros((40, 50), int), classes=[0, 1]).class_counts.tolist() == [2000, 0]


def test_a_mask_that_changes_is_noticed(rng):
    mask = rng.integers(0, 2, (1, 40, 50))
    samples = PatchSamples(open_labelled(ArraySource(coded(40, 50)[None]), ArraySource(mask, name="mask.tif")))
    mask[0, 5, 5] = 9
    with pytest.raises(ValueError, match=r"masks must hold known labels \[0, 1\]; mask.tif holds 9"):
        epoch(samples)


# ------------------------------------------------------------------------------------------------- memory, threads


class Watched(ArraySource):
    """Notes how much is asked for at a time, and refuses to be read as a whole."""

    most = 0

    def _read(self, start, stop):
        raise AssertionError("a whole slice was read")

    def _read_region(self, start, stop, rows, columns):
        type(self).most = max(self.most, (rows.stop - rows.start) * (columns.stop - columns.start))
        return super()._read_region(start, stop, rows, columns)


def test_large_images_are_read_in_pieces(rng, monkeypatch):
    monkeypatch.setattr(_label_index, "PIECE", 5000)
    monkeypatch.setattr(_labelled_part, "PIECE", 5000)
    monkeypatch.setattr(Watched, "most", 0)
    image = rng.random((1, 700, 400))
    samples = samples_of(Watched(image), Watched(image > 0.99), patch_shape=(64, 64), oversample_rare=0.5)
    samples.statistics(labelled_only=True)
    training, validation = samples.held_out(0.1, rng)
    epoch(training)
    list(validation.in_order(4))
    assert 0 < Watched.most <= 5000


def test_the_index_stays_small(monkeypatch):
    monkeypatch.setattr(_label_index, "MOST_CELLS", 100)
    image = coded(301, 200)
    samples = samples_of(image, (image % 7 == 0) + 2 * (image > 55_000), patch_shape=(32, 32), oversample_rare=1.0)
    assert sum(counts[..., 0].size for counts in samples._part.counts) <= 100
    assert samples.class_counts.sum() == image.size
    assert (joined(epoch(samples))[1] > 0).any((1, 2)).all()
    np.testing.assert_array_equal(np.sort(counted(samples)[0]), np.arange(image.size))


def test_the_reader_ends_with_the_epoch(rng):
    image = rng.random((80, 80))
    samples = samples_of(image, image > 0.5, patch_shape=(8, 8))
    before = threading.active_count()
    batches = samples.shuffled(4, np.random.default_rng(0))
    next(batches)
    assert threading.active_count() == before + 1
    batches.close()
    assert threading.active_count() == before


def test_an_engine_learns_from_them_and_goes_on_where_it_stopped(rng, tmp_path):
    image = rng.random((48, 48), np.float32)
    mask = np.where(rng.random(image.shape) < 0.3, -1, (image > 0.5).astype(int))

    def train(max_epochs, checkpoint=None):
        torch.manual_seed(0)
        task = SupervisedTask(
            torch.nn.Conv2d(1, 2, 1), learning_rate=0.3, loss=torch.nn.CrossEntropyLoss(ignore_index=IGNORE)
        )
        samples = samples_of(image, mask, ignore_label=-1, patch_shape=(16, 16))
        training, validation = samples.normalised(*samples.statistics()).held_out(0.2, np.random.default_rng(0))
        engine = Engine(task, TrainingOptions(max_epochs=max_epochs, batch_size=2, checkpoint=checkpoint))
        return engine.train(training, validation), task.modules["network"].weight.detach()

    history, weights = train(6)
    assert history["val_loss"][-1] < 0.5 * history["val_loss"][0]
    train(3, tmp_path / "state")
    _, resumed = train(6, tmp_path / "state")
    assert torch.equal(weights, resumed)

"""Patches of labelled images: which ones, turned how, with which labels."""

import numpy as np
import pytest
import torch
from patch_checks import coded, counted, epoch, joined, samples_of

from tomolearn.ops import extract_patches
from tomolearn.training.patches import IGNORE

# ------------------------------------------------------------------------------------------------- which patches


@pytest.mark.parametrize(("shape", "patch_shape"), [((40, 70), (16, 16)), ((70, 40), (16, 12)), ((32, 48), (16, 16))])
@pytest.mark.parametrize("overlap", [None, 0, 5, (3, 0)])
def test_numbers_are_those_of_extract_patches(shape, patch_shape, overlap, rng):
    image, mask = coded(*shape), rng.integers(0, 3, shape)
    expected = extract_patches(image, patch_shape, overlap=overlap)
    for number in range(len(expected)):
        samples = samples_of(
            image, mask, patch_shape=patch_shape, overlap=overlap, patch_range=[number], classes=[0, 1, 2], flips=False
        )
        ((x, y),) = epoch(samples)
        np.testing.assert_array_equal(x[0, 0], expected[number])
        inside = np.zeros(np.array(shape) + patch_shape, bool)
        inside[: shape[0], : shape[1]] = True
        row, column = np.argwhere(image == expected[number][0, 0])[0]
        inside = inside[row : row + patch_shape[0], column : column + patch_shape[1]]
        np.testing.assert_array_equal(y[0] >= 0, inside)  # what reaches over the edge has no labels
        np.testing.assert_array_equal(y[0][inside], mask.ravel()[x[0, 0][inside].int()])


def test_numbers_go_left_to_right_then_down():
    image = coded(20, 30)
    samples = samples_of(
        image, image > 300, patch_shape=(10, 10), patch_range=[4, 1, 2, 1], flips=False, classes=[0, 1]
    )
    x, _ = joined(epoch(samples))
    assert sorted(x[:, 0, 0, 0]) == [10, 20, 310]


def test_random_crops_cover_the_area_once(rng):
    image = coded(50, 37)
    samples = samples_of(image, image % 2, patch_shape=(8, 10), flips=False)
    assert len(samples) == 7 * 4 and samples.n_batches(5) == 6
    corners = []
    for seed in range(60):
        x, _ = joined(epoch(samples, seed))
        own = np.divmod(x[:, 0, 0, 0].astype(int), 37)
        corners.append(np.stack(own, 1))
        # each range of positions gives one crop
        limits = [np.arange(n + 1) * (size - k + 1) // n for n, size, k in ((7, 50, 8), (4, 37, 10))]
        places = [np.searchsorted(edge, at, side="right") - 1 for edge, at in zip(limits, own, strict=True)]
        assert len(set(zip(*places, strict=True))) == 28
        assert np.array_equal(x[:, 0], [image[r : r + 8, c : c + 10] for r, c in corners[-1]])
    corners = np.concatenate(corners)
    assert set(corners[:, 0]) == set(range(43)) and set(corners[:, 1]) == set(range(28))


def test_crops_do_not_leave_their_boxes():
    image = coded(50, 40)
    boxes = [(4, 24, 3, 19), (30, 50, 24, 40)]
    for overlap in (None, 2):
        samples = samples_of(image, image % 2, patch_shape=(8, 8), patch_range=boxes, overlap=overlap, flips=False)
        seen = np.unique(np.concatenate([joined(epoch(samples, seed))[0].ravel() for seed in range(8)]))
        allowed = np.concatenate([image[a:b, c:d].ravel() for a, b, c, d in boxes])
        assert np.isin(seen, allowed).all() and len(seen) > 0.9 * len(allowed)
        codes, _ = counted(samples)
        np.testing.assert_array_equal(np.sort(codes), np.sort(allowed))
        assert samples.class_counts.sum() == len(allowed)


def test_labels_outside_patch_range_do_not_count():
    image = coded(20, 20)
    mask = np.where(image < 40, 7, image % 2).astype(int)
    assert samples_of(image, mask, patch_shape=(8, 8)).classes.tolist() == [0, 1, 7]
    samples = samples_of(image, mask, patch_shape=(8, 8), patch_range=[(2, 20, 0, 20)])
    assert samples.classes.tolist() == [0, 1] and samples.class_counts.tolist() == [180, 180]


def test_the_default_patch_is_the_smallest_image():
    images = [np.zeros((300, 90)), np.zeros((280, 400))]
    masks = [np.arange(image.size).reshape(image.shape) % 2 for image in images]
    assert samples_of(images, masks).patch_shape == (256, 90)
    assert samples_of(images, masks, patch_range=[(0, 30, 0, 50)]).patch_shape == (30, 50)


def test_symmetries_turn_images_labels_and_weights_alike():
    image = coded(8, 8)
    samples = samples_of(image, image.astype(int), weights=image, patch_shape=(8, 8), repeat=64)
    assert len(samples) == 64
    x, y, weight = joined(epoch(samples))
    np.testing.assert_array_equal(x[:, 0], y)
    np.testing.assert_array_equal(x[:, 0], weight)
    turns = [np.rot90(image, k) for k in range(4)]
    assert {part.tobytes() for part in y} == {a.astype(np.int64).tobytes() for t in turns for a in (t, t.T)}
    flat = coded(8, 9)
    _, y = joined(epoch(samples_of(flat, flat.astype(int), patch_shape=(8, 9), repeat=64)))
    assert {part.tobytes() for part in y} == {
        np.ascontiguousarray(flat[::a, ::b], np.int64).tobytes() for a in (1, -1) for b in (1, -1)
    }
    x, _, _ = joined(epoch(samples_of(image, image.astype(int), weights=image, flips=False)))
    np.testing.assert_array_equal(x[0, 0], image)


# --------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.int64, np.uint64, np.float32])
def test_classes_are_indices_of_the_sorted_labels(dtype, rng):
    labels = np.array([5, 85, 3, 120]) if dtype != np.int64 else np.array([-(2**40), 85, 3, 2**40])
    index = rng.integers(0, 4, (20, 30))
    samples = samples_of(index.astype(float), labels[index].astype(dtype), patch_shape=(20, 30), flips=False)
    assert samples.classes.tolist() == sorted(labels)
    assert samples.class_counts.tolist() == [int((labels[index] == label).sum()) for label in sorted(labels)]
    ((x, y),) = epoch(samples)
    assert y.dtype == torch.int64 and x.dtype == torch.float32
    np.testing.assert_array_equal(samples.classes[y[0]], labels[index])


def test_labels_that_are_found_late_take_their_place():
    masks = [np.repeat([[9, 5]], 4, 0), np.repeat([[7, 5]], 4, 0), np.repeat([[1, 1]], 4, 0)]
    samples = samples_of([coded(4, 2)] * 3, masks)
    assert samples.classes.tolist() == [1, 5, 7, 9] and samples.class_counts.tolist() == [8, 8, 4, 4]
    np.testing.assert_array_equal(samples.classes[samples.entries([0, 1, 2])[1]], masks)


def test_booleans_and_negative_labels():
    image = coded(6, 6)
    assert samples_of(image, image > 9).classes.tolist() == [0, 1]
    samples = samples_of(image, np.where(image > 9, -1, -7).astype(np.int8))
    assert samples.classes.tolist() == [-7, -1] and samples.class_counts.tolist() == [10, 26]
    ((_, y),) = epoch(samples_of(image, np.where(image > 9, -1, image % 2).astype(int), ignore_label=-1, flips=False))
    assert (y[0].numpy() == np.where(image > 9, IGNORE, image % 2)).all()


@pytest.mark.parametrize("patch_shape", [(8, 8), (3, 5), (20, 9)])
def test_each_labelled_pixel_counts_once_in_the_fixed_tiles(patch_shape, rng):
    images = [coded(41, 30), coded(25, 22, 10_000)]
    masks = [rng.integers(0, 4, image.shape) for image in images]  # 3: unlabelled
    masks[0][:20, :22] = 3
    samples = samples_of(images, masks, patch_shape=patch_shape, ignore_label=3)
    codes, classes = counted(samples)
    values = np.concatenate([image.ravel() for image in images]).astype(int)
    labels = np.concatenate([mask.ravel() for mask in masks])
    order = np.argsort(codes)
    np.testing.assert_array_equal(codes[order], values[labels != 3])
    np.testing.assert_array_equal(classes[order], labels[labels != 3])
    assert samples.class_counts.tolist() == [int((labels == k).sum()) for k in range(3)]
    x, y = samples.entries(np.arange(samples.n_distinct))
    assert len(y) == samples.n_distinct and (y >= 0).flatten(1).any(1).all()


def test_patches_without_labels_are_not_drawn(rng):
    mask = np.full((300, 300), -1)
    scribbles = [(7, 9, 0), (150, 151, 1), (299, 299, 1), (40, 260, 0)]
    for row, column, label in scribbles:
        mask[row, column] = label
    image = coded(300, 300)
    samples = samples_of(image, mask, ignore_label=-1, patch_shape=(16, 16))
    assert len(samples) < 4 * 4 + 1
    seen = set()
    for seed in range(10):
        x, y = joined(epoch(samples, seed))
        assert (y >= 0).any((1, 2)).all()
        seen |= set(x[:, 0][y >= 0].astype(int).tolist())
    assert seen == {row * 300 + column for row, column, _ in scribbles}
    assert np.sort(counted(samples)[0]).tolist() == sorted(seen)


def test_rare_classes_are_drawn_as_often_as_asked(rng):
    mask = np.zeros((120, 100), int)
    pixels = np.concatenate([rng.integers(10, 90, (6, 2)), [[0, 0], [119, 99]]])
    mask[60:64, 20:90] = 2
    mask[tuple(pixels.T)] = 1
    image = coded(120, 100)
    samples = samples_of(image, mask, patch_shape=(9, 9), oversample_rare=1.0, flips=False)
    x, y = joined([batch for seed in range(8) for batch in epoch(samples, seed)])
    middle = y[:, 4, 4]
    at = np.divmod(x[:, 0, 0, 0].astype(int), 100)
    away = (at[0] > 0) & (at[0] < 111) & (at[1] > 0) & (at[1] < 91)
    assert set(middle[away]) == {1, 2} and (y > 0).any((1, 2)).all()
    share = np.mean([(part == 1).any() and part[4, 4] != 2 for part in y])
    assert abs(share - 0.5) < 0.05  # each rare class as often, though 280 pixels against 8; 1,344 draws
    hits = [np.sum((y == 1).any((1, 2)) & (x[:, 0] == r * 100 + c).any((1, 2)) & (middle != 2)) for r, c in pixels]
    assert min(hits) > 0.6 * max(hits)  # each pixel of a class as often
    base = np.mean([(part > 0).any() for part in joined(epoch(samples_of(image, mask, patch_shape=(9, 9))))[1]])
    half = samples_of(image, mask, patch_shape=(9, 9), oversample_rare=0.5)
    shows = np.mean([(part > 0).any() for seed in range(8) for part in joined(epoch(half, seed))[1]])
    assert abs(shows - (0.5 + 0.5 * base)) < 0.06


def test_rare_patches_keep_to_grid_and_boxes():
    image, mask = coded(64, 64), np.zeros((64, 64), int)
    mask[37, 50] = mask[3, 3] = 1
    grid = samples_of(image, mask, patch_shape=(16, 16), overlap=4, oversample_rare=1.0, flips=False)
    x, y = joined(epoch(grid))
    assert (y == 1).any((1, 2)).all() and (np.stack(np.divmod(x[:, 0, 0, 0].astype(int), 64)) % 12 == 0).all()
    boxes = samples_of(
        image, mask, patch_shape=(16, 16), patch_range=[(30, 50, 40, 60)], oversample_rare=1.0, flips=False
    )
    x, y = joined(epoch(boxes))
    assert (y == 1).any((1, 2)).all() and (x[:, 0, 0, 0] >= 30 * 64 + 40).all()


def test_weights_and_neighbours_come_along(rng):
    volume, weights = rng.random((5, 20, 24)), rng.random((5, 20, 24)).astype(np.float32)
    samples = samples_of(volume, volume > 0.5, weights=weights, n_adjacent=3, patch_shape=(20, 24), flips=False)
    assert samples.has_weights
    x, y, weight = samples.entries(np.arange(5))
    for i in range(5):
        np.testing.assert_array_equal(x[i], volume[[max(0, i - 1), i, min(4, i + 1)]].astype(np.float32))
        np.testing.assert_array_equal(y[i], volume[i] > 0.5)
        np.testing.assert_array_equal(weight[i], weights[i])

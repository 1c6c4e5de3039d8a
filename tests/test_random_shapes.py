"""Random shapes: what they are made of, and that a seed says all."""

import numpy as np
import pytest

from tomolearn.simulation import random_shapes
from tomolearn.simulation.shapes import KINDS


def circle(size):
    return np.hypot(*np.mgrid[:size, :size] - (size - 1) / 2) <= size // 2 - 5


@pytest.mark.parametrize("size", [16, 33, 64])
def test_values_and_field_of_view(size):
    images = random_shapes(20, size, random_state=0)
    assert images.shape == (20, size, size) and images.dtype == np.float32
    np.testing.assert_allclose(images.max(axis=(1, 2)), 1)
    assert images.min() == 0 and (images[:, ~circle(size)] == 0).all()
    assert len({image.tobytes() for image in images}) == 20


def test_an_image_depends_on_the_seed_alone():
    many = random_shapes(300, 32, image_photons=256, random_state=1)
    np.testing.assert_array_equal(random_shapes(7, 32, image_photons=256, random_state=1), many[:7])
    assert not np.array_equal(random_shapes(7, 32, image_photons=256, random_state=2), many[:7])
    state = np.random.RandomState(1)
    np.testing.assert_array_equal(random_shapes(7, 32, image_photons=256, random_state=state), many[:7])


def test_the_number_of_shapes():
    """Without smoothing, as many grey values at most as there are shapes, and the background."""
    counts = [
        len(np.unique(image[circle(64)])) - 1
        for image in random_shapes(200, n_shapes=(2, 5), shape_size=(8, 12), smoothing=0, random_state=0)
    ]
    assert max(counts) == 5 and min(counts) <= 2


def test_one_shape_has_the_size_that_is_asked_for():
    seen = set()
    for image in random_shapes(200, n_shapes=(1, 1), shape_size=(9, 9), smoothing=0, random_state=0):
        rows, columns = np.nonzero(image == 1)
        if image[circle(64)].min() == 1 or not circle(64)[rows, columns].all() or not 0 < len(rows) < 100:
            continue
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        if max(rows.max(), columns.max()) < 50 and min(rows.min(), columns.min()) > 14:  # not cut by the circle
            assert 8 <= height <= 10 and 8 <= width <= 10
            seen.add(round(len(rows) / 81, 1))
    # areas in terms of the square: the square itself, the disc, the triangle
    assert any(area >= 0.95 for area in seen) and any(0.7 <= area <= 0.9 for area in seen)
    assert any(area <= 0.6 for area in seen)
    assert len(KINDS) == 4


def test_noise_on_the_image_is_what_it_says():
    options = {"n_shapes": (3, 3), "shape_size": (25, 30), "smoothing": 0, "random_state": 0}
    clean, noisy = random_shapes(50, **options), random_shapes(50, image_photons=256, **options)
    flat = clean == 1
    ratio = noisy[flat] / noisy[flat].mean()
    assert ratio.std() == pytest.approx(1 / 16, rel=0.1)


def test_smoothing_keeps_the_shapes():
    sharp, smooth = (random_shapes(5, smoothing=s, shape_size=(10, 14), random_state=0) for s in (0, 1))
    for a, b in zip(sharp, smooth, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9
        assert np.abs(np.diff(b, axis=0)).max() < np.abs(np.diff(a, axis=0)).max()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_images": 0}, ValueError, "n_images must be an integer >= 1; got 0"),
        ({"size": 8}, ValueError, "size must be an integer >= 16; got 8"),
        ({"n_shapes": 3}, ValueError, "n_shapes must be two numbers, the lower one first; got 3"),
        ({"n_shapes": (5, 3)}, ValueError, r"n_shapes must be two numbers, the lower one first; got \(5, 3\)"),
        ({"shape_size": (3, 100)}, ValueError, r"shape_size\[1\] must be a number in \[1, 64\]; got 100"),
        ({"smoothing": -1}, ValueError, "smoothing must be a number in"),
        ({"image_photons": 0}, ValueError, "image_photons must be a number in"),
    ],
)
def test_wrong_arguments(options, error, message):
    with pytest.raises(error, match=message):
        random_shapes(**{"n_images": 1} | options)

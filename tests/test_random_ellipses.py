"""Random ellipses: images and tables say the same, and a seed says all."""

import numpy as np
import pytest

from tomolearn.geometry import default_angles
from tomolearn.ops import radon
from tomolearn.simulation import ellipse_image, ellipse_sinogram, random_ellipses


@pytest.mark.parametrize("size", [8, 33, 64])
def test_values_and_field_of_view(size):
    images = random_ellipses(20, size, random_state=0)
    assert images.shape == (20, size, size) and images.dtype == np.float32
    np.testing.assert_array_equal(images.max(axis=(1, 2)), 1)
    assert images.min() == 0 and len({image.tobytes() for image in images}) == 20
    x, y = np.abs(np.mgrid[:size, :size] - (size - 1) / 2) - 0.5  # the corner of a pixel next to the middle
    assert (images[:, np.hypot(np.maximum(x, 0), np.maximum(y, 0)) > size / 2] == 0).all()


def test_the_tables_are_those_of_the_images():
    images, tables = random_ellipses(30, 48, random_state=1, return_tables=True)
    np.testing.assert_array_equal(images, random_ellipses(30, 48, random_state=1))
    angles = default_angles(30)
    for image, table in zip(images, tables, strict=True):
        np.testing.assert_allclose(ellipse_image(table, (48, 48), supersampling="exact"), image, atol=1e-6)
        exact = ellipse_sinogram(table, angles, 48, bin_average=True)
        np.testing.assert_allclose(exact.sum(axis=1), image.sum(), rtol=1e-6)  # the detector sees all of it
        assert np.sqrt(np.mean((radon(image, angles) - exact) ** 2)) < 0.02 * exact.max()


def test_numbers_are_uniform_in_their_ranges():
    options = {"n_ellipses": (2, 5), "semi_axes": (2, 9), "values": (0.5, 2)}
    tables = random_ellipses(600, 64, random_state=0, return_tables=True, **options)[1]
    counts = np.bincount([len(table) for table in tables], minlength=7) / 600
    np.testing.assert_allclose(counts, [0, 0, 0.25, 0.25, 0.25, 0.25, 0], atol=0.05)
    value, a, b, x, y, phi = np.concatenate(tables).T
    for found, (low, high) in ((a, (2, 9)), (b, (2, 9)), (phi, (0, np.pi))):
        assert low <= found.min() and found.max() <= high
        np.testing.assert_allclose(np.quantile(found, [0.25, 0.5, 0.75]), np.linspace(low, high, 5)[1:4], rtol=0.1)
    assert (np.hypot(x, y) + np.maximum(a, b) <= 32 + 1e-9).all()
    assert abs(x.mean()) < 0.7 and abs(y.mean()) < 0.7 and x.std() == pytest.approx(y.std(), rel=0.1)
    ratios = [table[:, 0].max() / table[:, 0].min() for table in tables]
    assert 2.5 < max(ratios) <= 4 and value.min() > 0


def test_an_image_depends_on_the_seed_alone():
    many = random_ellipses(40, 32, random_state=1)
    np.testing.assert_array_equal(random_ellipses(7, 32, random_state=1), many[:7])
    assert not np.array_equal(random_ellipses(7, 32, random_state=2), many[:7])
    np.testing.assert_array_equal(random_ellipses(7, 32, random_state=np.random.RandomState(1)), many[:7])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_images": 0}, ValueError, "n_images must be an integer >= 1; got 0"),
        ({"size": 7}, ValueError, "size must be an integer >= 8; got 7"),
        ({"n_ellipses": 4}, ValueError, "n_ellipses must be two numbers, the lower one first; got 4"),
        ({"n_ellipses": (4, 3)}, ValueError, r"n_ellipses must be two numbers, the lower one first; got \(4, 3\)"),
        ({"semi_axes": (1, 33)}, ValueError, r"semi_axes\[1\] must be a number in \[0.1, 32\]; got 33"),
        ({"values": (0, 1)}, ValueError, r"values\[0\] must be a number in \(0, inf\]; got 0"),
        ({"values": ("a", 1)}, TypeError, r"values\[0\] must be a number"),
    ],
)
def test_wrong_arguments(options, error, message):
    with pytest.raises(error, match=message):
        random_ellipses(**{"n_images": 1} | options)

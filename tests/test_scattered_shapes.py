"""Scattered shapes: labels that are those of the image, no overlap, and that a seed says all."""

import numpy as np
import pytest
from scipy import ndimage

from tomolearn.simulation import scattered_shapes


@pytest.mark.parametrize(("size", "n_shapes", "extent"), [(64, 24, 8), (100, 5, 30), (33, 4, 5)])
def test_each_kind_in_turn_with_one_value_each(size, n_shapes, extent):
    images, labels = scattered_shapes(3, size, n_shapes=n_shapes, shape_size=extent, random_state=0)
    assert images.shape == labels.shape == (3, size, size)
    assert images.dtype == np.float32 and labels.dtype == np.uint8
    np.testing.assert_array_equal(images > 0, labels > 0)
    for image, label in zip(images, labels, strict=True):
        values = np.unique(image[label > 0])
        assert len(values) == n_shapes and values.min() >= 0.2 and values.max() <= 1
        kinds = np.sort([label[image == value][0] for value in values])
        np.testing.assert_array_equal(kinds, np.sort(np.arange(n_shapes) % 4 + 1))
        for value in values:  # a shape whose pixels another covers would have a smaller box
            assert [s.stop - s.start for s in ndimage.find_objects((image == value).astype(int))[0]] == [extent, extent]


def test_shapes_are_what_they_are_called():
    image, label = (stack[0] for stack in scattered_shapes(1, 400, n_shapes=4, shape_size=100, random_state=1))
    areas = [np.count_nonzero(label == kind) for kind in (1, 2, 3, 4)]
    disc, ring = np.pi * 50**2, np.pi * (50**2 - 38**2)  # the width of outlines: a quarter of the radius, 12 pixels
    np.testing.assert_allclose(areas, [100**2, 100**2 - 76**2, disc, ring], rtol=0.01)
    assert image.max() <= 1


def test_an_image_depends_on_the_seed_alone():
    many = scattered_shapes(9, 32, n_shapes=6, random_state=1)
    few = scattered_shapes(3, 32, n_shapes=6, random_state=1)
    for a, b in zip(few, many, strict=True):
        np.testing.assert_array_equal(a, b[:3])
    assert not np.array_equal(scattered_shapes(3, 32, n_shapes=6, random_state=2)[0], few[0])
    assert len({image.tobytes() for image in many[0]}) == 9


def test_large_images_as_in_the_segmentation_task():
    images, labels = scattered_shapes(1, 1280, random_state=12345)
    assert len(np.unique(images)) == 25 and set(np.unique(labels)) == {0, 1, 2, 3, 4}


def test_too_many_shapes_are_refused():
    with pytest.raises(
        ValueError, match=r"n_shapes=40 shapes of 16 x 16 pixels must fit .*Lower n_shapes or shape_size"
    ):
        scattered_shapes(1, 64, n_shapes=40, shape_size=16, random_state=0)
    with pytest.raises(ValueError, match="shape_size must be"):
        scattered_shapes(1, 64, shape_size=65)

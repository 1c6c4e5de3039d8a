"""Foams: volume and projections of one and the same object, in blocks as a whole."""

import numpy as np
import pytest

from tomolearn.exceptions import GeometryError
from tomolearn.geometry import default_angles
from tomolearn.ops import radon
from tomolearn.simulation import Foam, random_foam

ANGLES = default_angles(40)
FOAM = random_foam(6, 96, radius_range=(3.0, 9.0), value=0.5, random_state=0)


def test_what_it_is_made_of():
    x, y, z, r = FOAM.voids.T
    assert 3 <= r.min() < 6 and r.max() == 9 and len(np.unique(r)) > 10
    assert (np.hypot(x, y) + r <= 0.97 * 0.45 * 96 + 1e-9).all() and FOAM.radius == 0.45 * 96
    assert (z.min() < -6) and (z.max() > 6)  # voids that the first and the last slice cut
    volume = FOAM.volume()
    assert volume.dtype == np.float32 and volume.min() == 0 and volume.max() == 0.5
    distance = np.hypot(*np.mgrid[:96, :96] - 47.5)
    assert (volume[:, distance > FOAM.radius + 1] == 0).all()
    skin = (distance > 0.98 * FOAM.radius) & (distance < FOAM.radius - 1)
    np.testing.assert_allclose(volume[:, skin], 0.5, rtol=1e-6)
    porosity = 1 - volume[:, distance < 0.95 * FOAM.radius].mean() / 0.5
    assert 0.4 < porosity < 0.8


def test_each_void_stands_where_it_should():
    """The mass that is missing, slice by slice, is that of the caps of the voids."""
    size, voids = 64, np.array([[10.0, -5.0, 1.2, 7.0], [-12.0, 4.0, -2.5, 5.0]])
    foam = Foam(4, size, 0.45 * size, voids, 1.0)
    full = Foam(4, size, 0.45 * size, np.empty((0, 4)), 1.0).volume()
    missing = full - foam.volume(supersampling=8)
    for slice_, image in enumerate(missing):
        z = slice_ - 1.5
        edges = np.clip((z + np.array([[-0.5], [0.5]]) - voids[:, 2]) / voids[:, 3], -1, 1)
        expected = np.pi * voids[:, 3] ** 3 * np.diff(edges - edges**3 / 3, axis=0)[0]
        x, y = np.mgrid[:size, :size][::-1] - (size - 1) / 2
        assert image.sum() == pytest.approx(expected.sum(), rel=5e-3)
        middle = np.average(voids[:, :2], axis=0, weights=expected)
        np.testing.assert_allclose([(image * x).sum(), -(image * y).sum()] / image.sum(), middle, atol=0.05)


def test_sinograms_are_those_of_the_volume():
    exact = FOAM.sinograms(ANGLES)
    assert exact.shape == (6, 40, 96) and exact.dtype == np.float32 and exact.min() >= -1e-5
    projected = radon(FOAM.volume(supersampling=4), ANGLES)
    assert np.sqrt(np.mean((projected - exact) ** 2)) < 0.04 * exact.mean()
    fine = FOAM.sinograms(ANGLES, supersampling=4)  # as the cells of a detector see it, which is nearer to the voxels
    assert np.sqrt(np.mean((projected - fine) ** 2)) < 0.6 * np.sqrt(np.mean((projected - exact) ** 2))


def test_a_detector_of_another_kind():
    options = {"n_detectors": 70, "center": 30.0, "detector_spacing": 1.7}
    exact = FOAM.sinograms(np.rad2deg(ANGLES), angle_unit="deg", supersampling=3, **options)
    projected = radon(FOAM.volume(supersampling=4), ANGLES, **options)
    assert np.sqrt(np.mean((projected - exact) ** 2)) < 0.04 * exact.mean()


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (2, 5), (5, 6), (3, None)])
def test_blocks_are_parts_of_the_whole(start, stop):
    """A foam larger than memory is the same foam."""
    np.testing.assert_allclose(FOAM.volume(start=start, stop=stop), FOAM.volume()[start:stop], atol=1e-6)
    np.testing.assert_allclose(
        FOAM.sinograms(ANGLES, start=start, stop=stop), FOAM.sinograms(ANGLES)[start:stop], atol=1e-4
    )


def test_a_seed_says_all():
    again, other = (random_foam(6, 96, radius_range=(3.0, 9.0), random_state=seed) for seed in (0, 1))
    np.testing.assert_array_equal(again.voids, FOAM.voids)
    assert not np.array_equal(other.voids, FOAM.voids)
    np.testing.assert_allclose(0.5 * again.volume(), FOAM.volume(), atol=1e-6)


@pytest.mark.parametrize("radii", [None, (3.0, 3.0), (2.0, 4.0), (1.5, 9.0)])
def test_the_number_that_is_proposed_makes_a_foam(radii):
    for seed in range(3):
        foam = random_foam(20, 64, radius_range=radii, random_state=seed)
        share = 4 / 3 * np.sum(foam.voids[:, 3] ** 3) / (0.97 * foam.radius) ** 2 / (20 + 2 * foam.voids[0, 3])
        assert (0.05 if radii == (3.0, 3.0) else 0.3) < share < 0.75
    assert len(random_foam(1, 16, random_state=0).voids) > 10


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: random_foam(0, 64), ValueError, "n_slices must be an integer >= 1; got 0"),
        (lambda: random_foam(4, 8), ValueError, "size must be an integer >= 16; got 8"),
        (lambda: random_foam(4, 64, value=0), ValueError, r"value must be a number in \(0, "),
        (lambda: random_foam(4, 64, radius_range=3), ValueError, "radius_range must be two numbers, the lower one"),
        (lambda: random_foam(4, 64, radius_range=(3, 40)), ValueError, r"radius_range\[1\] must be .* got 40"),
        (lambda: random_foam(4, 64, height=3.0), ValueError, r"height must be a number in \[4, 1e\+09\]; got 3"),
        (lambda: random_foam(4, 64, n_voids=2000), ValueError, "must fit the cylinder; got 2000"),
        (lambda: FOAM.volume(start=6), ValueError, "start must be an integer from 0 to 5; got 6"),
        (lambda: FOAM.volume(start=2, stop=2), ValueError, "stop must be an integer from 3 to 6; got 2"),
        (lambda: FOAM.volume(supersampling=0), ValueError, "supersampling must be an integer from 1 to 64"),
        (lambda: FOAM.sinograms(ANGLES, supersampling=0), ValueError, "supersampling must be an integer from 1 to 64"),
        (lambda: FOAM.sinograms(range(180)), GeometryError, "look like degrees"),
    ],
)
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()

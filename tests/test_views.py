"""Fewer views, a part of the turn, and detectors with wrong pixels."""

import numpy as np
import pytest

from tomolearn.exceptions import GeometryError
from tomolearn.geometry import default_angles
from tomolearn.simulation import add_detector_defects, select_views

ANGLES = default_angles(180)
STACK = np.random.default_rng(0).random((5, 180, 40)).astype(np.float32)


@pytest.mark.parametrize("n_views", [1, 46, 60, 179, 180])
def test_sparse_views_are_spread_evenly(n_views):
    some, angles = select_views(STACK, ANGLES, n_views=n_views)
    assert some.shape == (5, n_views, 40) and angles[0] == 0
    views = np.rint(np.rad2deg(angles)).astype(int)
    np.testing.assert_array_equal(some, STACK[:, views])
    gaps = np.diff([*views, 180])
    assert gaps.min() >= 180 // n_views and gaps.max() <= -(-180 // n_views)


def test_limited_angle():
    some, angles = select_views(STACK[0], np.rad2deg(ANGLES), angle_range=(30, 90), angle_unit="deg")
    np.testing.assert_array_equal(some, STACK[0, 30:91])
    np.testing.assert_allclose(angles, ANGLES[30:91])
    some, angles = select_views(STACK, ANGLES[::-1], angle_range=(ANGLES[10], ANGLES[19]), n_views=5)
    np.testing.assert_allclose(angles, ANGLES[[19, 17, 15, 13, 11]])
    np.testing.assert_array_equal(some, STACK[:, [160, 162, 164, 166, 168]])


def test_all_views_are_kept_by_default():
    some, angles = select_views(STACK, ANGLES)
    np.testing.assert_array_equal(some, STACK)
    np.testing.assert_array_equal(angles, ANGLES)


def test_rings_are_stripes_along_the_angles():
    faulty = add_detector_defects(STACK, ring_strength=0.05, ring_fraction=0.5, random_state=0)
    stripes = faulty - STACK
    assert faulty.dtype == np.float32 and np.ptp(stripes, axis=1).max() < 1e-6
    gain = np.exp(-stripes[:, 0].astype(float))
    wrong = np.abs(gain - 1) > 1e-5
    assert wrong.mean() == pytest.approx(0.5, abs=0.12)
    assert gain[wrong].std() == pytest.approx(0.05, rel=0.25) and gain[wrong].mean() == pytest.approx(1, abs=0.02)
    assert not np.array_equal(wrong[0], wrong[1])  # each has a detector of its own


def test_dead_pixels():
    faulty, dead = add_detector_defects(STACK, n_dead=3, random_state=0, return_dead=True)
    assert dead.shape == (5, 40) and (dead.sum(axis=1) == 3).all()
    np.testing.assert_array_equal(faulty, np.where(dead[:, None], 0, STACK))


def test_faults_do_not_move_each_other():
    both, dead = add_detector_defects(STACK, n_dead=3, ring_strength=0.1, random_state=4, return_dead=True)
    rings = add_detector_defects(STACK, ring_strength=0.1, random_state=4)
    np.testing.assert_array_equal(both, np.where(dead[:, None], 0, rings))
    np.testing.assert_array_equal(dead, add_detector_defects(STACK, n_dead=3, random_state=4, return_dead=True)[1])
    np.testing.assert_array_equal(add_detector_defects(STACK, random_state=4), STACK)


def test_one_sinogram_and_the_caller_keeps_his():
    before = STACK[0].copy()
    faulty, dead = add_detector_defects(STACK[0], n_dead=1, ring_strength=0.1, random_state=0, return_dead=True)
    assert faulty.shape == (180, 40) and dead.shape == (40,) and dead.sum() == 1
    np.testing.assert_array_equal(STACK[0], before)
    assert add_detector_defects(np.ones((3, 4), int)).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: select_views(STACK, ANGLES[:9]), ValueError, r"with 9 angles; got shape \(5, 180, 40\)"),
        (lambda: select_views(STACK[0, 0], [0.0]), ValueError, r"sinograms must be .* got shape \(40,\)"),
        (lambda: select_views(STACK, ANGLES, n_views=181), ValueError, "n_views must be an integer from 1 to 180"),
        (lambda: select_views(STACK, np.rad2deg(ANGLES)), GeometryError, "look like degrees"),
        (lambda: select_views(STACK, ANGLES, angle_range=(4, 5)), GeometryError, "must hold some .*got 4 to 5 rad"),
        (lambda: select_views(STACK, ANGLES, angle_range=(2, 1)), GeometryError, r"the lower one first; got \(2, 1\)"),
        (lambda: select_views(STACK, ANGLES, angle_range=(1, 2, 3)), GeometryError, "must be two angles"),
        (lambda: add_detector_defects(STACK[0, 0]), ValueError, r"sinograms must be .* got shape \(40,\)"),
        (lambda: add_detector_defects(STACK * np.nan), ValueError, "sinograms must be finite; got 36000 NaN"),
        (lambda: add_detector_defects([["a"]]), TypeError, "sinograms must hold real numbers"),
        (lambda: add_detector_defects(STACK, n_dead=41), ValueError, "n_dead must be an integer from 0 to 40; got 41"),
        (lambda: add_detector_defects(STACK, ring_strength=-1), ValueError, "ring_strength must be a number in"),
        (lambda: add_detector_defects(STACK, ring_fraction=2), ValueError, "ring_fraction must be a number in"),
    ],
)  # fmt: skip
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()

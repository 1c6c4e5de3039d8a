"""Half acquisition: stitched scans against wide ones, the axis against truth and algotom, and what must be refused."""

import numpy as np
import pytest
import torch
from conftest import require
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from tomolearn.exceptions import GeometryError
from tomolearn.geometry import ParallelBeam
from tomolearn.operators import RadonOperator
from tomolearn.preprocessing.stitching import HalfAcquisitionStitcher, find_center_360, stitch_half_acquisition
from tomolearn.simulation import ellipse_sinogram, simulate_scan
from tomolearn.solvers import fbp

ELLIPSES = [[1.0, 48.0, 40.0, 0.0, 0.0, 0.3], [-0.6, 9.0, 14.0, 20.0, 12.0, 0.7], [0.8, 5.0, 4.0, -30.0, 8.0, 1.2]]
FULL_TURN = np.linspace(0, 2 * np.pi, 240, endpoint=False)


def half_scan(center, *, angles=FULL_TURN, n_detectors=61):
    return ellipse_sinogram(ELLIPSES, angles, n_detectors, center=center)


# ------------------------------------------------------------------------------------------------------- stitching


@pytest.mark.parametrize("center", [50.0, 52.5, 10.0, 30.0, 60.0, 0.0])
def test_on_samples_the_stitched_views_are_those_of_a_wide_detector(center):
    """Nothing is interpolated where the axis is on a sample or between two: equal to rounding."""
    stitched, middle = stitch_half_acquisition(half_scan(center), center)
    wide = int(2 * max(center, 60 - center)) + 1
    assert stitched.shape == (120, wide) and middle == (wide - 1) / 2
    np.testing.assert_allclose(stitched, ellipse_sinogram(ELLIPSES, FULL_TURN[:120], wide), atol=1e-9)


@pytest.mark.parametrize("center", [50.25, 51.83, 8.6, 30.1])
def test_between_samples_the_views_are_interpolated(center):
    """Round bells, whose projections are known and smooth."""

    def views(angles, n_detectors, axis):
        t = np.arange(n_detectors) - axis
        bells = [(0.0, 0.0), (20.0, 12.0), (-30.0, 8.0), (11.0, -35.0)]
        distances = (t - (x * np.cos(angles) + y * np.sin(angles))[:, None] for x, y in bells)
        return sum(np.exp(-((d / 3) ** 2) / 2) for d in distances)

    stitched, middle = stitch_half_acquisition(views(FULL_TURN, 61, center), center)
    expected = views(FULL_TURN[:120], stitched.shape[1], middle)
    assert middle == (stitched.shape[1] - 1) / 2
    error = np.abs(stitched - expected)[:, 2:-2]  # at the outermost samples nothing is known beyond
    assert error.max() < 0.003


def test_halves_that_differ_are_blended_linearly_over_the_overlap():
    """The first half turn holds 1 and the second 3: what comes out is how much of each was taken."""
    for center, n_overlap in ((50.0, 21), (10.0, 21), (52.5, 16), (30.0, 61)):
        X = np.ones((240, 61))
        X[120:] = 3.0
        row = stitch_half_acquisition(X, center)[0][5]
        ramp = 1 + 2 * (np.arange(n_overlap) + 0.5) / n_overlap
        n_alone = (len(row) - n_overlap) // 2
        expected = np.concatenate([np.full(n_alone, 1.0), ramp, np.full(n_alone, 3.0)])
        np.testing.assert_allclose(row, expected if center >= 30 else expected[::-1], atol=1e-12)


@pytest.mark.parametrize("offset", [55.3, -48.8])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_an_object_wider_than_the_detector_is_reconstructed_as_from_a_full_width_scan(offset, noise):
    size = 256
    half = simulate_scan(2, size, 720, n_detectors=150, center_offset=offset, full_turn=True, random_state=0)
    full = simulate_scan(2, size, 360, random_state=0)
    np.testing.assert_array_equal(half.volume, full.volume)
    rng, inside = np.random.default_rng(0), np.hypot(*np.mgrid[-127.5:128, -127.5:128]) < 0.42 * size
    level = noise * full.projections.max()

    def error(sinograms, center):
        sinograms = sinograms + level * rng.standard_normal(sinograms.shape).astype(np.float32)
        beam = ParallelBeam(full.angles, sinograms.shape[2], image_shape=(size, size), center=center)
        return np.sqrt(np.mean((fbp(RadonOperator(beam), sinograms) - full.volume)[:, inside] ** 2))

    stitched, middle = stitch_half_acquisition(half.projections, half.center)
    assert error(stitched, middle) < 1.07 * error(full.projections, None)


@pytest.mark.parametrize(
    "angles",
    [
        FULL_TURN + 0.7,
        np.linspace(0, 2 * np.pi, 241),
        np.linspace(0, 2 * np.pi, 241, endpoint=False),
        FULL_TURN[::-1],
        np.random.default_rng(0).permutation(FULL_TURN),
    ],
    ids=["start", "end view", "odd number", "backwards", "shuffled"],
)
def test_any_order_of_the_angles(angles):
    center = 50.0
    stitched, _ = stitch_half_acquisition(half_scan(center, angles=angles), center, angles=angles, angle_unit="rad")
    step = HalfAcquisitionStitcher(center=center, angles=angles, angle_unit="rad")
    first = step.fit(half_scan(center, angles=angles)[None]).transform_angles(angles)
    assert (np.diff(first) > 0).all() and np.pi - 0.03 < first[-1] - first[0] < np.pi
    wide = ellipse_sinogram(ELLIPSES, first, stitched.shape[1])
    odd = len(angles) == 241 and angles[-1] < 2 * np.pi  # the opposite view is then the mean of two half a step away
    assert np.abs(stitched - wide).mean() < (0.2 if odd else 1e-9)


def test_kinds_dtypes_and_stacks():
    X = np.stack([half_scan(50.3), 2 * half_scan(50.3)])
    stitched, center = stitch_half_acquisition(X, 50.3)
    np.testing.assert_array_equal(stitched[1], stitch_half_acquisition(X[1], 50.3)[0])
    assert stitch_half_acquisition(X.astype(np.float32), 50.3)[0].dtype == np.float32
    tensor, _ = stitch_half_acquisition(torch.from_numpy(X), 50.3)
    assert torch.equal(tensor, torch.from_numpy(stitched))


# ---------------------------------------------------------------------------------------------------------- the axis


@pytest.mark.parametrize("offset", [55.3, -48.8, 30.25, 66.1, 2.4])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_axis_is_found_on_either_side(offset, noise):
    scan = simulate_scan(2, 256, 360, n_detectors=150, center_offset=offset, full_turn=True, random_state=0)
    X = scan.projections + noise * scan.projections.max() * np.random.default_rng(0).standard_normal((2, 360, 150))
    assert find_center_360(X, scan.angles) == pytest.approx(scan.center, abs=0.05)
    mirrored = find_center_360(X[:, :, ::-1], scan.angles)
    assert mirrored == pytest.approx(149 - find_center_360(X, scan.angles), abs=0.01)


@pytest.mark.parametrize("offset", [-48.8, 30.25])
def test_algotom_finds_the_same_axis(offset):
    calculation = require("algotom.prep.calculation")
    scan = simulate_scan(1, 256, 360, n_detectors=150, center_offset=offset, full_turn=True, random_state=1)
    theirs = calculation.find_center_360(scan.projections[0], 20, ncore=1)[0]
    assert find_center_360(scan.projections[0]) == pytest.approx(theirs, abs=0.25)


def test_axis_outside_the_search():
    X = half_scan(50.0)
    assert find_center_360(X, search=(40, 58)) == pytest.approx(50, abs=0.03)
    with pytest.warns(UserWarning, match=r"edge of its search, 51\.50 to 58\.00"):
        find_center_360(X, search=(51.5, 58))


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("function", [lambda X, **k: stitch_half_acquisition(X, 50.0, **k), find_center_360])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"angles": np.linspace(0, np.pi, 240)}, GeometryError, r"views over 360 degrees; got 180\.8 degrees"),
        ({"angles": np.linspace(0, 350, 240)}, GeometryError, "look like degrees"),
        ({"angles": FULL_TURN[:-1]}, GeometryError, "one per projection; got 239 for 240"),
        ({"angles": np.zeros(240)}, GeometryError, "views over 360 degrees; got 0.0"),
        ({"X": np.full((240, 61), np.nan)}, ValueError, "X must be finite"),
        ({"X": np.ones(240)}, ValueError, "X must have 2 or 3 dimensions"),
    ],
)
def test_errors_say_what_came(function, change, error, message):
    with pytest.raises(error, match=message):
        function(**{"X": half_scan(50.0), **change})


@pytest.mark.parametrize("center", [-0.1, 60.5, np.nan])
def test_the_axis_must_be_on_the_detector(center):
    with pytest.raises(ValueError, match="center must"):
        stitch_half_acquisition(half_scan(50.0), center)


def test_nothing_to_find_an_axis_in():
    with pytest.raises(ValueError, match="X must show an object"):
        find_center_360(np.ones((2, 240, 61)))
    with pytest.raises(GeometryError, match=r"one sinogram of 16 detectors; got shape \(1, 240, 15\)"):
        find_center_360(np.ones((240, 15)))


# -------------------------------------------------------------------------------------------------------- transformer


@pytest.mark.filterwarnings("ignore:each of the .* values of a row of X:UserWarning")
@pytest.mark.filterwarnings("ignore:SCIPY_ARRAY_API")
@parametrize_with_checks([HalfAcquisitionStitcher(center=0.0)])
def test_scikit_learn(estimator, check):
    check(estimator)


def test_the_transformer_is_the_function():
    X = np.stack([half_scan(50.3), 2 * half_scan(50.3)])
    expected, middle = stitch_half_acquisition(X, 50.3)
    step = HalfAcquisitionStitcher(center=50.3).fit(X)
    np.testing.assert_array_equal(step.transform(X), expected)
    assert step.corrected_shape_ == expected.shape[1:] and step.transform_center(50.3) == middle
    np.testing.assert_array_equal(step.transform_angles(FULL_TURN), FULL_TURN[:120])
    found = clone(step).set_params(center=None).fit(X)
    assert found.center_ == find_center_360(X) == pytest.approx(50.3, abs=0.1)
    flat = clone(step).set_params(sinogram_shape=(240, 61)).fit(X.reshape(2, -1))
    np.testing.assert_array_equal(flat.transform(X.reshape(2, -1)), expected.reshape(2, -1))
    assert len(flat.get_feature_names_out()) == expected[0].size
    with pytest.raises(GeometryError, match="center must lie on the detector, 0 to 60"):
        clone(step).set_params(center=70).fit(X)

"""Laws of the angular weights, and the scale of what they and the filters reconstruct together."""

import numpy as np
import pytest

from tomolearn.exceptions import GeometryError
from tomolearn.ops.filters import FILTERS, angle_weights, filter_sinogram


@pytest.mark.parametrize("n_angles", [1, 2, 3, 180, 181, 1000])
@pytest.mark.parametrize("turns", [0.5, 1, 2, 3])
@pytest.mark.parametrize("offset", [0, -17.3, 292.0])
def test_equal_steps_weigh_the_same(n_angles, turns, offset):
    angles = offset + np.linspace(0, turns * 2 * np.pi, n_angles, endpoint=False)
    np.testing.assert_allclose(angle_weights(angles), np.pi / n_angles, rtol=0, atol=1e-12)


def test_both_ends_of_the_half_circle_share():
    weights = angle_weights(np.linspace(0, np.pi, 5))
    np.testing.assert_allclose(weights, np.pi / 4 * np.array([0.5, 1, 1, 1, 0.5]), atol=1e-12)


def test_known_cells():
    np.testing.assert_allclose(angle_weights([1.0, 0.0, 2.0]), [1.0, (np.pi - 1) / 2, (np.pi - 1) / 2], atol=1e-12)


def test_order_does_not_matter_and_half_turns_neither(rng):
    angles = rng.uniform(0, np.pi, 50)
    weights = angle_weights(angles)
    order = rng.permutation(50)
    np.testing.assert_allclose(angle_weights(angles[order]), weights[order], atol=1e-13)
    np.testing.assert_allclose(angle_weights(angles + np.pi * rng.integers(-3, 4, 50)), weights, atol=1e-13)


def test_weights_sum_to_the_half_circle_without_missing_wedge(rng):
    golden = np.pi * (np.sqrt(5) - 1) / 2 * np.arange(377)
    dense_and_sparse = np.concatenate([np.arange(0, 1, 0.01), np.arange(1, np.pi, 0.1)])
    jittered_pairs = np.repeat(np.linspace(0, np.pi, 90, endpoint=False), 2) + rng.uniform(-1e-4, 1e-4, 180)
    three_often = np.repeat([0.0, 1.0, 2.0], 10) + rng.uniform(-1e-3, 1e-3, 30)
    for angles in (golden, dense_and_sparse, jittered_pairs, three_often, rng.uniform(0, np.pi, 300), [0.1, 1.0, 2.5]):
        weights = angle_weights(angles)
        assert weights.min() > 0
        assert weights.sum() == pytest.approx(np.pi, abs=1e-12)


def test_repeated_angles_share_one_part(rng):
    angles = np.linspace(0, np.pi, 30, endpoint=False)
    repeats = rng.integers(1, 6, 30)
    rounding = rng.uniform(-1e-8, 1e-8, repeats.sum())  # also across 0 = pi
    expected = np.repeat(np.pi / 30 / repeats, repeats)
    np.testing.assert_allclose(angle_weights(np.repeat(angles, repeats) + rounding), expected, atol=2e-8)
    assert angle_weights([0.3, 0.3, 0.3 + np.pi]) == pytest.approx([np.pi / 3] * 3)


@pytest.mark.parametrize("degrees", [170, 90, 30])
def test_a_missing_wedge_is_given_to_nobody(degrees):
    angles = np.deg2rad(np.arange(0, degrees, 1.0))
    np.testing.assert_allclose(angle_weights(angles), np.deg2rad(1), atol=1e-12)


def test_pillars_are_missing_wedges_too():
    angles = np.arange(180.0)
    behind_pillar = (angles % 90 > 50) & (angles % 90 < 70)
    weights = angle_weights(np.deg2rad(angles[~behind_pillar]))
    np.testing.assert_allclose(weights, np.deg2rad(1), atol=1e-12)


def test_another_period():
    np.testing.assert_allclose(angle_weights(np.linspace(0, 2 * np.pi, 9), period=2 * np.pi).sum(), 2 * np.pi)


@pytest.mark.parametrize(
    ("angles", "message"),
    [
        ([], "non-empty list of numbers"),
        ([[0.0, 1.0]], r"non-empty list of numbers; got an array of shape \(1, 2\)"),
        (1.0, "non-empty list of numbers"),
        ([0.0, np.nan], "finite; got 1 NaN"),
        (["north"], "list of numbers; got .'north'"),
    ],
)
def test_bad_angles_are_named(angles, message):
    with pytest.raises(GeometryError, match=f"angles must be a? ?{message}"):
        angle_weights(angles)


def test_bad_period_is_named():
    with pytest.raises(ValueError, match="period must be a number"):
        angle_weights([0.0, 1.0], period=0)


# ------------------------------------------------------------------------------------------------- both together: FBP


def disc_sinogram(angles, n, radius, x0, y0, spacing):
    """Line integrals of a disc of value 1, and the detector coordinate of its middle."""
    s = (np.arange(n) - (n - 1) / 2) * spacing
    middle = x0 * np.cos(angles) + y0 * np.sin(angles)
    return 2 * np.sqrt(np.clip(radius**2 - (s - middle[:, None]) ** 2, 0, None))


def reconstruct(sinogram, angles, n, spacing, **options):
    """Back-projection, slowly, of what is under test."""
    weighted = filter_sinogram(sinogram, detector_spacing=spacing, **options) * angle_weights(angles)[:, None]
    axis = np.arange(n) - (n - 1) / 2
    x, y = axis[None, :], -axis[:, None]
    coordinates = np.arange(sinogram.shape[1])
    image = np.zeros((n, n))
    for row, angle in zip(weighted, angles, strict=True):
        t = (x * np.cos(angle) + y * np.sin(angle)) / spacing + (sinogram.shape[1] - 1) / 2
        image += np.interp(t, coordinates, row, left=0, right=0)
    return image, x, y


@pytest.mark.parametrize("name", [name for name in FILTERS if name != "none"])
@pytest.mark.parametrize(
    ("n_detectors", "spacing", "angles"),
    [
        (64, 1.0, np.linspace(0, np.pi, 102, endpoint=False)),
        (128, 0.5, np.linspace(0, 2 * np.pi, 205)),
        (72, 1.3, np.sort(np.random.default_rng(3).uniform(0, np.pi, 400))),
    ],
)
def test_a_disc_of_value_one_is_reconstructed_with_mean_one(name, n_detectors, spacing, angles):
    n, radius, x0, y0 = 64, 20.0, 3.0, -5.0
    sinogram = disc_sinogram(angles, n_detectors, radius, x0, y0, spacing)
    image, x, y = reconstruct(sinogram, angles, n, spacing, filter=name)
    inside = (x - x0) ** 2 + (y - y0) ** 2 <= (0.7 * radius) ** 2
    assert image[inside].mean() == pytest.approx(1, abs=0.01)
    outside = ((x - x0) ** 2 + (y - y0) ** 2 >= (1.3 * radius) ** 2) & (x**2 + y**2 <= 31**2)
    assert abs(image[outside].mean()) < 0.01

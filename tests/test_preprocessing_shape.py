"""Air, padding and binning: known answers, and where angles and centre go."""

import numpy as np
import pytest

from tomolearn import FBPReconstructor, radon
from tomolearn.preprocessing import (
    AirNormalizer,
    SinogramBinner,
    SinogramPadder,
    bin_stack,
    normalize_air,
    pad_detectors,
)

# ------------------------------------------------------------------------------------------------------------- air


def striped_object(n=2, n_angles=5, n_detectors=40):
    X = np.ones((n, n_angles, n_detectors))
    X[..., 8:30] = 0.3
    return X


def test_a_linear_beam_is_divided_out(rng):
    truth = striped_object()
    left, right = rng.uniform(0.5, 2.0, (2, 2, 5, 1))
    beam = left + (right - left) * np.linspace(0, 1, 40)
    for width in (1, 3, 8):
        np.testing.assert_allclose(normalize_air(truth * beam, width=width), truth, rtol=1e-12)
    corrected = AirNormalizer(width=4).fit_transform((truth * beam).astype(np.float32))
    np.testing.assert_allclose(corrected, truth, rtol=1e-5)


def test_one_side_gives_one_level(rng):
    truth = striped_object()
    level = rng.uniform(0.5, 2.0, (2, 5, 1))
    X = truth * level
    for side, spoiled in (("left", slice(30, 40)), ("right", slice(0, 8))):
        other = X.copy()
        other[..., spoiled] *= 0.2  # the object reaches over this edge
        expected = truth.copy()
        expected[..., spoiled] *= 0.2
        np.testing.assert_allclose(normalize_air(other, width=5, side=side), expected, rtol=1e-12)
    assert abs(normalize_air(other, width=5) - expected).max() > 0.1


def test_means_of_the_strips_are_the_levels():
    X = np.ones((1, 1, 10))
    X[0, 0, :3], X[0, 0, -3:] = [1, 2, 6], [4, 8, 9]
    result = normalize_air(X, width=3)
    level = 3 + (7 - 3) * (np.arange(10) - 1) / 7
    np.testing.assert_allclose(result[0, 0], X[0, 0] / level, rtol=1e-12)
    np.testing.assert_allclose(normalize_air(X), normalize_air(X, width=1))


def test_projections_without_air_are_left_and_counted():
    X = striped_object()
    X[0, 1, :4] = X[1, 3, -4:] = -0.1
    result, count = normalize_air(X, width=4, return_count=True)
    assert count == 80
    np.testing.assert_array_equal(result[[0, 1], [1, 3]], X[[0, 1], [1, 3]])
    with pytest.warns(UserWarning, match="^AirNormalizer: 80 of 400 values left as they were: no air level above 0"):
        AirNormalizer(width=4).fit_transform(X)
    assert normalize_air(X, width=4, side="right", return_count=True)[1] == 40


def test_air_parameters_are_checked():
    X = striped_object()
    with pytest.raises(ValueError, match="width must be at most the number of detectors, 40; got 41"):
        normalize_air(X, width=41)
    with pytest.raises(ValueError, match="width must be an integer >= 1; got 0"):
        AirNormalizer(width=0).fit(X)
    with pytest.raises(ValueError, match="side must be one of 'both', 'left', 'right'; got 'top'"):
        AirNormalizer(side="top").fit(X)
    assert AirNormalizer().fit(X).width_ == 1
    assert AirNormalizer().fit(np.ones((1, 1, 640))).width_ == 20


# --------------------------------------------------------------------------------------------------------- padding


def test_padding_is_numpys(rng):
    X = rng.random((2, 3, 5))
    for width, both in ((2, (2, 2)), ((0, 4), (0, 4)), (0, (0, 0))):
        sides = ((0, 0), (0, 0), both)
        np.testing.assert_array_equal(pad_detectors(X, width), np.pad(X, sides, mode="edge"))
        np.testing.assert_array_equal(pad_detectors(X, width, "zero"), np.pad(X, sides))
        padder = SinogramPadder(width=width, mode="zero").fit(X)
        np.testing.assert_array_equal(padder.transform(X), np.pad(X, sides))
        assert padder.width_ == both and padder.corrected_shape_ == (3, 5 + sum(both))
    assert SinogramPadder().fit(X).width_ == (2, 2)


def test_padding_parameters_are_checked():
    X = np.ones((1, 2, 3))
    with pytest.raises(ValueError, match="width must be an integer >= 0; got -1"):
        pad_detectors(X, (2, -1))
    with pytest.raises(ValueError, match="width must be one number of detectors, or two for left and right"):
        SinogramPadder(width=(1, 2, 3)).fit(X)
    with pytest.raises(TypeError, match="width must be an integer >= 0; got 1.5"):
        pad_detectors(X, 1.5)
    with pytest.raises(ValueError, match="mode must be one of 'edge', 'zero'; got 'mirror'"):
        SinogramPadder(mode="mirror").fit(X)


def off_center_scan(n=64, center=28.3, n_angles=60):
    disc = (np.hypot(*np.mgrid[-31.5:32, -31.5:32]) < 20).astype(np.float32)
    disc[20:26, 36:40] = 0
    angles = np.linspace(0, np.pi, n_angles, endpoint=False)
    return disc, radon(disc[None], angles, center=center, n_detectors=n), angles, center


def test_padded_sinograms_reconstruct_at_their_center():
    disc, X, angles, center = off_center_scan()
    padder = SinogramPadder(width=(7, 12), mode="zero").fit(X)
    assert padder.transform_center(center) == pytest.approx(center + 7)
    fbp = FBPReconstructor(method="direct", angles=angles, center=center, image_shape=(64, 64)).fit(X).predict(X)
    padded = padder.transform(X)
    again = FBPReconstructor(
        method="direct", angles=angles, center=padder.transform_center(center), image_shape=(64, 64)
    )
    seen = np.hypot(*np.mgrid[-31.5:32, -31.5:32]) < center  # by all views of the narrow detector
    np.testing.assert_allclose(again.fit(padded).predict(padded)[0][seen], fbp[0][seen], rtol=0, atol=1e-5)


# --------------------------------------------------------------------------------------------------------- binning


def test_bins_are_means_and_the_remainder_is_cut(rng):
    X = rng.random((5, 7, 11))
    result = bin_stack(X, (2, 3, 4))
    assert result.shape == (2, 2, 2)
    for i, j, k in np.ndindex(2, 2, 2):
        expected = X[2 * i : 2 * i + 2, 3 * j : 3 * j + 3, 4 * k : 4 * k + 4].mean()
        assert result[i, j, k] == pytest.approx(expected, rel=1e-12)
    np.testing.assert_array_equal(bin_stack(X, (1, 1, 1)), X)
    np.testing.assert_allclose(bin_stack(X, (5, 7, 11))[0, 0, 0], X.mean(), rtol=1e-12)
    whole = np.arange(2**16, dtype=np.uint16).reshape(16, 64, 64)
    assert bin_stack(whole, (16, 64, 64)) == whole.mean()


def test_binner_bins_angles_and_center(rng):
    X = rng.random((3, 7, 11))
    binner = SinogramBinner(angle_factor=3, detector_factor=4).fit(X)
    np.testing.assert_array_equal(binner.transform(X), bin_stack(X, (1, 3, 4)))
    np.testing.assert_allclose(binner.transform_angles(np.arange(7.0)), [1.0, 4.0])
    assert binner.transform_center(5.5) == 1.0  # between detectors 5 and 6: the bin of 4 to 7 has its middle there
    np.testing.assert_allclose(SinogramBinner().fit(X).transform_center(np.array([0.5, 4.5])), [0, 2])


def test_binned_sinograms_reconstruct_at_their_center():
    disc, X, angles, center = off_center_scan(n_angles=120)
    binner = SinogramBinner(angle_factor=2, detector_factor=2).fit(X)
    binned = binner.transform(X)
    reconstructor = FBPReconstructor(
        angles=binner.transform_angles(angles), center=binner.transform_center(center), detector_spacing=2.0
    )
    reconstructor.set_params(image_shape=(64, 64))
    image = reconstructor.fit(binned).predict(binned)[0]
    inside = np.hypot(*np.mgrid[-31.5:32, -31.5:32]) < 17
    inside[16:30, 32:44] = False
    assert image[inside].mean() == pytest.approx(1, abs=0.02)
    assert image[22:24, 37:39].mean() < 0.4  # the hole is where it was


def test_binning_parameters_are_checked(rng):
    X = rng.random((3, 7, 11))
    with pytest.raises(ValueError, match=r"factors\[2\] must be at most 11, the length of the axis; got 12"):
        bin_stack(X, (1, 1, 12))
    with pytest.raises(ValueError, match="factors must be 3 positive integers; got"):
        bin_stack(X, (2, 2))
    with pytest.raises(ValueError, match="X must be .*; got shape"):
        bin_stack(X[0], (1, 1, 2))
    with pytest.raises(ValueError, match=r"angle_factor must be at most 7 for sinograms of shape \(7, 11\)"):
        SinogramBinner(angle_factor=8).fit(X)
    with pytest.raises(TypeError, match="detector_factor must be an integer >= 1; got 2.0"):
        SinogramBinner(detector_factor=2.0).fit(X)


def test_feature_names_follow_the_new_shape():
    X = np.ones((2, 4, 6))
    assert len(SinogramPadder(width=1).fit(X).get_feature_names_out()) == 4 * 8
    assert len(SinogramBinner().fit(X).get_feature_names_out()) == 4 * 3

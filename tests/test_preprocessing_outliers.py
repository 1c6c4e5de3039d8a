"""Zingers and bad pixels: planted ones are found and nothing else, and what takes their place is known."""

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter, minimum_filter

from tomolearn.preprocessing import BadPixelRepairer, MinusLog, ZingerRemover, remove_zingers, repair_pixels
from tomolearn.preprocessing.outliers import _lowest, _windows
from tomolearn.simulation import ellipse_sinogram, shepp_logan_ellipses


def transmissions(absorption=2.0, size=128, n_angles=180):
    """Of a head phantom, (1, n_angles, size); the least is exp(-absorption)."""
    angles = np.linspace(0, np.pi, n_angles, endpoint=False)
    integrals = ellipse_sinogram(shepp_logan_ellipses(size), angles, n_detectors=size)
    return np.exp(-absorption * integrals.reshape(1, n_angles, size) / integrals.max())


# --------------------------------------------------------------------------------------------------------- zingers


@pytest.mark.parametrize("absorption", [0.5, 2.0, 4.0])
@pytest.mark.parametrize("photons", [None, 10_000, 1_000])
def test_nothing_else_is_touched(absorption, photons):
    """Neither edges nor noise are taken for zingers."""
    X = transmissions(absorption, 256)
    if photons is not None:
        X = np.random.default_rng(0).poisson(photons * X) / photons
    result, count = remove_zingers(X, return_count=True)
    assert count < 1e-4 * X.size
    assert (result != X).sum() == count


@pytest.mark.parametrize("photons", [None, 10_000])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_planted_zingers_are_replaced_by_the_level_around_them(shape, photons):
    X = transmissions()
    rng = np.random.default_rng(1)
    if photons is not None:
        X = rng.poisson(photons * X) / photons
    struck = np.zeros(X.shape, bool)
    for angle in range(4, 174, 17):
        for detector in range(5, 122, 13):
            struck[0, angle : angle + shape[0], detector : detector + shape[1]] = True
    zingers = X + struck * rng.uniform(1.0, 20.0, X.shape)
    result, count = remove_zingers(zingers, return_count=True)
    assert abs(count - struck.sum()) <= 1e-4 * X.size
    lowest, highest = minimum_filter(X, (1, 3, 3)), maximum_filter(X, (1, 3, 3))
    assert ((lowest <= result) & (result <= highest))[struck].all()  # a value that was there beside the zinger
    smooth = struck & (highest - lowest < 0.1)
    assert smooth.sum() > 0.6 * struck.sum()
    error, before = (np.sqrt(np.mean(np.square(a - X)[smooth])) for a in (result, zingers))
    assert before > 400 * error
    assert (result != zingers)[~struck].sum() <= 1e-4 * X.size


@pytest.mark.parametrize("size", [3, 5])
def test_zingers_at_ends_and_corners(size):
    width = size // 2 + 1
    for angle in (0, 9, 20 - width):
        for detector in (0, 11, 24 - width):
            X = np.ones((20, 24))
            X[angle : angle + width, detector : detector + width] = 7.0
            result, count = remove_zingers(X, size=size, return_count=True)
            assert (result == 1).all() and count == width**2, (angle, detector)


def test_threshold_is_relative_to_the_level():
    for level in (0.01, 1.0, 5000.0):
        X = np.full((9, 9), level)
        X[4, 4] *= 1.3
        assert remove_zingers(X, threshold=0.29, return_count=True)[1] == 1
        assert remove_zingers(X, threshold=0.31, return_count=True)[1] == 0


def test_dark_values_and_negative_levels():
    X = np.full((9, 9), 2.0)
    X[4, 4] = -50.0  # not a zinger: those are bright
    assert remove_zingers(X, return_count=True)[1] == 0
    X = np.full((9, 9), -2.0)  # noise of the dark current
    X[4, 4] = 50.0
    result, count = remove_zingers(X, return_count=True)
    assert count == 1 and (result == -2).all()


def test_definition(rng):
    """By a slow loop: what exceeds the median of its window, moved inside, and the median of the rest of it."""
    X = rng.exponential(1.0, (13, 17)) ** 4
    result, count = remove_zingers(X, threshold=1.0, size=5, return_count=True)
    limit = 6 * 1.4826 / np.sqrt(2) * torch.from_numpy(abs(np.diff(X))).median().item()
    windows = {}
    for a, d in np.ndindex(13, 17):
        rows, columns = (slice(s := min(max(p - 2, 0), n - 5), s + 5) for p, n in ((a, 13), (d, 17)))
        windows[a, d] = rows, columns
    medians = np.array([np.median(X[windows[place]]) for place in np.ndindex(13, 17)]).reshape(13, 17)
    zingers = (X - medians > limit) & (X - medians > medians)
    assert count == zingers.sum() > 10
    np.testing.assert_array_equal(result[~zingers], X[~zingers])
    for a, d in np.argwhere(zingers):
        rest = np.sort(X[windows[a, d]][~zingers[windows[a, d]]])
        assert result[a, d] == rest[(len(rest) - 1) // 2]


@pytest.mark.parametrize("length", [1, 2, 3, 5, 6, 12])
@pytest.mark.parametrize("size", [3, 5])
def test_the_lowest_value_is_that_of_the_same_window(rng, length, size):
    """The medians are only looked at where a value exceeds the lowest one: both must be of one window."""
    x = torch.from_numpy(rng.random((4, length)))
    places = _windows(torch.arange(length), length, size)
    np.testing.assert_array_equal(_lowest(x, 1, size), x[:, places].amin(dim=2))
    np.testing.assert_array_equal(_lowest(x.T, 0, size), x[:, places].amin(dim=2).T)


def test_zinger_parameters_are_checked():
    X = np.ones((1, 4, 5))
    with pytest.raises(ValueError, match="size must be odd, so that the window has a middle; got 4. Take 5"):
        remove_zingers(X, size=4)
    with pytest.raises(ValueError, match="size must be an integer >= 3; got 1"):
        ZingerRemover(size=1).fit(X)
    with pytest.raises(ValueError, match="threshold must be a number in"):
        ZingerRemover(threshold=0).fit(X)


def test_remover_counts():
    X = np.ones((2, 6, 8))
    X[1, 2:4, 3] = 40
    with pytest.warns(UserWarning, match="^ZingerRemover: 2 of 96 zingers replaced$"):
        assert (ZingerRemover().fit_transform(X) == 1).all()
    assert ZingerRemover(threshold=50).fit(X).transform_counted(X)[1] == {"zingers replaced": 0}


# ------------------------------------------------------------------------------------------------------ bad pixels


def ramps(n=3, n_angles=7, n_detectors=11):
    """Linear along both axes, so that interpolation is exact."""
    slices, angles, detectors = np.ogrid[1 : n + 1, :n_angles, :n_detectors]
    return slices * (1.0 + 0.5 * angles) + 0.25 * detectors


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_single_values_and_lines_are_interpolated(value):
    truth = ramps()
    X = truth.copy()
    X[0, 2, 4] = X[1, 5, 6:9] = value  # between detectors
    X[1, 1] = X[2, 3:5] = value  # whole projections, between angles
    X[2, :, 5] = value  # a detector line through the slice
    result, count = repair_pixels(X, return_count=True)
    np.testing.assert_allclose(result, truth, rtol=1e-14)
    assert count == 1 + 3 + 11 + 22 + 5
    np.testing.assert_array_equal(result[np.isfinite(X)], X[np.isfinite(X)])


def test_beyond_the_last_good_value_the_nearest_one_holds():
    X = ramps()
    truth = X.copy()
    X[0, 2, :3] = X[0, 2, 10] = np.nan
    X[1, :2] = X[1, 6] = np.nan
    result = repair_pixels(X)
    assert (result[0, 2, :3] == truth[0, 2, 3]).all() and result[0, 2, 10] == truth[0, 2, 9]
    np.testing.assert_array_equal(result[1, :2], truth[1, [2, 2]])
    np.testing.assert_array_equal(result[1, 6], truth[1, 5])


def test_mask():
    truth = ramps()
    X = truth.copy()
    X[:, :, 4] = -100.0
    X[1, 2, 7] = np.nan
    mask = np.zeros((3, 1, 11), bool)
    mask[:, :, 4] = True
    before = mask.copy()
    result, count = repair_pixels(X, mask, return_count=True)
    np.testing.assert_allclose(result, truth, rtol=1e-14)
    assert count == 22
    np.testing.assert_array_equal(mask, before)
    np.testing.assert_allclose(repair_pixels(X, np.broadcast_to(mask, X.shape)), truth, rtol=1e-14)
    np.testing.assert_allclose(repair_pixels(X[0], mask[0, 0]), truth[0], rtol=1e-14)
    with pytest.raises(ValueError, match=r"mask must .* broadcasts to that of X, \(3, 7, 11\); got \(4,\)"):
        repair_pixels(X, np.zeros(4, bool))
    with pytest.raises(TypeError, match="mask must hold truth values; got dtype int64"):
        repair_pixels(X, np.zeros(11, np.int64))


def test_a_sinogram_without_good_values_is_refused():
    X = ramps()
    X[1] = np.nan
    with pytest.raises(ValueError, match="X must hold a value to interpolate from .*; slice 1 holds none"):
        repair_pixels(X)
    with pytest.raises(ValueError, match="slice 1 holds none"):
        BadPixelRepairer().fit(X).transform(X)


def test_large_values_are_not_taken_for_infinite():
    X = np.full((1, 8, 64), 3e38, np.float32)
    result, count = repair_pixels(X, return_count=True)
    assert count == 0
    np.testing.assert_array_equal(result, X)


def test_repairer_counts_and_makes_way_for_the_next_step():
    X = np.exp(-ramps() / 10)
    X[0, 2, 4] = X[2, 3, 3] = np.nan
    with pytest.warns(UserWarning, match="^BadPixelRepairer: 2 of 231 values not finite, interpolated$"):
        result = BadPixelRepairer().fit(X).transform(X)
    np.testing.assert_allclose(MinusLog().fit_transform(result), ramps() / 10, rtol=1e-2)
    assert BadPixelRepairer().fit(X).transform_counted(result)[1] == {"values not finite, interpolated": 0}
    np.testing.assert_array_equal(repair_pixels(np.arange(6).reshape(2, 3)), np.arange(6.0).reshape(2, 3))


@pytest.mark.shared_data
def test_measured_grain(shared_data):
    """One value of each frame of this scan is NaN."""
    raw = (shared_data / "i13_24737" / "projections.mrc").read_bytes()
    frames = np.frombuffer(raw[-2 * 91 * 135 * 160 :], "<f2").reshape(91, 135, 160)
    stack = frames.swapaxes(0, 1)  # (rows, angles, detectors)
    assert (np.isnan(frames).sum(axis=(1, 2)) == 1).all()
    result, count = repair_pixels(stack, return_count=True)
    assert count == 91 and np.isfinite(result).all() and result.dtype == np.float16
    row, angle, detector = (index[0] for index in np.nonzero(np.isnan(stack)))
    beside = stack[row, angle, [detector - 1, detector + 1]].astype(float)
    assert beside.min() <= result[row, angle, detector] <= beside.max()

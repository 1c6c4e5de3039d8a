"""The Paganin filter: waves of known answer, the definition by sums, a wave that is really propagated, and blocks."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.utils.estimator_checks import parametrize_with_checks

from tomolearn.preprocessing.phase import PaganinFilter, alpha_to_delta_beta, halo_rows, paganin_filter

SETUP = {"pixel_size": 1e-6, "distance": 0.05, "energy": 25e3, "delta_beta": 60.0}
WAVELENGTH = 12.3984198e-10 / 25  # m at 25 keV
RANGE = np.sqrt(WAVELENGTH * 0.05 * 60 / (4 * np.pi)) / 1e-6  # 3.4 pixels
METHODS = ("generalized", "paganin")


def square(k_rows, k_columns, method):
    if method == "paganin":
        return k_rows**2 + k_columns**2
    return 4 * np.sin(k_rows / 2) ** 2 + 4 * np.sin(k_columns / 2) ** 2


# ----------------------------------------------------------------------------------------------------- known answers


@pytest.mark.parametrize("method", METHODS)
def test_a_wave_keeps_its_shape_and_loses_what_the_formula_says(method):
    """Away from the edges; they reach 47 pixels inwards."""
    r, c = np.mgrid[:160, :170]
    for k_rows, k_columns in [(0.3, 0.0), (0.0, 1.1), (0.7, -0.4), (2.5, 3.0)]:
        wave = np.cos(k_rows * r + k_columns * c)
        result = paganin_filter(1 + 0.2 * wave[:, None], **SETUP, method=method)[:, 0]
        expected = 1 + 0.2 * wave / (1 + RANGE**2 * square(k_rows, k_columns, method))
        inside = (slice(60, 100), slice(60, 110))
        # the kernel of the filter of 2002 has a ripple that ends nowhere
        np.testing.assert_allclose(result[inside], expected[inside], atol=1e-6 if method == "generalized" else 2e-4)


@pytest.mark.parametrize("method", METHODS)
def test_it_is_the_discrete_fourier_sum_of_the_padded_projection(rng, method):
    setup = {**SETUP, "delta_beta": 2.0}
    halo = halo_rows(**setup)
    X = rng.random((5, 3, 7))
    shape = [5 + 2 * halo, 7 + 2 * halo]
    n = [next(m for m in range(s, 2 * s) if _smooth(m)) for s in shape]
    before = [(n[0] - 5) // 2, (n[1] - 7) // 2]
    pad = [(before[0], n[0] - 5 - before[0]), (before[1], n[1] - 7 - before[1])]
    k = [2 * np.pi * np.arange(m) / m for m in n]
    k = [np.where(f > np.pi, f - 2 * np.pi, f) for f in k]
    range_ = RANGE * np.sqrt(2 / 60)
    waves = [np.exp(-1j * np.outer(np.arange(m), f)) for m, f in zip(n, k, strict=True)]
    result = paganin_filter(X, **setup, method=method)
    for angle in range(3):
        view = np.pad(X[:, angle], pad, mode="edge")
        spectrum = waves[0].T @ view @ waves[1]
        spectrum /= 1 + range_**2 * square(k[0][:, None], k[1], method)
        filtered = (waves[0].conj() @ spectrum @ waves[1].conj().T).real / (n[0] * n[1])
        expected = filtered[before[0] : before[0] + 5, before[1] : before[1] + 7]
        np.testing.assert_allclose(result[:, angle], expected, atol=1e-10)


def _smooth(n):
    for p in (2, 3, 5):
        while n % p == 0:
            n //= p
    return n == 1


@pytest.mark.parametrize("method", METHODS)
def test_thickness_of_a_propagated_wave_is_recovered(method):
    """A wave behind a homogeneous object, propagated by Fresnel's transfer function."""
    beta, delta_beta = 5e-9, 60.0
    r, c = np.mgrid[-80:80, -80:80]
    thickness = 30e-6 * (np.hypot(r, c) < 45) + 20e-6 * (np.hypot(r - 10, c + 15) < 12)
    thickness = gaussian_filter(thickness, 2.0)
    attenuation, wave_number = 4 * np.pi * beta / WAVELENGTH, 2 * np.pi / WAVELENGTH
    wave = np.exp(-attenuation * thickness / 2 - 1j * wave_number * delta_beta * beta * thickness)
    f = np.fft.fftfreq(160, 1e-6)
    transfer = np.exp(-1j * np.pi * WAVELENGTH * 0.05 * (f[:, None] ** 2 + f**2))
    measured = np.abs(np.fft.ifft2(np.fft.fft2(wave) * transfer)) ** 2
    found = -np.log(paganin_filter(measured[:, None], **SETUP, method=method)[:, 0]) / attenuation
    bare = -np.log(measured) / attenuation
    error, without = (np.sqrt(np.mean((x - thickness) ** 2)) for x in (found, bare))
    assert error < 0.4e-6 and without > 3e-6
    assert found[75:85, 105:115].mean() == pytest.approx(30e-6, rel=0.01)


def test_the_methods_agree_on_slow_waves_and_differ_on_fast_ones(rng):
    slow = gaussian_filter(rng.random((60, 60)), 6)[:, None]
    fast = (np.indices((60, 60)).sum(0) % 2)[:, None].astype(float)
    old, new = (paganin_filter(slow, **SETUP, method=m) for m in ("paganin", "generalized"))
    assert np.abs(old - new).max() < 0.01 * np.ptp(slow)
    old, new = (paganin_filter(fast, **SETUP, method=m)[25:35, 0, 25:35].std() for m in ("paganin", "generalized"))
    assert new / old == pytest.approx((1 + RANGE**2 * 2 * np.pi**2) / (1 + RANGE**2 * 8), rel=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_the_mean_is_kept_and_constants_pass(method):
    constant = np.full((9, 2, 30), 0.7)
    np.testing.assert_allclose(paganin_filter(constant, **SETUP, method=method), 0.7, rtol=1e-12)
    X = np.ones((140, 1, 150))
    X[60:80, :, 65:85] += 0.1 * np.random.default_rng(0).standard_normal((20, 1, 20))  # nothing near the edges
    result = paganin_filter(X, **SETUP, method=method)
    assert result.mean() == pytest.approx(X.mean(), abs=1e-8)
    assert result.std() < 0.3 * X.std()


def test_zero_delta_beta_or_distance_changes_nothing(rng):
    X = rng.random((4, 3, 5))
    for zero in ("delta_beta", "distance"):
        result = paganin_filter(X, **{**SETUP, zero: 0})
        np.testing.assert_array_equal(result, X)
        assert not np.shares_memory(result, X)
        assert halo_rows(**{**SETUP, zero: 0}) == 0


def test_projections_are_filtered_each_for_itself(rng, monkeypatch):
    X = rng.random((12, 5, 14))
    whole = paganin_filter(X, **SETUP)
    for angle in range(5):
        np.testing.assert_allclose(paganin_filter(X[:, angle : angle + 1], **SETUP)[:, 0], whole[:, angle], rtol=1e-12)
    monkeypatch.setattr("tomolearn.preprocessing.phase.BLOCK_BYTES", 1)
    np.testing.assert_allclose(paganin_filter(X, **SETUP), whole, rtol=1e-12)


def test_kinds_and_dtypes(rng):
    X = rng.random((6, 3, 8))
    expected = paganin_filter(X, **SETUP)
    single = paganin_filter(X.astype(np.float32), **SETUP)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, atol=1e-6)
    tensor = paganin_filter(torch.from_numpy(X), **SETUP)
    assert isinstance(tensor, torch.Tensor) and torch.equal(tensor, torch.from_numpy(expected))
    assert paganin_filter((X * 9).astype(np.uint8), **SETUP).dtype == np.float32
    np.testing.assert_allclose(paganin_filter(X[:, ::-1, ::-1], **SETUP), expected[:, ::-1, ::-1], rtol=1e-12)


# ------------------------------------------------------------------------------------------------------------ blocks


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
@pytest.mark.parametrize("delta_beta", [1.0, 20.0])
def test_a_block_with_its_halo_equals_the_whole(rng, tolerance, delta_beta):
    setup = {**SETUP, "delta_beta": delta_beta}
    halo = halo_rows(**setup, tolerance=tolerance)
    X = rng.random((2 * halo + 40, 1, 20))
    X[:halo] += 5 * rng.integers(0, 2, (halo, 1, 1))  # rows beyond the block that would be seen if they counted
    whole = paganin_filter(X, **setup)
    block = paganin_filter(X[20 - min(20, halo) : 30 + halo], **setup)[min(20, halo) : min(20, halo) + 10]
    assert np.abs(block - whole[20:30]).max() <= tolerance * np.ptp(X)
    middle = paganin_filter(X[20 : 2 * halo + 30], **setup)[halo : halo + 10]
    assert np.abs(middle - whole[20 + halo : 30 + halo]).max() <= tolerance * np.ptp(X)


@pytest.mark.parametrize("delta_beta", [1.0, 20.0, 60.0])
def test_the_halo_is_not_longer_than_the_kernel_asks(delta_beta):
    """A step far away: the tail of the kernel is what it changes, and with two rows less it exceeds the tolerance."""
    setup = {**SETUP, "delta_beta": delta_beta}
    halo = halo_rows(**setup, tolerance=1e-4)
    X = np.zeros((6 * halo + 9, 1, 1))
    X[3 * halo + 4 + halo + 1 :] = 1.0
    one_sided = paganin_filter(X, **setup)[3 * halo + 4, 0, 0]
    assert one_sided <= 0.5e-4  # one of the two tails
    X[3 * halo + 4 + halo - 1 :] = 1.0
    assert paganin_filter(X, **setup)[3 * halo + 4, 0, 0] > 0.5e-4


def test_halo_of_no_and_of_endless_blur():
    assert halo_rows(**SETUP, tolerance=0.5) <= 5 < halo_rows(**SETUP, tolerance=1e-4) < halo_rows(**SETUP)
    with pytest.raises(ValueError, match=r"reaches at most 32768 pixels; got \d+ pixels of blur.*in metres, energy in"):
        halo_rows(pixel_size=1e-9, distance=100, energy=1e4, delta_beta=1e4)


# ------------------------------------------------------------------------------------------------ TomoPy's parameter


def test_alpha_of_tomopy_gives_its_filter():
    """TomoPy's filter factor, by its formula in cm and keV, over its maximum."""
    alpha, pixel_size, distance, wavelength = 3e-4, 1e-4, 5.0, 12.3984198e-8 / 25
    w = np.linspace(0, 0.5 / pixel_size, 20)  # cycles per cm
    factor = 1 / (wavelength * distance * w**2 / (4 * np.pi) + alpha)
    length_2 = WAVELENGTH * 0.05 * alpha_to_delta_beta(alpha) / (4 * np.pi) / 1e-12
    k = 2 * np.pi * w * pixel_size  # radians per pixel
    np.testing.assert_allclose(factor / factor.max(), 1 / (1 + length_2 * k**2), rtol=1e-7)


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"energy": 25}, ValueError, r"energy \(in eV, not keV\) must be a number in \[100, 1e\+07\]; got 25"),
        ({"pixel_size": 1.0}, ValueError, r"pixel_size \(in m\) must be a number in \[1e-10, 0.01\]; got 1.0"),
        ({"distance": -1}, ValueError, r"distance \(in m\) must be"),
        ({"delta_beta": -3}, ValueError, "delta_beta must be a number"),
        ({"delta_beta": "1"}, TypeError, "delta_beta must be a number"),
        ({"method": "TIE"}, ValueError, "method must be one of 'generalized', 'paganin'; got 'TIE'"),
        ({"X": np.ones((4, 5))}, ValueError, "X must have 3 dimensions; got 2"),
        ({"X": np.ones((4, 0, 5))}, ValueError, r"none of them zero; got \(4, 0, 5\)"),
        ({"X": np.full((2, 2, 2), np.inf)}, ValueError, "X must be finite; got 8 NaN"),
    ],
)
def test_errors_say_what_came(change, error, message):
    with pytest.raises(error, match=message):
        paganin_filter(**{"X": np.ones((3, 4, 5)), **SETUP, **change})


def test_alpha_must_be_positive():
    with pytest.raises(ValueError, match="alpha must be a number"):
        alpha_to_delta_beta(0)


# -------------------------------------------------------------------------------------------------------- transformer

FILTER = PaganinFilter(**{**SETUP, "delta_beta": 1.0})
COUPLED = "a slice is filtered together with its neighbours"


@pytest.mark.filterwarnings("ignore:each of the .* values of a row of X:UserWarning")
@pytest.mark.filterwarnings("ignore:SCIPY_ARRAY_API")
@parametrize_with_checks(
    [FILTER],
    expected_failed_checks=lambda estimator: {
        "check_methods_subset_invariance": COUPLED,
        "check_methods_sample_order_invariance": COUPLED,
    },
)
def test_scikit_learn(estimator, check):
    check(estimator)


def test_the_transformer_is_the_function(rng):
    X = rng.random((9, 4, 10))
    step = PaganinFilter(**SETUP, method="paganin").fit(X)
    expected = paganin_filter(X, **SETUP, method="paganin")
    np.testing.assert_array_equal(step.transform(X), expected)
    np.testing.assert_array_equal(step.transform(X[:3]), paganin_filter(X[:3], **SETUP, method="paganin"))
    assert step.transform_counted(X)[1] == {}
    single = step.transform(X.astype(">f4"))
    assert single.dtype == np.float32 and np.abs(single - expected).max() < 1e-6
    assert step.transform(np.ones((2, 4, 10), dtype=np.int64)).dtype == np.float32
    assert step.n_halo_rows == halo_rows(**SETUP) and step.blur_length_ == pytest.approx(RANGE)
    flat = PaganinFilter(**SETUP, method="paganin", sinogram_shape=(4, 10)).fit(X.reshape(9, -1))
    np.testing.assert_array_equal(flat.transform(X.reshape(9, -1)), expected.reshape(9, -1))


def test_missing_parameters_are_named():
    with pytest.raises(ValueError, match="PaganinFilter needs energy, delta_beta: pixel_size and distance in metres"):
        PaganinFilter(pixel_size=1e-6, distance=0.1).fit(np.ones((2, 3, 4)))

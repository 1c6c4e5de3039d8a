"""Flat field and logarithm: known answers, dead pixels, counts, and a measured scan."""

import warnings

import h5py
import numpy as np
import pytest
import torch
from conftest import require

from tomolearn.preprocessing import FlatFieldCorrector, MinusLog, flat_field, minus_log


@pytest.fixture
def scan(rng):
    """Transmissions, and the raw counts and frames that a detector without noise records of them."""
    transmissions = rng.uniform(0.05, 1.0, (3, 10, 12))
    dark, gain = rng.uniform(90, 110, (3, 1, 12)), rng.uniform(800, 1200, (3, 1, 12))
    return transmissions, dark + gain * transmissions, dark + gain, dark


# ------------------------------------------------------------------------------------------------------ flat field


def test_transmissions_are_recovered(scan):
    transmissions, counts, flats, darks = scan
    np.testing.assert_allclose(flat_field(counts, flats, darks), transmissions, rtol=1e-12)
    single = flat_field(counts.astype(np.float32), flats, darks)
    np.testing.assert_allclose(single, transmissions, rtol=0, atol=1e-6)


def test_frames_are_averaged(scan):
    transmissions, counts, flats, darks = scan
    ripple = np.array([-3.0, -1.0, 1.0, 3.0])[:, None]
    np.testing.assert_allclose(flat_field(counts, flats + ripple, darks + ripple), transmissions, rtol=1e-12)
    ripple[3] = 5000  # a zinger in one frame
    np.testing.assert_allclose(
        flat_field(counts, flats + ripple[1:], darks, average="median"),
        flat_field(counts, flats + 1.0, darks),
        rtol=1e-12,
    )
    assert abs(flat_field(counts, flats + ripple, darks) - transmissions).max() > 0.1


def test_what_is_not_given_is_left_out(scan):
    transmissions, counts, flats, darks = scan
    np.testing.assert_array_equal(flat_field(counts), counts)
    np.testing.assert_allclose(flat_field(counts, darks=darks), counts - darks, rtol=1e-12)
    np.testing.assert_allclose(flat_field(counts - darks, flats - darks), transmissions, rtol=1e-12)
    beam = np.linspace(0.5, 2, 10)
    np.testing.assert_allclose(flat_field(counts, beam_intensity=beam), counts / beam[:, None], rtol=1e-12)


def test_beam_intensity_is_divided_out(scan):
    transmissions, counts, flats, darks = scan
    beam = np.linspace(0.7, 1.3, 10)
    brighter = darks + (counts - darks) * beam[:, None]
    np.testing.assert_allclose(flat_field(brighter, flats, darks, beam_intensity=beam), transmissions, rtol=1e-12)


def test_counts_of_16_bits_do_not_wrap(scan):
    _, counts, flats, darks = scan
    counts, flats, darks = (np.round(a).astype(np.uint16) for a in (counts, flats, darks))
    counts[:, 0] = darks[:, 0] - 5  # below the dark: negative transmissions, not 65531 counts
    expected = (counts.astype(float) - darks) / (flats.astype(float) - darks)
    result = flat_field(counts, flats, darks)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)
    assert (result[:, 0] < 0).all()


@pytest.mark.parametrize(
    "kill",
    [
        lambda flats, darks: flats.__setitem__((1, 0, 4), darks[1, 0, 4]),
        lambda flats, darks: flats.__setitem__((1, 0, 4), 0),
        lambda flats, darks: flats.__setitem__((1, 0, 4), np.nan),
        lambda flats, darks: darks.__setitem__((1, 0, 4), np.inf),
    ],
)
def test_dead_pixels_are_interpolated_and_counted(scan, kill):
    transmissions, counts, flats, darks = scan
    kill(flats, darks)
    result, count = flat_field(counts, flats, darks, return_count=True)
    expected = transmissions.copy()
    expected[1, :, 4] = (transmissions[1, :, 3] + transmissions[1, :, 5]) / 2
    np.testing.assert_allclose(result, expected, rtol=1e-12)
    assert count == 10
    marked, count = flat_field(counts, flats, darks, dead="nan", return_count=True)
    assert np.isnan(marked[1, :, 4]).all() and np.isnan(marked).sum() == 10 and count == 0


def test_dead_pixels_at_the_edge_take_the_nearest(scan):
    transmissions, counts, flats, darks = scan
    flats[0, 0, [0, 1, 11]] = 0
    result = flat_field(counts, flats, darks)
    for dead, living in ((0, 2), (1, 2), (11, 10)):
        np.testing.assert_allclose(result[0, :, dead], transmissions[0, :, living], rtol=1e-12)


def test_exchanged_frames_are_refused(scan):
    _, counts, flats, darks = scan
    with pytest.raises(ValueError, match="flats must exceed darks; in row 0 .* Are flats and darks exchanged"):
        flat_field(counts, darks, flats)
    flats[2] = 0.5 * darks[2]
    with pytest.raises(ValueError, match="in row 2"):
        FlatFieldCorrector().fit(counts, flats=flats, darks=darks)


@pytest.mark.parametrize("n_darks", [1, 10])
def test_rows_behind_the_blades_of_a_slit_become_air(scan, n_darks):
    """Without beam, flats exceed darks in half of the pixels by chance: their quotient would be noise without bound."""
    transmissions, counts, flats, darks = scan
    rng = np.random.default_rng(0)
    counts[1], flats[1] = darks[1], darks[1]
    flats, darks = (a + 2 * rng.standard_normal((3, k, 12)) for a, k in ((flats, 20), (darks, n_darks)))
    flats[1, :, 7] += 500 * (np.arange(20) == 3)  # a zinger in one frame lights nothing, in the median
    corrector = FlatFieldCorrector(average="median").fit(counts, flats=flats, darks=darks)
    result, found = corrector.transform_counted(counts)
    assert found == {"values of dead pixels interpolated": 0, "values of rows without beam set to 1": 120}
    np.testing.assert_array_equal(result[1], 1)
    np.testing.assert_allclose(result[[0, 2]], transmissions[[0, 2]], atol=0.02)
    assert flat_field(counts, flats, darks, average="median", return_count=True)[1] == 120
    # row by row, as a streamed scan may come
    alone = FlatFieldCorrector(average="median").fit(counts[1:2], flats=flats[1:2], darks=darks[1:2])
    np.testing.assert_array_equal(alone.transform_counted(counts[1:2])[0], 1)
    marked = flat_field(counts, flats, darks, average="median", dead="nan")
    assert np.isnan(marked[1]).all() and np.isfinite(marked[[0, 2]]).all()


def test_one_hot_pixel_lights_no_row():
    counts, darks = np.full((1, 5, 300), 100.0), np.full((1, 1, 300), 100.0)
    flats = darks.copy()
    flats[0, 0, 17] = 900
    assert (flat_field(counts, flats, darks) == 1).all()
    flats[0, 0, 50:60] = 900  # a narrow beam is a beam
    assert (flat_field(counts, flats, darks) == 0).all()


def test_wrong_arguments_are_named(scan):
    _, counts, flats, darks = scan
    with pytest.raises(ValueError, match=r"flats must have shape .* = \(3, k >= 1, 12\).*got \(1, 3, 12\).*swapaxes"):
        flat_field(counts, flats.swapaxes(0, 1), darks)
    with pytest.raises(ValueError, match=r"darks must have shape .* got \(3, 0, 12\)"):
        flat_field(counts, flats, darks[:, :0])
    with pytest.raises(ValueError, match=r"flats must have shape .* got \(3, 12\)"):
        flat_field(counts, flats[:, 0], darks)
    with pytest.raises(TypeError, match="darks must hold real numbers; got dtype complex128"):
        flat_field(counts, flats, darks.astype(complex))
    with pytest.raises(ValueError, match="average must be one of 'mean', 'median'; got 'mode'"):
        flat_field(counts, flats, darks, average="mode")
    with pytest.raises(ValueError, match="dead must be one of 'repair', 'nan'; got 'zero'"):
        flat_field(counts, flats, darks, dead="zero")
    with pytest.raises(ValueError, match="darks must be finite"):
        flat_field(counts, None, darks * np.nan)
    for beam in (np.ones(9), np.zeros(10), np.full(10, np.nan), np.ones((10, 1))):
        with pytest.raises(ValueError, match="beam_intensity must be 10 positive finite numbers"):
            flat_field(counts, flats, darks, beam_intensity=beam)


def test_corrector_learns_frames_of_every_kind(scan):
    transmissions, counts, flats, darks = scan
    for given in (flats, flats.tolist(), torch.from_numpy(flats), np.asfortranarray(flats)):
        corrector = FlatFieldCorrector().fit(counts, flats=given, darks=darks)
        np.testing.assert_allclose(corrector.transform(counts), transmissions, rtol=1e-12)
    np.testing.assert_allclose(corrector.dark_, darks[:, 0])
    np.testing.assert_allclose(corrector.gain_, 1 / (flats - darks)[:, 0])
    assert corrector.alive_.all() and corrector.n_rows_ == 3 and corrector.beam_intensity_ is None


def test_corrector_warns_of_dead_pixels(scan):
    _, counts, flats, darks = scan
    flats[1, 0, 4] = 0
    corrector = FlatFieldCorrector().fit(counts, flats=flats, darks=darks)
    with pytest.warns(UserWarning, match="^FlatFieldCorrector: 10 of 360 values of dead pixels interpolated$"):
        result = corrector.transform(counts)
    np.testing.assert_array_equal(result, flat_field(counts, flats, darks))
    found = corrector.transform_counted(counts)[1]
    assert found == {"values of dead pixels interpolated": 10, "values of rows without beam set to 1": 0}


def test_corrector_wants_the_rows_of_its_frames(scan):
    _, counts, flats, darks = scan
    for frames in ({"flats": flats}, {"darks": darks}):
        corrector = FlatFieldCorrector().fit(counts, **frames)
        with pytest.raises(ValueError, match="X must have the 3 rows whose flats and darks were given to fit; got 2"):
            corrector.transform(counts[:2])
    corrector = FlatFieldCorrector().fit(counts, beam_intensity=np.full(10, 2.0))
    np.testing.assert_allclose(corrector.transform(counts[:2]), counts[:2] / 2)


def test_corrector_without_frames_warns_and_passes(scan):
    counts = scan[1]
    with pytest.warns(UserWarning, match="neither flats nor darks nor beam_intensity: X will pass unchanged"):
        corrector = FlatFieldCorrector().fit(counts)
    np.testing.assert_array_equal(corrector.transform(counts), counts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FlatFieldCorrector().fit(counts, darks=scan[3])


# ------------------------------------------------------------------------------------------------------- logarithm


def test_minus_log_is_the_inverse_of_the_exponential(rng):
    integrals = rng.uniform(-1, 11, (2, 5, 7))
    np.testing.assert_allclose(minus_log(np.exp(-integrals)), integrals, rtol=0, atol=1e-12)
    np.testing.assert_allclose(minus_log(np.exp(-integrals).astype(np.float32)), integrals, rtol=0, atol=2e-6)


def test_low_values_are_raised_and_counted():
    X = np.array([[1.0, 1e-5, 0.99e-5, 0.0, -0.0, -3.0]])
    result, count = minus_log(X, return_count=True)
    assert count == 4
    np.testing.assert_allclose(result[0, 1:], -np.log(1e-5))
    result, count = minus_log(X, floor=0.5, return_count=True)
    assert count == 5 and result.max() == pytest.approx(np.log(2))
    with pytest.warns(UserWarning, match="^MinusLog: 4 of 6 values raised to the floor$"):
        MinusLog().fit_transform(X[None])
    assert MinusLog(floor=0.5).fit(X[None]).transform_counted(X[None])[1] == {"values raised to the floor": 5}


@pytest.mark.parametrize("floor", [0, -1, 1.1, np.nan])
def test_floor_is_checked(floor):
    for call in (lambda X: minus_log(X, floor=floor), MinusLog(floor=floor).fit):
        with pytest.raises(ValueError, match=r"floor must be a number in \(0, 1\]; got"):
            call(np.ones((1, 2, 3)))
    with pytest.raises(TypeError, match="floor must be a number"):
        minus_log(np.ones(3), floor="low")


def test_against_algotom(scan):
    correction = require("algotom.prep.correction")
    _, counts, flats, darks = scan
    for row in range(3):
        expected = correction.flat_field_correction(counts[row], flats[row, 0], darks[row, 0])
        np.testing.assert_allclose(flat_field(counts, flats, darks)[row], expected, rtol=1e-6)


@pytest.mark.shared_data
def test_measured_tooth(shared_data):
    """Raw counts become line integrals that are finite, none at the edges of the detector where air is."""
    with h5py.File(shared_data / "aps_tooth" / "tooth.h5") as file:
        names = ("exchange/data", "exchange/data_white", "exchange/data_dark")
        counts, flats, darks = (file[name][:].swapaxes(0, 1) for name in names)
    transmissions, n_dead = flat_field(counts, flats, darks, return_count=True)
    integrals, n_raised = minus_log(transmissions, return_count=True)
    assert (n_dead, n_raised) == (0, 0)
    assert np.isfinite(integrals).all() and 1.5 < integrals.max() < 2.5
    assert abs(integrals[..., :20].mean()) < 0.01 and abs(integrals[..., -20:].mean()) < 0.01

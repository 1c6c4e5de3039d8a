"""A simulated scan holds what it says: the object, the noise of its counts, and each fault where the truth says so."""

import dataclasses
import time

import numpy as np
import pytest

from tomolearn.geometry import ParallelBeam
from tomolearn.operators import RadonOperator
from tomolearn.ops import radon
from tomolearn.simulation import SimulatedScan, simulate_scan
from tomolearn.solvers import fbp

NOISELESS = {"photons": 1e12, "read_noise": 0.0}


def transmission(scan):
    flat, dark = scan.flats.mean(axis=1, keepdims=True), scan.darks.mean(axis=1, keepdims=True)
    return (scan.counts - dark) / np.maximum(flat - dark, 1)


def test_shapes_kinds_and_units():
    scan = simulate_scan(3, 40, 50, n_detectors=30, n_flats=5, n_darks=4, center_offset=-2.5, random_state=0)
    assert isinstance(scan, SimulatedScan)
    assert scan.counts.shape == scan.projections.shape == scan.zingers.shape == (3, 50, 30)
    assert (scan.flats.shape, scan.darks.shape, scan.volume.shape) == ((3, 5, 30), (3, 4, 30), (3, 40, 40))
    assert scan.gain.shape == scan.dead.shape == (3, 30)
    assert {scan.counts.dtype, scan.flats.dtype, scan.darks.dtype} == {np.dtype(np.uint16)}
    assert scan.volume.dtype == scan.projections.dtype == np.float32
    np.testing.assert_allclose(scan.angles, np.arange(50) * np.pi / 50)
    assert scan.center == 14.5 - 2.5
    full = simulate_scan(1, 16, 8, full_turn=True, random_state=0)
    np.testing.assert_allclose(full.angles, np.arange(8) * np.pi / 4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        full.center = 3.0


@pytest.mark.parametrize("offset", [0.0, 4.3])
def test_projections_are_those_of_the_volume(offset):
    scan = simulate_scan(2, 96, 150, center_offset=offset, random_state=0)
    traced = radon(scan.volume, scan.angles, center=scan.center)
    assert np.abs(traced - scan.projections).mean() < 0.005 * scan.projections.max()
    image = fbp(RadonOperator(ParallelBeam(scan.angles, 96, center=scan.center)), scan.projections)
    inside = np.hypot(*np.mgrid[-47.5:48, -47.5:48]) < 0.42 * 96
    error, contrast = np.sqrt(np.mean((image - scan.volume)[:, inside] ** 2)), scan.volume[:, inside].std()
    assert error < 0.25 * contrast
    assert np.abs(scan.volume[0] - scan.volume[1]).max() > 0.1 * scan.volume.max()  # rows differ


def test_absorption_is_that_of_the_bare_cylinder():
    scan = simulate_scan(2, 64, 20, absorption=3.0, random_state=0)
    matrix = 3.0 / (2 * 0.42 * 64)
    assert scan.volume.min() >= -1e-6 and scan.volume.max() == pytest.approx(2 * matrix, rel=0.01)
    levels = np.unique(np.round(scan.volume / matrix, 3))
    assert {0.0, 1.0, 1.5, 2.0} <= set(levels)


def test_without_noise_the_correction_gives_the_line_integrals():
    scan = simulate_scan(2, 64, 60, **NOISELESS, random_state=0)
    measured = -np.log(transmission(scan))
    # counts are rounded to whole numbers: half a count of those that are left
    assert np.abs(measured - scan.projections).max() < 0.6 / (40_000 * 0.6 * np.exp(-scan.projections.max()))


def test_counts_are_poisson_distributed():
    quiet = {"read_noise": 0.0, "dark_level": 0.0, "random_state": 0}
    scan = simulate_scan(1, 64, 40, photons=500.0, n_flats=4000, **quiet)
    mean, variance = scan.flats[0].mean(axis=0), scan.flats[0].var(axis=0)
    np.testing.assert_allclose(variance, mean * 0.985, rtol=0.12)  # counts per photon: 0.97 to 1
    assert 0.95 < mean.max() / 500 <= 1.0
    assert scan.darks.max() == 0
    # 160000 photons make 40000 counts: each photon a quarter
    many = simulate_scan(1, 64, 40, photons=160_000.0, n_flats=4000, **quiet).flats[0]
    np.testing.assert_allclose(many.var(axis=0), many.mean(axis=0) / 4, rtol=0.15)
    assert 38_000 < many.mean(axis=0).max() <= 40_000


def test_dark_level_read_noise_profile_and_drift():
    options = {"random_state": 0, "photons": 1e9, "n_darks": 500}
    scan = simulate_scan(3, 64, 61, dark_level=300.0, read_noise=5.0, beam_profile=0.4, beam_drift=0.1, **options)
    assert scan.darks.mean() == pytest.approx(300, rel=0.02)
    assert scan.darks.std(axis=1).mean() == pytest.approx(5, rel=0.05)
    beam = (scan.flats.mean(axis=1) - scan.darks.mean(axis=1)) / 40_000
    assert beam[1, 31:33].min() > 0.96 and beam[0, 0] == pytest.approx(0.6 * 0.985, abs=0.02)
    air = transmission(scan)[:, :, :3].mean(axis=(0, 2))  # the object does not reach there
    np.testing.assert_allclose(air, scan.beam_intensity, rtol=2e-3)
    assert scan.beam_intensity.max() == pytest.approx(1.1, abs=0.002)
    assert scan.beam_intensity.min() == pytest.approx(0.9, abs=0.002)


def test_rings_and_bands_are_the_gain_that_is_told():
    plain = {**NOISELESS, "random_state": 0}
    scan = simulate_scan(4, 200, 40, ring_strength=0.05, ring_fraction=0.25, **plain)
    ratio = transmission(scan) / np.exp(-scan.projections)
    np.testing.assert_allclose(ratio.mean(axis=1), scan.gain, rtol=2e-3)
    wrong = scan.gain != 1
    assert wrong.mean() == pytest.approx(0.25, abs=0.05) and scan.gain[wrong].std() == pytest.approx(0.05, rel=0.2)
    bands = simulate_scan(4, 400, 40, n_bands=1, band_strength=0.2, **plain).gain
    assert ((bands != 1).sum(axis=1) == 10).all()
    np.testing.assert_allclose(np.abs(bands - 1).max(axis=1), 0.2, rtol=0.02)


def test_dead_pixels_are_stuck_in_every_frame():
    scan = simulate_scan(3, 64, 40, n_dead=4, zinger_fraction=0.05, random_state=0)
    assert (scan.dead.sum(axis=1) == 4).all()
    frames = np.concatenate([scan.counts, scan.flats, scan.darks], axis=1)
    assert (np.ptp(frames, axis=1) == 0)[scan.dead].all()
    assert (np.ptp(frames, axis=1) > 0)[~scan.dead].all()
    assert not scan.zingers.transpose(0, 2, 1)[scan.dead].any()


def test_zingers_are_where_the_truth_says():
    options = {"random_state": 3, "photons": 20_000.0}
    clean, hit = simulate_scan(2, 64, 90, **options), simulate_scan(2, 64, 90, zinger_fraction=0.02, **options)
    assert hit.zingers.mean() == pytest.approx(0.02, rel=0.15)
    excess = hit.counts.astype(float) - clean.counts
    assert excess[hit.zingers].min() > 0.1 * 20_000 - 1 and excess[hit.zingers].max() < 0.6 * 20_000 + 1
    assert not excess[~hit.zingers].any()  # and nothing else has changed
    assert (hit.flats.astype(float) - clean.flats).max() > 2_000


def test_faults_leave_the_object_and_each_other_alone():
    clean = simulate_scan(2, 48, 30, random_state=5)
    faulty = simulate_scan(
        2, 48, 30, ring_strength=0.02, n_dead=1, n_bands=1, zinger_fraction=0.01, beam_drift=0.1, random_state=5
    )
    for name in ("volume", "projections", "angles"):
        np.testing.assert_array_equal(getattr(clean, name), getattr(faulty, name))
    weak, strong = (simulate_scan(2, 48, 30, ring_strength=s, random_state=5).gain - 1 for s in (0.01, 0.02))
    np.testing.assert_allclose(strong, 2 * weak, atol=1e-6)
    assert (simulate_scan(2, 48, 30, random_state=6).volume != clean.volume).any()


def test_one_seed_gives_one_scan_for_any_number_of_threads(monkeypatch):
    options = {"ring_strength": 0.02, "n_dead": 2, "zinger_fraction": 0.01, "random_state": 7}
    first = simulate_scan(3, 48, 30, **options)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0}, raising=False)
    again = simulate_scan(3, 48, 30, **options)
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name))


@pytest.mark.parametrize("arguments", [(1, 16, 1), (100, 16, 2), (1, 300, 3), (7, 33, 5)])
def test_sizes_of_every_kind(arguments):
    for seed in range(3):
        scan = simulate_scan(*arguments, random_state=seed)
        assert np.isfinite(scan.projections).all() and scan.projections.max() > 1


def test_a_small_scan_takes_no_time():
    start = time.perf_counter()
    simulate_scan(8, 256, 180, ring_strength=0.02, n_dead=2, zinger_fraction=0.001, random_state=0)
    assert time.perf_counter() - start < 2  # 0.1 s on one core


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"size": 15}, ValueError, "size must be an integer >= 16; got 15"),
        ({"rows": 1.5}, TypeError, "rows must be an integer >= 1; got 1.5"),
        ({"n_detectors": 7}, ValueError, "n_detectors must be an integer >= 8"),
        ({"photons": 0}, ValueError, r"photons must be a number in \[1, 1e\+12\]; got 0"),
        ({"absorption": 0}, ValueError, r"absorption must be a number in \(0, 50\]"),
        ({"zinger_fraction": 2}, ValueError, r"zinger_fraction must be a number in \[0, 1\]"),
        ({"n_dead": 33}, ValueError, "n_dead must be an integer from 0 to 32; got 33"),
        ({"center_offset": 40}, ValueError, r"center_offset must be a number in \[-32, 32\]"),
        ({"beam_drift": 1.0}, ValueError, r"beam_drift must be a number in \[0, 0.99\]"),
        ({"n_flats": 0}, ValueError, "n_flats must be an integer >= 1"),
    ],
)
def test_errors_say_what_came(change, error, message):
    with pytest.raises(error, match=message):
        simulate_scan(**{"rows": 1, "size": 32, "n_angles": 8, **change})

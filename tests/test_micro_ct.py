"""Micro-CT of label volumes: fringes against formula, filter and wave optics; noise, rings, and the whole chain."""

import re

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter, map_coordinates

from tomolearn.exceptions import MemoryBudgetError
from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.operators import RadonOperator
from tomolearn.preprocessing import paganin_filter
from tomolearn.simulation import add_phase_fringes, random_foam, simulate_micro_ct
from tomolearn.solvers import fbp

SETUP = {"pixel_size": 1e-6, "distance": 0.02, "energy": 25e3}
WAVELENGTH = 12.39841984332e-10 / 25  # m at 25 keV
RANGE2 = WAVELENGTH * 0.02 / (4 * np.pi) / 1e-12  # square of the filter's range in pixels for delta_beta = 1
ATTENUATION = np.array([0.0, 0.01, 0.02])


def discs(n=4, size=64):
    """A cylinder off the middle with a denser one in it: labels 0, 1, 2."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    labels = np.zeros((n, size, size), np.uint8)
    labels[:, np.hypot(x - 2, y + 3) < 0.36 * size] = 1
    labels[:, np.hypot(x - 8, y + 3) < 0.14 * size] = 2
    return labels


def rms(x):
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


# ----------------------------------------------------------------------------------------------------------- fringes


def test_a_wave_gains_what_the_formula_says():
    r, c = np.mgrid[:40, :50]
    for k_rows, k_columns in [(0.3, 0.0), (0.0, 1.1), (0.7, -0.4), (2.5, 3.0)]:
        wave = np.cos(k_rows * r + k_columns * c)
        result = np.exp(-add_phase_fringes(-np.log(1 + 0.2 * wave)[:, None], **SETUP, delta_beta=3.0)[:, 0])
        gain = 1 + 3 * RANGE2 * (4 * np.sin(k_rows / 2) ** 2 + 4 * np.sin(k_columns / 2) ** 2)
        np.testing.assert_allclose(result[1:-1, 1:-1], (1 + 0.2 * gain * wave)[1:-1, 1:-1], rtol=1e-9)


def sphere_shadow(size=96, radius=25.0, sharp=1.0):
    r, c = np.mgrid[:size, :size] - (size - 1) / 2
    chords = 2 * np.sqrt(np.maximum(radius**2 - r**2 - (c - 6) ** 2, 0))
    return gaussian_filter(chords, sharp)[:, None]


def test_paganins_filter_takes_the_fringes_away():
    p = 0.012 * sphere_shadow(sharp=0.0)
    fringed = add_phase_fringes(p, **SETUP, delta_beta=30.0)
    assert rms(fringed - p) > 0.02
    back = -np.log(paganin_filter(np.exp(-fringed), **SETUP, delta_beta=30.0))
    np.testing.assert_allclose(back, p, atol=1e-7)  # as small as the tail of the filter beyond its padding


def test_fringes_are_those_of_a_propagated_wave():
    """Two materials, one behind the other, and Fresnel's transfer function; the object is smooth and the way short."""
    first, second = 0.004 * sphere_shadow(128, 30.0, 3.0), 0.006 * np.roll(sphere_shadow(128, 20.0, 3.0), 9, axis=0)
    p, phase = first + second, -0.5 * (60.0 * first + 10.0 * second)
    f = np.fft.fftfreq(128, 1e-6)
    transfer = np.exp(-1j * np.pi * WAVELENGTH * 0.02 * (f[:, None] ** 2 + f**2))
    wave = np.exp(-p / 2 + 1j * phase)[:, 0]
    measured = np.abs(np.fft.ifft2(np.fft.fft2(wave) * transfer)) ** 2
    fringes = np.exp(-add_phase_fringes(p, **SETUP, phase=phase)[:, 0]) - np.exp(-p[:, 0])
    expected = measured - np.exp(-p[:, 0])
    assert rms(expected) > 0.003
    assert rms(fringes - expected) < 0.05 * rms(expected)


def test_light_goes_from_the_inside_of_an_edge_to_its_outside():
    p = 0.012 * sphere_shadow(sharp=0.0)
    before, after = np.exp(-p[:, 0]), np.exp(-add_phase_fringes(p, **SETUP, delta_beta=30.0)[:, 0])
    distance = np.hypot(*(np.mgrid[:96, :96] - 47.5 - np.array([0, 6])[:, None, None]))
    gain = after - before
    matter = p[:, 0] > 0
    outside, inside = binary_dilation(matter) & ~matter, matter & ~binary_erosion(matter)
    assert gain[outside].min() > 0.03 and gain[inside].mean() < -0.05
    assert np.abs(gain[distance < 15]).max() < 0.2 * gain[outside].min()
    np.testing.assert_allclose(gain[distance > 27], 0, atol=1e-12)
    assert after.sum() == pytest.approx(before.sum(), rel=1e-12)  # of an object that ends on the detector


def test_no_light_comes_from_beyond_the_edges(rng):
    p = rng.random((7, 3, 9)) * 0.1
    after = np.exp(-add_phase_fringes(p, **SETUP, delta_beta=5.0))
    np.testing.assert_allclose(after.sum(axis=(0, 2)), np.exp(-p).sum(axis=(0, 2)), rtol=1e-12)
    one_row = add_phase_fringes(np.repeat(p[:1], 5, axis=0), **SETUP, delta_beta=5.0)
    for row in one_row:  # rows that are alike have fringes along the detector only
        np.testing.assert_allclose(row, add_phase_fringes(p[:1], **SETUP, delta_beta=5.0)[0], rtol=1e-12)


def test_the_phase_of_one_material_is_its_delta_beta(rng):
    p = rng.random((7, 3, 9)) * 0.1
    by_ratio = add_phase_fringes(p, **SETUP, delta_beta=7.0)
    np.testing.assert_allclose(add_phase_fringes(p, **SETUP, phase=-3.5 * p), by_ratio, rtol=1e-9)
    assert rms(add_phase_fringes(p, **SETUP, phase=3.5 * p) - by_ratio) > 0.01


def test_fringes_vanish_with_distance_or_phase_and_grow_with_it(rng):
    p = rng.random((6, 2, 8)) * 0.1
    for none in ({"distance": 0.0}, {"delta_beta": 0.0}):
        np.testing.assert_allclose(add_phase_fringes(p, **{**SETUP, "delta_beta": 4.0, **none}), p, atol=1e-14)
    gain = [
        np.exp(-add_phase_fringes(p, **{**SETUP, "distance": z}, delta_beta=4.0)) - np.exp(-p) for z in (0.01, 0.03)
    ]
    np.testing.assert_allclose(gain[1], 3 * gain[0], atol=1e-13)


def test_blur_is_that_of_the_intensity(rng):
    p = rng.random((20, 2, 30)) * 0.1
    sharp, soft = (np.exp(-add_phase_fringes(p, **SETUP, delta_beta=4.0, blur=blur)) for blur in (0.0, 1.5))
    expected = [gaussian_filter(sharp[:, k], 1.5, mode="nearest") for k in range(2)]
    np.testing.assert_allclose(soft, np.stack(expected, axis=1), rtol=1e-12)


def test_the_error_says_which_distance_is_possible():
    p = np.zeros((5, 2, 12))
    p[1:4, :, 5:9] = 1.5
    with pytest.raises(ValueError, match="every intensity positive; got 0.02 m, of which") as caught:
        add_phase_fringes(p, **SETUP, delta_beta=30.0)
    possible = float(re.search(r"of which ([\d.e-]+) m", str(caught.value))[1])
    assert 0.0001 < possible < 0.02
    closest = add_phase_fringes(p, **{**SETUP, "distance": 0.99 * possible}, delta_beta=30.0)
    assert 3 < closest.max() < 10
    with pytest.raises(ValueError, match="or raise blur"):
        add_phase_fringes(p, **{**SETUP, "distance": 1.01 * possible}, delta_beta=30.0)
    add_phase_fringes(p, **{**SETUP, "distance": 1.01 * possible}, delta_beta=30.0, blur=0.7)


def test_angles_are_for_themselves_and_dtypes_stay(rng, monkeypatch):
    p = rng.random((6, 5, 8)) * 0.1
    whole = add_phase_fringes(p, **SETUP, delta_beta=4.0)
    monkeypatch.setattr("tomolearn.simulation.fringes.BLOCK_BYTES", 1)
    np.testing.assert_array_equal(add_phase_fringes(p, **SETUP, delta_beta=4.0), whole)
    single = add_phase_fringes(p.astype(np.float32), **SETUP, delta_beta=4.0)
    assert single.dtype == np.float32 and whole.dtype == np.float64
    np.testing.assert_allclose(single, whole, atol=1e-6)
    assert add_phase_fringes(np.ones((2, 2, 2), np.uint8), **SETUP, delta_beta=4.0).dtype == np.float32


P = np.full((2, 3, 4), 0.1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"projections": P[0]}, ValueError, r"projections must be \(n_rows, n_angles, n_detectors\).*\(3, 4\)"),
        ({"projections": P[:0]}, ValueError, "none of them zero"),
        ({"projections": P * np.nan}, ValueError, "projections must be finite; got 24 NaN"),
        ({"projections": -1000 * P}, ValueError, "from -20 to 500; got -100 to -100"),
        ({"projections": P * 1j}, TypeError, "projections must hold real numbers; got dtype complex128"),
        ({"delta_beta": None}, ValueError, "delta_beta, for one material, or phase.* must be given; got neither"),
        ({"phase": P}, ValueError, "must be given; got both"),
        ({"delta_beta": None, "phase": P[:1]}, ValueError, r"phase must have the shape of projections, \(2, 3, 4\)"),
        ({"delta_beta": -1}, ValueError, r"delta_beta must be a number in \[0, "),
        ({"energy": 25.0}, ValueError, r"energy \(in eV, not keV\) must be"),
        ({"distance": -1.0}, ValueError, r"distance \(in m\) must be"),
        ({"pixel_size": 1.0}, ValueError, r"pixel_size \(in m\) must be"),
        ({"blur": -1}, ValueError, r"blur must be a number in \[0, 1000\]; got -1"),
        ({"blur": "1"}, TypeError, "blur must be a number"),
    ],
)
def test_wrong_fringes(change, error, message):
    arguments = {"projections": P, **SETUP, "delta_beta": 1.0, **change}
    with pytest.raises(error, match=message):
        add_phase_fringes(arguments.pop("projections"), **arguments)


# --------------------------------------------------------------------------------------------------------- the chain


def test_without_faults_the_image_is_the_attenuation():
    labels = discs()
    images, same = simulate_micro_ct(labels, ATTENUATION)
    np.testing.assert_array_equal(same, labels)
    assert same.dtype == np.uint8 and images.dtype == np.float32 and images.shape == labels.shape
    for label, value in enumerate(ATTENUATION):
        inside = binary_erosion(labels[0] == label, iterations=2)
        assert images[:, inside].mean() == pytest.approx(value, rel=0.002, abs=1e-5)
        assert rms(images[:, inside] - value) < 0.012 * ATTENUATION.max()


def test_each_label_gets_its_value_whatever_the_dtype():
    labels = discs()
    images, _ = simulate_micro_ct(labels, ATTENUATION, n_angles=60)
    for dtype in (np.int64, np.uint64, np.int8):
        np.testing.assert_array_equal(simulate_micro_ct(labels.astype(dtype), ATTENUATION, n_angles=60)[0], images)
    np.testing.assert_array_equal(simulate_micro_ct(labels.tolist(), list(ATTENUATION), n_angles=60)[0], images)
    mask = labels > 0
    by_bool, same = simulate_micro_ct(mask, [0.0, 0.01], n_angles=60)
    assert same.dtype == bool
    np.testing.assert_array_equal(by_bool, simulate_micro_ct(mask.astype(int), [0.0, 0.01], n_angles=60)[0])


def test_slices_need_not_be_square():
    wide = discs()[:, 8:56]
    images, _ = simulate_micro_ct(wide, ATTENUATION)
    inside = binary_erosion(wide[0] == 2, iterations=2)
    assert images.shape == (4, 48, 64) and images[:, inside].mean() == pytest.approx(0.02, rel=0.01)


def test_edges_of_the_image_are_bright_inside_and_dark_outside():
    """Less light is more attenuation: the projections' fringes come out the other way round."""
    labels = discs()
    options = {"delta_beta": 40.0, "distance": 0.01}
    images, _ = simulate_micro_ct(labels, [0.0, 0.01, 0.01], **options)
    bare, _ = simulate_micro_ct(labels, [0.0, 0.01, 0.01])
    matter = labels[0] > 0
    rim, skin = matter & ~binary_erosion(matter), binary_erosion(~matter, border_value=1) ^ ~matter
    gain = (images - bare).mean(axis=0)
    assert gain[rim].mean() > 0.002 and gain[skin].mean() < -0.002
    assert abs(gain.mean()) < 0.01 * rms(gain)
    np.testing.assert_allclose(simulate_micro_ct(labels, ATTENUATION, delta_beta=40.0)[0], bare_of(labels), atol=1e-6)


def bare_of(labels):
    return simulate_micro_ct(labels, ATTENUATION)[0]


def test_each_material_has_fringes_of_its_own():
    labels, options = discs(), {"distance": 0.005, "n_angles": 80}
    one, _ = simulate_micro_ct(labels, ATTENUATION, delta_beta=30.0, **options)
    three, _ = simulate_micro_ct(labels, ATTENUATION, delta_beta=[5.0, 30.0, 30.0], **options)
    np.testing.assert_allclose(three, one, atol=2e-6)  # what absorbs nothing shifts no phase
    inner, _ = simulate_micro_ct(labels, ATTENUATION, delta_beta=[0.0, 0.0, 30.0], **options)
    fringes, outer = np.abs(inner - bare_at(labels, options)).mean(0), np.abs(one - bare_at(labels, options)).mean(0)
    rim = (labels[0] > 0) & ~binary_erosion(labels[0] > 0)
    assert fringes[rim].mean() < 0.2 * outer[rim].mean()
    core = (labels[0] == 2) & ~binary_erosion(labels[0] == 2)
    assert fringes[core].mean() > 0.5 * outer[core].mean()


def bare_at(labels, options):
    return simulate_micro_ct(labels, ATTENUATION, n_angles=options["n_angles"])[0]


def test_the_filter_before_the_reconstruction_takes_fringes_out_of_the_image():
    foam = random_foam(24, 64, radius_range=(3.0, 8.0), value=0.01, random_state=0)
    A = RadonOperator(ParallelBeam(default_angles(120), 64))
    setup = {**SETUP, "delta_beta": 25.0}
    sinograms = A(foam.volume())
    fringed = add_phase_fringes(sinograms, **setup)
    filtered = -np.log(paganin_filter(np.exp(-fringed), **setup))
    truth, worse, better = (fbp(A, y)[4:-4] for y in (sinograms, fringed, filtered))
    assert rms(worse - truth) > 0.2 * rms(truth)
    assert rms(better - truth) < 0.05 * rms(worse - truth)


def test_noise_is_that_of_the_photons():
    """White noise of variance 1 / photons through the ramp, then linear interpolation at all places of the detector."""
    labels = np.zeros((6, 64, 64), np.uint8)
    n_angles, level = 120, {}
    for photons in (1e4, 4e4):
        images, _ = simulate_micro_ct(labels, [0.0], photons=photons, n_angles=n_angles, random_state=0)
        level[photons] = rms(images)
        # the ramp's responses squared sum to 1 / 12, those to neighbours correlate by -6 / pi**2
        expected = np.pi * np.sqrt((2 - 6 / np.pi**2) / 3 / 12 / (n_angles * photons))
        assert level[photons] == pytest.approx(expected, rel=0.04)
    assert level[1e4] / level[4e4] == pytest.approx(2, rel=0.02)


def test_rings_are_circles_around_the_axis():
    labels, options = discs(3, 65), {"ring_strength": 0.02, "ring_fraction": 0.3, "random_state": 1}
    rings = simulate_micro_ct(labels, ATTENUATION, **options)[0] - simulate_micro_ct(labels, ATTENUATION)[0]
    radius, angle = np.arange(4.0, 24.0, 0.5)[:, None], np.linspace(0, 2 * np.pi, 180, endpoint=False)

    def spread(image, row, column):
        """Along circles about a point, over that between them; each side of the detector draws half circles."""
        polar = map_coordinates(image, (row + radius * np.sin(angle), column + radius * np.cos(angle)), order=1)
        halves = np.stack([polar[:, 5:85], polar[:, 95:175]])
        return halves.std(axis=2).mean() / halves.mean(axis=2).std()

    for image in rings:
        assert spread(image, 32, 32) < 0.4
        for row, column in [(39, 27), (32, 35), (29, 30)]:
            assert spread(image, row, column) > 0.7
    assert not np.allclose(rings[0], rings[1], atol=0.1 * rms(rings))  # each row has pixels of its own


def test_noise_and_rings_do_not_move_each_other():
    labels = discs(2, 32)

    def images(**faults):
        return simulate_micro_ct(labels, ATTENUATION, **faults, random_state=3)[0]

    noise, rings = {"photons": 1e4}, {"ring_strength": 0.05}
    np.testing.assert_allclose(images(**noise, **rings), images(**noise) + images(**rings) - images(), atol=1e-6)
    assert rms(images(**noise) - images()) > 1e-4 and rms(images(**rings) - images()) > 1e-4
    np.testing.assert_array_equal(images(**noise, **rings), images(**noise, **rings))
    other = simulate_micro_ct(labels, ATTENUATION, **noise, random_state=4)[0]
    assert rms(other - images(**noise)) > 1e-4


def test_the_filter_is_that_of_fbp():
    sharp, soft = (simulate_micro_ct(discs(1), ATTENUATION, filter=name)[0] for name in ("ram-lak", "hann"))
    assert rms(np.diff(soft)) < 0.95 * rms(np.diff(sharp))


LABELS = np.zeros((2, 8, 8), int)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": LABELS.astype(float)}, TypeError, "labels must be integers; got dtype float64"),
        ({"labels": LABELS[0]}, ValueError, r"labels must be \(n, rows, columns\).*got shape \(8, 8\)"),
        ({"labels": LABELS[:0]}, ValueError, "none of them zero"),
        ({"labels": LABELS + 170}, ValueError, r"labels must be from 0 to 1,.*got 170 to 170. np.unique"),
        ({"labels": LABELS - 1}, ValueError, "got -1 to -1"),
        ({"attenuation": 0.1}, TypeError, "attenuation must be a sequence, one number for each label; got 0.1"),
        ({"attenuation": []}, ValueError, "attenuation must be at least one number; got 0"),
        ({"attenuation": [0, -1]}, ValueError, r"attenuation\[1\] must be a number in \[0, 1000\]; got -1"),
        ({"attenuation": [0, np.nan]}, ValueError, r"attenuation\[1\] must be"),
        ({"attenuation": "ab"}, TypeError, r"attenuation\[0\] must be a number"),
        ({"delta_beta": [1.0]}, ValueError, "delta_beta must be one number, or 2 as attenuation has; got 1"),
        ({"delta_beta": [1.0, -1.0]}, ValueError, r"delta_beta\[1\] must be"),
        ({"delta_beta": "a"}, TypeError, "delta_beta must be a number"),
        ({"distance": -1}, ValueError, r"distance \(in m\) must be"),
        ({"photons": 0}, ValueError, "photons must be"),
        ({"ring_strength": 2}, ValueError, "ring_strength must be"),
        ({"n_angles": 0}, ValueError, "n_angles must be an integer >= 1; got 0"),
        ({"filter": "sharp"}, ValueError, "filter"),
    ],
)
def test_wrong_arguments(change, error, message):
    arguments = {"labels": LABELS, "attenuation": [0.0, 0.01], **change}
    with pytest.raises(error, match=message):
        simulate_micro_ct(arguments.pop("labels"), arguments.pop("attenuation"), **arguments)


def test_memory_is_asked_for_first(monkeypatch):
    monkeypatch.setattr("tomolearn.base.memory.available_memory", lambda: 1e5)
    with pytest.raises(MemoryBudgetError, match="the volume and its 112 projections need .* n_angles"):
        simulate_micro_ct(np.zeros((2, 47, 47), int), [0.1], n_angles=112)


@pytest.mark.shared_data
def test_an_electrode(shared_data):
    """Nearest values of a clean scan give the labels back; noise, rings and fringes make a task of it."""
    tifffile = pytest.importorskip("tifffile")
    labels = tifffile.imread(shared_data / "taufactor_electrode" / "electrode.tiff")[64:80:2, ::2, ::2] // 85
    attenuation = np.array([0.0, 0.006, 0.003])
    faults = {"delta_beta": [0.0, 40.0, 120.0], "distance": 0.004, "photons": 2e4, "ring_strength": 0.02, "blur": 0.5}
    right = {}
    for name, options in {"clean": {}, "faulty": faults}.items():
        images, y = simulate_micro_ct(labels, attenuation, **options, random_state=0)
        nearest = np.abs(images[..., None] - attenuation).argmin(-1)
        right[name] = np.mean(nearest == y)
        means = [images[y == label].mean() for label in range(3)]
        assert means[0] < means[2] and means[0] < means[1]
    assert right["clean"] > 0.85
    assert 0.5 < right["faulty"] < right["clean"] - 0.1

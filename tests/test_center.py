"""The rotation axis: known answers of simulated and measured scans, two independent packages' value, and refusals."""

import numpy as np
import pytest
import torch
from conftest import require

from tomolearn.exceptions import GeometryError
from tomolearn.geometry import default_angles
from tomolearn.ops import radon
from tomolearn.preprocessing.center import find_center, find_center_entropy, find_center_phase, find_center_vo
from tomolearn.simulation import ellipse_sinogram, simulate_scan

METHODS = ("vo", "phase", "entropy")
# An object without symmetry: value, a, b, x0, y0, phi
ELLIPSES = [
    [1.0, 44.0, 38.0, 1.0, -2.0, 0.2],
    [-0.5, 9.0, 15.0, 15.0, 12.0, 0.7],
    [0.8, 6.0, 4.0, -20.0, 8.0, 1.2],
    [0.6, 3.0, 5.0, 5.0, -25.0, 0.0],
    [-0.7, 5.0, 5.0, -12.0, -14.0, 0.0],
    [1.5, 2.0, 2.0, 30.0, -5.0, 0.0],
]


def scan(center, *, angles=None, n_detectors=128, noise=0.01, seed=0):
    sinogram = ellipse_sinogram(ELLIPSES, default_angles(150) if angles is None else angles, n_detectors, center=center)
    return sinogram + noise * sinogram.max() * np.random.default_rng(seed).standard_normal(sinogram.shape)


INCLUSIVE = np.linspace(0, np.pi, 151)
FULL_TURN = np.linspace(0, 2 * np.pi, 300, endpoint=False)


# ---------------------------------------------------------------------------------------------------- known answers


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("center", [63.5, 69.83, 51.2])
def test_a_noisy_sinogram_tells_its_axis_to_a_tenth_of_a_pixel(method, center):
    # the phase correlation looks at two views only, and is exact where they are exactly opposite
    angles = INCLUSIVE if method == "phase" else default_angles(150)
    assert find_center(scan(center, angles=angles), angles, method=method) == pytest.approx(center, abs=0.1)


@pytest.mark.parametrize("offset", [5.3, -7.6])
def test_rows_of_a_volume_are_used_together(offset):
    s = simulate_scan(4, 96, 150, center_offset=offset, random_state=1)
    noise = 0.02 * s.projections.max() * np.random.default_rng(0).standard_normal(s.projections.shape)
    for method in METHODS:
        found = find_center(s.projections + noise, s.angles, method=method)
        assert found == pytest.approx(s.center, abs=0.3 if method == "phase" else 0.1), method
    each = find_center(s.projections + noise, s.angles, per_slice=True)
    assert each.shape == (4,) and each.dtype == np.float64
    assert np.abs(each - s.center).max() < 0.2
    # rows beyond each other's help: the one for all is better than the worst alone
    assert abs(find_center(s.projections + noise, s.angles) - s.center) < np.abs(each - s.center).max()


def test_slices_may_have_axes_of_their_own():
    centers = [60.0, 66.5, 71.25]
    stack = np.stack([scan(c, seed=i) for i, c in enumerate(centers)])
    for method in ("vo", "entropy"):
        np.testing.assert_allclose(find_center(stack, method=method, per_slice=True), centers, atol=0.1)


@pytest.mark.parametrize(
    "angles",
    [
        INCLUSIVE,
        FULL_TURN,
        FULL_TURN - 1.5,
        INCLUSIVE[::-1],
        np.random.default_rng(0).permutation(FULL_TURN),
        np.sort(np.arange(200) * (np.sqrt(5) - 1) / 2 * np.pi % np.pi),
        np.linspace(0, np.deg2rad(172), 144),
    ],
    ids=["end view", "full turn", "negative start", "backwards", "shuffled", "golden ratio", "172 degrees"],
)
@pytest.mark.parametrize("method", ["vo", "entropy"])
def test_any_order_and_extent_of_the_angles(method, angles):
    sinogram = scan(67.3, angles=angles)
    assert find_center(sinogram, angles, method=method, angle_unit="rad") == pytest.approx(67.3, abs=0.1)
    in_degrees = find_center(sinogram, np.rad2deg(angles), method=method, angle_unit="deg")
    assert in_degrees == pytest.approx(67.3, abs=0.1)


def test_phase_correlation_takes_all_opposite_views():
    noisy = scan(67.3, angles=FULL_TURN, noise=0.03)
    many = find_center_phase(noisy, FULL_TURN)
    assert many == pytest.approx(67.3, abs=0.05)
    shuffled = np.random.default_rng(1).permutation(300)
    assert find_center_phase(noisy[shuffled], FULL_TURN[shuffled]) == pytest.approx(many, abs=1e-9)
    # one pair, half a turn minus one step apart
    assert find_center_phase(scan(67.3)) == pytest.approx(67.3, abs=0.5)


@pytest.mark.parametrize("method", METHODS)
def test_mirrored_detector_mirrors_the_axis(method):
    sinogram = scan(58.4, angles=INCLUSIVE)
    assert find_center(sinogram[:, ::-1], INCLUSIVE, method=method) == pytest.approx(
        127 - find_center(sinogram, INCLUSIVE, method=method), abs=0.02
    )


def test_a_wide_detector_is_searched_on_a_binned_one():
    angles = default_angles(300)
    table = np.array(ELLIPSES) * [1, 8, 8, 8, 8, 1]
    sinogram = ellipse_sinogram(table, angles, 1100, center=480.6).astype(np.float32)
    assert find_center_vo(sinogram) == pytest.approx(480.6, abs=0.1)


def test_projections_of_our_own_operator_agree_on_the_convention():
    image = np.zeros((96, 96), np.float32)
    image[30:60, 25:50] = 1
    image[40:45, 55:80] = 2
    sinogram = radon(image, default_angles(140), n_detectors=110, center=47.25)
    assert find_center_vo(sinogram) == pytest.approx(47.25, abs=0.1)
    assert find_center_entropy(sinogram) == pytest.approx(47.25, abs=0.25)


@pytest.mark.parametrize("method", METHODS)
def test_tensors_and_other_dtypes(method):
    sinogram = scan(66.0, angles=INCLUSIVE)
    expected = find_center(sinogram.astype(np.float32), INCLUSIVE, method=method)
    assert isinstance(expected, float)
    for other in (torch.from_numpy(sinogram).float(), sinogram.astype(">f4"), sinogram.tolist()):
        assert find_center(other, INCLUSIVE, method=method) == pytest.approx(expected, abs=0.01)
    assert find_center(sinogram[None], INCLUSIVE, method=method, per_slice=True).shape == (1,)
    assert isinstance(find_center(sinogram, INCLUSIVE, method=method, per_slice=True), float)


@pytest.mark.parametrize("center", [20.0, 12.5, 26.0])
def test_metric_is_the_energy_of_the_completed_turn(center):
    """Against Vo's construction in plain words, for centres whose mirror image needs no interpolation."""
    from tomolearn.preprocessing._center_metrics import DoubleWedge, half_turn_spectrum

    n_angles, n = 60, 41
    half = torch.from_numpy(np.random.default_rng(0).random((n_angles, n)))
    shift = int(2 * center) - (n - 1)
    other = half.flip(0)  # where the mirror image has nothing
    inside = slice(max(0, shift), min(n, n + shift))
    other[:, inside] = half.flip(1)[:, max(0, -shift) : n - max(0, shift)]
    energy = torch.fft.fft2(torch.cat([half, other])).abs()[: n_angles + 1]
    k, u = torch.arange(n_angles + 1)[:, None], torch.fft.fftfreq(n, 1 / n).abs()[None]
    weight = torch.exp(-2 * np.pi**2 * ((1.5 * k / (2 * n_angles)) ** 2 + (1.5 * u / n) ** 2))
    weight *= (u <= k / np.pi) & (k > 6) & (u > 1)
    kept = weight.amax(1) > 0.01
    expected = float((energy * weight)[kept].sum()) / weight[kept].numel()
    metric = DoubleWedge(half_turn_spectrum(half.float()), smoothing=(1.5, 1.5), ratio=1.0)
    assert metric([center]) == pytest.approx(expected, rel=1e-5)


def test_batches_of_trial_centres_change_nothing(monkeypatch):
    sinogram = scan(66.2)
    expected = find_center_vo(sinogram), find_center_entropy(sinogram)
    monkeypatch.setattr("tomolearn.preprocessing._center_metrics.BATCH_BYTES", 1)
    assert (find_center_vo(sinogram), find_center_entropy(sinogram)) == pytest.approx(expected, abs=1e-4)


# ------------------------------------------------------------------------------------------- other packages and data


@pytest.mark.parametrize("center", [63.5, 68.1])
def test_algotom_finds_the_same_axis(center):
    calculation = require("algotom.prep.calculation")
    sinogram = scan(center)
    theirs = calculation.find_center_vo(sinogram, ncore=1)
    assert find_center_vo(sinogram) == pytest.approx(theirs, abs=0.25)
    views = np.stack([scan(center, angles=INCLUSIVE, seed=i) for i in range(8)])
    theirs = calculation.find_center_based_phase_correlation(views[:, 0], views[:, -1])
    assert find_center_phase(views, INCLUSIVE) == pytest.approx(theirs, abs=0.25)


@pytest.mark.shared_data
def test_axis_of_the_measured_tooth(shared_data):
    h5py = require("h5py")
    with h5py.File(shared_data / "aps_tooth" / "tooth.h5") as file:
        counts, flat, dark = (file[f"exchange/{name}"][:] for name in ("data", "data_white", "data_dark"))
        angles = file["exchange/theta"][:]
    flat, dark = flat.mean(axis=0), dark.mean(axis=0)
    stack = -np.log(np.clip((counts - dark) / (flat - dark), 1e-3, None)).transpose(1, 0, 2)
    for method in METHODS:
        rows = find_center(stack, angles, method=method, angle_unit="deg", per_slice=True)
        both = find_center(stack, angles, method=method, angle_unit="deg")
        np.testing.assert_allclose([*rows, both], 296.0, atol=0.5, err_msg=method)


@pytest.mark.shared_data
def test_axis_of_the_measured_grain(shared_data):
    h5py = require("h5py")
    content = (shared_data / "i13_24737" / "projections.mrc").read_bytes()[1024:]
    transmission = np.frombuffer(content, "<f2").reshape(91, 135, 160).astype(np.float32)
    with h5py.File(shared_data / "i13_24737" / "24737_processed.nxs") as file:
        angles = file["entry/final_result_tomo/rotation_angle"][:]
    stack = -np.log(np.clip(transmission / 0.67, 1e-3, None)).transpose(1, 0, 2)[10:120:10]
    for method in METHODS:
        found = find_center(stack, angles, method=method, angle_unit="deg")
        assert found == pytest.approx(86.0, abs=0.5), method


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("method", METHODS)
def test_an_axis_outside_the_search_is_warned_of(method):
    sinogram = scan(66.0, angles=INCLUSIVE)
    with pytest.warns(UserWarning, match=r"edge of its search, 69\.00 to 75\.00.*search=\(low, high\)"):
        assert 69 <= find_center(sinogram, INCLUSIVE, method=method, search=(69, 75)) <= 75
    stack = np.stack([sinogram, scan(72.0, angles=INCLUSIVE)])
    with pytest.warns(UserWarning, match=r"1 of 2 slices .* 69\.00 to 75\.00 \(slice 0"):
        found = find_center(stack, INCLUSIVE, method=method, search=(69, 75), per_slice=True)
    assert found[1] == pytest.approx(72, abs=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_no_warning_inside_the_search(method, recwarn):
    found = find_center(scan(66.0, angles=INCLUSIVE), INCLUSIVE, method=method, search=(62, 70))
    assert found == pytest.approx(66, abs=0.1) and not recwarn.list


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 0.7])
def test_nothing_to_see(method, value):
    blank, angles = np.full((3, 151, 128), value, np.float32), INCLUSIVE
    with pytest.raises(ValueError, match="must show an object .* each of the 3 slices"):
        find_center(blank, angles, method=method)
    blank[1] = scan(66.0, angles=angles)
    assert find_center(blank, angles, method=method) == pytest.approx(66, abs=0.1)  # blank rows are left out
    with pytest.raises(ValueError, match="all values are equal in 2 of 3 slices"):
        find_center(blank, angles, method=method, per_slice=True)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"method": "guess"}, ValueError, "method must be one of 'vo', 'phase', 'entropy'; got 'guess'"),
        ({"search": (70, 60)}, GeometryError, r"low < high, within 0 and 127; got \(70, 60\)"),
        ({"search": 60}, GeometryError, "search must be two detector coordinates"),
        ({"search": (60, 128)}, GeometryError, r"within 0 and 127; got \(60, 128\)"),
        ({"angles": np.linspace(0, 2, 150)}, GeometryError, r"at least 150 degrees .* 150 views over 115\.4 degrees"),
        ({"angles": np.zeros(150)}, GeometryError, "angles must differ"),
        ({"angles": default_angles(149)}, GeometryError, "one per projection; got 149 for 150"),
        ({"angles": np.linspace(0, 179, 150)}, GeometryError, "look like degrees"),
        ({"sinograms": np.ones((150, 7))}, GeometryError, r"8 detectors; got shape \(1, 150, 7\)"),
        ({"sinograms": np.ones(150)}, ValueError, "sinograms must have 2 or 3 dimensions"),
        ({"sinograms": np.full((150, 128), np.nan)}, ValueError, "sinograms must be finite; got 19200 NaN"),
    ],
)
def test_errors_say_what_came(change, error, message):
    arguments = {"sinograms": scan(66.0), **change}
    with pytest.raises(error, match=message):
        find_center(**arguments)


def test_phase_correlation_needs_opposite_views():
    angles = np.linspace(0, np.deg2rad(165), 150)
    with pytest.raises(
        GeometryError, match=r"views half a turn apart; the nearest pair is 15\.00 degrees off, 13\.5 st"
    ):
        find_center_phase(scan(66.0, angles=angles), angles)


def test_parameters_of_the_functions():
    with pytest.raises(ValueError, match=r"step must be a number in \[0.01, 4\]; got 0"):
        find_center_vo(scan(66.0), step=0)
    with pytest.raises(ValueError, match=r"ratio must be a number in \[0.05, 2\]; got 3"):
        find_center_vo(scan(66.0), ratio=3)
    with pytest.raises(ValueError, match="step must be"):
        find_center_entropy(scan(66.0), step=9)
    assert find_center_vo(scan(66.0), step=1, ratio=0.75) == pytest.approx(66, abs=0.15)

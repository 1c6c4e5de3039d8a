"""Phantoms: exact sinograms, rasters, packings and noise against known answers."""

import signal
import threading
import time

import numpy as np
import pytest
from conftest import require
from reference import tomophantom_models
from scipy.integrate import quad
from scipy.spatial import cKDTree
from sklearn.utils import check_random_state

from tomolearn._extension import load_simulation
from tomolearn.geometry import default_angles
from tomolearn.ops import radon
from tomolearn.simulation import (
    add_gaussian_noise,
    add_photon_noise,
    ellipse_image,
    ellipse_sinogram,
    pack_spheres,
    shepp_logan_ellipses,
    sphere_projections,
    sphere_volume,
)

AXES = np.deg2rad([0, 90, 180, 270])


def draw_ellipses(rng, n=6):
    return np.column_stack([
        rng.uniform(-2, 2, n), rng.uniform(0.3, 14, (n, 2)), rng.uniform(-8, 8, (n, 2)), rng.uniform(-4, 4, n),
    ])  # fmt: skip


def draw_spheres(rng, n=6):
    return np.column_stack([rng.uniform(-2, 2, n), rng.uniform(-9, 9, (n, 3)), rng.uniform(0.4, 7, n)])


def mass(ellipses):
    ellipses = np.asarray(ellipses)
    return np.sum(np.pi * ellipses[:, 0] * ellipses[:, 1] * ellipses[:, 2])


# ----------------------------------------------------------------------------------------------------- ellipses


def test_a_centred_disc_has_the_chords_of_a_circle():
    s = (np.arange(31) - 13.2) * 0.8
    sinogram = ellipse_sinogram(
        [[1.5, 9.0, 9.0, 0.0, 0.0, 0.3]], default_angles(7), 31, center=13.2, detector_spacing=0.8
    )
    np.testing.assert_allclose(sinogram, np.tile(3 * np.sqrt(np.clip(81 - s**2, 0, None)), (7, 1)), atol=1e-12)


@pytest.mark.parametrize("spacing", [0.7, 1.0, 2.3])
def test_rays_integrate_the_indicator_of_the_ellipse(rng, spacing):
    """Sums of finely spaced points along each ray, inside or outside by the definition of a turned ellipse."""
    ellipses, angles = draw_ellipses(rng), rng.uniform(-4, 4, 5)
    center = rng.uniform(8, 12, 5)
    sinogram = ellipse_sinogram(ellipses, angles, 20, center=center, detector_spacing=spacing, angle_unit="rad")
    along = np.arange(-40, 40, 0.01)
    for k, angle in enumerate(angles):
        s = ((np.arange(20) - center[k]) * spacing)[:, None]
        x, y = s * np.cos(angle) - along * np.sin(angle), s * np.sin(angle) + along * np.cos(angle)
        expected = 0
        for value, a, b, x0, y0, phi in ellipses:
            u = (x - x0) * np.cos(phi) + (y - y0) * np.sin(phi)
            v = (y - y0) * np.cos(phi) - (x - x0) * np.sin(phi)
            expected = expected + value * ((u / a) ** 2 + (v / b) ** 2 <= 1)
        np.testing.assert_allclose(sinogram[k], expected.sum(1) * 0.01, atol=0.08)


def test_bin_average_is_the_mean_over_the_bin(rng):
    ellipse, angle, spacing = draw_ellipses(rng, 1), [0.4], 1.7
    value, a, b, x0, y0, phi = ellipse[0]
    w2 = (a * np.cos(0.4 - phi)) ** 2 + (b * np.sin(0.4 - phi)) ** 2
    t0 = x0 * np.cos(0.4) + y0 * np.sin(0.4)

    def chord(s):
        return 2 * value * a * b * np.sqrt(max(0, w2 - (s - t0) ** 2)) / w2

    sinogram = ellipse_sinogram(ellipse, angle, 24, detector_spacing=spacing, bin_average=True)
    ends = t0 - np.sqrt(w2), t0 + np.sqrt(w2)
    for d in range(24):
        low, high = (d - 0.5 - 11.5) * spacing, (d + 0.5 - 11.5) * spacing
        inner = [end for end in ends if low < end < high]
        mean = quad(chord, low, high, points=inner or None, limit=200, epsabs=1e-11)[0] / spacing
        assert abs(sinogram[0, d] - mean) < 1e-9


@pytest.mark.parametrize("spacing", [0.31, 1.0, 4.0])
def test_the_mass_of_every_projection_is_area_times_value(rng, spacing):
    ellipses, angles = draw_ellipses(rng), rng.uniform(-4, 4, 40)
    n = int(60 / spacing)
    averaged = ellipse_sinogram(ellipses, angles, n, detector_spacing=spacing, bin_average=True, angle_unit="rad")
    np.testing.assert_allclose(averaged.sum(1) * spacing, mass(ellipses), rtol=1e-11)


def test_point_samples_and_their_means(rng):
    ellipses = draw_ellipses(rng)
    larger = ellipses * [1, 4, 4, 4, 4, 1]
    fine = ellipse_image(larger, (4 * 30, 4 * 25)).reshape(30, 4, 25, 4).mean((1, 3))
    np.testing.assert_allclose(ellipse_image(ellipses, (30, 25), supersampling=4), fine, atol=1e-12)
    disc = ellipse_image([[1, 5, 5, 0, 0, 0.0]], (11, 11))
    assert disc.sum() == 81  # lattice points within 5 of the origin, (3, 4) and its kin included
    for turned in (disc[::-1], disc[:, ::-1], disc.T):
        np.testing.assert_array_equal(disc, turned)


def test_rows_go_down_and_y_goes_up():
    image = ellipse_image([[1, 0.4, 0.4, 2, 1, 0]], (5, 7))
    assert np.argwhere(image).tolist() == [[1, 5]]
    turned = ellipse_image([[1, 4, 0.4, 0, 0, np.pi / 4]], (7, 7))  # from bottom left to top right
    np.testing.assert_array_equal(turned, np.pad(np.eye(5)[::-1], 1))


def test_exact_shares_of_pixels(rng):
    ellipses = draw_ellipses(rng)
    image = ellipse_image(ellipses, (60, 61), supersampling="exact")
    np.testing.assert_allclose(image.sum(), mass(ellipses), rtol=1e-12)
    assert np.abs(image - ellipse_image(ellipses, (60, 61), supersampling=64)).max() < 5e-3
    tiny = ellipse_image([[3, 0.2, 0.1, 1.1, -0.8, 1]], (5, 5), supersampling="exact")
    assert tiny[3, 3] == pytest.approx(3 * np.pi * 0.02, rel=1e-12) and np.count_nonzero(tiny) == 1
    covering = ellipse_image([[2, 1e5, 1e5, 0, 0, 0]], (3, 4), supersampling="exact")
    np.testing.assert_array_equal(covering, np.full((3, 4), 2.0))


@pytest.mark.parametrize("radius", [1e3, 1e5, 1e7])
def test_exact_shares_keep_their_digits_in_large_discs(radius):
    """Near the origin the border is the parabola -v**2 / (2 * radius) over its tangent, which halves a pixel."""
    phi = 0.3
    disc = [[1, radius, radius, -radius * np.cos(phi), -radius * np.sin(phi), 0.7]]
    share = ellipse_image(disc, (1, 1), supersampling="exact")[0, 0]
    half = 0.5 / np.cos(phi)  # the border crosses the pixel from its lower to its upper edge
    lost = quad(lambda v: v**2 / (2 * radius), -half, half)[0]
    assert abs(share - (0.5 - lost)) < 1e-3 * lost + 2e-9


def test_columns_and_rows_of_the_exact_image_are_bin_averages(rng):
    """Both are the integral over a strip one pixel wide, by different formulas."""
    ellipses = draw_ellipses(rng)
    image = ellipse_image(ellipses, (61, 61), supersampling="exact")
    columns, rows = image.sum(0), image.sum(1)[::-1]
    sinogram = ellipse_sinogram(ellipses, AXES, 61, bin_average=True)
    np.testing.assert_allclose(sinogram, [columns, rows, columns[::-1], rows[::-1]], atol=1e-10)


def test_the_operators_project_the_image_to_the_sinogram():
    ellipses = shepp_logan_ellipses(200)
    angles = default_angles(45) + 0.01
    exact = ellipse_sinogram(ellipses, angles, 200, bin_average=True)
    difference = radon(ellipse_image(ellipses, (200, 200), supersampling="exact"), angles) - exact
    assert np.sqrt(np.mean(difference**2)) < 6e-3 * exact.max()


def test_shepp_logan_is_that_of_scikit_image():
    theirs = require("skimage.data").shepp_logan_phantom()
    ours = ellipse_image(shepp_logan_ellipses(400), (400, 400), supersampling=4)

    def likeness(a):
        return np.corrcoef(a.ravel(), theirs.ravel())[0, 1]

    assert likeness(ours) > 0.97 > 0.96 > max(likeness(ours[::-1]), likeness(ours[:, ::-1]), likeness(ours.T))


def test_original_shepp_logan_is_a_faint_brain_in_a_skull():
    image = ellipse_image(shepp_logan_ellipses(256, modified=False), (256, 256))
    assert np.unique(image.round(9)).tolist() == [0, 1, 1.01, 1.02, 1.03, 1.04, 2]


@pytest.mark.shared_data
def test_tomophantom_models(shared_data):
    models = tomophantom_models(shared_data, 100.0)
    assert sorted(models) == ["01", "03", "04"]
    assert mass(models["01"]) / 100**2 == pytest.approx(0.495265, abs=5e-7)
    np.testing.assert_allclose(models["01"], shepp_logan_ellipses(200), atol=1e-9)
    angles = np.append(AXES, default_angles(20))
    for ellipses in models.values():
        sinogram = ellipse_sinogram(ellipses, angles, 301, bin_average=True)
        np.testing.assert_allclose(sinogram.sum(1), mass(ellipses), rtol=1e-11)
        image = ellipse_image(ellipses, (301, 301), supersampling="exact")
        columns, rows = image.sum(0), image.sum(1)[::-1]
        np.testing.assert_allclose(sinogram[:4], [columns, rows, columns[::-1], rows[::-1]], atol=1e-9)


# ------------------------------------------------------------------------------------------------------ spheres


def test_rays_integrate_the_indicator_of_the_spheres(rng):
    spheres, angles, spacing = draw_spheres(rng), rng.uniform(-4, 4, 3), 1.3
    projections = sphere_projections(
        spheres, angles, (9, 14), center=6.1, detector_spacing=spacing, dtype=np.float64, angle_unit="rad"
    )
    along = np.arange(-20, 20, 0.01)
    for k, angle in enumerate(angles):
        z, s = (np.arange(9) - 4.0)[:, None, None], ((np.arange(14) - 6.1) * spacing)[:, None]
        x, y = s * np.cos(angle) - along * np.sin(angle), s * np.sin(angle) + along * np.cos(angle)
        inside = [value * ((x - x0) ** 2 + (y - y0) ** 2 + (z - z0) ** 2 <= r**2) for value, x0, y0, z0, r in spheres]
        np.testing.assert_allclose(projections[:, k], sum(inside).sum(-1) * 0.01, atol=0.08)


def test_a_slice_of_spheres_is_a_sum_of_discs(rng):
    spheres, angles = draw_spheres(rng), default_angles(11)
    center = rng.uniform(14, 16, (7, 11))
    projections = sphere_projections(spheres, angles, (7, 30), center=center, dtype=np.float64)
    volume = sphere_volume(spheres, (7, 25, 31), dtype=np.float64)
    for k in range(7):
        r = np.sqrt(np.clip(spheres[:, 4] ** 2 - (spheres[:, 3] - (k - 3)) ** 2, 0, None))
        discs = np.column_stack([spheres[:, 0], r, r, spheres[:, 1:3], 0 * r])[r > 0]
        np.testing.assert_allclose(projections[k], ellipse_sinogram(discs, angles, 30, center=center[k]), atol=1e-12)
        np.testing.assert_allclose(volume[k], ellipse_image(discs, (25, 31)), atol=1e-12)


def test_supersampling_is_the_mean_of_a_finer_scan(rng):
    spheres, angles, n = draw_spheres(rng), default_angles(5), 4
    larger = spheres * [1, n, n, n, n]
    fine = sphere_projections(larger, angles, (6 * n, 20 * n), dtype=np.float64) / n
    coarse = sphere_projections(spheres, angles, (6, 20), supersampling=n, dtype=np.float64)
    np.testing.assert_allclose(coarse, fine.reshape(6, n, 5, 20, n).mean((1, 4)), atol=1e-12)
    fine = sphere_volume(larger, (6 * n, 20 * n, 22 * n), dtype=np.float64)
    coarse = sphere_volume(spheres, (6, 20, 22), supersampling=n, dtype=np.float64)
    np.testing.assert_allclose(coarse, fine.reshape(6, n, 20, n, 22, n).mean((1, 3, 5)), atol=1e-12)


def test_mass_of_a_sphere():
    sphere, expected = [[2.0, 1.3, -0.7, 0.4, 12.0]], 2 * 4 / 3 * np.pi * 12**3
    volume = sphere_volume(sphere, (29, 31, 30), supersampling=4)
    projections = sphere_projections(sphere, default_angles(6), (29, 31), supersampling=4)
    assert volume.dtype == projections.dtype == np.float32
    assert volume.sum() == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(projections.sum((0, 2)), expected, rtol=1e-3)


def test_the_result_does_not_depend_on_the_number_of_threads(rng):
    spheres, angles = draw_spheres(rng, 200), default_angles(70)
    for supersampling in (1, 2):
        one, many, all_ = (
            (
                sphere_projections(spheres, angles, (9, 33), supersampling=supersampling, n_threads=n),
                sphere_volume(spheres, (9, 33, 20), supersampling=supersampling, n_threads=n),
            )
            for n in (1, 5, None)
        )
        for a, b, c in zip(one, many, all_, strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(a, c)


# ------------------------------------------------------------------------------------------------------ packing


def room_left(spheres, radius, height):
    """Distance of every sphere to its nearest neighbour's surface or the wall."""
    x, y, z, r = spheres.T
    room = np.minimum(radius - np.hypot(x, y) - r, height / 2 - np.abs(z) - r)
    pairs = cKDTree(spheres[:, :3]).query_pairs(2 * r.max() + 1e-6, output_type="ndarray")
    gap = np.linalg.norm(spheres[pairs[:, 0], :3] - spheres[pairs[:, 1], :3], axis=1) - r[pairs].sum(1)
    for column in (0, 1):
        np.minimum.at(room, pairs[:, column], gap)
    return room


@pytest.mark.parametrize(("radius", "height"), [(60.0, 80.0), (90.0, 12.0), (8.0, 900.0)])
def test_spheres_touch_but_do_not_overlap(radius, height):
    spheres = pack_spheres(1500, (0.6, 5.0), radius=radius, height=height, random_state=1)
    room = room_left(spheres, radius, height)
    assert room.min() > -1e-9
    assert room[spheres[:, 3] < 5].max() < 1e-9  # as large as it could be
    assert spheres.shape == (1500, 4) and spheres[:, 3].min() >= 0.6 and spheres[0, 3] == 5
    later = np.minimum.accumulate(spheres[:, 3])
    assert np.mean(spheres[:, 3] <= 1.05 * later) > 0.9  # from the largest to the smallest, but for points drawn late


@pytest.mark.parametrize("n_candidates", [1, 2, 300])
def test_few_candidates_leave_gaps_for_later_ones(n_candidates):
    """Gaps that no point hit at first take spheres larger than their predecessors, near cells far from these."""
    for seed in range(200 if n_candidates < 9 else 5):
        spheres = load_simulation().pack_spheres(20 + 3 * n_candidates, 0.1, 60.0, 20.0, 120.0, n_candidates, seed)
        room = room_left(spheres, 20.0, 120.0)
        assert np.diff(spheres[:, 3]).max() > 0.1
        assert np.abs(room).max() < 1e-9


def test_ten_thousand_spheres_fill_a_cylinder_in_seconds():
    start = time.process_time()
    spheres = pack_spheres(10_000, (1.0, 51.0), radius=256.0, height=512.0, random_state=0)
    assert time.process_time() - start < 10
    assert room_left(spheres, 256.0, 512.0).min() > -1e-9
    assert 4 / 3 * np.sum(spheres[:, 3] ** 3) / (256**2 * 512) > 0.7


GOLDEN = [
    [3.4380472444476715, -12.33086167759547, -0.36471171979882255, 6.0],
    [2.2706388978160548, 15.488483196879217, -4.6003925949719155, 4.3459617751749064],
    [-8.512170314198139, 5.288342933897167, 6.308785595570666, 2.0925272592660438],
]  # x, y, z, r


def test_the_seed_alone_decides_the_packing():
    def pack(seed):
        return pack_spheres(50, (1.0, 6.0), radius=20.0, height=20.0, random_state=seed)

    np.testing.assert_array_equal(pack(3), pack(3))
    assert not np.array_equal(pack(3), pack(4))
    one_after_another = np.random.RandomState(3)
    np.testing.assert_array_equal(pack(one_after_another), pack(3))
    assert not np.array_equal(pack(one_after_another), pack(3))
    direct = load_simulation().pack_spheres(50, 1.0, 6.0, 20.0, 20.0, 1000, 7)
    # Every platform must place the same spheres: these were computed on x86-64.
    np.testing.assert_array_equal(direct[[0, 10, 49]], GOLDEN)


def test_random_numbers_come_from_random_state_alone():
    state = check_random_state(None).get_state()
    pack_spheres(5, (1.0, 6.0), radius=20.0, height=20.0, random_state=0)
    add_photon_noise(np.ones(9), 100, random_state=0)
    add_gaussian_noise(np.ones(9), 0.1, random_state=0)
    for before, after in zip(state, check_random_state(None).get_state(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_full_cylinder_is_an_error():
    with pytest.raises(
        ValueError, match=r"n_spheres must fit the cylinder; got 400, but after \d+ spheres, which fill"
    ):
        pack_spheres(400, (3.0, 6.0), radius=20.0, height=20.0, random_state=0)


def test_other_python_threads_run_during_a_call():
    stamps, done = [], threading.Event()

    def work():
        pack_spheres(8000, (1.0, 51.0), radius=256.0, height=512.0, random_state=0)
        done.set()

    worker = threading.Thread(target=work)
    start = time.perf_counter()
    worker.start()
    while not done.is_set():
        stamps.append(time.perf_counter())
        time.sleep(0.001)
    worker.join()
    stamps = np.array([start, *stamps, time.perf_counter()])
    assert np.diff(stamps).max() < 0.5 * (stamps[-1] - start)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
@pytest.mark.parametrize("call", ["pack", "project"])
def test_a_long_call_can_be_interrupted(rng, call):
    class Interrupt(Exception):
        pass

    def handler(signum, frame):
        raise Interrupt

    spheres = draw_spheres(rng, 20_000)
    former = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    start = time.perf_counter()
    try:
        with pytest.raises(Interrupt):
            if call == "pack":
                pack_spheres(300_000, (0.5, 50.0), radius=256.0, height=512.0, n_candidates=400_000, random_state=0)
            else:
                sphere_projections(spheres, default_angles(2000), (30, 500), supersampling=8, n_threads=2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    assert time.perf_counter() - start < 3


# -------------------------------------------------------------------------------------------------------- noise


@pytest.mark.parametrize("projection", [0.0, 1.0, 3.0])
def test_photon_noise_has_the_mean_and_variance_of_counts(projection):
    photons, n = 5000, 200_000
    noisy = add_photon_noise(np.full(n, projection), photons, random_state=0)
    expected = photons * np.exp(-projection)
    assert noisy.var() == pytest.approx(1 / expected + 1.5 / expected**2, rel=5 * np.sqrt(2 / n))
    assert abs(noisy.mean() - projection - 0.5 / expected) < 5 / np.sqrt(expected * n)
    counts = photons * np.exp(-noisy)
    np.testing.assert_allclose(counts, counts.round(), rtol=1e-12)


def test_cells_that_counted_nothing():
    opaque = np.full((3, 4), 800.0)
    np.testing.assert_allclose(add_photon_noise(opaque, 50, random_state=0), np.log(50))
    np.testing.assert_allclose(add_photon_noise(opaque, 50, min_count=0.1, random_state=0), np.log(500))


def test_gaussian_noise_is_relative_to_the_mean():
    projections = np.tile([-1.0, 5.0], (400, 300))
    difference = add_gaussian_noise(projections, 0.1, random_state=0) - projections
    assert difference.std() == pytest.approx(0.3, rel=0.01) and abs(difference.mean()) < 5 * 0.3 / np.sqrt(240_000)
    np.testing.assert_array_equal(add_gaussian_noise(projections, 0, random_state=0), projections)


@pytest.mark.parametrize(("given", "kept"), [("f8", "f8"), ("f4", "f4"), (">f4", "f4"), ("f2", "f2"), ("i4", "f4")])
@pytest.mark.parametrize(
    "add", [lambda p: add_photon_noise(p, 100, random_state=3), lambda p: add_gaussian_noise(p, 0.1, random_state=3)]
)
def test_noise_keeps_shape_and_dtype(add, given, kept):
    projections = np.ones((2, 3, 4), dtype=given)
    projections.flags.writeable = False
    noisy = add(projections[:, ::-1])
    assert noisy.shape == (2, 3, 4) and noisy.dtype == np.dtype(kept) and np.ptp(noisy) > 0
    np.testing.assert_array_equal(noisy, add(projections))
    assert add(np.empty((0, 3), dtype=given)).shape == (0, 3)

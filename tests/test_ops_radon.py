"""radon and its partners: known answers, independent packages, bad input."""

import numpy as np
import pytest
import torch
from conftest import require
from reference import tomophantom_models

from tomolearn.exceptions import GeometryError
from tomolearn.geometry import default_angles
from tomolearn.ops import backproject, backproject_adjoint, radon, radon_adjoint
from tomolearn.simulation import ellipse_image, ellipse_sinogram


def test_sums_along_the_axes_are_exact(rng):
    image = rng.integers(0, 100, (9, 9)).astype(float)
    sinogram = radon(image, [0, 90, 180, 270], angle_unit="deg")
    columns, rows = image.sum(0), image.sum(1)[::-1]  # y points up: the last row is at detector 0
    np.testing.assert_array_equal(sinogram, [columns, rows, columns[::-1], rows[::-1]])


def test_non_square_images_off_axis(rng):
    image = rng.random((6, 11))
    sinogram = radon(image, [0, 90], angle_unit="deg", n_detectors=15, center=6.0)
    np.testing.assert_allclose(sinogram[0], np.r_[0, image.sum(0), 0, 0, 0], atol=1e-14)  # column 5 falls on detector 6
    middle = np.convolve(image.sum(1)[::-1], [0.5, 0.5])  # rows lie half way between detectors
    np.testing.assert_allclose(sinogram[1], np.r_[0, 0, 0, middle, 0, 0, 0, 0, 0], atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sigma", [4.0, 6.5])
def test_mass_is_kept_at_every_angle(dtype, sigma):
    y, x = np.mgrid[-40:41, -40:41]
    image = np.exp(-((x - 3.2) ** 2 + (y + 1.7) ** 2) / (2 * sigma**2)).astype(dtype)
    angles = np.linspace(0, 2 * np.pi, 97)
    for project in (radon, backproject_adjoint):
        mass = project(image, angles, n_detectors=121, angle_unit="rad").sum(1)
        np.testing.assert_allclose(mass, image.sum(), rtol=1e-3)


def smooth_disc_error(n):
    """Root mean square error, over rays, of the projections of a smooth disc in a field of view of fixed size 2."""
    h = 2 / n
    x = (np.arange(n) - (n - 1) / 2) * h
    r2 = (x[None] - 0.1) ** 2 + (x[:, None] - 0.05) ** 2  # y up: the centre lies at (0.1, -0.05)
    image = np.clip(1 - r2 / 0.49, 0, None) ** 2
    angles = default_angles(60)
    s = x[None] - (0.1 * np.cos(angles) - 0.05 * np.sin(angles))[:, None]
    a2 = np.clip(1 - s**2 / 0.49, 0, None)
    exact = 16 / 15 * 0.7 * a2**2.5  # line integral of (1 - r^2/R^2)^2
    return np.sqrt(np.mean((radon(image, angles) * h - exact) ** 2))


def test_error_falls_with_the_square_of_the_pixel():
    errors = [smooth_disc_error(n) for n in (32, 64, 128)]
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert coarse / fine > 3.4, errors


def windowed_error(ellipses, n):
    """Root mean square error against the exact sinogram, pixels being 2 / n wide, seen through a window of fixed width.

    Single rays over sharp edges are of first order, whatever the projector: the pixels of the image decide where an
    edge is. Those errors change sign from ray to ray; means over a twentieth of the field of view are of second order.
    """
    table = np.array(ellipses) * [1, n / 2, n / 2, n / 2, n / 2, 1]
    angles = default_angles(90) + 0.01
    error = radon(ellipse_image(table, (n, n), supersampling="exact"), angles)
    error -= ellipse_sinogram(table, angles, n, bin_average=True)
    window = np.hanning(n // 20 + 2)[1:-1]
    means = np.array([np.convolve(row, window / window.sum()) for row in error])
    return np.sqrt(np.mean(means**2)) * 2 / n


def check_second_order(ellipses):
    coarse, fine = windowed_error(ellipses, 100), windowed_error(ellipses, 400)
    assert coarse / fine > 4**2 / 1.5, (coarse, fine)  # two halvings of the pixel: sixteen times, less some scatter


@pytest.mark.parametrize("x, y, r", [(0.0, 0.0, 0.7), (0.21, -0.13, 0.45), (-0.3, 0.4, 0.2)])
def test_second_order_against_the_exact_sinograms_of_discs(x, y, r):
    check_second_order([[1.0, r, r, x, y, 0.0]])


@pytest.mark.shared_data
def test_second_order_against_the_exact_sinograms_of_tomophantom(shared_data):
    for ellipses in tomophantom_models(shared_data, 1.0).values():
        check_second_order(ellipses)


@pytest.mark.parametrize("n_slices", [1, 20])
@pytest.mark.parametrize("spacing", [1.0, 0.7, 1.6])
@pytest.mark.parametrize("shape", [(64, 64), (50, 71)])
def test_astra_linear(rng, spacing, shape, n_slices):
    astra = require("astra")
    images = rng.random((n_slices, *shape)).astype(np.float32)
    angles = rng.uniform(0, np.pi, 30)
    n_detectors = 90
    volume = astra.create_vol_geom(*shape)
    geometry = astra.create_proj_geom("parallel", spacing, n_detectors, angles)
    projector = astra.create_projector("linear", geometry, volume)
    theirs = []
    for image in images:
        identifier, sinogram = astra.create_sino(image, projector)
        theirs.append(sinogram)
        astra.data2d.delete(identifier)
    astra.projector.delete(projector)
    theirs = np.stack(theirs)
    ours = radon(images, angles, n_detectors=n_detectors, detector_spacing=spacing)
    assert np.abs(ours - theirs).max() <= 5e-4 * theirs.max()
    assert np.sqrt(np.mean((ours - theirs) ** 2)) <= 5e-5 * theirs.max()


def test_skimage_is_mapped_by_the_documented_convention(rng):
    """skimage turns the image by theta about pixel n // 2 and sums columns: for odd n, its angles are ours."""
    transform = require("skimage.transform")
    y, x = np.mgrid[-32:33, -32:33]
    image = np.exp(-((x - 6) ** 2 / 60 + (y - 9) ** 2 / 120))
    degrees = np.linspace(0, 180, 36, endpoint=False)
    theirs = transform.radon(image, degrees, circle=True).T
    ours = radon(image, degrees, angle_unit="deg")
    assert np.abs(ours - theirs).max() <= 5e-3 * theirs.max()


def test_algotom_shares_the_convention():
    """algotom reconstructs our projections, with our angles, to the image as it is: not turned, not flipped."""
    require("algotom")
    from algotom.rec.reconstruction import fbp_reconstruction

    # Its threads add to the same pixels without a lock: with more than one, each run gives another image.
    numba = require("numba")
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    y, x = np.mgrid[-32:33, -32:33]
    image = np.exp(-((x - 6) ** 2 / 60 + (y - 9) ** 2 / 120))
    angles = default_angles(180)
    sinogram = radon(image, angles).astype(np.float32)
    options = {"ratio": None, "filter_name": None, "apply_log": False, "gpu": False, "ncore": 1}
    theirs = fbp_reconstruction(sinogram, 32.0, angles=angles, **options)
    numba.set_num_threads(threads)
    assert np.abs(theirs - image)[np.hypot(x, y) < 28].max() < 0.01


def test_one_center_for_each_slice_or_angle(rng):
    images, angles = rng.random((3, 20, 20)), default_angles(8)
    centers = np.array([8.5, 9.5, 11.0])
    together = radon(images, angles, center=centers[:, None])
    apart = [radon(image, angles, center=c) for image, c in zip(images, centers, strict=True)]
    np.testing.assert_allclose(together, apart, atol=1e-12)
    moving = rng.uniform(8, 11, 8)
    by_angle = [radon(images, angles[k : k + 1], center=moving[k])[:, 0] for k in range(8)]
    np.testing.assert_allclose(radon(images, angles, center=moving), np.stack(by_angle, 1), atol=1e-12)


@pytest.mark.parametrize("op", [radon, backproject_adjoint])
@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.astype(np.uint8),
        lambda x: x.astype(np.uint16),
        lambda x: x.astype(np.int64),
        lambda x: x.astype(">f4"),
        lambda x: x.astype(">u2"),
        lambda x: np.asfortranarray(x),
        lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
        lambda x: np.lib.stride_tricks.as_strided(x, writeable=False),
        lambda x: x.tolist(),
        lambda x: torch.from_numpy(x),
        lambda x: torch.from_numpy(x).half(),
    ],
    ids="uint8 uint16 int64 big_f4 big_u2 fortran negative readonly list tensor half".split(),
)
def test_every_kind_of_input_gives_the_right_answer(op, convert):
    x = np.arange(30.0).reshape(5, 6)
    expected, angles = op(x, [0.1, 1.3, 2.0]), [0.1, 1.3, 2.0]
    given = convert(x)
    result = op(given, angles)
    assert isinstance(result, torch.Tensor) == isinstance(given, torch.Tensor)
    if isinstance(given, np.ndarray):
        floating = given.dtype.kind == "f"
        assert result.dtype == (
            given.dtype.newbyteorder("=") if floating else np.float64 if given.dtype.itemsize > 4 else np.float32
        )
    np.testing.assert_allclose(
        np.asarray(result, float), expected, rtol=2e-3 if getattr(given, "dtype", None) == torch.float16 else 1e-5
    )


def test_nan_is_not_swallowed():
    image = np.ones((8, 8))
    image[3, 4] = np.nan
    for n in (1, 20):
        sinogram = radon(np.repeat(image[None].astype(np.float32), n, 0), [0.2, 1.0])
        assert np.isnan(sinogram).any(axis=2).all()


IMAGE, ANGLES = np.ones((4, 4)), [0.0, 1.0]


@pytest.mark.parametrize(
    "call, error, match",
    [
        (lambda: radon(np.ones(4), ANGLES), ValueError, r"images must have 2 or 3 dimensions; got 1 \(shape \(4,\)\)"),
        (lambda: radon(np.ones((0, 4)), ANGLES), ValueError, r"images must not be empty; got shape \(0, 4\)"),
        (lambda: radon(IMAGE * 1j, ANGLES), TypeError, "images must hold real numbers; got dtype complex128"),
        (lambda: radon([["a", "b"]], ANGLES), TypeError, "images must hold real numbers"),
        (lambda: radon(IMAGE, []), GeometryError, "angles must be a non-empty list of numbers"),
        (lambda: radon(IMAGE, [[0.0, 1.0]]), GeometryError, r"angles must be a non-empty list .* shape \(1, 2\)"),
        (lambda: radon(IMAGE, [0.0, np.nan]), GeometryError, "angles must be finite; got 1 NaN"),
        (lambda: radon(IMAGE, np.arange(180)), GeometryError, "look like degrees; pass angle_unit='deg' if they are"),
        (lambda: radon(IMAGE, np.arange(0, 360, 10)), GeometryError, "look like degrees"),
        (lambda: radon(IMAGE, np.arange(90)), GeometryError, "look like degrees"),
        (
            lambda: radon(IMAGE, ANGLES, angle_unit="grad"),
            GeometryError,
            "angle_unit must be 'rad', 'deg' or None; got 'grad'",
        ),
        (
            lambda: radon(IMAGE, ANGLES, n_detectors=0),
            ValueError,
            "n_detectors must be an integer from 1 to 16777215; got 0",
        ),
        (lambda: radon(IMAGE, ANGLES, n_detectors=2.5), TypeError, "n_detectors must be an integer from 1 .*; got 2.5"),
        (
            lambda: radon(IMAGE, ANGLES, detector_spacing=0),
            ValueError,
            r"detector_spacing must be a number in \[0.01, 100\]; got 0",
        ),
        (lambda: radon(IMAGE, ANGLES, detector_spacing=np.nan), ValueError, "detector_spacing must be a number"),
        (
            lambda: radon(IMAGE, ANGLES, center=np.inf),
            GeometryError,
            "center must be finite and near the detector, which spans 0 to 3",
        ),
        (
            lambda: radon(IMAGE, ANGLES, center=[1, 2, 3]),
            GeometryError,
            r"center must be a number, \(2,\) numbers .* got shape \(3,\)",
        ),
        (
            lambda: radon(IMAGE, ANGLES, center=[[1], [2]]),
            GeometryError,
            "center must be one per slice; got 2 for 1 slices",
        ),
        (
            lambda: radon(IMAGE, ANGLES, center="vo"),
            GeometryError,
            "center must be a number or an array of numbers; got 'vo'",
        ),
        (
            lambda: backproject(IMAGE, ANGLES),
            GeometryError,
            r"angles must be one per projection; got 2 angles .* \(4, 4\)",
        ),
        (
            lambda: radon_adjoint(IMAGE[:2], ANGLES, image_shape=4),
            ValueError,
            "image_shape must be 2 positive integers; got 4",
        ),
        (
            lambda: radon_adjoint(IMAGE[:2], ANGLES, image_shape=(4, 0)),
            ValueError,
            r"image_shape\[1\] must be an integer >= 1; got 0",
        ),
    ],
)
def test_bad_input_is_refused_by_name(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_an_encoder_offset_is_not_taken_for_degrees():
    radon(IMAGE, np.linspace(292, 295, 50))

"""Phantoms: empty tables, arrays of every kind, and wrong arguments, through Python and straight into the module."""

import numpy as np
import pytest

from tomolearn._extension import load_simulation
from tomolearn.exceptions import GeometryError
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


def test_no_shapes_give_zeros():
    for nothing in ([], np.empty((0, 6))):
        assert not ellipse_image(nothing, (3, 4)).any() and ellipse_image(nothing, (3, 4)).shape == (3, 4)
        assert not ellipse_sinogram(nothing, [0.0], 5, bin_average=True).any()
    assert sphere_volume([], (2, 3, 4)).tolist() == np.zeros((2, 3, 4)).tolist()
    assert sphere_projections(np.empty((0, 5)), [0.0, 1.0], (2, 7)).tolist() == np.zeros((2, 2, 7)).tolist()
    assert pack_spheres(0, (1, 2), radius=9, height=9).shape == (0, 4)


def test_any_array_of_numbers_is_a_table():
    table = np.array([[1, 4, 3, 1, 0, 0], [2, 2, 2, 0, 1, 0]])
    expected = ellipse_sinogram(table.astype(float), [0.1], 15)
    for other in (table.tolist(), table.astype(">f4"), table.astype(np.int8), np.asfortranarray(table), table[::-1]):
        np.testing.assert_allclose(ellipse_sinogram(other, [0.1], 15), expected, atol=1e-12)


def test_what_lies_far_outside_is_not_seen():
    far = [[1, 5, 5, 1e9, 0, 0], [1, 5, 5, 0, -1e9, 0]]
    assert not ellipse_image(far, (9, 9), supersampling="exact").any()
    assert not ellipse_sinogram(far, [0.4, 2.0], 9, bin_average=True).any()
    assert not sphere_projections([[1, 0, 0, 1e9, 5], [1, 1e9, 1e9, 0, 5]], [0.1], (3, 9)).any()
    assert not sphere_volume([[1, 0, 0, 1e9, 5], [1, 1e9, 1e9, 0, 5]], (3, 9, 9)).any()


DISC, BALL = [[1.0, 3.0, 3.0, 0.0, 0.0, 0.0]], [[1.0, 0.0, 0.0, 0.0, 3.0]]
CYLINDER = {"radius": 20.0, "height": 20.0, "random_state": 0}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ellipse_image([[1, 2, 3]], (4, 4)), ValueError, r"table of shape \(n, 6\) .* got shape \(1, 3\)"),
        (lambda: ellipse_image([[1, 2], [3]], (4, 4)), ValueError, "ellipses must .*got rows of different lengths"),
        (lambda: ellipse_image([list("abcdef")], (4, 4)), TypeError, "ellipses must .*all real numbers; got dtype <U1"),
        (lambda: ellipse_image(np.ones((1, 6), complex), (4, 4)), TypeError, "got dtype complex128"),
        (lambda: ellipse_image(np.ones((1, 6), bool), (4, 4)), TypeError, "got dtype bool"),
        (lambda: ellipse_image([[1, -2, 3, 0, 0, 0]], (4, 4)), ValueError, "semi-axes from .*; got a = -2 in row 0"),
        (lambda: ellipse_sinogram([*DISC, [1, 1, 0, 0, 0, 0]], [0.0], 9), ValueError, "got b = 0 in row 1"),
        (lambda: ellipse_sinogram([[np.nan, 1, 1, 0, 0, 0]], [0.0], 9), ValueError, "finite numbers; got value = nan"),
        (lambda: ellipse_sinogram([[1, 1, 1, 0, 0, np.inf]], [0.0], 9), ValueError, "finite numbers; got phi = inf"),
        (lambda: ellipse_sinogram([[1, 1, 1, 2e9, 0, 0]], [0.0], 9), ValueError, "within 1e9; got x0 = 2e"),
        (lambda: ellipse_image(DISC, 4), ValueError, "image_shape must be 2 positive integers; got 4"),
        (lambda: ellipse_image(DISC, (4, 0)), ValueError, r"image_shape\[1\] must be an integer >= 1"),
        (lambda: ellipse_image(DISC, (4, 4), supersampling="fine"), ValueError, "or 'exact'; got 'fine'"),
        (lambda: ellipse_image(DISC, (4, 4), supersampling=0), ValueError, "supersampling must be an integer from 1"),
        (lambda: ellipse_sinogram(DISC, range(180), 9), GeometryError, "look like degrees"),
        (lambda: ellipse_sinogram(DISC, [np.nan], 9), GeometryError, "angles must be finite"),
        (lambda: ellipse_sinogram(DISC, [0.0], 0), ValueError, "n_detectors must be an integer from 1"),
        (lambda: ellipse_sinogram(DISC, [0.0], 9, center=np.nan), GeometryError, "center must be finite"),
        (lambda: ellipse_sinogram(DISC, [0.0], 9, center=[[1.0], [2.0]]), GeometryError, "center must be the same for"),
        (lambda: ellipse_sinogram(DISC, [0.0], 9, detector_spacing=0), ValueError, "detector_spacing must be a number"),
        (lambda: shepp_logan_ellipses(2.5), TypeError, "size must be an integer >= 1; got 2.5"),
        (lambda: sphere_volume([[1, 0, 0, 0, -1]], (2, 2, 2)), ValueError, "spheres must have radii .* got r = -1"),
        (lambda: sphere_volume(BALL, (2, 2)), ValueError, "volume_shape must be 3 positive integers"),
        (lambda: sphere_volume(BALL, (2, 2, 2), dtype=np.int32), ValueError, "float32 or float64; got int32"),
        (lambda: sphere_volume(BALL, (2, 2, 2), dtype="single file"), TypeError, "float64; got 'single file'"),
        (lambda: sphere_volume(BALL, (2, 2, 2), n_threads=0), ValueError, "n_threads must be an integer from 1"),
        (lambda: sphere_volume(BALL, (2**30, 2**30, 2**30)), MemoryError, None),
        (lambda: sphere_projections(BALL, [0.0], (2, 2**24)), ValueError, "n_detectors must be an integer from 1 to"),
        (lambda: sphere_projections(BALL, [0.0], (3, 9), center=[[1.0], [2.0]]), GeometryError, "each of 3; got 2"),
        (lambda: pack_spheres(-1, (1, 2), **CYLINDER), ValueError, "n_spheres must be an integer from 0"),
        (lambda: pack_spheres(9, 2, **CYLINDER), ValueError, "radius_range must be the smallest and the largest"),
        (lambda: pack_spheres(9, (2, 1), **CYLINDER), ValueError, r"radius_range\[0\] must .* \(0, 1\]; got 2"),
        (lambda: pack_spheres(9, (11, 12), **CYLINDER), ValueError, "must be at most 10, the largest sphere that fits"),
        (lambda: pack_spheres(9, (1, 2), radius=0, height=2), ValueError, "radius must be a number in"),
        (lambda: pack_spheres(9, (1, 2), radius=9, height=np.nan), ValueError, "height must be a number in"),
        (lambda: pack_spheres(9, (1, 2), n_candidates=0, **CYLINDER), ValueError, "n_candidates must be an integer"),
        (lambda: add_photon_noise([np.nan, 1], 9), ValueError, "projections must be finite; got 1 NaN or inf.* of 2"),
        (lambda: add_photon_noise(["a"], 9), TypeError, "projections must hold real numbers; got dtype <U1"),
        (lambda: add_photon_noise([1.0], 0), ValueError, r"photons must be a number in \(0, 1e\+18\]; got 0"),
        (lambda: add_photon_noise([-99.0], 9), ValueError, "rarely negative; got -99, for which 8.9"),
        (lambda: add_photon_noise([1.0], 9, min_count=0), ValueError, "min_count must be a number in"),
        (lambda: add_gaussian_noise([1.0], -0.1), ValueError, "level must be a number in"),
        (lambda: add_gaussian_noise([np.inf], 0.1), ValueError, "projections must be finite"),
        (lambda: add_gaussian_noise([1j], 0.1), TypeError, "projections must hold real numbers"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


ANGLES, CENTERS = np.zeros(2), np.zeros((1, 2))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ellipse_image", (np.zeros((2, 5)), 4, 4, 1), r"ellipses must have shape \(n, 6\)"),
        ("ellipse_image", (np.zeros(6), 4, 4, 1), r"ellipses must have shape \(n, 6\)"),
        ("ellipse_image", (DISC, 0, 4, 1), "rows must be an integer from 1"),
        ("ellipse_image", (DISC, 4, 2**40, 1), "columns must be an integer from 1"),
        ("ellipse_image", (DISC, 4, 4, 65), "supersampling must be an integer from 0 to 64; got 65"),
        ("ellipse_sinogram", (DISC, [ANGLES], CENTERS, 9, 1.0, True), "angles must have one dimension"),
        ("ellipse_sinogram", (DISC, ANGLES * np.nan, CENTERS, 9, 1.0, True), "angles must hold finite"),
        ("ellipse_sinogram", (DISC, ANGLES, CENTERS[:, :1], 9, 1.0, True), "center must have shape"),
        ("ellipse_sinogram", (DISC, ANGLES, CENTERS + np.inf, 9, 1.0, True), "center must hold finite"),
        ("ellipse_sinogram", (DISC, ANGLES, CENTERS, -9, 1.0, True), "n_detectors must be an integer from 1"),
        ("ellipse_sinogram", (DISC, ANGLES, CENTERS, 9, np.nan, True), "detector_spacing must lie within"),
        ("sphere_projections", (BALL, ANGLES, np.zeros((3, 2)), 2, 9, 1.0, 1, True, 1), "center must have shape"),
        ("sphere_projections", (BALL, ANGLES, CENTERS, 0, 9, 1.0, 1, True, 1), "n_slices must be an integer"),
        ("sphere_volume", (np.zeros((2, 6)), 2, 2, 2, 1, True, 1), r"spheres must have shape \(n, 5\)"),
        ("sphere_volume", (BALL, 2, 2, 2, 0, True, 1), "supersampling must be an integer from 1"),
        ("sphere_volume", (BALL, 2, 2, 2, 1, True, 0), "n_threads must be an integer"),
        ("pack_spheres", (5, 3.0, 2.0, 20.0, 20.0, 100, 0), r"radius_range must ascend; got \(3, 2\)"),
        ("pack_spheres", (5, 11.0, 12.0, 20.0, 20.0, 100, 0), r"radius_range\[0\] must fit the cylinder"),
        ("pack_spheres", (5, 1.0, np.inf, 20.0, 20.0, 100, 0), r"radius_range\[1\] must lie within"),
        ("pack_spheres", (5, 1.0, 2.0, 20.0, -20.0, 100, 0), "height must lie within"),
        ("pack_spheres", (5, 1.0, 2.0, 20.0, 20.0, 0, 0), "n_candidates must be an integer"),
    ],
)
def test_the_compiled_module_checks_its_arguments(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(load_simulation(), name)(*arguments)

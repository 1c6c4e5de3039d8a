"""ParallelBeam: a value that compares, hashes, pickles and whose repr evaluates."""

import pickle

import numpy as np
import pytest

from tomolearn.exceptions import GeometryError
from tomolearn.geometry import ParallelBeam, as_radians, default_angles


@pytest.mark.parametrize(
    "beam",
    [
        ParallelBeam([0.1, 2.0], 7),
        ParallelBeam(np.linspace(0, 180, 50), 33, (20, 30), center=12.5, detector_spacing=0.7, angle_unit="deg"),
        ParallelBeam([0.0, 1.0], 9, center=[3.0, 4.0], pixel_size=1e-3),
        ParallelBeam([0.0, 1.0], 9, center=[[3.0], [4.0], [4.5]]),
    ],
)
def test_a_geometry_is_a_value(beam):
    assert eval(repr(beam)) == beam
    assert pickle.loads(pickle.dumps(beam)) == beam
    assert {beam: 1}[eval(repr(beam))] == 1
    with pytest.raises(AttributeError, match="cannot assign"):
        beam.n_detectors = 3


def test_defaults_are_filled_in():
    beam = ParallelBeam(default_angles(4), 8)
    assert (beam.image_shape, beam.center, beam.n_angles) == ((8, 8), 3.5, 4)
    assert beam != ParallelBeam(default_angles(4), 8, center=4)


@pytest.mark.parametrize(
    "angles",
    [
        np.arange(0, 180),
        np.arange(0, 360, 0.5),
        np.linspace(0, 180, 91),
        np.linspace(-90, 90, 60),
        [0, 90],
        np.arange(40),
    ],
)
def test_values_that_look_like_degrees_need_a_unit(angles):
    with pytest.raises(GeometryError, match="look like degrees; pass angle_unit='deg' if they are, angle_unit='rad'"):
        as_radians(angles)
    np.testing.assert_array_equal(as_radians(angles, "rad"), angles)
    np.testing.assert_allclose(as_radians(angles, "deg"), np.asarray(angles) * np.pi / 180)


@pytest.mark.parametrize(
    "angles",
    [default_angles(180), np.linspace(0, 2 * np.pi, 361), np.linspace(292, 295, 99), [180.0], np.linspace(0, 12.5, 50)],
)
def test_radians_need_no_unit(angles):
    np.testing.assert_array_equal(as_radians(angles), angles)


@pytest.mark.parametrize(
    "arguments, error, match",
    [
        ({"n_detectors": 0}, ValueError, "n_detectors must be an integer >= 1; got 0"),
        ({"n_detectors": 7.0}, TypeError, "n_detectors must be an integer >= 1; got 7.0"),
        ({"image_shape": (3,)}, ValueError, r"image_shape must be 2 positive integers; got \(3,\)"),
        ({"image_shape": (3, -1)}, ValueError, r"image_shape\[1\] must be an integer >= 1; got -1"),
        ({"detector_spacing": "1"}, TypeError, r"detector_spacing must be a number in \[0.01, 100\]; got '1'"),
        ({"pixel_size": 0.0}, ValueError, r"pixel_size must be a number in \(0, inf\]; got 0.0"),
        ({"center": float("nan")}, GeometryError, "center must be finite and near the detector, which spans 0 to 6"),
        ({"angles": ["x"]}, GeometryError, "angles must be a list of numbers"),
    ],
)
def test_what_makes_no_scan_is_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        ParallelBeam(**{"angles": [0.0, 1.0], "n_detectors": 7} | arguments)

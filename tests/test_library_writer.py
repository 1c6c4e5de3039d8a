"""Libraries in the format of superres-tomo: what its own reader expects, exact sinograms, noise as stated."""

import h5py
import numpy as np
import pytest

from tomolearn import radon
from tomolearn.exceptions import GeometryError
from tomolearn.geometry import default_angles
from tomolearn.io import ArraySource, open_library
from tomolearn.simulation import libraries, random_shapes, write_library

IMAGES = random_shapes(11, 24, random_state=0)


def read(path):
    images, sinograms = open_library(path)
    with images, sinograms:
        return images[:], sinograms[:]


def test_the_keys_and_shapes_of_the_original(tmp_path):
    """Its reader takes Images and Sinograms with the number last, and NImages."""
    write_library(tmp_path / "shapes.h5", IMAGES, n_angles=30)
    with h5py.File(tmp_path / "shapes.h5") as file:
        assert {"Images", "Sinograms", "ScaleFactor", "Noise", "NImages", "ImageSize"} <= set(file)
        assert file["Images"].shape == (24, 24, 11) and file["Sinograms"].shape == (30, 24, 11)
        assert (file["NImages"][()], file["ImageSize"][()], file["Noise"][()]) == (11, 24, 0)
        np.testing.assert_array_equal(file["ScaleFactor"], np.ones(11))
        np.testing.assert_array_equal(np.moveaxis(file["Images"][:], -1, 0), IMAGES)


@pytest.mark.parametrize("block", [4, 256])
def test_sinograms_are_the_projections(tmp_path, monkeypatch, block):
    monkeypatch.setattr(libraries, "BLOCK", block)
    write_library(tmp_path / "a.h5", ArraySource(IMAGES))
    images, sinograms = read(tmp_path / "a.h5")
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_allclose(sinograms, radon(IMAGES, default_angles(24)), atol=1e-5)


def test_angles(tmp_path):
    for name, options, expected in [
        ("a", {"angles": [0, 30, 100], "angle_unit": "deg"}, np.deg2rad([0, 30, 100])),
        ("b", {"n_angles": 7, "closed_turn": True}, np.linspace(0, np.pi, 7)),
    ]:
        write_library(tmp_path / f"{name}.h5", IMAGES, **options)
        with h5py.File(tmp_path / f"{name}.h5") as file:
            np.testing.assert_allclose(file["Angles"], expected)
        np.testing.assert_allclose(read(tmp_path / f"{name}.h5")[1], radon(IMAGES, expected), atol=1e-5)
    first, last = read(tmp_path / "b.h5")[1][:, [0, -1]].swapaxes(0, 1)
    np.testing.assert_allclose(first, last[:, ::-1], atol=1e-5)  # the view that repeats the first from the back


def test_noise(tmp_path, monkeypatch):
    clean = radon(IMAGES, default_angles(24))
    write_library(tmp_path / "a.h5", IMAGES, photons=1e4, absorption=1.5, random_state=3)
    noise = read(tmp_path / "a.h5")[1] - clean
    for one, sinogram in zip(noise, clean, strict=True):
        scale = 1.5 / sinogram.max()
        expected = np.exp(sinogram * scale / 2) / 100 / scale  # sqrt of 1 / counts, in units of the sinogram
        assert (one / expected).std() == pytest.approx(1, abs=0.12)
    write_library(tmp_path / "b.h5", IMAGES, gaussian_level=0.05, random_state=3)
    noise = read(tmp_path / "b.h5")[1] - clean
    ratio = noise.std(axis=(1, 2)) / np.abs(clean).mean(axis=(1, 2))
    np.testing.assert_allclose(ratio, 0.05, rtol=0.15)
    monkeypatch.setattr(libraries, "BLOCK", 3)  # how many are in memory at a time does not matter
    write_library(tmp_path / "c.h5", IMAGES, gaussian_level=0.05, random_state=3)
    np.testing.assert_allclose(read(tmp_path / "c.h5")[1], read(tmp_path / "b.h5")[1], atol=1e-5)
    with h5py.File(tmp_path / "c.h5") as file:
        assert file["Noise"][()] == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"images": np.zeros((3, 4))}, ValueError, r"images must be \(n, rows, columns\).*got shape \(3, 4\)"),
        ({"images": np.full((2, 8, 8), np.nan)}, ValueError, "images must be finite"),
        ({"angles": [0, 1], "n_angles": 2}, GeometryError, "angles says all: leave out n_angles and closed_turn"),
        ({"angles": [0, 1], "closed_turn": True}, GeometryError, "angles says all"),
        ({"photons": 0}, ValueError, "photons must be a number in"),
        ({"absorption": 0}, ValueError, "absorption must be a number in"),
        ({"gaussian_level": -1}, ValueError, "gaussian_level must be a number in"),
    ],
)
def test_wrong_arguments_leave_nothing(tmp_path, options, error, message):
    options = {"images": IMAGES} | options
    with pytest.raises(error, match=message):
        write_library(tmp_path / "a.h5", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_library_is_not_replaced_by_accident(tmp_path):
    write_library(tmp_path / "a.h5", IMAGES)
    with pytest.raises(FileExistsError, match=r"a\.h5 exists; choose another name, or overwrite=True"):
        write_library(tmp_path / "a.h5", IMAGES[:3])
    write_library(tmp_path / "a.h5", IMAGES[:3], overwrite=True)
    assert len(read(tmp_path / "a.h5")[0]) == 3

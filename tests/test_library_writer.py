"""Libraries in the format of superres-tomo: what its own reader expects, exact sinograms, noise as stated."""

import h5py
import numpy as np
import pytest

from tomolearn import radon
from tomolearn.exceptions import GeometryError
from tomolearn.geometry import default_angles
from tomolearn.io import ArraySource, open_library
from tomolearn.simulation import ellipse_sinogram, libraries, random_ellipses, random_shapes, write_library

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


def read_as_the_original(path):
    """The steps of read_reconstruct_library in superres-tomo: three keys, the last axis first, a channel at the end."""
    with h5py.File(path, "r") as file:
        n_images = np.array(file["NImages"])
        images, sinograms = [], []
        for k in range(int(n_images)):
            images.append(file["Images"][:, :, k])
            sinograms.append(file["Sinograms"][:, :, k])
    return np.array(images)[..., np.newaxis], np.array(sinograms)[..., np.newaxis], n_images


def test_the_original_reads_it(tmp_path):
    write_library(tmp_path / "shapes.h5", IMAGES, photons=1e4, n_dead=1, angle_range=(0, 2), random_state=0)
    images, sinograms, n_images = read_as_the_original(tmp_path / "shapes.h5")
    assert n_images.shape == () and n_images == 11
    assert images.shape == sinograms.shape == (11, 24, 24, 1)  # square, with as many angles as pixels by default
    np.testing.assert_array_equal(images[..., 0], IMAGES)
    np.testing.assert_array_equal(sinograms[..., 0], read(tmp_path / "shapes.h5")[1])


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
        ("c", {"n_angles": 4}, np.arange(4) * np.pi / 4),
        ("d", {"n_angles": 3, "angle_range": (30, 120), "angle_unit": "deg"}, np.deg2rad([30, 60, 90])),
        ("e", {"angle_range": (-1, 1.4)}, np.linspace(-1, 1.4, 24, endpoint=False)),
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


def test_sinograms_of_ellipses_are_exact(tmp_path):
    images, tables = random_ellipses(6, 24, random_state=0, return_tables=True)
    write_library(tmp_path / "a.h5", images, ellipses=tables, n_angles=10)
    stored, sinograms = read(tmp_path / "a.h5")
    np.testing.assert_array_equal(stored, images)
    expected = [ellipse_sinogram(table, default_angles(10), 24, bin_average=True) for table in tables]
    np.testing.assert_allclose(sinograms, expected, rtol=1e-6)


def test_detector_defects(tmp_path):
    clean = radon(IMAGES, default_angles(24))
    options = {"ring_strength": 0.1, "ring_fraction": 0.3, "absorption": 2.0, "random_state": 3}
    write_library(tmp_path / "a.h5", IMAGES, n_dead=2, **options)
    sinograms = read(tmp_path / "a.h5")[1]
    with h5py.File(tmp_path / "a.h5") as file:
        dead, noise = file["Dead"][:].T.astype(bool), file["Noise"][()]
    assert noise == 1 and dead.shape == (11, 24) and (dead.sum(axis=1) == 2).all()
    assert (np.moveaxis(sinograms, 1, 2)[dead] == 0).all()
    stripes = np.moveaxis(sinograms - clean, 1, 2)[~dead]
    assert np.ptp(stripes, axis=1).max() < 1e-4  # the same under all angles
    scale = 2.0 / np.broadcast_to(clean.max(axis=(1, 2))[:, None], dead.shape)[~dead]
    gain = np.exp(-stripes[:, 0] * scale)
    wrong = np.abs(gain - 1) > 1e-4
    assert wrong.mean() == pytest.approx(0.3, abs=0.1) and gain[wrong].std() == pytest.approx(0.1, rel=0.3)
    write_library(tmp_path / "b.h5", IMAGES, **options)
    with h5py.File(tmp_path / "b.h5") as file:
        assert "Dead" not in file
    np.testing.assert_allclose(np.where(dead[:, None], 0, read(tmp_path / "b.h5")[1]), sinograms, atol=1e-5)


def test_a_pair_depends_on_its_seed_alone(tmp_path):
    """Not on the number of pairs, threads, or what else is switched on."""
    options = {"photons": 1e3, "gaussian_level": 0.05, "n_dead": 1, "ring_strength": 0.1, "random_state": 5}
    write_library(tmp_path / "a.h5", IMAGES, n_threads=3, **options)
    write_library(tmp_path / "b.h5", IMAGES, n_threads=1, **options)
    whole = read(tmp_path / "a.h5")[1]
    np.testing.assert_array_equal(read(tmp_path / "b.h5")[1], whole)
    write_library(tmp_path / "d.h5", IMAGES[:4], **options)
    # Fewer slices are projected by another kernel, whose rounding may tip a photon.
    assert np.mean(np.abs(read(tmp_path / "d.h5")[1] - whole[:4]) > 1e-4) < 0.01
    write_library(tmp_path / "c.h5", np.repeat(IMAGES[:1], 9, axis=0), **options)
    assert len({sinogram.tobytes() for sinogram in read(tmp_path / "c.h5")[1]}) == 9


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"images": np.zeros((3, 4))}, ValueError, r"images must be \(n, rows, columns\).*got shape \(3, 4\)"),
        ({"images": np.full((2, 8, 8), np.nan)}, ValueError, "images must be finite"),
        (
            {"angles": [0, 1], "n_angles": 2},
            GeometryError,
            "angles says all: leave out n_angles, angle_range and closed_turn",
        ),
        ({"angles": [0, 1], "closed_turn": True}, GeometryError, "angles says all"),
        ({"angles": [0, 1], "angle_range": (0, 1)}, GeometryError, "angles says all"),
        ({"angle_range": (0, 1), "closed_turn": True}, GeometryError, "closed_turn is a turn from 0 to pi"),
        ({"angle_range": (0, 120)}, GeometryError, "look like degrees"),
        ({"angle_range": (1, 0)}, GeometryError, "angle_range must be two angles, the lower one first"),
        ({"ellipses": [[[1, 2, 2, 0, 0, 0]]]}, ValueError, "ellipses must hold one table for each of 11 images; got 1"),
        ({"ellipses": [[[1, 2]]] * 11}, ValueError, r"ellipses must be a table of shape \(n, 6\)"),
        ({"n_dead": 25}, ValueError, "n_dead must be an integer from 0 to 24; got 25"),
        ({"ring_strength": 2}, ValueError, "ring_strength must be a number in"),
        ({"n_threads": 0}, ValueError, "n_threads must be an integer from 1"),
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

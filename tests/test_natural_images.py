"""Crops of pictures: what they show, whichever file they come from, and what happens to files that are none."""

import sys

import numpy as np
import pytest
import tifffile
from conftest import require

from tomolearn.exceptions import FileFormatError
from tomolearn.io import Source, open_library
from tomolearn.ops import radon
from tomolearn.simulation import natural_images, write_library

SMOOTH = np.add.outer(np.linspace(0, 100, 60), np.linspace(0, 155, 80)).round()  # 0 ... 255


def inside(size):
    return np.hypot(*np.mgrid[:size, :size] - (size - 1) / 2) <= size / 2


@pytest.fixture
def folder(tmp_path):
    """Three pictures, two of them in a folder of their own, each of one value that tells which it is."""
    (tmp_path / "more").mkdir()
    for name, value in (("c.tif", 51), ("more/a.tiff", 102), ("more/b.TIF", 204)):
        tifffile.imwrite(tmp_path / name, np.full((40, 50), value, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_a_stack_that_is_read_in_blocks(folder):
    images = natural_images(folder, 20, 32, random_state=0)
    assert isinstance(images, Source) and images.shape == (20, 32, 32) and images.dtype == np.float32
    whole = images[:]
    for start, stop in ((0, 20), (3, 4), (6, 15), (19, 20)):
        np.testing.assert_array_equal(images.read_block(start, stop), whole[start:stop])
    np.testing.assert_array_equal(natural_images(folder, 20, 32, random_state=0)[:], whole)


def test_every_picture_has_its_share(folder):
    values = natural_images(folder, 20, 32, random_state=0)[:, 16, 16]
    found, counts = np.unique(values.round(3), return_counts=True)
    np.testing.assert_allclose(found, [0.2, 0.4, 0.8], atol=1e-3)
    assert set(counts) == {6, 7}
    assert np.count_nonzero(np.diff(values.round(3))) == 2  # those of one picture follow each other


def test_more_pictures_than_images(tmp_path):
    for k in range(20):
        tifffile.imwrite(tmp_path / f"{k}.tif", np.full((16, 16), 10 * k, np.uint8))
    chosen = {tuple(natural_images(tmp_path, 3, 16, random_state=seed)[:, 8, 8]) for seed in range(5)}
    assert len(chosen) == 5 and all(len(set(values)) == 3 for values in chosen)


def test_crops_are_squares_of_the_picture_turned_and_mirrored(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (20, 23), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", picture)
    windows = {}
    for top in range(5):
        for left in range(8):
            square = picture[top : top + 16, left : left + 16] / np.float32(255)
            for turn in range(4):
                for mirrored in (False, True):
                    turned = np.rot90(square, turn)
                    windows[(turned.T if mirrored else turned).astype(np.float32).tobytes()] = turn, mirrored, top, left
    images = natural_images(tmp_path, 300, 16, max_scale=1, circle=False, random_state=0)[:]
    turns, mirrors, tops, lefts = (set(found) for found in zip(*(windows[i.tobytes()] for i in images), strict=True))
    assert turns == set(range(4)) and mirrors == {False, True} and tops == set(range(5)) and lefts == set(range(8))


def test_scaling_down_keeps_the_mean_and_is_not_aliased(tmp_path):
    board = np.indices((128, 128)).sum(axis=0) % 2
    tifffile.imwrite(tmp_path / "a.tif", (255 * board).astype(np.uint8))
    images = natural_images(tmp_path, 40, 16, max_scale=8, circle=False, random_state=0)[:]
    np.testing.assert_allclose(images.mean(axis=(1, 2)), 0.5, atol=0.03)
    deviations = images.std(axis=(1, 2))
    assert deviations.max() > 0.2 and np.mean(deviations < 0.1) > 0.5  # most are far from their own scale
    gradient = np.add.outer(np.arange(128.0), np.zeros(128)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", gradient)
    images = natural_images(tmp_path, 200, 16, max_scale=8, circle=False, random_state=0)[:]
    rises = [np.abs(np.gradient(image)).max(axis=0)[4:-4, 4:-4].mean() * 255 for image in images]
    # grey values a pixel: the scale of each crop, of uniform logarithm
    assert min(rises) < 1.2 and max(rises) > 7 and np.median(rises) == pytest.approx(8**0.5, rel=0.2)


def test_circle(folder):
    images = natural_images(folder, 5, 33, random_state=0)[:]
    assert (images[:, ~inside(33)] == 0).all() and (images[:, inside(33)] > 0).all()
    assert (natural_images(folder, 5, 33, circle=False, random_state=0)[:] > 0).all()


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (SMOOTH.astype(np.uint8), {}),
        (SMOOTH.astype(np.uint16) * 257, {}),
        (SMOOTH.astype(">u2") * 257, {"byteorder": ">"}),
        ((SMOOTH * 3 - 40).astype(np.float32), {}),
        (np.stack([SMOOTH] * 3, axis=2).astype(np.uint8), {"photometric": "rgb"}),
        (np.stack([SMOOTH] * 3).astype(np.uint8), {"photometric": "rgb", "planarconfig": "separate"}),
        (np.stack([SMOOTH, 0 * SMOOTH + 9], axis=2).astype(np.uint8), {"extrasamples": ["unassalpha"]}),
        (np.stack([SMOOTH, 0 * SMOOTH]).astype(np.uint8), {"photometric": "minisblack"}),
    ],
)
def test_kinds_of_tiff(tmp_path, values, options):
    """Depth, colours, transparency, pages: the same picture."""
    for name, picture, how in (("plain", SMOOTH.astype(np.uint8), {}), ("other", values, options)):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "a.tif", picture, **how)
    plain, other = (natural_images(tmp_path / name, 4, 32, random_state=1)[:] for name in ("plain", "other"))
    assert np.ptp(plain) > 0.3
    np.testing.assert_allclose(other, plain, atol=2e-3)


def test_kinds_of_pictures(tmp_path):
    image = require("PIL.Image")
    grey = image.fromarray(SMOOTH.astype(np.uint8))
    pictures = {
        **{"a.png": grey, "b.PNG": grey.convert("RGB"), "c.png": grey.convert("LA"), "d.png": grey.convert("P")},
        **{"e.bmp": grey, "f.jpg": grey.convert("CMYK"), "g.jpeg": grey},
        "h.png": image.fromarray(SMOOTH.astype(np.uint16) * 257),
    }
    found = []
    for name, picture in pictures.items():
        folder = tmp_path / name[0]
        folder.mkdir()
        picture.save(folder / name, **({"quality": 100} if "j" in name else {}))
        found.append(natural_images(folder, 3, 32, random_state=0)[:])
    for name, images in zip(pictures, found, strict=True):
        np.testing.assert_allclose(images, found[0], atol=0.02 if "j" in name else 1e-6, err_msg=name)
    assert np.ptp(found[0]) > 0.3


def test_colours_are_weighted(tmp_path):
    colour = np.zeros((16, 16, 3), np.uint8)
    colour[:, :, 1] = 255
    tifffile.imwrite(tmp_path / "green.tif", colour, photometric="rgb")
    assert natural_images(tmp_path, 1, 16)[0, 8, 8] == pytest.approx(0.587)


def test_pictures_that_are_left_out_are_counted(folder):
    (folder / "a.tif").write_bytes(b"II*\0 no picture")
    tifffile.imwrite(folder / "b.tif", np.zeros((200, 31), np.uint8))
    with pytest.warns(UserWarning, match=r"2 of 5 pictures in .* are left out; the first: .*a\.tif is broken"):
        images = natural_images(folder, 4, 32, random_state=0)
    assert [file.name for file, _ in images.skipped] == ["a.tif", "b.tif"]
    assert images.skipped[1][1].endswith("b.tif has 31 pixels, expected size=32 at least.")
    np.testing.assert_array_equal(images[:][:, 16, 16] > 0.1, True)


def test_pixels_that_are_broken_name_their_file(tmp_path):
    image = require("PIL.Image")
    image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(FileFormatError, match=r"a\.png is broken .*expected a picture"):
        natural_images(tmp_path, 1, 32)[0]
    tifffile.imwrite(tmp_path / "a.tif", np.full((64, 64), np.nan, np.float32))
    (tmp_path / "a.png").unlink()
    with pytest.raises(FileFormatError, match=r"a\.tif holds NaN or infinity"):
        natural_images(tmp_path, 1, 32)[0]


def test_without_pillow(tmp_path, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert natural_images(folder, 1, 32).shape == (1, 32, 32)
    (folder / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(ImportError, match=r"read by Pillow, which is not installed.*tomolearn\[images\]"):
        natural_images(folder, 1, 32)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"folder": "nowhere"}, FileNotFoundError, "there is no folder .*nowhere"),
        ({"folder": "empty"}, FileNotFoundError, r"empty holds no \.png, \.jpg"),
        ({"size": 64}, ValueError, "no picture of the 3 .* at least 64 pixels high and wide: .*has 40 pixels"),
        ({"n_images": 0}, ValueError, "n_images must be an integer >= 1; got 0"),
        ({"size": 4}, ValueError, "size must be an integer >= 8; got 4"),
        ({"max_scale": 0.5}, ValueError, r"max_scale must be a number in \[1, 64\]; got 0.5"),
    ],
)
def test_wrong_arguments(folder, options, error, message):
    (folder / "empty").mkdir()
    options = {"n_images": 2, "size": 16} | options
    with pytest.raises(error, match=message):
        natural_images(folder / options.pop("folder", ""), **options)


def test_a_library_of_them(folder, tmp_path):
    images = natural_images(folder, 9, 24, random_state=0)
    write_library(tmp_path / "library.h5", images, n_angles=10)
    stored, sinograms = open_library(tmp_path / "library.h5")
    with stored, sinograms:
        np.testing.assert_array_equal(stored[:], images[:])
        angles = np.linspace(0, np.pi, 10, endpoint=False)
        np.testing.assert_allclose(sinograms[:], radon(images[:], angles), atol=1e-5)

"""Images and masks that belong together: from arrays and files of every kind, paired by name, checked."""

import os

import h5py
import numpy as np
import pytest
import tifffile
from conftest import require

from tomolearn.exceptions import FileFormatError
from tomolearn.io import ArraySource, open_volume
from tomolearn.io._pairing import listed, pair_names
from tomolearn.io._pictures import KEPT, OPEN, Picture, Recent
from tomolearn.io.labelled import open_labelled


def images_and_masks(rng, shapes=((20, 30), (24, 18), (20, 30))):
    images = [rng.integers(0, 60_000, shape, dtype=np.uint16) for shape in shapes]
    return images, [(image % 3).astype(np.uint8) for image in images]


def write(folder, names, arrays):
    folder.mkdir(exist_ok=True)
    paths = [folder / name for name in names]
    for path, array in zip(paths, arrays, strict=True):
        if path.suffix == ".png":
            require("PIL.Image").fromarray(array).save(path)
        else:
            tifffile.imwrite(path, array)
    return paths


def whole(entry):
    limits = (0, entry.shape[0]), (0, entry.shape[1])
    return entry.read_image(*limits)[0], entry.read_mask(*limits)


def assert_holds(labelled, images, masks):
    assert len(labelled) == len(images)
    for entry, image, mask in zip(labelled, images, masks, strict=True):
        found = whole(entry)
        np.testing.assert_array_equal(found[0], image)
        np.testing.assert_array_equal(found[1], mask)
        np.testing.assert_array_equal(entry.read_image((3, 6), (2, 7))[0], image[3:6, 2:7])
        np.testing.assert_array_equal(entry.read_mask((3, 6), (2, 7)), mask[3:6, 2:7])


# ---------------------------------------------------------------------------------------------------- kinds of input


def test_arrays(rng):
    images, masks = images_and_masks(rng)
    assert_holds(open_labelled(images, masks), images, masks)
    assert_holds(open_labelled(images[0], masks[0]), images[:1], masks[:1])
    assert_holds(open_labelled(np.stack(images[::2]), np.stack(masks[::2])), images[::2], masks[::2])
    assert_holds(open_labelled(images[0].tolist(), masks[0].tolist()), images[:1], masks[:1])
    sources = [ArraySource(image[None]) for image in images]
    assert_holds(open_labelled(sources, [mask > 0 for mask in masks]), images, [mask > 0 for mask in masks])


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_folders_lists_and_patterns(tmp_path, rng, suffix):
    images, masks = images_and_masks(rng)
    names = [f"{i}{suffix}" for i in (2, 10, 1)]  # by their numbers: 1, 2, 10
    left = write(tmp_path / "images", names, images)
    right = write(tmp_path / "masks", names, masks)
    order = [2, 0, 1]
    expected = [images[i] for i in order], [masks[i] for i in order]
    with open_labelled(tmp_path / "images", str(tmp_path / "masks")) as labelled:
        assert_holds(labelled, *expected)
        assert_holds(labelled.in_memory(), *expected)
        assert labelled[0].name == str(left[2]) and labelled[0].n_slices == 1
    assert_holds(open_labelled(tmp_path / "images" / f"*{suffix}", tmp_path / "masks"), *expected)
    assert_holds(open_labelled(left, right[::-1]), images, masks)  # by name, not by order


def test_files_that_hold_one_array(tmp_path, rng):
    volume = rng.integers(0, 9, (3, 20, 18), dtype=np.uint16)
    masks = (volume > 4).astype(np.uint8)
    tifffile.imwrite(tmp_path / "big.tif", volume, bigtiff=True, photometric="minisblack")
    np.save(tmp_path / "labels.npy", masks)
    with h5py.File(tmp_path / "scan.nxs", "w") as file:
        file["entry/data/data"], file["labels/volume"], file["labels/first"] = volume, masks, masks[0]
    nxs = f"{tmp_path / 'scan.nxs'}"
    for images in (tmp_path / "big.tif", nxs, f"{nxs}:entry/data/data"):
        for labels in (tmp_path / "labels.npy", f"{nxs}:labels/volume"):
            with open_labelled(images, labels) as labelled:
                assert_holds(labelled, volume, masks)
                assert labelled[1].n_slices == 3 and "slice 1" in labelled[1].name
    assert_holds(open_labelled(volume[0], f"{nxs}:labels/first"), volume[:1], masks[:1])


def test_nothing_but_headers_is_read(tmp_path):
    for name in ("image.tif", "mask.tif"):
        tifffile.memmap(tmp_path / name, shape=(30_000, 30_000), dtype=np.uint16, bigtiff=True)  # sparse: no bytes
    entry = open_labelled(tmp_path / "image.tif", tmp_path / "mask.tif")[0]
    assert entry.shape == (30_000, 30_000) and not entry.read_mask((29_990, 30_000), (5, 9)).any()


def test_neighbouring_slices(rng):
    volume = rng.random((4, 8, 9))
    labelled = open_labelled(volume, volume > 0.5)
    for i, wanted in enumerate([(0, 0, 0, 1, 2), (0, 0, 1, 2, 3), (0, 1, 2, 3, 3), (1, 2, 3, 3, 3)]):
        found = labelled[i].read_image((1, 5), (2, 4), n_adjacent=5)
        np.testing.assert_array_equal(found, volume[list(wanted), 1:5, 2:4])


def test_windows(rng):
    windows = rng.random((4, 3, 8, 9))
    labelled = open_labelled(windows, windows[:, 1] > 0.5)
    assert len(labelled) == 4
    np.testing.assert_array_equal(labelled[2].read_image((1, 5), (2, 4), n_adjacent=3), windows[2, :, 1:5, 2:4])
    np.testing.assert_array_equal(labelled.in_memory()[2].read_image((0, 8), (0, 9), 3), windows[2])
    with pytest.raises(ValueError, match="windows of n_adjacent=5 slices; got 3"):
        labelled[0].read_image((0, 8), (0, 9), n_adjacent=5)


def test_a_folder_as_a_volume(tmp_path, rng):
    volume = rng.integers(0, 9, (12, 6, 7), dtype=np.uint16)
    names = [f"slice_{i}.tif" for i in range(12)]
    write(tmp_path / "images", names, volume)
    write(tmp_path / "masks", names, volume > 4)
    labelled = open_labelled(tmp_path / "images", tmp_path / "masks", as_volume=True)
    assert_holds(labelled, volume, volume > 4)
    np.testing.assert_array_equal(labelled[9].read_image((0, 6), (0, 7), 3), volume[8:11])
    np.testing.assert_array_equal(labelled.in_memory()[9].read_image((0, 6), (0, 7), 3), volume[8:11])
    # a stack of masks fits the files of its slices
    assert_holds(open_labelled(tmp_path / "images", volume > 4), volume, volume > 4)
    tifffile.imwrite(tmp_path / "images" / "slice_12.tif", np.zeros((6, 8), np.uint16))
    tifffile.imwrite(tmp_path / "masks" / "slice_12.tif", np.zeros((6, 8), np.uint16))
    with pytest.raises(ValueError, match=r"of one volume must have one size; .*slice_0.tif has \(6, 7\), .*slice_12"):
        open_labelled(tmp_path / "images", tmp_path / "masks", as_volume=True)


def test_weights(tmp_path, rng):
    images, masks = images_and_masks(rng)
    weights = [rng.random(image.shape).astype(np.float32) for image in images]
    labelled = open_labelled(images, masks, weights=weights)
    assert labelled.has_weights and not open_labelled(images, masks).has_weights
    np.testing.assert_array_equal(labelled[1].read_weight((2, 5), (1, 9)), weights[1][2:5, 1:9])
    assert open_labelled(images, masks)[0].read_weight((0, 2), (0, 2)) is None
    names = ["a.tif", "b.tif", "c.tif"]
    paths = [
        write(tmp_path / name, names, arrays) for name, arrays in zip("imw", (images, masks, weights), strict=True)
    ]
    labelled = open_labelled(*paths[:2], weights=paths[2][::-1])
    np.testing.assert_array_equal(labelled[1].read_weight((2, 5), (1, 9)), weights[1][2:5, 1:9])
    bad = weights[0].copy()
    bad[3, 3] = -1
    with pytest.raises(ValueError, match="weights must be finite and not negative; weights"):
        open_labelled(images[0], masks[0], weights=bad)[0].read_weight((0, 20), (0, 30))
    with pytest.raises(ValueError, match=r"images and weights must have one shape; 1 of 3 pairs differ: images\[1\]"):
        open_labelled(images, masks, weights=[weights[0], weights[0], weights[2]])


# ----------------------------------------------------------------------------------------------------------- pairing


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("img_{}", "mask_{}"),
        ("{}_image", "{}_label"),
        ("{}", "{}_seg"),
        ("scan_{}_raw", "{}"),
        ("slice_{}", "slice_{}_labels_final"),
        ("{}", "{}"),
    ],
)
@pytest.mark.parametrize(
    "keys", [["001", "002", "010", "011", "100"], ["a", "b", "label"], ["1", "2", "11", "12", "21"]]
)
def test_pairs_by_name(left, right, keys, rng):
    images, masks = [left.format(key) + ".tif" for key in keys], [right.format(key) + ".png" for key in keys]
    order = rng.permutation(len(keys))
    found = pair_names(images, [masks[i] for i in order])
    assert [order[i] for i in found] == list(range(len(keys)))


def test_one_file_each_is_a_pair():
    assert pair_names(["scan.tif"], ["segmentation.png"]) == [0]


def test_names_without_a_partner_are_listed():
    images = [f"img_{i:03}.tif" for i in range(20)]
    masks = [f"mask_{i:03}.tif" for i in range(8, 21)]
    with pytest.raises(ValueError) as caught:
        pair_names(images, masks)
    message = str(caught.value)
    assert "8 of 20 images have no mask: img_000.tif, img_001.tif" in message and "img_004.tif and 3 more" in message
    assert "1 of 13 masks have no image: mask_020.tif" in message and "Rename or remove" in message


def test_names_that_come_twice_are_listed():
    with pytest.raises(ValueError, match="files of images must have names of their own.*more than once: a"):
        pair_names(["x/a.tif", "y/a.tif", "b.tif"], ["a.tif", "b.tif", "c.tif"])


def test_listed():
    assert listed("abc") == "a, b, c" and listed(range(7)) == "0, 1, 2, 3, 4 and 2 more"


# ------------------------------------------------------------------------------------------------------------- errors


def test_sizes_that_differ_are_listed(rng):
    images, masks = images_and_masks(rng)
    masks[1] = masks[1].T
    with pytest.raises(ValueError, match=r"1 of 3 pairs differ: images\[1\] 24 x 18 and masks\[1\] 18 x 24. Crop"):
        open_labelled(images, masks)
    with pytest.raises(ValueError, match="must have one shape; .*images 5 x 8 x 9 and masks 4 x 8 x 9"):
        open_labelled(np.zeros((5, 8, 9)), np.zeros((4, 8, 9), int))
    with pytest.raises(ValueError, match="images and masks must be as many; got 3 images, 2 masks. Give one"):
        open_labelled([np.zeros((8, 9))] * 3, [np.zeros((8, 9), int)] * 2)
    with pytest.raises(ValueError, match="images and masks must be as many; got 3 images, 2 masks. Give one"):
        open_labelled([np.zeros((8, 9))] * 3, np.zeros((2, 8, 9), int))


def test_a_folder_without_pictures_is_an_error_and_no_endless_loop(tmp_path, rng):
    images, masks = images_and_masks(rng)
    write(tmp_path / "masks", ["1.tif", "2.tif", "3.tif"], masks)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read.me").touch()
    with pytest.raises(FileNotFoundError, match="no TIFF or PNG file in the folder .*notes; it holds read.me"):
        open_labelled(tmp_path / "notes", tmp_path / "masks")
    with pytest.raises(FileNotFoundError, match="no file that fits .*jpg"):
        open_labelled(tmp_path / "*.jpg", tmp_path / "masks")
    with pytest.raises(FileNotFoundError, match="no file .*4.png"):
        open_labelled([tmp_path / "4.png"], tmp_path / "masks")


def test_what_is_no_image_is_an_error(tmp_path):
    Image = require("PIL.Image")
    Image.new("RGB", (4, 4)).save(tmp_path / "colours.png")
    with pytest.raises(FileFormatError, match="colours.png holds pixels of mode RGB, expected grey values"):
        open_labelled(tmp_path / "colours.png", np.zeros((4, 4), int))
    (tmp_path / "broken.png").write_bytes((tmp_path / "colours.png").read_bytes()[:20])
    with pytest.raises(FileFormatError, match="broken.png is broken"):
        open_labelled(tmp_path / "broken.png", np.zeros((4, 4), int))
    with pytest.raises(TypeError, match="images must be arrays, sources or paths; got list"):
        open_labelled([["a", "b"]], np.zeros((4, 4), int))
    with pytest.raises(TypeError, match="masks must be arrays, sources or paths; got NoneType"):
        open_labelled(np.zeros((4, 4)), None)
    with pytest.raises(ValueError, match=r"images must be an image .*; got shape \(0, 4, 4\)"):
        open_labelled(np.zeros((0, 4, 4)), np.zeros((0, 4, 4), int))


def test_palette_images_are_labels(tmp_path):
    Image = require("PIL.Image")
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    picture = Image.fromarray(labels).convert("P")
    picture.putdata(labels.ravel().tolist())
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.save(tmp_path / "labels.png")
    np.testing.assert_array_equal(open_labelled(labels, tmp_path / "labels.png")[0].read_mask((0, 3), (0, 4)), labels)


def test_masks_hold_whole_numbers(rng):
    mask = np.ones((6, 7))
    assert open_labelled(mask, mask)[0].read_mask((0, 6), (0, 7)).dtype == np.int64
    for wrong in (0.5, np.nan, np.inf, 1e300):
        mask[2, 3] = wrong
        with pytest.raises(
            ValueError, match="whole-number labels; masks holds fractions, NaN or infinity. Is it an im"
        ):
            open_labelled(mask, mask)[0].read_mask((0, 6), (0, 7))


# ------------------------------------------------------------------------------------------- few files, little memory


def test_what_was_not_read_for_long_is_closed():
    recent, loads = Recent(), []

    def picture(i, n):
        return Picture((1, 1, n), np.uint8, f"{i}", lambda: loads.append(i) or np.zeros((1, 1, n), np.uint8))

    large = [picture(i, KEPT // 2) for i in range(3)]
    for i in (0, 1, 0, 2, 0, 1):  # room for two; when 2 comes, 1 goes, and when 1 comes, 2 goes
        recent.touch(large[i])
        large[i].read_region(0, 1, (0, 1), (0, 2))
    assert loads == [0, 1, 2, 1]
    recent, loads = Recent(), []
    small = [picture(i, 4) for i in range(OPEN + 1)]
    for entry in (*small, small[1], small[0]):
        recent.touch(entry)
        entry.read_block(0, 1)
    assert loads == [*range(OPEN + 1), 0]


def test_many_files_do_not_stay_open(tmp_path):
    n = OPEN + 20
    stacks = [np.full((2, 4, 4), i, np.uint8) for i in range(n)]
    names = [f"{i}.tif" for i in range(n)]
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for name, stack in zip(names, stacks, strict=True):
            tifffile.imwrite(tmp_path / folder / name, stack, photometric="minisblack")
    labelled = open_labelled(tmp_path / "images", tmp_path / "masks")
    assert len(labelled) == 2 * n
    assert [int(entry.read_mask((0, 1), (0, 1))[0, 0]) for entry in labelled] == [i for i in range(n) for _ in range(2)]
    if os.path.isdir("/proc/self/fd"):
        held = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
        assert 0 < sum(str(tmp_path / "masks") in path for path in held) <= OPEN
    labelled.close()


def test_sources_of_files_pair_by_order(tmp_path, rng):
    images, masks = images_and_masks(rng)
    left = write(tmp_path / "left", ["x.tif", "y.tif", "z.tif"], images)
    right = write(tmp_path / "right", ["3.tif", "1.tif", "2.tif"], masks)
    with pytest.raises(ValueError, match=r"give lists of open_volume\(path\), which pair by their order"):
        open_labelled(left, right)
    assert_holds(open_labelled([open_volume(p) for p in left], [open_volume(p) for p in right]), images, masks)

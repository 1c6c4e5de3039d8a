"""Regions of stacks: for every kind of file what cutting the whole gives, and no more read than is touched."""

import h5py
import numpy as np
import pytest
import tifffile
from conftest import require

from tomolearn.exceptions import FileFormatError, MemoryBudgetError
from tomolearn.io import ArraySource, Source, open_volume
from tomolearn.io import _frames as frames
from tomolearn.io import _tiff as tiff

SHAPE = (3, 50, 70)
STACK = np.random.default_rng(0).integers(0, 60000, SHAPE).astype(np.uint16)
REGIONS = [
    ((0, 3), (0, 50), (0, 70)),
    ((1, 2), (7, 8), (69, 70)),
    ((0, 2), (15, 49), (16, 33)),
    ((2, 3), (32, 50), (0, 70)),
    ((1, 3), (0, 50), (31, 32)),
    ((1, 1), (3, 9), (2, 4)),
    ((0, 3), (9, 9), (2, 4)),
    ((0, 3), (1, 2), (70, 70)),
]


def write_hdf5(path, **storage):
    with h5py.File(path, "w") as file:
        file.create_dataset("exchange/data", data=STACK, **storage)


def write_zarr(path):
    require("zarr").save_array(str(path), STACK)


WRITERS = {
    "plain.npy": lambda path: np.save(path, STACK),
    "fortran.npy": lambda path: np.save(path, np.asfortranarray(STACK)),
    "packed.npz": lambda path: np.savez_compressed(path, data=STACK),
    "pages.tif": lambda path: tifffile.imwrite(path, STACK, bigtiff=True, photometric="minisblack"),
    "big-endian.tif": lambda path: tifffile.imwrite(path, STACK, byteorder=">", photometric="minisblack"),
    "strips.tif": lambda path: tifffile.imwrite(
        path, STACK, compression="zlib", rowsperstrip=16, photometric="minisblack"
    ),
    "tiles.tif": lambda path: tifffile.imwrite(path, STACK, tile=(16, 32), photometric="minisblack"),
    "packed-tiles.tif": lambda path: tifffile.imwrite(
        path, STACK, tile=(32, 16), compression="zlib", predictor=True, photometric="minisblack"
    ),
    "contiguous.h5": write_hdf5,
    "chunks.h5": lambda path: write_hdf5(path, chunks=(2, 16, 32), compression="gzip"),
    "slabs.h5": lambda path: write_hdf5(path, chunks=(3, 50, 70), compression="gzip"),
    "store.zarr": write_zarr,
}


@pytest.fixture
def stored(request, tmp_path):
    path = tmp_path / request.param
    WRITERS[request.param](path)
    return path


def check_regions(source, whole):
    for (start, stop), rows, columns in REGIONS:
        region = source.read_region(start, stop, rows, columns)
        np.testing.assert_array_equal(region, whole[start:stop, slice(*rows), slice(*columns)])
        assert region.flags.c_contiguous and region.flags.writeable and region.dtype == whole.dtype
        assert not np.shares_memory(region, whole)


@pytest.mark.parametrize("stored", WRITERS, indirect=True)
@pytest.mark.parametrize("skipped", [0, 10**6], ids=["rows in pieces", "whole rows"])
def test_a_region_is_a_cut_of_the_whole(stored, skipped, monkeypatch):
    monkeypatch.setattr(frames, "SKIPPED", skipped)
    with open_volume(stored) as source:
        check_regions(source, STACK)
        source.read_block(0, 1)  # where that keeps a slab, regions come from it
        check_regions(source, STACK)


def test_a_folder_of_images(tmp_path):
    for i, image in enumerate(STACK):
        tifffile.imwrite(tmp_path / f"slice_{i:03d}.tif", image, **({"tile": (16, 16)} if i % 2 else {}))
    with open_volume(tmp_path) as source:
        check_regions(source, STACK)
        check_regions(source, STACK)  # by then it is known where the plain ones stand


@pytest.mark.parametrize("name", ["plain.npy", "tiles.tif", "chunks.h5"])
def test_axes_in_another_order(name, tmp_path):
    WRITERS[name](tmp_path / name)
    with open_volume(tmp_path / name, axes=("rows", "columns", "slices")) as source:
        turned = STACK.transpose(2, 0, 1)
        for (start, stop), rows, columns in (((0, 70), (0, 3), (0, 50)), ((68, 70), (1, 2), (13, 40))):
            expected = turned[start:stop, slice(*rows), slice(*columns)]
            np.testing.assert_array_equal(source.read_region(start, stop, rows, columns), expected)


def test_arrays_and_what_only_gives_blocks():
    check_regions(ArraySource(STACK), STACK)
    check_regions(ArraySource(STACK.astype(">u2")[:, ::-1]), STACK[:, ::-1])
    values = np.stack([STACK, STACK + 1], -1)
    check_regions(ArraySource(values), values)

    class Blocks(Source):
        def _read(self, start, stop):
            return STACK[start:stop]

    check_regions(Blocks(SHAPE, STACK.dtype, ("slices", "rows", "columns"), "blocks"), STACK)


def test_picked_entries(tmp_path):
    np.save(tmp_path / "stack.npy", STACK)
    with open_volume(tmp_path / "stack.npy") as source:
        for index in (slice(3, 40, 4), np.array([5, 6, 7, 2, 30])):
            picked = source._pick(index)
            region = picked.read_region(0, 2, (1, 4), (10, 20))
            np.testing.assert_array_equal(region, STACK[:2, index][:, 1:4, 10:20])


@pytest.mark.parametrize("name", ["plain.npy", "pages.tif", "contiguous.h5"])
def test_of_contiguous_arrays_only_the_region_is_read(name, tmp_path, monkeypatch):
    WRITERS[name](tmp_path / name)
    monkeypatch.setattr(frames, "SKIPPED", 0)
    read = []
    original = frames.RawFile.read_into
    monkeypatch.setattr(
        frames.RawFile, "read_into", lambda self, out, *a: read.append(out.nbytes) or original(self, out, *a)
    )
    with open_volume(tmp_path / name) as source:
        source.read_region(1, 2, (10, 15), (20, 50))
    if name != "contiguous.h5":  # which HDF5 reads
        assert sum(read) == 5 * 30 * 2


def test_of_tiles_only_those_that_are_touched_are_decoded(tmp_path, monkeypatch):
    WRITERS["packed-tiles.tif"](tmp_path / "tiles.tif")
    decoded = []
    original = tiff._touched

    def touched(page, rows, columns):
        decode = page.decode
        page.decode = lambda data, index: decoded.append(index) or decode(data, index)
        try:
            return original(page, rows, columns)
        finally:
            del page.decode

    monkeypatch.setattr(tiff, "_touched", touched)
    with open_volume(tmp_path / "tiles.tif") as source:
        source.read_region(0, 1, (33, 40), (15, 33))
    assert sorted(decoded) == [5, 6, 7]  # five tiles of 32 x 16 stand in a row


def test_tiles_that_were_never_written_are_empty(tmp_path):
    def tiles():
        for i in range(4 * 3):
            yield STACK[0, :16, :32].tobytes() if i != 4 else b""

    path = tmp_path / "tiles.tif"
    tifffile.imwrite(path, tiles(), shape=(50, 70), dtype=np.uint16, tile=(16, 32), photometric="minisblack")
    with open_volume(path) as source:
        region = source.read_region(0, 1, (10, 40), (10, 70))[0]
    whole = np.tile(STACK[0, :16, :32], (4, 3))
    whole[16:32, 32:64] = 0
    np.testing.assert_array_equal(region, whole[10:40, 10:70])


# ---------------------------------------------------------------------------------------------- wrong arguments


@pytest.mark.parametrize(
    ("region", "asked"),
    [
        ((0, 4, (0, 50), (0, 70)), "0:4, 0:50, 0:70"),
        ((0, 1, (-1, 50), (0, 70)), "0:1, -1:50, 0:70"),
        ((0, 1, (5, 4), (0, 70)), "0:1, 5:4, 0:70"),
        ((0, 1, (0, 50), (0, 71)), "0:1, 0:50, 0:71"),
    ],
)
def test_regions_beyond_the_stack(region, asked):
    with pytest.raises(IndexError, match=f"a region of array must lie within 0:3, 0:50, 0:70; got {asked}"):
        ArraySource(STACK).read_region(*region)


def test_stacks_without_columns():
    with pytest.raises(IndexError, match="a region needs rows and columns; array has the axes axis0, axis1"):
        ArraySource(STACK[0]).read_region(0, 1, (0, 1), (0, 1))


def test_a_file_that_became_shorter(tmp_path):
    path = tmp_path / "stack.npy"
    np.save(path, STACK)
    with open_volume(path) as source:
        path.write_bytes(path.read_bytes()[:-100])
        source.read_region(2, 3, (0, 49), (0, 70))
        with pytest.raises(FileFormatError, match=r"stack\.npy ends at byte \d+, expected \d+ more: it is truncated"):
            source.read_region(2, 3, (48, 50), (0, 70))


def test_too_large_a_region_is_refused_before_it_is_taken():
    source = ArraySource(np.broadcast_to(np.uint8(0), (10**6, 10**6, 10**6)))
    with pytest.raises(MemoryBudgetError, match=r"the pixels 0:1000000, 0:1000000 of entries 0:9 of array need .* GiB"):
        source.read_region(0, 9, (0, 10**6), (0, 10**6))

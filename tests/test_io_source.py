"""The laws of every Source: blocks, indexing, copies of their own, pickling, processes, threads, little memory."""

import os
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import h5py
import io_twins
import numpy as np
import pytest

from tomolearn.exceptions import MemoryBudgetError
from tomolearn.io import ArraySource, Scan, open_library, open_pairs, open_scan, open_volume
from tomolearn.io import _stored as stored

COUNTS = io_twins.make_counts()
PROJECTIONS = io_twins.as_stored(COUNTS.projections)


def _array(path):
    return ArraySource(COUNTS.projections.astype(">u2"), ("rows", "angles", "detectors"))


def _memmap(path):
    np.save(path.with_suffix(".npy"), COUNTS.projections)
    return ArraySource(np.load(path.with_suffix(".npy"), mmap_mode="r"))


def _container(path):
    with h5py.File(path, "w") as file:
        file["data"] = COUNTS.projections
    return ArraySource(h5py.File(path, "r")["data"])


def _twin(name):
    def make(path):
        twin = io_twins.TWINS[name]
        path = path.with_suffix(twin.suffix)
        twin.write(path)
        source = twin.open(path)[0]
        # Axis 1 of these is what the file holds first, so that the projections are the truth of all of them.
        return source if source.axes[0] == "rows" else open_volume(path, axes=("rows", "slices", "columns"))

    return make


def _view(path):
    twin = io_twins.TWINS["exchange-gzip"]
    twin.write(path)
    return open_scan(path).select(rows=slice(0, 5), angles=slice(None))


SCANS = ("exchange", "exchange-gzip", "nxtomo", "tiff", "tiff-deflate", "bigtiff", "mrc", "npy", "npz")
SOURCES = {"array": _array, "memmap": _memmap, "container": _container, "view": _view}
SOURCES |= {name: _twin(name) for name in SCANS}


@pytest.fixture(params=SOURCES)
def source(request, tmp_path):
    with SOURCES[request.param](tmp_path / "file.h5") as made:
        yield made


def test_blocks_and_indices_are_those_of_the_array(source):
    truth = COUNTS.projections
    assert source.shape == truth.shape and len(source) == len(truth) and source.nbytes == source[:].nbytes
    assert source.dtype.isnative
    for start in range(len(truth)):
        for stop in range(start, len(truth) + 1):
            block = source.read_block(start, stop)
            assert block.flags.c_contiguous and block.dtype == source.dtype
            np.testing.assert_array_equal(block, truth[start:stop])
    for key in (2, -1, slice(None), slice(1, 4), slice(None, None, 2), slice(None, None, -1), slice(3, 3), [3, 0, 3]):
        np.testing.assert_array_equal(source[key], truth[key], err_msg=str(key))
    for key in (np.s_[1, 2], np.s_[1:4, ::3], np.s_[..., 4], np.s_[:, 2, 1:3], np.s_[:, None], np.s_[..., 1, 2]):
        np.testing.assert_array_equal(source[key], truth[key], err_msg=str(key))
    np.testing.assert_array_equal(source[np.arange(5) % 2 == 0], truth[::2])
    np.testing.assert_array_equal(np.asarray(source), truth)
    np.testing.assert_array_equal(np.array(list(source)), truth)


def test_a_block_is_the_callers_own(source):
    source.read_block(1, 3)[:] = 0
    np.testing.assert_array_equal(source.read_block(1, 3), COUNTS.projections[1:3])


@pytest.mark.parametrize("limits", [(-1, 2), (3, 2), (2, 6)])
def test_a_block_outside_is_refused(source, limits):
    with pytest.raises(IndexError, match=f"must lie within 0:5; got {limits[0]}:{limits[1]}"):
        source.read_block(*limits)
    with pytest.raises(IndexError):
        source[5]


def test_it_reads_again_after_close(source):
    source.read_block(0, 1)
    source.close()
    np.testing.assert_array_equal(source[:], COUNTS.projections)


def _read_rows(source, start):
    return os.getpid(), source.read_block(start, start + 1)


def test_it_pickles_and_reads_in_other_processes(tmp_path):
    scan = _twin("exchange-gzip")(tmp_path / "file.h5")
    scan.read_block(0, 2)  # a handle is open, and a slab kept: neither may travel
    assert len(pickle.dumps(scan)) < 8000
    copy = pickle.loads(pickle.dumps(scan))
    np.testing.assert_array_equal(copy[:], COUNTS.projections)
    np.testing.assert_array_equal(copy.flats[:], COUNTS.flats)
    # A forked child inherits the open handle, and must not use it.
    with ProcessPoolExecutor(1, mp_context=get_context("fork"), initializer=_keep, initargs=(scan,)) as pool:
        for row in range(5):
            pid, block = pool.submit(_read_kept, row).result()
            assert pid != os.getpid()
            np.testing.assert_array_equal(block[0], COUNTS.projections[row])
    np.testing.assert_array_equal(scan[:], COUNTS.projections)


_KEPT = []


def _keep(source):
    _KEPT[:] = [source]


def _read_kept(start):
    return _read_rows(_KEPT[0], start)


@pytest.mark.parametrize("name", SCANS)
def test_threads_may_share_it(tmp_path, name):
    source = _twin(name)(tmp_path / "file.h5")
    rows = [row % 5 for row in range(100)]
    with ThreadPoolExecutor(8) as pool:
        for row, block in zip(rows, pool.map(lambda r: source.read_block(r, r + 1), rows), strict=True):
            np.testing.assert_array_equal(block[0], COUNTS.projections[row])


# ------------------------------------------------------------------------------------- slabs: whole chunks, once


class CountingStore(stored.Store):
    """An array that counts how often each of its chunks is unpacked."""

    def __init__(self, array, chunks):
        super().__init__("memory", "memory", array.shape, array.dtype, chunks)
        self.array, self.unpacked = array, np.zeros([-(-n // c) for n, c in zip(array.shape, chunks, strict=True)], int)

    def read(self, index):
        axes = zip(index, self.shape, self.chunks, strict=True)
        touched = [sorted({i // chunk for i in range(*part.indices(n))}) for part, n, chunk in axes]
        self.unpacked[np.ix_(*touched)] += 1
        return self.array[index]


@pytest.mark.parametrize("cache", [0, 500, 10_000, stored.CACHE])
@pytest.mark.parametrize("chunks", [(1, 16, 6), (4, 5, 6), (3, 1, 6), (20, 16, 3)])
@pytest.mark.parametrize("order", [(1, 0, 2), (0, 1, 2), (2, 0, 1)])
def test_any_order_chunks_and_cache_give_the_same(order, chunks, cache):
    array = np.random.default_rng(0).random((20, 16, 6))
    truth = array.transpose(order)
    picked = np.random.default_rng(1).permutation(truth.shape[1])[:5]
    for pick in (None, picked, np.arange(1, truth.shape[1], 3)):
        source = stored.StoredSource(CountingStore(array, chunks), order, "abc", picked=pick, cache=cache)
        expected = truth if pick is None else truth[:, pick]
        for size in (1, 3, 7, len(source)):
            for start in range(0, len(source), size):
                stop = min(start + size, len(source))
                np.testing.assert_array_equal(source.read_block(start, stop), expected[start:stop])
        for row in (5, 0, 3):
            np.testing.assert_array_equal(source[row], expected[row])


def test_row_by_row_unpacks_each_chunk_once_a_slab():
    array = np.random.default_rng(0).random((20, 16, 6))
    row = array[:, 0].nbytes
    for cache, passes in ((16 * row, 1), (4 * row, 4), (row - 1, 16)):
        store = CountingStore(array, (1, 16, 6))
        source = stored.StoredSource(store, (1, 0, 2), "abc", cache=cache)
        for i in range(16):
            source.read_block(i, i + 1)
        assert (store.unpacked == passes).all(), (cache, store.unpacked.max())
    store = CountingStore(array, (2, 4, 6))  # chunks of four rows: blocks of six rows share one
    source = stored.StoredSource(store, (1, 0, 2), "abc", cache=4 * row)
    for start in range(0, 16, 6):
        source.read_block(start, min(start + 6, 16))
    assert (store.unpacked == 1).all()


def test_what_is_kept_and_moved_is_bounded(tmp_path):
    """Beside the block: the slab, and a few megabytes in stored order."""
    import tracemalloc

    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("exchange/data", (160, 64, 1024), np.float32, chunks=(1, 64, 1024), compression=1)
        for i in range(160):
            file["exchange/data"][i] = i
    scan, cache = open_scan(path, cache=8 << 20), 8 << 20
    tracemalloc.start()
    for row in range(0, 64, 4):
        block = scan.read_block(row, row + 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (block == np.arange(160)[:, None]).all()
    assert peak < 2 * block.nbytes + cache + 2 * stored.TRANSFER, peak


def test_too_large_a_block_is_refused_before_it_is_taken():
    # A view of one number: nothing of that size is in memory.
    source = ArraySource(np.broadcast_to(np.float32(0), (10, 1 << 22, 1 << 22)), name="endless")
    with pytest.raises(MemoryBudgetError, match=r"entries 0:10 of endless need .* GiB.*Read fewer at a time"):
        source.read_block(0, 10)


def test_array_source_checks_what_it_wraps():
    with pytest.raises(TypeError, match="array must hold real numbers; got dtype complex128"):
        ArraySource(np.zeros(3, complex))
    with pytest.raises(ValueError, match="at least one axis"):
        ArraySource(1.0)
    with pytest.raises(ValueError, match="axes must name the 3 axes of a; got"):
        ArraySource(np.zeros((1, 2, 3)), ("rows",), name="a")
    assert ArraySource([[1, 2], [3, 4]]).axes == ("axis0", "axis1")


# --------------------------------------------------------------------------------------------------------- scans


@pytest.mark.parametrize("name", SCANS)
def test_select_cuts_all_parts_alike(tmp_path, name):
    twin = io_twins.TWINS[name]
    path = tmp_path / f"scan{twin.suffix}"
    twin.write(path)
    if name == "bigtiff":
        scan = open_scan(path)
    else:
        scan = twin.open(path)[0]
    scan = Scan(scan, angles=np.arange(12.0), flats=COUNTS.flats, darks=COUNTS.darks, beam_intensity=np.arange(12.0))
    for rows, angles in (
        (slice(1, 4), slice(None, None, 4)),
        (slice(4, None), None),
        (slice(None, None, 3), slice(2, 9)),
    ):
        part = scan.select(rows=rows, angles=angles)
        kept = slice(None) if angles is None else angles
        np.testing.assert_array_equal(part[:], COUNTS.projections[rows, kept])
        np.testing.assert_array_equal(part.flats[:], COUNTS.flats[rows])
        np.testing.assert_array_equal(part.darks[:], COUNTS.darks[rows])
        assert part.angles.tolist() == part.beam_intensity.tolist() == list(range(12))[kept]
        again = part.select(rows=slice(0, 1), angles=slice(1, 3))
        np.testing.assert_array_equal(again[:], COUNTS.projections[rows, kept][:1, 1:3])


def test_views_of_containers_pick_angles_too(tmp_path):
    part = Scan(_container(tmp_path / "file.h5")).select(rows=slice(1, 5, 2), angles=slice(1, None, 5))
    assert part.shape == (2, 3, 7)
    np.testing.assert_array_equal(part[:], COUNTS.projections[1:5:2, 1::5])


def test_select_refuses_what_is_no_part():
    scan = Scan(COUNTS.projections)
    with pytest.raises(TypeError, match="rows must be a slice or None; got 3"):
        scan.select(rows=3)
    with pytest.raises(ValueError, match="angles must be a slice that keeps something of 12"):
        scan.select(angles=slice(20, 30))
    with pytest.raises(ValueError, match="rows must be a slice that keeps something of 5, in order"):
        scan.select(rows=slice(None, None, -1))


def test_scan_checks_that_its_parts_fit():
    data = COUNTS.projections
    with pytest.raises(
        ValueError, match=r"flats flats \(4, 3, 7\) must have 5 rows on axis 0 and 7 detectors on axis 2"
    ):
        Scan(data, flats=COUNTS.flats[:4])
    with pytest.raises(ValueError, match="angles must be 12, one for each projection; got 3"):
        Scan(data, angles=[0, 1, 2])
    with pytest.raises(ValueError, match="beam_intensity must be 12 numbers"):
        Scan(data, beam_intensity=1.0)
    with pytest.raises(ValueError, match="projections must have three axes"):
        Scan(data[0])
    assert Scan(data).n_angles == 12


def test_openers_give_sources_that_close(tmp_path):
    io_twins.write_library(tmp_path / "library.h5")
    io_twins.write_pairs(tmp_path / "pairs.h5")
    for source in (*open_library(tmp_path / "library.h5"), *open_pairs(tmp_path / "pairs.h5")):
        with source:
            first = source.read_block(0, 1)
        np.testing.assert_array_equal(source.read_block(0, 1), first)

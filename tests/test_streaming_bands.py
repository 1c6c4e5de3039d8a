"""Slices larger than memory: bands of rows give what the whole gives, are written once, resume, and keep to memory."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import torch
from conftest import require
from denoisers import BoxDenoiser, box_mean
from sklearn.base import BaseEstimator

from tomolearn.base import ImagePredictor
from tomolearn.exceptions import MemoryBudgetError
from tomolearn.io import ArraySource, create_sink, open_volume
from tomolearn.networks import SegmentationUNet
from tomolearn.streaming import ImageVolumePrediction
from tomolearn.streaming import _bands as bands
from tomolearn.streaming import images as streaming
from tomolearn.streaming.images import VolumeOutput, predict_to_files
from tomolearn.tiling import plan_tiles

N, ROWS, COLUMNS, N_CLASSES = 3, 90, 71, 3
VOLUME = np.random.default_rng(0).integers(0, 4000, (N, ROWS, COLUMNS)).astype(np.uint16)
NAMES = ("out.h5", "out.tif", "out.zarr", "out.npy", "out")


class Scores(ImageVolumePrediction, ImagePredictor, BaseEstimator):
    """Scores of three classes by a U-Net of random weights."""

    working_copies = 40

    def __init__(self, *, n_adjacent=1, tile_shape=None, image_shape=None, verbose=0):
        self.n_adjacent, self.tile_shape = n_adjacent, tile_shape
        self.image_shape, self.verbose = image_shape, verbose

    def __getstate__(self):
        return self.get_params()  # what tells two of them apart: the weights are always the same

    def fit(self, X, y=None):
        self._check_images(X, reset=True)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.network_ = SegmentationUNet(self.n_adjacent, N_CLASSES, n_levels=2, base_channels=4, dropout=0).eval()
        self.tile_halo, self.tile_multiple = self.network_.receptive_radius, self.network_.size_multiple
        return self

    def _predict_windows(self, windows):
        with torch.no_grad():
            return self.network_(windows.float() / 1000).movedim(1, -1)


def labels_of(part):
    return part.argmax(-1).to(torch.uint8)


def fitted(**parameters):
    return Scores(**parameters).fit(VOLUME)


def outputs_in(folder, name="out.npy"):
    """Labels and scores of one pass."""
    labels = VolumeOutput(folder / name, "uint8", convert=labels_of, facts={"class_names": ["a", "b", "c"]})
    return [labels, VolumeOutput(folder / f"scores-{name}", "float32", (N_CLASSES,))]


def read_scores(path):
    """What other programs read of a volume of four axes."""
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return file["exchange/data"][:]
    if path.suffix == ".tif":
        return tifffile.imread(path)
    if path.suffix == ".zarr":
        return require("zarr").open_array(str(path), mode="r")[:]
    return np.stack([tifffile.imread(part) for part in sorted(path.glob("*.tif"))])


def read(path):
    with open_volume(path) as volume:
        return volume[:]


@pytest.fixture
def small_bands(monkeypatch):
    """Bands and tiles of a few rows, however much memory there is."""
    monkeypatch.setattr(streaming, "WHOLE_PIXELS", 0)
    monkeypatch.setattr(bands, "BAND_ROWS", 40)
    monkeypatch.setattr(bands, "TILE_PIXELS", 50 * 60)


# ------------------------------------------------------------------------------------------ the same as the whole


@pytest.mark.parametrize("n_adjacent", [1, 3])
@pytest.mark.parametrize("tile_shape", [None, (16, 16), (32, 48), (7, 13), (40, 200), (200, 30)])
def test_bands_give_what_the_whole_gives(n_adjacent, tile_shape, small_bands, tmp_path):
    estimator = fitted(n_adjacent=n_adjacent, tile_shape=tile_shape)
    paths = predict_to_files(estimator, VOLUME, outputs_in(tmp_path))
    whole = fitted(n_adjacent=n_adjacent)._predict_stack(VOLUME, np.dtype(np.float32))
    scores = np.load(paths[1])
    np.testing.assert_allclose(scores, whole, rtol=1e-5, atol=1e-5 * np.abs(whole).max())
    np.testing.assert_array_equal(np.load(paths[0]), scores.argmax(-1))
    assert len(np.unique(np.load(paths[0]))) > 1


@pytest.mark.parametrize("dtype", ["u1", "i2", ">u2", "u4", "i4", "f2", "f4", "f8", "?"])
def test_types_of_values(dtype, small_bands, tmp_path):
    volume = (VOLUME % 200 if dtype != "?" else VOLUME > 2000).astype(dtype)
    path = BoxDenoiser(n_adjacent=3, radius=2).fit(volume).predict_volume(volume, tmp_path / "out.npy")
    np.testing.assert_allclose(np.load(path), box_mean(volume, 3, 2), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_kinds_of_files(name, small_bands, tmp_path):
    if name.endswith(".zarr"):
        require("zarr")
    tifffile.imwrite(tmp_path / "in.tif", VOLUME, tile=(16, 32), compression="zlib", photometric="minisblack")
    estimator = fitted()
    labels, scores = predict_to_files(estimator, tmp_path / "in.tif", outputs_in(tmp_path, name))
    whole = estimator._predict_stack(VOLUME, np.dtype(np.float32))
    np.testing.assert_array_equal(read(labels), whole.argmax(-1))
    assert read(labels).dtype == np.uint8
    np.testing.assert_allclose(read_scores(scores), whole, atol=1e-5 * np.abs(whole).max())
    if name.endswith(".tif"):
        assert tifffile.imread(labels).shape == VOLUME.shape
        with tifffile.TiffFile(labels) as file:
            assert file.is_bigtiff and json.loads(file.pages[0].description)["class_names"] == ["a", "b", "c"]


def test_whole_slices_give_both_outputs_too(tmp_path):
    labels, scores = predict_to_files(fitted(), VOLUME, outputs_in(tmp_path))
    whole = fitted()._predict_stack(VOLUME, np.dtype(np.float32))
    np.testing.assert_allclose(np.load(scores), whole, atol=1e-6)
    np.testing.assert_array_equal(np.load(labels), whole.argmax(-1))


# --------------------------------------------------------------------------------------- what is read and written


def test_each_pixel_is_written_once_and_no_slice_is_read_whole(small_bands, tmp_path, monkeypatch):
    written, reads = np.zeros((N, ROWS, COLUMNS), int), []

    class Regions(ArraySource):
        def _read(self, start, stop):
            raise AssertionError("a whole slice was read")

        def _read_region(self, start, stop, rows, columns):
            reads.append((start, stop, rows.start, rows.stop))
            return super()._read_region(start, stop, rows, columns)

    def create(*args, **options):
        sink = create_sink(*args, **options)
        original = sink._backend.write

        def write(start, row, block):
            written[start : start + len(block), row : row + block.shape[1]] += 1
            original(start, row, block)

        sink._backend.write = write
        return sink

    monkeypatch.setattr(streaming, "create_sink", create)
    estimator = fitted(n_adjacent=3, tile_shape=(32, 32))
    predict_to_files(estimator, Regions(VOLUME), outputs_in(tmp_path)[:1])
    assert (written == 1).all()
    halo = estimator.tile_halo + estimator.tile_halo % 2
    expected = [
        (max(0, k - 1), min(N, k + 2), max(0, start - halo), min(ROWS, start + 32 + halo))
        for k in range(N)
        for start in (0, 32, 64)
    ]
    assert reads[1:] == expected  # the first tells runs apart
    assert reads[0] == (1, 2, ROWS // 2, ROWS // 2 + 1)


def test_probabilities_are_never_in_memory_for_more_than_a_tile(small_bands, monkeypatch, tmp_path):
    shapes = []
    labels = VolumeOutput(
        tmp_path / "out.npy", "uint8", convert=lambda part: shapes.append(part.shape) or labels_of(part)
    )
    predict_to_files(fitted(tile_shape=(16, 24)), VOLUME, [labels])
    assert max(np.prod(shape) for shape in shapes) == 16 * 24 * N_CLASSES


# ---------------------------------------------------------------------------------------------- whole or not at all


def break_off(monkeypatch, folder, name, n_bands=4, **parameters):
    """A run that ends in a band."""
    original, calls = Scores._predict_block, []

    def breaks(self, *args, **options):
        calls.append(0)
        if len(calls) > n_bands:
            raise KeyboardInterrupt
        return original(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Scores, "_predict_block", breaks)
        with pytest.raises(KeyboardInterrupt):
            predict_to_files(fitted(**parameters), VOLUME, outputs_in(folder, name))


def all_bytes(path):
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_breaks_resumes_to_the_same_bytes(name, small_bands, tmp_path, monkeypatch):
    if name.endswith(".zarr"):
        require("zarr")
    (tmp_path / "once").mkdir(), (tmp_path / "twice").mkdir()
    once = predict_to_files(fitted(), VOLUME, outputs_in(tmp_path / "once", name))
    n_bands = len(streaming._plan_run(fitted(), ArraySource(VOLUME), outputs_in(tmp_path), None)[0])
    break_off(monkeypatch, tmp_path / "twice", name)
    assert not any((tmp_path / "twice" / output.path.name).exists() for output in outputs_in(tmp_path, name))
    predicted, original = [], Scores._predict_block
    monkeypatch.setattr(Scores, "_predict_block", lambda self, *a, **k: predicted.append(0) or original(self, *a, **k))
    twice = predict_to_files(fitted(), VOLUME, outputs_in(tmp_path / "twice", name), resume=True)
    assert len(predicted) == n_bands - 4
    assert [all_bytes(path) for path in twice] == [all_bytes(path) for path in once]
    assert {p.name.removesuffix(".json") for p in (tmp_path / "twice").iterdir()} == {name, f"scores-{name}"}


def test_a_band_is_done_when_it_is_in_all_outputs(small_bands, tmp_path, monkeypatch):
    break_off(monkeypatch, tmp_path, "out.npy", n_bands=5)
    record = tmp_path / "scores-out.npy.part.json"
    content = json.loads(record.read_text())
    del content["done"]["1"]  # as if killed between the two
    record.write_text(json.dumps(content))
    predicted, original = [], bands.BandPlan.tiles
    monkeypatch.setattr(bands.BandPlan, "tiles", lambda self, *a: predicted.append(a) or original(self, *a))
    paths = predict_to_files(fitted(), VOLUME, outputs_in(tmp_path), resume=True)
    assert predicted[0] == tuple(content["blocks"][1][1:])
    assert len(predicted) == len(content["blocks"]) - len(content["done"])
    np.testing.assert_array_equal(np.load(paths[1]).argmax(-1), np.load(paths[0]))


def test_a_second_output_that_cannot_be_begun_leaves_nothing(small_bands, tmp_path):
    outputs = outputs_in(tmp_path)
    outputs[1].path.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"scores-out\.npy exists; choose another name"):
        predict_to_files(fitted(), VOLUME, outputs)
    assert [p.name for p in tmp_path.iterdir()] == ["scores-out.npy"] and outputs[1].path.read_bytes() == b"mine"


def test_bands_of_an_earlier_run_are_kept(small_bands, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "WHOLE_PIXELS", 10**9)

    def too_little(*args):
        raise MemoryBudgetError("memory is too little")

    with monkeypatch.context() as patch:
        patch.setattr(streaming, "_plan", too_little)
        break_off(monkeypatch, tmp_path, "out.npy")
    labels, _ = predict_to_files(fitted(), VOLUME, outputs_in(tmp_path), resume=True)  # with more memory
    whole = fitted()._predict_stack(VOLUME, np.dtype(np.float32))
    np.testing.assert_array_equal(np.load(labels), whole.argmax(-1))


def test_slices_of_an_earlier_run_are_kept(tmp_path, monkeypatch):
    break_off(monkeypatch, tmp_path, "out.npy", n_bands=0)
    monkeypatch.setattr(streaming, "WHOLE_PIXELS", 10**9)
    whole = fitted()._predict_stack(VOLUME, np.dtype(np.float32))
    with monkeypatch.context() as patch:
        patch.setattr(streaming, "_plan", lambda *args: (_ for _ in ()).throw(MemoryBudgetError("too little")))
        labels, _ = predict_to_files(fitted(), VOLUME, outputs_in(tmp_path), resume=True)
        np.testing.assert_array_equal(np.load(labels), whole.argmax(-1))


def set_budget(monkeypatch, used):
    for module in (streaming, bands):
        monkeypatch.setattr(module, "used_memory", lambda: used)


def test_a_resumed_run_keeps_to_the_memory_it_is_given(small_bands, tmp_path, monkeypatch):
    break_off(monkeypatch, tmp_path, "out.npy", tile_shape=(30, 30))
    set_budget(monkeypatch, 0)
    monkeypatch.setattr(bands, "FIXED", 0)
    estimator, outputs = fitted(tile_shape=(30, 30)), outputs_in(tmp_path)
    row_bytes = streaming._row_bytes(estimator, ArraySource(VOLUME), outputs)
    need = bands._bands_of(estimator, (ROWS, COLUMNS), (30, 30)).need(row_bytes)
    record = tmp_path / "out.npy.part.json"
    for path in (record, tmp_path / "scores-out.npy.part.json"):
        content = json.loads(path.read_text())
        content["blocks"] = [[k, 0, ROWS] for k in range(N)]  # whole slices as bands: far more rows at a time
        content["done"] = {"0": {}}
        path.write_text(json.dumps(content))
    with pytest.raises(MemoryBudgetError, match="less than at the start of the run that is resumed: .* 90 rows"):
        predict_to_files(estimator, VOLUME, outputs, memory=int(need) + 1, resume=True)


# ------------------------------------------------------------------------------------------------------ the plan


def draw(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 200, 2))
    estimator = BoxDenoiser(radius=int(rng.integers(0, 12)))
    estimator.tile_multiple = int(rng.choice([1, 2, 4, 8]))
    estimator.tile_shape = None if rng.random() < 0.5 else tuple(int(n) for n in rng.integers(1, 100, 2))
    return rng, shape, estimator


@pytest.mark.parametrize("seed", range(40))
def test_bands_and_their_tiles_cover_each_pixel_once(seed, monkeypatch):
    rng, shape, estimator = draw(seed)
    monkeypatch.setattr(bands, "BAND_ROWS", int(rng.integers(1, 150)))
    monkeypatch.setattr(bands, "TILE_PIXELS", int(rng.integers(500, 10000)))
    plan = bands.plan_bands(estimator, shape, (1.0, 1.0), 1e12, 0)
    image, count = rng.random(shape), np.zeros((2, *shape), int)
    multiple, halo = estimator.tile_multiple, estimator.tile_halo
    result = np.full((2, *shape), np.nan)
    for number, start, stop in plan.blocks(2):
        low, high = plan.reads(start, stop)
        assert low % multiple == 0 and (high % multiple == 0 or high == shape[0])
        assert low <= max(0, start - halo) and high >= min(shape[0], stop + halo)
        band, tiles = image[low:high], plan.tiles(start, stop)
        assert tiles.shape == (stop - start, shape[1])
        for tile in tiles:
            assert (low + tile.read[0].start) % multiple == 0 and tile.read[1].start % multiple == 0
            written = result[number, start:stop][tile.write]
            written[:] = band[tile.read][tile.crop]
            count[number, start:stop][tile.write] += 1
            above, left = tile.crop[0].start, tile.crop[1].start
            assert above >= min(halo, start + tile.write[0].start) and left >= min(halo, tile.write[1].start)
    assert (count == 1).all()
    np.testing.assert_array_equal(result, np.stack([image, image]))


@pytest.mark.parametrize("seed", range(40))
def test_plans_keep_to_the_budget(seed, monkeypatch):
    rng, shape, estimator = draw(seed)
    monkeypatch.setattr(bands, "FIXED", 0)
    row_bytes, used = tuple(float(n) for n in rng.uniform(100, 2000, 2)), 1000
    budget = used + int(10 ** rng.uniform(3, 7))
    try:
        plan = bands.plan_bands(estimator, shape, row_bytes, budget, used)
    except MemoryBudgetError as error:
        multiple, halo = estimator.tile_multiple, estimator.tile_halo
        tile_shape = estimator.tile_shape or (multiple, multiple)
        rows = min(-(-tile_shape[0] // multiple) * multiple, shape[0])
        tile = plan_tiles(shape, tile_shape, halo, multiple=multiple)
        read = min(shape[0], rows + 2 * (halo + multiple))
        least = 4 * estimator.working_copies * np.prod(tile.largest_read) + read * row_bytes[0] + rows * row_bytes[1]
        assert "give at least" in str(error) and used + least > budget
        return
    read = max(np.subtract(*plan.reads(start, stop)[::-1]) for _, start, stop in plan.blocks(1))
    features = (
        4
        * estimator.working_copies
        * max(np.prod(plan.tiles(start, stop).largest_read) for _, start, stop in plan.blocks(1))
    )
    assert used + read * row_bytes[0] + plan.n_rows * row_bytes[1] + features <= budget
    assert features <= plan.features


def test_too_little_memory_is_refused(small_bands, tmp_path, monkeypatch):
    set_budget(monkeypatch, int(3e8))
    message = (
        r"memory=0\.31 GB is too little: the process holds 0\.30 GB already, and working on 64 rows of a slice takes "
        r"0\.\d\d GB more; give at least 0\.\d\d GB"
    )
    with pytest.raises(MemoryBudgetError, match=message):
        predict_to_files(fitted(tile_shape=(64, 64)), VOLUME, outputs_in(tmp_path), memory="310MB")
    assert not list(tmp_path.iterdir())


def test_two_outputs_in_one_file(tmp_path):
    twice = [VolumeOutput(tmp_path / "out.npy"), VolumeOutput(tmp_path / "." / "out.npy")]
    with pytest.raises(ValueError, match=r"the outputs must be different files; got .*out\.npy, .*out\.npy"):
        predict_to_files(fitted(), VOLUME, twice)


def test_values_that_are_not_finite(small_bands, tmp_path):
    volume = VOLUME.astype(np.float32)
    volume[1, 50, 3] = np.nan
    with pytest.raises(ValueError, match=r"array, slices 1 to 1, must be finite; got 1 NaN .* Repair such values"):
        predict_to_files(fitted(), volume, outputs_in(tmp_path))


# --------------------------------------------------------------------------------------------------------- memory


MEASURED = r"""
import re, sys
sys.path.insert(0, sys.argv[3])
import torch
torch.set_num_threads(1)
from denoisers import BoxDenoiser
BoxDenoiser.working_copies = 8
BoxDenoiser._volume_dtype = "uint16"
original = BoxDenoiser._predict_windows
BoxDenoiser._predict_windows = lambda self, windows: original(self, windows).to(torch.uint16)
denoiser = BoxDenoiser(radius=3, tile_shape=(512, 512)).fit([[[0.0]]])
denoiser.predict_volume(sys.argv[1], sys.argv[2], memory="600MB")
# Not ru_maxrss: a process begins with that of the one that started it.
print(1024 * int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not say what a process holds")
def test_peak_memory_stays_below_the_budget(tmp_path):
    size, path = 6000, tmp_path / "in.tif"
    tifffile.imwrite(path, shape=(size, size), dtype=np.uint16, bigtiff=True, photometric="minisblack")
    image = tifffile.memmap(path, mode="r+")
    image[2990:3010] = 49 * 700
    image.flush()
    script = [sys.executable, "-c", MEASURED, str(path), str(tmp_path / "out.tif"), str(Path(__file__).parent)]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 600e6
    with open_volume(tmp_path / "out.tif") as volume:
        rows = volume.read_region(0, 1, (2980, 3020), (100, 110))[0, :, 5]
    expected = np.convolve(np.isin(np.arange(2977, 3023), np.arange(2990, 3010)), np.ones(7), "valid") * 4900
    np.testing.assert_allclose(rows, expected, atol=1)

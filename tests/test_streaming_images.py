"""``predict_volume`` of denoisers: from file to file the same as in memory, whole or not at all, within a budget."""

import json

import h5py
import numpy as np
import pytest
from denoisers import BoxDenoiser, box_mean
from sklearn.exceptions import NotFittedError

from tomolearn.exceptions import FileFormatError, MemoryBudgetError
from tomolearn.io import ArraySource, create_sink, open_volume
from tomolearn.streaming import images as streaming

N, ROWS, COLUMNS = 11, 34, 27
VOLUME = np.random.default_rng(0).random((N, ROWS, COLUMNS), np.float32)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of two or three slices, however much memory there is."""

    def plan(n_slices, slice_bytes, *, memory=None, chunk=1, n_halo=0):
        limits = [*range(0, n_slices, 3), n_slices]
        return list(zip(limits[:-1], limits[1:], strict=True))

    monkeypatch.setattr(streaming, "plan_blocks", plan)


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "volume.h5"
    facts = {"pixel_size": 2e-6, "pixel_size_unit": "m", "units": "1/pixel", "center": 13.5, "operator": "nobody"}
    with create_sink(path, VOLUME.shape, metadata=facts, blocks=[(0, N)]) as sink:
        sink.write_block(0, VOLUME)
    return path


def fitted(**parameters):
    return BoxDenoiser(**({"n_adjacent": 3, "radius": 2} | parameters)).fit(VOLUME)


def read(path):
    with open_volume(path) as volume:
        return volume[:]


class Counting(ArraySource):
    """Records what is read."""

    def __init__(self, array):
        super().__init__(array)
        self.reads = []

    def _read(self, start, stop):
        self.reads.append((start, stop))
        return super()._read(start, stop)


def set_budget(monkeypatch, used, available=0.0):
    monkeypatch.setattr(streaming, "used_memory", lambda: used)
    monkeypatch.setattr("tomolearn.streaming.plan.used_memory", lambda: used)
    monkeypatch.setattr(streaming, "available_memory", lambda: available)


# ------------------------------------------------------------------------------------------- the same as in memory


@pytest.mark.parametrize("n_adjacent", [1, 3, 5])
def test_blocks_give_what_the_whole_gives(n_adjacent, small_blocks, tmp_path):
    denoiser = fitted(n_adjacent=n_adjacent)
    path = denoiser.predict_volume(VOLUME, tmp_path / "out.h5")
    assert path == tmp_path / "out.h5"
    np.testing.assert_allclose(read(path), denoiser.predict(VOLUME), rtol=1e-6)
    np.testing.assert_allclose(read(path), box_mean(VOLUME, n_adjacent, 2), atol=1e-6)


def test_each_slice_is_read_once_with_its_neighbours_and_written_once(small_blocks, tmp_path, monkeypatch):
    source, written = Counting(VOLUME), []

    def create(*args, **options):
        sink = create_sink(*args, **options)
        original = sink.write_block

        def write(index, block, counts=None):
            written.append((sink.blocks[index], block.shape))
            original(index, block, counts)

        sink.write_block = write
        return sink

    monkeypatch.setattr(streaming, "create_sink", create)
    fitted(n_adjacent=5).predict_volume(source, tmp_path / "out.npy")
    assert source.reads == [(5, 6), (0, 5), (1, 8), (4, 11), (7, 11)]  # the first tells runs apart
    assert written == [((a, b), (b - a, ROWS, COLUMNS)) for a, b in ((0, 3), (3, 6), (6, 9), (9, 11))]


@pytest.mark.parametrize("kind", [".h5", ".tif", ".npy", ""])
def test_kinds_of_files(stored, kind, tmp_path):
    expected = fitted().predict(VOLUME)
    for source in (stored, str(stored), open_volume(stored), ArraySource(VOLUME), VOLUME.tolist()):
        path = fitted().predict_volume(source, tmp_path / f"out{kind}", overwrite=True)
        np.testing.assert_allclose(read(path), expected, rtol=1e-5)
    beside = {f"out{kind}.json"} if kind == ".npy" else set()  # its metadata
    assert {p.name for p in tmp_path.iterdir()} == {"volume.h5", f"out{kind}"} | beside


def test_types_of_values(small_blocks, tmp_path):
    for dtype in (np.uint8, ">u2", np.int32, np.float16, np.float64):
        volume = np.round(VOLUME * 100).astype(dtype)
        path = fitted().predict_volume(volume, tmp_path / "out.npy", overwrite=True)
        assert np.load(path).dtype == np.float32
        np.testing.assert_allclose(np.load(path), box_mean(volume, 3, 2), atol=1e-4)


def test_other_sizes_than_in_fit(tmp_path):
    other = np.random.default_rng(1).random((2, 15, 50))
    path = fitted().predict_volume(other, tmp_path / "out.npy")
    np.testing.assert_allclose(np.load(path), box_mean(other, 3, 2), atol=1e-6)


# --------------------------------------------------------------------------------------------------- what is known


def test_metadata_is_carried_on(stored, tmp_path):
    path = fitted().predict_volume(stored, tmp_path / "out.h5")
    with h5py.File(path) as file:
        facts = json.loads(file["process/tomolearn/metadata"][()])
    assert facts["pixel_size"] == 2e-6 and facts["pixel_size_unit"] == "m" and facts["units"] == "1/pixel"
    assert facts["center"] == 13.5 and facts["operator"] == "nobody" and facts["axes"] == ["slices", "rows", "columns"]
    assert facts["source"] == "volume.h5:exchange/data" and facts["estimator"] == "BoxDenoiser"
    assert facts["parameters"]["n_adjacent"] == 3 and {"tomolearn", "torch", "numpy"} <= set(facts["versions"])
    with h5py.File(fitted().predict_volume(VOLUME, tmp_path / "plain.h5")) as file:
        facts = json.loads(file["process/tomolearn/metadata"][()])
    assert facts["pixel_size"] == 1.0 and facts["pixel_size_unit"] == "pixel" and facts["source"] == "array"


# ------------------------------------------------------------------------------------------ whole or not at all


def break_off(monkeypatch, source, out, **parameters):
    """A run that ends in its second block."""
    original, calls = BoxDenoiser._predict_block, []

    def breaks(self, *args, **options):
        calls.append(0)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(BoxDenoiser, "_predict_block", breaks)
        with pytest.raises(KeyboardInterrupt):
            fitted(**parameters).predict_volume(source, out)


def test_a_run_that_breaks_resumes(stored, small_blocks, tmp_path, monkeypatch):
    once = fitted().predict_volume(stored, tmp_path / "once.h5")
    break_off(monkeypatch, stored, tmp_path / "twice.h5")
    assert not (tmp_path / "twice.h5").exists()
    blocks = []
    original = BoxDenoiser._predict_block
    monkeypatch.setattr(
        BoxDenoiser, "_predict_block", lambda self, b, *a, **k: blocks.append(len(b)) or original(self, b, *a, **k)
    )
    path = fitted().predict_volume(stored, tmp_path / "twice.h5", resume=True)
    assert blocks == [5, 5, 3]  # the first of four blocks is not predicted again
    assert path.read_bytes() == once.read_bytes()
    with pytest.raises(FileExistsError, match="exists; choose another name, or overwrite=True"):
        fitted().predict_volume(stored, path)


def test_another_run_is_not_resumed(small_blocks, tmp_path, monkeypatch):
    out = tmp_path / "out.h5"
    break_off(monkeypatch, VOLUME, out)
    with pytest.raises(ValueError, match=r"belongs to another run \(it differs in estimator\)"):
        fitted(radius=1).predict_volume(VOLUME, out, resume=True)
    with pytest.raises(ValueError, match=r"belongs to another run \(it differs in estimator\)"):
        fitted().fit(VOLUME, VOLUME).predict_volume(VOLUME, out, resume=True)
    with pytest.raises(ValueError, match=r"belongs to another run \(it differs in values of the source\)"):
        fitted().predict_volume(VOLUME + 1, out, resume=True)
    with pytest.raises(ValueError, match=r"belongs to another run \(it differs in shape, source_shape\)"):
        fitted().predict_volume(VOLUME[:-1], out, resume=True)


# ---------------------------------------------------------------------------------------------------- memory


def budget_of(source, features, n_slices, n_adjacent=3):
    """Bytes that so many slices at a time take, with ``features`` bytes beside them."""
    slice_bytes = ROWS * COLUMNS * (2.0 * source.dtype.itemsize + 5 * 4)
    return int(features + (n_slices + n_adjacent - 1) * slice_bytes + streaming.FIXED)


def spy_on_windows(monkeypatch):
    sizes = []
    original = BoxDenoiser._predict_windows
    monkeypatch.setattr(
        BoxDenoiser, "_predict_windows", lambda self, w: sizes.append(tuple(w.shape)) or original(self, w)
    )
    return sizes


def test_slices_are_cut_into_tiles_where_memory_is_short(tmp_path, monkeypatch):
    set_budget(monkeypatch, used=0)
    monkeypatch.setattr(streaming, "AT_ONCE", 1)
    sizes = spy_on_windows(monkeypatch)
    whole = 4.0 * BoxDenoiser.working_copies * ROWS * COLUMNS
    denoiser, expected = fitted(), box_mean(VOLUME, 3, 2)
    path = denoiser.predict_volume(VOLUME, tmp_path / "whole.npy", memory=budget_of(VOLUME, whole, 6) + 1000)
    np.testing.assert_allclose(np.load(path), expected, atol=1e-6)
    assert {size[2:] for size in sizes} == {(ROWS, COLUMNS)}
    sizes.clear()
    path = denoiser.predict_volume(VOLUME, tmp_path / "tiles.npy", memory=budget_of(VOLUME, whole / 3, 1) + 1000)
    np.testing.assert_allclose(np.load(path), expected, atol=1e-6)
    assert len(sizes) > N and max(np.prod(size) // 3 for size in sizes) <= ROWS * COLUMNS / 3 + 100


@pytest.mark.parametrize("seed", range(20))
def test_plans_keep_to_the_budget(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    source = ArraySource(np.zeros((40, 64, 64), rng.choice(["u1", "u2", "f4", "f8"])))
    denoiser = BoxDenoiser(n_adjacent=int(rng.choice([1, 3, 5])), radius=int(rng.integers(0, 9)))
    monkeypatch.setattr(BoxDenoiser, "working_copies", float(rng.uniform(1, 200)))
    monkeypatch.setattr(streaming, "AT_ONCE", 1)
    monkeypatch.setattr(streaming, "FIXED", 0)
    monkeypatch.setattr("tomolearn.streaming.plan.FIXED", 0)
    used, budget = 1000, int(10 ** rng.uniform(5.5, 8))
    set_budget(monkeypatch, used)
    try:
        blocks, features, slice_bytes = streaming._plan(denoiser, source, budget)
    except MemoryBudgetError as error:
        least = 4 * BoxDenoiser.working_copies * np.prod(denoiser._smallest_box((64, 64)))
        assert "give at least" in str(error)
        width = 8 if source.dtype == np.float64 else 4
        assert used + least + denoiser.n_adjacent * 64 * 64 * (2 * source.dtype.itemsize + 5 * width) > budget
        return
    largest = max(stop - start for start, stop in blocks) + 2 * (denoiser.n_adjacent // 2)
    assert used + features + largest * slice_bytes <= budget + streaming.SLACK
    assert features <= 4 * BoxDenoiser.working_copies * 64 * 64
    assert slice_bytes > 64 * 64 * source.dtype.itemsize * 2


def test_too_little_memory_is_refused(tmp_path, monkeypatch):
    set_budget(monkeypatch, used=int(3e8))
    message = r"memory=0\.31 GB is too little: the process holds 0\.30 GB already, .* give at least 0\.\d\d GB"
    with pytest.raises(MemoryBudgetError, match=message):
        fitted().predict_volume(VOLUME, tmp_path / "out.npy", memory="310MB")

    class Whole(BoxDenoiser):
        tile_halo, working_copies = None, 1e5

    with pytest.raises(MemoryBudgetError, match=r"memory=0\.70 GB is too little"):
        Whole().fit(VOLUME).predict_volume(VOLUME, tmp_path / "out.npy", memory="0.7GB")
    with pytest.raises(ValueError, match="memory must be a positive number of bytes"):
        fitted().predict_volume(VOLUME, tmp_path / "out.npy", memory="plenty")
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_keeps_to_the_memory_it_is_given(small_blocks, tmp_path, monkeypatch):
    break_off(monkeypatch, VOLUME, tmp_path / "out.npy")
    set_budget(monkeypatch, used=0)
    source = ArraySource(VOLUME)
    least = 4.0 * BoxDenoiser.working_copies * np.prod(fitted()._smallest_box((ROWS, COLUMNS)))
    # FIXED is far more than these slices: only without it do they count.
    monkeypatch.setattr(streaming, "FIXED", 0)
    monkeypatch.setattr("tomolearn.streaming.plan.FIXED", 0)
    enough_for_one = budget_of(source, least, 1) + 1000
    with pytest.raises(MemoryBudgetError, match="less than at the start of the run that is resumed: .* 3 slices"):
        fitted().predict_volume(source, tmp_path / "out.npy", memory=enough_for_one, resume=True)
    fitted().predict_volume(source, tmp_path / "out.npy", memory=10 * enough_for_one, resume=True)


# ---------------------------------------------------------------------------------------------- wrong arguments


def test_wrong_sources(stored, tmp_path):
    out = tmp_path / "out.npy"
    with pytest.raises(NotFittedError, match="BoxDenoiser instance is not fitted yet"):
        BoxDenoiser().predict_volume(VOLUME, out)
    with pytest.raises(ValueError, match=r"one ordered volume \('slices', 'rows', 'columns'\).*shape \(34, 27\)"):
        fitted().predict_volume(VOLUME[0], out)
    with pytest.raises(ValueError, match=r"one ordered volume .*shape \(1, 11, 34, 27\)"):
        fitted().predict_volume(VOLUME[None], out)
    with pytest.raises(ValueError, match=r"is a scan \('rows', 'angles', 'detectors'\)\. Reconstruct it first"):
        fitted().predict_volume(ArraySource(VOLUME, ("rows", "angles", "detectors")), out)
    with pytest.raises(TypeError, match="must hold real numbers; got dtype complex"):
        fitted().predict_volume(VOLUME * 1j, out)
    with pytest.raises(FileNotFoundError, match=r"nothing\.h5"):
        fitted().predict_volume(tmp_path / "nothing.h5", out)
    (tmp_path / "broken.h5").write_bytes(stored.read_bytes()[:600])
    with pytest.raises(FileFormatError, match=r"broken\.h5"):
        fitted().predict_volume(tmp_path / "broken.h5", out)

    class OneSize(BoxDenoiser):
        _takes_any_size = False

    with pytest.raises(ValueError, match=r"images of shape \(34, 27\) \(rows, columns\) as in fit; got \(27, 34\)"):
        OneSize().fit(VOLUME).predict_volume(VOLUME.swapaxes(1, 2), out)
    assert not out.exists()


def test_the_source_is_never_replaced(stored, tmp_path):
    before = stored.read_bytes()
    for out in (stored, tmp_path):
        with pytest.raises(ValueError, match=r"would replace the volume .*volume\.h5:exchange/data"):
            fitted().predict_volume(stored, out, overwrite=True)
    assert stored.read_bytes() == before


def test_values_that_are_not_finite(small_blocks, tmp_path):
    volume = VOLUME.copy()
    volume[7, 3, 4] = np.nan
    with pytest.raises(ValueError, match=r"array, slices 5 to 9, must be finite; got 1 NaN .* Repair such values"):
        fitted().predict_volume(volume, tmp_path / "out.npy")
    assert not (tmp_path / "out.npy").exists()

"""Pipelines over scans: block by block the same as in memory, within a memory budget, and reports that are true."""

import json
import subprocess
import sys
import warnings

import h5py
import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from tomolearn import FBPReconstructor, SIRTReconstructor
from tomolearn.base.memory import parse_memory
from tomolearn.exceptions import MemoryBudgetError
from tomolearn.io import ArraySource, Scan, create_sink, open_scan, open_volume, write_scan
from tomolearn.preprocessing import (
    AirNormalizer,
    FlatFieldCorrector,
    MinusLog,
    PaganinFilter,
    SinogramBinner,
    StripeRemover,
)
from tomolearn.simulation import simulate_scan
from tomolearn.streaming import plan as planning
from tomolearn.streaming import plan_blocks, reconstruct_volume, run_blocks, sample_sinograms

ROWS = 7
SIMULATED = simulate_scan(ROWS, 48, 60, center_offset=1.75, photons=1e5, ring_strength=0.02, n_flats=3, random_state=0)
CORRECTIONS = [
    ("flat", FlatFieldCorrector()),
    ("log", MinusLog()),
    ("stripes", StripeRemover(method="sorting", sorting_size=5)),
]


@pytest.fixture
def scan(tmp_path):
    s = SIMULATED
    path = tmp_path / "scan.h5"
    facts = {"pixel_size": 2e-6}
    write_scan(path, s.counts, angles=s.angles, flats=s.flats, darks=s.darks, metadata=facts)
    with open_scan(path) as scan:
        yield scan


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of two or three slices, however much memory there is."""

    def plan(n_slices, slice_bytes, *, memory=None, chunk=1, n_halo=0, at_once=32):
        limits = [*range(0, n_slices, 3), n_slices]
        return list(zip(limits[:-1], limits[1:], strict=True))

    monkeypatch.setattr("tomolearn.streaming.scan.plan_blocks", plan)


def fbp(**options):
    return FBPReconstructor(**{"angles": SIMULATED.angles, "center": SIMULATED.center} | options)


def frames(rows=slice(None)):
    return {"flat__flats": SIMULATED.flats[rows], "flat__darks": SIMULATED.darks[rows]}


def read(path):
    with open_volume(path) as volume:
        return volume[:]


# ------------------------------------------------------------------------------------------- the same as in memory


@pytest.mark.parametrize("center", [SIMULATED.center, np.linspace(24, 26, ROWS)], ids=["number", "rows"])
def test_blocks_give_what_the_whole_gives(scan, small_blocks, tmp_path, center):
    pipeline = Pipeline([*CORRECTIONS, ("reconstruct", fbp(center=center, filter="hann"))])
    report = reconstruct_volume(pipeline, scan, tmp_path / "volume.h5")
    expected = pipeline.fit_transform(SIMULATED.counts, **frames())
    np.testing.assert_allclose(read(report.path), expected, atol=2e-6 * np.abs(expected).max())
    assert (report.shape, report.n_blocks, report.n_resumed) == ((ROWS, 48, 48), 3, 0)
    np.testing.assert_array_equal(report.center, center)
    assert set(report.seconds) == {"center", "plan", "read", "write", "flat", "log", "stripes", "reconstruct"}


def test_the_axis_and_the_angles_come_from_the_scan(scan, tmp_path):
    pipeline = Pipeline([*CORRECTIONS, ("reconstruct", FBPReconstructor(center="vo"))])
    report = reconstruct_volume(pipeline, scan, tmp_path / "volume.h5")
    assert report.center == pytest.approx(SIMULATED.center, abs=0.1)
    truth = SIMULATED.volume
    error = np.sqrt(np.mean((read(report.path) - truth) ** 2)) / truth.std()
    assert error < 0.35
    assert pipeline[-1].angles is None  # what the caller handed over is left alone


def test_neighbouring_rows_are_read_where_they_are_needed(scan, small_blocks, tmp_path):
    phase = PaganinFilter(pixel_size=2e-6, distance=0.002, energy=2e4, delta_beta=40.0)
    assert 0 < phase.n_halo_rows < 40
    steps = [("flat", FlatFieldCorrector()), ("phase", phase), ("log", MinusLog()), ("reconstruct", fbp())]
    report = reconstruct_volume(Pipeline(steps), scan, tmp_path / "volume.npy")
    expected = Pipeline(steps).fit_transform(SIMULATED.counts, **frames())
    np.testing.assert_allclose(read(report.path), expected, atol=1e-5 * np.abs(expected).max())


def test_steps_that_change_the_shape_and_steps_behind(scan, small_blocks, tmp_path):
    class Half(AirNormalizer):  # any transformer of images
        def transform(self, X):
            return X[:, ::2, ::2]

    binner = SinogramBinner(angle_factor=2, detector_factor=2)
    steps = [*CORRECTIONS, ("bin", binner), ("reconstruct", FBPReconstructor(center=12.4)), ("half", Half())]
    report = reconstruct_volume(Pipeline(steps), scan, tmp_path / "volume.tif")
    assert report.shape == (ROWS, 12, 12)
    pairs = SIMULATED.angles.reshape(-1, 2).mean(1)
    whole = Pipeline([*steps[:-1]]).set_params(reconstruct__angles=pairs).fit_transform(SIMULATED.counts, **frames())
    np.testing.assert_allclose(read(report.path), whole[:, ::2, ::2], atol=2e-6 * np.abs(whole).max())


def test_frozen_steps_are_used_as_they_are(scan, small_blocks, tmp_path):
    sinograms = Pipeline(CORRECTIONS).fit_transform(SIMULATED.counts, **frames())
    centers = np.linspace(24, 26, ROWS)
    fitted = SIRTReconstructor(max_iter=3, angles=SIMULATED.angles, center=centers).fit(sinograms)
    expected = fitted.predict(sinograms)
    steps = [*CORRECTIONS, ("reconstruct", FrozenEstimator(fitted))]
    report = reconstruct_volume(Pipeline(steps), scan, tmp_path / "volume.h5")
    np.testing.assert_allclose(read(report.path), expected, atol=1e-5 * np.abs(expected).max())
    path = fitted.predict_volume(sinograms, tmp_path / "again.h5")
    np.testing.assert_array_equal(read(path), read(report.path))


def test_predict_volume_refuses_other_angles(tmp_path):
    """A scan that says its angles must not be reconstructed under those of another."""
    sinograms, angles = np.ones((2, 6, 8), np.float32), np.linspace(0, 3, 6)
    fitted = FBPReconstructor(angles=angles).fit(sinograms)
    with pytest.raises(ValueError, match=r"states other angles than those of fit, by up to 0\.57 degrees"):
        fitted.predict_volume(Scan(sinograms, angles=angles + 0.01), tmp_path / "x.npy")
    assert not list(tmp_path.iterdir())
    fitted.predict_volume(Scan(sinograms, angles=angles + 2 * np.pi), tmp_path / "x.npy")  # the same directions


def test_predict_volume_of_sources_and_files(scan, tmp_path):
    sinograms = Pipeline(CORRECTIONS).fit_transform(SIMULATED.counts, **frames())
    fitted = fbp().fit(sinograms[:1])
    expected = fitted.predict(sinograms)
    np.save(tmp_path / "sinograms.npy", sinograms)
    sources = [sinograms, ArraySource(sinograms), open_scan(tmp_path / "sinograms.npy", order="sinograms")]
    for number, source in enumerate(sources):
        path = fitted.predict_volume(source, tmp_path / f"{number}.npy")
        np.testing.assert_allclose(read(path), expected, atol=2e-6 * np.abs(expected).max())
    with pytest.raises(ValueError, match=r"sinograms of shape \(60, 48\) .* as in fit; .*holds \(60, 47\)"):
        fitted.predict_volume(sinograms[:, :, 1:], tmp_path / "x.npy")
    with pytest.raises(ValueError, match="holds raw counts and flat fields, and no step of the pipeline corrects them"):
        fitted.predict_volume(scan, tmp_path / "x.npy")


def test_one_slice_and_float64(small_blocks, tmp_path, rng):
    sinograms = rng.random((1, 60, 48))
    report = reconstruct_volume(fbp(), Scan(sinograms), tmp_path / "volume.npy", dtype="float64")
    np.testing.assert_allclose(np.load(report.path), fbp().fit_transform(sinograms), rtol=1e-12)


# --------------------------------------------------------------------------------------------------- what is known


def test_metadata_and_counts(scan, tmp_path):
    pipeline = Pipeline([*CORRECTIONS[:1], ("log", MinusLog(floor=0.2)), ("reconstruct", fbp(filter="hann"))])
    report = reconstruct_volume(pipeline, scan, tmp_path / "volume.h5", metadata={"operator": "nobody"})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipeline.fit_transform(SIMULATED.counts, **frames())
    told = [str(w.message) for w in caught if "raised to the floor" in str(w.message)]
    assert told == [
        f"MinusLog: {report.counts['values raised to the floor']} of {ROWS * 60 * 48} values raised to the floor"
    ]
    with h5py.File(report.path) as file:
        facts = json.loads(file["process/tomolearn/metadata"][()])
    assert facts["center"] == SIMULATED.center and facts["pixel_size"] == 2e-6 and facts["pixel_size_unit"] == "m"
    assert facts["axes"] == ["slices", "rows", "columns"] and facts["units"] == "1/pixel"
    assert facts["operator"] == "nobody" and facts["source"] == "scan.h5:exchange/data"
    assert facts["parameters"]["reconstruct__filter"] == "hann" and facts["parameters"]["log__floor"] == 0.2
    np.testing.assert_allclose(facts["angles"], SIMULATED.angles, rtol=1e-12)
    assert {"tomolearn", "torch", "numpy", "python"} <= set(facts["versions"])


def test_rows_that_show_nothing_are_not_asked_for_the_axis():
    s = SIMULATED
    counts = np.concatenate([np.tile(s.darks, (1, 3, 1)), s.counts])  # half of the rows stand behind a blade
    flats, darks = np.concatenate([s.darks[:, :3], s.flats]), np.concatenate([s.darks, s.darks])
    behind = Scan(counts, angles=s.angles, flats=flats, darks=darks)
    assert (sample_sinograms(CORRECTIONS, behind)[2] >= ROWS).all()


def test_a_run_that_breaks_resumes(scan, small_blocks, tmp_path, monkeypatch):
    pipeline = Pipeline([*CORRECTIONS, ("reconstruct", fbp())])
    once = reconstruct_volume(pipeline, scan, tmp_path / "once.h5")
    original, calls = FBPReconstructor.predict, []

    def breaks(self, X):
        calls.append(len(X))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, X)

    monkeypatch.setattr(FBPReconstructor, "predict", breaks)
    with pytest.raises(KeyboardInterrupt):
        reconstruct_volume(pipeline, scan, tmp_path / "twice.h5")
    assert not (tmp_path / "twice.h5").exists()
    report = reconstruct_volume(pipeline, scan, tmp_path / "twice.h5", resume=True)
    assert (report.n_resumed, report.n_blocks) == (1, 3)
    assert calls == [3, 3, 3, 1]  # what was done is not done again
    assert report.counts == once.counts
    assert (tmp_path / "twice.h5").read_bytes() == once.path.read_bytes()


def test_another_pipeline_is_not_resumed(scan, small_blocks, tmp_path, monkeypatch):
    monkeypatch.setattr(FBPReconstructor, "predict", lambda self, X: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reconstruct_volume(Pipeline([*CORRECTIONS, ("reconstruct", fbp())]), scan, tmp_path / "volume.h5")
    with pytest.raises(ValueError, match=r"belongs to another run \(it differs in steps\)"):
        changed = Pipeline([*CORRECTIONS, ("reconstruct", fbp(filter="hann"))])
        reconstruct_volume(changed, scan, tmp_path / "volume.h5", resume=True)


def test_sample_of_rows(scan):
    sinograms, angles, rows = sample_sinograms(CORRECTIONS, scan)
    assert len(set(rows)) == 3 and sinograms.shape == (3, 60, 48)
    np.testing.assert_allclose(angles, SIMULATED.angles, rtol=1e-15)
    whole = Pipeline(CORRECTIONS[:2]).fit_transform(SIMULATED.counts, **frames())  # stripes are left in
    np.testing.assert_allclose(sinograms, whole[rows], atol=2e-6 * whole.max())


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([("log", MinusLog())], "the pipeline must hold one reconstructor; got 0 in 1 steps"),
        ([("a", fbp()), ("b", fbp())], "the pipeline must hold one reconstructor; got 2 in 2 steps"),
        ([("log", MinusLog()), ("reconstruct", fbp())], "raw counts and flat fields, and no step .*FlatFieldCorrector"),
        (
            [*CORRECTIONS, ("reconstruct", fbp(center=[24, 25]))],
            "center must be one number, or one for each of the 7 rows",
        ),
    ],
)
def test_wrong_pipelines(scan, tmp_path, steps, message):
    with pytest.raises(ValueError, match=message):
        reconstruct_volume(Pipeline(steps), scan, tmp_path / "volume.h5")
    assert not (tmp_path / "volume.h5").exists()


# ------------------------------------------------------------------------------------------------------- the engine


def test_the_loop_reads_ahead_and_writes_behind(tmp_path):
    blocks = [(k, k + 1) for k in range(5)]
    sink = create_sink(tmp_path / "v.npy", (5, 2, 2), blocks=blocks)
    events = []

    def read_block(start, stop):
        events.append(("read", start))
        return np.full((1, 2, 2), start)

    def compute(start, stop, block):
        assert ("read", start) in events
        assert sum(kind == "read" for kind, _ in events) <= start + 2  # never more than one ahead
        return block + 1.0, {"blocks": 1}

    counts, waited = run_blocks(sink, read_block, compute)
    assert counts == {"blocks": 5} and set(waited) == {"read", "write"}
    np.testing.assert_array_equal(np.load(sink.path)[:, 0, 0], np.arange(5) + 1)


@pytest.mark.parametrize("where", ["read", "compute", "write"])
def test_errors_of_every_stage_come_through(where, tmp_path):
    sink = create_sink(tmp_path / "v.npy", (3, 2, 2))

    def stage(name, result):
        def function(*arguments):
            if name == where and 1 in arguments[:1]:
                raise OSError(f"{name} failed")
            return result

        return function

    block = np.ones((1, 2, 2))
    if where == "write":
        sink.write_block = lambda index, *rest: stage("write", None)(index)
    with pytest.raises(OSError, match=f"{where} failed") as caught:
        run_blocks(sink, stage("read", block), stage("compute", (block, {})))
    assert getattr(caught.value, "__notes__", []) == ["In the block of slices 1 to 1."] * (where == "compute")
    assert not (tmp_path / "v.npy").exists()


# ------------------------------------------------------------------------------------------------------- the budget


def test_plans(monkeypatch):
    monkeypatch.setattr(planning, "used_memory", lambda: 400e6)
    monkeypatch.setattr(planning, "available_memory", lambda: 8e9)
    free = 1e9 - 400e6 - planning.FIXED  # 440 MB
    assert plan_blocks(100, 1e6, memory="1GB") == [(0, 32), (32, 64), (64, 96), (96, 100)]
    assert plan_blocks(100, free / 20, memory="1GB")[0] == (0, 16)  # whole packs
    assert plan_blocks(100, free / 5.5, memory="1GB")[0] == (0, 5)
    assert plan_blocks(100, free / 70, memory="1GB", chunk=30)[0] == (0, 60)  # whole chunks
    assert plan_blocks(100, free / 20, memory="1GB", chunk=30)[0] == (0, 20)
    assert plan_blocks(100, free / 20, memory="1GB", n_halo=4)[0] == (0, 12)
    assert plan_blocks(100, 1e6) == plan_blocks(100, 1e6, memory=4.4e9)
    for plan in (plan_blocks(7, 1e6), plan_blocks(100, free / 3.5, memory="1GB")):
        assert [a for a, _ in plan] == [0, *(b for _, b in plan[:-1])]
    message = r"memory=0\.50 GB is too little: the process holds 0\.40 GB already, .* 0\.26 GB more; .* at least 0\.67"
    with pytest.raises(MemoryBudgetError, match=message):
        plan_blocks(100, 1e8, memory="500MB")


@pytest.mark.parametrize(
    ("text", "value"),
    [("2GB", 2e9), ("1.5 gib", 1.5 * 2**30), ("300k", 3e5), ("7", 7), (4096, 4096), (1e9, 1e9), (".5MB", 5e5)],
)
def test_amounts_of_memory(text, value):
    assert parse_memory(text) == value


@pytest.mark.parametrize("text", ["", "much", "-1GB", "0", "1 apple", "GB", "3i", None, True, 0])
def test_wrong_amounts_of_memory(text):
    with pytest.raises(ValueError, match="memory must be a positive number of bytes such as '2GB'"):
        parse_memory(text)


PEAK = r"""
import re, sys
from pathlib import Path
from sklearn.pipeline import Pipeline
from tomolearn import FBPReconstructor
from tomolearn.io import open_scan
from tomolearn.preprocessing import MinusLog, SinogramBinner
from tomolearn.streaming import reconstruct_volume
scan = open_scan(sys.argv[1], order="sinograms", angles="0:179")
steps = [("log", MinusLog()), ("bin", SinogramBinner(angle_factor=4, detector_factor=8))]
reconstructor = FBPReconstructor(image_shape=(32, 32), center=31.5)
report = reconstruct_volume(Pipeline([*steps, ("reconstruct", reconstructor)]), scan, sys.argv[2], memory=sys.argv[3])
# Of this program alone: what getrusage tells includes the process that started it.
peak = 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
print(f"{scan.nbytes / 1e6:.0f} MB of scan in {report.n_blocks} blocks, peak {peak / 1e6:.0f} MB", file=sys.stderr)
print(peak)
"""


@pytest.mark.slow
def test_peak_memory_stays_within_the_budget(tmp_path, capsys):
    """The scan is several times as large as what the process may hold."""
    path, budget = tmp_path / "scan.npy", int(6.5e8)
    shape = (2500, 1024, 512)
    header = np.lib.format.open_memmap(path, "w+", np.uint16, shape)  # a sparse file: zeros that take no place
    del header
    assert path.stat().st_size > 4 * budget
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), str(tmp_path / "volume.npy"), str(budget)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with capsys.disabled():
        print(f"\n{done.stderr.splitlines()[-1]}, budget {budget / 1e6:.0f} MB")
    assert float(done.stdout) < budget
    assert np.load(tmp_path / "volume.npy", mmap_mode="r").shape == (2500, 32, 32)


def test_used_memory_is_about_that_of_the_process():
    code = (
        "import numpy as np\nfrom tomolearn.base import used_memory\nbefore = used_memory()\n"
        "block = np.ones(50_000_000, np.uint8)\nprint(used_memory() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 45e6 < float(done.stdout) < 60e6

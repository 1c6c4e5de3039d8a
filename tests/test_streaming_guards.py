"""Streaming: what must not be mixed, lost or misreported."""

import time

import numpy as np
import pytest
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from tomolearn import FBPReconstructor
from tomolearn.exceptions import MemoryBudgetError
from tomolearn.io import ArraySource, Scan, open_scan, write_scan
from tomolearn.preprocessing import BadPixelRepairer, FlatFieldCorrector, MinusLog
from tomolearn.simulation import simulate_scan
from tomolearn.streaming import plan as planning
from tomolearn.streaming import reconstruct_volume
from tomolearn.streaming.plan import check_resumed

SIMULATED = simulate_scan(6, 32, 40, photons=1e5, n_flats=2, n_darks=2, random_state=0)
AXES = ("rows", "angles", "detectors")


@pytest.fixture
def scan(tmp_path):
    s = SIMULATED
    write_scan(tmp_path / "scan.h5", s.counts, angles=s.angles, flats=s.flats, darks=s.darks)
    with open_scan(tmp_path / "scan.h5") as scan:
        yield scan


@pytest.fixture
def single_rows(monkeypatch):
    monkeypatch.setattr("tomolearn.streaming.scan.plan_blocks", lambda n, *a, **k: [(i, i + 1) for i in range(n)])


def fbp():
    return FBPReconstructor(center=SIMULATED.center)


def pipeline(*behind):
    return Pipeline([("flat", FlatFieldCorrector()), ("log", MinusLog()), ("reconstruct", fbp()), *behind])


def break_off(monkeypatch, steps, scan, out):
    """A run that ends in its second block."""
    original, calls = FBPReconstructor.predict, []

    def breaks(self, X):
        calls.append(0)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, X)

    with monkeypatch.context() as patch:
        patch.setattr(FBPReconstructor, "predict", breaks)
        with pytest.raises(KeyboardInterrupt):
            reconstruct_volume(steps, scan, out)


def test_other_rows_or_flats_of_the_same_shape_are_not_mixed_on_resume(scan, single_rows, tmp_path, monkeypatch):
    out = tmp_path / "volume.h5"
    break_off(monkeypatch, pipeline(), scan.select(rows=slice(0, 3)), out)
    others = Scan(scan.projections, angles=scan.angles, flats=scan.flats[:] + 1, darks=scan.darks)
    for other in (scan.select(rows=slice(3, 6)), others.select(rows=slice(0, 3))):
        with pytest.raises(ValueError, match=r"belongs to another run \(it differs in values of the scan\)"):
            reconstruct_volume(pipeline(), other, out, resume=True)
    report = reconstruct_volume(pipeline(), scan.select(rows=slice(0, 3)), out, resume=True)
    assert (report.n_resumed, report.n_slices_resumed) == (1, 1)


def test_a_scan_named_by_another_path_is_resumed(scan, single_rows, tmp_path, monkeypatch):
    break_off(monkeypatch, pipeline(), scan, tmp_path / "volume.h5")
    monkeypatch.chdir(tmp_path)
    assert reconstruct_volume(pipeline(), "scan.h5", "volume.h5", resume=True).n_resumed == 1


def test_steps_that_cannot_be_pickled_run_and_are_not_resumed(scan, single_rows, tmp_path, monkeypatch):
    steps = pipeline(("twice", FunctionTransformer(lambda X: 2 * X)))
    plain = np.load(reconstruct_volume(pipeline(), scan, tmp_path / "plain.npy").path)
    np.testing.assert_array_equal(np.load(reconstruct_volume(steps, scan, tmp_path / "twice.npy").path), 2 * plain)
    break_off(monkeypatch, steps, scan, tmp_path / "volume.npy")
    with pytest.raises(ValueError, match=r"another run \(it differs in steps\)"):
        reconstruct_volume(steps, scan, tmp_path / "volume.npy", resume=True)


def test_pipelines_within_pipelines(scan, tmp_path):
    inner = Pipeline([("flat", FlatFieldCorrector()), ("skip", "passthrough"), ("log", MinusLog())])
    nested = reconstruct_volume(Pipeline([("before", inner), ("reconstruct", fbp())]), scan, tmp_path / "a.npy")
    flat = reconstruct_volume(pipeline(), scan, tmp_path / "b.npy")
    np.testing.assert_array_equal(np.load(nested.path), np.load(flat.path))


def test_the_scan_is_never_replaced(scan, tmp_path):
    before = (tmp_path / "scan.h5").read_bytes()
    for out in (tmp_path / "scan.h5", tmp_path):
        with pytest.raises(ValueError, match=r"would replace the scan .*scan\.h5:exchange/data; choose another name"):
            reconstruct_volume(pipeline(), scan, out, overwrite=True)
    assert (tmp_path / "scan.h5").read_bytes() == before


def test_messages_say_which_row_of_the_scan(single_rows, tmp_path):
    sinograms = -np.log(np.full((6, 40, 32), 0.5))
    sinograms[4] = np.nan
    steps = Pipeline([("repair", BadPixelRepairer()), ("reconstruct", fbp())])
    with pytest.raises(ValueError, match=r"slice 0 holds none(?s:.*)Its rows and slices count from row 4 of "):
        reconstruct_volume(steps, Scan(sinograms), tmp_path / "volume.npy")


def test_a_resumed_run_keeps_to_the_memory_it_is_given(monkeypatch):
    monkeypatch.setattr(planning, "used_memory", lambda: 400e6)
    blocks = [(0, 32), (32, 40)]
    check_resumed(blocks, 1e6, "600MB")
    check_resumed(blocks, 1e9, None)
    with pytest.raises(MemoryBudgetError, match=r"memory=0\.60 GB .* on 32 slices at a time, which takes 3\.77 GB"):
        check_resumed(blocks, 1e8, "600MB")


def test_the_report_accounts_for_the_time(single_rows, tmp_path):
    class Slow(ArraySource):
        def _read(self, start, stop):
            time.sleep(0.05)
            return super()._read(start, stop)

    class SlowFBP(FBPReconstructor):
        def predict(self, X):
            time.sleep(0.05)
            return super().predict(X)

    sinograms = np.random.default_rng(0).random((8, 40, 32), np.float32)
    began = time.perf_counter()
    report = reconstruct_volume(SlowFBP(), Slow(sinograms, AXES), tmp_path / "volume.npy")
    took = time.perf_counter() - began
    assert sum(report.seconds.values()) == pytest.approx(took, abs=0.1)
    assert report.seconds["plan"] > 0.05  # one row is read to see what comes out
    assert report.seconds["read"] < 0.2 < 8 * 0.05  # the rest is read while the block before is computed

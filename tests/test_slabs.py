"""Slabs on devices: as in one piece, in order, with errors that say where, in the memory of the device.

The devices are the processor, once or several times: the same code takes slabs in turn, and only what copies them is
another, which is tried with an imitation of CUDA's streams.
"""

import _thread
import contextlib
import threading
import types

import numpy as np
import pytest
import torch
from denoisers import BoxDenoiser
from learned import pairs, small

from tomolearn import CGLSReconstructor, FBPReconstructor, SIRTReconstructor, TVReconstructor
from tomolearn.base import slabs
from tomolearn.base.slabs import run_slabs, slab_size
from tomolearn.exceptions import ExtensionError, MemoryBudgetError
from tomolearn.io import open_volume
from tomolearn.ops import _register
from tomolearn.streaming import plan as planning
from tomolearn.streaming import plan_blocks
from tomolearn.streaming.plan import slices_at_once
from tomolearn.training.hardware import find_device, find_devices, find_projecting_devices

CPU = torch.device("cpu")
SINOGRAMS, _ = pairs(70, (7, 12))


def doubled(n, devices, compute=lambda k, slab, part: [2 * part], **options):
    """Twice 0, 1, 2 ..., in slabs of one number."""
    x, y = torch.arange(float(n)), torch.full((n,), torch.nan)

    def store(slab, results):
        assert torch.isnan(y[slab])  # each slab once
        y[slab] = results[0]

    run_slabs(range(n), x.__getitem__, compute, store, devices, **options)
    return y


# ------------------------------------------------------------------------------------------------ the order of work


@pytest.mark.parametrize("n_devices", [1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 2, 33])
def test_each_slab_is_computed_once_and_stored_in_its_place(n, n_devices):
    assert torch.equal(doubled(n, [CPU] * n_devices), 2 * torch.arange(float(n)))


def test_devices_work_at_the_same_time():
    together = threading.Barrier(3, timeout=20)

    def compute(k, slab, part):
        together.wait()  # breaks unless three slabs are under way
        return [2 * part]

    assert torch.equal(doubled(9, [CPU] * 3, compute), 2 * torch.arange(9.0))


@pytest.mark.parametrize("n_devices", [1, 2])
@pytest.mark.parametrize("where", ["load", "compute", "store"])
def test_an_error_names_its_slab_and_ends_the_work(where, n_devices):
    begun = []

    def fail(stage, slab):
        if stage == "compute":
            begun.append(slab)
        if stage == where and slab == 3:
            raise ValueError("no such luck")

    def load(slab):
        fail("load", slab)
        return torch.zeros(())

    def compute(k, slab, part):
        fail("compute", slab)
        return [part]

    with pytest.raises(ValueError, match="no such luck") as caught:
        run_slabs(
            range(10**6), load, compute, lambda slab, results: fail("store", slab), [CPU] * n_devices,
            name="slice {}".format,
        )  # fmt: skip
    assert caught.value.__notes__ == ["In slice 3, on cpu."]
    # The other device may have been through some before this one failed, but not through all.
    assert len(begun) <= 4 if n_devices == 1 else len(begun) < 10**5


def test_a_single_slab_needs_no_name():
    with pytest.raises(ZeroDivisionError) as caught:
        doubled(1, [CPU], lambda k, slab, part: 1 / 0)
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("n_devices", [1, 2])
def test_ctrl_c_ends_the_work(n_devices):
    begun = []

    def compute(k, slab, part):
        begun.append(slab)
        if len(begun) == 3:
            _thread.interrupt_main()
        threading.Event().wait(0.005)
        return [part]

    with pytest.raises(KeyboardInterrupt):
        doubled(10**4, [CPU] * n_devices, compute)
    assert len(begun) < 1000


# ------------------------------------------------------------------------------------------------ copies


class LateLane:
    """A device on which nothing is there before it is waited for, with room for ``depth`` slabs under way."""

    depth = 1
    device = torch.device("meta")

    def __init__(self, log):
        self.log, self.under_way = log, 0

    def entered(self):
        return contextlib.nullcontext()

    def start(self, tensor, compute):
        self.under_way += 1
        assert self.under_way <= self.depth + 1
        results = [torch.full_like(result, torch.nan) for result in compute(tensor)]
        self.log.append("start")

        def wait():
            self.under_way -= 1
            self.log.append("wait")
            return [result.copy_(value) for result, value in zip(results, compute(tensor), strict=True)]

        return wait


def test_a_slab_is_started_before_the_last_one_is_waited_for(monkeypatch):
    log = []
    monkeypatch.setattr(slabs, "lane_of", lambda device: LateLane(log))
    assert torch.equal(doubled(4, [CPU]), 2 * torch.arange(4.0))
    assert log == ["start", "start", "wait", "start", "wait", "start", "wait", "wait"]


def test_errors_that_come_late_name_the_slab_they_are_of(monkeypatch):
    """CUDA tells of an error when a result is waited for, and the next slab has been started by then."""

    class Failing(LateLane):
        def start(self, tensor, compute):
            wait = super().start(tensor, compute)
            return wait if tensor != 2 else lambda: 1 / 0

    monkeypatch.setattr(slabs, "lane_of", lambda device: Failing([]))
    with pytest.raises(ZeroDivisionError) as caught:
        doubled(6, [CPU])
    assert caught.value.__notes__ == ["In slab 2, on meta."]


class ImitatedCuda:
    """As much of ``torch.cuda`` as a lane uses; notes what is done on which stream, and which one waits for which."""

    def __init__(self):
        self.log, self.current, self.n_streams = [], "default", 0
        cuda = self

        class Stream:
            def __init__(self, device):
                self.name = ("in", "work", "out")[cuda.n_streams % 3]
                cuda.n_streams += 1

            def wait_stream(self, other):
                cuda.log.append(f"{self.name} waits for {other.name}")

        class Event:
            def __init__(self, blocking):
                assert blocking

            def record(self, stream):
                self.of = stream.name

            def synchronize(self):
                cuda.log.append(f"host waits for {self.of}")

        self.Stream, self.Event = Stream, Event

    @contextlib.contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream.name
        yield
        self.current = before

    def synchronize(self, device):
        self.log.append("host waits for all")

    def device(self, device):
        return contextlib.nullcontext()


def test_copies_and_work_are_on_streams_that_wait_for_each_other(monkeypatch):
    cuda = ImitatedCuda()
    imitation = types.SimpleNamespace(cuda=cuda, Tensor=torch.Tensor, empty=torch.empty)
    monkeypatch.setattr(slabs, "torch", imitation)
    monkeypatch.setattr(slabs, "_pinned", lambda like: cuda.log.append(f"pinned {cuda.current}") or like.clone())
    monkeypatch.setattr(slabs, "lane_of", slabs._CudaLane)

    def compute(k, slab, part):
        cuda.log.append(f"compute {slab} {cuda.current}")
        return [2 * part]

    assert torch.equal(doubled(2, [CPU], compute), 2 * torch.arange(2.0))
    slab = ["pinned in", "work waits for in", "compute {} work", "out waits for work"]
    both = [text.format(number) for number in range(2) for text in slab]
    assert cuda.log == ["host waits for all", *both, "host waits for out", "host waits for out"]


# ------------------------------------------------------------------------------------------------ memory


def test_slabs_are_halved_until_they_fit(monkeypatch):
    monkeypatch.setattr(slabs, "free_memory", lambda device: {"cpu": 1000.0, "meta": 250.0}[device.type])
    devices = [CPU, torch.device("meta")]
    assert slab_size(32, lambda k: 30.0 * k, [CPU]) == 32
    assert slab_size(32, lambda k: 30.0 * k, devices) == 8  # of the smaller one
    assert slab_size(7, lambda k: 100.0 * k, devices) == 2
    with pytest.raises(
        MemoryBudgetError, match=r"one slice takes 0\.00 GB on meta, which has 0\.00 GB to spare.*'cpu'"
    ):
        slab_size(32, lambda k: 251.0 * k, devices)


def test_what_is_free_on_a_cuda_device(monkeypatch):
    for name, value in (("memory_reserved", 300), ("memory_allocated", 100), ("mem_get_info", (800, 5000))):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert slabs.free_memory(torch.device("cuda:1")) == 0.8 * 1000


def test_reconstructions_keep_to_the_memory_of_the_device(monkeypatch):
    fitted, sizes = SIRTReconstructor(max_iter=3).fit(SINOGRAMS), []
    whole, original = fitted.predict(SINOGRAMS), SIRTReconstructor._reconstruct
    monkeypatch.setattr(
        SIRTReconstructor, "_reconstruct", lambda self, A, y, step: sizes.append(len(y)) or original(self, A, y, step)
    )
    # A slice has 84 values and 144 pixels: 4 copies of each at work, one that comes and one that goes.
    monkeypatch.setattr(slabs, "free_memory", lambda device: 4 * 5 * (84 + 144) * 10.0)
    np.testing.assert_allclose(fitted.predict(SINOGRAMS), whole, rtol=0, atol=1e-5 * np.abs(whole).max())
    assert sizes == [8] * 8 + [6]
    monkeypatch.setattr(slabs, "free_memory", lambda device: 4 * 5 * (84 + 144) * 0.99)
    with pytest.raises(MemoryBudgetError, match="one slice takes 0.00 GB on cpu"):
        fitted.predict(SINOGRAMS)


def test_tiles_keep_to_the_memory_of_the_device(monkeypatch):
    volume = np.random.default_rng(0).random((3, 40, 40))
    denoiser, sizes = BoxDenoiser().fit(volume), []
    whole, original = denoiser.predict(volume), BoxDenoiser._predict_windows
    monkeypatch.setattr(
        BoxDenoiser, "_predict_windows", lambda self, w: sizes.append(w[:, 0].numel()) or original(self, w)
    )
    monkeypatch.setattr("tomolearn.base.image_predictor.free_memory", lambda device: 2 * 4 * 3 * 500.0)
    np.testing.assert_allclose(denoiser.predict(volume), whole, rtol=1e-12)
    assert max(sizes) <= 500 and len(sizes) >= 12


# ------------------------------------------------------------------------------------------------ estimators


@pytest.mark.parametrize(
    "estimator",
    [
        FBPReconstructor(center=np.linspace(5, 6, 70)),
        SIRTReconstructor(max_iter=2, n_subsets=2),
        CGLSReconstructor(max_iter=2),
        TVReconstructor(max_iter=2, tol=1e-9),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.filterwarnings("ignore:.*used all max_iter")
def test_two_devices_give_what_one_gives(estimator):
    one = estimator.fit(SINOGRAMS).predict(SINOGRAMS)
    two = estimator.set_params(device="cpu, cpu").fit(SINOGRAMS).predict(SINOGRAMS)
    np.testing.assert_array_equal(two, one)


@pytest.mark.parametrize("name", ["FBPUNetReconstructor", "LearnedPrimalDualReconstructor", "DenseReconstructor"])
def test_networks_are_on_each_device(name, monkeypatch):
    X, y = pairs(8)
    fitted = small(name, max_epochs=1, device="cpu").fit(X, y)
    one, used = fitted.predict(SINOGRAMS), set()
    original = type(fitted)._network_on
    monkeypatch.setattr(
        type(fitted), "_network_on", lambda self, device: used.add(id(self.network_)) or original(self, device)
    )
    together = threading.Barrier(2, timeout=20)
    forward = type(fitted)._forward

    def both(self, network, x, A):
        if len(x) == 32:
            together.wait()
        return forward(self, network, x, A)

    monkeypatch.setattr(type(fitted), "_forward", both)
    np.testing.assert_array_equal(fitted.set_params(device="cpu,cpu").predict(SINOGRAMS), one)
    assert len(used) == 2 and id(fitted.network_) not in used


def test_denoisers_share_tiles(monkeypatch):
    volume = np.random.default_rng(0).random((5, 40, 40), np.float32)
    denoiser = BoxDenoiser(n_adjacent=3, tile_shape=(16, 16)).fit(volume)
    one = denoiser.predict(volume)
    monkeypatch.setattr(BoxDenoiser, "_devices", lambda self: (CPU, CPU))
    np.testing.assert_array_equal(denoiser.predict(volume), one)


def test_an_error_names_the_slices_of_the_device():
    fitted = FBPReconstructor(device="cpu,cpu").fit(SINOGRAMS)
    fitted._reconstruct = None  # copied with the estimator: whatever may go wrong
    with pytest.raises(TypeError) as caught:
        fitted.predict(SINOGRAMS)
    assert caught.value.__notes__[0] in [
        f"In slices {a} to {b} of X, on cpu." for a, b in ((0, 31), (32, 63), (64, 69))
    ]


# ------------------------------------------------------------------------------------------------ volumes


def test_blocks_hold_slabs_for_all_devices(monkeypatch):
    monkeypatch.setattr(planning, "used_memory", lambda: 400e6)
    assert slices_at_once([CPU]) == 32 and slices_at_once([CPU, CPU]) == 2 * slices_at_once([torch.device("cuda")])
    assert plan_blocks(600, 1e3, memory="1GB", at_once=256) == [(0, 256), (256, 512), (512, 600)]
    assert plan_blocks(600, 440e6 / 100, memory="1GB", at_once=256)[0] == (0, 96)  # whole packs


def read(path):
    with open_volume(path) as volume:
        return volume[:]


def test_a_volume_on_two_devices_is_one_and_resumes_on_another(tmp_path, monkeypatch):
    def plan(n_slices, slice_bytes, *, at_once, **options):
        assert at_once in (32, 256)
        return [(0, 40), (40, 70)]

    monkeypatch.setattr("tomolearn.streaming.scan.plan_blocks", plan)
    fitted = FBPReconstructor().fit(SINOGRAMS)
    one = read(fitted.predict_volume(SINOGRAMS, tmp_path / "one.npy"))
    fitted.set_params(device="cpu,cpu")
    np.testing.assert_array_equal(read(fitted.predict_volume(SINOGRAMS, tmp_path / "two.npy")), one)
    original, seen = FBPReconstructor._reconstruct, []

    def breaks(self, A, y, step):
        seen.append(len(y))
        if len(seen) == 3:  # in the second block
            raise KeyboardInterrupt
        return original(self, A, y, step)

    with monkeypatch.context() as patch:
        patch.setattr(FBPReconstructor, "_reconstruct", breaks)
        with pytest.raises(KeyboardInterrupt):
            fitted.predict_volume(SINOGRAMS, tmp_path / "late.npy")
    assert not (tmp_path / "late.npy").exists()
    seen.clear()
    monkeypatch.setattr(
        FBPReconstructor, "_reconstruct", lambda self, A, y, step: seen.append(len(y)) or original(self, A, y, step)
    )
    fitted.set_params(device="cpu").predict_volume(SINOGRAMS, tmp_path / "late.npy", resume=True)
    assert seen == [30]  # what was done is not done again
    np.testing.assert_array_equal(read(tmp_path / "late.npy"), one)


# ------------------------------------------------------------------------------------------------ names of devices


def test_names_of_devices(monkeypatch):
    assert find_devices("cpu, cpu") == (CPU, CPU) and find_device("cpu,cpu") == CPU
    for wrong in ("cpu,", "cpu,tpu", ("cpu", "cpu"), ""):
        with pytest.raises(ValueError, match="device must be 'auto', 'cpu', 'cuda' or 'cuda:N'; got"):
            find_devices(wrong)
    with pytest.raises(ValueError, match="device must be 'auto', 'cpu', 'cuda' or 'cuda:N'; got 'gpu'"):
        FBPReconstructor(device="gpu").fit(SINOGRAMS)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_devices("cuda:1,cuda:0") == (torch.device("cuda:1"), torch.device("cuda:0"))
    with pytest.raises(ValueError, match="device='cuda:2' is not there: torch .* sees 2 CUDA devices"):
        find_devices("cuda:0,cuda:2")


@pytest.mark.parametrize("built", [False, True])
def test_projections_are_where_they_were_built_for(built, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for module in ("tomolearn.training.hardware", "tomolearn.ops._register"):
        monkeypatch.setattr(f"{module}.has_kernels", lambda kind: built or kind == "cpu")
    on_cuda = types.SimpleNamespace(is_cuda=True)
    if built:
        assert find_projecting_devices("auto") == (torch.device("cuda"),)
        assert FBPReconstructor(device="cuda:0,cuda:1")._devices() == find_devices("cuda:0,cuda:1")
        _register.check_device(on_cuda)
        return
    assert find_projecting_devices("auto") == (CPU,)
    with pytest.raises(ValueError, match="device='cuda' needs operators that were built for CUDA.*FORCE_CUDA=1"):
        FBPReconstructor(device="cuda").fit(SINOGRAMS)
    with pytest.raises(ExtensionError, match=r"built without CUDA kernels.*FORCE_CUDA=1.*device='cpu'"):
        _register.check_device(on_cuda)

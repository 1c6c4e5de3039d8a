"""Slabs of slices on one device or several: copied in, computed and copied out at the same time."""

import contextlib
import copy
import threading
from concurrent.futures import ThreadPoolExecutor, wait

import torch

from tomolearn.exceptions import MemoryBudgetError

__all__ = ["OnDevices", "free_memory", "run_slabs", "slab_size"]

SHARE = 0.8  # of a device's free memory that a slab may take: an allocator always keeps pieces that fit nothing


class OnDevices:
    """An estimator that predicts slab by slab, on the processor unless a subclass says where.

    Examples
    --------
    >>> from tomolearn import FBPReconstructor
    >>> FBPReconstructor(device="cpu,cpu")._devices()
    (device(type='cpu'), device(type='cpu'))
    """

    def _devices(self):
        """Where slabs are computed, a tuple of torch.device: each of them takes slabs in turn."""
        return (torch.device("cpu"),)

    def _on_each(self, devices):
        """The estimator for each device: itself for a single one, else a copy whose parameter ``device`` names it."""
        if len(devices) > 1:
            return [self._moved_to(device) for device in devices]
        self._get_ready_on(devices[0])
        return [self]

    def _get_ready_on(self, device):
        """Take to a device what is needed there for every slab."""

    def _moved_to(self, device):
        twin = copy.copy(self)
        vars(twin)["device"] = str(device)
        return twin


def free_memory(device) -> float:
    """Bytes that slabs may take on a device: most of what is free, and what torch keeps for its next tensors.

    Parameters
    ----------
    device : torch.device

    Returns
    -------
    float
        Infinity for the processor, whose memory is counted before the slabs are.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.base.slabs import free_memory
    >>> free_memory(torch.device("cpu"))
    inf
    """
    if device.type != "cuda":
        return float("inf")
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return SHARE * (torch.cuda.mem_get_info(device)[0] + kept)


def slab_size(n, need, devices) -> int:
    """How many slices a slab has: ``n``, or a half, a quarter ... of it where a device has no room for that many.

    Parameters
    ----------
    n : int
    need : callable
        ``need(k)`` gives the bytes that k slices take on a device.
    devices : sequence of torch.device
        All of them get slabs of the same size, so that results do not depend on which takes which.

    Returns
    -------
    int

    Raises
    ------
    MemoryBudgetError
        If not even one slice fits.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.base.slabs import slab_size
    >>> slab_size(32, lambda k: 1e9 * k, [torch.device("cpu")])
    32
    """
    have, least = min((free_memory(device), str(device)) for device in devices)
    while need(n) > have:
        if n == 1:
            raise MemoryBudgetError(
                f"one slice takes {need(1) / 1e9:.2f} GB on {least}, which has {have / 1e9:.2f} GB to spare. Free "
                "memory there, take smaller images, or use device='cpu'."
            )
        n = -(-n // 2)
    return n


def run_slabs(slabs, load, compute, store, devices, *, name="slab {}".format):
    """Compute slabs on devices, which take them in turn; a slab is copied while its neighbours are computed.

    On a CUDA device the copy of a slab to it, the computation of the one before, and the copy of the result before
    that run at the same time, on streams of their own from pinned memory; two slabs are under way at most. On the
    processor nothing is copied. One device is worked in the calling thread, several in a thread each.

    Parameters
    ----------
    slabs : sequence
    load : callable
        ``load(slab)`` gives a tensor on the processor.
    compute : callable
        ``compute(k, slab, tensor)``, with the tensor on ``devices[k]``, gives a list of tensors there (or arrays).
    store : callable
        ``store(slab, results)`` takes that list on the processor; slabs come in any order, from any thread.
    devices : sequence of torch.device
        The same one may stand here more than once.
    name : callable, default="slab {}".format
        ``name(slab)`` begins the note that is added to an error.

    Raises
    ------
    Exception
        Whatever ``load``, ``compute`` or ``store`` raised first, with a note that names slab and device where there is
        more than one slab. No further slab is begun then, nor after Ctrl-C.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.base.slabs import run_slabs
    >>> x, y = torch.arange(6.0), torch.empty(6)
    >>> slabs = [slice(0, 4), slice(4, 6)]
    >>> def store(slab, results):
    ...     y[slab] = results[0]
    >>> run_slabs(slabs, lambda slab: x[slab], lambda k, slab, part: [2 * part], store, [torch.device("cpu")] * 2)
    >>> y.tolist()
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    queue = _Queue(slabs)

    def note(slab, lane):
        return f"In {name(slab)}, on {lane.device}." if len(slabs) > 1 else ""

    def work(k):
        with queue.stopping():
            lane = lane_of(devices[k])
            with lane.entered():
                _work(queue, lane, load, lambda slab, tensor: compute(k, slab, tensor), store, note)

    if len(devices) == 1:
        work(0)
        return
    with ThreadPoolExecutor(len(devices), "slabs") as pool:
        # A thread that fails stops the others after their slabs; so does what interrupts this one, such as Ctrl-C.
        with queue.stopping():
            at_work = [pool.submit(work, k) for k in range(len(devices))]
            while wait(at_work, timeout=0.1).not_done:  # not all ways to interrupt end a wait without an end
                pass
    if queue.errors:
        raise queue.errors[0]


def _work(queue, lane, load, compute, store, note):
    """Take slabs until there are none, and keep up to ``lane.depth`` of them under way."""
    under_way = []

    def finish(slab, running):
        with _noting(note(slab, lane)):
            store(slab, running())

    for slab in queue:
        with _noting(note(slab, lane)):
            under_way.append((slab, lane.start(load(slab), lambda tensor, slab=slab: compute(slab, tensor))))
        if len(under_way) > lane.depth:
            finish(*under_way.pop(0))
    while under_way:
        finish(*under_way.pop(0))


@contextlib.contextmanager
def _noting(text):
    try:
        yield
    except Exception as error:
        if text:
            error.add_note(text)
        raise


class _Queue:
    """Slabs for several threads, until one of them fails."""

    def __init__(self, slabs):
        self._slabs, self._lock, self._stopped = iter(slabs), threading.Lock(), False
        self.errors = []

    def __iter__(self):
        return self

    def __next__(self):
        with self._lock:
            if self._stopped:
                raise StopIteration
            return next(self._slabs)

    @contextlib.contextmanager
    def stopping(self):
        """What is raised within hands out no further slab."""
        try:
            yield
        except BaseException as error:
            with self._lock:
                self._stopped = True
                self.errors.append(error)
            raise


def lane_of(device):
    """What copies to a device, computes there, and copies back.

    Parameters
    ----------
    device : torch.device

    Returns
    -------
    object
        ``start(tensor, compute)`` sets one slab going and gives the function that waits for its results; ``depth`` says
        how many slabs may be under way when the next one is started.
    """
    return _CudaLane(device) if device.type == "cuda" else _CPULane(device)


class _CPULane:
    """The processor: a slab is done when it is started."""

    depth = 0

    def __init__(self, device):
        self.device = device

    def entered(self):
        return contextlib.nullcontext()

    def start(self, tensor, compute):
        results = compute(tensor)
        return lambda: results


class _CudaLane:
    """A CUDA device with a stream for each direction and one for the computation.

    The tensors of a slab are held until its last copy is done, so that their memory is not handed out before. Pinned
    memory comes from torch's allocator, which keeps it for the next slab once the copies from it are done.
    """

    depth = 1

    def __init__(self, device):
        self.device = device
        self.to_device, self.at_work, self.to_host = (torch.cuda.Stream(device) for _ in range(3))

    def entered(self):
        # What was put on the device before, such as the weights of a network, must be there.
        torch.cuda.synchronize(self.device)
        return torch.cuda.device(self.device)

    def start(self, tensor, compute):
        with torch.cuda.stream(self.to_device):
            staged = _pinned(tensor)
            staged.copy_(tensor)
            copied = staged.to(self.device, non_blocking=True)
        self.at_work.wait_stream(self.to_device)
        with torch.cuda.stream(self.at_work):
            results = compute(copied)
        self.to_host.wait_stream(self.at_work)
        with torch.cuda.stream(self.to_host):
            found = [self._fetched(result) for result in results]
            done = torch.cuda.Event(blocking=True)  # the host sleeps while it waits
            done.record(self.to_host)
        held = [staged, copied, results]

        def fetch():
            done.synchronize()
            held.clear()
            return found

        return fetch

    def _fetched(self, result):
        if not isinstance(result, torch.Tensor) or result.device.type == "cpu":
            return result
        return _pinned(result).copy_(result, non_blocking=True)


def _pinned(like):
    """Memory for a tensor that a device can copy to and from by itself."""
    return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)

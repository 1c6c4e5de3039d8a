"""The CUDA kernels and their launchers, run on the CPU by the emulator, against the operators of the CPU."""

import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from emulator.building import CXX, KINDS, ORDERS, build, run

from tomolearn.ops._register import operators

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which(CXX[0]) is None, reason="needs a C++ compiler"),
]

# operation of run_kernels.cpp (0: projects), footprint
PROJECTORS = {"radon": (0, 0), "radon_adjoint": (1, 0), "backproject": (1, 1), "backproject_adjoint": (0, 1)}
KINDS_OF_VALUES = {torch.float32: 0, torch.float64: 1, torch.float16: 2}
# Of the largest value; results of half-precision storage are rounded to it.
TOLERANCES = {torch.float32: 5e-6, torch.float64: 1e-13, torch.float16: 5e-4}


@dataclass(frozen=True)
class Request:
    """One call of one operator: what the emulated launcher reads, and what the operator of the CPU gives
    in double precision.
    """

    name: str
    values: torch.Tensor
    image_shape: tuple[int, int]
    angles: np.ndarray
    n_detectors: int
    center: np.ndarray  # (1 or slices, angles)
    spacing: float
    max_blocks: int = 2**31 - 1

    @property
    def projects(self):
        return PROJECTORS[self.name][0] == 0

    def result_shape(self):
        shape = (len(self.angles), self.n_detectors) if self.projects else self.image_shape
        return (len(self.values), *shape)

    def packed(self):
        operation, footprint = PROJECTORS[self.name]
        sizes = (len(self.values), *self.image_shape, len(self.angles), self.n_detectors, len(self.center))
        header = np.zeros(16, np.int64)
        header[:10] = (operation, KINDS_OF_VALUES[self.values.dtype], self.max_blocks, footprint, *sizes)
        tables = np.concatenate([[self.spacing], self.angles, self.center.ravel()]).astype(np.float64)
        return header.tobytes() + tables.tobytes() + self.values.numpy().tobytes()

    def expected(self):
        sizes = (self.n_detectors,) if self.projects else self.image_shape
        geometry = torch.from_numpy(self.angles), torch.from_numpy(self.center), self.spacing
        return getattr(operators(), self.name)(self.values.double(), *geometry, *sizes)


def make_request(
    rng,
    name,
    n_slices,
    image_shape,
    n_detectors,
    angles,
    *,
    spacing=1.0,
    shift=0.0,
    own=False,
    dtype=torch.float32,
    **rest,
):
    """Random values. ``shift``: of the axis of rotation, in detectors; ``own``: another one for every slice."""
    shape = (len(angles), n_detectors) if PROJECTORS[name][0] else image_shape
    values = torch.from_numpy(rng.uniform(-1, 1, (n_slices, *shape))).to(dtype)
    center = np.full((n_slices if own else 1, len(angles)), (n_detectors - 1) / 2 + shift)
    center += rng.uniform(-1, 1, center.shape) if own else 0
    return Request(name, values, image_shape, np.asarray(angles, float), n_detectors, center, spacing, **rest)


def emulate(requests, folder, kind="plain", order="forward"):
    """The result of every request; fails on any report of the emulator or a sanitizer."""
    (folder / "requests").write_bytes(b"".join(request.packed() for request in requests))
    done = run(build("run_kernels.cpp", kind), folder / "requests", folder / "results", order=order)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-4000:]
    data, offset, results = (folder / "results").read_bytes(), 0, []
    for request in requests:
        shape = request.result_shape()
        part = np.frombuffer(data, request.values.numpy().dtype, int(np.prod(shape)), offset)
        results.append(torch.from_numpy(part.reshape(shape).copy()))
        offset += part.nbytes
    assert offset == len(data)
    return results


def check(requests, results):
    for request, result in zip(requests, results, strict=True):
        expected = request.expected()
        if not len(expected):
            continue
        error = float((result.double() - expected).abs().max())
        bound = TOLERANCES[result.dtype] * max(1.0, float(expected.abs().max()))
        assert error <= bound, (error / bound, request)  # NaN, of a pixel that was not written, fails too


def angles_of(n):
    """Some of both classes of rays, multiples of a quarter turn and of half of one among them."""
    return np.concatenate([np.deg2rad([0, 90, 45, -135]), np.linspace(-4, 3, max(n - 4, 0))])[:n]


@pytest.fixture(scope="module")
def requests():
    """Every operator: sizes around a tile, batches around a group, non-square, off centre, all kinds of values."""
    rng = np.random.default_rng(0)
    found = []
    for name in PROJECTORS:
        for k, size in enumerate((1, 15, 16, 17, 37, 64)):
            shape = (size, size) if k % 2 else (size, 5 + size // 2)
            n_slices = (1, 3, 33)[k % 3] if size < 64 else 3
            dtype = list(TOLERANCES)[k % 3]
            shift = 0.3 * size if k in (1, 4) else -0.2
            angles = angles_of(70 if size == 15 else 9)  # 70: more than one chunk of the shared table
            found.append(make_request(rng, name, n_slices, shape, size + k, angles, shift=shift, dtype=dtype))
        for dtype in TOLERANCES:
            found.append(make_request(rng, name, 9, (17, 12), 20, angles_of(9), dtype=dtype, max_blocks=2))
            found.append(make_request(rng, name, 1, (9, 20), 15, angles_of(5), spacing=0.4, dtype=dtype))
            found.append(make_request(rng, name, 3, (12, 13), 6, angles_of(5), spacing=3.7, dtype=dtype, own=True))
        found.append(make_request(rng, name, 2, (16, 16), 8, angles_of(3), shift=1e6))  # the image misses the detector
        found.append(make_request(rng, name, 2, (20, 8), 11, [np.pi / 2], spacing=100.0))  # one class of rays only
        found.append(make_request(rng, name, 2, (3, 4), 300, [0.1], spacing=0.01))
        found.append(make_request(rng, name, 0, (16, 16), 16, angles_of(3)))
    return found


@pytest.mark.parametrize("order", ORDERS)
def test_kernels_agree_with_the_cpu_in_every_order_of_threads(requests, tmp_path, order):
    check(requests, emulate(requests, tmp_path, order=order))


def test_results_do_not_depend_on_the_order_of_threads_or_the_number_of_blocks(requests, tmp_path):
    few = [Request(**{**request.__dict__, "max_blocks": 3}) for request in requests]
    for a, b in zip(emulate(requests, tmp_path), emulate(few, tmp_path, order="reverse"), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "plain"])
def test_sanitizers_have_nothing_to_report(requests, tmp_path, kind):
    small = [request for request in requests if request.values.numel() * len(request.angles) < 60_000]
    assert {request.name for request in small} == set(PROJECTORS)
    assert {request.values.dtype for request in small} == set(TOLERANCES)
    check(small, emulate(small, tmp_path, kind=kind, order="random:2"))


def test_random_geometries_agree_with_the_cpu(tmp_path):
    rng = np.random.default_rng(1)
    requests = []
    for trial in range(100):
        name = list(PROJECTORS)[trial % 4]
        rows, columns, n_detectors = (int(n) for n in rng.integers(1, 24, 3))
        spacing = float(rng.choice([1.0, rng.uniform(0.2, 1), rng.uniform(1, 2.5), rng.uniform(2.5, 12)]))
        requests.append(
            make_request(
                rng,
                name,
                int(rng.integers(1, 7)),
                (rows, columns),
                n_detectors,
                rng.uniform(-7, 7, rng.integers(1, 9)),
                spacing=spacing,
                shift=rng.uniform(-0.4, 0.4) * n_detectors,
                own=rng.random() < 0.2,
                dtype=(torch.float32, torch.float64)[trial // 4 % 2],
            )
        )
    check(requests, emulate(requests, tmp_path))


# ------------------------------------------------------------------------------------------------------------ patches


@dataclass(frozen=True)
class PatchRequest:
    """One call of extract_patches (operation 2) or stitch_patches (3), on three axes."""

    operation: int
    values: torch.Tensor
    extents: tuple[int, int, int]
    indices: tuple[np.ndarray, ...]  # of each axis, (count, size)
    weights: tuple[np.ndarray, ...] | None
    max_blocks: int = 2**31 - 1

    @property
    def shapes(self):
        """Counts and sizes of the axes."""
        return tuple(zip(*(index.shape for index in self.indices), strict=True))

    def result_shape(self):
        counts, sizes = self.shapes
        shape = self.extents if self.operation == 3 else (int(np.prod(counts)), *sizes)
        return (len(self.values), *shape)

    def packed(self):
        counts, sizes = self.shapes
        header = np.zeros(16, np.int64)
        kind, weighted = KINDS_OF_VALUES[self.values.dtype], self.weights is not None
        header[:5] = (self.operation, kind, self.max_blocks, len(self.values), weighted)
        header[5:14] = (*self.extents, *counts, *sizes)
        tables = b"".join(index.astype(np.int32).tobytes() for index in self.indices)
        tables += b"".join(weight.astype(np.float64).tobytes() for weight in self.weights or ())
        return header.tobytes() + tables + self.values.numpy().tobytes()

    def expected(self):
        counts, sizes = self.shapes
        index = torch.from_numpy(np.concatenate([index.ravel() for index in self.indices]).astype(np.int32))
        weight = None
        if self.weights is not None:
            weight = torch.from_numpy(np.concatenate([weight.ravel() for weight in self.weights]))
        op = operators().stitch_patches if self.operation == 3 else operators().extract_patches
        return op(self.values.double(), index, weight, counts, self.extents if self.operation == 3 else sizes)


def make_patch_request(rng, operation, n_images, dtype, weighted, **rest):
    """Any element of a patch may read any pixel, or none."""
    extents = tuple(int(n) for n in rng.integers(1, 20, 3))
    shapes = [tuple(int(n) for n in rng.integers(1, 7, 2)) for _ in extents]
    indices = tuple(rng.integers(-1, n, shape) for n, shape in zip(extents, shapes, strict=True))
    weights = tuple(rng.uniform(0.1, 1, shape) for shape in shapes) if weighted else None
    counts, sizes = zip(*shapes, strict=True)
    shape = extents if operation == 2 else (int(np.prod(counts)), *sizes)
    values = torch.from_numpy(rng.uniform(-1, 1, (n_images, *shape))).to(dtype)
    return PatchRequest(operation, values, extents, indices, weights, **rest)


@pytest.fixture(scope="module")
def patch_requests():
    rng = np.random.default_rng(2)
    return [
        make_patch_request(rng, operation, n_images, dtype, weighted, max_blocks=int(rng.choice([1, 2**31 - 1])))
        for operation in (2, 3)
        for n_images in (0, 1, 3)
        for dtype in TOLERANCES
        for weighted in (False, True)
    ]


@pytest.mark.parametrize(
    ("kind", "order"), [*(("plain", order) for order in ORDERS), ("address", "random:1"), ("thread", "forward")]
)
def test_patches_agree_with_the_cpu(patch_requests, tmp_path, kind, order):
    check(patch_requests, emulate(patch_requests, tmp_path, kind=kind, order=order))

"""Calls of operators, answered by the CUDA kernels, run on the CPU by the emulator, and by the operators of the CPU."""

from dataclasses import dataclass

import numpy as np
import torch
from emulator.building import build, run

from tomolearn.ops._register import operators

# operation of run_kernels.cpp (0: projects), footprint
PROJECTORS = {"radon": (0, 0), "radon_adjoint": (1, 0), "backproject": (1, 1), "backproject_adjoint": (0, 1)}
PATCHES = {"extract_patches": 2, "stitch_patches": 3}
KINDS_OF_VALUES = {torch.float32: 0, torch.float64: 1, torch.float16: 2}
# Of the largest value; results of half-precision storage are rounded to it.
TOLERANCES = {torch.float32: 5e-6, torch.float64: 1e-13, torch.float16: 5e-4}
UNLIMITED = 2**31 - 1


@dataclass(frozen=True)
class Request:
    """One call of a projector: what the emulated launcher reads, and what the operator of the CPU gives
    in double precision.
    """

    name: str
    values: torch.Tensor
    image_shape: tuple[int, int]
    angles: np.ndarray
    n_detectors: int
    center: np.ndarray  # (1 or slices, angles)
    spacing: float
    max_blocks: int = UNLIMITED

    def result_shape(self):
        shape = self.image_shape if PROJECTORS[self.name][0] else (len(self.angles), self.n_detectors)
        return (len(self.values), *shape)

    def work(self):
        """Number of updates."""
        return len(self.values) * len(self.angles) * max(self.n_detectors, int(np.prod(self.image_shape)))

    def packed(self):
        operation, footprint = PROJECTORS[self.name]
        sizes = (len(self.values), *self.image_shape, len(self.angles), self.n_detectors, len(self.center))
        tables = np.concatenate([[self.spacing], self.angles, self.center.ravel()]).astype(np.float64)
        return header(self, operation, footprint, *sizes) + tables.tobytes() + self.values.numpy().tobytes()

    def expected(self):
        sizes = self.image_shape if PROJECTORS[self.name][0] else (self.n_detectors,)
        geometry = torch.from_numpy(self.angles), torch.from_numpy(self.center), self.spacing
        return getattr(operators(), self.name)(self.values.double(), *geometry, *sizes)


def header(request, operation, *numbers):
    found = np.zeros(16, np.int64)
    found[:3] = operation, KINDS_OF_VALUES[request.values.dtype], request.max_blocks
    found[3 : 3 + len(numbers)] = numbers
    return found.tobytes()


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


@dataclass(frozen=True)
class PatchRequest:
    """One call of extract_patches or stitch_patches, on three axes."""

    name: str
    values: torch.Tensor
    extents: tuple[int, int, int]
    indices: tuple[np.ndarray, ...]  # of each axis, (count, size)
    weights: tuple[np.ndarray, ...] | None
    max_blocks: int = UNLIMITED

    @property
    def shapes(self):
        """Counts and sizes of the axes."""
        return tuple(zip(*(index.shape for index in self.indices), strict=True))

    def result_shape(self):
        counts, sizes = self.shapes
        shape = self.extents if self.name == "stitch_patches" else (int(np.prod(counts)), *sizes)
        return (len(self.values), *shape)

    def work(self):
        return int(np.prod(self.result_shape()))

    def packed(self):
        counts, sizes = self.shapes
        numbers = (len(self.values), self.weights is not None, *self.extents, *counts, *sizes)
        tables = b"".join(index.astype(np.int32).tobytes() for index in self.indices)
        tables += b"".join(weight.astype(np.float64).tobytes() for weight in self.weights or ())
        return header(self, PATCHES[self.name], *numbers) + tables + self.values.numpy().tobytes()

    def expected(self):
        counts, sizes = self.shapes
        index = torch.from_numpy(np.concatenate([index.ravel() for index in self.indices]).astype(np.int32))
        weight = None
        if self.weights is not None:
            weight = torch.from_numpy(np.concatenate([weight.ravel() for weight in self.weights]))
        shape = self.extents if self.name == "stitch_patches" else sizes
        return getattr(operators(), self.name)(self.values.double(), index, weight, counts, shape)


def make_patch_request(rng, name, n_images, dtype, weighted, *, extents=None, **rest):
    """Any element of a patch may read any pixel, or none."""
    extents = extents or tuple(int(n) for n in rng.integers(1, 20, 3))
    shapes = [tuple(int(n) for n in rng.integers(1, 7, 2)) for _ in extents]
    indices = tuple(rng.integers(-1, n, shape) for n, shape in zip(extents, shapes, strict=True))
    weights = tuple(rng.uniform(0.1, 1, shape) for shape in shapes) if weighted else None
    counts, sizes = zip(*shapes, strict=True)
    shape = extents if name == "extract_patches" else (int(np.prod(counts)), *sizes)
    values = torch.from_numpy(rng.uniform(-1, 1, (n_images, *shape))).to(dtype)
    return PatchRequest(name, values, extents, indices, weights, **rest)


@dataclass(frozen=True)
class MedianRequest:
    """One call of sliding_median."""

    values: torch.Tensor
    size: int
    max_blocks: int = UNLIMITED
    name: str = "sliding_median"

    def result_shape(self):
        return tuple(self.values.shape)

    def work(self):
        bits = 8 * self.values.element_size()
        return bits * self.values.numel() * min(self.size, 3 * self.values.shape[1])

    def packed(self):
        return header(self, 4, *self.values.shape, self.size) + self.values.numpy().tobytes()

    def expected(self):
        return operators().sliding_median(self.values.double(), self.size)


def make_median_request(rng, shape, size, dtype, **rest):
    """Many values are equal; some are infinite."""
    values = torch.from_numpy(rng.normal(0, 1, shape).round(1) * 10.0 ** rng.integers(-4, 5)).to(dtype)
    values[torch.from_numpy(rng.random(shape) < 0.05)] = torch.inf
    return MedianRequest(values, size, **rest)


def random_request(rng):
    """One call of any operator with anything that it takes, in a size that runs in milliseconds."""
    dtype = list(TOLERANCES)[rng.integers(3)]
    max_blocks = int(rng.choice([1, 2, 5, UNLIMITED]))
    kind = rng.choice(["projector", "projector", "projector", "patches", "median"])
    if kind == "patches":
        name, weighted = str(rng.choice(list(PATCHES))), bool(rng.random() < 0.5)
        return make_patch_request(rng, name, int(rng.integers(0, 4)), dtype, weighted, max_blocks=max_blocks)
    if kind == "median":
        shape = tuple(int(n) for n in (rng.integers(0, 4), rng.integers(1, 30), rng.integers(1, 140)))
        size = 2 * int(rng.choice([rng.integers(0, 9), rng.integers(0, 200)])) + 1
        return make_median_request(rng, shape, size, dtype, max_blocks=max_blocks)
    rows, columns, n_detectors = (int(n) for n in rng.integers(1, 24, 3))
    spacing = float(rng.choice([1.0, rng.uniform(0.2, 1), rng.uniform(1, 2.5), rng.uniform(2.5, 12)]))
    n_slices, angles = int(rng.integers(0, 11)), rng.uniform(-7, 7, rng.integers(1, 9))
    quarters = rng.random(angles.shape) < 0.1
    angles[quarters] = np.pi / 4 * rng.integers(-8, 9, quarters.sum())
    rest = {"spacing": spacing, "dtype": dtype, "max_blocks": max_blocks}
    rest |= {"shift": rng.uniform(-0.4, 0.4) * n_detectors, "own": bool(n_slices and rng.random() < 0.2)}
    name = str(rng.choice(list(PROJECTORS)))
    return make_request(rng, name, n_slices, (rows, columns), n_detectors, angles, **rest)


def emulate(requests, folder, kind="plain", order="forward", profile=None):
    """The result of every request; fails on any report of the emulator or a sanitizer."""
    (folder / "requests").write_bytes(b"".join(request.packed() for request in requests))
    program = build("run_kernels.cpp", kind)
    done = run(program, folder / "requests", folder / "results", order=order, profile=profile)
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
    """Every result against the CPU's; returns the largest error, in tolerances."""
    worst = 0.0
    for request, result in zip(requests, results, strict=True):
        expected = request.expected()
        assert result.shape == expected.shape, request
        if not expected.numel():
            continue
        if request.name == "sliding_median":  # one of the values, so it is exact
            assert torch.equal(result.double(), expected), request
            continue
        error = float((result.double() - expected).abs().max())
        tolerance = TOLERANCES[result.dtype]
        if (
            result.dtype != torch.float64
        ):  # a pixel coordinate has 24 bits behind the point: that over spacing in detectors
            tolerance += 2 * 2**-24 / getattr(request, "spacing", 1.0)
        error /= tolerance * max(1.0, float(expected.abs().max()))
        assert error <= 1, (error, request)  # NaN, of a pixel that was not written, fails too
        worst = max(worst, error)
    return worst

"""The CUDA kernels and their launchers, run on the CPU by the emulator, against the operators of the CPU."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from emulated import (
    PATCHES,
    PROJECTORS,
    TOLERANCES,
    check,
    emulate,
    make_median_request,
    make_patch_request,
    make_request,
    random_request,
)
from emulator.building import CXX, ROOT, build, lines_not_reached
from torch._subclasses.fake_tensor import FakeTensorMode

from tomolearn.ops import _register, extract_patches, radon, radon_adjoint, stitch_patches
from tomolearn.ops._register import operators

pytestmark = pytest.mark.slow
with_compiler = pytest.mark.skipif(shutil.which(CXX[0]) is None, reason="needs a C++ compiler")
SIZES = (1, 15, 16, 17, 37, 64)
DTYPES = list(TOLERANCES)


def angles_of(n):
    """Some of both classes of rays, multiples of a quarter turn and of half of one among them."""
    return np.concatenate([np.deg2rad([0, 90, 45, -135]), np.linspace(-4, 3, max(n - 4, 0))])[:n]


def projector_requests(rng, name):
    """Sizes around a tile, batches around a group, non-square, off centre, all kinds of values."""
    for k, size in enumerate(SIZES):
        shape = (size, size) if k % 2 else (size, 5 + size // 2)
        shift = 0.3 * size if k in (1, 4) else -0.2
        angles = angles_of(70 if size == 15 else 9)  # 70: more than one chunk of the shared table
        n_slices, dtype = (1, 3, 9)[k % 3], DTYPES[(k + k // 3) % 3]
        yield make_request(rng, name, n_slices, shape, size + k, angles, shift=shift, dtype=dtype)
    for dtype in DTYPES:
        yield make_request(rng, name, 0, (16, 16), 16, angles_of(3), dtype=dtype)
        yield make_request(rng, name, 33, (18, 16), 17, angles_of(3), dtype=dtype)
        yield make_request(rng, name, 9, (17, 12), 20, angles_of(9), dtype=dtype, max_blocks=2)
        yield make_request(rng, name, 1, (9, 20), 15, angles_of(5), spacing=0.4, dtype=dtype)
        yield make_request(rng, name, 3, (12, 13), 6, angles_of(5), spacing=3.7, dtype=dtype, own=True)
    # Small enough for ThreadSanitizer: more than one chunk of angles, and more than one tile for a block.
    yield make_request(rng, name, 2, (3, 2), 4, angles_of(70))
    yield make_request(rng, name, 1, (17, 3), 33, angles_of(10), max_blocks=1)
    yield make_request(rng, name, 2, (16, 16), 8, angles_of(3), shift=1e6)  # the image misses the detector
    yield make_request(rng, name, 2, (20, 8), 11, [np.pi / 2], spacing=100.0)  # one class of rays only
    yield make_request(rng, name, 2, (3, 4), 300, [0.1], spacing=0.01)


def patch_requests(rng):
    for name in PATCHES:
        for k, size in enumerate(SIZES):
            extents = (1 + k, size, 65 - size)
            yield make_patch_request(rng, name, (1, 3)[k % 2], DTYPES[k % 3], k % 2 == 0, extents=extents)
        for n_images in (0, 1, 3, 33):
            for dtype in DTYPES:
                for weighted in (False, True):
                    max_blocks = int(rng.choice([1, 2**31 - 1]))
                    yield make_patch_request(rng, name, n_images, dtype, weighted, max_blocks=max_blocks)


def median_requests(rng):
    """Windows inside the axis, beyond it, and longer than it many times; lanes around a block."""
    shapes = [(0, 5, 4), (1, 1, 1), (3, 15, 17), (1, 37, 129), (2, 64, 1), (33, 16, 2)]
    for k, shape in enumerate(shapes):
        for size in (1, 3, 21, 301):
            yield make_median_request(rng, shape, size, DTYPES[(k + size) % 3], max_blocks=(5, 2**31 - 1)[k % 2])
    yield from (make_median_request(rng, (2, 9, 5), 5, dtype) for dtype in DTYPES)


@pytest.fixture(scope="module")
def requests():
    rng = np.random.default_rng(0)
    projectors = [request for name in PROJECTORS for request in projector_requests(rng, name)]
    return [*projectors, *patch_requests(rng), *median_requests(rng)]


@pytest.fixture(scope="module")
def forward(requests, tmp_path_factory):
    """The results in the forward order of threads, and the profile of that run."""
    profile = tmp_path_factory.mktemp("profile")
    return emulate(requests, tmp_path_factory.mktemp("forward"), profile=profile), profile


@with_compiler
def test_kernels_agree_with_the_cpu(requests, forward):
    check(requests, forward[0])


@with_compiler
@pytest.mark.parametrize(("order", "max_blocks"), [("reverse", 3), ("random:1", None)])
def test_results_do_not_depend_on_the_order_of_threads_or_the_number_of_blocks(
    requests, forward, tmp_path, order, max_blocks
):
    same = [replace(request, max_blocks=max_blocks or request.max_blocks) for request in requests]
    for request, a, b in zip(requests, forward[0], emulate(same, tmp_path, order=order), strict=True):
        assert torch.equal(a, b), request


@with_compiler
@pytest.mark.parametrize(("kind", "most"), [("address", 60_000), ("thread", 6_000)])
def test_sanitizers_have_nothing_to_report(requests, tmp_path, kind, most):
    small = [request for request in requests if request.work() < most]
    names = [*PROJECTORS, *PATCHES, "sliding_median"]
    assert {(r.name, r.values.dtype) for r in small} == {(name, dtype) for name in names for dtype in DTYPES}
    check(small, emulate(small, tmp_path, kind=kind, order="random:2"))


@with_compiler
def test_random_calls_agree_with_the_cpu(tmp_path):
    requests = [random_request(np.random.default_rng(seed)) for seed in range(100)]
    check(requests, emulate(requests, tmp_path))
    small = [request for request in requests[:30] if request.work() < 12_000]
    check(small, emulate(small, tmp_path, kind="address", order="random:3"))


@with_compiler
@pytest.mark.skipif(shutil.which("gcov") is None, reason="needs gcov")
def test_emulation_reaches_every_line_of_the_kernels_and_launchers(requests, forward, tmp_path):
    program, sources = build("run_kernels.cpp", "plain"), sorted((ROOT / "csrc" / "cuda").glob("*.cuh"))
    found = lines_not_reached(program, forward[1])
    names = {str(path.relative_to(ROOT)) for path in sources}
    assert names <= set(found), f"emulation compiles no line of {names - set(found)}"
    wanting = {name: lines for name, lines in found.items() if lines}
    assert not wanting, f"lines that no emulated call reaches (add one above): {wanting}"
    emulate([request for request in requests if request.name == "stitch_patches"], tmp_path, profile=tmp_path)
    assert lines_not_reached(program, tmp_path)["csrc/cuda/projector_kernels.cuh"]  # what is not run is noticed


# ------------------------------------------------------------------------------------- what the CPU can tell of devices


def test_shapes_are_known_on_a_cuda_device():
    ops = operators()
    angles, center = torch.zeros(5, dtype=torch.float64), torch.zeros(1, 5, dtype=torch.float64)
    with FakeTensorMode(allow_non_fake_inputs=True):
        images, projections = torch.empty(2, 8, 9, device="cuda"), torch.empty(2, 5, 7, device="cuda")
        found = [getattr(ops, name)(images, angles, center, 1.0, 7) for name in ("radon", "backproject_adjoint")]
        assert [(tuple(x.shape), x.device.type) for x in found] == [((2, 5, 7), "cuda")] * 2
        found = [
            getattr(ops, name)(projections, angles, center, 1.0, 8, 9) for name in ("radon_adjoint", "backproject")
        ]
        found.append(ops.sliding_median(images, 3))
        assert [(tuple(x.shape), x.device.type) for x in found] == [((2, 8, 9), "cuda")] * 3


def test_the_functions_of_python_take_cuda_tensors(monkeypatch):
    monkeypatch.setattr(_register, "has_kernels", lambda device_type: True)  # as in a build for CUDA
    with FakeTensorMode(allow_non_fake_inputs=True):
        images = torch.empty(2, 8, 9, device="cuda")
        projections = radon(images, np.linspace(0, 3, 5))
        patches = extract_patches(images, (4, 4), stride=(2, 2))
        stitched = stitch_patches(patches, (8, 9), stride=(2, 2))
        found = (projections, radon_adjoint(projections, np.linspace(0, 3, 5), image_shape=(8, 9)), patches, stitched)
        assert {x.device.type for x in found} == {"cuda"}


def test_gradients_stay_on_the_device_of_the_values():
    # A device without memory or kernels: a copy to the processor would be an error. Torch without CUDA has no autograd
    # for CUDA tensors.
    images = torch.empty(2, 8, 9, device="meta", requires_grad=True)
    projections = radon(images, np.linspace(0, 3, 5))
    stitched = stitch_patches(extract_patches(images, (4, 4), stride=(2, 2)), (8, 9), stride=(2, 2))
    (gradient,) = torch.autograd.grad(stitched.sum() + projections.sum(), images)
    assert (gradient.shape, gradient.device.type) == (images.shape, "meta")

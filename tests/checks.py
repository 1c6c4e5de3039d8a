"""The laws of linear operators, and the registry of all operators that must obey them.

`OPERATORS` lists one entry for every operator of csrc/ops.cpp (test_laws.py fails if one is missing). An entry draws
random geometries, so that each law is tried on shapes, centres and angles that nobody thought of.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from reference import system_matrix
from reference_fourier import adjoint_matrix

from tomolearn.ops._register import operators
from tomolearn.ops.fourier import KERNEL_WIDTHS, fourier_plan, transform_length

RIGHT_ANGLES = np.deg2rad([0, 90, 180, 270, 45, 135, -45, 225, 30, 60])


@dataclass(frozen=True)
class Case:
    """One operator with its geometry fixed: a linear map between stacks of two shapes, and its exact transpose."""

    forward: Callable
    adjoint: Callable
    domain: tuple[int, ...]  # of one slice
    range: tuple[int, ...]
    op: Callable  # the registered operator and its arguments after the first: for opcheck
    arguments: tuple
    matrix: Callable | None = None  # slow truth: dense matrix (range, domain)
    rounding: float = 1  # how much more float32 loses: transforms round what they sum, and much of it is then cropped


def draw_beam(rng, small=False):
    """A random scan: half with exact multiples of 15 degrees; narrow, unit and wide bins; axes off the middle."""
    size = 12 if small else 60
    rows, columns, n_detectors = (int(v) for v in rng.integers(1, size, 3))
    n_angles = int(rng.integers(1, 5 if small else 16))
    angles = rng.permutation(RIGHT_ANGLES)[:n_angles] if rng.random() < 0.5 else rng.uniform(-7, 7, n_angles)
    n_angles = len(angles)
    center = (n_detectors - 1) / 2 + rng.uniform(-0.3, 0.3, n_angles if rng.random() < 0.3 else 1) * n_detectors
    center = np.broadcast_to(center, (1, n_angles)).copy()
    spacing = float(rng.choice([1.0, rng.uniform(0.2, 1), rng.uniform(1, 2.5), rng.uniform(2.5, 12)]))
    return (rows, columns), n_detectors, angles, center, spacing


def _radon_like(forward, adjoint, footprint, transposed):
    def draw(rng, small=False):
        shape, n_detectors, angles, center, spacing = draw_beam(rng, small)
        geometry = torch.from_numpy(angles.copy()), torch.from_numpy(center), spacing
        ops = operators()

        def project(x):
            return getattr(ops, forward)(x, *geometry, n_detectors)

        def back(y):
            return getattr(ops, adjoint)(y, *geometry, *shape)

        def matrix():
            return system_matrix(angles, n_detectors, shape, center[0], spacing, footprint)

        data = (len(angles), n_detectors)
        if transposed:
            return Case(back, project, data, shape, getattr(ops, adjoint), (*geometry, *shape), lambda: matrix().T)
        return Case(project, back, shape, data, getattr(ops, forward), (*geometry, n_detectors), matrix)

    return draw


def _fourier(transposed):
    def draw(rng, small=False):
        shape, n_detectors, angles, center, spacing = draw_beam(rng, small=small or rng.random() < 0.7)
        # Else points fall on the edges between cells, where rounding decides to which side they belong.
        spacing *= rng.uniform(1, 1.1)
        n_fft = transform_length(angles, n_detectors, shape, spacing, center)
        plan = fourier_plan(
            angles,
            n_detectors,
            shape,
            detector_spacing=spacing,
            n_fft=n_fft,
            response=rng.uniform(0, 1, n_fft // 2 + 1),
            gain=rng.uniform(0.5, 1, len(angles)),
            padding=str(rng.choice(["zero", "edge"])),
            kernel_width=int(rng.choice(KERNEL_WIDTHS)),
        )
        center = torch.from_numpy(center)
        arguments = (plan.index, plan.rays, center, plan.tables, plan.sizes)

        def project(x):
            return plan.project(x, center)

        def back(y):
            return plan.adjoint(y, center)

        def matrix():
            return adjoint_matrix(plan, center[0].numpy())

        data, ops = (len(angles), n_detectors), operators()
        if transposed:
            return Case(back, project, data, shape, ops.fourier_adjoint, arguments, matrix, 10)
        return Case(project, back, shape, data, ops.fourier_project, arguments, lambda: matrix().T, 10)

    return draw


def _draw_table(rng, extent, weighted):
    """One axis of a grid of patches: any pixel may be read by any element, in runs of both directions or at random."""
    count, size = (int(v) for v in rng.integers(1, 4, 2))
    if rng.random() < 0.7:
        step = rng.choice([-1, 1], (count, 1))
        index = rng.integers(-1, extent, (count, 1)) + step * np.arange(size)
        index = np.where((index < 0) | (index >= extent), -1, index)
    else:
        index = rng.integers(-1, extent, (count, size))
    weight = rng.uniform(0.1, 1, (count, size)) if weighted else np.ones((count, size))
    return index, weight, weight[..., None] * (index[..., None] == np.arange(extent))


def _patches(transposed):
    def draw(rng, small=False):
        weighted, n_axes = rng.random() < 0.5, int(rng.integers(2, 4))
        image_shape = tuple(int(v) for v in rng.integers(1, 5 if small or n_axes == 3 else 12, n_axes))
        indices, weights, matrices = zip(*(_draw_table(rng, n, weighted) for n in image_shape), strict=True)
        counts, patch_shape = zip(*(index.shape for index in indices), strict=True)
        tables = (
            torch.from_numpy(np.concatenate([index.ravel() for index in indices]).astype(np.int32)),
            torch.from_numpy(np.concatenate([weight.ravel() for weight in weights])) if weighted else None,
        )
        ops = operators()

        def extract(x):
            return ops.extract_patches(x, *tables, counts, patch_shape)

        def stitch(y):
            return ops.stitch_patches(y, *tables, counts, image_shape)

        def matrix():
            product = np.einsum("pjy,qkx->pqjkyx" if n_axes == 2 else "oiz,pjy,qkx->opqijkzyx", *matrices)
            return product.reshape(-1, np.prod(image_shape))

        data = (int(np.prod(counts)), *patch_shape)
        if transposed:
            arguments = (*tables, counts, image_shape)
            return Case(stitch, extract, data, image_shape, ops.stitch_patches, arguments, lambda: matrix().T)
        return Case(extract, stitch, image_shape, data, ops.extract_patches, (*tables, counts, patch_shape), matrix)

    return draw


# name of the operator in csrc/ops.cpp -> a function that draws a Case
OPERATORS = {
    "radon": _radon_like("radon", "radon_adjoint", "line", transposed=False),
    "radon_adjoint": _radon_like("radon", "radon_adjoint", "line", transposed=True),
    "backproject": _radon_like("backproject_adjoint", "backproject", "pixel", transposed=True),
    "backproject_adjoint": _radon_like("backproject_adjoint", "backproject", "pixel", transposed=False),
    "fourier_project": _fourier(transposed=False),
    "fourier_adjoint": _fourier(transposed=True),
    "extract_patches": _patches(transposed=False),
    "stitch_patches": _patches(transposed=True),
}
NOT_LINEAR = {"simd_level", "sliding_median"}
ON_THE_CPU_ONLY = {"fourier_project", "fourier_adjoint"}


def uniform(rng, shape, dtype=torch.float64, device="cpu"):
    return torch.from_numpy(rng.uniform(-1, 1, shape)).to(device, dtype)


def dot_error(case, x, y):
    """|<Ax, y> - <x, A'y>| / (||Ax|| ||y||), or over ||x|| ||A'y|| where that is larger; sums in float64."""
    ax, aty = case.forward(x).double(), case.adjoint(y).double()
    x, y = x.double(), y.double()
    scale = max(float(ax.norm() * y.norm()), float(x.norm() * aty.norm()))
    return abs(float((ax * y).sum() - (x * aty).sum())) / scale if scale else 0.0


def check_dot(case, rng, n_slices, dtype, bound, device="cpu"):
    x, y = (uniform(rng, (n_slices, *shape), dtype, device) for shape in (case.domain, case.range))
    error = dot_error(case, x, y)
    assert error <= bound * (case.rounding if dtype == torch.float32 else 1), error


def check_linear(case, rng, device="cpu"):
    a, b = (uniform(rng, (3, *case.domain), device=device) for _ in range(2))
    whole = case.forward(2 * a - 3 * b)
    parts = 2 * case.forward(a) - 3 * case.forward(b)
    torch.testing.assert_close(whole, parts, rtol=0, atol=1e-12 * max(1.0, float(parts.abs().max())))


def check_slow_reference(case, rng, n_slices, dtype, tolerance, device="cpu"):
    x = uniform(rng, (n_slices, *case.domain), dtype, device)
    truth = (x.double().cpu().numpy().reshape(n_slices, -1) @ case.matrix().T).reshape(n_slices, *case.range)
    error = np.abs(case.forward(x).double().cpu().numpy() - truth).max(initial=0)
    assert error <= tolerance * max(np.abs(truth).max(initial=0), 1e-3), (error, n_slices)


def check_layouts(case, rng, device="cpu"):
    """Non-contiguous and expanded input gives what a contiguous copy gives; empty stacks give empty stacks."""
    x = uniform(rng, (4, *case.domain), torch.float32, device)
    strided = torch.stack([x, -x], -1)[..., 0]
    torch.testing.assert_close(case.forward(strided), case.forward(x), rtol=0, atol=0)
    torch.testing.assert_close(
        case.forward(x[:1].expand_as(x)), case.forward(x[:1].expand_as(x).contiguous()), rtol=0, atol=0
    )
    assert case.forward(x[:0]).shape == (0, *case.range)


def check_threads(case, rng, n_slices):
    """One thread gives the bits that two and three give."""
    x = uniform(rng, (n_slices, *case.domain), torch.float32)
    torch.set_num_threads(1)
    one = case.forward(x)
    for threads in (2, 3):
        torch.set_num_threads(threads)
        assert torch.equal(case.forward(x), one), threads


def check_gradients(case, rng, device="cpu"):
    """Gradients, gradients of gradients, and what torch.compile needs to know."""
    x = uniform(rng, (2, *case.domain), device=device).requires_grad_()
    assert torch.autograd.gradcheck(case.forward, x)
    assert torch.autograd.gradgradcheck(case.forward, x)
    x = uniform(rng, (2, *case.domain), device=device).requires_grad_()
    torch.library.opcheck(case.op, (x, *case.arguments))


def check_vmap(case, rng, device="cpu"):
    x = uniform(rng, (3, 2, *case.domain), device=device)
    torch.testing.assert_close(torch.func.vmap(case.forward)(x), torch.stack([case.forward(v) for v in x]))


def check_devices(case, rng, n_slices, dtype, tolerance, device):
    """A device gives what the processor gives, where the data are, and the same bits each time."""
    x = uniform(rng, (n_slices, *case.domain), dtype)
    there = case.forward(x.to(device))
    assert there.device.type == torch.device(device).type and there.dtype == dtype
    assert torch.equal(there, case.forward(x.to(device)))
    here = case.forward(x).double()
    error = float((there.cpu().double() - here).abs().max()) if here.numel() else 0.0
    assert error <= tolerance * max(float(here.abs().max()) if here.numel() else 0.0, 1e-3), (error, n_slices)


def check_half(case, rng, device="cpu"):
    """Half precision is what is stored, not what is summed in: the error is that of rounding input and output."""
    x = uniform(rng, (3, *case.domain), torch.float16, device)
    wide = case.forward(x.float())
    error = (case.forward(x).float() - wide).abs().max()
    assert error <= 2**-10 * max(float(wide.abs().max()), 1e-3)

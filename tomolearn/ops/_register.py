"""Shapes for torch.compile (fake kernels) and gradients of the compiled operators.

All of them are linear, so the gradient of each is its partner, and gradients of gradients need nothing more.
"""

from functools import cache

import torch

from tomolearn._extension import has_kernels, load_operators
from tomolearn.exceptions import ExtensionError
from tomolearn.ops._register_fourier import register_fourier
from tomolearn.ops._register_patches import register_patches

__all__ = ["check_device", "operators"]

_PARTNERS = {"radon": "radon_adjoint", "backproject": "backproject_adjoint"}


@cache
def operators():
    """``torch.ops.tomolearn``, loaded at first use, with fake kernels, gradients and vmap rules registered."""
    ops = load_operators()
    for name, size in (("radon", 1), ("backproject_adjoint", 1), ("radon_adjoint", 2), ("backproject", 2)):
        torch.library.register_fake(f"tomolearn::{name}", _fake_projections if size == 1 else _fake_images)
    partners = _PARTNERS | {adjoint: name for name, adjoint in _PARTNERS.items()}
    for name, partner in partners.items():
        torch.library.register_autograd(
            f"tomolearn::{name}", _gradient(getattr(ops, partner)), setup_context=_remember_geometry
        )
        torch.library.register_vmap(f"tomolearn::{name}", _vmap(getattr(ops, name)))
    register_fourier(ops)
    register_patches(ops)
    torch.library.register_fake("tomolearn::sliding_median", lambda input, size: torch.empty_like(input))
    return ops


def check_device(stack) -> None:
    """Raise where a tensor is on a device that the operators were not built for, with more to say than torch has."""
    if stack.is_cuda and not has_kernels("cuda"):
        raise ExtensionError(
            "the operators of tomolearn were built without CUDA kernels, and the data are on a CUDA device. Build them "
            "with FORCE_CUDA=1 where a CUDA toolkit is, or work on the processor: device='cpu', or data.cpu()."
        )


def _fake_projections(images, angles, center, spacing, n_detectors):
    return images.new_empty(images.shape[0], angles.shape[0], n_detectors)


def _fake_images(projections, angles, center, spacing, rows, columns):
    return projections.new_empty(projections.shape[0], rows, columns)


def _remember_geometry(ctx, inputs, output):
    stack, ctx.angles, ctx.center, ctx.spacing, *shape = inputs
    ctx.n_sizes = len(shape)
    # The partner makes the stack's own shape: (rows, columns), or the detectors alone.
    ctx.sizes = stack.shape[1:] if len(shape) == 1 else stack.shape[2:]


def _gradient(partner):
    def backward(ctx, grad):
        result = partner(grad, ctx.angles, ctx.center, ctx.spacing, *ctx.sizes)
        return result, None, None, None, *([None] * ctx.n_sizes)

    return backward


def _vmap(op):
    def rule(info, in_dims, stack, angles, center, spacing, *shape):
        if in_dims[1] is not None or in_dims[2] is not None or center.shape[0] != 1:
            raise NotImplementedError("vmap maps over images or projections only, with one geometry for all slices.")
        stack = stack.movedim(in_dims[0], 0)
        out = op(stack.flatten(0, 1), angles, center, spacing, *shape)
        return out.unflatten(0, stack.shape[:2]), 0

    return rule

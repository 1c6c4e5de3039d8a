"""Shapes, gradients and vmap rules of `fourier_project` and `fourier_adjoint`."""

import torch

__all__ = ["register_fourier"]


def register_fourier(ops):
    """Register what torch.compile, autograd and vmap need to know; called once, by `tomolearn.ops._register`."""
    torch.library.register_fake("tomolearn::fourier_project", _fake_projections)
    torch.library.register_fake("tomolearn::fourier_adjoint", _fake_images)
    pair = {"fourier_project": ops.fourier_adjoint, "fourier_adjoint": ops.fourier_project}
    for name, partner in pair.items():
        torch.library.register_autograd(f"tomolearn::{name}", _gradient(partner), setup_context=_remember_plan)
        torch.library.register_vmap(f"tomolearn::{name}", _vmap(getattr(ops, name)))


def _fake_projections(images, index, rays, center, tables, sizes):
    return images.new_empty(images.shape[0], index.shape[1], sizes[0])


def _fake_images(projections, index, rays, center, tables, sizes):
    return projections.new_empty(projections.shape[0], sizes[2], sizes[3])


def _remember_plan(ctx, inputs, output):
    _, *tables, ctx.sizes = inputs
    ctx.save_for_backward(*tables)


def _gradient(partner):
    def backward(ctx, grad):
        return partner(grad, *ctx.saved_tensors, ctx.sizes), None, None, None, None, None

    return backward


def _vmap(op):
    def rule(info, in_dims, stack, index, rays, center, tables, sizes):
        if any(dim is not None for dim in in_dims[1:5]) or center.shape[0] != 1:
            raise NotImplementedError("vmap maps over images or projections only, with one geometry for all slices.")
        stack = stack.movedim(in_dims[0], 0)
        return op(stack.flatten(0, 1), index, rays, center, tables, sizes).unflatten(0, stack.shape[:2]), 0

    return rule

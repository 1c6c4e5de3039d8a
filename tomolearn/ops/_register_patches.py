"""Shapes, gradients and vmap rules of `extract_patches` and `stitch_patches`."""

import math

import torch

__all__ = ["register_patches"]


def register_patches(ops):
    """Register what torch.compile, autograd and vmap need to know; called once, by `tomolearn.ops._register`."""
    torch.library.register_fake("tomolearn::extract_patches", _fake_patches)
    torch.library.register_fake("tomolearn::stitch_patches", _fake_images)
    pair = {"extract_patches": (ops.stitch_patches, 1), "stitch_patches": (ops.extract_patches, 2)}
    for name, (partner, n_leading) in pair.items():
        torch.library.register_autograd(
            f"tomolearn::{name}", _gradient(partner), setup_context=_remember_tables(n_leading)
        )
        torch.library.register_vmap(f"tomolearn::{name}", _vmap(getattr(ops, name)))


def _fake_patches(images, index, weight, counts, patch_shape):
    return images.new_empty(images.shape[0], math.prod(counts), *patch_shape)


def _fake_images(patches, index, weight, counts, image_shape):
    return patches.new_empty(patches.shape[0], *image_shape)


def _remember_tables(n_leading):
    def setup_context(ctx, inputs, output):
        stack, index, weight, ctx.counts, _ = inputs
        ctx.save_for_backward(index, weight)
        ctx.shape = stack.shape[n_leading:]  # of an image or of a patch: the partner's last argument

    return setup_context


def _gradient(partner):
    def backward(ctx, grad):
        # Half precision is copied as it is, but summed in float32; autograd rounds the sum to the dtype of the input.
        wide = grad if grad.dtype in (torch.float32, torch.float64) else grad.float()
        return partner(wide, *ctx.saved_tensors, ctx.counts, ctx.shape), None, None, None, None

    return backward


def _vmap(op):
    def rule(info, in_dims, stack, index, weight, counts, shape):
        if in_dims[1] is not None or in_dims[2] is not None:
            raise NotImplementedError("vmap maps over images or patches only, with the same tables for all of them.")
        stack = stack.movedim(in_dims[0], 0)
        return op(stack.flatten(0, 1), index, weight, counts, shape).unflatten(0, stack.shape[:2]), 0

    return rule

"""Slow truths for patches, written from the definitions with numpy.pad and loops over the positions."""

import itertools

import numpy as np


def patch_starts(n_pixels, size, stride):
    """0, stride, 2 stride ... up to the first patch that reaches the end of the axis; all start inside it."""
    starts = [0]
    while starts[-1] + size < n_pixels and starts[-1] + stride < n_pixels:
        starts.append(starts[-1] + stride)
    return starts


def _positions(image_shape, patch_shape, stride):
    """Slices of every patch into the padded image, row-major; and how much the image is padded."""
    starts = [patch_starts(*axis) for axis in zip(image_shape, patch_shape, stride, strict=True)]
    pad = [(0, max(s[-1] + p - n, 0)) for s, p, n in zip(starts, patch_shape, image_shape, strict=True)]
    windows = [
        tuple(slice(a, a + p) for a, p in zip(corner, patch_shape, strict=True))
        for corner in itertools.product(*starts)
    ]
    return windows, pad


def extract_patches(image, patch_shape, stride, padding="reflect"):
    """Patches (P, *patch_shape) of one image or volume."""
    windows, pad = _positions(image.shape, patch_shape, stride)
    padded = np.pad(image, pad, mode="reflect" if padding == "reflect" else "constant")
    return np.stack([padded[window] for window in windows])


def blend_window(patch_shape, blend):
    """Weights (*patch_shape) of the elements of a patch."""
    window = np.ones(())
    for size in patch_shape:
        j = np.arange(size)
        axis = {
            "none": np.ones(size),
            "hann": 0.5 * (1 - np.cos(2 * np.pi * (j + 0.5) / size)),
            "gaussian": np.exp(-((j - (size - 1) / 2) ** 2) / (2 * (size / 8) ** 2)),
        }[blend]
        window = window[..., None] * axis
    return window


def stitch_patches(patches, image_shape, stride, padding="reflect", blend="none", normalize=True):
    """One image or volume from its patches (P, *patch_shape), in float64."""
    patch_shape = patches.shape[1:]
    windows, pad = _positions(image_shape, patch_shape, stride)
    pixel = np.arange(np.prod(image_shape)).reshape(image_shape)
    if normalize or padding == "zero":
        pixel = np.pad(pixel, pad, constant_values=-1)
    else:
        pixel = np.pad(pixel, pad, mode="reflect")
    weight = blend_window(patch_shape, blend)
    total, weights = np.zeros(np.prod(image_shape)), np.zeros(np.prod(image_shape))
    for patch, window in zip(patches, windows, strict=True):
        inside = pixel[window] >= 0
        np.add.at(total, pixel[window][inside], (weight * patch)[inside])
        np.add.at(weights, pixel[window][inside], weight[inside])
    return (total / weights if normalize else total).reshape(image_shape)

"""Overlapping patches of images and volumes: cut them out, and put them together again; differentiable.

Patches lie on a regular grid that starts at pixel 0, so everything factors into one table for each axis: which pixel an
element of a patch reads, and with what weight. Edge rule, blending and its normalisation are entries of these tables,
and the compiled pair of operators below them is one matrix and its exact transpose.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch

from tomolearn._validation import as_tensor, check_choice, check_integer, check_shape
from tomolearn.ops._register import operators

__all__ = ["extract_patches", "patch_grid_shape", "stitch_patches"]

_PADDINGS = ("reflect", "zero")


def _hann(size):
    return np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2


def _gaussian(size):
    return np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / (size / 8)) ** 2)


_WINDOWS: dict[str, Callable] = {"none": np.ones, "hann": _hann, "gaussian": _gaussian}


def patch_grid_shape(image_shape, patch_shape, *, stride=None, overlap=None):
    """Number of patches along each axis.

    The first patch starts at pixel 0, each next one ``stride`` further, and the last one is the first that reaches the
    image's end: ``ceil(max(N - patch, 0) / stride) + 1`` patches for N pixels. So every pixel lies in a patch where
    ``stride <= patch``. Where there are gaps, patches that would start beyond the image are left out.

    Parameters
    ----------
    image_shape : tuple of two or three int
        Pixels of the image (rows, columns) or of the volume (slices, rows, columns).
    patch_shape : tuple of int
        Pixels of a patch, as many axes.
    stride : int or tuple of int, default=None
        Pixels from one patch to the next; None: ``patch_shape - overlap``.
    overlap : int or tuple of int, default=None
        Pixels that neighbours share, the other way to say ``stride``; None: 0.

    Returns
    -------
    tuple of int
        Their product is the number of patches P of `extract_patches`.

    Raises
    ------
    ValueError, TypeError
        If an argument has a wrong length, range or type, or both ``stride`` and ``overlap`` are given.

    Examples
    --------
    >>> from tomolearn.ops.patches import patch_grid_shape
    >>> patch_grid_shape((4096, 4096), (256, 256), stride=192)
    (21, 21)
    """
    patch_shape = _check_axes(patch_shape, "patch_shape")
    image_shape = check_shape(image_shape, "image_shape", len(patch_shape))
    return _counts(image_shape, patch_shape, _strides(patch_shape, stride, overlap))


def extract_patches(images, patch_shape, *, stride=None, overlap=None, padding="reflect"):
    """Overlapping patches of images or volumes.

    Parameters
    ----------
    images : array-like or Tensor of shape (rows, columns) or (n, rows, columns)
        With three numbers in ``patch_shape``: volumes, (slices, rows, columns) or (n, slices, rows, columns). Real
        numbers of any dtype up to 64 bits, byte order and stride.
    patch_shape : tuple of two or three int
        Pixels of a patch.
    stride : int or tuple of int, default=None
        Pixels from one patch to the next; None: ``patch_shape - overlap``. More than ``patch_shape`` leaves gaps.
    overlap : int or tuple of int, default=None
        Pixels that neighbours share, the other way to say ``stride``; None: 0.
    padding : {"reflect", "zero"}, default="reflect"
        What lies beyond the last pixel, where the last patch reaches over it: the image mirrored without repeating its
        last pixel, as in ``numpy.pad``, or zeros.

    Returns
    -------
    ndarray or Tensor of shape (P, *patch_shape) or (n, P, *patch_shape)
        A copy, of the same kind and dtype as ``images``. The P positions are in row-major order; `patch_grid_shape`
        says how many there are along each axis.

    Raises
    ------
    ValueError
        If an argument has a wrong shape or range, or a patch reaches further beyond the image than there is to reflect.
    TypeError
        If ``images`` does not hold real numbers of at most 64 bits.

    See Also
    --------
    stitch_patches : The way back.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.ops import extract_patches
    >>> extract_patches(np.arange(15, dtype=np.uint8).reshape(3, 5), (3, 3), overlap=1)
    array([[[ 0,  1,  2],
            [ 5,  6,  7],
            [10, 11, 12]],
           [[ 2,  3,  4],
            [ 7,  8,  9],
            [12, 13, 14]]], dtype=uint8)
    """
    patch_shape = _check_axes(patch_shape, "patch_shape")
    stack, restore = _as_it_is(images)
    single = _is_single(stack, "images", len(patch_shape), 0, f"patch_shape {patch_shape}")
    stack = stack[None] if single else stack
    image_shape = check_shape(stack.shape[1:], "the shape of images", len(patch_shape))
    strides = _strides(patch_shape, stride, overlap)
    counts = _counts(image_shape, patch_shape, strides)
    tables = _tables(image_shape, patch_shape, strides, counts, check_choice(padding, "padding", _PADDINGS))
    patches = operators().extract_patches(stack, *tables, counts, patch_shape)
    return restore(patches[0] if single else patches)


def stitch_patches(patches, image_shape, *, stride=None, overlap=None, padding="reflect", blend="none", normalize=True):
    """Images or volumes from their overlapping patches: the inverse of `extract_patches`, or its exact transpose.

    With ``normalize``, every pixel is the mean of the patch elements that lie on it, weighted by the blend window, and
    what lies beyond the image is dropped: ``stitch_patches(extract_patches(x))`` is ``x`` for every blend. Without, it
    is their weighted sum, and elements beyond the image are added to the pixel that ``padding`` copied them from: with
    ``blend="none"`` the exact transpose of `extract_patches`.

    Parameters
    ----------
    patches : array-like or Tensor of shape (P, *patch_shape) or (n, P, *patch_shape)
        In the order of `extract_patches`. Real numbers of any dtype, byte order and stride.
    image_shape : tuple of two or three int
        Rows and columns of the images, or slices, rows and columns of the volumes.
    stride : int or tuple of int, default=None
        Pixels from one patch to the next; None: ``patch_shape - overlap``.
    overlap : int or tuple of int, default=None
        Pixels that neighbours share, the other way to say ``stride``; None: 0.
    padding : {"reflect", "zero"}, default="reflect"
        What `extract_patches` was given. Matters only where ``normalize`` is false.
    blend : {"none", "hann", "gaussian"}, default="none"
        Weight of element j of a patch of p pixels, multiplied over the axes: 1; ``sin(pi (j + 1/2) / p)**2``, the Hann
        window [1]_ sampled at the middle of the pixels, hence nowhere zero; ``exp(-(j - (p - 1) / 2)**2 / (2 s**2))``
        with ``s = p / 8`` [2]_.
    normalize : bool, default=True
        Divide by the sum of the weights.

    Returns
    -------
    ndarray or Tensor of shape image_shape or (n, *image_shape)
        The same kind and floating dtype as ``patches`` (integers give float32).

    Raises
    ------
    ValueError
        If an argument has a wrong shape or range, the number of patches is not that of the grid, or patches leave
        pixels uncovered that would have to be normalised.
    TypeError
        If ``patches`` does not hold real numbers.

    See Also
    --------
    extract_patches : The way there.

    References
    ----------
    .. [1] N. Pielawski and C. Wählby, "Introducing Hann windows for reducing edge-effects in patch-based image
       segmentation", PLoS ONE 15 (2020) e0229839, DOI 10.1371/journal.pone.0229839.
    .. [2] F. Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image
       segmentation", Nature Methods 18 (2021) 203, DOI 10.1038/s41592-020-01008-z.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.ops import extract_patches, stitch_patches
    >>> image = np.random.default_rng(0).random((100, 70))
    >>> patches = extract_patches(image, (32, 32), overlap=8)
    >>> patches.shape
    (12, 32, 32)
    >>> bool(np.allclose(stitch_patches(patches, image.shape, overlap=8, blend="hann"), image))
    True
    """
    image_shape = _check_axes(image_shape, "image_shape")
    stack, restore = as_tensor(patches, "patches")
    single = _is_single(stack, "patches", len(image_shape), 1, f"image_shape {image_shape}")
    stack = stack[None] if single else stack
    patch_shape = check_shape(stack.shape[2:], "the shape of patches, after their number,", len(image_shape))
    strides = _strides(patch_shape, stride, overlap)
    counts = _counts(image_shape, patch_shape, strides)
    if stack.shape[1] != math.prod(counts):
        raise ValueError(
            f"patches must be as many as the grid has positions; got {stack.shape[1]}, but image_shape {image_shape} "
            f"with patches of {patch_shape} and stride {strides} has {' x '.join(map(str, counts))} = "
            f"{math.prod(counts)}. Give the image_shape and the stride or overlap of extract_patches."
        )
    check_choice(padding, "padding", _PADDINGS)
    check_choice(blend, "blend", _WINDOWS)
    if normalize:
        _check_coverage(image_shape, patch_shape, strides)
        padding = "drop"
    tables = _tables(image_shape, patch_shape, strides, counts, padding, blend, normalize)
    images = operators().stitch_patches(stack, *tables, counts, image_shape)
    return restore(images[0] if single else images)


def _tables(*grid):
    """What the operators take: for each axis in turn, the pixel that every element reads, and its weight (None: 1)."""
    index, weight = _arrays(*grid)
    return torch.from_numpy(index), None if weight is None else torch.from_numpy(weight)


@lru_cache(maxsize=64)  # arrays, because tensors made while torch traces a function must not be kept
def _arrays(image_shape, patch_shape, strides, counts, padding, blend="none", normalize=False):
    indices, weights = [], []
    for axis, (n_pixels, size, stride, count) in enumerate(zip(image_shape, patch_shape, strides, counts, strict=True)):
        position = stride * np.arange(count)[:, None] + np.arange(size)
        inside = position < n_pixels
        mirrored = 2 * (n_pixels - 1) - position
        if padding == "reflect" and mirrored[-1, -1] < 0:
            raise ValueError(
                f"padding='reflect' can extend axis {axis} of the image, {n_pixels} pixels, by {n_pixels - 1} pixels "
                f"at most; patches of {size} pixels need {position[-1, -1] + 1 - n_pixels}. Use a smaller patch_shape "
                "or padding='zero'."
            )
        index = np.where(inside, position, mirrored if padding == "reflect" else -1)
        weight = np.broadcast_to(_WINDOWS[blend](size), index.shape)
        if normalize:
            total = np.bincount(position[inside], weights=weight[inside], minlength=n_pixels)
            weight = weight / np.where(inside, total[np.minimum(position, n_pixels - 1)], 1)
        indices.append(index.ravel())
        weights.append(weight.ravel())
    table = np.concatenate(weights)
    return np.concatenate(indices).astype(np.int32), None if (table == 1).all() else table


def _counts(image_shape, patch_shape, strides):
    return tuple(
        # The second number is the smaller one only where stride > size.
        min(-(-max(n_pixels - size, 0) // stride) + 1, -(-n_pixels // stride))
        for n_pixels, size, stride in zip(image_shape, patch_shape, strides, strict=True)
    )


def _strides(patch_shape, stride, overlap):
    n_axes = len(patch_shape)
    if overlap is None:
        return patch_shape if stride is None else _per_axis(stride, "stride", n_axes, low=1)
    if stride is not None:
        raise ValueError(
            f"stride and overlap are two ways to say the same: give one of them; got stride={stride!r} and "
            f"overlap={overlap!r}."
        )
    overlaps = _per_axis(overlap, "overlap", n_axes, low=0)
    if any(shared >= size for shared, size in zip(overlaps, patch_shape, strict=True)):
        raise ValueError(
            f"overlap must be less than patch_shape along every axis; got overlap={overlap!r} for patches of "
            f"{patch_shape}. Use a smaller overlap or larger patches."
        )
    return tuple(size - shared for shared, size in zip(overlaps, patch_shape, strict=True))


def _per_axis(value, name, n_axes, low):
    values = tuple(value) if isinstance(value, Sequence | np.ndarray) else (value,) * n_axes
    if len(values) != n_axes:
        raise ValueError(f"{name} must be one integer or {n_axes}, one for each axis of a patch; got {value!r}.")
    return tuple(check_integer(v, name, low=low) for v in values)


def _check_axes(shape, name):
    n_axes = len(shape) if isinstance(shape, Sequence | np.ndarray) else 0
    if n_axes not in (2, 3):
        raise ValueError(f"{name} must be 2 positive integers for images or 3 for volumes; got {shape!r}.")
    return check_shape(shape, name, n_axes)


def _is_single(tensor, name, n_axes, n_more, reason):
    """Whether the stack's axis is absent. ``n_more``: axes between it and the image's."""
    lowest = n_axes + n_more
    if tensor.ndim not in (lowest, lowest + 1):
        raise ValueError(
            f"{name} must have {lowest} or {lowest + 1} dimensions with {reason}; got {tensor.ndim} (shape "
            f"{tuple(tensor.shape)})."
        )
    return tensor.ndim == lowest


def _check_coverage(image_shape, patch_shape, strides):
    for axis, (n_pixels, size, stride) in enumerate(zip(image_shape, patch_shape, strides, strict=True)):
        starts = range(size, n_pixels, stride) if stride > size else ()
        gaps = [(start, min(start + stride - size, n_pixels) - 1) for start in starts]
        if gaps:
            shown = ", ".join(f"{a}..{b}" if b > a else str(a) for a, b in gaps[:3]) + (", ..." if gaps[3:] else "")
            raise ValueError(
                f"stride must not exceed the patches where normalize=True: with stride {stride} no patch of {size} "
                f"pixels covers the pixels {shown} of axis {axis}. Extract with stride <= {size}, or use "
                "normalize=False, which leaves them zero."
            )


def _as_it_is(images):
    """The tensor of ``images`` in its own dtype, which the copy keeps, and the function that restores the kind."""
    if isinstance(images, torch.Tensor):
        if images.is_complex() or images.element_size() > 8:
            raise TypeError(f"images must hold real numbers of at most 64 bits; got dtype {images.dtype}.")
        return images, lambda result: result
    array = np.asarray(images)
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise TypeError(f"images must hold real numbers of at most 64 bits; got dtype {array.dtype}.")
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    if not array.flags.writeable:  # torch would warn, and could not promise to leave the memory alone
        array = array.copy()
    return torch.from_numpy(array), lambda result: result.numpy()

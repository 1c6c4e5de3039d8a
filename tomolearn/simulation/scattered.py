"""Squares, discs and their outlines, scattered without overlap: images with labels, to denoise and to segment."""

import numpy as np
from sklearn.utils import check_random_state

from tomolearn._validation import check_integer, check_real
from tomolearn.base.memory import check_memory
from tomolearn.simulation._arguments import check_pair

__all__ = ["scattered_shapes"]

TRIES = 256  # places that are tried for a shape before an image is begun again
STARTS = 50
OUTLINE = 0.25  # width of an outline as a part of the size of its shape


def scattered_shapes(n_images, size=64, *, n_shapes=24, shape_size=None, amplitude=(0.2, 1.0), random_state=None):
    """Images of squares, outlined squares, discs and rings that do not overlap, and what each pixel shows.

    The four kinds take turns; each shape has a grey value of its own, on a background of 0. With normal noise of 0.5
    these are images of superres-tomo's denoising task, and at 1,280 pixels and with noise of 0.3 of its segmentation.

    Parameters
    ----------
    n_images : int
    size : int, default=64
        Rows and columns, at least 16.
    n_shapes : int, default=24
        Of an image.
    shape_size : int, default=None
        Rows and columns of a shape; None: an eighth of ``size``.
    amplitude : tuple of two float, default=(0.2, 1.0)
        Range of the grey values, above 0.
    random_state : int, RandomState instance or None, default=None
        Image k of a seed is the same, however many there are.

    Returns
    -------
    images : ndarray of shape (n_images, size, size), float32
    labels : ndarray of shape (n_images, size, size), uint8
        0: background; 1: square; 2: outlined square; 3: disc; 4: ring, without what it encloses.

    Raises
    ------
    ValueError, TypeError
        If a number is out of its range or not a number, or so many shapes do not fit.
    MemoryBudgetError
        If the images do not fit into memory.

    References
    ----------
    The recipe of the examples of superres-tomo, https://github.com/keeeto/super-resolution-ml.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.simulation import scattered_shapes
    >>> clean, labels = scattered_shapes(2, random_state=0)
    >>> noisy = clean + np.random.default_rng(0).normal(0, 0.5, clean.shape).astype(np.float32)
    >>> clean.shape, np.unique(labels)
    ((2, 64, 64), array([0, 1, 2, 3, 4], dtype=uint8))
    """
    n_images, size = check_integer(n_images, "n_images", low=1), check_integer(size, "size", low=16)
    n_shapes = check_integer(n_shapes, "n_shapes", low=1)
    extent = size // 8 if shape_size is None else check_integer(shape_size, "shape_size", low=2, high=size)
    low, high = check_pair(amplitude, "amplitude", check_real, {"low": 0, "open_low": True})
    check_memory(5.0 * n_images * size**2, f"{n_images} images", "Take fewer by n_images.")
    stamps = _stamps(extent)
    seed = check_random_state(random_state).randint(0, 2**31 - 1)
    images, labels = np.zeros((n_images, size, size), np.float32), np.zeros((n_images, size, size), np.uint8)
    for k, (image, label) in enumerate(zip(images, labels, strict=True)):
        rng = np.random.default_rng((seed, k))
        for number, (row, column) in enumerate(_places(size, extent, n_shapes, rng)):
            kind = number % len(stamps)
            box = slice(row, row + extent), slice(column, column + extent)
            image[box][stamps[kind]] = rng.uniform(low, high)
            label[box][stamps[kind]] = kind + 1
    return images, labels


def _places(size, extent, n_shapes, rng):
    """Corners (n_shapes, 2) of boxes of ``extent`` pixels that do not overlap."""
    for _ in range(STARTS):
        corners = np.empty((0, 2), int)
        while len(corners) < n_shapes:
            tried = rng.integers(0, size - extent + 1, size=(TRIES, 2))
            free = (np.abs(tried[:, None] - corners) >= extent).any(2).all(1)
            if not free.any():
                break
            corners = np.concatenate([corners, tried[free.argmax()][None]])
        else:
            return corners
    raise ValueError(
        f"n_shapes={n_shapes} shapes of {extent} x {extent} pixels must fit an image of {size} x {size} without "
        "overlap; no places for them were found. Lower n_shapes or shape_size."
    )


def _stamps(extent):
    """The pixels of each kind of shape in its box."""
    axis = np.arange(extent) - (extent - 1) / 2
    width = max(1, round(OUTLINE * extent / 2))
    radius = np.hypot(axis[:, None], axis)
    edge = np.maximum(np.abs(axis)[:, None], np.abs(axis)) > extent / 2 - width
    disc = radius <= extent / 2
    return np.ones((extent, extent), bool), edge, disc, disc & (radius > extent / 2 - width)

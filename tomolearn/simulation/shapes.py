"""Random shapes: the training images of superres-tomo's reconstruction networks."""

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.utils import check_random_state

from tomolearn._validation import check_integer, check_real
from tomolearn.base import check_memory
from tomolearn.simulation._arguments import check_pair

__all__ = ["KINDS", "random_shapes"]

KINDS = ("rectangle", "circle", "triangle", "ellipse")
GREYS = 255
MARGIN = 5  # pixels between the circle that holds the shapes and the border
BLOCK = 256  # images drawn at a time
DRAWS = 7  # random numbers of a shape


def random_shapes(
    n_images, size=64, *, n_shapes=(3, 10), shape_size=(3, 10), smoothing=1.0, image_photons=None, random_state=None
):
    """Images of some random shapes within a circle.

    Rectangles, circles, triangles and ellipses of random grey values lie one over the other on a dark background; the
    image is cut to a circle, smoothed, and divided by its maximum.

    Parameters
    ----------
    n_images : int
    size : int, default=64
        Rows and columns, at least 16.
    n_shapes : tuple of two int, default=(3, 10)
        Fewest and most shapes of an image.
    shape_size : tuple of two float, default=(3, 10)
        Least and largest extent of a shape in pixels.
    smoothing : float, default=1.0
        Standard deviation in pixels of the Gaussian that the image is smoothed with; 0: none.
    image_photons : float, default=None
        What superres-tomo does: Poisson noise on the image itself before it is smoothed, with so many counts at its
        maximum (there 256). Its sinograms then show an object that is noisy, and no noise. None: no noise; put it on
        the sinograms by `add_photon_noise`.
    random_state : int, RandomState instance or None, default=None
        Image k of a seed is the same, however many there are.

    Returns
    -------
    ndarray of shape (n_images, size, size), float32
        In [0, 1], zero outside the circle of radius ``size / 2 - 5``.

    Raises
    ------
    ValueError, TypeError
        If a number is out of its range or not a number.
    MemoryBudgetError
        If the images do not fit into memory.

    References
    ----------
    The recipe of LibShapes in superres-tomo, https://github.com/keeeto/super-resolution-ml.

    Examples
    --------
    >>> from tomolearn.simulation import random_shapes
    >>> images = random_shapes(3, 64, random_state=0)
    >>> images.shape, images.dtype, float(images.max())
    ((3, 64, 64), dtype('float32'), 1.0)
    """
    n_images, size = check_integer(n_images, "n_images", low=1), check_integer(size, "size", low=16)
    fewest, most = check_pair(n_shapes, "n_shapes", check_integer, {"low": 1})
    extent = check_pair(shape_size, "shape_size", check_real, {"low": 1, "high": size})
    smoothing = check_real(smoothing, "smoothing", low=0, high=size)
    if image_photons is not None:
        image_photons = check_real(image_photons, "image_photons", low=0, open_low=True)
    check_memory(4.0 * n_images * size**2, f"{n_images} images", "Take fewer by n_images.")
    shape_seed, noise_seed = check_random_state(random_state).randint(0, 2**31 - 1, size=2)
    shapes, noise = np.random.default_rng(shape_seed), np.random.default_rng(noise_seed)
    images = np.empty((n_images, size, size), np.float32)
    for start in range(0, n_images, BLOCK):
        block = images[start : start + BLOCK]
        draws = shapes.random((len(block), 1 + DRAWS * most))
        counts = fewest + np.floor(draws[:, 0] * (most - fewest + 1)).astype(int)
        _draw(block, draws[:, 1:].reshape(len(block), most, DRAWS), counts, extent)
        _finish(block, smoothing, image_photons, noise)
    return images


def _draw(images, draws, counts, extent):
    """Paint the shapes over each other; ``draws``: (n, most, DRAWS) in [0, 1)."""
    size = images.shape[1]
    kind = np.floor(draws[:, :, 0] * len(KINDS)).astype(int)
    low, high = extent
    width, height = (low + (high - low) * draws[:, :, k] for k in (1, 2))
    square = np.isin(kind, [KINDS.index("circle"), KINDS.index("triangle")])
    height = np.where(square, width, height)
    turn = np.pi * draws[:, :, 3]
    reach = np.where(kind == KINDS.index("ellipse"), np.maximum(width, height), width) / 2
    rise = np.where(kind == KINDS.index("ellipse"), reach, height / 2)
    x = reach + draws[:, :, 4] * (size - 1 - 2 * reach)  # wholly inside the image
    y = rise + draws[:, :, 5] * (size - 1 - 2 * rise)
    grey = np.floor(draws[:, :, 6] * GREYS)
    images[:] = 1.0  # the background, of 255
    axis = np.arange(size, dtype=np.float32)
    for k in range(draws.shape[1]):
        for number in range(len(KINDS)):
            which = np.flatnonzero((kind[:, k] == number) & (k < counts))
            w, h, angle, cx, cy = (
                value[which, k, None, None].astype(np.float32) for value in (width, height, turn, x, y)
            )
            inside = _INSIDE[KINDS[number]](axis[None, None, :] - cx, axis[None, :, None] - cy, w, h, angle)
            images[which] = np.where(inside, grey[which, k, None, None].astype(np.float32), images[which])


def _inside_rectangle(u, v, w, h, angle):
    return (np.abs(u) <= w / 2) & (np.abs(v) <= h / 2)


def _inside_circle(u, v, w, h, angle):
    return u * u + v * v <= w * w / 4


def _inside_triangle(u, v, w, h, angle):
    return (np.abs(v) <= h / 2) & (np.abs(u) <= (v + h / 2) / h * w / 2)


def _inside_ellipse(u, v, w, h, angle):
    c, s = np.cos(angle), np.sin(angle)
    return ((c * u + s * v) / w) ** 2 + ((c * v - s * u) / h) ** 2 <= 0.25


_INSIDE = dict(zip(KINDS, (_inside_rectangle, _inside_circle, _inside_triangle, _inside_ellipse), strict=True))


def _finish(images, smoothing, photons, noise):
    """Cut to the circle, noise and smoothing, each image divided by its maximum."""
    size = images.shape[1]
    r = np.hypot(*np.mgrid[:size, :size] - (size - 1) / 2)
    images[:, r > size // 2 - MARGIN] = 0
    _normalise(images)
    if photons is not None:
        images[:] = noise.poisson(images.astype(np.float64) * photons) / photons
        _normalise(images)
    if smoothing > 0:
        images[:] = gaussian_filter(images, (0, smoothing, smoothing))
        images[:, r > size // 2 - MARGIN] = 0
        _normalise(images)


def _normalise(images):
    peak = images.max(axis=(1, 2), keepdims=True)
    images /= np.where(peak > 0, peak, 1)

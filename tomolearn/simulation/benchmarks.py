"""DIVal's standard data set ``ellipses``, made anew: what published figures of reconstruction networks refer to."""

from typing import NamedTuple

import numpy as np
import torch

from tomolearn._validation import check_choice, check_integer
from tomolearn.base import check_memory
from tomolearn.geometry import as_radians
from tomolearn.ops import radon
from tomolearn.simulation.ellipses import ellipse_image

__all__ = ["EllipsesBenchmark", "make_ellipses_benchmark"]

SIZE, FINE, N_ANGLES, N_DETECTORS = 128, 400, 30, 183
WIDTH = 2 * 64 * np.sqrt(2)  # of the detector in pixels of the image: its diagonal
MOST, MEAN = 70, 40  # ellipses of an image
NOISE = 0.025  # standard deviation over the mean absolute value of the sinogram
PARTS = {
    "train": (32_000, 42, 1),
    "validation": (3_200, 2, 2),
    "test": (3_200, 1, 3),
}  # pairs, seeds of image and noise
BLOCK = 64  # images projected at a time


class EllipsesBenchmark(NamedTuple):
    """Pairs of sinograms and images, and the scan that connects them.

    Parameters
    ----------
    sinograms : ndarray of shape (n, 30, 183), float32
        With noise.
    images : ndarray of shape (n, 128, 128), float32
        In [0, 1].
    clean : ndarray of shape (n, 30, 183), float32
        The sinograms without noise.
    angles : ndarray of shape (30,), float64
        In radians, in the orientation of `tomolearn`.
    detector_spacing : float
        In pixels of the image.

    Examples
    --------
    >>> from tomolearn.simulation import EllipsesBenchmark
    >>> EllipsesBenchmark._fields
    ('sinograms', 'images', 'clean', 'angles', 'detector_spacing')
    """

    sinograms: np.ndarray
    images: np.ndarray
    clean: np.ndarray
    angles: np.ndarray
    detector_spacing: float


def make_ellipses_benchmark(part, n=None, *, start=0):
    """Pairs of DIVal's standard data set ``ellipses``, in its order.

    Each image is the sum of up to 70 random ellipses, shifted and scaled to [0, 1]. It is enlarged to 400 x 400 pixels
    before it is projected, so that no method reconstructs on the grid that made its data.

    Parameters
    ----------
    part : {"train", "validation", "test"}
        Of 32000, 3200 and 3200 pairs; each has seeds of its own.
    n : int, default=None
        How many pairs; None: all from ``start`` on.
    start : int, default=0
        The first of them.

    Returns
    -------
    EllipsesBenchmark

    Raises
    ------
    ValueError, TypeError
        If the part has no such pairs.
    MemoryBudgetError
        If they do not fit into memory.

    Notes
    -----
    Values agree with those that DIVal makes, images to 1e-6 and sinograms to 0.1 % (its projector is another one). The
    first axis of its images points along x: read as rows, as here, the angles are a quarter turn less than DIVal's.

    References
    ----------
    J. Leuschner, M. Schmidt and D. Erzmann, Deep Inversion Validation Library, DOI 10.5281/zenodo.3970516.

    Examples
    --------
    >>> from tomolearn import FBPReconstructor, psnr
    >>> from tomolearn.simulation import make_ellipses_benchmark
    >>> data = make_ellipses_benchmark("validation", 2)
    >>> fbp = FBPReconstructor(
    ...     filter="hann", angles=data.angles, detector_spacing=data.detector_spacing, image_shape=(128, 128)
    ... )
    >>> bool(psnr(data.images[0], fbp.fit_transform(data.sinograms)[0], data_range=1) > 15)
    True
    """
    check_choice(part, "part", tuple(PARTS))
    size, image_seed, noise_seed = PARTS[part]
    start = check_integer(start, "start", low=0, high=size - 1)
    n = size - start if n is None else check_integer(n, "n", low=1, high=size - start)
    check_memory(
        4.0 * n * (SIZE**2 + 2 * N_ANGLES * N_DETECTORS), f"{n} pairs", "Take fewer by n, and others by start."
    )
    images = np.empty((n, SIZE, SIZE), np.float32)
    clean = np.empty((n, N_ANGLES, N_DETECTORS), np.float32)
    draws, noise = np.random.RandomState(image_seed), np.random.RandomState(noise_seed)  # noqa: NPY002 - DIVal's
    for _ in range(start):  # the generators of an image run on from those before it
        _draw(draws)
        noise.normal(size=clean.shape[1:])
    for k in range(n):
        images[k] = _image(_draw(draws))
    angles = as_radians((np.arange(N_ANGLES) + 0.5) * np.pi / N_ANGLES - np.pi / 2, "rad")
    for first in range(0, n, BLOCK):
        clean[first : first + BLOCK] = _project(images[first : first + BLOCK], angles)
    sinograms = clean.copy()
    for sinogram in sinograms:
        sinogram += (NOISE * np.abs(sinogram).mean() * noise.normal(size=sinogram.shape)).astype(np.float32)
    return EllipsesBenchmark(sinograms, images, clean, angles, WIDTH / N_DETECTORS)


def _draw(random):
    """Value, half axes, centre (x, y) and rotation of the ellipses of one image, on the square [-1, 1]^2."""
    value = random.uniform(-0.4, 1.0, MOST)
    a, b = (0.2 * random.exponential(1.0, MOST) for _ in range(2))
    x, y = (random.uniform(-0.9, 0.9, MOST) for _ in range(2))
    rotation = random.uniform(0.0, 2 * np.pi, MOST)
    count = min(random.poisson(MEAN), MOST)
    return np.column_stack([value, a, b, x, y, rotation])[:count]


def _image(ellipses):
    scale = (SIZE - 1) / 2  # the outermost pixels have their centres on the border of the square
    value, a, b, x, y, rotation = ellipses.T
    # Their x runs along the rows of the array, downwards, and their y to the right.
    table = np.column_stack([value, scale * a, scale * b, scale * y, -scale * x, rotation - np.pi / 2])
    image = ellipse_image(table, (SIZE, SIZE), supersampling=1)
    shown = image != 0
    if shown.any():
        image[shown] -= image[shown].min()
        image /= image.max() or 1.0
    return image


def _project(images, angles):
    enlarged = torch.nn.functional.interpolate(
        torch.from_numpy(images)[:, None], size=(FINE, FINE), mode="bilinear", align_corners=False
    )[:, 0]
    pixel = SIZE / FINE
    sinograms = radon(
        enlarged, angles, n_detectors=N_DETECTORS, detector_spacing=WIDTH / pixel / N_DETECTORS, angle_unit="rad"
    )
    return sinograms.numpy() * np.float32(pixel)

"""Libraries of images and their sinograms on disk, in the format of superres-tomo."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import torch
from sklearn.utils import check_random_state
from tqdm.auto import tqdm

from tomolearn._validation import check_finite, check_integer, check_real
from tomolearn.exceptions import GeometryError
from tomolearn.geometry import as_radians, default_angles
from tomolearn.io._partial import Partial
from tomolearn.ops import radon
from tomolearn.simulation._arguments import check_angle_range, check_threads
from tomolearn.simulation.ellipses import ellipse_sinogram
from tomolearn.simulation.noise import add_gaussian_noise, add_photon_noise
from tomolearn.simulation.views import add_detector_defects

__all__ = ["write_library"]

BLOCK = 256  # pairs in memory at a time
CHUNK = 64  # pairs of one chunk in the file


def write_library(
    path,
    images,
    *,
    ellipses=None,
    n_angles=None,
    angles=None,
    angle_range=None,
    angle_unit=None,
    photons=None,
    absorption=2.0,
    gaussian_level=None,
    ring_strength=0.0,
    ring_fraction=0.1,
    n_dead=0,
    closed_turn=False,
    random_state=None,
    n_threads=None,
    overwrite=False,
    verbose=0,
):
    """Project images and write both as a library that superres-tomo and `tomolearn.io.open_library` read.

    The file holds ``Images`` (rows, columns, n), ``Sinograms`` (n_angles, n_detectors, n), ``ScaleFactor`` (n),
    ``Noise``, ``NImages`` and ``ImageSize``; and beside them the ``Angles`` in radians and, with ``n_dead``, ``Dead``
    (n_detectors, n), 1 where a pixel is dead. It appears when it is whole. The detector is as wide as an image.

    Parameters
    ----------
    path : path-like
        Of the HDF5 file.
    images : array-like or Source of shape (n, rows, columns)
        Read some at a time: larger than memory they may be, such as `natural_images`.
    ellipses : sequence of n array-like of shape (n_ellipses, 6), default=None
        Tables that the images show, such as those of `random_ellipses`: the sinograms are theirs, exact means over the
        width of a detector bin. None: the images themselves are projected.
    n_angles : int, default=None
        Projections, equally spaced over half a turn, the end excluded; few of them are sparse views. None: as many as
        an image has columns.
    angles : array-like of shape (n_angles,), default=None
        Instead of ``n_angles``.
    angle_range : tuple of two float, default=None
        Limited angle: the projections are spread from the first angle to the second, the end excluded, in
        ``angle_unit``. None: half a turn.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles`` and ``angle_range``; None means radians and is refused for values that look like degrees.
    photons : float, default=None
        Photons that fall on a detector cell in one exposure: the sinograms carry their noise. None: no photon noise.
    absorption : float, default=2.0
        With ``photons`` or ``ring_strength``: the line integral that the largest value of each sinogram stands for.
    gaussian_level : float, default=None
        Standard deviation of white noise as a share of the mean absolute value of each sinogram. None: none.
    ring_strength, ring_fraction : float, default=0.0 and 0.1
        Standard deviation of the error of the gain, and share of the pixels that have one; each sinogram has a
        detector of its own. See `add_detector_defects`.
    n_dead : int, default=0
        Dead pixels of each sinogram: their columns are 0.
    closed_turn : bool, default=False
        What superres-tomo does: the views reach from 0 to pi, both included, so that the last one repeats the first
        from the back. Not with ``angles`` or ``angle_range``.
    random_state : int, RandomState instance or None, default=None
        Source of noise and defects; those of pair k do not depend on the number of pairs or threads.
    n_threads : int, default=None
        That make sinograms and noise. None: as many as there are processors for this process.
    overwrite : bool, default=False
        Whether an existing file may be replaced.
    verbose : int, default=0
        1: a progress bar, on a terminal or in a notebook.

    Raises
    ------
    ValueError, TypeError
        If the images are not a stack, the tables not one for each, or a number is out of its range.
    GeometryError
        If both ``angles`` and what says the same are given, or the angles are not angles.
    FileExistsError
        If the file exists and ``overwrite`` is False.
    OSError
        If the disk is too full.

    References
    ----------
    The format of LibShapes in superres-tomo, https://github.com/keeeto/super-resolution-ml.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from tomolearn.io import open_library
    >>> from tomolearn.simulation import random_shapes, write_library
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "shapes.h5"
    >>> write_library(path, random_shapes(10, 32, random_state=0), photons=1e4, random_state=0)
    >>> images, sinograms = open_library(path)
    >>> images.shape, sinograms.shape
    ((10, 32, 32), (10, 32, 32))
    """
    images = images if hasattr(images, "shape") else np.asarray(images)
    if len(images.shape) != 3 or 0 in images.shape:
        raise ValueError(f"images must be (n, rows, columns), none of them zero; got shape {tuple(images.shape)}.")
    n, rows, columns = images.shape
    if ellipses is not None and len(ellipses) != n:
        raise ValueError(f"ellipses must hold one table for each of {n} images; got {len(ellipses)}.")
    angles = _angles(n_angles, angles, angle_range, angle_unit, closed_turn, columns)
    seeds = check_random_state(random_state).randint(0, 2**31 - 1, size=(n, 3))
    detector = _Detector(columns, photons, absorption, gaussian_level, ring_strength, ring_fraction, n_dead)
    project = _Projector(angles, columns, ellipses)
    shapes = {"Images": (rows, columns, n), "Sinograms": (len(angles), columns, n)}
    partial = Partial(Path(path))
    partial.claim()
    try:
        partial.check(4.0 * sum(np.prod(shape, dtype=float) for shape in shapes.values()), overwrite)
        partial.clear()
        with h5py.File(partial.data, "w") as file, ThreadPoolExecutor(check_threads(n_threads)) as pool:
            for name, shape in shapes.items():
                file.create_dataset(name, shape, np.float32, chunks=(*shape[:2], min(CHUNK, n)), track_times=False)
            file["ScaleFactor"], file["Angles"] = np.ones(n), angles
            file["Noise"], file["NImages"], file["ImageSize"] = int(detector.any), n, columns
            dead = np.zeros((columns, n), np.uint8)
            for start in tqdm(range(0, n, BLOCK), desc=partial.target.name, disable=None if verbose else True):
                block = np.array(images[start : start + BLOCK], np.float32)
                check_finite(torch.from_numpy(block), "images", f"Repair those from {start} on, or leave them out.")
                here = slice(start, start + len(block))
                sinograms = project(block, range(start, here.stop), pool)
                dead[:, here] = detector.measure(sinograms, seeds[here], pool)
                file["Images"][:, :, here] = np.moveaxis(block, 0, 2)
                file["Sinograms"][:, :, here] = np.moveaxis(sinograms, 0, 2)
            if detector.n_dead:
                file["Dead"] = dead
        partial.finish()
    except BaseException:
        partial.clear()
        raise
    finally:
        partial.release()


def _angles(n_angles, angles, angle_range, angle_unit, closed_turn, columns):
    if angles is not None:
        if n_angles is not None or angle_range is not None or closed_turn:
            raise GeometryError("angles says all: leave out n_angles, angle_range and closed_turn.")
        return as_radians(angles, angle_unit)
    n_angles = columns if n_angles is None else check_integer(n_angles, "n_angles", low=1)
    if angle_range is not None:
        if closed_turn:
            raise GeometryError("closed_turn is a turn from 0 to pi: leave out angle_range.")
        return np.linspace(*check_angle_range(angle_range, angle_unit), n_angles, endpoint=False)
    return np.linspace(0, np.pi, n_angles) if closed_turn else default_angles(n_angles)


class _Projector:
    """Sinograms of a block of images, or of the tables that belong to it."""

    def __init__(self, angles, n_detectors, ellipses):
        self._angles, self._n_detectors, self._ellipses = angles, n_detectors, ellipses

    def __call__(self, images, numbers, pool):
        if self._ellipses is None:
            return radon(images, self._angles, n_detectors=self._n_detectors, angle_unit="rad")
        sinograms = np.empty((len(images), len(self._angles), self._n_detectors), np.float32)

        def fill(k, number):
            sinograms[k] = ellipse_sinogram(
                self._ellipses[number], self._angles, self._n_detectors, bin_average=True, angle_unit="rad"
            )

        list(pool.map(fill, range(len(images)), numbers))
        return sinograms


def _random_state(seed):
    # Not of the default kind, whose seeding takes a quarter of the time of the noise of a small sinogram.
    return np.random.RandomState(np.random.PCG64(int(seed)))  # noqa: NPY002 - what scikit-learn takes


class _Detector:
    """Noise and faults; three seeds for each sinogram, so that one that is switched on does not move the others."""

    def __init__(self, n_detectors, photons, absorption, level, ring_strength, ring_fraction, n_dead):
        self.photons = None if photons is None else check_real(photons, "photons", low=0, open_low=True)
        self.absorption = check_real(absorption, "absorption", low=0, high=50, open_low=True)
        self.level = None if level is None else check_real(level, "gaussian_level", low=0, high=100)
        self.n_dead = check_integer(n_dead, "n_dead", low=0, high=n_detectors)
        self.rings = {
            "ring_strength": check_real(ring_strength, "ring_strength", low=0, high=1),
            "ring_fraction": check_real(ring_fraction, "ring_fraction", low=0, high=1),
        }
        self.faulty = self.n_dead > 0 or ring_strength > 0
        self.any = photons is not None or level is not None or self.faulty

    def measure(self, sinograms, seeds, pool):
        """Each sinogram becomes a measured one; returns which pixels are dead, (n_detectors, n)."""
        dead = np.zeros((sinograms.shape[2], len(sinograms)), bool)

        def spoil(k):
            sinograms[k], dead[:, k] = self._measured(sinograms[k], *map(_random_state, seeds[k]))

        if self.any:
            list(pool.map(spoil, range(len(sinograms))))
        return dead

    def _measured(self, sinogram, photon_state, level_state, fault_state):
        scale, dead = self.absorption / (sinogram.max() or 1.0), False
        if self.photons is not None:
            sinogram = add_photon_noise(sinogram * scale, self.photons, random_state=photon_state) / scale
        if self.level is not None:
            sinogram = add_gaussian_noise(sinogram, self.level, random_state=level_state)
        if self.faulty:
            sinogram, dead = add_detector_defects(
                sinogram * scale, n_dead=self.n_dead, random_state=fault_state, return_dead=True, **self.rings
            )
            sinogram = sinogram / scale
        return sinogram, dead

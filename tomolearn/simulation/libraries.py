"""Libraries of images and their sinograms on disk, in the format of superres-tomo."""

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
from tomolearn.simulation.noise import add_gaussian_noise, add_photon_noise

__all__ = ["write_library"]

BLOCK = 256  # pairs in memory at a time
CHUNK = 64  # pairs of one chunk in the file


def write_library(
    path,
    images,
    *,
    n_angles=None,
    angles=None,
    angle_unit=None,
    photons=None,
    absorption=2.0,
    gaussian_level=None,
    closed_turn=False,
    random_state=None,
    overwrite=False,
    verbose=0,
):
    """Project images and write both as a library that superres-tomo and `tomolearn.io.open_library` read.

    The file holds ``Images`` (rows, columns, n), ``Sinograms`` (n_angles, n_detectors, n), ``ScaleFactor`` (n),
    ``Noise``, ``NImages`` and ``ImageSize``, and the ``Angles`` in radians beside. It appears when it is whole.

    Parameters
    ----------
    path : path-like
        Of the HDF5 file.
    images : array-like or Source of shape (n, rows, columns)
        Read some at a time: larger than memory they may be.
    n_angles : int, default=None
        Projections, equally spaced over half a turn, the end excluded. None: as many as an image has columns.
    angles : array-like of shape (n_angles,), default=None
        Instead of ``n_angles``.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.
    photons : float, default=None
        Photons that fall on a detector cell in one exposure: the sinograms carry their noise. None: no photon noise.
    absorption : float, default=2.0
        With ``photons``: the line integral that the largest value of each sinogram stands for.
    gaussian_level : float, default=None
        Standard deviation of white noise as a share of the mean absolute value of each sinogram. None: none.
    closed_turn : bool, default=False
        What superres-tomo does: the views reach from 0 to pi, both included, so that the last one repeats the first
        from the back. Not with ``angles``.
    random_state : int, RandomState instance or None, default=None
        Source of the noise.
    overwrite : bool, default=False
        Whether an existing file may be replaced.
    verbose : int, default=0
        1: a progress bar, on a terminal or in a notebook.

    Raises
    ------
    ValueError, TypeError
        If the images are not a stack, or a number is out of its range.
    GeometryError
        If both ``angles`` and ``n_angles`` or ``closed_turn`` are given, or the angles are not angles.
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
    angles = _angles(n_angles, angles, angle_unit, closed_turn, columns)
    noise = _Noise(photons, absorption, gaussian_level, random_state)
    shapes = {"Images": (rows, columns, n), "Sinograms": (len(angles), columns, n)}
    partial = Partial(Path(path))
    partial.claim()
    try:
        partial.check(4.0 * sum(np.prod(shape, dtype=float) for shape in shapes.values()), overwrite)
        partial.clear()
        with h5py.File(partial.data, "w") as file:
            for name, shape in shapes.items():
                file.create_dataset(name, shape, np.float32, chunks=(*shape[:2], min(CHUNK, n)), track_times=False)
            file["ScaleFactor"], file["Angles"] = np.ones(n), angles
            file["Noise"], file["NImages"], file["ImageSize"] = int(noise.any), n, columns
            for start in tqdm(range(0, n, BLOCK), desc=partial.target.name, disable=None if verbose else True):
                block = np.array(images[start : start + BLOCK], np.float32)
                check_finite(torch.from_numpy(block), "images", f"Repair those from {start} on, or leave them out.")
                sinograms = radon(block, angles, n_detectors=columns, angle_unit="rad")
                file["Images"][:, :, start : start + len(block)] = np.moveaxis(block, 0, 2)
                file["Sinograms"][:, :, start : start + len(block)] = np.moveaxis(noise.add(sinograms), 0, 2)
        partial.finish()
    except BaseException:
        partial.clear()
        raise
    finally:
        partial.release()


def _angles(n_angles, angles, angle_unit, closed_turn, columns):
    if angles is not None:
        if n_angles is not None or closed_turn:
            raise GeometryError("angles says all: leave out n_angles and closed_turn.")
        return as_radians(angles, angle_unit)
    n_angles = columns if n_angles is None else check_integer(n_angles, "n_angles", low=1)
    return np.linspace(0, np.pi, n_angles) if closed_turn else default_angles(n_angles)


class _Noise:
    """Noise of the sinograms; one generator for all of them in turn."""

    def __init__(self, photons, absorption, level, random_state):
        self.photons = None if photons is None else check_real(photons, "photons", low=0, open_low=True)
        self.absorption = check_real(absorption, "absorption", low=0, high=50, open_low=True)
        self.level = None if level is None else check_real(level, "gaussian_level", low=0, high=100)
        self.any = photons is not None or level is not None
        self._random = check_random_state(random_state)

    def add(self, sinograms):
        if not self.any:
            return sinograms
        return np.stack([self._add(sinogram) for sinogram in sinograms])

    def _add(self, sinogram):
        if self.photons is not None:
            scale = self.absorption / (sinogram.max() or 1.0)
            sinogram = add_photon_noise(sinogram * scale, self.photons, random_state=self._random) / scale
        if self.level is not None:
            sinogram = add_gaussian_noise(sinogram, self.level, random_state=self._random)
        return sinogram

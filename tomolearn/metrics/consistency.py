"""Where images contradict the measured data: a check of what a denoiser has invented or erased."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tomolearn._validation import as_tensor, check_finite, check_real
from tomolearn.geometry import as_radians
from tomolearn.ops import backproject, radon

__all__ = ["Consistency", "consistency"]

AROUND = 2  # a structure is compared with what is around it, up to so many times its radius
NOISE_WINDOW = (15, 31)  # views and detectors that the noise is taken from
BLOCK = 4  # slices worked on at a time


@dataclass(frozen=True, eq=False)
class Consistency:
    """How images go with measured data, as `consistency` finds it.

    Parameters
    ----------
    map : ndarray of shape (n, rows, columns), float32
        For each pixel by how many standard deviations of the noise the data say that there is more (positive: something
        has been erased) or less (negative: something has been invented) than the image shows, for the size of structure
        for which that is most.
    threshold : float

    Attributes
    ----------
    fraction : float
        Part of the pixels whose ``map`` is beyond ``threshold`` on either side: of noise alone next to none.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.metrics import Consistency
    >>> Consistency(np.array([[[0.0, -7.0]]]), threshold=5.0).fraction
    0.5
    """

    map: np.ndarray
    threshold: float

    @property
    def fraction(self) -> float:
        """Part of the pixels whose ``map`` is beyond ``threshold``."""
        return float(np.mean(np.abs(self.map) > self.threshold))


def consistency(
    images,
    sinograms,
    angles,
    *,
    center=None,
    detector_spacing=1.0,
    angle_unit=None,
    radii=(1.5, 3.0, 6.0),
    threshold=5.0,
):
    """Project images and report where they contradict the measured data.

    What is left of the data when the projections of the images are taken away should be noise. It is searched for the
    projections of round structures: for each pixel and radius, the match with the projection of a disc there is summed
    over all rays, each weighted by its noise, and divided by what noise alone would give. The noise is estimated from
    differences of neighbouring detectors. Each structure is compared with what is around it, so that grey values that
    are off over large areas, which phase contrast, scatter or the denoiser may cause, do not count.

    Parameters
    ----------
    images : array-like of shape (n, rows, columns)
        Slices, in 1 / pixel.
    sinograms : array-like of shape (n, n_angles, n_detectors)
        The measured data: line integrals in pixel lengths, with the noise that they have.
    angles : array-like of shape (n_angles,)
        In any order and spacing.
    center : float or array-like, default=None
        Detector coordinate of the rotation axis, as in `tomolearn.ops.radon`; None: the middle of the detector.
    detector_spacing : float, default=1.0
        Width of a detector bin in pixels.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.
    radii : tuple of float, default=(1.5, 3.0, 6.0)
        Of the structures that are searched for, in pixels.
    threshold : float, default=5.0
        In standard deviations, for ``fraction``.

    Returns
    -------
    Consistency

    Raises
    ------
    GeometryError
        If angles or centre do not make a scan.
    ValueError, TypeError
        If shapes do not go together, values are not finite, or a number is out of its range.

    Notes
    -----
    Finds what is larger than about a pixel and stands out in the data. An edge that the denoiser has moved or blurred
    contradicts the data too. A structure that the data say nothing about, for want of views or of photons, is found
    neither way: no contradiction is no proof.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import consistency, radon
    >>> from tomolearn.geometry import default_angles
    >>> true = np.zeros((1, 64, 64), np.float32)
    >>> true[0, 20:44, 20:44] = 0.01
    >>> noise = np.random.default_rng(0).normal(0, 0.02, (1, 90, 64))
    >>> sinograms = radon(true, default_angles(90)) + noise.astype(np.float32)
    >>> erased = true.copy()
    >>> true[0, 30:34, 30:34], erased[0, 30:34, 30:34] = 0.01, 0.0
    >>> found = [consistency(images, sinograms, default_angles(90)) for images in (true, erased)]
    >>> [bool(np.abs(f.map).max() > 5) for f in found], bool(found[1].map[0, 31, 31] > 5)
    ([False, True], True)
    """
    images, sinograms = _array(images, "images"), _array(sinograms, "sinograms")
    if images.ndim != 3 or sinograms.ndim != 3 or len(images) != len(sinograms):
        raise ValueError(
            "images must be (n, rows, columns) and sinograms (n, n_angles, n_detectors) of the same slices; got "
            f"{images.shape} and {sinograms.shape}."
        )
    if 0 in images.shape or 0 in sinograms.shape or sinograms.shape[2] < 2:
        raise ValueError(
            "images and sinograms must not be empty and there must be 2 detectors, whose difference tells the noise; "
            f"got {images.shape} and {sinograms.shape}."
        )
    angles = as_radians(angles, angle_unit)
    if len(angles) != sinograms.shape[1]:
        raise ValueError(f"angles must be one per projection; got {len(angles)} for sinograms of {sinograms.shape}.")
    detector_spacing = check_real(detector_spacing, "detector_spacing", low=0, open_low=True)
    threshold = check_real(threshold, "threshold", low=0, open_low=True)
    profiles = [_profile(check_real(r, "radii", low=0, high=1e4, open_low=True) / detector_spacing) for r in radii]
    if not profiles:
        raise ValueError("radii must hold at least one radius in pixels; got none.")
    found = np.empty(images.shape, np.float32)
    for start in range(0, len(images), BLOCK):
        part = slice(start, start + BLOCK)
        scan = {
            "center": center if np.ndim(center) == 0 else np.asarray(center)[part],
            "detector_spacing": detector_spacing,
            "angle_unit": "rad",
        }
        projections = radon(images[part].astype(np.float32), angles, n_detectors=sinograms.shape[2], **scan)
        left = sinograms[part].astype(np.float32) - projections
        rounding = 1e-6 * np.abs(projections).max(initial=np.finfo(np.float32).tiny ** 0.25)
        found[part] = _deviations(left, rounding**2, angles, profiles, images.shape[1:], scan)
    return Consistency(found, threshold)


def _array(x, name):
    tensor, _ = as_tensor(x, name)
    check_finite(tensor, name, "Repair them, or leave such slices out.")
    return tensor.numpy()


def _deviations(left, least, angles, profiles, image_shape, scan):
    """The match of ``left`` with structures at each pixel, in standard deviations: that of the best structure.

    ``least``: the variance of rounding, which data without noise have.
    """
    noise = np.diff(left, axis=2, append=left[:, :, -2:-1]) ** 2 / 2
    weights = 1 / np.maximum(ndimage.uniform_filter(noise, (0, *NOISE_WINDOW)), least)
    most = np.zeros((len(left), *image_shape), np.float32)
    for profile in profiles:
        match = ndimage.convolve1d(left * weights, profile, axis=2, mode="constant")
        spread = ndimage.convolve1d(weights, profile**2, axis=2, mode="constant")
        match, spread = (backproject(rays, angles, image_shape=image_shape, **scan) for rays in (match, spread))
        deviation = np.where(spread > 0, match / np.sqrt(np.where(spread > 0, spread, 1)), 0)
        most = np.where(np.abs(deviation) > np.abs(most), deviation, most)
    return most


def _profile(radius):
    """The projection of a disc, less the mean over what is around it: of detectors, in units of their width."""
    half = math.ceil(AROUND * radius) + 1
    offsets = np.arange(-half, half + 1)
    profile = 2 * np.sqrt(np.clip(radius**2 - offsets**2, 0, None))
    return (profile - profile.mean()).astype(np.float32)

"""What benchmarks/fourier.py compares with: filtered back-projection without shortcuts, and other packages' methods.

A peer's image may have its axis on another pixel than ours, the middle of the image. So each method gives its image and
its ``offset`` (x, y): what lies at our pixel's place plus that offset. Truth and exact result are evaluated there.
"""

import importlib.util

import numpy as np
import scipy.ndimage

from tomolearn.ops.filters import angle_weights, ramp_filter
from tomolearn.ops.fourier import transform_length
from tomolearn.simulation import ellipse_image

FINER = 8  # points a bin between which the cubic polynomials lie


def exact_fbp(sinogram, angles, center, size, *, rows=None, offset=(0.0, 0.0), padding=1):
    """Filtered back-projection of band-limited projections, summed pixel by pixel in float64.

    Projections are padded and filtered as `tomolearn.solvers.fbp` does it, interpolated trigonometrically to `FINER`
    points a bin, and between these by cubic polynomials.

    Parameters
    ----------
    sinogram : ndarray of shape (n_angles, n_detectors)
    angles : ndarray of shape (n_angles,)
        In radians.
    center : float
    size : int
        Rows and columns of the image.
    rows : ndarray of int, default=None
        Which rows; None: all.
    offset : tuple of two float, default=(0, 0)
        x and y, in pixels, by which the points are displaced.
    padding : int, default=1
        How many times as long as in `fbp`, where it is at least twice the detector. What lies beyond the detector has a
        part in the trigonometric interpolation, so that it matters a little.

    Returns
    -------
    ndarray of shape (len(rows), size), float64
    """
    rows = np.arange(size) if rows is None else rows
    x = np.arange(size) - (size - 1) / 2 + offset[0]
    y = ((size - 1) / 2 - rows + offset[1])[:, None]
    length = padding * transform_length(angles, sinogram.shape[1], (size, size), center=center)
    response, image = ramp_filter(length), np.zeros((len(rows), size))
    for view, angle, share in zip(sinogram.astype(np.float64), angles, angle_weights(angles), strict=True):
        spectrum = np.fft.rfft(view, length) * response
        spectrum[-1] /= 2  # of two frequencies, once there are finer ones
        fine = np.fft.irfft(spectrum, FINER * length) * (FINER * share)
        image += _cubic(fine, FINER * (x * np.cos(angle) + y * np.sin(angle) + center))
    return image


def _cubic(values, t):
    """Cubic interpolation of a periodic row at the coordinates ``t``."""
    left = np.floor(t).astype(np.int64)
    f, n = t - left, len(values)
    row = np.concatenate([values[-1:], values, values[:2]])
    left %= n
    outer, inner = f * (f - 1) / 6, (f + 1) * (f - 2) / 2
    result = row[left] * (outer * (2 - f))
    result += row[left + 1] * (inner * (f - 1))
    result -= row[left + 2] * (inner * f)
    result += row[left + 3] * (outer * (f + 1))
    return result


def true_image(ellipses, size, offset=(0.0, 0.0)):
    """Exact means over pixels that are displaced by ``offset``."""
    moved = np.array(ellipses)
    moved[:, 3:5] -= offset
    return ellipse_image(moved, (size, size), supersampling="exact")


def circle(size, part, rows=None):
    """Pixels within ``part`` of the size from the middle."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    inside = np.hypot(x, y) < part * size
    return inside if rows is None else inside[rows]


def rmse(a, b, inside):
    return float(np.sqrt(np.mean(np.square(a - b)[inside])))


# ------------------------------------------------------------------------------------------------------------ peers


def peers():
    """Name -> function(sinograms (n, angles, detectors), angles, center, threads) -> (images, offset), what is here."""
    found = {}
    if importlib.util.find_spec("algotom"):
        found["algotom dfi, no padding"] = lambda *scan: algotom_dfi(*scan, pad_rate=0.0)
        found["algotom dfi, its padding (1/4, edge)"] = lambda *scan: algotom_dfi(*scan, pad_rate=0.25)
        if importlib.util.find_spec("tomopy"):
            found["gridrec, no padding"] = lambda *scan: algotom_gridrec(*scan, pad=False)
            found["gridrec, padded (2 D, edge)"] = lambda *scan: algotom_gridrec(*scan, pad=scan[0].shape[2] // 2)
    if importlib.util.find_spec("astra"):
        found["ASTRA FBP (CPU, linear)"] = astra_fbp
    return found


def half_pixel(size):
    """From our axis to that of a package which turns about the pixel ``size // 2``."""
    return size // 2 - (size - 1) / 2


def algotom_dfi(sinograms, angles, center, threads, *, pad_rate):
    """Direct Fourier inversion: takes the half turn to be closed, so that its last view mirrors its first."""
    from algotom.rec.reconstruction import dfi_reconstruction

    if angles[-1] < np.pi - 1e-6:
        bins = np.arange(sinograms.shape[2])
        mirrored = [np.interp(2 * center - bins, bins, sinogram[0]) for sinogram in sinograms]
        sinograms = np.concatenate([sinograms, np.stack(mirrored)[:, None]], axis=1)
    stack = np.swapaxes(sinograms, 0, 1)
    options = {"ratio": None, "filter_name": None, "apply_log": False, "pad_rate": pad_rate, "ncore": threads}
    images = np.swapaxes(dfi_reconstruction(stack, center, **options), 0, 1)
    shift = half_pixel(sinograms.shape[2])
    return images, (-shift, shift)


def algotom_gridrec(sinograms, angles, center, threads, *, pad):
    """TomoPy's gridrec; its axis is the pixel ``size // 2`` counted from the left, and from below."""
    from algotom.rec.reconstruction import gridrec_reconstruction

    options = {"ratio": None, "filter_name": "ramlak", "apply_log": False, "pad": pad, "ncore": threads}
    images = gridrec_reconstruction(np.swapaxes(sinograms, 0, 1), center, angles=angles, **options)
    shift = half_pixel(sinograms.shape[2])
    return np.swapaxes(images, 0, 1), (-shift, -shift)


def astra_fbp(sinograms, angles, center, threads):
    """ASTRA's on one thread. Its axis is the middle of the detector: elsewhere the views are moved by cubic splines."""
    import astra

    if angles[-1] > np.pi - 1e-6:  # the closing view would count twice
        sinograms, angles = sinograms[:, :-1], angles[:-1]
    n, _, size = sinograms.shape
    shift = (size - 1) / 2 - center
    more = int(np.ceil(abs(shift)))
    wide = np.pad(sinograms, ((0, 0), (0, 0), (more, more))).astype(np.float32)
    if shift:
        wide = scipy.ndimage.shift(wide, (0, 0, shift), order=3)
    geometry, volume = (
        astra.create_proj_geom("parallel", 1.0, size + 2 * more, angles),
        astra.create_vol_geom(size, size),
    )
    projector = astra.create_projector("linear", geometry, volume)
    images = np.empty((n, size, size), np.float32)
    for image, view in zip(images, wide, strict=True):
        config = astra.astra_dict("FBP")
        config["ProjectorId"], config["FilterType"] = projector, "Ram-Lak"
        config["ProjectionDataId"] = astra.data2d.create("-sino", geometry, view)
        config["ReconstructionDataId"] = astra.data2d.create("-vol", volume)
        algorithm = astra.algorithm.create(config)
        astra.algorithm.run(algorithm)
        image[:] = astra.data2d.get(config["ReconstructionDataId"])
        astra.algorithm.delete(algorithm)
        astra.data2d.delete([config["ProjectionDataId"], config["ReconstructionDataId"]])
    astra.projector.delete(projector)
    return images, (0.0, 0.0)

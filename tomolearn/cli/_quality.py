"""How near a written volume comes to a truth: PSNR and SSIM, slice by slice, whatever the size."""

import math
from typing import NamedTuple

from tomolearn.cli._data import open_image_stack

__all__ = ["Truth", "add_truth_argument", "known_range", "open_truth", "quality_of", "told"]

WINDOW = 7  # pixels: the side of the window of SSIM


class Truth(NamedTuple):
    """What the volume should be, and the distance of its least and greatest value."""

    source: object
    data_range: float


def add_truth_argument(parser):
    """The truth; it is never needed."""
    rule = "the data range is the maximum minus the minimum of all of it"
    what = f"FILE or FILE:DATASET with the true slices: prints PSNR and SSIM, the means over slices; {rule}"
    parser.add_argument("--truth", metavar="FILE", help=what)


def open_truth(path):
    """The slices in a file."""
    return open_image_stack(path, option="FILE:DATASET in --truth")


def known_range(source, shape):
    """The `Truth` of ``source``, looked at before anything is computed.

    Parameters
    ----------
    source : Source
        True slices.
    shape : tuple of int
        (slices, rows, columns) of the volume that will be written.

    Returns
    -------
    Truth

    Raises
    ------
    ValueError
        If the volume will have another shape, or the truth is not finite, constant, or smaller than a window of SSIM.
    """
    import numpy as np

    if tuple(source.shape) != tuple(shape):
        raise ValueError(f"--truth must have the shape {tuple(shape)} of the volume; {source.name} has {source.shape}.")
    if min(shape[1:]) < WINDOW:
        raise ValueError(f"--truth needs slices of {WINDOW} x {WINDOW} pixels at least, for SSIM; got {shape[1:]}.")
    low, high = math.inf, -math.inf
    for k in range(len(source)):
        image = source.read_block(k, k + 1)
        if not np.isfinite(image).all():
            raise ValueError(f"--truth must be finite; slice {k} of {source.name} is not.")
        low, high = min(low, float(image.min())), max(high, float(image.max()))
    if not low < high:
        raise ValueError(f"--truth must vary: every pixel of {source.name} is {low:g}, which gives no data range.")
    return Truth(source, high - low)


def quality_of(volume, truth, value_range=None):
    """PSNR and SSIM of a volume, as it stands in its file.

    Parameters
    ----------
    volume : Source
        Slices.
    truth : Truth
        Of their shape.
    value_range : tuple of two float, default=None
        The values that its least and greatest integer stand for, where it holds integers.

    Returns
    -------
    dict of str to float
        ``psnr`` in decibels (None where the volume is the truth itself), ``ssim``, both means over slices, and the
        ``data_range``.
    """
    import numpy as np

    from tomolearn.metrics import psnr, ssim

    found = []
    for k in range(len(volume)):
        image, true = volume.read_block(k, k + 1)[0].astype(np.float64), truth.source.read_block(k, k + 1)[0]
        if value_range is not None:
            limits = np.iinfo(volume.dtype)
            image = np.interp(image, (limits.min, limits.max), value_range)
        found.append([metric(true, image, data_range=truth.data_range) for metric in (psnr, ssim)])
    ratio, similarity = np.mean(found, axis=0).tolist()
    return {
        "psnr": ratio if math.isfinite(ratio) else None,
        "ssim": similarity,
        "data_range": truth.data_range,
    }


def told(quality, n, name, before=None):
    """One line on it; ``before``: the quality of the slices that went in, where they can be compared."""
    line = _pair(quality)
    if before is not None:
        line += f" (before: {_pair(before)})"
    return (
        f"{line}, means over {n} slices against {name}; data range {quality['data_range']:.4g}, maximum minus minimum "
        "of all of it"
    )


def _pair(quality):
    ratio = "infinite" if quality["psnr"] is None else f"{quality['psnr']:.2f} dB"
    return f"PSNR {ratio}, SSIM {quality['ssim']:.4f}"

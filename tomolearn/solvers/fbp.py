"""Filtered back-projection, by interpolation or by way of frequencies."""

import torch

from tomolearn._validation import check_choice
from tomolearn.ops.filters import angle_weights, apply_response, padded_length, ramp_filter
from tomolearn.ops.fourier import fourier_plan, lengthened_response, transform_length
from tomolearn.solvers._common import as_data, weights_like

__all__ = ["METHODS", "fbp"]

BLOCK = 32  # slices filtered and back-projected together: one pack of the operators
METHODS = ("auto", "direct", "fourier")
_SMALLEST, _FEWEST_ANGLES = 64, 48  # measured: benchmarks/fourier.py crossover


def fbp(A, y, *, filter="ram-lak", cutoff=1.0, padding="zero", method="auto"):
    """Filtered back-projection: exact for enough angles, up to the discretisation.

    Angles may be unsorted, repeated and unevenly spaced: each projection counts for its share of the half turn.

    Parameters
    ----------
    A : RadonOperator
        The scan. The kernel of "fourier" is that of a `FourierRadonOperator`, else the default one.
    y : array-like or Tensor of shape (n_angles, n_detectors) or (n, n_angles, n_detectors)
        Line integrals.
    filter : str or array-like, default="ram-lak"
        "ram-lak", "shepp-logan", "cosine", "hamming", "hann", "parzen", "butterworth", "none", the names that ASTRA,
        TomoPy and scikit-image use for them, or a frequency response (see `tomolearn.ops.filters.ramp_filter`).
    cutoff : float, default=1.0
        Frequency, as a part of the Nyquist frequency, above which the filter is zero.
    padding : {"zero", "edge"}, default="zero"
        What the projections are taken to be beyond the detector: "edge" for objects wider than it.
    method : {"auto", "direct", "fourier"}, default="auto"
        "direct" interpolates linearly between detector bins, O(n^3). "fourier" sums the band-limited projections that
        the bins stand for by way of a grid of frequencies, O(n^2 log n): up to 1e-4 the result of exact interpolation,
        sharper and, with few angles, with sharper streaks than linear interpolation, which is a slight low-pass; on the
        processor only. "auto" takes "fourier" there for images from 64 pixels wide and 48 angles on, where it is
        faster.

    Returns
    -------
    ndarray or Tensor of shape (rows, columns) or (n, rows, columns)
        Attenuation in 1 / ``pixel_size``; the same kind and floating dtype as ``y``.

    Raises
    ------
    ValueError
        If ``y`` does not fit the operator or is not finite, or a filter option is unknown.

    References
    ----------
    A. C. Kak and M. Slaney, Principles of Computerized Tomographic Imaging (1988), chapter 3.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.geometry import ParallelBeam, default_angles
    >>> from tomolearn.operators import RadonOperator
    >>> from tomolearn.solvers import fbp
    >>> A = RadonOperator(ParallelBeam(default_angles(100), 64))
    >>> disc = (np.hypot(*np.mgrid[-31.5:32, -31.5:32]) < 20).astype(float)
    >>> x = fbp(A, A(disc))
    >>> bool(abs(x[28:36, 28:36].mean() - 1) < 0.01)
    True
    """
    y, restore = as_data(A, y)
    weights_like(None, y)
    return restore(fbp_of_finite(A, y, filter=filter, cutoff=cutoff, padding=padding, method=method))


def fbp_of_finite(A, y, *, filter="ram-lak", cutoff=1.0, padding="zero", method="auto"):
    """`fbp` of a tensor (n, n_angles, n_detectors) that is known to be finite: asks nothing of its device."""
    check_choice(method, "method", METHODS)
    by_frequencies = method == "fourier" or (method == "auto" and _is_faster(A, y))
    return (_by_frequencies if by_frequencies else _by_interpolation)(A, y, filter, cutoff, padding)


def _is_faster(A, y):
    return y.device.type == "cpu" and min(A.domain_shape) >= _SMALLEST and A.range_shape[0] >= _FEWEST_ANGLES


def _by_frequencies(A, y, filter, cutoff, padding):
    g, angles = A.geometry, A.angles.numpy()
    scan = (angles, g.n_detectors, g.image_shape, g.detector_spacing)
    n_fft = transform_length(*scan, center=A.center.numpy())
    if filter is None or isinstance(filter, str):
        response = ramp_filter(n_fft, filter, cutoff=cutoff, detector_spacing=g.detector_spacing)
    else:
        response = ramp_filter(padded_length(g.n_detectors), filter, cutoff=cutoff)
        response = lengthened_response(response, n_fft)
    gain = angle_weights(angles) / g.pixel_size
    plan = fourier_plan(
        *scan[:3],
        detector_spacing=g.detector_spacing,
        n_fft=n_fft,
        response=response,
        gain=gain,
        padding=padding,
        kernel_width=getattr(A, "kernel_width", 4),
    )
    return plan.adjoint(y, A._rays(y)[1])


def _by_interpolation(A, y, filter, cutoff, padding):
    g = A.geometry
    share = torch.from_numpy(angle_weights(A.angles.numpy())).to(y)[:, None]
    response = ramp_filter(padded_length(y.shape[2]), filter, cutoff=cutoff, detector_spacing=g.detector_spacing)
    gain = torch.from_numpy(response).to(y)

    def block(start):
        part = slice(start, start + BLOCK)
        q = apply_response(y[part], gain, padding).mul(share / g.pixel_size)
        return A.slices(start, start + BLOCK).backproject(q)

    if y.requires_grad or y.shape[0] <= BLOCK:
        blocks = [block(i) for i in range(0, y.shape[0], BLOCK)]
        return torch.cat(blocks) if blocks else y.new_zeros(0, *A.domain_shape)
    x = y.new_empty(y.shape[0], *A.domain_shape)
    for i in range(0, y.shape[0], BLOCK):
        x[i : i + BLOCK] = block(i)
    return x

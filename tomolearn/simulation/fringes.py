"""Fringes of free propagation: the edges that a detector sees bright and dark when it stands behind the object."""

import numpy as np
from scipy.ndimage import gaussian_filter

from tomolearn._validation import check_real
from tomolearn.preprocessing.phase import _blur_length
from tomolearn.simulation._arguments import as_projections

__all__ = ["add_phase_fringes"]

BLOCK_BYTES = 2**26  # of projections that are propagated together
LOWEST, HIGHEST = -20.0, 500.0  # of line integrals, whose exponentials are ordinary numbers
MAX_BLUR = 1000.0


def add_phase_fringes(projections, *, pixel_size, distance, energy, delta_beta=None, phase=None, blur=0.0):
    r"""Projections as a detector some way behind the object measures them, with fringes along its edges.

    The intensity gains light outside an edge and loses it inside, by the transport-of-intensity equation. With one
    ``delta_beta`` for all the object, `tomolearn.preprocessing.paganin_filter` takes the fringes away again.

    Parameters
    ----------
    projections : array-like of shape (n_rows, n_angles, n_detectors)
        Line integrals of the attenuation, without unit. The rows are neighbours: a projection is an image of rows and
        detectors.
    pixel_size : float
        Edge of a detector pixel in metres.
    distance : float
        From the object to the detector, in metres. 0 adds no fringes.
    energy : float
        Of the photons, in electron volts.
    delta_beta : float, default=None
        Ratio of the decrement of the refractive index to the index of absorption, of an object of one material.
    phase : array-like of shape (n_rows, n_angles, n_detectors), default=None
        In place of ``delta_beta``, for several materials: what the object adds to the phase of the wave, in radians,
        which is negative in matter. It is -1/2 times the line integral of ``delta_beta * attenuation``.
    blur : float, default=0.0
        Standard deviation, in pixels, of the Gaussian with which the detector blurs the intensity.

    Returns
    -------
    ndarray of shape (n_rows, n_angles, n_detectors)
        -log of the intensity; the floating dtype of ``projections`` (integers give float32).

    Raises
    ------
    ValueError
        If a number is out of its range, projections are not three-dimensional, not finite or not within -20 to 500,
        not one of ``delta_beta`` and ``phase`` is given, or the distance is so long that an intensity is not positive.
        The message says which distance is possible.
    TypeError
        If an argument does not hold real numbers.

    Notes
    -----
    With the intensity I and the phase :math:`\varphi` behind the object, the wavelength :math:`\lambda` and the
    distance z, the intensity on the detector is :math:`I - z \lambda / (2 \pi) \nabla \cdot (I \nabla \varphi)`. This
    is the first order in z. It holds where the fringes are not wider than a pixel, for
    :math:`\lambda z` below the square of the pixel; there are no second and third fringes. Between two pixels I is
    their logarithmic mean, so that the filter of 2020 of `tomolearn.preprocessing.paganin_filter` is the inverse.
    No light crosses the edges of a projection.

    References
    ----------
    M. R. Teague, "Deterministic phase retrieval: a Green's function solution", J. Opt. Soc. Am. 73 (1983) 1434,
    DOI 10.1364/JOSA.73.001434. D. Paganin, S. C. Mayo, T. E. Gureyev, P. R. Miller and S. W. Wilkins, "Simultaneous
    phase and amplitude extraction from a single defocused image of a homogeneous object", J. Microsc. 206 (2002) 33,
    DOI 10.1046/j.1365-2818.2002.01010.x.

    Examples
    --------
    A slab seen from the side: dark inside its edges, bright outside.

    >>> import numpy as np
    >>> from tomolearn.simulation import add_phase_fringes
    >>> slab = np.zeros((1, 1, 8))
    >>> slab[..., 4:] = 0.5
    >>> setup = {"pixel_size": 1e-6, "distance": 0.01, "energy": 25e3, "delta_beta": 10.0}
    >>> np.exp(-add_phase_fringes(slab, **setup))[0, 0].round(2)
    array([1.  , 1.  , 1.  , 1.16, 0.45, 0.61, 0.61, 0.61])
    """
    values = as_projections(projections, "projections")
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(
            f"projections must be (n_rows, n_angles, n_detectors), none of them zero; got shape {values.shape}."
        )
    if not LOWEST <= values.min() <= values.max() <= HIGHEST:
        raise ValueError(
            f"projections must be line integrals of an attenuation, from {LOWEST:g} to {HIGHEST:g}; got "
            f"{values.min():g} to {values.max():g}."
        )
    if (delta_beta is None) == (phase is None):
        given = "neither" if phase is None else "both"
        raise ValueError(f"delta_beta, for one material, or phase, for several, must be given; got {given}.")
    if phase is not None:
        phase = as_projections(phase, "phase")
        if phase.shape != values.shape:
            raise ValueError(f"phase must have the shape of projections, {values.shape}; got {phase.shape}.")
    range2 = _blur_length(pixel_size, distance, energy, 1.0 if delta_beta is None else delta_beta) ** 2
    blur = check_real(blur, "blur", low=0, high=MAX_BLUR)

    out, longest = np.empty_like(values), np.inf
    step = max(1, BLOCK_BYTES // (8 * values.shape[0] * values.shape[2]))
    for start in range(0, values.shape[1], step):
        part = slice(start, start + step)
        p = values[:, part].astype(np.float64)
        # For one material q is the projection, and delta_beta is in the range.
        q = p if phase is None else -2 * phase[:, part].astype(np.float64)
        still, moved = np.exp(-p), range2 * _transport(p, q)
        if blur:
            still, moved = (gaussian_filter(x, (blur, 0, blur), mode="nearest") for x in (still, moved))
        if moved.min() < 0:
            longest = min(longest, float(np.min(still[moved < 0] / -moved[moved < 0])))
        out[:, part] = -np.log(np.maximum(still + moved, np.finfo(np.float64).tiny))
    if longest <= 1:
        raise ValueError(
            f"distance must leave every intensity positive; got {distance:g} m, of which {longest * distance:.3g} m "
            "are possible here. Lower distance or the phase (delta_beta), or raise blur or pixel_size."
        )
    return out


def _transport(p, q):
    """Divergence of I grad q over rows and detectors, in pixels, with I = exp(-p); nothing crosses the edges."""
    gain = np.zeros_like(p)
    for axis in (0, 2):
        n = p.shape[axis]
        before = (slice(None),) * axis
        here, there = (*before, slice(0, n - 1)), (*before, slice(1, n))
        flux = _logarithmic_mean(p[here], p[there]) * (q[there] - q[here])
        gain[here] += flux
        gain[there] -= flux
    return gain


def _logarithmic_mean(p, q):
    """(exp(-p) - exp(-q)) / (q - p): it makes I grad p the difference of I between two pixels."""
    step = np.abs(q - p)
    share = np.divide(-np.expm1(-step), step, out=np.ones_like(step), where=step > 0)
    return np.exp(-np.minimum(p, q)) * share

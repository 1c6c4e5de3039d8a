"""Micro-CT of label volumes: images as a scanner would reconstruct them, with the labels that are true."""

import math

import numpy as np
from sklearn.utils import check_random_state

from tomolearn._validation import check_integer, check_real
from tomolearn.base.memory import check_memory
from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.operators import RadonOperator
from tomolearn.simulation.fringes import add_phase_fringes
from tomolearn.simulation.noise import add_photon_noise
from tomolearn.simulation.views import add_detector_defects
from tomolearn.solvers import fbp

__all__ = ["simulate_micro_ct"]

MARGIN = 2  # detectors on either side of the diagonal, for the bright fringe outside the object
ANGLES_PER_DETECTOR = 1.6  # above pi / 2: sampled as finely in angle as along the detector


def simulate_micro_ct(
    labels,
    attenuation,
    *,
    delta_beta=0.0,
    distance=0.0,
    energy=25e3,
    pixel_size=1e-6,
    blur=0.0,
    photons=None,
    ring_strength=0.0,
    ring_fraction=0.1,
    n_angles=None,
    filter="ram-lak",
    random_state=None,
):
    """A labelled set for segmentation: label volumes measured by a simulated micro-CT and reconstructed.

    Each label is a material. The volume is projected, the projections get phase fringes, photon noise and the errors
    of the detector's gain that become rings, and filtered back-projection makes images of them.

    Parameters
    ----------
    labels : array-like of shape (n, rows, columns), integers
        0 to K - 1. The slices are neighbours, as the fringes go from one to the next; the object goes on above the
        first and below the last one. It turns about the middle of the slices, and around them there is nothing.
    attenuation : sequence of K float
        Of each label in 1 / pixel: the coefficient in 1/m times ``pixel_size``.
    delta_beta : float or sequence of K float, default=0.0
        Ratio of the decrement of the refractive index to the index of absorption: of all materials, or of each.
    distance : float, default=0.0
        From the object to the detector, in metres. 0: no fringes.
    energy : float, default=25e3
        Of the photons, in electron volts; it counts for the fringes only, as does the next parameter.
    pixel_size : float, default=1e-6
        In metres.
    blur : float, default=0.0
        Standard deviation of the detector's blur in pixels.
    photons : float, default=None
        Photons that fall on a detector pixel in one projection; None: no noise.
    ring_strength : float, default=0.0
        Standard deviation of the error of the gain of a pixel; 0: no rings.
    ring_fraction : float, default=0.1
        Share of the pixels that have such an error.
    n_angles : int, default=None
        Projections over half a turn; None: 1.6 for each detector pixel, of which there are 4 more than the diagonal of
        a slice is long.
    filter : str, default="ram-lak"
        Of the reconstruction; see `tomolearn.solvers.fbp`.
    random_state : int, RandomState instance or None, default=None
        Source of noise and rings. Either is the same whether or not there is the other.

    Returns
    -------
    images : ndarray of shape (n, rows, columns), float32
        Attenuation in 1 / pixel.
    labels : ndarray of shape (n, rows, columns)
        As they came.

    Raises
    ------
    ValueError
        If labels are not a volume of integers from 0 to K - 1, a number is out of its range, or the distance is too
        long for the materials; see `add_phase_fringes`.
    TypeError
        If an argument does not hold numbers.
    MemoryBudgetError
        If volume and projections do not fit into memory.

    See Also
    --------
    add_phase_fringes : The fringes alone.
    simulate_scan : Raw counts, for the preprocessing before the reconstruction.

    References
    ----------
    D. Paganin, S. C. Mayo, T. E. Gureyev, P. R. Miller and S. W. Wilkins, "Simultaneous phase and amplitude extraction
    from a single defocused image of a homogeneous object", J. Microsc. 206 (2002) 33,
    DOI 10.1046/j.1365-2818.2002.01010.x.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.simulation import simulate_micro_ct
    >>> labels = np.zeros((4, 48, 48), np.uint8)
    >>> labels[:, 12:36, 12:36], labels[:, 20:28, 20:28] = 1, 2
    >>> options = {"delta_beta": 20.0, "distance": 0.005, "photons": 1e5, "ring_strength": 0.01}
    >>> images, y = simulate_micro_ct(labels, [0.0, 0.01, 0.02], **options, random_state=0)
    >>> means = [images[y == label].mean() for label in range(3)]
    >>> bool(np.allclose(means, [0.0, 0.01, 0.02], atol=0.002))
    True
    """
    labels, attenuation = _check_materials(labels, attenuation)
    delta_beta = _per_material(delta_beta, "delta_beta", len(attenuation), high=1e7)
    n, rows, columns = labels.shape
    n_detectors = math.ceil(math.hypot(rows, columns)) + 2 * MARGIN
    default = math.ceil(ANGLES_PER_DETECTOR * n_detectors)
    n_angles = default if n_angles is None else check_integer(n_angles, "n_angles", low=1)
    check_memory(
        4.0 * n * (2 * rows * columns + 3 * n_angles * n_detectors),
        f"the volume and its {n_angles} projections",
        "Take fewer slices by labels, or fewer projections by n_angles.",
    )
    setup = {"distance": distance, "energy": energy, "pixel_size": pixel_size, "blur": blur}
    A = RadonOperator(ParallelBeam(default_angles(n_angles), n_detectors, image_shape=(rows, columns)))
    sinograms = A(_painted(attenuation, labels))
    if len(np.unique(delta_beta)) == 1:
        sinograms = add_phase_fringes(sinograms, delta_beta=delta_beta[0], **setup)
    else:
        phase = A(_painted(-0.5 * delta_beta * attenuation, labels))
        sinograms = add_phase_fringes(sinograms, phase=phase, **setup)
    _record(sinograms, photons, ring_strength, ring_fraction, random_state)
    return fbp(A, sinograms, filter=filter, method="direct"), labels


def _record(sinograms, photons, ring_strength, ring_fraction, random_state):
    """Noise and stripes, in place and row by row: each row has seeds of its own for either."""
    seeds = check_random_state(random_state).randint(0, 2**31 - 1, size=(len(sinograms), 2))
    for row, (noise_seed, gain_seed) in enumerate(seeds):
        if photons is not None:
            sinograms[row] = add_photon_noise(sinograms[row], photons, random_state=int(noise_seed))
        options = {"ring_strength": ring_strength, "ring_fraction": ring_fraction}
        sinograms[row] = add_detector_defects(sinograms[row], **options, random_state=int(gain_seed))


def _check_materials(labels, attenuation):
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iub":
        raise TypeError(f"labels must be integers; got dtype {labels.dtype}.")
    if labels.ndim != 3 or 0 in labels.shape:
        raise ValueError(f"labels must be (n, rows, columns), none of them zero; got shape {labels.shape}.")
    attenuation = _per_material(attenuation, "attenuation", high=1e3)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(attenuation):
        raise ValueError(
            f"labels must be from 0 to {len(attenuation) - 1}, one for each value of attenuation; got {low} to {high}. "
            "np.unique(labels, return_inverse=True) numbers other values."
        )
    return labels, attenuation


def _painted(values, labels):
    """The float32 volume that has ``values[k]`` where the label is k."""
    # Booleans would pick values and not index them.
    return values.astype(np.float32)[labels.view(np.uint8) if labels.dtype.kind == "b" else labels]


def _per_material(values, name, n=None, *, high):
    """One number for each material, float64; a single one stands for all n."""
    if np.ndim(values) == 0 and n is not None:
        return np.full(n, check_real(values, name, low=0, high=high))
    try:
        values = list(values)
    except TypeError:
        raise TypeError(f"{name} must be a sequence, one number for each label; got {values!r}.") from None
    if not values or (n is not None and len(values) != n):
        wanted = "at least one number" if n is None else f"one number, or {n} as attenuation has"
        raise ValueError(f"{name} must be {wanted}; got {len(values)}.")
    return np.array([check_real(value, f"{name}[{k}]", low=0, high=high) for k, value in enumerate(values)])

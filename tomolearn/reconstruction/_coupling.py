"""Is the noise of neighbouring projections independent? A test on the sinograms themselves."""

import numpy as np
from scipy.signal import windows

__all__ = ["check_independent", "noise_coupling", "share_computed"]

FINE = 0.5  # of the highest detector frequency: above it the noise shows best
COMPUTED = 0.1  # of the projections: so many do not repeat each other by chance
CORRELATION = 0.2  # of neighbouring projections; averages over two have 0.5
# Parts of the highest angular frequency: columns in which the object reaches beyond WEDGE are left out; the noise below
# REFERENCE is compared with that in the bands: averages over three vanish in the first one, over two in the second.
WEDGE, REFERENCE, BANDS = 0.35, 0.5, ((0.6, 0.75), (0.85, 1.0))
RATIO = 0.45  # of the noise power there; 1 for independent noise, 0.03 for averages over two
SIDELOBES = 1e-8  # of the angular window, as a power
ROUNDING = 1e-12  # of float32, as a power
GROUPS, CELLS = 3, 20  # groups of detector frequencies that must agree, and values of the spectrum that each must have
EDGE, WIDER = 2, 3.0  # detectors at either end that see air; how much wider an object is taken to be if they do not
FIRST = 3  # detector frequencies below are those of the window and of beam fluctuations


def noise_coupling(sinograms, angles, center):
    """How far the noise of neighbouring projections is correlated, as far as that can be told from the object.

    The projections of an object that turns about ``center`` have no power where the angular frequency exceeds the
    object's radius times the detector frequency (Bessel functions fall off there). What is there is noise, and
    independent noise has the same power at all angular frequencies.

    Parameters
    ----------
    sinograms : ndarray of shape (n, n_angles, n_detectors)
    angles : ndarray of shape (n_angles,)
        In radians.
    center : float

    Returns
    -------
    correlation : float
        Of neighbouring projections, at high detector frequencies, in excess of that of distant ones.
    ratio : float
        Noise power at the highest angular frequencies, relative to that at low ones, where the object has none; NaN
        where that cannot be told.

    References
    ----------
    P. R. Edholm, R. M. Lewitt and B. Lindholm, "Novel properties of the Fourier decomposition of the sinogram", Proc.
    SPIE 671 (1986) 8, DOI 10.1117/12.966672.
    """
    n_angles, n_detectors = sinograms.shape[1:]
    steps = np.diff(angles)
    if n_angles < 16 or n_detectors < 16 or np.ptp(steps) > 0.1 * abs(np.median(steps)):
        return np.nan, np.nan  # too little, or neighbours in memory are none in angle
    lines = np.fft.rfft(np.asarray(sinograms, np.float64) * windows.hann(n_detectors, sym=False), axis=2)
    power = np.abs(np.fft.fft(lines * windows.blackmanharris(n_angles, sym=False)[:, None], axis=1)) ** 2
    power = power.sum(axis=0)
    radius = max(center, n_detectors - 1 - center) + 0.5
    edges = np.concatenate([sinograms[..., :EDGE], sinograms[..., -EDGE:]], axis=2)
    if abs(edges.mean()) > 0.1 * np.abs(sinograms.mean(axis=(0, 1))).max():
        radius *= WIDER  # the object is wider than the detector
    return _correlation(lines[..., int(FINE * lines.shape[2]) :]), _ratio(power, abs(np.median(steps)), radius)


def share_computed(sinograms):
    """Part of the projections that repeat the one before, or are the mean of their neighbours, but for rounding."""
    if sinograms.shape[1] < 4:
        return 0.0
    sinograms = np.asarray(sinograms, np.float64)
    power = np.square(sinograms).sum() / sinograms.shape[1]
    changes, found = np.diff(sinograms, axis=1), [0.0]
    for differences in (changes, np.diff(changes, axis=1)):
        energy = np.square(differences).sum(axis=(0, 2))
        if energy.mean() > 1e4 * ROUNDING * power:  # else all projections are alike: of a disc around the axis
            found.append(float((energy < ROUNDING * power).mean()))
    return max(found)


def _correlation(lines):
    """Of neighbours in axis 1, less that of projections some steps apart, which stripes and slow changes have too."""
    products = [float(np.real(lines[:, lag:] * lines[:, : lines.shape[1] - lag].conj()).mean()) for lag in range(7)]
    distant = np.mean(products[4:])
    spread = products[0] - distant
    return (products[1] - distant) / spread if spread > 1e-12 * products[0] > 0 else np.nan


def _ratio(power, step, radius):
    n_angles, n_columns = power.shape
    n_detectors = 2 * (n_columns - 1)
    share = np.abs(np.fft.fftfreq(n_angles)) * 2  # of the highest angular frequency
    reach = radius * np.arange(n_columns) * 2 * np.pi / n_detectors  # angular frequency of the object, per radian
    reach = (reach + 3 * np.cbrt(reach) + 2) * step / np.pi + 10 / n_angles  # and the main lobe of the window
    columns = np.flatnonzero(reach < WEDGE)
    columns = columns[columns >= FIRST]
    found = []
    if len(columns) < 2:
        return np.nan
    for group in np.array_split(columns, min(GROUPS, len(columns))):
        low = np.concatenate([power[(share > reach[column]) & (share < REFERENCE), column] for column in group])
        if len(low) < CELLS or not low.mean() > SIDELOBES * power[:, group].max():
            return np.nan
        high = [power[(share > first) & (share <= last)][:, group].mean() for first, last in BANDS]
        found.append(min(high) / low.mean())
    return max(found)


def check_independent(sinograms, angles, center):
    """Raise where the noise of neighbouring projections is beyond doubt not independent."""
    remedy = "Give the projections as they were measured, or set check_projections=False."
    share = share_computed(sinograms)
    if share > COMPUTED:
        raise ValueError(
            f"X must hold projections whose noise is independent; {100 * share:.0f} % of them repeat the one before or "
            f"are the mean of their neighbours, as after interpolation over angles. {remedy}"
        )
    correlation, ratio = noise_coupling(sinograms, angles, center)
    if correlation > CORRELATION and ratio < RATIO:  # False for NaN
        raise ValueError(
            f"X must hold projections whose noise is independent; that of neighbouring ones has a correlation of "
            f"{correlation:.2f}, and fast changes over the angles have {100 * ratio:.0f} % of the noise power of slow "
            f"ones, as after averages, smoothing, medians or interpolation over angles. {remedy}"
        )

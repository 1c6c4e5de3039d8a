"""Noise of a measurement, added to exact projections."""

import numpy as np
from sklearn.utils import check_random_state

from tomolearn._validation import check_real
from tomolearn.simulation._arguments import as_projections

__all__ = ["add_gaussian_noise", "add_photon_noise"]

MAX_PHOTONS = 1e18  # counts are 64-bit integers


def add_photon_noise(projections, photons, *, min_count=1.0, random_state=None):
    """Projections as a counting detector would measure them.

    ``photons`` fall on every detector cell; ``photons * exp(-projection)`` of them are expected behind the sample, and
    a Poisson number of them is counted. The flat field is taken as free of noise.

    Parameters
    ----------
    projections : array-like of any shape
        Line integrals of the attenuation, without unit: 1 leaves 37 % of the photons, 5 leaves 0.7 %. Scale values
        given in other units first.
    photons : float
        Number of photons that fall on a detector cell in one exposure.
    min_count : float, default=1.0
        What a cell that counted nothing is taken to have counted, from 1e-6 to 1: the logarithm of zero is none.
    random_state : int, RandomState instance or None, default=None
        Source of the noise.

    Returns
    -------
    ndarray
        ``-log(max(counts, min_count) / photons)``, in the shape and floating dtype of ``projections`` (integers give
        float32). Where counts are high its mean is the projection plus ``1 / (2 * expected counts)`` and its variance
        ``1 / expected counts``.

    Raises
    ------
    ValueError
        If projections hold NaN or infinity or are so negative that counts overflow, or a number is out of its range.
    TypeError
        If an argument does not hold real numbers.

    References
    ----------
    J. Leuschner et al., "LoDoPaB-CT, a benchmark dataset for low-dose computed tomography reconstruction", Sci. Data 8
    (2021) 109, DOI 10.1038/s41597-021-00893-z; there zero counts are taken as 0.1.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.simulation import add_photon_noise
    >>> noisy = add_photon_noise(np.full((100, 100), 2.0), 1000, random_state=0)
    >>> noisy.mean().round(2), noisy.std().round(2)
    (np.float64(2.0), np.float64(0.09))
    """
    values = as_projections(projections, "projections")
    photons = check_real(photons, "photons", low=0, high=MAX_PHOTONS, open_low=True)
    min_count = check_real(min_count, "min_count", low=1e-6, high=1)
    expected = np.exp(np.negative(values, dtype=np.float64))
    expected *= photons
    if expected.size and expected.max() > MAX_PHOTONS:
        raise ValueError(
            f"projections must be line integrals of an attenuation, which are rarely negative; got {values.min():g}, "
            f"for which {expected.max():.3g} photons would be counted."
        )
    counts = check_random_state(random_state).poisson(expected)
    return (np.log(photons) - np.log(np.maximum(counts, min_count))).astype(values.dtype)


def add_gaussian_noise(projections, level, *, random_state=None):
    """Projections with white Gaussian noise.

    Parameters
    ----------
    projections : array-like of any shape
        Line integrals in any unit.
    level : float
        Standard deviation of the noise as a share of the mean absolute value of all ``projections``: 0.05 is 5 %.
    random_state : int, RandomState instance or None, default=None
        Source of the noise.

    Returns
    -------
    ndarray
        In the shape and floating dtype of ``projections`` (integers give float32).

    Raises
    ------
    ValueError
        If projections hold NaN or infinity, or ``level`` is negative.
    TypeError
        If an argument does not hold real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.simulation import add_gaussian_noise
    >>> noisy = add_gaussian_noise(np.full((100, 100), 4.0), 0.05, random_state=0)
    >>> noisy.mean().round(2), noisy.std().round(2)
    (np.float64(4.0), np.float64(0.2))
    """
    values = as_projections(projections, "projections")
    level = check_real(level, "level", low=0, high=1e6)
    if values.size == 0:
        return values.copy()
    sigma = level * np.abs(values).mean(dtype=np.float64)
    noise = check_random_state(random_state).normal(0.0, sigma, values.shape)
    return np.add(values, noise, out=noise).astype(values.dtype)

"""Phase retrieval from one distance: the Paganin filter, a low pass that undoes the fringes of propagation.

Lengths are metres and energies electron volts.
"""

import math

import numpy as np
import scipy.constants
import scipy.fft
import torch
from sklearn.utils.validation import check_is_fitted

from tomolearn._validation import as_tensor, check_choice, check_finite, check_real
from tomolearn.base import Corrector, check_memory, register
from tomolearn.preprocessing._stacks import REMEDY

__all__ = ["PaganinFilter", "alpha_to_delta_beta", "halo_rows", "paganin_filter"]

METHODS = ("generalized", "paganin")
TOLERANCE = 1e-6  # share of the kernel that may reach around the padded edges
BLOCK_BYTES = 2**26  # of padded projections filtered together
MAX_HALO = 2**15


def _blur_length(pixel_size, distance, energy, delta_beta) -> float:
    """Range of the filter in pixels: it is 1 / (1 + (length * k)**2), k in radians per pixel."""
    pixel_size = check_real(pixel_size, "pixel_size (in m)", low=1e-10, high=0.01)
    distance = check_real(distance, "distance (in m)", low=0, high=1000)
    energy = check_real(energy, "energy (in eV, not keV)", low=100, high=1e7)
    delta_beta = check_real(delta_beta, "delta_beta", low=0, high=1e7)
    wavelength = scipy.constants.h * scipy.constants.c / (energy * scipy.constants.e)
    return math.sqrt(wavelength * distance * delta_beta / (4 * math.pi)) / pixel_size


def halo_rows(pixel_size, distance, energy, delta_beta, tolerance=TOLERANCE):
    """Rows on either side of a row that its filtered value depends on.

    Parameters
    ----------
    pixel_size : float
        Edge of a detector pixel in metres.
    distance : float
        From the object to the detector, in metres.
    energy : float
        Of the photons, in electron volts.
    delta_beta : float
        Ratio of the decrement of the refractive index to the index of absorption.
    tolerance : float, default=1e-6
        Share of the filter's kernel that may lie beyond.

    Returns
    -------
    int
        0 without blur. With this many rows more on either side, a block is filtered as the whole is, up to
        ``tolerance`` times the range of the values.

    Raises
    ------
    ValueError
        If a number is out of its range, or the kernel reaches further than 32768 rows.
    TypeError
        If an argument is not a number.

    Notes
    -----
    With the range l (see `paganin_filter`) in pixels, the kernel of the method "generalized", summed along the row,
    falls by the factor ``exp(-arccosh(1 + 1 / (2 l**2)))`` from one row to the next, about ``exp(-1 / l)``. The kernel
    of "paganin" has the same core, but ends with a kink at the highest frequency, for which a weak ripple goes on.

    Examples
    --------
    >>> from tomolearn.preprocessing import halo_rows
    >>> halo_rows(pixel_size=1e-6, distance=0.1, energy=25e3, delta_beta=200)
    123
    """
    length = _blur_length(pixel_size, distance, energy, delta_beta)
    tolerance = check_real(tolerance, "tolerance", low=1e-15, high=0.5)
    if length == 0:
        return 0
    rate = math.acosh(1 + 1 / (2 * length**2)) if length < 1e4 else 1 / length
    # the sum of both tails from n + 1 on is 2 r**(n + 1) / (1 + r), r = exp(-rate)
    n = math.ceil(math.log(2 / ((1 + math.exp(-rate)) * tolerance)) / rate - 1)
    if n > MAX_HALO:
        raise ValueError(
            f"distance, delta_beta and energy must make a filter that reaches at most {MAX_HALO} pixels; got "
            f"{length:.0f} pixels of blur and {n} of reach. Are pixel_size and distance in metres, energy in eV?"
        )
    return max(0, n)


def alpha_to_delta_beta(alpha):
    """The ``delta_beta`` of `paganin_filter` that equals the parameter ``alpha`` of TomoPy's ``retrieve_phase``.

    TomoPy filters by ``1 / (wavelength * dist * w**2 / (4 * pi) + alpha)``, scaled to 1 at w = 0, with w in cycles per
    cm up to ``0.5 / pixel_size``, ``wavelength``, ``dist`` and ``pixel_size`` in cm and the energy in keV. Ours has
    ``pi * wavelength * distance * delta_beta * w**2`` in its place, so that ``delta_beta = 1 / (4 * pi**2 * alpha)``.
    Give lengths in metres and the energy in eV then: 1e-4 cm are 1e-6 m, 25 keV are 25e3 eV.

    Parameters
    ----------
    alpha : float
        TomoPy's regularisation parameter, more than 0. It is a number without unit that grows as the blur gets weaker.

    Returns
    -------
    float
        For `paganin_filter` with ``method="paganin"``.

    Raises
    ------
    ValueError
        If ``alpha`` is not positive.
    TypeError
        If ``alpha`` is not a number.

    Examples
    --------
    >>> from tomolearn.preprocessing import alpha_to_delta_beta
    >>> round(alpha_to_delta_beta(1e-4), 1)
    253.3
    """
    return 1 / (4 * math.pi**2 * check_real(alpha, "alpha", low=1e-9, high=1e9))


def paganin_filter(X, *, pixel_size, distance, energy, delta_beta, method="generalized"):
    r"""Transmissions as they were in the plane of the object, from those measured behind it.

    Behind an object of one material, free propagation adds fringes at its edges. The filter takes them away, and much
    of the noise with them. It works on each projection, over rows and detectors; -log is to follow.

    Parameters
    ----------
    X : array-like or Tensor of shape (n_rows, n_angles, n_detectors)
        Transmissions, after the flat field and before -log. All rows of the projections, or a block of them with
        `halo_rows` more on either side.
    pixel_size : float
        Edge of a detector pixel in metres.
    distance : float
        From the object to the detector, in metres.
    energy : float
        Of the photons, in electron volts.
    delta_beta : float
        Ratio of the decrement of the refractive index to the index of absorption; 0 leaves ``X`` as it is.
    method : {"generalized", "paganin"}, default="generalized"
        "paganin": the filter of 2002, which TomoPy and others have. "generalized": that of 2020, which blurs the finest
        details less and whose kernel is short enough for blocks of rows. They agree at low frequencies.

    Returns
    -------
    ndarray or Tensor of shape (n_rows, n_angles, n_detectors)
        Transmissions; the kind and floating dtype of ``X`` (integers give float32). Divide -log by the attenuation
        ``4 pi beta / wavelength`` for the thickness.

    Raises
    ------
    ValueError
        If ``X`` is not finite or not three-dimensional, or a number is out of its range.
    TypeError
        If ``X`` or a parameter does not hold real numbers.

    Notes
    -----
    With the frequencies k in radians per pixel and the range l in pixels,
    :math:`l^2 = \lambda z (\delta / \beta) / (4 \pi p^2)`, the spectrum is divided by :math:`1 + l^2 (k_r^2 + k_c^2)`
    ("paganin") or by :math:`1 + 2 l^2 (2 - \cos k_r - \cos k_c)` ("generalized"). Beyond its edges a projection goes on
    with its outermost values.

    References
    ----------
    D. Paganin, S. C. Mayo, T. E. Gureyev, P. R. Miller and S. W. Wilkins, "Simultaneous phase and amplitude extraction
    from a single defocused image of a homogeneous object", J. Microsc. 206 (2002) 33,
    DOI 10.1046/j.1365-2818.2002.01010.x. D. M. Paganin, V. Favre-Nicolin, A. Mirone, A. Rack, J. Villanova,
    M. P. Olbinado, V. Fernandez, J. C. da Silva and D. Pelliccia, "Boosting spatial resolution by incorporating
    periodic boundary conditions into single-distance hard-x-ray phase retrieval", J. Opt. 22 (2020) 115607,
    DOI 10.1088/2040-8986/abbab9.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import paganin_filter
    >>> noisy = 0.8 + 0.05 * np.random.default_rng(0).standard_normal((32, 2, 32))
    >>> smooth = paganin_filter(noisy, pixel_size=1e-6, distance=0.1, energy=25e3, delta_beta=20)
    >>> bool(smooth.std() < 0.2 * noisy.std())
    True
    """
    check_choice(method, "method", METHODS)
    length = _blur_length(pixel_size, distance, energy, delta_beta)
    halo = halo_rows(pixel_size, distance, energy, delta_beta)
    stack, restore = as_tensor(X, "X", ndim=3)
    if 0 in stack.shape:
        raise ValueError(f"X must be (n_rows, n_angles, n_detectors), none of them zero; got {tuple(stack.shape)}.")
    check_finite(stack, "X", REMEDY)
    return restore(_filter(stack, length, halo, method))


def _filter(stack, length, halo, method):
    """Filtered copy of a tensor (n_rows, n_angles, n_detectors), some angles at a time."""
    if length == 0:
        return stack.clone()
    n_rows, n_angles, n_detectors = stack.shape
    shape = [scipy.fft.next_fast_len(n + 2 * halo, real=True) for n in (n_rows, n_detectors)]
    before = [(padded - n) // 2 for padded, n in zip(shape, (n_rows, n_detectors), strict=True)]
    after = [padded - n - b for padded, n, b in zip(shape, (n_rows, n_detectors), before, strict=True)]
    need = 5.0 * shape[0] * shape[1] * stack.element_size()
    check_memory(need, "a padded projection and its spectrum", "Lower distance or delta_beta, or bin the projections.")
    response = _response(shape, length, method).to(stack.dtype)
    step = max(1, BLOCK_BYTES // (shape[0] * shape[1] * stack.element_size()))
    out = torch.empty_like(stack)
    for start in range(0, n_angles, step):
        part = slice(start, start + step)
        views = stack[:, part].movedim(1, 0)
        padded = torch.nn.functional.pad(views, (before[1], after[1], before[0], after[0]), mode="replicate")
        spectrum = torch.fft.rfft2(padded).mul_(response)
        views = torch.fft.irfft2(spectrum, s=shape)
        out[:, part] = views[:, before[0] : before[0] + n_rows, before[1] : before[1] + n_detectors].movedim(0, 1)
    return out


def _response(shape, length, method):
    rows = 2 * math.pi * torch.fft.fftfreq(shape[0], dtype=torch.float64)[:, None]
    columns = 2 * math.pi * torch.fft.rfftfreq(shape[1], dtype=torch.float64)
    if method == "paganin":
        square = rows**2 + columns**2
    else:  # of differences of neighbouring pixels: equal for slow waves, and periodic
        square = 2 * (2 - rows.cos() - columns.cos())
    return 1 / (1 + length**2 * square)


@register
class PaganinFilter(Corrector):
    """Transmissions as they were in the plane of the object: a step of a pipeline, between flat field and -log.

    Each projection is filtered over rows and detectors: a slice needs its neighbours, and ``transform`` all slices at
    once, or a block of them with ``n_halo_rows`` more on either side.

    Parameters
    ----------
    pixel_size : float
        Edge of a detector pixel in metres. This and the next three must be given.
    distance : float
        From the object to the detector, in metres.
    energy : float
        Of the photons, in electron volts.
    delta_beta : float
        Ratio of the decrement of the refractive index to the index of absorption; 0 leaves ``X`` as it is.
    method : {"generalized", "paganin"}, default="generalized"
        See `paganin_filter`.
    sinogram_shape : tuple of two int, default=None
        Angles and detectors of a sinogram, needed for flat ``X`` only. None: a flat row is a sinogram of one angle.

    Attributes
    ----------
    blur_length_ : float
        Range of the filter in pixels.
    sinogram_shape_, corrected_shape_ : tuple of two int
        Angles and detectors of what comes in and what goes out.
    n_features_in_ : int
        ``n_angles * n_detectors``.
    feature_names_in_ : ndarray of str
        Column names; only if ``X`` was a data frame.

    See Also
    --------
    paganin_filter : The same as a function.
    alpha_to_delta_beta : From TomoPy's parameter.

    References
    ----------
    D. Paganin et al., "Simultaneous phase and amplitude extraction from a single defocused image of a homogeneous
    object", J. Microsc. 206 (2002) 33, DOI 10.1046/j.1365-2818.2002.01010.x.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import PaganinFilter
    >>> step = PaganinFilter(pixel_size=1e-6, distance=0.1, energy=25e3, delta_beta=20)
    >>> noisy = 0.8 + 0.05 * np.random.default_rng(0).standard_normal((32, 2, 32))
    >>> bool(step.fit_transform(noisy).std() < 0.2 * noisy.std()), step.n_halo_rows
    (True, 39)
    """

    couples_projections = False  # filters within a projection

    def __init__(
        self,
        *,
        pixel_size=None,
        distance=None,
        energy=None,
        delta_beta=None,
        method="generalized",
        sinogram_shape=None,
    ):
        self.pixel_size = pixel_size
        self.distance = distance
        self.energy = energy
        self.delta_beta = delta_beta
        self.method = method
        self.sinogram_shape = sinogram_shape

    @property
    def n_halo_rows(self):
        """Rows on either side of a row without which it cannot be filtered."""
        return halo_rows(**self._setup())

    def transform_counted(self, X):
        """Filter all projections; nothing is repaired, and the counts are empty.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_angles, n_detectors) or (n_rows, n_angles * n_detectors)
            Transmissions of the rows that belong together.

        Returns
        -------
        filtered : ndarray
            In the shape and floating dtype of ``X`` (integers give float32).
        counts : dict
            Empty.
        """
        check_is_fitted(self)
        X = self._check_sinograms(X)
        dtype = X.dtype.newbyteorder("=") if X.dtype.kind == "f" else np.dtype(np.float32)
        filtered = _filter(self._block(X, slice(None)), self.blur_length_, self.n_halo_rows, self.method)
        return filtered.numpy().astype(dtype, copy=False).reshape(X.shape), {}

    def _setup(self):
        setup = {name: getattr(self, name) for name in ("pixel_size", "distance", "energy", "delta_beta")}
        missing = [name for name, value in setup.items() if value is None]
        if missing:
            raise ValueError(
                f"PaganinFilter needs {', '.join(missing)}: pixel_size and distance in metres, energy in eV, "
                "delta_beta without unit."
            )
        return setup

    def _fit_parameters(self, X):
        check_choice(self.method, "method", METHODS)
        self.blur_length_ = _blur_length(**self._setup())

"""One front for the methods against stripes: a function and a transformer."""

from tomolearn._validation import check_choice, check_real
from tomolearn.base import Corrector, register
from tomolearn.preprocessing import _stripes as stripes
from tomolearn.preprocessing import stripes_wavelet
from tomolearn.preprocessing._stacks import as_stack

__all__ = ["StripeRemover", "remove_stripes"]

METHODS = ("all", "large", "unresponsive", "sorting", "filtering", "offset", "wavelet")


def _step(method, shape, snr, large_size, sorting_size, offset_size, drop_ratio, sigma, wavelet, level, damping):
    """A function of stacks of sinograms of ``shape``; all parameters are checked, but wavelets only where they work."""
    check_choice(method, "method", METHODS)
    snr, drop_ratio = stripes.check_snr(snr), stripes.check_drop_ratio(drop_ratio)
    large_size = stripes.check_size(large_size, "large_size")
    sorting_size = stripes.check_size(sorting_size, "sorting_size")
    offset_size = stripes.check_size(offset_size, "offset_size")
    sigma = check_real(sigma, "sigma", low=0, open_low=True)
    if method == "wavelet":
        wavelet, level, damping = stripes_wavelet.check_wavelet(wavelet, level, damping)
        level = stripes_wavelet.check_level(level, shape, wavelet)
        return lambda stack: stripes_wavelet.damp(stack, wavelet, level, damping)
    of_lines = {
        "all": lambda x: stripes.all_of_them(x, snr, large_size, sorting_size, drop_ratio),
        "large": lambda x: stripes.large(x, snr, large_size, drop_ratio),
        "unresponsive": lambda x: stripes.unresponsive(x, snr, large_size, residual=True),
        "sorting": lambda x: stripes.sorting(x, sorting_size),
        "filtering": lambda x: stripes.filtering(x, sigma, sorting_size),
        "offset": lambda x: stripes.offset(x, offset_size),
    }[method]
    return lambda stack: stripes.over_lines(of_lines, stack)


def remove_stripes(
    X,
    method="all",
    *,
    snr=3.0,
    large_size=51,
    sorting_size=21,
    offset_size=9,
    drop_ratio=0.1,
    sigma=3.0,
    wavelet="db5",
    level=None,
    damping=2.0,
):
    """Remove stripes from sinograms, which would be rings in the images, by a method that is named.

    Parameters
    ----------
    X : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Sinograms: line integrals.
    method : {"all", "large", "unresponsive", "sorting", "filtering", "offset", "wavelet"}, default="all"
        The function ``remove_stripes_<method>``; see there.
    snr : float, default=3.0
        How far above the noise a detector stands out; above 1. For "all", "large" and "unresponsive".
    large_size : int, default=51
        Detectors under the median against large stripes: odd. For "all", "large" and "unresponsive".
    sorting_size : int, default=21
        Detectors under the median against small and medium stripes: odd. For "all", "sorting" and "filtering".
    offset_size : int, default=9
        Detectors under the median: odd. For "offset".
    drop_ratio : float, default=0.1
        Part of the sorted values that the means leave out; in [0, 0.8]. For "all" and "large".
    sigma : float, default=3.0
        Width of the low-pass window along the angle. For "filtering".
    wavelet : str, default="db5"
        Name of a discrete wavelet. For "wavelet".
    level : int, default=None
        Levels of the decomposition. For "wavelet".
    damping : float, default=2.0
        Width of what is cut out of the Fourier coefficients along the angle. For "wavelet".

    Returns
    -------
    ndarray or Tensor of the shape of X
        The kind and floating dtype of ``X`` (integers give float32).

    Raises
    ------
    ImportError
        If the method is "wavelet" and PyWavelets is not installed.
    ValueError
        If ``X`` is not finite or of a wrong shape, or a parameter is out of its range.
    TypeError
        If ``X`` does not hold real numbers, or a parameter has a wrong type.

    References
    ----------
    N. T. Vo, R. C. Atwood and M. Drakopoulos, Superior techniques for eliminating ring artifacts in X-ray
    micro-tomography, Optics Express 26 (2018) 28396, DOI 10.1364/OE.26.028396.

    B. Münch, P. Trtik, F. Marone and M. Stampanoni, Stripe and ring artifact removal with combined wavelet-Fourier
    filtering, Optics Express 17 (2009) 8567, DOI 10.1364/OE.17.008567.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import remove_stripes
    >>> striped = np.ones((40, 30)) + 0.3 * (np.arange(30) == 12)
    >>> np.allclose(remove_stripes(striped, "sorting", sorting_size=5), 1)
    True
    """
    stack, finish = as_stack(X)
    shape = stack.shape[1:]
    step = _step(method, shape, snr, large_size, sorting_size, offset_size, drop_ratio, sigma, wavelet, level, damping)
    return finish(step(stack))


@register
class StripeRemover(Corrector):
    """Remove stripes from sinograms, which would be rings in the images.

    It stands after `MinusLog`: its sinograms are line integrals.

    Parameters
    ----------
    method : {"all", "large", "unresponsive", "sorting", "filtering", "offset", "wavelet"}, default="all"
        The function ``remove_stripes_<method>``; see there.
    snr : float, default=3.0
        How far above the noise a detector stands out; above 1. For "all", "large" and "unresponsive".
    large_size : int, default=51
        Detectors under the median against large stripes: odd. For "all", "large" and "unresponsive".
    sorting_size : int, default=21
        Detectors under the median against small and medium stripes: odd. For "all", "sorting" and "filtering".
    offset_size : int, default=9
        Detectors under the median: odd. For "offset".
    drop_ratio : float, default=0.1
        Part of the sorted values that the means leave out; in [0, 0.8]. For "all" and "large".
    sigma : float, default=3.0
        Width of the low-pass window along the angle. For "filtering".
    wavelet : str, default="db5"
        Name of a discrete wavelet. For "wavelet", which needs ``pip install 'tomolearn[wavelets]'``.
    level : int, default=None
        Levels of the decomposition; None: as many as the wavelet allows. For "wavelet".
    damping : float, default=2.0
        Width of what is cut out of the Fourier coefficients along the angle. For "wavelet".
    sinogram_shape : tuple of two int, default=None
        Angles and detectors of a sinogram, needed for flat ``X`` only. None: a flat row is a sinogram of one angle.

    Attributes
    ----------
    sinogram_shape_, corrected_shape_ : tuple of two int
        Angles and detectors of what comes in and what goes out.
    n_features_in_ : int
        ``n_angles * n_detectors``.
    feature_names_in_ : ndarray of str
        Column names; only if ``X`` was a data frame.

    See Also
    --------
    remove_stripes : The same as a function.

    References
    ----------
    N. T. Vo, R. C. Atwood and M. Drakopoulos, Superior techniques for eliminating ring artifacts in X-ray
    micro-tomography, Optics Express 26 (2018) 28396, DOI 10.1364/OE.26.028396.

    B. Münch, P. Trtik, F. Marone and M. Stampanoni, Stripe and ring artifact removal with combined wavelet-Fourier
    filtering, Optics Express 17 (2009) 8567, DOI 10.1364/OE.17.008567.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import StripeRemover
    >>> striped = np.ones((1, 40, 30)) + 0.3 * (np.arange(30) == 12)
    >>> np.allclose(StripeRemover(method="sorting", sorting_size=5).fit_transform(striped), 1)
    True
    """

    # It takes what is the same in all views for a stripe, the rim of an object around the axis too: the axis is found
    # with errors of up to a pixel behind it.
    shows_axis = False

    couples_projections = False  # subtracts what all have in common; tests/test_noise2inverse.py measures it

    def __init__(
        self,
        *,
        method="all",
        snr=3.0,
        large_size=51,
        sorting_size=21,
        offset_size=9,
        drop_ratio=0.1,
        sigma=3.0,
        wavelet="db5",
        level=None,
        damping=2.0,
        sinogram_shape=None,
    ):
        self.method = method
        self.snr = snr
        self.large_size = large_size
        self.sorting_size = sorting_size
        self.offset_size = offset_size
        self.drop_ratio = drop_ratio
        self.sigma = sigma
        self.wavelet = wavelet
        self.level = level
        self.damping = damping
        self.sinogram_shape = sinogram_shape

    def _removal(self):
        return _step(
            self.method,
            self.sinogram_shape_,
            self.snr,
            self.large_size,
            self.sorting_size,
            self.offset_size,
            self.drop_ratio,
            self.sigma,
            self.wavelet,
            self.level,
            self.damping,
        )

    def _fit_parameters(self, X):
        self._removal()

    def _correct(self, block, start):
        return self._removal()(block), {}

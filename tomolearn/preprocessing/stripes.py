"""Stripes in sinograms, which become rings in the images: methods that compare a detector with its neighbours."""

from tomolearn._validation import check_real
from tomolearn.preprocessing import _stripes
from tomolearn.preprocessing._stacks import as_stack
from tomolearn.preprocessing._stripes import check_drop_ratio, check_size, check_snr, over_lines

__all__ = [
    "remove_stripes_all",
    "remove_stripes_filtering",
    "remove_stripes_large",
    "remove_stripes_offset",
    "remove_stripes_sorting",
    "remove_stripes_unresponsive",
]


def remove_stripes_sorting(X, *, size=21):
    """Remove small and medium stripes: algorithm 3 of Vo, Atwood and Drakopoulos.

    The values of each detector are sorted, each rank is smoothed by a median over neighbouring detectors, and the
    values go back to their angles.

    Parameters
    ----------
    X : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Sinograms: line integrals.
    size : int, default=21
        Detectors under the median: odd, wider than twice the widest stripe.

    Returns
    -------
    ndarray or Tensor of the shape of X
        The kind and floating dtype of ``X`` (integers give float32).

    Raises
    ------
    ValueError
        If ``X`` is not finite or of a wrong shape, or ``size`` is not odd.
    TypeError
        If ``X`` does not hold real numbers or ``size`` is no integer.

    References
    ----------
    N. T. Vo, R. C. Atwood and M. Drakopoulos, Superior techniques for eliminating ring artifacts in X-ray
    micro-tomography, Optics Express 26 (2018) 28396, DOI 10.1364/OE.26.028396.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import remove_stripes_sorting
    >>> sinogram = np.sin(np.linspace(0, 3, 40))[:, None] + np.zeros(30)
    >>> striped = sinogram + 0.3 * (np.arange(30) == 12)
    >>> np.allclose(remove_stripes_sorting(striped, size=5), sinogram)
    True
    """
    size = check_size(size, "size")
    stack, finish = as_stack(X)
    return finish(over_lines(lambda x: _stripes.sorting(x, size), stack))


def remove_stripes_filtering(X, *, sigma=3.0, size=21):
    """Remove small stripes and keep the sharp features: algorithm 2 of Vo, Atwood and Drakopoulos.

    What of each detector's values varies slowly with the angle is treated as in `remove_stripes_sorting`; the rest
    stays.

    Parameters
    ----------
    X : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Sinograms: line integrals.
    sigma : float, default=3.0
        Width of the Gaussian window on the Fourier coefficients along the angle, in coefficients.
    size : int, default=21
        Detectors under the median: odd.

    Returns
    -------
    ndarray or Tensor of the shape of X
        The kind and floating dtype of ``X`` (integers give float32).

    Raises
    ------
    ValueError
        If ``X`` is not finite or of a wrong shape, ``sigma`` is not positive or ``size`` not odd.
    TypeError
        If ``X`` does not hold real numbers, or a parameter has a wrong type.

    Notes
    -----
    The window lies on the coefficient of frequency zero. In algotom it lies half a coefficient beside it where the
    number of angles and padding is even.

    References
    ----------
    N. T. Vo, R. C. Atwood and M. Drakopoulos, Superior techniques for eliminating ring artifacts in X-ray
    micro-tomography, Optics Express 26 (2018) 28396, DOI 10.1364/OE.26.028396.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import remove_stripes_filtering
    >>> striped = np.ones((40, 30)) + 0.3 * (np.arange(30) == 12)
    >>> np.allclose(remove_stripes_filtering(striped, size=5), 1)
    True
    """
    sigma = check_real(sigma, "sigma", low=0, open_low=True)
    size = check_size(size, "size")
    stack, finish = as_stack(X)
    return finish(over_lines(lambda x: _stripes.filtering(x, sigma, size), stack))


def remove_stripes_large(X, *, snr=3.0, size=51, drop_ratio=0.1):
    """Remove large stripes: algorithm 5 of Vo, Atwood and Drakopoulos.

    Each detector is divided by the ratio of the mean of its sorted values to that of their medians over neighbouring
    detectors; where that ratio stands out, the medians take the place of the values.

    Parameters
    ----------
    X : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Sinograms: line integrals.
    snr : float, default=3.0
        How far above the noise a ratio stands out; above 1, higher is less sensitive.
    size : int, default=51
        Detectors under the median: odd, wider than twice the widest stripe.
    drop_ratio : float, default=0.1
        Part of the sorted values, half of it at either end, that the means leave out; in [0, 0.8].

    Returns
    -------
    ndarray or Tensor of the shape of X
        The kind and floating dtype of ``X`` (integers give float32).

    Raises
    ------
    ValueError
        If ``X`` is not finite or of a wrong shape, or a parameter is out of its range.
    TypeError
        If ``X`` does not hold real numbers, or a parameter has a wrong type.

    Notes
    -----
    Sinograms without noise are taken (algotom refuses them): the noise is never taken for less than 1e-6 of the ratio.
    A detector whose ratio is not positive, in air, is not divided. The lines are reflected at the edges of the
    detector: an object that reaches beyond them is drawn there to the values further inside.

    References
    ----------
    N. T. Vo, R. C. Atwood and M. Drakopoulos, Superior techniques for eliminating ring artifacts in X-ray
    micro-tomography, Optics Express 26 (2018) 28396, DOI 10.1364/OE.26.028396.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import remove_stripes_large
    >>> striped = np.ones((40, 30)) + 0.3 * (abs(np.arange(30) - 12) < 3)
    >>> np.allclose(remove_stripes_large(striped, size=13), 1)
    True
    """
    snr, size, drop_ratio = check_snr(snr), check_size(size, "size"), check_drop_ratio(drop_ratio)
    stack, finish = as_stack(X)
    return finish(over_lines(lambda x: _stripes.large(x, snr, size, drop_ratio), stack))


def remove_stripes_unresponsive(X, *, snr=3.0, size=51, residual=True):
    """Remove stripes of dead and of fluctuating detectors: algorithm 6 of Vo, Atwood and Drakopoulos.

    Detectors whose values vary far less or far more from angle to angle than those of their neighbours are
    interpolated between the detectors beside them.

    Parameters
    ----------
    X : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Sinograms: line integrals.
    snr : float, default=3.0
        How far above the noise a detector stands out; above 1, higher is less sensitive.
    size : int, default=51
        Neighbouring detectors that one is compared with: odd.
    residual : bool, default=True
        Apply `remove_stripes_large` to the result: what stands beside such detectors is often a large stripe.

    Returns
    -------
    ndarray or Tensor of the shape of X
        The kind and floating dtype of ``X`` (integers give float32).

    Raises
    ------
    ValueError
        If ``X`` is not finite or of a wrong shape, or a parameter is out of its range.
    TypeError
        If ``X`` does not hold real numbers, or a parameter has a wrong type.

    References
    ----------
    N. T. Vo, R. C. Atwood and M. Drakopoulos, Superior techniques for eliminating ring artifacts in X-ray
    micro-tomography, Optics Express 26 (2018) 28396, DOI 10.1364/OE.26.028396.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import remove_stripes_unresponsive
    >>> sinogram = np.sin(np.arange(60.0))[:, None] + np.zeros(40)
    >>> dead = np.where(np.arange(40) == 12, 0, sinogram)
    >>> np.allclose(remove_stripes_unresponsive(dead, residual=False), sinogram)
    True
    """
    snr, size = check_snr(snr), check_size(size, "size")
    stack, finish = as_stack(X)
    return finish(over_lines(lambda x: _stripes.unresponsive(x, snr, size, residual), stack))


def remove_stripes_offset(X, *, size=9):
    """Remove stripes that are offsets, as of detectors whose gain was not the same in the flat fields.

    From each detector its mean difference from the median over neighbouring detectors is subtracted: the mean over the
    half of the projections where it is neither large nor small, which features of the object do not move much. What
    is left has the noise and the edges that it had, which medians in place of values (`remove_stripes_all`) smear; on
    narrow detectors this shows. Unresponsive and fluctuating detectors are left.

    Parameters
    ----------
    X : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Sinograms: line integrals.
    size : int, default=9
        Detectors under the median: odd, wider than twice the widest stripe.

    Returns
    -------
    ndarray or Tensor of the shape of X
        The kind and floating dtype of ``X`` (integers give float32).

    Raises
    ------
    ValueError
        If ``X`` is not finite or of a wrong shape, or ``size`` is not odd.
    TypeError
        If ``X`` does not hold real numbers or ``size`` is no integer.

    Notes
    -----
    It goes twice over the sinograms. Boin and Haibel compare the sums over all projections with their moving average;
    the median and the middle half of the projections keep large differences, those of the object, out.

    References
    ----------
    M. Boin and A. Haibel, Compensation of ring artefacts in synchrotron tomographic images, Optics Express 14 (2006)
    12071, DOI 10.1364/OE.14.012071.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import remove_stripes_offset
    >>> sinogram = np.sin(np.arange(40.0))[:, None] + np.zeros(30)
    >>> striped = sinogram + 0.3 * (np.arange(30) == 12)
    >>> np.allclose(remove_stripes_offset(striped), sinogram)
    True
    """
    size = check_size(size, "size")
    stack, finish = as_stack(X)
    return finish(over_lines(lambda x: _stripes.offset(x, size), stack))


def remove_stripes_all(X, *, snr=3.0, large_size=51, sorting_size=21, drop_ratio=0.1):
    """Remove stripes of all kinds: algorithms 6, 5 and 3 of Vo, Atwood and Drakopoulos, one after the other.

    The defaults, as in algotom, are for detectors of about 2000 columns. On narrower ones smaller windows spare the
    object: TomoPy takes a hundredth of the columns, at least 5, for the small stripes.

    Parameters
    ----------
    X : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Sinograms: line integrals.
    snr : float, default=3.0
        How far above the noise a detector stands out; above 1, higher is less sensitive.
    large_size : int, default=51
        Detectors under the median against unresponsive detectors and large stripes: odd.
    sorting_size : int, default=21
        Detectors under the median against small and medium stripes: odd.
    drop_ratio : float, default=0.1
        As in `remove_stripes_large`.

    Returns
    -------
    ndarray or Tensor of the shape of X
        The kind and floating dtype of ``X`` (integers give float32).

    Raises
    ------
    ValueError
        If ``X`` is not finite or of a wrong shape, or a parameter is out of its range.
    TypeError
        If ``X`` does not hold real numbers, or a parameter has a wrong type.

    References
    ----------
    N. T. Vo, R. C. Atwood and M. Drakopoulos, Superior techniques for eliminating ring artifacts in X-ray
    micro-tomography, Optics Express 26 (2018) 28396, DOI 10.1364/OE.26.028396.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import remove_stripes_all
    >>> striped = np.ones((40, 30)) + 0.3 * (abs(np.arange(30) - 12) < 2)
    >>> np.allclose(remove_stripes_all(striped), 1)
    True
    """
    snr, drop_ratio = check_snr(snr), check_drop_ratio(drop_ratio)
    large_size, sorting_size = check_size(large_size, "large_size"), check_size(sorting_size, "sorting_size")
    stack, finish = as_stack(X)
    return finish(over_lines(lambda x: _stripes.all_of_them(x, snr, large_size, sorting_size, drop_ratio), stack))

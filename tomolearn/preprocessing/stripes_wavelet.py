"""Stripes in sinograms by wavelets and Fourier coefficients: the method of Münch and others."""

import numpy as np
import scipy.fft
import torch

from tomolearn._validation import check_integer, check_real
from tomolearn.preprocessing._stacks import as_stack

__all__ = ["remove_stripes_wavelet"]


def wavelets():
    """The package PyWavelets."""
    try:
        import pywt
    except ImportError as error:
        raise ImportError(
            "stripes are removed by wavelets with the package PyWavelets, which is not installed: "
            "pip install 'tomolearn[wavelets]', or take another method."
        ) from error
    return pywt


def check_wavelet(wavelet, level, damping):
    """The checked parameters of `remove_stripes_wavelet`, but for the limit of ``level``."""
    names = wavelets().wavelist(kind="discrete")
    if not isinstance(wavelet, str) or wavelet not in names:
        raise ValueError(f"wavelet must be a discrete wavelet that PyWavelets names, like 'db5'; got {wavelet!r}.")
    if level is not None:
        level = check_integer(level, "level", low=1)
    return wavelet, level, check_real(damping, "damping", low=0, open_low=True)


def check_level(level, shape, wavelet):
    """Levels of the decomposition of sinograms of ``shape``."""
    padding = _padding(shape)
    shorter = min(n + 2 * padding for n in shape)
    if level is None:
        return max(1, wavelets().dwt_max_level(shorter, wavelet))
    if 2**level > shorter:
        raise ValueError(
            f"level must be at most {int(np.log2(shorter))} for sinograms of shape {tuple(shape)}, which are {shorter} "
            f"values along the shorter axis when padded; got {level}."
        )
    return level


def _padding(shape):
    return min(150, min(shape) // 10)


def damp(stack: torch.Tensor, wavelet: str, level: int, damping: float) -> torch.Tensor:
    """Sinograms (n, n_angles, n_detectors) without what varies along the detectors but not along the angles."""
    pywt = wavelets()
    _, n_angles, n_detectors = stack.shape
    pad = _padding((n_angles, n_detectors))
    # the mean over the angles continues a stripe, and the edge the sample; both without a jump that would be a stripe
    rough = np.pad(stack.numpy(), ((0, 0), (pad, pad), (0, 0)), mode="mean")
    rough = np.pad(rough, ((0, 0), (0, 0), (pad, pad)), mode="edge")
    details = []
    for _ in range(level):
        rough, (along_angles, along_detectors, along_both) = pywt.dwt2(rough, wavelet, axes=(1, 2))
        n = along_detectors.shape[1]
        keep = 1 - np.exp(-np.square(np.arange(n // 2 + 1)) / (2 * damping**2))
        spectrum = scipy.fft.rfft(along_detectors, axis=1)
        spectrum *= keep[:, None].astype(along_detectors.dtype)
        details.append((rough.shape, (along_angles, scipy.fft.irfft(spectrum, n, axis=1), along_both)))
    for (_, height, width), detail in reversed(details):
        rough = pywt.idwt2((rough[:, :height, :width], detail), wavelet, axes=(1, 2))
    return torch.from_numpy(np.ascontiguousarray(rough[:, pad : pad + n_angles, pad : pad + n_detectors]))


def remove_stripes_wavelet(X, *, wavelet="db5", level=None, damping=2.0):
    """Remove stripes by damping, in each level of a wavelet decomposition, what is constant along the angle.

    Needs the package PyWavelets (``pip install 'tomolearn[wavelets]'``).

    Parameters
    ----------
    X : array-like or Tensor of shape (n, n_angles, n_detectors) or (n_angles, n_detectors)
        Sinograms: line integrals.
    wavelet : str, default="db5"
        Name of a discrete wavelet.
    level : int, default=None
        Levels of the decomposition; each removes stripes twice as wide as the one before. None: as many as the wavelet
        allows for the shorter axis.
    damping : float, default=2.0
        Width sigma of the Gaussian that is cut out of the Fourier coefficients along the angle, in coefficients.
        Larger removes more.

    Returns
    -------
    ndarray or Tensor of the shape of X
        The kind and floating dtype of ``X`` (integers give float32).

    Raises
    ------
    ImportError
        If PyWavelets is not installed.
    ValueError
        If ``X`` is not finite or of a wrong shape, or a parameter is out of its range.
    TypeError
        If ``X`` does not hold real numbers, or a parameter has a wrong type.

    Notes
    -----
    The sinograms are padded by a tenth of the shorter axis, at most 150: by the means over the angles before the first
    and after the last projection, by the outermost values beyond the detectors. The Gaussian lies on the coefficient
    of frequency zero; in algotom it lies one beside it where a level has an even number of rows.

    References
    ----------
    B. Münch, P. Trtik, F. Marone and M. Stampanoni, Stripe and ring artifact removal with combined wavelet-Fourier
    filtering, Optics Express 17 (2009) 8567, DOI 10.1364/OE.17.008567.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import remove_stripes_wavelet
    >>> striped = np.ones((64, 64)) + 0.3 * (np.arange(64) == 12)
    >>> bool(abs(remove_stripes_wavelet(striped) - 1).max() < 0.05)
    True
    """
    wavelet, level, damping = check_wavelet(wavelet, level, damping)
    stack, finish = as_stack(X)
    return finish(damp(stack, wavelet, check_level(level, stack.shape[1:], wavelet), damping))

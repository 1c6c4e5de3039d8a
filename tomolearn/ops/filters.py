"""The two weights of filtered back-projection: the ramp filter with its windows, and the share of each angle.

The back-projection of ``angle_weights * filter_sinogram(projections)`` is the reconstruction, without any further
factor (Kak and Slaney 1988, chapter 3).
"""

import difflib
import functools
import math
from collections.abc import Callable

import numpy as np
import scipy.fft
import torch

from tomolearn._validation import as_tensor, check_choice, check_finite, check_integer, check_real
from tomolearn.geometry import SPACING_RANGE, as_radians

__all__ = [
    "FILTERS",
    "angle_weights",
    "apply_response",
    "filter_name",
    "filter_sinogram",
    "padded_length",
    "ramp_filter",
]


def _parzen(nu):
    return np.where(nu <= 0.5, 1 - 6 * nu**2 * (1 - nu), 2 * np.clip(1 - nu, 0, None) ** 3)


# What each name multiplies the ramp by, at the frequency nu as a fraction of the cutoff.
_WINDOWS: dict[str, Callable] = {
    "ram-lak": np.ones_like,
    "shepp-logan": lambda nu: np.sinc(nu / 2),
    "cosine": lambda nu: np.cos(np.pi * nu / 2),
    "hamming": lambda nu: 0.54 + 0.46 * np.cos(np.pi * nu),
    "hann": lambda nu: 0.5 + 0.5 * np.cos(np.pi * nu),
    "parzen": _parzen,
    "butterworth": lambda nu: 1 / (1 + (nu / 0.8) ** 16),
}
FILTERS = (*_WINDOWS, "none")
_ALIASES = {"ramp": "ram-lak", "ramlak": "ram-lak", "shepp": "shepp-logan", "hanning": "hann"}

# Spectra that stay in the second-level cache are filtered two to three times as fast as those that do not; a GPU wants
# large blocks instead.
_BLOCK_BYTES = {"cpu": 2**20, "cuda": 2**28}  # the first one for each thread

_SAME_ANGLE = 1e-6  # radians: 0.002 pixel at the rim of a 4096-pixel image
_MISSING = 4  # a gap this many times as wide as the next widest is a missing wedge


def filter_name(name) -> str:
    """The name in `FILTERS` that ``name`` stands for.

    Case does not matter, ``_`` equals ``-``, and the names of ASTRA, TomoPy (``ramlak``, ``shepp``) and scikit-image
    (``ramp``) are understood.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
        One of `FILTERS`.

    Raises
    ------
    TypeError
        If ``name`` is not a string.
    ValueError
        If no filter has that name.

    Examples
    --------
    >>> from tomolearn.ops.filters import filter_name
    >>> filter_name("Ram_Lak"), filter_name("shepp")
    ('ram-lak', 'shepp-logan')
    """
    if not isinstance(name, str):
        raise TypeError(f"filter must be a name or an array ('none' means no filter); got {name!r}.")
    plain = name.strip().lower().replace("_", "-")
    plain = _ALIASES.get(plain, plain)
    if plain not in FILTERS:
        close = difflib.get_close_matches(plain, (*FILTERS, *_ALIASES), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"filter must be one of {', '.join(map(repr, FILTERS))} or an array; got {name!r}.{hint}")
    return plain


def padded_length(n_detectors: int) -> int:
    """Length to which `filter_sinogram` pads a row: even, at least twice the row, a product of 2, 3 and 5.

    Twice the row is what keeps the circular convolution of the FFT from wrapping one end of the row into the other.

    Parameters
    ----------
    n_detectors : int

    Returns
    -------
    int

    Examples
    --------
    >>> from tomolearn.ops.filters import padded_length
    >>> padded_length(512), padded_length(513)
    (1024, 1080)
    """
    return 2 * scipy.fft.next_fast_len(check_integer(n_detectors, "n_detectors", low=1), real=True)


def ramp_filter(n_fft: int, filter="ram-lak", *, cutoff: float = 1.0, detector_spacing: float = 1.0) -> np.ndarray:
    """Frequency response of a filter for filtered back-projection.

    The response of ``"ram-lak"`` is the Fourier transform of the band-limited ramp sampled in space [1]_,
    ``h[0] = 1 / (4 d**2)``, ``h[n] = -1 / (pi n d)**2`` for odd n and 0 for even n, d being the detector spacing.
    It follows ``|f|`` (cycles per pixel) but for the lowest frequencies, where ``|f|`` itself would take the mean away
    and leave the reconstruction too dark. The other filters multiply it by a window of ``nu = f / (cutoff * f_N)``,
    ``f_N = 1 / (2 d)`` being the Nyquist frequency:

    ================= ================================================================================
    ``"shepp-logan"`` ``sin(pi nu / 2) / (pi nu / 2)``
    ``"cosine"``      ``cos(pi nu / 2)``
    ``"hamming"``     ``0.54 + 0.46 cos(pi nu)``
    ``"hann"``        ``0.5 + 0.5 cos(pi nu)``
    ``"parzen"``      ``1 - 6 nu**2 (1 - nu)`` up to 1/2, then ``2 (1 - nu)**3``, as ASTRA (TomoPy: ``(1 - nu)**3``)
    ``"butterworth"`` ``1 / (1 + (nu / 0.8)**16)``: order 8, half at 0.8 of the cutoff, as TomoPy's
    ``"none"``        no filter: 1 instead of the ramp, for a plain back-projection
    ================= ================================================================================

    Parameters
    ----------
    n_fft : int
        Length of the padded rows; `padded_length` gives the one that `filter_sinogram` uses.
    filter : str or array-like of shape (n_fft // 2 + 1,), default="ram-lak"
        A name, see `filter_name`; or a response of your own at the frequencies ``numpy.fft.rfftfreq(n_fft, d)``, which
        replaces ramp and window.
    cutoff : float, default=1.0
        In (0, 1], as a fraction of the Nyquist frequency: the response is 0 above, and windows end there.
    detector_spacing : float, default=1.0
        Width of a detector bin in image pixels.

    Returns
    -------
    ndarray of shape (n_fft // 2 + 1,), float64
        In cycles per pixel; a response of your own and ``"none"`` have no unit.

    Raises
    ------
    ValueError, TypeError
        If a name is unknown, an array has another length or is not finite, or a number is out of its range.

    References
    ----------
    .. [1] A. C. Kak, M. Slaney, "Principles of Computerized Tomographic Imaging", IEEE Press, 1988, chapter 3,
       eq. 61. DOI 10.1137/1.9780898719277

    Examples
    --------
    >>> from tomolearn.ops.filters import ramp_filter
    >>> ramp_filter(8).round(3).tolist()
    [0.025, 0.123, 0.25, 0.377, 0.475]
    >>> ramp_filter(8, "hann", cutoff=0.5).round(3).tolist()
    [0.025, 0.061, 0.0, 0.0, 0.0]
    """
    n_fft = check_integer(n_fft, "n_fft", low=2)
    cutoff = check_real(cutoff, "cutoff", low=0, high=1, open_low=True)
    low, high = SPACING_RANGE
    detector_spacing = check_real(detector_spacing, "detector_spacing", low=low, high=high)
    if filter is None or isinstance(filter, str):
        return _named_response(n_fft, filter_name(filter), cutoff, detector_spacing).copy()
    own, _ = as_tensor(filter, "filter", ndim=1)
    if len(own) != n_fft // 2 + 1:
        raise ValueError(
            f"filter must have {n_fft // 2 + 1} values, for rows padded to {n_fft} "
            f"(tomolearn.ops.filters.padded_length(n_detectors) // 2 + 1); got {len(own)}."
        )
    check_finite(own, "filter", "Give a real, finite response for each frequency.")
    return own.detach().cpu().numpy().astype(np.float64) * (_fraction_of_cutoff(n_fft, cutoff) <= 1)


def _fraction_of_cutoff(n_fft: int, cutoff: float) -> np.ndarray:
    """Frequencies of rfft over the cutoff; rounded, so that a bin that lies on the cutoff is not above it."""
    return np.round(np.arange(n_fft // 2 + 1) / (cutoff * n_fft / 2), 12)


@functools.lru_cache(maxsize=32)
def _named_response(n_fft: int, name: str, cutoff: float, detector_spacing: float) -> np.ndarray:
    nu = _fraction_of_cutoff(n_fft, cutoff)
    response = np.ones(nu.size)
    if name != "none":
        lag = np.minimum(np.arange(n_fft), n_fft - np.arange(n_fft))
        odd = lag % 2 == 1
        kernel = np.zeros(n_fft)
        kernel[0] = 1 / 4
        kernel[odd] = -1 / (np.pi * lag[odd]) ** 2
        # The kernel has 1 / d**2 and the convolution integral one d.
        response = np.fft.rfft(kernel).real / detector_spacing * _WINDOWS[name](nu)
    response[nu > 1] = 0
    response.setflags(write=False)
    return response


def filter_sinogram(
    projections,
    filter="ram-lak",
    *,
    cutoff: float = 1.0,
    padding: str = "edge",
    detector_spacing: float = 1.0,
):
    """Projections filtered along the detector, ready to be back-projected.

    Parameters
    ----------
    projections : array-like or Tensor of shape (..., n_detectors)
        Line integrals in pixel lengths, as a rule (n_slices, n_angles, n_detectors). Gradients flow through tensors.
    filter : str or array-like, default="ram-lak"
        A name or a response of your own, see `ramp_filter`.
    cutoff : float, default=1.0
        In (0, 1], as a fraction of the Nyquist frequency.
    padding : {"edge", "zero"}, default="edge"
        What stands beside the detector: its outermost values repeated, which keeps the rim of a truncated scan from
        glowing, or zeros. The same where the object ends inside the field of view. With "zero" the filter equals its
        own transpose.
    detector_spacing : float, default=1.0
        Width of a detector bin in image pixels.

    Returns
    -------
    ndarray or Tensor of the shape of ``projections``
        In 1/pixel for values without unit; float32 or float64 as it came (integers give float32).

    Raises
    ------
    ValueError, TypeError
        If ``projections`` have no detectors or hold NaN or infinity, or the filter is not one of `ramp_filter`.

    Notes
    -----
    Rows are filtered some at a time, so that the padded spectra take a few megabytes, whatever the input.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.ops.filters import filter_sinogram
    >>> row = np.array([[0.0, 0.0, 1.0, 0.0, 0.0]])  # a point shows the kernel: 1/4, -1/pi**2, 0, ...
    >>> filter_sinogram(row, padding="zero").round(3).tolist()
    [[0.0, -0.101, 0.25, -0.101, 0.0]]
    """
    tensor, restore = as_tensor(projections, "projections")
    shape = tuple(tensor.shape)
    if not shape or shape[-1] == 0:
        raise ValueError(f"projections must be (..., n_detectors) with some detectors; got shape {shape}.")
    response = ramp_filter(padded_length(shape[-1]), filter, cutoff=cutoff, detector_spacing=detector_spacing)
    check_finite(tensor, "projections", "Mask or repair these pixels first.")
    return restore(apply_response(tensor, torch.as_tensor(response).to(tensor), padding))


def apply_response(tensor: torch.Tensor, gain: torch.Tensor, padding: str) -> torch.Tensor:
    """What `filter_sinogram` does once all is checked: ``gain`` is the response, in the dtype and on the device.

    Parameters
    ----------
    tensor : Tensor of shape (..., n_detectors)
    gain : Tensor of shape (padded_length(n_detectors) // 2 + 1,)
    padding : {"edge", "zero"}

    Returns
    -------
    Tensor of the shape of ``tensor``

    Raises
    ------
    ValueError
        If there is no such padding.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.ops.filters import apply_response
    >>> apply_response(torch.ones(2, 3), torch.ones(4), "zero").shape
    torch.Size([2, 3])
    """
    check_choice(padding, "padding", ("edge", "zero"))
    shape = tensor.shape
    n_fft = padded_length(shape[-1])
    rows = tensor.reshape(-1, shape[-1])
    on_cpu = tensor.device.type == "cpu"
    block_bytes = _BLOCK_BYTES["cpu"] * torch.get_num_threads() if on_cpu else _BLOCK_BYTES["cuda"]
    block_rows = max(1, block_bytes // (2 * gain.element_size() * gain.numel()))
    if torch.is_grad_enabled() and tensor.requires_grad:
        filtered = torch.cat([_filter_rows(block, gain, n_fft, padding) for block in rows.split(block_rows)])
    else:  # without a graph each block goes straight to its place: no second copy of the whole
        filtered = torch.empty_like(rows)
        for start in range(0, len(rows), block_rows):
            stop = start + block_rows
            filtered[start:stop] = _filter_rows(rows[start:stop], gain, n_fft, padding)
    return filtered.reshape(shape)


def _filter_rows(rows: torch.Tensor, response: torch.Tensor, n_fft: int, padding: str) -> torch.Tensor:
    n_detectors = rows.shape[1]
    if padding == "edge":
        # The buffer is circular: the first value goes before the row, which is the end of the buffer.
        after = (n_fft - n_detectors + 1) // 2
        last = rows[:, -1:].expand(-1, after)
        first = rows[:, :1].expand(-1, n_fft - n_detectors - after)
        rows = torch.cat([rows, last, first], dim=1)
    return torch.fft.irfft(torch.fft.rfft(rows, n=n_fft) * response, n=n_fft)[:, :n_detectors]


def angle_weights(angles, period: float = math.pi) -> np.ndarray:
    """Share of the half circle that each angle stands for in a back-projection.

    Parallel rays at an angle and half a turn on are the same, so angles are taken modulo ``period``. Each angle gets
    half of the gap to its neighbour on either side; angles that agree to 1e-6 rad share one part equally. The order
    does not matter, and the weights sum to ``period``.

    They sum to less where a wedge of angles is missing, else the two angles beside the wedge would be weighted as if
    they had seen it, and leave streaks. The widest gap is a missing wedge if it is over 4 times as wide as the next
    widest, and then counts as wide as that one. So do the 2, 3 or 4 widest (the pillars of a load frame) if they are
    over 4 times as wide as the next, lie among at least 8 different angles each, and take less than half of ``period``
    together. A dense and a sparse part, jitter and jittered repeats are no missing wedges.

    Parameters
    ----------
    angles : array-like of shape (n_angles,)
        In radians: in any order, with any offset, over any number of turns.
    period : float, default=pi
        After how many radians the rays repeat.

    Returns
    -------
    ndarray of shape (n_angles,), float64
        In radians; ``period / n_angles`` for equally spaced angles over half a turn or a whole number of them.

    Raises
    ------
    GeometryError
        If the angles are not a non-empty 1-D list of finite numbers.
    ValueError, TypeError
        If ``period`` is not a positive number.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.ops.filters import angle_weights
    >>> (angle_weights([0.0, np.pi / 4, np.pi / 2, np.pi]) / np.pi).tolist()  # 0 and pi are the same rays
    [0.1875, 0.25, 0.375, 0.1875]
    """
    angles = as_radians(angles, "rad")
    period = check_real(period, "period", low=0, open_low=True)
    folded = np.mod(angles, period)
    order = np.argsort(folded)
    ordered = folded[order]
    # Start behind the widest gap, so that angles that agree are never cut apart where the circle closes.
    start = (np.argmax(np.diff(ordered, append=ordered[0] + period)) + 1) % angles.size
    order = np.roll(order, -start)
    ordered = np.concatenate([ordered[start:], ordered[:start] + period])

    group = np.concatenate([[0], np.cumsum(np.diff(ordered) > _SAME_ANGLE)])
    count = np.bincount(group)
    middle = np.bincount(group, ordered) / count
    gaps = np.diff(middle, append=middle[0] + period)  # gaps[i] follows group i, the last one closes the circle
    gaps = _without_missing_wedges(gaps, period)
    share = (gaps + np.roll(gaps, 1)) / 2 / count
    weights = np.empty(angles.size)
    weights[order] = share[group]
    return weights


def _without_missing_wedges(gaps: np.ndarray, period: float) -> np.ndarray:
    """The gaps with missing wedges, told by the rule of `angle_weights`, as wide as the widest true gap."""
    widest = np.sort(gaps)[::-1]
    if gaps.size > 2:
        for n_wedges in range(max(1, min(4, gaps.size // 8)), 0, -1):
            stand_out = widest[n_wedges - 1] > _MISSING * widest[n_wedges]
            if stand_out and (n_wedges == 1 or widest[:n_wedges].sum() < period / 2):
                return np.minimum(gaps, widest[n_wedges])
    return gaps

"""The steps that the stripe corrections are made of.

All of them work on line integrals with the angles last, (n, n_detectors, n_angles): a detector's values lie together,
and sorting them or smoothing over them walks through the memory in order.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from scipy.ndimage import uniform_filter1d

from tomolearn._validation import check_integer, check_real
from tomolearn.ops import sliding_median
from tomolearn.preprocessing._stacks import empty, interpolate_columns

GROUP_BYTES = 2**24  # of the slices worked on together: some copies of them stay near the caches
LINES_BYTES = 2**20  # sorted together: keys and values stay in the second-level cache
MIN_NOISE = 1e-6  # of the ratios that stripes are detected by: rounding of float32
OFFSET_PASSES = 2  # in the first one the neighbours, which a detector is compared with, have stripes too
SMOOTH_ANGLES = 10  # of the uniform filter that unresponsive detectors are compared with, as in the authors' code


def sort_angles(x: torch.Tensor):
    """Values of each detector in ascending order, and the angles (int64) that they come from; ties by angle."""
    if x.dtype != torch.float32:
        return torch.sort(x, dim=-1, stable=True)
    lines = x.reshape(-1, x.shape[-1]).numpy()
    values, order = np.empty_like(lines), np.empty(lines.shape, np.int64)
    step = max(1, LINES_BYTES // (8 * lines.shape[1]))
    parts = [slice(start, start + step) for start in range(0, len(lines), step)]

    def sort_part(part):
        _sort_lines(lines[part], values[part], order[part])

    if torch.get_num_threads() > 1 and len(parts) > 1:  # NumPy sorts with the interpreter's lock released
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            list(pool.map(sort_part, parts))
    else:
        for part in parts:
            sort_part(part)
    return torch.from_numpy(values).view(x.shape), torch.from_numpy(order).view(x.shape)


def _sort_lines(lines, values, order):
    """Sort float32 lines by one integer for value and place: NumPy's vectorised sort is 4 times as fast as a stable
    argsort, and equal values keep their order.
    """
    bits = lines.view(np.int32)
    # float32 orders as its bits do where it is positive, and the other way round where it is negative
    np.multiply(bits ^ ((bits >> 31) & 0x7FFFFFFF), 1 << 32, out=order, dtype=np.int64)
    order += np.arange(lines.shape[1])
    order.sort(axis=1)
    bits = values.view(np.int32)
    np.right_shift(order, 32, out=bits, casting="unsafe")
    bits ^= (bits >> 31) & 0x7FFFFFFF
    order &= 0xFFFFFFFF


def unsort_angles(values: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Put sorted values back to the angles they came from."""
    return empty(values.shape, values.dtype).scatter_(-1, order, values)


def detect_stripes(profiles: np.ndarray, snr: float) -> np.ndarray:
    """Which entries of each row of ``profiles`` (n, n_detectors) stand out: algorithm 4 of Vo, Atwood and Drakopoulos.

    The middle half of the sorted entries is fitted by a line; the span of the line over all entries is the noise.
    """
    n_detectors = profiles.shape[1]
    ascending = np.sort(profiles, axis=1)
    n_drop = n_detectors // 4
    x = np.arange(n_drop, n_detectors - n_drop - 1)
    if len(x) < 2:
        return np.zeros(profiles.shape, bool)
    middle = ascending[:, x]
    slope = (middle - middle.mean(axis=1, keepdims=True)) @ (x - x.mean()) / np.square(x - x.mean()).sum()
    low = middle.mean(axis=1) - slope * x.mean()
    high = low + slope * (n_detectors - 1)
    # a scan without noise has no span; any difference would be a stripe
    noise = np.maximum(np.abs(high - low), MIN_NOISE)
    above = (ascending[:, -1] - high >= snr * noise)[:, None] & (profiles > (high + noise * snr / 2)[:, None])
    below = (low - ascending[:, 0] >= snr * noise)[:, None] & (profiles <= (low - noise * snr / 2)[:, None])
    return above | below


def _dilate(mask):
    """The mask and the entries beside it."""
    wide = mask.copy()
    wide[:, 1:] |= mask[:, :-1]
    wide[:, :-1] |= mask[:, 1:]
    return wide


def divide_large(values: torch.Tensor, snr: float, size: int, drop_ratio: float):
    """Algorithm 5 on sorted values, in place: each detector is divided by its factor or, if that stands out, replaced.

    The factor is the mean of the sorted values, without the lowest and highest, over that of their medians. Division
    by a positive factor leaves the order as it is, so that the result is sorted too.
    """
    smooth = sliding_median(values, size)
    n_angles = values.shape[-1]
    n_drop = int(drop_ratio * n_angles / 2)
    kept = slice(n_drop, n_angles - n_drop)
    mean, of_smooth = (a[..., kept].mean(-1).double().numpy() for a in (values, smooth))
    factor = np.divide(mean, of_smooth, out=np.ones_like(mean), where=of_smooth != 0)
    replaced = torch.from_numpy(_dilate(detect_stripes(factor, snr)))
    # where the mean and that of the neighbours differ in sign there is nothing but noise, which would be turned over
    factor[factor <= 0] = 1.0
    values.div_(torch.from_numpy(factor).to(values.dtype)[..., None])
    values[replaced] = smooth[replaced]
    return values


def fill_unresponsive(x: torch.Tensor, snr: float, size: int) -> torch.Tensor:
    """Algorithm 6: detectors that hardly change with the angle, or much more than others, are interpolated."""
    n_detectors = x.shape[1]
    smooth = torch.from_numpy(uniform_filter1d(x.numpy(), SMOOTH_ANGLES, axis=-1))
    roughness = smooth.sub_(x).abs_().sum(-1).double().numpy()
    background = sliding_median(roughness[..., None], size)[..., 0]
    for mean in (background.mean(axis=1, keepdims=True), roughness.mean(axis=1, keepdims=True)):
        background = np.where(background == 0, mean, background)  # constant lines, as in simulated scans
    ratio = np.divide(roughness, background, out=np.ones_like(roughness), where=background != 0)
    found = _dilate(detect_stripes(ratio, snr))
    found[:, :2] = found[:, -2:] = False  # between the edge and a stripe there is nothing to interpolate from
    found[found.sum(axis=1) >= n_detectors // 3] = False  # so many are no stripes
    if not found.any():
        return x
    filled = x.clone()
    interpolate_columns(filled.transpose(1, 2), ~found)
    return filled


def low_pass(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """What of each detector's values varies slowly with the angle: a Gaussian window on the Fourier coefficients.

    ``sigma`` counts coefficients of the lines as they are padded by reflection, a tenth of them but at most 150 angles
    on either side.
    """
    n_angles = x.shape[-1]
    pad = min(150, n_angles // 10)
    padded = x[..., np.pad(np.arange(n_angles), pad, mode="reflect")]
    frequency = torch.arange(padded.shape[-1] // 2 + 1, dtype=x.dtype)
    window = torch.exp(-(frequency**2) / (2 * sigma**2))
    smooth = torch.fft.irfft(torch.fft.rfft(padded) * window, n=padded.shape[-1])
    return smooth[..., pad : pad + n_angles].contiguous()


def check_size(size, name):
    """``size`` as an odd int >= 1."""
    size = check_integer(size, name, low=1, high=2**20 - 1)
    if size % 2 == 0:
        raise ValueError(
            f"{name} must be odd, so that the window has a middle; got {size}. Take {size - 1} or {size + 1}."
        )
    return size


def check_snr(snr):
    """``snr`` as a float above 1."""
    return check_real(snr, "snr", low=1, open_low=True)


def check_drop_ratio(drop_ratio):
    """``drop_ratio`` as a float in [0, 0.8]."""
    return check_real(drop_ratio, "drop_ratio", low=0, high=0.8)


def over_lines(step, stack):
    """``step`` on groups of slices with the angles last, (k, n_detectors, n_angles)."""
    result = empty(stack.shape, stack.dtype)
    n_slices, n_angles, n_detectors = stack.shape
    n = max(1, GROUP_BYTES // (n_angles * n_detectors * stack.element_size()))
    for start in range(0, n_slices, n):
        part = slice(start, start + n)
        lines = empty((len(stack[part]), n_detectors, n_angles), stack.dtype)
        _swap(stack[part], lines)
        _swap(step(lines), result[part])
    return result


def _swap(source, target):
    """Copy with the last two axes swapped; torch transposes matrices by tiles, but stacks of them value by value."""
    for one, other in zip(source, target, strict=True):
        other.copy_(one.t())


def sorting(x, size):
    """Algorithm 3 on lines."""
    values, order = sort_angles(x)
    return unsort_angles(sliding_median(values, size), order)


def filtering(x, sigma, size):
    """Algorithm 2 on lines."""
    smooth = low_pass(x, sigma)
    return sorting(smooth, size).add_(x).sub_(smooth)


def large(x, snr, size, drop_ratio):
    """Algorithm 5 on lines."""
    values, order = sort_angles(x)
    return unsort_angles(divide_large(values, snr, size, drop_ratio), order)


def unresponsive(x, snr, size, residual):
    """Algorithm 6 on lines."""
    filled = fill_unresponsive(x, snr, size)
    return large(filled, snr, size, 0.1) if residual else filled


def offset(x, size):
    """What a detector differs by from the median of its neighbours is subtracted, in place, on lines."""
    n_angles = x.shape[-1]
    middle = slice(n_angles // 4, n_angles - n_angles // 4)
    for _ in range(OFFSET_PASSES):
        difference = (x - sliding_median(x, size)).numpy()
        difference.sort(axis=-1)
        x.sub_(torch.from_numpy(difference[..., middle].mean(axis=-1, keepdims=True)))
    return x


def all_of_them(x, snr, large_size, sorting_size, drop_ratio):
    """Algorithms 6, 5 and 3 on lines, one after the other.

    The values that leave 5 are in the order of those that entered it (see `divide_large`): sorting once serves both.
    """
    values, order = sort_angles(fill_unresponsive(x, snr, large_size))
    values = divide_large(values, snr, large_size, drop_ratio)
    return unsort_angles(sliding_median(values, sorting_size), order)

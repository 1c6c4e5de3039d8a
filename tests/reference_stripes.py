"""Slow twins of the methods against stripes, written from the paper: one sinogram (angles, detectors) at a time.

N. T. Vo, R. C. Atwood and M. Drakopoulos, Optics Express 26 (2018) 28396, DOI 10.1364/OE.26.028396.
"""

import numpy as np
import scipy.ndimage


def sorted_columns(x):
    order = np.argsort(x, axis=0, kind="stable")
    return np.take_along_axis(x, order, axis=0), order


def unsorted_columns(values, order):
    result = np.empty_like(values)
    np.put_along_axis(result, order, values, axis=0)
    return result


def outstanding(profile, snr):
    """Algorithm 4: a line through the middle half of the sorted profile; what lies far off its ends."""
    n = len(profile)
    ascending = np.sort(profile)
    x = np.arange(n)[n // 4 : -(n // 4) - 1]
    slope, low = np.polyfit(x, ascending[x], 1)
    high = low + slope * (n - 1)
    noise = max(abs(high - low), 1e-6)
    found = np.zeros(n, bool)
    if (ascending[-1] - high) / noise >= snr:
        found |= profile > high + noise * snr / 2
    if (low - ascending[0]) / noise >= snr:
        found |= profile <= low - noise * snr / 2
    return scipy.ndimage.binary_dilation(found)


def sorting_twin(x, size):
    values, order = sorted_columns(x)
    return unsorted_columns(scipy.ndimage.median_filter(values, (1, size)), order)


def large_twin(x, snr, size, drop_ratio):
    values, order = sorted_columns(x)
    smooth = scipy.ndimage.median_filter(values, (1, size))
    drop = int(drop_ratio * len(x) / 2)
    ratio = values[drop : len(x) - drop].mean(axis=0) / smooth[drop : len(x) - drop].mean(axis=0)
    found = outstanding(ratio, snr)
    return np.where(found, unsorted_columns(smooth, order), x / np.where(ratio > 0, ratio, 1))


def unresponsive_twin(x, snr, size):
    roughness = abs(x - scipy.ndimage.uniform_filter1d(x, 10, axis=0)).sum(axis=0)
    found = outstanding(roughness / scipy.ndimage.median_filter(roughness, size), snr)
    found[:2] = found[-2:] = False
    good = np.flatnonzero(~found)
    return np.array([np.interp(np.arange(x.shape[1]), good, line[good]) for line in x])


def filtering_twin(x, sigma, size, offset=0.0):
    """``offset`` moves the window beside the coefficient of frequency zero; real values see both sides of it."""
    pad = min(150, len(x) // 10)
    padded = np.pad(x, ((pad, pad), (0, 0)), mode="reflect")
    frequency = np.fft.fftfreq(len(padded), 1 / len(padded))
    window = sum(np.exp(-np.square(frequency + s * offset) / (2 * sigma**2)) for s in (-1, 1)) / 2
    smooth = np.fft.ifft(np.fft.fft(padded, axis=0) * window[:, None], axis=0).real[pad : pad + len(x)]
    return sorting_twin(smooth, size) + x - smooth


def offset_twin(x, size):
    for _ in range(2):
        difference = np.sort(x - scipy.ndimage.median_filter(x, (1, size)), axis=0)
        x = x - difference[len(x) // 4 : len(x) - len(x) // 4].mean(axis=0)
    return x

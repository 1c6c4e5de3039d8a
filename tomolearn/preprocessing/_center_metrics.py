"""The numbers that are least, or greatest, where a trial centre is right."""

import math

import numpy as np
import torch

from tomolearn.geometry import ParallelBeam
from tomolearn.operators import RadonOperator
from tomolearn.ops.filters import angle_weights, filter_sinogram

__all__ = [
    "DoubleWedge",
    "EntropyOfImages",
    "bin_detectors",
    "binned",
    "correlate_opposite",
    "cubic_weights",
    "half_turn_spectrum",
    "has_structure",
    "vertex",
]

BATCH_BYTES = 2**24  # of trial centres computed together
LEAST_WEIGHT = 0.01
TAPER = 16  # the ends of a view are faded over this part of its width
SMOOTHING = 0.1  # cycles per pixel: what counts in the correlation of opposite views
UPSAMPLING = 16
LEAST_PEAK = 0.5  # of the highest peak: a lower one inside the search is no match
N_BINS = 64  # of the histogram


def has_structure(stack: torch.Tensor) -> torch.Tensor:
    """Which slices (n,) hold more than one value, up to rounding."""
    flat = stack.flatten(1)
    low, high = flat.amin(1), flat.amax(1)
    return high - low > 1e-6 * torch.maximum(low.abs(), high.abs())


def bin_detectors(stack: torch.Tensor, factor: int) -> torch.Tensor:
    """Means of ``factor`` neighbouring detectors; what is left over at the end is dropped."""
    if factor == 1:
        return stack
    n = stack.shape[-1] // factor
    return stack[..., : n * factor].unflatten(-1, (n, factor)).mean(-1)


def binned(center, factor: int):
    """The detector coordinate ``center`` after `bin_detectors`."""
    return (np.asarray(center) - (factor - 1) / 2) / factor


def half_turn_spectrum(sinogram: torch.Tensor) -> torch.Tensor:
    """Transform of a half turn along the angle, with as many zeros after it: (n_angles + 1, n_detectors), complex."""
    return torch.fft.rfft(sinogram, 2 * len(sinogram), dim=0)


class DoubleWedge:
    """Energy outside the double wedge that the spectrum of a full sinogram fills (Vo et al. 2014), for trial centres.

    The half turn is continued to a full one by its mirror image about the trial centre. The transform along the angle
    does not depend on the centre and is taken once, by `half_turn_spectrum`; detectors may be binned after it.
    Smoothing is a weight in the spectrum: smoothing the half sinogram itself would mix its two ends wrongly and move
    the answer by a tenth of a pixel and more.
    """

    def __init__(self, spectrum: torch.Tensor, *, smoothing, ratio: float):
        n_angles, n_detectors = spectrum.shape[0] - 1, spectrum.shape[1]
        k = torch.arange(n_angles + 1)[:, None]
        u = torch.fft.fftfreq(n_detectors, 1 / n_detectors).abs()[None]
        weight = torch.exp(
            -2 * math.pi**2 * ((smoothing[0] * k / (2 * n_angles)) ** 2 + (smoothing[1] * u / n_detectors) ** 2)
        )
        lowest = min(20, math.ceil(0.1 * n_angles))  # frequencies along the angle that every object fills
        weight *= (u <= k / (math.pi * ratio)) & (k > lowest) & (u > 1)
        used = torch.nonzero(weight.amax(1) > LEAST_WEIGHT).flatten()
        rows = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(n_angles, n_angles + 1)
        self.measured, k, weight = spectrum[rows], k[rows], weight[rows]
        highest = int((u * (weight > 0)).max())  # frequencies above, of either sign, have no weight
        self.columns = slice(1, highest + 1), slice(max(n_detectors - highest, highest + 1), n_detectors)
        self.weight = torch.cat([weight[:, part] for part in self.columns], dim=1)
        self.n_coefficients = weight.numel()
        # later by half a turn: every other coefficient changes its sign
        mirrored = self.measured.flip(1) * torch.where(k % 2 == 1, -1.0, 1.0)
        ends = mirrored[:, :1].expand(-1, 2), mirrored[:, -1:].expand(-1, 2)
        self.mirrored = torch.cat([ends[0], mirrored, ends[1]], dim=1)
        # where the mirror image has nothing, the half turn backwards in time joins without a step
        self.filling = self.measured.conj() * torch.polar(torch.ones(len(k), 1), math.pi / n_angles * k.float())

    def __call__(self, centers) -> np.ndarray:
        """One number for each centre, float64."""
        step = max(1, BATCH_BYTES // (self.measured.numel() * self.measured.element_size()))
        values, full_turns = [], torch.empty(min(step, len(centers)), *self.measured.shape, dtype=self.measured.dtype)
        for start in range(0, len(centers), step):
            part = centers[start : start + step]
            for center, full_turn in zip(part, full_turns, strict=False):
                self._complete(float(center), full_turn)
            spectrum = torch.fft.fft(full_turns[: len(part)], dim=2)
            spectrum = torch.cat([spectrum[..., part] for part in self.columns], dim=2).abs()
            values.append((spectrum * self.weight).sum((1, 2), dtype=torch.float64))
        return torch.cat(values).numpy() / self.n_coefficients

    def _complete(self, center, out):
        """Write the full turn, transformed along the angle, to ``out``."""
        n = self.measured.shape[1]
        shift = 2 * center - (n - 1)
        whole = math.floor(shift)
        low, high = max(0, math.ceil(shift)), min(n, n + whole)  # where the mirror image has something
        torch.add(self.measured, self.filling, out=out)
        if low < high:
            f = whole + 1 - shift  # position between two samples: sample index - shift = (index - whole - 1) + f
            taps = [(1.0, 0)] if f == 1 else list(zip(cubic_weights(f), (-1, 0, 1, 2), strict=True))
            first = low - whole - (f != 1) + 2  # in the padded array
            both = out[:, low:high].copy_(self.measured[:, low:high])
            for w, j in taps:
                both.add_(self.mirrored[:, first + j : first + j + high - low], alpha=w)


def cubic_weights(f: float) -> tuple[float, float, float, float]:
    """Weights of four samples for a point at the part ``f`` between the middle two (Catmull and Rom)."""
    return (
        ((2 - f) * f - 1) * f / 2,
        ((3 * f - 5) * f * f + 2) / 2,
        ((4 - 3 * f) * f + 1) * f / 2,
        (f - 1) * f * f / 2,
    )


def correlate_opposite(views: torch.Tensor, opposite: torch.Tensor, search) -> float:
    """Centre at the peak of the phase correlation of views (m, n_detectors) with the mirror images of their opposites.

    The cross spectra of all views are added before the phase is taken; what they do not agree on then counts less.
    """
    n = views.shape[1]
    n_fft = 2 * n
    fade = max(2, n // TAPER)
    window = torch.ones(n, dtype=torch.float64)
    ramp = torch.sin(math.pi / 2 * (torch.arange(fade, dtype=torch.float64) + 0.5) / fade) ** 2
    window[:fade], window[-fade:] = ramp, ramp.flip(0)

    def spectrum(part):
        part = part.to(torch.float64)
        return torch.fft.rfft((part - part[:, [0, -1]].mean(1, keepdim=True)) * window, n_fft)

    a, b = spectrum(views), spectrum(opposite.flip(1))
    energy = ((a.abs() ** 2).sum(0) * (b.abs() ** 2).sum(0)).sqrt()
    if not energy.max() > 0:
        return math.nan
    cross = (a * b.conj()).sum(0) / (energy + 1e-9 * energy.max())
    cross *= torch.exp(-((torch.fft.rfftfreq(n_fft) / SMOOTHING) ** 2) / 2)
    cross[0] = 0
    peak = torch.fft.irfft(cross, n_fft * UPSAMPLING)
    low, high = (round((2 * c - (n - 1)) * UPSAMPLING) for c in search)
    lags = torch.arange(low - 1, high + 2)
    values = peak[lags % len(peak)].numpy()
    best = 1 + int(values[1:-1].argmax())
    if values[best] < LEAST_PEAK * float(peak.max()):  # noise: the views match elsewhere
        lag = int(peak.argmax())
        lag -= len(peak) if lag > len(peak) // 2 else 0
        return search[0] if lag < low else search[1]
    return (n - 1 + (int(lags[best]) + vertex(*-values[best - 1 : best + 2])) / UPSAMPLING) / 2


def vertex(left: float, middle: float, right: float) -> float:
    """Where the parabola through the values at -1, 0, 1 has its minimum, within half a step."""
    curvature = left - 2 * middle + right
    return float(np.clip((left - right) / (2 * curvature), -0.5, 0.5)) if curvature > 0 else 0.0


class EntropyOfImages:
    """Entropy of the histogram of a slice, reconstructed with trial centres (Donath et al. 2006)."""

    def __init__(self, sinogram: torch.Tensor, angles, *, middle: float):
        n_angles, n = sinogram.shape
        share = torch.from_numpy(angle_weights(angles)).to(sinogram.dtype)[:, None]
        self.filtered = filter_sinogram(sinogram, filter="hann", padding="edge") * share
        self.angles = angles
        r = torch.arange(n) - (n - 1) / 2
        self.disc = (r[:, None] ** 2 + r**2 <= ((n - 1) / 2) ** 2).flatten()
        image = self._images(np.array([middle]))[0]
        self.range = float(image.min()), float(image.max())

    def __call__(self, centers) -> np.ndarray:
        """One number for each centre, float64."""
        step = max(1, BATCH_BYTES // (self.disc.numel() * 4))
        values = []
        for start in range(0, len(centers), step):
            for image in self._images(centers[start : start + step]):
                counts = torch.histc(image.clamp(*self.range), N_BINS, *self.range)
                p = counts[counts > 0].to(torch.float64) / len(image)
                values.append(float(-(p * p.log()).sum()))
        return np.array(values)

    def _images(self, centers):
        n = self.filtered.shape[1]
        beam = ParallelBeam(self.angles, n, center=np.asarray(centers)[:, None], angle_unit="rad")
        stack = self.filtered.expand(len(centers), -1, -1).contiguous()
        return RadonOperator(beam).backproject(stack).flatten(1)[:, self.disc]

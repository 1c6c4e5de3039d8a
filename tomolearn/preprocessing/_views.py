"""Which views of a scan go together: order, the first half turn, opposite pairs."""

import warnings

import numpy as np
import torch

from tomolearn._validation import as_tensor, check_finite
from tomolearn.exceptions import GeometryError
from tomolearn.geometry import as_radians, default_angles

__all__ = [
    "N_TRIED_ROWS",
    "angle_step",
    "as_sorted_scan",
    "check_search",
    "half_turn",
    "opposite_views",
    "telling_rows",
    "tried_rows",
    "warn_at_edge",
]

N_TRIED_ROWS = 9  # rows of a scan that are looked at
N_CENTER_ROWS = 3  # of them, those in which the rotation axis is looked for: few tell it well

MIN_VIEWS = 8
MIN_TURN = 150.0  # degrees; below, too few views have an opposite one


def as_sorted_scan(sinograms, angles, angle_unit):
    """Finite sinograms (n, n_angles, n_detectors), float32, views by increasing angle; and these angles in radians."""
    stack, _ = as_tensor(sinograms, "sinograms", ndim=(2, 3))
    stack = stack.to(torch.float32)  # the axis needs no more
    stack = stack[None] if stack.ndim == 2 else stack
    n_slices, n_angles, n_detectors = stack.shape
    if n_slices == 0 or n_angles < MIN_VIEWS or n_detectors < MIN_VIEWS:
        raise GeometryError(
            f"sinograms must hold at least 1 slice, {MIN_VIEWS} angles and {MIN_VIEWS} detectors; got shape "
            f"{tuple(stack.shape)} (slices, angles, detectors)."
        )
    check_finite(stack, "sinograms", "Repair the pixels first, and take the logarithm with a floor.")
    angles = default_angles(n_angles) if angles is None else as_radians(angles, angle_unit)
    if angles.size != n_angles:
        raise GeometryError(f"angles must be one per projection; got {angles.size} for {n_angles} projections.")
    order = np.argsort(angles, kind="stable")
    if (order != np.arange(n_angles)).any():
        stack, angles = stack[:, torch.from_numpy(order)], angles[order]
    return stack, angles


def angle_step(angles) -> float:
    """Typical distance of neighbouring views, of sorted angles; repeated views do not count."""
    gaps = np.diff(angles)
    gaps = gaps[gaps > 1e-9]
    if not gaps.size:
        raise GeometryError("angles must differ; all of them are the same.")
    return float(np.median(gaps))


def half_turn(stack, angles):
    """The views of the first half turn, its end excluded, on an even grid of angles.

    Views at uneven angles are interpolated linearly, since the Fourier transform along the angle wants even ones.
    """
    step = angle_step(angles)
    n = int(np.searchsorted(angles, angles[0] + np.pi - step / 2))
    turn = np.rad2deg(angles[n - 1] - angles[0] + step)
    if n < MIN_VIEWS or turn < MIN_TURN:
        raise GeometryError(
            f"angles must cover at least {MIN_TURN:g} degrees with {MIN_VIEWS} views or more; got {n} views over "
            f"{turn:.1f} degrees."
        )
    stack, angles = stack[:, :n], angles[:n]
    even = np.linspace(angles[0], angles[-1], n)
    if np.abs(angles - even).max() > 0.1 * step:
        left = np.clip(np.searchsorted(angles, even, side="right") - 1, 0, n - 2)
        width = angles[left + 1] - angles[left]
        part = np.divide(even - angles[left], width, out=np.zeros(n), where=width > 0)
        part = torch.from_numpy(part).to(stack.dtype)[:, None]
        index = torch.from_numpy(left)
        stack, angles = torch.lerp(stack[:, index], stack[:, index + 1], part), even
    return stack, angles


def opposite_views(angles, max_steps: float, max_pairs: int | None = None):
    """Indices (first, second) of the views of sorted angles that are half a turn apart, as nearly as the scan has them.

    All pairs within half a step of half a turn; where there is none, those nearest to it, if within ``max_steps``.
    """
    step = angle_step(angles)
    first = np.arange(len(angles))
    right = np.clip(np.searchsorted(angles, angles + np.pi), 1, len(angles) - 1)
    off = np.abs(angles[np.stack([right - 1, right])] - angles - np.pi)
    second, off = np.where(off[0] <= off[1], right - 1, right), off.min(axis=0)
    limit = 0.5 * step if off.min() <= 0.5 * step + 1e-9 else off.min()
    if limit > max_steps * step:
        raise GeometryError(
            f"the scan must have views half a turn apart; the nearest pair is {np.rad2deg(off.min()):.2f} degrees off, "
            f"{off.min() / step:.1f} steps. The method 'vo' needs no opposite views."
        )
    good = np.flatnonzero(off <= limit + 1e-9)
    if max_pairs is not None and len(good) > max_pairs:
        good = good[np.linspace(0, len(good) - 1, max_pairs).round().astype(int)]
    return first[good], second[good]


def check_search(search, n_detectors: int) -> tuple[float, float]:
    """Lowest and highest centre to try; None: a quarter of the detector to either side of its middle."""
    middle = (n_detectors - 1) / 2
    if search is None:
        return middle - n_detectors / 4, middle + n_detectors / 4
    rule = f"search must be two detector coordinates, low < high, within 0 and {n_detectors - 1}"
    try:
        low, high = (float(value) for value in search)
    except (TypeError, ValueError) as error:
        raise GeometryError(f"{rule}; got {search!r}.") from error
    if not 0 <= low < high <= n_detectors - 1:
        raise GeometryError(f"{rule}; got {search!r}.")
    return low, high


def warn_at_edge(center: float, search, margin: float, stacklevel: int = 4) -> None:
    """Warn if the answer is as near to an end of the search as the search can tell."""
    low, high = search
    if min(center - low, high - center) <= margin:
        warnings.warn(
            f"the centre {center:.2f} lies at the edge of its search, {low:.2f} to {high:.2f}: the axis may be "
            "outside. Give another search=(low, high), or another method.",
            stacklevel=stacklevel,
        )


def tried_rows(n: int) -> np.ndarray:
    """Some of ``n`` rows, spread over the scan."""
    return np.unique(np.linspace(0, n - 1, N_TRIED_ROWS + 2).round().astype(int)[1:-1])


def telling_rows(sinograms: np.ndarray) -> np.ndarray:
    """Which sinograms show most: those behind the blades of the beam, or in air, tell nothing of the axis."""
    return np.sort(np.argsort(-sinograms.std(axis=(1, 2)), kind="stable")[:N_CENTER_ROWS])

"""Flat-field correction: from raw counts to transmissions."""

import warnings

import numpy as np
import torch

from tomolearn._validation import as_tensor, check_choice, check_finite
from tomolearn.base import Corrector, register
from tomolearn.exceptions import FileFormatError
from tomolearn.preprocessing._stacks import REMEDY, empty, interpolate_columns

__all__ = ["FlatFieldCorrector", "flat_field"]

DEAD = "values of dead pixels interpolated"
NO_BEAM = "values of rows without beam set to 1"
NOISES = 5  # of the averaged frames: what the beam must exceed, since without beam half the pixels do so by chance
SAMPLE = 256  # pixels of a row that its noise is estimated from, at most
LEAST_LIT = 0.01  # of the pixels of a row: fewer than this are hot pixels, and tell nothing of the others


def _average(frames, name, n_rows, n_detectors, average):
    """Mean or median over the frames (n_rows, k, n_detectors), as float64 (n_rows, n_detectors)."""
    frames = frames.detach().numpy() if isinstance(frames, torch.Tensor) else np.asarray(frames)
    if frames.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers; got dtype {frames.dtype}.")
    if frames.ndim != 3 or frames.shape[::2] != (n_rows, n_detectors) or not frames.shape[1]:
        raise ValueError(
            f"{name} must have shape (n_rows, k, n_detectors) = ({n_rows}, k >= 1, {n_detectors}) as the rows and "
            f"detectors of X; got {frames.shape}. Frames as detectors write them, (k, n_rows, n_detectors), become "
            "so by swapaxes(0, 1)."
        )
    if average == "mean":
        return frames.mean(axis=1, dtype=np.float64)
    return np.median(frames, axis=1).astype(np.float64)


def _noise(frames):
    """Standard deviation of one frame, (n_rows, 1): of the typical pixel, by medians, so that zingers do not count."""
    frames = np.asarray(frames)
    frames = frames[:, :, :: -(-frames.shape[2] // SAMPLE)].astype(np.float64)
    with np.errstate(invalid="ignore"):  # pixels that are not finite become NaN, and are not alive
        frames -= np.median(frames, axis=1, keepdims=True)
    noise = np.median(np.median(np.abs(frames, out=frames), axis=1), axis=1, keepdims=True) * 1.4826
    return np.where(np.isfinite(noise), noise, 0.0)


def _least_beam(flats, darks):
    """What noise alone gives for flat - dark at most, (n_rows, 1); 0 where nothing tells the noise."""
    n_flats, n_darks = np.shape(flats)[1], np.shape(darks)[1]
    if max(n_flats, n_darks) < 2:
        return 0.0
    noise = _noise(darks if n_darks > 1 else flats)  # without beam both have that of the darks
    return NOISES * noise * np.sqrt(1 / n_flats + 1 / n_darks)


def _learn(n_rows, n_detectors, flats, darks, average):
    """Dark level and gain 1 / (flat - dark) of each pixel, float64, and which pixels live; None for what is not given.

    A pixel lives where the flat exceeds the dark by more than their noise, and both are finite. Each row is judged by
    itself: a scan that is worked on in blocks gives the same.
    """
    check_choice(average, "average", ("mean", "median"))
    dark = None if darks is None else _average(darks, "darks", n_rows, n_detectors, average)
    if flats is None:
        if dark is not None:
            check_finite(torch.from_numpy(dark), "darks", "Without flats no pixel is taken for dead.")
        return dark, None, None
    beam = _average(flats, "flats", n_rows, n_detectors, average) - (0 if dark is None else dark)
    least = 0.0 if dark is None else _least_beam(flats, darks)
    if dark is not None:
        _check_exchanged(beam, dark, least)
    alive = np.isfinite(beam) & (beam > least)
    alive[alive.mean(axis=1) < LEAST_LIT] = False
    return dark, 1 / np.where(alive, beam, 1.0), alive


def _check_exchanged(beam, dark, least):
    """Raises where the flats of a row lie far below its darks, which neither noise nor a shutter explains."""
    both = np.isfinite(beam)
    typical, level = (np.median(np.where(both, a, 0.0), axis=1) for a in (beam, dark))
    wrong = np.flatnonzero(typical < -np.maximum(np.broadcast_to(least, beam.shape)[:, 0], 0.1 * np.abs(level)))
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(
            f"flats must exceed darks; in row {row} the flat lies at {level[row] + typical[row]:g} and the dark at "
            f"{level[row]:g}. Are flats and darks exchanged?"
        )


def _check_beam(beam_intensity, n_angles):
    if beam_intensity is None:
        return None
    beam = as_tensor(beam_intensity, "beam_intensity")[0].detach().numpy().astype(np.float64)
    if beam.shape != (n_angles,) or not (np.isfinite(beam) & (beam > 0)).all():
        raise ValueError(
            f"beam_intensity must be {n_angles} positive finite numbers, one for each projection, relative to the beam "
            f"of the flats; got shape {beam.shape} with values from {beam.min(initial=np.inf):g} to "
            f"{beam.max(initial=-np.inf):g}."
        )
    return beam


def _divide(counts, out, dark, gain, beam, alive, dead):
    """(counts - dark) * gain / beam for slices (k, n_angles, n_detectors) into ``out``; counts of what was repaired."""
    row = [None if a is None else torch.from_numpy(a).to(out.dtype)[:, None] for a in (dark, gain)]
    for i in range(len(out)):  # slice by slice: what one step leaves in the cache, the next one finds there
        if row[0] is None:
            out[i].copy_(counts[i])
        else:
            torch.sub(counts[i], row[0][i], out=out[i])
        if row[1] is not None:
            out[i].mul_(row[1][i])
        if beam is not None:
            out[i].mul_(torch.from_numpy(1 / beam).to(out.dtype)[:, None])
    if alive is None or alive.all():
        return {DEAD: 0, NO_BEAM: 0}
    if dead == "nan":
        out.masked_fill_(torch.from_numpy(~alive)[:, None], torch.nan)
        return {DEAD: 0, NO_BEAM: 0}
    unlit = ~alive.any(axis=1)
    out[torch.from_numpy(unlit)] = 1.0
    good = alive | unlit[:, None]
    interpolate_columns(out, good)
    n_angles, n_detectors = out.shape[1:]
    return {DEAD: int((~good).sum()) * n_angles, NO_BEAM: int(unlit.sum()) * n_angles * n_detectors}


def flat_field(X, flats=None, darks=None, *, average="mean", beam_intensity=None, dead="repair", return_count=False):
    """Transmissions (counts - dark) / (flat - dark).

    Parameters
    ----------
    X : array-like or Tensor of shape (n_rows, n_angles, n_detectors)
        Raw counts.
    flats : array-like or Tensor of shape (n_rows, k, n_detectors), default=None
        Frames of the open beam, k >= 1. None: 1 in place of flat - dark.
    darks : array-like or Tensor of shape (n_rows, k, n_detectors), default=None
        Frames without beam, k >= 1. None: 0.
    average : {"mean", "median"}, default="mean"
        Over the frames; the median forgets zingers, and is noisier by a quarter.
    beam_intensity : array-like of shape (n_angles,), default=None
        Intensity of the beam during each projection, relative to its intensity during the flats; divided out.
    dead : {"repair", "nan"}, default="repair"
        Pixels where the flat does not exceed the dark by more than their noise, or one of them is not finite, tell
        nothing of the object. "repair": in each projection, linear interpolation between the nearest living detectors;
        rows without beam, where fewer than a hundredth of the pixels live, become 1, which is air. "nan": NaN, for
        methods that leave such values out.
    return_count : bool, default=False
        Give back how many values were interpolated or set to 1, too.

    Returns
    -------
    ndarray or Tensor of shape (n_rows, n_angles, n_detectors)
        Transmissions, 1 in air; the kind of ``X`` and its floating dtype, float32 for integers.
    int
        Values of dead pixels interpolated and of rows without beam set to 1; only with ``return_count``.

    Raises
    ------
    ValueError
        If shapes do not go together, values of ``X`` or ``beam_intensity`` are not finite, the flats of a row lie below
        its darks by more than a tenth, or a choice is none of those listed.
    TypeError
        If an argument does not hold real numbers.

    Notes
    -----
    Transmissions can be negative or above 1 by noise; they are left so, since clipping them would shift their mean.

    The noise is the standard deviation over the darks (over the flats, if there is one dark only) of the typical pixel
    of the row; a living pixel exceeds 5 times that of the difference of the averages. With one frame of each kind
    nothing is known of it, and pixels live where flat > dark.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import flat_field
    >>> counts = np.array([[[110, 60, 35]]], dtype=np.uint16)
    >>> flats, darks = np.full((1, 4, 3), 110), np.full((1, 2, 3), 10)
    >>> flat_field(counts, flats, darks)
    array([[[1.  , 0.5 , 0.25]]], dtype=float32)
    """
    check_choice(dead, "dead", ("repair", "nan"))
    X = X if isinstance(X, torch.Tensor) else np.asarray(X)
    if X.ndim != 3 or 0 in X.shape:
        raise ValueError(f"X must be (n_rows, n_angles, n_detectors), none of them zero; got shape {tuple(X.shape)}.")
    # integers become floating point slice by slice, not all at once
    nothing, restore = as_tensor(X[:0] if isinstance(X, torch.Tensor) else np.empty(0, X.dtype), "X")
    n_rows, n_angles, n_detectors = X.shape
    dark, gain, alive = _learn(n_rows, n_detectors, flats, darks, average)
    beam = _check_beam(beam_intensity, n_angles)
    out, count = empty(X.shape, nothing.dtype), 0
    for i in range(n_rows):
        counts = as_tensor(X[i], "X")[0].detach()[None]
        check_finite(counts, f"X[{i}]", REMEDY)
        one = [None if a is None else a[i : i + 1] for a in (dark, gain, alive)]
        count += sum(_divide(counts, out[i : i + 1], one[0], one[1], beam, one[2], dead).values())
    return (restore(out), count) if return_count else restore(out)


@register
class FlatFieldCorrector(Corrector):
    """Transmissions (counts - dark) / (flat - dark).

    The frames are given to ``fit``; without flats nothing but the darks is subtracted. ``transform`` warns of dead
    pixels that were interpolated and of rows without beam, as behind the blades of a slit, that were set to 1;
    ``transform_counted`` gives the numbers of their values.

    Parameters
    ----------
    average : {"mean", "median"}, default="mean"
        Over the frames; the median forgets zingers, and is noisier by a quarter.
    dead : {"repair", "nan"}, default="repair"
        What becomes of pixels where the flat does not exceed the dark by more than their noise, or one of them is not
        finite. "repair": in each projection, linear interpolation between the nearest living detectors; rows where
        fewer than a hundredth of the pixels live become 1, which is air. "nan": NaN.
    sinogram_shape : tuple of two int, default=None
        Angles and detectors of a sinogram, needed for flat ``X`` only. None: a flat row is a sinogram of one angle.

    Attributes
    ----------
    dark_ : ndarray of shape (n_rows, n_detectors) or None
        Average of the dark frames.
    gain_ : ndarray of shape (n_rows, n_detectors) or None
        1 / (flat - dark); 1 in dead pixels.
    alive_ : ndarray of bool of shape (n_rows, n_detectors) or None
        False in dead pixels.
    beam_intensity_ : ndarray of shape (n_angles,) or None
        As given to ``fit``.
    n_rows_ : int
        Rows of ``X``; ``transform`` takes the same ones, if there were flats or darks.
    sinogram_shape_, corrected_shape_ : tuple of two int
        Angles and detectors of what comes in and what goes out.
    n_features_in_ : int
        ``n_angles * n_detectors``.
    feature_names_in_ : ndarray of str
        Column names; only if ``X`` was a data frame.

    See Also
    --------
    flat_field : The same as a function.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.preprocessing import FlatFieldCorrector
    >>> counts = np.array([[[110, 60, 35]]], dtype=np.uint16)
    >>> flats, darks = np.full((1, 4, 3), 110), np.full((1, 2, 3), 10)
    >>> FlatFieldCorrector().fit(counts, flats=flats, darks=darks).transform(counts)
    array([[[1.  , 0.5 , 0.25]]], dtype=float32)
    """

    couples_projections = False  # the noise of the flat fields is common to all: rings, which are no noise to a network

    def __init__(self, *, average="mean", dead="repair", sinogram_shape=None):
        self.average = average
        self.dead = dead
        self.sinogram_shape = sinogram_shape

    def fit(self, X, y=None, *, flats=None, darks=None, beam_intensity=None):
        """Average the frames.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_angles, n_detectors) or (n_rows, n_angles * n_detectors)
            Raw counts.
        y : ignored
            Images may stand here, for pipelines and searches.
        flats : array-like or Tensor of shape (n_rows, k, n_detectors), default=None
            Frames of the open beam, k >= 1. None: 1 in place of flat - dark.
        darks : array-like or Tensor of shape (n_rows, k, n_detectors), default=None
            Frames without beam, k >= 1. None: 0.
        beam_intensity : array-like of shape (n_angles,), default=None
            Intensity of the beam during each projection, relative to its intensity during the flats; divided out.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If ``X`` is not finite or of a wrong shape, the frames are not of its rows and detectors, the flats of a row
            lie below its darks by more than a tenth, or a parameter is out of its range.
        """
        super().fit(X)
        n_angles, n_detectors = self.sinogram_shape_
        self.dark_, self.gain_, self.alive_ = _learn(self.n_rows_, n_detectors, flats, darks, self.average)
        self.beam_intensity_ = _check_beam(beam_intensity, n_angles)
        if flats is None and darks is None and beam_intensity is None:
            warnings.warn(
                "FlatFieldCorrector.fit was given neither flats nor darks nor beam_intensity: X will pass unchanged. "
                "Give fit(X, flats=..., darks=...), or leave this step out.",
                stacklevel=2,
            )
        return self

    def _fit_parameters(self, X):
        check_choice(self.dead, "dead", ("repair", "nan"))
        self.n_rows_ = len(X)

    def _set_model_state(self, state, tensors, name):
        super()._set_model_state(state, tensors, name)
        n_angles, n_detectors = self.sinogram_shape_
        for key, dtype in (("dark_", np.float64), ("gain_", np.float64), ("alive_", np.bool_)):
            value = state.get(key)
            if value is not None and (
                not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != (self.n_rows_, n_detectors)
            ):
                raise FileFormatError(
                    f"{name} must hold {key}, None or {np.dtype(dtype)} of shape {(self.n_rows_, n_detectors)}; got "
                    f"{value!r:.200}."
                )
        self.dark_, self.gain_, self.alive_ = (state.get(key) for key in ("dark_", "gain_", "alive_"))
        if (self.gain_ is None) != (self.alive_ is None):
            raise FileFormatError(f"{name} must hold gain_ and alive_, both or neither.")
        self.beam_intensity_ = _check_beam(state.get("beam_intensity_"), n_angles)

    def _check_n_slices(self, n):
        if n != self.n_rows_ and (self.gain_ is not None or self.dark_ is not None):
            raise ValueError(
                f"X must have the {self.n_rows_} rows whose flats and darks were given to fit; got {n} rows. Fit "
                "again with the frames of these rows."
            )

    def _correct(self, block, start):
        part = slice(start, start + len(block))
        dark, gain, alive = (None if a is None else a[part] for a in (self.dark_, self.gain_, self.alive_))
        out = empty(block.shape, block.dtype)
        return out, _divide(block, out, dark, gain, self.beam_intensity_, alive, self.dead)

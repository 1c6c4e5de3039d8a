"""A whole scan as a beamline would record it: raw counts, flats and darks of a known object, with known faults."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from sklearn.utils import check_random_state

from tomolearn._validation import check_integer, check_real
from tomolearn.simulation._arguments import check_threads
from tomolearn.simulation._detector import draw_faults
from tomolearn.simulation.ellipses import ellipse_image, ellipse_sinogram
from tomolearn.simulation.spheres import pack_spheres, sphere_projections, sphere_volume

__all__ = ["SimulatedScan", "simulate_scan"]

FULL_BEAM = 40_000.0  # highest count of the open beam: leaves a third of the 16 bits for zingers and profile
OBJECT_RADIUS = 0.42  # of the size: the field of view still holds it when the axis is 8 % off the middle
PIXEL_GAIN_SPREAD = 0.03  # between pixels; the same in scan and flats, so that the correction takes it away


@dataclass(frozen=True, eq=False)
class SimulatedScan:
    """Raw counts of a scan and everything that is true about it, as `simulate_scan` makes it.

    Parameters
    ----------
    counts : ndarray of shape (rows, n_angles, n_detectors), uint16
        What the detector recorded.
    flats : ndarray of shape (rows, n_flats, n_detectors), uint16
        Frames without the object.
    darks : ndarray of shape (rows, n_darks, n_detectors), uint16
        Frames without the beam.
    angles : ndarray of shape (n_angles,), float64
        Radians.
    center : float
        Detector coordinate of the rotation axis.
    volume : ndarray of shape (rows, size, size), float32
        Attenuation in 1 / pixel.
    projections : ndarray of shape (rows, n_angles, n_detectors), float32
        Line integrals, exact: what a perfect correction of noise-free counts gives.
    beam_intensity : ndarray of shape (n_angles,), float64
        Intensity of the beam at each angle, relative to that of the flats.
    gain : ndarray of shape (rows, n_detectors), float32
        Factor between the response of each pixel during the scan and during the flats: 1 where there is no ring.
    dead : ndarray of shape (rows, n_detectors), bool
        Pixels that are stuck at one count in all frames.
    zingers : ndarray of shape (rows, n_angles, n_detectors), bool
        Values of ``counts`` that a stray photon has raised.

    Examples
    --------
    >>> from tomolearn.simulation import simulate_scan
    >>> scan = simulate_scan(2, 32, 48, n_dead=1, random_state=0)
    >>> scan.counts.shape, scan.flats.shape, scan.volume.shape, scan.dead.sum(axis=1).tolist()
    ((2, 48, 32), (2, 20, 32), (2, 32, 32), [1, 1])
    """

    counts: np.ndarray
    flats: np.ndarray
    darks: np.ndarray
    angles: np.ndarray
    center: float
    volume: np.ndarray
    projections: np.ndarray
    beam_intensity: np.ndarray
    gain: np.ndarray
    dead: np.ndarray
    zingers: np.ndarray


def simulate_scan(
    rows,
    size,
    n_angles,
    *,
    n_detectors=None,
    center_offset=0.0,
    full_turn=False,
    absorption=2.0,
    photons=10_000.0,
    dark_level=100.0,
    read_noise=2.0,
    ring_strength=0.0,
    ring_fraction=0.1,
    n_dead=0,
    n_bands=0,
    band_strength=0.05,
    zinger_fraction=0.0,
    beam_profile=0.3,
    beam_drift=0.0,
    n_flats=20,
    n_darks=20,
    random_state=None,
):
    """Raw counts of an object whose volume and projections are known exactly.

    The object is a cylinder around the rotation axis, of radius ``0.42 * size``, with voids and denser spheres packed
    into it; no two rows are alike. The same ``random_state`` gives the same object and axis whatever the faults are,
    so that a scan without faults is the measure for one with them.

    Parameters
    ----------
    rows : int
        Detector rows, which are the slices.
    size : int
        Edge of a slice in pixels, at least 16.
    n_angles : int
        Projections, equally spaced over half a turn, the end excluded.
    n_detectors : int, default=None
        Detector columns; None: ``size``. Fewer see a part of the object only.
    center_offset : float, default=0.0
        Distance of the rotation axis from the middle of the detector, in pixels.
    full_turn : bool, default=False
        True: the angles cover a full turn.
    absorption : float, default=2.0
        Line integral through the middle of the cylinder without spheres.
    photons : float, default=10000
        Photons in the brightest pixel of the open beam. Up to 40000 each counts 1; beyond, the detector is scaled such
        that the open beam counts 40000.
    dark_level : float, default=100
        Mean count without beam; it differs from pixel to pixel by some per cent.
    read_noise : float, default=2.0
        Standard deviation of the electronics in counts.
    ring_strength : float, default=0.0
        Standard deviation of the error of the gain: how much the response of a pixel differs between scan and flats.
    ring_fraction : float, default=0.1
        Share of the pixels that have such an error.
    n_dead : int, default=0
        Pixels of each row that give one and the same count in all frames, flats and darks included.
    n_bands : int, default=0
        Bands of ``n_detectors / 40`` (at least 5) neighbouring pixels in each row whose gain is wrong in common.
    band_strength : float, default=0.05
        Error of the gain in the middle of a band, of either sign; it falls to zero at its borders.
    zinger_fraction : float, default=0.0
        Share of the values, in all frames, that are raised by 10 to 60 % of the open beam.
    beam_profile : float, default=0.3
        Share of the beam that is missing at the corners of the detector.
    beam_drift : float, default=0.0
        Share of the beam by which its intensity rises and falls during the scan.
    n_flats, n_darks : int, default=20
        Frames without object, and without beam.
    random_state : int, RandomState instance or None, default=None
        Source of object, faults and noise.

    Returns
    -------
    SimulatedScan

    Raises
    ------
    ValueError, TypeError
        If a number is out of its range or not a number.

    Notes
    -----
    With the photons N of the pixel, Poisson distributed around
    ``photons * profile * beam_intensity * exp(-projection)``, the count is ``gain * N + dark level + read noise``,
    rounded and cut to 0 ... 65535. A projection is the ray through the middle of the pixel.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.simulation import simulate_scan
    >>> scan = simulate_scan(2, 64, 90, center_offset=-3.5, photons=1e5, random_state=0)
    >>> scan.center
    28.0
    >>> flat, dark = scan.flats.mean(axis=1, keepdims=True), scan.darks.mean(axis=1, keepdims=True)
    >>> measured = -np.log((scan.counts - dark) / (flat - dark))
    >>> bool(abs(measured - scan.projections).mean() < 0.01)
    True
    """
    rows, size = check_integer(rows, "rows", low=1), check_integer(size, "size", low=16)
    n_angles = check_integer(n_angles, "n_angles", low=1)
    n_detectors = size if n_detectors is None else check_integer(n_detectors, "n_detectors", low=8)
    center = (n_detectors - 1) / 2 + check_real(center_offset, "center_offset", low=-n_detectors, high=n_detectors)
    absorption = check_real(absorption, "absorption", low=0, high=50, open_low=True)
    detector = _Detector(
        photons=check_real(photons, "photons", low=1, high=1e12),
        read_noise=check_real(read_noise, "read_noise", low=0, high=1e4),
        zinger_fraction=check_real(zinger_fraction, "zinger_fraction", low=0, high=1),
    )
    faults = {
        "ring_strength": check_real(ring_strength, "ring_strength", low=0, high=1),
        "ring_fraction": check_real(ring_fraction, "ring_fraction", low=0, high=1),
        "n_dead": check_integer(n_dead, "n_dead", low=0, high=n_detectors),
        "n_bands": check_integer(n_bands, "n_bands", low=0, high=n_detectors),
        "band_strength": check_real(band_strength, "band_strength", low=0, high=0.9),
        "dark_level": check_real(dark_level, "dark_level", low=0, high=20_000),
        "beam_profile": check_real(beam_profile, "beam_profile", low=0, high=0.99),
        "full_beam": detector.full_beam,
    }
    beam_drift = check_real(beam_drift, "beam_drift", low=0, high=0.99)
    n_flats, n_darks = check_integer(n_flats, "n_flats", low=1), check_integer(n_darks, "n_darks", low=1)

    # One seed for each part, drawn before any is used: a fault that is switched on does not move the others.
    object_seed, pixel_seed, frame_seed = check_random_state(random_state).randint(0, 2**31 - 1, size=3)
    angles = np.linspace(0.0, 2 * np.pi if full_turn else np.pi, n_angles, endpoint=False)
    volume, projections = _cylinder(rows, size, n_detectors, angles, center, absorption, int(object_seed))
    pixels = _pixels(rows, n_detectors, np.random.default_rng(pixel_seed), **faults)
    intensity = 1 + beam_drift * np.sin(np.linspace(0.0, 3 * np.pi, n_angles))
    frames = _record(detector, pixels, projections, intensity, n_flats, n_darks, int(frame_seed))
    return SimulatedScan(
        **frames,
        angles=angles,
        center=center,
        volume=volume,
        projections=projections,
        beam_intensity=intensity,
        gain=pixels.gain,
        dead=pixels.dead,
    )


# ------------------------------------------------------------------------------------------------------- the object


def _cylinder(rows, size, n_detectors, angles, center, absorption, seed):
    """Volume and projections of a cylinder with spheres in it."""
    radius = OBJECT_RADIUS * size
    attenuation = absorption / (2 * radius)
    smallest, largest = max(0.75, size / 100), size / 16
    height = rows + 2 * largest  # spheres whose centre is outside the rows reach into them
    n_spheres = max(8, int(0.006 * radius**2 * height / smallest**3))
    spheres = pack_spheres(n_spheres, (smallest, largest), radius=0.97 * radius, height=height, random_state=seed)
    # Voids and spheres of half to once more the attenuation, drawn anew so that both kinds come in all sizes.
    values = np.random.default_rng(seed).choice([-1.0, 0.5, 1.0], size=len(spheres)) * attenuation
    table = np.column_stack([values, spheres])
    disc = [[attenuation, radius, radius, 0.0, 0.0, 0.0]]
    volume = sphere_volume(table, (rows, size, size), supersampling=2)
    volume += ellipse_image(disc, (size, size), supersampling="exact").astype(np.float32)
    options = {"center": center, "angle_unit": "rad"}
    projections = sphere_projections(table, angles, (rows, n_detectors), **options)
    projections += ellipse_sinogram(disc, angles, n_detectors, **options).astype(np.float32)
    return volume, projections


# ----------------------------------------------------------------------------------------------------- the detector


@dataclass(frozen=True, eq=False)
class _Detector:
    """What all pixels have in common."""

    photons: float
    read_noise: float
    zinger_fraction: float

    @property
    def counts_per_photon(self):
        return min(1.0, FULL_BEAM / self.photons)

    @property
    def full_beam(self):
        return self.photons * self.counts_per_photon

    def frames(self, expected, gain, offset, rng):
        """Counts (n, n_detectors) and where zingers fell, for the expected photons of a row."""
        counts = rng.poisson(expected) * (gain * self.counts_per_photon)
        counts += offset
        if self.read_noise:
            counts += rng.standard_normal(counts.shape, dtype=np.float32) * np.float32(self.read_noise)
        zingers = np.zeros(counts.shape, dtype=bool)
        if self.zinger_fraction:
            zingers = rng.random(counts.shape, dtype=np.float32) < self.zinger_fraction
            counts[zingers] += rng.uniform(0.1, 0.6, np.count_nonzero(zingers)) * self.full_beam
        return np.clip(np.rint(counts), 0, np.iinfo(np.uint16).max).astype(np.uint16), zingers


@dataclass(frozen=True, eq=False)
class _Pixels:
    """What differs from pixel to pixel; each of shape (rows, n_detectors)."""

    beam: np.ndarray
    response: np.ndarray
    gain: np.ndarray
    offset: np.ndarray
    dead: np.ndarray
    stuck_at: np.ndarray


def _pixels(
    rows,
    n_detectors,
    rng,
    *,
    ring_strength,
    ring_fraction,
    n_dead,
    n_bands,
    band_strength,
    dark_level,
    beam_profile,
    full_beam,
):
    shape = (rows, n_detectors)
    u, v = np.linspace(-1, 1, n_detectors), np.linspace(-1, 1, rows) if rows > 1 else np.zeros(1)
    beam = 1 - beam_profile * (u**2 + v[:, None] ** 2) / 2
    response = 1 - PIXEL_GAIN_SPREAD * rng.random(shape)
    offset = dark_level * (1 + 0.05 * rng.uniform(-1, 1, shape))
    stuck_at = dark_level + full_beam * rng.random(shape)
    gain, dead = draw_faults(shape, rng, ring_strength, ring_fraction, n_dead)
    width = min(n_detectors, max(5, n_detectors // 40))
    bump = np.sin(np.pi * (np.arange(width) + 0.5) / width)
    for row in range(rows):
        for start in rng.integers(0, n_detectors - width + 1, n_bands):
            gain[row, start : start + width] *= 1 + rng.choice([-1, 1]) * band_strength * bump
    return _Pixels(beam, response, gain.astype(np.float32), offset, dead, stuck_at)


def _record(detector, pixels, projections, intensity, n_flats, n_darks, seed):
    """Counts, flats, darks and zingers, row by row: each row has a seed of its own, so that threads change nothing."""
    rows, n_angles, n_detectors = projections.shape
    frames = {
        name: np.empty((rows, n, n_detectors), np.uint16)
        for name, n in (("counts", n_angles), ("flats", n_flats), ("darks", n_darks))
    }
    frames["zingers"] = np.empty(projections.shape, dtype=bool)

    def record(row):
        rng = np.random.default_rng([seed, row])
        response, gain, offset = pixels.response[row], pixels.gain[row], pixels.offset[row]
        beam = detector.photons * pixels.beam[row]
        bare = np.ones((n_flats, 1)) * beam, np.zeros((n_darks, n_detectors))
        through = np.exp(-projections[row].astype(np.float64)) * intensity[:, None] * beam
        frames["counts"][row], frames["zingers"][row] = detector.frames(through, response * gain, offset, rng)
        for name, expected in zip(("flats", "darks"), bare, strict=True):
            frames[name][row] = detector.frames(expected, response, offset, rng)[0]
        dead = pixels.dead[row]
        for name in ("counts", "flats", "darks"):
            frames[name][row][:, dead] = np.rint(pixels.stuck_at[row, dead]).astype(np.uint16)
        frames["zingers"][row][:, dead] = False

    with ThreadPoolExecutor(min(check_threads(None), rows)) as pool:
        list(pool.map(record, range(rows)))
    return frames

"""Faults of the pixels of a detector: what `simulate_scan` and `add_detector_defects` draw alike."""

import numpy as np

__all__ = ["draw_faults"]


def draw_faults(shape, rng, ring_strength, ring_fraction, n_dead):
    """Gain of each pixel and which are dead, both of ``shape`` (rows, n_detectors).

    Every fault is drawn, at strength 1, before any is scaled: strengths change nothing but themselves.
    """
    wrong, error = rng.random(shape) < ring_fraction, rng.standard_normal(shape)
    gain = 1 + np.where(wrong, np.clip(ring_strength * error, -0.9, None), 0)
    dead = rng.random(shape).argsort(axis=1).argsort(axis=1) < n_dead
    return gain, dead

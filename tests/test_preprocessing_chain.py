"""The corrections one after the other, on a simulated scan whose truth is known."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from tomolearn import FBPReconstructor
from tomolearn.preprocessing import (
    BadPixelRepairer,
    FlatFieldCorrector,
    MinusLog,
    StripeRemover,
    ZingerRemover,
)
from tomolearn.simulation import simulate_scan

FAULTS = {
    "ring_strength": 0.05,
    "n_dead": 2,
    "n_bands": 1,
    "zinger_fraction": 1e-3,
    "beam_drift": 0.05,
}


def images(scan, *steps):
    """Flat field and these steps, and filtered back-projection."""
    flat = FlatFieldCorrector(average="median")
    flat.fit(scan.counts, flats=scan.flats, darks=scan.darks, beam_intensity=scan.beam_intensity)
    transmissions = flat.transform_counted(scan.counts)[0]
    pipeline = make_pipeline(*steps, FBPReconstructor(angles=scan.angles, center=scan.center))
    return pipeline.fit(transmissions).predict(transmissions)


def error(images, scan):
    """Root mean square over the object and the air close to it."""
    n = scan.volume.shape[1]
    inside = np.hypot(*np.mgrid[-(n - 1) / 2 : n / 2, -(n - 1) / 2 : n / 2]) < 0.45 * n
    return np.sqrt(np.mean(np.square(images - scan.volume)[:, inside]))


@pytest.mark.filterwarnings("ignore:.*(zingers replaced|raised to the floor):UserWarning")
def test_a_scan_with_faults_becomes_as_good_as_one_without():
    what = {"rows": 3, "size": 256, "n_angles": 400, "center_offset": -4.5, "random_state": 0}
    clean, faulty = simulate_scan(**what), simulate_scan(**what, **FAULTS)
    best = error(images(clean, MinusLog()), clean)
    assert error(images(faulty, MinusLog()), faulty) > 1.5 * best
    corrected = images(faulty, ZingerRemover(), MinusLog(), StripeRemover(method="offset"))
    assert error(corrected, faulty) < 1.1 * best
    # and none of it spoils a scan that had no faults
    same = images(clean, BadPixelRepairer(), ZingerRemover(), MinusLog(), StripeRemover(method="offset"))
    assert error(same, clean) < 1.02 * best

"""The weights of the published tables: there, small, of the training that they name, and as good as they say."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import tomolearn
from tomolearn import FBPReconstructor, psnr
from tomolearn.simulation import make_ellipses_benchmark

WEIGHTS = Path(__file__).parents[1] / "benchmarks" / "weights"
ROWS = sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


def test_each_row_has_weights_and_facts():
    assert ROWS and ROWS == sorted(path.stem for path in WEIGHTS.glob("*.json"))


@pytest.mark.parametrize("row", ROWS)
def test_weights_are_what_the_facts_say(row):
    facts = json.loads((WEIGHTS / f"{row}.json").read_text())
    content = (WEIGHTS / f"{row}.safetensors").read_bytes()
    assert len(content) <= 5_000_000
    assert hashlib.sha256(content).hexdigest() == facts["sha256"]
    assert facts["command"].startswith("python benchmarks/") and facts["minutes"] > 0
    estimator = tomolearn.load(WEIGHTS / f"{row}.safetensors")
    assert estimator.n_parameters_ == facts["parameters"] and estimator.random_state == facts["seed"]


@pytest.mark.parametrize("row", [row for row in ROWS if row.startswith(("ellipses-fbp-unet", "ellipses-primal-dual"))])
def test_networks_with_physics_beat_back_projection(row):
    data = make_ellipses_benchmark("validation", 4)
    scan = {"angles": data.angles, "detector_spacing": data.detector_spacing, "image_shape": (128, 128)}
    fbp = FBPReconstructor(filter="hamming", cutoff=0.7, method="direct", **scan)
    images = {
        "fbp": fbp.fit_transform(data.sinograms),
        row: tomolearn.load(WEIGHTS / f"{row}.safetensors").predict(data.sinograms),
    }
    found = {
        name: np.mean([psnr(t, x, data_range=float(np.ptp(t))) for t, x in zip(data.images, stack, strict=True)])
        for name, stack in images.items()
    }
    assert found[row] > found["fbp"] + 3

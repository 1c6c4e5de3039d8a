"""Model files of every release are read by this version, and predict what they did."""

import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest

import tomolearn
from tomolearn.persistence import describe_model

FOLDER = Path(__file__).parent / "stored"
STORED = sorted(FOLDER.glob("*/*.tomo"))
MAKE = runpy.run_path(FOLDER / "make.py")


def test_there_are_files_of_every_kind():
    assert {path.stem for path in (FOLDER / "0.1.0").glob("*.tomo")} == set(MAKE["MAKERS"])
    assert sum(path.stat().st_size for path in (FOLDER / "0.1.0").iterdir()) < 50_000


@pytest.mark.parametrize("path", STORED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_file_of_a_release_is_read(path):
    """To rounding: the network's sums are ordered otherwise by another processor."""
    with np.load(path.with_suffix(".npz")) as known:
        X, expected = known["X"], known["output"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = tomolearn.load(path)
    found = MAKE["output"](model, X)
    # A network rounds to 1e-5 or so; where a map places a sample is found in many steps, which add up.
    tolerance = (1e-2 if path.stem == "reducer" else 1e-3) * np.abs(expected).max()
    assert np.ptp(expected, axis=0).max() > 2 * tolerance  # it depends on X
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    described = describe_model(path)
    assert described["versions"]["tomolearn"] == path.parent.name


def test_files_of_a_release_are_not_written_again():
    with pytest.raises(SystemExit, match="files of a release are never written again"):
        MAKE["main"]()

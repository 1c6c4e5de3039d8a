"""One command from raw counts to slices: on measured scans, and on a simulated one whose truth is known."""

import contextlib
import io
import json
import re

import h5py
import numpy as np
import pytest

from tomolearn import FBPReconstructor, TVReconstructor, ssim
from tomolearn.cli.main import main
from tomolearn.io import open_scan, open_volume
from tomolearn.preprocessing import find_center, flat_field, minus_log


def run(*arguments):
    """What the command prints; it must end well."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main([str(argument) for argument in arguments]) == 0
    return printed.getvalue()


def read(path):
    with open_volume(path) as volume:
        return volume[:]


def center_told(text):
    return float(re.search(r"^center: ([\d.]+) ", text, re.MULTILINE)[1])


@pytest.fixture(scope="module")
def tooth(shared_data):
    """Line integrals, angles and axis of the tooth's two rows."""
    with open_scan(shared_data / "aps_tooth" / "tooth.h5") as scan:
        return minus_log(flat_field(scan[:], scan.flats[:], scan.darks[:])), scan.angles


PATCHES = np.s_[60:120, 60:120], np.s_[282:298, 377:393], np.s_[416:432, 404:420]


@pytest.mark.shared_data
def test_tooth(shared_data, tmp_path):
    out, preview = tmp_path / "tooth.h5", tmp_path / "tooth.png"
    scan = shared_data / "aps_tooth" / "tooth.h5"
    told = run("reconstruct", scan, "-o", out, "--stripes", "all", "--filter", "hann", "--preview", preview)
    assert center_told(told) == pytest.approx(296.0, abs=0.5)
    volume = read(out)
    assert volume.shape == (2, 640, 640) and np.isfinite(volume).all()
    assert preview.stat().st_size > 100_000
    # Air, dentine and enamel stand apart in patches of the first slice.
    air, dentine, enamel = (volume[0][part] for part in PATCHES)
    assert abs(air.mean()) < 2e-4
    assert dentine.mean() == pytest.approx(0.0047, abs=0.0003) and enamel.mean() == pytest.approx(0.0078, abs=0.0003)
    assert enamel.mean() - dentine.mean() > 8 * max(dentine.std(), enamel.std())


@pytest.mark.shared_data
def test_axis_of_both_rows_of_the_tooth(tooth):
    sinograms, angles = tooth
    for method in ("vo", "phase", "entropy"):
        centers = find_center(sinograms, angles, method=method, per_slice=True)
        np.testing.assert_allclose(centers, 296.0, atol=0.5, err_msg=method)


@pytest.mark.shared_data
def test_tv_beats_fbp_from_a_quarter_of_the_views(tooth):
    sinograms, angles = tooth
    center = find_center(sinograms, angles)
    full = FBPReconstructor(filter="hann", angles=angles, center=center).fit_transform(sinograms[:1])
    few, few_angles = sinograms[:1, ::4], angles[::4]
    assert len(few_angles) == 46
    tv = TVReconstructor(regularization=0.05, max_iter=60, nonnegative=True, angles=few_angles, center=center)
    fbp = FBPReconstructor(filter="hann", angles=few_angles, center=center)
    of_tv, of_fbp = (ssim(full, e.fit_transform(few), data_range=float(np.ptp(full))) for e in (tv, fbp))
    assert of_tv > of_fbp + 0.3


@pytest.mark.shared_data
def test_grain(shared_data, tmp_path):
    folder, out = shared_data / "i13_24737", tmp_path / "grain.h5"
    parts = ["--angles", folder / "24737_processed.nxs", "--input", "transmission", "--air", "5"]
    told = run("reconstruct", folder / "projections.mrc", "-o", out, *parts)
    assert center_told(told) == pytest.approx(86.0, abs=0.5)
    assert "repaired: 91 values not finite, interpolated" in told
    volume = read(out)
    assert volume.shape == (135, 160, 160) and np.isfinite(volume).all()
    with h5py.File(out) as file:
        facts = json.loads(file["process/tomolearn/metadata"][()])
    np.testing.assert_allclose(np.rad2deg([facts["angles"][0], facts["angles"][-1]]), [-88.2, 91.8], atol=0.05)
    # A dense grain in a capillary: hardly anything at the corners, much in the grain.
    assert np.abs(volume[67, :20, :20]).mean() < 0.002 < 0.05 < volume[60:75].max()


FAULTS = ["--rings", "0.1", "--zingers", "3e-4", "--dead", "2", "--drift", "0.02"]


@pytest.mark.slow
@pytest.mark.parametrize("stripes", [("offset",), ("sorting", "--stripe-size", "5")], ids=["offset", "sorting"])
def test_a_faulty_scan_comes_close_to_a_clean_one(stripes, tmp_path):
    """Rings, zingers, dead pixels, dark current, an axis beside the middle: within 10 % of the clean scan's error."""
    scan = "--size 512 --angles 512 --rows 2 --photons 30000 --center-offset -11.5 --quiet".split()
    run("simulate", tmp_path / "clean.h5", *scan, "--truth", tmp_path / "truth.npy")
    run("simulate", tmp_path / "faulty.h5", *scan, *FAULTS)
    fbp = ["--filter", "hann", "--method", "direct", "--overwrite"]
    corrections = ["--flat-average", "median", "--zingers", "0.2", "--air", "10", "--stripes", *stripes]
    plans = {"clean": ("clean", []), "faulty": ("faulty", []), "corrected": ("faulty", corrections)}
    errors, truth = {}, np.load(tmp_path / "truth.npy")
    for name, (source, options) in plans.items():
        told = run("reconstruct", tmp_path / f"{source}.h5", "-o", tmp_path / "recon.npy", *fbp, *options)
        assert center_told(told) == pytest.approx(244.0, abs=0.1), name
        errors[name] = np.sqrt(np.mean((np.load(tmp_path / "recon.npy") - truth) ** 2))
    assert errors["faulty"] > 1.5 * errors["clean"]
    assert errors["corrected"] < 1.1 * errors["clean"], errors

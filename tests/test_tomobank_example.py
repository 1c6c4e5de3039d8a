"""examples/tomobank_shale.py on two small simulated scans: it needs files, so that the other tests of examples leave it
out."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tomolearn.io import open_scan, open_volume, write_scan
from tomolearn.preprocessing import flat_field
from tomolearn.simulation import simulate_scan

SCRIPT = Path(__file__).parents[1] / "examples" / "tomobank_shale.py"
ROWS, SIZE = 6, 64
CENTERS = {"aps": 34.0, "sls": 29.5}
AXES = ("--axis-train", "34", "--axis-test", "29.5")


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Two scans of different objects around different axes."""
    folder = tmp_path_factory.mktemp("twins")
    for seed, (name, center) in enumerate(CENTERS.items()):
        offset = center - (SIZE - 1) / 2
        scan = simulate_scan(ROWS, SIZE, 96, center_offset=offset, photons=20_000, random_state=seed)
        frames = {"flats": scan.flats, "darks": scan.darks}
        write_scan(folder / f"{name}.h5", scan.counts, angles=scan.angles, angle_unit="rad", **frames)
    return folder


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("tomobank_shale", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def stopped(script, twins, monkeypatch, capsys):
    """Runs the script in this process up to its error; what it says of it on the way out."""
    monkeypatch.chdir(twins)

    def stopped(*arguments):
        monkeypatch.setattr(sys, "argv", ["tomobank_shale.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:  # any other exception is a traceback to the reader
            script.main()
        assert end.value.code not in (0, None)
        return f"{end.value.code} {capsys.readouterr().err}"

    return stopped


@pytest.mark.slow
def test_from_two_scans_to_table_and_figure(script, stopped, twins, tmp_path, monkeypatch, capsys):
    import matplotlib.image

    out = tmp_path / "out"
    command = ["aps.h5", "sls.h5", "--out", str(out), *AXES, "--epochs", "2", "--exposure", "16"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *command],
        cwd=twins,
        env=os.environ | {"MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Warning" not in done.stderr, done.stderr
    assert "aps.h5: 6 rows, 96 views, 64 detectors; axis 34.00, given" in done.stdout
    rows = dict(re.findall(r"^(conventional|TomoGAN) +(-?[\d.]+ +-?[\d.]+)$", done.stdout, re.MULTILINE))
    assert len(rows) == 2, done.stdout
    assert float(rows["conventional"].split()[0]) > 10
    with open_volume(out / "tomogan_2_epochs.h5") as denoised:
        assert denoised.shape == (ROWS, SIZE, SIZE)
        assert denoised[:].std() > 0
    assert matplotlib.image.imread(out / "tomogan_2_epochs.png")[..., :3].std() > 0.05

    # The same command again makes no volume anew and says the same.
    (out / "test_low.h5").unlink()
    volumes = {path: path.stat().st_mtime_ns for path in out.glob("*.h5")}
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *command])
    monkeypatch.setenv("MPLBACKEND", "Agg")
    script.main()
    again = capsys.readouterr().out
    assert again.count("is there already") == 5
    assert again.splitlines()[-6:] == done.stdout.splitlines()[-6:]
    assert len(volumes) == 6 and {path: path.stat().st_mtime_ns for path in volumes} == volumes

    other = stopped(*command[:-2], "--views", "4")
    assert "holds volumes of other options: views was None and is 4, exposure was 16 and is None" in other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.h5", "sls.h5"), "none.h5"),
        (("text.h5", "sls.h5"), "text.h5"),
        (("bare.h5", "sls.h5"), "bare.h5:exchange/data has no flat fields"),
        (("aps.h5", "sls.h5", "--rows", "5"), "invalid span value: '5'"),
        (("aps.h5", "sls.h5", "--views", "2", "--exposure", "2"), "not allowed with argument --views"),
        (("aps.h5", "sls.h5", "--exposure", "0"), "invalid positive value: '0'"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(stopped, twins, tmp_path, arguments, message):
    (twins / "text.h5").write_text("no scan")
    write_scan(twins / "bare.h5", np.ones((2, 3, 8)), angles=[0, 60, 120], angle_unit="deg", overwrite=True)
    assert message in stopped(*arguments, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_short_exposure_has_its_photons(script, twins):
    """Transmissions keep their mean and have the variance of a sixteenth of the photons, in blocks of any size."""
    scan = open_scan(twins / "aps.h5").select(rows=slice(0, 2))
    short = script.ShortExposure(scan, 16, 8000, 0)
    full, low = (flat_field(block, scan.flats[:], scan.darks[:]) for block in (scan[:], short[:]))
    difference = low - full
    expected = np.clip(full, 0, None) / (8000 / 16)  # variance of a transmission t counted with n open photons: t / n
    assert abs(difference.mean()) < 4 * np.sqrt(expected.mean() / full.size)
    beam = (scan.flats[:].mean(axis=1) - scan.darks[:].mean(axis=1))[:, None]
    ratio = (difference**2 * beam / beam.mean(axis=2, keepdims=True)).mean() / expected.mean()
    assert abs(ratio - 1) < 0.05
    np.testing.assert_array_equal(short.read_block(1, 2), short[:][1:])


def test_published_axes_are_counted_from_the_first_pixel(script, tmp_path):
    """TomoPy counts from the edge of the detector, so that 1024 is the middle of 2048 pixels (docs/conventions.rst)."""
    axis = script.rotation_axis

    class Scan:
        shape = (1, 1, 2048)

    assert axis(tmp_path / "tomo_00001.h5", Scan, None) == (2048 - 1) / 2
    assert axis(tmp_path / "tomo_00004.h5", Scan, None) == 1047.5
    assert axis(tmp_path / "tomo_00004.h5", Scan, 1000.0) == 1000.0

"""The commands on scans: what they print, write and refuse, and how they end."""

import json
import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import tifffile

from tomolearn.cli.main import main
from tomolearn.io import Sink, open_volume, write_scan
from tomolearn.simulation import simulate_scan

SIMULATED = simulate_scan(5, 64, 90, center_offset=2.5, photons=1e5, n_flats=3, n_darks=3, random_state=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    s = SIMULATED
    write_scan(folder / "scan.h5", s.counts, angles=s.angles, flats=s.flats, darks=s.darks)
    np.save(folder / "counts.npy", s.counts)
    np.save(folder / "transmission.npy", np.exp(-s.projections).astype(np.float32))
    np.savetxt(folder / "angles.txt", np.rad2deg(s.angles))
    for name in ("flats", "darks"):
        np.save(folder / f"{name}.npy", getattr(s, name))
    return folder


@pytest.fixture
def scan(folder):
    return str(folder / "scan.h5")


def error_of(image):
    truth = SIMULATED.volume
    return np.sqrt(np.mean((image - truth) ** 2)) / truth.std()


def read(path):
    with open_volume(path) as volume:
        return volume[:]


# ---------------------------------------------------------------------------------------------------- reconstruct


def test_the_method_of_back_projection(scan, tmp_path):
    volumes = []
    for method in ("auto", "fourier", "direct"):
        out = tmp_path / f"{method}.npy"
        assert main(["reconstruct", scan, "-o", str(out), "--filter", "hann", "--method", method, "--quiet"]) == 0
        volumes.append(read(out))
        assert error_of(volumes[-1]) < 0.5
    auto, fourier, direct = volumes
    assert np.array_equal(auto, fourier) and not np.array_equal(auto, direct)


def test_from_raw_counts_to_a_volume(scan, tmp_path, capsys):
    out, preview = tmp_path / "recon.h5", tmp_path / "recon.png"
    assert main(["reconstruct", scan, "-o", str(out), "--filter", "hann", "--preview", str(preview)]) == 0
    told = capsys.readouterr().out
    assert "scan.h5:exchange/data: 5 rows, 90 angles, 64 detectors, uint16, 3 flats, 3 darks" in told
    assert "steps: flat (mean), log, fbp (hann)" in told
    center = float(told.split("center: ")[1].split(" (by auto)")[0])
    assert center == pytest.approx(SIMULATED.center, abs=0.1)
    assert f"wrote {out}: 5 x 64 x 64 in " in told and "slices/s" in told and "time: " in told
    assert error_of(read(out)) < 0.3
    assert preview.read_bytes().startswith(b"\x89PNG")
    with h5py.File(out) as file:
        facts = json.loads(file["process/tomolearn/metadata"][()])
    assert facts["center"] == pytest.approx(center, abs=0.005) and facts["parameters"]["reconstruct__filter"] == "hann"


@pytest.mark.parametrize(
    ("options", "steps", "worst"),
    [
        (["--algorithm", "sirt", "--iterations", "30", "--nonnegative"], "sirt", 0.35),
        (["--algorithm", "cgls", "--iterations", "8"], "cgls", 0.35),
        (["--algorithm", "tv", "--iterations", "60", "--regularization", "0.05"], "tv", 0.35),
        (["--stripes", "sorting", "--flat-average", "median"], "flat (median), log, stripes (sorting), fbp", 0.7),
        (["--zingers", "0.3", "--air", "2", "--floor", "1e-3"], "flat (mean), zingers, air, log, fbp", 0.35),
    ],
)
def test_options(scan, tmp_path, capsys, options, steps, worst):
    out = tmp_path / "recon.npy"
    assert main(["reconstruct", scan, "-o", str(out), "--center", str(SIMULATED.center), *options]) == 0
    told = capsys.readouterr().out
    assert steps in told.split("steps: ")[1].splitlines()[0]
    assert f"center: {SIMULATED.center:.2f}\n" in told
    assert error_of(np.load(out)) < worst


def test_parts_named_one_by_one(folder, tmp_path, capsys):
    parts = ["--flats", f"{folder}/flats.npy", "--darks", f"{folder}/darks.npy", "--angles", f"{folder}/angles.txt"]
    options = ["--order", "sinograms", "--angle-unit", "deg", "--center", str(SIMULATED.center), "--quiet"]
    assert main(["reconstruct", f"{folder}/counts.npy", "-o", str(tmp_path / "a.npy"), *parts, *options]) == 0
    assert main(["reconstruct", f"{folder}/scan.h5", "-o", str(tmp_path / "b.npy"), *options[4:]]) == 0
    assert capsys.readouterr().out == ""
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"), atol=1e-6)
    transmission = [f"{folder}/transmission.npy", "--input", "transmission", "--angles", f"{folder}/angles.txt"]
    assert main(["reconstruct", *transmission, "-o", str(tmp_path / "c.npy"), *options]) == 0
    assert error_of(np.load(tmp_path / "c.npy")) < 0.3


def test_rows_views_and_dtype(scan, tmp_path):
    out = tmp_path / "slices"
    options = [
        "--rows",
        "1:4",
        "--every",
        "2",
        "--dtype",
        "uint8",
        "--range",
        "-0.01",
        "0.1",
        "--center",
        "34",
        "--quiet",
    ]
    assert main(["reconstruct", scan, "-o", str(out), *options]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["metadata.json", *(f"slice_0000{k}.tif" for k in range(3))]
    facts = json.loads((out / "metadata.json").read_text())
    assert len(facts["angles"]) == 45
    stored = np.stack([tifffile.imread(out / f"slice_0000{k}.tif") for k in range(3)])
    assert stored.dtype == np.uint8
    values = stored * facts["scale"] + facts["offset"]
    assert error_of(np.concatenate([SIMULATED.volume[:1], values, SIMULATED.volume[4:]])) < 0.4


def test_a_volume_is_not_replaced_by_accident(scan, tmp_path, capsys):
    out = str(tmp_path / "recon.npy")
    assert main(["reconstruct", scan, "-o", out, "--center", "34", "--quiet"]) == 0
    assert main(["reconstruct", scan, "-o", out, "--center", "35", "--quiet"]) == 2
    assert "exists; choose another name, or --overwrite." in capsys.readouterr().err
    assert main(["reconstruct", scan, "-o", out, "--center", "35", "--quiet", "--overwrite"]) == 0


# ------------------------------------------------------------------------------------------------------- how it ends


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reconstruct", "absent.h5", "-o", "x.h5"], "absent.h5"),
        (["reconstruct", "{folder}/angles.txt", "-o", "x.h5"], "angles.txt"),
        (["reconstruct", "{folder}/counts.npy", "-o", "x.h5"], "--order must be"),
        (
            ["reconstruct", "{folder}/counts.npy", "-o", "x.h5", "--order", "sinograms"],
            "no flat fields: name them by --f",
        ),
        (
            ["reconstruct", "{folder}/counts.npy", "-o", "x.h5", "--order", "sinograms", "--input", "counts"],
            "--input counts",
        ),
        (["reconstruct", "{scan}", "-o", "x.png"], "the suffix of"),
        (["reconstruct", "{scan}", "-o", "absent/x.h5"], "does not exist; make it first"),
        (
            ["reconstruct", "{scan}", "-o", "x.h5", "--iterations", "3"],
            "--iterations is for --algorithm sirt or cgls or tv; got fbp.",
        ),
        (
            ["reconstruct", "{scan}", "-o", "x.h5", "--algorithm", "sirt", "--regularization", "1"],
            "is for --algorithm tv",
        ),
        (["reconstruct", "{scan}", "-o", "x.h5", "--dtype", "uint8"], "--dtype uint8 needs --range LOW HIGH"),
        (["reconstruct", "{scan}", "-o", "x.h5", "--memory", "1MB"], "--memory 0.00 GB is too little"),
        (["reconstruct", "{scan}", "-o", "x.h5", "--memory", "much"], "--memory must be a positive number of bytes"),
        (["reconstruct", "{scan}", "-o", "x.h5", "--filter", "sharp"], "filter"),
        (
            ["reconstruct", "{scan}", "-o", "x.h5", "--center", "64"],
            "--center must be on the detector, 0 to 63; got 64.",
        ),
        (["reconstruct", "{scan}", "-o", "x.h5", "--delta-beta", "100"], "--delta-beta needs --energy"),
        (
            ["reconstruct", "{scan}", "-o", "x.h5", "--preview", "absent/x.png"],
            "the folder of absent/x.png does not exist",
        ),
        (["reconstruct", "{scan}", "-o", "x.h5", "--rows", "7:9"], "--rows must be a slice that keeps something"),
        (["info", "absent.h5"], "absent.h5"),
        (["simulate", "x.h5", "--size", "3"], "--size must be an integer >= 16; got 3"),
    ],
)
def test_errors_are_short_and_say_what_to_do(arguments, message, folder, scan, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([argument.format(folder=folder, scan=scan) for argument in arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"tomolearn {arguments[0]}: ") and message in told
    assert told.count("\n") == 1 and "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--center", "left"], "must be a number or one of auto, vo, phase, entropy; got 'left'"),
        (["--rows", "7"], "must be FIRST:END or FIRST:END:STEP; got '7'"),
        (["--every", "0"], "must be a whole number of at least 1; got '0'"),
        (["--range", "1"], "argument --range: expected 2 arguments"),
        (["--stripes", "some"], "invalid choice: 'some'"),
    ],
)
def test_arguments_that_do_not_parse(arguments, message, scan, capsys):
    with pytest.raises(SystemExit) as end:
        main(["reconstruct", scan, "-o", "x.h5", *arguments])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_debug_shows_the_traceback(capsys):
    assert main(["info", "absent.h5", "--debug"]) == 2
    told = capsys.readouterr().err
    assert "Traceback" in told and told.splitlines()[-1].startswith("tomolearn info: ")


def test_a_failure_that_is_not_the_users(scan, tmp_path, monkeypatch, capsys):
    def fails(*arguments, **options):
        raise RuntimeError("the machine stumbled")

    monkeypatch.setattr("tomolearn.streaming.reconstruct_volume", fails)
    assert main(["reconstruct", scan, "-o", str(tmp_path / "x.h5"), "--center", "34", "--quiet"]) == 1
    assert capsys.readouterr().err == "tomolearn reconstruct: RuntimeError: the machine stumbled\n"


BLOCKS = "lambda n, *a, **k: [(i, i + 1) for i in range(n)]"  # of one slice each
TV = ["--algorithm", "tv", "--iterations", "20", "--center", "34", "--quiet"]


@pytest.fixture(scope="module")
def unbroken(folder):
    """The volume of a run that nobody disturbs."""
    out = folder / "once.h5"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tomolearn.streaming.scan.plan_blocks", eval(BLOCKS))
        assert main(["reconstruct", str(folder / "scan.h5"), "-o", str(out), *TV]) == 0
    return out.read_bytes()


def signal_before(write, n, number):
    """A ``write_block`` of sinks that sends this process a signal instead of writing block ``n``."""

    def write_block(sink, index, *block):
        if index == n:
            os.kill(os.getpid(), number)
            time.sleep(60 if number == signal.SIGKILL else 0.2)
        write(sink, index, *block)

    return write_block


def resumes(scan, out, unbroken, monkeypatch):
    """The same command with --resume goes on to the same bytes."""
    monkeypatch.setattr("tomolearn.streaming.scan.plan_blocks", eval(BLOCKS))
    record = out.with_name(out.name + ".part.json")
    assert 2 <= len(json.loads(record.read_text())["done"]) < 5 and not out.exists()
    assert main(["reconstruct", scan, "-o", str(out), *TV, "--resume"]) == 0
    assert out.read_bytes() == unbroken
    assert os.listdir(out.parent) == [out.name]


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bytes(scan, unbroken, tmp_path, monkeypatch):
    code = (
        f"import sys\nsys.path.insert(0, {os.path.dirname(__file__)!r})\nfrom test_cli_scans import signal_before\n"
        f"from tomolearn.io import Sink\nfrom tomolearn.streaming import scan as s\ns.plan_blocks = {BLOCKS}\n"
        f"Sink.write_block = signal_before(Sink.write_block, 2, {int(signal.SIGKILL)})\n"
        "from tomolearn.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    )
    out = tmp_path / "twice.h5"
    command = [sys.executable, "-c", code, "reconstruct", scan, "-o", str(out), *TV, "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    resumes(scan, out, unbroken, monkeypatch)


def test_ctrl_c_says_what_is_kept_and_the_run_resumes_to_the_same_bytes(scan, unbroken, tmp_path, monkeypatch, capsys):
    out = tmp_path / "twice.h5"
    with monkeypatch.context() as patch:
        patch.setattr("tomolearn.streaming.scan.plan_blocks", eval(BLOCKS))
        patch.setattr(Sink, "write_block", signal_before(Sink.write_block, 2, signal.SIGINT))
        assert main(["reconstruct", scan, "-o", str(out), *TV]) == 130
    told = capsys.readouterr().err
    assert told.startswith("tomolearn reconstruct: interrupted. What is done is kept: ") and told.count("\n") == 1
    resumes(scan, out, unbroken, monkeypatch)


# ---------------------------------------------------------------------------------------------- info, center, simulate


def test_info_prints_a_command_that_works(scan, tmp_path, monkeypatch, capsys):
    assert main(["info", scan]) == 0
    told = capsys.readouterr().out
    assert "90 angles x 5 rows x 64 detectors, uint16" in told
    assert "angles       0 to 178 degrees, steps of 2\n" in told
    assert "flats        3 frames" in told and "darks        3 frames" in told
    command = told.strip().splitlines()[-1].split()
    assert command[:3] == ["tomolearn", "reconstruct", scan]
    monkeypatch.chdir(tmp_path)
    assert main(command[1:]) == 0
    assert sorted(os.listdir(tmp_path)) == ["recon.h5", "recon.png"]


def test_info_of_a_file_that_says_little(folder, tmp_path, monkeypatch, capsys):
    scan = f"{folder}/transmission.npy"
    assert main(["info", scan, "--order", "sinograms"]) == 0
    told = capsys.readouterr().out
    assert "angles       none in the file; taken as equally spaced over 180 degrees" in told
    assert "flats        none" in told and told.splitlines()[-1].startswith("(--input line-integrals")
    monkeypatch.chdir(tmp_path)
    assert main(told.strip().splitlines()[-2].split()[1:]) == 0


def test_center_tells_methods_and_rows(scan, tmp_path, capsys):
    preview = tmp_path / "centers.png"
    assert main(["center", scan, "--preview", str(preview)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["method", "center", "by", "row"]
    for line in lines[1:3]:
        method, center, by_row = line.split(None, 2)
        assert method in ("vo", "phase") and float(center) == pytest.approx(SIMULATED.center, abs=0.2)
        assert by_row.count(":") == 3
    assert preview.read_bytes().startswith(b"\x89PNG")


def test_a_full_turn_with_the_axis_near_the_border(tmp_path, capsys):
    scan, out = tmp_path / "scan.h5", tmp_path / "recon.npy"
    turn = (
        "--full-turn --size 96 --detectors 60 --center-offset 22.2 --angles 200 --rows 2 --photons 1e5 --quiet".split()
    )
    assert main(["simulate", str(scan), *turn, "--truth", str(tmp_path / "truth.npy")]) == 0
    assert main(["info", str(scan)]) == 0
    assert "(--half-acquisition, if the axis is near the border" in capsys.readouterr().out
    assert main(["center", str(scan), "--preview", str(tmp_path / "centers.png")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[1].startswith("360") and told[1].endswith("near the border: reconstruct with --half-acquisition")
    assert float(told[1].split()[1]) == pytest.approx(51.7, abs=0.1)
    assert told[2].startswith("no preview: the halves of the turn") and len(told) == 3
    assert main(["reconstruct", str(scan), "-o", str(out), "--half-acquisition", "--filter", "hann", "--quiet"]) == 0
    volume, truth = np.load(out), np.load(tmp_path / "truth.npy")
    border = (volume.shape[1] - 96) // 2
    inner = volume[:, border : border + 96, border : border + 96]
    assert np.sqrt(np.mean((inner - truth) ** 2)) < 0.3 * truth.std()


def test_simulate_writes_a_scan_and_its_truth(tmp_path, capsys):
    arguments = ["simulate", str(tmp_path / "scan.h5"), "--size", "32", "--angles", "24", "--rows", "3", "--seed", "7"]
    assert main([*arguments, "--truth", str(tmp_path / "truth.tif"), "--rings", "0.02"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/scan.h5: 3 rows, 24 angles, 32 detectors, uint16; center 15.50\n"
    expected = simulate_scan(3, 32, 24, ring_strength=0.02, random_state=7)
    with h5py.File(tmp_path / "scan.h5") as file:
        np.testing.assert_array_equal(file["exchange/data"][:].swapaxes(0, 1), expected.counts)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "truth.tif"), expected.volume.astype(np.float32))
    assert main(arguments) == 2  # the file is there

"""The command line when things go wrong: what is kept, what is refused, and in whose words it is said."""

import errno
import os
import sys
import time
from argparse import Namespace

import numpy as np
import pytest

from tomolearn.cli import _scan_arguments, reconstruct
from tomolearn.cli._messages import in_options
from tomolearn.cli.main import main
from tomolearn.io import write_scan
from tomolearn.io._raw import RawBackend
from tomolearn.simulation import simulate_scan

SIMULATED = simulate_scan(3, 32, 40, n_flats=2, n_darks=2, random_state=0)
CENTER = ["--center", "15.5", "--quiet"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    s = SIMULATED
    monkeypatch.chdir(tmp_path)
    write_scan("scan.h5", s.counts, angles=s.angles, flats=s.flats, darks=s.darks)
    os.mkdir("parts")
    for name in ("counts", "flats", "darks"):
        np.save(f"parts/{name}.npy", getattr(s, name))
    return tmp_path


@pytest.mark.parametrize(
    ("scan", "out"),
    [
        (["scan.h5"], "scan.h5"),
        (["scan.h5"], "./parts/../scan.h5"),
        (["parts/counts.npy", "--flats", "parts/flats.npy", "--order", "sinograms"], "parts"),
        (["parts/counts.npy", "--flats", "parts/flats.npy", "--order", "sinograms"], "parts/flats.npy"),
        (["scan.h5", "--flats", "scan.h5:exchange/data_white"], "scan.h5"),
    ],
)
def test_what_is_read_is_never_replaced(scan, out, folder, capsys):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["reconstruct", *scan, "-o", out, "--overwrite", *CENTER]) == 2
    assert f"--output {out} would replace " in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_truth_does_not_replace_its_scan(folder, capsys):
    small = ["simulate", "new.h5", "--size", "32", "--angles", "10", "--rows", "1", "--overwrite"]
    assert main([*small, "--truth", "./new.h5"]) == 2
    assert "--truth must have another name than the scan" in capsys.readouterr().err
    assert main([*small[:-1], "--truth", "scan.h5"]) == 2
    assert not os.path.exists("new.h5")


@pytest.mark.parametrize("command", [["reconstruct", "scan.h5", "-o", "recon.h5"], ["center", "scan.h5"]])
@pytest.mark.parametrize(
    ("path", "message"),
    [("x.xyz", "must end in one of .png, "), ("absent/x.png", "does not exist"), ("a.png", "a.png cannot be written")],
)
def test_a_picture_that_cannot_be_drawn_is_refused_at_once(command, path, message, folder, monkeypatch, capsys):
    os.mkdir("a.png")
    monkeypatch.setattr(_scan_arguments, "open_chosen", None)  # nothing is read
    assert main([*command, "--preview", path]) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"tomolearn {command[0]}: --preview") and message in told.err and told.out == ""


def test_a_full_disk_says_what_is_kept(folder, monkeypatch, capsys):
    def full(self, start, block, *rows):
        if start:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, start, block, *rows)

    original = RawBackend.write
    monkeypatch.setattr(RawBackend, "write", full)
    monkeypatch.setattr("tomolearn.streaming.scan.plan_blocks", lambda n, *a, **k: [(i, i + 1) for i in range(n)])
    assert main(["reconstruct", "scan.h5", "-o", "recon.h5", *CENTER]) == 1
    told = capsys.readouterr().err
    assert "No space left on device" in told and told.endswith("the same command with --resume goes on.\n")
    monkeypatch.setattr(RawBackend, "write", original)
    assert main(["reconstruct", "scan.h5", "-o", "recon.h5", "--resume", *CENTER[:2]]) == 0
    assert "resumed: 1 of 3 blocks were done" in capsys.readouterr().out


def test_an_interruption_before_the_first_block_promises_nothing(folder, monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("tomolearn.cli.reconstruct.open_chosen", interrupted)
    assert main(["reconstruct", "scan.h5", "-o", "recon.h5", *CENTER]) == 130
    assert capsys.readouterr().err == "tomolearn reconstruct: interrupted.\n"


def test_a_reader_of_the_output_that_goes_is_no_failure_to_talk_about(folder, monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(["info", "scan.h5"]) == 1
    assert capsys.readouterr().err == ""


def test_the_time_of_the_search_for_the_axis_counts(folder, monkeypatch):
    told, axis = {}, reconstruct.find_axis

    def slow(*arguments):
        time.sleep(0.2)
        return axis(*arguments)

    def summary(say, arguments, report, seconds):
        told.update(report.seconds, total=seconds)

    monkeypatch.setattr(reconstruct, "find_axis", slow)
    monkeypatch.setattr(reconstruct, "_summary", summary)
    assert main(["reconstruct", "scan.h5", "-o", "recon.h5", "--quiet"]) == 0
    assert told["center"] > 0.2 and told["total"] > 0.2


def test_info_does_not_take_counts_for_transmissions(folder, capsys):
    assert main(["info", "parts/counts.npy", "--order", "sinograms"]) == 0
    told = capsys.readouterr().out
    assert "--flats FLATS --darks DARKS" in told and "--input" not in told


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("the output a exists; choose another name, or overwrite=True.", "or --overwrite."),
        ("dtype=uint8 needs value_range=(low, high), the values", "--dtype uint8 needs --range LOW HIGH, the values"),
        ("a.txt does not say its unit; pass angle_unit='deg' or angle_unit='rad'.", "--angle-unit deg or --angle-unit"),
        ("order must be 'projections'; got None.", "--order must be 'projections'; got None."),
        ("memory=0.30 GB is too little", "--memory 0.30 GB is too little"),
        ("Name the projections by data=.", "Name the projections by --data."),
        ("width must be at most 64; got 100.", "--air must be at most 64; got 100."),
        ("begins with b'0', expected HDF5; pass kind= if it is one.", "begins with b'0', expected HDF5."),
        ("use the same input, or run without resume to start anew.", "or run without --resume to start anew."),
        ("flats must exceed darks", "flats must exceed darks"),
        ("in scan_a=b.h5 something broke", "in scan_a=b.h5 something broke"),
    ],
)
def test_messages_in_the_words_of_the_command_line(said, expected):
    names = ("overwrite", "dtype", "range", "angle_unit", "order", "memory", "data", "air", "flats", "resume")
    told = in_options(said, Namespace(**dict.fromkeys(names)))
    assert expected in told


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("patch_shape must be 2 positive integers; got 5.", "--set patch_shape must be 2 positive integers; got 5."),
        ("max_epochs must be an integer >= 1; got 0.", "--epochs must be an integer >= 1; got 0."),
        ("Lower learning_rate, or set gradient_clipping.", "Lower --set learning_rate, or --set gradient_clipping."),
        ("Lower batch_size=32 or patch_shape.", "Lower --set batch_size=32 or --set patch_shape."),
        ("perceptual='vgg19' needs a file", "--set perceptual=vgg19 needs a file"),
        ("tile_shape=(8, 8) is too small", "--set tile_shape=(8,8) is too small"),
        ("width must be at least 3; got 1.", "--set width must be at least 3; got 1."),
        ("--set learning_rate must be above 0", "--set learning_rate must be above 0"),
        ("X must be finite.", "--low-dose must be finite."),
        (
            "in X_val: y must have the shape (3,) of X.",
            "in --val-ld: --normal-dose must have the shape (3,) of --low-dose.",
        ),
        ("strategy must be 'X:1' or '1:X'; got 'X'.", "--set strategy must be 'X:1' or '1:X'; got 'X'."),
        ("/data/batch_size.h5 holds no images", "/data/batch_size.h5 holds no images"),
    ],
)
def test_messages_of_estimators_in_the_words_of_the_command_line(said, expected):
    names = "patch_shape max_epochs learning_rate gradient_clipping batch_size perceptual tile_shape width strategy"
    words = {"X_val": "--val-ld", "X": "--low-dose", "y": "--normal-dose"}
    given = {"settable": names.split(), "given": ("width",), "words": words}
    assert in_options(said, Namespace(epochs=None, air=None, **given)) == expected

"""Volumes on disk: whole or not at all, the same bytes after a break, metadata that come back."""

import json
import os
import shutil
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
import tifffile
from conftest import require

from tomolearn.exceptions import FileFormatError
from tomolearn.io import ArraySource, create_sink, open_scan, open_volume, write_scan

NAMES = ("volume.h5", "volume.tif", "volume.zarr", "volume.npy", "volume")
BLOCKS = [(0, 3), (3, 6), (6, 7)]
FACTS = {
    "axes": ["slices", "rows", "columns"],
    "pixel_size": 2.5e-6,
    "pixel_size_unit": "m",
    "units": "1/pixel",
    "center": 3.25,
    "angles": [0.0, 0.5, 1.0],
    "parameters": {"filter": "hann"},
    "versions": {"tomolearn": "x"},
}


def volume(rng):
    return rng.normal(size=(7, 5, 6)).astype(np.float32)


def sink_of(path, **options):
    if path.suffix == ".zarr":
        require("zarr")
    options = {"blocks": BLOCKS, "metadata": FACTS} | options
    return create_sink(path, (7, 5, 6), **options)


def fill(sink, data, indices=range(3)):
    for index in indices:
        start, stop = BLOCKS[index]
        sink.write_block(index, data[start:stop], {"values repaired": index})


def all_bytes(path):
    """{relative name: bytes} of a file or folder."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {str(p.relative_to(path.parent)): p.read_bytes() for p in files}


@pytest.mark.parametrize("name", NAMES)
def test_what_was_written_is_read(name, tmp_path, rng):
    data, path = volume(rng), tmp_path / name
    with sink_of(path) as sink:
        fill(sink, data, (2, 0, 1))  # in any order
        assert not path.exists()
    with open_volume(path) as source:
        np.testing.assert_array_equal(source[:], data)
    assert {p.name for p in tmp_path.iterdir()} <= {name, name + ".json"}


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_run_resumes_to_the_same_bytes(name, tmp_path, rng):
    data = volume(rng)
    (tmp_path / "once").mkdir(), (tmp_path / "twice").mkdir()
    with sink_of(tmp_path / "once" / name) as sink:
        fill(sink, data)
    path = tmp_path / "twice" / name
    sink = sink_of(path)
    fill(sink, data, (0, 2))
    sink.close()
    with pytest.raises(ValueError, match="1 of 3 blocks of .* are not written yet"):
        sink_of(path, resume=True).finish()
    resumed = sink_of(path, resume=True, blocks=[(0, 7)])  # the plan of the first run holds
    assert (resumed.blocks, sorted(resumed.done)) == (BLOCKS, [0, 2])
    fill(resumed, data, (1,))
    assert resumed.done == {0: {"values repaired": 0}, 1: {"values repaired": 1}, 2: {"values repaired": 2}}
    resumed.finish()
    assert all_bytes(path) == all_bytes(tmp_path / "once" / name)


KILLED = """
import os, signal, sys
import numpy as np
from tomolearn.io import ArraySource, create_sink
sink = create_sink(sys.argv[1], (7, 5, 6), blocks=[(0, 3), (3, 6), (6, 7)])
sink.write_block(1, np.ones((3, 5, 6)))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("name", ["volume.h5", "volume.tif"])
def test_a_killed_process_leaves_what_it_had_done(name, tmp_path):
    path = tmp_path / name
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not path.exists()
    with create_sink(path, (7, 5, 6), resume=True) as sink:
        assert list(sink.done) == [1]
        sink.write_block(0, np.zeros((3, 5, 6)))
        sink.write_block(2, np.zeros((1, 5, 6)))
    with open_volume(path) as source:
        assert source[:].sum() == 3 * 5 * 6


def test_an_error_leaves_the_partial_output_and_no_target(tmp_path, rng):
    path = tmp_path / "volume.h5"
    with pytest.raises(ZeroDivisionError), sink_of(path) as sink:
        fill(sink, volume(rng), (0,))
        raise ZeroDivisionError
    assert sorted(p.name for p in tmp_path.iterdir()) == ["volume.h5.part", "volume.h5.part.json"]
    with sink_of(path) as sink:  # without resume it begins anew
        assert sink.done == {}
        fill(sink, volume(rng))
    assert [p.name for p in tmp_path.iterdir()] == ["volume.h5"]


def test_metadata_come_back(tmp_path, rng):
    for name in NAMES:
        with sink_of(tmp_path / name) as sink:
            fill(sink, volume(rng))
    with h5py.File(tmp_path / "volume.h5") as file:
        assert json.loads(file["process/tomolearn/metadata"][()]) == FACTS
        assert file["implements"][()] == b"exchange:process"
        attributes = dict(file["exchange/data"].attrs)
        assert attributes["axes"] == "slices:rows:columns" and attributes["pixel_size"] == 2.5e-6
        assert attributes["center"] == 3.25 and attributes["units"] == "1/pixel"
        np.testing.assert_array_equal(file["process/tomolearn/angles"], FACTS["angles"])
    with tifffile.TiffFile(tmp_path / "volume.tif") as file:
        assert file.is_bigtiff
        page = file.pages[0]
        assert json.loads(page.description) == FACTS
        assert page.tags["ResolutionUnit"].value == 3  # centimetres
        assert page.resolution[0] == pytest.approx(0.01 / 2.5e-6)
    assert json.loads((tmp_path / "volume" / "metadata.json").read_text()) == FACTS
    assert json.loads((tmp_path / "volume.npy.json").read_text()) == FACTS
    attributes = json.loads((tmp_path / "volume.zarr" / "zarr.json").read_text())["attributes"]
    assert json.loads(attributes["tomolearn"]) == FACTS


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_integers_store_scale_and_offset(dtype, tmp_path, rng):
    data = volume(rng)
    with sink_of(tmp_path / "volume.h5", dtype=dtype, value_range=(-2, 2)) as sink:
        fill(sink, data)
        clipped = sum(counts.get("values clipped to value_range", 0) for counts in sink.done.values())
    limits = np.iinfo(dtype)
    with h5py.File(tmp_path / "volume.h5") as file:
        stored = file["exchange/data"][:]
        scale, offset = (file["exchange/data"].attrs[name] for name in ("scale", "offset"))
    assert stored.dtype == dtype
    inside = np.abs(data) <= 2 + scale / 2  # what rounds to a value within
    assert clipped == np.count_nonzero(~inside) > 0
    assert scale * (limits.max - limits.min) == pytest.approx(4)
    np.testing.assert_allclose((stored * scale + offset)[inside], data[inside], atol=0.5001 * scale)
    np.testing.assert_allclose((stored * scale + offset)[~inside], np.sign(data[~inside]) * 2, atol=1e-6 + scale / 2)


def test_labels_are_stored_as_they_are(tmp_path):
    labels = np.arange(7 * 5 * 6, dtype=np.uint8).reshape(7, 5, 6)
    with sink_of(tmp_path / "labels.tif", dtype="uint8") as sink:
        fill(sink, labels)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "labels.tif"), labels)


def test_wrong_blocks(tmp_path):
    sink = sink_of(tmp_path / "volume.h5", dtype="uint8", value_range=(0, 1))
    with pytest.raises(ValueError, match=r"block 0 of .*volume\.h5 must have shape \(3, 5, 6\); got \(2, 5, 6\)"):
        sink.write_block(0, np.zeros((2, 5, 6)))
    with pytest.raises(ValueError, match="not finite cannot be stored as uint8; take a floating dtype"):
        sink.write_block(0, np.full((3, 5, 6), np.nan))
    plain = sink_of(tmp_path / "labels.h5", dtype="uint8")
    with pytest.raises(ValueError, match="float64 are stored as uint8 only with value_range"):
        plain.write_block(0, np.zeros((3, 5, 6)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtype": "complex64"}, ValueError, "dtype must be a floating type or an integer type"),
        ({"dtype": "int64", "value_range": (0, 1)}, ValueError, "of up to 32 bits; got int64"),
        ({"dtype": "uint8", "value_range": (1, 1)}, ValueError, r"value_range must be two finite numbers.*\(1, 1\)"),
        ({"dtype": "uint8", "value_range": 3}, ValueError, "value_range must be two finite numbers"),
        ({"value_range": (0, 1)}, ValueError, "value_range is for integer types; got dtype float32"),
        ({"kind": "png"}, ValueError, "kind must be one of"),
        ({"blocks": [(0, 3), (4, 7)]}, ValueError, "blocks must follow each other from 0 to 7"),
        ({"blocks": [(0, 3)]}, ValueError, "blocks must follow each other from 0 to 7"),
    ],
)
def test_wrong_options(options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        sink_of(tmp_path / "volume.h5", **options)
    assert list(tmp_path.iterdir()) == []


def test_wrong_places(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"the suffix of .*volume\.png names no kind of volume; take one of \.h5"):
        sink_of(tmp_path / "volume.png")
    with pytest.raises(FileNotFoundError, match="the folder .*absent of the output .* does not exist; make it first"):
        sink_of(tmp_path / "absent" / "volume.h5")
    (tmp_path / "volume.h5").write_text("mine")
    with pytest.raises(FileExistsError, match=r"the output .*volume\.h5 exists; choose another name, or overwrite"):
        sink_of(tmp_path / "volume.h5")
    assert (tmp_path / "volume.h5").read_text() == "mine"
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match=r"volume\.tif needs 800\.00 MB; .* has 0\.10 MB left"):
        create_sink(tmp_path / "volume.tif", (10, 4000, 5000))


@pytest.mark.parametrize("name", NAMES)
def test_overwrite_replaces_when_whole(name, tmp_path, rng):
    data, path = volume(rng), tmp_path / name
    with sink_of(path) as sink:
        fill(sink, np.zeros_like(data))
    before = all_bytes(path)
    sink = sink_of(path, overwrite=True)
    fill(sink, data)
    assert all_bytes(path) == before  # until it is whole
    sink.finish()
    with open_volume(path) as source:
        np.testing.assert_array_equal(source[:], data)


def test_a_partial_output_of_another_run_is_refused(tmp_path, rng):
    path = tmp_path / "volume.h5"
    sink_of(path, run={"scan": "a.h5", "steps": [["flat", 1.5]]}).close()
    assert sink_of(path, run={"scan": "a.h5", "steps": [["flat", 1.5]]}, resume=True).done == {}
    with pytest.raises(ValueError, match=r"belongs to another run \(it differs in scan\); resume with the same input"):
        sink_of(path, run={"scan": "b.h5", "steps": [["flat", 1.5]]}, resume=True)
    with pytest.raises(ValueError, match=r"it differs in dtype, scan, steps\)"):
        sink_of(path, dtype="float64", resume=True)
    for broken in ("", "[1]", '{"run": {}}', '{"run": {}, "blocks": 3, "done": {}}'):
        (tmp_path / "volume.h5.part.json").write_text(broken)
        with pytest.raises(FileFormatError, match=r"volume\.h5\.part\.json is not the record of a partial output"):
            sink_of(path, resume=True)


def test_nothing_to_resume_is_a_beginning(tmp_path):
    assert sink_of(tmp_path / "volume.h5", resume=True).done == {}


# ------------------------------------------------------------------------------------------------------- raw scans


def test_a_scan_comes_back(tmp_path, rng):
    counts = rng.integers(0, 60000, (4, 6, 8)).astype(np.uint16)
    flats, darks = counts[:, :2] + 1, counts[:, :3] // 2
    facts = {"pixel_size": 1e-6, "distance": 0.25, "energy": 2e4, "operator": "nobody"}
    angles = np.linspace(0, np.pi, 6, endpoint=False)
    write_scan(tmp_path / "scan.h5", counts, angles=angles, flats=flats, darks=darks, metadata=facts)
    with open_scan(tmp_path / "scan.h5") as scan:
        np.testing.assert_array_equal(scan[:], counts)
        np.testing.assert_array_equal(scan.flats[:], flats)
        np.testing.assert_array_equal(scan.darks[:], darks)
        np.testing.assert_allclose(scan.angles, angles, rtol=1e-15)
        assert {name: scan.metadata[name] for name in ("pixel_size", "distance", "energy")} == {
            "pixel_size": 1e-6,
            "distance": 0.25,
            "energy": 2e4,
        }
    with h5py.File(tmp_path / "scan.h5") as file:
        assert file["exchange/data"].shape == (6, 4, 8) and file["exchange/theta"].attrs["units"] == "deg"
    with open_scan(tmp_path / "scan.h5") as scan:  # from a source, in pieces
        write_scan(tmp_path / "copy.h5", scan, angles=scan.angles, flats=scan.flats, darks=scan.darks, metadata=facts)
    assert (tmp_path / "copy.h5").read_bytes() == (tmp_path / "scan.h5").read_bytes()
    assert os.listdir(tmp_path) in (["scan.h5", "copy.h5"], ["copy.h5", "scan.h5"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"angles": [0, 1]}, ValueError, "angles must be one for each of 6 projections; got 2"),
        ({"flats": np.ones((3, 2, 8))}, ValueError, r"data_white must have the 4 rows and 8 detectors.*\(3, 2, 8\)"),
        ({"darks": np.ones((4, 8))}, ValueError, "data_dark must have three axes"),
    ],
)
def test_wrong_scans(options, error, message, tmp_path):
    options = {"angles": np.linspace(0, 3, 6)} | options
    with pytest.raises(error, match=message):
        write_scan(tmp_path / "scan.h5", np.ones((4, 6, 8)), **options)
    assert list(tmp_path.iterdir()) == []


def test_a_scan_that_fails_leaves_nothing(tmp_path):
    class Broken(ArraySource):
        def _read(self, start, stop):
            raise OSError("the disk is gone")

    source = Broken(np.ones((4, 6, 8)), ("rows", "angles", "detectors"))
    with pytest.raises(OSError, match="the disk is gone"):
        write_scan(tmp_path / "scan.h5", source, angles=np.linspace(0, 3, 6))
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------- what must not be lost


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_with_other_things_is_not_replaced(name, tmp_path, rng):
    path = tmp_path / name
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    error, message = (
        (FileExistsError, r"holds other things than a volume \(notes\.txt\), which would be lost")
        if path.suffix in ("", ".zarr")
        else (IsADirectoryError, r"the output .* is a folder; choose another name")
    )
    with pytest.raises(error, match=message):
        sink_of(path, overwrite=True)
    assert os.listdir(tmp_path) == [name] and (path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_an_output_without_a_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="the output must be the name of a file or a new folder; got"):
        create_sink(name, (7, 5, 6), overwrite=True)


OTHER_RUN = """
import sys
import numpy as np
from tomolearn.io import create_sink, write_scan
for begin in (
    lambda: create_sink(sys.argv[1], (7, 5, 6), overwrite=True),
    lambda: create_sink(sys.argv[1], (7, 5, 6), resume=True),
    lambda: write_scan(sys.argv[2], np.ones((4, 6, 8)), angles=np.linspace(0, 3, 6), overwrite=True),
):
    try:
        begin()
    except FileExistsError as error:
        print(error)
"""


def test_two_processes_do_not_write_one_output(tmp_path, rng):
    data, path, scan, told = volume(rng), tmp_path / "volume.h5", tmp_path / "scan.h5", []

    class Asking(ArraySource):
        def _read(self, start, stop):
            command = [sys.executable, "-c", OTHER_RUN, str(path), str(scan)]
            told.append(subprocess.run(command, capture_output=True, text=True).stdout)
            return super()._read(start, stop)

    with sink_of(path) as sink:
        fill(sink, data, (0,))
        write_scan(scan, Asking(np.ones((4, 6, 8)), ("rows", "angles", "detectors")), angles=np.linspace(0, 3, 6))
        fill(sink, data, (1, 2))
    busy = "another run writes the output {} now; wait for it, or choose another name.\n"
    assert told == [busy.format(path) * 2 + busy.format(scan)]
    with open_volume(path) as source:
        np.testing.assert_array_equal(source[:], data)
    assert sorted(os.listdir(tmp_path)) == ["scan.h5", "volume.h5"]


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=r"nothing can be written to the folder .* of the output .*volume\.h5"):
        sink_of(tmp_path / "volume.h5")


def test_a_scan_is_not_written_under_the_name_of_another_kind(tmp_path):
    with pytest.raises(ValueError, match=r"a scan is written as HDF5: its suffix must be one of .*; got .*scan\.tif"):
        write_scan(tmp_path / "scan.tif", np.ones((4, 6, 8)), angles=np.linspace(0, 3, 6))
    assert list(tmp_path.iterdir()) == []

"""A file that is broken, truncated, missing, of another kind or shape: the message names it, and what was expected."""

import h5py
import io_twins
import numpy as np
import pytest
import tifffile
from io_twins import DEGREES, as_stored

from tomolearn.exceptions import FileFormatError, GeometryError
from tomolearn.io import create_sink, open_library, open_pairs, open_scan, open_volume

COUNTS = io_twins.make_counts()
STORED = as_stored(COUNTS.projections)


@pytest.fixture
def exchange(tmp_path):
    path = tmp_path / "scan.h5"
    io_twins.write_exchange(path, COUNTS)
    return path


@pytest.fixture
def projections(tmp_path):
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, STORED, photometric="minisblack")
    return path


def replace(path, name, value):
    with h5py.File(path, "a") as file:
        del file[name]
        if value is not None:
            file[name] = value


# ---------------------------------------------------------------------------------------------- missing and named


@pytest.mark.parametrize("path", ["none.h5", "none.tif", "none", "none_*.tif"])
def test_a_missing_file(tmp_path, path):
    for read in (open_scan, open_volume):
        with pytest.raises(FileNotFoundError, match="none"):
            read(str(tmp_path / path))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        open_library(tmp_path / "none.h5")


def test_a_missing_dataset_names_those_that_are_there(exchange):
    with pytest.raises(
        FileNotFoundError, match=r"scan.h5 has no dataset 'exchange/dta'; it has exchange/data \(12, 5, 7\)"
    ):
        open_scan(exchange, data="exchange/dta")
    with pytest.raises(FileNotFoundError, match=r"'flats.h5' is neither a dataset of .*scan.h5 nor a file; it has"):
        open_scan(exchange, flats="flats.h5")
    with pytest.raises(FileNotFoundError, match=r"has no dataset 'train_ns'; it has exchange/data"):
        open_pairs(exchange)
    with pytest.raises(FileNotFoundError, match=r"has no dataset 'Images' and no 'Sinograms'; it has exchange"):
        open_library(exchange)
    with pytest.raises(FileFormatError, match="scan.h5:exchange is a group, expected a dataset"):
        open_scan(exchange, data="exchange")


def test_links_that_lead_nowhere(tmp_path):
    path = tmp_path / "scan.nxs"
    io_twins.write_nxtomo(path, COUNTS, external=tmp_path / "frames.h5")
    (tmp_path / "frames.h5").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"detector/data is a link to deep/frames in the file frames.h5, which is"
    ):
        open_scan(path)
    replace(path, "entry/instrument/detector/data", h5py.SoftLink("/nowhere"))
    with pytest.raises(FileFormatError, match=r"detector/data is a link to /nowhere, which is not there"):
        open_scan(path)


# -------------------------------------------------------------------------------------------- wrong kinds and shapes


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "notes"
    path.write_text("This is not a scan. " * 20)
    with pytest.raises(FileFormatError, match=r"notes begins with b'This is ', expected HDF5, TIFF, MRC"):
        open_scan(path)
    for suffix, kind in ((".h5", "an HDF5 file"), (".tif", "a TIFF file"), (".npy", "a NumPy array")):
        named = path.with_suffix(suffix)
        named.write_text("This is not a scan. " * 20)
        with pytest.raises(FileFormatError, match=f"notes{suffix} is broken or truncated: found .* expected {kind}"):
            open_volume(named)
    named = path.with_suffix(".mrc")
    named.write_text("This is not a scan. " * 100)
    with pytest.raises(FileFormatError, match=r"notes.mrc: found MRC mode \d+, expected one of 0 \(i1\)"):
        open_volume(named)
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    with pytest.raises(FileFormatError, match="folder is a folder of 1 entries, expected TIFF files or a Zarr store"):
        open_scan(tmp_path / "folder")
    with pytest.raises(ValueError, match="kind must be one of 'exchange', 'nxtomo'"):
        open_scan(path, kind="jpeg")


def test_an_hdf5_file_without_a_scan(tmp_path):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["a/frames"], file["b"] = STORED, STORED
    with pytest.raises(FileFormatError, match=r"neither Data Exchange .* nor NXtomo .*a/frames \(12, 5, 7\).*data="):
        open_scan(path)
    with pytest.raises(GeometryError, match="order must be 'projections' .* a file of kind hdf5 does not say it"):
        open_scan(path, data="b")
    with pytest.raises(FileFormatError, match=r"holds 2 datasets of three axes, expected to be told which; it has"):
        open_volume(path)
    with pytest.raises(FileFormatError, match="has no NXtomo entry"):
        open_scan(path, kind="nxtomo")


def test_a_reconstruction_is_no_scan(tmp_path):
    with create_sink(tmp_path / "volume.h5", (3, 4, 4), blocks=[(0, 3)]) as sink:
        sink.write_block(0, np.zeros((3, 4, 4), np.float32))
    with pytest.raises(
        FileFormatError, match="volume.h5:exchange/data is a volume, axes slices:rows:columns, expected"
    ):
        open_scan(tmp_path / "volume.h5")
    assert open_volume(tmp_path / "volume.h5").shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("exchange/data", np.zeros(5), r"exchange/data has shape \(5,\), expected three axes"),
        ("exchange/data", np.zeros((2, 3, 4), complex), "holds complex128, expected real numbers"),
        ("exchange/data", np.zeros((0, 5, 7)), r"is empty: found shape \(0, 5, 7\)"),
        (
            "exchange/data_white",
            np.zeros((3, 4, 7)),
            r"data_white \(4, 3, 7\) must have 5 rows on axis 0 and 7 detectors",
        ),
        (
            "exchange/data_dark",
            np.zeros((2, 5, 6)),
            r"data_dark \(5, 2, 6\) must have 5 rows on axis 0 and 7 detectors",
        ),
        ("exchange/theta", np.zeros(11), "exchange/data has 12 projections and 11 angles"),
        ("exchange/theta", np.full(12, np.nan), "exchange/theta holds 12 NaN or infinite values"),
        ("exchange/theta", np.array([b"a"] * 12), r"exchange/theta holds \|S1, expected real numbers"),
    ],
)
def test_datasets_of_a_wrong_shape_or_kind(exchange, name, value, match):
    replace(exchange, name, value)
    with pytest.raises(FileFormatError, match=match):
        open_scan(exchange)


def test_nxtomo_whose_parts_do_not_fit(tmp_path):
    path = tmp_path / "scan.nxs"
    for name, value, match in (
        ("instrument/detector/image_key", np.zeros(7), "has 18 frames, but .*image_key has 7 values"),
        ("instrument/detector/image_key", np.ones(18), "has 18 frames and no projection: expected image_key 0"),
        ("sample/rotation_angle", np.zeros(5), "has 5 values of rotation_angle, expected one for each of 18 frames"),
        ("instrument/detector/data", None, "entry has no frames, expected instrument/detector/data"),
    ):
        io_twins.write_nxtomo(path, COUNTS)
        replace(path, f"entry/{name}", value)
        if value is None:
            replace(path, "entry/data/data", None)
        with pytest.raises(FileFormatError, match=match):
            open_scan(path)


def test_colour_and_mixed_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "colour.tif", np.zeros((4, 5, 3), np.uint8), photometric="rgb")
    with pytest.raises(FileFormatError, match=r"colour.tif has an image of shape \(4, 5, 3\), expected grey values"):
        open_volume(tmp_path / "colour.tif")
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("flat_0.tif", "proj_0.tif", "proj_1.tif"):
        tifffile.imwrite(folder / name, STORED[0])
    with pytest.raises(FileFormatError, match=r"mixed holds TIFF files of 2 kinds, flat_\*.tif, proj_\*.tif"):
        open_scan(folder)
    tifffile.imwrite(folder / "proj_1.tif", STORED[0, :3])
    with pytest.raises(
        FileFormatError, match=r"proj_1.tif has an image \(3, 7\) of uint16, expected \(5, 7\) of uint16"
    ):
        open_volume(str(folder / "proj_*.tif"))[:]


def test_a_codec_that_is_missing_is_named(tmp_path):
    path = tmp_path / "lzw.tif"
    tifffile.imwrite(path, STORED[0])
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        at = tif.pages[0].tags["Compression"].valueoffset
    data[at] = 5  # LZW
    path.write_bytes(data)
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        match = "lzw.tif is compressed by LZW, which takes a package: pip install imagecodecs"
    else:
        match = "lzw.tif"
    with pytest.raises(FileFormatError, match=match):
        open_volume(path)[:]


def test_a_filter_that_is_missing_is_named(exchange):
    replace(exchange, "exchange/data", None)
    with h5py.File(exchange, "a") as file:
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_chunk((1, 5, 7))
        layout.set_filter(32008, h5py.h5z.FLAG_OPTIONAL, (0,))
        space = h5py.h5s.create_simple((12, 5, 7))
        h5py.h5d.create(file["exchange"].id, b"data", h5py.h5t.NATIVE_UINT16, space, layout)
        file["exchange/data"][...] = STORED
    with pytest.raises(
        FileFormatError, match=r"filter 32008 \(bitshuffle\), which is not installed; install hdf5plugin"
    ):
        open_scan(exchange)


# ----------------------------------------------------------------------------- sizes that the file does not hold


def test_a_shape_too_large_for_the_file_takes_no_memory(tmp_path):
    path = tmp_path / "huge.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("exchange/data", (10**6, 10**6, 10**3), np.float32)  # contiguous, never written
    with pytest.raises(
        FileFormatError, match=r"declares shape \(1000000, 1000000, 1000\) of float32, 4000000000000000"
    ):
        open_scan(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("exchange/data", (10**6, 10**3, 10**3), np.float32, chunks=(1, 10, 10), compression=1)
    with pytest.raises(FileFormatError, match="but 0 bytes of it were written"):
        open_scan(path)
    header = np.lib.format
    with open(tmp_path / "huge.npy", "wb") as file:
        header.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**4,) * 3})
    with pytest.raises(FileFormatError, match="huge.npy declares shape .* but 0 bytes follow the header"):
        open_volume(tmp_path / "huge.npy")
    io_twins.write_mrc(tmp_path / "huge.mrc", np.zeros((1, 2, 2), np.int16))
    data = bytearray((tmp_path / "huge.mrc").read_bytes())
    data[:12] = b"\xff\xff\xff\x7f" * 3
    (tmp_path / "huge.mrc").write_bytes(data)
    with pytest.raises(FileFormatError, match="huge.mrc declares shape .* but 8 bytes follow the header"):
        open_volume(tmp_path / "huge.mrc")


def test_an_acquisition_that_was_broken_off(exchange):
    replace(exchange, "exchange/data", None)
    for options in ({"compression": "gzip"}, {}):
        with h5py.File(exchange, "a") as file:
            if "data" in file["exchange"]:
                del file["exchange/data"]
            data = file.create_dataset("exchange/data", STORED.shape, STORED.dtype, chunks=(1, 5, 7), **options)
            data[:8] = STORED[:8]
        with pytest.raises(FileFormatError, match="has 8 of the 12 chunks|560 bytes of it were written"):
            open_scan(exchange)


@pytest.mark.parametrize("name", io_twins.TWINS)
def test_a_file_cut_short_anywhere_is_refused(tmp_path, name):
    """The pixels are what the end of most files is made of: none may be made up."""
    twin = io_twins.TWINS[name]
    path = tmp_path / f"cut{twin.suffix}"
    twin.write(path)
    whole, truth = path.read_bytes(), [source[:] for source in twin.open(path)]
    for size in (0, 3, len(whole) // 3, len(whole) // 2, len(whole) * 9 // 10):
        path.write_bytes(whole[:size])
        with pytest.raises(FileFormatError, match="cut"):
            for source in twin.open(path):
                source.read_block(0, len(source))
    path.write_bytes(whole[:-1])
    try:
        found = [source[:] for source in twin.open(path)]
    except FileFormatError as error:
        assert "cut" in str(error)
    else:  # the last byte of a TIFF file may be one that nobody needs
        assert all((a == b).all() for a, b in zip(found, truth, strict=True))


# ------------------------------------------------------------------------------------------------------ angles


def test_angles_from_everywhere(tmp_path, projections):
    def angles(*arguments, **options):
        return np.rad2deg(open_scan(projections, angles=arguments[0], **options).angles)

    np.testing.assert_allclose(angles(np.deg2rad(DEGREES)), DEGREES)
    np.testing.assert_allclose(angles(DEGREES, angle_unit="deg"), DEGREES)
    np.testing.assert_allclose(angles(" -10 : 1e2 "), np.linspace(-10, 100, 12))  # both ends
    np.testing.assert_allclose(angles("0:3", angle_unit="rad"), np.rad2deg(np.linspace(0, 3, 12)))
    text = tmp_path / "angles.txt"
    for lines in (
        DEGREES,
        ["angle [deg]", *DEGREES],
        ["# one", *(f"{d}," for d in DEGREES)],
        [" ".join(map(str, DEGREES))],
    ):
        text.write_text("\n".join(map(str, lines)))
        np.testing.assert_allclose(angles(str(text), angle_unit="deg"), DEGREES)
    np.save(tmp_path / "angles.npy", DEGREES)
    np.testing.assert_allclose(angles(tmp_path / "angles.npy", angle_unit="deg"), DEGREES)
    io_twins.write_exchange(tmp_path / "other.h5", COUNTS)
    io_twins.write_nxtomo(tmp_path / "other.nxs", COUNTS)
    for name in ("other.h5", "other.h5:exchange/theta", "other.nxs", "other.nxs:entry/sample/rotation_angle"):
        np.testing.assert_allclose(angles(str(tmp_path / name)), DEGREES, atol=1e-12)


def test_angles_that_cannot_be_told(tmp_path, projections, exchange):
    with pytest.raises(GeometryError, match="look like degrees; pass angle_unit='deg'"):
        open_scan(projections, angles=DEGREES)
    with pytest.raises(GeometryError, match="angles has 3 angles, expected 12, one for each projection"):
        open_scan(projections, angles=[0, 0.1, 0.2])
    text = tmp_path / "angles.txt"
    text.write_text("1\n2\n3")
    with pytest.raises(GeometryError, match="angles.txt does not say the unit of its angles; pass angle_unit='deg' or"):
        open_scan(projections, angles=str(text))
    with pytest.raises(FileFormatError, match="angles.txt has 3 angles, expected 12"):
        open_scan(projections, angles=str(text), angle_unit="deg")
    text.write_text("1\ntwo\n3")
    with pytest.raises(FileFormatError, match="angles.txt: found 'two', expected one angle a line"):
        open_scan(projections, angles=str(text), angle_unit="deg")
    with pytest.raises(
        FileNotFoundError, match=r"angles must be an array, START:STOP in degrees, or a file; .*none.txt"
    ):
        open_scan(projections, angles="none.txt")
    replace(exchange, "exchange/theta", np.deg2rad(DEGREES))
    with h5py.File(exchange, "a") as file:
        file["exchange/theta"].attrs["units"] = "radians"
        file["times"] = DEGREES
    with pytest.raises(GeometryError, match=r"angle_unit='deg' contradicts the file: .*theta has units='radians'"):
        open_scan(exchange, angle_unit="deg")
    with pytest.raises(GeometryError, match=r"scan.h5:times does not say its unit; pass angle_unit"):
        open_scan(projections, angles=f"{exchange}:times")
    with h5py.File(exchange, "a") as file:
        file["exchange/theta"].attrs["units"] = "steps"
    with pytest.raises(FileFormatError, match="theta has units='steps', expected degrees or radians"):
        open_scan(exchange)
    np.testing.assert_allclose(open_scan(exchange, angle_unit="rad").angles, np.deg2rad(DEGREES))


def test_pairs_and_libraries_that_do_not_fit(tmp_path):
    path = tmp_path / "pairs.h5"
    io_twins.write_pairs(path)
    replace(path, "train_gt", np.zeros((3, 6, 8)))
    with pytest.raises(
        FileFormatError, match=r"train_ns has shape \(4, 6, 8\) and .*train_gt \(3, 6, 8\), expected the"
    ):
        open_pairs(path)
    with pytest.raises(ValueError, match="part must be one of 'train', 'test'; got 'validation'"):
        open_pairs(path, "validation")
    io_twins.write_library(path)
    replace(path, "Images", np.zeros((6, 6, 5)))
    with pytest.raises(FileFormatError, match="holds 5 images and 12 sinograms, expected one for one"):
        open_library(path)
    with pytest.raises(ValueError, match="first_axis must be one of"):
        open_library(path, first_axis="z")

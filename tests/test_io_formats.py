"""Every kind of file gives the arrays, angles and metadata that were put into it."""

import warnings

import h5py
import io_twins
import numpy as np
import pytest
import tifffile
from conftest import require
from io_twins import DEGREES, KEYS, as_stored

from tomolearn.exceptions import FileFormatError
from tomolearn.io import open_library, open_pairs, open_scan, open_volume

COUNTS = io_twins.make_counts()
STORED = as_stored(COUNTS.projections)


def check_scan(scan, counts=COUNTS, angles=DEGREES, parts=True):
    assert scan.axes == ("rows", "angles", "detectors")
    assert scan.dtype == counts.projections.dtype and scan.dtype.isnative
    np.testing.assert_array_equal(scan[:], counts.projections)
    if angles is None:
        assert scan.angles is None
    else:
        assert scan.angles.dtype == np.float64
        np.testing.assert_allclose(scan.angles, np.deg2rad(angles), rtol=1e-12)
    if parts:
        np.testing.assert_array_equal(scan.flats[:], counts.flats)
        np.testing.assert_array_equal(scan.darks[:], counts.darks)


# ----------------------------------------------------------------------------------------------------------- HDF5


@pytest.mark.parametrize("units", [None, "degrees", "deg.", "Degree"])
def test_exchange(tmp_path, units):
    io_twins.write_exchange(tmp_path / "scan.dat", COUNTS, units)  # known by what it holds, not by its suffix
    scan = open_scan(tmp_path / "scan.dat")
    check_scan(scan)
    assert scan.metadata == pytest.approx({"pixel_size": 1.5e-6, "energy": 27400.0, "sample": "foam"})
    assert scan.name.endswith("scan.dat:exchange/data") and scan.chunk == 1


def test_exchange_of_other_units_orders_and_storage(tmp_path):
    path = tmp_path / "scan.h5"
    io_twins.write_exchange(path, COUNTS, "radians")
    check_scan(open_scan(path), angles=np.rad2deg(DEGREES))
    # The attribute `axes` tells the order of the file; without it the argument does.
    io_twins.write_exchange(path, COUNTS, axes="y:theta:x", transpose=np.asarray)
    check_scan(open_scan(path))
    io_twins.write_exchange(path, COUNTS, transpose=np.asarray)
    check_scan(open_scan(path, order="sinograms"))
    io_twins.write_exchange(path, COUNTS, chunks=(3, 2, 7), compression="gzip")
    assert open_scan(path).chunk == 2
    check_scan(open_scan(path))
    with h5py.File(path, "a") as file:
        del file["exchange/data_white"], file["exchange/theta"]
        file["other/flats"] = as_stored(COUNTS.flats)
    scan = open_scan(path)
    assert scan.flats is None and scan.angles is None and scan.darks.shape == (5, 2, 7)
    check_scan(open_scan(path, flats="other/flats", angles="0:165"))


@pytest.mark.parametrize("how", ["plain", "external", "nested", "without definition", "big-endian"])
def test_nxtomo(tmp_path, how):
    counts = io_twins.make_counts(">u2") if how == "big-endian" else COUNTS
    options = {
        "external": {"external": tmp_path / "frames.h5"},
        "nested": {"entry": "entry1/tomo_entry"},
        "without definition": {"definition": False},
    }.get(how, {})
    io_twins.write_nxtomo(tmp_path / "scan.nxs", counts, **options)
    scan = open_scan(tmp_path / "scan.nxs")
    check_scan(scan, COUNTS)
    assert scan.metadata == pytest.approx({"pixel_size": 3.25e-6})
    # Relative to the flats, whose control is 100; the invalid frame in between is not counted.
    np.testing.assert_allclose(scan.beam_intensity, (50 + np.flatnonzero(KEYS == 0)) / 100)


def test_nxtomo_as_diamond_writes_it(tmp_path):
    """An NXdata beside the detector has soft links to all of it, among them one to the link to the file of frames."""
    path, names = tmp_path / "scan.nxs", ("image_key", "data")
    io_twins.write_nxtomo(path, COUNTS, entry="entry1/tomo_entry", external=tmp_path / "frames.h5")
    with h5py.File(path, "a") as file:
        for name in names:
            file.pop(f"entry1/tomo_entry/data/{name}", None)
            file[f"entry1/tomo_entry/data/{name}"] = h5py.SoftLink(f"/entry1/tomo_entry/instrument/detector/{name}")
    check_scan(open_scan(path))
    volume = open_volume(f"{path}:entry1/tomo_entry/data/data")
    assert volume.shape == (len(KEYS), *COUNTS.projections.shape[::2])
    (tmp_path / "frames.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"detector/data is a link to deep/frames in the file frames.h5"):
        open_scan(path)


def test_soft_links_in_a_circle_end(tmp_path):
    io_twins.write_exchange(tmp_path / "scan.h5", COUNTS, None)
    with h5py.File(tmp_path / "scan.h5", "a") as file:
        file["here"], file["there"] = h5py.SoftLink("/there"), h5py.SoftLink("/here")
    with pytest.raises(FileFormatError, match="scan.h5 is broken or truncated: .*too many links"):
        open_scan(tmp_path / "scan.h5", data="here")


def test_radians_without_a_unit_are_warned_of(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["exchange/data"] = COUNTS.projections.swapaxes(0, 1)
        file["exchange/theta"] = np.deg2rad(DEGREES)
    with pytest.warns(UserWarning, match=r"theta has no units, .* degrees.*pass angle_unit='rad'"):
        scan = open_scan(tmp_path / "scan.h5")
    np.testing.assert_allclose(scan.angles, np.deg2rad(np.deg2rad(DEGREES)))  # the format says degrees
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(open_scan(tmp_path / "scan.h5", angle_unit="rad").angles, np.deg2rad(DEGREES))


def test_nxtomo_leaves_alignment_views_out(tmp_path):
    path = tmp_path / "scan.nxs"
    io_twins.write_nxtomo(path, COUNTS)
    control = KEYS.copy()
    last = np.flatnonzero(KEYS == 0)[-2:]
    control[last] = -1
    with h5py.File(path, "a") as file:
        file["entry/instrument/detector/image_key_control"] = control
    scan = open_scan(path)
    np.testing.assert_array_equal(scan[:], COUNTS.projections[:, :-2])
    np.testing.assert_allclose(scan.angles, np.deg2rad(DEGREES[:-2]))


def test_processed_nexus(tmp_path):
    io_twins.write_nxdata(tmp_path / "processed.nxs", COUNTS)
    check_scan(open_scan(tmp_path / "processed.nxs"), parts=False)


def test_virtual_dataset_over_files(tmp_path):
    layout = h5py.VirtualLayout(STORED.shape, STORED.dtype)
    for i, part in enumerate(np.array_split(STORED, 3)):
        with h5py.File(tmp_path / f"part{i}.h5", "w") as file:
            file["data"] = part
        layout[4 * i : 4 * i + 4] = h5py.VirtualSource(f"part{i}.h5", "data", part.shape)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_virtual_dataset("frames", layout)
    scan = open_scan(tmp_path / "scan.h5", data="frames", order="projections")
    check_scan(scan, angles=None, parts=False)
    (tmp_path / "part1.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"scan.h5:frames is a virtual dataset .* part1.h5, which is missing"):
        open_scan(tmp_path / "scan.h5", data="frames", order="projections")


@pytest.mark.parametrize("latest", [False, True])
@pytest.mark.parametrize("userblock", [0, 512])
def test_texts_are_read_from_every_version_of_the_format(tmp_path, latest, userblock):
    """Texts of variable length are parsed from the bytes of the file: as attributes and as datasets."""
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w", libver="latest" if latest else "earliest", userblock_size=userblock) as file:
        file["exchange/data"], file["exchange/theta"] = STORED, np.deg2rad(DEGREES)
        for i in range(30):  # more than fit the first block of the header, or any but dense storage
            file["exchange/theta"].attrs[f"note{i}"] = "x" * i
        file["exchange/theta"].attrs["units"] = "radians"
        file["exchange/data"].attrs["axes"] = ["theta", "y", "x"]
        file["exchange/title"] = "Zähne"
    scan = open_scan(path)
    check_scan(scan, parts=False)
    assert scan.metadata == {"title": "Zähne"}


# ----------------------------------------------------------------------------------------------- TIFF, MRC, NumPy

PREDICTED_FLOATS = ("deflate, predicted", "float32")
TIFFS = {
    "pages": {},
    "bigtiff": {"bigtiff": True},
    "big-endian": {"byteorder": ">"},
    "without metadata": {"metadata": None},
    "imagej": {"imagej": True},
    "deflate": {"compression": "deflate"},
    "deflate, predicted": {"compression": "deflate", "predictor": True},
    "tiles": {"tile": (16, 16)},
    "strips": {"rowsperstrip": 2},
}


@pytest.mark.parametrize(
    ("how", "dtype"),  # tifffile takes imagecodecs to predict floats
    [(how, dtype) for how in TIFFS for dtype in ("uint8", "uint16", "float32") if (how, dtype) != PREDICTED_FLOATS],
)
def test_tiff_pages(tmp_path, how, dtype):
    path, data = tmp_path / "scan.tif", STORED.astype(dtype)
    tifffile.imwrite(path, data, photometric="minisblack", **TIFFS[how])
    volume = open_volume(path)
    assert volume.axes == ("slices", "rows", "columns") and volume.dtype == dtype
    np.testing.assert_array_equal(volume[:], data)
    check_scan(open_scan(path), io_twins.make_counts(dtype), angles=None, parts=False)


def test_tiff_with_one_page_for_all_images(tmp_path):
    path = tmp_path / "long.tif"
    with tifffile.TiffWriter(path, imagej=True) as writer:  # as ImageJ writes what exceeds 4 GB
        writer.write(STORED, photometric="minisblack", truncate=True)
    with tifffile.TiffFile(path) as tif:
        assert len(tif.pages) == 1
    np.testing.assert_array_equal(open_volume(path)[:], STORED)


@pytest.mark.parametrize("options", [{}, {"compression": "deflate"}])
def test_tiff_folder_in_the_order_of_numbers(tmp_path, options):
    folder = tmp_path / "projections"
    folder.mkdir()
    for i, image in enumerate(STORED):  # img_10 stands before img_9 in the alphabet
        tifffile.imwrite(folder / f"img_{i}.TIFF", image, **options)
    (folder / "notes.txt").write_text("not an image")
    np.save(tmp_path / "flats.npy", as_stored(COUNTS.flats))
    tifffile.imwrite(tmp_path / "darks.tif", as_stored(COUNTS.darks), photometric="minisblack")
    parts = {"darks": str(tmp_path / "darks.tif"), "flats": str(tmp_path / "flats.npy"), "angles": "0:165"}
    for path in (folder, str(folder / "img_*.TIFF"), [folder / f"img_{i}.TIFF" for i in range(12)]):
        check_scan(open_scan(path, **parts))
    scan = open_scan(folder)
    for _ in range(2):  # the second time without the parser
        np.testing.assert_array_equal(scan[3], COUNTS.projections[3])
    np.testing.assert_array_equal(open_volume(folder)[:], STORED)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float16", "float32"])
def test_mrc(tmp_path, dtype, order):
    counts = io_twins.make_counts(dtype)
    path = tmp_path / "scan.mrc"
    io_twins.write_mrc(path, as_stored(counts.projections), order=order, extended=b"x" * 160, cell=7 * 25.0)
    scan = open_scan(path, angles=np.deg2rad(DEGREES))
    check_scan(scan, counts, parts=False)
    assert scan.metadata == pytest.approx({"pixel_size": 25e-10})
    io_twins.write_mrc(path, as_stored(counts.projections), order=order, stamp=False)  # of old programs
    check_scan(open_scan(path), counts, angles=None, parts=False)


@pytest.mark.parametrize("stored", ["C", "F", "big-endian"])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_numpy(tmp_path, suffix, stored):
    data = np.asfortranarray(STORED) if stored == "F" else STORED.astype(">u2" if stored == "big-endian" else "u2")
    path = tmp_path / f"scan.{suffix}"
    np.save(path, data) if suffix == "npy" else np.savez(path, a=data)
    check_scan(open_scan(path, order="projections"), angles=None, parts=False)
    np.testing.assert_array_equal(open_volume(path, axes=("rows", "slices", "columns"))[:], COUNTS.projections)


def test_npz_of_many_arrays(tmp_path):
    path = tmp_path / "scan.npz"
    np.savez_compressed(path, data=STORED, flats=as_stored(COUNTS.flats))
    scan = open_scan(path, data="data", order="projections", flats=f"{path}:flats")
    np.testing.assert_array_equal(scan[:], COUNTS.projections)
    np.testing.assert_array_equal(scan.flats[:], COUNTS.flats)


def test_one_sinogram_is_a_scan_of_one_row(tmp_path):
    np.save(tmp_path / "sinogram.npy", COUNTS.projections[2])
    scan = open_scan(tmp_path / "sinogram.npy", order="sinograms")
    np.testing.assert_array_equal(scan[:], COUNTS.projections[2:3])


@pytest.mark.parametrize("version", [2, 3])
def test_zarr(tmp_path, version):
    zarr = require("zarr")
    array = zarr.create_array(tmp_path / "scan.zarr", data=STORED, chunks=(4, 2, 7), zarr_format=version)
    array.attrs["pixel_size"] = 1e-6
    scan = open_scan(tmp_path / "scan.zarr", order="projections")
    check_scan(scan, angles=None, parts=False)
    assert scan.chunk == 2 and scan.metadata == {"pixel_size": 1e-6}
    group = zarr.open_group(tmp_path / "group.zarr", mode="w", zarr_format=version)
    group.create_array("a", data=STORED)
    group.create_array("b", data=STORED + 1)
    np.testing.assert_array_equal(open_volume(tmp_path / "group.zarr", dataset="b")[:], STORED + 1)


# -------------------------------------------------------------------------------------------- volumes and libraries


def test_open_volume_finds_the_dataset(tmp_path):
    path = tmp_path / "volume.h5"
    with h5py.File(path, "w") as file:
        file["deep/er/volume"], file["table"] = STORED, np.zeros(3)
        file["deep/er/volume"].attrs.update(pixel_size=1e-6, units="1/m")
    volume = open_volume(path)
    np.testing.assert_array_equal(volume[:], STORED)
    assert volume.metadata == {"pixel_size": 1e-6, "units": "1/m"}
    volume.close()
    with h5py.File(path, "a") as file:
        file["entry/data/data"] = STORED + 1
    np.testing.assert_array_equal(open_volume(path)[:], STORED + 1)
    np.testing.assert_array_equal(open_volume(f"{path}:deep/er/volume")[:], STORED)
    last = open_volume(path, dataset="deep/er/volume", axes=("rows", "columns", "channels"))
    assert last.axes == ("channels", "rows", "columns")
    np.testing.assert_array_equal(last[:], STORED.transpose(2, 0, 1))
    with pytest.raises(ValueError, match="axes must be three names, one of them slices, channels or samples"):
        open_volume(path, axes=("x", "y", "z"))


def test_library(tmp_path):
    images, sinograms = io_twins.write_library(tmp_path / "library.h5")
    found = open_library(tmp_path / "library.h5")
    np.testing.assert_array_equal(found[0][:], images)
    np.testing.assert_array_equal(found[1][:], sinograms)
    assert found[0].axes == ("samples", "rows", "columns") and found[1].axes == ("samples", "angles", "detectors")
    for source in found:
        source.close()
    with h5py.File(tmp_path / "library.h5", "a") as file:
        del file["Sinograms"]
    assert open_library(tmp_path / "library.h5", first_axis="slices")[1] is None


@pytest.mark.parametrize(
    ("size", "n", "name"),
    [
        (185, 1001, "slices"),
        (369, 1001, "slices"),
        (75, 2038, "channels"),
        (149, 2038, "channels"),
        (75, 1000, "samples"),
        (185, 900, "samples"),
        (64, 2038, "samples"),
    ],
)
def test_published_sets_are_known_by_their_size(tmp_path, size, n, name):
    path, part = tmp_path / "library.h5", (size, size, n)
    with h5py.File(path, "w") as file:  # one chunk of zeros for all: little on disk
        file.create_dataset("Images", part, "u1", chunks=part, compression=1)[0, 0, 0] = 1
    images, sinograms = open_library(path)
    assert images.axes == (name, "rows", "columns") and images.shape == (n, size, size) and sinograms is None


def test_pairs(tmp_path):
    path = tmp_path / "pairs.h5"
    pairs = io_twins.write_pairs(path)
    noisy, clean = open_pairs(path)
    np.testing.assert_array_equal(noisy[:], pairs["train_ns"])
    np.testing.assert_array_equal(clean[:], pairs["train_gt"])
    noisy, clean = open_pairs(path, "test")  # new data have no truth
    np.testing.assert_array_equal(noisy[:], pairs["test_ns"])
    assert clean is None
    with h5py.File(tmp_path / "normal.hdf5", "w") as file:
        file["images"] = pairs["train_gt"][..., None]  # as the first version of TomoGAN wrote it
    noisy, clean = open_pairs(path, noisy="test_ns", clean=f"{tmp_path / 'normal.hdf5'}:images")
    np.testing.assert_array_equal(noisy[:], pairs["test_ns"])
    np.testing.assert_array_equal(clean[:], pairs["train_gt"])


# ---------------------------------------------------------------------------------------------------- measured data


@pytest.mark.shared_data
def test_measured_tooth(shared_data):
    scan = open_scan(shared_data / "aps_tooth" / "tooth.h5")
    assert scan.shape == (2, 181, 640) and scan.flats.shape == scan.darks.shape == (2, 10, 640)
    np.testing.assert_allclose(np.rad2deg(scan.angles[[0, -1]]), [0, 179.0055], atol=1e-4)
    with h5py.File(shared_data / "aps_tooth" / "tooth.h5") as file:
        np.testing.assert_array_equal(scan[1], file["exchange/data"][:, 1])
        np.testing.assert_array_equal(scan.flats[0], file["exchange/data_white"][:, 0])
    assert scan.metadata["sample"] == "Tooth"


@pytest.mark.shared_data
def test_measured_grain(shared_data):
    folder = shared_data / "i13_24737"
    scan = open_scan(folder / "projections.mrc", angles=str(folder / "24737_processed.nxs"))
    assert scan.shape == (135, 91, 160) and scan.dtype == np.float16
    np.testing.assert_allclose(np.rad2deg(scan.angles[[0, -1]]), [-88.2, 91.8], atol=1e-3)
    assert np.isnan(scan[0, :, 0]).all() and np.count_nonzero(np.isnan(scan[:])) == 91
    with pytest.raises(FileNotFoundError, match="is a link to 1-DarkFlatFieldCorrection-tomo/data in the file tomo_p1"):
        open_scan(folder / "24737_processed.nxs")

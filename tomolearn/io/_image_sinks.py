"""Volumes as TIFF, Zarr and NumPy files."""

import importlib
import math
import os

import numpy as np
import tifffile

from tomolearn.io._raw import RawBackend, as_json, axes_of, write_bytes

__all__ = ["BigTIFFBackend", "NumPyBackend", "TIFFStackBackend", "ZarrBackend"]

LARGEST_CLASSIC = 2**32 - 2**25  # bytes of an image in a TIFF that is no BigTIFF, as tifffile has it


class NumPyBackend(RawBackend):
    def begin(self, band):
        np.lib.format.open_memmap(self.path, "w+", self.dtype, self.shape).flush()

    def offset(self):
        return np.load(self.path, mmap_mode="r").offset

    def finish(self):
        super().finish()
        draft = self.path.with_name(self.path.name + ".facts")
        draft.write_text(as_json(self.facts))  # the format has no place for them
        os.replace(draft, self.path.with_name(self.path.name.removesuffix(".part") + ".json"))


def _tags(facts, shape):
    """Resolution and description of a TIFF, and how the values of a pixel are stored where there are several."""
    tags = {"photometric": "minisblack", "description": as_json(facts), "software": "tomolearn"}
    if len(shape) > 3:
        tags["planarconfig"] = "contig"
    if facts.get("pixel_size"):
        per_cm = 0.01 / facts["pixel_size"]
        tags |= {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
    return tags


class BigTIFFBackend(RawBackend):
    def begin(self, band):
        metadata = {"axes": "ZYXS"[: len(self.shape)]}
        tags = _tags(self.facts, self.shape)
        tifffile.imwrite(self.path, shape=self.shape, dtype=self.dtype, bigtiff=True, metadata=metadata, **tags)

    def offset(self):
        with tifffile.TiffFile(self.path) as file:
            return file.series[0].dataoffset


class TIFFStackBackend:
    """A folder: one TIFF a slice, and the metadata in a file of their own."""

    def __init__(self, path, shape, dtype, facts):
        self.path, self.shape, self.dtype, self.facts = path, shape, dtype, facts

    def begin(self, band):
        self.path.mkdir()
        (self.path / "metadata.json").write_text(as_json(self.facts))

    def write(self, start, row, block):
        digits = max(5, int(math.log10(self.shape[0])) + 1)
        few = {name: self.facts[name] for name in ("pixel_size", "units", "scale", "offset") if name in self.facts}
        tags = {"metadata": None} | _tags(few, self.shape)
        for number, image in enumerate(block, start):
            path = self.path / f"slice_{number:0{digits}d}.tif"
            if len(image) == self.shape[1]:
                tifffile.imwrite(path, image, **tags)
            else:
                self._write_band(path, row, image, tags)

    def _write_band(self, path, row, band, tags):
        if not path.exists():
            draft = path.with_suffix(".new")  # a file that is there has its header
            large = math.prod(self.shape[1:]) * self.dtype.itemsize > LARGEST_CLASSIC
            tifffile.imwrite(draft, shape=self.shape[1:], dtype=self.dtype, bigtiff=large, **tags)
            os.replace(draft, path)
        with tifffile.TiffFile(path) as file:
            start = file.pages[0].dataoffsets[0]
        with open(path, "r+b", buffering=0) as file:
            write_bytes(file.fileno(), band, start + row * band[0].nbytes)

    def finish(self):
        """Every file is whole already."""

    close = finish


class ZarrBackend:
    """One chunk a slice or, where blocks are bands of rows, a band, so that blocks never share a chunk."""

    def __init__(self, path, shape, dtype, facts):
        self.path, self.shape, self.dtype, self.facts = path, shape, dtype, facts
        try:
            self._zarr = importlib.import_module("zarr")
        except ImportError as error:
            raise ImportError("Zarr output needs the package zarr: pip install 'tomolearn[zarr]'.") from error
        self._array = None

    def begin(self, band):
        self._zarr.create_array(
            store=str(self.path),
            shape=self.shape,
            chunks=(1, band, *self.shape[2:]),
            dtype=self.dtype,
            dimension_names=axes_of(self.facts, self.shape),
            attributes={"tomolearn": as_json(self.facts)},
        )

    def write(self, start, row, block):
        if self._array is None:
            self._array = self._zarr.open_array(str(self.path), mode="r+")
        self._array[start : start + len(block), row : row + block.shape[1]] = block

    def finish(self):
        self._array = None

    close = finish

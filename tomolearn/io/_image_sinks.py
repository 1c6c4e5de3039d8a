"""Volumes as TIFF, Zarr and NumPy files."""

import importlib
import math
import os

import numpy as np
import tifffile

from tomolearn.io._raw import RawBackend, as_json

__all__ = ["BigTIFFBackend", "NumPyBackend", "TIFFStackBackend", "ZarrBackend"]


class NumPyBackend(RawBackend):
    def begin(self):
        np.lib.format.open_memmap(self.path, "w+", self.dtype, self.shape).flush()

    def offset(self):
        return np.load(self.path, mmap_mode="r").offset

    def finish(self):
        super().finish()
        draft = self.path.with_name(self.path.name + ".facts")
        draft.write_text(as_json(self.facts))  # the format has no place for them
        os.replace(draft, self.path.with_name(self.path.name.removesuffix(".part") + ".json"))


def _tags(facts):
    """Resolution and description of a TIFF."""
    tags = {"photometric": "minisblack", "description": as_json(facts), "software": "tomolearn"}
    if facts.get("pixel_size"):
        per_cm = 0.01 / facts["pixel_size"]
        tags |= {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
    return tags


class BigTIFFBackend(RawBackend):
    def begin(self):
        tifffile.imwrite(
            self.path, shape=self.shape, dtype=self.dtype, bigtiff=True, metadata={"axes": "ZYX"}, **_tags(self.facts)
        )

    def offset(self):
        with tifffile.TiffFile(self.path) as file:
            return file.series[0].dataoffset


class TIFFStackBackend:
    """A folder: one TIFF a slice, and the metadata in a file of their own."""

    def __init__(self, path, shape, dtype, facts):
        self.path, self.shape, self.dtype, self.facts = path, shape, dtype, facts

    def begin(self):
        self.path.mkdir()
        (self.path / "metadata.json").write_text(as_json(self.facts))

    def write(self, start, block):
        digits = max(5, int(math.log10(self.shape[0])) + 1)
        few = {name: self.facts[name] for name in ("pixel_size", "units", "scale", "offset") if name in self.facts}
        for number, image in enumerate(block, start):
            tifffile.imwrite(self.path / f"slice_{number:0{digits}d}.tif", image, metadata=None, **_tags(few))

    def finish(self):
        """Every file is whole already."""

    close = finish


class ZarrBackend:
    """One chunk a slice, so that blocks never share a chunk."""

    def __init__(self, path, shape, dtype, facts):
        self.path, self.shape, self.dtype, self.facts = path, shape, dtype, facts
        try:
            self._zarr = importlib.import_module("zarr")
        except ImportError as error:
            raise ImportError("Zarr output needs the package zarr: pip install 'tomolearn[zarr]'.") from error
        self._array = None

    def begin(self):
        self._zarr.create_array(
            store=str(self.path),
            shape=self.shape,
            chunks=(1, *self.shape[1:]),
            dtype=self.dtype,
            dimension_names=self.facts.get("axes", ("slices", "rows", "columns")),
            attributes={"tomolearn": as_json(self.facts)},
        )

    def write(self, start, block):
        if self._array is None:
            self._array = self._zarr.open_array(str(self.path), mode="r+")
        self._array[start : start + len(block)] = block

    def finish(self):
        self._array = None

    close = finish

"""MRC2014 files: a header of 1024 bytes, an extended header, and sections (z, y, x).

Cheng et al., "MRC2014: extensions to the MRC format header for electron cryo-microscopy and tomography", Journal of
Structural Biology 192 (2015) 146-150, https://doi.org/10.1016/j.jsb.2015.04.002; mode 12, 16-bit floats, is an addition
of 2021 that https://www.ccpem.ac.uk/mrc_format/mrc2014.php describes.
"""

import os
import struct

from tomolearn.exceptions import FileFormatError
from tomolearn.io._frames import RawStore
from tomolearn.io._stored import check_sizes

HEADER = 1024
MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
STAMPS = {b"\x44\x44": "<", b"\x44\x41": "<", b"\x11\x11": ">"}


def open_mrc(path):
    """The sections of an MRC file as a store (sections, rows, columns), rows in stored order."""
    path = os.fspath(path)
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        header = file.read(HEADER)
    if len(header) < HEADER:
        raise FileFormatError(f"{path} has {size} bytes, expected an MRC header of {HEADER}: it is truncated.")
    # Old programs leave the stamp empty: then it is the byte order in which the sizes are the smaller ones.
    order = STAMPS.get(header[212:214]) or min("<>", key=lambda o: sum(struct.unpack_from(f"{o}4I", header)))
    columns, rows, sections, mode = struct.unpack_from(f"{order}4i", header)
    if mode not in MODES:
        known = ", ".join(f"{key} ({name})" for key, name in MODES.items())
        raise FileFormatError(f"{path}: found MRC mode {mode}, expected one of {known}.")
    extended = struct.unpack_from(f"{order}i", header, 92)[0]
    if min(columns, rows, sections) < 1 or extended < 0:
        raise FileFormatError(
            f"{path}: found an MRC header of {columns} columns, {rows} rows, {sections} sections and {extended} bytes "
            "of extended header, expected positive numbers."
        )
    dtype, offset = order + MODES[mode], HEADER + extended
    there = max(0, size - offset)
    check_sizes(path, (sections, rows, columns), dtype, there, f"{there} bytes follow the header")
    return RawStore(path, path, (sections, rows, columns), dtype, offset, _metadata(header, order))


def _metadata(header, order):
    samples, cell = struct.unpack_from(f"{order}i", header, 28)[0], struct.unpack_from(f"{order}f", header, 40)[0]
    pixel_size = cell / samples * 1e-10 if samples > 0 else 0.0  # of cells in angstrom
    return {"pixel_size": pixel_size} if 0 < pixel_size < 1 else {}

"""Scans and volumes in files, read in blocks along axis 0.

Everything is a `Source`: a shape, a dtype, named axes and ``read_block(start, stop)``. Scans are presented as (rows,
angles, detectors), volumes as (slices, rows, columns), however the file holds them.
"""

from tomolearn.io.labelled import LabelledImage, LabelledImages, open_labelled
from tomolearn.io.libraries import open_library, open_pairs
from tomolearn.io.scan import Scan, open_scan
from tomolearn.io.scan_writer import write_scan
from tomolearn.io.sinks import Sink, create_sink
from tomolearn.io.source import ArraySource, Source
from tomolearn.io.volume import open_volume

__all__ = [
    "ArraySource",
    "LabelledImage",
    "LabelledImages",
    "Scan",
    "Sink",
    "Source",
    "create_sink",
    "open_labelled",
    "open_library",
    "open_pairs",
    "open_scan",
    "open_volume",
    "write_scan",
]

"""Scans and volumes larger than memory: blocks of slices from file to file through the steps that work on arrays."""

from tomolearn.streaming._run import corrected_sinograms
from tomolearn.streaming.engine import run_blocks
from tomolearn.streaming.images import ImageVolumePrediction
from tomolearn.streaming.plan import plan_blocks
from tomolearn.streaming.scan import Report, reconstruct_volume, sample_sinograms
from tomolearn.streaming.volume import VolumePrediction

__all__ = [
    "ImageVolumePrediction",
    "Report",
    "VolumePrediction",
    "corrected_sinograms",
    "plan_blocks",
    "reconstruct_volume",
    "run_blocks",
    "sample_sinograms",
]

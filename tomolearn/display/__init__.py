"""Figures of slices, sinograms, trainings and samples; matplotlib is imported by the functions that draw."""

from tomolearn.display.denoising import DenoisingDisplay
from tomolearn.display.embedding import EmbeddingDisplay
from tomolearn.display.previews import draw_centers, draw_slices
from tomolearn.display.reconstruction import ReconstructionDisplay
from tomolearn.display.segmentation import SegmentationDisplay
from tomolearn.display.sinogram import SinogramDisplay
from tomolearn.display.training_curve import TrainingCurveDisplay
from tomolearn.display.training_set import TrainingSetCheck, check_training_set

__all__ = [
    "DenoisingDisplay",
    "EmbeddingDisplay",
    "ReconstructionDisplay",
    "SegmentationDisplay",
    "SinogramDisplay",
    "TrainingCurveDisplay",
    "TrainingSetCheck",
    "check_training_set",
    "draw_centers",
    "draw_slices",
]

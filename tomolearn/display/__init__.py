"""Figures of slices and maps of samples; matplotlib is imported by the functions that draw."""

from tomolearn.display.embedding import EmbeddingDisplay
from tomolearn.display.previews import draw_centers, draw_slices
from tomolearn.display.training_set import TrainingSetCheck, check_training_set

__all__ = ["EmbeddingDisplay", "TrainingSetCheck", "check_training_set", "draw_centers", "draw_slices"]

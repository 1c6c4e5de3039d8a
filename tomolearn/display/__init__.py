"""Figures of slices; matplotlib is imported by the functions that draw."""

from tomolearn.display.previews import draw_centers, draw_slices

__all__ = ["draw_centers", "draw_slices"]

"""Segmenters: estimators that give every pixel of an image a label."""

from tomolearn.segmentation.unet import UNetSegmenter

__all__ = ["UNetSegmenter"]

"""Estimators that turn sinograms into images."""

from tomolearn.reconstruction.classical import FBPReconstructor
from tomolearn.reconstruction.iterative import CGLSReconstructor, SIRTReconstructor, TVReconstructor

__all__ = ["CGLSReconstructor", "FBPReconstructor", "SIRTReconstructor", "TVReconstructor"]

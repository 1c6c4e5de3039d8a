"""Reconstruction estimators: classical ones, and networks that learn from pairs of sinograms and images."""

from tomolearn.reconstruction.automap import AutomapReconstructor
from tomolearn.reconstruction.classical import FBPReconstructor
from tomolearn.reconstruction.dense import CNNReconstructor, DenseReconstructor
from tomolearn.reconstruction.fbp_unet import FBPUNetReconstructor
from tomolearn.reconstruction.iradonmap import IRadonMAPReconstructor
from tomolearn.reconstruction.iterative import CGLSReconstructor, SIRTReconstructor, TVReconstructor
from tomolearn.reconstruction.noise2inverse import Noise2InverseReconstructor
from tomolearn.reconstruction.primal_dual import LearnedPrimalDualReconstructor

__all__ = [
    "AutomapReconstructor",
    "CGLSReconstructor",
    "CNNReconstructor",
    "DenseReconstructor",
    "FBPReconstructor",
    "FBPUNetReconstructor",
    "IRadonMAPReconstructor",
    "LearnedPrimalDualReconstructor",
    "Noise2InverseReconstructor",
    "SIRTReconstructor",
    "TVReconstructor",
]

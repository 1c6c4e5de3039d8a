"""The estimator contract: mixins, the registry of public estimators, and memory budgets."""

from tomolearn.base.adjacent import SourceWindows, Windows, windows
from tomolearn.base.corrector import Corrector, ReshapingCorrector
from tomolearn.base.denoiser import Denoiser
from tomolearn.base.image_predictor import ImagePredictor
from tomolearn.base.images import ImageInput
from tomolearn.base.memory import available_memory, check_memory, parse_memory, reused_memory, used_memory
from tomolearn.base.model_files import ModelFiles, fitted_shape, read_estimator, write_estimator
from tomolearn.base.reconstructor import Reconstructor
from tomolearn.base.registration import register, registry
from tomolearn.base.scan_geometry import ScanReconstructor
from tomolearn.base.segmenter import Segmenter
from tomolearn.base.stacks import BLOCK, SinogramInput, StackInput

__all__ = [
    "BLOCK",
    "Corrector",
    "Denoiser",
    "ImageInput",
    "ImagePredictor",
    "ModelFiles",
    "Reconstructor",
    "ReshapingCorrector",
    "ScanReconstructor",
    "Segmenter",
    "SinogramInput",
    "SourceWindows",
    "StackInput",
    "Windows",
    "available_memory",
    "check_memory",
    "fitted_shape",
    "parse_memory",
    "read_estimator",
    "register",
    "registry",
    "reused_memory",
    "used_memory",
    "windows",
    "write_estimator",
]

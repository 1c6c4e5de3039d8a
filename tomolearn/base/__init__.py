"""The estimator contract: mixins, the registry of public estimators, and memory budgets."""

from tomolearn.base.corrector import Corrector, ReshapingCorrector
from tomolearn.base.memory import available_memory, check_memory, parse_memory, used_memory
from tomolearn.base.model_files import ModelFiles, read_estimator
from tomolearn.base.reconstructor import Reconstructor
from tomolearn.base.registration import register, registry
from tomolearn.base.scan_geometry import ScanReconstructor
from tomolearn.base.stacks import BLOCK, SinogramInput

__all__ = [
    "BLOCK",
    "Corrector",
    "ModelFiles",
    "Reconstructor",
    "ReshapingCorrector",
    "ScanReconstructor",
    "SinogramInput",
    "available_memory",
    "check_memory",
    "parse_memory",
    "read_estimator",
    "register",
    "registry",
    "used_memory",
]

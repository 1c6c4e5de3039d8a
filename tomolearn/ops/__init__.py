"""The compiled operators as functions of NumPy arrays or torch tensors."""

from tomolearn.ops.median import sliding_median
from tomolearn.ops.patches import extract_patches, patch_grid_shape, stitch_patches
from tomolearn.ops.radon import backproject, backproject_adjoint, radon, radon_adjoint

__all__ = [
    "backproject",
    "backproject_adjoint",
    "extract_patches",
    "patch_grid_shape",
    "radon",
    "radon_adjoint",
    "sliding_median",
    "stitch_patches",
]

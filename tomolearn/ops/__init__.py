"""The compiled operators as functions of NumPy arrays or torch tensors."""

from tomolearn.ops.radon import backproject, backproject_adjoint, radon, radon_adjoint

__all__ = ["backproject", "backproject_adjoint", "radon", "radon_adjoint"]

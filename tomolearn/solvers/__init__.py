"""Reconstruction algorithms as functions of an operator and its data, in the letters of their papers."""

from tomolearn.solvers.cgls import cgls
from tomolearn.solvers.fbp import fbp
from tomolearn.solvers.fista_tv import fista_tv
from tomolearn.solvers.sirt import sirt
from tomolearn.solvers.tv import tv

__all__ = ["cgls", "fbp", "fista_tv", "sirt", "tv"]

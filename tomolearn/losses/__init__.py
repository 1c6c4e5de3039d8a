"""Differentiable objectives of training: of images, and of segmentation with rare classes."""

from tomolearn.losses.balance import balanced_beta, balanced_weights
from tomolearn.losses.cross_entropy import balanced_cross_entropy, focal_loss, weighted_cross_entropy
from tomolearn.losses.modules import (
    BalancedCrossEntropy,
    DiceCrossEntropy,
    DiceLoss,
    FocalLoss,
    TverskyLoss,
    WeightedCrossEntropy,
)
from tomolearn.losses.overlap import dice_cross_entropy, dice_loss, tversky_loss
from tomolearn.losses.regression import log_mse_loss

__all__ = [
    "BalancedCrossEntropy",
    "DiceCrossEntropy",
    "DiceLoss",
    "FocalLoss",
    "TverskyLoss",
    "WeightedCrossEntropy",
    "balanced_beta",
    "balanced_cross_entropy",
    "balanced_weights",
    "dice_cross_entropy",
    "dice_loss",
    "focal_loss",
    "log_mse_loss",
    "tversky_loss",
    "weighted_cross_entropy",
]

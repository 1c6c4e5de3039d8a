"""Reported numbers: how far an image or a segmentation is from its reference, and scorers for model selection.

The reference comes first, ``(y_true, y_pred)``, as in scikit-learn.
"""

from tomolearn.metrics.consistency import Consistency, consistency
from tomolearn.metrics.images import mse, nrmse, psnr, ssim
from tomolearn.metrics.scorers import scorer
from tomolearn.metrics.segmentation import dice, iou, mcc

__all__ = ["Consistency", "consistency", "dice", "iou", "mcc", "mse", "nrmse", "psnr", "scorer", "ssim"]

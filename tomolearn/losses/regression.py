"""Differentiable objectives of training."""

import torch

__all__ = ["log_mse_loss"]

FLOOR = 1e-6  # of the mean squared error: no image is improved without end


def log_mse_loss(prediction, target):
    """Mean over the images of the logarithm of their mean squared error.

    That is, but for a factor and a constant, the negative mean PSNR of images of one data range. Images whose error is
    small already weigh as much as those whose error is large, and the gradient does not fade with the error.

    Parameters
    ----------
    prediction, target : Tensor of shape (n, ...)

    Returns
    -------
    Tensor of shape ()

    Examples
    --------
    >>> import torch
    >>> from tomolearn.losses import log_mse_loss
    >>> log_mse_loss(torch.zeros(2, 3), torch.tensor([[1.0, 1, 1], [0.1, 0.1, 0.1]])).round(decimals=2)
    tensor(-2.3000)
    """
    return torch.log((prediction - target).square().flatten(1).mean(1) + FLOOR).mean()

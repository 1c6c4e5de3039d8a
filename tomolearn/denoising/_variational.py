"""The step of a variational autoencoder."""

import math
from typing import Any

import torch
from torch.nn import functional as F

from tomolearn.training import Task

__all__ = ["VariationalTask"]


class VariationalTask(Task):
    """A `tomolearn.networks.ConvolutionalVAE` that learns the evidence lower bound, in nats a pixel.

    Parameters
    ----------
    network : ConvolutionalVAE
    normalize : callable
        ``normalize(x, y)``: what the network takes and should give, of noisy and clean images as they came.
    crop : callable
        ``crop(x, y)``: the parts that a step learns from, as large as the network or smaller.
    cut : callable
        ``cut(images)``: patches of the size of the network that cover the images.
    bernoulli : bool
        Likelihood of the pixels: Bernoulli of values in [0, 1], or a Gaussian whose width is the one that fits best.
    make_optimizer : callable
    """

    def __init__(self, network, *, normalize, crop, cut, bernoulli, make_optimizer):
        self.modules = torch.nn.ModuleDict({"network": network})
        self._normalize, self._crop, self._cut = normalize, crop, cut
        self._bernoulli, self._make = bernoulli, make_optimizer

    def optimizers(self):
        return {"network": self._make(self.modules.parameters())}

    def training_step(self, engine, batch):
        x, y = self._normalize(*self._crop(*batch))
        losses = self._losses(engine, self._cut(x[:, 0]), self._cut(y))
        engine.step("network", losses["loss"])
        return losses

    def validation_step(self, engine, batch):
        x, y = self._normalize(*batch)
        return self._losses(engine, self._cut(x[:, 0]), self._cut(y))

    def _losses(self, engine, x, y):
        network: Any = self.modules["network"]
        with engine.autocast():
            images, divergence = network.forward_with_divergence(x)
        images, divergence = images.float(), divergence.float().mean() / y[0].numel()
        if self._bernoulli:
            misfit = F.binary_cross_entropy_with_logits(images, y.clamp(0, 1))
        else:
            # Of a Gaussian with the width that makes the data likeliest, whose square is the mean squared error.
            misfit = 0.5 * torch.log(2 * math.pi * math.e * F.mse_loss(images, y) + 1e-12)
        return {"loss": misfit + divergence, "divergence": divergence}

"""The step of a segmenter: scores of patches, a loss of rare classes, and the Dice coefficient of a validation."""

from collections.abc import Callable

import torch

from tomolearn.losses import (
    balanced_cross_entropy,
    dice_cross_entropy,
    dice_loss,
    focal_loss,
    tversky_loss,
    weighted_cross_entropy,
)
from tomolearn.training import Task
from tomolearn.training import _distributed as distributed
from tomolearn.training.patches import IGNORE

__all__ = ["BALANCED", "LOSSES", "AllPatches", "SegmentationTask", "most_probable"]

# The function, and its argument that takes a weight for each class.
LOSSES: dict[str, tuple[Callable, str]] = {
    "dice+cross_entropy": (dice_cross_entropy, "beta"),
    "cross_entropy": (weighted_cross_entropy, "beta"),
    "weighted": (weighted_cross_entropy, "beta"),
    "balanced": (balanced_cross_entropy, "beta"),
    "focal": (focal_loss, "alpha"),
    "dice": (dice_loss, "class_weights"),
    "tversky": (tversky_loss, "class_weights"),
}
BALANCED = ("weighted", "balanced")  # whose weights are those of balanced classes unless others are given


class SegmentationTask(Task):
    """A network of scores (n, 1 or K, rows, columns) that learns from patches of `tomolearn.training.patches`.

    Parameters
    ----------
    network : torch.nn.Module
    loss : str
        One of `LOSSES`.
    weights : tuple of float or None
        Of the classes.
    n_classes : int
    make_optimizer : callable
    """

    def __init__(self, network, *, loss, weights, n_classes, make_optimizer):
        self.modules = torch.nn.ModuleDict({"network": network})
        self._n_classes, self._make = n_classes, make_optimizer
        self._function, argument = LOSSES[loss]
        if loss == "weighted" and weights[0] > 0:  # superres-tomo's: the first class has the weight 1
            weights = tuple(weight / weights[0] for weight in weights)
        self._options = {"ignore_index": IGNORE} | ({} if weights is None else {argument: weights})

    def optimizers(self):
        return {"network": self._make(self.modules.parameters())}

    def training_step(self, engine, batch):
        x, y, *weight = batch
        with engine.autocast():
            scores = self.modules["network"](x.contiguous(memory_format=torch.channels_last))
        loss = self._function(scores.float(), y, weight_map=weight[0] if weight else None, **self._options)
        engine.step("network", loss)
        return {"loss": loss}

    def validation_step(self, engine, batch):
        """One minus the mean Dice coefficient of the classes that are present, over all patches of `AllPatches`."""
        k, (patches,) = self._n_classes, batch
        counts = torch.zeros(k * k, dtype=torch.float64)
        for x, y, *_ in patches:
            with engine.autocast():
                scores = self.modules["network"](x.contiguous(memory_format=torch.channels_last))
            counted = y != IGNORE
            pairs = y[counted] * k + most_probable(scores)[counted].long()
            counts += torch.bincount(pairs, minlength=k * k).cpu()
        counts = distributed.add_up(counts).reshape(k, k)
        true = counts.sum(1)
        if not true.any():
            raise ValueError(
                "y_val, or the part of y that is held out, must hold a labelled pixel. Give X_val and y_val, or set "
                "early_stopping=False."
            )
        coefficients = 2 * counts.diagonal() / (true + counts.sum(0)).clamp(min=1)
        return {"loss": 1 - coefficients[true > 0].mean()}


def most_probable(scores):
    """The class with the highest of the scores (n, K, rows, columns); of one score, whether it is above 0."""
    return (scores[:, 0] > 0).byte() if scores.shape[1] == 1 else scores.argmax(1).byte()


class AllPatches:
    """The patches of a validation as a single batch, which the task goes through itself.

    A Dice coefficient counts the pixels of all of them, and the mean over batches that the engine takes is not that.

    Parameters
    ----------
    samples : PatchSamples
    """

    def __init__(self, samples):
        self._samples, self.n_distinct, self.entries = samples, samples.n_distinct, samples.entries

    def __len__(self):
        return len(self._samples)

    def load_if_small(self):
        """These, in memory if they are small."""
        return AllPatches(self._samples.load_if_small())

    def in_order(self, batch_size=None):
        """The one batch, and how many patches are in it."""
        yield (_Batches(self._samples, batch_size, "cpu"),), float(len(self))


class _Batches:
    """This process' share of the patches, batch by batch on a device."""

    def __init__(self, samples, batch_size, device):
        self._samples, self._batch_size, self._device = samples, batch_size, device

    def to(self, device):
        return _Batches(self._samples, self._batch_size, device)

    def __iter__(self):
        for batch, count in self._samples.in_order(self._batch_size):
            if count:  # else it stands in for one that another process has
                yield tuple(part.to(self._device) for part in batch)

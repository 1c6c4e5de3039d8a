"""What the engine trains: a `Task` brings modules, optimisers and one step."""

import torch

from tomolearn._validation import check_choice
from tomolearn.training.muon import Muon

__all__ = ["OPTIMIZERS", "SupervisedTask", "Task"]

OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "muon": Muon,
    "rmsprop": torch.optim.RMSprop,
}


class Task:
    """A model as the engine sees it; models with several optimisers, such as GANs, define their own.

    Attributes
    ----------
    modules : torch.nn.ModuleDict
        All that is learned, saved and restored.
    constant : tuple of str
        Optimisers whose learning rate the schedule leaves as it is.

    Examples
    --------
    >>> from tomolearn.training import SupervisedTask, Task
    >>> issubclass(SupervisedTask, Task)
    True
    """

    modules: torch.nn.ModuleDict
    constant: tuple = ()

    def optimizers(self) -> dict:
        """New optimisers by name; called once the modules are on their device.

        Returns
        -------
        dict of str to torch.optim.Optimizer
        """
        raise NotImplementedError

    def training_step(self, engine, batch) -> dict:
        """Learn from a batch by calls of ``engine.step(name, loss)``.

        Parameters
        ----------
        engine : Engine
        batch : tuple of Tensor

        Returns
        -------
        dict of str to Tensor
            Mean losses of the batch for the history; ``"loss"`` is the one that is watched.
        """
        raise NotImplementedError

    def validation_step(self, engine, batch) -> dict:
        """Mean losses of a batch, among them ``"loss"``; gradients are off.

        Parameters
        ----------
        engine : Engine
        batch : tuple of Tensor

        Returns
        -------
        dict of str to Tensor
        """
        raise NotImplementedError


class SupervisedTask(Task):
    """A network that maps inputs to targets, by one loss and one optimiser.

    Parameters
    ----------
    network : torch.nn.Module
    learning_rate : float, default=1e-3
    optimizer : {"adam", "adamw", "muon", "rmsprop"}, default="adam"
    weight_decay : float, default=0.0
    forward : callable, default=None
        ``forward(x)``: the prediction of a batch of inputs; None: ``network(x)``.
    loss : callable, default=None
        ``loss(prediction, target)``: the mean over the batch; None: the mean squared error.
    augment : callable, default=None
        ``augment(x, target)``: another pair for each pair of a training batch.
    penalised : callable, default=None
        ``penalised(x)``: prediction and a penalty that the training loss adds, in place of ``forward`` in training.

    Raises
    ------
    ValueError
        If there is no such optimiser.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.training import SupervisedTask
    >>> list(SupervisedTask(torch.nn.Linear(1, 1)).optimizers())
    ['network']
    """

    def __init__(
        self,
        network,
        *,
        learning_rate=1e-3,
        optimizer="adam",
        weight_decay=0.0,
        forward=None,
        loss=None,
        augment=None,
        penalised=None,
    ):
        self.modules = torch.nn.ModuleDict({"network": network})
        self._optimizer = OPTIMIZERS[check_choice(optimizer, "optimizer", tuple(OPTIMIZERS))]
        self._arguments = {"lr": learning_rate, "weight_decay": weight_decay}
        self._forward = network if forward is None else forward
        self._loss = torch.nn.functional.mse_loss if loss is None else loss
        self._augment, self._penalised = augment, penalised

    def optimizers(self):
        return {"network": self._optimizer(self.modules.parameters(), **self._arguments)}

    def training_step(self, engine, batch):
        x, target = batch if self._augment is None else self._augment(*batch)
        penalty = 0.0
        with engine.autocast():
            if self._penalised is None:
                prediction = self._forward(x)
            else:
                prediction, penalty = self._penalised(x)
        # The error of bfloat16 images would be rounded to three digits.
        loss = self._loss(prediction.float(), target) + penalty
        engine.step("network", loss)
        return {"loss": loss}

    def validation_step(self, engine, batch):
        x, target = batch
        with engine.autocast():
            prediction = self._forward(x)
        return {"loss": self._loss(prediction.float(), target)}

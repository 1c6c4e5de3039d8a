"""The training loop: epochs, validation, early stopping, mixed precision, checkpoints, several processes.

There is one loop for all models. What is particular to a model is in its `Task`: the modules, the optimisers, and what
one step does with a batch.
"""

import contextlib
import time
from dataclasses import dataclass

import numpy as np
import torch

from tomolearn.base.memory import reused_memory
from tomolearn.exceptions import DivergenceError
from tomolearn.training import _distributed as distributed
from tomolearn.training._checkpoint import read_checkpoint, write_checkpoint
from tomolearn.training._interrupt import deferred_interrupt
from tomolearn.training.hardware import fork_random, seed_random
from tomolearn.training.history import History
from tomolearn.training.schedules import Schedule

__all__ = ["Engine", "TrainingOptions"]

REMEDY = "Lower learning_rate, or set gradient_clipping."


@dataclass(frozen=True)
class TrainingOptions:
    """How a training runs, whatever the model.

    Parameters
    ----------
    max_epochs : int, default=100
    batch_size : int, default=32
        Of all processes together.
    n_iter_no_change : int, default=None
        Epochs without a better loss after which the training ends; the weights of the best epoch are kept. The loss is
        that of validation where there is one. None: all epochs run and the last weights are kept.
    schedule : {"constant", "cosine", "plateau"}, default="constant"
        See `Schedule`.
    gradient_clipping : float, default=None
        Largest norm of the gradient of one optimiser.
    ema_decay : float, default=None
        The weights that are validated and kept are a running mean, ``ema = decay * ema + (1 - decay) * weights``; in
        the first steps the decay is smaller. Buffers, such as the statistics of batch norms, are the latest.
    device : str, default="cpu"
    autocast : torch.dtype, default=None
        Of mixed precision; None: float32 throughout.
    seed : int, default=0
        Of the order of samples and of all noise.
    checkpoint : path-like, default=None
        File that the state is kept in, and from which the training goes on where the file exists.
    checkpoint_seconds : float, default=60
        How often, beside the end of each epoch; 0: after each step.
    fingerprint : dict, default=None
        What the checkpoint must have in common with this training.

    Examples
    --------
    >>> from tomolearn.training import TrainingOptions
    >>> TrainingOptions(max_epochs=3).batch_size
    32
    """

    max_epochs: int = 100
    batch_size: int = 32
    n_iter_no_change: int | None = None
    schedule: str = "constant"
    gradient_clipping: float | None = None
    ema_decay: float | None = None
    device: str = "cpu"
    autocast: torch.dtype | None = None
    seed: int = 0
    checkpoint: object = None
    checkpoint_seconds: float = 60.0
    fingerprint: dict | None = None


class Engine:
    """Trains the modules of a `Task`.

    Parameters
    ----------
    task : Task
    options : TrainingOptions
    callbacks : sequence of Callback, default=()

    Attributes
    ----------
    history : History
    epoch, n_done, n_steps : int
        Finished epochs, finished steps, steps of ``max_epochs``.
    stop : bool
        Set it to end the training.
    best_epoch : int or None
        Number, from 1, of the epoch whose weights are kept.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from tomolearn.training import Engine, Samples, SupervisedTask, TrainingOptions
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    >>> task = SupervisedTask(torch.nn.Linear(1, 1), learning_rate=0.1)
    >>> engine = Engine(task, TrainingOptions(max_epochs=50))
    >>> history = engine.train(Samples(x, 3 * x + 1))
    >>> history["loss"][-1] < 1e-3
    True
    """

    def __init__(self, task, options, callbacks=()):
        self.task, self.options, self.callbacks = task, options, tuple(callbacks)
        self.history, self.schedule = History(), Schedule(options.schedule)
        self.epoch = self.n_done = self.n_steps = self._in_epoch = self._waited = 0
        self.stop, self.best_epoch = False, None
        self._best_loss, self._best, self._ema, self._sums = float("inf"), None, None, {}
        self._weight, self._saved, self._seconds, self._pressed = 1.0, time.monotonic(), 0.0, ()

    # ------------------------------------------------------------------------------------------------ the loop

    def train(self, samples, validation=None) -> History:
        """Run until ``max_epochs``, early stopping, or a callback ends it. Global random generators stay as they were.

        Parameters
        ----------
        samples, validation : Samples
            Those that are learned from, and those that the result is judged by.

        Returns
        -------
        History

        Raises
        ------
        DivergenceError
            If a loss or a weight is no longer finite.
        ValueError
            If the checkpoint belongs to another training or to a folder that is not there.
        FileFormatError
            If the checkpoint is broken.
        KeyboardInterrupt
            On Ctrl-C, when the best weights so far have been set and a checkpoint has been written.
        """
        options, device = self.options, torch.device(self.options.device)
        distributed.join(device)
        self.task.modules.to(device)
        self.optimizers = self.task.optimizers()
        self._rates = {name: [g["lr"] for g in o.param_groups] for name, o in self.optimizers.items()}
        self.n_steps = options.max_epochs * samples.n_batches(options.batch_size)
        if options.ema_decay is not None:
            self._ema = {name: value.detach().clone() for name, value in self.task.modules.named_parameters()}
        self._resume()
        self._call("on_train_begin")
        try:
            with reused_memory(), fork_random(device), deferred_interrupt() as self._pressed:
                while self.epoch < options.max_epochs and not self._finished() and not self._asked_to_stop():
                    self._train_epoch(samples, validation)
            if self._pressed:
                raise KeyboardInterrupt
        finally:
            self._keep_the_best()
            self._call("on_train_end")
        if not all(bool(torch.isfinite(value.sum())) for value in self.task.modules.parameters()):
            raise DivergenceError(f"a weight is no longer finite after step {self.n_done}. {REMEDY}")
        return self.history

    def _train_epoch(self, samples, validation):
        began, options = time.perf_counter() - self._seconds, self.options
        rng = np.random.default_rng((options.seed, self.epoch))
        self.task.modules.train()
        self._call("on_epoch_begin")
        for batch, weight, n in samples.shuffled(options.batch_size, rng, skip=self._in_epoch):
            self._step(batch, weight, n)
            self._seconds = time.perf_counter() - began
            if self._asked_to_stop():  # within an epoch: the checkpoint says where to go on
                self._save()
                return
            if time.monotonic() - self._saved >= options.checkpoint_seconds:
                self._save()
        losses = self._averages()
        rate = next(iter(self.optimizers.values())).param_groups[0]["lr"]
        watched = losses["loss"]
        if validation is not None:
            losses |= {f"val_{name}": value for name, value in self.validate(validation).items()}
            watched = losses["val_loss"]
            if not np.isfinite(watched):
                raise DivergenceError(f"val_loss is no longer finite after epoch {self.epoch + 1}. {REMEDY}")
        self.history.add(losses | {"learning_rate": rate, "seconds": time.perf_counter() - began})
        self.epoch, self._in_epoch, self._sums, self._seconds = self.epoch + 1, 0, {}, 0.0
        self.schedule.end_epoch(watched)
        self._judge(watched)
        self._save()
        self._call("on_epoch_end")

    def _step(self, batch, weight, n):
        # Noise of a step depends on seed and step alone, so that a resumed training draws what an unbroken one draws.
        seed_random(_step_seed(self.options.seed, self.n_done, distributed.rank()), self.options.device)
        factor = self.schedule.factor(min(self.n_done, self.n_steps - 1), self.n_steps)
        for name, optimizer in self.optimizers.items():
            optimizer.zero_grad(set_to_none=True)  # before the forward pass, which takes the memory that it frees
            for group, rate in zip(optimizer.param_groups, self._rates[name], strict=True):
                group["lr"] = rate if name in self.task.constant else rate * factor
        self._weight = weight
        batch = tuple(part.to(self.options.device, non_blocking=True) for part in batch)
        for name, value in self.task.training_step(self, batch).items():
            sums = self._sums.setdefault(name, [0.0, 0])
            sums[0] += float(value.detach()) * weight * n
            sums[1] += n
            if not np.isfinite(sums[0]):
                raise DivergenceError(
                    f"{name} is no longer finite in step {self.n_done + 1} (epoch {self.epoch + 1}). {REMEDY}"
                )
        self.n_done, self._in_epoch = self.n_done + 1, self._in_epoch + 1
        self._call("on_step_end")

    def autocast(self):
        """The context of mixed precision that losses are computed in."""
        dtype = self.options.autocast
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self.options.device).type, dtype)

    def step(self, name, loss) -> None:
        """One step of an optimiser down the gradient of ``loss``; called by the task.

        Parameters
        ----------
        name : str
            Of the optimiser.
        loss : Tensor
            Mean over the samples of the batch.
        """
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        (loss * self._weight).backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        distributed.add_gradients(parameters)
        if self.options.gradient_clipping is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self.options.gradient_clipping)
        optimizer.step()
        if self._ema is not None:
            # In the first steps the mean would mostly be the untrained weights.
            decay = min(self.options.ema_decay, (1 + self.n_done) / (10 + self.n_done))
            own = {id(p) for p in parameters}
            with torch.no_grad():
                for key, value in self.task.modules.named_parameters():
                    if id(value) in own:
                        self._ema[key].lerp_(value, 1 - decay)

    # -------------------------------------------------------------------------------------------- validation

    def validate(self, samples) -> dict:
        """Mean losses over ``samples`` with the present weights, or their running mean where there is one.

        Parameters
        ----------
        samples : Samples

        Returns
        -------
        dict of str to float
        """
        modules, counted = self.task.modules, 0.0
        sums: dict = {}
        in_training = modules.training
        modules.eval()
        with torch.no_grad(), self._mean_weights():
            for batch, count in samples.in_order(self.options.batch_size):
                batch = tuple(part.to(self.options.device) for part in batch)
                for name, value in self.task.validation_step(self, batch).items():
                    sums[name] = sums.get(name, 0.0) + float(value) * count
                counted += count
        modules.train(in_training)
        total = distributed.add_up(torch.tensor([*sums.values(), counted], dtype=torch.float64))
        return {name: float(value / total[-1]) for name, value in zip(sums, total[:-1], strict=True)}

    def _averages(self):
        """Mean losses of the epoch, over all processes."""
        values = distributed.add_up(torch.tensor([total for total, _ in self._sums.values()], dtype=torch.float64))
        return {name: float(value) / n for value, (name, (_, n)) in zip(values, self._sums.items(), strict=True)}

    def _judge(self, loss):
        if self.options.n_iter_no_change is None:
            self.best_epoch = self.epoch
        elif loss < self._best_loss:
            self._best_loss, self._waited, self.best_epoch = loss, 0, self.epoch
            with self._mean_weights():
                weights = self.task.modules.state_dict()
                if self._best is None:
                    self._best = {name: torch.empty_like(value) for name, value in weights.items()}
                for name, value in weights.items():  # into the memory of the best before
                    self._best[name].copy_(value)
        else:
            self._waited += 1

    @contextlib.contextmanager
    def _mean_weights(self):
        """The modules have the running mean of their weights, where there is one, and it has theirs."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self):
        if self._ema is not None:
            for name, value in self.task.modules.named_parameters():  # one at a time: no second copy of them all
                own = value.clone()
                value.copy_(self._ema[name])
                self._ema[name].copy_(own)

    def _asked_to_stop(self):
        """Has one of the processes been told to stop?"""
        self.stop = self.stop or bool(self._pressed)
        if distributed.size() > 1:
            self.stop = bool(distributed.add_up(torch.tensor(float(self.stop))))
        return self.stop

    def _finished(self):
        return self.options.n_iter_no_change is not None and self._waited >= self.options.n_iter_no_change

    def kept(self):
        """What would differ from the modules if the training ended now.

        Returns
        -------
        dict of str to Tensor
            For ``load_state_dict(..., strict=False)`` of the modules.
        """
        return self._best or self._ema or {}

    def _keep_the_best(self):
        self.task.modules.load_state_dict(self.kept(), strict=False)
        self.task.modules.eval()

    # ------------------------------------------------------------------------------------------- checkpoints

    def _save(self):
        if self.options.checkpoint is None:
            return
        state = {
            "fingerprint": {key: str(value) for key, value in (self.options.fingerprint or {}).items()},
            "modules": self.task.modules.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "ema": self._ema,
            "best": self._best,
            "counters": (self.epoch, self.n_done, self._in_epoch, self._waited, self.best_epoch, self._best_loss),
            "schedule": self.schedule.state,
            "sums": self._sums,
            "history": dict(self.history),
            "seconds": self._seconds,
        }
        write_checkpoint(self.options.checkpoint, state)
        self._saved = time.monotonic()

    def _resume(self):
        if self.options.checkpoint is None:
            return
        expected = {key: str(value) for key, value in (self.options.fingerprint or {}).items()}
        state = distributed.of_first(lambda: read_checkpoint(self.options.checkpoint, expected))
        if state is None:
            return
        self.task.modules.load_state_dict(state["modules"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        device = self.options.device
        for key in ("ema", "best"):
            if state[key] is not None:
                setattr(self, f"_{key}", {name: value.to(device) for name, value in state[key].items()})
        self.epoch, self.n_done, self._in_epoch, self._waited, self.best_epoch, self._best_loss = state["counters"]
        self.schedule.state, self._sums, self._seconds = state["schedule"], state["sums"], state["seconds"]
        self.history = History(state["history"])

    def _call(self, moment):
        for callback in self.callbacks:
            getattr(callback, moment)(self)


def _step_seed(seed, step, rank):
    entropy = (seed, step, rank) if rank else (seed, step)  # processes draw noise of their own for their samples
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)

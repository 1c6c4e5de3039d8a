"""What all trained estimators share: the parameters of a training, the run itself, pickles and files of the result."""

import copy
import hashlib
import json
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

from tomolearn._validation import check_choice, check_integer, check_real
from tomolearn.base import ModelFiles, check_memory
from tomolearn.base.slabs import OnDevices
from tomolearn.exceptions import FileFormatError
from tomolearn.networks import build_network
from tomolearn.training import _distributed as distributed
from tomolearn.training.callbacks import ProgressBar
from tomolearn.training.engine import Engine, TrainingOptions
from tomolearn.training.hardware import (
    PRECISIONS,
    autocast_dtype,
    find_device,
    find_devices,
    fork_random,
    named_device,
    seed_random,
)
from tomolearn.training.schedules import SCHEDULES
from tomolearn.training.tasks import OPTIMIZERS

__all__ = ["TrainedEstimator"]

BYTES = 16  # of a weight in training with Adam: itself, its gradient, and two moments
# What may differ between the training that a checkpoint belongs to and the one that continues it.
FREE = ("max_epochs", "verbose", "device", "n_iter_no_change", "warm_start")
COUNTS = ("n_iterations", "n_layers", "depth")  # arguments of networks that say how many layers there are
MOST_LEVELS = 12  # of a network in a file: a U-Net takes 2**n_levels steps to find its receptive radius


class TrainedEstimator(OnDevices, ModelFiles):
    """An estimator that holds one network, ``network_``, and the training of it.

    A subclass has the parameters that `tomolearn.training.parameters` describes, builds its samples, and calls
    ``_train``. What it needs to build the network again is in ``network_config_``, a name and plain values.

    Examples
    --------
    >>> from tomolearn.training import TrainedEstimator
    >>> hasattr(TrainedEstimator, "save")
    True
    """

    # What `tomolearn.training.parameters` describes and a subclass stores.
    optimizer: str
    learning_rate: float
    weight_decay: float
    schedule: str
    gradient_clipping: float | None
    ema_decay: float | None
    max_epochs: int
    batch_size: int
    early_stopping: bool
    n_iter_no_change: int
    validation_fraction: float
    warm_start: bool
    device: Any
    precision: str
    random_state: Any
    verbose: int

    get_params: Callable  # of ``BaseEstimator``
    _network_name = ""  # in `tomolearn.networks`
    _data_range_rule = "mean and standard deviation of the training samples are taken for 0 and 1"

    def _network_config(self):
        """Name and arguments for `tomolearn.networks.build_network`."""
        return self._network_name, self._network_shapes() | self._network_options()

    def _network_shapes(self):
        """Those arguments that follow from the shapes of the samples."""
        return {}

    def _network_options(self):
        """Those that are, or follow from, parameters of the estimator."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------- training

    def _check_parameters(self):
        """Raise where a parameter that this estimator alone has is out of its range."""

    def _check_training_parameters(self, *, device=True):
        """Raise where a parameter of the training is out of its range; ``device``: also if that is not there."""
        check_choice(self.optimizer, "optimizer", tuple(OPTIMIZERS))
        check_choice(self.schedule, "schedule", SCHEDULES)
        check_integer(self.max_epochs, "max_epochs", low=1)
        check_integer(self.batch_size, "batch_size", low=1)
        check_integer(self.n_iter_no_change, "n_iter_no_change", low=1)
        check_real(self.learning_rate, "learning_rate", low=0, high=1e3, open_low=True)
        check_real(self.weight_decay, "weight_decay", low=0)
        check_real(self.validation_fraction, "validation_fraction", low=0, high=0.9)
        if self.gradient_clipping is not None:
            check_real(self.gradient_clipping, "gradient_clipping", low=0, open_low=True)
        if self.ema_decay is not None:
            check_real(self.ema_decay, "ema_decay", low=0, high=1)
        check_integer(int(self.verbose) if isinstance(self.verbose, bool) else self.verbose, "verbose", low=0)
        check_choice(self.precision, "precision", PRECISIONS)
        find_device(self.device) if device else named_device(self.device)

    def _train(self, config, samples, validation, make_task, *, checkpoint, callbacks):
        """Build the network ``config`` (name, values), train it by ``make_task(network)``, and keep what was learned.

        After Ctrl-C the best weights so far are set before KeyboardInterrupt goes on.
        """
        if checkpoint is not None and not isinstance(self.random_state, numbers.Integral):
            raise ValueError(
                f"random_state must be an integer with checkpoint=, or no later call continues the same training; got "
                f"{self.random_state!r}."
            )
        device = find_device(self.device)
        rng = check_random_state(self.random_state)
        seed = distributed.of_first(lambda: int(rng.randint(np.iinfo(np.int32).max)))
        if validation is None and self.early_stopping:
            samples, validation = self._split(samples, seed)
        keeps = self.warm_start and getattr(self, "network_config_", None) == config
        parts = samples.load_if_small(), None if validation is None else validation.load_if_small()
        with fork_random(device):
            seed_random(seed, device)
            # A copy: should the training fail, the network of the fit before is still there.
            network = copy.deepcopy(self.network_) if keeps else build_network(*config)
            task = make_task(_channels_last(network))
            options = TrainingOptions(
                max_epochs=self.max_epochs,
                batch_size=self.batch_size,
                n_iter_no_change=self.n_iter_no_change if self.early_stopping else None,
                schedule=self.schedule,
                gradient_clipping=self.gradient_clipping,
                ema_decay=self.ema_decay,
                device=str(device),
                autocast=autocast_dtype(self.precision, device, training=True),
                seed=seed,
                checkpoint=checkpoint,
                fingerprint=self._fingerprint(samples, validation) if checkpoint is not None else None,
            )
            bars = [ProgressBar(type(self).__name__)] if self.verbose and distributed.rank() == 0 else []
            engine = Engine(task, options, [*bars, *callbacks])
            try:
                engine.train(*parts)
            except KeyboardInterrupt:
                self._keep(network, config, engine)
                raise
            self._keep(network, config, engine)

    def _keep(self, network, config, engine):
        self.network_, self.network_config_ = network, config
        self.history_ = {name: list(values) for name, values in engine.history.items()}
        self.n_epochs_, self.best_epoch_ = engine.epoch, engine.best_epoch
        self.n_parameters_ = sum(p.numel() for p in network.parameters())

    def __sklearn_is_fitted__(self):
        return hasattr(self, "network_")  # shapes are learned before the training, which may fail

    def _split(self, samples, seed):
        """Samples to learn from and to validate; None for the latter where there are too few."""
        n = samples.n_distinct
        n_held = min(round(self.validation_fraction * n), n - 1)
        if n_held < 1:
            return samples, None
        order = np.random.default_rng(seed).permutation(n)
        return samples.subset(np.sort(order[n_held:])), samples.subset(np.sort(order[:n_held]))

    def _fingerprint(self, samples, validation):
        """What a training must share with the one that a checkpoint was written by."""
        parameters = {key: value for key, value in self.get_params(deep=False).items() if key not in FREE}
        text = json.dumps(parameters, default=lambda value: np.asarray(value).tolist(), sort_keys=True)
        found = {"class": type(self).__name__, "parameters": text}
        found["mean and scale of the samples"] = str(self._normalization())
        for name, part in (("training samples", samples), ("validation samples", validation)):
            found[name] = "none" if part is None else _digest(part)
        return found

    def _normalization(self):
        """What was learned of all samples before the training, such as their mean; part of the fingerprint."""
        return ()

    def _check_training_memory(self, n_parameters, what, remedy, other=0.0):
        """Raise before memory is taken that is not there: weights, gradients, moments, and ``other`` bytes."""
        copies = BYTES + 4 * (self.ema_decay is not None) + 4 * bool(self.early_stopping)
        check_memory(
            float(n_parameters) * copies + other,
            f"{what} have {n_parameters:,} parameters and with gradients and optimiser",
            remedy,
        )

    # ------------------------------------------------------------------------------------------------- the result

    def _devices(self):
        return find_devices(self.device)

    def _get_ready_on(self, device):
        self._network_on(device)

    def _moved_to(self, device):
        twin = super()._moved_to(device)
        twin.network_ = copy.deepcopy(self.network_).to(device)
        return twin

    def _network_on(self, device):
        """The network, ready to predict on ``device``."""
        if next(self.network_.parameters()).device != device:
            self.network_.to(device)
        return self.network_.eval()

    def _model_state(self):
        changed = self._changed_options()
        if changed:
            raise ValueError(
                f"{', '.join(changed)} must be what the network was trained with, for a file that can be read; set "
                "them back by set_params, or fit again."
            )
        state, _ = super()._model_state()
        weights = state.pop("network_").state_dict()
        return state, {name: value.detach().cpu() for name, value in weights.items()}

    def _set_model_state(self, state, tensors, name):
        self._check_training_parameters(device=False)  # what a GPU has learned is loaded without one
        self._check_parameters()
        config = state.get("network_config_")
        if not isinstance(config, tuple) or len(config) != 2 or not isinstance(config[1], dict):
            raise FileFormatError(f"{name} names no network, expected network_config_ with a name and values.")
        self._check_shapes(config, tensors, name)
        super()._set_model_state(state, {}, name)
        self._check_network(name)
        self.network_ = rebuild(config, tensors)

    def _changed_options(self):
        """Options of the network whose parameters say something else than the network was built with."""
        found = self.network_config_[1]
        options = self._network_options().items()  # one that is new in this version is not in an older file
        return [key for key, value in options if key in found and _as_tuple(value) != _as_tuple(found[key])]

    def _check_network(self, name):
        """Raise unless the network of a file is of the kind and of the shapes that this estimator has in it."""
        kind, found = self.network_config_
        wanted = self._network_shapes()
        shapes = {key: _as_tuple(value) for key, value in found.items()}
        if kind != self._network_name or any(shapes.get(key) != value for key, value in wanted.items()):
            raise FileFormatError(
                f"{name}: the network of a {type(self).__name__} must be {_described(self._network_name, wanted)}; got "
                f"{_described(kind, {key: shapes.get(key) for key in wanted})}."
            )
        changed = self._changed_options()
        if changed:
            raise FileFormatError(f"{name}: the parameters {', '.join(changed)} are not those of the network.")

    def _check_shapes(self, config, tensors, name):
        """Raise unless the tensors of a file are those of the network it names; nothing large is built for that."""
        # Every level, layer and iteration has tensors of its own: a file cannot ask for more of them than it holds.
        for key, value in config[1].items():
            if isinstance(value, tuple | list):
                length, most = len(value), MOST_LEVELS
            else:
                length, most = value if key in COUNTS and isinstance(value, int) else 0, max(2, len(tensors))
            if length > most:
                raise FileFormatError(f"{name} holds {len(tensors)} tensors, too few for {key}={value!r:.200}.")
        with torch.device("meta"):
            expected = {key: tuple(value.shape) for key, value in build_network(*config).state_dict().items()}
        found = {key: tuple(value.shape) for key, value in tensors.items()}
        if expected != found:
            key = min(set(expected.items()) ^ set(found.items()))[0]
            raise FileFormatError(
                f"{name}: tensor {key!r} has shape {found.get(key)}, expected {expected.get(key)} for {config[0]}."
            )

    def __copy__(self):
        """The same network in another estimator; the default would build a new one."""
        twin = type(self).__new__(type(self))
        vars(twin).update(vars(self))
        return twin

    def __getstate__(self):
        state = super().__getstate__().copy()
        if "network_" in state:  # as NumPy arrays: a network trained on a GPU must load without one
            weights = state["network_"].state_dict()
            state["network_"] = {name: value.detach().cpu().numpy() for name, value in weights.items()}
        return state

    def __setstate__(self, state):
        super().__setstate__(state)  # first: it warns of a pickle that may not fit this version
        weights = vars(self).get("network_")
        if weights is not None:
            self.network_ = rebuild(self.network_config_, weights)


def rebuild(config, weights):
    """A network of the given weights.

    Parameters
    ----------
    config : tuple of str and dict
        As for `tomolearn.networks.build_network`.
    weights : dict of str to ndarray or Tensor

    Returns
    -------
    torch.nn.Module
    """
    with torch.device("meta"):  # draws nothing of torch's generator, with which another thread may be training
        network = build_network(*config)
    network.to_empty(device="cpu").load_state_dict(
        {name: torch.as_tensor(value) for name, value in weights.items()}
    )  # copies
    return _channels_last(network).eval()


def _channels_last(network):
    return network.to(memory_format=torch.channels_last)


def _as_tuple(value):
    return tuple(map(_as_tuple, value)) if isinstance(value, list | tuple) else value


def _described(name, arguments):
    return f"{name}({', '.join(f'{key}={value!r:.80}' for key, value in arguments.items())})"


def _digest(samples):
    """A fingerprint of the data: number, shapes, and the values of some samples."""
    shown = np.unique(np.linspace(0, samples.n_distinct - 1, 8).astype(int))
    parts = samples.entries(shown)
    digest = hashlib.sha256(str([len(samples), *(tuple(part.shape) for part in parts)]).encode())
    for part in parts:
        digest.update(part.numpy().tobytes())
    return digest.hexdigest()[:16]

"""What classifier and regressor share: images in, one vector for each, and the training of the network between."""

import functools
import json
import math
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch.nn import functional

from tomolearn._validation import as_tensor, check_finite, check_shape
from tomolearn.base import BLOCK, ImageInput, check_memory, reused_memory
from tomolearn.classification._flips import random_flips
from tomolearn.exceptions import FileFormatError
from tomolearn.networks import build_network
from tomolearn.training import Samples, SupervisedTask, TrainedEstimator
from tomolearn.training import _distributed as distributed
from tomolearn.training._fit_callbacks import CallbackSupportMixin, FitCallbacks, with_callbacks
from tomolearn.training.hardware import autocast_dtype, find_device
from tomolearn.training.image_estimator import describe_images, positive_scale

__all__ = ["AlexNetEstimator", "check_arrays", "describe"]

SMALLEST_SIDE = 32  # rows and columns that the network takes at least
AT_ONCE = 2**22  # values of the images that are predicted at a time, at most

_TEXTS = {
    "{network}": """
    channels : tuple of five int, default=(96, 256, 384, 384, 256)
        Of the convolutions.
    widths : tuple of three int, default=(1096, 1096, 1000)
        Of the dense layers; the last is the number of features of ``transform``. Narrow ones want less dropout.
    dropout : float, default=0.4
        Part of the values that is dropped in training after the first and the third dense layer.
    flips : bool, default=False
        Whether training reflects each image at random along rows and along columns and, if it is square, swaps the
        two: for images whose orientation says nothing.
    """,
    "{normalized}": """
    n_channels_ : int
        Of the images; 1 for ``X`` of shape (n, rows, columns).
    x_mean_, x_scale_ : ndarray of shape (n_channels,)
        Mean and standard deviation of the training images, by which images are normalised.
    {shapes}
    """,
}
describe = describe_images(1e-3, "adam", texts=_TEXTS)  # a class decorator


class AlexNetEstimator(
    TrainedEstimator,
    ImageInput,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    """``fit`` and the vectors of an AlexNet; a subclass says what they are compared with.

    It has the parameters of `describe`, and defines ``_learn_targets``, ``_encode``, ``_n_outputs`` and ``_loss``.
    """

    _network_name = "AlexNet"
    # Arrays of finite numbers that a model file must hold; scales are above zero.
    _learned: tuple[str, ...] = ("x_mean_", "x_scale_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @with_callbacks
    def fit(self, X, y=None, *, X_val=None, y_val=None, checkpoint=None, callbacks=()):
        """Train the network.

        Parameters
        ----------
        X : array-like or Source of shape (n, rows, columns), (n, n_channels, rows, columns) or (n, n_features)
            Images. A `tomolearn.io.Source` may be larger than memory.
        y : array-like of shape (n,); for the regressor also (n, n_outputs)
            What each image shows: labels of any kind that can be sorted, or finite values.
        X_val : array-like or Source, default=None
            Images to validate on, instead of a part of ``X``.
        y_val : array-like, default=None
            What they show.
        checkpoint : path-like, default=None
            File that the state of the training is kept in. Where it exists, the training goes on from there, to the
            same weights as if it had not been broken off. Needs an integer ``random_state``.
        callbacks : sequence of Callback, default=()
            See `tomolearn.training`. Those of scikit-learn 1.9 are set by ``set_callbacks``; their tasks are epochs.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If ``X`` or ``y`` is not finite or of a wrong shape, ``y`` holds one class only or values where labels are
            asked for, a parameter is out of its range, or ``checkpoint`` belongs to another training.
        MemoryBudgetError
            If network, optimiser and features do not fit into memory.
        DivergenceError
            If the loss is no longer finite.
        KeyboardInterrupt
            On Ctrl-C; the best weights so far have been set.
        """
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val go together; got one of them.")
        self._check_training_parameters()
        distributed.join(find_device(self.device))
        X = self._check_images(X, reset=True)
        self.n_channels_ = self.n_features_in_ // math.prod(self.image_shape_)
        targets = self._learn_targets(y, len(X))
        samples = self._samples(X, targets)
        validation = None if X_val is None else self._validation_samples(X_val, y_val)
        config = self._network_config()
        self._check_need(config, min(self.batch_size, len(samples)))
        self._learn_normalization(samples)
        hooks = FitCallbacks.of(self, X, y)
        self._train(config, samples, validation, self._task, checkpoint=checkpoint, callbacks=[*hooks, *callbacks])
        for hook in hooks:
            hook.finish()
        return self

    def transform(self, X):
        """What the last layer sees of each image: features for other methods.

        Parameters
        ----------
        X : array-like or Source of shape (n, rows, columns), (n, n_channels, rows, columns) or (n, n_features)
            Images of the shape that ``fit`` saw.

        Returns
        -------
        ndarray of shape (n, widths[2])
            In the floating dtype of ``X`` (integers give float32).

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError
            If ``X`` is not finite or holds images of another shape.
        MemoryBudgetError
            If the images do not fit into memory.
        """
        features, dtype = self._vectors(X, features=True)
        return features.astype(dtype, copy=False)

    @property
    def _n_features_out(self):
        return self.network_.output.in_features

    # ------------------------------------------------------------------------------------------------- the samples

    def _check_stack(self, shape, reset):
        if len(shape) not in (3, 4) or 0 in shape:
            raise ValueError(
                "X must be (n_slices, rows, columns) or (n_slices, n_channels, rows, columns), none of them zero, or "
                f"flat (n_slices, n_channels * rows * columns); got shape {shape}."
            )
        found = (shape[1] if len(shape) == 4 else 1, *shape[-2:])
        if reset:
            self._learn_stack(shape, shape[-2:])
        elif found != (self.n_channels_, *self.image_shape_):
            raise ValueError(
                f"X must hold images of shape {(self.n_channels_, *self.image_shape_)} (channels, rows, columns) as in "
                f"fit; got {found}. Fit again for another shape."
            )

    def _n_joined(self, n_features):
        """Channels of a flat row: as many as there are images of ``image_shape`` in it."""
        if self.image_shape is None:
            return 1
        n_channels, rest = divmod(n_features, math.prod(check_shape(self.image_shape, "image_shape", 2)))
        return max(n_channels, 1) if rest == 0 else 1

    def _entry_shape(self, X):
        return self.n_channels_, *self.image_shape_

    def _learn_targets(self, y, n):
        """Learn from ``y``, which must be one entry for each of ``n`` images, and give it as ``_encode`` does."""
        raise NotImplementedError

    def _encode(self, y, n, name):
        """Targets as the task compares them with the output of the network."""
        raise NotImplementedError

    def _images(self, X):
        """Checked ``X`` as (n, n_channels, rows, columns); a Source as it is."""
        return X if hasattr(X, "read_block") else X.reshape(-1, *self._entry_shape(X))

    def _samples(self, X, targets):
        return Samples(self._images(X), targets)

    def _validation_samples(self, X, y):
        try:
            X = self._check_images(X)
        except (ValueError, TypeError) as error:
            raise type(error)(f"in X_val: {error}") from error
        return self._samples(X, self._encode(y, len(X), "y_val"))

    def _learn_normalization(self, samples):
        """Mean and standard deviation of each channel, over all pixels."""
        sums = torch.zeros(3, self.n_channels_, dtype=torch.float64)
        for (images, _), count in samples.in_order():
            if count:
                values = images.double().reshape(len(images), self.n_channels_, -1).movedim(1, 0).flatten(1)
                sums += torch.stack([values.sum(1), values.square().sum(1), torch.full_like(sums[0], values.shape[1])])
        total, squares, count = distributed.add_up(sums).numpy()
        self.x_mean_ = total / count
        spreads = np.sqrt(np.maximum(squares / count - self.x_mean_**2, 0))
        self.x_scale_ = np.array([positive_scale(s, m) for s, m in zip(spreads, self.x_mean_, strict=True)])

    def _normalization(self):
        return tuple(getattr(self, name).tolist() for name in self._learned)

    # ------------------------------------------------------------------------------------------------- the network

    @property
    def _n_outputs(self):
        raise NotImplementedError

    def _network_shapes(self):
        return {
            "n_outputs": self._n_outputs,
            "image_shape": tuple(max(SMALLEST_SIDE, n) for n in self.image_shape_),
            "in_channels": self.n_channels_,
        }

    def _network_options(self):
        return {"channels": self.channels, "widths": self.widths, "dropout": self.dropout}

    def _check_need(self, config, n):
        """Raise before memory is taken that is not there: for the network, and the features of ``n`` images."""
        n_parameters, n_features = _sizes(json.dumps(config, default=int))
        self._check_training_memory(
            n_parameters,
            f"the network and the features of {n} images of shape {self.image_shape_}",
            "Take smaller images, or lower widths or batch_size.",
            4.0 * n * n_features,
        )

    def _prepared(self, x):
        """What the network takes of images in float32: normalised, and not smaller than its least size."""
        shape = (1, self.n_channels_, 1, 1)
        mean, scale = (torch.as_tensor(v, dtype=torch.float32).reshape(shape) for v in (self.x_mean_, self.x_scale_))
        x = (x.reshape(len(x), self.n_channels_, *self.image_shape_) - mean.to(x.device)) / scale.to(x.device)
        if min(self.image_shape_) < SMALLEST_SIDE:
            # Enlarged, not padded: padded digits of 8 x 8 pixels were hardly learned in the same time.
            x = functional.interpolate(x, size=self._network_shapes()["image_shape"], mode="bilinear")
        return x.contiguous(memory_format=torch.channels_last)

    def _task(self, network):
        return SupervisedTask(
            network,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            weight_decay=self.weight_decay,
            forward=lambda x: network(self._prepared(x)),
            loss=self._loss,
            augment=random_flips if self.flips else None,
        )

    def _loss(self, output, targets):
        """Mean loss of a batch."""
        raise NotImplementedError

    def _vectors(self, X, *, features=False):
        """The network's outputs or features, float64, and the dtype that results for ``X`` have."""
        check_is_fitted(self)
        X = self._check_images(X)
        dtype = X.dtype.newbyteorder("=") if X.dtype.kind == "f" else np.dtype(np.float32)
        device = find_device(self.device)
        network, autocast = self._network_on(device), autocast_dtype(self.precision, device, training=False)
        layers, parts = network.features if features else network, []
        step = max(1, min(BLOCK, AT_ONCE // self.n_features_in_))
        check_memory(
            4.0 * min(step, len(X)) * _sizes(json.dumps(self.network_config_, default=int))[1],
            f"the features of {min(step, len(X))} images of shape {self.image_shape_}",
            "Fit a network of fewer channels.",
        )
        lowered = torch.autocast(device.type, autocast or torch.bfloat16, enabled=autocast is not None)
        with torch.no_grad(), lowered, reused_memory():
            for start in range(0, len(X), step):
                block = as_tensor(X[start : start + step], "X")[0]
                if hasattr(X, "read_block"):  # arrays have been looked at
                    check_finite(block, f"{X.name}, samples from {start} on,", self._remedy)
                parts.append(layers(self._prepared(block.to(device, torch.float32))).double().cpu())
        return torch.cat(parts).numpy(), dtype

    # ---------------------------------------------------------------------------------------------- the model file

    def _set_model_state(self, state, tensors, name):
        shape, n_channels = state.get("image_shape_"), state.get("n_channels_")
        sizes = (*shape, n_channels) if isinstance(shape, tuple) and len(shape) == 2 else (None,)
        if not all(type(n) is int and n > 0 for n in sizes):
            raise FileFormatError(
                f"{name} must hold image_shape_, two positive integers, and n_channels_, one; got {shape!r:.200} and "
                f"{n_channels!r:.200}."
            )
        if state.get("n_features_in_") != math.prod(sizes):
            raise FileFormatError(
                f"{name} must hold n_features_in_, the {math.prod(sizes)} values of {n_channels} channels of {shape}; "
                f"got {state.get('n_features_in_')!r:.200}."
            )
        check_arrays(state, self._learned[:2], n_channels, name)
        super()._set_model_state(state, tensors, name)


def check_arrays(state, names, length, name):
    """Raise unless a model file holds finite numbers under ``names``, ``length`` each, scales above zero."""
    for key in names:
        value = state.get(key)
        sound = isinstance(value, np.ndarray) and value.dtype == np.float64 and value.shape == (length,)
        if not sound or not np.isfinite(value).all() or (key.endswith("_scale_") and min(value) <= 0):
            raise FileFormatError(
                f"{name} must hold {key}, {length} finite numbers{' above zero' if 'scale' in key else ''}; got "
                f"{value!r:.200}."
            )


@functools.lru_cache
def _sizes(config):
    """Parameters of a network, and values that all its layers give for one image; ``config`` is its JSON."""
    counts = []
    with torch.device("meta"):  # for its checks too
        network: Any = build_network(*json.loads(config)).eval()
        for layer in network.modules():
            if not list(layer.children()):
                layer.register_forward_hook(lambda layer, inputs, output: counts.append(output.numel()))
        network(torch.empty(1, network.in_channels, *network.image_shape))
    return sum(p.numel() for p in network.parameters()), sum(counts)

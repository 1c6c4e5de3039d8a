"""What the reconstructors share that learn from pairs of sinograms and images."""

import copy

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from tomolearn._validation import check_choice, check_shape
from tomolearn.base import Reconstructor, ScanReconstructor, check_memory, reused_memory
from tomolearn.base.targets import check_targets
from tomolearn.exceptions import FileFormatError, GeometryError
from tomolearn.geometry import ParallelBeam
from tomolearn.io.source import Source
from tomolearn.losses import log_mse_loss
from tomolearn.networks import build_network
from tomolearn.reconstruction._symmetries import Symmetries
from tomolearn.streaming import VolumePrediction
from tomolearn.training import Samples, SupervisedTask, TrainedEstimator
from tomolearn.training import _distributed as distributed
from tomolearn.training._fit_callbacks import CallbackSupportMixin, FitCallbacks, with_callbacks
from tomolearn.training.hardware import autocast_dtype, find_device

__all__ = ["LearnedReconstructor", "LearnedScanReconstructor", "unet_features"]

LOSSES = {"mse": torch.nn.functional.mse_loss, "mae": torch.nn.functional.l1_loss, "log-mse": log_mse_loss}
PIXELS = 2**18  # of images that a network predicts at a time: its features take some hundred times their memory


def unet_features(channels, block_size, *, kept):
    """How many images the features of a `UNet` take: all that are kept for the gradient, or the most at once."""
    sizes = [n / 4**level / block_size**2 for level, n in enumerate(channels)]
    return 7 * sum(sizes) if kept else 8 * max(sizes)  # four convolutions of a level and what is joined; measured


class _Learned(TrainedEstimator, VolumePrediction, CallbackSupportMixin):
    """``fit`` and ``predict`` of a network from sinograms to images; a subclass says which network."""

    _scales_only = False  # True: linear in the data, no mean may be subtracted
    # Fitted attributes that a model file must hold.
    _numbers: tuple[str, ...] = ("x_mean_", "x_scale_", "y_mean_", "y_scale_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    @with_callbacks
    def fit(self, X, y=None, *, X_val=None, y_val=None, checkpoint=None, callbacks=()):
        """Train the network.

        Parameters
        ----------
        X : array-like or Source of shape (n, n_angles, n_detectors), or array-like (n, n_angles * n_detectors)
            Sinograms: line integrals in pixel lengths. A `tomolearn.io.Source` may be larger than memory.
        y : array-like or Source of shape (n, rows, columns), or array-like (n, rows * columns)
            Images. With flat ``X`` and without ``image_shape`` also (n,) or (n, 1): one value for all the pixels of an
            image.
        X_val, y_val : array-like or Source, default=None
            Pairs to validate on, instead of a part of ``X`` and ``y``.
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
            If ``X`` or ``y`` is not finite or of a wrong shape, a parameter is out of its range, or ``checkpoint``
            belongs to another training.
        MemoryBudgetError
            If network and optimiser do not fit into memory.
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
        check_choice(self.loss, "loss", tuple(LOSSES))
        self._check_parameters()
        distributed.join(find_device(self.device))
        samples = self._learn_shapes(X, y if isinstance(y, Source) else np.asarray(y))
        validation = None if X_val is None else self._validation_pair(X_val, y_val)
        config = self._network_config()
        self._check_need()
        with torch.device("meta"):
            build_network(*config)  # for its checks
        self._check_activations(min(self.batch_size, len(samples)))
        self._learn_normalization(samples)
        hooks = FitCallbacks.of(self, X, y)
        self._train(config, samples, validation, self._task, checkpoint=checkpoint, callbacks=[*hooks, *callbacks])
        for hook in hooks:
            hook.finish()
        return self

    # ------------------------------------------------------------------------------------------------ the pairs

    def _learn_shapes(self, X, y):
        raise NotImplementedError

    def _check_sinograms(self, X, *, reset=False):
        if not isinstance(X, Source):
            return super()._check_sinograms(X, reset=reset)
        self._check_stack(X.shape, reset)
        return X

    def _asked_image_shape(self, y):
        """Shape of the images: the parameter, or that of a stack ``y``; None for the default."""
        if self.image_shape is not None:
            return check_shape(self.image_shape, "image_shape", 2)
        return tuple(y.shape[1:]) if len(y.shape) == 3 and 0 not in y.shape else None

    def _pair(self, X, y, name="y"):
        """Samples of checked sinograms and of images that are checked here."""
        n = len(X)
        if isinstance(y, Source):
            if y.shape != (n, *self.image_shape_):
                raise ValueError(f"{name} must have shape {(n, *self.image_shape_)}; {y.name} has {y.shape}.")
        else:
            weak = not isinstance(X, Source) and X.ndim == 2 and self.image_shape is None
            self._check_flat_images(np.shape(y), n, name)
            y = check_targets(y, n, self.image_shape_, weak=weak, name=name).reshape(n, *self.image_shape_)
            if y.dtype.kind == "f" and not np.isfinite(np.sum(y, dtype=np.float64)):
                raise ValueError(f"{name} must be finite; got NaN or infinite values. Repair them, or leave them out.")
        return Samples(X if isinstance(X, Source) else X.reshape(n, *self.sinogram_shape_), y)

    def _check_flat_images(self, shape, n, name):
        """Raise for flat images whose sides must be told."""
        if self.image_shape is None and len(shape) == 2 and shape[0] == n and shape[1] not in (1, self._n_features_out):
            raise ValueError(
                f"{name} must have shape {(n, *self.image_shape_)} or {(n, self._n_features_out)}, as the images; got "
                f"{shape}. Give image_shape, the rows and columns of an image, or {name} of shape (n, rows, columns)."
            )

    @property
    def _data_range_rule(self):
        if self._scales_only:
            return "the root mean squares of the training sinograms and images are taken for 1"
        return super()._data_range_rule

    def _validation_pair(self, X, y):
        try:
            X = self._check_sinograms(X)
        except (ValueError, TypeError) as error:
            raise type(error)(f"in X_val: {error}") from error
        return self._pair(X, y, "y_val")

    def _learn_normalization(self, samples):
        """Mean and scale of sinograms and images, one number each."""
        sums = torch.zeros(2, 3, dtype=torch.float64)
        for parts, count in samples.in_order():
            if count:
                for row, part in zip(sums, parts, strict=True):
                    part = part.double()
                    row += torch.stack([part.sum(), part.square().sum(), torch.tensor(float(part.numel()))])
        found = []
        for total, squares, n in distributed.add_up(sums).tolist():
            mean = 0.0 if self._scales_only else total / n
            scale = np.sqrt(max(squares / n - mean**2, 0.0))
            found.append((mean, float(scale) if scale > 1e-7 * abs(mean) and scale > 0 else 1.0))
        (self.x_mean_, self.x_scale_), (self.y_mean_, self.y_scale_) = found

    def _normalization(self):
        return self.x_mean_, self.x_scale_, self.y_mean_, self.y_scale_

    # ---------------------------------------------------------------------------------------------- the network

    def _check_parameters(self):
        """Raise where a parameter of the network is out of its range, as far as the network would not."""

    def _check_need(self):
        """Raise before memory is taken that is not there."""

    def _check_activations(self, n):
        """Raise unless there are bytes for what the layers hand to the gradient of a batch of ``n`` samples."""
        n_sinograms, n_images = self._activations()
        lowered = autocast_dtype(self.precision, find_device(self.device), training=True) is not None
        values = float(n_sinograms) * self.n_features_in_ + float(n_images) * self._n_features_out
        check_memory(
            n * values * (2 if lowered else 4),
            f"the features of {n} sinograms of {self.sinogram_shape_} and images of {self.image_shape_}, kept for the "
            "gradient,",
            f"Lower batch_size={self.batch_size}.",
        )

    def _activations(self):
        """How many sinograms and images the features take that are kept for the gradient of one sample."""
        return 0, 0

    def _features(self):
        """How many sinograms and images the features of one sample take where there are most of them at once."""
        raise NotImplementedError

    @property
    def working_copies(self):
        """Copies of its sinogram and of its image that a slice needs at the same time in ``predict``."""
        n_sinograms, n_images = self._features()
        return 8 + n_sinograms, 24 + n_images

    def _device_bytes(self, n, itemsize):
        at_once = min(n, max(1, PIXELS // self._n_features_out))
        n_sinograms, n_images = self.working_copies
        features = 4.0 * at_once * (n_sinograms * self.n_features_in_ + n_images * self._n_features_out)
        return features + 2.0 * n * itemsize * (self.n_features_in_ + self._n_features_out)

    def _check_budget(self, n, itemsize):
        super()._check_budget(n, itemsize)
        at_once = min(n, max(1, PIXELS // self._n_features_out))
        n_sinograms, n_images = self.working_copies
        check_memory(
            n * self._n_features_out * itemsize
            + 4.0 * at_once * (n_sinograms * self.n_features_in_ + n_images * self._n_features_out),
            f"{n} images of {self.image_shape_} pixels and the features of {at_once} of them",
            "Take smaller images or a network of fewer channels.",
        )

    def _forward(self, network, x, A):
        """Images in units of ``y_scale_`` around ``y_mean_``, of sinograms ``x`` as they came, float32."""
        return network((x - self.x_mean_) / self.x_scale_)

    def _task(self, network):
        A = self._operator()

        measure = LOSSES[self.loss]

        def loss(prediction, target):
            return measure(prediction, (target - self.y_mean_) / self.y_scale_)

        return SupervisedTask(
            network,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            weight_decay=self.weight_decay,
            forward=lambda x: self._forward(network, x, A),
            loss=loss,
            **self._task_options(network, A),
        )

    def _task_options(self, network, A):
        return {}

    def _reconstruct(self, A, y, step):
        device = find_device(self.device)
        network, autocast = self._network_on(device), autocast_dtype(self.precision, device, training=False)
        images, size = [], max(1, PIXELS // self._n_features_out)
        lowered = torch.autocast(device.type, autocast or torch.bfloat16, enabled=autocast is not None)
        with torch.no_grad(), lowered, reused_memory():
            for start in range(0, len(y), size):
                part = self._forward(network, y[start : start + size].to(device, torch.float32), A)
                images.append(part.float() * self.y_scale_ + self.y_mean_)
        step()
        return torch.cat(images).to(y.dtype)

    def _set_model_state(self, state, tensors, name):
        shapes = [state.get(key) for key in ("sinogram_shape_", "image_shape_")]
        pairs = [shape for shape in shapes if isinstance(shape, tuple) and len(shape) == 2]
        wrong = [key for key in self._numbers if not (isinstance(state.get(key), float) and np.isfinite(state[key]))]
        wrong += [key for key in self._numbers if not key.endswith("_mean_") and key not in wrong and state[key] <= 0]
        if wrong or len(pairs) < 2 or not all(type(n) is int and n > 0 for shape in pairs for n in shape):
            raise FileFormatError(
                f"{name} must hold finite numbers {', '.join(self._numbers)}, all but the means above zero, and "
                f"sinogram_shape_ and image_shape_, two positive integers each; got shapes {shapes!r:.200}, wrong "
                f"numbers: {', '.join(wrong) or 'none'}."
            )
        if state.get("n_features_in_") != shapes[0][0] * shapes[0][1]:
            raise FileFormatError(
                f"{name} must hold n_features_in_, the {shapes[0][0] * shapes[0][1]} values of sinograms of "
                f"{shapes[0]}; got {state.get('n_features_in_')!r:.200}."
            )
        super()._set_model_state(state, tensors, name)


class LearnedReconstructor(_Learned, Reconstructor, BaseEstimator):
    """A network that learns the scan with everything else and has one shape after ``fit``."""

    def _learn_shapes(self, X, y):
        X = self._check_sinograms(X, reset=True)
        self.image_shape_ = self._asked_image_shape(y) or (self.sinogram_shape_[1],) * 2
        return self._pair(X, y)

    def _network_shapes(self):
        return {"sinogram_shape": self.sinogram_shape_, "image_shape": self.image_shape_}


class LearnedScanReconstructor(_Learned, ScanReconstructor, BaseEstimator):
    """A network with the projection of a known scan inside; takes other shapes in ``predict``."""

    def _learn_shapes(self, X, y):
        X = self._fit_geometry(X, self._asked_image_shape(y))
        self._learn_scale()
        return self._pair(X, y)

    def predict(self, X):
        """Reconstruct each slice.

        Parameters
        ----------
        X : array-like of shape (n, n_angles, n_detectors) or (n, n_angles * n_detectors)
            Sinograms: line integrals in pixel lengths. A stack may have another shape than in ``fit``: with ``angles``
            and ``center`` None, those of its shape hold, and images grow with the detector.

        Returns
        -------
        ndarray of shape (n, rows, columns) or (n, rows * columns)
            Images in the unit of ``y``, flat if ``X`` is; in the floating dtype of ``X`` (integers give float32).

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError
            If ``X`` is not finite or flat and of another length than in ``fit``.
        GeometryError
            If the parameters of the scan do not go with another shape.
        MemoryBudgetError
            If the images do not fit into memory.
        """
        return super(LearnedScanReconstructor, self._suited(X)).predict(X)

    def score(self, X, y, sample_weight=None):
        return super(LearnedScanReconstructor, self._suited(X)).score(X, y, sample_weight)

    def _suited(self, X):
        """This estimator, or a copy for stacks of another shape than in ``fit``."""
        check_is_fitted(self)
        shape = tuple(X.shape if hasattr(X, "shape") else np.asarray(X).shape)
        if len(shape) != 3 or 0 in shape or shape[1:] == self.sinogram_shape_:
            return self
        return self._for_sinograms(shape[1:])

    def _for_scan(self, source):
        shape = tuple(source.shape[1:])
        return self if shape == self.sinogram_shape_ else self._for_sinograms(shape)

    def _for_sinograms(self, shape):
        """A copy of this estimator, the same network in it, for sinograms of another shape."""
        other = copy.copy(self)
        if self.angles is not None and np.size(self.angles) != shape[0]:
            raise GeometryError(
                f"angles must be one per projection; got {np.size(self.angles)} for sinograms of shape {shape} "
                "(n_angles, n_detectors). Set those of this scan by set_params, or leave angles=None in fit."
            )
        other.sinogram_shape_, other.n_features_in_ = shape, shape[0] * shape[1]
        angles = other._check_angles(None)
        rows, columns = self.image_shape_
        if self.image_shape is None and shape[1] != self.sinogram_shape_[1]:
            if rows != columns or rows != self.sinogram_shape_[1]:
                raise GeometryError(
                    f"image_shape must be given for sinograms of {shape[1]} detectors: in fit, images of {rows} x "
                    f"{columns} pixels went with {self.sinogram_shape_[1]} detectors. Set it by set_params."
                )
            rows = columns = shape[1]
        elif self.image_shape is not None:
            rows, columns = check_shape(self.image_shape, "image_shape", 2)
        other.geometry_ = ParallelBeam(
            angles,
            shape[1],
            image_shape=(rows, columns),
            center=self._check_center(),
            detector_spacing=self.detector_spacing,
            angle_unit="rad",
        )
        other.angles_, other.center_, other.image_shape_ = angles, other.geometry_.center, (rows, columns)
        other._learn_scale()
        return other

    def _set_model_state(self, state, tensors, name):
        super()._set_model_state(state, tensors, name)
        self._check_scan_state(state, name)

    def _learn_center(self, X, angles):
        center = self._check_center()
        if np.ndim(center):
            raise GeometryError(
                f"center must be one number for all slices, or None for the middle of the detector: the training set "
                f"has one axis; got an array of shape {np.shape(center)}."
            )
        return center

    def _learn_scale(self):
        """Learn what depends on the geometry alone."""

    def _task_options(self, network, A):
        return {"augment": Symmetries(self.geometry_)} if self.augmentation else {}

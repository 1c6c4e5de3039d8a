"""From samples to vectors: what the map is drawn from and what the detector measures distances between.

`FeatureInput` is the part of an estimator that takes samples and knows the parameters ``features``, ``n_features`` and
``image_shape``; `feature_extractor` makes the `FeatureExtractor` that turns checked samples into vectors. An estimator
that also detects outliers fits a `TrainingSetDetector` on its checked samples and takes ``reference_``, the vectors of
the training samples, and ``extractor_`` from it: features are then learned once for both.
"""

from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.utils import get_tags

from tomolearn._validation import as_tensor, check_choice, check_finite, check_integer
from tomolearn.base import ImageInput, available_memory, check_memory
from tomolearn.networks import EfficientNetLite0Features
from tomolearn.training.hardware import find_device

__all__ = ["FeatureExtractor", "FeatureInput", "PooledImages", "feature_extractor"]

FEATURES = ("pca", "efficientnet")
AT_ONCE = 2**22  # values of the samples that are worked on at a time, at most
SHARE = 4  # of the memory that there is, a table for the components may take one part in so many
RANGE = (1.0, 99.0)  # percentiles of the training images that the network sees as black and white
N_FOR_RANGE = 256  # images that these percentiles are taken of, at most


class FeatureInput(ImageInput):
    """Takes ``X`` as images, as a Source of them, or as rows of a table; stands before ``BaseEstimator``.

    An estimator brings the parameters ``features``, ``n_features``, ``image_shape`` and ``device``. What ``fit`` learns
    is ``image_shape_`` and ``n_features_in_``.
    """

    features: Any
    n_features: int | None
    device: Any
    _takes_any_size = False
    _remedy = "Leave such samples out, or repair such values."

    def _flat_shape(self, n_features):
        # A row without a shape is a row of a table: nothing to warn of, as for images.
        return (1, n_features) if self.image_shape is None else super()._flat_shape(n_features)

    def _check_stack(self, shape, reset):
        if len(shape) != 3:
            raise ValueError(
                f"X must be images (n, rows, columns) or rows of a table (n, n_features); got shape {shape}."
            )
        super()._check_stack(shape, reset)

    def _extractor(self):
        """The unfitted extractor that the parameters ask for."""
        return feature_extractor(self.features, self.n_features, device=self.device)

    def _samples(self, X, *, reset=False):
        """``X`` checked, in the shape that extractors take: (n, rows, columns), (n, n_features) or a Source."""
        X = self._check_images(X, reset=reset)
        if len(X.shape) == 2 and self.image_shape is not None:
            X = X.reshape(len(X), *self.image_shape_)
        return X


def feature_extractor(features="pca", n_features=50, *, device="auto"):
    """The extractor that parameters of an estimator stand for.

    Parameters
    ----------
    features : {"pca", "efficientnet"} or transformer, default="pca"
        "pca": the values of a sample themselves. "efficientnet": mean and standard deviation of each channel of
        `tomolearn.networks.EfficientNetLite0Features` over the image, each standardised by its mean and standard
        deviation over the training samples; needs the extra ``perceptual``. A transformer is cloned and fitted; one
        that is to stay as it is goes inside `sklearn.frozen.FrozenEstimator`. It gets stacks if its tags say that it
        takes them, else rows.
    n_features : int, default=50
        Principal components that are kept of these. Vectors that are not longer than that keep all.
    device : str, default="auto"
        Where EfficientNet is computed.

    Returns
    -------
    FeatureExtractor
        Not fitted.

    Raises
    ------
    ValueError, TypeError
        If ``features`` is none of these or ``n_features`` is no positive integer.
    """
    if isinstance(features, str):
        check_choice(features, "features", FEATURES)
    elif not hasattr(features, "transform") or isinstance(features, type):
        raise TypeError(
            f"features must be {' or '.join(map(repr, FEATURES))}, or a transformer (an object with fit and "
            f"transform); got {features!r}."
        )
    return FeatureExtractor(features, check_integer(n_features, "n_features", low=1), device)


class PooledImages:
    """What EfficientNet has made of images, before it is standardised."""

    def __init__(self, rows, limits):
        self.rows, self.limits, self.shape = rows, limits, rows.shape

    def __len__(self):
        return len(self.rows)

    def chosen(self, index):
        """Some of them."""
        return PooledImages(self.rows[index], self.limits)


class FeatureExtractor:
    """Samples in, float32 vectors out; `feature_extractor` makes it.

    ``fit(X)``, ``transform(X)`` and ``fit_transform(X)`` take ``X`` as `FeatureInput._samples` gives it: an array
    (n, rows, columns) or (n, n_features), or a Source, which is read block by block. Vectors (n, n_vector) come out.
    A sample's vector does not depend on the samples beside it but for rounding.

    What one sample is made of becomes a row of numbers y (see `feature_extractor`); the vector is

    - (y - m) / s where y has ``n_features`` values at most,
    - else ``(c_1, .., c_k, r) / s``: the k = ``n_features`` first principal components of y - m, and what they leave
      out, r = ||y - m - sum c_i p_i||, so that what no training sample shows is still seen.

    m is the mean over the training samples, s one number, the root of their mean squared distance from it: distances
    between vectors keep their ratios, and the components theirs; nothing is whitened. s is 1 where all are equal.
    Signs of the components are fixed (the largest weight is positive).

    ``state()`` is all of it as a dict of plain values and arrays, for model files; ``from_state(features, n_features,
    state, device=)`` undoes it. A transformer has no such state.
    """

    _PLAIN = ("mean", "components", "scale", "limits", "channel_mean", "channel_scale")

    def __init__(self, features, n_features, device="auto"):
        self.features, self.n_features, self.device = features, n_features, device
        self.mean: Any = None
        self.components: Any = None
        self.scale = self.transformer = None
        self.limits: Any = None  # with the next two of "efficientnet"
        self.channel_mean = self.channel_scale = None
        self._network = None

    def __getstate__(self):
        return {**self.__dict__, "_network": None}  # its weights are the package's

    def state(self):
        """What ``fit`` learned, as plain values and arrays."""
        if self.transformer is not None:
            raise TypeError(
                "a transformer given as features cannot be written into a model file; use pickle, or give its vectors."
            )
        return {name: getattr(self, name) for name in self._PLAIN}

    @classmethod
    def from_state(cls, features, n_features, state, *, device="auto"):
        """The fitted extractor that has this ``state()``; a ValueError if it cannot be one."""
        if not isinstance(state, dict) or set(state) != set(cls._PLAIN):
            raise ValueError(f"the state must be a dict of {', '.join(cls._PLAIN)}; got {state!r:.200}.")
        extractor = feature_extractor(features, n_features, device=device)
        size = np.size(state["mean"])
        _check_array(state, "mean", (size,))
        if features == "efficientnet":
            _check_array(state, "channel_mean", (size,))
            _check_array(state, "channel_scale", (size,))
            if not _are_limits(state["limits"]):
                raise ValueError(f"limits must be two increasing numbers; got {state['limits']!r:.200}.")
        elif any(state[name] is not None for name in ("limits", "channel_mean", "channel_scale")):
            raise ValueError(f"limits and channels belong to features='efficientnet'; got features={features!r:.200}.")
        if state["components"] is not None:
            _check_array(state, "components", (len(np.atleast_1d(state["components"])), size))
        if not isinstance(state["scale"], float) or not 0 < state["scale"] < np.inf:
            raise ValueError(f"scale must be a number above zero; got {state['scale']!r:.200}.")
        vars(extractor).update(state)
        return extractor

    @property
    def n_vector(self):
        """Length of a vector."""
        return len(self.mean) if self.components is None else len(self.components) + 1

    def fit(self, X):
        """Learn mean, components and scale from ``X``; see the class."""
        if isinstance(X, PooledImages):
            self.limits = X.limits
        elif self.features == "efficientnet":
            self._learn_range(X)
        elif self.features != "pca":
            self.transformer = clone(self.features).fit(self._for_transformer(X), None)
        n, n_values = len(X), self._raw(X, 0, 1).shape[1]
        n_components = min(self.n_features, max(n - 1, 1))
        need = 8 * n_values * (n_components + 2)
        check_memory(need, f"{n_components} components of {n_values} values", "Bin the images, or lower n_features.")
        table = None
        if 8 * n * n_values <= available_memory() // SHARE:
            table = np.concatenate(list(self._blocks(X)))
        self._learn_mean_and_scale(lambda: self._blocks(X) if table is None else (table,), n)
        self.components = None
        if n_values > self.n_features:
            self.components = self._principal(X, table, n_components)
        return self

    def transform(self, X):
        """The vectors of ``X``: float32 array of shape (n, n_vector)."""
        return np.concatenate([self._project(block) for block in self._blocks(X)])

    def fit_transform(self, X):
        """``fit(X)``, then the vectors of ``X``."""
        return self.fit(X).transform(X)

    def pooled(self, X):
        """What `fit` and `transform` take instead of ``X``, so that a network sees each image once; else ``X``."""
        if self.features != "efficientnet":
            return X
        self._learn_range(X)
        return PooledImages(np.concatenate(list(self._blocks(X))), self.limits)

    # ------------------------------------------------------------------------------------------ vectors of the rows

    def _learn_mean_and_scale(self, blocks, n):
        self.channel_mean = self.channel_scale = None
        self.mean = sum(block.sum(axis=0) for block in blocks()) / n
        squares = sum(((block - self.mean) ** 2).sum(axis=0) for block in blocks()) / n
        if self.features == "efficientnet":
            deviation = np.sqrt(squares)
            # A channel that is the same in all training images keeps its unit: elsewhere it may not be the same.
            self.channel_mean, self.channel_scale = self.mean, np.where(deviation > 0, deviation, 1.0)
            self.mean, squares = np.zeros_like(self.mean), squares / self.channel_scale**2
        total = float(squares.sum())
        self.scale = total**0.5 if total > 0 else 1.0

    def _principal(self, X, table, n_components):
        """Orthonormal components, each with its largest weight positive."""
        if table is not None:
            method = PCA(n_components, random_state=0).fit(self._standardized(table) - self.mean)
        else:
            method, rows = IncrementalPCA(n_components), []
            for block in self._blocks(X):
                rows.append(self._standardized(block) - self.mean)
                if sum(map(len, rows)) >= 5 * n_components:
                    method.partial_fit(np.concatenate(rows))
                    rows = []
            if sum(map(len, rows)) >= n_components:  # a last batch of fewer rows than components cannot be taken
                method.partial_fit(np.concatenate(rows))
        # Orthonormal to rounding: what the components leave out is found by Pythagoras.
        basis, triangle = np.linalg.qr(method.components_.T.astype(np.float64))
        return np.ascontiguousarray((basis * np.sign(np.diag(triangle))).T)

    def _standardized(self, block):
        return block if self.channel_mean is None else (block - self.channel_mean) / self.channel_scale

    def _project(self, block):
        y = self._standardized(block) - self.mean
        if self.components is not None:
            c = y @ self.components.T
            left = np.sqrt(np.maximum((y**2).sum(axis=1) - (c**2).sum(axis=1), 0))
            y = np.column_stack([c, left])
        return (y / self.scale).astype(np.float32)

    # ------------------------------------------------------------------------------------------ rows of the samples

    def _blocks(self, X):
        size = max(1, AT_ONCE // max(1, int(np.prod(X.shape[1:]))))
        for start in range(0, len(X), size):
            yield self._raw(X, start, min(start + size, len(X)))

    def _raw(self, X, start, stop):
        """What the samples are made of: float64, one row for each."""
        if isinstance(X, PooledImages):
            return X.rows[start:stop]
        block = X.read_block(start, stop) if hasattr(X, "read_block") else np.asarray(X[start:stop])
        check_finite(as_tensor(block, "X")[0], f"X[{start}:{stop}]", "Leave such samples out, or repair such values.")
        if self.features == "efficientnet":
            return self._pooled(block)
        if self.transformer is not None:
            block = np.asarray(self.transformer.transform(self._for_transformer(block)))
            if len(block) != stop - start or block.dtype.kind not in "fiub" or not np.isfinite(block).all():
                raise ValueError(
                    f"features must make finite numbers, one row for each sample; {self.features!r} made "
                    f"{block.dtype} of shape {block.shape} of {stop - start} samples."
                )
        return block.reshape(stop - start, -1).astype(np.float64)

    def _for_transformer(self, X):
        if len(X.shape) == 2 or get_tags(self.features).input_tags.three_d_array:
            return X
        return np.asarray(X).reshape(len(X), -1)

    def _learn_range(self, X):
        if len(X.shape) != 3:
            raise ValueError(
                f"features='efficientnet' needs images (n, rows, columns); got X of shape {tuple(X.shape)}. Give "
                "image_shape for flat images, or features='pca'."
            )
        chosen = np.unique(np.linspace(0, len(X) - 1, N_FOR_RANGE).round().astype(int))
        low, high = np.percentile(np.asarray(X[chosen], np.float64), RANGE)
        self.limits = (float(low), float(high if high > low else low + 1))

    def _pooled(self, block):
        device = find_device(self.device)
        if self._network is None:
            self._network = EfficientNetLite0Features()
        network = self._network.to(device)
        low, high = self.limits
        images = torch.from_numpy(((block.astype(np.float64) - low) / (high - low)).astype(np.float32))[:, None]
        pooled = []
        with torch.no_grad():
            for part in images.split(max(1, AT_ONCE // (64 * images[0].numel()))):
                maps = [feature.flatten(2) for feature in network(part.to(device))]
                pooled.append(torch.cat([m.mean(2) for m in maps] + [m.std(2, correction=0) for m in maps], dim=1))
        return torch.cat(pooled).cpu().numpy().astype(np.float64)


def _check_array(state, name, shape):
    value = state[name]
    if not isinstance(value, np.ndarray) or value.dtype != np.float64 or value.shape != shape:
        raise ValueError(f"{name} must be float64 of shape {shape}; got {value!r:.200}.")
    if not np.isfinite(value).all() or (name == "channel_scale" and (value <= 0).any()):
        raise ValueError(f"{name} must be finite, and a scale above zero; got {value!r:.200}.")


def _are_limits(value):
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(limit, float) and np.isfinite(limit) for limit in value)
        and value[0] < value[1]
    )

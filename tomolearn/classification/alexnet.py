"""The AlexNet of superres-tomo: what an image shows, as a class or as values."""

import numpy as np
import torch
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from tomolearn.base import register
from tomolearn.classification._learned import AlexNetEstimator, check_arrays, describe
from tomolearn.classification._targets import check_labels, check_values
from tomolearn.exceptions import FileFormatError
from tomolearn.training import Samples
from tomolearn.training.image_estimator import positive_scale
from tomolearn.training.parameters import store

__all__ = ["AlexNetClassifier", "AlexNetRegressor"]


@register
@describe
class AlexNetClassifier(ClassifierMixin, AlexNetEstimator):
    """Says which class an image shows, by superres-tomo's AlexNet [1]_ [2]_.

    All images have one size. Those of less than 280 rows or 111 columns get smaller kernels and strides along that
    axis, see `tomolearn.networks.AlexNet`; an axis of less than 32 pixels is enlarged to 32 by linear interpolation.
    ``transform`` gives what the last layer sees, so that a network that was trained on a library of one's own makes
    features for other methods.

    Parameters
    ----------
    {network}
    class_weight : dict, "balanced" or None, default=None
        Factors of the losses of samples, by class. "balanced": n / (n_classes * samples of the class), so that a rare
        class counts as much as a frequent one. None: each sample counts the same.
    {images}
    {training}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    class_weight_ : ndarray of shape (n_classes,)
        Factors of the losses.
    {normalized}
    {trained}

    Notes
    -----
    The loss is the cross entropy. Where early stopping takes its validation samples from ``X``, each class has its
    share among them, and at least one sample of each class is learned from. In a training of several processes each
    normalises its own part of a batch, so that weights differ a little from those that one process would find.

    References
    ----------
    .. [1] K. T. Butler et al., superres-tomo (2020), https://github.com/keeeto/super-resolution-ml.
    .. [2] A. Krizhevsky, I. Sutskever and G. E. Hinton, "ImageNet classification with deep convolutional neural
       networks", Commun. ACM 60 (2017) 84, DOI 10.1145/3065386.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import AlexNetClassifier
    >>> X = np.zeros((16, 32, 32))
    >>> X[::2, 8:24, 15:17] = 1
    >>> X[1::2, 15:17, 8:24] = 1
    >>> y = np.tile(["upright", "level"], 8)
    >>> small = {"channels": (4, 8, 8, 8, 8), "widths": (32, 32, 32), "dropout": 0.0}
    >>> classifier = AlexNetClassifier(**small, max_epochs=20, batch_size=4, random_state=0).fit(X, y)
    >>> classifier.predict(X[:2]).tolist(), classifier.predict_proba(X).shape, classifier.transform(X).shape
    (['upright', 'level'], (16, 2), (16, 32))
    """

    def __init__(
        self,
        *,
        channels=(96, 256, 384, 384, 256),
        widths=(1096, 1096, 1000),
        dropout=0.4,
        flips=False,
        class_weight=None,
        image_shape=None,
        optimizer="adam",
        learning_rate=1e-3,
        schedule="constant",
        weight_decay=0.0,
        gradient_clipping=None,
        ema_decay=None,
        max_epochs=100,
        batch_size=32,
        early_stopping=True,
        n_iter_no_change=10,
        validation_fraction=0.1,
        warm_start=False,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
    ):
        store(self, locals())

    def predict_proba(self, X):
        """Probability of each class for each image.

        Parameters
        ----------
        X : array-like or Source of shape (n, rows, columns), (n, n_channels, rows, columns) or (n, n_features)
            Images of the shape that ``fit`` saw.

        Returns
        -------
        ndarray of shape (n, n_classes)
            In the order of ``classes_``; in the floating dtype of ``X`` (integers give float32).

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError
            If ``X`` is not finite or holds images of another shape.
        MemoryBudgetError
            If the images do not fit into memory.
        """
        logits, dtype = self._vectors(X)
        return torch.from_numpy(logits).softmax(1).numpy().astype(dtype, copy=False)

    def predict(self, X):
        """The most probable class of each image.

        Parameters
        ----------
        X : array-like or Source of shape (n, rows, columns), (n, n_channels, rows, columns) or (n, n_features)
            Images of the shape that ``fit`` saw.

        Returns
        -------
        ndarray of shape (n,)
            Labels as in ``classes_``.

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError
            If ``X`` is not finite or holds images of another shape.
        MemoryBudgetError
            If the images do not fit into memory.
        """
        logits, _ = self._vectors(X)
        return self.classes_[logits.argmax(1)]

    # ------------------------------------------------------------------------------------------------- the samples

    def _learn_targets(self, y, n):
        y = check_labels(y, n, "y")
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"y must hold at least two classes; got one class only, {classes[0]!r}, in {n} images. Give images of "
                "another class too."
            )
        self.classes_ = classes
        self.class_weight_ = self._check_class_weight(y)
        return codes

    def _check_class_weight(self, y):
        given = self.class_weight
        if not (given is None or isinstance(given, dict) or (isinstance(given, str) and given == "balanced")):
            raise ValueError(f"class_weight must be a dict of labels and factors, 'balanced' or None; got {given!r}.")
        weights = np.asarray(compute_class_weight(given, classes=self.classes_, y=y), dtype=np.float64)
        if not (np.isfinite(weights).all() and weights.min() >= 0 and weights.max() > 0):
            raise ValueError(
                f"class_weight must hold finite factors >= 0, one of them above 0; got {weights.tolist()} for the "
                f"classes {self.classes_.tolist()}."
            )
        return weights

    def _encode(self, y, n, name):
        y = check_labels(y, n, name)
        unknown = [label for label in np.unique(y).tolist() if label not in set(self.classes_.tolist())]
        if unknown:
            raise ValueError(
                f"{name} must hold labels that are in y too, {self.classes_.tolist()!r:.200}; got {unknown!r:.200}."
            )
        return np.searchsorted(self.classes_, y)

    def _samples(self, X, targets):
        return LabelledSamples(self._images(X), targets)

    def _split(self, samples, seed):
        """As that of all trained estimators, each class with its share, and none without samples to learn from."""
        codes, n = samples.codes, len(samples)
        n_held = min(round(self.validation_fraction * n), n - 1)
        rng = np.random.default_rng(seed)
        by_class = np.lexsort((rng.random(n), codes))
        held = by_class[((np.arange(n_held) + rng.random()) * n / max(1, n_held)).astype(int)]
        emptied = np.flatnonzero(np.bincount(codes[held], minlength=len(self.classes_)) == np.bincount(codes))
        held = np.delete(held, [np.flatnonzero(codes[held] == code)[0] for code in emptied])
        if not len(held):
            return samples, None
        return samples.subset(np.setdiff1d(np.arange(n), held)), samples.subset(np.sort(held))

    # ------------------------------------------------------------------------------------------------- the network

    @property
    def _n_outputs(self):
        return len(self.classes_)

    def _loss(self, output, targets):
        codes = targets.long()
        weights = torch.as_tensor(self.class_weight_, dtype=output.dtype, device=output.device)
        return (functional.cross_entropy(output, codes, reduction="none") * weights[codes]).mean()

    def _model_state(self):
        state, tensors = super()._model_state()
        if self.classes_.dtype.kind == "O":
            state["classes_"] = np.array(self.classes_.tolist())  # strings, which take the same place in any dtype
        return state, tensors

    def _set_model_state(self, state, tensors, name):
        classes = state.get("classes_")
        sound = isinstance(classes, np.ndarray) and classes.ndim == 1 and classes.dtype.kind in "biufU"
        if not sound or len(classes) < 2 or not (classes[1:] > classes[:-1]).all():
            raise FileFormatError(f"{name} must hold classes_, two or more labels in order; got {classes!r:.200}.")
        check_arrays(state, ["class_weight_"], len(classes), name)
        super()._set_model_state(state, tensors, name)


@register
@describe
class AlexNetRegressor(RegressorMixin, AlexNetEstimator):
    """Says which value, or values, belong to an image, by superres-tomo's AlexNet [1]_ [2]_.

    All images have one size. Those of less than 280 rows or 111 columns get smaller kernels and strides along that
    axis, see `tomolearn.networks.AlexNet`; an axis of less than 32 pixels is enlarged to 32 by linear interpolation.
    ``transform`` gives what the last layer sees, so that a network that was trained on a library of one's own makes
    features for other methods.

    Parameters
    ----------
    {network}
    {images}
    {training}

    Attributes
    ----------
    target_shape_ : tuple of int
        Of the values of one image: () for ``y`` of shape (n,), (n_outputs,) for (n, n_outputs).
    y_mean_, y_scale_ : ndarray of shape (n_outputs,)
        Mean and standard deviation of the values, by which they are normalised.
    {normalized}
    {trained}

    Notes
    -----
    The loss is the mean squared error of the normalised values. ``score`` is R2, the mean over the outputs. In a
    training of several processes each normalises its own part of a batch, so that weights differ a little from those
    that one process would find.

    References
    ----------
    .. [1] K. T. Butler et al., superres-tomo (2020), https://github.com/keeeto/super-resolution-ml.
    .. [2] A. Krizhevsky, I. Sutskever and G. E. Hinton, "ImageNet classification with deep convolutional neural
       networks", Commun. ACM 60 (2017) 84, DOI 10.1145/3065386.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import AlexNetRegressor
    >>> X = np.random.default_rng(0).random((8, 32, 48))
    >>> small = {"channels": (4, 8, 8, 8, 8), "widths": (16, 16, 16), "dropout": 0.0}
    >>> regressor = AlexNetRegressor(**small, max_epochs=2, random_state=0).fit(X, X.mean((1, 2)))
    >>> regressor.predict(X).shape, regressor.transform(X).shape
    ((8,), (8, 16))
    """

    _learned = ("x_mean_", "x_scale_", "y_mean_", "y_scale_")

    def __init__(
        self,
        *,
        channels=(96, 256, 384, 384, 256),
        widths=(1096, 1096, 1000),
        dropout=0.4,
        flips=False,
        image_shape=None,
        optimizer="adam",
        learning_rate=1e-3,
        schedule="constant",
        weight_decay=0.0,
        gradient_clipping=None,
        ema_decay=None,
        max_epochs=100,
        batch_size=32,
        early_stopping=True,
        n_iter_no_change=10,
        validation_fraction=0.1,
        warm_start=False,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
    ):
        store(self, locals())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def predict(self, X):
        """The values of each image.

        Parameters
        ----------
        X : array-like or Source of shape (n, rows, columns), (n, n_channels, rows, columns) or (n, n_features)
            Images of the shape that ``fit`` saw.

        Returns
        -------
        ndarray of shape (n,) or (n, n_outputs)
            As ``y`` was; in the floating dtype of ``X`` (integers give float32).

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError
            If ``X`` is not finite or holds images of another shape.
        MemoryBudgetError
            If the images do not fit into memory.
        """
        outputs, dtype = self._vectors(X)
        values = outputs * self.y_scale_ + self.y_mean_
        return values.reshape(-1, *self.target_shape_).astype(dtype, copy=False)

    # ------------------------------------------------------------------------------------------------- the samples

    def _learn_targets(self, y, n):
        values = check_values(y, n, "y")
        self.target_shape_ = values.shape[1:]
        values = values.reshape(n, -1)
        self.y_mean_ = values.mean(0)
        spreads = values.std(0)
        self.y_scale_ = np.array([positive_scale(s, m) for s, m in zip(spreads, self.y_mean_, strict=True)])
        return self._encode(y, n, "y")

    def _encode(self, y, n, name):
        values = check_values(y, n, name)
        if values.shape[1:] != self.target_shape_:
            raise ValueError(
                f"{name} must have shape {(n, *self.target_shape_)}, with the outputs of y; got {values.shape}."
            )
        return ((values.reshape(n, -1) - self.y_mean_) / self.y_scale_).astype(np.float32)

    # ------------------------------------------------------------------------------------------------- the network

    @property
    def _n_outputs(self):
        return len(self.y_mean_)

    def _loss(self, output, targets):
        return functional.mse_loss(output, targets)

    def _set_model_state(self, state, tensors, name):
        shape = state.get("target_shape_")
        if not isinstance(shape, tuple) or len(shape) > 1 or not all(type(n) is int and n > 0 for n in shape):
            raise FileFormatError(f"{name} must hold target_shape_, none or one positive integer; got {shape!r:.200}.")
        check_arrays(state, self._learned[2:], shape[0] if shape else 1, name)
        super()._set_model_state(state, tensors, name)


class LabelledSamples(Samples):
    """Images and the codes of their classes, by which they can be divided."""

    def __init__(self, images, codes):
        super().__init__(images, codes)
        self.codes = codes

"""Which samples do not belong to a training set: distances to its nearest samples, calibrated on held-out ones."""

import numpy as np
import torch
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted

from tomolearn._validation import check_integer, check_real
from tomolearn.base import ModelFiles, fitted_shape, register
from tomolearn.exceptions import FileFormatError
from tomolearn.manifold._features import FeatureExtractor, FeatureInput, PooledImages
from tomolearn.manifold._neighbors import nearest_neighbors
from tomolearn.training.hardware import find_device, named_device

__all__ = ["TrainingSetDetector"]

N_FOLDS = 5
MANY = 5000  # training samples from which one fold of the five is enough to learn the threshold from
N_HELD_OUT = 2000  # samples of a fold whose distances are taken, at most
LARGEST = 1e15  # of what a model file may hold of features; their squares must be finite in float32
ROUNDING = 1e-6  # of vectors whose root mean square is 1, in float32


@register
class TrainingSetDetector(FeatureInput, ModelFiles, OutlierMixin, BaseEstimator):
    """Tells samples that are unlike all training samples, before a network is asked about them.

    Two things are measured of a sample: the distance of its features from those of its ``n_neighbors``-th nearest
    training sample [1]_, and the norm of what the principal components leave out of it [2]_. Both are compared with
    what they are for training samples that were held out: the set is cut into five parts, and each is measured by
    features and neighbours of the other four. The score is minus the larger deviation, in standard deviations, upwards
    for the distance and either way for what is left out, and the threshold is the quantile ``false_alarm_rate`` of the
    held-out scores: about that share of fresh samples of the same kind is flagged [3]_.

    Parameters
    ----------
    features : {"pca", "efficientnet"} or transformer, default="pca"
        What samples are compared by. "pca": their values. "efficientnet": means and standard deviations of the
        channels of `tomolearn.networks.EfficientNetLite0Features` (``pip install 'tomolearn[perceptual]'``).
        A transformer is cloned and fitted; one that is to stay as it is goes inside `sklearn.frozen.FrozenEstimator`.
    n_features : int, default=50
        Principal components that are kept of these; what they leave out counts too. Vectors that are not longer keep
        all their values.
    n_neighbors : int, default=5
        The neighbour whose distance is measured.
    false_alarm_rate : float, default=0.05
        Share of fresh samples of the kind of the training set that is flagged, above 0 and at most 0.5. A share below
        1 / (samples + 1) cannot be kept: the threshold is then the lowest score of a held-out sample.
    image_shape : tuple of two int, default=None
        Rows and columns of an image, for flat ``X`` of images. None: a row of flat ``X`` is one of a table.
    random_state : int, default=0
        Which samples are held out together.
    device : str, default="auto"
        Where features and distances are computed: "auto", "cpu", "cuda" or "cuda:N".

    Attributes
    ----------
    offset_ : float
        The threshold of ``score_samples``: a sample with a lower score is an outlier.
    calibration_ : ndarray of shape (2, 1) or (2, 2)
        Mean and standard deviation of the distances of held-out samples, and of what is left out of them if features
        are reduced to components.
    held_out_scores_ : ndarray of shape (n_held_out,)
        Scores of training samples that features and neighbours did not know, increasing.
    reference_ : ndarray of shape (n_samples, n_vector)
        The vectors of the training samples, float32.
    extractor_ : object
        Makes vectors of samples.
    image_shape_ : tuple of two int
        Rows and columns of an image.
    n_features_in_ : int
        Values of a sample.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, if ``X`` was a table that had them.

    See Also
    --------
    check_training_set : Scores, a map and a sentence in one call.

    Notes
    -----
    Vectors are centred and divided by one number, so that distances keep their ratios. Memory is linear in the number
    of samples; a `tomolearn.io.Source` is read block by block and may be larger than memory.

    References
    ----------
    .. [1] S. Ramaswamy, R. Rastogi and K. Shim, "Efficient algorithms for mining outliers from large data sets",
       SIGMOD (2000) 427, DOI 10.1145/342009.335437.
    .. [2] J. E. Jackson and G. S. Mudholkar, "Control procedures for residuals associated with principal component
       analysis", Technometrics 21 (1979) 341, DOI 10.1080/00401706.1979.10489779.
    .. [3] S. Bates, E. Candes, L. Lei, Y. Romano and M. Sesia, "Testing for outliers with conformal p-values", Ann.
       Statist. 51 (2023) 149, DOI 10.1214/22-AOS2244.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import TrainingSetDetector
    >>> rng = np.random.default_rng(0)
    >>> train = rng.normal(size=(200, 8, 8))
    >>> detector = TrainingSetDetector().fit(train)
    >>> detector.predict(5 + rng.normal(size=(3, 8, 8)))
    array([-1, -1, -1])
    """

    def __init__(
        self,
        *,
        features="pca",
        n_features=50,
        n_neighbors=5,
        false_alarm_rate=0.05,
        image_shape=None,
        random_state=0,
        device="auto",
    ):
        self.features = features
        self.n_features = n_features
        self.n_neighbors = n_neighbors
        self.false_alarm_rate = false_alarm_rate
        self.image_shape = image_shape
        self.random_state = random_state
        self.device = device

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def fit(self, X, y=None):
        """Learn features, the training samples' vectors and the threshold.

        Parameters
        ----------
        X : array-like or Source of shape (n, rows, columns) or (n, n_features)
            The training samples: images, sinograms, or rows of a table.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If ``X`` is not finite, of a wrong shape or has too few samples, or a parameter is out of its range.
        ImportError
            If the weights of EfficientNet are asked for and not installed.
        MemoryBudgetError
            If components of that many values do not fit into memory.
        """
        n_neighbors = check_integer(self.n_neighbors, "n_neighbors", low=1)
        false_alarm_rate = check_real(self.false_alarm_rate, "false_alarm_rate", low=0, high=0.5, open_low=True)
        random_state = check_integer(self.random_state, "random_state", low=0, high=2**32 - 1)
        X = self._samples(X, reset=True)
        n, fewest = len(X), -(-N_FOLDS * n_neighbors // (N_FOLDS - 1)) + 1
        if n < fewest:
            raise ValueError(
                f"X must hold at least {fewest} samples for n_neighbors={n_neighbors}, some of which are held out; "
                f"got n_samples={n}. Give more, or lower n_neighbors."
            )
        X = self._extractor().pooled(X)
        held_out, folds = [], np.random.default_rng(random_state).permutation(n) % N_FOLDS
        for fold in range(1 if n >= MANY else N_FOLDS):
            inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)[:N_HELD_OUT]
            extractor = self._extractor()
            reference = extractor.fit_transform(_chosen(X, inside))
            measures = self._measures(extractor, extractor.transform(_chosen(X, outside)), reference)
            held_out.append(measures * extractor.scale)  # each fold has a scale of its own
        self.extractor_ = self._extractor()
        self.reference_ = self.extractor_.fit_transform(X)
        measures = np.concatenate(held_out) / self.extractor_.scale
        self.calibration_ = np.stack([measures.mean(axis=0), np.maximum(measures.std(axis=0), ROUNDING)])
        self.held_out_scores_ = np.sort(self._scores(measures))
        # The rank of a fresh score among the held-out ones is as likely to be any: k of n + 1 lie below the k-th.
        rank = max(int(false_alarm_rate * (len(self.held_out_scores_) + 1)), 1)
        self.offset_ = float(self.held_out_scores_[rank - 1] - ROUNDING / self.calibration_[1].min())
        return self

    def vectors(self, X):
        """The vectors of features that distances are taken between.

        Parameters
        ----------
        X : array-like or Source of shape (n, rows, columns) or (n, n_features)
            Samples of the shape that ``fit`` saw.

        Returns
        -------
        ndarray of shape (n, n_vector), float32
            Rows as in ``reference_``.

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError, TypeError
            If ``X`` is not finite or of a wrong shape.
        """
        check_is_fitted(self)
        return self.extractor_.transform(self._samples(X))

    def score_samples(self, X):
        """How much samples are like the training set: the lower, the stranger.

        Parameters
        ----------
        X : array-like or Source of shape (n, rows, columns) or (n, n_features)
            Samples of the shape that ``fit`` saw. A training sample is a neighbour of itself.

        Returns
        -------
        ndarray of shape (n,)
            In standard deviations of held-out training samples, about zero or above for typical ones.

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError, TypeError
            If ``X`` is not finite or of a wrong shape.
        """
        vectors = self.vectors(X)
        return self._scores(self._measures(self.extractor_, vectors, self.reference_))

    def decision_function(self, X):
        """``score_samples(X) - offset_``: below zero for outliers.

        Parameters
        ----------
        X : array-like or Source of shape (n, rows, columns) or (n, n_features)
            Samples of the shape that ``fit`` saw.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError, TypeError
            If ``X`` is not finite or of a wrong shape.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """Whether samples belong to the training set.

        Parameters
        ----------
        X : array-like or Source of shape (n, rows, columns) or (n, n_features)
            Samples of the shape that ``fit`` saw.

        Returns
        -------
        ndarray of shape (n,), int
            1 for samples of the kind of the training set, -1 for outliers.

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError, TypeError
            If ``X`` is not finite or of a wrong shape.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def _measures(self, extractor, vectors, reference):
        """What is strange of each vector: its distance from its k-th neighbour, and what the components leave out."""
        rows, table = (torch.from_numpy(np.asarray(part, np.float32)) for part in (vectors, reference))
        left_out = []
        if extractor.components is not None:
            left_out = [rows[:, -1].numpy()]
            rows, table = rows[:, :-1], table[:, :-1]
        device = find_device(self.device)
        _, squared = nearest_neighbors(rows.to(device), table.to(device), self.n_neighbors)
        distances = squared[:, -1].cpu().numpy().astype(np.float64)
        return np.column_stack([np.sqrt(distances), *left_out])

    def _scores(self, measures):
        deviations = (measures - self.calibration_[0]) / self.calibration_[1]
        deviations[:, 1:] = np.abs(deviations[:, 1:])  # less noise than in all training samples is strange too
        return -deviations.max(axis=1)

    def _model_state(self):
        state, tensors = super()._model_state()
        return {**state, "extractor_": self.extractor_.state()}, tensors

    def _set_model_state(self, state, tensors, name):
        fitted_shape(state, "image_shape_", name)
        named_device(self.device)
        try:
            learned = FeatureExtractor.from_state(
                self.features, self.n_features, state.get("extractor_"), device=self.device
            )
        except (TypeError, ValueError) as error:
            raise FileFormatError(f"{name} must hold features in extractor_: {error}") from error
        for key, n_axes, dtype in (
            ("reference_", 2, np.float32),
            ("held_out_scores_", 1, np.float64),
            ("calibration_", 2, np.float64),
        ):
            value = state.get(key)
            sound = isinstance(value, np.ndarray) and value.dtype == dtype and value.ndim == n_axes
            if not sound or not np.isfinite(value).all():
                raise FileFormatError(
                    f"{name} must hold {key}, finite {np.dtype(dtype)} of {n_axes} axes; got {value!r:.200}."
                )
        features = [state["reference_"], 1 / learned.scale, *state["extractor_"].values()]
        if max(np.abs(part).max(initial=0.0) for part in features if isinstance(part, float | np.ndarray)) > LARGEST:
            raise FileFormatError(f"{name} must hold features of up to {LARGEST:g}, whose squares are finite.")
        offset, shape, n_vector = state.get("offset_"), state["reference_"].shape, learned.n_vector
        if shape[1] != n_vector or shape[0] < check_integer(self.n_neighbors, "n_neighbors", low=1):
            raise FileFormatError(
                f"{name} must hold reference_ of n_neighbors={self.n_neighbors} rows at least and {n_vector} columns; "
                f"got shape {shape}."
            )
        n_measures = 1 if learned.components is None else 2
        if state["calibration_"].shape != (2, n_measures) or (state["calibration_"][1] <= 0).any():
            raise FileFormatError(
                f"{name} must hold calibration_ of shape (2, {n_measures}) whose second row is above zero; got "
                f"{state['calibration_']!r:.200}."
            )
        if not isinstance(offset, float) or not np.isfinite(offset):
            raise FileFormatError(f"{name} must hold offset_, a finite number; got {offset!r:.200}.")
        super()._set_model_state({**state, "extractor_": learned}, tensors, name)


def _chosen(X, index):
    return X.chosen(index) if isinstance(X, PooledImages) else _Chosen(X, index)


class _Chosen:
    """Some samples of a stack or Source, which stays where it is."""

    def __init__(self, X, index):
        self.X, self.index, self.shape = X, index, (len(index), *X.shape[1:])

    def __len__(self):
        return len(self.index)

    def __getitem__(self, part):
        return np.asarray(self.X[self.index[part]])

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.X[self.index], dtype)

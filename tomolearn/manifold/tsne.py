"""t-SNE: a map of a data set on which samples that are alike lie together."""

import math

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.manifold import trustworthiness
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from tomolearn.base import ModelFiles, check_memory, fitted_shape, register
from tomolearn.exceptions import FileFormatError
from tomolearn.manifold._embed import check_parameters, embed
from tomolearn.manifold._features import FeatureInput
from tomolearn.manifold._neighbors import prepare_vectors
from tomolearn.manifold._placement import Map
from tomolearn.manifold.detector import TrainingSetDetector
from tomolearn.training.hardware import find_device

__all__ = ["TSNEReducer"]

EXACT_BELOW = 500  # samples up to which pairs are faster than a grid
PLACEMENT_PERPLEXITY = 5.0  # of new samples: few neighbours hold them better than many
N_TRUSTED = 5  # neighbours that score looks at, as scikit-learn's trustworthiness by default
N_NEIGHBORS = 5  # of the detector


@register
class TSNEReducer(FeatureInput, ModelFiles, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A map of samples by t-SNE, on which new samples can be placed.

    Features are made of the samples, and of these the map: points in two (or one, or three) dimensions whose
    neighbours are the neighbours of the features [1]_; new samples are placed on it [3]_. Distances between far points,
    and densities, mean little. Samples that do not belong are told by a `TrainingSetDetector` of the same features.

    Parameters
    ----------
    n_components : int, default=2
        Dimensions of the map: 1, 2 or 3.
    perplexity : float, default=30.0
        Effective number of neighbours of a sample, at least 1 and below the number of samples.
    early_exaggeration : float, default=12.0
        Factor of the affinities at the beginning: until the divergence hardly falls, 250 iterations at most.
    learning_rate : float or "auto", default="auto"
        Factor of the gradient, in scikit-learn's unit. "auto": the number of samples by four times the early
        exaggeration [2]_, then half the number of samples; at least 50.
    max_iter : int, default=1000
        Iterations at most.
    n_iter_without_progress : int, default=50
        The run ends when the divergence has not fallen by 0.5 % for so many iterations; it is looked at every 50
        iterations, after the early exaggeration.
    min_grad_norm : float, default=1e-7
        The run ends if the norm of the gradient is lower.
    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance between features.
    init : {"pca", "random"} or ndarray of shape (n, n_components), default="pca"
        The first map: principal components, normal random numbers, both with a standard deviation of 1e-4, or the
        array as it is.
    method : {"auto", "exact", "fft"}, default="auto"
        Repulsion pair by pair, or by FFT on a grid, which needs one or two dimensions and takes time linear in the
        number of samples. "auto": pair by pair up to 500 samples and in three dimensions.
    features : {"pca", "efficientnet"} or transformer, default="pca"
        What samples are compared by, see `TrainingSetDetector`.
    n_features : int, default=50
        Principal components that are kept of these; what they leave out is one value more. Vectors that are not longer
        keep all their values.
    false_alarm_rate : float, default=0.05
        Share of samples of the kind of the training set that ``predict`` calls outliers.
    image_shape : tuple of two int, default=None
        Rows and columns of an image, for flat ``X`` of images. None: a row of flat ``X`` is one of a table.
    random_state : int, RandomState instance or None, default=None
        Source of ``init="random"`` and of the samples that the detector holds out.
    device : str, default="auto"
        "auto": a CUDA device where there is one; or "cpu", "cuda", "cuda:1", ...
    verbose : int, default=0
        1: a progress bar with the divergence, on a terminal or in a notebook.

    Attributes
    ----------
    embedding_ : ndarray of shape (n, n_components)
        The map.
    kl_divergence_ : float
        Kullback-Leibler divergence of the affinities from the similarities in the map, in nats.
    n_iter_ : int
        Iterations that were run.
    total_similarity_ : float
        Sum of 1 / (1 + d^2) over the ordered pairs of the map, by which similarities are divided.
    detector_ : TrainingSetDetector
        Holds the features of the samples, and tells outliers.
    image_shape_ : tuple of two int
        Rows and columns of an image.
    n_features_in_ : int
        Values of a sample.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, if ``X`` was a table that had them.

    See Also
    --------
    TrainingSetDetector : The detector alone.
    sklearn.manifold.TSNE : Without features, grids and ``transform``.

    Notes
    -----
    Neighbours are exact, three times the perplexity of each sample. Memory is linear in the number of samples. Up to
    1000 samples are mapped in float64, more in float32: one seed gives the same map each time on one machine, while
    another number of threads may round differently, which grows during the run.

    References
    ----------
    .. [1] L. van der Maaten and G. Hinton, "Visualizing data using t-SNE", J. Mach. Learn. Res. 9 (2008) 2579.
    .. [2] A. Belkina et al., "Automated optimized parameters for t-distributed stochastic neighbor embedding improve
       visualization and analysis of large datasets", Nat. Commun. 10 (2019) 5415, DOI 10.1038/s41467-019-13055-y.
    .. [3] P. Policar, M. Strazar and B. Zupan, "Embedding to reference t-SNE space addresses batch effects in
       single-cell classification", Mach. Learn. 112 (2023) 721, DOI 10.1007/s10994-021-06043-1.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import TSNEReducer
    >>> rng = np.random.default_rng(0)
    >>> images = rng.normal(size=(60, 8, 8)) + 10 * np.repeat([0, 1, 2], 20)[:, None, None]
    >>> reducer = TSNEReducer(perplexity=10, max_iter=300, random_state=0)
    >>> reducer.fit_transform(images).shape
    (60, 2)
    >>> reducer.transform(images[:4]).shape
    (4, 2)
    """

    def __init__(
        self,
        n_components=2,
        *,
        perplexity=30.0,
        early_exaggeration=12.0,
        learning_rate="auto",
        max_iter=1000,
        n_iter_without_progress=50,
        min_grad_norm=1e-7,
        metric="euclidean",
        init="pca",
        method="auto",
        features="pca",
        n_features=50,
        false_alarm_rate=0.05,
        image_shape=None,
        random_state=None,
        device="auto",
        verbose=0,
    ):
        self.n_components = n_components
        self.perplexity = perplexity
        self.early_exaggeration = early_exaggeration
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.n_iter_without_progress = n_iter_without_progress
        self.min_grad_norm = min_grad_norm
        self.metric = metric
        self.init = init
        self.method = method
        self.features = features
        self.n_features = n_features
        self.false_alarm_rate = false_alarm_rate
        self.image_shape = image_shape
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @classmethod
    def superres_defaults(cls) -> "TSNEReducer":
        """A reducer with the values of ``dimension_reducer`` of superres-tomo.

        Exact t-SNE of 50 principal components of a pretrained network's features; the network here is EfficientNet
        (extra ``perceptual``) where that one had a ResNet50.

        Returns
        -------
        TSNEReducer

        Examples
        --------
        >>> from tomolearn import TSNEReducer
        >>> TSNEReducer.superres_defaults().perplexity
        50.0
        """
        return cls(
            perplexity=50.0,
            early_exaggeration=4.0,
            learning_rate=200.0,
            max_iter=5000,
            method="exact",
            features="efficientnet",
            n_features=50,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @property
    def _n_features_out(self):
        return self.embedding_.shape[1]

    # -------------------------------------------------------------------------------------------------------- the map

    def fit(self, X, y=None):
        """Make the map.

        Parameters
        ----------
        X : array-like or Source of shape (n, rows, columns) or (n, n_features)
            Images, or rows of a table. A `tomolearn.io.Source` may be larger than memory.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If ``X`` is not finite, of a wrong shape, has samples that are all equal, or fewer than the perplexity asks
            for, or a parameter is out of its range.
        ImportError
            If the weights of EfficientNet are asked for and not installed.
        MemoryBudgetError
            If features or affinities do not fit into memory.
        DivergenceError
            If the map flies apart under the learning rate that was given.
        """
        check_parameters(self)
        random = check_random_state(self.random_state)
        checked = self._samples(X, reset=True)
        n = len(checked)
        if n <= self.perplexity + 1:
            raise ValueError(
                f"perplexity must be below n - 1, the number of other samples; got {self.perplexity:g} for "
                f"n_samples={n}. Lower perplexity, or give more samples."
            )
        detector = self._detector(n, int(random.randint(2**31 - 1)))
        vectors = detector.fit(checked).reference_
        if (vectors == vectors[0]).all():
            raise ValueError(f"the {n} samples of X must not all be equal in their features; give samples that differ.")
        device = find_device(self.device)
        result = embed(
            vectors,
            n_components=self.n_components,
            perplexity=self.perplexity,
            metric=self.metric,
            init=self.init,
            random=random,
            device=device,
            exact=self._is_exact(n),
            early_exaggeration=self.early_exaggeration,
            learning_rate=self.learning_rate,
            max_iter=self.max_iter,
            min_grad_norm=self.min_grad_norm,
            n_iter_without_progress=self.n_iter_without_progress,
            verbose=self.verbose,
        )
        dtype = getattr(checked, "dtype", np.dtype(np.float32))
        self.detector_ = detector
        self.embedding_ = result.points.double().cpu().numpy().astype(_float_of(dtype))
        self.kl_divergence_ = float(result.divergence)
        self.total_similarity_ = float(result.total)
        self.n_iter_ = result.n_iter
        return self

    def fit_transform(self, X, y=None):
        """Make the map, and give it.

        Parameters
        ----------
        X : array-like or Source of shape (n, rows, columns) or (n, n_features)
            See ``fit``.
        y : None
            Ignored.

        Returns
        -------
        ndarray of shape (n, n_components)
            ``embedding_``.

        Raises
        ------
        ValueError, TypeError, ImportError, MemoryBudgetError, DivergenceError
            See ``fit``.
        """
        return self.fit(X).embedding_

    def transform(self, X):
        """Place samples on the map, which stays as it is; none of them knows the others.

        Parameters
        ----------
        X : array-like or Source of shape (n, rows, columns) or (n, n_features)
            Samples of the shape that ``fit`` saw. Those of ``fit`` come out near their places in ``embedding_``.

        Returns
        -------
        ndarray of shape (n, n_components)

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError, TypeError
            If ``X`` is not finite or of a wrong shape.
        """
        check_is_fitted(self)
        X = self._samples(X)
        dtype = _float_of(getattr(X, "dtype", np.dtype(np.float32)))
        device = find_device(self.device)
        vectors, reference = (
            prepare_vectors(torch.from_numpy(np.asarray(rows)).to(device, torch.float64), self.metric)
            for rows in (self.detector_.extractor_.transform(X), self.detector_.reference_)
        )
        embedding = torch.from_numpy(self.embedding_.astype(np.float64)).to(device)
        perplexity = min(self.perplexity, PLACEMENT_PERPLEXITY)
        frozen = Map(reference, embedding, self.total_similarity_, perplexity, exact=self._is_exact(len(embedding)))
        return frozen.place(vectors).cpu().numpy().astype(dtype)

    # --------------------------------------------------------------------------------------------- what does not belong

    def predict(self, X):
        """Whether samples belong to the training set, by ``detector_``.

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
        check_is_fitted(self)
        return self.detector_.predict(self._samples(X))

    def score_samples(self, X):
        """How much samples are like the training set, by ``detector_``: the lower, the stranger.

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
        check_is_fitted(self)
        return self.detector_.score_samples(self._samples(X))

    def score(self, X, y=None):
        """Trustworthiness of the places of ``X``: how many of their 5 nearest on the map are near as features.

        Parameters
        ----------
        X : array-like or Source of shape (n, rows, columns) or (n, n_features)
            More than ten samples, of the shape that ``fit`` saw. Memory is quadratic in their number.
        y : None
            Ignored.

        Returns
        -------
        float
            At most 1, which is best.

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError, TypeError
            If ``X`` is not finite, of a wrong shape, or has too few samples.
        MemoryBudgetError
            If the distances between them do not fit into memory.
        """
        check_is_fitted(self)
        X = self._samples(X)
        n = len(X)
        if n <= 2 * N_TRUSTED:
            raise ValueError(f"X must hold more than {2 * N_TRUSTED} samples for a score; got n_samples={n}.")
        check_memory(40.0 * n**2, f"the distances between {n} samples", "Score fewer samples.")
        vectors = self.detector_.extractor_.transform(X)
        return float(trustworthiness(vectors, self.transform(X), n_neighbors=N_TRUSTED, metric=self.metric))

    # ----------------------------------------------------------------------------------------------------------- inside

    def _detector(self, n, random_state=0):
        """Unfitted, for ``n`` samples."""
        return TrainingSetDetector(
            features=self.features,
            n_features=self.n_features,
            n_neighbors=min(N_NEIGHBORS, max(1, (n - 1) * 4 // 5)),  # some are held out
            false_alarm_rate=self.false_alarm_rate,
            image_shape=self.image_shape,
            random_state=random_state,
            device=self.device,
        )

    def _is_exact(self, n):
        if self.method != "auto":
            return self.method == "exact"
        return self.n_components == 3 or n <= EXACT_BELOW

    # ------------------------------------------------------------------------------------------------------ model files

    def _model_state(self):
        state, tensors = super()._model_state()
        return {**state, "detector_": self.detector_._model_state()[0]}, tensors

    def _set_model_state(self, state, tensors, name):
        fitted_shape(state, "image_shape_", name)
        embedding = state.get("embedding_")
        sound = isinstance(embedding, np.ndarray) and embedding.ndim == 2 and embedding.dtype.kind == "f"
        if not sound or embedding.shape[1] not in (1, 2, 3) or not np.isfinite(embedding).all():
            raise FileFormatError(f"{name} must hold embedding_, finite numbers (n, 1 to 3); got {embedding!r:.200}.")
        total = state.get("total_similarity_")
        if not isinstance(total, float) or not 0 < total < math.inf:
            raise FileFormatError(f"{name} must hold total_similarity_, a number above zero; got {total!r:.200}.")
        detector = self._detector(len(embedding))
        if not isinstance(state.get("detector_"), dict):
            raise FileFormatError(f"{name} must hold detector_, a dict; got {state.get('detector_')!r:.200}.")
        detector._set_model_state(state["detector_"], {}, name)
        if getattr(detector, "reference_", np.empty(0)).shape[:1] != embedding.shape[:1]:
            raise FileFormatError(f"{name} must hold as many features as places in embedding_.")
        super()._set_model_state({**state, "detector_": detector}, tensors, name)


def _float_of(dtype):
    return dtype.newbyteorder("=") if dtype.kind == "f" else np.dtype(np.float32)

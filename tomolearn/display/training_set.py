"""New samples against a training set, in one call: map, scores, a figure and a sentence."""

from dataclasses import dataclass

import numpy as np

from tomolearn._validation import check_integer
from tomolearn.display._panels import TEXT, check_matplotlib, images_of
from tomolearn.display.embedding import EmbeddingDisplay
from tomolearn.manifold import TrainingSetDetector, TSNEReducer

__all__ = ["TrainingSetCheck", "check_training_set"]

MOST_ON_MAP = 2000  # samples of each of the two sets that are on the map


@dataclass(frozen=True)
class TrainingSetCheck:
    """What `check_training_set` found; printed, it is the sentence.

    Parameters
    ----------
    sentence : str
        How many of the new samples lie outside the training set.
    scores : ndarray of shape (n_new,)
        ``decision_function`` of each new sample: below zero outside the training set.
    outliers : ndarray of shape (n_new,), bool
        Which lie outside.
    detector : TrainingSetDetector
        Fitted on the training set.
    display : EmbeddingDisplay
        The map of both sets, drawn; ``display.figure_`` is the figure.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.display import TrainingSetCheck
    >>> print(TrainingSetCheck("0 of 2 samples lie outside.", np.ones(2), np.zeros(2, bool), None, None))
    0 of 2 samples lie outside.
    """

    sentence: str
    scores: np.ndarray
    outliers: np.ndarray
    detector: object
    display: object

    def __str__(self):
        return self.sentence


def check_training_set(
    train,
    new,
    *,
    features="pca",
    n_features=50,
    false_alarm_rate=0.05,
    perplexity=30,
    image_shape=None,
    n_thumbnails=40,
    random_state=0,
    device="auto",
    path=None,
):
    """Whether new samples belong to a training set: a map of both, scores, a figure and a plain sentence.

    Parameters
    ----------
    train : array-like or Source of shape (n_train, rows, columns) or (n_train, n_features)
        What a network was trained with: its images or its sinograms.
    new : array-like or Source of shape (n_new, rows, columns) or (n_new, n_features)
        What it is to be asked about.
    features : {"pca", "efficientnet"} or transformer, default="pca"
        What samples are compared by; see `TrainingSetDetector`.
    n_features : int, default=50
        Principal components that are kept of these.
    false_alarm_rate : float, default=0.05
        Share of samples of the kind of the training set that is called outside.
    perplexity : float, default=30
        Of the map; lower where there are fewer than 91 samples.
    image_shape : tuple of two int, default=None
        Rows and columns of an image, for flat images.
    n_thumbnails : int, default=40
        Pictures on the map at most, those outside first.
    random_state : int, default=0
        Of the detector, the map, and the choice of samples where there are more than 2,000 of a set: the map shows so
        many of each. All are scored.
    device : str, default="auto"
        "auto", "cpu", "cuda" or "cuda:N".
    path : path-like, default=None
        File that the figure is written to; its suffix says the kind.

    Returns
    -------
    TrainingSetCheck
        With ``sentence``, ``scores``, ``outliers``, ``detector`` and ``display``.

    Raises
    ------
    ValueError, TypeError
        If a set is not finite, of a wrong shape or too small, or a parameter is out of its range.
    ImportError
        If matplotlib is missing, or weights of EfficientNet that are asked for.
    MemoryBudgetError
        If components of that many values do not fit into memory.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import check_training_set
    >>> rng = np.random.default_rng(0)
    >>> train, new = rng.normal(size=(60, 8, 8)), 4 + rng.normal(size=(5, 8, 8))
    >>> print(check_training_set(train, new))
    5 of 5 samples lie outside the training set (of samples of the same kind about 0 would).
    """
    check_matplotlib()
    random_state = check_integer(random_state, "random_state", low=0, high=2**32 - 1)
    detector = TrainingSetDetector(
        features=features,
        n_features=n_features,
        false_alarm_rate=false_alarm_rate,
        image_shape=image_shape,
        random_state=random_state,
        device=device,
    ).fit(train)
    scores = detector.decision_function(new)
    outliers = scores < 0
    n, n_out = len(scores), int(outliers.sum())
    sentence = (
        f"{n_out} of {n} samples lie outside the training set "
        f"(of samples of the same kind about {round(false_alarm_rate * n)} would)."
    )
    rng = np.random.default_rng(random_state)
    old_shown, new_shown = (_some(count, rng) for count in (len(detector.reference_), n))
    chosen = _take(new, new_shown)
    vectors = np.concatenate([detector.reference_[old_shown], detector.vectors(chosen)])
    display = EmbeddingDisplay(
        _map(vectors, perplexity, random_state, device),
        images=_pictures(_take(train, old_shown), chosen, image_shape),
        values=np.array(["training"] * len(old_shown) + ["new"] * len(new_shown)),
        values_name="samples",
        outliers=np.concatenate([np.zeros(len(old_shown), bool), outliers[new_shown]]),
    ).plot(n_thumbnails=n_thumbnails, random_state=random_state)
    display.ax_.set_title(sentence, fontsize=TEXT)
    if path is not None:
        display.figure_.savefig(path)
    return TrainingSetCheck(sentence, scores, outliers, detector, display)


def _map(vectors, perplexity, random_state, device):
    """Both sets on one map: what lies outside makes islands of its own."""
    reducer = TSNEReducer(
        perplexity=min(perplexity, (len(vectors) - 1) / 3),
        n_features=vectors.shape[1],
        random_state=random_state,
        device=device,
    )
    return reducer.fit_transform(vectors)


def _some(n, rng):
    return np.sort(rng.choice(n, MOST_ON_MAP, replace=False)) if n > MOST_ON_MAP else np.arange(n)


def _take(X, index):
    return np.asarray((X if hasattr(X, "read_block") else np.asarray(X))[index])


def _pictures(old, new, image_shape):
    old, new = images_of(old, image_shape), images_of(new, image_shape)
    return None if old is None else np.concatenate([old, new])

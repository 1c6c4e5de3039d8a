"""Labels of a segmenter, their names and their weights."""

import numbers

import numpy as np

from tomolearn._validation import check_real

__all__ = [
    "balanced",
    "check_class_names",
    "check_class_weight",
    "check_classes",
    "joined_labels",
    "whole_keys",
]

MOST = 256  # labels: their positions are stored as uint8


def check_classes(classes, ignore_label, known=None):
    """The labels that ``partial_fit`` is told of, ascending; ``known``: those that they must be."""
    found = np.asarray(classes)
    if found.ndim != 1 or found.dtype.kind not in "iub":
        raise ValueError(f"classes must be a sequence of whole numbers; got {classes!r:.200}.")
    found = np.unique(found if ignore_label is None else found[found != ignore_label])
    if not 2 <= len(found) <= MOST:
        raise ValueError(f"classes must be 2 to {MOST} labels beside ignore_label; got {found.tolist()!s:.200}.")
    if known is not None and not np.array_equal(found, known):
        raise ValueError(
            f"classes must be the classes_ of the first fit, {known.tolist()}; got {found.tolist()!s:.200}. Fit anew "
            "for other labels."
        )
    return found


def joined_labels(classes):
    """Whether this is what ``classes_`` may be."""
    return (
        isinstance(classes, np.ndarray)
        and classes.ndim == 1
        and classes.dtype.kind in "iub"
        and 2 <= len(classes) <= MOST
        and bool((classes[1:] > classes[:-1]).all())
    )


def check_class_names(names, classes):
    """A name for each of the labels."""
    labels = classes.tolist()
    if names is None:
        return tuple(map(str, labels))
    if isinstance(names, dict):
        given = whole_keys(names)
        unknown = [label for label in given if label not in labels]
        if unknown:
            raise ValueError(f"class_names must name labels of the masks, {labels}; got {unknown!r:.200}.")
        names = [given.get(label, str(label)) for label in labels]
    if isinstance(names, str) or len(names) != len(labels) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"class_names must be {len(labels)} strings, one for each of {labels}; got {names!r:.200}.")
    return tuple(names)


def check_class_weight(weights, classes=None):
    """``weights`` as None, "balanced" or, where ``classes`` are given, a tuple of one number for each of them."""
    if weights is None or (isinstance(weights, str) and weights == "balanced"):
        return weights
    if not isinstance(weights, dict):
        raise ValueError(f"class_weight must be None, 'balanced', or a dict of labels and weights; got {weights!r}.")
    given = {key: check_real(value, f"class_weight[{key!r}]", low=0) for key, value in whole_keys(weights).items()}
    if classes is None:
        return given
    labels = classes.tolist()
    unknown = [label for label in given if label not in labels]
    if unknown:
        raise ValueError(f"class_weight must name labels of the masks, {labels}; got {unknown!r:.200}.")
    found = tuple(given.get(label, 1.0) for label in labels)
    if not any(found):
        raise ValueError(f"class_weight must hold a weight above 0; got {weights!r}.")
    return found


def balanced(counts):
    """Weights inverse to the numbers of pixels, whose mean over pixels is 1; 0 where there are none."""
    counts = np.asarray(counts, np.float64)
    present = counts > 0
    weights = np.divide(counts.sum(), counts * present.sum(), out=np.zeros(len(counts)), where=present)
    return tuple(weights.tolist())


def whole_keys(value):
    """A dict of labels with the keys as int; anything else as it is."""
    if not isinstance(value, dict):
        return value
    if not all(isinstance(key, numbers.Integral | np.bool_) for key in value):
        raise ValueError(f"the keys of class_weight and class_names must be labels; got {list(value)!r:.200}.")
    return {int(key): entry for key, entry in value.items()}

"""``save`` and ``load``: fitted estimators and their pipelines as one file that runs no code when it is opened."""

import math
import warnings
from collections.abc import Callable
from typing import Any

from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from tomolearn import __version__
from tomolearn.base.registration import registry
from tomolearn.exceptions import FileFormatError, InconsistentVersionWarning, TomolearnError
from tomolearn.persistence import read_model, write_model

__all__ = ["ModelFiles", "read_estimator", "write_estimator"]

MAX_PIPELINES = 3  # within each other
MAX_STEPS = 64  # of a pipeline: a file of a few MiB could name a hundred thousand
PIPELINE = ("transform_input", "verbose")  # what is kept of a pipeline beside its steps; a cache belongs to a machine
RESERVED = ("steps", "memory", *PIPELINE)  # no names for steps, as they are parameters
# What a constructor, a check or a network may make of wrong values.
WRONG = (ValueError, TypeError, KeyError, AttributeError, RuntimeError, ArithmeticError, IndexError, MemoryError)


class ModelFiles:
    """Gives an estimator the method `save`, and pickles that name the version; stands before ``BaseEstimator``.

    A subclass whose fitted attributes are more than plain values, arrays and geometries takes them out in
    ``_model_state`` and puts them back in ``_set_model_state``.

    Examples
    --------
    >>> from tomolearn import CNNReconstructor
    >>> from tomolearn.base import ModelFiles
    >>> issubclass(CNNReconstructor, ModelFiles)
    True
    """

    get_params: Callable  # of ``BaseEstimator``
    set_params: Callable
    _data_range_rule: str | None = None  # how the range of values was learned; a fact in the file

    def save(self, path, *, dtype=None):
        """Write the fitted estimator as a model file: tensors and JSON, in the format safetensors.

        Parameters
        ----------
        path : path-like
            An existing file is replaced when the new one is whole.
        dtype : {"float16", "bfloat16"}, default=None
            Of the network's weights in the file; half the size, and rounded. None: as they are.

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError, TypeError
            If a parameter is no plain value or ``dtype`` is unknown.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> import numpy as np
        >>> import tomolearn
        >>> X, y = np.random.default_rng(0).random((2, 8, 12, 12))
        >>> estimator = tomolearn.CNNReconstructor(width=8, max_epochs=1, random_state=0).fit(X, y)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> estimator.save(path)
        >>> bool((tomolearn.load(path).predict(X) == estimator.predict(X)).all())
        True
        """
        write_estimator(self, path, dtype=dtype)

    def __getstate__(self):
        state: Any = super().__getstate__()  # of ``BaseEstimator``: a dict
        return {**state, "_tomolearn_version": __version__}

    def __setstate__(self, state):
        state = dict(state)
        version = state.pop("_tomolearn_version", "of a version that it does not name")
        if version != __version__:
            warnings.warn(
                f"a {type(self).__name__} pickled by tomolearn {version} is read by tomolearn {__version__}: it may "
                "fail or give other results. To keep a model, save it to a file by its method save: later versions "
                "read such files by tomolearn.load.",
                InconsistentVersionWarning,
                stacklevel=2,
            )
        super().__setstate__(state)  # type: ignore[misc]  # of ``BaseEstimator``, which stands behind

    def _model_state(self):
        """Fitted attributes that are plain values, and the tensors of the network by name."""
        return {name: value for name, value in vars(self).items() if _is_fitted_name(name)}, {}

    def _set_model_state(self, state, tensors, name):
        """Undo ``_model_state``; ``name`` is the file's, for messages."""
        if tensors:
            raise FileFormatError(f"{name} holds tensors of a network, which a {type(self).__name__} does not have.")
        vars(self).update(state)


def write_estimator(estimator, path, *, dtype=None):
    """Write a fitted estimator, or a pipeline of such, as a model file: what `tomolearn.save` calls.

    Parameters
    ----------
    estimator : estimator, Pipeline or FrozenEstimator
    path : path-like
    dtype : {"float16", "bfloat16"}, default=None
        As in `ModelFiles.save`.

    Raises
    ------
    NotFittedError
        If ``estimator`` is not fitted.
    TypeError
        If it, or a step, is of no class that `read_estimator` knows.
    ValueError
        If the names of steps, their number, or pipelines within each other are not those that a file may hold.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from tomolearn import FBPReconstructor, MinusLog
    >>> from tomolearn.base import read_estimator, write_estimator
    >>> pipeline = make_pipeline(MinusLog(), FBPReconstructor()).fit(np.ones((1, 8, 12)))
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.tomo"
    >>> write_estimator(pipeline, path)
    >>> read_estimator(path)[1].center_
    5.5
    """
    check_is_fitted(estimator)
    entry, tensors = _packed(estimator, "estimator", 0)
    rules = _rules(estimator)
    facts = {"data_range": rules} if rules else {}
    write_model(path, entry["class"], entry["parameters"], entry["state"], tensors, facts=facts, dtype=dtype)


def _packed(estimator, name, depth):
    """Class, parameters and state, None where unfitted; and the tensors of the networks."""
    if type(estimator) is Pipeline:
        return _packed_pipeline(estimator, name, depth)
    if type(estimator) is FrozenEstimator:
        entry, tensors = _packed(estimator.estimator, name, depth)
        if entry["class"] == "FrozenEstimator":
            raise ValueError(f"{name} must not be a frozen estimator in a frozen estimator.")
        return {"class": "FrozenEstimator", "parameters": {}, "state": {"estimator_": entry}}, tensors
    kind = type(estimator)
    if registry().get(kind.__name__) is not kind or not issubclass(kind, ModelFiles):
        raise TypeError(
            f"{name} must be an estimator of tomolearn, a Pipeline or FrozenEstimator of such, or 'passthrough'; got a "
            f"{kind.__module__}.{kind.__qualname__}, which a model file cannot name. Save the steps of tomolearn alone."
        )
    state, tensors = estimator._model_state() if _is_fitted(estimator) else (None, {})
    return {"class": kind.__name__, "parameters": estimator.get_params(deep=False), "state": state}, tensors


def _packed_pipeline(pipeline, name, depth):
    _check_steps(pipeline.steps, depth, name)
    steps = []
    tensors: dict[str, Any] = {}
    for index, (key, step) in enumerate(pipeline.steps):
        entry, found = (step, {}) if _passes(step) else _packed(step, f"step {key!r}", depth + 1)
        steps.append((key, entry))
        tensors |= {f"{index}/{tensor}": value for tensor, value in found.items()}
    parameters = {key: getattr(pipeline, key) for key in PIPELINE}
    return {"class": "Pipeline", "parameters": parameters, "state": {"steps_": steps}}, tensors


def _check_steps(steps, depth, name):
    """Raise unless these are steps that a file may hold."""
    if depth >= MAX_PIPELINES:
        raise ValueError(f"{name}: pipelines must not be nested more than {MAX_PIPELINES} deep.")
    if not isinstance(steps, list) or not 1 <= len(steps) <= MAX_STEPS:
        got = len(steps) if isinstance(steps, list) else repr(steps)[:200]
        raise ValueError(f"{name} must be a pipeline of 1 to {MAX_STEPS} steps; got {got}.")
    if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in steps):
        raise ValueError(f"{name} must have pairs of name and step; got {steps!r:.200}.")
    names = [key for key, _ in steps]
    for key in names:
        if not isinstance(key, str) or len(key) > 200 or "__" in key or key in RESERVED or names.count(key) > 1:
            raise ValueError(
                f"{name} must have steps of different names, str of up to 200 characters without '__' and other than "
                f"{', '.join(RESERVED)}; got {key!r:.200}."
            )


def _passes(step):
    return step is None or (isinstance(step, str) and step == "passthrough")


def _is_fitted(estimator):
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def _rules(estimator):
    """By which rule the range of values was learned, for each class in ``estimator`` that has one."""
    if isinstance(estimator, Pipeline):
        found: dict[str, str] = {}
        for _, step in estimator.steps:
            found |= _rules(step)
        return found
    estimator = getattr(estimator, "estimator", estimator)
    rule = getattr(estimator, "_data_range_rule", None)
    return {type(estimator).__name__: rule} if rule else {}


# ------------------------------------------------------------------------------------------------------------ reading


def read_estimator(path):
    """The estimator or pipeline in a model file, if its classes have entered the registry: what `tomolearn.load` calls.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    estimator
        Fitted; steps of a pipeline that were not fitted are not.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file is broken, no model file, or holds what no estimator of this version can hold.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from tomolearn import CNNReconstructor
    >>> from tomolearn.base import read_estimator
    >>> X, y = np.random.default_rng(0).random((2, 8, 12, 12))
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> CNNReconstructor(width=8, max_epochs=1, random_state=0).fit(X, y).save(path)
    >>> type(read_estimator(path)).__name__
    'CNNReconstructor'
    """
    model = read_model(path)
    entry = {"class": model.class_name, "parameters": model.parameters, "state": model.state}
    try:
        return _unpacked(entry, model.tensors, str(path), model.version, 0)
    except FileFormatError:
        raise
    except (*WRONG, TomolearnError) as error:
        raise FileFormatError(f"{path} holds a {model.class_name} that cannot be built: {error}") from error


def _unpacked(entry, tensors, name, version, depth):
    """The estimator that `_packed` made this of."""
    sound = isinstance(entry, dict) and set(entry) == {"class", "parameters", "state"}
    if not sound or not isinstance(entry["class"], str) or not isinstance(entry["parameters"], dict):
        raise FileFormatError(f"{name} holds {entry!r:.200}, expected a class, its parameters and its state.")
    kind, state = entry["class"], entry["state"]
    if not isinstance(state, dict | None):
        raise FileFormatError(
            f"{name} holds the state {state!r:.200} of a {kind:.200}, expected a JSON object or none."
        )
    if kind == "Pipeline":
        return _unpacked_pipeline(entry["parameters"], state, tensors, name, version, depth)
    if kind == "FrozenEstimator":
        inner = (state or {}).get("estimator_")
        if entry["parameters"] or set(state or ()) != {"estimator_"} or (inner or {}).get("class") == kind:
            raise FileFormatError(f"{name} holds a FrozenEstimator of {inner!r:.200}, expected one of an estimator.")
        return FrozenEstimator(_unpacked(inner, tensors, name, version, depth))
    return _built(kind, entry["parameters"], state, tensors, name, version)


def _unpacked_pipeline(parameters, state, tensors, name, version, depth):
    entries: Any = (state or {}).get("steps_")
    if set(parameters) != set(PIPELINE) or set(state or ()) != {"steps_"}:
        raise FileFormatError(f"{name} holds a pipeline of {parameters!r:.200}, expected steps and {PIPELINE}.")
    if type(parameters["verbose"]) is not bool or not _is_names(parameters["transform_input"]):
        raise FileFormatError(f"{name} holds a pipeline of {parameters!r:.200}, expected names and a bool.")
    _check_steps(entries, depth, name)
    parts: list[dict] = [{} for _ in entries]
    for key, tensor in tensors.items():
        index, _, inner = key.partition("/")
        if index not in map(str, range(len(entries))) or _passes(entries[int(index)][1]):
            raise FileFormatError(f"{name} holds the tensor {key!r:.200}, which belongs to none of its steps.")
        parts[int(index)][inner] = tensor
    steps = []
    for (key, entry), part in zip(entries, parts, strict=True):
        step = entry if _passes(entry) else _unpacked(entry, part, f"{name}, step {key!r:.80}", version, depth + 1)
        steps.append((key, step))
    for key, step in steps[:-1]:
        if not (_passes(step) or (hasattr(step, "fit") and hasattr(step, "transform"))):
            raise FileFormatError(
                f"{name} holds the step {key!r:.80}, a {type(step).__name__} that transforms nothing."
            )
    _check_shapes(steps, name)
    return Pipeline(steps, **parameters)


def _check_shapes(steps, name):
    """Raise where a step gives sinograms or images of another shape than the next one takes; networks take several."""
    given = None
    for key, step in steps:
        if _passes(step):
            continue
        step = step.estimator if isinstance(step, FrozenEstimator) else step
        taken = None if hasattr(step, "network_") else getattr(step, "sinogram_shape_", None)
        if None not in (given, taken) and given != taken:
            raise FileFormatError(f"{name}: the step {key!r:.80} takes entries of {taken}, but gets those of {given}.")
        if hasattr(step, "network_") or isinstance(step, Pipeline):
            given = None
        else:
            given = getattr(step, "corrected_shape_", getattr(step, "image_shape_", None))


def _is_names(value):
    return value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _built(kind, parameters, state, tensors, name, version):
    """An estimator of the registry."""
    cls = registry().get(kind)
    if cls is None or not issubclass(cls, ModelFiles):
        known = sorted(key for key, entry in registry().items() if issubclass(entry, ModelFiles))
        raise FileFormatError(f"{name} holds a {kind!r:.200}, expected one of {', '.join(known)}.")
    estimator = cls()
    unknown = set(parameters) - set(estimator.get_params(deep=False))
    wrong = sorted(unknown | {key for key in state or () if not _is_fitted_name(key) or hasattr(cls, key)})
    if wrong:
        raise FileFormatError(
            f"{name} holds {', '.join(map(repr, wrong))}, which a {kind} of this version does not have; it was written "
            f"by tomolearn {version}."
        )
    try:
        estimator.set_params(**parameters)
        if state is not None:
            estimator._set_model_state(state, tensors, name)
        elif tensors:
            raise ValueError("it has tensors, but was not fitted.")
    except FileFormatError:
        raise
    except (*WRONG, TomolearnError) as error:
        raise FileFormatError(f"{name} holds a {kind} that cannot be built: {error}") from error
    return estimator


def fitted_shape(state, key, name):
    """The shape that a model file holds in ``state[key]``; raises unless the number of features goes with it.

    Parameters
    ----------
    state : dict
        As for ``_set_model_state``.
    key : str
        Such as ``"sinogram_shape_"``.
    name : str
        Of the file, for messages.

    Returns
    -------
    tuple of two int
    """
    shape, n_features, names = state.get(key), state.get("n_features_in_"), state.get("feature_names_in_")
    if not isinstance(shape, tuple) or len(shape) != 2 or not all(type(n) is int and n > 0 for n in shape):
        raise FileFormatError(f"{name} must hold {key}, two positive integers; got {shape!r:.200}.")
    if type(n_features) is not int or n_features != math.prod(shape):
        raise FileFormatError(
            f"{name} must hold n_features_in_, the {math.prod(shape)} values of {key}={shape}; got {n_features!r:.200}."
        )
    if names is not None and getattr(names, "shape", None) != (n_features,):
        raise FileFormatError(f"{name} must hold feature_names_in_, {n_features} of them; got {names!r:.200}.")
    return shape


def _is_fitted_name(name):
    return name.isidentifier() and name.endswith("_") and not name.startswith("_")

"""``save`` and ``load``: a fitted estimator as one file that runs no code when it is opened."""

from sklearn.utils.validation import check_is_fitted

from tomolearn.base.registration import registry
from tomolearn.exceptions import FileFormatError
from tomolearn.persistence import read_model, write_model

__all__ = ["ModelFiles", "read_estimator"]


class ModelFiles:
    """Gives an estimator the method `save`; stands before ``BaseEstimator``.

    A subclass whose fitted attributes are more than plain values, arrays and geometries takes them out in
    ``_model_state`` and puts them back in ``_set_model_state``.

    Examples
    --------
    >>> from tomolearn import CNNReconstructor
    >>> from tomolearn.base import ModelFiles
    >>> issubclass(CNNReconstructor, ModelFiles)
    True
    """

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
        check_is_fitted(self)
        state, tensors = self._model_state()
        write_model(path, type(self).__name__, self.get_params(deep=False), state, tensors, dtype=dtype)

    def _model_state(self):
        """Fitted attributes that are plain values, and the tensors of the network by name."""
        return {name: value for name, value in vars(self).items() if _is_fitted_name(name)}, {}

    def _set_model_state(self, state, tensors, name):
        """Undo ``_model_state``; ``name`` is the file's, for messages."""
        vars(self).update(state)


def read_estimator(path):
    """The estimator in a model file, if its class has entered the registry: what `tomolearn.load` calls.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    estimator
        Fitted.

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
    cls = registry().get(model.class_name)
    if cls is None or not issubclass(cls, ModelFiles):
        known = sorted(name for name, entry in registry().items() if issubclass(entry, ModelFiles))
        raise FileFormatError(f"{path} holds a {model.class_name!r}, expected one of {', '.join(known)}.")
    estimator = cls()
    unknown = set(model.parameters) - set(estimator.get_params(deep=False))
    wrong = sorted(unknown | {name for name in model.state if not _is_fitted_name(name) or hasattr(cls, name)})
    if wrong:
        raise FileFormatError(
            f"{path} holds {', '.join(map(repr, wrong))}, which a {model.class_name} of this version does not have; it "
            f"was written by tomolearn {model.version}."
        )
    try:
        estimator.set_params(**model.parameters)
        estimator._set_model_state(model.state, model.tensors, str(path))
    except FileFormatError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, OverflowError) as error:  # the last: sizes
        raise FileFormatError(f"{path} holds a {model.class_name} that cannot be built: {error}") from error
    return estimator


def _is_fitted_name(name):
    return name.isidentifier() and name.endswith("_") and not name.startswith("_")

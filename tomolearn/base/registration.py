"""The registry of public estimators: what the contract is tested on, and what a model file may name."""

__all__ = ["register", "registry"]

_REGISTRY: dict[str, type] = {}


def register(estimator):
    """Enter a public estimator into the registry: a class decorator.

    Parameters
    ----------
    estimator : type
        The class; its name is the key.

    Returns
    -------
    type
        ``estimator`` itself.

    Raises
    ------
    ValueError
        If another class has entered under that name.

    Examples
    --------
    >>> from tomolearn.base import registry
    >>> from tomolearn.reconstruction import FBPReconstructor
    >>> registry()["FBPReconstructor"] is FBPReconstructor
    True
    """
    known = _REGISTRY.setdefault(estimator.__name__, estimator)
    # A reloaded module enters anew; the same name from elsewhere would make a model file mean two things.
    if (known.__module__, known.__qualname__) != (estimator.__module__, estimator.__qualname__):
        raise ValueError(
            f"{estimator.__name__} is the name of {known.__module__}.{known.__qualname__}; choose another."
        )
    _REGISTRY[estimator.__name__] = estimator
    return estimator


def registry() -> dict[str, type]:
    """Every public estimator of the rooms imported so far, by class name.

    Returns
    -------
    dict of str to type
        A copy, in the order of entry.

    Examples
    --------
    >>> import tomolearn.reconstruction
    >>> from tomolearn.base import registry
    >>> "SIRTReconstructor" in registry()
    True
    """
    return dict(_REGISTRY)

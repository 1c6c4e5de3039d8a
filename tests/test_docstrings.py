"""Public docstrings: numpydoc whose parameters are those of the signature, with what is raised and an example."""

import ast
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
import types

import pytest
from numpydoc.docscrape import FunctionDoc
from numpydoc.validate import validate

import tomolearn

# Of numpydoc's checks: sections in order, a one-line summary that ends with a period, parameters that are those of the
# signature, each with its type, Returns, Examples.
CODES = {"GL07", "GL08", "SS02", "SS03", "SS06", "PR01", "PR02", "PR03", "PR04", "RT01", "EX01"}
NOT_FOR_METHODS = {"PR01", "RT01", "EX01"}  # one line may do, and the example of the class serves them
NOT_FOR_EXCEPTIONS = {"PR01", "EX01"}


def public_modules():
    names = [module.name for module in pkgutil.walk_packages(tomolearn.__path__, "tomolearn.")]
    return [importlib.import_module(name) for name in names if not re.search(r"\._", name)]


def public_objects(modules):
    """{dotted name: object} of the functions, classes and methods that the modules' __all__ make public."""
    found = {}
    for module in modules:
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            # an alias in a package is checked where it is defined
            if not (inspect.isfunction(thing) or inspect.isclass(thing)) or thing.__module__ != module.__name__:
                continue
            found[f"{module.__name__}.{name}"] = thing
            if inspect.isclass(thing):
                for key, member in vars(thing).items():
                    if not key.startswith("_") and isinstance(member, types.FunctionType | property | classmethod):
                        if not member.__doc__ and inspect.getdoc(getattr(thing, key)):
                            continue  # does what the method of the base class says, and is described there
                        found[f"{module.__name__}.{name}.{key}"] = getattr(thing, key)
    return found


MODULES = public_modules()
OBJECTS = public_objects(MODULES)


def numpydoc_faults(name, thing):
    codes = set(CODES)
    if inspect.isclass(OBJECTS.get(name.rpartition(".")[0])):
        codes -= NOT_FOR_METHODS
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        codes -= NOT_FOR_EXCEPTIONS
    return [f"{name}: {code} {text}" for code, text in validate(name)["errors"] if code in codes]


def raised_names(function):
    """Names of the exceptions in the raise statements of the function's own body."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            target = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(target, ast.Name) and target.id[0].isupper():
                yield target.id


def undocumented_raises(name, function):
    documented = " ".join(entry.type or entry.name for entry in FunctionDoc(function)["Raises"])
    raised = set(raised_names(function)) - {"NotImplementedError"}  # of methods that subclasses define
    missing = {error for error in raised if not re.search(rf"\b{error}\b", documented)}
    return [f"{name}: raises {error}, which the section Raises does not name" for error in sorted(missing)]


def test_every_public_module_says_what_is_public():
    lacking = [
        module.__name__ for module in MODULES if not hasattr(module, "__path__") and not hasattr(module, "__all__")
    ]
    assert lacking == []
    assert len(OBJECTS) > 15


@pytest.mark.parametrize("name", OBJECTS)
def test_docstring(name):
    thing = OBJECTS[name]
    faults = numpydoc_faults(name, thing)
    if inspect.isfunction(thing):
        faults += undocumented_raises(name, thing)
    assert not faults, "\n".join(faults)


FAULTY = '''
__all__ = ["good", "parameter", "example", "error"]

def good(x):
    """Return x.

    Parameters
    ----------
    x : float
        A number.

    Returns
    -------
    float
        The number.

    Raises
    ------
    ValueError
        If x is negative.

    Examples
    --------
    >>> good(1)
    1
    """
    if x < 0:
        raise ValueError("x")
    return x

def parameter(x, y):
    pass

def example(x):
    pass

def error(x):
    if x < 0:
        raise TypeError("x")

parameter.__doc__ = error.__doc__ = good.__doc__
example.__doc__ = good.__doc__.partition("    Examples")[0]
'''


def test_faults_are_found(tmp_path, monkeypatch):
    (tmp_path / "faulty.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(tmp_path)
    objects = public_objects([importlib.import_module("faulty")])
    faults = {name: numpydoc_faults(name, f) + undocumented_raises(name, f) for name, f in objects.items()}
    sys.modules.pop("faulty")
    assert faults["faulty.good"] == []
    assert len(faults["faulty.parameter"]) == 1 and "PR01" in faults["faulty.parameter"][0]
    assert len(faults["faulty.example"]) == 1 and "EX01" in faults["faulty.example"][0]
    assert faults["faulty.error"] == ["faulty.error: raises TypeError, which the section Raises does not name"]

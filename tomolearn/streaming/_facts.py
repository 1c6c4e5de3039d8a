"""What a volume states about the run that made it, and what tells one run from another."""

import os
import platform
from pathlib import Path

import joblib
import numpy as np
import sklearn
import torch

from tomolearn import __version__

__all__ = ["digest", "keep_input", "plain_parameters", "versions", "without_folder"]


def versions():
    """Of everything that computes."""
    return {
        "tomolearn": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "python": platform.python_version(),
    }


def without_folder(name):
    """``scan.h5:exchange/data`` of a source's name."""
    file, colon, inside = str(name).partition(":")
    return Path(file).name + colon + inside


def digest(state):
    """A fingerprint of parameters and of what was learned, whatever devices it is worked on and shown."""
    try:
        return joblib.hash({key: value for key, value in state.items() if key not in ("device", "verbose")})
    except Exception:  # it holds what cannot be pickled, such as a lambda: never the same as that of another run
        return os.urandom(16).hex()


def plain_parameters(estimator, prefix=""):
    """The parameters of an estimator that are plain values, but for its angles, which stand beside them."""
    return {
        f"{prefix}{key}": value
        for key, value in estimator.get_params(deep=False).items()
        if key != "angles" and (value is None or isinstance(value, str | int | float | tuple | list))
    }


def keep_input(source, out, what):
    """The output must not be a file of the input, nor a folder around one: overwriting would lose what was measured."""
    out = Path(out).resolve()
    for part in (source, getattr(source, "flats", None), getattr(source, "darks", None)):
        name = getattr(part, "name", "")
        file = name if os.path.exists(name) else name.partition(":")[0]
        if file and os.path.exists(file) and (out == (file := Path(file).resolve()) or out in file.parents):
            raise ValueError(f"the output {out} would replace the {what} {name}; choose another name.")

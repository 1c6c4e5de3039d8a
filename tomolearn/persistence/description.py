"""What a model file says about itself, without the model."""

import math
import os

import numpy as np
import safetensors

from tomolearn.geometry import ParallelBeam
from tomolearn.persistence._values import Broken
from tomolearn.persistence.model_file import ARRAY, NETWORK, decode_parts, naming_file, read_header

__all__ = ["describe_model"]

SHOWN = 16  # values of an array, list or tuple that are shown; of longer ones, how many there are
DTYPES = {"BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32"}
DTYPES |= {"U64": "uint64", "I64": "int64", "F16": "float16", "F32": "float32", "F64": "float64"}
TRAINING = ("history_", "n_epochs_", "best_epoch_", "n_parameters_", "n_iter_")
SCAN = ("geometry_", "sinogram_shape_", "image_shape_", "center_", "operator_norm_")
NORMALIZATION = ("_mean_", "_scale_", "_low_")  # ends of the names of what is subtracted and divided by


def describe_model(path):
    """What a model file holds, in plain values: no estimator is built, and its network is not read.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict
        Its keys:

        - ``class``: name of the estimator's class; ``"Pipeline"`` for several;
        - ``format_version``, ``n_bytes``: of the file;
        - ``n_weights``: how many numbers the tensors of its networks hold;
        - ``versions``: of the packages that wrote the file, by name; of early files, that of tomolearn alone;
        - ``facts``: what else its writer has noted, such as ``data_range``, the rule for the range of values;
        - ``parameters``: arguments of the constructor;
        - ``normalization``: means and scales that were learned, by attribute;
        - ``geometry``: scan and shapes that were learned, by attribute;
        - ``training``: losses and the like by epoch (``history_``), and counts;
        - ``learned``: all other attributes;
        - ``steps``: of a pipeline, a list of dicts with ``name`` and the keys from ``class`` and ``parameters`` on.

        Arrays and tuples of more than 16 values are told by type and shape.

    Raises
    ------
    FileFormatError
        If the file is broken or no model file.
    FileNotFoundError
        If there is no such file.

    Examples
    --------
    >>> import os, tempfile
    >>> from tomolearn.persistence import describe_model, write_model
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "model.tomo")
    >>> write_model(path, "UNetDenoiser", {"channels": (8, 16)}, {"x_mean_": 0.25}, {})
    >>> found = describe_model(path)
    >>> found["class"], found["parameters"], found["normalization"], sorted(found["versions"])
    ('UNetDenoiser', {'channels': [8, 16]}, {'x_mean_': 0.25}, ['numpy', 'scikit-learn', 'tomolearn', 'torch'])
    >>> folder.cleanup()
    """
    path = os.fspath(path)
    with naming_file(path):
        _, document, header = read_header(path)
        with safetensors.safe_open(path, framework="numpy") as file:  # compares the header with the file's length
            arrays = {
                name.removeprefix(ARRAY): _array(name, entry, file)
                for name, entry in header.items()
                if name.startswith(ARRAY)
            }
        parts = decode_parts(document, arrays)
        facts = dict(parts["facts"])
        versions = facts.pop("versions", {"tomolearn": document["version"]})
        return {
            "class": document["class"],
            "format_version": document["format_version"],
            "n_bytes": os.path.getsize(path),
            "n_weights": sum(math.prod(e["shape"]) for name, e in header.items() if name.startswith(NETWORK)),
            "versions": _plain(versions),
            "facts": _plain(facts),
            **_described(parts["parameters"], parts["state"]),
        }


def _array(name, entry, file):
    """A small array; of a large one, its type and shape, which take no memory."""
    if entry["dtype"] not in DTYPES:
        raise Broken(f"the array {name!r:.200} is of {entry['dtype']!r:.80}, expected numbers.")
    if math.prod(entry["shape"]) <= SHOWN:
        return file.get_tensor(name)
    return np.broadcast_to(np.zeros((), DTYPES[entry["dtype"]]), entry["shape"])


def _described(parameters, state):
    found = {"parameters": _plain(parameters)}
    parts: dict[str, dict] = {"normalization": {}, "geometry": {}, "training": {}, "learned": {}}
    for name, value in state.items():
        if name == "history_":
            parts["training"][name] = value  # of all epochs
        elif name in TRAINING:
            parts["training"][name] = _plain(value)
        elif name in SCAN:
            parts["geometry"][name] = _plain(value)
        elif name.endswith(NORMALIZATION):
            parts["normalization"][name] = _plain(value)
        elif name not in ("steps_", "estimator_"):
            parts["learned"][name] = _plain(value)
    found |= parts
    inside = state.get("steps_", [("estimator", state["estimator_"])] if "estimator_" in state else [])
    if not isinstance(inside, list) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in inside):
        raise Broken(f"its steps are {inside!r:.200}, expected pairs of name and step.")
    return found | {"steps": [_step(*pair) for pair in inside]}


def _step(name, step):
    if not isinstance(step, dict):
        return {"name": _plain(name), "class": _plain(step)}
    if not isinstance(step.get("parameters"), dict) or not isinstance(step.get("state"), dict | None):
        raise Broken(f"its step {name!r:.80} is no class with parameters and state.")
    return {"name": _plain(name), "class": step.get("class"), **_described(step["parameters"], step["state"] or {})}


def _plain(value):
    """``value`` in lists, dicts with str keys, and plain values."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, ParallelBeam):
        angles = value.angles
        return {
            "n_angles": len(angles),
            "angles_from_to": [float(min(angles)), float(max(angles))],
            **{name: _plain(getattr(value, name)) for name in ("n_detectors", "image_shape", "center")},
            **{name: getattr(value, name) for name in ("detector_spacing", "pixel_size")},
        }
    if isinstance(value, np.ndarray):
        return value.tolist() if value.size <= SHOWN else f"{value.dtype} array of shape {value.shape}"
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value] if len(value) <= SHOWN else f"{len(value)} values"
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value

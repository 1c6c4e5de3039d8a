"""Values of Python and NumPy as JSON, exactly.

Plain values stand as they are. What JSON does not have is an object with one key that begins with ``$``: ``$tuple``,
``$float`` (infinities and NaN), ``$scalar`` (of NumPy), ``$array`` (the number of an array that stands elsewhere),
``$text`` (an array of strings), ``$beam`` (a `ParallelBeam`) and ``$dict`` (pairs of key and value, where a key is no
string). Keys of a dict that begin with ``$`` have it doubled.
"""

import math

import numpy as np

from tomolearn.geometry import ParallelBeam

__all__ = ["Broken", "check_names", "decode", "encode"]

MAX_DEPTH = 32  # lists, tuples and dicts within each other
MAX_CENTERS = 2**24  # slices times angles of a geometry: checking it makes an array of that size
MAX_TEXT = 2**26  # bytes of an array of strings, all of which take as much as the longest
BEAM_FIELDS = ("angles", "n_detectors", "image_shape", "center", "detector_spacing", "pixel_size")
NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Broken(Exception):
    """What was found in a file where something else was expected."""


def check_names(values, name):
    """``values`` if it is a dict with str keys."""
    if type(values) is not dict or not all(type(key) is str for key in values):
        raise TypeError(f"{name:.200} must be a dict with str keys; got {values!r:.200}.")
    return values


def encode(value, key, arrays, depth=0):
    """What stands for ``value`` in JSON; arrays go to the end of the list ``arrays``. ``key`` names it in errors."""
    if depth > MAX_DEPTH:
        raise ValueError(f"{key:.200} must not be nested more than {MAX_DEPTH} deep.")
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    if kind in (list, tuple):
        items = [encode(item, f"{key}[{index}]", arrays, depth + 1) for index, item in enumerate(value)]
        return items if kind is list else {"$tuple": items}
    if kind is dict:
        if not all(type(name) is str for name in value):
            return {"$dict": [_encode_pair(pair, key, arrays, depth) for pair in value.items()]}
        return {
            f"${name}" if name.startswith("$") else name: encode(item, f"{key}[{name!r}]", arrays, depth + 1)
            for name, item in value.items()
        }
    if kind is ParallelBeam:
        _check_centers(value.center, value.angles)
        fields = {name: getattr(value, name) for name in BEAM_FIELDS}
        return {"$beam": encode(fields, key, arrays, depth + 1)}
    plain = kind in (np.ndarray, np.memmap)
    if plain and value.dtype.kind == "U":
        items = value.ravel().tolist()
        _check_text(items)
        return {"$text": {"shape": list(value.shape), "items": items}}
    if (plain or isinstance(value, np.generic)) and _is_number(value.dtype):
        array = np.array(value, value.dtype.newbyteorder("="), order="C")  # as tensors have it
        if not plain:
            return {"$scalar": [array.dtype.name, array.astype(array.dtype.newbyteorder("<")).tobytes().hex()]}
        arrays.append(array)
        return {"$array": len(arrays) - 1}
    raise TypeError(
        f"{key} must be None, a bool, number or str, an array of numbers or strings, a ParallelBeam, or a list, tuple "
        f"or dict of these; got {kind.__name__}{f' of dtype {value.dtype}' if isinstance(value, np.ndarray) else ''}."
    )


def _encode_pair(pair, key, arrays, depth):
    name, item = pair
    if not _is_label(name):
        raise TypeError(f"{key:.200} must be a dict whose keys are numbers or str; got the key {name!r:.200}.")
    return [encode(name, key, arrays, depth + 1), encode(item, f"{key}[{name!r:.80}]", arrays, depth + 1)]


def _is_label(value):
    return type(value) in (bool, int, str) or (isinstance(value, np.generic) and value.dtype.kind in "biu")


def _check_centers(center, angles):
    per_slice = isinstance(center, list | tuple) and len(center) > 0 and isinstance(center[0], list | tuple)
    if per_slice and len(center) * len(angles) > MAX_CENTERS:
        raise ValueError(f"a geometry of {len(center)} centres and {len(angles)} angles is too large for a model file")


def _check_text(items):
    if 4 * len(items) * max(map(len, items), default=0) > MAX_TEXT:
        raise ValueError(f"an array of {len(items)} strings, the longest taken for all, is too large for a model file")


def _is_number(dtype):
    return dtype.kind in "biu" or (dtype.kind == "f" and dtype.itemsize <= 8)


def decode(value, key, arrays, depth=0):
    """The value that `encode` made this of; what it takes from ``arrays`` is gone there."""
    if depth > MAX_DEPTH:
        raise Broken(f"{key:.200} is nested more than {MAX_DEPTH} deep.")
    if isinstance(value, list):
        return [decode(item, f"{key}[{index}]", arrays, depth + 1) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    tag = next(iter(value), "")
    if len(value) == 1 and tag in _TAGS:
        try:
            return _TAGS[tag](value[tag], key, arrays, depth)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise Broken(f"{key:.200} is no {tag} ({error!s:.300}).") from error
    if any(name.startswith("$") and not name.startswith("$$") for name in value):
        raise Broken(f"{key:.200} has the keys {list(value)!r:.200}, of which one has an unknown meaning.")
    return {
        name[1:] if name.startswith("$$") else name: decode(item, f"{key}[{name!r}]", arrays, depth + 1)
        for name, item in value.items()
    }


def _decode_tuple(value, key, arrays, depth):
    if not isinstance(value, list):
        raise ValueError("expected a list")
    return tuple(decode(item, f"{key}[{index}]", arrays, depth + 1) for index, item in enumerate(value))


def _decode_dict(value, key, arrays, depth):
    pairs = [[decode(part, key, arrays, depth + 1) for part in pair] for pair in value]
    if not all(len(pair) == 2 and _is_label(pair[0]) for pair in pairs):
        raise ValueError("expected pairs of a number or str and a value")
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found


def _decode_scalar(value, key, arrays, depth):
    name, digits = value
    dtype = np.dtype(name) if isinstance(name, str) and name.isalnum() else np.dtype(object)
    data = bytes.fromhex(digits)
    if not _is_number(dtype) or dtype.name != name or len(data) != dtype.itemsize or (name == "bool" and data > b"\1"):
        raise ValueError("expected the name of a dtype of numbers and its bytes")
    return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype)[0]


def _decode_array(value, key, arrays, depth):
    if type(value) is not int:
        raise ValueError("expected the number of an array")
    return arrays.pop(str(value))


def _decode_text(value, key, arrays, depth):
    items, shape = value["items"], value["shape"]
    sound = len(value) == 2 and isinstance(items, list) and all(type(item) is str for item in items)
    if not sound or not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("expected strings and the shape of their array")
    if math.prod(shape) != len(items):
        raise ValueError(f"{len(items)} strings for the shape {shape!r:.80}")
    _check_text(items)
    return np.array(items, dtype=np.str_).reshape(shape)


def _decode_beam(value, key, arrays, depth):
    fields = decode(value, key, arrays, depth + 1)
    if not isinstance(fields, dict) or set(fields) != set(BEAM_FIELDS) or not isinstance(fields["angles"], tuple):
        raise ValueError(f"expected the fields {', '.join(BEAM_FIELDS)}")
    _check_centers(fields["center"], fields["angles"])
    return ParallelBeam(**fields, angle_unit="rad")


_TAGS = {
    "$tuple": _decode_tuple,
    "$dict": _decode_dict,
    "$float": lambda value, key, arrays, depth: NON_FINITE[value],
    "$scalar": _decode_scalar,
    "$array": _decode_array,
    "$text": _decode_text,
    "$beam": _decode_beam,
}

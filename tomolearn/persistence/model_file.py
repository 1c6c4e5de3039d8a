"""Reading and writing model files.

Everything in the header is checked before a tensor is made, and no tensor is larger than the bytes that the file holds
for it, but for networks stored in half precision, which come back in the precision that they had.

The metadata have one entry, ``tomolearn``: a JSON document with the version of the format, the class, parameters and
state, facts about the model, and at its end a checksum of all that the file holds. What stands in it for values that
JSON does not have, ``tomolearn/persistence/_values.py`` says. Earlier files have neither facts nor a checksum.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.torch
import sklearn
import torch

from tomolearn import __version__
from tomolearn._validation import check_choice
from tomolearn.exceptions import FileFormatError
from tomolearn.persistence._values import Broken, check_names, decode, encode

__all__ = ["ModelFile", "read_model", "write_model"]

KIND, FORMAT_VERSION, ENTRY = "tomolearn model", 1, "tomolearn"
MAX_HEADER = 8 * 2**20  # bytes; JSON takes some ten times its length while it is read
NETWORK, ARRAY = "network/", "array/"
HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16}
WHOLE = {"float32": torch.float32, "float64": torch.float64}
NETWORK_DTYPES = {
    *(*HALF.values(), *WHOLE.values()),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
}
ARRAY_DTYPES = {*NETWORK_DTYPES, torch.uint16, torch.uint32, torch.uint64} - {torch.bfloat16}
DOCUMENT_KEYS = {"format", "format_version", "version", "class", "parameters", "state", "restore"}
CHECKSUM = "sha256"
OPTIONAL_KEYS = {"facts", CHECKSUM}


class ModelFile(NamedTuple):
    """What a model file holds.

    Parameters
    ----------
    class_name : str
        Name of the estimator's class.
    version : str
        Of the tomolearn that wrote the file.
    parameters : dict
        Arguments of the constructor.
    state : dict
        What was learned, but for the network.
    tensors : dict of str to Tensor
        Of the network, on the CPU.
    facts : dict
        What a reader may want to know and no estimator needs: ``versions`` of the packages that wrote the file, and
        what the writer added. Empty for files that say nothing.

    Examples
    --------
    >>> from tomolearn.persistence import ModelFile
    >>> ModelFile._fields
    ('class_name', 'version', 'parameters', 'state', 'tensors', 'facts')
    """

    class_name: str
    version: str
    parameters: dict[str, Any]
    state: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]


# ------------------------------------------------------------------------------------------------------------ writing


def write_model(path, class_name, parameters, state, tensors, *, facts=None, dtype=None):
    """Write a model file, beside the target first: it is replaced when the new one is whole.

    The file holds a checksum, which `read_model` compares.

    Parameters
    ----------
    path : path-like
        An existing file is replaced.
    class_name : str
        Name of the estimator's class.
    parameters, state : dict of str to object
        None, bool, int, float, str, NumPy arrays and scalars of numbers, arrays of strings, `ParallelBeam`; and lists,
        tuples and dicts of these, whose keys are whole numbers or str. They come back equal, with their types.
    tensors : dict of str to Tensor
        Of the network; on any device.
    facts : dict of str to object, default=None
        Values as in ``state`` for those who read about the model; ``versions`` of the packages are added.
    dtype : {"float16", "bfloat16", None}, default=None
        Store floating tensors of the network so, at half the size or less. They come back in the dtype they have now.
        None: as they are. ``state`` is never rounded.

    Raises
    ------
    TypeError
        If there is a value of another type; the message names its key.
    ValueError
        If a tensor is not finite or does not fit ``dtype``, or the values are nested too deeply or take too much room.
    FileNotFoundError
        If the folder of ``path`` does not exist.
    IsADirectoryError
        If ``path`` is a folder.

    Examples
    --------
    >>> import os, tempfile
    >>> import torch
    >>> from tomolearn.persistence import read_model, write_model
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "model.tomo")
    >>> write_model(path, "UNetDenoiser", {"channels": (8, 16)}, {"loss_": 0.25}, {"weight": torch.ones(2)})
    >>> model = read_model(path)
    >>> model.class_name, model.parameters, model.state, model.tensors
    ('UNetDenoiser', {'channels': (8, 16)}, {'loss_': 0.25}, {'weight': tensor([1., 1.])})
    >>> folder.cleanup()
    """
    path = Path(path)
    if not _is_name(class_name):
        raise ValueError(f"class_name must be the name of a class; got {class_name!r}.")
    if dtype is not None:
        check_choice(dtype, "dtype", tuple(HALF))
    stored, restore = {}, {}
    arrays: list[np.ndarray] = []
    memories: set[int] = set()
    for name, tensor in check_names(tensors, "tensors").items():
        stored[NETWORK + name] = _stored_tensor(name, tensor, dtype, memories)
        if stored[NETWORK + name].dtype != tensor.dtype:
            restore[name] = str(tensor.dtype).removeprefix("torch.")
    document = {
        **{"format": KIND, "format_version": FORMAT_VERSION, "version": __version__, "class": class_name},
        "parameters": encode(check_names(parameters, "parameters"), "parameters", arrays),
        "state": encode(check_names(state, "state"), "state", arrays),
        "restore": restore,
        "facts": encode({**check_names(facts or {}, "facts"), "versions": _versions()}, "facts", arrays),
    }
    stored |= {f"{ARRAY}{number}": torch.from_numpy(array) for number, array in enumerate(arrays)}
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    text = f"{text[:-1]}{_sealed(_checksum(text, stored))}"
    size = 2 * len(text) + sum(
        6 * len(name) + 200 for name in stored
    )  # quotes of the document are escaped in the header
    if size > MAX_HEADER:
        raise ValueError(
            f"parameters and state must fit {MAX_HEADER / 2**20:g} MiB as JSON; got {size / 2**20:.1f}. Hold "
            "long lists of numbers as arrays."
        )
    _write(path, stored, {ENTRY: text})


def _versions():
    return {
        "tomolearn": __version__,
        "torch": str(torch.__version__),
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
    }


def _checksum(text, tensors):
    """Of the document as it is without a checksum, and of every tensor."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _sealed(checksum):
    """The end of a document: the checksum is no part of what it is taken of."""
    return f',"{CHECKSUM}":"{checksum}"}}'


def _write(path, stored, metadata):
    folder = path.absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder {folder} of the model file {path} does not exist; make it first.")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; choose another name for the model file.")
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    mask = os.umask(0)  # can only be read by setting it
    os.umask(mask)
    try:
        safetensors.torch.save_file(stored, draft, metadata)
        os.chmod(draft, 0o666 & ~mask)  # safetensors makes files that only their owner reads
        # On the disk before the name points to it: a power cut leaves the old file or the new one.
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _is_name(value):
    return isinstance(value, str) and len(value) <= 200 and re.fullmatch(r"[A-Za-z_]\w*", value, re.ASCII) is not None


def _stored_tensor(name, tensor, dtype, memories):
    """On the CPU, in memory that is its own, in the dtype of the file; not copied where it need not be."""
    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.dtype not in NETWORK_DTYPES:
        kind = getattr(tensor, "dtype", type(tensor).__name__)
        raise TypeError(f"tensors[{name!r}] must be a dense tensor of real numbers; got {kind}.")
    if not _is_finite(tensor):
        raise ValueError(f"tensors[{name!r}] must be finite; it holds NaN or infinity. Did the training diverge?")
    half = HALF.get(dtype) if tensor.dtype in WHOLE.values() else None
    stored = tensor.detach().to("cpu", half or tensor.dtype).contiguous()
    memory = stored.untyped_storage()
    if memory.data_ptr() in memories or memory.nbytes() != stored.numel() * stored.element_size():
        stored = stored.clone()
    memories.add(stored.untyped_storage().data_ptr())
    if half and not _is_finite(stored):
        raise ValueError(
            f"tensors[{name!r}] must fit dtype={dtype!r}; its largest value is {float(tensor.abs().max()):.3g}. "
            "Take dtype='bfloat16' or None."
        )
    return stored


def _is_finite(tensor):
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


# ------------------------------------------------------------------------------------------------------------ reading


def read_model(path):
    """Read a model file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    ModelFile

    Raises
    ------
    FileFormatError
        If the file is broken, truncated, changed since it was written, no model file, or of a version of the format
        that is not known here; the message says what was found.
    FileNotFoundError
        If there is no such file.

    Examples
    --------
    >>> import tempfile
    >>> from tomolearn.persistence import read_model
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     read_model(file.name)
    Traceback (most recent call last):
    tomolearn.exceptions.FileFormatError: /... is no model file of tomolearn: it has 0 bytes, expected a safetensors ...
    """
    path = os.fspath(path)
    with naming_file(path):
        text, document, names = read_header(path)
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: _checked_tensor(name, file.get_tensor(name)) for name in names}
        _compare_checksum(text, document, tensors)
        return _decode_document(document, tensors)


@contextlib.contextmanager
def naming_file(path):
    """Turns what goes wrong inside into a FileFormatError that names the file."""
    try:
        yield
    except Broken as error:
        raise FileFormatError(f"{path} is no model file of tomolearn: {error}") from error
    except RecursionError as error:
        raise FileFormatError(f"{path} is no model file of tomolearn: its JSON is nested too deeply.") from error
    except (safetensors.SafetensorError, ValueError, RuntimeError) as error:
        raise FileFormatError(
            f"{path} is no model file of tomolearn that can be read, or it is broken: {error}"
        ) from error


def read_header(path):
    """The document as text and read, and what the header says of each tensor; it is not too long and says all once."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # before it is opened: a pipe would wait for its writer
        raise Broken("it is no regular file.")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > size - 8:
            raise Broken(f"it has {size} bytes, expected a safetensors header and what it tells of.")
        if length > MAX_HEADER:
            raise Broken(f"its header has {length} bytes, expected {MAX_HEADER} at most.")
        header = _parse(file.read(length), "its header")
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or set(metadata) != {ENTRY} or not isinstance(metadata[ENTRY], str):
        raise Broken(f"its metadata have no entry {ENTRY!r} alone, expected one that says what the model is.")
    return metadata[ENTRY], _check_document(_parse(metadata[ENTRY], "its description")), header


def _parse(text, what):
    """A JSON object without doubled keys, and without the numbers that JSON does not have."""

    def once(pairs):
        found = dict(pairs)
        if len(found) != len(pairs):
            raise Broken(f"{what} holds a key twice.")
        return found

    def refuse(constant):
        raise Broken(f"{what} holds {constant}, expected finite numbers.")

    def real(digits):
        value = float(digits)
        return value if math.isfinite(value) else refuse(f"{digits:.40}")

    try:
        found = json.loads(text, object_pairs_hook=once, parse_constant=refuse, parse_float=real)
    except ValueError as error:
        raise Broken(f"{what} is no JSON ({error}).") from error
    if not isinstance(found, dict):
        raise Broken(f"{what} is a {type(found).__name__}, expected a JSON object.")
    return found


def _check_document(document):
    if document.get("format") != KIND:
        raise Broken(f"its format is {document.get('format')!r:.200}, expected {KIND!r}.")
    version = document.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise Broken(
            f"its format has the version {version!r:.80}, expected {FORMAT_VERSION}; written by tomolearn "
            f"{document.get('version')!r:.80}, read by {__version__}. A newer tomolearn may read it."
        )
    if set(document) - OPTIONAL_KEYS != DOCUMENT_KEYS:
        raise Broken(f"its description has the keys {sorted(document)!r:.500}, expected {sorted(DOCUMENT_KEYS)}.")
    if not _is_name(document["class"]) or type(document["version"]) is not str:
        raise Broken(f"its class is {document['class']!r:.200}, expected the name of a class.")
    return document


def _compare_checksum(text, document, tensors):
    """Raise where the file is another than was written; one without a checksum is taken as it is."""
    if CHECKSUM not in document:
        return
    end = _sealed(document[CHECKSUM])
    if not text.endswith(end) or document[CHECKSUM] != _checksum(f"{text.removesuffix(end)}}}", tensors):
        raise Broken("its checksum is not that of its content: it was damaged or changed after it was written.")


def _decode_document(document, tensors):
    arrays, network = {}, {}
    for name, tensor in tensors.items():
        if name.startswith(NETWORK):
            network[name.removeprefix(NETWORK)] = tensor
        else:
            arrays[name.removeprefix(ARRAY)] = tensor.numpy()
    parts = decode_parts(document, arrays)
    if arrays:
        raise Broken(f"it holds arrays that nothing refers to ({', '.join(sorted(arrays))!r:.200}).")
    tensors = _restore(network, document["restore"])
    return ModelFile(
        document["class"], document["version"], parts["parameters"], parts["state"], tensors, parts["facts"]
    )


def decode_parts(document, arrays):
    """Parameters, state and facts; what they take from ``arrays`` is gone there."""
    parts = {key: decode(document.get(key, {}), key, arrays) for key in ("parameters", "state", "facts")}
    for key, value in parts.items():
        if type(value) is not dict:
            raise Broken(f"its {key} are a {type(value).__name__}, expected a JSON object.")
    return parts


def _checked_tensor(name, tensor):
    """A copy, which outlives the file, of a tensor that may stand in it."""
    if name.startswith(NETWORK):
        sound, wanted = tensor.dtype in NETWORK_DTYPES and _is_finite(tensor), "finite real numbers"
    else:
        sound = name.startswith(ARRAY) and tensor.dtype in ARRAY_DTYPES
        wanted = "the tensor of a network or an array"
    if not sound:
        raise Broken(f"the tensor {name!r:.200} holds {tensor.dtype}, expected {wanted}.")
    # A byte that is neither 0 nor 1 counts as true in one operation and as false in another.
    if tensor.dtype == torch.bool and tensor.numel() and int(tensor.view(torch.uint8).max()) > 1:
        raise Broken(f"the bool tensor {name!r:.200} holds other bytes than 0 and 1.")
    return tensor.clone()


def _restore(network, restore):
    """The network's tensors in the dtype that they had before they were rounded."""
    if not isinstance(restore, dict) or not set(restore) <= set(network):
        raise Broken("its key 'restore' does not name tensors of the network alone.")
    for name, dtype in restore.items():
        if not isinstance(dtype, str) or dtype not in WHOLE or network[name].dtype not in HALF.values():
            raise Broken(f"the tensor {name!r:.200} of {network[name].dtype} is to become {dtype!r:.200}.")
    return {name: tensor.to(WHOLE[restore[name]]) if name in restore else tensor for name, tensor in network.items()}

"""The model file: what goes in comes out, and no file does more than be refused."""

import json
import math
import os
import struct

import numpy as np
import pytest
import safetensors.torch
import torch
from fuzz_models import put_together, taken_apart

from tomolearn.exceptions import FileFormatError
from tomolearn.geometry import ParallelBeam
from tomolearn.persistence import _values, model_file, read_model, write_model

STATE = {
    "none_": None,
    "flags_": [True, False],
    "numbers_": (0, -1, 2**70, 0.1, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan),
    "text_": 'a "quoted" \\ text, 1 µm, \n, \ud800',
    "scalars_": [np.float64(0.1), np.float32(0.1), np.float16(-np.inf), np.int8(-3), np.uint64(2**64 - 1), np.True_],
    "arrays_": {
        "floats": np.array([[0.1, np.nan], [np.inf, -0.0]]),
        "swapped": np.arange(6, dtype=">f4").reshape(2, 3).T,
        "counts": np.arange(4, dtype=np.uint16),
        "mask": np.array([True, False]),
        "empty": np.zeros((0, 3), np.int32),
        "point": np.array(2.5),
        "labels": np.array([["pore", "µ"], ["matrix", ""]]),
    },
    "$tag": {"$tuple": [1], "$$": 2},
    "beam_": ParallelBeam(np.linspace(0.1, 3, 7), 9, (8, 10), center=[[3.9], [4.2]], detector_spacing=0.7),
    "middle_": [ParallelBeam([0.0, 1.0], 5)],
    "empty_": [(), [], {}],
}  # fmt: skip
TENSORS = {
    "convolution.weight": torch.linspace(-3, 3, 24).reshape(2, 3, 4),
    "exact": torch.tensor([1 / 3], dtype=torch.float64),
    "half": torch.tensor([0.1], dtype=torch.bfloat16),
    "steps": torch.tensor(7),
    "mask": torch.tensor([True, False]),
    "none": torch.zeros(0, 4),
}


def same(a, b):
    """Equal in value, type, and sign of zero; NaN equals NaN."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        return all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        assert len(a) == len(b)
        return all(map(same, a, b))
    if isinstance(a, float | np.generic):
        return np.asarray(a).dtype == np.asarray(b).dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()
    if isinstance(a, np.ndarray):
        native = a.astype(a.dtype.newbyteorder("="))
        return native.dtype == b.dtype and a.shape == b.shape and native.tobytes() == b.tobytes()
    return a == b


def write(path, **changes):
    arguments = {"class_name": "UNet", "parameters": {"channels": (8, 16)}, "state": {}, "tensors": {}} | changes
    write_model(path, **arguments)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.tomo"


# ------------------------------------------------------------------------------------------------------- round trips


def test_what_goes_in_comes_out(path):
    write_model(path, "FBPUNetReconstructor", STATE, STATE, TENSORS)
    model = read_model(str(path))
    assert model.class_name == "FBPUNetReconstructor" and model.version == model_file.__version__
    assert same(STATE, model.parameters) and same(STATE, model.state)
    assert list(model.tensors) == sorted(TENSORS, key=list(model.tensors).index) and set(model.tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert model.tensors[name].dtype == tensor.dtype and torch.equal(model.tensors[name], tensor)


def test_dicts_keep_the_types_of_their_keys(path):
    labels = {0: 0.5, -1: {True: "a"}, np.uint8(3): None, "$x": (1,), "0": 2.0}
    found = read_model(write(path, parameters={"class_weight": labels})).parameters["class_weight"]
    assert found == labels and list(map(type, found)) == list(map(type, labels))


def test_same_sees_differences():
    for a, b in [(0.0, -0.0), (np.zeros(2), np.zeros((1, 2))), ({"a": 1}, {"a": 2}), (np.float32(1), np.float32(2))]:
        assert not same(a, b)
    with pytest.raises(AssertionError):
        same(1, True)


def test_floats_keep_all_bits(path):
    bits = np.random.default_rng(0).integers(0, 2**64, 2000, dtype=np.uint64).view(np.float64)
    floats = bits[np.isfinite(bits)].tolist()
    write(path, parameters={"x": floats})
    assert read_model(path).parameters["x"] == floats


def test_what_is_read_can_be_written_to_and_outlives_the_file(path):
    write(path, state={"x": np.zeros(3)}, tensors={"w": torch.ones(3)})
    model = read_model(path)
    write(path, tensors={"w": torch.zeros(3)})
    path.unlink()
    model.state["x"] += 1
    model.tensors["w"] += 1
    assert model.state["x"].tolist() == [1, 1, 1] and model.tensors["w"].tolist() == [2, 2, 2]


def test_tensors_of_one_memory_and_any_stride(path):
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {"a": whole, "b": whole, "t": whole.T, "part": whole[1:, ::2]}
    tensors["last"] = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    tensors["parameter"] = torch.nn.Parameter(torch.ones(2))
    write(path, tensors=tensors)
    found = read_model(path).tensors
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_a_model_has_one_file(tmp_path):
    """Byte for byte: so that the checksum of a model says something."""
    for name in "ab":
        write_model(tmp_path / name, "A", STATE, STATE, TENSORS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize(("dtype", "error"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_half_precision_is_for_the_network_alone(path, dtype, error):
    weights = torch.linspace(0.5, 8, 5000)
    tensors = {"w": weights, "d": weights.double(), "n": torch.tensor(70001), "b": weights[:3].bfloat16()}
    write(path, state={"x": weights.numpy()}, tensors=tensors, dtype=dtype)
    assert path.stat().st_size < 5000 * (4 + 2 + 2) + 2000
    model = read_model(path)
    assert {name: tensor.dtype for name, tensor in model.tensors.items()} == {n: t.dtype for n, t in tensors.items()}
    assert same(model.state["x"], weights.numpy()) and model.tensors["n"] == 70001
    assert torch.equal(model.tensors["b"], tensors["b"])
    ratio = (model.tensors["w"] / weights - 1).abs()
    assert 0 < ratio.max() <= error


# ------------------------------------------------------------------------------------------------------ wrong arguments


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"parameters": {"f": [1, len]}}, TypeError, r"parameters\['f'\]\[1\] must be None.*got builtin_function"),
        ({"state": {"a": {"b": torch.ones(1)}}}, TypeError, r"state\['a'\]\['b'\] must be None.*got Tensor"),
        ({"state": {"a": np.array([None])}}, TypeError, "got ndarray of dtype object"),
        ({"state": {"a": np.zeros(1, complex)}}, TypeError, "got ndarray of dtype complex128"),
        ({"state": {"a": np.longdouble(1)}}, TypeError, "got longdouble"),
        ({"state": {"a": {1, 2}}}, TypeError, "got set"),
        ({"state": {"a": {0.5: 2}}}, TypeError, r"must be a dict whose keys are numbers or str; got the key 0.5"),
        ({"parameters": [1]}, TypeError, r"parameters must be a dict with str keys; got \[1\]"),
        ({"tensors": {"w": np.ones(1)}}, TypeError, r"tensors\['w'\] must be a dense tensor of real.*got float64"),
        ({"tensors": {"w": torch.ones(1, dtype=torch.complex64)}}, TypeError, "got torch.complex64"),
        ({"tensors": {"w": torch.tensor([0.0, math.nan])}}, ValueError, r"tensors\['w'\] must be finite"),
        ({"tensors": {"w": torch.tensor([7e4])}, "dtype": "float16"}, ValueError, "must fit dtype='float16'.*7e.04"),
        ({"dtype": "int8"}, ValueError, "dtype must be one of 'float16', 'bfloat16'; got 'int8'"),
        ({"class_name": "os.system"}, ValueError, "class_name must be the name of a class; got 'os.system'"),
        ({"state": {"a": nested(40)}}, ValueError, "must not be nested more than 32 deep"),
        ({"state": {"a": [1 / 3] * 250_000}}, ValueError, "must fit 8 MiB as JSON.*Hold long lists of numbers"),
        ({"state": {"a": np.array(["x" * 10**5, *"abc" * 100])}}, ValueError, "301 strings.*too large for a model"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_named(path, changes, error, message):
    write(path)
    before = path.read_bytes()
    with pytest.raises(error, match=message):
        write(path, **changes)
    assert os.listdir(path.parent) == [path.name] and path.read_bytes() == before


def test_a_list_that_holds_itself(path):
    endless = []
    endless.append(endless)
    with pytest.raises(ValueError, match="must not be nested more than 32 deep"):
        write(path, state={"a": endless})


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="the folder .*nowhere of the model file .* does not exist; make it"):
        write(tmp_path / "nowhere" / "model")
    with pytest.raises(IsADirectoryError, match="is a folder; choose another name"):
        write(tmp_path)


def test_a_write_that_fails_leaves_the_old_file(path, monkeypatch):
    write(path)
    before = path.read_bytes()

    def fail(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write(path, tensors={"w": torch.ones(100)})
    assert os.listdir(path.parent) == [path.name] and path.read_bytes() == before


def test_a_file_that_is_not_there(path):
    with pytest.raises(FileNotFoundError):
        read_model(path)


# -------------------------------------------------------------------------------------------------------- hostile files


def raw(header, data=b"", length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def described(header=None, data=b"", text=None, **changes):
    """A file whose description differs from a right one by ``changes``; a value of ... leaves the key out."""
    document = {
        **{"format": "tomolearn model", "format_version": 1, "version": "0.1.0", "class": "UNet"},
        **{"parameters": {}, "state": {}, "restore": {}},
    } | changes
    document = {key: value for key, value in document.items() if value is not ...}
    metadata = {"tomolearn": json.dumps(document) if text is None else text}
    return raw({"__metadata__": metadata} | (header or {}), data)


def tensor(dtype, shape, start, stop):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def state(value, **more):
    return described(state={"a": value}, **more)


BEAM = {"angles": {"$tuple": [0.0, 1.0]}, "n_detectors": 4, "image_shape": {"$tuple": [4, 4]}, "center": 1.5}
BEAM |= {"detector_spacing": 1.0, "pixel_size": 1.0}
ONE = {"network/w": tensor("F32", [1], 0, 4)}
NAN = struct.pack("<f", math.nan)


def test_the_hostile_files_are_near_to_right_ones(path):
    path.write_bytes(state({"$array": 0}, header={"array/0": tensor("F32", [1], 0, 4)}, data=bytes(4)))
    assert same(read_model(path).state, {"a": np.zeros(1, np.float32)})
    path.write_bytes(state({"$beam": BEAM}))
    assert read_model(path).state == {"a": ParallelBeam([0.0, 1.0], 4)}
    path.write_bytes(described(header=ONE, data=bytes(4)))
    assert read_model(path).tensors == {"w": torch.zeros(1)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 bytes, expected a safetensors header"),
        (b"PK\3\4", "has 4 bytes, expected a safetensors header"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "has 108 bytes, expected a safetensors header"),
        (raw({}, length=2**63), "has 10 bytes, expected"),
        (raw(b" " * (2**23 + 1)), "header has 8388609 bytes, expected 8388608 at most"),
        (raw(b"\xff{}"), "its header is no JSON"),
        (raw(b"[]"), "its header is a list, expected a JSON object"),
        (raw(b"[" * 100_000), "nested too deeply"),
        (raw(b'{"a": 1, "a": 1}'), "its header holds a key twice"),
        (raw({}), "metadata have no entry 'tomolearn'"),
        (raw({"__metadata__": {"tomolearn": 1}}), "metadata have no entry 'tomolearn'"),
        (safetensors.torch.save({"w": torch.ones(1)}, {"format": "pt"}), "metadata have no entry 'tomolearn'"),
        (described(text="{"), "its description is no JSON"),
        (described(text="3"), "its description is a int"),
        (described(text="[" * 100_000), "nested too deeply"),
        (described(text='{"a": 1, "a": 2}'), "its description holds a key twice"),
        (described(text='{"a": NaN}'), "holds NaN, expected finite numbers"),
        (described(text='{"a": -Infinity}'), "holds -Infinity, expected finite numbers"),
        (described(text='{"a": 1e999}'), "holds 1e999, expected finite numbers"),
        (described(text='{"a": %s}' % ("1" * 5000)), "its description is no JSON"),
        (described(format="tomolearn scan"), "its format is 'tomolearn scan', expected 'tomolearn model'"),
        (described(format_version=2, version="9.0"), "version 2, expected 1; written by tomolearn '9.0'.*newer"),
        (described(format_version=True), "version True, expected 1"),
        (described(restore=...), "its description has the keys"),
        (described(more=1), "its description has the keys"),
        (described(**{"class": "os.system"}), "its class is 'os.system', expected the name of a class"),
        (described(**{"class": ["UNet"]}), "its class is .'UNet'., expected the name of a class"),
        (described(parameters=[]), "its parameters are a list, expected a JSON object"),
        (described(state={"$tuple": []}), "its state are a tuple, expected a JSON object"),
        (described(facts=3), "its facts are a int, expected a JSON object"),
        (described(sha256="00"), "its checksum is not that of its content"),
        (described(sha256=["00"]), "its checksum is not that of its content"),
        (state({"$python": "os.system"}), r"state\['a'\] has the keys \['\$python'\], of which one has an unknown"),
        (state({"$tuple": [], "b": 1}), "of which one has an unknown meaning"),
        (state({"$tuple": 3}), r"state\['a'\] is no \$tuple \(expected a list"),
        (state({"$float": "1.5"}), r"is no \$float"),
        (state({"$float": []}), r"is no \$float"),
        (state({"$dict": [[0, 1], [0, 2]]}), r"is no \$dict \(a key comes twice"),
        (state({"$dict": [[[], 1]]}), r"is no \$dict \(expected pairs"),
        (state({"$dict": [[0]]}), r"is no \$dict \(expected pairs"),
        (state({"$dict": 3}), r"is no \$dict"),
        (state({"$scalar": ["object", "00" * 8]}), r"is no \$scalar"),
        (state({"$scalar": ["V8", "00" * 8]}), r"is no \$scalar"),
        (state({"$scalar": ["float64", "00"]}), r"is no \$scalar"),
        (state({"$scalar": ["bool", "02"]}), r"is no \$scalar"),
        (state({"$scalar": 4}), r"is no \$scalar"),
        (state({"$array": 0}), r"is no \$array"),
        (state({"$array": True}), r"is no \$array"),
        (state([{"$array": 0}] * 2, header={"array/0": tensor("F32", [1], 0, 4)}, data=bytes(4)), r"is no \$array"),
        (state(0, header={"array/0": tensor("F32", [1], 0, 4)}, data=bytes(4)), "arrays that nothing refers to"),
        (state({"$array": 0}, header={"array/0": tensor("BF16", [1], 0, 2)}, data=bytes(2)), "holds torch.bfloat16"),
        (state({"$array": 0}, header={"array/0": tensor("BOOL", [1], 0, 1)}, data=b"\2"), "other bytes than 0 and 1"),
        (state({"$text": {"shape": [2], "items": ["a"]}}), r"1 strings for the shape \[2\]"),
        (state({"$text": {"shape": [1], "items": [1]}}), r"is no \$text"),
        (state({"$text": {"shape": [301], "items": ["x" * 10**5, *"abc" * 100]}}), "too large for a model file"),
        (state({"$beam": BEAM | {"angles": {"$tuple": []}}}), r"is no \$beam \(angles must be a non-empty"),
        (state({"$beam": BEAM | {"more": 1}}), r"is no \$beam \(expected the fields angles"),
        (state({"$beam": BEAM | {"n_detectors": "4"}}), r"is no \$beam \(n_detectors must be an integer"),
        (state({"$beam": BEAM | {"center": [[1.0]] * 10**4, "angles": {"$tuple": [0.0] * 10**4}}}), "10000 centres"),
        (state(nested(40)), "nested more than 32 deep"),
        (described(header=ONE), "incomplete|buffer"),
        (described(header=ONE, data=bytes(8)), "incomplete|buffer"),
        (described(header={"network/w": tensor("F32", [2**40, 2**40], 0, 4)}, data=bytes(4)), "broken"),
        (described(header={"network/w": tensor("F32", [10**9], 0, 4)}, data=bytes(4)), "broken"),
        (described(header={"network/w": tensor("F99", [1], 0, 4)}, data=bytes(4)), "broken"),
        (described(header={"w": tensor("F32", [1], 0, 4)}, data=bytes(4)), "the tensor 'w' holds torch.float32"),
        (described(header=ONE, data=NAN), "the tensor 'network/w' holds torch.float32, expected finite real numbers"),
        (described(header={"network/w": tensor("C64", [1], 0, 8)}, data=bytes(8)), "holds torch.complex64"),
        (described(header={"network/w": tensor("BOOL", [1], 0, 1)}, data=b"\7"), "other bytes than 0 and 1"),
        (described(restore={"w": "float32"}), "does not name tensors of the network alone"),
        (described(restore={"w": "float32"}, header=ONE, data=bytes(4)), "is to become 'float32'"),
        (described(restore={"w": []}, header={"network/w": tensor("F16", [1], 0, 2)}, data=bytes(2)), "is to become"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_model_says_what_it_is(path, content, message):
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=f"{path}.*({message})"):
        read_model(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path, os.devnull):
        with pytest.raises(FileFormatError, match="it is no regular file"):
            read_model(place)


def mutate(content, rng):
    """One to four changes: bytes replaced, cut out, doubled, or the end lost."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at, length = int(rng.integers(0, len(content) + 1)), int(rng.integers(1, 9))
        if rng.random() < 0.3:  # the lengths and the beginning of the header
            at = int(rng.integers(0, 100))
        kind = rng.integers(0, 5)
        if kind == 0:
            content[at : at + length] = rng.bytes(length)
        elif kind == 1:
            del content[at : at + length]
        elif kind == 2:
            content[at:at] = content[at : at + length]
        elif kind == 3:
            content[at : at + 1] = bytes(rng.choice(list(b'0123456789{}[]",:$\\eE-'), 1).astype(np.uint8))
        else:
            del content[len(content) - length * int(rng.integers(0, 20)) :]
    return bytes(content)


def test_a_file_that_was_damaged_is_refused(path):
    """Wherever a bit flips: weights that are a little wrong would show nowhere else."""
    write_model(path, "UNet", {}, STATE, TENSORS | {"w": torch.ones(2000)})
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    right = read_model(path)
    for at in rng.integers(0, len(whole), 300).tolist():
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << int(rng.integers(8)))]) + whole[at + 1 :])
        with pytest.raises(FileFormatError, match=str(path)):
            read_model(path)
    path.write_bytes(put_together(*taken_apart(whole), False))
    old = read_model(path)
    assert same(old.state, right.state) and torch.equal(old.tensors["w"], right.tensors["w"])


def test_a_changed_file_is_refused_or_read(path):
    write_model(path, "UNet", {}, STATE, TENSORS | {"w": torch.ones(2000)})
    whole, rng, outcomes = (
        put_together(*taken_apart(path.read_bytes()), False),
        np.random.default_rng(0),
        {True: 0, False: 0},
    )
    for _ in range(300):
        path.write_bytes(mutate(whole, rng))
        try:
            model = read_model(path)
        except FileFormatError as error:
            assert str(path) in str(error)
            outcomes[False] += 1
        else:
            assert isinstance(model.state, dict) and all(torch.isfinite(t).all() for t in model.tensors.values())
            outcomes[True] += 1
    assert min(outcomes.values()) >= 10, outcomes


def test_every_beginning_of_a_file_is_refused(path):
    write(path, state={"x": np.ones(2)}, tensors={"w": torch.ones(3)})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError):
            read_model(path)


def test_the_limits_are_those_of_writer_and_reader(path, monkeypatch):
    """What is written can be read: both know the same bounds."""
    write(path, state={"a": nested(30), "b": [0.1] * 10**5})
    assert read_model(path).state["a"] == nested(30)
    beam = ParallelBeam(np.linspace(0, 3, 40), 5, center=np.full((50, 1), 2.0))
    monkeypatch.setattr(_values, "MAX_CENTERS", 2000)
    write(path, state={"a": beam})
    assert read_model(path).state["a"] == beam
    monkeypatch.setattr(_values, "MAX_CENTERS", 1999)
    with pytest.raises(ValueError, match="50 centres and 40 angles is too large"):
        write(path, state={"a": beam})


def test_others_may_read_what_the_mask_allows(tmp_path):
    before = os.umask(0o022)
    try:
        write_model(tmp_path / "model", "Model", {}, {}, {"weight": torch.ones(2)})
    finally:
        os.umask(before)
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o644

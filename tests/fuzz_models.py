"""Breaks model files and loads them: ``python tests/fuzz_models.py --cases 1000``.

Files of several classes, those of ``tests/stored`` among them, are damaged byte by byte, or taken apart, changed in one
place, and put together again: shapes, types, classes, names and values that are huge, of another kind, paths, nested
deeply; or a pickle takes their place that would write a file. `tomolearn.load` gets them in a process of its own whose
memory is limited. What may come of it: an estimator that predicts, or a FileFormatError that names the file. Not:
another exception, a crash, a hang, code that runs, or much memory. Everything is drawn from the seed of the case.
"""

import argparse
import copy
import importlib
import io
import json
import pickle
import runpy
import sys
import time
import warnings
import zipfile
from pathlib import Path

import fuzz_files
import joblib
import numpy as np
import safetensors.torch
import torch
from sklearn.pipeline import Pipeline

import tomolearn
from tomolearn.persistence import model_file

FOLDER = Path(__file__).parent
MAKE = runpy.run_path(FOLDER / "stored" / "make.py")
CANARY = "canary"  # in the folder of the file: there if code was run
INTEGERS = (0, -1, 1, 2, 3, 7, 255, 2**16, 2**31 - 1, 2**31, 2**63, 2**64, 10**30, -(2**63))
TEXTS = (
    *("", "a", "os.system", "../../../etc/passwd", "/dev/zero", "\0", "__class__", "__reduce__", "builtins.eval"),
    *("Pipeline", "FrozenEstimator", "BaseEstimator", "TSNEReducer", "FBPReconstructor", "UNetSegmenter", "UNet"),
    *("cuda:7", "nan", "passthrough", "x" * 10**5, "\ud800"),
)


class Stored:
    """A right file, and what its estimator predicts from; a twin as `fuzz_files` takes them."""

    suffix = ".tomo"

    def __init__(self, path):
        self.path = path

    def write(self, path):
        path.write_bytes(self.path.read_bytes())

    def open(self, path):
        with np.load(self.path.with_suffix(".npz")) as known:
            predict(tomolearn.load(path), known["X"])
        return []


class Made:
    """The same of an estimator that is fitted for it."""

    suffix = ".tomo"

    def __init__(self, make):
        self.make, self.X = make, None

    def write(self, path):
        model, self.X = self.make()
        tomolearn.save(model, path)

    def open(self, path):
        predict(tomolearn.load(path), self.X)
        return []


def predict(model, X):
    """By every method that gives numbers; warnings are those of wrong numbers, which a file may hold."""
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        MAKE["output"](model, X)
        model.predict(X) if hasattr(model, "predict") else model.transform(X)


def _classifier():
    images = MAKE["scan"](8)[1]
    training = MAKE["TRAINING"] | {"max_epochs": 1, "early_stopping": False}
    model = tomolearn.AlexNetClassifier(channels=(2, 2, 2, 2, 2), widths=(4, 4, 4), **training)
    return model.fit(images, np.where(images[:, 6, 6] > 0, "middle", "side")), images


def _detector():
    images = MAKE["scan"](24)[1]
    return tomolearn.TrainingSetDetector(n_features=4, n_neighbors=2).fit(images), images


def _corrected():
    X = np.random.default_rng(0).uniform(0.5, 1, (3, 8, 12))
    flat = tomolearn.FlatFieldCorrector().fit(X, flats=np.full((3, 2, 12), 2.0), darks=np.full((3, 1, 12), 0.1))
    steps = [("flat", flat), ("pad", tomolearn.SinogramPadder(width=2)), ("bin", tomolearn.SinogramBinner())]
    steps += [
        ("turn", tomolearn.HalfAcquisitionStitcher(center=3.5)),
        ("sirt", tomolearn.SIRTReconstructor(max_iter=3)),
    ]
    Z = X
    for _, step in steps:
        Z = (step if step is flat else step.fit(Z)).transform(Z)
    return Pipeline(steps), X


TWINS = {path.stem: Stored(path) for path in sorted((FOLDER / "stored").glob("*/*.tomo"))}
TWINS |= {"classifier": Made(_classifier), "detector": Made(_detector), "corrected": Made(_corrected)}


# ------------------------------------------------------------------------------------------------------- mutations


def taken_apart(content):
    """Header, document and data of a model file."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    document = json.loads(header.pop("__metadata__")["tomolearn"])
    return header, document, content[8 + length :]


def put_together(header, document, data, sealed):
    """A model file with a right checksum or with none."""
    document = {key: value for key, value in document.items() if key != model_file.CHECKSUM}
    text = json.dumps(document, separators=(",", ":"))
    if sealed:
        tensors = safetensors.torch.load(_container(header, text, data))
        text = f"{text[:-1]}{model_file._sealed(model_file._checksum(text, tensors))}"
    return _container(header, text, data)


def _container(header, text, data):
    start = json.dumps({"__metadata__": {"tomolearn": text}} | header, separators=(",", ":")).encode()
    return len(start).to_bytes(8, "little") + start + data


def places(value, path=()):
    """Every place in a JSON document, as the keys that lead there."""
    found = [path] if path else []
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        found += places(part, (*path, key))
    return found


def hostile_value(old, document, rng):
    """Something that does not belong where ``old`` is."""
    kind = rng.integers(0, 10)
    if kind == 0 and isinstance(old, int | float) and not isinstance(old, bool):
        return [old + 1, old - 1, -old, old * 2, old * 1e30, old * 0][rng.integers(0, 6)]
    if kind <= 2:
        return INTEGERS[rng.integers(0, len(INTEGERS))]
    if kind == 3:
        return TEXTS[rng.integers(0, len(TEXTS))]
    if kind == 4:
        return [None, True, False, {}, [], 0.5, -1e308, 1e-320, 1e30][rng.integers(0, 9)]
    if kind == 5:
        tagged = [{"$float": "nan"}, {"$float": "inf"}, {"$array": 0}, {"$array": 10**6}, {"$tuple": [10**9, 10**9]}]
        tagged += [{"$tuple": []}, {"$python": "os.system"}, {"$dict": [[0, 1]]}, {"$scalar": ["float64", "00" * 8]}]
        tagged += [{"$text": {"shape": [2], "items": ["a", "b"]}}, {"$text": {"shape": [2**40], "items": []}}]
        return tagged[rng.integers(0, len(tagged))]
    if kind == 6:
        value = 0
        for _ in range(int(rng.choice([3, 40, 800]))):
            value = [value] if rng.random() < 0.5 else {"a": value}
        return value
    if kind == 7:
        return [0] * int(rng.choice([1, 100, 10**5]))
    everything = places(document)
    return copy.deepcopy(at(document, everything[rng.integers(0, len(everything))]))


def at(value, path):
    for key in path:
        value = value[key]
    return value


def change_value(header, document, data, rng):
    """A value of the document: replaced, taken away, or one more."""
    everything = places(document)
    if rng.random() < 0.5:  # short lists of numbers are many; parameters and the like are few
        everything = [path for path in everything if not isinstance(path[-1], int)]
    *path, key = everything[rng.integers(0, len(everything))]
    parent = at(document, path)
    kind = rng.random()
    if kind < 0.12:
        del parent[key]
    elif kind < 0.24:
        value = hostile_value(parent[key], document, rng)
        name = str(rng.choice(["predict", "__class__", "network_", "x_", "_operator", "$float", "steps_", "memory"]))
        parent.append(value) if isinstance(parent, list) else parent.update({name: value})
    else:
        parent[key] = hostile_value(parent[key], document, rng)
    return f"document{[*path, key]}", put_together(header, document, data, rng.random() < 0.5)


def change_class(header, document, data, rng):
    """A class that is not there, or another one."""
    owners = [document] + [at(document, path[:-1]) for path in places(document) if path[-1] == "class" and path[:-1]]
    owner = owners[rng.integers(0, len(owners))]
    names = [*TEXTS, *tomolearn.base.registry(), "TomolearnError", "LearnedReconstructor", "ModelFiles", "Corrector"]
    owner["class"] = names[rng.integers(0, len(names))]
    return f"class {owner['class']!r:.40}", put_together(header, document, data, rng.random() < 0.5)


def change_tensor(header, document, data, rng):
    """The description of a tensor, or its bytes."""
    if not header:
        return change_value(header, document, data, rng)
    name = list(header)[rng.integers(0, len(header))]
    entry, kind = header[name], int(rng.integers(0, 7))
    if kind == 0:
        entry["shape"] = [int(rng.choice([2**20, 2**31, 2**62, 0, 1])) for _ in range(int(rng.integers(0, 5)))]
    elif kind == 1:
        entry["shape"] = entry["shape"][::-1] if len(entry["shape"]) > 1 else [1, *entry["shape"]]
    elif kind == 2:
        entry["dtype"] = str(rng.choice(["F64", "F16", "I32", "BOOL", "U8", "C64", "F8_E4M3", "object"]))
    elif kind == 3:
        entry["data_offsets"] = [int(rng.choice([0, 2**40, -1])), int(rng.choice([4, 2**62, len(data)]))]
    elif kind == 4:
        del header[name]
    elif kind == 5:
        new = str(rng.choice(["../../x", "network/", "array/999", "w", "network/9/w", "\0"]))
        header = {new if key == name else key: value for key, value in header.items()}
    else:
        first, last = entry["data_offsets"]
        numbers = np.full((last - first) // 4 + 1, rng.choice([np.nan, np.inf, 1e38, 0.0]), "<f4").tobytes()
        data = data[:first] + numbers[: last - first] + data[last:]
    return f"tensor {name} ({kind})", _container(header, json.dumps(_unsealed(document)), data)


def _unsealed(document):
    return {key: value for key, value in document.items() if key != model_file.CHECKSUM}


class Trap:
    """Writes a file where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def pickled(content, canary, rng):
    """A pickle under the name of a model file, or in it."""
    trap, kind = Trap(canary), int(rng.integers(0, 6))
    data = pickle.dumps(trap, protocol=int(rng.integers(0, 6)))
    if kind in (1, 2):
        file = io.BytesIO()
        torch.save(trap, file) if kind == 1 else joblib.dump(trap, file)
        data = file.getvalue()
    elif kind == 3:
        file = io.BytesIO()
        np.save(file, np.array([trap], dtype=object), allow_pickle=True)
        data = file.getvalue()
    elif kind == 4:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("model/data.pkl", data)
        data = file.getvalue()
    elif kind == 5:
        return "pickle in the text", put_together(*_with_pickle(content, data, rng), False)
    whole = [data, data + content, content + data][rng.choice(3, p=[0.6, 0.2, 0.2])]
    return f"pickle of kind {kind}", whole


def _with_pickle(content, data, rng):
    header, document, rest = taken_apart(content)
    key = str(rng.choice(["parameters", "state", "facts"]))
    names = list(document[key]) or ["x_"]
    document[key][names[rng.integers(0, len(names))]] = data.decode("latin-1")
    return header, document, rest


def mutate(content, canary, rng):
    """(what was done, broken bytes)."""
    kind = rng.choice(["bytes", "old", "value", "class", "tensor", "pickle"], p=[0.1, 0.2, 0.4, 0.08, 0.12, 0.1])
    if kind == "pickle":
        return pickled(content, canary, rng)
    if kind == "bytes":
        return fuzz_files.mutate(content, rng)
    parts = taken_apart(content)
    if kind == "old":  # a file without a checksum
        return fuzz_files.mutate(put_together(*parts, False), rng)
    change = {"value": change_value, "class": change_class, "tensor": change_tensor}[kind]
    return change(*parts, rng)


def one_case(twin, whole, path, seed):
    """What is wrong with the outcome, or an empty text; the file is written anew."""
    canary = path.with_name(CANARY)
    done, broken = mutate(whole, canary, np.random.default_rng(seed))
    path.write_bytes(broken)
    fault = ""
    try:
        twin.open(path)
    except tomolearn.exceptions.FileFormatError as error:
        if path.name not in str(error):
            fault = f"the message does not name the file: {error}"
    except Exception as error:
        # What a GPU has learned is loaded without one, and says so when it is asked to predict. Weights may be such
        # that what one step of a pipeline predicts is not finite: the next one says so.
        if "Use device='auto'" not in str(error) and "must be finite; got" not in str(error):
            fault = f"{type(error).__name__}: {error}"
    if canary.exists():
        canary.unlink()
        fault += " code was run"
    return fault and f"{done}: {fault}"


# ------------------------------------------------------------------------------------------------------------ runs


def run(cases, first, kinds, seconds=60.0):
    """Yields (kind, number of cases, bytes of memory that they added, faults); one process serves all of them."""
    worker = fuzz_files.Worker("fuzz_models:TWINS", seconds, script=__file__)
    try:
        for index, kind in enumerate(kinds):
            share = len(range(index, cases, len(kinds)))
            faults, grown = fuzz_files.run_kind(worker, kind, first, share)
            yield kind, share, grown, faults
    finally:
        worker.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000, help="in all")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the first case of each kind; each case has the next one"
    )
    parser.add_argument("--kind", default=None, help="only this one")
    parser.add_argument("--table", default="fuzz_models:TWINS", help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        module, _, name = arguments.table.partition(":")
        return fuzz_files.serve(getattr(importlib.import_module(module), name), one_case)
    failed, start = False, time.monotonic()
    for kind, share, grown, faults in run(
        arguments.cases, arguments.seed, [arguments.kind] if arguments.kind else TWINS
    ):
        spent, start = time.monotonic() - start, time.monotonic()
        print(f"{kind:<14}{share:>6} cases{spent:>7.1f} s{grown >> 20:>6} MiB more{len(faults):>5} faults")
        for seed, fault in faults:
            print(f"  {seed}: {fault}\n  again: python tests/fuzz_models.py --kind {kind} --cases 1 --seed {seed}")
        failed |= bool(faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

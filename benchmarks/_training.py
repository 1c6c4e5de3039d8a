"""What the scripts share that train the rows of a table and evaluate them from their weights."""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np
from _timing import machine

import tomolearn
from tomolearn import psnr, ssim
from tomolearn.training import Callback, StopAfter

WEIGHTS = Path(__file__).parent / "weights"


class Report(Callback):
    """Prints a line after each epoch."""

    def on_train_begin(self, engine):
        self._began = time.perf_counter()

    def on_epoch_end(self, engine):
        losses = {name: round(values[-1], 4) for name, values in engine.history.items()}
        seconds = time.perf_counter() - self._began
        print(f"epoch {engine.epoch} of {engine.options.max_epochs}, {seconds:.0f} s in this leg: {losses}", flush=True)


def quality(images, truth):
    """Mean PSNR and SSIM, each with the range of its true image."""
    ranges = [float(np.ptp(image)) for image in truth]
    pairs = list(zip(truth, images, ranges, strict=True))
    return tuple(float(np.mean([f(t, x, data_range=r) for t, x, r in pairs])) for f in (psnr, ssim))


def image_quality(images, truth):
    """What a row that makes images is judged by."""
    value, structure = quality(images, truth)
    return {"psnr": round(value, 3), "ssim": round(structure, 4)}


def parse(description, names, pairs, *, figure=False):
    """Arguments of a script with the commands train, tune and table (with ``figure``: and the file of one)."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("train")
    command.add_argument("name", choices=names)
    command.add_argument("--pairs", type=int, default=pairs)
    command.add_argument("--epochs", type=int, required=True)
    command.add_argument("--minutes", type=float, default=95, help="length of this leg")
    command.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
    command.add_argument("--seed", type=int, default=0)
    commands.add_parser("tune")
    command = commands.add_parser("table")
    if figure:
        command.add_argument("--figure", type=Path)
    return parser.parse_args()


def train_row(row, estimator, train, held, options, *, validate=True, judge=image_quality):
    """One leg of the training of a row on ``train``, (X, y) or (X,); writes its weights when it is done.

    The pairs ``held`` are what the training validates on with ``validate``, and what the result is judged by, if any:
    ``judge(estimator.predict(X), y)``.
    """
    options.checkpoints.mkdir(parents=True, exist_ok=True)
    estimator.set_params(max_epochs=options.epochs, n_iter_no_change=options.epochs, random_state=options.seed)
    estimator.fit(
        *train,
        **({"X_val": held[0], "y_val": held[1]} if validate else {}),
        checkpoint=options.checkpoints / f"{row}.pt",
        callbacks=(Report(), StopAfter(60 * options.minutes)),
    )
    judged = {}
    if held is not None:
        judged = {"validation": judge(estimator.predict(held[0]), held[1])}
        print(f"{row}: {judged} after {estimator.n_epochs_} epochs", flush=True)
    if estimator.n_epochs_ < options.epochs:
        return
    WEIGHTS.mkdir(exist_ok=True)
    path = WEIGHTS / f"{row}.safetensors"
    estimator.save(path, dtype="float16")
    facts = {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *_without_folder(sys.argv[1:])]),
        "pairs": options.pairs,
        "seed": options.seed,
        "epochs": options.epochs,
        "best_epoch": estimator.best_epoch_,
        "minutes": round(sum(estimator.history_["seconds"]) / 60, 1),
        "processor_minutes": round(time.process_time() / 60, 1),  # of the last leg
        "peak_memory_mb": peak_memory(),
        "machine": machine(),
        "parameters": estimator.n_parameters_,
        **judged,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    path.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")


def peak_memory():
    """Most memory that the process has held, in MB, data included; None where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((round(int(line.split()[1]) * 1024 / 1e6) for line in lines if line.startswith("VmHWM")), None)


def _without_folder(arguments):
    """The command without what concerns one machine only."""
    skip = {k for k, word in enumerate(arguments) if word == "--checkpoints"}
    return [word for k, word in enumerate(arguments) if k not in skip and k - 1 not in skip]


def minutes(facts):
    """Minutes of training by the clock, and of the processor, which other work on the machine delays less."""
    of_processor = facts.get("processor_minutes")
    told = f"{facts['minutes']:.0f}" + ("" if of_processor is None else f" ({of_processor:.0f})")
    return told + (", GPU" if "NVIDIA" in facts["machine"] else "")


def trained_rows(prefix):
    """(facts, estimator) of each row whose name begins so, in order of the number of pairs."""
    found = []
    for path in WEIGHTS.glob(f"{prefix}-[0-9]*.safetensors"):
        facts = json.loads(path.with_suffix(".json").read_text())
        if hashlib.sha256(path.read_bytes()).hexdigest() != facts["sha256"]:
            raise SystemExit(f"{path.name} is not the file that {path.stem}.json describes; train it again.")
        found.append((facts, tomolearn.load(path)))
    return sorted(found, key=lambda pair: (pair[0]["pairs"], pair[0]["seed"]))

"""Learned and classical reconstruction on DIVal's data set ``ellipses``: trains, tunes, and prints the table.

    python benchmarks/reconstruction.py train NAME [--pairs 3200] [--minutes 95] [--checkpoints FOLDER]
    python benchmarks/reconstruction.py tune
    python benchmarks/reconstruction.py table

Training reads the first pairs of the train part and the first 100 of the validation part. It may be broken off at any
time, by Ctrl-C too: the same command goes on from its checkpoint. When it is done the estimator is written to
``weights/``. Only ``table`` reads the test part, its first 100 images. PSNR and SSIM have the range of each true image.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from _timing import machine

import tomolearn
from tomolearn import psnr, ssim
from tomolearn.simulation import make_ellipses_benchmark
from tomolearn.training import Callback, StopAfter

WEIGHTS = Path(__file__).parent / "weights"
N_VALIDATION = N_TEST = 100
SEED = 0

# What is trained. Values that are not the estimators' defaults were chosen on the validation part.
MODELS = {
    "primal-dual": ("LearnedPrimalDualReconstructor", {"n_iterations": 8, "batch_size": 4, "augmentation": True}),
}


def scan(data):
    """The parameters that tell an estimator about the scan."""
    return {"angles": data.angles, "detector_spacing": data.detector_spacing, "image_shape": data.images.shape[1:]}


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


def train(name, pairs, epochs, minutes, folder, seed):
    kind, parameters = MODELS[name]
    data = make_ellipses_benchmark("train", pairs)
    held = make_ellipses_benchmark("validation", N_VALIDATION)
    estimator = getattr(tomolearn, kind)(
        **parameters, **scan(data), max_epochs=epochs, n_iter_no_change=epochs, random_state=seed
    )
    row = f"{name}-{pairs}" + (f"-seed{seed}" if seed else "")
    folder.mkdir(parents=True, exist_ok=True)
    estimator.fit(
        data.sinograms,
        data.images,
        X_val=held.sinograms,
        y_val=held.images,
        checkpoint=folder / f"{row}.pt",
        callbacks=(Report(), StopAfter(60 * minutes)),
    )
    value, structure = quality(estimator.predict(held.sinograms), held.images)
    print(f"{row}: validation PSNR {value:.2f} dB, SSIM {structure:.3f} after {estimator.n_epochs_} epochs", flush=True)
    if estimator.n_epochs_ < epochs:
        return
    WEIGHTS.mkdir(exist_ok=True)
    estimator.save(WEIGHTS / f"{row}.safetensors", dtype="float16")
    facts = {
        "command": " ".join(["python", "benchmarks/reconstruction.py", *sys.argv[1:]]),
        "pairs": pairs,
        "seed": seed,
        "epochs": epochs,
        "minutes": round(sum(estimator.history_["seconds"]) / 60, 1),
        "machine": machine(),
        "parameters": estimator.n_parameters_,
        "validation": {"psnr": round(value, 3), "ssim": round(structure, 4)},
    }
    (WEIGHTS / f"{row}.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("train")
    command.add_argument("name", choices=MODELS)
    command.add_argument("--pairs", type=int, default=3200)
    command.add_argument("--epochs", type=int, required=True)
    command.add_argument("--minutes", type=float, default=95, help="length of this leg")
    command.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
    command.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    if options.command == "train":
        train(options.name, options.pairs, options.epochs, options.minutes, options.checkpoints, options.seed)

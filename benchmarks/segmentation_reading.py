"""Training throughput of a segmenter: patches streamed from a BigTIFF against patches of arrays in memory.

    python benchmarks/segmentation_reading.py [--size 8192] [--patch 256] [--batch 4] [--steps 12] [--base 16]
                                              [--repeats 3] [--cold] [--folder DIR]

Image (uint16, one page, uncompressed) and mask (uint8) are made with seed 0: noise, of which a class of 2 % is drawn
more often. The same U-Net of three levels takes the same patches in the same order, in turn from the files and from
memory; the time is that of `Engine.train` for the steps. Reading alone is timed as well. With --cold the system is
asked to drop the files from its cache before each leg. Aim: 0.9 of the throughput from memory.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
import torch
from _timing import machine, median_seconds, print_table

from tomolearn.io.labelled import open_labelled
from tomolearn.networks.segmentation_unet import SegmentationUNet
from tomolearn.training import Callback, Engine, SupervisedTask, TrainingOptions
from tomolearn.training.patches import IGNORE, PatchSamples

BAND = 512  # rows that are made at a time


def write(folder, size):
    """Paths of an image and of its mask."""
    paths = folder / "image.tif", folder / "mask.tif"
    files = [
        tifffile.memmap(path, shape=(size, size), dtype=dtype, bigtiff=True)
        for path, dtype in zip(paths, (np.uint16, np.uint8), strict=True)
    ]
    rng = np.random.default_rng(0)
    for top in range(0, size, BAND):
        band = rng.integers(0, 60_000, files[0][top : top + BAND].shape, dtype=np.uint16)
        files[0][top : top + BAND], files[1][top : top + BAND] = band, band > 58_800
    for file in files:
        file.flush()
    return paths


def drop(paths):
    """Have the system forget what it holds of the files."""
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class StopAfterSteps(Callback):
    """Ends a training within its epoch."""

    def __init__(self, n_steps):
        self._n_steps = n_steps

    def on_step_end(self, engine):
        engine.stop = engine.n_done >= self._n_steps


def train(samples, arguments):
    torch.manual_seed(0)
    network = SegmentationUNet(n_outputs=2, n_levels=3, base_channels=arguments.base)
    task = SupervisedTask(network, loss=torch.nn.CrossEntropyLoss(ignore_index=IGNORE))
    Engine(task, TrainingOptions(batch_size=arguments.batch), [StopAfterSteps(arguments.steps)]).train(samples)


def read(samples, arguments):
    for k, _ in enumerate(samples.shuffled(arguments.batch, np.random.default_rng((0, 0)))):
        if k + 1 == arguments.steps:
            return


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--patch", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--base", type=int, default=16, help="channels of the finest level")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="read from the disk, not from the system's cache")
    parser.add_argument("--folder", type=Path, default=None, help="for the files; default: a temporary one")
    arguments = parser.parse_args()
    options = {"patch_shape": (arguments.patch,) * 2, "oversample_rare": 0.25}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        paths = write(Path(folder), arguments.size)
        labelled = open_labelled(*paths)
        began = time.perf_counter()
        streamed = PatchSamples(labelled, **options)
        indexed = time.perf_counter() - began
        mean, scale = streamed.statistics()
        measured = time.perf_counter() - began - indexed
        streamed = streamed.normalised(mean, scale)
        held = PatchSamples(labelled.in_memory(), mean=mean, scale=scale, **options)

        def timed(work, samples):
            if samples is streamed and arguments.cold:
                drop(paths)
            work(samples, arguments)

        calls = {
            f"{name}, {place}": lambda work=work, samples=samples: timed(work, samples)
            for name, work in (("training", train), ("reading", read))
            for place, samples in (("memory", held), ("BigTIFF", streamed))
        }
        seconds = median_seconds(calls, arguments.repeats)
    n = arguments.batch * arguments.steps
    rates = {name: n / value for name, value in seconds.items()}
    rows = [
        [
            name,
            f"{rates[f'{name}, memory']:.1f}",
            f"{rates[f'{name}, BigTIFF']:.1f}",
            f"{rates[f'{name}, BigTIFF'] / rates[f'{name}, memory']:.2f}",
        ]
        for name in ("training", "reading")
    ]
    print(machine())
    title = (
        f"Patches a second: {arguments.patch}^2 of a {arguments.size}^2 uint16 BigTIFF, batches of {arguments.batch}, "
        f"U-Net of 3 levels from {arguments.base} channels{', cold' if arguments.cold else ''}; median of "
        f"{arguments.repeats} x {arguments.steps} steps"
    )
    print_table(title, ["", "in memory", "streamed", "share"], rows)
    print(f"\nbefore: {indexed:.1f} s to index the mask, {measured:.1f} s for mean and standard deviation")


if __name__ == "__main__":
    main()

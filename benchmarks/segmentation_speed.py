"""Segmentation of an image larger than memory: seconds, memory, and throughput against the bare network and MONAI.

    python benchmarks/segmentation_speed.py [--size 20000] [--part 4096] [--tile 512] [--precision float32]
        [--memory 900MB] [--threads N] [--repeats 3] [--folder DIR]

A 16-bit BigTIFF of --size x --size pixels, sparse on disk but for a stripe of noise, is segmented from file to file
into 8-bit labels by a UNetSegmenter of 3 levels and 16 base channels (4 classes, hardly trained, seed 0), in a process
of its own that reports its peak resident memory, torch included. The bare network, on the same tiles, ready in memory,
nothing done with its scores, is timed within the run, right after every fourth tile, and its time is taken off that of
the run: "of bare" is the throughput of the run against that of the bare network on all tiles.

With --part, the same network, tiles and overlap go through MONAI's sliding_window_inference on an image of that size in
memory, in turn with ``predict`` of the segmenter: from 16 bit to labels both. MONAI averages where windows overlap, up
to their edges, so that a few labels differ. ``predict`` keeps freed memory for the next layer, MONAI as torch does.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
import torch
from _timing import machine, median_seconds, print_table
from _training import peak_memory

from tomolearn import UNetSegmenter, load
from tomolearn.io import open_volume

N_CLASSES, LEVELS, CHANNELS = 4, 3, 16
EVERY = 4  # tiles of which one is timed


class Timed(UNetSegmenter):
    """A segmenter that times its bare network on every fourth tile, right after predicting it."""

    bare = None  # per timed tile: seconds of the network, pixels, seconds that the run lost by it

    def _predict_windows(self, x):
        labels = super()._predict_windows(x)
        if self.bare is not None:
            self.seen.append(x.numel())
            if len(self.seen) % EVERY == 1:
                began = time.perf_counter()
                x = self.normalised(x)
                ready = time.perf_counter()
                self.scores(x)
                ended = time.perf_counter()
                self.bare.append((ended - ready, x.numel(), ended - began))
        return labels

    def normalised(self, x):
        x = (x.float() - self.x_mean_) / self.x_scale_
        return x.contiguous(memory_format=torch.channels_last)

    def scores(self, x):
        """What the network itself gives."""
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16"):
            return self._network_on(torch.device("cpu"))(x)


def trained(options):
    """As after a training, but for the weights, which hardly leave where they began."""
    rng = np.random.default_rng(0)
    masks = rng.integers(0, N_CLASSES, (1, 64, 64), dtype=np.uint8)
    tile, precision = (options.tile, options.tile), options.precision
    segmenter = UNetSegmenter(
        n_levels=LEVELS, base_channels=CHANNELS, patch_shape=(32, 32), tile_shape=tile, precision=precision,
        max_epochs=1, early_stopping=False, device="cpu", random_state=0, verbose=0,
    )  # fmt: skip
    return segmenter.fit(rng.integers(0, 9000, masks.shape, dtype=np.uint16) + np.uint16(10000) * masks, masks)


def write_image(path, size):
    """One contiguous page; a stripe of noise stands in the middle, the rest takes no room on disk."""
    stripe = np.random.default_rng(0).integers(0, 40000, (min(size, 512), size), dtype=np.uint16)
    tifffile.imwrite(path, shape=(size, size), dtype=np.uint16, bigtiff=True, photometric="minisblack")
    image = tifffile.memmap(path, mode="r+")
    image[(size - len(stripe)) // 2 :][: len(stripe)] = stripe
    image.flush()


def run(path, out, options):
    """In a process of its own: everything that is measured of one prediction, as JSON."""
    segmenter = load(options.model)
    segmenter.__class__ = Timed
    segmenter._predict_windows(torch.zeros(1, 1, 64, 64))  # warm
    segmenter.bare, segmenter.seen = [], []
    began = time.perf_counter()
    segmenter.predict_volume(path, out, memory=options.memory)
    seconds, peak = time.perf_counter() - began, peak_memory()
    timed, pixels, lost = (sum(part) for part in zip(*segmenter.bare, strict=True))
    middle = options.size // 2, options.size // 2 + 1
    with open_volume(out) as labels:
        n_labels = len(np.unique(labels.read_region(0, 1, middle, (0, options.size))))
    bare = timed * sum(segmenter.seen) / pixels
    print(json.dumps({"seconds": seconds - lost, "peak": peak, "bare": bare, "labels": n_labels}))


def against_monai(options):
    """Median seconds of the same work on an image in memory, in turn."""
    from monai.inferers import sliding_window_inference

    size, tile = options.part, options.tile
    image = np.random.default_rng(0).integers(0, 40000, (1, size, size), dtype=np.uint16)
    segmenter = trained(options)
    segmenter.__class__ = Timed
    network = segmenter.network_
    halo = -(-network.receptive_radius // network.size_multiple) * network.size_multiple
    roi = tile + 2 * halo  # what is read around a tile, so that the middle of a window is free of its edges

    def ours():
        return segmenter.predict(image)[0]

    def scores(part):
        return segmenter.scores(part.contiguous(memory_format=torch.channels_last)).float()

    def monai():
        x = segmenter.normalised(torch.from_numpy(image)[None])
        found = sliding_window_inference(x, (roi, roi), 1, scores, overlap=2 * halo / roi)
        return found.argmax(1)[0].to(torch.uint8).numpy()

    same = float(np.mean(ours() == monai()))
    return median_seconds({"tomolearn": ours, "MONAI": monai}, options.repeats), same, roi


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=20000)
    parser.add_argument("--part", type=int, default=4096, help="0: without MONAI")
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--memory", default="900MB")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", default=None)
    parser.add_argument("--out", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--model", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.out:  # the process that is measured
        run(Path(options.folder) / "image.tif", Path(options.out), options)
        return
    print(machine())
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write_image(Path(folder) / "image.tif", options.size)
        model, labels = Path(folder) / "model.safetensors", Path(folder) / "labels.tif"
        trained(options).save(model)
        command = [
            sys.executable,
            __file__,
            *sys.argv[1:],
            "--folder",
            folder,
            "--out",
            str(labels),
            "--model",
            str(model),
        ]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(printed.splitlines()[-1])
        disk = sum(path.stat().st_blocks * 512 for path in Path(folder).iterdir())
    title = f"{options.size} x {options.size} pixels, 16 bit, to labels; tiles of {options.tile}, {options.precision}"
    print_table(
        title,
        ["seconds", "megapixels/s", "bare network", "of bare", "peak memory", "labels seen", "on disk"],
        [[
            f"{found['seconds']:.1f}", f"{options.size**2 / found['seconds'] / 1e6:.2f}",
            f"{found['bare']:.1f} s", f"{found['bare'] / found['seconds']:.3f}",
            f"{found['peak']} MB", found["labels"], f"{disk / 1e6:.0f} MB",
        ]],
    )  # fmt: skip
    if options.part:
        seconds, same, roi = against_monai(options)
        print_table(
            f"{options.part} x {options.part} pixels in memory, windows of {roi}; median of {options.repeats}",
            ["tomolearn", "MONAI", "speed", "pixels with the same label"],
            [[*(f"{seconds[name]:.2f} s" for name in ("tomolearn", "MONAI")),
              f"{seconds['MONAI'] / seconds['tomolearn']:.2f} x", f"{same:.5f}"]],
        )  # fmt: skip


if __name__ == "__main__":
    main()

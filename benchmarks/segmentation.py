"""Segmentation by U-Nets: the task of superres-tomo, and a measured slice with one labelled one to learn from.

    python benchmarks/segmentation.py train NAME --epochs N [--minutes 95] [--checkpoints FOLDER]
    python benchmarks/segmentation.py table [--figure FILE]

"shapes": one image of 1,280 x 1,280 pixels with shapes under normal noise of 0.3, to be told from the background, by
superres-tomo's network of 3 levels, its patches of 64 pixels and its weighted cross entropy; another image validates,
a third one is the test. "slice": the slice of xlearn with its labels; a band of its rows validates; the slice that was
segmented by hand is the test. "scribbles": a tenth of the labelled pixels of that slice, in short strokes; nothing else
is known of it. Only `table` reads the test images. Figures are Dice coefficients.
"""

import os
from pathlib import Path

import numpy as np
import tifffile
from _timing import machine, print_table
from _training import minutes, parse, train_row, trained_rows
from scipy import ndimage

from tomolearn import UNetSegmenter
from tomolearn.metrics import dice
from tomolearn.simulation import scattered_shapes

SIZE, NOISE = 1280, 0.3
LEVELS = np.array([8220, 20184, 39211, 51833])  # the grey values that stand for the labels
SHARE, STROKE = 0.1, 9  # of the pixels that are labelled, and length of a stroke
UNLABELLED = -1
SLICE = {
    "n_levels": 4,
    "base_channels": 32,
    "patch_shape": (128, 128),
    "batch_size": 8,
    "oversample_rare": 0.5,
    "optimizer": "muon",
    "learning_rate": 1e-2,
    "schedule": "cosine",
    "ema_decay": 0.99,
    "validation_fraction": 0.15,
}
RECIPES = {
    "shapes": {"patch_shape": (64, 64), "loss": "weighted"},
    "slice": SLICE,
    "scribbles": SLICE | {"ignore_label": UNLABELLED},
}


def shapes(seed):
    """An image of shapes under noise, and where they are."""
    images, labels = scattered_shapes(1, SIZE, random_state=seed)
    noise = np.random.default_rng(seed).normal(0, NOISE, images.shape)
    return images + noise.astype(np.float32), (labels > 0).astype(np.uint8)


def measured(part, mask):
    """A slice of xlearn and its labels 0 to 3; the files are not part of the repository."""
    folder = os.environ.get("TOMOLEARN_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")
    read = [tifffile.imread(Path(folder) / "xlearn_seg" / f"seg_data_{name}.tif") for name in (part, mask)]
    image, grey = (stack.astype(np.float32)[None] for stack in read)
    return image, np.abs(grey[..., None] - LEVELS).argmin(-1).astype(np.int8)


def scribbles(labels):
    """The same labels on strokes of one pixel's width through a tenth of the pixels, and nowhere else."""
    rng, known = np.random.default_rng(0), np.zeros(labels.shape[1:], bool)
    line = np.zeros((STROKE, STROKE), bool)
    line[STROKE // 2] = True
    turned = [line, line.T, np.eye(STROKE, dtype=bool), np.eye(STROKE, dtype=bool)[::-1]]
    share = SHARE / (len(turned) * STROKE)
    while known.mean() < SHARE:
        seeds = rng.random(known.shape) < share / 8
        for stroke in turned:
            known |= ndimage.binary_dilation(seeds & (rng.random(known.shape) < 0.25), stroke)
    return np.where(known, labels, UNLABELLED).astype(np.int8)


def published():
    """What the network of xlearn made of the test slice."""
    folder = os.environ.get("TOMOLEARN_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")
    grey = tifffile.imread(Path(folder) / "xlearn_seg" / "seg_data_prd.tiff").astype(float)
    grey = LEVELS[0] + grey * (LEVELS[-1] - LEVELS[0])  # it stands from 0, the darkest level, to 1
    return np.abs(grey[..., None] - LEVELS).argmin(-1).reshape(1, *grey.shape[-2:])


def judge(labels, truth):
    return {"dice": [round(float(value), 4) for value in dice(truth, labels, average=None, labels=np.unique(truth))]}


def train(options):
    """One leg of the training of a row."""
    model = UNetSegmenter(**RECIPES[options.name])
    if options.name == "shapes":
        train_row("segment-shapes-1", model, shapes(1), shapes(2), options, judge=judge)
        return
    X, y = measured("train_input", "train_output")
    y = scribbles(y) if options.name == "scribbles" else y
    train_row(f"segment-{options.name}-1", model, (X, y), None, options, validate=False)


def table(figure=None):
    """Every row on its test image."""
    tests = {"shapes": shapes(3), "slice": measured("test_input", "test_handseg")}
    shown = {}
    for name, (X, y) in tests.items():
        found = {"network, as published": (published(), "-")} if name == "slice" else {}
        for row in RECIPES:
            if (row == "shapes") == (name == "shapes"):
                for facts, model in trained_rows(f"segment-{row}"):
                    found[f"U-Net, {row}, {facts['epochs']} epochs"] = model.predict(X), minutes(facts)
        rows = []
        for label, (labels, told) in found.items():
            values = judge(labels, y)["dice"]
            rows.append([label, told, f"{np.mean(values):.3f}", *(f"{value:.3f}" for value in values)])
        n_classes = len(np.unique(y))
        print_table(
            f"{name}, test image", ["labels", "minutes (of processor)", "mean", *map(str, range(n_classes))], rows
        )
        shown[name] = {"image": X[0], "truth": y[0]} | {label: labels[0] for label, (labels, _) in found.items()}
    if figure:
        draw(shown, figure)


def draw(shown, path):
    """Image and labels, a row for each task."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    width = max(map(len, shown.values()))
    size = (3.2 * width, 3.5 * len(shown))
    figure, axes = plt.subplots(len(shown), width, figsize=size, layout="constrained", squeeze=False)
    for row, panels in zip(axes, shown.values(), strict=True):
        for axis in row:
            axis.set_axis_off()
        for axis, (name, panel) in zip(row, panels.items(), strict=False):
            low, high = np.percentile(panel, (0.5, 99.5)) if name == "image" else (0, max(1, panel.max()))
            axis.imshow(panel, cmap="gray" if name == "image" else "viridis", vmin=low, vmax=high)
            axis.set_title(name, fontsize=8)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    options = parse(__doc__, tuple(RECIPES), 1, figure=True)
    if options.command == "train":
        train(options)
    else:
        print(machine())
        table(options.figure)

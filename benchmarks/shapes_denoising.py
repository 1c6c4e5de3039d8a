"""Denoising of superres-tomo's scattered shapes: VAE, TomoGAN and a median filter.

    python benchmarks/shapes_denoising.py train NAME --epochs N [--pairs 200] [--minutes 95] [--checkpoints FOLDER]
    python benchmarks/shapes_denoising.py tune
    python benchmarks/shapes_denoising.py table [--figure FILE]

Images of 64 x 64 pixels with 24 shapes, values of 0.2 to 1 on 0, and normal noise of standard deviation 0.5. Training,
validation and test images have the seeds 1, 2 and 3; `tune` chooses the size of the median on the validation images.
superres-tomo trains on 200 images: "vae", "tomogan"; "vae-self" learns from the same noisy images without clean ones.
PSNR and SSIM have the range of each true image.
"""

import numpy as np
from _timing import machine, print_table
from _training import minutes, parse, quality, train_row, trained_rows
from scipy.ndimage import median_filter

import tomolearn
from tomolearn.simulation import scattered_shapes

NOISE, N_TEST = 0.5, 200
MODELS = {
    "vae": ("VAEDenoiser", {"batch_size": 32, "flips": True}),
    "vae-self": ("VAEDenoiser", {"batch_size": 32, "flips": True}),
    "tomogan": ("TomoGANDenoiser", {"batch_size": 8, "optimizer": "muon", "learning_rate": 0.01, "pixel_epochs": 24}),
}
MEDIAN = 7  # what `tune` found best on the validation images, by PSNR


def pairs(n, seed):
    """Noisy and clean images."""
    clean, _ = scattered_shapes(n, random_state=seed)
    return clean + np.random.default_rng(seed).normal(0, NOISE, clean.shape).astype(np.float32), clean


def median(images, size):
    return median_filter(images, (1, size, size))


def train(options):
    """One leg of the training of a row."""
    kind, parameters = MODELS[options.name]
    X, y = pairs(options.pairs, 1)
    alone = options.name == "vae-self"
    row = f"scattered-{options.name}-{options.pairs}" + (f"-seed{options.seed}" if options.seed else "")
    model = getattr(tomolearn, kind)(**parameters)
    train_row(row, model, (X,) if alone else (X, y), pairs(N_TEST, 2), options, validate=not alone)


def tune():
    """Sizes of the median on the validation images."""
    X, y = pairs(N_TEST, 2)
    rows = [[str(size), *(f"{value:.3f}" for value in quality(median(X, size), y))] for size in (3, 5, 7, 9)]
    print_table("median filter, validation images", ["size", "PSNR / dB", "SSIM"], rows)


def table(figure=None):
    """Every method on the test images."""
    X, y = pairs(N_TEST, 3)
    images, told = {"noisy": X, f"median of {MEDIAN} x {MEDIAN}": median(X, MEDIAN)}, {}
    for name in MODELS:
        for facts, model in trained_rows(f"scattered-{name}"):
            label = f"{name}, {facts['pairs']:,} images"
            images[label], told[label] = model.predict(X), minutes(facts)
    before, rows = quality(X, y)[0], []
    for name, stack in images.items():
        value, structure = quality(stack, y)
        rows.append([name, told.get(name, "-"), f"{value:.2f}", f"{value - before:+.2f}", f"{structure:.3f}"])
    columns = ["method", "minutes (of processor)", "PSNR / dB", "gain / dB", "SSIM"]
    print_table(f"scattered shapes, {N_TEST} test images, noise {NOISE}", columns, rows)
    if figure:
        draw({"truth": y} | images, figure)


def draw(images, path):
    """The first images of the test set by every method."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, len(images), figsize=(2.2 * len(images), 6.9), layout="constrained")
    for column, (name, stack) in zip(axes.T, images.items(), strict=True):
        for axis, image in zip(column, stack, strict=False):
            axis.imshow(image, cmap="gray", vmin=-0.2, vmax=1.2)
            axis.set_axis_off()
        column[0].set_title(name, fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    options = parse(__doc__, tuple(MODELS), 200, figure=True)
    if options.command == "train":
        train(options)
    else:
        print(machine())
        tune() if options.command == "tune" else table(options.figure)

"""Noise2Inverse on a foam of 10 photons a cell: trained on one slice alone, and on a volume of another foam.

    python benchmarks/noise2inverse.py train NAME --epochs N [--pairs 1] [--minutes 95] [--checkpoints FOLDER]
    python benchmarks/noise2inverse.py tune
    python benchmarks/noise2inverse.py table [--figure FILE]

The published slice is the middle one of the foam of Noise2Inverse's authors: 512 x 512 pixels, 1,024 views, 10 photons
a cell, half of them absorbed, of which they give the reconstructions of four splits. The NAME "slice" trains on these
four alone. "volume" trains on scans of our own foam of the same kind and dose, which the published slice is no part of.
No training sees a clean image. The recipe was chosen on a slice of a third foam: "own-slice" is "slice" on that one,
and `tune` shows what FBP and TV make of it. PSNR and SSIM have the range of the true slice.
"""

import os
from pathlib import Path
from unittest.mock import patch

import numpy as np
import tifffile
from _timing import machine, print_table
from _training import minutes, parse, quality, train_row, trained_rows

from tomolearn import FBPReconstructor, Noise2InverseReconstructor, TVReconstructor
from tomolearn.geometry import default_angles
from tomolearn.simulation import Foam, add_photon_noise
from tomolearn.simulation.spheres import pack_spheres

SIZE, N_VIEWS, N_DETECTORS, N_SPLITS = 512, 1024, 768, 4
PHOTONS, FACTOR = 10, 2.76  # the authors' factor: their line integrals times it are what the photons see
SOLID = 0.004  # attenuation of their foam, in 1 / pixel and without the factor
N_VOIDS, RADII, HEIGHT = 17_000, (2.0, 50.0), 132.0  # about as full as theirs, and like theirs up to the rim
OWN = {"own-slice": 2, "volume": 1}  # seeds of our own foams
RECIPE = {"early_stopping": False, "ema_decay": 0.99, "n_splits": N_SPLITS}
# Of many slices larger parts are drawn: fewer steps, each of which a GPU is as quick with.
NAMES = {"slice": {}, "volume": {"patch_shape": (256, 256)}, "own-slice": {}}


def estimator(name):
    known = {"angles": default_angles(N_VIEWS), "image_shape": (SIZE, SIZE)}
    return Noise2InverseReconstructor(**RECIPE, **NAMES[name], **known)


def own(name, n_slices):
    """Noisy sinograms of a foam of our own, and its slices."""
    radius, seed = SIZE / 2, OWN[name]
    foam = Foam(
        n_slices,
        SIZE,
        radius,
        pack_spheres(N_VOIDS, RADII, radius=radius, height=HEIGHT, random_state=seed),
        SOLID,
    )
    exact = foam.sinograms(default_angles(N_VIEWS), n_detectors=N_DETECTORS, supersampling=2)
    return add_photon_noise(exact * FACTOR, PHOTONS, random_state=seed) / FACTOR, foam.volume()


def published(name):
    """An image of the published slice; the files are not part of the repository."""
    folder = os.environ.get("TOMOLEARN_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")
    return tifffile.imread(Path(folder) / "n2i_foam" / f"n2i_{name}.tif").astype(np.float32)


def published_splits():
    """Makes the estimator see the split images of the published slice, whose sinogram is not given."""
    import torch

    splits = torch.from_numpy(np.stack([published(f"split{k}") for k in range(N_SPLITS)]))[None]
    return patch.object(Noise2InverseReconstructor, "_split_images", lambda *_: splits)


NO_SINOGRAM = np.zeros((1, N_VIEWS, N_DETECTORS), np.float32)


def train(options):
    """One leg of the training of a row."""
    row, model = f"n2i-{options.name}-{options.pairs}", estimator(options.name)
    if options.name == "slice":
        with published_splits():
            train_row(row, model, (NO_SINOGRAM,), None, options, validate=False)
        return
    held = own("own-slice", 1)
    X = held[0] if options.name == "own-slice" else own(options.name, options.pairs)[0]
    train_row(row, model, (X,), held, options, validate=False)


def tune():
    """FBP and TV on our own slice."""
    X, truth = own("own-slice", 1)
    known = {"angles": default_angles(N_VIEWS), "image_shape": (SIZE, SIZE)}
    cutoffs, weights = (0.05, 0.1, 0.15, 0.2, 0.3), (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
    tried = {
        f"FBP, Hann, cutoff {c}": FBPReconstructor(method="direct", filter="hann", cutoff=c, **known) for c in cutoffs
    }
    tried |= {
        f"TV, weight {w}": TVReconstructor(regularization=w, max_iter=200, nonnegative=True, **known) for w in weights
    }
    rows = []
    for name, method in tried.items():
        value, structure = quality(method.fit_transform(X), truth)
        rows.append([name, f"{value:.2f}", f"{structure:.3f}"])
    print_table("own slice", ["method", "PSNR / dB", "SSIM"], rows)


def table(figure=None):
    """The published slice by what its authors give and by our networks."""
    truth = published("reconstructions_clean")[None]
    images = {"FBP, as published": published("reconstructions_noisy")[None]}
    images["network, as published"], told = published("denoised")[None], {}
    for name in ("slice", "volume"):
        for facts, model in trained_rows(f"n2i-{name}"):
            label = f"trained on {'this slice' if name == 'slice' else 'a volume of our own'}, {facts['epochs']} epochs"
            with published_splits():
                images[label], told[label] = model.predict(NO_SINOGRAM), minutes(facts)
    rows = []
    for name, stack in images.items():
        value, structure = quality(stack, truth)
        rows.append([name, told.get(name, "-"), f"{value:.2f}", f"{structure:.3f}"])
    print_table("published slice", ["image", "minutes (of processor)", "PSNR / dB", "SSIM"], rows)
    if figure:
        draw({"truth": truth} | images, figure)


def draw(images, path):
    """The whole slice and its middle."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(images), figsize=(3 * len(images), 6.2), layout="constrained")
    for column, (name, stack) in enumerate(images.items()):
        for row, shown in enumerate((stack[0], stack[0, 200:330, 200:330])):
            axes[row, column].imshow(shown, cmap="gray", vmin=-0.1 * SOLID, vmax=1.1 * SOLID)
        axes[0, column].set_title(name, fontsize=8)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    options = parse(__doc__, tuple(NAMES), 1, figure=True)
    if options.command == "train":
        train(options)
    else:
        print(machine())
        tune() if options.command == "tune" else table(options.figure)

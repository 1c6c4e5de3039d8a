"""
Learned reconstruction from few views
=====================================

A network with the projection inside (`LearnedPrimalDualReconstructor`) and one behind filtered back-projection
(`FBPUNetReconstructor`) learn from simulated scans of 20 views with noise, in less than a minute each, and reconstruct
objects that they have not seen, beside filtered back-projection and total variation. Writes one figure and the trained
model. Longer trainings are in ``benchmarks/reconstruction.py``.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import tomolearn
from tomolearn import (
    FBPReconstructor,
    FBPUNetReconstructor,
    LearnedPrimalDualReconstructor,
    TVReconstructor,
    psnr,
    radon,
)
from tomolearn.geometry import default_angles
from tomolearn.simulation import add_gaussian_noise, random_ellipses

SIZE, N_VIEWS, N_TEST = 64, 20, 16


def scans(n, seed):
    """Noisy sinograms (n, views, detectors) of random ellipses, and the images."""
    images = random_ellipses(n, SIZE, random_state=seed)
    sinograms = radon(images, default_angles(N_VIEWS))
    return add_gaussian_noise(sinograms, 0.05, random_state=seed), images


def figure(path, truth, images):
    """Two slices by every method."""
    import matplotlib.pyplot as plt

    panels = {"truth": truth, **images}
    fig, axes = plt.subplots(2, len(panels), figsize=(2.4 * len(panels), 5.2), layout="constrained")
    for column, (name, stack) in enumerate(panels.items()):
        for row in (0, 1):
            axes[row, column].imshow(stack[row], cmap="gray", vmin=0, vmax=float(truth[row].max()))
            axes[row, column].set_axis_off()
        title = name if name == "truth" else f"{name}\n{psnr(truth, stack, data_range=1.0):.1f} dB"
        axes[0, column].set_title(title)
    fig.savefig(path, dpi=110)
    plt.close(fig)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder to write (default: demo)")
    parser.add_argument("--pairs", type=int, default=160, help="training pairs (default: 160)")
    parser.add_argument("--epochs", type=int, default=3, help="passes through them (default: 3)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    X, y = scans(arguments.pairs, seed=0)
    X_test, y_test = scans(N_TEST, seed=1)
    training = {"augmentation": True, "max_epochs": arguments.epochs, "random_state": 0}
    methods = {
        "FBP": FBPReconstructor(filter="hann"),
        "TV": TVReconstructor(regularization=1.0, max_iter=200, nonnegative=True),
        "FBP + U-Net": FBPUNetReconstructor(batch_size=8, **training),
        "primal-dual": LearnedPrimalDualReconstructor(n_iterations=5, batch_size=4, **training),
    }
    images = {}
    print(f"{N_TEST} images of {SIZE} x {SIZE}, {N_VIEWS} views, noise of 5 %; data range 1; seeds 0 and 1")
    print(f"{'method':<14}{'PSNR, dB':>10}{'fit, s':>10}")
    for name, estimator in methods.items():
        start = time.perf_counter()
        estimator.fit(X, y)
        seconds = time.perf_counter() - start
        images[name] = estimator.predict(X_test)
        print(f"{name:<14}{psnr(y_test, images[name], data_range=1.0):>10.2f}{seconds:>10.1f}", flush=True)
    figure(arguments.out / "learned.png", y_test, images)
    model = arguments.out / "primal_dual.safetensors"
    methods["primal-dual"].save(model)
    again = tomolearn.load(model).predict(X_test)
    print(f"wrote learned.png and {model.name} to {arguments.out}/; loaded again it predicts the same: ", end="")
    print(bool(np.array_equal(again, images["primal-dual"])))


if __name__ == "__main__":
    main()

"""
Pictures of every step
======================

One figure from each display: reconstructions beside the truth, a sinogram and what a reconstruction leaves of it, the
losses of trainings, a denoised slice, labels on an image, and a map of samples. Each has ``from_estimator``, which
predicts and draws, and ``from_predictions`` (of trainings ``from_histories``), which draws what is there; ``figure_``
is a figure of matplotlib. The networks are trained for some seconds only: they are here for their pictures.
"""

import argparse
from pathlib import Path

import numpy as np

from tomolearn import (
    DenoisingDisplay,
    EmbeddingDisplay,
    FBPReconstructor,
    ReconstructionDisplay,
    SegmentationDisplay,
    SinogramDisplay,
    SIRTReconstructor,
    TomoGANDenoiser,
    TrainingCurveDisplay,
    TSNEReducer,
    TVReconstructor,
    UNetSegmenter,
    extract_patches,
)
from tomolearn.geometry import default_angles
from tomolearn.simulation import add_photon_noise, random_foam, scattered_shapes

SIZE, N_ANGLES, N_SLICES, PHOTONS = 128, 90, 6, 2000
ATTENUATION = 0.012  # of the foam's matrix, in 1/pixel
PIXEL = 2.5e-6  # m


def foam_scan(seed):
    """Noisy sinograms of a foam cylinder, and its slices."""
    foam = random_foam(N_SLICES, SIZE, n_voids=150, radius_range=(2.0, 14.0), height=40.0, random_state=seed)
    exact = foam.sinograms(default_angles(N_ANGLES))
    noisy = add_photon_noise(ATTENUATION * exact, PHOTONS, random_state=seed) / ATTENUATION
    return noisy.astype(np.float32), foam.volume()


def reconstructions():
    """Three reconstructions with their errors, and the residual of one of them."""
    sinograms, truth = foam_scan(seed=0)
    methods = {
        "FBP": FBPReconstructor(filter="hann"),
        "SIRT": SIRTReconstructor(max_iter=60, nonnegative=True),
        "TV": TVReconstructor(regularization=10.0, max_iter=60, nonnegative=True),
    }
    methods = {name: method.fit(sinograms[:3]) for name, method in methods.items()}
    yield (
        "reconstructions",
        ReconstructionDisplay.from_estimator(methods, sinograms[:3], truth[:3], data_range=1.0, pixel_size=PIXEL),
    )
    yield "sinogram", SinogramDisplay.from_estimator(methods["TV"], sinograms[:3], pixel_size=PIXEL)


def denoising(epochs):
    """A denoiser that learns from another foam, the losses of two such trainings, and a slice that it has not seen."""
    middle = (slice(None), slice(16, 112), slice(16, 112))
    (X, y), (X_new, y_new) = (
        (FBPReconstructor(filter="hann").fit_transform(sinograms)[middle], truth[middle])
        for sinograms, truth in (foam_scan(seed=1), foam_scan(seed=0))
    )
    training = {
        "adversarial_weight": 0,  # no critic: that takes hours
        "perceptual_weight": 0,
        "patch_shape": (32, 32),
        "batch_size": 4,
        "validation_fraction": 0.25,
        "ema_decay": None,
        "random_state": 0,
    }
    denoisers = {
        f"learning rate {rate:g}": TomoGANDenoiser(learning_rate=rate, max_epochs=epochs, **training).fit(X, y)
        for rate in (3e-3, 3e-4)
    }
    yield (
        "trainings",
        TrainingCurveDisplay.from_estimator(
            denoisers, losses={"val_loss": "1 − SSIM of unseen slices", "pixel_loss": "pixel loss, training"}
        ),
    )
    yield (
        "denoising",
        DenoisingDisplay.from_estimator(
            denoisers["learning rate 0.003"], X_new, y_new, data_range=1.0, pixel_size=PIXEL
        ),
    )


def segmentation(epochs):
    """Shapes under noise."""
    images, labels = scattered_shapes(4, 128, n_shapes=24, shape_size=18, amplitude=(0.6, 1.0), random_state=0)
    labels = np.array([0, 1, 2, 1, 2], np.uint8)[labels]  # squares and discs are filled, frames and rings outlines
    images += np.random.default_rng(0).normal(0, 0.2, images.shape).astype(np.float32)
    names = ("matrix", "filled", "outline")
    segmenter = UNetSegmenter(
        base_channels=4,
        n_levels=3,
        patch_shape=(64, 64),
        batch_size=2,
        learning_rate=3e-3,
        max_epochs=epochs,
        class_names=names,
        random_state=0,
    ).fit(images[:3], labels[:3])
    yield "segmentation", SegmentationDisplay.from_estimator(segmenter, images[3:], labels[3:])


def embedding():
    """Patches of two foams and of a phantom of shapes, on one map."""
    stacks = {
        "small voids": random_foam(2, 128, n_voids=300, radius_range=(1.0, 5.0), height=20.0, random_state=0).volume(),
        "large voids": random_foam(2, 128, n_voids=60, radius_range=(5.0, 15.0), height=40.0, random_state=0).volume(),
        "shapes": scattered_shapes(2, 128, n_shapes=24, shape_size=18, random_state=0)[0],
    }
    patches = [extract_patches(stack, (32, 32), stride=(16, 16)).reshape(-1, 32, 32) for stack in stacks.values()]
    kinds = np.repeat(list(stacks), [len(some) for some in patches])
    X = np.concatenate(patches)
    spectra = np.log1p(np.abs(np.fft.rfft2(X))).reshape(len(X), -1).astype(np.float32)  # blind to shifts
    places = TSNEReducer(n_features=30, max_iter=150, random_state=0).fit_transform(spectra)
    yield "map", EmbeddingDisplay.from_predictions(places, images=X, values=kinds, values_name="patches of")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="folder to write (default: pictures)")
    parser.add_argument("--epochs", type=int, default=7, help="of the denoisers; the segmenter has twice as many")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for figures in (
        reconstructions(),
        denoising(arguments.epochs),
        segmentation(2 * arguments.epochs),
        embedding(),
    ):
        for name, display in figures:
            display.figure_.savefig(arguments.out / f"{name}.png", dpi=120)
            print(f"{arguments.out / name}.png")


if __name__ == "__main__":
    main()

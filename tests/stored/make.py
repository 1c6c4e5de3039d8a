"""Writes the model files that later versions must read: ``python tests/stored/make.py``, once for each release.

They come into a folder named after the version, small, with the input of each and what the model makes of it.
``tests/test_stored_models.py`` reads every such folder. Files that are there are not written again.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

import tomolearn

FOLDER = Path(__file__).parent
TRAINING = {"max_epochs": 3, "batch_size": 4, "precision": "float32", "device": "cpu", "random_state": 0}


def scan(n=6, n_angles=7, size=12, seed=0):
    """Sinograms and images of discs."""
    rng, rows = np.random.default_rng(seed), np.mgrid[:size, :size] - (size - 1) / 2
    places = rng.uniform(-0.2, 0.2, (n, 2, 1, 1)) * size
    images = (np.hypot(*np.moveaxis(rows - places, 1, 0)) < size / 4).astype(np.float32)
    return tomolearn.radon(images, np.linspace(0, np.pi, n_angles, endpoint=False)), images


def _reconstructor():
    X, y = scan()
    training = TRAINING | {"max_epochs": 12, "random_state": 3}  # so narrow a network may die or learn nothing
    model = tomolearn.CNNReconstructor(width=4, n_filters=2, n_image_filters=2, learning_rate=2e-2, **training)
    return model.fit(X, y), X


def _primal_dual():
    X, y = scan()
    model = tomolearn.LearnedPrimalDualReconstructor(
        n_iterations=2, n_primal=2, n_dual=2, n_filters=2, angles=np.arange(7) * 180 / 7, angle_unit="deg", **TRAINING
    )
    return model.fit(X, y), X


def _segmenter(X, y):
    model = tomolearn.UNetSegmenter(
        n_levels=2, base_channels=2, patch_shape=(8, 8), class_names=("air", "disc"), **TRAINING
    )
    return model.fit(X, y)


def _labels():
    images = scan()[1]
    X = images + np.random.default_rng(0).normal(0, 0.1, images.shape).round(1).astype(np.float32)
    return _segmenter(X, images.astype(np.uint8)), X


def _reducer():
    X = scan(24)[1]
    model = tomolearn.TSNEReducer(perplexity=4, n_features=4, max_iter=100, random_state=0, device="cpu")
    return model.fit(X), X


def _pipeline():
    """A raw scan to labels: corrected, reconstructed, denoised by a frozen network, segmented."""
    sinograms, images = scan()
    X = np.exp(-0.1 * sinograms)
    steps = [
        ("log", tomolearn.MinusLog()),
        ("stripes", "passthrough"),
        ("fbp", tomolearn.FBPReconstructor(filter="hann")),
    ]
    front = Pipeline(steps).fit(X)
    noisy = front.predict(X)
    denoiser = tomolearn.Noise2SelfDenoiser(channels=(2, 3), patch_shape=(8, 8), **TRAINING).fit(noisy)
    back = _segmenter(denoiser.predict(noisy), images.astype(np.uint8))
    return Pipeline([("front", front), ("denoise", FrozenEstimator(denoiser)), ("segment", back)]), X


MAKERS = {
    "cnn": _reconstructor,
    "primal-dual": _primal_dual,
    "segmenter": _labels,
    "reducer": _reducer,
    "pipeline": _pipeline,
}


def output(model, X):
    """What a model is there for, in numbers: of labels their probabilities."""
    for name in ("predict_proba", "predict" if not hasattr(model, "embedding_") else "transform"):
        if hasattr(model, name):
            return np.asarray(getattr(model, name)(X), np.float64)
    return np.asarray(model.transform(X), np.float64)


def main():
    folder = FOLDER / tomolearn.__version__
    if folder.exists():
        sys.exit(f"{folder} is there: files of a release are never written again.")
    folder.mkdir()
    for name, make in MAKERS.items():
        with warnings.catch_warnings(action="ignore"):  # so few epochs do not converge
            model, X = make()
            X = X[:2].astype(np.float32)
        tomolearn.save(model, folder / f"{name}.tomo")
        np.savez_compressed(folder / f"{name}.npz", X=X, output=output(model, X).astype(np.float32))
    print(*(f"{path.stat().st_size:>8} {path}" for path in sorted(folder.iterdir())), sep="\n")


if __name__ == "__main__":
    main()

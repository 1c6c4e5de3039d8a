"""Samples that do not belong to a training set of random shapes: how well they are told from fresh shapes.

    python benchmarks/embedding_outliers.py [--size 64] [--features pca efficientnet]

The training set is 1,000 images of `random_shapes`; 300 fresh ones are compared with 192 to 300 images of another kind.
All images are between 0 and 1, and zero outside the circle of radius ``size / 2 - 5`` that shapes keep to. Printed are
the area under the ROC curve of each detector's scores, and the share of fresh shapes and of strangers that
`TrainingSetDetector` flags. scikit-learn's detectors, with their default parameters, see the same vectors of features.
How the detector joins its two measures was chosen on the cases at 32 pixels, so the figures at 64 are no blind test.
The last case needs the measured data of the tests.
"""

import argparse
import os
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from _timing import machine, print_table
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from tomolearn import TrainingSetDetector
from tomolearn.simulation import natural_images, random_ellipses, random_foam, random_shapes

N_TRAIN, N_NEW = 1000, 300
NOISE = 0.05  # standard deviation of the training images' noise where there is noise
PICTURES = ("camera.png", "brick.png", "gravel.png", "grass.png", "moon.png", "coins.png", "cell.png", "page.png")


def circled(images):
    """Non-negative images divided by their maxima, zero outside the circle of the shapes."""
    size = images.shape[1]
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    images = np.maximum(images, 0) * (x**2 + y**2 <= (size / 2 - 5) ** 2)
    return (images / images.max(axis=(1, 2), keepdims=True)).astype(np.float32)


def wheel_pictures(size):
    """Crops of the pictures that scikit-image's wheel holds."""
    import skimage

    found = Path(skimage.__file__).parent / "data"
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        for name in PICTURES:
            (Path(folder) / name).symlink_to(found / name)
        return natural_images(folder, N_NEW, size, random_state=3)[:]


def foam_slices(size):
    return np.concatenate([random_foam(20, size, random_state=seed).volume() for seed in range(N_NEW // 20)])


def measured_slices(size):
    """Slices of a fibre polymer and of an electrode, block means of whole pixels."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TOMOLEARN_SHARED_DATA", beside))
    if not folder.is_dir():
        return None
    import tifffile

    fibres = np.fromfile(folder / "quanfima_fibres" / "polymer3d_8bit_128x128x128.raw", np.uint8).reshape(3 * (128,))
    electrode = tifffile.imread(folder / "taufactor_electrode" / "electrode.tiff")[::4]
    binned = [
        stack.astype(np.float32).reshape(len(stack), size, stack.shape[1] // size, size, -1).mean(axis=(2, 4))
        for stack in (fibres, electrode)
    ]
    return np.concatenate(binned)


def cases(size):
    """Name, training images, fresh images of the kind, strangers."""
    shapes = random_shapes(N_TRAIN + N_NEW, size, random_state=0)
    noise = np.random.default_rng(1).normal(0, NOISE, (len(shapes) + N_NEW, size, size)).astype(np.float32)
    noisy = shapes + noise[: len(shapes)]
    strange = random_shapes(N_NEW, size, random_state=2) + 4 * noise[len(shapes) :]
    yield "noise x 4", noisy[:N_TRAIN], noisy[N_TRAIN:], strange
    kinds = {
        "ellipses": random_ellipses(N_NEW, size, random_state=2),
        "foam": foam_slices(size),
        "natural crops": wheel_pictures(size),
        "measured slices": measured_slices(size),
    }
    for name, images in kinds.items():
        if images is not None:
            yield f"shapes -> {name}", shapes[:N_TRAIN], shapes[N_TRAIN:], circled(images)


def compare(train, fresh, strange, features):
    """One row: areas under the ROC curves, shares that are flagged, seconds of ``fit``."""
    start = time.perf_counter()
    detector = TrainingSetDetector(features=features).fit(train)
    seconds = time.perf_counter() - start
    new = np.concatenate([fresh, strange])
    is_fresh = np.arange(len(new)) < len(fresh)
    flagged = detector.predict(new) < 0
    vectors = detector.extractor_.transform(new)
    scores = [detector.score_samples(new)]
    for peer in (LocalOutlierFactor(novelty=True), IsolationForest(random_state=0)):
        scores.append(peer.fit(detector.reference_).score_samples(vectors))
    areas = [f"{roc_auc_score(is_fresh, score):.3f}" for score in scores]
    return [*areas, f"{flagged[is_fresh].mean():.3f}", f"{flagged[~is_fresh].mean():.3f}", f"{seconds:.1f}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, choices=(32, 64, 128))
    parser.add_argument("--features", nargs="+", default=["pca"], choices=("pca", "efficientnet"))
    options = parser.parse_args()
    print(machine())
    rows = [
        [name, features, *compare(train, fresh, strange, features)]
        for name, train, fresh, strange in cases(options.size)
        for features in options.features
    ]
    head = ["case", "features", "detector", "LocalOutlierFactor", "IsolationForest", "fresh", "strange", "fit [s]"]
    print_table("Strangers to a training set of random shapes", head, rows)


if __name__ == "__main__":
    main()

"""The measured tooth from 46 of its 181 views: networks trained on simulated objects, FBP and TV.

    python benchmarks/tooth.py train NAME --epochs N [--pairs 800] [--minutes 95] [--checkpoints FOLDER]
    python benchmarks/tooth.py tune
    python benchmarks/tooth.py table [--figure FILE]

Training objects are sums of ellipses and random shapes, projected under the angles and around the axis of the scan at
half its resolution, with the noise that the scan has. Nothing of the tooth is trained on; `tune` chooses the parameters
of FBP and TV on simulated objects too. What is compared with is filtered back-projection (Hann) of all 181 views,
within the circle that the detector sees; the data range is that of this image. It has noise and streaks of its own.
"""

import os
from pathlib import Path

import numpy as np
from _timing import machine, print_table
from _training import minutes, parse, quality, train_row, trained_rows
from sklearn.pipeline import make_pipeline

import tomolearn
from tomolearn import FBPReconstructor, TVReconstructor, open_scan, psnr, radon, ssim
from tomolearn.preprocessing import FlatFieldCorrector, MinusLog, SinogramBinner, StripeRemover
from tomolearn.simulation import add_gaussian_noise, random_ellipses, random_shapes

SIZE, EVERY = 320, 4
CENTER = (295.8 - 0.5) / 2  # of the binned detector
NOISE = 0.015  # standard deviation over the mean of a sinogram, about that of the scan
RECIPE = {"augmentation": False, "batch_size": 4}
MODELS = {
    "fbp-unet": ("FBPUNetReconstructor", RECIPE),
    "primal-dual": ("LearnedPrimalDualReconstructor", RECIPE | {"n_iterations": 6}),
}
# What `tune` found best on simulated objects.
FBP, TV = {"filter": "hann", "cutoff": 0.4}, {"regularization": 8.0, "max_iter": 300, "nonnegative": True}
REFERENCE = {"filter": "hann"}


def data():
    """The file of the scan, which is not part of the repository."""
    folder = os.environ.get("TOMOLEARN_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")
    return Path(folder) / "aps_tooth" / "tooth.h5"


def measured():
    """Sinograms (2, 181, 320) of the tooth, corrected and binned, and the angles in radians."""
    with open_scan(data()) as scan:
        steps = make_pipeline(FlatFieldCorrector(), MinusLog(), StripeRemover(), SinogramBinner(detector_factor=2))
        X = steps.fit_transform(
            scan[:], flatfieldcorrector__flats=scan.flats[:], flatfieldcorrector__darks=scan.darks[:]
        )
        return X, scan.angles


def scan_parameters(angles):
    return {"angles": angles, "angle_unit": "rad", "center": CENTER, "image_shape": (SIZE, SIZE)}


def pairs(n, seed, angles):
    """Noisy sinograms of simulated objects, and the objects."""
    half = n // 2
    shapes = random_shapes(n - half, SIZE, n_shapes=(5, 40), shape_size=(6, 120), random_state=seed)
    images = np.concatenate([random_ellipses(half, SIZE, random_state=seed), shapes])
    sinograms = radon(images, angles, n_detectors=SIZE, center=CENTER, angle_unit="rad")
    return add_gaussian_noise(sinograms, NOISE, random_state=seed), images


def train(options):
    """One leg of the training of a row."""
    _, angles = measured()
    angles = angles[::EVERY]
    kind, parameters = MODELS[options.name]
    estimator = getattr(tomolearn, kind)(**parameters, **scan_parameters(angles))
    train_row(
        f"tooth-{options.name}-{options.pairs}",
        estimator,
        pairs(options.pairs, 1, angles),
        pairs(40, 2, angles),
        options,
    )


def tune():
    """Grid searches of the classical methods on simulated objects."""
    _, angles = measured()
    X, y = pairs(20, 2, angles[::EVERY])
    known = scan_parameters(angles[::EVERY])
    cutoffs, weights = (0.2, 0.3, 0.4, 0.6, 0.8, 1.0), (1.0, 2.0, 4.0, 8.0, 16.0)
    tried = {
        f"FBP, Hann, cutoff {c}": FBPReconstructor(method="direct", **FBP | {"cutoff": c}, **known) for c in cutoffs
    }
    tried |= {f"TV, weight {w}": TVReconstructor(**TV | {"regularization": w}, **known) for w in weights}
    rows = []
    for name, estimator in tried.items():
        value, structure = quality(estimator.fit_transform(X), y)
        rows.append([name, f"{value:.2f}", f"{structure:.3f}"])
    print_table("simulated objects", ["method", "PSNR / dB", "SSIM"], rows)


def table(figure=None):
    """Every method on the tooth."""
    X, angles = measured()
    reference = FBPReconstructor(method="direct", **REFERENCE, **scan_parameters(angles)).fit_transform(X)
    scale = float(np.percentile(reference, 99.9))  # the networks know objects of about 1
    few, known = X[:, ::EVERY] / scale, scan_parameters(angles[::EVERY])
    told = {}
    methods = {
        "FBP": FBPReconstructor(method="direct", **FBP, **known).fit(few),
        "TV": TVReconstructor(**TV, **known).fit(few),
    }
    for name, (kind, _) in MODELS.items():
        for facts, estimator in trained_rows(f"tooth-{name}"):
            methods[kind], told[kind] = estimator, minutes(facts)
    images = {name: estimator.predict(few) * scale for name, estimator in methods.items()}
    rows_, columns = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    inside = np.hypot(rows_, columns) < min(CENTER, SIZE - 1 - CENTER)
    data_range = float(np.ptp(reference[:, inside]))
    rows = [
        [
            name,
            told.get(name, "-"),
            f"{psnr(reference, stack, data_range=data_range, weights=inside):.2f}",
            f"{ssim(reference * inside, stack * inside, data_range=data_range, weights=inside):.3f}",
        ]
        for name, stack in images.items()
    ]
    print_table(
        "tooth, 46 of 181 views, against FBP of all", ["method", "minutes (of processor)", "PSNR / dB", "SSIM"], rows
    )
    if figure:
        draw({"FBP, 181 views": reference, **images}, figure)


def draw(images, path):
    """The first slice by every method, and its middle."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    high = float(np.percentile(images["FBP, 181 views"], 99.8))
    figure, axes = plt.subplots(2, len(images), figsize=(3 * len(images), 6.2), layout="constrained")
    for column, (name, stack) in enumerate(images.items()):
        axes[0, column].imshow(stack[0], cmap="gray", vmin=-0.1 * high, vmax=high)
        axes[1, column].imshow(stack[0, 110:210, 110:210], cmap="gray", vmin=-0.1 * high, vmax=high)
        axes[0, column].set_title(name.replace("Reconstructor", ""))
    for axis in axes.flat:
        axis.set_axis_off()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    options = parse(__doc__, tuple(MODELS), 800, figure=True)
    if options.command == "train":
        train(options)
    else:
        print(machine())
        tune() if options.command == "tune" else table(options.figure)

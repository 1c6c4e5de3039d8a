"""Learned and classical reconstruction on DIVal's data set ``ellipses``: trains, tunes, and prints the table.

    python benchmarks/reconstruction.py train NAME --epochs N [--pairs 3200] [--minutes 95] [--checkpoints FOLDER]
    python benchmarks/reconstruction.py tune
    python benchmarks/reconstruction.py table

Training reads the first pairs of the train part and the first 100 of the validation part. It may be broken off at any
time, by Ctrl-C too: the same command goes on from its checkpoint. When it is done the estimator is written to
``weights/``. Only ``table`` reads the test part, its first 100 images. PSNR and SSIM have the range of each true image.
"""

from _timing import machine, print_table
from _training import minutes, parse, quality, train_row, trained_rows

import tomolearn
from tomolearn import FBPReconstructor, TVReconstructor
from tomolearn.simulation import make_ellipses_benchmark

N_VALIDATION = N_TEST = 100

# What is trained. Values that are not the estimators' defaults were chosen on the validation part; those of the dense
# networks keep their weights below 5 MB.
DENSE = {"optimizer": "muon", "learning_rate": 0.01, "schedule": "cosine", "loss": "log-mse", "batch_size": 16}
MODELS = {
    "automap": ("AutomapReconstructor", DENSE | {"rank": 40, "n_filters": 32}),
    "cnn": ("CNNReconstructor", DENSE | {"width": 100, "n_image_filters": 32}),
    "dense": ("DenseReconstructor", DENSE | {"width": 100, "n_filters": 32}),
    "iradonmap": ("IRadonMAPReconstructor", {"batch_size": 8, "augmentation": True}),
    "fbp-unet": ("FBPUNetReconstructor", {"cutoff": 0.7, "batch_size": 8, "augmentation": True}),
    "primal-dual": ("LearnedPrimalDualReconstructor", {"n_iterations": 8, "batch_size": 4, "augmentation": True}),
}
# What `tune` found best on the validation part.
FBP, TV = {"filter": "hamming", "cutoff": 0.7}, {"regularization": 2.0, "max_iter": 200, "nonnegative": True}


def scan(data):
    """The parameters that tell an estimator about the scan."""
    return {"angles": data.angles, "detector_spacing": data.detector_spacing, "image_shape": data.images.shape[1:]}


def train(options):
    """One leg of the training of a row."""
    kind, parameters = MODELS[options.name]
    data = make_ellipses_benchmark("train", options.pairs)
    held = make_ellipses_benchmark("validation", N_VALIDATION)
    known = scan(data) if "angles" in getattr(tomolearn, kind)().get_params() else {}
    row = f"ellipses-{options.name}-{options.pairs}" + (f"-seed{options.seed}" if options.seed else "")
    estimator = getattr(tomolearn, kind)(**parameters, **known)
    train_row(row, estimator, (data.sinograms, data.images), (held.sinograms, held.images), options)


def tune():
    """Grid searches of the classical methods, on the validation part."""
    data = make_ellipses_benchmark("validation", N_VALIDATION)
    tried = [
        FBPReconstructor(method="direct", filter=name, cutoff=cutoff, **scan(data))
        for name in ("ram-lak", "shepp-logan", "cosine", "hamming", "hann")
        for cutoff in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    ]
    tried += [TVReconstructor(**TV | {"regularization": weight}, **scan(data)) for weight in (1.0, 1.5, 2.0, 2.5, 3.0)]
    for kind, shown in ((FBPReconstructor, ("filter", "cutoff")), (TVReconstructor, ("regularization",))):
        rows = []
        for estimator in (e for e in tried if isinstance(e, kind)):
            value, structure = quality(estimator.fit_transform(data.sinograms), data.images)
            rows.append([*(getattr(estimator, name) for name in shown), f"{value:.2f}", f"{structure:.3f}"])
        rows.sort(key=lambda row: -float(row[-2]))
        print_table(f"{kind.__name__}, validation part", [*shown, "PSNR / dB", "SSIM"], rows[:5])


# ----------------------------------------------------------------------------------------------------------- table

# Of DIVal's own table: the whole training set of 32,000 pairs, the same 100 test images.
PUBLISHED = {
    "FBP": "24.2 / .60",
    "TV": "27.7-28.0 / .84-.86",
    "iradonmap": "27.8-28.0 / .87",
    "fbp-unet": "29.3 / .90",
    "primal-dual": "32.1-32.3 / .94",
}


def table():
    """Every row from its weights, on the test part."""
    data = make_ellipses_benchmark("test", N_TEST)
    rows = []
    for name, estimator in (
        ("FBP", FBPReconstructor(method="direct", **FBP, **scan(data))),
        ("TV", TVReconstructor(**TV, **scan(data))),
    ):
        value, structure = quality(estimator.fit_transform(data.sinograms), data.images)
        rows.append([name, "-", "-", "-", f"{value:.2f}", f"{structure:.3f}", PUBLISHED[name]])
    for name, (kind, _) in MODELS.items():
        for facts, estimator in trained_rows(f"ellipses-{name}"):
            value, structure = quality(estimator.predict(data.sinograms), data.images)
            label = kind + (f", seed {facts['seed']}" if facts["seed"] else "")
            found = [f"{facts['parameters']:,}", f"{facts['pairs']:,}", minutes(facts)]
            rows.append([label, *found, f"{value:.2f}", f"{structure:.3f}", PUBLISHED.get(name, "-")])
    header = ["estimator", "weights", "pairs", "minutes (of processor)", "PSNR / dB", "SSIM", "published, 32,000 pairs"]
    print_table("ellipses, the first 100 test images", header, rows)


if __name__ == "__main__":
    options = parse(__doc__, tuple(MODELS), 3200)
    if options.command == "train":
        train(options)
    else:
        print(machine())
        {"tune": tune, "table": table}[options.command]()

"""superres-tomo's task: networks from sinogram to image, trained on random shapes, tested on what they never saw.

    python benchmarks/shapes.py train NAME --epochs N [--pairs 9000] [--minutes 95] [--checkpoints FOLDER]
    python benchmarks/shapes.py tune
    python benchmarks/shapes.py table [--figure FILE]

Random shapes of 64 x 64 pixels under 64 angles, photon noise on the sinograms (seeds 1, 2 and 3 for training,
validation and test). The table compares with filtered back-projection of the same noisy sinograms: as superres-tomo
has it (Shepp-Logan filter), and with the filter and cutoff that are best on the validation images. Then the same
networks on images of other kinds, with the same noise: the bias of a training set. PSNR and SSIM have the range of each
true image.
"""

import os
from pathlib import Path

import numpy as np
from _timing import machine, print_table
from _training import minutes, parse, quality, train_row, trained_rows

import tomolearn
from tomolearn import FBPReconstructor, radon
from tomolearn.geometry import default_angles
from tomolearn.simulation import add_photon_noise, natural_images, random_ellipses, random_shapes

SIZE, PHOTONS, ABSORPTION = 64, 10, 2.0
N_TEST = 200
RANKED = 1500  # pairs that AUTOMAP's ranks are compared with
RECIPE = {"optimizer": "muon", "learning_rate": 0.01, "schedule": "cosine", "loss": "log-mse"}
# Widths keep the weights of a row below 5 MB.
MODELS = {
    "automap": ("AutomapReconstructor", RECIPE | {"rank": 128, "n_filters": 32}),
    "automap-rank32": ("AutomapReconstructor", RECIPE | {"rank": 32, "n_filters": 32}),
    "automap-rank8": ("AutomapReconstructor", RECIPE | {"rank": 8, "n_filters": 32}),
    "cnn": ("CNNReconstructor", RECIPE | {"width": 384, "n_image_filters": 64}),
    "dense": ("DenseReconstructor", RECIPE | {"width": 256, "n_filters": 32}),
}
FBP = {"filter": "cosine", "cutoff": 0.4}  # what `tune` found best on the validation images


def noisy_sinograms(images, seed):
    """Projections under 64 angles; the largest value of each sinogram stands for a line integral of 2."""
    sinograms = radon(images, default_angles(SIZE))
    scale = ABSORPTION / sinograms.max(axis=(1, 2), keepdims=True)
    return add_photon_noise(sinograms * scale, PHOTONS, random_state=seed) / scale


def pairs(n, seed):
    """Noisy sinograms and images of random shapes."""
    images = random_shapes(n, SIZE, random_state=seed)
    return noisy_sinograms(images, seed), images


def train(options):
    """One leg of the training of a row."""
    kind, parameters = MODELS[options.name]
    row = f"shapes-{options.name}-{options.pairs}" + (f"-seed{options.seed}" if options.seed else "")
    train_row(row, getattr(tomolearn, kind)(**parameters), pairs(options.pairs, 1), pairs(N_TEST, 2), options)


def tune():
    """Grid search of filter and cutoff on the validation images."""
    X, y = pairs(N_TEST, 2)
    rows = []
    for name in ("ram-lak", "shepp-logan", "cosine", "hamming", "hann"):
        for cutoff in np.linspace(0.2, 1.0, 9):
            value, structure = quality(
                FBPReconstructor(method="direct", filter=name, cutoff=cutoff).fit_transform(X), y
            )
            rows.append([name, f"{cutoff:.1f}", f"{value:.2f}", f"{structure:.3f}"])
    rows.sort(key=lambda row: -float(row[2]))
    print_table("FBPReconstructor, validation images", ["filter", "cutoff", "PSNR / dB", "SSIM"], rows[:5])


def test_sets():
    """{kind of image: (noisy sinograms, images)}; of measured ones those that are beside the checkout."""
    rng = np.random.default_rng(3)
    sets = {"random shapes": random_shapes(N_TEST, SIZE, random_state=3)}
    sets["ellipses"] = random_ellipses(N_TEST, SIZE, random_state=3)
    import skimage.data

    pictures = Path(skimage.data.__file__).parent
    sets["photographs"] = natural_images(pictures, N_TEST, SIZE, random_state=3)[:]
    folder = Path(os.environ.get("TOMOLEARN_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if folder.is_dir():
        sets |= measured(folder, rng)
    return {name: (noisy_sinograms(images, 4), images) for name, images in sets.items()}


def measured(folder, rng):
    """Crops of measured slices, scaled to [0, 1] within a circle."""
    import tifffile

    found = {}
    for name, pattern in (("fibres", "quanfima_fibres/*.tif*"), ("electrode", "taufactor_electrode/*.tif*")):
        for path in sorted(folder.glob(pattern)):
            volume = tifffile.imread(path).astype(np.float32)
            volume = volume if volume.ndim == 3 else volume[None]
            crops = []
            for _ in range(N_TEST):
                at = [rng.integers(0, n - SIZE + 1) for n in volume.shape[1:]]
                crop = volume[rng.integers(len(volume)), at[0] : at[0] + SIZE, at[1] : at[1] + SIZE]
                crop = (crop - volume.min()) / np.ptp(volume)
                crops.append(crop * (np.hypot(*np.mgrid[-31.5:32, -31.5:32]) < SIZE / 2 - 5))
            found[name] = np.stack([crop for crop in crops if np.ptp(crop) > 0])
            break
    return found


def table(figure=None):
    """The networks and filtered back-projection on every test set."""
    methods = {
        "FBP, Shepp-Logan": FBPReconstructor(method="direct", filter="shepp-logan"),
        "FBP, tuned": FBPReconstructor(method="direct", **FBP),
    }
    told, ranks = {}, {}
    for name, (kind, parameters) in MODELS.items():
        for facts, estimator in trained_rows(f"shapes-{name}"):
            label = kind + (f", rank {parameters['rank']}" if "rank" in parameters else "")
            label += "" if facts["pairs"] == 9000 else f", {facts['pairs']:,} pairs"
            methods[label] = estimator
            told[label] = [f"{facts['parameters']:,}", minutes(facts)]
            if "rank" in parameters and facts["pairs"] == RANKED:
                ranks[label] = parameters["rank"], facts
    sets, rows, shown = test_sets(), [], {}
    for name, estimator in methods.items():
        row = [name, *told.get(name, ["-", "-"])]
        for kind, (X, y) in sets.items():
            images = estimator.fit(X).predict(X) if name.startswith("FBP") else estimator.predict(X)
            shown[name, kind] = images[0]
            row.append("{:.2f} / {:.3f}".format(*quality(images, y)))
        rows.append(row)
    print_table("PSNR in dB / SSIM", ["method", "weights", "minutes (of processor)", *sets], rows)
    found = {row[0]: row[3] for row in rows}
    rows = [
        [
            rank,
            f"{facts['parameters']:,}",
            f"{16 * facts['parameters'] / 1e6:.0f}",
            facts["peak_memory_mb"],
            f"{60 * facts['processor_minutes'] / facts['epochs']:.0f}",
            found[label],
        ]
        for label, (rank, facts) in sorted(ranks.items(), key=lambda pair: pair[1][0])
    ]
    header = ["rank", "weights", "of them and Adam, MB", "whole process, MB", "s / epoch", "random shapes, dB / SSIM"]
    print_table(f"AutomapReconstructor, {RANKED:,} pairs", header, rows)
    if figure:
        draw(sets, [name for name in methods if "pairs" not in name], shown, figure)


def draw(sets, methods, shown, path):
    """One image of each set by every method."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(sets), len(methods) + 1, figsize=(1.7 * (len(methods) + 1), 1.8 * len(sets)))
    for k, (row, (kind, (_, y))) in enumerate(zip(axes, sets.items(), strict=True)):
        panels = {"truth": y[0], **{name: shown[name, kind] for name in methods}}
        for axis, (name, image) in zip(row, panels.items(), strict=True):
            axis.imshow(image, cmap="gray", vmin=y[0].min(), vmax=y[0].max())
            axis.set_xticks([])
            axis.set_yticks([])
            if not k:
                axis.set_title(name.replace("Reconstructor", ""), fontsize=8)
        row[0].set_ylabel(kind, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    options = parse(__doc__, tuple(MODELS), 9000, figure=True)
    if options.command == "train":
        train(options)
    else:
        print(machine())
        tune() if options.command == "tune" else table(options.figure)

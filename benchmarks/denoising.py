"""Denoising of a foam at low dose: trains TomoGAN, tunes what it is compared with, and prints the table.

    python benchmarks/denoising.py train NAME --epochs N [--pairs 64] [--minutes 95] [--checkpoints FOLDER]
    python benchmarks/denoising.py tune
    python benchmarks/denoising.py table [--figure FILE]

Slices of 512 x 512 pixels, 1,024 views at full dose; half of the photons that go through the foam are absorbed. The
test foam has voids of other sizes than the one that is trained on. ``tune`` chooses the parameters of FBP, SIRT and TV
on the validation foam, which is of the kind of the training foam; only ``table`` reads the test foam. PSNR and SSIM
have the range of each true slice; those without the first slice of the volume are of slices with two neighbours.
"""

import numpy as np
from _foams import CASES, SIZE, foam, scan
from _timing import machine, print_table
from _training import minutes, parse, quality, train_row, trained_rows

import tomolearn
from tomolearn import FBPReconstructor, SIRTReconstructor, TVReconstructor

RECIPE = {"batch_size": 8, "optimizer": "muon"}
NAMES = {"views8": "views 1/8", "views16": "views 1/16", "photons500": "500 photons", "photons100": "100 photons"}
DEEP = {"-d3": {"n_adjacent": 3}}
# The pixels are learned first, by the squared error alone: a step with the critic takes several times as long. All rows
# of a case go on from there, with all the losses or without some.
ALONE = {"adversarial_weight": 0.0, "perceptual_weight": 0.0}
FIRST = ALONE | {"learning_rate": 0.01}
THEN = {"learning_rate": 0.002, "warm_start": True}
LOSSES = {
    "-mse": ("squared error", ALONE),
    "-mse-adversarial": ("squared error and critic", {"perceptual_weight": 0.0}),
    "-mse-perceptual": ("squared error and features", {"adversarial_weight": 0.0}),
}
ABLATED = "photons100"  # the case that losses are left out in
ROWS = {name + deep: extra for name in NAMES for deep, extra in ({"": {}} | DEEP).items()}
MODELS = {f"{row}-first": extra | FIRST for row, extra in ROWS.items()}
MODELS |= {row: extra | THEN for row, extra in ROWS.items()}
MODELS |= {ABLATED + suffix: extra | THEN for suffix, (_, extra) in LOSSES.items()}
# What `tune` found best on the validation foam, by SSIM.
CUTOFFS = {"views8": 0.3, "views16": 0.2, "photons500": 0.3, "photons100": 0.2}
ITERATIONS = {"views8": 320, "views16": 320, "photons500": 160, "photons100": 160}
WEIGHTS = {"views8": 20, "views16": 20, "photons500": 320, "photons100": 320}
FBP = {name: {"filter": "hann", "cutoff": cutoff} for name, cutoff in CUTOFFS.items()}
SIRT = {name: {"max_iter": number, "nonnegative": True} for name, number in ITERATIONS.items()}
TV = {name: {"regularization": weight, "max_iter": 200, "nonnegative": True} for name, weight in WEIGHTS.items()}
APART = 4  # every fourth slice of the test foam is reconstructed by all methods


def reconstructor(kind, angles, **parameters):
    if kind is FBPReconstructor:
        parameters["method"] = "direct"  # as the networks were trained
    return kind(angles=angles, angle_unit="rad", image_shape=(SIZE, SIZE), **parameters)


def slices(part, case):
    """What the network is given: filtered back-projections."""
    sinograms, angles = scan(part, case)
    return reconstructor(FBPReconstructor, angles).fit_transform(sinograms)


def train(options):
    """One leg of the training of a row."""
    name, case = options.name, NAMES[options.name.split("-")[0]]
    if name.endswith("-first"):
        estimator = tomolearn.TomoGANDenoiser(**RECIPE | MODELS[name])
    else:
        estimator = first_stage(name)[1].set_params(**MODELS[name])
    pair = slices("train", case)[: options.pairs], foam("train")[0][: options.pairs]
    row = f"foam-{options.name}-{options.pairs}" + (f"-seed{options.seed}" if options.seed else "")
    train_row(row, estimator, pair, (slices("validation", case), foam("validation")[0]), options)


def first_stage(name):
    """Facts and estimator of the training that a row goes on from."""
    ((facts, estimator),) = trained_rows(f"foam-{name.split('-mse')[0]}-first")
    usual = tomolearn.TomoGANDenoiser()
    return facts, estimator.set_params(**{key: getattr(usual, key) for key in ALONE})


def tune():
    """Grid searches of the classical methods on a slice of the validation foam."""
    truth = foam("validation")[0][:1]
    for name, case in NAMES.items():
        sinograms, angles = scan("validation", case)
        weights = (10, 20, 40) if name.startswith("views") else (80, 160, 320, 640)
        grids = (
            (FBPReconstructor, [{"filter": "hann", "cutoff": c} for c in (0.1, 0.2, 0.3, 0.5, 1.0)]),
            (SIRTReconstructor, [{"max_iter": n, "nonnegative": True} for n in (80, 160, 320)]),
            (TVReconstructor, [{"regularization": w, "max_iter": 200, "nonnegative": True} for w in weights]),
        )
        rows = []
        for kind, tried in grids:
            for parameters in tried:
                images = reconstructor(kind, angles, **parameters).fit_transform(sinograms[:1])
                value, structure = quality(images, truth)
                rows.append([kind.__name__, str(parameters), f"{value:.2f}", f"{structure:.3f}"])
        print_table(f"{name}: {case}, validation foam", ["estimator", "parameters", "PSNR / dB", "SSIM"], rows)


def table(figure=None):
    """Every method on slices of the test foam, which lie apart."""
    truth, panels = foam("test")[0][::APART], {}
    for name, case in NAMES.items():
        sinograms, angles = scan("test", case)
        methods = {
            "FBP": reconstructor(FBPReconstructor, angles).fit(sinograms).predict,
            "FBP, tuned": reconstructor(FBPReconstructor, angles, **FBP[name]).fit(sinograms).predict,
            "SIRT": reconstructor(SIRTReconstructor, angles, **SIRT[name]).fit(sinograms).predict,
            "TV": reconstructor(TVReconstructor, angles, **TV[name]).fit(sinograms).predict,
        }
        given, told = slices("test", case), {}
        for suffix in ("", *DEEP, *(LOSSES if name == ABLATED else ())):
            for facts, estimator in trained_rows(f"foam-{name}{suffix}"):
                label = "TomoGAN" + (
                    f", {LOSSES[suffix][0]}" if suffix in LOSSES else suffix.replace("-d3", ", 3 slices")
                )
                label += f", seed {facts['seed']}" if facts["seed"] else ""
                methods[label] = lambda _, e=estimator, X=given: e.predict(X)[::APART]
                first = first_stage(name + suffix)[0]
                both = {key: facts[key] + first[key] for key in ("minutes", "processor_minutes")}
                told[label] = minutes(facts | both)
        rows, panels[case] = [], {"truth": truth[0]}
        for label, predict in methods.items():
            images = predict(sinograms[::APART])
            if "squared error" not in label:
                panels[case][label] = images[0]
            figures = *quality(images, truth), *quality(images[1:], truth[1:])
            rows.append([label, told.get(label, "-"), *(f"{x:.{2 + k % 2}f}" for k, x in enumerate(figures))])
        photons, n_views = CASES[case]
        title = f"{case}: {n_views} views, {photons:,} photons, test foam of {len(truth)} slices"
        header = ["method", "minutes (of processor)", "PSNR / dB", "SSIM", "PSNR without the first", "SSIM without it"]
        print_table(title, header, rows)
    if figure:
        draw(panels, figure)


def draw(panels, path):
    """The middle of the first test slice by every method, a row for each case."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    width = max(len(row) for row in panels.values())
    figure, axes = plt.subplots(
        len(panels), width, figsize=(2.2 * width, 2.3 * len(panels)), layout="constrained", squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    middle = slice(SIZE // 2 - 80, SIZE // 2 + 80)
    for row, (case, images) in zip(axes, panels.items(), strict=True):
        for axis, (name, image) in zip(row, images.items(), strict=False):
            axis.imshow(np.asarray(image)[middle, middle], cmap="gray", vmin=-0.1, vmax=1.1)
            axis.set_title(f"{case}\n{name}" if name == "truth" else name, fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    options = parse(__doc__, tuple(MODELS), 64, figure=True)
    if options.command == "train":
        train(options)
    else:
        print(machine())
        tune() if options.command == "tune" else table(options.figure)

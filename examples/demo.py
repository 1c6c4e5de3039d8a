"""
The whole way in one command: a raw scan of low dose, corrected, reconstructed, denoised by what is learned on the spot
=======================================================================================================================

A scan of few photons is simulated with the faults of a beamline (rings, zingers, dead pixels, an axis beside the
middle) and written as Data Exchange HDF5. From this file on everything is as with a scan of one's own: corrections, the
axis, filtered back-projection. Two networks are trained: Noise2Inverse on the noisy scan alone, and TomoGAN on pairs
that are simulated of another object. Both are saved, loaded again and applied; a table and a figure compare them with
FBP, SIRT and TV. The parameters of these three are chosen on a slice of the other object, never on the scan shown.

    python examples/demo.py [--out demo] [--data FOLDER] [--quick]

Where ``--data`` or the environment variable TOMOLEARN_SHARED_DATA names the folder that holds the measured tooth, of
which no truth is known, TV from a quarter of its views is compared with FBP from all.
"""

import argparse
import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

import tomolearn
from tomolearn import (
    FBPReconstructor,
    Noise2InverseReconstructor,
    SIRTReconstructor,
    TomoGANDenoiser,
    TVReconstructor,
    psnr,
    scorer,
    ssim,
)
from tomolearn.io import open_scan, open_volume, write_scan
from tomolearn.preprocessing import FlatFieldCorrector, MinusLog, StripeRemover, ZingerRemover
from tomolearn.simulation import simulate_scan
from tomolearn.streaming import reconstruct_volume

SEED = 0  # of the scan; the other object has the next one
RULE = "reference"  # of PSNR and SSIM: from the least to the greatest value of each true slice


@dataclass(frozen=True)
class Plan:
    """How much is done."""

    rows: int = 12
    size: int = 256
    n_angles: int = 360
    photons: float = 80.0  # on a detector pixel without the object
    training_rows: int = 16
    scan_epochs: int = 12  # of Noise2Inverse
    pixel_epochs: int = 8  # of TomoGAN without its critic
    critic_epochs: int = 1
    iterations: tuple[int, ...] = (15, 20, 30, 40)  # of SIRT
    regularizations: tuple[float, ...] = (2.0, 4.0, 8.0)  # of TV
    tooth_iterations: int = 250  # of TV


QUICK = Plan(3, 48, 48, 80.0, 4, 1, 1, 1, (5, 10), (2.0, 8.0), 1)
FAULTS = {
    "absorption": 1.0,
    "center_offset": -7.5,
    "ring_strength": 0.05,
    "zinger_fraction": 3e-4,
    "n_dead": 1,
    "n_flats": 200,  # they cost no dose; too few make rings of their own noise
    "n_darks": 100,
}
CORRECTIONS = [
    ("flat", FlatFieldCorrector(average="mean")),
    ("zingers", ZingerRemover(threshold=0.6)),
    ("log", MinusLog()),
    ("stripes", StripeRemover(method="sorting", sorting_size=5)),
]
TOOTH_CORRECTIONS = [("flat", FlatFieldCorrector()), ("log", MinusLog()), ("stripes", StripeRemover())]
# Colours that colour-blind readers tell apart (Okabe and Ito).
COLORS = {
    "truth": "black",
    "FBP": "#999999",
    "SIRT": "#56B4E9",
    "TV": "#0072B2",
    "Noise2Inverse": "#D55E00",
    "TomoGAN": "#009E73",
}


class Clock:
    """Prints what happens, with the seconds since the start."""

    def __init__(self):
        self.began = time.perf_counter()

    def __call__(self, text):
        print(f"{time.perf_counter() - self.began:5.0f} s  {text}", flush=True)


# ------------------------------------------------------------------------------------------------------- the steps


def corrected(steps, counts, flats, darks):
    """Line integrals (rows, angles, detectors) of raw counts in memory."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(interpolated|replaced|raised to)")  # what is repaired is printed once
        return Pipeline(steps).fit_transform(counts, flat__flats=flats, flat__darks=darks)


def from_file(name, reconstructor, steps, file, out):
    """From the raw file to a volume on disk: the volume, seconds a slice for its reconstruction alone, the report."""
    pipeline = Pipeline([*steps, ("reconstruct", reconstructor)])
    report = reconstruct_volume(pipeline, file, out / f"{name}.h5", overwrite=True)
    with open_volume(report.path) as volume:
        return volume[:], report.seconds["reconstruct"] / report.shape[0], report


def simulated(plan, rows, seed):
    return simulate_scan(rows, plan.size, plan.n_angles, photons=plan.photons, random_state=seed, **FAULTS)


def written(scan, file):
    frames = {"flats": scan.flats, "darks": scan.darks}
    write_scan(file, scan.counts, angles=scan.angles, angle_unit="rad", overwrite=True, **frames)
    return file


def chosen(estimator, grid, sinograms, truth):
    """The estimator with the parameters of highest PSNR."""
    search = GridSearchCV(
        estimator, grid, scoring=scorer("psnr", data_range=RULE), cv=[([0], [0])], refit=False, error_score="raise"
    )
    return clone(estimator).set_params(**search.fit(sinograms, truth).best_params_)


def tuned(plan, sinograms, truth, known):
    """FBP, SIRT and TV with parameters that suit one slice."""
    cutoffs = {"cutoff": [0.1, 0.2, 0.3, 0.5]}
    iterations, weights = {"max_iter": list(plan.iterations)}, {"regularization": list(plan.regularizations)}
    return {
        "FBP": chosen(FBPReconstructor(filter="hann", **known), cutoffs, sinograms, truth),
        "SIRT": chosen(SIRTReconstructor(nonnegative=True, **known), iterations, sinograms, truth),
        "TV": chosen(TVReconstructor(nonnegative=True, max_iter=200, **known), weights, sinograms, truth),
    }


def noise2inverse(epochs, known):
    return Noise2InverseReconstructor(
        filter="hann",  # less noise in what the network learns from, which is a little smoother
        channels=(32, 32, 64, 64),
        max_epochs=epochs,
        batch_size=4,
        ema_decay=0.98,
        early_stopping=False,
        random_state=SEED,
        **known,
    )


def tomogan(plan):
    """Three slices make one. The pixels are learned first, the critic comes in at the end; features are left out."""
    return TomoGANDenoiser(
        n_adjacent=3,
        perceptual_weight=0.0,
        optimizer="muon",
        learning_rate=1e-2,
        max_epochs=plan.pixel_epochs + plan.critic_epochs,
        pixel_epochs=plan.pixel_epochs,
        batch_size=2,
        early_stopping=False,
        random_state=SEED,
    )


def reloaded(estimator, file):
    estimator.save(file)
    return tomolearn.load(file)


# ------------------------------------------------------------------------------------------------- the whole way


def reconstruct_scan(plan, out, say):
    """The simulated scan by all methods: true slices, and images and seconds a slice of each method."""
    scan, other = simulated(plan, plan.rows, SEED), simulated(plan, plan.training_rows + 2, SEED + 1)
    file = written(scan, out / "scan.h5")
    say(f"{file.name}: {plan.rows} rows, {plan.n_angles} views, {plan.photons:g} photons a pixel, seed {SEED}")

    sinograms = corrected(CORRECTIONS, other.counts, other.flats, other.darks)
    known = {"angles": other.angles, "angle_unit": "rad"}
    # The last slice chooses; the one before it, which looks like it, teaches nobody.
    classical = tuned(plan, sinograms[-1:], other.volume[-1:], known | {"center": other.center})
    values = {"FBP": "cutoff", "SIRT": "max_iter", "TV": "regularization"}
    found = ", ".join(f"{name} {values[name]}={getattr(e, values[name]):g}" for name, e in classical.items())
    say(f"chosen on a slice of another simulated object: {found}")

    vo = clone(classical["FBP"]).set_params(angles=None, center="vo")
    images, seconds, report = from_file("fbp", vo, CORRECTIONS, file, out)
    repaired = ", ".join(f"{count} {what}" for what, count in report.counts.items() if count)
    say(f"fbp.h5: axis found at {report.center:.2f}, is {scan.center:.2f}; {repaired}")
    results = {"FBP": (images, seconds)}
    for name in ("SIRT", "TV"):
        method = clone(classical[name]).set_params(center=report.center)
        results[name] = from_file(name.lower(), method, CORRECTIONS, file, out)[:2]
        say(f"{name.lower()}.h5: {results[name][1]:.2f} s a slice")

    itself = noise2inverse(plan.scan_epochs, known | {"center": report.center})
    itself.fit(corrected(CORRECTIONS, scan.counts, scan.flats, scan.darks))
    say(f"Noise2Inverse: trained on the scan itself in {sum(itself.history_['seconds']):.0f} s")
    results["Noise2Inverse"] = cleaned(itself, "noise2inverse", CORRECTIONS, file, out)

    noisy = classical["FBP"].fit_transform(sinograms[:-2])
    gan = tomogan(plan).fit(noisy, other.volume[:-2])
    say(f"TomoGAN: trained on {len(noisy)} slices of the other object in {sum(gan.history_['seconds']):.0f} s")
    model = reloaded(gan, out / "tomogan.tomo")
    began = time.perf_counter()
    path = model.predict_volume(out / "fbp.h5", out / "tomogan.h5", overwrite=True)
    spent = (time.perf_counter() - began) / plan.rows
    with open_volume(path) as volume:
        results["TomoGAN"] = volume[:], seconds + spent
    say("both saved as .tomo, loaded again and applied to all slices")
    return scan.volume, results


def cleaned(estimator, name, steps, file, out):
    """What a trained Noise2Inverse makes of a raw scan, by way of its model file."""
    model = reloaded(estimator, out / f"{name}.tomo")
    return from_file(name, FrozenEstimator(model), steps, file, out)[:2]


def reconstruct_tooth(plan, file, out, say):
    """The measured tooth: by FBP from all views, and by FBP and TV from every fourth."""
    fbp = FBPReconstructor(filter="hann", center="vo")
    images, _, report = from_file("tooth_fbp", fbp, TOOTH_CORRECTIONS, file, out)
    with open_scan(file) as scan:
        angles = scan.angles
        sinograms = corrected(TOOTH_CORRECTIONS, scan[:], scan.flats[:], scan.darks[:])
    few = sinograms[:, ::4]
    known = {"angles": angles[::4], "angle_unit": "rad", "center": report.center}
    tv = TVReconstructor(regularization=0.05, max_iter=plan.tooth_iterations, nonnegative=True, **known)
    began = time.perf_counter()
    smooth = tv.fit_transform(few)
    say(f"tooth: TV from {few.shape[1]} views, {(time.perf_counter() - began) / len(few):.1f} s a slice")
    sparse = FBPReconstructor(filter="hann", **known).fit_transform(few)
    titles = [f"FBP, {len(angles)} views", f"FBP, {few.shape[1]} views", f"TV, {few.shape[1]} views"]
    return dict(zip(titles, (images[0], sparse[0], smooth[0]), strict=True))


# ----------------------------------------------------------------------------------------------- table and figures


def table(plan, truth, results):
    """Lines of text, and (PSNR, SSIM, seconds a slice) of each method."""
    lines = [
        f"{len(truth)} slices of {plan.size} x {plan.size}, {plan.n_angles} views of {plan.photons:g} photons a pixel, "
        f"seed {SEED}; PSNR and SSIM: mean over the",
        "slices, data range from the least to the greatest value of each true slice",
        f"{'method':<16}{'PSNR, dB':>10}{'SSIM':>9}{'s a slice':>12}",
    ]
    figures = {}
    for name, (images, seconds) in results.items():
        figures[name] = psnr(truth, images, data_range=RULE), ssim(truth, images, data_range=RULE), seconds
        lines.append(f"{name:<16}{figures[name][0]:>10.2f}{figures[name][1]:>9.3f}{seconds:>12.3f}")
    return lines, figures


def saved(figure, path):
    """Write a figure whole or not at all."""
    import matplotlib.pyplot as plt

    beside = path.with_name(f".{path.name}.part")
    try:
        figure.savefig(beside, dpi=120, format="png")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
        plt.close(figure)


def slide(plan, truth, results, figures, path):
    """16:9: a slice by every method, a detail of it, a profile through the detail, and quality against time."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    panels = {"truth": truth} | {name: images for name, (images, _) in results.items()}
    figure = plt.figure(figsize=(16, 9), layout="constrained")
    figure.suptitle(
        f"{plan.n_angles} views of {plan.photons:g} photons a pixel; the networks were trained on the spot", fontsize=22
    )
    upper, lower = figure.subfigures(2, 1, height_ratios=(2.2, 1))
    size, row = plan.size, len(truth) // 2
    edge = size // 4
    top, left = size // 2 - edge // 2, size // 2 + edge // 8
    window = slice(top, top + edge), slice(left, left + edge)
    for column, (name, images) in enumerate(panels.items()):
        whole, detail = upper.add_subplot(2, len(panels), 1 + column), upper.add_subplot(2, len(panels), 7 + column)
        shown = {"cmap": "gray", "vmin": 0.0, "vmax": float(truth[row].max()), "interpolation": "nearest"}
        whole.imshow(images[row], **shown)
        whole.set(xlim=(0.06 * size, 0.94 * size), ylim=(0.94 * size, 0.06 * size))  # without the empty rim
        whole.add_patch(Rectangle((left, top), edge, edge, fill=False, color="#E69F00", linewidth=2))
        score = "" if name == "truth" else f"{figures[name][0]:.1f} dB, SSIM {figures[name][1]:.2f}"
        whole.set_title(name, fontsize=18, color=COLORS[name], fontweight="bold")
        whole.set_xlabel(score, fontsize=15)
        detail.imshow(images[row][window], **shown)
        if name == "truth":
            detail.axhline(edge // 2, color="#E69F00", linestyle="--", linewidth=2)
        for axes in (whole, detail):
            axes.set(xticks=[], yticks=[])
    left_panel, right_panel = lower.subplots(1, 2, width_ratios=(2, 1))
    _profile(left_panel, panels, row, top + edge // 2, window[1])
    _quality(right_panel, figures)
    saved(figure, path)


def _profile(axes, panels, row, line, columns):
    x = np.arange(columns.start, columns.stop)
    for name in ("FBP", "TV", "Noise2Inverse", "TomoGAN", "truth"):
        width, style = (3.0, "--") if name == "truth" else (1.5 if name == "FBP" else 2.5, "-")
        axes.plot(x, panels[name][row, line, columns], style, color=COLORS[name], linewidth=width, label=name)
    axes.set_xlim(x[0], x[-1])
    axes.set_xlabel("column / pixel, along the dashed line", fontsize=14)
    axes.set_ylabel("attenuation\n1 / pixel", fontsize=14)
    axes.tick_params(labelsize=12)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5, fontsize=14, frameon=False)


def _quality(axes, figures):
    for name, (quality, _, seconds) in figures.items():
        axes.plot(seconds, quality, "o", markersize=12, color=COLORS[name])
        axes.annotate(
            name,
            (seconds, quality),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=13,
            color=COLORS[name],
            fontweight="bold",
        )
    axes.set_xscale("log")
    axes.margins(0.15, 0.35)  # room for the names
    axes.set_xlabel("seconds a slice, without training", fontsize=14)
    axes.set_ylabel("PSNR / dB", fontsize=14)
    axes.tick_params(labelsize=12)
    axes.grid(alpha=0.3)


def tooth_slide(images, path):
    """16:9: the tooth and, below, a detail of it."""
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    figure, axes = plt.subplots(2, len(images), figsize=(16, 9), layout="constrained")
    figure.suptitle("Measured tooth", fontsize=22)
    low, high = np.percentile(next(iter(images.values()))[190:530, 150:490], (1, 99.8))
    shown = {"cmap": "gray", "vmin": low, "vmax": high}
    for (whole, detail), (name, image) in zip(axes.T, images.items(), strict=True):
        whole.imshow(image[190:530, 150:490], **shown)
        whole.add_patch(Rectangle((110, 110), 120, 120, fill=False, color="#E69F00", linewidth=2))
        whole.set_title(name, fontsize=20)
        detail.imshow(image[300:420, 260:380], **shown, interpolation="nearest")
    for panel in axes.flat:
        panel.set_axis_off()
    saved(figure, path)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder to write (default: demo)")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("TOMOLEARN_SHARED_DATA"),
        help="folder with aps_tooth/tooth.h5 (default: TOMOLEARN_SHARED_DATA)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a tiny scan and one epoch: tries the steps, shows nothing"
    )
    options = parser.parse_args(arguments)
    plan, out, say = QUICK if options.quick else Plan(), options.out, Clock()
    out.mkdir(parents=True, exist_ok=True)
    truth, results = reconstruct_scan(plan, out, say)
    lines, figures = table(plan, truth, results)
    print("\n", *lines, "", sep="\n", flush=True)
    slide(plan, truth, results, figures, out / "demo.png")
    tooth = None if options.data is None else Path(options.data) / "aps_tooth" / "tooth.h5"
    if tooth is not None and tooth.is_file():
        tooth_slide(reconstruct_tooth(plan, tooth, out, say), out / "tooth.png")
    else:
        say("the measured tooth is left out: neither --data nor TOMOLEARN_SHARED_DATA names a folder that holds it")
    say(f"wrote {', '.join(sorted(path.name for path in out.iterdir()))} to {out}/")
    say(f"{time.process_time():.0f} s of processor in all")


if __name__ == "__main__":
    main()

"""The measured tooth at low dose: TomoGAN trained on foams, Noise2Inverse trained on the scan itself, FBP and TV.

    python benchmarks/tooth_dose.py train NAME --epochs N [--pairs 64] [--minutes 95] [--checkpoints FOLDER]
    python benchmarks/tooth_dose.py tune
    python benchmarks/tooth_dose.py table [--figure FILE]

Two cases: "views", 46 of the 181 views; and "counts", all views of a sixteenth of the photons, thinned at random, which
a photon is GAIN counts for by the noise of the flat fields. TomoGAN learns from foams of one and of several materials
that are projected under the angles and around the axis of the scan, with its noise; nothing of the tooth is trained on,
and `tune` chooses the parameters of FBP and TV on foams too. Noise2Inverse learns from the low-dose scan. What is
compared with is filtered back-projection (Hann) of the whole scan, within the circle that the detector sees; the data
range is that of this image. It has noise and streaks of its own.
"""

import numpy as np
from _timing import machine, print_table
from _training import minutes, parse, quality, train_row, trained_rows
from sklearn.pipeline import make_pipeline
from tooth import CENTER, EVERY, NOISE, REFERENCE, SIZE, data, measured, scan_parameters

from tomolearn import (
    FBPReconstructor,
    Noise2InverseReconstructor,
    TomoGANDenoiser,
    TVReconstructor,
    open_scan,
    psnr,
    radon,
    ssim,
)
from tomolearn.preprocessing import FlatFieldCorrector, MinusLog, SinogramBinner, StripeRemover
from tomolearn.simulation import add_gaussian_noise, random_foam, random_shapes

EXPOSURE, GAIN = 1 / 16, 0.59  # counts of the scan that a photon makes: variance over mean of its flat fields
THINNED = 0.04  # standard deviation over the mean of a sinogram at a sixteenth of the photons
CASES = {"views": f"{181 // EVERY + 1} of 181 views", "counts": "1/16 of the photons"}
NAMES = tuple(f"{kind}-{case}" for kind in ("tomogan", "n2i") for case in CASES)
TOMOGAN = {"batch_size": 8, "optimizer": "muon", "learning_rate": 0.01, "pixel_epochs": 12}
N2I = {"ema_decay": 0.99}
# What `tune` found best on foams, by PSNR.
FBP = {case: {"filter": "hann", "cutoff": cutoff} for case, cutoff in (("views", 0.4), ("counts", 1.0))}
TV = {
    case: {"regularization": weight, "max_iter": 300, "nonnegative": True}
    for case, weight in (("views", 4.0), ("counts", 16.0))
}


def low_dose(case):
    """Sinograms (2, views, 320) of the tooth at low dose, and the angles in radians."""
    if case == "views":
        X, angles = measured()
        return X[:, ::EVERY], angles[::EVERY]
    with open_scan(data()) as scan:
        flats, darks, angles = scan.flats[:], scan.darks[:], scan.angles
        dark = darks.mean(axis=1, keepdims=True)
        photons = np.maximum(np.rint((scan[:] - dark) / GAIN), 0).astype(np.int64)
        few = np.random.default_rng(0).binomial(photons, EXPOSURE) / EXPOSURE * GAIN + dark
    steps = make_pipeline(FlatFieldCorrector(), MinusLog(), StripeRemover(), SinogramBinner(detector_factor=2))
    known = {"flatfieldcorrector__flats": flats, "flatfieldcorrector__darks": darks}
    return steps.fit_transform(few.astype(np.float32), **known), angles


def foams(case, n, seed):
    """Noisy sinograms of foams under the angles of a case, its angles, and their slices, as a volume.

    Every other slice is a foam of several materials: the tooth has two, and a network that has seen one knows no other.
    """
    _, angles = low_dose(case)
    volume = random_foam(n, SIZE, radius_range=(4.0, 40.0), random_state=seed).volume()
    shades = random_shapes((n + 1) // 2, SIZE, n_shapes=(5, 20), shape_size=(40, 200), random_state=seed)
    volume[::2] *= 0.3 + 0.7 * shades
    exact = radon(volume, angles, n_detectors=SIZE, center=CENTER, angle_unit="rad")
    noise = NOISE if case == "views" else THINNED
    return add_gaussian_noise(exact, noise, random_state=seed), angles, volume


def images_and_truth(case, n, seed):
    sinograms, angles, truth = foams(case, n, seed)
    return FBPReconstructor(method="direct", **scan_parameters(angles)).fit_transform(sinograms), truth


def train(options):
    """One leg of the training of a row."""
    kind, case = options.name.split("-")
    if kind == "tomogan":
        pair, held = images_and_truth(case, options.pairs, 1), images_and_truth(case, 8, 2)
        train_row(f"tooth-{options.name}-{options.pairs}", TomoGANDenoiser(**TOMOGAN), pair, held, options)
        return
    X, angles = low_dose(case)
    model = Noise2InverseReconstructor(**N2I, n_splits=2 if case == "views" else 4, **scan_parameters(angles))
    train_row(f"tooth-{options.name}-{len(X)}", model, (X,), None, options, validate=False)


def tune():
    """Grid searches of the classical methods on foams."""
    for case in CASES:
        X, angles, y = foams(case, 4, 2)
        known = scan_parameters(angles)
        rows = []
        for cutoff in (0.2, 0.3, 0.4, 0.6, 0.8, 1.0):
            images = FBPReconstructor(method="direct", filter="hann", cutoff=cutoff, **known).fit_transform(X)
            rows.append([f"FBP, Hann, cutoff {cutoff}", images])
        for weight in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0):
            method = TVReconstructor(regularization=weight, max_iter=300, nonnegative=True, **known)
            rows.append([f"TV, weight {weight}", method.fit_transform(X)])
        rows = [[name, *(f"{value:.3f}" for value in quality(images, y))] for name, images in rows]
        print_table(f"{CASES[case]}, foams", ["method", "PSNR / dB", "SSIM"], rows)


def table(figure=None):
    """Every method on the tooth."""
    X, angles = measured()
    reference = FBPReconstructor(method="direct", **REFERENCE, **scan_parameters(angles)).fit_transform(X)
    scale = float(np.percentile(reference, 99.9))  # what has learned from foams knows objects of about 1
    rows_, columns = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    inside = np.hypot(rows_, columns) < min(CENTER, SIZE - 1 - CENTER)
    data_range, shown = float(np.ptp(reference[:, inside])), {}
    for case, title in CASES.items():
        few, angles = low_dose(case)
        known = scan_parameters(angles)
        plain = FBPReconstructor(method="direct", **known).fit_transform(few / scale)
        images, told = {"FBP": plain}, {}
        images["FBP, tuned"] = FBPReconstructor(method="direct", **FBP[case], **known).fit_transform(few / scale)
        images["TV"] = TVReconstructor(**TV[case], **known).fit_transform(few / scale)
        for kind, given in (("tomogan", plain), ("n2i", few)):
            for facts, model in trained_rows(f"tooth-{kind}-{case}"):
                name = type(model).__name__
                images[name], told[name] = model.predict(given) / (1 if kind == "tomogan" else scale), minutes(facts)
        images = {name: stack * scale for name, stack in images.items()}
        rows = [
            [
                name,
                told.get(name, "-"),
                f"{psnr(reference, stack, data_range=data_range, weights=inside):.2f}",
                f"{ssim(reference * inside, stack * inside, data_range=data_range, weights=inside):.3f}",
            ]
            for name, stack in images.items()
        ]
        print_table(f"tooth, {title}", ["method", "minutes (of processor)", "PSNR / dB", "SSIM"], rows)
        shown[title] = {"all photons and views": reference} | images
    if figure:
        draw(shown, figure)


def draw(shown, path):
    """For each case the first slice by every method, and the values along 200 pixels of the line that is marked."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    line, across = 150, slice(60, 260)
    width = max(map(len, shown.values()))
    figure, axes = plt.subplots(2 * len(shown), width, figsize=(3 * width, 5.4 * len(shown)), layout="constrained")
    for pair, (title, images) in zip(axes.reshape(len(shown), 2, width), shown.items(), strict=True):
        reference = next(iter(images.values()))[0]
        high = float(np.percentile(reference, 99.8))
        for (above, below), (name, stack) in zip(pair.T, images.items(), strict=False):
            above.imshow(stack[0], cmap="gray", vmin=-0.1 * high, vmax=high)
            above.plot([across.start, across.stop], [line, line], "c", linewidth=0.7)
            above.set_title(f"{title}\n{name}", fontsize=9)
            below.plot(reference[line, across], "k", linewidth=0.8)
            below.plot(stack[0, line, across], "c", linewidth=0.8)
            below.set_ylim(-0.15 * high, 1.2 * high)
            above.set_axis_off()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    options = parse(__doc__, NAMES, 64, figure=True)
    if options.command == "train":
        train(options)
    else:
        print(machine())
        tune() if options.command == "tune" else table(options.figure)

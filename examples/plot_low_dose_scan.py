"""
Low-dose scan of a foam: FBP, SIRT and TV side by side
======================================================

A foam cylinder is scanned with few photons and few angles; its exact projections are known, so every reconstruction can
be compared with the truth. Where the measured tooth is at hand (``--data``, or ``$TOMOLEARN_SHARED_DATA``), it is
reconstructed too. Writes TIFF slices and one figure.

The parameters of SIRT and TV were chosen on a foam of another seed (``--validate`` prints the search), never on the one
that is shown.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import tifffile
from sklearn.base import clone

from tomolearn import FBPReconstructor, SIRTReconstructor, TVReconstructor, psnr, ssim
from tomolearn.geometry import default_angles
from tomolearn.io import open_scan
from tomolearn.preprocessing import find_center, flat_field, minus_log
from tomolearn.simulation import add_photon_noise, random_foam

SIZE, N_ANGLES, N_SLICES, PHOTONS = 256, 120, 4, 2000
ATTENUATION = 0.012  # of the foam's matrix, in 1/pixel: the thickest ray keeps 6 % of its photons

METHODS = {
    "FBP": FBPReconstructor(filter="ram-lak"),
    "FBP, Hann": FBPReconstructor(filter="hann"),
    "SIRT": SIRTReconstructor(max_iter=160, nonnegative=True),
    "TV": TVReconstructor(regularization=20.0, max_iter=150, nonnegative=True),
}
TOOTH = {"SIRT": {"max_iter": 80}, "TV": {"regularization": 0.05, "max_iter": 250}}  # by eye: there is no truth


def foam_scan(seed):
    """Noisy sinograms (slices, angles, detectors) and true images of a foam cylinder, values about 1."""
    foam = random_foam(N_SLICES, SIZE, n_voids=300, radius_range=(3.0, 22.0), height=64.0, random_state=seed)
    exact = foam.sinograms(default_angles(N_ANGLES))
    noisy = add_photon_noise(ATTENUATION * exact, PHOTONS, random_state=seed) / ATTENUATION
    return noisy.astype(np.float32), foam.volume()


def tooth_scan(folder):
    """Sinogram of the first row, angles in radians and rotation axis of the measured tooth (Data Exchange HDF5)."""
    with open_scan(folder / "aps_tooth" / "tooth.h5") as scan:
        row = scan.select(rows=slice(0, 1))
        sinograms = minus_log(flat_field(row[:], row.flats[:], row.darks[:]))
    return sinograms, scan.angles, find_center(sinograms, scan.angles, angle_unit="rad")


def compare(sinograms, truth):
    """Reconstruct with every method; returns images and prints the table."""
    images = {}
    print(
        f"foam, {N_SLICES} slices of {SIZE} x {SIZE}, {N_ANGLES} angles, {PHOTONS} photons a ray, seed 0; "
        "data range 1, the truth's"
    )
    print(f"{'method':<12}{'PSNR, dB':>10}{'SSIM':>8}{'s a slice':>12}")
    for name, estimator in METHODS.items():
        start = time.perf_counter()
        images[name] = estimator.fit_transform(sinograms)
        seconds = (time.perf_counter() - start) / len(sinograms)
        quality = psnr(truth, images[name], data_range=1.0), ssim(truth, images[name], data_range=1.0)
        print(f"{name:<12}{quality[0]:>10.2f}{quality[1]:>8.3f}{seconds:>12.3f}", flush=True)
    return images


def figure(path, truth, images, tooth):
    """One row of reconstructions, one of details, and the tooth."""
    import matplotlib.pyplot as plt

    panels = {"truth": truth, **images}
    rows = 2 if tooth is None else 3
    fig, axes = plt.subplots(rows, len(panels), figsize=(3 * len(panels), 3.2 * rows), layout="constrained")
    middle = slice(SIZE // 2 - 40, SIZE // 2 + 40)
    for axis in axes.flat:
        axis.set_axis_off()
    for column, (name, stack) in enumerate(panels.items()):
        image = stack[N_SLICES // 2]
        title = name if name == "truth" else f"{name}\n{psnr(truth, stack, data_range=1.0):.1f} dB"
        axes[0, column].imshow(image, cmap="gray", vmin=-0.1, vmax=1.2)
        axes[0, column].set_title(title)
        axes[1, column].imshow(image[middle, middle], cmap="gray", vmin=-0.1, vmax=1.2)
    if tooth is not None:
        high = float(np.percentile(tooth["FBP, Hann"], 99.8))
        for column, name in enumerate(panels):
            if name in tooth:
                axes[2, column].imshow(tooth[name], cmap="gray", vmin=-0.1 * high, vmax=high)
                axes[2, column].set_title(f"tooth, {name}")
    fig.savefig(path, dpi=110)
    plt.close(fig)


def reconstruct_tooth(folder):
    """The tooth's first slice by the same methods, cut to the middle."""
    sinograms, angles, center = tooth_scan(folder)
    images = {}
    for name, estimator in METHODS.items():
        estimator = clone(estimator).set_params(angles=angles, angle_unit="rad", center=center, **TOOTH.get(name, {}))
        start = time.perf_counter()
        images[name] = estimator.fit_transform(sinograms)[0, 170:510, 150:490]
        print(f"tooth, {name:<10}{time.perf_counter() - start:>8.2f} s for a slice of 640 x 640", flush=True)
    return images


def validate():
    """Search the parameters on a foam of another seed."""
    sinograms, truth = foam_scan(seed=1)
    for max_iter in (40, 80, 160, 320):
        image = SIRTReconstructor(max_iter=max_iter, nonnegative=True).fit_transform(sinograms)
        print(f"SIRT max_iter={max_iter}: {psnr(truth, image, data_range=1.0):.2f} dB")
    for regularization in (5.0, 10.0, 20.0, 40.0):
        image = TVReconstructor(regularization=regularization, max_iter=150, nonnegative=True).fit_transform(sinograms)
        print(f"TV regularization={regularization}: {psnr(truth, image, data_range=1.0):.2f} dB")
    for cutoff in (0.6, 0.8, 1.0):
        image = FBPReconstructor(filter="hann", cutoff=cutoff).fit_transform(sinograms)
        print(f"FBP, Hann cutoff={cutoff}: {psnr(truth, image, data_range=1.0):.2f} dB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder to write (default: demo)")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TOMOLEARN_SHARED_DATA", "../shared/data")))
    parser.add_argument("--validate", action="store_true", help="print the search of the parameters and stop")
    arguments = parser.parse_args()
    if arguments.validate:
        return validate()
    arguments.out.mkdir(parents=True, exist_ok=True)
    sinograms, truth = foam_scan(seed=0)
    images = compare(sinograms, truth)
    tooth = reconstruct_tooth(arguments.data) if (arguments.data / "aps_tooth").is_dir() else None
    for name, stack in {"truth": truth, **images}.items():
        file = arguments.out / f"{name.lower().replace(', ', '_')}.tif"
        tifffile.imwrite(file, stack, imagej=True, metadata={"axes": "ZYX", "unit": "pixel"})
    figure(arguments.out / "reconstructions.png", truth, images, tooth)
    print(f"wrote {', '.join(sorted(path.name for path in arguments.out.iterdir()))} to {arguments.out}/")


if __name__ == "__main__":
    main()

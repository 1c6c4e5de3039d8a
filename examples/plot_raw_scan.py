"""
From a raw scan file to a volume, on a scan whose truth is known and on a measured tooth
========================================================================================

A scan with rings, zingers, dark current and a rotation axis beside the middle is simulated and written as Data Exchange
HDF5, as a beamline would. One pipeline then goes from that file to a volume: flat field, zingers, logarithm, stripes,
rotation axis, filtered back-projection, in blocks of slices. Where the measured tooth is at hand (``--data``), the same
happens to it, and total variation from a quarter of its views is compared with all of them.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline

from tomolearn import FBPReconstructor, TVReconstructor
from tomolearn.io import open_scan, open_volume, write_scan
from tomolearn.metrics import ssim
from tomolearn.preprocessing import FlatFieldCorrector, MinusLog, StripeRemover, ZingerRemover
from tomolearn.simulation import simulate_scan
from tomolearn.streaming import reconstruct_volume

OBJECT = {
    "rows": 4,
    "size": 512,
    "n_angles": 720,
    "center_offset": -11.5,
    "photons": 30_000,
    "dark_level": 300,
    "random_state": 0,
}
FAULTS = {"ring_strength": 0.1, "zinger_fraction": 3e-4, "n_dead": 2}
TOOTH_TV = {"regularization": 0.05, "max_iter": 250, "nonnegative": True}  # by eye: there is no truth

FLAT, LOG = ("flat", FlatFieldCorrector(average="median")), ("log", MinusLog())
CORRECTIONS = [
    FLAT,
    ("zingers", ZingerRemover(threshold=0.2)),
    LOG,
    ("stripes", StripeRemover(method="sorting", sorting_size=5)),
]


FBP = FBPReconstructor(filter="hann", center="vo")


def run(name, steps, scan, out, reconstructor=FBP):
    """Reconstruct from file to file and say how it went; returns the volume and its axis."""
    start = time.perf_counter()
    pipeline = Pipeline([*steps, ("reconstruct", reconstructor)])
    report = reconstruct_volume(pipeline, scan, out / f"{name}.h5", overwrite=True)
    seconds = time.perf_counter() - start
    repaired = ", ".join(f"{count} {what}" for what, count in report.counts.items() if count) or "nothing repaired"
    print(f"{name}: center {report.center:.2f}, {report.shape[0] / seconds:.1f} slices/s; {repaired}", flush=True)
    with open_volume(report.path) as volume:
        return volume[:], report.center


def simulated(out):
    """Volumes of the simulated scan and their root-mean-square errors."""
    faulty, clean = simulate_scan(**OBJECT, **FAULTS), simulate_scan(**OBJECT)
    files = {}
    for name, scan in {"scan": faulty, "clean_scan": clean}.items():
        files[name] = out / f"{name}.h5"
        frames = {"flats": scan.flats, "darks": scan.darks}
        write_scan(files[name], scan.counts, angles=scan.angles, angle_unit="rad", overwrite=True, **frames)
    volumes = {
        "truth": faulty.volume,
        "clean scan": run("clean", [FLAT, LOG], files["clean_scan"], out)[0],
        "not corrected": run("not_corrected", [FLAT, LOG], files["scan"], out)[0],
        "corrected": run("corrected", CORRECTIONS, files["scan"], out)[0],
    }
    errors = {name: float(np.sqrt(np.mean((volume - faulty.volume) ** 2))) for name, volume in volumes.items()}
    print(f"axis at {faulty.center:.2f}; root-mean-square error against the truth, 1/pixel:")
    for name in ("clean scan", "not corrected", "corrected"):
        print(
            f"  {name:<15}{errors[name]:.6f}  {errors[name] / errors['clean scan']:.3f} x the clean scan's", flush=True
        )
    return volumes, errors


def tooth(file, out):
    """Slices of the tooth from all its views, and from every fourth by two methods."""
    scan = open_scan(file)
    few = scan.select(rows=slice(0, 1), angles=slice(None, None, 4))
    steps = [FLAT, LOG, ("stripes", StripeRemover(method="all"))]
    full, center = run("tooth", steps, scan, out)
    methods = {"FBP": FBPReconstructor(filter="hann", center=center), "TV": TVReconstructor(center=center, **TOOTH_TV)}
    images = {"tooth, 181 views, FBP": full[0]}
    for name, reconstructor in methods.items():
        images[f"46 views, {name}"] = run(f"tooth_46_{name.lower()}", steps, few, out, reconstructor)[0][0]
    span = float(np.ptp(full[0]))
    print("tooth: SSIM with the slice from all views, data range its own:")
    for name, image in list(images.items())[1:]:
        print(f"  {name:<15}{ssim(full[0], image, data_range=span):.3f}", flush=True)
    return {name: image[190:530, 150:490] for name, image in images.items()}


def figure(path, volumes, errors, tooth_images):
    """Slices of the simulated scan, a detail of each, and the tooth."""
    import matplotlib.pyplot as plt

    rows = 3 if tooth_images else 2
    fig, axes = plt.subplots(rows, 4, figsize=(13, 3.5 * rows), layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    low, high = np.percentile(volumes["truth"][1], (0.5, 99.9))
    for column, (name, volume) in enumerate(volumes.items()):
        detail = volume[1, 176:336, 176:336]
        axes[0, column].imshow(volume[1], cmap="gray", vmin=low, vmax=high)
        axes[0, column].set_title(name if name == "truth" else f"{name}\nRMSE {errors[name]:.5f}")
        axes[1, column].imshow(detail, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    for column, (name, image) in enumerate(tooth_images.items()):
        low, high = np.percentile(image, (1, 99.8))
        axes[2, column].imshow(image, cmap="gray", vmin=low, vmax=high)
        axes[2, column].set_title(name)
    fig.savefig(path, dpi=110)
    plt.close(fig)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder to write (default: demo)")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TOMOLEARN_SHARED_DATA", "../shared/data")))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    volumes, errors = simulated(arguments.out)
    file = arguments.data / "aps_tooth" / "tooth.h5"
    images = tooth(file, arguments.out) if file.is_file() else {}
    figure(arguments.out / "raw_scan.png", volumes, errors, images)
    print(f"wrote {', '.join(sorted(path.name for path in arguments.out.iterdir()))} to {arguments.out}/")


if __name__ == "__main__":
    main()

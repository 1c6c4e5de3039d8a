"""Slices a second from a raw file to a volume: read, correct, remove stripes, FBP, write; beside algotom in one run.

``python benchmarks/pipeline.py --size 1024 --rows 64`` simulates a scan of as many projections as columns, reconstructs
it with both packages on the same cores, and prints the share of each step.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import torch
from _timing import machine, print_table
from sklearn.pipeline import Pipeline

from tomolearn import FBPReconstructor
from tomolearn.io import open_scan, open_volume, write_scan
from tomolearn.preprocessing import FlatFieldCorrector, MinusLog, StripeRemover
from tomolearn.simulation import simulate_scan
from tomolearn.streaming import reconstruct_volume


def make_scan(folder, size, rows):
    """A scan with rings on disk, and its rotation axis."""
    scan = simulate_scan(min(rows, 16), size, size, center_offset=size / 50, ring_strength=0.02, random_state=0)
    repeats = -(-rows // len(scan.counts))  # the time does not depend on what the slices show

    def repeated(stack):
        return np.tile(stack, (repeats, 1, 1))[:rows]

    path = folder / "scan.h5"
    frames = {"flats": repeated(scan.flats), "darks": repeated(scan.darks)}
    write_scan(path, repeated(scan.counts), angles=scan.angles, angle_unit="rad", **frames)
    return path, scan.center


def ours(path, center, folder):
    """One run of the streaming pipeline; seconds, and those of each step."""
    steps = [("flat", FlatFieldCorrector()), ("log", MinusLog()), ("stripes", StripeRemover(method="all"))]
    pipeline = Pipeline([*steps, ("fbp", FBPReconstructor(filter="hann", center=center))])
    start = time.perf_counter()
    with open_scan(path) as scan:
        report = reconstruct_volume(pipeline, scan, folder / "volume.h5", overwrite=True)
    return time.perf_counter() - start, report.seconds


def theirs(path, center, folder, n_slices, method):
    """Algotom, slice by slice as its examples do; seconds for ``n_slices``, and those of each step."""
    from algotom.io import loadersaver
    from algotom.prep import correction, removal
    from algotom.rec import reconstruction

    seconds = dict.fromkeys(("read", "flat", "stripes", method, "write"), 0.0)
    (folder / "algotom").mkdir(exist_ok=True)

    def timed(what, function, *arguments, **options):
        start = time.perf_counter()
        result = function(*arguments, **options)
        seconds[what] += time.perf_counter() - start
        return result

    start = time.perf_counter()
    with h5py.File(path) as file:
        data, theta = file["exchange/data"], np.deg2rad(file["exchange/theta"][:])
        flat, dark = (timed("read", lambda n=n: file[f"exchange/{n}"][:].mean(0)) for n in ("data_white", "data_dark"))
        for row in range(n_slices):
            counts = timed("read", lambda r=row: data[:, r, :].astype(np.float32))
            sinogram = timed("flat", correction.flat_field_correction, counts, flat[row], dark[row])
            sinogram = timed("flat", lambda s=sinogram: -np.log(np.maximum(s, 1e-5)))
            sinogram = timed("stripes", removal.remove_all_stripe, sinogram, la_size=51, sm_size=21)
            options = {"angles": theta, "apply_log": False, "filter_name": "hann"}
            if method == "fbp":
                options["gpu"] = False
            reconstruct = {"fbp": reconstruction.fbp_reconstruction, "dfi": reconstruction.dfi_reconstruction}[method]
            image = timed(method, reconstruct, sinogram, center, **options)
            timed("write", loadersaver.save_image, str(folder / "algotom" / f"{row:05d}.tif"), image)
    return time.perf_counter() - start, seconds, image


def shares(seconds):
    total = sum(seconds.values())
    return ", ".join(f"{name} {100 * value / total:.0f} %" for name, value in seconds.items() if value >= 0.005 * total)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024, help="columns, and projections")
    parser.add_argument("--rows", type=int, default=64, help="slices of the scan")
    parser.add_argument("--peer-rows", type=int, default=4, help="slices that algotom reconstructs")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(os.cpu_count())
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, center = make_scan(folder, arguments.size, arguments.rows)
        n, few = arguments.rows, arguments.peer_rows
        for method in ("fbp", "dfi"):
            theirs(path, center, folder, 1, method)  # numba compiles
        runs = {"tomolearn": [], "fbp": [], "dfi": []}
        for _ in range(arguments.repeats):  # in turn, so that a busy moment meets all of them
            runs["tomolearn"].append(ours(path, center, folder))
            for method in ("fbp", "dfi"):
                runs[method].append(theirs(path, center, folder, few, method))
        middle = {key: sorted(found, key=lambda run: run[0])[len(found) // 2] for key, found in runs.items()}
        rate = {key: (n if key == "tomolearn" else few) / run[0] for key, run in middle.items()}
        labels = {"tomolearn": "tomolearn", "fbp": "algotom, FBP", "dfi": "algotom, direct Fourier inversion"}
        rows = [
            [labels[key], f"{rate[key]:.2f}", f"{rate['tomolearn'] / rate[key]:.1f} x", shares(middle[key][1])]
            for key in labels
        ]
        size = arguments.size
        title = f"{n} slices, {size} projections of {size} columns, uint16; medians of {arguments.repeats}"
        print_table(title, ["", "slices/s", "tomolearn against it", "shares of the steps"], rows)
        with open_volume(folder / "volume.h5") as volume:
            image, other = volume[few - 1], middle["fbp"][2]
        disc = np.hypot(*np.mgrid[-1 : 1 : image.shape[0] * 1j, -1 : 1 : image.shape[0] * 1j]) < 0.9
        print(f"\ncorrelation of a slice with algotom's FBP: {np.corrcoef(image[disc], other[disc])[0, 1]:.4f}")


if __name__ == "__main__":
    main()

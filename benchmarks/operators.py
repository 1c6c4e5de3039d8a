"""Speed of the operators beside the packages people use today: one run, medians, a table.

    python benchmarks/operators.py [--quick] [--only projectors,sirt,...] [--device cuda]

GUPS is 1e9 pixel x angle updates a second, wall time of the whole call: natural layout in and out. ASTRA runs its CPU
projectors ("linear"), which use one thread, and scikit-image one thread; ours use the threads that the table names.

On a CUDA device the tables are the same: a call ends when its work is done there, ours has its data there, ASTRA runs
its CUDA projectors from and to the memory of the host, where it was built with them, and what has no GPU version is
left out, with a line that says so.
"""

import argparse
import subprocess
import sys

import numpy as np
import patches as patches_benchmark
import torch
from _timing import machine, median_seconds, print_table

from tomolearn._extension import simd_level
from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.operators import RadonOperator
from tomolearn.ops._register import operators
from tomolearn.solvers import sirt
from tomolearn.training.hardware import find_projecting_devices

OPERATIONS = ("backproject", "radon_adjoint", "radon")


def calls(size, n_angles, n_slices, dtype=torch.float32, device="cpu"):
    """The three operators on random data of one scan, the axis 0.3 bins off the middle."""
    ops, generator = operators(), torch.Generator().manual_seed(0)
    angles = torch.from_numpy(default_angles(n_angles))
    center = torch.full((1, n_angles), (size - 1) / 2 + 0.3, dtype=torch.float64)
    images = torch.rand(n_slices, size, size, generator=generator, dtype=dtype).to(device)
    projections = torch.rand(n_slices, n_angles, size, generator=generator, dtype=dtype).to(device)
    return {
        "backproject": lambda: ops.backproject(projections, angles, center, 1.0, size, size),
        "radon_adjoint": lambda: ops.radon_adjoint(projections, angles, center, 1.0, size, size),
        "radon": lambda: ops.radon(images, angles, center, 1.0, size),
    }


def gups(size, n_angles, n_slices, seconds):
    return 1e-9 * size * size * n_angles * n_slices / seconds


def on_gpu(device):
    return torch.device(device).type != "cpu"


def astra_runs_on(device):
    """Whether ASTRA can work there; if not, says so."""
    import astra

    if not on_gpu(device) or astra.use_cuda():
        return True
    print("\nASTRA is left out: this build of it has no CUDA, or finds no device.")
    return False


def astra_pair(size, n_angles, device):
    """ASTRA's projection and back-projection of one slice: on the CPU linear interpolation, one thread."""
    import astra

    volume = astra.create_vol_geom(size, size)
    projector = astra.create_projector(
        "cuda" if on_gpu(device) else "linear",
        astra.create_proj_geom("parallel", 1.0, size, default_angles(n_angles)),
        volume,
    )
    image = np.random.default_rng(0).random((size, size), np.float32)
    sinogram = np.random.default_rng(0).random((n_angles, size), np.float32)

    def forward():
        astra.data2d.delete(astra.create_sino(image, projector)[0])

    def back():
        astra.data2d.delete(astra.create_backprojection(sinogram, projector)[0])

    return forward, back


def skimage_pair(size, n_angles):
    """scikit-image's radon and unfiltered iradon of one slice."""
    from skimage.transform import iradon, radon

    degrees = np.rad2deg(default_angles(n_angles))
    y, x = np.ogrid[:size, :size]
    image = np.where((x - size // 2) ** 2 + (y - size // 2) ** 2 < (size // 2 - 1) ** 2, 1.0, 0.0)
    sinogram = np.random.default_rng(0).random((size, n_angles))
    return lambda: radon(image, degrees, circle=True), lambda: iradon(sinogram, degrees, filter_name=None)


def projectors(quick, device):
    """32 slices and one slice of 512^2 x 512, beside ASTRA and scikit-image."""
    size, n_angles = (256, 256) if quick else (512, 512)
    peers = {}
    if astra_runs_on(device):
        peers["forward"], peers["back"] = astra_pair(size, n_angles, device)
    if on_gpu(device):
        print("\nscikit-image is left out: it has no GPU version.")
    else:
        peers["sk_forward"], peers["sk_back"] = skimage_pair(size, n_angles)
    peers = median_seconds(peers, 1 if quick else 3, device)

    def ratio(speed, name):
        return f"{speed / gups(size, n_angles, 1, peers[name]):.0f} x" if name in peers else "-"

    rows, best = [], simd_level()
    for level in ("CUDA",) if on_gpu(device) else dict.fromkeys((best, "avx2", "baseline")):
        if not on_gpu(device):
            simd_level(level)
        for n_slices in (32, 16, 1):
            operations = calls(size, n_angles, n_slices, device=device)
            ours = median_seconds(operations, 3 if quick else 9 if n_slices > 1 else 25, device)
            for name in OPERATIONS:
                speed = gups(size, n_angles, n_slices, ours[name])
                kind = "forward" if name == "radon" else "back"
                rows.append(
                    (
                        level,
                        n_slices,
                        name,
                        f"{speed:.1f}",
                        ratio(speed, kind),
                        ratio(speed, f"sk_{kind}"),
                    )
                )
    simd_level(best)
    workers = "CUDA" if on_gpu(device) else f"{torch.get_num_threads()} threads (ASTRA, scikit-image: 1 thread)"
    astra_name = "ASTRA CUDA" if on_gpu(device) else "ASTRA CPU"
    print_table(
        f"{size}^2 x {n_angles} angles, {workers}",
        ("SIMD", "slices", "operator", "GUPS", f"against {astra_name}", "against scikit-image"),
        rows,
    )
    speed = {name: f"{gups(size, n_angles, 1, seconds):.3f}" for name, seconds in peers.items()}
    if "forward" in speed:
        kind = "" if on_gpu(device) else " linear"
        print(f"\n{astra_name}{kind}: {speed['forward']} forward, {speed['back']} back (GUPS)")
    if "sk_forward" in speed:
        print(f"scikit-image: {speed['sk_forward']} forward, {speed['sk_back']} back (GUPS)")


def threads(quick, device):
    """Two threads against one."""
    if on_gpu(device):
        print("\nTwo threads against one are left out: they are threads of the processor.")
        return
    size = 512 if quick else 1024
    operations = calls(size, size, 32)
    per_thread = {1: {}, 2: {}}

    def on(n, name):
        def call():
            torch.set_num_threads(n)
            operations[name]()

        return call

    before = torch.get_num_threads()
    timed = median_seconds({(n, name): on(n, name) for name in OPERATIONS for n in (1, 2)}, 3 if quick else 5)
    torch.set_num_threads(before)
    for (n, name), seconds in timed.items():
        per_thread[n][name] = seconds
    rows = [
        (
            name,
            f"{gups(size, size, 32, per_thread[1][name]):.1f}",
            f"{gups(size, size, 32, per_thread[2][name]):.1f}",
            f"{per_thread[1][name] / per_thread[2][name]:.2f} x",
        )
        for name in OPERATIONS
    ]
    print_table(
        f"{size}^2 x {size} angles, 32 slices: two threads against one",
        ("operator", "1 thread", "2 threads", "ratio"),
        rows,
    )


def astra_sirt(sinogram, n_iter, device):
    """ASTRA's SIRT of one slice."""
    import astra

    n_angles, size = sinogram.shape
    volume = astra.create_vol_geom(size, size)
    geometry = astra.create_proj_geom("parallel", 1.0, size, default_angles(n_angles))
    config = astra.astra_dict("SIRT_CUDA" if on_gpu(device) else "SIRT")
    config["ProjectorId"] = astra.create_projector("cuda" if on_gpu(device) else "linear", geometry, volume)
    config["ProjectionDataId"] = astra.data2d.create("-sino", geometry, sinogram.numpy())
    config["ReconstructionDataId"] = astra.data2d.create("-vol", volume)

    def run():
        algorithm = astra.algorithm.create(config)
        astra.algorithm.run(algorithm, n_iter)
        astra.algorithm.delete(algorithm)

    return run


def iterations(quick, device):
    """SIRT, per slice, against ASTRA's."""
    size, n_angles, n_slices, n_iter = (256, 180, 16, 20) if quick else (512, 360, 16, 100)
    A = RadonOperator(ParallelBeam(default_angles(n_angles), size))
    y = torch.rand(n_slices, *A.range_shape, generator=torch.Generator().manual_seed(0))
    theirs_iter = 2 if quick else 5  # each costs the same; the whole run would take minutes
    there = y.to(device)
    runs = {"ours": lambda: sirt(A, there, max_iter=n_iter)}
    if astra_runs_on(device):
        runs["theirs"] = astra_sirt(y[0], theirs_iter, device)
    seconds = median_seconds(runs, 1 if quick else 3, device)
    ours = seconds["ours"] / n_slices
    cells = ("-", "-")
    if "theirs" in seconds:
        theirs = seconds["theirs"] * n_iter / theirs_iter
        cells = (f"{theirs:.{3 if on_gpu(device) else 1}f}", f"{theirs / ours:.0f} x")
    name = "ASTRA CUDA" if on_gpu(device) else "ASTRA CPU"
    print_table(
        f"SIRT, {n_iter} iterations, {size}^2 x {n_angles}, {n_slices} slices",
        ("tomolearn, s a slice", f"{name}, s a slice (from {theirs_iter} iterations)", "ratio"),
        [(f"{ours:.{5 if on_gpu(device) else 3}f}", *cells)],
    )


_MEMORY = """
import resource, sys, torch
from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.operators import RadonOperator
from tomolearn.solvers import fbp
n, size, n_angles = map(int, sys.argv[1:4])
device = sys.argv[4]
A = RadonOperator(ParallelBeam(default_angles(n_angles), size))
fbp(A, torch.ones(1, n_angles, size, device=device))
y = torch.ones(n, n_angles, size, device=device)
x = fbp(A, y)
on_host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(on_host if device == "cpu" else torch.cuda.max_memory_allocated(device))
"""


def memory(quick, device):
    """Peak memory of fbp in a fresh process: it may grow by input and output only, and at most three packs.

    Of a CUDA device: what torch's allocator handed out there.
    """
    size, n_angles = 512, 360
    # The shell between us lets the child start from a small process: Linux hands the peak of the parent down.
    peak = {}
    for n in (64, 512):
        script = '"$0" -c "$1" $2 $3 $4 $5; exit $?'
        command = ["sh", "-c", script, sys.executable, _MEMORY, str(n), str(size), str(n_angles), device]
        peak[n] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    data = (512 - 64) * (size * size + n_angles * size) * 4
    pack = 32 * (n_angles * (size + 60) + size * size) * 4
    grown = peak[512] - peak[64]
    print_table(
        f"Peak memory of fbp, {size}^2 x {n_angles} angles",
        ("64 slices, MB", "512 slices, MB", "growth, MB", "input + output, MB", "rest, in packs of 32"),
        [
            (
                f"{peak[64] / 1e6:.0f}",
                f"{peak[512] / 1e6:.0f}",
                f"{grown / 1e6:.0f}",
                f"{data / 1e6:.0f}",
                f"{(grown - data) / pack:.2f}",
            )
        ],
    )


def patches(quick, device):
    """Extraction and stitching, beside MONAI and tiler."""
    for name in patches_benchmark.CASES:
        patches_benchmark.compare(name, 3 if quick else 9, quick, device)


SECTIONS = {"projectors": projectors, "threads": threads, "sirt": iterations, "memory": memory, "patches": patches}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: a look, not a measurement")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (default: cpu)")
    arguments = parser.parse_args()
    find_projecting_devices(arguments.device)  # says what is missing
    torch.set_num_threads(arguments.threads)
    print(machine())
    for name in arguments.only.split(","):
        SECTIONS[name](arguments.quick, arguments.device)


if __name__ == "__main__":
    main()

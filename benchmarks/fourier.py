"""The Fourier method beside the direct one and other packages' methods: time, accuracy, memory, a measured scan.

    python benchmarks/fourier.py all
    python benchmarks/fourier.py speed [--sizes 1024,2048] [--threads 2] [--repeats 5] [--no-peers]
    python benchmarks/fourier.py crossover | accuracy | disc | cgls | memory | tooth

The phantom is Shepp and Logan's in [0, 1] with Toft's values, its projections exact means over the detector's bins; the
data range is 1, so that RMSE is in parts of it, over the circle of 0.49 N around the middle. "Exact" is the direct sum
over band-limited projections (`_exact_fbp.exact_fbp`), of some rows where images are large. Times are medians of calls
that take turns, from a sinogram in memory to an image in memory; methods that take seconds are timed once. ASTRA's CPU
method has one thread.
"""

import argparse
import subprocess
import sys
import time
from functools import partial

import numpy as np
import torch
from _exact_fbp import circle, exact_fbp, peers, rmse, true_image
from _timing import machine, median_seconds, print_table

from tomolearn import psnr, ssim
from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.operators import FourierRadonOperator, RadonOperator
from tomolearn.ops.filters import angle_weights, ramp_filter
from tomolearn.ops.fourier import fourier_plan, transform_length
from tomolearn.simulation import ellipse_sinogram, shepp_logan_ellipses
from tomolearn.solvers import cgls, fbp
from tomolearn.solvers.fbp import _FEWEST_ANGLES, _SMALLEST

FIELD = 0.49  # radius of the circle that is judged, in parts of the size
ROWS = 64  # of an image that the exact sum is found for


def operator(n_angles, size, center=None):
    return RadonOperator(ParallelBeam(default_angles(n_angles), size, center=center))


def accurate(A, y, kernel_width):
    """What `fbp` does by frequencies, with another kernel."""
    g, angles, center = A.geometry, A.angles.numpy(), A.center
    n_fft = transform_length(angles, g.n_detectors, g.image_shape, g.detector_spacing, center=center.numpy())
    plan = fourier_plan(
        angles,
        g.n_detectors,
        g.image_shape,
        n_fft=n_fft,
        response=ramp_filter(n_fft),
        gain=angle_weights(angles),
        kernel_width=kernel_width,
    )
    return plan.adjoint(torch.as_tensor(y), center).numpy()


def ours():
    """Name -> function(A, y) of the methods that are compared with the exact sum."""
    return {
        "direct": lambda A, y: fbp(A, y, method="direct"),
        "Fourier, default kernel": lambda A, y: fbp(A, y, method="fourier"),
        "Fourier, accurate kernel": lambda A, y: accurate(A, y, 5),
        "Fourier, shepp-logan": lambda A, y: fbp(A, y, method="fourier", filter="shepp-logan"),
        "Fourier, hann": lambda A, y: fbp(A, y, method="fourier", filter="hann"),
    }


def seconds_once(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


# ------------------------------------------------------------------------------------------------------------- time


def speed(options):
    """8 slices and one slice, sinogram to image, beside the direct method and other packages."""
    rows, others = [], []
    for size in options.sizes or (1024, 2048):
        for n_angles in (size, size // 8):
            scan, A = f"{size}, {n_angles}", operator(n_angles, size)
            y = torch.rand(8, *A.range_shape, generator=torch.Generator().manual_seed(options.seed))
            calls = {(n, m): partial(fbp, A, y[:n], method=m) for n in (8, 1) for m in ("fourier", "direct")}
            alone = median_seconds({key: calls[key] for key in calls if key[1] == "fourier"}, options.repeats)
            # The direct method takes seconds: few rounds, in which the Fourier method is timed again.
            both = median_seconds(calls, min(3, options.repeats))
            for n in (8, 1):
                first = 1e3 * alone[n, "fourier"] / n
                fourier, direct = (1e3 * both[n, m] / n for m in ("fourier", "direct"))
                cells = f"{first:.1f}", f"{fourier:.1f}", f"{direct:.1f}", f"{direct / fourier:.1f} x"
                rows.append((scan, n, *cells))
            if options.peers:
                for name, n, ms in peer_times(A, y[: options.threads].numpy(), options.threads):
                    against = [1e3 * alone[k, "fourier"] / k for k in (8, 1)]
                    others.append((scan, name, n, f"{ms:.0f}", *(f"{ms / one:.0f} x" for one in against)))
    header = ("N, angles", "slices", "Fourier", "Fourier, in turns with direct", "direct", "direct / Fourier")
    print_table("FBP, ms a slice, sinogram to image", header, rows)
    if others:
        header = ("N, angles", "package", "slices together", "ms a slice", "over Fourier, 8 slices", "1 slice")
        print_table("Other packages, ms a slice, one call", header, others)


def peer_times(A, sinograms, threads):
    """(name, slices, milliseconds a slice) of each package; one call, after one of a small scan."""
    angles, size = A.angles.numpy(), A.range_shape[1]
    small = np.ones((len(sinograms), 64, 64), np.float32)
    for name, method in peers().items():
        method(small, default_angles(64), 31.5, threads)
        stack = sinograms[:1] if name.startswith("ASTRA") else sinograms
        seconds = seconds_once(partial(method, stack, angles, (size - 1) / 2, threads))
        yield name, len(stack), 1e3 * seconds / len(stack)


def crossover(options):
    """Where the Fourier method is faster than the direct one: what chooses the thresholds of method="auto"."""
    sizes = options.sizes or (32, 48, 64, 96, 128, 192, 256, 384, 512)
    times = {}  # of (size, angles, slices): seconds by Fourier, direct
    for size in sizes:
        for n_angles in sorted({4, 8, 16, 32, 64, 128, 256, 512, size}):
            if n_angles > size:
                continue
            A = operator(n_angles, size)
            for n in (1, 8):
                y = torch.rand(n, *A.range_shape, generator=torch.Generator().manual_seed(options.seed))
                calls = {m: partial(fbp, A, y, method=m) for m in ("fourier", "direct")}
                times[size, n_angles, n] = tuple(median_seconds(calls, options.repeats).values())
    counts = sorted({key[1] for key in times})
    for n in (1, 8):
        rows = []
        for size in sizes:
            cells = [times.get((size, a, n)) for a in counts]
            rows.append((size, *("" if c is None else f"{c[0] / c[1]:.2f}" for c in cells)))
        title = f"Time by Fourier over time by direct, {n} slice{'s' if n > 1 else ''}; columns: angles"
        print_table(title, ("N", *map(str, counts)), rows)
    tried = {(size, n): regret(times, size, n) for size in sizes for n in counts}
    best, used = min(tried, key=tried.get), (_SMALLEST, _FEWEST_ANGLES)
    print()
    for name, (size, n_angles) in (("Fastest", best), ("In use", used)):
        mean, worst = regret(times, size, n_angles)
        print(
            f"{name} for method='auto': Fourier from {size} pixels and {n_angles} angles on; over all cells {mean:.3f} "
            f"x the time of the faster method (geometric mean), at worst {worst:.2f} x."
        )


def regret(times, size, n_angles):
    """Time with these thresholds over that of the faster method: geometric mean and largest of all cells."""
    taken = [t[0 if k[0] >= size and k[1] >= n_angles else 1] / min(t) for k, t in times.items()]
    return float(np.exp(np.mean(np.log(taken)))), max(taken)


_MEMORY = """
import resource, sys, torch
from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.operators import RadonOperator
from tomolearn.solvers import fbp
n, size, threads, method = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
torch.set_num_threads(threads)
fbp(RadonOperator(ParallelBeam(default_angles(8), 32)), torch.ones(1, 8, 32), method=method)
A = RadonOperator(ParallelBeam(default_angles(size), size))
y = torch.ones(n, size, size)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
x = fbp(A, y, method=method)
print(peak() - before - x.numel() * 4)
"""


def memory(options):
    """Peak memory of a fresh process above its input and output."""
    rows = []
    for size in options.sizes or (1024, 2048):
        for method, pack in (("fourier", 8), ("direct", 32)):
            for n in (1, 8, 32):
                # The shell between us lets the child start from a small process: Linux hands the parent's peak down.
                script = '"$0" -c "$1" $2 $3 $4 $5; exit $?'
                command = ["sh", "-c", script, sys.executable, _MEMORY, str(n), str(size), str(options.threads), method]
                extra = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1e6
                rows.append((f"{size}, {size}", method, n, f"{extra:.0f}", f"{extra / min(n, pack):.0f}"))
    header = ("N, angles", "method", "slices", "MB", "MB a slice of the pack (8, 32)")
    print_table("Peak memory of fbp above input and output", header, rows)


# ---------------------------------------------------------------------------------------------------------- quality


def accuracy(options):
    """RMSE to the exact sum and to the phantom, all methods, with all angles and an eighth of them."""
    rows = []
    for size in options.sizes or (256, 512, 1024, 2048):
        for n_angles in (size, size // 8):
            rows += accuracy_of(size, n_angles, options)
    header = ("N, angles", "method", "to exact FBP", "largest", "to the phantom", "over exact FBP's")
    print_table("RMSE, Shepp-Logan in [0, 1], data range 1", header, rows)


def accuracy_of(size, n_angles, options):
    ellipses, angles, center = shepp_logan_ellipses(size), default_angles(n_angles), (size - 1) / 2
    y = ellipse_sinogram(ellipses, angles, size, bin_average=True)
    shown = np.arange(0, size, max(1, size // ROWS))
    inside, rows, references = circle(size, FIELD, shown), [], {}

    def judge(name, image, offset=(0.0, 0.0)):
        if offset not in references:
            exact = exact_fbp(y, angles, center, size, rows=shown, offset=offset)
            truth = true_image(ellipses, size, offset)[shown]
            references[offset] = exact, truth, rmse(exact, truth, inside)
        exact, truth, own = references[offset]
        image = exact if image is None else image[shown]
        to_exact, to_truth = rmse(image, exact, inside), rmse(image, truth, inside)
        largest = np.abs(image - exact)[inside].max()
        cells = [f"{to_exact:.1e}", f"{largest:.1e}", f"{to_truth:.5f}", f"{to_truth / own:.4f} x"]
        rows.append((f"{size}, {n_angles}", name, *cells))

    judge("exact FBP", None)
    if size <= 512:
        judge("exact FBP, padded twice as far", exact_fbp(y, angles, center, size, padding=2))
    A, single = operator(n_angles, size), y.astype(np.float32)
    for name, method in ours().items():
        judge(name, np.asarray(method(A, single[None])[0]))
    if options.peers:
        for name, method in peers().items():
            images, offset = method(single[None], angles, center, options.threads)
            judge(name, images[0], offset)
    return rows


def disc(options):
    """Means of a disc of value 1 over 0.7 of its radius: odd sizes, axes beside the middle, few and many angles."""
    rows, worst = [], {"direct": 0.0, "fourier": 0.0}
    for size in options.sizes or (63, 101, 255, 256, 511):
        for off in (0.0, 0.5, 7.3, -0.11 * size):
            for part in (0.2, 0.5, 1.0, 2.0):
                n_angles, center = round(part * size), (size - 1) / 2 + off
                radius = size / 2 - 2 - abs(off)
                y = ellipse_sinogram(
                    [[1.0, radius, radius, 0, 0, 0]], default_angles(n_angles), size, center=center, bin_average=True
                )
                inside, A = circle(size, 0.7 * radius / size), operator(n_angles, size, center)
                means = {m: float(fbp(A, y, method=m)[inside].mean()) for m in worst}
                worst = {m: max(worst[m], abs(means[m] - 1)) for m in worst}
                if off in (0.0, 7.3):
                    rows.append((size, f"{off:+.1f}", n_angles, *(f"{mean:.5f}" for mean in means.values())))
    print_table("Mean of a disc of value 1", ("N", "axis off by", "angles", *worst), rows)
    print("\nLargest departure from 1 of all cases: " + ", ".join(f"{m} {w:.5f}" for m, w in worst.items()))


def conjugate_gradients(options):
    """20 iterations of CGLS, 16 slices, with both pairs of operators: time, and the difference of the images."""
    rows = []
    for size in options.sizes or (1024,):
        geometry = ParallelBeam(default_angles(size), size)
        ellipses = shepp_logan_ellipses(size)
        clean = ellipse_sinogram(ellipses, default_angles(size), size, bin_average=True)
        noise = np.random.default_rng(options.seed).normal(0, 0.005 * clean.max(), (16, *clean.shape))
        noise[0] = 0  # so the first slice is free of it
        y = torch.from_numpy((clean + noise).astype(np.float32))
        kinds, images, taken = {"direct": RadonOperator, "Fourier": FourierRadonOperator}, {}, {}
        for name, kind in kinds.items():
            A = kind(geometry)
            cgls(A, y[:1], max_iter=1)
            start = time.perf_counter()
            images[name] = cgls(A, y, max_iter=20).numpy()
            taken[name] = time.perf_counter() - start
        ratio = taken["direct"] / taken["Fourier"]
        inside, truth = circle(size, FIELD), true_image(ellipses, size)
        for k, data in ((0, "exact"), (1, "noise of 0.5 %")):
            a, b = images["direct"][k], images["Fourier"][k]
            difference = rmse(a, b, inside)
            length = float(np.sqrt(np.mean(np.square(a[inside]))))
            cells = [f"{difference / np.ptp(a[inside]):.2%}", f"{difference / length:.2%}"]
            errors = [f"{rmse(x, truth, inside):.4f}" for x in (a, b)]
            seconds = [f"{taken[name]:.1f}" for name in kinds]
            rows.append((f"{size}, {size}", data, *seconds, f"{ratio:.1f} x", *cells, *errors))
    header = ("N, angles", "data", "direct, s", "Fourier, s", "ratio", "difference over the range of the image")
    header += ("over its length", "RMSE to the phantom, direct", "Fourier")
    print_table("CGLS, 20 iterations, 16 slices", header, rows)


def tooth(options):
    """The measured tooth, which has no truth: the exact sum stands for it; all views and every fourth."""
    from tooth import CENTER, EVERY, SIZE, measured

    X, every = measured()
    inside, rows = circle(SIZE, min(CENTER, SIZE - 1 - CENTER) / SIZE), []
    exact, full = {}, {}

    def reference(step, offset):
        key = step, offset
        if key not in exact:
            exact[key] = np.stack([exact_fbp(x[::step], every[::step], CENTER, SIZE, offset=offset) for x in X])
        return exact[key]

    for step in (1, EVERY):
        y, angles = X[:, ::step], every[::step]
        A = RadonOperator(ParallelBeam(angles, SIZE, center=CENTER))
        methods = {name: lambda *scan, m=method, A=A: (m(A, scan[0]), (0.0, 0.0)) for name, method in ours().items()}
        methods |= peers() if options.peers else {}
        direct = None
        for name, method in {"exact FBP": None, **methods}.items():
            scan = (y, angles, CENTER, options.threads)
            images, offset = method(*scan) if method else (reference(step, (0.0, 0.0)), (0.0, 0.0))
            images = np.asarray(images)
            direct = images if name == "direct" else direct
            own, full = reference(step, offset), reference(1, offset)
            data_range = float(np.ptp(full[:, inside]))
            between = "-" if direct is None or any(offset) else f"{rms_of(images, direct, inside) / data_range:.2%}"
            same = f"{rms_of(images, own, inside) / data_range:.3%}"
            known = {"data_range": data_range, "weights": inside}
            whole = ("-", "-")
            if step > 1:
                whole = f"{psnr(full, images, **known):.2f}", f"{ssim(full * inside, images * inside, **known):.3f}"
            ms = "-"
            if method:
                ms = f"{1e3 * median_seconds({name: lambda m=method, s=scan: m(*s)}, 3)[name] / len(X):.1f}"
            rows.append((len(angles), name, same, between, *whole, ms))
    header = ("views", "method", "RMSE to exact FBP of the same views", "to direct")
    header += ("PSNR / dB to exact FBP of all views", "SSIM", "ms a slice (of 2)")
    print_table(f"tooth, {SIZE}^2; data range: that of exact FBP of all views within the circle seen", header, rows)


def rms_of(a, b, inside):
    return float(np.sqrt(np.mean([rmse(x, y, inside) ** 2 for x, y in zip(a, b, strict=True)])))


COMMANDS = {
    "accuracy": accuracy,
    "disc": disc,
    "cgls": conjugate_gradients,
    "memory": memory,
    "tooth": tooth,
    "speed": speed,
    "crossover": crossover,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=(*COMMANDS, "all"))
    parser.add_argument("--sizes", type=lambda text: tuple(map(int, text.split(","))), help="separated by commas")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="leave other packages out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in COMMANDS if options.command == "all" else (options.command,):
        print(f"\n{machine()}, seed {options.seed}; python benchmarks/fourier.py {' '.join(sys.argv[1:])}")
        COMMANDS[name](options)


if __name__ == "__main__":
    main()

"""Time the operators on this machine: projection, back-projection, FBP and a denoising network, per slice."""

import json
import time

from tomolearn.cli._parameters import use_threads
from tomolearn.cli._scan_arguments import positive

__all__ = ["add_arguments", "run"]

LEAST_SECONDS, MOST_RUNS = 0.5, 20


def add_arguments(parser):
    """Add the arguments of ``bench``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Parser of the command.

    Examples
    --------
    >>> import argparse
    >>> from tomolearn.cli.bench import add_arguments
    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args([]).size
    1024
    """
    parser.add_argument("--size", type=positive, default=1024, help="edge of a slice in pixels (default: 1024)")
    parser.add_argument("--angles", type=positive, help="projections (default: the size)")
    parser.add_argument("--slices", type=positive, default=1, help="that are worked on together (default: 1)")
    parser.add_argument("--device", metavar="NAME", default="cpu", help="cpu, cuda, cuda:1, auto (default: cpu)")
    parser.add_argument("--threads", type=positive, metavar="N", help="default: all cores")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(arguments):
    """Time and print.

    Parameters
    ----------
    arguments : argparse.Namespace
        What the command line held.

    Returns
    -------
    int
        0.

    Examples
    --------
    >>> from tomolearn.cli.main import main
    >>> main(["bench", "--size", "32"])
    32 x 32 pixels, 32 angles, 1 slice at a time; ... threads
    operation                 ms/slice   slices/s
    projection                ...
    0
    """
    import torch

    from tomolearn.training.hardware import find_device

    use_threads(arguments)
    device = find_device(arguments.device)
    n_angles = arguments.angles or arguments.size
    operations = _operations(arguments, n_angles, device)
    seconds = {name: _seconds(call, device) / arguments.slices for name, call in operations.items()}
    found = {"size": arguments.size, "n_angles": n_angles, "n_slices": arguments.slices} | _machine(device)
    if arguments.json:
        print(json.dumps(found | {"seconds_per_slice": seconds}, indent=1))
        return 0
    together = f"{arguments.slices} slice{'s' if arguments.slices > 1 else ''} at a time"
    print(
        f"{arguments.size} x {arguments.size} pixels, {n_angles} angles, {together}; {found['machine']}, SIMD "
        f"{found['simd']}, torch {torch.__version__}, {found['threads']} threads"
    )
    print(f"{'operation':<26}{'ms/slice':>8}{'slices/s':>11}")
    for name, value in seconds.items():
        print(f"{name:<26}{1e3 * value:>8.1f}{1 / value:>11.3g}")
    return 0


def _operations(arguments, n_angles, device):
    """What is timed: {name: function}."""
    import torch

    from tomolearn.geometry import ParallelBeam, default_angles
    from tomolearn.networks import TomoGANGenerator
    from tomolearn.operators import RadonOperator
    from tomolearn.solvers import fbp
    from tomolearn.training.hardware import fork_random

    size, n = arguments.size, arguments.slices
    A = RadonOperator(ParallelBeam(default_angles(n_angles), size, image_shape=(size, size)))
    images = torch.rand(n, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    sinograms = A(images)
    with fork_random("cpu"):
        network = _channels_last(TomoGANGenerator().eval().to(device))

    def denoise():
        with torch.no_grad():
            return network(images[:, None].contiguous(memory_format=torch.channels_last))

    return {
        "projection": lambda: A(images),
        "back-projection (adjoint)": lambda: A.T(sinograms),
        "FBP": lambda: fbp(A, sinograms),
        "denoising (TomoGAN)": denoise,
    }


def _channels_last(network):
    import torch

    return network.to(memory_format=torch.channels_last)


def _seconds(call, device):
    """The median of some runs after one to warm up."""
    import torch

    def timed():
        call()
        if device.type == "cuda":  # which works on after a call has returned
            torch.cuda.synchronize(device)

    timed()
    taken: list[float] = []
    while len(taken) < 3 or (sum(taken) < LEAST_SECONDS and len(taken) < MOST_RUNS):
        began = time.perf_counter()
        timed()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[len(taken) // 2]


def _machine(device):
    import platform

    import torch

    from tomolearn._extension import simd_level

    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return {
        "machine": name,
        "device": str(device),
        "simd": simd_level(),
        "torch": torch.__version__,
        "threads": threads,
    }

"""A large foam: how long its voids take to pack, its volume to draw and its projections to compute.

    python benchmarks/foam.py [--size 512] [--voids 100000] [--radii 1.5 20] [--threads 2]

The volume has as many slices as rows. Packing uses one thread. Sinograms are those of all slices, some at a time as a
foam larger than memory would be written; there are two angles for each detector. Peak memory is that of the process.
"""

import argparse
import resource
import sys
import time

import numpy as np
from _timing import machine, print_table
from scipy.spatial import cKDTree

from tomolearn.geometry import default_angles
from tomolearn.simulation import random_foam

SEED, SLICES_AT_A_TIME = 0, 32


def timed(call):
    """What the call returns, its seconds, and the peak memory of the process so far in MB."""
    start = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    return result, f"{seconds:.1f}", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6:.0f}"


def smallest_gap(voids):
    """Between the surfaces of two voids, in pixels; negative where two overlap."""
    radii = voids[:, 3]
    # Of two voids the larger one finds the smaller: if they touch, its centre lies within twice the larger radius.
    found = cKDTree(voids[:, :3]).query_ball_point(voids[:, :3], 2 * radii)
    one, other = np.repeat(np.arange(len(voids)), [len(near) for near in found]), np.concatenate(found).astype(int)
    two = one != other
    one, other = one[two], other[two]
    return float(np.min(np.linalg.norm(voids[one, :3] - voids[other, :3], axis=1) - radii[one] - radii[other]))


def sinograms(foam, angles, n_threads):
    """Of all slices, each block dropped when it is done; returns how many there were."""
    done = 0
    for start in range(0, foam.n_slices, SLICES_AT_A_TIME):
        stop = min(foam.n_slices, start + SLICES_AT_A_TIME)
        done += len(foam.sinograms(angles, start=start, stop=stop, n_threads=n_threads))
    return done


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="slices, rows and columns")
    parser.add_argument("--voids", type=int, default=100_000)
    parser.add_argument("--radii", type=float, nargs=2, default=(1.5, 20.0), help="smallest and largest, in pixels")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    size = arguments.size
    print(f"{machine()}; foam: {arguments.threads} threads, seed {SEED}")

    options = {"n_voids": arguments.voids, "radius_range": tuple(arguments.radii), "random_state": SEED}
    foam, *packing = timed(lambda: random_foam(size, size, **options))
    volume, *drawing = timed(lambda: foam.volume(n_threads=arguments.threads))
    voids = 1 - volume.mean(dtype=np.float64) * size**2 / (np.pi * foam.radius**2)
    del volume
    angles = default_angles(2 * size)
    n_slices, *projecting = timed(lambda: sinograms(foam, angles, arguments.threads))
    print_table(
        f"Foam of {size}^3 with {len(foam.voids):,} voids",
        ("step", "s", "peak memory, MB"),
        [
            ("packing, 1 thread", *packing),
            ("volume, 3 x 3 x 3 samples a voxel", *drawing),
            (f"{n_slices} sinograms of {len(angles)} x {size}, exact", *projecting),
        ],
    )
    radii = foam.voids[:, 3]
    print(
        f"\nRadii {radii.min():.2f} to {radii.max():.2f} pixels, median {np.median(radii):.2f}; voids are {voids:.1%} "
        f"of the cylinder; the smallest gap between two is {smallest_gap(foam.voids):.1e} pixels"
    )


if __name__ == "__main__":
    main()

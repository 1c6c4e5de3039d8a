"""The two solvers of the same total-variation problem: iterations and time until each is near the minimum.

    python benchmarks/total_variation.py [--seed 0] [--threads 1]

Ellipses of 128 x 128 pixels with Gaussian noise in their projections; both solvers start from filtered back-projection.
"Near" is an objective within 0.1 % of the least that longer runs of either found. The time is that of the iterations.
"""

import argparse
import time

import numpy as np
import torch
from _timing import machine, print_table

from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.operators import GradientOperator, RadonOperator
from tomolearn.simulation import ellipse_image
from tomolearn.solvers import fista_tv, tv

SIZE, NEAR = 128, 1e-3
SCANS = ((20, 0.5, 2.0), (60, 1.0, 8.0), (200, 1.0, 14.0))  # angles, standard deviation of the noise, weight of TV


def picture(rng):
    places, axes = rng.uniform(-0.2, 0.2, (8, 2)) * SIZE, rng.uniform(0.04, 0.2, (8, 2)) * SIZE
    return ellipse_image(np.column_stack([rng.uniform(0.2, 1, 8), axes, places, np.zeros(8)]), (SIZE, SIZE))


def objective(A, x, y, strength):
    g = GradientOperator(A.domain_shape)(x.double())
    return float(0.5 * ((A(x.double()) - y.double()) ** 2).sum() + strength * torch.hypot(g[0], g[1]).sum())


def until_near(solver, max_iter, A, y, strength, least):
    """Iterations and seconds until the objective is near its least value; "-" where it never is."""
    spent, begun, found = 0.0, time.perf_counter(), None

    def callback(k, x, residual):
        nonlocal spent, begun, found
        spent += time.perf_counter() - begun  # without what the objective takes
        if objective(A, x[0], y, strength) <= (1 + NEAR) * least:
            found = k
        begun = time.perf_counter()
        return found is not None

    solver(A, y, regularization=strength, max_iter=max_iter, x0="fbp", callback=callback)
    return (found, f"{spent:.2f}") if found else ("-", "-")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(options.seed)
    truth, rows = picture(rng), []
    for n_angles, sigma, strength in SCANS:
        A = RadonOperator(ParallelBeam(default_angles(n_angles), SIZE))
        y = torch.from_numpy(A(truth) + rng.normal(0, sigma, A.range_shape)).float()
        long_runs = ((tv, 3000), (fista_tv, 400))
        least = min(
            objective(A, solver(A, y.double(), regularization=strength, max_iter=n, x0="fbp"), y, strength)
            for solver, n in long_runs
        )
        for name, (solver, max_iter) in zip(("tv", "fista_tv"), long_runs, strict=True):
            rows.append((n_angles, name, *until_near(solver, max_iter, A, y, strength, least)))
    print(f"{machine()}, seed {options.seed}; python benchmarks/total_variation.py --threads {options.threads}")
    print_table("To within 0.1 % of the least objective", ("angles", "solver", "iterations", "seconds"), rows)


if __name__ == "__main__":
    main()

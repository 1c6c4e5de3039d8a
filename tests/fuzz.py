"""Tries the laws of `checks.py` on random operators, geometries and stacks for as long as wanted: `make fuzz`.

``python tests/fuzz.py --seconds 600 --seed 1`` prints the worst figure of each operator at each SIMD level and ends
with status 1 at the first violation, after the line that repeats it.
"""

import argparse
import platform
import sys
import time
from pathlib import Path

# Those of test_laws.py.
DOT_BOUNDS = {"float32": 1e-6, "float64": 1e-12}
REFERENCE_BOUNDS = {"float32": 2e-5, "float64": 1e-12}


def one_trial(seed, checks, levels):
    """Draws everything from the seed; returns (operator, level, dtype) and the error of the dot test."""
    import numpy as np
    import torch

    from tomolearn._extension import simd_level

    rng = np.random.default_rng(seed)
    name, level = str(rng.choice(sorted(checks.OPERATORS))), str(rng.choice(levels))
    dtype = torch.float32 if rng.random() < 0.6 else torch.float64
    small = rng.random() < 0.5
    simd_level(level)
    torch.set_num_threads(int(rng.integers(1, 5)))
    case = checks.OPERATORS[name](rng, small=small)
    n_slices = int(rng.integers(0, 70))
    kind = str(dtype).removeprefix("torch.")
    if small and n_slices and case.matrix is not None:
        checks.check_slow_reference(case, rng, n_slices, dtype, REFERENCE_BOUNDS[kind] * case.rounding)
    x, y = (checks.uniform(rng, (n_slices, *shape), dtype) for shape in (case.domain, case.range))
    error = checks.dot_error(case, x, y)
    if error > DOT_BOUNDS[kind] * (case.rounding if dtype == torch.float32 else 1):
        raise AssertionError(f"{name}, {level}, {kind}, {n_slices} slices: dot test {error:.2e}")
    return (name, level, kind), error


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the first trial; each trial has the next one")
    parser.add_argument("--trials", type=int, default=None, help="stop after this many")
    arguments = parser.parse_args()

    sys.path.insert(0, str(Path(__file__).parent))
    import checks

    from tomolearn._extension import SIMD_LEVELS, simd_level

    levels = [level for level in SIMD_LEVELS if simd_level(level) == level]
    worst, count, start = {}, {}, time.monotonic()
    seed = arguments.seed
    while time.monotonic() - start < arguments.seconds and seed - arguments.seed != arguments.trials:
        try:
            key, error = one_trial(seed, checks, levels)
        except Exception:
            print(f"failed; to repeat: python tests/fuzz.py --trials 1 --seed {seed}", flush=True)
            raise
        worst[key] = max(worst.get(key, 0.0), error)
        count[key] = count.get(key, 0) + 1
        seed += 1
    seconds = time.monotonic() - start
    print(f"{seed - arguments.seed} trials from seed {arguments.seed} in {seconds:.0f} s on {platform.machine()}")
    for key in sorted(worst):
        print(f"{key[0]:<22}{key[1]:<10}{key[2]:<9}{count[key]:>7} trials, worst dot test {worst[key]:.1e}")


if __name__ == "__main__":
    main()

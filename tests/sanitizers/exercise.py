"""Calls every operator with odd shapes at every SIMD level; run by tests/test_sanitizers.py under a sanitizer.

``python exercise.py TRIALS`` exercises the operators, ``python exercise.py LIBRARY FUNCTION`` calls one function of
faults.cpp. Results are not looked at: other tests do that.
"""

import ctypes
import sys
from pathlib import Path

SLICES = (1, 2, 3, 4, 5, 9, 15, 16, 17, 31, 33)


def exercise_case(case, rng, n_slices, dtype):
    """Both directions; returns the number of calls."""
    import torch

    for shape, function in ((case.domain, case.forward), (case.range, case.adjoint)):
        function(torch.from_numpy(rng.uniform(-1, 1, (n_slices, *shape))).to(dtype))
    return 2


def exercise_edges(case):
    """Empty stacks, values that are not numbers, and arguments that are refused."""
    import torch

    case.forward(torch.zeros((0, *case.domain)))
    case.forward(torch.full((3, *case.domain), torch.nan))
    case.forward(torch.full((3, *case.domain), -torch.inf))
    for wrong in (torch.zeros(3), torch.zeros((3, *case.domain), dtype=torch.complex128)):
        try:
            case.op(wrong, *case.arguments)
        except (RuntimeError, NotImplementedError):
            continue
        sys.exit(f"{case.op} took a tensor of shape {tuple(wrong.shape)}, {wrong.dtype}")
    return 5


def exercise_operators(n_trials):
    """Returns the number of calls."""
    import numpy as np
    import torch
    from checks import OPERATORS

    from tomolearn._extension import SIMD_LEVELS, simd_level

    rng = np.random.default_rng(0)
    n_calls = 0
    built = {simd_level(level) for level in SIMD_LEVELS}
    for level in sorted(built):
        simd_level(level)
        for draw in OPERATORS.values():
            n_calls += exercise_edges(draw(rng))
            for trial in range(n_trials):
                dtype = (torch.float32, torch.float64)[trial % 2]
                n_calls += exercise_case(draw(rng, small=trial % 3 == 0), rng, int(rng.choice(SLICES)), dtype)
        for trial in range(n_trials):
            n_calls += exercise_median(rng, trial)
    return n_calls


def exercise_median(rng, trial):
    """Windows wider than the line too; returns the number of calls."""
    import torch

    from tomolearn.ops._register import operators

    shape = tuple(int(n) for n in rng.integers(1, 40, 3))
    values = torch.from_numpy(rng.uniform(-1, 1, shape)).to((torch.float32, torch.float64)[trial % 2])
    operators().sliding_median(values, 2 * int(rng.integers(0, 30)) + 1)
    operators().sliding_median(torch.full(shape, torch.nan), 5)
    return 2


def exercise_simulation(n_trials):
    """Phantoms, with threads of their own where they have them; returns the number of calls."""
    import numpy as np

    from tomolearn.simulation import (
        ellipse_image,
        ellipse_sinogram,
        pack_spheres,
        sphere_projections,
        sphere_volume,
    )

    rng = np.random.default_rng(0)
    for trial in range(n_trials):
        rows, columns, slices, detectors = (int(n) for n in rng.integers(1, 24, 4))
        angles = rng.uniform(-4, 4, 3)
        ellipses = np.column_stack([rng.uniform(-2, 2, 4), rng.uniform(0.1, 20, (4, 2)), rng.uniform(-9, 9, (4, 3))])
        for supersampling in (1, 3, "exact"):
            ellipse_image(ellipses, (rows, columns), supersampling=supersampling)
        for bin_average in (False, True):
            ellipse_sinogram(ellipses, angles, detectors, bin_average=bin_average, angle_unit="rad")
        spheres = pack_spheres(20, (0.1, 5.0), radius=12.0, height=12.0, random_state=trial)
        table = np.column_stack([rng.uniform(-2, 2, 20), spheres])
        sphere_volume(table, (slices, rows, columns), supersampling=1 + trial % 2, n_threads=3)
        sphere_projections(table, angles, (slices, detectors), angle_unit="rad", n_threads=3)
    return 8 * n_trials


def main(arguments):
    if len(arguments) == 2:
        return getattr(ctypes.CDLL(arguments[0]), arguments[1])(4)
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import torch

    import tomolearn

    torch.set_num_threads(1)
    n_trials = int(arguments[0])
    print(Path(tomolearn.__file__).parent)
    print(exercise_operators(n_trials) + exercise_simulation(n_trials), "calls")
    return 0


if __name__ == "__main__":
    main(sys.argv[1:])

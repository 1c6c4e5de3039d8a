"""Runs random calls of the CUDA kernels under emulation against the operators of the CPU: part of `make fuzz`.

``python tests/fuzz_cuda.py --cases 2000 --seed 1`` prints the worst error of each operator and ends with status 1 at
the first violation, after the line that repeats it. Every case runs plainly; those that are small enough run under the
sanitizers too, in turn.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

AT_ONCE = 100  # cases of one process
SMALL = {"plain": 2**62, "address": 200_000, "thread": 3_000}  # updates


def run_batch(emulated, seeds, kind, order, worst):
    import numpy as np

    requests = [emulated.random_request(np.random.default_rng(seed)) for seed in seeds]
    requests = [request for request in requests if request.work() < SMALL[kind]]
    with tempfile.TemporaryDirectory() as folder:
        results = emulated.emulate(requests, Path(folder), kind=kind, order=order)
    for request, result in zip(requests, results, strict=True):
        key = request.name, str(request.values.dtype).removeprefix("torch.")
        worst[key] = max(worst.get(key, 0.0), emulated.check([request], [result]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of the first case; each case has the next one")
    arguments = parser.parse_args()

    sys.path.insert(0, str(Path(__file__).parent))
    import emulated

    worst, start = {}, time.monotonic()
    for batch, first in enumerate(range(arguments.seed, arguments.seed + arguments.cases, AT_ONCE)):
        seeds = range(first, min(first + AT_ONCE, arguments.seed + arguments.cases))
        order = ("forward", "reverse", f"random:{batch}")[batch % 3]
        for kind in ("plain", ("address", "thread")[batch % 2]):
            try:
                run_batch(emulated, seeds, kind, order, worst)
            except Exception:
                repeat = f"python tests/fuzz_cuda.py --cases {len(seeds)} --seed {first}"
                print(f"failed, {kind}, {order}; to repeat: {repeat}", flush=True)
                raise
    print(f"{arguments.cases} cases from seed {arguments.seed} in {time.monotonic() - start:.0f} s")
    for (name, kind), error in sorted(worst.items()):
        print(f"{name:<22}{kind:<9} worst error {error:.2f} of the tolerance")


if __name__ == "__main__":
    main()

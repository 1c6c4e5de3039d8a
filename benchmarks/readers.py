"""The classic trap: sinograms, row by row, from a file whose chunks are whole projections, compressed.

    python benchmarks/readers.py [--angles 180] [--rows 64] [--detectors 512] [--repeats 3] [--folder DIR]

Plain h5py unpacks every projection once for each row; a Source unpacks it once for each slab that its cache holds, so
that the factor is about the rows of a slab: of 2000 projections 2048 wide, the 64 MiB that it has by default hold 8.
The file is written anew into --folder, simulated as photon counts (16 bit, seed 0) behind a smooth object; both read
all rows in order, and what they read is compared. Caches of the system are warm for both.
"""

import argparse
import tempfile
from pathlib import Path

import h5py
import numpy as np
from _timing import machine, median_seconds, print_table

from tomolearn.io import open_scan


def write(path, n_angles, n_rows, n_detectors, **storage):
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 1, n_detectors)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("exchange/data", (n_angles, n_rows, n_detectors), np.uint16, **storage)
        for i in range(n_angles):
            shade = 4000 * np.exp(-1.5 * np.sqrt(np.clip(0.8 - (x - 0.1 * np.cos(np.pi * i / n_angles)) ** 2, 0, None)))
            data[i] = rng.poisson(np.broadcast_to(shade, (n_rows, n_detectors)))
        file["exchange/theta"] = np.linspace(0, 180, n_angles, endpoint=False)


def by_h5py(path):
    """One row after the other, as a loop over sinograms does it."""
    with h5py.File(path) as file:
        data = file["exchange/data"]
        return sum(int(data[:, row].sum()) for row in range(data.shape[1]))


def by_source(path, cache):
    with open_scan(path, cache=cache) as scan:
        return sum(int(scan[row].sum()) for row in range(len(scan)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--angles", type=int, default=180)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--detectors", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="for the file; default: a temporary one")
    arguments = parser.parse_args()
    n_angles, n_rows, n_detectors = arguments.angles, arguments.rows, arguments.detectors
    layouts = {
        "projections, gzip": {"chunks": (1, n_rows, n_detectors), "compression": "gzip", "compression_opts": 1},
        "projections, plain": {"chunks": (1, n_rows, n_detectors)},
        "contiguous": {},
        "16 rows, gzip": {"chunks": (16, 16, n_detectors), "compression": "gzip", "compression_opts": 1},
    }
    rows = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for name, storage in layouts.items():
            path = Path(folder) / "scan.h5"
            write(path, n_angles, n_rows, n_detectors, **storage)
            if by_h5py(path) != by_source(path, 64 << 20):
                raise SystemExit(f"{name}: both must read the same")
            calls = {
                "h5py": lambda path=path: by_h5py(path),
                "Source, cache of 8 rows": lambda path=path: by_source(path, 8 * n_angles * n_detectors * 2),
                "Source, 64 MiB": lambda path=path: by_source(path, 64 << 20),
            }
            seconds = median_seconds(calls, arguments.repeats)
            factors = [f"{seconds['h5py'] / seconds[key]:.1f} x" for key in calls]
            cells = [f"{seconds[key]:.2f} s ({factor})" for key, factor in zip(calls, factors, strict=True)]
            rows.append([name, f"{path.stat().st_size / 2**20:.0f} MiB", *cells])
    print(machine())
    title = f"{n_rows} rows of {n_angles} x {n_detectors}, 16 bit, one after the other; median of {arguments.repeats}"
    print_table(title, ["chunks", "file", *calls], rows)


if __name__ == "__main__":
    main()

"""A volume denoised from file to file by TomoGAN: seconds a slice and peak memory, of a process of its own.

    python benchmarks/denoise_volume.py [--slices 64] [--size 2048] [--memory 2.5GB] [--precision bfloat16]
        [--folder DIR]

The volume is noise in 32-bit HDF5; the network is that of the foam of an eighth of the views, from its weights.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from _timing import machine, print_table
from _training import WEIGHTS, peak_memory

import tomolearn


def write_volume(path, options):
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        shape = (options.slices, options.size, options.size)
        data = file.create_dataset("exchange/data", shape, np.float32, chunks=(1, *shape[1:]))
        for k in range(options.slices):
            data[k] = rng.random(shape[1:], dtype=np.float32)


def predict(folder, options):
    """In a process of its own: prints seconds and the most memory that it held, torch included."""
    (path,) = WEIGHTS.glob("foam-views8-[0-9]*.safetensors")
    denoiser = tomolearn.load(path).set_params(precision=options.precision)
    began = time.perf_counter()
    denoiser.predict_volume(folder / "noisy.h5", folder / "clean.h5", memory=options.memory)
    print(time.perf_counter() - began, peak_memory())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=64)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--memory", default="2.5GB")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--predict", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.predict:
        predict(options.folder, options)
        return
    print(machine())
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        write_volume(Path(name) / "noisy.h5", options)
        given = ["--memory", options.memory, "--precision", options.precision, "--folder", name, "--predict"]
        done = subprocess.run([sys.executable, __file__, *given], check=True, stdout=subprocess.PIPE, text=True)
    seconds, peak = done.stdout.split()
    title = f"{options.slices} x {options.size} x {options.size}, {options.precision}, memory={options.memory!r}"
    print_table(title, ["s a slice", "peak memory"], [[f"{float(seconds) / options.slices:.2f}", f"{peak} MB"]])


if __name__ == "__main__":
    main()

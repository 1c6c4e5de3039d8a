"""Timing that a noisy machine cannot fool too much: warm-up, medians, and competitors interleaved in one run."""

import os
import platform
import time
from pathlib import Path

import numpy as np
import torch

from tomolearn._extension import simd_level


def synchronize(device):
    """Wait for what was started on a device; the processor has nothing under way."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def median_seconds(calls, repeats, device="cpu"):
    """Median seconds of each of ``calls`` (name -> function), called in turn ``repeats`` times after a warm-up.

    On a CUDA device a call ends when its work is done there.
    """
    for call in calls.values():
        call()
    synchronize(device)
    seconds = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            synchronize(device)
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def machine():
    """One line: processor, cores, SIMD level in use, GPU if there is one, versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return (
        f"{name}, {os.cpu_count()} cores, SIMD {simd_level()}, {gpu}torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}"
    )


def print_table(title, header, rows):
    """A Markdown table."""
    print(f"\n### {title}\n")
    print("| " + " | ".join(header) + " |")
    print("|" + "|".join(" --- " for _ in header) + "|")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |", flush=True)

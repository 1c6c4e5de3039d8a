"""Breaks files and reads them: ``python tests/fuzz_files.py --cases 500`` for every kind that `tomolearn.io` reads.

A small file of each kind is cut, its bytes are flipped, zeroed, or set to extremes, and it is opened and read from
end to end in a process of its own, whose memory is limited. What may come of it: data, or a FileFormatError, OSError
or GeometryError whose message names the file. Not: another exception, a crash, a hang, or much memory. Everything is
drawn from the seed of the case, which is printed where one fails.
"""

import argparse
import importlib
import logging
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HEADROOM = 3 << 30  # bytes of address space beyond what the process has when it begins
MOST_GROWTH = 200 << 20  # bytes of resident memory that reading a broken file may add
STARTS = 120.0  # seconds that a worker may take to import everything
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
EXTREMES = (0x00, 0xFF, 0x7F, 0x80, 0x01)


def mutate(data, rng):
    """(what was done, broken bytes)."""
    data = bytearray(data)
    # Half of the damage goes where the description of the data is: the headers, and what stands at the end.
    span = len(data) if rng.random() < 0.5 else min(len(data), 2048)

    def place(length):
        at = int(rng.integers(0, max(1, span - length)))
        return at if rng.random() < 0.8 else len(data) - length - at

    kind = rng.choice(["cut", "flip", "zero", "extreme", "number"])
    if kind == "cut":
        size = int(rng.integers(0, len(data)))
        return f"cut to {size}", bytes(data[:size])
    if kind == "flip":
        places = [place(1) for _ in range(int(rng.integers(1, 65)))]
        for at in places:
            data[at] ^= 1 << int(rng.integers(0, 8))
        return f"flip at {places[:4]}", bytes(data)
    if kind == "zero":
        length = int(rng.integers(1, min(512, len(data))))
        at = place(length)
        data[at : at + length] = bytes(length)
        return f"zero {at}:{at + length}", bytes(data)
    width = int(rng.choice([1, 2, 4, 8]))
    at = place(width)
    if kind == "extreme":
        data[at : at + width] = bytes([int(rng.choice(EXTREMES))]) * width
    else:
        data[at : at + width] = int(rng.integers(0, 1 << min(63, 8 * width - 1))).to_bytes(width, "little")
    return f"{kind} at {at}:{at + width}", bytes(data)


def read_all(sources):
    """Reads every block of every source, and lets go of it."""
    for source in sources:
        for start in range(0, len(source), 2):
            source.read_block(start, min(start + 2, len(source)))
        source.close()


def one_case(twin, whole, path, seed):
    """What is wrong with the outcome, or an empty text; the file is written anew."""
    from tomolearn.exceptions import FileFormatError, GeometryError

    done, broken = mutate(whole, np.random.default_rng(seed))
    path.write_bytes(broken)
    try:
        read_all(twin.open(path))
    except (FileFormatError, GeometryError, OSError) as error:
        if path.name not in str(error):
            return f"{done}: the message does not name the file: {type(error).__name__}: {error}"
    except Exception as error:
        return f"{done}: {type(error).__name__}: {error}"
    return ""


def peak_memory():
    """Bytes of resident memory at most so far; what getrusage gives begins with the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def serve(table, one_case=one_case):
    """The worker: a line ``kind seed`` comes, a line with the peak of memory in bytes and what is wrong goes back."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + HEADROOM, hard))
    logger = logging.getLogger("tifffile")  # says on stderr what it makes of each broken tag
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    wholes = {}
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            kind, seed = line.split()
            twin, fault = table[kind], ""
            path = Path(folder) / f"broken{twin.suffix}"
            if kind not in wholes:
                whole = Path(folder) / f"whole{twin.suffix}"
                twin.write(whole)
                wholes[kind] = whole.read_bytes()
            if seed == "whole":  # what is imported late is imported now
                read_all(twin.open(Path(folder) / f"whole{twin.suffix}"))
            else:
                fault = one_case(twin, wholes[kind], path, int(seed))
            print(peak_memory(), " ".join(fault.split())[:600], flush=True)


class Worker:
    """A process that serves cases, begun anew after a crash or a hang."""

    def __init__(self, table_name, seconds, script=__file__):
        self.table_name, self.seconds, self.script, self.process = table_name, seconds, script, None

    def ask(self, kind, seed):
        """(peak of memory or None, what is wrong)."""
        if self.process is None:
            command = [sys.executable, self.script, "--serve", "--table", self.table_name]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **ONE_THREAD}
            )
            self.ask(kind, "whole")
        seconds = STARTS if seed == "whole" else self.seconds
        self.process.stdin.write(f"{kind} {seed}\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            self.stop()
            return None, f"hangs for {seconds:g} s"
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            self.stop()
            return None, f"the process died with status {status}"
        peak, _, fault = line.strip().partition(" ")
        return int(peak), fault

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None


def run_kind(worker, kind, first, cases):
    """(faults as (seed, text), bytes of memory that the cases added)."""
    faults, grown = [], 0
    base, fault = worker.ask(kind, "whole")
    if base is None:
        return [("whole", fault)], 0
    for seed in range(first, first + cases):
        peak, fault = worker.ask(kind, seed)
        if fault:
            faults.append((seed, fault))
        if peak is None:
            base, _ = worker.ask(kind, "whole")
        elif peak - base > MOST_GROWTH:
            faults.append((seed, f"takes {(peak - base) >> 20} MiB, at most {MOST_GROWTH >> 20} are allowed"))
            base = peak
        else:
            grown = max(grown, peak - base)
    return faults, grown


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=500, help="of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the first case; each case has the next one")
    parser.add_argument("--kind", default=None, help="only this one")
    parser.add_argument("--table", default="io_twins:TWINS", help="module:name of the twins")
    parser.add_argument("--seconds", type=float, default=20.0, help="after which a case hangs")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    module, _, name = arguments.table.partition(":")
    table = getattr(importlib.import_module(module), name)
    if arguments.serve:
        return serve(table)
    failed, worker = False, Worker(arguments.table, arguments.seconds)
    for kind in [arguments.kind] if arguments.kind else table:
        start = time.monotonic()
        faults, grown = run_kind(worker, kind, arguments.seed, arguments.cases)
        seconds = time.monotonic() - start
        print(f"{kind:<14}{arguments.cases:>6} cases{seconds:>7.1f} s{grown >> 20:>6} MiB more{len(faults):>5} faults")
        for seed, fault in faults:
            print(f"  {seed}: {fault}\n  again: python tests/fuzz_files.py --kind {kind} --cases 1 --seed {seed}")
        failed |= bool(faults)
    worker.stop()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

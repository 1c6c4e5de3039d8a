"""Builds and runs the programs that execute CUDA kernels on the CPU: plainly and under the sanitizers."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
CXX = os.environ.get("CXX", "c++").split()
FLAGS = ["-std=c++20", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-psabi"]
KINDS = {
    "plain": [],
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-fsanitize=thread"],
}
ORDERS = ("forward", "reverse", "random:1")


def build(source, kind, *flags):
    """Path of the program, compiled anew if any C++ file is younger."""
    target = ROOT / "build" / "emulator" / f"{Path(source).stem}.{kind}"
    folders = (ROOT / "csrc", ROOT / "tests" / "emulator")
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".h", ".cuh", ".cpp")]
    if target.exists() and target.stat().st_mtime > max(path.stat().st_mtime for path in files):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(f".{os.getpid()}")  # renamed when whole: another worker may build the same
    include = f"-I{ROOT / 'tests' / 'emulator'}"
    command = [*CXX, *FLAGS, *KINDS[kind], *flags, include, str(ROOT / "tests" / "emulator" / source), "-o", str(fresh)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-4000:]}")
    fresh.rename(target)
    return target


def run(program, *arguments, order="forward"):
    environment = os.environ | {
        "EMULATOR_ORDER": order,
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "TSAN_OPTIONS": "halt_on_error=1",
    }
    command = [str(program), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    # Said of every program that has fibers; the emulator tells the sanitizer of each switch.
    done.stderr = "".join(line for line in done.stderr.splitlines(True) if "support makecontext" not in line)
    return done

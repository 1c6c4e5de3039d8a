"""Builds and runs the programs that execute CUDA kernels on the CPU: plainly and under the sanitizers."""

import fcntl
import gzip
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
CXX = os.environ.get("CXX", "c++").split()
# Without optimisation: the runs are short, and compiling costs more than it saves.
FLAGS = ["-std=c++20", "-O0", "-g1", "-Wall", "-Wextra", "-Werror", "-Wno-psabi"]
KINDS = {
    "plain": ["--coverage", "-fprofile-abs-path"],
    # Null pointers need no check at each use: AddressSanitizer reports them where they are read.
    "address": ["-fsanitize=address,undefined", "-fno-sanitize=null", "-fno-sanitize-recover=all"],
    "thread": ["-fsanitize=thread"],
}
ORDERS = ("forward", "reverse", "random:1")


def build(source, kind):
    """Path of the program, compiled anew if any C++ file is younger or the command is another."""
    target = ROOT / "build" / "emulator" / f"{Path(source).stem}.{kind}"
    target.parent.mkdir(parents=True, exist_ok=True)
    folders = (ROOT / "csrc", ROOT / "tests" / "emulator")
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".h", ".cuh", ".cpp")]
    include = f"-I{ROOT / 'tests' / 'emulator'}"
    command = [*CXX, *FLAGS, *KINDS[kind], include, str(ROOT / "tests" / "emulator" / source), "-o", str(target)]
    record, text = target.with_name(f"{target.name}.command"), "\n".join(command)
    with open(target.with_name(f"{target.name}.lock"), "w") as lock:  # another process may build the same
        fcntl.flock(lock, fcntl.LOCK_EX)
        newest = max(path.stat().st_mtime for path in files)
        if record.exists() and record.read_text() == text and record.stat().st_mtime >= newest:
            return target
        record.unlink(missing_ok=True)
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-4000:]}")
        record.write_text(text)
        os.utime(record, (newest, newest))  # a file that was edited meanwhile is younger
    return target


def run(program, *arguments, order="forward", profile=None):
    """The finished process. ``profile``: a folder for what `lines_not_reached` reads."""
    with tempfile.TemporaryDirectory() as scratch:
        environment = os.environ | {
            "EMULATOR_ORDER": order,
            "ASAN_OPTIONS": "detect_leaks=0",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "TSAN_OPTIONS": "halt_on_error=1",
            "GCOV_PREFIX": str(profile or scratch),
            "GCOV_PREFIX_STRIP": "99",
        }
        command = [str(program), *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    # Said of every program that has fibers; the emulator tells the sanitizer of each switch.
    done.stderr = "".join(line for line in done.stderr.splitlines(True) if "support makecontext" not in line)
    return done


def lines_not_reached(program, profile):
    """``{path: lines}`` of every file under csrc that a profiled run of a plain program could have reached."""
    (data,) = profile.glob("*.gcda")
    shutil.copy(program.parent / f"{data.stem}.gcno", profile)
    subprocess.run(["gcov", "--json-format", data.name], cwd=profile, check=True, capture_output=True)
    (report,) = profile.glob("*.gcov.json.gz")
    reached, possible = {}, {}
    for file in json.loads(gzip.decompress(report.read_bytes()))["files"]:
        path = Path(file["file"]).resolve()
        if not path.is_relative_to(ROOT / "csrc"):
            continue
        name = str(path.relative_to(ROOT))
        for line in file["lines"]:  # once for each instance of a template
            possible.setdefault(name, set()).add(line["line_number"])
            if line["count"]:
                reached.setdefault(name, set()).add(line["line_number"])
    return {name: sorted(lines - reached.get(name, set())) for name, lines in possible.items()}

"""The C++ side under the address, undefined-behaviour and thread sanitizers: any report is a failure."""

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="sanitizers are preloaded by the linker of Linux"),
]

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent / "sanitizers"
CXX = os.environ.get("CXX", "c++").split()
KINDS = {
    "address": ("address,undefined", ["libasan.so", "libubsan.so", "libstdc++.so"], 16, 3),
    "thread": ("thread", ["libtsan.so", "libstdc++.so"], 6, 1),
}
REPORT = re.compile(r"AddressSanitizer|ThreadSanitizer|runtime error:")


def library(name):
    path = subprocess.run([*CXX, f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
    if not os.path.isabs(path):
        pytest.fail(f"the compiler {CXX[0]} has no {name}")
    return path


def compile_shared(source, target, flags):
    command = [*CXX, "-std=c++20", "-O1", "-g", "-fPIC", "-shared", *flags, str(source), "-o", str(target)]
    subprocess.run(command, check=True)


class Instrumented:
    """A copy of the package with instrumented extensions, kept in build/ from one run to the next."""

    def __init__(self, kind):
        sanitizers, libraries, self.n_trials, self.n_levels = KINDS[kind]
        self.folder = ROOT / "build" / "sanitizers" / kind
        package = self.folder / "lib" / "tomolearn"
        built = subprocess.run(
            [sys.executable, "setup.py", "--quiet", "build_ext"]
            + ["--build-lib", str(package.parent), "--build-temp", str(self.folder / "temp")],
            cwd=ROOT,
            env=os.environ | {"TOMOLEARN_SANITIZE": sanitizers},
            capture_output=True,
            text=True,
        )
        assert built.returncode == 0, built.stdout + built.stderr
        ignore = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(ROOT / "tomolearn", package, ignore=ignore, dirs_exist_ok=True)
        preload = [library(name) for name in libraries]
        flags = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
        if kind == "thread":
            preload.append(str(self.folder / "threads.so"))
            compile_shared(HERE / "threads.cpp", preload[-1], flags)
        self.faults = self.folder / "faults.so"
        compile_shared(HERE / "faults.cpp", self.faults, flags)
        self.environment = os.environ | {
            "LD_PRELOAD": " ".join(preload),
            "PYTHONPATH": str(package.parent),
            "ASAN_OPTIONS": "detect_leaks=0",  # Python and torch keep memory until the end
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "TSAN_OPTIONS": "halt_on_error=1",
            "TOMOLEARN_TEST_THREADS": "3",
            "OMP_NUM_THREADS": "1",
        }
        self.environment.pop("TOMOLEARN_SIMD", None)

    def run(self, *arguments):
        command = [sys.executable, HERE / "exercise.py", *arguments]
        return subprocess.run(list(map(str, command)), env=self.environment, capture_output=True, text=True)


build = functools.cache(Instrumented)


@pytest.fixture(params=KINDS)
def instrumented(request):
    return build(request.param)


def test_operators_under_the_sanitizer(instrumented):
    done = instrumented.run(instrumented.n_trials)
    assert done.returncode == 0 and not REPORT.search(done.stderr), done.stderr[-8000:]
    folder, calls = done.stdout.splitlines()
    assert Path(folder) == instrumented.folder / "lib" / "tomolearn"
    assert int(calls.split()[0]) >= instrumented.n_levels * 8 * instrumented.n_trials  # operators


FAULTS = [("address", "read_past_the_end", "heap-buffer-overflow"), ("address", "shift_too_far", "shift exponent")]
FAULTS += [("thread", "race", "data race")]


@pytest.mark.parametrize(("instrumented", "fault", "report"), FAULTS, indirect=["instrumented"])
def test_a_fault_is_reported(instrumented, fault, report):
    done = instrumented.run(instrumented.faults, fault)
    assert done.returncode != 0 and REPORT.search(done.stderr) and report in done.stderr, done

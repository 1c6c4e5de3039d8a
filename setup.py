"""Builds the extensions and nothing else: metadata lives in pyproject.toml."""

import os
import platform
import re
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import setup

try:
    import torch
    from pybind11.setup_helpers import Pybind11Extension
    from torch.utils.cpp_extension import BuildExtension, CppExtension, include_paths
except ImportError as error:
    sys.exit(
        f"tomolearn is compiled against the installed torch and pybind11; one is missing here ({error}).\n"
        "In a checkout, this sets up everything:  make\n"
        "In an environment of your own:  pip install 'torch>=2.13' 'setuptools>=77' 'pybind11>=3' ninja\n"
        "                                pip install --no-build-isolation -e ."
    )

ROOT = Path(__file__).parent.resolve()
sys.path.insert(0, str(ROOT))  # pip runs this file without its folder
import setup_cuda  # noqa: E402

SANITIZE = os.environ.get("TOMOLEARN_SANITIZE", "")  # e.g. "address,undefined": what tests/test_sanitizers.py builds
SANITIZER_FLAGS = [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"] if SANITIZE else []
N_JOBS = int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)
OPTIMIZE = "-O1" if SANITIZE else "-O3"
WARN = ["-Wall", "-Wextra", "-Wno-unused-parameter"]
# The kernels compare coordinates that are finite by construction; these flags turn (a > b ? a : b) into one vector
# maximum and let the address tables vectorise. None of them reorders a sum.
KERNEL_FLAGS = [
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffinite-math-only",
    "-fno-signed-zeros",
    "-Wno-maybe-uninitialized",
]
# More than -O2 makes the Fourier kernels larger, slower to compile, and no faster.
KERNELS = {
    "csrc/cpu/fourier_kernels.cpp": "-O2",
    "csrc/cpu/median_kernels.cpp": "-O3",
    "csrc/cpu/projector_kernels.cpp": "-O3",
}
LEVELS = {"baseline": []}
# Threads meet in the same places at every level.
if platform.machine().lower() in ("x86_64", "amd64") and SANITIZE != "thread":
    LEVELS["avx2"] = ["-march=x86-64-v3"]
    LEVELS["avx512"] = ["-march=x86-64-v4", "-mtune=sapphirerapids", "-mprefer-vector-width=512"]


class BuildExtensions(BuildExtension):
    """First compiles the kernels, torch-free, once for each SIMD level and each in a namespace of its own."""

    def finalize_options(self):
        super().finalize_options()
        if self.editable_mode:  # pip would compile in a temporary folder, and all of it anew each time
            version = f"{sys.version_info.major}{sys.version_info.minor}"
            self.build_temp = str(ROOT / "build" / f"temp.{sysconfig.get_platform()}-cpython-{version}")

    def build_extensions(self):
        for ext in self.extensions:
            if ext.name == "tomolearn._C":
                ext.extra_objects = [*ext.extra_objects, *self._kernel_objects(), *self._cuda_objects()]
        super().build_extensions()

    def _kernel_objects(self):
        folder = Path(self.build_temp).resolve() / "kernels"
        folder.mkdir(parents=True, exist_ok=True)
        commands = {}
        for source, best in KERNELS.items():
            for level, flags in LEVELS.items():
                target = folder / f"{Path(source).stem}.{level}.o"
                commands[target] = [*kernel_command(level, flags, best), "-c", str(ROOT / source), "-o", str(target)]
        stale = [target for target, command in commands.items() if is_stale(target, command)]
        with ThreadPoolExecutor(N_JOBS) as pool:
            for target, _ in zip(stale, pool.map(lambda target: compile_kernel(commands[target]), stale), strict=True):
                target.with_suffix(".command").write_text("\n".join(commands[target]))
        return [str(target) for target in commands]

    def _cuda_objects(self):
        """The operators of csrc/cuda, compiled; what nvcc said of the kernels stays beside the object."""
        if CUDA is None:
            return []
        folder = Path(self.build_temp).resolve() / f"cuda-{CUDA.architectures.replace(';', '-')}"
        folder.mkdir(parents=True, exist_ok=True)
        source, target = CUDA.write_source(folder), folder / "operators.o"
        command = [*CUDA.command(include_paths(), N_JOBS), "-c", str(source), "-o", str(target)]
        sources = setup_cuda.digest(ROOT / "csrc" / "common", ROOT / "csrc" / "cuda")
        state = "\n".join([*command, torch.__version__, CUDA.toolkit.release, sources])
        record = target.with_suffix(".state")
        if not (target.exists() and record.exists() and record.read_text() == state):
            compile_cuda(command, target.with_suffix(".log"))
            record.write_text(state)
        return [str(target)]


def kernel_command(level, flags, best):
    defines = [f"-DTOMOLEARN_LEVEL={level}", f"-DTOMOLEARN_LEVEL_{level.upper()}"]
    compiler = os.environ.get("CXX", "c++").split()
    base = ["-std=c++20", OPTIMIZE if SANITIZE else best, "-g1", "-fPIC", "-fvisibility=hidden"]
    return [*compiler, *base, *WARN, *KERNEL_FLAGS, *SANITIZER_FLAGS, *defines, *flags]


def is_stale(target, command):
    """Whether the object is older than any C++ file of the CPU or was compiled by another command."""
    record = target.with_suffix(".command")
    if not (target.exists() and record.exists() and record.read_text() == "\n".join(command)):
        return True
    files = [path for name in ("common", "cpu") for path in (ROOT / "csrc" / name).rglob("*") if path.is_file()]
    return any(path.stat().st_mtime > record.stat().st_mtime for path in files)


def compile_kernel(command):
    done = subprocess.run(command)
    if done.returncode:
        sys.exit(f"tomolearn: the compiler failed ({done.returncode}): {' '.join(command)}")


def compile_cuda(command, log):
    with log.open("w") as stream:
        done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT)
    lines = [
        line for line in log.read_text().splitlines() if not re.match(r"ptxas info|\s*\d+ bytes stack frame", line)
    ]
    if lines:
        print("\n".join(lines), file=sys.stderr, flush=True)
    if done.returncode:
        sys.exit(
            f"tomolearn: nvcc failed ({done.returncode}): {' '.join(command)}\n"
            "NVCC_CCBIN=COMPILER names another compiler for the host, CUDA_HOME=FOLDER another toolkit;\n"
            "FORCE_CUDA=0 builds for the CPU only."
        )


def sources(folder):
    found = sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).glob("*.cpp"))
    return [path for path in found if path not in KERNELS]


def operators():
    """`tomolearn._C`: the torch operators, on the stable ABI (no C++ symbol of torch is used)."""
    has_level = [f"-DTOMOLEARN_HAVE_{level.upper()}" for level in LEVELS]
    flags = [min(OPTIMIZE, "-O2"), "-g1", "-fvisibility=hidden", *WARN, *has_level, *SANITIZER_FLAGS]
    return CppExtension(
        "tomolearn._C",
        ["csrc/ops.cpp", *sources("csrc/cpu")],
        extra_compile_args={"cxx": [*flags, "-DTORCH_TARGET_VERSION=0x020d000000000000"]},
        extra_link_args=[
            *(["-Wl,--no-undefined"] if sys.platform == "linux" else []),
            *SANITIZER_FLAGS,
            *(CUDA.link_flags() if CUDA else []),
        ],
        py_limited_api=True,
    )


def simulation():
    """`tomolearn._simulation`: phantoms for numpy, a plain pybind11 module that knows nothing of torch."""
    return Pybind11Extension(
        "tomolearn._simulation",
        sources("csrc/simulation"),
        cxx_std=20,
        # Without fused multiply-adds a seed packs the same spheres on every platform.
        extra_compile_args=[OPTIMIZE, "-g1", "-ffp-contract=off", "-pthread", *WARN, *SANITIZER_FLAGS],
        extra_link_args=["-pthread", *SANITIZER_FLAGS],
    )


def check_cuda():
    """(what to build for CUDA, one clause on it); a wish that cannot be met ends the build."""
    if SANITIZE:
        return None, "operators for the CPU only, since the sanitizers see no other code"
    try:
        return setup_cuda.plan(torch)
    except setup_cuda.CudaError as error:
        sys.exit(str(error))


CUDA, CUDA_CLAUSE = check_cuda()
print(
    f"tomolearn: torch {torch.__version__}, Python {platform.python_version()}; {CUDA_CLAUSE}; kernels for "
    f"{', '.join(LEVELS)} ({platform.machine()}), chosen at run time"
    + (f"; sanitizers: {SANITIZE}" if SANITIZE else ""),
    flush=True,
)
setup(
    ext_modules=[operators(), simulation()],
    cmdclass={"build_ext": BuildExtensions.with_options(no_python_abi_suffix=True)},
)

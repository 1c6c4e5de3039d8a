"""Builds the extensions and nothing else: metadata lives in pyproject.toml."""

import os
import platform
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import setup

try:
    import torch
    from pybind11.setup_helpers import Pybind11Extension
    from torch.utils.cpp_extension import BuildExtension, CppExtension
except ImportError as error:
    sys.exit(
        f"tomolearn is compiled against the installed torch and pybind11; one is missing here ({error}).\n"
        "In a checkout, this sets up everything:  make\n"
        "In an environment of your own:  pip install 'torch>=2.13' 'setuptools>=77' 'pybind11>=3' ninja\n"
        "                                pip install --no-build-isolation -e ."
    )

ROOT = Path(__file__).parent.resolve()
SANITIZE = os.environ.get("TOMOLEARN_SANITIZE", "")  # e.g. "address,undefined": what tests/test_sanitizers.py builds
SANITIZER_FLAGS = [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"] if SANITIZE else []
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
KERNELS = ["csrc/cpu/projector_kernels.cpp", "csrc/cpu/median_kernels.cpp"]
LEVELS = {"baseline": []}
if platform.machine().lower() in ("x86_64", "amd64"):
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
                ext.extra_objects = [*ext.extra_objects, *self._kernel_objects()]
        super().build_extensions()

    def _kernel_objects(self):
        folder = Path(self.build_temp).resolve() / "kernels"
        folder.mkdir(parents=True, exist_ok=True)
        commands = {}
        for source in KERNELS:
            for level, flags in LEVELS.items():
                target = folder / f"{Path(source).stem}.{level}.o"
                commands[target] = [*kernel_command(level, flags), "-c", str(ROOT / source), "-o", str(target)]
        stale = [target for target, command in commands.items() if is_stale(target, command)]
        with ThreadPoolExecutor(int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)) as pool:
            for target, _ in zip(stale, pool.map(lambda target: compile_kernel(commands[target]), stale), strict=True):
                target.with_suffix(".command").write_text("\n".join(commands[target]))
        return [str(target) for target in commands]


def kernel_command(level, flags):
    defines = [f"-DTOMOLEARN_LEVEL={level}", f"-DTOMOLEARN_LEVEL_{level.upper()}"]
    compiler = os.environ.get("CXX", "c++").split()
    base = ["-std=c++20", OPTIMIZE, "-g1", "-fPIC", "-fvisibility=hidden"]
    return [*compiler, *base, *WARN, *KERNEL_FLAGS, *SANITIZER_FLAGS, *defines, *flags]


def is_stale(target, command):
    """Whether the object is older than any C++ file or was compiled by another command."""
    record = target.with_suffix(".command")
    if not (target.exists() and record.exists() and record.read_text() == "\n".join(command)):
        return True
    return any(path.stat().st_mtime > record.stat().st_mtime for path in (ROOT / "csrc").rglob("*") if path.is_file())


def compile_kernel(command):
    done = subprocess.run(command)
    if done.returncode:
        sys.exit(f"tomolearn: the compiler failed ({done.returncode}): {' '.join(command)}")


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
        extra_link_args=[*(["-Wl,--no-undefined"] if sys.platform == "linux" else []), *SANITIZER_FLAGS],
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
    """One clause on the CUDA build; a wish that cannot be met ends the build."""
    forced = os.environ.get("FORCE_CUDA", "") not in ("", "0")
    if forced and not (ROOT / "csrc" / "cuda").is_dir():
        sys.exit(
            "tomolearn: FORCE_CUDA is set, but this version has no CUDA sources (no folder csrc/cuda): its operators\n"
            "run on the CPU only. Unset FORCE_CUDA (with make: make FORCE_CUDA=) and build again."
        )
    return "operators for the CPU only, since this version has no CUDA sources"


print(
    f"tomolearn: torch {torch.__version__}, Python {platform.python_version()}; {check_cuda()}; kernels for "
    f"{', '.join(LEVELS)} ({platform.machine()}), chosen at run time"
    + (f"; sanitizers: {SANITIZE}" if SANITIZE else ""),
    flush=True,
)
setup(
    ext_modules=[operators(), simulation()],
    cmdclass={"build_ext": BuildExtensions.with_options(no_python_abi_suffix=True)},
)

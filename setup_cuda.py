"""What setup.py knows of CUDA: whether to build the kernels of csrc/cuda, with which nvcc, for which GPUs, and how.

As a program it prints the nvcc that a build takes, or says why there is none and ends with status 1. Neither a GPU nor
a torch with CUDA is needed to build; one library serves both kinds of torch.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.resolve()
SOURCES = ROOT / "csrc" / "cuda"
ARCHITECTURES = "8.0;9.0+PTX"  # A100 and H100; what came between runs the code of 8.0, what is newer translates the PTX
OLDEST = (12, 0)  # the first nvcc for C++20


class CudaError(Exception):
    """CUDA kernels cannot be built; the message says why and names the way out."""


@dataclass(frozen=True)
class Toolkit:
    nvcc: str
    version: tuple[int, int]
    runtime: str  # libcudart_static.a: linked into the operators, which so need no CUDA library where they are loaded

    @property
    def release(self):
        return ".".join(map(str, self.version))


def candidates():
    """Paths of nvcc in the order of preference, each with what named it; CUDA_HOME alone where it is set."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if home:
        return [("CUDA_HOME", str(Path(home) / "bin" / "nvcc"))]
    site = Path(sysconfig.get_path("purelib"))
    found = [("the wheels in this environment", str(path)) for path in sorted(site.glob("nvidia/cu*/bin/nvcc"))[::-1]]
    on_path = shutil.which("nvcc")
    found += [("PATH", on_path)] if on_path else []
    return [*found, ("its usual folder", "/usr/local/cuda/bin/nvcc")]


def inspect(nvcc):
    """The toolkit of this nvcc, which may be a script that calls another: --dryrun says where that one lives."""
    told = ""
    for arguments in (["--version"], ["--dryrun", "-x", "cu", "-c", os.devnull]):
        try:
            done = subprocess.run([nvcc, *arguments], capture_output=True, text=True)
        except OSError as error:
            raise CudaError(f"{nvcc} does not run ({error.strerror})") from None
        told += done.stdout + done.stderr
    release = re.search(r"release (\d+)\.(\d+)", told)
    top = re.search(r"^#\$ TOP=(.+)$", told, re.MULTILINE)
    if not release or not top:
        raise CudaError(f"{nvcc} does not answer as nvcc does")
    version = (int(release[1]), int(release[2]))
    if version < OLDEST:
        raise CudaError(f"{nvcc} is of CUDA {release[1]}.{release[2]}, older than {OLDEST[0]}.{OLDEST[1]}")
    folders = [Path(flag) for flag in re.findall(r'"-L([^"]+)"', told)]
    folders += [Path(top[1].strip()) / name for name in ("lib64", "lib")]
    for folder in folders:
        if (folder / "libcudart_static.a").exists():
            return Toolkit(nvcc, version, str((folder / "libcudart_static.a").resolve()))
    raise CudaError(f"the toolkit of {nvcc} has no libcudart_static.a")


def find_toolkit(major=None):
    """The first toolkit that fits; `major` is that of the CUDA that torch was built for, None for a CPU torch."""
    if sys.platform != "linux":
        raise CudaError(f"the CUDA kernels are built on Linux only, and this is {sys.platform}")
    reasons = []
    for origin, nvcc in candidates():
        if origin != "CUDA_HOME" and not Path(nvcc).exists():
            continue
        try:
            toolkit = inspect(nvcc)
        except CudaError as error:
            reasons.append(f"{error} (from {origin})")
            continue
        if major is None or toolkit.version[0] == major:
            return toolkit
        # Its runtime may ask more of the driver than torch's, and would then fail where torch works.
        reasons.append(f"{nvcc} is of CUDA {toolkit.release}, torch of CUDA {major} (from {origin})")
    raise CudaError("; ".join(reasons) or "there is no nvcc: neither CUDA_HOME, nor on PATH, nor in /usr/local/cuda")


def wheels():
    """The toolkit as wheels of a package index, without what only other programs need."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    return " ".join(f"'{requirement}'" for requirement in extras["cuda"])


def known_architectures(toolkit):
    listed = subprocess.run([toolkit.nvcc, "--list-gpu-code"], capture_output=True, text=True).stdout
    return sorted((int(number[:-1]), int(number[-1])) for number in re.findall(r"sm_(\d+)", listed))


def choose_architectures(toolkit, devices):
    """The wish of TORCH_CUDA_ARCH_LIST; else what `devices`, the compute capabilities of the GPUs here, ask for."""
    wish = os.environ.get("TORCH_CUDA_ARCH_LIST", "")
    if wish.strip():
        return ";".join(re.split(r"[;\s]+", wish.strip(" ;")))
    known = known_architectures(toolkit)
    nearest = sorted({max(k for k in known if k <= device) for device in devices if device >= known[0]})
    return ";".join(f"{major}.{minor}" for major, minor in nearest) + "+PTX" if nearest else ARCHITECTURES


def architecture_flags(toolkit, architectures):
    """Flags of nvcc for a list such as "8.0;9.0+PTX"."""
    known, flags = known_architectures(toolkit), []
    for word in architectures.split(";"):
        match = re.fullmatch(r"(\d+)\.(\d)([af]?)(\+PTX)?", word)
        if not match or (int(match[1]), int(match[2])) not in known:
            names = ", ".join(f"{major}.{minor}" for major, minor in known)
            raise CudaError(
                f"TORCH_CUDA_ARCH_LIST holds {word!r}; it is a list like {ARCHITECTURES!r}, of what nvcc "
                f"{toolkit.release} knows: {names}"
            )
        number = match[1] + match[2] + match[3]
        codes = f"sm_{number}" + (f",compute_{number}" if match[4] else "")
        flags += ["-gencode", f"arch=compute_{number},code=[{codes}]"]
    return flags


def digest(*places):
    """Of names and contents: a file that was copied may be new and its date old."""
    files = [path for place in places for path in ([place] if place.is_file() else place.rglob("*")) if path.is_file()]
    told = hashlib.sha256()
    for path in sorted(files):
        told.update(f"{path.relative_to(ROOT)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return told.hexdigest()


@dataclass(frozen=True)
class CudaBuild:
    toolkit: Toolkit
    architectures: str

    def write_source(self, folder):
        """One file that includes all: nvcc reads the headers of torch, most of its work, once and not for each.

        Names that are local to one file of csrc/cuda must differ from those of the others for it.
        """
        names = sorted(SOURCES.glob("*.cu"))
        text = "".join(f'#include "{name}"\n' for name in names)
        source = folder / "operators.cu"
        if not source.exists() or source.read_text() != text:
            source.write_text(text)
        return source

    def command(self, include_folders, jobs):
        """nvcc and its flags; -Xptxas=-v reports registers, shared memory and spills of every kernel."""
        host = "-fPIC,-fvisibility=hidden,-g1,-O2,-Wno-unused-parameter"
        includes = [word for folder in include_folders for word in ("-isystem", folder)]
        return [
            *[self.toolkit.nvcc, "-std=c++20", "-O3", f"-Xcompiler={host}", "-Xptxas=-v", "--threads", str(jobs)],
            *["-DTORCH_TARGET_VERSION=0x020d000000000000", *includes],
            *architecture_flags(self.toolkit, self.architectures),
        ]

    def link_flags(self):
        """The runtime stays out of the symbols that the library exports: another in the process must not meet it."""
        archive = Path(self.toolkit.runtime)
        return [f"-Wl,--exclude-libs,{archive.name}", str(archive), "-lrt", "-ldl", "-lpthread"]


def plan(torch):
    """(what to build or None, a clause that says it and why); a wish that cannot be met raises CudaError."""
    wish = os.environ.get("FORCE_CUDA", "")
    if wish == "0":
        return None, "operators for the CPU only, since FORCE_CUDA=0"
    if not wish and not torch.version.cuda:
        return None, "operators for the CPU only, since torch is (FORCE_CUDA=1 builds for CUDA all the same)"
    try:
        toolkit = find_toolkit(int(torch.version.cuda.split(".")[0]) if torch.version.cuda else None)
        devices = []
        if torch.cuda.is_available():
            devices = [torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())]
        build = CudaBuild(toolkit, choose_architectures(toolkit, devices))
        architecture_flags(toolkit, build.architectures)
    except CudaError as error:
        if not wish:
            return None, f"operators for the CPU only, though torch has CUDA, since {error}"
        raise CudaError(
            f"tomolearn: FORCE_CUDA is set, but {error}.\n"
            "Name another toolkit by CUDA_HOME=FOLDER, or install nvcc into the environment of the build:\n"
            f"  pip install {wheels()}\n"
            "Or build for the CPU only, by FORCE_CUDA=0."
        ) from None
    why = "FORCE_CUDA is set" if wish else "torch has CUDA and nvcc is here"
    return build, f"operators for the CPU and for CUDA {build.architectures} by nvcc {toolkit.release}, since {why}"


def main():
    try:
        print(find_toolkit().nvcc)
    except CudaError as error:
        sys.exit(f"tomolearn: {error}")


if __name__ == "__main__":
    main()

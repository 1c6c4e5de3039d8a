"""The CUDA extension in build/cuda, and what its kernels take of a GPU.

``python tests/cuda_extension.py`` builds it and writes tests/cuda_resources.json anew: registers and bytes of shared
memory of every kernel on every architecture, which tests/test_cuda_build.py holds later builds to.
"""

import functools
import json
import os
import re
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from setup_cuda import ARCHITECTURES, CudaError, digest, find_toolkit  # noqa: E402

FOLDER = ROOT / "build" / "cuda"
LIBRARY = FOLDER / "tomolearn" / "_C.so"
TABLE = Path(__file__).with_name("cuda_resources.json")
PLATFORM = f"{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
LOG = ROOT / "build" / f"temp.{PLATFORM}" / f"cuda-{ARCHITECTURES.replace(';', '-')}" / "operators.log"
REWRITE = "Where that is meant, write the table anew: python tests/cuda_extension.py"


def toolkit():
    """The toolkit that a build takes; CudaError where there is none."""
    return find_toolkit(int(torch.version.cuda.split(".")[0]) if torch.version.cuda else None)


@functools.cache
def build():
    """Build what is not there yet; setup.py shares with `make` what it compiles for the CPU."""
    sources = digest(ROOT / "setup.py", ROOT / "setup_cuda.py", ROOT / "csrc")
    state = f"{toolkit()} {torch.__version__} {sys.version} {ROOT} {sources}"
    stamp = FOLDER / "built"
    if stamp.exists() and LOG.exists() and LIBRARY.exists() and stamp.read_text() == state:
        return LIBRARY
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--build-lib", str(FOLDER)],
        cwd=ROOT,
        env=os.environ | {"FORCE_CUDA": "1", "TORCH_CUDA_ARCH_LIST": ARCHITECTURES},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"the CUDA extension does not build\n{(done.stdout + done.stderr)[-8000:]}")
    stamp.write_text(state)
    return LIBRARY


# ----------------------------------------------------------------------------------------------- what ptxas says

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers(?:.*?, (\d+) bytes smem)?")


def demangle(names):
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return [kernel_name(line) for line in done.stdout.splitlines()]


def kernel_name(signature):
    """Without the type of the result and the parameters: those follow from the name."""
    name, depth = signature.removeprefix("void "), 0
    for i, character in enumerate(name):
        depth += {"<": 1, ">": -1}.get(character, 0)
        if character == "(" and depth == 0 and not name.startswith("(anonymous", i):
            return name[:i]
    return name


def read_log(text):
    """{kernel: {architecture: {"registers", "shared", "stack", "spills"}}} of the output of -Xptxas=-v."""
    found = {}
    for part in re.split(r"(?=ptxas info\s*: Compiling entry function)", text)[1:]:
        (symbol, architecture), stack, used = ENTRY.search(part).groups(), STACK.search(part), USED.search(part)
        found.setdefault(symbol, {})[architecture] = {
            "registers": int(used[1]),
            "shared": int(used[2] or 0),
            "stack": int(stack[1]),
            "spills": int(stack[2]) + int(stack[3]),
        }
    return dict(sorted(zip(demangle(found), found.values(), strict=True)))


def memory_faults(resources):
    """Kernels that keep values in local memory: registers that did not suffice, or arrays indexed at run time."""
    for kernel, parts in resources.items():
        for architecture, used in parts.items():
            for what in ("spills", "stack"):
                if used[what]:
                    yield f"{kernel} on {architecture}: {used[what]} bytes of {what}"


def growth(resources, table):
    """What asks for more than the table allows, and where the two have not the same kernels."""
    for kernel in sorted(resources.keys() | table.keys()):
        if kernel not in resources or kernel not in table:
            yield f"{kernel}: {'not in the table' if kernel in resources else 'in the table, but no kernel any more'}"
            continue
        for architecture, used in resources[kernel].items():
            for what, bound in table[kernel].get(architecture, {"registers": 0, "shared": 0}).items():
                if used[what] > bound:
                    yield f"{kernel} on {architecture}: {what} {used[what]}, the table has {bound}"


def write_table():
    build()
    bounds = {
        kernel: {
            architecture: {"registers": used["registers"], "shared": used["shared"]}
            for architecture, used in parts.items()
        }
        for kernel, parts in read_log(LOG.read_text()).items()
    }
    lines = [f"    {json.dumps(kernel)}: {json.dumps(parts)}" for kernel, parts in bounds.items()]
    release = json.dumps(toolkit().release)
    TABLE.write_text(f'{{\n  "nvcc": {release},\n  "kernels": {{\n' + ",\n".join(lines) + "\n  }\n}\n")


# --------------------------------------------------------------------------------------------- what the file holds

FATBIN = struct.pack("<I", 0xBA55ED50)


def device_code(library):
    """For each fat binary in the library the set of what it holds: ("sm", 80) machine code, ("ptx", 90) portable code.

    A fat binary is a header (magic, version, own size, size of the rest) and then members, each with a header of kind,
    own size, size of its code and, at 28, the architecture.
    """
    data, at, found = Path(library).read_bytes(), -1, []
    while (at := data.find(FATBIN, at + 1)) >= 0:
        header, size = struct.unpack_from("<HQ", data, at + 6)
        member, end, held = at + header, at + header + size, set()
        while member < end:
            kind, own, code = struct.unpack_from("<H2xIQ", data, member)
            held.add(({1: "ptx", 2: "sm"}.get(kind, kind), struct.unpack_from("<I", data, member + 28)[0]))
            member += own + code
        found.append(held)
    return found


def main():
    try:
        write_table()
    except (CudaError, RuntimeError) as error:
        sys.exit(str(error))
    print(f"wrote {TABLE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

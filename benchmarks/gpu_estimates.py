"""Estimates for the CUDA kernels, made without a GPU: docs/gpu_tables.inc.

    python benchmarks/gpu_estimates.py [--tools FOLDER] [--nvcc PATH] [--write docs/gpu_tables.inc]

Compiles each kernel for sm_80 (A100) and sm_90 (H100), reads registers and shared memory from ptxas, occupancy from the
toolkit's cuda_occupancy.h, and counts the instructions of the inner loop in the disassembly. A roofline of the issue
slots, the arithmetic pipes, the caches and the memory gives the times. Nothing here is a measurement.

nvdisasm is no part of the toolkit's wheels: `pip install --no-deps --target FOLDER nvidia-cuda-nvdisasm`, and --tools.
"""

import argparse
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _timing import print_table

CSRC = Path(__file__).parents[1] / "csrc"


@dataclass(frozen=True)
class Gpu:
    name: str
    arch: int
    n_sm: int
    clock: float  # Hz, boost
    dram: float  # bytes a second
    l2: float  # bytes a second
    l2_size: float  # bytes
    shared: int  # bytes of shared memory of an SM
    opt_in: int  # bytes of shared memory that a block may have
    rates: dict  # results of a pipe a clock and SM


# Clocks, memory and L2: doi 10.1016/j.ultsonch.2023.106546, table 3, for the SXM boards. Pipes: CUDA C++ Programming
# Guide, throughput of native arithmetic instructions; a lower rate where kinds of a pipe differ.
GPUS = (
    Gpu(
        "A100",
        80,
        108,
        1.41e9,
        1.555e12,
        7.219e12,
        40e6,
        167936,
        166912,
        {"fma": 64, "alu": 64, "xu": 16, "half": 128, "double": 32},
    ),
    Gpu(
        "H100",
        90,
        132,
        1.755e9,
        3.35e12,
        8.986e12,
        50e6,
        233472,
        232448,
        {"fma": 128, "alu": 64, "xu": 16, "half": 128, "double": 64},
    ),
)
ISSUE = 128  # thread instructions a clock and SM: four schedulers of 32 lanes
L1 = 128  # bytes a clock and SM
PIPES = {
    "fma": "FFMA FADD FMUL IMAD",
    "double": "DFMA DADD DMUL DSETP",
    "alu": "IADD3 LOP3 SHF LEA FMNMX FSETP ISETP SEL FSEL IMNMX VIMNMX VIADD VIADDMNMX I2FP PRMT MOV",
    "xu": "I2F F2I MUFU F2F FRND",
    "half": "HADD2 HFMA2 F2FP",
}
PIPE_OF = {op: pipe for pipe, ops in PIPES.items() for op in ops.split()}

ANGLES_AT_ONCE, LINES_AT_ONCE = 64, 16  # kBackAngles, kRayLines
TILE, RAY_ANGLES = 16, 4  # kTile, kRayAngles


@dataclass(frozen=True)
class Kernel:
    title: str
    kind: str  # back, forward or other
    name: str
    header: str
    threads: int
    bytes_per_slice: int = 4
    lanes: int = 8


PROJECTOR, PATCHES = "projector_kernels.cuh", "patch_kernels.cuh"
BACK = "backproject_slices<{}, {}, {}, false, {}>"
KERNELS = (
    Kernel("back-projection, float32", "back", BACK.format("float", 4, 8, "uint32_t"), PROJECTOR, 256),
    Kernel("back-projection, float16", "back", BACK.format("__half", 8, 4, "uint32_t"), PROJECTOR, 256, 2, 4),
    Kernel("back-projection, float64", "back", BACK.format("double", 2, 4, "double"), PROJECTOR, 256, 8, 4),
    Kernel(
        "back-projection, float32, few slices", "back", BACK.format("float", 4, 1, "uint32_t"), PROJECTOR, 256, 4, 1
    ),
    Kernel("back-projection, float32, one slice", "back", BACK.format("float", 1, 1, "uint32_t"), PROJECTOR, 256, 4, 1),
    Kernel("projection, float32", "forward", "project_slices<float, 4, 8, false>", PROJECTOR, 256),
    Kernel("projection, float16", "forward", "project_slices<__half, 8, 4, false>", PROJECTOR, 256, 2, 4),
    Kernel("projection, float64", "forward", "project_slices<double, 2, 4, false>", PROJECTOR, 256, 8, 4),
    Kernel("projection, float32, few slices", "forward", "project_slices<float, 4, 1, false>", PROJECTOR, 256, 4, 1),
    Kernel("projection, float32, one slice", "forward", "project_slices<float, 1, 1, false>", PROJECTOR, 256, 4, 1),
    Kernel("packing, float32", "other", "pack_slices<float, 4, 8>", PROJECTOR, 256),
    Kernel("extraction of patches, float32", "other", "extract_elements<float, true>", PATCHES, 256),
    Kernel("stitching of patches, float32", "other", "stitch_pixels<float, true>", PATCHES, 256),
)
CASES = ((256, 256, 32), (512, 360, 32), (1024, 1024, 32), (2048, 1500, 32))  # pixels along an edge, angles, slices


# ------------------------------------------------------------------------------------------------------------ compiling


def find_nvcc(given):
    """The compiler and the root of its toolkit. nvcc on the PATH may be a wrapper: it is asked."""
    home = os.environ.get("CUDA_HOME")
    nvcc = given or (f"{home}/bin/nvcc" if home else shutil.which("nvcc"))
    if nvcc is None:
        raise SystemExit("gpu_estimates: no nvcc; put it on the PATH, set CUDA_HOME or give --nvcc")
    told = subprocess.run([nvcc, "--dryrun", "-x", "cu", "-c", os.devnull], capture_output=True, text=True).stderr
    top = re.search(r"^#\$ TOP=(.+)$", told, re.MULTILINE)
    if top is None:
        raise SystemExit(f"gpu_estimates: {nvcc} --dryrun does not say where its toolkit is; give --nvcc")
    return nvcc, Path(top[1]).resolve()


def find_disassembler(folder):
    found = next(iter(sorted(Path(folder).rglob("nvdisasm"))), None) if folder else shutil.which("nvdisasm")
    if found is None:
        raise SystemExit(
            "gpu_estimates: no nvdisasm; pip install --no-deps --target FOLDER nvidia-cuda-nvdisasm, --tools FOLDER"
        )
    return str(found)


@dataclass(frozen=True)
class Compiled:
    registers: int
    shared: int
    spills: int
    nest: tuple  # instructions by opcode of the hot loop, then of each loop around it without what is inside


def compile_kernel(kernel, arch, nvcc, nvdisasm, folder):
    source, cubin = folder / "kernel.cu", folder / "kernel.cubin"
    source.write_text(
        f'#include "{CSRC}/cuda/{kernel.header}"\nusing namespace tomolearn::cuda;\nauto* kernel = &{kernel.name};\n'
    )
    command = [nvcc, "-std=c++20", "-O3", "-cubin", f"-arch=sm_{arch}", "-Xptxas=-v", str(source), "-o", str(cubin)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    shared = re.search(r"(\d+) bytes smem", told)
    spills = sum(int(n) for n in re.findall(r"(\d+) bytes spill", told))
    sass = subprocess.run([nvdisasm, "-c", str(cubin)], check=True, capture_output=True, text=True).stdout
    registers = int(re.search(r"Used (\d+) registers", told)[1])
    return Compiled(registers, int(shared[1]) if shared else 0, spills, loop_nest(sass))


def loop_nest(sass):
    """Opcodes of the innermost loop with the most 16-byte loads, and of those around it, without what is inside.

    A loop is what lies between a label and a branch back to it. Of the outer loops, stretches with loads of slices are
    left out: the rest of an unrolled loop, which full turns skip. Everything else counts as if it ran each time, rare
    branches too: an upper bound.
    """
    code, labels = [], {}
    for line in sass.splitlines():
        label = re.match(r"(\.L_x_\d+):", line)
        if label:
            labels[label[1]] = len(code)
        found = re.match(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\d+\s+)?([A-Z0-9_.]+)(.*?);", line)
        if found:
            code.append((found[1], found[2]))
    branches = [k for k, (opcode, _) in enumerate(code) if opcode.startswith("BRA")]
    targets = {k: re.search(r"\.L_x_\d+", code[k][1]) for k in branches}
    loops = {(labels[t[0]], k + 1) for k, t in targets.items() if t and labels[t[0]] < k}
    innermost = [a for a in loops if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    hot = max(innermost, key=lambda a: (n_loads(opcodes(code, *a)), a[0] - a[1]), default=(0, len(code)))
    nest = sorted((a for a in loops if a[0] <= hot[0] and hot[1] <= a[1]), key=lambda a: a[1] - a[0]) or [hot]
    cuts = sorted({0, len(code), *labels.values(), *(k + 1 for k in branches)})
    counts, inside = [], hot
    for begin, end in nest:
        count = opcodes(code, *hot) if (begin, end) == hot else Counter()
        for cut in zip(cuts, cuts[1:], strict=False):
            within = begin <= cut[0] < end and not inside[0] <= cut[0] < inside[1]
            if within and not opcodes(code, *cut)["LDG.128"]:
                count += opcodes(code, *cut)
        counts.append(count)
        inside = begin, end
    return tuple(counts)


def opcodes(code, begin, end):
    count = Counter()
    for opcode, _ in code[begin:end]:
        short = opcode.split(".")[0]
        count["LDG.128" if short == "LDG" and opcode.endswith("128") else short] += 1
    return count


def n_loads(count):
    return count["LDG.128"] or count["LDG"]


OCCUPANCY = """
#include <cuda_occupancy.h>
#include <cstdio>
#include <cstdlib>
int main(int argc, char** v) {
  if (argc != 9) return 2;
  cudaOccDeviceProp p{};
  p.computeMajor = std::atoi(v[1]) / 10, p.computeMinor = std::atoi(v[1]) % 10, p.numSms = std::atoi(v[2]);
  p.maxThreadsPerBlock = 1024, p.maxThreadsPerMultiprocessor = 2048, p.regsPerBlock = p.regsPerMultiprocessor = 65536;
  p.warpSize = 32, p.sharedMemPerBlock = 49152, p.sharedMemPerMultiprocessor = std::atoi(v[3]);
  p.sharedMemPerBlockOptin = std::atoi(v[4]), p.reservedSharedMemPerBlock = 1024;
  cudaOccFuncAttributes f{};
  f.maxThreadsPerBlock = 1024, f.numRegs = std::atoi(v[5]), f.sharedSizeBytes = std::atoi(v[6]);
  f.partitionedGCConfig = PARTITIONED_GC_OFF, f.maxDynamicSharedSizeBytes = 0, f.numBlockBarriers = 1;
  cudaOccDeviceState s{};
  s.carveoutConfig = std::atoi(v[8]);
  cudaOccResult r{};
  if (cudaOccMaxActiveBlocksPerMultiprocessor(&r, &p, &f, &s, std::atoi(v[7]), 0)) return 1;
  std::printf("%d", r.activeBlocksPerMultiprocessor);
}
"""


def build_occupancy(toolkit, folder):
    source, program = folder / "occupancy.cpp", folder / "occupancy"
    source.write_text(OCCUPANCY)
    compiler = os.environ.get("CXX", "c++").split()
    subprocess.run([*compiler, "-w", f"-I{toolkit}/include", str(source), "-o", str(program)], check=True)
    return program


def blocks_on_sm(program, gpu, kernel, compiled):
    numbers = (gpu.arch, gpu.n_sm, gpu.shared, gpu.opt_in, compiled.registers, compiled.shared, kernel.threads, -1)
    told = subprocess.run([str(program), *map(str, numbers)], check=True, capture_output=True, text=True)
    return int(told.stdout)


# ------------------------------------------------------------------------------------------------------------- roofline


def back_lines(n_angles):
    """Detectors that a tile touches at an angle, mean over the angles."""
    angles = np.arange(n_angles) * np.pi / n_angles
    return float(np.mean((TILE - 1) * (np.abs(np.cos(angles)) + np.abs(np.sin(angles)))) + 2)


def forward_lines(size, n_angles, n_rays):
    """Pixels of a line of the image that a block's rays of 4 neighbouring angles touch, mean over the first octant."""
    groups = np.arange(0, max(1, n_angles // 4), RAY_ANGLES) * np.pi / n_angles
    angles = groups[:, None, None, None] + (np.arange(RAY_ANGLES) * np.pi / n_angles)[:, None, None]
    along = np.linspace(-size / 2, size / 2, 33)[:, None]
    across = np.arange(n_rays) / np.cos(angles) + along * np.tan(angles)
    across = np.floor(across).transpose(0, 2, 1, 3).reshape(len(groups) * len(along), -1).astype(int)
    return float(np.mean([len(np.union1d(row, row + 1)) for row in across]))


@dataclass(frozen=True)
class Estimate:
    updates: float
    instructions: float  # of the hot loop, per update and slice
    loaded: float  # bytes from L1, per update and slice
    limit: float  # seconds: the hot loop's instructions or loads, nothing else
    bounds: dict  # seconds by what bounds them
    packing: float
    seconds: float


def per_update(kernel, compiled):
    """Updates of a turn of the hot loop, and its instructions and loaded bytes per update and slice."""
    hot = compiled.nest[0]
    slices = (16 if hot["LDG.128"] else kernel.bytes_per_slice) // kernel.bytes_per_slice
    updates = n_loads(hot) // 2 * slices
    return updates, hot.total() / updates, n_loads(hot) * slices * kernel.bytes_per_slice / updates


def slowest_pipe(compiled, turn, gpu):
    """Clocks of an SM per update and slice, by pipe."""
    hot = compiled.nest[0]
    return [
        sum(n for op, n in hot.items() if PIPE_OF.get(op) == pipe) / rate / turn for pipe, rate in gpu.rates.items()
    ]


def estimate(kernel, compiled, gpu, blocks, case):
    """A roofline of one call of the operator on data that lie on the device."""
    size, n_angles, n_slices = case
    in_group = kernel.lanes * max(1, 16 // kernel.bytes_per_slice)
    groups = -(-n_slices // in_group)
    updates = float(size) ** 2 * n_angles * n_slices
    turn, instructions, loaded = per_update(kernel, compiled)
    group_updates = float(size) ** 2 * n_angles * groups * in_group
    line = in_group * kernel.bytes_per_slice
    if kernel.kind == "back":
        jobs = groups * (-(-size // TILE)) ** 2
        turns = n_angles / (turn / (in_group / kernel.lanes) / kernel.lanes)
        trips = (turns, -(-n_angles // ANGLES_AT_ONCE), 1)
        l2 = jobs * n_angles * back_lines(n_angles) * line
        packed, natural = groups * n_angles * (size + 60) * line, n_angles * size * n_slices * kernel.bytes_per_slice
        stored, jobs_of_copy = updates / n_angles * kernel.bytes_per_slice, jobs
    else:
        n_rays = kernel.threads // RAY_ANGLES // kernel.lanes
        jobs = groups * -(-size // n_rays) * -(-n_angles // RAY_ANGLES)
        trips = (size / (turn / (in_group / kernel.lanes)), -(-size // LINES_AT_ONCE), 1)
        l2 = jobs * size * forward_lines(size, n_angles, n_rays) * line
        packed, natural = 2 * groups * size * (size + 12) * line, 2 * size * size * n_slices * kernel.bytes_per_slice
        jobs_of_copy = jobs / 2  # one copy for the rays that cross every row, one for those that cross every column
        stored = updates / size * kernel.bytes_per_slice
    count = Counter()
    for trip, level in zip(trips, compiled.nest, strict=False):
        count.update({op: n * trip * jobs * kernel.threads for op, n in level.items()})
    clocks = gpu.n_sm * gpu.clock
    busy = -(-jobs // gpu.n_sm) * gpu.n_sm / jobs  # the last blocks leave some SMs idle
    # Half a line for each of two pixels at a time: on the same banks every second time.
    phases = 1.5 if kernel.lanes == 4 else 1
    bounds = {
        "issue": busy * count.total() / (ISSUE * clocks),
        "L1": busy * group_updates * loaded * phases / (L1 * clocks),
    }
    for pipe, rate in gpu.rates.items():
        bounds[pipe] = busy * sum(n for op, n in count.items() if PIPE_OF.get(op) == pipe) / (rate * clocks)
    # Blocks that run at a time read the copy once, if it is too large to stay in L2.
    waves = 1 if packed / groups < gpu.l2_size else -(-jobs_of_copy / groups // (blocks * gpu.n_sm))
    bounds["L2"] = l2 / gpu.l2
    bounds["DRAM"] = (packed * waves + stored) / gpu.dram
    packing = (packed + natural) / gpu.dram
    limit = max(instructions / ISSUE, phases * loaded / L1, *slowest_pipe(compiled, turn, gpu)) * group_updates / clocks
    return Estimate(updates, instructions, loaded, limit, bounds, packing, packing + max(bounds.values()))


# --------------------------------------------------------------------------------------------------------------- tables


def resources(results):
    """Registers, shared memory and occupancy of every kernel; instructions and bytes where there is an inner loop."""
    rows = []
    for kernel in KERNELS:
        cells = [kernel.title]
        for gpu in GPUS:
            compiled, blocks = results[kernel.title, gpu.name]
            occupancy = 100 * blocks * kernel.threads // 2048
            cells.append(f"{compiled.registers}, {compiled.shared} B, {occupancy} %")
        counts = [
            per_update(kernel, results[kernel.title, gpu.name][0])[1:] if kernel.kind != "other" else None
            for gpu in GPUS
        ]
        cells.append(" / ".join(f"{c[0]:.1f}" for c in counts) if counts[0] else "")
        cells.append(f"{counts[0][1]:.0f}" if counts[0] else "")
        rows.append(tuple(cells))
    header = ("kernel", "A100: registers, shared, occupancy", "H100", "instructions (A100 / H100)", "bytes loaded")
    return "Per update and slice where there is an inner loop", header, rows


def times(results):
    rows = []
    for kernel in KERNELS:
        if kernel.kind == "other" or kernel.lanes == 1:
            continue
        for case in CASES:
            for gpu in GPUS:
                e = estimate(kernel, results[kernel.title, gpu.name][0], gpu, results[kernel.title, gpu.name][1], case)
                order = sorted(e.bounds, key=e.bounds.get, reverse=True)
                milliseconds = [f"{name} {1e3 * e.bounds[name]:.2g}" for name in order[:3]]
                rows.append(
                    (
                        kernel.title,
                        "{}^2 x {} x {}".format(*case),
                        gpu.name,
                        ", ".join(milliseconds),
                        f"{1e3 * e.packing:.3g}",
                        f"{1e3 * e.seconds:.3g}",
                        f"{1e-9 * e.updates / e.seconds:.0f}",
                        f"{e.seconds / e.limit:.2f}",
                    )
                )
    header = ("kernel", "case", "GPU", "bounds, ms", "packing, ms", "in all, ms", "GUPS", "of the limit")
    return "Roofline: pixels x angles x slices (an estimate, not a measurement)", header, rows


def rst_table(title, header, rows):
    lines = [f".. list-table:: {title}", "   :header-rows: 1", ""]
    for row in (header, *rows):
        lines += [f"   {'* -' if k == 0 else '  -'} {cell}".rstrip() for k, cell in enumerate(row)]
    return "\n".join([*lines, "", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nvcc", help="the compiler; default: of CUDA_HOME, or on the PATH")
    parser.add_argument("--tools", help="folder to search for nvdisasm; default: on the PATH")
    parser.add_argument("--write", help="file for the tables in reStructuredText")
    arguments = parser.parse_args()
    nvcc, toolkit = find_nvcc(arguments.nvcc)
    nvdisasm = find_disassembler(arguments.tools)
    with tempfile.TemporaryDirectory() as name:
        folder, results = Path(name), {}
        program = build_occupancy(toolkit, folder)
        for kernel in KERNELS:
            for gpu in GPUS:
                compiled = compile_kernel(kernel, gpu.arch, nvcc, nvdisasm, folder)
                if compiled.spills:
                    raise SystemExit(f"gpu_estimates: {kernel.name} spills {compiled.spills} bytes on {gpu.name}")
                results[kernel.title, gpu.name] = compiled, blocks_on_sm(program, gpu, kernel, compiled)
    tables = resources(results), times(results)
    for table in tables:
        print_table(*table)
    if arguments.write:
        head = ".. printed by benchmarks/gpu_estimates.py --write\n\n"
        Path(arguments.write).write_text(head + "".join(rst_table(*table) for table in tables))


if __name__ == "__main__":
    main()

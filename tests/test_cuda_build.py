"""The CUDA build: what setup.py chooses, and the extension itself, which needs nvcc and no GPU.

Where nvcc is missing the tests of the extension are skipped, and fail in CI; `make cuda-check` installs it into .venv.
"""

import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from checks import ON_THE_CPU_ONLY
from conftest import IN_CI
from cuda_extension import (
    LOG,
    REWRITE,
    ROOT,
    TABLE,
    build,
    device_code,
    growth,
    kernel_name,
    memory_faults,
    read_log,
    toolkit,
)
from test_packaging import torch_symbols

from setup_cuda import ARCHITECTURES, CudaBuild, CudaError, architecture_flags, inspect, plan
from tomolearn.cli import doctor

linux = pytest.mark.skipif(sys.platform != "linux", reason="the CUDA kernels are built on Linux only")


# ------------------------------------------------------------------------------------------------- what is chosen


@pytest.fixture
def make_toolkit(tmp_path):
    """A function that makes the folder of a toolkit whose nvcc only answers questions."""

    def make(release="13.0", runtime=True):
        home = tmp_path / f"toolkit {release}"
        for name in ("bin", "lib64"):
            (home / name).mkdir(parents=True)
        if runtime:
            (home / "lib64" / "libcudart_static.a").touch()
        nvcc = home / "bin" / "nvcc"
        answer = f"Cuda compilation tools, release {release}, V{release}.1\n#$ TOP={home}/bin/..\nsm_80\nsm_90\nsm_120"
        nvcc.write_text(f"#!/bin/sh\ncat <<END\n{answer}\nEND\n")
        nvcc.chmod(0o755)
        return home

    return make


@pytest.fixture
def choose(monkeypatch):
    """A function that gives plan() in an environment of its own."""

    def choose(cuda=None, devices=(), **environment):
        for name in ("FORCE_CUDA", "CUDA_HOME", "CUDA_PATH", "TORCH_CUDA_ARCH_LIST"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))
        gpus = SimpleNamespace(
            is_available=lambda: bool(devices),
            device_count=lambda: len(devices),
            get_device_capability=devices.__getitem__,
        )
        return plan(SimpleNamespace(version=SimpleNamespace(cuda=cuda), cuda=gpus))

    return choose


def test_the_default_follows_torch_and_the_wish_overrides_it(choose, make_toolkit):
    home = make_toolkit()
    assert choose(CUDA_HOME=home)[0] is None
    assert "since torch is (FORCE_CUDA=1 builds for CUDA" in choose(CUDA_HOME=home)[1]
    assert choose("13.0", CUDA_HOME=home, FORCE_CUDA=0) == (None, "operators for the CPU only, since FORCE_CUDA=0")
    for cuda, wish, reason in ((None, "1", "FORCE_CUDA is set"), ("13.0", "", "torch has CUDA and nvcc is here")):
        chosen, clause = choose(cuda, CUDA_HOME=home, FORCE_CUDA=wish)
        assert chosen == CudaBuild(inspect(str(home / "bin" / "nvcc")), ARCHITECTURES)
        assert clause.endswith(f"for CUDA {ARCHITECTURES} by nvcc 13.0, since {reason}")


@linux
@pytest.mark.parametrize(
    ("release", "cuda", "reason"),
    [
        (None, "13.0", "nvcc does not run .No such file or directory. .from CUDA_HOME"),
        ("11.8", None, "is of CUDA 11.8, older than 12.0"),
        ("13.0", "12.6", "is of CUDA 13.0, torch of CUDA 12"),
    ],
)
def test_a_toolkit_that_does_not_fit(choose, make_toolkit, tmp_path, release, cuda, reason):
    home = make_toolkit(release) if release else tmp_path
    with pytest.raises(CudaError, match=reason) as error:
        choose(cuda, CUDA_HOME=home, FORCE_CUDA=1)
    message = str(error.value)
    assert message.startswith("tomolearn: FORCE_CUDA is set, but ")
    assert "CUDA_HOME=FOLDER" in message and "FORCE_CUDA=0" in message
    assert re.search("pip install 'nvidia-cuda-nvcc==13.0.*' .*'nvidia-nvvm==13.0.*'\n", message)
    if cuda:  # nobody asked: the CPU's operators are built, and the clause says why
        chosen, clause = choose(cuda, CUDA_HOME=home)
        assert chosen is None and re.search(f"CPU only, though torch has CUDA, since .*{reason}", clause)


@linux
def test_an_incomplete_toolkit_is_refused(make_toolkit):
    with pytest.raises(CudaError, match="has no libcudart_static.a"):
        inspect(str(make_toolkit(runtime=False) / "bin" / "nvcc"))
    with pytest.raises(CudaError, match="does not answer as nvcc does"):
        inspect("/bin/true")


@linux
def test_an_unfit_nvcc_gives_way_to_the_next(choose, make_toolkit, monkeypatch):
    """The wheels of the environment come first, then PATH, then the usual folder; CUDA_HOME alone where it is set."""
    old, new = make_toolkit("11.8"), make_toolkit("12.6")
    site = old.parent / "site"
    (site / "nvidia").mkdir(parents=True)
    (site / "nvidia" / "cu11").symlink_to(old)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(site))
    monkeypatch.setenv("PATH", f"{new / 'bin'}:{os.environ['PATH']}")
    assert choose("12.1")[0].toolkit.nvcc == str(new / "bin" / "nvcc")
    with pytest.raises(CudaError, match="older than 12.0 .from CUDA_HOME.[.]\n"):
        choose("12.1", CUDA_HOME=old, FORCE_CUDA=1)


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_other_systems_are_refused(choose, monkeypatch, system):
    monkeypatch.setattr(sys, "platform", system)
    with pytest.raises(CudaError, match=f"FORCE_CUDA is set, but .* on Linux only, and this is {system}"):
        choose(FORCE_CUDA=1)
    assert choose()[0] is None


@linux
def test_architectures_are_the_wish_or_those_of_the_gpus_here(choose, make_toolkit):
    home = make_toolkit()
    for devices, wish, expected in [
        ((), "", ARCHITECTURES),
        (((9, 0), (8, 0), (9, 0)), "", "8.0;9.0+PTX"),
        (((8, 6),), "", "8.0+PTX"),  # nvcc knows 8.0, 9.0 and 12.0
        (((7, 0),), "", ARCHITECTURES),  # older than all of them
        (((12, 0),), "8.0 9.0a+PTX;", "8.0;9.0a+PTX"),
    ]:
        chosen, _ = choose("13.0", devices, CUDA_HOME=home, TORCH_CUDA_ARCH_LIST=wish)
        assert chosen.architectures == expected
    assert architecture_flags(inspect(str(home / "bin" / "nvcc")), "8.0;9.0a+PTX") == [
        *["-gencode", "arch=compute_80,code=[sm_80]"],
        *["-gencode", "arch=compute_90a,code=[sm_90a,compute_90a]"],
    ]
    for wrong in ("7.0", "Ampere", "sm_90"):
        with pytest.raises(CudaError, match=f"holds '{wrong}'; .* nvcc 13.0 knows: 8.0, 9.0, 12.0"):
            choose(CUDA_HOME=home, FORCE_CUDA=1, TORCH_CUDA_ARCH_LIST=f"8.0;{wrong}")


# ---------------------------------------------------------------------------------------------- reading of reports

REPORT = """ptxas info    : 28 bytes gmem, 224 bytes cmem[4]
ptxas info    : Compiling entry function '_ZN1a1fIfLi4EEEvPT_' for 'sm_80'
ptxas info    : Function properties for _ZN1a1fIfLi4EEEvPT_
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 2048 bytes smem, 416 bytes cmem[0]
ptxas info    : Compiling entry function '_ZN1a1fIfLi4EEEvPT_' for 'sm_90'
ptxas info    : Function properties for _ZN1a1fIfLi4EEEvPT_
    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 33 registers, used 0 barriers, 416 bytes cmem[0]
"""


def test_the_report_of_ptxas_is_read():
    assert read_log(REPORT) == {
        "a::f<float, 4>": {
            "sm_80": {"registers": 32, "shared": 2048, "stack": 0, "spills": 0},
            "sm_90": {"registers": 33, "shared": 0, "stack": 16, "spills": 12},
        }
    }
    assert kernel_name("void (anonymous namespace)::g<(a::B)1, (int)2>(a::B<(int)3>, float*)") == (
        "(anonymous namespace)::g<(a::B)1, (int)2>"
    )


def test_spills_and_growth_are_found():
    resources = read_log(REPORT)
    assert list(memory_faults(resources)) == [
        "a::f<float, 4> on sm_90: 12 bytes of spills",
        "a::f<float, 4> on sm_90: 16 bytes of stack",
    ]
    table = {"a::f<float, 4>": {"sm_80": {"registers": 31, "shared": 2048}, "sm_90": {"registers": 40, "shared": 0}}}
    assert list(growth(resources, table)) == ["a::f<float, 4> on sm_80: registers 32, the table has 31"]
    assert list(growth(resources, {"b": {}})) == [
        "a::f<float, 4>: not in the table",
        "b: in the table, but no kernel any more",
    ]


def test_doctor_tells_whether_kernels_and_device_are_there(monkeypatch):
    def told(has_kernels, has_device):
        monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda name, key: has_kernels)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: has_device)
        lines, faults = doctor.report()
        return {line[:22].strip(): line[22:] for line in lines}, faults

    rows, faults = told(False, False)
    assert rows["operators"] == "load; built for the CPU only" and not faults
    rows, faults = told(False, True)
    assert (
        rows["operators"] == "load; built for the CPU only, though there is a CUDA device (FORCE_CUDA=1 at the build)"
    )
    rows, faults = told(True, False)
    assert rows["operators"] == "load; built for the CPU and CUDA" and "operators on CUDA" not in rows and not faults


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine where CUDA fails")
def test_doctor_tries_the_kernels_on_the_device(monkeypatch):
    monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda name, key: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    lines, (fault,) = doctor.report()
    assert any(line.split() == ["operators", "on", "CUDA", "FAIL"] for line in lines)
    assert "do not run on this CUDA device" in fault and "TORCH_CUDA_ARCH_LIST" in fault


# --------------------------------------------------------------------------------------------------- the extension


@pytest.fixture(scope="module")
def library():
    try:
        toolkit()
    except CudaError as error:
        message = f"{error}; make cuda-check installs nvcc into .venv"
        pytest.fail(message) if IN_CI else pytest.skip(message)
    return build()


@pytest.fixture(scope="module")
def resources(library):
    return read_log(LOG.read_text())


# Prints {operator: has a kernel for CUDA} for those that take a tensor; with an argument, also of one that has none.
DISPATCH = """
import json, sys, torch
torch.ops.load_library(sys.argv[1])
more = torch.library.Library("tomolearn", "FRAGMENT")
for name in sys.argv[2:]:
    more.define(f"{name}(Tensor x) -> Tensor")
names = [name for name in torch._C._dispatch_get_all_op_names() if name.startswith("tomolearn::")]
names = [name for name in names if "Tensor" in str(torch._C._jit_get_schemas_for_operator(name)[0])]
print(json.dumps({name[11:]: torch._C._dispatch_has_kernel_for_dispatch_key(name, "CUDA") for name in names}))
"""


@pytest.mark.slow
def test_it_loads_and_every_operator_has_a_kernel_for_cuda(library):
    command = [sys.executable, "-c", DISPATCH, str(library), "planted"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    has_kernel = json.loads(done.stdout)
    schemas = re.findall(r'm\.def\("(\w+)\(Tensor', (ROOT / "csrc" / "ops.cpp").read_text())
    assert set(has_kernel) == {*schemas, "planted"} and len(schemas) >= 6
    assert {name for name, has in has_kernel.items() if not has} == {"planted", *ON_THE_CPU_ONLY}


@pytest.mark.slow
def test_it_is_for_any_torch_and_asks_for_no_cuda_library(library):
    """It loads with and without CUDA: the runtime is inside, and out of the symbols that another one could meet."""
    listing = subprocess.run(["objdump", "-p", library], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"NEEDED\s+(\S+)", listing)
    assert "libtorch_cpu.so" in needed and not [name for name in needed if "cuda" in name or "cudart" in name]
    assert torch_symbols(library) == []
    symbols = subprocess.run(["nm", "-D", library], capture_output=True, text=True, check=True).stdout
    assert re.findall(r"\b\w?cuda[A-Z]\w+", symbols) == []
    inside = subprocess.run(["nm", library], capture_output=True, text=True, check=True).stdout
    assert re.search(r" t cudaLaunchKernel", inside)


@pytest.mark.slow
def test_it_holds_code_for_both_architectures_and_for_what_comes(library):
    found = [held for held in device_code(library) if held]
    assert found and all(held == {("sm", 80), ("sm", 90), ("ptx", 90)} for held in found)


@pytest.mark.slow
def test_nvcc_has_nothing_to_warn_of(library):
    text = LOG.read_text()
    assert "Compiling entry function" in text and "warning" not in text, text


@pytest.mark.slow
def test_no_kernel_uses_local_memory(resources):
    """Values that do not fit into registers would be read from memory, hundreds of times slower."""
    assert len(resources) > 10 and all(set(parts) == {"sm_80", "sm_90"} for parts in resources.values())
    found = list(memory_faults(resources))
    assert not found, "\n".join([*found, "Let a thread hold less, or let the compiler know the indices of its arrays."])


@pytest.mark.slow
def test_kernels_take_no_more_of_the_gpu_than_before(resources):
    """Registers and shared memory bound how many blocks run side by side."""
    table = json.loads(TABLE.read_text())
    if toolkit().release != table["nvcc"]:
        message = f"the table is of nvcc {table['nvcc']}, this is {toolkit().release}"
        pytest.fail(f"{message}. {REWRITE}") if IN_CI else pytest.skip(message)
    found = list(growth(resources, table["kernels"]))
    assert not found, "\n".join([*found, REWRITE])

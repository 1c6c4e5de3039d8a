"""How tomolearn is built and installed: the pin of torch, setup.py, the stable ABI, SIMD levels, what files hold."""

import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

import tomolearn

ROOT = Path(__file__).parents[1]
OPERATORS = Path(tomolearn.__file__).with_name("_C.so")
PIN = re.search(r"^torch==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]


def run(*command, cwd=ROOT, **environment):
    """The finished process; an environment value of None removes the variable."""
    merged = os.environ | environment
    merged = {name: value for name, value in merged.items() if value is not None}
    return subprocess.run(list(map(str, command)), cwd=cwd, env=merged, capture_output=True, text=True)


# --------------------------------------------------------------------------------------------------------- the pin


def test_the_installed_torch_is_the_one_that_was_asked_for():
    """The default is the pin of constraints.txt; `make TORCH=...` records another wish."""
    record = Path(sys.prefix) / "tomolearn" / "torch"
    words = record.read_text().split() if record.exists() else [f"torch=={PIN}"]
    (asked,) = [word for word in words if word.startswith("torch")]
    requirement = Requirement(asked if asked != "torch" else f"torch=={PIN}")
    assert requirement.specifier.contains(metadata.version("torch"), prereleases=True)
    assert torch.__version__ == metadata.version("torch")


def test_the_pin_meets_what_tomolearn_requires():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (requirement,) = [r for r in map(Requirement, project["dependencies"]) if r.name == "torch"]
    assert requirement.specifier.contains(PIN)


def test_every_pip_call_carries_the_constraints(tmp_path):
    done = run("make", "--dry-run", f"VENV={tmp_path / 'venv'}", "test", "bench", "docs", MAKEFLAGS=None)
    assert done.returncode == 0, done.stderr
    calls = [line for line in done.stdout.splitlines() if " pip " in line]
    assert len(calls) >= 5
    assert all(f" -c {tmp_path / 'venv'}/tomolearn/constraints.txt" in line for line in calls), done.stdout


# Stands for the Python of the virtual environment: notes the calls of pip and the constraints they were given.
STUB = """#!/bin/sh
if [ "$1" = -m ]; then echo "$@" >> "{log}"; cat "{record}/constraints.txt" >> "{log}"; else echo torch==9.9+local; fi
"""


@pytest.mark.parametrize(
    ("wish", "bound"),
    [
        (None, True),
        (f"torch=={PIN}", True),
        ("torch --index-url https://example.org/simple", True),
        ("torch==2.14.1 --index-url https://example.org/simple", False),
        ("torch>=2.13", False),
    ],
)
def test_torch_is_pinned_unless_another_version_is_asked_for(tmp_path, wish, bound):
    venv = tmp_path / "venv"
    record, log = venv / "tomolearn", tmp_path / "log"
    (venv / "bin").mkdir(parents=True)
    record.mkdir()
    (record / "venv").touch()
    stub = venv / "bin" / "python"
    stub.write_text(STUB.format(log=log, record=record))
    stub.chmod(0o755)

    done = run("make", f"VENV={venv}", record / "torch", TORCH=wish, MAKEFLAGS=None)
    assert done.returncode == 0, done.stderr
    call, *constraints = log.read_text().splitlines()
    assert call.endswith(wish or f"torch=={PIN}")
    assert (f"torch=={PIN}" in constraints) is bound
    # from here on the installed version is the pin, and the other lines still hold
    pins = (record / "constraints.txt").read_text().splitlines()
    assert [line for line in pins if line.startswith("torch")] == ["torch==9.9+local"]
    assert any(line.startswith("ruff==") for line in pins)
    # the same wish again does nothing, another one installs again
    run("make", f"VENV={venv}", record / "torch", TORCH=wish, MAKEFLAGS=None)
    assert log.read_text().count("-m pip") == 1
    run("make", f"VENV={venv}", record / "torch", TORCH="torch==2.15.0", MAKEFLAGS=None)
    assert log.read_text().count("-m pip") == 2


# -------------------------------------------------------------------------------------------------------- setup.py


@pytest.mark.parametrize("missing", ["torch", "pybind11"])
def test_setup_without_torch_gives_the_command(missing):
    code = f"import runpy, sys; sys.modules[{missing!r}] = None; runpy.run_path('setup.py', run_name='__main__')"
    done = run(sys.executable, "-c", code)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert 1 < len(lines) <= 5, done.stderr
    assert missing in lines[0]
    assert any(re.search(r":  make$", line) for line in lines)
    assert any("pip install --no-build-isolation -e ." in line for line in lines)


def test_a_cuda_build_that_cannot_be_had_ends_setup(tmp_path):
    """tests/test_cuda_build.py has the other reasons."""
    done = run(sys.executable, "setup.py", "--version", FORCE_CUDA="1", CUDA_HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "FORCE_CUDA is set, but " in done.stderr and "CUDA_HOME=FOLDER" in done.stderr


@pytest.mark.parametrize("sanitizers", [None, "address"])
def test_setup_prints_what_it_chose_and_why(sanitizers):
    wish = {"FORCE_CUDA": "1", "TOMOLEARN_SANITIZE": sanitizers} if sanitizers else {"FORCE_CUDA": "0"}
    done = run(sys.executable, "setup.py", "--version", **wish)
    assert done.returncode == 0, done.stderr
    choice, version = done.stdout.splitlines()[-2:]
    assert choice.startswith(f"tomolearn: torch {torch.__version__}, Python {platform.python_version()}; ")
    assert "CPU only, since" in choice and "baseline" in choice
    assert version == tomolearn.__version__


def test_wheels_are_tagged_for_one_python():
    """The pybind11 module fits the Python that it was built with and no other."""
    code = (
        "from distutils.core import run_setup; import setuptools\n"
        "command = run_setup('setup.py', stop_after='init').get_command_obj('bdist_wheel')\n"
        "command.ensure_finalized(); print(*command.get_tag())"
    )
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    python, abi, system = done.stdout.splitlines()[-1].split()
    assert python == abi == f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert system != "any"


def test_source_archives_and_wheels_hold_all_files(tmp_path):
    copy = tmp_path / "copy"
    ignore = shutil.ignore_patterns("*.so", "__pycache__")
    for name in ("csrc", "tomolearn"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    done = run(sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", tmp_path / "dist", cwd=copy)
    assert done.returncode == 0, done.stderr
    (archive,) = (tmp_path / "dist").iterdir()
    with tarfile.open(archive) as held:
        names = {name.partition("/")[2] for name in held.getnames()}
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob("*") if path.is_file()}
    wanted |= {str(path.relative_to(ROOT)) for path in (ROOT / "tomolearn").rglob("*.py")}
    wanted |= {
        "tomolearn/py.typed",
        "setup.py",
        "setup_cuda.py",
        "pyproject.toml",
        "constraints.txt",
        "Makefile",
        "LICENSE",
        "README.md",
    }
    assert wanted - names == set()

    # what a wheel is made of, but for the extensions
    done = run(sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", tmp_path / "wheel", cwd=copy)
    assert done.returncode == 0, done.stderr
    held = {str(path.relative_to(tmp_path / "wheel")) for path in (tmp_path / "wheel").rglob("*") if path.is_file()}
    assert held == {name for name in wanted if name.startswith("tomolearn/")}


# ------------------------------------------------------------------------------------------- the compiled operators


def torch_symbols(library):
    """Undefined C++ symbols of torch: what ties a library to one release of torch."""
    listing = run("nm", "-DC", "--undefined-only", library)
    assert listing.returncode == 0, listing.stderr
    return [line for line in listing.stdout.splitlines() if re.search(r"\b(at|c10|torch)::", line)]


def test_operators_use_the_stable_abi_alone():
    assert torch_symbols(OPERATORS) == []


def test_the_search_for_torch_symbols_finds_them():
    found = torch_symbols(Path(torch.__file__).with_name("lib") / "libtorch_python.so")
    for namespace in ("at::", "c10::"):
        assert sum(namespace in line for line in found) > 100


def vector_functions(library):
    """{symbol: widest vector registers used, or "vex" for AVX instructions on narrow ones} by disassembly."""
    process = subprocess.Popen(
        ["objdump", "-d", "-C", "--no-show-raw-insn", str(library)], stdout=subprocess.PIPE, text=True
    )
    found, symbol = {}, None
    for line in process.stdout:
        if line.endswith(">:\n"):
            symbol = line.partition("<")[2][:-3]
        elif "%zmm" in line:
            found[symbol] = "zmm"
        elif "%ymm" in line:
            found[symbol] = max(found.get(symbol, ""), "ymm")
        elif re.match(r"\s+[0-9a-f]+:\s+v(?!err|erw)[a-z]", line):
            found.setdefault(symbol, "vex")
    assert process.wait() == 0
    return found


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="SIMD levels are those of x86-64")
def test_avx_stays_inside_its_namespaces():
    """A machine without AVX runs the rest: not only the baseline kernels, also templates that all levels share."""
    found = vector_functions(OPERATORS)
    inside = {level: {s for s in found if f"tomolearn::{level}::" in s} for level in ("avx2", "avx512")}
    assert {symbol: found[symbol] for symbol in set(found) - inside["avx2"] - inside["avx512"]} == {}
    # the search finds what it looks for
    assert "ymm" in {found[symbol] for symbol in inside["avx2"]}
    assert "zmm" not in {found[symbol] for symbol in inside["avx2"]}
    assert "zmm" in {found[symbol] for symbol in inside["avx512"]}
    listing = run("nm", "-C", OPERATORS).stdout
    assert "tomolearn::baseline::" in listing


# ---------------------------------------------------------------------------------- messages of a broken extension


# An editable installation would find what the copy lacks in the original.
ALONE = (
    "import sys; sys.meta_path[:] = [f for f in sys.meta_path if '__editable__' not in getattr(f, '__module__', '')]\n"
)
NO_LIBRARY = "this is no library\n" * 1000


@pytest.fixture
def copy(tmp_path):
    """A copy of the package without its extensions, and a function that runs code on it."""
    shutil.copytree(ROOT / "tomolearn", tmp_path / "tomolearn", ignore=shutil.ignore_patterns("*.so", "__pycache__"))

    def run_code(code):
        return run(sys.executable, "-c", ALONE + code, cwd=tmp_path, PYTHONPATH=None)

    return tmp_path / "tomolearn", run_code


CURE = "pip install --no-build-isolation --force-reinstall --no-deps ."


def last_error(done):
    assert done.returncode == 1 and done.stdout == "", done
    return done.stderr[done.stderr.rindex("ExtensionError: ") :]


def test_a_package_without_extensions_can_be_imported(copy):
    done = copy[1]("import tomolearn.ops; print(tomolearn.__file__)")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == str(copy[0] / "__init__.py")


def test_missing_operators_say_so_at_first_use(copy):
    message = last_error(copy[1]("from tomolearn.ops import radon; radon([[1.0]], [0.0])"))
    assert "are missing" in message and "_C.so" in message
    assert "`make`" in message and CURE in message


def test_unloadable_operators_say_why_and_what_to_do(copy):
    (copy[0] / "_C.so").write_text(NO_LIBRARY)
    message = last_error(copy[1]("from tomolearn.ops import radon; radon([[1.0]], [0.0])"))
    assert "do not load" in message and torch.__version__ in message and "invalid ELF header" in message
    assert "`make`" in message and CURE in message


@pytest.mark.parametrize("content", [None, NO_LIBRARY], ids=["missing", "unloadable"])
def test_a_broken_simulation_module_says_what_to_do(copy, content):
    if content is not None:
        (copy[0] / "_simulation.so").write_text(content)
    message = last_error(copy[1]("from tomolearn._extension import load_simulation; load_simulation()"))
    assert "tomolearn._simulation does not load" in message
    assert "`make`" in message and CURE in message


# ---------------------------------------------------------------------------------------------------------- import


def test_exported_names_exist_and_others_do_not():
    assert all(getattr(tomolearn, name) is not None for name in tomolearn.__all__)
    assert set(tomolearn.__all__) <= set(dir(tomolearn))
    with pytest.raises(AttributeError, match="module 'tomolearn' has no attribute 'reconstruct'"):
        _ = tomolearn.reconstruct


def test_the_files_agree_on_the_version():
    assert re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1] == tomolearn.__version__
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == tomolearn.__version__
    assert metadata.version("tomolearn") == tomolearn.__version__


def test_import_is_quiet_and_quick():
    """Best of several: what else runs on the machine only ever adds."""
    code = "import time, torch; start = time.perf_counter(); import tomolearn; print(time.perf_counter() - start)"
    times = []
    for _ in range(5):
        done = run(sys.executable, "-W", "error::Warning:tomolearn", "-c", code)
        assert (done.returncode, done.stderr) == (0, "")
        times.append(float(done.stdout))  # fails where anything else was printed
        if times[-1] < 0.3:
            break
    assert min(times) < 0.3, times

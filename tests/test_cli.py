"""The command line: quick help, honest doctor."""

import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import tomolearn
from tomolearn import _extension
from tomolearn._extension import simd_level
from tomolearn.cli import doctor
from tomolearn.cli.main import main

ROOT = Path(tomolearn.__file__).parents[1]


def run(*arguments, cwd=ROOT):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_help_answers_within_half_a_second():
    times = []
    for _ in range(5):
        start = time.perf_counter()
        done = run("-m", "tomolearn", "--help")
        times.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
        if times[-1] < 0.5:
            break
    assert "doctor" in done.stdout
    assert min(times) < 0.5, times


def test_help_imports_no_heavy_package():
    code = (
        "import sys\nfrom tomolearn.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(*{'torch', 'numpy', 'sklearn', 'scipy', 'h5py'} & set(sys.modules), file=sys.stderr)"
    )
    done = run("-c", code)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"tomolearn {tomolearn.__version__}\n"


@pytest.mark.parametrize(("arguments", "message"), [([], "COMMAND"), (["heal"], "invalid choice: 'heal'")])
def test_wrong_arguments_end_with_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def rows(text):
    return {line[:22].strip(): line[22:].strip() for line in text.splitlines() if line[:22].strip()}


def test_doctor_tells_what_is_installed(capsys):
    assert main(["doctor"]) == 0
    told = rows(capsys.readouterr().out)
    assert told["tomolearn"].startswith(tomolearn.__version__)
    assert told["Python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    for name, module in (("torch", torch), ("numpy", np), ("h5py", h5py)):
        assert told[name].startswith(f"{module.__version__} (needed: >=")
    assert told["threads of torch"].startswith("1 ")
    assert told["SIMD level"].startswith(simd_level())
    assert told["operators"].startswith("load; built for the CPU")
    assert told["simulation module"] == "loads"
    assert told["extra [plot]"] == "complete" and told["extra [test]"] == "complete"
    assert "CUDA of torch" in told and "CUDA devices" in told


def test_doctor_names_missing_packages_and_their_extra(monkeypatch):
    requirements = ["numpy>=1.26", "absent[x]>=2", 'lacking>=3; extra == "plot"', 'numpy; extra == "bench"']
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: requirements)
    lines, faults = doctor.report()
    told = rows("\n".join(lines))
    assert told["absent"] == "MISSING (needed: >=2)"
    assert told["extra [plot]"] == "missing lacking; pip install 'tomolearn[plot]'"
    assert told["extra [bench]"] == "complete"
    assert faults == ["absent is missing; install it with: pip install 'absent>=2'"]


def test_doctor_fails_where_the_extensions_are_missing(tmp_path, monkeypatch, capsys):
    for name in ("load_operators", "load_simulation"):  # not what they remember of this process
        monkeypatch.setattr(_extension, name, getattr(_extension, name).__wrapped__)
    monkeypatch.setattr(_extension, "__file__", str(tmp_path / "_extension.py"))
    monkeypatch.setitem(sys.modules, "tomolearn._simulation", None)
    assert main(["doctor"]) == 1
    said = capsys.readouterr()
    told = rows(said.out)
    assert told["operators"] == "DO NOT LOAD" and told["simulation module"] == "DOES NOT LOAD" and said.err == ""
    assert "The compiled operators of tomolearn are missing" in said.out and "`make`" in said.out


def test_the_exit_status_of_the_process_is_that_of_the_command():
    code = (
        "import runpy, sys\nfrom tomolearn.cli import doctor\n"
        "def run(arguments):\n    raise KeyboardInterrupt\n"
        "doctor.run = run\nsys.argv = ['tomolearn', 'doctor']\nrunpy.run_module('tomolearn', run_name='__main__')"
    )
    done = run("-c", code)
    assert (done.returncode, done.stderr) == (130, "tomolearn doctor: interrupted.\n")

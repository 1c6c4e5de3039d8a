"""The command line: quick help, honest doctor."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import tomolearn
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


def test_doctor_fails_where_the_extensions_are_missing(tmp_path):
    shutil.copytree(ROOT / "tomolearn", tmp_path / "tomolearn", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    # an editable installation would find what the copy lacks in the original
    code = (
        "import sys\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if '__editable__' not in getattr(f, '__module__', '')]\n"
        "from tomolearn.cli.main import main\nsys.exit(main(['doctor']))"
    )
    done = run("-c", code, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr == ""
    told = rows(done.stdout)
    assert told["operators"] == "DO NOT LOAD" and told["simulation module"] == "DOES NOT LOAD"
    assert "The compiled operators of tomolearn are missing" in done.stdout and "`make`" in done.stdout

"""The annotations of the package hold: mypy reads every module, unannotated functions too, as pyproject.toml says."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def mypy(*arguments, cwd=ROOT):
    return subprocess.run([sys.executable, "-m", "mypy", *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.mark.slow
def test_mypy_finds_nothing_in_the_package():
    done = mypy("tomolearn")
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_reads_functions_without_annotations(tmp_path):
    """By the settings of the package: a check of annotated functions alone would see little of it."""
    (tmp_path / "wrong.py").write_text("def length(x):\n    count: int = 'three'\n    return count\n")
    done = mypy("--config-file", ROOT / "pyproject.toml", "wrong.py", cwd=tmp_path)
    assert done.returncode == 1 and "wrong.py:2: error: Incompatible types in assignment" in done.stdout

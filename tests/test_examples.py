"""The scripts under examples/ run as a reader would run them, and README.md holds no example that fails."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("plot_*.py"))
# Scripts without a command line of their own leave their figures open, as in the gallery: this saves them. What they
# print on the way is not looked at.
RUN = """
import runpy, sys, warnings
import matplotlib.pyplot as plt
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")
script, out = sys.argv[1:]
sys.argv = [script]
runpy.run_path(script, run_name="__main__")
for number in plt.get_fignums():
    plt.figure(number).savefig(f"{out}/{number}.png")
"""

SHORTER = {"plot_pictures": ["--epochs", "2"]}  # what is drawn is the same


def test_there_are_examples():
    assert {"plot_low_dose_scan", "plot_raw_scan"} <= {path.stem for path in SCRIPTS}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_example_runs(script, tmp_path):
    """In a folder of its own; what it writes is an image that shows something, not a blank page."""
    out = tmp_path / "out"
    out.mkdir()
    own = "argparse" in script.read_text()
    command = (
        [str(script), "--out", str(out), *SHORTER.get(script.stem, [])] if own else ["-c", RUN, str(script), str(out)]
    )
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},  # other tests run beside it
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Warning" not in done.stderr, done.stderr
    figures = list(out.glob("*.png"))
    assert figures, f"{script.name} wrote no figure to --out"
    for figure in figures:
        assert brightness_spread(figure) > 0.05


def test_fuzzing_runs():
    command = [sys.executable, str(ROOT / "tests" / "fuzz.py"), "--trials", "20"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("20 trials from seed 0")


def brightness_spread(path):
    import matplotlib.image

    return float(matplotlib.image.imread(path)[..., :3].std())


@pytest.mark.parametrize("page", ["README.md", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/*.rst"))])
def test_examples_of_a_page_hold(page):
    text = (ROOT / page).read_text()
    results = doctest.testfile(
        str(ROOT / page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    assert results.failed == 0
    assert results.attempted == len(re.findall(r"^\s*>>> ", text, re.MULTILINE))


def test_readme_names_only_targets_that_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"`make ([a-z]+)[ `]", (ROOT / page).read_text()))
        assert named <= targets, page
    assert "test" in named

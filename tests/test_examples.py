"""The scripts under examples/ run as a reader would run them, and README.md holds no example that fails."""

import doctest
import multiprocessing
import os
import re
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("plot_*.py"))
# Each script gets a process of its own, forked from one that has imported what all of them do.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["matplotlib.pyplot", "scipy.stats", "sklearn.manifold", "tomolearn.segmentation"])
SHORTER = {"plot_pictures": ["--epochs", "2"]}  # what is drawn is the same


def run_script(script, folder, options):
    """As ``python script --out out`` would, with what it says in files. A script without a command line leaves its
    figures open, as in the gallery: they are saved. What it prints on the way is not looked at.
    """
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")
    os.chdir(folder)
    for number, name in ((1, "stdout.txt"), (2, "stderr.txt")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
    own = "argparse" in script.read_text()
    sys.argv = [str(script), "--out", "out", *options] if own else [str(script)]
    runpy.run_path(str(script), run_name="__main__")
    if not own:
        for number in plt.get_fignums():
            plt.figure(number).savefig(f"out/{number}.png")


def test_there_are_examples():
    assert {"plot_low_dose_scan", "plot_raw_scan"} <= {path.stem for path in SCRIPTS}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_example_runs(script, tmp_path):
    """In a folder and a process of its own; what it writes is an image that shows something, not a blank page."""
    out = tmp_path / "out"
    out.mkdir()
    process = SERVER.Process(target=run_script, args=(script, tmp_path, SHORTER.get(script.stem, [])))
    process.start()
    process.join(300)
    said = (tmp_path / "stderr.txt").read_text()
    assert process.exitcode == 0, said[-4000:]
    assert "Warning" not in said, said
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

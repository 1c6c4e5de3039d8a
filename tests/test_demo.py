"""The whole way of examples/demo.py on a tiny scan: what it writes, prints, and keeps apart."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import tomolearn
from tomolearn import psnr
from tomolearn.io import open_volume

SCRIPT = Path(__file__).parents[1] / "examples" / "demo.py"
METHODS = {"FBP": "fbp", "SIRT": "sirt", "TV": "tv", "Noise2Inverse": "noise2inverse", "TomoGAN": "tomogan"}


@pytest.fixture(scope="module")
def demo():
    specification = importlib.util.spec_from_file_location("tomolearn_demo", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    yield module
    del sys.modules[specification.name]


@pytest.fixture(scope="module")
def run(demo, tmp_path_factory):
    """One quick run: its folder, what it printed, and what it learned and chose from."""
    from contextlib import redirect_stdout
    from io import StringIO

    import matplotlib

    matplotlib.use("Agg")
    out, seen, printed = tmp_path_factory.mktemp("demo") / "out", {}, StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TOMOLEARN_SHARED_DATA", raising=False)
        tuned, fit = demo.tuned, demo.TomoGANDenoiser.fit
        patch.setattr(demo, "tuned", lambda plan, X, y, known: (seen.update(tuned=y), tuned(plan, X, y, known))[1])
        patch.setattr(demo.TomoGANDenoiser, "fit", lambda self, X, y: (seen.update(learned=y), fit(self, X, y))[1])
        with redirect_stdout(printed):
            demo.main(["--quick", "--out", str(out)])
    return out, printed.getvalue(), seen


def volume(path):
    with open_volume(path) as source:
        return source[:]


def test_every_method_leaves_a_volume_and_a_row(demo, run):
    out, printed, _ = run
    truth = demo.simulated(demo.QUICK, demo.QUICK.rows, demo.SEED).volume
    for name, file in METHODS.items():
        images = volume(out / f"{file}.h5")
        assert images.shape == truth.shape
        (row,) = (line.split() for line in printed.splitlines() if line.split()[:1] == [name])
        assert float(row[1]) == pytest.approx(psnr(truth, images, data_range="reference"), abs=0.006)
        assert float(row[3]) > 0


def test_the_models_on_disk_made_the_volumes(run):
    out, _, _ = run
    model = tomolearn.load(out / "tomogan.tomo")
    np.testing.assert_allclose(model.predict(volume(out / "fbp.h5")), volume(out / "tomogan.h5"), atol=1e-6)
    assert type(tomolearn.load(out / "noise2inverse.tomo")).__name__ == "Noise2InverseReconstructor"


def test_nothing_is_learned_or_chosen_from_the_truth_that_is_shown(demo, run):
    _, _, seen = run
    shown = demo.simulated(demo.QUICK, demo.QUICK.rows, demo.SEED).volume
    for mine, others in ((shown, seen["learned"]), (shown, seen["tuned"]), (seen["learned"], seen["tuned"])):
        assert np.abs(mine[:, None] - others[None]).mean((2, 3)).min() > 1e-4


def test_the_figure_is_a_slide_and_no_part_is_left(run):
    import matplotlib.image

    out, printed, _ = run
    image = matplotlib.image.imread(out / "demo.png")
    assert image.shape[:2] == (1080, 1920)
    assert image[..., :3].std() > 0.05
    assert not list(out.glob(".*"))
    assert "tooth is left out" in printed


def test_a_figure_that_cannot_be_written_leaves_the_old_one(demo, tmp_path, monkeypatch):
    import matplotlib.pyplot as plt

    def broken(path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    figure, path = plt.figure(), tmp_path / "demo.png"
    monkeypatch.setattr(figure, "savefig", broken)
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="disk full"):
        demo.saved(figure, path)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("demo.png", b"old")]


def test_a_scan_without_truth_goes_the_way_of_the_tooth(demo, run, tmp_path):
    """On the small scan, which is as raw as the tooth's file."""
    folder, _, _ = run
    images = demo.reconstruct_tooth(demo.QUICK, folder / "scan.h5", tmp_path, lambda text: None)
    titles = ("FBP, 48 views", "FBP, 12 views", "TV, 12 views")
    assert {name: image.shape for name, image in images.items()} == dict.fromkeys(titles, (48, 48))

"""Commands that use models and images: classify, embed, info of a model file, bench, and completion of the shell."""

import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

import tomolearn
from tomolearn.cli._data import read_labels
from tomolearn.cli._models import known_estimators
from tomolearn.cli.main import build_parser, main
from tomolearn.cli.train import NETWORKS
from tomolearn.exceptions import FileFormatError

IMAGES = np.zeros((12, 32, 32), np.float32)
IMAGES[::2, 8:24, 15:17] = 1
IMAGES[1::2, 15:17, 8:24] = 1


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("images.npy", IMAGES)
    with open("kinds.csv", "w") as file:
        file.write("image,kind\n" + "".join(f"{k}.tif,{('upright', 'level')[k % 2]}\n" for k in range(12)))
    return tmp_path


# ----------------------------------------------------------------------------------------------------------- classify


def test_classes_from_a_table_to_a_table(folder, capsys):
    options = [
        "--set",
        "channels=[2,2,2,2,2]",
        "--set",
        "widths=[8,8,8]",
        "--set",
        "dropout=0",
        "--epochs",
        "3",
        "--quiet",
    ]
    assert main(["train", "alexnet", "-i", "images.npy", "-l", "kinds.csv", "-o", "model.tomo", *options]) == 0
    assert main(["classify", "model.tomo", "-i", "images.npy"]) == 0
    lines = capsys.readouterr().out.splitlines()
    model = tomolearn.load("model.tomo")
    assert lines[0] == "image,class,p(level),p(upright)" and len(lines) == 13
    assert [line.split(",")[1] for line in lines[1:]] == model.predict(IMAGES).tolist()
    found = np.array([line.split(",")[2:] for line in lines[1:]], float)
    np.testing.assert_allclose(found, model.predict_proba(IMAGES), atol=1e-4)
    assert main(["classify", "model.tomo", "-i", "images.npy", "-o", "classes.csv", "--log", "run.json"]) == 0
    run = json.loads((folder / "run.json").read_text())
    assert (run["command"], run["n_images"], run["output"]) == ("classify", 12, "classes.csv")
    assert capsys.readouterr().out == "wrote classes.csv: 12 images\n"
    assert (folder / "classes.csv").read_text().splitlines() == lines
    assert main(["classify", "model.tomo", "-i", "images.npy", "-o", "classes.csv"]) == 2
    assert "classes.csv exists; choose another name, or --overwrite." in capsys.readouterr().err
    assert main(["classify", "model.tomo", "-i", "images.npy", "-o", "classes.txt"]) == 2
    assert "--output must end in one of .csv, .npy; got classes.txt." in capsys.readouterr().err
    np.save("small.npy", IMAGES[:, 1:])
    assert main(["classify", "model.tomo", "-i", "small.npy"]) == 2
    assert "--images must hold images of shape (1, 32, 32)" in capsys.readouterr().err


def test_values_of_images(folder, capsys):
    values = np.arange(12) % 2 + 0.5
    with h5py.File("values.h5", "w") as file:
        file["angle"] = values
    options = ["--set", "channels=[2,2,2,2,2]", "--set", "widths=[4,4,4]", "--epochs", "1", "--quiet"]
    source = ["-i", "images.npy", "-l", "values.h5:angle"]
    assert main(["train", "alexnet-regressor", *source, "-o", "model.tomo", *options]) == 0
    assert main(["classify", "model.tomo", "-i", "images.npy", "-o", "values.npy", "--quiet"]) == 0
    np.testing.assert_array_equal(np.load("values.npy"), tomolearn.load("model.tomo").predict(IMAGES))
    assert main(["classify", "model.tomo", "-i", "images.npy"]) == 0
    assert capsys.readouterr().out.startswith("image,value\n0,")


def test_labels_of_all_kinds(tmp_path):
    text = tmp_path / "labels.txt"
    for written, expected in (("1\n2\n", [1, 2]), ("x\n1.5\n2\n", [1.5, 2]), ("0,a\n1,b\n", ["a", "b"])):
        text.write_text(written)
        found = read_labels(str(text), 2)
        assert found.tolist() == expected
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file["kind"] = ["a", "b"]
    assert read_labels(f"{tmp_path}/labels.h5:kind", 2).tolist() == ["a", "b"]
    with pytest.raises(FileFormatError, match=r"holds labels of shape \(2,\), expected 3, one for each image"):
        read_labels(str(text), 3)
    with pytest.raises(FileFormatError, match="must be .npy, .csv, .txt or FILE:DATASET"):
        read_labels(f"{tmp_path}/labels.h5", 2)


# -------------------------------------------------------------------------------------------------------------- embed

MAP = ["embed", "-i", "crowd.npy", "--set", "perplexity=5", "--set", "max_iter=60"]


def test_a_map_its_picture_and_places_on_it(folder, capsys):
    crowd = np.random.default_rng(0).random((40, 8, 8)) + 5 * (np.arange(40) % 2)[:, None, None]
    np.save("crowd.npy", crowd)
    np.save("kinds.npy", np.arange(40) % 2)
    out = ["-o", "map.csv", "--save", "map.tomo", "--preview", "map.png", "-l", "kinds.npy", "--log", "run.json"]
    assert main([*MAP, *out]) == 0
    assert capsys.readouterr().out.startswith("wrote map.csv: 40 images, ")
    reducer = tomolearn.load("map.tomo")
    run = json.loads((folder / "run.json").read_text())
    assert run["kl_divergence"] == pytest.approx(reducer.kl_divergence_) and run["parameters"]["perplexity"] == 5
    assert run["n_outliers"] == np.count_nonzero(reducer.predict(crowd) == -1) and run["data"] == [
        "images: crowd.npy, 40 x 8 x 8, float64"
    ]
    table = np.loadtxt("map.csv", delimiter=",", skiprows=1)
    assert (folder / "map.csv").read_text().startswith("image,x,y,score,outlier\n0,")
    np.testing.assert_allclose(table[:, 1:3], reducer.embedding_, rtol=1e-5)
    np.testing.assert_array_equal(table[:, 4], reducer.predict(crowd) == -1)
    assert (folder / "map.png").read_bytes().startswith(b"\x89PNG")
    placed = ["embed", "--model", "map.tomo", "-i", "crowd.npy", "-o", "placed.npy"]
    assert main([*placed, "--quiet"]) == 0
    np.testing.assert_allclose(np.load("placed.npy"), reducer.transform(crowd), rtol=1e-6)
    assert main([*placed, "--overwrite", "--set", "perplexity=3"]) == 2
    assert "--set is not for --model, whose map stays as it is" in capsys.readouterr().err
    assert main([*MAP, "-o", "new.csv", "--save", "map.tomo"]) == 2
    assert "--save: map.tomo exists; choose another name, or --overwrite." in capsys.readouterr().err
    assert main([*MAP[:3], "--set", "perplexity=50", "-o", "new.csv"]) == 2
    assert "--set perplexity must be below n - 1" in capsys.readouterr().err
    assert main([*MAP, "-o", "new.csv", "--set", "n_component=3"]) == 2
    assert "TSNEReducer has no such parameter; did you mean n_components?" in capsys.readouterr().err
    assert main([*MAP, "-o", "crowd.npy", "--overwrite"]) == 2
    assert "--output crowd.npy would replace crowd.npy, which is read" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------------------- info


def test_info_of_a_model_file(folder, capsys):
    model = tomolearn.Noise2SelfDenoiser(channels=(2, 4), patch_shape=(16, 16), max_epochs=1, random_state=0)
    model.fit(IMAGES).save("my model.tomo")
    assert main(["info", "my model.tomo"]) == 0
    told = capsys.readouterr().out
    lines = [line.split(None, 1) for line in told.splitlines() if line]
    assert ["class", f"Noise2SelfDenoiser, {model.n_parameters_:,} weights"] in lines
    assert ["channels", "[2, 4]"] in lines and ["x_mean_", repr(model.x_mean_)] in lines
    assert f"tomolearn {tomolearn.__version__}" in told
    assert f"{model.history_['loss'][0]:.4g}, {model.history_['loss'][-1]:.4g}" in told
    assert told.endswith("\ntomolearn infer 'my model.tomo' -ld SLICES.h5 -o out.h5\n")
    content = bytearray((folder / "my model.tomo").read_bytes())
    content[20] ^= 255
    (folder / "broken.tomo").write_bytes(content)
    assert main(["info", "broken.tomo"]) == 2
    assert "broken.tomo is no model file of tomolearn" in capsys.readouterr().err


def test_info_of_a_pipeline(folder, capsys):
    from sklearn.frozen import FrozenEstimator
    from sklearn.pipeline import make_pipeline

    denoiser = tomolearn.Noise2SelfDenoiser(channels=(2, 4), max_epochs=1, random_state=0).fit(IMAGES)
    pipeline = make_pipeline(tomolearn.FBPReconstructor(), FrozenEstimator(denoiser)).fit(IMAGES)
    tomolearn.save(pipeline, "model.tomo")
    assert main(["info", "model.tomo"]) == 0
    told = capsys.readouterr().out
    assert "class        Pipeline" in told and "step fbpreconstructor: FBPReconstructor" in told
    assert "Noise2SelfDenoiser" in told and "[2, 4]" in told
    assert told.endswith("tomolearn infer model.tomo --sinograms SINOGRAMS.h5 -o out.h5\n")


# -------------------------------------------------------------------------------------------------- bench, the parser


def test_bench_prints_a_table_and_json(capsys):
    assert main(["bench", "--size", "24", "--slices", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["size"], found["n_angles"], found["n_slices"], found["threads"]) == (24, 24, 2, 1)
    names = ["projection", "back-projection (adjoint)", "FBP", "denoising (TomoGAN)"]
    assert list(found["seconds_per_slice"]) == names and found["device"] == "cpu"
    assert main(["bench", "--size", "24", "--device", "abacus"]) == 2
    assert "--device must be 'auto', 'cpu', 'cuda' or 'cuda:N'" in capsys.readouterr().err
    assert all(0 < value < 10 for value in found["seconds_per_slice"].values())
    assert main(["bench", "--size", "24", "--angles", "10"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("24 x 24 pixels, 10 angles, 1 slice at a time; ")
    assert [line[:26].strip() for line in lines[2:]] == names


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_commands_and_options(shell, capsys):
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit) as end:
        main(["--print-completion", shell])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert all(word in told for word in ("reconstruct", "tomogan", "low-dose", "noise2inverse"))


def test_completion_without_its_package_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit) as end:
        main(["--print-completion", "bash"])
    assert end.value.code == 2
    assert "--print-completion needs shtab: pip install 'tomolearn[completion]'." in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--print-completion", "fish"])
    assert "invalid choice: 'fish'" in capsys.readouterr().err


def test_every_trained_estimator_has_a_command():
    from tomolearn.training import TrainedEstimator

    public = {
        name
        for name, cls in known_estimators().items()
        if issubclass(cls, TrainedEstimator) and hasattr(tomolearn, name)
    }
    assert public == {name for name, _, _ in NETWORKS.values()}


@pytest.mark.parametrize("network", NETWORKS)
def test_options_of_a_command_are_no_parameters_of_another_meaning(network):
    """Messages take ``name`` for ``--name`` where there is one: `tomolearn.cli._messages`."""
    files = (
        ["scan"] if network == "noise2inverse" else ["-ld", "a"] if NETWORKS[network][1] in ("pairs", "noisy") else []
    )
    files += ["-i", "a", "-l", "b"] if NETWORKS[network][1] in ("labelled", "classes") else []
    options = vars(build_parser().parse_args(["train", network, *files, "-o", "x.tomo"]))
    shared = set(getattr(tomolearn, NETWORKS[network][0])().get_params()) & set(options)
    assert shared <= {"angles", "angle_unit", "center", "device"}


def test_help_of_a_command_imports_no_heavy_package():
    code = (
        "import sys\nfrom tomolearn.cli.main import main\n"
        "try:\n    main(['train', 'tomogan', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(*{'torch', 'numpy', 'sklearn', 'scipy', 'h5py', 'shtab', 'yaml'} & set(sys.modules), file=sys.stderr)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "") and "--normal-dose" in done.stdout

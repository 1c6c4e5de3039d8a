"""`tomolearn train` and `tomolearn infer`: from files to a model file to a volume, and what is refused."""

import json
import os
import signal
import sys
import threading

import h5py
import numpy as np
import pytest
from learned import weights

import tomolearn
from tomolearn.cli import _parameters, train
from tomolearn.cli._parameters import read_config, value_of
from tomolearn.cli.main import main
from tomolearn.geometry import default_angles
from tomolearn.io import open_volume, write_scan
from tomolearn.ops import radon
from tomolearn.simulation import random_foam, scattered_shapes, simulate_scan

SIZE, N_ANGLES = 16, 12
CLEAN = random_foam(6, SIZE, random_state=0).volume()
NOISY = CLEAN + np.random.default_rng(0).normal(0, 0.3, CLEAN.shape).astype(np.float32)
SINOGRAMS = radon(CLEAN, default_angles(N_ANGLES))
SHORT = ["--epochs", "2", "--set", "batch_size=2", "--quiet"]
GAN = ["--set", "perceptual_weight=0", "--set", "adversarial_weight=0", "--set", "patch_shape=[16,16]", *SHORT]
SELF = ["--set", "channels=[2,4]", "--set", "patch_shape=(16, 16)", *SHORT]


def sets(*settings):
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with h5py.File("low.h5", "w") as file:
        file["ld_img"] = NOISY
    with h5py.File("normal.h5", "w") as file:
        file["images"] = CLEAN
    with h5py.File("pairs.h5", "w") as file:
        file["train_ns"], file["train_gt"] = NOISY, CLEAN
        file["test_ns"] = NOISY
    with h5py.File("library.h5", "w") as file:
        file["Sinograms"], file["Images"] = np.moveaxis(SINOGRAMS, 0, 2), np.moveaxis(CLEAN, 0, 2)
    np.save("sinograms.npy", SINOGRAMS)
    np.save("images.npy", CLEAN)
    return tmp_path


def read(path):
    with open_volume(path) as volume:
        return volume[:]


# ------------------------------------------------------------------------------------------------------------ denoisers


def test_the_commands_of_the_talk(folder, capsys):
    assert main(["train", "tomogan", "-ld", "low.h5", "-nd", "normal.h5", "-o", "model.tomo", *GAN[:-1]]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == ["noisy: low.h5:ld_img, 6 x 16 x 16, float32", "clean: normal.h5:images, 6 x 16 x 16, float32"]
    assert told[2].startswith("wrote model.tomo: TomoGANDenoiser, 694,897 weights of epoch ") and "val_loss" in told[2]
    assert main(["infer", "model.tomo", "-ld", "low.h5", "-o", "out.h5"]) == 0
    assert capsys.readouterr().out.startswith("wrote out.h5: 6 slices by a TomoGANDenoiser in ")
    model = tomolearn.load("model.tomo")
    assert (model.max_epochs, model.patch_shape, model.random_state) == (2, (16, 16), 0)
    np.testing.assert_allclose(read("out.h5"), model.predict(NOISY), atol=1e-5)
    assert "model.tomo.checkpoint" not in os.listdir()


def test_pairs_of_one_file_are_those_of_two(folder):
    assert main(["train", "tomogan", "-ld", "pairs.h5", "-o", "one.tomo", *GAN, "--epochs", "1"]) == 0
    two = ["-ld", "pairs.h5", "--ld-dataset", "train_ns", "-nd", "normal.h5", "-o", "two.tomo"]
    assert main(["train", "tomogan", *two, *GAN, "--epochs", "1"]) == 0
    np.testing.assert_array_equal(*(weights(tomolearn.load(path)) for path in ("one.tomo", "two.tomo")))
    assert main(["infer", "one.tomo", "-ld", "pairs.h5", "--ld-dataset", "test_ns", "-o", "out.npy", "--quiet"]) == 0
    assert np.load("out.npy").shape == CLEAN.shape


def test_the_estimator_gets_what_file_and_options_say(folder):
    with open("config.toml", "w") as file:
        file.write("max_epochs = 7\nlearning_rate = 1e-3\nchannels = [2, 4]\npatch_shape = [16, 16]\nspacing = 3\n")
    options = ["--config", "config.toml", "--epochs", "1", "--set", "spacing=5", "--seed", "3", "--quiet"]
    log = ["--log", "run.json", "--val-ld", "low.h5"]
    assert main(["train", "noise2self", "-ld", "low.h5", "-o", "model.tomo", *options, *log]) == 0
    model = tomolearn.load("model.tomo")
    assert (model.max_epochs, model.spacing, model.channels, model.learning_rate) == (1, 5, (2, 4), 1e-3)
    same = tomolearn.Noise2SelfDenoiser(**(model.get_params() | {"random_state": 3})).fit(NOISY, X_val=NOISY)
    np.testing.assert_array_equal(weights(same), weights(model))
    run = json.loads((folder / "run.json").read_text())
    assert run["estimator"] == "Noise2SelfDenoiser" and run["status"] == "finished" and run["device"] == "cpu"
    assert run["parameters"]["random_state"] == 3 and run["parameters"]["channels"] == [2, 4]
    assert run["history"] == model.history_ and run["n_epochs"] == 1 and run["seconds"] > 0
    assert run["versions"]["tomolearn"] == tomolearn.__version__
    assert run["data"] == ["noisy: low.h5:ld_img, 6 x 16 x 16, float32"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.json", '{"class_weight": {"0": 1, "1": 2.5}, "patch_shape": [8, 8], "learning_rate": 1e-3}'),
        ("p.toml", "patch_shape = [8, 8]\nlearning_rate = 1e-3\n[class_weight]\n0 = 1\n1 = 2.5\n"),
        ("p.yaml", "patch_shape: [8, 8]\nlearning_rate: 1e-3\nclass_weight: {0: 1, 1: 2.5}\n"),
    ],
)
def test_files_of_parameters_hold_the_same(name, text, tmp_path):
    if name.endswith("yaml"):
        pytest.importorskip("yaml")
    (tmp_path / name).write_text(text)
    expected = {"class_weight": {0: 1, 1: 2.5}, "patch_shape": (8, 8), "learning_rate": 1e-3}
    assert read_config(str(tmp_path / name)) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("[1, 2]", [1, 2]), ("(1, 2)", (1, 2)), ("None", None), ("null", None), ("True", True),
     ("true", True), ("adam", "adam"), ("'7'", "7"), ("{0: 2}", {0: 2}), ("a=b", "a=b"), ("", "")],
)  # fmt: skip
def test_values_as_json_or_python_writes_them(text, value):
    assert value_of(text) == value and type(value_of(text)) is type(value)


# ------------------------------------------------------------------------------------------------------- other networks


@pytest.mark.parametrize(
    ("network", "source", "options"),
    [
        ("automap", ["--library", "library.h5"], ["rank=2", "n_filters=2"]),
        ("dense", ["--library", "library.h5", "--val-library", "library.h5"], ["width=4", "n_filters=2"]),
        ("cnn", ["--sinograms", "sinograms.npy", "-i", "images.npy"], ["width=4", "n_filters=2", "n_image_filters=2"]),
        ("lpd", ["--library", "library.h5", "--angles", "0:165"], ["n_iterations=1", "n_filters=2"]),
        ("fbpunet", ["--library", "library.h5"], ["channels=[2,2]"]),
        ("iradonmap", ["--library", "library.h5"], ["channels=[2,2]"]),
    ],
)
def test_reconstruction_networks(network, source, options, folder):
    assert main(["train", network, *source, "-o", "model.tomo", *SHORT, *sets(*options)]) == 0
    assert main(["infer", "model.tomo", "--sinograms", "sinograms.npy", "-o", "out.npy", "--quiet"]) == 0
    model = tomolearn.load("model.tomo")
    assert type(model).__name__ == train.NETWORKS[network][0]
    np.testing.assert_allclose(np.load("out.npy"), model.predict(SINOGRAMS), atol=1e-5)
    if network == "lpd":
        np.testing.assert_allclose(model.angles_, np.deg2rad(np.linspace(0, 165, N_ANGLES)))


def test_the_vae_learns_without_clean_images(folder):
    assert main(["train", "vae", "-ld", "images.npy", "-o", "model.tomo", *SHORT, *sets("patch_shape=[16,16]")]) == 0
    assert tomolearn.load("model.tomo").latent_dim == 16


def test_noise2inverse_from_raw_counts(folder, capsys):
    scan = simulate_scan(6, SIZE, 24, center_offset=1.5, n_flats=2, n_darks=2, random_state=0)
    write_scan("scan.h5", scan.counts, angles=scan.angles, flats=scan.flats, darks=scan.darks)
    center = ["--center", str(scan.center)]
    options = [*center, "--train-rows", "4", *SHORT[:-1], *sets("channels=[2,4]", "patch_shape=[16,16]")]
    assert main(["train", "noise2inverse", "scan.h5", "-o", "model.tomo", *options]) == 0
    assert f"center: {scan.center:.2f}; learns from 4 of 6 rows" in capsys.readouterr().out
    model = tomolearn.load("model.tomo")
    assert model.center_ == scan.center and model.sinogram_shape_ == (24, SIZE)
    np.testing.assert_allclose(model.angles_, scan.angles, atol=1e-6)
    assert main(["infer", "model.tomo", "--scan", "scan.h5", "-o", "out.npy", "--quiet"]) == 0
    line_integrals = tomolearn.FlatFieldCorrector().fit(scan.counts, flats=scan.flats, darks=scan.darks)
    line_integrals = tomolearn.MinusLog().fit_transform(line_integrals.transform(scan.counts))
    np.testing.assert_allclose(np.load("out.npy"), model.predict(line_integrals), atol=1e-4)


def test_a_pipeline_of_steps(folder):
    from sklearn.frozen import FrozenEstimator
    from sklearn.pipeline import make_pipeline

    denoiser = tomolearn.Noise2SelfDenoiser(channels=(2, 4), max_epochs=1, random_state=0).fit(NOISY)
    pipeline = make_pipeline(tomolearn.FBPReconstructor(), FrozenEstimator(denoiser)).fit(SINOGRAMS)
    tomolearn.save(pipeline, "model.tomo")
    assert main(["infer", "model.tomo", "--sinograms", "sinograms.npy", "-o", "out.npy", "--quiet"]) == 0
    np.testing.assert_allclose(np.load("out.npy"), pipeline.predict(SINOGRAMS), atol=1e-6)


# ------------------------------------------------------------------------------------------------------ what is refused

TOMOGAN = ["train", "tomogan", "-ld", "low.h5", "-nd", "normal.h5", "-o", "x.tomo"]
CNN = ["train", "cnn", "-o", "x.tomo"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*TOMOGAN, "--set", "learning_rte=1"], "--set learning_rte: TomoGANDenoiser has no such parameter; did"),
        ([*TOMOGAN, "--set", "epochs=1"], "has no such parameter; did you mean max_epochs?"),
        ([*TOMOGAN, "--set", "zz=1"], "no such parameter; its parameters are n_adjacent, "),
        ([*TOMOGAN, "--set", "learning_rate=-3"], "--set learning_rate must be a number in (0, 1000]; got -3."),
        ([*TOMOGAN, "--epochs", "0"], "--epochs must be an integer >= 1; got 0."),
        ([*TOMOGAN, "--set", "max_epochs=0"], "--set max_epochs must be an integer >= 1; got 0."),
        ([*TOMOGAN, "--set", "max_epochs=1", "--epochs", "2"], "--epochs and --set max_epochs are the same parameter"),
        ([*TOMOGAN, "--device", "abacus"], "--device must be 'auto', 'cpu', 'cuda' or 'cuda:N'; got 'abacus'."),
        ([*TOMOGAN, "--threads", "0"], "--threads must be a whole number of at least 1; got 0."),
        ([*TOMOGAN, "--config", "low.h5"], "--config must end in one of .yaml, .yml, .json, .toml; got low.h5."),
        ([*TOMOGAN, "--config", "list.json"], "list.json holds a list, expected names with values"),
        ([*TOMOGAN, "--config", "broken.toml"], "broken.toml is no TOML that can be read"),
        ([*TOMOGAN, "--config", "wrong.json"], "wrong.json: patchshape: TomoGANDenoiser has no such parameter; did"),
        ([*TOMOGAN, "--log", "no/run.json"], "--log: the folder of no/run.json does not exist; make it first."),
        ([*TOMOGAN, "--log", "x.tomo"], "--log must have another name than x.tomo, which is written too"),
        ([*TOMOGAN, "--val-nd", "normal.h5"], "--val-nd needs --val-ld"),
        ([*TOMOGAN, "--val-ld", "low.h5"], "--val-ld and --val-nd go together; got the first alone."),
        ([*TOMOGAN[:-1], "no/x.tomo"], "--output: the folder of no/x.tomo does not exist; make it first."),
        ([*TOMOGAN[:-1], "low.h5", "--overwrite"], "--output low.h5 would replace low.h5, which is read"),
        ([*TOMOGAN[:-1], "images.npy"], "the output images.npy exists; choose another name, or --overwrite."),
        ([*TOMOGAN[:-1], "."], "--output . is a folder; choose the name of a model file."),
        ([*TOMOGAN[:4], "-o", "x.tomo"], "--normal-dose is missing; name the clean slices by -nd FILE."),
        ([*TOMOGAN[:2], "-ld", "no.h5", "-o", "x.tomo"], "no.h5"),
        ([*TOMOGAN[:3], "pairs.h5", *TOMOGAN[4:]], "Name one by --ld-dataset or as FILE:DATASET."),
        ([*TOMOGAN[:5], "sinograms.npy", *TOMOGAN[6:]], "--normal-dose must"),
        (CNN, "the pairs must come from --library, or from --sinograms and --images; name one of these."),
        ([*CNN, "--library", "library.h5", "-i", "images.npy"], "the pairs must come from --library, or from"),
        ([*CNN, "-i", "images.npy"], "--sinograms and --images go together; got one of them."),
        ([*CNN, "--library", "library.h5", "--images-dataset", "Image"], "library.h5 holds no images; name their"),
        (["infer", "no.tomo", "-ld", "low.h5", "-o", "x.h5"], "there is no model file no.tomo; `tomolearn train`"),
        (["infer", "low.h5", "-ld", "low.h5", "-o", "x.h5"], "low.h5 is no model file of tomolearn"),
        (["infer", "no.tomo", "-o", "x.h5"], "the input must be one of -ld (or --images), --sinograms, --library and"),
        (["infer", "low.h5", "-ld", "low.h5", "-o", "low.h5", "--overwrite"], "--output low.h5 would replace low.h5"),
    ],
)  # fmt: skip
def test_what_is_refused_and_in_which_words(arguments, message, folder, capsys):
    for name, text in (("list.json", "[1]"), ("broken.toml", "a = "), ("wrong.json", '{"patchshape": 1}')):
        (folder / name).write_text(text)
    before = sorted(os.listdir())
    assert main(arguments) == 2
    told = capsys.readouterr().err
    command = " ".join(arguments[: 2 if arguments[0] == "train" else 1])
    assert told.startswith(f"tomolearn {command}: ") and message in told, told
    assert told.count("\n") == 1 and "Traceback" not in told
    assert sorted(os.listdir()) == before


def test_a_model_of_another_kind_is_refused(folder, capsys):
    tomolearn.Noise2SelfDenoiser(channels=(2, 4), max_epochs=1, random_state=0).fit(NOISY).save("denoiser.tomo")
    tomolearn.CNNReconstructor(width=2, n_filters=2, max_epochs=1).fit(SINOGRAMS, CLEAN).save("cnn.tomo")
    for arguments, message in (
        (
            ["infer", "denoiser.tomo", "--sinograms", "sinograms.npy", "-o", "x.h5"],
            "which takes images; name them by -ld",
        ),
        (["infer", "cnn.tomo", "-ld", "low.h5", "-o", "x.h5"], "holds a CNNReconstructor, which takes sinograms; name"),
        (
            ["segment", "denoiser.tomo", "-i", "low.h5", "-o", "x.h5"],
            "which labels no pixels; `tomolearn infer` applies",
        ),
        (
            ["classify", "denoiser.tomo", "-i", "low.h5"],
            "holds a Noise2SelfDenoiser, which says nothing of whole images",
        ),
        (
            ["embed", "--model", "cnn.tomo", "-i", "low.h5", "-o", "x.csv"],
            "cnn.tomo holds a CNNReconstructor, which is no",
        ),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    assert not os.path.exists("x.h5")


@pytest.mark.parametrize("setting", ["3", "=3", "a b=3"])
def test_a_setting_is_a_name_and_a_value(setting, capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "noise2self", "-ld", "low.h5", "-o", "x.tomo", "--set", setting])
    assert end.value.code == 2
    assert f"argument --set: must be NAME=VALUE; got {setting!r}" in capsys.readouterr().err


def test_yaml_without_its_package_names_the_extra(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "yaml", None)
    (folder / "p.yaml").write_text("spacing: 3")
    assert main(["train", "noise2self", "-ld", "low.h5", "-o", "x.tomo", "--config", "p.yaml"]) == 2
    assert "--config with a .yaml file needs PyYAML: pip install 'tomolearn[yaml]'." in capsys.readouterr().err


def test_a_record_is_written_whole_or_not_at_all(folder, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tomolearn.cli._tables.os.fsync", full)
    model = tomolearn.Noise2SelfDenoiser(channels=(2, 4), max_epochs=1, random_state=0).fit(NOISY)
    arguments = type("Arguments", (), {"output": "model.tomo"})
    with pytest.raises(OSError, match="No space left"):
        train.write_log("run.json", model, arguments, status="finished", began=0.0, data="")
    assert not [name for name in os.listdir() if name.startswith("run.json")]


def test_a_large_file_of_parameters_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(_parameters, "LONGEST", 10)
    (tmp_path / "p.json").write_text('{"a": "aaaaaaaaaaaaa"}')
    with pytest.raises(tomolearn.exceptions.FileFormatError, match="has 22 bytes, expected 10 of parameters at most"):
        read_config(str(tmp_path / "p.json"))


# --------------------------------------------------------------------------------------------------------------- Ctrl-C

LONG = ["--set", "early_stopping=false", "--set", "schedule=constant", "--threads", "1", *SELF[:4], "--quiet"]
RUN = ["train", "noise2self", "-ld", "low.h5", "-o", "model.tomo", "--log", "run.json", *LONG]


def test_ctrl_c_saves_and_the_same_command_goes_on(folder, capsys):
    ended = threading.Event()

    def press():
        while not os.path.exists("model.tomo.checkpoint") and not ended.wait(0.01):
            pass
        if not ended.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    try:
        status = main([*RUN, "--epochs", "100000"])
    finally:
        ended.set()
        thread.join()
    told = capsys.readouterr().err
    assert status == 130, told
    assert told.startswith("tomolearn train noise2self: interrupted. The best weights so far, of epoch ")
    assert told.endswith(" are in model.tomo; the same command with --resume goes on.\n") and told.count("\n") == 1
    n = tomolearn.load("model.tomo").n_epochs_
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted" and n >= 1
    more = ["--epochs", str(n + 2)]
    assert main([*RUN, *more]) == 2
    assert "is what a training has left that was broken off; --resume goes on with it" in capsys.readouterr().err
    assert main([*RUN, *more, "--resume"]) == 0
    resumed = tomolearn.load("model.tomo")
    assert resumed.n_epochs_ == n + 2 and not os.path.exists("model.tomo.checkpoint")
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    unbroken = tomolearn.Noise2SelfDenoiser(**(resumed.get_params() | {"verbose": 0})).fit(NOISY)
    np.testing.assert_array_equal(weights(resumed), weights(unbroken))
    assert main([*RUN, *more, "--resume"]) == 2  # finished: nothing to go on with
    assert "the output model.tomo exists" in capsys.readouterr().err


def test_only_the_first_of_several_processes_prints_and_writes(folder, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")  # as torchrun sets it in the second process
    assert main([*RUN[:-1], "--epochs", "1", "--overwrite"]) == 0
    assert capsys.readouterr().out == ""
    assert not os.path.exists("model.tomo") and not os.path.exists("run.json")


def test_an_interruption_before_the_training_saves_nothing(folder, monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("tomolearn.cli.train.open_training_data", interrupted)
    assert main([*RUN, "--epochs", "2"]) == 130
    assert capsys.readouterr().err == "tomolearn train noise2self: interrupted.\n"
    assert not os.path.exists("model.tomo")


def test_begin_anew_instead_of_going_on(folder):
    (folder / "model.tomo.checkpoint").write_bytes(b"of another training")
    assert main([*RUN, "--epochs", "1", "--overwrite"]) == 0
    assert not os.path.exists("model.tomo.checkpoint") and tomolearn.load("model.tomo").n_epochs_ == 1


# --------------------------------------------------------------------------------------------------------- segmentation


def test_from_labelled_images_to_labels(folder, capsys):
    images, masks = scattered_shapes(4, 32, random_state=0)
    np.save("slices.npy", images)
    np.save("masks.npy", masks)
    options = sets("base_channels=2", "class_names=['none', 'a', 'b', 'c', 'd']")
    arguments = ["-i", "slices.npy", "-l", "masks.npy", "--val-images", "slices.npy", "--val-labels", "masks.npy"]
    assert main(["train", "unet", *arguments, "-o", "unet.tomo", *SHORT, *options]) == 0
    capsys.readouterr()
    paths = ["-o", "labels.tif", "--probabilities", "p.npy"]
    assert main(["segment", "unet.tomo", "-i", "slices.npy", *paths]) == 0
    assert "labels 0: none, 1: a, 2: b, 3: c, 4: d" in capsys.readouterr().out
    model = tomolearn.load("unet.tomo")
    np.testing.assert_array_equal(read("labels.tif"), model.predict(images))
    np.testing.assert_allclose(np.load("p.npy"), model.predict_proba(images), atol=1e-5)
    assert main(["train", "unet", "-i", "slices.npy", "-l", "slices.npy", "-o", "x.tomo", "--quiet"]) == 2
    assert "whole-number labels; slices.npy, slice 0 holds fractions" in capsys.readouterr().err

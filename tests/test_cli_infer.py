"""`tomolearn infer` on libraries, into integers, beside a truth; and the records that commands write."""

import json
import os

import h5py
import numpy as np
import pytest

import tomolearn
from tomolearn.cli.main import main
from tomolearn.geometry import default_angles
from tomolearn.io import write_scan
from tomolearn.metrics import psnr, ssim
from tomolearn.ops import radon
from tomolearn.simulation import random_foam, simulate_scan

SIZE, N_ANGLES = 16, 12
CLEAN = random_foam(6, SIZE, random_state=0).volume()
NOISY = CLEAN + np.random.default_rng(0).normal(0, 0.3, CLEAN.shape).astype(np.float32)
SINOGRAMS = radon(CLEAN, default_angles(N_ANGLES))
RANGE = float(CLEAN.max() - CLEAN.min())


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Made once: networks that reconstruct, denoise and label, and FBP, which only knows its scan."""
    folder = tmp_path_factory.mktemp("models")
    small = {"width": 4, "n_filters": 2, "n_image_filters": 2, "max_epochs": 1, "random_state": 0}
    tomolearn.CNNReconstructor(**small).fit(SINOGRAMS, CLEAN).save(folder / "cnn.tomo")
    denoiser = tomolearn.Noise2SelfDenoiser(channels=(2, 4), max_epochs=1, random_state=0).fit(NOISY)
    denoiser.save(folder / "denoiser.tomo")
    labels = (CLEAN > 0.5).astype(np.uint8)
    tomolearn.UNetSegmenter(base_channels=2, max_epochs=1, random_state=0).fit(NOISY, labels).save(folder / "unet.tomo")
    tomolearn.save(tomolearn.FBPReconstructor().fit(SINOGRAMS), folder / "fbp.tomo")
    return {name: str(folder / f"{name}.tomo") for name in ("cnn", "denoiser", "unet", "fbp")}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("noisy.npy", NOISY)
    np.save("clean.npy", CLEAN)
    with h5py.File("library.h5", "w") as file:
        file["Sinograms"], file["Images"] = np.moveaxis(SINOGRAMS, 0, 2), np.moveaxis(CLEAN, 0, 2)
    return tmp_path


# ------------------------------------------------------------------------------------------------------------ libraries


def test_a_library_is_predicted_and_compared_with_its_images(models, folder, capsys):
    assert main(["infer", models["cnn"], "--library", "library.h5", "-o", "out.npy", "--log", "run.json"]) == 0
    expected = tomolearn.load(models["cnn"]).predict(SINOGRAMS)
    np.testing.assert_allclose(np.load("out.npy"), expected, atol=1e-5)
    ratio, similarity = (metric(CLEAN, expected, data_range=RANGE) for metric in (psnr, ssim))
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(
        f"PSNR {ratio:.2f} dB, SSIM {similarity:.4f}, means over 6 slices against library.h5:Images;"
    )
    assert line.endswith(f"data range {RANGE:.4g}, maximum minus minimum of all of it")
    run = json.loads((folder / "run.json").read_text())
    assert run["quality"] == pytest.approx({"psnr": ratio, "ssim": similarity, "data_range": RANGE}, rel=1e-5)
    assert (run["command"], run["status"], run["shape"]) == ("infer", "finished", [6, SIZE, SIZE])
    assert run["estimator"] == "CNNReconstructor" and run["device"] == "cpu" and run["seconds"] > 0
    assert run["data"] == [f"library: library.h5:Sinograms, 6 x {N_ANGLES} x {SIZE}, float32"]


def test_a_library_without_images_or_with_other_names(models, folder, capsys):
    with h5py.File("other.h5", "w") as file:
        file["measured"], file["Images"] = np.moveaxis(SINOGRAMS, 0, 2), np.zeros((8, 8, 6), np.float32)
        file["true"] = np.moveaxis(CLEAN, 0, 2)
    infer = ["infer", models["cnn"], "--library", "other.h5"]
    assert main([*infer, "-o", "a.npy"]) == 2
    assert "other.h5 holds no sinograms; name their dataset by --sinograms-dataset." in capsys.readouterr().err
    infer += ["--sinograms-dataset", "measured"]
    assert main([*infer, "-o", "a.npy"]) == 0
    told = capsys.readouterr().out
    assert "other.h5:Images has shape (6, 8, 8), the volume (6, 16, 16): they are not compared" in told
    assert "PSNR" not in told
    assert main([*infer, "-o", "b.npy", "--images-dataset", "true"]) == 0
    assert "against other.h5:true; data range" in capsys.readouterr().out
    assert main([*infer, "-o", "c.npy", "--images-dataset", "absent"]) == 0
    assert "PSNR" not in capsys.readouterr().out
    np.testing.assert_array_equal(np.load("a.npy"), np.load("b.npy"))


def test_samples_last_name_the_option_that_reads_them(models, folder, capsys):
    assert main(["infer", models["cnn"], "--sinograms", "library.h5:Sinograms", "-o", "x.npy"]) == 2
    assert "as libraries of superres-tomo have them; name the file by --library." in capsys.readouterr().err
    assert not os.path.exists("x.npy")


# --------------------------------------------------------------------------------------------------- integers and truth


@pytest.mark.parametrize(("kind", "source"), [("denoiser", "-ld=noisy.npy"), ("fbp", "--library=library.h5")])
def test_integers_span_the_range_and_are_compared_as_the_values_they_stand_for(kind, source, models, folder, capsys):
    source = source.split("=")
    exact = tomolearn.load(models[kind]).predict(NOISY if kind == "denoiser" else SINOGRAMS)
    low, high = (round(float(value), 3) for value in np.quantile(exact, (0.1, 0.9)))
    infer = ["infer", models[kind], *source, "--truth", "clean.npy"]
    assert main([*infer, "-o", "out.npy", "--dtype", "uint16", "--range", str(low), str(high)]) == 0
    stored = np.load("out.npy")
    scale = (high - low) / 65535
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored, np.clip(np.rint((exact.astype(float) - low) / scale), 0, 65535))
    ratio = psnr(CLEAN, np.clip(exact, low, high), data_range=RANGE)
    told = capsys.readouterr().out.splitlines()
    beyond = np.count_nonzero((exact < low - scale / 2) | (exact > high + scale / 2))
    assert (
        beyond and told[-2] == f"{beyond} values clipped to --range" and told[-1].startswith(f"PSNR {ratio:.2f} dB, ")
    )


def test_a_perfect_result_has_no_finite_psnr(models, folder, capsys):
    assert main(["infer", models["denoiser"], "-ld", "noisy.npy", "-o", "out.npy", "--quiet"]) == 0
    again = ["-o", "again.npy", "--truth", "out.npy", "--log", "run.json"]
    assert main(["infer", models["denoiser"], "-ld", "noisy.npy", *again]) == 0
    exact = np.load("out.npy")
    ratio, similarity = (metric(exact, NOISY, data_range=float(np.ptp(exact))) for metric in (psnr, ssim))
    before = f"(before: PSNR {ratio:.2f} dB, SSIM {similarity:.4f})"
    assert f"PSNR infinite, SSIM 1.0000 {before}, means over 6 slices against out.npy" in capsys.readouterr().out
    run = json.loads((folder / "run.json").read_text())
    assert run["quality"]["psnr"] is None and run["quality_before"]["psnr"] == pytest.approx(ratio)


def test_pipelines_store_integers_and_meet_a_truth(folder, capsys):
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(tomolearn.FBPReconstructor()).fit(SINOGRAMS)
    tomolearn.save(pipeline, "model.tomo")
    stored = ["--dtype", "uint8", "--range", "0", "1"]
    assert main(["infer", "model.tomo", "--library", "library.h5", "-o", "out.h5", *stored]) == 0
    told = capsys.readouterr().out
    assert "wrote out.h5: 6 slices by a Pipeline in " in told and "\nPSNR " in told and " clipped to --range" in told
    with h5py.File("out.h5") as file:
        facts = json.loads(file["process/tomolearn/metadata"][()])
        found = file["exchange/data"][:] * facts["scale"] + facts["offset"]
    np.testing.assert_allclose(found, np.clip(pipeline.predict(SINOGRAMS), 0, 1), atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dtype", "uint8"], "--dtype uint8 needs --range LOW HIGH, the values that its integers span."),
        (["--range", "0", "1"], "--range is for --dtype uint8 and uint16; got float32."),
        (
            ["--dtype", "uint8", "--range", "1", "0"],
            "--range must be two finite numbers, the lower one first; got 1 0.",
        ),
        (["--truth", "short.npy"], "--truth must have the shape (6, 16, 16) of the volume; short.npy has (5, 16, 16)."),
        (["--truth", "flat.npy"], "--truth must vary: every pixel of flat.npy is 0, which gives no data range."),
        (["--truth", "holes.npy"], "--truth must be finite; slice 2 of holes.npy is not."),
        (["--truth", "absent.npy"], "absent.npy"),
        (["--log", "x.npy"], "--log must have another name than x.npy, which is written too"),
        (["--log", "noisy.npy"], "--log noisy.npy would replace noisy.npy, which is read; choose another name."),
        (["--truth", "x.npy", "--overwrite"], "--output x.npy would replace x.npy, which is read"),
        (["--library", "library.h5"], "--sinograms, --library and --scan; got 2 of them."),
    ],
)
def test_what_is_refused_before_anything_is_written(options, message, models, folder, capsys):
    np.save("short.npy", CLEAN[:5])
    np.save("flat.npy", np.zeros_like(CLEAN))
    np.save("holes.npy", np.where(np.arange(6)[:, None, None] == 2, np.nan, CLEAN))
    if "x.npy" in options[:2] and options[0] == "--truth":
        np.save("x.npy", CLEAN)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["infer", models["denoiser"], "-ld", "noisy.npy", "-o", "x.npy", *options]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_small_slices_and_labels_have_no_truth(models, folder, capsys):
    np.save("narrow.npy", NOISY[:, :6])
    assert main(["infer", models["denoiser"], "-ld", "narrow.npy", "--truth", "narrow.npy", "-o", "x.npy"]) == 2
    assert "--truth needs slices of 7 x 7 pixels at least, for SSIM; got (6, 16)." in capsys.readouterr().err
    for options in (["--truth", "clean.npy"], ["--dtype", "uint8", "--range", "0", "1"]):
        assert main(["infer", models["unet"], "-ld", "noisy.npy", "-o", "x.npy", *options]) == 2
        assert (
            f"{options[0]} is not for the labels that a UNetSegmenter gives; leave it out." in capsys.readouterr().err
        )
    assert main(["infer", models["unet"], "-ld", "noisy.npy", "-o", "x.npy", "--quiet"]) == 0
    assert np.load("x.npy").dtype == np.uint8


# -------------------------------------------------------------------------------------------------------------- records


def test_records_of_labels_and_of_a_reconstruction(models, folder):
    segment = ["segment", models["unet"], "-i", "noisy.npy", "-o", "labels.npy", "--log", "labels.json", "--quiet"]
    assert main(segment) == 0
    run = json.loads((folder / "labels.json").read_text())
    assert (run["command"], run["estimator"], run["shape"]) == ("segment", "UNetSegmenter", [6, 16, 16])
    assert run["labels"] == {"0": "0", "1": "1"} and run["output"] == "labels.npy"
    scan = simulate_scan(2, 32, 40, n_flats=2, n_darks=2, random_state=0)
    write_scan("scan.h5", scan.counts, angles=scan.angles, flats=scan.flats, darks=scan.darks)
    options = ["--center", "15.5", "--set", "cutoff=0.5", "--filter", "hann", "--log", "recon.json", "--quiet"]
    assert main(["reconstruct", "scan.h5", "-o", "recon.npy", *options]) == 0
    run = json.loads((folder / "recon.json").read_text())
    assert (run["command"], run["center"], run["shape"]) == ("reconstruct", 15.5, [2, 32, 32])
    assert run["steps"] == ["flat (mean)", "log", "fbp (hann)"] and run["parameters"]["cutoff"] == 0.5
    assert run["versions"]["tomolearn"] == tomolearn.__version__ and run["device"] is None
    line_integrals = tomolearn.FlatFieldCorrector().fit(scan.counts, flats=scan.flats, darks=scan.darks)
    line_integrals = tomolearn.MinusLog().fit_transform(line_integrals.transform(scan.counts))
    fbp = tomolearn.FBPReconstructor(
        filter="hann", cutoff=0.5, padding="edge", center=15.5, angles=scan.angles, angle_unit="rad"
    )
    np.testing.assert_allclose(np.load("recon.npy"), fbp.fit_transform(line_integrals), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "cut_off=0.5"], "--set cut_off: FBPReconstructor has no such parameter; did you mean cutoff?"),
        (["--set", "filter=hann", "--filter", "hann"], "--filter and --set filter are the same parameter"),
        (["--set", "center=3"], "--center says this of the scan, and --set or --config center too; use the option."),
        (["--algorithm", "sirt", "--filter", "hann"], "--filter is for --algorithm fbp; got sirt."),
        (["--algorithm", "tv", "--method", "fourier"], "--method is for --algorithm fbp; got tv."),
        (["--log", "x.npy"], "--log must have another name than x.npy, which is written too"),
    ],
)
def test_parameters_of_a_reconstruction_that_are_refused(options, message, folder, capsys):
    assert main(["reconstruct", "absent.h5", "-o", "x.npy", *options]) == 2
    assert message in capsys.readouterr().err

"""docs/coming_from.rst: each row of its tables is run, and does what the page promises.

A row's new call is read from the page and run in a world of small files and fitted estimators; what it gives is judged
by the check that stands here under the row's old call. A row without a check is an error, and so is a check without a
row.
"""

import shlex
from pathlib import Path

import docutils.core
import docutils.nodes
import h5py
import numpy as np
import pytest
import tifffile
import torch
from sklearn.base import clone

import tomolearn
from tomolearn import losses, networks, simulation
from tomolearn.cli.main import main
from tomolearn.denoising import EpochPictures

PAGE = Path(__file__).parents[1] / "docs" / "coming_from.rst"
FAST = {"max_epochs": 1, "batch_size": 4, "device": "cpu", "early_stopping": False, "random_state": 0}
SIDE, N = 32, 4  # what AlexNet takes at least


def read_rows():
    """(old call, new call) of every row of the tables of the page."""
    page = docutils.core.publish_doctree(PAGE.read_text(), settings_overrides={"report_level": 5, "halt_level": 5})
    for table in page.findall(docutils.nodes.tgroup):
        for row in table.next_node(docutils.nodes.tbody):
            old, new = row
            (call,) = new.findall(docutils.nodes.literal)
            assert new.astext() == call.astext(), f"more than a call: {new.astext()}"
            yield old.astext(), call.astext()


ROWS = dict(read_rows())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(folder, names) that the rows find: images, files of them, and fitted estimators."""
    folder, rng = tmp_path_factory.mktemp("migration"), np.random.default_rng(0)
    y = rng.random((N, SIDE, SIDE)).astype(np.float32)
    X = y + 0.1 * rng.normal(size=y.shape).astype(np.float32)
    simulation.write_library(folder / "shapes.h5", y)
    for file, datasets in {
        "pairs.h5": {"train_ns": X, "train_gt": y, "test_ns": X[:2]},
        **{name: {"images": X} for name in ("low.h5", "prod.h5", "noisy.h5")},
        "normal.h5": {"images": y},
    }.items():
        with h5py.File(folder / file, "w") as opened:
            for name, values in datasets.items():
                opened[name] = values
    masks = (y > 0.5).astype(np.uint8)
    for kind, stack in (("images", X), ("masks", masks)):
        (folder / kind).mkdir()
        for k, picture in enumerate(stack):
            tifffile.imwrite(folder / kind / f"{k}.tif", picture)
    denoiser = tomolearn.TomoGANDenoiser(adversarial_weight=0, perceptual_weight=0, patch_shape=(16, 16), **FAST)
    segmenter = tomolearn.UNetSegmenter(base_channels=4, n_levels=2, patch_shape=(16, 16), **FAST)
    names = {name: getattr(tomolearn, name) for name in tomolearn.__all__}
    for room in (simulation, losses, networks):
        names |= {name: getattr(room, name) for name in room.__all__}
    names |= {
        "np": np,
        "EpochPictures": EpochPictures,
        "X": X,
        "y": y,
        "images": np.concatenate([X, y] * 8),
        "weights": np.ones_like(y),
        "labels": masks,
        "y_true": masks,
        "y_pred": 1 - masks,
        "estimator": tomolearn.DenseReconstructor(width=8, n_filters=4, **FAST).fit(X, y),
        "denoiser": denoiser.fit(X, y),
        "vae": tomolearn.VAEDenoiser(patch_shape=(SIDE, SIDE), latent_dim=2, **FAST).fit(X, y),
        "segmenter": segmenter.fit(X, masks),
    }
    denoiser.save(folder / "model.tomo")
    return folder, names


def run(call, names):
    """The value of a call of the page, or the exit status of a command."""
    if call.startswith("tomolearn "):
        small = ["--epochs", "1", "--set", "patch_shape=[16,16]", "--set", "perceptual=random"]
        return main([*shlex.split(call)[1:], *(small if " train " in call else []), "--quiet", "--overwrite"])
    return eval(call, dict(names))


def learns(**expected):
    """A check: the estimator has these parameters, and a smaller one of them learns and predicts."""

    def check(estimator, folder, names):
        parameters = estimator.get_params()
        assert {name: parameters[name] for name in expected} == expected
        small = {"width": 8, "n_filters": 4, "base_channels": 2, "channels": (4, 4, 4, 4, 4), "widths": (8, 8, 8)}
        small |= {"perceptual": "random", "patch_shape": (32, 32), "precision": "float32"} | FAST
        small = {name: value for name, value in small.items() if name in parameters and name not in expected}
        small["max_epochs"] = 1
        if "patch_range" in parameters:
            small["patch_shape"] = (8, 8)
        targets = {
            "UNetSegmenter": names["y_true"],
            "AlexNetClassifier": np.arange(N) % 2,
            "AlexNetRegressor": np.arange(N, dtype=float),
        }
        y = targets.get(type(estimator).__name__, names["y"])
        found = clone(estimator).set_params(**small).fit(names["X"], y).predict(names["X"])
        assert found.shape == y.shape

    return check


def builds(**expected):
    """A check of parameters alone, where images would have to be larger than those of the test."""

    def check(estimator, folder, names):
        assert {name: estimator.get_params()[name] for name in expected} == expected

    return check


def is_library(n, closed):
    def check(written, folder, names):
        images, sinograms = tomolearn.open_library(folder / ("old.h5" if closed else "new.h5"))
        assert images.shape == sinograms.shape == (n, 32, 32)
        repeated = np.allclose(sinograms[:][:, -1], sinograms[:][:, 0, ::-1], rtol=1e-4, atol=1e-4)
        assert repeated == closed

    return check


def loss_is(expected):
    """A check: the loss of p = 0.8 everywhere and labels of 1 everywhere."""

    def check(loss, folder, names):
        found = loss(torch.full((1, 4, 4), 0.8), torch.ones(1, 4, 4, dtype=torch.bool))
        assert found.item() == pytest.approx(expected, rel=1e-4)

    return check


def has_shape(*shape):
    def check(value, folder, names):
        assert value.shape == shape

    return check


def writes(file, shape):
    def check(value, folder, names):
        assert value == 0 or Path(value).name == file
        with tomolearn.open_volume(folder / file) as volume:
            assert volume.shape == shape

    return check


def writes_model(file):
    def check(value, folder, names):
        assert value in (0, None)
        assert tomolearn.load(folder / file).predict(names["X"]).shape == names["X"].shape

    return check


def has_parameters(count):
    def check(network, folder, names):
        assert sum(p.numel() for p in network.parameters()) == count

    return check


def is_pairs(value, folder, names):
    np.testing.assert_array_equal(value[0][:], names["X"])
    np.testing.assert_array_equal(value[1][:], names["y"])


def is_stack(value, folder, names):
    np.testing.assert_array_equal(value[:], names["X"])


def is_fitted(value, folder, names):
    assert value.history_["loss"]


def wrote(file):
    def check(value, folder, names):
        assert (folder / file).exists() and value.history_["loss"]

    return check


def labels_and_pictures(value, folder, names):
    assert set(np.unique(tifffile.imread(folder / "labels.tif"))) <= {0, 1}
    assert len(list((folder / "pictures").iterdir())) >= 1


def is_library_of_test(value, folder, names):
    images, sinograms = value
    np.testing.assert_array_equal(images[:], names["y"])
    assert sinograms.axes == ("samples", "angles", "detectors")


def is_zero(value, folder, names):
    assert value == 0


def is_denoising_set(value, folder, names):
    assert value[0].shape == value[1].shape == (20, 64, 64)


def predicts(value, folder, names):
    assert value.predict(names["X"]).shape == STACK


STACK = (N, SIDE, SIDE)
CHECKS = {
    'read_reconstruct_library("shapes.h5")': is_library_of_test,
    "LibShapes.py": is_library(100, closed=False),
    "the same with noise on the images and views from 0 to 180 degrees, as published": is_library(100, closed=True),
    "automap(ntr, npr)": learns(layout="superres"),
    "reconstruct_cnn(ntr, npr)": learns(dropout=0.1),
    "dense_reconstruct(ntr, npr)": learns(learning_rate=2.5e-5),
    'model.compile(optimizer=Adam(lr=2.5e-5), loss="mean_squared_error")': learns(loss="mse"),
    "EarlyStopping(patience=3)": builds(early_stopping=True, n_iter_no_change=3),
    "model.fit(X, y, epochs=100, batch_size=32, validation_split=0.1)": is_fitted,
    "model.predict(X)": has_shape(*STACK),
    'model.save("model.h5")': writes_model("model.tomo"),
    'load_model("model.h5")': predicts,
    "alex_net_classify(img_h, img_w, n_classes=2)": learns(),
    "alex_net_regress(img_h, img_w, n_classes=1)": learns(),
    "unet(...)": learns(n_levels=5, dropout=0.5),
    "unet_3layer(...)": builds(n_levels=3, dropout=0.5),
    "unet_4layer(...)": builds(n_levels=4, pools=((2, 2), (1, 2), (2, 2))),
    "unet_weight_map(...)": is_fitted,
    'mask_patch_from_file(path, "images", "masks", (16, 16), ..., patch_range=[])': is_fitted,
    "patch_range=[0, 1, 4]": learns(patch_range=[0, 1, 4], overlap=0),
    "inference_binary_segmentation(path, ...)": labels_and_pictures,
    "image_to_windows(...)": has_shape(N, 9, 16, 16),
    'build_list_images(path, types=[".tiff"]), then build_autoencoder_data(files)': is_stack,
    "weighted_cross_entropy(beta)": loss_is(-2 * np.log(0.8)),
    "balanced_cross_entropy(beta)": loss_is(-0.7 * np.log(0.8)),
    "dice_coef(y_true, y_pred)": is_zero,
    "the Dice loss of its manual": loss_is(1 - (2 * 12.8 + 1) / (12.8 + 16 + 1)),
    "CVAE(latent_dim, (64, 64, 1))": builds(latent_dim=16, patch_shape=(64, 64), likelihood="bernoulli"),
    "vae_train(model, X, labels, xtest, ltest, 500, Adam(lr=1e-4))": learns(likelihood="bernoulli", learning_rate=1e-4),
    "vae_inference(model, X)": has_shape(*STACK),
    "the same, which draws another image each time": has_shape(*STACK),
    "data/denoising/generatedata.py": is_denoising_set,
    "dimension_reducer(images)": builds(perplexity=50.0, method="exact", features="efficientnet"),
    "dimension_reducer(images, n_components_tsne=3, perplexity=20, n_iter=500)": has_shape(64, 3),
    "python train.py -ld low.h5 -nd normal.h5": writes_model("model.tomo"),
    "python infer.py -ld prod.h5": writes("out.h5", STACK),
    "python main-gan.py -dsfn pairs.h5": writes_model("pairs.tomo"),
    "python infer.py -mdl model.h5 -dsfn pairs.h5": writes("dn.h5", (2, SIDE, SIDE)),
    'h5py.File("pairs.h5")["train_ns"] and ["train_gt"]': is_pairs,
    "-xtrain noisy.h5, whose dataset is images": is_stack,
    "-depth 3": builds(n_adjacent=3),
    "-psz 256 -mbsz 16": builds(patch_shape=(256, 256), batch_size=16),
    "-itg 1 -itd 2": builds(n_critic=2),
    "-lmse 0.5 -ladv 20 -lperc 2, cross entropy": builds(adversarial="vanilla", adversarial_weight=6e-4),
    "the losses of the paper": learns(adversarial="wasserstein", gradient_penalty=10.0),
    "-lunet 3 and upsampling by nearest neighbours, as in the OpenCL port": builds(upsampling="nearest"),
    "use_cnnt=True": builds(upsampling="transposed"),
    "-gpus 0": builds(device="auto"),
    "Adam(1e-4)": builds(optimizer="adam", learning_rate=1e-4, critic_learning_rate=1e-4),
    "a model every 500 iterations": wrote("training.pt"),
    "pictures every 500 iterations": wrote("pictures/epoch-0001.png"),
    'dlhub.run("tomoGAN", ld_img)': has_shape(*STACK),
    "the generator of models.py": has_parameters(694_897),
    "its discriminator, for patches of 256 pixels": has_parameters(673_477),
}


def test_each_row_has_a_check_and_each_check_a_row():
    assert list(ROWS) == list(CHECKS)


@pytest.mark.parametrize("old", CHECKS)
def test_row(old, world, monkeypatch):
    folder, names = world
    monkeypatch.chdir(folder)
    CHECKS[old](run(ROWS[old], names), folder, names)


@pytest.mark.parametrize(
    "old, value", [("-depth 3", tomolearn.TomoGANDenoiser()), ("model.predict(X)", np.zeros(3)), ("unet(...)", 1)]
)
def test_checks_can_fail(old, value, world):
    with pytest.raises((AssertionError, AttributeError)):
        CHECKS[old](value, *world)

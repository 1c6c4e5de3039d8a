"""Networks of segmentation and classification: superres-tomo's U-Nets and AlexNet."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tomolearn.networks import AlexNet, SegmentationUNet, build_network
from tomolearn.networks.alexnet import _axes
from tomolearn.tiling import plan_tiles

ANISOTROPIC = ((2, 2), (1, 2), (2, 2))
NARROW = {"channels": (4, 6, 5, 7, 3), "widths": (11, 9, 8)}


def count(network):
    return sum(p.numel() for p in network.parameters())


def weights(network, scale=0.05):
    """The parameters moved away from their start, biases included, and what batch normalisation has seen."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
        for name, buffer in network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.uniform_(0.1, 0.6)
    return network


def layers_of(network):
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d)]


# ------------------------------------------------------------------------------------------ U-Nets: what they are

# Weights and biases by hand. Of a 3x3 convolution from a to b channels 9 a b + b, of a 2x2 one 4 a b + b.
DOWN = {0: 640 + 36_928, 1: 73_856 + 147_584, 2: 295_168 + 590_080, 3: 1_180_160 + 2_359_808, 4: 4_719_616 + 9_438_208}
UP = {
    0: 32_832 + 73_792 + 36_928,
    1: 131_200 + 295_040 + 147_584,
    2: 524_544 + 1_179_904 + 590_080,
    3: 2_097_664 + 4_719_104 + 2_359_808,
}
HEAD = 1_154 + 3  # to two channels, then to one


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"n_levels": 3}, 1_862_789),
        ({"n_levels": 4, "pools": ANISOTROPIC}, 7_697_285),
        ({"n_levels": 5}, 31_031_685),
    ],
)
def test_counts_of_the_published_networks(config, expected):
    levels = config["n_levels"]
    by_hand = sum(DOWN[level] for level in range(levels)) + sum(UP[level] for level in range(levels - 1)) + HEAD
    assert by_hand == expected
    with torch.device("meta"):
        assert count(SegmentationUNet(**config)) == expected


@pytest.mark.parametrize(
    ("config", "further"),
    [
        ({"in_channels": 5}, 4 * 9 * 64),
        ({"n_outputs": 2}, 3),
        ({"n_outputs": 5}, 3 * (9 * 64 + 1) + 5 * 6 - 3),  # three channels more in the head
        ({"n_outputs": 5, "head_channels": 2}, 4 * 3),
        ({"normalization": "batch"}, 5 * 64 + 5 * 128 + 2 * 256 + 2),  # scale and shift instead of a bias
    ],
)
def test_counts_of_variants(config, further):
    with torch.device("meta"):
        assert count(SegmentationUNet(**config)) == 1_862_789 + further


def plain_unet(layers, x, pools, without=()):
    """The table of the docstring, layer by layer; the levels ``without`` are zero after their convolutions."""

    def convolutions(x, n):
        for _ in range(n):
            layer = layers.pop(0)
            x = functional.conv2d(x, layer.weight, layer.bias, padding=1).relu()
        return x

    n_levels, levels = len(pools) + 1, []
    down, layers = layers[: 2 * n_levels], layers[2 * n_levels :]
    ups, decoder, head = layers[: n_levels - 1], layers[n_levels - 1 : -2], layers[-2:]
    layers = down
    for level in range(n_levels):
        if level:
            n, c, h, w = x.shape
            i, j = pools[level - 1]
            x = x.reshape(n, c, h // i, i, w // j, j).amax((3, 5))
        x = convolutions(x, 2) * (level not in without)
        levels.append(x)
    x = levels.pop()
    for level in reversed(range(n_levels - 1)):
        i, j = pools[level]
        x = functional.pad(x.repeat_interleave(i, 2).repeat_interleave(j, 3), (0, 1, 0, 1))
        x = functional.conv2d(x, ups[level].weight, ups[level].bias).relu()
        layers = decoder[2 * level : 2 * level + 2]
        x = convolutions(torch.cat([levels.pop(), x], 1), 2)
    layers = head[:1]
    return functional.conv2d(convolutions(x, 1), head[1].weight, head[1].bias)


@pytest.mark.parametrize(
    ("n_levels", "pools", "shape"),
    [(3, None, (12, 8)), (4, ANISOTROPIC, (8, 24)), (4, ((2, 1), (2, 2), (1, 2)), (8, 12)), (1, None, (5, 3))],
)
def test_unet_is_the_documented_one(n_levels, pools, shape):
    network = SegmentationUNet(2, 3, n_levels=n_levels, base_channels=4, pools=pools)
    network = weights(network.double().eval())
    x = torch.randn(2, 2, *shape, dtype=torch.float64)
    pools = pools or ((2, 2),) * (n_levels - 1)
    expected = plain_unet(layers_of(network), x, pools)
    assert expected.std() > 0.01
    torch.testing.assert_close(network(x), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("n_levels", "dropped"), [(3, (2,)), (4, (3,)), (5, (3, 4))])
def test_dropout_where_the_published_networks_have_it(n_levels, dropped):
    network = weights(SegmentationUNet(n_levels=n_levels, base_channels=2, dropout=1.0).double().train())
    x = torch.randn(1, 1, 32, 16, dtype=torch.float64)
    expected = plain_unet(layers_of(network), x, ((2, 2),) * (n_levels - 1), without=dropped)
    torch.testing.assert_close(network(x), expected, rtol=1e-10, atol=1e-12)
    assert (network.eval()(x) - expected).abs().max() > 1e-6


@pytest.mark.parametrize("shape", [(1, 1), (1, 20), (3, 9), (4, 8), (13, 17)])
def test_unet_continues_the_image_by_its_mirror_image(shape):
    network = weights(SegmentationUNet(n_levels=4, base_channels=2, pools=ANISOTROPIC).double().eval())
    x = torch.rand(1, 1, *shape, dtype=torch.float64)
    padded = x.numpy()
    for axis, (size, multiple) in enumerate(zip(shape, (4, 8), strict=True), start=2):
        added = [(0, 0)] * 4
        added[axis] = (0, -size % multiple)
        padded = np.pad(padded, added, mode="reflect" if -size % multiple < size else "edge")
    expected = network(torch.from_numpy(padded))[:, :, : shape[0], : shape[1]]
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("n_outputs", [1, 2, 5])
def test_unet_starts_as_documented(n_outputs):
    torch.manual_seed(0)
    network = SegmentationUNet(n_outputs=n_outputs)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        elif name.startswith("scores"):
            assert parameter.abs().max() <= (6 / sum(parameter.shape[:2])) ** 0.5 and parameter.all()
        else:
            spread = (2 / parameter[0].numel()) ** 0.5
            assert 0.9 * spread < parameter.std() < 1.1 * spread
    # Where one channel of the head is below zero, its twin is above: no pixel is without a gradient.
    above = network.head[0](torch.rand(1, 64, 9, 9)) > 0
    half = max(2, n_outputs) // 2
    assert torch.equal(above[:, :half], ~above[:, half : 2 * half])
    scores = network.scores.weight
    assert torch.equal(scores[:, :half], -scores[:, half : 2 * half])


# ----------------------------------------------------------------------------------------------- U-Nets on tiles


def needed_radius(network, axis):
    """The largest distance, along an axis, of an input pixel that an output pixel depends on.

    All weights are one, and the mean stands for the maximum: the gradient is positive where any path leads.
    """
    network = network.double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0 if parameter.ndim > 1 else 0.0)
    multiple = network.size_multiple
    start = (network.receptive_radius // multiple + 2) * multiple  # beyond the radius from either end
    shape = [multiple, 1, 1, 1]
    shape[axis] = 2 * start + multiple
    x = torch.ones(shape, dtype=torch.float64, requires_grad=True)
    result = network(x).reshape(multiple, -1)
    torch.stack([result[i, start + i] for i in range(multiple)]).sum().backward()
    target, source = torch.nonzero(x.grad.reshape(multiple, -1), as_tuple=True)
    return int((source - start - target).abs().max())


@pytest.mark.parametrize(
    ("config", "radii"),
    [
        ({"n_levels": 1}, (3, 3)),
        ({"n_levels": 3}, (27, 27)),
        ({"n_levels": 4, "pools": ANISOTROPIC}, (37, 59)),
        ({"n_levels": 4, "pools": ((2, 1), (1, 2), (2, 1))}, (37, 26)),
        ({"n_levels": 5}, (123, 123)),
    ],
)
def test_unet_receptive_radius(config, radii, monkeypatch):
    monkeypatch.setattr(functional, "max_pool2d", functional.avg_pool2d)
    network = SegmentationUNet(base_channels=1, **config)
    assert (needed_radius(network, 2), needed_radius(network, 3)) == radii
    assert network.receptive_radius == max(radii)


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        ({"n_levels": 3}, (97, 130)),
        ({"n_levels": 3, "normalization": "batch"}, (74, 120)),
        ({"n_levels": 4, "pools": ANISOTROPIC, "in_channels": 3, "n_outputs": 3}, (60, 261)),
    ],
)
def test_tiles_give_what_the_image_gives(config, shape):
    network = weights(SegmentationUNet(base_channels=8, **config).eval())
    x = torch.randn(1, config.get("in_channels", 1), *shape)
    with torch.no_grad():
        whole = network(x)
        tiled = torch.full_like(whole, torch.nan)
        plan = plan_tiles(shape, (33, 40), network.receptive_radius, multiple=network.size_multiple)
        assert len(plan) > 4 and math.prod(plan.largest_read) < 0.8 * math.prod(shape)
        for tile in plan:
            tiled[0, :, *tile.write] = network(x[:, :, *tile.read])[0, :, *tile.crop]
    assert whole.std() > 0.05
    torch.testing.assert_close(tiled, whole, rtol=1e-5, atol=1e-5 * float(whole.abs().max()))


def test_a_tile_that_starts_between_multiples_differs():
    network = weights(SegmentationUNet(base_channels=4).double().eval())
    x = torch.randn(1, 1, 8, 120, dtype=torch.float64)
    shifted = network(x[..., 1:])[..., 59:79]
    assert (shifted - network(x)[..., 60:80]).abs().max() > 1e-6


# --------------------------------------------------------------------------------------- AlexNet: what it is


@pytest.mark.parametrize(
    ("image_shape", "in_channels", "n_outputs", "features"),
    [
        ((300, 300), 3, 2, (2, 24)),
        ((400, 320), 1, 4, (7, 27)),
        ((280, 111), 3, 2, (1, 1)),  # the least that leaves a pixel
    ],
)
def test_count_of_the_published_alexnet(image_shape, in_channels, n_outputs, features):
    convolutions = 15 * 5 * in_channels * 96 + 96 + 2_973_952 + 885_120 + 1_327_488 + 884_992
    dense = 256 * features[0] * features[1] * 1096 + 1096 + 1_202_312 + 1_097_000 + 1001 * n_outputs
    normalisation = 2 * (96 + 384 + 1096 + 1000)
    with torch.device("meta"):
        network = AlexNet(n_outputs, image_shape=image_shape, in_channels=in_channels)
    assert network.feature_shape == (256, *features)
    assert count(network) == convolutions + dense + normalisation
    if image_shape == (300, 300):
        assert count(network) == 21_868_458


def plain_alexnet(network, x, first_stride, padded):
    """The table of the docstring in evaluation; ``padded``: whether convolutions keep rows, and columns."""

    def convolve(x, layer, stride=1):
        for axis, keep in enumerate(padded):
            if keep and stride == 1:
                n = layer.weight.shape[2 + axis] // 2
                x = functional.pad(x, (0, 0, n, n) if axis == 0 else (n, n))
        return functional.conv2d(x, layer.weight, layer.bias, stride=stride).relu()

    def normalise(x, layer):
        shape = (1, -1) + (1,) * (x.ndim - 2)
        mean, variance, scale, shift = (
            v.reshape(shape) for v in (layer.running_mean, layer.running_var, layer.weight, layer.bias)
        )
        return (x - mean) / (variance + 1e-3).sqrt() * scale + shift

    layers = layers_of(network)
    x = normalise(functional.max_pool2d(convolve(x, layers[0], first_stride), 4, 2), layers[1])
    x = functional.max_pool2d(convolve(x, layers[2]), 2, 2)
    x = normalise(convolve(convolve(x, layers[3]), layers[4]), layers[5])
    x = functional.max_pool2d(convolve(x, layers[6]), 2, 1).flatten(1)
    x = (x @ layers[7].weight.T + layers[7].bias).relu()
    x = normalise((x @ layers[8].weight.T + layers[8].bias).relu(), layers[9])
    features = normalise((x @ layers[10].weight.T + layers[10].bias).relu(), layers[11])
    return features, features @ layers[12].weight.T + layers[12].bias


@pytest.mark.parametrize(
    ("image_shape", "first", "stride", "second", "padded"),
    [
        ((281, 113), (15, 5), (5, 2), (11, 11), (False, False)),
        ((279, 110), (15, 5), (5, 2), (5, 5), (True, True)),
        ((32, 32), (3, 3), (1, 1), (5, 5), (True, True)),
        ((57, 56), (3, 3), (2, 2), (5, 5), (True, True)),
        ((140, 111), (7, 5), (3, 2), (5, 11), (True, False)),
        ((280, 55), (15, 3), (5, 1), (11, 5), (False, True)),
    ],
)
def test_alexnet_is_the_documented_one(image_shape, first, stride, second, padded):
    network = weights(AlexNet(3, image_shape=image_shape, in_channels=2, **NARROW).double().eval(), 0.2)
    kernels = [tuple(m.weight.shape[2:]) for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [first, second, (3, 3), (3, 3), (3, 3)]
    x = torch.randn(2, 2, *image_shape, dtype=torch.float64)
    features, scores = plain_alexnet(network, x, stride, padded)
    assert features.std() > 1e-3 and scores.shape == (2, 3)
    torch.testing.assert_close(network.features(x), features, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(network(x), scores, rtol=1e-10, atol=1e-12)


def test_alexnet_leaves_pixels_along_every_side():
    left = [_axes((n, n))[1] for n in range(32, 400)]
    rows, columns = zip(*left, strict=True)
    short = rows[: 280 - 32] + columns[: 111 - 32]
    assert (min(short), max(short)) == (5, 12)
    assert min(rows[280 - 32 :]) == min(columns[111 - 32 :]) == 1


def test_alexnet_dropout_in_training():
    network = AlexNet(2, image_shape=(40, 36), dropout=1.0, **NARROW).train()
    first = [network(torch.randn(3, 1, 40, 36)) for _ in range(2)]
    # Without what the first and the third dense layer give, no image leaves a trace.
    torch.testing.assert_close(first[0], first[1], rtol=0, atol=0)
    assert not torch.equal(first[0].detach(), network.eval()(torch.randn(3, 1, 40, 36)))


def test_alexnet_trains_on_a_single_image_as_it_predicts():
    network = weights(AlexNet(2, image_shape=(40, 36), dropout=0.0, **NARROW).double())
    for module in network.convolutions.modules():
        if isinstance(module, nn.BatchNorm2d):  # has a variance over the pixels of one image
            module.eval()
    x = torch.randn(1, 1, 40, 36, dtype=torch.float64)
    before = {name: buffer.clone() for name, buffer in network.dense.named_buffers() if "running" in name}
    trained = network(x)
    trained.square().sum().backward()
    torch.testing.assert_close(trained, network.eval()(x), rtol=0, atol=1e-12)
    for name, buffer in network.dense.named_buffers():
        if name in before:
            assert torch.equal(buffer, before[name])
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_alexnet_starts_as_documented():
    torch.manual_seed(0)
    network = AlexNet(40, image_shape=(32, 32))
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1:
            assert torch.equal(parameter, torch.full_like(parameter, float("norm" in name or _scales(network, name))))
            continue
        area = parameter[0, 0].numel() if parameter.ndim == 4 else 1
        spread = (2 / (area * sum(parameter.shape[:2]))) ** 0.5
        assert 0.9 * spread < parameter.std() < 1.1 * spread
        uniform = float(parameter.detach().abs().max()) <= 3**0.5 * spread * 1.0001
        assert uniform == name.startswith("output")


def _scales(network, name):
    """Whether a parameter is the scale of a batch normalisation."""
    module, _, kind = name.rpartition(".")
    return kind == "weight" and isinstance(network.get_submodule(module), nn.BatchNorm1d | nn.BatchNorm2d)


# ------------------------------------------------------------------------------------------------- both

CASES = {
    "unet": ("SegmentationUNet", {"n_outputs": 3, "base_channels": 8}, (1, 21, 34)),
    "unet-anisotropic": (
        "SegmentationUNet",
        {"in_channels": 2, "n_levels": 4, "base_channels": 4, "pools": ANISOTROPIC, "normalization": "batch"},
        (2, 30, 19),
    ),
    "unet-smallest": ("SegmentationUNet", {"n_levels": 5, "base_channels": 4}, (1, 1, 1)),
    "alexnet": ("AlexNet", {"n_outputs": 3, "image_shape": (40, 36), **NARROW}, (1, 40, 36)),
    "alexnet-published": (
        "AlexNet",
        {"n_outputs": 1, "image_shape": (280, 111), "channels": (96, 16, 16, 16, 16), "widths": (20, 20, 10)},
        (1, 280, 111),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_training_with_channels_last(case):
    name, config, shape = CASES[case]
    torch.manual_seed(0)
    network = build_network(name, config)
    x = torch.randn(4, *shape)
    exact = network.eval()(x)
    network = network.to(memory_format=torch.channels_last)
    x = x.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        assert (network(x) - exact).norm() < 0.05 * exact.norm()
        close = network.train()(x)
    close.float().square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()


@pytest.mark.parametrize("case", CASES)
def test_round_trip(case):
    """Through JSON and a state dict, as in a model file."""
    name, config, shape = CASES[case]
    network = weights(build_network(name, config)).eval()
    twin = build_network(name, json.loads(json.dumps(config))).eval()
    x = torch.randn(2, *shape)
    assert not torch.equal(twin(x), network(x))
    twin.load_state_dict(network.state_dict())
    torch.testing.assert_close(twin(x), network(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("build", "error", "match"),
    [
        (lambda: SegmentationUNet(0), ValueError, "in_channels must be an integer >= 1; got 0"),
        (lambda: SegmentationUNet(1, 0), ValueError, "n_outputs must be an integer >= 1; got 0"),
        (lambda: SegmentationUNet(n_levels=9), ValueError, "n_levels must be an integer from 1 to 8; got 9"),
        (lambda: SegmentationUNet(base_channels=1.5), TypeError, "base_channels must be an integer >= 1; got 1.5"),
        (lambda: SegmentationUNet(dropout=1.5), ValueError, r"dropout must be a number in \[0, 1\]; got 1.5"),
        (lambda: SegmentationUNet(head_channels=0), ValueError, "head_channels must be an integer >= 1; got 0"),
        (lambda: SegmentationUNet(normalization="group"), ValueError, "normalization must be one of 'none', 'batch'"),
        (
            lambda: SegmentationUNet(pools=((2, 2),)),
            ValueError,
            r"pools must be n_levels - 1 = 2 pairs of 1 or 2 for rows and columns, not both 1; got \(\(2, 2\),\)",
        ),
        (lambda: SegmentationUNet(pools=2), ValueError, "pools must be n_levels - 1 = 2 pairs .*; got 2"),
        (lambda: SegmentationUNet(pools=(2, 2)), ValueError, r"pools must be n_levels - 1 = 2 pairs .*; got \(2, 2\)"),
        (lambda: SegmentationUNet(pools=((2, 2), (1, 1))), ValueError, r"pairs .* not both 1; got .*\(1, 1\)"),
        (lambda: SegmentationUNet(pools=((2, 2), (3, 2))), ValueError, r"pairs of 1 or 2 .*; got .*\(3, 2\)"),
        (lambda: AlexNet(0, image_shape=(40, 40)), ValueError, "n_outputs must be an integer >= 1; got 0"),
        (
            lambda: AlexNet(2, image_shape=(40, 31)),
            ValueError,
            r"image_shape must be rows and columns from 32 on; got \(40, 31\). Enlarge smaller images",
        ),
        (lambda: AlexNet(2, image_shape=40), ValueError, "image_shape must be 2 positive integers; got 40"),
        (
            lambda: AlexNet(2, image_shape=(40, 40), channels=(4, 4)),
            ValueError,
            r"channels must be 5 positive integers; got \(4, 4\)",
        ),
        (lambda: AlexNet(2, image_shape=(40, 40), dropout=-1), ValueError, r"dropout must be a number in \[0, 1\]"),
    ],
)
def test_wrong_argument(build, error, match):
    with pytest.raises(error, match=match):
        build()

"""Networks: laws that hold for all of them, counts of parameters, arguments."""

import copy
import inspect
import json

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.networks import (
    NETWORKS,
    AlexNet,
    AutomapNetwork,
    CNNNetwork,
    ConvolutionalVAE,
    DenseNetwork,
    IRadonMAPNetwork,
    MixedScaleDenseNetwork,
    PrimalDualNetwork,
    SegmentationUNet,
    TomoGANCritic,
    TomoGANGenerator,
    UNet,
    build_network,
)
from tomolearn.operators import RadonOperator

SINOGRAM, IMAGE = (7, 17), (11, 14)
A = RadonOperator(ParallelBeam(default_angles(SINOGRAM[0]) + 0.1, SINOGRAM[1], IMAGE, detector_spacing=0.9))
SCALE = A.norm()

# name: (class, config, input shape of one sample, output shape, further arguments of forward)
CASES = {
    "automap": (AutomapNetwork, {"sinogram_shape": SINOGRAM, "image_shape": IMAGE, "n_filters": 4}, SINOGRAM, ()),
    "automap-rank": (
        AutomapNetwork,
        {"sinogram_shape": SINOGRAM, "image_shape": IMAGE, "n_filters": 4, "rank": 3, "input_noise": 0.0},
        SINOGRAM,
        (),
    ),
    "automap-superres": (
        AutomapNetwork,
        {"sinogram_shape": SINOGRAM, "image_shape": IMAGE, "n_filters": 4, "rank": 9, "layout": "superres"},
        SINOGRAM,
        (),
    ),
    "dense": (DenseNetwork, {"sinogram_shape": SINOGRAM, "image_shape": IMAGE, "n_filters": 4}, SINOGRAM, ()),
    "cnn": (
        CNNNetwork,
        {"sinogram_shape": SINOGRAM, "image_shape": IMAGE, "width": 30, "n_filters": 4, "n_image_filters": 5},
        SINOGRAM,
        (),
    ),
    "iradonmap": (IRadonMAPNetwork, {"n_detectors": 17, "channels": (4, 6, 8)}, SINOGRAM, (A,)),
    "primal-dual": (
        PrimalDualNetwork,
        {"n_iterations": 3, "n_primal": 2, "n_dual": 3, "n_filters": 8},
        SINOGRAM,
        (A, SCALE),
    ),
    "primal-dual-filtered": (
        PrimalDualNetwork,
        {"n_iterations": 2, "n_primal": 2, "n_dual": 2, "n_filters": 8, "filtered": True},
        SINOGRAM,
        (A, SCALE),
    ),
    "primal-dual-prelu": (
        PrimalDualNetwork,
        {"n_iterations": 2, "n_primal": 1, "n_dual": 1, "n_filters": 4, "n_layers": 2, "activation": "prelu"},
        SINOGRAM,
        (A, SCALE),
    ),
    "tomogan": (TomoGANGenerator, {"n_adjacent": 3}, (3, *IMAGE), ()),
    "tomogan-transposed": (TomoGANGenerator, {"upsampling": "transposed"}, (1, *IMAGE), ()),
    "critic": (TomoGANCritic, {}, (1, *IMAGE), ()),
    "critic-patch": (TomoGANCritic, {"patch_shape": IMAGE}, (1, *IMAGE), ()),
    "vae": (ConvolutionalVAE, {"image_shape": (12, 16), "latent_dim": 3}, (1, 12, 16), ()),
    "msd": (
        MixedScaleDenseNetwork,
        {"in_channels": 2, "out_channels": 3, "depth": 7, "width": 2, "dilations": (1, 2, 3)},
        (2, *IMAGE),
        (),
    ),
    "segmentation-unet": (
        SegmentationUNet,
        {"in_channels": 2, "n_outputs": 4, "base_channels": 8, "dropout": 0.0},
        (2, *IMAGE),
        (),
    ),
    "segmentation-unet-batch": (
        SegmentationUNet,
        {
            "n_outputs": 3,
            "n_levels": 4,
            "base_channels": 4,
            "pools": ((2, 2), (1, 2), (2, 2)),
            "normalization": "batch",
            "dropout": 0.0,
        },
        (1, *IMAGE),
        (),
    ),
    "alexnet": (
        AlexNet,
        {
            "n_outputs": 3,
            "image_shape": (40, 36),
            "channels": (8, 12, 10, 14, 6),
            "widths": (20, 18, 16),
            "dropout": 0.0,
        },
        (1, 40, 36),
        (),
    ),
    "unet": (UNet, {"in_channels": 2, "out_channels": 3, "channels": (4, 6, 8)}, (2, *IMAGE), ()),
    "unet-stride": (
        UNet,
        {
            "channels": (8, 8, 16),
            "skip_channels": 2,
            "normalization": "group",
            "activation": "leaky_relu",
            "downsampling": "stride",
            "upsampling": "transposed",
            "residual": True,
        },
        (1, *IMAGE),
        (),
    ),
    "unet-prelu": (
        UNet,
        {"channels": (4, 4), "normalization": "batch", "activation": "prelu", "upsampling": "nearest", "dropout": 0.2},
        (1, *IMAGE),
        (),
    ),
}


def output_shape(case, n):
    cls, config, shape, _ = CASES[case]
    if cls is TomoGANCritic:
        return (n,)
    if cls is AlexNet:
        return (n, config["n_outputs"])
    if cls is SegmentationUNet:
        return (n, config["n_outputs"], *shape[1:])
    images = cls in (UNet, TomoGANGenerator, ConvolutionalVAE, MixedScaleDenseNetwork)
    return (n, config.get("out_channels", 1), *shape[1:]) if images else (n, *IMAGE)


def built(case, dtype=torch.float32):
    """The network of a case, with every parameter away from its start, and an input of three samples."""
    torch.manual_seed(0)
    cls, config, shape, extra = CASES[case]
    network = cls(**config).to(dtype)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network, torch.rand(3, *shape, dtype=dtype), extra


@pytest.mark.parametrize("case", CASES)
class TestEveryNetwork:
    def test_shapes(self, case):
        network, x, extra = built(case)
        network.eval()
        for n in (0, 1, 3):
            assert network(x[:n], *extra).shape == output_shape(case, n)

    def test_samples_do_not_mix(self, case):
        network, x, extra = built(case, torch.float64)
        network.eval()
        torch.testing.assert_close(network(x, *extra)[1:2], network(x[1:2], *extra))

    def test_gradient_reaches_every_parameter(self, case):
        network, x, extra = built(case)
        network(x.requires_grad_(), *extra).square().sum().backward()
        dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
        assert dead == [] and x.grad.any()

    def test_input_is_left_alone(self, case):
        network, x, extra = built(case)
        before = x.clone()
        network(x, *extra)
        torch.testing.assert_close(x, before, rtol=0, atol=0)

    def test_float64_agrees_with_float32(self, case):
        network, x, extra = built(case, torch.float64)
        network.eval()
        exact = network(x, *extra)
        assert exact.dtype == torch.float64
        torch.testing.assert_close(network.float()(x.float(), *extra).double(), exact, rtol=1e-4, atol=1e-4)

    def test_bfloat16_autocast_with_channels_last(self, case):
        network, x, extra = built(case)
        network.eval()
        exact = network(x, *extra)
        network = network.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            close = network(x, *extra)
        close.float().square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        assert (close - exact).norm() < 0.03 * exact.norm()

    def test_copies_agree(self, case):
        network, x, extra = built(case)
        network.eval()
        cls, config, _, _ = CASES[case]
        fresh = build_network(cls.__name__, json.loads(json.dumps(config))).eval()
        assert not torch.equal(fresh(x, *extra), network(x, *extra))
        fresh.load_state_dict(network.state_dict())
        for twin in (fresh, copy.deepcopy(network)):
            torch.testing.assert_close(twin(x, *extra), network(x, *extra), rtol=0, atol=0)

    def test_prediction_is_repeatable_and_draws_nothing(self, case):
        network, x, extra = built(case)
        network.eval()
        state = torch.get_rng_state()
        torch.testing.assert_close(network(x, *extra), network(x, *extra), rtol=0, atol=0)
        assert torch.equal(torch.get_rng_state(), state)

    def test_wrong_input(self, case):
        network, x, extra = built(case)
        with pytest.raises(ValueError, match=r"x must have shape \(n, .*; got \(3,"):
            network(x[..., 0], *extra)

    def test_can_be_counted_without_memory(self, case):
        cls, config, _, _ = CASES[case]
        with torch.device("meta"):
            network = cls(**config)
        assert all(p.is_meta for p in network.parameters())
        assert count(network) == count(cls(**config))


def count(network):
    return sum(p.numel() for p in network.parameters())


# ------------------------------------------------------------------------------------------------- known counts

CONVOLUTIONS = 107_265  # of AUTOMAP: 64 5x5 on one channel, 64 5x5 on 64, 1 7x7 on 64, with biases


@pytest.mark.parametrize(
    ("cls", "arguments", "expected"),
    [
        # The published network for k-space data, 2 n x n values for n x n pixels: 50.3 M at 64, 805 M at 128.
        (AutomapNetwork, {"sinogram_shape": (128, 64), "image_shape": (64, 64)}, 3 * 64**4 + 2 * 64**2 + CONVOLUTIONS),
        (
            AutomapNetwork,
            {"sinogram_shape": (256, 128), "image_shape": (128, 128)},
            3 * 128**4 + 2 * 128**2 + CONVOLUTIONS,
        ),
        # superres-tomo's 19,121,665 at 64 pixels with a last dense layer of 64**4 weights and 64**2 biases.
        (
            AutomapNetwork,
            {"sinogram_shape": (64, 64), "image_shape": (64, 64), "layout": "superres"},
            19_121_665 - 64**4 - 64**2,
        ),
        (
            AutomapNetwork,
            {"sinogram_shape": (30, 183), "image_shape": (128, 128), "rank": 256},
            256 * (30 * 183 + 3 * 128**2) + 2 * 128**2 + CONVOLUTIONS,
        ),
        (DenseNetwork, {"sinogram_shape": (64, 64), "image_shape": (64, 64)}, 6_553_409),
        (CNNNetwork, {"sinogram_shape": (64, 64), "image_shape": (64, 64)}, 7_536_121),
    ],
)
def test_published_counts(cls, arguments, expected):
    assert cls.parameter_count(**arguments) == expected
    with torch.device("meta"):
        assert count(cls(**arguments)) == expected


def test_count_in_millions():
    assert round(AutomapNetwork.parameter_count((128, 64), (64, 64)) / 1e6, 1) == 50.4  # 50.3 in the dense layers alone
    assert round(AutomapNetwork.parameter_count((256, 128), (128, 128)) / 1e6) == 805


@pytest.mark.parametrize("case", ["automap", "automap-rank", "automap-superres", "dense", "cnn"])
def test_count_is_that_of_the_network(case):
    cls, config, _, _ = CASES[case]
    arguments = {k: v for k, v in config.items() if k in inspect.signature(cls.parameter_count).parameters}
    assert cls.parameter_count(**arguments) == count(cls(**config))


# ---------------------------------------------------------------------------------------------------- registry


def test_registry_holds_every_network():
    assert set(NETWORKS) == {cls.__name__ for cls, _, _, _ in CASES.values()}
    assert all(issubclass(cls, nn.Module) for cls in NETWORKS.values())


class Calls(TorchFunctionMode):
    """Names of the functions of torch that are called inside."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.names.add(function.__name__)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", CASES)
def test_without_memory_no_weights_are_drawn(name):
    """On the meta device, as when a file is loaded: normal numbers and assignments there import torch's compiler."""
    cls, config, _, _ = CASES[name]
    with Calls() as real:
        cls(**config)
    with torch.device("meta"), Calls() as meta:
        cls(**config)
    assert real.names & {"normal_", "uniform_"}
    assert not meta.names & {"normal_", "__setitem__", "copy_", "neg"}


@pytest.mark.parametrize("name", ["Linear", "torch.nn.Linear", "", None])
def test_unknown_network(name):
    with pytest.raises(ValueError, match=r"name must be one of AlexNet, AutomapNetwork, CNNNetwork, .*UNet; got"):
        build_network(name, {})


@pytest.mark.parametrize(
    ("name", "config", "match"),
    [
        ("UNet", {"depth": 3}, r"config must hold arguments of UNet\(.*; got \['depth'\]"),
        ("IRadonMAPNetwork", {}, "missing a required argument: 'n_detectors'"),
        ("UNet", [1], r"config must be a dict of arguments of UNet; got \[1\]"),
    ],
)
def test_config_that_does_not_fit(name, config, match):
    with pytest.raises(ValueError, match=match):
        build_network(name, config)


# --------------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("cls", "config", "error", "match"),
    [
        (AutomapNetwork, {"sinogram_shape": (4,)}, ValueError, "sinogram_shape must be 2 positive integers"),
        (AutomapNetwork, {"image_shape": (4, 0)}, ValueError, r"image_shape\[1\] must be an integer >= 1; got 0"),
        (AutomapNetwork, {"rank": 0}, ValueError, "rank must be an integer >= 1; got 0"),
        (AutomapNetwork, {"layout": "own"}, ValueError, "layout must be one of 'paper', 'superres'; got 'own'"),
        (AutomapNetwork, {"n_filters": 2.0}, TypeError, "n_filters must be an integer >= 1; got 2.0"),
        (AutomapNetwork, {"input_noise": -0.1}, ValueError, r"input_noise must be a number in \[0, 1\]; got -0.1"),
        (DenseNetwork, {"width": 0}, ValueError, "width must be an integer >= 1; got 0"),
        (CNNNetwork, {"n_image_filters": 0}, ValueError, "n_image_filters must be an integer >= 1; got 0"),
        (CNNNetwork, {"dropout": 1.5}, ValueError, r"dropout must be a number in \[0, 1\]; got 1.5"),
        (IRadonMAPNetwork, {"n_detectors": 0}, ValueError, "n_detectors must be an integer >= 1; got 0"),
        (IRadonMAPNetwork, {"init": "zero"}, ValueError, "init must be one of 'ramp', 'random'; got 'zero'"),
        (PrimalDualNetwork, {"n_iterations": 0}, ValueError, "n_iterations must be an integer >= 1; got 0"),
        (PrimalDualNetwork, {"n_primal": 0}, ValueError, "n_primal must be an integer >= 1; got 0"),
        (PrimalDualNetwork, {"n_dual": 0}, ValueError, "n_dual must be an integer >= 1; got 0"),
        (PrimalDualNetwork, {"n_layers": 0}, ValueError, "n_layers must be an integer >= 1; got 0"),
        (PrimalDualNetwork, {"kernel_size": 4}, ValueError, "kernel_size must be odd; got 4"),
        (PrimalDualNetwork, {"activation": "tanh"}, ValueError, "activation must be one of 'relu', 'leaky_relu', 'pr"),
        (UNet, {"channels": ()}, ValueError, r"channels must be one or more positive integers, .*; got \(\)"),
        (UNet, {"channels": (1,) * 13}, ValueError, "channels must be at most 12 numbers: .*; got 13"),
        (UNet, {"channels": 8}, ValueError, "channels must be one or more positive integers, .*; got 8"),
        (UNet, {"channels": (8, -1)}, ValueError, r"channels\[1\] must be an integer >= 1; got -1"),
        (UNet, {"skip_channels": 0}, ValueError, "skip_channels must be an integer >= 1; got 0"),
        (UNet, {"normalization": "layer"}, ValueError, "normalization must be one of 'none', 'batch', 'group'; got"),
        (UNet, {"upsampling": "cubic"}, ValueError, "upsampling must be one of 'bilinear', 'nearest', 'transposed'"),
        (UNet, {"downsampling": "mean"}, ValueError, "downsampling must be one of 'max', 'stride'; got 'mean'"),
    ],
)
def test_wrong_argument(cls, config, error, match):
    shapes = {"sinogram_shape": SINOGRAM, "image_shape": IMAGE}
    needed = {AutomapNetwork: shapes, DenseNetwork: shapes, CNNNetwork: shapes, IRadonMAPNetwork: {"n_detectors": 17}}
    with pytest.raises(error, match=match):
        cls(**{**needed.get(cls, {}), **config})

"""What each network is made of: the scan inside it, how far it looks, its padding, noise and penalty."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.networks import AutomapNetwork, CNNNetwork, IRadonMAPNetwork, PrimalDualNetwork, UNet
from tomolearn.operators import RadonOperator
from tomolearn.solvers import fbp


def operator(n_angles=9, n_detectors=16, image_shape=(11, 12), **options):
    return RadonOperator(ParallelBeam(default_angles(n_angles) + 0.1, n_detectors, image_shape, **options))


def weights(network):
    """The parameters moved away from their start, biases included."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


# ------------------------------------------------------------------------------------------------- primal-dual


def plain_primal_dual(network, x, A, scale):
    """The iteration of the docstring, written with one operator of norm 1 and lists of channels."""
    g = x / scale
    f = torch.zeros(len(x), network.n_primal, *A.domain_shape, dtype=x.dtype)
    h = torch.zeros(len(x), network.n_dual, *A.range_shape, dtype=x.dtype)
    for D, P in zip(network.dual_blocks, network.primal_blocks, strict=True):
        h = h + D(torch.cat([h, (A(f[:, min(1, network.n_primal - 1)]) / scale)[:, None], g[:, None]], 1))
        back = fbp(A, h[:, 0], filter="hann") * scale if network.filtered else A.T(h[:, 0]) / scale
        f = f + P(torch.cat([f, back[:, None]], 1))
    return f[:, 0]


@pytest.mark.parametrize(("n_primal", "filtered"), [(1, False), (3, False), (3, True)])
def test_primal_dual_iteration(n_primal, filtered):
    A = operator()
    options = {"n_iterations": 3, "n_primal": n_primal, "n_dual": 2, "n_filters": 6, "filtered": filtered}
    network = weights(PrimalDualNetwork(**options).double())
    x = torch.rand(2, *A.range_shape, dtype=torch.float64)
    torch.testing.assert_close(network(x, A, 3.0), plain_primal_dual(network, x, A, 3.0))


def test_primal_dual_without_updates_gives_zero():
    A = operator()
    network = PrimalDualNetwork(n_iterations=2, n_filters=4)
    with torch.no_grad():
        for block in [*network.dual_blocks, *network.primal_blocks]:
            block[-1].weight.zero_()
    assert not network(torch.rand(2, *A.range_shape), A, A.norm()).any()


def test_primal_dual_starts_small():
    A = operator(60, 46, (32, 32))
    truth = torch.zeros(1, 32, 32)
    truth[:, 8:24, 8:24] = 1
    for seed in range(4):  # with the full Glorot weights in the last layers, seed 2 starts at 0.34
        torch.manual_seed(seed)
        result = PrimalDualNetwork()(A(truth), A, A.norm())
        assert 0 < result.norm() < 0.1 * truth.norm()


@pytest.mark.parametrize("filtered", [False, True])
def test_primal_dual_does_not_see_the_unit_of_length(filtered):
    network = weights(PrimalDualNetwork(n_iterations=2, n_filters=6, filtered=filtered).double())
    A, in_micrometres = operator(), operator(pixel_size=1.7)
    x = torch.rand(2, *A.range_shape, dtype=torch.float64)
    torch.testing.assert_close(
        network(1.7 * x, in_micrometres, in_micrometres.norm()), network(x, A, A.norm()), rtol=1e-6, atol=1e-9
    )


def test_primal_dual_gradient():
    A = operator(3, 5, (4, 3))
    network = weights(PrimalDualNetwork(n_iterations=2, n_primal=2, n_dual=2, n_filters=2, n_layers=2).double())
    # A smooth activation: finite differences across the corner of a ReLU are no derivatives.
    for block in [*network.dual_blocks, *network.primal_blocks]:
        block[1] = nn.Softplus()
    x = torch.rand(2, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: network(x, A, 1.3), (x, *network.parameters()))


def test_primal_dual_serves_any_scan():
    network = PrimalDualNetwork(n_iterations=1, n_filters=4)
    for A in (operator(), operator(5, 30, (20, 21))):
        assert network(torch.rand(1, *A.range_shape), A, A.norm()).shape == (1, *A.domain_shape)


def test_primal_dual_applies_the_operator_in_full_precision():
    """Under autocast, only what the convolutions work on is rounded."""
    A, seen = operator(), []

    class Spy(RadonOperator):
        def _forward(self, x):
            seen.append(x.dtype)
            return super()._forward(x)

        def _adjoint(self, y):
            seen.append(y.dtype)
            return super()._adjoint(y)

    spy = Spy(A.geometry)
    with torch.autocast("cpu", torch.bfloat16):
        result = PrimalDualNetwork(n_iterations=3, n_filters=4)(torch.rand(2, *A.range_shape), spy, 2.0)
    assert result.dtype == torch.float32 and seen == [torch.float32] * 5  # no projection of the zero image at the start


# -------------------------------------------------------------------------------------------------- iRadonMAP


@pytest.mark.parametrize(
    "options", [{}, {"detector_spacing": 0.7, "pixel_size": 2.5, "center": 6.3}], ids=["plain", "scaled"]
)
def test_iradonmap_starts_as_filtered_back_projection(options):
    A = operator(**options)
    x = torch.rand(2, *A.range_shape)
    network = IRadonMAPNetwork(16, channels=(4, 4))
    torch.testing.assert_close(network(x, A), fbp(A, x), rtol=1e-4, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):  # neither the filter nor the sum are rounded
        torch.testing.assert_close(network(x, A).float(), fbp(A, x), rtol=1e-4, atol=1e-4)


def test_iradonmap_weighs_angles_by_their_share():
    """A repeated angle counts once: two half shares of the same projection."""
    network = IRadonMAPNetwork(16, channels=(4, 4), residual=True)
    once, twice = ([0.0, 0.5, 1.1, 2.0], [0.0, 0.5, 0.5, 1.1, 2.0])
    x = torch.rand(1, 4, 16)
    results = [
        network(x[:, rows], RadonOperator(ParallelBeam(angles, 16, (9, 9))))
        for angles, rows in ((once, [0, 1, 2, 3]), (twice, [0, 1, 1, 2, 3]))
    ]
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


def test_iradonmap_filter_maps_bins_to_bins():
    A = operator()
    network = IRadonMAPNetwork(16, channels=(4, 4), init="random")
    torch.manual_seed(0)
    assert network.filter.weight.shape == (16, 16) and network.filter.weight.std() > 0.1
    share = np.pi / 9
    x = torch.rand(1, *A.range_shape)
    expected = A.backproject(x @ network.filter.weight.T * share)
    torch.testing.assert_close(network(x, A), expected, rtol=1e-4, atol=1e-4)


def test_iradonmap_of_another_detector():
    with pytest.raises(ValueError, match=r"x must have shape \(n, 9, 12\); got \(1, 9, 16\)"):
        IRadonMAPNetwork(12, channels=(4,))(torch.zeros(1, 9, 16), operator())


# ------------------------------------------------------------------------------------------------------ U-Net


def influence_radius(network, n):
    """The largest distance of an input pixel whose change reaches an output pixel, along the last axis.

    With positive weights and no biases, every path from a raised pixel raises the outputs at its end.
    """
    network = network.double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.abs() + 0.1 if parameter.ndim > 1 else torch.zeros_like(parameter))
    x = torch.ones(n, 1, 1, n, dtype=torch.float64) + 1e3 * torch.eye(n, dtype=torch.float64)[:, None, None]
    with torch.no_grad():
        reached = network(x) - network(torch.ones(1, 1, 1, n, dtype=torch.float64)) > 0
    source, _, _, target = torch.nonzero(reached, as_tuple=True)
    return int((source - target).abs().max())


@pytest.mark.parametrize(
    ("n_levels", "kernel_size", "downsampling", "upsampling"),
    [
        *itertools.product((1, 2, 3), (3,), ("max", "stride"), ("bilinear", "nearest", "transposed")),
        (3, 1, "max", "bilinear"),
        (3, 1, "max", "nearest"),
        (2, 5, "stride", "bilinear"),
    ],
)
def test_receptive_radius(n_levels, kernel_size, downsampling, upsampling):
    options = {"kernel_size": kernel_size, "downsampling": downsampling, "upsampling": upsampling}
    network = UNet(channels=(2,) * n_levels, skip_channels=1, **options)
    radius = network.receptive_radius
    assert influence_radius(network, 2 * radius + 9 + 2**n_levels) == radius


def test_group_normalization_has_no_receptive_radius():
    assert not hasattr(UNet(normalization="group", channels=(8, 8)), "receptive_radius")
    assert hasattr(UNet(normalization="batch", channels=(8, 8)), "receptive_radius")


def test_unet_continues_the_image_by_its_last_row_and_column():
    torch.manual_seed(0)
    network = UNet(channels=(4, 4, 4))
    x = torch.rand(1, 1, 9, 14)
    whole = nn.functional.pad(x, (0, 2, 0, 3), mode="replicate")
    torch.testing.assert_close(network(x), network(whole)[:, :, :9, :14])


def test_tiles_at_multiples_of_the_size_see_what_the_whole_image_sees():
    torch.manual_seed(0)
    network = UNet(channels=(4, 4, 4)).double()
    x, halo = torch.rand(1, 1, 4, 96, dtype=torch.float64), 28
    assert network.receptive_radius <= halo and halo % network.size_multiple == 0
    whole, tile = network(x), network(x[..., 40 - halo : 60 + halo])
    torch.testing.assert_close(tile[..., halo:-halo], whole[..., 40:60], rtol=0, atol=1e-12)


def test_residual_unet_starts_as_the_first_channel():
    x = torch.rand(2, 3, 7, 9)
    assert torch.equal(UNet(3, 2, channels=(4, 4), residual=True)(x), x[:, :1].expand(2, 2, 7, 9))
    network = weights(UNet(3, 2, channels=(4, 4), residual=True))
    added = network(x) - x[:, :1]
    network.residual = False
    torch.testing.assert_close(added, network(x), rtol=1e-4, atol=1e-6)


def test_unet_drops_out_in_training_only():
    torch.manual_seed(0)
    network = UNet(channels=(4, 8), dropout=0.5)
    x = torch.rand(1, 1, 16, 16)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


def test_unet_has_the_layers_it_says():
    """superres-tomo's three levels: two 3x3 convolutions each way, and ours a 1x1 at the end."""
    widths = [(1, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256)]
    widths += [(128 + 256, 128), (128, 128), (64 + 128, 64), (64, 64)]
    expected = sum(9 * n_in * n_out + n_out for n_in, n_out in widths) + 64 + 1
    with torch.device("meta"):
        network = UNet(channels=(64, 128, 256), upsampling="nearest")
    assert sum(p.numel() for p in network.parameters()) == expected


# ---------------------------------------------------------------------------------------------- AUTOMAP and CNN


def test_automap_penalty_is_the_l1_norm_of_the_second_convolution():
    torch.manual_seed(0)
    network = AutomapNetwork((5, 6), (4, 3), n_filters=3).eval()
    x, seen = torch.rand(2, 5, 6), []
    network.convolutions.register_forward_hook(lambda module, inputs, output: seen.append(output))
    images, penalty = network.forward_with_penalty(x)
    assert seen[0].shape == (2, 3, 4 + 8, 3 + 8)
    assert penalty.item() == pytest.approx(seen[0].abs().sum().item() / 2, rel=1e-6) and penalty > 0
    assert torch.equal(images, network(x))
    assert network.forward_with_penalty(x[:0])[1] == 0
    with torch.autocast("cpu", torch.bfloat16):
        assert network.forward_with_penalty(x)[1].dtype == torch.float32


def test_automap_noise():
    """In training the input is multiplied by uniform noise of its width; its mean is one, and none falls outside."""
    torch.manual_seed(0)
    network = AutomapNetwork((50, 40), (2, 2), n_filters=1, input_noise=0.1)
    seen = []
    network.dense.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.full((4, 50, 40), 2.0)
    network(x)
    network.eval()(x)
    noise = seen[0] / 2
    assert noise.min() >= 0.9 and noise.max() <= 1.1 and noise.min() < 0.901 and noise.max() > 1.099
    assert noise.mean() == pytest.approx(1, abs=0.005) and noise.std() == pytest.approx(0.2 / 12**0.5, rel=0.03)
    assert torch.equal(seen[1], x.flatten(1))


def test_automap_of_full_rank_is_one_of_its_factors():
    """With the rank of the smaller side, the factors can be the matrix itself."""
    torch.manual_seed(0)
    full = AutomapNetwork((5, 6), (4, 3), n_filters=2).double().eval()
    factors = AutomapNetwork((5, 6), (4, 3), n_filters=2, rank=12).double().eval()
    state = factors.state_dict()
    source = iter(m for m in full.dense if isinstance(m, nn.Linear))
    linear = [m for m in factors.dense if isinstance(m, nn.Linear)]
    for first, second in zip(linear[::2], linear[1::2], strict=True):
        matrix = next(source)
        first.weight.data, second.weight.data = matrix.weight.data, torch.eye(12, dtype=torch.float64)
        second.bias.data = matrix.bias.data
    factors.convolutions.load_state_dict(full.convolutions.state_dict())
    factors.head.load_state_dict(full.head.state_dict())
    x = torch.rand(3, 5, 6, dtype=torch.float64)
    assert state["dense.0.weight"].shape == (12, 30)
    torch.testing.assert_close(factors(x), full(x))


def test_automap_layouts():
    with torch.device("meta"):
        paper = AutomapNetwork((5, 6), (4, 3), layout="paper")
        superres = AutomapNetwork((5, 6), (4, 3), layout="superres")
    widths = [[(m.in_features, m.out_features) for m in n.dense if isinstance(m, nn.Linear)] for n in (paper, superres)]
    assert widths == [[(30, 12), (12, 12)], [(30, 256), (256, 256), (256, 256), (256, 12)]]
    assert [type(m) for m in superres.dense] == [nn.Linear, nn.Tanh] * 4


def test_glorot_weights_and_zero_biases():
    torch.manual_seed(0)
    layer = AutomapNetwork((20, 30), (10, 40), n_filters=2).dense[0]
    limit = (6 / (600 + 400)) ** 0.5
    assert 0.999 * limit < layer.weight.abs().max() <= limit and not layer.bias.any()


@pytest.mark.parametrize("shape", [(64, 64), (30, 183), (17, 1)])
def test_cnn_halves_by_rounding_up(shape):
    with torch.device("meta"):
        network = CNNNetwork(shape, (8, 8), n_filters=2)
        sizes = []
        y = torch.empty(1, 1, *shape)
        for layer in network.encoder:
            y = layer(y)
            sizes += [tuple(y.shape[2:])] * isinstance(layer, nn.Conv2d)
    expected = [tuple(-(-n // 2**k) for n in shape) for k in (1, 2, 3, 4)]
    assert sizes == expected


def test_cnn_pads_as_tensorflow_does():
    """An even side of stride two: the first window starts at the first pixel; an odd one: one before it."""
    network = CNNNetwork((4, 5), (2, 2), n_filters=1)
    convolution = network.encoder[1]
    nn.init.zeros_(convolution.weight)
    convolution.weight.data[0, 0, 0, 0] = 1  # the corner of each window
    x = torch.arange(1.0, 21).view(1, 1, 4, 5)
    first = convolution(network.encoder[0](x))[0, 0]
    assert first.tolist() == [[0, 2, 4], [0, 12, 14]]


def test_cnn_layers_of_the_documented_network():
    network = CNNNetwork((16, 16), (4, 4), width=20)
    linear = [(m.in_features, m.out_features) for m in network.dense if isinstance(m, nn.Linear)]
    assert linear == [(64, 20), (20, 20), (20, 20), (20, 16)]
    kinds = [type(m).__name__ for m in network.dense]
    assert kinds == ["Linear", "ReLU", "Dropout"] * 3 + ["Linear", "Dropout"]

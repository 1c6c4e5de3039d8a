"""Networks of the denoisers: TomoGAN, the variational autoencoder, mixed-scale dense."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tomolearn.networks import ConvolutionalVAE, MixedScaleDenseNetwork, TomoGANCritic, TomoGANGenerator


def count(network):
    return sum(p.numel() for p in network.parameters())


def weights(network, scale=0.05):
    """The parameters moved away from their start, biases included."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return network


def influence_radius(network, n, axis):
    """The largest distance of an input pixel that an output pixel's value depends on, along one axis.

    With positive weights and no biases every path from a raised pixel raises the outputs at its end.
    """
    network = network.double().eval()
    shape = [1, 1, 1, 1]
    shape[axis] = n
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.abs() + 0.1 if parameter.ndim > 1 else torch.zeros_like(parameter))
        flat = torch.ones(shape, dtype=torch.float64)
        raised = flat.expand(n, *shape[1:]) + 1e3 * torch.eye(n, dtype=torch.float64).reshape(n, *shape[1:])
        reached = (network(raised) > network(flat)).reshape(n, n)
    source, target = torch.nonzero(reached, as_tuple=True)
    return int((source - target).abs().max())


# ---------------------------------------------------------------------------------------------------- generator


@pytest.mark.parametrize(
    ("n_adjacent", "upsampling", "expected"),
    [
        (1, "bilinear", 694_897),  # printed by the authors
        (3, "bilinear", 694_913),
        (1, "nearest", 694_897),
        (1, "transposed", 694_897 + 16 * (128**2 + 64**2 + 32**2) + 128 + 64 + 32),
    ],
)
def test_generator_counts(n_adjacent, upsampling, expected):
    assert count(TomoGANGenerator(n_adjacent, upsampling=upsampling)) == expected


def convolution(x, layer):
    return functional.relu(functional.conv2d(x, layer.weight, layer.bias, padding=layer.kernel_size[0] // 2))


def plain_generator(network, x):
    """The table of the docstring, layer by layer, for sides that are multiples of 8 and the default upsampling."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert [tuple(layer.weight.shape[:2]) for layer in layers] == [
        *[(8, x.shape[1]), (32, 8), (32, 32), (64, 32), (64, 64), (128, 64), (128, 128), (128, 128)],
        *[(64, 256), (64, 64), (32, 128), (32, 32), (32, 64), (32, 32), (16, 32), (1, 16)],
    ]
    skips, y = [], convolution(x, layers.pop(0))
    for _ in range(3):
        y = convolution(convolution(y, layers.pop(0)), layers.pop(0))
        skips.append(y)
        n, c, h, w = y.shape
        y = y.reshape(n, c, h // 2, 2, w // 2, 2).amax((3, 5))
    y = convolution(y, layers.pop(0))
    for _ in range(3):
        y = torch.cat([skips.pop(), half_pixel(half_pixel(y).mT).mT], 1)
        y = convolution(convolution(y, layers.pop(0)), layers.pop(0))
    y = convolution(y, layers.pop(0))
    return functional.conv2d(y, layers[0].weight, layers[0].bias)


def half_pixel(y):
    """Twice the columns: 3/4 of the pixel that a half lies in, 1/4 of the neighbour that it is next to."""
    before = torch.cat([y[..., :1], y[..., :-1]], -1)
    after = torch.cat([y[..., 1:], y[..., -1:]], -1)
    return torch.stack([0.75 * y + 0.25 * before, 0.75 * y + 0.25 * after], -1).flatten(-2)


def test_generator_is_the_documented_one():
    network = weights(TomoGANGenerator(3).double())
    x = torch.rand(1, 3, 8, 16, dtype=torch.float64)
    torch.testing.assert_close(network(x), plain_generator(network, x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (1, 20), (3, 9), (4, 5), (7, 8), (13, 17)])
def test_generator_continues_the_image_by_its_mirror_image(shape):
    network = weights(TomoGANGenerator().double())
    x = torch.rand(1, 1, *shape, dtype=torch.float64)
    padded = x.numpy()
    for axis, size in enumerate(shape, start=2):
        added = [(0, 0)] * 4
        added[axis] = (0, -size % 8)
        padded = np.pad(padded, added, mode="reflect" if -size % 8 < size else "edge")
    expected = network(torch.from_numpy(padded))[:, :, : shape[0], : shape[1]]
    assert network(x).shape == (1, 1, *shape)
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-13)


def narrow(network):
    """The same network with one channel everywhere, and so two after a joint: the paths from pixel to pixel stay."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            n_in = 2 if name in ("up1.0", "up2.0", "up3.0") else 1
            twin = type(layer)(n_in, 1, layer.kernel_size, stride=layer.stride, padding=layer.padding)
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, twin)
    return network


@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize(("upsampling", "radius"), [("bilinear", 50), ("nearest", 43), ("transposed", 50)])
def test_generator_receptive_radius(upsampling, radius, axis):
    network = TomoGANGenerator(upsampling=upsampling)
    assert network.receptive_radius == radius
    # every position in a block of 8 stands far enough from both ends
    assert influence_radius(narrow(network), 2 * radius + 28, axis) == radius


@pytest.mark.parametrize(("start", "stop"), [(0, 21), (64, 85), (120, 147)])
def test_a_tile_with_its_halo_gives_what_the_image_gives(start, stop):
    network = weights(TomoGANGenerator().double())
    x = torch.rand(1, 1, 5, 147, dtype=torch.float64)
    halo = network.receptive_radius + -network.receptive_radius % network.size_multiple
    first = max(0, start - halo)
    tile = network(x[..., first : stop + network.receptive_radius])
    torch.testing.assert_close(tile[..., start - first : stop - first], network(x)[..., start:stop], rtol=0, atol=1e-12)
    if 0 < start:  # one that starts elsewhere has other blocks
        shifted = network(x[..., first + 1 : stop + halo])[..., start - first - 1 : stop - first - 1]
        assert (shifted - network(x)[..., start:stop]).abs().max() > 1e-6


def test_generator_weights_are_glorot_uniform():
    torch.manual_seed(0)
    for name, parameter in TomoGANGenerator(upsampling="transposed").named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            fans = (parameter.shape[0] + parameter.shape[1]) * parameter[0, 0].numel()
            bound = (6 / fans) ** 0.5
            assert parameter.abs().max() <= bound
            if parameter.numel() > 200:
                assert 0.9 * bound / 3**0.5 < parameter.std() < 1.1 * bound / 3**0.5


# ------------------------------------------------------------------------------------------------------- critic


@pytest.mark.parametrize(
    ("patch_shape", "expected"),
    [((256, 256), 673_477), ((512, 512), 1_459_909), ((9, 17), 411_204 + 64 * 4 * 2 * 3 + 64 + 65), (None, 411_589)],
)
def test_critic_counts(patch_shape, expected):
    assert count(TomoGANCritic(patch_shape=patch_shape)) == expected


@pytest.mark.parametrize("patch_shape", [None, (21, 30)])
def test_critic_is_the_documented_one(patch_shape):
    network = weights(TomoGANCritic(patch_shape=patch_shape).double())
    y = x = torch.rand(3, 1, 21, 30, dtype=torch.float64)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer, channels, stride in zip(layers[:6], (64, 64, 128, 128, 128, 4), (1, 2) * 3, strict=True):
        y = functional.conv2d(functional.pad(y, (1, 1, 1, 1)), layer.weight, layer.bias).relu()[..., ::stride, ::stride]
        assert y.shape[1] == channels
    first, second = layers[6:]
    if patch_shape is None:
        values = y.movedim(1, -1) @ first.weight[:, :, 0, 0].T + first.bias
        expected = (values.relu() @ second.weight[0, :, 0, 0] + second.bias).mean((1, 2))
    else:
        expected = ((y.flatten(1) @ first.weight.T + first.bias).relu() @ second.weight.T + second.bias)[:, 0]
    torch.testing.assert_close(network(x), expected, rtol=1e-10, atol=1e-12)


def penalty(critic, x):
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


@pytest.mark.parametrize("patch_shape", [None, (12, 10)])
def test_critic_gradient_penalty_has_its_gradient(patch_shape):
    """The penalty's gradient with respect to each parameter, against finite differences along a random direction."""
    critic = weights(TomoGANCritic(patch_shape=patch_shape).double(), 0.02)
    x = torch.rand(2, 1, 12, 10, dtype=torch.float64)
    parameters = [p for p in critic.parameters() if p.ndim > 1]  # the gradient does not depend on the last bias
    gradients = torch.autograd.grad(penalty(critic, x), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction = torch.randn_like(parameter)
        step, values = 1e-5 / direction.norm(), []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * step * direction)
            values.append(penalty(critic, x).item())
            with torch.no_grad():
                parameter.sub_(sign * step * direction)
        expected = (values[0] - values[1]) / (2 * float(step))
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-3, abs=1e-7)


def test_critic_gradient_penalty_under_bfloat16_autocast():
    critic = weights(TomoGANCritic(), 0.02)
    x = torch.rand(2, 1, 24, 16)
    exact = torch.autograd.grad(penalty(critic, x), critic.convolutions.parameters())
    critic = critic.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        close = penalty(critic, x)
    gradients = torch.autograd.grad(close, critic.convolutions.parameters(), allow_unused=True)
    for gradient, reference in zip(gradients, exact, strict=True):
        if reference.any():  # those of biases are zero: ReLU has no second derivative
            assert (gradient - reference).norm() < 0.2 * reference.norm()


def test_critic_judges_each_image_alone():
    critic = weights(TomoGANCritic().double())
    x = torch.rand(3, 1, 17, 9, dtype=torch.float64)
    torch.testing.assert_close(critic(x)[1:2], critic(x[1:2]))


def test_critic_of_another_patch():
    with pytest.raises(ValueError, match=r"x must have shape \(n, 1, 16, 24\); got \(2, 1, 24, 16\)"):
        TomoGANCritic(patch_shape=(16, 24))(torch.zeros(2, 1, 24, 16))


# ---------------------------------------------------------------------------------------------------------- VAE


def test_vae_count():
    assert count(ConvolutionalVAE((64, 64), 16)) == 373_137


@pytest.mark.parametrize("shape", [(12, 12), (12, 40), (64, 20)])
def test_vae_shapes(shape):
    network = ConvolutionalVAE(shape, 5)
    mean, log_variance = network.encode(torch.rand(3, 1, *shape))
    assert mean.shape == log_variance.shape == (3, 5)
    assert network.decode(mean).shape == network(torch.rand(3, 1, *shape)).shape == (3, 1, *shape)


def test_vae_is_the_documented_one():
    network = weights(ConvolutionalVAE((16, 12), 3).double())
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    x = torch.rand(2, 1, 16, 12, dtype=torch.float64)
    y = functional.conv2d(x, layers[0].weight, layers[0].bias, stride=2).relu()
    y = functional.conv2d(y, layers[1].weight, layers[1].bias, stride=2).relu()
    assert y.shape[1:] == (32, 2, 1)
    y = y.flatten(1) @ layers[2].weight.T + layers[2].bias
    mean, log_variance = network.encode(x)
    torch.testing.assert_close(torch.cat([mean, log_variance], 1), y)

    z = torch.rand(2, 3, dtype=torch.float64)
    y = (z @ layers[3].weight.T + layers[3].bias).relu().reshape(2, 32, 4, 3)
    y = functional.conv_transpose2d(y, layers[4].weight, layers[4].bias, stride=2, padding=1).relu()
    y = functional.conv_transpose2d(y, layers[5].weight, layers[5].bias, stride=2, padding=1).relu()
    assert y.shape[1:] == (16, 16, 12)
    y = (y.movedim(1, -1) @ layers[6].weight.flatten() + layers[6].bias)[:, None]
    torch.testing.assert_close(network.decode(z), y)


def test_vae_predicts_the_mean_and_trains_on_samples():
    network = weights(ConvolutionalVAE((16, 16), 4).double())
    x = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    mean, log_variance = network.encode(x)
    network.eval()
    torch.testing.assert_close(network(x), network.decode(mean), rtol=0, atol=0)
    torch.testing.assert_close(network.forward_with_divergence(x)[0], network(x), rtol=0, atol=0)

    network.train()
    network.decoder = nn.Identity()  # the latent values themselves
    torch.manual_seed(0)
    samples = network(x.expand(4000, -1, -1, -1))
    spread = (log_variance / 2).exp()
    torch.testing.assert_close(samples.std(0), spread[0], rtol=0.06, atol=0)
    assert ((samples.mean(0) - mean[0]).abs() < 5 * spread / 4000**0.5).all()


def test_vae_divergence():
    """Against torch's own Kullback-Leibler divergence of normal distributions."""
    network = weights(ConvolutionalVAE((16, 16), 4).double(), 0.2)
    x = torch.rand(3, 1, 16, 16, dtype=torch.float64)
    mean, log_variance = network.encode(x)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(torch.zeros(()).double(), 1.0)
    expected = torch.distributions.kl_divergence(posterior, prior).sum(1)
    assert (expected > 0.1).all()
    torch.testing.assert_close(network.forward_with_divergence(x)[1], expected)


@pytest.mark.parametrize("shape", [(64, 62), (8, 64), (63, 64)])
def test_vae_shape_that_it_cannot_have(shape):
    with pytest.raises(
        ValueError, match=rf"two multiples of 4, from 12 on; got \({shape[0]}, {shape[1]}\). Cut larger"
    ):
        ConvolutionalVAE(shape)


def test_vae_of_another_size():
    network = ConvolutionalVAE((16, 12))
    with pytest.raises(ValueError, match=r"x must have shape \(n, 1, 16, 12\); got \(1, 1, 12, 16\)"):
        network(torch.zeros(1, 1, 12, 16))
    with pytest.raises(ValueError, match=r"z must have shape \(n, 16\); got \(1, 17\)"):
        network.decode(torch.zeros(1, 17))


# ------------------------------------------------------------------------------------------- mixed-scale dense


@pytest.mark.parametrize(
    ("depth", "width", "channels", "expected"),
    [
        (100, 1, (1, 1), 9 * 5050 + 100 + 101 + 1),  # 45,652
        (7, 3, (2, 4), sum(9 * 3 * (2 + 3 * i) + 3 for i in range(7)) + 4 * (2 + 21 + 1)),
    ],
)
def test_msd_count(depth, width, channels, expected):
    assert count(MixedScaleDenseNetwork(*channels, depth=depth, width=width)) == expected


def plain_msd(network, x):
    """One layer after the other, each of everything before it."""
    for layer in network.layers:
        d = layer.dilation[0]
        for axis in ((d, d, 0, 0), (0, 0, d, d)):
            size = x.shape[3 if axis[0] else 2]
            x = functional.pad(x, axis, mode="reflect" if d < size else "replicate")
        y = functional.conv2d(x, layer.weight, layer.bias, dilation=d)
        x = torch.cat([x[..., d:-d, d:-d], y.relu()], 1)
    return network.head(x)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"depth": 12, "dilations": (1, 2, 3, 4, 5)}, (13, 9)),
        ({"depth": 7, "width": 3, "dilations": (4, 1)}, (11, 14)),
        ({"depth": 4, "width": 2, "dilations": (2,)}, (5, 8)),
        ({"depth": 3}, (12, 12)),
        ({"depth": 6, "dilations": (1, 8)}, (3, 12)),  # an axis too short to be mirrored
        ({"depth": 3, "dilations": (1, 2)}, (1, 1)),
    ],
)
def test_msd_is_the_documented_one(options, shape):
    network = weights(MixedScaleDenseNetwork(2, 3, **options).double(), 0.2)
    dilations = options.get("dilations", tuple(range(1, 11)))
    assert [layer.dilation[0] for layer in network.layers] == [
        dilations[i % len(dilations)] for i in range(options["depth"])
    ]
    x = torch.rand(2, 2, *shape, dtype=torch.float64)
    torch.testing.assert_close(network(x), plain_msd(network, x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("depth", "dilations"), [(5, (1, 2, 3)), (11, tuple(range(1, 11))), (3, (7,))])
def test_msd_receptive_radius(depth, dilations):
    network = MixedScaleDenseNetwork(depth=depth, dilations=dilations)
    radius = network.receptive_radius
    assert radius == sum(dilations[i % len(dilations)] for i in range(depth))
    assert influence_radius(network, 2 * radius + 5, axis=3) == radius


def test_msd_weights_start_as_the_authors_draw_them():
    torch.manual_seed(0)
    network = MixedScaleDenseNetwork(2, 3, depth=60, width=2)
    drawn = torch.cat([layer.weight.flatten() for layer in network.layers])
    spread = (2 / (9 * (2 + 2 * 59) + 3)) ** 0.5
    assert 0.98 * spread < drawn.std() < 1.02 * spread and abs(drawn.mean()) < 0.02 * spread
    assert not any(layer.bias.any() for layer in network.layers) and not network.head.weight.any()


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: MixedScaleDenseNetwork(depth=0), "depth must be an integer >= 1; got 0"),
        (lambda: MixedScaleDenseNetwork(width=0), "width must be an integer >= 1; got 0"),
        (lambda: MixedScaleDenseNetwork(dilations=()), r"dilations must be one or more positive integers; got \(\)"),
        (lambda: MixedScaleDenseNetwork(dilations=3), "dilations must be one or more positive integers; got 3"),
        (lambda: MixedScaleDenseNetwork(dilations=(1, 0)), r"dilations\[1\] must be an integer >= 1; got 0"),
        (lambda: TomoGANGenerator(0), "n_adjacent must be an integer >= 1; got 0"),
        (lambda: TomoGANGenerator(upsampling="cubic"), "upsampling must be one of 'bilinear', 'nearest', 'transposed'"),
        (lambda: TomoGANCritic(patch_shape=(8,)), "patch_shape must be 2 positive integers"),
        (lambda: ConvolutionalVAE((16, 16), 0), "latent_dim must be an integer >= 1; got 0"),
    ],
)
def test_wrong_argument(build, match):
    with pytest.raises(ValueError, match=match):
        build()

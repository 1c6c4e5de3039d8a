"""What the learned denoisers are made of: random parts, the steps against a critic, patches, hidden pixels."""

import pytest
import torch

from tomolearn.denoising._adversarial import AdversarialTask, perceptual_loss
from tomolearn.denoising._crops import RandomCrops, crops_per_slice
from tomolearn.denoising._masked import Grid
from tomolearn.denoising._patches import cut, join
from tomolearn.networks import RandomFeatures, TomoGANGenerator
from tomolearn.training import Callback, Engine, Samples, TrainingOptions

# ------------------------------------------------------------------------------------------------- random parts


def test_crops_are_of_the_same_place_and_turned_alike():
    place = torch.arange(2 * 30 * 40, dtype=torch.float32).reshape(2, 30, 40)
    torch.manual_seed(0)
    seen = set()
    for _ in range(60):
        x, y = RandomCrops((8, 8), True)(torch.stack([place, -place], 1), place)
        assert x.shape == (2, 2, 8, 8) and y.shape == (2, 8, 8)
        assert torch.equal(x[:, 0], y) and torch.equal(x[:, 1], -y)
        seen |= {(float(part[0, 1] - part[0, 0]), float(part[1, 0] - part[0, 0])) for part in y}
    assert seen == {(s * a, t * b) for a, b in ((1, 40), (40, 1)) for s in (1, -1) for t in (1, -1)}  # all eight
    x, y = RandomCrops((8, 50), False)(place[:, None], place)
    assert y.shape == (2, 8, 40) and float(y[0, 0, 1] - y[0, 0, 0]) == 1


def test_crops_come_from_everywhere():
    torch.manual_seed(0)
    counts = torch.zeros(6, 6)
    place = torch.arange(36.0).reshape(1, 6, 6)
    for _ in range(400):
        _, y = RandomCrops((5, 5), True)(place[:, None], place)
        counts.view(-1)[y.long().ravel()] += 1
    assert counts.min() > 0.15 * 400  # a corner is in one of four places
    assert crops_per_slice((512, 512), (128, 128)) == 16
    assert crops_per_slice((20, 300), (128, 128)) == 2


# ----------------------------------------------------------------------------------------------- the adversary


class Rising(torch.nn.Module):
    """A critic whose slope is known: ``factor`` times the first pixel."""

    def __init__(self, factor):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return self.factor * x[:, 0, 0, 0]


def task(critic, **options):
    options = {
        "normalize": lambda x, y: (x, y),
        "crop": lambda x, y: (x, y),
        "features": None,
        "adversarial": "wasserstein",
        "weights": {"pixel": 1.0, "adversarial": 1.0, "perceptual": 0.0},
        "gradient_penalty": 10.0,
        "n_critic": 1,
        "pixel_epochs": 0,
        "optimizers": {name: lambda p: torch.optim.SGD(p, 0.0) for name in ("generator", "critic")},
    } | options
    return AdversarialTask(TomoGANGenerator(), critic, **options)


@pytest.mark.parametrize("slope", [0.0, 0.5, 3.0])
def test_gradient_penalty_of_a_known_slope(slope):
    of = task(critic := Rising(slope))
    penalty = of._penalty_of(torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8))
    assert float(penalty.detach()) == pytest.approx((slope - 1) ** 2, abs=1e-5)
    penalty.backward()
    assert torch.isfinite(critic.factor.grad)
    assert float(critic.factor.grad) == pytest.approx(2 * (slope - 1) if slope else 0, rel=1e-4)


class Steps:
    """Stands for the engine: notes the losses."""

    def __init__(self, epoch=0):
        self.epoch, self.names, self.losses = epoch, [], {}

    def autocast(self):
        return torch.autocast("cpu", enabled=False)

    def step(self, name, loss):
        self.names.append(name)
        self.losses[name] = float(loss.detach())


def test_the_steps_of_generator_and_critic():
    x, y = torch.rand(2, 1, 16, 16), torch.rand(2, 16, 16)
    of = task(Rising(0.5), n_critic=3)
    engine = Steps()
    losses = of.training_step(engine, (x, y))
    assert engine.names == ["critic"] * 3 + ["generator"]
    image = of.modules["network"](x).detach()
    judged = 0.5 * image[:, 0, 0, 0].mean()
    expected = judged - 0.5 * y[:, 0, 0].mean() + 10 * 0.25
    assert engine.losses["critic"] == pytest.approx(float(expected), rel=1e-5)
    pixel = (image[:, 0] - y).square().mean()
    assert engine.losses["generator"] == pytest.approx(float(pixel - judged), rel=1e-5)
    assert set(losses) == {"loss", "pixel_loss", "adversarial_loss", "critic_loss"}


def test_vanilla_losses_are_cross_entropies():
    x, y = torch.rand(2, 1, 16, 16), torch.rand(2, 16, 16)
    of = task(Rising(2.0), adversarial="vanilla")
    engine = Steps()
    of.training_step(engine, (x, y))
    image = of.modules["network"](x).detach()
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    made, real = 2 * image[:, 0, 0, 0], 2 * y[:, 0, 0]
    expected = entropy(real, torch.ones(2)) + entropy(made, torch.zeros(2))
    assert engine.losses["critic"] == pytest.approx(float(expected), rel=1e-5)
    expected = (image[:, 0] - y).square().mean() + entropy(made, torch.ones(2))
    assert engine.losses["generator"] == pytest.approx(float(expected), rel=1e-5)


def test_the_schedule_leaves_the_critic_alone():
    make = {name: lambda p: torch.optim.SGD(p, 0.1) for name in ("generator", "critic")}
    of, rates = task(Rising(1.0), optimizers=make), []

    class Rates(Callback):
        def on_step_end(self, engine):
            rates.append([engine.optimizers[name].param_groups[0]["lr"] for name in make])

    options = TrainingOptions(max_epochs=3, batch_size=2, schedule="cosine")
    Engine(of, options, [Rates()]).train(Samples(torch.rand(6, 1, 16, 16), torch.rand(6, 16, 16)))
    generator, critic = zip(*rates, strict=True)
    assert generator[0] == 0.1 and generator[-1] < 0.01
    assert set(critic) == {0.1}


def test_the_critic_waits_for_pixel_epochs():
    batch = torch.rand(2, 1, 16, 16), torch.rand(2, 16, 16)
    of = task(Rising(1.0), pixel_epochs=2)
    names = []
    for epoch in range(3):
        engine = Steps(epoch)
        losses = of.training_step(engine, batch)
        names.append(engine.names)
        assert (float(losses["critic_loss"]) != 0) == (epoch == 2)
    assert names == [["generator"], ["generator"], ["critic", "generator"]]


def test_the_perceptual_loss_has_a_gradient_and_its_network_stays():
    features = RandomFeatures()
    before = {name: value.clone() for name, value in features.state_dict().items()}
    image, target = torch.rand(2, 1, 32, 32, requires_grad=True), torch.rand(2, 1, 32, 32)
    loss = perceptual_loss(features(image), features(target))
    loss.backward()
    assert float(image.grad.abs().max()) > 0
    assert all(torch.equal(value, before[name]) for name, value in features.state_dict().items())
    assert float(perceptual_loss(features(target), features(target))) == 0
    # Parts of what is wanted: the size of the features does not matter.
    a, b = (torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)), (torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4))
    scaled = perceptual_loss([1000 * t for t in a], [1000 * t for t in b])
    assert float(scaled) == pytest.approx(float(perceptual_loss(a, b)), rel=1e-5)


# ---------------------------------------------------------------------------------------- patches and hidden pixels


def test_patches_join_to_the_image():
    for shape, patch in (((70, 41), (16, 20)), ((16, 20), (16, 20)), ((5, 3), (16, 20)), ((17, 100), (16, 20))):
        images = torch.rand(3, *shape)
        patches, plan = cut(images, patch)
        assert patches.shape[1:] == (1, *patch)
        torch.testing.assert_close(join(patches, plan), images)


def test_every_pixel_is_hidden_once():
    grid = Grid(4, 1)
    x = torch.rand(1, 3, 11, 13)
    hidden = torch.zeros(1, 11, 13)
    for phase in grid.phases():
        shown = grid.hide(x, phase)
        assert torch.equal(shown[:, [0, 2]], x[:, [0, 2]])
        changed = (shown != x)[:, 1]
        grid.at(hidden, phase).add_(1)
        assert bool(grid.at(changed, phase).all())
        assert changed.float().mean() > 0.35  # 9 of 16, less what the borders cut off
    assert bool((hidden == 1).all())

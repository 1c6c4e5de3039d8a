"""Losses of segmentation: hand-worked values, those of other packages, laws, gradients."""

import functools
import math

import pytest
import torch
from labelled import IGNORED, SHAPE, a_batch, probabilities
from torch.nn import functional as F

from tomolearn.losses import (
    balanced_cross_entropy,
    dice_cross_entropy,
    dice_loss,
    focal_loss,
    tversky_loss,
    weighted_cross_entropy,
)

# name: (function, options for two classes in one channel, options for three classes)
CASES = {
    "cross-entropy": (weighted_cross_entropy, {}, {}),
    "weighted": (weighted_cross_entropy, {"beta": 3.0}, {"beta": (0.5, 1.0, 4.0)}),
    "weighted-balanced": (weighted_cross_entropy, {"beta": "balanced"}, {"beta": "balanced"}),
    "balanced": (balanced_cross_entropy, {"beta": 0.8}, {"beta": (1.0, 3.0, 4.0)}),
    "balanced-balanced": (balanced_cross_entropy, {}, {}),
    "focal": (focal_loss, {"alpha": 0.25}, {"alpha": (0.1, 0.3, 0.6)}),
    "focal-steep": (focal_loss, {"gamma": 0.5}, {"gamma": 0.5, "alpha": "balanced"}),
    "dice": (dice_loss, {}, {}),
    "dice-bare": (dice_loss, {"smooth": 0.0}, {"smooth": 0.0, "class_weights": (1.0, 2.0, 5.0)}),
    "dice-image": (dice_loss, {"per_image": True}, {"per_image": True}),
    "tversky": (tversky_loss, {"alpha": 0.2}, {"alpha": 0.2, "class_weights": (1.0, 2.0, 3.0)}),
    "dice-cross-entropy": (dice_cross_entropy, {"beta": 2.0}, {"beta": "balanced", "dice_weight": 0.5}),
}
# name of a case and of its number of channels: (bound function, channels)
BOUND = {
    f"{name}-{channels}": (functools.partial(case[0], **case[1 if channels == 1 else 2]), channels)
    for name, case in CASES.items()
    for channels in (1, 3)
}
every_loss = pytest.mark.parametrize(("loss", "channels"), BOUND.values(), ids=BOUND)


def gradient(loss, prediction, *args, **options):
    prediction = prediction.detach().requires_grad_()
    value = loss(prediction, *args, **options)
    value.backward()
    return value.detach(), prediction.grad


# ------------------------------------------------------------------------------------------------- known answers

P, Y = torch.tensor([[[0.8, 0.4, 0.1]]], dtype=torch.float64), torch.tensor([[[1, 0, 1]]])
LOG_TRUE = [math.log(0.8), math.log(0.6), math.log(0.1)]
# three pixels of classes 0, 1, 2
P3 = torch.tensor([[[[0.7, 0.2, 0.1]], [[0.2, 0.5, 0.3]], [[0.1, 0.3, 0.6]]]], dtype=torch.float64)
Y3 = torch.tensor([[[0, 1, 2]]])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (weighted_cross_entropy(P, Y, from_logits=False), -sum(LOG_TRUE) / 3),
        (
            weighted_cross_entropy(P, Y, beta=2.0, from_logits=False),
            -(2 * LOG_TRUE[0] + LOG_TRUE[1] + 2 * LOG_TRUE[2]) / 3,
        ),
        (
            weighted_cross_entropy(P, Y, beta=(3.0, 2.0), from_logits=False),
            -(2 * LOG_TRUE[0] + 3 * LOG_TRUE[1] + 2 * LOG_TRUE[2]) / 3,
        ),
        (
            balanced_cross_entropy(P, Y, beta=0.7, from_logits=False),
            -(0.7 * LOG_TRUE[0] + 0.3 * LOG_TRUE[1] + 0.7 * LOG_TRUE[2]) / 3,
        ),
        (
            balanced_cross_entropy(P, Y, from_logits=False),  # one pixel of three is of class 0
            -(LOG_TRUE[0] + 2 * LOG_TRUE[1] + LOG_TRUE[2]) / 9,
        ),
        (
            focal_loss(P, Y, gamma=2.0, alpha=0.25, from_logits=False),
            -(0.25 * 0.2**2 * LOG_TRUE[0] + 0.75 * 0.4**2 * LOG_TRUE[1] + 0.25 * 0.9**2 * LOG_TRUE[2]) / 3,
        ),
        (dice_loss(P, Y, from_logits=False), 1 - (2 * 0.9 + 1) / (1.3 + 2 + 1)),
        (dice_loss(P, Y, smooth=0, from_logits=False), 1 - 1.8 / 3.3),
        (tversky_loss(P, Y, from_logits=False), 1 - 1.9 / (0.9 + 0.3 * 0.4 + 0.7 * 1.1 + 1)),
        (
            dice_cross_entropy(P, Y, dice_weight=2.0, cross_entropy_weight=0.5, beta=2.0, from_logits=False),
            2 * (1 - 2.8 / 4.3) - 0.5 * (2 * LOG_TRUE[0] + LOG_TRUE[1] + 2 * LOG_TRUE[2]) / 3,
        ),
        (
            weighted_cross_entropy(P3, Y3, beta=(1.0, 2.0, 4.0), from_logits=False),
            -(math.log(0.7) + 2 * math.log(0.5) + 4 * math.log(0.6)) / 3,
        ),
        (
            balanced_cross_entropy(P3, Y3, beta=(1.0, 2.0, 5.0), from_logits=False),
            -(math.log(0.7) + 2 * math.log(0.5) + 5 * math.log(0.6)) / 24,
        ),
        (
            focal_loss(P3, Y3, gamma=1.0, alpha=(1.0, 2.0, 4.0), from_logits=False),
            -(0.3 * math.log(0.7) + 2 * 0.5 * math.log(0.5) + 4 * 0.4 * math.log(0.6)) / 3,
        ),
        (dice_loss(P3, Y3, from_logits=False), 1 - (2.4 / 3 + 2 / 3 + 2.2 / 3) / 3),
        (
            dice_loss(P3, Y3, class_weights=(0.0, 1.0, 3.0), from_logits=False),
            1 - (2 / 3 + 3 * 2.2 / 3) / 4,
        ),
        (
            tversky_loss(P3, Y3, alpha=0.2, beta=0.9, smooth=0, from_logits=False),
            1 - (0.7 / (0.7 + 0.06 + 0.27) + 0.5 / (0.5 + 0.1 + 0.45) + 0.6 / (0.6 + 0.08 + 0.36)) / 3,
        ),
    ],
)
def test_hand_worked_values(value, expected):
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_two_pixels_of_weight():
    weight_map = torch.tensor([[[3.0, 1.0, 0.0]]])
    value = weighted_cross_entropy(P, Y, weight_map=weight_map, from_logits=False)
    assert value.item() == pytest.approx(-(3 * LOG_TRUE[0] + LOG_TRUE[1]) / 4, rel=1e-12)
    value = dice_loss(P, Y, weight_map=weight_map, from_logits=False)
    assert value.item() == pytest.approx(1 - (2 * 2.4 + 1) / (2.8 + 3 + 1), rel=1e-12)


def test_published_objectives():
    """Those of superres-tomo, written as there: clipped probabilities to logits, then a cross entropy of logits."""
    logits, labels = a_batch(1)
    p, y = logits.sigmoid()[:, 0].clamp(1e-7, 1 - 1e-7), labels.double()
    clipped, beta = torch.log(p / (1 - p)), 0.8
    weighted = F.binary_cross_entropy_with_logits(clipped, y, pos_weight=torch.tensor(3.0))
    assert weighted_cross_entropy(p, labels, beta=3.0, from_logits=False).item() == pytest.approx(weighted.item())
    balanced = F.binary_cross_entropy_with_logits(clipped, y, pos_weight=torch.tensor(beta / (1 - beta))) * (1 - beta)
    assert balanced_cross_entropy(p, labels, beta=beta, from_logits=False).item() == pytest.approx(balanced.item())
    dice = (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    assert dice_loss(p, labels, from_logits=False).item() == pytest.approx(1 - dice.item())


def test_cross_entropy_of_torch():
    logits, labels = a_batch(3)
    labels[0, 2] = IGNORED
    weights = torch.tensor([1.0, 2.0, 5.0]).double()
    value = weighted_cross_entropy(logits, labels, ignore_index=IGNORED)
    torch.testing.assert_close(value, F.cross_entropy(logits, labels, ignore_index=IGNORED))
    value = weighted_cross_entropy(logits, labels, beta=weights, ignore_index=IGNORED)
    per_pixel = F.cross_entropy(logits, labels, weight=weights, ignore_index=IGNORED, reduction="sum")
    torch.testing.assert_close(value, per_pixel / (labels != IGNORED).sum())
    # torch divides by the sum of the weights of the pixels: ours with the weights as a map
    value = weighted_cross_entropy(
        logits, labels, weight_map=weights[labels.where(labels < 3, 0)], ignore_index=IGNORED
    )
    torch.testing.assert_close(value, F.cross_entropy(logits, labels, weight=weights, ignore_index=IGNORED))


@pytest.mark.slow  # to import
@pytest.mark.parametrize("channels", [1, 3])
def test_values_of_monai(channels):
    monai = pytest.importorskip("monai.losses")
    logits, labels = a_batch(channels, shape=(3, 6, 5))
    y = labels.unsqueeze(1)
    options = {"sigmoid": channels == 1, "softmax": channels > 1, "to_onehot_y": channels > 1, "batch": True}
    options |= {"smooth_nr": 1.0, "smooth_dr": 1.0}
    pairs = [
        (dice_loss(logits, labels), monai.DiceLoss(**options)),
        (dice_loss(logits, labels, per_image=True), monai.DiceLoss(**options | {"batch": False})),
        (
            tversky_loss(logits, labels, alpha=0.2, beta=0.9),
            monai.TverskyLoss(**options, alpha=0.2, beta=0.9),
        ),
        (
            dice_cross_entropy(logits, labels, dice_weight=0.3, cross_entropy_weight=2.0),
            monai.DiceCELoss(**options, lambda_dice=0.3, lambda_ce=2.0),
        ),
    ]
    if channels == 1:
        pairs.append((focal_loss(logits, labels, gamma=1.5, alpha=0.3), monai.FocalLoss(gamma=1.5, alpha=0.3)))
    for value, theirs in pairs:
        torch.testing.assert_close(value.float(), theirs(logits, y.double()).float())
    if channels == 3:
        alpha = [0.2, 0.3, 0.5]
        theirs = monai.FocalLoss(gamma=1.5, alpha=alpha, to_onehot_y=True, use_softmax=True)
        # a mean over pixels and classes, of which all but one are 0
        ours = focal_loss(logits, labels, gamma=1.5, alpha=alpha) / 3
        torch.testing.assert_close(ours.float(), theirs(logits, y))
    y[:, :, 0] = IGNORED
    theirs = monai.DiceLoss(**options, ignore_index=IGNORED)(logits, y)
    torch.testing.assert_close(dice_loss(logits, y, ignore_index=IGNORED).float(), theirs.float())


# ---------------------------------------------------------------------------------------------------------- laws


@every_loss
def test_probabilities_give_what_logits_give(loss, channels):
    logits, labels = a_batch(channels)
    torch.testing.assert_close(loss(probabilities(logits), labels, from_logits=False), loss(logits, labels))


@pytest.mark.parametrize("name", CASES)
def test_one_channel_is_a_softmax_of_two(name):
    function, options, _ = CASES[name]
    logits, labels = a_batch(1)
    two = torch.cat([torch.zeros_like(logits), logits], dim=1)
    if function in (dice_loss, tversky_loss, dice_cross_entropy):  # one channel has the coefficient of class 1
        value = function(two, labels, **options | {"class_weights": (0.0, 1.0)})
    else:
        value = function(two, labels, **options)
    torch.testing.assert_close(value, function(logits, labels, **options))


@every_loss
def test_layouts_and_kinds_of_labels(loss, channels):
    logits, labels = a_batch(channels)
    expected = loss(logits, labels)
    assert expected.shape == ()
    for same in (labels.unsqueeze(1), labels.to(torch.uint8), labels.to(torch.uint16), labels.to(torch.bfloat16)):
        torch.testing.assert_close(loss(logits, same), expected, rtol=0, atol=0)
    torch.testing.assert_close(loss(logits.contiguous(memory_format=torch.channels_last), labels), expected)
    if channels == 1:
        torch.testing.assert_close(loss(logits[:, 0], labels == 1), expected, rtol=0, atol=0)


@every_loss
def test_right_is_better_than_undecided_is_better_than_wrong(loss, channels):
    labels = a_batch(channels)[1]
    sure = F.one_hot(labels, max(2, channels)).movedim(-1, 1).double()
    if channels == 1:
        sure = sure[:, 1:]
    right, undecided = loss(sure, labels, from_logits=False), loss(torch.zeros_like(sure), labels)
    wrong = loss(1 - sure if channels == 1 else sure.roll(1, dims=1), labels, from_logits=False)
    assert 0 <= right.item() < 1e-6 < undecided.item() < wrong.item()


@every_loss
@pytest.mark.parametrize("how", ["ignore_index", "weight_map"])
def test_pixels_that_do_not_count(loss, channels, how):
    """Nothing there changes the loss, which is that of the other pixels alone, and they have no gradient."""
    logits, labels = a_batch(channels)
    out = torch.zeros(SHAPE, dtype=torch.bool)
    out[:, 1] = True
    others = gradient(loss, logits[:, :, [0, 2]], labels[:, [0, 2]])
    logits[:, :, 1], labels[:, 1] = torch.nan, 200
    if how == "ignore_index":
        value, slope = gradient(loss, logits, labels.where(~out, IGNORED), ignore_index=IGNORED)
    else:
        value, slope = gradient(loss, logits, labels, weight_map=~out)
    torch.testing.assert_close(slope[:, :, 1], torch.zeros_like(slope[:, :, 1]), rtol=0, atol=0)
    torch.testing.assert_close(value, others[0])
    torch.testing.assert_close(slope[:, :, [0, 2]], others[1])


@every_loss
@pytest.mark.parametrize("from_logits", [True, False])
def test_nothing_counts(loss, channels, from_logits):
    logits, labels = a_batch(channels)
    prediction = logits if from_logits else probabilities(logits)
    for options in (
        {"labels": torch.full_like(labels, -1), "ignore_index": -1},
        {"labels": labels, "weight_map": torch.zeros(SHAPE)},
    ):
        value, slope = gradient(loss, prediction, from_logits=from_logits, **options)
        assert value.item() == 0
        assert not slope.any()


@every_loss
def test_scale_of_a_weight_map(loss, channels):
    logits, labels = a_batch(channels)
    weights = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)).double()
    a, b = (loss(logits, labels, weight_map=scale * weights) for scale in (1, 2))
    if loss.func in (weighted_cross_entropy, balanced_cross_entropy, focal_loss):
        torch.testing.assert_close(a, b)
    elif loss.keywords.get("smooth", 1) > 0:  # the smoothing weighs less beside larger sums
        assert abs(a.item() - b.item()) > 1e-5
    # a weight of 2 is a pixel that is there twice
    twice = torch.ones(SHAPE)
    twice[:, 1] = 2
    rows = [0, 1, 1, 2]
    torch.testing.assert_close(loss(logits, labels, weight_map=twice), loss(logits[:, :, rows], labels[:, rows]))


def test_an_image_in_which_nothing_counts_is_left_out():
    logits, labels = a_batch(3)
    for loss in (dice_loss, tversky_loss):
        alone = loss(logits[:1], labels[:1])
        labels[1] = IGNORED
        torch.testing.assert_close(loss(logits, labels, per_image=True, ignore_index=IGNORED), alone)


def test_dice_per_image_is_the_mean_over_images():
    logits, labels = a_batch(3)
    alone = torch.stack([dice_loss(logits[i : i + 1], labels[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(dice_loss(logits, labels, per_image=True), alone.mean())
    assert abs(dice_loss(logits, labels) - alone.mean()) > 1e-3


def test_a_class_that_is_ignored_has_no_dice():
    logits, labels = a_batch(3)
    value = dice_loss(logits, labels, ignore_index=0)
    kept = dice_loss(logits, labels, class_weights=(0, 1, 1), weight_map=labels != 0)
    torch.testing.assert_close(value, kept)
    assert abs(value - dice_loss(logits, labels, weight_map=labels != 0)) > 1e-3


def test_relations():
    for channels in (1, 3):
        logits, labels = a_batch(channels)
        torch.testing.assert_close(
            tversky_loss(logits, labels, alpha=0.5, beta=0.5, smooth=1.0), dice_loss(logits, labels, smooth=2.0)
        )
        plain = weighted_cross_entropy(logits, labels)
        torch.testing.assert_close(focal_loss(logits, labels, gamma=0.0), plain)
        assert focal_loss(logits, labels) < plain
        both = dice_cross_entropy(logits, labels, dice_weight=0.0, cross_entropy_weight=2.0)
        torch.testing.assert_close(both, 2 * plain)
        both = dice_cross_entropy(logits, labels, dice_weight=2.0, cross_entropy_weight=0.0, smooth=3.0)
        torch.testing.assert_close(both, 2 * dice_loss(logits, labels, smooth=3.0))


def test_beta_turns_the_error():
    """As the manual of superres-tomo means: above 1 fewer false negatives, below 1 fewer false positives."""
    labels = (torch.arange(10) < 3).view(1, 1, 10)

    p = torch.linspace(0.01, 0.99, 99)

    def best(beta):  # the one probability that suits all pixels best
        values = [weighted_cross_entropy(q.expand(1, 1, 10), labels, beta=beta, from_logits=False) for q in p]
        return p[torch.stack(values).argmin()]

    assert best(1.0).item() == pytest.approx(0.3)
    assert best(4.0).item() == pytest.approx(4 * 3 / (4 * 3 + 7), abs=0.01)
    assert best(0.25).item() == pytest.approx(0.75 / (0.75 + 7), abs=0.01)


# --------------------------------------------------------------------------------------------- numbers and gradients


@every_loss
@pytest.mark.parametrize("from_logits", [True, False])
def test_gradients(loss, channels, from_logits):
    logits, labels = a_batch(channels, shape=(2, 2, 3))
    prediction = (logits if from_logits else probabilities(logits)).requires_grad_()
    weight_map = torch.rand(labels.shape, generator=torch.Generator().manual_seed(1)).double()
    labels[0, 1] = IGNORED
    call = functools.partial(loss, labels=labels, weight_map=weight_map, ignore_index=IGNORED, from_logits=from_logits)
    assert torch.autograd.gradcheck(call, prediction)
    assert prediction.dtype == call(prediction).dtype == torch.float64


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_probabilities_of_0_and_1(loss, channels, dtype):
    """Right and wrong at once, in all places: values and gradients are finite, and those of wrong pixels point home."""
    labels = torch.tensor([[[0, 0, 1, 1]], [[1, 0, 0, 1]]])
    given = torch.tensor([[[0, 1, 0, 1]], [[0, 0, 1, 1]]])
    p = given.unsqueeze(1) if channels == 1 else F.one_hot(given, channels).movedim(-1, 1)
    value, slope = gradient(loss, p.to(dtype), labels, from_logits=False)
    assert value.dtype == torch.float32 and slope.dtype == dtype
    assert 0 < value.item() < 100
    assert slope.isfinite().all()
    wrong = (labels != given).unsqueeze(1)
    true = slope if channels == 1 else slope.gather(1, labels.unsqueeze(1))
    sign = -1 if channels > 1 else 1 - 2 * labels.unsqueeze(1)
    assert (true * sign)[wrong].min() > 0


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [30.0, 1e4])
def test_logits_of_great_size(loss, channels, dtype, size):
    """Far beyond what a probability can hold, the gradient of wrong pixels is what it should be."""
    labels = torch.tensor([[[0, 0, 1, 1]], [[1, 0, 0, 1]]])
    given = torch.tensor([[[0, 1, 0, 1]], [[0, 0, 1, 1]]])
    p = given.unsqueeze(1) if channels == 1 else F.one_hot(given, channels).movedim(-1, 1)
    value, slope = gradient(loss, (size * (2.0 * p - 1)).to(dtype), labels)
    assert value.dtype == torch.float32 and value.isfinite() and slope.isfinite().all()
    if loss.func in (weighted_cross_entropy, balanced_cross_entropy, focal_loss):
        wrong = (labels != given).unsqueeze(1)
        true = slope if channels == 1 else slope.gather(1, labels.unsqueeze(1))
        assert true[wrong].abs().min() > 0.01
        assert value > 0.05 * size


@every_loss
def test_half_precision_is_computed_in_float32(loss, channels):
    logits, labels = a_batch(channels, shape=(2, 40, 40))
    logits = logits.bfloat16()
    expected = loss(logits.float(), labels)
    assert loss(logits, labels).dtype == torch.float32
    torch.testing.assert_close(loss(logits, labels), expected, rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(logits, labels), expected, rtol=0, atol=0)
    torch.testing.assert_close(expected.double(), loss(logits.double(), labels), rtol=1e-5, atol=1e-6)


def test_probabilities_are_clipped():
    wrong, labels = torch.tensor([[[0.0]]]), torch.tensor([[[1]]])
    assert weighted_cross_entropy(wrong, labels, from_logits=False).item() == pytest.approx(-math.log(1e-7))
    right = weighted_cross_entropy(1 - wrong, labels, from_logits=False).item()
    assert 0 < right == pytest.approx(1e-7, rel=0.2)  # the nearest float32 below 1
    slightly_more = torch.tensor([[[1.0005]]], dtype=torch.float64)
    assert weighted_cross_entropy(slightly_more, labels, from_logits=False).item() == pytest.approx(1e-7)


def test_easy_pixels_of_the_focal_loss():
    """1 - p keeps its digits where p is 1 in float32."""
    easy, labels = torch.tensor([[[20.0]]]), torch.tensor([[[1]]])
    assert focal_loss(easy, labels, gamma=1.0).item() == pytest.approx(math.exp(-40), rel=1e-5)


def test_absent_classes_of_a_balanced_batch():
    logits = a_batch(3)[0]
    ones = torch.ones(SHAPE, dtype=torch.long)
    plain = weighted_cross_entropy(logits, ones)
    torch.testing.assert_close(weighted_cross_entropy(logits, ones, beta="balanced"), plain)
    torch.testing.assert_close(balanced_cross_entropy(logits, ones), plain)
    torch.testing.assert_close(focal_loss(logits, ones, gamma=0.0, alpha="balanced"), plain)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_class_weighs_the_same_in_a_balanced_batch(channels):
    logits, labels = a_batch(channels)
    per_class = [weighted_cross_entropy(logits, labels, weight_map=labels == k) for k in range(max(2, channels))]
    expected = torch.stack(per_class).mean()
    torch.testing.assert_close(weighted_cross_entropy(logits, labels, beta="balanced"), expected)


@every_loss
def test_nan_comes_out(loss, channels):
    """A network that has diverged is not taken for one that has learned."""
    logits, labels = a_batch(channels)
    for from_logits in (True, False):
        prediction = logits if from_logits else probabilities(logits)
        prediction[0, :, 0, 0] = torch.nan
        assert loss(prediction, labels, from_logits=from_logits).isnan()

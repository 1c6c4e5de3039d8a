"""Losses of segmentation: weights from masks, modules, and what is said of wrong arguments."""

import copy
import math

import numpy as np
import pytest
import torch
from labelled import IGNORED, SHAPE, a_batch, probabilities

from tomolearn import losses
from tomolearn.losses import (
    balanced_beta,
    balanced_cross_entropy,
    balanced_weights,
    dice_cross_entropy,
    dice_loss,
    focal_loss,
    tversky_loss,
    weighted_cross_entropy,
)

FUNCTIONS = (weighted_cross_entropy, balanced_cross_entropy, focal_loss, dice_loss, tversky_loss, dice_cross_entropy)
every_function = pytest.mark.parametrize("loss", FUNCTIONS)

# -------------------------------------------------------------------------------------------------- weights of masks


def test_beta_of_masks():
    masks = np.zeros((4, 5, 5), dtype=np.uint8)
    masks[:, 0, 0] = 1
    assert balanced_beta(masks) == pytest.approx(24)
    assert balanced_beta(masks, loss="balanced") == pytest.approx(0.96)
    assert balanced_weights(masks) == pytest.approx((25 / 48, 12.5))
    masks[:, 1] = IGNORED
    assert balanced_beta(masks, ignore_index=IGNORED) == pytest.approx(19)
    assert balanced_weights(masks, n_classes=2, ignore_index=IGNORED) == pytest.approx((20 / 38, 10))


@pytest.mark.parametrize(
    "kind",
    [
        lambda m: m,
        lambda m: torch.from_numpy(m),
        lambda m: torch.from_numpy(m).bfloat16(),
        lambda m: m.astype(np.float32),
        lambda m: m.tolist(),
        lambda m: [m[0], m[1:].reshape(3, -1)],
        lambda m: (mask for mask in m),
    ],
    ids=["array", "tensor", "bfloat16", "float", "list", "shapes", "generator"],
)
def test_kinds_of_masks(kind):
    masks = np.random.default_rng(0).integers(0, 3, (4, 5, 6))
    counts = np.bincount(masks.reshape(-1))
    assert balanced_weights(kind(masks)) == pytest.approx(tuple(masks.size / 3 / counts))
    assert balanced_beta(kind((masks > 1) * 1)) == pytest.approx((counts[0] + counts[1]) / counts[2])


def test_weights_of_masks_are_those_of_a_batch():
    for channels in (1, 3):
        logits, labels = a_batch(channels)
        weights = balanced_weights(labels)
        torch.testing.assert_close(
            weighted_cross_entropy(logits, labels, beta=weights),
            weighted_cross_entropy(logits, labels, beta="balanced"),
        )
        torch.testing.assert_close(
            balanced_cross_entropy(logits, labels, beta=weights), balanced_cross_entropy(logits, labels)
        )
    logits, labels = a_batch(1)
    torch.testing.assert_close(
        balanced_cross_entropy(logits, labels, beta=balanced_beta(labels, loss="balanced")),
        balanced_cross_entropy(logits, labels),
    )
    weights = balanced_weights(labels)
    torch.testing.assert_close(
        weighted_cross_entropy(logits, labels, beta=weights),
        weights[0] * weighted_cross_entropy(logits, labels, beta=balanced_beta(labels)),
    )


def test_the_weight_of_an_ignored_class_is_0():
    assert balanced_weights([[0, 0, 1, 2, 2, 2]], ignore_index=0) == pytest.approx((0, 2, 2 / 3))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: balanced_beta(np.zeros((2, 3))), ValueError, r"masks must hold every class .* no pixel: \[1\]"),
        (lambda: balanced_beta([[0, 255]]), ValueError, r"labels 0 to 1 .* got values from 0 to 255.*masks > 0"),
        (lambda: balanced_beta([[0, 1]], ignore_index=0), ValueError, r"no pixel: \[0\]"),
        (lambda: balanced_beta([[0, 1]], loss="dice"), ValueError, "loss must be one of 'weighted', 'balanced'"),
        (lambda: balanced_weights([[0, 2]]), ValueError, r"of 3 classes these have no pixel: \[1\]"),
        (lambda: balanced_weights([[0, 1]], n_classes=3), ValueError, r"no pixel: \[2\]"),
        (lambda: balanced_weights([[-1, 1]]), ValueError, r"got values from -1 to 1"),
        (lambda: balanced_weights([[0.5, 1]]), ValueError, "whole-number labels; got fractions"),
        (lambda: balanced_weights(["a"]), TypeError, "masks must hold whole-number or boolean labels"),
        (lambda: balanced_weights([]), ValueError, r"no pixel: \[0, 1\]"),
        (lambda: balanced_weights([[0, 1]], n_classes=1), ValueError, "n_classes must be an integer from 2"),
        (lambda: balanced_weights([[0, 1]], ignore_index=0.5), TypeError, "ignore_index must be an integer"),
    ],
)
def test_masks_that_cannot_be_balanced(call, error, match):
    with pytest.raises(error, match=match):
        call()


# ---------------------------------------------------------------------------------------------------------- modules

MODULES = {
    "WeightedCrossEntropy": (weighted_cross_entropy, {"beta": (1.0, 2.0, 3.0)}),
    "BalancedCrossEntropy": (balanced_cross_entropy, {"beta": (1.0, 2.0, 3.0)}),
    "FocalLoss": (focal_loss, {"gamma": 1.0, "alpha": (1.0, 2.0, 3.0)}),
    "DiceLoss": (dice_loss, {"smooth": 2.0, "class_weights": (1.0, 2.0, 3.0), "per_image": True}),
    "TverskyLoss": (
        tversky_loss,
        {"alpha": 0.1, "beta": 0.2, "smooth": 2.0, "class_weights": (1.0, 2.0, 3.0), "per_image": True},
    ),
    "DiceCrossEntropy": (
        dice_cross_entropy,
        {
            "dice_weight": 0.3,
            "cross_entropy_weight": 0.6,
            "beta": (1.0, 2.0, 3.0),
            "smooth": 2.0,
            "class_weights": (3.0, 2.0, 1.0),
            "per_image": True,
        },
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    """A module gives what its function does, each of its options counts, and copies of it are equal."""
    function, options = MODULES[name]
    make = getattr(losses, name)
    options = options | {"ignore_index": IGNORED, "from_logits": False}
    logits, labels = a_batch(3)
    p, weight_map = probabilities(logits), torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))
    labels[0, 2] = IGNORED
    expected = function(p, labels, weight_map=weight_map, **options)
    module = make(**options)
    for same in (module, copy.deepcopy(module), make(**module.options)):
        torch.testing.assert_close(same(p, labels, weight_map), expected, rtol=0, atol=0)
    assert repr(module).startswith(f"{name}(") and all(
        f"{key}={value!r}" in repr(module) for key, value in options.items()
    )
    assert module.state_dict() == {}
    torch.testing.assert_close(
        make()(logits, labels.where(labels < 3, 0)), function(logits, labels.where(labels < 3, 0))
    )
    for key in options.keys() - {"ignore_index", "from_logits"}:
        without = make(**{other: value for other, value in options.items() if other != key})
        assert abs(without(p, labels, weight_map) - expected) > 1e-6, key


def test_modules_keep_plain_options():
    module = losses.WeightedCrossEntropy(beta=torch.tensor([1.0, 2.0]))
    assert module.options["beta"] == (1.0, 2.0)
    assert losses.FocalLoss(alpha=np.array([0.25, 0.5, 1.0])).options["alpha"] == (0.25, 0.5, 1.0)
    assert losses.DiceLoss(class_weights=[0, 1]).options["class_weights"] == (0, 1)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: losses.WeightedCrossEntropy(beta=-1.0), ValueError, r"beta must be a number in \(0, "),
        (lambda: losses.BalancedCrossEntropy(beta=1.0), ValueError, r"beta must lie between 0 and 1; got 1\.0"),
        (lambda: losses.FocalLoss(gamma=-1), ValueError, "gamma must be a number"),
        (
            lambda: losses.DiceLoss(class_weights=(1.0,)),
            ValueError,
            "class_weights must be None for a prediction of one channel",
        ),
        (lambda: losses.DiceLoss(per_image=1), TypeError, "per_image must be True or False; got 1"),
        (lambda: losses.TverskyLoss(beta="balanced"), TypeError, "beta must be a number"),
        (lambda: losses.DiceCrossEntropy(beta=(1, 2), class_weights=(1, 2, 3)), ValueError, "beta must be one weight"),
        (lambda: losses.DiceLoss(ignore_index="x"), TypeError, "ignore_index must be an integer"),
        (lambda: losses.DiceLoss(from_logits=None), TypeError, "from_logits must be True .* got None"),
    ],
)
def test_options_are_checked_when_a_module_is_made(make, error, match):
    with pytest.raises(error, match=match):
        make()


# ------------------------------------------------------------------------------------------------------------ errors

X1, X3 = torch.zeros(2, 1, 4, 5), torch.zeros(2, 3, 4, 5)
L = torch.zeros(2, 4, 5, dtype=torch.long)


@every_function
@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        ((X3, L + 3), {}, ValueError, r"labels must be 0 to 2 \(no ignore_index is set\) .* got values from 3 to 3"),
        ((X1, L + 255), {"ignore_index": 7}, ValueError, r"0 to 1 \(or ignore_index=7\).*255 to 255.*masks > 0"),
        ((X3, L - 1), {}, ValueError, "got values from -1 to -1.*set ignore_index"),
        ((X1, L + 0.5), {}, ValueError, "labels must be whole numbers; got fractions or NaN"),
        ((X1, L * torch.nan), {}, ValueError, "labels must be whole numbers; got fractions or NaN"),
        ((X1, L[:, :3]), {}, ValueError, r"labels must have the shape .*\(2, 4, 5\).* got \(2, 3, 5\)"),
        ((X3, torch.zeros(2, 3, 4, 5)), {}, ValueError, r"one channel for each class, .* labels\.argmax\(1\)"),
        ((X1, L.numpy()), {}, TypeError, "labels must be a tensor of whole numbers or booleans; got ndarray"),
        ((X1.numpy(), L), {}, TypeError, "prediction must be a floating-point tensor.* got ndarray"),
        ((L, L), {}, TypeError, r"prediction must be a floating-point tensor.* got torch\.int64"),
        ((torch.zeros(4, 5), L), {}, ValueError, r"prediction must have the shape .* got \(4, 5\)"),
        ((X3[:0], L[:0]), {}, ValueError, r"and hold a pixel; got \(0, 3, 4, 5\)"),
        ((X3, L), {"weight_map": -torch.ones(2, 4, 5)}, ValueError, "weight_map must be finite and not negative"),
        ((X3, L), {"weight_map": X1[:, 0] / 0}, ValueError, "weight_map must be finite .* nan to nan"),
        ((X3, L), {"weight_map": torch.ones(4, 5)}, ValueError, r"weight_map must have the shape .* got \(4, 5\)"),
        ((X3, L), {"weight_map": 2.0}, TypeError, "weight_map must be a tensor of real numbers; got float"),
        ((X3 - 3, L), {"from_logits": False}, ValueError, "from -3 to -3. Set from_logits=True"),
        ((X1 + 2, L), {"from_logits": False}, ValueError, "probabilities, 0 to 1, .* from 2 to 2"),
        ((X3, L), {"from_logits": 1}, TypeError, "from_logits must be True"),
        ((X3, L), {"ignore_index": True}, TypeError, "ignore_index must be an integer"),
    ],
)
def test_errors_of_a_batch(loss, arguments, options, error, match):
    with pytest.raises(error, match=match):
        loss(*arguments, **options)


@pytest.mark.parametrize(
    ("loss", "options", "match"),
    [
        (weighted_cross_entropy, {"beta": 2.0}, r"beta must be one weight for each of the 3 classes.*got 2\.0"),
        (weighted_cross_entropy, {"beta": (1, 2)}, "beta must be one weight for each of the 3 classes; got 2"),
        (weighted_cross_entropy, {"beta": (1, -2, 1)}, r"beta\[1\] must be a number"),
        (weighted_cross_entropy, {"beta": (0, 0, 0)}, "beta must hold a weight above 0"),
        (weighted_cross_entropy, {"beta": "auto"}, "or 'balanced'; got 'auto'"),
        (weighted_cross_entropy, {"beta": math.inf}, "beta must be a number in"),
        (balanced_cross_entropy, {"beta": 1.5}, "beta must be a number in"),
        (balanced_cross_entropy, {"beta": None}, "or 'balanced'; got None"),
        (focal_loss, {"alpha": 0.3}, "alpha must be one weight for each of the 3 classes"),
        (focal_loss, {"gamma": math.nan}, "gamma must be a number"),
        (dice_loss, {"smooth": -1}, "smooth must be a number"),
        (dice_loss, {"class_weights": (1, 1)}, "class_weights must be one weight for each of the 3 classes; got 2"),
        (dice_loss, {"class_weights": "balanced"}, "class_weights must be a sequence .* got 'balanced'"),
        (dice_loss, {"class_weights": 2.0}, r"class_weights must be a sequence .* got 2\.0"),
        (tversky_loss, {"alpha": -0.1}, "alpha must be a number"),
        (tversky_loss, {"beta": -0.1}, "beta must be a number"),
        (dice_cross_entropy, {"dice_weight": -1}, "dice_weight must be a number"),
        (dice_cross_entropy, {"cross_entropy_weight": -1}, "cross_entropy_weight must be a number"),
    ],
)
def test_errors_of_options(loss, options, match):
    with pytest.raises(ValueError, match=match):
        loss(X3, L, **options)


@pytest.mark.parametrize("loss", [dice_loss, tversky_loss, dice_cross_entropy])
def test_one_channel_has_no_weights_of_classes(loss):
    with pytest.raises(ValueError, match="class_weights must be None for a prediction of one channel"):
        loss(X1, L, class_weights=(1, 1))

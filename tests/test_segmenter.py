"""UNetSegmenter: what it learns, and which pixels count how much."""

import numpy as np
import pytest
import torch
from segmenters import halves, shapes, small, weights

import tomolearn
from tomolearn import UNetSegmenter, dice
from tomolearn.segmentation._task import AllPatches, SegmentationTask
from tomolearn.training import Engine, TrainingOptions

# ------------------------------------------------------------------------------------------------- what it learns


def test_five_labels_are_learned_and_others_images_are_labelled():
    images, masks = shapes(6)
    segmenter = UNetSegmenter(
        base_channels=8, patch_shape=(48, 48), batch_size=2, learning_rate=5e-3, max_epochs=30, random_state=0
    ).fit(images, masks)
    new, truth = shapes(4, seed=1)
    assert segmenter.score(new, truth) > 0.8
    labels = segmenter.predict(new)
    assert labels.dtype == masks.dtype and set(np.unique(labels)) <= set(segmenter.classes_.tolist())
    np.testing.assert_array_equal(segmenter.classes_, np.arange(5))
    probabilities = segmenter.predict_proba(new)
    assert probabilities.dtype == np.float32 and probabilities.shape == (*new.shape, 5)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(-1), labels)
    np.testing.assert_array_equal(segmenter.transform(new), probabilities)
    assert segmenter.score(new, truth) == dice(truth, labels, labels=np.unique(truth))


@pytest.mark.parametrize(("labels", "dtype"), [((0, 255), np.uint8), ((False, True), bool), ((-3, 1000), np.int32)])
def test_two_labels_have_one_score_and_come_back_as_they_were(labels, dtype):
    images, masks = halves()
    masks = np.array(labels, dtype)[masks]
    segmenter = small(max_epochs=8, learning_rate=2e-2).fit(images, masks)
    assert segmenter.network_config_[1]["n_outputs"] == 1
    predicted = segmenter.predict(images)
    assert predicted.dtype == dtype and segmenter.classes_.tolist() == list(labels)
    assert segmenter.score(images, masks) > 0.95
    probabilities = segmenter.predict_proba(images)
    np.testing.assert_array_equal(np.array(labels, dtype)[(probabilities[..., 1] > 0.5).astype(int)], predicted)


def test_networks_of_the_original_have_their_parameters():
    images, masks = halves(1)
    published = {
        1_862_789: {"n_levels": 3},
        7_697_285: {"n_levels": 4, "pools": ((2, 2), (1, 2), (2, 2))},
        31_031_685: {"n_levels": 5, "dropout": 0.5},
    }
    for count, parameters in published.items():
        segmenter = small(base_channels=64, **parameters)
        segmenter.classes_, segmenter.image_shape_ = np.array([0, 1]), (32, 40)
        with torch.device("meta"):
            network = tomolearn.networks.build_network(*segmenter._network_config())
        assert sum(p.numel() for p in network.parameters()) == count
    segmenter = small(base_channels=64, max_epochs=1, early_stopping=False).fit(images, masks)
    assert segmenter.n_parameters_ == sum(p.numel() for p in segmenter.network_.parameters())


def test_loss_of_the_validation_is_one_minus_dice_over_all_of_it():
    """Of images of several sizes, the classes of which differ: the mean over patches would be another number."""
    images, masks = shapes(4)
    X_val, y_val = [images[2], images[3][:30, :41]], [masks[2], masks[3][:30, :41]]
    segmenter = small(max_epochs=3, learning_rate=1e-2).fit(images[:2], masks[:2], X_val=X_val, y_val=y_val)
    truth = np.concatenate([y.ravel() for y in y_val])
    # patches do not see beyond their edges: the same tiles, by hand
    samples = AllPatches(segmenter._validation(X_val, y_val))
    task = SegmentationTask(segmenter.network_, loss="dice", weights=None, n_classes=5, make_optimizer=torch.optim.Adam)
    found = Engine(task, TrainingOptions(batch_size=3)).validate(samples)["loss"]
    assert found == pytest.approx(min(segmenter.history_["val_loss"]), abs=1e-6)
    pairs = []
    for (batches,), _ in samples.in_order(3):
        for x, y in batches:
            with torch.no_grad():
                predicted = segmenter.network_(x).argmax(1)
            pairs += [(y[y >= 0], predicted[y >= 0])]
    true, predicted = (torch.cat(part).numpy() for part in zip(*pairs, strict=True))
    np.testing.assert_array_equal(np.bincount(true), np.bincount(truth))
    assert 1 - found == pytest.approx(dice(true, predicted, labels=np.unique(true)), abs=1e-9)


def test_slices_beside_a_slice_are_seen():
    """The label of a slice is shown by the slice before it alone."""
    rng = np.random.default_rng(0)
    masks = (rng.random((24, 1, 1)) < 0.5) * np.ones((1, 16, 16), np.uint8)
    images = np.concatenate([masks[1:], masks[:1]]).astype(np.float32) + rng.normal(0, 0.1, masks.shape)
    options = {"max_epochs": 12, "learning_rate": 1e-2, "early_stopping": False}
    assert small(**options).fit(images, masks).score(images, masks) < 0.8
    segmenter = small(n_adjacent=3, **options).fit(images, masks)
    assert segmenter.score(images[1:-1], masks[1:-1]) > 0.9
    padded = np.concatenate([images[:1], images, images[-1:]])
    windows = np.stack([padded[i : i + 3] for i in range(len(images))])
    np.testing.assert_array_equal(segmenter.predict(windows), segmenter.predict(images))
    twins = [small(n_adjacent=3, max_epochs=1).fit(X, masks) for X in (windows, images)]
    assert torch.equal(*map(weights, twins))


# ------------------------------------------------------------------------------------------- what counts, and how


def test_scribbles_are_enough_and_nothing_else_counts():
    images, masks = halves(4)
    scribbles = np.full(masks.shape, -1, np.int16)
    scribbles[:, 4::9] = masks[:, 4::9]
    options = {"ignore_label": -1, "max_epochs": 8, "learning_rate": 2e-2}
    segmenter = small(**options).fit(images, scribbles)
    assert segmenter.classes_.tolist() == [0, 1] and segmenter.score(images, masks) > 0.95
    assert segmenter.score(images, scribbles) == dice(scribbles[:, 4::9], segmenter.predict(images)[:, 4::9])
    # 0 as "unlabelled": the same training, of labels that are one more
    shifted = small(**options | {"ignore_label": 0}).fit(images, scribbles + 1)
    assert torch.equal(weights(shifted), weights(segmenter)) and shifted.classes_.tolist() == [1, 2]
    with pytest.raises(ValueError, match="y must hold a labelled pixel; all of them have ignore_label=-1"):
        segmenter.score(images, np.full_like(scribbles, -1))


def test_a_rare_label_is_found_when_it_is_drawn_more_often():
    masks = np.zeros((2, 48, 48), np.uint8)
    masks[:, 30:33, 30:33] = 1
    images = (masks + np.random.default_rng(0).normal(0, 0.15, masks.shape)).astype(np.float32)
    options = {"max_epochs": 10, "learning_rate": 5e-3, "early_stopping": False, "loss": "cross_entropy"}
    without = small(**options).fit(images, masks).predict_proba(images)[masks == 1][:, 1].mean()
    often = small(oversample_rare=0.5, **options).fit(images, masks).predict_proba(images)[masks == 1][:, 1].mean()
    weighted = small(class_weight="balanced", **options).fit(images, masks).predict_proba(images)[masks == 1][:, 1]
    assert often > without + 0.05 and weighted.mean() > without + 0.05


def test_pixels_of_weight_0_are_as_pixels_without_a_label():
    images, masks = halves(2)
    hidden = np.random.default_rng(0).random(masks.shape) < 0.4
    options = {"early_stopping": False, "loss": "cross_entropy"}
    without = small(ignore_label=9, **options).fit(images, np.where(hidden, 9, masks))
    weighted = small(**options).fit(images, np.where(hidden, 1 - masks, masks), weight_map=1.0 - hidden)
    assert torch.equal(weights(weighted), weights(without))
    even = small(**options).fit(images, masks, weight_map=np.full(masks.shape, 3.0))
    torch.testing.assert_close(weights(even), weights(small(**options).fit(images, masks)), rtol=0, atol=1e-4)
    assert not torch.equal(weights(even), weights(weighted))


@pytest.mark.parametrize("loss", ["weighted", "balanced", "focal", "dice", "tversky", "cross_entropy"])
def test_every_loss_falls_for_two_and_for_three_labels(loss):
    _, masks = halves(2)
    three = masks.copy()
    three[:, 20:, :20] = 2
    for y in (masks, three):
        X = (y + np.random.default_rng(0).normal(0, 0.1, y.shape)).astype(np.float32)
        segmenter = small(loss=loss, max_epochs=6, learning_rate=2e-2, early_stopping=False).fit(X, y)
        assert segmenter.history_["loss"][-1] < 0.8 * segmenter.history_["loss"][0]


def test_weights_of_classes_are_those_of_the_masks():
    images, masks = halves(2)
    masks[:, 8:, :20] = 2  # 0: a share of 1 / 8, 1: of 4 / 8, 2: of 3 / 8
    seen = {}

    class Spy(SegmentationTask):
        def __init__(self, network, **options):
            seen.update(options)
            super().__init__(network, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tomolearn.segmentation._learned.SegmentationTask", Spy)
        for class_weight, loss, expected in (
            ("balanced", "dice+cross_entropy", (8 / 3, 2 / 3, 8 / 9)),
            (None, "weighted", (8 / 3, 2 / 3, 8 / 9)),
            (None, "focal", None),
            ({0: 4.0, 2: 0.5}, "focal", (4.0, 1.0, 0.5)),
        ):
            small(max_epochs=1, class_weight=class_weight, loss=loss).fit(images, masks)
            assert seen["weights"] == (None if expected is None else pytest.approx(expected))

"""What the tests of patches share: images whose values are the numbers of their pixels, and epochs as arrays."""

import numpy as np
import torch

from tomolearn.io.labelled import open_labelled
from tomolearn.training.patches import PatchSamples


def coded(rows, columns, first=0):
    """An image whose values are the numbers of its pixels."""
    return first + np.arange(rows * columns, dtype=np.float64).reshape(rows, columns)


def samples_of(images, masks, **options):
    weights = options.pop("weights", None)
    return PatchSamples(open_labelled(images, masks, weights=weights), **options)


def epoch(samples, seed=0, batch_size=4, skip=0):
    return [batch for batch, _, _ in samples.shuffled(batch_size, np.random.default_rng(seed), skip)]


def joined(batches):
    return tuple(torch.cat(parts).numpy() for parts in zip(*batches, strict=True))


def counted(samples):
    """Codes of the pixels that count in the fixed tiles, and their class indices."""
    x, y = joined([batch for batch, _ in samples.in_order(3)])
    held = y >= 0
    return x[:, 0][held].astype(int), y[held]


def assert_same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))

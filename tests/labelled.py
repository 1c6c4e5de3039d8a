"""A small batch of logits with labels of every class."""

import torch

SHAPE = (2, 3, 4)
IGNORED = 255


def a_batch(channels, *, seed=0, shape=SHAPE, dtype=torch.float64):
    """Logits of a network and labels of all classes."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn((shape[0], channels, *shape[1:]), generator=generator, dtype=dtype)
    labels = torch.randint(max(2, channels), shape, generator=generator)
    labels[:, 0, 0], labels[:, 0, 1], labels[:, 0, 2] = 0, 1, max(2, channels) - 1
    return logits, labels


def probabilities(logits):
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)

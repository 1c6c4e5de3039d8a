"""The eight ways to lay down a square, drawn at random."""

import torch

__all__ = ["random_flips"]


def random_flips(x, targets):
    """Images (n, ..., rows, columns), each in an orientation of its own, and their ``targets`` as they were.

    Rows and columns are reflected and, of square images, swapped. Draws from torch's generator, which the engine seeds
    before each step: a resumed training draws the same orientations.
    """
    draws = (torch.rand(3, len(x)) < 0.5).to(x.device).reshape(3, -1, *[1] * (x.ndim - 1))
    for draw, axis in zip(draws[:2], (-2, -1), strict=True):
        x = torch.where(draw, x.flip(axis), x)
    if x.shape[-2] == x.shape[-1]:
        x = torch.where(draws[2], x.transpose(-2, -1), x)
    return x, targets

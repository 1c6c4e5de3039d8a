"""Random parts of images, turned and reflected, to train on."""

import torch

__all__ = ["RandomCrops", "crops_per_slice"]


class RandomCrops:
    """Cuts a part from each pair of a batch, at a place and in an orientation of its own.

    Draws from torch's generator, which the engine seeds before each step: a resumed training cuts the same parts.

    Parameters
    ----------
    patch_shape : tuple of two int
        Rows and columns; images that are smaller are taken whole along that axis.
    flips : bool
        Whether to reflect each part at random along rows and along columns and, if it is square, to swap the two.
    """

    def __init__(self, patch_shape, flips):
        self.patch_shape, self.flips = patch_shape, flips

    def __call__(self, x, y):
        """Parts of ``x`` (n, d, rows, columns) and the same ones of ``y`` (n, rows, columns)."""
        size = [min(n, most) for n, most in zip(y.shape[1:], self.patch_shape, strict=True)]
        draws = torch.rand(len(y), 5)
        parts = []
        for image, target, draw in zip(x, y, draws.tolist(), strict=True):
            row, column = (int(u * (n - k + 1)) for u, n, k in zip(draw[:2], y.shape[1:], size, strict=True))
            window = (slice(row, row + size[0]), slice(column, column + size[1]))
            pair = image[:, *window], target[window]
            if self.flips:
                axes = [axis for axis, u in zip((-2, -1), draw[2:4], strict=True) if u < 0.5]
                pair = tuple(part.flip(axes) for part in pair)
                if size[0] == size[1] and draw[4] < 0.5:
                    pair = tuple(part.transpose(-2, -1) for part in pair)
            parts.append(pair)
        return tuple(torch.stack(stack) for stack in zip(*parts, strict=True))


def crops_per_slice(image_shape, patch_shape):
    """How many parts an image is drawn for in an epoch: as many as cover its area once."""
    most = [max(1.0, n / k) for n, k in zip(image_shape, patch_shape, strict=True)]
    return max(1, round(most[0] * most[1]))

"""Images of any size through a network of one size: overlapping patches, and their weighted mean."""

import torch

from tomolearn.networks._padding import mirror_pad

__all__ = ["cut", "join"]


def cut(images, patch_shape):
    """Patches (k * n, 1, *patch_shape) of ``images`` (n, rows, columns) that overlap by half, and how to join them.

    Images smaller than a patch are continued by their mirror image.
    """
    n, rows, columns = images.shape
    beyond = [max(0, size - have) for size, have in zip(patch_shape, (rows, columns), strict=True)]
    images = mirror_pad(images[:, None], bottom=beyond[0], right=beyond[1])[:, 0]
    origins = [
        (row, column)
        for row in _starts(images.shape[1], patch_shape[0])
        for column in _starts(images.shape[2], patch_shape[1])
    ]
    parts = [images[:, r : r + patch_shape[0], c : c + patch_shape[1]] for r, c in origins]
    return torch.cat(parts)[:, None], (n, rows, columns, images.shape, origins)


def join(patches, plan):
    """Images (n, rows, columns) of patches (k * n, 1, ...): their mean, pixels weighted by how far inside they lie."""
    n, rows, columns, shape, origins = plan
    height, width = patches.shape[2:]
    weight = _rising(height)[:, None] * _rising(width)
    total, weights = torch.zeros(shape), torch.zeros(shape[1:])
    for (r, c), part in zip(origins, patches[:, 0].split(n), strict=True):
        window = (slice(r, r + height), slice(c, c + width))
        total[:, *window] += weight * part.cpu()
        weights[window] += weight
    return (total / weights)[:, :rows, :columns]


def _starts(size, patch):
    n = max(1, -(-2 * (size - patch) // patch) + 1)  # at most half a patch apart
    return [round(k * (size - patch) / max(1, n - 1)) for k in range(n)]


def _rising(size):
    """A triangle from the border, where a network of one size sees least, to the middle."""
    positions = torch.arange(size) + 0.5
    return torch.minimum(positions, size - positions)

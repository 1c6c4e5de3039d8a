"""Splits: images of disjoint parts of a scan's projections, whose noise is independent, and pairs of crops of them."""

import dataclasses

import numpy as np
import torch

from tomolearn.operators import RadonOperator
from tomolearn.solvers import fbp
from tomolearn.training import _distributed as distributed

__all__ = ["STRATEGIES", "SplitCrops", "input_of", "split_angles", "split_images", "split_statistics", "target_of"]

STRATEGIES = ("X:1", "1:X")
SAME_ANGLE = 1e-6  # radians: directions that differ by less are one
SYMMETRIES = 8  # of a square: reflections and quarter turns


def split_angles(angles, n_splits):
    """Indices of the projections of each split: interleaved in the order of their directions.

    Directions half a turn apart are the same; over a full turn the two fall into different splits.
    """
    folded = np.mod(np.round(np.mod(angles, np.pi) / SAME_ANGLE), round(np.pi / SAME_ANGLE))
    order = np.argsort(folded, kind="stable")
    return [np.sort(order[k::n_splits]) for k in range(n_splits)]


def split_images(geometry, sinograms, n_splits, *, filter="ram-lak", cutoff=1.0, padding="zero", method="direct"):
    """Back-projections (n, n_splits, rows, columns) of sinograms (n, n_angles, n_detectors); the rest as for `fbp`.

    Each projection counts for its share of the half turn among those of its split: each split is an image of the same
    object in the same units, and their mean is the back-projection of all of them.
    """
    images = sinograms.new_zeros(len(sinograms), n_splits, *geometry.image_shape)
    angles = np.asarray(geometry.angles)
    for k, index in enumerate(split_angles(angles, n_splits)):
        if len(index):  # a scan of fewer projections than splits leaves some without any
            A = RadonOperator(dataclasses.replace(geometry, angles=angles[index], angle_unit="rad"))
            part = sinograms[:, torch.from_numpy(index)]
            images[:, k] = fbp(A, part, filter=filter, cutoff=cutoff, padding=padding, method=method)
    return images


def input_of(splits, k, strategy):
    """What the network sees (n, rows, columns) of splits (n, n_splits, rows, columns), if ``k`` stands alone."""
    return splits[:, k] if strategy == "1:X" else _others(splits, k)


def target_of(splits, k, strategy):
    """What its prediction is compared with."""
    return _others(splits, k) if strategy == "1:X" else splits[:, k]


def _others(splits, k):
    return (splits.sum(1) - splits[:, k]) / (splits.shape[1] - 1)


def split_statistics(splits, strategy):
    """Mean of the splits, and standard deviation of what the network sees."""
    sums = torch.zeros(3, dtype=torch.float64)
    for part in splits.split(1):  # slice by slice: float64 copies of all of them would be large
        for k in range(splits.shape[1]):
            image = input_of(part, k, strategy).double()
            sums += torch.stack([image.sum(), image.square().sum(), torch.tensor(float(image.numel()))])
    total, squares, n = distributed.add_up(sums).tolist()
    mean = total / n
    scale = np.sqrt(max(squares / n - mean**2, 0.0))
    return mean, float(scale) if scale > 1e-7 * abs(mean) and scale > 0 else 1.0


class SplitCrops:
    """Pairs of crops of splits, as the training engine takes samples.

    A pass gives each region as many crops as cover it, for each split in turn as the one that stands alone. Crops of a
    training lie anywhere in their region, and are turned and reflected; those that a validation goes through are fixed
    tiles.

    Parameters
    ----------
    splits : Tensor of shape (n, n_splits, rows, columns)
    strategy : {"X:1", "1:X"}
    patch_shape : tuple of two int
        Of a crop; cut down to the smallest region.
    mean, scale : float
        By which the crops are normalised.
    regions : list of (slice, first row, row after the last), default=None
        What the crops are taken from. None: all slices.
    augmentation : bool, default=True
        Turn and reflect the crops of a training.
    """

    def __init__(self, splits, strategy, patch_shape, *, mean=0.0, scale=1.0, regions=None, augmentation=True):
        self.splits, self.strategy, self.mean, self.scale = splits, strategy, mean, scale
        n, n_splits, rows, columns = splits.shape
        self.regions = [(i, 0, rows) for i in range(n)] if regions is None else regions
        lowest = min(stop - start for _, start, stop in self.regions)
        self.patch_shape = (min(patch_shape[0], lowest), min(patch_shape[1], columns))
        self.n_symmetries = 1 if not augmentation else SYMMETRIES if len(set(self.patch_shape)) == 1 else 4
        # (region, place along the rows in [0, 1], place along the columns, split that stands alone)
        tiles = []
        for number, (_, start, stop) in enumerate(self.regions):
            down, across = map(_places, (stop - start, columns), self.patch_shape)
            grid = np.meshgrid([number], down, across, np.arange(n_splits), indexing="ij")
            tiles.append(np.stack([axis.ravel() for axis in grid], 1))
        self._tiles = np.concatenate(tiles)

    def __len__(self):
        return len(self._tiles)

    @property
    def n_distinct(self):
        """Crops of a pass: none comes twice."""
        return len(self)

    def of_regions(self, regions):
        """Crops of other regions of the same splits."""
        options = {"mean": self.mean, "scale": self.scale, "augmentation": self.n_symmetries > 1}
        return SplitCrops(self.splits, self.strategy, self.patch_shape, regions=regions, **options)

    def held_out(self, fraction, rng):
        """Crops to learn from and to validate: of other slices, or of a band of rows where there is one slice only.

        None for the latter, where there is nothing to hold out.
        """
        n, _, rows, _ = self.splits.shape
        if n > 1:
            n_held = min(round(fraction * n), n - 1)
            order = rng.permutation(n)
            parts = [[(int(i), 0, rows) for i in np.sort(part)] for part in (order[n_held:], order[:n_held])]
        else:
            height = round(fraction * rows)
            top = (rows - height) // 2
            n_held = height if top >= self.patch_shape[0] else 0  # no crop is cut down for it
            parts = [[(0, 0, top), (0, top + height, rows)], [(0, top, top + height)]]
        return (self.of_regions(parts[0]), self.of_regions(parts[1])) if n_held else (self, None)

    def load_if_small(self):
        """These: the splits are in memory."""
        return self

    def n_batches(self, batch_size):
        """How many batches `shuffled` gives."""
        return -(-len(self) // batch_size)

    def entries(self, positions):
        """The fixed tiles of some samples: inputs and targets (m, rows, columns)."""
        return self._pairs(self._tiles[positions], np.zeros(len(positions), int))

    def in_order(self, batch_size):
        """Batches of the fixed tiles, each process its share, and how many samples of it count."""
        for start in range(0, len(self), batch_size):
            own, weight = distributed.share(np.arange(start, min(start + batch_size, len(self))))
            yield self.entries(own), float(len(own) if weight else 0)

    def shuffled(self, batch_size, rng, skip=0):
        """Batches of crops drawn at random: the batch, this process' share in it, and its samples in all.

        All draws are made at the beginning, so that a training that goes on after ``skip`` batches sees the same ones.
        """
        tiles = self._tiles[rng.permutation(len(self))]
        tiles[:, 1:3] = rng.random((len(self), 2))
        kinds = rng.integers(self.n_symmetries, size=len(self))
        for start in range(skip * batch_size, len(self), batch_size):
            own, weight = distributed.share(np.arange(start, min(start + batch_size, len(self))))
            yield self._pairs(tiles[own], kinds[own]), weight, min(batch_size, len(self) - start)

    def _pairs(self, tiles, kinds):
        height, width = self.patch_shape
        crops, alone = [], tiles[:, 3].astype(int)
        for region, down, across, _ in tiles:
            number, start, stop = self.regions[int(region)]
            top = start + round(down * (stop - start - height))
            left = round(across * (self.splits.shape[3] - width))
            crops.append(self.splits[number, :, top : top + height, left : left + width])
        pairs = []
        for choose in (input_of, target_of):
            chosen = [choose(crop[None], k, self.strategy)[0] for crop, k in zip(crops, alone, strict=True)]
            turned = [_turn(image, kind) for image, kind in zip(chosen, kinds, strict=True)]
            pairs.append(torch.stack(turned).sub_(self.mean).div_(self.scale))
        return tuple(pairs)


def _places(whole, part):
    """Where tiles of ``part`` begin that cover ``whole``, as shares of the room there is."""
    n = -(-whole // part)
    return np.linspace(0, 1, n) if n > 1 else np.zeros(1)


def _turn(image, kind):
    """One of the symmetries of a rectangle, or from 4 on of a square."""
    if kind >= 4:
        image = image.T
    axes = [axis for axis in (0, 1) if kind >> axis & 1]
    return image.flip(axes) if axes else image

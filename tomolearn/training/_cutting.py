"""`Cutter`: reads one patch: image, class indices, weight."""

import numpy as np

from tomolearn.training._label_index import IGNORE

SYMMETRIES = 8  # of a square: reflections and quarter turns
DRAWS = 8  # random numbers of a patch


class Cutter:
    """Cuts patches from the images of a part.

    Parameters
    ----------
    part : LabelledPart
    n_adjacent : int
    flips : bool
    share : float
        Of the patches that are drawn to show a rare class.
    """

    def __init__(self, part, n_adjacent, flips, share):
        self._part, self._n_adjacent, self._share = part, n_adjacent, share
        height, width = self._shape = part.grid.patch_shape
        self._n_kinds = 1 if not flips else SYMMETRIES if height == width else 4
        self._rare = part.rare_cells() if share else []

    def with_images(self, part):
        """The same, from images of the same values elsewhere."""
        other = object.__new__(Cutter)
        other.__dict__.update(self.__dict__, _part=part)
        return other

    def patch(self, place, draw):
        """Image number, pixels, labels, weight and orientation of a patch from ``place``, by random ``draw``."""
        height, width = self._shape
        k, corner = int(place[0]), None
        if self._rare and draw[3] < self._share:
            k, corner = self._rare_corner(draw[4:])
        if corner is None:
            low, high = place[[1, 3]], place[[2, 4]]
            corner = (low + draw[:2] * (high - low + 1)).astype(int)
        labels = self._padded_labels(k, corner)
        if not (labels >= 0).any():
            rows, columns = (int(place[1]), int(place[2]) + height), (int(place[3]), int(place[4]) + width)
            labelled = np.argwhere(self._part.labels(k, *self._within(k, rows, columns)) >= 0) + (rows[0], columns[0])
            middle = labelled[int(draw[7] * len(labelled))] - (height // 2, width // 2)
            corner = np.clip(middle, place[[1, 3]], place[[2, 4]])
            labels = self._padded_labels(k, corner)
        return *self._cut(k, corner, labels), int(draw[2] * self._n_kinds)

    def tile(self, tile):
        """The same of a fixed tile; pixels of the tiles before it do not count again."""
        k, top, left, row, column = (int(value) for value in tile)
        labels = self._padded_labels(k, (top, left)).copy()
        labels[: row - top] = IGNORE
        labels[:, : column - left] = IGNORE
        return *self._cut(k, (top, left), labels), 0

    def _rare_corner(self, draw):
        """Image, and corner of a patch that shows a random pixel of a random rare class."""
        code, images, rows, columns, ends = self._rare[int(draw[0] * len(self._rare))]
        at = int(np.searchsorted(ends, draw[1] * ends[-1], side="right").clip(max=len(ends) - 1))
        k, cell = int(images[at]), self._part.index.cell
        row, column = int(rows[at]) * cell, int(columns[at]) * cell
        region = self._within(k, (row, row + cell), (column, column + cell))
        pixels = np.argwhere(self._part.labels(k, *region) == code) + (row, column)
        pixel = pixels[int(draw[2] * len(pixels))]
        return k, self._part.grid.corner_with(k, pixel, draw[3])

    def _cut(self, k, corner, labels):
        image = self._part.labelled[k]
        rows, columns = (_mirrored(*axis) for axis in zip(corner, self._shape, image.shape, strict=True))
        limits = [(int(index.min()), int(index.max()) + 1) for index in (rows, columns)]
        pixels, weight = image.read_image(*limits, self._n_adjacent), image.read_weight(*limits)
        if rows[-1] + 1 < limits[0][1] or columns[-1] + 1 < limits[1][1]:  # it ends in mirrored pixels
            index = np.ix_(rows - limits[0][0], columns - limits[1][0])
            pixels = pixels[:, *index]
            weight = None if weight is None else weight[index]
        return k, pixels, labels, weight

    def _padded_labels(self, k, corner):
        """Labels of a patch; there are none beyond the edge of the image."""
        ends = [int(first) + size for first, size in zip(corner, self._shape, strict=True)]
        rows, columns = self._within(k, (int(corner[0]), ends[0]), (int(corner[1]), ends[1]))
        labels = self._part.labels(k, rows, columns)
        if labels.shape == self._shape:
            return labels
        return np.pad(labels, ((0, ends[0] - rows[1]), (0, ends[1] - columns[1])), constant_values=IGNORE)

    def _within(self, k, *limits):
        """Limits of rows and columns, cut where the image ends."""
        return tuple(
            (first, min(after, n)) for (first, after), n in zip(limits, self._part.labelled[k].shape, strict=True)
        )


def _mirrored(first, size, n):
    """Pixels of an axis that a patch shows: beyond its end the ones before it, as `extract_patches` has them."""
    index = int(first) + np.arange(size)
    return np.where(index < n, index, 2 * (n - 1) - index)


def turned(array, kind):
    """One of the symmetries of a rectangle, or from 4 on of a square, of the last two axes."""
    array = array.swapaxes(-2, -1) if kind >= 4 else array
    axes = tuple(axis - 2 for axis in (0, 1) if kind >> axis & 1)
    return np.flip(array, axes) if axes else array

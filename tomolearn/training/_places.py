"""Where the patches of a training lie: ranges of corners that together cover the images."""

import numpy as np

from tomolearn.io._pairing import listed
from tomolearn.ops.patches import patch_grid_shape


class Places:
    """Where patches may lie in each image.

    Parameters
    ----------
    labelled : LabelledImages
    patch_shape : tuple of two int or None
        None: ``default`` along each axis, or as much as the smallest image or box has.
    overlap : int, tuple of two int or None
        None: patches at random places; else on a grid.
    patch_range : sequence or None
        Numbers of patches, boxes, or all.
    default : int

    Attributes
    ----------
    patch_shape : tuple of two int
    places : ndarray of shape (n, 9), int64
        Image; first and last row of a corner; first and last column of it; the box (row0, row1, column0, column1) that
        the patch does not leave. Ordered by image.
    """

    def __init__(self, labelled, patch_shape, overlap, patch_range, default):
        self._shapes = [image.shape for image in labelled]
        kind, given = _read_range(patch_range)
        self._boxes = given if kind == "boxes" else None
        room = self._shapes if self._boxes is None else np.diff(self._boxes.reshape(-1, 2, 2), axis=2)[:, :, 0]
        smallest = np.min(room, axis=0).tolist()
        self.patch_shape = tuple(patch_shape or (min(default, n) for n in smallest))
        self._check_sizes(labelled)
        self._overlap, self._numbers = overlap, given if kind == "numbers" else None
        if self._numbers is not None:
            self._check_numbers(labelled, self._numbers[-1])
        found = {}
        parts = []
        for k, shape in enumerate(self._shapes):
            if shape not in found:  # slices of a volume have the same
                found[shape] = self._of_image(shape)
            parts.append(np.insert(found[shape], 0, k, axis=1))
        self.places = np.concatenate(parts)
        self._first = np.searchsorted(self.places[:, 0], np.arange(len(self._shapes) + 1))

    # ---------------------------------------------------------------------------------------------------- checks

    def _check_sizes(self, labelled):
        small = [
            f"{image.name} ({image.shape[0]} x {image.shape[1]})"
            for image in labelled
            if any(n < size for n, size in zip(image.shape, self.patch_shape, strict=True))
        ]
        if small:
            raise ValueError(
                f"patch_shape must not be larger than an image; got {self.patch_shape}, but {len(small)} of "
                f"{len(labelled)} images are smaller: {listed(small)}. Use a smaller patch_shape."
            )
        if self._boxes is None:
            return
        for box in self._boxes.tolist():
            outside = [image.name for image in labelled if box[1] > image.shape[0] or box[3] > image.shape[1]]
            if outside:
                raise ValueError(
                    f"boxes of patch_range must lie within every image; {tuple(box)} leaves {listed(outside)}. Rows "
                    "come first: (row0, row1, column0, column1)."
                )
            if box[1] - box[0] < self.patch_shape[0] or box[3] - box[2] < self.patch_shape[1]:
                raise ValueError(
                    f"boxes of patch_range must hold a patch of {self.patch_shape}; {tuple(box)} is smaller. Use a "
                    "smaller patch_shape or larger boxes."
                )

    def _check_numbers(self, labelled, largest):
        wrong = []
        for image in labelled:
            rows, columns = self._counts(image.shape)
            if largest >= rows * columns:
                wrong.append(f"{image.name} has {rows} x {columns} = {rows * columns}")
        if wrong:
            raise ValueError(
                f"patch_range must number patches that every image has, from 0; got {largest}, but "
                f"{listed(wrong)} of {self.patch_shape}. Leave out the larger numbers."
            )

    # --------------------------------------------------------------------------------------------------- places

    def _counts(self, shape):
        return patch_grid_shape(shape, self.patch_shape, overlap=0 if self._overlap is None else self._overlap)

    def _of_image(self, shape):
        """Places (n, 8) in an image of this shape, without its number."""
        if self._boxes is None and (self._numbers is not None or self._overlap is not None):
            counts = self._counts(shape)
            numbers = np.arange(np.prod(counts)) if self._numbers is None else self._numbers
            overlap = np.broadcast_to(0 if self._overlap is None else self._overlap, 2)
            strides = np.array(self.patch_shape) - overlap
            corners = np.stack(np.unravel_index(numbers, counts), 1) * strides
            return _fixed(corners, self.patch_shape)
        boxes = [(0, shape[0], 0, shape[1])] if self._boxes is None else self._boxes.tolist()
        parts = []
        for box in boxes:
            if self._overlap is not None:
                size = (box[1] - box[0], box[3] - box[2])
                overlap = np.broadcast_to(self._overlap, 2)
                starts = [
                    np.minimum(np.arange(count) * (patch - shared), n - patch) + first
                    for count, patch, shared, n, first in zip(
                        self._counts(size), self.patch_shape, overlap, size, box[::2], strict=True
                    )
                ]
                corners = np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 2)
                parts.append(_fixed(corners, self.patch_shape))
            else:
                down, across = (
                    _ranges(box[i], box[i + 1], size)
                    for i, size in ((0, self.patch_shape[0]), (2, self.patch_shape[1]))
                )
                grid = np.meshgrid(np.arange(len(down)), np.arange(len(across)), indexing="ij")
                i, j = (axis.ravel() for axis in grid)
                parts.append(np.concatenate([down[i], across[j], np.tile(box, (len(i), 1))], 1))
        return np.concatenate(parts)

    def corner_with(self, k, pixel, draw):
        """Corner of a patch of image ``k`` that shows ``pixel``, in its middle if it can."""
        own = self.places[self._first[k] : self._first[k + 1], 5:]
        row, column = pixel
        shows = (own[:, 0] <= row) & (row < own[:, 1]) & (own[:, 2] <= column) & (column < own[:, 3])
        box = own[shows]
        row0, row1, column0, column1 = box[int(draw * len(box))].tolist()
        height, width = self.patch_shape
        top = min(max(int(row) - height // 2, row0), row1 - height)
        return top, min(max(int(column) - width // 2, column0), column1 - width)

    def cover(self, k, rows, columns):
        """Which pixels of a region of image ``k`` patches may show, as a boolean array; None: all."""
        if self._boxes is None and self._numbers is None:
            return None
        boxes = self.places[self._first[k] : self._first[k + 1], 5:]
        (r0, r1), (c0, c1) = rows, columns
        near = (boxes[:, 0] < r1) & (boxes[:, 1] > r0) & (boxes[:, 2] < c1) & (boxes[:, 3] > c0)
        inside = np.zeros((r1 - r0, c1 - c0), bool)
        for a, b, c, d in np.unique(boxes[near], axis=0).tolist():
            inside[max(a - r0, 0) : b - r0, max(c - c0, 0) : d - c0] = True
        return inside

    def tiles(self):
        """Tiles that cover every image: (image, row and column of the corner, first row and column that counts)."""
        found, parts = {}, []
        for k, shape in enumerate(self._shapes):
            if shape not in found:
                steps = [np.arange(0, n, size) for n, size in zip(shape, self.patch_shape, strict=True)]
                first = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 2)
                found[shape] = np.concatenate([np.minimum(first, np.array(shape) - self.patch_shape), first], 1)
            parts.append(np.insert(found[shape], 0, k, axis=1))
        return np.concatenate(parts)


def _read_range(patch_range):
    """("numbers", ascending array), ("boxes", array of shape (n, 4)) or (None, None)."""
    if patch_range is None:
        return None, None
    try:
        given = np.asarray(list(patch_range))
    except (TypeError, ValueError):
        given = np.asarray(None)
    if given.ndim and not len(given):
        raise ValueError("patch_range must name at least one patch; got none. Leave it out (None) to take all.")
    if given.dtype.kind not in "iu" or given.ndim not in (1, 2) or (given.ndim == 2 and given.shape[1] != 4):
        raise ValueError(
            "patch_range must be numbers of patches or boxes (row0, row1, column0, column1), all integers; got "
            f"{patch_range!r}."
        )
    if given.min() < 0:
        raise ValueError(f"patch_range must not be negative; got {int(given.min())}. Patches are numbered from 0.")
    if given.ndim == 1:
        return "numbers", np.unique(given)
    if (given[:, 0] >= given[:, 1]).any() or (given[:, 2] >= given[:, 3]).any():
        raise ValueError(
            f"boxes of patch_range must be (row0, row1, column0, column1) with row0 < row1; got {patch_range!r}."
        )
    return "boxes", given.astype(np.int64)


def _fixed(corners, patch_shape):
    """Places of patches that lie at these corners and nowhere else."""
    (top, left), (height, width) = corners.T, patch_shape
    return np.stack([top, top, left, left, top, top + height, left, left + width], 1)


def _ranges(first, after, size):
    """First and last corner (n, 2) of as many equal ranges as patches cover the axis."""
    n = -(-(after - first) // size)
    limits = first + np.arange(n + 1) * (after - first - size + 1) // n
    return np.stack([limits[:-1], limits[1:] - 1], 1)

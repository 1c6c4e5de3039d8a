"""`LabelledPart`: the part of labelled images whose labels count, such as those that are learned from."""

import math

import numpy as np

from tomolearn.io._pairing import listed
from tomolearn.training._label_index import IGNORE, PIECE

TRIES = 32  # ways to hold out images, of which the most like the whole is taken


class LabelledPart:
    """Images whose labels count within spans of rows.

    Parameters
    ----------
    labelled : LabelledImages
    index : LabelIndex
    grid : Places
    spans : list of list of (first row, row after the last)
        Of each image, along the edges of cells of the index.

    Attributes
    ----------
    class_counts : ndarray of int64
    counts : list of ndarray
        As those of the index.
    """

    def __init__(self, labelled, index, grid, spans):
        self.labelled, self.index, self.grid, self.spans = labelled, index, grid, spans
        cell, self.counts = index.cell, []
        for counts, pairs in zip(index.counts, spans, strict=True):
            held = np.zeros(len(counts), bool)
            for first, after in pairs:
                held[first // cell : -(-after // cell)] = True
            self.counts.append(counts if held.all() else counts * held[:, None, None])
        self.class_counts = sum(counts.sum((0, 1), dtype=np.int64) for counts in self.counts)

    def with_images(self, labelled):
        """The same part of images of the same values elsewhere."""
        part = object.__new__(LabelledPart)
        part.__dict__.update(self.__dict__, labelled=labelled)
        return part

    def within(self, spans):
        """The part of the same images within other rows."""
        return LabelledPart(self.labelled, self.index, self.grid, spans)

    def labels(self, k, rows, columns):
        """Class indices of a region: those that count in these samples."""
        image = self.labelled[k]
        labels = self.index.encode(image.read_mask(rows, columns), image.mask_name)
        inside = self.grid.cover(k, rows, columns)
        if inside is not None:
            labels[~inside] = IGNORE
        if self.spans[k] != [(0, image.shape[0])]:
            counts = np.zeros(len(labels), bool)
            for first, after in self.spans[k]:
                counts[max(0, first - rows[0]) : max(0, after - rows[0])] = True
            labels[~counts] = IGNORE
        return labels

    def with_labels(self, rows, *, reach):
        """Those of some places or tiles, ordered by image, in which a label counts.

        The counts of cells decide for nearly all of them; the masks are read where a cell is cut.
        """
        kept = np.zeros(len(rows), bool)
        height, width = self.grid.patch_shape
        limits = np.searchsorted(rows[:, 0], np.arange(len(self.labelled) + 1))
        for k, own in enumerate(slice(*pair) for pair in zip(limits[:-1], limits[1:], strict=True)):
            n_labels, (n_rows, n_columns) = self.counts[k].sum(dtype=np.int64), self.labelled[k].shape
            if n_labels in (0, n_rows * n_columns):
                kept[own] = n_labels > 0
                continue
            if reach:
                _, top, bottom, left, right = rows[own, :5].T
                boxes = np.stack([top, bottom + height, left, right + width], 1)
            else:
                _, top, left, first, start = rows[own].T
                boxes = np.stack([first, top + height, start, left + width], 1)
            boxes = np.minimum(boxes, [n_rows, n_rows, n_columns, n_columns])
            sure, possible = self._cells_show(k, boxes)
            for i in np.flatnonzero(possible & ~sure):
                box = boxes[i].tolist()
                sure[i] = bool((self.labels(k, box[:2], box[2:]) >= 0).any())
            kept[own] = sure
        return rows[kept]

    def _cells_show(self, k, boxes):
        """For boxes (first row, after, first column, after): a label is there for sure; one may be there."""
        cell, shape = self.index.cell, self.labelled[k].shape
        labelled = self.counts[k].sum(2, dtype=np.int64)
        sums = np.pad(labelled.cumsum(0).cumsum(1), ((1, 0), (1, 0)))

        def total(r0, r1, c0, c1):
            r1, c1 = np.maximum(r0, r1), np.maximum(c0, c1)
            return sums[r1, c1] - sums[r0, c1] - sums[r1, c0] + sums[r0, c0]

        r0, r1, c0, c1 = boxes.T
        outer = r0 // cell, -(-r1 // cell), c0 // cell, -(-c1 // cell)
        # A cell at the end of the image is whole where the image ends.
        bottom = np.where(r1 == shape[0], outer[1], r1 // cell)
        right = np.where(c1 == shape[1], outer[3], c1 // cell)
        inner = -(-r0 // cell), bottom, -(-c0 // cell), right
        area = [np.minimum(b * cell, n) - a * cell for a, b, n in ((*outer[:2], shape[0]), (*outer[2:], shape[1]))]
        touched = total(*outer)
        return (total(*inner) > 0) | (touched == area[0] * area[1]), touched > 0

    def rare_cells(self):
        """For each rare class: its index, the cells that show it (image, row, column), running sums of its pixels."""
        rare = []
        present = self.class_counts > 0
        for code in np.flatnonzero(present & (self.class_counts * np.count_nonzero(present) < self.class_counts.sum())):
            cells = [np.argwhere(image[:, :, code]) for image in self.counts]
            images = np.repeat(np.arange(len(self.counts)), [len(found) for found in cells])
            rows, columns = np.concatenate(cells).T
            pixels = [image[:, :, code][tuple(found.T)] for image, found in zip(self.counts, cells, strict=True)]
            rare.append((int(code), images, rows, columns, np.cumsum(np.concatenate(pixels), dtype=np.int64)))
        return rare

    # --------------------------------------------------------------------------------------------- holding out

    def representative(self, fraction, rng):
        """Spans of about a share of these: whole images, or a band of each; with classes most like those of all."""
        used = [k for k, pairs in enumerate(self.spans) if pairs]
        n_held = min(round(fraction * len(used)), len(used) - 1)
        if not n_held:
            return [self._band(k, fraction) for k in range(len(self.spans))]
        totals = np.array([self.counts[k].sum((0, 1), dtype=np.int64) for k in used])
        choices = [rng.permutation(len(used))[:n_held] for _ in range(TRIES)]
        best = min(choices, key=lambda choice: _unlikeness(totals[choice].sum(0), self.class_counts))
        held = {used[i] for i in best}
        return [pairs if k in held else [] for k, pairs in enumerate(self.spans)]

    def _band(self, k, fraction):
        """Rows of image ``k``: a list of one pair, or an empty one."""
        rows, cell, n_rows = self.counts[k].sum(1, dtype=np.int64), self.index.cell, self.labelled[k].shape[0]
        if len(rows) < 2 or self.spans[k] != [(0, n_rows)]:
            return []
        height = max(1, round(fraction * len(rows)))
        sums = np.concatenate([np.zeros((1, rows.shape[1]), np.int64), np.cumsum(rows, 0)])
        bands = sums[height:] - sums[:-height]
        # Of bands that are alike the middle one: there the network sees what is on either side.
        order = sorted(range(len(bands)), key=lambda i: abs(2 * i + 1 - len(bands)))
        top = min(order, key=lambda i: _unlikeness(bands[i], sums[-1]))
        return [(top * cell, min((top + height) * cell, n_rows))]


def _unlikeness(part, whole):
    """How much the shares of classes in a part differ from those of the whole, 2 at most; worse is to show none of a
    class, and worst to take all of it.
    """
    if not part.sum():
        return np.inf
    lost, missing = (np.count_nonzero((whole > 0) & (part == value)) for value in (whole, 0))
    return 1e4 * lost + 10 * missing + np.abs(part / part.sum() - whole / whole.sum()).sum()


def without(pairs, band):
    """Spans of rows without those of a band."""
    rest = list(pairs)
    for top, bottom in band:
        cut = [piece for a, b in rest for piece in ((a, min(b, top)), (max(a, bottom), b))]
        rest = [(a, b) for a, b in cut if a < b]
    return rest


def statistics(part, labelled_only):
    """Mean and standard deviation of the images of a part, read in pieces; a ValueError that lists those with NaN."""
    n, mean, squares, bad = 0, 0.0, 0.0, []
    for k, image in enumerate(part.labelled):
        if not part.spans[k]:
            continue
        height, columns = max(1, PIECE // image.shape[1]), (0, image.shape[1])
        for top in range(0, image.shape[0], height):
            rows = (top, min(top + height, image.shape[0]))
            values = image.read_image(rows, columns, part.labelled.n_channels or 1)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                bad.append(image.name)
                break
            if labelled_only:
                values = values[:, part.labels(k, rows, columns) >= 0]
            if values.size:
                own, more = float(values.mean(dtype=np.float64)), values.size
                squares += float(np.square(values - own, dtype=np.float64).sum()) + (own - mean) ** 2 * n * more / (
                    n + more
                )
                mean, n = mean + (own - mean) * more / (n + more), n + more
    if bad:
        raise ValueError(f"images must be finite; NaN or infinity are in {listed(bad)}. Repair or leave them out.")
    return mean, math.sqrt(squares / n) if n else 0.0

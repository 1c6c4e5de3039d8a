"""Which labels the masks of a training set hold, and where: one pass over them, in memory that does not grow."""

import numpy as np

from tomolearn._validation import check_integer
from tomolearn.exceptions import FileFormatError
from tomolearn.io._pairing import listed

IGNORE = -1  # class index of pixels that no loss may count
UNKNOWN = -2
MAX_CLASSES = 256
MOST_CELLS = 250_000  # of all images together; each takes 4 bytes for each class
PIECE = 1 << 22  # pixels of a mask that are looked at together


class Lookup:
    """Codes of labels: ``lookup(mask)`` gives an int16 array, `UNKNOWN` for labels without a code."""

    def __init__(self, codes):
        self._labels = np.array(sorted(codes), np.int64)
        self._codes = np.array([codes[label] for label in self._labels.tolist()], np.int16)
        self._tables = {}

    def __call__(self, mask):
        mask = mask.view(np.uint8) if mask.dtype.kind == "b" else mask
        if mask.dtype.itemsize <= 2:
            return self._table(mask.dtype).take(mask.view(f"u{mask.dtype.itemsize}"))
        if not len(self._labels):
            return np.full(mask.shape, UNKNOWN, np.int16)
        mask = mask.astype(np.int64, copy=False)
        at = np.searchsorted(self._labels, mask).clip(max=len(self._labels) - 1)
        return np.where(self._labels[at] == mask, self._codes[at], np.int16(UNKNOWN))

    def _table(self, dtype):
        if dtype not in self._tables:
            table, limits = np.full(256**dtype.itemsize, UNKNOWN, np.int16), np.iinfo(dtype)
            fits = (self._labels >= limits.min) & (self._labels <= limits.max)
            table[self._labels[fits].astype(dtype).view(f"u{dtype.itemsize}")] = self._codes[fits]
            self._tables[dtype] = table
        return self._tables[dtype]


class LabelIndex:
    """Labels of a set of masks, and how many pixels of each lie in each cell of a coarse grid.

    Parameters
    ----------
    labelled : LabelledImages
    classes : array-like of int or None
        None: the labels that are found.
    ignore_label : int or None
    cover : callable
        ``cover(k, rows, columns)``: which pixels of a region of image ``k`` count, as a boolean array; None: all.

    Attributes
    ----------
    classes : ndarray of int64, ascending
    cell : int
        Rows and columns of a cell.
    counts : list of ndarray of shape (cell rows, cell columns, n_classes), uint32
        Of each image.
    """

    def __init__(self, labelled, classes, ignore_label, cover):
        self._given = classes is not None
        self._ignore = None if ignore_label is None else check_integer(ignore_label, "ignore_label", low=-(2**63))
        self._labels = [] if classes is None else _as_labels(classes, self._ignore)
        self._renew()
        self.cell = _cell_size([image.shape for image in labelled])
        self.counts, faults = [], {}
        unknown: dict = {}
        for k, image in enumerate(labelled):
            try:
                self.counts.append(self._count(image, lambda rows, columns, k=k: cover(k, rows, columns), unknown))
            except (FileFormatError, _GreyValues):
                raise
            except ValueError as error:  # no labels in it: the other masks are looked at too, to name them all
                faults[image.mask_name] = error
        self._complain(faults, unknown, len(labelled))
        order = np.argsort(np.array(self._labels, np.int64))
        self.classes = np.array(self._labels, np.int64)[order]
        self.counts = [_widened(counts, len(order))[:, :, order] for counts in self.counts]
        self._labels = self.classes.tolist()
        self._renew()

    def _renew(self):
        codes = {label: code for code, label in enumerate(self._labels)}
        if self._ignore is not None:
            codes[self._ignore] = IGNORE
        self._lookup = Lookup(codes)

    def encode(self, mask, name):
        """Class indices (int16) of labels, `IGNORE` where there are none."""
        codes = self._lookup(mask)
        if codes.size and codes.min() == UNKNOWN:
            wrong = np.unique(mask[codes == UNKNOWN])
            raise ValueError(f"masks must hold known labels {self._labels}; {name} holds {listed(wrong)}.")
        return codes

    # ---------------------------------------------------------------------------------------------- the pass

    def _count(self, image, cover, unknown):
        n_rows, n_columns = image.shape
        cell = self.cell
        shape = (-(-n_rows // cell), -(-n_columns // cell))
        counts = np.zeros((*shape, len(self._labels)), np.uint32)
        columns = np.arange(n_columns) // cell
        height = max(1, PIECE // n_columns // cell) * cell
        for top in range(0, n_rows, height):
            bottom = min(top + height, n_rows)
            mask = image.read_mask((top, bottom), (0, n_columns))
            codes = self._codes(mask, cover((top, bottom), (0, n_columns)), image, unknown)
            n = len(self._labels)
            band = slice(top // cell, -(-bottom // cell))
            rows = np.arange(bottom - top) // cell
            keys = (rows[:, None] * shape[1] + columns) * (n + 1)
            keys += codes
            keys += 1
            size = (band.stop - band.start, shape[1], n + 1)
            found = np.bincount(keys.ravel(), minlength=np.prod(size)).reshape(size)
            counts = _widened(counts, n)
            counts[band] = found[:, :, 1:]
        return counts

    def _codes(self, mask, inside, image, unknown):
        codes = self._lookup(mask)
        if inside is not None:
            codes[~inside] = IGNORE
        missing = codes == UNKNOWN
        if not missing.any():
            return codes
        new = np.unique(mask[missing])
        if self._given:
            for label in new[:MAX_CLASSES].tolist():
                unknown.setdefault(int(label), image.mask_name)
            codes[missing] = IGNORE
            return codes
        if len(self._labels) + len(new) > MAX_CLASSES:
            raise _grey_values(image.mask_name, len(self._labels) + len(new))
        self._labels += [int(label) for label in new]
        self._renew()
        codes[missing] = self._lookup(mask[missing])
        return codes

    def _complain(self, faults, unknown, n_masks):
        if faults:
            first, *others = faults
            also = f" So do {len(others)} more of {n_masks}: {listed(others)}." if others else ""
            raise ValueError(f"{faults[first]}{also}")
        if unknown:
            found = listed([f"{label} in {name}" for label, name in sorted(unknown.items())])
            ignored = "" if self._ignore is None else f" (ignore_label={self._ignore})"
            raise ValueError(
                f"masks must hold the known labels {listed(sorted(self._labels), 16)}{ignored}; found {found}. Relabel "
                "these masks, or fit anew with all classes."
            )


class _GreyValues(ValueError):
    """A mask with so many labels that it is an image."""


def _grey_values(name, n):
    return _GreyValues(
        f"masks must hold at most {MAX_CLASSES} labels; with {name} there are {n}: it looks like grey values, not "
        "labels. Are images and masks swapped?"
    )


def _as_labels(classes, ignore_label):
    labels = np.asarray(classes)
    if labels.ndim != 1 or labels.dtype.kind not in "biu" or len(np.unique(labels)) != len(labels) or not len(labels):
        raise ValueError(f"classes must be labels, each once; got {classes!r}.")
    return [int(label) for label in labels if int(label) != ignore_label]


def _widened(counts, n):
    """Counts of ``n`` classes: those that were found later had no pixel before."""
    more = n - counts.shape[2]
    return np.concatenate([counts, np.zeros((*counts.shape[:2], more), counts.dtype)], 2) if more else counts


def _cell_size(shapes):
    """The smallest power of two from 4 on that makes few enough cells."""
    sizes = np.array(shapes, dtype=np.int64)
    cell = 4
    while cell < sizes.max() and (-(-sizes // cell)).prod(1).sum() > MOST_CELLS:
        cell *= 2
    return cell

"""`open_volume`: stacks of images in files."""

import os

from tomolearn.io._open import open_store, present, split_name
from tomolearn.io._stored import CACHE
from tomolearn.io.source import VOLUME_AXES, Source

__all__ = ["open_volume"]

SAMPLES = ("slices", "channels", "samples")  # names of an axis that comes first


def open_volume(path, *, dataset=None, axes=None, kind=None, cache=CACHE) -> Source:
    """A stack of images in a file, whatever its kind; nothing but headers is read.

    Parameters
    ----------
    path : str, path or list of them
        An HDF5 file, a TIFF file of many pages (BigTIFF too), a folder of TIFF files in the order of their numbers, a
        pattern with ``*``, a list of TIFF files, an MRC, ``.npy``, ``.npz`` or Zarr file; or ``FILE:DATASET``.
    dataset : str, optional
        The dataset of an HDF5 file, or the array of an archive. None: ``exchange/data``, ``entry/data/data``, or the
        only one of three axes.
    axes : tuple of three str, optional
        Names of the axes in stored order, by default ``("slices", "rows", "columns")``. The one that is called slices,
        channels or samples is presented first, the other two in the order in which they are stored.
    kind : {"hdf5", "tiff", "mrc", "numpy", "zarr", None}, default=None
        None: by what the file holds, then by its suffix.
    cache : int, default=67108864
        Bytes kept of what was read last, where a stored chunk spans many images.

    Returns
    -------
    Source
        Presented as (slices, rows, columns).

    Raises
    ------
    FileNotFoundError
        If the file or the dataset is missing; the message lists the datasets that are there.
    FileFormatError
        If the file is broken, truncated, or of another kind or shape.
    ValueError
        If ``axes`` are not three names of which one is slices, channels or samples.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from tomolearn.io import open_volume
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "volume.npy")
    >>> np.save(path, np.zeros((5, 6, 9), np.uint8))  # 9 slices of 5 x 6 pixels
    >>> volume = open_volume(path, axes=("rows", "columns", "slices"))
    >>> volume.axes, volume.read_block(0, 2).shape
    (('slices', 'rows', 'columns'), (2, 5, 6))
    >>> volume.close(), folder.cleanup()
    (None, None)
    """
    order, names = _order(axes)
    if dataset is None and isinstance(path, str | os.PathLike):
        path, dataset = split_name(path)
    store, reverse = open_store(path, dataset, kind)
    return present(store, reverse, order, names, cache=cache)


def _order(axes):
    """(stored axis of each presented axis, names in presented order)."""
    names = tuple(VOLUME_AXES if axes is None else axes)
    first = [i for i, name in enumerate(names) if name in SAMPLES]
    if len(names) != 3 or len(set(names)) != 3 or len(first) != 1:
        raise ValueError(
            f"axes must be three names, one of them slices, channels or samples, such as {VOLUME_AXES}; got {axes!r}."
        )
    order = (first[0], *(i for i in range(3) if i != first[0]))
    return order, tuple(names[i] for i in order)

"""Pairs to train on: the libraries of superres-tomo, and the noisy and clean images of TomoGAN."""

import os

from tomolearn._validation import check_choice
from tomolearn.exceptions import FileFormatError
from tomolearn.io._hdf5 import Hdf5Store, dataset, describe_datasets, member, open_file
from tomolearn.io._open import open_store, present, split_name
from tomolearn.io._stored import CACHE, reading
from tomolearn.io.source import VOLUME_AXES, Source

__all__ = ["open_library", "open_pairs"]

LAST_FIRST = (2, 0, 1)
FIRST_AXES = ("samples", "slices", "channels")
# What the third axis of the published sets is, by their size: micro-CT slices along z, channels of XRD-CT patterns.
PUBLISHED = {185: "slices", 369: "slices", 75: "channels", 149: "channels"}
N_CHANNELS = 2038


def open_library(
    path, *, images="Images", sinograms="Sinograms", first_axis=None, cache=CACHE
) -> tuple[Source | None, Source | None]:
    """The images and sinograms of a superres-tomo library, stored (size, size, n), presented (n, size, size).

    Parameters
    ----------
    path : str or path
        An HDF5 file.
    images, sinograms : str, default="Images" and "Sinograms"
        Names of the datasets.
    first_axis : {"samples", "slices", "channels", None}, default=None
        What the last stored axis is. None: slices for the published micro-CT sets (185 or 369 pixels), channels of
        the diffraction pattern for the published XRD-CT sets (75 or 149 pixels, 2038 channels), else samples.
    cache : int, default=67108864
        Bytes kept of what was read last: the images of a library lie across each other in the file.

    Returns
    -------
    images : Source or None
        Axes ``(first_axis, "rows", "columns")``; None if the file has none.
    sinograms : Source or None
        Axes ``(first_axis, "angles", "detectors")``; None if the file has none.

    Raises
    ------
    FileNotFoundError
        If the file is missing or has neither of the datasets.
    FileFormatError
        If the file is broken, or images and sinograms differ in number.
    ValueError
        If ``first_axis`` is unknown.

    Examples
    --------
    >>> import os, tempfile
    >>> import h5py
    >>> import numpy as np
    >>> from tomolearn.io import open_library
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "shapes.h5")
    >>> with h5py.File(path, "w") as file:
    ...     file["Images"], file["Sinograms"] = np.zeros((8, 8, 20)), np.ones((8, 8, 20))
    >>> images, sinograms = open_library(path)
    >>> images.shape, sinograms.axes
    ((20, 8, 8), ('samples', 'angles', 'detectors'))
    >>> images.close(), sinograms.close(), folder.cleanup()
    (None, None, None)
    """
    if first_axis is not None:
        check_choice(first_axis, "first_axis", FIRST_AXES)
    path = os.fspath(path)
    found: list = []
    with open_file(path) as file, reading(path, "an HDF5 library"):
        for name, axes in ((images, ("rows", "columns")), (sinograms, ("angles", "detectors"))):
            if member(file, name) is None:
                found.append(None)
                continue
            store = Hdf5Store(path, dataset(file, name))
            names = (first_axis or _meaning(store.shape), *axes)
            found.append(present(store, False, LAST_FIRST, names, cache=cache))
        if found == [None, None]:
            raise FileNotFoundError(
                f"{path} has no dataset {images!r} and no {sinograms!r}; {describe_datasets(file)}."
            )
    if None not in found and len(found[0]) != len(found[1]):
        raise FileFormatError(
            f"{path} holds {len(found[0])} images and {len(found[1])} sinograms, expected one for one (stored last)."
        )
    return tuple(found)


def _meaning(shape):
    name = PUBLISHED.get(shape[0], "samples") if shape[0] == shape[1] else "samples"
    if name == "channels" and shape[2] != N_CHANNELS:
        return "samples"
    return "samples" if name == "slices" and not 990 <= shape[2] <= 1010 else name


def open_pairs(path, part="train", *, noisy=None, clean=None, cache=CACHE) -> tuple[Source, Source | None]:
    """Noisy and clean images of one volume, as TomoGAN's files hold them.

    Parameters
    ----------
    path : str or path
        An HDF5 file with ``train_ns``, ``train_gt``, ``test_ns`` and ``test_gt``, each (n, rows, columns).
    part : {"train", "test"}, default="train"
        Which pair.
    noisy, clean : str, optional
        Other datasets of the file, or ``FILE:DATASET``, or a ``FILE`` of any kind that `open_volume` takes.
    cache : int, default=67108864
        Bytes kept of what was read last.

    Returns
    -------
    noisy : Source
        Shape (n, rows, columns).
    clean : Source or None
        Of the same shape; None if it is not named and the file has none: new data has no truth.

    Raises
    ------
    FileNotFoundError
        If the file or a dataset that was named is missing.
    FileFormatError
        If a file is broken, or noisy and clean differ in shape.
    ValueError
        If ``part`` is unknown.

    Examples
    --------
    >>> import os, tempfile
    >>> import h5py
    >>> import numpy as np
    >>> from tomolearn.io import open_pairs
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "pairs.h5")
    >>> with h5py.File(path, "w") as file:
    ...     file["train_ns"], file["train_gt"] = np.zeros((4, 8, 8)), np.ones((4, 8, 8))
    >>> noisy, clean = open_pairs(path)
    >>> noisy.shape, float(clean.read_block(0, 1).max())
    ((4, 8, 8), 1.0)
    >>> noisy.close(), clean.close(), folder.cleanup()
    (None, None, None)
    """
    check_choice(part, "part", ("train", "test"))
    path = os.fspath(path)
    sources: list = []
    for name, default in ((noisy, f"{part}_ns"), (clean, f"{part}_gt")):
        with open_file(path) as file, reading(path, "an HDF5 file of image pairs"):
            if name is None and default.endswith("_gt") and member(file, default) is None:
                sources.append(None)
                continue
            inside = member(file, name or default) is not None
            if not inside and (name is None or not os.path.exists(split_name(name)[0])):
                raise FileNotFoundError(f"{path} has no dataset {name or default!r}; {describe_datasets(file)}.")
        store, reverse = open_store(path, name or default) if inside else open_store(*split_name(name))
        sources.append(present(store, reverse, (0, 1, 2), VOLUME_AXES, cache=cache))
    if sources[1] is not None and sources[0].shape != sources[1].shape:
        raise FileFormatError(
            f"{sources[0].name} has shape {sources[0].shape} and {sources[1].name} {sources[1].shape}, expected the "
            "same for noisy and clean."
        )
    return tuple(sources)

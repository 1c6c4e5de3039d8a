"""Images to train on from any folder of pictures: random crops, grey, read when they are wanted."""

import contextlib
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tifffile
import torch
from sklearn.utils import check_random_state

from tomolearn._validation import check_integer, check_real
from tomolearn.exceptions import FileFormatError
from tomolearn.io import Source
from tomolearn.simulation._arguments import check_threads

__all__ = ["NaturalImages", "natural_images"]

TIFF = (".tif", ".tiff")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", *TIFF)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue: ITU-R BT.601
N_TURNS = 8  # of the square: four rotations, each mirrored or not


def natural_images(folder, n_images, size=64, *, max_scale=4.0, circle=True, random_state=None):
    """Random crops of the pictures in a folder, such as those of DIV2K: a stack that is read in blocks.

    A crop is a random square of a picture, from ``size`` to ``max_scale * size`` pixels wide, scaled down to
    ``size`` and turned and mirrored at random. Crops of one picture follow each other, so that the first 90 % and the
    last 10 % of a library share one picture at most.

    Parameters
    ----------
    folder : path-like
        PNG, JPEG, BMP and TIFF files are looked for in it and in the folders below. Colours become grey; 8 and 16 bits
        are divided by the largest number that they hold, floating pictures scaled from their minimum to their maximum.
        Of a file of several pages the first is taken.
    n_images : int
        How many crops. Each picture gives as many as the others or one less; where there are more pictures than that,
        a random choice of them gives one each.
    size : int, default=64
        Rows and columns of an image, at least 8.
    max_scale : float, default=4.0
        By how much a crop is scaled down at most, from 1 to 64; the scale is random with a uniform logarithm. Small
        pictures are scaled down less.
    circle : bool, default=True
        Whether all is zero outside the circle that touches the borders, so that every projection onto a detector as
        wide as the image is complete.
    random_state : int, RandomState instance or None, default=None
        Source of the crops; with an int and the same files an image is the same whichever block it is read in.

    Returns
    -------
    NaturalImages
        A `tomolearn.io.Source` of shape (n_images, size, size), float32, values in [0, 1]: take slices of it, or pass
        it to `write_library`.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or holds no picture.
    ValueError
        If a number is out of its range, or no picture of the folder is readable and large enough.
    TypeError
        If a number is not one.
    ImportError
        If there are other files than TIFF and Pillow is not installed.

    Warns
    -----
    UserWarning
        If pictures are left out, because they cannot be read or are smaller than ``size``: how many, and the first of
        them; ``skipped`` of the result names all. A picture whose beginning can be read but whose pixels are broken is
        a `FileFormatError` when it is read.

    References
    ----------
    E. Agustsson and R. Timofte, "NTIRE 2017 challenge on single image super-resolution: dataset and study", CVPR
    Workshops 2017, DOI 10.1109/CVPRW.2017.150 (DIV2K).

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import tifffile
    >>> from tomolearn.simulation import natural_images
    >>> folder = tempfile.TemporaryDirectory()
    >>> picture = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    >>> tifffile.imwrite(os.path.join(folder.name, "noise.tif"), picture, photometric="rgb")
    >>> images = natural_images(folder.name, 10, 32, random_state=0)
    >>> images.shape, images[3:5].shape, images[9].dtype
    ((10, 32, 32), (2, 32, 32), dtype('float32'))
    >>> folder.cleanup()
    """
    n_images, size = check_integer(n_images, "n_images", low=1), check_integer(size, "size", low=8)
    max_scale = check_real(max_scale, "max_scale", low=1, high=64)
    files = _find(Path(folder))
    usable, skipped = [], []
    for file in files:
        try:
            smaller = min(_shape(file))
        except FileFormatError as error:
            skipped.append((file, str(error)))
            continue
        if smaller < size:
            skipped.append((file, f"{file} has {smaller} pixels, expected size={size} at least."))
        else:
            usable.append(file)
    if not usable:
        raise ValueError(
            f"no picture of the {len(files)} in {folder} is readable and at least {size} pixels high and wide: "
            f"{skipped[0][1]}"
        )
    if skipped:
        warnings.warn(
            f"{len(skipped)} of {len(files)} pictures in {folder} are left out; the first: {skipped[0][1]}",
            stacklevel=2,
        )
    rng = np.random.default_rng(check_random_state(random_state).randint(0, 2**31 - 1))
    return NaturalImages(usable, n_images, size, max_scale, bool(circle), rng, name=str(folder), skipped=skipped)


def _find(folder):
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}.")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    if not files:
        raise FileNotFoundError(f"the folder {folder} holds no {', '.join(PICTURES)} file.")
    return files


class NaturalImages(Source):
    """Random crops of pictures, made when they are read; `natural_images` finds the pictures.

    Parameters
    ----------
    files : list of Path
        Pictures of at least ``size`` pixels.
    n_images, size : int
        Number of crops, rows and columns of each.
    max_scale : float
        By how much a crop is scaled down at most.
    circle : bool
        Whether all is zero outside the circle that touches the borders.
    rng : numpy.random.Generator
        Drawn from once, here.
    name : str
        For messages.
    skipped : list of (Path, str)
        Pictures that were left out, and why.

    Attributes
    ----------
    files : list of Path
        The picture of each image.
    skipped : list of (Path, str)
        As above.

    Examples
    --------
    >>> from tomolearn.simulation import NaturalImages
    >>> import numpy as np
    >>> from pathlib import Path
    >>> images = NaturalImages([Path("a.png"), Path("b.png")], 5, 64, 4.0, True, np.random.default_rng(0))
    >>> images.shape, sorted(file.name for file in images.files)
    ((5, 64, 64), ['a.png', 'a.png', 'a.png', 'b.png', 'b.png'])
    """

    def __init__(self, files, n_images, size, max_scale, circle, rng, *, name="pictures", skipped=()):
        super().__init__((n_images, size, size), np.float32, ("samples", "rows", "columns"), name)
        self._max_scale, self._circle = max_scale, circle
        order = rng.permutation(len(files))[:n_images]
        self.files = [files[order[k * len(order) // n_images]] for k in range(n_images)]
        self._draws = rng.random((n_images, 4))
        self.skipped = list(skipped)

    def _read(self, start, stop):
        block = np.empty((stop - start, *self.shape[1:]), np.float32)
        bounds = [k for k in range(start, stop) if k == start or self.files[k] != self.files[k - 1]] + [stop]

        def fill(first, last):  # what a picture gives; it is decoded once
            picture = _load(self.files[first])
            for k in range(first, last):
                block[k - start] = self._crop(picture, self._draws[k])

        with ThreadPoolExecutor(check_threads(None)) as pool:  # decoding lets other threads run
            list(pool.map(fill, bounds[:-1], bounds[1:]))
        if self._circle:
            middle = (self.shape[1] - 1) / 2
            block[:, np.hypot(*np.mgrid[: self.shape[1], : self.shape[1]] - middle) > self.shape[1] / 2] = 0
        return block

    def _crop(self, picture, draws):
        size = self.shape[1]
        scale = min(self._max_scale, min(picture.shape) / size) ** draws[0]
        edge = min(round(scale * size), *picture.shape)
        top, left = (int(draw * (n - edge + 1)) for draw, n in zip(draws[1:3], picture.shape, strict=True))
        crop = torch.from_numpy(picture[top : top + edge, left : left + edge])
        if edge > size:  # each pixel is a mean of those it covers: nothing is aliased
            crop = torch.nn.functional.interpolate(crop[None, None], (size, size), mode="bilinear", antialias=True)[
                0, 0
            ]
        turn = int(draws[3] * N_TURNS)
        turned = np.rot90(crop.numpy(), turn % 4)
        return turned.T if turn >= 4 else turned


# ------------------------------------------------------------------------------------------------------------ pictures


def _pillow():
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "pictures other than TIFF are read by Pillow, which is not installed; run: pip install tomolearn[images]"
        ) from error
    return Image


@contextlib.contextmanager
def _decoding(file):
    """Decoders raise whatever comes to their mind at broken bytes."""
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except Exception as error:
        raise FileFormatError(f"{file} is broken ({type(error).__name__}: {error}), expected a picture.") from error


def _shape(file):
    """Rows and columns, of the file's beginning alone."""
    with _decoding(file):
        if file.suffix.lower() in TIFF:
            with tifffile.TiffFile(file) as tiff:
                page = tiff.pages.first
                return page.imagelength, page.imagewidth
        with _pillow().open(file) as picture:
            return picture.size


def _load(file):
    """The picture as float32 of shape (rows, columns) in [0, 1]."""
    with _decoding(file):
        if file.suffix.lower() in TIFF:
            with tifffile.TiffFile(file) as tiff:
                values, axes = tiff.pages[0].asarray(), tiff.pages[0].axes
            if axes.startswith("S"):  # planes of colour one after the other
                values = np.moveaxis(values, 0, -1)
        else:
            with _pillow().open(file) as picture:
                # Palettes, CMYK and others mean nothing as numbers; 16 bits are a mode of their own.
                number = picture.mode in ("L", "F") or picture.mode.startswith("I")
                values = np.asarray(picture if number else picture.convert("RGB"))
                values = values.astype(np.uint16) if picture.mode == "I" else values  # what older Pillows make of them
    return _grey(file, values)


def _grey(file, values):
    if values.ndim == 3 and values.shape[2] < 3:  # grey with transparency
        values = values[:, :, 0]
    if values.ndim not in (2, 3) or values.dtype.kind not in "buf":
        raise FileFormatError(
            f"{file} has shape {values.shape} and dtype {values.dtype}, expected a grey or colour picture."
        )
    kind = values.dtype
    grey = values.astype(np.float32, copy=False) if values.ndim == 2 else values[:, :, :3].astype(np.float32) @ LUMA
    if kind.kind == "f":
        if not np.isfinite(grey).all():
            raise FileFormatError(f"{file} holds NaN or infinity, expected a picture.")
        low, high = grey.min(), grey.max()
        return np.ascontiguousarray((grey - low) / (high - low if high > low else 1))
    return np.ascontiguousarray(np.clip(grey / (1 if kind.kind == "b" else np.iinfo(kind).max), 0, 1))

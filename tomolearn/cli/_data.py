"""What estimators learn from and predict: options that name files, and the sources behind them."""

from typing import NamedTuple

__all__ = [
    "Data",
    "add_image_arguments",
    "add_pair_arguments",
    "describe_stack",
    "open_image_stack",
    "open_sinogram_library",
    "open_training_data",
    "read_labels",
]

SINOGRAM_AXES = ("samples", "angles", "detectors")
SPREAD = 64  # rows of a scan that noise2inverse learns from, unless told otherwise
TOGETHER = 8  # rows that are read at a time where the file holds them in chunks


class Data(NamedTuple):
    """What ``fit`` takes, and a line about it."""

    X: object
    y: object
    options: dict
    told: str


# ------------------------------------------------------------------------------------------------------------ options


def _add_stack(group, flags, dest, what, *, required=False, dataset=()):
    group.add_argument(*flags, dest=dest, metavar="FILE", required=required, help=what)
    if dataset:
        group.add_argument(
            *dataset, dest=f"{dest}_dataset", metavar="NAME", help=f"its dataset, where {flags[0]} has several"
        )


def add_pair_arguments(parser, kind):
    """The files that a network of this kind learns from."""
    group = parser.add_argument_group("what is learned from")
    _ADDERS[kind](group)


def _add_denoising(group, *, clean=True):
    _add_stack(group, ("-ld", "--low-dose"), "low_dose", "noisy slices, one ordered volume", required=True,
               dataset=("--ld-dataset",))  # fmt: skip
    if clean:
        kinds = "clean slices of the same object; may be left out where -ld is a file with train_ns and train_gt"
        _add_stack(group, ("-nd", "--normal-dose"), "normal_dose", kinds, dataset=("--nd-dataset",))
    _add_stack(group, ("--val-ld",), "val_low_dose", "slices to validate on (default: a part of -ld)")
    if clean:
        _add_stack(group, ("--val-nd",), "val_normal_dose", "their clean slices")


def _add_library(group):
    _add_stack(group, ("--library",), "library", "HDF5 file of superres-tomo, with Sinograms and Images")
    kinds = "line integrals (samples, angles, detectors), instead of a library"
    _add_stack(group, ("--sinograms",), "sinograms", kinds, dataset=("--sinograms-dataset",))
    kinds = "their images (samples, rows, columns)"
    _add_stack(group, ("-i", "--images"), "images", kinds, dataset=("--images-dataset",))
    _add_stack(group, ("--val-library",), "val_library", "library to validate on (default: a part)")
    _add_stack(group, ("--val-sinograms",), "val_sinograms", "or sinograms")
    _add_stack(group, ("--val-images",), "val_images", "and their images")


def _add_scanned_library(group):
    _add_library(group)
    group.add_argument("--angles", metavar="FILE", help="a file, FILE:DATASET, or START:STOP in degrees, both included")
    group.add_argument("--angle-unit", choices=("deg", "rad"), help="of stored angles that do not say it")


def _add_labelled(group):
    several = "a file, FILE:DATASET, a folder, or a pattern with *"
    _add_stack(group, ("-i", "--images"), "images", several, required=True)
    _add_stack(group, ("-l", "--labels"), "labels", f"a whole number for each pixel: {several}", required=True)
    _add_stack(group, ("--weight-map",), "weight_map", "how much each pixel counts, likewise")
    _add_stack(group, ("--val-images",), "val_images", "images to validate on (default: a part)")
    _add_stack(group, ("--val-labels",), "val_labels", "their labels")


def _add_classes(group):
    add_image_arguments(group)
    kinds = "one for each image: .npy, FILE:DATASET, or the last column of a .csv or .txt"
    _add_stack(group, ("-l", "--labels"), "labels", kinds, required=True)
    _add_stack(group, ("--val-images",), "val_images", "images to validate on (default: a part)")
    _add_stack(group, ("--val-labels",), "val_labels", "their labels")


def add_image_arguments(group):
    """Images to look at."""
    kinds = "images (n, rows, columns): a file, FILE:DATASET, or a folder of TIFF files"
    _add_stack(group, ("-i", "--images"), "images", kinds, required=True, dataset=("--images-dataset",))


_ADDERS = {
    "pairs": _add_denoising,
    "noisy": lambda group: _add_denoising(group, clean=False),
    "library": _add_library,
    "scanned": _add_scanned_library,
    "labelled": _add_labelled,
    "classes": _add_classes,
}
# Options that ``X``, ``y`` ... of the estimators come from.
WORDS = {
    "pairs": {"X_val": "--val-ld", "y_val": "--val-nd", "X": "--low-dose", "y": "--normal-dose"},
    "library": {"X_val": "--val-sinograms", "y_val": "--val-images", "X": "--sinograms", "y": "--images"},
    "labelled": {"X_val": "--val-images", "y_val": "--val-labels", "X": "--images", "y": "--labels"},
}
WORDS |= {"noisy": WORDS["pairs"], "scanned": WORDS["library"], "classes": WORDS["labelled"]}


# -------------------------------------------------------------------------------------------------------- opening files


def open_image_stack(path, dataset=None, option="--images-dataset", axes=None):
    """Images, or sinograms, in a file of any kind; messages name the option that chooses a dataset."""
    from tomolearn.exceptions import FileFormatError
    from tomolearn.io import open_volume

    try:
        return open_volume(path, dataset=dataset, axes=axes)
    except FileFormatError as error:
        raise FileFormatError(str(error).replace("dataset= or", f"{option} or")) from error


def open_training_data(kind, arguments, estimator):
    """What the options name, opened; nothing but headers is read."""
    arguments.words = WORDS[kind]
    return _OPENERS[kind](arguments, estimator)


def _open_pairs(arguments, estimator):
    noisy, clean = _noisy_and_clean(arguments, estimator.__sklearn_tags__().target_tags.required)
    options = {}
    if arguments.val_low_dose is not None:
        _need_both(arguments, "val_low_dose", "val_normal_dose", clean is not None)
        options["X_val"] = open_image_stack(arguments.val_low_dose, option="FILE:DATASET in --val-ld")
        if clean is not None:
            options["y_val"] = open_image_stack(arguments.val_normal_dose, option="FILE:DATASET in --val-nd")
    elif arguments.val_normal_dose is not None:
        raise ValueError("--val-nd needs --val-ld, the noisy slices that belong to it.")
    return Data(
        noisy,
        clean,
        options,
        describe_stack("noisy", noisy) + ("" if clean is None else f"\n{describe_stack('clean', clean)}"),
    )


def _noisy_and_clean(arguments, required):
    import os

    from tomolearn.exceptions import FileFormatError
    from tomolearn.io import open_pairs

    path = arguments.low_dose
    if arguments.normal_dose is not None:
        noisy = open_image_stack(path, arguments.low_dose_dataset, "--ld-dataset")
        return noisy, open_image_stack(arguments.normal_dose, arguments.normal_dose_dataset, "--nd-dataset")
    names = {"noisy": arguments.low_dose_dataset, "clean": arguments.normal_dose_dataset}
    try:
        noisy, clean = open_pairs(path, "train", **names)
    except (FileNotFoundError, FileFormatError) as error:
        if not os.path.exists(path):
            raise
        if required:
            raise ValueError(
                f"--normal-dose is missing; name the clean slices by -nd FILE. As pairs, {error}"
            ) from error
        noisy, clean = open_image_stack(path, arguments.low_dose_dataset, "--ld-dataset"), None
    if clean is None and required:
        raise ValueError(f"--normal-dose is missing: {path} holds noisy slices alone. Name the clean ones by -nd FILE.")
    return noisy, clean


def _need_both(arguments, first, second, needed=True):
    if needed and getattr(arguments, second) is None:
        names = (
            f"--{name.replace('_', '-')}".replace("low-dose", "ld").replace("normal-dose", "nd")
            for name in (first, second)
        )
        raise ValueError("{} and {} go together; got the first alone.".format(*names))


def _open_noisy(arguments, estimator):
    noisy = open_image_stack(arguments.low_dose, arguments.low_dose_dataset, "--ld-dataset")
    options = {}
    if arguments.val_low_dose is not None:
        options["X_val"] = open_image_stack(arguments.val_low_dose, option="FILE:DATASET in --val-ld")
    return Data(noisy, None, options, describe_stack("noisy", noisy))


def _open_library(arguments, estimator):
    sinograms, images = _sinograms_and_images(arguments, "")
    options = {}
    if any(getattr(arguments, f"val_{name}") for name in ("library", "sinograms", "images")):
        options["X_val"], options["y_val"] = _sinograms_and_images(arguments, "val_")
    if getattr(arguments, "angles", None) is not None:
        from tomolearn.io._angles import given_angles

        angles = given_angles(arguments.angles, sinograms.shape[1], arguments.angle_unit)
        estimator.set_params(angles=angles, angle_unit="rad")
    return Data(
        sinograms, images, options, f"{describe_stack('sinograms', sinograms)}\n{describe_stack('images', images)}"
    )


def open_sinogram_library(path, arguments, *, need_images=True):
    """Sinograms and images of a library of superres-tomo, whose samples are stored last; None: it has no images."""
    from tomolearn.io import open_library

    names = {
        "sinograms": arguments.sinograms_dataset or "Sinograms",
        "images": arguments.images_dataset or "Images",
    }
    images, sinograms = open_library(path, **names)
    for source, name in ((sinograms, "sinograms"), (images, "images")):
        if source is None and (need_images or name == "sinograms"):
            raise ValueError(f"{path} holds no {name}; name their dataset by --{name}-dataset.")
    return sinograms, images


def _sinograms_and_images(arguments, prefix):
    names = [f"{prefix}{name}" for name in ("library", "sinograms", "images")]
    library, sinograms, images = (getattr(arguments, name) for name in names)
    options = [f"--{name.replace('_', '-')}" for name in names]
    datasets = [getattr(arguments, f"{name}_dataset") for name in ("sinograms", "images")]
    if (library is None) == (sinograms is None and images is None):
        raise ValueError(
            f"the pairs must come from {options[0]}, or from {options[1]} and {options[2]}; name one of these."
        )
    if library is not None:
        return open_sinogram_library(library, arguments)
    if sinograms is None or images is None:
        raise ValueError(f"{options[1]} and {options[2]} go together; got one of them.")
    if prefix:
        datasets = [None, None]
    return (
        open_image_stack(sinograms, datasets[0], "--sinograms-dataset", SINOGRAM_AXES),
        open_image_stack(images, datasets[1], "--images-dataset"),
    )


def _open_labelled(arguments, estimator):
    options = {} if arguments.weight_map is None else {"weight_map": arguments.weight_map}
    return Data(arguments.images, arguments.labels, options | _validation(arguments), f"images: {arguments.images}")


def _open_classes(arguments, estimator):
    images = open_image_stack(arguments.images, arguments.images_dataset)
    labels, options = read_labels(arguments.labels, len(images)), _validation(arguments)
    if options:
        options["X_val"] = open_image_stack(options["X_val"])
        options["y_val"] = read_labels(options["y_val"], len(options["X_val"]))
    return Data(images, labels, options, describe_stack("images", images))


def _validation(arguments):
    if arguments.val_images is None and arguments.val_labels is None:
        return {}
    _need_both(arguments, "val_images", "val_labels")
    _need_both(arguments, "val_labels", "val_images")
    return {"X_val": arguments.val_images, "y_val": arguments.val_labels}


_OPENERS = {
    "pairs": _open_pairs,
    "noisy": _open_noisy,
    "library": _open_library,
    "scanned": _open_library,
    "labelled": _open_labelled,
    "classes": _open_classes,
}


def describe_stack(what, source):
    """What a source is, in one line."""
    return f"{what}: {source.name}, {' x '.join(map(str, source.shape))}, {source.dtype}"


def read_labels(path, n):
    """One label or value for each of ``n`` images: whole numbers, numbers or texts."""
    import os

    import numpy as np

    from tomolearn.exceptions import FileFormatError

    if os.path.splitext(path)[1].lower() in (".csv", ".txt"):
        found = _text_labels(path)
        if len(found) == n + 1:  # a heading
            found = found[1:]
        for kind in (int, float):
            try:
                found = [kind(word) for word in found]
                break
            except ValueError:
                continue
        found = np.array(found)
    else:
        found = _stored_labels(path)
    if found.ndim not in (1, 2) or len(found) != n:
        raise FileFormatError(f"{path} holds labels of shape {found.shape}, expected {n}, one for each image.")
    return found


def _text_labels(path):
    import csv

    from tomolearn.exceptions import FileFormatError

    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [row[-1].strip() for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (ValueError, csv.Error) as error:
        raise FileFormatError(f"{path} is no text with one label a line: {error}") from error


def _stored_labels(path):
    import h5py
    import numpy as np

    from tomolearn.exceptions import FileFormatError
    from tomolearn.io._hdf5 import dataset, open_file
    from tomolearn.io._open import recognise, split_name
    from tomolearn.io._stored import reading

    file_name, inside = split_name(path)
    if recognise(file_name) == "numpy":
        with reading(file_name, "a .npy file of labels"):
            return np.load(file_name, allow_pickle=False)
    if inside is None:
        raise FileFormatError(f"{path} must be .npy, .csv, .txt or FILE:DATASET, with one label for each image.")
    with open_file(file_name) as file, reading(file_name, "an HDF5 file of labels"):
        found = dataset(file, inside)
        return found.asstr()[:] if h5py.check_string_dtype(found.dtype) else found[:]

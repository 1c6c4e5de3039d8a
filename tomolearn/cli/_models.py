"""Model files: recognising one, and the estimator in it made ready to predict."""

import importlib
import os

__all__ = ["add_model_arguments", "add_volume_arguments", "is_model_file", "known_estimators", "load_model"]

ROOMS = ("reconstruction", "denoising", "segmentation", "classification", "manifold", "preprocessing")


def known_estimators():
    """{name: class} of the public estimators, which enter the registry when their room is imported."""
    for name in (f"tomolearn.{room}" for room in ROOMS):
        importlib.import_module(name)
    from tomolearn.base import registry

    return registry()


def add_model_arguments(parser):
    """The model, and where it runs."""
    parser.add_argument("model", metavar="MODEL", help="model file, as `tomolearn train` writes it")
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu, cuda, cuda:1 (default: auto)")


def add_volume_arguments(parser):
    """The volume that is written."""
    kinds = "out.h5, out.tif (one BigTIFF), out.zarr, out.npy, or a folder for one TIFF a slice"
    parser.add_argument("-o", "--output", required=True, metavar="PATH", help=kinds)
    parser.add_argument("--resume", action="store_true", help="go on with the blocks that a broken run has left")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing volume")


def is_model_file(path):
    """Does this look like a model file: the length of a header, and JSON?"""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") <= os.path.getsize(path) - 8


def load_model(arguments, methods, use):
    """The estimator, which must have one of ``methods``; ``use`` says what else the others are for."""
    from tomolearn.base import read_estimator

    if not os.path.exists(arguments.model):
        raise FileNotFoundError(f"there is no model file {arguments.model}; `tomolearn train` writes one.")
    known_estimators()
    estimator = read_estimator(arguments.model)
    name = type(estimator).__name__
    if not any(hasattr(estimator, method) for method in methods):
        raise ValueError(f"{arguments.model} holds a {name}, {use}")
    known = estimator.get_params(deep=False)
    wanted = {"device": arguments.device, "verbose": 0 if arguments.quiet else 1}
    return estimator.set_params(**{key: value for key, value in wanted.items() if key in known})

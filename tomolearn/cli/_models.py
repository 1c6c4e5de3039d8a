"""Model files: recognising one, and the estimator in it made ready to predict."""

import importlib
import math
import os

__all__ = [
    "CLIPPED",
    "add_model_arguments",
    "add_storage_arguments",
    "add_volume_arguments",
    "check_storage",
    "counted",
    "is_model_file",
    "known_estimators",
    "load_model",
]

CLIPPED = "values clipped to value_range"  # as sinks count them
STORED = ("float32", "float16", "uint8", "uint16")
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


def add_storage_arguments(parser):
    """The type in which the volume is stored."""
    parser.add_argument("--dtype", choices=STORED, help="how values are stored (default: float32)")
    span = "values that become the least and the greatest integer of uint8 or uint16; those beyond are clipped"
    parser.add_argument("--range", type=float, nargs=2, metavar=("LOW", "HIGH"), help=span)


def check_storage(arguments):
    """Refuses, before anything is read, integers whose meaning is not known, and a range without integers."""
    dtype, span = arguments.dtype or STORED[0], arguments.range
    if dtype.startswith("uint") and span is None:
        raise ValueError(f"--dtype {dtype} needs --range LOW HIGH, the values that its integers span.")
    if span is not None and not dtype.startswith("uint"):
        raise ValueError(f"--range is for --dtype uint8 and uint16; got {dtype}.")
    if span is not None and not -math.inf < span[0] < span[1] < math.inf:
        raise ValueError(f"--range must be two finite numbers, the lower one first; got {span[0]:g} {span[1]:g}.")


def counted(counts):
    """Lines on what was repaired in a volume, or clipped."""
    found = {what: count for what, count in counts.items() if count}
    return [
        f"{count} {what.replace('value_range', '--range')}" if what == CLIPPED else f"repaired: {count} {what}"
        for what, count in found.items()
    ]


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

"""Arguments that say what a scan is and how it is corrected: shared by the commands that read scans."""

import argparse

INPUTS = ("counts", "transmission", "line-integrals")
PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg")
STRIPES = ("none", "all", "large", "unresponsive", "sorting", "filtering", "offset", "wavelet")
# Options that name what is read.
READ = ("scan", "flats", "darks", "angles", "model", "config", "library", "sinograms", "images", "labels", "low_dose",
        "normal_dose", "val_library", "val_sinograms", "val_images", "val_labels", "val_low_dose", "val_normal_dose",
        "weight_map", "truth")  # fmt: skip

FULL_TURN = 5.9  # radians that a scan over a full turn spans at least: 340 degrees
SIZES = {
    "all": "sorting_size",
    "sorting": "sorting_size",
    "filtering": "sorting_size",
    "large": "large_size",
    "unresponsive": "large_size",
    "offset": "offset_size",
}  # what --stripe-size is of each method


def slice_of(text):
    """``A:B`` or ``A:B:STEP`` as a slice."""
    parts = text.split(":")
    try:
        numbers = [int(part) if part else None for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3) or (len(numbers) == 3 and numbers[2] is not None and numbers[2] < 1):
        raise argparse.ArgumentTypeError(f"must be FIRST:END or FIRST:END:STEP; got {text!r}")
    return slice(*numbers)


def positive(text):
    """A whole number of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1; got {text!r}")
    return number


def add_scan_arguments(parser, *, required=True):
    """What the scan is; ``required=False``: an option ``--scan``, where the input may be something else."""
    kinds = "Data Exchange or NXtomo file, TIFF file or folder, MRC, .npy"
    if required:
        parser.add_argument("scan", help=kinds)
    else:
        parser.add_argument("--scan", metavar="FILE", help=f"raw scan: {kinds}")
    group = parser.add_argument_group("what the scan is; a Data Exchange or NXtomo file says it itself")
    group.add_argument("--input", choices=INPUTS, help="what the values are; by default counts, where there are flats")
    group.add_argument("--data", metavar="DATASET", help="dataset of the projections")
    group.add_argument("--flats", metavar="FILE", help="flat fields: a file, folder, dataset, or FILE:DATASET")
    group.add_argument("--darks", metavar="FILE", help="dark fields, likewise")
    group.add_argument("--angles", metavar="FILE", help="a file, FILE:DATASET, or START:STOP in degrees, both included")
    group.add_argument("--angle-unit", choices=("deg", "rad"), help="of stored angles that do not say it")
    group.add_argument("--order", choices=("projections", "sinograms"), help="which of them the file holds")
    group.add_argument(
        "--rows",
        type=slice_of,
        metavar="FIRST:END",
        help="only these detector rows, from 0; --rows=-8: keeps the last 8",
    )
    group.add_argument("--every", type=positive, default=1, metavar="K", help="only every K-th projection")


def add_correction_arguments(parser):
    """What is done before the reconstruction."""
    group = parser.add_argument_group("corrections, in this order")
    group.add_argument("--flat-average", choices=("mean", "median"), default="mean", help="of flats and darks")
    group.add_argument("--zingers", type=float, metavar="THRESHOLD", help="remove outliers above this (try 0.2)")
    group.add_argument("--air", type=positive, metavar="WIDTH", help="columns of air at both sides: they become 1")
    phase = "Paganin phase retrieval: ratio delta/beta; needs the three that follow"
    group.add_argument("--delta-beta", type=float, metavar="RATIO", help=phase)
    group.add_argument("--energy", type=float, metavar="EV", help="photon energy in eV (default: that of the file)")
    group.add_argument("--distance", type=float, metavar="M", help="from object to detector in m (default: the file's)")
    group.add_argument("--pixel-size", type=float, metavar="M", help="edge of a pixel in m (default: the file's)")
    group.add_argument("--floor", type=float, metavar="VALUE", help="least transmission before -log")
    group.add_argument(
        "--stripes",
        choices=STRIPES,
        default="none",
        help="how stripes (rings) are removed; offset suits narrow detectors",
    )
    size = "detectors under its median, odd (default: 21; large, unresponsive 51; offset 9)"
    group.add_argument("--stripe-size", type=positive, metavar="N", help=size)


def check_preview(path):
    """Refuses, before anything is computed, a picture that could not be drawn in the end."""
    import os
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise ValueError("--preview needs matplotlib: pip install 'tomolearn[plot]'.")
    if os.path.splitext(path)[1].lower() not in PICTURES:
        raise ValueError(f"--preview must end in one of {', '.join(PICTURES)}; got {path}.")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise ValueError(f"--preview: the folder of {path} does not exist.")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK) or os.path.isdir(path):
        raise ValueError(f"--preview: {path} cannot be written.")


def keep_inputs(arguments, option="output"):
    """Refuses an output that would take the place of what the command reads: overwriting would lose it."""
    from pathlib import Path

    name = getattr(arguments, option)
    out = Path(name).resolve()
    for given in (getattr(arguments, name, None) for name in READ):
        if not isinstance(given, str):
            continue
        path = Path(given) if Path(given).exists() else Path(given.rpartition(":")[0])
        if path.name and path.exists() and (out == path.resolve() or out in path.resolve().parents):
            raise ValueError(f"--{option} {name} would replace {given}, which is read; choose another name.")


def check_output(arguments):
    """Refuses an output that is read, or that exists and is not to be replaced."""
    from pathlib import Path

    keep_inputs(arguments)
    out = Path(arguments.output).resolve()
    if out.exists() and not arguments.overwrite:
        raise FileExistsError(f"the output {arguments.output} exists; choose another name, or --overwrite.")


def open_chosen(arguments):
    """The scan that the arguments describe."""
    from tomolearn.io import open_scan

    scan = open_scan(
        arguments.scan,
        data=arguments.data,
        flats=arguments.flats,
        darks=arguments.darks,
        angles=arguments.angles,
        angle_unit=arguments.angle_unit,
        order=arguments.order,
    )
    if arguments.rows is not None or arguments.every > 1:
        scan = scan.select(
            rows=arguments.rows, angles=slice(None, None, arguments.every) if arguments.every > 1 else None
        )
    return scan


def kind_of_values(arguments, scan):
    """ "counts", "transmission" or "line-integrals"."""
    if arguments.input is not None:
        if arguments.input == "counts" and scan.flats is None:
            raise ValueError(f"--input counts needs flat fields, and {scan.name} has none; name them by --flats.")
        return arguments.input
    if scan.flats is None:
        raise ValueError(
            f"{scan.name} has no flat fields: name them by --flats and --darks, or say what its values are by --input "
            "transmission or --input line-integrals."
        )
    return "counts"


def correction_steps(arguments, scan):
    """Named steps from the values of the file to line integrals."""
    from tomolearn import preprocessing as pre

    kind = kind_of_values(arguments, scan)
    steps = []
    if scan.dtype.kind == "f":
        steps.append(("repair", pre.BadPixelRepairer()))
    if kind == "counts":
        steps.append(("flat", pre.FlatFieldCorrector(average=arguments.flat_average)))
    if kind != "line-integrals":
        if arguments.zingers is not None:
            steps.append(("zingers", pre.ZingerRemover(threshold=arguments.zingers)))
        if arguments.air is not None:
            steps.append(("air", pre.AirNormalizer(width=arguments.air)))
        if arguments.delta_beta is not None:
            steps.append(("phase", pre.PaganinFilter(delta_beta=arguments.delta_beta, **_wave(arguments, scan))))
        floor = {} if arguments.floor is None else {"floor": arguments.floor}
        steps.append(("log", pre.MinusLog(**floor)))
    if arguments.stripes != "none":
        steps.append(("stripes", _stripes(pre, arguments)))
    elif arguments.stripe_size is not None:
        raise ValueError("--stripe-size is for --stripes; choose a method there.")
    return steps


def _stripes(pre, arguments):
    method, size = arguments.stripes, arguments.stripe_size
    if size is None:
        return pre.StripeRemover(method=method)
    if method not in SIZES:
        raise ValueError(f"--stripe-size is not for --stripes {method}; it is for {', '.join(SIZES)}.")
    return pre.StripeRemover(method=method, **{SIZES[method]: size})


def _wave(arguments, scan):
    found = {}
    for name in ("energy", "distance", "pixel_size"):
        value = getattr(arguments, name)
        found[name] = scan.metadata.get(name) if value is None else value
        if found[name] is None:
            raise ValueError(f"--delta-beta needs --{name.replace('_', '-')}: {scan.name} does not say it.")
    return found

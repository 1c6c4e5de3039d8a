"""Say what is in a scan or in a model file, and print a command line that uses it."""

import shlex

from tomolearn.cli._models import is_model_file
from tomolearn.cli._scan_arguments import FULL_TURN, add_scan_arguments, open_chosen

__all__ = ["add_arguments", "run"]

WIDE = 1000  # detectors
SHOWN = 60  # letters of a value
PARTS = ("parameters", "normalization", "geometry", "training", "learned")
# The command that applies a model, and where the images or sinograms of it stand; by the end of the class's name.
APPLIED = {
    "Denoiser": "infer {} -ld SLICES.h5 -o out.h5",
    "Reconstructor": "infer {} --sinograms SINOGRAMS.h5 -o out.h5",
    "Segmenter": "segment {} -i SLICES.h5 -o labels.tif",
    "Classifier": "classify {} -i IMAGES.h5 -o classes.csv",
    "Regressor": "classify {} -i IMAGES.h5 -o values.csv",
    "Reducer": "embed --model {} -i IMAGES.h5 -o map.csv",
    "Pipeline": "infer {} --sinograms SINOGRAMS.h5 -o out.h5",
}


def add_arguments(parser):
    """Add the arguments of ``info``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Parser of the command.

    Examples
    --------
    >>> import argparse
    >>> from tomolearn.cli.info import add_arguments
    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["scan.h5"]).scan
    'scan.h5'
    """
    add_scan_arguments(parser)


def run(arguments):
    """Print the report.

    Parameters
    ----------
    arguments : argparse.Namespace
        What the command line held.

    Returns
    -------
    int
        0.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from tomolearn.cli.main import main
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "scan.h5"
    >>> main(["simulate", str(path), "--size", "32", "--angles", "24", "--rows", "2", "--quiet"])
    0
    >>> main(["info", str(path)])
    file         /.../scan.h5:exchange/data
    projections  24 angles x 2 rows x 32 detectors, uint16, 0.0 MB
    ...
    """
    if is_model_file(arguments.scan):
        return _describe_model(arguments.scan)
    scan = open_chosen(arguments)
    rows, n_angles, detectors = scan.shape
    lines = {
        "file": scan.name,
        "projections": f"{n_angles} angles x {rows} rows x {detectors} detectors, {scan.dtype}, {_size(scan.nbytes)}",
        "stored": "row by row" if scan.chunk == 1 else f"in chunks that span {scan.chunk} rows",
        "angles": _angles(scan),
        "flats": f"{scan.flats.shape[1]} frames" if scan.flats is not None else "none",
        "darks": f"{scan.darks.shape[1]} frames" if scan.darks is not None else "none",
        "middle row": _values(scan, rows // 2),
    }
    if scan.beam_intensity is not None:
        beam = scan.beam_intensity
        lines["beam"] = f"monitored, {beam.min():.3f} to {beam.max():.3f} of that of the flats"
    lines |= {name.replace("_", " "): value for name, value in scan.metadata.items() if value not in (None, "")}
    print("\n".join(f"{name:<13}{value}" for name, value in lines.items()))
    print(f"volume       {rows} x {detectors} x {detectors}, float32, {_size(4 * rows * detectors**2)}")
    print("\n" + _command(arguments, scan))
    if scan.angles is not None and scan.angles.max() - scan.angles.min() > FULL_TURN:
        print("(--half-acquisition, if the axis is near the border of the detector: tomolearn center tells)")
    return 0


def _size(n_bytes):
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def _angles(scan):
    import numpy as np

    if scan.angles is None:
        return "none in the file; taken as equally spaced over 180 degrees, the end excluded, unless --angles says more"
    degrees = np.rad2deg(scan.angles)
    step = np.diff(degrees)
    even = len(step) == 0 or np.ptp(step) <= 0.02 * abs(step.mean())
    spacing = f"steps of {step.mean():.4g}" if len(step) and even else "unevenly spaced" if len(step) else "one"
    return f"{degrees[0]:.4g} to {degrees[-1]:.4g} degrees, {spacing}"


def _values(scan, row):
    import numpy as np

    values = scan.read_block(row, row + 1).astype(np.float64)
    finite = values[np.isfinite(values)]
    bad = f", {values.size - finite.size} not finite" if finite.size < values.size else ""
    if not finite.size:
        return "no finite value"
    return f"{finite.min():.4g} to {finite.max():.4g}, median {np.median(finite):.4g}{bad}"


def _look_like_counts(scan):
    """Integers, or values far above what transmissions and line integrals are."""
    import numpy as np

    row = scan.shape[0] // 2
    return scan.dtype.kind in "ui" or bool(np.nanmedian(np.abs(scan.read_block(row, row + 1))) > 50)


def _command(arguments, scan):
    """A command line that works as it stands."""
    words = ["tomolearn", "reconstruct", arguments.scan, "-o", "recon.h5"]
    for name in ("data", "flats", "darks", "angles", "angle_unit", "order"):
        value = getattr(arguments, name)
        words += [] if value is None else [f"--{name.replace('_', '-')}", value]
    are_counts = scan.flats is None and arguments.input is None and _look_like_counts(scan)
    if are_counts:
        words += ["--flats", "FLATS", "--darks", "DARKS"]
    elif arguments.input is not None:
        words += ["--input", arguments.input]
    elif scan.flats is None:
        words += ["--input", "transmission"]
    # The windows of "all" are 51 and 21 detectors wide: on a narrow detector they bend the object too.
    stripes = "all" if scan.shape[2] >= WIDE else "offset"
    words += ["--center", "auto", "--stripes", stripes, "--preview", "recon.png"]
    if are_counts:
        return shlex.join(words) + "\n(put in the files of flats and darks: the values look like raw counts)"
    if scan.flats is None and arguments.input is None:
        return (
            shlex.join(words)
            + "\n(--input line-integrals, if -log was taken already; --flats FILE, if these are counts)"
        )
    return shlex.join(words)


def _describe_model(path):
    """Print what a model file holds."""
    from tomolearn.persistence import describe_model

    facts = describe_model(path)
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    print(f"file         {path}, {_size(facts['n_bytes'])}")
    print(f"class        {facts['class']}, {facts['n_weights']:,} weights")
    print(f"written by   {versions}")
    for name, value in facts["facts"].items():
        print(f"{name.replace('_', ' '):<13}{_short(value)}")
    _describe_part(facts)
    print("\n" + _applied(facts["class"], path))
    return 0


def _describe_part(facts):
    """Print parameters and what was learned, of each step of a pipeline too."""
    for part in PARTS:
        rows = {name: value for name, value in facts.get(part, {}).items() if name not in ("history_", "steps")}
        history = facts.get(part, {}).get("history_")
        for name in ("loss", "val_loss") if isinstance(history, dict) else ():
            if history.get(name):
                rows[f"{name}, first and last"] = f"{history[name][0]:.4g}, {history[name][-1]:.4g}"
        if rows:
            print(f"\n{part}")
            print("\n".join(f"  {name:<24}{_short(value)}" for name, value in rows.items()))
    for step in facts.get("steps", []):
        print(f"\nstep {step['name']}: {step['class']}")
        _describe_part(step)


def _short(value):
    text = " ".join(repr(value).split()) if not isinstance(value, str) else value
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _applied(name, path):
    end = next((end for end in APPLIED if name.endswith(end)), None)
    return f"tomolearn {APPLIED[end].format(shlex.quote(path))}" if end else ""

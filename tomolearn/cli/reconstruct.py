"""Reconstruct a scan of any size, from file to file."""

import argparse
import sys
import time
import warnings

from tomolearn.cli._models import add_storage_arguments, add_volume_arguments, check_storage, counted
from tomolearn.cli._parameters import (
    add_machine_arguments,
    add_setting_arguments,
    make_estimator,
    read_config,
    use_threads,
)
from tomolearn.cli._run_log import add_log_argument, check_log, write_run
from tomolearn.cli._scan_arguments import (
    add_correction_arguments,
    add_scan_arguments,
    check_output,
    check_preview,
    correction_steps,
    open_chosen,
    positive,
)

__all__ = ["add_arguments", "run"]

ALGORITHMS = ("fbp", "sirt", "cgls", "tv")
METHODS = ("auto", "vo", "phase", "entropy")
ITERATIONS = {"sirt": 100, "cgls": 20, "tv": 200}
CLASSES = {
    "fbp": "FBPReconstructor", "sirt": "SIRTReconstructor", "cgls": "CGLSReconstructor", "tv": "TVReconstructor",
}  # fmt: skip
# Parameters of the reconstructors, the options that stand for them, and what they belong to.
OPTION = {
    "filter": "filter", "padding": "padding", "method": "method", "max_iter": "iterations",
    "regularization": "regularization", "nonnegative": "nonnegative",
}  # fmt: skip
OF = {
    "filter": ("fbp",), "padding": ("fbp",), "method": ("fbp",), "iterations": ("sirt", "cgls", "tv"),
    "regularization": ("tv",), "nonnegative": ("sirt", "cgls", "tv"),
}  # fmt: skip


def center_of(text):
    """The name of a method, or a number."""
    if text in METHODS:
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number or one of {', '.join(METHODS)}; got {text!r}") from None


def add_arguments(parser):
    """Add the arguments of ``reconstruct``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Parser of the command.

    Examples
    --------
    >>> import argparse
    >>> from tomolearn.cli.reconstruct import add_arguments
    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["scan.h5", "-o", "recon.h5", "--center", "296"]).center
    296.0
    """
    add_scan_arguments(parser)
    out = parser.add_argument_group("the volume")
    add_volume_arguments(out)
    add_storage_arguments(out)
    out.add_argument("--preview", metavar="PNG", help="picture of some slices")
    add_log_argument(out)
    how = parser.add_argument_group("reconstruction")
    how.add_argument("--algorithm", choices=ALGORITHMS, default="fbp")
    axis = (
        "rotation axis: a detector coordinate, or how it is found: vo, phase, entropy, auto (vo, compared with phase)"
    )
    how.add_argument("--center", type=center_of, default="auto", metavar="X|METHOD", help=axis)
    how.add_argument("--filter", help="of fbp (default: ram-lak; hann is smoother)")
    how.add_argument("--padding", choices=("zero", "edge"), help="beyond the detector, for fbp (default: edge)")
    how.add_argument(
        "--method", choices=("auto", "direct", "fourier"), help="of fbp; auto (default) takes what is faster"
    )
    how.add_argument("--iterations", type=positive, help=f"default: {ITERATIONS}".replace("'", ""))
    how.add_argument("--regularization", type=float, metavar="WEIGHT", help="of tv, in units of the data")
    how.add_argument(
        "--nonnegative", action="store_true", default=None, help="no negative attenuation, for sirt, cgls, tv"
    )
    how.add_argument("--half-acquisition", action="store_true", help="360 degrees with the axis near the border")
    add_correction_arguments(parser)
    add_setting_arguments(parser)
    add_machine_arguments(parser, memory=True)


def run(arguments):
    """Reconstruct.

    Parameters
    ----------
    arguments : argparse.Namespace
        What the command line held.

    Returns
    -------
    int
        0.

    Raises
    ------
    ValueError
        If arguments do not fit each other or the scan.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from tomolearn.cli.main import main
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> main(["simulate", str(folder / "scan.h5"), "--size", "32", "--angles", "48", "--rows", "2", "--quiet"])
    0
    >>> main(["reconstruct", str(folder / "scan.h5"), "-o", str(folder / "recon.h5"), "--center", "15.5", "--quiet"])
    0
    """
    from sklearn.pipeline import Pipeline

    from tomolearn.streaming import reconstruct_volume

    use_threads(arguments)
    say = (lambda *words: None) if arguments.quiet else (lambda *words: print(*words, flush=True))
    check_storage(arguments)
    check_output(arguments)
    check_log(arguments, arguments.output, arguments.preview)
    if arguments.preview:
        check_preview(arguments.preview)
    reconstructor = _reconstructor(arguments)
    scan = open_chosen(arguments)
    say(describe_scan(scan))
    began, at = time.perf_counter(), time.time()
    steps = correction_steps(arguments, scan)
    if arguments.half_acquisition:
        steps.append(_stitcher(arguments))
    center = find_axis(arguments, steps, scan)
    steps.append(("reconstruct", reconstructor.set_params(center=center)))
    pipeline = Pipeline(steps)
    say("steps: " + ", ".join(_name(name, step) for name, step in steps))
    searched = time.perf_counter() - began
    report = reconstruct_volume(
        pipeline,
        scan,
        arguments.output,
        memory=arguments.memory,
        dtype=arguments.dtype,
        value_range=arguments.range,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        verbose=0 if arguments.quiet else 1,
    )
    report.seconds["center"] += searched
    seconds = time.perf_counter() - began
    _summary(say, arguments, report, seconds)
    if arguments.preview:
        from tomolearn.display import draw_slices
        from tomolearn.io import open_volume

        with open_volume(report.path) as volume:
            draw_slices(volume, arguments.preview)
        say(f"preview: {arguments.preview}")
    facts = {
        "data": [describe_scan(scan)],
        "steps": [_name(name, step) for name, step in steps],
        "shape": list(report.shape),
        "center": report.center,
        "counts": report.counts,
        "seconds_of": {name: round(took, 3) for name, took in report.seconds.items()},
    }
    write_run(arguments, reconstructor, at, facts)
    return 0


def describe_scan(scan):
    rows, angles, detectors = scan.shape
    frames = [f"{part.shape[1]} {name}" for name, part in (("flats", scan.flats), ("darks", scan.darks)) if part]
    return f"{scan.name}: {rows} rows, {angles} angles, {detectors} detectors, {', '.join([str(scan.dtype), *frames])}"


def find_axis(arguments, steps, scan):
    """The centre for the reconstructor: a number, a method, or None where a step brings the axis to the middle."""
    last = scan.shape[2] - 1
    if not isinstance(arguments.center, str) and not 0 <= arguments.center <= last:
        raise ValueError(f"--center must be on the detector, 0 to {last}; got {arguments.center:g}.")
    if getattr(arguments, "half_acquisition", False):  # an option of this command alone
        return None
    if arguments.center != "auto":
        return arguments.center
    from tomolearn.preprocessing import find_center
    from tomolearn.streaming import sample_sinograms

    sinograms, angles, _ = sample_sinograms(steps, scan)
    center = float(find_center(sinograms, angles, method="vo", angle_unit="rad"))
    try:
        other = float(find_center(sinograms, angles, method="phase", angle_unit="rad"))
    except ValueError:  # no opposite views
        return center
    if abs(center - other) > 1:
        warnings.warn(
            f"the methods disagree on the rotation axis: vo {center:.2f}, phase {other:.2f}. Look at it: tomolearn "
            f"center {arguments.scan} --preview centers.png",
            stacklevel=2,
        )
    return center


def _reconstructor(arguments):
    """The reconstructor with what options, --set and --config say, but for the axis."""
    from tomolearn import reconstruction

    name = arguments.algorithm
    for option, kinds in OF.items():
        if getattr(arguments, option) is not None and name not in kinds:
            raise ValueError(f"--{option} is for --algorithm {' or '.join(kinds)}; got {name}.")
    given = {} if arguments.config is None else read_config(arguments.config)
    given |= dict(arguments.settings)
    for key in ("center", "angles", "angle_unit"):
        if key in given:
            option = key.replace("_", "-")
            raise ValueError(f"--{option} says this of the scan, and --set or --config {key} too; use the option.")
    # What this command does where nothing is said, and the library does not.
    defaults = {"padding": "edge"} if name == "fbp" else {"max_iter": ITERATIONS[name]}
    own = {
        key: value for key, value in defaults.items() if key not in given and getattr(arguments, OPTION[key]) is None
    }
    own |= {} if "verbose" in given else {"verbose": 0}  # the bar of the volume is enough
    cls = getattr(reconstruction, CLASSES[name])
    return make_estimator(cls, arguments, {option: key for key, option in OPTION.items()}).set_params(**own)


def _stitcher(arguments):
    from tomolearn.preprocessing import HalfAcquisitionStitcher

    if arguments.center not in ("auto",) and isinstance(arguments.center, str):
        raise ValueError("--half-acquisition finds its axis by --center auto, or takes a number.")
    return "stitch", HalfAcquisitionStitcher(center=None if arguments.center == "auto" else arguments.center)


def _name(name, step):
    detail = {"stripes": "method", "flat": "average", "reconstruct": "filter"}.get(name)
    what = type(step).__name__.removesuffix("Reconstructor").lower() if name == "reconstruct" else name
    value = getattr(step, detail, None) if detail else None
    return f"{what} ({value})" if value else what


def _summary(say, arguments, report, seconds):
    n = report.shape[0] - report.n_slices_resumed
    if report.n_resumed:
        say(f"resumed: {report.n_resumed} of {report.n_blocks} blocks were done")
    if report.center is not None:
        say(f"center: {report.center:.2f}" + (f" (by {arguments.center})" if isinstance(arguments.center, str) else ""))
    for line in counted(report.counts):
        say(line)
    total = sum(report.seconds.values()) or 1.0
    shares = ", ".join(f"{name} {100 * took / total:.0f} %" for name, took in report.seconds.items())
    say(f"wrote {report.path}: {' x '.join(map(str, report.shape))} in {seconds:.1f} s, {n / seconds:.1f} slices/s")
    say(f"time: {shares}")
    sys.stdout.flush()

"""Find the rotation axis of a scan by several methods, and draw a slice about the axes near it."""

from typing import Any

from tomolearn.cli._scan_arguments import (
    FULL_TURN,
    add_correction_arguments,
    add_scan_arguments,
    check_preview,
    correction_steps,
    open_chosen,
)

__all__ = ["add_arguments", "run"]

METHODS = ("vo", "phase", "entropy")
NEAR = 8  # detectors to either side of what vo finds that entropy looks at


def add_arguments(parser):
    """Add the arguments of ``center``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Parser of the command.

    Examples
    --------
    >>> import argparse
    >>> from tomolearn.cli.center import add_arguments
    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["scan.h5", "--around", "296"]).around
    296.0
    """
    add_scan_arguments(parser)
    look = parser.add_argument_group("a look at it")
    look.add_argument("--preview", metavar="PNG", help="the middle row reconstructed about nine axes")
    look.add_argument("--around", type=float, metavar="X", help="the axis in the middle (default: what vo finds)")
    look.add_argument(
        "--step", type=float, default=1.0, metavar="PIXELS", help="from one axis to the next (default: 1)"
    )
    add_correction_arguments(parser)


def run(arguments):
    """Print what each method finds.

    Parameters
    ----------
    arguments : argparse.Namespace
        What the command line held.

    Returns
    -------
    int
        0, or 1 where no method finds an axis.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from tomolearn.cli.main import main
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "scan.h5"
    >>> main(["simulate", str(path), "--size", "64", "--angles", "90", "--center-offset", "3.5", "--quiet"])
    0
    >>> main(["center", str(path)])
    method      center   by row
    vo           35.0...
    0
    """
    from tomolearn.streaming import sample_sinograms

    if arguments.preview:
        check_preview(arguments.preview)
    scan = open_chosen(arguments)
    sinograms, angles, rows = sample_sinograms(correction_steps(arguments, scan), scan)
    found = _find(sinograms, angles, rows)
    if arguments.preview and set(found) == {"360"}:
        print("no preview: the halves of the turn have to be joined first; see --preview of reconstruct")
    elif arguments.preview and (found or arguments.around is not None):
        middle = arguments.around if arguments.around is not None else next(iter(found.values()))
        _draw(arguments, sinograms[len(rows) // 2], angles, middle)
    return 0 if found else 1


def _find(sinograms, angles, rows):
    """Print what each method finds; {method: axis}."""
    import numpy as np

    from tomolearn.preprocessing import find_center, find_center_360

    found, n_detectors = {}, sinograms.shape[2]
    print(f"{'method':<10}{'center':>8}   by row")
    if angles is not None and np.ptp(angles) > FULL_TURN:
        found["360"] = float(find_center_360(sinograms, angles, angle_unit="rad"))
        near_border = min(found["360"], n_detectors - 1 - found["360"]) < n_detectors / 4
        hint = "near the border: reconstruct with --half-acquisition" if near_border else "all rows together"
        print(f"{'360':<10}{found['360']:>8.2f}   {hint}", flush=True)
        if near_border:  # the methods for half a turn look for the axis of an object that every view shows whole
            return found
    for method in METHODS:
        options: dict[str, Any] = {"method": method, "angle_unit": "rad"}
        if method == "entropy" and "vo" in found:  # images cost much: only those near what is known
            near = found["vo"] - NEAR, found["vo"] + NEAR
            options["search"] = max(near[0], 0), min(near[1], n_detectors - 1)
        try:
            found[method] = float(find_center(sinograms, angles, **options))
            each = find_center(sinograms, angles, per_slice=True, **options)
        except ValueError as error:
            print(f"{method:<10}{'none':>8}   {error}")
            continue
        by_row = ", ".join(f"{row}: {center:.2f}" for row, center in zip(rows, each, strict=True))
        print(f"{method:<10}{found[method]:>8.2f}   {by_row}", flush=True)
    return found


def _draw(arguments, sinogram, angles, middle):
    import numpy as np

    from tomolearn.display import draw_centers
    from tomolearn.reconstruction import FBPReconstructor

    centers = middle + arguments.step * np.arange(-4, 5)
    stack = np.repeat(sinogram[None], len(centers), axis=0)
    images = FBPReconstructor(
        filter="hann", padding="edge", angles=angles, angle_unit=None if angles is None else "rad", center=centers
    ).fit_transform(stack)
    draw_centers(images, centers, arguments.preview, chosen=middle)
    print(f"preview: {arguments.preview}")

"""Write a simulated raw scan whose truth is known, as Data Exchange HDF5."""

import os

from tomolearn.cli._scan_arguments import positive

__all__ = ["add_arguments", "run"]


def add_arguments(parser):
    """Add the arguments of ``simulate``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Parser of the command.

    Examples
    --------
    >>> import argparse
    >>> from tomolearn.cli.simulate import add_arguments
    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args(["scan.h5", "--size", "64"]).size
    64
    """
    parser.add_argument("output", metavar="SCAN", help="file to write: scan.h5")
    parser.add_argument("--rows", type=positive, default=8, help="detector rows, which are the slices (default: 8)")
    parser.add_argument("--size", type=positive, default=256, help="edge of a slice in pixels (default: 256)")
    parser.add_argument("--angles", type=positive, default=180, help="projections (default: 180)")
    parser.add_argument("--detectors", type=positive, help="detector columns (default: the size)")
    parser.add_argument("--full-turn", action="store_true", help="over 360 degrees instead of 180")
    parser.add_argument("--center-offset", type=float, default=0.0, metavar="PIXELS", help="of the axis (default: 0)")
    parser.add_argument("--photons", type=float, default=10_000.0, help="a pixel of the open beam (default: 10000)")
    parser.add_argument("--absorption", type=float, default=2.0, help="line integral through the middle (default: 2)")
    parser.add_argument("--rings", type=float, default=0.0, metavar="STRENGTH", help="error of the gain, such as 0.03")
    parser.add_argument("--zingers", type=float, default=0.0, metavar="SHARE", help="share of the values, such as 1e-4")
    parser.add_argument("--dead", type=int, default=0, metavar="N", help="dead pixels in each row")
    parser.add_argument("--drift", type=float, default=0.0, metavar="SHARE", help="of the beam's intensity")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--truth", metavar="PATH", help="write the true volume too: truth.h5, truth.tif, ...")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(arguments):
    """Simulate and write.

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
        If the truth has the name of the scan.
    FileExistsError
        If a file exists and is not to be replaced.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from tomolearn.cli.main import main
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "scan.h5"
    >>> main(["simulate", str(path), "--size", "32", "--angles", "24", "--rows", "1"])
    /.../scan.h5: 1 rows, 24 angles, 32 detectors, uint16; center 15.50
    0
    """
    from tomolearn.io import create_sink, write_scan
    from tomolearn.simulation import simulate_scan

    if arguments.truth and os.path.abspath(arguments.truth) == os.path.abspath(arguments.output):
        raise ValueError(f"--truth must have another name than the scan; got {arguments.truth} twice.")
    if arguments.truth and os.path.exists(arguments.truth) and not arguments.overwrite:
        raise FileExistsError(f"the output {arguments.truth} exists; choose another name, or --overwrite.")
    scan = simulate_scan(
        arguments.rows,
        arguments.size,
        arguments.angles,
        n_detectors=arguments.detectors,
        full_turn=arguments.full_turn,
        center_offset=arguments.center_offset,
        photons=arguments.photons,
        absorption=arguments.absorption,
        ring_strength=arguments.rings,
        zinger_fraction=arguments.zingers,
        n_dead=arguments.dead,
        beam_drift=arguments.drift,
        random_state=arguments.seed,
    )
    facts = {"center": scan.center, "simulated": True, "random_state": arguments.seed}
    write_scan(
        arguments.output,
        scan.counts,
        angles=scan.angles,
        angle_unit="rad",
        flats=scan.flats,
        darks=scan.darks,
        metadata=facts,
        overwrite=arguments.overwrite,
    )
    if arguments.truth:
        n = len(scan.volume)
        blocks, shape = [(0, n)], scan.volume.shape
        with create_sink(arguments.truth, shape, blocks=blocks, metadata=facts, overwrite=arguments.overwrite) as sink:
            sink.write_block(0, scan.volume)
    if not arguments.quiet:
        rows, angles, detectors = scan.counts.shape
        print(
            f"{arguments.output}: {rows} rows, {angles} angles, {detectors} detectors, {scan.counts.dtype}; "
            f"center {scan.center:.2f}"
        )
    return 0

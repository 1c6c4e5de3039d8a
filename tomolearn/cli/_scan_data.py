"""Corrected sinograms of a raw scan to learn from: some rows of it, spread evenly, as they reach a reconstructor."""

from tomolearn.cli._data import SPREAD, TOGETHER, Data
from tomolearn.cli._scan_arguments import (
    add_correction_arguments,
    add_scan_arguments,
    correction_steps,
    open_chosen,
    positive,
)
from tomolearn.cli.reconstruct import center_of, describe_scan, find_axis

__all__ = ["add_training_scan_arguments", "open_training_scan"]


def add_training_scan_arguments(parser):
    """The scan, how it is corrected, and how much of it is learned from."""
    add_scan_arguments(parser)
    axis = "rotation axis: a detector coordinate, or vo, phase, entropy, auto"
    parser.add_argument("--center", type=center_of, default="auto", metavar="X|METHOD", help=axis)
    rows = f"rows that are learned from, spread over the scan (default: {SPREAD}, or all of fewer)"
    parser.add_argument("--train-rows", type=positive, default=SPREAD, metavar="N", help=rows)
    add_correction_arguments(parser)


def open_training_scan(arguments, estimator):
    """Corrected sinograms of the rows; the estimator then knows angles and axis of the scan."""
    from sklearn.pipeline import Pipeline

    from tomolearn.streaming import corrected_sinograms

    arguments.words = {"X": "the corrected scan"}
    scan = open_chosen(arguments)
    steps = correction_steps(arguments, scan)
    if estimator.center is None:
        estimator.set_params(center=find_axis(arguments, steps, scan))
    parts = _parts(len(scan), arguments.train_rows, 1 if scan.chunk == 1 else TOGETHER)
    sinograms, learned = corrected_sinograms(Pipeline([*steps, ("reconstruct", estimator)]), scan, blocks=parts)
    estimator.set_params(**{name: getattr(learned, name) for name in ("angles", "angle_unit", "center")})
    told = f"{describe_scan(scan)}\ncenter: {estimator.center:.2f}; learns from {len(sinograms)} of {len(scan)} rows"
    return Data(sinograms, None, {}, told)


def _parts(n, n_wanted, together):
    """Blocks (start, stop) of ``n_wanted`` of ``n`` rows, spread evenly."""
    import numpy as np

    together = min(together, n_wanted)
    n_blocks = -(-n_wanted // together)
    if n_blocks * together >= n:
        return [(start, min(n, start + together)) for start in range(0, n, together)]
    starts = np.linspace(0, n - together, n_blocks).astype(int)
    return [(int(start), int(start) + together) for start in starts]

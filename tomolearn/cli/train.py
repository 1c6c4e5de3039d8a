"""Train a network on files, and save it as a model file that `tomolearn infer` applies."""

import argparse
import os
import time

from tomolearn.cli._data import add_pair_arguments, open_training_data
from tomolearn.cli._models import known_estimators
from tomolearn.cli._parameters import (
    add_machine_arguments,
    add_parameter_arguments,
    checked,
    make_estimator,
    use_threads,
)
from tomolearn.cli._run_log import add_log_argument, check_log, write_log
from tomolearn.cli._scan_arguments import check_output, keep_inputs
from tomolearn.cli._scan_data import add_training_scan_arguments, open_training_scan

__all__ = ["add_arguments", "run"]

# What can be trained: the estimator, what it learns from, and what it does.
NETWORKS = {
    "tomogan": ("TomoGANDenoiser", "pairs", "denoise slices, from pairs of low and normal dose"),
    "vae": ("VAEDenoiser", "pairs", "denoise small images of one kind by a variational autoencoder"),
    "noise2self": ("Noise2SelfDenoiser", "noisy", "denoise slices, from the noisy slices alone"),
    "noise2inverse": ("Noise2InverseReconstructor", "scan", "reconstruct and denoise a scan, from the scan alone"),
    "automap": ("AutomapReconstructor", "library", "reconstruct, from pairs of sinograms and images (AUTOMAP)"),
    "cnn": ("CNNReconstructor", "library", "the same by a convolutional network"),
    "dense": ("DenseReconstructor", "library", "the same by a dense network"),
    "lpd": ("LearnedPrimalDualReconstructor", "scanned", "the same by learned primal-dual iterations"),
    "fbpunet": ("FBPUNetReconstructor", "scanned", "the same by FBP and a U-Net"),
    "iradonmap": ("IRadonMAPReconstructor", "scanned", "the same by iRadonMAP"),
    "unet": ("UNetSegmenter", "labelled", "label the pixels of images, from labelled images"),
    "alexnet": ("AlexNetClassifier", "classes", "say which class an image shows"),
    "alexnet-regressor": ("AlexNetRegressor", "classes", "say values of an image"),
}


def add_arguments(parser):
    """Add the arguments of ``train``: a sub-command for each network.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Parser of the command.

    Examples
    --------
    >>> import argparse
    >>> from tomolearn.cli.train import add_arguments
    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser)
    >>> parser.parse_args("tomogan -ld low.h5 -nd normal.h5 -o model.tomo --epochs 5".split()).epochs
    5
    """
    networks = parser.add_subparsers(dest="what", metavar="NETWORK", required=True)
    for name, (estimator, kind, summary) in NETWORKS.items():
        text = f"{summary[0].upper()}{summary[1:]}: trains a {estimator}."
        network = networks.add_parser(name, help=summary, description=text)
        if kind == "scan":
            add_training_scan_arguments(network)
        else:
            add_pair_arguments(network, kind)
        out = network.add_argument_group("the model")
        out.add_argument("-o", "--output", required=True, metavar="PATH", help="model file to write: model.tomo")
        out.add_argument("--resume", action="store_true", help="go on with a training that was broken off")
        out.add_argument("--overwrite", action="store_true", help="replace an existing model, or begin anew")
        add_log_argument(out)
        add_parameter_arguments(network)
        add_machine_arguments(network)
        network.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(arguments):
    """Train and save.

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
        If arguments do not fit each other, the estimator or the files.
    FileExistsError
        If the model exists and is not to be replaced, or what a broken training has left.
    KeyboardInterrupt
        On Ctrl-C; the best weights so far have been saved, and its notes say so.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from tomolearn.cli.main import main
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> np.save(folder / "noisy.npy", np.random.default_rng(0).random((8, 24, 24), np.float32))
    >>> small = ["--set", "channels=[4,8]", "--set", "batch_size=4", "--epochs", "2", "--quiet"]
    >>> main(["train", "noise2self", "-ld", str(folder / "noisy.npy"), "-o", str(folder / "model.tomo"), *small])
    0
    """
    name, kind, _ = NETWORKS[arguments.what]
    use_threads(arguments)
    leftover = f"{arguments.output}.checkpoint"
    _check_output(arguments, leftover)
    estimator = checked(make_estimator(known_estimators()[name], arguments))
    began = time.time()
    data = (
        open_training_scan(arguments, estimator) if kind == "scan" else open_training_data(kind, arguments, estimator)
    )
    say = (lambda *words: None) if arguments.quiet or not _is_first() else (lambda *words: print(*words, flush=True))
    say(data.told)
    # From other seeds no later run could draw the same.
    checkpoint = leftover if isinstance(estimator.random_state, int) else None
    if checkpoint is not None and arguments.overwrite and not arguments.resume and _is_first():
        if os.path.exists(checkpoint):
            os.unlink(checkpoint)
    try:
        target = () if data.y is None else (data.y,)
        estimator.fit(data.X, *target, **data.options, checkpoint=checkpoint)
    except KeyboardInterrupt as stop:
        if hasattr(estimator, "network_") and _is_first():
            stop.add_note(_keep_unfinished(estimator, arguments, checkpoint, began, data.told))
        raise
    if _is_first():
        _save(estimator, arguments, "finished", began, data.told)
        if checkpoint is not None and os.path.exists(checkpoint):
            os.unlink(checkpoint)
    say(_summary(estimator, arguments.output, time.time() - began))
    return 0


def _is_first():
    """Of several processes of torchrun the first prints and saves."""
    return os.environ.get("RANK", "0") == "0"


def _check_output(arguments, checkpoint):
    """Refuses what could not be written in the end, before anything is computed."""
    path, unfinished = arguments.output, os.path.exists(checkpoint)
    if os.path.isdir(path):
        raise IsADirectoryError(f"--output {path} is a folder; choose the name of a model file.")
    if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise FileNotFoundError(f"--output: the folder of {path} does not exist; make it first.")
    keep_inputs(arguments)
    check_log(arguments, path, checkpoint)
    if unfinished and not (arguments.resume or arguments.overwrite):
        raise FileExistsError(
            f"{checkpoint} is what a training has left that was broken off; --resume goes on with it, --overwrite "
            "begins anew."
        )
    if not (unfinished and arguments.resume):
        check_output(arguments)


def _save(estimator, arguments, status, began, told):
    estimator.save(arguments.output)
    if arguments.log is not None:
        write_log(arguments.log, estimator, arguments, status=status, began=began, data=told)


def _keep_unfinished(estimator, arguments, checkpoint, began, told):
    """What is said after Ctrl-C, when the weights that are best so far have been saved."""
    _save(estimator, arguments, "interrupted", began, told)
    of = f"of epoch {estimator.best_epoch_}" if estimator.best_epoch_ else "of the first epoch"
    goes_on = "; the same command with --resume goes on" if checkpoint is not None else ""
    return f"The best weights so far, {of}, are in {arguments.output}{goes_on}."


def _summary(estimator, path, seconds):
    """One line on the training."""
    history, best = estimator.history_, estimator.best_epoch_
    losses = ", ".join(f"{name} {history[name][best - 1]:.4g}" for name in ("loss", "val_loss") if name in history)
    return (
        f"wrote {path}: {type(estimator).__name__}, {estimator.n_parameters_:,} weights of epoch {best} of "
        f"{estimator.n_epochs_} ({losses}) in {seconds:.1f} s"
    )

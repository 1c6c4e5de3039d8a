"""The record of a run: parameters, versions, data, times and what was reached, as one JSON file."""

import json
import os
import time

from tomolearn.cli._scan_arguments import keep_inputs
from tomolearn.cli._tables import write_whole

__all__ = ["add_log_argument", "check_log", "write_log", "write_run"]


def add_log_argument(parser):
    """Where the record goes."""
    parser.add_argument("--log", metavar="JSON", help="record of parameters, versions, results and times")


def check_log(arguments, *others):
    """Refuses, before anything is computed, a record that could not be written in the end, or has the name of others.

    Parameters
    ----------
    arguments : argparse.Namespace
        With ``log``; None: there will be no record.
    *others : str
        What the command writes too.

    Raises
    ------
    ValueError, OSError
        If it could not, or has.
    """
    path = arguments.log
    if path is None:
        return
    if os.path.isdir(path):
        raise IsADirectoryError(f"--log {path} is a folder; choose another name.")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"--log: the folder of {path} does not exist; make it first.")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"--log: nothing can be written to the folder of {path}.")
    keep_inputs(arguments, "log")
    for other in others:
        if other is not None and os.path.abspath(path) == os.path.abspath(other):
            raise ValueError(f"--log must have another name than {other}, which is written too; got one name for both.")


def write_log(path, estimator, arguments, *, status, began, data):
    """Write the record of a training."""
    record = {
        "estimator": type(estimator).__name__,
        "status": status,
        "model": arguments.output,
        "data": data.splitlines(),
        "parameters": estimator.get_params(deep=False),
        "device": _device_of(estimator),
        "n_epochs": estimator.n_epochs_,
        "best_epoch": estimator.best_epoch_,
        "n_parameters": estimator.n_parameters_,
        "history": estimator.history_,
    }
    _write(path, record, began)


def write_run(arguments, estimator, began, facts):
    """Write the record of a command that applies an estimator, where one is asked for."""
    if arguments.log is None:
        return
    record = {
        "command": arguments.command,
        "estimator": type(estimator).__name__,
        "status": "finished",
        "model": getattr(arguments, "model", None),
        "output": arguments.output,
        "parameters": estimator.get_params(deep=False),
        "device": _device_of(estimator),
    }
    _write(arguments.log, record | facts, began)


def _write(path, record, began):
    """Beside ``path``, renamed when it is whole."""
    from tomolearn.streaming._facts import versions

    times = {
        "versions": versions(),
        "began": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(began)),
        "seconds": round(time.time() - began, 3),
    }
    write_whole(path, (json.dumps(record | times, indent=1, default=_plain) + "\n").encode())


def _device_of(estimator):
    """Where its network is; None where there is none."""
    network = getattr(estimator, "network_", None)
    return None if network is None else str(next(network.parameters()).device)


def _plain(value):
    return value.tolist() if hasattr(value, "tolist") else str(value)

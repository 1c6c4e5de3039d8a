"""The record of a training: parameters, versions, data, times and the history, as one JSON file."""

import json
import os
import time

from tomolearn.cli._tables import write_whole

__all__ = ["check_log", "write_log"]


def check_log(path):
    """Refuses, before anything is computed, a record that could not be written in the end."""
    if os.path.isdir(path):
        raise IsADirectoryError(f"--log {path} is a folder; choose another name.")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"--log: the folder of {path} does not exist; make it first.")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"--log: nothing can be written to the folder of {path}.")


def write_log(path, estimator, arguments, *, status, began, data):
    """Write the record beside ``path`` and rename it when it is whole."""
    from tomolearn.streaming._facts import versions

    record = {
        "estimator": type(estimator).__name__,
        "status": status,
        "model": arguments.output,
        "data": data.splitlines(),
        "parameters": estimator.get_params(deep=False),
        "versions": versions(),
        "device": str(next(estimator.network_.parameters()).device),
        "began": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(began)),
        "seconds": round(time.time() - began, 3),
        "n_epochs": estimator.n_epochs_,
        "best_epoch": estimator.best_epoch_,
        "n_parameters": estimator.n_parameters_,
        "history": estimator.history_,
    }
    write_whole(path, (json.dumps(record, indent=1, default=_plain) + "\n").encode())


def _plain(value):
    return value.tolist() if hasattr(value, "tolist") else str(value)

"""Checkpoints: files from which a training goes on as if it had not been broken off."""

import os
from pathlib import Path

import torch

from tomolearn.exceptions import FileFormatError
from tomolearn.training import _distributed as distributed

__all__ = ["read_checkpoint", "write_checkpoint"]

FORMAT = "tomolearn checkpoint 1"


def write_checkpoint(path, state) -> None:
    """Write a checkpoint; the one before it stays until the new one is whole. Of several processes the first writes.

    Parameters
    ----------
    path : path-like
    state : dict
        Tensors and plain values, nested.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    if distributed.rank() != 0:
        return
    path = Path(path)
    beside = path.with_name(path.name + ".partial")
    with open(beside, "wb") as file:
        torch.save({"format": FORMAT, **state}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def read_checkpoint(path, fingerprint):
    """What `write_checkpoint` wrote; None where there is no file yet.

    Parameters
    ----------
    path : path-like
    fingerprint : dict of str to str
        What the training must have in common with the one that was broken off.

    Returns
    -------
    dict or None

    Raises
    ------
    FileFormatError
        If the file is no checkpoint.
    ValueError
        If it belongs to another training; the message names what differs.
    """
    if not Path(path).exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        known = dict(state["fingerprint"]) if state["format"] == FORMAT else None
    except Exception as error:  # torch names no exceptions of its own for broken files
        raise FileFormatError(f"checkpoint {path} is broken or no checkpoint ({type(error).__name__}).") from error
    if known is None:
        raise FileFormatError(f"checkpoint {path} has the format {state['format']!r}, expected {FORMAT!r}.")
    differing = sorted(key for key in known | fingerprint if known.get(key) != fingerprint.get(key))
    if differing:
        key = differing[0]
        raise ValueError(
            f"checkpoint {path} is of another training: {key} was {known.get(key)} and is {fingerprint.get(key)}. "
            "Delete the file, choose another name, or train with what it was begun with."
        )
    return state

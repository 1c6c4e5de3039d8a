"""Checkpoints: files from which a training goes on as if it had not been broken off."""

import json
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
        If it belongs to another training, and the message names what differs; or if its folder is not there.
    """
    path = Path(path)
    if not path.absolute().parent.is_dir():
        raise ValueError(f"checkpoint must be a file in a folder that exists; got {path}. Make the folder first.")
    if not path.exists():
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
        was, now = _differing_parts(known.get(key), fingerprint.get(key))
        raise ValueError(
            f"checkpoint {path} is of another training: {key} was {was} and is {now}. Delete the file, choose another "
            "name, or train with what it was begun with."
        )
    return state


def _differing_parts(was, now):
    """Of two dictionaries, as JSON, what is not the same; else both as they are."""
    try:
        before, after = json.loads(was), json.loads(now)
        keys = [key for key in before | after if before.get(key) != after.get(key)]
    except (TypeError, ValueError, AttributeError):
        return was, now
    return tuple(json.dumps({key: part.get(key) for key in keys}) for part in (before, after))

"""Where a network is trained and in which precision."""

import os

import torch

from tomolearn._validation import check_choice

__all__ = ["PRECISIONS", "autocast_dtype", "find_device"]

PRECISIONS = ("auto", "float32", "bfloat16")


def find_device(device) -> torch.device:
    """The device that a parameter ``device`` stands for.

    Parameters
    ----------
    device : str
        "auto": a CUDA device where there is one, else the processor; or a name that torch knows. Of several processes
        of torchrun on one machine each takes its own.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If torch knows no such device, or it is not there.

    Examples
    --------
    >>> from tomolearn.training.hardware import find_device
    >>> find_device("cpu")
    device(type='cpu')
    """
    if isinstance(device, str) and device == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        local = int(os.environ.get("LOCAL_RANK", "0"))
        return torch.device("cuda", local % torch.cuda.device_count()) if local else torch.device("cuda")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N'; got {device!r}.") from error
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N'; got {device!r}.")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={device!r} is not there: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices. "
            "Use device='auto'."
        )
    return found


def autocast_dtype(precision, device, *, training):
    """The type that convolutions and products are computed in, None for float32.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
        "auto": bfloat16 in training where the hardware multiplies it in matrix units, float32 elsewhere.
    device : torch.device
    training : bool

    Returns
    -------
    torch.dtype or None

    Raises
    ------
    ValueError
        If there is no such precision.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.training.hardware import autocast_dtype
    >>> autocast_dtype("bfloat16", torch.device("cpu"), training=False)
    torch.bfloat16
    """
    check_choice(precision, "precision", PRECISIONS)
    if precision == "bfloat16":
        return torch.bfloat16
    if precision == "float32" or not training:
        return None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else None
    return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else None

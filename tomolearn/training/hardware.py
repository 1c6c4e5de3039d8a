"""Where a network is trained and in which precision."""

import contextlib
import os
import threading

import torch

from tomolearn._extension import has_kernels
from tomolearn._validation import check_choice

__all__ = ["PRECISIONS", "autocast_dtype", "find_device", "find_devices", "fork_random", "seed_random"]

PRECISIONS = ("auto", "float32", "bfloat16")
_GENERATORS = threading.RLock()  # torch has one set of generators for all threads


def find_device(device) -> torch.device:
    """The device that a parameter ``device`` stands for.

    Parameters
    ----------
    device : str
        "auto": a CUDA device where there is one, else the processor; or a name that torch knows. Of several processes
        of torchrun on one machine each takes its own. Of several names, "cuda:0,cuda:1", the first one counts.

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
    return find_devices(device)[0]


def find_devices(device) -> tuple[torch.device, ...]:
    """All devices that a parameter ``device`` stands for.

    Parameters
    ----------
    device : str
        As for `find_device`; several have commas between, "cuda:0,cuda:1".

    Returns
    -------
    tuple of torch.device

    Raises
    ------
    ValueError
        If torch knows no such device, or it is not there.

    Examples
    --------
    >>> from tomolearn.training.hardware import find_devices
    >>> find_devices("cpu,cpu")
    (device(type='cpu'), device(type='cpu'))
    """
    return tuple(_find(name) for name in _names(device))


def find_projecting_devices(device) -> tuple[torch.device, ...]:
    """As `find_devices`, where the projection itself is computed: on CUDA devices only if it was built for them.

    Parameters
    ----------
    device : str
        "auto" is the processor where the operators were built for it alone.

    Returns
    -------
    tuple of torch.device

    Raises
    ------
    ValueError
        As `find_devices`; also if the operators were not built for a device.

    Examples
    --------
    >>> from tomolearn.training.hardware import find_projecting_devices
    >>> find_projecting_devices("cpu")
    (device(type='cpu'),)
    """
    found = find_devices(device)
    if all(has_kernels(one.type) for one in found):
        return found
    if device == "auto":
        return (torch.device("cpu"),)
    raise ValueError(
        f"device={device!r} needs operators that were built for CUDA, and these were not. Build them with FORCE_CUDA=1 "
        "where a CUDA toolkit is, or use device='cpu'."
    )


def _find(device):
    found = named_device(device)
    if found is None:
        if not torch.cuda.is_available():
            return torch.device("cpu")
        local = int(os.environ.get("LOCAL_RANK", "0"))
        return torch.device("cuda", local % torch.cuda.device_count()) if local else torch.device("cuda")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={device!r} is not there: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices. "
            "Use device='auto'."
        )
    return found


def _names(device):
    return [name.strip() for name in device.split(",")] if isinstance(device, str) else [device]


def named_device(device):
    """The device that a name stands for, whether it is there or not; None for "auto"; the first one of several.

    Parameters
    ----------
    device : str

    Returns
    -------
    torch.device or None

    Raises
    ------
    ValueError
        If torch knows no such device.

    Examples
    --------
    >>> from tomolearn.training.hardware import named_device
    >>> named_device("cuda:7")
    device(type='cuda', index=7)
    """
    if isinstance(device, str) and device == "auto":
        return None
    found = []
    for name in _names(device):
        try:
            found.append(torch.device(name))
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N'; got {device!r:.200}.") from error
    if any(one.type not in ("cpu", "cuda") for one in found):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N'; got {device!r:.200}.")
    return found[0]


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


@contextlib.contextmanager
def fork_random(device):
    """Within it torch's generators of processor and ``device`` can be seeded; after it they are as they were.

    All threads draw from the same generators, so only one is within at a time, and others wait for it.

    Parameters
    ----------
    device : torch.device or str

    Yields
    ------
    None

    Examples
    --------
    >>> import torch
    >>> from tomolearn.training.hardware import fork_random, seed_random
    >>> before = torch.random.get_rng_state()
    >>> with fork_random("cpu"):
    ...     seed_random(3, "cpu")
    >>> torch.equal(torch.random.get_rng_state(), before)
    True
    """
    device = torch.device(device)
    devices = [device] if device.type == "cuda" else []  # no other device is woken for it
    with _GENERATORS, torch.random.fork_rng(devices):
        yield


def seed_random(seed, device) -> None:
    """As ``torch.manual_seed``, for the processor and one device; that takes a millisecond to note it for all kinds.

    Parameters
    ----------
    seed : int
    device : torch.device or str

    Examples
    --------
    >>> import torch
    >>> from tomolearn.training.hardware import fork_random, seed_random
    >>> with fork_random("cpu"):
    ...     seed_random(3, "cpu")
    ...     first = torch.rand(1)
    ...     seed_random(3, "cpu")
    ...     bool(torch.rand(1) == first)
    True
    """
    device = torch.device(device)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)

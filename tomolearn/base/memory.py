"""How much memory there is, and refusing to take more."""

import os
import re

from tomolearn.exceptions import MemoryBudgetError

__all__ = ["available_memory", "check_memory", "parse_memory", "used_memory"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def available_memory() -> float:
    """Bytes that the process can still take, as far as the system says; infinity where it does not.

    Returns
    -------
    float

    Examples
    --------
    >>> from tomolearn.base import available_memory
    >>> available_memory() > 0
    True
    """
    limits = []
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):  # of a container
        try:
            with open(path) as file:
                limits.append(float(file.read()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    try:
        with open("/proc/meminfo") as file:
            limits += [float(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:")]
    except OSError:
        names = getattr(os, "sysconf_names", {})
        if "SC_PHYS_PAGES" in names and "SC_PAGE_SIZE" in names:
            limits.append(float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE"))
    return min(limits, default=float("inf"))


def check_memory(need: float, what: str, remedy: str) -> None:
    """Raise before memory is taken that is not there.

    Parameters
    ----------
    need : float
        Bytes.
    what : str
        What they are for: begins the message.
    remedy : str
        Which parameter lowers the need, as a sentence.

    Raises
    ------
    MemoryBudgetError
        If ``need`` exceeds `available_memory`.

    Examples
    --------
    >>> from tomolearn.base import check_memory
    >>> check_memory(1e18, "the images", "Lower image_shape.")
    Traceback (most recent call last):
    tomolearn.exceptions.MemoryBudgetError: the images need 931322574.6 GiB; ... GiB are available. Lower image_shape.
    """
    have = available_memory()
    if need > have:
        raise MemoryBudgetError(f"{what} need {need / 2**30:.1f} GiB; {have / 2**30:.1f} GiB are available. {remedy}")


def used_memory() -> int:
    """Bytes of memory that the process holds now (its resident set); 0 where the system does not say.

    Returns
    -------
    int

    Examples
    --------
    >>> from tomolearn.base.memory import used_memory
    >>> used_memory() >= 0
    True
    """
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def parse_memory(value, name="memory") -> int:
    """Bytes of ``"2GB"``, ``"500 MB"``, ``"1.5GiB"`` or a number.

    Parameters
    ----------
    value : str, int or float
        k, M, G, T are powers of 1000, Ki, Mi, Gi, Ti powers of 1024, in any case.
    name : str, default="memory"
        What the caller calls it, for the error message.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If it is no positive amount.

    Examples
    --------
    >>> from tomolearn.base.memory import parse_memory
    >>> parse_memory("2GB"), parse_memory("1.5 GiB"), parse_memory(4096)
    (2000000000, 1610612736, 4096)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]?i?)b?\s*", str(value), re.IGNORECASE)
    if isinstance(value, bool) or not found or found[2].lower() == "i" or float(found[1]) == 0:
        raise ValueError(f"{name} must be a positive number of bytes such as '2GB' or '500MiB'; got {value!r}.")
    return int(float(found[1]) * _UNITS[found[2].lower()])

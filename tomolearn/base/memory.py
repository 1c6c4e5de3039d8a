"""How much memory there is, and refusing to take more."""

import os

from tomolearn.exceptions import MemoryBudgetError

__all__ = ["available_memory", "check_memory"]


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

"""How much memory there is, refusing to take more, and using again what was freed."""

import contextlib
import ctypes
import os
import re
import threading

from tomolearn.exceptions import MemoryBudgetError

__all__ = ["available_memory", "check_memory", "parse_memory", "reused_memory", "used_memory"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
# Options of mallopt in glibc's malloc.h, with what they are within reused_memory, and what glibc sets them to by itself
# when large blocks have been freed.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_KEEPING = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26}
_lock, _depth = threading.Lock(), 0


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


@contextlib.contextmanager
def reused_memory():
    """Within it, memory that is freed waits for what is taken next, instead of going back to the system.

    A network takes and frees a large block for each layer. By default glibc gets each from the system, which clears it
    page by page, which takes much of the time of a prediction in bfloat16. At the end all goes back.
    Elsewhere than with glibc, or where the environment sets its options, nothing is done.

    Yields
    ------
    None

    Examples
    --------
    >>> import torch
    >>> from tomolearn.base.memory import reused_memory
    >>> with reused_memory():
    ...     total = sum(float(torch.ones(1000, 1000).sum()) for _ in range(3))
    >>> total
    3000000.0
    """
    library = _glibc()
    if library is None:
        yield
        return
    _enter(library, 1)
    try:
        yield
    finally:
        _enter(library, -1)


def _enter(library, step):
    """Count who is within `reused_memory`, in all threads; the first and the last set the options."""
    global _depth
    with _lock:
        _depth += step
        if (_depth, step) == (1, 1):
            for option, value in _KEEPING.items():
                library.mallopt(option, value)
        elif _depth == 0:
            for option, value in _USUAL.items():
                library.mallopt(option, value)
            library.malloc_trim(0)


def _glibc():
    """The C library, if it is glibc and its allocation is not set by the environment."""
    if any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt") else None
    except (OSError, TypeError):
        return None

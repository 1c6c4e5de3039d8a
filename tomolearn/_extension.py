"""Loads the compiled extensions at first use and says what to do when that fails."""

import importlib
import os
from functools import cache
from pathlib import Path

from tomolearn.exceptions import ExtensionError

__all__ = ["has_kernels", "load_operators", "load_simulation", "simd_level"]

SIMD_LEVELS = ("baseline", "avx2", "avx512")
_CURE = (
    "Build it with `make` in a checkout of tomolearn, or in the present environment with\n"
    "  pip install --no-build-isolation --force-reinstall --no-deps ."
)


@cache
def load_operators():
    """Register the torch operators; returns ``torch.ops.tomolearn``.

    Raises
    ------
    ExtensionError
        If the library is missing or does not load.
    """
    import torch

    path = Path(__file__).with_name("_C.so")
    if not path.exists():
        raise ExtensionError(f"The compiled operators of tomolearn are missing: there is no {path}.\n{_CURE}")
    wanted = os.environ.get("TOMOLEARN_SIMD")
    if wanted is not None and wanted not in SIMD_LEVELS:
        raise ExtensionError(f"TOMOLEARN_SIMD must be one of {', '.join(SIMD_LEVELS)}; got {wanted!r}.")
    try:
        torch.ops.load_library(path)
    except OSError as error:
        raise ExtensionError(
            f"The compiled operators of tomolearn do not load under torch {torch.__version__} (2.13 or newer?).\n"
            f"  {error.__cause__ or error}\n{_CURE}"
        ) from error
    return torch.ops.tomolearn


@cache
def has_kernels(device_type: str) -> bool:
    """Whether the operators were built for a kind of device.

    Parameters
    ----------
    device_type : {"cpu", "cuda"}

    Returns
    -------
    bool
    """
    import torch

    load_operators()
    return torch._C._dispatch_has_kernel_for_dispatch_key("tomolearn::radon", device_type.upper())


@cache
def load_simulation():
    """Import and return the compiled module ``tomolearn._simulation``.

    Raises
    ------
    ExtensionError
        If the module is missing or does not load.
    """
    try:
        return importlib.import_module("tomolearn._simulation")
    except ImportError as error:
        raise ExtensionError(f"The compiled module tomolearn._simulation does not load: {error}.\n{_CURE}") from error


def simd_level(limit=None):
    """Name of the SIMD level in use; with ``limit``, lower it to that level first (or raise it to the machine's best).

    Parameters
    ----------
    limit : {"baseline", "avx2", "avx512"}, optional
        Highest level to use from now on, in all threads. The environment variable ``TOMOLEARN_SIMD`` does the same
        from the start.

    Returns
    -------
    str
        The level in use: the limit, or the best that the machine has where that is lower.
    """
    if limit is not None and limit not in SIMD_LEVELS:
        raise ValueError(f"limit must be one of {', '.join(SIMD_LEVELS)}; got {limit!r}.")
    return SIMD_LEVELS[load_operators().simd_level(-1 if limit is None else SIMD_LEVELS.index(limit))]

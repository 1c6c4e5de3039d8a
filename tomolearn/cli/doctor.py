"""Say what is installed, how the extensions were built, and whether they load. Exit status 1: something is wrong."""

import os
import platform
import re
import sys
from importlib import metadata

from tomolearn import __version__
from tomolearn.exceptions import ExtensionError

__all__ = ["add_arguments", "report", "run"]

# As the metadata write them: "h5py>=3.10" or 'ruff>=0.12; extra == "test"'.
_REQUIREMENT = re.compile(r"""(?P<name>[\w.-]+)(\[.*?\])?\s*(?P<rule>[^;]*?)\s*(;.*extra == "(?P<extra>[\w-]+)".*)?""")


def add_arguments(parser):
    """Add the arguments of ``doctor``: there are none.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Parser of the command.

    Examples
    --------
    >>> import argparse
    >>> from tomolearn.cli.doctor import add_arguments
    >>> add_arguments(argparse.ArgumentParser())
    """


def run(arguments):
    """Print the report.

    Parameters
    ----------
    arguments : argparse.Namespace
        What the command line held; nothing in it is read.

    Returns
    -------
    int
        0, or 1 where a requirement is missing or an extension does not load.

    Examples
    --------
    >>> import argparse
    >>> from tomolearn.cli.doctor import run
    >>> status = run(argparse.Namespace())
    tomolearn ...
    """
    lines, faults = report()
    print("\n".join(lines))
    if faults:
        print("\nWrong:")
        print("\n".join(f"- {fault}" for fault in faults))
    return 1 if faults else 0


def report():
    """Look at the installation.

    Returns
    -------
    lines : list of str
        The report.
    faults : list of str
        What is wrong and how to cure it; empty where all is well.

    Examples
    --------
    >>> from tomolearn.cli.doctor import report
    >>> lines, faults = report()
    >>> lines[0].split()[0]
    'tomolearn'
    """
    lines: list[str] = []
    faults: list[str] = []
    _row(lines, "tomolearn", f"{__version__} in {os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}")
    _row(lines, "Python", f"{platform.python_version()} ({sys.executable})")
    _row(lines, "machine", f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors")
    _packages(lines, faults)
    if _torch(lines, faults):
        _operators(lines, faults)
    _simulation(lines, faults)
    return lines, faults


def _row(lines, name, text):
    lines.append(f"{name:<22}{text}")


def _version(distribution):
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _packages(lines, faults):
    """Required packages and those of every extra, as the metadata of the installed tomolearn lists them."""
    try:
        requirements = metadata.requires("tomolearn") or []
    except metadata.PackageNotFoundError:
        _row(lines, "packages", "unknown: tomolearn runs from a folder and is not installed")
        return
    missing: dict[str, list[str]] = {}
    lines.append("")
    for found in map(_REQUIREMENT.fullmatch, requirements):
        name, rule, extra = found["name"], found["rule"], found["extra"]  # type: ignore[index]  # ours all match
        version = _version(name)
        if extra:
            missing.setdefault(extra, []).extend([name] if version is None else [])
        else:
            _row(lines, name, f"{version or 'MISSING'} (needed: {rule or 'any'})")
            if version is None:
                faults.append(f"{name} is missing; install it with: pip install '{name}{rule}'")
    lines.append("")
    for extra, names in missing.items():
        cure = f"missing {', '.join(names)}; pip install 'tomolearn[{extra}]'"
        _row(lines, f"extra [{extra}]", cure if names else "complete")


def _torch(lines, faults):
    """The installed torch; returns whether it loads."""
    lines.append("")
    try:
        import torch
    except (ImportError, OSError) as error:
        faults.append(f"torch does not load: {error}")
        return False
    _row(lines, "threads of torch", f"{torch.get_num_threads()} (torch.set_num_threads changes it)")
    _row(lines, "CUDA of torch", f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA")
    _row(lines, "CUDA devices", f"{torch.cuda.device_count() if torch.cuda.is_available() else 'none'}")
    return True


def _operators(lines, faults):
    import torch

    from tomolearn._extension import load_operators, simd_level

    try:
        load_operators()
    except ExtensionError as error:
        _row(lines, "operators", "DO NOT LOAD")
        faults.append(str(error))
        return
    on_cuda = torch._C._dispatch_has_kernel_for_dispatch_key("tomolearn::radon", "CUDA")
    kinds = " and CUDA" if on_cuda else " only"
    if torch.cuda.is_available() and not on_cuda:
        kinds += ", though there is a CUDA device (FORCE_CUDA=1 at the build)"
    _row(lines, "operators", f"load; built for the CPU{kinds}")
    if torch.cuda.is_available() and on_cuda:
        _try_device(lines, faults)
    _row(lines, "SIMD level", f"{simd_level()} (TOMOLEARN_SIMD lowers it)")


def _try_device(lines, faults):
    """Kernels for another GPU than this one load, and fail when they are called."""
    import torch

    from tomolearn._extension import load_operators

    table = torch.zeros(1, 1, dtype=torch.float64)
    try:
        load_operators().radon(torch.ones(1, 1, 1, device="cuda"), table[0], table, 1.0, 1).cpu()
    except (RuntimeError, AssertionError) as error:  # the second: a torch without CUDA
        _row(lines, "operators on CUDA", "FAIL")
        faults.append(
            f"the operators do not run on this CUDA device: {error}\nBuild them for it: set FORCE_CUDA=1 and "
            "TORCH_CUDA_ARCH_LIST to its compute capability (torch.cuda.get_device_capability()), such as 9.0"
        )
        return
    _row(lines, "operators on CUDA", f"run on {torch.cuda.get_device_name()}")


def _simulation(lines, faults):
    from tomolearn._extension import load_simulation

    try:
        load_simulation()
    except ExtensionError as error:
        _row(lines, "simulation module", "DOES NOT LOAD")
        faults.append(str(error))
        return
    _row(lines, "simulation module", "loads")

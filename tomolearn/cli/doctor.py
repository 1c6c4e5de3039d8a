"""Say what is installed, how the extensions were built, and whether they load; exit status 1 where something is wrong."""

import os
import platform
import re
import sys
from importlib import metadata

from tomolearn import __version__
from tomolearn.exceptions import ExtensionError

__all__ = ["add_arguments", "report", "run"]

_REQUIREMENT = re.compile(
    r"""(?P<name>[\w.-]+) \s* (?:\[[^]]*\])? \s* (?P<rule>[^;]*?) \s* (?:;.*extra\s*==\s*["'](?P<extra>[\w-]+)["'].*)?$""",
    re.VERBOSE,
)


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
    >>> from tomolearn.cli.doctor import run
    >>> run(None)
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
    lines, faults = [], []
    _row(lines, "tomolearn", f"{__version__} in {os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}")
    _row(lines, "Python", f"{platform.python_version()} ({sys.executable})")
    _row(lines, "machine", f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors")
    _packages(lines, faults)
    _torch(lines, faults)
    _extensions(lines, faults)
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
    missing = {}
    lines.append("")
    for found in map(_REQUIREMENT.match, requirements):
        name, rule, extra = found["name"], found["rule"], found["extra"]
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
    lines.append("")
    try:
        import torch
    except (ImportError, OSError) as error:
        faults.append(f"torch does not load: {error}")
        return
    _row(lines, "threads of torch", f"{torch.get_num_threads()} (torch.set_num_threads changes it)")
    _row(lines, "CUDA of torch", f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA")
    _row(lines, "CUDA devices", f"{torch.cuda.device_count() if torch.cuda.is_available() else 'none'}")


def _extensions(lines, faults):
    try:
        import torch

        from tomolearn._extension import load_operators, simd_level

        load_operators()
        on_cuda = torch._C._dispatch_has_kernel_for_dispatch_key("tomolearn::radon", "CUDA")
        _row(lines, "operators", f"load; built for the CPU{' and CUDA' if on_cuda else ' only'}")
        _row(lines, "SIMD level", f"{simd_level()} (TOMOLEARN_SIMD lowers it)")
    except ImportError as error:
        _row(lines, "operators", "DO NOT LOAD")
        faults.append(str(error))
    try:
        from tomolearn._extension import load_simulation

        load_simulation()
        _row(lines, "simulation module", "loads")
    except ExtensionError as error:
        _row(lines, "simulation module", "DOES NOT LOAD")
        faults.append(str(error))

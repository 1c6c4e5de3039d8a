"""Reads the command line and calls the command; torch is imported by the commands alone, so that help is quick."""

import argparse
import importlib

from tomolearn import __version__

__all__ = ["build_parser", "main"]

# Each command is a module of this package with ``add_arguments(parser)`` and ``run(arguments) -> exit status``.
_COMMANDS = {"doctor": "say what is installed, how the extensions were built, and whether they load"}


def build_parser():
    """Parser of the whole command line.

    Returns
    -------
    argparse.ArgumentParser
        The parser; its results carry the chosen command's module as ``module``.

    Examples
    --------
    >>> from tomolearn.cli.main import build_parser
    >>> build_parser().parse_args(["doctor"]).command
    'doctor'
    """
    parser = argparse.ArgumentParser(prog="tomolearn", description="scikit-learn for X-ray tomography.")
    parser.add_argument("--version", action="version", version=f"tomolearn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in _COMMANDS.items():
        module = importlib.import_module(f"tomolearn.cli.{name}")
        command = commands.add_parser(name, help=summary, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(module=module)
    return parser


def main(argv=None):
    """Run one command.

    Parameters
    ----------
    argv : list of str, optional
        Arguments without the program's name. Default: those of the process.

    Returns
    -------
    int
        Exit status: 0 for success, 1 where the command failed. Wrong arguments end the process with 2, as argparse
        does.

    Examples
    --------
    >>> from tomolearn.cli.main import main
    >>> try:
    ...     main(["--version"])
    ... except SystemExit as end:
    ...     print("exit status", end.code)
    tomolearn ...
    exit status 0
    """
    arguments = build_parser().parse_args(argv)
    return arguments.module.run(arguments)

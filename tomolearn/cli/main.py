"""Reads the command line and calls the command; torch is imported by the commands alone, so that help is quick."""

import argparse
import importlib
import sys
import traceback
import warnings

from tomolearn import __version__

__all__ = ["build_parser", "main"]

# Each command is a module of this package with ``add_arguments(parser)`` and ``run(arguments) -> exit status``.
_COMMANDS = {
    "reconstruct": "from a raw scan to a volume, whatever its size",
    "info": "what is in a scan, and a command line that reconstructs it",
    "center": "find the rotation axis of a scan, and draw how it looks",
    "simulate": "write a simulated raw scan whose truth is known",
    "doctor": "say what is installed, how the extensions were built, and whether they load",
}


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
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
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
        Exit status: 0 for success, 1 where the command failed, 2 for arguments or input that cannot be used, 130 where
        it was interrupted. Arguments that do not parse end the process with 2, as argparse does.

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
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _run(arguments)


def _run(arguments):
    try:
        return arguments.module.run(arguments)
    except KeyboardInterrupt:
        resume = (
            " What is done is kept: the same command with --resume goes on." if hasattr(arguments, "resume") else ""
        )
        return _end(arguments, "interrupted." + resume, 130)
    except OSError as error:  # of the input, where the user has named the wrong thing; else of the machine
        theirs = FileNotFoundError | FileExistsError | PermissionError | IsADirectoryError | NotADirectoryError
        return _end(arguments, str(error), 2 if isinstance(error, theirs) else 1)
    except (ValueError, TypeError, MemoryError, ImportError) as error:  # arguments, files, packages that do not serve
        return _end(arguments, str(error), 2)
    except Exception as error:
        return _end(arguments, f"{type(error).__name__}: {error}", 1)


def _end(arguments, message, status):
    """One or two lines on standard error."""
    if getattr(arguments, "debug", False):
        traceback.print_exc()
    print(f"tomolearn {arguments.command}: {' '.join(message.split())}", file=sys.stderr)
    return status


def _show_warning(message, category, filename, lineno, file=None, line=None):
    print(f"warning: {message}", file=sys.stderr)

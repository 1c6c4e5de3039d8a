"""Reads the command line and calls the command; torch is imported by the commands alone, so that help is quick."""

import argparse
import functools
import importlib
import json
import os
import sys
import traceback
import warnings

from tomolearn import __version__
from tomolearn.cli._completion import PrintCompletion
from tomolearn.cli._messages import in_options

__all__ = ["build_parser", "main"]

# Each command is a module of this package with ``add_arguments(parser)`` and ``run(arguments) -> exit status``.
_COMMANDS = {
    "reconstruct": "from a raw scan to a volume, whatever its size",
    "train": "train a network on files and save it as a model file",
    "infer": "apply a model file: denoise, reconstruct or label a volume of any size",
    "segment": "label the pixels of images by a model file",
    "classify": "say what images show, by a model file",
    "embed": "map images so that those that are alike lie together (t-SNE)",
    "info": "what is in a scan or in a model file, and a command line that uses it",
    "center": "find the rotation axis of a scan, and draw how it looks",
    "simulate": "write a simulated raw scan whose truth is known",
    "doctor": "say what is installed, how the extensions were built, and whether they load",
    "bench": "time the operators on this machine",
}


def build_parser(only=None):
    """Parser of the command line.

    Parameters
    ----------
    only : str, default=None
        The command whose arguments are wanted; the others are known by name alone, which is quicker. None: all.

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
    parser.add_argument("--print-completion", action=PrintCompletion, help="print what makes a shell complete commands")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in _COMMANDS.items():
        if only not in (None, name):
            commands.add_parser(name, help=summary)
            continue
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
    argv = sys.argv[1:] if argv is None else argv
    first = argv[0] if argv else ""
    arguments = build_parser(None if first.startswith("--p") else first).parse_args(argv)  # completion knows them all
    with warnings.catch_warnings():
        warnings.showwarning = functools.partial(_show_warning, arguments)
        return _run(arguments)


def _run(arguments):
    try:
        status = arguments.module.run(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as stop:
        notes = "".join(f" {note}" for note in getattr(stop, "__notes__", ()))
        return _end(arguments, "interrupted." + (notes or _kept(arguments)), 130)
    except BrokenPipeError:  # whoever read what was printed has gone, such as head: nobody is there to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what Python flushes at its end goes there
        return 1
    except OSError as error:  # of the input, where the user has named the wrong thing; else of the machine
        theirs = FileNotFoundError | FileExistsError | PermissionError | IsADirectoryError | NotADirectoryError
        if isinstance(error, theirs):
            return _end(arguments, _text(error), 2)
        return _end(arguments, _text(error) + _kept(arguments), 1)
    except (ValueError, TypeError, MemoryError, ImportError) as error:  # arguments, files, packages that do not serve
        return _end(arguments, _text(error), 2)
    except Exception as error:
        return _end(arguments, f"{type(error).__name__}: {_text(error)}{_kept(arguments)}", 1)


def _text(error):
    """What an error says, and where it came up."""
    said = str(error) or type(error).__name__
    return " ".join([said, *getattr(error, "__notes__", ())])


def _kept(arguments):
    """That the same command can go on, where it can."""
    record = f"{getattr(arguments, 'output', '')}.part.json"
    try:
        with open(record) as file:
            done = hasattr(arguments, "resume") and json.load(file)["done"]
    except (OSError, ValueError, KeyError):
        done = None
    return " What is done is kept: the same command with --resume goes on." if done else ""


def _end(arguments, message, status):
    """One or two lines on standard error."""
    if getattr(arguments, "debug", False):
        traceback.print_exc()
    command = " ".join([arguments.command, *([arguments.what] if hasattr(arguments, "what") else [])])
    print(f"tomolearn {command}: {in_options(message, arguments)}", file=sys.stderr)
    return status


def _show_warning(arguments, message, category, filename, lineno, file=None, line=None):
    print(f"warning: {in_options(str(message), arguments)}", file=sys.stderr)

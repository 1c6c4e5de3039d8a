"""``--print-completion SHELL``: a script by which bash, zsh or tcsh complete commands and options."""

import argparse

__all__ = ["PrintCompletion"]

SHELLS = ("bash", "zsh", "tcsh")


class PrintCompletion(argparse.Action):
    """Prints the script and ends; the package that writes it is imported only then."""

    def __init__(self, option_strings, dest, help=None):
        super().__init__(option_strings, dest=argparse.SUPPRESS, choices=SHELLS, metavar="SHELL", help=help)

    def __call__(self, parser, namespace, values, option_string=None):
        try:
            import shtab
        except ImportError:
            parser.error("--print-completion needs shtab: pip install 'tomolearn[completion]'.")
        print(shtab.complete(parser, shell=values))
        parser.exit()

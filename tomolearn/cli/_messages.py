"""The library's messages in the words of the command line: its parameters are options here."""

import re

__all__ = ["in_options"]

# Where an option is not called as the parameter is.
OPTIONS = {
    "max_iter": "iterations", "value_range": "range", "n_detectors": "detectors", "n_angles": "angles",
    "n_slices": "rows", "n_rows": "rows", "width": "air", "threshold": "zingers", "ring_strength": "rings",
    "zinger_fraction": "zingers", "n_dead": "dead", "beam_drift": "drift", "random_state": "seed", "average":
    "flat-average", "method": "stripes", "max_epochs": "epochs",
}  # fmt: skip
# There is no option for these: what they would have helped does not.
SILENT = (
    r" Repair such values by tomolearn\.[^.]*\.\w+(, or mask them by [^.]*\.\w+)?\.",
    r"; pass kind= if it is one",
)
WHOLE = r"(?<!--set )(?<![\w./'-])(?:\bset )?(\w+_\w+)\b(?![=(/]|\.\w)"  # a name among the words of a sentence


def in_options(message, arguments):
    """``message`` with the names of parameters as the options of the command.

    Parameters
    ----------
    message : str
        Of an error or a warning of the library.
    arguments : argparse.Namespace
        What the command line held: which options there are. Of a command that makes an estimator also ``settable``, the
        names that ``--set`` takes, ``given``, those that it was given, and ``words``, the options that ``X``, ``y`` ...
        of the estimator come from.

    Returns
    -------
    str
        On one line.

    Examples
    --------
    >>> from argparse import Namespace
    >>> from tomolearn.cli._messages import in_options
    >>> in_options("the output a.h5 exists; choose another name, or overwrite=True.", Namespace(overwrite=False))
    'the output a.h5 exists; choose another name, or --overwrite.'
    """
    message = " ".join(message.split())
    for pattern in SILENT:
        message = re.sub(pattern, "", message)

    settable, given = getattr(arguments, "settable", ()), getattr(arguments, "given", ())

    def option(name):
        known = OPTIONS.get(name, name).replace("-", "_")
        if name in settable and (name in given or not hasattr(arguments, known)):
            return f"--set {name}"
        return f"--{known.replace('_', '-')}" if hasattr(arguments, known) else None

    def value_given(found):  # overwrite=True, angle_unit='deg', memory=0.30 GB, value_range=(low, high)
        name, value = option(found[1]), found[2].strip("'\"()").replace(",", "").upper()
        if name is None:
            return found[0]
        if name.startswith("--set"):
            return f"{name}={found[2].strip(chr(39)).replace(' ', '')}" if found[2] else name
        value = "" if value == "TRUE" else found[2].strip("'\"") if found[2][:1] != "(" else value
        return f"{name} {value}" if value.strip(".") else name + value

    def name_alone(found):
        return f"{option(found[1]) or found[1]}{found[2]}"

    def name_within(found):
        return (option(found[1]) if found[1] in settable else None) or found[0]

    message = re.sub(r"(?<!--set )\b(\w+)=(\([^)]*\)|'[^']*'|True\b|[\d.]+|\w*)", value_given, message)
    message = re.sub(r"^(\w+)((?:,| or| and)? (?:must|is for|needs)\b)", name_alone, message)
    message = re.sub(r"\bvalue_range\b", option("value_range") or "value_range", message)
    message = re.sub(WHOLE, name_within, message)
    for word, known in getattr(arguments, "words", {}).items():
        message = re.sub(rf"(?<![\w:.'\"-]){word}(?![\w'\"=]|:\w)", known, message)
    return re.sub(r"\b(run|anew) without resume\b", r"\1 without --resume", message)

"""Parameters of an estimator: by ``--set``, from a file, and by the options that stand for some of them."""

import argparse
import ast
import difflib
import importlib
import json
import os
import re

# Options that are parameters of estimators by another name.
SHORT = {"epochs": "max_epochs", "seed": "random_state", "device": "device"}
FILES = (".yaml", ".yml", ".json", ".toml")
LONGEST = 2**20  # bytes of a file of parameters


def setting(text):
    """``NAME=VALUE`` as a pair; the value as JSON or a Python literal, else as text."""
    name, sign, value = text.partition("=")
    if not sign or not name.strip().isidentifier():
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE; got {text!r}")
    return name.strip(), plain(value_of(value.strip()))


def value_of(text):
    """A number, list, truth value ... as JSON or as Python writes it, or the text itself."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return text


def plain(value):
    """Lists as the tuples that estimators have; keys of dictionaries that are whole numbers as such."""
    if isinstance(value, list | tuple):
        return tuple(plain(entry) for entry in value)
    if isinstance(value, dict):
        whole = {key: int(key) if isinstance(key, str) and re.fullmatch(r"-?\d+", key) else key for key in value}
        return {whole[key]: plain(entry) for key, entry in value.items()}
    return value


def add_setting_arguments(parser):
    """Any parameter of an estimator; the group, for those that have options of their own."""
    group = parser.add_argument_group("parameters of the estimator")
    names = "any parameter, such as learning_rate=1e-3 or patch_shape=[64,64]; an unknown NAME lists them all"
    group.add_argument(
        "--set", type=setting, action="append", default=[], metavar="NAME=VALUE", dest="settings", help=names
    )
    group.add_argument("--config", metavar="FILE", help="parameters in a .yaml, .json or .toml file; options win")
    return group


def add_parameter_arguments(parser, *, epochs=True):
    """What an estimator is made with."""
    group = add_setting_arguments(parser)
    if epochs:
        group.add_argument("--epochs", type=int, metavar="N", help="at most (default: that of the estimator)")
    group.add_argument(
        "--seed", type=int, default=None, metavar="N", help="of all that is drawn at random (default: 0)"
    )
    group.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 (default: auto)")


def add_machine_arguments(parser, *, memory=False):
    """What the process may take, and what it prints."""
    machine = parser.add_argument_group("machine")
    if memory:
        most = "most that the process may hold: 2GB, 500MiB (default: half of what is left)"
        machine.add_argument("--memory", metavar="AMOUNT", help=most)
    machine.add_argument("--threads", type=int, metavar="N", help="default: all cores")
    machine.add_argument("--quiet", action="store_true", help="print nothing but errors")


def use_threads(arguments):
    """Set the number of threads, where one was given."""
    if arguments.threads is None:
        return
    import torch

    if arguments.threads < 1:
        raise ValueError(f"--threads must be a whole number of at least 1; got {arguments.threads}.")
    torch.set_num_threads(arguments.threads)


def make_estimator(cls, arguments, short=SHORT):
    """An estimator of this class with what file and options say; messages then know its parameters as ``--set NAME``.

    ``short`` has the options that are parameters of it by another name, or by the same.
    """
    import inspect

    name = cls.__name__
    known = tuple(inspect.signature(cls).parameters)
    given = {} if arguments.config is None else read_config(arguments.config)
    _check_names(given, known, name, f"{arguments.config}: ")
    settings = dict(arguments.settings)
    _check_names(settings, known, name, "--set ")
    values = {key: getattr(arguments, option, None) for option, key in short.items()}
    values = {key: value for key, value in values.items() if value is not None and key in known}
    for option, key in short.items():
        if key in settings and key in values:
            raise ValueError(f"--{option} and --set {key} are the same parameter; give one of them.")
    defaults = {"random_state": 0, "verbose": 0 if arguments.quiet else 1}
    defaults = {key: value for key, value in defaults.items() if key in known}
    arguments.settable, arguments.given = known, tuple(settings)
    return cls(**defaults | given | settings | values)


def checked(estimator):
    """``estimator``, if its parameters can be right: before files are read."""
    for check in ("_check_training_parameters", "_check_parameters"):
        getattr(estimator, check, lambda: None)()
    return estimator


def _check_names(given, known, name, where):
    for key in given:
        if key not in known:
            wanted = SHORT.get(key, key)
            close = difflib.get_close_matches(str(wanted), known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"its parameters are {', '.join(known)}."
            raise ValueError(f"{where}{key}: {name} has no such parameter; {hint}")


def read_config(path):
    """{name: value} in a file of parameters."""
    from tomolearn.exceptions import FileFormatError

    suffix = os.path.splitext(path)[1].lower()
    if suffix not in FILES:
        raise ValueError(f"--config must end in one of {', '.join(FILES)}; got {path}.")
    if os.path.getsize(path) > LONGEST:
        raise FileFormatError(f"{path} has {os.path.getsize(path)} bytes, expected {LONGEST} of parameters at most.")
    with open(path, "rb") as file:
        content = file.read()
    try:
        found = _parse(content, suffix)
    except (ValueError, RecursionError) as error:  # of JSON, of TOML, of texts that are no UTF-8
        raise FileFormatError(f"{path} is no {suffix[1:].upper()} that can be read: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise FileFormatError(
            f"{path} holds a {type(found).__name__}, expected names with values: learning_rate: 0.001"
        )
    return {key: plain(value) for key, value in found.items()}


def _parse(content, suffix):
    if suffix == ".json":
        return json.loads(content)
    if suffix == ".toml":
        import tomllib

        return tomllib.loads(content.decode())
    try:
        yaml = importlib.import_module("yaml")  # of which mypy has no stubs
    except ImportError as error:
        raise ImportError("--config with a .yaml file needs PyYAML: pip install 'tomolearn[yaml]'.") from error
    try:
        found = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(found, dict):
        return found
    # YAML 1.1 takes 1e-3 for a text.
    return {key: _number(value) if isinstance(value, str) else value for key, value in found.items()}


def _number(text):
    return float(text) if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", text) else text

"""The rules of CONTRIBUTING.md that a program can read: import directions, lengths, what library code must not hold."""

import ast
import functools
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

parsed = functools.cache(ast.parse)  # of each file for all tests

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "tomolearn").rglob("*.py"))
PYTHON = PACKAGE + sorted(
    path for folder in ("tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")
)
CPP = sorted(path for path in (ROOT / "csrc").rglob("*") if path.suffix in (".cpp", ".h", ".cu", ".cuh"))
BUILD = [ROOT / "setup.py", ROOT / "setup_cuda.py"]
MAX_FILE, MAX_FUNCTION = 450, 80
COMPILED = ("_C", "_simulation")  # loaded by _extension alone, which says what to do when that fails
ABOVE_ALL = 1000  # tomolearn/__init__.py and __main__.py may import every room; no room may import them


def name_of(path):
    return str(path.relative_to(ROOT))


# ----------------------------------------------------------------------------------------------- import directions


def read_rooms(text):
    """From CONTRIBUTING.md: {room: height} and the pairs (a, b) of one line where a may import b."""
    lines = re.search(r"```rooms\n(.*?)```", text, re.DOTALL)[1].strip().splitlines()
    heights, pairs = {}, set()
    for height, line in enumerate(reversed(lines)):
        words = line.split()
        heights |= {word: height for word in words if word != "<-"}
        chain = []
        for i, word in enumerate(words):
            if word == "<-":
                continue
            chain = [*chain, word] if i and words[i - 1] == "<-" else [word]
            pairs |= {(left, word) for left in chain[:-1]}
    return heights, pairs


ROOMS = read_rooms((ROOT / "CONTRIBUTING.md").read_text())


def imported_modules(tree, module):
    """(line, full name) of all imports of tomolearn; `module` is the dotted name, its package the base of dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            # "from tomolearn import ops" imports the room ops, "from tomolearn.ops import radon" the room ops too
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
            target = node.args[0].values[0] if isinstance(node.args[0], ast.JoinedStr) else node.args[0]
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                yield node.lineno, target.value


def wrong_imports(source, module, rooms=ROOMS):
    heights, pairs = rooms
    own = module.split(".")[1]
    if own in ("__init__", "__main__"):
        own_height = ABOVE_ALL
    elif own in heights:
        own_height = heights[own]
    else:
        return [f"{module}: the table in CONTRIBUTING.md has no room {own}"]
    found = []
    for line, name in imported_modules(parsed(source), module):
        parts = name.split(".")
        room = parts[1] if len(parts) > 1 else "__init__"
        if parts[0] != "tomolearn" or room == "__version__":  # a text, there before any room is imported
            continue
        if own == "_extension" and room in COMPILED:
            continue
        if room == own or heights.get(room, ABOVE_ALL) < own_height or (own, room) in pairs:
            continue
        found.append(f"{module}:{line}: {own} must not import {room}")
    return found


def dotted(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_imports_go_downwards():
    found = [fault for path in PACKAGE for fault in wrong_imports(path.read_text(), dotted(path))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("tomolearn.ops.radon", "from tomolearn.reconstruction import FBPReconstructor"),
        ("tomolearn.ops.radon", "def f():\n    import tomolearn.solvers.fbp"),
        ("tomolearn.ops.radon", "from ..operators import RadonOperator"),
        ("tomolearn.ops.radon", "from tomolearn import operators"),
        ("tomolearn.ops.radon", "import tomolearn"),
        ("tomolearn.ops.radon", "import importlib\nimportlib.import_module('tomolearn.base')"),
        ("tomolearn.geometry", "from tomolearn.ops import radon"),
        ("tomolearn.solvers.sirt", "from tomolearn.metrics import mse"),
        ("tomolearn.exceptions", "from tomolearn._validation import as_tensor"),
        ("tomolearn.simulation.foam", "import tomolearn._simulation"),
        ("tomolearn.cellar", "import numpy"),
    ],
)
def test_a_wrong_import_is_found(module, source):
    assert len(wrong_imports(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("tomolearn.operators", "from tomolearn.geometry import ParallelBeam\nfrom tomolearn import ops"),
        ("tomolearn.ops.radon", "from tomolearn.ops._register import x\nfrom .filters import y\nimport torch"),
        ("tomolearn.cli.main", "from tomolearn import __version__\nfrom tomolearn.reconstruction import fbp"),
        ("tomolearn.__init__", "from tomolearn.cli import main"),
        ("tomolearn.base", "from tomolearn.persistence import save"),
    ],
)
def test_a_right_import_passes(module, source):
    assert wrong_imports(source, module) == []


# ------------------------------------------------------------------------------------------------ third parties


def allowed_packages():
    """Import names of the packages that tomolearn needs, and of those that its users' extras bring."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {}
    for name, distributions in metadata.packages_distributions().items():
        for distribution in distributions:
            names.setdefault(distribution.lower().replace("_", "-"), set()).add(name)

    def import_names(requirements):
        keys = [re.match(r"[\w.-]+", requirement)[0].lower() for requirement in requirements]
        return set().union(*(names.get(key, {key}) for key in keys))

    developers = ("test", "docs", "bench")
    extras = [extra for key, extra in project["optional-dependencies"].items() if key not in developers]
    return import_names(project["dependencies"]), import_names(sum(extras, []))


def foreign_imports(source, required, optional):
    """Imports of what nobody declared, and optional packages imported where the module is read."""
    tree = parsed(source)
    at_once = {node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        else:
            continue
        for name in (name.split(".")[0] for name in names):
            if name in sys.stdlib_module_names or name == "tomolearn" or name in required:
                continue
            if name not in optional or node in at_once:
                yield f"{node.lineno}: {name}"


def test_imports_are_declared_and_optional_ones_lazy():
    required, optional = allowed_packages()
    found = [f"{name_of(path)}:{f}" for path in PACKAGE for f in foreign_imports(path.read_text(), required, optional)]
    assert not found, "\n".join(found)


def test_a_foreign_import_is_found():
    required, optional = allowed_packages()
    assert {"torch", "sklearn", "numpy"} <= required and "matplotlib" in optional
    for source, count in [
        ("import matplotlib.pyplot", 1),
        ("def f():\n    import matplotlib.pyplot", 0),
        ("def f():\n    from astra import x", 1),
        ("import numpy.fft, os.path\nfrom sklearn.base import clone", 0),
    ]:
        assert len(list(foreign_imports(source, required, optional))) == count, source


# -------------------------------------------------------------------------------------- lengths, words, signatures


def functions_of(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def body_lines(function):
    """Lines of a function without its docstring, which is documentation, and without its inner functions."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= function.body[0].end_lineno - function.body[0].lineno + 1
    return lines


def long_things(path, text):
    lines = text.count("\n")
    if lines > MAX_FILE:
        yield f"{path}: {lines} lines, at most {MAX_FILE}"
    if path.endswith(".py"):
        for function in functions_of(parsed(text)):
            if body_lines(function) > MAX_FUNCTION:
                lines = body_lines(function)
                yield f"{path}:{function.lineno}: {function.name} has {lines} lines, at most {MAX_FUNCTION}"


def test_files_and_functions_are_short():
    paths = [*PYTHON, *CPP, *BUILD]
    found = [fault for path in paths for fault in long_things(name_of(path), path.read_text())]
    assert not found, "\n".join(found)


def test_long_things_are_found():
    long_function = "def f():\n" + '    """Doc.\n\n    More.\n    """\n' + "    x = 1\n" * MAX_FUNCTION
    assert ["f has" in fault for fault in long_things("a.py", long_function)] == [True]
    assert list(long_things("a.py", long_function.replace("    x = 1\n    x = 1\n", "    x = 1\n", 1))) == []
    assert len(list(long_things("a.cpp", "\n" * (MAX_FILE + 1)))) == 1


def forbidden_code(source, may_print):
    tree = parsed(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield f"{node.lineno}: assert"
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print" and not may_print
        ):
            yield f"{node.lineno}: print"
    for owner in [tree, *[node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]]:
        for function in owner.body:
            if not isinstance(function, ast.FunctionDef) or function.args.kwarg is None:
                continue
            if not function.name.startswith("_") or function.name in ("__init__", "__call__"):
                yield f"{function.lineno}: **{function.args.kwarg.arg} in {function.name}"


def test_library_has_no_assert_no_print_no_open_signature():
    found = [
        f"{name_of(path)}:{fault}"
        for path in PACKAGE
        for fault in forbidden_code(path.read_text(), may_print=path.parent.name == "cli")
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    ["assert x", "def f():\n    print(1)", "def f(**options): pass", "class A:\n    def __init__(self, **k): pass"],
)
def test_forbidden_code_is_found(source):
    assert len(list(forbidden_code(source, may_print=False))) == 1


NOTE = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def test_no_notes_of_work_left_to_do():
    paths = [path for path in [*PYTHON, *CPP, *BUILD, ROOT / "Makefile"] if path != Path(__file__)]
    found = [f"{name_of(path)}: {match[0]}" for path in paths for match in NOTE.finditer(path.read_text())]
    assert not found, "\n".join(found)
    assert NOTE.search("x = 1  # TODO: y")


CONDITIONAL = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif|else)\b", re.MULTILINE)


def files_with_conditionals(texts):
    return [name for name, text in texts.items() if CONDITIONAL.search(text)]


def test_cuda_sources_hold_conditionals_in_one_header_only():
    cuda = {name_of(path): path.read_text() for path in CPP if "cuda" in path.parts}
    assert files_with_conditionals(cuda) == ["csrc/cuda/device.h"]
    assert files_with_conditionals({"a": "  # ifdef X\n", "b": "#pragma once\n#include <if>\n"}) == ["a"]

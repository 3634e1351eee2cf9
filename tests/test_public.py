"""What is public: every name is there, is loaded when it is asked for, says what it takes and returns, is documented.

The rule for arrays: wherever a public function or class takes, holds or returns one, its docstring says the shape in
brackets, such as [n_times, n_chans], and a dtype or a unit. An argument, a field or the result says both in its own
entry, or, where a short docstring has no entries, in the text, which then has a shape for each of them.
"""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from eegjax import lazy

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
LAZY = tuple(f"eegjax.{package}" for package in ("baselines", "data", "evaluate", "explain", "models", "signal"))
EAGER = ("eegjax.data.bci_iv_2a", "eegjax.data.eegmmidb", "eegjax.data.sleep_edf")  # data sets
ROOMS = [path for package in (*LAZY, "eegjax.benchmarks")
         for path in sorted((ROOT / package.replace(".", "/")).rglob("*.py"))]  # fmt: skip
NAMES = [(package, name) for package in (*LAZY, *EAGER) for name in importlib.import_module(package).__all__]

ARRAY = re.compile(r"\bndarray\b|\bArray\b")
SHAPE = re.compile(r"\[[^\[\]]*\]")
DTYPES = r"float(?:16|32|64)?|u?int(?:8|16|32|64)?|bool|str|dtypes?|bfloat16"
UNITS = r"µV|V|volts|microvolts|mm|m|s|seconds|samples|Hz|dB|S/m|A m|z-scores|logits|probabilities|voxels|0\.\.1"
DTYPE_OR_UNIT = re.compile(rf"(?<![\w])(?:{DTYPES}|{UNITS})(?!\w)")
ENTRY = re.compile(r"( *)(\w+(?:, \w+)*): ")


class Described(NamedTuple):
    """A function or class: its name, its docstring, what of it are arrays."""

    name: str
    docstring: str
    arrays: tuple[str, ...]  # arguments or fields, and `return`


def public(package: str, name: str) -> Any:
    return getattr(importlib.import_module(package), name)


def described(value: Any) -> Iterator[Described]:
    """A function; a class with its methods; a module with all that it defines."""
    if isinstance(value, types.ModuleType):
        for name, member in vars(value).items():
            if not name.startswith("_") and getattr(member, "__module__", "") == value.__name__ and callable(member):
                yield from described(member)
    elif inspect.isclass(value):
        lines = inspect.getsource(value).splitlines()
        comments = "".join(f"\n{line.split(':')[0]}: {line.split('  # ')[1]}" for line in lines if "  # " in line)
        yield Described(value.__name__, f"{inspect.getdoc(value)}\n\n{inspect.cleandoc(comments)}", arrays_of(value))
        for name, method in vars(value).items():
            own = inspect.isfunction(method) and method.__qualname__.startswith(f"{value.__name__}.")
            if own and name != "setup" and (name == "__call__" or not name.startswith("_")):
                yield from described(method)
    elif callable(value):
        function = inspect.unwrap(value)
        yield Described(function.__qualname__, inspect.getdoc(function) or "", arrays_of(function))


def arrays_of(value: Any) -> tuple[str, ...]:
    annotations = inspect.get_annotations(value)
    texts = {name: re.sub(r"Callable\[.*\]", "", str(annotation)) for name, annotation in annotations.items()}
    return tuple(name for name, text in texts.items() if ARRAY.search(text))


def entries(docstring: str) -> tuple[str, dict[str, str]]:
    """The text before the entries, and what is said of each argument, each field and the result (`return`)."""
    head, of = [], {}
    section, indent, current = "", -1, ""
    for number, line in enumerate(docstring.splitlines()):
        entry = ENTRY.match(line) if number else None  # the first line is the summary
        depth = len(line) - len(line.lstrip())
        if line in ("Args:", "Returns:", "Yields:", "Raises:"):
            section, current, indent = line, "return" if line in ("Returns:", "Yields:") else "", -1
        elif entry and section in ("", "Args:") and (indent in (-1, depth)):
            indent, current = depth, entry[2]
            of |= dict.fromkeys(current.split(", "), line[entry.end() :])
        elif current and (section == "Returns:" or section == "Yields:" or depth > indent) and line.strip():
            for name in current.split(", "):
                of[name] = of.get(name, "") + " " + line.strip()
        elif section != "Raises:":
            head.append(line)
            current = ""
    return "\n".join(head), of


def lacks(thing: Described) -> list[str]:
    """What the rule for arrays wants and the docstring doesn't say."""
    head, of = entries(thing.docstring)
    missing = []
    for name in thing.arrays:
        if name in of and not (SHAPE.search(of[name]) and DTYPE_OR_UNIT.search(of[name])):
            missing.append(f"{name}: {of[name].strip()}")
    unsaid = [name for name in thing.arrays if name not in of]
    if unsaid and (len(SHAPE.findall(head)) < len(unsaid) or not DTYPE_OR_UNIT.search(head)):
        missing.append(f"{', '.join(unsaid)}: nowhere")
    return missing


EVERY = [(package, thing) for package, name in NAMES for thing in described(public(package, name))]
NAMED = [pytest.param(thing, id=f"{package}.{thing.name}") for package, thing in EVERY]


@pytest.mark.parametrize("thing", NAMED)
def test_a_docstring_is_made_of_sentences(thing: Described) -> None:
    summary = thing.docstring.split("\n\n")[0]
    assert re.match(r"[A-Z\[|`]|\w+ ", summary)
    assert summary.endswith("."), summary


@pytest.mark.parametrize("thing", NAMED)
def test_every_array_has_a_shape_and_a_dtype_or_unit(thing: Described) -> None:
    assert not lacks(thing)


def test_the_rule_for_arrays_sees_what_lacks() -> None:
    def bare(x: np.ndarray) -> np.ndarray:
        """Double."""

    def half(x: np.ndarray, n: int) -> np.ndarray:
        """Double.

        Args:
            x: [n_times] of EEG.
            n: how often.

        Returns:
            [n_times] float64,
            µV.
        """

    def whole(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Double.

        Args:
            x, y: [n_times]
                float64.

        Returns:
            [n_times] float64.

        Raises:
            ValueError: `x` is empty.
        """

    def short(x: np.ndarray) -> jax.Array:
        """Double: [n] float -> [n]."""

    def told_of_one(x: np.ndarray) -> jax.Array:
        """Double: [n] float."""

    def with_a_function(apply: Callable[[jax.Array], jax.Array]) -> None:
        """Apply."""

    class Pair(NamedTuple):
        """Two."""

        first: np.ndarray  # [n] int64
        second: np.ndarray  # as many

    values = (bare, half, whole, short, told_of_one, with_a_function, Pair)
    lacking = {value.__name__: lacks(thing) for value in values for thing in described(value)}
    assert lacking == {
        "bare": ["x, return: nowhere"],
        "half": ["x: [n_times] of EEG."],
        "whole": [],
        "short": [],
        "told_of_one": ["x, return: nowhere"],
        "with_a_function": [],
        "Pair": ["second: as many"],
    }


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_raised_names_its_condition(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            docstring = ast.get_docstring(node) or ""
            assert not re.search(
                r"Error: (?:so|it is|it isn't|no such|something|anything|another|unknown|if)\b", docstring
            ), node.name


# ---- names


@pytest.mark.parametrize("package", LAZY)
def test_what_a_package_writes_down_is_what_it_hands_on(package: str) -> None:
    module = importlib.import_module(package)
    assert set(module.__all__) == set(lazy.read_origins(Path(str(module.__file__))))
    assert dir(module) == sorted(module.__all__)
    with pytest.raises(AttributeError, match=rf"module '{package}' has no attribute 'Vnet'"):
        _ = module.Vnet
    with pytest.raises(ImportError, match="Vnet"):
        exec(f"from {package} import Vnet")


@pytest.mark.parametrize("package", LAZY)
def test_no_name_is_also_a_modules(package: str) -> None:
    folder = Path(str(importlib.import_module(package).__file__)).parent
    modules = {path.stem for path in folder.iterdir()}
    for name in importlib.import_module(package).__all__:
        assert isinstance(public(package, name), types.ModuleType) == (name in modules)


def test_every_module_of_a_package_is_of_use_to_somebody() -> None:
    """A network or a number that nobody can import by name has been forgotten in `__all__`."""
    for package in ("eegjax.models", "eegjax.evaluate", "eegjax.explain", "eegjax.signal"):
        module = importlib.import_module(package)
        files = {path.stem for path in Path(str(module.__file__)).parent.glob("*.py")} - {"__init__"}
        origins = lazy.read_origins(Path(str(module.__file__))).values()
        known = {origin.removeprefix(f"{package}.") for origin, _ in origins} | {name for _, name in origins}
        assert files - known <= {"operations", "names"}  # what the rooms above take from them


def test_a_name_is_loaded_when_it_is_asked_for() -> None:
    program = """
import json, sys
import eegjax.baselines, eegjax.data, eegjax.evaluate, eegjax.explain, eegjax.models, eegjax.signal
dir(eegjax.models)
first = [name for name in ("numpy", "pandas", "jax", "flax") if name in sys.modules]
from eegjax.data import sleep_edf
from eegjax.models import ShallowConvNet
loaded = {name for name in sys.modules if name.startswith("eegjax.models.")}
print(json.dumps([first, sleep_edf.__name__, ShallowConvNet.__module__, "eegjax.models.vnet" in loaded]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], "eegjax.data.sleep_edf", "eegjax.models.shallow", False]


@pytest.mark.slow
def test_a_type_checker_knows_the_names_and_only_those(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    file = tmp_path / "mine.py"
    file.write_text("from eegjax.models import VNet, Vnet\nreveal_type(VNet)\n")
    said, _, _ = api.run([str(file), "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path)])
    assert 'has no attribute "Vnet"' in said
    assert "n_outputs: int" in said


# ---- the reference


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference isn't part of this copy")
@pytest.mark.parametrize(("package", "name"), NAMES)
def test_a_public_name_stands_in_the_reference(package: str, name: str) -> None:
    value = public(package, name)
    pages = "\n".join(path.read_text() for path in REFERENCE.rglob("*.md"))
    shown = {page.rstrip(".") for page in re.findall(r"^::: ([\w.]+)", pages, re.MULTILINE)}  # `package.*` is all of it
    origins = lazy.read_origins(Path(str(importlib.import_module(package).__file__)))
    module = value.__name__ if isinstance(value, types.ModuleType) else origins.get(name, (package, ""))[0]
    assert any(f"{module}.{name}".startswith(f"{page}.") or f"{module}.{name}" == page for page in shown), module

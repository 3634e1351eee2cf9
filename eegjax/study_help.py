"""What `eegjax run STUDY --help` shows: protocols, keys, and every field with its default and its comment.

The comments are those of the source: what stands beside a key of a dictionary literal (or above it) in the functions
that make the configuration.
"""

import ast
import functools
import importlib
import inspect
import io
import sys
import textwrap
import tokenize
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from eegjax import studies

NO_FIELDS = ("study", "protocol")  # set by the name and the protocol alone
FIELD_WIDTH = 44  # of a field with its default, before its comment begins
COMMENT_WIDTH = 72


def describe(name: str, argument: str = "") -> str:
    """The help of a study.

    Args:
        name: of the study, one of `studies.NAMES`.
        argument: `protocol[,key=value...]`, whose defaults are shown; empty means the first protocol.

    Returns:
        Lines: the study's docstring, its protocols and keys, and its fields.

    Raises:
        UserError: an unknown protocol, key or value.
    """
    config = studies.get_config(name, argument)
    module = importlib.import_module(f"eegjax.studies.{name}.config")
    comments = comments_of(sys.modules[module.get_config.__module__], "get_config")
    study = inspect.getdoc(importlib.import_module(f"eegjax.studies.{name}")) or ""
    keys = [f"  {key}={'|'.join(values)}" for key, values in module.KEYS.items()]
    fields = [line(field, value, comments) for field, value in flat(config, comments) if field not in NO_FIELDS]
    protocols = f"Protocols: {', '.join(module.PROTOCOLS)}. Keys, behind the protocol and a comma:"
    defaults = f"Fields, with their defaults in the protocol '{config.protocol}':"
    return "\n".join([study, "", protocols, *keys, "", defaults, *fields])


def line(field: str, value: Any, comments: Mapping[str, str]) -> str:
    """A field as it is typed, or a section, and its comment, wrapped."""
    shown = f"config.{field}: ..." if isinstance(value, ConfigDict) else f"--config.{field}={value}"
    said = textwrap.wrap(comments.get(field, ""), COMMENT_WIDTH)
    if len(shown) > FIELD_WIDTH:
        said.insert(0, "")  # it begins below
    first, *further = said or [""]
    lines = [f"  {shown:<{FIELD_WIDTH}}  {first}", *(" " * (FIELD_WIDTH + 4) + text for text in further)]
    return "\n".join(text.rstrip() for text in lines)


def flat(config: ConfigDict, comments: Mapping[str, str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted field of a configuration with its value, and every section that has a comment, before its fields."""
    for name, value in config.items():
        field = prefix + name
        if not isinstance(value, ConfigDict) or field in comments:
            yield field, value
        if isinstance(value, ConfigDict):
            yield from flat(value, comments, f"{field}.")


# ---- comments, read in the source


class Source(NamedTuple):
    """A module as it is written."""

    module: ModuleType
    lines: list[str]
    functions: dict[str, ast.FunctionDef]
    beside: dict[int, str]  # line -> the comment at its end
    above: dict[int, str]  # line -> the comment that has the line before for itself


@functools.cache
def read(module: ModuleType) -> Source:
    """A module's functions and comments."""
    text = inspect.getsource(module)
    functions = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    beside = {}
    above = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            number = token.start[0]
            comment = token.string.lstrip("# ")
            if token.line.lstrip().startswith("#"):
                above[number + 1] = comment
            else:
                beside[number] = comment
    return Source(module, text.splitlines(), functions, beside, above)


def comments_of(module: ModuleType, function: str) -> dict[str, str]:
    """The comments of the fields that a function returns.

    Args:
        module: the function's.
        function: its name; it returns a dictionary literal, a ConfigDict of one, or one filled section by section.

    Returns:
        Dotted field -> comment, of those that have one.
    """
    source = read(module)
    definition = source.functions[function]
    found: dict[str, str] = {}
    for node in ast.walk(definition):
        if isinstance(node, ast.Return) and node.value is not None:
            found |= _of_expression(node.value, source, definition)
    return found


def _of_expression(node: ast.expr, source: Source, scope: ast.FunctionDef) -> dict[str, str]:
    if isinstance(node, ast.Dict):
        return _of_dictionary(node, source, scope)
    if isinstance(node, ast.Call):
        return _of_call(node, source, scope)
    if isinstance(node, ast.Name):
        return _of_variable(node.id, source, scope)
    if isinstance(node, ast.BinOp):
        return _of_expression(node.left, source, scope) | _of_expression(node.right, source, scope)
    return {}


def _of_dictionary(node: ast.Dict, source: Source, scope: ast.FunctionDef) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:  # **value
            found |= _of_expression(value, source, scope)
        elif isinstance(key, ast.Constant):
            found |= _beside(str(key.value), key, value, source)
            found |= _below(str(key.value), _of_expression(value, source, scope))
    return found


def _of_call(node: ast.Call, source: Source, scope: ast.FunctionDef) -> dict[str, str]:
    """What the called function says of its fields, and over it what the call's own arguments do."""
    found: dict[str, str] = {}
    called = _called(node.func, source)
    if called:
        found |= comments_of(*called)
    for argument in node.args:
        if isinstance(argument, ast.Dict | ast.Call):
            found |= _of_expression(argument, source, scope)
    for keyword in node.keywords:
        if keyword.arg:
            found |= _beside(keyword.arg, keyword, keyword.value, source)
            found |= _below(keyword.arg, _of_expression(keyword.value, source, scope))
        else:
            found |= _of_expression(keyword.value, source, scope)
    return found


def _called(node: ast.expr, source: Source) -> tuple[ModuleType, str] | None:
    """The module and name of a function that is called; None where its source isn't the project's."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        owner = getattr(source.module, node.value.id, None)
        function = getattr(owner, node.attr, None) if isinstance(owner, ModuleType) else None
    else:
        function = getattr(source.module, node.id, None) if isinstance(node, ast.Name) else None
    if not inspect.isfunction(function) or not function.__module__.startswith("eegjax."):
        return None
    return importlib.import_module(function.__module__), function.__name__


def _of_variable(name: str, source: Source, scope: ast.FunctionDef) -> dict[str, str]:
    """What the assignments to a variable and to its attributes say; of two comments on a field the first."""
    found: dict[str, str] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = ast.unparse(node.targets[0])
            if target == name:
                found = _of_expression(node.value, source, scope) | found
            elif target.startswith(f"{name}."):
                field = target.removeprefix(f"{name}.")
                below = _below(field, _of_expression(node.value, source, scope))
                found = _beside(field, node, node.value, source) | below | found
    return found


def _beside(field: str, begin: ast.expr | ast.keyword | ast.stmt, value: ast.expr, source: Source) -> dict[str, str]:
    """The comment at the end of a field's first or last line, or above it, if the field begins its line."""
    if source.lines[begin.lineno - 1][: begin.col_offset].strip():
        return {}
    lines = (begin.lineno, value.end_lineno or begin.lineno)
    said = source.beside.get(lines[0]) or source.beside.get(lines[1]) or source.above.get(lines[0])
    return {field: said} if said else {}


def _below(section: str, comments: Mapping[str, str]) -> dict[str, str]:
    return {f"{section}.{field}": comment for field, comment in comments.items()}

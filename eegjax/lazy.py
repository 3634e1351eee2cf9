"""Packages whose public names are there at once and imported when they are first asked for.

A package's `__init__` writes its names down as any other does, in imports and in `__all__`, but the imports stand under
`if TYPE_CHECKING`: type checkers and editors see them, and Python makes each when its name is asked for. So
`import eegjax.models` costs nothing, and `from eegjax.models import VNet` loads what VNet needs. (A module with a
`__getattr__` has any name for a type checker, so that is hidden from it.)
"""

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def attach(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make a package's `__getattr__` and `__dir__` from the imports that its `__init__` holds back.

    Args:
        package: its `__name__`.
        file: its `__file__`.

    Returns:
        `__getattr__`, which raises AttributeError where a name is none of those imports, and `__dir__`.
    """
    origins = read_origins(Path(file))

    def get(name: str) -> Any:
        if name not in origins:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        module, member = origins[name]
        if module == package:  # a module or a package of its own
            return importlib.import_module(f"{package}.{member}")
        return getattr(importlib.import_module(module), member)

    return get, lambda: sorted(origins)


def read_origins(file: Path) -> dict[str, tuple[str, str]]:
    """Read which imports stand under `if TYPE_CHECKING` in a file: name -> (module, its name there)."""
    origins: dict[str, tuple[str, str]] = {}
    for block in ast.parse(file.read_text()).body:
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING":
            for node in block.body:
                if isinstance(node, ast.ImportFrom) and node.module:
                    origins |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
    return origins

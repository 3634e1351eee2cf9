"""What is public: every name is there, lazily, says what it takes and returns, and stands in the reference."""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
PACKAGES = ("models", "data", "signal", "evaluate", "explain", "baselines")
DATA_SETS = ("data.bci_iv_2a", "data.eegmmidb", "data.sleep_edf")
NAMES = [(f"eegjax.{package}", name) for package in (*PACKAGES, *DATA_SETS)
         for name in importlib.import_module(f"eegjax.{package}").__all__]  # fmt: skip

ARRAY = re.compile(r"\bndarray\b|\bjax\.Array\b")
SHAPE = re.compile(r"\[[^\[\]\n]+(?:\n[^\[\]\n]+)?\]")
UNIT = re.compile(
    r"\b(?:float|float32|float64|int|int8|int16|int32|int64|uint8|bool|str|bfloat16|dtype|"
    r"volts?|V|µV|mm|metres|m|s|seconds|samples|Hz|dB|S/m|A m|nA m|z-scores?|logits|probabilities|shares?|voxels|"
    r"0\.\.1|labels|class numbers?|powers?|rows|names|gains?|radians|log)\b"
)


def found(package: str, name: str) -> Any:
    return getattr(importlib.import_module(package), name)


def callables(value: Any) -> Iterator[tuple[str, str, list[str]]]:
    """Every function of a public name with the docstring that has to describe it and its annotations: (of what,
    docstring, annotations of arrays)."""
    if inspect.isfunction(value):
        yield value.__name__, value.__doc__ or "", arrays(value)
    elif inspect.isclass(value):
        fields = inspect.get_annotations(value) if not hasattr(value, "setup") else {}
        source = inspect.getsource(value)  # a field may be described in a comment behind it
        yield value.__name__, source, [f"{k}: {v}" for k, v in fields.items() if ARRAY.search(text_of(v))]
        for method in vars(value).values():
            if inspect.isfunction(method) and (not method.__name__.startswith("_") or method.__name__ == "__call__"):
                if method.__qualname__.startswith(value.__name__) and method.__name__ not in ("setup",):
                    yield f"{value.__name__}.{method.__name__}", method.__doc__ or "", arrays(method)


def text_of(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def arrays(function: Any) -> list[str]:
    annotations = inspect.get_annotations(inspect.unwrap(function))
    return [f"{name}: {text_of(a)}" for name, a in annotations.items() if ARRAY.search(text_of(a))]

"""A line `::: eegjax.models.*` of a page stands for all modules below that package, so that none is forgotten."""

import re
from pathlib import Path
from typing import Any

ALL = re.compile(r"^::: ([\w.]+)\.\*$", re.M)


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """Called by MkDocs with the text of every page."""
    root = Path(config.config_file_path).parent

    def modules(found: re.Match[str]) -> str:
        files = sorted((root / found[1].replace(".", "/")).rglob("*.py"))
        names = [".".join(file.relative_to(root).with_suffix("").parts) for file in files]
        return "\n\n".join(f"::: {name}" for name in names if "._" not in name)

    return ALL.sub(modules, markdown)

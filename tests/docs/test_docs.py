"""What the README and `docs/` say is so: their code runs, their commands are understood, their links lead somewhere."""

import importlib
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from ml_collections import ConfigDict

from eegjax import cli, studies

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "BENCHMARKS.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")
INLINE = re.compile(r"`([^`\n]+)`")
SCRIPTS = {"run": "main", **{name: name for name in ("predict", "tables", "prepare", "benchmark")}}
FIELD = re.compile(r"(?!.*\.py$)(?:config\.)?((?:data|splits|inputs|model|train|test|run)(?:\.\w+)+)(?:=.*)?")
FILE = re.compile(r"(eegjax|configs|launch|docs)/[\w/.]+")
PUBLIC = ("models", "data", "evaluate", "signal", "explain", "baselines", "train", "run")
NUMBERS = {"N": "2", "NAME": "shallow"}  # what stands for a value in a command


class Block(NamedTuple):
    """A fenced block of a page: `language` as it is written behind the fence."""

    page: str
    language: str
    text: str


def prose(page: Path) -> str:
    """A page's text without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def blocks() -> Iterator[Block]:
    """Every fenced block of every page."""
    for page in PAGES:
        for language, text in FENCE.findall(page.read_text()):
            yield Block(page.name, language, text)


def commands() -> Iterator[str]:
    """Every command line of the project's own, in blocks and in running text."""
    lines = [line for block in blocks() if block.language != "python" for line in block.text.splitlines()]
    for text in [*lines, *(text for page in PAGES for text in INLINE.findall(prose(page)))]:
        for part in text.split(" && "):
            if part.startswith(("eegjax ", "python launch/")):
                yield part


COMMANDS = sorted(set(commands()))
PYTHON = [block for block in blocks() if block.language == "python"]


# ---- commands


def script_of(words: list[str]) -> tuple[str, list[str]]:
    """The script that a command line is a door to, and its arguments, with `--config=` as the script has it."""
    if words[0] == "python":
        return Path(words[1]).stem, words[2:]
    assert words[1] in SCRIPTS, f"no subcommand {words[1]}"
    arguments = words[2:]
    if words[1] == "run" and arguments and not arguments[0].startswith("-"):
        arguments[0] = "--config=" + re.sub(r"^(\w+)", r"configs/\1.py", arguments[0])
    return SCRIPTS[words[1]], arguments


def flags_of(script: str) -> set[str]:
    """The flags that a script's --help names."""
    path = ROOT / "launch" / f"{script}.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, path, "--help"], capture_output=True, text=True, check=True, env=environment)
    return set(re.findall(r"^  --([\w-]+):", done.stdout, re.M))


@pytest.fixture(scope="module")
def flags() -> dict[str, set[str]]:
    """The flags of every script."""
    return {script: flags_of(script) for script in SCRIPTS.values()}


def configuration_of(script: str, given: dict[str, str]) -> str | None:
    """What `--config=` would be, `FILE:protocol`, of any script; None where a command doesn't say."""
    if script == "main":
        return given.get("config")
    if script == "tables" and "paper" in given:
        return f"configs/{given['paper']}.py:{given.get('protocol', '')}"
    return None


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_understood(command: str, flags: dict[str, set[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    script, arguments = script_of(shlex.split(command))
    pairs = [argument.removeprefix("--").partition("=") for argument in arguments if argument.startswith("--")]
    given = {name: value for name, _, value in pairs if not name.startswith("config.") and name != "help"}
    assert set(given) <= flags[script]
    assert len(arguments) - len(pairs) <= (script == "predict")  # its recording
    text = configuration_of(script, given)
    overrides = [f"--{name}={NUMBERS.get(value, value)}" for name, _, value in pairs if name.startswith("config.")]
    if text == "FILE":  # of the reader's own
        text = "configs/sleep.py"
    if text is not None:
        config = cli.configure(text, ["", *overrides])
        assert config.study in studies.NAMES
    else:
        assert not overrides


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 20
    assert {script_of(shlex.split(command))[0] for command in COMMANDS} == set(SCRIPTS.values())


def fields_of(config: ConfigDict) -> set[str]:
    """Dotted names of all fields and sections of a configuration."""
    names = set()
    for name, value in config.items():
        inner = fields_of(value) if isinstance(value, ConfigDict) else set()
        names |= {name, *(f"{name}.{field}" for field in inner)}
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_fields_that_are_named_exist(page: Path) -> None:
    exist = set().union(*(fields_of(cli.load(f"{ROOT}/configs/{name}.py")) for name in studies.NAMES))
    named = {found[1] for text in INLINE.findall(prose(page)) if (found := FIELD.fullmatch(text))}
    assert named <= exist


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    named = {
        text for text in INLINE.findall(prose(page)) if re.fullmatch(r"(eegjax|configs|launch|docs)/[\w/.]+", text)
    }
    assert not {text for text in named if "NAME" not in text and not (ROOT / text).exists()}


# ---- code


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.page)
def test_python_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    names: dict[str, object] = {"__name__": "block"}
    exec(compile(block.text, block.page, "exec"), names)
    if "get_config" in names:  # a configuration file of the reader's own
        (tmp_path / "mine.py").write_text(block.text)
        assert cli.load("mine.py") == names["get_config"]()  # type: ignore[operator]


def test_python_is_found() -> None:
    assert {"README.md", "own_data.md"} <= {block.page for block in PYTHON}


# ---- links, length, completeness


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def documented(site: Path) -> set[str]:
    """Dotted names of all that a built site describes, from its inventory."""
    _, _, _, _, packed = (site / "objects.inv").read_bytes().split(b"\n", 4)
    return {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}


def public_names(package: str) -> set[str]:
    """Where a package's public names, and those of its packages, are defined."""
    path = importlib.import_module(package).__path__
    packages = [package, *(module.name for module in pkgutil.walk_packages(path, f"{package}.") if module.ispkg)]
    values = [
        getattr(module, name)
        for module in map(importlib.import_module, packages)
        for name in getattr(module, "__all__", ())
    ]
    return {f"{value.__module__}.{value.__qualname__}" for value in values if hasattr(value, "__qualname__")}


@pytest.mark.slow
def test_site_builds(tmp_path: Path) -> None:
    for needed in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        pytest.importorskip(needed, reason="the extra `docs` isn't installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", f"--site-dir={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    asked = {address for page in tmp_path.rglob("*.html") for address in loaded(page.read_text())}
    assert asked
    assert not {address for address in asked if "://" in address}
    described = documented(tmp_path)
    assert {
        "eegjax.models.vnet.VNet",
        "eegjax.evaluate.bootstrap.percentile_interval",
        "eegjax.run.flow.run",
    } <= described
    assert set().union(*(public_names(f"eegjax.{package}") for package in PUBLIC)) <= described


def loaded(page: str) -> set[str]:
    """The addresses that a browser loads for a page: scripts, styles, pictures."""
    tags = re.findall(r"<(?:script|img|link)\b[^>]*>", page)
    return {found[1] for tag in tags if (found := re.search(r'(?:src|href)="?([^"\s>]+)', tag))}

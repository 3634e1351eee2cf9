"""One self-contained HTML page per run: no script, no network, the same page for the same folder."""

import base64
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from eegjax.errors import UserError
from eegjax.evaluate.names import of_first
from eegjax.files import read_json, write_aside
from eegjax.report.cells import format_count, format_interval

MOST_NUMBERS = 6  # above the tables, which hold the rest
TOLD: tuple[str, ...] = ("source", "licence", "citation")  # of the data card, in the open
TABLE = re.compile(r"\*\*(.*)\*\*\n\n((?:\|.*\|\n){2,})(?:\n- ([\s\S]*)\n)?")  # what write_table writes
LINK = re.compile(r"(https?://[^\s<>\"']*[^\s<>\"'.,;:)\]])")
Row = Sequence[str]

STYLE = """
:root { --ink: #1a1a1a; --soft: #595959; --line: #d5d5d5; --back: #fff; --raised: #f6f7f8; --link: #00588c;
  --mark: #d55e00; --marked: #fdeee3; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --soft: #a8a8a8; --line: #444;
  --back: #17191b; --raised: #202326; --link: #7cc0ee; --mark: #d55e00; --marked: #3a2113; } }
body { margin: 0 auto; padding: 1rem 1.25rem 3rem; max-width: 76rem; overflow-wrap: anywhere;
  font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 1rem 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.75rem 0 .5rem; }
a { color: var(--link); }
.simulated { padding: .6rem 1rem; border-left: .4rem solid var(--mark); background: var(--marked); }
.numbers { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .75rem; margin: 0; }
.numbers div { padding: .6rem .8rem; border: 1px solid var(--line); border-radius: .4rem; background: var(--raised); }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; }
dd b { display: block; font-size: 1.6rem; line-height: 1.3; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  overflow-wrap: normal; }
td { white-space: nowrap; }
thead th { vertical-align: bottom; border-bottom: 2px solid var(--soft); background: var(--raised); }
tbody th { font-weight: 600; }
.right { text-align: right; }
.pairs td { white-space: normal; overflow-wrap: anywhere; }
.pairs tbody th { font-weight: 400; color: var(--soft); }
.notes { font-size: .85rem; color: var(--soft); }
ul.notes { padding-left: 1.1rem; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; background: #fff; }
figcaption { font-size: .85rem; color: var(--soft); }
pre { padding: .75rem 1rem; overflow-x: auto; background: var(--raised); border: 1px solid var(--line); }
summary { cursor: pointer; margin: .75rem 0; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  .scroll, pre { overflow: visible; }
  th, td { white-space: normal; padding: .2rem .35rem; }
  table { font-size: 7.5pt; }
  pre { white-space: pre-wrap; }
  h2, h3, thead { break-after: avoid; }
  figure, tr, .numbers div { break-inside: avoid; }
  details::details-content { content-visibility: visible; display: block; }
}
"""


def write_page(
    folder: str | Path,
    title: str,
    tables: Sequence[Path] | None = None,
    figures: Sequence[Path] | None = None,
    provenance: dict[str, Any] | None = None,
    parts: Mapping[str, str] | None = None,
) -> Path:
    """Write `report.html` from what lies in a folder; whatever is missing is left out.

    Args:
        folder: of a run (`config.json`, `environment.json`, `metrics.json`, `card.json`, `folds.json`), or any other
            with `tables/*.md` and `figures/*.png`.
        title: of the page.
        tables: Markdown files of `write_table`, in order; None is all of the folder, `results` first, then `paper_`.
        figures: PNG files, in order; None is all of the folder, `figure_` first. Captions are their `Description`
            texts, or names.
        provenance: instead of a start in `environment.json`: shown name by name; `command` (a list) and `git_commit`
            say how to repeat it, `simulated` marks the page.
        parts: how file names begin -> what the headings of those tables and the captions of those figures begin with.

    Returns:
        The page.

    Raises:
        UserError: a file is broken, or the disk is full or not writable.
    """
    folder = Path(folder)
    metrics, config, card, folds, environment = (
        read_json(path) if (path := folder / f"{name}.json").exists() else {}
        for name in ("metrics", "config", "card", "folds", "environment")
    )
    starts = environment.get("starts", []) if provenance is None else [provenance]
    parts = parts or {}
    if tables is None:
        tables = _ordered(folder / "tables", ".md", ("results", "paper_"), parts)
    if figures is None:
        figures = _ordered(folder / "figures", ".png", ("figure_",), parts)
    sections = {
        "Main numbers": _numbers(metrics, config),
        "Tables": "".join(_table(path, parts.get(_start(path, parts))) for path in tables),
        "Figures": "".join(_figure(path, parts.get(_start(path, parts))) for path in figures),
        "Configuration": _configuration(config),
        "Data": _data(card),
        "Folds": _folds(folds),
        "Provenance": _provenance(starts, metrics),
        "How to repeat it": _repeat(starts, config, card),
    }
    simulated = bool(metrics.get("simulated") or (provenance or {}).get("simulated"))
    text = _page(title, simulated, {name: body for name, body in sections.items() if body})
    return write_aside(folder / "report.html", lambda aside: aside.write_bytes(text.encode()))


def _ordered(folder: Path, suffix: str, first: Sequence[str], parts: Mapping[str, str]) -> list[Path]:
    """A folder's files part by part, in each those that begin with the words of `first`, then the others by name."""

    def place(path: Path) -> tuple[int, list[bool], str]:
        start = _start(path, parts)
        stem = path.stem.removeprefix(start)
        return list(parts).index(start) if start else -1, [not stem.startswith(word) for word in first], stem

    return sorted(folder.glob(f"[!.]*{suffix}"), key=place)  # [!.] leaves out what a killed writer left behind


def _start(path: Path, parts: Mapping[str, str]) -> str:
    return max((start for start in parts if path.name.startswith(start)), key=len, default="")


def _page(title: str, simulated: bool, sections: dict[str, str]) -> str:
    banner = (
        '<p class="simulated"><strong>SIMULATED DATA.</strong> The recordings were made by a simulator: '
        "no number on this page says anything about people.</p>\n"
    )
    parts = "".join(f"<section>\n<h2>{escape(name)}</h2>\n{body}</section>\n" for name, body in sections.items())
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{'SIMULATED DATA: ' if simulated else ''}{escape(title)}</title>\n"
        f'<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n'
        f"<h1>{escape(title)}</h1>\n{banner if simulated else ''}{parts}</main>\n</body>\n</html>\n"
    )


def _numbers(metrics: dict[str, Any], config: dict[str, Any]) -> str:
    """The first network's numbers that have intervals."""
    measured = [name for name in metrics if f"{name}_low" in metrics and f"{name}_high" in metrics]
    tiles = []
    for name in of_first(measured)[:MOST_NUMBERS]:
        ends = (metrics[f"{name}{end}"] for end in ("", "_low", "_high"))
        number, interval = format_interval(*ends).split(" ", 1)
        tiles.append(f"<div><dt>{escape(_words(name))}</dt><dd><b>{number}</b> {interval}</dd></div>\n")
    if not tiles:
        return ""
    network = config.get("config", {}).get("model", {}).get("name", "")
    about = [f"Network: {network}." if network else ""]
    if "n_examples" in metrics and "n_subjects" in metrics:
        n_examples = metrics["n_examples"]
        n_subjects = metrics["n_subjects"]
        about.append(f"{format_count(n_examples, 'test example')} of {format_count(n_subjects, 'subject')}.")
    about.append(f"In brackets: 95 % intervals, {metrics['interval']}." if "interval" in metrics else "")
    return f'<dl class="numbers">\n{"".join(tiles)}</dl>\n<p class="notes">{_text(" ".join(filter(None, about)))}</p>\n'


def _table(path: Path, part: str | None) -> str:
    """A table from the Markdown that `write_table` wrote."""
    match = TABLE.fullmatch(path.read_bytes().decode(errors="replace"))
    lines = match[2].rstrip("\n").split("\n") if match else []
    # a separator stands after a space, a pipe inside a cell after its backslash
    rows = [[cell.strip(" ") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    if not match or len(set(map(len, rows))) != 1:
        raise UserError(f"{path}: not a table as eegjax writes it; delete it and start the command again")
    to_right = [cell.endswith(":") for cell in rows.pop(1)]
    header, *body = ([re.sub(r"\\([|\\])", r"\1", cell) for cell in row] for row in rows)
    notes = "".join(f"<li>{_text(note)}</li>\n" for note in match[3].split("\n- ")) if match[3] is not None else ""
    below = f'<ul class="notes">\n{notes}</ul>\n' if notes else ""
    title = f"{part}: {match[1]}" if part else match[1]
    return f"<h3>{_text(title)}</h3>\n{_grid(title, header, body, to_right)}{below}"


def _grid(label: str, header: Row, rows: Sequence[Row], to_right: Sequence[bool] = ()) -> str:
    """A table that scrolls within itself; the first column names the rows."""
    sides = [' class="right"' if right else "" for right in to_right or [False] * len(header)]
    tags = ['th scope="row"'] + ["td"] * (len(header) - 1)
    head = "".join(f'<th scope="col"{side}>{_text(cell)}</th>' for side, cell in zip(sides, header, strict=True))
    lines = [
        "".join(f"<{tag}{side}>{_text(cell)}</{tag[:2]}>" for tag, side, cell in zip(tags, sides, row, strict=True))
        for row in rows
    ]
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    return (
        f'<div class="scroll" role="region" aria-label="{escape(label)}" tabindex="0">\n<table>\n'
        f"<thead>\n<tr>{head}</tr>\n</thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>\n"
    )


def _pairs(label: str, rows: Sequence[Row]) -> str:
    return f'<div class="pairs">\n{_grid(label, ("name", "value"), rows)}</div>\n'


def _folded(summary: str, body: str) -> str:
    return f"<details>\n<summary>{escape(summary)}</summary>\n{body}</details>\n"


def _figure(path: Path, part: str | None) -> str:
    """The PNG's own bytes, at the size in inches at which it was drawn."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            caption = image.info.get("Description") or _words(path.stem)
            caption = f"{part}: {caption}" if part else caption
            zoom = 96 / (image.info.get("dpi", (96,))[0] or 96)
            width, height = (round(zoom * n) for n in image.size)
    except (OSError, SyntaxError) as error:
        raise UserError(f"{path}: not readable as PNG ({error}); delete it and start the command again") from error
    source = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure>\n<img src="data:image/png;base64,{source}" alt="{escape(caption)}" width="{width}" '
        f'height="{height}">\n<figcaption>{_text(caption)}</figcaption>\n</figure>\n'
    )


def _configuration(config: dict[str, Any]) -> str:
    rows = sorted(_flat(config.get("config", {})))
    return _folded(f"All {len(rows)} fields", _pairs("Configuration", rows)) if rows else ""


def _data(card: dict[str, Any]) -> str:
    if not card:
        return ""
    recordings = card.get("recordings", [])
    rest = {name: value for name, value in card.items() if name not in (*TOLD, "recordings")}
    rows = [(name, _shown(card[name])) for name in TOLD if name in card]
    rows += [("recordings", str(len(recordings)))] if recordings else []
    body = _pairs("Data", rows) + _folded("The rest of the data card", _pairs("Data card", sorted(_flat(rest))))
    if recordings:
        header = [name for name, value in recordings[0].items() if not isinstance(value, dict)]
        table = [[_shown(one.get(name, "")) for name in header] for one in recordings]
        body += _folded(f"All {len(recordings)} recordings", _grid("Recordings", list(map(_words, header)), table))
    return body


def _folds(folds: Sequence[dict[str, Any]]) -> str:
    """How many examples and groups stand on which side of each fold, and what leaks."""
    if not folds:
        return ""
    leaks = dict.fromkeys(fold["leak"] for fold in folds if fold.get("leak"))
    verdict = "".join(f"<p><strong>Groups stand on two sides:</strong> {_text(leak)}</p>\n" for leak in leaks)
    verdict = verdict or "<p>No group (a subject, say) stands on two sides of a fold.</p>\n"
    sides = ("train", "validation", "test")
    columns = [f"{side}{end}" for side in sides for end in ("", "_groups")]
    header = ["fold", *(f"{side} {what}" for side in sides for what in ("examples", "groups")), "tested"]
    rows = [
        [
            fold["name"],
            *(str(len(fold.get(name, ()))) for name in columns),
            ", ".join(map(str, fold.get("test_groups", ()))),
        ]
        for fold in folds
    ]
    to_right = [False, *[True] * len(columns), False]
    return verdict + _folded(f"{len(folds)} fold(s)", _grid("Folds", header, rows, to_right))


def _provenance(starts: Sequence[dict[str, Any]], metrics: dict[str, Any]) -> str:
    """The starts of the run; what was not the same in all of them is given for each, with arrows between."""
    rows: dict[str, list[str]] = {}
    for start in starts:
        command = {"command": shlex.join(start["command"])} if "command" in start else {}
        for name, text in _flat({**start, **command}):
            rows.setdefault(_words(name.removeprefix("packages.")), []).append(text)
    rows |= {
        _words(name): [f"{metrics[name]:.1f}"]
        for name in ("seconds_total", "seconds_compile", "examples_per_s")
        if metrics.get(name) is not None
    }
    pairs = [(name, " → ".join(dict.fromkeys(texts))) for name, texts in rows.items()]
    return _pairs("Provenance", pairs) if pairs else ""


def _repeat(starts: Sequence[dict[str, Any]], config: dict[str, Any], card: dict[str, Any]) -> str:
    """The last start's command, at its commit, and the hashes that tell whether it is the same run."""
    if not starts or "command" not in starts[-1]:
        return ""
    start = starts[-1]
    lines = []
    commit = start.get("git_commit") or ""
    if commit:
        lines.append(f"git checkout {commit.removesuffix('-dirty')}")
    flags = f"XLA_FLAGS={shlex.quote(start['xla_flags'])} " if start.get("xla_flags") else ""
    lines.append(f"{flags}python {shlex.join(start['command'])}")
    notes = ["Changes that were in no commit are needed, too." if commit.endswith("-dirty") else ""]
    notes.append(f"It ran as {start['processes']} processes." if start.get("processes", 1) > 1 else "")
    notes.append(f"The run's hash is {config['hash']}." if "hash" in config else "")
    notes.append(f"The data set's hash is {card['hash']}." if "hash" in card else "")
    text = " ".join(filter(None, notes))
    below = f"<p>{_text(text)}</p>\n" if text else ""
    script = escape("\n".join(lines))
    return f'<pre tabindex="0"><code>{script}</code></pre>\n{below}'


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, text) of what a tree holds; lists of trees are numbered from 1."""
    if isinstance(value, dict) and (value or not name):
        children = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        children = [(str(number), item) for number, item in enumerate(value, 1)]
    else:
        yield name, _shown(value)
        return
    for key, item in children:
        yield from _flat(item, f"{name}.{key}" if name else key)


def _shown(value: Any) -> str:
    """Text as it is; all else, and the empty text, as JSON."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _text(text: str) -> str:
    """Text for HTML, its addresses as links."""
    parts = (
        f'<a href="{escape(part)}">{escape(part)}</a>' if k % 2 else escape(part)
        for k, part in enumerate(LINK.split(text))
    )
    return "".join(parts)

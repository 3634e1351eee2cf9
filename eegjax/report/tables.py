"""Tables as Markdown to read, CSV to compute with and LaTeX to publish."""

import csv
import io
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from eegjax.files import write_aside

LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\n": " ",
    # what results tables hold beyond Latin letters; the rest is left to the engine
    **{"±": r"$\pm$", "×": r"$\times$", "−": "$-$", "≤": r"$\le$", "≥": r"$\ge$", "→": r"$\to$", "κ": r"$\kappa$"},
    **{"µ": r"\textmu{}", "μ": r"\textmu{}", "²": r"\textsuperscript{2}", "³": r"\textsuperscript{3}"},
}
NUMBER = re.compile(r"[-−+±<>≤≥~]?\s*\d*\.?\d+(\D.*)?|[–-]?")


def write_table(
    folder: str | Path,
    name: str,
    frame: pd.DataFrame,
    title: str,
    footnotes: Sequence[str] = (),
    simulated: bool = False,
) -> str:
    """Write a table as `name.md`, `name.csv` and `name.tex`.

    Args:
        folder: made if missing.
        name: the files' stem, and the LaTeX label behind `tab:`.
        frame: cells of text, ready formatted. An index other than 0, 1, 2, ... is the first column.
        title: the line above the table; the CSV, made for machines, has it only when simulated.
        footnotes: lines below the table in Markdown and LaTeX.
        simulated: stamp all three as made from simulated data.

    Returns:
        The Markdown.

    Raises:
        TypeError: a cell is not text.
        UserError: the disk is full or not writable.
    """
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    rows = [[str(column) for column in frame.columns], *frame.to_numpy(object).tolist()]
    for row in rows:
        for column, cell in zip(rows[0], row, strict=True):
            if not isinstance(cell, str):
                raise TypeError(f"table {name}, column {column}: {cell!r} should be text, ready formatted")
    title = f"SIMULATED DATA: {title}" if simulated else title
    to_right = [all(NUMBER.fullmatch(cell) for cell in column) for column in zip(*rows[1:], strict=True)]
    to_right = to_right or [False] * len(rows[0])
    texts = {
        ".md": _markdown(rows, to_right, title, footnotes),
        ".csv": _csv(rows, title if simulated else ""),
        ".tex": _latex(rows, to_right, title, footnotes, name),
    }
    for suffix, text in texts.items():
        write = partial(Path.write_text, data=text, encoding="utf-8", newline="\n")
        write_aside(Path(folder) / (name + suffix), write)
    return texts[".md"]


def _markdown(rows: list[list[str]], to_right: list[bool], title: str, footnotes: Sequence[str]) -> str:
    rows = [[re.sub(r"([|\\])", r"\\\1", cell).replace("\n", " ") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, to_right, strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (w - 1) + ":" if r else "-" * w for w, r in zip(widths, to_right, strict=True)]
    lines = [f"**{title}**", "", line(rows[0]), line(rule), *map(line, rows[1:])]
    lines += ["", *(f"- {note}" for note in footnotes)] if footnotes else []
    return "\n".join(lines) + "\n"


def _csv(rows: list[list[str]], comment: str) -> str:
    text = io.StringIO()
    if comment:
        text.write(f"# {comment}\n")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _latex(rows: list[list[str]], to_right: list[bool], title: str, footnotes: Sequence[str], name: str) -> str:
    def escape(text: str) -> str:
        return "".join(LATEX.get(letter, letter) for letter in text)

    # {} keeps a cell that begins with [ from being read as the optional argument of the \\ before it
    head, *body = [
        "  " + " & ".join("{}" + escape(c) if c[:1] == "[" else escape(c) for c in row) + r" \\" for row in rows
    ]
    notes = [rf"\par\smallskip{{\footnotesize {escape(note)}}}" for note in footnotes]
    columns = "".join("r" if right else "l" for right in to_right)
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(title)}}}",
        rf"\label{{tab:{name}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *notes,
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"

"""Tables read back by other programs' readers."""

import csv
import io
import re
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eegjax.report.tables import write_table

FRAME = pd.DataFrame(
    {"accuracy (%)": ["77.0", "–"], "κ [95 %]": ["0.694 [0.680, 0.740]", "0.7 ± 0.1"], "a|b_c": ["CNN & Co", "x"]},
    index=pd.Index(["CNN", "RNN"], name="model"),
)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), include_characters=" |\\"), max_size=12).map(
    str.strip
)


def markdown_cells(text: str) -> list[list[str]]:
    """The cells that a CommonMark reader sees."""
    markdown_it = pytest.importorskip("markdown_it")
    tokens = markdown_it.MarkdownIt("zero", {}).enable(["table", "escape"]).parse(text)
    rows: list[list[str]] = []
    for before, token in pairwise(tokens):
        if before.type == "tr_open":
            rows.append([])
        if before.type in ("th_open", "td_open"):
            rows[-1].append("".join(child.content for child in token.children))
    return rows


def test_golden_markdown(tmp_path):
    text = write_table(tmp_path, "results", FRAME, "Results", ["dropout on at test", "second"], simulated=True)
    assert text == (
        "**SIMULATED DATA: Results**\n"
        "\n"
        "| model | accuracy (%) |             κ [95 %] | a\\|b_c   |\n"
        "| ----- | -----------: | -------------------: | -------- |\n"
        "| CNN   |         77.0 | 0.694 [0.680, 0.740] | CNN & Co |\n"
        "| RNN   |            – |            0.7 ± 0.1 | x        |\n"
        "\n"
        "- dropout on at test\n"
        "- second\n"
    )
    assert (tmp_path / "results.md").read_text(encoding="utf-8") == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.csv", "results.md", "results.tex"]


@settings(max_examples=40)
@given(cells=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4), header=st.tuples(TEXT, TEXT))
@example(cells=[("", "|[")], header=("", ""))
@example(cells=[("a\\|b", "\\"), ("|", "1.5")], header=("x\\", "*y*"))
def test_read_back(tmp_path_factory, cells, header):
    """Markdown and CSV give back what went in; in LaTeX no special character stays bare."""
    folder = tmp_path_factory.mktemp("tables")
    frame = pd.DataFrame(cells, dtype=object)
    frame.columns = list(header)
    text = write_table(folder, "t", frame, "A title")
    rows = [list(header), *map(list, cells)]
    assert markdown_cells(text) == rows
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in table}) == 1
    assert list(csv.reader(io.StringIO((folder / "t.csv").read_text(encoding="utf-8")))) == rows

    body = re.search(r"\\toprule\n(.*)\\bottomrule", (folder / "t.tex").read_text(encoding="utf-8"), re.DOTALL)[1]
    for line in body.replace("\\midrule\n", "").splitlines():
        assert line.endswith(r" \\")
        inside = re.sub(r"\$\\[a-z]+\$|\$-\$|\\[a-z]+\{[23]?\}|\\[&%$#_{}]", "", line.removesuffix(r" \\"))
        inside = inside.replace("{}[", "[")  # what keeps a bracket from being an argument
        assert inside.count("&") == 1
        assert not re.search(r"[%$#_{}~^\\<>|]", inside)


def test_latex_is_a_whole_table(tmp_path):
    write_table(tmp_path, "results", FRAME, "50 % & more", ["κ ≥ 0.6"], simulated=True)
    text = (tmp_path / "results.tex").read_text(encoding="utf-8")
    assert r"\caption{SIMULATED DATA: 50 \% \& more}" in text
    assert r"\begin{tabular}{lrrl}" in text
    assert r"CNN & 77.0 & 0.694 [0.680, 0.740] & CNN \& Co \\" in text
    assert r"{\footnotesize $\kappa$ $\ge$ 0.6}" in text
    for environment in ("table", "tabular"):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") == 1


def test_simulated_csv_is_read_by_pandas(tmp_path):
    write_table(tmp_path, "results", FRAME, "Results", simulated=True)
    assert (tmp_path / "results.csv").read_text(encoding="utf-8").startswith("# SIMULATED DATA: Results\n")
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "results.csv", comment="#", index_col="model", dtype=str), FRAME
    )


def test_real_data_carries_no_stamp(tmp_path):
    write_table(tmp_path, "results", FRAME, "Results")
    assert not any("SIMULATED" in path.read_text(encoding="utf-8") for path in tmp_path.iterdir())


def test_cells_must_be_text(tmp_path):
    with pytest.raises(TypeError, match=r"column kappa: 0\.5 should be text"):
        write_table(tmp_path, "results", pd.DataFrame({"kappa": [0.5]}), "Results")
    assert not list(tmp_path.iterdir())


def test_empty_table(tmp_path):
    assert "| model | kappa |" in write_table(tmp_path, "none", pd.DataFrame(columns=["model", "kappa"]), "Nothing")

"""The page as a parser and, where there is one, a browser see it; its tables against the CSV of the same tables."""

import base64
import csv
import json
import os
import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from eegjax.errors import UserError
from eegjax.files import write_json
from eegjax.report.figures import draw_confusion
from eegjax.report.page import write_page
from eegjax.report.tables import write_table

VOID = ("meta", "link", "img", "br")
NASTY = "<script>alert('x')</script> & | \\ \"quoted\" κ ]]> <!-- -->"
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), include_characters=" |\\<&"), max_size=12)
START = {
    "time": "2026-01-02T03:04:05+00:00",
    "command": ["launch/main.py", "--config=sleep.py:demo", "--config.data.root=/home/a b/$x"],
    "packages": {"jax": "0.10.2", "orbax-checkpoint": "0.12.8"},
    "git_commit": "0123abcd",
    "devices": ["cpu:0"],
    "processes": 1,
    "xla_flags": "",
}
FOLD = {"name": "subject-b", "leak": "", "train": [0, 1, 2], "validation": [], "test": [3, 4]}
FOLD |= {"train_groups": ["a", "c"], "validation_groups": [], "test_groups": ["b"]}


class Reader(HTMLParser):
    """What the page holds; every tag must be closed in its turn."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.tables: list[list[list[str]]] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag][-1] += data
        if {"th", "td"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def pairs(self, key: str) -> dict[str, str]:
        """The first table of names and values that has this name."""
        return next(rows for rows in ({row[0]: row[1] for row in table} for table in self.tables) if key in rows)


def csv_rows(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return rows[1:] if rows[0][0].startswith("# ") else rows


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder as a study leaves it, in small."""
    folder = tmp_path / "run"
    metrics = {"interval": "bootstrap over subjects (1000 draws)"}
    for name, value in (
        ("accuracy", 0.7),
        ("kappa", None),
        ("other_net_accuracy", 0.61),
        ("difference_to_other_net", 0.09),
    ):
        metrics |= {name: value, f"{name}_low": None if value is None else value - 0.1, f"{name}_high": 0.9}
    metrics |= {"simulated": True, "n_examples": 5, "n_subjects": 2, "seconds_total": 12.34}
    write_json(folder / "metrics.json", metrics)
    config = {"study": "sleep", "model": {"name": "net", "beside": ["other_net"]}, "data": {"root": ""}, "note": NASTY}
    write_json(folder / "config.json", {"hash": "feed0123", "canonical": {}, "config": config})
    recordings = [{"recording": f"R{k:02d}", "ch_names": ["Fpz-Cz"], "files": {"a.edf": "12ab"}} for k in range(78)]
    card = {"source": "PhysioNet", "licence": "ODC-By 1.0", "citation": "Kemp 2000, https://doi.org/10.1109/10.867928."}
    write_json(folder / "card.json", {**card, "unit": {"eeg": "µV"}, "recordings": recordings, "hash": "beef4567"})
    write_json(folder / "environment.json", {"starts": [START]})
    write_json(folder / "folds.json", [FOLD])
    frame = pd.DataFrame({"model": ["net", NASTY], "accuracy": ["0.700 [0.600, 0.900]", "–"], "a|b": ["", "\\|"]})
    write_table(folder / "tables", "results", frame, f"Results of {NASTY}", ["First.", f"- {NASTY}"], simulated=True)
    write_table(folder / "tables", "classes", pd.DataFrame({"class": ["W"], "n": ["12"]}), "Classes", simulated=True)
    draw_confusion(
        folder / "figures" / "confusion_matrix.png", {"net": np.eye(2, dtype=int)}, ["a", "b"], "Test epochs", True
    )
    described = {"Description": f"Night, µV, {NASTY}"}
    Figure(figsize=(5, 2)).savefig(folder / "figures" / "night.png", dpi=150, metadata=described)
    return folder


def test_well_formed_and_labelled(run):
    page = Reader(write_page(run, "A run"))
    assert page.source.startswith("<!DOCTYPE html>\n")
    assert page.all("html") == [{"lang": "en"}]
    assert {"charset": "utf-8"} in page.all("meta")
    assert any(meta.get("name") == "viewport" for meta in page.all("meta"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) == 1  # no level is skipped
    assert {cell.get("scope") for cell in page.all("th")} == {"col", "row"}
    order = ["Main numbers", "Tables", "Figures", "Configuration", "Data", "Folds", "Provenance", "How to repeat it"]
    assert page.texts["h2"] == order


def test_every_table_of_the_folder(run):
    page = Reader(write_page(run, "A run"))
    expected = [csv_rows(run / "tables" / f"{name}.csv") for name in ("results", "classes")]
    assert page.tables[:2] == expected  # results first
    assert page.texts["h3"] == [f"SIMULATED DATA: Results of {NASTY}", "SIMULATED DATA: Classes"]
    assert page.texts["li"] == ["First.", f"- {NASTY}"]
    sides = [cell.get("class") for cell in page.all("th")[:3]]
    assert sides == [None, "right", None]


@settings(max_examples=30)
@given(cells=st.lists(st.tuples(TEXT, TEXT), max_size=4), header=st.tuples(TEXT, TEXT), note=TEXT, title=TEXT)
def test_whatever_a_table_holds(tmp_path_factory, cells, header, note, title):
    folder = tmp_path_factory.mktemp("tables")
    frame = pd.DataFrame(cells, dtype=object, columns=["a", "b"])
    frame.columns = list(header)
    write_table(folder / "tables", "t", frame, title, [note])
    page = Reader(write_page(folder, title))
    assert page.tables == [[[cell.strip(" ") for cell in row] for row in csv_rows(folder / "tables" / "t.csv")]]
    assert (page.texts["h1"], page.texts["h3"], page.texts["li"]) == ([title], [title], [note])


def test_every_figure_of_the_folder(run):
    page = Reader(write_page(run, "A run"))
    images, files = page.all("img"), [run / "figures" / name for name in ("confusion_matrix.png", "night.png")]
    head = "data:image/png;base64,"
    assert [image["src"][: len(head)] for image in images] == [head, head]
    assert [base64.b64decode(image["src"][len(head) :], validate=True) for image in images] == [
        file.read_bytes() for file in files
    ]
    assert [image["alt"] for image in images] == page.texts["figcaption"] == ["Test epochs", f"Night, µV, {NASTY}"]
    assert (images[1]["width"], images[1]["height"]) == ("480", "192")  # 5 x 2 inches of 96 pixels


def test_nothing_is_run_and_nothing_is_fetched(run):
    page = Reader(write_page(run, NASTY))
    assert page.texts["title"] == [f"SIMULATED DATA: {NASTY}"]
    assert not page.all("script")
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name in ("srcset", "action", "style") for name in attributes)
        if tag != "a":
            assert all(attributes.get(name, "data:").startswith("data:") for name in ("src", "href"))
    assert not re.search(r"url\(|@import|https?:", page.texts["style"][0])
    assert [link["href"] for link in page.all("a")] == ["https://doi.org/10.1109/10.867928"]


def test_main_numbers_are_the_first_network_s(run):
    page = Reader(write_page(run, "A run"))
    assert page.texts["dt"] == ["accuracy", "kappa"]
    assert page.texts["dd"] == ["0.700 [0.600, 0.900]", "– [–, 0.900]"]
    assert "Network: net. 5 test examples of 2 subjects. In brackets: 95 % intervals, bootstrap" in page.source


def test_configuration_and_data(run):
    page = Reader(write_page(run, "A run"))
    configuration = page.pairs("data.root")
    del configuration["name"]  # the header
    assert configuration == {
        "data.root": '""',
        "model.beside": '["other_net"]',
        "model.name": "net",
        "note": NASTY,
        "study": "sleep",
    }
    assert list(configuration) == sorted(configuration)
    data = page.pairs("licence")
    assert (data["licence"], data["recordings"]) == ("ODC-By 1.0", "78")
    assert data["citation"] == "Kemp 2000, https://doi.org/10.1109/10.867928."
    assert page.pairs("unit.eeg")["unit.eeg"] == "µV"
    before, _ = page.source.split(">R77<")  # once, and folded away
    assert before.count("<details>") == before.count("</details>") + 1


@pytest.mark.parametrize("leak", ["", "the paper's <windows> overlap"])
def test_folds(run, leak):
    write_json(run / "folds.json", [FOLD | {"leak": leak}, FOLD | {"name": "second"}])
    page = Reader(write_page(run, "A run"))
    table = next(table for table in page.tables if table[0][0] == "fold")
    assert table[1:] == [[name, "3", "2", "0", "0", "2", "1", "b"] for name in ("subject-b", "second")]
    assert ("No group" in page.source) is not bool(leak)
    assert (f"Groups stand on two sides: {leak}" in "".join(page.texts["p"])) is bool(leak)


def test_repeat_gives_the_command_back(run):
    commit = "0123abcd-dirty"
    starts = [START, START | {"git_commit": commit, "xla_flags": "--a=1 --b", "time": "2026-02-03", "processes": 2}]
    write_json(run / "environment.json", {"starts": starts})
    page = Reader(write_page(run, "A run"))
    checkout, command = page.texts["pre"][0].splitlines()
    assert checkout == "git checkout 0123abcd"
    assert shlex.split(command) == ["XLA_FLAGS=--a=1 --b", "python", *START["command"]]
    for told in ("in no commit", "as 2 processes", "hash is feed0123", "hash is beef4567"):
        assert told in page.source
    provenance = page.pairs("jax")
    assert provenance["orbax-checkpoint"] == "0.12.8"  # the same both times: once
    assert provenance["time"] == "2026-01-02T03:04:05+00:00 → 2026-02-03"
    assert provenance["seconds total"] == "12.3"
    assert shlex.split(provenance["command"]) == START["command"]


@pytest.mark.parametrize("simulated", [True, False])
def test_only_simulated_data_is_marked(run, simulated):
    write_json(run / "metrics.json", {"simulated": simulated})
    shutil.rmtree(run / "tables")
    page = Reader(write_page(run, "A run"))
    assert ("SIMULATED DATA" in page.source) is simulated


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("metrics.json", {"Main numbers"}),
        ("config.json", {"Configuration"}),
        ("card.json", {"Data"}),
        ("folds.json", {"Folds"}),
        ("environment.json", {"How to repeat it"}),
        ("tables", {"Tables"}),
        ("figures", {"Figures"}),
    ],
)
def test_what_is_missing_is_left_out(run, name, without):
    whole = Reader(write_page(run, "A run")).texts["h2"]
    (shutil.rmtree if (run / name).is_dir() else os.remove)(run / name)
    assert set(whole) - set(Reader(write_page(run, "A run")).texts["h2"]) == without


def test_an_empty_folder(tmp_path):
    page = Reader(write_page(tmp_path, "Nothing"))
    assert page.texts["h1"] == ["Nothing"]
    assert "h2" not in page.texts


def test_what_a_paper_has_comes_first(run):
    """The results, then the paper's tables and figures; a part of several runs after the other, named on the page."""
    for kind, names in (("tables", ["results", "classes"]), ("figures", ["night", "confusion_matrix"])):
        for name in names:
            for path in (run / kind).glob(f"{name}.*"):
                for start in ("two_runs_", "a_run_"):
                    shutil.copyfile(path, path.with_name(start + path.name))
    shutil.copyfile(run / "tables" / "classes.md", run / "tables" / "paper_table_1.md")
    shutil.copyfile(run / "tables" / "classes.md", run / "tables" / "a_run_paper_table_1.md")
    shutil.copyfile(run / "figures" / "night.png", run / "figures" / "a_run_figure_1.png")
    page = Reader(write_page(run, "A run", parts={"two_": "nothing", "two_runs_": "two runs", "a_run_": "a run"}))
    results, classes = f"SIMULATED DATA: Results of {NASTY}", "SIMULATED DATA: Classes"
    first = [results, classes, classes]  # the paper's is a copy of the classes
    second = [f"two runs: {title}" for title in (results, classes)]
    assert page.texts["h3"] == [*first, *second, *[f"a run: {title}" for title in first]]
    night = f"Night, µV, {NASTY}"
    assert page.texts["figcaption"] == [
        *("Test epochs", night),
        *("two runs: Test epochs", f"two runs: {night}"),
        *(f"a run: {night}", "a run: Test epochs", f"a run: {night}"),
    ]


def test_tables_of_several_runs(run):
    """A folder of tables and figures alone, in the order asked for, with the runs that they come from."""
    for name in ("metrics", "config", "card", "folds", "environment"):
        (run / f"{name}.json").unlink()
    provenance = {
        "command": ["launch/tables.py", "--paper=sleep"],
        "simulated": True,
        "runs": [{"hash": "aa"}, {"hash": "bb"}],
    }
    tables = [run / "tables" / f"{name}.md" for name in ("classes", "results")]
    page = Reader(write_page(run, "Tables", tables, [], provenance))
    assert page.texts["h2"] == ["Tables", "Provenance", "How to repeat it"]
    assert page.tables[0] == csv_rows(run / "tables" / "classes.csv")
    assert page.pairs("runs.1.hash")["runs.2.hash"] == "bb"
    assert page.texts["pre"] == ["python launch/tables.py --paper=sleep"]
    assert page.all("p")[0] == {"class": "simulated"}


def test_the_same_folder_gives_the_same_page(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    first = write_page(run, "A run")
    assert first == run / "report.html"
    assert write_page(other, "A run").read_bytes() == first.read_bytes() == write_page(run, "A run").read_bytes()


def test_leftovers_of_killed_writers_are_no_tables(run):
    (run / "tables" / ".results.md.1.part.md").write_text("**half")
    (run / "figures" / ".night.png.1.part.png").write_bytes(b"half")
    assert len(Reader(write_page(run, "A run")).all("img")) == 2


@pytest.mark.parametrize(
    "text", ["", "# Title\n\n| a |\n| - |\n", "**T**\n\n| a | b |\n| --- | --- |\n| 1 |\n", "**T**\n\n| a |\n"]
)
def test_a_table_in_another_form_is_refused(run, text):
    (run / "tables" / "classes.md").write_text(text)
    with pytest.raises(UserError, match=r"classes\.md: not a table as eegjax writes it; delete it"):
        write_page(run, "A run")
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("keep", [0, 20, 5000])
def test_a_broken_figure_is_refused(run, keep):
    path = run / "figures" / "confusion_matrix.png"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"confusion_matrix\.png: not readable as PNG"):
        write_page(run, "A run")


MEASURE = """<script>addEventListener("load", () => { document.title = JSON.stringify({
  images: Array.from(document.images, image => image.naturalWidth),
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  inside: Math.max(...Array.from(document.querySelectorAll(".scroll"), box => box.scrollWidth - box.clientWidth)),
}) })</script></body>"""


def test_in_a_browser(run, tmp_path, browse):
    """No error on the console, no image missing, and wide tables scroll by themselves on a narrow screen."""
    wide = pd.DataFrame({f"column_{k}": ["0.700 [0.600, 0.900]"] for k in range(9)})
    write_table(run / "tables", "wide", wide, "Wide")
    page = write_page(run, "A run")
    dom, console = browse(page)
    assert "How to repeat it" in dom
    assert console == []

    measured = tmp_path / "measured.html"  # the page's own policy forbids the script that measures it
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    measured.write_text(text.replace("</body>", MEASURE), encoding="utf-8")
    dom, _ = browse(measured)
    numbers = json.loads(re.search(r"<title>(.*)</title>", dom)[1])
    assert len(numbers["images"]) == 2
    assert min(numbers["images"]) > 0
    assert numbers["wide"] <= 0
    assert numbers["inside"] > 100

    broken = tmp_path / "broken.html"
    broken.write_text(page.read_text(encoding="utf-8").replace("</body>", MEASURE), encoding="utf-8")
    assert len(browse(broken)[1]) == 1  # the policy holds, and the console is heard

"""Sleep-EDF from a small mirror on this machine, and the table of nights against what is known of them."""

import csv
import datetime
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mne
import pytest
from mirror import Mirror, named, serving

from eegjax.data.download import web
from eegjax.data.sleep_edf import fetch as sleep_edf_files
from eegjax.data.sleep_edf.fetch import fetch_sleep_edf, read_lights_off
from eegjax.data.sleep_edf.reader import find_pairs
from eegjax.errors import UserError

TABLE = Path(mne.__file__).parent / "datasets" / "sleep_physionet" / "age_records.csv"
with open(TABLE, newline="") as file:
    ROWS = list(csv.DictReader(file))
NAMES = [f"sleep-cassette/{row['fname']}" for row in ROWS if int(row["subject"]) < 20]
OTHERS = ["RECORDS", "SC-subjects.xls", "sleep-cassette/SC4201E0-PSG.edf", "sleep-telemetry/ST7011J0-PSG.edf"]


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setattr(web, "BACKOFF_S", 0.0)
    with serving("files/sleep-edfx/1.0.0", named([*NAMES, *OTHERS])) as mirror:
        yield mirror


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_39_nights_come_and_the_ordinary_reader_finds_them(mirror: Mirror, tmp_path: Path, slash: str) -> None:
    paths = fetch_sleep_edf(tmp_path, 4, mirror.url + slash)
    assert [str(path.relative_to(tmp_path)) for path in paths] == sorted(NAMES)
    assert all(path.read_text() == str(path.relative_to(tmp_path)) for path in paths)
    assert sorted(mirror.asked) == ["SHA256SUMS.txt", *sorted(NAMES)]
    pairs = find_pairs(tmp_path)
    assert len(pairs) == 39
    assert {pair.subject for pair in pairs} == {f"SC4{n:02d}" for n in range(20)}
    assert [pair.recording for pair in pairs if pair.subject == "SC413"] == ["SC4131"]
    assert all(read_lights_off(pair.recording) for pair in pairs)


def test_the_second_time_only_the_list_is_asked_for(mirror: Mirror, tmp_path: Path) -> None:
    paths = fetch_sleep_edf(tmp_path, 4, mirror.url)
    paths[5].unlink()
    mirror.asked.clear()
    assert fetch_sleep_edf(tmp_path, 4, mirror.url) == paths
    assert mirror.asked == ["SHA256SUMS.txt", str(paths[5].relative_to(tmp_path))]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([name for name in NAMES if "SC4072" not in name], "has no sleep-cassette/SC4072E0-PSG.edf .2 such"),
        ([*NAMES, "sleep-cassette/SC4132E0-PSG.edf"], "has an unknown sleep-cassette/SC4132E0-PSG.edf .1 such"),
        ([], "has no sleep-cassette/SC4001E0-PSG.edf .78 such"),
    ],
    ids=["a night less", "a night more", "nothing"],
)
def test_another_set_of_nights_is_an_error_before_any_is_fetched(
    mirror: Mirror, tmp_path: Path, names: list[str], said: str
) -> None:
    mirror.bodies = named(names)
    with pytest.raises(UserError, match=said):
        fetch_sleep_edf(tmp_path, 4, mirror.url)
    assert mirror.asked == ["SHA256SUMS.txt"]


def test_a_page_instead_of_the_list_is_an_error(mirror: Mirror, tmp_path: Path) -> None:
    mirror.bodies = named(["<html>"])
    with pytest.raises(UserError, match=r"SHA256SUMS\.txt, line 1"):
        fetch_sleep_edf(tmp_path, 4, mirror.url)


def test_physionet_is_asked_over_https() -> None:
    assert sleep_edf_files.BASE_URL == "https://physionet.org/files/sleep-edfx/1.0.0/"


def test_the_nights_are_those_of_the_published_hypnograms(data_root: Path) -> None:
    path = data_root / "sleep" / "sleep_edf_20_hypnograms" / "hypnograms_39_nights.json"
    nights = json.loads(path.read_text())["nights"]
    assert {name[:6] for name in sleep_edf_files._expected_names()} == {name[:6] for name in nights}


@pytest.mark.parametrize(
    ("recording", "time"),
    [
        ("SC4001", datetime.time(0, 38)),
        ("SC4002", datetime.time(21, 57)),
        ("SC4131", datetime.time(0, 14)),
        ("SC4132", None),
        ("SC400", None),
        ("SC4001E0", None),
        ("night", None),
        ("", None),
    ],
)
def test_lights_off(recording: str, time: datetime.time | None) -> None:
    assert read_lights_off(recording) == time


def test_every_night_of_the_table_has_its_time() -> None:
    for row in ROWS:
        assert str(read_lights_off(row["fname"][:6])) == row["lights off"]


def test_lights_off_does_not_import_mne() -> None:
    program = """
import sys
from eegjax.data.sleep_edf.fetch import read_lights_off
assert read_lights_off("SC4001")
assert "mne" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)

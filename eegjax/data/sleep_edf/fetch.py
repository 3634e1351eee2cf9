"""Sleep-EDF Expanded at PhysioNet: the files of its first 20 subjects, and when the lights went off.

Kemp et al. 2000, IEEE-BME 47(9):1185-1194; Goldberger et al. 2000, Circulation 101(23):e215-e220; ODC-By. PhysioNet's
`SHA256SUMS.txt` says what is there; the table that MNE ships (`age_records.csv`, made from `SC-subjects.xls`) says what
must be there, and the lights-off times, which the EDF files don't have.
"""

import datetime
import functools
import importlib.util
import re
from pathlib import Path

import pandas as pd

from eegjax.data.download.files import Item, fetch_all, read_checksums
from eegjax.data.download.web import read_text
from eegjax.errors import UserError

BASE_URL = "https://physionet.org/files/sleep-edfx/1.0.0/"
N_SUBJECTS = 20
_FOLDER = "sleep-cassette"
_NAME = re.compile(rf"{_FOLDER}/(SC4[01]\d[12][A-Z][A-Z0-9]-(?:PSG|Hypnogram)\.edf)")
_MAX_BYTES = 2**28  # a night has about 50 MB


def fetch_sleep_edf(root: Path, workers: int, base_url: str = BASE_URL) -> list[Path]:
    """Fetch the 39 nights of the first 20 subjects of the sleep-cassette study: 78 files, about 2 GB.

    Args:
        root: the files get to `root/sleep-cassette`; right ones that are there stay.
        workers: how many files at a time.
        base_url: PhysioNet, or a mirror of the same layout.

    Returns:
        The files, sorted by name.

    Raises:
        UserError: the server's list lacks a night or has one more than the subjects have; and what `fetch_all` raises.
    """
    base_url = base_url.rstrip("/") + "/"
    where = f"{base_url}SHA256SUMS.txt"
    checksums = read_checksums(read_text(where), where)
    listed = {found[1]: sha256 for name, sha256 in checksums.items() if (found := _NAME.fullmatch(name))}
    different = sorted(_expected_names() ^ set(listed))
    if different:
        what = "has no" if different[0] not in listed else "has an unknown"
        raise UserError(
            f"{where}: it {what} {_FOLDER}/{different[0]} ({len(different)} such differences), expected the "
            f"{len(_expected_names())} files of Sleep-EDF's first {N_SUBJECTS} subjects; check the address"
        )
    items = [
        Item(f"{base_url}{_FOLDER}/{name}", Path(root) / _FOLDER / name, listed[name], _MAX_BYTES)
        for name in sorted(listed)
    ]
    return fetch_all(items, workers, "Sleep-EDF")


def read_lights_off(recording: str) -> datetime.time | None:
    """When the lights went off in a night of Sleep-EDF's cassette study.

    Args:
        recording: as `find_pairs` names it, such as SC4001.

    Returns:
        The time of day, on the clock that the EDF's start is on; None for any other recording.
    """
    times = _records().loc[lambda table: table["fname"].str[:6] == recording, "lights off"]
    return datetime.time.fromisoformat(times.iloc[0]) if len(times) else None


@functools.cache
def _records() -> pd.DataFrame:
    """A row per file: subject (0 to 82), night, lights off (HH:MM:SS), fname, and others."""
    mne = importlib.util.find_spec("mne")  # importing it takes a second
    assert mne is not None
    assert mne.origin is not None
    return pd.read_csv(Path(mne.origin).parent / "datasets" / "sleep_physionet" / "age_records.csv")


def _expected_names() -> set[str]:
    return set(_records().loc[lambda table: table["subject"] < N_SUBJECTS, "fname"])

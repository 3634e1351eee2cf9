"""PhysioNet's EEG Motor Movement/Imagery: the files of its imagery runs.

Schalk et al. 2004, IEEE-BME 51(6):1034-1043; Goldberger et al. 2000, Circulation 101(23):e215-e220; ODC-By. The
server's `SHA256SUMS.txt` says what is there.
"""

from pathlib import Path

from eegjax.data.download.files import Item, fetch_all, read_checksums
from eegjax.data.download.web import read_text
from eegjax.data.eegmmidb.reader import RUNS
from eegjax.errors import UserError

BASE_URL = "https://physionet.org/files/eegmmidb/1.0.0/"
N_SUBJECTS = 109
_MAX_BYTES = 2**24  # a run has 2.6 MB
_NAMES = [f"S{subject:03d}/S{subject:03d}R{run:02d}.edf" for subject in range(1, N_SUBJECTS + 1) for run in RUNS]


def fetch_eegmmidb(root: Path, workers: int, base_url: str = BASE_URL) -> list[Path]:
    """Fetch the six imagery runs of all 109 subjects: 654 files, about 1.7 GB.

    Args:
        root: the files get to `root/S001` and so on; right ones that are there stay.
        workers: how many files at a time.
        base_url: PhysioNet, or a mirror of the same layout.

    Returns:
        The files, sorted by name.

    Raises:
        UserError: the server's list lacks a run; and what `fetch_all` raises.
    """
    base_url = base_url.rstrip("/") + "/"
    where = f"{base_url}SHA256SUMS.txt"
    checksums = read_checksums(read_text(where), where)
    missing = [name for name in _NAMES if name not in checksums]
    if missing:
        raise UserError(
            f"{where}: it has no {missing[0]} ({len(missing)} such files), expected the {len(_NAMES)} imagery runs of "
            f"{N_SUBJECTS} subjects; check the address"
        )
    items = [Item(f"{base_url}{name}", Path(root) / name, checksums[name], _MAX_BYTES) for name in sorted(_NAMES)]
    return fetch_all(items, workers, "EEGMMIDB")

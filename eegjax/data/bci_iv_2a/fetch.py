"""BCI Competition IV 2a at BNCI Horizon 2020 (001-2014): two MAT files for each of nine people; CC BY-ND 4.0.

Brunner et al. 2008; Tangermann et al. 2012, Front. Neurosci. 6:55. The page https://bnci-horizon-2020.eu/database/data-sets
leads to the server of Graz University of Technology.

No checksums of these files are published. So HTTPS alone vouches for the sender, and each file is read as the study
reads it and must hold the 288 trials of its session, 72 of each class, before it gets its name. Its own SHA-256 then
stands in `SHA256SUMS.txt` beside it, and a file that later differs is an error. What broke off begins anew (a file has
about 40 MB): without a checksum nobody could tell whether two parts are of the same file.
"""

import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np

from eegjax.data.bci_iv_2a.reader import CLASSES, File, read
from eegjax.data.download.files import read_checksums
from eegjax.data.download.web import BrokenError, StoppedError, keep_trying, open_url, read_chunks, total_bytes
from eegjax.errors import UserError
from eegjax.files import disk_errors, hash_file, locked, remove_stale, write_aside

BASE_URL = "https://lampx.tugraz.at/~bci/database/001-2014/"
N_TRIALS_PER_CLASS = 72
_SUBJECTS = tuple(f"A{number:02d}" for number in range(1, 10))
_SESSIONS = ("E", "T")
_FOLDER = "001-2014"
_SUMS = "SHA256SUMS.txt"
_MAX_BYTES = 2**27
_ONE_AT_A_TIME = threading.Lock()  # reading a file takes some hundred MB, and the list has one writer


def fetch_bci_iv_2a(root: Path, workers: int, base_url: str = BASE_URL) -> list[Path]:
    """Fetch the 18 sessions: about 750 MB.

    Args:
        root: the files get to `root/001-2014`; those that are there are checked and stay.
        workers: how many files at a time.
        base_url: BNCI's server, or a mirror of the same layout.

    Returns:
        The files, sorted by name.

    Raises:
        UserError: the address is unsafe; the server refuses, stays silent or doesn't end; a file isn't such a session,
            or isn't what it was when it was fetched; another process fetches the same; or the disk is full. The first
            error stops the others; whole files stay.
    """
    from tqdm import tqdm

    folder = Path(root) / _FOLDER
    files = [File("bnci", who, session, folder / f"{who}{session}.mat") for who in _SUBJECTS for session in _SESSIONS]
    stopped = threading.Event()
    complaint = f"{folder}: another process fetches into it now; wait for it, then start this command again"
    with (
        locked(folder / ".fetching", complaint),
        tqdm(desc=f"BCI IV 2a: {len(files)} files", unit="B", unit_scale=True, mininterval=0.5) as bar,
        ThreadPoolExecutor(max(1, workers)) as threads,
    ):
        try:
            remove_stale(folder)
            url = base_url.rstrip("/")
            done = [threads.submit(_fetch, file, f"{url}/{file.path.name}", bar, stopped) for file in files]
            wait(done, return_when=FIRST_EXCEPTION)
        finally:
            stopped.set()
            threads.shutdown(cancel_futures=True)
    errors = [error for each in done if not each.cancelled() and (error := each.exception())]
    for error in sorted(errors, key=lambda error: isinstance(error, StoppedError)):  # what stopped the others first
        raise error
    return [file.path for file in files]


def _fetch(file: File, url: str, bar: Any, stopped: threading.Event) -> None:
    if stopped.is_set():
        raise StoppedError
    try:
        if file.path.exists():
            _check_again(file)
        else:
            write_aside(file.path, lambda aside: _receive(file, url, aside, bar, stopped))
        _remember(file.path)
    except BaseException:
        stopped.set()
        raise


def _receive(file: File, url: str, aside: Path, bar: Any, stopped: threading.Event) -> None:
    """Fill a file that hasn't its name yet, and check what came."""
    n_most = 0

    def attempt() -> None:
        nonlocal n_most
        with open_url(url, {}) as response, open(aside, "wb") as part:
            announced = total_bytes(response) or 0
            for chunk in read_chunks(response):
                if stopped.is_set():
                    raise StoppedError
                part.write(chunk)
                n_most = max(n_most, part.tell())
                bar.update(len(chunk))
                if max(announced, part.tell()) > _MAX_BYTES:
                    raise UserError(f"{url}: more than {_MAX_BYTES} bytes, expected no more; check the address")
            if part.tell() < announced:
                raise BrokenError("the connection was closed early")

    keep_trying(attempt, lambda: n_most, url, stopped)
    try:
        _check_session(file._replace(path=aside))
    except UserError as error:
        raise UserError(
            f"{url}: what came is no session of BNCI's 001-2014, and was deleted ({error}); check the address"
        ) from error


def _check_session(file: File) -> None:
    """Raise unless the file holds a session as it is published: 288 trials, 72 of each class."""
    with _ONE_AT_A_TIME:
        labels = [recording.table["label"].to_numpy() for recording in read(file, (0.0, 1.0))]
    counts = np.bincount(np.concatenate(labels), minlength=len(CLASSES)).tolist()
    if counts != [N_TRIALS_PER_CLASS] * len(CLASSES):
        raise UserError(f"{file.path}: {counts} trials of the classes, expected {N_TRIALS_PER_CLASS} of each")


def _check_again(file: File) -> None:
    """Raise if a file that is there isn't what was fetched, or is no session where nothing was noted of it."""
    path = file.path
    noted = _noted(path.parent).get(path.name)
    if noted is None:
        _check_session(file)
    elif (found := hash_file(path)) != noted:
        raise UserError(
            f"{path}: it has changed since it was fetched (SHA-256 {found}, {_SUMS} beside it says {noted}), and is "
            "not overwritten; move it away and start the same command again"
        )


def _noted(folder: Path) -> dict[str, str]:
    path = folder / _SUMS
    if not path.exists():
        return {}
    with disk_errors(path):
        return read_checksums(path.read_text(encoding="utf-8"), str(path))


def _remember(path: Path) -> None:
    """Note the SHA-256 of a file that is right, as `sha256sum -c` reads it."""
    with _ONE_AT_A_TIME:
        noted = _noted(path.parent)
        if path.name not in noted:
            noted[path.name] = hash_file(path)
            text = "".join(f"{noted[name]}  {name}\n" for name in sorted(noted))
            write_aside(path.with_name(_SUMS), lambda aside: aside.write_text(text, encoding="utf-8"))

"""The header of an EDF or BDF file, checked against the file's size.

Readers built on it get what common EDF libraries pass over in silence: a file cut short, a recording that was never
closed, a unit or a scale that can't be. Format: Kemp et al. 1992, https://www.edfplus.info/specs/edf.html; BioSemi's
BDF differs in its first eight bytes and in having three bytes per sample.
"""

from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from eegjax.errors import UserError

_FIXED_WIDTHS = (8, 80, 80, 8, 8, 8, 44, 8, 8, 4)
_SIGNAL_WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
ANNOTATIONS_LABEL = "EDF Annotations"
ANNOTATIONS_LABELS = (ANNOTATIONS_LABEL, "BDF Annotations")


class EdfSignalHeader(NamedTuple):
    """One signal: `scale` is physical units per digital step, `n_samples` its samples in one data record."""

    label: str
    unit: str
    scale: float
    n_samples: int


class EdfHeader(NamedTuple):
    """An EDF header as it stands in the file; `start_date` is dd.mm.yy and `start_time` hh.mm.ss.

    `kind` is the reserved field: `EDF+C` (continuous), `EDF+D` (with gaps) or empty (plain EDF); in BDF `BDF+C`,
    `BDF+D` or `24BIT`.
    """

    patient: str
    start_date: str
    start_time: str
    kind: str
    n_records: int
    record_s: float
    signals: tuple[EdfSignalHeader, ...]


def read_edf_header(path: Path) -> EdfHeader:
    """Read the header of an EDF, EDF+ or BDF file and check that the file holds all the data it announces.

    Args:
        path: the EDF file, or the BDF file where its name ends in `.bdf`.

    Returns:
        The header.

    Raises:
        UserError: the file can't be opened, is no EDF (or BDF), is cut short in the header or in the data, is longer
            than its header announces, or was never closed by the recording software (-1 records).
    """
    bdf = Path(path).suffix.lower() == ".bdf"
    version, kind, sample_bytes = ("\xffBIOSEMI", "a BDF", 3) if bdf else ("0", "an EDF", 2)
    try:
        with open(path, "rb") as file:
            fixed = file.read(256).decode("latin-1")
            if len(fixed) == 256 and fixed[:8].strip() != version:
                raise UserError(
                    f"{path}: not {kind} file: starts with {fixed[:8]!r}, expected {version!r}; convert it to EDF"
                )
            n_signals = max(1, int(_number(path, "number of signals", fixed[252:256]))) if len(fixed) == 256 else 1
            per_signal = file.read(256 * n_signals).decode("latin-1")
        n_bytes = path.stat().st_size
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); check the path and its permissions") from None
    if len(per_signal) < 256 * n_signals:
        raise UserError(
            f"{path}: truncated in the header: expected {256 * (n_signals + 1)} bytes of header, "
            f"the file has {n_bytes} bytes; fetch it again"
        )
    header = _parse(path, fixed, per_signal)
    _check_size(path, header, sample_bytes, n_bytes)
    return header


def _parse(path: Path, fixed: str, per_signal: str) -> EdfHeader:
    _, patient, _, start_date, start_time, _, kind, n_records, record_s, _ = _split(fixed, _FIXED_WIDTHS)
    n_signals = len(per_signal) // 256
    fields = _split(per_signal, tuple(width for width in _SIGNAL_WIDTHS for _ in range(n_signals)))
    columns = [fields[i : i + n_signals] for i in range(0, len(fields), n_signals)]
    signals = []
    for label, _, unit, *limits, _, n_samples, _ in zip(*columns, strict=True):
        names = ("physical minimum", "physical maximum", "digital minimum", "digital maximum")
        low, high, digital_low, digital_high = (
            _number(path, f"{name} of signal '{label}'", limit) for name, limit in zip(names, limits, strict=True)
        )
        scale = (high - low) / (digital_high - digital_low) if digital_high != digital_low else float("nan")
        count = int(_number(path, f"samples per record of signal '{label}'", n_samples))
        signals.append(EdfSignalHeader(label, unit, scale, count))
    return EdfHeader(
        patient,
        start_date,
        start_time,
        kind,
        int(_number(path, "number of data records", n_records)),
        _number(path, "duration of a data record", record_s),
        tuple(signals),
    )


def _check_size(path: Path, header: EdfHeader, sample_bytes: int, n_bytes: int) -> None:
    header_bytes = 256 * (len(header.signals) + 1)
    record_bytes = sample_bytes * sum(signal.n_samples for signal in header.signals)
    if header.n_records < 0:
        n_whole = (n_bytes - header_bytes) // max(record_bytes, 1)
        raise UserError(
            f"{path}: never closed by the recording software: header announces {header.n_records} records, the file "
            f"holds {n_whole}; repair it there, or write {n_whole} into bytes 236-243 of the header"
        )
    announced = header_bytes + header.n_records * record_bytes
    if n_bytes != announced:
        found = "truncated" if n_bytes < announced else "longer than its header says"
        raise UserError(
            f"{path}: {found}: header announces {header.n_records} records ({announced} bytes), "
            f"the file has {n_bytes} bytes; fetch it again"
        )


def _split(text: str, widths: tuple[int, ...]) -> list[str]:
    ends = accumulate(widths)
    # Some writers fill up with NUL bytes where the format wants spaces.
    return [text[end - width : end].split("\0")[0].strip() for end, width in zip(ends, widths, strict=True)]


def _number(path: Path, field: str, text: str) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        raise UserError(
            f"{path}: header field '{field}' holds {text.strip()!r}, expected a number; fetch the file again"
        ) from None

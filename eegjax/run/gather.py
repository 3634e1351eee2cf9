"""A paper's tables and figures, gathered from the runs that they need."""

import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import pandas as pd
from ml_collections import ConfigDict

from eegjax.files import hash_of, write_aside
from eegjax.report.cells import format_interval
from eegjax.report.page import write_page
from eegjax.report.tables import write_table
from eegjax.run import folder as runs
from eegjax.run.finished import Finished, read
from eegjax.run.study import Study

HEADLINES = {
    "accuracy": "accuracy",
    "kappa": "Cohen's kappa",
    "macro_f1": "macro F1",
    "f1": "F1",
    "area": "area under F1",
}


def tables(config: ConfigDict, root: str | None, study: Study, launch: Callable[[ConfigDict], Path]) -> Path:
    """Print a paper's tables: every run that they need is found by its configuration's hash, or made now.

    Args:
        config: of the study and protocol, overrides applied.
        root: folder of the runs; None is `config.run.root`.
        study: the study.
        launch: runs a configuration, or finds its finished run.

    Returns:
        The folder `<root>/tables-<study>-<protocol>-<hash of the runs>`: tables, figures and one page of them all.

    Raises:
        UserError: as in any of the runs.
    """
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.run.root = root or config.run.root
    folders = {}
    rows = study.rows(config)
    for row, fields in rows.runs.items():
        if row:
            print(f"# {row}\n")
        folders[row] = launch(_with(config, fields))
    name = f"tables-{config.study}-{config.protocol}-{hash_of([folder.name for folder in folders.values()])}"
    out = Path(config.run.root) / name
    for row, folder in folders.items():
        copy(row, folder, out, rows.once)
    parts = {_prefix(row): row for row in folders if row}
    finished = {row: read(folder) for row, folder in folders.items()}
    simulated = next(iter(finished.values())).simulated
    if len(folders) > 1:
        print(_overview(finished, out / "tables", simulated))
    if compared := study.compare(folders, out):
        print(compared)
    provenance = {
        "command": sys.argv,
        "git_commit": runs.git_commit(),
        "simulated": simulated,
        "runs": ", ".join(str(folder) for folder in folders.values()),
    }
    title = f"{config.study}: the paper and ours, {config.protocol}"
    page = write_page(out, title, provenance=provenance, parts=parts)
    print(f"\nAll of it: {page}")
    return out


def _with(config: ConfigDict, fields: dict[str, object]) -> ConfigDict:
    one = config.copy_and_resolve_references()
    with one.unlocked():
        one.update_from_flattened_dict(fields)
    return one.lock()


def _prefix(row: str) -> str:
    """How the file names of a row begin."""
    return f"{re.sub(r'[^0-9A-Za-z]+', '_', row).strip('_')}_" if row else ""


def copy(row: str, folder: Path, out: Path, once: Sequence[str]) -> None:
    """Copy a run's tables and figures to `out`, named after their row.

    Args:
        row: what the run is called.
        folder: of the run.
        out: folder with `tables` and `figures`, made if missing.
        once: patterns of names that are left out: these are made once for all rows.
    """
    for kind in ("tables", "figures"):
        for path in sorted((folder / kind).glob("[!.]*")):
            if any(fnmatchcase(path.stem, pattern) for pattern in once):
                continue
            write_aside(out / kind / f"{_prefix(row)}{path.name}", partial(shutil.copyfile, path))


def _overview(runs: Mapping[str, Finished], out: Path, simulated: bool) -> str:
    """The headline numbers of every run's networks, a row each."""
    rows = []
    for row, run in runs.items():
        for model in run.answered:
            cells = {
                title: format_interval(*run.interval(model, name))
                for name, title in HEADLINES.items()
                if run.has(model, name)
            }
            rows.append({"run": row, "model": model, **cells})
    return write_table(out, "results", pd.DataFrame(rows), "All runs", (), simulated)

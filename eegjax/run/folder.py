"""The run folder: found by the hash of its configuration, owned by one run at a time, with what made it inside."""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from eegjax import __version__
from eegjax.errors import UserError
from eegjax.files import disk_errors, hash_file, hash_of, locked, read_json, write_json

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scipy", "mne", "scikit-learn", "pandas")


def canonical(config: ConfigDict, dataset_hash: str) -> dict[str, Any]:
    """What decides a run's results: the configuration without `run`, and contents instead of paths."""
    plain = json.loads(json.dumps(config.to_dict(), default=str))
    plain.pop("run", None)
    plain.get("data", {}).pop("root", None)
    weights = plain.get("model", {}).get("weights")
    if weights and Path(weights).is_file():
        plain["model"]["weights"] = hash_file(Path(weights))
    return {**plain, "dataset": dataset_hash}


def run_folder(config: ConfigDict, dataset_hash: str, workdir: str | None) -> Path:
    """The given folder, or `<root>/<study>-<protocol>-<hash>`, so that the same command finds the same folder."""
    if workdir:
        return Path(workdir)
    return Path(config.run.root) / f"{config.study}-{config.protocol}-{hash_of(canonical(config, dataset_hash))}"


@contextmanager
def opened(folder: Path, config: ConfigDict, dataset_hash: str) -> Iterator[Path]:
    """Own a run folder, with `config.json` and `environment.json` in it, for as long as the run lasts.

    Raises:
        UserError: the folder belongs to another configuration, or another run is in it now.
    """
    if jax.process_index() > 0:
        yield folder
        return
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(
        folder / ".lock", f"{folder}: another run is in this folder now; wait for it, or give another --workdir"
    ):
        wanted = canonical(config, dataset_hash)
        path = folder / "config.json"
        if path.exists():
            _check_same(folder, read_json(path), wanted)
        else:
            if others := [child.name for child in folder.iterdir() if child.name != ".lock"]:
                raise UserError(
                    f"{folder}: no run folder (no config.json), but it holds {sorted(others)[:3]}; "
                    "give an empty or a new folder as --workdir"
                )
            write_json(
                path,
                {
                    "hash": hash_of(wanted),
                    "eegjax": __version__,
                    "canonical": wanted,
                    "config": config.to_dict(),
                },
            )
        _write_environment(folder)
        try:
            yield folder
        except UserError:
            if not (folder / "checkpoints").exists():  # nothing trained yet: the mended command may have the folder
                for name in ("config.json", "environment.json", "folds.json"):
                    (folder / name).unlink(missing_ok=True)
            raise


def _check_same(folder: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Complain of a folder that holds another run, or one that another version has made with other fields.

    Raises:
        UserError: its configuration differs from the wanted one, or it has no whole `config.json`.
    """
    if "canonical" not in found:
        raise UserError(
            f"{folder}/config.json: no configuration of a run (it has no 'canonical'); give another --workdir, or none"
        )
    before = _flat(found["canonical"])
    now = _flat(wanted)
    different = [
        f"{name} {before.get(name, 'unset')} -> {now.get(name, 'unset')}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if before.keys() != now.keys():
        made_by = found.get("eegjax", "an older version")
        raise UserError(
            f"{folder}: this run was made by eegjax {made_by}, whose configurations have other fields than those of "
            f"{__version__} ({'; '.join(different[:5])}): it can be read, but not continued; give another --workdir, "
            "or none"
        )
    if different:
        raise UserError(
            f"{folder}: this folder belongs to a run with another configuration ({'; '.join(different[:5])}); "
            "give another --workdir, or none"
        )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _write_environment(folder: Path) -> None:
    """Add this start to `environment.json`: a run that was killed and continued has several."""
    path = folder / "environment.json"
    starts = read_json(path)["starts"] if path.exists() else []
    start = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "eegjax": __version__,
        "git_commit": git_commit(),
        "devices": [str(device) for device in jax.devices()],
        "processes": jax.process_count(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }
    write_json(path, {"starts": [*starts, start]})


def git_commit() -> str | None:
    """The commit of the code that runs, marked if it was changed since; None outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None

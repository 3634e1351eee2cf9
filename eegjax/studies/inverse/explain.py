"""What the inverse study's figures need beside its points, and its volumes in a form that MNE-Python reads."""

from pathlib import Path

import jax
import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data.dataset import Dataset
from eegjax.data.feed import gather
from eegjax.data.formats.volume_estimate import write_volume_estimate
from eegjax.data.splits import choose_evenly
from eegjax.run import explanations
from eegjax.studies.inverse.answers import Scene, volume_file
from eegjax.studies.inverse.data import source
from eegjax.studies.inverse.network import inputs

N_EXAMPLES = 4
N_ESTIMATES = 20  # samples of each head in MNE's form


def explain(config: ConfigDict, dataset: Dataset, folder: Path) -> None:
    """Write `explanations/`: tested heads, and a few samples as volumes; and `mne/*/estimate-vl.stc` for MNE-Python."""
    scene = Scene(config, dataset)
    points = pd.read_parquet(folder / "predictions.parquet")
    samples = points[points["kind"] == "sample"]
    files: explanations.Files = {}
    for number in np.unique(scene.number[samples["example"].unique()]):
        nominal = scene.pairs[number][0]
        files[f"head_{number}"] = {
            "scalp": nominal.scalp * 1e3,
            "inner_skull": nominal.inner_skull * 1e3,
            "electrodes_mm": nominal.electrodes_m * 1e3,
            "sources_mm": nominal.sources_m * 1e3,
            "recording": np.array(dataset.card["recordings"][number]["recording"]),
        }
    first = {name: part[part["member"] == part["member"].min()] for name, part in samples.groupby("model", sort=False)}
    volumes = {str(name): _volumes(folder, part) for name, part in first.items()}
    files["examples"] = _examples(config, scene, next(iter(first.values())), volumes)
    for name, (rows, of_rows) in volumes.items():
        for number in np.unique(scene.number[rows]):
            own = np.flatnonzero(scene.number[rows] == number)[:N_ESTIMATES]
            target = folder / "mne" / f"{name}-head_{number}"
            write_volume_estimate(
                target, np.asarray(of_rows[own], np.float32), scene.grids[number], scene.masks[number]
            )
    explanations.save(folder, files)  # last: where they are, nothing is explained again


def _volumes(folder: Path, samples: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The examples [n] of one member's test part, and their volumes [n, d, h, w], as they lie in its file."""
    return samples["example"].to_numpy(), np.load(volume_file(folder, samples), mmap_mode="r", allow_pickle=False)


def _examples(
    config: ConfigDict, scene: Scene, samples: pd.DataFrame, volumes: dict[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, np.ndarray]:
    """A few tested samples that aren't silent, from few sources to many."""
    some = samples[samples["n_true"] > 0].sort_values(["n_true", "example"])
    rows = choose_evenly(some["example"].to_numpy(), N_EXAMPLES)
    batch = gather(np, source(config, scene.dataset), rows, rows >= 0)
    made = jax.jit(lambda batch: inputs(config)({}, batch, None, False))(batch)
    grids = [scene.grids[number] for number in scene.number[rows]]
    found = {
        "example": rows,
        "recording": scene.dataset.index["recording"].to_numpy(str)[rows],
        "input": np.asarray(made["inputs"][..., 0]),
        "target": np.asarray(made["target"]),
        "origin_mm": np.stack([grid.origin_mm for grid in grids]),
        "voxel_mm": np.stack([grid.voxel_mm for grid in grids]),
    }
    for name, (examples, of_rows) in volumes.items():
        at = [int(np.flatnonzero(examples == row)[0]) for row in rows]
        found[f"predicted_{name}"] = np.stack([of_rows[one] for one in at]).astype(np.float32)
    return found

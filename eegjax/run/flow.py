"""One flow, followed by every study: prepare, split, train, predict, evaluate, report."""

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
import pandas as pd
from ml_collections import ConfigDict

from eegjax.data import splits
from eegjax.data.dataset import Dataset
from eegjax.files import remove_stale, write_aside, write_json
from eegjax.report.page import write_page
from eegjax.run import bounds
from eegjax.run.baselines import load_or_compute
from eegjax.run.folder import opened, run_folder
from eegjax.run.member import list_members
from eegjax.run.network import Network, Timing
from eegjax.run.study import Study
from eegjax.train import members
from eegjax.train.log import MetricLog


def run(config: ConfigDict, study: Study, workdir: str | None = None) -> Path:
    """Run a study, or continue it, or show it finished.

    Args:
        config: of the study, overrides applied.
        study: its functions.
        workdir: the run folder; None finds it by the configuration's hash.

    Returns:
        The run folder, with everything in it; its tables are printed.
    """
    started_s = time.monotonic()
    bounds.check(config, study.bounds, study.choices)
    dataset = study.prepare(config)
    folder = run_folder(config, dataset.card["hash"], workdir)
    with opened(folder, config, dataset.card["hash"]):
        if not (folder / "metrics.json").exists():
            _train_and_evaluate(config, study, dataset, folder, started_s)
        if jax.process_index() == 0:
            _tidy(folder)
            _report(config, study, dataset, folder)
    return folder


def _tidy(folder: Path) -> None:
    """Remove what a start that was killed left half-written."""
    for inner in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        remove_stale(inner)


def _report(config: ConfigDict, study: Study, dataset: Dataset, folder: Path) -> None:
    """Print the tables; draw figures and page where they are missing (deleting `report.html` draws them anew)."""
    if not (folder / "explanations").exists():
        study.explain(config, dataset, folder)
    print(study.tables(folder))
    if not (folder / "report.html").exists():
        study.figures(folder)
        write_page(folder, f"{config.study}, {config.protocol}")
    print(f"\nReport: {folder / 'report.html'}\nRun folder: {folder}")


def _train_and_evaluate(config: ConfigDict, study: Study, dataset: Dataset, folder: Path, started_s: float) -> None:
    writes = jax.process_index() == 0
    folds = study.folds(config, dataset)
    splits.check_folds(folds)
    if writes:
        splits.save_folds(folder / "folds.json", folds)
    log = MetricLog(folder, writes, config.run.tensorboard)
    timing = Timing()
    # All before any training: a mistake in the last network must not cost the training of the first.
    networks = [
        Network(one, study.task, dataset, list_members(one.model.name, folds, one.seed, one.train.n_seeds), timing)
        for one in network_configs(config)
    ]
    frames = []
    while networks:  # a finished network is let go, and its data with it
        frames.append(_train(networks.pop(0), folder, log))
    log.close()
    if not writes:
        return
    predictions = study.decode(config, dataset, folds, pd.concat(frames, ignore_index=True), folder)
    baselines = load_or_compute(config, study.baselines, study.baseline_fields, dataset, folds)
    write_aside(folder / "predictions.parquet", partial(predictions.to_parquet, index=False))
    write_aside(folder / "baselines.parquet", partial(baselines.to_parquet, index=False))
    write_json(folder / "card.json", dataset.card)
    test = predictions[predictions["split"] == "test"]
    metrics = {
        **study.evaluate(config, predictions, baselines),
        "simulated": dataset.card["simulated"],
        "n_examples": int(test["example"].nunique()),
        "n_subjects": int(test["subject"].nunique()),
        "seconds_total": time.monotonic() - started_s,  # since the start that finished the run
        "seconds_compile": timing.seconds_compile,
        "examples_per_s": timing.examples / timing.seconds_training if timing.seconds_training else None,
    }
    write_json(folder / "metrics.json", metrics)


def network_configs(config: ConfigDict) -> Iterator[ConfigDict]:
    """The configuration of each network of the run: the one named beforehand, then those beside it."""
    for name in dict.fromkeys((config.model.name, *config.model.beside)):
        one = config.copy_and_resolve_references()
        one.model.name = name
        yield one


def _train(network: Network, folder: Path, log: MetricLog) -> pd.DataFrame:
    """Predictions of one network for all its members; those of finished groups are read back."""
    name = network.config.model.name
    frames = []
    for numbers in members.grouped(len(network.members), network.at_once()):
        group_folder = folder / "checkpoints" / f"{name}-{numbers[0]:03d}-{numbers[-1]:03d}"
        path = group_folder / "predictions.parquet"
        if path.exists():
            frame = pd.read_parquet(path)
        else:
            frame = network.run([network.members[number] for number in numbers], group_folder, log)
            if jax.process_index() == 0:
                write_aside(path, partial(frame.to_parquet, index=False))
        if jax.process_index() == 0:
            for step in [child for child in group_folder.iterdir() if child.is_dir()]:
                shutil.rmtree(step)  # its weights are kept, and a state is several times as large
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)

"""The inverse study, run whole: its demo with both networks, time series and all classical inverses; its paper."""

from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import pytest
from ml_collections import ConfigDict

from eegjax import cli, commands
from eegjax.evaluate.points import find_points
from eegjax.files import read_json
from eegjax.studies.inverse import data as inverse_data
from eegjax.studies.inverse import explain as inverse_explain
from eegjax.studies.inverse import heads as inverse_heads
from eegjax.studies.inverse.answers import Scene

ROOT = Path(__file__).parents[3]


def configured(run_root: Path, argument: str, **fields: Any) -> ConfigDict:
    config = cli.configure(f"{ROOT}/configs/inverse.py:{argument}", ["", f"--config.run.root={run_root}"])
    with config.unlocked():
        config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return config


@pytest.fixture(scope="module")
def config(run_root: Path) -> ConfigDict:
    every = ("MNE", "dSPM", "sLORETA", "eLORETA", "LCMV")
    return configured(
        run_root, "demo,size=tiny", model__beside=("u_net",), data__n_times=100, test__classical=every, test__n_tuning=2
    )


@pytest.fixture(scope="module")
def folder(config: ConfigDict) -> Path:
    return commands.launch(config)


@pytest.mark.slow
def test_every_model_answers_every_tested_sample(folder: Path) -> None:
    predictions, baselines = (pd.read_parquet(folder / f"{name}.parquet") for name in ("predictions", "baselines"))
    both = pd.concat([predictions, baselines])
    assert set(predictions["model"]) == {"v_net", "u_net"}
    assert {"MNE", "dSPM", "sLORETA", "eLORETA", "LCMV", "voxelised truth", "random 100"} < set(baselines["model"])
    samples = both[both["kind"] == "sample"]
    tested = read_json(folder / "folds.json")[0]["test"]
    for name, part in samples.groupby("model"):
        assert sorted(part["example"]) == sorted(tested), name
    true = both[both["kind"] == "true"].groupby(["model", "example"]).size().unstack("model")
    assert (true.nunique(axis=1) == 1).all()
    assert not both.loc[both["kind"] != "sample", ["x_mm", "y_mm", "z_mm", "x", "y", "z", "value"]].isna().any().any()


@pytest.mark.slow
def test_predicted_points_are_voxels_of_the_volumes_beside_above_the_threshold(
    folder: Path, config: ConfigDict
) -> None:
    predictions = pd.read_parquet(folder / "predictions.parquet").query("model == 'v_net'")
    volumes = np.load(folder / "volumes" / "v_net-000-test.npy")
    scene = Scene(config, inverse_data.prepare(config))
    for place, (example, part) in enumerate(predictions.groupby("example")):
        grid = scene.grids[scene.number[example]]
        threshold = part.loc[part["kind"] == "sample", "value"].item()
        found = part[part["kind"] == "predicted"]
        voxels = found[["x", "y", "z"]].to_numpy()
        np.testing.assert_allclose(found["value"], volumes[place][tuple(voxels.astype(int).T)])
        np.testing.assert_allclose(found[["x_mm", "y_mm", "z_mm"]], grid.to_mm(voxels))
        assert (found["value"] > threshold).all()
        assert set(map(tuple, voxels)) <= set(map(tuple, find_points(volumes[place], threshold)))
        assert not volumes[place][~scene.masks[scene.number[example]]].any()


@pytest.mark.slow
def test_the_truth_lies_at_patches_centres_and_the_ceiling_within_half_a_voxel(
    folder: Path, config: ConfigDict
) -> None:
    baselines = pd.read_parquet(folder / "baselines.parquet").query("model == 'voxelised truth'")
    scene = Scene(config, inverse_data.prepare(config))
    for example, part in baselines.groupby("example"):
        true, ceiling = (
            part[part["kind"] == kind][["x_mm", "y_mm", "z_mm"]].to_numpy() for kind in ("true", "predicted")
        )
        half = np.linalg.norm(scene.grids[scene.number[example]].voxel_mm) / 2
        for point in true:
            assert np.linalg.norm(ceiling - point, axis=1).min() <= half + 1e-6
        sources_mm = scene.pairs[scene.number[example]][1].sources_m * 1e3
        assert all(np.linalg.norm(sources_mm - point, axis=1).min() < 1e-6 for point in true)


@pytest.mark.slow
def test_metrics_and_report_say_all_of_it(folder: Path) -> None:
    metrics = read_json(folder / "metrics.json")
    assert metrics["simulated"] is True
    assert metrics["n_examples"] == 5
    for name in ("", "u_net_", "LCMV_", "eLORETA_", "voxelised_truth_", "random_100_"):
        assert 0 <= metrics[f"{name}f1"] <= 1
    assert metrics["voxelised_truth_f1"] > metrics["random_100_f1"]
    page = (folder / "report.html").read_text()
    assert "SIMULATED" in page
    assert "LCMV" in page
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {"figure_1_metric.png", "figure_2_losses.png", "figure_3_points.png", "figure_4_f1.png"} <= names


@pytest.mark.slow
def test_volumes_are_read_by_mne(folder: Path, config: ConfigDict) -> None:
    """The same values at the same places, in metres, in head coordinates."""
    volumes = np.load(folder / "volumes" / "v_net-000-test.npy")
    scene = Scene(config, inverse_data.prepare(config))
    test = np.array(read_json(folder / "folds.json")[0]["test"])
    for number in np.unique(scene.number[test]):
        place = folder / "mne" / f"v_net-head_{number}"
        estimate = mne.read_source_estimate(str(place / "estimate-vl.stc"))
        (space,) = mne.read_source_spaces(str(place / "estimate-src.fif"), verbose="error")
        mask, grid = scene.masks[number], scene.grids[number]
        assert isinstance(estimate, mne.VolSourceEstimate)
        np.testing.assert_allclose(estimate.data, volumes[scene.number[test] == number][:, mask].T, rtol=1e-6)
        centres_m = space["rr"][estimate.vertices[0]]
        np.testing.assert_allclose(centres_m * 1e3, grid.to_mm(np.argwhere(mask)), atol=1e-3)
        assert space["coord_frame"] == mne.io.constants.FIFF.FIFFV_COORD_HEAD


@pytest.mark.slow
def test_the_papers_protocol_runs_with_its_slips_and_says_so(run_root: Path, capsys) -> None:
    config = configured(run_root, "paper,size=tiny", train__loss="mse", data__dilation=5, test__classical=())
    folder = commands.launch(config)
    printed = capsys.readouterr().out
    for words in ("authors' slips", "how they lie to each other is lost", "split at random"):
        assert words in printed
    metrics = read_json(folder / "metrics.json")
    assert metrics["unit"] == "voxels"
    assert metrics["radius"] == 5
    fold = read_json(folder / "folds.json")[0]
    assert (len(fold["train"]), len(fold["validation"]), len(fold["test"])) == (19, 0, 5)
    predictions = pd.read_parquet(folder / "predictions.parquet")
    counts = predictions[predictions["kind"] == "true"].groupby("example").size()
    assert (counts == 66).all()  # all of a sample's active sources, in voxels
    assert (predictions.loc[predictions["kind"] == "true", ["x", "y", "z"]] % 1 == 0).all().all()


def test_heads_of_a_root_are_used_and_one_is_left_out(run_root: Path, data_root: Path) -> None:
    """The report says which head is which."""
    config = configured(
        run_root, "standard,size=tiny", data__root=str(data_root / "inverse"), data__head="template", test__classical=()
    )
    names = [(one.name, one.left_out) for one in inverse_heads.recorded(config)]
    assert names == [
        ("template", False),
        ("template warped 1", False),
        ("sample, skull 0.004 S/m", True),
        ("sample, skull 0.01 S/m", True),
        ("sample, skull 0.016 S/m", True),
    ]


def test_prepared_beforehand_it_is_what_the_printed_command_runs_on(run_root: Path) -> None:
    """`launch/prepare.py --dataset=inverse`: the data set with its card, found again by the study."""
    config = configured(run_root, "paper,size=tiny", data__n_samples=12, data__n_heads=2)
    text = commands.prepare(config, "inverse", False, "")
    assert "2 recordings, 12 examples" in text
    assert "--config.data.n_samples=12 --config.data.n_heads=2" in text
    (folder,) = (Path(word) for word in text.split() if Path(word, "card.json").is_file())
    card = read_json(folder / "card.json")
    assert card["simulated"] is True
    assert card["unit"] == {"voltages": "V", "moments": "A m"}
    assert [row["n_sources"] for row in card["recordings"]] == [100, 100]
    before = (folder / "arrays" / "voltages.npy").stat().st_mtime_ns
    assert inverse_data.prepare(config).folder == folder
    assert (folder / "arrays" / "voltages.npy").stat().st_mtime_ns == before


@pytest.mark.slow
def test_training_on_the_fly_learns_and_stores_nothing_but_seeds(run_root: Path) -> None:
    config = configured(run_root, "demo,size=tiny", data__on_the_fly=True, test__classical=())
    folder = commands.launch(config)
    assert set(inverse_data.prepare(config).arrays) == {"seed"}
    log = pd.read_json(folder / "metrics.jsonl", lines=True)
    assert log["loss"].dropna().iloc[-1] < log["loss"].dropna().iloc[0]
    assert read_json(folder / "metrics.json")["voxelised_truth_f1"] > 0.8


@pytest.mark.slow
def test_explanations_that_were_interrupted_are_made_anew(
    folder: Path, config: ConfigDict, monkeypatch, tmp_path
) -> None:
    """A run that is killed while it explains finds no half of it when it is started again."""
    for name in ("volumes", "predictions.parquet"):
        (tmp_path / name).symlink_to(folder / name)
    dataset = inverse_data.prepare(config)
    with monkeypatch.context() as killed:
        killed.setattr(inverse_explain, "write_volume_estimate", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            inverse_explain.explain(config, dataset, tmp_path)
    assert not (tmp_path / "explanations").exists()
    inverse_explain.explain(config, dataset, tmp_path)
    names = {path.name for path in (tmp_path / "explanations").iterdir()}
    assert names == {path.name for path in (folder / "explanations").iterdir()}
    assert "examples.npz" in names

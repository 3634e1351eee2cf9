"""The inverse study's tables, figures and comparisons, of run folders made by hand."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from eegjax import cli
from eegjax.files import read_json, write_json
from eegjax.report.page import write_page
from eegjax.studies.inverse.compare import compare, rows
from eegjax.studies.inverse.figures import figures
from eegjax.studies.inverse.numbers import evaluate
from eegjax.studies.inverse.paper import N_VOXELS, RADII, RANDOM_POINTS, quirks, random_curve
from eegjax.studies.inverse.tables import Finished, _head, some_radii, tables, title_of, verdict

ROOT = Path(__file__).parents[3]
N_SAMPLES, N_VOXELS_HERE, N_STEPS = 10, 16, 30
VOXEL_MM, ORIGIN_MM = 12.0, -96.0
SD_MM = {"v_net": 8.0, "u_net": 25.0, "eLORETA": 14.0, "MNE": 30.0, "jittered truth": 5.0}  # of each one's errors
BASELINES = ("MNE", "eLORETA", "voxelised truth", "random 100", "random 10", "jittered truth")
SILENT = 4  # the sample without a source


def configure(argument: str, **fields: Any) -> ConfigDict:
    config = cli.configure(f"{ROOT}/configs/inverse.py:{argument}", ["main.py"])
    with config.unlocked():
        if config.test.unit == "mm":
            config.test.radius = 25.0
        config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return config


def inside(rng: np.random.Generator, n: int) -> np.ndarray:
    """[n, 3] mm, somewhere in the brain."""
    points = rng.normal(size=(n, 3))
    return 70 * points / np.linalg.norm(points, axis=1, keepdims=True) * rng.random((n, 1)) ** (1 / 3)


def predict(rng: np.random.Generator, model: str, true: np.ndarray) -> np.ndarray:
    if model.startswith("random"):
        return inside(rng, int(model.split()[1]))
    if model == "voxelised truth":
        return ORIGIN_MM + VOXEL_MM * (np.floor((true - ORIGIN_MM) / VOXEL_MM) + 0.5)
    return true + rng.normal(0, SD_MM[model], true.shape) if len(true) else inside(rng, 2)


def answers(model: str, n_samples: int = N_SAMPLES) -> pd.DataFrame:
    found = []
    for example in range(n_samples):
        rng = np.random.default_rng(example)
        true = inside(rng, 0 if example == SILENT else 1 + example % 5)
        moments = rng.uniform(1e-9, 5e-9, len(true))
        predicted = predict(np.random.default_rng([example, len(model)]), model, true)
        recording = f"template {example % 2}"
        fixed = {"example": example, "subject": recording, "session": "", "recording": recording, "split": "test"}
        fixed |= {"model": model, "member": 0, "fold": "random", "seed": 0, "onset_s": 0.0, "start": 0.0, "stop": 1.0}
        guess = model.startswith("random") or model.endswith("truth")
        threshold = np.nan if guess else 0.31
        fixed["tuned"] = "" if guess else f"as {model} is"
        some = len(true) > 0
        found.append(fixed | {"kind": "sample", "value": threshold, "snr_db": 10.0, "n_true": float(len(true))})
        found[-1] |= dict.fromkeys(("error_mm", "dispersion_mm", "emd_mm"), 12.5 if some else np.nan)
        found[-1] |= {"auc": 0.875 if some else np.nan}
        for kind, points, values in (("true", true, moments), ("predicted", predicted, np.full(len(predicted), 0.5))):
            for point, value in zip(points, values, strict=True):
                position = dict(zip(("x_mm", "y_mm", "z_mm"), point, strict=True))
                position |= dict(zip("xyz", (point - ORIGIN_MM) / VOXEL_MM, strict=True))
                found.append(fixed | position | {"kind": kind, "value": value})
    return pd.DataFrame(found)


def spec(**fields: Any) -> dict[str, Any]:
    known = {"kind": "template", "warp": 0, "n_sources": 1000, "n_chans": 128, "skull_conductivity": 0.006}
    return known | {"coregistration_mm": 0.0, "coregistration_deg": 0.0, "seed": 0} | fields


def recording(number: int, real: dict[str, Any], nominal: dict[str, Any], **fields: Any) -> dict[str, Any]:
    name = f"template {number}"
    found = {"recording": name, "subject": name, "head": "template", "real": real, "nominal": nominal}
    found |= {"voxel_mm": [VOXEL_MM] * 3, "electrode_fit_mm": 3.25, "electrode_fit_max_mm": 9.5, "n_sources": 1000}
    found |= {"cortex": "fsaverage5's cortex", "depth_mm": [5.04, 48.6], "n_dropped": 1234}
    found |= {
        "n_sources_real": real["n_sources"],
        "coloured": False,
        "tested": True,
        "trained": True,
        "validates": False,
    }
    return found | {"pairs_in_one_voxel": 1234, "extents": []} | fields


OTHER_HEAD = spec(n_sources=2000, skull_conductivity=0.01, coregistration_mm=4.0, coregistration_deg=2.0)


def logged(model: str) -> list[dict[str, Any]]:
    """A loss that falls, and once explodes."""
    lines = []
    member = {"model": model, "member": 0, "fold": "random", "seed": 0}
    for step in range(1, N_STEPS + 1):
        loss = 1e12 if step == 15 else float(np.exp(-step / 8))
        lines.append({**member, "step": step, "epoch": step // 5, "loss": loss})
        if step % 5 == 0:
            lines.append(
                {**member, "step": step, "epoch": step // 5, "validation_loss": 1.2 * float(np.exp(-step / 9))}
            )
    return lines


def surface(radius: float) -> np.ndarray:
    points = np.random.default_rng(1).normal(size=(200, 3))
    return radius * points / np.linalg.norm(points, axis=1, keepdims=True) * [0.9, 1.1, 1.0]


def explained(place: Path, networks: tuple[str, ...]) -> None:
    place.mkdir(parents=True)
    for number in range(2):
        points = {"electrodes_mm": surface(92.0)[:64], "sources_mm": surface(60.0)}
        hulls = {"scalp": surface(90.0), "inner_skull": surface(76.0)}
        np.savez(place / f"head_{number}.npz", recording=np.array(f"template {number}"), **points, **hulls)
    shape = (4, *[N_VOXELS_HERE] * 3)
    rng = np.random.default_rng(0)
    some = answers("v_net")
    target = np.zeros(shape, np.float32)
    for example in range(4):
        true = some.loc[(some["example"] == example + 3) & (some["kind"] == "true"), ["x", "y", "z"]].to_numpy()
        target[(example, *true.astype(int).T)] = 1
    volumes = {f"predicted_{name}": np.clip(target - 0.2 + 0.4 * rng.random(shape), 0, 1) for name in networks}
    volumes |= {"input": rng.normal(size=shape).astype(np.float32), "target": target}
    grid = {"origin_mm": np.full((4, 3), ORIGIN_MM), "voxel_mm": np.full((4, 3), VOXEL_MM)}
    named = {"example": np.arange(3, 7), "recording": np.arange(4) % 2}
    np.savez(place / "examples.npz", **volumes, **grid, **named)


def make(folder: Path, config: ConfigDict, networks: tuple[str, ...] = ("v_net", "u_net"), **change: float) -> Path:
    """A run folder as tables and figures read it; `change` moves a network's points by so many mm."""
    frames = [answers(name) for name in networks]
    for name, frame in zip(networks, frames, strict=True):
        frame.loc[frame["kind"] == "predicted", "x_mm"] += change.get(name, 0.0)
    predictions, baselines = pd.concat(frames), pd.concat([answers(name) for name in BASELINES])
    folder.mkdir(parents=True)
    predictions.to_parquet(folder / "predictions.parquet", index=False)
    baselines.to_parquet(folder / "baselines.parquet", index=False)
    write_json(folder / "metrics.json", evaluate(config, predictions, baselines) | {"simulated": True})
    recordings = [recording(0, spec(), spec()), recording(1, OTHER_HEAD, spec(), trained=False, coloured=True)]
    write_json(folder / "card.json", {"recordings": recordings, "simulated": True})
    write_json(folder / "config.json", {"config": config.to_dict()})
    lines = [line for name in networks for line in logged(name)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    explained(folder / "explanations", networks)
    return folder


@pytest.fixture(scope="module")
def saved() -> Any:
    """Suptitle -> figures, of all that were drawn."""
    kept: dict[str, list[Figure]] = {}
    patch, save = pytest.MonkeyPatch(), Figure.savefig

    def keep(figure: Figure, path: Path, *args: Any, **kwargs: Any) -> None:
        kept.setdefault(figure.get_suptitle(), []).append(figure)
        save(figure, path, *args, **kwargs)

    patch.setattr(Figure, "savefig", keep)
    yield kept
    patch.undo()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, saved: Mapping[str, list[Figure]]) -> Path:
    """A demo of both networks, with tables and figures."""
    folder = make(tmp_path_factory.mktemp("demo") / "run", configure("demo", model__beside=("u_net",)))
    tables(folder)
    assert figures(folder) == sorted((folder / "figures").iterdir())
    return folder


def read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "tables" / f"{name}.csv", comment="#", dtype=str, keep_default_na=False).set_index(
        {"results_points": "model", "comparison": "model", "heads": "recording"}.get(name, "random points")
    )


def notes(folder: Path, name: str) -> str:
    return (folder / "tables" / f"{name}.md").read_text()


# ---- tables


def test_points_have_a_row_per_model_with_the_runs_numbers(demo: Path) -> None:
    table, numbers = read(demo, "results_points"), read_json(demo / "metrics.json")
    assert list(table.index[:4]) == ["V-Net", "3D U-Net", "MNE", "eLORETA"]
    assert "voxelised truth (ceiling)" in table.index
    for name, prefix in (("V-Net", ""), ("eLORETA", "eLORETA_"), ("100 random points", "random_100_")):
        for column, key in (("F1 at 25 mm", "f1"), ("area", "area")):
            ends = [numbers[prefix + key + end] for end in ("", "_low", "_high")]
            assert table.loc[name, column] == "{:.3f} [{:.3f}, {:.3f}]".format(*ends)
        mean, sd = (numbers[f"{prefix}{key}_10"] for key in ("f1_at", "f1_sd_at"))
        assert table.loc[name, "F1 at 10 mm, mean ± sd"] == f"{mean:.3f} ± {sd:.3f}"
    row = table.loc["V-Net"]
    assert (row["error, mm"], row["AUC"], row["located"], row["threshold"]) == ("12.5", "0.875", "9 of 9", "0.31")
    assert (row["points in silence"], table.loc["10 random points", "points in silence"]) == ("2.0", "10.0")
    assert table.loc["10 random points", "threshold"] == "–"
    assert (row["tuned"], table.loc["10 random points", "tuned"]) == ("as v_net is", "–")


def test_better_and_worse_are_seen_from_the_row(demo: Path) -> None:
    table, numbers = read(demo, "results_points"), read_json(demo / "metrics.json")
    column = table["F1 minus V-Net's"]
    assert column["V-Net"] == ""
    assert column["10 random points"].startswith("-")
    assert column["10 random points"].endswith(" worse")
    low, high = (numbers[f"difference_to_random_10_{end}"] for end in ("low", "high"))
    assert f"[{-high:.3f}, {-low:.3f}]" in column["10 random points"]
    assert verdict(0.1, 0.01, 0.2).endswith("] better")
    assert verdict(0.1, -0.01, 0.2).endswith("]")
    assert verdict(float("nan"), 0.0, 0.0) == "–"


def test_notes_say_what_the_numbers_rest_on(demo: Path) -> None:
    text = notes(demo, "results_points")
    assert text.startswith(
        "**SIMULATED DATA: Sources, demo: tested on 9 samples of 2 heads, and 1 without any source**"
    )
    assert "25 mm are 2.1 voxels." in text
    assert "over samples (1000 draws)" in text
    assert "one to one" in text
    assert "Ceiling" in text
    assert "LCMV: n/a" in text
    assert "template 0: simulated with the very head model" in text
    assert "seeds" not in text
    assert f"- {quirks(configure('demo'))[0]}" in text


def test_heads_stand_as_simulated_and_as_assumed(demo: Path) -> None:
    first, second = (row for _, row in read(demo, "heads").iterrows())
    assert (first["used"], second["used"]) == ("trained, tested", "tested")
    chooses = recording(2, spec(), spec(), trained=False, validates=True, tested=False)
    assert _head(configure("demo"), chooses)["used"] == "thresholds"
    assert (second["skull, S/m, simulated"], second["skull, S/m, assumed"]) == ("0.01", "0.006")
    assert (second["sources, simulated"], second["sources, assumed"]) == ("2,000", "1,000")
    assert (first["cap off by"], second["cap off by"]) == ("0 mm, 0°", "4 mm, 2°")
    assert (first["noise"], second["noise"]) == ("white", "coloured")
    assert first["sources in"] == "fsaverage5's cortex"
    assert (first["below the skull, mm"], first["left out"]) == ("5 to 49", "1,234")
    assert first["electrode fit, mm"] == "3.2 / 9.5"
    assert (first["voxel, mm"], first["pairs of sources in one voxel"]) == ("12.0 x 12.0 x 12.0", "1,234")


def test_time_series_have_lcmv_and_seeds_are_told(tmp_path: Path) -> None:
    config = configure("paper", data__n_times=100, train__n_seeds=3)
    text = tables(make(tmp_path / "run", config, ("v_net",)))
    assert "LCMV: n/a" not in text
    assert "means over 3 seeds first" in text
    assert "5 voxels are 60.0 mm." in text
    assert "| none " in text  # zones have no noise
    assert all(quirk in text for quirk in quirks(config))


# ---- the paper


def test_random_points_stand_beside_the_published_ones(demo: Path) -> None:
    table = read(demo, "paper_metric")
    assert table["F1 of"].tolist() == ["paper", "ours"] * 3
    for n_points, published in RANDOM_POINTS.items():
        paper, ours = (row.tolist()[1:] for _, row in table.loc[[str(n_points)]].iterrows())
        assert [float(cell) for cell in paper] == list(published)
        assert [float(cell.split(" ± ")[0]) for cell in ours] == pytest.approx(published, abs=0.05)


def test_ten_random_points_are_worth_what_a_hand_count_says() -> None:
    """Few points, a small radius, no borders: every pair hits with the same chance, and hits hardly overlap."""
    mean, _ = random_curve(10)
    ball = 4 / 3 * np.pi * np.array(RADII[1:4]) ** 3 / N_VOXELS**3
    expected = 2 * 66 * (1 - (1 - ball) ** 10) / 76
    np.testing.assert_allclose(mean[1:4], expected, atol=0.002)


QUIRKS = {
    "split at random": {"splits__kind": "random"},
    "scaled to the grid apart": {"data__scaling": "separate"},
    "voxel is no cube": {"data__scaling": "paired"},
    "holds the last one": {"data__collisions": "last"},
    "cubes of 5 x 5 x 5": {"data__dilation": 5},
    "F1 can be above 1": {"test__matching": "greedy"},
    "no false positive then": {"test__matching": "greedy_distinct"},
    "clustered again with the next": {"test__slips": ("cumulative",)},
    "loses its last cluster": {"test__slips": ("drop_last",)},
    "any one of them, is 0 at any radius": {"test__slips": ("skip_empty",)},
    "learns -20 in a ball": {"train__loss": "mse", "train__centre_value": -20.0},
    "weighs 1e-07 of one": {"train__class_weights": (1e-7, 1.0)},
    "times the target": {"train__loss": "l1", "train__target_factor": 10.0},
    "normalises nothing": {"model__beside": ("u_net",), "model__norm": "none"},
    "aren't clipped": {"train__clip_norm": 0.0},
}


@pytest.mark.parametrize("words", QUIRKS)
def test_every_quirk_is_told_where_it_holds_and_only_there(words: str) -> None:
    told = quirks(configure("standard", **QUIRKS[words]))
    assert [text for text in told if words in text] == told
    assert len(told) == 1


def test_the_standard_protocol_has_no_quirk_and_the_papers_has_most() -> None:
    assert quirks(configure("standard")) == []
    told = " ".join(quirks(configure("paper")))
    in_paper = ("split at random", "grid apart", "last one", "no false positive", "slips", "1e-07", "aren't clipped")
    only_there = (
        "3600 and 800",
        "four MRI scans",
        "about 1000",
        "L1 ball",
        "upside down",
        "torch's Adam",
        "authors' configurations say 48",
        "threshold for V-Net, classification, plain is 0.72",
        "introduction says",
    )
    assert [words for words in (*in_paper, *only_there) if words not in told] == []
    assert "about 1000" not in " ".join(quirks(configure("paper", data__zones__n_active=1000)))
    assert "introduction" not in " ".join(quirks(configure("paper", train__n_epochs=100)))
    assert "AdamW" not in told
    assert "where the paper has" not in told
    assert "AdamW" in " ".join(quirks(configure("paper", train__decoupled_decay=True)))
    assert "AdamW" not in " ".join(quirks(configure("paper,model=u_net", train__decoupled_decay=True)))  # no decay
    kept = "Thresholds are chosen on samples kept from training"
    assert kept not in told
    assert kept in " ".join(quirks(configure("paper", splits__validation_share=0.1)))
    assert kept in " ".join(quirks(configure("paper", splits__kind="head")))


@pytest.mark.parametrize(
    ("argument", "fields", "words"),
    [
        ("paper", {"train__batch_size": 16}, "V-Net: batches of 16, where the paper has 40."),
        ("paper,model=u_net", {"train__batch_size": 40}, "3D U-Net: batches of 40, where the paper has 48."),
        ("paper,splits=search", {"train__batch_size": 40}, "V-Net: batches of 40, where the paper has 8."),
        ("paper", {"train__weight_decay": 0.0}, "V-Net: a weight decay of 0, where the paper has 0.0001."),
        ("paper", {"model__beside": ("u_net",)}, "3D U-Net: a weight decay of 0.0001, where the paper has 0."),
        ("paper,splits=search", {}, "all of them, tested ones too, lie inside the final training set."),
        ("demo,splits=search", {}, "of heads that were trained on"),
        ("paper", {"data__dilation": 5}, "V-Net, classification, dilated is 0.63"),
        ("paper", {"data__dilation": 5}, "Where cubes overlap, the last one wins"),
    ],
)
def test_what_parts_from_the_paper_is_told(argument: str, fields: dict[str, Any], words: str) -> None:
    assert words in " ".join(quirks(configure(argument, **fields)))


@pytest.mark.parametrize(
    ("argument", "fields"),
    [
        ("paper", {"data__dilation": 3}),
        ("paper", {"train__loss": "mse"}),
        ("paper,model=u_net", {}),
        ("demo", {}),
    ],
)
def test_the_papers_thresholds_are_v_nets_in_classification(argument: str, fields: dict[str, Any]) -> None:
    told = " ".join(quirks(configure(argument, **fields)))
    assert "paper's threshold" not in told
    assert "cubes overlap" not in " ".join(quirks(configure("paper", data__dilation=5, data__collisions="max")))


# ---- figures


def shown(saved: Mapping[str, list[Figure]], start: str) -> Figure:
    return next(figure for title, some in saved.items() if title.startswith(start) for figure in some)


def test_figures_have_the_papers_names_and_stand_on_the_page(demo: Path) -> None:
    names = ["figure_1_metric", "figure_2_losses", "figure_3_points", "figure_4_f1"]
    names += ["paper_metric", "points_u_net", "sections_u_net", "sections_v_net"]
    assert sorted(path.stem for path in (demo / "figures").iterdir()) == names
    page = write_page(demo, "inverse, demo").read_text()
    heading = re.search(r"<h2>Tables</h2>\n<h3>([^<]*)</h3>", page)
    assert heading is not None
    assert heading[1].startswith("SIMULATED DATA: Sources")


def test_figure_4_has_the_numbers_of_the_run(demo: Path, saved: Mapping[str, list[Figure]]) -> None:
    numbers, radii = read_json(demo / "metrics.json"), configure("demo").test.radii
    (axis,) = shown(saved, "F1 of predicted points, demo").axes
    lines = {line.get_label(): line for line in axis.lines}
    assert "jittered truth" not in lines
    for label, prefix in (("V-Net", ""), ("100 random points", "random_100_")):
        expected = [numbers[f"{prefix}f1_at_{radius:g}"] for radius in radii]
        np.testing.assert_allclose(lines[label].get_ydata(), expected)
    assert len(axis.collections) == 2  # bands of the two networks


def test_figure_3_shows_the_points_of_the_samples(demo: Path, saved: Mapping[str, list[Figure]]) -> None:
    frame = pd.read_parquet(demo / "predictions.parquet")
    figure = shown(saved, "V-Net: true and predicted")
    assert len(figure.axes) == 8
    for axis, example in zip(figure.axes[::2], (3, 4, 5, 6), strict=True):
        rows = frame[(frame["model"] == "v_net") & (frame["example"] == example)]
        for label in ("true", "predicted"):
            points = rows.loc[rows["kind"] == label, ["x_mm", "y_mm", "z_mm"]].to_numpy()
            (drawn,) = (part for part in axis.collections if part.get_label() == label)
            np.testing.assert_allclose(np.sort(np.transpose(drawn._offsets3d), 0), np.sort(points, 0))
            assert f"{len(points)} {label}" in axis.get_title()


def test_sections_go_through_the_strongest_source(demo: Path, saved: Mapping[str, list[Figure]]) -> None:
    frame = pd.read_parquet(demo / "predictions.parquet")
    rows = frame[(frame["model"] == "u_net") & (frame["example"] == 3) & (frame["kind"] == "true")]
    x_mm, y_mm, _ = rows.loc[rows["value"].idxmax(), ["x_mm", "y_mm", "z_mm"]]
    axes = shown(saved, "3D U-Net, sample 3").axes
    axial = axes[5]  # of the target
    assert [line.get_xdata()[0] for line in axial.lines[:1]] == [x_mm]
    column, row = int((x_mm - ORIGIN_MM) / VOXEL_MM), int((y_mm - ORIGIN_MM) / VOXEL_MM)
    assert axial.images[0].get_array()[row, column] == 1


def test_losses_are_on_a_logarithmic_scale(demo: Path, saved: Mapping[str, list[Figure]]) -> None:
    axes = shown(saved, "Loss in training").axes
    assert [axis.get_title() for axis in axes] == ["V-Net", "3D U-Net"]
    assert {axis.get_yscale() for axis in axes} == {"log"}
    assert axes[0].get_ylim()[1] > 1e11


def test_a_run_of_silent_samples_is_drawn(tmp_path: Path) -> None:
    """No F1 of anything, no point to cut through: tables and figures still stand."""
    folder = make(tmp_path / "run", configure("demo"), ("v_net",))
    frames = {name: pd.read_parquet(folder / f"{name}.parquet") for name in ("predictions", "baselines")}
    frames = {name: frame[frame["example"] == SILENT] for name, frame in frames.items()}
    for name, frame in frames.items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    write_json(folder / "metrics.json", evaluate(configure("demo"), **frames) | {"simulated": True})
    assert "tested on 0 samples of 1 head, and 1 without any source" in tables(folder)
    names = [path.stem for path in figures(folder)]
    assert names == ["figure_1_metric", "figure_2_losses", "figure_3_points", "figure_4_f1", "paper_metric"]


# ---- several runs


def test_rows_are_networks_formulations_and_points() -> None:
    found = rows("standard")
    keys = ("model.name", "train.loss", "data.dilation")
    assert len({tuple(fields[key] for key in keys) for fields in found.values()}) == len(found) == 8
    first, *others = found
    assert first == "V-Net, classification, plain"
    assert found[first]["test.classical"] == ("MNE", "dSPM", "sLORETA", "eLORETA", "LCMV")
    assert {found[row]["test.classical"] for row in others} == {("eLORETA",)}
    config = configure("standard")
    with config.unlocked():
        for fields in found.values():
            config.update_from_flattened_dict(fields)  # every field is one of the configuration's, and of its type


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, saved: Mapping[str, list[Figure]]) -> tuple[Path, str, Path]:
    """Three of the runs, compared: (place, what was printed, the first's folder)."""
    root = tmp_path_factory.mktemp("compared")
    folders, place = {}, root / "tables"
    for number, row in enumerate(name for name in rows("demo") if name.startswith("V-Net, c") or "U-Net, r" in name):
        fields = {key.replace(".", "__"): value for key, value in rows("demo")[row].items()}
        network = fields["model__name"]
        folders[row] = make(root / str(number), configure("demo", **fields), (network,), **{network: 3.0 * number})
    (place / "tables").mkdir(parents=True)
    for name in ("V_Net_heads.md", "V_Net_paper_metric.csv", "V_Net_results_points.md"):
        (place / "tables" / name).touch()
    return place, compare(folders, place), next(iter(folders.values()))


def test_runs_are_compared_on_their_samples_beside_the_firsts_baselines(compared: tuple[Path, str, Path]) -> None:
    place, printed, first = compared
    table = read(place, "comparison")
    networks = [row for row in rows("demo") if row.startswith("V-Net, c") or "U-Net, r" in row]
    assert list(table.index) == [*networks, *map(title_of, BASELINES)]
    column = table["F1 minus the first row's"]
    assert column[networks[0]] == ""
    run = Finished(first)
    f1 = [float(cell.split()[0]) for cell in table["F1 at 25 mm"]]
    assert f1[0] == pytest.approx(run.number("v_net", "f1"), abs=5e-4)
    for cell, own in zip(column[1:], f1[1:], strict=True):
        assert float(cell.split()[0]) == pytest.approx(own - f1[0], abs=2e-3)
    assert "**SIMULATED DATA: Sources, demo: networks" in printed


def test_quirks_of_some_runs_say_whose_they_are(compared: tuple[Path, str, Path]) -> None:
    text = notes(compared[0], "comparison")
    assert "- V-Net, classification, dilated; 3D U-Net, regression, dilated: Points are cubes of 5 x 5 x 5" in text
    assert text.count("split at random") == 1


def test_what_all_runs_share_is_written_once(compared: tuple[Path, str, Path]) -> None:
    names = {path.name for path in (compared[0] / "tables").iterdir()}
    assert not {"V_Net_heads.md", "V_Net_paper_metric.csv"} & names
    assert {"heads.md", "paper_metric.csv", "V_Net_results_points.md", "comparison.md"} <= names


def test_plain_and_dilated_are_drawn_side_by_side(
    compared: tuple[Path, str, Path], saved: Mapping[str, list[Figure]]
) -> None:
    names = {path.stem for path in (compared[0] / "figures").iterdir()}
    assert names == {"figure_2_losses", "figure_4_f1", "losses_u_net_regression", "f1_u_net_regression"}
    for start in ("Loss in training: V-Net, classification", "F1 of predicted points: V-Net, classification"):
        axes = shown(saved, start).axes
        assert [axis.get_title() for axis in axes] == ["a: plain", "b: dilated"]


def test_every_figure_is_stamped(demo: Path, compared: Any, saved: Mapping[str, list[Figure]]) -> None:
    drawn = [figure for some in saved.values() for figure in some]
    assert all("SIMULATED DATA" in [text.get_text() for text in figure.texts] for figure in drawn)


def test_radii_with_columns_lie_evenly() -> None:
    assert some_radii(range(0, 55, 5)) == [10, 25, 35]
    assert some_radii(range(10)) == [2, 4, 6]

"""The motor-imagery study's figures of a run made by hand, read from their artists."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from eegjax import cli
from eegjax.data.bci_iv_2a.reader import CH_NAMES
from eegjax.files import write_json
from eegjax.studies.motor_imagery.figures import figures
from eegjax.studies.motor_imagery.folds import TASKS
from eegjax.studies.motor_imagery.tables import title_of

ROOT = Path(__file__).parents[3]
FOUR = ("left_hand", "right_hand", "feet", "tongue")
NETWORKS = ("eegnet", "conv_net", "vae_conv_net", "conv_net_vae_samples")
BASELINES = ("csp_lda", "tangent_space", "control", "oracle", "majority")
SUBJECTS = ("A01", "A02", "A03")
N_EACH, N_TIMES, N_STEPS = 12, 25, 6


def configure(argument: str) -> ConfigDict:
    config = cli.configure(f"{ROOT}/configs/motor_imagery.py:{argument}", ["main.py"])
    with config.unlocked():
        config.model.update({"name": NETWORKS[0], "beside": NETWORKS[1:]})
        config.data.window_s = (0.5, 2.5)
    return config


def answers(model: str, task: str, seed: int) -> pd.DataFrame:
    """A random answer per trial."""
    rng, inside = np.random.default_rng(seed), TASKS[task]
    n = N_EACH * len(SUBJECTS)
    subject, place = np.repeat(SUBJECTS, N_EACH), np.arange(n)
    target = np.array(inside)[place % len(inside)]
    probabilities = np.zeros((n, 4))
    probabilities[:, inside] = rng.dirichlet(np.ones(len(inside)), n)
    columns = {f"p_{name}": probabilities[:, k] for k, name in enumerate(FOUR)}
    frame = pd.DataFrame({"example": place, "subject": subject, "start": 100 * place, "target": target, **columns})
    frame = frame.assign(model=model, split="test", recording=subject, fold=[f"{task} {name} x" for name in subject])
    return frame


def logged(model: str, task: str, seed: int) -> list[dict[str, Any]]:
    """Lines of `metrics.jsonl`: of a network with a VAE the loss is both parts' together."""
    rng, lines = np.random.default_rng(seed), []
    for subject in SUBJECTS:
        for step in range(1, N_STEPS + 1):
            line = {"model": model, "member": 0, "fold": f"{task} {subject} x", "seed": 0, "step": step, "epoch": 0}
            numbers = {"cross_entropy": rng.random(), "vae_loss": -100.0} if "vae" in model else {}
            loss = sum(numbers.values()) if numbers else rng.random()
            lines.append({**line, "loss": loss, "accuracy": rng.random(), **numbers})
    return lines


def make(folder: Path, config: ConfigDict, tasks: tuple[str, ...], models: tuple[str, ...] = NETWORKS) -> Path:
    """A run folder as far as figures need it."""
    (folder / "explanations").mkdir(parents=True)
    rng = np.random.default_rng(0)
    pairs = [(model, task) for task in tasks for model in (*models, *BASELINES)]
    frames = [answers(*pair, seed) for seed, pair in enumerate(pairs)]
    networks, others = (
        pd.concat([frame for frame, (model, _) in zip(frames, pairs, strict=True) if model in names])
        for names in (models, BASELINES)
    )
    networks.assign(seed=0, member=0).to_parquet(folder / "predictions.parquet")
    others.to_parquet(folder / "baselines.parquet")
    write_json(folder / "metrics.json", {"simulated": config.protocol == "demo"})
    write_json(folder / "card.json", {"ch_names": CH_NAMES})
    write_json(folder / "config.json", {"config": config.to_dict()})
    write_json(folder / "environment.json", {"starts": []})
    lines = [line for seed, pair in enumerate(pairs) if pair[0] in models for line in logged(*pair, seed)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for number, name in enumerate(models):
        np.savez(folder / "explanations" / f"importance_{name}.npz", importance=rng.random(22).astype(np.float32))
        trials = {key: rng.normal(number, 1, (4, N_TIMES, 22)) for key in ("original", "reconstruction")}
        if "vae" in name:
            np.savez(folder / "explanations" / f"reconstruction_{name}.npz", **trials)
    return folder


@pytest.fixture(scope="module")
def saved() -> Any:
    """Path -> figure, of all that were drawn; and how often each was."""
    kept: dict[str, list[Figure]] = {}
    patch, save = pytest.MonkeyPatch(), Figure.savefig

    def keep(figure: Figure, path: Path, *args: Any, **kwargs: Any) -> None:
        kept.setdefault(figure.get_suptitle(), []).append(figure)
        save(figure, path, *args, **kwargs)

    patch.setattr(Figure, "savefig", keep)
    yield kept
    patch.undo()


@pytest.fixture(scope="module")
def demo(saved: dict[str, list[Figure]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes, simulated, drawn."""
    folder = make(tmp_path_factory.mktemp("demo") / "run", configure("demo"), ("four",))
    assert figures(folder) == sorted((folder / "figures").iterdir())
    return folder


def shown(saved: dict[str, list[Figure]], start: str) -> Figure:
    (figure,) = (figure for title, some in saved.items() if title.startswith(start) for figure in some)
    return figure


def panels(figure: Figure) -> list[Axes]:
    return [axis for axis in figure.axes if axis.get_visible() and axis.get_label() != "<colorbar>"]


def test_every_figure_is_drawn_once(demo: Path, saved: dict[str, list[Figure]]) -> None:
    names = {path.stem for path in (demo / "figures").iterdir()}
    expected = {"confusion_four", "accuracy_four", "losses_four"}
    expected |= {f"importance_{name}" for name in NETWORKS}
    expected |= {"figure_4_reconstruction", "reconstruction_conv_net_vae_samples"}  # the report's, and the other VAE's
    assert names == expected
    assert sum(len(some) for some in saved.values()) == len(expected)  # nothing was drawn over
    assert len(saved) == len(expected)  # nor are two called the same


def test_simulated_figures_are_stamped_and_titled(demo: Path, saved: dict[str, list[Figure]], tmp_path: Path) -> None:
    for (figure,) in saved.values():
        assert "SIMULATED DATA" in [text.get_text() for text in figure.texts]
    captions = set()
    for path in (demo / "figures").iterdir():
        with PIL.Image.open(path) as image:
            captions.add(image.info["Description"])
    assert captions == set(saved)


def test_answers_are_a_matrix_per_network(demo: Path, saved: dict[str, list[Figure]]) -> None:
    axes = panels(shown(saved, "Test trials"))
    assert [axis.get_title() for axis in axes] == [title_of(name) for name in NETWORKS]
    predictions = pd.read_parquet(demo / "predictions.parquet")
    for axis, name in zip(axes, NETWORKS, strict=True):
        own = predictions[predictions["model"] == name]
        said = own[[f"p_{label}" for label in FOUR]].to_numpy().argmax(1)
        counts = pd.crosstab(own["target"], said).reindex(index=range(4), columns=range(4), fill_value=0).to_numpy()
        percent = 100 * counts / counts.sum(1, keepdims=True)
        np.testing.assert_allclose(axis.images[0].get_array(), percent)
        assert [text.get_text() for text in axis.get_xticklabels()] == [label.replace("_", "\n") for label in FOUR]


def test_subjects_have_a_point_per_network_and_baseline(demo: Path, saved: dict[str, list[Figure]]) -> None:
    """As many as there are colours, no ceiling and no constant among them."""
    (axis,) = panels(shown(saved, "Accuracy per subject"))
    names = [*NETWORKS[:3], *BASELINES[:3]]
    points = {line.get_label(): line.get_ydata() for line in axis.lines if line.get_label() in map(title_of, names)}
    assert list(points) == [title_of(name) for name in names]
    frames = pd.concat([pd.read_parquet(demo / f"{kind}.parquet") for kind in ("predictions", "baselines")])
    for name in names:
        own = frames[frames["model"] == name]
        hits = own[[f"p_{label}" for label in FOUR]].to_numpy().argmax(1) == own["target"]
        np.testing.assert_allclose(points[title_of(name)], hits.groupby(own["subject"]).mean())


def test_losses_are_the_classifiers_own(demo: Path, saved: dict[str, list[Figure]]) -> None:
    """So that those with and without a VAE can be compared."""
    axes = panels(shown(saved, "Loss and accuracy"))
    assert len(axes) == 2 * len(NETWORKS)
    assert [axis.get_title() for axis in axes[: len(NETWORKS)]] == [title_of(name) for name in NETWORKS]
    log = pd.read_json(demo / "metrics.jsonl", lines=True)
    for axis, name in zip(axes, NETWORKS, strict=False):
        own = log[log["model"] == name]
        column = "cross_entropy" if "vae" in name else "loss"
        drawn = np.sort([line.get_ydata() for line in axis.lines[: len(SUBJECTS)]], 0)
        np.testing.assert_allclose(drawn, np.sort(own.pivot_table(column, "fold", "step").to_numpy(), 0))
        assert drawn.min() > 0


@pytest.mark.parametrize("name", NETWORKS[2:])
def test_reconstructions_stand_below_their_trials(demo: Path, saved: dict[str, list[Figure]], name: str) -> None:
    axes = panels(shown(saved, f"{title_of(name)}: test trials"))
    assert len(axes) == 8
    with np.load(demo / "explanations" / f"reconstruction_{name}.npz") as file:
        trials = [*file["original"], *file["reconstruction"]]
    for axis, trial in zip(axes, trials, strict=True):
        np.testing.assert_allclose(axis.images[0].get_array(), trial.T)
        assert axis.images[0].get_extent()[:2] == [0, 2]  # seconds of the window
    assert [text.get_text() for text in axes[0].get_yticklabels()] == list(CH_NAMES)


def test_importance_is_on_the_channels(demo: Path, saved: dict[str, list[Figure]]) -> None:
    for name in NETWORKS:
        (axis,) = panels(shown(saved, f"{title_of(name)}: importance of each"))
        assert {text.get_text() for text in axis.texts} >= set(CH_NAMES)
        with np.load(demo / "explanations" / f"importance_{name}.npz") as file:
            assert axis.images[0].get_clim() == pytest.approx((0, file["importance"].max()))


def test_every_task_has_its_own(saved: dict[str, list[Figure]], demo: Path, tmp_path: Path) -> None:
    """And no real data is stamped."""
    before = set(saved)
    folder = make(tmp_path / "run", configure("standard,dataset=eegmmidb"), tuple(TASKS), NETWORKS[:1])
    names = {path.stem for path in figures(folder)}
    for task in TASKS:
        assert {f"{kind}_{task}" for kind in ("confusion", "accuracy", "losses")} <= names
    assert len(names) == 3 * 3 + 1
    for task in ("four classes", "left or right"):
        some = [figure for name, drawn in saved.items() if name.endswith(f"in training, {task}") for figure in drawn]
        assert len(panels(some[-1])[0].lines) == len(SUBJECTS) + 1  # of this task's folds, and their mean
    axes = panels(shown(saved, "Test trials, both fists or both feet"))
    assert [text.get_text() for text in axes[0].get_xticklabels()] == ["feet", "tongue"]
    for title in set(saved) - before:
        assert "SIMULATED DATA" not in [text.get_text() for text in saved[title][0].texts]

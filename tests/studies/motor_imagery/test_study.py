"""Whole runs of the motor-imagery study, as small as it gets: what is left in the folder, and what a person may ask."""

import contextlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from ml_collections import ConfigDict
from sklearn.metrics import cohen_kappa_score

from eegjax import cli, commands
from eegjax.errors import UserError
from eegjax.files import read_json

ROOT = Path(__file__).parents[3]
CLASSES = ("left_hand", "right_hand", "feet", "tongue")


@pytest.fixture(scope="module")
def configure(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ConfigDict]:
    """A function: protocol and keys, fields -> a configuration whose runs and data lie in one folder."""
    root = tmp_path_factory.mktemp("imagery")

    def make(argument: str, **fields: object) -> ConfigDict:
        given = f"--config={ROOT}/configs/motor_imagery.py:{argument}"
        config = cli.parse(("main.py", given, f"--config.run.root={root}"), {})[0]
        with config.unlocked():
            config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
        return config

    return make


@pytest.fixture(scope="module")
def finished(configure) -> tuple[Path, str]:
    """The smallest demo with a network and a VAE before it: its folder, and what it printed."""
    printed = io.StringIO()
    config = configure("demo,size=tiny", model__name="shallow", model__beside=("vae_conv_net",))
    with contextlib.redirect_stdout(printed):
        folder = commands.launch(config)
    return folder, printed.getvalue()


@pytest.mark.slow
def test_the_folder_is_whole(finished) -> None:
    folder, printed = finished
    assert re.fullmatch(r"motor_imagery-demo-[0-9a-f]{16}", folder.name)
    for name in ("config.json", "folds.json", "card.json", "metrics.json", "predictions.parquet", "report.html"):
        assert (folder / name).exists()
    assert "SIMULATED DATA" in printed
    for title in ("ShallowConvNet", "VAE + ConvNet", "CSP + LDA", "ceiling", "control", "chance level"):
        assert title in printed


@pytest.mark.slow
def test_every_trial_of_session_e_is_tested_once_by_each_network_and_baseline(finished) -> None:
    folder, _ = finished
    card, folds = read_json(folder / "card.json"), json.loads((folder / "folds.json").read_text())
    assert card["simulated"]
    predictions, baselines = (pd.read_parquet(folder / f"{name}.parquet") for name in ("predictions", "baselines"))
    tested = predictions[predictions["split"] == "test"]
    assert set(tested["session"]) == {"E"}
    n_tested = tested["example"].nunique()
    for frame in (tested, baselines):
        for _, own in frame.groupby("model"):
            assert len(own) == own["example"].nunique() == n_tested
            np.testing.assert_allclose(own[[f"p_{name}" for name in CLASSES]].sum(axis=1), 1, atol=1e-5)
    assert len(folds) >= 2


@pytest.mark.slow
def test_the_printed_kappa_is_that_of_the_predictions(finished) -> None:
    folder, _ = finished
    metrics, predictions = read_json(folder / "metrics.json"), pd.read_parquet(folder / "predictions.parquet")
    own = predictions[(predictions["model"] == "shallow") & (predictions["split"] == "test")]
    answers = own[[f"p_{name}" for name in CLASSES]].to_numpy().argmax(1)
    assert metrics["accuracy"] == pytest.approx((answers == own["target"]).mean())
    assert metrics["kappa"] == pytest.approx(cohen_kappa_score(own["target"], answers))
    by_subject = (answers == own["target"]).groupby(own["subject"]).mean()
    assert metrics["accuracy_mean"] == pytest.approx(by_subject.mean())


@pytest.mark.slow
def test_every_figure_is_a_picture_that_says_it_is_simulated(finished) -> None:
    folder, _ = finished
    names = {path.name for path in (folder / "figures").glob("*.png")}
    assert {"confusion_four.png", "accuracy_four.png", "losses_four.png", "figure_4_reconstruction.png"} <= names
    assert {"importance_shallow.png", "importance_vae_conv_net.png"} <= names
    for path in (folder / "figures").glob("*.png"):
        with PIL.Image.open(path) as image:
            assert min(image.size) > 200
            assert np.ptp(np.asarray(image.convert("L"))) > 100


@pytest.mark.slow
def test_the_oracle_is_no_worse_than_guessing_and_needs_no_training(finished) -> None:
    """Eight trials of a run say little; that the rows are aligned is what is seen here: labels by the likelihood."""
    folder, _ = finished
    baselines = pd.read_parquet(folder / "baselines.parquet")
    oracle = baselines[baselines["model"] == "oracle"]
    right = oracle[[f"p_{name}" for name in CLASSES]].to_numpy().argmax(1) == oracle["target"]
    assert right[oracle["subject"] != "A04"].mean() > 0.4


# ---- the paper as it was run


@pytest.fixture(scope="module")
def published(configure, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The paper's protocol on a made-up course release of four persons: its folder, and what it printed."""
    root, rng, printed = tmp_path_factory.mktemp("release"), np.random.default_rng(0), io.StringIO()
    for part, n_trials in (("train_valid", 40), ("test", 16)):
        np.save(root / f"X_{part}.npy", rng.standard_normal((n_trials, 22, 1000)))
        np.save(root / f"y_{part}.npy", rng.permutation(np.tile([769, 770, 771, 772], n_trials // 4)))
        np.save(root / f"person_{part}.npy", np.repeat(np.arange(4.0), n_trials // 4)[:, None])
    with contextlib.redirect_stdout(printed):
        folder = commands.launch(configure("paper,size=tiny", data__root=str(root)))
    return folder, printed.getvalue()


@pytest.mark.slow
def test_the_paper_s_table_stands_above_ours_with_its_leaks_named(published) -> None:
    folder, printed = published
    assert re.search(r"CNN +\| paper +\| +89.70 \| +91.40 \| +65.00", printed)
    assert "SIMULATED" not in printed
    assert "One network runs through all folds without a restart" in printed
    assert "Trials of all subjects and runs are split at random" in printed
    predictions = pd.read_parquet(folder / "predictions.parquet")
    last = predictions[predictions["fold"] == predictions["fold"].iloc[-1]]
    assert last.groupby("split")["example"].nunique().to_dict() == {"test": 16, "train": 20, "validation": 20}
    ours = last[last["split"] == "test"]
    right = ours[[f"p_{name}" for name in CLASSES]].to_numpy().argmax(1) == ours["target"]
    assert re.search(rf"CNN +\| ours .*\| +{100 * right.mean():.2f} \|", printed)


# ---- what a person gets wrong


@pytest.mark.parametrize(
    ("argument", "fields", "words"),
    [
        ("demo,size=tiny", {"data__root": "somewhere"}, "the demo simulates its data"),
        ("standard", {}, "config.data.root is not set.*--download"),
        ("demo,size=tiny", {"data__dataset": "bci_iv_2b"}, "Did you mean 'bci_iv_2a'"),
        ("demo,size=tiny", {"model__name": "eeg_net"}, "Did you mean 'eegnet'"),
        ("demo,size=tiny", {"splits__kind": "pooled"}, "for the paper's protocol alone"),
        ("demo,size=tiny", {"splits__kind": "lozo"}, "Did you mean 'loso'"),
        ("demo,size=tiny", {"inputs__scale": "chanel"}, "Did you mean 'channel'"),
        ("demo,size=tiny", {"inputs__align": "riemann"}, "there are none, euclidean"),
        ("demo,size=tiny", {"model__pooling": "mean"}, "flatten"),
        ("demo,size=tiny", {"model__name": "deep4", "model__beside": (), "data__window_s": (0.0, 0.5)}, "441"),
        ("demo,size=tiny", {"data__window_s": (0.0, 40.0)}, "window"),
        ("demo,size=tiny", {"train__reuse_params_across_folds": True}, "leaks"),
    ],
)
def test_a_mistake_is_one_clear_line_and_trains_nothing(configure, monkeypatch, argument, fields, words) -> None:
    from eegjax.run.network import Network

    monkeypatch.setattr(Network, "run", lambda *_: pytest.fail("it trained"))
    with pytest.raises(UserError, match=words) as error:
        commands.launch(configure(argument, **fields))
    assert "\n" not in str(error.value)

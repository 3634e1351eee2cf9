"""Whole runs of the smallest demo: what is in the folder, and that nothing the user or the machine does breaks it."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import PIL.Image
import pytest
from sklearn.metrics import cohen_kappa_score

from eegjax import commands
from eegjax.errors import UserError
from eegjax.run import folder as runs
from eegjax.run import weights
from eegjax.run.network import Network
from eegjax.studies.sleep import data as sleep_data
from eegjax.studies.sleep import explain as sleep_explain
from eegjax.studies.sleep import study as sleep

STAGES = ("W", "N1", "N2", "N3", "N4", "R")
NETWORKS = ("vgg16", "vgg16_conv_lstm")
WAIT_S = 400  # for a process to get so far; a busy machine takes its time
INDEX = ["example", "subject", "session", "recording", "onset_s", "start", "stop"]


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_, **__):
        raise AssertionError("this run trains again")

    monkeypatch.setattr(Network, "run", train)


# ---- what a finished run leaves


def test_the_folder_is_named_by_its_configuration_and_whole(finished, tiny, run_root: Path) -> None:
    assert finished.folder.parent == run_root
    assert re.fullmatch(r"sleep-demo-[0-9a-f]{16}", finished.folder.name)
    names = {path.name for path in finished.folder.iterdir()} - {".lock", "tensorboard"}
    assert names == {
        *("config.json", "environment.json", "card.json", "folds.json", "metrics.jsonl", "metrics.json"),
        *("predictions.parquet", "baselines.parquet", "checkpoints", "weights", "explanations"),
        *("tables", "figures", "report.html"),
    }
    assert not list(finished.folder.rglob("*.part*"))


def test_weights_and_predictions_stay_and_states_go(finished) -> None:
    """A state is several times as large as the weights, and nobody needs it once they are kept."""
    left = [path.relative_to(finished.folder) for path in (finished.folder / "checkpoints").rglob("*")]
    groups = [Path("checkpoints") / f"{model}-000-000" for model in NETWORKS]
    assert sorted(left) == sorted([*groups, *[group / "predictions.parquet" for group in groups]])
    kept = sorted((finished.folder / "weights").iterdir())
    assert [path.name for path in kept] == [f"{model}-000.safetensors" for model in NETWORKS]
    for model in NETWORKS:
        (one,) = weights.load(finished.folder, model)
        assert one.names == {"model": model, "member": 0, "fold": "held-out", "seed": 0}
    explained = sorted((finished.folder / "explanations").iterdir())
    assert [path.name for path in explained] == [f"{model}.npz" for model in NETWORKS]


def test_predictions_have_a_row_per_model_and_tested_epoch(finished, tiny) -> None:
    frame = pd.read_parquet(finished.folder / "predictions.parquet")
    probabilities = [f"p_{name}" for name in STAGES]
    assert list(frame.columns) == [*INDEX, "model", "member", "fold", "seed", "split", "target", *probabilities]
    index = sleep.prepare(tiny()).index
    (fold,) = json.loads((finished.folder / "folds.json").read_text())
    assert set(frame["model"]) == {f"{name}{end}" for name in NETWORKS for end in ("", "_viterbi")}
    for _, part in frame.groupby("model"):
        assert part["example"].tolist() == sorted(fold["test"])
        truth = index.iloc[part["example"]]
        for column in INDEX:
            assert (part[column].to_numpy() == truth[column].to_numpy()).all()
        assert (part["target"].to_numpy() == truth["label"].to_numpy()).all()
    assert set(frame["split"]) == {"test"}
    assert set(frame["subject"]) == {"SC402"}  # the last of three
    np.testing.assert_allclose(frame[probabilities].sum(axis=1), 1, atol=1e-5)
    assert frame[probabilities].to_numpy().min() >= 0
    smoothed = frame[frame["model"].str.endswith("_viterbi")]
    assert set(np.unique(smoothed[probabilities])) == {0, 1}


def test_the_folds_share_no_subject(finished) -> None:
    for fold in json.loads((finished.folder / "folds.json").read_text()):
        assert fold["leak"] == ""
        assert not set(fold["train_groups"]) & set(fold["test_groups"])
        assert not set(fold["train"]) & set(fold["test"])


def test_metrics_are_flat_numbers_that_follow_from_the_predictions(finished) -> None:
    metrics = json.loads((finished.folder / "metrics.json").read_text())
    wanted = {
        *("kappa", "kappa_low", "kappa_high", "simulated", "n_examples", "n_subjects"),
        *("seconds_total", "seconds_compile", "examples_per_s"),
    }
    assert wanted <= set(metrics)
    assert all(value is None or isinstance(value, int | float | str) for value in metrics.values())
    assert metrics["simulated"] is True
    assert metrics["n_subjects"] == 1
    frame = pd.read_parquet(finished.folder / "predictions.parquet")
    baselines = pd.read_parquet(finished.folder / "baselines.parquet")
    assert metrics["n_examples"] == frame["example"].nunique()
    for prefix, part in (
        ("", frame[frame["model"] == "vgg16"]),
        ("vgg16_conv_lstm_", frame[frame["model"] == "vgg16_conv_lstm"]),
        ("vgg16_viterbi_", frame[frame["model"] == "vgg16_viterbi"]),
        ("band_powers_", baselines[baselines["model"] == "band_powers"]),
        ("ceiling_", baselines[baselines["model"] == "ceiling"]),
    ):
        predicted = part[[f"p_{name}" for name in STAGES]].to_numpy().argmax(1)
        kappa = cohen_kappa_score(part["target"], predicted)
        assert metrics[f"{prefix}kappa"] == pytest.approx(kappa, abs=1e-12)
        assert metrics[f"{prefix}accuracy"] == pytest.approx((part["target"] == predicted).mean())
        assert metrics[f"{prefix}kappa_low"] <= kappa <= metrics[f"{prefix}kappa_high"]
    assert 0 < metrics["seconds_compile"] < metrics["seconds_total"]
    assert metrics["examples_per_s"] > 0


def test_the_metric_log_has_a_line_per_step_of_each_network(finished) -> None:
    lines = [json.loads(line) for line in (finished.folder / "metrics.jsonl").read_text().splitlines()]
    (fold,) = json.loads((finished.folder / "folds.json").read_text())
    per_epoch = -(-len(fold["train"]) // 32)
    assert [line["step"] for line in lines if line["model"] == "vgg16"] == list(range(1, 2 * per_epoch + 1))
    for line in lines:
        assert {"model", "member", "fold", "seed", "step", "epoch", "loss", "examples_per_s"} <= set(line)
        assert line["loss"] > 0
    assert {line["epoch"] for line in lines} == {0, 1}


def test_tables_and_figures_are_stamped_and_printed(finished) -> None:
    tables = sorted((finished.folder / "tables").glob("*.md"))
    papers = ["paper_table_1", "paper_table_3", "paper_table_4"]
    assert [path.stem for path in tables] == ["class_balanced", *[f"classes_{n}" for n in NETWORKS], *papers, "results"]
    for path in tables:
        assert "SIMULATED" in path.read_text()
        assert path.read_text().strip() in finished.printed
        assert {"csv", "tex"} <= {other.suffix[1:] for other in path.parent.glob(f"{path.stem}.*")}
    assert finished.printed.rstrip().endswith(str(finished.folder))
    assert str(finished.folder / "report.html") in finished.printed
    figures = sorted((finished.folder / "figures").iterdir())
    assert [path.stem for path in figures] == [
        *(f"activations_{name}" for name in NETWORKS),
        *("calibration", "confusion", "figure_1_sensitivity", "figure_2_hypnogram", "losses"),
        *(f"wrong_{name}" for name in NETWORKS),
    ]
    for path in figures:
        assert path.stat().st_size > 10_000
        with PIL.Image.open(path) as image:
            assert image.format == "PNG"
            assert image.info["Description"]  # the caption on the page


MEASURE = """<script>addEventListener("load", () => {
  document.title = JSON.stringify(Array.from(document.images, image => image.naturalWidth)) })</script></body>"""


def test_the_page_of_a_run_in_a_browser(finished, browse, tmp_path: Path) -> None:
    """No error on the console, every table and figure there, the paper's first."""
    page = finished.folder / "report.html"
    dom, console = browse(page)
    assert console == []
    assert dom.count("<table>") >= len(list((finished.folder / "tables").glob("*.md")))
    captions = re.findall("<figcaption>(.*?)</figcaption>", dom)
    assert len(captions) == len(list((finished.folder / "figures").iterdir()))
    assert captions[0].startswith("An epoch of each stage")
    assert captions[1].startswith("Recording SC4021")
    titles = re.findall("<h3>SIMULATED DATA: (.*?)</h3>", dom)
    assert [title.split(",")[0].split(":")[0] for title in titles[:4]] == [
        *("Sleep staging", "Table 1", "Table 3", "Table 4"),
    ]
    measured = tmp_path / "measured.html"  # the page's own policy forbids the script that measures it
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    measured.write_text(text.replace("</body>", MEASURE), encoding="utf-8")
    widths = json.loads(re.search(r"<title>(.*)</title>", browse(measured)[0])[1])
    assert len(widths) == len(captions)
    assert min(widths) > 500


# ---- the same command again


def test_the_same_command_shows_the_finished_run(finished, tiny, no_training, capsys) -> None:
    before = {path: path.read_bytes() for path in finished.folder.glob("*.parquet")}
    assert commands.launch(tiny()) == finished.folder
    assert capsys.readouterr().out == finished.printed
    assert {path: path.read_bytes() for path in finished.folder.glob("*.parquet")} == before


@pytest.fixture
def copied(finished, tmp_path: Path) -> Path:
    """The finished run in another folder, which a test may spoil."""
    return Path(shutil.copytree(finished.folder, tmp_path / "run"))


def contents(folder: Path) -> dict[str, bytes]:
    """What a run holds, by name; without what tells times and starts, and the page that shows them."""
    timed = ("environment.json", "metrics.json", "report.html", ".lock")
    files = [path for path in folder.rglob("*") if path.is_file() and "tensorboard" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name not in timed}


def test_the_tables_are_written_anew_each_time(finished, copied: Path, tiny, no_training) -> None:
    shutil.rmtree(copied / "tables")
    (copied / "figures" / "confusion.png").unlink()
    commands.launch(tiny(), str(copied))
    assert set(contents(finished.folder)) - set(contents(copied)) == {"figures/confusion.png"}  # the page is there


def cut(path: Path) -> None:
    """As a writer leaves it that was killed: half of it, under the name it has until it is whole."""
    aside = path.with_name(f".{path.name}.123.part{path.suffix}")
    path.rename(aside)
    for file in [aside] if aside.is_file() else sorted(aside.iterdir())[:1]:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.slow
def test_without_its_page_all_is_drawn_anew(finished, copied: Path, tiny, no_training, monkeypatch) -> None:
    """As after a kill among the tables and figures; what is explained isn't explained again."""
    monkeypatch.setattr(sleep_explain, "explain", lambda *_: 1 / 0)
    for name in ("tables/results.csv", "figures/confusion.png", "report.html"):
        cut(copied / name)
    for name in ("tables/results.tex", "figures/losses.png"):
        (copied / name).unlink()
    commands.launch(tiny(), str(copied))
    assert contents(copied) == contents(finished.folder)
    assert (copied / "report.html").read_text().count("<img") == len(list((copied / "figures").iterdir()))


@pytest.mark.parametrize(
    ("half", "missing"),
    [
        ("predictions.parquet", ["baselines.parquet", "card.json", "metrics.json", "explanations"]),
        pytest.param("explanations", [], marks=pytest.mark.slow),
    ],
)
def test_killed_after_training(finished, copied: Path, tiny, no_training, monkeypatch, half: str, missing) -> None:
    """The same command makes the whole of it, without training, and leaves nothing half-written."""
    figures = lambda folder: shutil.copytree(finished.folder / "figures", folder / "figures")  # noqa: E731
    monkeypatch.setattr(sleep, "STUDY", sleep.STUDY._replace(figures=figures))  # the real ones take seconds
    metrics = json.loads((copied / "metrics.json").read_text())
    (copied / "checkpoints" / "vgg16-000-000" / "20" / "state").mkdir(parents=True)
    cut(copied / half)
    for path in [copied / name for name in (*missing, "tables", "figures", "report.html")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    commands.launch(tiny(), str(copied))
    assert contents(copied) == contents(finished.folder)
    assert (copied / "report.html").exists()
    if "metrics.json" in missing:  # a state that was about to go is gone
        assert [path.name for path in (copied / "checkpoints" / "vgg16-000-000").iterdir()] == ["predictions.parquet"]
    again = json.loads((copied / "metrics.json").read_text())
    for numbers in (metrics, again):
        for name in ("seconds_total", "seconds_compile", "examples_per_s"):
            del numbers[name]
    assert again == metrics


def test_of_several_processes_the_first_one_reports(copied: Path, tiny, no_training, monkeypatch, capsys) -> None:
    for name in ("explanations", "tables", "figures"):
        shutil.rmtree(copied / name)
    (copied / "report.html").unlink()
    before = contents(copied)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    assert commands.launch(tiny(), str(copied)) == copied
    assert contents(copied) == before
    assert capsys.readouterr().out == ""


def test_a_failure_after_training_costs_no_training(finished, tiny, monkeypatch, capsys) -> None:
    metrics = json.loads((finished.folder / "metrics.json").read_text())
    (finished.folder / "metrics.json").unlink()
    broken = sleep.STUDY._replace(evaluate=lambda *_: 1 / 0)
    monkeypatch.setattr(sleep, "STUDY", broken)
    with pytest.raises(ZeroDivisionError):
        commands.launch(tiny())
    assert not (finished.folder / "metrics.json").exists()
    monkeypatch.undo()
    monkeypatch.setattr(Network, "run", lambda *_: 1 / 0)
    commands.launch(tiny())
    again = json.loads((finished.folder / "metrics.json").read_text())
    untimed = set(metrics) - {"seconds_total", "seconds_compile", "examples_per_s"}
    assert {name: again[name] for name in untimed} == {name: metrics[name] for name in untimed}


def test_another_configuration_may_not_have_the_folder(finished, tiny) -> None:
    with pytest.raises(UserError, match=r"train\.learning_rate .* -> 0\.5.*--workdir"):
        commands.launch(tiny("--config.train.learning_rate=0.5"), str(finished.folder))


def test_a_second_run_in_the_folder_is_refused(finished, tiny) -> None:
    with (
        runs.locked(finished.folder / ".lock", "taken"),
        pytest.raises(UserError, match=r"another run.*--workdir"),
    ):
        commands.launch(tiny())


# ---- mistakes, each one clear line before anything is trained


@pytest.fixture(scope="module")
def recordings(tiny, run_root: Path) -> Path:
    """A folder of recordings for the other protocols: the demo's simulated files."""
    return sleep_data._simulated(tiny(), run_root / "datasets")


@pytest.mark.parametrize(
    ("further", "words"),
    [
        ("--config.data.root=/tmp", ("config.data.root is /tmp", "the demo simulates", "eegjax run sleep:standard")),
        ("--config.data.n_classes=4", ("config.data.n_classes is 4", "6", "5")),
        ("--config.data.context_epochs=-1", ("config.data.context_epochs is -1", "0 or more")),
        ("--config.data.margin_s=-30", ("config.data.margin_s is -30", "0 or more")),
        ("--config.data.simulation.n_subjects=0", ("config.data.simulation.n_subjects is 0", "1 or more")),
        ("--config.data.simulation.n_epochs=3", ("config.data.simulation.n_epochs is 3", "40 or more")),
        ("--config.splits.n_test_subjects=3", ("train part is empty",)),
        ("--config.splits.n_test_subjects=-1", ("config.splits.n_test_subjects is -1",)),
        ("--config.inputs.size=16", ("config.inputs.size is 16", "32 or more")),
        ("--config.inputs.colour=grey", ("config.inputs.colour is 'grey'", "gray, jet")),
        ("--config.model.name=vgg61", ("config.model.name is 'vgg61'", "Did you mean 'vgg16'")),
        ("--config.model.beside=('vgg',)", ("'vgg'", "vgg16, vgg16_conv_lstm")),
        ("--config.model.weights=imagenet", ("imagenet: no file of weights", ".safetensors", ".pth")),
        ("--config.model.width=0", ("config.model.width is 0", "above 0")),
        ("--config.model.dropout=1", ("config.model.dropout is 1", "below 1")),
        ("--config.model.sequence_epochs=0", ("config.model.sequence_epochs is 0",)),
        ("--config.train.optimizer=adm", ("config.train.optimizer is 'adm'", "Did you mean 'adam'")),
        ("--config.train.schedule=cosin", ("config.train.schedule is 'cosin'", "Did you mean 'cosine'")),
        ("--config.train.precision=float16", ("config.train.precision is 'float16'", "float32, bfloat16")),
        ("--config.train.balance=undr", ("config.train.balance is 'undr'", "Did you mean 'under'")),
        ("--config.train.batch_size=30", ("config.train.batch_size", "30", "4 device(s)", "choose 32")),
        ("--config.train.batch_size=0", ("config.train.batch_size is 0", "1 or more")),
        ("--config.train.n_epochs=0", ("config.train.n_epochs is 0", "1 or more")),
        ("--config.train.learning_rate=nan", ("config.train.learning_rate is nan", "above 0")),
        ("--config.train.learning_rate=-1e-3", ("config.train.learning_rate is -0.001", "above 0")),
        ("--config.train.ema_decay=1", ("config.train.ema_decay is 1", "below 1")),
        ("--config.train.groups.all.pattern=nothing", ("config.train.groups", "no group")),
        ("--config.train.groups.all.pattern=[", ("config.train.groups", "regular expression")),
        ("--config.seed=-1", ("config.seed is -1", "0 or more")),
        ("--config.run.workers=0", ("config.run.workers is 0", "1 or more")),
        ("--config.run.space=3", ("config.run.space is 3", "4 devices")),
        ("--config.run.space=0", ("config.run.space is 0", "1 or more")),
    ],
)
def test_a_mistaken_field_is_one_clear_line(finished, tiny, tmp_path: Path, further: str, words) -> None:
    workdir = tmp_path / "run"
    with pytest.raises(UserError) as caught:
        commands.launch(tiny(further), str(workdir))
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text
    left = {path.name for path in workdir.iterdir()} if workdir.exists() else set()
    assert left <= {".lock"}  # the mended command may have the folder


def test_a_batch_of_sequences_is_counted_in_the_epochs_that_the_user_gives(tiny) -> None:
    further = ("--config.model.name=vgg16_conv_lstm", "--config.model.beside=()", "--config.train.batch_size=24")
    with pytest.raises(UserError, match=r"6 sequences of 4 examples.*choose 32"):
        commands.launch(tiny(*further))


def test_an_unknown_study_is_named(tiny) -> None:
    config = tiny().copy_and_resolve_references()
    config.study = "slep"
    with pytest.raises(UserError, match=r"'slep'.*Did you mean 'sleep'"):
        commands.launch(config)


def standard(tiny: Callable, root: Path | str, *further: str):
    config = tiny(*further).copy_and_resolve_references()
    config.protocol, config.data.root = "standard", str(root)
    return config


def test_a_protocol_with_real_data_says_where_they_are_had(tiny) -> None:
    with pytest.raises(UserError, match=r"config\.data\.root is not set.*physionet\.org.*eegjax run sleep"):
        commands.launch(standard(tiny, ""))


def test_a_root_that_is_not_there_or_empty_is_named(tiny, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, found in (("nowhere", "is no folder"), ("empty", "holds no recordings")):
        with pytest.raises(UserError, match=f"{tmp_path / name}: {found}; expected .*PSG.edf"):
            commands.launch(standard(tiny, tmp_path / name))


def test_weights_must_be_said(tiny, recordings: Path) -> None:
    config = standard(tiny, recordings)
    config.model.weights = ""
    with pytest.raises(UserError, match=r"config\.model\.weights is not set.*--config\.model\.weights=none"):
        commands.launch(config)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("splits.n_folds", 9, "9 folds over 3 subject"),
        ("data.channel", "EEG Cz", "EEG Cz.*EEG Fpz-Cz"),
        ("splits.n_validation_subjects", 2, "train part is empty"),
    ],
)
def test_what_the_recordings_do_not_have_is_named(tiny, recordings: Path, name: str, value, words: str) -> None:
    config = standard(tiny, recordings)
    config.splits.n_test_subjects = 0
    config.update_from_flattened_dict({name: value})
    with pytest.raises(UserError, match=words):
        commands.launch(config)


# ---- killed, and continued


def launch(arguments: tuple[str, ...], root: Path, workdir: Path, **options) -> subprocess.Popen:
    script = Path(__file__).parents[2] / "launch" / "main.py"
    further = (f"--config.run.root={root}", "--config.run.checkpoint_every_s=0.1", f"--workdir={workdir}")
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, str(script), *arguments, *further], cwd=root, **streams, **options)


def ended(process: subprocess.Popen, when: Callable[[], bool], number: int) -> tuple[int, str]:
    """Send a signal as soon as something is so; the status, and standard error."""
    begun_s = time.monotonic()
    while not when():
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() - begun_s < WAIT_S
        time.sleep(0.005)
    process.send_signal(number)
    _, err = process.communicate(timeout=WAIT_S)
    return process.returncode, err


def logged(workdir: Path, model: str) -> int:
    path = workdir / "metrics.jsonl"
    return path.read_text().count(f'"model": "{model}"') if path.exists() else 0


@pytest.mark.slow
def test_killed_at_three_moments_and_continued_is_the_run_never_killed(request, finished, tmp_path: Path) -> None:
    root, workdir = tmp_path / "root", tmp_path / "run"
    root.mkdir()
    parts = root / "datasets" / "parts"
    moments = random.Random(os.getpid() if request.config.getoption("--hypothesis-random") else 0)
    wanted = moments.randint(1, 5), moments.randint(1, 12), moments.randint(1, 12)
    print(f"killed at part, step, step {wanted}")

    status, _ = ended(
        launch(finished.arguments, root, workdir), lambda: len(list(parts.glob("*.npz"))) >= wanted[0], signal.SIGKILL
    )
    assert status == -signal.SIGKILL
    assert not workdir.exists()  # nothing is claimed while the data are prepared

    status, err = ended(
        launch(finished.arguments, root, workdir), lambda: logged(workdir, "vgg16") >= wanted[1], signal.SIGTERM
    )
    assert status == 143
    assert re.fullmatch(r"preempted: .*step \d+ of \d+; saved; start the same command again.*", err.splitlines()[-1])
    assert "Traceback" not in err
    before = (workdir / "metrics.jsonl").read_text()

    status, _ = ended(
        launch(finished.arguments, root, workdir),
        lambda: logged(workdir, "vgg16_conv_lstm") >= wanted[2],
        signal.SIGKILL,
    )
    assert status == -signal.SIGKILL
    assert (workdir / "metrics.jsonl").read_text().startswith(before)  # it went on where it was asked to stop

    last = launch(finished.arguments, root, workdir)
    out, err = last.communicate(timeout=WAIT_S)
    assert last.returncode == 0, err[-2000:]
    assert out == finished.printed.replace(str(finished.folder), str(workdir))
    mine, whole = contents(workdir), contents(finished.folder)
    for one in (mine, whole):  # which holds the root, and the order and speed of what was logged
        one.pop("config.json"), one.pop("metrics.jsonl")
    assert mine == whole
    assert losses(workdir) == losses(finished.folder)
    assert len(json.loads((workdir / "environment.json").read_text())["starts"]) == 3
    assert not list((root / "datasets").rglob("*.part*"))


def losses(folder: Path) -> dict[tuple[str, int], float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len({(line["model"], line["step"]) for line in lines}) == len(lines)
    return {(line["model"], line["step"]): line["loss"] for line in lines}

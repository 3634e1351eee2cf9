"""A paper's tables from finished runs, and from those that are made on the way."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from eegjax import commands, console
from eegjax.errors import UserError
from eegjax.files import read_json
from eegjax.run import gather
from eegjax.run.answers import frame_of
from eegjax.run.finished import Finished
from eegjax.run.member import Member
from eegjax.run.network import Network
from eegjax.studies.sleep import data as sleep_data
from eegjax.studies.sleep import study as sleep
from eegjax.studies.sleep.baselines import baselines
from eegjax.train.log import MetricLog

NETWORKS = ("vgg16", "vgg16_conv_lstm")


@pytest.fixture
def main() -> Callable:
    return console.tables


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Network, "run", lambda *_: 1 / 0)


def files(folder: Path) -> dict[str, bytes]:
    found = [path for kind in ("tables", "figures") for path in (folder / kind).iterdir()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


# ---- the demo: one run, found by its configuration


@pytest.fixture
def typed(finished, main, no_training, monkeypatch, tmp_path: Path, capsys) -> tuple[Path, str]:
    """The command after the run, from another folder: where it leads, and what it prints."""
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    overrides = [argument for argument in finished.arguments if not argument.startswith("--config=")]
    argv = ["tables.py", "--paper=sleep", "--protocol=demo,size=tiny", f"--runs={finished.folder.parent}", *overrides]
    monkeypatch.setattr("sys.argv", argv)
    main(argv)
    printed = capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    return Path(re.search(r"All of it: (.*)/report\.html", printed)[1]), printed


def test_a_finished_run_is_found_and_shown(finished, typed) -> None:
    place, printed = typed
    assert printed.startswith(finished.printed)
    assert re.fullmatch(r"tables-sleep-demo-[0-9a-f]{16}", place.name)
    assert place.parent == finished.folder.parent
    assert files(place) == files(finished.folder)  # one run: nothing to tell apart


def test_one_page_shows_it_all(finished, typed) -> None:
    place, _ = typed
    page = (place / "report.html").read_text(encoding="utf-8")
    assert page.count("<img") == len(list((finished.folder / "figures").iterdir()))
    for path in (finished.folder / "tables").glob("*.md"):
        title = path.read_text(encoding="utf-8").splitlines()[0].strip("*")
        assert f"<h3>{title}</h3>" in page
    assert '<p class="simulated">' in page
    assert "<title>SIMULATED DATA: sleep: the paper and ours, demo</title>" in page
    assert str(finished.folder) in page
    assert "tables.py --paper=sleep --protocol=demo,size=tiny" in page


def test_another_configuration_is_another_run(tiny, no_training) -> None:
    with pytest.raises(ZeroDivisionError):
        gather.tables(tiny("--config.train.learning_rate=0.007"), None, sleep.STUDY, commands.launch)


# ---- standard: a run for each context and set of stages


@pytest.fixture(scope="module")
def standard(configure, tiny, tmp_path_factory) -> ConfigDict:
    """Real protocol, simulated files, a root of its own."""
    recordings = sleep_data._simulated(tiny(), Path(tiny().run.root, "datasets"))
    root = str(tmp_path_factory.mktemp("standard"))
    return configure("standard", recordings, run__root=root, model__width=1 / 64)


def guess(network: Network, group: list[Member], folder: Path, log: MetricLog) -> pd.DataFrame:
    """Instead of training: random answers, in the columns of the networks'."""
    folder.mkdir(parents=True)
    frames = []
    for member in group:
        rng = np.random.default_rng(member.number)
        rows = member.fold.test
        answers = rng.dirichlet(np.ones(network.config.data.n_classes), len(rows))
        frames.append(frame_of(network.config, network.task, network.dataset, member, "test", rows, answers, folder))
        log.write(member.names(), 1, 0, {"loss": 1.0, "accuracy": 0.5})
    return pd.concat(frames)


def draw(folder: Path) -> list[Path]:
    (folder / "figures").mkdir()
    Figure((2, 1)).savefig(folder / "figures" / "figure_1.png", metadata={"Description": "Figure 1"})
    return []


@pytest.fixture
def quick(monkeypatch) -> list[dict]:
    """Runs without training, explaining and drawing, but for one figure; the configurations that were trained."""
    trained: list[dict] = []

    def run(network: Network, *given) -> pd.DataFrame:
        trained.append(network.config.to_dict())
        return guess(network, *given)

    monkeypatch.setattr(Network, "run", run)
    explain = lambda config, dataset, folder: (folder / "explanations").mkdir()  # noqa: E731
    monkeypatch.setattr(sleep, "STUDY", sleep.STUDY._replace(explain=explain, figures=draw))
    return trained


@pytest.fixture
def n_classes_of_baselines(quick, monkeypatch) -> list[int]:
    """The number of classes, each time that baselines are computed."""
    computed: list[int] = []

    def compute(config: ConfigDict, *given) -> pd.DataFrame:
        computed.append(config.data.n_classes)
        return baselines(config, *given)

    monkeypatch.setattr(sleep, "STUDY", sleep.STUDY._replace(baselines=compute))
    return computed


@pytest.mark.slow
def test_missing_runs_are_made_once(standard, quick, n_classes_of_baselines, capsys) -> None:
    """Both networks on the same folds in each context; the second time nothing is run."""
    place = gather.tables(standard, None, sleep.STUDY, commands.launch)
    printed = capsys.readouterr().out
    found = [tuple(config["data"][name] for name in ("n_classes", "context_epochs", "causal")) for config in quick]
    assert list(dict.fromkeys(found)) == [(5, 0, False), (6, 0, False), (5, 2, False), (5, 2, True)]
    assert {found.count(one) for one in found} == {3 * len(NETWORKS)}  # every subject is tested by each
    assert {config["model"]["name"] for config in quick} == set(NETWORKS)
    assert n_classes_of_baselines == [5, 6]  # of the four runs three have the same ones
    rows = ["current epoch", "current epoch, six stages", "two epochs before and after", "two epochs before (causal)"]
    assert re.findall(r"(?m)^# (.*)$", printed) == rows
    folders = re.findall(r"Run folder: (.*)", printed)
    assert len(set(folders)) == 4

    quick.clear()
    assert gather.tables(standard, None, sleep.STUDY, commands.launch) == place
    assert quick == []
    assert capsys.readouterr().out == printed

    copies = files(place)
    for row, folder in zip(rows, folders, strict=True):
        prefix = "_".join(re.findall("[a-z]+", row)) + "_"
        for name, content in files(Path(folder)).items():
            kind, file = name.split("/")
            assert copies.pop(f"{kind}/{prefix}{file}") == content
    assert set(copies) == {f"tables/results.{end}" for end in ("md", "csv", "tex")}

    with open(place / "tables" / "results.csv", newline="") as file:
        overview = list(csv.DictReader(file))
    models = [f"{name}{end}" for end in ("", "_prior", "_viterbi") for name in NETWORKS]
    assert [row["run"] for row in overview] == [row for row in rows for _ in models]
    for row in overview:
        metrics = read_json(Path(folders[rows.index(row["run"])]) / "metrics.json")
        prefix = "" if row["model"] == "vgg16" else f"{row['model']}_"
        headlines = {title: name for title, name in gather.HEADLINES.items() if name in row}
        assert set(headlines) == {"accuracy", "kappa", "macro_f1"}  # the others are of other studies
        for title, name in headlines.items():
            value = f"{metrics[f'{prefix}{title}']:.3f}"
            assert row[name].startswith(f"{value} [")

    page = (place / "report.html").read_text(encoding="utf-8")
    headings = re.findall("<h3>(.*?)</h3>", page)
    assert headings[0] == "All runs"
    assert [heading.split(": ")[0] for heading in headings[1:]] == [row for row in rows for _ in range(7)]
    assert re.findall("<figcaption>(.*?)</figcaption>", page) == [f"{row}: Figure 1" for row in rows]
    assert "SIMULATED" not in page


def test_an_undefined_number_is_a_dash(tmp_path: Path) -> None:
    """Kappa of a run whose answers and truth are all one stage."""
    numbers: dict[str, float | None] = {name + end: 1.0 for name in gather.HEADLINES for end in ("", "_low", "_high")}
    numbers |= {f"kappa{end}": None for end in ("", "_low", "_high")}
    nothing = pd.DataFrame()
    run = Finished(tmp_path, ConfigDict(), {}, {}, numbers, nothing, nothing, ("vgg16",), ())
    text = gather._overview({"a row": run}, tmp_path / "tables", simulated=True)
    assert "SIMULATED DATA: All runs" in text
    assert re.search(r"a row \| vgg16 \| +1\.000 \[1\.000, 1\.000\] \| +– \[–, –\]", text)


# ---- mistakes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ("--paper is missing", "sleep")),
        (["--paper=slep"], ("--paper is 'slep'", "Did you mean 'sleep'?")),
        (["--paper=../configs/sleep"], ("--paper is '../configs/sleep'",)),
        (["--paper=sleep", "--protocol=standart"], ("'standart'", "Did you mean 'standard'?")),
        (["--paper=sleep", "--protocol=demo,size=huge"], ("huge", "tiny")),
        (["--paper=sleep", "--config.train.learning_rat=1"], ("learning_rat", "Did you mean 'learning_rate'?")),
        (["--paper=sleep", "--config.train.learning_rate=fast"], ("learning_rate=fast", "expected a number")),
        (["--paper=sleep", "--protocols=demo"], ("--protocols=demo", "Did you mean 'protocol'?")),
        (["--paper=sleep", "demo"], ("stray argument 'demo'",)),
        (["--paper=sleep", "--protocol=standard"], ("config.data.root is not set",)),
    ],
)
def test_a_mistake_is_one_clear_line(main, tmp_path: Path, monkeypatch, arguments, words) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        main(["tables.py", *arguments])
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text

"""The command line: what it understands, and one clear line for whatever it doesn't."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from eegjax import cli
from eegjax.errors import UserError, note

OTHERS = {"workdir": "the run folder"}


@pytest.fixture
def sleep(repository: Path) -> str:
    return f"--config={repository}/configs/sleep.py"


def parse(*arguments: str):
    return cli.parse(["main.py", *arguments], OTHERS)


def complaint(*arguments: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert "Traceback" not in text
    return text


# ---- what it understands


def test_fields_of_every_type_are_overridden(sleep: str) -> None:
    config, others = parse(
        f"{sleep}:demo,model=vgg16,size=tiny",
        "--config.train.learning_rate=3e-4",
        "--config.train.n_epochs=7",
        "--config.model.batch_norm=true",
        "--noconfig.run.tensorboard",
        "--config.inputs.colour=jet",
        "--config.model.beside=()",
        "--config.data.simulation.n_epochs",
        "99",
        "--workdir=here",
    )
    assert (config.train.learning_rate, config.train.n_epochs, config.data.simulation.n_epochs) == (3e-4, 7, 99)
    assert (config.model.batch_norm, config.run.tensorboard, config.inputs.colour) == (True, False, "jet")
    assert config.model.beside == ()
    assert others == {"workdir": "here"}


def test_a_tuple_keeps_its_words(sleep: str) -> None:
    assert parse(sleep, "--config.model.beside=('vgg16', 'vgg16_conv_lstm')")[0].model.beside == (
        "vgg16",
        "vgg16_conv_lstm",
    )


def test_the_command_line_given_decides_and_not_the_programs_own(sleep: str, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest", "--config.train.n_epochs=5"])
    assert parse(sleep, "--config.train.n_epochs=3")[0].train.n_epochs == 3
    assert parse(sleep)[0].train.n_epochs == 2


def test_two_files_are_not_mixed_up(tmp_path: Path) -> None:
    text = (
        "from ml_collections import ConfigDict\ndef get_config(argument=''):\n    return ConfigDict({'name': '%s'})\n"
    )
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(text % name)
    assert [parse(f"--config={tmp_path}/{name}.py")[0].name for name in ("one", "two")] == ["one", "two"]


def test_a_study_is_its_configuration_file(sleep: str) -> None:
    """By its name or by its file, before or behind the flags: the same configuration."""
    fields = ("--config.train.n_epochs=1", "--config.data.simulation.n_epochs", "99")
    by_file = parse(f"{sleep}:demo,size=tiny", *fields, "--workdir=here")
    assert by_file == parse("sleep:demo,size=tiny", *fields, "--workdir=here")
    assert by_file == parse("--workdir=here", *fields, "sleep:demo,size=tiny")
    assert by_file[0].data.simulation.n_epochs == 99
    assert parse("sleep")[0] == parse(sleep)[0]


def test_a_file_outside_the_repository_is_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "my study.py"
    path.write_text(
        "from eegjax.studies.sleep import config\n"
        "def get_config(argument=''):\n"
        "    made = config.get_config(argument)\n"
        "    made.train.n_epochs = 17\n"
        "    return made\n"
    )
    config, _ = parse(f"--config={path}:demo,size=tiny", "--config.model.width=0.5")
    assert (config.train.n_epochs, config.model.width, config.inputs.size) == (17, 0.5, 32)


def test_the_configuration_is_locked(sleep: str) -> None:
    config = parse(sleep)[0]
    with pytest.raises(AttributeError):
        config.train.learning_rat = 1.0


# ---- what it doesn't


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--config.train.learning_rat=1", ("--config.train.learning_rat", "'learning_rate'", "weight_decay")),
        ("--config.data.simulation.n_epoch=1", ("config.data.simulation", "Did you mean 'n_epochs'")),
        ("--config.nothing=1", ("'nothing'", "train")),
        ("--config.train.n_epochs.x=1", ("config.train.n_epochs is a value (2)",)),
        ("--config.train.learning_rate=abc", ("--config.train.learning_rate=abc", "a number", "0.0")),
        ("--config.train.n_epochs=1.5", ("--config.train.n_epochs=1.5", "a whole number", "2")),
        ("--config.train.n_epochs=", ("--config.train.n_epochs=", "a whole number")),
        ("--config.train.n_epochs", ("--config.train.n_epochs",)),
        ("--config.model.batch_norm=maybe", ("--config.model.batch_norm=maybe", "true or false")),
        ("--config.model=x", ("--config.model:", "section", "--config.model.name")),
        ("--config.model={'name': 'vgg16'}", ("--config.model:", "section")),
        ("--config.protocol=standard", ("--config.protocol", "--config=FILE:protocol")),
        ("stray", ("stray argument 'stray'",)),
        ("--wrkdir=x", ("--wrkdir=x", "'workdir'")),
        ("--workdir", ("--workdir",)),
        ("--flagfile=none", ("none",)),
        ("--", ("--",)),
    ],
)
def test_a_mistaken_argument_is_one_clear_line(sleep: str, argument: str, words: tuple[str, ...]) -> None:
    text = complaint(sleep, argument)
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("dmo", ("'dmo'", "standard", "Did you mean 'demo'")),
        ("demo,siz=tiny", ("'siz'", "model, size", "Did you mean 'size'")),
        ("demo,size=tny", ("'tny'", "tiny, small, full")),
        ("demo,size", ("'size'", "key=value")),
        ("standard:x", ("'standard:x'",)),
    ],
)
def test_a_mistaken_protocol_key_or_value_names_those_there_are(sleep: str, argument: str, words) -> None:
    text = complaint(f"{sleep}:{argument}")
    for word in words:
        assert word in text


@pytest.mark.parametrize("arguments", [(), ("--config=",), ("--config.seed=1",), ("--workdir=x",)])
def test_a_missing_config_shows_how_to_give_one(arguments: tuple[str, ...]) -> None:
    assert "--config=configs/sleep.py" in complaint(*arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("slep",), ("'slep'", "sleep, motor_imagery, inverse", "Did you mean 'sleep'?")),
        (("slep:demo",), ("'slep'", "Did you mean 'sleep'?")),
        (("sleep:dmo",), ("'dmo'", "Did you mean 'demo'?")),
        (("sleep:demo,sise=tiny",), ("'sise'", "Did you mean 'size'?")),
        (("sleep", "--config.train.n_epoch=1"), ("--config.train.n_epoch", "Did you mean 'n_epochs'?")),
        (("sleep", "inverse"), ("stray argument 'inverse'",)),
        (("configs/sleep.py:paper",), ("looks like a file", "--config=configs/sleep.py:paper")),
        (("--config=sleep",), ("no such file", "by its name alone", "sleep")),
    ],
)
def test_a_mistaken_study_is_one_clear_line(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    text = complaint(*arguments)
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\ndef get_config(:\n", ("line 2", "SyntaxError")),
        ("x = 1\n", ("get_config",)),
        ("def get_config(argument=''):\n    return undefined\n", ("line 2", "undefined")),
        ("import no_such_module\n", ("line 1", "no_such_module")),
        ("def get_config(argument=''):\n    return 3\n", ("int", "ConfigDict")),
        (None, ("no such file",)),
    ],
)
def test_a_broken_configuration_file_is_named_with_its_line(tmp_path: Path, text: str | None, words) -> None:
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    found = complaint(f"--config={path}:demo")
    for word in (str(path), *words):
        assert word in found


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    assert str(tmp_path) in complaint(f"--config={tmp_path}")


# ---- how a script ends


@pytest.fixture
def start(process_as_before):
    """Run a main as a command does."""

    def run(main, *arguments: str):
        cli.guard(
            lambda argv: (lambda config, given: main(config, **given))(*cli.parse(argv, OTHERS)), ["", *arguments]
        )

    return run


def test_a_users_mistake_is_one_line_and_status_2(start, sleep: str, capsys) -> None:
    def main(config, workdir):
        print("half a progress bar", end="\n", file=sys.stderr)
        note("something to know")
        raise UserError(f"{workdir}: found\na folder, expected a file")

    with pytest.raises(SystemExit) as left:
        start(main, sleep, "--workdir=here")
    out, err = capsys.readouterr()
    assert (left.value.code, out) == (2, "")
    lines = err.splitlines()
    assert lines[-2:] == ["note: something to know", "error: here: found a folder, expected a file"]


def test_a_finished_run_returns_in_silence(start, sleep: str, capsys) -> None:
    start(lambda config, workdir: print(config.study, workdir), sleep)
    assert capsys.readouterr() == ("sleep None\n", "")


def test_a_bug_keeps_its_traceback(start, sleep: str) -> None:
    with pytest.raises(ZeroDivisionError):
        start(lambda config, workdir: 1 / 0, sleep)


def test_an_interrupt_says_how_to_continue(start, sleep: str, capsys) -> None:
    def main(config, workdir):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as left:
        start(main, sleep)
    assert left.value.code == 130
    assert "same command again" in capsys.readouterr().err.splitlines()[-1]


def test_sigterm_while_not_training_is_one_line_and_status_143(start, sleep: str, capsys) -> None:
    def main(config, workdir):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(120)

    with pytest.raises(SystemExit) as left:
        start(main, sleep)
    assert left.value.code == 143
    assert capsys.readouterr().err.splitlines()[-1].startswith("preempted: ")

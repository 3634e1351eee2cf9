"""What every command shares: flags, one-line errors, exit codes.

Exit 0: done; 1: a bug, with its traceback; 2: a user's mistake, one `error: ...` line; 143: preempted, state saved.
absl and ml_collections report mistakes as tracebacks and let stray arguments pass, so they are wrapped here.
"""

import contextlib
import importlib.machinery
import logging
import os
import re
import signal
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from eegjax import cpu_tuning, studies, study_help
from eegjax.errors import UserError, did_you_mean, logger

CONFIG_HELP = "FILE[:protocol[,key=value...]], a configuration of your own; single fields: --config.a.b=value"
TUNING = "--cpu-tuning"
TUNING_FLAG = {
    "cpu-tuning": "allocator and vector settings that speed up a CPU; the process keeps its memory (Linux with glibc)"
}
EXPECTED = {int: "a whole number", float: "a number", bool: "true or false"}


def parse(argv: Sequence[str], others: Mapping[str, str]) -> tuple[ConfigDict, dict[str, Any]]:
    """Read a command line with a configuration: a study's, named by an argument without a flag, or a file's.

    Args:
        argv: with the program's name first.
        others: string flags beside `--config`, name -> help.

    Returns:
        The configuration, locked, and the other flags' values (None where not given).

    Raises:
        UserError: anything that isn't understood, stray arguments included.
    """
    given, left = read_flags(argv, {"config": CONFIG_HELP, **others})
    text = given.pop("config")
    names = ["config", *others]
    word = first_word(left)
    if text is None and word:
        left.remove(word)
        return override(load_study(word), left, names), given
    if not text:
        raise UserError(
            f"a study is missing: {', '.join(studies.NAMES)}, such as {studies.NAMES[0]}:demo,size=tiny; or a file, "
            f"such as --config=configs/{studies.NAMES[0]}.py; see --help"
        )
    return configure(text, left, names), given


def first_word(left: Sequence[str]) -> str | None:
    """The first argument that is neither a flag nor the value of a field in the argument before it."""
    for before, argument in pairwise(left):
        is_value = re.match(r"--?config\.[^=]*$", before)
        if not argument.startswith("-") and not is_value:
            return argument
    return None


def read_flags(
    argv: Sequence[str], others: Mapping[str, str], switches: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Read the flags that are known.

    Args:
        argv: with the program's name first.
        others: string flags, name -> help.
        switches: flags that are there or not, name -> help.

    Returns:
        Name -> value (None where a string is not given), and the command line without them.

    Raises:
        UserError: a flag without its value.
    """
    values = flags.FlagValues()
    for name, text in others.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    for name, text in (switches or {}).items():
        flags.DEFINE_boolean(name, False, text, flag_values=values)
    try:
        left = values(list(argv), known_only=True)
    except flags.Error as error:
        raise UserError(_one_line(error)) from error
    return {name: values[name].value for name in (*others, *(switches or {}))}, left


def configure(text: str, argv: Sequence[str], names: Sequence[str] = ("config",)) -> ConfigDict:
    """The configuration of `FILE[:argument]` with the overrides `--config.a.b=value` of a command line, locked.

    Raises:
        UserError: as in `load`, or the command line holds anything else; `names` are the flags there are.
    """
    return override(load(text), argv, names)


def override(config: ConfigDict, argv: Sequence[str], names: Sequence[str] = ("config",)) -> ConfigDict:
    """Set the fields `--config.a.b=value` of a command line, and lock the configuration.

    Raises:
        UserError: no such field, no such value, or the command line holds anything else; `names` are the flags.
    """
    _override(config, argv, names)
    return config.lock()


def refuse_stray(argv: Sequence[str], names: Sequence[str]) -> None:
    """Complain of whatever is left of a command line behind the program's name.

    Raises:
        UserError: something is; `names` are the flags there are.
    """
    for argument in argv[1:]:
        if not argument.startswith("-"):
            raise UserError(f"stray argument '{argument}': flags are --name=value; see --help")
        name = argument.lstrip("-").partition("=")[0]
        raise UserError(f"unknown flag '{argument}': there are --{', --'.join(names)}.{did_you_mean(name, names)}")


def required(given: Mapping[str, Any], name: str, help_of: Mapping[str, str]) -> None:
    """Complain of a flag that isn't given.

    Raises:
        UserError: it isn't.
    """
    if not given[name]:
        raise UserError(f"--{name} is missing: {help_of[name]}; see --help")


def positional(left: Sequence[str], what: str, names: Sequence[str]) -> str:
    """The one argument that is no flag, of what `read_flags` left over.

    Raises:
        UserError: there is none, or there is more.
    """
    words = [argument for argument in left[1:] if not argument.startswith("-")]
    refuse_stray(["", *[argument for argument in left[1:] if argument.startswith("-")], *words[1:]], list(names))
    if not words:
        raise UserError(f"{what} is missing: give it as an argument without a flag; see --help")
    return words[0]


def whole_number(text: str, name: str) -> int:
    """The value of a flag that counts something.

    Raises:
        UserError: it is no whole number above 0.
    """
    if not text.isdigit() or int(text) < 1:
        raise UserError(f"--{name} is '{text}'; expected a whole number, 1 or more")
    return int(text)


def load_study(text: str) -> ConfigDict:
    """The configuration of `STUDY[:argument]`, from the package.

    Raises:
        UserError: no study has that name, or its configuration refuses the argument.
    """
    return studies.get_config(*_study(text))


def describe_study(text: str) -> str:
    """The help of `STUDY[:argument]`.

    Raises:
        UserError: as in `load_study`.
    """
    return study_help.describe(*_study(text))


def _study(text: str) -> tuple[str, str]:
    """The name and the argument of `STUDY[:argument]`."""
    name, _, argument = text.partition(":")
    if name.endswith(".py") or os.sep in name:
        raise UserError(f"'{name}' looks like a file, not like a study; give it as --config={text}")
    studies.check_name(name, "the study")
    return name, argument


def load(text: str) -> ConfigDict:
    """The configuration of `FILE[:argument]`: what the file's `get_config(argument)` returns.

    Raises:
        UserError: no such file, or it can't be run; the message names the line.
    """
    path, _, argument = text.partition(":")
    if not Path(path).is_file():
        raise UserError(
            f"--config={path}: no such file; give a configuration such as configs/sleep.py, "
            f"or a study by its name alone: {' | '.join(studies.NAMES)}"
        )
    module = types.ModuleType("config_file")
    module.__file__ = path
    try:
        importlib.machinery.SourceFileLoader(module.__name__, path).exec_module(module)
        config = module.get_config(argument)
    except UserError:
        raise
    except Exception as error:
        frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        line = getattr(error, "lineno", None) or (frames[-1] if frames else 1)
        raise UserError(f"{path}, line {line}: {type(error).__name__}: {_one_line(error)}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"{path}: get_config returns {type(config).__name__}, expected an ml_collections.ConfigDict")
    return config


def _override(config: ConfigDict, argv: Sequence[str], names: Sequence[str]) -> None:
    """Set single fields, `--config.a.b=value`; the rest of the command line may hold nothing else."""
    fields = {}
    for argument in argv[1:]:
        found = re.match(r"--?(?:no)?config\.([^=]*)", argument)
        if found:
            fields[found[1]] = _field(config, found[1])
        elif argument.startswith("-"):
            refuse_stray(["", argument], names)
    overrides = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=overrides, sys_argv=list(argv))
        left = overrides(list(argv))[1:]
    except flags.IllegalFlagValueError as error:
        given = _one_line(error).removeprefix("flag ").split(": ")[0]
        value = fields[given.partition("=")[0].removeprefix("--config.")]
        expected = EXPECTED.get(type(value), f"a {type(value).__name__}")
        raise UserError(f"{given}: expected {expected}, such as the default {value}") from error
    except flags.Error as error:
        raise UserError(_one_line(error)) from error
    refuse_stray(["", *left], names)


def _field(config: ConfigDict, path: str) -> Any:
    """The value at a dotted path, which must be a field and not a section of them."""
    if path in ("study", "protocol"):  # the other fields depend on them
        raise UserError(
            f"--config.{path}: not a field to override; choose it by STUDY:protocol, or --config=FILE:protocol"
        )
    value: Any = config
    names = path.split(".")
    for depth, name in enumerate(names):
        where = ".".join(["config", *names[:depth]])
        if not isinstance(value, ConfigDict):
            raise UserError(f"--config.{path}: {where} is a value ({value}), it has no fields; set --{where} itself")
        if name not in value:
            raise UserError(
                f"--config.{path}: {where} has no field '{name}'; there are {', '.join(value)}."
                + did_you_mean(name, list(value))
            )
        value = value[name]
    if isinstance(value, ConfigDict):
        raise UserError(
            f"--config.{path}: this is a section; set its fields one by one: "
            + ", ".join(f"--config.{path}.{name}" for name in value)
        )
    return value


def guard(main: Callable[[Sequence[str]], Any], argv: Sequence[str]) -> None:
    """Run `main(argv)` and exit as the contract says.

    Args:
        main: gets the command line without `--cpu-tuning`, which is heeded here.
        argv: with the program's name first.
    """
    _show_notes()
    if TUNING in argv:
        with complaints():
            cpu_tuning.tune()  # before anything loads JAX
    from eegjax.train.preemption import Preempted

    def terminate(*_: Any) -> None:
        raise Preempted("asked to stop while not training; what was finished is kept")

    signal.signal(signal.SIGTERM, terminate)  # until training puts its own in this place
    try:
        with complaints():
            main([argument for argument in argv if argument != TUNING])
    except Preempted as error:
        _leave(f"preempted: {error}; start the same command again to continue", 143)
    except KeyboardInterrupt:
        _leave("interrupted; start the same command again to continue from the last checkpoint", 130)


@contextlib.contextmanager
def complaints() -> Iterator[None]:
    """A user's mistake in here ends the process with its one line and status 2."""
    try:
        yield
    except UserError as error:
        _leave(f"error: {error}", 2)


def _leave(line: str, status: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(" ".join(line.split()), file=sys.stderr, flush=True)
    sys.exit(status)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error.args[0] if error.args else error).split())


def _show_notes() -> None:
    """Notes go to standard error, one line each; the libraries' own chatter below warnings stays away."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("note: %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("absl").setLevel(logging.ERROR)

"""The package as a whole: quick to import, its floors in order, every configuration complete."""

import ast
import graphlib
import importlib
import json
import subprocess
import sys
import warnings
from itertools import chain, combinations, cycle
from pathlib import Path

import pytest

from eegjax import protocols, studies
from eegjax.run import bounds, folder
from eegjax.run.study import Study

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").glob("*.py"))
SOURCES = sorted((ROOT / "eegjax").rglob("*.py"))

# What each package (or module, where it is one of the top) may import of the others.
FOUNDATION = {"errors", "lazy"}
MAY_IMPORT = {
    "errors": set(),
    "lazy": set(),
    "files": FOUNDATION,
    "protocols": FOUNDATION,
    "signal": FOUNDATION,
    "models": FOUNDATION,
    "evaluate": FOUNDATION,
    "data": FOUNDATION | {"files", "signal"},
    "train": FOUNDATION | {"files", "data.dataset", "data.feed", "data.splits"},
    "explain": FOUNDATION | {"files", "signal", "models", "evaluate", "data", "train"},
    "report": FOUNDATION | {"files", "signal", "evaluate"},
    "baselines": FOUNDATION | {"files", "signal", "evaluate", "data"},
    "run": FOUNDATION | {"files", "protocols", "evaluate", "data", "train", "report"},
    "studies": FOUNDATION
    | {"files", "protocols", "signal", "models", "evaluate", "data", "train", "explain", "report", "baselines", "run"},
    "commands": FOUNDATION | {"run", "studies"},
    "cpu_tuning": FOUNDATION,
    "benchmarks": FOUNDATION | {"cpu_tuning", "models"},
    "study_help": FOUNDATION | {"studies"},
    "cli": FOUNDATION | {"cpu_tuning", "train.preemption", "studies", "study_help"},
    "console": FOUNDATION | {"cli", "commands", "studies", "benchmarks"},
    "__main__": {"console"},
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> set[str]:
    """The eegjax modules that a file imports, at its top or inside its functions."""
    known = {module_name(source) for source in SOURCES}
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else str(node.module) for name in names}
    return {name for name in found if name in known}


def test_the_parser_of_imports_sees_them() -> None:
    assert imported(ROOT / "launch" / "main.py") == {"eegjax.console"}
    assert "eegjax.signal.image" in imported(ROOT / "eegjax" / "studies" / "sleep" / "data.py")


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_nothing_imports_upwards(path: Path) -> None:
    parts = module_name(path).split(".")[1:]
    if not parts:
        assert not imported(path)
        return
    package = parts[0]
    assert package in MAY_IMPORT, f"say in MAY_IMPORT which floor {package} is"
    for name in imported(path) - {"eegjax"}:  # its version
        other = name.removeprefix("eegjax.")
        if other.split(".")[0] != package:
            assert any(f"{other}.".startswith(f"{allowed}.") for allowed in MAY_IMPORT[package]), f"{path}: {name}"


def test_there_is_no_cycle() -> None:
    graph = {module_name(path): imported(path) - {module_name(path)} for path in SOURCES}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(SOURCES)


@pytest.mark.parametrize("path", [*CONFIGS, *sorted((ROOT / "launch").glob("*.py"))], ids=lambda path: path.name)
def test_what_a_person_types_holds_no_logic(path: Path) -> None:
    allowed = {f"eegjax.studies.{path.stem}.config"} if path.parent.name == "configs" else {"eegjax.console"}
    assert imported(path) <= allowed


# ---- importing


@pytest.fixture(scope="module")
def imports() -> dict:
    """Seconds and heavy modules after two imports in a process of its own."""
    program = """
import json, sys, time
begun = time.process_time()  # which other programs on the machine don't change
import eegjax
seconds = time.process_time() - begun
heavy = ("jax", "mne", "matplotlib", "sklearn", "pandas", "numpy", "tensorboardX")
first = [name for name in heavy if name in sys.modules]
import eegjax.studies.sleep.study
print(json.dumps([seconds, first, [name for name in heavy if name in sys.modules]]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(zip(("seconds", "eegjax", "sleep"), json.loads(done.stdout), strict=True))


def test_importing_the_package_is_quick_and_light(imports: dict) -> None:
    assert imports["seconds"] < 2
    assert imports["eegjax"] == []


def test_importing_a_study_loads_nothing_it_may_not_need(imports: dict) -> None:
    assert "jax" in imports["sleep"]
    assert not {"mne", "matplotlib", "sklearn", "tensorboardX"} & set(imports["sleep"])


@pytest.mark.parametrize("kind", [DeprecationWarning, FutureWarning, UserWarning])
def test_a_library_s_warning_of_our_call_is_an_error(kind: type[Warning]) -> None:
    """And one of somebody else's call isn't."""

    def deprecated() -> None:
        warnings.warn("use another", kind, stacklevel=2)

    with pytest.raises(kind, match="use another"):
        exec("deprecated()", {"__name__": "eegjax.signal.image", "deprecated": deprecated})
    with pytest.warns(kind, match="use another"):
        exec("deprecated()", {"__name__": "another", "deprecated": deprecated})


# ---- configurations


def get_config(path: Path, argument: str):
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(argument)


def arguments(path: Path) -> list[str]:
    """Every protocol alone, with every value of each key, and every value beside some value of every other key."""
    seen = {}
    with pytest.MonkeyPatch.context() as patch:
        real = protocols.parse
        patch.setattr(protocols, "parse", lambda *given: (seen.update(given=given), real(*given))[1])
        get_config(path, "")
    _, names, keys = seen["given"]
    choices = [[f",{key}={value}" for value in values] for key, values in keys.items()]
    pairs = []
    for one, other in combinations(choices, 2):
        n_pairs = max(len(one), len(other))
        pairs += [first + second for first, second, _ in zip(cycle(one), cycle(other), range(n_pairs), strict=False)]
    return [name + chosen for name in names for chosen in ["", *chain(*choices), *pairs]]


CASES = [(path, argument) for path in CONFIGS for argument in arguments(path)]


@pytest.mark.parametrize(("path", "argument"), CASES, ids=lambda value: getattr(value, "stem", value))
def test_every_configuration_is_whole(path: Path, argument: str) -> None:
    config = get_config(path, argument)
    assert config.study in studies.NAMES
    study = studies.named(config.study)
    assert config.protocol == argument.split(",")[0]
    study = studies.named(config.study)
    bounds.check(config, study.bounds, study.choices)
    canonical = folder.canonical(config, "hash")
    assert json.loads(json.dumps(canonical)) == canonical
    for word in (f"size={value}" for value in ("tiny", "small", "full")):
        if word in argument:  # a key is not silently without effect
            others = {str(get_config(path, argument.replace(word, f"size={v}"))) for v in ("tiny", "small", "full")}
            assert len(others) == 3


def test_every_study_has_a_configuration_and_is_a_study() -> None:
    assert {get_config(path, "").study for path in CONFIGS} == set(studies.NAMES)
    for study_name in studies.NAMES:
        study = importlib.import_module(f"eegjax.studies.{study_name}.study").STUDY
        assert isinstance(study, Study)
        data = ("task", "bounds", "choices", "baseline_fields")
        parts = {**{name: part for name, part in study._asdict().items() if name not in data}, **study.task._asdict()}
        optional = {name for name in ("apply", "record", "classes", "labels", "pretrained") if parts[name] is None}
        assert all(callable(function) for name, function in parts.items() if name not in optional)


def test_the_demo_is_the_default() -> None:
    for path in CONFIGS:
        assert get_config(path, "").protocol == "demo"
        assert get_config(path, "") == get_config(path, "demo")


def bounds_and_choices(config) -> tuple[set[str], set[str]]:
    """The fields that the engine and the configuration's study have bounds for, and those that they have words for."""
    study = studies.named(config.study)
    return {*protocols.BOUNDS, *study.bounds}, {*protocols.CHOICES, *study.choices}


def test_every_bound_is_of_a_field_that_exists() -> None:
    for path in CONFIGS:
        config = get_config(path, "")
        study = studies.named(config.study)
        limited = {*protocols.BOUNDS, *protocols.CHOICES, *study.bounds, *study.choices}
        assert limited <= set(folder._flat(config.to_dict()))


def test_every_number_of_a_configuration_has_bounds() -> None:
    for path in CONFIGS:
        config = get_config(path, "")
        numbers = {
            name
            for name, value in folder._flat(config.to_dict()).items()
            if isinstance(value, int | float) and not isinstance(value, bool) and not name.startswith("train.groups.")
        }
        study = studies.named(get_config(path, "").study)
        assert numbers - {"data.n_classes"} <= {*protocols.BOUNDS, *study.bounds}

"""The runs that a paper's tables take."""

from ml_collections import ConfigDict

from eegjax.run.rows import Run, arguments, fields_of, set_by_user


def test_every_choice_of_keys_is_an_argument() -> None:
    assert arguments("demo", {}) == ["demo"]
    found = arguments("paper", {"model": ["a"], "size": ["tiny", "full"]})
    assert found == [
        *("paper", "paper,size=tiny", "paper,size=full"),
        *("paper,model=a", "paper,model=a,size=tiny", "paper,model=a,size=full"),
    ]


def configuration(n_epochs: int, rate: float, name: str = "a") -> ConfigDict:
    return ConfigDict({"train": {"n_epochs": n_epochs, "rate": rate, "names": (1, 2)}, "model": {"name": name}})


def test_fields_are_set_that_the_nearest_default_has_otherwise() -> None:
    """Not those in which a size differs from another."""
    defaults = [configuration(50, 0.1), configuration(2, 0.5)]
    assert set_by_user(configuration(2, 0.5), defaults) == set()
    assert set_by_user(configuration(2, 0.5, "b"), defaults) == {"model.name"}
    assert set_by_user(configuration(50, 0.3), defaults) == {"train.rate"}


def test_usual_fields_yield_and_own_ones_stay() -> None:
    runs = {"a": Run({"x": 1}, {"x": 2, "y": 3, "z": 4}), "b": Run({"y": 5})}
    assert fields_of(runs, set()) == {"a": {"x": 1, "y": 3, "z": 4}, "b": {"y": 5}}
    assert fields_of(runs, {"y", "x"}) == {"a": {"x": 1, "z": 4}, "b": {"y": 5}}

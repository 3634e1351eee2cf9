"""What the inverse study's paper protocol is made of: the published settings, splits and networks."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from ml_collections import ConfigDict

from eegjax import cli
from eegjax.data import splits
from eegjax.errors import UserError
from eegjax.run import bounds
from eegjax.studies.inverse import data as inverse_data
from eegjax.studies.inverse import network as inverse_network
from eegjax.studies.inverse.compare import rows
from eegjax.studies.inverse.config import BOUNDS, CHOICES
from eegjax.studies.inverse.folds import folds as folds_of
from eegjax.studies.inverse.paper import NETWORKS, THRESHOLDS

ROOT = Path(__file__).parents[3]


def configure(argument: str, **fields: Any) -> ConfigDict:
    config = cli.configure(f"{ROOT}/configs/inverse.py:{argument}", ["main.py"])
    with config.unlocked():
        config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return config


def flat(config: ConfigDict) -> dict[str, Any]:
    """Field by its whole name -> value."""
    return {f"{section}.{name}": value for section in config for name, value in _of(config[section])}


def _of(section: Any) -> list[tuple[str, Any]]:
    return list(section.items()) if isinstance(section, ConfigDict) else []


# ---- settings, each where the paper or its code has it

PUBLISHED = {
    "data.n_samples": 4000,  # section 2.2.1, as are heads and zones
    "data.n_heads": 4,
    "data.n_chans": 128,
    "data.sources": "zones",
    "data.target": "sources",
    "data.n_voxels": 64,  # 2.3
    "data.scaling": "separate",
    "data.collisions": "last",
    "data.dilation": 1,
    "splits.kind": "random",  # 2.4, as is all of the training
    "splits.test_share": 0.2,
    "splits.validation_share": 0.0,
    "inputs.kind": "electrodes",
    "model.width": 1.0,
    "model.norm": "none",
    "model.upsampling": "nearest",
    "model.grid_mask": False,
    "train.loss": "cross_entropy",
    "train.class_weights": (1e-7, 1.0),
    "train.target_factor": 1.0,
    "train.centre_value": 0.0,
    "train.optimizer": "adam",
    "train.learning_rate": 1e-3,
    "train.schedule": "exponential",
    "train.decay_per_epoch": 0.995,
    "train.warmup_steps": 0,
    "train.decoupled_decay": False,
    "train.clip_norm": 0.0,
    "train.n_epochs": 270,
    "train.keep_epochs": (20, 120),
    "train.max_loss": 0.0,
    "test.unit": "voxels",  # 2.5
    "test.radii": tuple(range(10)),
    "test.matching": "greedy_distinct",
    "test.slips": ("cumulative", "drop_last", "skip_empty"),
}
V_NET = {"train.batch_size": 40, "train.weight_decay": 1e-4}
U_NET = {"train.batch_size": 48, "train.weight_decay": 0.0}
SEARCH = {"splits.kind": "search", "train.n_epochs": 100}


@pytest.mark.parametrize(
    ("argument", "own"),
    [
        ("paper", {**V_NET, "model.name": "v_net"}),
        ("paper,model=v_net", V_NET),
        ("paper,model=u_net", {**U_NET, "model.name": "u_net"}),
        ("paper,model=v_net,splits=search", {**V_NET, **SEARCH, "train.batch_size": 8}),
        ("paper,model=u_net,splits=search", {**U_NET, **SEARCH, "train.batch_size": 10}),
    ],
)
def test_the_papers_settings_are_as_published(argument: str, own: dict[str, Any]) -> None:
    config = configure(argument)
    found, wanted = flat(config), {**PUBLISHED, **own}
    assert {name: found[name] for name in wanted} == wanted
    assert config.data.zones.n_active == 66
    bounds.check(config, BOUNDS, CHOICES)


def test_tables_train_each_network_as_its_own_configuration_does() -> None:
    """Batches and decay stand in the configuration and in the rows: they have to be the same ones."""
    seen = set()
    for fields in rows("paper").values():
        name = fields["model.name"]
        config = flat(configure(f"paper,model={name}"))
        assert {field: fields[field] for field in V_NET} == {field: config[field] for field in V_NET}
        searching = configure(f"paper,model={name},splits=search").train.batch_size
        published = NETWORKS[name]
        assert (published.batch_size, published.search_batch_size) == (config["train.batch_size"], searching)
        seen.add(name)
    assert seen == {"v_net", "u_net"} == set(NETWORKS)
    for protocol in ("demo", "standard"):
        assert not any(set(V_NET) & set(fields) for fields in rows(protocol).values())


def test_other_protocols_have_none_of_it() -> None:
    for argument in ("demo", "standard", "standard,model=u_net", "demo,splits=search"):
        config = configure(argument)
        assert (config.train.batch_size, config.train.weight_decay, config.train.decoupled_decay) == (16, 1e-4, True)
        assert (config.test.slips, config.train.centre_value, config.train.n_epochs != 100) == ((), 0, True)


def test_the_papers_thresholds_are_those_of_its_section_3_2() -> None:
    assert THRESHOLDS == {1: 0.72, 5: 0.63}


# ---- networks


@pytest.mark.parametrize(
    ("argument", "fields", "n_params"),
    [
        ("paper,model=v_net", {}, 82_026_089),
        ("paper,model=v_net", {"train__loss": "mse"}, 82_022_084),
        ("paper,model=u_net", {}, 16_315_650),
        ("paper,model=u_net", {"train__loss": "mse"}, 16_315_585),
        ("standard,model=u_net", {"model__upsampling": "nearest"}, 16_318_756),
        ("standard,model=u_net", {}, 19_072_164),  # c c 8 + c of transposed convolutions, c being 512, 256 and 128
    ],
)
def test_networks_have_the_published_number_of_parameters(argument: str, fields: Any, n_params: int) -> None:
    config = configure(argument, **fields)
    network = inverse_network.model(config, None)
    volume = jax.ShapeDtypeStruct((1, *[config.data.n_voxels] * 3, 1), jnp.float32)
    params = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), volume)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == n_params


def test_depth_0_is_all_levels_and_more_than_there_are_is_refused() -> None:
    for name, deepest in (("v_net", 5), ("u_net", 4)):
        fields = {"data__n_voxels": 32, "model__width": 0.125}
        for depth, built in ((0, deepest), (2, 2), (deepest, deepest)):
            assert (
                inverse_network.model(configure(f"demo,model={name}", **fields, model__depth=depth), None).depth
                == built
            )
        for depth in {1, deepest % 5 + 1}:
            with pytest.raises(UserError, match=rf"depth is {depth}; .* has 2 to {deepest} levels"):
                inverse_network.model(configure(f"demo,model={name}", **fields, model__depth=depth), None)


# ---- the search's split


def folds(n_samples: int, kind: str, **fields: Any) -> splits.Fold:
    dataset = SimpleNamespace(index=pd.DataFrame({"subject": np.arange(n_samples) % 4}))
    (fold,) = folds_of(configure(f"paper,splits={kind}", **fields), dataset)
    splits.check([fold])
    return fold


@pytest.mark.parametrize(
    ("n_samples", "validation_share", "sizes"),
    [(4000, 0.0, (800, 0, 200)), (4000, 0.1, (720, 80, 200)), (1250, 0.0, (800, 0, 200)), (100, 0.0, (64, 0, 16))],
)
def test_the_search_lies_inside_the_final_training_set(n_samples, validation_share, sizes) -> None:
    """800 and 200 of the paper's 4000, or all of the training part if it is smaller."""
    final, search = (folds(n_samples, kind, splits__validation_share=validation_share) for kind in ("random", "search"))
    parts = [set(part) for part in (search.train, search.validation, search.test)]
    assert tuple(map(len, parts)) == sizes
    assert len(set.union(*parts)) == sum(sizes)
    assert set.union(*parts) <= set(final.train)
    assert (final.name, search.name) == ("random", "search")
    again = folds(n_samples, "search", splits__validation_share=validation_share)
    np.testing.assert_array_equal(search.test, again.test)
    other = folds(n_samples, "search", splits__validation_share=validation_share, seed=1)
    assert not np.array_equal(search.test, other.test)
    if n_samples == 4000:
        of_heads = np.bincount(search.test // 1000, minlength=4)
        assert of_heads.min() > 25  # drawn of all four, not the first in order


# ---- the ball


def by_hand(target: np.ndarray, value: float) -> np.ndarray:
    """Voxel by voxel."""
    wanted, n = target.astype(float).copy(), len(target)
    centre = [-(-n // 2)] * 3
    sources = np.argwhere(target > 0)
    if len(sources):
        radius = int(min(np.linalg.norm(source - centre) for source in sources))
        for voxel in np.ndindex(*target.shape):
            if target[voxel] == 0 and np.linalg.norm(np.subtract(voxel, centre)) <= radius:
                wanted[voxel] = value
    return wanted


@pytest.fixture(scope="module")
def targets() -> np.ndarray:
    """A silent sample; one source 3 voxels from the centre; one at it; a few, one of them 4.6 voxels from it."""
    found = np.zeros((4, 9, 9, 9), np.float32)
    found[1, 5, 2, 5] = 0.5
    found[2, 5, 5, 5] = 1
    found[(3, *np.array([[8, 2, 3], [0, 0, 0], [8, 8, 7], [1, 2, 4]]).T)] = 0.3, 1, 0.7, 0.2
    return found


@pytest.mark.parametrize("name", ["mse", "l1"])
def test_the_centre_of_a_regressions_target_is_a_ball(name: str, targets: np.ndarray) -> None:
    outputs = np.random.default_rng(0).normal(size=(*targets.shape, 1)).astype(np.float32)
    config = configure("paper", train__loss=name, train__centre_value=-20.0, train__target_factor=3.0)
    found, _ = inverse_network.loss(config)({}, jnp.asarray(outputs), {"target": jnp.asarray(targets)})
    wanted = np.stack([by_hand(target * 3, -20) for target in targets])
    counts = (wanted == -20).sum((1, 2, 3))
    assert (counts[0], counts[1], counts[2]) == (0, 122, 0)  # 123 voxels within 3 of one, less the source
    assert counts[3] > 200
    error = outputs[..., 0] - wanted
    expected = (error**2 if name == "mse" else np.abs(error)).mean((1, 2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_a_value_and_in_classification_there_is_no_ball(targets: np.ndarray) -> None:
    outputs = np.random.default_rng(0).normal(size=(*targets.shape, 2)).astype(np.float32)
    batch = {"target": jnp.asarray(targets)}
    for name, last in (("mse", 1), ("cross_entropy", 2), ("focal", 2)):
        values = [
            inverse_network.loss(configure("paper", train__loss=name, train__centre_value=value))({}, some, batch)[0]
            for value, some in ((0.0, outputs[..., :last]), (-20.0, outputs[..., :last]))
        ]
        assert np.array_equal(values[0], values[1]) == (name != "mse")
    plain = inverse_network.loss(configure("paper", train__loss="mse"))({}, outputs[..., :1], batch)[0]
    np.testing.assert_allclose(plain, ((outputs[..., 0] - targets) ** 2).mean((1, 2, 3)), rtol=1e-5)


def test_mistakes_in_these_fields_are_one_line() -> None:
    for fields, words in (
        ({"test__slips": ("cumulativ",)}, "config.test.slips holds 'cumulativ'; there are cumulative, drop_last"),
        ({"test__slips": (True,)}, "config.test.slips holds 'True'; there are cumulative, drop_last, skip_empty"),
        ({"splits__kind": "serch"}, "config.splits.kind is 'serch'; there are random, head, search. Did you mean"),
    ):
        with pytest.raises(UserError, match=words):
            inverse_data._check(configure("paper", **fields))
    with pytest.raises(UserError, match=r"config\.train\.centre_value is 20"):
        bounds.check(configure("paper", train__centre_value=20.0), BOUNDS, CHOICES)

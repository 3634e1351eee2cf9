"""The inverse study's heads, samples, folds and volumes, on spheres of 32 electrodes."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from eegjax import cli, commands
from eegjax.data import splits
from eegjax.data.feed import gather
from eegjax.errors import UserError
from eegjax.signal.minimum_norm import apply_operator, make_operator
from eegjax.studies.inverse import data as inverse_data
from eegjax.studies.inverse import heads as inverse_heads
from eegjax.studies.inverse import network as inverse_network
from eegjax.studies.inverse import samples as inverse_samples
from eegjax.studies.inverse.folds import folds as folds_of

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def configure(run_root: Path):
    """A function: argument, fields -> the configuration; `a__b` stands for `a.b`."""

    def make(argument: str = "demo,size=tiny", **fields: Any) -> ConfigDict:
        config = cli.configure(f"{ROOT}/configs/inverse.py:{argument}", ["", f"--config.run.root={run_root}"])
        with config.unlocked():
            config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
        return config

    return make


def volumes_of(config: ConfigDict, dataset: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
    """What a network sees of rows, without training."""
    batch = gather(np, inverse_data.source(config, dataset), rows, rows >= 0)
    made = jax.jit(partial(inverse_network.inputs(config), key=None, train=False))({}, batch)
    return {name: np.asarray(value) for name, value in made.items()}


def test_voltages_are_the_lead_field_times_the_moments(configure) -> None:
    """In volts, against the average, at the SNR that the index says."""
    config = configure(data__patches__p_silent=0.0)
    dataset = inverse_data.prepare(config)
    rows = np.arange(len(dataset.index))
    samples = inverse_samples.drawn(config, dataset, rows)
    assert 1e-8 < np.abs(samples.voltages).max() < 1e-3
    np.testing.assert_allclose(samples.voltages.mean(1), 0, atol=1e-6 * np.abs(samples.voltages).max())
    for row in rows[:6]:
        head = inverse_heads.of_dataset(config, dataset)[inverse_heads.number_of_recording(dataset)[row]][1]
        # whatever the orientations, a source's field lies in the span of its three; the rest is noise
        active = np.flatnonzero(samples.moments[row])
        field = head.lead_field[:, active].reshape(len(head.ch_names), -1)
        if field.shape[1] < len(head.ch_names) // 2:
            left = samples.voltages[row] - field @ np.linalg.lstsq(field, samples.voltages[row], rcond=None)[0]
            noise = np.mean(samples.voltages[row] ** 2) / (1 + 10 ** (samples.snr_db[row] / 10))
            assert np.mean(left**2) < 2 * noise


def test_samples_on_the_fly_are_those_of_the_disk(configure) -> None:
    """The same seeds give the same samples, on the host and inside the compiled inputs; nothing but seeds is stored."""
    stored, flying = configure(), configure(data__on_the_fly=True)
    first, second = inverse_data.prepare(stored), inverse_data.prepare(flying)
    assert set(second.arrays) == {"seed"}
    rows = np.array([0, 5, 11, 23])
    for one, other in zip(
        inverse_samples.drawn(stored, first, rows), inverse_samples.drawn(flying, second, rows), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * max(np.abs(one[np.isfinite(one)]).max(), 1e-30))
    seen, again = volumes_of(stored, first, rows), volumes_of(flying, second, rows)
    for name in ("inputs", "target", "grid"):
        np.testing.assert_allclose(seen[name].astype(float), again[name].astype(float), atol=1e-4)


def test_training_on_the_fly_draws_new_samples_at_every_step(configure) -> None:
    config = configure(data__on_the_fly=True)
    dataset = inverse_data.prepare(config)
    rows = np.arange(4)
    batch = gather(np, inverse_data.source(config, dataset), rows, rows >= 0)
    make = jax.jit(partial(inverse_network.inputs(config), train=True))
    one, other, again = (np.asarray(make({}, batch, key=jax.random.PRNGKey(k))["inputs"]) for k in (0, 1, 0))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1


def test_the_data_set_depends_on_its_seed_alone(configure, tmp_path: Path) -> None:
    """Not on the number of workers."""
    arrays = {}
    for workers in (1, 3):
        config = configure(run__workers=workers, run__root=str(tmp_path / str(workers)))
        arrays[workers] = inverse_data.prepare(config).arrays
    for name, array in arrays[1].items():
        np.testing.assert_array_equal(array, arrays[3][name])
    other = inverse_data.prepare(configure(data__seed=1))
    assert not np.array_equal(other.arrays["voltages"], arrays[1]["voltages"])


def test_the_eloreta_volume_holds_the_greatest_estimate_of_each_voxel(configure) -> None:
    config = configure()
    dataset = inverse_data.prepare(config)
    rows = np.array([1, 9, 20])
    seen = volumes_of(config, dataset, rows)["inputs"][..., 0]
    voltages = inverse_samples.drawn(config, dataset, rows).voltages
    for row, voltage, volume in zip(rows, voltages, seen, strict=True):
        nominal = inverse_heads.of_dataset(config, dataset)[inverse_heads.number_of_recording(dataset)[row]][0]
        operator = make_operator(nominal.lead_field, "eLORETA", lambda2=inverse_data.LAMBDA2)
        estimate = np.asarray(apply_operator(operator, voltage))
        wanted = np.zeros((16, 16, 16))
        voxels = inverse_heads.grids(config, nominal)[1].to_voxel(nominal.sources_m * 1e3)
        np.maximum.at(wanted, tuple(voxels.T), estimate / estimate.max())
        np.testing.assert_allclose(volume, wanted, atol=1e-4)


@pytest.mark.parametrize(("target", "sources"), [("centres", "patches"), ("sources", "patches"), ("sources", "zones")])
def test_targets_are_where_the_truth_is(configure, target: str, sources: str) -> None:
    config = configure(data__target=target, data__sources=sources, data__dilation=1)
    dataset = inverse_data.prepare(config)
    rows = np.array([0, 3, 8, 17])
    made = volumes_of(config, dataset, rows)
    samples = inverse_samples.drawn(config, dataset, rows)
    numbers = inverse_heads.number_of_recording(dataset)[rows]
    for place, number in enumerate(numbers):
        nominal, real = inverse_heads.of_dataset(config, dataset)[number]
        at = np.flatnonzero(samples.moments[place])
        if target == "centres":
            at = np.intersect1d(at, samples.centres[place])
        voxels = inverse_heads.grids(config, nominal)[1].to_voxel(real.sources_m[at] * 1e3)
        wanted = np.zeros((16, 16, 16), bool)
        wanted[tuple(voxels.T)] = True
        np.testing.assert_array_equal(made["target"][place] > 0, wanted)
        assert made["target"][place].max() == (1 if len(at) else 0)
        assert made["grid"][place][wanted].all()


@pytest.mark.slow
def test_a_head_left_out_is_tested_only_and_is_not_what_it_is_taken_for(configure) -> None:
    config = configure("standard,size=tiny")
    dataset = inverse_data.prepare(config)
    (fold,) = folds_of(config, dataset)
    splits.check_folds([fold])
    heads = dataset.index["subject"].to_numpy()
    assert fold.name == "sphere left out"
    assert set(heads[fold.test]) == {"sphere"}
    assert not set(heads[fold.test]) & (set(heads[fold.train]) | set(heads[fold.validation]))
    assert not set(heads[fold.validation]) & set(heads[fold.train])
    tested = [row for row in dataset.card["recordings"] if row["tested"]]
    assert [row["real"]["skull_conductivity"] for row in tested] == [0.004, 0.01, 0.016]
    for row, (nominal, real) in zip(dataset.card["recordings"], inverse_heads.of_dataset(config, dataset), strict=True):
        if not row["tested"]:
            assert row["real"]["kind"] == row["nominal"]["kind"]
            assert not row["coloured"]
            continue
        assert row["coloured"]
        assert len(real.sources_m) == 150
        assert len(nominal.sources_m) == 100
        assert np.abs(real.lead_field[:, :100] - nominal.lead_field).max() > 0.01 * np.abs(nominal.lead_field).max()
    others = [row for row in dataset.card["recordings"] if not row["tested"]]
    assert [(row["subject"], row["trained"], row["validates"]) for row in others] == [
        ("sphere warped 1", True, False),
        ("sphere warped 2", False, True),
    ]
    assert set(heads[fold.train]) == {"sphere warped 1"}
    assert set(heads[fold.validation]) == {"sphere warped 2"}
    used = {row["real"]["skull_conductivity"] for row in others}
    assert len(used) == 2  # as many as such heads
    assert not used & {0.004, 0.01, 0.016}


@pytest.mark.parametrize("scaling", ["affine", "separate", "paired"])
def test_a_finer_mesh_is_inside_the_mask_and_the_grid(configure, scaling: str) -> None:
    """On a grid so fine that sources are some voxels apart: what is tested lies between those assumed."""
    config = configure("standard,size=tiny", data__n_voxels=64, data__scaling=scaling)
    dataset = inverse_data.prepare(config)
    rows = np.flatnonzero(dataset.index["subject"] == "sphere")[::2]
    made = volumes_of(config, dataset, rows)
    assert made["target"].any((1, 2, 3)).sum() > 1
    assert (made["grid"] | (made["target"] == 0)).all()
    for nominal, real in inverse_heads.of_dataset(config, dataset)[-3:]:
        assert len(np.intersect1d(nominal.sources_m[:, 0], real.sources_m[:, 0])) < 30
        mask = inverse_heads.mask(config, nominal)
        grid = inverse_heads.grids(config, nominal)[1]
        assert mask[tuple(grid.to_nearest_voxel(real.sources_m * 1e3).T)].all()


def test_coloured_noise_has_the_covariance_it_claims(configure) -> None:
    config = configure()
    head = inverse_heads.of_dataset(config, inverse_data.prepare(config))[0][1]
    factor = inverse_heads.noise_factor(head, True).astype(float)
    covariance = factor @ factor.T
    fields = np.einsum("csx,sx->cs", head.lead_field, head.orientations[:, 0])
    brain = fields @ fields.T / np.trace(fields @ fields.T)
    np.testing.assert_allclose(covariance - 0.9 * brain, 0.1 * np.eye(32) / 32, atol=1e-6)
    np.testing.assert_array_equal(inverse_heads.noise_factor(head, False), np.eye(32))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"data__sources": "patch"}, ("config.data.sources is 'patch'", "Did you mean 'patches'?")),
        ({"data__target": "centre"}, ("config.data.target is 'centre'", "centres, sources")),
        ({"splits__kind": "heads"}, ("config.splits.kind is 'heads'", "random, head")),
        ({"data__dilation": 4}, ("side of a cube", "3, 5, 7")),
        ({"splits__kind": "head", "splits__left_out": "sample"}, ("'sample'", "sphere, sphere warped 1")),
        ({"splits__kind": "head", "data__n_heads": 2}, ("config.data.n_heads is 2", "3 or more")),
        ({"data__left_out__coregistration_mm": (1.0,)}, ("config.data.left_out", "different lengths")),
        ({"data__n_times": 100, "data__sources": "zones"}, ("config.data.n_times", "time courses")),
        ({"data__n_chans": 100}, ("n_chans: 100", "16, 32, 64, 128")),
        ({"data__head": "spere"}, ("'spere'", "Did you mean 'sphere'?")),
        ({"protocol": "standard", "data__root": "nowhere"}, ("nowhere: no head here", "subjects/NAME/bem")),
        ({"data__root": "heads"}, ("config.data.root is heads", "eegjax run inverse:standard")),
        ({"data__patches__snr_db": (30.0, 0.0)}, ("snr_db", "lower end of a range first")),
        ({"test__radius": 7.0}, ("config.test.radius is 7", "one of config.test.radii")),
        ({"test__classical": ("eLoreta",)}, ("'eLoreta'", "MNE, dSPM, sLORETA, eLORETA, LCMV")),
        ({"inputs__kind": "electrode"}, ("config.inputs.kind is 'electrode'", "Did you mean 'electrodes'?")),
        ({"model__name": "vnet"}, ("config.model.name is 'vnet'", "Did you mean 'v_net'?")),
        ({"train__loss": "mae"}, ("config.train.loss is 'mae'", "cross_entropy")),
        ({"data__n_voxels": 18, "model__depth": 3}, ("18 x 18 x 18", "multiples of 4")),
        ({"data__scaling": "affin"}, ("'affin'", "Did you mean 'affine'?")),
    ],
)
def test_a_mistake_is_one_clear_line_before_anything_is_trained(configure, fields, words) -> None:
    with pytest.raises(UserError) as caught:
        commands.launch(configure(**fields, train__n_epochs=1))
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_a_grid_too_coarse_to_hold_sources_apart_is_said(configure, caplog) -> None:
    dataset = inverse_data.prepare(configure(data__n_voxels=8))
    row = dataset.card["recordings"][0]
    assert row["pairs_in_one_voxel"] > 0
    assert "too coarse" in row["coarse"]
    assert "too coarse to hold all sources apart" in caplog.text

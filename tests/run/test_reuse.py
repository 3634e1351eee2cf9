"""Folds that go on where the one before ended: a paper's leak, exact, resumable, and for its protocol alone."""

import sys
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))

import tiny_study as tiny

from eegjax import cli
from eegjax.errors import UserError
from eegjax.run import bounds, weights
from eegjax.run.flow import _train
from eegjax.studies.motor_imagery.config import BOUNDS, CHOICES
from eegjax.train.checkpoint import Checkpoints
from eegjax.train.log import MetricLog

ROOT = Path(__file__).parents[2]
# a rate so high that the best validation is seldom the last; two seeds of four folds
SETTINGS = {"splits__n_validation_subjects": 1, "train__learning_rate": 1.0, "train__schedule": "constant"}
SETTINGS |= {"train__ema_decay": 0.0, "train__n_seeds": 2, "run__members_at_once": 4}
REUSED = {**SETTINGS, "train__reuse_params_across_folds": True, "n_devices": 2}
N_STEPS = 8
PROBABILITIES = [f"p_{name}" for name in tiny.CLASSES]


def train(network, folder):
    """All members, as a run does; the predictions."""
    folder.mkdir(parents=True, exist_ok=True)
    log = MetricLog(folder, True, False)
    try:
        return _train(network, folder, log)
    finally:
        log.close()


@contextmanager
def watched(network):
    """The states before and after every step that is taken."""
    program, seen = network.programs[1], []

    def step(resident, state, batch):
        after, metrics = program.train(resident, state, batch)
        seen.append((state, after))
        return after, metrics

    network.programs[1] = program._replace(train=step)
    yield seen
    network.programs[1] = program


def weights_of(state):
    """Of the only member: what a network predicts with."""
    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), {"params": state.params, **state.model_state})


def said(network, kept, rows):
    """What a kept member says of examples, [n, n_classes]."""
    x = tiny.make_dataset().arrays["eeg"].reshape(-1, tiny.N_TIMES, 2)[rows] / kept.stats["scale"]
    return jax.nn.softmax(network.start.model.apply(kept.variables, jnp.asarray(x)))


def differ(one, other):
    return not all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Compiled, its first member trained: each fold begins anew."""
    network = tiny.make_network(n_devices=2, **SETTINGS)
    folder = tmp_path_factory.mktemp("fresh")
    tiny.run(network, [0], folder / "run")
    return network, folder


@pytest.fixture(scope="module")
def reusing(fresh):
    """A function: a network that goes on from fold to fold, as a new process has it."""
    return lambda: tiny.sharing(fresh[0], (), **REUSED)


@pytest.fixture(scope="module")
def whole(reusing, tmp_path_factory):
    """Never stopped: the network, its folder, its predictions, and the steps of each member."""
    network, folder = reusing(), tmp_path_factory.mktemp("whole")
    with watched(network) as seen:
        frame = train(network, folder)
    assert len(seen) == 8 * N_STEPS
    return network, folder, frame, [seen[first : first + N_STEPS] for first in range(0, len(seen), N_STEPS)]


@pytest.fixture
def opened(monkeypatch):
    """What a killed run leaves is on the disk before it continues."""
    seen = []

    class Seen(Checkpoints):
        def __init__(self, *args):
            super().__init__(*args)
            seen.append(self)

    monkeypatch.setattr("eegjax.run.network.Checkpoints", Seen)
    yield seen
    for checkpoints in seen:
        checkpoints.close()


# ---- where a fold begins


def test_members_run_one_after_another(whole, fresh):
    assert whole[0].at_once() == 1
    assert fresh[0].at_once() == 4


@pytest.mark.parametrize("member", [1, 2, 3, 5, 6, 7])
def test_a_fold_begins_where_the_one_before_ended(whole, member):
    """With its weights and batch statistics to the bit, and with nothing else of it."""
    network, _, _, steps = whole
    ended, begun = steps[member - 1][-1][1], steps[member][0][0]
    tiny.assert_close(weights_of(begun), weights_of(ended), 0)
    plain = network.initial(network.members[member])  # of a network without folds before
    one = jax.tree.map(lambda leaf: leaf[0], begun)
    own = ("step", "opt_state", "key", "stats", "bad_in_row", "bad_total", "best_value", "since_best", "stopped")
    tiny.assert_close({name: getattr(one, name) for name in own}, {name: getattr(plain, name) for name in own}, 0)
    tiny.assert_close(one.best, weights_of(ended), 0)
    assert differ(weights_of(begun), {"params": plain.params, **plain.model_state})


def test_the_first_fold_of_every_seed_begins_anew(whole, fresh):
    firsts = [weights_of(whole[3][member][0][0]) for member in (0, 4)]
    for member, found in zip((0, 4), firsts, strict=True):
        plain = fresh[0].initial(fresh[0].members[member])
        tiny.assert_close(found, {"params": plain.params, **plain.model_state}, 0)
    assert differ(*firsts)
    found = [line for line in tiny.lines(whole[1]) if line["member"] == 0]
    assert found == tiny.lines(fresh[1] / "run")


def test_what_goes_on_and_is_tested_is_the_last_and_not_the_best_validated(whole):
    network, folder, frame, steps = whole
    others = 0
    for member, (_, _, fold, seed) in enumerate(network.members):
        last = weights_of(steps[member][-1][1])
        kept = weights.read(folder / "weights" / f"tiny-{member:03d}.safetensors")
        assert kept.names == {"model": "tiny", "member": member, "fold": fold.name, "seed": seed}
        tiny.assert_close(kept.variables, last, 0)
        values = [line["validation_loss"] for line in lines(folder, member) if "validation_loss" in line]
        others += values[-1] > min(values)
        part = frame[(frame["member"] == member) & (frame["split"] == "test")]
        assert part["example"].tolist() == fold.test.tolist()
        np.testing.assert_allclose(part[PROBABILITIES], said(network, kept, fold.test), atol=1e-5)
    assert others, "the best is always the last: this tests nothing"


def lines(folder, member):
    return [line for line in tiny.lines(folder) if line["member"] == member]


# ---- killed and continued


def at_call(number):
    """Kills when it is called for that time, counted from 1."""
    calls = []

    def act():
        calls.append(0)
        if len(calls) == number:
            tiny.kill()

    return act


def between(network, monkeypatch, member, method):
    """Kill before a member's `method`."""
    real = getattr(network, method)

    def called(*arguments):
        group = next(each for each in arguments if isinstance(each, list))
        if member in [one.number for one in group]:
            tiny.kill()
        return real(*arguments)

    monkeypatch.setattr(network, method, called)


@pytest.mark.slow
def test_killed_equals_not_killed(whole, reusing, opened, tmp_path, monkeypatch):
    """In a fold, after its end before it is predicted, before the next begins, and in the first of another seed."""
    _, expected_folder, expected, _ = whole
    for step, number in ((6, 2), (3, 1), (0, 1)):  # the second fold's step 6; then, from its save, the third's 3 ...
        network = reusing()
        with tiny.before_step(network, step, at_call(number)), pytest.raises(tiny.Killed):
            train(network, tmp_path)
        opened[-1].close()
    for member, method in ((2, "_keep"), (3, "_predict"), (5, "run"), (6, "_predict")):
        network = reusing()
        between(network, monkeypatch, member, method)
        with pytest.raises(tiny.Killed):
            train(network, tmp_path)
        opened[-1].close()
    pd.testing.assert_frame_equal(train(reusing(), tmp_path), expected, check_exact=True)
    assert tiny.lines(tmp_path) == tiny.lines(expected_folder)
    names = [f"tiny-{member:03d}.safetensors" for member in range(8)]
    for place in (tmp_path, expected_folder):
        assert sorted(path.name for path in (place / "weights").iterdir()) == names
    for name in names:
        assert (tmp_path / "weights" / name).read_bytes() == (expected_folder / "weights" / name).read_bytes()


@pytest.mark.parametrize("damage", ["missing", "broken"])
def test_without_the_weights_before_it_a_fold_does_not_begin(reusing, fresh, tmp_path, monkeypatch, damage):
    network = reusing()
    between(network, monkeypatch, 1, "run")
    with pytest.raises(tiny.Killed):
        train(network, tmp_path)
    path = tmp_path / "weights" / "tiny-000.safetensors"
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=rf"weights/tiny-000\.safetensors: {damage} weights.*or train anew$") as error:
        train(reusing(), tmp_path)
    assert "\n" not in str(error.value)
    assert not lines(tmp_path, 1)


# ---- whose it is


def configured(argument, *fields):
    return cli.parse(("main.py", f"--config={ROOT}/configs/motor_imagery.py:{argument}", *fields), {})[0]


@pytest.mark.parametrize("protocol", ["demo", "standard"])
def test_it_is_for_the_paper_s_protocol_alone(protocol):
    config = configured(protocol)
    bounds.check(config, BOUNDS, CHOICES)
    assert not config.train.reuse_params_across_folds
    config.train.reuse_params_across_folds = True
    words = f"leaks: .* for protocol paper, this is {protocol}: give --config.train.reuse_params_across_folds=False$"
    with pytest.raises(UserError, match=words) as error:
        bounds.check(config, BOUNDS, CHOICES)
    assert "\n" not in str(error.value)


def test_the_paper_has_it():
    config = configured("paper")
    assert config.train.reuse_params_across_folds
    bounds.check(config, BOUNDS, CHOICES)


# ---- the training part


def test_the_training_part_is_predicted_only_where_it_is_asked_for(whole, fresh, tmp_path):
    assert set(whole[2]["split"]) == {"validation", "test"}
    network = tiny.sharing(fresh[0], (), **REUSED, test__train_part=True)
    frame = tiny.run(network, [0], tmp_path / "run")
    fold, kept = network.members[0].fold, weights.read(tmp_path / "weights" / "tiny-000.safetensors")
    for split in ("train", "validation", "test"):
        part, rows = frame[frame["split"] == split], getattr(fold, split)
        assert part["example"].tolist() == rows.tolist()
        np.testing.assert_allclose(part[PROBABILITIES], said(network, kept, rows), atol=1e-5)
    others = frame[frame["split"] != "train"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, whole[2][whole[2]["member"] == 0], check_exact=True)

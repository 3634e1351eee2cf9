"""Validation and early stopping, decided in the state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_study as tiny
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eegjax.train import state as states


def create(*, averaging=False, validating=True):
    variables = {"params": {"w": jnp.zeros(2)}, "batch_stats": {"mean": jnp.zeros(1)}}
    key = jax.random.PRNGKey(0)
    return states.create(variables, {}, optax.sgd(0.1), key, averaging=averaging, validating=validating)


def at(state, number):
    """The state with weights that tell which epoch they are from."""
    params, running = {"w": jnp.full(2, float(number))}, {"batch_stats": {"mean": jnp.full(1, float(number))}}
    return state.replace(params=params, model_state=running)


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([1.0, 2.0, 3.0, float("nan"), float("inf")]), min_size=1, max_size=12), st.integers(0, 3)
)
@example([2.0, 2.0, 1.0], 1)  # better, but too late
def test_validation_follows_the_rules_in_plain_python(values, patience):
    """The first best value's weights are kept; a member stops after `patience` validations without improvement."""
    state, best, best_epoch, since, stopped = create(), np.inf, 0, 0, False
    for epoch, value in enumerate(values, 1):
        if not stopped:
            state = at(state, epoch)  # a stopped member's step changes no weights
        state = states.validated(state, jnp.float32(value), patience)
        if not stopped:
            since += 1
            if value < best:
                best, best_epoch, since = value, epoch, 0
            stopped = patience > 0 and since >= patience
        assert float(state.best_value) == best
        assert float(state.final_weights["params"]["w"][0]) == best_epoch
        assert float(state.final_weights["batch_stats"]["mean"][0]) == best_epoch
        assert (int(state.since_best), bool(state.stopped)) == (since, stopped)


def test_averaged_weights_are_validated_and_kept():
    state = create(averaging=True).replace(average={"w": jnp.full(2, 7.0)})
    state = states.validated(at(state, 1), jnp.float32(1.0), 0)
    assert float(state.weights["params"]["w"][0]) == 7
    assert float(state.final_weights["params"]["w"][0]) == 7
    assert float(state.final_weights["batch_stats"]["mean"][0]) == 1


def test_without_validation_the_last_weights_count():
    state = at(create(validating=False), 3)
    assert state.best is None
    assert float(state.final_weights["params"]["w"][0]) == 3


@pytest.mark.parametrize("condition", [True, False])
def test_where_chooses_a_whole_tree(condition):
    """Also where the other one is no number."""
    good, bad = {"a": jnp.ones(2), "b": (jnp.int32(1),)}, {"a": jnp.full(2, jnp.nan), "b": (jnp.int32(2),)}
    chosen = states.where(jnp.bool_(condition), good, bad)
    tiny.assert_close(chosen, good if condition else bad, 0)

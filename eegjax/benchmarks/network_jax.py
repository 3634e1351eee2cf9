"""A network in eegjax, for the comparison with PyTorch: cross-entropy, Adam at 1e-5."""

from collections.abc import Callable
from typing import Any

from eegjax import cpu_tuning
from eegjax.benchmarks.network import Network


def make(network: Network, batch: int, tuned: bool, form: str = "") -> dict[str, Callable[[], Any]]:
    """`settings`, `n_parameters`; `logits` [batch, ..., classes]; `inference` and `training`, one step each."""
    if tuned:
        cpu_tuning.tune()
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from eegjax.models import operations

    inputs, targets = (jnp.asarray(array) for array in network.examples(batch))
    model, params = network.in_jax(network.weights())
    tx = optax.adam(1e-5)

    def loss(params: Any, inputs: jax.Array, targets: jax.Array) -> jax.Array:
        logits = model.apply({"params": params}, inputs, train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    def step(params: Any, opt_state: Any, inputs: jax.Array, targets: jax.Array) -> tuple[Any, Any]:
        updates, opt_state = tx.update(jax.grad(loss)(params, inputs, targets), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    state = [jax.tree.map(jnp.asarray, params)]  # and Adam's, as soon as there is training
    del params
    with operations.use_form(form):
        apply = jax.jit(lambda params, inputs: model.apply({"params": params}, inputs))
        infer = apply.lower(state[0], inputs).compile()
        adams = jax.eval_shape(tx.init, state[0])
        train = jax.jit(step, donate_argnums=(0, 1)).lower(state[0], adams, inputs, targets).compile()

    def inference() -> Any:
        return infer(state[0], inputs).block_until_ready()

    def training() -> None:
        if len(state) == 1:
            state.append(tx.init(state[0]))
        state[:] = train(*state, inputs, targets)
        jax.block_until_ready(state)

    device = f"jax {jax.__version__} on {jax.devices()[0].device_kind} {jax.default_backend()}"
    return {
        "settings": lambda: f"{device}, --cpu-tuning {'on' if tuned else 'off'}",
        "n_parameters": lambda: sum(array.size for array in jax.tree.leaves(state[0])),
        "logits": lambda: np.asarray(inference()),
        "inference": inference,
        "training": training,
    }

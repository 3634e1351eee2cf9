"""VGG16 in eegjax, for the comparison with PyTorch: no dropout, cross-entropy, Adam at 1e-5."""

from collections.abc import Callable
from typing import Any

from eegjax import cpu_tuning
from eegjax.benchmarks.vgg16_weights import examples, weights


def make(batch: int, tuned: bool, form: str = "") -> dict[str, Callable[[], Any]]:
    """`settings`; `logits` [batch, 1000]; `inference` and `training`, one step each."""
    if tuned:
        cpu_tuning.tune()
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from eegjax.models import operations
    from eegjax.models.pretrained import load_vgg16
    from eegjax.models.vgg import VGG16

    images, labels = (jnp.asarray(array) for array in examples(batch))
    model, tx = VGG16(1000, dropout=0.0), optax.adam(1e-5)
    shapes = jax.eval_shape(model.init, jax.random.PRNGKey(0), images)["params"]
    params = jax.tree.map(jnp.asarray, load_vgg16(shapes, weights(), "made here"))

    def loss(params: Any) -> jax.Array:
        logits = model.apply({"params": params}, images, train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def step(params: Any, opt_state: Any) -> tuple[Any, Any]:
        updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    with operations.form(form):
        infer = jax.jit(lambda params, images: model.apply({"params": params}, images)).lower(params, images).compile()
        train = jax.jit(step, donate_argnums=(0, 1)).lower(params, jax.eval_shape(tx.init, params)).compile()
    state: list[Any] = []

    def inference() -> None:
        infer(state[0] if state else params, images).block_until_ready()

    def training() -> None:
        nonlocal params
        if not state:
            state.extend((params, tx.init(params)))
            params = None
        state[:] = train(*state)
        jax.block_until_ready(state)

    device = f"jax {jax.__version__} on {jax.devices()[0].device_kind} {jax.default_backend()}"
    return {
        "settings": lambda: f"{device}, --cpu-tuning {'on' if tuned else 'off'}",
        "logits": lambda: np.asarray(infer(params, images)),
        "inference": inference,
        "training": training,
    }

"""What holds of every motor-imagery network: short windows, padded trials, dropout, precision, gradients."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eegjax.errors import UserError
from eegjax.models import cnn_rnn, conv_net, deep4, eegnet, resnet_1d, shallow
from eegjax.models.vae import VAE
from eegjax.models.vae_classifier import VAEClassifier

N_CHANS, VAE_TIMES = 3, 60
SHORTEST = {  # the network, its shortest window
    "conv_net": (conv_net.ConvNet(4), 961),
    "conv_net_of_two_blocks": (conv_net.ConvNet(4, n_blocks=2), 97),
    "resnet_1d": (resnet_1d.ResNet1D(4), 25),
    "cnn_rnn": (cnn_rnn.CNNRNN(4), 32),
    "deep4": (deep4.Deep4Net(4), 441),
    "shallow": (shallow.ShallowConvNet(4), 99),
    "eegnet": (eegnet.EEGNet(4), 32),
}
NETWORKS = {  # a small form of the network, the windows it is run on
    "conv_net": (conv_net.ConvNet(4, pooling="adaptive", n_blocks=2), 105),
    "resnet_1d": (resnet_1d.ResNet1D(4, stages=((1, 64), (1, 8))), 31),
    "cnn_rnn": (cnn_rnn.CNNRNN(4), 60),
    "deep4": (deep4.Deep4Net(4), 450),
    "shallow": (shallow.ShallowConvNet(4), 130),
    "eegnet": (eegnet.EEGNet(4), 70),
    "vae_classifier": (
        VAEClassifier(VAE(8, 4, 8, VAE_TIMES, N_CHANS), conv_net.ConvNet(4, n_blocks=1)),
        VAE_TIMES,
    ),
}
every = pytest.mark.parametrize("name", NETWORKS)
MASK = np.array([True, False, True, False, True, False])


class Made(NamedTuple):
    """A network, variables drawn with NumPy (which is quicker than compiling their initialisation), six windows."""

    module: nn.Module
    variables: Any
    x: np.ndarray
    predict: Callable[..., Any]  # (variables, x) -> logits
    train: Callable[..., Any]  # (variables, x, mask, key) -> outputs, statistics
    gradient: Callable[..., Any]  # (variables, x, mask) -> gradients, (logits, statistics); without dropout


def logits_of(outputs: Any) -> jax.Array:
    """A VAE's hybrid has them per form of a trial, and its reconstructions beside."""
    return outputs[0][0] if isinstance(outputs, tuple) else outputs


def shapes(module: nn.Module, n_times: int) -> Any:
    trial = jax.ShapeDtypeStruct((1, n_times, N_CHANS), jnp.float32)
    return jax.eval_shape(lambda key, x: module.init(key, x, train=False), jax.random.key(0), trial)


@cache
def made(name: str) -> Made:
    module, n_times = NETWORKS[name]
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if leaf.ndim == 1:
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        return rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(np.float32)

    def trained(module: nn.Module, variables: Any, x: Any, mask: Any, key: Any) -> Any:
        rngs = {"dropout": key, "latent": key}
        return module.apply(variables, x, train=True, mask=mask, rngs=rngs, mutable=["batch_stats"])

    def loss(params: Any, variables: Any, x: Any, mask: Any) -> Any:
        outputs, after = trained(undropped, {**variables, "params": params}, x, mask, jax.random.key(0))
        logits = logits_of(outputs)
        seen = [logits, outputs[1][0].reshape(len(x), -1)] if isinstance(outputs, tuple) else [logits]
        return jnp.where(mask[:, None], jnp.concatenate(seen, 1) ** 2, 0).sum(), (logits, after)

    undropped = without_dropout(module)
    return Made(
        module,
        jax.tree.map(draw, shapes(module, n_times)),
        rng.normal(size=(6, n_times, N_CHANS)).astype(np.float32),
        jax.jit(lambda variables, x: logits_of(module.apply(variables, x, train=False))),
        jax.jit(partial(trained, module)),
        jax.jit(lambda variables, *rest: jax.grad(loss, has_aux=True)(variables["params"], variables, *rest)),
    )


def without_dropout(module: nn.Module) -> nn.Module:
    if isinstance(module, VAEClassifier):
        return module.clone(classifier=without_dropout(module.classifier))
    return module.clone(dropout=0.0) if hasattr(module, "dropout") else module


@pytest.mark.parametrize("name", SHORTEST)
def test_the_shortest_window(name):
    module, n_times = SHORTEST[name]
    assert shapes(module, n_times)["params"]
    with pytest.raises(UserError, match=f"at least {n_times} samples, these have {n_times - 1}: take longer"):
        shapes(module, n_times - 1)


@every
def test_logits_come_from_the_head_without_a_nonlinearity(name):
    _, variables, x, predict, _, _ = made(name)
    logits = predict(variables, x)
    assert logits.shape == (6, 4)
    assert logits.dtype == jnp.float32
    assert np.std(logits, 0).min() > 1e-5
    raised = jax.tree.map(lambda leaf: leaf, variables)
    params = raised["params"].get("classifier", raised["params"])
    params["head"]["bias"] = params["head"]["bias"] - 7
    np.testing.assert_allclose(predict(raised, x), logits - 7, rtol=1e-4, atol=1e-4)


@every
def test_padded_windows_leave_no_trace(name):
    """Neither in outputs, statistics nor gradients: three windows and padding are three windows, twice over."""
    _, variables, x, _, _, gradient = made(name)
    twice, kept = x.copy(), MASK
    if name == "vae_classifier":  # of the same window other codes would be drawn
        twice[~MASK] = 0
    else:
        twice[~MASK], kept = x[MASK], np.ones(6, bool)
    padded = x.copy()
    padded[~MASK] = 100
    gradients, (logits, after) = gradient(variables, padded, MASK)
    expected, (expected_logits, expected_after) = gradient(variables, twice, kept)
    np.testing.assert_allclose(logits[MASK], expected_logits[MASK], rtol=1e-4, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), after, expected_after)
    times = kept.sum() / MASK.sum()
    norm = max(np.linalg.norm(leaf) for leaf in jax.tree.leaves(expected))
    for one, other in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(times * one, other, atol=1e-4 * norm)
    unmasked = gradient(variables, padded, np.ones(6, bool))[1][0]
    assert np.abs(unmasked[MASK] - logits[MASK]).max() > 1e-2


@every
def test_training_draws_and_prediction_does_not(name):
    _, variables, x, predict, train, _ = made(name)
    predict(variables, x)  # no key given: it would be missed
    logits = [np.asarray(logits_of(train(variables, x, MASK, jax.random.key(seed))[0])) for seed in (0, 1)]
    assert np.isfinite(logits).all()
    if name != "resnet_1d":
        assert np.abs(logits[0] - logits[1]).max() > 1e-3


@every
def test_gradients_are_finite_and_reach_every_parameter(name):
    """All but the biases that a normalisation takes away again."""
    _, variables, x, _, _, gradient = made(name)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(variables, x, MASK)[0]):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 1e-9 or "bias" in str(path[-1]), path


@every
def test_bfloat16_keeps_float32_weights_and_logits_near(name):
    module, variables, x, predict, _, _ = made(name)
    if isinstance(module, VAEClassifier):
        vae, classifier = (part.clone(dtype=jnp.bfloat16) for part in (module.vae, module.classifier))
        half = module.clone(vae=vae, classifier=classifier)
    else:
        half = module.clone(dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes(half, x.shape[1]))} == {jnp.dtype("float32")}
    logits = predict(variables, x)
    near = logits_of(jax.jit(partial(half.apply, train=False))(variables, x))
    assert near.dtype == jnp.float32
    assert 1e-6 < np.linalg.norm(near - logits) / np.linalg.norm(logits) < 0.05


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (conv_net.ConvNet(4, pooling="adaptiv"), "pooling is 'adaptiv'; there are flatten, adaptive. Did you mean"),
        (conv_net.ConvNet(4, n_blocks=0), "n_blocks is 0; ConvNet has 1 to 4"),
        (resnet_1d.ResNet1D(4, "paper"), "variant is 'paper'; there are text, code"),
        (cnn_rnn.CNNRNN(4, "lsmt"), "cell is 'lsmt'; there are lstm, gru, rnn. Did you mean 'lstm'"),
    ],
)
def test_unknown_words_are_an_error(module, message):
    with pytest.raises(UserError, match=message):
        shapes(module, 1000)

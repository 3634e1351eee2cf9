"""The VAE hybrids: the classifier sees the reconstruction, and the VAE learns as if there were no classifier."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from eegjax.models.cnn_rnn import CNNRNN
from eegjax.models.conv_net import ConvNet
from eegjax.models.vae import VAE
from eegjax.models.vae_classifier import VAEClassifier
from eegjax.train.variational import vae_loss

N = 5
VAE_PART, CLASSIFIER = VAE(6, 3, 6, n_times=60, n_chans=2), ConvNet(4, dropout=0.0, n_blocks=1)
LABELS = np.arange(N) % 4
both = pytest.mark.parametrize("extra", [False, True])


class Alone(nn.Module):
    """The VAE where it lies in the hybrid, so that it draws the same numbers."""

    vae: nn.Module

    def __call__(self, x, *, train, mask=None):
        return (), self.vae(x, train=train, mask=mask)


@pytest.fixture(scope="module")
def trials():
    return np.random.default_rng(0).normal(size=(N, 60, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def variables(trials):
    module = VAEClassifier(VAE_PART, CLASSIFIER)
    return jax.jit(lambda key, x: module.init(key, x, train=False))(jax.random.key(0), trials)


def classified(variables, x, train=False):
    """What the classifier says by itself."""
    parts = {name: tree["classifier"] for name, tree in variables.items()}
    mutable = ["batch_stats"] if train else []
    return jax.jit(lambda parts, x: CLASSIFIER.apply(parts, x, train=train, mutable=mutable))(parts, x)[0]


def trained(module, variables, x, key=0, mask=None):
    """Outputs and batch statistics of a training pass; the only numbers drawn are the codes."""
    rngs = {"latent": jax.random.key(key)}
    return module.apply(variables, x, train=True, mask=mask, rngs=rngs, mutable=["batch_stats"])


def answer_loss(outputs):
    logits, _ = outputs
    labels = np.broadcast_to(LABELS, logits.shape[:-1])
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@pytest.mark.parametrize(("classifier", "n_parameters"), [(ConvNet(4), 541_254), (CNNRNN(4), 770_940)])
@both
def test_parameters_are_those_of_both(classifier, n_parameters, extra):
    module = VAEClassifier(VAE(), classifier, extra)
    trial = jax.ShapeDtypeStruct((1, 1000, 22), jnp.float32)
    shapes = jax.eval_shape(lambda key, x: module.init(key, x, train=False), jax.random.key(0), trial)["params"]
    count = {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in shapes.items()}
    assert count == {"vae": 88_146_040, "classifier": n_parameters}


@both
def test_what_is_classified_at_test(variables, trials, extra):
    """The reconstructions, or with `extra` the trials; beside the logits stands what the VAE says."""
    expected = VAE_PART.apply({"params": variables["params"]["vae"]}, trials, train=False)
    module = VAEClassifier(VAE_PART, CLASSIFIER, extra)
    logits, found = jax.jit(lambda variables, x: module.apply(variables, x, train=False))(variables, trials)
    assert logits.shape == (1, N, 4)
    assert logits.dtype == jnp.float32
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)
    of_trials, of_reconstructions = (classified(variables, x) for x in (trials, expected[0]))
    np.testing.assert_allclose(logits[0], of_trials if extra else of_reconstructions, atol=1e-6)
    assert np.abs(of_trials - of_reconstructions).max() > 1e-3


@both
def test_what_is_classified_in_training(variables, trials, extra):
    """The drawn reconstructions; with `extra` the trials and these, as one batch with one mean and variance."""
    module = VAEClassifier(VAE_PART, CLASSIFIER, extra)
    (logits, (reconstruction, _, _)), _ = jax.jit(partial(trained, module))(variables, trials)
    seen = [trials, reconstruction] if extra else [reconstruction]
    expected = classified(variables, np.concatenate(seen), train=True).reshape(len(seen), N, 4)
    assert logits.shape == expected.shape
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    at_test = VAE_PART.apply({"params": variables["params"]["vae"]}, trials, train=False)[0]
    assert np.abs(reconstruction - at_test).max() > 1e-3  # the code was drawn


@both
def test_no_gradient_of_the_classifier_reaches_the_vae(variables, trials, extra):
    """Not even a small one; that of the VAE's own loss reaches the VAE alone."""
    module = VAEClassifier(VAE_PART, CLASSIFIER, extra)

    def gradient(loss):
        found = jax.grad(lambda params: loss(trained(module, {**variables, "params": params}, trials)[0]))
        return jax.jit(found)(variables["params"])

    of_answer, of_vae = gradient(answer_loss), gradient(lambda outputs: vae_loss(trials, outputs[1]).mean())
    assert not any(leaf.any() for leaf in jax.tree.leaves((of_answer["vae"], of_vae["classifier"])))
    assert all(leaf.any() for leaf in jax.tree.leaves(of_vae["vae"]))
    assert of_answer["classifier"]["head"]["kernel"].any()


@pytest.mark.slow
@both
def test_the_vae_learns_the_same_without_a_classifier(variables, trials, extra):
    def learnt(module, loss, params):
        tx = optax.adam(1e-2)
        memory = tx.init(params)

        @jax.jit
        def step(params, memory, number):
            def total(params):
                return loss(trained(module, {**variables, "params": params}, trials, number)[0])

            updates, memory = tx.update(jax.grad(total)(params), memory)
            return optax.apply_updates(params, updates), memory

        for number in range(4):
            params, memory = step(params, memory, number)
        return params["vae"]

    own = lambda outputs: vae_loss(trials, outputs[1]).mean()  # noqa: E731
    hybrid = VAEClassifier(VAE_PART, CLASSIFIER, extra)
    found = learnt(hybrid, lambda outputs: own(outputs) + answer_loss(outputs), variables["params"])
    params = {"vae": variables["params"]["vae"]}
    expected = learnt(Alone(VAE_PART), own, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), expected, params["vae"])
    assert min(jax.tree.leaves(moved)) > 1e-2


@both
def test_padded_trials_leave_no_trace(variables, trials, extra):
    """Neither they nor their reconstructions, in statistics or logits."""
    mask = np.array([True, False, True, True, False])
    padded = trials.copy()
    padded[~mask] = 100
    module = VAEClassifier(VAE_PART, CLASSIFIER, extra)
    run = jax.jit(partial(trained, module, key=0))
    (logits, _), after = run(variables, padded, mask=mask)
    (expected, _), expected_after = run(variables, trials, mask=mask)
    np.testing.assert_allclose(logits[:, mask], expected[:, mask], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after, expected_after)
    (unmasked, _), _ = run(variables, padded, mask=np.ones(N, bool))
    assert np.abs(unmasked[:, mask] - logits[:, mask]).max() > 1e-2

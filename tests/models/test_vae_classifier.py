"""The VAE hybrids: the classifier sees the reconstruction and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eegjax.models.cnn_rnn import CNNRNN
from eegjax.models.conv_net import ConvNet
from eegjax.models.vae import VAE
from eegjax.models.vae_classifier import VAEClassifier


@pytest.mark.parametrize(("classifier", "n_parameters"), [(ConvNet(4), 541_254), (CNNRNN(4), 770_940)])
def test_parameters_are_those_of_both(classifier, n_parameters):
    module = VAEClassifier(VAE(), classifier)
    trial = jax.ShapeDtypeStruct((1, 1000, 22), jnp.float32)
    shapes = jax.eval_shape(lambda key, x: module.init(key, x, train=False), jax.random.key(0), trial)["params"]
    count = {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in shapes.items()}
    assert count == {"vae": 88_146_040, "classifier": n_parameters}


def test_logits_are_those_of_the_reconstruction():
    vae, classifier = VAE(6, 3, 6, n_times=60, n_chans=2), ConvNet(4, n_blocks=1)
    module = VAEClassifier(vae, classifier)
    x = np.random.default_rng(0).normal(size=(3, 60, 2)).astype(np.float32)
    variables = jax.jit(lambda key, x: module.init(key, x, train=False))(jax.random.key(0), x)
    reconstruction, _, _ = vae.apply({"params": variables["params"]["vae"]}, x, train=False)
    parts = {name: tree["classifier"] for name, tree in variables.items()}
    expected = classifier.apply(parts, reconstruction, train=False)
    logits = module.apply(variables, x, train=False)
    np.testing.assert_allclose(logits, expected, atol=1e-6)
    assert np.abs(logits - classifier.apply(parts, x, train=False)).max() > 1e-3

"""Losses against SciPy."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from eegjax.train.losses import cross_entropy


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0]])
def test_cross_entropy_per_example(weights):
    """Of single examples and of sequences; without weights every class counts as one."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(4, 5, 3)).astype(np.float32), rng.integers(0, 3, (4, 5))
    weight = np.ones(3) if weights is None else np.array(weights)
    expected = -np.take_along_axis(log_softmax(logits, -1), labels[..., None], -1)[..., 0] * weight[labels]
    given = None if weights is None else jnp.array(weights)
    for rows in (np.s_[0], np.s_[:]):
        found = cross_entropy(logits[rows], labels[rows], given)
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected[rows], rtol=1e-5, atol=4 * np.finfo(np.float32).eps)

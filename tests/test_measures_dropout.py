"""Monte Carlo dropout: a linear network's mean, variance and likelihood are known; copies have own masks."""

import itertools

import jax
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from gen_models.data.splits import Splits
from gen_models.measures import Split, dropout_passes, mixture_log_likelihood
from gen_models.models.side_by_side import copies
from gen_models.models.supervised.mlp import mlp
from tests.measured import KEY, trained_of

ARRAYS = {
    "x": np.random.default_rng(0).normal(size=(2, 2, 3)).astype(np.float32),
    "y": np.zeros((2, 2), np.float32),
}
SPLITS = Splits.of_arrays(ARRAYS, ARRAYS, name="toy")
SPLIT = Split(SPLITS, SPLITS.test, "test")
RATE, PASSES = 0.3, 3000


def test_a_linear_network_has_the_distribution_of_its_masks():
    """f = c + sum v_j h_j m_j / (1 - p): its mean is that without dropout, its variance p / (1 - p) sum (v_j h_j)^2."""
    x = ARRAYS["x"]
    alone = mlp((3,), 1, hidden=(4,), activation=lambda h: h, dropout=RATE, answer="numbers")
    both = copies(alone, 2, own_data=True)
    params, stats = both.init(jax.random.key(1), {"x": x, "y": np.zeros((2, 2, 1), np.float32)})
    trained = trained_of(apply=both.apply)._replace(params=params, stats=stats)
    passes = dropout_passes(trained, SPLIT, KEY, PASSES)[..., 0]
    assert passes.shape == (2, PASSES, 2)
    for k in range(2):
        first, last = (
            jax.tree.map(lambda leaf, k=k: np.float64(leaf[k]), params[name]) for name in ("Dense_0", "logits")
        )
        parts = (x[:, k] @ first["kernel"] + first["bias"]) * last["kernel"][:, 0]  # v_j h_j
        spread = np.sqrt(RATE / (1 - RATE) * (parts**2).sum(1))
        np.testing.assert_allclose(
            passes[:, :, k].mean(1), parts.sum(1) + last["bias"][0], atol=4 * spread.max() / np.sqrt(PASSES)
        )
        np.testing.assert_allclose(passes[:, :, k].std(1), spread, rtol=0.06)
        # All sixteen masks with their probabilities are the exact mixture.
        masks = np.array(list(itertools.product((0, 1), repeat=4)))
        weight = np.log(np.where(masks, 1 - RATE, RATE)).sum(1)
        values = parts @ masks.T / (1 - RATE) + last["bias"][0]
        y = values.mean(1) + 0.3
        exact = logsumexp(weight + norm.logpdf(y[:, None], values, 0.5), axis=1)
        np.testing.assert_allclose(mixture_log_likelihood(passes[:, :, k], y, 0.5), exact, atol=0.06)
    centred = passes - passes.mean(1, keepdims=True)
    for first, second in itertools.combinations(np.moveaxis(centred, 1, -1).reshape(4, -1), 2):
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.07  # neither examples nor copies share masks
    again = dropout_passes(trained, SPLIT, KEY, 60)
    assert again.shape == (2, 60, 2, 1) and np.unique(again[0, :, 0, 0]).size <= 16


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match="deviation must be above 0, got 0"):
        mixture_log_likelihood(np.zeros((1, 2)), np.zeros(1), 0.0)
    with pytest.raises(ValueError, match="passes must be 1 or more, got 0"):
        dropout_passes(trained_of(), SPLIT, KEY, 0)
    model = mlp((3,), 2, hidden=(4,), norm="batch", dropout=RATE)
    x = np.zeros((2, 3), np.float32)
    params, stats = model.init(KEY, {"x": x})
    with pytest.raises(ValueError, match="take no batch norm"):
        model.apply(params, stats, x, key=KEY)

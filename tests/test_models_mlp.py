"""The multilayer perceptron against the same written in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from gen_models.models.supervised.mlp import mlp

RNG = np.random.default_rng(0)
BATCH = {
    "x": RNG.normal(size=(16, 3, 2)).astype(np.float32),
    "y": RNG.integers(4, size=16).astype(np.int32),
}
KEY = jax.random.key(0)


def _random_like(tree):
    """Other than the initial zeros and ones, so that each of them shows; positive, as a variance must be."""
    return jax.tree.map(lambda x: jnp.asarray(RNG.uniform(0.2, 1.5, size=x.shape), jnp.float32), tree)


def _numpy(params, stats, x, batch_norm, batch_statistics=False):
    """The layers by their order alone: Dense_0, BatchNorm_0, ...; batch norm's epsilon is Linen's 1e-5."""
    h = x.reshape(len(x), -1).astype(np.float64)
    for i in range(2):
        h = h @ np.asarray(params[f"Dense_{i}"]["kernel"], np.float64)
        if batch_norm:
            scale, bias = (np.asarray(params[f"BatchNorm_{i}"][k], np.float64) for k in ("scale", "bias"))
            mean, var = (np.asarray(stats[f"BatchNorm_{i}"][k], np.float64) for k in ("mean", "var"))
            if batch_statistics:
                mean, var = h.mean(0), h.var(0)
            h = (h - mean) / np.sqrt(var + 1e-5) * scale + bias
        else:
            h = h + np.asarray(params[f"Dense_{i}"]["bias"])
        h = np.maximum(h, 0)
    return h @ np.asarray(params["logits"]["kernel"]) + np.asarray(params["logits"]["bias"])


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_forward_pass_is_numpys(norm):
    model = mlp((3, 2), 4, hidden=(7, 5), norm=norm)
    params, stats = _random_like(model.init(KEY, BATCH))
    assert ("BatchNorm_0" in stats) == (norm == "batch")
    logits = model.apply(params, stats, BATCH["x"])
    np.testing.assert_allclose(logits, _numpy(params, stats, BATCH["x"], norm == "batch"), rtol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_is_numpys_cross_entropy(smoothing):
    model = mlp((3, 2), 4, hidden=(7, 5), norm="batch", label_smoothing=smoothing)
    params, stats = _random_like(model.init(KEY, BATCH))
    for train in (True, False):
        value, (_, metrics) = model.loss(params, stats, BATCH, KEY, step=0, train=train)
        logits = _numpy(params, stats, BATCH["x"], True, batch_statistics=train)
        target = np.eye(4)[BATCH["y"]]
        plain = -(target * log_softmax(logits, -1)).sum(-1).mean()
        if train:  # an evaluation is of the labels as they are
            target = (1 - smoothing) * target + smoothing / 4
        np.testing.assert_allclose(value, -(target * log_softmax(logits, -1)).sum(-1).mean(), rtol=1e-4)
        np.testing.assert_allclose(metrics["cross_entropy"], plain, rtol=1e-4)
        np.testing.assert_allclose(metrics["accuracy"], (logits.argmax(-1) == BATCH["y"]).mean(), rtol=1e-6)


def test_training_moves_the_running_averages():
    model = mlp((3, 2), 4, hidden=(7, 5), norm="batch")
    params, stats = _random_like(model.init(KEY, BATCH))
    _, (after, _) = model.loss(params, stats, BATCH, KEY, step=0)
    h = BATCH["x"].reshape(16, -1) @ np.asarray(params["Dense_0"]["kernel"])
    for name, of_batch in (("mean", h.mean(0)), ("var", h.var(0))):
        expected = 0.99 * np.asarray(stats["BatchNorm_0"][name]) + 0.01 * of_batch
        np.testing.assert_allclose(after["BatchNorm_0"][name], expected, rtol=1e-5)


def test_initial_weights_keep_the_variance_of_rectified_layers():
    """He et al. (2015), eq. 10: variance 2 / fan-in before a rectifier; 1 / fan-in for the logits."""
    model = mlp((500,), 10, hidden=(400, 400), norm="none")
    params, _ = model.init(KEY, {"x": np.zeros((1, 500))})
    for name, fan_in in (("Dense_0", 500), ("Dense_1", 400)):
        np.testing.assert_allclose(params[name]["kernel"].var(), 2 / fan_in, rtol=0.02)
        assert not params[name]["bias"].any()
    np.testing.assert_allclose(params["logits"]["kernel"].var(), 1 / 400, rtol=0.1)


def test_dropout_keeps_the_mean_and_drops_the_rate():
    """200 hidden units of 1 whose mean is a logit: it becomes the share of units kept, divided by 0.7."""
    model = mlp((1,), 2, hidden=(200,), dropout=0.3)
    params = {
        "Dense_0": {"kernel": jnp.zeros((1, 200)), "bias": jnp.ones(200)},
        "logits": {"kernel": jnp.tile(jnp.array([1 / 200, 0.0]), (200, 1)), "bias": jnp.zeros(2)},
    }
    batch = {"x": jnp.zeros((1, 1)), "y": jnp.zeros(1, jnp.int32)}
    losses = jax.vmap(lambda key: model.loss(params, {}, batch, key, step=0)[0])(jax.random.split(KEY, 400))
    logits = -np.log(np.expm1(np.asarray(losses, np.float64)))  # loss = log(1 + exp(-logit))
    np.testing.assert_allclose(logits.mean(), 1.0, atol=0.01)
    np.testing.assert_allclose(logits.std(), np.sqrt(0.3 / 0.7 / 200), rtol=0.15)  # of a binomial share
    np.testing.assert_allclose(model.apply(params, {}, batch["x"])[0], [1.0, 0.0], rtol=1e-6)  # evaluation: all


def test_dropout_and_smoothing_may_be_traced():
    def loss(rate):
        model = mlp((3, 2), 4, hidden=(7,), dropout=rate, label_smoothing=rate)
        params, stats = model.init(KEY, BATCH)
        return model.loss(params, stats, BATCH, KEY, step=0)[0]

    rates = (0.0, 0.5)
    np.testing.assert_allclose(jax.vmap(loss)(jnp.array(rates)), [loss(rate) for rate in rates], rtol=1e-5)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"norm": "bach"}, "unknown norm 'bach': did you mean 'batch'"),
        ({"hidden": (3, 0)}, r"positive, got hidden=\(3, 0\)"),
        ({"dropout": -0.1}, r"dropout must be in \[0, 1\), got -0.1"),
    ],
)
def test_impossible_arguments_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        mlp(**keywords)

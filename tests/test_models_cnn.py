"""The convolutional classifier against the same written in NumPy, in training and in evaluation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.models.supervised.cnn import cnn

RNG = np.random.default_rng(0)
BATCH = {
    "x": RNG.normal(size=(6, 6, 5, 2)).astype(np.float32),
    "y": RNG.integers(3, size=6).astype(np.int32),
}
KEY = jax.random.key(0)
MODEL = cnn((6, 5, 2), 3, channels=(3, 4), strides=(1, 2), dropout=0.0, momentum=0.8)


@pytest.fixture(scope="module")
def variables():
    shapes = jax.eval_shape(MODEL.init, KEY, BATCH)
    # positive, as a variance must be, and other than the initial zeros and ones, so that each of them shows
    return jax.tree.map(lambda x: jnp.asarray(RNG.uniform(0.2, 1.5, size=x.shape), jnp.float32), shapes)


def _convolve(x, kernel, stride):
    """3x3, "SAME": ceil(size / stride) outputs, the odd row of padding at the end."""
    size = [-(-s // stride) for s in x.shape[1:3]]
    pads = [max((n - 1) * stride + 3 - s, 0) for n, s in zip(size, x.shape[1:3], strict=True)]
    x = np.pad(x, ((0, 0), *((p // 2, p - p // 2) for p in pads), (0, 0)))
    out = np.zeros((len(x), *size, kernel.shape[-1]))
    for i in range(size[0]):
        for j in range(size[1]):
            window = x[:, i * stride : i * stride + 3, j * stride : j * stride + 3]
            out[:, i, j] = np.einsum("bijc,ijcd->bd", window, kernel)
    return out


def _numpy(params, stats, x, train):
    """Logits, and what the running averages become."""
    params, stats, h = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, stats, x))
    after = {}
    for i, stride in enumerate((1, 2)):
        h = _convolve(h, params[f"Conv_{i}"]["kernel"], stride)
        norm, running = params[f"BatchNorm_{i}"], stats[f"BatchNorm_{i}"]
        batch = {"mean": h.mean((0, 1, 2)), "var": h.var((0, 1, 2))}
        after[f"BatchNorm_{i}"] = {k: 0.8 * running[k] + 0.2 * batch[k] for k in batch} if train else running
        used = batch if train else running
        h = (h - used["mean"]) / np.sqrt(used["var"] + 1e-5) * norm["scale"] + norm["bias"]
        h = np.maximum(h, 0)
    return h.mean((1, 2)) @ params["logits"]["kernel"] + params["logits"]["bias"], after


def test_evaluation_uses_the_running_averages(variables):
    params, stats = variables
    expected, _ = _numpy(params, stats, BATCH["x"], train=False)
    np.testing.assert_allclose(MODEL.apply(params, stats, BATCH["x"]), expected, rtol=1e-4)
    alone = MODEL.apply(params, stats, BATCH["x"][:1])  # and so an example does not see its neighbours
    np.testing.assert_allclose(alone, expected[:1], rtol=1e-4)


def test_training_uses_the_batch_and_moves_the_averages(variables):
    params, stats = variables
    logits, expected = _numpy(params, stats, BATCH["x"], train=True)
    value, (after, metrics) = MODEL.loss(params, stats, BATCH, KEY, step=0)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(value, -log_p[np.arange(6), BATCH["y"]].mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["accuracy"], (logits.argmax(-1) == BATCH["y"]).mean(), rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), after, expected)


def test_the_default_is_under_100_000_parameters():
    params, stats = jax.eval_shape(cnn().init, KEY, {"x": jnp.zeros((1, 28, 28, 1))})
    count = sum(x.size for x in jax.tree.leaves(params))
    channels = (1, 32, 32, 48, 64, 64)
    convolutions = sum(9 * a * b for a, b in itertools.pairwise(channels))
    assert count == convolutions + 2 * sum(channels[1:]) + 64 * 10 + 10 == 88_970 < 100_000
    assert sum(x.size for x in jax.tree.leaves(stats)) == 2 * sum(channels[1:])


def test_dropout_is_of_training_alone():
    model = cnn((6, 5, 2), 3, channels=(8,), strides=(1,), dropout=0.5)
    params, stats = model.init(KEY, BATCH)
    values = {
        train: {float(model.loss(params, stats, BATCH, jax.random.key(i), step=0, train=train)[0]) for i in range(3)}
        for train in (True, False)
    }
    assert len(values[True]) == 3
    assert len(values[False]) == 1


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"shape": (28, 28)}, r"\(height, width, channels\), got shape=\(28, 28\)"),
        ({"channels": (8, 8), "strides": (1,)}, r"of one length, got channels=\(8, 8\), strides=\(1,\)"),
        ({"channels": (), "strides": ()}, r"got channels=\(\), strides=\(\)"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
    ],
)
def test_impossible_arguments_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        cnn(**keywords)

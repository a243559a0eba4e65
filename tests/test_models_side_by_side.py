"""Models side by side, and copies, train as each does alone; the network of studies is its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from gen_models.core import init_state, make_train_step
from gen_models.models.adversarial.gan import gan
from gen_models.models.side_by_side import copies, side_by_side
from gen_models.models.supervised.fully_connected import fully_connected, kernel_initialiser

RNG = np.random.default_rng(0)


def _batch(copies=3):
    return {
        "x": RNG.normal(size=(6, copies, 2)).astype(np.float32),
        "y": RNG.integers(2, size=(6, copies)).astype(np.int32),
    }


def _three_updates(model, tx):
    """(params, batches with a leading axis of steps) -> params after them, compiled."""

    def run(params, batches):
        state = init_state(model, tx, jax.random.key(0), jax.tree.map(lambda leaf: leaf[0], batches))
        return jax.lax.scan(make_train_step(model.loss, tx), state._replace(params=params), batches)[0].params

    return jax.jit(run)


def test_each_trains_as_it_does_alone():
    """Two models of two copies with their own data: three updates of Adam, beside each network's own."""
    parts = {"one": fully_connected(hidden=(4,)), "none": fully_connected(hidden=(), activation="tanh")}
    together = side_by_side({name: copies(model, 2, own_data=True) for name, model in parts.items()})
    tx, batches = optax.adam(0.1), jax.tree.map(lambda *leaves: np.stack(leaves), *(_batch(2) for _ in range(3)))
    start = jax.jit(lambda batch: together.init(jax.random.key(0), batch)[0])(_batch(2))
    end = _three_updates(together, tx)(start, batches)
    for name, model in parts.items():
        update = _three_updates(model, tx)
        for i in range(2):
            own = jax.tree.map(lambda leaf, i=i: leaf[i], start[name])
            alone = update(own, {field: values[:, :, i] for field, values in batches.items()})
            for ours, theirs in zip(jax.tree.leaves(end[name]), jax.tree.leaves(alone), strict=True):
                np.testing.assert_allclose(ours[i], theirs, rtol=1e-4, atol=1e-6)
            x = batches["x"][0]
            answers = together.apply(end, {"one": {}, "none": {}}, x)[name]
            np.testing.assert_allclose(answers[:, i], model.apply(alone, {}, x[:, i]), atol=1e-4)


@pytest.mark.slow  # 1 s of a core
def test_copies_differ_in_their_start_and_see_the_same_data():
    model = copies(fully_connected((2,), 1, answer="numbers"), 4)
    x = _batch()["x"][:, 0]
    params, stats_ = model.init(jax.random.key(0), {"x": x})
    answers = np.asarray(model.apply(params, stats_, x))
    assert answers.shape == (6, 4, 1) and len(np.unique(answers[0].round(5))) == 4


def test_what_cannot_stand_side_by_side_is_named():
    with pytest.raises(ValueError, match="got none"):
        side_by_side({})
    with pytest.raises(ValueError, match="the first has several players"):
        side_by_side({"the first": gan()})
    with pytest.raises(ValueError, match="count=0"):
        copies(fully_connected((2,), 2), 0)
    own = copies(fully_connected((2,), 2), 4, own_data=True)
    with pytest.raises(ValueError, match=r"x must be \[B, 4, ...\], a part for each of 4 copies, got \[6, 3, 2\]"):
        own.init(jax.random.key(0), _batch())


def test_the_network_is_its_formula():
    model = fully_connected((3,), 2, hidden=(4, 5), activation="tanh", answer="numbers")
    x, y = RNG.normal(size=(7, 3)).astype(np.float32), RNG.normal(size=(7, 2)).astype(np.float32)
    params, _ = model.init(jax.random.key(0), {"x": x, "y": y})
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    kernels = [(np.asarray(params[n]["kernel"]), np.asarray(params[n]["bias"])) for n in ("Dense_0", "Dense_1")]
    h, hidden = x, []
    for kernel, bias in kernels:
        h = np.tanh(h @ kernel + bias)
        hidden.append(h)
    last = h @ np.asarray(params["logits"]["kernel"]) + np.asarray(params["logits"]["bias"])
    answered, found = model.apply(params, {}, x, layers=True)
    np.testing.assert_allclose(answered, last, atol=1e-5)
    for ours, theirs in zip(found, hidden, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    loss, _ = model.loss(params, {}, {"x": x, "y": y}, jax.random.key(0), step=0)
    np.testing.assert_allclose(loss, ((last - y) ** 2).mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "variance"), [("small", 1e-4), ("lecun", 1 / 300), ("xavier", 0.004), ("he", 2 / 300)]
)
def test_kernels_start_normal_with_their_variance(name, variance):
    """Kolmogorov and Smirnov's distance of 60,000 entries, whose 99.9 % quantile is 1.95 / sqrt(n).

    Variance scaling cuts its normal at two deviations unless it is told "normal", which would be found here.
    """
    kernel = np.asarray(kernel_initialiser(name)(jax.random.key(3), (300, 200), jnp.float32)).ravel()
    assert stats.kstest(kernel / np.sqrt(variance), "norm").statistic < 1.95 / np.sqrt(kernel.size)


def test_orthogonal_kernels_keep_lengths():
    for activation, gain in (("tanh", 1.0), ("relu", 2.0)):
        kernel = np.asarray(kernel_initialiser("orthogonal", activation)(jax.random.key(0), (6, 9), jnp.float32))
        np.testing.assert_allclose(kernel @ kernel.T, gain * np.eye(6), atol=1e-5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 4}, "hidden must be a sequence"),
        ({"activation": "rellu"}, "did you mean 'relu'"),
        ({"initialisation": "hee"}, "did you mean 'he'"),
        ({"answer": "number"}, "did you mean 'numbers'"),
        ({"dropout": 1.0}, "dropout must be in"),
    ],
)
def test_what_cannot_be_built_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        fully_connected((2,), **options)


def test_numbers_need_answers_of_their_shape():
    model = fully_connected((2,), 2, answer="numbers")
    params, _ = model.init(jax.random.key(0), {"x": np.ones((3, 2))})
    with pytest.raises(ValueError, match=r"'y' must be \[3, 2\], numbers for each answer, got \[3\]"):
        model.loss(params, {}, {"x": np.ones((3, 2)), "y": np.ones(3)}, jax.random.key(0), step=0)

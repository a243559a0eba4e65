"""FVSBN against scikit-learn's regressions; and checks that it, NADE and MADE have in common."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from gen_models.models.autoregressive import fvsbn as module
from gen_models.models.autoregressive.fvsbn import fvsbn
from tests.checked import unchecked

BINARY, TWO_CHANNELS = (3, 3, 1), (2, 2, 2)


def all_images(shape):
    """Every binary image, [2^D, *shape]."""
    return np.array(list(itertools.product([0.0, 1.0], repeat=int(np.prod(shape)))), np.float32).reshape(-1, *shape)


def varied(model, shape, seed=0):
    """Parameters that are nowhere near zero."""
    params, stats = model.init(jax.random.key(seed), {"x": np.zeros((1, *shape))})
    assert stats == {}
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    return jax.tree.unflatten(
        tree, [leaf + 0.3 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    )


def assert_outputs_see_what_is_before(model, params, shape, orders):
    """For each member: the Jacobian is strictly lower triangular in its order, and full enough to mean something."""
    size = int(np.prod(shape))
    x = jax.random.bernoulli(jax.random.key(2), 0.5, (1, *shape)).astype(jnp.float32)
    jacobian = jax.jit(jax.vmap(jax.jacrev(lambda x, index: model.apply(params, {}, x, index)), (None, 0)))
    for order, whole in zip(orders, jacobian(x, jnp.arange(len(orders))), strict=True):
        ordered = np.asarray(whole).reshape(size, size)[np.ix_(order, order)]
        assert (np.triu(ordered) == 0).all()
        assert (np.tril(ordered, -1) != 0).mean() > 0.25  # of at most (D - 1) / 2D


def assert_probabilities_sum_to_one(model, params, shape, members=1):
    """Those of the mixture and of each member; and a mixture is the members' mean."""
    x = all_images(shape)

    @jax.jit
    def log_p(params):
        each = jax.vmap(lambda index: model.log_prob(params, {}, x, index=index))(jnp.arange(members))
        return model.log_prob(params, {}, x), each

    whole, each = log_p(params)
    for one in (whole, *each):
        np.testing.assert_allclose(np.exp(np.float64(one)).sum(), 1, atol=1e-5)
    np.testing.assert_allclose(np.exp(whole), np.mean(np.exp(each), 0), rtol=1e-4)
    assert np.std(whole) > 0.1


def assert_cached_logits_are_those_of_the_whole(monkeypatch, module, build, shape, members=1):
    """The network one variable at a time, fed with given images, against all at once."""
    model, size = build(), int(np.prod(shape))
    with monkeypatch.context() as patch, unchecked():
        patch.setattr(module, "binary_model", lambda *pieces: pieces)
        _, orders, _, logits, one_by_one = build()
    params, x = varied(model, shape), all_images(shape)[5::37].reshape(-1, size)

    @jax.jit
    def both(params, index):
        network = one_by_one(params, index, len(x))

        def one(carry, d):
            return network.update(carry, d, jnp.asarray(x)[:, d]), network.logit(carry, d)

        order = jnp.asarray(orders)[index]
        in_order = jax.lax.scan(one, network.carry, order)[1].T
        return in_order, logits(params, x, index, None)[:, order]

    for index in range(members):
        cached, whole = both(params, index)
        np.testing.assert_allclose(cached, whole, atol=1e-4)


def assert_samples_are_the_naive_ones(model, params, shape, n=7, **completing):
    """And pixels that are given stay, also where they come last in an order; `completing` goes with these alone."""
    given = jax.random.bernoulli(jax.random.key(4), 0.5, (n, *shape)).astype(jnp.float32)
    nothing = np.zeros(shape[:2], bool)
    last_row = nothing.copy()
    last_row[-1] = True

    @jax.jit
    def draw(params, key):
        completions = {"given": given, "mask": last_row} | completing
        return [
            [model.sample(params, {}, key, n, method=m, **arguments) for m in ("cached", "naive")]
            for arguments in ({}, completions)
        ]

    seen = []
    drawn = [jax.device_get(draw(params, jax.random.key(seed))) for seed in range(3)]
    for i, mask in enumerate((nothing, last_row)):
        for cached, naive in (of_seed[i] for of_seed in drawn):
            np.testing.assert_array_equal(cached, naive)
            np.testing.assert_array_equal(cached[:, mask], given[:, mask])
            assert set(np.unique(cached[:, ~mask])) == {0, 1}
            seen.append(cached)
    assert len(np.unique(np.concatenate(seen[:3]), axis=0)) > n  # other keys, other images


def assert_samples_have_the_models_probabilities(model, params, shape, n=40_000, **arguments):
    """A histogram of all images against `log_prob`, of a member where `index` is given: within 5 standard errors."""
    drawn = jax.jit(lambda params: model.sample(params, {}, jax.random.key(5), n, **arguments))(params)
    x, size = all_images(shape), int(np.prod(shape))
    place = np.asarray(drawn).reshape(n, size) @ (2 ** np.arange(size)[::-1])
    frequency = np.bincount(place.astype(int), minlength=len(x)) / n
    p = np.exp(jax.jit(lambda params: model.log_prob(params, {}, x, index=arguments.get("index")))(params))
    assert (np.abs(frequency - p) < 5 * np.sqrt(p * (1 - p) / n) + 1e-4).all()


@pytest.mark.slow_cases("shape0")
@pytest.mark.parametrize("shape", [BINARY, TWO_CHANNELS])
def test_it_is_autoregressive_and_normalised(shape, monkeypatch):
    model = fvsbn(shape)
    params, orders = varied(model, shape), np.arange(np.prod(shape))[None]
    assert_outputs_see_what_is_before(model, params, shape, orders)
    assert_probabilities_sum_to_one(model, params, shape)
    assert_cached_logits_are_those_of_the_whole(monkeypatch, module, lambda: fvsbn(shape), shape)
    assert_samples_are_the_naive_ones(model, params, shape)


def test_samples_have_the_models_probabilities():
    shape = (2, 2, 1)
    model = fvsbn(shape)
    assert_samples_have_the_models_probabilities(model, varied(model, shape), shape)


def test_each_pixel_is_scikit_learns_logistic_regression_on_those_before_it():
    """At the regressions' optima, fitted one by one, the joint loss has no gradient, and is the sum of theirs."""
    rng = np.random.default_rng(0)
    x = (rng.uniform(size=(400, 9)) < 0.5).astype(np.float32)
    x[:, 3:] = np.where(rng.uniform(size=(400, 6)) < 0.3, x[:, :6], x[:, 3:])  # pixels depend on those above
    w, b, total = np.zeros((9, 9)), np.zeros(9), 0.0
    for d in range(9):
        if d == 0:
            b[0] = np.log(x[:, 0].mean() / (1 - x[:, 0].mean()))
            p = np.full(400, x[:, 0].mean())
        else:
            regression = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000).fit(np.float64(x[:, :d]), x[:, d])
            w[:d, d], b[d] = regression.coef_[0], regression.intercept_[0]
            p = regression.predict_proba(np.float64(x[:, :d]))[:, 1]
        total -= np.mean(np.log(np.where(x[:, d] == 1, p, 1 - p)))
    model = fvsbn(BINARY)
    optimum = {"W": jnp.float32(w), "b": jnp.float32(b)}
    start, _ = model.init(jax.random.key(0), {"x": x.reshape(-1, *BINARY)})

    @jax.jit
    def loss_and_gradient(params):
        batch = {"x": x.reshape(-1, *BINARY)}
        return jax.value_and_grad(lambda p: model.loss(p, {}, batch, jax.random.key(0), step=0)[0])(params)

    value, at_optimum = loss_and_gradient(optimum)
    at_zero_value, at_zero = loss_and_gradient(start)
    np.testing.assert_allclose(value, total, rtol=1e-5)
    np.testing.assert_allclose(at_zero_value, 9 * np.log(2), rtol=1e-5)
    assert max(np.abs(g).max() for g in at_optimum.values()) < 1e-5
    assert max(np.abs(g).max() for g in at_zero.values()) > 1e-2


def test_half_precision_stays_close():
    x = all_images(BINARY)
    params = varied(fvsbn(BINARY), BINARY)
    full, half = (fvsbn(BINARY, dtype=dtype).log_prob(params, {}, x) for dtype in (None, jnp.bfloat16))
    assert half.dtype == jnp.float32 and not np.array_equal(full, half)
    np.testing.assert_allclose(half, full, atol=0.1)


def test_progress_and_temperature():
    calls = []
    model = fvsbn(BINARY)
    params = varied(model, BINARY)
    cold = jax.jit(
        lambda key: model.sample(
            params, {}, key, 5, temperature=1e-6, progress=lambda done, size: calls.append((done, size))
        )
    )
    x = np.asarray(cold(jax.random.key(0)))
    jax.effects_barrier()
    assert calls == [(done, 9) for done in range(1, 10)]
    assert len(np.unique(x, axis=0)) == 1  # the most probable value of each pixel given those before it
    np.testing.assert_array_equal(x, model.apply(params, {}, x) > 0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"method": "cachd"}, "did you mean 'cached'"),
        ({"given": np.zeros((2, 3, 3, 1))}, "given needs mask"),
        ({"given": np.zeros((3, 3, 3, 1)), "mask": np.ones((3, 3))}, "given must be"),
        ({"given": np.zeros((2, 3, 3, 1)), "mask": np.ones((5, 3, 3))}, "mask"),
    ],
)
def test_what_does_not_fit_is_named(arguments, named):
    model = fvsbn(BINARY)
    params = varied(model, BINARY)
    with pytest.raises(ValueError, match=named):
        model.sample(params, {}, jax.random.key(0), 2, **arguments)
    with pytest.raises(ValueError, match="built for images"):
        model.log_prob(params, {}, np.zeros((2, 4, 3, 1)))
    with pytest.raises(ValueError, match="shape"):
        fvsbn((3, 0, 1))
    with pytest.raises(ValueError, match="height, width, channels"):
        fvsbn((9,))

"""Models of polyphonic music: normalisation by enumeration, causality, exact samplers, windows that go on, NADE."""

import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from gen_models.models.sequences.polyphonic import polyphonic

K, KEY = 3, jax.random.key(0)
SIZES = {"features": 5, "nade_features": 4}
OUTPUTS = ("independent", "nade")
both = pytest.mark.parametrize("output", OUTPUTS)


@cache
def _made(output, cell="gru", **options):
    """The model and parameters that are nowhere near zero."""
    model = polyphonic(K, cell=cell, output=output, **SIZES, **options)
    params, stats = jax.jit(model.init)(KEY, _batch(1, 2))
    assert stats == {}
    rng = np.random.default_rng(1)
    return model, jax.tree.map(lambda leaf: leaf + 0.7 * rng.normal(size=leaf.shape).astype(np.float32), params)


def _batch(size, length, seed=0):
    rows = np.random.default_rng(seed).integers(2, size=(size, length + 1, K), dtype=np.uint8)
    return {"x": jnp.asarray(rows[:, :-1]), "y": jnp.asarray(rows[:, 1:])}


def _all(length):
    """All sequences of rows, [2^(K length), length, K]."""
    bits = np.array(list(itertools.product((0, 1), repeat=K * length)), np.uint8)
    return jnp.asarray(bits.reshape(-1, length, K))


@both
def test_probabilities_of_all_sequences_sum_to_one(output):
    model, params = _made(output)
    for length in (1, 2):
        log_p = np.asarray(jax.jit(model.log_prob)(params, {}, _all(length)), np.float64)
        np.testing.assert_allclose(np.exp(log_p).sum(), 1, atol=1e-5)
        assert log_p.std() > 0.1


def test_rows_of_nade_are_those_of_its_equations_by_hand():
    """Key by key in NumPy, from the state that the network gives."""
    model, params = _made("nade")
    own = jax.tree.map(np.asarray, params)
    x = _batch(1, 1)["y"]
    gru = own["gru_0"]
    z = np.zeros(K) @ gru["kernel"] + gru["bias"]  # the row before is silent, and so is the state before
    r, u, n = np.split(z, 3)
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    h = (1 - sigmoid(u)) * np.tanh(n + sigmoid(r) * gru["recurrent_bias"])
    b = h @ own["logits"]["kernel"] + own["logits"]["bias"]
    a = h @ own["first_sums"]["kernel"] + own["first_sums"]["bias"]
    log_p = 0.0
    for d in range(K):
        p = sigmoid(b[d] + sigmoid(a) @ own["nade"]["V"][d])
        log_p += np.log(p if x[0, 0, d] else 1 - p)
        a = a + x[0, 0, d] * own["nade"]["W"][d]
    np.testing.assert_allclose(model.log_prob(params, {}, x)[0], log_p, rtol=1e-5)


@pytest.mark.slow  # it trains
def test_only_nade_can_say_that_two_keys_sound_together_or_not_at_all():
    """Of independent keys the best likelihood of such rows is 2 log 2 a row; NADE comes to log 2."""
    drawn = np.random.default_rng(0).integers(2, size=(64, 5, 1), dtype=np.uint8)
    rows = np.repeat(drawn, 2, axis=2)
    batch = {"x": jnp.asarray(rows[:, :-1]), "y": jnp.asarray(rows[:, 1:])}
    reached = {}
    for output in OUTPUTS:
        model = polyphonic(2, output=output, features=4, nade_features=8)
        params, _ = jax.jit(model.init)(KEY, batch)

        @jax.jit
        def descend(params, model=model):
            def step(params, _):
                value, grads = jax.value_and_grad(lambda p: model.loss(p, {}, batch, KEY, step=0)[0])(params)
                return jax.tree.map(lambda p, g: p - 0.5 * g, params, grads), value

            return jax.lax.scan(step, params, length=400)[1][-1]

        reached[output] = descend(params)
    assert reached["independent"] == pytest.approx(2 * np.log(2), abs=0.08)
    assert reached["nade"] == pytest.approx(np.log(2), abs=0.08)


@both
def test_a_row_depends_on_all_rows_before_and_on_none_behind(output):
    model, params = _made(output)
    batch = _batch(1, 4)

    @jax.jit
    def of_rows(inputs):
        """log p of each row: of so many rows, less that of the rows before."""
        upto = jax.vmap(lambda t: model.log_prob(params, {}, batch["y"], inputs=inputs, lengths=t[None])[0])
        return jnp.diff(upto(jnp.arange(5)))

    slopes = jax.jit(jax.jacobian(of_rows))(jnp.asarray(batch["x"], jnp.float32))[:, 0]  # [row, input row, K]
    reaches = np.abs(np.asarray(slopes)).sum(-1) > 1e-6
    np.testing.assert_array_equal(reaches, np.tri(4, dtype=bool))


@pytest.mark.slow_cases("nade")
@both
def test_both_samplers_draw_the_same_rows_and_as_often_as_is_probable(output):
    model, params = _made(output)
    draw = jax.jit(lambda key, n: model.sample(params, {}, key, n, length=2), static_argnums=1)
    naive = jax.jit(lambda key: model.sample(params, {}, key, 50, length=2, method="naive"))(KEY)
    np.testing.assert_array_equal(draw(KEY, 50), naive)
    drawn = np.asarray(draw(jax.random.key(1), 20_000)).reshape(20_000, -1)
    counts = np.bincount(drawn @ (1 << np.arange(2 * K)[::-1]), minlength=2 ** (2 * K))
    expected = 20_000 * np.exp(np.asarray(model.log_prob(params, {}, _all(2)), np.float64))
    often = expected > 5
    counts, expected = counts[often], expected[often]
    assert counts.sum() > 19_000
    assert chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-4


@both
def test_a_prompt_comes_first_and_the_rest_follows_it(output):
    model, params = _made(output)
    prompt = np.array([[1, 0, 1], [0, 1, 1]], np.uint8)
    rows = model.sample(params, {}, KEY, 4, length=5, prompt=prompt)
    np.testing.assert_array_equal(rows[:, :2], np.broadcast_to(prompt, (4, 2, K)))
    np.testing.assert_array_equal(rows, model.sample(params, {}, KEY, 4, length=5, prompt=prompt, method="naive"))
    with pytest.raises(ValueError, match="the prompt has 2 rows, and length=1"):
        model.sample(params, {}, KEY, 4, length=1, prompt=prompt)
    with pytest.raises(ValueError, match=r"prompt must be rows \[P, 3\] or \[4, P, 3\], got \[3, 2, 3\]"):
        model.sample(params, {}, KEY, 4, length=5, prompt=np.stack([prompt] * 3))


@pytest.mark.parametrize(
    "cell", ["gru", pytest.param("lstm", marks=pytest.mark.slow), pytest.param("elman", marks=pytest.mark.slow)]
)
def test_two_windows_that_go_on_are_one_of_both(cell):
    model, params = _made("nade", cell)
    batch = _batch(3, 6)
    first, second = ({name: rows[:, part] for name, rows in batch.items()} for part in (slice(4), slice(4, None)))
    loss = jax.jit(lambda batch, carry: model.loss(params, {}, batch, KEY, step=0, carry=carry))
    begin = model.init_carry(params, batch)
    whole = loss(batch, begin)[0]
    one, (_, _, carry) = loss(first, begin)
    two, _ = loss(second, carry)
    np.testing.assert_allclose((4 * one + 2 * two) / 6, whole, rtol=1e-5)
    np.testing.assert_allclose(-model.log_prob(params, {}, batch["y"], inputs=batch["x"]).sum() / 18, whole, rtol=1e-5)


def test_what_stands_behind_a_length_changes_nothing():
    model, params = _made("independent")
    batch, lengths = _batch(2, 5), jnp.array([3, 5])
    other = {name: rows.at[0, 3:].set(1 - rows[0, 3:]) for name, rows in batch.items()}
    losses = [model.loss(params, {}, each | {"length": lengths}, KEY, step=0)[0] for each in (batch, other)]
    assert losses[0] == losses[1]
    short = -model.log_prob(params, {}, batch["y"][:1, :3], inputs=batch["x"][:1, :3])[0]
    long = -model.log_prob(params, {}, batch["y"][1:], inputs=batch["x"][1:])[0]
    np.testing.assert_allclose(losses[0], (short + long) / 10, rtol=1e-5)


def test_noise_on_the_weights_is_of_training_alone_and_has_its_deviation():
    """To first order the loss moves by noise times gradient, whose deviation is that of the noise times the norm."""
    quiet, params = _made("independent")
    noisy, _ = _made("independent", weight_noise=1e-3)
    batch = _batch(4, 3)

    @partial(jax.jit, static_argnums=(0, 2))
    def value(model, key, train):
        return model.loss(params, {}, batch, key, step=0, train=train)[0]

    np.testing.assert_allclose(value(noisy, KEY, False), value(quiet, KEY, True), rtol=1e-6)
    moved = jax.vmap(lambda key: value(noisy, key, True))(jax.random.split(KEY, 500)) - value(quiet, KEY, True)
    grads = jax.jit(jax.grad(lambda p: quiet.loss(p, {}, batch, KEY, step=0)[0]))(params)
    norm = np.sqrt(sum(float(jnp.square(g).sum()) for g in jax.tree.leaves(grads)))
    assert np.std(moved) == pytest.approx(1e-3 * norm, rel=0.12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: polyphonic(0), "keys=0"),
        (lambda: polyphonic(cell="rnn"), "unknown cell 'rnn'"),
        (lambda: polyphonic(output="rbm"), "unknown output 'rbm'"),
        (lambda: polyphonic(weight_noise=-0.1), "weight_noise must be 0 or more, got -0.1"),
        (lambda: polyphonic(dropout=1.0), "dropout"),
    ],
)
def test_what_is_no_model_of_music(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_batch_of_music():
    model, params = _made("independent")
    batch = _batch(2, 3)
    for wrong, message in [
        ({"x": batch["x"]}, "the rows that follow those of 'x', as 'y'"),
        (batch | {"y": batch["y"][:, 1:]}, r"is followed by one of 'y', got \[2, 3, 3\] and \[2, 2, 3\]"),
        (batch | {"x": batch["x"][..., :2]}, r"'x' must be rows \[B, T, 3\], got \[2, 3, 2\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.loss(params, {}, wrong, KEY, step=0)
    assert model.apply(params, {}, batch["x"]).shape == (2, 3, K)
    assert not _made("nade")[0].has("apply")  # its keys depend on each other

"""The transformer against PyTorch's own layers, its attention by hand, and what its positions mean."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from theirs import assert_language_model_is

from gen_models.models.sequences.transformer import transformer
from gen_models.nn.attention import Attention, attention, rotated, sinusoids
from gen_models.nn.token_draws import kept_logits

THEIRS = Path(__file__).parent / "fixtures" / "transformer_torch.npz"  # made by make_transformer_torch.py beside it


def test_logits_loss_and_gradients_are_pytorchs():
    with np.load(THEIRS) as file:
        theirs = dict(file)
    model = transformer(7, context=6, features=8, layers=2, heads=2, use_bias=True)
    assert_language_model_is(model, theirs, atol=1e-5)


def test_attention_is_a_mean_of_values_by_its_weights():
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(2, 3, n, 4)), jnp.float32) for n in (5, 6, 6))
    seen = jnp.asarray(rng.uniform(size=(2, 1, 5, 6)) < 0.6).at[0, 0, 1].set(False)
    y, weights = attention(q, k, v, seen)
    for b, h, i in np.ndindex(2, 3, 5):
        e = np.exp(np.float64(k[b, h] @ q[b, h, i]) / 2) * np.asarray(seen[b, 0, i])
        expected = e / e.sum() if e.any() else e
        np.testing.assert_allclose(weights[b, h, i], expected, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(y[b, h, i], expected @ np.asarray(v[b, h]), rtol=1e-4, atol=1e-6)
    assert (y[0, :, 1] == 0).all()  # it sees no key


def test_positions_of_memory_beyond_its_length_have_no_weight():
    layer = Attention(heads=2, features=6)
    rng = np.random.default_rng(0)
    x, memory = (jnp.asarray(rng.normal(size=(3, n, 5)), jnp.float32) for n in (4, 7))
    lengths = jnp.array([7, 2, 4])
    (y, _), params = layer.init_with_output(jax.random.key(0), x, memory, lengths)
    spoiled = jnp.where((jnp.arange(7) < lengths[:, None])[..., None], memory, 99.0)
    (again, _), sown = layer.apply(params, x, spoiled, lengths, mutable=["intermediates"])
    np.testing.assert_allclose(y, again, rtol=1e-5, atol=1e-6)
    (weights,) = sown["intermediates"]["weights"]
    assert (weights[1, ..., 2:] == 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)


def test_products_of_rotated_vectors_depend_on_the_distance_alone():
    rng = np.random.default_rng(0)
    q, k = (jnp.asarray(rng.normal(size=(1, 1, 1, 8)), jnp.float32) for _ in range(2))
    product = lambda i, j: (rotated(q, jnp.array([i])) * rotated(k, jnp.array([j]))).sum()  # noqa: E731
    for i, j, shift in ((0, 0, 9), (5, 2, 40), (3, 11, 100)):
        np.testing.assert_allclose(product(i, j), product(i + shift, j + shift), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(product(4, 4), (q * k).sum(), rtol=1e-4, atol=1e-5)
    assert abs(product(0, 3) - product(0, 0)) > 0.1
    # Rotary attention of one layer sees distances alone: the same tokens one later have the same logits.
    np.testing.assert_allclose(jnp.linalg.norm(rotated(q, jnp.array([7]))), jnp.linalg.norm(q), rtol=1e-5)


def test_sinusoids_are_the_papers():
    table = sinusoids(50, 7)
    assert table.shape == (50, 7)
    for p, i in ((0, 0), (3, 2), (49, 6)):
        np.testing.assert_allclose(table[p, i], np.sin(p / 10000 ** (i / 7)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(table[11, 3], np.cos(11 / 10000 ** (2 / 7)), rtol=1e-5)


@pytest.mark.slow
def test_without_positions_the_order_of_earlier_tokens_does_not_matter_to_one_layer():
    """The last token's output of one layer: with positions it changes."""
    x = jnp.array([[0, 1, 2, 3, 4]])
    for positions in ("none", "learned", "sinusoidal", "rotary"):
        model = transformer(5, context=5, features=8, layers=1, heads=2, positions=positions)
        params, _ = jax.jit(model.init)(jax.random.key(0), {"x": x, "y": x})
        params = jax.tree.map(lambda p: p + 0.3 * jax.random.normal(jax.random.key(p.size), p.shape), params)
        last = jax.jit(partial(model.apply, params, {}))
        ordered, other = last(x)[0, -1], last(x[:, jnp.array([2, 0, 3, 1, 4])])[0, -1]
        assert np.allclose(ordered, other, atol=1e-5) == (positions == "none")


def test_positions_do_not_drown_the_tokens():
    """At the start, logits of the last token depend on the tokens as much with sinusoids as without positions."""
    x = jax.random.randint(jax.random.key(1), (64, 8), 0, 20)
    spread = {}
    for positions in ("none", "sinusoidal"):
        model = transformer(20, context=8, features=16, layers=1, heads=2, positions=positions)
        params, _ = jax.jit(model.init)(jax.random.key(0), {"x": x, "y": x})
        spread[positions] = float(jax.jit(partial(model.apply, params, {}))(x)[:, -1].std(0).mean())
    assert spread["sinusoidal"] > 0.5 * spread["none"] > 0


@pytest.mark.slow
def test_a_branch_adds_as_much_to_the_stream_however_deep_the_network_is():
    """GPT-2's start: the stream's variance after all layers stays within a factor of two of one layer's."""
    x = jax.random.randint(jax.random.key(1), (4, 16), 0, 50)
    spread = []
    for layers in (1, 12):
        model = transformer(50, context=16, features=32, layers=layers, heads=4)
        params, _ = jax.jit(model.init)(jax.random.key(0), {"x": x, "y": x})
        deviations = [np.std(params[f"mlp_out_{i}"]["kernel"]) for i in range(layers)]
        np.testing.assert_allclose(deviations, 0.02 / np.sqrt(2 * layers), rtol=0.1)
        spread.append(float(model.log_prob(params, {}, x).mean()) / 16)
    np.testing.assert_allclose(spread, -np.log(50), rtol=0.02)  # and predictions are uniform at first


def test_only_the_most_probable_tokens_are_kept():
    logits = jnp.log(jnp.array([[0.5, 0.3, 0.15, 0.05], [0.25, 0.25, 0.25, 0.25]]))
    kept = lambda **how: np.isfinite(kept_logits(logits, **how)).tolist()  # noqa: E731
    every, first, two = [True] * 4, [True, False, False, False], [True, True, False, False]
    assert kept() == [every, every] == kept(top_k=4, top_p=1.0)
    assert kept(top_k=1) == [first, every] and kept(top_k=2) == [two, every]  # those as probable as the last stay
    assert kept(top_p=0.5) == [first, every] and kept(top_p=0.51) == [two, every]
    assert kept(top_k=3, top_p=0.8)[0] == two  # of the three, 0.5 / 0.95 + 0.3 / 0.95 is above 0.8
    assert kept(temperature=0.1, top_p=0.9)[0] == first  # at this temperature the first has 0.994
    for temperature in (0.5, 2.0):
        np.testing.assert_allclose(
            jax.nn.softmax(kept_logits(logits, temperature)), jax.nn.softmax(logits / temperature), rtol=1e-5
        )
    assert (jax.nn.softmax(kept_logits(logits, 0.0))[0] == jnp.array([1, 0, 0, 0])).all()
    assert np.isfinite(jax.jit(kept_logits)(logits, 1.0, top_p=0.5)).tolist() == [first, every]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_is_for_training_alone(dropout):
    x = jnp.zeros((2, 5), jnp.int32)
    model = transformer(5, context=5, features=8, layers=1, heads=2, dropout=dropout)
    params, _ = jax.jit(model.init)(jax.random.key(0), {"x": x, "y": x})
    loss = jax.jit(partial(model.loss, step=0), static_argnames="train")
    values = {
        train: [float(loss(params, {}, {"x": x, "y": x}, jax.random.key(i), train=train)[0]) for i in range(2)]
        for train in (True, False)
    }
    assert (values[True][0] == values[True][1]) == (dropout == 0) and values[False][0] == values[False][1]

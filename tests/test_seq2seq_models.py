"""What every model of a target given a source must satisfy, and two of them against PyTorch's layers.

A model joins with an entry in MODELS of tiny_seq2seq_models.py; searches and samples: test_seq2seq_search.py.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from theirs import assert_gradients_close, trees_of
from tiny_seq2seq_models import (
    GIVEN,
    LENGTH,
    MODELS,
    SOURCE_LENGTHS,
    SOURCE_V,
    SOURCES,
    V,
    each,
    log_probs_of_all,
    made,
    marked,
    moved,
)

from gen_models.models.sequences.recurrent_seq2seq import recurrent_seq2seq
from gen_models.models.sequences.seq2seq_model import Memory
from gen_models.models.sequences.transformer_seq2seq import transformer_seq2seq
from gen_models.nn.additive_attention import AdditiveAttention

THEIRS = Path(__file__).parent / "fixtures" / "seq2seq_torch.npz"  # made by make_seq2seq_torch.py beside it


@pytest.mark.slow_cases("bahdanau")
@each
def test_probabilities_of_all_targets_sum_to_one_and_depend_on_the_source(name):
    log_p = log_probs_of_all(name)
    np.testing.assert_allclose(np.exp(log_p).sum(1), 1, atol=1e-5)
    assert log_p.std(1).min() > 0.1 and log_p.std(0).max() > 0.1


@pytest.mark.slow_cases("bahdanau")
@pytest.mark.parametrize(
    "name", marked(name for name in MODELS if name != "transformer, as published")
)  # a tied row is an output too
def test_an_output_depends_on_the_tokens_up_to_its_own_and_on_the_counted_source_alone(name):
    """Each token stands once, so that the gradient of an embedding is that of a position."""
    model, params = made(name, LENGTH, LENGTH)
    source, x = jnp.array([[3, 1, 0, 2]]), jnp.array([[2, 0, 3, 1]])
    flat = flatten_dict(params, sep="/")
    (source_name,) = [key for key in flat if key in ("encoder/tokens/embedding", "source_tokens/embedding")]

    @jax.jit
    @partial(jax.jacrev, argnums=(0, 1))
    def jacobians(target, of_source):
        own = unflatten_dict({**flat, "tokens/embedding": target, source_name: of_source}, sep="/")
        return model.apply(own, {}, x, source=source, source_lengths=jnp.array([3]))[0]

    of_target, of_source = (
        np.abs(np.asarray(jacobian)).sum((1, 3)) for jacobian in jacobians(flat["tokens/embedding"], flat[source_name])
    )
    seen = of_target[:, x[0]]  # [T, T]: an output of a position
    assert (np.triu(seen, 1) == 0).all() and (seen[np.tril_indices(LENGTH)] > 0).all()
    seen = of_source[:, source[0]]
    assert (seen[:, :3] > 0).all() and (seen[:, 3] == 0).all()


@pytest.mark.slow_cases("transformer")
@each
def test_padding_changes_nothing(name):
    """Neither the loss, nor its gradient, nor probabilities, whatever stands behind the lengths, or nothing does."""
    model, params = made(name)
    rng = np.random.default_rng(1)
    x, y = (jnp.asarray(rng.integers(V, size=(3, LENGTH))) for _ in range(2))
    lengths = jnp.array([2, 4, 1])
    batch = {"source": SOURCES, "source_length": SOURCE_LENGTHS, "x": x, "y": y, "length": lengths}

    @jax.jit
    def both(params, batch):
        loss = lambda params: model.loss(params, {}, batch, jax.random.key(0), step=0)[0]  # noqa: E731
        given = {"source": batch["source"], "source_lengths": batch["source_length"]}
        log_p = model.log_prob(params, {}, batch["y"], inputs=batch["x"], lengths=batch["length"], **given)
        return jax.value_and_grad(loss)(params), log_p

    plain = both(params, batch)
    for wrong in (1, -1):
        spoiled = dict(batch)
        for key, counts in (("source", SOURCE_LENGTHS), ("x", lengths), ("y", lengths)):
            spoiled[key] = jnp.where(jnp.arange(LENGTH) < counts[:, None], batch[key], wrong)
        for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(both(params, spoiled)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(plain[0][0], -plain[1].sum() / x.size, rtol=1e-5)
    one, short = slice(2, 3), int(SOURCE_LENGTHS[2])
    alone = model.log_prob(params, {}, y[one, :1], inputs=x[one, :1], source=SOURCES[one, :short])
    np.testing.assert_allclose(plain[1][2], alone[0], rtol=1e-5)


@pytest.mark.parametrize("name", marked(name for name in MODELS if not name.startswith("lstm")))
def test_weights_of_attention_are_probabilities_of_the_positions_that_count(name):
    model, params = made(name)
    x = jnp.array([[0, 1, 0, 1]] * 3)
    logits, weights = jax.jit(partial(model.apply, attention=True))(params, {}, x, **GIVEN)
    assert logits.shape == (3, LENGTH, V)
    layers, heads = {"transformer": (1, 2), "transformer, as published": (2, 2)}.get(
        name, (1, 1 + name.startswith("transformer"))
    )
    assert weights.shape == (3, layers, heads, LENGTH, 4)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert (weights[1, ..., 1:] == 0).all() and (weights[2, ..., 3:] == 0).all() and weights[0].std(-1).min() > 1e-3


@pytest.mark.slow_cases("norm_first")
@pytest.mark.parametrize("name", ["norm_first", pytest.param("norm_last", marks=pytest.mark.slow), "bahdanau"])
def test_logits_loss_and_gradients_are_those_of_pytorchs_layers(name):
    with np.load(THEIRS) as file:
        theirs = {key.removeprefix(f"{name}/"): values for key, values in file.items()}
    params, gradients = trees_of(theirs, "params/", "gradients/")
    how = {"source_vocabulary": 7, "features": 8, "label_smoothing": 0.1}
    if name == "bahdanau":
        model = recurrent_seq2seq(6, **how, embedding=5, attention_features=4)
    else:
        more = {"mlp_features": 12, "use_bias": True, "norm_first": name == "norm_first"}
        model = transformer_seq2seq(6, **how, heads=2, encoder_layers=1, decoder_layers=2, **more)
    batch = {key: theirs[key] for key in ("source", "source_length", "x", "y", "length")}
    ours, _ = jax.jit(model.init)(jax.random.key(0), batch)
    assert jax.tree.map(jnp.shape, ours) == jax.tree.map(jnp.shape, params)

    @jax.jit
    def both(params):
        loss = lambda p: model.loss(p, {}, batch, jax.random.key(0), step=0)[0]  # noqa: E731
        given = {"source": batch["source"], "source_lengths": batch["source_length"]}
        return jax.value_and_grad(loss)(params), model.apply(params, {}, batch["x"], **given)

    (value, found), logits = both(params)
    counts = np.arange(5) < batch["length"][:, None]
    np.testing.assert_allclose(logits[counts], theirs["logits"][counts], rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(value, theirs["loss"], rtol=1e-5)
    assert_gradients_close(found, gradients, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_labels_are_smoothed_in_training_alone():
    x = jnp.array([[0, 1, 2, 1]])
    losses = {}
    for smoothing in (0.0, 0.3):
        model = recurrent_seq2seq(V, source_vocabulary=3, features=2, attention=False, label_smoothing=smoothing)
        batch = {"source": x, "x": x, "y": x, "length": jnp.array([3])}
        params, _ = jax.jit(model.init)(jax.random.key(0), batch)
        loss = jax.jit(partial(model.loss, step=0), static_argnames="train")
        losses[smoothing] = [loss(params, {}, batch, jax.random.key(0), train=train)[0] for train in (True, False)]
    log_p = jax.nn.log_softmax(model.apply(params, {}, x, source=x))[0, :3]
    expected = 0.7 * losses[0.0][0] - 0.3 * log_p.mean(-1).sum() / 4
    np.testing.assert_allclose(losses[0.3], [expected, losses[0.0][1]], rtol=1e-5)
    assert losses[0.0][0] == losses[0.0][1]


@pytest.mark.slow
def test_a_reversed_source_is_read_from_its_own_end():
    forward, backward = (
        recurrent_seq2seq(V, source_vocabulary=SOURCE_V, features=4, attention=False, reverse_source=reverse)
        for reverse in (False, True)
    )
    x = jnp.array([[0, 1, 2]] * 3)
    params = moved(forward, {"source": SOURCES, "x": x, "y": x})
    turned = jnp.array([[2, 0, 4, 1], [3, 1, 1, 1], [4, 2, 2, 1]])  # ones behind the lengths
    read = lambda model, source: model.apply(params, {}, x, source=source, source_lengths=SOURCE_LENGTHS)  # noqa: E731
    np.testing.assert_allclose(read(backward, SOURCES), read(forward, turned), rtol=1e-5, atol=1e-6)
    assert np.abs(read(backward, SOURCES) - read(forward, SOURCES)).max() > 0.01


class _Positions(nn.Module):
    """An encoder of one's own: each pixel of an image is a position."""

    @nn.compact
    def __call__(self, source, lengths, train):
        return Memory(nn.Dense(5)(source.reshape(len(source), -1, source.shape[-1])))


_OWN = [
    ("vectors", partial(transformer_seq2seq, heads=2, encoder_layers=1, decoder_layers=1), None),
    ("images", recurrent_seq2seq, _Positions()),
    ("vectors", recurrent_seq2seq, None),
    ("images", partial(transformer_seq2seq, heads=2, decoder_layers=1), _Positions()),
]


@pytest.mark.slow_cases("vectors-build0-None")
@pytest.mark.parametrize(
    ("kind", "build", "encoder"), [*_OWN[:2], *(pytest.param(*one, marks=pytest.mark.slow) for one in _OWN[2:])]
)
def test_sources_may_be_vectors_or_what_an_encoder_of_ones_own_reads(kind, build, encoder):
    image = jnp.asarray(np.random.default_rng(0).normal(size=(2, 2, 3, 1)), jnp.float32)
    source = image[:, :, 0] if kind == "vectors" else image
    x = jnp.array([[0, 1, 2]] * 2)
    model = build(V, source_vocabulary=None, features=4, encoder=encoder)
    params = moved(model, {"source": source, "x": x, "y": x})

    @jax.jit
    def all_of_it():
        logits, weights = model.apply(params, {}, x, source=source, attention=True)
        sample = partial(model.sample, params, {}, jax.random.key(0), 2, source=source, length=3)
        return logits, weights, sample(method="greedy"), sample(method="naive", temperature=0.0)

    logits, weights, greedy, naive = all_of_it()
    assert weights.shape[-1] == (2 if kind == "vectors" else 6) and np.abs(logits[0] - logits[1]).max() > 1e-3
    np.testing.assert_array_equal(greedy, naive)


def test_additive_attention_by_hand():
    rng = np.random.default_rng(0)
    state, values = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 3), (2, 4, 5)))
    seen = jnp.array([[True, True, False, True], [False] * 4])
    layer = AdditiveAttention(features=6, state_features=3)
    (y, weights), variables = layer.init_with_output(jax.random.key(0), state, values, seen)
    own = jax.tree.map(np.float64, variables["params"])
    keys = np.einsum("bmc,ca->bma", values, own["key"]["kernel"]) + own["key"]["bias"]
    hidden = np.tanh(np.einsum("bh,ha->ba", state, own["query"])[:, None] + keys)
    e = np.exp(np.einsum("bma,a->bm", hidden, own["score"])) * np.asarray(seen)
    expected = e / np.maximum(e.sum(1, keepdims=True), 1e-30)
    np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(y, np.einsum("bm,bmc->bc", expected, values), rtol=1e-4, atol=1e-6)
    assert (y[1] == 0).all()  # it sees nothing


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lstm", "bahdanau", "transformer"])
def test_dropout_is_for_training_alone(name):
    model = MODELS[name](V, source_vocabulary=SOURCE_V, dropout=0.5)
    x = jnp.zeros((2, LENGTH), jnp.int32)
    params, _ = jax.jit(model.init)(jax.random.key(0), {"source": x, "x": x, "y": x})
    loss = jax.jit(partial(model.loss, step=0), static_argnames="train")
    batch = {"source": x, "x": x, "y": x}
    values = {
        train: [float(loss(params, {}, batch, jax.random.key(i), train=train)[0]) for i in range(2)]
        for train in (True, False)
    }
    assert values[True][0] != values[True][1] and values[False][0] == values[False][1]


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_said_before_anything_is_computed():
    model, params = made("lstm")  # which does not attend
    x = jnp.zeros((3, LENGTH), jnp.int32)
    sample = partial(model.sample, params, {}, jax.random.key(0), 3)
    log_prob = partial(model.log_prob, params, {}, x)
    vectors = recurrent_seq2seq(V, source_vocabulary=None)
    batch = {"x": x, "y": x}
    for call, said in (
        (lambda: model.loss(None, {}, batch, None, step=0), "the batch has no 'source', only"),
        (
            lambda: model.loss(None, {}, batch | {"source": x[:2]}, None, step=0),
            "each of 3 targets has a source, got 2",
        ),
        (
            lambda: vectors.loss(None, {}, batch | {"source": x}, None, step=0),
            r"source must be arrays \[B, S, \.\.\.\]",
        ),
        (lambda: log_prob(source=SOURCES * 1.0), r"source must be tokens, integers \[B, T\], got float32 \[3, 4\]"),
        (lambda: log_prob(source=SOURCES + 1), "tokens are 0 to 4, got 5"),
        (lambda: log_prob(source=SOURCES, source_lengths=jnp.ones(2)), r"must be \[3\] integers, got float32 \[2\]"),
        (lambda: log_prob(**GIVEN, inputs=x[:, 1:]), r"inputs must be as x, \[3, 4\], got \[3, 3\]"),
        (lambda: model.apply(params, {}, x, **GIVEN, attention=True), "does not attend to its source"),
        (lambda: sample(), "give source= and length="),
        (lambda: sample(**GIVEN), "give source= and length="),
        (lambda: sample(**GIVEN, length=0), "length=0"),
        (lambda: sample(**GIVEN, length=2, method="beams"), "method of sampling"),
        (lambda: sample(**GIVEN, length=2, method="beam", beams=0), "beams=0"),
        (lambda: sample(**GIVEN, length=2, top_k=9), "top_k must be"),
        (lambda: recurrent_seq2seq(3, source_vocabulary=3, start=3), "start must be a token from 0 to 2, got 3"),
        (lambda: recurrent_seq2seq(3, source_vocabulary=3, stop=-1), "stop must be a token from 0 to 2, got -1"),
        (lambda: recurrent_seq2seq(3, source_vocabulary=0), "source_vocabulary=0"),
        (lambda: recurrent_seq2seq(3, source_vocabulary=3, reverse_source=True), "it reads both ways"),
        (lambda: recurrent_seq2seq(3, source_vocabulary=3, cell="rnn"), "cell"),
        (lambda: recurrent_seq2seq(3, source_vocabulary=3, label_smoothing=1.0), r"must be in \[0, 1\), got 1.0"),
        (lambda: transformer_seq2seq(3, source_vocabulary=4, shared=True), "set shared=False"),
        (lambda: transformer_seq2seq(3, source_vocabulary=3, positions="learned"), "kind of positions"),
        (lambda: transformer_seq2seq(3, source_vocabulary=3, features=6, heads=2, positions="rotary"), "is odd"),
        (lambda: transformer_seq2seq(3, source_vocabulary=3, features=6), "4 heads must divide features=6"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
    inside = jax.jit(log_prob)
    for wrong in (5, -1):
        value = inside(source=SOURCES.at[0, 1].set(wrong))
        assert np.isnan(value[0]) and not np.isnan(value[1:]).any()


@pytest.mark.slow
def test_one_vocabulary_may_have_one_embedding():
    x = jnp.array([[0, 1, 2]])
    how = {"source_vocabulary": V, "features": 4, "heads": 2, "encoder_layers": 1, "decoder_layers": 1}
    counts = []
    for shared in (True, False):
        model = transformer_seq2seq(V, **how, shared=shared)
        params, _ = model.init(jax.random.key(0), {"source": x, "x": x, "y": x})
        counts.append(sum(leaf.size for leaf in jax.tree.leaves(params)))
        # One feature alone: a layer norm takes away what all of them gain.
        moved = jax.tree.map(lambda leaf: leaf.at[:, 0].add(0.5), params["tokens"])
        before, after = (model.encode({**params, "tokens": t}, {}, x).values for t in (params["tokens"], moved))
        assert (np.abs(before - after).max() > 0.01) == shared
    assert counts[1] - counts[0] == V * 4

"""Temporal convolutional networks of vectors: PyTorch's layers, answers at the end by few steps, padding, refusals."""

from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from gen_models.models.sequences.temporal_convolutional_network import temporal_convolutional_network
from gen_models.nn.temporal import TemporalConvolutions

THEIRS = Path(__file__).parent / "fixtures" / "temporal_torch.npz"  # made by make_temporal_torch.py beside it
KEY = jax.random.key(0)


def _theirs():
    """PyTorch's network of embedded tokens: the vectors that it reads, the tokens after them, and all else by name."""
    with np.load(THEIRS) as file:
        found = {name.removeprefix("temporal/"): value for name, value in file.items() if "wavenet" not in name}
    embedded = found["params/tokens/embedding"][found["tokens"][:, :-1]]
    return {"x": embedded, "y": found["tokens"][:, 1:]}, found


def _renamed(found, kind):
    """Arrays of that kind by our names: no embedding, and the last layer's outputs are answers."""
    names = {name.removeprefix(kind).replace("logits/", "outputs/"): v for name, v in found.items() if kind in name}
    return unflatten_dict({k: jnp.asarray(v) for k, v in names.items() if "embedding" not in k}, sep="/")


def test_tagging_is_pytorchs_and_an_answer_at_the_end_is_that_of_the_last_step():
    """With its gradients; the answer at the end is computed from every second step, every fourth, and so on."""
    batch, found = _theirs()
    params, sizes = _renamed(found, "params/"), {"features": 4, "layers": 2, "window": 3}
    tagger, ended = (temporal_convolutional_network((9, 3), 7, at=at, **sizes) for at in ("each", "end"))
    assert jax.tree.map(jnp.shape, jax.eval_shape(tagger.init, KEY, batch)[0]) == jax.tree.map(jnp.shape, params)

    def last_of_all(params):
        logits = tagger.apply(params, {}, batch["x"])
        return -jnp.take_along_axis(jax.nn.log_softmax(logits[:, -1]), batch["y"][:, -1:], -1).mean(), logits

    def by_loss(params, model, y):
        return model.loss(params, {}, {"x": batch["x"], "y": y}, KEY, step=0, train=False)[0]

    @jax.jit
    def everything(params):
        each = jax.value_and_grad(by_loss)(params, tagger, batch["y"])
        at_end = jax.value_and_grad(by_loss)(params, ended, batch["y"][:, -1])
        return each, at_end, jax.value_and_grad(last_of_all, has_aux=True)(params)

    (loss, gradients), at_end, ((expected, logits), wanted) = everything(params)
    np.testing.assert_allclose(logits, found["logits"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loss, found["loss"], rtol=1e-5)
    theirs = flatten_dict(_renamed(found, "gradients/"), sep="/")
    for name, gradient in flatten_dict(gradients, sep="/").items():
        np.testing.assert_allclose(gradient, theirs[name], rtol=1e-3, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(at_end[0], expected, rtol=1e-5)
    chex.assert_trees_all_close(at_end[1], wanted, rtol=1e-3, atol=1e-5)


_MORE = [
    pytest.param(*each, marks=pytest.mark.slow)
    for each in ((1, 2), (2, 2), (7, 2), (8, 2), (16, 2), (17, 2), (13, 1), (14, 3))
]


@pytest.mark.parametrize(("steps", "growth"), [(13, 2), *_MORE])
def test_the_last_step_alone_is_the_last_of_all(steps, growth):
    blocks = TemporalConvolutions((5, 4, 4, 6), 3, growth=growth)
    x = jax.random.normal(jax.random.key(steps), (2, steps, 3))
    params = jax.jit(blocks.init)(KEY, x)
    last, all_ = jax.jit(lambda x: (blocks.apply(params, x, method="last"), blocks.apply(params, x)))(x)
    np.testing.assert_allclose(last, all_[:, -1], rtol=1e-4, atol=1e-5)


def test_sequences_end_where_their_lengths_say_and_padding_changes_nothing():
    model = temporal_convolutional_network((6, 2), 2, answer="normal", features=3, layers=2, window=2)
    rng, lengths = np.random.default_rng(0), np.array([6, 1, 4])
    batch = {"x": rng.normal(size=(3, 6, 2)).astype(np.float32), "y": rng.normal(size=(3, 2)).astype(np.float32)}
    params, _ = jax.jit(model.init)(KEY, batch)
    spoiled = np.where((np.arange(6) < lengths[:, None])[..., None], batch["x"], 9).astype(np.float32)

    @jax.jit
    def found(x):
        loss = model.loss(params, {}, batch | {"x": x, "length": lengths}, KEY, step=0, train=False)[0]
        return loss, model.apply(params, {}, x, jnp.asarray(lengths), deviations=True)

    @jax.jit
    def alone(x):  # what is before the beginning is zero, also in the layers
        return model.apply(params, {}, x)

    (loss, (means, deviations)), padded = found(batch["x"]), found(spoiled)
    chex.assert_trees_all_close((loss, (means, deviations)), padded, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(means[0], alone(batch["x"])[0], rtol=1e-5, atol=1e-6)
    cut = temporal_convolutional_network((4, 2), 2, answer="normal", features=3, layers=2, window=2)
    np.testing.assert_allclose(means[2], cut.apply(params, {}, batch["x"][2:, :4])[0], rtol=1e-5, atol=1e-6)
    log_p = -0.5 * ((batch["y"] - means) / deviations) ** 2 - np.log(deviations) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(loss, -log_p.sum(-1).mean(), rtol=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused():
    make = temporal_convolutional_network
    for call, said in (
        (lambda: make((4,), 3), r"a sequence's shape is \(steps, features\), got shape=\(4,\)"),
        (lambda: make((4, 2), 1), "two classes or more, got outputs=1"),
        (lambda: make((4, 2), 3, at="start"), "unknown place of answers 'start'"),
        (lambda: make((4, 2), 3, answer="class"), "unknown kind of answer 'class': did you mean 'classes'"),
        (lambda: make((4, 2), 3, window=0), "sizes must be positive, got window=0"),
        (lambda: make((4, 2), 3, growth=0), "sizes must be positive, got growth=0"),
        (lambda: make((4, 2), 3, dropout=1.0), "dropout"),
        (lambda: make((4, 2), 3).apply({}, {}, jnp.ones((1, 4, 2)), deviations=True), "no standard deviations"),
        (lambda: make((4, 2), 3).apply({}, {}, jnp.ones((1, 4, 2)), jnp.ones(2, int)), r"lengths must be \[1\]"),
    ):
        with pytest.raises(ValueError, match=said):
            call()

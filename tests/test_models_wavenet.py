"""WaveNet against PyTorch's layers, its receptive field by gradients, and what labels and features change."""

from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from theirs import assert_language_model_is

from gen_models.models.sequences.temporal_convolutions import temporal_convolutions
from gen_models.models.sequences.token_model import token_model
from gen_models.models.sequences.wavenet import wavenet, wavenet_receptive_field

THEIRS = Path(__file__).parent / "fixtures" / "temporal_torch.npz"  # made by make_temporal_torch.py beside it
KEY = jax.random.key(0)
LENGTH, V, F = 6, 3, 2


@pytest.mark.slow_cases("wavenet")
@pytest.mark.parametrize("name", ["wavenet", "temporal"])
def test_logits_loss_and_gradients_are_pytorchs(name):
    with np.load(THEIRS) as file:
        theirs = {k.removeprefix(f"{name}/"): v for k, v in file.items()}
    model, told = temporal_convolutions(7, features=4, layers=2, window=3, embedding=3), {}
    if name == "wavenet":
        model = wavenet(7, features=4, skip_features=5, layers=2, classes=3, local_features=2)
        told = {"label": theirs["label"].astype(np.int32), "features": theirs["features"]}
    assert_language_model_is(model, theirs, atol=1e-5, **told)


@pytest.mark.parametrize(
    ("layers", "cycles", "window", "field"), [(2, 2, 2, 8), pytest.param(2, 1, 3, 9, marks=pytest.mark.slow)]
)
def test_the_receptive_field_is_the_one_that_gradients_show(layers, cycles, window, field):
    """Each token has a row of the embedding of its own."""
    assert wavenet_receptive_field(layers, cycles, window) == field
    length = field + 3
    model = wavenet(length, features=3, skip_features=4, layers=layers, cycles=cycles, window=window)
    tokens = jnp.asarray(np.random.default_rng(0).permutation(length))[None]
    params, _ = jax.jit(model.init)(KEY, {"x": tokens, "y": tokens})
    table = params["tokens"]["embedding"]
    last = lambda table: model.apply({**params, "tokens": {"embedding": table}}, {}, tokens)[0, -1].sum()  # noqa: E731
    seen = np.abs(jax.jit(jax.grad(last))(table)).max(1)[tokens[0]] > 0
    assert seen.tolist() == [False] * (length - field) + [True] * field


def test_the_receptive_field_of_the_papers_block():
    """Dilations 1, 2, ..., 512 see 1,024 (section 2.1), and the first convolution one more."""
    assert wavenet_receptive_field(10) == 1024 + 1
    assert wavenet_receptive_field(10, 3) == 1 + 1 + 3 * 1023


@cache
def _told():
    """A model of both conditions, and parameters that are nowhere near zero."""
    model = wavenet(V, features=4, skip_features=4, layers=2, classes=3, local_features=F)
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.integers(V, size=(4, LENGTH))) for _ in range(2))
    features = jnp.asarray(rng.normal(size=(4, LENGTH, F)), jnp.float32)
    batch = {"x": x, "y": y, "label": jnp.array([0, 1, 2, 0]), "features": features}
    params, _ = jax.jit(model.init)(KEY, batch)
    return model, jax.tree.map(lambda p: p + 0.5 * rng.normal(size=p.shape).astype(p.dtype), params), batch


def test_labels_change_all_outputs_and_features_none_before_their_own():
    model, params, batch = _told()
    x, label, features = batch["x"], batch["label"], batch["features"]
    logits = jax.jit(lambda label, features: model.apply(params, {}, x, label=label, features=features))
    as_told = np.asarray(logits(label, features))
    other = np.asarray(logits((label + 1) % 3, features))
    assert (np.abs(other - as_told).max(-1) > 1e-3).all()
    for t in (0, 3, LENGTH - 1):
        changed = np.abs(logits(label, features.at[:, t].add(1.0)) - as_told).max(-1)
        assert (changed[:, :t] == 0).all() and (changed[:, t] > 1e-4).all()
    changed = np.abs(logits(label, features.at[:, 0].add(1.0)) - as_told).max((0, 2))
    assert (changed > 0).tolist() == [
        True,
        False,
        True,
        False,
        False,
        False,
    ]  # the second layer, of dilation 2, sees it


@pytest.mark.parametrize("ragged", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_samplers_agree_and_draw_from_the_models_probabilities_given_what_is_told(ragged):
    model, params, batch = _told()
    told = {name: batch[name] for name in ("label", "features")}
    prompt = {"prompt": batch["y"][:, :3], "prompt_lengths": jnp.array([3, 1, 0, 2])} if ragged else {}
    sample = jax.jit(partial(model.sample, params, {}, n=4, length=LENGTH), static_argnames="method")
    cached, naive = (sample(key=KEY, **told, **prompt, method=method) for method in ("cached", "naive"))
    np.testing.assert_array_equal(cached, naive)
    if not ragged:  # at temperature 0 each token is the most probable one, given those before it
        greedy = sample(key=KEY, **told, temperature=0.0)
        inputs = jnp.pad(greedy[:, :-1], ((0, 0), (1, 0)), constant_values=V // 2)
        np.testing.assert_array_equal(greedy, model.apply(params, {}, inputs, **told).argmax(-1))


@pytest.mark.slow
def test_the_first_token_has_the_probabilities_of_its_label_and_features():
    model, params, batch = _told()
    n = 3000
    told = {"label": jnp.full(n, 1), "features": jnp.broadcast_to(batch["features"][:1, :1], (n, 1, F))}
    drawn = jax.jit(partial(model.sample, params, {}, KEY, n, length=1))(**told)
    each = {name: value[:V] for name, value in told.items()}
    p = np.exp(model.log_prob(params, {}, jnp.arange(V)[:, None], **each))
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(np.bincount(np.asarray(drawn)[:, 0], minlength=V) / n, p, atol=4 * np.sqrt(0.25 / n))


@pytest.mark.slow
def test_padding_may_hold_anything_among_the_features():
    model, params, batch = _told()
    lengths = jnp.array([6, 2, 4, 1])
    behind = (jnp.arange(LENGTH) >= lengths[:, None])[..., None]
    loss = jax.jit(jax.value_and_grad(lambda p, batch: model.loss(p, {}, batch, KEY, step=0)[0]))
    plain, spoiled = (
        loss(params, {**batch, "length": lengths, "features": features})
        for features in (batch["features"], jnp.where(behind, jnp.nan, batch["features"]))
    )
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(spoiled), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_label_of_no_class_has_no_probability_and_no_sample():
    model, params, batch = _told()
    label = jnp.array([0, 3, -1, 2])
    log_prob = jax.jit(lambda label: model.log_prob(params, {}, batch["y"], label=label, features=batch["features"]))
    assert np.isnan(log_prob(label)).tolist() == [False, True, True, False]
    sample = jax.jit(
        lambda label: model.sample(params, {}, KEY, 4, length=LENGTH, label=label, features=batch["features"])
    )
    assert (np.asarray(sample(label)) < 0).all(1).tolist() == [False, True, True, False]
    with pytest.raises(ValueError, match="labels must be from 0 to 2, got 3"):
        model.apply(params, {}, batch["x"], label=label, features=batch["features"])


@pytest.mark.usefixtures("unchecked")
def test_what_is_told_must_fit():
    model, params, batch = _told()
    of_tokens = wavenet(V, features=2, skip_features=2, layers=1)
    label, features = batch["label"], batch["features"]
    loss = partial(model.loss, params, {}, key=KEY, step=0)
    sample = partial(model.sample, params, {}, KEY, 4, length=LENGTH)
    for call, said in (
        (lambda: of_tokens.apply({}, {}, batch["x"], label=label), "takes no label, got label=an array"),
        (lambda: of_tokens.apply({}, {}, batch["x"], features=features), "takes no features, got features=an array"),
        (lambda: sample(label=label), "needs features, 2 numbers for each token, got features=None"),
        (lambda: sample(features=features), "needs labels below 3, got label=None"),
        (lambda: sample(label=label, features=features[:, 1:]), r"features must be \[4, 6, 2\], .* got \[4, 5, 2\]"),
        (lambda: sample(label=label[:2], features=features), r"label must be \[4\] integers, got int32 \[2\]"),
        (lambda: loss({**batch, "label": None}), "the batch's 'label' must be an array, got NoneType"),
        (lambda: loss({k: v for k, v in batch.items() if k != "label"}), "no 'label', only"),
        (lambda: loss({k: v for k, v in batch.items() if k != "features"}), "no 'features', only"),
        (lambda: model.init(KEY, {"x": batch["x"], "y": batch["y"]}), "no 'label', only"),
        (lambda: wavenet(3, layers=0), "sizes must be positive, got layers=0"),
        (lambda: wavenet(3, start=3), "start must be a token from 0 to 2, got 3"),
        (lambda: wavenet(3, classes=0), "sizes must be positive, got classes=0"),
        (lambda: wavenet_receptive_field(3, 0), "sizes must be positive, got cycles=0"),
    ):
        with pytest.raises(ValueError, match=said):
            call()


def test_features_of_a_network_with_a_short_context_move_with_its_tokens():
    """A network that reads three tokens at once, and says the sum of the last three features."""

    class Sums(nn.Module):
        @nn.compact
        def __call__(self, tokens, cache, lengths, train, features=None):
            bias = self.param("bias", nn.initializers.zeros, ())
            sums = jnp.stack([features[:, max(0, t - 2) : t + 1, 0].sum(1) for t in range(tokens.shape[1])], 1)
            return 50 * jax.nn.one_hot(sums.astype(int), 4) + bias, None

        def step(self, token, cache, t, features=None):
            raise NotImplementedError

        def empty(self, batch, length):
            return ()

    model = token_model(Sums(), 4, context=3, local_features=1)
    features = jnp.asarray(np.random.default_rng(0).integers(2, size=(2, 7, 1)), jnp.float32)
    drawn = model.sample({"bias": jnp.zeros(())}, {}, KEY, 2, length=7, features=features)
    expected = [[features[b, max(0, t - 2) : t + 1].sum() for t in range(7)] for b in range(2)]
    np.testing.assert_array_equal(drawn, expected)

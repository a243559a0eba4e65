"""Measures of language models against means by hand, and texts that keep their prompt, their length and their end."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gen_models import plots
from gen_models.data.tokens import Vocabulary
from gen_models.measures.text import Text, TokenLikelihood
from gen_models.models.sequences.recurrent_language_model import recurrent_language_model
from tests.measured import KEY, figures_of, split_of, trained_of

VOCABULARY = Vocabulary(("\n", "a", "b"), "characters")
P = np.log(np.array([0.5, 0.3, 0.2]))


def _log_prob(params, stats, x, key, *, inputs, lengths=None):
    """Tokens that do not depend on those before them, but twice as surprising after a 2."""
    log_p = jnp.asarray(P, jnp.float32)[x] * jnp.where(inputs == 2, 2, 1)
    return log_p.sum(1) if lengths is None else jnp.where(jnp.arange(x.shape[1]) < lengths[:, None], log_p, 0).sum(1)


def _size(path):
    with Image.open(path) as image:
        return image.size


@pytest.mark.parametrize("padded", [False, True])
def test_nats_of_a_token_are_their_mean_over_all_tokens(padded):
    rng = np.random.default_rng(0)
    arrays = {name: rng.integers(3, size=(403, 7), dtype=np.int32) for name in ("x", "y")}
    counts = rng.integers(1, 8, size=403).astype(np.int32) if padded else np.full(403, 7)
    if padded:
        arrays["length"] = counts
    nats = -P[arrays["y"]] * np.where(arrays["x"] == 2, 2, 1) * (np.arange(7) < counts[:, None])
    found = figures_of(TokenLikelihood(), trained_of(log_prob=_log_prob), split_of(arrays))
    value = nats.sum() / counts.sum()
    assert found["nats/token"].value == pytest.approx(value, rel=1e-6)
    assert found["bits/token"].value == pytest.approx(value / np.log(2), rel=1e-6)
    assert found["perplexity"].value == pytest.approx(np.exp(value), rel=1e-6)
    assert found["nats/token"].note == f"exact; {counts.sum():,} tokens"
    # The standard error, against that of the jackknife, which leaves out each window in turn.
    without = (nats.sum() - nats.sum(1)) / (counts.sum() - counts)
    jackknife = np.sqrt(402 / 403 * ((without - without.mean()) ** 2).sum())
    assert found["nats/token"].spread == pytest.approx(jackknife, rel=0.01)
    assert found["perplexity"].spread == pytest.approx(jackknife * np.exp(value), rel=0.01)


def test_tokens_are_given_the_sources_that_the_data_have():
    """A model that says how often it reads a token in the source, of which only so many positions count."""

    def log_prob(params, stats, x, key, *, inputs, lengths, source, source_lengths):
        counted = jnp.arange(source.shape[1]) < source_lengths[:, None]
        return -(source * counted).sum(1).astype(jnp.float32)

    arrays = {name: np.zeros((2, 4), np.int32) for name in ("x", "y")}
    arrays |= {"source": np.array([[1, 2, 9], [4, 5, 6]], np.int32), "source_length": np.array([2, 3], np.int32)}
    found = figures_of(TokenLikelihood(), trained_of(log_prob=log_prob), split_of(arrays))
    assert found["nats/token"].value == pytest.approx((3 + 15) / 8)


def test_texts_begin_with_their_prompt_and_end_at_their_stop(tmp_path):
    model = recurrent_language_model(3, features=4)
    x = jnp.zeros((1, 4), jnp.int32)
    params, stats = jax.jit(model.init)(KEY, {"x": x, "y": x})
    trained = trained_of()._replace(model=model, params=params, stats=stats, vocabulary=VOCABULARY)
    text = Text(count=5, length=9, prompt="ab")
    samples = text.sample(trained, KEY, 5)
    assert samples.shape == (5,) and all(len(one) == 9 and one.startswith("ab") for one in samples)
    text.draw(trained, split_of({"x": np.zeros((3, 2), np.float32)}), KEY, tmp_path)
    assert (tmp_path / "samples.txt").read_text().count("ab") >= 5
    assert _size(tmp_path / "samples.png")[0] > 300
    ended = replace(text, stop="\n").sample(trained, KEY, 5)
    assert not any("\n" in one for one in ended) and len(set(map(len, ended))) > 1
    coldest = text.sample(trained, KEY, 3, temperature=0.0)
    assert len(set(coldest)) == 1
    with pytest.raises(ValueError, match="no vocabulary"):
        text.sample(trained._replace(vocabulary=None), KEY, 1)
    with pytest.raises(ValueError, match="'z' is none of the 3 characters"):
        replace(text, prompt="z").sample(trained, KEY, 1)


def test_long_lines_are_broken_and_nothing_in_a_text_is_a_formula(tmp_path):
    long, plain = (_size(plots.texts(of, tmp_path / "t.png")) for of in (["a " * 300], ["$x_1$ \\frac"]))
    assert long[0] == plain[0] and long[1] > plain[1]

"""Models of a sequence of tokens given a source: exact likelihoods, samples, and the most probable by beam search.

    log p(y | source) = sum over t of log p(y_t | y_<t, source)

A network that encodes a source and reads tokens makes a `Model`. It is a Linen module with four methods:

- `network(source, source_lengths, x [B, T], lengths, train)` -> logits [B, T, V]: position t's are of the token that
  follows x_t, given the tokens up to t and the source.
- `network.encode(source, source_lengths)` -> `Memory`: what the decoder sees of the source.
- `network.begin(memory, length)` -> (fixed, cache): what decoding reads of the memory in every step, such as keys and
  values, and what it keeps of no token, with room for `length`; B leads every leaf of both.
- `network.step(fixed, token [B], cache, t)` -> (logits [B, V], cache): one token, the t-th of its sequence, t from 0.

A source is tokens [B, S], or any arrays [B, S, ...] such as vectors; its positions behind `source_lengths` are padding.
The source is encoded once however many tokens are drawn. An encoder of one's own, of images say, is a Linen module
`encoder(source, source_lengths, train)` -> `Memory`, which `recurrent_seq2seq` and `transformer_seq2seq` take.

Two samplers draw the same tokens for the same key, one with a cache, one that runs the whole network for every token.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from gen_models.core import Key, Model
from gen_models.errors import unknown
from gen_models.models.inputs import check_count, check_temperature, field, real_array
from gen_models.models.sequences.token_model import Step, drawn_tokens, windows_of
from gen_models.models.sequences.tokens import checked_tokens, counted, inputs_for, readable, token_log_probs
from gen_models.models.sizes import check_sizes
from gen_models.nn.beam_search import Beams, beam_search, repeated
from gen_models.nn.token_draws import kept_logits

METHODS = ("cached", "naive", "greedy", "beam")


class Memory(NamedTuple):
    """What a decoder sees of a source."""

    values: Float[Array, "b s c"]
    lengths: Int[Array, " b"] | None = None  # positions that count; None: all
    state: Any = None  # what a recurrent decoder begins with; None: it makes that of the values


def seq2seq_model(
    network: Any,
    vocabulary: int,
    *,
    source_vocabulary: int | None,
    start: int = 0,
    stop: int | None = 0,
    label_smoothing: float | Array = 0.0,
) -> Model:
    """A model of sequences of integers 0 to vocabulary - 1, given sources.

    Its functions:
      loss: minus the sum of log p(y_t | x_1 ... x_t, source) over a batch's tokens, divided by its B T positions, as
        that of `token_model`; with label smoothing in training, the cross-entropy to 1 - e on y_t and e spread evenly
        over all tokens (Szegedy et al., 2016, section 7). Metrics "bits_per_position", without the smoothing. Reads
        `batch["source"]`, tokens [B, S] or arrays [B, S, ...], and `batch["source_length"]`, [B], where only so many
        positions of each count; `batch["x"]` and `batch["y"]`, [B, T] integers, where x begins with `start` and y_t
        follows x_t; and `batch["length"]`, [B], where only so many tokens count.
      apply(params, stats, x, source=..., source_lengths=None, lengths=None, attention=False): logits [B, T, V]; with
        `attention`, these and the weights of each layer's attention to the source, [B, layers, heads, T, S].
      log_prob(params, stats, x, key=None, source=..., source_lengths=None, inputs=None, lengths=None): exact, [B] nats:
        of x [B, T], where each token follows that of `inputs`, by default `start` and all of x but its last. Of the
        first `lengths` [B] tokens alone, where given: the stop token is one of them.
      sample(params, stats, key, n, source=..., source_lengths=None, length=..., method="cached", temperature=1.0,
        top_k=None, top_p=None, beams=4, alpha=0.0): int32 [n, length], behind `stop` all of it. The source is [n, ...],
        or tokens [S] for all n. "cached" draws (see `gen_models.nn.token_draws`), "naive" draws the same with the whole
        network for every token, "greedy" takes the most probable token each time, the first of several, and "beam" the
        best hypothesis of `decode`.
      encode(params, stats, source, key=None, source_lengths=None): the `Memory`.
      decode(params, stats, memory, length=..., beams=4, alpha=0.0): `Beams` of a beam search with the length penalty
        `alpha` (see `gen_models.nn.beam_search`): tokens [B, K, T], log-probabilities [B, K], the best first.

    Tokens outside of their vocabulary have no probability: NaN inside of `jit`, an error outside.

    Args:
      network: see above.
      vocabulary: V, of the target.
      source_vocabulary: of the source; None: sources are arrays of numbers.
      start: the token that a target begins after.
      stop: the token that ends a target, which may be that of `start`; None: none does.
      label_smoothing: e, in [0, 1); may be traced.

    Raises:
      ValueError: a size is not positive, `start` or `stop` is no token, or `label_smoothing` is outside of [0, 1);
        arguments of other shapes than these.
    """
    check_sizes(vocabulary=vocabulary, source_vocabulary=source_vocabulary)
    for name, token in (("start", start), ("stop", stop)):
        if token is not None and not 0 <= token < vocabulary:
            raise ValueError(f"{name} must be a token from 0 to {vocabulary - 1}, got {token}")
    if isinstance(label_smoothing, int | float) and not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")

    def init(key, batch):
        x, _, _ = windows_of(batch, None)
        source, _ = _source_of(batch, len(x), source_vocabulary)
        # A lone example of the same shape: shapes are all that parameters depend on.
        return network.init(key, jnp.zeros_like(source[:1]), None, jnp.zeros_like(x[:1]), None, False)["params"], {}

    def outputs(params, source, source_lengths, x, lengths=None, train=False, key=None, **how):
        rngs = None if key is None else {"dropout": key}
        x = readable(x, lengths, vocabulary)
        return network.apply({"params": params}, source, source_lengths, x, lengths, train, rngs=rngs, **how)

    def loss(params, stats, batch, key, *, step, train=True):
        """Nats a position; dropout and label smoothing where `train`."""
        x, y, lengths = windows_of(batch, None)
        source, source_lengths = _source_of(batch, len(x), source_vocabulary)
        logits = outputs(params, source, source_lengths, x, lengths, train, key)
        nats = -token_log_probs(logits, y, lengths).sum() / x.size
        value = nats
        if train and not (isinstance(label_smoothing, int | float) and label_smoothing == 0):
            each = -jax.nn.log_softmax(logits).mean(-1)
            even = (each if lengths is None else jnp.where(counted(x, lengths), each, 0)).sum() / x.size
            share = jnp.asarray(label_smoothing, nats.dtype)  # one that is traced may be wider
            value = (1 - share) * nats + share * even
        return value, (stats, {"bits_per_position": nats / jnp.log(2.0)})

    def apply(
        params,
        stats,
        x: Int[Array, "b t"],
        *,
        source: Num[Array, "b s *c"],
        source_lengths: Int[Array, " b"] | None = None,
        lengths: Int[Array, " b"] | None = None,
        attention: bool = False,
    ):
        """The logits of the token that follows each, [B, T, V]; with `attention` also its weights, [B, L, H, T, S]."""
        x = checked_tokens(x, "x")
        source, source_lengths = _checked_source(source, source_lengths, len(x), source_vocabulary)
        if not attention:
            return outputs(params, source, source_lengths, x, lengths)
        logits, sown = outputs(params, source, source_lengths, x, lengths, mutable=["intermediates"])
        return logits, _weights(sown)

    def log_prob(
        params,
        stats,
        x: Int[Array, "b t"],
        key: Key | None = None,
        *,
        source: Num[Array, "b s *c"],
        source_lengths: Int[Array, " b"] | None = None,
        inputs: Int[Array, "b t"] | None = None,
        lengths: Int[Array, " b"] | None = None,
    ) -> Float[Array, " b"]:
        """Exact log p(x | source), [B] nats."""
        x = checked_tokens(x, "x")
        source, source_lengths = _checked_source(source, source_lengths, len(x), source_vocabulary)
        inputs = inputs_for(x, inputs, start)
        return token_log_probs(outputs(params, source, source_lengths, inputs, lengths), x, lengths).sum(1)

    def encode(
        params,
        stats,
        source: Num[Array, "b s *c"],
        key: Key | None = None,
        *,
        source_lengths: Int[Array, " b"] | None = None,
    ) -> Memory:
        """What the decoder sees of each source."""
        real_array(source, "source")
        source, source_lengths = _checked_source(source, source_lengths, len(source), source_vocabulary)
        return network.apply({"params": params}, source, source_lengths, method="encode")

    def begun(params, memory, length):
        return network.apply({"params": params}, memory, length, method="begin")

    def step_of(params, fixed) -> Step:
        return lambda token, cache, t: network.apply({"params": params}, fixed, token, cache, t, method="step")

    def decode(params, stats, memory: Memory, *, length: int, beams: int = 4, alpha: float | Array = 0.0) -> Beams:
        """The best hypotheses of a beam search, of `length` tokens at most."""
        check_sizes(length=length, beams=beams)
        fixed, cache = begun(params, memory, length)
        step = step_of(params, repeated(fixed, beams))
        batch = len(memory.values)
        return beam_search(step, cache, batch, beams=beams, length=length, start=start, stop=stop, alpha=alpha)

    def sample(
        params,
        stats,
        key: Key,
        n: int,
        *,
        source: Num[Array, "..."] | None = None,
        source_lengths: Int[Array, " n"] | None = None,
        length: int | None = None,
        method: Literal["cached", "naive", "greedy", "beam"] = "cached",
        temperature: float | Array = 1.0,
        top_k: int | None = None,
        top_p: float | Array | None = None,
        beams: int = 4,
        alpha: float | Array = 0.0,
    ) -> Int[Array, "n length"]:
        """Tokens drawn from the model, or found to be probable, given a source each."""
        check_count(n)
        fits = check_temperature(temperature)
        if source is None or length is None:
            raise ValueError("a target is drawn given its source and has a longest length: give source= and length=")
        check_sizes(length=length)
        if method not in METHODS:
            raise unknown("method of sampling", method, METHODS)
        source = real_array(source, "source")
        if source_vocabulary is not None and jnp.ndim(source) == 1:
            source = jnp.broadcast_to(source, (n, len(source)))
        source, source_lengths = _checked_source(source, source_lengths, n, source_vocabulary)
        if method == "naive":
            step, cache = whole(params, source, source_lengths, n, length)
        else:
            memory = network.apply({"params": params}, source, source_lengths, method="encode")
            if method == "beam":
                return decode(params, stats, memory, length=length, beams=beams, alpha=alpha).tokens[:, 0]
            fixed, cache = begun(params, memory, length)
            step = step_of(params, fixed)
        choose = greedy if method == "greedy" else lambda logits: kept_logits(logits, temperature, top_k, top_p)
        nothing = jnp.zeros((n, length), jnp.int32)
        tokens = drawn_tokens(step, cache, key, nothing, nothing.astype(bool), start, choose, stop)
        return jnp.where(fits, tokens, -1)

    def whole(params, source, source_lengths, n, length) -> tuple[Step, Any]:
        """The whole network for every token, on all of those so far, which are the cache."""

        def step(token, tokens, t):
            tokens = tokens.at[:, t].set(token)
            return outputs(params, source, source_lengths, tokens)[:, t], tokens

        return step, jnp.zeros((n, length), jnp.int32)

    return Model(init=init, loss=loss, apply=apply, sample=sample, log_prob=log_prob, encode=encode, decode=decode)


def greedy(logits: Float[Array, "*n v"]) -> Float[Array, "*n v"]:
    """Logits of which the first of the most probable tokens alone is left."""
    best = jnp.arange(logits.shape[-1]) == logits.argmax(-1, keepdims=True)
    return jnp.where(best, 0.0, -jnp.inf)


def _source_of(
    batch: Mapping[str, Array], n: int, vocabulary: int | None
) -> tuple[Num[Array, "b s *c"], Int[Array, " b"] | None]:
    source = field(batch, "source", "what targets are given, as 'source'")
    return _checked_source(source, batch.get("source_length"), n, vocabulary)


def _checked_source(
    source: Any, lengths: Any, n: int, vocabulary: int | None
) -> tuple[Num[Array, "b s *c"], Int[Array, " b"] | None]:
    """Sources as an encoder reads them, without what stands behind their lengths, and these.

    Raises:
      ValueError: they are not n sources of the model's kind, or the lengths are not [n] integers.
    """
    shape = jnp.shape(real_array(source, "source"))
    if lengths is not None:
        lengths = jnp.asarray(lengths)
        if lengths.shape != (n,) or not jnp.issubdtype(lengths.dtype, jnp.integer):
            raise ValueError(f"lengths of sources must be [{n}] integers, got {lengths.dtype} {list(lengths.shape)}")
    if vocabulary is not None:
        source = readable(checked_tokens(source, "source"), lengths, vocabulary)
    elif len(shape) < 3 or 0 in shape:
        raise ValueError(f"source must be arrays [B, S, ...], got {list(shape)}")
    elif lengths is not None:
        seen = counted(source, lengths)
        source = jnp.where(seen.reshape(*seen.shape, *[1] * (len(shape) - 2)), source, 0)
    if shape[0] != n:
        raise ValueError(f"each of {n} targets has a source, got {shape[0]}: give source as [{n}, ...]")
    return jnp.asarray(source), lengths


def _weights(sown: Mapping[str, Any]) -> Float[Array, "b l h t s"]:
    """The weights that each layer's attention to the source sowed under `cross_attention`, layer by layer."""
    found = {}
    for path, value in jax.tree_util.tree_leaves_with_path(sown.get("intermediates", {})):
        names = [str(part.key) for part in path if hasattr(part, "key")]
        if "cross_attention" in names:
            number = names[0].rpartition("_")[2]  # of decoder_3
            found[int(number) if number.isdecimal() else 0] = value
    if not found:
        raise ValueError("this model does not attend to its source: it has no weights to give")
    return jnp.stack([found[layer] for layer in sorted(found)], 1)

"""Autoregressive models of tokens: exact likelihoods, and sampling that reads each token once.

    log p(x) = sum over t of log p(x_t | x_<t)

A network that reads tokens makes a `Model`. It is a Linen module with three methods:

- `network(tokens [B, T], cache, lengths, train)` -> (logits [B, T, V], cache): position t's logits are of the token
  that follows t, given the tokens up to t and what `cache` keeps of those before the window. `cache` is None at a
  sequence's beginning; a network that sees its window alone (a transformer) is never given one here, and gives None.
- `network.step(token [B], cache, t)` -> (logits [B, V], cache): one token, the t-th of its sequence, t from 0.
- `network.empty(batch, length)` -> cache: what is kept of no token, with room for `length`; B leads every leaf.

A network that is told more takes it by name: `label` [B], a class of the whole sequence, and `features` [B, T, F],
which stand beside the tokens, [B, F] in a step. Features t belong to the token that position t predicts; a network must
not look at those of later positions.

Variables of its other collections than "params", such as counts, are the model's statistics; no function changes them.

The sampler is one compiled scan over tokens; a naive one, which runs the whole network for every token, stands beside
it and draws the same tokens for the same key. In half precision a few may differ, where two are nearly as probable.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gen_models.core import Key, Model
from gen_models.errors import unknown
from gen_models.models.inputs import check_count, check_temperature, checked_labels, field, real_array
from gen_models.models.sequences.tokens import checked_tokens, counted, inputs_for, readable, token_log_probs, within
from gen_models.models.sizes import check_sizes
from gen_models.nn.token_draws import kept_logits

SAMPLERS = ("cached", "naive")
NOISE = 2**16  # numbers that are drawn at once while tokens are drawn
Step = Callable[[Any, Any, Any], tuple[Any, Any]]  # (token [n], cache, t) -> (logits [n, V], cache)


def token_model(
    network: Any,
    vocabulary: int,
    *,
    context: int | None = None,
    start: int = 0,
    truncated: bool = False,
    classes: int | None = None,
    local_features: int | None = None,
) -> Model:
    """A model of sequences of integers 0 to vocabulary - 1.

    Its functions:
      loss: minus the sum of log p(y_t | x_1 ... x_t) over a batch's tokens, divided by its B T positions: nats a token
        where windows are full, and else a mean that does not depend on how a batch is cut into parts. Metrics
        "bits_per_position". Reads `batch["x"]` and `batch["y"]`, [B, T] integers, y_t the token that follows x_t, and
        `batch["length"]`, [B], where only so many tokens of each window count. With `classes` also `batch["label"]`,
        [B] integers, with `local_features` `batch["features"]`, [B, T, F] numbers; the other functions then take
        `label` and `features`, which stand beside the tokens that are predicted: of n samples [n, length, F].
      apply(params, stats, x, lengths=None): logits [B, T, V].
      log_prob(params, stats, x, key=None, inputs=None, lengths=None): exact, [B] nats: of x [B, T], where each token
        follows that of `inputs`, [B, T]; by default they are the token `start` and all of x but its last, so that this
        is log p(x). Of the first `lengths` [B] tokens alone, where given.
      sample(params, stats, key, n, length=None, prompt=None, prompt_lengths=None, temperature=1.0, top_k=None,
        top_p=None, stop=None, method="cached"): int32 [n, length], by default `context` tokens. The token `start` is
        read first, and is not among them. `prompt`, [P] or [n, P], are the tokens that come first, or `prompt_lengths`
        [n] of them. For `temperature`, `top_k` and `top_p` see `gen_models.nn.token_draws`. After a `stop` that was
        drawn, all tokens are `stop`. Tokens beyond `context` are drawn given the last `context` ones alone, by the
        whole network for each, as every position moves with every token.
      init_carry: with `truncated`, what the network keeps of a batch's sequences from one window to the next.

    Tokens outside of the vocabulary have no probability, and neither has what is told a label of no class: NaN inside
    of `jit`, -1 where tokens are drawn, an error outside.

    Args:
      network: see above.
      vocabulary: V.
      context: tokens that the network can read at once; None: any number.
      start: the token that a sequence begins after: of lines, their newline.
      truncated: whether a window goes on from the one before (truncated backpropagation through time: Williams & Peng,
        1990), in place of beginning from nothing.
      classes: of labels that the network is told; None: it is told none.
      local_features: F, how many numbers beside each token it is told; None: it is told none.

    Raises:
      ValueError: a size is not positive, or `start` is no token; windows longer than `context`; labels or features
        where the model takes none, or none where it needs them; or arguments of other shapes than these.
    """
    check_sizes(vocabulary=vocabulary, context=context, classes=classes, local_features=local_features)
    if not 0 <= start < vocabulary:
        raise ValueError(f"start must be a token from 0 to {vocabulary - 1}, got {start}")

    def init(key, batch):
        tokens, _, _ = windows_of(batch, context)
        more = jax.tree.map(lambda told: jnp.zeros((1, *told.shape[1:]), told.dtype), told_in(batch, tokens))
        variables = network.init(key, jnp.zeros((1, tokens.shape[1]), jnp.int32), None, None, False, **more)
        return variables.get("params", {}), {name: value for name, value in variables.items() if name != "params"}

    def told(label, features, n, length) -> dict[str, Any]:
        """What the network is told beside tokens, by name; a label of no class as one whose embedding is NaN."""
        found = {}
        if _given("label", label, classes, f"labels below {classes}"):
            label, fits = checked_labels(label, n, classes or 0)
            found["label"] = jnp.where(fits, label, classes or 0)
        if _given("features", features, local_features, f"features, {local_features} numbers for each token"):
            found["features"] = _features(features, (n, length, local_features or 0))
        return found

    def told_in(batch, tokens) -> dict[str, Any]:
        label = None if classes is None else field(batch, "label", "the model needs labels, integers [B], as 'label'")
        remedy = f"the model needs what stands beside tokens, [B, T, {local_features}], as 'features'"
        features = None if local_features is None else field(batch, "features", remedy)
        return told(label, features, *tokens.shape)

    def outputs(params, stats, x, more, cache=None, lengths=None, train=False, key=None):
        rngs = None if key is None else {"dropout": key}
        x = readable(x, lengths, vocabulary)
        if "features" in more and lengths is not None:
            more = {**more, "features": jnp.where(counted(x, lengths)[..., None], more["features"], 0)}
        return network.apply({"params": params, **stats}, x, cache, lengths, train, rngs=rngs, **more)

    def apply(
        params,
        stats,
        x: Int[Array, "b t"],
        lengths: Int[Array, " b"] | None = None,
        *,
        label: Int[Array, " b"] | None = None,
        features: Float[Array, "b t f"] | None = None,
    ) -> Float[Array, "b t v"]:
        """The logits of the token that follows each, [B, T, V]."""
        x = checked_tokens(x, "x", context)
        return outputs(params, stats, x, told(label, features, *x.shape), None, lengths)[0]

    def loss(params, stats, batch, key, *, step, train=True, carry=None):
        """Nats a position; dropout where `train`."""
        x, y, lengths = windows_of(batch, context)
        logits, cache = outputs(params, stats, x, told_in(batch, x), carry, lengths, train, key)
        value = -token_log_probs(logits, y, lengths).sum() / x.size
        metrics = {"bits_per_position": value / jnp.log(2.0)}
        return value, (stats, metrics, cache) if truncated else (stats, metrics)

    def log_prob(
        params,
        stats,
        x: Int[Array, "b t"],
        key: Key | None = None,
        *,
        inputs: Int[Array, "b t"] | None = None,
        lengths: Int[Array, " b"] | None = None,
        label: Int[Array, " b"] | None = None,
        features: Float[Array, "b t f"] | None = None,
    ) -> Float[Array, " b"]:
        """Exact log p(x), [B] nats, or of x given `inputs`, a label and features."""
        x = checked_tokens(x, "x", context)
        inputs = inputs_for(x, inputs, start)
        more = told(label, features, *x.shape)
        return token_log_probs(outputs(params, stats, inputs, more, None, lengths)[0], x, lengths).sum(1)

    def sample(
        params,
        stats,
        key: Key,
        n: int,
        *,
        length: int | None = None,
        prompt: Array | None = None,
        prompt_lengths: Int[Array, " n"] | None = None,
        temperature: float | Array = 1.0,
        top_k: int | None = None,
        top_p: float | Array | None = None,
        stop: int | None = None,
        label: Int[Array, " n"] | None = None,
        features: Float[Array, "n length f"] | None = None,
        method: Literal["cached", "naive"] = "cached",
    ) -> Int[Array, "n length"]:
        """Tokens drawn from the model, behind a prompt or behind `start`."""
        check_count(n)
        fits = check_temperature(temperature)
        length = _length(length, context)
        prompt, given = _prompt(prompt, prompt_lengths, n, length, vocabulary)
        if method not in SAMPLERS:
            raise unknown("method of sampling", method, SAMPLERS)
        more = told(label, features, n, length)
        window = length if context is None else min(length, context)
        whole = method == "naive" or window < length
        step, cache = last_tokens(params, stats, n, window, more) if whole else cached(params, stats, n, length, more)
        tokens = drawn_tokens(
            step, cache, key, prompt, given, start, lambda x: kept_logits(x, temperature, top_k, top_p), stop
        )
        fits = fits & (more["label"] < classes)[:, None] if "label" in more else fits
        return jnp.where(fits, tokens, -1)

    def cached(params, stats, n, length, more) -> tuple[Step, Any]:
        """One step of the network at a time."""

        def step(token, cache, t):
            now = {**more, "features": more["features"][:, t]} if "features" in more else more
            return network.apply({"params": params, **stats}, token, cache, t, method="step", **now)

        return step, network.empty(n, length)

    def last_tokens(params, stats, n, window, more) -> tuple[Step, Any]:
        """The whole network for every token, on as many of the last ones as the window holds, which are the cache."""

        def step(token, tokens, t):
            tokens = jnp.where(t < window, tokens, jnp.roll(tokens, -1, 1))
            place = jnp.minimum(t, window - 1)
            tokens = tokens.at[:, place].set(token)
            now = more
            if "features" in more:
                now = {**more, "features": lax.dynamic_slice_in_dim(more["features"], t - place, window, 1)}
            return outputs(params, stats, tokens, now)[0][:, place], tokens

        return step, jnp.zeros((n, window), jnp.int32)

    def init_carry(params, batch):
        tokens, _, _ = windows_of(batch, context)
        return network.empty(*tokens.shape)

    more: Mapping[str, Any] = {"init_carry": init_carry} if truncated else {}
    return Model(init=init, loss=loss, apply=apply, sample=sample, log_prob=log_prob, **more)


def drawn_tokens(
    step: Step,
    cache: Any,
    key: Key,
    prompt: Int[Array, "n length"],
    given: Bool[Array, "n length"],
    start: int,
    choose: Callable[[Float[Array, "n v"]], Float[Array, "n v"]],
    stop: int | None = None,
) -> Int[Array, "n length"]:
    """Tokens drawn one after another in one scan; the t-th of all sequences with `fold_in(key, t)`.

    Args:
      step: (token [n], cache, t) -> (logits [n, V], cache).
      cache: what is kept of no token.
      key: a typed key.
      prompt: tokens, of which those count that are given.
      given: whether a token is the prompt's; the others are drawn.
      start: the token that is read first.
      choose: logits -> logits, minus infinity for what is not to be drawn.
      stop: the token behind which all are this one, once it was drawn; None: there is none.
    """

    def one(carry, now):
        t, noise = now
        token, ended, cache = carry
        logits, cache = step(token, cache, t)
        drawn = jnp.argmax(choose(logits) + noise, -1).astype(jnp.int32)  # Gumbel-max: a draw from the softmax
        if stop is not None:
            drawn = jnp.where(ended, stop, drawn)
        token = jnp.where(given[:, t], prompt[:, t], drawn)
        ended = ended if stop is None else ended | (~given[:, t] & (token == stop))
        return (token, ended, cache), token

    def block(carry, times):
        noise = jax.vmap(lambda t: jax.random.gumbel(jax.random.fold_in(key, t), logits.shape, logits.dtype))(times)
        return lax.scan(one, carry, (times, noise))

    n, length = prompt.shape
    first = jnp.full(n, start, jnp.int32), jnp.zeros(n, bool), cache
    logits = jax.eval_shape(lambda token, cache: choose(step(token, cache, jnp.int32(0))[0]), first[0], cache)
    # Noise is drawn for many tokens at once, up to NOISE numbers: for one token alone it may cost as much as the
    # network. The last block may go beyond the length, by fewer tokens than there are blocks; they are cut away.
    blocks = -(-length // max(1, min(length, NOISE // logits.size)))
    times = jnp.arange(blocks * -(-length // blocks)).reshape(blocks, -1)
    return lax.scan(block, first, times)[1].reshape(-1, n)[:length].T


def windows_of(batch: Mapping[str, Array], context: int | None) -> tuple[Array, Array, Array | None]:
    """Tokens, those that follow them, and how many count, or None for all."""
    x = checked_tokens(field(batch, "x", "name the model's input 'x'"), "the batch's 'x'", context)
    y = checked_tokens(field(batch, "y", "the tokens that follow those of 'x', as 'y'"), "the batch's 'y'", context)
    if x.shape != y.shape:
        raise ValueError(f"each token of 'x' is followed by one of 'y', got {list(x.shape)} and {list(y.shape)}")
    return x, y, jnp.asarray(batch["length"]) if "length" in batch else None


def _given(name: str, value: Any, size: int | None, needs: str) -> bool:
    """Whether a model is told something of that name.

    Raises:
      ValueError: it is and takes none, or is not and needs it.
    """
    if (value is None) != (size is None):
        wants = f"takes no {name}" if size is None else f"needs {needs}"
        raise ValueError(f"the model {wants}, got {name}={'None' if value is None else 'an array'}")
    return value is not None


def _features(features: Any, shape: tuple[int, ...]) -> Array:
    if real_array(features, "features").shape != shape:
        raise ValueError(f"features must be {list(shape)}, which stand beside the tokens, got {list(features.shape)}")
    return jnp.asarray(features, jnp.float32)


def _length(length: int | None, context: int | None) -> int:
    if length is None and context is None:
        raise ValueError("this model draws sequences of any length: say which by length=")
    check_sizes(length=length)
    asked = context if length is None else length
    assert asked is not None
    return asked


def _prompt(prompt: Any, lengths: Any, n: int, length: int, vocabulary: int) -> tuple[Array, Array]:
    """The prompt's tokens and which they are, [n, length] each."""
    if prompt is None:
        if lengths is not None:
            raise ValueError("prompt_lengths says how much of a prompt counts, and there is no prompt")
        return jnp.zeros((n, length), jnp.int32), jnp.zeros((n, length), bool)
    prompt = jnp.asarray(prompt)
    if (
        prompt.ndim not in (1, 2)
        or prompt.shape[:-1] not in ((), (n,))
        or not jnp.issubdtype(prompt.dtype, jnp.integer)
    ):
        raise ValueError(f"prompt must be tokens, integers [P] or [{n}, P], got {prompt.dtype} {list(prompt.shape)}")
    if prompt.shape[-1] > length:
        raise ValueError(f"the prompt has {prompt.shape[-1]} tokens, and length={length} is less: ask for more")
    within(prompt, vocabulary)
    lengths = jnp.full(n, prompt.shape[-1]) if lengths is None else jnp.asarray(lengths)
    if lengths.shape != (n,):
        raise ValueError(f"prompt_lengths must be [{n}] integers, got {list(lengths.shape)}")
    padded = jnp.zeros((n, length), jnp.int32).at[:, : prompt.shape[-1]].set(prompt)
    return padded, counted(padded, jnp.minimum(lengths, prompt.shape[-1]))

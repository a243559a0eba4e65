"""N-gram models: the probability of a token given the n - 1 before it, from counts, with Kneser-Ney or add-k smoothing.

With c(h w) how often the token w stands behind the context h in the text that was counted, and V the vocabulary:

- smoothing "none": p(w | h) = c(h w) / c(h), the maximum of the likelihood; 1 / V behind contexts that were not seen;
- "add_k": p(w | h) = (c(h w) + k) / (c(h) + k V) (Laplace; Lidstone, 1920);
- "kneser_ney": the interpolated, modified form of Chen & Goodman, An empirical study of smoothing techniques for
  language modeling (1999), section 4.1.6. With h' the context h without its earliest token,

    p(w | h) = max(c(h w) - D(c(h w)), 0) / c(h) + gamma(h) p(w | h'),
    gamma(h) = (D_1 N_1(h) + D_2 N_2(h) + D_3 N_3(h)) / c(h)

  where N_i(h) is how many tokens behind h have the count i, or for i = 3 a count of 3 or more, and D(c) is 0, D_1, D_2
  or D_3, by the same rule. Behind h' and all shorter contexts c(h' w) is not how often, but after how many different
  tokens h' w stands (Kneser & Ney, 1995). Behind the empty context p(w | h') is 1 / V, and p(w | h) = p(w | h') behind
  a context that was not seen. With one discount, D_1 = D_2 = D_3: theirs of 1995, interpolated.

The counts are statistics: integers in `stats`, which a checkpoint keeps and no step changes. The parameters are what
one may choose: the discounts of each length of context, as logits of D_i / i, so that the probabilities sum to one
whatever these are; or log k. `init` sets them to the closed form of the counts, and with that the model is fitted:
nothing is left to train. They have gradients for the sake of a text that was not counted, on which Chen & Goodman tune
discounts too; on the counted text itself, likelihood only grows as those of the longest contexts go to 0.

Where we differ: the first tokens of a text stand behind the token `start`, repeated, and no token of a text's end is
added; discounts that the counts do not determine are 0.5, 1 and 1.5 (so does KenLM on request); all contexts are kept.
"""

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.inputs import field
from gen_models.models.sequences.ngram_counts import CAPPED, Counts, closed_form_discounts, count_tokens
from gen_models.models.sequences.token_model import token_model
from gen_models.models.sizes import check_sizes
from gen_models.nn.last_tokens import last_tokens, with_token

SMOOTHINGS = ("kneser_ney", "add_k", "none")


def ngram(
    vocabulary: int,
    windows: Mapping[str, Any],
    *,
    order: int = 3,
    smoothing: Literal["kneser_ney", "add_k", "none"] = "kneser_ney",
    discounts: Literal[1, 3] = 3,
    k: float | Array = 1.0,
    start: int = 0,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of tokens 0 to vocabulary - 1, fitted by `init`; its other functions are those of `token_model`.

    `init(key, batch)` counts `windows` and uses neither the key nor the batch's values. A run therefore needs its
    training text again when it is restored: how large the tables are is known from the text alone.

    Args:
      vocabulary: V, different tokens.
      windows: the text to count, in windows as a data set has them (`splits.train.arrays`): "x" [N, T], the tokens, and
        "y" [N, T], those that follow them, which are counted; "length" [N], how many of each window count; "start" [N],
        whether a window begins a text, or else goes on where the one before it ended (also if not, where its first
        token is none that the one before ended with). Without "start" each window is a text of its own. Of one text
        {"x": tokens[None, :-1], "y": tokens[None, 1:]}.
      order: n: a token is predicted from the n - 1 before it.
      smoothing: see the module's docstring.
      discounts: how many there are for each length of context: 3, of the modified form, or 1.
      k: what is added to each count; may be traced.
      start: the token that stands before the first of a text, n - 1 times.
      dtype: of the probabilities' computations, such as `jnp.bfloat16`; parameters, logits and losses stay float32.

    Raises:
      ValueError: a size is not positive, an unknown smoothing, another number of discounts, k is not positive, `start`
        is no token, or windows that are no tokens of the vocabulary.
    """
    check_sizes(vocabulary=vocabulary, order=order)
    if smoothing not in SMOOTHINGS:
        raise unknown("smoothing", smoothing, SMOOTHINGS)
    if discounts not in (1, CAPPED):
        raise ValueError(f"discounts must be 3, or 1 of all counts, got {discounts}")
    if isinstance(k, int | float | np.number) and not 0 < k < float("inf"):
        raise ValueError(f"k must be positive and finite, got {k}: smoothing='none' adds nothing")
    _check_windows(windows, vocabulary)
    text = _Text(windows, vocabulary, order, start)
    network = _Network(
        text=text,
        vocabulary=vocabulary,
        order=order,
        smoothing=smoothing,
        discounts=discounts,
        k=k,
        start=start,
        dtype=dtype,
    )
    return token_model(network, vocabulary, start=start)


class _Text:
    """A text that is counted once, and not before it is wanted."""

    def __init__(self, windows: Mapping[str, Any], vocabulary: int, order: int, start: int):
        self._arguments = windows, vocabulary, order, start

    @cached_property
    def counts(self) -> Counts:
        return count_tokens(*self._arguments)

    def tables(self, shortest: int) -> Mapping[str, Any]:
        """All that is looked up, behind contexts of `shortest` tokens and more.

        What is looked up by a place has a last entry of 0, for the place that there is not.
        """
        tables = {f"contexts_{k}": table for k, table in enumerate(self.counts.contexts, 1)}
        for k in range(shortest, len(self.counts.followers)):
            table = self.counts.followers[k]
            more = {"count": table["count"], "total": self.counts.totals(k), "numbers": self.counts.numbers(k)}
            tables[f"followers_{k}"] = table | {name: _with_zero(values) for name, values in more.items()}
        return jax.tree.map(partial(jnp.asarray, dtype=jnp.int32), tables)


class _Network(nn.Module, kw_only=True):
    text: _Text
    vocabulary: int
    order: int
    smoothing: str
    discounts: int
    k: float | Array
    start: int
    dtype: DTypeLike | None

    def setup(self):
        mixed = self.smoothing == "kneser_ney"
        self.tables = self.variable("counts", "tables", self.text.tables, 0 if mixed else self.order - 1)
        if mixed:
            self.shares = self.param("discounts", self._closed_form)
        elif self.smoothing == "add_k":
            self.log_k = self.param("log_k", lambda _: jnp.log(jnp.asarray(self.k, jnp.float32)))

    def __call__(self, tokens, cache, lengths, train):  # [B, T] -> [B, T, V]
        return self._logits(last_tokens(tokens, self._width, self.start)), None

    def step(self, token, last, t):
        last = with_token(last, token)
        return self._logits(last), last

    def empty(self, batch, length):
        return jnp.full((batch, self._width), self.start, jnp.int32)

    @property
    def _width(self):
        return max(self.order - 1, 1)  # a model of order 1, too, has to see a token that is none

    def _logits(self, last):  # [..., width] -> [..., V]
        known = (last < self.vocabulary).all(-1, keepdims=True)
        p = self._kneser_ney(last) if self.smoothing == "kneser_ney" else self._added(last)
        return jnp.where(known, jnp.log(p.astype(jnp.float32)), jnp.nan)

    def _kneser_ney(self, last):
        shares = jax.nn.sigmoid(self.shares)
        p = jnp.full((*last.shape[:-1], self.vocabulary), 1 / self.vocabulary, self._kind)
        for k, context in enumerate(self._contexts(last)):
            count, total, numbers = self._counted(context, k)
            discount = jnp.broadcast_to(shares[k] * np.arange(1, self.discounts + 1), CAPPED).astype(self._kind)
            left = jnp.maximum(count - discount[jnp.clip(count, 1, CAPPED) - 1], 0)  # 0 of the count 0
            freed = (numbers * discount).sum(-1, keepdims=True)
            p = jnp.where(total > 0, (left + freed * p) / jnp.maximum(total, 1), p)
        return p

    def _added(self, last):
        context = self._contexts(last)[-1]
        count, total, _ = (values.astype(self._kind) for values in self._counted(context, self.order - 1))
        if self.smoothing == "none":
            return jnp.where(total > 0, count / jnp.maximum(total, 1), 1 / self.vocabulary)
        k = jnp.exp(self.log_k).astype(self._kind)
        return (count + k) / (total + k * self.vocabulary)

    def _contexts(self, last):
        """The contexts of the last 0, 1, ... tokens, [...] each: its place in the table, or the number of places."""
        found = [jnp.zeros(last.shape[:-1], jnp.int32)]
        for k in range(1, self.order):
            found.append(self._child(self.tables.value[f"contexts_{k}"], found[-1], last[..., -k]))
        return found

    def _counted(self, context, k):
        """Each token's count behind a context [..., V], their sum [..., 1], and N_1 to N_3 [..., 3]."""
        table = self.tables.value[f"followers_{k}"]
        place = self._child(table, context[..., None], jnp.arange(self.vocabulary))
        return table["count"][place], table["total"][context][..., None], table["numbers"][context]

    def _child(self, table, parent, token):
        """Where the token stands among the entries of a parent, by bisection; where it does not, how many there are."""
        begin, end, token = jnp.broadcast_arrays(table["first"][parent], table["first"][parent + 1], token)
        number = table["token"].shape[0]

        def halved(_, low_high):
            low, high = low_high
            middle = (low + high) // 2
            below = (low < high) & (table["token"][jnp.minimum(middle, number - 1)] < token)
            return jnp.where(below, middle + 1, low), jnp.where(below, high, middle)

        steps = self.vocabulary.bit_length()  # a parent has V entries at most
        low, _ = lax.fori_loop(0, steps, halved, (begin, end))
        found = (low < end) & (table["token"][jnp.minimum(low, number - 1)] == token)
        return jnp.where(found, low, number)

    def _closed_form(self, _):
        """The logits of D_i / i, [n, discounts]."""
        sizes = np.arange(1, self.discounts + 1)
        found = [closed_form_discounts(table["count"], self.discounts) / sizes for table in self.text.counts.followers]
        shares = np.stack(found)
        return jnp.asarray(np.log(shares / (1 - shares)), jnp.float32)

    @property
    def _kind(self):
        return jnp.float32 if self.dtype is None else self.dtype


def _with_zero(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values, np.zeros_like(values[:1])])


def _check_windows(windows: Mapping[str, Any], vocabulary: int) -> None:
    """Refuse what is no text: see `ngram`."""
    x = field(windows, "x", "name the windows' tokens 'x'")
    y = field(windows, "y", "the tokens that follow those of 'x', as 'y'")
    for name, tokens in (("x", x), ("y", y)):
        if tokens.ndim != 2 or 0 in tokens.shape or not np.issubdtype(tokens.dtype, np.integer):
            raise ValueError(f"windows' {name!r} must be tokens, integers [N, T], got {tokens.dtype} {tokens.shape}")
        if tokens.min() < 0 or tokens.max() >= vocabulary:
            raise ValueError(f"tokens are 0 to {vocabulary - 1}, got {tokens.min()} to {tokens.max()} in 'x' and 'y'")
    if x.shape != y.shape:
        raise ValueError(f"each token of 'x' is followed by one of 'y', got {x.shape} and {y.shape}")
    for name in ("length", "start"):
        if name in windows and np.shape(windows[name]) != x.shape[:1]:
            raise ValueError(f"{name!r} must be one for each of {len(x)} windows, got {np.shape(windows[name])}")

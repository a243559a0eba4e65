"""How often each token follows each context in a text: counted by NumPy, as tables that a compiled program looks up.

Contexts are the last k tokens, k from 0 to the order minus 1. They form a tree whose root is the empty context, and
where a context's children have one earlier token: one table for each k lists those of k tokens, children of a parent
beside each other and sorted by that token. Another lists the pairs of a context of k tokens and a token behind it,
again those of one context beside each other and sorted by the token.

What is counted is, behind the longest contexts, how often a pair stands in the text; behind a shorter context, how many
different tokens stand before the pair there: the counts that Kneser & Ney, Improved backing-off for m-gram language
modeling (1995), give the shorter contexts.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

Table = dict[str, np.ndarray]
CAPPED = 3  # counts from here on share a discount


class Counts(NamedTuple):
    """Tables of int32 for an order n. In each, `first` [P + 2] says where the entries of each of the P parents begin.

    The last entry of `first` repeats the one before it: parent P, which there is not, has no entries.
    """

    contexts: list[Table]  # n - 1 tables, of the contexts of 1, 2, ... tokens: "first", "token" [N]
    followers: list[Table]  # n tables, behind 0, 1, ... tokens: "first", "token" [M], "count" [M]

    def totals(self, k: int) -> np.ndarray:
        """The sum of the counts behind each context of k tokens, int64 [N]."""
        table = self.followers[k]
        sums = np.concatenate([[0], np.cumsum(table["count"], dtype=np.int64)])
        return np.diff(sums[table["first"][:-1]])

    def numbers(self, k: int) -> np.ndarray:
        """How many tokens behind each context of k tokens have the count 1, 2, and 3 or more, int32 [N, 3]."""
        table = self.followers[k]
        size = len(table["first"]) - 2
        owner = np.repeat(np.arange(size), np.diff(table["first"][:-1]))
        column = np.minimum(table["count"], CAPPED) - 1
        return np.bincount(owner * CAPPED + column, minlength=size * CAPPED).reshape(size, CAPPED).astype(np.int32)


def count_tokens(windows: Mapping[str, Any], vocabulary: int, order: int, start: int) -> Counts:
    """The counts of a text that was cut into windows.

    Args:
      windows: as `gen_models.models.sequences.ngram.ngram` takes them.
      vocabulary: V.
      order: n: contexts have up to n - 1 tokens.
      start: the token that stands n - 2 times before the first token of a text.
    """
    text, positions = _text(windows, order, start)
    node = np.zeros(len(positions), np.int64)  # the context of k tokens before each position
    contexts, parents = [], []
    for k in range(1, order):
        keys, node = np.unique(node * vocabulary + text[positions - k], return_inverse=True)
        parents.append(keys // vocabulary)
        contexts.append(_table(keys, vocabulary, len(parents[-2]) if k > 1 else 1))
    keys, counts = np.unique(node * vocabulary + text[positions], return_counts=True)
    followers = []
    for k in reversed(range(order)):
        size = len(parents[k - 1]) if k else 1
        followers.append({**_table(keys, vocabulary, size), "count": counts.astype(np.int32)})
        if k:
            context, token = np.divmod(keys, vocabulary)
            keys, counts = np.unique(parents[k - 1][context] * vocabulary + token, return_counts=True)
    return Counts(contexts, followers[::-1])


def closed_form_discounts(counts: np.ndarray, number: int) -> np.ndarray:
    """The discounts of the counts 1, 2, and 3 or more of one length of context, or the one of all counts.

    With n_i the number of pairs that were counted i times and Y = n_1 / (n_1 + 2 n_2), these are 1 - 2 Y n_2 / n_1,
    2 - 3 Y n_3 / n_2 and 3 - 4 Y n_4 / n_3, or Y alone (Chen & Goodman, 1999, section 4.1.6). Where one of these n_i is
    0, or a discount is not between 0 and its count, they are 0.5, 1 and 1.5, or 0.5.

    Args:
      counts: of all pairs, [M].
      number: 3 or 1.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(np.float64)
    sizes = np.arange(1, number + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        y = n[0] / (n[0] + 2 * n[1])
        found = sizes - (sizes + 1) * y * n[1:] / n[:3] if number == CAPPED else np.array([y])
    counted = n.all() if number == CAPPED else n[:2].all()
    return found if counted and ((found > 0) & (found < sizes)).all() else 0.5 * sizes


def _table(keys: np.ndarray, vocabulary: int, parents: int) -> Table:
    """The table of sorted keys, parent * V + token."""
    parent, token = np.divmod(keys, vocabulary)
    first = np.searchsorted(parent, np.arange(parents + 1))
    return {"first": np.append(first, len(keys)).astype(np.int32), "token": token.astype(np.int32)}


def _text(windows: Mapping[str, Any], order: int, start: int) -> tuple[np.ndarray, np.ndarray]:
    """All tokens, with n - 1 before each text's first predicted one; and the positions of those that are predicted."""
    x, y = (np.asarray(windows[name], np.int64) for name in ("x", "y"))
    lengths = np.asarray(windows["length"]) if "length" in windows else np.full(len(y), y.shape[1])
    begins = np.ones(len(x), bool)
    if "start" in windows:
        ends = y[np.arange(len(y)), lengths - 1]
        begins[1:] = np.asarray(windows["start"])[1:] | (x[1:, 0] != ends[:-1])
    before = np.full((len(x), order - 1), start)
    before[:, -1:] = x[:, :1]  # of order 1 there is no such column
    rows = np.concatenate([before, y], 1)
    predicted = np.broadcast_to(np.arange(rows.shape[1]) >= order - 1, rows.shape)
    kept = np.where(predicted, np.arange(rows.shape[1]) - (order - 1) < lengths[:, None], begins[:, None])
    return rows[kept], np.flatnonzero(predicted[kept])

"""What networks that read sequences of vectors answer: classes, numbers or normal distributions, at the end or each.

Shared by `recurrent_network` and `temporal_convolutional_network`, whose docstrings say what their functions read.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from gen_models.core import Batch
from gen_models.errors import unknown
from gen_models.models.inputs import checked_labels, field, images, labels_of
from gen_models.models.sizes import check_each, check_sizes
from gen_models.models.supervised.classification import cross_entropy

PLACES = ("end", "each")


class Head(NamedTuple):
    """What answers are, and what the network's outputs [..., width] say of them."""

    width: int
    checked: Callable[..., Any]  # (batch, places, counts or None) -> y, [*places] or [*places, D]
    scored: Callable[..., Any]  # (outputs, y) -> (terms [*places], metrics of the same shape)
    predicted: Callable[..., Any]  # outputs -> logits or means
    deviations: Callable[..., Any] | None = None  # outputs -> standard deviations


def _classes(outputs: int) -> Head:
    """One of K classes."""

    def checked(batch, places, counts):
        y = labels_of(batch)
        if len(places) == 1:
            return checked_labels(y, places[0], outputs)[0]
        if y.shape != places or not jnp.issubdtype(y.dtype, jnp.integer):
            raise ValueError(f"'y' must be {list(places)} integers, one for each step, got {y.dtype} {list(y.shape)}")
        y = jnp.asarray(y) if counts is None else jnp.where(counts, y, 0)  # whatever padding holds
        return checked_labels(y.reshape(-1), math.prod(places), outputs)[0].reshape(places)

    def scored(logits, y):
        flat = logits.reshape(-1, outputs)
        terms = cross_entropy(flat, y.reshape(-1)).reshape(y.shape)
        right = jnp.where(jnp.isnan(terms), jnp.nan, logits.argmax(-1) == y)
        return terms, {"accuracy": right}

    return Head(outputs, checked, scored, lambda logits: logits)


def _checked_numbers(outputs: int) -> Callable[..., Any]:
    def checked(batch, places, counts):
        y = field(batch, "y", "the numbers that are to be predicted, as 'y'")
        wanted = (*places, outputs)
        if y.shape != wanted and not (outputs == 1 and y.shape == tuple(places)):
            raise ValueError(f"'y' must be {list(wanted)}, numbers for each answer, got {list(y.shape)}")
        y = jnp.asarray(y, jnp.float32).reshape(wanted)
        return y if counts is None else jnp.where(counts[..., None], y, 0)

    return checked


def _numbers(outputs: int) -> Head:
    """D numbers, by the mean of their squared errors."""

    def scored(means, y):
        squares = ((means - y) ** 2).mean(-1)
        return squares, {"mean_squared_error": squares}

    return Head(outputs, _checked_numbers(outputs), scored, lambda means: means)


def _normal(outputs: int) -> Head:
    """D independent normal distributions: means, then the logarithms of their deviations."""

    def parts(found):
        return jnp.split(found, 2, -1)

    def scored(found, y):
        mean, log_deviation = parts(found)
        nats = 0.5 * ((y - mean) * jnp.exp(-log_deviation)) ** 2 + log_deviation + 0.5 * math.log(2 * math.pi)
        return nats.sum(-1), {"mean_squared_error": ((mean - y) ** 2).mean(-1)}

    return Head(
        2 * outputs,
        _checked_numbers(outputs),
        scored,
        lambda found: parts(found)[0],
        lambda found: jnp.exp(parts(found)[1]),
    )


HEADS: Mapping[str, Callable[[int], Head]] = {"classes": _classes, "numbers": _numbers, "normal": _normal}


def check_answers(shape: Sequence[int], outputs: int, answer: str, at: str) -> tuple[int, int]:
    """The shape (T, F).

    Raises:
      ValueError: a size is not positive, the shape is not (T, F), an unknown word, or fewer than two classes.
    """
    check_each(shape=shape)
    if len(shape) != 2:
        raise ValueError(f"a sequence's shape is (steps, features), got shape={tuple(shape)}")
    check_sizes(outputs=outputs)
    for what, word, known in (("kind of answer", answer, HEADS), ("place of answers", at, PLACES)):
        if word not in known:
            raise unknown(what, word, tuple(known))
    if answer == "classes" and outputs < 2:
        raise ValueError(f"a classifier needs two classes or more, got outputs={outputs}")
    return shape[0], shape[1]


def scored(
    head: Head, at: str, batch: Batch, shape: tuple[int, int], read: Callable[[Array, Any], tuple[Array, Any]]
) -> tuple[Array, dict[str, Array], Any]:
    """The loss of a batch, its metrics, and what `read(x, lengths)` gives beside the outputs.

    The loss is the mean of the head's terms over all answers, B at the end and B T at each step; with
    `batch["length"]`, terms of steps behind a sequence's end are 0, and metrics are means over the others.

    Raises:
      ValueError: the batch has no sequences of that shape or no answers.
    """
    x, lengths = images(batch, shape), batch.get("length")
    places = (len(x),) if at == "end" else x.shape[:2]
    counts = None if lengths is None or at == "end" else jnp.arange(x.shape[1]) < jnp.asarray(lengths)[:, None]
    y = head.checked(batch, places, counts)
    found, more = read(x, lengths)
    terms, metrics = head.scored(found, y)
    if counts is not None:
        terms = jnp.where(counts, terms, 0)
        metrics = {name: jnp.where(counts, value, 0) for name, value in metrics.items()}
    total = math.prod(places) if counts is None else counts.sum()
    metrics = {name: (value.sum() / total).astype(jnp.float32) for name, value in metrics.items()}
    return terms.mean(), metrics, more


def checked_lengths(lengths: Any, n: int) -> Array:
    """Lengths [B] as an array.

    Raises:
      ValueError: they are not that many integers.
    """
    lengths = jnp.asarray(lengths)
    if lengths.shape != (n,) or not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ValueError(f"lengths must be [{n}] integers, one for each sequence, got {lengths.dtype} {lengths.shape}")
    return lengths

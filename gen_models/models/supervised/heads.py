"""What a network answers: its loss, its predictions and what its labels must be, by the kind of the answer.

With f(x) the network's outputs for an example, and y its label:

- "classes": y one of K classes; f has K logits; cross-entropy, -log softmax(f)_y;
- "binary": y 0 or 1; f is one logit; -log sigmoid(f) where y is 1, and -log sigmoid(-f) where it is 0;
- "labels": y [L], each 0 or 1, none excluding others; f has L logits; the sum of the L binary cross-entropies;
- "margin": as "binary", with the perceptron's loss, max(0, -f) where y is 1 and max(0, f) where it is 0 (Rosenblatt,
  1958), whose slope at f = 0 is that of a mistake;
- "numbers": y [D]; f predicts them; the mean of their squared errors;
- "normal": y [D]; f has D means and D log deviations; -log p(y) of independent normal distributions (Nix & Weigend,
  Estimating the mean and variance of the target probability distribution, 1994).

All but "margin" and "numbers" are in nats an example (Bishop, Pattern Recognition and Machine Learning (2006), section
5.2). Shared by all that `classifier` makes (`mlp`, `cnn`, `logistic_regression`, `linear_regression`, ...), by
`recurrent_network` and by `temporal_convolutional_network`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from gen_models.errors import unknown
from gen_models.models.inputs import checked_labels, field, known, labels_of
from gen_models.models.supervised.cross_entropies import binary_cross_entropy, cross_entropy

Answer = Literal["classes", "binary", "labels", "margin", "numbers", "normal"]


class Head(NamedTuple):
    """What answers are, and what the network's outputs [..., width] say of them.

    `places` are the axes of the answers: (B,), or (B, T) where there is one at each step, and then `counts` [B, T] says
    which of them count.
    """

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
    """Numbers, `outputs` of them for each answer; those of padding are 0."""

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


def _checked_marks(shape: tuple[int, ...]) -> Callable[..., Any]:
    """Labels that are 0 or 1, `shape` of them for each answer."""

    def checked(batch, places, counts):
        y = labels_of(batch)
        wanted = (*places, *shape)
        if y.shape != wanted or not (jnp.issubdtype(y.dtype, jnp.integer) or y.dtype == jnp.bool_):
            raise ValueError(f"'y' must be {list(wanted)} integers, each 0 or 1, got {y.dtype} {list(y.shape)}")
        y = jnp.asarray(y, jnp.int32)
        y = y if counts is None else jnp.where(counts.reshape(*places, *(1,) * len(shape)), y, 0)
        fits = (y == 0) | (y == 1)
        if known(fits) and not bool(fits.all()):
            raise ValueError(f"labels must be 0 or 1, got {int(y[~fits].ravel()[0])}")
        return y

    return checked


def _binary(outputs: int) -> Head:
    """Yes or no, by one logit."""

    def scored(found, y):
        terms = binary_cross_entropy(found[..., 0], y)
        return terms, {"accuracy": _right(found[..., 0], y, terms)}

    return Head(1, _checked_marks(()), scored, lambda found: found[..., 0])


def _labels(outputs: int) -> Head:
    """Any of L labels, by a logit for each."""

    def scored(found, y):
        terms = binary_cross_entropy(found, y)
        right = _right(found, y, terms)
        return terms.sum(-1), {"accuracy": right.mean(-1), "all_right": right.min(-1)}

    return Head(outputs, _checked_marks((outputs,)), scored, lambda found: found)


def _margin(outputs: int) -> Head:
    """Yes or no, by the side of a hyperplane."""

    def scored(found, y):
        fits = (y == 0) | (y == 1)
        margin = jnp.where(y == 1, 1.0, -1.0) * found[..., 0]
        terms = jnp.where(fits, jnp.where(margin <= 0, -margin, 0.0), jnp.nan)
        return terms, {"accuracy": jnp.where(fits, margin > 0, jnp.nan)}

    return Head(1, _checked_marks(()), scored, lambda found: found[..., 0])


def _right(logits, y, terms):
    """Whether each logit is on its label's side, as a number; NaN of a label that is none."""
    return jnp.where(jnp.isnan(terms), jnp.nan, (logits > 0) == (y == 1))


HEADS: Mapping[str, Callable[[int], Head]] = {
    "classes": _classes,
    "binary": _binary,
    "labels": _labels,
    "margin": _margin,
    "numbers": _numbers,
    "normal": _normal,
}


def head_of(answer: str, outputs: int) -> Head:
    """The head of an answer with so many classes, labels or numbers.

    Raises:
      ValueError: an unknown answer, fewer than two classes, or several binary ones.
    """
    if answer not in HEADS:
        raise unknown("kind of answer", answer, tuple(HEADS))
    if answer == "classes" and outputs < 2:
        raise ValueError(f"a classifier needs two classes or more, got num_classes={outputs}")
    if answer in ("binary", "margin") and outputs != 1:
        raise ValueError(f"answer={answer!r} is one number, got {outputs}: several are answer='labels'")
    return HEADS[answer](outputs)

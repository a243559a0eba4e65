"""What networks that read sequences of vectors answer: classes, numbers or normal distributions, at the end or each.

Shared by `recurrent_network` and `temporal_convolutional_network`, whose docstrings say what their functions read.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from gen_models.core import Batch
from gen_models.errors import unknown
from gen_models.models.inputs import images
from gen_models.models.sizes import check_each, check_sizes
from gen_models.models.supervised.heads import HEADS, Head

PLACES = ("end", "each")


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
    if answer in ("binary", "margin") and outputs != 1:
        raise ValueError(f"answer={answer!r} is one number, got outputs={outputs}: several are answer='labels'")
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

"""Classifiers by Bayes' rule: a density of x for each class, and the classes' probabilities.

    p(x, y) = p(y) p(x | y),      p(x) = sum_y p(x, y),      p(y | x) = p(x, y) / p(x)

`naive_bayes` and `gaussian_discriminant` make the densities; here they become a `Model`, whose parameters are the
density's and "prior", the logits of p(y). Bishop, Pattern Recognition and Machine Learning (2006), sections 1.5.4, 4.2.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gen_models.core import Model
from gen_models.models.inputs import check_count, checked_labels, host_labels, host_rows, images, labels_of
from gen_models.models.sizes import check_each

Fitted = Mapping[str, np.ndarray]  # parameters, float64, as the fits give them


class Density(NamedTuple):
    """p(x | y) of flattened x [B, D] for K classes, as pure functions of the parameters."""

    start: Mapping[str, tuple[int, ...]]  # name -> shape of a parameter that starts at zeros, or as `fitted` has it
    log_density: Callable[[Any, Array], Array]  # (params, x [B, D]) -> [B, K] nats
    draw: Callable[..., Array]  # (params, key, labels [n], **options) -> x [n, D]
    fits: Callable[[Array], Any]  # x [B, D] -> whether each has a probability at all, bool [B] or True


def generative_classifier(
    density: Density, shape: Sequence[int], num_classes: int, fitted: Fitted | None = None
) -> Model:
    """The model of a density for each class.

    - the loss reads "x" [B, *shape] and "y" [B]: the mean of -log p(x, y) in nats; "accuracy" and "cross_entropy" (the
      mean of -log p(y | x)) are metrics;
    - `apply(params, stats, x)` gives log p(x, y) of each class, [B, K]: as logits, their softmax is p(y | x);
    - `log_prob(params, stats, x, key, label=None)` is log p(x), exact, or with labels log p(x | y), [B] nats;
    - `sample(params, stats, key, n, label=None)` draws x of classes drawn from p(y), or of the label, one or [n].

    Args:
      density: p(x | y).
      shape: of one example.
      num_classes: K.
      fitted: parameters that `init` takes, as the fits give them; None: zeros, from which they may be trained.

    Raises:
      ValueError: a size is not positive, there are fewer than two classes, or `fitted` has other names or shapes.
    """
    check_each(shape=shape)
    shape = tuple(shape)
    shapes = {"prior": (num_classes,), **density.start}
    if num_classes < 2:
        raise ValueError(f"a classifier needs two classes or more, got num_classes={num_classes}")
    if fitted is not None and {name: np.shape(value) for name, value in fitted.items()} != shapes:
        found = {name: np.shape(value) for name, value in fitted.items()}
        raise ValueError(f"fitted has {found}, and the model {shapes}: fit with the same sizes and options")

    def flat(x):
        x = images({"x": x}, shape).reshape(len(x), -1)
        return x, density.fits(x)

    def init(key, batch):
        images(batch, shape)
        values = fitted or {name: np.zeros(size) for name, size in shapes.items()}
        return {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}, {}

    def apply(params, stats, x):
        """log p(x, y) of each class, [B, K] nats; NaN for an x that can be none."""
        x, fits = flat(x)
        joint = density.log_density(params, x).astype(jnp.float32) + jax.nn.log_softmax(params["prior"])
        return joint if fits is True else jnp.where(fits[:, None], joint, jnp.nan)

    def log_prob(params, stats, x, key=None, *, label=None):
        """log p(x), exact; with labels [B], log p(x | y)."""
        joint = apply(params, stats, x)
        if label is None:
            return jax.nn.logsumexp(joint, -1)
        return _of_label(joint - jax.nn.log_softmax(params["prior"]), label, num_classes)

    def sample(params, stats, key, n, *, label=None, **options):
        """n draws of x, of the label (a number, or [n]) or of labels from p(y)."""
        check_count(n)
        label_key, own_key = jax.random.split(key)
        if label is None:
            labels = jax.random.categorical(label_key, params["prior"], shape=(n,))
        else:
            labels, _ = checked_labels(jnp.broadcast_to(jnp.asarray(label), (n,)), n, num_classes)
        return density.draw(params, own_key, labels, **options).reshape(n, *shape)

    def loss(params, stats, batch, key, *, step, train=True):
        """Mean of -log p(x, y) in nats."""
        x = images(batch, shape)
        labels, _ = checked_labels(labels_of(batch), len(x), num_classes)
        joint = apply(params, stats, x)
        nats = _of_label(joint, labels, num_classes)
        right = jnp.where(jnp.isnan(nats), jnp.nan, joint.argmax(-1) == labels)
        cross_entropy = jax.nn.logsumexp(joint, -1) - nats
        return -nats.mean(), (stats, {"accuracy": right.mean(dtype=jnp.float32), "cross_entropy": cross_entropy.mean()})

    return Model(init, loss, apply=apply, sample=sample, log_prob=log_prob)


def _of_label(values: Array, labels: Any, classes: int) -> Array:
    """The values [B, K] of the labels [B]; NaN for no class."""
    labels, fits = checked_labels(labels, len(values), classes)
    chosen = jnp.take_along_axis(values, jnp.where(fits, labels, 0)[:, None], 1)[:, 0]
    return jnp.where(fits, chosen, jnp.nan)


def classes_of(arrays: Mapping[str, Any], num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x [N, D] in float64, one-hot labels [N, K] and log p(y) [K] of the examples that a density is fitted to.

    Raises:
      ValueError: a field is absent, x is not finite, labels are no classes, or a class has no examples.
    """
    x = host_rows(arrays)
    marks = np.eye(num_classes)[host_labels(labels_of(arrays), len(x), num_classes)]
    if not marks.sum(0).all():
        raise ValueError(f"class {int(marks.sum(0).argmin())} has no examples: fit fewer classes, or more examples")
    return x, marks, np.log(marks.mean(0))

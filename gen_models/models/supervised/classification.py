"""What classifiers and other networks with one answer for an example share: a Linen network as a `Model`."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Int

from gen_models.core import Model, Params
from gen_models.models.inputs import checked_labels, images, labels_of, within_levels
from gen_models.models.sizes import check_each, check_sizes
from gen_models.models.supervised.cross_entropies import cross_entropy as cross_entropy
from gen_models.models.supervised.heads import Answer, head_of
from gen_models.nn.batch_norm import of_one_batch


def balanced_weights(counts: Sequence[int] | Int[np.ndarray, "k"]) -> tuple[float, ...]:
    """N / (K n_k) for K classes that have n_k of N examples, so that all weigh alike: scikit-learn's "balanced".

    Over these examples their mean is 1, and all are 1 where the classes have equally many. A class without examples
    counts in neither N nor K, and weighs 0.

    Raises:
      ValueError: a count is negative, or all are 0.
    """
    counts = [int(count) for count in counts]
    if min(counts, default=0) < 0 or not sum(counts):
        raise ValueError(f"classes must have 0 examples or more, and one of them some, got {counts}")
    present = sum(count > 0 for count in counts)
    return tuple(sum(counts) / (present * count) if count else 0.0 for count in counts)


def classifier(
    network: nn.Module,
    shape: Sequence[int],
    num_classes: int,
    *,
    dropout: float | Array = 0.0,
    label_smoothing: float | Array = 0.0,
    penalty: Callable[[Params], Array] | None = None,
    tokens: int | None = None,
    class_weights: Sequence[float] | None = None,
    answer: Answer = "classes",
) -> Model:
    """A classifier whose logits are `network(x, dropout, train)`, with x float32 [B, *shape] and logits [B, K].

    Its loss reads `batch["x"]` and the integers `batch["y"]` in [0, K): the mean cross-entropy in nats, with
    smoothed labels in training alone, plus `penalty(params)`. Metrics: "accuracy" and "cross_entropy" (of the labels as
    they are, without the penalty). `apply(params, stats, x)` gives logits in evaluation mode, and with `features=True`
    what they are an affine function of as well: the input of the network's layer "logits". A label of no class, or
    where `tokens` is given an x of anything but integers in [0, tokens), is an error outside of `jit` and NaN inside.
    With `class_weights` [K], such as `balanced_weights`, an example's term in the training loss is multiplied by the
    weight of its class; evaluation and metrics stay unweighted.

    With another `answer` than "classes" the network's outputs [B, head.width], the labels, the terms of the loss and
    the metrics are those of its head (`heads.py`), `num_classes` is how many numbers or labels an example has (1 where
    it is binary), and `apply` gives what the head predicts: logits [B] of "binary", [B, L] of "labels", numbers [B, D];
    of "normal" with `deviations=True` a pair, means and standard deviations. With a `key`, `apply` drops units as in
    training: one draw of what Monte Carlo dropout averages (`gen_models.measures.dropout`).

    Raises:
      ValueError: a size is not positive, an unknown answer, there are fewer than two classes, a rate is outside [0, 1),
        or a weight is negative or missing; smoothed or weighted labels that are no classes; a batch without examples or
        labels, or of another shape.
    """
    check_each(shape=shape)
    check_sizes(num_classes=num_classes)
    shape = tuple(shape)
    if not shape:
        raise ValueError("an example needs an axis or more, got shape=(): (1,) is a number")
    head = head_of(answer, num_classes)
    if answer != "classes" and not (class_weights is None and _is_zero(label_smoothing)):
        raise ValueError(f"label_smoothing and class_weights are for classes: leave them out with answer={answer!r}")
    for name, rate in (("dropout", dropout), ("label_smoothing", label_smoothing)):
        if isinstance(rate, int | float) and not 0 <= rate < 1:
            raise ValueError(f"{name} must be in [0, 1), got {rate}")
    if class_weights is not None and not (
        len(class_weights) == num_classes and all(0 <= weight < math.inf for weight in class_weights)
    ):
        raise ValueError(
            f"class_weights must be {num_classes} finite numbers of 0 or more, one a class, got {class_weights}"
        )
    weights = None if class_weights is None else jnp.asarray(class_weights, jnp.float32)

    def inputs(batch):
        """x, and whether each is what the network takes."""
        x = images(batch, shape)
        if tokens is None:
            return x, True
        fits = within_levels(x, tokens, "tokens", "another vocabulary needs another model")
        return jnp.where(fits.reshape(-1, *(1,) * len(shape)), x, 0), fits[:, None]

    def init(key, batch):
        images(batch, shape)  # a batch of another shape is refused here, before anything is compiled
        variables = network.init(key, jnp.zeros((1, *shape), jnp.float32), dropout, train=False)
        return variables["params"], variables.get("batch_stats", {})

    def apply(params, stats, x, *, features=False, deviations=False, key=None):
        """Logits [B, K] of x [B, *shape] in evaluation mode: no dropout, running averages in batch norm.

        With `features`, a pair: logits, and the features [B, D] of which they are an affine function. With another
        answer than classes, what its head predicts in their place; with `deviations`, a pair of "normal". With a
        `key`, units are dropped as in training, which is for networks without batch norm.
        """
        if key is not None:
            if features or deviations or stats:
                raise ValueError("a key draws dropout alone: leave out features and deviations, and take no batch norm")
            x, fits = inputs({"x": x})
            return head.predicted(jnp.where(fits, trained(params, stats, x, key)[0], jnp.nan))
        if deviations:
            if head.deviations is None:
                raise ValueError(f"answer={answer!r} has no deviations: answer='normal' has")
            outputs = in_evaluation(params, stats, *inputs({"x": x}))
            return head.predicted(outputs), head.deviations(outputs)
        if not features:
            return head.predicted(in_evaluation(params, stats, *inputs({"x": x})))
        found = []

        def catch(layer, args, kwargs, context):
            if context.module.name == "logits":
                found.append(args[0])
            return layer(*args, **kwargs)

        with nn.intercept_methods(catch):
            logits = in_evaluation(params, stats, *inputs({"x": x}))
        return head.predicted(logits), found[0].astype(jnp.float32)

    def in_evaluation(params, stats, x, fits):
        logits: Any = network.apply({"params": params, "batch_stats": stats}, x, dropout, train=False)
        return jnp.where(fits, logits, jnp.nan)

    def trained(params, stats, x, key):
        """Logits [B, K] in training mode, and the running averages that follow."""
        variables = {"params": params, "batch_stats": stats}
        logits, updated = network.apply(
            variables, x, dropout, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
        )
        return logits, updated.get("batch_stats", stats)

    def batch_stats(params, stats, batch, key):
        """Batch norm's means and variances of this batch, as a training pass with dropout sees them."""
        x, _ = inputs(batch)
        return of_one_batch(lambda stats: trained(params, stats, x, key)[1], stats)

    def loss(params, stats, batch, key, *, step, train=True):
        """Mean cross-entropy in nats, plus the penalty."""
        if answer != "classes":
            return loss_of_answers(params, stats, batch, key, train)
        x, fits = inputs(batch)
        labels, _ = checked_labels(labels_of(batch), len(x), num_classes)
        if train:
            logits, stats = trained(params, stats, x, key)
            logits = jnp.where(fits, logits, jnp.nan)
            terms = cross_entropy(logits, labels, label_smoothing)
            value = (terms if weights is None else weights[labels] * terms).mean()
        else:
            logits = in_evaluation(params, stats, x, fits)
            value = cross_entropy(logits, labels).mean()
        if penalty is not None:
            value = (value + penalty(params)).astype(value.dtype)
        nats = cross_entropy(logits, labels)
        # NaN of a label that is no class, and of logits that are NaN, of which `argmax` makes a class.
        right = jnp.where(jnp.isnan(nats), jnp.nan, logits.argmax(-1) == labels)
        metrics = {"accuracy": right.mean(dtype=jnp.float32), "cross_entropy": nats.mean()}
        return value, (stats, metrics)

    def loss_of_answers(params, stats, batch, key, train):
        """Mean of the head's terms, plus the penalty."""
        x, fits = inputs(batch)
        y = head.checked(batch, (len(x),), None)
        if train:
            outputs, stats = trained(params, stats, x, key)
            outputs = jnp.where(fits, outputs, jnp.nan)
        else:
            outputs = in_evaluation(params, stats, x, fits)
        terms, metrics = head.scored(outputs, y)
        value = terms.mean()
        if penalty is not None:
            value = (value + penalty(params)).astype(value.dtype)
        return value, (stats, {name: each.mean(dtype=jnp.float32) for name, each in metrics.items()})

    return Model(init, loss, apply=apply, batch_stats=batch_stats)


def _is_zero(number: Any) -> bool:
    return isinstance(number, int | float) and number == 0

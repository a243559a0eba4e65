"""Mean log-likelihood of a data set, with its standard error over the examples."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from gen_models.core import Key, Params, Stats


class Likelihood(NamedTuple):
    """What `dataset_log_prob` gives."""

    mean: float  # nats per example
    standard_error: float  # of that mean over examples; NaN with one example
    n: float  # examples, padding not counted


def dataset_log_prob(
    log_prob: Callable[..., Float[Array, "b"]],
    params: Params,
    stats: Stats,
    batches: Iterable[Mapping[str, Any]],
    key: Key,
    *,
    field: str = "x",
    condition: Sequence[str] = (),
) -> Likelihood:
    """Mean log-probability of a data set's examples, nats; exact or a bound, as `log_prob` is.

    Batch i uses the key `fold_in(key, i)`. The sum over examples is kept in float64.

    Args:
      log_prob: (params, stats, x, key, **condition) -> [B] nats, as in `Model`; it is compiled here, once for each
        shape of batch.
      params: the model's parameters.
      stats: the model's statistics.
      batches: mappings with `field` and, where a batch is padded, "weight": [B], 1 for an example and 0 for padding.
      key: a typed key.
      field: the entry of a batch that holds x.
      condition: entries that `log_prob` takes by their names, such as "label".

    Raises:
      ValueError: a batch lacks an entry, a weight does not fit its batch, or there is no example at all.
    """
    compiled = jax.jit(log_prob)
    values, weights = [], []
    for index, batch in enumerate(batches):
        if field not in batch:
            raise ValueError(f"a batch has no {field!r}, only {sorted(batch)}: name the entry that holds x as field=")
        missing = [name for name in condition if name not in batch]
        if missing:
            raise ValueError(f"a batch has no {missing[0]!r}, which is a condition, only {sorted(batch)}")
        given = {name: batch[name] for name in condition}
        value = np.asarray(compiled(params, stats, batch[field], jax.random.fold_in(key, index), **given), np.float64)
        weight = np.asarray(batch.get("weight", np.ones_like(value)), np.float64)
        if weight.shape != value.shape:
            raise ValueError(f"weight has the shape {weight.shape}, but the batch's log-probabilities {value.shape}")
        values.append(value[weight > 0])  # what padding holds must not matter, even where it is not finite
        weights.append(weight[weight > 0])
    value, weight = np.concatenate([np.empty(0), *values]), np.concatenate([np.empty(0), *weights])
    n = float(weight.sum())
    if n == 0:
        raise ValueError("there is no example in the batches: a log-likelihood needs at least one")
    mean = float((weight * value).sum() / n)
    if n <= 1:
        return Likelihood(mean, float("nan"), n)
    with np.errstate(invalid="ignore"):  # log p = -inf is a result, and has no standard error
        variance = (weight * (value - mean) ** 2).sum() / (n - 1)
    return Likelihood(mean, float(np.sqrt(variance / n)), n)

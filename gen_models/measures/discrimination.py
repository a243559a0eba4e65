"""How well a discriminator tells samples from data that neither player has seen, and what the generator learns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gen_models.core import Key, Model
from gen_models.measures.base import Split, Trained
from gen_models.measures.figure import Figure
from gen_models.measures.samples import drawn
from gen_models.models.sizes import check_sizes


@dataclass(frozen=True)
class Discrimination:
    """The area under the ROC curve of logits, real against generated, and the norm of the generator's gradient.

    The area is the probability that a real example has a higher logit than a generated one: 1/2 where the discriminator
    knows nothing, 1 where it dominates, in whatever units the loss has its logits. The gradient is that of the
    generator's loss at a batch of training examples, in the units of the loss.

    Raises:
      ValueError: a number is not positive; or, when it is used, the model has not these two players or takes labels.
    """

    count: int = 500  # examples of the split, and samples; fewer, where there are fewer
    batch_size: int = 64  # of the batch at which the gradient is taken
    packing: int = 1  # examples that the discriminator judges at once
    # Whether the gradient is taken: not where the generator's loss reads TRACED fields, which no measure's model has.
    gradient: bool = True

    def __post_init__(self) -> None:
        check_sizes(count=self.count, batch_size=self.batch_size, packing=self.packing)

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """Area under the ROC curve, gap of the mean logits, and the generator's gradient norm."""
        if not isinstance(trained.model.loss, Mapping) or set(trained.model.loss) != {"discriminator", "generator"}:
            raise ValueError("Discrimination is of a model whose players are discriminator and generator: leave it out")
        batch = split.some(self.count)
        real = batch["x"][: len(batch["x"]) // self.packing * self.packing]
        if not len(real):
            raise ValueError(
                f"packing={self.packing} examples are judged at once, but {len(batch['x'])} are looked at: give a "
                "count of as many or more, and data that have as many"
            )
        fake = drawn(trained, key, len(real))
        apply = _applied(trained.model)
        logits = [np.asarray(apply(trained.params, trained.stats, jnp.asarray(x))) for x in (real, fake)]
        area = _share_below(*reversed(logits))
        where = f"{split.where}, {len(real):,} of them, and as many samples"
        yield Figure("real told from generated", area, "area under ROC", where, better=None)
        yield Figure("gap of logits", float(logits[0].mean() - logits[1].mean()), "logits", where)
        if not self.gradient:
            return
        training = split.train().some(self.batch_size)
        norm = float(_gradient_norm(trained.model)(trained.params, trained.stats, training, key))
        yield Figure("generator gradient", norm, "norm", f"{len(training['x']):,} training examples")


def _share_below(low: np.ndarray, high: np.ndarray) -> float:
    """The share of pairs of which the first is the lower; ties count half. It is the area under the ROC curve."""
    ordered = np.sort(low)
    below = np.searchsorted(ordered, high, "left") + np.searchsorted(ordered, high, "right")
    return float(below.mean()) / (2 * len(low))


@lru_cache(maxsize=64)
def _applied(model: Model) -> Any:
    return jax.jit(model.apply)


@lru_cache(maxsize=64)
def _gradient_norm(model: Model) -> Any:
    def norm(params: Any, stats: Any, batch: Any, key: Key) -> jax.Array:
        def lowered(own: Any) -> jax.Array:
            whole = {**params, "generator": own}
            assert isinstance(model.loss, Mapping)
            return model.loss["generator"](whole, stats, batch, key, step=jnp.zeros([], jnp.int32))[0]

        return optax.tree.norm(jax.grad(lowered)(params["generator"]))

    return jax.jit(norm)

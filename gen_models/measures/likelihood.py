"""Likelihoods of a split, exact or a bound, in nats: one definition for every model that has `log_prob`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np

from gen_models import metrics
from gen_models.core import Key, Model, Params, Stats
from gen_models.measures.base import Headline, Mean, Split, Trained
from gen_models.measures.figure import Figure


@dataclass(frozen=True)
class LogLikelihood:
    """Importance-weighted bound on log p(x) of a model with a latent variable (Burda et al., 2016, eq. 8)."""

    samples: int = 100  # importance samples of an example
    conditional: bool = False  # whether the model is told the class: log p(x | y)

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The bound in nats an example. It rises with `samples`: only bounds of as many samples can be compared."""
        _, weights_key = jax.random.split(key)  # the other half is the ELBO's
        mean = split.mean(self._log_prob, trained, weights_key)
        note = f"importance-weighted bound, {self.samples} samples; the spread is over {split.data.examples}"
        unit = f"nats/{one(split)}"
        error = float(mean.standard_error)
        yield Figure("log-likelihood", float(mean.value), unit, split.where, error, note, "maximize")

    def _log_prob(self, model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
        condition = {"label": batch["y"]} if self.conditional else {}
        return model.log_prob(params, stats, batch["x"], key, particles=self.samples, **condition)


@dataclass(frozen=True)
class NegativeLogLikelihood:
    """-log p(x) in nats an example and in bits a dimension (van den Oord et al., PixelRNN, 2016, section 5.1)."""

    bound_samples: int = 0  # importance samples, where the model's `log_prob` is a bound of these; 0: it takes none
    conditional: bool = False  # whether the model is told the class: log p(x | y)
    lower_half: bool = False  # whether the lower half of images, given the upper one, is measured as well
    one_code: bool = False  # whether `log_prob` is the bound by the one code that a deterministic encoder gives
    headline: ClassVar[Headline] = ("nll", "minimize")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """Nats an example and bits a dimension; with `lower_half`, first the nats of that half."""
        unit = f"nats/{one(split)}"
        if self.lower_half:
            lower = split.mean(self._of_lower_half, trained, key)
            yield _negative("NLL, lower half", lower, 1.0, unit, split, "given the upper half, exact")
        mean = split.mean(self._log_prob, trained, key)
        note = self._note()
        yield _negative("NLL", mean, 1.0, unit, split, note)
        yield _negative("bits/dim", mean, 1 / metrics.bits_per_dim(1.0, split.dataset.shape), "bits", split, note)

    def _note(self) -> str:
        if self.one_code:
            return "bound by the one code of each example"
        return f"importance-weighted bound, {self.bound_samples} samples" if self.bound_samples else "exact"

    def _condition(self, batch: Any) -> dict[str, Any]:
        how: dict[str, Any] = {"particles": self.bound_samples} if self.bound_samples else {}
        return how | ({"label": batch["y"]} if self.conditional else {})

    def _log_prob(self, model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
        return model.log_prob(params, stats, batch["x"], key, **self._condition(batch))

    def _of_lower_half(self, model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
        mask = ~upper_half(batch["x"].shape[1:])
        return model.log_prob(params, stats, batch["x"], key, mask=mask, **self._condition(batch))


def upper_half(shape: tuple[int, ...]) -> np.ndarray:
    """A mask bool [H, W] that is true in the upper half of images of the shape (H, W, ...)."""
    height, width = shape[:2]
    return np.arange(height)[:, None] < np.full(width, height // 2)


def one(split: Split) -> str:
    """The word for one example of the split: "image" where tables say "images"."""
    return split.data.examples.removesuffix("s")


def _negative(name: str, mean: Mean, divisor: Any, unit: str, split: Split, note: str) -> Figure:
    error = float(mean.standard_error / divisor)
    return Figure(name, -float(mean.value / divisor), unit, split.where, error, note, "minimize")

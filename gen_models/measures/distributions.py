"""The four distributions of which likelihoods are made: samples beside densities, entropies counted and exact.

A normal one N(1, 2), a Bernoulli, a categorical and a multinomial one of `gen_models/distributions.py`. Entropies are
counted as -mean log p(x) over samples x of p, in nats; that of a density may be negative.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gen_models import distributions, plots
from gen_models.core import Key
from gen_models.measures.base import Split, Trained, mean_of
from gen_models.measures.figure import Figure

MEAN, DEVIATION = 1.0, 2.0
P = 0.3  # of the Bernoulli distribution
CLASSES = (0.1, 0.25, 0.4, 0.2, 0.05)
TRIALS, COUNTED = 10, (0.2, 0.3, 0.5)  # of the multinomial distribution


NAMES = ("normal", "Bernoulli", "categorical", "multinomial")


class Sampled(NamedTuple):
    """One distribution: its samples, their log-probabilities, and its entropy in closed form."""

    samples: np.ndarray  # [N], of the multinomial one [N, 3]
    log_p: np.ndarray  # [N]
    entropy: float  # nats


@dataclass(frozen=True)
class FourDistributions:
    """Samples of four distributions beside their densities, and entropies counted beside the exact ones."""

    samples: int = 10_000
    reads_parameters: ClassVar[bool] = False

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """Of each distribution the exact entropy, and that counted over samples."""
        for name, found in self.drawn(key).items():
            counted = mean_of(-found.log_p)
            where = f"{self.samples:,} samples"
            note = f"-mean log p(x); exact: {found.entropy:.4f}"
            spread = float(counted.standard_error)
            yield Figure(f"entropy, {name}", float(counted.value), "nats", where, spread, note)

    def drawn(self, key: Key) -> dict[str, Sampled]:
        """Name -> samples of each distribution."""
        found = _drawn(
            key, (MEAN, np.log(DEVIATION), np.log(P / (1 - P)), np.log(CLASSES), np.log(COUNTED)), self.samples
        )
        return {
            name: Sampled(np.asarray(samples), np.asarray(log_p, np.float64), float(entropy[0]))
            for name, (samples, log_p, entropy) in zip(NAMES, found, strict=True)
        }

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `distributions.png`: shares of samples as bars, densities and probabilities as lines and dots."""
        drawn = self.drawn(key)
        with plots.drawing(folder / "distributions.png", figsize=(13, 2.9), layout="constrained") as canvas:
            axes = canvas.subplots(1, 5, width_ratios=(1.3, 0.7, 1, 1, 1))
            for axis, name in zip(axes, (*NAMES, "multinomial"), strict=True):
                found = drawn[name]
                title = f"{name}: {-found.log_p.mean():.3f} nats\nexact: {found.entropy:.3f}"
                axis.set_title(title, fontsize=9)
            x = drawn["normal"].samples
            grid = np.linspace(MEAN - 4 * DEVIATION, MEAN + 4 * DEVIATION, 201)
            axes[0].hist(x, bins=60, range=(grid[0], grid[-1]), density=True, color="lightgrey", label="samples")
            log_p = distributions.normal_log_prob(jnp.asarray(grid), MEAN, float(np.log(DEVIATION)))
            axes[0].plot(grid, np.exp(log_p), label="density")
            axes[0].legend(frameon=False, fontsize=8)
            axes[0].set(xlabel="x", ylabel="density")
            for axis, name, p in ((axes[1], "Bernoulli", (1 - P, P)), (axes[2], "categorical", CLASSES)):
                shares = np.bincount(drawn[name].samples.astype(int), minlength=len(p)) / self.samples
                axis.bar(range(len(p)), shares, color="lightgrey", label="samples")
                axis.plot(range(len(p)), p, "o", markersize=4, label="probability")
                axis.set(xticks=range(len(p)), xlabel="x", ylim=(0, 1.4 * max(p)))  # room for the legend
                axis.legend(frameon=False, fontsize=8)
            self._counts(axes[3], axes[4], drawn["multinomial"].samples)

    def _counts(self, left: Any, right: Any, samples: np.ndarray) -> None:
        """Shares of samples with each pair of counts, and their probabilities; the third count is the rest."""
        shares = np.zeros((TRIALS + 1, TRIALS + 1))
        np.add.at(shares, tuple(samples[:, :2].astype(int).T), 1 / self.samples)
        pairs = np.argwhere(np.add.outer(range(TRIALS + 1), range(TRIALS + 1)) <= TRIALS)
        counts = jnp.asarray(np.concatenate([pairs, TRIALS - pairs.sum(1, keepdims=True)], 1), jnp.float32)
        logits = jnp.tile(jnp.log(jnp.array(COUNTED)), (len(counts), 1))
        exact = np.full_like(shares, np.nan)
        exact[tuple(pairs.T)] = np.exp(distributions.multinomial_log_prob(counts, logits))
        shares[np.isnan(exact)] = np.nan
        for axis, values, what in ((left, shares, "samples"), (right, exact, "probability")):
            axis.imshow(values.T, origin="lower", cmap="viridis", vmin=0, vmax=np.nanmax(exact))
            axis.set(xlabel=f"first count of {TRIALS}: {what}", ylabel="second count")


@partial(jax.jit, static_argnums=2)
def _drawn(key: Key, parameters: Any, n: int) -> list[tuple[Any, Any, Any]]:
    """Of each distribution n samples, their log-probabilities, and the entropy."""
    keys, of = jax.random.split(key, 4), distributions
    mu, log_sigma, logit, logits, counted = (
        jnp.broadcast_to(jnp.asarray(each, jnp.float32), (n, *jnp.shape(each))) for each in parameters
    )
    x, yes = of.normal_sample(keys[0], mu, log_sigma), of.bernoulli_sample(keys[1], logit)
    k, counts = of.categorical_sample(keys[2], logits), of.multinomial_sample(keys[3], counted, TRIALS)
    return [
        (x, of.normal_log_prob(x, mu, log_sigma), of.normal_entropy(log_sigma[:1])),
        (yes, of.bernoulli_log_prob(yes, logit), of.bernoulli_entropy(logit[:1])),
        (k, of.categorical_log_prob(k, logits), of.categorical_entropy(logits[:1])),
        (counts, of.multinomial_log_prob(counts, counted), of.multinomial_entropy(counted[:1], TRIALS)),
    ]

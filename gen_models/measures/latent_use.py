"""How much of a latent variable a model uses: what shows that a posterior has collapsed onto its prior."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.measures.base import Split, Trained, mean_of
from gen_models.measures.figure import Figure
from gen_models.measures.likelihood import one


@dataclass(frozen=True)
class LatentUse:
    """Active units, the mutual information of x and z under q, and each dimension's KL from N(0, 1).

    Active units: dimensions with Var_x E_q[z|x] above a threshold (Burda et al., 2016, section 5.2). Mutual
    information: I(x; z) = E_x KL(q(z|x) || p(z)) - KL(q(z) || p(z)) = E log q(z|x) - log q(z) with q(z) the mean of
    q(z|x) over the split (Hoffman & Johnson, ELBO surgery, 2016), by draws of z; it is at most log N nats for N
    examples.
    """

    threshold: float = 0.01  # variance above which a dimension is active
    draws: int = 1000  # of z, at most one an example, for the mutual information
    conditional: bool = False  # whether the model is told the class

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The number of active units, and the mutual information in nats with its standard error over draws."""
        mu, log_sigma = self._codes(trained, split, key)
        active = int((mu.var(0) > self.threshold).sum())
        note = f"of {mu.shape[1]}; variance of the mean above {self.threshold:g}"
        yield Figure("active units", float(active), "dimensions", split.where, note=note, better="maximize")
        chosen = np.linspace(0, len(mu) - 1, min(self.draws, len(mu))).astype(int)
        noise = np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (len(chosen), mu.shape[1])), np.float64)
        z = mu[chosen] + np.exp(log_sigma[chosen]) * noise
        own = _log_normal(noise, log_sigma[chosen])
        mean = mean_of(own - _log_aggregate(z, mu, log_sigma))
        note = f"of x and z under q, {len(chosen):,} draws; at most {np.log(len(mu)):.2f}"
        error = float(mean.standard_error)
        unit = f"nats/{one(split)}"
        yield Figure("mutual information", float(mean.value), unit, split.where, error, note, "maximize")

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `kl_by_dimension.png`: the mean KL of each dimension, the largest first."""
        mu, log_sigma = self._codes(trained, split, key)
        kl = (0.5 * (np.exp(2 * log_sigma) + mu**2 - 1) - log_sigma).mean(0)
        series = {"KL": np.sort(kl)[::-1]}
        plots.lines(series, folder / "kl_by_dimension.png", x="dimension of z, in order", y="nats, from N(0, 1)")

    def _codes(self, trained: Trained, split: Split, key: Key) -> tuple[np.ndarray, np.ndarray]:
        """mu and log sigma of every example, [N, D] each."""
        both = split.each(_conditional_code if self.conditional else _code, trained, key)
        return both[:, 0], both[:, 1]


def _code(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    return jnp.stack(model.encode(params, stats, batch["x"]), 1)


def _conditional_code(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    return jnp.stack(model.encode(params, stats, batch["x"], label=batch["y"]), 1)


def _log_normal(noise: np.ndarray, log_sigma: np.ndarray) -> np.ndarray:
    """log density of mu + sigma noise under N(mu, sigma), [M]."""
    return (-0.5 * (noise**2 + np.log(2 * np.pi)) - log_sigma).sum(1)


def _log_aggregate(z: np.ndarray, mu: np.ndarray, log_sigma: np.ndarray) -> np.ndarray:
    """log of the mean over n of N(z; mu_n, sigma_n), [M]; 100 draws in memory at once, the squares multiplied out."""
    precision = np.exp(-2 * log_sigma)  # [N, D]
    constant = (mu**2 * precision + 2 * log_sigma + np.log(2 * np.pi)).sum(1)
    found = []
    for start in range(0, len(z), 100):
        part = z[start : start + 100]
        distance = part**2 @ precision.T - 2 * part @ (mu * precision).T
        found.append(np.logaddexp.reduce(-0.5 * (distance + constant), axis=1) - np.log(len(mu)))
    return np.concatenate(found)

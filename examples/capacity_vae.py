"""Does a VAE whose KL must meet a capacity that grows in training find the position and the size of a disc?

Burgess et al., Understanding disentangling in beta-VAE (2018), eq. 8: reconstruction + gamma |KL - C|, C rises evenly.
python capacity_vae.py --steps 3000 && python capacity_vae.py sweep --seeds 3 --grid gamma=10,100
"""

from dataclasses import dataclass, replace
from typing import Annotated

import jax.numpy as jnp
import numpy as np

import gen_models as gm


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """A VAE with a capacity, and its training."""

    latent: int = 6
    """Dimensions of z."""
    gamma: Annotated[float, gm.TRACED] = 30.0
    """Weight of the KL's distance from the capacity."""
    capacity: float = 8.0
    """Nats that the KL is to reach at the end of training."""


def discs(count: int, seed: int) -> dict[str, np.ndarray]:
    """Images of one disc each: {"x": float32 [count, 16, 16, 1]}, of zeros and ones."""
    draw = np.random.default_rng(seed)
    at, radius = draw.uniform(5, 11, (count, 2, 1, 1)), draw.uniform(2, 5, (count, 1, 1))
    row, column = np.mgrid[:16, :16]
    return {"x": ((row - at[:, 0]) ** 2 + (column - at[:, 1]) ** 2 < radius**2)[..., None].astype(np.float32)}


def data(config: Config) -> "gm.Splits":
    """Images of discs, drawn anew for each part."""
    return gm.Splits.of_arrays(discs(8000, 0), discs(1000, 1), discs(1000, 2), name="discs", examples="images")


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """A VAE whose loss has the distance of the KL from the capacity."""
    vae = gm.vae(data.shape, latent=config.latent, hidden=(128,))

    def loss(params, stats, batch, key, *, step, train=True):
        _, (stats, metrics) = vae.loss(params, stats, batch, key, step=step, train=train)
        target = config.capacity * jnp.minimum(1.0, step / config.steps)
        return metrics["reconstruction"] + config.gamma * jnp.abs(metrics["kl"] - target), (stats, metrics)

    return replace(vae, loss=loss)


def measures(config: Config) -> "list[gm.Measure]":
    """The ELBO, and pictures."""
    return [gm.measures.Elbo(), gm.measures.Reconstructions(), gm.measures.LatentWalk(), gm.measures.Samples()]


EXPERIMENT = gm.Experiment(__file__, __doc__, {"base": Config()}, data, model, measures, tiny={"latent": 2})
if __name__ == "__main__":
    gm.launch(EXPERIMENT)

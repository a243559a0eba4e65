"""The two players' losses as functions of the discriminator's logits: what every GAN is trained by, as one object.

The discriminator raises the logits of real examples and lowers those of generated ones, the generator raises the
latter. With sigmoid(logit) = D the discriminator of `minimax` and `non_saturating` is a classifier; those of
`wasserstein`, `hinge` and `least_squares` give numbers that are no logarithms of odds, and are called logits here too.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Logits = Float[Array, "b"]
Loss = Float[Array, ""]


class AdversarialLoss(NamedTuple):
    """The losses of both players. Each is a mean over the logits that it is given, one for an example or a pack."""

    discriminator: Callable[[Logits, Logits], Loss]  # (real, fake) -> what the discriminator lowers
    generator: Callable[[Logits], Loss]  # fake -> what the generator lowers
    # (real, fake) -> what is logged beside the mean logits: means of D, or the distance that is estimated
    metrics: Callable[[Logits, Logits], dict[str, Array]] = lambda real_logits, fake_logits: {}


def minimax(smoothing: float | Array = 0.0) -> AdversarialLoss:
    """The zero-sum game of Goodfellow et al., Generative Adversarial Nets (2014), eq. 1, in nats.

    The discriminator lowers -V = -E log D(x) - E log(1 - D(G(z))), the generator lowers E log(1 - D(G(z))). The best
    discriminator is p / (p + q) where data have the density p and the generator q, and V is then
    -log 4 + 2 JSD(p, q) (theorem 1).

    Args:
      smoothing: s of one-sided label smoothing (Salimans et al., Improved Techniques for Training GANs, 2016, section
        3.4): the target of real examples is 1 - s in place of 1, that of generated ones stays 0. The best discriminator
        becomes (1 - s) p / (p + q). May be traced.

    Raises:
      ValueError: `smoothing` is not in [0, 1).
    """
    return AdversarialLoss(
        _cross_entropy(smoothing), lambda fake_logits: -jax.nn.softplus(fake_logits).mean(), _probabilities
    )


def non_saturating(smoothing: float | Array = 0.0) -> AdversarialLoss:
    """The discriminator of `minimax` against a generator that lowers -E log D(G(z)): Goodfellow et al., section 3.

    Its gradient at a logit is D - 1, which does not vanish where the discriminator is sure of a fake, as that of
    `minimax`, -D, does.

    Args:
      smoothing: as of `minimax`.

    Raises:
      ValueError: `smoothing` is not in [0, 1).
    """
    return AdversarialLoss(
        _cross_entropy(smoothing), lambda fake_logits: jax.nn.softplus(-fake_logits).mean(), _probabilities
    )


def wasserstein() -> AdversarialLoss:
    """The dual form of the earth mover's distance: Arjovsky et al., Wasserstein GAN (2017), eq. 2 and 3.

    The critic f lowers E f(G(z)) - E f(x), the generator lowers -E f(G(z)). E f(x) - E f(G(z)) estimates the distance
    as far as f is 1-Lipschitz, which a penalty (`nn/gradient_penalties.py`), clipped weights or spectral normalisation
    must see to. A bias of the last layer has no gradient, as it moves both means alike.
    """
    return AdversarialLoss(
        lambda real_logits, fake_logits: fake_logits.mean() - real_logits.mean(),
        lambda fake_logits: -fake_logits.mean(),
        lambda real_logits, fake_logits: {"wasserstein": real_logits.mean() - fake_logits.mean()},
    )


def hinge() -> AdversarialLoss:
    """A margin of 1 on either side: Lim & Ye, Geometric GAN (2017), section 3; Miyato et al. (2018), eq. 16 and 17.

    The discriminator lowers E max(0, 1 - f(x)) + E max(0, 1 + f(G(z))), the generator lowers -E f(G(z)).
    """
    return AdversarialLoss(
        lambda real_logits, fake_logits: jax.nn.relu(1 - real_logits).mean() + jax.nn.relu(1 + fake_logits).mean(),
        lambda fake_logits: -fake_logits.mean(),
    )


def least_squares(fake: float = 0.0, real: float = 1.0, target: float = 1.0) -> AdversarialLoss:
    """Mao et al., Least Squares Generative Adversarial Networks (2017), eq. 2.

    The discriminator lowers E (f(x) - b)^2 / 2 + E (f(G(z)) - a)^2 / 2, the generator lowers E (f(G(z)) - c)^2 / 2. The
    best discriminator is (b p + a q) / (p + q); where b - c = 1 and b - a = 2, the generator then lowers Pearson's
    chi-squared divergence of p + q and 2 q (section 3.2).

    Args:
      fake: a. The default numbers are the paper's eq. 9; -1, 1 and 0 its eq. 8.
      real: b.
      target: c.

    Raises:
      ValueError: a number is infinite or NaN, or a and b are the same.
    """
    numbers = {"fake": fake, "real": real, "target": target}
    wrong = {name: value for name, value in numbers.items() if _is_known(value) and not math.isfinite(value)}
    if wrong:
        raise ValueError(f"targets must be finite, got {wrong}")
    if _is_known(fake) and _is_known(real) and fake == real:
        raise ValueError(f"real and fake examples need different targets, got fake={fake} and real={real}")
    return AdversarialLoss(
        lambda real_logits, fake_logits: (
            (jnp.square(real_logits - real).mean() + jnp.square(fake_logits - fake).mean()) / 2
        ),
        lambda fake_logits: jnp.square(fake_logits - target).mean() / 2,
    )


def feature_matching(real_features: Float[Array, "b f"], fake_features: Float[Array, "n f"]) -> Float[Array, ""]:
    """The generator's objective of Salimans et al. (2016), section 3.1: |E f(x) - E f(G(z))|^2, f inner features of D.

    It takes the place of a loss of logits, and is 0 for any generator whose features have the data's means. The means
    are of the features that it is given: of the whole batch under `jit`, of each device's own under `pmap` and
    `shard_map`, where the mean over the devices of such squares is larger than the square of the batch's.
    """
    return jnp.square(real_features.mean(0) - fake_features.mean(0)).sum()


def _cross_entropy(smoothing: float | Array) -> Callable[[Logits, Logits], Loss]:
    """-E[(1 - s) log D(x) + s log(1 - D(x))] - E log(1 - D(G(z)))."""
    if _is_known(smoothing) and not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must be in [0, 1), got {smoothing}")
    smoothed = not (_is_known(smoothing) and smoothing == 0)

    def loss(real_logits, fake_logits):
        value = jax.nn.softplus(-real_logits).mean() + jax.nn.softplus(fake_logits).mean()
        # softplus(l) - softplus(-l) = l, so that the part s of the real examples' target costs s l more.
        return value + smoothing * real_logits.mean() if smoothed else value

    return loss


def _probabilities(real_logits: Float[Array, "r"], fake_logits: Float[Array, "f"]) -> dict[str, Array]:
    return {
        "real_probability": jax.nn.sigmoid(real_logits).mean(),
        "fake_probability": jax.nn.sigmoid(fake_logits).mean(),
    }


def _is_known(value: Any) -> bool:
    return isinstance(value, int | float)

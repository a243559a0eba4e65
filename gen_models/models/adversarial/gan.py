"""Generative adversarial network of perceptrons, with a packed discriminator.

Goodfellow et al., Generative Adversarial Nets (2014): the value is eq. 1, the generator's two objectives are section 3.
With V = E log D(x) + E log(1 - D(G(z))), the best discriminator's V is -log 4 + 2 JSD(data, generator) (theorem 1).
Lin et al., PacGAN (2018): the discriminator judges `packing` samples at once, all from the data or all generated, which
punishes a generator that misses modes. Maxout: Goodfellow et al. (2013). The defaults are PacGAN's networks for its
grid of 25 Gaussians, as in the authors' code: batch norm (epsilon 1e-4, running averages with weight 0.95 of the past)
before each ReLU of the generator, without biases but at its output; no batch norm in the discriminator, which has
biases and sees packing at its input alone; weights N(0, 0.02^2).

The authors' grid: batches of 100 packs (so 100 * packing examples, their members drawn with replacement), Adam with
rate 1e-4 and beta1 0.8 for both players, samples drawn with the running averages. How we differ: they update both
players at once from the same fakes, here the generator sees the discriminator updated, and fresh fakes; they run the
generator once for each member of the packs, so that batch norm sees 100 examples at a time, here it sees all of them.
"""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.inputs import check_count, images, latents
from gen_models.models.sizes import check_each, check_sizes
from gen_models.nn.batch_norm import of_one_batch
from gen_models.nn.maxout import Maxout

OBJECTIVES = ("non_saturating", "minimax")


def discriminator_loss(real_logits: Float[Array, "b"], fake_logits: Float[Array, "b"]) -> Float[Array, ""]:
    """-V in nats a pack: -mean log D(x) - mean log(1 - D(G(z))), where D is the sigmoid of the logit."""
    return jax.nn.softplus(-real_logits).mean() + jax.nn.softplus(fake_logits).mean()


def generator_loss(fake_logits: Float[Array, "b"], objective: str = "non_saturating") -> Float[Array, ""]:
    """The generator's part, in nats a pack: mean log(1 - D(G(z))) ("minimax") or -mean log D(G(z)) ("non_saturating").

    Raises:
      ValueError: the objective is neither.
    """
    if objective == "minimax":
        return -jax.nn.softplus(fake_logits).mean()
    if objective == "non_saturating":
        return jax.nn.softplus(-fake_logits).mean()
    raise unknown("objective", objective, OBJECTIVES)


def pack(x: Float[Array, "b *shape"], packing: int) -> Float[Array, "packs d"]:
    """Flattened examples, `packing` neighbours of the batch side by side: [B, *shape] -> [B / packing, packing * d].

    Raises:
      ValueError: `packing` does not divide the batch.
    """
    if x.shape[0] % packing:
        raise ValueError(f"packing={packing} does not divide the batch of {x.shape[0]} examples")
    return x.reshape(x.shape[0] // packing, -1)


def gan(
    shape: Sequence[int] = (2,),
    *,
    latent: int = 2,
    generator_hidden: Sequence[int] = (400, 400, 400, 400),
    discriminator_hidden: Sequence[int] = (200, 200, 200),
    pieces: int = 5,
    packing: int = 1,
    objective: Literal["non_saturating", "minimax"] = "non_saturating",
    weight_scale: float = 0.02,
    momentum: float = 0.95,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A GAN for real-valued arrays `batch["x"]` of any shape; its players are "discriminator", then "generator".

    `sample` and `decode` use batch norm's running averages, so that an example does not depend on its neighbours; the
    losses use the batch's statistics where `train`. `apply(params, stats, x)` gives the discriminator's logit of each
    pack, [B / packing]. Metrics of the discriminator: the mean of D over real and over fake packs.

    Args:
      shape: of one example.
      latent: dimensions of the generator's noise z, a standard Gaussian.
      generator_hidden: widths of the generator's ReLU layers.
      discriminator_hidden: widths of the discriminator's maxout layers.
      pieces: affine maps of one maxout unit.
      packing: examples that the discriminator judges at once; it must divide the batch. 1 is the GAN of 2014.
      objective: the generator's, see `generator_loss`.
      weight_scale: standard deviation of the initial weights.
      momentum: weight of the past in batch norm's running averages.
      axis_name: mapped axis over which batch norm's statistics are averaged as well (`pmap`, `shard_map`).
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.

    Raises:
      ValueError: a size is not positive, the objective is unknown, or `momentum` is outside [0, 1).
    """
    check_each(shape=shape, generator_hidden=generator_hidden, discriminator_hidden=discriminator_hidden)
    check_sizes(latent=latent, pieces=pieces, packing=packing)
    shape = tuple(shape)
    if not shape:
        raise ValueError("an example needs an axis or more, got shape=(): (1,) is a number")
    if objective not in OBJECTIVES:
        raise unknown("objective", objective, OBJECTIVES)
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    if isinstance(weight_scale, int | float) and weight_scale <= 0:
        raise ValueError(f"weight_scale must be positive, got {weight_scale}")
    generator = _Generator(
        hidden=tuple(generator_hidden),
        shape=shape,
        weight_scale=weight_scale,
        momentum=momentum,
        axis_name=axis_name,
        dtype=dtype,
    )
    discriminator = _Discriminator(
        hidden=tuple(discriminator_hidden), pieces=pieces, weight_scale=weight_scale, dtype=dtype
    )

    def init(key, batch):
        pack(images(batch, shape), packing)  # a batch that does not fit is refused here, before anything is compiled
        generator_key, discriminator_key = jax.random.split(key)
        variables = generator.init(generator_key, jnp.zeros((1, latent), jnp.float32), train=False)
        packs = jnp.zeros((1, packing * math.prod(shape)), jnp.float32)
        params = {
            "discriminator": discriminator.init(discriminator_key, packs)["params"],
            "generator": variables["params"],
        }
        return params, {"generator": variables.get("batch_stats", {})}

    def logits(params, x):
        return discriminator.apply({"params": params["discriminator"]}, pack(x, packing))

    def apply(params, stats, x):
        """The discriminator's logit of each pack of neighbours in x [B, *shape]: [B / packing]."""
        del stats  # the discriminator has none
        return logits(params, images({"x": x}, shape))

    def decode(params, stats, z):
        """G(z), [B, *shape], of z [B, latent] with the running averages of batch norm."""
        latents(z, latent)
        return generator.apply({"params": params["generator"], "batch_stats": stats["generator"]}, z, train=False)

    def sample(params, stats, key, n: int):
        """G(z), [n, *shape], for n draws of z; each is independent of the others."""
        check_count(n)
        return decode(params, stats, jax.random.normal(key, (n, latent), jnp.float32))

    def fakes(params, stats, key, n, train):
        """n examples, with the batch's statistics where `train`, and the statistics that follow."""
        z = jax.random.normal(key, (n, latent), jnp.float32)
        if not train:
            return decode(params, stats, z), stats
        variables = {"params": params["generator"], "batch_stats": stats["generator"]}
        x, updated = generator.apply(variables, z, train=True, mutable=["batch_stats"])
        return x, {"generator": updated.get("batch_stats", stats["generator"])}

    def batch_stats(params, stats, batch, key):
        """The generator's means and variances over as many fakes as the batch has examples."""
        n = images(batch, shape).shape[0]
        return of_one_batch(lambda stats: fakes(params, stats, key, n, True)[1], stats)

    def loss_of_discriminator(params, stats, batch, key, *, step, train=True):
        """-V; leaves the generator's running averages alone, so that they move once a step."""
        x = images(batch, shape)
        fake, _ = fakes(params, stats, key, x.shape[0], train)
        both = jnp.concatenate([x, jax.lax.stop_gradient(fake)])
        real_logits, fake_logits = jnp.split(logits(params, both), 2)
        metrics = {
            "real_probability": jax.nn.sigmoid(real_logits).mean(),
            "fake_probability": jax.nn.sigmoid(fake_logits).mean(),
        }
        return discriminator_loss(real_logits, fake_logits), (stats, metrics)

    def loss_of_generator(params, stats, batch, key, *, step, train=True):
        """Minus log D of fakes, or log(1 - D), over as many fakes as the batch has examples."""
        fake, stats = fakes(params, stats, key, images(batch, shape).shape[0], train)
        judge = {"discriminator": jax.lax.stop_gradient(params["discriminator"])}
        return generator_loss(logits(judge, fake), objective), (stats, {})

    loss = {"discriminator": loss_of_discriminator, "generator": loss_of_generator}
    return Model(init, loss, apply=apply, sample=sample, decode=decode, batch_stats=batch_stats)


class _Generator(nn.Module, kw_only=True):
    hidden: tuple[int, ...]
    shape: tuple[int, ...]
    weight_scale: float
    momentum: float
    axis_name: str | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, z, train):  # [B, latent] -> [B, *shape]
        kernel_init = nn.initializers.normal(self.weight_scale)
        h = z
        for width in self.hidden:
            # Batch norm would remove a bias.
            h = nn.Dense(width, use_bias=False, kernel_init=kernel_init, dtype=self.dtype)(h)
            h = nn.BatchNorm(
                use_running_average=not train,
                momentum=self.momentum,
                epsilon=1e-4,
                axis_name=self.axis_name,
                dtype=self.dtype,
            )(h)
            h = nn.relu(h)
        x = nn.Dense(math.prod(self.shape), kernel_init=kernel_init, dtype=self.dtype)(h)
        return x.astype(jnp.float32).reshape(-1, *self.shape)


class _Discriminator(nn.Module, kw_only=True):
    hidden: tuple[int, ...]
    pieces: int
    weight_scale: float
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x):  # packs [P, packing * d] -> logits [P]
        kernel_init = nn.initializers.normal(self.weight_scale)
        for width in self.hidden:
            x = Maxout(width=width, pieces=self.pieces, kernel_init=kernel_init, dtype=self.dtype)(x)
        return nn.Dense(1, kernel_init=kernel_init, dtype=self.dtype)(x)[:, 0].astype(jnp.float32)

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

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.adversarial.adversarial import adversarial_model
from gen_models.models.sizes import check_each, check_sizes
from gen_models.nn.adversarial_losses import AdversarialLoss, minimax, non_saturating
from gen_models.nn.autoencoding import with_label
from gen_models.nn.gradient_penalties import GradientPenalty
from gen_models.nn.judgements import Condition, check_condition, judged
from gen_models.nn.maxout import Maxout

OBJECTIVES = {"non_saturating": non_saturating, "minimax": minimax}


def gan(
    shape: Sequence[int] = (2,),
    *,
    latent: int = 2,
    generator_hidden: Sequence[int] = (400, 400, 400, 400),
    discriminator_hidden: Sequence[int] = (200, 200, 200),
    pieces: int = 5,
    packing: int = 1,
    objective: Literal["non_saturating", "minimax"] = "non_saturating",
    loss: AdversarialLoss | None = None,
    penalty: GradientPenalty | None = None,
    noise: Literal["normal", "uniform"] = "normal",
    classes: int | None = None,
    condition: Condition = "concatenate",
    unrolled: int = 0,
    unrolled_rate: float = 1e-3,
    weight_scale: float = 0.02,
    momentum: float = 0.95,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A GAN for real-valued arrays `batch["x"]` of any shape; its players are "discriminator", then "generator".

    Its operations and metrics are those of `adversarial_model`. `sample` and `decode` use batch norm's running
    averages, so that an example does not depend on its neighbours; the losses use the batch's where `train`.
    `apply(params, stats, x)` gives the discriminator's logit of each pack, [B / packing].

    Args:
      shape: of one example.
      latent: dimensions of the generator's noise z.
      generator_hidden: widths of the generator's ReLU layers.
      discriminator_hidden: widths of the discriminator's maxout layers.
      pieces: affine maps of one maxout unit.
      packing: examples that the discriminator judges at once; it must divide the batch. 1 is the GAN of 2014.
      objective: the generator's, as `nn.adversarial_losses` has it by this name.
      loss: of both players, in place of the one that `objective` names.
      penalty: on the discriminator's gradient (`nn.gradient_penalties`), added to its loss.
      noise: "normal": a standard Gaussian; "uniform": each number from -1 to 1.
      classes: of labels, which batches have as "y"; the generator is given the class beside z. None: none are read.
      condition: how the discriminator is told the class, or asked for it: see `nn/judgements.py`.
      unrolled: steps by which the discriminator is unrolled in the generator's loss: see `adversarial_model`.
      unrolled_rate: their learning rate.
      weight_scale: standard deviation of the initial weights.
      momentum: weight of the past in batch norm's running averages.
      axis_name: mapped axis over which batch norm's statistics are averaged as well (`pmap`, `shard_map`).
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.

    Raises:
      ValueError: a size is not positive, the objective, noise or condition is unknown, a number is negative, labels
        come together with packs, `weight_scale` is not positive or not finite, or `momentum` is outside [0, 1).
    """
    check_each(shape=shape, generator_hidden=generator_hidden, discriminator_hidden=discriminator_hidden)
    check_sizes(pieces=pieces)
    check_condition(condition)
    if objective not in OBJECTIVES:
        raise unknown("objective", objective, OBJECTIVES)
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    if isinstance(weight_scale, int | float) and not 0 < weight_scale < math.inf:
        raise ValueError(f"weight_scale must be positive and finite, got {weight_scale}")
    generator = _Generator(
        hidden=tuple(generator_hidden),
        shape=tuple(shape),
        weight_scale=weight_scale,
        momentum=momentum,
        axis_name=axis_name,
        dtype=dtype,
    )
    discriminator = _Discriminator(
        hidden=tuple(discriminator_hidden),
        pieces=pieces,
        condition=condition,
        classes=classes,
        weight_scale=weight_scale,
        dtype=dtype,
    )
    return adversarial_model(
        generator,
        discriminator,
        shape=shape,
        latent=latent,
        loss=loss or OBJECTIVES[objective](),
        penalty=penalty,
        noise=noise,
        packing=packing,
        apart=False,
        classes=classes,
        unrolled=unrolled,
        unrolled_rate=unrolled_rate,
    )


class _Generator(nn.Module, kw_only=True):
    hidden: tuple[int, ...]
    shape: tuple[int, ...]
    weight_scale: float
    momentum: float
    axis_name: str | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, z, label=None, train=False):  # [B, latent] -> [B, *shape]
        kernel_init = nn.initializers.normal(self.weight_scale)
        h = with_label(z, label)
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
    condition: Condition
    classes: int | None
    weight_scale: float
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, label=None, train=False):  # packs [P, packing, *shape] -> Judgement of each
        kernel_init = nn.initializers.normal(self.weight_scale)
        h = x.reshape(x.shape[0], -1)  # the members of a pack side by side
        if self.condition == "concatenate":
            h = with_label(h, label)
        for width in self.hidden:
            h = Maxout(width=width, pieces=self.pieces, kernel_init=kernel_init, dtype=self.dtype)(h)
        return judged(
            h,
            label,
            train,
            condition=self.condition,
            classes=self.classes,
            kernel_init=kernel_init,
            dtype=self.dtype,
        )

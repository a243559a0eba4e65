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

Other networks of perceptrons are options: a function in place of maxout, a generator without batch norm, normalised
weights, and features of the whole batch before the discriminator's last layer (`nn/minibatch.py`).
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, Unpack

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.adversarial.adversarial import Game, adversarial_model, check_discrimination, check_own_logits
from gen_models.models.sizes import check_each, check_sizes
from gen_models.nn.adversarial_losses import minimax, non_saturating
from gen_models.nn.autoencoding import Activation, with_label
from gen_models.nn.judgements import Condition, check_condition, judged
from gen_models.nn.maxout import Maxout
from gen_models.nn.minibatch import MinibatchDiscrimination, minibatch_deviation
from gen_models.nn.normalised_weights import Dense, Weights, check_weights

OBJECTIVES = {"non_saturating": non_saturating, "minimax": minimax}


def gan(
    shape: Sequence[int] = (2,),
    *,
    latent: int = 2,
    generator_hidden: Sequence[int] = (400, 400, 400, 400),
    discriminator_hidden: Sequence[int] = (200, 200, 200),
    pieces: int = 5,
    discriminator_activation: Activation | None = None,
    generator_norm: bool = True,
    weights: Weights = "plain",
    discrimination: tuple[int, int] | None = None,
    deviation: bool = False,
    objective: Literal["non_saturating", "minimax"] = "non_saturating",
    classes: int | None = None,
    condition: Condition = "concatenate",
    weight_scale: float | None = 0.02,
    momentum: float = 0.95,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
    **game: Unpack[Game],
) -> Model:
    """A GAN for real-valued arrays `batch["x"]` of any shape; its players are "discriminator", then "generator".

    Its operations and metrics are those of `adversarial_model`. `sample` and `decode` use batch norm's running
    averages, so that an example does not depend on its neighbours; the losses use the batch's where `train`.
    `apply(params, stats, x)` gives the discriminator's logit of each pack, [B / packing].

    Args:
      shape: of one example.
      latent: dimensions of the generator's noise z.
      generator_hidden: widths of the generator's ReLU layers.
      discriminator_hidden: widths of the discriminator's hidden layers.
      pieces: affine maps of one maxout unit.
      discriminator_activation: after each of its hidden layers, which are then dense; None: they are maxout units.
      generator_norm: whether the generator has batch norm; without it, all of its layers have biases.
      weights: how the discriminator's are normalised: see `nn/normalised_weights.py`.
      discrimination: (kernels, size) of minibatch discrimination before the last layer: see `nn/minibatch.py`.
      deviation: the batch's standard deviation as one more feature of the last hidden layer.
      objective: the generator's, as `nn.adversarial_losses` has it by this name.
      classes: of labels, which batches have as "y"; the generator is given the class beside z. None: none are read.
      condition: how the discriminator is told the class, or asked for it: see `nn/judgements.py`.
      weight_scale: standard deviation of the initial weights; None: they are uniform, by Glorot & Bengio (2010).
      momentum: weight of the past in batch norm's running averages.
      axis_name: mapped axis over which batch norm's statistics are averaged as well (`pmap`, `shard_map`).
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.
      **game: `loss` (of both players, in place of the one that `objective` names), `packing` (1: the GAN of 2014),
        `noise` ("normal") and other options of `adversarial_model`.

    Raises:
      ValueError: a size is not positive, a name is unknown, a number is negative, labels come together with packs,
        `weight_scale` is not positive or not finite, `momentum` is outside [0, 1), a penalty comes together with
        features of the batch, or as `adversarial_model`.
    """
    check_each(shape=shape, generator_hidden=generator_hidden, discriminator_hidden=discriminator_hidden)
    check_sizes(pieces=pieces)
    check_condition(condition)
    check_weights(weights)
    check_discrimination(discrimination)
    if game.get("penalty") is not None:
        check_own_logits(deviation=deviation, discrimination=discrimination)
    if objective not in OBJECTIVES:
        raise unknown("objective", objective, OBJECTIVES)
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    if isinstance(weight_scale, int | float) and not 0 < weight_scale < math.inf:
        raise ValueError(f"weight_scale must be positive and finite, got {weight_scale}")
    kernel_init = nn.initializers.glorot_uniform() if weight_scale is None else nn.initializers.normal(weight_scale)
    generator = _Generator(
        hidden=tuple(generator_hidden),
        shape=tuple(shape),
        norm=generator_norm,
        kernel_init=kernel_init,
        momentum=momentum,
        axis_name=axis_name,
        dtype=dtype,
    )
    discriminator = _Discriminator(
        hidden=tuple(discriminator_hidden),
        pieces=pieces,
        activation=discriminator_activation,
        weights=weights,
        discrimination=discrimination,
        deviation=deviation,
        condition=condition,
        classes=classes,
        kernel_init=kernel_init,
        dtype=dtype,
    )
    played: dict[str, Any] = {"loss": OBJECTIVES[objective](), **game}
    return adversarial_model(
        generator,
        discriminator,
        shape=shape,
        latent=latent,
        apart=discrimination is not None or deviation,
        classes=classes,
        **played,
    )


class _Generator(nn.Module, kw_only=True):
    hidden: tuple[int, ...]
    shape: tuple[int, ...]
    norm: bool
    kernel_init: Callable
    momentum: float
    axis_name: str | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, z, label=None, train=False):  # [B, latent] -> [B, *shape]
        dense = partial(nn.Dense, kernel_init=self.kernel_init, dtype=self.dtype)
        h = with_label(z, label)
        for width in self.hidden:
            h = dense(width, use_bias=not self.norm)(h)  # batch norm would remove a bias
            if self.norm:
                h = nn.BatchNorm(
                    use_running_average=not train,
                    momentum=self.momentum,
                    epsilon=1e-4,
                    axis_name=self.axis_name,
                    dtype=self.dtype,
                )(h)
            h = nn.relu(h)
        x = dense(math.prod(self.shape))(h)
        return x.astype(jnp.float32).reshape(-1, *self.shape)


class _Discriminator(nn.Module, kw_only=True):
    hidden: tuple[int, ...]
    pieces: int
    activation: Activation | None
    weights: Weights
    discrimination: tuple[int, int] | None
    deviation: bool
    condition: Condition
    classes: int | None
    kernel_init: Callable
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, label=None, train=False):  # packs [P, packing, *shape] -> Judgement of each
        common: dict[str, Any] = {"weights": self.weights, "kernel_init": self.kernel_init, "dtype": self.dtype}
        h = x.reshape(x.shape[0], -1)  # the members of a pack side by side
        if self.condition == "concatenate":
            h = with_label(h, label)
        for width in self.hidden:
            if self.activation is None:
                h = Maxout(width=width, pieces=self.pieces, **common)(h, train)
            else:
                h = self.activation(Dense(width, **common)(h, train))
        if self.deviation:
            h = minibatch_deviation(h)
        if self.discrimination is not None:
            h = MinibatchDiscrimination(*self.discrimination, **common)(h, train)
        return judged(h, label, train, condition=self.condition, classes=self.classes, **common)

"""A generator and a discriminator as the two players of one model: the place where their losses are put together.

Goodfellow et al., Generative Adversarial Nets (2014). What the players want is an `AdversarialLoss` of
`nn/adversarial_losses.py`, to which come, where they are asked for, a penalty of `nn/gradient_penalties.py`, matched
features, guesses of the class and an unrolled discriminator.

Fakes are made anew for each player, and of a model with classes have the labels of the batch's real examples: those
of the data's distribution, where Odena et al. (2017) and Miyato & Koyama (2018) draw classes alike. The discriminator
is updated first; the generator sees it updated.

Statistics: batch norm's running averages of the "generator" and of the "discriminator", and the "singular_vectors" of
spectral normalisation. Each moves with its owner's update alone. In training a discriminator with batch norm uses the
statistics of what it judges, real and generated examples apart (Radford et al., DCGAN, 2016), and its running averages
see one after the other.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict

import numpy as np
from flax import linen as nn
from jaxtyping import Array

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.adversarial.players import Players
from gen_models.models.sizes import check_each, check_numbers, check_sizes
from gen_models.nn.adversarial_losses import AdversarialLoss
from gen_models.nn.gradient_penalties import GradientPenalty
from gen_models.nn.judgements import Judgement

NOISES = ("normal", "uniform")


class Game(TypedDict, total=False):
    """What every GAN of images takes beside its networks' options, as `adversarial_model` says."""

    loss: AdversarialLoss
    penalty: GradientPenalty | None
    noise: Literal["normal", "uniform"]
    packing: int
    matching: bool
    auxiliary: Sequence[float | Array]
    unrolled: int
    unrolled_rate: float | Array


def adversarial_model(
    generator: nn.Module,
    discriminator: nn.Module,
    *,
    shape: Sequence[int],
    latent: int,
    loss: AdversarialLoss,
    penalty: GradientPenalty | None = None,
    noise: Literal["normal", "uniform"] = "normal",
    symmetric: bool = False,
    packing: int = 1,
    apart: bool = True,
    matching: bool = False,
    classes: int | None = None,
    auxiliary: Sequence[float | Array] = (1.0, 1.0),
    unrolled: int = 0,
    unrolled_rate: float | Array = 1e-3,
    code: Callable[[Judgement], Array] | None = None,
) -> Model:
    """A GAN of any two networks; its players are "discriminator", then "generator".

    Beside parameters they may have batch norm's running averages, and the discriminator singular vectors of spectral
    normalisation. They draw no random numbers, as dropout does: the generator's noise is z.

    Its functions:
      apply(params, stats, x, label=None): the discriminator's logits, [B], of packs [B / packing].
      encode(params, stats, x, key=None, label=None): the discriminator's features of x, or what `code` makes of them.
      decode(params, stats, z, label=None): G(z), [B, *shape]; of a model with classes `label` is [B] integers.
      sample(params, stats, key, n, label=None): G(z) for n draws of z; of a model with classes of those of `label`, or,
        without it, of classes that are drawn uniformly, whatever the data's shares of them are.
      batch_stats(params, stats, batch, key): the networks' batch norm over the batch, and as many fakes.

    All of them but `batch_stats` use batch norm's running averages, so that neither a generated example nor a judgement
    depends on its neighbours, but within a pack and by minibatch features (`nn/minibatch.py`): those compare an example
    with all that it is given with, and their logits are comparable with training's at training's batch size alone.
    Losses use the batch's own where `train`. Under `pmap` and `shard_map` the features that are compared or matched are
    those of each device's part of the batch, under `jit` those of the whole.

    Metrics of the discriminator: the mean logits "real_logit" and "fake_logit", what the loss logs (probabilities, or
    the critic's "wasserstein"), with a penalty its value and the mean "gradient_norm" of the logits where it looked at
    it, with an auxiliary classifier the two cross-entropies in nats.

    Args:
      generator: called as `generator(z, label, train)`, gives x; `label` is one-hot, or None.
      discriminator: called as `discriminator(packs, label, train)`, gives a `Judgement`. Packs are [P, packing,
        *shape]; with packing 1 they are the examples [B, *shape].
      shape: of one example.
      latent: dimensions of the noise z.
      loss: of both players.
      penalty: on the discriminator's gradient, added to its loss.
      noise: "normal": a standard Gaussian; "uniform": each number from -1 to 1.
      symmetric: the networks see and make images from -1 to 1; batches and samples are from 0 to 1 all the same.
      packing: examples that the discriminator judges at once; it must divide the batch.
      apart: real and generated examples are judged in batches of their own, which batch norm and minibatch features
        need; else in one, which is faster.
      matching: the generator's loss has `feature_matching` (Salimans et al., 2016, section 3.1) in place of that of
        logits.
      classes: of labels, which batches have as "y"; None: none are read.
      auxiliary: weights of an auxiliary classifier's cross-entropies in the discriminator's loss and in the
        generator's, where the judgement holds guesses. Gulrajani et al. (2017) take 1 and 0.1.
      unrolled: k of Metz et al., Unrolled Generative Adversarial Networks (2017): the generator's loss is that against
        the discriminator after k steps of plain gradient descent on its own loss, on the same examples, and its
        gradient flows through them. (The paper's recursion is plain gradient steps; the authors' code unrolls Adam.)
        The discriminator itself takes one step, as ever.
      unrolled_rate: eta, the learning rate of these k steps; may be traced.
      code: judgement -> [B, ...], what `encode` gives; None: the features.

    Raises:
      ValueError: a size is not positive, the noise is unknown, a number is negative, `unrolled` is no whole number,
        labels come together with packs, or matched features with an unrolled discriminator; when it is used, networks
        with other variables than those above, batches, labels or latents of another shape; or, outside of `jit`, pixels
        that are not between 0 and 1 where `symmetric`.
    """
    check_each(shape=shape)
    check_sizes(latent=latent, packing=packing, classes=classes)
    if len(auxiliary) != 2:
        raise ValueError(f"auxiliary has a weight for each player, discriminator and generator, got {auxiliary}")
    check_numbers(discriminator=auxiliary[0], generator=auxiliary[1], unrolled_rate=unrolled_rate)
    if isinstance(unrolled, bool) or not isinstance(unrolled, int | np.integer) or unrolled < 0:
        raise ValueError(f"unrolled must be a whole number of steps, 0 or more, got {unrolled!r}")
    if not tuple(shape):
        raise ValueError("an example needs an axis or more, got shape=(): (1,) is a number")
    if noise not in NOISES:
        raise unknown("noise", noise, NOISES)
    if classes is not None and packing > 1:
        raise ValueError(f"a pack of {packing} examples has no one label: take packing=1, or no classes")
    if unrolled and matching:
        raise ValueError("matched features are no loss that a discriminator is unrolled for: leave unrolled at 0")
    players = Players(
        generator=generator,
        discriminator=discriminator,
        shape=tuple(shape),
        latent=latent,
        loss=loss,
        penalty=penalty,
        noise=noise,
        symmetric=symmetric,
        packing=packing,
        apart=apart,
        matching=matching,
        classes=classes,
        auxiliary=tuple(auxiliary),
        unrolled=unrolled,
        unrolled_rate=unrolled_rate,
        code=code or (lambda judgement: judgement.features),
    )
    return Model(
        players.init,
        {"discriminator": players.loss_of_discriminator, "generator": players.loss_of_generator},
        apply=players.apply,
        sample=players.sample,
        encode=players.encode,
        decode=players.decode,
        batch_stats=players.batch_stats,
    )


def check_own_logits(**mixing: Any) -> None:
    """Refuse what makes a logit depend on other examples, together with a penalty on the gradient of each by its own.

    Gulrajani et al., Improved Training of Wasserstein GANs (2017), section 4, leave batch norm out for this reason.

    Args:
      **mixing: `discriminator_norm`, `deviation` or `discrimination`, as a model was given it.

    Raises:
      ValueError: one of them is not off.
    """
    without = {"discriminator_norm": False, "deviation": False, "discrimination": None}
    wrong = [name for name, value in mixing.items() if value not in (None, False)]
    if wrong:
        raise ValueError(
            "a penalty is on the gradient of each logit by its own example, but these make logits depend on the whole "
            f"batch: {', '.join(wrong)}. Give {', '.join(f'{name}={without[name]}' for name in wrong)}, or no penalty"
        )


def check_discrimination(discrimination: tuple[int, int] | None) -> None:
    """Refuse what is no (kernels, size) of `nn.minibatch.MinibatchDiscrimination`; None stands for none.

    Raises:
      ValueError: it is no pair, or a number is not positive.
    """
    if discrimination is None:
        return
    check_each(discrimination=discrimination)
    if len(discrimination) != 2:
        raise ValueError(f"discrimination is (kernels, size), got {discrimination}")

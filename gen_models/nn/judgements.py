"""What a discriminator says of examples, and the last layer that says it, with or without a class.

How a class is told or asked (`condition`):

- "concatenate" (Mirza & Osindero, Conditional Generative Adversarial Nets, 2014): its one-hot vector stands beside the
  input, of images as maps of zeros and one map of ones;
- "projection" (Miyato & Koyama, cGANs with Projection Discriminator, 2018, eq. 3): logit = psi(h) + y^T V h;
- "auxiliary" (Odena et al., Conditional Image Synthesis with Auxiliary Classifier GANs, 2017): the class is not told;
  a second head guesses it, and both players are paid for a right guess.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.errors import unknown
from gen_models.nn.normalised_weights import Dense, Weights

Condition = Literal["concatenate", "projection", "auxiliary"]
CONDITIONS = ("concatenate", "projection", "auxiliary")
_KERNEL_INIT = nn.initializers.lecun_normal()


class Judgement(NamedTuple):
    """What a discriminator says of B examples, or packs of them."""

    logits: Float[Array, "b"]  # high where they look real
    features: Float[Array, "b f"]  # its last hidden layer
    classes: Float[Array, "b k"] | None = None  # logits of the classes, with an auxiliary classifier
    maps: tuple[Array, ...] = ()  # [B, h, w, c] of each convolutional layer, where there are some


def check_condition(condition: str) -> None:
    """Refuse what is no way to tell a class, also where there are no classes to be told.

    Raises:
      ValueError: the condition is none of `CONDITIONS`.
    """
    if condition not in CONDITIONS:
        raise unknown("condition", condition, CONDITIONS)


def beside(x: Float[Array, "b *space c"], label: Float[Array, "b k"]) -> Float[Array, "b *space d"]:
    """x with the class's one-hot vector beside the channels of each position."""
    label = label.astype(x.dtype).reshape(x.shape[0], *[1] * (x.ndim - 2), -1)
    return jnp.concatenate([x, jnp.broadcast_to(label, (*x.shape[:-1], label.shape[-1]))], -1)


def side_by_side(x: Float[Array, "p *space c"]) -> Float[Array, "p h w d"]:
    """Images [P, h, w, c] as they are, packs of them [P, packing, h, w, c] with their channels side by side."""
    if x.ndim == 4:
        return x
    packs, packing, height, width, channels = x.shape
    return jnp.moveaxis(x, 1, 3).reshape(packs, height, width, packing * channels)


def judged(
    h: Float[Array, "b f"],
    label: Float[Array, "b k"] | None,
    train: bool,
    *,
    condition: Condition | None = None,
    classes: int | None = None,
    weights: Weights = "plain",
    maps: tuple[Array, ...] = (),
    use_bias: bool = True,
    kernel_init: Callable = _KERNEL_INIT,
    dtype: DTypeLike | None = None,
) -> Judgement:
    """The last layer, called inside of a discriminator's compact method, whose layers are "Dense_i", "classes", ...

    Args:
      h: the last hidden layer.
      label: one-hot; None: no class is told.
      train: whether vectors of spectral normalisation move.
      condition: how the class is told or asked; None, or no `classes`: not at all.
      classes: of labels.
      weights: how they are normalised. Those of the projection are so by "spectral" alone, as in the authors' code.
      maps: what the layers before gave, which is passed on.
      use_bias: of the logit.
      kernel_init: of all kernels.
      dtype: of the computations; what comes out is float32.
    """
    common: dict[str, Any] = {"kernel_init": kernel_init, "dtype": dtype}
    logits = Dense(1, weights, use_bias=use_bias, **common)(h, train)[:, 0].astype(jnp.float32)
    guess = None
    if classes is not None and condition == "projection":
        if label is None:
            raise ValueError("a projection discriminator needs the labels of what it judges, got none")
        own: Weights = "spectral" if weights == "spectral" else "plain"
        rows = Dense(h.shape[-1], own, use_bias=False, name="projection", **common)(label, train)
        logits = logits + (rows.astype(jnp.float32) * h).sum(-1)
    if classes is not None and condition == "auxiliary":
        guess = Dense(classes, weights, name="classes", **common)(h, train).astype(jnp.float32)
    return Judgement(logits, h.astype(jnp.float32), guess, maps)

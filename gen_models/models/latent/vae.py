"""Variational autoencoder with a Bernoulli likelihood.

Kingma & Welling, Auto-Encoding Variational Bayes (2014): the bound is eq. 3, the reparameterised estimator eq. 7, the
Gaussian KL in closed form appendix B. `beta` weighs the KL as in Higgins et al., beta-VAE (2017), eq. 4; the bound on
log p(x) is the one with beta = 1. `warmup_steps` raises that weight linearly from 0 (Bowman et al. 2016, section 3.1;
Sonderby et al. 2016). `log_prob`, and `loss` with `particles` > 1, are the importance-weighted bound of Burda et al.,
IWAE (2016), eq. 8 and 14.

    log p(x) >= E_{z ~ q(z|x)} [log p(x|z)] - KL(q(z|x) || p(z))
    log p(x) >= E_{z_1..z_K ~ q(z|x)} log 1/K sum_k p(x, z_k) / q(z_k|x)

With `channels`, convolutions of stride 2 in place of pooling and their transposes, as in Radford et al., DCGAN (2016),
section 3, but without batch norm, which would make an image's bound depend on its neighbours in the batch.

Differs from the first paper: as many hidden layers as asked for, convolutions, and the activation is a choice.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.distributions import bernoulli_log_prob, normal_kl, normal_log_prob
from gen_models.models.inputs import check_count, images, latents, within_levels, within_unit
from gen_models.models.latent.importance import importance_weighted
from gen_models.models.sizes import check_each, check_numbers, check_sizes
from gen_models.nn.conv import Conv, ConvTranspose

Activation = Callable[[Array], Array]

_REMEDY = "grey pixels have no probability here, binarise_dynamic or binarise_fixed makes such images of them"
_WINDOW = (4, 4)  # twice the stride, so that a transposed convolution makes each pixel of equally many taps


def vae(
    shape: Sequence[int] = (28, 28, 1),
    *,
    latent: int = 32,
    hidden: Sequence[int] = (512, 512),
    beta: float | Array = 1.0,
    warmup_steps: int | Array = 0,
    particles: int = 1,
    activation: Activation = nn.relu,
    channels: Sequence[int] = (),
    dtype: DTypeLike | None = None,
) -> Model:
    """A VAE for images whose pixels are 0 or 1.

    `log_prob(params, stats, x, key, particles=50)` is a lower bound on log p(x) in nats that tightens with `particles`.
    It takes images of zeros and ones, which alone have a probability. The loss and `encode` also take grey ones,
    between 0 and 1, as is customary: their cross-entropy is an average over images whose pixels are 1 with the
    probability of the grey, and no bound on a likelihood of grey ones (Loaiza-Ganem & Cunningham, The Continuous
    Bernoulli, 2019). What is beyond is an error outside of `jit`, and gives NaN inside.

    Args:
      shape: (height, width, channels) of one image.
      latent: dimensions of z.
      hidden: widths of the encoder's layers; the decoder mirrors them.
      beta: weight of the KL term; may be traced.
      warmup_steps: steps over which that weight rises from 0; may be traced.
      particles: K of the objective: 1 is the ELBO; more is IWAE's bound, which `beta` must leave alone.
      activation: between the layers.
      channels: of 4x4 convolutions of stride 2 before the encoder's hidden layers, each of which halves height and
        width (odd ones rounded up); the decoder mirrors them. (): all layers are dense.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.

    Raises:
      ValueError: a size is not positive, `shape` is not (H, W, C), the image is too small for so many strides, a weight
        is negative, or both `beta` and `particles` change the objective; a batch, images or latents of another shape;
        a number of samples or particles below 1; or, outside of `jit`, pixels that are not in the range above.
    """
    check_sizes(shape=shape, latent=latent, particles=particles)
    check_each(hidden=hidden, channels=channels)
    _check_strides(shape[0], shape[1], tuple(channels))
    check_numbers(beta=beta, warmup_steps=warmup_steps)
    # A traced number is taken as the default: the importance-weighted objective does not read it.
    weighed = any(isinstance(w, (int, float)) and w != usual for w, usual in ((beta, 1), (warmup_steps, 0)))
    if particles > 1 and weighed:
        raise ValueError(f"particles={particles} has no separate KL to weigh: leave beta at 1 and warmup_steps at 0")
    encoder = _Encoder(
        channels=tuple(channels), hidden=tuple(hidden), latent=latent, activation=activation, dtype=dtype
    )
    decoder = _Decoder(
        hidden=tuple(hidden)[::-1], maps=_maps(tuple(shape), tuple(channels)), activation=activation, dtype=dtype
    )

    def init(key, batch):
        x = images(batch, shape)
        encoder_key, decoder_key = jax.random.split(key)
        return {
            "encoder": encoder.init(encoder_key, x[:1])["params"],
            "decoder": decoder.init(decoder_key, jnp.zeros((1, latent), jnp.float32))["params"],
        }, {}

    def encode(params, stats, x, key=None):
        """(mu, log_sigma) of q(z|x), each [B, latent]."""
        return encoded(params, images({"x": x}, shape))

    def encoded(params, x):
        fits = within_unit(x)[:, None]
        each: Any = encoder.apply({"params": params["encoder"]}, x)
        return tuple(jnp.where(fits, of_latents, jnp.nan) for of_latents in each)

    def decode(params, stats, z):
        """Logits of p(x|z), [B, *shape]."""
        latents(z, latent)
        return decoder.apply({"params": params["decoder"]}, z)

    def loss(params, stats, batch, key, *, step, train=True):
        """Negative bound in nats per image, the KL weighted; `elbo` in the metrics never is."""
        x = images(batch, shape)
        mu, log_sigma = encoded(params, x)
        if particles > 1:
            log_weights = jax.vmap(log_weight(params, x, mu, log_sigma))(jax.random.split(key, particles))  # [K, B]
            bound = (jax.nn.logsumexp(log_weights, axis=0) - jnp.log(particles)).mean()
            return -bound, (stats, {"elbo": log_weights.mean(), "bound": bound, "kl": normal_kl(mu, log_sigma).mean()})
        z = mu + jnp.exp(log_sigma) * jax.random.normal(key, mu.shape, mu.dtype)
        reconstruction = -bernoulli_log_prob(x, decode(params, stats, z)).mean()
        kl = normal_kl(mu, log_sigma).mean()
        weight = beta * jnp.minimum(1.0, (step + 1) / jnp.maximum(warmup_steps, 1)) if train else beta
        weight = jnp.asarray(weight, jnp.float32)
        return reconstruction + weight * kl, (
            stats,
            {"elbo": -(reconstruction + kl), "reconstruction": reconstruction, "kl": kl},
        )

    def log_weight(params, x, mu, log_sigma):
        """key -> log p(x|z) + log p(z) - log q(z|x), [B], for one draw z ~ q(z|x)."""

        def draw(key):
            z = mu + jnp.exp(log_sigma) * jax.random.normal(key, mu.shape, mu.dtype)
            joint = bernoulli_log_prob(x, decode(params, {}, z)) + normal_log_prob(
                z, jnp.zeros_like(z), jnp.zeros_like(z)
            )
            return joint - normal_log_prob(z, mu, log_sigma)

        return draw

    def log_prob(params, stats, x, key, *, particles: int = 50, chunk: int = 10) -> Float[Array, " b"]:
        """Lower bound on log p(x), [B] nats, from `particles` importance samples, `chunk` of them in memory at once."""
        x = images({"x": x}, shape)
        fits = within_levels(x, 2, remedy=_REMEDY)
        mu, log_sigma = encoded(params, x)
        bound = importance_weighted(log_weight(params, x, mu, log_sigma), key, particles, chunk)
        return jnp.where(fits, bound, jnp.nan)

    def sample(params, stats, key, n: int) -> Float[Array, "n h w c"]:
        """Means of p(x|z) for n draws of z from the prior: probabilities, not draws of the pixels."""
        check_count(n)
        return jax.nn.sigmoid(decode(params, stats, jax.random.normal(key, (n, latent), jnp.float32)))

    return Model(init, loss, sample=sample, log_prob=log_prob, encode=encode, decode=decode)


def _maps(shape: tuple[int, ...], channels: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """(height, width, channels) of the image and of what each convolution makes of it."""
    height, width, colours = shape
    return tuple((-(-height // 2**i), -(-width // 2**i), c) for i, c in enumerate((colours, *channels)))


def _check_strides(height: int, width: int, channels: tuple[int, ...]) -> None:
    most = (min(height, width) - 1).bit_length()  # halvings, odd sides rounded up, until one is a single pixel
    if len(channels) > most:
        remedy = f"give at most {most} channels" if most else "leave channels empty"
        raise ValueError(
            f"an image of {height}x{width} is too small for {len(channels)} convolutions of stride 2, {channels=}: "
            f"{remedy}, or use images with sides of more than {2 ** (len(channels) - 1)} pixels"
        )


class _Encoder(nn.Module, kw_only=True):
    channels: tuple[int, ...]
    hidden: tuple[int, ...]
    latent: int
    activation: Activation
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x):  # [B, H, W, C] -> two of [B, latent]
        h = x
        for features in self.channels:
            h = self.activation(Conv(features, _WINDOW, strides=2, dtype=self.dtype)(h))
        h = h.reshape(x.shape[0], -1)
        for width in self.hidden:
            h = self.activation(nn.Dense(width, dtype=self.dtype)(h))
        mu, log_sigma = (nn.Dense(self.latent, dtype=self.dtype, name=name)(h) for name in ("mu", "log_sigma"))
        return mu.astype(jnp.float32), log_sigma.astype(jnp.float32)


class _Decoder(nn.Module, kw_only=True):
    hidden: tuple[int, ...]
    maps: tuple[tuple[int, ...], ...]  # from the image to the smallest
    activation: Activation
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, z):  # [B, latent] -> logits [B, H, W, C]
        h = z
        for width in self.hidden:
            h = self.activation(nn.Dense(width, dtype=self.dtype)(h))
        h = nn.Dense(math.prod(self.maps[-1]), dtype=self.dtype)(h).reshape(z.shape[0], *self.maps[-1])
        for *sides, features in reversed(self.maps[:-1]):
            # The transpose of the encoder's "SAME" convolution, which pads odd sides by one more at their end: so the
            # map has exactly the sides that the encoder saw, and each pixel lies where its features were made from it.
            padding = [(2, 2 - side % 2) for side in sides]
            h = ConvTranspose(features, _WINDOW, strides=2, padding=padding, dtype=self.dtype)(self.activation(h))
        return h.astype(jnp.float32)

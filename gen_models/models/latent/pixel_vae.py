"""PixelVAE: a variational autoencoder whose decoder is a Gated PixelCNN that also sees the code.

    log p(x|z) = sum over pixels i in raster order of log p(x_i | x_<i, z)

van den Oord et al., Conditional Image Generation with PixelCNN Decoders (2016), section 2.4, put it in the place of a
decoder whose pixels are independent; Gulrajani et al., PixelVAE (2017), train it as a VAE, by the bound of Kingma &
Welling (2014), eq. 3. The code enters each gate: as a vector, the same at every pixel (eq. 4 of the former), or as a
map that layers like a VAE's decoder make of it (section 2.3; figure 2 of the latter).

Such a decoder can be a good model without z, and then the code is not used: the KL falls to 0, the posterior collapses
onto the prior (Chen et al., Variational Lossy Autoencoder, 2017, section 2). What keeps it from that: a decoder that
sees few pixels (fewer `layers`, smaller windows; their section 3.1), free bits, a warm-up, or cycles of the KL's weight
(`objectives.py`); He et al., Lagging Inference Networks (2019), compare them.

Differs from PixelVAE: one stochastic layer, and no batch norm.
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.core import Key, Model, Params
from gen_models.errors import unknown
from gen_models.models.autoregressive.gated_pixel_cnn import gated_network
from gen_models.models.autoregressive.pixel_model import SAMPLERS, drawn_pixels
from gen_models.models.latent.variational import Objective, variational_model
from gen_models.models.sizes import check_each, check_sizes
from gen_models.nn import heads, likelihoods, posteriors, priors
from gen_models.nn.autoencoding import Activation, Decoder, Encoder, check_strides, with_label


def pixel_vae(
    shape: Sequence[int] = (28, 28, 1),
    levels: int = 2,
    *,
    latent: int = 32,
    hidden: Sequence[int] = (256,),
    channels: Sequence[int] = (),
    map_features: int | None = None,
    features: int = 32,
    layers: int = 5,
    window: int = 3,
    first_window: int = 7,
    head_features: int = 32,
    beta: float | jax.Array = 1.0,
    warmup_steps: int | jax.Array = 0,
    cycle_steps: int = 0,
    free_bits: float | jax.Array = 0.0,
    particles: int = 1,
    prior: priors.Prior | None = None,
    posterior: posteriors.Posterior | None = None,
    classes: int | None = None,
    activation: Activation = nn.relu,
    method: Literal["cached", "naive"] = "cached",
    dtype: DTypeLike | None = None,
) -> Model:
    """A VAE of images of integers 0 to levels - 1; its functions are those of `variational_model`.

    `sample` and `decode` draw images from p(x|z), pixel by pixel, with pixels scaled from 0 to 1 (`draw=True`: as the
    data have them). `apply(params, stats, z, label=None, x=x)` gives the decoder's outputs for images x scaled from 0
    to 1, logits [B, H, W, C * levels].

    Args:
      shape: (height, width, channels) of one image; the last divides `features` and `head_features`.
      levels: values of a channel.
      latent: dimensions of z.
      hidden: widths of the encoder's dense layers; those that make the map mirror them.
      channels: of the encoder's 4x4 convolutions of stride 2 before them, which the map's mirror.
      map_features: of the map that is made of z; None: z itself is the condition.
      features: of each of the decoder's two stacks.
      layers: the decoder's gated layers, the first included.
      window: of all of them but the first; odd.
      first_window: of the first, which does not see its own pixel; odd, 3 or more.
      head_features: of the 1x1 convolution before the outputs.
      beta: weight of the KL term; may be traced.
      warmup_steps: steps over which that weight rises from 0; may be traced.
      cycle_steps: steps after which it begins to rise again; 0: never.
      free_bits: nats of each dimension of z below which its KL costs the same; may be traced.
      particles: K of the objective: 1 is the ELBO; more is IWAE's bound, which the four before must leave alone.
      prior: p(z), of `gen_models/nn/priors.py`; None: the standard normal.
      posterior: q(z|x), of `gen_models/nn/posteriors.py`; None: a diagonal normal.
      classes: of labels that encoder and decoder are told; None: none.
      activation: of the encoder and of the layers that make the map.
      method: the sampler: "cached" computes each pixel once, "naive" the whole decoder for each.
      dtype: of the networks' computations, such as `jnp.bfloat16`; parameters and losses stay float32.

    Raises:
      ValueError: a size is not positive, or of `gated_pixel_cnn` or `vae` is refused there; an unknown method; or,
        outside of `jit`, images that hold what is no level.
    """
    check_sizes(shape=shape, latent=latent, particles=particles, map_features=map_features)
    check_each(hidden=hidden, channels=channels)
    check_strides(shape, channels)
    if method not in SAMPLERS:
        raise unknown("sampling method", method, SAMPLERS)
    posterior = posterior or posteriors.diagonal_normal()
    common: dict[str, Any] = {"channels": tuple(channels), "activation": activation, "dtype": dtype}
    head = heads.categorical(shape[-1], levels)
    network = gated_network(
        shape,
        head.outputs,
        features=features,
        layers=layers,
        window=window,
        first_window=first_window,
        head_features=head_features,
        dtype=dtype,
    )
    mapped = None
    if map_features is not None:
        mapped = Decoder(shape=(*shape[:-1], map_features), hidden=tuple(hidden)[::-1], **common)
    decoder = _PixelDecoder(network=network, mapped=mapped)

    def draw(params: Params, z: Array, label: Array | None, key: Key) -> Float[Array, "b h w c"]:
        condition = decoder.apply({"params": params}, z, label, method="condition")
        nothing = jnp.zeros((len(z), *shape), jnp.int32)
        mask = jnp.zeros(nothing.shape[:-1], bool)
        own = params["network"]
        x = drawn_pixels(network, head, own, condition, key, nothing, mask, levels, method=method)
        return x.astype(jnp.float32)

    return variational_model(
        shape,
        latent,
        encoder=Encoder(heads=tuple(posterior.heads(latent).items()), hidden=tuple(hidden), **common),
        decoder=decoder,
        likelihood=likelihoods.categorical(levels),
        prior=prior or priors.standard_normal(),
        posterior=posterior,
        objective=Objective(beta, warmup_steps, cycle_steps, free_bits, particles),
        classes=classes,
        draw=draw,
    )


class _PixelDecoder(nn.Module, kw_only=True):
    network: nn.Module
    mapped: nn.Module | None

    def __call__(self, z, label, x):  # [B, D], [B, classes], [B, H, W, C] from 0 to 1 -> [B, H, W, outputs]
        return self.network(2 * x - 1, self.condition(z, label), None, False)

    def condition(self, z, label):
        """What the gates see of the code: [B, F], or a map [B, H, W, F]."""
        return with_label(z, label) if self.mapped is None else self.mapped(z, label)

"""Variational autoencoder.

Kingma & Welling, Auto-Encoding Variational Bayes (2014): the bound is eq. 3, the reparameterised estimator eq. 7, the
Gaussian KL in closed form appendix B. `beta` weighs the KL as in Higgins et al., beta-VAE (2017), eq. 4; the bound on
log p(x) is the one with beta = 1. `warmup_steps` raises that weight from 0 in a line (Bowman et al. 2016, section 3.1;
Sonderby et al. 2016), with `cycle_steps` again and again (Fu et al. 2019); `free_bits` are those of Kingma et al.
(2016). `log_prob`, and `loss` with `particles` > 1, are the importance-weighted bound of Burda et al., IWAE (2016), eq.
8 and 14, with `doubly_reparameterised` by the gradient of Tucker et al. (2019). `classes` make it the conditional VAE
of Sohn et al. (2015), as Kingma et al. (2014, section 2.1) have it where all labels are known: the class is beside the
encoder's features and beside z, which is independent of it.

    log p(x) >= E_{z ~ q(z|x)} [log p(x|z)] - KL(q(z|x) || p(z))
    log p(x) >= E_{z_1..z_K ~ q(z|x)} log 1/K sum_k p(x, z_k) / q(z_k|x)

Differs from the first paper: as many hidden layers as asked for, convolutions (`gen_models/nn/autoencoding.py`), and
the activation, the likelihood and the prior are choices.
"""

from collections.abc import Sequence

import jax
from flax import linen as nn
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.models.latent.variational import Objective, variational_model
from gen_models.models.sizes import check_each, check_sizes
from gen_models.nn import likelihoods, posteriors, priors
from gen_models.nn.autoencoding import Activation, Decoder, Encoder, Enlargement, check_strides, transposed


def vae(
    shape: Sequence[int] = (28, 28, 1),
    *,
    latent: int = 32,
    hidden: Sequence[int] = (512, 512),
    beta: float | jax.Array = 1.0,
    warmup_steps: int | jax.Array = 0,
    cycle_steps: int = 0,
    free_bits: float | jax.Array = 0.0,
    particles: int = 1,
    doubly_reparameterised: bool = False,
    likelihood: likelihoods.Likelihood | None = None,
    prior: priors.Prior | None = None,
    posterior: posteriors.Posterior | None = None,
    classes: int | None = None,
    activation: Activation = nn.relu,
    channels: Sequence[int] = (),
    decoder_hidden: Sequence[int] | None = None,
    decoder_channels: Sequence[int] | None = None,
    enlarged: Enlargement = transposed,
    dtype: DTypeLike | None = None,
) -> Model:
    """A VAE, by default for images whose pixels are 0 or 1; its functions are those of `variational_model`.

    `log_prob(params, stats, x, key, particles=50)` is a lower bound on log p(x) in nats that tightens with `particles`.
    With the Bernoulli likelihood it takes images of zeros and ones, which alone have a probability. The loss and
    `encode` also take grey ones, between 0 and 1, as is customary: their cross-entropy is an average over images whose
    pixels are 1 with the probability of the grey, and no bound on a likelihood of grey ones (Loaiza-Ganem & Cunningham,
    The Continuous Bernoulli, 2019). What is beyond is an error outside of `jit`, and gives NaN inside.

    Args:
      shape: (height, width, channels) of one image.
      latent: dimensions of z.
      hidden: widths of the encoder's layers; the decoder mirrors them.
      beta: weight of the KL term; may be traced.
      warmup_steps: steps over which that weight rises from 0; may be traced.
      cycle_steps: steps after which it begins to rise again; 0: never.
      free_bits: nats of each dimension of z below which its KL costs the same; may be traced.
      particles: K of the objective: 1 is the ELBO; more is IWAE's bound, which the four before must leave alone.
      doubly_reparameterised: whether the encoder gets the gradient of Tucker et al., for `particles` > 1.
      likelihood: p(x|z), of `gen_models/nn/likelihoods.py`; None: Bernoulli.
      prior: p(z), of `gen_models/nn/priors.py`; None: the standard normal.
      posterior: q(z|x), of `gen_models/nn/posteriors.py`; None: a diagonal normal.
      classes: of labels that encoder and decoder are told; None: none.
      activation: between the layers.
      channels: of 4x4 convolutions of stride 2 before the encoder's hidden layers, each of which halves height and
        width (odd ones rounded up); the decoder mirrors them. (): all layers are dense.
      decoder_hidden: widths of the decoder's dense layers; None: it mirrors the encoder's.
      decoder_channels: of the encoder's convolutions that the decoder mirrors, from the image inwards; (): a decoder of
        dense layers alone; None: all of `channels`.
      enlarged: how the decoder doubles an image's sides: `transposed` or `resized` of `gen_models/nn/autoencoding.py`.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.

    Raises:
      ValueError: a size is not positive, `shape` is not (H, W, C), the image is too small for so many strides, a weight
        is negative, or both `beta` and `particles` change the objective; a batch, images or latents of another shape;
        a number of samples or particles below 1; or, outside of `jit`, pixels that are not in the range above.
    """
    check_sizes(shape=shape, latent=latent, particles=particles)
    check_each(hidden=hidden, channels=channels)
    decoder_hidden = tuple(hidden)[::-1] if decoder_hidden is None else decoder_hidden
    decoder_channels = channels if decoder_channels is None else decoder_channels
    check_each(decoder_hidden=decoder_hidden, decoder_channels=decoder_channels)
    check_strides(shape, channels)
    check_strides(shape, decoder_channels)
    likelihood = likelihood or likelihoods.bernoulli()
    posterior = posterior or posteriors.diagonal_normal()
    encoder = Encoder(
        heads=tuple(posterior.heads(latent).items()),
        hidden=tuple(hidden),
        channels=tuple(channels),
        activation=activation,
        dtype=dtype,
    )
    decoder = Decoder(
        shape=(*shape[:-1], shape[-1] * likelihood.outputs),
        hidden=tuple(decoder_hidden),
        channels=tuple(decoder_channels),
        enlarged=enlarged,
        activation=activation,
        dtype=dtype,
    )
    return variational_model(
        shape,
        latent,
        encoder=encoder,
        decoder=decoder,
        likelihood=likelihood,
        prior=prior or priors.standard_normal(),
        posterior=posterior,
        objective=Objective(beta, warmup_steps, cycle_steps, free_bits, particles, doubly_reparameterised),
        classes=classes,
    )

"""A VAE with several layers of latent variables, the first of which makes the image; also in the form of a ladder.

    p(x, z_1..z_L) = p(z_L) p(z_{L-1} | z_L) ... p(z_1 | z_2) p(x | z_1)

The plain form is that of Burda et al., IWAE (2016), section 5, figure 3: q(z_1 | x) q(z_2 | z_1) ..., each a network of
its own upon the layer below. The ladder is Sonderby et al., Ladder Variational Autoencoders (2016), section 2.2: a pass
upwards without noise gives each layer's mu^ and sigma^ (eq. 15 to 18), and on the way down q(z_l | z_{l+1}, x) is the
product of that normal distribution with the prior's p(z_l | z_{l+1}), weighed by their precisions (eq. 19 to 21).

It is a model of `variational_model` whose posterior and prior are chains: z is all layers side by side, from z_1 to
z_L. The KL of a chain is an average over draws. Differs from the second paper: no batch norm, which would make an
image's bound depend on its neighbours in the batch, and deviations by their logarithm, not by softplus.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.distributions import normal_log_prob
from gen_models.models.latent.variational import Objective, variational_model
from gen_models.models.sizes import check_each, check_sizes
from gen_models.nn.autoencoding import Activation, Decoder, Encoder, check_strides
from gen_models.nn.likelihoods import Likelihood, bernoulli
from gen_models.nn.posteriors import Normal, Posterior, drawn
from gen_models.nn.priors import Prior

Choose = Callable[[int, Normal], jax.Array]  # (layer, its distribution) -> z of that layer


def hierarchical_vae(
    shape: Sequence[int] = (28, 28, 1),
    *,
    latents: Sequence[int] = (100, 50),
    hidden: Sequence[Sequence[int]] = ((200, 200), (100, 100)),
    ladder: bool = False,
    beta: float | jax.Array = 1.0,
    warmup_steps: int | jax.Array = 0,
    cycle_steps: int = 0,
    particles: int = 1,
    likelihood: Likelihood | None = None,
    channels: Sequence[int] = (),
    activation: Activation = jnp.tanh,
    dtype: DTypeLike | None = None,
) -> Model:
    """A VAE with a layer of latent variables for each of `latents`; its functions are those of `variational_model`.

    `encode` gives the means and log deviations of all layers, [B, sum of latents], each given the means of the layers
    that it depends on, and `decode` takes them so; only the first makes the image. With one particle the loss has
    metrics "kl_1", "kl_2", ...: the share of each layer in the KL.

    Args:
      shape: (height, width, channels) of one image.
      latents: dimensions of z_1 to z_L, from the image upwards.
      hidden: for each layer, widths of the network between it and what lies below; the same, mirrored, on the way down.
      ladder: whether the posterior is that of the ladder.
      beta: weight of the KL term; may be traced.
      warmup_steps: steps over which that weight rises from 0; may be traced.
      cycle_steps: steps after which it begins to rise again; 0: never.
      particles: K of the objective: 1 is the ELBO; more is IWAE's bound, which the three before must leave alone.
      likelihood: p(x|z_1), of `gen_models/nn/likelihoods.py`; None: Bernoulli.
      channels: of 4x4 convolutions of stride 2 between the image and the first layer's network.
      activation: between the layers of the networks.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.

    Raises:
      ValueError: a size is not positive, `latents` and `hidden` are not equally many, or as `variational_model`.
    """
    check_sizes(shape=shape)
    check_each(latents=latents, channels=channels)
    check_strides(shape, channels)
    latents = tuple(latents)
    if len(latents) != len(hidden) or not latents:
        raise ValueError(f"each of the layers latents={latents} needs the widths of a network, got hidden={hidden}")
    for widths in hidden:
        check_each(hidden=widths)
    likelihood = likelihood or bernoulli()
    common: dict[str, Any] = {"activation": activation, "dtype": dtype}
    prior, below, log_each = _chain(latents, hidden, common)
    decoder = _OfFirst(
        latents[0],
        Decoder(
            shape=(*shape[:-1], shape[-1] * likelihood.outputs),
            hidden=tuple(hidden[0])[::-1],
            channels=tuple(channels),
            **common,
        ),
    )
    if ladder:
        encoder: nn.Module = _Upwards(latents, tuple(map(tuple, hidden)), tuple(channels), activation, dtype)
        posterior = _ladder(latents, below, log_each)
    else:
        first = (("mu", latents[0]), ("log_sigma", latents[0]))
        encoder = Encoder(heads=first, hidden=tuple(hidden[0]), channels=tuple(channels), **common)
        posterior = _upward_chain(latents, hidden, log_each, common)
    return variational_model(
        shape,
        sum(latents),
        encoder=encoder,
        decoder=decoder,
        likelihood=likelihood,
        prior=prior,
        posterior=posterior,
        objective=Objective(beta, warmup_steps, cycle_steps, particles=particles),
    )


class _OfFirst(nn.Module):
    """A decoder of the first layer, given all."""

    width: int
    decoder: nn.Module

    @nn.compact
    def __call__(self, z, label=None):
        return self.decoder(z[:, : self.width], label)


class _Upwards(nn.Module):
    """The ladder's way up, without noise: mu^ and log sigma^ of each layer from the features of the one below."""

    latents: tuple[int, ...]
    hidden: tuple[tuple[int, ...], ...]
    channels: tuple[int, ...]
    activation: Activation
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, label=None):
        found: dict[str, jax.Array] = {}
        h = x
        for layer, (width, hidden) in enumerate(zip(self.latents, self.hidden, strict=True)):
            own = Encoder(
                heads=(("mu", width), ("log_sigma", width)),
                hidden=hidden,
                channels=() if layer else self.channels,
                gives_features=True,
                activation=self.activation,
                dtype=self.dtype,
                name=f"layer_{layer}",
            )(h)
            h = own.pop("features")
            found |= {f"{name}_{layer}": value for name, value in own.items()}
        return found


def _conditional(inputs: int, outputs: int, hidden: Sequence[int], common: dict[str, Any]):
    """init and apply of a network that gives a normal distribution of `outputs` dimensions for `inputs` others."""
    network = Encoder(heads=(("mu", outputs), ("log_sigma", outputs)), hidden=tuple(hidden), **common)

    def apply(params, z):
        heads: Any = network.apply({"params": params}, z)
        return Normal(heads["mu"], heads["log_sigma"])

    return lambda key: network.init(key, jnp.zeros((1, inputs), jnp.float32))["params"], apply


def _chain(latents: tuple[int, ...], hidden: Sequence[Sequence[int]], common: dict[str, Any]):
    """The prior p(z_L) ... p(z_1 | z_2), and `below(params, layer, z)`: p of a layer given the z above it."""
    links = [
        _conditional(latents[layer + 1], latents[layer], tuple(hidden[layer + 1])[::-1], common)
        for layer in range(len(latents) - 1)
    ]

    def init(key, latent, x):
        return {f"layer_{layer}": start(jax.random.fold_in(key, layer)) for layer, (start, _) in enumerate(links)}

    def below(params, layer, z):
        if layer == len(latents) - 1:
            return Normal(jnp.zeros_like(z), jnp.zeros_like(z))
        return links[layer][1](params[f"layer_{layer}"], z)

    def log_prob(params, z):
        return log_each(params, z).sum(1)

    def log_each(params, z):
        """log p of each layer given the one above, [B, L]; the uppermost stands above itself, unseen."""
        each = _split(z, latents)
        pairs = zip(each, [*each[1:], each[-1]], strict=True)
        return jnp.stack([normal_log_prob(own, *below(params, at, above)) for at, (own, above) in enumerate(pairs)], 1)

    def draw(params, key, shape):
        each = [jax.random.normal(jax.random.fold_in(key, len(latents) - 1), (shape[0], latents[-1]), jnp.float32)]
        for layer in reversed(range(len(latents) - 1)):
            each.insert(0, drawn(below(params, layer, each[0]), jax.random.fold_in(key, layer)))
        return jnp.concatenate(each, 1)

    return Prior(init, lambda params, encode: params, log_prob, draw, None), below, log_each


def _upward_chain(latents: tuple[int, ...], hidden, log_p, common: dict[str, Any]) -> Posterior:
    """q(z_1 | x) q(z_2 | z_1) ...: the code is that of z_1, and each further layer has a network of its own."""
    links = [
        _conditional(latents[layer - 1], latents[layer], hidden[layer], common) for layer in range(1, len(latents))
    ]

    def layers(params, code, made, choose: Choose):
        normals, each = [code], [choose(0, code)]
        for layer, (_, apply) in enumerate(links, 1):
            normals.append(apply(params[f"layer_{layer}"], each[-1]))
            each.append(choose(layer, normals[-1]))
        return normals, each

    def init(key, latent):
        return {f"layer_{layer}": start(jax.random.fold_in(key, layer)) for layer, (start, _) in enumerate(links, 1)}

    heads = {"mu": latents[0], "log_sigma": latents[0]}
    return _of_layers(latents, heads, init, lambda heads: Normal(heads["mu"], heads["log_sigma"]), layers, log_p)


def _ladder(latents: tuple[int, ...], below, log_p) -> Posterior:
    """q(z_L | x) ... q(z_1 | z_2, x): the code has mu^ and log sigma^ of each layer."""

    def layers(params, code, made, choose: Choose):
        normals, each = [code[-1]], [choose(len(latents) - 1, code[-1])]
        for layer in reversed(range(len(latents) - 1)):
            normals.insert(0, product(code[layer], below(made, layer, each[0])))
            each.insert(0, choose(layer, normals[0]))
        return normals, each

    def code(heads):
        return tuple(Normal(heads[f"mu_{layer}"], heads[f"log_sigma_{layer}"]) for layer in range(len(latents)))

    heads = {f"{name}_{layer}": width for layer, width in enumerate(latents) for name in ("mu", "log_sigma")}
    return _of_layers(latents, heads, lambda key, latent: {}, code, layers, log_p)


def product(one: Normal, other: Normal) -> Normal:
    """The normal distribution that the product of two densities is proportional to (Sonderby et al., eq. 20 and 21)."""
    log_precision = jnp.logaddexp(-2 * one.log_sigma, -2 * other.log_sigma)
    share = jnp.exp(-2 * one.log_sigma - log_precision)
    return Normal(share * one.mu + (1 - share) * other.mu, -0.5 * log_precision)


def _of_layers(latents, heads, init, code, layers, log_p) -> Posterior:
    """A posterior by `layers(params, code, made, choose)`: each layer's distribution and what `choose` makes of it."""

    def draw(params, code, key, made):
        return jnp.concatenate(
            layers(params, code, made, lambda layer, normal: drawn(normal, jax.random.fold_in(key, layer)))[1], 1
        )

    def log_each(params, code, z, made):
        given = _split(z, latents)
        normals, _ = layers(params, code, made, lambda layer, normal: given[layer])
        return jnp.stack([normal_log_prob(z, *normal) for z, normal in zip(given, normals, strict=True)], 1)

    def by_layer(params, code, z, made):
        return log_each(params, code, z, made) - log_p(made, z)

    def normal(params, code, made):
        normals, _ = layers(params, code, made, lambda layer, normal: normal.mu)
        return Normal(*(jnp.concatenate(parts, 1) for parts in zip(*normals, strict=True)))

    def log_prob(params, code, z, made):
        return log_each(params, code, z, made).sum(1)

    return Posterior(lambda latent: heads, init, code, draw, log_prob, normal, by_layer=by_layer)


def _split(z, latents):
    """z [B, sum of latents] -> each layer's part."""
    ends = [sum(latents[: layer + 1]) for layer in range(len(latents))]
    return [z[:, end - width : end] for end, width in zip(ends, latents, strict=True)]

"""A model with a latent variable, put together of an encoder, a decoder, a likelihood, a prior and a posterior.

    log p(x) >= E_{z ~ q(z|x)} [log p(x|z)] - KL(q(z|x) || p(z))
    log p(x) >= E_{z_1..z_K ~ q(z|x)} log 1/K sum_k p(x, z_k) / q(z_k|x)

Kingma & Welling, Auto-Encoding Variational Bayes (2014), eq. 3 and its reparameterised estimator, eq. 7; Burda et al.,
IWAE (2016), eq. 8. The objectives stand in `objectives.py`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.models.inputs import (
    check_count,
    images,
    known,
    labels_of,
    latents,
    one_hot_if_told,
    within_levels,
    within_unit,
)
from gen_models.models.latent.importance import importance_weighted
from gen_models.models.latent.objectives import doubly_reparameterised, importance_bound, kl_weight, with_free_bits
from gen_models.models.sizes import check_numbers, check_sizes
from gen_models.nn.likelihoods import Likelihood
from gen_models.nn.posteriors import Posterior
from gen_models.nn.priors import Prior

_REMEDY = "grey pixels have no probability here, binarise_dynamic or binarise_fixed makes such images of them"


class Objective(NamedTuple):
    """What is trained; by default the evidence lower bound."""

    beta: float | Array = 1.0  # weight of the KL term; may be traced
    warmup_steps: int | Array = 0  # steps over which that weight rises from 0; may be traced
    cycle_steps: int = 0  # steps after which it begins to rise again; 0: never
    free_bits: float | Array = 0.0  # nats of each dimension of z below which its KL costs the same; may be traced
    particles: int = 1  # K of the importance-weighted bound; 1: the ELBO
    doubly_reparameterised: bool = False  # whether the encoder gets the gradient of Tucker et al. for K > 1


ELBO = Objective()


def variational_model(
    shape: Sequence[int],
    latent: int,
    *,
    encoder: nn.Module,
    decoder: nn.Module,
    likelihood: Likelihood,
    prior: Prior,
    posterior: Posterior,
    objective: Objective = ELBO,
    classes: int | None = None,
    draw: Callable[..., Array] | None = None,
) -> Model:
    """A latent-variable model of these parts (`gen_models/nn/`: autoencoding, likelihoods, priors, posteriors).

    Its functions:
      loss: minus the bound in nats per example, the KL weighted as `objective` says; the metrics "elbo",
        "reconstruction" and "kl" never are; of several particles they are "elbo" and "bound". Reads `batch["x"]`, and
        with `classes` also `batch["y"]`.
      elbo(params, stats, batch, key): {"reconstruction": -log p(x|z), "kl": KL(q || p)}, [B] nats each, for one draw of
        z.
      log_prob(params, stats, x, key, label=None, particles=50, chunk=10): a lower bound on log p(x), [B] nats, that
        tightens with `particles`, `chunk` of which are in memory at once.
      encode(params, stats, x, key=None, label=None): the mean and log deviation of q(z|x), each [B, latent].
      apply(params, stats, z, label=None, x=None): the decoder's outputs, which the likelihood reads; x, scaled from 0
        to 1, is for a decoder that reads it.
      decode(params, stats, z, label=None, key=None): the mean of p(x|z), a picture with pixels from 0 to 1; of a
        decoder that reads x, an image drawn with that key, or one and the same.
      sample(params, stats, key, n, label=None, draw=False): such pictures for n draws of z from the prior; with `draw`,
        x drawn from p(x|z), as the data have it.

    Args:
      shape: of one example.
      latent: dimensions of z.
      encoder: called as `encoder(x, label)`, x scaled from 0 to 1; it ends in the posterior's heads.
      decoder: called as `decoder(z, label)`; it gives the likelihood's outputs. With `draw`, as `decoder(z, label, x)`.
      likelihood: p(x|z).
      prior: p(z).
      posterior: q(z|x).
      objective: what is trained.
      classes: of labels that encoder and decoder are told, one-hot; None: none.
      draw: of a decoder that reads x: (decoder's parameters, z, label, key) -> x drawn from p(x|z).

    Raises:
      ValueError: a size is not positive, a number of the objective is negative, or parts of it exclude each other; a
        batch, labels or latents of another shape; or, outside of `jit`, x that the likelihood has no probability for.
    """
    check_sizes(latent=latent, particles=objective.particles, classes=classes)
    _check_objective(objective, prior, posterior)
    if prior.asks_encoder and (classes is not None or not posterior.is_normal):
        raise ValueError(
            "a prior that asks the encoder takes its codes for normal distributions, and is not told the class: leave "
            "`classes` at None, and the posterior a diagonal normal"
        )
    own = _Variational(tuple(shape), latent, encoder, decoder, likelihood, prior, posterior, objective, classes, draw)
    return Model(
        own.init,
        own.loss,
        apply=own.apply,
        sample=own.sample,
        log_prob=own.log_prob,
        encode=own.encode,
        decode=own.decode,
        elbo=own.elbo,
    )


class _Variational(NamedTuple):
    """The parts, and the model's functions as methods."""

    shape: tuple[int, ...]
    latent: int
    encoder: nn.Module
    decoder: nn.Module
    likelihood: Likelihood
    prior: Prior
    posterior: Posterior
    objective: Objective
    classes: int | None
    draw: Callable[..., Array] | None

    def init(self, key, batch):
        """Parameters of each part that has some."""
        x = self.likelihood.scaled(images(batch, self.shape))
        encoder_key, decoder_key = jax.random.split(key)
        label = None if self.classes is None else jnp.zeros((1, self.classes), jnp.float32)
        of_decoder = (jnp.zeros((1, self.latent), jnp.float32), label, *([] if self.draw is None else [x[:1]]))
        found = {
            "encoder": self.encoder.init(encoder_key, x[:1], label)["params"],
            "decoder": self.decoder.init(decoder_key, *of_decoder)["params"],
            "likelihood": self.likelihood.init(),
            "prior": self.prior.init(jax.random.fold_in(key, 0), self.latent, x),
            "posterior": self.posterior.init(jax.random.fold_in(key, 1), self.latent),
        }
        return {name: params for name, params in found.items() if params}, {}

    def loss(self, params, stats, batch, key, *, step, train=True):
        """The negative bound, the KL weighted."""
        x, label = images(batch, self.shape), self._labels_of(batch)
        code = self._code(params, x, label)
        if self.objective.particles > 1:
            return self._importance_loss(params, stats, x, label, code, key)
        reconstruction, kl, each = self._terms(params, x, label, code, key)
        beta, warmup_steps, cycle_steps, free = self.objective[:4]
        weight = kl_weight(step, beta, warmup_steps, cycle_steps) if train else jnp.asarray(beta, jnp.float32)
        metrics = {"elbo": -(reconstruction.mean() + kl.mean())}
        metrics |= {"reconstruction": reconstruction.mean(), "kl": kl.mean()}
        if self.posterior.by_layer is not None:
            metrics |= {f"kl_{layer + 1}": part for layer, part in enumerate(each.mean(0))}
        if _is_zero(free):
            return metrics["reconstruction"] + weight * metrics["kl"], (stats, metrics)
        return metrics["reconstruction"] + weight * with_free_bits(each, free), (stats, metrics)

    def _importance_loss(self, params, stats, x, label, code, key):
        keys = jax.random.split(key, self.objective.particles)
        made = self._made(params)
        z = jax.vmap(lambda key: self.posterior.draw(params.get("posterior", {}), code, key, made))(keys)
        if self.objective.doubly_reparameterised:
            fixed, of_q = jax.lax.stop_gradient((code, (params.get("posterior", {}), made)))
            bound, log_w = doubly_reparameterised(
                lambda params, z: self._log_weights(params, x, label, fixed, z, of_q), params, z
            )
        else:
            log_w = self._log_weights(params, x, label, code, z)
            bound = importance_bound(log_w)
        return -bound, (stats, {"elbo": log_w.mean(), "bound": bound})

    def _log_weights(self, params, x, label, code, z, of_q=None):
        """log p(x|z) + log p(z) - log q(z|x), [K, B], of draws z [K, B, D].

        `of_q` is what q takes besides the code, its parameters and the prior as it is made; None: that of `params`.
        """
        made = self._made(params)
        own, asked = (params.get("posterior", {}), made) if of_q is None else of_q

        def of(z):
            log_q = self.posterior.log_prob(own, code, z, asked)
            return self._log_likelihood(params, x, label, z) + self.prior.log_prob(made, z) - log_q

        return jax.vmap(of)(z)

    def _terms(self, params, x, label, code, key):
        """-log p(x|z) [B], KL [B], and the KL of each dimension [B, D], or each layer [B, L], where it is known."""
        made = self._made(params)
        z = self.posterior.draw(params.get("posterior", {}), code, key, made)
        reconstruction = -self._log_likelihood(params, x, label, z)
        if self.prior.kl is not None and self.posterior.is_normal:
            each = self.prior.kl(made, code)
            return reconstruction, each.sum(1), each
        log_q = self.posterior.log_prob(params.get("posterior", {}), code, z, made)
        layers = self.posterior.by_layer
        by_layer = None if layers is None else layers(params.get("posterior", {}), code, z, made)
        return reconstruction, log_q - self.prior.log_prob(made, z), by_layer

    def elbo(self, params, stats, batch, key):
        """The terms of the bound for each example, with one draw of z."""
        x, label = images(batch, self.shape), self._labels_of(batch)
        reconstruction, kl, _ = self._terms(params, x, label, self._code(params, x, label), key)
        return {"reconstruction": reconstruction, "kl": kl}

    def log_prob(
        self, params, stats, x, key, label=None, *, particles: int = 50, chunk: int = 10
    ) -> Float[Array, " b"]:
        """Lower bound on log p(x), [B] nats, from `particles` importance samples, `chunk` of them in memory at once."""
        x = images({"x": x}, self.shape)
        fits = _probable(self.likelihood, x)
        label = self._one_hot(label, len(x))
        code = self._code(params, x, label)

        made = self._made(params)

        def log_weight(key):
            z = self.posterior.draw(params.get("posterior", {}), code, key, made)
            return self._log_weights(params, x, label, code, z[None])[0]

        return jnp.where(fits, importance_weighted(log_weight, key, particles, chunk), jnp.nan)

    def encode(self, params, stats, x, key=None, label=None):
        """(mu, log_sigma) of q(z|x), each [B, latent]."""
        x = images({"x": x}, self.shape)
        code = self._code(params, x, self._one_hot(label, len(x)))
        return self.posterior.normal(params.get("posterior", {}), code, self._made(params))

    def apply(self, params, stats, z, label=None, x=None):
        """The decoder's outputs, which the likelihood reads; a decoder that reads x is given it, scaled from 0 to 1."""
        latents(z, self.latent)
        if (x is None) != (self.draw is None):
            raise ValueError("this decoder reads x too: give x=" if x is None else "this decoder reads z alone, not x")
        return self._outputs(params, z, self._one_hot(label, len(z)), x)

    def decode(self, params, stats, z, label=None, key=None):
        """The mean of p(x|z); of a decoder that reads x, an image drawn from it."""
        latents(z, self.latent)
        return self._picture(params, z, self._one_hot(label, len(z)), jax.random.key(0) if key is None else key)

    def sample(self, params, stats, key, n: int, label=None, draw: bool = False) -> Float[Array, "n *shape"]:
        """Means of p(x|z) for n draws of z from the prior, or, with `draw`, x drawn from it."""
        check_count(n)
        label = self._one_hot(label, n)
        z_key, x_key = jax.random.split(key) if draw or self.draw is not None else (key, key)
        z = self.prior.draw(self._made(params), z_key, (n, self.latent))
        if self.draw is not None:
            x = self.draw(params["decoder"], z, label, x_key)
            return x if draw else self.likelihood.scaled(x)
        if draw:
            return self.likelihood.draw(x_key, params.get("likelihood", {}), self._outputs(params, z, label))
        return self._picture(params, z, label, x_key)

    def _picture(self, params, z, label, key):
        if self.draw is not None:
            return self.likelihood.scaled(self.draw(params["decoder"], z, label, key))
        return self.likelihood.mean(params.get("likelihood", {}), self._outputs(params, z, label))

    def _code(self, params, x, label):
        """The code of q(z|x); NaN for an x that is beyond what the likelihood takes."""
        fits = _seen(self.likelihood, x)[:, None]
        heads: Any = self.encoder.apply({"params": params["encoder"]}, self.likelihood.scaled(x), label)
        return self.posterior.code({name: jnp.where(fits, value, jnp.nan) for name, value in heads.items()})

    def _made(self, params):
        """The prior, ready to be asked: some are made of the encoder."""

        def encode(x):
            heads: Any = self.encoder.apply({"params": params["encoder"]}, x, None)
            return self.posterior.code(heads)

        return self.prior.made(params.get("prior", {}), encode)

    def _outputs(self, params, z, label, x=None):
        args = (z, label) if self.draw is None else (z, label, x)
        return self.decoder.apply({"params": params["decoder"]}, *args)

    def _log_likelihood(self, params, x, label, z):
        outputs = self._outputs(params, z, label, self.likelihood.scaled(x))
        return self.likelihood.log_prob(params.get("likelihood", {}), outputs, x)

    def _labels_of(self, batch):
        return None if self.classes is None else self._one_hot(labels_of(batch), len(batch["x"]))

    def _one_hot(self, label, n):
        return one_hot_if_told(label, n, self.classes)


def _seen(likelihood: Likelihood, x: Array) -> Array:
    """Whether the encoder takes each x. Grey pixels count as an average over binary images that are drawn of them."""
    if likelihood.levels is not None and not likelihood.grey:
        return within_levels(x, likelihood.levels)
    return within_unit(x) if likelihood.unit else jnp.ones(len(x), bool)


def _probable(likelihood: Likelihood, x: Array) -> Array:
    """Whether each x has a probability, or a density."""
    if likelihood.grey and likelihood.levels is not None:
        return within_levels(x, likelihood.levels, remedy=_REMEDY)
    return _seen(likelihood, x)


def _is_zero(number: Any) -> bool:
    return isinstance(number, (int, float)) and number == 0


def _check_objective(objective: Objective, prior: Prior, posterior: Posterior) -> None:
    beta, warmup_steps, cycle_steps, free_bits, particles, doubly = objective
    check_numbers(beta=beta, warmup_steps=warmup_steps, cycle_steps=cycle_steps, free_bits=free_bits)
    # A traced number is taken as the default: the importance-weighted objective does not read it.
    usual = ((beta, 1), (warmup_steps, 0), (cycle_steps, 0), (free_bits, 0))
    weighed = any(known(w) and float(w) != other for w, other in usual)
    if particles > 1 and weighed:
        raise ValueError(
            f"particles={particles} has no separate KL to weigh: leave beta at 1, and warmup_steps, cycle_steps and "
            "free_bits at 0"
        )
    if doubly and particles == 1:
        raise ValueError("the doubly reparameterised gradient is one of several particles: give particles=2 or more")
    if not _is_zero(free_bits) and (prior.kl is None or not posterior.is_normal):
        raise ValueError("free bits need the KL of each dimension in closed form, which this prior or posterior lacks")
    if cycle_steps and known(warmup_steps) and not 0 < float(warmup_steps) <= cycle_steps:
        raise ValueError(
            f"in cycles of cycle_steps={cycle_steps} the KL's weight needs steps to rise in: give warmup_steps from "
            f"1 to {cycle_steps}, got {warmup_steps}"
        )

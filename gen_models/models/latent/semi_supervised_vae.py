"""M2: a VAE whose latent variables are a class, which is known of a few examples alone, and what the class leaves open.

Kingma, Rezende, Mohamed & Welling, Semi-supervised Learning with Deep Generative Models (2014), section 2.2 and 3.2.
p(y) is uniform over K classes, p(z) the standard normal, p(x|y,z) the decoder; q(y|x) is a classifier, q(z|x,y) a
diagonal normal. Where the class is known, eq. 6:

    log p(x,y) >= E_{q(z|x,y)} [log p(x|y,z)] + log p(y) - KL(q(z|x,y) || p(z)) = -L(x,y)

where it is not, eq. 7, which sums over all classes:

    log p(x) >= sum_y q(y|x) (-L(x,y)) + H(q(y|x)) = -U(x)

The paper's objective, eq. 8 and 9, is a sum over N images, with alpha = 0.1 N. Here it is one for each image:

    s E_labelled [L(x,y)] + (1 - s) E_unlabelled [U(x)] + alpha E_labelled [-log q(y|x)]

so that the paper's s is the share of labelled images among all, and its alpha 0.1. The defaults weigh labels more, for
shorter trainings.

All classes of a batch are one call of the encoder's and of the decoder's layers. The first layer of q(z|x,y), which is
linear in x and in the class, is computed once for an image. The classes of an image share the noise of z: each term has
the same expectation, and noise that all of them have does not tell one class from another.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.models.inputs import (
    check_count,
    field,
    images,
    latents,
    one_hot_labels,
    within_levels,
    within_unit,
)
from gen_models.models.latent.importance import importance_weighted
from gen_models.models.sizes import check_each, check_numbers, check_sizes
from gen_models.nn import likelihoods, posteriors, priors
from gen_models.nn.autoencoding import Activation, Decoder, Encoder, check_strides


def semi_supervised_vae(
    shape: Sequence[int] = (28, 28, 1),
    num_classes: int = 10,
    *,
    latent: int = 50,
    hidden: Sequence[int] = (500,),
    classifier_hidden: Sequence[int] | None = None,
    labelled_share: float | Array = 0.1,
    alpha: float | Array = 10.0,
    likelihood: likelihoods.Likelihood | None = None,
    activation: Activation = nn.softplus,
    channels: Sequence[int] = (),
    dtype: DTypeLike | None = None,
) -> Model:
    """M2, by default for images whose pixels are 0 or 1, in batches as `with_few_labels` of the data makes them.

    Its functions:
      loss: the objective above in nats per example. Reads "x", whose classes it is not told, and "labelled_x" with
        "labelled_y". The metrics "labelled" and "unlabelled" are the means of L and U, "classification" and "accuracy"
        are of q(y|x) on labelled examples, "entropy" is that of q(y|x) on the others.
      apply(params, stats, x): the logits of q(y|x), [B, K].
      elbo(params, stats, batch, key): {"reconstruction": -sum_y q(y|x) log p(x|y,z), "kl": the KL of q(y|x) and, by
        class, of q(z|x,y)}, [B] nats each, whose sum is U(x), for one draw of z. The classes are not read.
      log_prob(params, stats, x, key, particles=50, chunk=10): a lower bound on log p(x), [B] nats: the log of the sum
        over all classes of importance-weighted estimates of p(x,y), which tightens with `particles`.
      encode(params, stats, x, key=None, label=None): the code of q(z|x,y), (mu, log_sigma); without labels [B], of the
        class that is most probable by q(y|x).
      decode(params, stats, z, label): the mean of p(x|y,z), a picture with pixels from 0 to 1.
      sample(params, stats, key, n, label=None, draw=False): such pictures for n draws of z and, without labels, of the
        class; with `draw`, x drawn from p(x|y,z), as the data have it.

    Args:
      shape: of one example; without `channels` any, such as (50,) for features.
      num_classes: K; labels are integers in [0, K).
      latent: dimensions of z.
      hidden: widths of the layers of q(z|x,y), one or more; the decoder mirrors them.
      classifier_hidden: of q(y|x); None: as `hidden`.
      labelled_share: s, from 0 to 1; may be traced.
      alpha: weight of the classification loss; may be traced.
      likelihood: p(x|y,z), of `gen_models/nn/likelihoods.py`; None: Bernoulli.
      activation: between the layers.
      channels: of 4x4 convolutions of stride 2 before both encoders' layers; the decoder mirrors them.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters and losses stay float32.

    Raises:
      ValueError: a size is not positive, `hidden` is empty, there are fewer than two classes, the image is too small
        for so many strides, a weight is negative or the share above 1; a batch, labels or latents of another shape; or,
        outside of `jit`, x that the likelihood has no probability for or labels of no class.
    """
    classifier_hidden = hidden if classifier_hidden is None else classifier_hidden
    check_each(classifier_hidden=classifier_hidden)
    _check(shape, num_classes, latent, hidden, channels, labelled_share, alpha)
    likelihood = likelihood or likelihoods.bernoulli()
    common: dict[str, Any] = {"activation": activation, "dtype": dtype}
    posterior = posteriors.diagonal_normal()
    own = _SemiSupervised(
        tuple(shape),
        num_classes,
        latent,
        Encoder(heads=(("logits", num_classes),), hidden=tuple(classifier_hidden), channels=tuple(channels), **common),
        Encoder(heads=(("features", hidden[0]),), channels=tuple(channels), **common),
        Encoder(heads=tuple(posterior.heads(latent).items()), hidden=tuple(hidden[1:]), **common),
        Decoder(
            shape=(*shape[:-1], shape[-1] * likelihood.outputs),
            hidden=tuple(hidden)[::-1],
            channels=tuple(channels),
            **common,
        ),
        activation,
        likelihood,
        posterior,
        priors.standard_normal(),
        labelled_share,
        alpha,
    )
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


class _SemiSupervised(NamedTuple):
    """The parts, and the model's functions as methods."""

    shape: tuple[int, ...]
    num_classes: int
    latent: int
    classifier: nn.Module  # x -> the logits of q(y|x)
    trunk: nn.Module  # x -> its part of the first layer of q(z|x,y), to which that of the class is added
    encoder: nn.Module  # the activation of that layer -> the heads of q(z|x,y)
    decoder: nn.Module
    activation: Activation
    likelihood: likelihoods.Likelihood
    posterior: posteriors.Posterior
    prior: priors.Prior
    labelled_share: float | Array
    alpha: float | Array

    def init(self, key, batch):
        """Parameters of each part that has some."""
        x = self._scaled(images(batch, self.shape))[:1]
        keys = jax.random.split(key, 5)
        width = self.trunk.heads[0][1]
        found = {
            "classifier": self.classifier.init(keys[0], x)["params"],
            "trunk": self.trunk.init(keys[1], x)["params"],
            "class": jax.random.normal(keys[2], (self.num_classes, width), jnp.float32)
            / (x.size + self.num_classes) ** 0.5,
            "encoder": self.encoder.init(keys[3], jnp.zeros((1, width)))["params"],
            "decoder": self.decoder.init(keys[4], jnp.zeros((1, self.latent)), self._classes()[:1])["params"],
            "likelihood": self.likelihood.init(),
        }
        return {name: part for name, part in found.items() if jax.tree.leaves(part)}, {}

    def loss(self, params, stats, batch, key, *, step, train=True):
        """The objective for each image."""
        unlabelled_key, labelled_key = jax.random.split(key)
        reconstruction, kl, log_q = self._unlabelled(params, images(batch, self.shape), unlabelled_key)
        x = images({"x": field(batch, "labelled_x", _REMEDY)}, self.shape)
        label = self._one_hot(field(batch, "labelled_y", _REMEDY), len(x))
        known, logits = sum(self._terms(params, x, label, labelled_key)), self.apply(params, stats, x)
        classification = -(label * jax.nn.log_softmax(logits)).sum(1).mean()
        metrics = {
            "labelled": known.mean() + math.log(self.num_classes),
            "unlabelled": (reconstruction + kl).mean(),
            "classification": classification,
            "accuracy": (logits.argmax(1) == label.argmax(1)).mean(dtype=jnp.float32),
            "entropy": -(jnp.exp(log_q) * log_q).sum(1).mean(),
        }
        share = self.labelled_share
        value = share * metrics["labelled"] + (1 - share) * metrics["unlabelled"] + self.alpha * classification
        return value, (stats, metrics)

    def apply(self, params, stats, x) -> Float[Array, "b k"]:
        """The logits of q(y|x)."""
        heads: Any = self.classifier.apply({"params": params["classifier"]}, self._scaled(images({"x": x}, self.shape)))
        return heads["logits"]

    def elbo(self, params, stats, batch, key):
        """The terms of U(x) for each example, with one draw of z."""
        reconstruction, kl, _ = self._unlabelled(params, images(batch, self.shape), key)
        return {"reconstruction": reconstruction, "kl": kl}

    def log_prob(self, params, stats, x, key, *, particles: int = 50, chunk: int = 10) -> Float[Array, " b"]:
        """Lower bound on log p(x), [B] nats, with `particles` importance samples of z for each class."""
        x = images({"x": x}, self.shape)
        fits = within_levels(x, 2) if self.likelihood.levels == 2 else jnp.ones(len(x), bool)
        features = self._features(params, x)

        def of_class(label):
            label = jnp.broadcast_to(label, (len(x), self.num_classes))
            code = self._code(params, features, label)

            def log_weight(key):
                z = self.posterior.draw({}, code, key)
                log_p = self._log_likelihood(params, x, label, z) + self.prior.log_prob(None, z)
                return log_p - self.posterior.log_prob({}, code, z)

            return importance_weighted(log_weight, key, particles, chunk)

        each = jax.vmap(of_class)(self._classes())
        return jnp.where(fits, jax.nn.logsumexp(each, axis=0) - math.log(self.num_classes), jnp.nan)

    def encode(self, params, stats, x, key=None, label=None):
        """The code of q(z|x,y), of the most probable class where no labels are given."""
        x = images({"x": x}, self.shape)
        label = self.apply(params, stats, x).argmax(1) if label is None else label
        return self._code(params, self._features(params, x), self._one_hot(label, len(x)))

    def decode(self, params, stats, z, label) -> Float[Array, "b *shape"]:
        """The mean of p(x|y,z)."""
        latents(z, self.latent)
        return self.likelihood.mean(
            params.get("likelihood", {}), self._outputs(params, z, self._one_hot(label, len(z)))
        )

    def sample(self, params, stats, key, n: int, label=None, draw: bool = False) -> Float[Array, "n *shape"]:
        """Means of p(x|y,z) for n draws of z and of the class, or, with `draw`, x drawn from it."""
        check_count(n)
        z_key, label_key, x_key = jax.random.split(key, 3)
        z = self.prior.draw(None, z_key, (n, self.latent))
        label = jax.random.randint(label_key, (n,), 0, self.num_classes) if label is None else label
        if not draw:
            return self.decode(params, stats, z, label)
        outputs = self._outputs(params, z, self._one_hot(label, n))
        return self.likelihood.draw(x_key, params.get("likelihood", {}), outputs)

    def _unlabelled(self, params, x, key):
        """Of U(x): sum_y q(y|x) (-log p(x|y,z)) [B]; all of its KL [B]; and log q(y|x) [B, K]."""
        log_q = jax.nn.log_softmax(self.apply(params, {}, x))
        features = self._features(params, x)

        def of_class(label):
            label = jnp.broadcast_to(label, (len(x), self.num_classes))
            return self._terms(params, x, label, key, features)

        reconstruction, kl = jax.vmap(of_class, out_axes=1)(self._classes())  # [B, K] each
        q = jnp.exp(log_q)
        return (q * reconstruction).sum(1), (q * (kl + log_q + math.log(self.num_classes))).sum(1), log_q

    def _terms(self, params, x, label, key, features=None):
        """-log p(x|y,z) [B] and the KL of q(z|x,y) [B], for labels [B, K] and one draw of z."""
        code = self._code(params, self._features(params, x) if features is None else features, label)
        z = self.posterior.draw({}, code, key)
        assert self.prior.kl is not None  # that of the standard normal has a closed form
        return -self._log_likelihood(params, x, label, z), self.prior.kl(None, code).sum(1)

    def _features(self, params, x):
        heads: Any = self.trunk.apply({"params": params["trunk"]}, self._scaled(x))
        return heads["features"]

    def _code(self, params, features, label):
        heads: Any = self.encoder.apply(
            {"params": params["encoder"]}, self.activation(features + label @ params["class"])
        )
        return self.posterior.code(heads)

    def _outputs(self, params, z, label):
        return self.decoder.apply({"params": params["decoder"]}, z, label)

    def _log_likelihood(self, params, x, label, z):
        return self.likelihood.log_prob(params.get("likelihood", {}), self._outputs(params, z, label), x)

    def _scaled(self, x):
        """x as encoders see it; NaN for one that is beyond what the likelihood takes."""
        levels = self.likelihood.levels
        if levels is not None and not self.likelihood.grey:
            fits = within_levels(x, levels)
        else:
            fits = within_unit(x) if self.likelihood.unit else jnp.ones(len(x), bool)
        return jnp.where(fits.reshape(-1, *[1] * len(self.shape)), self.likelihood.scaled(x), jnp.nan)

    def _one_hot(self, label, n):
        """[n, K], NaN for a label that is no class."""
        return one_hot_labels(label, n, self.num_classes)

    def _classes(self):
        """All classes, one-hot."""
        return jnp.eye(self.num_classes, dtype=jnp.float32)


_REMEDY = "with_few_labels of gen_models.data.few_labels makes batches with a few labelled examples"


def _check(shape, num_classes, latent, hidden, channels, labelled_share, alpha):
    """Refuse what is no model."""
    check_each(shape=shape, hidden=hidden, channels=channels)
    check_sizes(num_classes=num_classes, latent=latent)
    check_numbers(labelled_share=labelled_share, alpha=alpha)
    if channels:
        check_sizes(shape=shape)
        check_strides(shape, channels)
    if not hidden:
        raise ValueError("q(z|x,y) needs a layer in which x and the class meet: give hidden=(500,), say, not ()")
    if num_classes < 2:
        raise ValueError(f"a class that is to be found is one of two or more, got num_classes={num_classes}")
    if isinstance(labelled_share, int | float) and labelled_share > 1:
        raise ValueError(f"labelled_share is a share, from 0 to 1, got {labelled_share}")

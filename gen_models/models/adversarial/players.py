"""The functions of a model of two players, which `adversarial_model` puts together: see there for what they do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from gen_models.models.inputs import check_count, images, labels_of, latents, one_hot_if_told, within_unit
from gen_models.nn.adversarial_losses import AdversarialLoss, feature_matching
from gen_models.nn.batch_norm import of_one_batch
from gen_models.nn.gradient_penalties import GradientPenalty
from gen_models.nn.judgements import Judgement
from gen_models.nn.normalised_weights import COLLECTION


def pack(x: Float[Array, "b *shape"], packing: int) -> Float[Array, "packs packing *shape"]:
    """`packing` neighbours of the batch as one pack, for a discriminator that judges them at once (Lin et al., 2018).

    Raises:
      ValueError: `packing` does not divide the batch.
    """
    if x.shape[0] % packing:
        raise ValueError(f"packing={packing} does not divide the batch of {x.shape[0]} examples")
    return x.reshape(x.shape[0] // packing, packing, *x.shape[1:])


@dataclass(frozen=True, kw_only=True, eq=False)
class Players:
    """What `adversarial_model` was given, and the functions of the model."""

    generator: nn.Module
    discriminator: nn.Module
    shape: tuple[int, ...]
    latent: int
    loss: AdversarialLoss
    penalty: GradientPenalty | None
    noise: str
    symmetric: bool
    packing: int
    apart: bool
    matching: bool
    classes: int | None
    auxiliary: tuple[float | Array, ...]
    unrolled: int
    unrolled_rate: float | Array
    code: Callable[[Judgement], Array]

    def init(self, key, batch):
        """Both networks see the whole batch, from which weight normalisation sets its scales."""
        real, label = self._real(batch)
        packs = self._packs(real)  # a batch that does not fit is refused here, before anything is compiled
        generator_key, discriminator_key = jax.random.split(key)
        z = self._noise(jax.random.fold_in(generator_key, 0), len(real))
        its = self.generator.init(generator_key, z, label, False)
        others = self.discriminator.init(discriminator_key, packs, label, False)
        _check_collections("generator", its, "batch_stats")
        _check_collections("discriminator", others, "batch_stats", COLLECTION)
        stats = {"generator": its.get("batch_stats", {})}
        if others.get("batch_stats"):
            stats["discriminator"] = others["batch_stats"]
        if others.get(COLLECTION):
            stats[COLLECTION] = others[COLLECTION]
        return {"discriminator": others["params"], "generator": its["params"]}, stats

    def apply(self, params, stats, x, label=None):
        """The discriminator's logit of each example in x [B, *shape], or of each pack of neighbours."""
        return self._seen(params, stats, x, label).logits

    def encode(self, params, stats, x, key=None, label=None):
        """What `code` makes of the discriminator's judgement of x [B, *shape]."""
        del key
        return self.code(self._seen(params, stats, x, label))

    def decode(self, params, stats, z, label=None):
        """G(z), [B, *shape], of z [B, latent] with the running averages of batch norm."""
        latents(z, self.latent)
        x, _ = self._generated(params, stats, z, self._one_hot(label, z.shape[0]), False)
        return (x + 1) / 2 if self.symmetric else x

    def sample(self, params, stats, key, n: int, label=None):
        """G(z), [n, *shape], for n draws of z, of the classes `label` or of uniform ones; each by itself."""
        check_count(n)
        if label is None and self.classes is not None:
            key, label_key = jax.random.split(key)
            label = jax.random.randint(label_key, (n,), 0, self.classes, jnp.int32)
        return self.decode(params, stats, self._noise(key, n), label)

    def batch_stats(self, params, stats, batch, key):
        """Batch norm's means and variances over as many fakes as the batch has examples, and of both."""
        real, label = self._real(batch)
        own = {name: stats[name] for name in ("generator", "discriminator") if name in stats}

        def updated(own):
            fake, after = self._fakes(params, stats | own, key, real, label, True)
            if "discriminator" in own:
                _, _, after = self._both(params["discriminator"], after, real, fake, label, True)
            return {name: after[name] for name in own}

        return stats | of_one_batch(updated, own)

    def loss_of_discriminator(self, params, stats, batch, key, *, step, train=True):
        """The loss, penalty and guesses; leaves the generator's running averages alone: they move once a step."""
        del step
        real, label = self._real(batch)
        key, penalty_key = self._split(key)
        fake, _ = self._fakes(params, stats, key, real, label, train)
        fake = jax.lax.stop_gradient(fake)
        return self._value(params["discriminator"], stats, real, fake, label, penalty_key, train)

    def loss_of_generator(self, params, stats, batch, key, *, step, train=True):
        """The generator's part, over as many fakes as the batch has examples."""
        del step
        real, label = self._real(batch)
        key, penalty_key = self._split(key)
        judge = jax.lax.stop_gradient(params["discriminator"])
        fake, after = self._fakes(params, stats, key, real, label, train)
        if self.unrolled:
            judge = self._unrolled(judge, stats, real, fake, label, penalty_key, train)
        if self.matching:
            on_real, on_fake, _ = self._both(judge, stats, real, fake, label, train)
            value = feature_matching(on_real.features, on_fake.features)
        else:
            on_fake, _ = self._judged(judge, stats, self._packs(fake), label, train)
            value = self.loss.generator(on_fake.logits)
        if on_fake.classes is not None:
            value = value + self.auxiliary[1] * _guess(on_fake, label)
        return value.astype(jnp.float32), (after, {})  # a weight that is traced may be wider

    def _value(self, own, stats, real, fake, label, key, train):
        """The discriminator's loss of these examples, as `Model.loss` gives one."""
        on_real, on_fake, after = self._both(own, stats, real, fake, label, train)
        real_logits, fake_logits = on_real.logits, on_fake.logits
        value = self.loss.discriminator(real_logits, fake_logits)
        metrics = {"real_logit": real_logits.mean(), "fake_logit": fake_logits.mean()}
        metrics |= self.loss.metrics(real_logits, fake_logits)
        if on_real.classes is not None:
            guesses = {"real_class_loss": _guess(on_real, label), "fake_class_loss": _guess(on_fake, label)}
            value, metrics = value + self.auxiliary[0] * sum(guesses.values()), metrics | guesses
        if self.penalty is not None:

            def critic(packs):
                return self._judged(own, stats, packs, label, train)[0].logits

            cost, norm = self.penalty.measured(critic, self._packs(real), self._packs(fake), key)
            value, metrics = value + cost, metrics | {"penalty": cost, "gradient_norm": norm}
        return value.astype(jnp.float32), (after, metrics)

    def _unrolled(self, own, stats, real, fake, label, key, train):
        """The discriminator's parameters after its own steps, which the fakes have influenced."""

        def descend(own, _):
            gradient = jax.grad(lambda own: self._value(own, stats, real, fake, label, key, train)[0])(own)
            return jax.tree.map(lambda p, g: (p - self.unrolled_rate * g).astype(p.dtype), own, gradient), None

        return jax.lax.scan(descend, own, None, length=self.unrolled)[0]

    def _both(self, own, stats, real, fake, label, train):
        """The judgements of real and generated examples, and the discriminator's statistics after both."""
        real, fake = self._packs(real), self._packs(fake)
        if not self.apart:
            twice = None if label is None else jnp.concatenate([label, label])
            both, after = self._judged(own, stats, jnp.concatenate([real, fake]), twice, train)
            halves = jax.tree.map(lambda found: jnp.split(found, 2), both)
            on_real, on_fake = (jax.tree.map(lambda h, i=i: h[i], halves, is_leaf=_is_halves) for i in range(2))
            return on_real, on_fake, after
        on_real, after = self._judged(own, stats, real, label, train)
        # The singular vectors of before: both are judged by the same weights, and take one step of power iteration.
        between = after | {name: stats[name] for name in (COLLECTION,) if name in stats}
        on_fake, after = self._judged(own, between, fake, label, train)
        return on_real, on_fake, after

    def _judged(self, own, stats, packs, label, train) -> tuple[Judgement, Any]:
        """A judgement, and the statistics after it."""
        variables = {
            "params": own,
            "batch_stats": stats.get("discriminator", {}),
            COLLECTION: stats.get(COLLECTION, {}),
        }
        if not train:
            judgement: Any = self.discriminator.apply(variables, packs, label, False)
            return judgement, stats
        judgement, updated = self.discriminator.apply(
            variables, packs, label, True, mutable=["batch_stats", COLLECTION]
        )
        places = {"discriminator": "batch_stats", COLLECTION: COLLECTION}
        after = stats | {name: updated[there] for name, there in places.items() if name in stats}
        return judgement, after

    def _seen(self, params, stats, x, label):
        """The judgement of x, [B, *shape] from 0 to 1 where the networks see -1 to 1, in evaluation."""
        x = self._scaled(images({"x": x}, self.shape))
        label = self._one_hot(label, len(x))
        return self._judged(params["discriminator"], stats, self._packs(x), label, False)[0]

    def _fakes(self, params, stats, key, real, label, train):
        """As many examples as there are real ones, and the statistics that follow."""
        return self._generated(params, stats, self._noise(key, len(real)), label, train)

    def _generated(self, params, stats, z, label, train) -> tuple[Any, Any]:
        variables = {"params": params["generator"], "batch_stats": stats["generator"]}
        if not train:
            return self.generator.apply(variables, z, label, False), stats
        x, updated = self.generator.apply(variables, z, label, True, mutable=["batch_stats"])
        return x, stats | {"generator": updated.get("batch_stats", stats["generator"])}

    def _noise(self, key, n):
        if self.noise == "uniform":
            return jax.random.uniform(key, (n, self.latent), jnp.float32, -1, 1)
        return jax.random.normal(key, (n, self.latent), jnp.float32)

    def _split(self, key):
        """A key for the noise and one for the penalty, which most models have not."""
        return (key, key) if self.penalty is None else jax.random.split(key)

    def _packs(self, x):
        return x if self.packing == 1 else pack(x, self.packing)

    def _real(self, batch):
        """The batch's examples as the networks see them, and its labels, one-hot."""
        x = images(batch, self.shape)
        label = None if self.classes is None else self._one_hot(labels_of(batch), len(x))
        return self._scaled(x), label

    def _scaled(self, x):
        if not self.symmetric:
            return x
        fits = within_unit(x).reshape(-1, *[1] * len(self.shape))
        return jnp.where(fits, 2 * x - 1, jnp.nan)

    def _one_hot(self, label, n):
        return one_hot_if_told(label, n, self.classes)


def _guess(judgement: Judgement, label: Float[Array, "b k"]) -> Float[Array, ""]:
    """The mean cross-entropy of the guessed classes, in nats; NaN where a label is."""
    assert judgement.classes is not None
    return -(label * jax.nn.log_softmax(judgement.classes)).sum(-1).mean()


def _check_collections(network: str, variables: Any, *carried: str) -> None:
    """Refuse a network with variables that no step would keep."""
    others = sorted(set(variables) - {"params", *carried})
    if others:
        raise ValueError(
            f"the {network} has variables in {', '.join(map(repr, others))}, but beside parameters only those in "
            f"{' and '.join(map(repr, carried))} are kept from step to step: leave out the layers that make them, in a "
            "generator those with spectral normalisation"
        )


def _is_halves(value: Any) -> bool:
    return isinstance(value, list)

"""M1 and M1+M2: a model of the features that a VAE finds in images, trained in one run with the VAE.

Kingma, Rezende, Mohamed & Welling, Semi-supervised Learning with Deep Generative Models (2014), section 2.1 and 2.3. M1
is a VAE of all images, and a classifier of its z by the few labels; M1+M2 is M2 (`semi_supervised_vae.py`), with normal
features in place of pixels, so that

    p(x,y,z1,z2) = p(y) p(z2) p(z1|y,z2) p(x|z1)

Features are draws z1 ~ q(z1|x), afresh in each step, as in the paper; to classify, they are the means. Over all images
draws have about the distribution of the prior, mean 0 and deviation 1, and are not standardised again.

Differs from the paper, which trains the VAE first: here both are players of one step, "features" before "top", and no
gradient goes from the second to the first. Its M1 has a transductive support vector machine for its classifier, which
also looks at images without labels; here it is any classifier, which looks at the labelled ones.
"""

from dataclasses import replace
from typing import Any

import jax
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.models.inputs import check_count, field
from gen_models.nn.posteriors import Normal, diagonal_normal

_REMEDY = "with_few_labels of gen_models.data.few_labels makes batches with a few labelled examples"


def labelled_alone(model: Model) -> Model:
    """A classifier that is trained on the labelled examples of batches as `with_few_labels` of the data makes them.

    Its loss reads "labelled_x" and "labelled_y" as the classifier's own reads "x" and "y"; all else is as it was.

    Args:
      model: with one loss, such as `mlp` or `logistic_regression`.

    Raises:
      ValueError: the model has several players; a batch has no labelled examples.
    """
    whole = model.loss
    if not callable(whole):
        raise ValueError(f"the players {sorted(whole)} would each need labelled examples: give a model with one loss")

    def labelled(batch):
        return {"x": field(batch, "labelled_x", _REMEDY), "y": field(batch, "labelled_y", _REMEDY)}

    def loss(params, stats, batch, key, *, step, train=True):
        return whole(params, stats, labelled(batch), key, step=step, train=train)

    def batch_stats(params, stats, batch, key):
        return model.batch_stats(params, stats, labelled(batch), key)

    def init(key, batch):
        return model.init(key, labelled(batch))

    more: dict[str, Any] = {"batch_stats": batch_stats} if model.has("batch_stats") else {}
    return replace(model, init=init, loss=loss, **more)


def on_features(features: Model, top: Model) -> Model:
    """A model of images, made of one that finds features in them and one of these features; its players are both.

    `on_features(vae(shape, latent=50), labelled_alone(mlp((50,), 10)))` is M1, and, with `gaussian("each", unit=False)`
    for its likelihood, `on_features(vae(shape, latent=50), semi_supervised_vae((50,), 10, likelihood=...))` is M1+M2.

    Its functions:
      loss: {"features": that of the images' model, "top": that of the features' model, on features of "x" and of
        "labelled_x"}, the second on the features of the first as it is after its update.
      apply(params, stats, x): the logits of the features' model, for the means of q(z1|x).
      elbo(params, stats, batch, key): that of the images' model, under its own prior.
      encode(params, stats, x, key=None, ...): the features' code by their model; where that has none, the images' code.
      decode(params, stats, z, ...): images made of the features that are decoded of z; of M1, of z itself.
      sample(params, stats, key, n, ...): images made of features that are drawn from their model; of M1, from the
        prior.
      The last three pass on what else the features' model takes, such as label=.

    Args:
      features: a model of images with `encode`, such as `vae`; codes that are no normal distribution are their means.
      top: a model of features [B, D] with `apply`.

    Raises:
      ValueError: one has several players, or lacks an operation that is needed.
    """
    for name, model, needed in (("features", features, "encode"), ("top", top, "apply")):
        if not callable(model.loss) or not model.has(needed):
            raise ValueError(f"{name} must be a model with one loss and the operation {needed!r}")
    lower: Any = features.loss
    upper: Any = top.loss

    def found(params, stats, x, key=None) -> Float[Array, "b d"]:
        """Features: draws from q(z1|x), or without a key its means."""
        code = features.encode(_part(params, "features"), _part(stats, "features"), x)
        if key is not None and isinstance(code, Normal):
            return diagonal_normal().draw({}, code, key)
        return code[0] if isinstance(code, tuple) else code

    def of_batch(params, stats, batch, key):
        """A batch with features in place of images, of which none has a gradient."""
        field(batch, "x", "name the model's input 'x'")
        params, keys = jax.lax.stop_gradient(params), jax.random.split(key)
        made = {
            n: found(params, stats, batch[n], k) for n, k in zip(("x", "labelled_x"), keys, strict=True) if n in batch
        }
        return {**batch, **made}

    def init(key, batch):
        features_key, top_key, draw_key = jax.random.split(key, 3)
        below = features.init(features_key, batch)
        params, stats = {"features": below[0]}, {"features": below[1]}
        above = top.init(top_key, of_batch(params, stats, batch, draw_key))
        return {**params, "top": above[0]}, {**stats, "top": above[1]}

    def loss_of_features(params, stats, batch, key, *, step, train=True):
        value, (own, metrics) = lower(
            _part(params, "features"), _part(stats, "features"), batch, key, step=step, train=train
        )
        return value, ({**stats, "features": own}, metrics)

    def loss_of_top(params, stats, batch, key, *, step, train=True):
        draw_key, own_key = jax.random.split(key)
        batch = of_batch(params, stats, batch, draw_key)
        value, (own, metrics) = upper(_part(params, "top"), _part(stats, "top"), batch, own_key, step=step, train=train)
        return value, ({**stats, "top": own}, metrics)

    def apply(params, stats, x):
        return top.apply(params["top"], stats["top"], found(params, stats, x))

    def elbo(params, stats, batch, key):
        return features.elbo(params["features"], stats["features"], batch, key)

    def encode(params, stats, x, key=None, **more):
        if not top.has("encode"):
            return features.encode(params["features"], stats["features"], x, key, **more)
        return top.encode(params["top"], stats["top"], found(params, stats, x), key, **more)

    def decode(params, stats, z, **more):
        z1 = top.decode(params["top"], stats["top"], z, **more) if top.has("decode") else z
        return features.decode(params["features"], stats["features"], z1)

    def sample(params, stats, key, n: int, **more):
        check_count(n)
        if not top.has("sample"):
            return features.sample(params["features"], stats["features"], key, n, **more)
        z1 = top.sample(params["top"], stats["top"], key, n, draw=True, **more)
        return features.decode(params["features"], stats["features"], z1)

    both = {"features": loss_of_features, "top": loss_of_top}
    operations: dict[str, Any] = {"encode": encode, "elbo": elbo, "decode": decode, "sample": sample}
    return Model(init, both, apply=apply, **{n: made for n, made in operations.items() if features.has(n)})


def _part(tree: Any, name: str) -> Any:
    """A model's part of parameters or statistics; nothing of nothing: a batch is refused before they are seen."""
    return tree[name] if tree else tree

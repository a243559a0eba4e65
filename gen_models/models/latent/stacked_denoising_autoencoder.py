"""The stacked denoising autoencoder: layers that are trained one after another, and then all together.

Vincent et al., Stacked Denoising Autoencoders (2010), section 3.5. Layer k is a denoising autoencoder of its own, whose
x is the code h_k of the layers below it, which is whole and has no gradient:

    L_k = E_{h~ ~ C(h~|h_k)} L(h_k, g_k(f_k(h~))),   h_0 = x,   h_{k+1} = f_k(h_k)

Here a step is one function of its number: of K layers with S steps each, step t trains layer t // S, and from step K S
on all of them are fine-tuned. With `classes` that is by a softmax layer on the last code, and labels (section 3.5, as
in their experiments); without, the decoders are unrolled behind the encoders, g_0(...g_{K-1}(f_{K-1}(...f_0(x)))), and
the error of x is reduced (Hinton & Salakhutdinov, 2006). Nothing is damaged then.

A layer that is not trained in a step has a gradient of 0. An optimizer with momentum or decay moves it all the same;
`layer_by_layer` gives each layer an optimizer of its own that rests until it is trained, and begins afresh.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.models.inputs import images, labels_of, latents, one_hot_labels, within_unit
from gen_models.models.sizes import check_each, check_sizes
from gen_models.nn.autoencoding import Activation
from gen_models.nn.corruptions import Corruption, masking
from gen_models.nn.reconstructions import Reconstruction, cross_entropy


def stacked_denoising_autoencoder(
    shape: Sequence[int] = (28, 28, 1),
    *,
    latent: int = 32,
    hidden: Sequence[int] = (512,),
    steps_per_layer: int = 1000,
    classes: int | None = None,
    corruption: Corruption | None = None,
    activation: Activation = nn.sigmoid,
    reconstruction: Reconstruction | None = None,
    code_reconstruction: Reconstruction | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """Denoising autoencoders on top of each other, trained one by one by the number of the step; see above.

    Its functions:
      loss: that of the layer whose turn it is, or of fine-tuning; with `train=False` always the latter. The metric
        "layer" is the number of the layer that is trained, and that of the layers in fine-tuning.
      encode(params, stats, x, key=None): the code of the last layer, [B, latent].
      decode(params, stats, z): x made by all decoders in turn, [B, *shape]. With `classes`, fine-tuning moves the
        encoders away from these.
      apply(params, stats, x): with `classes`, the logits, [B, classes]; without, there is none.

    Args:
      shape: (height, width, channels) of one image.
      latent: units of the last layer.
      hidden: units of the layers before it.
      steps_per_layer: S, steps of each layer; 0: fine-tuning alone, from the start on.
      classes: of labels `batch["y"]` that fine-tuning predicts; None: it makes x again.
      corruption: (h, key) -> damaged h of each layer, of `gen_models/nn/corruptions.py`; None: `masking(0.25)`.
      activation: of each code; the default is between 0 and 1, as `cross_entropy` wants it of the codes.
      reconstruction: the error of x; None: the cross-entropy, for pixels between 0 and 1.
      code_reconstruction: the error of the codes between the layers; None: the cross-entropy.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and codes stay float32.

    Raises:
      ValueError: a size is not positive, `shape` is not (H, W, C), `steps_per_layer` is negative or there are fewer
        than two classes; a batch, images, labels or codes that do not fit; or, where the error is a cross-entropy and
        outside of `jit`, pixels that are not between 0 and 1.
    """
    check_sizes(shape=shape, latent=latent, classes=classes)
    check_each(hidden=hidden)
    if not isinstance(steps_per_layer, int) or steps_per_layer < 0:
        raise ValueError(f"steps_per_layer must be a whole number, 0 or more, got {steps_per_layer}")
    if classes == 1:
        raise ValueError("labels of one class say nothing: give classes=2 or more, or None")
    if hidden and code_reconstruction is None and activation is not nn.sigmoid:
        raise ValueError(
            "the cross-entropy of codes wants them between 0 and 1: leave activation at the sigmoid, or give "
            "code_reconstruction=squared()"
        )
    widths = (math.prod(shape), *hidden, latent)
    errors = (reconstruction or cross_entropy(), *[code_reconstruction or cross_entropy()] * len(hidden))
    own = _Stack(tuple(shape), widths, steps_per_layer, classes, corruption or masking(0.25), activation, errors, dtype)
    operations: dict[str, Any] = {} if classes is None else {"apply": own.apply}
    return Model(own.init, own.loss, encode=own.encode, decode=own.decode, **operations)


def layer_by_layer(
    tx: optax.GradientTransformation, *, layers: int, steps_per_layer: int
) -> optax.GradientTransformation:
    """An optimizer of a stacked autoencoder that leaves a layer alone, bit for bit, while it is not trained.

    Each layer has a copy of `tx`, whose state waits for the layer's steps: its moments, and its schedule's count, begin
    with them. So a schedule's steps are those of one layer, its own and those of fine-tuning. Clipping is by layer.

    Args:
      tx: the optimizer of each layer.
      layers: K, as many as the model has: one more than it has `hidden` sizes.
      steps_per_layer: S, as the model has it.

    Raises:
      ValueError: `layers` is below 1, or `steps_per_layer` is negative.
    """
    check_sizes(layers=layers)
    if steps_per_layer < 0:
        raise ValueError(f"steps_per_layer must be 0 or more, got {steps_per_layer}")

    def is_trained(layer: int, step: Array) -> Array:
        tuning = step >= layers * steps_per_layer
        return tuning if steps_per_layer == 0 else tuning | (step // steps_per_layer == layer)

    names = {_name(layer): layer for layer in range(layers)} | {_CLASSIFIER: layers}
    each = {n: optax.transforms.conditionally_mask(tx, partial(is_trained, layer)) for n, layer in names.items()}
    return optax.multi_transform(each, lambda params: {name: name for name in params})


_CLASSIFIER = "classifier"


def _name(layer: int) -> str:
    return f"layer_{layer}"


class _Stack(NamedTuple):
    """The parts, and the model's functions as methods."""

    shape: tuple[int, ...]
    widths: tuple[int, ...]  # numbers of x, then units of each layer
    steps: int
    classes: int | None
    corruption: Corruption
    activation: Activation
    errors: tuple[Reconstruction, ...]  # of each layer's x
    dtype: DTypeLike | None

    def init(self, key, batch):
        """Parameters of each layer, {"encoder", "decoder"}, and of the classifier."""
        images(batch, self.shape)
        params: dict[str, Any] = {}
        for layer, (below, above) in enumerate(zip(self.widths[:-1], self.widths[1:], strict=True)):
            encoder_key, decoder_key = jax.random.split(jax.random.fold_in(key, layer))
            encoder, decoder = self._fresh(encoder_key, below, above), self._fresh(decoder_key, above, below)
            params[_name(layer)] = {"encoder": encoder, "decoder": decoder}
        if self.classes is not None:
            last = jax.random.fold_in(key, len(self.errors))
            params[_CLASSIFIER] = self._fresh(last, self.widths[-1], self.classes)
        return params, {}

    def loss(self, params, stats, batch, key, *, step, train=True):
        """The error of the layer whose turn it is, or that of fine-tuning."""
        x, label = self._seen(batch), self._labels_of(batch)
        layers = len(self.errors)
        layer = jnp.asarray(layers if self.steps == 0 or not train else jnp.minimum(step // self.steps, layers))
        tuning = partial(self._tuning, label=label)
        if self.steps == 0 or not train:
            value = tuning(params, x, key)
        else:
            branches = [*(partial(self._pretraining, of) for of in range(layers)), tuning]
            value = jax.lax.switch(layer, branches, params, x, key)
        return value, (stats, {"layer": layer.astype(jnp.float32)})

    def encode(self, params, stats, x, key=None) -> Float[Array, "b d"]:
        """The code of the last layer."""
        return self._code(params, self._seen({"x": x}), len(self.errors))

    def decode(self, params, stats, z) -> Float[Array, "b *shape"]:
        """x made of codes, in the unit of the data."""
        latents(z, self.widths[-1])
        return self.errors[0].picture(self._unrolled(params, z)).reshape(-1, *self.shape)

    def apply(self, params, stats, x) -> Float[Array, "b classes"]:
        """The logits of the classes."""
        return self._dense(params[_CLASSIFIER], self.encode(params, stats, x))

    def _pretraining(self, layer, params, x, key):
        """The error of a layer's whole input made of its damaged one; nothing below has a gradient."""
        own = params[_name(layer)]
        whole = jax.lax.stop_gradient(self._code(params, x, layer))
        code = self.activation(self._dense(own["encoder"], self.corruption(whole, key)))
        return self.errors[layer].error(self._dense(own["decoder"], code), whole).mean()

    def _tuning(self, params, x, key, label):
        code = self._code(params, x, len(self.errors))
        if label is None:
            return self.errors[0].error(self._unrolled(params, code), x).mean()
        log_p = jax.nn.log_softmax(self._dense(params[_CLASSIFIER], code))
        return -(label * log_p).sum(1).mean()

    def _code(self, params, x, layers):
        """What the first `layers` layers make of x [B, numbers of x]."""
        for layer in range(layers):
            x = self.activation(self._dense(params[_name(layer)]["encoder"], x))
        return x

    def _unrolled(self, params, z):
        """The outputs of the lowest decoder for codes of the last layer."""
        for layer in range(len(self.errors) - 1, 0, -1):
            z = self.errors[layer].picture(self._dense(params[_name(layer)]["decoder"], z))
        return self._dense(params[_name(0)]["decoder"], z)

    def _seen(self, batch):
        """x of a batch, flat; NaN for an image that the error is not defined for, where nothing can be raised."""
        x = images(batch, self.shape)
        fits = within_unit(x) if self.errors[0].unit else jnp.ones(len(x), bool)
        return jnp.where(fits[:, None], x.reshape(len(x), -1), jnp.nan)

    def _labels_of(self, batch):
        """[B, classes], NaN for a label that is no class; None where there are no classes."""
        if self.classes is None:
            return None
        return one_hot_labels(labels_of(batch), len(batch["x"]), self.classes)

    def _fresh(self, key, below, above):
        return nn.Dense(above).init(key, jnp.zeros((1, below), jnp.float32))["params"]

    def _dense(self, params, x):
        out: Any = nn.Dense(params["bias"].shape[0], dtype=self.dtype).apply({"params": params}, x)
        return out.astype(jnp.float32)

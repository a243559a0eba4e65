"""The undercomplete autoencoder: a code narrower than x, from which x is made again.

Hinton & Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks (2006), with dense layers; with
convolutions of stride 2, Masci et al., Stacked Convolutional Auto-Encoders (2011). What is least is the mean over the
batch of

    L(x, g(f(x))),   f the encoder, g the decoder

in one of the errors of `gen_models/nn/reconstructions.py`. Differs from the first paper: all layers are trained at once
from a random start, which rectifiers and Adam allow; `stacked_denoising_autoencoder.py` trains them one by one. Weights
are not tied.

With identities for activations and the squared error it is linear, and its least error is that of principal component
analysis with as many components (Baldi & Hornik, 1989); `pca.py` has that in closed form.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypedDict, Unpack

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.models.inputs import images, latents, within_unit
from gen_models.models.sizes import check_each, check_sizes
from gen_models.nn.autoencoding import Activation, Decoder, Encoder, Enlargement, check_strides, transposed
from gen_models.nn.reconstructions import Reconstruction, squared


class Network(TypedDict, total=False):
    """What every autoencoder of this family takes: the arguments of `parts_of` but for the shape."""

    latent: int
    hidden: Sequence[int]
    channels: Sequence[int]
    decoder_hidden: Sequence[int] | None
    decoder_channels: Sequence[int] | None
    enlarged: Enlargement
    activation: Activation | None
    code_activation: Activation | None
    reconstruction: Reconstruction | None
    dtype: DTypeLike | None


def autoencoder(shape: Sequence[int] = (28, 28, 1), **network: Unpack[Network]) -> Model:
    """An autoencoder, whose loss is the mean error of reconstruction over the batch.

    Its functions:
      loss: reads `batch["x"]`; the metric is "reconstruction".
      encode(params, stats, x, key=None): the code, [B, latent].
      decode(params, stats, z): x made of codes, [B, *shape], in the unit of the data.
      apply(params, stats, z): the decoder's outputs, which are logits where the error is a cross-entropy.

    Args:
      shape: (height, width, channels) of one image.
      **network: sizes, activations, the error and the dtype, as `parts_of` explains them.

    Raises:
      ValueError: as `parts_of`; a batch, images or codes of another shape; or, where the error is a cross-entropy and
        outside of `jit`, pixels that are not between 0 and 1.
    """
    parts = parts_of(shape, **network)

    def loss(params, stats, batch, key, *, step, train=True):
        x = parts.seen(batch)
        reconstruction = parts.error(params, parts.code(params, x), x).mean()
        return reconstruction, (stats, {"reconstruction": reconstruction})

    return parts.model(loss)


def identity(x: Array) -> Array:
    """What stands for an activation that there is not."""
    return x


def parts_of(
    shape: Sequence[int] = (28, 28, 1),
    *,
    latent: int = 32,
    hidden: Sequence[int] = (512,),
    channels: Sequence[int] = (),
    decoder_hidden: Sequence[int] | None = None,
    decoder_channels: Sequence[int] | None = None,
    enlarged: Enlargement = transposed,
    activation: Activation | None = nn.relu,
    code_activation: Activation | None = None,
    reconstruction: Reconstruction | None = None,
    dtype: DTypeLike | None = None,
) -> "Parts":
    """The networks of an autoencoder, of which the models of this family make one by a loss of their own.

    Args:
      shape: (height, width, channels) of one image.
      latent: dimensions of the code.
      hidden: widths of the encoder's dense layers; the decoder mirrors them.
      channels: of 4x4 convolutions of stride 2 before them, each of which halves height and width (odd ones rounded
        up); the decoder mirrors them. (): all layers are dense.
      decoder_hidden: widths of the decoder's dense layers; None: it mirrors the encoder's.
      decoder_channels: of the encoder's convolutions that the decoder mirrors, from the image inwards; None: all.
      enlarged: how the decoder doubles an image's sides: `transposed` or `resized` of `gen_models/nn/autoencoding.py`.
      activation: between the layers; None: the identity, so that the network is linear.
      code_activation: of the code itself; None: the identity.
      reconstruction: the error, of `gen_models/nn/reconstructions.py`; None: the squared error.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and codes stay float32.

    Raises:
      ValueError: a size is not positive, `shape` is not (H, W, C), or the image is too small for so many strides.
    """
    check_each(hidden=hidden, channels=channels)
    decoder_hidden = tuple(hidden)[::-1] if decoder_hidden is None else decoder_hidden
    decoder_channels = channels if decoder_channels is None else decoder_channels
    check_sizes(shape=shape, latent=latent)
    check_each(decoder_hidden=decoder_hidden, decoder_channels=decoder_channels)
    check_strides(shape, channels)
    check_strides(shape, decoder_channels)
    encoder = Encoder(
        heads=(("code", latent),),
        hidden=tuple(hidden),
        channels=tuple(channels),
        activation=activation or identity,
        dtype=dtype,
    )
    decoder = Decoder(
        shape=tuple(shape),
        hidden=tuple(decoder_hidden),
        channels=tuple(decoder_channels),
        enlarged=enlarged,
        activation=activation or identity,
        dtype=dtype,
    )
    return Parts(tuple(shape), latent, encoder, decoder, code_activation or identity, reconstruction or squared())


class Parts(NamedTuple):
    """The parts of an autoencoder, and the functions that all of this family share, as methods."""

    shape: tuple[int, ...]
    latent: int
    encoder: nn.Module
    decoder: nn.Module
    code_activation: Activation
    reconstruction: Reconstruction

    def model(self, loss: Callable[..., Any], **operations: Any) -> Model:
        """The model that is trained by this loss; its other functions are the methods below, or those given."""
        own: dict[str, Any] = {"apply": self.apply, "encode": self.encode, "decode": self.decode}
        return Model(self.init, loss, **(own | operations))

    def init(self, key, batch):
        """Parameters of the encoder and the decoder."""
        images(batch, self.shape)  # a batch of another shape is refused here, before anything is compiled
        encoder_key, decoder_key = jax.random.split(key)
        params = {
            "encoder": self.encoder.init(encoder_key, jnp.zeros((1, *self.shape), jnp.float32))["params"],
            "decoder": self.decoder.init(decoder_key, jnp.zeros((1, self.latent), jnp.float32))["params"],
        }
        return params, {}

    def seen(self, batch) -> Float[Array, "b *shape"]:
        """x of a batch; NaN for an image that the error is not defined for, where nothing can be raised."""
        x = images(batch, self.shape)
        if not self.reconstruction.unit:
            return x
        return jnp.where(within_unit(x).reshape(-1, *[1] * len(self.shape)), x, jnp.nan)

    def code(self, params, x: Float[Array, "b *shape"]) -> Float[Array, "b d"]:
        """The codes of what `seen` gave."""
        heads: Any = self.encoder.apply({"params": params["encoder"]}, x)
        return self.code_activation(heads["code"])

    def error(self, params, z: Float[Array, "b d"], x: Float[Array, "b *shape"]) -> Float[Array, "b"]:
        """The error of each x made of its code."""
        return self.reconstruction.error(self._outputs(params, z), x)

    def encode(self, params, stats, x, key=None) -> Float[Array, "b d"]:
        """The codes of x; nothing is drawn."""
        return self.code(params, self.seen({"x": x}))

    def decode(self, params, stats, z) -> Float[Array, "b *shape"]:
        """x made of codes, in the unit of the data."""
        return self.reconstruction.picture(self.apply(params, stats, z))

    def apply(self, params, stats, z) -> Float[Array, "b *shape"]:
        """The decoder's outputs, which the error reads."""
        latents(z, self.latent)
        return self._outputs(params, z)

    def _outputs(self, params, z):
        outputs: Any = self.decoder.apply({"params": params["decoder"]}, z)
        return outputs

"""A recurrent network that takes noise out of sounds, by a mask of their spectrogram.

Weninger et al., Speech Enhancement with LSTM Recurrent Neural Networks (2015), after Wang et al., On Training Targets
for Supervised Speech Separation (2014): of the noisy sound's short-time Fourier transform X (`gm.stft`) bidirectional
layers read the logarithm of |X|, and each bin of a frame is multiplied by a number m from 0 to 1 that they give,

    y = istft(m X),

the phases being those of the noisy sound. The loss is of the sound itself, minus its signal-to-noise ratio in decibels,
10 log10(sum (y - s)^2 / sum s^2), where theirs is of the spectrogram.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Complex, Float, Int

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.metrics import signal_to_noise
from gen_models.models.inputs import field, images
from gen_models.models.sizes import check_sizes
from gen_models.nn.dropout import Dropout, check_dropout
from gen_models.nn.recurrent import GRU, LSTM, Bidirectional

CELLS = {"gru": GRU, "lstm": LSTM}


def mask_network(
    length: int,
    transform: Callable[[Array], Complex[Array, "b frames bins"]],
    inverse: Callable[[Array], Float[Array, "b t"]],
    bins: int,
    *,
    cell: Literal["gru", "lstm"] = "gru",
    features: int = 64,
    layers: int = 1,
    hop: int = 64,
    dropout: float | Array = 0.0,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of the sound s behind a noisy one x, float [B, T].

    Its functions:
      loss: minus the signal-to-noise ratio, in decibels, a mean over sounds. Reads `batch["x"]`, the noisy sounds, and
        `batch["y"]`, the clean ones, float [B, T]; with `batch["length"]`, integers [B], so many samples count. Metric:
        "improvement", the decibels that were gained over x itself.
      apply(params, stats, x, lengths=None): the sounds without noise, [B, T], 0 behind their lengths; with `mask=True`
        the masks [B, frames, bins].

    Args:
      length: T.
      transform: the short-time Fourier transform, such as `partial(gm.stft, window=256, hop=64)`.
      inverse: its inverse, such as `partial(gm.istft, length=T, window=256, hop=64)`.
      bins: frequencies of the transform, 129 for a window of 256.
      cell: kind of the layers.
      features: of each direction of each layer.
      layers: how many, one above another.
      hop: samples from one frame to the next, by which the frames of a length are told.
      dropout: probability with which a unit is dropped in training, behind each layer; may be traced.
      dtype: of the network's computations, such as `jnp.bfloat16`; transforms, states and losses stay float32.

    Raises:
      ValueError: a size is not positive, an unknown cell, or `dropout` outside of [0, 1); sounds of another length, or
        without the clean ones.
    """
    check_sizes(length=length, bins=bins, features=features, layers=layers, hop=hop)
    check_dropout(dropout)
    if cell not in CELLS:
        raise unknown("cell", cell, tuple(CELLS))
    network = _Network(bins=bins, cell=cell, features=features, layers=layers, dropout=dropout, dtype=dtype)
    return _model(network, length, transform, inverse, hop)


def _model(network, length, transform, inverse, hop) -> Model:
    """The functions of a network of masks."""
    shape = (length,)

    def init(key, batch):
        images(batch, shape)  # a batch of another shape is refused here, before anything is compiled
        return network.init(key, jnp.zeros((1, 1, network.bins), jnp.float32), None)["params"], {}

    def cleaned(params, x, lengths, **how):
        """Sounds without noise, masks, and which samples count."""
        x = images({"x": x}, shape)
        inside = jnp.arange(length) < (jnp.full(len(x), length) if lengths is None else jnp.asarray(lengths))[:, None]
        found = transform(jnp.where(inside, x, 0))
        sizes = jnp.log(jnp.maximum(jnp.abs(found), 1e-4))
        # The frame behind a sound's end still holds some of it, and needs a mask as well.
        frames = None if lengths is None else 1 - (-jnp.asarray(lengths) // hop)
        masks: Any = network.apply({"params": params}, sizes, frames, **how)
        return jnp.where(inside, inverse(masks * found), 0), masks, inside

    def apply(
        params, stats, x: Float[Array, "b t"], lengths: Int[Array, " b"] | None = None, *, mask: bool = False
    ) -> Array:
        """The sounds without noise, or the masks."""
        return cleaned(params, x, lengths)[1 if mask else 0]

    def loss(params, stats, batch, key, *, step, train=True):
        """Minus the ratio in decibels; dropout where `train`."""
        x = images(batch, shape)
        y = field(batch, "y", "the sounds without noise, float [B, T], as 'y'")
        if y.shape != x.shape:
            raise ValueError(f"'y' must be the clean sounds, {list(x.shape)} as the noisy ones, got {list(y.shape)}")
        rngs = {"dropout": key} if train else None
        found, _, inside = cleaned(params, x, batch.get("length"), train=train, rngs=rngs)
        y = jnp.where(inside, jnp.asarray(y, jnp.float32), 0)
        after, before = signal_to_noise(found, y), signal_to_noise(jnp.where(inside, x, 0), y)
        return -after.mean(), (stats, {"improvement": (after - before).mean()})

    return Model(init=init, loss=loss, apply=apply)


class _Network(nn.Module, kw_only=True):
    bins: int
    cell: str
    features: int
    layers: int
    dropout: float | Array
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, h: Any, lengths, train=False):  # [B, frames, bins] -> the same shape, from 0 to 1
        for index in range(self.layers):
            kind, how = CELLS[self.cell], {"dtype": self.dtype, "parent": None}
            there, back = kind(self.features, **how), kind(self.features, reverse=True, **how)
            h, _ = Bidirectional(there, back, name=f"{self.cell}_{index}")(h, lengths=lengths)
            h = Dropout()(h, self.dropout, train)
        return nn.sigmoid(nn.Dense(self.bins, dtype=self.dtype, name="masks")(h).astype(jnp.float32))

"""Codes of 128 bits by a denoising autoencoder, whose similar images get similar codes.

Radford et al., DCGAN (2016), section 4.1.1: an autoencoder of 3072-128-3072 units, rectified and regularised by
dropout, is trained on centre crops of 32x32 pixels, and a bit says whether a unit of the code is above 0. Here the
damage to the pixels is that of `gm.nn.corruptions.masking`, and units of the code are dropped in training. Grey images
have 1,024 numbers in place of 3,072, smaller images fewer.

Differs: each crop is brought to mean 0 and deviation 1, and the mean of the crops for training is taken off. Of pixels
in [0, 1] as they are, all 128 units were never above 0 after 600 steps at a rate of 1e-3, so that 12,000 images of
CIFAR-10 had one code; less the mean image alone, brightness and gain change most bits of all that was tried.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import gen_models as gm
from gen_models.data.order import read_examples
from gen_models.models.latent.autoencoder import parts_of
from gen_models.nn.corruptions import masking

BITS = 128
SIDE = 32  # pixels of a crop's sides
MASKED, DROPPED = 0.2, 0.5  # shares of the pixels and of the code's units that training sets to 0
RATE = 1e-3
BATCH = 128
ENCODED = 1024  # images that are read and encoded at a time
AVERAGED = 5000  # crops of which the mean is taken
FLAT = 0.02  # added to a crop's deviation, of pixels in [0, 1], so that the noise of a blank one stays small

Encoder = Callable[[np.ndarray], np.ndarray]  # crops, uint8 [N, h, w, c] -> codes, uint64 [N, 2]


def images_at(dataset: gm.Dataset, indices: np.ndarray) -> np.ndarray:
    """The images at these positions of a part, uint8 [n, H, W, C]."""
    if dataset.arrays is not None:
        return dataset.arrays["x"][indices]
    return read_examples(dataset.source, indices)["x"]


def standardised(x: jax.Array, mean: jax.Array | float = 0.0) -> jax.Array:
    """Crops uint8 as float32 of mean 0 and deviation 1 each, less the mean of all that are."""
    x = x.astype(jnp.float32) / 255
    centred = x - x.mean((1, 2, 3), keepdims=True)
    return centred / (centred.std((1, 2, 3), keepdims=True) + FLAT) - mean


def denoiser(shape: tuple[int, ...]) -> gm.Model:
    """The autoencoder of crops of this shape; `encode` gives the rectified code, [B, 128]."""
    parts = parts_of(shape, latent=BITS, hidden=(), code_activation=jax.nn.relu)

    def loss(params, stats, batch, key, *, step, train=True):
        pixels, units = jax.random.split(key)
        x = parts.seen(batch)
        z = parts.code(params, masking(MASKED)(x, pixels))
        error = parts.error(params, masking(DROPPED)(z, units) / (1 - DROPPED), x).mean()
        return error, (stats, {"reconstruction": error})

    return parts.model(loss)


def trained(crops: gm.Dataset, *, steps: int, seed: int) -> Encoder:
    """An encoder that is trained on crops; the same seed gives the same codes.

    Raises:
      ValueError: the training was interrupted, or diverged.
    """

    some = np.random.default_rng(seed).permutation(len(crops))[:AVERAGED]
    mean = standardised(jnp.asarray(images_at(crops, np.sort(some)))).mean(0)

    def transform(batch, key):
        return {**batch, "x": standardised(batch["x"], mean)}

    model = denoiser(crops.shape)
    tx = gm.optimizer("adam", RATE)
    batches = gm.batches(crops, min(BATCH, len(crops)), seed=seed, transform=transform)
    init, order = jax.random.split(jax.random.key(seed))
    state = gm.init_state(model, tx, init, {"x": jnp.zeros((1, *crops.shape))})
    outcome = gm.fit(gm.make_train_step(model.loss, tx), state, batches, steps=steps, key=order)
    if outcome.status != "finished":
        raise ValueError(f"the autoencoder's training was {outcome.status} after {outcome.step} of {steps} steps")
    return _encoder(model, outcome.state.params, mean)


def _encoder(model: gm.Model, params, mean: jax.Array) -> Encoder:
    bits = jax.jit(lambda x: model.encode(params, {}, standardised(x, mean)) > 0)

    def encode(crops: np.ndarray) -> np.ndarray:
        found = []
        for start in range(0, len(crops), ENCODED):
            part = crops[start : start + ENCODED]
            filled = np.concatenate([part, np.zeros((ENCODED - len(part), *part.shape[1:]), np.uint8)])
            found.append(gm.pack_bits(np.asarray(bits(filled))[: len(part)]))  # one shape, so that it compiles once
        return np.concatenate(found)

    return encode


def codes_of(encode: Encoder, crops: gm.Dataset) -> np.ndarray:
    """The codes of a part, uint64 [N, 2]; of data on disk, `ENCODED` images are held at a time."""
    parts = [np.arange(start, min(start + ENCODED, len(crops))) for start in range(0, len(crops), ENCODED)]
    return np.concatenate([encode(images_at(crops, part)) for part in parts])

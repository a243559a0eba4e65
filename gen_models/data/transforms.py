"""Random and fixed changes of a batch, made inside the compiled step.

A transform is a pure function `(batch, key) -> batch` on `{"x": [B, ...], ...}`; it may run under `jit`, `vmap` and
`scan`. All act on `batch["x"]`; `on("y", transform)` lets one act on another field. `compose(*transforms)` makes one of
several, each with its own randomness. A dtype or a shape that a transform is not meant for raises ValueError when it is
traced.

Pixels are uint8, 0 to levels - 1, until `to_unit`, `to_symmetric`, `binarise_*` or `dequantise` makes them float32. The
number of levels is `batch["levels"]` (256 where it is absent): `gen_models.data.batching` puts the data set's there, so
that images of 2 levels, 17-level digits and 8-bit photographs go through the same transforms. Pixels that are float are
in [0, 1]: what is not is an error outside of `jit` and becomes NaN inside, and so does uint8 beyond the levels.

Bits per dimension. A density p of dequantised pixels (x + u) / levels bounds the probability of the discrete pixels x,
log P(x) >= E_u log p((x + u) / levels) - D log(levels), D the number of pixels (Theis et al. 2016, eq. 4 and 5): the
correction is in `gen_models/metrics.py`.
"""

import math
from collections.abc import Callable, Mapping
from itertools import combinations_with_replacement
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32
from jaxtyping import Array, Float, UInt8

Batch = Mapping[str, Any]
Transform = Callable[[Batch, Any], Batch]
Pixels = UInt8[Array, "b h w c"] | Float[Array, "b h w c"]


def compose(*transforms: Transform) -> Transform:
    """One transform that applies all of them in order; transform i gets `fold_in(key, i)`."""

    def composed(batch: Batch, key: Any) -> Batch:
        for index, transform in enumerate(transforms):
            batch = transform(batch, jax.random.fold_in(key, index))
        return batch

    return composed


def on(field: str, transform: Transform) -> Transform:
    """`transform` of `batch[field]` instead of `batch["x"]`: `on("y", to_unit)` for the second image of a pair.

    Raises:
      ValueError: when called, the batch has no such field.
    """

    def transformed(batch: Batch, key: Any) -> Batch:
        if field not in batch:
            raise ValueError(f"the batch has no {field!r} to transform, only {', '.join(sorted(batch))}")
        own = transform({**batch, "x": batch[field]}, key)
        return {**own, **({"x": batch["x"]} if "x" in batch else {}), field: own["x"]}

    return transformed


def to_unit(batch: Batch, key: Any = None) -> Batch:
    """Pixels to float32 in [0, 1]: x / (levels - 1)."""
    return {**batch, "x": _unit(batch, "to_unit")}


def to_symmetric(batch: Batch, key: Any = None) -> Batch:
    """Pixels to float32 in [-1, 1]: 2 x / (levels - 1) - 1."""
    return {**batch, "x": 2.0 * _unit(batch, "to_symmetric") - 1.0}


def binarise_dynamic(batch: Batch, key: Any) -> Batch:
    """Pixels to 0.0 or 1.0: 1 with the probability of the intensity, drawn afresh (Salakhutdinov & Murray 2008)."""
    probability = _unit(batch, "binarise_dynamic")
    drawn = jax.random.bernoulli(key, probability).astype(jnp.float32)
    return {**batch, "x": jnp.where(jnp.isnan(probability), jnp.nan, drawn)}


def binarise_fixed(seed: int = 0) -> Transform:
    """Pixels to 0.0 or 1.0, the same in every epoch: drawn as a pure function of `seed` and `batch["index"]`.

    The index counts the examples of the loaded split. So example i of `train` and example i of `test` are compared with
    the same random numbers, and `train[100:]` has other binary images than `train` has from its example 100 on. It is
    not the draw of Larochelle's file of binarised MNIST, only one like it. No setting of JAX changes it.
    """

    def transform(batch: Batch, key: Any = None) -> Batch:
        probability = _unit(batch, "binarise_fixed")
        if "index" not in batch:
            raise ValueError("binarise_fixed needs batch['index'], the examples' positions in the data set")
        # The implementation is named, so that a change of jax's default does not change the data.
        root = jax.random.key(seed, impl="threefry2x32")
        noise = jax.vmap(lambda index: _fixed_uniform(jax.random.fold_in(root, index), probability.shape[1:]))
        drawn = (noise(batch["index"]) < probability).astype(jnp.float32)
        return {**batch, "x": jnp.where(jnp.isnan(probability), jnp.nan, drawn)}

    return transform


def _fixed_uniform(key: Any, shape: tuple[int, ...]) -> Array:
    """`jax.random.uniform(key, shape)` as it is by default, of the generator itself.

    That function's numbers are others where `jax_threefry_partitionable` is off.
    """
    count = jnp.arange(math.prod(shape), dtype=jnp.uint32)
    pairs = jnp.concatenate([jnp.zeros_like(count), count])  # 64-bit counters: their upper halves, and their lower ones
    high, low = jnp.split(threefry_2x32(jax.random.key_data(key), pairs), 2)
    return ((high ^ low) >> 9).reshape(shape).astype(jnp.float32) * jnp.float32(2.0**-23)


def quantise(levels: int) -> Transform:
    """Pixels to fewer levels: int32, 0 to levels - 1, each of which stands for (nearly) as many of the old levels.

    Raises:
      ValueError: fewer than two levels; when called, more levels than the pixels have, or pixels that are not uint8.
    """
    if levels < 2:
        raise ValueError(f"a pixel needs two levels or more, got levels={levels}")

    def transform(batch: Batch, key: Any = None) -> Batch:
        image, most = batch["x"], batch.get("levels", 256)
        if image.dtype != jnp.uint8:
            raise ValueError(
                f"quantise needs uint8 pixels, got {_said(image)}: put it before transforms that make floats"
            )
        if levels > most:
            raise ValueError(f"pixels of {most} levels cannot be cut into {levels}")
        return {**batch, "x": image.astype(jnp.int32) * levels // most}

    return transform


def dequantise(batch: Batch, key: Any) -> Batch:
    """Pixels with uniform noise within their level: (x + u) / levels, float32 in [0, 1) (Theis et al. 2016, 3.1).

    `floor(levels * y)` is x again, in exact arithmetic and in float32.
    """
    image = batch["x"]
    if image.dtype != jnp.uint8:
        raise ValueError(
            f"dequantise needs uint8 pixels, got {_said(image)}: put it before transforms that make floats"
        )
    pixels, levels = image.astype(jnp.float32), jnp.asarray(batch.get("levels", 256), jnp.float32)
    value = (pixels + jax.random.uniform(key, image.shape, jnp.float32)) / levels
    # In float32, 255 + u is 256 for the largest u, and 254 + u is 255; and x / levels may be rounded down, below x.
    first, last = pixels / levels * (1 + 2.0**-22), (pixels + 1) / levels * (1 - 2.0**-22)
    return {**batch, "x": jnp.clip(value, first, last)}


def to_waveform(batch: Batch, key: Any = None) -> Batch:
    """Samples of sound from int16 to float32 in [-1, 1): x / 32768."""
    sound = batch["x"]
    if sound.dtype != jnp.int16:
        raise ValueError(f"to_waveform needs int16 samples of sound, got {_said(sound)}: leave it out for other data")
    return {**batch, "x": sound.astype(jnp.float32) / 2**15}


def standardise(mean: Any, deviation: Any) -> Transform:
    """Columns of a table to mean 0 and deviation 1, (x - mean) / deviation; what is missing (NaN) to 0.

    `gen_models.data.tables.scale_of` measures both, on the training part alone.

    Args:
      mean: [F], the mean of each column.
      deviation: [F], the standard deviation of each column, above 0.

    Raises:
      ValueError: when called, x is not float, or does not have F columns.
    """
    mean, deviation = jnp.asarray(mean, jnp.float32), jnp.asarray(deviation, jnp.float32)

    def transform(batch: Batch, key: Any = None) -> Batch:
        x = batch["x"]
        if not jnp.issubdtype(x.dtype, jnp.floating) or x.shape[-1:] != mean.shape:
            raise ValueError(f"standardise needs {mean.shape[0]} columns of floats, got {_said(x)}")
        return {**batch, "x": jnp.where(jnp.isnan(x), 0.0, (x - mean) / deviation)}

    return transform


def stack_channels(count: int) -> Transform:
    """Every `count` images of one channel as the channels of one image: [count * B, H, W, 1] to [B, H, W, count].

    They are neighbours in the batch. So stacked MNIST is made, three digits to an image (Metz et al., Unrolled
    Generative Adversarial Networks, 2017); where batches are shuffled, the channels are independent. Other fields
    become [B, count, ...].

    Raises:
      ValueError: `count` is below 1; when called, images have more channels, or `count` does not divide the batch.
    """
    if count < 1:
        raise ValueError(f"stack_channels needs a count of 1 or more, got {count}")

    def transform(batch: Batch, key: Any = None) -> Batch:
        image = _image(batch, "stack_channels")
        if image.shape[-1] != 1 or image.shape[0] % count:
            raise ValueError(
                f"stack_channels({count}) needs a multiple of {count} images of one channel, got {_said(image)}"
            )

        def together(value: Any) -> Any:
            return value.reshape(-1, count, *value.shape[1:]) if jnp.ndim(value) else value

        stacked = {name: together(value) for name, value in batch.items()}
        return {**stacked, "x": jnp.moveaxis(stacked["x"][..., 0], 1, -1)}

    return transform


def random_flip(batch: Batch, key: Any) -> Batch:
    """Images [B, H, W, C], each mirrored left to right with probability 1/2."""
    image = _image(batch, "random_flip")
    flip = jax.random.bernoulli(key, shape=(image.shape[0], 1, 1, 1))
    return {**batch, "x": jnp.where(flip, image[:, :, ::-1], image)}


def random_shift(pixels: int) -> Transform:
    """Images [B, H, W, C], each moved by up to `pixels` along each axis, uniformly; what enters is 0.

    Raises:
      ValueError: `pixels` is below 1.
    """
    return _random_window(pixels, "random_shift(pixels)")


def random_crop(padding: int = 4) -> Transform:
    """Random crops of the original size out of images [B, H, W, C] with `padding` zeros on each side.

    It is the customary augmentation for CIFAR-10 (He et al. 2016, section 4.2, with 4), and the same draw as
    `random_shift`: the name says which convention a recipe follows.

    Raises:
      ValueError: `padding` is below 1.
    """
    return _random_window(padding, "random_crop(padding)")


def cutout(size: int) -> Transform:
    """Images with a square of `size` x `size` pixels set to 0, its centre uniform (DeVries & Taylor 2017, section 3.2).

    As in the paper, the square may lie partly outside of the image.

    Raises:
      ValueError: `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"cutout's size must be 1 or more, got {size}")

    def transform(batch: Batch, key: Any) -> Batch:
        image = _image(batch, "cutout")
        b, h, w, _ = image.shape
        row_key, column_key = jax.random.split(key)

        def covered(key: Any, length: int) -> Array:
            """Whether the square covers each of `length` positions along one axis, bool [B, length]."""
            start = jax.random.randint(key, (b, 1), 0, length) - size // 2
            position = jnp.arange(length)
            return (position >= start) & (position < start + size)

        hole = covered(row_key, h)[:, :, None, None] & covered(column_key, w)[:, None, :, None]
        return {**batch, "x": jnp.where(hole, jnp.zeros([], image.dtype), image)}

    return transform


def one_hot(width: int) -> Transform:
    """Integers [B, ...] from 0 to width - 1 to float32 [B, ..., width], of which one entry is 1: tokens as vectors.

    Raises:
      ValueError: `width` is below 2; when called, x is no array of integers, or one is none of these, where the values
        are known, which is outside of `jit`: inside, it becomes NaN.
    """
    if width < 2:
        raise ValueError(f"one_hot needs a width of 2 or more, got {width}")

    def transform(batch: Batch, key: Any = None) -> Batch:
        tokens = batch["x"]
        if not jnp.issubdtype(tokens.dtype, jnp.integer):
            raise ValueError(f"one_hot needs integers, got {_said(tokens)}")
        fits = (tokens >= 0) & (tokens < width)
        if not isinstance(fits, jax.core.Tracer) and not bool(jnp.all(fits)):
            raise ValueError(f"one_hot needs integers from 0 to {width - 1}, got {int(tokens[~fits][0])}")
        return {**batch, "x": jnp.where(fits[..., None], jax.nn.one_hot(tokens, width, dtype=jnp.float32), jnp.nan)}

    return transform


def polynomial_features(degree: int) -> Transform:
    """All products of up to `degree` of a row's numbers: [B, D] to float32 [B, C(D + degree, degree) - 1].

    They come by degree, as in scikit-learn's `PolynomialFeatures` without its column of ones: of (a, b) and degree 2
    a, b, a^2, a b, b^2.

    Raises:
      ValueError: `degree` is below 1; when called, x is not [B, D].
    """
    if degree < 1:
        raise ValueError(f"a degree is 1 or more, got {degree}")

    def transform(batch: Batch, key: Any = None) -> Batch:
        x = batch["x"]
        if jnp.ndim(x) != 2:
            raise ValueError(f"polynomial_features needs rows of numbers [B, D], got {_said(x)}")
        x = jnp.asarray(x, jnp.float32)
        width = range(x.shape[1])
        chosen = (each for d in range(1, degree + 1) for each in combinations_with_replacement(width, d))
        return {**batch, "x": jnp.stack([x[:, each].prod(1) for each in map(list, chosen)], 1)}

    return transform


def _random_window(margin: int, what: str) -> Transform:
    """Windows of the images' size, at random corners, out of images with `margin` zeros on each side."""
    if margin < 1:
        raise ValueError(f"{what} must be 1 or more, got {margin}")

    def transform(batch: Batch, key: Any) -> Batch:
        image = _image(batch, what)
        padded = jnp.pad(image, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
        corner = jax.random.randint(key, (image.shape[0], 2), 0, 2 * margin + 1)  # top and left, [B, 2]
        window = jax.vmap(lambda x, at: jax.lax.dynamic_slice(x, (at[0], at[1], 0), image.shape[1:]))
        return {**batch, "x": window(padded, corner)}

    return transform


def _image(batch: Batch, what: str) -> Pixels:
    """The images for a transform that moves pixels; ValueError where boxes or masks would stay where they are."""
    image = _pixels(batch, what)
    if image.ndim != 4:
        raise ValueError(f"{what} needs images [B, H, W, C], got {_said(image)}: leave it out for other data")
    bound = [name for name in batch if name in ("boxes", "mask") or (name == "y" and batch["y"].ndim == 4)]
    if bound:
        raise ValueError(f"{what} moves x alone, but {' and '.join(bound)} would stay where they are: leave it out")
    return image


def _pixels(batch: Batch, what: str) -> Array:
    """The pixels of a batch, of any shape; ValueError where they are neither uint8 nor float."""
    if "x" not in batch:
        raise ValueError(f"{what} needs images as batch['x'], but the batch has only {', '.join(sorted(batch))}")
    image = batch["x"]
    if image.dtype != jnp.uint8 and not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(
            f"{what} needs uint8 or float pixels, got {_said(image)}: it is for images, leave it out for other data"
        )
    return image


def _said(x: Any) -> str:
    """An array's dtype and shape, for errors."""
    return f"{x.dtype} {list(x.shape)}"


def _unit(batch: Batch, what: str) -> Array:
    """The pixels as float32 in [0, 1]; float ones are in [0, 1] already. NaN for what is not, where it is not known.

    Raises:
      ValueError: a pixel is beyond, where the values are known, which is outside of `jit`.
    """
    image = _pixels(batch, what)
    levels = batch.get("levels", 256)
    is_level = image.dtype == jnp.uint8
    value = image.astype(jnp.float32) / jnp.float32(levels - 1) if is_level else image.astype(jnp.float32)
    fits = (value >= 0) & (value <= 1)
    if not isinstance(fits, jax.core.Tracer) and not bool(jnp.all(fits)):
        wrong = image[~fits]
        ends = f"values from {wrong.min():g} to {wrong.max():g}"
        if is_level:
            raise ValueError(
                f"{what} needs pixels from 0 to {levels - 1}, as the data have {levels} levels, got {ends}"
            )
        raise ValueError(f"{what} needs float pixels between 0 and 1, got {ends}: divide them, or give uint8")
    return jnp.where(fits, value, jnp.nan)

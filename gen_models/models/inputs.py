"""What a model reads from a batch or from a call of its sampler, checked against what it was built for.

Shapes and types are refused when a call is traced. Values are known outside of `jit` alone: there, what cannot be meant
is an error that names it; inside, where nothing can be raised, what depends on it is NaN, or -1 in images of integers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


def images(batch: Mapping[str, Array], shape: Sequence[int]) -> Float[Array, "b *shape"]:
    """`batch["x"]` as float32: images, or any other arrays of one shape, such as points of the plane.

    Raises:
      ValueError: the batch has no images, theirs is not the shape that the model was built for, they are no array of
        real numbers, or there are none of them.
    """
    x = field(batch, "x", "name the model's input 'x'")
    shape = tuple(shape)
    if x.shape == shape:
        raise ValueError(
            f"the model takes batches of arrays of shape {shape}, but got one such array: x[None] is a batch"
        )
    if x.shape[1:] != shape:
        raise ValueError(f"the model was built for images of shape {shape}, but the batch is {x.shape}")
    if x.shape[0] < 1:
        raise ValueError(f"the batch has no examples, its shape is {x.shape}: a batch has one or more")
    return jnp.asarray(x, jnp.float32)


def images_of_any_size(batch: Mapping[str, Array], dimensions: int, channels: int) -> Float[Array, "b *space c"]:
    """`images` for a model that takes any size in so many dimensions of space.

    Raises:
      ValueError: as `images`, where x has not those dimensions and channels.
    """
    x = field(batch, "x", "name the model's input 'x'")
    expected = f"[B, {', '.join(['any'] * dimensions)}, {channels}]"
    if x.ndim == dimensions + 1 and x.shape[-1] == channels:
        raise ValueError(f"the model takes batches {expected}, but got one such array: x[None] is a batch")
    if x.ndim != dimensions + 2 or x.shape[-1] != channels:
        raise ValueError(f"the model takes batches {expected}, but the batch is {x.shape}")
    if x.shape[0] < 1:
        raise ValueError(f"the batch has no examples, its shape is {x.shape}: a batch has one or more")
    return jnp.asarray(x, jnp.float32)


def field(batch: Mapping[str, Array], name: str, remedy: str) -> Any:
    """An array of a batch, as it is.

    Raises:
      ValueError: the batch is no mapping, has no such field, or what it has is no array of real numbers.
    """
    if not isinstance(batch, Mapping):
        raise ValueError(f"a batch is a dictionary such as {{'x': x, 'y': y}}, got {type(batch).__name__}")
    if name not in batch:
        raise ValueError(f"the batch has no {name!r}, only {sorted(batch)}: {remedy}")
    return real_array(batch[name], f"the batch's {name!r}")


def real_array(value: Any, what: str) -> Any:
    """The value, where it is an array of real numbers.

    Raises:
      ValueError: it is a list, text, None, complex numbers, ...
    """
    dtype = getattr(value, "dtype", None)
    if dtype is None or not hasattr(value, "shape"):
        raise ValueError(f"{what} must be an array, got {type(value).__name__}: np.asarray makes one of numbers")
    if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer) or dtype == jnp.bool_):
        raise ValueError(f"{what} must hold real numbers, got {dtype}")
    return value


def labels_of(batch: Mapping[str, Array]) -> Any:
    """`batch["y"]`, as it is; `checked_labels` looks at what it holds.

    Raises:
      ValueError: the batch has no labels.
    """
    return field(batch, "y", "the model needs labels, integers [B], as 'y'")


def checked_labels(labels: Any, n: int, classes: int) -> tuple[Int[Array, " n"], Bool[Array, " n"]]:
    """The labels of n examples, and whether each is one of the classes, 0 to `classes` - 1.

    Raises:
      ValueError: they are not [n] integers, or one is no class, where the values are known, which is outside of `jit`.
    """
    if jnp.shape(labels) != (n,) or not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
        raise ValueError(f"label must be [{n}] integers, got {jnp.result_type(labels)} {list(jnp.shape(labels))}")
    labels = jnp.asarray(labels)
    fits = (labels >= 0) & (labels < classes)
    if known(fits) and not bool(fits.all()):
        raise ValueError(f"labels must be from 0 to {classes - 1}, got {int(labels[~fits][0])}")
    return labels, fits


def one_hot_labels(labels: Any, n: int, classes: int) -> Float[Array, "n k"]:
    """The labels of n examples as one-hot vectors [n, classes], NaN for a label that is no class.

    Raises:
      ValueError: as `checked_labels`.
    """
    labels, fits = checked_labels(labels, n, classes)
    return jnp.where(fits[:, None], jax.nn.one_hot(labels, classes, dtype=jnp.float32), jnp.nan)


def one_hot_if_told(label: Any, n: int, classes: int | None) -> Float[Array, "n k"] | None:
    """`one_hot_labels` for a model of classes; None for one that is told none.

    Raises:
      ValueError: a model of classes is given no label, or one of none is given some; or as `checked_labels`.
    """
    if (label is None) != (classes is None):
        needs = "takes no labels" if classes is None else f"needs labels below {classes}"
        raise ValueError(f"the model {needs}, got label={'None' if label is None else 'an array'}")
    return None if label is None or classes is None else one_hot_labels(label, n, classes)


def host_labels(labels: Any, n: int, classes: int) -> Int[np.ndarray, " n"]:
    """As `checked_labels`, of labels that are no traced values, on the host: also while a program is traced.

    Raises:
      ValueError: they are not [n] integers, or one is no class.
    """
    labels = np.asarray(labels)
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise ValueError(f"label must be [{n}] integers, got {labels.dtype} {list(labels.shape)}")
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        raise ValueError(f"labels must be from 0 to {classes - 1}, got {int(labels[wrong][0])}")
    return labels


def host_rows(arrays: Mapping[str, Any]) -> Float[np.ndarray, "n d"]:
    """`arrays["x"]` [N, ...] as rows in float64, for what is fitted on the host in closed form.

    Raises:
      ValueError: there is no such field, it has no examples, or it holds what is not finite.
    """
    x = np.asarray(field(arrays, "x", "name the inputs 'x'"), np.float64)
    if not x.size:
        raise ValueError(f"x has no numbers to fit to, its shape is {x.shape}: give one example or more")
    strange = int((~np.isfinite(x)).sum())
    if strange:
        raise ValueError(f"x has {strange} values that are not finite: repair them, or fill in what is missing")
    return x.reshape(len(x), -1)


def known(value: Any) -> bool:
    """Whether an array's values are there to be looked at: not while a program is traced."""
    return not isinstance(value, jax.core.Tracer)


def within_levels(
    x: Float[Array, "b *shape"], levels: int, what: str = "pixels", remedy: str | None = None
) -> Bool[Array, " b"]:
    """Whether each image holds integers from 0 to levels - 1 and nothing else: other images have no probability.

    Args:
      x: the images.
      levels: of a pixel.
      what: the images' parts, for the error.
      remedy: the end of the error; None: the transforms that make such images.

    Raises:
      ValueError: one does not, where the values are known, which is outside of `jit`.
    """
    remedy = remedy or (
        "binarise_dynamic, binarise_fixed or quantise(levels) of gen_models.data.transforms make such images"
    )
    fits = ((x == jnp.round(x)) & (x >= 0) & (x < levels)).all(tuple(range(1, x.ndim)))
    if known(fits) and not bool(fits.all()):
        raise ValueError(f"{what} must be integers from 0 to {levels - 1}, got {_spread(x, fits)}: {remedy}")
    return fits


def within_unit(x: Float[Array, "b *shape"]) -> Bool[Array, " b"]:
    """Whether each image's pixels are all between 0 and 1.

    Raises:
      ValueError: one's are not, where the values are known, which is outside of `jit`.
    """
    fits = ((x >= 0) & (x <= 1)).all(tuple(range(1, x.ndim)))
    if known(fits) and not bool(fits.all()):
        raise ValueError(
            f"pixels must be between 0 and 1, got {_spread(x, fits)}: "
            "to_unit or binarise_dynamic of gen_models.data.transforms make such images"
        )
    return fits


def latents(z: Any, width: int) -> None:
    """Refuse what is no batch of latent vectors [B, width].

    Raises:
      ValueError: its shape is another, or it is no array of real numbers.
    """
    if jnp.ndim(real_array(z, "z")) != 2 or z.shape[1] != width:
        raise ValueError(f"z must be [B, {width}], one row for each example, got the shape {z.shape}")


def _spread(x, fits) -> str:
    wrong = np.asarray(x)[~np.asarray(fits)]
    return f"values from {wrong.min():g} to {wrong.max():g}"


def check_count(n: Any) -> None:
    """Refuse what is no number of images to draw; a size that an export leaves open passes.

    Raises:
      ValueError: it is no whole number, or below 1.
    """
    if not isinstance(n, bool) and (isinstance(n, int | np.integer) or jax.export.is_symbolic_dim(n)):
        if n < 1:
            raise ValueError(f"n must be 1 or more, got {n}")
        return
    if isinstance(n, jax.core.Tracer):
        raise ValueError("n must be known when a sampler is traced: jit(..., static_argnums) of it, or close over it")
    raise ValueError(f"n must be a whole number of examples, 1 or more, got {n!r}")


def completion(
    given: Array | None, mask: Array | None, n: int, shape: Sequence[int], levels: int
) -> tuple[Array, Bool[Array, "n h w"], Bool[Array, " n"]]:
    """What a sampler is given of n images: pixels [n, H, W, C], 0 where they do not count; which count; which fit.

    Args:
      given: [n, *shape], or [1, *shape] for all alike; None: nothing.
      mask: [H, W] or [n, H, W], true where a pixel is given.
      n: images.
      shape: (height, width, channels).
      levels: values that a channel takes.

    Raises:
      ValueError: n is below 1, one of `given` and `mask` without the other or of a shape that does not fit, or, outside
        of `jit`, `given` holds where `mask` is true what is no integer from 0 to levels - 1.
    """
    shape = tuple(shape)
    check_count(n)
    if (given is None) != (mask is None):
        raise ValueError("given needs mask, and mask needs given: which pixels are known")
    if given is None or mask is None:
        return jnp.zeros((n, *shape), jnp.float32), jnp.zeros((n, *shape[:2]), bool), jnp.ones(n, bool)
    if jnp.shape(given) not in ((n, *shape), (1, *shape)) or jnp.shape(mask) not in (shape[:2], (n, *shape[:2])):
        raise ValueError(
            f"given must be {(n, *shape)} and mask {shape[:2]} or {(n, *shape[:2])}, got {jnp.shape(given)} and "
            f"{jnp.shape(mask)}"
        )
    pixels = jnp.broadcast_to(jnp.asarray(given, jnp.float32), (n, *shape))
    seen = jnp.broadcast_to(jnp.asarray(mask, bool), (n, *shape[:2]))
    pixels = jnp.where(seen[..., None], pixels, 0)
    return pixels, seen, within_levels(pixels, levels)


def seen_of(mask: Array | None, n: int, shape: Sequence[int]) -> Bool[Array, "n h w"] | None:
    """A mask [H, W] or [n, H, W] of pixels, for each of n images; None stays None.

    Raises:
      ValueError: it has another shape.
    """
    if mask is None:
        return None
    if jnp.shape(mask) not in (tuple(shape[:2]), (n, *shape[:2])):
        raise ValueError(f"mask must be {tuple(shape[:2])} or {(n, *shape[:2])}, got {jnp.shape(mask)}")
    return jnp.broadcast_to(jnp.asarray(mask, bool), (n, *shape[:2]))


def check_temperature(temperature: float | Array) -> Bool[Array, ""]:
    """Whether logits can be divided by it, or it is 0.

    Raises:
      ValueError: it is no scalar, or, where its value is known, negative, infinite or NaN.
    """
    if jnp.ndim(temperature) != 0:
        raise ValueError(f"temperature must be one number for all images, got the shape {jnp.shape(temperature)}")
    fits = (jnp.asarray(temperature) >= 0) & jnp.isfinite(temperature)
    if known(temperature) and not 0 <= float(temperature) < float("inf"):
        raise ValueError(f"temperature must be 0 or more, and finite, got {temperature}")
    return fits

"""What an extractor of features is, and the one that is made of a network and its weights.

A distance between features depends on the network, its weights, and how images are brought to the network's size
(Parmar et al., On Aliased Resizing and Surprising Subtleties in GAN Evaluation, 2022). So an extractor says all three:
two figures may be compared where these are equal, and only there.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gen_models.errors import unknown
from gen_models.models.sizes import check_sizes

# Name -> whether bilinear interpolation averages over what it leaves out where an image becomes smaller.
RESIZINGS = {"bilinear": True, "bilinear without antialiasing": False}


class Extracted(NamedTuple):
    """What an extractor gives of images."""

    features: Float[np.ndarray, "n d"]  # float32
    probabilities: Float[np.ndarray, "n k"] | None  # float32, of the network's classes; None: it has none


@runtime_checkable
class Extractor(Protocol):
    """A network whose features of images are compared; an object of one's own will do."""

    name: str  # of which figures are named: "classifier", "squeezenet", ..., "inception" for the original one alone
    dimension: int  # D, the features of an image
    num_classes: int | None  # K, where it gives probabilities
    weights: str  # which these are: the first digits of their SHA-256
    resizing: str  # how images are brought to the network's size: "none", "bilinear to 224x224"

    def __call__(self, images: Float[np.ndarray, "n h w c"]) -> Extracted:
        """Features of images in [0, 1], and probabilities where it has classes."""

    def __hash__(self) -> int:
        """Of the object, as features are kept for it."""


def described(extractor: Extractor) -> str:
    """The extractor in words, for notes: what must be equal where figures are compared."""
    resizing = "no resizing" if extractor.resizing == "none" else f"resizing {extractor.resizing}"
    return f"{extractor.dimension} features of {extractor.name}, weights {extractor.weights}; {resizing}"


class NetworkExtractor:
    """An extractor made of a pure function and its weights; some images are taken at a time, by one compiled program.

    Args:
      name: as in `Extractor`.
      forward: (params, images [B, H, W, C] float32 in [0, 1], of the network's size) -> (features [B, D], probabilities
        [B, K] or None).
      params: a tree of arrays.
      shape: (height, width, channels) of the images that `forward` takes.
      resizing: a name of `RESIZINGS` for images of another size; None: such images are refused. Grey images are given
        three times to a network of three channels where there is one.
      weights: which these are, for notes; None: the first digits of `digest(params)`.
      at_once: images that are taken at a time.

    Raises:
      ValueError: a size is not positive, or there is no such resizing.
    """

    def __init__(
        self,
        name: str,
        forward: Callable[[Any, jax.Array], tuple[jax.Array, jax.Array | None]],
        params: Any,
        shape: Sequence[int],
        *,
        resizing: str | None = None,
        weights: str | None = None,
        at_once: int = 64,
    ) -> None:
        check_sizes(shape=shape, at_once=at_once)
        if resizing is not None and resizing not in RESIZINGS:
            raise unknown("resizing", resizing, RESIZINGS)
        self.name, self.shape, self._at_once = name, tuple(shape), at_once
        self._forward, self._params, self._resizing = forward, params, resizing
        self.weights = digest(params) if weights is None else weights
        self.resizing = "none" if resizing is None else f"{resizing} to {shape[0]}x{shape[1]}"
        features, probabilities = jax.eval_shape(forward, params, jax.ShapeDtypeStruct((1, *self.shape), jnp.float32))
        self.dimension: int = features.shape[1]
        self.num_classes: int | None = None if probabilities is None else probabilities.shape[1]

    @cached_property
    def _compiled(self) -> Callable[..., Any]:
        def extract(params: Any, images: jax.Array) -> tuple[jax.Array, jax.Array | None]:
            return jax.tree.map(lambda x: x.astype(jnp.float32), self._forward(params, self._resized(images)))

        return jax.jit(extract)

    def __call__(self, images: Float[np.ndarray, "n h w c"]) -> Extracted:
        """Features of images in [0, 1], and probabilities where the network has classes.

        Raises:
          ValueError: there are no images, their values are not in [0, 1], or the network takes no images of this shape.
        """
        self._check(images)
        parts = [self._part(images[start : start + self._at_once]) for start in range(0, len(images), self._at_once)]
        return Extracted(*jax.tree.map(lambda *each: np.concatenate(each), *parts))

    def _part(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        filled = np.zeros((self._at_once, *images.shape[1:]), np.float32)  # of one shape: one program
        filled[: len(images)] = images
        return jax.tree.map(lambda x: np.asarray(x)[: len(images)], self._compiled(self._params, filled))

    def _resized(self, images: jax.Array) -> jax.Array:
        if images.shape[-1] == 1 and self.shape[-1] == 3:
            images = jnp.repeat(images, 3, axis=-1)
        if self._resizing is None or images.shape[1:] == self.shape:
            return images
        return jax.image.resize(images, (len(images), *self.shape), "bilinear", antialias=RESIZINGS[self._resizing])

    def _check(self, images: np.ndarray) -> None:
        if np.ndim(images) != 4 or not len(images):
            raise ValueError(f"images must be one or more, [N, H, W, C], got {list(np.shape(images))}")
        grey = images.shape[-1] == 1 and self.shape[-1] == 3
        sizes = images.shape[1:3] == self.shape[:2] or self._resizing is not None
        if not (sizes and (grey or images.shape[-1] == self.shape[-1])):
            wanted = "x".join(map(str, self.shape))
            raise ValueError(
                f"the network of {self.name!r} takes images of {wanted}, got {'x'.join(map(str, images.shape[1:]))}: "
                "give one for such images"
            )
        low, high = np.min(images), np.max(images)
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"images must be in [0, 1], got values from {low:g} to {high:g}: divide levels by the last"
            )


def digest(params: Any) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of all leaves' names, types, shapes and bytes."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        values = np.ascontiguousarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {values.dtype} {values.shape}\n".encode())
        total.update(values.tobytes())
    return total.hexdigest()[:12]

"""What a trained convolutional network computes on images: its maps, and which pixels their units see.

A unit is one place of one channel of a convolution's map. Going back through convolutions that follow one another, of
windows k, strides s and dilations d, from a range [a, b] of places of an output to those of its input,

    [a, b] -> [a s - p, b s - p + (k - 1) d]        p: the padding in front

so that the fields' sizes are r_l = r_(l-1) + (k_l - 1) d_l s_1 ... s_(l-1) (Araujo et al., Computing Receptive Fields
of Convolutional Neural Networks, 2019). Of these pixels the middle ones count most: the effective field of Luo et al.,
Understanding the Effective Receptive Field in Deep Convolutional Neural Networks (2016), by gradients.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from gen_models.core import Model, Params, Stats
from gen_models.nn.blocks import Norm
from gen_models.nn.conv import Conv

TWO_DEVIATIONS = 0.0455  # the share of a normal distribution beyond them: Luo et al. (2016), section 3.1
_NORMS = (Norm, nn.BatchNorm, nn.GroupNorm)


class Convolution(NamedTuple):
    """How a convolution reads its input; of each dimension of space."""

    window: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]  # in front of the input, and behind it
    sizes: tuple[int, ...]  # of its input
    map_sizes: tuple[int, ...]
    channels: int  # of its map
    normed: bool  # whether a norm reads its map


def convolutions(
    model: Model, params: Params, stats: Stats, x: Float[Array | np.ndarray, "b ..."]
) -> list[Convolution]:
    """All convolutions, in the order in which they are computed; nothing is computed.

    Raises:
      ValueError: the model has no convolution.
    """
    found: list[Convolution] = []

    def look(x):
        def see(module, read, out):
            strides, dilation = (
                (each,) * len(module.window) if isinstance(each, int) else tuple(each)
                for each in (module.strides, module.dilation)
            )
            sizes = read.shape[1:-1]
            window = tuple(module.window)
            pads = _pads(module.padding, sizes, window, strides, dilation)
            found.append(Convolution(window, strides, dilation, pads, sizes, out.shape[1:-1], out.shape[-1], False))
            return out

        def norm(index, out):
            found[index] = found[index]._replace(normed=True)
            return out

        return watched(lambda: model.apply(params, stats, x), see, norm)

    jax.eval_shape(look, x)
    if not found:
        raise ValueError("the model has no convolution, so that there are no maps to look at")
    return found


def _pads(padding: Any, sizes, window, strides, dilation) -> tuple[tuple[int, int], ...]:
    """Zeros in front of each dimension and behind it, of the paddings that classifiers of images have."""
    if padding not in ("SAME", "VALID"):
        raise ValueError(f"fields are known for padding 'SAME' and 'VALID', got {padding!r}: measure them by gradients")
    reach = [d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True)]
    return tuple(lax.padtype_to_pads(sizes, reach, strides, padding))


def watched(
    run: Callable[[], Any], convolved: Callable[[Any, Any, Any], Any], normed: Callable[[int, Any], Any]
) -> Any:
    """What `run()` gives while both functions see the network's maps, and may give others in their place.

    Args:
      run: it applies a model.
      convolved: of (the layer, its input, its map), for each convolution in order.
      normed: of (the convolution's index, its map behind its norm), for each norm that reads a convolution's map.
    """
    last: list[Any] = []  # the maps as the norms get them
    inside: list[bool] = []  # a norm may be made of another one: the outer one counts

    def catch(layer, args, kwargs, context):
        called = context.method_name == "__call__"
        if called and isinstance(context.module, Conv):
            last.append(convolved(context.module, args[0], layer(*args, **kwargs)))
            return last[-1]
        if called and isinstance(context.module, _NORMS) and last and not inside and args[0] is last[-1]:
            index = len(last) - 1
            inside.append(True)
            out = layer(*args, **kwargs)
            inside.pop()
            return normed(index, out)
        return layer(*args, **kwargs)

    with nn.intercept_methods(catch):
        return run()


def maps(
    model: Model, params: Params, stats: Stats, x: Float[Array | np.ndarray, "b h w c"], *, normed: bool = False
) -> list[Float[Array, "b ..."]]:
    """Outputs of all convolutions, in their order, before activations: [B, H', W', C'] each.

    With `normed`, those that a norm reads are given behind it.

    Raises:
      ValueError: the model has no convolution.
    """
    found: list[Any] = []

    def convolved(module, read, out):
        found.append(out)
        return out

    def behind(index, out):
        if normed:
            found[index] = out
        return out

    watched(lambda: model.apply(params, stats, x), convolved, behind)
    if not found:
        raise ValueError("the model has no convolution, so that there are no maps to look at")
    return found


def seen_by(
    layers: Sequence[Convolution], layer: int, at: Sequence[int]
) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    """The pixels that a place of a convolution's map sees: (first, last) of each dimension, and how many these are.

    They may lie beyond the edges, where a network sees its padding.

    Raises:
      ValueError: there is no such layer or place, or one of the convolutions up to this layer does not read the map of
        the one before, as in residual networks with convolutions in their short-cuts, or with pooling in between.
    """
    if not 0 <= layer < len(layers):
        raise ValueError(f"layer must be 0 to {len(layers) - 1}, got {layer}")
    if len(at) != len(layers[layer].map_sizes) or not all(
        0 <= a < size for a, size in zip(at, layers[layer].map_sizes, strict=True)
    ):
        raise ValueError(f"the place must be within a map of {layers[layer].map_sizes}, got {tuple(at)}")
    for index in range(1, layer + 1):
        if layers[index].sizes != layers[index - 1].map_sizes:
            raise ValueError(
                f"convolution {index} reads {layers[index].sizes}, and {layers[index - 1].map_sizes} came before it: "
                "fields are known in closed form where convolutions follow one another; measure them by gradients"
            )
    first, last = list(at), list(at)
    for each in reversed(layers[: layer + 1]):
        for i, (stride, window, dilation, pads) in enumerate(
            zip(each.strides, each.window, each.dilation, each.pads, strict=True)
        ):
            first[i] = first[i] * stride - pads[0]
            last[i] = last[i] * stride - pads[0] + (window - 1) * dilation
    ranges = tuple(zip(first, last, strict=True))
    return ranges, tuple(high - low + 1 for low, high in ranges)


def receptive_field(
    model: Model, params: Params, stats: Stats, x: Float[Array | np.ndarray, "b h w c"], layer: int
) -> np.ndarray:
    """[H, W]: mean size of the gradient of the middle unit of a convolution's map by each pixel, over x and channels.

    Where it is 0 for all images, the unit does not see the pixel (or every path to it is switched off); how fast it
    falls towards the edge is the effective field of Luo et al. (2016). Where a norm reads the map, it is that behind.
    """

    def middle(x):
        out = maps(model, params, stats, x, normed=True)[layer]
        return out[:, out.shape[1] // 2, out.shape[2] // 2].sum(0)  # [C']

    slopes = jax.jit(jax.jacrev(middle))(x)  # [C', B, H, W, C]
    return np.asarray(jnp.abs(slopes).mean((0, 1, 4)), np.float64)


def effective_size(field: Float[np.ndarray, "h w"]) -> float:
    """The side of a square of as many pixels as have more than 4.55 % of the largest value: Luo et al., section 3.1.

    Raises:
      ValueError: the field has a value that is negative or not finite.
    """
    field = _checked(field)
    return float(np.sqrt((field > TWO_DEVIATIONS * field.max()).sum()))


def even_size(field: Float[np.ndarray, "h w"]) -> float:
    """The side of a square of one value with the field's sum and sum of squares: sum f / sqrt(sum f^2).

    Raises:
      ValueError: the field is 0 everywhere, or has a value that is negative or not finite.
    """
    field = _checked(field)
    if not field.any():
        raise ValueError("the field is 0 everywhere: its unit sees nothing")
    return float(field.sum() / np.sqrt((field**2).sum()))


def _checked(field: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    field = np.asarray(field, np.float64)
    if not np.isfinite(field).all() or (field < 0).any():
        raise ValueError("a field has sizes of gradients, finite and not negative")
    return field


def strongest(
    model: Model, params: Params, stats: Stats, x: Float[Array | np.ndarray, "b h w c"]
) -> list[tuple[Float[Array, "b c2"], Float[Array, "b c2 n"]]]:
    """Of each convolution, the largest value of each channel's map in an image, [B, C'], and its place, [B, C', 2].

    Maps are those behind a norm, where there is one, and before activations.
    """
    found = []
    for z in maps(model, params, stats, x, normed=True):
        flat = z.reshape(len(z), -1, z.shape[-1])
        places = jnp.stack(jnp.unravel_index(flat.argmax(1), z.shape[1:-1]), -1)
        found.append((flat.max(1), places.astype(jnp.float32)))
    return found


def shifted(x: Float[np.ndarray, "b h w c"], down: int, right: int) -> Float[np.ndarray, "b h w c"]:
    """Images moved by whole pixels; what comes in from outside is 0.

    Raises:
      ValueError: they are moved out of sight.
    """
    height, width = x.shape[1:3]
    if abs(down) >= height or abs(right) >= width:
        raise ValueError(f"images of {height}x{width} cannot be moved by {down} and {right}: nothing of them is left")
    moved = np.zeros_like(x)
    moved[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = x[
        :, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved

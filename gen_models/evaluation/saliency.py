"""Which pixels a classifier's answer rests on, and whether a map that says so is true.

With F_c(x) the logit of class c, of each image:

- `gradient`: max over channels of |dF_c / dx| (Simonyan et al., Deep Inside Convolutional Networks, 2014, section 3);
- `integrated_gradients`: (x - x') times the mean of dF_c / dx on the line from a baseline x' to x, which sums to
  F_c(x) - F_c(x') (Sundararajan et al., Axiomatic Attribution for Deep Networks, 2017, eq. 1 and proposition 1);
- `grad_cam`: max(0, sum_k a_k A_k) of the maps A_k of a convolution behind its rectifier, with a_k the mean over space
  of dF_c / dA_k (Selvaraju et al., Grad-CAM, 2017, eq. 1 and 2), brought to the image's size;
- `occlusion`: by how much p(c | x) falls where a square is covered, at each pixel the mean over the squares upon it
  (Zeiler & Fergus, Visualizing and Understanding Convolutional Networks, 2014, section 4.2).

`removed` is the deletion curve of Petsiuk et al., RISE (2018): p(c | x) as the pixels are taken away, the most salient
first, which a true map makes fall early. `randomised` is the cascading randomisation of Adebayo et al., Sanity Checks
for Saliency Maps (2018): weights are drawn again from the logits down, and a map that stays as it is does not depend on
what was learned.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int

from gen_models.core import Key, Model, Params, Stats
from gen_models.evaluation.feature_maps import convolutions, watched

Images = Float[Array | np.ndarray, "b h w c"]
Labels = Int[Array | np.ndarray, "b"]
Maps = Float[Array, "b h w"]


def _logits(model: Model, params: Params, stats: Stats, x: Any) -> Array:
    """F(x) [B, K]."""
    logits = model.apply(params, stats, x)
    if jnp.ndim(logits) != 2:
        raise ValueError(f"saliency is that of a class: answers must be logits [B, K], got {jnp.shape(logits)}")
    return logits


def _logit(model: Model, params: Params, stats: Stats, x: Any, classes: Any) -> Array:
    """F_c(x) [B]."""
    return jnp.take_along_axis(_logits(model, params, stats, x), jnp.asarray(classes)[:, None], -1)[:, 0]


def _slopes(model: Model, params: Params, stats: Stats, x: Any, classes: Any) -> Array:
    """dF_c / dx [B, H, W, C]."""
    return jax.grad(lambda x: _logit(model, params, stats, x, classes).sum())(jnp.asarray(x))


def gradient(model: Model, params: Params, stats: Stats, x: Images, classes: Labels) -> Maps:
    """[B, H, W]: the largest absolute gradient over channels of the class's logit by each pixel.

    Raises:
      ValueError: the model's answers are no logits of classes; so do the other functions here.
    """
    return jnp.abs(_slopes(model, params, stats, x, classes)).max(-1)


def integrated_gradients(
    model: Model, params: Params, stats: Stats, x: Images, classes: Labels, *, steps: int = 32
) -> Maps:
    """[B, H, W]: shares of F_c(x) - F_c(0), with their signs, summed over channels; the baseline is black.

    The integral is the midpoint rule's with so many gradients.

    Raises:
      ValueError: `steps` is below 1.
    """
    if steps < 1:
        raise ValueError(f"steps must be 1 or more, got {steps}")
    x = jnp.asarray(x)
    along = lax.map(lambda share: _slopes(model, params, stats, share * x, classes), (jnp.arange(steps) + 0.5) / steps)
    return (x * along.mean(0)).sum(-1)


def grad_cam(model: Model, params: Params, stats: Stats, x: Images, classes: Labels, *, layer: int = -1) -> Maps:
    """[B, H, W]: Grad-CAM of a convolution's map behind its norm and rectifier, bilinear between the map's places.

    NaN for an image whose logits would change if the map were rectified where it is taken: no rectifier follows that
    convolution, as in the residual branch of a block.

    Raises:
      ValueError: there is no such convolution.
    """
    layers = convolutions(model, params, stats, x)
    if not -len(layers) <= layer < len(layers):
        raise ValueError(f"layer must be one of the {len(layers)} convolutions, got {layer}")
    at = layer % len(layers)

    def changed(offset: Any) -> tuple[Array, Array]:
        """F_c(x) and A, with the offset added to A."""
        kept: list[Any] = []
        count = iter(range(len(layers)))

        def rectified(z):
            # Above 0 everywhere, so that the rectifier that follows passes every gradient: dF / dA is then that of its
            # output, for places where that is 0 as well.
            kept.append(jnp.maximum(z, 0))
            return jnp.maximum(z, 1e-30) + offset

        def convolved(module, read, out):
            return rectified(out) if next(count) == at and not layers[at].normed else out

        def normed(index, out):
            return rectified(out) if index == at and layers[at].normed else out

        value = watched(lambda: _logit(model, params, stats, x, classes), convolved, normed)
        return value, kept[0]

    shape = (len(x), *layers[at].map_sizes, layers[at].channels)
    zero = jnp.zeros(shape)
    slopes, (values, found) = jax.grad(lambda offset: (changed(offset)[0].sum(), changed(offset)), has_aux=True)(zero)
    as_it_is = _logit(model, params, stats, x, classes)
    cam = jnp.maximum((slopes.mean((1, 2), keepdims=True) * found).sum(-1), 0)
    same = jnp.abs(values - as_it_is) <= 1e-3 * (1 + jnp.abs(as_it_is))
    cam = jnp.where(same[:, None, None], cam, jnp.nan)
    return jax.image.resize(cam, (len(x), *np.shape(x)[1:3]), "bilinear")


def occlusion(
    model: Model, params: Params, stats: Stats, x: Images, classes: Labels, *, window: int = 5, stride: int = 2
) -> Maps:
    """[B, H, W]: the mean fall of p(c | x) over the black squares that cover a pixel.

    Squares begin at every `stride`-th pixel and reach beyond the edges, so that each pixel is covered.

    Raises:
      ValueError: a size is below 1, or the stride is larger than the window, so that pixels would never be covered.
    """
    if not 1 <= stride <= window:
        raise ValueError(f"stride must be 1 to the window, got {stride=}, {window=}")
    x = jnp.asarray(x)
    height, width = x.shape[1:3]
    whole = _probability(model, params, stats, x, classes)
    rows, columns = (jnp.arange(1 - window + (window - 1) % stride, size, stride) for size in (height, width))
    corners = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)

    def covered(corner):
        down, right = jnp.arange(height) - corner[0], jnp.arange(width) - corner[1]
        inside = ((down >= 0) & (down < window))[:, None] & ((right >= 0) & (right < window))
        fall = whole - _probability(model, params, stats, jnp.where(inside[..., None], 0, x), classes)
        return fall[:, None, None] * inside, inside

    def add(sums, corner):
        return jax.tree.map(jnp.add, sums, covered(corner)), None

    start = (jnp.zeros(x.shape[:3]), jnp.zeros((height, width)))
    (total, count), _ = lax.scan(add, start, corners)
    return total / count


def _probability(model: Model, params: Params, stats: Stats, x: Any, classes: Any) -> Array:
    """p(c | x) [B]."""
    p = jax.nn.softmax(_logits(model, params, stats, x))
    return jnp.take_along_axis(p, jnp.asarray(classes)[:, None], -1)[:, 0]


def removed(
    model: Model,
    params: Params,
    stats: Stats,
    x: Images,
    classes: Labels,
    saliency: Float[Array | np.ndarray, "b h w"],
    *,
    steps: int = 28,
) -> Float[Array, "b {steps}+1"]:
    """p(c | x) with 0, 1 / steps, ..., all of the pixels black, the most salient first; of equal ones the upper left.

    Its mean over the steps by the trapezoidal rule is the area of Petsiuk et al.; the less, the truer.

    Raises:
      ValueError: `steps` is below 1.
    """
    if steps < 1:
        raise ValueError(f"steps must be 1 or more, got {steps}")
    x = jnp.asarray(x)
    flat = jnp.asarray(saliency).reshape(len(x), -1)
    rank = jnp.argsort(jnp.argsort(-flat, axis=-1), axis=-1).reshape(x.shape[:3])  # 0: the most salient

    def without(share):
        kept = rank >= jnp.round(share * flat.shape[1])
        return _probability(model, params, stats, x * kept[..., None], classes)

    return lax.map(without, jnp.arange(steps + 1) / steps).T


def layer_names(model: Model, params: Params, stats: Stats, x: Images) -> list[str]:
    """Names of the parameters' top layers, in the order in which they are computed; nothing is computed."""
    found: dict[str, None] = {}

    def catch(layer, args, kwargs, context):
        if context.module.path and context.module.path[0] in params:
            found.setdefault(context.module.path[0])
        return layer(*args, **kwargs)

    def look(x):
        with nn.intercept_methods(catch):
            return model.apply(params, stats, x)

    jax.eval_shape(look, x)
    return list(found)


def randomised(
    model: Model, params: Params, stats: Stats, x: Images, key: Key
) -> Iterator[tuple[str, tuple[Params, Stats]]]:
    """(Layer, (parameters, statistics)): with the last layer drawn again, with the last two, ..., with all.

    Named is the first of them. A layer without a kernel, such as a norm, goes with the one that is computed before it.
    """
    fresh, fresh_stats = model.init(key, {"x": jnp.asarray(x)})
    params, stats = dict(params), dict(stats)
    for name in reversed(layer_names(model, params, stats, x)):
        params[name] = fresh[name]
        if name in stats:
            stats[name] = fresh_stats[name]
        if any(
            getattr(path[-1], "key", "") == "kernel" for path, _ in jax.tree_util.tree_leaves_with_path(fresh[name])
        ):
            yield name, (dict(params), dict(stats))


def rank_correlation(one: Float[np.ndarray, "b h w"], other: Float[np.ndarray, "b h w"]) -> Float[np.ndarray, "b"]:
    """Spearman's coefficient of the pixels of two maps of each image; equal pixels share their mean rank.

    NaN where a map is of one value.

    Raises:
      ValueError: the maps differ in shape.
    """
    if one.shape != other.shape:
        raise ValueError(f"maps must be of one shape, got {one.shape} and {other.shape}")
    first, second = (np.stack([_ranks(each.ravel()) for each in maps]) for maps in (one, other))
    first, second = (ranks - ranks.mean(1, keepdims=True) for ranks in (first, second))
    with np.errstate(invalid="ignore"):
        return (first * second).sum(1) / np.sqrt((first**2).sum(1) * (second**2).sum(1))


def _ranks(values: np.ndarray) -> np.ndarray:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[which]

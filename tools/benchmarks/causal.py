"""Autoregressive image models: their samplers, what a pixel costs in larger images, and what causality costs a step.

Models have the sizes of `experiments/likelihood_ladder.py` and draw or read 28x28 binary images.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax.experimental.compilation_cache import compilation_cache

from gen_models.core import Model
from gen_models.data.splits import Splits
from gen_models.data.transforms import binarise_dynamic
from gen_models.models.autoregressive import gated_pixel_cnn, pixel_cnn, pixel_cnn_pp, pixel_snail
from gen_models.nn.conv import Conv
from gen_models.run.experiments import find
from gen_models.run.fields import with_values

from . import Contender
from .contenders import images, ours

DRAWN = 16  # images a sampler draws at once
BATCH = 32
SIDES = (16, 32, 64)
UNMASKED = {  # where each names its layers
    "pixel_cnn": pixel_cnn,
    "gated_pixel_cnn": gated_pixel_cnn,
    "pixel_cnn_pp": pixel_cnn_pp,
    "pixel_snail": pixel_snail,
}
WIDER: Mapping[str, Mapping[str, Any]] = {  # sampled at these sizes
    "gated_pixel_cnn": {"features": 64, "layers": 8},
    "pixel_cnn_pp": {"features": 32},
}


def model(name: str, shape: tuple[int, ...] = (28, 28, 1), **sizes: Any) -> Model:
    """A rung of the ladder, for binary images; `sizes` are fields of its network, `layers` also of one with blocks."""
    ladder = find("likelihood_ladder")
    config = ladder.variants[name]
    called = {"layers": "layers" if hasattr(config.network, "layers") else "blocks"}
    config = with_values(config, {f"network.{called.get(size, size)}": value for size, value in sizes.items()})
    data = Splits.of_arrays({"x": np.zeros((1, *shape), np.uint8)})  # of which a rung reads the shape
    return ladder.model(config, data)


def sampling(stack: ExitStack, name: str) -> dict[str, Contender]:
    """16 images by the cached sampler, and by one scan of full forward passes."""
    built, shape = model(name, **WIDER.get(name, {})), (28, 28, 1)
    params = initial_params(built, shape)
    return {"ours": sampler(built, params, "cached"), "naive": sampler(built, params, "naive")}


def area(stack: ExitStack, name: str) -> dict[str, Contender]:
    """The cached sampler in images of several sizes; a step is one pixel of 16 images."""
    found = {}
    for side in SIDES:
        shape = (side, side, 1)
        built = model(name, shape, **WIDER.get(name, {}))
        found[f"{side}x{side}"] = sampler(built, initial_params(built, shape), "cached", side * side)
    return found


def unmasked(stack: ExitStack, name: str) -> dict[str, Contender]:
    """Training steps, against those of the network whose causal layers are plain convolutions with their windows."""
    built, batches, tx = model(name), images(BATCH, binarise_dynamic), optax.adam(1e-3)
    return {
        "ours": ours(built, tx, batches),
        "unmasked": ours(without_masks(built, UNMASKED[name]), tx, batches),
    }


def step_recurrent(stack: ExitStack) -> dict[str, Contender]:
    """Training steps of three layers, 32 features wide between them."""
    batches = images(BATCH, binarise_dynamic)
    names = ("diagonal_lstm", "row_lstm", "pixel_cnn")
    return {name: ours(model(name, features=16, layers=3), optax.adam(1e-3), batches) for name in names}


def initial_params(built: Model, shape) -> Any:
    """Those that training begins with."""
    return jax.jit(built.init)(jax.random.key(0), {"x": jnp.zeros((1, *shape))})[0]


def sampler(
    built: Model, params: Any, method: str, pixels: int = 1, *, n: int = DRAWN, length: int | None = None
) -> Contender:
    """A call draws n images, or sequences of a length.

    It is compiled when the contender is made, anew whatever was kept of earlier processes.
    """
    how = {} if length is None else {"length": length}
    program = jax.jit(lambda params, key: built.sample(params, {}, key, n, method=method, **how))
    key, calls = jax.random.key(0), 0
    lowered = program.lower(params, key)
    with _without_cache():
        began = time.perf_counter()
        compiled = lowered.compile()
        took = time.perf_counter() - began

    def run():
        nonlocal calls
        calls += 1
        return jax.block_until_ready(compiled(params, jax.random.fold_in(key, calls))).mean()

    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    return Contender(run, size, steps=pixels, hlo=compiled.as_text, compile_seconds=took)


@contextmanager
def _without_cache():
    """JAX asks once whether to use its cache of compiled programs: it is made to ask again."""
    was = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", was)
        compilation_cache.reset_cache()


def without_masks(built: Model, module: Any) -> Model:
    """The same network with `Plain` in place of the causal layers that its module names.

    Its convolutions are the library's own, so that the difference is causality, not whose convolutions they are.
    """

    def inside(function: Callable) -> Callable:
        def call(*args, **kwargs):
            with ExitStack() as stack:
                for layer in ("CausalConv", "RowConv", "CornerConv"):
                    if hasattr(module, layer):
                        stack.enter_context(mock.patch.object(module, layer, Plain))
                return function(*args, **kwargs)

        return call

    assert callable(built.loss)
    return Model(inside(built.init), inside(built.loss), apply=inside(built.apply))


class Plain(nn.Module):
    """A convolution of the window's size around the pixel; what only a causal layer takes is not read."""

    features: int
    window: tuple[int, int] = (2, 2)
    kind: str = "B"
    colours: int = 1
    of_image: bool = False
    strides: int = 1
    use_bias: bool = True
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: Any = None

    @nn.compact
    def __call__(self, x, at=None):
        """The convolution of x, plus the bias."""
        conv = Conv(
            self.features,
            self.window,
            strides=self.strides,
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="conv",
        )
        return conv(x)

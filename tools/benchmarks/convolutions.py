"""Whole training steps of convolutions of every kind: ours against XLA's own, and against PyTorch's eager step.

Each network is a list of layers that both sides are made of, with relu behind each, the mean over space and ten logits.
Examples have one channel, so that PyTorch's order of dimensions costs nothing.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from gen_models.models.supervised.classification import classifier
from gen_models.nn.conv import Conv

from . import Contender
from .contenders import BATCHES, ours, plain_xla, pytorch

RATE, CLASSES = 1e-3, 10


class Layer(NamedTuple):
    """A convolution with as much padding on both sides as makes space fall by the stride alone."""

    features: int
    window: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1

    @property
    def padding(self) -> int:
        """Zeros on each side."""
        return self.dilation * (self.window - 1) // 2


def _separable(*blocks: tuple[int, int, int]) -> list[Layer]:
    """Depthwise and 1x1 convolutions in turn, of (inputs, outputs, stride) each."""
    pairs = [(Layer(inputs, 3, stride, 1, inputs), Layer(outputs, 1)) for inputs, outputs, stride in blocks]
    return [layer for pair in pairs for layer in pair]


# name -> (shape of an example, examples of a batch, layers)
NETWORKS: dict[str, tuple[tuple[int, ...], int, Sequence[Layer]]] = {
    "depthwise": (
        (28, 28, 1),
        32,
        [Layer(32, 3), *_separable((32, 64, 1), (64, 64, 2), (64, 128, 1), (128, 128, 2), (128, 128, 1))],
    ),
    "grouped": (
        (28, 28, 1),
        32,
        [Layer(64, 3), Layer(64, 3, 1, 1, 8), Layer(64, 3, 2, 1, 8), Layer(128, 3, 1, 1, 8), Layer(128, 3, 2, 1, 8)],
    ),
    "1d": ((1024, 1), 32, [Layer(32, 9, 4), Layer(64, 5), Layer(64, 3, 1, 2), Layer(128, 3, 2), Layer(128, 3)]),
    "3d": ((16, 16, 16, 1), 16, [Layer(16, 3), Layer(32, 3, 2), Layer(32, 3), Layer(64, 3, 2), Layer(64, 3)]),
}


def convolutions(stack: ExitStack, kind: str) -> dict[str, Contender]:
    """A step of the network of that kind on noise; `stack` has nothing to close."""
    shape, size, layers = NETWORKS[kind]
    draw = np.random.default_rng(0)
    batches = [
        {
            "x": jnp.asarray(draw.normal(size=(size, *shape)), jnp.float32),
            "y": jnp.asarray(draw.integers(CLASSES, size=size), jnp.int32),
        }
        for _ in range(BATCHES)
    ]
    model, tx = classifier(_Network(tuple(layers)), shape, CLASSES), optax.adam(RATE)

    def network():
        from torch import nn

        kinds, found, inputs = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}, [], 1
        for layer in layers:
            found += [kinds[len(shape) - 1](inputs, **_of_torch(layer)), nn.ReLU()]
            inputs = layer.features
        mean = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[len(shape) - 1]
        return nn.Sequential(*found, mean(1), nn.Flatten(), nn.Linear(inputs, CLASSES))

    def loss(network, batch):
        from torch.nn import functional as F

        x = batch["x"] if len(shape) == 3 else batch["x"].movedim(-1, 1)  # images come in PyTorch's order
        return F.cross_entropy(network(x), batch["y"].long())

    return {
        "ours": ours(model, tx, batches),
        "plain_xla": plain_xla(model, tx, batches),
        **pytorch(network, loss, batches, RATE),
    }


def _of_torch(layer: Layer) -> dict[str, Any]:
    """PyTorch's names of a convolution's sizes."""
    sizes = {"out_channels": layer.features, "kernel_size": layer.window, "stride": layer.stride}
    return sizes | {"padding": layer.padding, "dilation": layer.dilation, "groups": layer.groups}


class _Network(nn.Module):
    layers: tuple[Layer, ...]

    @nn.compact
    def __call__(self, x, dropout, train):  # [B, *space, 1] -> [B, 10]
        space = x.ndim - 2
        for layer in self.layers:
            conv = Conv(
                layer.features,
                (layer.window,) * space,
                strides=layer.stride,
                padding=layer.padding,
                dilation=layer.dilation,
                groups=layer.groups,
            )
            x = nn.relu(conv(x))
        return nn.Dense(CLASSES)(x.mean(tuple(range(1, 1 + space))))

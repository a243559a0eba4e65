"""Whole training steps of small networks: the library's layers against XLA's own, and against PyTorch's eager step."""

from contextlib import ExitStack
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from gen_models.core import Model
from gen_models.data.transforms import binarise_dynamic, to_symmetric
from gen_models.models.latent.vae import vae
from gen_models.models.supervised.classification import classifier
from gen_models.nn.conv import Conv, ConvTranspose

from . import Contender
from .contenders import BATCHES, images, on_one_device, ours, plain_xla, pytorch

RATE = 1e-3


def conv_stack(stack: ExitStack) -> dict[str, Contender]:
    """A classifier: five convolutions with relu, the mean over space, ten logits."""
    model, tx, batches = classifier(_ConvStack(), (28, 28, 1), 10), optax.adam(RATE), images(32)

    def network():
        from torch import nn

        layers = [layer for i in range(5) for layer in (nn.Conv2d(64 if i else 1, 64, 3, padding=1), nn.ReLU())]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))

    def loss(network, batch):
        from torch.nn import functional as F

        return F.cross_entropy(network(batch["x"]), batch["y"].long())

    return {
        "ours": ours(model, tx, batches),
        "plain_xla": plain_xla(model, tx, batches),
        **pytorch(network, loss, batches, RATE),
    }


class _ConvStack(nn.Module):
    @nn.compact
    def __call__(self, x, dropout, train):  # [B, 28, 28, 1] -> [B, 10]
        for _ in range(5):
            x = nn.relu(Conv(64, (3, 3))(x))
        return nn.Dense(10)(x.mean((1, 2)))


def dcgan(stack: ExitStack) -> dict[str, Contender]:
    """A discriminator's layers, then a generator's, trained to give their input again, pixels in [-1, 1]."""
    network = _DCGAN()

    def init(key, batch):
        variables = network.init(key, batch["x"][:1])
        return variables["params"], variables["batch_stats"]

    def objective(params, stats, batch, key, *, step, train=True):
        variables = {"params": params, "batch_stats": stats}
        y, updated = network.apply(variables, batch["x"], mutable=["batch_stats"])
        return jnp.square(y - batch["x"]).mean(), (updated["batch_stats"], {})

    def torch_network():
        from torch import nn

        return nn.Sequential(
            nn.Conv2d(1, 64, 4, 2, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.LeakyReLU(0.2),
            nn.Conv2d(64, 128, 4, 2, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, 2, 1),
            nn.Tanh(),
        )

    def loss(network, batch):
        from torch.nn import functional as F

        return F.mse_loss(network(batch["x"]), batch["x"])

    model, tx, batches = Model(init, objective), optax.adam(RATE), images(64, to_symmetric)
    return {
        "ours": ours(model, tx, batches),
        "plain_xla": plain_xla(model, tx, batches),
        **pytorch(torch_network, loss, batches, RATE),
    }


class _DCGAN(nn.Module):
    @nn.compact
    def __call__(self, x):  # [B, 28, 28, 1] -> [B, 28, 28, 1]
        for width in (64, 128):
            x = nn.BatchNorm(use_running_average=False)(Conv(width, (4, 4), strides=2, use_bias=False)(x))
            x = nn.leaky_relu(x, 0.2)
        x = nn.BatchNorm(use_running_average=False)(ConvTranspose(64, (4, 4), strides=2, use_bias=False)(x))
        return jnp.tanh(ConvTranspose(1, (4, 4), strides=2)(nn.relu(x)))


def mlp_vae(stack: ExitStack) -> dict[str, Contender]:
    """The VAE of `experiments/vae.py`, which `fit` trains on one device."""
    model, tx, batches = vae(), optax.adam(RATE), images(128, binarise_dynamic)

    def network():
        from torch import nn

        def layers(*widths):
            return [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]

        return nn.ModuleDict(
            {
                "hidden": nn.Sequential(nn.Flatten(), *layers(784, 512, 512)),
                "mu": nn.Linear(512, 32),
                "log_sigma": nn.Linear(512, 32),
                "decoder": nn.Sequential(*layers(32, 512, 512), nn.Linear(512, 784)),
            }
        )

    def loss(network, batch):
        import torch
        from torch.nn import functional as F

        x = batch["x"]
        h = network["hidden"](x)
        mu, log_sigma = network["mu"](h), network["log_sigma"](h)
        z = mu + log_sigma.exp() * torch.randn_like(mu)
        logits = network["decoder"](z)
        reconstruction = F.binary_cross_entropy_with_logits(logits, x.flatten(1), reduction="sum") / len(x)
        kl = 0.5 * (mu.square() + (2 * log_sigma).exp() - 1 - 2 * log_sigma).sum(1).mean()
        return reconstruction + kl

    return {"ours": on_one_device(model, tx, batches), **pytorch(network, loss, batches, RATE)}


def lstm(stack: ExitStack) -> dict[str, Contender]:
    """Squared error of all outputs to noise. PyTorch's layer has a second bias for each gate: 1,024 parameters more."""
    from gen_models.nn.recurrent import LSTM

    features, length, size = 256, 128, 32
    layer, draw = LSTM(features), np.random.default_rng(0)
    shape = (size, length, features)
    batches = [{k: jnp.asarray(draw.normal(size=shape), jnp.float32) for k in ("x", "y")} for _ in range(BATCHES)]

    def objective(params, stats, batch, key, *, step, train=True):
        outputs, _ = layer.apply({"params": params}, batch["x"])
        return jnp.square(outputs - batch["y"]).mean(), (stats, {})

    def network():
        import torch

        return torch.nn.LSTM(features, features, batch_first=True)

    def loss(network, batch):
        return (network(batch["x"])[0] - batch["y"]).square().mean()

    model = Model(lambda key, batch: (layer.init(key, batch["x"][:1])["params"], {}), objective)
    tx = optax.adam(RATE)
    return {
        "ours": ours(model, tx, batches),
        "plain_xla": plain_xla(model, tx, batches),
        **pytorch(network, loss, batches, RATE),
    }

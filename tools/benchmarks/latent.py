"""Models with latent variables: their steps against PyTorch's and by hand, and what an importance sample costs."""

from contextlib import ExitStack

import jax
import jax.numpy as jnp
import optax

from gen_models.core import make_train_step
from gen_models.data.transforms import binarise_dynamic
from gen_models.models.latent.vae import vae
from gen_models.optimizers import adam

from . import Contender
from .contenders import images, initial, ours, parameters, plain_xla, pytorch, trained
from .steps import vae_by_hand

RATE = 1e-3
CHANNELS, HIDDEN, LATENT = (32, 64), 256, 32
SAMPLES, EXAMPLES, CHUNK = 500, 50, 10  # of `importance`


def conv_vae(stack: ExitStack) -> dict[str, Contender]:
    """The variant `conv` of `experiments/vae.py`."""
    model = vae(latent=LATENT, hidden=(HIDDEN,), channels=CHANNELS)
    tx, batches = optax.adam(RATE), images(64, binarise_dynamic)
    torchs = pytorch(_torch_network, _torch_loss, batches, RATE)
    return {"ours": ours(model, tx, batches), "plain_xla": plain_xla(model, tx, batches), **torchs}


def _torch_network():
    from torch import nn

    few, many = CHANNELS
    return nn.ModuleDict(
        {
            "hidden": nn.Sequential(
                nn.Conv2d(1, few, 4, 2, 1),
                nn.ReLU(),
                nn.Conv2d(few, many, 4, 2, 1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(49 * many, HIDDEN),
                nn.ReLU(),
            ),
            "mu": nn.Linear(HIDDEN, LATENT),
            "log_sigma": nn.Linear(HIDDEN, LATENT),
            "decoder": nn.Sequential(
                nn.Linear(LATENT, HIDDEN),
                nn.ReLU(),
                nn.Linear(HIDDEN, 49 * many),
                nn.Unflatten(1, (many, 7, 7)),
                nn.ReLU(),
                nn.ConvTranspose2d(many, few, 4, 2, 1),
                nn.ReLU(),
                nn.ConvTranspose2d(few, 1, 4, 2, 1),
            ),
        }
    )


def _torch_loss(network, batch):
    import torch
    from torch.nn import functional as F

    x = batch["x"]
    h = network["hidden"](x)
    mu, log_sigma = network["mu"](h), network["log_sigma"](h)
    logits = network["decoder"](mu + log_sigma.exp() * torch.randn_like(mu))
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    return reconstruction + 0.5 * (mu.square() + (2 * log_sigma).exp() - 1 - 2 * log_sigma).sum(1).mean()


def step_iwae(stack: ExitStack) -> dict[str, Contender]:
    """IWAE with five samples and the network of Burda et al."""
    model = vae(latent=50, hidden=(200, 200), particles=5, activation=jnp.tanh)
    tx, batches = adam(RATE), images(100, binarise_dynamic)
    state, (by_hand, start) = initial(model, tx, batches[0]), vae_by_hand(model)
    size = parameters(state)
    return {
        "ours": trained(make_train_step(model.loss, tx), state, batches, size),
        "by_hand": trained(by_hand, lambda: start(state()), batches, size),
    }


def importance(stack: ExitStack) -> dict[str, Contender]:
    """`log_prob` as it is measured, example by example under `vmap`, against forward passes of the decoder alone."""
    model, batches = vae(latent=40, hidden=(300, 300)), images(EXAMPLES, binarise_dynamic)
    state = initial(model, adam(RATE), batches[0])
    params, x, key = state().params, batches[0]["x"], jax.random.key(0)
    size = parameters(state)

    def bound(params, x, key):
        def of_one(x, index):
            own = jax.random.fold_in(key, index)
            return model.log_prob(params, {}, x[None], own, particles=SAMPLES, chunk=CHUNK)[0]

        return jax.vmap(of_one)(x, jnp.arange(EXAMPLES)).sum()

    z = jax.random.normal(key, (EXAMPLES * CHUNK, 40))  # as many as the bound has in memory at once

    def decoded(params, z):
        def one_chunk(total, shift):
            return total + model.apply(params, {}, z + shift).sum(), None

        return jax.lax.scan(one_chunk, 0.0, jnp.arange(SAMPLES / CHUNK))[0]

    def contender(function, *arguments) -> Contender:
        compiled = jax.jit(function).lower(*arguments).compile()
        run = lambda: float(compiled(*arguments))  # noqa: E731
        return Contender(run, size, SAMPLES * EXAMPLES, compiled.as_text)

    return {"ours": contender(bound, params, x, key), "decoder_alone": contender(decoded, params, z)}

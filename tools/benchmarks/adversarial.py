"""Generators against discriminators: their steps against ones by hand and PyTorch's, and what a penalty costs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from gen_models.core import Batch, Model, make_train_step
from gen_models.models.adversarial.adversarial import adversarial_model
from gen_models.models.adversarial.dcgan import dcgan, features_of
from gen_models.nn.adversarial_losses import wasserstein
from gen_models.nn.gradient_penalties import wasserstein_penalty
from gen_models.nn.judgements import Judgement

from . import Contender
from .contenders import BATCHES, eager, images, initial, ours, parameters, plain_xla, torch_device, trained
from .steps import gan_by_hand

WIDTH, NOISE, CRITICS, WEIGHT = 512, 2, 5, 10.0
OF_DCGAN = optax.adam(2e-4, b1=0.5)
OF_WGAN_GP = optax.adam(1e-4, b1=0.0, b2=0.9)
PENALISED: Mapping[str, Any] = {
    "discriminator_norm": False,
    "loss": wasserstein(),
    "penalty": wasserstein_penalty(WEIGHT),
}
# Of each whole step: the image, examples of one update, the model's options.
WHOLE: Mapping[str, tuple[tuple[int, int, int], int, Mapping[str, Any]]] = {
    "dcgan28": ((28, 28, 1), 32, {}),
    "dcgan64": ((64, 64, 3), 16, {}),
    "wgan_gp28": ((28, 28, 1), 32, PENALISED),
}
# XLA's own convolutions take so long (40 s for a step of WGAN-GP on two cores) that their rounds are left out.
SLOW_WITH_XLA = ("dcgan64", "wgan_gp28")


class Perceptron(nn.Module):
    """Three layers of `WIDTH` rectified units, as WGAN-GP's code has them for points of the plane."""

    outputs: int

    @nn.compact
    def __call__(self, x):
        """[B, inputs] -> [B, outputs]."""
        for _ in range(3):
            x = nn.relu(nn.Dense(WIDTH)(x))
        return nn.Dense(self.outputs)(x)


class _Generator(nn.Module):
    @nn.compact
    def __call__(self, z, label, train):
        return Perceptron(2, name="network")(z)


class _Critic(nn.Module):
    @nn.compact
    def __call__(self, x, label, train):
        return Judgement(Perceptron(1, name="network")(x)[:, 0], x)


def wgan_gp() -> Model:
    """WGAN-GP of points of the plane."""
    penalty = wasserstein_penalty(WEIGHT)
    return adversarial_model(
        _Generator(), _Critic(), shape=(2,), latent=NOISE, loss=wasserstein(), penalty=penalty, apart=False
    )


def step_wgan_gp(stack: ExitStack) -> dict[str, Contender]:
    """Five updates of the critic and one of the generator, by our step and by JAX and optax alone."""
    model, tx = wgan_gp(), players(OF_WGAN_GP)
    batches = [{"x": x} for x in jax.random.normal(jax.random.key(0), (BATCHES, CRITICS * 256, 2))]
    state, size = initial(model, tx, batches[0]), parameters(initial(model, tx, batches[0]))
    step = make_train_step(model.loss, tx, repeats={"discriminator": CRITICS})
    return {
        "ours": trained(step, state, batches, size, "generator/loss"),
        "by_hand": trained(wgan_gp_by_hand, lambda: started_by_hand(state()), batches, size, "generator/loss"),
    }


def players(tx: optax.GradientTransformation) -> dict[str, optax.GradientTransformation]:
    """The same rule for both."""
    return {player: tx for player in ("discriminator", "generator")}


def started_by_hand(state) -> tuple:
    """What `wgan_gp_by_hand` goes on from."""
    d_params, g_params = (state.params[player]["network"] for player in ("discriminator", "generator"))
    return d_params, g_params, OF_WGAN_GP.init(d_params), OF_WGAN_GP.init(g_params), state.key, state.step


def wgan_gp_by_hand(state, batch):
    """The step of `wgan_gp` with `repeats`: losses, penalty, loop and updates are written out."""
    d_params, g_params, d_opt, g_opt, key, count = state
    key_now = jax.random.fold_in(key, count)
    parts = batch["x"].reshape(-1, CRITICS, 2).swapaxes(0, 1)

    def critic(params, x):
        logits: Any = Perceptron(1).apply({"params": params}, x)
        return logits[:, 0]

    def generated(params, key):
        return Perceptron(2).apply({"params": params}, jax.random.normal(key, (parts.shape[1], NOISE)))

    def update(carry, numbered):
        d_params, d_opt = carry
        index, real = numbered
        own = jax.random.fold_in(jax.random.fold_in(key_now, 0), index)
        noise_key, penalty_key = jax.random.split(own)
        fake = generated(g_params, noise_key)
        share = jax.random.uniform(penalty_key, (len(real), 1))

        def objective(d_params):
            real_logits, fake_logits = jnp.split(critic(d_params, jnp.concatenate([real, fake])), 2)
            slopes = jax.grad(lambda x: critic(d_params, x).sum())(share * real + (1 - share) * fake)
            norms = jnp.sqrt(jnp.square(slopes).sum(1))
            cost = WEIGHT * jnp.square(norms - 1).mean()
            estimate = real_logits.mean() - fake_logits.mean()
            return cost - estimate, {
                "real_logit": real_logits.mean(),
                "fake_logit": fake_logits.mean(),
                "wasserstein": estimate,
                "penalty": cost,
                "gradient_norm": norms.mean(),
            }

        (value, metrics), grads = jax.value_and_grad(objective, has_aux=True)(d_params)
        updates, d_opt = OF_WGAN_GP.update(grads, d_opt, d_params)
        metrics |= {"loss": value, "grad_norm": optax.tree.norm(grads)}
        return (optax.apply_updates(d_params, updates), d_opt), metrics

    (d_params, d_opt), metrics = jax.lax.scan(update, (d_params, d_opt), (jnp.arange(CRITICS), parts))
    noise_key, _ = jax.random.split(jax.random.fold_in(key_now, 1))
    value, grads = jax.value_and_grad(lambda own: -critic(d_params, generated(own, noise_key)).mean())(g_params)
    updates, g_opt = OF_WGAN_GP.update(grads, g_opt, g_params)
    metrics = {f"discriminator/{name}": each.mean() for name, each in metrics.items()}
    metrics |= {"generator/loss": value, "generator/grad_norm": optax.tree.norm(grads)}
    return (d_params, optax.apply_updates(g_params, updates), d_opt, g_opt, key, count + 1), metrics


def step_dcgan(stack: ExitStack) -> dict[str, Contender]:
    """DCGAN's step on one device, with the statistics of both players, and the same by JAX and optax alone."""
    model, tx, batches = dcgan((28, 28, 1)), players(OF_DCGAN), images(32)
    state, (by_hand, start) = initial(model, tx, batches[0]), gan_by_hand(model, OF_DCGAN)
    size = parameters(state)
    return {
        "ours": trained(make_train_step(model.loss, tx), state, batches, size, "generator/loss"),
        "by_hand": trained(by_hand, lambda: start(state()), batches, size, "generator/loss"),
    }


def gradient_penalty(stack: ExitStack) -> dict[str, Contender]:
    """The critic's loss and gradient with the penalty and without, and forward passes alone.

    The critic is DCGAN's without batch norm. It judges real and generated images, twice as many as the penalty looks
    at; the last two contenders judge as many as the penalty.
    """
    batches = images(32)
    with_penalty, without = (dcgan((28, 28, 1), **{**PENALISED, **other}) for other in ({}, {"penalty": None}))
    state = initial(with_penalty, players(OF_WGAN_GP), batches[0])
    params, stats, key = state().params, state().stats, jax.random.key(1)

    def of_both(model):
        def value(own, its, batch):
            params = {"discriminator": own, "generator": its}
            return model.loss["discriminator"](params, stats, batch, key, step=0)[0]

        return value

    def of_one(own, its, batch):
        return with_penalty.apply({"discriminator": own, "generator": its}, stats, batch["x"]).mean()

    def contender(function) -> Contender:
        both = params["discriminator"], params["generator"]
        compiled = jax.jit(function).lower(*both, batches[0]).compile()
        calls = 0

        def run():
            nonlocal calls
            calls += 1
            found = compiled(*both, batches[calls % len(batches)])
            return jax.tree.leaves(jax.block_until_ready(found))[0]

        return Contender(run, parameters(state), hlo=compiled.as_text)

    return {
        "ours": contender(jax.value_and_grad(of_both(with_penalty))),
        "without": contender(jax.value_and_grad(of_both(without))),
        "forward": contender(of_both(without)),
        "one_batch": contender(jax.value_and_grad(of_one)),
        "one_batch_forward": contender(of_one),
    }


def backward_passes(times: Mapping[str, Sequence[float]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What the penalty adds to an update, in backward passes of that update and in those of one batch.

    Returns:
      name -> (the number of passes, seconds of one of them), of each round.
    """
    each = {name: np.asarray(found) for name, found in times.items()}
    added = each["ours"] - each["without"]
    passes = {
        "backward passes over real and generated images": each["without"] - each["forward"],
        "backward passes over as many images as the penalty": each["one_batch"] - each["one_batch_forward"],
    }
    return {name: (added / seconds, seconds) for name, seconds in passes.items()}


def whole(stack: ExitStack, name: str) -> dict[str, Contender]:
    """A step of both players of `WHOLE`, as `fit` trains it, by XLA's own convolutions, and PyTorch's eager one."""
    shape, size, options = WHOLE[name]
    model = dcgan(shape, **options)
    penalised = "penalty" in options
    tx = players(OF_WGAN_GP if penalised else OF_DCGAN)
    repeats = {"discriminator": CRITICS} if penalised else {}
    batches = pictures(shape, size * CRITICS if penalised else size)
    said: dict[str, Any] = {"loss": "generator/loss", "repeats": repeats}
    quick = name not in SLOW_WITH_XLA
    return {
        "ours": ours(model, tx, batches, **said),
        **({"plain_xla": plain_xla(model, tx, batches, **said)} if quick else {}),
        **torch_players(shape, penalised, batches),
    }


def pictures(shape: Sequence[int], size: int) -> list[Batch]:
    """The bundled images where they have the shape, else pixels drawn uniformly: a step costs the same."""
    if tuple(shape) == (28, 28, 1):
        return images(size)
    keys = jax.random.split(jax.random.key(0), BATCHES)
    return [{"x": jax.random.uniform(key, (size, *shape))} for key in keys]


def torch_players(shape: Sequence[int], penalised: bool, batches: Sequence[Batch]) -> dict[str, Contender]:
    """DCGAN in PyTorch, or WGAN-GP with its networks; {} where PyTorch is not there."""
    device = torch_device()
    if device is None:
        return {}
    import torch

    from gen_models.machine import cores

    torch.set_num_threads(cores())
    torch.manual_seed(0)
    generator, discriminator = (network.to(device) for network in torch_networks(shape, not penalised))
    rate, betas = (1e-4, (0.0, 0.9)) if penalised else (2e-4, (0.5, 0.999))
    rules = [torch.optim.Adam(network.parameters(), rate, betas) for network in (discriminator, generator)]
    loss_of, count = (torch_wgan_gp, CRITICS) if penalised else (torch_dcgan, 1)

    def updated(rule, value):
        rule.zero_grad(set_to_none=True)
        value.backward()
        rule.step()
        return value.detach()

    def step(batch):
        images = 2 * batch["x"] - 1
        for part in (images[i::count] for i in range(count)):
            with torch.no_grad():
                fake = generator(torch_noise(part))
            updated(rules[0], loss_of(discriminator, part, fake))
        discriminator.requires_grad_(False)
        value = updated(rules[1], loss_of(discriminator, None, generator(torch_noise(part))))
        discriminator.requires_grad_(True)
        return value

    size = sum(p.numel() for network in (generator, discriminator) for p in network.parameters())
    return {"pytorch": eager(step, batches, size)}


def torch_networks(shape: Sequence[int], discriminator_norm: bool, latent: int = 100) -> tuple[Any, Any]:
    """DCGAN's generator and discriminator, images [B, C, H, W] from -1 to 1.

    PyTorch pads a window of 5 by two pixels at the start and one at the end, ours the other way round: its networks are
    ours of images that are turned round.
    """
    from torch import nn

    height, width, colours = shape
    features = features_of(shape)
    sides = height // 2 ** len(features), width // 2 ** len(features)
    wide = features[-1] * sides[0] * sides[1]
    making: list[Any] = [
        nn.Linear(latent, wide, bias=False),
        nn.BatchNorm1d(wide),
        nn.ReLU(),
        nn.Unflatten(1, (features[-1], *sides)),
    ]
    for given, made in pairwise((*features[::-1], colours)):
        making.append(nn.ConvTranspose2d(given, made, 5, 2, 2, output_padding=1, bias=False))
        making += [nn.Tanh()] if made == colours else [nn.BatchNorm2d(made), nn.ReLU()]
    judging: list[Any] = []
    for given, made in pairwise((colours, *features)):
        judging.append(nn.Conv2d(given, made, 5, 2, 2, bias=not discriminator_norm))
        judging += [nn.BatchNorm2d(made)] if discriminator_norm and given != colours else []
        judging.append(nn.LeakyReLU(0.2))
    judging += [nn.Flatten(), nn.Linear(wide, 1, bias=not discriminator_norm)]
    for layer in (*making, *judging):
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0, 0.02)
    return nn.Sequential(*making), nn.Sequential(*judging)


def torch_noise(like, latent: int = 100):
    """Uniform noise from -1 to 1, as many as there are images."""
    import torch

    return torch.rand(len(like), latent, device=like.device) * 2 - 1


def torch_dcgan(discriminator: Callable, real, fake):
    """The discriminator's loss of real and generated images; without real ones, the generator's."""
    from torch.nn.functional import softplus

    if real is None:
        return softplus(-discriminator(fake)).mean()
    return softplus(-discriminator(real)).mean() + softplus(discriminator(fake)).mean()


def torch_wgan_gp(discriminator: Callable, real, fake):
    """As `torch_dcgan`, of the critic and the generator of WGAN-GP."""
    import torch

    if real is None:
        return -discriminator(fake).mean()
    on_real, on_fake = discriminator(torch.cat([real, fake])).chunk(2)
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = (share * real + (1 - share) * fake).requires_grad_(True)
    (slopes,) = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)
    cost = WEIGHT * (slopes.flatten(1).norm(dim=1) - 1).square().mean()
    return on_fake.mean() - on_real.mean() + cost

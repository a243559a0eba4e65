"""What the framework costs: its step against one written by hand, and its loop with checkpoints against none."""

import dataclasses
import tempfile
from contextlib import ExitStack
from pathlib import Path

import jax
import optax

from gen_models.core import make_train_step
from gen_models.data import in_memory
from gen_models.data.synthetic import gaussian_grid
from gen_models.data.transforms import binarise_dynamic
from gen_models.distributions import bernoulli_log_prob
from gen_models.models.adversarial.gan import gan
from gen_models.models.latent.vae import vae
from gen_models.optimizers import adam
from gen_models.run.experiments import find
from gen_models.run.job import keys, make_job
from gen_models.training.checkpoint import Checkpoints
from gen_models.training.loop import fit

from . import Contender
from .contenders import BATCHES, images, initial, parameters, trained

TURN = 600  # steps: a turn of `saving`, which waits for its last checkpoint at the end, so that it must be long
EVERY = 100  # steps between checkpoints
WITHOUT_END = 10**7  # steps of the schedule


def step_vae(stack: ExitStack) -> dict[str, Contender]:
    """The VAE of `experiments/vae.py`."""
    model, tx, batches = vae(), adam(1e-3), images(128, binarise_dynamic)
    state, (by_hand, start) = initial(model, tx, batches[0]), vae_by_hand(model)
    size = parameters(state)
    return {
        "ours": trained(make_train_step(model.loss, tx), state, batches, size),
        "by_hand": trained(by_hand, lambda: start(state()), batches, size),
    }


def vae_by_hand(model):
    """`make_train_step`'s update of a model with one loss, by JAX and optax alone.

    Also a function that makes its state, (params, opt_state, key, step), of a `TrainState`.
    """
    tx = optax.adam(1e-3)

    def step(state, batch):
        params, opt_state, key, count = state

        def objective(params):
            step_key = jax.random.fold_in(jax.random.fold_in(key, count), 0)
            value, (_, metrics) = model.loss(params, {}, batch, step_key, step=count)
            return value, metrics

        (value, metrics), grads = jax.value_and_grad(objective, has_aux=True)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        metrics = {"loss": value, **metrics, "grad_norm": optax.tree.norm(grads)}
        return (optax.apply_updates(params, updates), opt_state, key, count + 1), metrics

    return step, lambda state: (state.params, tx.init(state.params), state.key, state.step)


def bernoulli(stack: ExitStack) -> dict[str, Contender]:
    """`bernoulli_log_prob` against the formula as it is written in papers."""
    key = jax.random.key(0)
    x = jax.random.bernoulli(key, 0.5, (128, 28, 28, 1)).astype(float)
    logits = 3 * jax.random.normal(key, x.shape)

    def as_written(x, logits):
        return (x * jax.nn.log_sigmoid(logits) + (1 - x) * jax.nn.log_sigmoid(-logits)).sum((1, 2, 3))

    def contender(log_prob) -> Contender:
        both = jax.jit(jax.value_and_grad(lambda logits, x: log_prob(x, logits).mean())).lower(logits, x).compile()

        def run() -> float:
            for _ in range(20):
                value, slope = both(logits, x)
            return float(jax.block_until_ready((value, slope))[0])

        return Contender(run, 0, 20, both.as_text)

    return {"ours": contender(bernoulli_log_prob), "as_written": contender(as_written)}


def step_gan(stack: ExitStack) -> dict[str, Contender]:
    """The GAN of `experiments/gan_grid.py`."""
    model, source = gan(), in_memory(gaussian_grid(), 100)
    tx = {player: adam(1e-4, b1=0.8) for player in ("discriminator", "generator")}
    make = jax.jit(source.make)
    rows = source.rows(0, BATCHES)
    batches = [make(source.data, row, jax.random.key(step)) for step, row in enumerate(rows)]
    state, (by_hand, start) = initial(model, tx, batches[0]), gan_by_hand(model)
    size = parameters(state)
    return {
        "ours": trained(make_train_step(model.loss, tx), state, batches, size, "generator/loss"),
        "by_hand": trained(by_hand, lambda: start(state()), batches, size, "generator/loss"),
    }


def gan_by_hand(model, tx=None):
    """As `vae_by_hand`, of a discriminator and a generator; the state has their statistics too."""
    tx = tx or optax.adam(1e-4, b1=0.8)

    def step(state, batch):
        d_params, g_params, stats, d_opt, g_opt, key, count = state
        key_now = jax.random.fold_in(key, count)

        def d_objective(d_params):
            params = {"discriminator": d_params, "generator": g_params}
            key = jax.random.fold_in(key_now, 0)
            return model.loss["discriminator"](params, stats, batch, key, step=count)

        (d_loss, (stats, d_metrics)), d_grads = jax.value_and_grad(d_objective, has_aux=True)(d_params)
        updates, d_opt = tx.update(d_grads, d_opt, d_params)
        d_params = optax.apply_updates(d_params, updates)

        def g_objective(g_params):
            params = {"discriminator": d_params, "generator": g_params}
            key = jax.random.fold_in(key_now, 1)
            return model.loss["generator"](params, stats, batch, key, step=count)

        (g_loss, (stats, _)), g_grads = jax.value_and_grad(g_objective, has_aux=True)(g_params)
        updates, g_opt = tx.update(g_grads, g_opt, g_params)
        g_params = optax.apply_updates(g_params, updates)
        metrics = {f"discriminator/{name}": value for name, value in d_metrics.items()} | {
            "discriminator/loss": d_loss,
            "discriminator/grad_norm": optax.tree.norm(d_grads),
            "generator/loss": g_loss,
            "generator/grad_norm": optax.tree.norm(g_grads),
        }
        return (d_params, g_params, stats, d_opt, g_opt, key, count + 1), metrics

    def start(state):
        d_params, g_params = state.params["discriminator"], state.params["generator"]
        return d_params, g_params, state.stats, tx.init(d_params), tx.init(g_params), state.key, state.step

    return step, start


def saving(stack: ExitStack) -> dict[str, Contender]:
    """The loop of `experiments/vae.py` on its own data; both go on from where their last turn ended."""
    vae_experiment = find("vae")
    config = dataclasses.replace(vae_experiment.variants["base"], steps=WITHOUT_END)
    job = make_job(vae_experiment, config)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    checkpoints = stack.enter_context(Checkpoints(folder / "checkpoints"))

    size = parameters(job.shapes)

    def contender(**options) -> Contender:
        state, newest = job.initial(config.seed), float("nan")

        def log(step: int, values: dict[str, float]) -> None:
            nonlocal newest
            newest = values["train/loss"]

        def run():
            nonlocal state
            goal = int(state.step) + TURN
            outcome = fit(
                job.step,
                state,
                job.batches(config.seed),
                steps=goal,
                key=keys(config.seed).data,
                numbers=job.numbers(config),
                log=log,
                **options,
            )
            if outcome.status != "finished":
                raise ValueError(f"the run was {outcome.status} at step {outcome.step}")
            state = outcome.state
            jax.block_until_ready(state)
            return newest

        return Contender(run, size, steps=TURN)

    return {
        "ours": contender(checkpoints=checkpoints, checkpoint_every=EVERY),
        "without_checkpoints": contender(checkpoint_every=0),
    }

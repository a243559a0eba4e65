"""How well does a variational autoencoder model images whose pixels are drawn as 0 or 1?

    python -m experiments.vae                        # the bundled part of Fashion-MNIST
    python -m experiments.vae iwae --steps 2000      # a variant, fields overridden
    python -m experiments.vae sweep --seeds 3        # every variant, three seeds each

Writes samples, reconstructions beside their originals, a walk through the latent space, and curves.

Measured on 2 CPU cores, seed 0, nats per test image (spread: standard error over images):
  base          ELBO -240.4, log p(x) >= -238.2 +- 1.7 with 100 samples; 32 s for the whole process
  mnist         ELBO -90.41, log p(x) >= -86.45 +- 0.22 with 100 samples; a convolutional VAE's bound: -86.77
  mnist_static  ELBO -94.73, log p(x) >= -89.36 +- 0.23 with 200 samples; Rezende & Mohamed, on another draw: -89.9
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from gen_models.run import cli
from gen_models.run.config import TRACED, Experiment, Range, RunConfig
from gen_models.run.directory import Figure

if TYPE_CHECKING:
    from gen_models.run.job import Job


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """A VAE and its training."""

    steps: int = 5000
    train_split: str = "train"
    """What to train on; train+validation for figures to compare with published ones."""
    binarisation: Literal["dynamic", "fixed"] = "dynamic"
    """Draw each pixel afresh in every step, or once for all."""
    latent: int = 32
    """Dimensions of z."""
    hidden: tuple[int, ...] = (512, 512)
    """Widths of the encoder's layers; the decoder mirrors them."""
    channels: tuple[int, ...] = ()
    """Of convolutions of stride 2 before the hidden layers; none: all layers are dense."""
    activation: Literal["relu", "gelu", "tanh", "leaky_relu"] = "relu"
    """Between the layers."""
    beta: Annotated[float, TRACED, Range(0.1, 10.0, log=True)] = 1.0
    """Weight of the KL term."""
    warmup_steps: int = 0
    """Steps over which that weight rises from 0."""
    particles: int = 1
    """Importance samples of the objective; 1 is the ELBO."""
    optimizer: Literal["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"] = "adam"
    """Update rule."""
    schedule: Literal["constant", "cosine", "linear", "exponential"] = "cosine"
    """How the learning rate goes on from its peak."""
    weight_decay: float = 0.0
    """Decoupled weight decay (adamw)."""
    accumulate: int = 1
    """Parts into which each batch is cut to save memory; gradients are averaged over them."""
    ema_decay: float = 0.0
    """Average of the parameters that evaluation uses; 0: none."""
    importance_samples: int = 100
    """For the test log-likelihood's bound, per image."""


base = Config()
variants: Mapping[str, Config] = {
    "base": base,
    "beta4": replace(base, beta=4.0),
    "warmup": replace(base, warmup_steps=1000),
    "iwae": replace(base, particles=5),
    "conv": replace(base, channels=(32, 64), hidden=(256,)),
    # The recipes for full MNIST; their figures are in the README.
    "mnist": replace(
        base,
        dataset="mnist",
        train_split="train+validation",
        steps=100_000,
        latent=40,
        warmup_steps=10_000,
        ema_decay=0.999,
    ),
    "mnist_static": replace(
        base,
        dataset="mnist",
        train_split="train+validation",
        steps=32_000,
        latent=40,
        warmup_steps=3_000,
        ema_decay=0.999,
        binarisation="fixed",
        importance_samples=200,
    ),
}


def build(config: Config) -> "Job":
    """Model, data, training step and figures."""
    import jax
    import jax.numpy as jnp
    from flax import linen as nn

    from gen_models import plots
    from gen_models.core import init_state, make_train_step
    from gen_models.data import batches, evaluation_batches, load
    from gen_models.data.transforms import binarise_dynamic, binarise_fixed, to_unit
    from gen_models.distributions import bernoulli_log_prob, normal_kl
    from gen_models.evaluation.likelihood import dataset_log_prob
    from gen_models.models.latent.vae import vae
    from gen_models.optimizers import optimizer, schedule
    from gen_models.run.job import Job

    train = load(config.dataset, config.train_split, config.data_dir)
    test = load(config.dataset, "test", config.data_dir)
    if config.accumulate < 1 or config.batch_size % config.accumulate:
        raise ValueError(f"--accumulate must divide --batch-size {config.batch_size}, got {config.accumulate}")
    # What is trained on cannot validate: the curve is then the test split's, and says so.
    held_out = test if config.train_split.startswith("train+") else load(config.dataset, "validation", config.data_dir)
    word = "test" if held_out is test else "validation"
    transform = binarise_dynamic if config.binarisation == "dynamic" else binarise_fixed()
    source = batches(train, config.batch_size, seed=config.seed, transform=transform)
    example = {"x": jnp.zeros((1, *train.shape))}

    def parts(config):
        """Model and optimizer."""
        # The importance-weighted objective has no KL to weigh: `vae` refuses a number, and a traced one is left out.
        weighs = config.particles == 1 or isinstance(config.beta, float)
        model = vae(
            train.shape,
            latent=config.latent,
            hidden=config.hidden,
            channels=config.channels,
            warmup_steps=config.warmup_steps,
            particles=config.particles,
            activation={"relu": nn.relu, "gelu": nn.gelu, "tanh": nn.tanh, "leaky_relu": nn.leaky_relu}[
                config.activation
            ],
            dtype=config.precision,
            **({"beta": config.beta} if weighs else {}),
        )
        rate = schedule(config.schedule, config.learning_rate, config.steps)
        decay = {"weight_decay": config.weight_decay} if config.weight_decay else {}
        return model, optimizer(config.optimizer, rate, **decay)

    model, tx = parts(config)

    def averaged(state):
        return state.params if state.ema is None else state.ema

    @jax.jit
    def terms(params, batch, key):
        """Reconstruction and KL, summed over the batch's examples, in nats."""
        mu, log_sigma = model.encode(params, {}, batch["x"])
        z = mu + jnp.exp(log_sigma) * jax.random.normal(key, mu.shape)
        reconstruction = -bernoulli_log_prob(batch["x"], model.decode(params, {}, z))
        return (jnp.stack([reconstruction, normal_kl(mu, log_sigma)]) * batch["weight"]).sum(1)

    def bound(params, dataset, key):
        """Reconstruction and KL in nats per image over a data set."""
        total = np.zeros(2)
        for index, batch in enumerate(evaluation_batches(dataset, 500, transform=transform)):
            total += np.asarray(terms(params, batch, jax.random.fold_in(key, index)), np.float64)
        return total / len(dataset)

    def evaluate(state, key):
        reconstruction, kl = bound(averaged(state), held_out, key)
        return {f"{word}/elbo": -(reconstruction + kl), f"{word}/reconstruction": reconstruction, f"{word}/kl": kl}

    def weighted(params, stats, x, key):  # the same function for all runs of a group: it is compiled once
        return model.log_prob(params, stats, x, key, particles=config.importance_samples)

    def figures(state, key):
        params = averaged(state)
        bound_key, weights_key = jax.random.split(key)
        reconstruction, kl = bound(params, test, bound_key)
        where = f"{test.name}, test, {len(test):,} images, binarised ({config.binarisation})"
        likelihood = dataset_log_prob(
            weighted,
            params,
            state.stats,
            evaluation_batches(test, 250, transform=transform),
            weights_key,
        )
        return [
            Figure("ELBO", -(reconstruction + kl), "nats/image", where, note="lower bound on log p(x)"),
            Figure("reconstruction", reconstruction, "nats/image", where, note="-E_q log p(x|z)"),
            Figure("KL", kl, "nats/image", where, note="of q(z|x) from the prior"),
            Figure(
                "log-likelihood",
                likelihood.mean,
                "nats/image",
                where,
                likelihood.standard_error,
                f"importance-weighted bound, {config.importance_samples} samples; the spread is over images",
            ),
        ]

    sample = jax.jit(lambda params, stats, key, n: model.sample(params, stats, key, n), static_argnums=3)
    decode_means = jax.jit(lambda params, z: jax.nn.sigmoid(model.decode(params, {}, z)))
    encode_means = jax.jit(lambda params, x: model.encode(params, {}, x)[0])

    def pictures(state, key, folder: Path):
        params = averaged(state)
        shown = next(evaluation_batches(test, min(len(test), 400), transform=transform))["x"]
        original = next(evaluation_batches(test, min(len(test), 400), transform=to_unit))["x"]
        picked = np.linspace(0, len(shown) - 1, 24).astype(int)
        x, original = np.asarray(shown)[picked], np.asarray(original)[picked]
        mu = encode_means(params, x)
        again = np.asarray(decode_means(params, mu))
        rows = [row for half in (slice(0, 12), slice(12, 24)) for row in (original[half], x[half], again[half])]
        plots.image_grid(np.concatenate(rows), folder / "reconstructions.png", columns=12)
        ends, along = np.asarray(mu), np.linspace(0, 1, 12)[:, None]
        walk = np.concatenate([ends[2 * i] * (1 - along) + ends[2 * i + 1] * along for i in range(8)])
        plots.image_grid(np.asarray(decode_means(params, walk)), folder / "latent_walk.png", columns=12)

    def step_of(config):
        model, tx = parts(config)
        return make_train_step(model.loss, tx, ema_decay=config.ema_decay, accumulate=config.accumulate)

    return Job(
        model=model,
        init=lambda key: init_state(model, tx, key, example, ema=config.ema_decay > 0),
        step=step_of(config),
        step_of=step_of,
        batches=source,
        batches_of=lambda seed: batches(train, config.batch_size, seed=seed, transform=transform),
        figures=figures,
        evaluate=evaluate,
        sample=lambda state, key, n: np.asarray(sample(averaged(state), state.stats, key, n)),
        show=plots.image_grid,
        pictures=pictures,
    )


EXPERIMENT = Experiment(
    "experiments.vae",
    __doc__,
    variants,
    build,
    swept=("base", "beta4", "warmup", "iwae", "conv"),
    objective=("validation/elbo", "maximize"),
    directions={"ELBO": "maximize", "log-likelihood": "maximize"},
)

if __name__ == "__main__":
    cli.launch(EXPERIMENT)

"""Steps, batches and states to check: experiments at their tiny sizes, on images that are made for it. Imports JAX."""

import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from gen_models.core import Batch, Model, TrainState, init_state
from gen_models.data.sources import BUNDLED
from gen_models.run.config import Experiment
from gen_models.run.experiments import find
from gen_models.run.fields import field_names, with_values
from gen_models.run.job import Job, keys, make_job
from gen_models.run.tiny import tiny_config

# Pixels of the images: halved twice for three resolutions, and few for samplers that run a network for each pixel.
SIDE = 12
SEED = 0


def named(subject: str) -> tuple[Experiment, str]:
    """The experiment and the variant of "vae conv" or "my_vae.py"; the first variant where none is named."""
    name, _, variant = subject.partition(" ")
    experiment = find(name)
    return experiment, variant or next(iter(experiment.variants))


@lru_cache(maxsize=4)
def job_of(subject: str, precision: str = "float32", devices: int = 1) -> Job:
    """The job of a subject at its tiny sizes; its batch is one that `devices` can share."""
    experiment, variant = named(subject)
    config = with_values(tiny_config(experiment, variant), {"precision": precision, "ema_decay": 0.9})
    config = with_values(config, {"batch_size": -(-config.batch_size // (2 * devices)) * 2 * devices})
    if "dataset" in field_names(config) and experiment.tiny.get("dataset") == "digits":
        config = with_values(config, {"dataset": f"npz:{_small_images()}", "train_split": "train"})
    return make_job(experiment, config)


@lru_cache(maxsize=1)
def _small_images() -> Path:
    """An archive of the middles of bundled images: no other package and no network is needed for them."""
    edge = (28 - SIDE) // 2
    with np.load(BUNDLED, allow_pickle=False) as archive:
        arrays = {
            f"{split}_{name}": archive[f"{split}_{name}"][:400]
            for split in ("train", "test")
            for name in ("image", "label")
        }
    middles = {
        name: value[:, edge : edge + SIDE, edge : edge + SIDE] if name.endswith("image") else value
        for name, value in arrays.items()
    }
    path = Path(tempfile.mkdtemp(prefix="accelerator_check_")) / "images.npz"
    np.savez(path, **middles)
    return path


def batch_of(job: Job, step: int = 0) -> Batch:
    """The batch of a step, as the run of seed 0 gets it."""
    batches = job.batches(SEED)
    row = jax.tree.map(lambda x: np.asarray(x)[0], batches.rows(step, 1))
    return jax.jit(batches.make)(batches.data, row, jax.random.fold_in(keys(SEED).data, step))


def gradient_optimizer(model: Model) -> Any:
    """Plain gradient descent with rate 1 for each player: then a step's update is its gradient.

    Adam's first update is the gradient's sign, which rounding turns where the gradient is next to 0.
    """
    sgd = optax.sgd(1.0)
    return dict.fromkeys(model.loss, sgd) if isinstance(model.loss, Mapping) else sgd


def state_of(model: Model, batch: Batch) -> TrainState:
    """A state away from zeros that parameters may start from, behind which nothing has a gradient."""
    tx = gradient_optimizer(model)
    state = jax.jit(lambda key: init_state(model, tx, key, batch))(jax.random.key(SEED))
    rng = np.random.default_rng(SEED)
    moved = jax.tree.map(lambda x: x + (0.02 * rng.normal(size=x.shape)).astype(x.dtype), state.params)
    return state._replace(params=moved)

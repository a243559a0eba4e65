"""Ten seeds of the GAN of `experiments/gan_grid.py`: in one program, one after another in one process, as commands."""

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_models.run.config import Experiment
from gen_models.run.experiments import find
from gen_models.run.job import Job, keys, make_job
from gen_models.sweep.stacked import How, stacked_batches, stacked_numbers, stacked_step
from gen_models.training.loop import fit

from . import Contender
from .contenders import parameters

SEEDS = 10
TURN = 20  # steps of each seed in a call
LAUNCHED = 300  # steps of each seed that is a command of its own
WITHOUT_END = 10**7  # steps of the runs, which no turn reaches
ROOT = Path(__file__).resolve().parent.parent.parent


def grid_seeds(stack: ExitStack) -> dict[str, Contender]:
    """A step of all seeds, as the sweep stacks them, against one run's turn after another's."""
    return contenders_of(find("gan_grid"), SEEDS)


def contenders_of(experiment: Experiment, seeds: int, turn: int = TURN, **fields: Any) -> dict[str, Contender]:
    """Those of `grid_seeds`, for the first variant of an experiment.

    Args:
      experiment: whose variant is trained.
      seeds: how many.
      turn: steps of each seed in a call.
      **fields: other values of the config's fields.
    """
    first = next(iter(experiment.variants.values()))
    configs = [dataclasses.replace(first, seed=seed, steps=WITHOUT_END, **fields) for seed in range(seeds)]
    job = make_job(experiment, configs[0])
    return {
        "ours": _stacked(job, configs, "scan", turn),
        "vmap": _stacked(job, configs, "vmap", turn),
        "one_by_one": _in_turn(job, configs, turn),
    }


def _stacked(job: Job, configs: Sequence[Any], how: How, turn: int) -> Contender:
    """All seeds in one program: each device takes its share by `vmap`, or one after another ("scan")."""
    step, place = stacked_step(job, len(configs), how)
    own = [keys(config.seed).data for config in configs]
    batches = stacked_batches(job, [config.seed for config in configs], own)
    state = place(jax.tree.map(lambda *leaves: jnp.stack(leaves), *(job.initial(config.seed) for config in configs)))
    numbers = stacked_numbers(job, configs)

    def run() -> float:
        nonlocal state
        state, newest = _trained(step, state, batches, turn, jax.random.key(0), numbers)
        return newest

    return Contender(run, len(configs) * parameters(job.shapes), turn)


def _in_turn(job: Job, configs: Sequence[Any], turn: int) -> Contender:
    """Each seed by its own calls of the program that all of them share."""
    states = [job.initial(config.seed) for config in configs]

    def run() -> float:
        losses = []
        for i, config in enumerate(configs):
            batches, key = job.batches(config.seed), keys(config.seed).data
            states[i], newest = _trained(job.step, states[i], batches, turn, key, job.numbers(config))
            losses.append(newest)
        return float(np.mean(losses))

    return Contender(run, len(configs) * parameters(job.shapes), turn)


def _trained(step: Any, state: Any, batches: Any, turn: int, key: Any, numbers: Any) -> tuple[Any, float]:
    """The state after `turn` more steps, and the mean of the generators' losses."""
    losses: list[float] = []

    def log(step: int, values: dict[str, Any]) -> None:
        losses.append(float(np.mean(values["train/generator/loss"])))

    goal = int(np.max(state.step)) + turn
    outcome = fit(
        step, state, batches, steps=goal, key=key, numbers=numbers, checkpoint_every=0, log=log, log_every=turn
    )
    if outcome.status != "finished":
        raise ValueError(f"the run was {outcome.status} at step {outcome.step}")
    return jax.block_until_ready(outcome.state), losses[-1]


def grid_launches(stack: ExitStack) -> dict[str, Contender]:
    """Commands from their start to the last figure: a sweep of all seeds, and one command for each seed."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
    short = ("--steps", str(LAUNCHED), "--checkpoint-every", "0", "--evaluate-every", "0")

    def contender(commands: Sequence[Sequence[str]]) -> Contender:
        done = 0

        def run() -> float:
            nonlocal done
            done += 1
            for i, words in enumerate(commands):
                place = str(folder / f"{len(commands)}-{done}-{i}")
                command = [sys.executable, "-m", "experiments.gan_grid", *words, *short, "--run-dir", place]
                subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
            return 0.0

        return Contender(run, 0)

    return {
        "ours": contender([["sweep", "--variants", "gan", "--seeds", str(SEEDS)]]),
        "launches": contender([["gan", "--seed", str(seed)] for seed in range(SEEDS)]),
    }

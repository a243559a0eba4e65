"""The best state of a run: kept beside the newest where that is asked for, and measured where training stops early."""

from contextlib import ExitStack
from typing import Any

import jax

from gen_models.core import TrainState
from gen_models.measures.figure import Figure
from gen_models.run import console
from gen_models.run.directory import Run
from gen_models.run.job import Job
from gen_models.run.restore import restored
from gen_models.training.best import Best
from gen_models.training.checkpoint import Checkpoints


def refuse_several_hosts(config: Any) -> None:
    """Raises ValueError where several hosts are asked to follow the best state."""
    if (config.early_stopping or config.keep_best) and jax.process_count() > 1:
        raise ValueError(
            "--early-stopping and --keep-best need one host: leave them out (early_stopping=0, keep_best=False in the "
            "library)"
        )


def followed(stack: ExitStack, job: Job, run: Run, config: Any) -> Best | None:
    """What `fit` tells of evaluations, for as long as the stack is open; None where nobody asks for it."""
    objective = job.objective()
    if not (config.early_stopping or config.keep_best) or objective is None:
        return None
    checkpoints = stack.enter_context(Checkpoints(run.best, keep=1, protected=run.earlier_ends()))
    return Best(*objective, checkpoints, config.early_stopping)


def best_state(job: Job, last: TrainState, best: Best) -> tuple[TrainState, dict[str, Any]]:
    """The state that is measured where training stops early, and what `result.json` says of it.

    That is the best, or the last where no evaluation gave a number.

    Raises:
      ValueError, OSError: the best state cannot be read.
    """
    state = last if best.step is None else restored(best.checkpoints, job.shapes())
    said = {"metric": best.metric, "value": best.value} if best.step == int(state.step) else {"metric": best.metric}
    return state, {"measured_at": int(state.step), "best": said, "evaluations_since_best": best.since}


def told(best: Best, step: int, steps: int) -> None:
    """Say where the training ended, and which state is measured."""
    where = (
        "no evaluation gave a number" if best.step is None else f"the best was {best.value:.4g} at step {best.step:,}"
    )
    if step < steps:
        console.say(f"stopped early at step {step:,} of {steps:,}, as asked: {where}, by {best.metric}")


def noted(figures: list[Figure], measured_at: int, metric: str) -> list[Figure]:
    """The figures, each with a note of the step at which it was measured."""
    note = f"measured at step {measured_at:,}, the best on {metric.split('/')[0]}"
    return [figure._replace(note="; ".join(filter(None, (figure.note, note)))) for figure in figures]

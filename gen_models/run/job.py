"""An experiment and a config, put together: what is trained, and what is measured of it.

A job serves every config of its group, which differ in the seed and in fields marked TRACED alone: the step takes those
values as an argument, and which examples a step sees is a function of the seed. An experiment knows nothing of that.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gen_models.core import Key, Metrics, Model, Optimizer, TrainState, init_state, make_train_step
from gen_models.data import Batches
from gen_models.data.report import absent, report_of
from gen_models.data.splits import Splits
from gen_models.evaluation import batch_norm
from gen_models.measures.base import (
    Draws,
    DrawsSamples,
    Measure,
    Measures,
    Split,
    Trained,
    headline_of,
    metric_name,
    reads_parameters,
)
from gen_models.measures.figure import AVERAGED, Figure, with_note
from gen_models.optimizers import optimizer
from gen_models.run.config import Experiment, Optimisation
from gen_models.run.fields import traced_fields, value_of, with_values
from gen_models.run.kept_stats import KeptStats
from gen_models.run.room import refuse_too_large
from gen_models.schedules import schedule


class Keys(NamedTuple):
    """A run's keys, one for each use."""

    state: Key  # for the fresh state
    data: Key  # for the transforms of training batches
    evaluation: Key  # for measures during training
    figures: Key  # for measures at the end
    samples: Key  # for pictures


def keys(seed: int) -> Keys:
    """The keys of a run with this seed."""
    return Keys(*jax.random.split(jax.random.key(seed), 5))


@dataclass(frozen=True, eq=False)
class Job:
    """All that a group of runs shares; see `make_job`."""

    experiment: Experiment
    config: Any  # the config of one run of the group
    data: Splits
    model: Model  # that config's; evaluation reads no TRACED field of it, which a test checks for every experiment
    measures: Sequence[Measure]
    # Dotted names of the TRACED fields that the step takes as `numbers`; none where a measure reads them: then they are
    # constants of the step.
    names: tuple[str, ...]
    # Shapes and dtypes of a training batch, where the data are not there to make one.
    batch: Any = None
    kept: KeptStats | None = None  # statistics that a finished run was evaluated with; None: they are estimated anew

    def serves(self, config: Any) -> bool:
        """Whether a config of the same group can be trained and measured with this; no other fields are compared."""
        names = traced_fields(config)
        if set(names) != set(traced_fields(self.config)):
            return False  # one of them has a term that is 0 in the other, which is a constant of another program
        return all(name in self.names or value_of(config, name) == value_of(self.config, name) for name in names)

    def numbers(self, config: Any) -> dict[str, float]:
        """The values of the config's TRACED fields that the step takes."""
        return {name: value_of(config, name) for name in self.names}

    def batches(self, seed: int) -> Batches:
        """Training batches of a run with this seed: an order of its own, and arrays and `make` that all seeds share."""
        return self.data.batches(self.config.batch_size, seed=seed)

    @cached_property
    def batch_shape(self) -> Any:
        """Shapes and dtypes of a training batch, as `jax.eval_shape` gives them.

        Raises:
          DataAbsent: the data are not there, and it is not known what a batch is.
        """
        if self.batch is not None:
            return self.batch
        batches = self.batches(self.config.seed)
        row = jax.tree.map(lambda x: np.asarray(x)[0], batches.rows(0, 1))
        return jax.eval_shape(batches.make, batches.data, row, jax.random.key(0))

    @cached_property
    def report(self) -> dict[str, Any]:
        """What was read, as `gen_models.data.report` says it; the data are gone through once."""
        return report_of(self.data)

    def described(self) -> dict[str, Any]:
        """What a run keeps of its data, as JSON: enough to restore, sample and export it without them."""
        return {"report": self.report, "batch": shapes_to_json(self.batch_shape)}

    @cached_property
    def step(self) -> Callable[..., tuple[TrainState, Metrics]]:
        """(state, batch, numbers) -> (state, metrics); (state, batch) where there are no numbers. Always one object."""
        if not self.names:
            return self._step_of(self.config, self.model)

        def step(state: TrainState, batch: Any, numbers: Mapping[str, Any]) -> tuple[TrainState, Metrics]:
            config = with_values(self.config, numbers)
            return self._step_of(config, self.experiment.model(config, self.data))(state, batch)

        return step

    def _step_of(self, config: Any, model: Model) -> Callable[..., tuple[TrainState, Metrics]]:
        return make_train_step(
            model.loss,
            optimizer_of(self.experiment, config),
            ema_decay=config.ema_decay,
            accumulate=config.accumulate,
            repeats=_repeats_of(self.experiment, config),
            init_carry=model.init_carry,
        )

    @cached_property
    def initialise(self) -> Callable[..., TrainState]:
        """(state key, data key, `Batches.data`, one step's rows) -> a fresh state; the model sees a real batch."""
        make = self.batches(0).make

        def initialise(key: Key, data_key: Key, data: Any, row: Any) -> TrainState:
            return self._initialised(key, make(data, row, jax.random.fold_in(data_key, 0)))  # the first step's batch

        return initialise

    def _initialised(self, key: Key, batch: Any) -> TrainState:
        """A fresh state, of a model that sees this batch."""
        return init_state(
            self.model, optimizer_of(self.experiment, self.config), key, batch, ema=self.config.ema_decay > 0
        )

    def initial_arguments(self, seed: int) -> tuple[Any, ...]:
        """The arguments of `initialise` for a run with this seed."""
        own, batches = keys(seed), self.batches(seed)
        return own.state, own.data, batches.data, jax.tree.map(lambda x: np.asarray(x)[0], batches.rows(0, 1))

    @cached_property
    def _compiled_initialise(self) -> Callable[..., TrainState]:
        # One program in place of dozens, and on a CPU with few of LLVM's optimisations, as it runs once and most of its
        # time would be compilation.
        quick = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
        return jax.jit(self.initialise, compiler_options=quick)

    def initial(self, seed: int) -> TrainState:
        """A fresh state of a run with this seed; compiled once for all runs of the group.

        Raises:
          ValueError: it is larger than the memory.
        """
        self.refuse_too_large()
        # Waited for: where memory lacks, XLA:CPU tells who waits for the whole, and never answers who reads a part.
        return jax.block_until_ready(self._compiled_initialise(*self.initial_arguments(seed)))

    def refuse_too_large(self, parts: int = 1) -> None:
        """Refuse a state that does not fit into memory, cut over `parts` devices; `initial` need not trace it again.

        Raises:
          ValueError: it is too large.
        """
        arguments = self.initial_arguments(self.config.seed)
        refuse_too_large(jax.eval_shape(self._compiled_initialise, *arguments), parts)

    def shapes(self) -> TrainState:
        """A state's shapes and dtypes, as `jax.eval_shape` gives them; the data need not be there."""
        return jax.eval_shape(self._initialised, jax.random.key(0), self.batch_shape)

    def trained(self, state: TrainState) -> Trained:
        """The model with the parameters that it is evaluated with: their average, where the run keeps one.

        Batch norm's statistics are then estimated for it, from the same training batches in every run and call.

        Raises:
          DataAbsent: they are not kept for this state, and the data are not there to estimate them from.
        """
        made = partial(Trained, num_classes=self.data.num_classes, vocabulary=self.data.vocabulary)
        if state.ema is None:
            return made(self.model, state.params, state.stats)
        if not self.estimates_stats(state):
            return made(self.model, state.ema, state.stats, averaged=True)
        if self.kept is not None and self.kept.step == int(state.step):
            return made(self.model, state.ema, self.kept.stats, averaged=True)
        stats = batch_norm.estimated(self.model, state.ema, state.stats, self.batches(0))
        return made(self.model, state.ema, stats, averaged=True)

    def with_stats(self, kept: KeptStats) -> "Job":
        """The same job, which takes these statistics for the state that they fit."""
        return dataclasses.replace(self, kept=kept)

    def estimates_stats(self, state: TrainState) -> bool:
        """Whether the state's statistics are not those that it is evaluated with: averaged parameters need others."""
        return state.ema is not None and self.model.has("batch_stats") and bool(jax.tree.leaves(state.stats))

    def held_out(self) -> Split:
        """What is measured during training: the first `--evaluated` examples of the held-out part.

        Where nothing is held out, only measures of samples make sense then, and their metrics are called "samples/...".
        """
        if self.data.held_out is None:
            return Split(self.data, self.data.train, "samples")
        return Split(self.data, self.data.held_out, self.data.held_out_word).first(self.config.evaluated)

    def objective(self) -> tuple[str, str] | None:
        """What a search goes by: the measures' first headline as a metric, "validation/elbo", and its better way."""
        found = next((one for measure in self.measures if (one := headline_of(measure)) is not None), None)
        word = self.held_out().word
        if found is None or word == "test":  # what reports are measured on must not choose what they report
            return None
        return f"{word}/{found[0]}", found[1]

    def test(self, key: Key) -> Split:
        """What is measured at the end: the test part; of data that have none the held-out or else the training part."""
        seed = int(jax.random.bits(key) >> 1) if self.data.redraws else 0
        if self.data.test is None and self.data.held_out is not None:
            return Split(self.data, self.data.held_out, self.data.held_out_word, seed)
        if self.data.test is None:
            return Split(self.data, self.data.train, "train", seed)
        return Split(self.data, self.data.test, self.data.test_word, seed)

    def evaluate(self, state: TrainState, key: Key) -> dict[str, float]:
        """Metrics of the held-out part by all measures that have a headline: {"validation/elbo": ...}."""
        split, found = self.held_out(), {}
        trained = self.trained(state)
        for measure in self.measures:
            if isinstance(measure, Measures) and headline_of(measure) is not None:
                for figure in measure.figures(trained, split, key):
                    found[f"{split.word}/{metric_name(figure.name)}"] = figure.value
        return found

    def figures(self, state: TrainState, key: Key) -> list[Figure]:
        """Figures of the test part by all measures, in their order; every measure gets the same key.

        Those of averaged parameters say so in their notes.
        """
        split, found, trained = self.test(key), list[Figure](), self.trained(state)
        for measure in self.measures:
            if isinstance(measure, Measures):
                figures = measure.figures(trained, split, key)
                of_average = trained.averaged and reads_parameters(measure)
                found += [with_note(figure, AVERAGED) if of_average else figure for figure in figures]
        return found

    def draw(self, state: TrainState, key: Key, folder: Path, split: Split) -> None:
        """Draw every measure's pictures of a split into the folder."""
        trained = self.trained(state)
        for measure in self.measures:
            if isinstance(measure, Draws):
                measure.draw(trained, split, key, folder)

    def sampler(self) -> DrawsSamples | None:
        """The first measure that draws samples, or None."""
        return next((measure for measure in self.measures if isinstance(measure, DrawsSamples)), None)


def make_job(experiment: Experiment, config: Any) -> Job:
    """Load the data and build the model of a config.

    Raises:
      ValueError, OSError, ImportError: the input is wrong; nothing has been compiled or written.
    """
    data = experiment.data(config)
    job = _job_of(experiment, config, data)
    job._step_of(config, job.model)  # says where optimizers or repeats do not fit the model's players
    examples = data.batches(config.batch_size, seed=config.seed).batch_size  # says where the data are too few
    parts = max(_repeats_of(experiment, config).values(), default=1) * config.accumulate
    if examples % parts:
        raise ValueError(
            f"--batch-size {config.batch_size} makes batches of {examples} examples, which cannot be cut into {parts} "
            "parts: those of a player's repeated updates, times --accumulate"
        )
    if (config.early_stopping or config.keep_best) and job.objective() is None:
        raise ValueError(
            "--early-stopping and --keep-best need a figure of a validation split to go by, and there is none: train "
            "on a split that leaves one (--train-split train), or set early_stopping=0 and keep_best=False"
        )
    return job


def job_without_data(experiment: Experiment, config: Any, described: Mapping[str, Any], why: Exception) -> Job:
    """The job of a config whose data cannot be read, or need not be: what wants an example raises `DataAbsent`.

    Args:
      experiment: the run's.
      config: the run's.
      described: what `Job.described` gave when the data were there.
      why: what is said where an example is wanted.

    Raises:
      ValueError, ImportError: the model cannot be built; `DataAbsent`, a ValueError, where it wants an example.
    """
    job = _job_of(experiment, config, absent(described["report"], why))
    return dataclasses.replace(job, batch=shapes_from_json(described["batch"]))


def _job_of(experiment: Experiment, config: Any, data: Splits) -> Job:
    model = experiment.model(config, data)
    measures = experiment.measures(config)
    alone = any(getattr(measure, "reads_traced", False) for measure in measures)  # no other config can share the job
    return Job(experiment, config, data, model, measures, () if alone else traced_fields(config))


def shapes_to_json(batch: Any) -> Any:
    """Shapes and dtypes of a batch as JSON; None for one that is no mapping of arrays, nested or not."""
    if isinstance(batch, Mapping):
        inner = {name: shapes_to_json(value) for name, value in batch.items()}
        return None if None in inner.values() else inner
    if not hasattr(batch, "shape") or not isinstance(batch.dtype, np.dtype):
        return None
    return [str(batch.dtype), *batch.shape]


def shapes_from_json(found: Any) -> Any:
    """The shapes and dtypes that `shapes_to_json` made JSON of."""
    if isinstance(found, Mapping):
        return {name: shapes_from_json(value) for name, value in found.items()}
    return None if found is None else jax.ShapeDtypeStruct(tuple(found[1:]), jnp.dtype(found[0]))


def _repeats_of(experiment: Experiment, config: Any) -> Mapping[str, int]:
    """The updates of each player in a step, where the experiment names any."""
    return {} if experiment.repeats is None else experiment.repeats(config)


def optimizer_of(experiment: Experiment, config: Any) -> Optimizer | Mapping[str, Optimizer]:
    """The experiment's own optimizer, or the one that the config's `Optimisation` fields say; these may be traced.

    Raises:
      ValueError: a value is out of its range, or the experiment has no optimizer.
    """
    if experiment.optimizer is not None:
        return experiment.optimizer(config)
    if not isinstance(config, Optimisation):
        raise ValueError(f"{experiment.name}: give it an `optimizer`, or a config that is an `Optimisation`")
    rate = schedule(config.schedule, config.learning_rate, config.steps, warmup_steps=config.warmup_steps)
    return optimizer(
        config.optimizer, rate, l2=config.l2, weight_decay=config.weight_decay, clip_norm=config.clip_norm or None
    )

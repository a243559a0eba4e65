"""An experiment and a config, put together: what is trained, and what is measured of it.

A job serves every config of its group, which differ in the seed and in fields marked TRACED alone: the step takes those
values as an argument, and which examples a step sees is a function of the seed. An experiment knows nothing of that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gen_models.core import Key, Metrics, Model, Optimizer, TrainState, init_state, make_train_step
from gen_models.data import Batches
from gen_models.data.splits import Splits
from gen_models.measures.base import Draws, DrawsSamples, Measure, Measures, Split, Trained, headline_of, metric_name
from gen_models.measures.figure import Figure
from gen_models.optimizers import optimizer
from gen_models.run.config import Experiment, Optimisation
from gen_models.run.fields import traced_fields, value_of, with_values
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
        make, tx = self.batches(0).make, optimizer_of(self.experiment, self.config)

        def initialise(key: Key, data_key: Key, data: Any, row: Any) -> TrainState:
            batch = make(data, row, jax.random.fold_in(data_key, 0))  # the batch of the first step
            return init_state(self.model, tx, key, batch, ema=self.config.ema_decay > 0)

        return initialise

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
        """A state's shapes and dtypes, as `jax.eval_shape` gives them."""
        return jax.eval_shape(self.initialise, *self.initial_arguments(self.config.seed))

    def trained(self, state: TrainState) -> Trained:
        """The model with the parameters that it is evaluated with: their average, where the run keeps one."""
        params = state.params if state.ema is None else state.ema
        return Trained(self.model, params, state.stats, self.data.num_classes)

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
        """What is measured at the end: the test part, or the training part of data that have none."""
        seed = int(jax.random.bits(key) >> 1) if self.data.redraws else 0
        if self.data.test is None:
            return Split(self.data, self.data.train, "train", seed)
        return Split(self.data, self.data.test, self.data.test_word, seed)

    def evaluate(self, state: TrainState, key: Key) -> dict[str, float]:
        """Metrics of the held-out part by all measures that have a headline: {"validation/elbo": ...}."""
        split, found = self.held_out(), {}
        for measure in self.measures:
            if isinstance(measure, Measures) and headline_of(measure) is not None:
                for figure in measure.figures(self.trained(state), split, key):
                    found[f"{split.word}/{metric_name(figure.name)}"] = figure.value
        return found

    def figures(self, state: TrainState, key: Key) -> list[Figure]:
        """Figures of the test part by all measures, in their order; every measure gets the same key."""
        split, found = self.test(key), list[Figure]()
        for measure in self.measures:
            if isinstance(measure, Measures):
                found += measure.figures(self.trained(state), split, key)
        return found

    def draw(self, state: TrainState, key: Key, folder: Path, split: Split) -> None:
        """Draw every measure's pictures of a split into the folder."""
        for measure in self.measures:
            if isinstance(measure, Draws):
                measure.draw(self.trained(state), split, key, folder)

    def sampler(self) -> DrawsSamples | None:
        """The first measure that draws samples, or None."""
        return next((measure for measure in self.measures if isinstance(measure, DrawsSamples)), None)


def make_job(experiment: Experiment, config: Any) -> Job:
    """Load the data and build the model of a config.

    Raises:
      ValueError, OSError, ImportError: the input is wrong; nothing has been compiled or written.
    """
    data = experiment.data(config)
    model = experiment.model(config, data)
    measures = experiment.measures(config)
    examples = data.batches(config.batch_size, seed=config.seed).batch_size  # says where the data are too few
    parts = max(_repeats_of(experiment, config).values(), default=1) * config.accumulate
    if examples % parts:
        raise ValueError(
            f"--batch-size {config.batch_size} makes batches of {examples} examples, which cannot be cut into {parts} "
            "parts: those of a player's repeated updates, times --accumulate"
        )
    alone = any(getattr(measure, "reads_traced", False) for measure in measures)  # no other config can share the job
    job = Job(experiment, config, data, model, measures, () if alone else traced_fields(config))
    job._step_of(config, model)  # says where optimizers or repeats do not fit the model's players
    return job


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

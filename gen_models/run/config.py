"""What an experiment is to the command line: its configs, its name, and how its runs may end. Imports no JAX."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

FINISHED, BAD_INPUT, DIVERGED = 0, 2, 3
CANNOT_WRITE = 74  # EX_IOERR of sysexits.h: a full disk, say; the same command goes on once there is room
PAUSED = 4  # of a sweep's run: trained as far as it was to be
INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: saved, and the same command goes on


class Range(NamedTuple):
    """Beside a field's type, `Annotated[float, Range(1e-4, 1e-1, log=True)]`: where a sweep may search."""

    low: float
    high: float
    log: bool = False  # draw its logarithm evenly


class Traced:
    """Beside a float's type, `Annotated[float, TRACED]`: a number that the training step alone reads, never branching.

    Runs that differ in such fields and the seed only share one compiled program (`Job.step_of`). A field that is 0
    stays a constant, as it means that there is no such term, and its program computes none.
    """


TRACED = Traced()


def traced_fields(config: Any) -> tuple[str, ...]:
    """Names of the fields marked `TRACED` that are not 0."""
    marked = [f.name for f in fields(config) if any(isinstance(mark, Traced) for mark in _marks(f))]
    return tuple(name for name in marked if getattr(config, name) != 0)


def ranges(config: Any) -> dict[str, Range]:
    """The fields that have a `Range`."""
    return {f.name: mark for f in fields(config) for mark in _marks(f) if isinstance(mark, Range)}


def _marks(field: Any) -> tuple[Any, ...]:
    return getattr(field.type, "__metadata__", ())


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Fields that all experiments share, under one name each."""

    dataset: str = "fashion_mnist_bundled"
    """A data set's name, or folder:PATH, idx:PATH, npz:PATH."""
    data_dir: str | None = None
    """Folder of prepared or original data sets; the bundled one needs none."""
    steps: int = 1000
    """Updates in all."""
    batch_size: int = 128
    """Examples per update."""
    learning_rate: Annotated[float, TRACED, Range(1e-4, 1e-1, log=True)] = 1e-3
    """Peak step size of the optimizer."""
    seed: int = 0
    """Of initialisation, noise and the order of the data."""
    run_dir: str | None = None
    """Where the run is kept; by default runs/<experiment>/<variant>/<seed>."""
    log_every: int = 100
    """Steps between rows of metrics.jsonl, each a mean over them."""
    evaluate_every: int = 1000
    """Steps between evaluations on the validation split; 0: never."""
    draw_every: int = 0
    """Steps between pictures of samples; 0: only at the end."""
    checkpoint_every: int = 1000
    """Steps between checkpoints; 0: only at the end."""
    tensorboard: bool = False
    """Also write TensorBoard files (extra: tensorboard)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the network's computations; parameters, losses, reductions and updates are float32 always."""
    shard_parameters: bool = False
    """Cut parameters and moments over the devices too, for a model that is larger than one."""
    coordinator: str | None = None
    """Of several hosts: HOST:PORT of process 0, or auto where the cluster's environment tells."""
    processes: int | None = None
    """How many there are, each started with the same command but for --process-id."""
    process_id: int | None = None
    """Which of them this is: 0 to PROCESSES - 1."""


class Experiment(NamedTuple):
    """A question in one file: named configs, and what each means."""

    name: str  # its module, such as "experiments.vae"
    doc: str | None
    variants: Mapping[str, Any]  # name -> frozen RunConfig; the first is the default
    # config -> `gen_models.run.job.Job`; raises ValueError, OSError or ImportError for bad input, before it compiles
    build: Callable[[Any], Any]
    swept: tuple[str, ...] | None = None  # variants of a sweep that names none; None: all
    # What a search optimises: a metric of the validation split in metrics.jsonl, and which way is better.
    objective: tuple[str, Literal["maximize", "minimize"]] | None = None
    directions: Mapping[str, Literal["maximize", "minimize"]] = MappingProxyType({})  # figure -> which way is better
    table: bool = False  # without a variant the command line sweeps: the answer is a table


class InputError(Exception):
    """Something is wrong with what the user gave; the message is all that need be shown."""

"""What an experiment is to the command line: its configs, its name, and how its runs may end. Imports no JAX."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

FINISHED, BAD_INPUT, DIVERGED = 0, 2, 3
CANNOT_WRITE = 74  # EX_IOERR of sysexits.h: a full disk, say; the same command goes on once there is room
INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: saved, and the same command goes on


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
    learning_rate: float = 1e-3
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
    # config -> `gen_models.experiment.Job`; raises ValueError, OSError or ImportError for bad input, before it compiles
    build: Callable[[Any], Any]
    swept: tuple[str, ...] | None = None  # variants of a sweep that names none; None: all


class InputError(Exception):
    """Something is wrong with what the user gave; the message is all that need be shown."""

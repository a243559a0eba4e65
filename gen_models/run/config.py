"""What an experiment is to the command line: its configs, its parts, and how its runs may end. Imports no JAX."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from gen_models.core import Model, Optimizer
    from gen_models.data.splits import Splits
    from gen_models.measures.base import Measure
    from gen_models.run.loggers import Logger

# Exit statuses, and how a run may end.
FINISHED, BAD_INPUT, DIVERGED = 0, 2, 3
PAUSED = 4  # a sweep's run that was trained up to the step it was asked for, with more to come
BAD_DATA = 65  # EX_DATAERR: an example cannot be read in the middle of training; saved, and the same command goes on
OUT_OF_MEMORY = 71  # EX_OSERR: memory ran out
CANNOT_WRITE = 74  # EX_IOERR of sysexits.h: a full disk, say; the same command goes on once there is room
INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: saved, and the same command goes on


class Range(NamedTuple):
    """Beside a field's type, `Annotated[float, Range(1e-4, 1e-1, log=True)]`: where a sweep may search."""

    low: float
    high: float
    log: bool = False  # whether a search draws the logarithm evenly, and not the value


class Mark(NamedTuple):
    """Beside a field's type, `Annotated[float, TRACED]`: what the field is to runs and sweeps."""

    name: str


# Marks a number that the training step alone reads, and never branches on. Runs that differ only in such fields and in
# the seed share one compiled program. A field that is 0 stays a constant of it, as 0 means that the term is absent.
TRACED = Mark("traced")
# Marks a field that says where, or on which machines, a run lives, or how it is watched. Its value changes neither the
# trained state nor a final figure (on other devices: but for rounding), so that a run may go on with another value, and
# tables do not tell runs apart by it.
INCIDENTAL = Mark("incidental")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Fields that all experiments share, under one name each."""

    steps: int = 1000
    """Number of training steps."""
    batch_size: int = 128
    """Examples in a step's batch."""
    seed: int = 0
    """Seed of initialisation, noise and the order of the data."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of the network's computations; parameters, losses, reductions and updates are always float32."""
    accumulate: int = 1
    """Micro-batches into which each batch is cut to save memory; gradients are averaged over them."""
    ema_decay: float = 0.0
    """Decay of the parameters' moving average, which is then what is evaluated; 0: no average."""
    run_dir: Annotated[str | None, INCIDENTAL] = None
    """Folder of the run; by default runs/<experiment>/<variant>/<seed>."""
    log_every: Annotated[int, INCIDENTAL] = 100
    """Steps between rows of metrics.jsonl, whose values are means over these steps."""
    evaluate_every: Annotated[int, INCIDENTAL] = 1000
    """Steps between evaluations on the validation split; 0: never."""
    evaluated: Annotated[int, INCIDENTAL] = 0
    """Examples of the validation split in an evaluation during training; 0: all."""
    init_from: str | None = None
    """Directory of another run, from whose weights this one starts where names and shapes agree."""
    early_stopping: int = 0
    """Evaluations without a new best after which training stops, to be measured at the best state; 0: never."""
    keep_best: Annotated[bool, INCIDENTAL] = False
    """Whether the state that was best in evaluations is kept beside the newest, in best/."""
    draw_every: Annotated[int, INCIDENTAL] = 0
    """Steps between pictures of samples; 0: only at the end."""
    checkpoint_every: Annotated[int, INCIDENTAL] = 1000
    """Steps between checkpoints; 0: only at the end."""
    tensorboard: Annotated[bool, INCIDENTAL] = False
    """Whether TensorBoard's files are written beside metrics.jsonl (extra: tensorboard)."""
    wandb: Annotated[bool, INCIDENTAL] = False
    """Whether metrics, config and figures go to Weights & Biases too (extra: wandb; offline: WANDB_MODE=offline)."""
    changed_data: Annotated[bool, INCIDENTAL] = False
    """Whether a run goes on though its data have changed since, which its result then says."""
    shard_parameters: Annotated[bool, INCIDENTAL] = False
    """Whether parameters and the optimizer's moments are cut over the devices, for a model larger than one device."""
    coordinator: Annotated[str | None, INCIDENTAL] = None
    """Address HOST:PORT of process 0, where several hosts train; auto: what the cluster's environment says."""
    processes: Annotated[int | None, INCIDENTAL] = None
    """Number of hosts, each started with the same command and a --process-id of its own."""
    process_id: Annotated[int | None, INCIDENTAL] = None
    """Number of this host, from 0 to PROCESSES - 1."""


@dataclass(frozen=True, kw_only=True)
class Images(RunConfig):
    """Training on a data set of images."""

    dataset: str = "fashion_mnist_bundled"
    """Name of a data set, or folder:PATH, idx:PATH, npz:PATH."""
    data_dir: Annotated[str | None, INCIDENTAL] = None
    """Folder of prepared or original data sets; the bundled one needs none."""
    size: int | None = None
    """Height and width to which images are cropped at the centre and resized; none: they stay as they are."""
    damaged: Literal["stop", "skip"] = "stop"
    """Way to treat damaged image files: stop and name them, or read all files first and leave those out."""
    train_split: str = "train"
    """Split that is trained on, never test; train+validation for figures to compare with published ones."""


@dataclass(frozen=True, kw_only=True)
class BinaryImages(Images):
    """Training on images whose pixels are drawn as 0 or 1."""

    binarisation: Literal["dynamic", "fixed"] = "dynamic"
    """Way in which pixels become 0 or 1: drawn afresh in every step, or once for all."""


@dataclass(frozen=True, kw_only=True)
class Tokens(RunConfig):
    """Training on a text, in windows of tokens."""

    dataset: str = "tiny_shakespeare"
    """Text that comes with the package, tiny_shakespeare or names, or tokens:PATH with options."""
    data_dir: Annotated[str | None, INCIDENTAL] = None
    """Folder of prepared or original data sets; a text needs none."""
    length: int | None = None
    """Tokens of a window; none: 128 of a file, and the longest document's of lines."""
    train_split: str = "train"
    """Split that is trained on, never test; train+validation for figures to compare with published ones."""


@dataclass(frozen=True, kw_only=True)
class Optimisation(RunConfig):
    """One optimizer with a schedule."""

    learning_rate: Annotated[float, TRACED, Range(1e-4, 1e-1, log=True)] = 1e-3
    """Peak of the learning rate."""
    optimizer: Literal["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"] = "adam"
    """Update rule."""
    schedule: Literal["constant", "cosine", "linear", "exponential"] = "cosine"
    """Course of the learning rate after its peak."""
    warmup_steps: int = 0
    """First steps, in which the learning rate rises to its peak."""
    weight_decay: Annotated[float, TRACED, Range(1e-4, 1.0, log=True)] = 0.0
    """Decoupled decay of the kernels, per unit of learning rate."""
    l2: Annotated[float, TRACED, Range(1e-6, 1e-2, log=True)] = 0.0
    """Weight of the penalty |kernels|^2 / 2 in the gradient."""
    clip_norm: float = 0.0
    """Norm to which larger gradients are scaled down; 0: none are."""


@dataclass(frozen=True)
class Experiment:
    """A question in one file: named configs, and the functions that a run is put together from.

    The library derives all else: the state, the step, the batches of a seed, evaluation during training, figures,
    pictures, and samples from a run directory (`gen_models/run/job.py`).
    """

    file: str  # the experiment's own __file__
    doc: str | None  # its docstring: the question first
    variants: Mapping[str, Any]  # name -> frozen RunConfig; the first is the default
    data: Callable[[Any], "Splits"]  # config -> data; raises ValueError, OSError or ImportError for bad input
    model: Callable[[Any, "Splits"], "Model"]  # config, data -> model; called again with TRACED fields as traced values
    measures: Callable[[Any], "Sequence[Measure]"]  # config -> measures; a search goes by the first that has a headline
    optimizer: Callable[[Any], "Optimizer | Mapping[str, Optimizer]"] | None = None  # None: that of `Optimisation`
    repeats: Callable[[Any], Mapping[str, int]] | None = None  # config -> updates of each player in a step
    loggers: Callable[[Any], "Sequence[Logger]"] | None = None  # config -> loggers of one's own, besides the others
    swept: tuple[str, ...] | None = None  # variants that a sweep trains where it names none; None: all
    table: bool = False  # whether the command line sweeps where no variant is named, as the answer is a table
    tiny: Mapping[str, Any] = field(
        default_factory=dict
    )  # dotted field -> value, for steps that take the tests no time

    @property
    def name(self) -> str:
        """The experiment's name: "experiments.vae"; for one outside of this project its file's name, "my_vae"."""
        parts = Path(self.file).resolve().with_suffix("").parts
        ours = Path(__file__).resolve().parent.parent  # gen_models: experiments lie in it (a wheel) or beside it
        for root in (ours / "experiments", ours.parent / "experiments"):
            if parts[: len(root.parts)] == root.parts:
                return ".".join(("experiments", *parts[len(root.parts) :]))
        return parts[-1]

    @property
    def command(self) -> str:
        """The words that start its command line: "python -m experiments.vae", "python my_vae.py"."""
        return f"python -m {self.name}" if "." in self.name else f"python {Path(self.file).name}"

    @property
    def config_class(self) -> type:
        """The class of all variants' configs."""
        return type(next(iter(self.variants.values())))

    @property
    def folder(self) -> Path:
        """The folder of its runs, where no other is named: `runs/vae`, `runs/ablations/activation`."""
        return Path("runs", *self.name.removeprefix("experiments.").split("."))


class InputError(Exception):
    """The user's input is wrong; the message says all that need be shown."""


class Stopped(Exception):
    """Something other than the user's input ended a command; the message says all that need be shown."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status  # the exit status

    def __reduce__(self) -> tuple[Any, ...]:  # which other processes, of Ray or Slurm, send back
        return Stopped, (str(self), self.status)

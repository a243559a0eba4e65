"""What an experiment is to the command line: its configs, its parts, and how its runs may end. Imports no JAX."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from gen_models.core import Model, Optimizer
    from gen_models.data.splits import Splits
    from gen_models.measures.base import Measure

FINISHED, BAD_INPUT, DIVERGED = 0, 2, 3
CANNOT_WRITE = 74  # EX_IOERR of sysexits.h: a full disk, say; the same command goes on once there is room
PAUSED = 4  # of a sweep's run: trained as far as it was to be
INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: saved, and the same command goes on


class Range(NamedTuple):
    """Beside a field's type, `Annotated[float, Range(1e-4, 1e-1, log=True)]`: where a sweep may search."""

    low: float
    high: float
    log: bool = False  # draw its logarithm evenly


class Mark(NamedTuple):
    """Beside a field's type, `Annotated[float, TRACED]`: what the field is to runs and sweeps."""

    name: str


# A number that the training step alone reads, never branching. Runs that differ in such fields and the seed only share
# one compiled program. A field that is 0 stays a constant, as it means that there is no such term.
TRACED = Mark("traced")
# A field that says where a run lives and how it is watched. Another value of it changes no bit of the trained state and
# no figure of the end, so that a run goes on with another one, and tables do not tell runs apart by it.
INCIDENTAL = Mark("incidental")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Fields that all experiments share, under one name each."""

    steps: int = 1000
    """Updates in all."""
    batch_size: int = 128
    """Examples per update."""
    seed: int = 0
    """Seed of initialisation, noise and the order of the data."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of the network's computations; parameters, losses, reductions and updates are float32 always."""
    accumulate: int = 1
    """Parts into which each batch is cut to save memory; gradients are averaged over them."""
    ema_decay: float = 0.0
    """Decay of the average of the parameters that evaluation uses; 0: evaluation uses the parameters themselves."""
    run_dir: Annotated[str | None, INCIDENTAL] = None
    """Folder in which the run is kept; by default runs/<experiment>/<variant>/<seed>."""
    log_every: Annotated[int, INCIDENTAL] = 100
    """Steps between rows of metrics.jsonl, each a mean over them."""
    evaluate_every: Annotated[int, INCIDENTAL] = 1000
    """Steps between evaluations on the validation split; 0: never."""
    evaluated: Annotated[int, INCIDENTAL] = 0
    """Examples of the validation split that these evaluations take; 0: all."""
    draw_every: Annotated[int, INCIDENTAL] = 0
    """Steps between pictures of samples; 0: only at the end."""
    checkpoint_every: Annotated[int, INCIDENTAL] = 1000
    """Steps between checkpoints; 0: only at the end."""
    tensorboard: Annotated[bool, INCIDENTAL] = False
    """Whether TensorBoard files are written as well (extra: tensorboard)."""
    shard_parameters: Annotated[bool, INCIDENTAL] = False
    """Whether parameters and moments are cut over the devices too, for a model that is larger than one of them."""
    coordinator: Annotated[str | None, INCIDENTAL] = None
    """Address HOST:PORT of process 0 of several hosts, or auto where the cluster's environment tells."""
    processes: Annotated[int | None, INCIDENTAL] = None
    """Number of hosts, each started with the same command but for --process-id."""
    process_id: Annotated[int | None, INCIDENTAL] = None
    """Number of this host, from 0 to PROCESSES - 1."""


@dataclass(frozen=True, kw_only=True)
class Images(RunConfig):
    """Training on a data set of images."""

    dataset: str = "fashion_mnist_bundled"
    """Name of a data set, or folder:PATH, idx:PATH, npz:PATH."""
    data_dir: Annotated[str | None, INCIDENTAL] = None
    """Folder of prepared or original data sets; the bundled one needs none."""
    train_split: str = "train"
    """Split to train on, not test; train+validation for figures to compare with published ones."""


@dataclass(frozen=True, kw_only=True)
class BinaryImages(Images):
    """Training on images whose pixels are drawn as 0 or 1."""

    binarisation: Literal["dynamic", "fixed"] = "dynamic"
    """How pixels become 0 or 1: drawn afresh in every step, or once for all."""


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
    """Steps in which the learning rate rises to its peak."""
    weight_decay: Annotated[float, TRACED, Range(1e-4, 1.0, log=True)] = 0.0
    """Decoupled decay of the kernels, per unit of learning rate."""
    l2: Annotated[float, TRACED, Range(1e-6, 1e-2, log=True)] = 0.0
    """Weight of the penalty |kernels|^2 / 2 in the gradient."""
    clip_norm: float = 0.0
    """Largest norm of the gradient; 0: any."""


@dataclass(frozen=True)
class Experiment:
    """A question in one file: named configs, and the parts that a run is put together from.

    The library derives all else: the state, the step, the batches of a seed, evaluation on the way, figures, pictures
    and samples from a run directory (`gen_models/run/job.py`).
    """

    file: str  # the experiment's own __file__
    doc: str | None  # its docstring: the question first
    variants: Mapping[str, Any]  # name -> frozen RunConfig; the first is the default
    data: Callable[[Any], "Splits"]  # of a config; raises ValueError, OSError or ImportError for bad input
    model: Callable[[Any, "Splits"], "Model"]  # called again with TRACED fields as traced values
    measures: Callable[[Any], "Sequence[Measure]"]  # the first one is what a search goes by
    optimizer: Callable[[Any], "Optimizer | Mapping[str, Optimizer]"] | None = None  # None: that of `Optimisation`
    repeats: Callable[[Any], Mapping[str, int]] | None = None  # updates of a player, each on its own part of the batch
    swept: tuple[str, ...] | None = None  # variants of a sweep that names none; None: all
    table: bool = False  # without a variant the command line sweeps: the answer is a table
    tiny: Mapping[str, Any] = field(default_factory=dict)  # fields at which a step takes no time: what the tests train

    @property
    def name(self) -> str:
        """Such as "experiments.vae"; of an experiment outside of this project, its file's name: "my_vae"."""
        parts = Path(self.file).resolve().with_suffix("").parts
        ours = Path(__file__).resolve().parent.parent  # gen_models: experiments lie in it (a wheel) or beside it
        for root in (ours / "experiments", ours.parent / "experiments"):
            if parts[: len(root.parts)] == root.parts:
                return ".".join(("experiments", *parts[len(root.parts) :]))
        return parts[-1]

    @property
    def command(self) -> str:
        """What starts its command line: "python -m experiments.vae", "python my_vae.py"."""
        return f"python -m {self.name}" if "." in self.name else f"python {Path(self.file).name}"

    @property
    def config_class(self) -> type:
        """The class of all variants' configs."""
        return type(next(iter(self.variants.values())))

    @property
    def folder(self) -> Path:
        """`runs/vae`, `runs/ablations/activation`: where runs are kept if no other place is named."""
        return Path("runs", *self.name.removeprefix("experiments.").split("."))


class InputError(Exception):
    """Something is wrong with what the user gave; the message is all that need be shown."""

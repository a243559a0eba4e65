"""What a sweep found: its runs, their figures and how they were made. Imports no JAX."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from gen_models.measures.figure import Figure

NOTHING: Mapping[str, Any] = MappingProxyType({})  # a default that nobody can fill by accident


class RunRecord(NamedTuple):
    """What is known of one run of the sweep: a training with one seed."""

    label: str  # the row it belongs to, such as "beta4" or "base,learning_rate=0.001"
    seed: int
    status: Literal["finished", "diverged", "dropped", "failed", "missing"]
    figures: Sequence[Figure] = ()  # on the test split; empty unless finished
    history: Sequence[Mapping[str, Any]] = ()  # of metrics.jsonl: step, seconds, metrics; NaN and infinity as words
    seconds: float | None = None  # of training
    steps: int = 0  # trained
    pictures: Mapping[str, Path] = NOTHING  # name -> PNG, such as samples
    message: str = ""  # why it has no figures


class Group(NamedTuple):
    """Runs that share one compiled program."""

    labels: tuple[str, ...]
    runs: int
    execution: str  # "processes", "one", "vmap" or "scan"
    seconds_per_step: Mapping[str, float]  # execution -> seconds that a step of one run took when it was measured
    note: str = ""  # how it was chosen


class Study(NamedTuple):
    """A whole sweep."""

    experiment: str  # module
    question: str  # first paragraph of the module's docstring
    base: str  # label that the others are compared with
    labels: tuple[str, ...]  # in the table's order
    configs: Mapping[str, Mapping[str, Any]]  # label -> config without the seed
    runs: Sequence[RunRecord]
    seeds: tuple[int, ...]
    budget: str  # such as "5,000 steps each"
    costs: Mapping[str, Mapping[str, float]]  # label -> "parameters", "FLOPs per step"; may lack labels
    groups: Sequence[Group]
    environment: Mapping[str, Any]  # the last start of environment.json
    command: str

"""An experiment whose runs need no JAX: `worker.py` beside it pretends to train them."""

from dataclasses import dataclass
from typing import Annotated

from gen_models.run.config import TRACED, Experiment, Optimisation, Range


@dataclass(frozen=True, kw_only=True)
class Config(Optimisation):
    """What the pretending worker reads."""

    steps: int = 100
    good: Annotated[float, TRACED, Range(0.1, 10.0)] = 1.0
    """The figure of seed 0; each further seed has a hundredth more."""
    fate: str = ""
    """What befalls the run: "dies", "dies once", "is held once", "diverges", "broken"; else it finishes."""
    width: int = 1
    """Another width is another group."""


def _no_part(*_):
    raise AssertionError("nobody builds this experiment")


EXPERIMENT = Experiment(
    __file__,
    "Does a sweep do what it should?",
    {"base": Config(), "good": Config(good=2.0)},
    _no_part,
    _no_part,
    _no_part,
)

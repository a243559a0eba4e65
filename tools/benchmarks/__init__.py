"""What `tools/benchmark.py` measures: cases by name. Imports no JAX; a case imports its module when it is built."""

import importlib
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple


class Contender(NamedTuple):
    """One way to train, whose state goes on from call to call."""

    run: Callable[[], Any]  # trains, waits until all of it is done, and returns the newest loss
    parameters: int  # how many are trained
    steps: int = 1  # training steps in one call
    hlo: Callable[[], str] | None = None  # the compiled program as text; None: not one of XLA's


class Case(NamedTuple):
    """A comparison. Its first contender is ours, which every other is compared with."""

    module: str  # of this package; its function of the case's name takes an `ExitStack` and returns the contenders
    about: str
    rounds: int = 30
    seconds: float = 0.3  # that a contender's turn lasts in a round, at least one call
    settle: bool = True  # a turn begins with a call that is not timed

    def build(self, name: str, stack: ExitStack) -> dict[str, Contender]:
        """The contenders by name; `stack` closes what they opened."""
        return getattr(importlib.import_module(f"tools.benchmarks.{self.module}"), name)(stack)


CASES: dict[str, Case] = {
    "step_vae": Case("steps", "make_train_step against the same update by hand: MLP VAE 784-512-512-32, batch 128", 60),
    "step_gan": Case("steps", "make_train_step against the same updates by hand: two players, 2-D grid, batch 100", 60),
    "saving": Case(
        "steps", "fit with a checkpoint every 100 steps against fit without: MLP VAE, 600 steps a turn", 8, 0.0, False
    ),
    "conv_stack": Case("layers", "five 3x3 convolutions of 64 channels, 32 images 28x28x1, Adam", 15),
    "dcgan": Case(
        "layers", "4x4 convolutions of stride 2 to 64 and 128 channels and back, batch norm, 64 images 28x28x1, Adam"
    ),
    "mlp_vae": Case("layers", "MLP VAE 784-512-512-32, Bernoulli likelihood, batch 128, Adam", 60),
    "lstm": Case("layers", "LSTM, 256 inputs and features, 128 steps, batch 32, Adam"),
}

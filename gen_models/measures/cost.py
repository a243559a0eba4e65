"""What a model costs: parameters, operations, and the time of drawing samples."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import jax

from gen_models.core import Key
from gen_models.evaluation import layers
from gen_models.measures.base import Split, Trained
from gen_models.measures.figure import Figure
from gen_models.measures.samples import classes_in_turn, drawn


@dataclass(frozen=True)
class Parameters:
    """The number of parameters that are learned."""

    reads_parameters: ClassVar[bool] = False

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The size of all leaves of the parameters together."""
        count = sum(leaf.size for leaf in jax.tree.leaves(trained.params))
        yield Figure("parameters", count, "", split.where)


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of the forward pass of one example, as XLA counts them."""

    reads_parameters: ClassVar[bool] = False

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The operations of `model.apply` for one example."""
        example = next(iter(split.first(1).batches(1)))["x"]  # of the type that the model reads: tokens are integers
        # The parameters are arguments: of constants, XLA would not count what it can fold, such as biases that are 0.
        count = layers.flops(trained.model.apply, trained.params, trained.stats, example)
        note = "of the forward pass, as XLA counts them"
        yield Figure("FLOPs", count, f"per {split.data.examples.removesuffix('s')}", split.where, note=note)


@dataclass(frozen=True)
class SamplingTime:
    """Seconds that samples take once the sampler is compiled."""

    count: int = 16  # samples drawn at once
    conditional: bool = False  # whether the model is told the class
    reads_parameters: ClassVar[bool] = False

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The time of one call of the sampler on this machine, compilation left out."""
        condition = {"label": classes_in_turn(trained, self.count)} if self.conditional else {}
        jax.block_until_ready(drawn(trained, key, self.count, **condition))  # compiles
        began = time.perf_counter()
        jax.block_until_ready(drawn(trained, key, self.count, **condition))
        took = time.perf_counter() - began
        yield Figure("sampling", took, "s", "this machine", note=f"{self.count} {split.data.examples}, compiled")

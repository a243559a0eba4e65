"""Do residual connections help a deep recurrent network?

    python -m experiments.ablations.residual_recurrent sweep --seeds 3       # every variant, three seeds each: a table

GRUs of 32 units, one above another, add two marked numbers of 50 (`experiments.memory`; to answer 1 each time has a
squared error of 0.167). With residual connections each layer behind the first adds its input to its output (Prakash et
al., 2016); with layer norm as well, a norm stands before each (Ba et al., 2016).

Hypothesis, before the runs: one layer is enough, and learns the task in 600 steps. Four plain layers learn it more
slowly and eight hardly, as gradients pass every layer's gates at every step; with residual connections four and eight
are as good as one; the norm adds nothing to them.

Not measured yet.
"""

from collections.abc import Mapping
from dataclasses import replace

import gen_models as gm

from .. import memory


def _deep(layers: int, *, residual: bool = False, layer_norm: bool = False) -> memory.Config:
    network = memory.Recurrent(features=32, layers=layers, residual=residual, layer_norm=layer_norm)
    return replace(memory.base, length=50, steps=600, examples=20_000, evaluate_every=200, network=network)


variants: Mapping[str, memory.Config] = {
    "one": _deep(1),
    "four": _deep(4),
    "four_residual": _deep(4, residual=True),
    "four_residual_norm": _deep(4, residual=True, layer_norm=True),
    "eight": _deep(8),
    "eight_residual": _deep(8, residual=True),
}

EXPERIMENT = replace(memory.EXPERIMENT, file=__file__, doc=__doc__, variants=variants, swept=None, table=True)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

"""Do residual connections help a deep recurrent network?

    python -m experiments.ablations.residual_recurrent sweep --seeds 3       # every variant, three seeds each: a table

GRUs of 32 units, one above another, add two marked numbers of 50 (`experiments.memory`; to answer 1 each time has a
squared error of 0.167). With residual connections each layer behind the first adds its input to its output (Prakash et
al., 2016); with layer norm as well, a norm stands before each (Ba et al., 2016).

Hypothesis, before the runs: one layer is enough, and learns the task in 600 steps. Four plain layers learn it more
slowly and eight hardly, as gradients pass every layer's gates at every step; with residual connections four and eight
are as good as one; the norm adds nothing to them.

Measured by the command above on 2 cores of an AMD EPYC that other programs shared, squared error on 1,000 test
sequences, mean over three seeds [95% bootstrap interval]:

    one                  0.0059 [0.0050, 0.0071]    3,425 parameters
    four                 0.0015 [0.0011, 0.0019]   22,241
    four_residual        0.0017 [0.0014, 0.0019]   22,241
    four_residual_norm   0.0009 [0.0008, 0.0009]   22,497
    eight                0.0538 [0.0011, 0.1576]   47,329
    eight_residual       0.0011 [0.0010, 0.0012]   47,329

Against the hypothesis, one layer of 32 units is the weakest of what learns, and four plain layers are no slower than
four with residual connections. At eight they matter: one of the three plain networks has not learned the task after 600
steps (0.158), the other two come to 0.001 and 0.003, and all residual ones have. The norm, too, is better than none, in
each seed. With three seeds none of this is certain by Holm's p.
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

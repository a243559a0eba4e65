"""Does dilation let convolutions see far for less than depth, or than wide windows, and do they learn as well?

    python -m experiments.ablations.dilation sweep --seeds 3       # every variant, three seeds each: a table

The temporal convolutional network of `experiments.memory` adds two of 100 numbers, 1,000 steps, windows of 8 and 24
features unless said; it sees `gm.temporal_receptive_field` numbers:

    dilated          4 blocks of dilation 1, 2, 4, 8        211 numbers
    dilated_fast     2 blocks of dilation 1, 8              127
    not_dilated      4 blocks                                57: too few
    deep             8 blocks                               113
    wide             4 blocks with windows of 16            121

Hypothesis, before the runs: without dilation four blocks cannot see a mark that is more than 57 steps away, and guess
that number; of those that see all, dilated ones are the best, wide windows come close with twice the parameters, and
the deep ones learn the slowest. Two blocks of dilation 1 and 8 do as well as four, in half the time.
"""

from collections.abc import Mapping
from dataclasses import replace

import gen_models as gm

from .. import memory

_blocks = memory.Temporal(layers=4)
base = replace(memory.base, length=100, steps=1000, examples=20_000, evaluate_every=250, network=_blocks)
variants: Mapping[str, memory.Config] = {
    "dilated": base,
    "dilated_fast": replace(base, network=replace(_blocks, layers=2, growth=8)),
    "not_dilated": replace(base, network=replace(_blocks, growth=1)),
    "deep": replace(base, network=replace(_blocks, layers=8, growth=1)),
    "wide": replace(base, network=replace(_blocks, window=16, growth=1)),
}

EXPERIMENT = replace(
    memory.EXPERIMENT,
    file=__file__,
    doc=__doc__,
    variants=variants,
    swept=None,
    table=True,
    tiny={"batch_size": 4, "length": 6, "network.features": 4, "network.layers": 1, "examples": 20},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

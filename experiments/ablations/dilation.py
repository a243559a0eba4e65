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

Measured by the command above on a core of an AMD EPYC that other programs shared, six CPU minutes for all 15 runs:
squared error of the test sequences, mean over three seeds [95% bootstrap interval], FLOPs a step, parameters:

    dilated          0.0068 [0.0045, 0.0096]   0.23e9   33,121
    dilated_fast     0.0144 [0.0121, 0.0187]   0.11e9   14,497
    not_dilated      0.0870 [0.0849, 0.0893]   0.61e9   33,121
    deep             0.0171 [0.0059, 0.0255]   1.30e9   70,369
    wide             0.0165 [0.0068, 0.0260]   1.16e9   65,761

As expected, who sees 57 numbers has about 1/12 = 0.083, the variance of a number that he guesses. The others do not
differ with certainty (p = 0.47), so that three seeds leave open which learns best. Dilation needs a fifth of the work
of depth or width, as only the last answer is asked for, and half their parameters. It is not certain either that two
blocks, at half the work, are worse than four, though their mean error is twice as large. The deep ones were not the
slowest to learn.
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

"""Which size of kernel suits a PixelCNN, at equal depth and at equal receptive field?

    python -m experiments.ablations.kernel_size_pixels sweep --seeds 3    # every variant, three seeds each: a table

van den Oord et al., Pixel Recurrent Neural Networks (2016), table 1: after a first 7x7 convolution, all are of 3x3. A
masked k x k kernel reaches (k - 1) / 2 pixels to the left and up, so that n blocks reach n (k - 1) / 2: six of 3x3,
three of 5x5 and two of 7x7 are alike in that. The same question for a classifier: `ablations.kernel_size`.

Hypothesis, before the runs: at equal reach the stack of 3x3 needs the fewest nats, as it has the most layers; at equal
depth larger kernels need fewer, as they see more. PixelCNN's blind spot above and to the right has the same angle for
all, as a k x k window climbs (k - 1) / 2 rows for as many columns.

Images of Fashion-MNIST in four levels, h = 16, exact likelihoods.

Measured by the command above on 2 CPU cores, exact nats per image of the 2,000 test images, mean over three seeds [95%
bootstrap interval], and the difference from the base:

    two3x3     8,420 parameters  266.1 [264.9, 266.9]
    two5x5    13,028             265.3 [261.9, 267.7]  -0.8 [-3.0, +1.2]
    two7x7    19,684             263.0 [260.5, 264.5]  -3.1 [-4.4, -2.4]
    three5x5  17,956             261.6 [261.4, 261.7]  -4.5 [-5.2, -3.3]
    six3x3    18,916             258.7 [257.3, 261.2]  -7.4 [-9.6, -5.4]

The order is the expected one in both: at equal reach (the last three, of nearly equal size), the more layers the
better, and at equal depth (the first three) the larger the kernel the better, though by little; but with three seeds no
difference is significant after correction for four comparisons (p = 0.07 or more). All were trained for 500 steps of 16
images, 0.9 passes.
"""

from collections.abc import Mapping
from dataclasses import replace

import gen_models as gm

from .. import likelihood_ladder as ladder

_network = ladder.PixelCnn(features=16, blocks=2, window=3)
base = replace(
    ladder.base,
    network=_network,
    levels=4,
    batch_size=16,
    steps=500,
    learning_rate=3e-3,
    evaluate_every=250,
    evaluated=500,
)
variants: Mapping[str, ladder.Config] = {
    "two3x3": base,
    "two5x5": replace(base, network=replace(_network, window=5)),
    "two7x7": replace(base, network=replace(_network, window=7)),
    "three5x5": replace(base, network=replace(_network, window=5, blocks=3)),
    "six3x3": replace(base, network=replace(_network, window=3, blocks=6)),
}

EXPERIMENT = replace(ladder.EXPERIMENT, file=__file__, doc=__doc__, variants=variants, swept=None, table=True)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

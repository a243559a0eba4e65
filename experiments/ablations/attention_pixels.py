"""What does attention to all earlier pixels add to the causal convolutions of a PixelSNAIL?

    python -m experiments.ablations.attention_pixels sweep --seeds 3      # every variant, three seeds each: a table

Chen et al., PixelSNAIL (2018): on CIFAR-10, their model needs 2.85 bits/dim, where PixelCNN++, whose convolutions reach
over the image by way of other resolutions, needs 2.92. For sequences: `ablations.attention`.

Hypothesis, before the runs: with attention, fewer bits than without; more layers of convolutions, until there are as
many parameters ("without_deep"), make up for half of it, as they see further. In binary images less is gained than in
four levels.

Images of the bundled part of Fashion-MNIST, exact likelihoods.

Measured by the command above on 2 CPU cores, exact bits/dim of the 2,000 test images, mean over three seeds [least,
greatest]:

    with            15,580 parameters  0.508 [0.501, 0.513]
    without         10,648             0.526 [0.520, 0.531]
    without_deep    15,904             0.517 [0.511, 0.522]
    binary_with     15,554             0.460 [0.459, 0.460]
    binary_without  10,622             0.473 [0.472, 0.474]

As expected: attention takes 0.017 from the network without it [0.009, 0.025: 95% by Student's t, three pairs], and as
many parameters in more convolutions half of that, 0.0083 [0.0066, 0.0100]. In binary images it takes 0.014 [0.011,
0.017]: less in the mean, but the intervals overlap. All were trained for 300 steps of 16 images, half a pass.
"""

from collections.abc import Mapping
from dataclasses import replace

import gen_models as gm

from .. import likelihood_ladder as ladder

_snail = ladder.PixelSnail(features=12, blocks=2, residual_blocks=2)
base = replace(
    ladder.base,
    network=_snail,
    levels=4,
    batch_size=16,
    steps=300,
    learning_rate=3e-3,
    evaluate_every=150,
    evaluated=250,
)
_without = replace(base, network=replace(_snail, attention=False))
variants: Mapping[str, ladder.Config] = {
    "with": base,
    "without": _without,
    "without_deep": replace(base, network=replace(_snail, attention=False, residual_blocks=3)),
    "binary_with": replace(base, levels=2, binarisation="fixed"),
    "binary_without": replace(_without, levels=2, binarisation="fixed"),
}

EXPERIMENT = replace(ladder.EXPERIMENT, file=__file__, doc=__doc__, variants=variants, swept=None, table=True)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

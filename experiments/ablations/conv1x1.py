"""What do 1x1 convolutions around the 3x3 ones of a residual block save, and what do they cost in accuracy?

    python -m experiments.ablations.conv1x1 sweep --seeds 3         # every variant, three seeds each: a table
    python -m experiments.ablations.conv1x1 sweep --dataset fashion_mnist --data-dir DIR --steps 6000

He et al., Deep Residual Learning for Image Recognition (2016), section 4.1: a block that goes down to a quarter of its
channels by a 1x1 convolution, applies one 3x3, and goes back up costs about as much as two 3x3 convolutions of the
quarter's width, and their networks of such blocks, which could then be deeper, were the more accurate ones.

Hypothesis, before the runs: at equal width bottlenecks lose accuracy, as they have a twelfth of the parameters; at
about equal operations ("wide", "deep") they lose nothing; and against plain blocks made narrow until they have as few
parameters as the bottlenecks ("narrow"), they win.

The base has blocks of two 3x3 convolutions; "single" has one, as bottleneck blocks do. All see the same images in the
same order for as many steps; FLOPs are XLA's count for one image.

Measured by the first command on 2 CPU cores, bundled data, accuracy on the 2,000 test images, mean over three seeds
[95% bootstrap interval], and the difference from the base:

    plain3x3          43,490 parameters, 4.28 MFLOPs  0.829 [0.826, 0.832]
    single3x3         19,074             1.99         0.787 [0.777, 0.795]  -0.042 [-0.055, -0.031]
    narrow3x3          2,888             0.31         0.666 [0.620, 0.691]  -0.163 [-0.209, -0.134]
    bottleneck4        3,450             0.50         0.685 [0.665, 0.697]  -0.144 [-0.160, -0.136]
    bottleneck4_wide  35,640             4.44         0.825 [0.809, 0.835]  -0.004 [-0.016, +0.003]
    bottleneck4_deep  27,982             3.20         0.738 [0.716, 0.760]  -0.091 [-0.113, -0.066]

As expected, bottlenecks of the same width lose much (p = 0.017, corrected for five comparisons; the other differences
are not significant with three seeds), and wide ones at the operations of plain blocks lose nothing that can be seen,
with a fifth fewer parameters. Against the hypothesis, depth does not pay for them here: 24 bottleneck blocks are nine
points below six plain ones. And that bottlenecks beat plain blocks with as few parameters is not shown: by seed,
+0.073, -0.026 and +0.011. All were trained for 400 steps of 64 images, 2.8 passes, in which a deeper network may have
learnt less.
"""

from collections.abc import Mapping
from dataclasses import replace

import gen_models as gm

from .. import classifier

_network = classifier.ResidualCnn(channels=(8, 16, 32), strides=(2, 2, 1), blocks=2)
base = classifier.Config(
    network=_network,
    steps=400,
    batch_size=64,
    optimizer="adamw",
    learning_rate=3e-3,
    weight_decay=0.02,
    augmentation=("flip",),
    evaluate_every=200,
    measure=("flops",),
)
_bottleneck = replace(_network, windows=(3,), bottleneck=4)
variants: Mapping[str, classifier.Config] = {
    "plain3x3": base,
    "single3x3": replace(base, network=replace(_network, windows=(3,))),
    "narrow3x3": replace(base, network=replace(_network, channels=(2, 4, 8))),
    "bottleneck4": replace(base, network=_bottleneck),
    "bottleneck4_wide": replace(base, network=replace(_bottleneck, channels=(28, 56, 112))),
    "bottleneck4_deep": replace(base, network=replace(_bottleneck, blocks=8, channels=(12, 24, 48))),
}

EXPERIMENT = replace(
    classifier.EXPERIMENT,
    file=__file__,
    doc=__doc__,
    variants=variants,
    swept=None,
    table=True,
    tiny=classifier.TINY,
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

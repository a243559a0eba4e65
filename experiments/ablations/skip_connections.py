"""What do residual connections do for plain convolutional networks, as these get deeper?

    python -m experiments.ablations.skip_connections sweep --seeds 3      # every variant, three seeds each: a table
    python -m experiments.ablations.skip_connections sweep --dataset fashion_mnist --data-dir DIR --steps 6000

He et al., Deep Residual Learning for Image Recognition (2016), section 4.2: with batch norm, plain networks for
CIFAR-10 get worse beyond 20 layers, in training too, and residual ones better up to 110; they argue that vanishing
gradients are not why, as batch norm keeps them up. For recurrent networks: `experiments.ablations.pixel_rnn`.

Hypothesis, before the runs: with batch norm, residual and plain networks are alike at 8 layers and differ at 38, where
the plain one is worse than at 8. Gradients do not vanish with the norm, in neither. Without it, the plain network of 20
layers has small gradients in its first layers, and the residual one large ones everywhere, as each block's output adds
to the variance.

Layers counted as in the paper: convolutions and logits. A plain network has as many parameters as the residual one. The
gradient's norm is that of the loss with respect to a convolution's kernel, for 250 training images, of a network just
initialised ("at the start") and of the trained one; the picture gradients.png has it for every layer.

Measured by the first command on 2 CPU cores, bundled data, accuracy on the 2,000 test images, mean over three seeds
[95% bootstrap interval], and the norm of the first convolution's gradient at the start, over that of the last:

    plain8              0.779 [0.771, 0.784]  0.8 times
    residual8           0.787 [0.783, 0.791]  0.6
    plain20             0.766 [0.761, 0.774]  3.8
    residual20          0.817 [0.810, 0.829]  0.9
    plain38             0.562 [0.515, 0.602]  86
    residual38          0.823 [0.820, 0.829]  3.0
    plain20_no_norm     0.283 [0.100, 0.648]  0.4
    residual20_no_norm  0.706 [0.666, 0.741]  0.3

Residual less plain, with the norm, by seed: 8 layers +0.007, +0.002 and +0.016; 20 layers +0.052, +0.036 and +0.066; 38
layers +0.218, +0.305 and +0.259. So the order is that of the paper, already at 20 layers; plain networks lose with
depth, residual ones gain. Against the hypothesis, plain networks do have a trouble with gradients: not vanishing ones,
which batch norm does prevent, but ones that explode towards the first layer, by about 1.13 a layer, as Yang et al., A
Mean Field Theory of Batch Normalization (2019), derive for dense layers; residual connections leave little of that.
Without the norm, two of three plain networks ended with no gradient at all in their last layer, at 10 %. The residual
one starts with gradients of 2 to 45 in its first layer, where the plain one has 0.002 to 0.14, as expected, and trains.
All were trained for 400 steps of 32 images, 1.4 passes: what is compared is how fast depth can be trained, not what it
reaches.
"""

from collections.abc import Mapping
from dataclasses import replace

import gen_models as gm

from .. import classifier

_network = classifier.ResidualCnn(channels=(8, 16, 32), strides=(2, 2, 1), blocks=1, norm="batch")
_residual = classifier.Config(
    network=_network,
    steps=400,
    batch_size=32,
    optimizer="adamw",
    learning_rate=3e-3,
    weight_decay=0.02,
    augmentation=("flip",),
    evaluate_every=200,
    measure=("gradients",),
)
_plain = replace(_network, residual=False)
variants: Mapping[str, classifier.Config] = {
    "plain8": replace(_residual, network=_plain),
    "residual8": _residual,
    "plain20": replace(_residual, network=replace(_plain, blocks=3)),
    "residual20": replace(_residual, network=replace(_network, blocks=3)),
    "plain38": replace(_residual, network=replace(_plain, blocks=6)),
    "residual38": replace(_residual, network=replace(_network, blocks=6)),
    "plain20_no_norm": replace(_residual, network=replace(_plain, blocks=3, norm="none")),
    "residual20_no_norm": replace(_residual, network=replace(_network, blocks=3, norm="none")),
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

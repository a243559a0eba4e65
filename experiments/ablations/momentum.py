"""Which update rule trains a small network best, when each has its own tuned learning rate?

    python -m experiments.ablations.momentum sweep --seeds 3              # every variant, three seeds each: a table
    python -m experiments.ablations.momentum sweep --dataset fashion_mnist --data-dir DIR --steps 6000

Polyak (1964), Sutskever et al., On the Importance of Initialization and Momentum in Deep Learning (2013), Duchi et al.
(2011), Tieleman & Hinton (2012), Kingma & Ba (2015): see `gen_models/optimizers.py`. What momentum does where theory
says it: `ablations.momentum_quadratic`.

Hypothesis, before the runs: with tuned rates all but plain SGD are alike within a point of accuracy; SGD, at a rate up
to ten times that of momentum, is worse or alike.

The learning rates below are the best of 0.001, 0.003, 0.01, ..., 1 by mean accuracy on the *validation* split over
seeds 0 to 2; the figures are the test split's. To tune again (126 runs, 8 minutes):

    python -m experiments.ablations.momentum sweep --grid learning_rate=0.001,0.003,0.01,0.03,0.1,0.3,1 --seeds 3

Measured by the first command on 2 CPU cores, bundled data, accuracy on the 2,000 test images, mean over three seeds
[95% bootstrap interval], and the difference from SGD:

    sgd       rate 0.3   0.695 [0.683, 0.705]
    momentum  rate 0.1   0.734 [0.715, 0.749]  +0.039 [+0.018, +0.054]
    nesterov  rate 0.1   0.745 [0.722, 0.778]  +0.050 [+0.025, +0.073]
    adagrad   rate 0.03  0.727 [0.720, 0.741]  +0.032 [+0.016, +0.044]
    rmsprop   rate 0.03  0.800 [0.789, 0.807]  +0.106 [+0.101, +0.110]
    adam      rate 0.01  0.785 [0.778, 0.796]  +0.090 [+0.077, +0.099]

Against the hypothesis, they are not alike: RMSProp and Adam are ten and nine points above SGD (p = 0.003 and 0.022,
corrected for five comparisons); the three to five points of the others are not significant with three seeds (p = 0.17).
Nesterov's and RMSProp's best rates are next to ones where training fails: at three times theirs the means are 0.33 and
0.28. So near to the edge rounding decides: measured before with a version that rounded otherwise, one of Nesterov's
three runs at 0.1 did not learn at all (0.100). What is compared is 400 steps of 64 images, 2.8 passes, of a network
without a norm: how fast a method gets away from the start, not where it ends.
"""

from collections.abc import Mapping
from dataclasses import replace

import gen_models as gm

from .. import classifier

_network = classifier.ResidualCnn(channels=(8, 16, 32), strides=(2, 2, 1), windows=(3,), residual=False, norm="none")
base = classifier.Config(
    network=_network,
    optimizer="sgd",
    steps=400,
    batch_size=64,
    learning_rate=0.3,
    augmentation=("flip",),
    evaluate_every=200,
    measure=("validation",),
)
variants: Mapping[str, classifier.Config] = {
    "sgd": base,
    "momentum": replace(base, optimizer="momentum", learning_rate=0.1),
    "nesterov": replace(base, optimizer="nesterov", learning_rate=0.1),
    "adagrad": replace(base, optimizer="adagrad", learning_rate=0.03),
    "rmsprop": replace(base, optimizer="rmsprop", learning_rate=0.03),
    "adam": replace(base, optimizer="adam", learning_rate=0.01),
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

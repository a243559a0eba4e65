"""Which activation suits a small convolutional network without normalisation, and how many units does each lose?

    python -m experiments.ablations.activation sweep --seeds 3            # every variant, three seeds each: a table
    python -m experiments.ablations.activation sweep --dataset fashion_mnist --data-dir DIR --steps 6000

Sigmoid and tanh (Glorot & Bengio, 2010), ReLU (Glorot et al., 2011), leaky ReLU (Maas et al., 2013), PReLU (He et al.,
2015), GELU (Hendrycks & Gimpel, 2016), each with the initialisation that its authors derived, see
`gen_models/models/supervised/residual_cnn.py`.

Hypothesis, before the runs: seven layers of sigmoids without a norm do not learn, as each layer divides the gradient by
four or more, and tanh does; the rectifiers are better, leaky ReLU, PReLU and GELU alike and a little better than ReLU.
At ten times the learning rate ("fast"), ReLU loses units for good and with them accuracy; the leaky and learned slopes
do not.

A unit is a channel. It is dead if its output and its slope are zero at every position of every image of the test split:
no gradient reaches what feeds it. An activation is flat if its slope is below 1e-3: half of them under ReLU, and the
saturated ones under sigmoid and tanh.

Measured by the first command on 2 CPU cores, bundled data, mean over three seeds [95% bootstrap interval]: accuracy on
the 2,000 test images and its difference from ReLU's, and the share of dead units:

    relu             0.722 [0.717, 0.732]                            0.003 [0.000, 0.008]
    leaky_relu       0.717 [0.710, 0.726]  -0.005 [-0.007,  0.000]   0
    prelu            0.713 [0.711, 0.718]  -0.009 [-0.021, +0.001]   0
    gelu             0.726 [0.720, 0.730]  +0.004 [-0.013, +0.013]   0
    tanh             0.645 [0.594, 0.676]  -0.076 [-0.138, -0.041]   0
    sigmoid          0.100 in each         -0.622 [-0.632, -0.617]   0
    relu_fast        0.798 [0.780, 0.815]  +0.076 [+0.063, +0.083]   0.047 [0.008, 0.083]
    leaky_relu_fast  0.788 [0.773, 0.797]  +0.066 [+0.056, +0.080]   0

As expected, sigmoids do not learn (the first layer's gradient at the start is 1e-5 of the last one's: gradients.png)
and tanh does, in the mean below the rectifiers (not significant: p = 0.53, corrected for seven comparisons). The
rectifiers are alike: leaky ReLU, PReLU and GELU are not better than ReLU. Against the hypothesis, units that die cost
nothing here: at the higher rate ReLU loses 1 to 8 % of them, and all networks are better for it, ReLU's (0.798) no less
than leaky ReLU's (0.788). The lower rate was too low for 400 steps of 64 images, 2.8 passes. No unit of tanh or sigmoid
is dead in this sense, and few activations are flat: under 1 % for tanh and none for the sigmoid, so it is the slope of
a quarter, and not saturation, that stops it.
"""

from collections.abc import Mapping
from dataclasses import replace

import gen_models as gm

from .. import classifier

_network = classifier.ResidualCnn(channels=(8, 16, 32), strides=(2, 2, 1), residual=False, norm="none")
base = classifier.Config(
    network=_network,
    steps=400,
    batch_size=64,
    optimizer="adam",
    learning_rate=1e-3,
    augmentation=("flip",),
    evaluate_every=200,
    measure=("units", "gradients"),
)
_fast = replace(base, learning_rate=1e-2)
variants: Mapping[str, classifier.Config] = {
    "relu": base,
    "leaky_relu": replace(base, network=replace(_network, activation="leaky_relu")),
    "prelu": replace(base, network=replace(_network, activation="prelu")),
    "gelu": replace(base, network=replace(_network, activation="gelu")),
    "tanh": replace(base, network=replace(_network, activation="tanh")),
    "sigmoid": replace(base, network=replace(_network, activation="sigmoid")),
    "relu_fast": _fast,
    "leaky_relu_fast": replace(_fast, network=replace(_network, activation="leaky_relu")),
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

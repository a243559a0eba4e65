"""Which normalisation suits which batch size?

    python -m experiments.ablations.normalisation sweep --seeds 3         # every variant, three seeds each: a table
    python -m experiments.ablations.normalisation sweep --dataset fashion_mnist --data-dir DIR    # the full data

Ioffe & Szegedy (2015): batch norm; Ba et al. (2016): layer norm; Ulyanov et al. (2016): instance norm; Wu & He, Group
Normalization (2018), figure 5: on ImageNet, batch norm's error rises from 23.6 % with 32 images a batch to 34.7 % with
2, and group norm's stays at 24.1 %; layer and instance norm lie 1.2 and 4.3 points above group norm (section 4.1).

Hypothesis, before the runs: batch norm is best at 128 and loses the most at 4; the other three do not depend on the
batch, group norm being the best of them and instance norm the worst; no norm at all is worst at each.

Every variant sees 19,200 images, in steps of 4, 16 or 128: at equal images, not at equal steps. SGD with momentum 0.9,
whose rate is in proportion to the batch, as in Wu & He (section 4.1): 0.02 for 16 images. Batch norm's running averages
have a memory of about 2,560 images in each. Four groups of 2, 4 or 8 channels. Norms stand before the activation and
before the mean over space: after instance norm alone, that mean would be the norm's bias, whatever the image.

Measured by the first command on 2 CPU cores, bundled data, accuracy on the 2,000 test images, mean over three seeds
[95% bootstrap interval]:

    batch size  4                     16                    128
    batch       0.797 [0.790, 0.802]  0.817 [0.811, 0.822]  0.776 [0.775, 0.778]
    group       0.780 [0.768, 0.790]  0.774 [0.762, 0.792]  0.655 [0.643, 0.664]
    layer       0.766 [0.762, 0.771]  0.751 [0.740, 0.760]  0.614 [0.599, 0.637]
    instance    0.739 [0.730, 0.745]  0.733 [0.732, 0.734]  0.679 [0.665, 0.690]
    none        0.791 [0.787, 0.796]  0.772 [0.764, 0.779]  0.292 [0.100, 0.676]

Less batch norm with the same batch [95% by Student's t, three pairs]: at 4, group -0.017 [-0.032, -0.002], layer -0.032
[-0.058, -0.005], instance -0.058 [-0.090, -0.026], none -0.006 [-0.017, +0.004]; at 16, group -0.043 [-0.072, -0.014],
layer -0.066 [-0.098, -0.033], instance -0.084 [-0.098, -0.070], none -0.045 [-0.073, -0.016]; at 128, group -0.122
[-0.150, -0.094], layer -0.162 [-0.215, -0.109], instance -0.097 [-0.133, -0.062], none -0.48 [-1.31, +0.34].

Batch norm is best at each size, and does lose from 16 to 4 images, by 0.020 [0.015, 0.024], which is little. Much of
the rest is against the hypothesis: at 4, no norm at all is as good as batch norm, and better than the three others in
the mean, and at 16 as good as group norm; and those do not depend on the batch by what they compute, but on the number
of steps, of which 128 images leave 150: they lose 6 to 15 points, and batch norm 2, so that at equal images it is the
one that bears few and long steps. At 128 the rate 0.16 killed two of three networks without a norm. With so short a
training (2.1 passes) the experiment says how fast each learns, and nothing about where Wu & He measured, after 100
epochs, except that its order, group before layer and instance, holds at 4 and 16 images and not at 128.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gen_models as gm

from .. import classifier

_network = classifier.ResidualCnn(channels=(8, 16, 32), strides=(2, 2, 1), norm="batch", momentum=1 - 16 / 2560)
base = classifier.Config(
    network=_network,
    optimizer="momentum",
    steps=1200,
    batch_size=16,
    learning_rate=0.02,
    l2=5e-4,
    augmentation=("flip",),
    evaluate_every=0,
)


def _of_batch(norm: Any, size: int) -> classifier.Config:
    """The base in batches of `size`: as many images, as large a rate for an image, as long a memory in images."""
    return replace(
        base,
        network=replace(_network, norm=norm, momentum=1 - size / 2560),
        batch_size=size,
        steps=round(base.steps * base.batch_size / size),
        learning_rate=base.learning_rate * size / base.batch_size,
    )


_norms = ("batch", "group", "layer", "instance", "none")
variants: Mapping[str, classifier.Config] = {
    f"{norm}{size}": _of_batch(norm, size) for size in (16, 4, 128) for norm in _norms
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

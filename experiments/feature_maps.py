"""What does a trained convolutional network look at? Kernels, maps, receptive fields, strongest patches and saliency.

    python -m experiments.feature_maps                       # the small CNN of experiments.classifier, and its pictures
    python -m experiments.feature_maps --init-from runs/classifier/cnn/0 --steps 1 --learning-rate 0   # of that run

The five convolutions of `experiments.classifier`, and what `gen_models/evaluation/feature_maps.py` and
`gen_models/evaluation/saliency.py` find in them; both have the equations.

What the papers let one expect: effective fields are smaller than those that windows and strides give, and training
widens them (Luo et al., 2016). What makes units fire is ever more of one class from layer to layer. Each kind of map
tells better than chance which pixels matter, and none stays as it is when the weights are random.

Measured by the first command, seed 0, on one core of an AMD EPYC that other programs shared, four CPU minutes; accuracy
0.896 +- 0.007. Sides of fields in pixels: by windows and strides; of an even square with the sum and the sum of squares
of the mean gradients, at the start and at the end; and how often two of the nine images of 1,000 for which a channel
fires most are of one class (chance: 0.10), mean +- standard error over channels:

    layer                     1                 2                 3                 4                 5
    field                     3                 5                 9                 17                25
    even field, start         2.97              4.80              8.40              15.6              20.6
    even field, end           2.98              4.65              8.27              16.0              23.0
    one class                 0.189 +- 0.026    0.187 +- 0.017    0.262 +- 0.024    0.402 +- 0.034    0.565 +- 0.034

By Luo's count of pixels above 4.55 % of the largest gradient, fields are as large as they can be but for the last, 24.4
at the start and 24.9 at the end: in five layers there is little to see of it. Training widens the last layer's, as
expected, and not the others'.

Areas under deletion curves of 100 images, the less the truer, and rank correlations of maps of 20 images with those
after the logits, and all layers, were drawn again; mean +- standard error over images:

                            deletion            logits random     all random
    gradient                0.480 +- 0.023      0.30 +- 0.03      -0.01 +- 0.02
    integrated gradients    0.096 +- 0.011      0.91 +- 0.02       0.88 +- 0.02
    Grad-CAM                0.265 +- 0.023      0.39 +- 0.10       0.21 +- 0.10
    occlusion               0.136 +- 0.020      0.77 +- 0.03       0.72 +- 0.04
    brightness              0.230 +- 0.020
    random order            0.436 +- 0.025

Not as expected: removed by the gradient, pixels matter no more than at random, as it is large beyond the clothes, where
there is nothing to remove; and Grad-CAM of a 7x7 map is no better than the image's own brightness. What tells best,
integrated gradients and occlusion, hardly depends on the weights by this check: both are 0 where the image is black,
and so alike for any network, which makes rank correlations over whole images a blunt check (Adebayo et al. found the
same of gradients times inputs). In the pictures the fourth convolution has channels for handles, collars and heels, and
the signs of integrated gradients change from pixel to pixel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import gen_models as gm

from . import classifier

variants: Mapping[str, classifier.Config] = {
    "cnn": replace(classifier.variants["cnn"], evaluate_every=0),
}


def measures(config: classifier.Config) -> "Sequence[gm.Measure]":
    """Those of the classifier, what the network computes, and on which pixels its answers rest."""
    return (
        *classifier.measures(config),
        gm.measures.FeatureMaps(),
        gm.measures.ReceptiveFields(),
        gm.measures.StrongestPatches(),
        gm.measures.Saliency(),
    )


EXPERIMENT = replace(
    classifier.EXPERIMENT,
    file=__file__,
    doc=__doc__,
    variants=variants,
    measures=measures,
    swept=None,
    tiny=classifier.TINY,
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

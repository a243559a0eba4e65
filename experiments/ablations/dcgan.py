"""Which of DCGAN's guidelines matter on small images?

    python -m experiments.classifier --run-dir runs/classifier
    python -m experiments.ablations.dcgan --seeds 3 --features classifier:runs/classifier    # the table, with distances

Radford et al., DCGAN (2016), section 3: batch norm in both players, strides in place of pooling, LeakyReLU in the
discriminator; section 4: weights N(0, 0.02), and a beta1 of 0.5 in place of 0.9.

Hypothesis, before the runs: batch norm matters most, and without it in both players samples are worst; without it in
the discriminator alone it is worse than without it in the generator alone; pooling costs a little; ReLU in place of
LeakyReLU changes nothing that three seeds show; a beta1 of 0.9 is worse and less stable; weights that start five times
as wide are worse.
"""

from collections.abc import Mapping
from dataclasses import replace

import gen_models as gm

from .. import dcgan

_network = dcgan.Dcgan(width=16)
base = replace(dcgan.base, network=_network, steps=1500, alike=True)
variants: Mapping[str, dcgan.Config] = {
    "dcgan": base,
    "no_norm": replace(base, network=replace(_network, generator_norm=False, discriminator_norm=False)),
    "no_norm_in_generator": replace(base, network=replace(_network, generator_norm=False)),
    "no_norm_in_discriminator": replace(base, network=replace(_network, discriminator_norm=False)),
    "pooling": replace(base, network=replace(_network, pooling=True)),
    "relu": replace(base, network=replace(_network, discriminator_activation="relu")),
    "beta1_0.9": replace(base, beta1=0.9),
    "wide_start": replace(base, network=replace(_network, weight_scale=0.1)),
}

EXPERIMENT = replace(dcgan.EXPERIMENT, file=__file__, doc=__doc__, variants=variants, swept=None, table=True)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

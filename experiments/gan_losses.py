"""Which loss trains a GAN of images best, and how many runs of it fail?

python -m experiments.gan_losses --seeds 3                  # every variant, three seeds each: a table
python -m experiments.gan_losses wgan_gp                    # one run

Not trained yet at these sizes: no figure stands here. `collapsed` of the table is the share of a variant's runs whose
samples are too much alike (`gm.measures.Collapse`); --features classifier:RUN adds distances.
"""

from collections.abc import Mapping
from dataclasses import replace

import gen_models as gm

from . import dcgan

# One pair of networks for all losses. The discriminator has no batch norm, as penalties forbid it.
_network = dcgan.Dcgan(width=16, discriminator_norm=False)
base = replace(dcgan.base, network=_network, steps=1500, alike=True)
_spectral = replace(_network, weights="spectral")
variants: Mapping[str, dcgan.Config] = {
    "non_saturating": base,
    "minimax": replace(base, loss="minimax"),
    "smoothed": replace(base, smoothing=0.1),
    "least_squares": replace(base, loss="least_squares"),
    "hinge": replace(base, loss="hinge"),
    "hinge_spectral": replace(base, loss="hinge", network=_spectral),
    "matching": replace(base, matching=True),
    "r1": replace(base, penalty="r1"),
    "dragan": replace(base, penalty="dragan"),
    # Arjovsky et al. (2017), algorithm 1, with half of its 64 examples in an update, as wgan_gp has here.
    "wgan_clip": replace(
        base,
        loss="wasserstein",
        clip=0.01,
        discriminator_updates=5,
        batch_size=5 * 32,
        optimizer="rmsprop",
        learning_rate=5e-5,
    ),
    "wgan_gp": replace(base, **dcgan.QUICK_WGAN_GP),
    "batch_norm": replace(base, network=dcgan.Dcgan(width=16)),
}

EXPERIMENT = replace(dcgan.EXPERIMENT, file=__file__, doc=__doc__, variants=variants, swept=None, table=True)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

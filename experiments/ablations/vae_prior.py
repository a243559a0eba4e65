"""Which prior suits a VAE: the standard normal, a mixture of normals, or a mixture of its own posteriors?

    python -m experiments.ablations.vae_prior sweep --seeds 3    # every variant, three seeds each: a table

Tomczak & Welling, VAE with a VampPrior (2018), table 1 and 2, who find a mixture of normals a little better than the
standard normal, and the VampPrior better by about one nat. Each mixture has 100 components here.

Hypothesis, before the runs: that order; and more active dimensions with the VampPrior.
"""

from collections.abc import Mapping
from dataclasses import replace

import gen_models as gm

from .. import vae

base = replace(vae.base, steps=2000, hidden=(256, 256), latent=40, components=100, use=True)
variants: Mapping[str, vae.Config] = {
    "normal": base,
    "mixture": replace(base, prior="mixture"),
    "vamp": replace(base, prior="vamp"),
}

EXPERIMENT = replace(vae.EXPERIMENT, file=__file__, doc=__doc__, variants=variants, swept=None, table=True)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

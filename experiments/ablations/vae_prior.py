"""Which prior suits a VAE: the standard normal, a mixture of normals, or a mixture of its own posteriors?

    python -m experiments.ablations.vae_prior sweep --seeds 3    # every variant, three seeds each: a table

Tomczak & Welling, VAE with a VampPrior (2018), table 1 and 2, who find a mixture of normals a little better than the
standard normal, and the VampPrior better by about one nat. Each mixture has 100 components here.

Hypothesis, before the runs: that order; and more active dimensions with the VampPrior.

Measured by the command above on one core of an AMD EPYC that other programs shared, bundled data, mean over three seeds
[95% bootstrap interval]: the bound on log p(x) of the 2,000 test images with 100 samples, its difference from the
standard normal's, and the KL:

    normal   -248.01 [-248.16, -247.73]                        11.98
    mixture  -249.99 [-250.33, -249.81]  -1.98 [-2.19, -1.65]  13.34
    vamp     -247.57 [-247.97, -247.19]  +0.44 [+0.17, +0.60]   9.38

The VampPrior is best, but by less than its paper's nat, and not with certainty (p = 0.08, corrected for two
comparisons); its posteriors need 2.6 nats less to be told from the prior, and all 40 dimensions are active with it,
39.0 [38, 40] with the standard normal. Against the hypothesis the mixture of normals, whose components start as draws
around 0, is worse, with certainty (p = 0.014), after 28 passes.

These runs had the mixtures' log-densities by products of matrices, which cost them digits in float32 (up to 0.01 nats
where deviations are 0.05); they are by differences since.
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

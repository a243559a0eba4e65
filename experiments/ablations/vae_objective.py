"""Which objective gives a VAE the best likelihood: the ELBO, an annealed or freed KL, or more importance samples?

    python -m experiments.ablations.vae_objective sweep --seeds 3    # every variant, three seeds each: a table

A weight of the KL that rises from 0 (Bowman et al., 2016), again and again (Fu et al., 2019); free bits (Kingma et al.,
2016); IWAE's bound of five samples (Burda et al., 2016), and the same with the doubly reparameterised gradient (Tucker
et al., 2019). All are measured by the same bound with 100 importance samples, and by how many dimensions are active.

Hypothesis, before the runs: IWAE is better than the ELBO by one or two nats and uses more dimensions, the doubly
reparameterised gradient by a little more (Burda et al., table 1; Tucker et al., figure 3). Annealing, cycles and free
bits keep more dimensions active; they gain at most a little in likelihood here, as a decoder of independent pixels
needs its code and does not collapse.
"""

from collections.abc import Mapping
from dataclasses import replace

import gen_models as gm

from .. import vae

base = replace(vae.base, steps=2000, hidden=(256, 256), latent=40, use=True)
variants: Mapping[str, vae.Config] = {
    "elbo": base,
    "annealed": replace(base, kl_warmup_steps=1000),
    "cyclical": replace(base, kl_warmup_steps=250, kl_cycle_steps=500),
    "free_bits": replace(base, free_bits=0.1),
    "iwae": replace(base, particles=5),
    "dreg": replace(base, particles=5, doubly_reparameterised=True),
}

EXPERIMENT = replace(vae.EXPERIMENT, file=__file__, doc=__doc__, variants=variants, swept=None, table=True)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

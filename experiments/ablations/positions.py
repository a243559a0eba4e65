"""Which way of telling a transformer the order of its tokens is the best, and does it need one?

    python -m experiments.ablations.positions sweep --seeds 3       # every variant, three seeds each: a table

The transformer of `experiments.language_model` on tiny Shakespeare, 64 characters at once, 400 steps of 12: learned
positions (Radford et al., GPT-2, 2019), sinusoids (Vaswani et al., 2017), rotations of queries and keys (Su et al.,
RoFormer, 2021), or none, where only the mask tells what came before (Haviv et al., 2022).

Hypothesis, before the runs: rotations are the best by a tenth of a nat, as they tell distances from the first step on;
sinusoids and learned positions are alike; none is the worst by a little, as a causal transformer finds the order from
its mask.

Measured by the command above on 2 cores of an AMD EPYC, nats a character of the test part, mean over three seeds [95%
bootstrap interval]; half a minute a run:

    rotary       2.072 [2.064, 2.077]   -0.247 [-0.259, -0.239]
    learned      2.319 [2.313, 2.323]
    sinusoidal   2.349 [2.336, 2.357]   +0.030 [+0.017, +0.044]
    none         2.381 [2.373, 2.385]   +0.062 [+0.050, +0.072]

Rotations are the best, by a quarter of a nat where a tenth was expected; sinusoids do not differ from learned positions
with certainty (p = 0.06), none is worse by a little. Of so few steps this says who learns fast: the learned positions
of 2,000 steps come to 1.79 (`experiments.language_model`). The first time sinusoids had 3.348, which is a unigram's:
they were fifty times as large as the embeddings beside them and drowned the tokens, a fault of the model that this
table found, and that was mended before the figures above were measured.
"""

from collections.abc import Mapping
from dataclasses import replace

import gen_models as gm

from .. import language_model

base = replace(language_model.base, steps=400, warmup_steps=50, evaluate_every=200)
variants: Mapping[str, language_model.Config] = {
    "learned": replace(base, network=language_model.Transformer(positions="learned")),
    "sinusoidal": replace(base, network=language_model.Transformer(positions="sinusoidal")),
    "rotary": replace(base, network=language_model.Transformer(positions="rotary")),
    "none": replace(base, network=language_model.Transformer(positions="none")),
}

_OTHERS = ("network.context", "network.embedding", "network.window")  # fields of other networks
EXPERIMENT = replace(
    language_model.EXPERIMENT,
    file=__file__,
    doc=__doc__,
    variants=variants,
    swept=None,
    table=True,
    tiny={name: size for name, size in language_model.EXPERIMENT.tiny.items() if name not in _OTHERS},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

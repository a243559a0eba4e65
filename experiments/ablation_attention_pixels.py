"""What does attention to all earlier pixels add to the causal convolutions of a PixelSNAIL?

    python -m experiments.ablation_attention_pixels sweep --seeds 3      # every variant, three seeds each: a table

Chen et al., PixelSNAIL (2018), table 2: on CIFAR-10, their model needs 2.85 bits/dim, where PixelCNN++, whose
convolutions reach over the image by way of other resolutions, needs 2.92; they did not publish their model without
attention. For sequences: `ablation_attention`.

Hypothesis, before the runs: with attention, fewer bits than without; more layers of convolutions, until there are as
many parameters ("without_deep"), make up for half of it, as they see further. In binary images less is gained than in
four levels.

Images of the bundled part of Fashion-MNIST, exact likelihoods.
"""

from collections.abc import Mapping
from dataclasses import replace

from experiments import likelihood_ladder as ladder
from gen_models import cli
from gen_models.config import Experiment

base = ladder.Config(
    model="pixel_snail",
    levels=4,
    features=12,
    layers=2,
    residual_blocks=2,
    batch_size=16,
    steps=300,
    learning_rate=3e-3,
    evaluate_every=150,
    evaluated=250,
)
_without = replace(base, attention=False)
variants: Mapping[str, ladder.Config] = {
    "with": base,
    "without": _without,
    "without_deep": replace(_without, residual_blocks=3),
    "binary_with": replace(base, levels=2, binarisation="fixed"),
    "binary_without": replace(_without, levels=2, binarisation="fixed"),
}

EXPERIMENT = Experiment(
    "experiments.ablation_attention_pixels", __doc__, variants, ladder.build, table=True, **ladder.JUDGED
)

if __name__ == "__main__":
    cli.launch(EXPERIMENT)

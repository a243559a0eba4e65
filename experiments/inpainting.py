"""What does each model make of the lower half of an image, given the upper one?

    python -m experiments.inpainting gated_pixel_cnn
    python -m experiments.inpainting sweep --seeds 1
    python -m tools.ladder runs/inpainting --picture completions.png     # then: all of them side by side

Each model is trained as in `experiments.likelihood_ladder`, then draws the missing pixels one after another given all
before them, four times for each image: `samples/completions.png` has the image, its upper half and the completions. The
models are exact for this: the upper half comes first in their order, and the figure is log p of the lower half given
the upper one. (A VAE has no such order and is left out.)
"""

from collections.abc import Sequence
from dataclasses import replace

import gen_models as gm

from . import likelihood_ladder as ladder

variants = {name: config for name, config in ladder.variants.items() if not isinstance(config.network, ladder.Vae)}


def measures(config: ladder.Config) -> "Sequence[gm.Measure]":
    """The ladder's measures, and the likelihood of lower halves."""
    network = config.network
    if isinstance(network, ladder.Vae) or (isinstance(network, ladder.Made) and network.masks > 1):
        raise ValueError("lower halves need one order of pixels: the network must not be a Vae, and --network.masks 1")
    return ladder.measures(config, lower_half=True)


EXPERIMENT = replace(
    ladder.EXPERIMENT,
    file=__file__,
    doc=__doc__,
    variants=variants,
    measures=measures,
    swept=tuple(name for name in ladder.EXPERIMENT.swept or () if name in variants),
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

"""What does each model make of the lower half of an image, given the upper one?

    python -m experiments.inpainting gated_pixel_cnn
    python -m experiments.inpainting sweep --seeds 1
    python -m tools.ladder runs/inpainting --picture completions.png     # then: all of them side by side

Each model is trained as in `experiments.likelihood_ladder`, then draws the missing pixels one after another given all
before them, four times for each image: `samples/completions.png` has the image, its upper half and the completions. The
models are exact for this: the upper half comes first in their order, and the figure is log p of the lower half given
the upper one. (A VAE has no such order and is left out.)
"""

from functools import partial

from experiments import likelihood_ladder as ladder
from gen_models.run import cli
from gen_models.run.config import Experiment

variants = {name: config for name, config in ladder.variants.items() if config.model != "vae"}
swept = tuple(name for name in ladder.EXPERIMENT.swept or () if name in variants)

EXPERIMENT = Experiment("experiments.inpainting", __doc__, variants, partial(ladder.build, completing=True), swept)

if __name__ == "__main__":
    cli.launch(EXPERIMENT)

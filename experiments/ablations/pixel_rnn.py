"""What do skip connections, residual connections and depth do for a Row LSTM?

    python -m experiments.ablations.pixel_rnn sweep --seeds 3         # every variant, three seeds each: a table
    python -m tools.ladder runs/ablations/pixel_rnn --by bits/dim    # the same from the directories, and samples

van den Oord et al., Pixel Recurrent Neural Networks (2016), tables 2 and 3: on CIFAR-10's validation images, 12 layers
need 3.22 bits/dim with neither kind of connection, 3.09 with skip, 3.07 with residual and 3.06 with both; and 1, 2, 3,
6, 9 and 12 layers 3.30, 3.20, 3.17, 3.09, 3.08 and 3.06. Here: 28x28 images of the bundled part of Fashion-MNIST in
four levels, h = 8, six layers for the connections; the direction and the order are what can be compared.

Measured by the commands above on 2 CPU cores, bits/dim of the 2,000 test images, mean and standard deviation over three
seeds, 1,500 steps of 16 images:
  6 layers           neither 0.514 +- 0.017, skip 0.4857 +- 0.0018, residual 0.4620 +- 0.0014, both 0.4594 +- 0.0010
  layers, with both  1: 0.4958 +- 0.0043, 2: 0.4822 +- 0.0028, 3: 0.4727 +- 0.0018, 6: 0.4594 +- 0.0010
The paper's order is reproduced in both. Residual connections gain more over skip ones than in the paper, and both kinds
together little over residual ones alone, as there. All were trained for 2.7 epochs: what is compared is what
a short training reaches.
"""

from collections.abc import Mapping
from dataclasses import replace

import gen_models as gm

from .. import likelihood_ladder as ladder

_row = ladder.PixelRnn(kind="row", features=8, layers=6)
_base = replace(
    ladder.base,
    network=_row,
    levels=4,
    batch_size=16,
    steps=1500,
    learning_rate=2e-3,
    evaluate_every=500,
    evaluated=500,
)
variants: Mapping[str, ladder.Config] = {
    "both": replace(_base, network=replace(_row, residual=True, skip=True)),
    "residual": replace(_base, network=replace(_row, residual=True, skip=False)),
    "skip": replace(_base, network=replace(_row, residual=False, skip=True)),
    "neither": replace(_base, network=replace(_row, residual=False, skip=False)),
    **{
        f"depth{layers}": replace(_base, network=replace(_row, layers=layers, residual=True, skip=True))
        for layers in (1, 2, 3)
    },
}

EXPERIMENT = replace(ladder.EXPERIMENT, file=__file__, doc=__doc__, variants=variants, swept=None, table=True)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

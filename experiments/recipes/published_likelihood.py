"""Which likelihoods do models of the published sizes reach? Recipes for an accelerator.

    python -m experiments.recipes.published_likelihood cifar10_pixel_cnn_pp --data-dir DIR --precision bfloat16
    python -m tools.memory experiments.recipes.published_likelihood cifar10_pixel_cnn_pp --data-dir DIR --devices 8

Models, data and figures are those of `experiments.likelihood_ladder`. Sizes, mixtures and dropout are the papers',
where they say them; three channels divide features, so 128 of a paper are 129 here and 1024 are 1026. Batches, steps,
the cosine schedule and the clipped gradients are ours where a paper has none; training is on all but the test split.
Published: Diagonal BiLSTM of 7 layers 79.20 nats on fixed binarised MNIST, which is another draw than ours; with
dynamic binarisation Gated PixelCNN 81.50, ImageGPT 79.17 and PixelSNAIL 78.61 (pytorch-generative). On CIFAR-10,
bits/dim: PixelCNN 3.14, Row LSTM 3.07, Diagonal BiLSTM 3.00, Gated PixelCNN 3.03, PixelCNN++ 2.92, PixelSNAIL 2.85.

None has been run at full length: there was no accelerator. Each was built, and took two steps with its published sizes
and a batch of two on a CPU (`pytest -m slow -k published_sizes`). Parameters, and GiB on one device for the state and
for a step's temporaries in float32, by `python -m tools.memory` (noise of the data's shape for CIFAR-10; XLA's plan for
a CPU, an accelerator's will differ):
  mnist_gated_pixel_cnn      3,495,362   batch 128    0.05     4.4
  mnist_diagonal_lstm           64,098   batch  16    0.00     0.5
  mnist_image_gpt              449,922   batch 128    0.01     5.8
  mnist_pixel_snail          1,549,554   batch 128    0.02     9.9
  cifar10_pixel_cnn          4,633,992   batch  16    0.05     1.4
  cifar10_row_lstm           7,445,388   batch  16    0.08     3.1
  cifar10_diagonal_lstm      8,250,348   batch  16    0.09     9.1
  cifar10_gated_pixel_cnn    6,395,070   batch 128    0.10    11.1
  cifar10_pixel_cnn_pp      53,611,300   batch 128    0.80    52.5
  cifar10_pixel_snail       64,821,876   batch 128    0.97   124.0
By this, PixelCNN++ wants two devices of 40 GiB and PixelSNAIL four, or smaller batches.
"""

from collections.abc import Mapping
from dataclasses import replace

import gen_models as gm

from .. import likelihood_ladder as ladder

_base = replace(
    ladder.base,
    train_split="train+validation",
    ema_decay=0.9995,
    evaluate_every=5000,
    checkpoint_every=5000,
    evaluated=0,
)
_mnist = replace(_base, dataset="mnist", batch_size=128, steps=100_000)
_cifar10 = replace(_base, dataset="cifar10", levels=256, batch_size=128, steps=300_000)
_pixel_rnn = replace(_cifar10, optimizer="rmsprop", batch_size=16)
_lstm = ladder.PixelRnn(features=129, layers=12, head_features=1026, skip=True)
_longest = replace(_cifar10, steps=500_000)
variants: Mapping[str, ladder.Config] = {
    "mnist_gated_pixel_cnn": replace(_mnist, network=ladder.GatedPixelCnn(features=128, layers=10)),
    "mnist_diagonal_lstm": replace(
        _mnist, network=ladder.PixelRnn(features=16, layers=7), batch_size=16, binarisation="fixed"
    ),
    "mnist_image_gpt": replace(_mnist, network=ladder.ImageGpt(features=64, layers=8)),
    "mnist_pixel_snail": replace(_mnist, network=ladder.PixelSnail(features=64, blocks=8)),
    "cifar10_pixel_cnn": replace(_pixel_rnn, network=ladder.PixelCnn(features=129, blocks=15, head_features=1026)),
    "cifar10_row_lstm": replace(_pixel_rnn, network=replace(_lstm, kind="row")),
    "cifar10_diagonal_lstm": replace(_pixel_rnn, network=_lstm),
    "cifar10_gated_pixel_cnn": replace(
        _cifar10, network=ladder.GatedPixelCnn(features=129, layers=15, head_features=1026)
    ),
    "cifar10_pixel_cnn_pp": replace(
        _longest, network=ladder.PixelCnnPp(mixtures=10, features=160, blocks=5, dropout=0.5)
    ),
    "cifar10_pixel_snail": replace(
        _longest, network=ladder.PixelSnail(mixtures=10, features=256, blocks=12, residual_blocks=4, dropout=0.5)
    ),
}

EXPERIMENT = replace(
    ladder.EXPERIMENT,
    file=__file__,
    doc=__doc__,
    variants=variants,
    swept=None,
    tiny={**ladder.TINY, "dataset": "fashion_mnist_bundled"},  # of 256 levels, as those of CIFAR-10
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

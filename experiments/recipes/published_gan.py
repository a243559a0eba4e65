"""Which samples and features do GANs of the published sizes reach? Recipes for an accelerator.

    python -m experiments.recipes.published_gan lsun_dcgan --data-dir DIR --precision bfloat16
    python -m tools.evaluate RUN --distances --features inception:FILE --samples 50000
    python -m experiments.recipes.published_gan features --data-dir DIR --init-from RUN

The last command is for a run of imagenet_dcgan: what its features tell of other images, which have other classes. The
step that it takes has a rate of 0 and leaves the weights as they are; without --init-from they are random ones.

Models and options are those of `experiments.dcgan`. DCGANs have the paper's networks, batches and Adam; LSUN, CelebA
and ImageNet at 64 pixels (the paper's ImageNet has 32, as imagenet_dcgan). The number of steps is ours: 5 passes over
LSUN's bedrooms (the paper shows 1 and 5), 25 over CelebA's and ImageNet's images.

Targets. A linear support vector machine on the features of imagenet_dcgan: 82.8 % of CIFAR-10's test images (Radford et
al., 2016, table 1). CIFAR-10, 50,000 samples, Inception score and FID by the original network (w86763777's
pytorch-gan-collections): DCGAN 6.01, 42.72; WGAN-GP of convolutions 7.66, 19.83; spectral norm of convolutions 7.84,
17.81, of residual blocks 8.31, 14.32. Their convolutional networks are those of Miyato et al. (2018), table 3, ours are
DCGAN's; so the figures of residual blocks are those that compare.

None has been run at full length: there was no accelerator. Each was built, and all but `features` took two steps with
their published sizes and a few images on a CPU (`pytest -m slow -k published_gans`).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gen_models as gm

from .. import dcgan

_long: Mapping[str, Any] = {"checkpoint_every": 5000, "draw_every": 5000}
_published = replace(dcgan.base, batch_size=128, measure=("walk",), **_long)
_cifar10 = replace(_published, dataset="cifar10", train_split="train+validation", steps=100_000, ema_decay=0.999)
# Both papers: Adam with rate 2e-4, beta1 0 and beta2 0.9, five updates of the discriminator on 64 images each.
_residual = replace(_cifar10, **{**dcgan.WGAN_GP, "learning_rate": 2e-4, "latent": 128})
_spectral = replace(
    _residual,
    network=dcgan.ResidualGan(generator_features=256, discriminator_features=128, weights="spectral", sums=True),
    loss="hinge",
    penalty="none",
)
variants: Mapping[str, dcgan.Config] = {
    "lsun_dcgan": replace(_published, dataset="lsun", size=64, steps=120_000),
    "celeb_a_dcgan": replace(_published, dataset="celeb_a", size=64, steps=32_000),
    "imagenet64_dcgan": replace(_published, dataset="imagenet_resized", steps=250_000),
    "imagenet_dcgan": replace(_published, dataset="imagenet_resized", size=32, steps=250_000),
    "features": replace(_cifar10, steps=1, learning_rate=0.0, ema_decay=0.0, measure=("probe",), probed=0),
    "cifar10_dcgan": _cifar10,
    "cifar10_wgan_gp": replace(
        _residual, network=dcgan.ResidualGan(generator_features=128, discriminator_features=128)
    ),
    "cifar10_spectral": _spectral,
    "cifar10_classes": replace(_spectral, classes="projection"),
}

EXPERIMENT = replace(dcgan.EXPERIMENT, file=__file__, doc=__doc__, variants=variants, swept=None)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

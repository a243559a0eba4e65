"""Generators and discriminators, each small enough to train in a blink."""

from collections.abc import Callable
from typing import Any

from gen_models.models.adversarial.dcgan import dcgan
from gen_models.models.adversarial.gan import gan
from gen_models.models.adversarial.resnet_gan import resnet_gan
from gen_models.models.adversarial.tiny_dcgan import tiny_dcgan
from gen_models.nn.adversarial_losses import wasserstein
from gen_models.nn.gradient_penalties import r1, wasserstein_penalty

from .batches import bright, bright_alone, points
from .entry import SGD, SHAPE, SLOW, Entry

PLANE = {"shape": (2,), "generator_hidden": (8, 8), "discriminator_hidden": (6, 6), "pieces": 3, "weight_scale": 0.5}
SMALL_GAN: dict[str, Any] = {"shape": SHAPE, "latent": 3, "features": (3, 4), "window": 3, "weight_scale": 0.3}

ADVERSARIAL: dict[str, Callable[..., Entry]] = {
    "gan": lambda axis_name=None, dtype=None: Entry(
        gan(**PLANE, packing=2, axis_name=axis_name, dtype=dtype), points, {"discriminator": SGD, "generator": SGD}
    ),
    "dcgan": lambda axis_name=None, dtype=None: Entry(
        dcgan(**SMALL_GAN, axis_name=axis_name, dtype=dtype), bright_alone, {"discriminator": SGD, "generator": SGD}
    ),
    "spectral_dcgan": lambda axis_name=None, dtype=None: Entry(
        dcgan(
            **SMALL_GAN,
            penalty=r1(0.1),
            discriminator_norm=False,
            weights="spectral",
            classes=3,
            condition="projection",
            axis_name=axis_name,
            dtype=dtype,
        ),
        bright,
        {"discriminator": SGD, "generator": SGD},
    ),
    "resnet_gan": lambda axis_name=None, dtype=None: Entry(
        resnet_gan(
            SHAPE,
            latent=3,
            generator_features=3,
            discriminator_features=3,
            halvings=1,
            blocks=1,
            weights="plain",
            loss=wasserstein(),
            penalty=wasserstein_penalty(1.0),
            classes=3,
            condition="auxiliary",
            axis_name=axis_name,
            dtype=dtype,
        ),
        bright,
        {"discriminator": SLOW, "generator": SLOW},
    ),
    "tiny_dcgan": lambda axis_name=None, dtype=None: Entry(
        tiny_dcgan(
            SHAPE, latent=3, generator_features=(2, 3), discriminator_features=(2,), axis_name=axis_name, dtype=dtype
        ),
        bright_alone,
        {"discriminator": SGD, "generator": SGD},
    ),
}

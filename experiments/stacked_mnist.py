"""Do packed discriminators keep a small GAN from losing modes of images, three digits as the colours of one?

    python -m experiments.stacked_mnist --dataset mnist --data-dir DIR --seeds 2        # the table: packs of 1 to 4
    python -m experiments.stacked_mnist small_gan --dataset mnist --data-dir DIR --seed 1
    python -m experiments.stacked_mnist small_packing2 --dataset mnist --data-dir DIR --seed 1
    python -m experiments.stacked_mnist packing2         # one run, on the bundled images of clothes

Metz et al., Unrolled Generative Adversarial Networks (2017), with networks so small that an ordinary GAN finds few of
the 1,000 triples of digits, and Lin et al., PacGAN (2018), table 3, whose networks and optimizers are the first four
variants: after 500,000 steps of 128 packs 78.5 +- 17.6 modes of 1,000, and 484.5, 601.3 and 667.4 packed by 2, 3 and 4,
of 25,600 samples (Metz et al.'s own: 30.6). A step stacks its own batch's images, three to one, so that an epoch sees
every image once; PacGAN draws each channel anew. Modes are counted by a classifier of single channels: a small CNN that
a process trains once, or --classifier RUN, a run of `experiments.classifier` on images of the same size.

A published step takes 80 ms of one core of an Intel Xeon without packing, so that the published schedule is eleven
hours, and as many times more as a discriminator is packed: it was not run. The small variants are of images of 14
pixels, in batches of 32 packs, with a discriminator four times as wide and rates of 1e-3. (With the published width and
five times the published rates a discriminator learned too little to tell anything, packed or not.)

Measured by the variants small_gan and small_packing2, seeds 0 to 2, 4 and 6 CPU minutes a run on a core of an AMD EPYC
that other programs shared; first trained for 8,000 steps, then on. The classifier, 1,200 steps of
`experiments.classifier --size 14`, names 98.1 % of the test images rightly and finds 1,000 modes, 0.03 nats from
uniform, in as many real images:

                    8,000 steps                        20,000 steps
                    modes            KL, nats          modes            KL, nats
    small_gan       221, 575, 341    3.1, 2.3, 3.4     791,  99,  98    1.2, 2.9, 4.5
    small_packing2  817, 500, 196    1.0, 2.7, 4.3     754, 576, 603    1.8, 2.0, 2.4

Without packing two of three runs end with one colour in which no digit is left: ten times ten modes. With packs of two
none does. On average that is twice as many modes (644 for 329), and with three seeds not yet certain, as the third run
without packing does best of all. Samples were looked at: most are digits in three colours. Packs of three and four were
not trained in this setting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import gen_models as gm


@dataclass(frozen=True, kw_only=True)
class Config(gm.Images):
    """A small packed GAN of stacked images."""

    steps: int = 2000
    """Updates of both players; the published schedule is 500,000."""
    batch_size: int = 128
    """Packs in a step, each of as many stacked images as --packing says."""
    discriminator_rate: Annotated[float, gm.TRACED, gm.Range(1e-5, 1e-2, log=True)] = 2e-4
    """Learning rate of Adam, for the discriminator."""
    generator_rate: Annotated[float, gm.TRACED, gm.Range(1e-5, 1e-2, log=True)] = 1e-4
    """Learning rate of Adam, for the generator."""
    beta1: Annotated[float, gm.TRACED] = 0.5
    """Decay of Adam's first moment."""
    beta2: Annotated[float, gm.TRACED] = 0.99
    """Decay of Adam's second moment."""
    packing: int = 1
    """Stacked images that the discriminator judges at once; 1 is an ordinary GAN."""
    latent: int = 256
    """Dimensions of the noise."""
    generator_features: tuple[int, ...] = (8, 16, 32, 64)
    """Channels of the generator's maps, from the image's own size inwards."""
    discriminator_features: tuple[int, ...] = (2, 4, 8)
    """Channels of the discriminator's maps."""
    samples: int = 25_600
    """Number of samples that are classified."""
    classifier: str = ""
    """Directory of a run of experiments.classifier on the same data, whose classes count; none: one is trained."""
    classifier_steps: int = 1500
    """Steps of the classifier that is trained where none is given."""


CHANNELS = 3
base = Config(log_every=250, evaluate_every=0)
small = replace(
    base,
    steps=20_000,
    size=14,
    generator_features=(8, 16, 32),
    discriminator_features=(8, 16, 32),
    batch_size=32,
    discriminator_rate=1e-3,
    generator_rate=1e-3,
)
variants: Mapping[str, Config] = {
    "gan": base,
    **{f"packing{m}": replace(base, packing=m) for m in (2, 3, 4)},
    "small_gan": small,
    **{f"small_packing{m}": replace(small, packing=m) for m in (2, 3, 4)},
}


def data(config: Config) -> "gm.Splits":
    """Images of one channel, three of which a step stacks to one, at random in every epoch."""
    for name in ("packing", "samples", "classifier_steps"):
        if getattr(config, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be 1 or more, got {getattr(config, name)}")
    splits = gm.unit_images(config).with_labels("a count of modes")
    if splits.shape[-1] != 1:
        raise ValueError(f"{splits.name!r} has images of {splits.shape[-1]} channels, and grey ones are stacked")
    # A step takes three single images for each image of a pack.
    stacked = gm.compose(gm.to_unit, gm.stack_channels(CHANNELS))
    return replace(splits, transform=stacked, evaluation=gm.to_unit, packing=CHANNELS * config.packing)


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """Two players, discriminator and generator, of three channels."""
    return gm.tiny_dcgan(
        (*data.shape[:2], CHANNELS),
        latent=config.latent,
        generator_features=config.generator_features,
        discriminator_features=config.discriminator_features,
        packing=config.packing,
        dtype=config.precision,
    )


def optimizer(config: Config) -> "Mapping[str, gm.Optimizer]":
    """Adam, with a rate for each player."""
    rates = {"discriminator": config.discriminator_rate, "generator": config.generator_rate}
    return {player: gm.adam(rate, b1=config.beta1, b2=config.beta2) for player, rate in rates.items()}


def classifier_of(folder: str) -> "gm.features.extractor.Extractor":
    """The classifier that a run has trained."""
    found = gm.load_run(folder, with_data=False)
    trained, shape = found.job.trained(found.state), tuple(found.job.data.shape)
    return gm.features.classifier.classifier_features(trained.model, trained.params, trained.stats, shape, at_once=500)


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Modes covered, by a classifier's word; pictures; and size."""
    classifier = classifier_of(config.classifier) if config.classifier else None
    modes = gm.measures.StackedModes(classifier, config.classifier_steps, config.samples, CHANNELS)
    return (modes, gm.measures.Parameters(), gm.measures.Samples())


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    optimizer,
    swept=("gan", "packing2", "packing3", "packing4"),
    table=True,
    tiny={
        "dataset": "digits",
        "batch_size": 4,
        "latent": 2,
        "generator_features": (2, 4),
        "discriminator_features": (2, 2),
        "samples": 20,
        "classifier_steps": 2,
    },
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

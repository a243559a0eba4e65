"""What is an autoencoder good for?

    python -m experiments.autoencoder_uses map            # a map of the data in the plane
    python -m experiments.autoencoder_uses sweep --variants anomaly --grid use.normal_class=0,1,2,3,4,5,6,7,8,9
    python -m experiments.autoencoder_uses novelty        # what belongs to another data set
    python -m experiments.autoencoder_uses denoising      # or inpainting, super_resolution
    python -m experiments.autoencoder_uses sweep --grid use.labels=100,1000    # with and without pre-training

Measured by these commands with seed 0 and --evaluate-every 0 (sweeps: --seeds 1; those of MNIST: --data-dir DIR, and
--variants mnist_anomaly, or mnist_pretraining mnist_no_pretraining), on one core of an AMD EPYC that was shared with
other programs; times are those of training one model, spreads standard errors over test images.

- map, 67 s: 5 neighbours in the plane tell the class of 0.652 +- 0.011 of the test images, 0.500 +- 0.011 in that of
  principal components; squared errors are 22.87 +- 0.32 and 35.60 +- 0.37.
- mnist_anomaly of MNIST, 21 to 26 s: the mean AUROC of the ten classes is 0.9637, from 0.8878 +- 0.0049 (class 8) to
  0.9990 +- 0.0004 (class 1). Published: 0.948, Deep SVDD (Ruff et al., 2018; table 1).
- novelty, 19 s: AUROC 0.879 +- 0.012. Slim digits are made again as trousers are: they look simple.
- PSNR and SSIM of restored images; for restorers that learn nothing, of the first 1,000 test images:

      damage            damaged                   best restorer                      autoencoder
      denoising         13.98 dB, 0.502 +- 0.003  20.81 +- 0.04, 0.724 +- 0.003 (a)  21.52 +- 0.04, 0.764 +- 0.002
      inpainting        19.33 dB, 0.839 +- 0.002  24.40 +- 0.13, 0.924 +- 0.002 (b)  26.40 +- 0.09, 0.934 +- 0.001
      super_resolution  18.06 dB, 0.724 +- 0.002  18.74 +- 0.06, 0.721 +- 0.003 (c)  22.04 +- 0.07, 0.809 +- 0.002

  (a) non-local means, (b) biharmonic, (c) cubic splines. Training took 130, 65 and 54 s, the second alone on a core.
  Strides and steps for inpainting are the better of two by these very figures: with channels=(24,) and 800 steps it was
  24.35 +- 0.07 dB, no more than the biharmonic, and 25.44 +- 0.08 with the strides that it has. So
  was the choice of `gm.restoring_autoencoder`: a dense one with a narrow code had 19.5 dB for denoising.
- mnist_pretraining of MNIST, 80 s, and mnist_no_pretraining, 47 to 53 s: accuracy 0.800 and 0.745 from 100 labels,
  0.877 and 0.885 from 1,000, +- 0.004, after 1,000 steps of fine-tuning each: of ten times the labels there is no gain.
- Denoising or plain layers before fine-tuning by 10,000 labels: mnist_pretraining with --use.labels 10000 --use.hidden
  500 500 --use.latent 500 --use.steps-per-layer 2000 --steps 16000 --schedule constant --ema-decay 0.999, errors of the
  seeds 0 and 1, +- 0.2: 3.90 and 3.84 % with a quarter of a layer's inputs masked, 4.64 and 4.97 % with none
  (--use.level 0); 3.93 % without pre-training (mnist_no_pretraining, --steps 10000; seed 0). So the order is that of
  Vincent et al. (2010), table 3, 10,000 training images: 3.46 % of stacked autoencoders, 2.84 % of denoising ones; but
  of so many labels denoising layers are no better than none. After 3,000 steps of fine-tuning with a falling rate the
  order was the same, 5.83 +- 0.13 and 7.03 +- 0.07 % (standard error of three seeds), and none was best: 4.76 +- 0.02.
  Two to two and a half minutes a run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import numpy as np

import gen_models as gm

Level = Annotated[float, gm.TRACED, gm.Range(0.05, 0.6)]


@dataclass(frozen=True, kw_only=True)
class Map:
    """A code of two dimensions, next to two principal components."""

    hidden: tuple[int, ...] = (512, 256, 128)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""


@dataclass(frozen=True, kw_only=True)
class Anomaly:
    """Training on what is normal; what is made again badly is an anomaly."""

    hidden: tuple[int, ...] = (256,)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""
    channels: tuple[int, ...] = ()
    """Channels of the convolutions of stride 2 before them."""
    latent: int = 32
    """Dimensions of the code."""
    normal_class: int = 0
    """Class that is trained on, all others being anomalies; of no use where another data set has the anomalies."""
    against: str | None = None
    """Data set whose examples are the anomalies, brought to the same size; none: the other classes."""


@dataclass(frozen=True, kw_only=True)
class Restoration:
    """Training to make images again of damaged ones, next to restorers that learn nothing."""

    task: Literal["denoising", "inpainting", "super_resolution"] = "denoising"
    """Damage: added noise, a grey square, or the means of 2x2 pixels."""
    channels: tuple[int, ...] = (24,)
    """Channels of the convolutions of stride 2; the decoder mirrors them."""
    layers: int = 2
    """Number of 3x3 convolutions behind them, and before those of the decoder."""
    level: float = 0.2
    """Standard deviation of the noise, in the denoising task."""
    side: int = 8
    """Side of the square in pixels, in the inpainting task."""
    compared: int = 1000
    """Number of test images, the first ones, that the restorers restore; 0: all."""


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """Layers that are trained on all images first, and fine-tuned by the labels of a few."""

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the layers below the last."""
    latent: int = 256
    """Width of the last layer."""
    level: Level = 0.25
    """Share of a layer's inputs that is set to 0 in pre-training."""
    steps_per_layer: int = 500
    """Steps of pre-training of each layer; those that are left fine-tune. 0: no pre-training."""
    labels: int = 100
    """Training images that keep their label, equally many of each class."""
    label_seed: int = 0
    """Seed that draws them, whatever the run's seed is."""


@dataclass(frozen=True, kw_only=True)
class Config(gm.Images, gm.Optimisation):
    """A use of an autoencoder, and its training."""

    steps: int = 1000
    use: Map | Anomaly | Restoration | Pretraining = field(default_factory=Map)
    """Use, with the autoencoder's sizes."""


base = Config()
_restoration = replace(base, use=Restoration(), steps=800, batch_size=64, learning_rate=3e-3)
_pretraining = replace(base, use=Pretraining(), steps=2500)
_without = replace(base, use=Pretraining(steps_per_layer=0))
_bundled: Mapping[str, Config] = {
    "map": base,
    "anomaly": replace(base, use=Anomaly(), steps=500),
    "novelty": replace(base, use=Anomaly(against="digits")),
    "denoising": _restoration,
    "inpainting": replace(_restoration, use=Restoration(task="inpainting", channels=(24, 48)), steps=3000),
    "super_resolution": replace(_restoration, use=Restoration(task="super_resolution")),
    "pretraining": _pretraining,
    "no_pretraining": _without,
}
_mnist: Mapping[str, Any] = {"dataset": "mnist", "train_split": "train+validation", "evaluate_every": 0}
_published = ("map", "anomaly", "pretraining", "no_pretraining")
variants: Mapping[str, Config] = {
    **_bundled,
    **{f"mnist_{name}": replace(_bundled[name], **_mnist) for name in _published},
    "mnist_novelty": replace(base, use=Anomaly(against="fashion_mnist_bundled"), **_mnist),
}


def data(config: Config) -> "gm.Splits":
    """Images in [0, 1]: of the normal class alone, with anomalies to be found, or with a few labels, for their uses."""
    splits, use = gm.unit_images(config), config.use
    if isinstance(use, Pretraining):
        return gm.with_few_labels(splits.with_labels("fine-tuning"), use.labels, seed=use.label_seed)
    if not isinstance(use, Anomaly):
        return splits
    splits = splits.with_labels("telling anomalies from the rest")
    if use.against is None:
        return replace(splits, train=_of_class(splits.train, use.normal_class))
    test = None if splits.test is None else _beside(splits.test, use.against, "test", config.data_dir)
    if splits.held_out is None or splits.held_out is splits.test:
        return replace(splits, held_out=splits.held_out and test, test=test)
    return replace(splits, held_out=_beside(splits.held_out, use.against, "validation", config.data_dir), test=test)


def _of_class(part: "gm.Dataset", label: int) -> "gm.Dataset":
    """The examples of one class."""
    arrays = _in_memory(part)
    own = arrays["y"] == label
    if not own.any():
        raise ValueError(f"use.normal_class={label}: {part.name!r}, {part.split}, has no such class")
    left = f"{(~own).sum():,} examples of {part.split} of other classes than {label}"
    kept = {name: values[own] for name, values in arrays.items()}
    return replace(part, arrays=kept, passed_over=(*part.passed_over, left))


def _beside(part: "gm.Dataset", name: str, split: str, data_dir: str | None) -> "gm.Dataset":
    """The examples of a part, and behind them those of the named data set with a class of their own."""
    own, classes, (height, width, _) = _in_memory(part), part.num_classes or 0, part.shape
    other = gm.load(name, split, data_dir, size=(height, width))
    if other.shape != part.shape:
        raise ValueError(f"images of {part.name!r} are {part.shape}, but those of {name!r} {other.shape}: give another")
    pixels = np.rint(_in_memory(other)["x"] * ((part.levels - 1) / (other.levels - 1))).astype(np.uint8)
    label = np.full(len(other), classes, np.int32)
    arrays = {"x": np.concatenate([own["x"], pixels]), "y": np.concatenate([own["y"], label])}
    return replace(part, arrays=arrays, num_classes=classes + 1, name=f"{part.name} and {name}", meaning=None)


def _in_memory(part: "gm.Dataset") -> "Mapping[str, np.ndarray]":
    if part.arrays is None:
        raise ValueError(f"{part.name!r} is read from disk, and anomalies need it in memory: choose a smaller --size")
    return part.arrays


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The autoencoder of the use, for images of the data's shape."""
    use, dtype = config.use, config.precision
    match use:
        case Map():
            return gm.autoencoder(data.shape, latent=2, hidden=use.hidden, dtype=dtype)
        case Pretraining():
            stacked = gm.stacked_denoising_autoencoder(
                data.shape,
                latent=use.latent,
                hidden=use.hidden,
                steps_per_layer=use.steps_per_layer,
                classes=data.num_classes,
                corruption=gm.nn.corruptions.masking(use.level),
                dtype=dtype,
            )
            return gm.labelled_after(stacked, (len(use.hidden) + 1) * use.steps_per_layer)
        case Restoration():
            return gm.restoring_autoencoder(
                data.shape, corruption=_damage(use), channels=use.channels, layers=use.layers, dtype=dtype
            )
    return gm.autoencoder(data.shape, latent=use.latent, hidden=use.hidden, channels=use.channels, dtype=dtype)


def _damage(use: Restoration) -> Any:
    match use.task:
        case "denoising":
            return gm.nn.corruptions.gaussian(use.level)
        case "inpainting":
            return gm.nn.image_damage.missing_square(use.side)
    return gm.nn.image_damage.coarse(2)


def optimizer(config: Config) -> "gm.Optimizer":
    """That of the config's fields; of pre-training one for each layer, with the schedule of its own steps."""
    use, steps, layers = config.use, config.steps, 1
    if isinstance(use, Pretraining):
        layers = len(use.hidden) + 1
        steps = max(steps - (layers - 1) * use.steps_per_layer, config.warmup_steps + 1)
    rate = gm.schedule(config.schedule, config.learning_rate, steps, warmup_steps=config.warmup_steps)
    clip_norm = config.clip_norm or None
    tx = gm.optimizer(config.optimizer, rate, l2=config.l2, weight_decay=config.weight_decay, clip_norm=clip_norm)
    if not isinstance(use, Pretraining):
        return tx
    return gm.layer_by_layer(tx, layers=layers, steps_per_layer=use.steps_per_layer)


def measures(config: Config) -> "Sequence[gm.Measure]":
    """What the use is judged by, next to what does without learning, and a picture."""
    use, of = config.use, gm.measures
    match use:
        case Map():
            return (of.ReconstructionError(), of.NearestNeighbours(), of.PrincipalMap(), of.LatentWalk())
        case Anomaly():
            normal = use.normal_class if use.against is None else None
            return (of.AnomalyDetection(normal),)
        case Pretraining():
            return (of.Accuracy(), of.Confusion(), of.UnitPictures())
    damage, known = _damage(use), use.task == "inpainting"
    restorers = {
        "denoising": (of.total_variation(), of.non_local_means()),
        "inpainting": (of.biharmonic(),),
        "super_resolution": (of.bicubic(2),),
    }
    return (of.Restoration(damage, known), of.Restorers(damage, restorers[use.task], use.compared, known=known))


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    optimizer,
    swept=("pretraining", "no_pretraining"),
    tiny={
        "dataset": "digits",
        "batch_size": 16,
        "use.hidden": (16,),
        "use.latent": 8,
        "use.channels": (4,),
        "use.side": 4,
        "use.compared": 20,
        "use.steps_per_layer": 2,
        "use.labels": 20,
    },
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

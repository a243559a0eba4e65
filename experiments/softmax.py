"""Why are scores turned into probabilities by softmax, not divided by their sum, and what does a temperature change?

    python -m experiments.softmax                  # four normalisations, trained side by side
    python -m experiments.softmax plain            # scores divided by their sum: ends as diverged, status 3
    python -m experiments.softmax sweep --variants base --seeds 3

A perceptron of 64 rectifiers on Fashion-MNIST at 14x14, 5,000 steps of Adam at a constant rate of 0.003; its scores z
are made probabilities as `gen_models/models/supervised/normalised.py` says.

Hypothesis, before the runs: z / sum z has no logarithm where scores are negative, as about half of them are at the
start; absolute values and squares are probabilities, and train badly, as their slopes have no bound where z_y is near
0 and their signs carry nothing; softplus trains as softmax does.

Measured by the third command on one core of an AMD EPYC that other programs shared, half a minute of it a run; test
part, mean +- standard error over three seeds:

                accuracy            cross-entropy, nats
    softmax     0.859 +- 0.002      0.423 +- 0.007
    plain       the loss is NaN in the first step
    absolute    0.715 +- 0.032      0.808 +- 0.060
    squares     0.825 +- 0.011      0.529 +- 0.048
    softplus    0.863 +- 0.004      0.412 +- 0.011

Temperature: the cross-entropy on held-out images is least where softmax's logits are divided by 1.29 +- 0.03: by then
the network is surer than it is right. On the test part that takes the cross-entropy from 0.423 to 0.402 +- 0.004 nats
and the calibration error from 0.037 +- 0.003 to 0.020 +- 0.004, at the same accuracy (Guo et al., 2017).

All came out as expected. What softmax has over softplus is not seen in these figures: it is exact about shifts, has
one probability for any scores, and its slope for a class that is wrongly excluded stays 1, as softplus' does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

import gen_models as gm

TEMPERATURES = (0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 8.0)


@dataclass(frozen=True, kw_only=True)
class Config(gm.Images, gm.Optimisation):
    """A perceptron under each normalisation, and its training."""

    steps: int = 5000
    batch_size: int = 64
    size: int | None = 14
    """Height and width to which images are resized."""
    hidden: tuple[int, ...] = (64,)
    """Widths of the hidden layers."""
    normalisations: tuple[Literal["softmax", "plain", "absolute", "squares", "softplus"], ...] = (
        *("softmax", "absolute", "squares", "softplus"),
    )
    """Ways in which scores become probabilities."""


base = Config(learning_rate=3e-3, evaluate_every=0, schedule="constant")
variants: Mapping[str, Config] = {"base": base, "plain": replace(base, normalisations=("plain",))}


def data(config: Config) -> "gm.Splits":
    """Images in [0, 1] with labels."""
    return gm.unit_images(config).with_labels("a classifier")


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The same perceptron under each normalisation, side by side."""
    classes = data.num_classes or 2
    scores = gm.fully_connected(data.shape, classes, hidden=config.hidden)
    return gm.side_by_side({name: gm.normalised(scores, classes, name) for name in config.normalisations})


def costs(log_p: np.ndarray, labels: Any, temperature: float) -> tuple[float, float]:
    """Cross-entropy in nats and calibration error of log p [N, K] at a temperature."""
    logits = log_p / temperature
    logits = logits - np.logaddexp.reduce(logits, 1)[:, None]
    error = gm.metrics.expected_calibration_error(logits.astype(np.float32), labels)
    return float(-logits[np.arange(len(labels)), labels].mean()), float(error)


@dataclass(frozen=True)
class Normalisations:
    """What each normalisation reaches, what plain division makes of the scores of a start, and temperatures."""

    headline: ClassVar[tuple[str, Literal["maximize"]]] = ("accuracy", "maximize")

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """Accuracy, cross-entropy and zeros of each; negative shares at the start; softmax's best temperature."""
        found, labels = self._found(trained, split)
        best = max(float((log_p.argmax(1) == labels).mean()) for log_p in found.values())
        yield gm.Figure("accuracy", best, "fraction", split.where, note="the best of all", better="maximize")
        for name, log_p in found.items():
            right = float((log_p.argmax(1) == labels).mean())
            yield gm.Figure(f"{name}: accuracy", right, "fraction", split.where, better="maximize")
            cost = float(-log_p[np.arange(len(labels)), labels].mean())
            yield gm.Figure(f"{name}: cross-entropy", cost, "nats", split.where, better="minimize")
        if "softmax" not in found:
            return
        held, known = self._found(trained, split.held_out())
        by_cost = [costs(held["softmax"], known, each)[0] for each in np.geomspace(0.25, 8, 101)]
        temperature = float(np.geomspace(0.25, 8, 101)[int(np.argmin(by_cost))])
        yield gm.Figure("temperature", temperature, "", split.held_out().where, note="of the least cross-entropy")
        for name, each in (("at 1", 1.0), ("at the best", temperature)):
            nats, error = costs(found["softmax"], labels, each)
            yield gm.Figure(f"cross-entropy {name}", nats, "nats", split.where, better="minimize")
            yield gm.Figure(f"calibration error {name}", error, "fraction", split.where, better="minimize")

    def draw(self, trained: "gm.Trained", split: "gm.Split", key: Any, folder: Path) -> None:
        """Draw `softmax.png`: a probability and its slope against a score, and costs against the temperature."""
        z = np.linspace(-4, 4, 800)  # even, so that no sum of scores is 0
        scores = np.stack([z, np.full_like(z, 1.0), np.full_like(z, 0.5)], 1)
        with gm.plots.drawing(folder / "softmax.png", figsize=(11, 3.6), layout="constrained") as canvas:
            left, middle, right = canvas.subplots(1, 3)
            plain = z / scores.sum(1)
            left.plot(z, np.where(np.abs(plain) < 3, plain, np.nan), "k:", label="plain")
            for name in ("softmax", "absolute", "squares", "softplus"):
                log_p = np.asarray(gm.log_normalised(scores.astype(np.float32), name), np.float64)[:, 0]
                left.plot(z, np.exp(log_p), label=name)
                middle.plot(z, np.abs(np.gradient(-log_p, z)))
            left.set(ylim=(-0.6, 1.6), xlabel="score z", ylabel="p of z beside scores 1 and 0.5")
            middle.set(yscale="log", ylim=(1e-3, 1e2), xlabel="score z", ylabel="|slope of -log p|")
            left.legend(frameon=False, fontsize=8)
            found, labels = self._found(trained, split)
            if "softmax" in found:
                nats, errors = zip(*(costs(found["softmax"], labels, each) for each in TEMPERATURES), strict=True)
                right.plot(TEMPERATURES, nats, "o-", markersize=3, label="cross-entropy, nats")
                right.plot(TEMPERATURES, errors, "o-", markersize=3, label="calibration error")
                right.set(xscale="log", xlabel="temperature", ylim=(0, None))
                right.set_xticks((0.25, 0.5, 1, 2, 4, 8), ("0.25", "0.5", "1", "2", "4", "8"))
                right.minorticks_off()
                right.legend(frameon=False, fontsize=8)

    def _found(self, trained: "gm.Trained", split: "gm.Split") -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Name -> log p [N, K]; labels [N]."""
        part = split.whole()
        return trained.answers(part["x"]), part["y"]


def measures(config: Config) -> "Sequence[gm.Measure]":
    """What normalisations and temperatures change."""
    return (Normalisations(), gm.measures.Parameters())


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    swept=("base",),
    tiny={"dataset": "digits", "batch_size": 8, "size": 8, "hidden": (8,), "normalisations": ("softmax", "softplus")},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

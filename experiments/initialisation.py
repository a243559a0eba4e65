"""Which start keeps the variances of a deep network's activations and gradients, and which starts can be trained?

    python -m experiments.initialisation                 # ten hidden layers: 18 networks in one program
    python -m experiments.initialisation shallow         # two hidden layers; or deep: twenty; or adam
    python -m experiments.initialisation sweep --variants base shallow deep adam --seeds 3

Fashion-MNIST at 14x14, hidden layers of 64 units, gradient descent with momentum 0.9 and a constant rate of 0.02, 800
steps of 64 images. The starts are those of `gen_models/models/supervised/fully_connected.py`.

Hypothesis, before the runs. With kernels of variance s, a layer of n units multiplies the activations' root mean
square by sqrt(n s), and by sqrt(n s / 2) with the rectifier (He et al., 2015): so from the first of ten layers to the
last by 1 (he, orthogonal), 2^-4.5 = 0.044 (lecun, xavier) and (0.01 sqrt(32))^9 = 5.9e-12 (small). What vanishes
cannot be trained; zeros never, as all units of a layer stay equal. A sigmoid's slope is at most 1/4: its gradients
vanish whatever the start.

Measured by the third command on one core of an AMD EPYC that other programs shared, a CPU minute a run; test
accuracy, mean +- standard error over three seeds; sizes of activations, last layer over first, and of the gradient by
the first kernel, at the start:

                      sigmoid                tanh                                  relu
                  accuracy  gradient    accuracy         ratio     gradient    accuracy         ratio     gradient
    zeros          0.100    0            0.100                     0            0.100                     0
    small          0.100    2.2e-19      0.100           1.2e-10   2.2e-13      0.100           4.3e-12   4.2e-15
    lecun          0.100    1.2e-08      0.825 +- 0.006  0.357     0.0053       0.808 +- 0.005  0.034     0.00033
    xavier         0.100    1.2e-08      0.830 +- 0.005  0.336     0.0054       0.821 +- 0.001  0.037     0.00039
    he             0.100    1.2e-07      0.834 +- 0.005  0.809     0.0133       0.813 +- 0.004  0.74      0.0147
    orthogonal     0.100    1.1e-08      0.838 +- 0.009  0.387     0.0069       0.829 +- 0.006  0.85      0.0119

The rectifier's ratios are theory's but for the width: 64 units fluctuate, and the median falls below the mean. Of ten
layers of sigmoids none is trained, and no zero or small start with any activation, as expected. Not expected: with
ten layers, a start that lets the rectifier's signals fall to 0.034 ends no worse than He's within the errors. A
gradient that is forty times smaller costs some steps at first, no more.

Twenty layers say what ten do not: there a rectifier's signals fall to 0.0007 (lecun; theory 0.0014), and accuracies
part. Two layers forgive all starts but zeros, and of sigmoids small ones. Adam, whose steps do not depend on the size
of gradients, takes ten layers of sigmoids from 0.1 to 0.2, as if two classes were known, and so tanh from a small start
in two of three seeds. Test accuracies by the same command, half a CPU minute a run:

                  two layers                       twenty layers                    ten layers, Adam
                  sigmoid   tanh      relu         sigmoid   tanh      relu         sigmoid   tanh      relu
    zeros         0.100     0.100     0.100        0.100     0.100     0.100        0.100     0.100     0.100
    small         0.232     0.816     0.816        0.100     0.100     0.100        0.100     0.171     0.100
    lecun         0.754     0.838     0.833        0.100     0.809     0.443        0.199     0.822     0.831
    xavier        0.765     0.841     0.840        0.100     0.808     0.554        0.197     0.825     0.828
    he            0.775     0.840     0.846        0.100     0.801     0.743        0.200     0.834     0.831
    orthogonal    0.757     0.838     0.837        0.100     0.816     0.731        0.197     0.837     0.838
    +- at most    0.012     0.007     0.003                  0.013     0.115        0.001     0.036     0.009

The largest of the errors is that of lecun's start with twenty layers of rectifiers: 0.67, 0.32 and 0.34 by seed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

import gen_models as gm

ACTIVATIONS: tuple[Any, ...] = ("sigmoid", "tanh", "relu")
STARTS: tuple[Any, ...] = ("zeros", "small", "lecun", "xavier", "he", "orthogonal")


@dataclass(frozen=True, kw_only=True)
class Config(gm.Images, gm.Optimisation):
    """Networks of one depth with every activation and start, and their training."""

    steps: int = 800
    batch_size: int = 64
    size: int | None = 14
    """Height and width to which images are resized."""
    layers: int = 10
    """Number of hidden layers."""
    width: int = 64
    """Units of each hidden layer."""


base = Config(optimizer="momentum", learning_rate=0.02, schedule="constant", evaluate_every=0)
variants: Mapping[str, Config] = {
    "base": base,
    "shallow": replace(base, layers=2),
    "deep": replace(base, layers=20),
    "adam": replace(base, optimizer="adam", learning_rate=1e-3),
}


def data(config: Config) -> "gm.Splits":
    """Images with labels, whose pixels have a mean of about 0 and a variance of about 1."""
    splits = gm.unit_images(config).with_labels("a classifier")
    assert splits.evaluation is not None, "images have a transform"
    made = gm.compose(splits.evaluation, standard)
    return replace(splits, transform=made, evaluation=made)


def standard(batch: Any, key: Any) -> Any:
    """Pixels of Fashion-MNIST with its mean of 0.286 and deviation of 0.353 taken out."""
    return {**batch, "x": (batch["x"] - 0.286) / 0.353}


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """For each activation one network of as many copies as there are starts."""
    classes = data.num_classes or 2
    made = {}
    for name in ACTIVATIONS:
        of_starts = [
            gm.fully_connected(
                data.shape, classes, hidden=(config.width,) * config.layers, activation=name, initialisation=start
            )
            for start in STARTS
        ]
        made[name] = gm.copies(of_starts[0], len(STARTS), starts=of_starts)
    return gm.side_by_side(made)


@dataclass(frozen=True)
class Signals:
    """What reaches the last layer, and the first one back, at the start; and the accuracy after the training."""

    headline: ClassVar[tuple[str, Literal["maximize"]]] = ("accuracy", "maximize")

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """The best accuracy; each network's; and at the start last to first activations, and the gradient."""
        found, right = self._found(trained, split, key), self._right(trained, split)
        best = max(float(each.max()) for each in right.values())
        yield gm.Figure("accuracy", best, "fraction", split.where, note="the best of all", better="maximize")
        for name in ACTIVATIONS:
            forward, back = np.asarray(found.activations[name]), np.asarray(found.gradients[name])
            for i, start in enumerate(STARTS):
                label = f"{name}, {start}"
                yield gm.Figure(label, float(right[name][i]), "fraction", split.where, better="maximize")
                if start != "zeros":
                    yield gm.Figure(f"{label}: forward", float(forward[-1, i] / forward[0, i]), "ratio", "the start")
                    yield gm.Figure(f"{label}: first gradient", float(back[0, i]), "", "the start")

    def draw(self, trained: "gm.Trained", split: "gm.Split", key: Any, folder: Path) -> None:
        """Draw `signals.png`: sizes by layer at the start, and accuracies, a row for each activation."""
        found, right = self._found(trained, split, key), self._right(trained, split)
        with gm.plots.drawing(folder / "signals.png", figsize=(11, 8), layout="constrained") as canvas:
            axes = canvas.subplots(len(ACTIVATIONS), 3)
            for row, name in zip(axes, ACTIVATIONS, strict=True):
                for i, start in enumerate(STARTS):
                    for axis, sizes in zip(row, (found.activations[name], found.gradients[name]), strict=False):
                        size = np.asarray(sizes)[:, i]
                        axis.plot(range(1, len(size) + 1), np.where(size > 1e-30, size, np.nan), "o-", markersize=3)
                        axis.set_yscale("log")
                    row[2].barh(start, right[name][i])
                row[0].set_ylabel(name)
                row[2].set(xlim=(0, 1))
                row[2].invert_yaxis()
            for axis, title in zip(axes[0], ("size of activations", "size of gradients", "test accuracy"), strict=True):
                axis.set_title(title, fontsize=10)
            for axis in axes[-1, :2]:
                axis.set_xlabel("layer")

    def _found(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> Any:
        """Signals of fresh parameters, on 250 examples."""
        batch = next(iter(split.batches(250)))
        params, stats = trained.model.init(key, batch)
        return gm.evaluation.signals.of_copies(trained.model, params, stats, batch, key)

    def _right(self, trained: "gm.Trained", split: "gm.Split") -> dict[str, np.ndarray]:
        """Activation -> share of the split that is right, of each start."""
        part = split.whole()
        answers, labels = trained.answers(part["x"]), part["y"][:, None]
        return {name: (found.argmax(-1) == labels).mean(0) for name, found in answers.items()}


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Signals, and accuracies."""
    return (Signals(), gm.measures.Parameters())


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    tiny={"dataset": "digits", "batch_size": 8, "size": 8, "width": 4, "layers": 2},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

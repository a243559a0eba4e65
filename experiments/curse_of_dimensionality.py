"""What becomes of volumes, distances, neighbours and density estimates in many dimensions, and what does a network do?

    python -m experiments.curse_of_dimensionality
    python -m experiments.curse_of_dimensionality sweep --seeds 3

Closed forms (`gen_models/evaluation/high_dimensions.py`) with drawn points beside them; and a function y = sin(2 u)
of one direction u, the diagonal of a cube, which is learned from 1,000 points by the nearest neighbour and by a
network.

Hypothesis, before the runs: volume goes to the surface, distances become alike, neighbours know nothing from about
ten dimensions on; the network finds the direction and is hurt little.

Measured by the second command on one core of an AMD EPYC that other programs shared, in eight seconds of it a run, of
one draw of points: the share of a ball within 5 % of its surface, of a cube in its ball, the contrast (farthest -
nearest) / nearest of distances to a point (Beyer et al., 1999), the mean distance of the nearest of 1,000 points from a
ball's centre, exact but for the contrast, and test errors as shares of the variance of y, 1 being the error of the
mean, of the network with the standard error over three seeds:

    dimensions       1        2        3        5        10       20       50       100
    shell            0.050    0.098    0.143    0.226    0.401    0.642    0.923    0.994
    ball in cube     1        0.785    0.524    0.164    0.0025   2e-8     2e-28    2e-70
    contrast         488      32.8     13.2     7.8      3.3      1.5      0.72     0.40
    nearest          0.001    0.028    0.089    0.231    0.477    0.689    0.861    0.928
    neighbour        2e-5     0.008    0.058    0.305    1.01     1.48     1.73     1.88
    network          3e-6     0.0012   0.0117   0.045    0.207    0.558    1.343    1.391
    +-               1e-6     0.0003   0.0001   0.002    0.016    0.018    0.010    0.037

Examples that a density needs, with the best normal kernel, for a relative mean squared error of 0.1 at the mode of a
normal, from 1 to 10 dimensions: 4, 19, 67, 223, 768, 2788, 10,730, 43,684, 187,275, 841,566, which rounded are the
table of Silverman (1986): 4, 19, 67, 223, 768, 2790, 10,700, 43,700, 187,000, 842,000.

The nearest neighbour is worse than the mean of all from ten dimensions on: it has the noise of one example, so that
its error goes to 2. Otherwise than expected, the network does not escape either: it is better than the neighbour
everywhere, five to seven times in two to five dimensions, but with 1,000 points it is worse than the mean at 50
dimensions and above. A function of one direction can be learned from as many examples as there are dimensions by who
knows that it is one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

import gen_models as gm

DIMENSIONS = (1, 2, 3, 5, 10, 20, 50, 100)
SHELL = 0.05  # thickness


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """Points of several dimensions, and a network that learns a function along one direction of each."""

    steps: int = 3000
    batch_size: int = 100
    examples: int = 1000
    """Number of points for training, and as many test."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers."""


variants: Mapping[str, Config] = {"base": Config(learning_rate=3e-3, evaluate_every=0)}


def points(count: int, draw: np.random.Generator) -> dict[str, np.ndarray]:
    """x [N, 8, 100], drawn evenly from cubes of 1, 2, 3, ..., 100 dimensions, 0 beyond; y [N, 8], along one direction.

    Points are multiplied by sqrt(3 100 / D), so that all have the same mean square: y = sin(2 u), where u is the sum of
    a point's coordinates divided by sqrt(100), of unit variance.
    """
    x = draw.uniform(-1, 1, (count, len(DIMENSIONS), DIMENSIONS[-1]))
    size = np.array(DIMENSIONS)[:, None]
    x = np.where(np.arange(DIMENSIONS[-1]) < size, x * np.sqrt(3 * DIMENSIONS[-1] / size), 0)
    along = x.sum(-1) / np.sqrt(DIMENSIONS[-1])
    return {"x": x.astype(np.float32), "y": np.sin(2 * along).astype(np.float32)}


def data(config: Config) -> "gm.Splits":
    """Points of every number of dimensions."""
    draw = np.random.default_rng(0)
    train, test = points(config.examples, draw), points(config.examples, draw)
    return gm.Splits.of_arrays(train, test, name="cubes", examples="points")


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """One network for each number of dimensions; inputs that are always 0 do nothing."""
    one = gm.fully_connected((DIMENSIONS[-1],), 1, hidden=config.hidden, answer="numbers")
    return gm.copies(one, len(DIMENSIONS), own_data=True)


def contrast(x: np.ndarray) -> float:
    """(farthest - nearest) / nearest distance from the first point to the others (Beyer et al., 1999)."""
    distances = np.linalg.norm(x[1:] - x[0], axis=1)
    return float((distances.max() - distances.min()) / distances.min())


@dataclass(frozen=True)
class Curse:
    """Closed forms and what is drawn beside them, by the number of dimensions."""

    config: Config
    headline: ClassVar[tuple[str, Literal["minimize"]]] = ("network_error", "minimize")

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """The network's error in most dimensions; each number's figures, closed forms first."""
        names, table = self._table(trained, split)
        last = table[-1][names.index("error of the network")]
        note = f"of {DIMENSIONS[-1]} dimensions; 1: the mean of y"
        yield gm.Figure("network error", last, "of variance", split.where, note=note, better="minimize")
        for size, row in zip(DIMENSIONS, table, strict=True):
            for name, value in zip(names, row, strict=True):
                yield gm.Figure(f"{size}-D: {name}", value, "", split.where)
        for size in range(1, 11):
            needed = gm.evaluation.high_dimensions.examples_needed(size)
            yield gm.Figure(f"{size}-D: examples for a density", needed, "", "normal kernel, error 0.1 at the mode")

    def draw(self, trained: "gm.Trained", split: "gm.Split", key: Any, folder: Path) -> None:
        """Draw `curse.png`: volumes, distances, errors, and examples that a density needs."""
        names, table = self._table(trained, split)
        column = dict(zip(names, np.array(table).T, strict=True))
        with gm.plots.drawing(folder / "curse.png", figsize=(11, 6.4), layout="constrained") as canvas:
            volumes, distances, errors, needed = canvas.subplots(2, 2).ravel()
            for axis, exact, drawn in (
                (volumes, "shell of a ball", "shell of a ball, drawn"),
                (volumes, "ball in a cube", "ball in a cube, drawn"),
                (distances, "spread of norms", "spread of norms, drawn"),
            ):
                (line,) = axis.plot(DIMENSIONS, column[exact], label=exact)
                axis.plot(DIMENSIONS, column[drawn], "o", color=line.get_color(), markersize=4)
            distances.plot(DIMENSIONS, column["contrast"], "o-", markersize=4, label="contrast of distances")
            for name in ("error of the nearest neighbour", "error of the network"):
                errors.plot(DIMENSIONS, column[name], "o-", markersize=4, label=name)
            errors.axhline(1, color="grey", linewidth=0.8)
            sizes = range(1, 11)
            needed.plot(sizes, [gm.evaluation.high_dimensions.examples_needed(size) for size in sizes], "o-")
            needed.set(yscale="log", xlabel="dimensions", ylabel="examples for a density", xticks=sizes)
            for axis, title in ((volumes, "share of volume"), (distances, "ratio"), (errors, "share of the variance")):
                axis.set(xscale="log", xlabel="dimensions", ylabel=title)
                axis.legend(frameon=False, fontsize=8)
            distances.set_yscale("log")

    def _table(self, trained: "gm.Trained", split: "gm.Split") -> tuple[list[str], list[list[float]]]:
        """Names of columns; a row for each number of dimensions."""
        (x, y), (known, values) = self._arrays(split), self._arrays(split.train())
        answers = trained.answers(x.astype(np.float32))
        closed, table = gm.evaluation.high_dimensions, []
        for i, size in enumerate(DIMENSIONS):
            cube = known[:, i, :size] / np.sqrt(3 * DIMENSIONS[-1] / size)
            mean, deviation = closed.norm_of_normal(size)
            variance = y[:, i].var()
            nearest = gm.evaluation.neighbours.nearest_neighbours(x[:, i, :size], known[:, i, :size]).indices[:, 0]
            row = {
                "ball in a cube": closed.ball_in_cube(size),
                "ball in a cube, drawn": float((np.linalg.norm(cube, axis=1) < 1).mean()),
                "shell of a ball": closed.shell_of_ball(size, SHELL),
                "shell of a ball, drawn": self._shell(size),
                "spread of norms": deviation / mean,
                "spread of norms, drawn": self._spread(size),
                "contrast": contrast(cube),
                "nearest of a ball": closed.nearest_distance(size, self.config.examples),
                "error of the nearest neighbour": float(((values[nearest, i] - y[:, i]) ** 2).mean() / variance),
                "error of the network": float(((answers[:, i, 0] - y[:, i]) ** 2).mean() / variance),
            }
            table.append(list(row.values()))
        return list(row), table

    def _shell(self, size: int) -> float:
        """Share of points drawn in a ball that lie in its shell: a normal direction, a radius of power 1 / D."""
        radius = np.random.default_rng(1).random(self.config.examples) ** (1 / size)
        return float((radius > 1 - SHELL).mean())

    def _spread(self, size: int) -> float:
        """Deviation of |x| over its mean, of drawn normal x."""
        norms = np.linalg.norm(np.random.default_rng(1).standard_normal((self.config.examples, size)), axis=1)
        return float(norms.std() / norms.mean())

    def _arrays(self, split: "gm.Split") -> tuple[np.ndarray, np.ndarray]:
        part = split.whole()
        return np.asarray(part["x"], np.float64), np.asarray(part["y"], np.float64)


def measures(config: Config) -> "Sequence[gm.Measure]":
    """What becomes of volumes, distances and errors."""
    return (Curse(config), gm.measures.Parameters())


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    tiny={"batch_size": 8, "examples": 40, "hidden": (4,)},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

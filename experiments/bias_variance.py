"""How do capacity, data and regularisation trade bias for variance?

    python -m experiments.bias_variance                  # 20 examples a data set: polynomials and networks
    python -m experiments.bias_variance more             # 100 examples

50 data sets of y = sin(4 x) + N(0, 0.3) at 20 evenly spaced x in [-1, 1], and fits to each: polynomials by least
squares, whose squared bias and variance have a closed form (`gen_models/evaluation/bias_variance.py`), and networks
of tanh, 3,000 steps of Adam on all examples. Early stopping alone is given five more examples, to stop by.

Hypothesis, before the runs: bias falls and variance grows with the degree, and likewise with the width of a network;
regularisers take variance and add some bias.

Measured by the first command on one core of an AMD EPYC that other programs shared; the noise of 0.09 is not counted:

    degree                    0        1        3        5        7        9        12
    bias^2, exact             0.439    0.400    0.031    4e-4     2e-6     1e-8     4e-11
    variance, exact           0.0045   0.0090   0.018    0.029    0.042    0.070    0.52
    variance, 50 data sets    0.0043   0.0094   0.019    0.030    0.044    0.074    0.55

    units of one layer        1        2        4        8        16       64       256
    bias^2                    0.273    0.011    1e-4     2e-4     9e-5     1e-4     5e-4
    variance                  0.021    0.045    0.038    0.043    0.044    0.041    0.038

    two layers of 64          bias^2    variance    sum, +- standard error over data sets
    no regulariser            3e-4      0.097       0.097 +- 0.005
    early stopping            0.005     0.052       0.057 +- 0.005
    L2, 0.003                 5e-4      0.033       0.034 +- 0.002
    L1, 0.0003                2e-4      0.053       0.053 +- 0.004
    dropout, 0.1              0.009     0.042       0.051 +- 0.003
    noise of inputs, 0.1      0.010     0.025       0.035 +- 0.002

Polynomials do as the textbook says, and the estimates as the closed form. Against the hypothesis, one hidden layer
does not: from four units to 256 the variance stays at 0.04, as wide layers find smooth fits in 3,000 steps, and not
the wildest that they could be. Two layers do fit noise, and each regulariser helps them; L2 costs next to no bias
here, and noise of the inputs the most, as it smooths the sine itself. The best network, 0.034, is no better than the
best polynomial, 0.029 at degree 5.

With 100 examples (second command) variances fall to between a quarter and a seventh, and biases stay: no regulariser
0.015, early stopping 0.0125, L2 0.006, L1 0.008, noise of the inputs 0.014, and dropout 0.024 in all. What helped
with 20 examples by smoothing gains nothing then, and dropout harms: its bias of 0.016 is more than the variance that
is left.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

import gen_models as gm

DEGREES = tuple(range(13))
WIDTHS = (1, 2, 4, 8, 16, 64, 256)
GRID = np.linspace(-1, 1, 401)


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """Data sets of a known function, and networks fitted to each."""

    steps: int = 3000
    batch_size: int = 20
    """Examples in each data set, all of which each step sees; a quarter as many are held out for early stopping."""
    sets: int = 50
    """Number of data sets."""
    noise: float = 0.3
    """Standard deviation of the noise."""
    width: int = 64
    """Units of each of two hidden layers of the regularised networks."""
    dropout: float = 0.1
    """Probability with which a unit of the network with dropout is dropped."""
    penalty_l1: float = 3e-4
    """Weight of the absolute kernels in the loss of the network with L1."""
    penalty_l2: float = 3e-3
    """Weight of the squared kernels, halved, in the loss of the network with L2."""
    jitter: float = 0.1
    """Standard deviation of the noise of inputs of the network with augmentation."""


base = Config(learning_rate=1e-2, evaluate_every=0)
variants: Mapping[str, Config] = {"base": base, "more": replace(base, batch_size=100)}


def truth(x: np.ndarray) -> np.ndarray:
    """The function that all data sets are of."""
    return np.sin(4 * x)


def inputs(config: Config) -> np.ndarray:
    """The inputs [N] that all data sets have: evenly spaced, so that least squares has a closed form."""
    return (np.arange(config.batch_size) + 0.5) / config.batch_size * 2 - 1


def data(config: Config) -> "gm.Splits":
    """A row of every data set an example: x [N, sets, 1], y [N, sets]; held-out rows are repeated to be as many."""
    if config.sets < 2:
        raise ValueError(f"--sets must be 2 or more, as variance is over data sets, got {config.sets}")
    draw, x = np.random.default_rng(0), np.repeat(inputs(config)[:, None], config.sets, 1)
    rows = np.arange(len(x)) % max(1, len(x) // 4)
    held = draw.uniform(-1, 1, x.shape)
    y, held_y = (truth(each) + config.noise * draw.standard_normal(x.shape) for each in (x, held))
    arrays = {"x": x[..., None], "y": y, "held_x": held[rows][..., None], "held_y": held_y[rows]}
    return gm.Splits.of_arrays(
        {name: values.astype(np.float32) for name, values in arrays.items()}, name="a sine", examples="rows"
    )


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """Networks of several widths, and regularised ones, each fitted to all data sets."""
    sizes: dict[str, Any] = {"answer": "numbers", "activation": "tanh", "initialisation": "xavier"}
    made = {f"{width} units": gm.fully_connected((1,), 1, hidden=(width,), **sizes) for width in WIDTHS}
    large = gm.fully_connected((1,), 1, hidden=(config.width,) * 2, **sizes)
    made["none"] = large
    made["early stopping"] = gm.early_stopped(large)
    made["L2"] = gm.penalised(large, l2=config.penalty_l2)
    made["L1"] = gm.penalised(large, l1=config.penalty_l1)
    made["dropout"] = gm.fully_connected((1,), 1, hidden=(config.width,) * 2, dropout=config.dropout, **sizes)
    made["augmentation"] = gm.noisy_inputs(large, config.jitter)
    return gm.side_by_side({name: gm.copies(one, config.sets, own_data=True) for name, one in made.items()})


REGULARISERS = ("none", "early stopping", "L2", "L1", "dropout", "augmentation")


def powers(x: np.ndarray, degree: int) -> np.ndarray:
    """Legendre polynomials up to a degree, [N, degree + 1]: the same fits as of powers, well conditioned."""
    return np.polynomial.legendre.legvander(x, degree)


@dataclass(frozen=True)
class Decomposition:
    """Bias and variance of polynomials, estimated and in closed form, and of networks."""

    config: Config
    headline: ClassVar[tuple[str, Literal["minimize"]]] = ("excess_error", "minimize")

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """The least excess error of a network; squared bias and variance of each fit."""
        where = f"{self.config.sets} data sets of {self.config.batch_size}, noise {self.config.noise:g}"
        networks = self._networks(trained)
        totals = {name: sum(found) for name, found in networks.items()}
        least = min(totals, key=totals.__getitem__)
        note = f"bias^2 + variance, without the noise; the best network: {least}"
        yield gm.Figure("excess error", totals[least], "", where, note=note, better="minimize")
        for degree in DEGREES:
            for name, found in (("", self._polynomial(split, degree)), (", exact", self._exact(degree))):
                yield gm.Figure(f"degree {degree}: bias^2{name}", found.bias_squared, "", where)
                yield gm.Figure(f"degree {degree}: variance{name}", found.variance, "", where)
        for name, found in networks.items():
            yield gm.Figure(f"{name}: bias^2", found.bias_squared, "", where, better="minimize")
            yield gm.Figure(f"{name}: variance", found.variance, "", where, better="minimize")
            errors = ((self._answers(trained)[name] - truth(GRID)) ** 2).mean(1)
            spread = float(errors.std(ddof=1) / np.sqrt(len(errors)))
            note = "bias^2 + variance; the spread is over data sets"
            yield gm.Figure(f"{name}: excess", float(errors.mean()), "", where, spread, note, "minimize")

    def draw(self, trained: "gm.Trained", split: "gm.Split", key: Any, folder: Path) -> None:
        """Draw `trade.png`: by degree, by width, by regulariser."""
        networks = self._networks(trained)
        with gm.plots.drawing(folder / "trade.png", figsize=(11, 3.7), layout="constrained") as canvas:
            left, middle, right = canvas.subplots(1, 3)
            exact = [self._exact(degree) for degree in DEGREES]
            fits = [self._polynomial(split, degree) for degree in DEGREES]
            wide = [networks[f"{width} units"] for width in WIDTHS]
            for i, name in enumerate(("bias^2", "variance")):
                left.plot(DEGREES, [each[i] for each in exact], color=f"C{i}", label=f"{name}, exact")
                left.plot(DEGREES, [max(each[i], 1e-6) for each in fits], "o", color=f"C{i}", markersize=3)
                middle.plot(WIDTHS, [max(each[i], 1e-6) for each in wide], "o-", color=f"C{i}", markersize=3)
            left.plot(DEGREES, [sum(each) for each in exact], "k:", label="sum")
            middle.plot(WIDTHS, [sum(each) for each in wide], "k:")
            left.set(yscale="log", ylim=(1e-4, 2), xlabel="degree of a polynomial")
            middle.set(yscale="log", xscale="log", ylim=(1e-4, 2), xlabel="units of one hidden layer")
            left.legend(frameon=False, fontsize=8)
            bias = [max(networks[name].bias_squared, 0) for name in REGULARISERS]
            right.barh(REGULARISERS, bias, label="bias^2")
            right.barh(REGULARISERS, [networks[name].variance for name in REGULARISERS], left=bias, label="variance")
            right.invert_yaxis()
            right.set(xlabel=f"two hidden layers of {self.config.width} units")
            right.legend(frameon=False, fontsize=8)

    def _networks(self, trained: "gm.Trained") -> dict[str, Any]:
        """Network -> its bias and variance."""
        decompose = gm.evaluation.bias_variance.decompose
        return {name: decompose(fits, truth(GRID)) for name, fits in self._answers(trained).items()}

    def _answers(self, trained: "gm.Trained") -> dict[str, np.ndarray]:
        """Network -> its fit to each data set, [sets, 401]."""
        x = np.repeat(GRID[:, None, None], self.config.sets, 1).astype(np.float32)
        return {name: fits[..., 0].T for name, fits in trained.answers(x).items()}  # of [401, sets, 1]

    def _polynomial(self, split: "gm.Split", degree: int) -> Any:
        y = np.asarray(split.dataset.arrays["y"], np.float64)  # type: ignore[index]
        fits = np.linalg.lstsq(powers(inputs(self.config), degree), y, rcond=None)[0]
        return gm.evaluation.bias_variance.decompose((powers(GRID, degree) @ fits).T, truth(GRID))

    def _exact(self, degree: int) -> Any:
        x = inputs(self.config)
        known = (powers(x, degree), truth(x), powers(GRID, degree), truth(GRID))
        return gm.evaluation.bias_variance.of_least_squares(*known, sigma=self.config.noise)


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Bias and variance."""
    return (Decomposition(config), gm.measures.Parameters())


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    tiny={"batch_size": 16, "sets": 2, "width": 2},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

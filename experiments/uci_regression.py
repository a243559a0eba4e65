"""How near do a perceptron with one hidden layer, and one that learns its deviation too, come to published errors?

    python -m experiments.uci_regression concrete --data-dir FOLDER    # or energy, power, wine, yacht: uci_NAME in it
    python -m experiments.uci_regression                               # Friedman's generated function, no data needed

The 20 fixed splits of a table are trained at once, as members of one model; each is standardised by its own training
part. One hidden layer of 50 units, as published, and 8,000 steps, 119 (power) to 4,000 (yacht) epochs. Dropout
is 0.05, and 0.02 on energy, chosen by --measured validation, a fifth of each training part: 0.550, 0.501 and 0.502 at
0.05, 0.02 and 0.005 (energy); 0.67 at 0.05, and at 0 with an l2 of 0, 1e-4, 1e-3 and 1e-2 0.99, 0.87, 0.83 and 1.36
(yacht). The other tables' dropout was not tuned.

With --passes 1000 Monte Carlo dropout (Gal & Ghahramani, 2016) is measured too: means of 1,000 passes that drop units,
and the likelihood of observations of one precision about each. Its standard deviation is the best of a validation
(--measured validation --passes 200), one for all splits: 0.24 (concrete), 0.039, 0.22, 0.75 and 0.024 (yacht), in
units of the target's own over the training part.

Measured on the test parts by `python -m experiments.uci_regression concrete --data-dir FOLDER --passes 1000`, and so
on, seed 0, mean +- standard error over the 20 splits; training takes 43 to 58 s each on a core of an AMD EPYC that
other programs shared. Published: Monte Carlo dropout, tuned for each split (Mukhoti et al., On the Importance of Strong
Baselines in Bayesian Deep Learning, 2018; the table of its authors' code, yaringal/DropoutUncertaintyExps, "grid
search"), with dropout of the inputs too, which ours lacks. RMSE without dropout in predictions, and with:

              RMSE             passes           published      linear           the mean
    concrete  4.86 +- 0.13     4.86 +- 0.13     4.82 +- 0.16   10.31 +- 0.15    16.35 +- 0.18
    energy    0.504 +- 0.015   0.505 +- 0.015   0.54 +- 0.06   3.06 +- 0.06     10.10 +- 0.11
    power     4.054 +- 0.036   4.055 +- 0.037   4.01 +- 0.04   4.613 +- 0.030   17.13 +- 0.05
    wine      0.623 +- 0.009   0.623 +- 0.009   0.62 +- 0.01   0.654 +- 0.008   0.821 +- 0.012
    yacht     0.539 +- 0.054   0.541 +- 0.054   0.67 +- 0.05   8.97 +- 0.28     14.54 +- 0.61

Without --passes dropout is an input of the compiled program and not a constant, which rounds otherwise: then it is
4.87, 0.502, 4.055, 0.623 and 0.550 after the same steps.

Log-likelihood of the passes, in nats:

              measured         published
    concrete  -2.980 +- 0.025  -2.93 +- 0.02
    energy    -0.765 +- 0.024  -1.21 +- 0.01
    power     -2.816 +- 0.009  -2.80 +- 0.01
    wine      -0.938 +- 0.013  -0.93 +- 0.01
    yacht     -0.72 +- 0.10    -1.25 +- 0.01

Those of concrete and power are not reached, by at most two standard errors; on energy and yacht the published
ones are well below ours. The mean of passes is no better than one pass without dropout.

With --answer normal, by the same settings: RMSE, log-likelihood in nats, and how many are in intervals of 90 %:

    concrete  5.30 +- 0.15     -3.09 +- 0.08    0.872 +- 0.010
    energy    1.59 +- 0.17     -2.48 +- 0.78    0.867 +- 0.012
    power     4.063 +- 0.036   -2.799 +- 0.008  0.928 +- 0.001
    wine      0.640 +- 0.009   -184 +- 183      0.843 +- 0.007
    yacht     0.557 +- 0.062   -1.64 +- 0.34    0.710 +- 0.024

So a learned deviation costs accuracy on concrete, energy and wine, its intervals are too narrow but for power's, and in
one split of wine, whose qualities are whole numbers, it comes near 0 where it should not. An earlier run of energy
without it at dropout 0.05, before the choice, had 0.597 +- 0.021.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

import gen_models as gm

FOLDERS = {
    "concrete": "uci_concrete",
    "energy": "uci_energy",
    "power": "uci_power-plant",
    "wine": "uci_wine-quality-red",
    "yacht": "uci_yacht",
}

DEVIATIONS = tuple(0.02 * 1.1**k for k in range(45))  # 0.02 to 1.33, of which the best is said


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """A perceptron on the splits of a table."""

    steps: int = 8000
    batch_size: int = 128
    dataset: Literal["friedman", "concrete", "energy", "power", "wine", "yacht"] = "friedman"
    """Table: Friedman's function, generated, or one of UCI's."""
    data_dir: Annotated[str | None, gm.INCIDENTAL] = None
    """Folder of the tables uci_concrete, uci_energy, uci_power-plant, uci_wine-quality-red and uci_yacht."""
    measured: Literal["test", "validation"] = "test"
    """Part of each split that is measured: the test part, or a fifth of the training part, then not trained."""
    answer: Literal["numbers", "normal"] = "numbers"
    """Head of the network: a number by its squared error, or a normal distribution by its likelihood."""
    hidden: tuple[int, ...] = (50,)
    """Widths of the hidden layers."""
    dropout: Annotated[float, gm.TRACED, gm.Range(0.0, 0.2)] = 0.05
    """Probability of dropping a hidden unit."""
    passes: int = 0
    """Number of passes with dropout in further figures, those of Monte Carlo dropout; 0: there are none."""
    deviation: float = 0.3
    """Standard deviation of observations about a pass, in that of the target."""


base = Config(learning_rate=0.01, evaluate_every=0, checkpoint_every=0, log_every=500)
variants: Mapping[str, Config] = {
    "friedman": base,
    "friedman_normal": replace(base, answer="normal"),
    "concrete": replace(base, dataset="concrete", deviation=0.24),
    "energy": replace(base, dataset="energy", dropout=0.02, deviation=0.039),
    "power": replace(base, dataset="power", deviation=0.22),
    "wine": replace(base, dataset="wine", deviation=0.75),
    "yacht": replace(base, dataset="yacht", deviation=0.024),
}


def friedman(count: int = 500, splits: int = 20) -> Any:
    """Friedman's first function (1991) with noise of deviation 1, and random tenths as test parts."""
    draw = np.random.default_rng(0)
    x = draw.uniform(size=(count, 10))
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    order = np.stack([draw.permutation(count) for _ in range(splits)])
    return gm.FixedSplits(x, y + draw.normal(size=count), order[:, count // 10 :], order[:, : count // 10])


def side_by_side(table: Any, train: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Of rows [S, N] of S splits {"x" [N, S, D], "y", "mean", "scale" [N, S]}, standardised by the rows `train`."""
    fields: dict[str, list[np.ndarray]] = {"x": [], "y": [], "mean": [], "scale": []}
    for own, taken in zip(train, rows, strict=True):
        x, y = table.x[own], table.y[own]
        deviation = np.where(x.std(0) > 0, x.std(0), 1)
        fields["x"].append((table.x[taken] - x.mean(0)) / deviation)
        fields["y"].append((table.y[taken] - y.mean()) / y.std())
        fields["mean"].append(np.full(len(taken), y.mean()))
        fields["scale"].append(np.full(len(taken), y.std()))
    return {name: np.stack(each, 1).astype(np.float32) for name, each in fields.items()}


def data(config: Config) -> "gm.Splits":
    """The splits of the table side by side; ValueError where its folder is not given or not there."""
    if config.dataset == "friedman":
        table = friedman()
    elif config.data_dir is None:
        raise ValueError(f"{config.dataset} is no part of this package: give --data-dir, a folder with the table's")
    else:
        table = gm.fixed_splits(Path(config.data_dir) / FOLDERS[config.dataset])
    train, measured = table.train, table.test
    if config.measured == "validation":
        fifth = train.shape[1] // 5
        shuffled = np.stack([np.random.default_rng(k).permutation(rows) for k, rows in enumerate(train)])
        train, measured = shuffled[:, fifth:], shuffled[:, :fifth]
    parts = [side_by_side(table, train, rows) for rows in (train, measured)]
    return gm.Splits.of_arrays(*parts, name=config.dataset, examples="examples of each split", how=config.measured)


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The network, as many times as there are splits."""
    members, features = data.shape
    sizes: dict[str, Any] = {"hidden": config.hidden, "dropout": config.dropout, "answer": config.answer}
    return gm.copies(gm.mlp((features,), 1, **sizes, dtype=config.precision), members, own_data=True)


def _said(model: "gm.Model", params: Any, stats: Any, batch: Any, key: Any) -> Any:
    return model.apply(params, stats, batch["x"])[..., 0]


def _normal(model: "gm.Model", params: Any, stats: Any, batch: Any, key: Any) -> Any:
    return model.apply(params, stats, batch["x"], deviations=True)[1][..., 0]


@dataclass(frozen=True)
class Errors:
    """Root mean squared errors over the splits, in the table's units, beside those of a mean and of a line."""

    answer: str
    headline: ClassVar[tuple[str, Literal["minimize"]]] = ("rmse", "minimize")

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """Mean over the splits with its standard error: of the network, of linear regression, of the training mean."""
        arrays: Any = split.dataset.arrays
        y, scale = (arrays[name].astype(np.float64) for name in ("y", "scale"))
        found = split.each(_said, trained, key, size=500)
        said = {"RMSE": found, "RMSE, linear": linear(split), "RMSE, mean": np.zeros_like(y)}
        for name, values in said.items():
            each = np.sqrt((((values - y) * scale) ** 2).mean(0))
            yield over_splits(name, each, "", split.where, "minimize")
        if self.answer == "normal":
            deviation = split.each(_normal, trained, key, size=500)
            nats = -0.5 * ((y - found) / deviation) ** 2 - np.log(deviation * scale) - 0.5 * np.log(2 * np.pi)
            yield over_splits("log-likelihood", nats.mean(0), "nats", split.where, "maximize")
            inside = (np.abs(y - found) <= 1.6448536 * deviation).mean(0)
            yield over_splits("in 90% intervals", inside, "fraction", split.where, None)

    def draw(self, trained: "gm.Trained", split: "gm.Split", key: Any, folder: Path) -> None:
        """Draw `predictions.png`: predictions against truth, of all splits, in the table's unit."""
        arrays: Any = split.dataset.arrays
        found = split.each(_said, trained, key, size=500)
        truth, said = (
            (values * arrays["scale"] + arrays["mean"]).ravel() for values in (arrays["y"].astype(np.float64), found)
        )
        ends = [truth.min(), truth.max()]
        curves = {
            "predictions": gm.plots.Curve(truth, said, style="o"),
            "truth": gm.plots.Curve(ends, ends, style="--"),
        }
        gm.plots.panels({split.data.name: curves}, folder / "predictions.png", x="truth", y="prediction")


@dataclass(frozen=True)
class DropoutErrors:
    """What `Errors` says of Monte Carlo dropout, and its log-likelihood."""

    passes: int
    deviation: float  # in units of the target's own
    choose: bool  # whether the deviation of the largest likelihood is said
    reads_traced: ClassVar[bool] = True  # the dropout of the predictions is that of training

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """Mean over the splits with its standard error: of RMSE, and of the log-likelihood in nats."""
        arrays: Any = split.dataset.arrays
        y, scale = (arrays[name].astype(np.float64) for name in ("y", "scale"))
        passes = gm.measures.dropout_passes(trained, split, key, self.passes)[..., 0]
        each = np.sqrt((((passes.mean(1) - y) * scale) ** 2).mean(0))
        yield over_splits("RMSE, dropout", each, "", split.where, "minimize")
        nats = gm.measures.mixture_log_likelihood(passes, y, self.deviation) - np.log(scale)
        yield over_splits("log-likelihood, dropout", nats.mean(0), "nats", split.where, "maximize")
        if self.choose:
            found = [gm.measures.mixture_log_likelihood(passes, y, each).mean() for each in DEVIATIONS]
            yield gm.Figure("best deviation", DEVIATIONS[int(np.argmax(found))], "", split.where)


def over_splits(name: str, each: np.ndarray, unit: str, where: str, better: Any) -> "gm.Figure":
    """The mean of one number a split, with its standard error over the splits."""
    error = float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else None
    return gm.Figure(name, float(each.mean()), unit, where, error, f"over {len(each)} splits", better)


def linear(split: "gm.Split") -> np.ndarray:
    """What linear regression on each split's training part says of the split's measured examples, [N, S]."""
    train: Any = split.train().dataset.arrays
    arrays: Any = split.dataset.arrays
    members = range(train["y"].shape[1])
    fits = [gm.fit_linear({"x": train["x"][:, k], "y": train["y"][:, k]}, l2=1e-6) for k in members]
    return np.concatenate([fit.predict(arrays["x"][:, k]) for k, fit in zip(members, fits, strict=True)], 1)


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Errors over the splits, and those of Monte Carlo dropout where it is asked for."""
    own = (Errors(config.answer), gm.measures.Parameters())
    if not config.passes:
        return own
    return (*own, DropoutErrors(config.passes, config.deviation, config.measured == "validation"))


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    swept=("friedman", "friedman_normal"),
    tiny={"batch_size": 16, "dataset": "friedman", "hidden": (3,)},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

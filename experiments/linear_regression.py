"""How exact is linear regression in closed form, and how fast do gradient methods come to the same coefficients?

    python -m experiments.linear_regression                       # closed form, and four methods' errors by step
    python -m experiments.linear_regression gradient              # the same model by the ordinary training step
    python -m experiments.linear_regression curve                 # a polynomial with its intervals
    python -m experiments.linear_regression nist --nist FOLDER    # the digits of NIST's 11 linear sets

The generated data have columns whose curvatures (eigenvalues of the Hessian of the mean squared error) run from 2 /
condition to 2. `descent.png` has the training loss above its minimum by step: full-batch gradient descent and heavy
ball at theory's best constants, minibatches of 16, and Adam, on data of condition 10 and 1,000, with what theory
predicts dashed: the exact course of gradient descent, sum_i h_i / 2 (1 - rate h_i)^2t a_i^2 along axes of curvature
h_i, and heavy ball's slope ((sqrt k - 1) / (sqrt k + 1))^2 a step.

Measured by the first command (seed 0, 7 CPU seconds of an AMD EPYC's core that other programs shared), the factor by
which the excess falls in a step, in theory beside it: gradient descent 0.6693 (0.6693) at condition 10 and 0.9955
(0.9955) at 1,000; heavy ball 0.311 (0.270) and 0.893 (0.881), which is slower than its slope as long as t steps matter
in t^2 slope^t, of a double root. Adam at the best of six rates is slower than heavy ball at condition 10 and 1,000, and
minibatches stop at the noise of their gradients. The closed form's prediction intervals of 95 % hold 0.949 +- 0.014 of
256 test examples.

By the last command, in 5 CPU seconds: correct digits (-log10 of the largest relative error against the rational
solution, of 15) of coefficients, their standard errors and the residual deviation:

    Norris 13.9 14.0 14.0      Pontius 13.5 13.8 13.8     NoInt1 15 15 15    NoInt2 15 15 15
    Filip 14.2 15 15.0         Longley 14.7 12.7 15       Wampler1 15 15 15  Wampler2 13.2 15 15
    Wampler3, 4 and 5 15 13.8 15

On the powers of Filip's x as float64 columns the same QR has 7.6, 8.6 and 9.6 digits, and R's `lm` gives up its last
coefficient. The rational solution is what the files print, to their last digit, but for two misprints in these files:
a standard error of Norris (4.30E-07, and it is 4.30E-04) and one of Wampler5 (which is Wampler4's).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

import gen_models as gm

CONDITIONS = (10.0, 1000.0)
ADAM_RATES = {10.0: 0.1, 1000.0: 1.0}  # the best of 0.003, 0.01, 0.03, 0.1, 0.3 and 1 after 300 steps
DEGREE = 5  # of the curve's polynomial


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """Linear regression, in closed form or by gradient."""

    steps: int = 1
    batch_size: int = 256
    fit: Literal["closed", "gradient"] = "closed"
    """Way to the coefficients: in closed form, before the first step, or from zeros by the steps."""
    task: Literal["generated", "curve"] = "generated"
    """Data: columns of a given condition, or powers of one number along a curve."""
    condition: float = 10.0
    """Largest over smallest curvature of the loss on the generated data."""
    features: int = 8
    """Number of columns of the generated data."""
    examples: int = 256
    """Number of training examples; as many others test."""
    noise: float = 0.5
    """Standard deviation of the noise of y."""
    nist: str | None = None
    """Folder of NIST's linear sets, whose certified digits are then figures."""
    descent_steps: int = 300
    """Steps of the methods in descent.png."""


base = Config(learning_rate=0.0, schedule="constant", evaluate_every=0)
variants: Mapping[str, Config] = {
    "closed": base,
    "gradient": replace(base, fit="gradient", optimizer="sgd", learning_rate=0.9, steps=300),
    "adam": replace(base, fit="gradient", optimizer="adam", learning_rate=0.03, steps=300),
    "curve": replace(base, task="curve", examples=40, batch_size=40),
    "nist": base,
}


def generated(count: int, features: int, condition: float, noise: float, seed: int) -> Any:
    """{"x" [count, features], "y" [count]}: curvatures of exactly this condition, coefficients of 1 and -1 along axes.

    The columns have the mean 0, so that the intercept's curvature is 2, the largest.
    """
    draw = np.random.default_rng(seed)
    normal = draw.normal(size=(count, features))
    spread = np.sqrt(np.geomspace(1 / condition, 1, features))
    turned = np.linalg.qr(np.random.default_rng(99).normal(size=(features, features)))[0]
    axes = np.linalg.qr(normal - normal.mean(0))[0] * np.sqrt(count)
    x = (axes * spread) @ turned
    y = 1 + x @ (turned.T @ (np.where(np.arange(features) % 2, -1.0, 1.0) / spread)) + noise * draw.normal(size=count)
    return {"x": x.astype(np.float32), "y": y.astype(np.float32)}


def curve(count: int, noise: float, seed: int) -> Any:
    """{"x" [count, DEGREE], "y" [count]}: powers of a number on [-1, 1], and sin 3x with noise."""
    draw = np.random.default_rng(seed)
    number = np.sort(draw.uniform(-1, 1, (count, 1))).astype(np.float32)
    y = np.sin(3 * number[:, 0]) + noise / 2 * draw.normal(size=count)
    return {"x": np.asarray(gm.polynomial_features(DEGREE)({"x": number}, None)["x"]), "y": y.astype(np.float32)}


def data(config: Config) -> "gm.Splits":
    """Training and test examples; ValueError for too few of them, or a condition below 1."""
    if config.condition < 1 or config.examples < 2 * (config.features + 2):
        raise ValueError(
            f"--condition must be 1 or more and --examples {2 * (config.features + 2)} or more, twice what there is to "
            f"fit, got {config.condition:g} and {config.examples}"
        )
    if config.task == "curve":
        parts = [curve(config.examples, config.noise, seed) for seed in (0, 1)]
    else:
        parts = [generated(config.examples, config.features, config.condition, config.noise, seed) for seed in (0, 1)]
    return gm.Splits.of_arrays(*parts, name=config.task)


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """Linear regression, fitted before the first step where the config says so."""
    fitted = None
    if config.fit == "closed" and data.train.arrays is not None:
        fitted = gm.fit_linear(data.train.arrays)
    return gm.linear_regression(data.shape, fitted=fitted, dtype=config.precision)


def _theta(params: Any) -> np.ndarray:
    """Intercept and coefficients in float64, [..., 1 + D]."""
    kernel, bias = (np.asarray(params["logits"][name], np.float64) for name in ("kernel", "bias"))
    return np.concatenate([bias, kernel[..., 0]], -1)


def arrays_of(split: "gm.Split") -> Any:
    """The fields of all examples of a part, which is in memory."""
    return split.dataset.arrays


@dataclass(frozen=True)
class Fit:
    """How far the parameters are from the closed form, and what the closed form says of its errors."""

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """Distance to the closed form, its residual deviation and R^2 in training, and its intervals on the split."""
        train = split.train()
        closed = gm.fit_linear(arrays_of(train))
        best = np.concatenate([closed.bias, closed.kernel[:, 0]])
        distance = float(np.linalg.norm(_theta(trained.params) - best) / np.linalg.norm(best))
        yield gm.Figure("distance to the closed form", distance, "", train.where, note="relative", better="minimize")
        yield gm.Figure("residual deviation", float(closed.deviation[0]), "", train.where, note="closed form")
        yield gm.Figure("R2 of the fit", float(closed.r2[0]), "", train.where, note="closed form")
        arrays = arrays_of(split)
        low, high = closed.prediction_interval(arrays["x"])
        inside = float(((low[:, 0] <= arrays["y"]) & (arrays["y"] <= high[:, 0])).mean())
        error = float(np.sqrt(inside * (1 - inside) / len(split)))
        yield gm.Figure(
            "in 95% intervals", inside, "fraction", split.where, error, "prediction intervals; 0.95 is right"
        )


@dataclass(frozen=True)
class Bands:
    """The polynomial with its confidence and prediction intervals."""

    def draw(self, trained: "gm.Trained", split: "gm.Split", key: Any, folder: Path) -> None:
        """Draw `bands.png`."""
        arrays = arrays_of(split.train())
        fit = gm.fit_linear(arrays)
        number = np.linspace(-1, 1, 201)
        x = number[:, None] ** np.arange(1, DEGREE + 1)
        middle = fit.predict(x)[:, 0]
        ends = {
            "mean, 95%": fit.confidence_interval(x),
            "a new y, 95%": fit.prediction_interval(x),
        }
        curves = {
            name: gm.plots.Curve(number, middle, low[:, 0], high[:, 0]) for name, (low, high) in reversed(ends.items())
        }
        curves["sin 3x"] = gm.plots.Curve(number, np.sin(3 * number), style="--")
        curves["examples"] = gm.plots.Curve(arrays["x"][:, 0], arrays["y"], style="o")
        gm.plots.panels({f"degree {DEGREE}": curves}, folder / "bands.png", x="x", y="y")


@dataclass(frozen=True)
class Descent:
    """What gradient methods make of the loss, step by step, beside theory."""

    config: Config
    reads_parameters: ClassVar[bool] = False

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """The factor by which the excess of the training loss falls in a step, and theory's."""
        for condition in CONDITIONS:
            excess, theory = self._paths(condition, key)
            where = f"generated, condition {condition:g}"
            for name in ("gradient descent", "heavy ball"):
                some = np.flatnonzero(excess[name] > 1e-9 * excess[name][0])  # below, float32 has few digits
                last = int(some[-1])
                first = last // 2
                rate = float((excess[name][last] / excess[name][first]) ** (1 / max(last - first, 1)))
                told = float((theory[name][last] / theory[name][first]) ** (1 / max(last - first, 1)))
                note = f"steps {first} to {last}; in theory {told:.4f}"
                yield gm.Figure(f"{name}, rate at {condition:g}", rate, "per step", where, note=note, better="minimize")

    def draw(self, trained: "gm.Trained", split: "gm.Split", key: Any, folder: Path) -> None:
        """Draw `descent.png`."""
        panels = {}
        for condition in CONDITIONS:
            excess, theory = self._paths(condition, key)
            steps = np.arange(self.config.descent_steps + 1)
            of = {name: gm.plots.Curve(steps, values) for name, values in excess.items()}
            for name, told in theory.items():
                shown = np.where(told > 1e-15 * told[0], told, np.nan)
                of[f"{name}, theory"] = gm.plots.Curve(steps, shown, style="--", like=name)
            panels[f"condition {condition:g}"] = of
        gm.plots.panels(panels, folder / "descent.png", x="step", y="training loss above its minimum", log_y=True)

    def _paths(self, condition: float, key: Any) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Method -> the training loss above its minimum after each step; and theory's, where there is one."""
        steps, count = self.config.descent_steps, self.config.examples
        arrays = generated(count, self.config.features, condition, self.config.noise, 0)
        design = np.concatenate([np.ones((count, 1)), arrays["x"].astype(np.float64)], 1)
        curvatures, axes = np.linalg.eigh(2 * design.T @ design / count)
        fit = gm.fit_linear(arrays)
        best = np.concatenate([fit.bias, fit.kernel[:, 0]])
        excess = {}
        for name, (tx, size) in methods(condition).items():
            indices = np.random.default_rng(0).integers(count, size=(steps, size)) if size else np.arange(count)[None]
            batches = {
                field: np.broadcast_to(v[indices], (steps, *v[indices].shape[1:])) for field, v in arrays.items()
            }
            path, _ = gm.parameter_path(gm.linear_regression((self.config.features,)), tx, batches, key)
            excess[name] = ((_theta(path) - best) @ axes) ** 2 @ curvatures / 2
        root, t = np.sqrt(condition), np.arange(steps + 1)[:, None]
        falls = (1 - 2 / (2 + 2 / condition) * curvatures) ** (2 * t)
        course = (falls * (best @ axes) ** 2) @ curvatures / 2
        slope = excess["heavy ball"][0] * ((root - 1) / (root + 1)) ** (2 * t[:, 0])
        return excess, {"gradient descent": course, "heavy ball": slope}


def methods(condition: float) -> "dict[str, tuple[gm.Optimizer, int]]":
    """Method -> optimizer, and examples in a batch: 0 for all. Curvatures run from 2 / condition to 2."""
    largest, smallest, root = 2.0, 2 / condition, np.sqrt(condition)
    momentum = float(((root - 1) / (root + 1)) ** 2)
    ball = float(4 / (np.sqrt(largest) + np.sqrt(smallest)) ** 2)
    return {
        "gradient descent": (gm.optimizer("sgd", 2 / (largest + smallest)), 0),
        "heavy ball": (gm.optimizer("momentum", ball, momentum=momentum), 0),
        "batches of 16": (gm.optimizer("sgd", 0.1), 16),
        "Adam": (gm.optimizer("adam", ADAM_RATES[condition]), 0),
    }


@dataclass(frozen=True)
class Certified:
    """Correct digits of NIST's linear sets in closed form, in float64, whatever the run itself has trained."""

    folder: str
    reads_parameters: ClassVar[bool] = False

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """Per set the digits of its worst coefficient, standard error, and of the residual deviation."""
        for name in gm.nist_names(self.folder):
            yield from certified(self.folder, name)


def certified(folder: str, name: str) -> "Iterator[gm.Figure]":
    """Digits of a set, as -log10 of the largest relative error, against the rational solution.

    NIST's printed values have 3 to 10 digits in the files; the rational solution is compared with them first.
    """
    found = gm.nist_linear(folder, name)
    exact = gm.rational_least_squares(found.columns(), found.y)
    errors = [float(value) ** 0.5 for value in exact.variances]
    pairs = [*zip(map(float, exact.coefficients), found.coefficients, strict=True)]
    differing = sum(not gm.printed_as(*pair) for pair in [*pairs, *zip(errors, found.errors, strict=True)])
    x, y = (np.array(values, np.float64) for values in (found.x, found.y))
    if found.degree:
        fit = gm.polynomial_least_squares(x[:, 0], y, found.degree)
    else:
        fit = gm.least_squares(x, y, intercept=found.intercept)
    first = int(found.intercept)
    digits = {
        "coefficients": (np.concatenate([fit.bias[:first], fit.kernel[:, 0]]), map(float, exact.coefficients)),
        "standard errors": (np.concatenate([fit.bias_errors[:first], fit.kernel_errors[:, 0]]), errors),
        "deviation": (fit.deviation, [float(exact.variance) ** 0.5]),
    }
    note = f"{2 * len(errors) - differing} of {2 * len(errors)} printed values are the rational solution's"
    for what, (ours, true) in digits.items():
        worst = min(gm.certified_digits(*pair) for pair in zip(ours, true, strict=True))
        yield gm.Figure(f"{name}, {what}", worst, "digits", f"NIST {name}", note=note, better="maximize")


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Errors, the distance to the closed form and its intervals; methods by step; and NIST's digits."""
    own: list[Any] = [gm.measures.RegressionErrors(), Fit()]
    if config.task == "curve":
        own.append(Bands())
    elif config.nist is None:
        own.append(Descent(config))
    if config.nist is not None:
        for name in gm.nist_names(config.nist):  # read here too, so that a wrong folder is refused before any training
            gm.nist_linear(config.nist, name)
        own.append(Certified(config.nist))
    return own


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    swept=("closed", "gradient", "adam"),
    tiny={"batch_size": 16, "examples": 20, "features": 2, "descent_steps": 4},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

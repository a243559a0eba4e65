"""Does least squares with exact Jacobians find what NIST certifies of 27 nonlinear regressions, from both starts?

    python -m experiments.nonlinear_regression nist --nist FOLDER    # digits of the 27 sets, and curves.png
    python -m experiments.nonlinear_regression                       # one curve of generated data
    python -m experiments.nonlinear_regression gradient              # the same by Adam, in the ordinary training step

NIST has two starts for each set: the first is far from the solution, the second near. Levenberg-Marquardt (MINPACK
through SciPy) gets JAX's Jacobians in float64. Of the generated data the curve is b1 (1 - exp(-b2 x)).

Measured by the first command (11 CPU seconds of an AMD EPYC's core that other programs shared; deterministic), correct
digits of the worst parameter, -log10 of the relative error, from the first and the second start; NIST prints 11:

    Bennett5 11.0 11.0   BoxBOD   none 11.7   Chwirut1 10.7 10.7   Chwirut2 10.9 10.9   DanWood  11.2 11.2
    ENSO      8.5  8.4   Eckerle4 10.5 10.5   Gauss1   10.6 10.6   Gauss2   10.3 10.3   Gauss3   10.5 10.5
    Hahn1    10.8 10.8   Kirby2   10.5 10.5   Lanczos1 10.6 10.6   Lanczos2 10.4  9.1   Lanczos3 10.5 10.5
    MGH09     9.6  9.7   MGH10     9.2 10.9   MGH17    10.8 10.8   Misra1a  11.1 11.1   Misra1b  11.0 11.0
    Misra1c  10.8 10.8   Misra1d  12.6 12.6   Nelson   10.9 10.9   Rat42    11.2 11.2   Rat43    11.0 11.0
    Roszman1 10.9 10.9   Thurber   9.1  9.8

So all 27 come to 8.4 digits or more from the second start, and 26 from the first; from BoxBOD's first one the search
runs to where the curve is flat. Standard errors have 8.5 digits or more, but those of Lanczos1, 3.2: its residuals,
about 1e-13, are the rounding of its data.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

import gen_models as gm

TRUE = (2.0, 1.5)  # b1 and b2 of the generated curve
START = (1.0, 0.5)


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """A curve, and the way to its parameters."""

    steps: int = 1
    batch_size: int = 64
    fit: Literal["least_squares", "gradient"] = "least_squares"
    """Way to the parameters: least squares before the first step, or from the start by the steps."""
    examples: int = 64
    """Number of training examples of the generated curve; as many others test."""
    noise: float = 0.1
    """Standard deviation of the noise of y."""
    nist: str | None = None
    """Folder of NIST's nonlinear sets, whose certified digits are then figures."""


base = Config(learning_rate=0.0, schedule="constant", evaluate_every=0)
variants: Mapping[str, Config] = {
    "least_squares": base,
    "gradient": replace(base, fit="gradient", learning_rate=0.03, steps=500),
    "nist": base,
}


def drawn(count: int, noise: float, seed: int) -> dict[str, np.ndarray]:
    """{"x" float32 [count, 1] on [0, 3], "y" float32 [count]} of the curve."""
    draw = np.random.default_rng(seed)
    x = draw.uniform(0, 3, (count, 1))
    y = TRUE[0] * (1 - np.exp(-TRUE[1] * x[:, 0])) + noise * draw.normal(size=count)
    return {"x": x.astype(np.float32), "y": y.astype(np.float32)}


def data(config: Config) -> "gm.Splits":
    """Training and test examples of the curve; ValueError for fewer than 4."""
    if config.examples < 4:
        raise ValueError(f"--examples must be 4 or more, twice the curve's parameters, got {config.examples}")
    parts = [drawn(config.examples, config.noise, seed) for seed in (0, 1)]
    return gm.Splits.of_arrays(*parts, name="curve")


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The curve, at the least-squares parameters or at the start."""
    start: Any = START
    if config.fit == "least_squares" and data.train.arrays is not None:
        arrays = data.train.arrays
        start = gm.nonlinear_least_squares(gm.NIST_CURVES["Misra1a"], arrays["x"], arrays["y"], START).parameters
    return gm.nonlinear_regression(gm.NIST_CURVES["Misra1a"], start)


@dataclass(frozen=True)
class Distance:
    """How far the parameters are from those of least squares."""

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """Each parameter with its standard error, and the largest distance in standard errors."""
        train = split.train()
        arrays: Any = train.dataset.arrays
        fit = gm.nonlinear_least_squares(gm.NIST_CURVES["Misra1a"], arrays["x"], arrays["y"], START)
        for i, (value, error) in enumerate(zip(fit.parameters, fit.errors, strict=True)):
            note = f"of least squares; the curve has {TRUE[i]:g}"
            yield gm.Figure(f"b{i + 1}", float(value), "", train.where, float(error), note)
        off = float((np.abs(np.asarray(trained.params["b"], np.float64) - fit.parameters) / fit.errors).max())
        yield gm.Figure("distance to least squares", off, "standard errors", train.where, better="minimize")


@dataclass(frozen=True)
class Certified:
    """Correct digits of NIST's nonlinear sets from both starts, whatever the run itself has trained."""

    folder: str
    reads_parameters: ClassVar[bool] = False

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """Per set and start the digits of the worst parameter, in the note of its worst standard error; and counts."""
        found: tuple[list[float], list[float]] = ([], [])
        for name in gm.nist_names(self.folder):
            data = gm.nist_nonlinear(self.folder, name)
            for which, start in enumerate(data.starts):
                fit = fitted(data, start)
                digits = min(map(gm.certified_digits, fit.parameters, data.parameters))
                errors = min(map(gm.certified_digits, fit.errors, data.errors))
                note = f"standard errors: {errors:.1f}; {fit.evaluations} evaluations"
                where = f"NIST {name}"
                yield gm.Figure(f"{name}, start {which + 1}", digits, "digits", where, note=note, better="maximize")
                found[which].append(digits)
        for which, digits_of in enumerate(found):
            count = sum(digits >= 6 for digits in digits_of)
            note = f"of {len(digits_of)} sets"
            yield gm.Figure(f"6 digits, start {which + 1}", count, "sets", "NIST", note=note, better="maximize")

    def draw(self, trained: "gm.Trained", split: "gm.Split", key: Any, folder: Path) -> None:
        """Draw `curves.png`: the sets of one variable with the curves that are found from the second start."""
        panels = {}
        for name in gm.nist_names(self.folder):
            data = gm.nist_nonlinear(self.folder, name)
            if data.x.shape[1] == 1:
                line = np.linspace(data.x.min(), data.x.max(), 200)
                values = np.asarray(gm.NIST_CURVES[name](fitted(data, data.starts[1]).parameters, line[:, None]))
                dots = gm.plots.Curve(data.x[:, 0], data.y, style="o")
                panels[name] = {"data": dots, "least squares": gm.plots.Curve(line, values)}
        gm.plots.panels(panels, folder / "curves.png", columns=6, share=False)


def fitted(data: Any, start: np.ndarray) -> Any:
    """The least-squares fit of a set from a start; Nelson's is of log y."""
    target = np.log(data.y) if data.name == "Nelson" else data.y
    return gm.nonlinear_least_squares(gm.NIST_CURVES[data.name], data.x, target, start)


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Errors and the distance to least squares, and NIST's digits."""
    own = (gm.measures.RegressionErrors(), Distance())
    if config.nist is None:
        return own
    for name in gm.nist_names(config.nist):  # read here too, so that a wrong folder is refused before any training
        gm.nist_nonlinear(config.nist, name)
    return (*own, Certified(config.nist))


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    swept=("least_squares", "gradient"),
    tiny={"batch_size": 8, "examples": 8},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

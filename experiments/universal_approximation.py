"""How does the error of a network fall with its width and its depth, and how far is it from what it could represent?

    python -m experiments.universal_approximation          # functions of the line: 27 networks of each in one program
    python -m experiments.universal_approximation plane    # functions of the plane

Nine networks (one hidden layer of 4 to 128 rectifiers; two to four layers of 16), four functions, three starts each:
108 trainings, 3,000 steps of Adam at 256 of 1,024 exact values. Beside them the straight lines between even knots,
which a hidden layer of as many units can be: their RMSE falls as width^-2 for a smooth function, width^-1/2 for a
step, and is 0 for the sawtooth of eight teeth from 16 units on. A network of four layers of two units is that
sawtooth exactly (`gm.sawtooth_params`; Telgarsky, 2015).

Hypothesis, before the runs: errors fall by these rates until the training stops them at about 1e-3; depth helps the
sawtooth, and it alone.

Measured by the first command, on one core of an AMD EPYC that other programs shared, two minutes by the clock; RMSE
at 2,000 drawn points, mean +- standard error over three starts (in brackets: even knots):

                sine                          kink |x|             step              sawtooth
    4 units     0.092 (0.151)                 0.0044               0.275 (0.408)     0.288
    8           0.026 (0.039)                 0.0014               0.141 (0.289)     0.284
    16          0.022 (0.0099)                0.0008               0.118 (0.204)     0.280 (0)
    32          0.0032 (0.0025)               0.0008               0.101 (0.144)     0.275 (0)
    64          0.0015 (0.0006)               0.0003               0.094 (0.102)     0.270 (0)
    128         0.0008 +- 0.0001 (0.00016)    0.0001               0.093 +- 0.002    0.265 +- 0.001 (0)
    2 layers    0.0045 +- 0.0003              0.0004               0.043 +- 0.001    0.242 +- 0.009
    3 layers    0.0044                        0.0002               0.038             0.217
    4 layers    0.0032 +- 0.0005              0.0003               0.036 +- 0.000    0.177 +- 0.012

Where knots can be placed, a few units are better than even knots; wide layers are not trained to what they can be.
The sawtooth is the clearest: its standard deviation is 0.289, and 128 units, of which 16 would do, explain next to
nothing of it. Training finds slow parts of a function first, and 3,000 steps end before the fast ones. Depth does
help the sawtooth, though far from exactly. Against the hypothesis it helps the step as well, to a third of its error:
a product of slopes makes a steeper one.

In the plane (second command): of the checks, whose sign changes at sixteen squares, 128 units leave an RMSE of 0.64
of 1, and four layers of 16, with fewer than twice the parameters, 0.30; of the product x_1 x_2 they leave 0.0036 and
0.0044, of a bump 0.0102 and 0.0046, of a ridge 0.0117 and 0.0163.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

import gen_models as gm

WIDTHS = (4, 8, 16, 32, 64, 128)  # of one hidden layer
DEPTHS = (2, 3, 4)  # hidden layers of `deep_width` units
TEETH = 8


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """Networks of several widths and depths for each function, and their training."""

    steps: int = 3000
    batch_size: int = 256
    inputs: Literal[1, 2] = 1
    """Number of dimensions of the functions."""
    deep_width: int = 16
    """Units of each layer of the deeper networks."""
    starts: int = 3
    """Number of starts of each network."""


base = Config(learning_rate=1e-2, evaluate_every=0)
variants: Mapping[str, Config] = {"line": base, "plane": replace(base, inputs=2)}


def of_line(x: np.ndarray) -> dict[str, np.ndarray]:
    """The functions of the line, at x [N] within [-1, 1]."""
    teeth = np.abs((x + 1) / 2 * TEETH % 1 * 2 - 1)
    return {"sine": np.sin(np.pi * x), "kink": np.abs(x), "step": np.sign(x), "sawtooth": 1 - teeth}


def of_plane(x: np.ndarray) -> dict[str, np.ndarray]:
    """The functions of the plane, at x [N, 2] within [-1, 1]^2."""
    checks = np.sign(np.sin(2 * np.pi * x).prod(1))
    return {
        "product": x.prod(1),
        "bump": np.exp(-8 * (x**2).sum(1)),
        "ridge": np.sin(2 * np.pi * x.sum(1) / 2),
        "checks": checks,
    }


def values_of(x: np.ndarray) -> dict[str, np.ndarray]:
    """The functions at x [N, D]."""
    return of_line(x[:, 0]) if x.shape[1] == 1 else of_plane(x)


def examples_of(x: np.ndarray) -> dict[str, np.ndarray]:
    """x [N, functions, D], the same for each, and y [N, functions]."""
    y = np.stack(list(values_of(x).values()), 1)
    return {"x": np.repeat(x[:, None], y.shape[1], 1).astype(np.float32), "y": y.astype(np.float32)}


def data(config: Config) -> "gm.Splits":
    """Noiseless values, 1,024 evenly spaced or drawn in the square for training, 2,000 drawn for testing."""
    draw = np.random.default_rng(0)
    known = (np.arange(1024) + 0.5) / 512 - 1
    x = known[:, None] if config.inputs == 1 else draw.uniform(-1, 1, (4096, 2))
    test = draw.uniform(-1, 1, (2000, config.inputs))
    return gm.Splits.of_arrays(examples_of(x), examples_of(test), name="functions", examples="points")


def networks(config: Config) -> dict[str, tuple[int, ...]]:
    """Name -> widths of the hidden layers."""
    wide = {f"{width} units": (width,) for width in WIDTHS}
    return wide | {f"{depth} layers": (config.deep_width,) * depth for depth in DEPTHS}


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """For each network as many copies as there are functions and starts."""
    made = {}
    for name, hidden in networks(config).items():
        one = gm.fully_connected((config.inputs,), 1, hidden=hidden, answer="numbers")
        made[name] = gm.copies(gm.copies(one, config.starts), data.shape[0], own_data=True)
    return gm.side_by_side(made)


def interpolated(width: int) -> dict[str, float]:
    """RMSE of straight lines between `width` + 1 even knots, which a hidden layer of `width` rectifiers can be."""
    knots, x = np.linspace(-1, 1, width + 1), np.linspace(-1, 1, 20_001)
    at, truth = of_line(knots), of_line(x)
    return {name: float(np.sqrt(((np.interp(x, knots, at[name]) - truth[name]) ** 2).mean())) for name in truth}


@dataclass(frozen=True)
class Approximation:
    """Errors of each network and function, over starts, and what a hidden layer could represent."""

    config: Config
    headline: ClassVar[tuple[str, Literal["minimize"]]] = ("rmse", "minimize")

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """The mean RMSE; each network's for each function, with its standard error over starts; interpolation's."""
        found = self._errors(trained, split)
        mean = float(np.mean([errors.mean() for each in found.values() for errors in each.values()]))
        yield gm.Figure("RMSE", mean, "", split.where, note="mean over networks and functions", better="minimize")
        for network, each in found.items():
            for name, errors in each.items():
                spread = float(errors.std(ddof=1) / np.sqrt(len(errors))) if len(errors) > 1 else None
                note = f"over {len(errors)} starts"
                yield gm.Figure(
                    f"{name}, {network}", float(errors.mean()), "RMSE", split.where, spread, note, "minimize"
                )
        if self.config.inputs == 1:
            for width in WIDTHS:
                for name, error in interpolated(width).items():
                    yield gm.Figure(f"{name}, {width} even knots", error, "RMSE", "20,001 points", note="closed form")

    def draw(self, trained: "gm.Trained", split: "gm.Split", key: Any, folder: Path) -> None:
        """Draw `errors.png`: errors against width and depth, and of the line two fits of the sawtooth."""
        found, names = self._errors(trained, split), list(values_of(np.zeros((1, self.config.inputs))))
        with gm.plots.drawing(folder / "errors.png", figsize=(11, 3.8), layout="constrained") as canvas:
            left, middle, right = canvas.subplots(1, 3)
            for i, name in enumerate(names):
                wide = [found[f"{width} units"][name].mean() for width in WIDTHS]
                left.plot(WIDTHS, wide, "o-", color=f"C{i}", markersize=3, label=name)
                if self.config.inputs == 1:
                    bound = np.array([interpolated(width)[name] for width in WIDTHS])
                    left.plot(WIDTHS, np.where(bound > 1e-6, bound, np.nan), ":", color=f"C{i}")
                deep = [found["16 units" if d == 1 else f"{d} layers"][name].mean() for d in (1, *DEPTHS)]
                middle.plot((1, *DEPTHS), deep, "o-", color=f"C{i}", markersize=3)
            left.set(xscale="log", yscale="log", xlabel="units of one hidden layer", ylabel="RMSE (dotted: even knots)")
            middle.set(yscale="log", xlabel=f"hidden layers of {self.config.deep_width} units", xticks=(1, *DEPTHS))
            left.legend(frameon=False, fontsize=8)
            self._fits(trained, right)

    def _fits(self, trained: "gm.Trained", axis: Any) -> None:
        """The last function along the line, or along the plane's x_2 = 1/4, and two fits."""
        line = np.linspace(-1, 1, 801)
        x = np.stack([line, np.full_like(line, 0.25)], 1)[:, : self.config.inputs]
        part = examples_of(x)
        answers = trained.answers(part["x"])
        axis.plot(line, part["y"][:, -1], "k:", label="truth")
        for name in (f"{WIDTHS[-1]} units", f"{DEPTHS[-1]} layers"):
            axis.plot(line, answers[name][:, -1, 0, 0], linewidth=1, label=name)
        axis.set(xlabel="x" if self.config.inputs == 1 else "x_1, where x_2 = 1/4", title=list(values_of(x))[-1])
        axis.margins(y=0.3)  # room for the legend
        axis.legend(frameon=False, fontsize=8)

    def _errors(self, trained: "gm.Trained", split: "gm.Split") -> dict[str, dict[str, np.ndarray]]:
        """Network -> function -> RMSE of each start [S]."""
        part = split.whole()
        answers = trained.answers(part["x"])
        truth, names = np.asarray(part["y"], np.float64), values_of(np.zeros((1, self.config.inputs)))
        found = {}
        for network, answer in answers.items():  # [N, functions, S, 1]
            errors = np.sqrt(((answer[..., 0] - truth[..., None]) ** 2).mean(0))
            found[network] = dict(zip(names, errors, strict=True))
        return found


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Errors, and what stands beside them."""
    return (Approximation(config), gm.measures.Parameters())


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    tiny={"batch_size": 8, "deep_width": 2, "starts": 1},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

"""How fast does momentum make gradient descent on a quadratic of a given condition number: as fast as theory says?

    python -m experiments.ablations.momentum_quadratic sweep --seeds 3                  # every variant: a table
    python -m experiments.ablations.momentum_quadratic momentum --condition 1000 --steps 1000

f(w) = w' H w / 2 with curvatures from 1 / kappa to 1, evenly spread in their logarithm, along axes turned at random;
the start is normal. A method's rate is the factor by which its distance from the optimum falls in a step, in the end.
At the best constant learning rate and momentum, in theory, with L = 1 and mu = 1 / kappa:

    gradient descent     (kappa - 1) / (kappa + 1), learning rate 2 / (L + mu)
    heavy ball           (sqrt(kappa) - 1) / (sqrt(kappa) + 1), 4 / (sqrt(L) + sqrt(mu))^2 (Polyak, 1964)
    Nesterov             1 - 1 / sqrt(kappa), 1 / L, momentum (sqrt(kappa) - 1) / (sqrt(kappa) + 1) (Nesterov, 2004)
    Nesterov, quadratic  1 - 2 / sqrt(3 kappa + 1), 4 / (3 L + mu) (Lessard et al., 2016, proposition 1)

For AdaGrad, RMSProp and Adam there is no such theory. Their learning rates are the best of 0.001, 0.003, 0.01, ..., 10
by the loss after 300 steps, the mean over the seeds 100 and 101, which are none of the table's: `python -m
experiments.ablations.momentum_quadratic adam --learning-rate RATE --seed 100`.

Hypothesis, before the runs: measured rates are those of theory; heavy ball is fastest; the adaptive methods are slower
than any momentum where the axes are turned, and Adam gains where they are not ("adam_aligned"), as it has a rate for
each coordinate and not for each direction.

Measured over the last quarter of the steps (before 1e-30, where float32 ends). Near a double root, as heavy ball's and
Nesterov's are at their best rates, the distance falls as k rate^k, which makes the measured rate greater by a factor of
up to (4 / 3)^(4 / steps); what other axes still have makes gradient descent's smaller. The picture path.png shows the
method on a quadratic in the plane, of condition --drawn-condition, beside plain gradient descent; distances.png its
distance, and theory's slope.

Measured by the first command on 2 CPU cores, mean over three seeds (starts) [95% bootstrap interval], 300 steps:

    method               rate                        in theory  log10 of the loss's fall
    gradient descent     0.9783 [0.9768, 0.9794]     0.9802      -6.6 [-7.3, -6.2]
    heavy ball           0.82132 [0.82131, 0.82132]  0.8182     -48.2 [-48.9, -47.8]
    Nesterov             0.9019 [0.9009, 0.9032]     0.9000     -28.3 [-28.9, -27.8]
    Nesterov, quadratic  0.8881 [0.8879, 0.8884]     0.8847     -32.5 [-33.2, -32.0]
    AdaGrad              0.9823 [0.9819, 0.9829]                 -7.2 [-7.5, -6.7]
    RMSProp              0.9734 [0.9725, 0.9741]                 -4.1 [-4.2, -4.0]
    Adam                 0.9482 [0.9463, 0.9493]                -13.9 [-14.1, -13.9]
    Adam, aligned        0.9488 [0.9481, 0.9498]                -14.0 [-14.0, -13.9]

The rates are theory's within the factor named above, 1.0038, gradient descent's smaller by 0.2 %. Heavy ball is
fastest, and no adaptive method comes near momentum: as expected. Against the hypothesis, Adam gains nothing from
aligned axes where each has its own best learning rate, 0.3 in both; at a tenth of it, 0.03, it does (-12.7 against
-3.4, from the search over the grid). Probably as its second moment remembers about 1,000 steps (b2 = 0.999) and the run
has 300: the first gradients, the largest, set the scale of every coordinate for good, and what remains is heavy ball
with momentum 0.9. RMSProp, whose memory is 10 steps, gets no further than 10^-4.1 of its loss at the best rate, less
than plain gradient descent: a step that is divided by its own size does not get smaller.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np

import gen_models as gm


@dataclass(frozen=True, kw_only=True)
class Config(gm.RunConfig):
    """A method and a quadratic."""

    steps: int = 300
    batch_size: int = 1
    """Number without effect here, as a quadratic has no data."""
    learning_rate: Annotated[float, gm.TRACED, gm.Range(1e-4, 1e1, log=True)] = 0.0
    """Constant learning rate; 0: theory's best, for methods that have one."""
    optimizer: Literal["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam"] = "sgd"
    """Update rule."""
    best_for: Literal["convex", "quadratic"] = "quadratic"
    """Theory that Nesterov's learning rate and momentum follow."""
    condition: float = 100.0
    """Condition number kappa: the largest curvature over the smallest."""
    dimensions: int = 50
    """Number of dimensions of w."""
    turned: bool = True
    """Whether the axes of the curvatures are turned at random against those of w."""
    drawn_condition: float = 10.0
    """Condition number of the quadratic in the picture."""


base = Config(log_every=10, evaluate_every=0)
_adam = replace(base, optimizer="adam", learning_rate=0.3)
variants: Mapping[str, Config] = {
    "sgd": base,
    "momentum": replace(base, optimizer="momentum"),
    "nesterov": replace(base, optimizer="nesterov", best_for="convex"),
    "nesterov_quadratic": replace(base, optimizer="nesterov"),
    "adagrad": replace(base, optimizer="adagrad", learning_rate=1.0),
    "rmsprop": replace(base, optimizer="rmsprop", learning_rate=0.01),
    "adam": _adam,
    "adam_aligned": replace(_adam, turned=False),
}
WITH_THEORY = ("sgd", "momentum", "nesterov")


class Best(NamedTuple):
    """Theory's best constants of a method: learning rate, momentum, and the rate of convergence that they give."""

    learning_rate: float
    momentum: float
    rate: float


def best(optimizer: str, condition: float, best_for: str = "quadratic") -> Best:
    """Theory's best constants for curvatures from 1 / condition to 1; the module's docstring has the formulas."""
    root = np.sqrt(condition)
    if optimizer == "sgd":
        return Best(2 / (1 + 1 / condition), 0.0, (condition - 1) / (condition + 1))
    if optimizer == "momentum":
        fraction = (root - 1) / (root + 1)
        return Best(4 / (1 + 1 / root) ** 2, fraction**2, fraction)
    if best_for == "convex":
        return Best(1.0, (root - 1) / (root + 1), 1 - 1 / root)
    long = np.sqrt(3 * condition + 1)
    return Best(4 / (3 + 1 / condition), (long - 2) / (long + 2), 1 - 2 / long)


def rate_of(optimizer: str, learning_rate: float, momentum: float, curvatures: np.ndarray) -> float:
    """Factor by which the slowest axis' distance falls in a step, in the end, for curvatures [D].

    Along an axis of curvature h, a method is the recurrence w_k+1 = a w_k - b w_k-1, which falls as the largest modulus
    of the roots z of z^2 - a z + b. With t = 1 - learning_rate h: a = t, b = 0 for gradient descent; a = t + momentum,
    b = momentum for heavy ball; a = (1 + momentum) t, b = momentum t for Nesterov's method.
    """
    t = 1 - learning_rate * curvatures
    a, b = {
        "sgd": (t, 0 * t),
        "momentum": (t + momentum, momentum + 0 * t),
        "nesterov": ((1 + momentum) * t, momentum * t),
    }[optimizer]
    # The best constants make double roots, whose discriminant is 0 but for rounding; its square root would turn a
    # rounding error of 1e-16 into roots that are 1e-8 apart.
    gap = a**2 - 4 * b
    gap = np.sqrt(np.where(np.abs(gap) < 1e-12, 0, gap).astype(complex))
    return float(np.maximum(np.abs(a + gap), np.abs(a - gap)).max() / 2)


def curvatures_of(config: Config) -> np.ndarray:
    """Curvatures [D] from 1 / kappa to 1, evenly spread in their logarithm."""
    return np.geomspace(1 / config.condition, 1, config.dimensions)


def axes_of(config: Config) -> np.ndarray:
    """Axes of the curvatures as columns [D, D]; turned ones are those of a QR decomposition, the same for all seeds."""
    if not config.turned:
        return np.eye(config.dimensions)
    normal = np.random.default_rng(0).normal(size=(config.dimensions, config.dimensions))
    return np.linalg.qr(normal)[0]


def hessian_of(config: Config) -> np.ndarray:
    """The matrix H [D, D] of f(w) = w' H w / 2."""
    axes = axes_of(config)
    return (axes * curvatures_of(config)) @ axes.T


def method(name: str, learning_rate: Any, condition: float, best_for: str) -> "gm.Optimizer":
    """The optimizer `name` with theory's momentum, where there is one; a learning rate of 0 is theory's best."""
    if name not in WITH_THEORY:
        return gm.optimizer(name, learning_rate)
    constants = best(name, condition, best_for)
    more: dict[str, Any] = {} if name == "sgd" else {"momentum": constants.momentum}
    by_theory = isinstance(learning_rate, float) and learning_rate == 0
    return gm.optimizer(name, constants.learning_rate if by_theory else learning_rate, **more)


def data(config: Config) -> "gm.Splits":
    """One number that is always the same, as a quadratic has no data; ValueError for a config that is out of range."""
    if min(config.condition, config.drawn_condition) < 1 or config.dimensions < 2:
        raise ValueError(
            f"--condition and --drawn-condition must be 1 or more and --dimensions 2 or more, got {config.condition}, "
            f"{config.drawn_condition} and {config.dimensions}"
        )
    if config.learning_rate == 0 and config.optimizer not in WITH_THEORY:
        raise ValueError(f"{config.optimizer} has no best learning rate in theory: give --learning-rate")
    return gm.Splits.of_arrays({"x": np.zeros((1, 1), np.float32)}, name="quadratic")


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The quadratic w' H w / 2 as a model, whose parameters are w."""
    return gm.quadratic(hessian_of(config))


def optimizer(config: Config) -> "gm.Optimizer":
    """The method that the config names."""
    return method(config.optimizer, config.learning_rate, config.condition, config.best_for)


@dataclass(frozen=True)
class Convergence:
    """How fast a run's distance from the optimum falls; its path is computed again from its start."""

    config: Config
    reads_traced: ClassVar[bool] = True  # `config.learning_rate` is marked TRACED

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """The rate, the rate in theory, how far the loss falls, and the steps to a small distance."""
        where = f"quadratic, {self.config.dimensions} dimensions, condition {self.config.condition:g}"
        distance, w = self._walk(trained)
        some = np.flatnonzero(distance > 1e-30)  # below, float32 has few digits left
        late = some[some >= min(3 * some[-1] // 4, some[-1] - 1)]
        measured = float((distance[late[-1]] / distance[late[0]]) ** (1 / max(late[-1] - late[0], 1)))
        note = f"distance, steps {late[0]} to {late[-1]}"
        yield gm.Figure("rate", measured, "per step", where, note=note, better="minimize")
        if self.config.optimizer in WITH_THEORY:
            yield gm.Figure("rate in theory", self._theory(), "per step", where, note="in the end, of the slowest axis")
        values = ((w @ axes_of(self.config)) ** 2 * curvatures_of(self.config)).sum(1) / 2
        fall = float(np.log10(max(values[-1], 1e-300) / values[0]))
        yield gm.Figure(
            "log10 of the loss", fall, "", where, note="at the end, over that at the start", better="minimize"
        )
        reached = np.flatnonzero(distance < 1e-3)
        first = float(reached[0]) if len(reached) else float("nan")
        note = "of the start's; nan: not reached"
        yield gm.Figure("steps to a distance of 1e-3", first, "steps", where, note=note, better="minimize")

    def draw(self, trained: "gm.Trained", split: "gm.Split", key: Any, folder: Path) -> None:
        """Draw `distances.png`, and `path.png`: the method in the plane beside gradient descent."""
        config = self.config
        distance, _ = self._walk(trained)
        series: dict[str, Any] = {"measured": distance}
        if config.optimizer in WITH_THEORY:
            series["theory's slope"] = self._theory() ** np.arange(config.steps + 1)
        gm.plots.lines(series, folder / "distances.png", x="step", y="distance from the optimum", log=True)
        cosine, sine = (np.cos(np.pi / 6), np.sin(np.pi / 6)) if config.turned else (1.0, 0.0)
        rotation = np.array([[cosine, -sine], [sine, cosine]])
        plane = rotation @ np.array([[1 / config.drawn_condition, 0], [0, 1]]) @ rotation.T
        start = np.array([-1.0, 0.9], np.float32)
        rates = {"sgd": 0.0, config.optimizer: config.learning_rate}
        names = {"sgd": "gradient descent", config.optimizer: config.optimizer}
        drawn = {
            names[name]: gm.descent(method(name, rate, config.drawn_condition, config.best_for), plane, start, 60)
            for name, rate in rates.items()
        }
        title = f"60 steps, condition {config.drawn_condition:g}"
        gm.plots.paths(drawn, plane, folder / "path.png", title=title)

    def _walk(self, trained: "gm.Trained") -> tuple[np.ndarray, np.ndarray]:
        """Distances of w from the optimum, relative to the start's, [steps + 1], and w, [steps + 1, D]."""
        start = trained.stats["start"]
        w = gm.descent(optimizer(self.config), hessian_of(self.config), start, self.config.steps)
        return np.linalg.norm(w, axis=1) / np.linalg.norm(w[0]), w

    def _theory(self) -> float:
        """The rate of the slowest axis in the end, for this config's learning rate."""
        constants = best(self.config.optimizer, self.config.condition, self.config.best_for)
        rate = self.config.learning_rate or constants.learning_rate
        return rate_of(self.config.optimizer, rate, constants.momentum, curvatures_of(self.config))


def measures(config: Config) -> "Sequence[gm.Measure]":
    """How fast the distance from the optimum falls."""
    return (Convergence(config),)


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    optimizer,
    table=True,
    tiny={"dimensions": 3, "condition": 5.0},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

"""When is a generative classifier better than its discriminative twin? Error against the number of training examples.

    python -m experiments.generative_against_discriminative                 # correlated entries: naive Bayes is wrong
    python -m experiments.generative_against_discriminative independent     # naive Bayes is right
    python -m experiments.generative_against_discriminative digits          # ten classes, scikit-learn's digits

Ng & Jordan, On Discriminative vs. Generative Classifiers: A comparison of logistic regression and naive Bayes (2002):
naive Bayes needs of the order of log D examples to come near its asymptotic error, and logistic regression, whose
asymptotic error is not greater, of the order of D, so that their curves may cross. A run fits one of the models to
`examples` examples; the picture error_by_examples.png has all of them by the number of examples, each the mean over
`repeats` draws of the training part, with 95 % intervals.

Measured, seed 0, 20 draws (half a CPU minute each of an AMD EPYC's core that other programs shared): test error of
naive Bayes and of logistic regression, with standard errors of at most 0.009 from 23 examples on (Bayes' rule: 0.10):

    examples                        23     47     94     189    377    753    3000
    correlation 0    naive Bayes    0.168  0.132  0.114  0.105  0.100  0.098  0.097
                     logistic       0.185  0.184  0.164  0.124  0.108  0.104  0.099
    correlation 0.2  naive Bayes    0.195  0.153  0.130  0.115  0.111  0.110  0.109
                     logistic       0.197  0.187  0.162  0.126  0.109  0.104  0.099
    correlation 0.4  naive Bayes    0.250  0.197  0.167  0.142  0.133  0.132  0.128
                     logistic       0.216  0.192  0.159  0.126  0.109  0.104  0.099

The crossing is there where naive Bayes is somewhat wrong: at correlation 0.2 it is the better one from 47 to 189
examples, and the worse from 377 on. Where its independence holds they do not cross up to 3,000 examples: both come to
one error, naive Bayes with a quarter of the examples. At 0.4 it is the worse one at each number. With 6 examples a
penalty of 0.001 makes logistic regression the better one in all three. The linear discriminant, whose assumption holds
in all, is below logistic regression from 94 examples on, and as good at 3,000, and has a peak of error where there are
about as many examples as entries (20), as its covariance can hardly be inverted there.

Digits of zeros and ones, ten classes, by the third command, seed 0, 20 draws (standard errors of at most 0.013):

    examples                        22     48     105    231    342    506    750
    naive Bayes                     0.397  0.350  0.237  0.191  0.180  0.174  0.172
    linear discriminant             0.409  0.578  0.326  0.203  0.177  0.163  0.153
    logistic                        0.375  0.310  0.229  0.183  0.161  0.155  0.154

There is no crossing: the softmax regression, with its penalty, is below naive Bayes at each number, by 0.008 to 0.06.
The discriminant, of 64 entries, has its peak at 48 examples and is as good as the regression at 750.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from scipy import stats

import gen_models as gm

D = 20  # entries of the generated examples
POOL = 10_000  # generated examples from which training parts are drawn
CLASSES = {"normal": 2, "digits": 10}


@dataclass(frozen=True, kw_only=True)
class NaiveBayes:
    """Naive Bayes: normal entries, whose deviations the classes share, and of digits zeros and ones."""


@dataclass(frozen=True, kw_only=True)
class Discriminant:
    """Normal densities with one covariance: linear discriminants."""

    ridge: float = 1e-3
    """What is added to the covariance's diagonal, as a share of its mean."""


@dataclass(frozen=True, kw_only=True)
class Logistic:
    """Logistic or softmax regression."""

    l2: float = 1e-3
    """Weight of |W|^2 / 2 beside the mean cross-entropy."""


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """A classifier that is fitted before the first step."""

    steps: int = 1
    batch_size: int = 64
    dataset: Literal["normal", "digits"] = "normal"
    """Data: generated examples of two normal classes, or digits of zeros and ones."""
    correlation: float = 0.2
    """Correlation of neighbouring entries of the generated examples, given the class; 0: naive Bayes is right."""
    examples: int = 300
    """Number of training examples of the run's own model."""
    network: NaiveBayes | Discriminant | Logistic = field(default_factory=NaiveBayes)
    """Kind of classifier."""
    repeats: int = 20
    """Number of training parts that are drawn for each number of examples in the picture."""


base = Config(learning_rate=0.0, schedule="constant", evaluate_every=0)
variants: Mapping[str, Config] = {
    "correlated": base,
    "correlated_discriminant": replace(base, network=Discriminant()),
    "correlated_logistic": replace(base, network=Logistic()),
    "independent": replace(base, correlation=0.0),
    "strongly_correlated": replace(base, correlation=0.4),
    "digits": replace(base, dataset="digits"),
}


def drawn(count: int, correlation: float, seed: int) -> dict[str, np.ndarray]:
    """{"x" float32 [count, D], "y"}: two normal classes of one covariance, correlation ** |i - j|."""
    draw = np.random.default_rng(seed)
    y = draw.integers(2, size=count)
    order = np.arange(D)
    covariance = float(correlation) ** np.abs(order[:, None] - order)
    away = np.random.default_rng(77).normal(size=D)
    away *= 1.2816 / np.sqrt(away @ np.linalg.solve(covariance, away))  # Bayes' rule is then wrong in 10 %
    x = draw.normal(size=(count, D)) @ np.linalg.cholesky(covariance).T + (2 * y[:, None] - 1) * away
    return {"x": x.astype(np.float32), "y": y.astype(np.int32)}


def parts_of(config: Config) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Training and test examples."""
    if config.dataset != "digits":
        return drawn(POOL, config.correlation, 0), drawn(5_000, config.correlation, 1)
    splits = gm.load_splits("digits", "train+validation")
    found = []
    for part in (splits.train, splits.test):
        arrays: Any = part.arrays if part is not None else None
        found.append({"x": (arrays["x"].reshape(-1, 64) > 7).astype(np.float32), "y": arrays["y"].astype(np.int32)})
    return found[0], found[1]


def data(config: Config) -> "gm.Splits":
    """The first examples of the training part, and the test part."""
    train, test = parts_of(config)
    classes, most = CLASSES[config.dataset], len(train["y"])
    if not 0 <= config.correlation < 1:
        raise ValueError(f"--correlation must be in [0, 1), got {config.correlation:g}")
    if not 2 * classes <= config.examples <= most or config.repeats < 2:
        raise ValueError(
            f"--examples must be {2 * classes} to {most} and --repeats 2 or more, got {config.examples} and "
            f"{config.repeats}"
        )
    own = draws_of(train, config.examples, classes, 0)
    return gm.Splits.of_arrays(own, test, name=config.dataset, num_classes=classes)


def draws_of(train: Mapping[str, np.ndarray], count: int, classes: int, seed: int) -> dict[str, np.ndarray]:
    """`count` random examples, two or more of each class."""
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(train["y"]))
    first = [order[train["y"][order] == k][:2] for k in range(classes)]
    sure = np.concatenate(first)
    rest = order[~np.isin(order, sure)][: count - len(sure)]
    return {name: values[np.concatenate([sure, rest])] for name, values in train.items()}


def made(network: Any, dataset: str, arrays: Any) -> "tuple[gm.Model, Any]":
    """The model of a network, and its parameters as fitted to the arrays; None where there are none."""
    classes, shape = CLASSES[dataset], (64,) if dataset == "digits" else (D,)
    if isinstance(network, NaiveBayes):
        kind: Any = "bernoulli" if dataset == "digits" else "linear"
        fit = None if arrays is None else gm.fit_naive_bayes(arrays, classes, kind=kind)
        return gm.naive_bayes(shape, classes, kind=kind, fitted=fit), fit
    if isinstance(network, Discriminant):
        fit = None if arrays is None else gm.fit_discriminant(arrays, classes, ridge=network.ridge)
        return gm.gaussian_discriminant(shape, classes, fitted=fit), fit
    weights = None if arrays is None else gm.fit_logistic(arrays, classes, l2=network.l2)
    return gm.logistic_regression(shape, classes, l2=network.l2, fitted=weights), weights


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The classifier, fitted to the training part."""
    return made(config.network, config.dataset, data.train.arrays)[0]


@lru_cache(maxsize=2)
def errors_of(config: Config) -> tuple[list[int], dict[str, np.ndarray]]:
    """Numbers of examples, and name -> test errors [sizes, repeats]."""
    train, test = parts_of(config)
    classes = CLASSES[config.dataset]
    most = min(len(train["y"]) // 2, 10 * config.examples)
    sizes = sorted({int(size) for size in np.geomspace(2 * classes + 2, most, 10)})
    networks = {"naive Bayes": NaiveBayes(), "discriminant": Discriminant(), "logistic regression": Logistic()}
    errors = {name: np.zeros((len(sizes), config.repeats)) for name in networks}
    for i, size in enumerate(sizes):
        for repeat in range(config.repeats):
            arrays = draws_of(train, size, classes, repeat)
            for name, network in networks.items():
                fresh, params = made(network, config.dataset, arrays)
                said = np.asarray(fresh.apply(params, {}, test["x"])).argmax(-1)
                errors[name][i, repeat] = (said != test["y"]).mean()
    return sizes, errors


def title_of(config: Config) -> str:
    """What the data are, in words."""
    return "digits" if config.dataset == "digits" else f"normal, correlation {config.correlation:g}"


@dataclass(frozen=True)
class ByExamples:
    """Errors of all the classifiers by the number of training examples."""

    config: Config
    reads_parameters: ClassVar[bool] = False

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """Errors at each number of examples, and from which on logistic regression is better than each twin."""
        sizes, errors = errors_of(self.config)
        where = f"{title_of(self.config)}, test, {self.config.repeats} training parts"
        for name, each in errors.items():
            for size, values in zip(sizes, each, strict=True):
                spread = float(values.std(ddof=1) / np.sqrt(len(values)))
                yield gm.Figure(f"error, {name}, {size}", float(values.mean()), "fraction", where, spread)
        twin = errors["logistic regression"].mean(1)
        for name in ("naive Bayes", "discriminant"):
            better = twin < errors[name].mean(1)
            since = next((size for i, size in enumerate(sizes) if better[i:].all()), None)
            note = f"from which on it stays below {name}; first below: {bool(better[0])}; nan: it is not at the largest"
            value = float("nan") if since is None else float(since)
            yield gm.Figure(f"crossing, {name}", value, "examples", where, note=note)

    def draw(self, trained: "gm.Trained", split: "gm.Split", key: Any, folder: Path) -> None:
        """Draw `error_by_examples.png`."""
        sizes, errors = errors_of(self.config)
        curves = {}
        for name, each in errors.items():
            half = stats.t.ppf(0.975, each.shape[1] - 1) * each.std(1, ddof=1) / np.sqrt(each.shape[1])
            curves[name] = gm.plots.Curve(sizes, each.mean(1), each.mean(1) - half, each.mean(1) + half)
        path = folder / "error_by_examples.png"
        gm.plots.panels({title_of(self.config): curves}, path, x="training examples", y="test error", log_x=True)


def measures(config: Config) -> "Sequence[gm.Measure]":
    """The model's own accuracy, and all of them by examples."""
    return (gm.measures.Accuracy(), ByExamples(config))


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    swept=("correlated", "correlated_discriminant", "correlated_logistic"),
    tiny={"batch_size": 8, "examples": 24, "repeats": 2},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

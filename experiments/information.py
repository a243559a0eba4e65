"""What do entropy, divergences and mutual information measure, and how well are they estimated?

    python -m experiments.information                       # a normal fitted to two modes by KL; four distributions
    python -m experiments.information mutual_information    # estimators against the closed form of Gaussians
    python -m experiments.information mutual_information --batch-size 512    # a higher ceiling of InfoNCE
    python -m experiments.information bayes                 # Bayes' rule on a test for cancer; needs scikit-learn

Measured by these commands on one core of an AMD EPYC that other programs shared, seconds each, the third two minutes.

Divergences. p is 0.4 N(-2, 0.6) + 0.6 N(2, 0.8), q one normal. Hypothesis: KL(p || q) gives p's mean and deviation,
and KL(q || p) one of the modes, the nearer to the start:

    minimised     start               mean      deviation    KL(p || q)    KL(q || p)
    KL(p || q)    N(0, 1)              0.400      2.090        0.4085        0.7721
    KL(q || p)    N(-2, 1)            -1.983      0.623       11.65          0.9081 (near -log 0.4 = 0.916)
    KL(q || p)    N(2, 1)              1.980      0.830        3.970         0.5040 (near -log 0.6 = 0.511)
    KL(q || p)    N(0.3, 3)            0.847      1.726        0.4838        0.6702

p has the mean 0.4 and the deviation 2.090, its entropy is 1.748 nats, and the cross-entropy of the first fit 2.156,
which is that entropy and the first KL. Not expected: KL(q || p) has a third minimum, over both modes, which a wide
start finds, and N(-1, 1) as well. "Mode-seeking" holds for modes further apart, or for starts within one.

Entropies, counted as -mean log p(x) over 10,000 samples, seed 0, and exact, in nats: N(1, 2) 2.129 +- 0.007 and 2.112,
Bernoulli (0.3) 0.611 +- 0.004 and 0.611, categorical of five classes 1.413 +- 0.006 and 1.415, multinomial of ten draws
3.353 +- 0.009 and 3.341. The first is 2.3 standard errors off; over 60 other draws its mean is 0.02 of them off.

Mutual information. Five numbers and five others, each pair correlated, 2,000 pairs for testing. Hypothesis: binning
has a bias of (bins - 1)^2 / 2n upwards and misses what is inside bins; neighbours are right; InfoNCE stops at log N.

    exact                              0.5      1        2        4        6        8
    3 neighbours (Kraskov)             0.353    0.757    1.444    2.815    3.851    4.595
    InfoNCE, N = 64, log N 4.16        0.408    0.911    1.742    3.073    3.782    4.044
    InfoNCE, N = 512, log N 6.24       0.412    0.896    1.846    3.659    4.966    5.785
    exact, of one pair of numbers      0.100    0.200    0.400    0.800    1.200    1.600
    8 bins                             0.102    0.171    0.362    0.719    0.972    1.191
    32 bins                            0.381    0.429    0.614    0.969    1.250    1.577
    3 neighbours                       0.122    0.193    0.389    0.842    1.187    1.588

InfoNCE's figures for N = 64 are means of three seeds, with standard errors below 0.004 (`information sweep --variants
mutual_information --seeds 3`); those for N = 512 are of seed 0; the others have no seed, and one draw of the data. 32
bins are too high by 0.24 where the formula says 961 / 4,000. Neighbours are right for two numbers, and not for ten:
their estimate takes the density as even within the box that reaches the third neighbour, which strongly dependent
variables fill thinly (Gao et al., 2015); at 8 nats 2,000 pairs give 4.6.

Bayes' rule. Wisconsin's breast cancer data, a mean radius above the average as the test. From the training part's
prevalence 0.363, sensitivity 0.870 and specificity 0.864 the rule says P(ill | positive) = 0.784; counted among 73
test patients with a positive test: 0.822 +- 0.045. Where one in a hundred is ill, the rule says 0.061 and reweighted
patients give 0.068: most who are positive are well. The same rule moves a classifier: logistic regression's
cross-entropy at that prevalence falls from 0.0219 to 0.0083 nats once the ratio of prevalences is added to its
logits.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

import gen_models as gm

MODES: dict[str, Any] = {"means": (-2.0, 2.0), "sigmas": (0.6, 0.8), "weights": (0.4, 0.6)}
STARTS: dict[str, Any] = {
    "forward": {"direction": "forward"},
    "reverse, from the left": {"direction": "reverse", "mu": -2.0},
    "reverse, from the right": {"direction": "reverse", "mu": 2.0},
    "reverse, wide": {"direction": "reverse", "mu": 0.3, "sigma": 3.0},
}
LEVELS = (0.5, 1.0, 2.0, 4.0, 6.0, 8.0)  # nats of mutual information between the vectors


@dataclass(frozen=True, kw_only=True)
class Divergences:
    """Normal distributions fitted to two modes."""


@dataclass(frozen=True, kw_only=True)
class Critic:
    """Critics of InfoNCE, one for each level of information."""

    hidden: tuple[int, ...] = (128,)
    """Widths of the hidden layers."""
    features: int = 32
    """Numbers whose products are a score."""


@dataclass(frozen=True, kw_only=True)
class Bayes:
    """Logistic regression of a diagnosis, beside Bayes' rule on one threshold."""


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """What is fitted or estimated, and how long."""

    steps: int = 2000
    batch_size: int = 64
    network: Divergences | Critic | Bayes = Divergences()
    """What is asked: divergences, mutual information, or Bayes' rule."""
    dimensions: int = 5
    """Numbers of each of the two vectors."""
    examples: int = 10_000
    """Pairs of vectors for training; 2,000 test."""


base = Config(learning_rate=1e-2, evaluate_every=0)
variants: Mapping[str, Config] = {
    "divergences": base,
    "mutual_information": replace(base, network=Critic(), steps=3000, learning_rate=1e-3),
    "bayes": replace(base, network=Bayes(), steps=500),
}


def correlation(level: float, dimensions: int) -> float:
    """rho of pairs (x_d, y_d) for which the vectors share `level` nats: -D/2 log(1 - rho^2) = level."""
    return float(np.sqrt(-np.expm1(-2 * level / dimensions)))


def gaussian_pairs(count: int, seed: int, dimensions: int) -> dict[str, np.ndarray]:
    """Pairs x, y [N, 6, D] float32, standard normal, that share `LEVELS` nats."""
    draw = np.random.default_rng(seed)
    x, noise = draw.standard_normal((2, count, len(LEVELS), dimensions))
    rho = np.array([correlation(level, dimensions) for level in LEVELS])[:, None]
    return {"x": x.astype(np.float32), "y": (rho * x + np.sqrt(1 - rho**2) * noise).astype(np.float32)}


def data(config: Config) -> "gm.Splits":
    """Pairs of Gaussian vectors; diagnoses; or nothing, where a density is given."""
    if isinstance(config.network, Critic):
        parts = [gaussian_pairs(n, seed, config.dimensions) for seed, n in enumerate((config.examples, 2000))]
        return gm.Splits.of_arrays(*parts, name="Gaussian pairs", examples="pairs")
    if isinstance(config.network, Bayes):
        return gm.breast_cancer_splits()
    return gm.Splits.of_arrays({"x": np.zeros((config.batch_size, 1), np.float32)}, name="two modes")


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """Normal distributions side by side; a critic for each level; or a classifier."""
    if isinstance(config.network, Critic):
        one = gm.info_nce((config.dimensions,), (config.dimensions,), **vars(config.network))
        return gm.copies(one, len(LEVELS), own_data=True)
    if isinstance(config.network, Bayes):
        return gm.logistic_regression(data.shape, 2)
    grid, log_p = target()
    return gm.side_by_side({name: gm.gaussian_fit(grid, log_p, **start) for name, start in STARTS.items()})


def target() -> tuple[np.ndarray, np.ndarray]:
    """A grid and the logarithm of the density of two modes on it."""
    grid = np.linspace(-12, 12, 2401)
    return grid, gm.mixture_log_density(grid, **MODES)


@dataclass(frozen=True)
class Fits:
    """The fitted normal distributions: both divergences of each, and what the density itself has."""

    headline: ClassVar[tuple[str, Literal["minimize"]]] = ("forward_kl", "minimize")

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """Entropy and moments of p; of each fit its mean, deviation, cross-entropy, and KL in both directions."""
        grid, log_p = target()
        step, p = grid[1] - grid[0], np.exp(log_p)
        mean = (p * grid).sum() * step
        spread = np.sqrt((p * (grid - mean) ** 2).sum() * step)
        where = f"two modes, {len(grid):,} points"
        yield gm.Figure("entropy of p", float(-(p * log_p).sum() * step), "nats", where)
        yield gm.Figure("mean of p", float(mean), "", where)
        yield gm.Figure("deviation of p", float(spread), "", where)
        for name, log_q in trained.answers(grid.astype(np.float32)).items():
            own = trained.params[name]
            yield gm.Figure(f"{name}: mean", float(own["mu"]), "", where)
            yield gm.Figure(f"{name}: deviation", float(np.exp(own["log_sigma"])), "", where)
            yield gm.Figure(f"{name}: cross-entropy", float(-(p * log_q).sum() * step), "nats", where)
            one, other = float(gm.divergence(log_p, log_q, step)), float(gm.divergence(log_q, log_p, step))
            label = "forward KL" if name == "forward" else f"{name}: forward KL"
            yield gm.Figure(label, one, "nats", where, note="KL(p || q)", better="minimize")
            yield gm.Figure(f"{name}: reverse KL", other, "nats", where, note="KL(q || p)", better="minimize")

    def draw(self, trained: "gm.Trained", split: "gm.Split", key: Any, folder: Path) -> None:
        """Draw `fits.png`: the density of two modes and the fits."""
        grid, log_p = target()
        fits = trained.answers(grid.astype(np.float32))
        with gm.plots.drawing(folder / "fits.png", figsize=(6.5, 3.8), layout="constrained") as canvas:
            axis = canvas.subplots()
            axis.fill_between(grid, np.exp(log_p), color="lightgrey", label="p: two modes")
            styles = dict(zip(STARTS, ("-", "--", "--", ":"), strict=True))
            for name, found in fits.items():
                axis.plot(grid, np.exp(found), styles[name], label=name)
            axis.set(xlim=(-5.5, 5.5), xlabel="x", ylabel="density")
            axis.legend(frameon=False, fontsize=8)


@dataclass(frozen=True)
class Estimates:
    """Estimates of mutual information at each level, beside the closed form."""

    config: Config
    headline: ClassVar[tuple[str, Literal["maximize"]]] = ("bound", "maximize")

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """InfoNCE's mean bound; then each level's estimates by every estimator."""
        found = self._found(trained, split)
        ceiling = float(np.log(self.config.batch_size))
        note = f"mean over levels; at most log {self.config.batch_size} = {ceiling:.2f}"
        yield gm.Figure("bound", float(np.mean(found["InfoNCE"])), "nats", split.where, note=note, better="maximize")
        for name, values in found.items():
            one = " (one coordinate)" if name.endswith("1-D") else ""
            for level, value in zip(LEVELS, values, strict=True):
                truth = level / self.config.dimensions if one else level
                yield gm.Figure(f"{name}, {level:g} nats", value, "nats", split.where, note=f"exact: {truth:.3f}{one}")

    def draw(self, trained: "gm.Trained", split: "gm.Split", key: Any, folder: Path) -> None:
        """Draw `estimates.png`: estimates against the exact information, of one coordinate and of the vectors."""
        found, levels = self._found(trained, split), np.array(LEVELS)
        with gm.plots.drawing(folder / "estimates.png", figsize=(9, 3.8), layout="constrained") as canvas:
            left, right = canvas.subplots(1, 2)
            for name, values in found.items():
                one = name.endswith("1-D")
                across = levels / self.config.dimensions if one else levels
                (left if one else right).plot(across, values, "o-", markersize=3, label=name)
            for axis, most in ((left, LEVELS[-1] / self.config.dimensions), (right, LEVELS[-1])):
                axis.plot([0, most], [0, most], "k:", label="exact")
                axis.set(xlabel="exact information, nats", ylabel="estimate, nats")
            right.axhline(np.log(self.config.batch_size), color="grey", linewidth=0.8)
            right.annotate(f"log {self.config.batch_size}", (0.2, np.log(self.config.batch_size) + 0.1), fontsize=8)
            left.set_title("a pair of numbers", fontsize=10)
            right.set_title(f"a pair of vectors of {self.config.dimensions} numbers", fontsize=10)
            for axis in (left, right):
                axis.legend(frameon=False, fontsize=8)

    def _found(self, trained: "gm.Trained", split: "gm.Split") -> dict[str, list[float]]:
        """Name of the estimator -> its estimate at each level."""
        part = split.whole()
        x, y = np.asarray(part["x"], np.float64), np.asarray(part["y"], np.float64)
        estimate, each = gm.evaluation.mutual_information, range(len(LEVELS))
        return {
            "8 bins, 1-D": [estimate.binned(x[:, i, 0], y[:, i, 0], 8) for i in each],
            "32 bins, 1-D": [estimate.binned(x[:, i, 0], y[:, i, 0], 32) for i in each],
            "3 neighbours, 1-D": [estimate.nearest_neighbours(x[:, i, 0], y[:, i, 0]) for i in each],
            "3 neighbours": [estimate.nearest_neighbours(x[:, i], y[:, i]) for i in each],
            "InfoNCE": self._bounds(trained, x, y),
        }

    def _bounds(self, trained: "gm.Trained", x: np.ndarray, y: np.ndarray) -> list[float]:
        """InfoNCE's bound at each level, a mean over batches of the size that was trained with."""
        size, found = self.config.batch_size, []
        for start in range(0, len(x) - size + 1, size):
            batch = (part[start : start + size].astype(np.float32) for part in (x, y))
            scores = trained.model.apply(trained.params, trained.stats, *batch)  # [B, 6, B]
            found.append([float(gm.info_nce_bound(scores[:, i])) for i in range(len(LEVELS))])
        return [float(value) for value in np.mean(found, 0)]


def posterior(sensitivity: float, specificity: float, prevalence: float) -> float:
    """P(ill | positive) by Bayes' rule."""
    ill, well = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    return ill / (ill + well)


@dataclass(frozen=True)
class BayesRule:
    """A threshold on one number as a test for an illness, and a classifier, moved to another prevalence."""

    rare: float = 0.01  # the other prevalence
    headline: ClassVar[tuple[str, Literal["minimize"]]] = ("error_of_bayes_rule", "minimize")

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """P(ill | positive) by the rule from training figures, and counted; then the classifier's cross-entropy."""
        (radius, ill), (x, y) = (self._part(part) for part in (split.train(), split))
        radius, positive = radius[:, 0], x[:, 0] > 0  # larger than the mean
        sensitivity, specificity = (radius[ill == 1] > 0).mean(), (radius[ill == 0] <= 0).mean()
        said = posterior(sensitivity, specificity, ill.mean())
        counted, n = y[positive].mean(), int(positive.sum())
        error = float(np.sqrt(counted * (1 - counted) / n))
        note = "|by the rule - counted|; the spread is of what was counted"
        yield gm.Figure("error of Bayes rule", abs(said - counted), "fraction", split.where, error, note, "minimize")
        yield gm.Figure("prevalence", float(ill.mean()), "fraction", "training part")
        yield gm.Figure("sensitivity", float(sensitivity), "fraction", "training part")
        yield gm.Figure("specificity", float(specificity), "fraction", "training part")
        yield gm.Figure("P(ill | positive), by the rule", float(said), "fraction", "training part")
        yield gm.Figure("P(ill | positive), counted", float(counted), "fraction", split.where, error)
        weight = np.where(y == 1, self.rare / y.mean(), (1 - self.rare) / (1 - y.mean()))
        rare = posterior(sensitivity, specificity, self.rare)
        yield gm.Figure(f"by the rule, {self.rare:g} ill", float(rare), "fraction", "training part")
        moved = float((weight * y)[positive].sum() / weight[positive].sum())
        yield gm.Figure(f"counted, {self.rare:g} ill", moved, "fraction", split.where, note="the ill weigh less")
        for name, log_p in self._classified(trained, x, ill.mean()).items():
            cost = -log_p[np.arange(len(y)), y]
            yield gm.Figure(name, float((weight * cost).mean()), "nats", split.where, note=f"{self.rare:g} are ill")

    def _classified(self, trained: "gm.Trained", x: np.ndarray, prevalence: float) -> dict[str, np.ndarray]:
        """Log-probabilities [N, 2] of the classifier as it is, and moved to the other prevalence."""
        logits = trained.answers(x)
        old, new = (np.log([1 - share, share]) for share in (prevalence, self.rare))
        found = {"cross-entropy, as it is": logits, "cross-entropy, by Bayes rule": logits - old + new}
        return {name: value - np.logaddexp.reduce(value, 1)[:, None] for name, value in found.items()}

    def draw(self, trained: "gm.Trained", split: "gm.Split", key: Any, folder: Path) -> None:
        """Draw `posterior.png`: P(ill | positive) and P(ill | negative) against the prevalence."""
        radius, ill = self._part(split.train())
        sensitivity, specificity = (radius[ill == 1, 0] > 0).mean(), (radius[ill == 0, 0] <= 0).mean()
        prevalence = np.linspace(0.001, 0.999, 200)
        positive = [posterior(sensitivity, specificity, share) for share in prevalence]
        negative = [posterior(1 - sensitivity, 1 - specificity, share) for share in prevalence]
        with gm.plots.drawing(folder / "posterior.png", figsize=(5, 3.8), layout="constrained") as canvas:
            axis = canvas.subplots()
            axis.plot(prevalence, positive, label="ill, given a positive test")
            axis.plot(prevalence, negative, label="ill, given a negative test")
            axis.plot([0, 1], [0, 1], "k:", label="no test")
            axis.axvline(ill.mean(), color="grey", linewidth=0.8, label="prevalence in the data")
            axis.set(xlabel="prevalence", ylabel="probability")
            canvas.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)

    def _part(self, split: "gm.Split") -> tuple[np.ndarray, np.ndarray]:
        """x [N, 30] and y [N] of a whole part."""
        part = split.whole()
        return part["x"], part["y"]


def measures(config: Config) -> "Sequence[gm.Measure]":
    """What the variant asks."""
    if isinstance(config.network, Critic):
        return (Estimates(config), gm.measures.Parameters())
    if isinstance(config.network, Bayes):
        return (BayesRule(), gm.measures.Accuracy())
    return (Fits(), gm.measures.FourDistributions())


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    tiny={"batch_size": 8, "network.hidden": (4,), "network.features": 2, "examples": 40},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)

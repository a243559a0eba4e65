"""What a code tells about the class: a linear classifier of codes, and their nearest neighbours.

Codes are those of whole examples, as the data's `evaluation` makes them, of the training part for what is learned and
of the split that is measured. Nothing of the model is trained further. Where the data have no classes, there are no
figures.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gen_models.core import Key, Model, Params, Stats
from gen_models.measures.base import Split, Trained
from gen_models.measures.classification import labels_of
from gen_models.measures.figure import Figure
from gen_models.measures.reconstruction import code_of


class Probe(NamedTuple):
    """A linear classifier of codes, and how they are standardised."""

    classifier: Any  # scikit-learn's
    mean: np.ndarray  # [D]
    scale: np.ndarray  # [D]

    def standardised(self, codes: np.ndarray) -> np.ndarray:
        """Codes [N, D], each number standardised by its mean and deviation over the codes that were fitted."""
        return (codes.reshape(len(codes), -1) - self.mean) / self.scale


def check_scikit_learn(what: str) -> None:
    """Refuse what needs scikit-learn where it is not installed.

    Raises:
      ValueError: it is not.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise ValueError(f"{what} needs scikit-learn: pip install 'gen_models[probes]'")


def fitted_probe(trained: Trained, known: Split, key: Key, machine: bool = False, iterations: int = 1000) -> Probe:
    """A linear classifier, fitted to the codes of a split.

    Args:
      trained: the model whose codes they are.
      known: the split.
      key: the randomness of the codes.
      machine: a `SupportVectorMachine` with C = 1 over the number of features; else scikit-learn's logistic regression
        with C = 1.
      iterations: at most.
    """
    codes = _codes_of(trained, known, key)
    mean, deviation = codes.mean(0), codes.std(0)
    scale = np.where(deviation > 0, deviation, 1)  # a unit that never moves stays at 0
    classifier: Any
    if machine:  # |w|^2 must count for less than the losses where there are many features
        classifier = SupportVectorMachine(1 / codes.shape[1], iterations)
    else:
        from sklearn.linear_model import LogisticRegression

        classifier = LogisticRegression(max_iter=iterations)
    return Probe(classifier.fit((codes - mean) / scale, labels_of(known)), mean, scale)


class SupportVectorMachine:
    """Linear support vector machines with squared hinge losses, one class against the rest.

    Each class's w and b minimise (|w|^2 + b^2) / 2 + C sum_i max(0, 1 - t_i (w.x_i + b))^2 with t = 1 for its examples
    and -1 for others. That is what scikit-learn's LinearSVC solves, by another way: all classes at once, by L-BFGS and
    products of matrices. Timed once by hand, 10,000 examples of 3,072 numbers took 11 s of a core (random ones), where
    LinearSVC had not ended after two minutes (a DCGAN's).
    """

    def __init__(self, c: float, iterations: int = 1000) -> None:
        self.c, self.iterations = c, iterations

    def fit(self, x: Float[np.ndarray, "n d"], y: Int[np.ndarray, "n"]) -> "SupportVectorMachine":
        """Find w and b of every class that y [N] has, which must be two or more."""
        from scipy.optimize import minimize

        self.classes_ = np.unique(y)
        target = np.where(y[:, None] == self.classes_, 1.0, -1.0)
        beside = np.concatenate([np.asarray(x, np.float64), np.ones((len(x), 1))], 1)  # b is the weight of a 1

        def value(flat):
            w = flat.reshape(beside.shape[1], -1)
            short = np.maximum(0, 1 - target * (beside @ w))
            slope = w - 2 * self.c * beside.T @ (target * short)
            return (w**2).sum() / 2 + self.c * (short**2).sum(), slope.ravel()

        start = np.zeros(beside.shape[1] * len(self.classes_))
        options = {"maxiter": self.iterations, "maxfun": 2 * self.iterations, "ftol": 1e-10, "gtol": 1e-6}
        found = minimize(value, start, jac=True, method="L-BFGS-B", options=options)
        self.weights = found.x.reshape(beside.shape[1], -1)
        return self

    def predict(self, x: Float[np.ndarray, "n d"]) -> np.ndarray:
        """The class with the largest w.x + b, [N]."""
        return self.classes_[(x @ self.weights[:-1] + self.weights[-1]).argmax(1)]


@dataclass(frozen=True)
class LinearProbe:
    """Accuracy of a linear classifier of codes, each number standardised by its training mean and deviation.

    It is scikit-learn's logistic regression with the penalty |w|^2 / 2C and C = 1, by L-BFGS to convergence; or with
    `machine` a `SupportVectorMachine` with C = 1 over the number of features, by which Radford et al. (DCGAN, 2016,
    section 5.1) and many others judge features.

    Raises:
      ValueError: scikit-learn is not installed, which a logistic regression needs.
    """

    examples: int = 10_000  # first training examples that it is fitted to; 0: all
    iterations: int = 1000  # at most
    machine: bool = False  # whether it is a support vector machine

    def __post_init__(self) -> None:
        if not self.machine:
            check_scikit_learn("a linear probe")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The accuracy on the split, with its standard error."""
        if trained.num_classes is None:
            return
        known = split.train().first(self.examples)
        probe = fitted_probe(trained, known, key, self.machine, self.iterations)
        right = probe.classifier.predict(probe.standardised(_codes_of(trained, split, key))) == labels_of(split)
        name = "linear machine accuracy" if self.machine else "linear probe accuracy"
        yield _accuracy(name, right, split, f"fitted to {len(known):,} training codes of {len(probe.mean):,} numbers")


@dataclass(frozen=True)
class NearestNeighbours:
    """Accuracy of the commonest class among the training codes that are nearest, of equally common ones the first."""

    neighbours: int = 5
    examples: int = 10_000  # first training examples among which they are sought; 0: all

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be 1 or more, got {self.neighbours}")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The accuracy on the split, with its standard error."""
        if trained.num_classes is None:
            return
        known = split.train().first(self.examples)
        codes, queries = (_codes_of(trained, part, key) for part in (known, split))
        count = min(self.neighbours, len(codes))
        found = classes_of_neighbours(queries, codes, labels_of(known), trained.num_classes, count)
        note = f"of {count} among {len(codes):,} training codes, by Euclidean distance"
        yield _accuracy("neighbours' accuracy", found == labels_of(split), split, note)


def classes_of_neighbours(
    queries: Float[np.ndarray, "n d"],
    codes: Float[np.ndarray, "m d"],
    labels: Int[np.ndarray, "m"],
    num_classes: int,
    count: int,
    size: int = 250,
) -> Int[np.ndarray, "n"]:
    """The commonest class of the `count` codes nearest to each query, of equally common ones the first.

    Args:
      queries: whose class is sought.
      codes: among which neighbours are sought.
      labels: their classes.
      num_classes: from 0 on.
      count: neighbours.
      size: queries at a time: [size, m] distances are in memory.
    """
    centre = codes.mean(0)  # distances are differences of squares, which lose fewer digits near 0
    known = jnp.asarray(codes - centre, jnp.float32)
    of_some = jax.jit(partial(_commonest, num_classes=num_classes, count=count))
    found = []
    for start in range(0, len(queries), size):
        some = np.zeros((size, codes.shape[1]), np.float32)
        rows = queries[start : start + size]
        some[: len(rows)] = rows - centre
        found.append(np.asarray(of_some(some, known, labels))[: len(rows)])
    return np.concatenate(found)


def _commonest(
    queries: Float[Array, "n d"], codes: Float[Array, "m d"], labels: Int[Array, "m"], num_classes: int, count: int
) -> Int[Array, "n"]:
    nearness = queries @ codes.T - (codes**2).sum(1) / 2  # the squared distance is |q|^2 - 2 of it
    nearest = jax.lax.top_k(nearness, count)[1]
    return jax.nn.one_hot(labels[nearest], num_classes).sum(1).argmax(1)


def _codes_of(trained: Trained, split: Split, key: Key) -> np.ndarray:
    """Codes of a whole split, float64 [N, D]."""
    return split.each(_code, trained, key, size=500)


def _code(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    return code_of(model, params, stats, batch["x"]).reshape(len(batch["x"]), -1)


def _accuracy(name: str, right: np.ndarray, split: Split, note: str) -> Figure:
    share = float(right.mean())
    error = float(np.sqrt(share * (1 - share) / len(right)))
    return Figure(name, share, "fraction", split.where, error, note, "maximize")

"""The measures' protocol, and the one weighted mean over a split that they share.

A measure is a frozen dataclass with one or both of

    figures(trained, split, key) -> iterable of Figure     what is measured on a split
    draw(trained, split, key, folder) -> None              pictures of a split, into the folder

and, where they apply, these class attributes:

- `headline`: the metric that a search goes by, which is `metric_name` of one of the measure's own figures, and its
  better way: `("elbo", "maximize")`. A measure with a headline is cheap enough to be taken during training too, on
  the held-out split.
- `reads_traced = True`: what it measures depends on config fields marked TRACED, such as the dropout of the loss. Then
  runs that differ in such fields cannot share its model.
- `reads_parameters = False`: what it measures does not depend on the parameters' values, as their number does not. The
  other measures' figures say so where they are of averaged parameters.

A measure that draws samples of the model also has `count`, `sample` and `show` (`DrawsSamples`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from gen_models.core import Key, Model, Params, Stats
from gen_models.data import Dataset, evaluation_batches
from gen_models.data.access import Subset
from gen_models.data.splits import Splits
from gen_models.data.transforms import Transform
from gen_models.measures.figure import Figure

Headline = tuple[str, Literal["maximize", "minimize"]]


class Trained(NamedTuple):
    """A model with the parameters and statistics that it is evaluated with."""

    model: Model
    params: Params
    stats: Stats
    num_classes: int | None = None  # classes of the data that it was trained on; None: no classes
    averaged: bool = False  # whether the parameters are a mean over the steps of training
    vocabulary: Any = None  # the text of each token of the data that it was trained on; None: they have none

    def answers(self, x: Any) -> Any:
        """What the model's `apply` gives for x, in NumPy's float64."""
        return jax.tree.map(lambda y: np.asarray(y, np.float64), self.model.apply(self.params, self.stats, x))


@runtime_checkable
class Measures(Protocol):
    """A measure that has figures."""

    def figures(self, trained: Trained, split: "Split", key: Key) -> Iterable[Figure]:
        """The figures of the split; `key` is the randomness of what is measured."""


@runtime_checkable
class Draws(Protocol):
    """A measure that has pictures."""

    def draw(self, trained: Trained, split: "Split", key: Key, folder: Path) -> None:
        """Write pictures of the split into the folder; `key` is the randomness of what is drawn."""


@runtime_checkable
class DrawsSamples(Protocol):
    """A measure that draws samples of the model, such as `Samples`; `tools.sample` and `--draw-every` use it."""

    count: int  # samples in a picture

    def sample(self, trained: Trained, key: Key, n: int, **condition: Any) -> np.ndarray:
        """Draw n samples [n, ...]; `condition` is what the model's `sample` takes besides."""

    def show(self, samples: np.ndarray, path: Path) -> None:
        """Write a picture of samples [n, ...]."""


Measure = Measures | Draws


def headline_of(measure: Measure) -> Headline | None:
    """The measure's headline, or None where it has none, and is taken at the end alone."""
    return getattr(measure, "headline", None)


def reads_parameters(measure: Measure) -> bool:
    """Whether what the measure says depends on the parameters' values."""
    return getattr(measure, "reads_parameters", True)


class Mean(NamedTuple):
    """A mean over a split's examples."""

    value: np.ndarray  # [...], float64
    standard_error: np.ndarray  # [...], float64: of the mean, over examples; NaN with one example


@dataclass(frozen=True, eq=False)
class Split:
    """One split of the data, which is measured, as the model sees it."""

    data: Splits
    dataset: Dataset
    word: str  # "validation", "test", ...: metrics of it are called "validation/elbo"
    seed: int = 0  # the seed of the noise of the data's transform

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def where(self) -> str:
        """What a figure was measured on, in words: "mnist, test, 10,000 images, binarised (dynamic)"."""
        words = [self.dataset.name, self.word, f"{len(self):,} {self.data.examples}", self.data.how]
        return ", ".join(word for word in words if word)

    def train(self) -> "Split":
        """The training split of the same data."""
        return Split(self.data, self.data.train, "train")

    def held_out(self) -> "Split":
        """The held-out split of the same data; the training split where nothing is held out."""
        return (
            self.train()
            if self.data.held_out is None
            else Split(self.data, self.data.held_out, self.data.held_out_word)
        )

    def batches(self, size: int, transform: Transform | None = None) -> Iterator[dict[str, Any]]:
        """Every example once, in batches of one shape [size, ...], as the transform makes them.

        Each batch has "weight" float32 [size]: 1 for an example, and 0 for what fills up the last batch. Without a
        transform, the data's `evaluation` is used.
        """
        own = self.data.evaluation if transform is None else transform
        return evaluation_batches(self.dataset, min(size, len(self)), transform=own, seed=self.seed)

    def whole(self) -> dict[str, np.ndarray]:
        """Every example at once, as the data's transform makes it: for parts that are small."""
        return {name: np.asarray(values) for name, values in next(iter(self.batches(len(self)))).items()}

    def some(self, count: int, transform: Transform | None = None) -> dict[str, np.ndarray]:
        """`count` examples, or as many as there are, evenly spaced among the first 400, as the transform makes them."""
        batch = next(iter(self.batches(400, transform)))
        chosen = np.linspace(0, len(batch["weight"]) - 1, min(count, len(batch["weight"]))).astype(int)
        return {name: np.asarray(value)[chosen] for name, value in batch.items()}

    def first(self, count: int) -> "Split":
        """A split of the first `count` examples; the whole split where it has no more, or `count` is 0."""
        return self if count <= 0 or count >= len(self) else self.chosen(range(count))

    def chosen(self, indices: Sequence[int]) -> "Split":
        """A split of the examples of these indices, in this order; their noise is that of their new places."""
        arrays, source = self.dataset.arrays, self.dataset.source
        at = slice(0, len(indices)) if indices == range(len(indices)) else np.asarray(indices)
        some = {name: values[at] for name, values in arrays.items()} if arrays is not None else None
        dataset = replace(self.dataset, arrays=some, source=None if source is None else Subset(source, indices))
        return replace(self, dataset=dataset)

    def each(self, function: Callable[..., Any], trained: Trained, key: Key, *, size: int = 250) -> np.ndarray:
        """Values of every example, [N, ...] in float64, by `function(model, params, stats, batch, key) -> [1, ...]`.

        The function gets batches of one example, many at a time by `vmap`; that of example i gets `fold_in(key, i)`. So
        its noise, and that of the data's transform, do not depend on `size`, the examples taken at a time, nor on the
        other examples. It is compiled once for a model, however many runs of a group are measured, if it is the same
        object each time: a module's function, or a frozen measure's method.
        """
        compiled, values = _compiled_for_examples(function, trained.model), []
        for batch in self.batches(size):
            value = compiled(trained.params, trained.stats, batch, key)
            values.append(np.asarray(value, np.float64)[np.asarray(batch["weight"]) > 0])
        return np.concatenate(values)

    def mean(self, function: Callable[..., Any], trained: Trained, key: Key, *, size: int = 250) -> Mean:
        """Mean of `each` over the examples, [...] in float64, with its standard error."""
        return mean_of(self.each(function, trained, key, size=size))


def mean_of(values: np.ndarray) -> Mean:
    """Mean and standard error of values [N, ...] over their first axis."""
    if len(values) < 2:
        return Mean(values.mean(0), np.full(values.shape[1:], np.nan))
    with np.errstate(invalid="ignore"):  # log p = -inf is a result, and has no standard error
        return Mean(values.mean(0), values.std(0, ddof=1) / np.sqrt(len(values)))


@lru_cache(maxsize=64)
def compiled_for(function: Callable[..., Any], model: Model) -> Callable[..., Any]:
    """`function` with the model as its first argument, compiled; the same program for the same function and model."""
    return jax.jit(partial(function, model))


@lru_cache(maxsize=64)
def _compiled_for_examples(function: Callable[..., Any], model: Model) -> Callable[..., Any]:
    """`function` of each example of a batch, alone and with a key of its own, compiled as `compiled_for` does."""

    def each(params: Params, stats: Stats, batch: Any, key: Key) -> Any:
        def one(example: Any) -> Any:
            alone = jax.tree.map(lambda leaf: leaf[None], example)
            return function(model, params, stats, alone, jax.random.fold_in(key, example["index"]))[0]

        return jax.vmap(one)(batch)

    return jax.jit(each)


def metric_name(figure: str) -> str:
    """The name of a figure in metrics.jsonl: "NLL, lower half" is nll_lower_half, "bits/dim" is bits_per_dim."""
    words = figure.lower().replace("/", " per ").replace(",", " ").replace("-", " ")
    return "_".join(words.split())

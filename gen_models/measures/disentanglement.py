"""A measure of codes of data with known factors: three scores of disentanglement, and a picture of each dimension."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.data.shapes import grid_factors, grid_index
from gen_models.distributions import normal_kl
from gen_models.evaluation.disentanglement import beta_vae_score, factor_vae_score, mutual_information_gap
from gen_models.measures.base import Split, Trained, compiled_for, mean_of
from gen_models.measures.figure import Figure


@dataclass(frozen=True)
class Disentanglement:
    """How far single dimensions of z follow single factors of the data (`evaluation/disentanglement.py`).

    The data have a field "factors", int [N, K], the index of each factor's value from 0 on, and all parts together have
    every combination of these once, as those of `gm.shape_splits` have. The codes are the means of q(z|x), the first
    that `encode` gives, of all examples: what was trained on and what was held out, as in the papers.
    """

    bins: int = 20  # into which each dimension of the code is cut for the information gap
    train: int = 10_000  # examples from which a classifier of factors is learnt
    test: int = 5_000  # other examples, on which it is judged
    pairs: int = 64  # pairs of codes that an example averages, and codes that a vote compares
    repeats: int = 5  # of drawing and learning, over which the spread of the classifiers' scores is taken
    dimensions: int = 12  # rows of the picture
    columns: int = 9  # images in a row

    def __post_init__(self) -> None:
        for name, least in (("repeats", 1), ("dimensions", 1), ("columns", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The mutual information gap, and the scores of beta-VAE and FactorVAE; of all parts of the split's data."""
        codes, sizes = _grid_of_codes(trained, split)
        gap, *scores = (np.asarray(each, np.float64) for each in _scores(codes, key, sizes, self))
        words = [split.data.name, f"the whole grid of {len(codes):,} {split.data.examples}", split.data.how]
        where = ", ".join(word for word in words if word)
        note = f"of the means of q(z|x), in {self.bins} bins"
        yield Figure("MIG", float(gap), "fraction", where, note=note, better="maximize")
        spreads = f"; the spread is over {self.repeats} repeats" if self.repeats > 1 else ""
        for name, repeated in zip(("beta-VAE score", "FactorVAE score"), scores, strict=True):
            mean = mean_of(repeated)
            spread = float(mean.standard_error) if self.repeats > 1 else None
            note = f"chance is {1 / len(sizes):.2f}{spreads}"
            yield Figure(name, float(mean.value), "fraction", where, spread, note, "maximize")

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `traversal.png`: the first example, of whose code one dimension a row runs from -2 to 2.

        Rows are in the order of their dimension's KL divergence to the prior, a mean over up to 400 examples.
        """
        encoded = compiled_for(_encode, trained.model)(trained.params, trained.stats, split.some(400)["x"])
        mu, kl = (np.asarray(each) for each in encoded)
        rows = np.argsort(-kl.mean(0), kind="stable")[: self.dimensions]
        z = np.tile(mu[0], (len(rows), self.columns, 1))
        z[np.arange(len(rows)), :, rows] = np.linspace(-2, 2, self.columns)
        z = z.reshape(-1, mu.shape[1])
        images = np.asarray(compiled_for(_decode, trained.model)(trained.params, trained.stats, z))
        plots.image_grid(images, folder / "traversal.png", columns=self.columns)


@partial(jax.jit, static_argnames=("sizes", "options"))
def _scores(codes: jax.Array, key: Key, sizes: tuple[int, ...], options: Disentanglement) -> tuple[jax.Array, ...]:
    """The information gap [], and both classifiers' scores of each repeat, of codes [N, D] in the order of the grid."""
    factors = jnp.asarray(grid_factors(jnp.arange(len(codes)), sizes))
    gap = mutual_information_gap(codes, factors, sizes, bins=options.bins).score

    def encode(factors: jax.Array) -> jax.Array:
        return codes[grid_index(factors, sizes)]

    def both(key: Key) -> tuple[jax.Array, jax.Array]:
        beta_key, factor_key = jax.random.split(key)
        numbers = {"train": options.train, "test": options.test}
        beta = beta_vae_score(encode, sizes, beta_key, pairs=options.pairs, **numbers)
        return beta, factor_vae_score(encode, sizes, factor_key, draws=options.pairs, **numbers)

    return gap, *jax.lax.map(both, jax.random.split(key, options.repeats))


def _grid_of_codes(trained: Trained, split: Split) -> tuple[np.ndarray, tuple[int, ...]]:
    """Codes float32 [N, D] of all examples, in the order of the grid of their factors, and the factors' sizes.

    A factor that has one value is left out.

    Raises:
      ValueError: the parts of the data are not each combination of factors once.
    """
    parts = {id(part): part for part in (split.data.train, split.data.held_out, split.data.test) if part is not None}
    every = [Split(split.data, part, part.split) for part in parts.values()]
    nothing = jax.random.key(0)  # neither function draws anything
    factors, codes = (
        np.concatenate([each.each(function, trained, nothing, size=500) for each in every])
        for function in (_factors, _code)
    )
    factors = factors.astype(np.int64)
    factors = factors[:, factors.max(0) > 0]
    sizes = tuple(int(most) + 1 for most in factors.max(0))
    index = grid_index(factors, sizes)
    if len(factors) != np.prod(sizes) or len(np.unique(index)) != len(index):
        raise ValueError(
            f"the factors of {split.data.name!r} have {sizes} values, and its {len(factors)} examples are not each "
            "combination of them once: give all parts of a full grid, such as those of gm.shape_splits"
        )
    return codes[np.argsort(index)].astype(np.float32), sizes


def _code(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    """Means of q(z|x), [B, D]."""
    return model.encode(params, stats, batch["x"])[0]


def _factors(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    """The factors' values, [B, K]."""
    if "factors" not in batch:
        raise ValueError(
            f"the data have no field 'factors', only {', '.join(sorted(batch))}: measure disentanglement of data whose "
            "factors are known, such as those of gm.shape_splits"
        )
    return batch["factors"]


def _encode(model: Model, params: Params, stats: Stats, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Means of q(z|x) and the KL divergence of each dimension from the prior, both [B, D]."""
    mu, log_sigma, *_ = model.encode(params, stats, x)
    each = normal_kl(mu.reshape(-1, 1), log_sigma.reshape(-1, 1))  # every dimension of every example is one event
    return mu, each.reshape(mu.shape)


def _decode(model: Model, params: Params, stats: Stats, z: jax.Array) -> jax.Array:
    return model.decode(params, stats, z)

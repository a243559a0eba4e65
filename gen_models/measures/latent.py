"""Measures of models with a latent variable: the bound and its terms, reconstructions, walks between examples."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.data.transforms import to_unit
from gen_models.measures.base import Headline, Split, Trained, compiled_for
from gen_models.measures.figure import Figure
from gen_models.measures.likelihood import one


@dataclass(frozen=True)
class Elbo:
    """The evidence lower bound with one draw of z an example, and its terms (Kingma & Welling, 2014, eq. 3)."""

    headline: ClassVar[Headline] = ("elbo", "maximize")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The bound, the expected reconstruction error and the KL divergence, in nats an example."""
        bound_key, _ = jax.random.split(key)  # the other half is the importance-weighted bound's
        reconstruction, kl = split.mean(_terms, trained, bound_key, size=500).value
        unit, where = f"nats/{one(split)}", split.where
        elbo = -float(reconstruction + kl)
        yield Figure("ELBO", elbo, unit, where, note="lower bound on log p(x)", better="maximize")
        yield Figure("reconstruction", float(reconstruction), unit, where, note="-E_q log p(x|z)")
        yield Figure("KL", float(kl), unit, where, note="of q(z|x) from the prior")


def _terms(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    """-log p(x|z) and KL of each example, [B, 2]."""
    terms = model.elbo(params, stats, batch, key)
    return jnp.stack([terms["reconstruction"], terms["kl"]], 1)


@dataclass(frozen=True)
class Reconstructions:
    """Images, what the model is given of them, and what it makes of their codes' means."""

    count: int = 24  # images
    conditional: bool = False  # whether the model is told the class

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `reconstructions.png`, three rows of images in turn: originals, inputs and reconstructions."""
        some = split.some(self.count)
        original, given = split.some(self.count, to_unit)["x"], some["x"]
        label = some["y"] if self.conditional else None
        again = _decoded(trained, _encoded(trained, given, label), label)
        given = given / given.max(initial=1)  # levels, where the model has them
        columns = min(12, len(given))
        starts = range(0, len(given) - columns + 1, columns)
        rows = [images[start : start + columns] for start in starts for images in (original, given, again)]
        plots.image_grid(np.concatenate(rows), folder / "reconstructions.png", columns=columns)


@dataclass(frozen=True)
class LatentWalk:
    """Straight lines between the codes of pairs of examples, decoded."""

    pairs: int = 8  # pairs of examples, a row of the picture each
    steps: int = 12  # images in a row, both ends included
    conditional: bool = False  # whether the model is told the class, which is then the first one's along the line

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `latent_walk.png`: a row of images for each pair."""
        some = split.some(3 * self.pairs)
        label = some["y"] if self.conditional else None
        ends = _encoded(trained, some["x"], label)[: 2 * self.pairs]
        if len(ends) < 2:  # a split of one example has no pair
            return
        along = np.linspace(0, 1, self.steps)[:, None]
        pairs = zip(ends[0::2], ends[1::2], strict=False)
        walk = np.concatenate([a * (1 - along) + b * along for a, b in pairs])
        if label is not None:
            label = np.repeat(label[0 : len(walk) // self.steps * 2 : 2], self.steps)
        plots.image_grid(_decoded(trained, walk, label), folder / "latent_walk.png", columns=self.steps)


def _encode(model: Model, params: Params, stats: Stats, x: jax.Array, condition: dict[str, Any]) -> jax.Array:
    code = model.encode(params, stats, x, **condition)
    return code[0] if isinstance(code, tuple) else code


def _decode(model: Model, params: Params, stats: Stats, z: jax.Array, condition: dict[str, Any]) -> jax.Array:
    return model.decode(params, stats, z, **condition)


def _encoded(trained: Trained, x: np.ndarray, label: np.ndarray | None = None) -> np.ndarray:
    """Codes, or means of q(z|x), [N, D]."""
    encode = compiled_for(_encode, trained.model)
    return np.asarray(encode(trained.params, trained.stats, x, {} if label is None else {"label": label}))


def _decoded(trained: Trained, z: np.ndarray, label: np.ndarray | None = None) -> np.ndarray:
    """What is decoded of codes, or means of p(x|z), [N, ...]."""
    decode = compiled_for(_decode, trained.model)
    return np.asarray(decode(trained.params, trained.stats, z, {} if label is None else {"label": label}))

"""How often the token that follows is among the most probable ones, and tables of the most probable ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.measures.base import Split, Trained, compiled_for
from gen_models.measures.figure import Figure
from gen_models.measures.text import ratio_of_sums


@dataclass(frozen=True)
class NextToken:
    """Top-k accuracy: whether the token that follows is among the k most probable ones, given those before it.

    A token that is as probable as others counts as the least probable of them, so that a model which knows nothing has
    no accuracy at all. Padding does not count; each window is read from its beginning.
    """

    conditional: bool = False  # whether the model is told the class
    tops: tuple[int, ...] = (1, 5)  # the k of each figure
    tables: int = 6  # windows of which a table is written
    shown: int = 10  # tokens of each table
    size: int = 50  # windows taken at a time

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """Shares of all tokens, with the standard error of a ratio of two means over windows."""
        ranks = split.each(self._ranks, trained, key, size=self.size)  # [N, T], NaN of padding
        for k in self.tops:
            right = np.nansum(ranks <= k, 1)
            share, error = ratio_of_sums(right, (~np.isnan(ranks)).sum(1))
            yield Figure(f"top-{k} accuracy", share, "", split.where, error, "of the next token", "maximize")

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Write `next_token.txt` and `next_token.png`: ends of windows, and the most probable tokens behind each."""
        batch = split.some(self.tables)
        lengths = batch.get("length", np.full(len(batch["x"]), batch["x"].shape[1]))
        probabilities = compiled_for(self._probabilities, trained.model)(trained.params, trained.stats, batch)
        written = [
            self._table(np.asarray(p)[length - 1], x[:length], int(y[length - 1]), trained.vocabulary)
            for p, x, y, length in zip(probabilities, batch["x"], batch["y"], lengths, strict=True)
        ]
        (folder / "next_token.txt").write_text("\n\n".join(written) + "\n")
        plots.texts(written, folder / "next_token.png", width=56, lines=self.shown + 3)

    def _table(self, probabilities: np.ndarray, before: np.ndarray, after: int, vocabulary: Any) -> str:
        def text(tokens: Any) -> str:
            return repr(str(tokens) if vocabulary is None else vocabulary.decode(np.asarray(tokens)))

        lines = [f"...{text(before[-24:])}", f"   was followed by {text([after])}"]
        for token in np.argsort(-probabilities, kind="stable")[: self.shown]:
            mark = "*" if token == after else " "
            lines.append(f" {mark} {text([token]):12} {probabilities[token]:.4f}")
        return "\n".join(lines)

    def _probabilities(self, model: Model, params: Params, stats: Stats, batch: Any) -> Float[Array, "b t v"]:
        told = {"label": batch["label"]} if self.conditional else {}
        told |= {"features": batch["features"]} if "features" in batch else {}
        if "source" in batch:
            told |= {"source": batch["source"], "source_lengths": batch.get("source_length")}
        return jax.nn.softmax(model.apply(params, stats, batch["x"], lengths=batch.get("length"), **told))

    def _ranks(self, model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> Float[Array, "b t"]:
        """The place of the token that follows among all, 1 for the most probable; NaN of padding."""
        probabilities, y = self._probabilities(model, params, stats, batch), batch["y"]
        own = jnp.take_along_axis(probabilities, y[..., None], -1)
        ranks = (~(probabilities < own)).sum(-1).astype(jnp.float32)  # what is NaN is the least probable
        counts = jnp.arange(y.shape[1]) < batch["length"][:, None] if "length" in batch else True
        return jnp.where(counts, ranks, jnp.nan)

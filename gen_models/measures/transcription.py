"""What models of speech are measured by: how far the labels that they hear are from those that were said."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from gen_models import metrics, plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.measures.base import Headline, Split, Trained
from gen_models.measures.figure import Figure
from gen_models.measures.text import ratio_of_sums
from gen_models.nn.ctc import NOTHING


@dataclass(frozen=True)
class LabelErrors:
    """The label error rate of what a model's `decode` hears, and how probable what was said is to it.

    The rate is the edit distance between what was heard and what was said, summed over utterances, over the number of
    labels that were said (Graves et al., 2006, eq. 1, weigh utterances alike in its place): it can be above 1.
    """

    beams: int | None = None  # of a beam search besides the greedy choice; None: none
    size: int = 100  # utterances taken at a time
    shown: int = 12  # utterances in the text that is drawn
    headline: ClassVar[Headline] = ("label_error_rate", "minimize")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The label error rate and the share of utterances that are heard right; nats an utterance.

        The spread of the rate is the standard error of a ratio of two means over utterances, as that of
        `TokenLikelihood`.
        """
        said = self._said(trained, split, key)
        ways = [("", self._greedy)] + ([] if self.beams is None else [(f", {self.beams} beams", self._beam)])
        for end, how in ways:
            heard = _rows(split.each(how, trained, key, size=self.size))
            edits = np.array([metrics.edit_distance(one, two) for one, two in zip(heard, said, strict=True)])
            counts = np.array([len(one) for one in said])
            rate, spread = ratio_of_sums(edits, counts)
            note = f"{edits.sum():,} edits of {counts.sum():,} labels"
            yield Figure(f"label error rate{end}", rate, "edits/label", split.where, spread, note, "minimize")
            right = (edits == 0).mean()
            error = np.sqrt(right * (1 - right) / len(edits))
            yield Figure(f"heard right{end}", right, "fraction", split.where, error, better="maximize")
        nats = split.mean(_nats, trained, key, size=self.size)
        value, error = float(nats.value), float(nats.standard_error)
        yield Figure("nats/utterance", value, "nats", split.where, error, "exact, over all paths", "minimize")

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Write `transcripts.txt` and draw `transcripts.png`: what was said, and what was heard, wrong ones first."""
        some = split.first(400)
        said, how = self._said(trained, some, key), self._greedy if self.beams is None else self._beam
        heard = _rows(some.each(how, trained, key, size=self.size))
        pairs = sorted(zip(said, heard, strict=True), key=lambda pair: -metrics.edit_distance(*pair))
        texts = [f"said   {_text(one)}\nheard  {_text(two)}" for one, two in pairs[: self.shown]]
        (folder / "transcripts.txt").write_text("\n\n".join([*texts, ""]))
        plots.texts(texts, folder / "transcripts.png", width=40)

    def _said(self, trained: Trained, split: Split, key: Key) -> list[list[int]]:
        return _rows(split.each(_asked, trained, key, size=self.size))

    def _greedy(self, model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
        return model.decode(params, stats, batch["x"], batch.get("length"))[0]

    def _beam(self, model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
        return model.decode(params, stats, batch["x"], batch.get("length"), beams=self.beams)[0]


def _asked(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    y = jnp.asarray(batch["y"])
    counts = batch.get("count", jnp.full(len(y), y.shape[1]))
    return jnp.where(jnp.arange(y.shape[1]) < jnp.asarray(counts)[:, None], y, NOTHING)


def _nats(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    given = {"inputs": batch["x"], "lengths": batch.get("length"), "counts": batch.get("count")}
    return -model.log_prob(params, stats, batch["y"], key, **given)


def _rows(labels: np.ndarray) -> list[list[int]]:
    """Each row's labels, without what fills it up."""
    return [[int(label) for label in row if label != NOTHING] for row in labels]


def _text(labels: Sequence[int]) -> str:
    return " ".join(map(str, labels)) or "(nothing)"

"""What the turns of a play tell a model of characters about the replies to them, and replies that it writes.

A play is turns: a speaker's name, a colon, lines, and then an empty line.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gen_models import plots
from gen_models.core import Key, Model
from gen_models.measures.base import Split, Trained
from gen_models.measures.figure import Figure
from gen_models.measures.text import ratio_of_sums

TURN = re.compile(r"([^\n:]{1,40}):\n(.+)", re.DOTALL)  # a name, and what is said
NAMES = 50  # characters for a speaker's name and what stands around it


class Pair(NamedTuple):
    """A turn, who replies, and the reply, without the empty line that ends each."""

    turn: str  # with its speaker's name
    speaker: str
    reply: str


def pairs_of(text: str) -> list[Pair]:
    """Each turn with the one that follows it; of what has no speaker's name neither is a turn."""
    parts = [(part, TURN.fullmatch(part)) for part in text.split("\n\n")]
    return [
        Pair(turn, found[1], found[2])
        for (turn, first), (_, found) in pairwise(parts)
        if first is not None and found is not None
    ]


@dataclass(frozen=True)
class Replies:
    """What a turn tells the model of the reply, and replies that it writes; for plays, whose tokens are characters."""

    heard: int = 160  # characters of the turn before, of which the end is read
    replied: int = 160  # characters of a reply that are measured, and that the model writes
    pairs: int = 400  # pairs of turns, evenly spaced in the split
    temperature: float = 1.0
    shown: int = 4  # replies that are written

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """Nats a character of replies behind their own turns, and how many more they are behind those of other pairs.

        Raises:
          ValueError: the data have no vocabulary, or the split no two turns with a reply.
        """
        found = self._pairs(trained, split)
        counts = np.array([len(pair.reply[: self.replied]) for pair in found])
        own = self._nats(trained, found, found)
        other = self._nats(trained, found, found[len(found) // 2 :] + found[: len(found) // 2])
        where = f"{split.where}, {len(found):,} replies"
        value, error = ratio_of_sums(own, counts)
        yield Figure("nats/character of replies", value, "nats", where, error, "exact", "minimize")
        value, error = ratio_of_sums(other - own, counts)
        note = "a character; more behind the turn of another pair"
        yield Figure("told by the turn before", value, "nats", where, error, note, "maximize")

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Write `dialogue.txt` and `dialogue.png`: turns, the model's replies, and the true ones."""
        found = self._pairs(trained, split)
        some = [found[i] for i in np.linspace(0, len(found) - 1, min(self.shown, len(found))).astype(int)]
        tokens, lengths = self._encoded(trained, [self._before(pair, pair) for pair in some])
        written = np.asarray(
            _sampler(trained.model, self.replied)(trained.params, trained.stats, key, tokens, lengths, self.temperature)
        )
        texts = []
        for pair, row, length in zip(some, written, lengths, strict=True):
            reply = trained.vocabulary.decode(row[length : length + self.replied]).split("\n\n")[0]
            heard = self._before(pair, pair)
            texts.append(f"{heard}[model] {reply}\n\n[play] {pair.reply[: self.replied]}")
        (folder / "dialogue.txt").write_text(("\n" + "-" * 20 + "\n").join([*texts, ""]))
        plots.texts(texts, folder / "dialogue.png")

    def _pairs(self, trained: Trained, split: Split) -> list[Pair]:
        if trained.vocabulary is None:
            raise ValueError("these data have no vocabulary, so that their tokens have no text")
        windows = [np.asarray(batch["y"])[np.asarray(batch["weight"]) > 0] for batch in split.batches(500)]
        found = pairs_of(trained.vocabulary.decode(np.concatenate(windows).ravel()))
        if len(found) < 2:
            raise ValueError(f"{split.where} has no two turns with a reply: each is a name, a colon, lines, a gap")
        return [found[i] for i in np.unique(np.linspace(0, len(found) - 1, self.pairs).astype(int))]

    def _before(self, heard: Pair, answered: Pair) -> str:
        """What is read before a reply: the end of a turn, and who speaks."""
        return f"{heard.turn[-self.heard :]}\n\n{answered.speaker}:\n"

    def _encoded(self, trained: Trained, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [N, T] of texts of several lengths, and these; T is the same for all texts of these sizes."""
        tokens = np.zeros((len(texts), self.heard + NAMES + self.replied), np.int32)
        for row, text in zip(tokens, texts, strict=True):
            row[: len(text)] = trained.vocabulary.encode(text)
        return tokens, np.array([len(text) for text in texts], np.int32)

    def _nats(self, trained: Trained, answered: Sequence[Pair], heard: Sequence[Pair]) -> np.ndarray:
        """-log p of each reply [N], behind the turns of `heard`."""
        before = [self._before(turn, pair) for turn, pair in zip(heard, answered, strict=True)]
        whole = [text + pair.reply[: self.replied] for text, pair in zip(before, answered, strict=True)]
        tokens, lengths = self._encoded(trained, whole)
        given = np.array([len(text) for text in before], np.int32)
        program = _likelihood(trained.model)
        parts = [slice(i, i + 100) for i in range(0, len(tokens), 100)]
        found = [program(trained.params, trained.stats, tokens[part], lengths[part], given[part]) for part in parts]
        return np.concatenate([np.asarray(nats) for nats in found])


@lru_cache(maxsize=8)
def _likelihood(model: Model) -> Any:
    def nats(params, stats, tokens, lengths, given):
        # log p(reply | before) = log p(before, reply) - log p(before)
        return model.log_prob(params, stats, tokens, lengths=given) - model.log_prob(
            params, stats, tokens, lengths=lengths
        )

    return jax.jit(nats)


@lru_cache(maxsize=8)
def _sampler(model: Model, replied: int) -> Any:
    def written(params, stats, key, tokens, lengths, temperature):
        n, length = tokens.shape
        prompt = tokens[:, : length - replied]
        return model.sample(
            params, stats, key, n, length=length, prompt=prompt, prompt_lengths=lengths, temperature=temperature
        )

    return jax.jit(written)

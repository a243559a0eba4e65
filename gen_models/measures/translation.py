"""What translators are measured by: how many translations are right, BLEU, the likelihood of whole ones; and a look.

A translator is a model of a target given a source (`gen_models.models.sequences.seq2seq_model`), and its data say what
their tokens mean (`Dataset.meaning`): `decode(tokens, side)` gives the text of a source (side 0) or a target (side 1)
up to its end, `pieces(tokens, side)` that of each token.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.measures.base import Split, Trained, mean_of
from gen_models.measures.figure import Figure
from gen_models.measures.likelihood import one
from gen_models.measures.text import ratio_of_sums

SAMPLES = 1000  # of a bootstrap


@dataclass(frozen=True)
class ExactMatches:
    """The share of translations all of whose tokens are right, by greedy choice and by beam search."""

    beams: int = 4
    alpha: float = 0.0  # of the beam search's length penalty

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """Both shares, with the standard errors of shares."""
        wanted = split.each(asked, trained, key)
        for name, how in (("exact match", greedy), (f"exact match, {self.beams} beams", self._beam)):
            right = (split.each(how, trained, key) == wanted).all(1)
            spread = float(np.sqrt(right.mean() * (1 - right.mean()) / len(right)))
            yield Figure(name, float(right.mean()), "fraction", split.where, spread, better="maximize")

    def _beam(self, model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
        return translated(model, params, stats, batch, key, method="beam", beams=self.beams, alpha=self.alpha)


@dataclass(frozen=True)
class Bleu:
    """BLEU of whole texts, by greedy choice and by beam search (Papineni et al., 2002), as sacrebleu counts it.

    Post, A Call for Clarity in Reporting BLEU Scores (2018): texts are compared as they are read, not as tokens, and
    the signature beside a figure says how. The length penalty of the beam search is Wu et al.'s (2016), 0.6 as in
    Vaswani et al. (2017), section 6.1.
    """

    beams: int = 4
    alpha: float = 0.6

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """BLEU in [0, 100] with case and without; the spread is half of a 95 % bootstrap interval, over 1.96.

        Raises:
          ValueError: sacrebleu is not installed, or the data's tokens have no text.
        """
        meaning = meaning_of(split)
        references = [meaning.decode(row) for row in split.each(asked, trained, key)]
        for name, how in (("BLEU", greedy), (f"BLEU, {self.beams} beams", self._beam)):
            texts = [meaning.decode(row) for row in split.each(how, trained, key)]
            for lowercase in (False, True):
                value, half, signature = bleu(texts, references, lowercase=lowercase)
                note = f"95 % bootstrap interval {value - half:.2f} to {value + half:.2f}; {signature}"
                own = f"{name}, lower case" if lowercase else name
                yield Figure(own, value, "", split.where, half / 1.96, note, "maximize")

    def _beam(self, model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
        return translated(model, params, stats, batch, key, method="beam", beams=self.beams, alpha=self.alpha)


@dataclass(frozen=True)
class SentenceLikelihood:
    """-log p of whole translations in nats, and perplexity a word, which does not depend on how words are cut."""

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """Nats a sentence; and e to the power of all nats over all words, of which the end of a sentence is one.

        Words are those of sacrebleu's tokenizer 13a. The perplexity is that of one segmentation of each text, the one
        that byte-pair encoding gives, and so an upper bound of that of the text.

        Raises:
          ValueError: sacrebleu is not installed, or the data's tokens have no text.
        """
        meaning, cut = meaning_of(split), _sacrebleu().tokenizers.tokenizer_13a.Tokenizer13a()
        nats = split.each(sentence_nats, trained, key)
        words = np.array([len(cut(meaning.decode(row)).split()) + 1 for row in split.each(asked, trained, key)])
        mean = mean_of(nats)
        yield Figure(
            f"nats/{one(split)}", float(mean.value), "nats", split.where, float(mean.standard_error), "", "minimize"
        )
        value, error = ratio_of_sums(nats, words)
        note = f"{int(words.sum()):,} words and ends by sacrebleu's 13a"
        perplexity = float(np.exp(value))
        yield Figure("perplexity a word", perplexity, "", split.where, error * perplexity, note, "minimize")


@dataclass(frozen=True)
class Translations:
    """Translations to look at, and what each token that is written looks at."""

    count: int = 6  # translations
    attends: bool = True  # whether the model attends to its source
    drawn: int = 6  # of these, whose attention is drawn

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Write `translations.txt`, and draw it, and `attention.png` where the model attends.

        Raises:
          ValueError: the data's tokens have no text.
        """
        meaning, some = meaning_of(split), split.first(self.count)
        read, counts, targets, found = (some.each(of, trained, key) for of in (_read, _count, asked, greedy))
        sources = [row[: int(count)] for row, count in zip(read, counts, strict=True)]
        lines = [
            f"read     {meaning.decode(source, 0)}\n"
            f"written  {meaning.decode(answer)}\n"
            f"asked    {meaning.decode(wanted)}"
            for source, answer, wanted in zip(sources, found, targets, strict=True)
        ]
        (folder / "translations.txt").write_text("\n\n".join([*lines, ""]))
        longest = max(len(line) for text in lines for line in text.split("\n"))
        plots.texts(lines, folder / "translations.png", width=min(longest, 72))
        if self.attends:
            names = [
                ([*meaning.pieces(answer), "end"], meaning.pieces(source, 0))
                for source, answer in zip(sources, found, strict=True)
            ][: self.drawn]
            weights = split.first(len(names)).each(attention, trained, key)
            plots.alignments(weights, names, folder / "attention.png")


def bleu(texts: Sequence[str], references: Sequence[str], *, lowercase: bool = False) -> tuple[float, float, str]:
    """BLEU of texts, half of its 95 % bootstrap interval over sentences (Koehn, 2004), and sacrebleu's signature.

    Raises:
      ValueError: sacrebleu is not installed.
    """
    metric = _sacrebleu().metrics.BLEU(lowercase=lowercase)
    score = metric.corpus_score(list(texts), [list(references)], n_bootstrap=SAMPLES)
    signature = metric.get_signature()
    said = json.loads(score.format(signature=signature.format(), is_json=True))
    # A score of 0 is said without an interval: no sample of it has another.
    return float(score.score), float(said.get("confidence_var", 0.0)), signature.format()


def translated(model: Model, params: Params, stats: Stats, batch: Any, key: Key, **how: Any) -> jax.Array:
    """What the model makes of a batch's sources, [B, T]; `how` is what its `sample` takes, such as the method."""
    given = {"source": batch["source"], "source_lengths": batch.get("source_length"), "length": batch["y"].shape[1]}
    return model.sample(params, stats, key, len(batch["y"]), **given, **how)


def greedy(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    """The translations [B, T] by the most probable token each time."""
    return translated(model, params, stats, batch, key, method="greedy")


def attention(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    """[B, T, S]: of what it writes by greedy choice, the weights of the last layer, the mean over the heads."""
    found = greedy(model, params, stats, batch, key)
    inputs = batch["x"].at[:, 1:].set(found[:, :-1])
    given = {"source": batch["source"], "source_lengths": batch.get("source_length")}
    return model.apply(params, stats, inputs, **given, attention=True)[1][:, -1].mean(1)


def meaning_of(split: Split) -> Any:
    """What the tokens of the split's sources and targets mean.

    Raises:
      ValueError: the data do not say it.
    """
    meaning = split.dataset.meaning
    if not (hasattr(meaning, "decode") and hasattr(meaning, "pieces")):
        raise ValueError(f"{split.dataset.name!r} does not say what its tokens mean, so that they have no text")
    return meaning


def sentence_nats(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    """-log p of each target given its source, [B] nats."""
    given = {"source": batch["source"], "source_lengths": batch.get("source_length"), "lengths": batch.get("length")}
    return -model.log_prob(params, stats, batch["y"], key, inputs=batch["x"], **given)


def asked(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    """The targets [B, T] of a batch."""
    return batch["y"]


def _read(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    return batch["source"]


def _count(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    return batch.get("source_length", jnp.full(len(batch["source"]), batch["source"].shape[1]))


def _sacrebleu() -> Any:
    try:
        import sacrebleu
        import sacrebleu.tokenizers.tokenizer_13a
    except ImportError:
        raise ValueError("BLEU needs sacrebleu: pip install 'gen_models[text]'") from None
    return sacrebleu

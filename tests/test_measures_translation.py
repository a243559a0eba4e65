"""Measures of translators: BLEU by hand, shares, likelihoods of sentences, and texts to look at."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.captions import RightCaptions
from experiments.summaries import Facts
from gen_models.data.match_reports import READ, WRITTEN
from gen_models.data.scenes import WORDS as SCENE_WORDS
from gen_models.data.scenes import caption_entropy, captions_of, generated_scenes
from gen_models.data.symbols import Symbols, with_meaning
from gen_models.measures.base import Split
from gen_models.measures.translation import Bleu, ExactMatches, SentenceLikelihood, Translations, bleu
from tests.measured import KEY, figures_of, split_of, trained_of

WORDS = ("", "a", "dog", "runs", "in", "the", "house", "now")
MEANING = Symbols((WORDS, WORDS), (len(WORDS), 0), " ")


def _copied(params, stats, key, n, *, source, source_lengths, length, **how):
    """A model that writes its source again; beam search gets the last word wrong."""
    counted = jnp.arange(length) < source_lengths[:, None] - (how["method"] == "beam")
    return jnp.where(counted, jnp.pad(source, ((0, 0), (0, length - source.shape[1]))), 0)


def _split():
    source = np.array([[1, 2, 3, 4, 5, 6], [5, 2, 3, 7, 0, 0], [1, 6, 0, 0, 0, 0]], np.int32)
    y = np.zeros((3, 7), np.int32)
    y[:, :6] = source
    y[2, :2] = 1, 2  # another than the source
    arrays = {"source": source, "source_length": np.array([6, 4, 2], np.int32), "x": np.roll(y, 1, 1), "y": y}
    arrays["length"] = (y != 0).sum(1).astype(np.int32) + 1
    split = split_of(arrays)
    data = with_meaning(split.data, MEANING)
    return Split(data, data.test, "test")


def _bleu_by_hand(texts, references):
    """Papineni et al. (2002), of one reference, each word between blanks; no n-gram order without a match."""
    found, asked = ([text.split() for text in side] for side in (texts, references))
    logs = []
    for order in (1, 2, 3, 4):
        right = total = 0
        for one, other in zip(found, asked, strict=True):
            own, theirs = ([tuple(side[i : i + order]) for i in range(len(side) - order + 1)] for side in (one, other))
            right += sum(min(own.count(gram), theirs.count(gram)) for gram in set(own))
            total += len(own)
        logs.append(math.log(right / total))
    shorter = sum(map(len, asked)) / sum(map(len, found))
    return 100 * min(1.0, math.exp(1 - shorter)) * math.exp(sum(logs) / 4)


def test_bleu_is_that_of_its_definition():
    pytest.importorskip("sacrebleu")
    texts = ["a dog runs in the house", "the dog runs in a house now", "a house"]
    references = ["a dog runs in the house now", "the dog runs in the house now", "the house"]
    value, half, signature = bleu(texts, references)
    assert value == pytest.approx(_bleu_by_hand(texts, references), rel=1e-6)
    assert half > 0 and "case:mixed" in signature and "tok:13a" in signature and "bs:1000" in signature
    assert bleu(references[:2], references[:2])[:2] == (pytest.approx(100), 0)
    shouted = [text.upper() for text in references]
    assert bleu(shouted, references)[0] < 1 < bleu(shouted, references, lowercase=True)[0]


def test_what_is_written_is_compared_with_what_is_asked():
    pytest.importorskip("sacrebleu")
    split, trained = _split(), trained_of(sample=_copied)
    found = figures_of(ExactMatches(beams=2), trained, split)
    assert found["exact match"].value == pytest.approx(2 / 3) and found["exact match, 2 beams"].value == 0
    assert found["exact match"].spread == pytest.approx(math.sqrt(2 / 9 / 3))
    found = figures_of(Bleu(beams=2), trained, split)
    references = ["a dog runs in the house", "the dog runs now", "a dog"]
    greedy = ["a dog runs in the house", "the dog runs now", "a house"]
    beams = ["a dog runs in the", "the dog runs", "a"]
    assert found["BLEU"].value == pytest.approx(_bleu_by_hand(greedy, references), rel=1e-6)
    assert found["BLEU, 2 beams"].value == pytest.approx(_bleu_by_hand(beams, references), rel=1e-6)
    assert found["BLEU"].value == found["BLEU, lower case"].value  # there are no capitals
    assert "95 % bootstrap interval" in found["BLEU"].note and found["BLEU"].better == "maximize"


def test_nats_are_those_of_whole_sentences():
    """A model that gives each token 1/8: nats of a sentence are its length times log 8, the end counted."""
    pytest.importorskip("sacrebleu")

    def log_prob(params, stats, x, key, *, inputs, source, source_lengths, lengths):
        return -lengths * jnp.log(8.0)

    found = figures_of(SentenceLikelihood(), trained_of(log_prob=log_prob), _split())
    counts = np.array([7, 5, 3])
    assert found["nats/image"].value == pytest.approx(counts.mean() * np.log(8))
    assert found["nats/image"].spread == pytest.approx(counts.std(ddof=1) * np.log(8) / np.sqrt(3), rel=1e-5)
    assert found["perplexity a word"].value == pytest.approx(8, rel=1e-5)  # words are tokens here
    assert found["perplexity a word"].spread == pytest.approx(0, abs=1e-4)
    assert found["perplexity a word"].note.startswith("15 words and ends")


def test_translations_are_written_beside_their_sources(tmp_path):
    def apply(params, stats, x, *, source, source_lengths, attention):
        return None, jnp.full((len(x), 1, 1, x.shape[1], source.shape[1]), 0.5)

    Translations(2).draw(trained_of(sample=_copied, apply=apply), _split(), KEY, tmp_path)
    first, second, _ = (tmp_path / "translations.txt").read_text().split("\n\n")
    assert (
        first.split("\n") == [f"{what:9}a dog runs in the house" for what in ("read", "written", "asked")]
        and "the dog runs now" in second
    )
    assert (tmp_path / "translations.png").stat().st_size and (tmp_path / "attention.png").stat().st_size
    bare = split_of(dict(_split().dataset.arrays))
    with pytest.raises(ValueError, match="'toy' does not say what its tokens mean"):
        Translations(2).draw(trained_of(sample=_copied), bare, KEY, tmp_path)


def test_captions_are_right_where_one_of_several_is(tmp_path):
    """Writers who know the scene: one says the first caption that is right, one any of them, one leaves a word out."""
    scenes = generated_scenes(60, 2)
    arrays = scenes | {"source": (scenes["source"] / 255).astype(np.float32), "caption": _first_captions(scenes)}
    split = split_of(arrays)
    data = with_meaning(split.data, Symbols((SCENE_WORDS, SCENE_WORDS), (0, 0), " "))
    split = Split(data, data.test, "test")

    def sample(params, stats, key, n, *, source, source_lengths, length, method="cached"):
        return jnp.asarray(params) if method == "greedy" else jnp.zeros((n, length), jnp.int32)

    def log_prob(params, stats, x, key, *, inputs, source, source_lengths, lengths):
        return jnp.full(len(x), -2.0)

    # `each` gives examples one at a time, so that a model whose answer is one of them is right for it alone.
    answer = arrays["caption"][:1]
    found = figures_of(RightCaptions(2), trained_of(answer, sample=sample, log_prob=log_prob), split)
    words = tuple(SCENE_WORDS[token] for token in answer[0] if token)
    share = np.mean([words in captions_of(scene) for scene in scenes["scene"]])
    assert 0 < share < 0.2 and found["right, greedy"].value == pytest.approx(share)
    assert found["right, drawn"].value == 0  # an empty caption is never right
    entropy = np.mean([caption_entropy(scene) for scene in scenes["scene"]])
    assert found["nats/caption"].value == 2
    assert found["nats beyond the entropy"].value == pytest.approx(2 - entropy)

    def apply(params, stats, x, *, source, source_lengths, attention):
        return None, jnp.full((len(x), 1, 1, x.shape[1], 36), 1 / 36)

    RightCaptions(2).draw(trained_of(answer, sample=sample, apply=apply), split, KEY, tmp_path)
    assert (tmp_path / "captions.txt").read_text().startswith(f"written  {' '.join(words)}\nright    ")
    assert (tmp_path / "captions.png").stat().st_size > 0


def _first_captions(scenes):
    rows = np.zeros_like(scenes["y"])
    for row, scene in zip(rows, scenes["scene"], strict=True):
        words = captions_of(scene)[0]
        row[: len(words)] = [SCENE_WORDS.index(word) for word in words]
    return rows


def test_teams_and_goals_of_a_summary_are_judged_apart():
    texts = ["reds beat golds 2 to 1", "golds beat reds 2 to 1", "reds beat golds 3 to 1", "reds and golds draw 1 to 1"]
    y = np.zeros((4, 8), np.int32)
    for row, text in zip(y, texts, strict=True):
        row[: len(text.split())] = [WRITTEN.index(word) for word in text.split()]
    split = split_of({"source": np.zeros((4, 5), np.int32), "x": np.roll(y, 1, 1), "y": y})
    data = with_meaning(split.data, Symbols((READ, WRITTEN), (len(READ), 0), " "))

    def sample(params, stats, key, n, *, source, source_lengths, length, method):
        return jnp.asarray(params)  # the first summary, whatever is read

    found = figures_of(Facts(), trained_of(y[:1], sample=sample), Split(data, data.test, "test"))
    assert found["teams and outcome right"].value == 0.5 and found["goals right"].value == 0.5
    assert found["goals right"].spread == pytest.approx(0.25)

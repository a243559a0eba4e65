"""Utterances: words that one speaker said alone, one after another with gaps between.

They are put together from recordings of single words, so that what is said, and where, is known.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int, Int16

Sounds = Int16[np.ndarray, "n t"]
Integers = Int[np.ndarray, " n"]


def utterances(
    x: Sounds,
    labels: Integers,
    lengths: Integers,
    count: int,
    seed: int = 0,
    *,
    speakers: Integers | None = None,
    words: tuple[int, int] = (1, 4),
    gap: tuple[int, int] = (400, 1200),
    noise: float = 0.0,
) -> Mapping[str, np.ndarray]:
    """Draw utterances of recorded words, a pure function of the arguments.

    The number of words is drawn evenly, then a speaker, then each word among all recordings of the speaker, then the
    gap before each word and behind the last one.

    Args:
      x: recordings, int16 [n, t].
      labels: the word that each recording says.
      lengths: how many samples of each recording count.
      count: utterances that are drawn.
      seed: of the draw.
      speakers: who speaks each recording; None: one speaker.
      words: the fewest and the most words of an utterance.
      gap: the fewest and the most samples between words.
      noise: deviation of normal noise that is added, as a share of the largest sample, 32,768; what is then beyond 16
        bits is cut off.

    Returns:
      "x" int16 [count, T], utterances that end in zeros, with T enough for words[1] recordings of t samples; "length"
      int32 [count]; "y" int32 [count, words[1]], the words, filled up with 0; "count" int32 [count], how many they
      are.

    Raises:
      ValueError: shapes do not fit, there are no recordings, or a range is empty or negative.
    """
    _check(x, labels, lengths, speakers, count, words, gap, noise)
    rng = np.random.default_rng(seed)
    who = np.zeros(len(x), np.int64) if speakers is None else np.asarray(speakers)
    own = [np.flatnonzero(who == one) for one in np.unique(who)]
    most, longest = words[1], x.shape[1]
    found = np.zeros((count, most * longest + (most + 1) * gap[1]), np.int16)
    ends, said, counts = np.zeros(count, np.int32), np.zeros((count, most), np.int32), np.zeros(count, np.int32)
    for row in range(count):
        counts[row] = rng.integers(words[0], most + 1)
        chosen = rng.choice(own[rng.integers(len(own))], counts[row])
        at = 0
        for place, index in enumerate(chosen):
            at += int(rng.integers(gap[0], gap[1] + 1))
            found[row, at : at + lengths[index]] = x[index, : lengths[index]]
            at += int(lengths[index])
            said[row, place] = labels[index]
        ends[row] = at + rng.integers(gap[0], gap[1] + 1)
        if noise:
            louder = found[row, : ends[row]] + rng.normal(0, noise * 2**15, ends[row])
            found[row, : ends[row]] = np.clip(np.round(louder), -(2**15), 2**15 - 1)
    return {"x": found, "length": ends, "y": said, "count": counts}


def _check(x, labels, lengths, speakers, count, words, gap, noise) -> None:
    if x.ndim != 2 or not len(x) or x.dtype != np.int16:
        raise ValueError(f"recordings must be int16 [n, t], one or more, got {x.dtype} {list(x.shape)}")
    for name, value in (("labels", labels), ("lengths", lengths), ("speakers", speakers)):
        if value is not None and np.shape(value) != (len(x),):
            raise ValueError(f"{name} must be [{len(x)}], one for each recording, got {list(np.shape(value))}")
    if np.min(lengths) < 1 or np.max(lengths) > x.shape[1]:
        raise ValueError(f"lengths must be from 1 to {x.shape[1]}, got {np.min(lengths)} to {np.max(lengths)}")
    if not 1 <= words[0] <= words[1] or not 0 <= gap[0] <= gap[1]:
        raise ValueError(f"words must rise from 1 or more, and gap from 0 or more, got {words=}, {gap=}")
    if count < 1 or not 0 <= noise < 1:
        raise ValueError(f"count must be 1 or more, and noise from 0 to 1, got {count=}, {noise=}")

"""Generated reviews, whose opinion hangs on the order of words: negations, and clauses that take back others.

A review is one to three clauses, joined by "and" or "but". A clause is a thing and what it is, perhaps with "not" or
"never" before: "the plot was not dull". Its opinion is the adjective's, turned round by each negation. Behind "but" the
last clause decides; joined by "and", clauses agree. So the label is certain given the sentence, and neither the words
without their order nor the adjectives alone tell it: one in two negates, and each adjective is as often turned round.
"""

import numpy as np

from gen_models.data.sentences import PADDING

GOOD = ("good", "moving", "funny", "clever", "fresh", "warm")
BAD = ("bad", "dull", "silly", "tedious", "stale", "cold")
THINGS = ("plot", "film", "script", "score", "cast", "ending")
NEGATIONS = ("not", "never")
_OTHERS = ("the", "was", "and", "but")
CLAUSES = 3
LENGTH = 6 * CLAUSES - 1  # words of the longest review: a negation each, and a word between clauses


def review_words() -> tuple[str, ...]:
    """The word of each token: token 0 is padding."""
    return ("<padding>", "<unknown>", *_OTHERS, *NEGATIONS, *THINGS, *GOOD, *BAD)


def generated_reviews(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """{"x": int32 [n, 17], "y": int32 [n]}: tokens of `review_words`, and 1 for a good opinion, 0 for a bad one.

    Raises:
      ValueError: `count` is not positive.
    """
    if count < 1:
        raise ValueError(f"count must be 1 or more, got {count}")
    draw = np.random.default_rng(seed)
    ids = {word: index for index, word in enumerate(review_words())}
    x, y = np.full((count, LENGTH), PADDING, np.int32), draw.integers(2, size=count).astype(np.int32)
    for row, label in zip(x, y, strict=True):
        words = _review(draw, int(label))
        row[: len(words)] = [ids[word] for word in words]
    return {"x": x, "y": y}


def _review(draw: np.random.Generator, label: int) -> list[str]:
    """The words of a review of this opinion, made from its end: what a "but" takes back is of the other opinion."""
    opinion, words = label, _clause(draw, label)
    for _ in range(draw.integers(CLAUSES)):
        joint = ("and", "but")[draw.integers(2)]
        opinion = opinion if joint == "and" else 1 - opinion
        words = [*_clause(draw, opinion), joint, *words]
    return words


def _clause(draw: np.random.Generator, opinion: int) -> list[str]:
    """The words of a clause of this opinion; half of all clauses negate."""
    negated = bool(draw.integers(2))
    adjective = (BAD, GOOD)[opinion ^ negated][draw.integers(len(GOOD))]
    negation = [NEGATIONS[draw.integers(len(NEGATIONS))]] if negated else []
    return ["the", THINGS[draw.integers(len(THINGS))], "was", *negation, adjective]

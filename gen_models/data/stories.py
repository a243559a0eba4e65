"""Generated stories with questions, in the manner of bAbI's first two tasks: who is where, and where is which thing.

A story is `sentences` long. In each, somebody goes to a place, takes a thing that nobody has, or drops one that is
carried. Then it is asked where somebody is, which one sentence tells, or where a thing is, which follows from two: who
had it last, and where that one was. A question is asked only if the story tells the answer, so that it is certain.
"""

import numpy as np

from gen_models.data.babi import Question, as_arrays
from gen_models.data.sentences import Words
from gen_models.data.splits import Splits
from gen_models.data.symbols import with_meaning

PEOPLE = ("mary", "john", "sandra", "daniel")
PLACES = ("kitchen", "garden", "office", "hallway", "bedroom")
THINGS = ("football", "apple", "milk")
_OTHERS = ("went", "to", "the", "took", "dropped", "where", "is")
SENTENCES = 10


def story_words() -> tuple[str, ...]:
    """The word of each token: token 0 is padding."""
    return ("<padding>", *_OTHERS, *PEOPLE, *PLACES, *THINGS)


def story_splits(examples: int) -> Splits:
    """Generated stories: `examples` to train on, as many to test on, and a tenth as many to validate.

    Raises:
      ValueError: `examples` is not positive.
    """
    counts = (examples, examples, max(1, examples // 10))
    train, test, held_out = (generated_stories(count, seed) for seed, count in enumerate(counts))
    words = story_words()
    splits = Splits.of_arrays(train, test, held_out, name="stories", num_classes=len(words), examples="questions")
    return with_meaning(splits, Words(words, words))


def generated_stories(count: int, seed: int = 0, *, sentences: int = SENTENCES) -> dict[str, np.ndarray]:
    """{"x": int32 [N, 1 + sentences, 5], "y": int32 [N]}, tokens of `story_words`, as those of `data/babi.py`.

    Raises:
      ValueError: a number is not positive.
    """
    for name, value in (("count", count), ("sentences", sentences)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")
    draw = np.random.default_rng(seed)
    return as_arrays([_question(draw, sentences) for _ in range(count)], story_words(), (1 + sentences, 5))


def _question(draw: np.random.Generator, sentences: int) -> Question:
    """A story and a question about it: about a thing in one of two stories that tell where one is."""
    place: dict[str, str] = {}
    carried: dict[str, str] = {}  # thing -> who has it
    left: dict[str, str] = {}  # thing -> where it lies
    story: list[tuple[str, ...]] = []
    for _ in range(sentences):
        one = PEOPLE[draw.integers(len(PEOPLE))]
        thing = THINGS[draw.integers(len(THINGS))]
        action = draw.integers(3)
        if action == 0 and one in place and thing not in carried and left.get(thing, place[one]) == place[one]:
            carried[thing] = one
            story.append((one, "took", "the", thing))
        elif action == 1 and carried.get(thing) == one:
            left[thing] = place[one]
            del carried[thing]
            story.append((one, "dropped", "the", thing))
        else:
            place[one] = PLACES[draw.integers(len(PLACES))]
            story.append((one, "went", "to", "the", place[one]))
    where = {thing: place[one] for thing, one in carried.items()} | {k: v for k, v in left.items() if k not in carried}
    asked = where if where and draw.integers(2) else place
    subject = sorted(asked)[draw.integers(len(asked))]
    question = ("where", "is", "the", subject) if asked is where else ("where", "is", subject)
    return Question(tuple(story), question, asked[subject])

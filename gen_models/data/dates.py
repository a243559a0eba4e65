"""Dates as people write them, and what they are by ISO 8601: a translation that is certain, character by character.

"friday, march 13th 1992" is 1992-03-13: names become numbers, parts change places, and a weekday means nothing. Days
are drawn from a hundred years and written in one of nine forms. Two forms of digits alone must be told apart: 7/4/1999
is in July, 07.04.1999 in April.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from random import Random

import numpy as np

from gen_models.data.splits import Splits
from gen_models.data.symbols import Symbols, with_meaning

MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
FORMS = (
    *("{day} {month} {year}", "{month} {day}, {year}", "{weekday}, {month} {day}{th} {year}"),
    *("the {day}{th} of {month}, {year}", "{short} {day}, {year}", "{weekday} {day} {short} {year}"),
    *("{year}, {month} {day}", "{day:02}.{number:02}.{year}", "{number}/{day}/{year}"),
)
READ = " ,./0123456789abcdefghijklmnopqrstuvwxyz"  # the characters of what people write
WRITTEN = "0123456789-"  # and of ISO 8601
END = len(WRITTEN)  # the token that a translation begins after and ends with
FIRST_DAY = date(1950, 1, 1)
DAYS = 36_525  # a hundred years, to the end of 2049


def date_splits(examples: int) -> Splits:
    """Dates and their translations: `examples` to train on, and 1,826 days each to validate and to test on.

    The days of each part are in no other, in any form, and the same in every draw. An example is {"source": int32 [S],
    "source_length": int32 [], "x": int32 [11], "y": int32 [11]}, x beginning with the end, y[t] following x[t].

    Raises:
      ValueError: `examples` is not positive.
    """
    if examples < 1:
        raise ValueError(f"examples must be 1 or more, got {examples}")
    days = list(range(DAYS))
    Random(0).shuffle(days)
    few = DAYS // 20
    drawn = Random(1).choices(days[2 * few :], k=examples)
    texts = [date_pairs(part, seed) for seed, part in enumerate((drawn, days[:few], days[few : 2 * few]))]
    longest = max(len(read) for part in texts for read, _ in part)
    train, held_out, test = (_arrays(part, longest) for part in texts)
    splits = Splits.of_arrays(train, test, held_out, name="dates", examples="dates")
    # A source has no end: its length says which tokens count.
    return with_meaning(splits, Symbols((tuple(READ), tuple(WRITTEN)), (len(READ), END)))


def date_pairs(days: Sequence[int], seed: int) -> list[tuple[str, str]]:
    """Each day, by its number from `FIRST_DAY` on, in a form drawn for it, and as ISO 8601 has it."""
    draw, dates = Random(seed), [FIRST_DAY + timedelta(number) for number in days]
    return [(written_date(day, draw.choice(FORMS)), day.isoformat()) for day in dates]


def written_date(day: date, form: str) -> str:
    """A day in one of `FORMS`."""
    th = "th" if 10 < day.day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    month = MONTHS[day.month - 1]
    parts = {"day": day.day, "th": th, "number": day.month, "year": day.year, "month": month, "short": month[:3]}
    return form.format(**parts, weekday=WEEKDAYS[day.weekday()])


def _arrays(texts: Sequence[tuple[str, str]], longest: int) -> dict[str, np.ndarray]:
    """Sources, padded to `longest` characters, and targets, as tokens: a batch of a model of targets given sources."""
    source = np.zeros((len(texts), longest), np.int32)
    target = np.full((len(texts), len("1999-12-31") + 2), END, np.int32)  # between two tokens of END
    for row, (read, asked) in enumerate(texts):
        source[row, : len(read)] = [READ.index(character) for character in read]
        target[row, 1 : len(asked) + 1] = [WRITTEN.index(character) for character in asked]
    counts = np.array([len(read) for read, _ in texts], np.int32)
    return {"source": source, "source_length": counts, "x": target[:, :-1], "y": target[:, 1:]}

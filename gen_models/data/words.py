"""The words that name a split, and the slices behind them."""

import re
from collections.abc import Callable

from gen_models.errors import unknown

SPLITS = ("train", "validation", "test", "train+validation")
_SLICE = re.compile(r"(?P<word>[^\[\]]*)(\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")


def parse_split(split: str) -> tuple[str, Callable[[int], tuple[int, int]]]:
    """The word, and a function from a length to the (start, stop) of the slice behind it.

    Raises:
      ValueError: an unknown word, or a malformed slice.
    """
    match = _SLICE.fullmatch(split)
    if match is None:
        raise ValueError(f"split {split!r} is malformed: write it as 'train', 'train[:10%]' or 'test[100:600]'")
    word = match["word"]
    if word not in SPLITS:
        raise unknown("split", word, SPLITS)
    bounds = match["start"], match["stop"]
    for bound in bounds:
        if bound and bound.endswith("%") and abs(int(bound[:-1])) > 100:
            raise ValueError(f"split {split!r} has a percentage above 100: {bound}")

    def cut(length: int) -> tuple[int, int]:
        def position(bound: str | None) -> int | None:
            if bound is None:
                return None
            return round(int(bound[:-1]) * length / 100) if bound.endswith("%") else int(bound)

        start, stop, _ = slice(*map(position, bounds)).indices(length)
        return start, stop

    return word, cut

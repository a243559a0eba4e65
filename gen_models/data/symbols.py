"""What the tokens of a source and of a target mean, where each is a symbol: a character, or a word."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from gen_models.data.splits import Splits


class Symbols(NamedTuple):
    """The symbols of a source and of a target, which are read up to the first that is their end."""

    symbols: tuple[tuple[str, ...], tuple[str, ...]]
    ends: tuple[int, int]  # of each the token that ends it; len of its symbols: one behind them
    between: str = ""  # what stands between two symbols: a blank between words

    @property
    def sizes(self) -> tuple[int, int]:
        """The number of tokens of either vocabulary."""
        source, target = (max(len(own), end + 1) for own, end in zip(self.symbols, self.ends, strict=True))
        return source, target

    def decode(self, tokens: Any, side: int = 1) -> str:
        """The text of tokens [T] up to the first end, by default of a target."""
        return self.between.join(self.pieces(tokens, side))

    def pieces(self, tokens: Any, side: int = 1) -> list[str]:
        """The symbol of each token up to the first end."""
        row, end = np.asarray(tokens).astype(int).tolist(), self.ends[side]
        return [self.symbols[side][token] for token in (row[: row.index(end)] if end in row else row)]


def with_meaning(splits: Splits, meaning: Any) -> Splits:
    """The same splits, whose tokens mean that."""
    parts = {name: getattr(splits, name) for name in ("train", "held_out", "test")}
    told = {name: replace(part, meaning=meaning) for name, part in parts.items() if part is not None}
    return replace(splits, **told)

"""Measures of models whose code is made of names from a codebook: how many of them are used, and how evenly."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from gen_models.core import Key, Model, Params, Stats
from gen_models.measures.base import Split, Trained
from gen_models.measures.figure import Figure


@dataclass(frozen=True)
class CodeUsage:
    """Codes that stand for a split's examples, and e to the power of their entropy (their perplexity)."""

    code_size: int  # codes that there are

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """How many codes are used at all, and as how many equally frequent ones they are.

        Raises:
          ValueError: a code is none of these.
        """
        codes = split.each(_codes, trained, key).astype(np.int64)
        if codes.min() < 0 or codes.max() >= self.code_size:
            raise ValueError(f"codes must be from 0 to {self.code_size - 1}, got {codes.min()} to {codes.max()}")
        share = np.bincount(codes.ravel(), minlength=self.code_size) / codes.size
        used = share[share > 0]
        perplexity = float(np.exp(-(used * np.log(used)).sum()))
        note = f"of {self.code_size}"
        yield Figure("codes used", float(len(used)), "codes", split.where, note=note, better="maximize")
        yield Figure("perplexity of codes", perplexity, "codes", split.where, note=note, better="maximize")


def _codes(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    """The codes of each example, [B, ...]."""
    return model.encode(params, stats, batch["x"])

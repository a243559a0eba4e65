"""What a memory network looks at while it answers a question about a story."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from gen_models import plots
from gen_models.core import Key
from gen_models.measures.base import Split, Trained


@dataclass(frozen=True)
class Attended:
    """What each hop looks at, of the first questions of the split."""

    count: int = 4  # questions

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Write `attended.txt`, sentences with the weight of each hop, and draw it."""
        arrays, symbols = split.dataset.arrays, split.dataset.meaning.symbols
        assert arrays is not None  # stories are in memory
        x = arrays["x"][: self.count]
        logits, weights = trained.model.apply(trained.params, trained.stats, jnp.asarray(x), attended=True)
        texts = [
            _told(*each, symbols)
            for each in zip(x, np.asarray(logits).argmax(-1).tolist(), np.asarray(weights), strict=True)
        ]
        (folder / "attended.txt").write_text("\n\n".join(texts) + "\n")
        plots.texts(texts, folder / "attended.png", width=60, lines=x.shape[1] + 2)


def _told(rows: Any, answer: int, weights: Any, symbols: Sequence[str]) -> str:
    """A story from its oldest sentence on, the share of each hop before each sentence, and the network's answer."""
    sentences = [" ".join(symbols[token] for token in row if token) for row in rows]
    lines = [
        " ".join(f"{100 * share:3.0f}" for share in weights[:, i - 1]) + f" %  {sentences[i]}"
        for i in range(len(rows) - 1, 0, -1)
        if sentences[i]
    ]
    return "\n".join([*lines, f"{sentences[0]}? {symbols[answer]}"])

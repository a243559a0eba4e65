"""What language models are measured by: the likelihood of each token of a text, and what they write."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Num

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.measures.base import Headline, Split, Trained
from gen_models.measures.figure import Figure


def ratio_of_sums(of: Num[np.ndarray, " n"], over: Num[np.ndarray, " n"]) -> tuple[float, float]:
    """The ratio of two sums over windows, and its standard error; NaN of one window.

    With r the ratio, of windows with n_i nats and c_i tokens: the deviation of n_i - r c_i, over the mean of c_i and
    the square root of the number of windows (Cochran, Sampling Techniques, 1977, section 2.11).
    """
    ratio = of.sum() / over.sum()
    if len(of) < 2:
        return float(ratio), float("nan")
    return float(ratio), float((of - ratio * over).std(ddof=1) / (over.mean() * np.sqrt(len(of))))


@dataclass(frozen=True)
class TokenLikelihood:
    """-log p of a split's tokens, each given those before it in its window: nats, bits, and perplexity, a token.

    Padding does not count. Each window is read from its beginning, without what a network kept of the one before; where
    the data have sources, given its own.
    """

    conditional: bool = False  # whether the model is told the class
    size: int = 250  # windows taken at a time
    headline: ClassVar[Headline] = ("nats_per_token", "minimize")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """Means over all tokens, with the standard error of `ratio_of_sums` over windows."""
        nats, counts = split.each(self._nats_and_count, trained, key, size=self.size).T
        value, error = ratio_of_sums(nats, counts)
        note = f"exact; {int(counts.sum()):,} tokens"
        yield Figure("nats/token", value, "nats", split.where, error, note, "minimize")
        yield Figure("bits/token", value / np.log(2), "bits", split.where, error / np.log(2), note, "minimize")
        # The derivative of exp at the ratio carries its standard error over.
        yield Figure("perplexity", np.exp(value), "", split.where, error * np.exp(value), note, "minimize")

    def _nats_and_count(self, model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
        """[B, 2]: minus log p of a window's tokens, and how many there are."""
        y, lengths = batch["y"], batch.get("length")
        told = {"label": batch["label"]} if self.conditional else {}
        if "source" in batch:
            told |= {"source": batch["source"], "source_lengths": batch.get("source_length")}
        log_p = model.log_prob(params, stats, y, key, inputs=batch["x"], lengths=lengths, **told)
        counts = jnp.full(len(y), y.shape[1]) if lengths is None else jnp.minimum(lengths, y.shape[1])
        return jnp.stack([-log_p, counts.astype(log_p.dtype)], -1)


@dataclass(frozen=True)
class Text:
    """What the model writes, as text: for data whose tokens have one (`Trained.vocabulary`)."""

    count: int = 4  # texts
    length: int = 256  # tokens of each
    prompt: str = ""  # how each begins
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    stop: str | None = None  # the token behind which a text is cut, such as a newline

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Write `samples.txt`, and draw `samples.png` of it."""
        self.show(self.sample(trained, key, self.count), folder / "samples.png")

    def sample(self, trained: Trained, key: Key, n: int, **condition: Any) -> np.ndarray:
        """n texts, str [n], each with its prompt.

        Args:
          trained: the model.
          key: the randomness of the texts.
          n: how many.
          **condition: what the model's `sample` takes, in place of this measure's own: temperature, ...

        Raises:
          ValueError: the data have no vocabulary, or the prompt has a token that is not in it.
        """
        vocabulary = trained.vocabulary
        if vocabulary is None:
            raise ValueError("these data have no vocabulary, so that their tokens have no text")
        condition.setdefault("temperature", self.temperature)
        if self.top_p is not None:
            condition.setdefault("top_p", self.top_p)
        if self.prompt:
            condition.setdefault("prompt", vocabulary.encode(self.prompt))
        stop = None if self.stop is None else int(vocabulary.encode(self.stop)[0])
        compiled = _compiled(trained.model, n, self.length, self.top_k, stop)
        tokens = np.asarray(compiled(trained.params, trained.stats, key, condition))
        texts = [vocabulary.decode(one) for one in tokens]
        return np.array([text if self.stop is None else text.split(self.stop)[0] for text in texts])

    def show(self, samples: np.ndarray, path: Path) -> None:
        """Write texts to a file beside the picture, and draw them."""
        path.with_suffix(".txt").write_text(("\n" + "-" * 20 + "\n").join([*samples.tolist(), ""]))
        plots.texts(samples.tolist(), path)


@lru_cache(maxsize=64)
def _compiled(model: Model, n: int, length: int, top_k: int | None, stop: int | None) -> Any:
    sample = partial(model.sample, length=length, top_k=top_k, stop=stop)
    return jax.jit(lambda params, stats, key, condition: sample(params, stats, key, n, **condition))

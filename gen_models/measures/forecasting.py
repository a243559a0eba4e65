"""What forecasts of a series are measured by: errors, how they grow with the distance, and how honest intervals are."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.measures.base import Headline, Split, Trained
from gen_models.measures.figure import Figure

BLOCKS = 10  # of neighbouring windows, between which the spread is taken


@dataclass(frozen=True)
class ForecastErrors:
    """Errors of `apply(x)` against y, the rows that follow; with quantiles, the coverage of the intervals they make."""

    quantiles: tuple[float, ...] | None = None  # the model's levels; None: it forecasts the mean alone
    size: int = 100  # windows taken at a time
    shown: int = 6  # windows in the picture
    headline: ClassVar[Headline] = ("mse", "minimize")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """MSE and MAE over all windows, steps and columns, in the data's own units as the model sees them.

        Neighbouring windows overlap, so that their errors are no independent draws: the spread is that of the means of
        ten blocks of windows in the order of time, over the square root of ten, where there are that many windows. An
        interval from the quantile q to the quantile 1 - q is honest where it holds a share of 1 - 2q of what follows.
        """
        values = split.each(self._errors, trained, key, size=self.size)  # [N, H, 2 + intervals]
        names = ("MSE", "MAE", *(f"coverage of the {1 - 2 * low:.0%} interval" for low in self._lows()))
        for index, name in enumerate(names):
            each = values[..., index].mean(1)
            where, better = split.where, "minimize" if index < 2 else None
            note = "" if index < 2 else f"honest: {1 - 2 * self._lows()[index - 2]:g}"
            unit = ("squared", "", "fraction")[min(index, 2)]
            yield Figure(name, float(each.mean()), unit, where, _spread(each), note, better)  # type: ignore[arg-type]

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `error_by_step.png`, the MSE at each distance, and `forecasts.png` of windows evenly spaced in time."""
        values = split.each(self._errors, trained, key, size=self.size)
        series = {"MSE": values[..., 0].mean(0)}
        plots.lines(series, folder / "error_by_step.png", x="steps ahead, from 0 on", y="mean squared error")
        chosen = np.unique(np.linspace(0, len(values) - 1, self.shown).astype(int)).tolist()
        some = split.chosen(chosen)
        found = some.each(self._forecast, trained, key, size=self.size)  # [n, H, F, 1 or 3]
        pairs = [some.each(what, trained, key, size=self.size) for what in (_before, _after)]
        columns = np.arange(len(chosen)) % found.shape[2]  # of the columns in turn
        read, true, guess = (part[np.arange(len(chosen)), :, columns] for part in (*pairs, found))
        names = getattr(split.dataset.meaning, "columns", None) or [
            f"column {index}" for index in range(found.shape[2])
        ]
        titles = [f"window {index}, {names[column]}" for index, column in zip(chosen, columns, strict=True)]
        band = guess[..., 1:] if guess.shape[-1] == 3 else None
        plots.forecasts(read, true, guess[..., 0], folder / "forecasts.png", band=band, titles=titles)

    def _lows(self) -> tuple[float, ...]:
        """The lower levels whose counterparts 1 - q are levels too, the widest interval first."""
        levels = self.quantiles or ()
        return tuple(low for low in levels if low < 0.5 and any(abs(high - (1 - low)) < 1e-9 for high in levels))

    def _errors(self, model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
        """[B, H, 2 + intervals]: squared and absolute errors, and what is within each interval, means over columns."""
        y = jnp.asarray(batch["y"])
        error = y - model.apply(params, stats, batch["x"])
        found = [error**2, jnp.abs(error)]
        if self._lows():
            values = model.apply(params, stats, batch["x"], quantiles=True)
            found += [
                ((y >= low) & (y <= high)).astype(jnp.float32) for low, high in map(self._ends(values), self._lows())
            ]
        return jnp.stack(found, -1).mean(2)

    def _ends(self, values: jax.Array) -> Any:
        """A function from a lower level to the two ends of its interval, [B, H, F] each."""
        levels = np.array(self.quantiles)

        def ends(low: float) -> tuple[jax.Array, jax.Array]:
            return tuple(values[..., int(np.abs(levels - level).argmin())] for level in (low, 1 - low))  # type: ignore[return-value]

        return ends

    def _forecast(self, model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
        """[B, H, F, 1], or with intervals [B, H, F, 3] with the ends of the widest."""
        point = model.apply(params, stats, batch["x"])[..., None]
        if not self._lows():
            return point
        values = model.apply(params, stats, batch["x"], quantiles=True)
        return jnp.concatenate([point, jnp.stack(self._ends(values)(self._lows()[0]), -1)], -1)


def _before(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    return batch["x"]


def _after(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    return batch["y"]


def _spread(values: np.ndarray) -> float | None:
    """The standard error of a mean over windows in order, by the means of blocks; None where there are too few."""
    if len(values) < 2 * BLOCKS:
        return None
    means = [block.mean() for block in np.array_split(values, BLOCKS)]
    return float(np.std(means, ddof=1) / np.sqrt(BLOCKS))

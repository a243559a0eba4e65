"""Values against steps or positions: the curves of a run, lines, panels of curves, forecasts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from gen_models.plots.canvas import drawing, literal


def curves(history: Sequence[Mapping[str, Any]], path: str | Path, *, title: str = "") -> Path | None:
    """Draw a run's metrics against the step, one panel a metric with a curve for each split that has it.

    Args:
      history: rows of a run's `metrics.jsonl`, such as {"step": 100, "seconds": 1.5, "train/loss": 0.3}.
      path: the PNG file.
      title: over the panels.

    Returns:
      The path, or None where the history holds no metric.
    """
    panels = _panels(history)
    if not panels:
        return None
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    wide, high = 4.2 * columns, 2.8 * rows + (0.4 if title else 0.0)
    # Room in inches for ticks and titles: matplotlib's own layout draws everything once more to find it.
    room = {"left": 0.75 / wide, "right": 1 - 0.15 / wide, "bottom": 0.5 / high}
    room |= {"top": 1 - (0.7 if title else 0.3) / high, "wspace": 0.9 / 3.3, "hspace": 0.8 / 2.0}
    with drawing(path, figsize=(wide, high)) as canvas:
        axes = canvas.subplots(rows, columns, squeeze=False, gridspec_kw=room).ravel()
        for axis, (metric, splits) in zip(axes, panels.items(), strict=False):
            for split, points in splits.items():
                steps, values = np.array(points).T
                few = len(points) < 30
                axis.plot(steps, values, label=literal(split), marker="o" if few else None, markersize=3, linewidth=1.2)
            axis.set(title=literal(metric.replace("_", " ")), xlabel="step")
            axis.grid(alpha=0.3)
            if (limits := _late_limits(splits)) is not None:
                axis.set_ylim(*limits)
            axis.legend(frameon=False, fontsize=8)
        for axis in axes[len(panels) :]:
            axis.remove()
        if title:
            canvas.suptitle(literal(title))
    return Path(path)


_Points = list[tuple[int, float]]  # (step, value)


def _panels(history: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, _Points]]:
    """Metric -> split -> points: "train/loss" and "validation/loss" are two splits of one metric."""
    panels: dict[str, dict[str, _Points]] = {}
    for row in history:
        for name, value in row.items():
            if name in ("step", "seconds"):
                continue
            split, _, metric = name.partition("/")
            panels.setdefault(metric, {}).setdefault(split, []).append((row["step"], float(value)))
    return panels


def _late_limits(splits: Mapping[str, _Points]) -> tuple[float, float] | None:
    """Limits of the vertical axis that show where the curves spend their time, or None where points are few.

    The first twentieth of the values, often far from the rest, does not count, nor does the largest hundredth.
    """
    late = np.concatenate([[value for _, value in points[len(points) // 20 :]] for points in splits.values()])
    late = late[np.isfinite(late)]
    if late.size <= 20:
        return None
    least, most = np.percentile(late, [0, 99])
    margin = 0.05 * (most - least) or 0.05 * abs(most) or 1.0
    return least - margin, most + margin


def lines(
    series: Mapping[str, Sequence[Any] | np.ndarray],
    path: str | Path,
    *,
    x: str,
    y: str,
    log: bool = False,
    title: str = "",
) -> Path:
    """Draw values against their position 0, 1, ..., a line for each name, with marks where there are few values.

    Args:
      series: name -> values; what is not finite is left out.
      path: the PNG file.
      x: name of the position, under its axis.
      y: name of the values, beside their axis.
      log: whether the axis of the values is logarithmic; what is not positive is then left out.
      title: over the picture.
    """
    with drawing(path, figsize=(6.0, 3.8), layout="constrained") as canvas:
        axis = canvas.subplots()
        for name, values in series.items():
            shown = np.array([float(value) for value in values])
            shown[~np.isfinite(shown) | ((shown <= 0) & log)] = np.nan
            axis.plot(shown, label=literal(name), marker="o" if len(shown) < 60 else None, markersize=3, linewidth=1.2)
        axis.set(xlabel=literal(x), ylabel=literal(y), title=literal(title))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if log:
            axis.set_yscale("log")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, fontsize=8)
    return Path(path)


def _few_labels(axis: Any) -> None:
    """Labels at 2 and 5 between powers of ten where the logarithmic axis is short: matplotlib's own overlap there."""
    low, high = axis.get_xlim()
    if high < 30 * low:
        axis.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axis.xaxis.set_minor_formatter(FuncFormatter(lambda value, place: f"{value:g}"))


class Curve(NamedTuple):
    """Values over places: a line, dots or dashes, with a band about it where `low` and `high` are given."""

    x: Any  # [n]
    y: Any  # [n]; what is not finite is left out
    low: Any = None  # [n], the band's lower end
    high: Any = None
    style: str = "-"  # matplotlib's: "-", "--", ":" or "o" for dots
    like: str = ""  # name of another curve, whose colour this one has


def panels(
    of: Mapping[str, Mapping[str, Curve]],
    path: str | Path,
    *,
    x: str = "",
    y: str = "",
    log_x: bool = False,
    log_y: bool = False,
    columns: int = 3,
    share: bool = True,
) -> Path:
    """Draw panels of curves, each name with one colour in all of them and one legend for all.

    Args:
      of: title of a panel -> name -> curve; a name that begins with "_" is not in the legend.
      path: the PNG file.
      x: name of the places, under the axes.
      y: name of the values.
      log_x: whether the axis of the places is logarithmic.
      log_y: whether that of the values is; what is not positive is then left out.
      columns: panels side by side at most.
      share: whether all panels have the same axes.
    """
    across = min(columns, len(of))
    down = -(-len(of) // across)
    names = list(dict.fromkeys(name for curves in of.values() for name in curves))
    own = [name for name in names if not any(curves[name].like for curves in of.values() if name in curves)]
    colours = mpl.colormaps["tab10"]
    with drawing(path, figsize=(0.6 + 3.3 * across, 0.4 + 2.7 * down), layout="constrained") as canvas:
        axes = canvas.subplots(down, across, squeeze=False, sharex=share, sharey=share)
        for axis, (title, curves) in zip(axes.ravel(), of.items(), strict=False):
            for name, curve in curves.items():
                colour = colours(own.index(curve.like or name) % 10)
                values = np.asarray(curve.y, np.float64)
                shown = np.where(np.isfinite(values) & ((values > 0) | (not log_y)), values, np.nan)
                dots = {"linestyle": "none", "marker": "o", "markersize": 2.5} if curve.style == "o" else {}
                lines = {} if dots else {"linestyle": curve.style, "linewidth": 1.3}
                axis.plot(curve.x, shown, color=colour, label=literal(name), **dots, **lines)
                if curve.low is not None:
                    axis.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
            axis.set_title(literal(title), fontsize=9)
            axis.set(xscale="log" if log_x else "linear", yscale="log" if log_y else "linear")
            axis.tick_params(which="both", labelsize=7)
            if log_x:
                _few_labels(axis)
            axis.grid(alpha=0.3)
        for axis in axes.ravel()[len(of) :]:
            axis.remove()
        canvas.supxlabel(literal(x), fontsize=9)
        canvas.supylabel(literal(y), fontsize=9)
        handles = {line.get_label(): line for axis in canvas.axes for line in axis.lines}
        shown_names = [literal(name) for name in names if not name.startswith("_")]
        canvas.legend(
            [handles[name] for name in shown_names],
            shown_names,
            loc="outside upper center",
            frameon=False,
            fontsize=8,
            ncols=min(len(shown_names), 2 * across),
        )
    return Path(path)


def forecasts(
    before: Float[np.ndarray, "n l"],
    after: Float[np.ndarray, "n h"],
    forecast: Float[np.ndarray, "n h"],
    path: str | Path,
    *,
    band: Float[np.ndarray, "n h 2"] | None = None,
    titles: Sequence[str] = (),
    across: int = 2,
) -> Path:
    """Draw what was read of a series, what followed, and what was forecast, a panel each.

    Args:
      before: the values that were read, of which at most as many as three times the forecast's are drawn.
      after: those that followed.
      forecast: those that were forecast.
      path: the PNG file.
      band: the lower and the upper end of an interval at each step.
      titles: over the panels.
      across: how many in a row.
    """
    rows, steps = -(-len(before) // across), after.shape[1]
    before = before[:, -3 * steps :]
    with drawing(path, figsize=(5.0 * across, 2.3 * rows), layout="constrained") as canvas:
        axes = canvas.subplots(rows, across, squeeze=False, sharex=True).ravel()
        for axis in axes[len(before) :]:
            axis.axis("off")
        ahead = np.arange(1, steps + 1)
        for index, (axis, read, true, guess) in enumerate(zip(axes, before, after, forecast, strict=False)):
            axis.plot(np.arange(1 - len(read), 1), read, color="0.5", linewidth=0.9, label="read")
            axis.plot(ahead, true, color="black", linewidth=0.9, label="what followed")
            axis.plot(ahead, guess, color="tab:red", linewidth=1.2, label="forecast")
            if band is not None:
                axis.fill_between(ahead, *band[index].T, color="tab:red", alpha=0.2, linewidth=0, label="interval")
            axis.axvline(0.5, color="0.7", linewidth=0.7)
            axis.set_title(literal(titles[index]) if titles else "", fontsize=8)
        axes[0].legend(frameon=False, fontsize=7)
        canvas.supxlabel("steps ahead", fontsize=9)
    return Path(path)

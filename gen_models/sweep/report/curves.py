"""A sweep's metrics against steps: a line for each row, with a band over its seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from gen_models.sweep.report.pictures import COLOURS, GREY, INK, WIDTH, inked, short
from gen_models.sweep.report.study import RunRecord, Study

STYLES = ("-", ":")  # dashes are for runs that did not finish
COLOURED = 12  # rows: the base and 11 more
POINTS = 250  # of a line, at most
PANELS = 12


def curves(study: Study) -> tuple[Canvas, str] | None:
    """Metrics against steps, one panel a metric: mean of a row's finished runs, and the band from least to largest.

    Runs that did not finish are dashed, each for itself, up to their end. At most 12 rows are coloured, the base in
    the text's colour; the others are grey. A metric that is positive over more than two decades has a logarithmic axis.

    Returns:
      The picture, and what has to be said about what it leaves out; None without a history.
    """
    names = _metrics(study.runs)
    if not names:
        return None
    styles = _styles(study)
    across = min(3, len(names))
    down = -(-min(len(names), PANELS) // across)
    entries = [*styles] if len(styles) == len(study.labels) else [*styles, "others"]
    canvas = Canvas(figsize=(WIDTH / 3 * across, 2.7 * down + 0.24 * -(-len(entries) // across)), layout="constrained")
    axes = canvas.subplots(down, across, squeeze=False).ravel()
    thinned = False
    for axis, name in zip(axes, names, strict=False):
        thinned |= _curve_panel(axis, study, name, styles)
        axis.set_title(short(name.replace("_", " "), 44), fontsize=10, parse_math=False)
        axis.set_xlabel("step", fontsize=9)
    for axis in axes[len(names) :]:
        axis.remove()
    lines = [Line2D([], [], **styles.get(entry, _Style(GREY, "-"))._asdict(), linewidth=1.8) for entry in entries]
    # matplotlib leaves entries out that begin with an underscore.
    texts = [
        short(entry, 34).replace("_", "\u200a_", 1) if entry.startswith("_") else short(entry, 34) for entry in entries
    ]
    legend = canvas.legend(lines, texts, loc="outside lower center", ncols=across, frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)
    said = f" The first {PANELS} of {len(names)} metrics are drawn." if len(names) > PANELS else ""
    said += f" Lines are thinned to {POINTS} of the logged steps." if thinned else ""
    said += " Grey lines are the other rows." if len(styles) < len(study.labels) else ""
    return inked(canvas), said.strip()


class _Style(NamedTuple):
    color: str
    linestyle: str


def _metrics(runs: Sequence[RunRecord]) -> list[str]:
    """Validation first, then the training loss, then the rest."""
    logged = dict.fromkeys(name for run in runs for line in run.history for name in line)
    names = [name for name in logged if name not in ("step", "seconds")]
    return sorted(names, key=lambda name: (not name.startswith("validation/"), name != "train/loss"))


def _styles(study: Study) -> dict[str, _Style]:
    """The base in ink, then the first rows of the table, each with its own colour and dots."""
    others = [label for label in study.labels if label != study.base][: COLOURED - 1]
    choices = [_Style(colour, style) for style in STYLES for colour in COLOURS]
    chosen = {study.base: _Style(INK, "-")} | dict(zip(others, choices, strict=False))
    return {label: chosen[label] for label in study.labels if label in chosen}


def _series(run: RunRecord, name: str) -> dict[int, float]:
    """{step: value}; infinity cannot be drawn and is a gap, as NaN is."""
    found = {int(line["step"]): float(line[name]) for line in run.history if line.get(name) is not None}
    return {step: value if math.isfinite(value) else math.nan for step, value in found.items()}


def _curve_panel(axis: Axes, study: Study, name: str, styles: Mapping[str, _Style]) -> bool:
    """Draw one metric; returns whether points were left out."""
    thinned, seen = False, []
    # Grey lines lie under coloured ones, and the base over all.
    for label in sorted(study.labels, key=lambda label: (label in styles, label == study.base)):
        style = styles.get(label, _Style(GREY, "-"))
        weight = 1.4 if label in styles else 0.7
        some = [m for m in study.runs if m.label == label]
        done = [series for m in some if m.status == "finished" and (series := _series(m, name))]
        for series in [series for m in some if m.status != "finished" and (series := _series(m, name))]:
            steps, values, cut = _thin(sorted(series), series)
            thinned |= cut
            axis.plot(steps, values, color=style.color, linestyle=(0, (4, 2)), linewidth=0.8 * weight)
        if not done:
            continue
        shared = sorted(set.intersection(*map(set, done)))  # elsewhere the mean would be of fewer runs
        table = np.array([[series[step] for step in shared] for series in done]).reshape(len(done), len(shared))
        pick = _indices(len(shared))
        thinned |= len(pick) < len(shared)
        table, kept = table[:, pick], [shared[i] for i in pick]
        dot = "o" if len(kept) < 3 else None
        axis.plot(kept, table.mean(0), color=style.color, linestyle=style.linestyle, linewidth=weight, marker=dot)
        if len(done) > 1 and label in styles:
            axis.fill_between(kept, table.min(0), table.max(0), color=style.color, alpha=0.15, linewidth=0)
        seen.append(table)
    _scale(axis, seen)
    axis.grid(alpha=0.35)
    axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return thinned


def _scale(axis: Axes, tables: Sequence[np.ndarray]) -> None:
    """Logarithmic over two decades; else from the finished runs alone, the first twentieth of their steps left out."""
    every = np.concatenate([t.ravel() for t in tables]) if tables else np.zeros(0)
    every = every[np.isfinite(every)]
    if every.size and every.min() > 0 and every.max() > 100 * every.min():
        axis.set_yscale("log")
        axis.set_ylim(every.min() / 1.3, every.max() * 1.3)
        axis.yaxis.set_major_locator(LogLocator(numticks=6))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        return
    late = np.concatenate([t[:, t.shape[1] // 20 :].ravel() for t in tables]) if tables else every
    late = late[np.isfinite(late)]
    if late.size > 1:
        low, high = float(late.min()), float(np.percentile(late, 99.5))
        margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        axis.set_ylim(low - margin, high + margin)


def _indices(count: int) -> list[int]:
    """At most `POINTS` of them, evenly, first and last among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, POINTS))}) if count else []


def _thin(steps: Sequence[int], series: Mapping[int, float]) -> tuple[list[int], list[float], bool]:
    kept = [steps[i] for i in _indices(len(steps))]
    return kept, [series[step] for step in kept], len(kept) < len(steps)

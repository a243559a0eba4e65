"""A sweep's pictures: differences from the base, and samples side by side; `curves.py` draws the curves.

The functions return a matplotlib figure, here called a canvas, as a figure is a measured number. `svg` makes it into
text that follows the page's text colour (light or dark), and `png` into a file. Colours are Okabe & Ito's (Color
Universal Design, 2008), told apart by people who see red and green alike; without their yellow and black, which vanish
on a white and on a dark page.
"""

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from PIL import Image

from gen_models.files import whole_file
from gen_models.sweep.report.study import Study
from gen_models.sweep.report.table import Column, Summary, directions, finished, title

INK = "#010203"  # stands for the page's text colour: almost black in a PNG, `currentColor` in an SVG
PAPER = "#fefdfc"  # likewise for what is behind the text
GREY = "#8c8c8c"
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9")
WIDTH = 10.6  # inches: what a page of the report holds without shrinking it


def forest(study: Study, table: Mapping[Column, Sequence[Summary]]) -> Canvas | None:
    """Paired differences from the base, one panel a figure and one line a row.

    Thick: 95% bootstrap interval. Thin: 95% Student interval. Filled: Holm's p below 0.05. A difference that would
    squeeze all others together stands at the panel's edge with its value.

    Returns:
      None where there is no difference, or none of them varies over seeds (such as of a count of parameters).
    """
    panels = {column: some for column, some in table.items() if _is_drawn(some)}
    labels = [label for label in study.labels if label != study.base]
    if not panels:
        return None
    words = 0.085 * min(40, max(map(len, labels)))  # inches
    across = min(len(panels), max(1, int((WIDTH - words) / 2.5)), 3)
    down = -(-len(panels) // across)
    size = (words + min(4.0, (WIDTH - words) / across) * across, (0.24 * max(3, len(labels)) + 0.9) * down)
    canvas = Canvas(figsize=size, layout="constrained")
    axes = canvas.subplots(down, across, squeeze=False, sharey=True).ravel()
    for axis, (column, some) in zip(axes, panels.items(), strict=False):
        _forest_panel(axis, [summary for summary in some if summary.label != study.base])
        axis.set_title(_wrap(title(column, list(table), study), 40), fontsize=10, parse_math=False)
        axis.set_yticks(range(len(labels)), [short(label, 40) for label in labels], fontsize=9, parse_math=False)
        axis.set_ylim(len(labels) - 0.5, -0.5)
        better = {"maximize": "better →", "minimize": "← better"}.get(directions(study).get(column.name, ""), "")
        axis.set_xlabel(f"difference   {better}".strip(), fontsize=9)
    for axis in axes[len(panels) :]:
        axis.remove()
    return inked(canvas)


def samples(study: Study, name: str = "samples", side: int = 384) -> dict[str, tuple[int, Image.Image]]:
    """{label: (seed, picture)} of the first finished seed that has the picture, scaled down to `side` screen pixels."""
    found = {}
    for label in study.labels:
        for run in finished(study, label):
            path = run.pictures.get(name)
            if path is None or not Path(path).exists():
                continue
            with Image.open(path) as file:
                picture = file.convert("L" if file.mode in ("1", "L") else "RGB")
                picture.thumbnail((side, side), Image.Resampling.LANCZOS)
                found[label] = (run.seed, picture)
            break
    return found


def sheet(pictures: Mapping[str, tuple[int, Image.Image]]) -> Canvas:
    """The pictures side by side under their labels and seeds."""
    across = min(5, len(pictures))
    down = -(-len(pictures) // across)
    canvas = Canvas(figsize=(2.4 * across, 2.65 * down), layout="constrained")
    axes = canvas.subplots(down, across, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, (label, (seed, picture)) in zip(axes, pictures.items(), strict=False):
        axis.imshow(np.asarray(picture), cmap="gray", vmin=0, vmax=255)
        axis.set_title(f"{_wrap(short(label, 60), 30)}\nseed {seed}", fontsize=8, parse_math=False)
    return inked(canvas)


def svg(canvas: Canvas) -> str:
    """Inline SVG in the page's own text colour, without the XML head; the same picture gives the same text."""
    text = io.StringIO()
    settings: Any = {"svg.hashsalt": "gen_models", "svg.fonttype": "path"}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a label in a script that the font lacks: boxes are drawn
        canvas.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text.getvalue(), flags=re.DOTALL)
    body = body[body.index("<svg") :].replace(INK, "currentColor").replace(PAPER, "var(--back, white)")
    return re.sub(r"\n\s*", "\n", body).strip()


def png(canvas: Canvas, path: Path, dpi: int = 130) -> None:
    """Write a PNG on white, whole or not at all."""
    with warnings.catch_warnings(), whole_file(path) as file:
        warnings.filterwarnings("ignore", message="Glyph")
        canvas.savefig(file, format="png", dpi=dpi, facecolor="white")


def _is_drawn(some: Sequence[Summary]) -> bool:
    differences = [summary.difference for summary in some if summary.difference is not None]
    return any(d.interval is not None or d.pairs == 1 for d in differences if d.pairs)


def _forest_panel(axis: Axes, some: Sequence[Summary]) -> None:
    axis.axvline(0, color=INK, linewidth=0.8)
    each = [(height, summary, summary.difference) for height, summary in enumerate(some)]
    drawn = [(height, summary, d) for height, summary, d in each if d is not None and d.pairs]
    ends = {height: d.interval or (d.mean, d.mean) for height, _, d in drawn}
    reach = {height: max(map(abs, pair)) for height, pair in ends.items()}
    bound = 6 * float(np.median(list(reach.values()))) or math.inf  # beyond it stands what would squeeze the others
    inside = [pair for height, pair in ends.items() if reach[height] <= bound]
    # Student's thin line may set the limits up to three times as far as the bootstrap's; it runs out of the panel then.
    most = max([abs(end) for pair in inside for end in pair] or [1.0]) or 1.0
    wide = [e for h, _, d in drawn if reach[h] <= bound and d.t_interval for e in d.t_interval if abs(e) <= 3 * most]
    low, high = min([0.0, *wide, *(pair[0] for pair in inside)]), max([0.0, *wide, *(pair[1] for pair in inside)])
    margin = 0.06 * (high - low) or 1.0
    axis.set_xlim(low - margin, high + margin)
    for height, summary, d in drawn:
        if reach[height] > bound:
            left = d.mean < 0
            text = f"◂ {d.mean:+.3g}" if left else f"{d.mean:+.3g} ▸"
            x, side = (0.01, "left") if left else (0.99, "right")
            axis.text(x, height, text, ha=side, va="center", fontsize=8, transform=axis.get_yaxis_transform())
            continue
        sure = summary.p_holm < 0.05
        if d.t_interval:
            axis.plot(d.t_interval, [height] * 2, color=COLOURS[0], linewidth=0.9)
        if d.interval:
            axis.plot(d.interval, [height] * 2, color=COLOURS[0], linewidth=3, solid_capstyle="butt")
        axis.plot(
            [d.mean], [height], "o", color=COLOURS[0], markersize=6, markerfacecolor=COLOURS[0] if sure else PAPER
        )
    axis.grid(axis="x", alpha=0.35)
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def inked(canvas: Canvas) -> Canvas:
    """Text and axes in the page's colour; nothing behind them, and room between rows of panels."""
    if isinstance(engine := canvas.get_layout_engine(), ConstrainedLayoutEngine):
        engine.set(h_pad=0.09)
    for axis in canvas.axes:
        axis.patch.set_visible(False)
        axis.tick_params(which="both", color=INK, labelcolor=INK, labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(INK)
        for text in (axis.title, axis.xaxis.label, axis.yaxis.label, *axis.texts):
            text.set_color(INK)
    for legend in canvas.legends:
        for text in legend.get_texts():
            text.set_color(INK)
    return canvas


def short(text: str, width: int) -> str:
    """Cut in the middle: labels of a sweep differ at their ends."""
    if len(text) <= width:
        return text
    half = (width - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def _wrap(text: str, width: int) -> str:
    lines = [""]
    for word in re.split(r"(?<=[ ,_=])", text):
        if lines[-1] and len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.strip() for line in lines)


def as_data(picture: Image.Image) -> bytes:
    """The PNG file's bytes."""
    held = io.BytesIO()
    picture.save(held, "PNG", optimize=True)
    return held.getvalue()

"""Draw the distortion of finished runs of models with a latent variable over their rate, with lines of equal ELBO.

python -m tools.rate_distortion runs/vae_beta
python -m tools.rate_distortion runs/vae_beta --out rate_distortion.png

Alemi et al., Fixing a Broken ELBO (2018), figure 1: the rate is the mean KL divergence of q(z|x) from p(z), the
distortion the mean of -E_q log p(x|z), and their sum is -ELBO; so a line of equal ELBO falls by one nat of distortion
for each nat of rate. No point can lie below the data's entropy. The blue line joins the runs that no other one has at
once a lower rate and a lower distortion than.

Reads `result.json` of every finished run below the folder. Runs of one config with several seeds are one point, with
their sample standard deviations as bars. Runs that were measured on other images stand in another panel, as their
figures are not to be compared.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from rich.table import Table

from gen_models.plots import drawing, literal
from gen_models.run import cli
from gen_models.run.console import console

from .ladder import Cell, finished, table

_ASIDE = ((6, 5), (6, -13), (-6, 5), (-6, -13), (14, 16), (14, -24), (-14, 16), (-14, -24))  # points: where labels go


def main() -> None:
    """Parse, read, show, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="read all runs below this folder, such as runs/vae_beta")
    parser.add_argument("--out", type=Path, help="the PNG file (default: FOLDER/rate_distortion.png)")
    arguments = parser.parse_args()
    runs = finished(arguments.folder)
    if not runs:
        raise ValueError(f"no finished run in {arguments.folder}: each needs a result.json")
    panels = points(table(runs, "KL"))
    out = arguments.out or arguments.folder / "rate_distortion.png"
    _show(panels)
    draw(panels, out)
    print(f"{sum(map(len, panels.values()))} rows: {out}")


class Point(NamedTuple):
    """Where a row's runs lie, in nats an example."""

    rate: float
    distortion: float
    spreads: tuple[float, float] | None = None  # standard deviations of both over several runs

    @property
    def elbo(self) -> float:
        """The bound on log p(x), which is what both leave."""
        return -(self.rate + self.distortion)


def points(rows: Mapping[str, Mapping[str, Cell]]) -> dict[str, dict[str, Point]]:
    """{what was measured, and its unit: {row: its point}}, the lowest rate first.

    Raises:
      ValueError: no row has the figures "KL" and "reconstruction".
    """
    panels: dict[str, dict[str, Point]] = {}
    for name, row in rows.items():
        if "KL" in row and "reconstruction" in row:
            rate, distortion = row["KL"], row["reconstruction"]
            both = rate.spread, distortion.spread
            spreads = None if both[0] is None or both[1] is None else (both[0], both[1])
            title = f"{rate.measured_on} [{rate.unit}]"
            panels.setdefault(title, {})[name] = Point(rate.mean, distortion.mean, spreads)
    if not panels:
        raise ValueError("no run has both figures 'KL' and 'reconstruction', which the measure Elbo gives")
    return {title: dict(sorted(some.items(), key=lambda item: item[1])) for title, some in panels.items()}


def frontier(some: Sequence[Point]) -> list[Point]:
    """The points than which no other has a lower rate and a lower distortion, the lowest rate first."""
    found: list[Point] = []
    for point in sorted(some):
        if not found or point.distortion < found[-1].distortion:
            found.append(point)
    return found


def _show(panels: Mapping[str, Mapping[str, Point]]) -> None:
    for title, some in panels.items():
        shown = Table("variant", "rate", "distortion", "ELBO", title=title, title_justify="left")
        for name, point in some.items():
            shown.add_row(name, *(f"{value:.2f}" for value in (point.rate, point.distortion, point.elbo)))
        console.print(shown)


def draw(panels: Mapping[str, Mapping[str, Point]], out: Path) -> None:
    """Draw a panel for each kind of images."""
    with drawing(out, figsize=(6.4 * len(panels), 5.0), layout="constrained") as canvas:
        axes = canvas.subplots(1, len(panels), squeeze=False).ravel()
        for axis, (title, some) in zip(axes, panels.items(), strict=True):
            axis.set_title(literal(title), fontsize=9)
            axis.set(xlabel="rate: KL(q(z|x) || p(z))", ylabel="distortion: -E log p(x|z)")
            _panel(axis, some)
        canvas.draw_without_rendering()  # only now is it known how large the axes are
        for axis, some in zip(axes, panels.values(), strict=True):
            _labels(axis, some)


def _panel(axis: Axes, some: Mapping[str, Point]) -> None:
    front = frontier(list(some.values()))
    axis.plot([p.rate for p in front], [p.distortion for p in front], color="tab:blue", linewidth=1.2, zorder=2)
    for point in some.values():
        wide, high = point.spreads or (None, None)
        axis.errorbar(point.rate, point.distortion, high, wide, fmt="o", color="k", markersize=4, capsize=2, zorder=3)
    axis.margins(0.12)
    left, right, low, high = *axis.get_xlim(), *axis.get_ylim()
    if left < 0.2 * right:
        left = -0.02 * right  # a rate of 0, at which z says nothing, is worth its place
    axis.set(xlim=(left, right), ylim=(low, high))
    best = min(point.rate + point.distortion for point in some.values())
    levels = [level for level in MaxNLocator(9).tick_values(left + low, right + high) if abs(level - best) > 1e-9]
    for level in [*levels, best]:
        start, end = max(left, level - high), min(right, level - low)
        if start >= end:
            continue
        colour, style = ("tab:red", "-") if level == best else ("0.6", ":")
        ends = [start, end], [level - start, level - end]
        axis.plot(*ends, color=colour, linestyle=style, linewidth=0.8, zorder=1)
        at = start + 0.02 * (right - left)
        words: dict[str, Any] = {"rotation": -45, "rotation_mode": "anchor", "transform_rotates_text": True}
        text = f"ELBO {-level:.1f}, the best" if level == best else f"{-level:g}"
        axis.text(at, level - at, text, fontsize=7, color=colour, va="bottom", clip_on=True, **words)


def _labels(axis: Axes, some: Mapping[str, Point]) -> None:
    """The rows' names beside their points, each where it covers the least of other names and points."""
    scale = axis.figure.dpi / 72
    at = {name: axis.transData.transform((point.rate, point.distortion)) / scale for name, point in some.items()}
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in at.values()]
    for name, (x, y) in at.items():
        boxes = {}
        for right, up in _ASIDE:
            wide = 5.6 * len(name)
            left = x + right if right > 0 else x + right - wide
            boxes[right, up] = (left, y + up, left + wide, y + up + 9)
        chosen = min(boxes, key=lambda where: sum(_overlap(boxes[where], other) for other in taken))
        taken.append(boxes[chosen])
        far = {"arrowstyle": "-", "color": "0.5", "linewidth": 0.6} if abs(chosen[0]) > 6 else None
        side = "left" if chosen[0] > 0 else "right"
        options: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8, "ha": side, "va": "bottom"}
        point = some[name]
        axis.annotate(literal(name), (point.rate, point.distortion), chosen, arrowprops=far, **options)


_Box = tuple[float, float, float, float]  # left, low, right, high


def _overlap(one: _Box, other: _Box) -> float:
    """The area that both cover."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(wide, 0.0) * max(high, 0.0)


if __name__ == "__main__":
    cli.guard(main)

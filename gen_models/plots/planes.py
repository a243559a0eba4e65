"""Points of the plane: paths over a valley, clouds, classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int

from gen_models.plots.canvas import drawing, literal


def paths(
    series: Mapping[str, Float[np.ndarray, "n 2"]],
    hessian: Float[np.ndarray, "2 2"],
    path: str | Path,
    *,
    title: str = "",
) -> Path:
    """Draw paths through the plane over contours of w' hessian w / 2, at levels whose roots are evenly spread.

    Args:
      series: name -> points [n, 2] in order.
      hessian: symmetric, positive definite.
      path: the PNG file.
      title: over the picture.
    """
    limit = 1.05 * max(float(np.abs(points[np.isfinite(points)]).max()) for points in series.values())
    line = np.linspace(-limit, limit, 201)
    grid = np.stack(np.meshgrid(line, line), -1)
    height = np.sqrt(np.einsum("abi,ij,abj->ab", grid, hessian, grid) / 2)
    with drawing(path, figsize=(5.2, 5.0), layout="constrained") as canvas:
        axis = canvas.subplots()
        axis.contour(line, line, height, levels=14, cmap="Greys_r", linewidths=0.7, alpha=0.6)
        for name, points in series.items():
            axis.plot(*np.asarray(points).T, label=literal(name), marker="o", markersize=2.5, linewidth=1.1)
        axis.set(aspect="equal", title=literal(title), xlim=(-limit, limit), ylim=(-limit, limit))
        axis.legend(frameon=False, fontsize=8)
    return Path(path)


def scatter(
    panels: Mapping[str, Float[np.ndarray, "n 2"]],
    path: str | Path,
    *,
    marks: Float[np.ndarray, "m 2"] | None = None,
    limit: float | None = None,
) -> Path:
    """Draw clouds of points in the plane, a panel for each, over the same axes.

    Args:
      panels: title -> points [n, 2].
      path: the PNG file.
      marks: points [m, 2] to mark with a cross in every panel, such as the modes of the data.
      limit: both axes run from -limit to limit; by default they show every mark and 99% of the points.
    """
    columns = min(5, len(panels))
    rows = -(-len(panels) // columns)
    if limit is None:
        clouds = [np.abs(np.asarray(points)) for points in panels.values()]
        limit = 1.1 * max(
            [float(np.percentile(cloud, 99)) for cloud in clouds]
            + ([] if marks is None else [float(np.abs(marks).max())])
        )
    with drawing(path, figsize=(2.8 * columns, 2.9 * rows), layout="constrained") as canvas:
        axes = canvas.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axis, (title, points) in zip(axes, panels.items(), strict=False):
            if marks is not None:
                axis.plot(*np.asarray(marks).T, "x", color="tab:red", markersize=5, alpha=0.6, zorder=1)
            axis.scatter(*np.asarray(points).T, s=1.5, alpha=0.5, linewidths=0, zorder=2)
            axis.set(title=literal(title), xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        for axis in axes[len(panels) :]:
            axis.remove()
    return Path(path)


def classes(
    panels: Mapping[str, Float[np.ndarray, "n 2"]], labels: Int[np.ndarray, "n"], path: str | Path, names: Sequence[str]
) -> Path:
    """Draw the same examples as points of several planes side by side, a colour for each class, with one legend.

    Each plane has axes of its own, which leave out what lies beyond 1% of its points on either side.

    Args:
      panels: title -> a point for each example.
      labels: the examples' classes.
      path: the PNG file.
      names: of the classes, from 0 on.
    """
    order = np.random.default_rng(0).permutation(len(labels))  # no class lies on top of all others
    colours = mpl.colormaps["tab10" if len(names) <= 10 else "gist_ncar"]
    scale = 1 if len(names) <= 10 else max(len(names) - 1, 1)
    colour_of = [colours(index if scale == 1 else index / scale) for index in range(len(names))]
    with drawing(path, figsize=(4.6 * len(panels) + 1.4, 4.8), layout="constrained") as canvas:
        axes = canvas.subplots(1, len(panels), squeeze=False)[0]
        for axis, (title, points) in zip(axes, panels.items(), strict=True):
            axis.scatter(*np.asarray(points)[order].T, s=5, c=[colour_of[k] for k in labels[order]], linewidths=0)
            (left, low), (right, high) = np.percentile(points, [1, 99], axis=0)
            margins = 0.1 * (right - left) or 1.0, 0.1 * (high - low) or 1.0
            axis.set(title=literal(title), xlim=(left - margins[0], right + margins[0]), xticks=[], yticks=[])
            axis.set_ylim(low - margins[1], high + margins[1])
        for name, colour in zip(names, colour_of, strict=True):
            axes[-1].scatter([], [], s=30, color=[colour], label=literal(name))
        canvas.legend(loc="outside right center", frameon=False, fontsize=9)
    return Path(path)

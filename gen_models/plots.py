"""Grids of images, curves and scatter plots, written to PNG files without a display."""

import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int, Integer
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator
from PIL import Image


@contextmanager
def drawing(path: str | Path, **canvas: Any) -> Iterator[Canvas]:
    """A canvas with these arguments, which is written when the block ends, whatever the user's own settings are.

    Texts come from users: with `literal` none of their characters means anything, and one that the font lacks is drawn
    as a box, without a warning.
    """
    with mpl.rc_context({"text.usetex": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        made = Canvas(**canvas)
        yield made
        made.savefig(path, dpi=110)


def literal(text: object) -> str:
    """The text as matplotlib shows it literally: no formula between dollars, no label that is left out for its `_`."""
    plain = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in str(text))
    return (" " if plain.startswith("_") else "") + plain.replace("$", r"\$")


def image_grid(
    images: Float[np.ndarray, "n h w c"], path: str | Path, *, columns: int | None = None, scale: int = 2, gap: int = 2
) -> Path:
    """Write images side by side, row by row; values beyond [0, 1] are clipped.

    Args:
      images: values in [0, 1]; 1 or 3 channels.
      path: the PNG file.
      columns: images in a row; by default the grid is about square.
      scale: pixels of the file, along each axis, for a pixel of an image; without smoothing.
      gap: pixels of the file between images.

    Raises:
      ValueError: the array is not four-dimensional, is empty, has neither 1 nor 3 channels, or is not finite.
    """
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or not len(images) or images.shape[-1] not in (1, 3):
        raise ValueError(f"images must be [n, height, width, 1 or 3], got {list(images.shape)}")
    if not np.isfinite(images).all():
        raise ValueError("images hold NaN or infinity")
    count, height, width, channels = images.shape
    columns = columns or int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    height, width = height * scale, width * scale
    grid = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 0.5, np.float32)
    for index, image in enumerate(np.clip(images, 0, 1).repeat(scale, 1).repeat(scale, 2)):
        row, column = divmod(index, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        grid[top : top + height, left : left + width] = image
    pixels = np.round(grid * 255).astype(np.uint8)
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(path)
    return Path(path)


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
            axis.tick_params(labelsize=7)
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


def matrix(counts: Float[np.ndarray, "k k"], path: str | Path, names: Sequence[str] = ()) -> Path:
    """Draw a confusion matrix, whose rows are true classes and columns predicted ones.

    The colour is the share of the row, the text the count.

    Args:
      counts: [true class, predicted class].
      path: the PNG file.
      names: of the classes, where they have names; else they are numbered from 0 on.
    """
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = max(3.0, 0.45 * len(counts))
    with drawing(path, figsize=(size + 0.6, size), layout="constrained") as canvas:
        axis = canvas.subplots()
        axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.argwhere(counts > 0):
            dark = share[row, column] > 0.5
            axis.text(
                column,
                row,
                f"{counts[row, column]:.0f}",
                ha="center",
                va="center",
                color="w" if dark else "k",
                fontsize=7,
            )
        ticks = range(len(counts))
        axis.set(xlabel="predicted class", ylabel="true class", xticks=ticks, yticks=ticks)
        if names:
            axis.set_xticks(ticks, [literal(name) for name in names], rotation=45, ha="right", rotation_mode="anchor")
            axis.set_yticks(ticks, [literal(name) for name in names])
    return Path(path)


def alignments(
    weights: Float[np.ndarray, "n t s"], names: Sequence[tuple[Sequence[str], Sequence[str]]], path: str | Path
) -> Path:
    """Draw what each token that was written looked at, a panel for each example: the darker, the more.

    Args:
      weights: in [0, 1], of each token that was written to each that was read; those beyond the names are left out.
      names: of each example, the tokens that were written, which label rows, and those that were read, columns.
      path: the PNG file.

    Raises:
      ValueError: there are not as many names as weights, or none.
    """
    if not len(names) or len(names) != len(weights):
        raise ValueError(f"names must be those of each of {len(weights)} examples, got {len(names)}")
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    across, down = (max(len(pair[i]) for pair in names) for i in (1, 0))
    longest = max((len(name) for _, read in names for name in read), default=1)
    size = (columns * (0.17 * across + 0.9), rows * (0.17 * down + 0.5 + 0.08 * longest))
    turned = {"rotation": 90} if longest > 1 else {}  # words would lie over each other
    with drawing(path, figsize=size, layout="constrained") as canvas:
        axes = canvas.subplots(rows, columns, squeeze=False).ravel()
        for axis in axes[len(names) :]:
            axis.axis("off")
        for axis, each, (written, read) in zip(axes, weights, names, strict=False):
            axis.imshow(each[: len(written), : len(read)], cmap="gray_r", vmin=0, vmax=1)
            axis.xaxis.tick_top()
            axis.set_xticks(range(len(read)), [literal(name) for name in read], fontsize=7, **turned)
            axis.set_yticks(range(len(written)), [literal(name) for name in written], fontsize=7)
            axis.tick_params(length=0)
    return Path(path)


def word_by_word(
    images: Float[np.ndarray, "n h w c"],
    words: Sequence[Sequence[str]],
    path: str | Path,
    *,
    weights: Float[np.ndarray, "n t s"] | None = None,
) -> Path:
    """Draw images with their captions, a row each; with weights also once for each word, lit where it looked.

    Args:
      images: in [0, 1].
      words: of each image, the words of its caption.
      path: the PNG file.
      weights: of each word to the positions of a square map of the image, line by line.

    Raises:
      ValueError: there are not as many captions as images, or the positions are those of no square.
    """
    images = np.asarray(images)
    if len(words) != len(images) or not len(images):
        raise ValueError(f"captions must be those of each of {len(images)} images, got {len(words)}")
    side = 0 if weights is None else round(weights.shape[2] ** 0.5)
    if weights is not None and side**2 != weights.shape[2]:
        raise ValueError(f"weights must be to the positions of a square, got {weights.shape[2]} positions")
    columns = 1 if weights is None else 1 + max(map(len, words))
    height, width = images.shape[1:3]
    with drawing(path, figsize=(max(5.0, 1.05 * columns), 1.25 * len(images)), layout="constrained") as canvas:
        axes = canvas.subplots(len(images), columns, squeeze=False)
        for index, (line, image, own) in enumerate(zip(axes, images, words, strict=True)):
            for axis in line:
                axis.axis("off")
            line[0].imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            if weights is None:
                line[0].set_title(literal(" ".join(own)), fontsize=7)
                continue
            for axis, word, of_word in zip(line[1:], own, weights[index], strict=False):
                lit = of_word.reshape(side, side) / max(of_word.max(), 1e-9)
                lines, across = (np.arange(size) * side // size for size in (height, width))
                bright = 0.25 + 0.75 * lit[lines][:, across]
                axis.imshow((image * bright[..., None]).squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                axis.set_title(literal(word), fontsize=8)
    return Path(path)


def texts(of: Sequence[str], path: str | Path, *, width: int = 72, lines: int = 24) -> Path:
    """Draw texts side by side, in a font of one width.

    Args:
      of: the texts; their own line breaks are kept.
      path: the PNG file.
      width: characters after which a line is broken.
      lines: of each text, at most.
    """
    wrapped = [[part for line in text.split("\n") for part in textwrap.wrap(line, width) or [""]] for text in of]
    columns = min(2, len(of))
    rows = -(-len(of) // columns)
    tall = max(min(len(text), lines) for text in wrapped)
    size = (columns * width * 0.075, max(1.0, rows * (tall + 1) * 0.16))
    with drawing(path, figsize=size, layout="constrained") as canvas:
        axes = canvas.subplots(rows, columns, squeeze=False).ravel()
        for axis in axes:
            axis.axis("off")
        for axis, text in zip(axes, wrapped, strict=False):
            shown = literal("\n".join(text[:lines]))
            axis.text(0, 1, shown, family="monospace", fontsize=8, va="top", transform=axis.transAxes)
    return Path(path)


def rolls(pieces: Integer[np.ndarray, "n t k"], path: str | Path, *, columns: int = 2) -> Path:
    """Draw piano rolls, time from left to right and keys from low to high; a line lies under each C of a whole piano.

    The keys that are drawn are those between the lowest and the highest that sounds in any piece, and three more.

    Args:
      pieces: whether each key sounds in each row.
      path: the PNG file.
      columns: pieces in a row of the picture.
    """
    pieces = np.asarray(pieces)
    rows = -(-len(pieces) // columns)
    sounding = np.flatnonzero(pieces.any((0, 1)))
    low, high = (sounding[0] - 3, sounding[-1] + 3) if len(sounding) else (0, pieces.shape[2] - 1)
    with drawing(path, figsize=(5.5 * columns, 2.4 * rows), layout="constrained") as canvas:
        axes = canvas.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axis in axes[len(pieces) :]:
            axis.axis("off")
        for axis, piece in zip(axes, pieces, strict=False):
            axis.imshow(piece.T, cmap="Greys", origin="lower", aspect="auto", interpolation="nearest", vmin=0, vmax=1)
            for key in (
                range(3, piece.shape[1], 12) if piece.shape[1] == 88 else ()
            ):  # the lowest C is a piano's fourth key
                axis.axhline(key - 0.5, color="tab:blue", linewidth=0.3)
            axis.set(xlabel="row", ylabel="key", ylim=(low - 0.5, high + 0.5))
            axis.label_outer()
    return Path(path)


def spectrograms(
    decibels: Float[np.ndarray, "n bins columns"],
    path: str | Path,
    *,
    seconds: float,
    hertz: float,
    across: int = 5,
) -> Path:
    """Draw spectrograms side by side, frequency upwards.

    Args:
      decibels: low frequencies first; the least of all is black.
      path: the PNG file.
      seconds: duration of each.
      hertz: the highest frequency.
      across: how many in a row.
    """
    columns = min(across, len(decibels))
    rows = -(-len(decibels) // columns)
    with drawing(path, figsize=(0.4 + 1.9 * columns, 0.4 + 1.3 * rows), layout="constrained") as canvas:
        axes = canvas.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axis in axes.ravel()[len(decibels) :]:
            axis.axis("off")
        for axis, one in zip(axes.ravel(), decibels, strict=False):
            extent = (0.0, seconds, 0.0, hertz / 1000)
            axis.imshow(one, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=decibels.min(), vmax=0)
        canvas.supxlabel("seconds", fontsize=9)
        canvas.supylabel("kHz", fontsize=9)
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


def captioned(
    images: Float[np.ndarray, "n h w c"], captions: Sequence[str], path: str | Path, *, columns: int = 8
) -> Path:
    """Draw images with a line of text over each.

    Args:
      images: values in [0, 1]; 1 or 3 channels.
      captions: one for each image.
      path: the PNG file.
      columns: images in a row.
    """
    rows = -(-len(images) // columns)
    with drawing(path, figsize=(1.25 * columns, 1.45 * rows), layout="constrained") as canvas:
        axes = canvas.subplots(rows, columns, squeeze=False).ravel()
        for axis in axes:
            axis.axis("off")
        for axis, image, caption in zip(axes, np.clip(images, 0, 1), captions, strict=False):
            axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1)
            axis.set_title(literal(caption), fontsize=7)
    return Path(path)

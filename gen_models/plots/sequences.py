"""Sequences: texts, piano rolls, spectrograms."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer

from gen_models.plots.canvas import drawing, literal


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
